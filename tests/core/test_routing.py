"""Who gets whom: against brute force over all agents and calls, and one strategy at a time."""

from __future__ import annotations

import random
from collections import Counter
from typing import get_args

import pytest

from ari_app.core import messages as m, routing, strategies
from ari_app.core.agent import Agent as AgentRecord
from ari_app.core.call import Call
from ari_app.core.definition import Agent, Definition, Queue, QueueNode, Relax, Strategy
from ari_app.core.floor import Floor
from ari_app.core.matcher import DYNAMIC
from ari_app.core.step import advance
from tests.fakes.desk import Desk, agent, definition
from tests.fakes.simulation import asked, qualifies

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

# ---------------------------------------------------------------- brute force


def best_first(floor: Floor, call: Call, names: list[str], now_ns: int) -> list[str]:
    """The documented order; for chance, any order of those who fit best."""
    queue, people = floor.definition.queues[call.queue], list(floor.definition.agents)
    wanted = asked(queue, call)

    def key(name: str) -> tuple[float, ...]:
        record, place = floor.state.agents[name], people.index(name)
        fit = -sum(floor.definition.agents[name].skills[skill] for skill in wanted)
        last = floor.state.last_offered.get(call.queue)
        turn = (place - (people.index(last) + 1 if last in people else 0)) % len(people)
        by: dict[str, tuple[float, ...]] = {
            "longest_idle": (record.idle_since_ns, place),
            "least_recent": (record.last_call_ns, place),
            "fewest_calls": (record.handled, record.idle_since_ns, place),
            "least_occupied": (record.occupancy(now_ns), record.idle_since_ns, turn),
            "round_robin": (turn,),
            "linear": (place,),
            "ring_all": (record.idle_since_ns, place),
        }
        return (fit, *by.get(queue.strategy, ()))

    return sorted(names, key=key)


def brute_force(floor: Floor, made: m.OfferMade | None, now_ns: int) -> None:
    """The pair that is due, out of all pairs; None only if there is none."""
    idle = [n for n, a in floor.state.agents.items() if a.available(now_ns) and not a.not_before_ns]
    waiting = sorted(
        (call for call in floor.state.calls.values() if wants_more(floor, call)),
        key=lambda call: (-call.priority, call.entered_ns, call.order),
    )
    for call in waiting:
        free = [name for name in idle if qualifies(floor.definition, call, name)]
        if not free:
            continue
        assert made is not None, f"{call.id} waits and {free} are idle"
        assert made.call == call.id, f"{call.id} is due before {made.call}"
        order = best_first(floor, call, free, now_ns)
        strategy = floor.definition.queues[call.queue].strategy
        rung = how_many_rung(floor, call, len(order)) if strategy == "ring_all" else 0
        assert made.why.rung == tuple(order[:rung])
        if "random" in strategy:
            assert made.agent in order
        else:
            assert made.agent == order[0], f"{order} in that order, not {made.agent}"
            assert [c.agent for c in made.why.candidates] == order[: max(rung - 1, 0) + routing.CANDIDATES]
        assert made.why.free == len(free)
        assert made.why.skills == asked(floor.definition.queues[call.queue], call)
        others = sum(made.why.not_eligible.values())
        own = [n for n, a in floor.definition.agents.items() if call.queue in a.queues]
        assert others >= len(set(own) - set(free))
        return
    assert made is None, f"{made} is for nobody"


def how_many_rung(floor: Floor, call: Call, free: int) -> int:
    most = floor.definition.queues[call.queue].ring_at_most
    return min(free, most - len(call.offers)) if most else free


def wants_more(floor: Floor, call: Call) -> bool:
    """Waits with nobody offered, or is rung at some and may be at more."""
    if call.state != "offered":
        return call.state == "waiting"
    return floor.definition.queues[call.queue].strategy == "ring_all" and how_many_rung(floor, call, 1) > 0


