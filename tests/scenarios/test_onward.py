"""Callers whom a queue sends on to a number outside: answered, not answered, and a death at each instant."""

from __future__ import annotations

import msgspec
import pytest

from ari_app.core import messages as m, why
from ari_app.core.definition import Definition, Overflow, Target
from tests.fakes.pbx import Phone, PhoneMood
from tests.fakes.people import DEFINITION, OUTSIDE, Pbx

NUMBER = Target(number="+4930", trunk="provider", ring_s=10, sounds=("moved",))


def centre(target: Target = NUMBER, **rules: object) -> Definition:
    given = {"max_wait_s": 30.0, "overflow": Overflow(timeout=target), **rules}
    sales = msgspec.structs.replace(DEFINITION.queues["sales"], **given)
    return msgspec.structs.replace(DEFINITION, queues={**DEFINITION.queues, "sales": sales})


def sent_on(
    mood: PhoneMood, after_s: float = 0, *, otherwise: Target | None = None, die_at: set[int] | None = None
) -> Pbx:
    """A caller waited for too long; the sounds are over, the number is rung."""
    target = msgspec.structs.replace(NUMBER, otherwise=otherwise)
    pbx = Pbx(centre(target), die_at=die_at or set())
    pbx.asterisk.phones[OUTSIDE] = Phone(mood, after_s)
    pbx.caller("ann").dials("400")
    return pbx.passes(seconds=34)


def state(pbx: Pbx) -> str:
    return next((call.state for call in pbx.centre.live.state.calls.values()), "gone")


def test_the_caller_hears_music_until_somebody_answers_and_then_talks() -> None:
    pbx = sent_on("answers", 5)
    (call,) = pbx.centre.live.state.calls.values()
    assert (call.state, pbx.asterisk.hears(call.channel)[:5]) == ("forwarding", "music")
    (said,) = why.caller(pbx.centre.live, call.id, pbx.asterisk.now_ns)
    assert "rings at a number outside" in said
    assert "sent on by sales" in said
    pbx.passes(seconds=6)
    assert (call.state, call.bridged, pbx.asterisk.hears(call.channel)) == ("forwarded", True, "talk")
    pbx.passes(seconds=600)
    assert state(pbx) == "forwarded", "no absolute time-out while they talk"
    pbx.asterisk.hang_up(call.leg)
    pbx.settle()
    assert (pbx.outcomes(), state(pbx), pbx.asterisk.channels) == (["forwarded"], "gone", {})
    assert [e.by for e in pbx.centre.events() if isinstance(e, m.CallEnded)] == ["outside"]


def test_the_caller_hangs_up_and_the_number_is_let_go() -> None:
    for seconds, outcome in ((1, "timed_out"), (6, "forwarded")):
        pbx = sent_on("answers", 5)
        pbx.passes(seconds=seconds)
        (call,) = pbx.centre.live.state.calls.values()
        pbx.asterisk.hang_up(call.channel)
        pbx.settle()
        assert (pbx.outcomes(), pbx.asterisk.channels, pbx.asterisk.bridges) == ([outcome], {}, {})


@pytest.mark.parametrize(
    ("mood", "reason"),
    [("rings", "no_answer"), ("busy", "busy"), ("declines", "declined"), ("unreachable", "unreachable")],
)
def test_a_number_that_nobody_takes_leads_to_the_next_target(mood: PhoneMood, reason: str) -> None:
    pbx = sent_on(mood, otherwise=Target(queue="support"))
    pbx.passes(seconds=12)
    (call,) = pbx.centre.live.state.calls.values()
    assert (call.state, call.queue) == ("waiting", "support")
    assert [e.reason for e in pbx.centre.events() if isinstance(e, m.ForwardLapsed)] == [reason]
    assert pbx.asterisk.hears(call.channel) == "music quiet"
    assert call.entered_ns < call.queued_ns, "the place is that of the first entry"
    pbx.agent("max").signs_in().answers()
    assert state(pbx) == "talking"


def test_without_a_next_target_the_fallback_takes_the_caller() -> None:
    pbx = sent_on("busy")
    (channel,) = pbx.asterisk.channels.values()
    assert (channel.where, pbx.outcomes()) == ("fallback", ["timed_out"])


def test_a_bridge_that_is_refused_counts_as_nobody_there() -> None:
    pbx = sent_on("answers", 5, otherwise=Target(queue="support"))
    pbx.asterisk.refuse_bridges = 1
    pbx.passes(seconds=6)
    (call,) = pbx.centre.live.state.calls.values()
    assert (call.state, call.queue, len(pbx.asterisk.channels)) == ("waiting", "support", 1)


def test_a_call_set_apart_lets_the_other_side_go() -> None:
    pbx = sent_on("answers", 5).passes(seconds=6)
    (call,) = pbx.centre.live.state.calls.values()
    assert call.state == "forwarded"
    pbx.centre.feed(m.StepFailed("HungUp", call.channel, call.id, "ValueError"))
    pbx.settle()
    assert [c.where for c in pbx.asterisk.channels.values()] == ["fallback"]


def test_an_answer_while_nobody_watches_is_found_after_the_restart() -> None:
    pbx = sent_on("rings", otherwise=Target(queue="support"))
    (leg,) = pbx.asterisk.legs_of(OUTSIDE)
    pbx.dies()
    pbx.asterisk.pick_up(leg)
    pbx.asterisk.pass_to(pbx.asterisk.now_ns + 2_000_000_000)
    pbx.restarts().settle()
    assert state(pbx) == "forwarded"


def test_a_death_at_any_point_loses_nobody() -> None:
    points = sent_on("answers", 5).passes(seconds=10).centre.points
    for point in range(1, points + 1):
        pbx = sent_on("answers", 5, otherwise=Target(queue="support"), die_at={point})
        pbx.passes(seconds=20)
        assert state(pbx) == "forwarded", point
        (call,) = pbx.centre.live.state.calls.values()
        assert pbx.asterisk.hears(call.channel) == "talk", point


def test_a_death_at_any_point_of_a_number_that_is_busy_leads_on_all_the_same() -> None:
    points = sent_on("busy", otherwise=Target(queue="support")).centre.points
    for point in range(1, points + 1):
        pbx = sent_on("busy", otherwise=Target(queue="support"), die_at={point})
        pbx.passes(seconds=20)
        (call,) = pbx.centre.live.state.calls.values()
        assert (call.state, call.queue) == ("waiting", "support"), point
