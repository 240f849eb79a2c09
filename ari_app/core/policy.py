"""When a queue sends a caller on, and where to: full, waited too long, nobody there, closed, crisis.

The rules are looked at when a call enters a queue or returns to its line, when its time is up, and
whenever something they depend on changes: an agent leaves, a boundary of the opening hours, the
emergency switch, a new definition. A phone that rings may ring on; the rule is applied when it is
not picked up. While no offers are made (Asterisk cannot be commanded), nobody is sent on either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ari_app.core import ivr, messages as m
from ari_app.core.call import Call
from ari_app.core.definition import Definition, OverflowReason, Queue, Target, seconds_ns
from ari_app.core.floor import Floor

FALLBACK = Target(fallback=True)
Apply = Callable[[m.Step], None]

_WORSE = m.AgentSignedOut | m.AgentPaused | m.AgentFreed | m.PhoneChanged | m.AgentAltered
"""Events after which a queue may have nobody left."""
CONCERNING: frozenset[type[m.Event]] = frozenset(
    {
        *(m.CallQueued, m.WaitAdvanced, m.OfferLapsed, m.ConnectFailed),
        *(m.DefinitionLoaded, m.MatchingBegan, m.HoursSet, m.HoursTurned, m.CrisisSwitched),
        *(m.AgentSignedOut, m.AgentPaused, m.AgentFreed, m.PhoneChanged, m.AgentAltered),
    }
)
"""All that ``_concerned`` looks at: most steps hold none of these."""


def enforce(floor: Floor, events: Sequence[m.AnyEvent], apply: Apply, now_ns: int) -> None:
    """Send on every caller whom ``events`` have made a case for; ``apply`` takes each decision.

    A caller is sent on from one queue at most once; the second time the static fallback takes them, so
    that rules which lead in a circle end.
    """
    if not floor.state.matching or CONCERNING.isdisjoint(map(type, events)):
        return
    left: dict[str, set[str]] = {}
    pending = list(events)
    while pending:
        found = _concerned(floor, pending)
        pending = []

        def take(step: m.Step, later: list[m.AnyEvent] = pending) -> None:
            apply(step)
            later.extend(step.events)

        for key, fresh in found.items():
            call = floor.state.calls.get(key)
            if call is None or not floor.wants_agents(call):
                continue
            queue = floor.queue(call.queue)
            reason = reason_to_go(floor, call, queue, now_ns, fresh=fresh)
            if reason is None:
                continue
            if call.state == "offered":  # the phones that ring may ring on; no more are added
                take(m.Step([m.JoinsEnded(key, reason)], []))
                continue
            seen = left.setdefault(key, set())
            target = FALLBACK if call.queue in seen else target_of(floor.definition, queue, reason)
            seen.add(call.queue)
            waited_ns = now_ns - call.queued_ns
            take(m.Step([m.CallOverflowed(key, call.queue, reason, target, waited_ns)], []))
            take(ivr.go_on(floor, call, now_ns, target))


def _concerned(floor: Floor, events: Sequence[m.AnyEvent]) -> dict[str, bool]:
    """Calls whose case is to be looked at; true: the call has just entered its queue."""
    found: dict[str, bool] = {}
    queues: set[str] = set()
    everybody = False
    for event in events:
        match event:
            case m.CallQueued():
                found[event.call] = True
            case m.WaitAdvanced() | m.OfferLapsed() | m.ConnectFailed():
                found.setdefault(event.call, False)
            case m.DefinitionLoaded() | m.MatchingBegan() | m.HoursSet() | m.HoursTurned():
                everybody = True
            case m.CrisisSwitched():
                everybody = everybody or event.on
            case m.AgentSignedOut() | m.AgentPaused() | m.AgentFreed() | m.PhoneChanged() | m.AgentAltered():
                queues |= _left_by(floor, event)
            case _:
                pass  # nothing that a rule depends on
    if everybody or queues:
        for call in floor.state.calls.values():
            if floor.wants_agents(call) and (everybody or call.queue in queues):
                found.setdefault(call.id, False)
    return found


def _left_by(floor: Floor, event: _WORSE) -> set[str]:
    """Queues that callers leave when nobody is there, if the event may have taken the last one."""
    if isinstance(event, m.AgentFreed) and event.state == "ready":
        return set()
    if isinstance(event, m.PhoneChanged) and event.reachable:
        return set()
    return {name for name, queue in floor.definition.queues.items() if queue.leave_when != "never"}


def reason_to_go(
    floor: Floor, call: Call, queue: Queue, now_ns: int, *, fresh: bool
) -> OverflowReason | None:
    """Why the waiting call must leave its queue now; ``fresh``: it has only just entered."""
    crisis = floor.definition.crisis
    moved = call.crisis or (crisis.flow and call.flow == crisis.flow)
    if in_crisis(floor, call.queue) and not moved and (fresh or crisis.move_waiting):
        return "crisis"
    opening = floor.state.opening.get(queue.hours)
    if opening is not None and opening.state != "open" and (fresh or queue.at_closing == "overflow"):
        return opening.state
    if nobody_there(floor, call.queue, queue, fresh=fresh):
        return "no_agents"
    if fresh and 0 < queue.max_waiting < floor.in_line.get(call.queue, 0):
        return "full"
    if queue.max_wait_s and now_ns >= call.queued_ns + seconds_ns(queue.max_wait_s):
        return "timeout"
    return None


def in_crisis(floor: Floor, queue: str) -> bool:
    """Whether the emergency switch is on for this queue, or for everything."""
    return "" in floor.state.crisis or queue in floor.state.crisis


def nobody_there(floor: Floor, name: str, queue: Queue, *, fresh: bool) -> bool:
    """Whether the queue's own agents are too few for its callers to join (``fresh``) or to stay."""
    signed_in = queue.leave_when == "none_signed_in" or (fresh and queue.join_when == "signed_in")
    working = queue.leave_when == "none_working" or (fresh and queue.join_when == "working")
    if not (signed_in or working):
        return False
    members = (floor.state.agents.get(agent) for agent in floor.members.get(name, ()))
    if working:
        return not any(agent is not None and agent.working() for agent in members)
    return not any(agent is not None and agent.at_work() for agent in members)


