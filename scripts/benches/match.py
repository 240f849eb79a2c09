"""Matching: what a search costs with 1,000 agents, 50 skills and 5,000 callers waiting.

Timed is all that the engine spends on matching when an agent becomes free or a call is queued: applying
that event, ``routing.match`` until it finds nothing more, and applying its offers. Agents with no
eligible caller among the 5,000 and calls with no free agent are included. The same with ten times the
agents gives ``growth_10x_agents``, the ratio of the means. Samples are processor time of the thread, so
that another process on the machine does not count; ``wall_p99_us`` is by the clock.
"""

from __future__ import annotations

import gc
import random
import time
from collections import Counter
from statistics import fmean

from ari_app.core import messages as m, routing, wait
from ari_app.core.definition import SECOND_NS, Agent, Definition, Flow, Queue, QueueNode, Relax
from ari_app.core.floor import Floor
from scripts.benches import _common

AGENTS, WAITING, EVENTS = 1000, 5000, 40_000
Sample = tuple[str, int, int]
"""Kind, nanoseconds of processor time, nanoseconds on the wall."""
LANGUAGES = [f"language-{n}" for n in range(10)]
PRODUCTS = [f"product-{n}" for n in range(40)]
BUSY_QUEUES, CALM_QUEUES = 16, 4
"""Callers wait in the busy queues; agents of the calm ones find nobody, or are found idle by who calls."""


def definition(agents: int, chance: random.Random) -> Definition:
    """Twenty queues that ask for a product and, by the flow, a language; four steps of relaxation."""
    queues, nodes = {}, {}
    for n in range(BUSY_QUEUES + CALM_QUEUES):
        name, product = f"queue-{n}", PRODUCTS[n * 2]
        strategy = ("longest_idle", "fewest_calls", "least_recent", "linear")[n % 4]
        queues[name] = Queue(
            name,
            strategy=strategy,  # type: ignore[arg-type]
            requires={product: 3},
            relax=(
                Relax(20, {product: 2}),
                Relax(60, {product: 1}),
                Relax(120, drop=(product,)),
                Relax(240, groups=("overflow",)),
            ),
            ageing_every_s=60,
            prefer_s=20,
        )
        for language in LANGUAGES:
            nodes[f"{name}-{language}"] = QueueNode(name, skills={language: chance.randint(1, 3)})
    people = {}
    for n in range(agents):
        calm = n % 5 == 0
        own = chance.sample(range(BUSY_QUEUES, BUSY_QUEUES + CALM_QUEUES) if calm else range(BUSY_QUEUES), 2)
        skills = {PRODUCTS[q * 2]: chance.randint(1, 5) for q in own}
        skills |= {p: chance.randint(1, 5) for p in chance.sample(PRODUCTS, 3)}
        skills |= {each: chance.randint(1, 5) for each in chance.sample(LANGUAGES, 2)}
        groups = ("overflow",) if not calm and n % 20 == 1 else ()
        people[f"a{n}"] = Agent(f"A{n}", f"a{n}", tuple(f"queue-{q}" for q in own), skills, groups)
    flow = Flow(next(iter(nodes)), dict(nodes))
    return Definition(numbers={"100": "main"}, flows={"main": flow}, queues=queues, agents=people)


