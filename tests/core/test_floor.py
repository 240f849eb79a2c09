"""The floor: what is refused, what a reload does, what a snapshot keeps, what is due."""

from __future__ import annotations

import msgspec
import pytest

from ari_app.core import agent as agents, call as calls, messages as m, step
from ari_app.core.agent import Agent
from ari_app.core.call import Call, Offer
from ari_app.core.definition import SECOND_NS, Agent as Written, Phone, Queue, Relax
from ari_app.core.errors import IllegalMove
from ari_app.core.floor import Floor
from tests.fakes import checks
from tests.fakes.desk import Desk, agent, definition
from tests.fakes.people import SMALLER, Pbx

WHY = m.Why("", 0, 0, 0, (), {})


@pytest.fixture
def pbx() -> Pbx:
    return Pbx()


def offered(pbx: Pbx) -> Floor:
    pbx.agent("bob").signs_in()
    pbx.caller("ann").dials("100").presses("1")
    return pbx.centre.live


# ---------------------------------------------------------------- what is refused


def a_call() -> Call:
    return Call("c", "ch", "100", "main", 1, 1, 1)


def test_what_the_table_of_calls_does_not_list_is_refused() -> None:
    call = a_call()
    before = msgspec.structs.asdict(call)
    with pytest.raises(IllegalMove, match="'ivr' cannot take CallBridged"):
        calls.apply(call, m.CallBridged("c", "bob"), 1)
    assert msgspec.structs.asdict(call) == before


@pytest.mark.parametrize("offer", [None, Offer("bob", 2, "leg", 1)])
def test_progress_of_another_offer_is_refused(offer: Offer | None) -> None:
    call = a_call()
    call.state, call.offers = "offered", {"bob": offer} if offer else {}
    with pytest.raises(IllegalMove, match="attempt 1 is not an offer of it"):
        calls.apply(call, m.OfferRinging("c", "bob", 1), 1)


def test_what_the_table_of_agents_does_not_list_is_refused() -> None:
    agent = Agent("bob")
    with pytest.raises(IllegalMove, match="'signed_out' cannot take AgentRested"):
        agents.apply(agent, m.AgentRested("bob"), 1)
    assert agent == Agent("bob")


def test_a_reserved_agent_is_not_offered_again(pbx: Pbx) -> None:
    floor = offered(pbx)
    cid = pbx.caller("cid").dials("100").presses("1").call
    assert cid is not None
    with pytest.raises(IllegalMove, match="bob"):
        floor.evolve(1, m.OfferMade(cid.id, "sales", "bob", 1, "leg", 1, WHY))
    assert cid.offer is None


def test_an_event_of_another_agent_is_refused(pbx: Pbx) -> None:
    floor = offered(pbx)
    pbx.agent("eve").signs_in()
    dan = pbx.caller("dan").dials("100").presses("1").call
    assert dan is not None
    assert dan.offer is not None
    before = floor.dump()
    with pytest.raises(IllegalMove, match="bob has"):
        floor.evolve(1, m.OfferLapsed(dan.id, "sales", "bob", 1, "busy", False))
    assert floor.dump() == before


def test_a_call_opens_once(pbx: Pbx) -> None:
    floor = offered(pbx)
    key, channel = next((c.id, c.channel) for c in floor.state.calls.values())
    for event in (m.CallOpened(key, "new", "", "", 1), m.CallOpened("new", channel, "", "", 1)):
        with pytest.raises(IllegalMove, match="open already"):
            floor.evolve(1, event)


# ---------------------------------------------------------------- a new definition


def test_a_removed_agent_stays_until_they_are_done(pbx: Pbx) -> None:
    eve = pbx.agent("eve").signs_in()
    ann = pbx.caller("ann").dials("200")
    eve.answers()
    pbx.centre.define(SMALLER)
    assert (ann.talks_with, eve.state) == ("eve", "talking")
    assert "max" not in pbx.centre.live.state.agents
    ann.hangs_up()
    pbx.passes(seconds=11)
    assert eve.state == "ready"
    cid = pbx.caller("cid").dials("100")
    pbx.passes(seconds=2)
    assert (cid.state, eve.state) == ("waiting", "ready")
    eve.asks("sign_out")
    assert checks.same(Floor.restore(pbx.centre.live.dump()), pbx.centre.live)
    pbx.everyone_is_served()


