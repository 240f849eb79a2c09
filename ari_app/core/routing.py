"""Who gets whom, and why.

``match`` is called after every step until it has nothing more to offer. It looks only at queues
in which something changed (``floor.touched``): elsewhere, by work conservation, no free agent
faces a waiting caller.
"""

from __future__ import annotations

from collections import Counter

from ari_app.core import messages as m
from ari_app.core.agent import Agent
from ari_app.core.call import Call
from ari_app.core.definition import Queue, seconds_ns
from ari_app.core.floor import Floor

RUNNERS_UP = 5
RING_GRACE_S = 5
"""Asterisk's own ring limit lies this far behind the floor's, which decides."""


def match(floor: Floor, now_ns: int) -> m.Step | None:
    """The next offer, or None. Callers: the one who is due first over all touched queues.

    Complexity: O(touched queues + members of one queue).
    """
    if not floor.state.matching:
        return None
    best: tuple[tuple[int, int, int, str], list[Agent]] | None = None
    for queue in sorted(floor.touched):
        line = floor.lines.get(queue)
        if not line or (best is not None and best[0] < line[0]):
            continue
        free = [a for a in _members(floor, queue) if a.available(now_ns)]
        if free:
            best = (line[0], free)
    if best is None:
        return None
    call = floor.state.calls[best[0][3]]
    return offer(floor, call, best[1], now_ns)


def offer(floor: Floor, call: Call, free: list[Agent], now_ns: int) -> m.Step:
    """Reserve ``call`` and the longest idle of ``free`` for each other."""
    ranked = sorted(free, key=lambda a: (a.idle_since_ns, a.id))
    agent = ranked[0]
    queue = floor.definition.queues.get(call.queue, Queue(name=call.queue))
    attempt = call.attempts + 1
    leg = f"{call.id}.offer.{attempt}"
    until_ns = now_ns + seconds_ns(queue.ring_timeout_s)
    why = m.Why(
        rule="longest idle",
        waited_ns=now_ns - call.entered_ns,
        position=1,
        waiting=len(floor.lines.get(call.queue, ())),
        candidates=tuple(
            m.Candidate(a.id, now_ns - a.idle_since_ns, rank)
            for rank, a in enumerate(ranked[: RUNNERS_UP + 1], 1)
        ),
        not_eligible=_not_eligible(floor, call.queue, now_ns),
    )
    made = m.OfferMade(call.id, call.queue, agent.id, attempt, leg, until_ns, why)
    endpoint = floor.definition.agents[agent.id].endpoint
    ring_s = int(queue.ring_timeout_s) + RING_GRACE_S
    return m.Step([made], [m.Originate(leg, endpoint, call.id, queue.name, ring_s)])


def _members(floor: Floor, queue: str) -> list[Agent]:
    return [floor.state.agents[key] for key in floor.members.get(queue, ()) if key in floor.state.agents]


def _not_eligible(floor: Floor, queue: str, now_ns: int) -> dict[str, int]:
    states: Counter[str] = Counter()
    for agent in _members(floor, queue):
        if not agent.available(now_ns):
            states["resting" if agent.state == "ready" else agent.state] += 1
    return dict(states)
