"""Who gets whom, and why.

``match`` is called after every step until it has nothing more to offer. Callers: the one who is due
first (priority, then the first entry into any queue) over all queues in which somebody qualified is
free. Agents: who fits best, then the queue's strategy.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import Literal

from msgspec import Struct

from ari_app.core import messages as m, strategies
from ari_app.core.call import Call
from ari_app.core.definition import Queue, seconds_ns
from ari_app.core.floor import Floor
from ari_app.core.matcher import DYNAMIC, FREE, Bucket, fit, fits, groups, levels

CANDIDATES = 6
"""The winner and five runners-up are stored with each decision."""
RING_GRACE_S = 5
"""Asterisk's own ring limit lies this far behind the floor's, which decides."""


def match(floor: Floor, now_ns: int) -> m.Step | None:
    """The next offer, or None. O(active buckets) + O(log agents), or O(free agents) for the strategies
    that look at all of them."""
    if not floor.state.matching:
        return None
    bucket = floor.matcher.first()
    if bucket is None:
        return None
    call = floor.state.calls[bucket.line[0][3]]
    return offer(floor, call, bucket, now_ns)


def offer(floor: Floor, call: Call, bucket: Bucket, now_ns: int) -> m.Step:
    """Reserve ``call`` and the best free agent of its bucket for each other."""
    queue = floor.definition.queues.get(call.queue) or Queue(name=call.queue)
    attempt = call.attempts + 1
    best = ranked(floor, call, bucket, queue, now_ns)
    agent = floor.state.agents[best[0]]
    leg = f"{call.id}.offer.{attempt}"
    until_ns = now_ns + seconds_ns(queue.ring_timeout_s)
    why = m.Why(
        rule=("best fit, then " if bucket.wanted else "") + strategies.WORDS[queue.strategy],
        waited_ns=now_ns - call.entered_ns,
        position=1,
        waiting=floor.matcher.waiting(call.queue),
        candidates=tuple(_candidate(floor, bucket, name, rank, now_ns) for rank, name in enumerate(best, 1)),
        not_eligible=_not_eligible(bucket),
        step=call.step,
        skills=bucket.wanted,
        only=call.prefer,
        free=len(bucket.free),
        preferred=call.preferred,
        prefer_note=call.prefer_note,
        listed=call.known.listed,
    )
    made = m.OfferMade(call.id, call.queue, agent.id, attempt, leg, until_ns, why)
    endpoint = floor.definition.agents[agent.id].endpoint
    ring_s = int(queue.ring_timeout_s) + RING_GRACE_S
    return m.Step([made], [m.Originate(leg, endpoint, call.id, queue.name, ring_s)])


def ranked(
    floor: Floor, call: Call, bucket: Bucket, queue: Queue, now_ns: int, most: int = CANDIDATES
) -> list[str]:
    """The best free agents, best first, at most ``most``."""
    if bucket.strategy not in DYNAMIC:
        return floor.matcher.ranked(bucket, most)
    definitions = floor.definition.agents
    order = floor.order
    last = order.get(floor.state.last_offered.get(call.queue, ""), -1)
    draw = f"{call.id}.{call.attempts + 1}"

    def key(name: str) -> tuple[float, ...]:
        turn = (order[name] - last - 1) % len(order)
        rank = strategies.dynamic_rank(
            queue.strategy, floor.state.agents[name], definitions[name], turn=turn, draw=draw, now_ns=now_ns
        )
        return (bucket.eligible[name], *rank)

    return nsmallest(most, bucket.free, key)


def _candidate(floor: Floor, bucket: Bucket, name: str, rank: int, now_ns: int) -> m.Candidate:
    idle_ns = now_ns - floor.state.agents[name].idle_since_ns
    return m.Candidate(name, idle_ns, rank, -bucket.eligible[name])


def _not_eligible(bucket: Bucket) -> dict[str, int]:
    counts = {standing: count for standing, count in bucket.standings.items() if count}
    if bucket.unfit:
        counts["not the preferred agent" if bucket.need.only else "lacks skills"] = bucket.unfit
    return counts


class Standing(Struct, frozen=True):
    """One agent and one waiting call. ``reason`` "" = free and qualified."""

    agent: str
    verdict: Literal["free", "not free", "not qualified"]
    reason: str
    fit: int


def standings(floor: Floor, call: Call) -> list[Standing]:
    """Every agent as seen from one call, best first: why it is still waiting, or who else there was."""
    need = floor.matcher.need_of(call.id)
    if need is None:
        return []
    queue = floor.definition.queues.get(need.queue) or Queue(name=need.queue)
    wanted, added = levels(queue, need), groups(queue, need)
    found: list[Standing] = []
    for name, definition in floor.definition.agents.items():
        lack = fits(definition, name, need, wanted, added)
        if lack:
            found.append(Standing(name, "not qualified", lack, 0))
            continue
        level = fit(definition, wanted)
        standing = floor.state.agents[name].standing()
        if standing == FREE:
            found.append(Standing(name, "free", "", level))
        else:
            found.append(Standing(name, "not free", standing, level))
    order = {"free": 0, "not free": 1, "not qualified": 2}
    return sorted(found, key=lambda s: (order[s.verdict], -s.fit, s.agent))
