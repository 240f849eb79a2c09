"""Rules of queues as transcripts: full, too long, nobody there, closed, crisis; where callers go then."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from ari_app.core import messages as m
from ari_app.core.definition import (
    SECOND_NS,
    Crisis,
    Definition,
    Flow,
    HangupNode,
    Overflow,
    PlayNode,
    Queue,
    QueueNode,
    Target,
)
from tests.fakes.people import DEFINITION, START_NS, Pbx

BACKUP = Overflow(
    full=Target(hangup=True, sounds=("all-busy",)),
    timeout=Target(queue="support"),
    no_agents=Target(flow="late"),
    closed=Target(fallback=True, sounds=("closed",)),
)


def centre(**rules: object) -> Definition:
    """People's definition, with rules for the queue "sales", a flow "late" and a crisis flow."""
    sales = msgspec.structs.replace(DEFINITION.queues["sales"], **{"overflow": BACKUP, **rules})
    flows = {
        **DEFINITION.flows,
        "late": Flow("sorry", {"sorry": PlayNode(("nobody",), "end"), "end": HangupNode()}),
        "crisis": Flow("storm", {"storm": PlayNode(("storm",), "in"), "in": QueueNode("support")}),
    }
    queues = {**DEFINITION.queues, "sales": sales}
    return msgspec.structs.replace(DEFINITION, flows=flows, queues=queues, crisis=Crisis("crisis"))


@pytest.fixture
def pbx(request: pytest.FixtureRequest) -> Iterator[Pbx]:
    pbx = Pbx(centre(**getattr(request, "param", {})))
    yield pbx
    pbx.everyone_is_served()


def reasons(pbx: Pbx) -> list[str]:
    return [e.reason for e in pbx.centre.events() if isinstance(e, m.CallOverflowed)]


def hours(pbx: Pbx, *states: tuple[float, m.OpenState]) -> None:
    """Opening hours "office": each state from so many seconds after the start on."""
    boundaries = tuple(m.Boundary(START_NS + round(s * SECOND_NS), state) for s, state in states)
    pbx.centre.feed(m.HoursGiven({"office": boundaries}))
    pbx.settle()


rules = pytest.mark.parametrize


@rules("pbx", [{"max_waiting": 1}], indirect=True)
def test_a_full_queue_says_so_and_hangs_up(pbx: Pbx) -> None:
    ann, ben = pbx.caller("ann").dials("400"), pbx.caller("ben").dials("400")
    assert (ann.state, ben.hears) == ("waiting", "prompt all-busy")
    pbx.passes(seconds=3)
    assert (ben.state, pbx.outcomes(), reasons(pbx)) == ("gone", ["overflowed"], ["full"])


@rules("pbx", [{"max_waiting": 1}], indirect=True)
def test_who_is_being_offered_is_in_line_too(pbx: Pbx) -> None:
    pbx.agent("bob").signs_in()
    ann, ben = pbx.caller("ann").dials("400"), pbx.caller("ben").dials("400")
    assert (ann.state, ben.hears) == ("offered", "prompt all-busy")
    pbx.agent("bob").answers()
    cem = pbx.caller("cem").dials("400")
    assert cem.state == "waiting"


