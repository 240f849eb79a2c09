"""The wait: steps, ageing and preference at every instant, and the bound that keeps callers from starving."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, strategies as st

from ari_app.core import messages as m, wait
from ari_app.core.definition import SECOND_NS, Queue, QueueNode, Relax, seconds_ns
from tests.fakes.desk import START_NS, Desk, agent, definition

QUEUES = st.builds(
    lambda steps, every, by, prefer: Queue(
        "q",
        relax=tuple(Relax(after, drop=("x",)) for after in sorted(steps)),
        ageing_every_s=every,
        ageing_by=by,
        prefer_s=prefer,
    ),
    st.sets(st.integers(1, 60), max_size=4),
    st.sampled_from([0, 7, 10]),
    st.integers(1, 3),
    st.sampled_from([0, 5, 20]),
)


def at(queue: Queue, seconds: float, *, prefer: str = "bob", entered_before_s: float = 0) -> wait.Progress:
    queued_ns = START_NS
    return wait.progress(
        queue,
        entered_ns=queued_ns - seconds_ns(entered_before_s),
        queued_ns=queued_ns,
        base=1,
        prefer=prefer,
        now_ns=queued_ns + seconds_ns(seconds),
    )


@given(QUEUES, st.integers(0, 700), st.integers(0, 30))
def test_progress_is_what_counting_says(queue: Queue, tenths: int, before_s: int) -> None:
    seconds = tenths / 10
    found = at(queue, seconds, entered_before_s=before_s)
    assert found.step == sum(1 for relaxed in queue.relax if relaxed.after_s <= seconds)
    steps = 0
    while queue.ageing_every_s and (steps + 1) * queue.ageing_every_s <= seconds + before_s:
        steps += 1
    assert found.priority == 1 + steps * queue.ageing_by
    assert found.prefer == ("bob" if seconds < queue.prefer_s else "")


@given(QUEUES, st.integers(0, 700), st.integers(0, 30))
def test_nothing_changes_before_the_next_instant_and_something_does_then(
    queue: Queue, tenths: int, before_s: int
) -> None:
    now = at(queue, tenths / 10, entered_before_s=before_s)
    state = (now.step, now.priority, now.prefer)
    if not now.next_ns:
        later = at(queue, 10_000, entered_before_s=before_s)
        assert state == (later.step, later.priority, later.prefer)
        return
    then_s = (now.next_ns - START_NS) / SECOND_NS
    assert then_s > tenths / 10
    before = at(queue, then_s - 1e-9, entered_before_s=before_s)
    after = at(queue, then_s, entered_before_s=before_s)
    assert state == (before.step, before.priority, before.prefer)
    assert state != (after.step, after.priority, after.prefer)


def test_the_floor_follows_progress_while_ringing_and_waiting() -> None:
    queue = Queue(
        "q", relax=(Relax(3, drop=("x",)), Relax(31, groups=("g",))), ageing_every_s=10, ring_timeout_s=25
    )
    desk = Desk(definition({"q": queue}, {"bob": agent("q")}))
    desk.signs_in("bob")
    calls = [desk.calls("q"), desk.calls("q")]
    assert [desk.call(c).state for c in calls] == ["offered", "waiting"]
    for _ in range(40):
        desk.passes(1)
        for key in calls:
            call = desk.call(key)
            now = wait.progress(
                queue,
                entered_ns=call.entered_ns,
                queued_ns=call.queued_ns,
                base=0,
                prefer="",
                now_ns=desk.now_ns,
            )
            assert (call.step, call.priority, call.next_move_ns) == (now.step, now.priority, now.next_ns)


# ---------------------------------------------------------------- no starvation


def flood(low: Queue, high: Queue, *, seconds: int) -> tuple[Desk, str]:
    """One call of low priority in a flood that two agents can never serve; they hang up one by one."""
    chance = random.Random(7)
    desk = Desk(
        definition({"low": low, "high": high}, {"ann": agent("low", "high"), "bob": agent("low", "high")})
    )
    desk.signs_in("ann", "bob")
    for _ in range(20):
        desk.calls("high")
    poor = desk.calls("low")
    for _ in range(seconds):
        desk.passes(1)
        desk.calls("high")
        if chance.random() < 0.4:
            for call in [call for call in desk.floor.state.calls.values() if call.offer is not None]:
                desk.answers(call.id)
                desk.hangs_up(call.id)
    return desk, poor


def overtook(desk: Desk, poor: str) -> list[float]:
    """Seconds after the poor call at which those entered that were offered before it."""
    entered = {
        e.call: e.entered_ns for _, _, events in desk.journal for e in events if isinstance(e, m.CallQueued)
    }
    order = [offer.call for offer in desk.offers]
    before = order[: order.index(poor)] if poor in order else order
    return [(entered[call] - entered[poor]) / SECOND_NS for call in before]


@pytest.mark.parametrize(("every", "by", "ahead"), [(10, 1, 5), (10, 3, 5), (25, 5, 5), (7, 2, 3)])
def test_a_call_is_passed_only_by_those_of_a_bounded_time_after_it(every: int, by: int, ahead: int) -> None:
    low = Queue("low", ageing_every_s=every, ageing_by=by, wrap_up_s=0)
    high = Queue("high", priority=ahead, ageing_every_s=every, ageing_by=by, wrap_up_s=0)
    desk, poor = flood(low, high, seconds=400)
    assert poor in [offer.call for offer in desk.offers]
    assert max(overtook(desk, poor)) < every * math.ceil(ahead / by)


@pytest.mark.parametrize(("every", "by"), [(10, 1), (20, 2), (60, 2)])
def test_the_bound_holds_where_other_queues_age_slower(every: int, by: int) -> None:
    low = Queue("low", ageing_every_s=10, ageing_by=1, wrap_up_s=0)
    high = Queue("high", priority=4, ageing_every_s=every, ageing_by=by, wrap_up_s=0)
    desk, poor = flood(low, high, seconds=400)
    assert poor in [offer.call for offer in desk.offers]
    assert max(overtook(desk, poor)) < 10 * (4 / 1 + 1)


def test_without_ageing_a_flood_starves_those_below() -> None:
    desk, poor = flood(Queue("low", wrap_up_s=0), Queue("high", priority=1, wrap_up_s=0), seconds=300)
    assert poor not in [offer.call for offer in desk.offers]


def test_the_flow_and_the_caller_add_to_the_queues_priority() -> None:
    given_ = definition({"q": Queue("q", priority=3)}, {}, vip=QueueNode("q", priority=4))
    desk = Desk(given_)
    assert desk.call(desk.calls("vip", priority=10)).priority == 17
