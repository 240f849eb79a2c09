"""Who waits where, who is free for what: the indexes that make matching cheap.

Calls with the same need (queue, relaxation step, skills asked for by the flow, preferred agent)
share a *bucket*: a waiting line in the order in which calls are due, and the free agents who meet
the need. A bucket with both is *active*; matching takes calls out of active buckets until none is
left, so that no eligible agent is ever idle while an eligible caller waits.

An agent who becomes free enters the buckets whose need they meet, and leaves them when reserved: the
cost of a search grows with the number of needs that one agent meets (bounded by the definition), not
with the number of agents or callers. The needs that queues and flows can have are worked out when a
definition is loaded.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterator

from msgspec import Struct

from ari_app.core.definition import Agent, Definition, Queue, QueueNode, Strategy

LineKey = tuple[int, int, int, str]
"""(-priority, instant of first entry, order of arrival, call): smallest is due first."""

Rank = tuple[float, ...]
"""Smallest is best."""

DYNAMIC: frozenset[Strategy] = frozenset({"least_occupied", "round_robin", "random", "weighted_random"})
"""Strategies whose order changes while agents are free: no heap can keep it."""

FREE = "free"
"""The standing of an agent who may be offered calls; every other standing is a reason why not."""

WITHDRAWN = "withdrawn"
"""For the moment in which an agent's skills are exchanged."""

Entry = tuple[int, Rank, str, int]
"""(-fit, rank by the strategy, agent, ticket) of a free agent in a bucket's heap."""


class Need(Struct, frozen=True, gc=False):
    """What a waiting call needs. ``step``: relaxation steps passed; ``skills``: asked for by the flow,
    as (skill, least level), sorted; ``only``: the one agent who may take it now, "" = anybody."""

    queue: str
    step: int = 0
    skills: tuple[tuple[str, int], ...] = ()
    only: str = ""


def levels(queue: Queue, need: Need) -> dict[str, int]:
    """Skill -> least level asked for, after the steps of relaxation that have passed.

    The flow's skills are added to the queue's, the higher level counting; a step may lower or drop
    either. Lowered to 0 is not dropped: somebody without the skill still does not qualify.
    """
    wanted = dict(queue.requires)
    for skill, level in need.skills:
        wanted[skill] = max(level, wanted.get(skill, 0))
    for relaxed in queue.relax[: need.step]:
        for skill in relaxed.drop:
            wanted.pop(skill, None)
        for skill, level in relaxed.requires.items():
            if skill in wanted:
                wanted[skill] = min(level, wanted[skill])
    return wanted


def groups(queue: Queue, need: Need) -> frozenset[str]:
    """Groups of agents that the steps passed so far have added to the queue's own agents."""
    return frozenset(group for relaxed in queue.relax[: need.step] for group in relaxed.groups)


def fits(agent: Agent, name: str, need: Need, wanted: dict[str, int], added: frozenset[str]) -> str:
    """ "" if the agent qualifies, else why not: "other queue", "other agent" or "skill NAME"."""
    if need.only and need.only != name:
        return "other agent"
    if need.queue not in agent.queues and not added.intersection(agent.groups):
        return "other queue"
    for skill, level in wanted.items():
        if skill not in agent.skills or agent.skills[skill] < level:
            return f"skill {skill}"
    return ""


def fit(agent: Agent, wanted: dict[str, int]) -> int:
    """Sum of a qualified agent's levels in the skills asked for; more is better."""
    return sum(agent.skills[skill] for skill in wanted)


def needs(definition: Definition) -> Iterator[Need]:
    """Every need that a queue and the flows that lead to it can have, preferred agents aside."""
    asked: dict[str, set[tuple[tuple[str, int], ...]]] = {name: set() for name in definition.queues}
    for flow in definition.flows.values():
        for node in flow.nodes.values():
            if isinstance(node, QueueNode) and node.queue in asked:
                asked[node.queue].add(tuple(sorted(node.skills.items())))
    for name, queue in definition.queues.items():
        for skills in sorted(asked[name] or {()}):
            for step in range(len(queue.relax) + 1):
                yield Need(name, step, skills)