def some_definition(chance: random.Random) -> Definition:
    """Two or three queues, up to six agents, two skills, a group; everything by chance."""
    queues = {}
    for name in ("q0", "q1", "q2")[: chance.randint(2, 3)]:
        requires = {s: chance.randint(1, 4) for s in ("x", "y") if chance.random() < 0.5}
        steps = []
        for number in range(chance.randint(0, 3)):
            lowered = {s: chance.randint(0, n) for s, n in requires.items() if chance.random() < 0.5}
            dropped = tuple(s for s in requires if chance.random() < 0.3)
            steps.append(Relax(10 * (number + 1), lowered, dropped, ("g",) if chance.random() < 0.4 else ()))
        queues[name] = Queue(
            name,
            strategy=chance.choice(STRATEGIES),
            ring_at_most=chance.choice((0, 2)),
            requires=requires,
            relax=tuple(steps),
            priority=chance.choice((0, 0, 3)),
            ageing_every_s=chance.choice((0, 15)),
            ageing_by=2,
            prefer_s=chance.choice((0, 12)),
            wrap_up_s=chance.choice((0, 5)),
        )
    people: dict[str, Agent] = {}
    for number in range(chance.randint(1, 6)):
        member = tuple(name for name in queues if chance.random() < 0.6)
        skills = {s: chance.randint(0, 5) for s in ("x", "y") if chance.random() < 0.7}
        people[f"a{number}"] = agent(*member, groups=("g",) if chance.random() < 0.4 else (), **skills)
    return definition(queues, people, asking=QueueNode("q0", priority=1, skills={"y": 2}))


def something_happens(desk: Desk, chance: random.Random) -> None:
    """One input that is possible now, or some time."""
    dice, calls = chance.random(), list(desk.floor.state.calls.values())
    call = chance.choice(calls) if calls else None
    name = chance.choice(list(desk.definition.agents))
    if dice < 0.35:
        prefer = name if chance.random() < 0.3 else ""
        desk.calls(
            chance.choice(list(desk.definition.numbers)), priority=chance.choice((0, 0, 4)), prefer=prefer
        )
    elif dice < 0.5:
        desk.asks(name, chance.choice(("sign_in", "sign_in", "pause", "resume", "sign_out")))
    elif dice < 0.65:
        desk.passes(chance.choice((0.5, 3, 11, 40)))
    elif call is not None and call.offer is not None:
        (desk.answers if chance.random() < 0.7 else desk.declines)(call.id)
    elif call is not None and (call.state == "talking" or chance.random() < 0.2):
        desk.hangs_up(call.id)


@pytest.mark.parametrize("seed", range(60))
def test_every_offer_is_the_one_that_is_due(seed: int) -> None:
    for case in range(5):
        chance = random.Random(f"{seed}/{case}")
        desk = Desk(some_definition(chance), brute_force)
        desk.signs_in(*desk.definition.agents)
        for _ in range(80):
            something_happens(desk, chance)
        replayed = Floor()
        for at_ns, item, events in desk.journal:
            assert advance(replayed, item, at_ns).events == events
        restored = Floor.restore(desk.floor.dump())
        assert routing.match(restored, desk.now_ns) is None


# ---------------------------------------------------------------- one strategy at a time


def staffed(strategy: Strategy, **people: Agent) -> Desk:
    queue = Queue("Sales", strategy=strategy, wrap_up_s=0)
    desk = Desk(
        definition({"sales": queue}, people or {name: agent("sales") for name in ("ann", "bob", "eve")})
    )
    for name in desk.definition.agents:
        desk.passes(10)
        desk.signs_in(name)
    desk.passes(10)
    return desk


def serve(desk: Desk, seconds: float = 30, number: str = "sales") -> str:
    """One caller is served for so long; by whom."""
    call = desk.calls(number)
    offer = desk.call(call).offer
    assert offer is not None
    desk.answers(call)
    desk.passes(seconds)
    desk.hangs_up(call)
    desk.passes(1)
    return offer.agent


def test_longest_idle_goes_round_as_calls_end() -> None:
    desk = staffed("longest_idle")
    assert [serve(desk) for _ in range(5)] == ["ann", "bob", "eve", "ann", "bob"]