class Bench:
    """A floor in the middle of a bad day, and the events that come."""

    def __init__(self, agents: int, seed: int) -> None:
        self.chance = random.Random(seed)
        self.floor = Floor()
        self.now_ns = 1_800_000_000 * SECOND_NS
        self.samples: list[Sample] = []
        self.calls = 0
        self.line: list[str] = []
        self.free: list[str] = []
        self.busy: list[str] = []
        self._set_up(agents)

    def do(self, event: m.AnyEvent) -> None:
        self.floor.evolve(self.now_ns, event)

    def search(self, kind: str, event: m.AnyEvent) -> None:
        """Apply ``event`` and match; the time of both is the sample."""
        floor, now_ns, found = self.floor, self.now_ns, []
        wall, began = time.perf_counter_ns(), time.thread_time_ns()
        floor.evolve(now_ns, event)
        while (step := routing.match(floor, now_ns)) is not None:
            for made in step.events:
                floor.evolve(now_ns, made)
            found.append(step)
        took, on_wall = time.thread_time_ns() - began, time.perf_counter_ns() - wall
        self.samples.append((f"{kind}, {'offer' if found else 'nobody'}", took, on_wall))
        for step in found:
            self._talk(step)

    def _talk(self, step: m.Step) -> None:
        """The offer is taken; the talk begins."""
        made = step.events[0]
        assert isinstance(made, m.OfferMade)
        self.do(m.CallConnected(made.call, made.queue, made.agent, made.attempt, made.leg, "bridge", 1, ""))
        self.busy.append(made.agent)

    def _set_up(self, agents: int) -> None:
        self.do(m.DefinitionLoaded(definition(agents, self.chance), "digest"))
        self.do(m.MatchingBegan(0, 0))
        for name in self.floor.definition.agents:
            self.do(m.AgentSignedIn(name, ""))
            self.search("set up", m.AgentRested(name))
        while len(self.floor.state.calls) - len(self.busy) < WAITING:
            self.arrive(calm=False)
        self.samples.clear()

    def arrive(self, *, calm: bool) -> None:
        """Somebody calls: a queue, a language, now and then an agent they know."""
        self.calls += 1
        key, n = f"c{self.calls}", self.calls
        first, last = (BUSY_QUEUES, BUSY_QUEUES + CALM_QUEUES) if calm else (0, BUSY_QUEUES)
        queue = self.floor.definition.queues[f"queue-{self.chance.randrange(first, last)}"]
        node = self.floor.definition.flows["main"].nodes[f"{queue.name}-{self.chance.choice(LANGUAGES)}"]
        assert isinstance(node, QueueNode)
        known = self.chance.random() < 0.02
        prefer = f"a{self.chance.randrange(len(self.floor.definition.agents))}" if known else ""
        base = self.chance.choice((0, 0, 0, 5))
        self.do(m.CallOpened(key, f"ch{n}", "100", "main", self.now_ns + 10**18, False, base, prefer))
        begun = wait.progress(
            queue, entered_ns=self.now_ns, queued_ns=self.now_ns, base=base, prefer=prefer, now_ns=self.now_ns
        )
        self.line.append(key)
        queued = m.CallQueued(key, queue.name, self.now_ns, base, node.skills, begun.prefer, begun.next_ns)
        self.search("arrival", queued)

    def over(self) -> None:
        """A talk ends (not timed), and the agent becomes free."""
        at = self.chance.randrange(len(self.busy))
        self.busy[at], self.busy[-1] = self.busy[-1], self.busy[at]
        agent = self.floor.state.agents[self.busy.pop()]
        call = self.floor.state.calls[agent.call]
        self.do(m.CallEnded(call.id, "answered", "caller", call.queue, agent.id, 1, 1))
        self.do(m.LegReleased(agent.id, call.leg))
        self.search("ready", m.AgentFreed(agent.id, "ready", ""))

    def gives_up(self) -> None:
        """A waiting caller hangs up."""
        key = self.chance.choice(self.line)
        call = self.floor.state.calls.get(key)
        if call is not None and call.state == "waiting":
            self.do(m.CallEnded(key, "abandoned", "caller", call.queue, "", 1, 0))

    def steps_out(self) -> None:
        """An idle agent pauses and comes back."""
        name = f"a{self.chance.randrange(len(self.floor.definition.agents))}"
        if self.floor.state.agents[name].state == "ready":
            self.do(m.AgentPaused(name, "", "", False))
            self.search("ready", m.AgentResumed(name, ""))

    def time_passes(self, seconds: float) -> None:
        """What falls due moves waiting calls on."""
        self.now_ns += round(seconds * SECOND_NS)
        for due in self.floor.due(self.now_ns):
            if due.kind == "wait" and self.floor.is_due(due.kind, due.key, due.due_ns):
                call = self.floor.state.calls[due.key]
                moved = wait.advance(call, self.floor.definition.queues[call.queue], self.now_ns)
                self.search("relaxed or aged", moved)

    def run(self) -> None:
        """Some searches by ready agents and arrivals, with callers who give up, pauses and time between."""
        for _ in range(500):
            self._something()
        self.line = [key for key in self.line if key in self.floor.state.calls]

    def _something(self) -> None:
        dice = self.chance.random()
        waiting = len(self.floor.state.calls) - len(self.busy)
        if dice < 0.05:
            self.time_passes(self.chance.expovariate(10))
        elif dice < 0.10:
            self.steps_out()
        elif dice < 0.15 and waiting > WAITING:
            self.gives_up()
        elif dice < 0.17:
            self.arrive(calm=True)
        elif waiting < WAITING:
            self.arrive(calm=False)
        elif self.busy:
            self.over()


def measure(events: int, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Every search, with the agents and with ten times as many; in turns, so that both meet the same
    other work on the machine."""
    once, ten = Bench(AGENTS, seed), Bench(AGENTS * 10, seed)
    gc.collect()
    gc.freeze()  # as the service does once it is wired
    while len(searches(once.samples)) < events:
        once.run()
        ten.run()
    return once.samples, ten.samples


def searches(samples: list[Sample]) -> list[float]:
    """Microseconds of processor time, ascending, of ready agents and arrivals."""
    return sorted(took / 1000 for kind, took, _ in samples if kind.startswith(("ready", "arrival")))


def main() -> None:
    parser = _common.arguments(__doc__ or "")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    samples, tenfold = measure(given.events, given.seed)
    once, ten = searches(samples), searches(tenfold)
    wall = sorted(w / 1000 for kind, _, w in samples if kind.startswith(("ready", "arrival")))
    figures: dict[str, object] = {
        "p50_us": _common.percentile(once, 0.5),
        "p99_us": _common.percentile(once, 0.99),
        "mean_us": fmean(once),
        "max_us": once[-1],
        "wall_p99_us": _common.percentile(wall, 0.99),
        "events": len(once),
        "growth_10x_agents": fmean(ten) / fmean(once),
        "p99_us_10x_agents": _common.percentile(ten, 0.99),
        "machine": _common.machine(),
    }
    for kind, count in sorted(Counter(kind for kind, _, _ in samples).items()):
        took = sorted(t / 1000 for k, t, _ in samples if k == kind)
        middle, most = _common.percentile(took, 0.5), _common.percentile(took, 0.99)
        figures[f"{kind}: events, p50, p99"] = f"{count}, {middle:.1f}, {most:.1f}"
    both = ((AGENTS, samples), (AGENTS * 10, tenfold))
    rows = [(agents, *sample) for agents, found in both for sample in found]
    _common.write_raw(given.raw, "match.csv", ("agents", "kind", "cpu_ns", "wall_ns"), rows)
    _common.report(figures, as_json=given.json)


if __name__ == "__main__":
    main()