class Bucket:
    """One need: its line, its free agents, and a heap of them with stale entries among the true ones."""

    __slots__ = (
        *("eligible", "free", "fresh", "heap", "line", "need", "standings", "strategy", "unfit", "wanted"),
    )

    def __init__(self, need: Need, wanted: dict[str, int], strategy: Strategy) -> None:
        self.need = need
        self.wanted = wanted
        self.strategy = strategy
        self.line: list[LineKey] = []
        self.eligible: dict[str, int] = {}
        """Agent -> -fit."""
        self.unfit = 0
        """The queue's own agents who do not qualify."""
        self.free: dict[str, int] = {}
        """Agent -> ticket of the present free time."""
        self.fresh: list[str] = []
        """Who became free and is not in the heap yet: most are gone again before anybody looks."""
        self.heap: list[Entry] = []
        self.standings: defaultdict[str, int] = defaultdict(int)
        """Standing -> how many eligible agents have it; those who are free are not counted."""

    def active(self) -> bool:
        return bool(self.line) and bool(self.free)

    def enter(self, agent: str, ticket: int) -> None:
        """The agent is free."""
        free, fresh = self.free, self.fresh
        free[agent] = ticket
        fresh.append(agent)
        if len(fresh) > 64 and len(fresh) > 2 * len(free) + 64:
            # Agents came and went while nobody was served from here.
            fresh[:] = free
            self.heap.clear()

    def leave(self, agent: str) -> None:
        """The agent is not free any more; the heap finds out when it comes upon the entry."""
        del self.free[agent]
        if not self.free:
            self.fresh.clear()
            self.heap.clear()

    def ranked(self, most: int, rank: Callable[[Strategy, str], Rank]) -> list[str]:
        """At most ``most`` free agents, best first, for strategies that are not dynamic."""
        heap, free = self.heap, self.free
        for agent in self.fresh:
            if agent in free:
                entry = (self.eligible[agent], rank(self.strategy, agent), agent, free[agent])
                heapq.heappush(heap, entry)
        self.fresh.clear()
        if len(heap) > 2 * len(free) + 64:
            # Stale entries of low rank, which no search comes upon.
            heap[:] = {entry for entry in heap if free.get(entry[2]) == entry[3]}
            heapq.heapify(heap)
        found: list[str] = []
        taken: list[Entry] = []
        while heap and len(found) < most:
            entry = heapq.heappop(heap)
            # Stale, or twice there because the agent came, went and came again.
            if free.get(entry[2]) == entry[3] and (not taken or entry != taken[-1]):
                found.append(entry[2])
                taken.append(entry)
        for entry in taken:
            heapq.heappush(heap, entry)
        return found


class _Staff:
    """Who is in which queue and group, and who has a skill at which level, as sets."""

    def __init__(self, definition: Definition) -> None:
        self._agents = definition.agents
        self._levels: dict[tuple[str, int], set[str]] = {}
        self.queues: dict[str, set[str]] = {}
        self.groups: dict[str, set[str]] = {}
        for name, agent in definition.agents.items():
            for queue in agent.queues:
                self.queues.setdefault(queue, set()).add(name)
            for group in agent.groups:
                self.groups.setdefault(group, set()).add(name)

    def qualified(self, need: Need, wanted: dict[str, int], added: frozenset[str]) -> set[str]:
        """The same as asking ``fits`` of everybody."""
        if need.only:
            agent = self._agents.get(need.only)
            return {need.only} if agent and not fits(agent, need.only, need, wanted, added) else set()
        found = self.queues.get(need.queue, set()).union(*(self.groups.get(g, ()) for g in added))
        for skill, level in wanted.items():
            found &= self._at_least(skill, level)
        return found

    def _at_least(self, skill: str, level: int) -> set[str]:
        have = self._levels.get((skill, level))
        if have is None:
            have = {name for name, agent in self._agents.items() if agent.skills.get(skill, -1) >= level}
            self._levels[skill, level] = have
        return have


