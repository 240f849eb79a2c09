"""Several phones at once: ring all, agents with several phones, and the mobile that must press 1."""

from __future__ import annotations

import msgspec
import pytest

from ari_app.core import messages as m, why, words
from ari_app.core.definition import Phone
from ari_app.web import public
from ari_app.web.view import CallView, Recent, build_view
from tests.fakes.people import DEFINITION, RUNG, Caller, Pbx


@pytest.fixture(name="pbx")
def rung() -> Pbx:
    return Pbx(RUNG)


def waits(pbx: Pbx, name: str = "ann") -> Caller:
    return pbx.caller(name).dials("100").presses("1")


def offers(pbx: Pbx) -> list[m.OfferMade]:
    return [e for e in pbx.centre.events() if isinstance(e, m.OfferMade)]


# ---------------------------------------------------------------- ring all


def test_all_are_rung_and_the_first_to_answer_wins(pbx: Pbx) -> None:
    bob, eve, max_ = (pbx.agent(name).signs_in() for name in ("bob", "eve", "max"))
    ann = waits(pbx)
    assert (bob.rings, eve.rings, max_.rings) == (True, True, True)
    assert len({made.call for made in offers(pbx)}) == 1
    max_.answers()
    assert ann.talks_with == "max"
    assert (bob.rings, eve.rings) == (False, False)
    assert (bob.record.misses, eve.record.misses, bob.state, eve.state) == (0, 0, "ready", "ready")
    assert pbx.lapses() == ["answered_elsewhere", "answered_elsewhere"]
    rung = {e.leg for e in offers(pbx)} | {"e1-1.offer.1.1"}  # bob's mobile is rung beside his desk
    assert set(pbx.asterisk.elsewhere) == rung - {max_.record.leg}


def test_the_decision_is_one_and_names_all(pbx: Pbx) -> None:
    for name in ("bob", "eve", "max"):
        pbx.agent(name).signs_in()
        pbx.passes(1)
    waits(pbx)
    first, others = offers(pbx)[0], offers(pbx)[1:]
    assert first.why.rung == ("bob", "eve", "max")
    assert [c.agent for c in first.why.candidates] == ["bob", "eve", "max"]
    assert [made.why.decision for made in others] == [1, 1]
    told = words.explain(first.why)
    assert told.startswith(
        "bob, eve, max were rung: ring all: all 3 free agents (bob 3 s, eve 2 s, max 1 s)"
    ), told
    assert words.grounds(others[0].why) == "rung together with offer 1, which has the reasons"
    lines = why.caller(pbx.centre.live, first.call, pbx.asterisk.now_ns)
    assert [line.split(" rings at ")[1].split()[0] for line in lines[:3]] == ["bob", "eve", "max"]
    assert lines[3] == "whoever becomes free and qualifies is rung, too"
    pbx.agent("max").answers()
    shown = [
        e
        for e in pbx.centre.events()
        if isinstance(e, m.OfferMade | m.OfferLapsed) and words.worth_showing(e)
    ]
    assert shown == [first]
    assert words.describe(first, 0).startswith("offered to bob, eve, max (")


def test_the_others_ring_on_until_the_winner_is_bridged(pbx: Pbx) -> None:
    bob, max_ = pbx.agent("bob").signs_in(), pbx.agent("max").signs_in()
    ann = waits(pbx)
    pbx.asterisk.refuse_bridges = 1
    bob.answers()
    assert ann.state == "offered"  # the bridge was refused; max rings on
    assert max_.rings
    max_.answers()
    assert ann.talks_with == "max"


def test_two_answers_at_once(pbx: Pbx) -> None:
    bob, max_ = pbx.agent("bob").signs_in(), pbx.agent("max").signs_in()
    ann = waits(pbx)
    bob.answers(unheard=True)
    max_.answers(unheard=True)
    pbx.centre.deliver_all()
    pbx.settle()
    assert ann.talks_with == "bob"
    assert pbx.lapses() == ["answered_elsewhere"]
    assert (max_.rings, max_.record.misses) == (False, 0)


def test_the_answer_crosses_the_cancel(pbx: Pbx) -> None:
    bob, max_ = pbx.agent("bob").signs_in(), pbx.agent("max").signs_in()
    ann = waits(pbx)
    leg = max_.record.leg
    pbx.asterisk.deaf.add(leg)  # the cancel comes too late for this phone
    bob.answers()
    max_.answers()
    assert ann.talks_with == "bob"
    pbx.asterisk.deaf.discard(leg)
    pbx.passes(6)
    assert not max_.rings
    assert max_.state == "ready"


