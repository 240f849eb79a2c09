"""A call centre in virtual time: callers with patience, agents with handle times, misses and breaks.

``World`` drives the core through its inputs alone and keeps books of its own, told from the records
and the definition's text, never from the matcher's indexes. ``idle_while_waiting_ns`` is the time in
which somebody qualified was idle while a caller waited: it must be exactly 0.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ari_app.core import messages as m
from ari_app.core.call import Call
from ari_app.core.definition import SECOND_NS, Agent, Definition, Queue, QueueNode, Relax
from tests.fakes.desk import Desk, Timers, agent, definition

Draw = Callable[[], float]
"""Seconds, by chance."""


@dataclass
class Plan:
    """What people do. All in seconds; ``patience`` and ``answer`` may be infinite."""

    numbers: list[str]
    between: Draw
    """From one arrival to the next."""
    handle: Draw
    patience: Draw
    answer: Draw = lambda: 0.0
    """From the offer to the pick-up."""
    declines: float = 0.0
    misses: float = 0.0
    """Shares of offers that are refused, or rung out."""
    shift: Draw | None = None
    """From one sign-in, pause or return of somebody to the next."""
    prefers: float = 0.0
    priorities: tuple[int, ...] = (0,)


@dataclass
class Books:
    """What happened, in the order of arrival."""

    waited_ns: dict[str, int] = field(default_factory=dict)
    """Call -> time until it was answered or given up."""
    arrived_ns: dict[str, int] = field(default_factory=dict)
    abandoned: set[str] = field(default_factory=set)
    offers: int = 0
    idle_while_waiting_ns: int = 0


class World:
    """``run`` simulates so many calls."""

    def __init__(self, given: Definition, plan: Plan, seed: int, *, watched: bool = True) -> None:
        self.desk = Desk(given, keep_journal=False)
        self.plan = plan
        self.chance = random.Random(seed)
        self.books = Books()
        self.timers = Timers()
        self.left = 0
        self._watched = watched
        self._memo: dict[tuple[object, ...], bool] = {}
        self._unfair_since_ns = 0
        self._answering: set[str] = set()
        self.desk.signs_in(*given.agents)

    def run(self, calls: int) -> Books:
        """Until all of them are over."""
        self.left = calls
        self._soon(self.plan.between, self._somebody_calls)
        if self.plan.shift:
            self._soon(self.plan.shift, self._somebody_changes)
        while self.timers:
            at_ns, act = self.timers.pop()
            self._pass_to(at_ns)
            act()
            self._follow()
        return self.books

    # ------------------------------------------------------------ what people do

    def _soon(self, draw: Draw, act: Callable[[], None]) -> None:
        seconds = draw()
        if seconds < 1e8:
            self.timers.at(self.desk.now_ns + round(seconds * SECOND_NS), act)

    def _somebody_calls(self) -> None:
        self.left -= 1
        names = list(self.desk.definition.agents)
        prefer = self.chance.choice(names) if self.chance.random() < self.plan.prefers else ""
        number = self.chance.choice(self.plan.numbers)
        key = self.desk.calls(number, priority=self.chance.choice(self.plan.priorities), prefer=prefer)
        self.books.arrived_ns[key] = self.desk.now_ns
        self._soon(self.plan.patience, partial(self._gives_up, key))
        if self.left > 0:
            self._soon(self.plan.between, self._somebody_calls)

    def _gives_up(self, key: str) -> None:
        call = self.desk.floor.state.calls.get(key)
        if call is not None and call.state in ("waiting", "offered"):
            self._over(key)
            self.books.abandoned.add(key)
            self.desk.hangs_up(key)

    def _over(self, key: str) -> None:
        self.books.waited_ns[key] = self.desk.now_ns - self.books.arrived_ns[key]

    def _somebody_changes(self) -> None:
        name = self.chance.choice(list(self.desk.definition.agents))
        state = self.desk.floor.state.agents[name].state
        if state == "ready" or self.chance.random() < 0.2:
            self.desk.asks(name, self.chance.choice(("pause", "sign_out")))
        else:
            self.desk.asks(name, "sign_in" if state == "signed_out" else "resume")
        if self.left > 0 and self.plan.shift:
            self._soon(self.plan.shift, self._somebody_changes)
        elif self.plan.shift:
            self.desk.signs_in(*self.desk.definition.agents)
            for each in self.desk.definition.agents:
                self.desk.asks(each, "resume")
            if self.desk.floor.state.calls:
                self.timers.at(self.desk.now_ns + 60 * SECOND_NS, self._somebody_changes)

    def _answer(self, leg: str, key: str) -> None:
        call = self.desk.floor.state.calls.get(key)
        if call is None or call.offer is None or call.offer.leg != leg:
            return
        self._over(key)
        self.desk.answers(key)
        self._soon(self.plan.handle, partial(self._hang_up, key))

    def _refuse(self, leg: str, key: str) -> None:
        call = self.desk.floor.state.calls.get(key)
        if call is not None and call.offer is not None and call.offer.leg == leg:
            self.desk.declines(key)

    def _hang_up(self, key: str) -> None:
        self.desk.hangs_up(key)

    def _follow(self) -> None:
        """What people do about the offers that have just been made."""
        desk = self.desk
        while desk.offers:
            made = desk.offers.pop()
            self.books.offers += 1
            dice = self.chance.random()
            if dice < self.plan.misses:
                continue
            act = self._refuse if dice < self.plan.misses + self.plan.declines else self._answer
            self._soon(self.plan.answer, partial(act, made.leg, made.call))
        if self._watched:
            self._watch()

    # ------------------------------------------------------------ time and fairness

    def _pass_to(self, at_ns: int) -> None:
        """What falls due meanwhile, at its instant; a leg that is told to go is gone at once."""
        desk = self.desk
        while (due_ns := desk.floor.next_due_ns()) is not None and due_ns <= at_ns:
            self._move_clock(max(desk.now_ns, due_ns))
            for item in desk.floor.due(desk.now_ns):
                events = desk.give(item)
                for event in events:
                    if isinstance(event, m.ReleaseAwaited):
                        desk.give(m.ChannelGone(event.leg, 19))
            self._follow()
        self._move_clock(at_ns)

    def _move_clock(self, at_ns: int) -> None:
        if self._unfair_since_ns:
            self.books.idle_while_waiting_ns += at_ns - self.desk.now_ns
        self.desk.now_ns = at_ns

    def _watch(self) -> None:
        """Whether somebody qualified is idle while somebody waits, from now until the clock moves."""
        state = self.desk.floor.state
        idle = [n for n, a in state.agents.items() if a.state == "ready" and not a.not_before_ns]
        self._unfair_since_ns = 0
        if not idle:
            return
        for call in state.calls.values():
            if call.state == "waiting" and any(self._qualifies(call, name) for name in idle):
                self._unfair_since_ns = self.desk.now_ns

    def _qualifies(self, call: Call, name: str) -> bool:
        key = (call.queue, call.step, tuple(call.skills.items()), call.prefer, name)
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = qualifies(self.desk.definition, call, name)
        return found


def asked(queue: Queue, call: Call) -> dict[str, int]:
    """What the call asks for by now, told from the definition's text."""
    found: dict[str, int] = {}
    for skill in {*queue.requires, *call.skills}:
        found[skill] = max(queue.requires.get(skill, 0), call.skills.get(skill, 0))
    for step in queue.relax[: call.step]:
        found = {s: min(n, step.requires.get(s, n)) for s, n in found.items() if s not in step.drop}
    return found