def test_a_missed_offer_does_not_restart_idle_time() -> None:
    desk = staffed("longest_idle")
    call = desk.calls("sales")
    desk.declines(call)  # ann refuses and is left alone for five seconds
    assert desk.offers[-1].agent == "bob"
    desk.hangs_up(call)
    desk.passes(6)
    assert serve(desk) == "ann"


def test_least_recent_looks_at_the_last_call_and_not_at_pauses() -> None:
    desk = staffed("least_recent")
    assert [serve(desk) for _ in range(3)] == ["ann", "bob", "eve"]
    desk.asks("ann", "pause")
    desk.passes(60)
    desk.asks("ann", "resume")
    assert serve(desk) == "ann"


def test_fewest_calls_evens_out() -> None:
    desk = staffed("fewest_calls")
    desk.asks("eve", "pause")
    assert Counter(serve(desk) for _ in range(4)) == {"ann": 2, "bob": 2}
    desk.asks("eve", "resume")
    assert [serve(desk) for _ in range(2)] == ["eve", "eve"]


def test_least_occupied_prefers_who_talked_less_of_their_time() -> None:
    desk = staffed("least_occupied")
    assert serve(desk, seconds=600) == "ann"
    assert serve(desk, seconds=5) == "bob"
    assert serve(desk, seconds=5) == "eve"
    assert {serve(desk, seconds=1) for _ in range(4)} == {"bob", "eve"}


def test_occupancy_is_the_share_of_time_on_calls_without_pauses() -> None:
    desk = staffed("linear", ann=agent("sales"))
    serve(desk, seconds=29)  # ten seconds ready before, one after
    desk.asks("ann", "pause")
    desk.passes(1000)
    desk.asks("ann", "resume")
    desk.passes(18)
    record = desk.floor.state.agents["ann"]
    assert record.occupancy(desk.now_ns) == pytest.approx(29 / (10 + 29 + 1 + 18))


def test_round_robin_goes_on_after_a_restart() -> None:
    desk = staffed("round_robin")
    assert [serve(desk) for _ in range(4)] == ["ann", "bob", "eve", "ann"]
    desk.floor = Floor.restore(desk.floor.dump())
    assert [serve(desk) for _ in range(3)] == ["bob", "eve", "ann"]


def test_round_robin_passes_over_who_is_away_and_comes_back_to_them() -> None:
    desk = staffed("round_robin")
    desk.asks("bob", "pause")
    assert [serve(desk) for _ in range(3)] == ["ann", "eve", "ann"]
    desk.asks("bob", "resume")
    assert serve(desk) == "bob"


def test_linear_takes_the_first_who_is_free() -> None:
    desk = staffed("linear")
    assert [serve(desk) for _ in range(3)] == ["ann", "ann", "ann"]
    held = desk.calls("sales")
    desk.answers(held)
    assert serve(desk) == "bob"


@pytest.mark.parametrize(
    ("strategy", "weights"),
    [("random", (1, 1, 1, 1)), ("weighted_random", (1, 2, 3, 4)), ("random", (9, 1, 1, 1))],
)
def test_chance_is_spread_as_it_should_be(strategy: Strategy, weights: tuple[int, ...]) -> None:
    people = {f"a{n}": agent("sales", weight=w) for n, w in enumerate(weights)}
    desk = staffed(strategy, **people)
    rounds = 2000
    seen = Counter(serve(desk, seconds=0) for _ in range(rounds))
    shares = weights if strategy == "weighted_random" else (1,) * len(weights)
    expected = [rounds * share / sum(shares) for share in shares]
    chi_square = sum((seen[f"a{n}"] - e) ** 2 / e for n, e in enumerate(expected))
    assert chi_square < 16.27, seen  # 3 degrees of freedom, one in a thousand


def test_chance_is_the_same_for_the_same_call_and_another_for_the_next_attempt() -> None:
    assert strategies.chance("e-1.1", "bob") == strategies.chance("e-1.1", "bob")
    assert strategies.chance("e-1.1", "bob") != strategies.chance("e-1.2", "bob")


