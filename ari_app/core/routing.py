"""Who gets whom, and why.

``match`` is called after every step until it has nothing more to offer. Callers: the one who is due
first (priority, then the first entry into any queue) over all queues in which somebody qualified is
free. Agents: who fits best, then the queue's strategy.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import Literal

from msgspec import Struct

from ari_app.core import messages as m, ringing, strategies
from ari_app.core.call import Call
from ari_app.core.definition import Queue
from ari_app.core.floor import Floor
from ari_app.core.matcher import DYNAMIC, FREE, Bucket, fit, fits, groups, levels

CANDIDATES = 6
"""The winner and five runners-up are stored with each decision."""


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
    """Reserve ``call`` and the best free agent of its bucket for each other; for ring all, all of them,
    or as many as are wanted. That is one decision: its first offer has the reasons, the others name it."""
    queue = floor.queue(call.queue)
    number, first = _how_many(queue, call, bucket), call.attempts + 1
    best = ranked(floor, call, bucket, queue, now_ns, number - 1 + CANDIDATES)
    chosen = best[:number]
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
        rung=tuple(chosen) if queue.strategy == "ring_all" else (),
    )
    made, effects = ringing.begin(floor, call, queue, chosen[0], first, why, now_ns)
    step = m.Step([made], effects)
    for place, name in enumerate(chosen[1:], 1):
        reason = _together(why, first, place)
        made, effects = ringing.begin(floor, call, queue, name, first + place, reason, now_ns)
        step.events.append(made)
        step.effects.extend(effects)
    return step


def _how_many(queue: Queue, call: Call, bucket: Bucket) -> int:
    if queue.strategy != "ring_all":
        return 1
    most = queue.ring_at_most - len(call.offers) if queue.ring_at_most else len(bucket.free)
    return min(most, len(bucket.free))


def _together(why: m.Why, first: int, place: int) -> m.Why:
    """What is kept with the second and further offers of one decision."""
    return m.Why(
        rule=why.rule,
        waited_ns=why.waited_ns,
        position=why.position,
        waiting=why.waiting,
        candidates=(why.candidates[place],),
        not_eligible={},
        decision=first,
    )


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