def qualifies(given: Definition, call: Call, name: str) -> bool:
    """One agent and one call, told from the definition's text alone."""
    who, queue = given.agents[name], given.queues[call.queue]
    if call.prefer and name != call.prefer:
        return False
    added = {group for step in queue.relax[: call.step] for group in step.groups}
    if call.queue not in who.queues and not added.intersection(who.groups):
        return False
    return all(s in who.skills and who.skills[s] >= level for s, level in asked(queue, call).items())


# ---------------------------------------------------------------- worlds

BILLING = {"billing": 1}


def single_queue(agents: int, *, seed: int, between_s: float, handle_s: float, patience_s: float) -> World:
    """The queue of the textbooks: one line, equal agents, everything exponential, picked up at once."""
    people = {f"a{n}": agent("q") for n in range(agents)}
    given = definition({"q": Queue("q", wrap_up_s=0, record=False)}, people)
    chance = random.Random(f"people {seed}")
    plan = Plan(
        ["q"],
        between=lambda: chance.expovariate(1 / between_s),
        handle=lambda: chance.expovariate(1 / handle_s),
        patience=lambda: chance.expovariate(1 / patience_s) if patience_s else float("inf"),
    )
    return World(given, plan, seed, watched=False)


def busy_centre(seed: int, *, watched: bool = True) -> World:
    """Three queues, languages, relaxation, ageing, preference, misses, refusals and breaks."""
    chance = random.Random(f"people {seed}")
    queues = {
        "sales": Queue(
            "Sales",
            requires={"sales": 2},
            relax=(Relax(15, {"sales": 1}), Relax(40, drop=("sales",)), Relax(90, groups=("spare",))),
            ageing_every_s=30,
            prefer_s=15,
            wrap_up_s=5,
            record=False,
        ),
        "support": Queue(
            "Support", priority=2, ageing_every_s=30, wrap_up_s=10, strategy="fewest_calls", record=False
        ),
        "billing": Queue(
            "Billing", requires={"billing": 1}, strategy="round_robin", ageing_every_s=30, record=False
        ),
    }
    people: dict[str, Agent] = {}
    for n in range(18):
        own = tuple(queue for queue in queues if chance.random() < 0.5) or ("support",)
        skills = {s: chance.randint(0, 5) for s in ("sales", "billing", "german") if chance.random() < 0.7}
        people[f"a{n}"] = agent(*own, groups=("spare",) if n % 4 == 0 else (), **skills)
    nodes = {"german": QueueNode("sales", skills={"german": 3}), "vip": QueueNode("support", priority=3)}
    plan = Plan(
        [*queues, *nodes],
        between=lambda: chance.expovariate(1 / 8),
        handle=lambda: chance.lognormvariate(4.2, 0.6),
        patience=lambda: chance.expovariate(1 / 180),
        answer=lambda: chance.uniform(0.5, 12),
        declines=0.03,
        misses=0.03,
        shift=lambda: chance.expovariate(1 / 60),
        prefers=0.05,
        priorities=(0, 0, 0, 5),
    )
    return World(definition(queues, people, **nodes), plan, seed, watched=watched)