# ---------------------------------------------------------------- skills, groups, preference, order


def test_who_fits_best_goes_before_who_is_idle_longest() -> None:
    queue = Queue("Sales", requires={"german": 2}, wrap_up_s=0)
    people = {
        "low": agent("sales", german=2),
        "high": agent("sales", german=5, french=5),
        "none": agent("sales", french=5),
        "below": agent("sales", german=1),
    }
    desk = Desk(definition({"sales": queue}, people))
    for name in people:
        desk.signs_in(name)
        desk.passes(10)
    call = desk.calls("sales")
    made = desk.offers[-1]
    assert [(c.agent, c.fit) for c in made.why.candidates] == [("high", 5), ("low", 2)]
    assert made.why.not_eligible == {"lacks skills": 2}
    desk.answers(call)
    desk.calls("sales")
    desk.calls("sales")
    assert [o.agent for o in desk.offers] == ["high", "low"]


def test_a_missing_skill_is_not_level_zero() -> None:
    queue = Queue("Sales", requires={"german": 3}, relax=(Relax(10, {"german": 0}),), wrap_up_s=0)
    desk = Desk(definition({"sales": queue}, {"none": agent("sales"), "zero": agent("sales", german=0)}))
    desk.signs_in("none", "zero")
    desk.calls("sales")
    desk.passes(9.9)
    assert desk.offers == []
    desk.passes(0.2)
    assert [offer.agent for offer in desk.offers] == ["zero"]


def test_relaxation_reaches_callers_already_waiting_and_goes_on_while_a_phone_rings() -> None:
    queue = Queue(
        "Sales",
        requires={"german": 3},
        relax=(Relax(10, {"german": 1}), Relax(20, drop=("german",)), Relax(30, groups=("spare",))),
        ring_timeout_s=25,
        retry_pause_s=300,
    )
    people = {
        "good": agent("sales", german=4),
        "weak": agent("sales", german=1),
        "none": agent("sales"),
        "spare": agent(groups=("spare",)),
    }
    desk = Desk(definition({"sales": queue}, people))
    desk.signs_in("good", "spare")
    first, second = desk.calls("sales"), desk.calls("sales")
    assert [(o.call, o.agent) for o in desk.offers] == [(first, "good")]
    desk.signs_in("weak")
    desk.passes(10)  # the first rings at good's; the second is relaxed
    assert (desk.offers[-1].call, desk.offers[-1].agent) == (second, "weak")
    assert desk.call(first).step == 1
    desk.passes(12)
    desk.declines(first)  # after the second step, taken while it rang
    assert desk.call(first).step == 2
    desk.signs_in("none")
    assert (desk.offers[-1].call, desk.offers[-1].agent, desk.offers[-1].why.step) == (first, "none", 2)
    desk.declines(first)
    desk.passes(8)
    assert (desk.offers[-1].call, desk.offers[-1].agent) == (first, "spare")


def test_a_call_is_kept_for_its_agent_for_a_while_only() -> None:
    queue = Queue("Sales", prefer_s=20, wrap_up_s=0)
    desk = Desk(definition({"sales": queue}, {"ann": agent("sales"), "bob": agent("sales")}))
    desk.signs_in("ann", "bob")
    busy = desk.calls("sales")
    desk.answers(busy)
    assert desk.offers[-1].agent == "ann"
    kept, other = desk.calls("sales", prefer="ann"), desk.calls("sales", prefer="ann")
    assert len(desk.offers) == 1, "bob is free, but they are kept for ann"
    desk.passes(10)
    desk.hangs_up(busy)
    assert (desk.offers[-1].call, desk.offers[-1].agent, desk.offers[-1].why.only) == (kept, "ann", "ann")
    assert desk.offers[-1].why.not_eligible == {"not the preferred agent": 1}
    desk.passes(10)
    assert (desk.offers[-1].call, desk.offers[-1].agent) == (other, "bob")