def test_who_becomes_ready_is_rung_too(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = waits(pbx)
    pbx.passes(3)
    max_ = pbx.agent("max").signs_in()
    assert (bob.rings, max_.rings) == (True, True)
    assert [made.why.rung for made in offers(pbx)] == [("bob",), ("max",)]
    max_.answers()
    assert ann.talks_with == "max"


def test_a_refusal_of_one_does_not_end_the_others(pbx: Pbx) -> None:
    bob, eve, max_ = (pbx.agent(name).signs_in() for name in ("bob", "eve", "max"))
    ann = waits(pbx)
    max_.declines()
    assert (ann.state, eve.rings, bob.rings) == ("offered", True, True)
    pbx.passes(16)  # bob's desk rings for 15 seconds, his mobile for 20
    assert bob.state == "ringing"
    bob.phone("rings")
    pbx.passes(5)
    assert "no_answer" in pbx.lapses()
    assert ann.position == 1


def test_the_caller_goes_and_all_are_let_go(pbx: Pbx) -> None:
    agents = [pbx.agent(name).signs_in() for name in ("bob", "eve", "max")]
    waits(pbx).hangs_up()
    assert [agent.rings for agent in agents] == [False] * 3
    assert [agent.record.misses for agent in agents] == [0] * 3
    assert pbx.lapses() == ["caller_gone"] * 3
    assert pbx.outcomes() == ["abandoned"]


def test_no_more_than_the_queue_says(pbx: Pbx) -> None:
    pbx.agent("eve").signs_in()
    pbx.agent("max").signs_in()
    ann = pbx.caller("ann").dials("200")
    ben = pbx.caller("ben").dials("200")
    assert (ann.state, ben.state) == ("offered", "waiting")
    assert ann.call is not None
    assert set(ann.call.offers) == {"eve", "max"}
    ann.hangs_up()
    assert ben.state == "offered"


def test_a_call_whose_time_is_up_gets_no_more_agents_and_is_sent_on(pbx: Pbx) -> None:
    ann = waits(pbx)
    pbx.passes(54)
    max_ = pbx.agent("max").signs_in()
    pbx.passes(7)
    assert ann.state == "offered"  # the phone that rings may ring on
    assert any(isinstance(e, m.JoinsEnded) for e in pbx.centre.events())
    bob = pbx.agent("bob").signs_in()
    assert not bob.rings
    pbx.passes(10)
    assert not max_.rings
    assert ann.hears == "fallback"


def test_a_queue_that_rings_all_no_longer(pbx: Pbx) -> None:
    pbx.agent("max").signs_in()
    ann = waits(pbx)
    queues = {name: msgspec.structs.replace(q, strategy="linear") for name, q in RUNG.queues.items()}
    pbx.centre.define(msgspec.structs.replace(RUNG, queues=queues))
    bob = pbx.agent("bob").signs_in()
    assert (ann.state, bob.rings) == ("offered", False)
    pbx.centre.define(RUNG)
    pbx.settle()
    assert bob.rings


# ---------------------------------------------------------------- several phones


def test_phones_ring_at_once_and_one_takes_the_call(pbx: Pbx) -> None:
    bob, mobile = pbx.agent("bob").signs_in(), pbx.phone("bob-mobile")
    ann = waits(pbx)
    assert (bob.rings, mobile.rings) == (True, True)
    bob.answers()
    assert ann.talks_with == "bob"
    assert not mobile.rings
    assert len(pbx.asterisk.elsewhere) == 1


def test_phones_ring_in_order(pbx: Pbx) -> None:
    eve, home, mobile = pbx.agent("eve").signs_in(), pbx.phone("eve-home"), pbx.phone("eve-mobile")
    ann = waits(pbx)
    assert (eve.rings, home.rings, mobile.rings) == (True, False, False)
    pbx.passes(6)
    assert (eve.rings, home.rings, mobile.rings) == (False, True, False)
    home.declines()
    assert (eve.rings, home.rings, mobile.rings) == (False, False, True)
    pbx.passes(15)
    assert pbx.lapses() == ["declined"]  # of all the ends of the phones, the one that says most
    assert ann.position == 1


def test_a_mobile_must_press_1(pbx: Pbx) -> None:
    bob, mobile = pbx.agent("bob").signs_in(), pbx.phone("bob-mobile")
    ann = waits(pbx)
    mobile.answers()
    assert (mobile.hears, ann.hears) == ("prompt followme/options", "music default")
    assert bob.rings  # the desk rings on
    pbx.passes(3)
    assert mobile.hears == "prompt followme/options"  # again
    mobile.presses("1")
    assert ann.talks_with == "bob-mobile"
    assert not bob.rings
    assert mobile.hears == "talk"


def test_a_voicemail_never_takes_a_call(pbx: Pbx) -> None:
    bob = pbx.agent("bob").phone("unreachable").signs_in()
    mobile = pbx.phone("bob-mobile").phone("voicemail", 1)
    ann = waits(pbx)
    pbx.passes(11)
    assert (ann.state, mobile.rings) == ("offered", True)
    pbx.passes(3)
    assert pbx.lapses() == ["not_confirmed"]
    assert ann.talks_with == ""
    assert (bob.record.misses, ann.hears) == (1, "music default")


def test_a_voicemail_does_not_stop_the_desk(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    mobile = pbx.phone("bob-mobile").phone("voicemail", 1)
    ann = waits(pbx)
    pbx.passes(13.5)
    assert (mobile.rings, bob.rings) == (False, True)
    bob.answers()
    assert ann.talks_with == "bob"


def test_a_mobile_that_says_no(pbx: Pbx) -> None:
    pbx.agent("bob").phone("busy").signs_in()
    mobile = pbx.phone("bob-mobile")
    waits(pbx)
    mobile.answers().presses("5").presses("2")
    assert pbx.lapses() == ["declined"]
    assert pbx.agent("bob").record.misses == 0


def test_a_mobile_that_hangs_up_has_not_confirmed(pbx: Pbx) -> None:
    pbx.agent("bob").phone("busy").signs_in()
    mobile = pbx.phone("bob-mobile")
    waits(pbx)
    mobile.answers().hangs_up()
    assert pbx.lapses() == ["not_confirmed"]


def test_desk_and_mobile_at_once(pbx: Pbx) -> None:
    bob, mobile = pbx.agent("bob").signs_in(), pbx.phone("bob-mobile")
    ann = waits(pbx)
    mobile.answers()
    mobile_leg = pbx.asterisk.legs_of("bob-mobile")[0]
    bob.answers(unheard=True)
    pbx.asterisk.press(mobile_leg, "1")
    pbx.settle()
    assert ann.talks_with == "bob"
    assert not mobile.rings
    ann.hangs_up()
    assert bob.state == "wrap_up"


def test_an_agent_is_reachable_as_long_as_one_phone_is(pbx: Pbx) -> None:
    max_ = pbx.agent("max").signs_in()
    eve = pbx.agent("eve").signs_in()
    feed = pbx.centre.feed
    feed(m.PhoneSeen("max", False, "max"))
    assert max_.state == "unreachable"
    feed(m.PhoneSeen("eve", False, "eve"))
    assert (eve.state, eve.record.offline) == ("ready", ("eve",))
    ann = waits(pbx)
    assert ann.state == "offered"
    assert pbx.phone("eve-home").rings  # the one that is gone is not tried
    assert not pbx.phone("eve").rings
    feed(m.PhoneSeen("max", True, "max"))
    assert pbx.phone("max").rings


def test_auto_answer_is_asked_of_the_phone_that_has_it() -> None:
    phones = (Phone("bob", auto_answer=True), Phone("bob-home"))
    bob = msgspec.structs.replace(DEFINITION.agents["bob"], phones=phones)
    pbx = Pbx(msgspec.structs.replace(DEFINITION, agents={**DEFINITION.agents, "bob": bob}))
    pbx.agent("bob").signs_in()
    waits(pbx)
    assert pbx.phone("bob-home").rings
    assert pbx.asterisk.auto_answer == ["bob"]


def test_the_live_view_names_the_first_and_counts_the_others(pbx: Pbx) -> None:
    for name in ("bob", "eve", "max"):
        pbx.agent(name).signs_in()
        pbx.passes(1)
    waits(pbx)

    def seen() -> CallView:
        now_ns = pbx.asterisk.now_ns
        (call,) = build_view(pbx.centre.live, Recent(), now_ns, lambda _: None, lambda _: {}).calls
        return call

    def told(agent: str = "") -> tuple[str | None, tuple[str, ...]]:
        said = public.call(seen(), pbx.asterisk.now_ns, people=False, agent=agent)
        return said.agent, said.rung

    assert (seen().agent, seen().ringing) == ("bob and 2 more", True)
    assert told() == (None, ("bob", "eve", "max"))
    assert told("max") == ("max", ("max",)), "who else is rung is not an agent's business"
    assert public.concerns(seen(), "max")
    pbx.agent("eve").answers()
    assert (seen().agent, seen().ringing, told()) == ("eve", False, ("eve", ()))
    assert not public.concerns(seen(), "max")