@rules("pbx", [{"max_wait_s": 30}], indirect=True)
def test_the_longest_wait_leads_on_and_keeps_the_place(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("400")
    pbx.passes(seconds=20)
    ben = pbx.caller("ben").dials("200")
    pbx.passes(seconds=10)
    assert ann.call is not None
    assert (ann.call.queue, ann.position, ben.position) == ("support", 1, 2)
    assert ann.call.entered_ns == START_NS
    assert ann.hears == "music quiet"
    pbx.agent("max").signs_in().answers()
    assert ann.talks_with == "max"


@rules("pbx", [{"max_wait_s": 30}], indirect=True)
def test_each_stay_is_counted_once(pbx: Pbx) -> None:
    pbx.caller("ann").dials("400")
    ben = pbx.caller("ben").dials("400")
    pbx.passes(seconds=10)
    ben.hangs_up()
    pbx.passes(seconds=30)
    pbx.agent("max").signs_in().answers().hangs_up()
    figures = pbx.centre.live.state.stats.queues
    sales, support = figures["sales"], figures["support"]
    assert (sales.offered, sales.abandoned, sales.timed_out, sales.answered) == (2, 1, 1, 0)
    assert (support.offered, support.answered, support.within, support.asa_ns()) == (1, 1, 1, 10 * SECOND_NS)


@rules("pbx", [{"max_wait_s": 30}], indirect=True)
def test_a_phone_that_rings_may_ring_on(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("400")
    pbx.passes(seconds=25)
    bob = pbx.agent("bob").signs_in()
    pbx.passes(seconds=10)
    assert (ann.state, bob.rings) == ("offered", True)
    bob.declines()
    assert ann.call is not None
    assert (ann.call.queue, reasons(pbx)) == ("support", ["timeout"])


@rules("pbx", [{"join_when": "signed_in"}], indirect=True)
def test_nobody_joins_a_queue_without_agents(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("400")
    assert ann.hears == "prompt nobody"
    pbx.passes(seconds=3)
    assert pbx.outcomes() == ["left_in_flow"]
    pbx.agent("bob").signs_in().asks("pause")
    ben = pbx.caller("ben").dials("400")
    assert ben.state == "waiting"


@rules("pbx", [{"leave_when": "none_working"}], indirect=True)
def test_callers_leave_when_the_last_agent_does(pbx: Pbx) -> None:
    bob, eve = pbx.agent("bob").signs_in(), pbx.agent("eve").signs_in()
    for name in ("ann", "ben", "cem"):
        pbx.caller(name).dials("400")
    bob.answers()
    eve.answers()
    assert reasons(pbx) == []
    eve.asks("pause").hangs_up()
    pbx.passes(seconds=20)
    assert (eve.state, reasons(pbx)) == ("paused", [])  # bob is on a call, and will be there
    bob.asks("sign_out")  # after this call; so nobody will be there
    assert reasons(pbx) == ["no_agents"]


@rules("pbx", [{"leave_when": "none_working"}], indirect=True)
def test_an_unreachable_phone_is_nobody(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann, ben = pbx.caller("ann").dials("400"), pbx.caller("ben").dials("400")
    bob.answers()
    ann.hangs_up()
    pbx.passes(seconds=5)
    assert (ben.state, bob.state) == ("waiting", "wrap_up")
    pbx.centre.feed(m.PhoneSeen("bob", False))
    assert (bob.state, ben.hears) == ("wrap_up", "prompt nobody")


@rules("pbx", [{"hours": "office"}], indirect=True)
def test_a_closed_queue_takes_nobody_and_serves_who_waits(pbx: Pbx) -> None:
    hours(pbx, (0, "open"), (60, "closed"), (120, "open"))
    ann = pbx.caller("ann").dials("400")
    pbx.passes(seconds=61)
    ben = pbx.caller("ben").dials("400")
    assert (ann.state, ben.hears) == ("waiting", "prompt closed")
    pbx.passes(seconds=3)
    assert (pbx.outcomes(), ben.hears) == (["overflowed"], "fallback")
    pbx.passes(seconds=60)
    assert pbx.caller("cem").dials("400").state == "waiting"


@rules("pbx", [{"hours": "office", "at_closing": "overflow"}], indirect=True)
def test_a_holiday_sends_everybody_on(pbx: Pbx) -> None:
    hours(pbx, (0, "open"), (60, "holiday"))
    ann = pbx.caller("ann").dials("400")
    pbx.dies().passes(seconds=90)
    pbx.restarts().passes(seconds=3)
    assert (ann.hears, reasons(pbx)) == ("fallback", ["holiday"])


def test_crisis_for_everything_and_back(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("400")
    pbx.centre.feed(m.CrisisAsked("", True, "test"))
    pbx.settle()
    assert (ann.hears, reasons(pbx)) == ("prompt storm", ["crisis"])
    ben = pbx.caller("ben").dials("100")
    assert ben.hears == "prompt storm"
    pbx.passes(seconds=3)
    assert ann.call is not None
    assert (ann.call.queue, ann.state, ann.position, ben.position) == ("support", "waiting", 1, 2)
    pbx.dies().restarts()
    assert pbx.caller("cem").dials("100").hears == "prompt storm"
    pbx.centre.feed(m.CrisisAsked("", False, "test"))
    assert pbx.caller("dan").dials("100").hears == "prompt welcome"


def test_crisis_for_one_queue(pbx: Pbx) -> None:
    pbx.centre.feed(m.CrisisAsked("sales", True, "test"))
    ann, ben = pbx.caller("ann").dials("400"), pbx.caller("ben").dials("200")
    assert (ann.hears, ben.hears) == ("prompt storm", "music quiet")
    pbx.centre.feed(m.CrisisAsked("nowhere", True, "test"))
    assert list(pbx.centre.live.state.crisis) == ["sales"]


def test_rules_in_a_circle_end_in_the_fallback() -> None:
    """The definition's check refuses them; the core does not hang if it is given some all the same."""
    to = {"sales": "support", "support": "sales"}
    queues = {
        name: Queue(name, join_when="signed_in", overflow=Overflow(no_agents=Target(queue=other)))
        for name, other in to.items()
    }
    pbx = Pbx(msgspec.structs.replace(DEFINITION, queues=queues))
    ann = pbx.caller("ann").dials("200")
    assert (ann.hears, reasons(pbx)) == ("fallback", ["no_agents", "no_agents", "no_agents"])


def test_a_target_that_a_reload_took_away_is_the_fallback(pbx: Pbx) -> None:
    pbx.centre.define(centre(max_wait_s=10, overflow=Overflow(timeout=Target(queue="gone"))))
    ann = pbx.caller("ann").dials("400")
    pbx.passes(seconds=10)
    assert (ann.hears, pbx.outcomes()) == ("fallback", ["timed_out"])