@pytest.mark.parametrize(
    ("prefer", "note"), [("gone", "unknown_agent"), ("ann", "signed_out"), ("eve", "not_qualified")]
)
def test_nobody_is_kept_for_an_agent_who_cannot_take_the_call(prefer: str, note: str) -> None:
    people = {"bob": agent("sales"), "ann": agent("sales"), "eve": agent("other")}
    queues = {"sales": Queue("Sales", prefer_s=20), "other": Queue("Other")}
    desk = Desk(definition(queues, people))
    desk.signs_in("bob", "eve")
    desk.calls("sales", prefer=prefer)
    assert [(offer.agent, offer.why.prefer_note) for offer in desk.offers] == [("bob", note)]


def test_an_agent_of_several_queues_takes_the_call_that_is_next_over_all_of_them() -> None:
    queues = {"a": Queue("A"), "b": Queue("B", priority=2)}
    desk = Desk(definition(queues, {"bob": agent("a", "b")}))
    calls = [desk.calls("a"), desk.calls("b"), desk.calls("a", priority=3), desk.calls("b")]
    served = []
    desk.signs_in("bob")
    for _ in calls:
        served.append(desk.offers[-1].call)
        desk.answers(served[-1])
        desk.hangs_up(served[-1])
        desk.passes(10)
    assert served == [calls[2], calls[1], calls[3], calls[0]]


def test_a_new_definition_moves_on_those_who_wait_already() -> None:
    bob = agent("sales", german=2)
    strict = definition({"sales": Queue("Sales", requires={"german": 5})}, {"bob": bob})
    desk = Desk(strict)
    desk.signs_in("bob")
    desk.calls("sales")
    desk.passes(30)
    assert desk.offers == []
    steps = (Relax(20, {"german": 2}), Relax(60, drop=("german",)))
    relaxed = definition({"sales": Queue("Sales", requires={"german": 5}, relax=steps)}, {"bob": bob})
    desk.give(m.DefinitionGiven(relaxed, "second"))
    assert [(offer.agent, offer.why.step) for offer in desk.offers] == [("bob", 1)]


def test_who_qualifies_is_never_fewer_after_a_step() -> None:
    for seed in range(300):
        chance = random.Random(seed)
        given = some_definition(chance)
        desk = Desk(given)
        for number in given.numbers:
            desk.calls(number)
        for call in desk.floor.state.calls.values():
            before: set[str] = set()
            for step in range(len(given.queues[call.queue].relax) + 1):
                call.step = step
                now = {name for name in given.agents if qualifies(given, call, name)}
                assert before <= now
                before = now


# ---------------------------------------------------------------- standings


def test_standings_name_everybody_with_a_reason() -> None:
    queue = Queue("Sales", requires={"german": 2}, wrap_up_s=30)
    people = {
        "ann": agent("sales", german=3),
        "bob": agent("sales", german=1),
        "eve": agent("support", german=5),
        "max": agent("sales", german=2),
    }
    desk = Desk(definition({"sales": queue, "support": Queue("Support")}, people))
    desk.signs_in("ann", "bob")
    busy = desk.calls("sales")
    desk.answers(busy)
    waiting = desk.call(desk.calls("sales"))
    found = [(s.agent, s.verdict, s.reason, s.fit) for s in routing.standings(desk.floor, waiting)]
    assert found == [
        ("ann", "not free", "talking", 3),
        ("max", "not free", "signed_out", 2),
        ("bob", "not qualified", "skill german", 0),
        ("eve", "not qualified", "other queue", 0),
    ]
    assert routing.standings(desk.floor, desk.call(busy)) == []


def test_the_dynamic_strategies_are_those_without_a_static_rank() -> None:
    first, second = AgentRecord("a"), AgentRecord("b")
    for strategy in STRATEGIES:
        ranks = [strategies.static_rank(strategy, who, order) for order, who in enumerate((first, second))]
        assert ranks[0] < ranks[1]
        assert (len(ranks[0]) == 1) == (strategy in DYNAMIC or strategy == "linear")