class Matcher:
    """The indexes of one floor. ``rank`` gives an agent's rank by a strategy when they become free."""

    def __init__(self, rank: Callable[[Strategy, str], Rank]) -> None:
        self._rank = rank
        self._definition = Definition()
        self._staff = _Staff(self._definition)
        self._buckets: dict[Need, Bucket] = {}
        self._of_agent: dict[str, list[Bucket]] = {}
        self._place: dict[str, tuple[Bucket, LineKey]] = {}
        self._tickets: dict[str, int] = {}
        self._next_ticket = 0
        self._standings: dict[str, str] = {}
        self._waiting: dict[str, int] = {}
        self.active: set[Bucket] = set()
        """Those with somebody waiting and somebody free."""

    # ------------------------------------------------------------ definition

    def define(self, definition: Definition) -> None:
        """Take a new definition: needs and eligibility are worked out anew; who waits stays.

        Every agent's standing must be told again.
        """
        places = {call: (bucket.need, key) for call, (bucket, key) in self._place.items()}
        self._definition, self._staff = definition, _Staff(definition)
        self._buckets, self._place, self._tickets, self.active = {}, {}, {}, set()
        self._waiting, self._standings = {}, {}
        self._of_agent = {name: [] for name in definition.agents}
        for need in needs(definition):
            self._bucket(need)
        for call, (need, key) in places.items():
            self.wait(call, need, key)

    def alter(self, definition: Definition, name: str) -> None:
        """Only this agent's skills or queues are others: the rest stays as it is."""
        before, after = self._definition.agents[name], definition.agents[name]
        standing = self._standings.get(name)
        if standing is not None:
            self.stands(name, WITHDRAWN)
            for bucket in self._of_agent[name]:
                bucket.standings[WITHDRAWN] -= 1
            del self._standings[name]
        self._definition, self._staff = definition, _Staff(definition)
        self._of_agent[name] = []
        for bucket in self._buckets.values():
            need = bucket.need
            added = groups(definition.queues.get(need.queue) or Queue(name=need.queue), need)
            bucket.unfit -= need.queue in before.queues and name not in bucket.eligible
            bucket.eligible.pop(name, None)
            if not fits(after, name, need, bucket.wanted, added):
                bucket.eligible[name] = -fit(after, bucket.wanted)
                self._of_agent[name].append(bucket)
            bucket.unfit += need.queue in after.queues and name not in bucket.eligible
        if standing is not None:
            self.stands(name, standing)

    def _bucket(self, need: Need) -> Bucket:
        bucket = self._buckets.get(need)
        if bucket is not None:
            return bucket
        queue = self._definition.queues.get(need.queue) or Queue(name=need.queue)
        wanted, added = levels(queue, need), groups(queue, need)
        bucket = self._buckets[need] = Bucket(need, wanted, queue.strategy)
        qualified = self._staff.qualified(need, wanted, added)
        own = self._staff.queues.get(need.queue, set())
        bucket.unfit = len(own) - len(own & qualified)
        for name in sorted(qualified):
            bucket.eligible[name] = -fit(self._definition.agents[name], wanted)
            self._of_agent[name].append(bucket)
            if name in self._tickets:
                bucket.enter(name, self._tickets[name])
            elif name in self._standings:
                bucket.standings[self._standings[name]] += 1
        return bucket

    # ------------------------------------------------------------ calls

    def wait(self, call: str, need: Need, key: LineKey) -> None:
        """The call waits with this need, at this place."""
        self.leave(call)
        bucket = self._bucket(need)
        insort(bucket.line, key)
        self._waiting[need.queue] = self._waiting.get(need.queue, 0) + 1
        self._place[call] = (bucket, key)
        if bucket.free:
            self.active.add(bucket)

    def leave(self, call: str) -> None:
        """The call waits no more (or was never here)."""
        place = self._place.pop(call, None)
        if place is None:
            return
        bucket, key = place
        del bucket.line[bisect_left(bucket.line, key)]
        self._waiting[bucket.need.queue] -= 1
        if not bucket.line:
            self.active.discard(bucket)
            if bucket.need.only:
                # A need for one agent comes and goes with its callers; those of queues and flows stay.
                del self._buckets[bucket.need]
                for name in bucket.eligible:
                    self._of_agent[name].remove(bucket)

    def waiting(self, queue: str) -> int:
        """How many calls of the queue wait without an offer."""
        return self._waiting.get(queue, 0)

    def place_of(self, call: str) -> LineKey | None:
        place = self._place.get(call)
        return place[1] if place else None

    def bucket_of(self, call: str) -> Bucket | None:
        place = self._place.get(call)
        return place[0] if place else None

    def need_of(self, call: str) -> Need | None:
        place = self._place.get(call)
        return place[0].need if place else None

    # ------------------------------------------------------------ agents

    def stands(self, agent: str, standing: str) -> None:
        """``FREE``: the agent may be offered calls from now on; else the reason why not."""
        before = self._standings.get(agent)
        if before == standing or agent not in self._of_agent:
            return
        self._standings[agent] = standing
        buckets = self._of_agent[agent]
        if before == FREE:
            del self._tickets[agent]
            for bucket in buckets:
                bucket.standings[standing] += 1
                bucket.leave(agent)
                if not bucket.free:
                    self.active.discard(bucket)
            return
        if standing == FREE:
            self._next_ticket = ticket = self._next_ticket + 1
            self._tickets[agent] = ticket
            for bucket in buckets:
                bucket.enter(agent, ticket)
                if bucket.line:
                    self.active.add(bucket)
        else:
            for bucket in buckets:
                bucket.standings[standing] += 1
        if before is not None:
            for bucket in buckets:
                bucket.standings[before] -= 1

    def is_free(self, agent: str) -> bool:
        return agent in self._tickets

    # ------------------------------------------------------------ matching

    def first(self) -> Bucket | None:
        """The active bucket whose first caller is due before those of all others."""
        best: Bucket | None = None
        for bucket in self.active:
            if best is None or bucket.line[0] < best.line[0]:
                best = bucket
        return best

    def ranked(self, bucket: Bucket, most: int) -> list[str]:
        """At most ``most`` free agents of the bucket, best first; not for the dynamic strategies."""
        return bucket.ranked(most, self._rank)

    def buckets(self) -> Iterator[Bucket]:
        """All buckets, for checks and explanations."""
        return iter(self._buckets.values())