def test_a_caller_in_a_menu_that_is_gone_reaches_the_fallback(pbx: Pbx) -> None:
    ann, cid = pbx.caller("ann").dials("100"), pbx.caller("cid").dials("100")
    pbx.passes(seconds=3)
    dan = pbx.caller("dan").dials("100")
    pbx.centre.define(SMALLER)
    assert cid.presses("1").state == "ivr"
    pbx.passes(seconds=2)
    assert (ann.hears, cid.hears, dan.state) == ("fallback", "fallback", "waiting")
    pbx.everyone_is_served()


def test_a_menu_that_vanishes_while_it_waits_for_a_key(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("100")
    pbx.passes(seconds=5)
    pbx.centre.define(SMALLER)
    pbx.passes(seconds=5)
    assert (ann.state, ann.hears) == ("gone", "fallback")
    pbx.everyone_is_served()


def test_a_flow_that_leads_nowhere_leads_to_the_fallback(pbx: Pbx) -> None:
    nodes = {"a": pbx.definition.flows["direct"].nodes["quiet"]}
    flows = {"main": msgspec.structs.replace(pbx.definition.flows["direct"], start="a", nodes=nodes)}
    pbx.centre.define(msgspec.structs.replace(pbx.definition, flows=flows))
    assert pbx.caller("ann").dials("100").hears == "fallback"


def test_who_types_a_pin_while_their_name_is_removed(pbx: Pbx) -> None:
    max_ = pbx.agent("max").dials_code("sign_in")
    pbx.centre.define(SMALLER)
    max_.types(ok=True)
    assert pbx.asterisk.hears(max_.session) == "prompt vm-goodbye"
    pbx.everyone_is_served()


def test_the_same_definition_again_is_no_event(pbx: Pbx) -> None:
    entries = len(pbx.centre.journal)
    pbx.centre.define(pbx.definition)
    assert len(pbx.centre.journal) == entries


# ---------------------------------------------------------------- legs


def test_a_leg_that_does_not_go_is_told_again_and_holds_the_agent(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = pbx.caller("ann").dials("100").presses("1")
    bob.answers()
    leg = pbx.asterisk.channels[pbx.asterisk.legs_of("bob")[0]]
    pbx.asterisk.deaf.add(leg.id)
    ann.hangs_up()
    told = []
    for _ in range(4):
        pbx.asterisk.pass_to(pbx.asterisk.now_ns + 5 * SECOND_NS)
        pbx.centre.overdue()
        told.append((bob.state, pbx.asterisk.told.count(leg.id)))
    assert [state for state, _ in told] == ["wrap_up", "releasing", "releasing", "releasing"]
    assert [n for _, n in told] == sorted({n for _, n in told})
    pbx.asterisk.deaf.clear()
    pbx.passes(seconds=5)
    assert bob.state == "ready"
    pbx.everyone_is_served()


def test_a_refused_originate_that_is_heard_after_the_lapse_frees_the_agent(pbx: Pbx) -> None:
    floor = offered(pbx)
    leg = next(iter(floor.by_leg))
    pbx.asterisk.deaf.add(leg)
    pbx.asterisk.pass_to(pbx.asterisk.now_ns + 15 * SECOND_NS)
    pbx.centre.overdue()
    assert pbx.agent("bob").state == "releasing"
    del pbx.asterisk.channels[leg]
    pbx.centre.feed(m.OriginateDone(leg, False, "timed out"))
    assert (pbx.agent("bob").state, pbx.agent("bob").record.leg) == ("ready", "")


def test_a_refused_originate_of_an_answered_leg_means_nothing(pbx: Pbx) -> None:
    offered(pbx)
    bob = pbx.agent("bob").answers()
    leg = bob.record.leg
    pbx.centre.feed(m.OriginateDone(leg, False, "timed out"))
    pbx.centre.feed(m.LegAnswered(leg))
    pbx.settle()
    assert bob.state == "talking"
    pbx.everyone_is_served()


def test_a_leg_that_is_gone_before_the_bridge_costs_no_caller(pbx: Pbx) -> None:
    offered(pbx)
    bob = pbx.agent("bob").answers(unheard=True)
    leg = bob.record.leg
    pbx.centre.deliver(leg)
    del pbx.asterisk.channels[leg]
    pbx.asterisk.take_all()
    pbx.asterisk.bridges.clear()
    pbx.centre.feed(m.ChannelGone(leg, 16))
    assert bob.state == "ready"
    assert [c.state for c in pbx.centre.live.state.calls.values()] == ["waiting"]
    pbx.everyone_is_served()


def test_a_call_set_apart_in_its_talk_lets_the_agent_go(pbx: Pbx) -> None:
    floor = offered(pbx)
    bob = pbx.agent("bob").answers()
    call = next(iter(floor.state.calls.values()))
    pbx.centre.feed(m.StepFailed("HungUp", call.channel, call.id, "ValueError"))
    pbx.centre.feed(m.StepFailed("HungUp", call.channel, call.id, "ValueError"))
    pbx.settle()
    assert (pbx.asterisk.hears(call.channel), bob.rings, bob.state) == ("fallback", False, "ready")
    assert not pbx.asterisk.bridges
    pbx.everyone_is_served()


def test_a_call_set_apart_while_the_phone_rings(pbx: Pbx) -> None:
    floor = offered(pbx)
    call = next(iter(floor.state.calls.values()))
    pbx.centre.feed(m.StepFailed("HungUp", call.channel, call.id, "ValueError"))
    pbx.settle()
    bob = pbx.agent("bob")
    assert (pbx.asterisk.hears(call.channel), bob.rings, bob.state) == ("fallback", False, "ready")
    pbx.everyone_is_served()


# ---------------------------------------------------------------- deadlines


def test_nothing_is_due_on_an_empty_floor() -> None:
    floor = Floor()
    assert floor.next_due_ns() is None
    assert list(floor.due(10**19)) == []


@pytest.mark.parametrize("kind", ["renew", "menu", "ring", "wrap", "rest", "release", "session"])
def test_a_deadline_of_nobody_is_ignored(pbx: Pbx, kind: str) -> None:
    assert not pbx.centre.live.is_due(kind, "nobody", 1)
    entries = len(pbx.centre.journal)
    pbx.centre.feed(m.DeadlinePassed(kind, "nobody", 1))
    assert len(pbx.centre.journal) == entries


def test_what_is_due_comes_in_order_and_once(pbx: Pbx) -> None:
    offered(pbx)
    due = list(pbx.centre.live.due(pbx.asterisk.now_ns + 100 * SECOND_NS))
    assert [d.kind for d in due] == ["ring", "renew"]
    assert list(pbx.centre.live.due(pbx.asterisk.now_ns + 100 * SECOND_NS)) == []


def test_a_prompt_whose_end_is_never_heard_closes_the_session(pbx: Pbx) -> None:
    bob = pbx.agent("bob").dials_code("sign_in").types(ok=True)
    pbx.asterisk.channels[bob.session].playbacks.clear()
    pbx.asterisk.pass_to(pbx.asterisk.now_ns + 20 * SECOND_NS)
    pbx.centre.overdue()
    assert bob.session not in pbx.asterisk.channels


# ---------------------------------------------------------------- what means nothing


def test_observations_about_nobody_change_nothing(pbx: Pbx) -> None:
    floor = pbx.centre.live
    before = floor.dump()
    for item in (
        m.LegRinging("x"),
        m.HungUp("x"),
        m.ChannelLeft("x"),
        m.ChannelGone("x"),
        m.DigitPressed("x", "1"),
        m.PromptEnded("x.play.1.e1", True),
        m.PinChecked("x", True),
        m.AgentAsked("nobody", "sign_in"),
        m.OriginateDone("x", True),
        m.OriginateDone("x", False),
        m.BridgeDone("x", True),
        m.RecordingBegun("x", "x", True),
        m.RecordingAssembled("x", True),
    ):
        pbx.centre.feed(item)
    assert floor.dump() == before
    assert not pbx.asterisk.pending


def test_a_leg_of_nobody_that_answers_is_hung_up(pbx: Pbx) -> None:
    pbx.centre.feed(m.LegAnswered("x.offer.1"))
    assert pbx.asterisk.told == ["x.offer.1"]


def test_events_carry_a_version() -> None:
    assert m.version_of(m.AgentRested("bob")) == 1


def test_a_caller_has_waited_nothing_before_the_queue() -> None:
    assert a_call().waited_ns(10**19) == 0


def test_a_snapshot_of_before_several_offers_is_understood(pbx: Pbx) -> None:
    floor = offered(pbx)
    call = next(iter(floor.state.calls.values()))
    plain = msgspec.msgpack.decode(floor.dump())
    old = plain["calls"][call.id]
    (offer,) = old.pop("offers").values()
    old["offer"] = {key: offer[key] for key in ("agent", "attempt", "leg", "until_ns", "dialled", "ringing")}
    restored = Floor.restore(msgspec.msgpack.encode(plain))
    assert list(restored.state.calls[call.id].offers["bob"].live()) == [offer["leg"]]
    assert restored.next_due_ns() == floor.next_due_ns()
    step.advance(restored, m.LegAnswered(offer["leg"]), floor.state.at_ns)
    assert restored.state.calls[call.id].agent == "bob"


def test_the_wait_goes_on_by_its_rules_when_no_talk_came_of_an_answer() -> None:
    """The deadline of the wait was dropped while caller and agent seemed to talk, and never came back."""
    queue = Queue("Sales", relax=(Relax(30, groups=("spare",)),), retry_pause_s=100)
    desk = Desk(definition({"sales": queue}, {"ann": agent("sales"), "eve": agent(groups=("spare",))}))
    desk.signs_in("ann", "eve")
    key = desk.calls("sales")
    offer = desk.call(key).offer
    assert offer is not None
    desk.give(m.LegAnswered(offer.leg))
    desk.passes(1)  # whatever stands no more is dropped
    desk.give(m.BridgeDone(key, ok=False, error="refused"))
    desk.give(m.ChannelGone(offer.leg, 16))
    assert desk.call(key).state == "waiting"
    desk.passes(30)
    assert [made.agent for made in desk.offers] == ["ann", "eve"]


def test_an_own_call_that_ends_does_not_bring_the_other_phone_back() -> None:
    people = {"ann": Written("Ann", "p1", ("sales",), phones=(Phone("p1"), Phone("p2")))}
    desk = Desk(definition({"sales": Queue("Sales")}, people))
    desk.signs_in("ann")
    desk.give(m.PhoneSeen("ann", False, "p1"))
    desk.give(m.OtherCallSeen("ann", "own-1", m.OwnCall("out", "outside")))
    desk.give(m.ChannelGone("own-1", 16))
    record = desk.floor.state.agents["ann"]
    assert (record.state, record.offline) == ("ready", ("p1",))
    desk.give(m.PhoneSeen("ann", False, "p2"))
    assert (record.state, record.offline) == ("unreachable", ("p1", "p2"))


def test_an_answer_without_a_talk_is_taken_back_from_the_live_figures() -> None:
    desk = Desk(definition({"sales": Queue("Sales", retry_pause_s=1)}, {"ann": agent("sales")}))
    desk.signs_in("ann")
    key = desk.calls("sales")
    desk.passes(2)
    offer = desk.call(key).offer
    assert offer is not None
    desk.give(m.LegAnswered(offer.leg))
    desk.give(m.BridgeDone(key, ok=False, error="refused"))
    desk.give(m.ChannelGone(offer.leg, 16))
    figures = desk.floor.state.stats.queues["sales"]
    assert (figures.offered, figures.answered, figures.within, figures.wait_ns) == (1, 0, 0, 0)
    desk.passes(2)
    desk.answers(key)
    desk.hangs_up(key)
    figures = desk.floor.state.stats.queues["sales"]
    assert (figures.offered, figures.answered, figures.within, figures.wait_ns) == (1, 1, 1, 4 * SECOND_NS)
    assert not desk.floor.state.stats.picked_up