def target_of(definition: Definition, queue: Queue, reason: OverflowReason) -> Target:
    """Where the queue sends a caller for this reason; the static fallback if nothing is said."""
    overflow = queue.overflow
    match reason:
        case "holiday":
            return overflow.holiday or overflow.closed or FALLBACK
        case "crisis":
            flow = definition.crisis.flow
            return overflow.crisis or (Target(flow=flow) if flow else FALLBACK)
        case _:
            return getattr(overflow, reason) or FALLBACK


# ---------------------------------------------------------------- hours and the emergency switch


def hours_given(floor: Floor, item: m.HoursGiven) -> m.Step:
    """Boundaries of the weeks to come, from the shell; those that were known already say nothing new."""
    return (
        m.Step([], []) if item.boundaries == floor.state.hours else m.Step([m.HoursSet(item.boundaries)], [])
    )


def hours_turned(floor: Floor, hours: str, now_ns: int) -> m.Step:
    """A boundary is reached (or several were, while nobody watched)."""
    turned = floor.opening_at(hours, now_ns)
    return m.Step([m.HoursTurned(hours, turned.state, turned.next_ns)], [])


def switch(floor: Floor, item: m.CrisisAsked) -> m.Step:
    """The emergency switch. What is so already, or a queue that is not there, changes nothing."""
    if problem(floor, item):
        return m.Step([], [])
    return m.Step([m.CrisisSwitched(item.queue, item.on, item.by)], [])


def problem(floor: Floor, item: m.CrisisAsked) -> str:
    """Why the switch cannot be thrown, for people; "" if it can."""
    queues = floor.definition.queues
    what = f"queue {item.queue}" if item.queue else "everything"
    if item.queue and item.queue not in queues:
        return f"the definition has no queue {item.queue}; there are: {', '.join(sorted(queues))}"
    if (item.queue in floor.state.crisis) == item.on:
        return f"the emergency switch is {'on' if item.on else 'off'} for {what} already"
    return ""
