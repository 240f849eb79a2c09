"""Why: callers who wait, agents who have no call, and decisions made again from the journal."""

from __future__ import annotations

import random

import msgspec
import pytest

from ari_app.core import messages as m, why
from ari_app.core.definition import Queue, QueueNode, Relax
from ari_app.core.floor import Floor
from tests.core.test_routing import some_definition, something_happens
from tests.fakes.desk import Desk, agent, definition

STEPS = (Relax(20, {"german": 2}), Relax(40, drop=("german",), groups=("spare",)))


def centre() -> Desk:
    queue = Queue("Sales", requires={"german": 3}, relax=STEPS, prefer_s=10, wrap_up_s=0)
    people = {
        "ann": agent("sales", german=4),
        "bob": agent("sales", german=1),
        "eve": agent("support", german=5),
        "max": agent("sales", german=3),
    }
    desk = Desk(
        definition({"sales": queue, "support": Queue("Support")}, people, vip=QueueNode("sales", priority=2))
    )
    desk.signs_in("ann", "bob", "eve")
    return desk


def test_why_a_caller_still_waits() -> None:
    desk = centre()
    desk.answers(desk.calls("sales"))
    desk.calls("vip")
    waiting = desk.calls("sales")
    desk.passes(5)
    assert why.caller(desk.floor, waiting, desk.now_ns) == (
        f"{waiting} has waited 5 s, in sales: 1 caller of the queue before it",
        "asks for german 3 (0 of 2 steps given up)",
        "qualified, but talking: ann",
        "qualified, but signed out: max",
        "not enough of the skill german: bob",
        "in 15 s: german 2 will do",
    )
    desk.passes(16)
    lines = why.caller(desk.floor, waiting, desk.now_ns)
    assert "asks for german 2 (1 of 2 steps given up)" in lines
    assert lines[-1] == "in 19 s: german is no longer asked for; the agents of spare are added"


def test_a_step_about_somebody_else_s_skill_is_not_told() -> None:
    steps = (Relax(20, drop=("french",)), Relax(40, {"german": 2, "french": 1}))
    queue = Queue("Sales", requires={"german": 3}, relax=steps)
    desk = Desk(definition({"sales": queue}, {"ann": agent("sales", german=1)}))
    waiting = desk.calls("sales")
    assert why.caller(desk.floor, waiting, desk.now_ns)[-1] == "in 40 s: german 2 will do"
    desk.passes(40)
    assert why.caller(desk.floor, waiting, desk.now_ns)[-1] == "not enough of the skill german: ann"
    assert why.agent(desk.floor, "ann", desk.now_ns) == ("ann is signed out: no calls are offered",)


def test_why_a_call_is_kept_offered_or_talking() -> None:
    desk = centre()
    first = desk.calls("sales")
    assert why.caller(desk.floor, first, desk.now_ns) == (
        f"{first} rings at ann for up to 15 s more; the caller has waited 0 s",
    )
    desk.answers(first)
    assert why.caller(desk.floor, first, desk.now_ns) == (f"{first} talks with ann, after a wait of 0 s",)
    desk.signs_in("max")
    desk.asks("max", "pause")
    kept = desk.calls("sales", prefer="max")
    lines = why.caller(desk.floor, kept, desk.now_ns)
    assert "is kept for max, who owns the account, for 10 s more" in lines
    assert "not the agent it is kept for: ann, bob, eve" in lines
    desk.give(m.LinkFailed("test"))
    assert any(
        "no calls are offered at present" in line for line in why.caller(desk.floor, kept, desk.now_ns)
    )
    assert why.caller(desk.floor, "nobody", desk.now_ns) == ()


def test_why_an_agent_has_no_call() -> None:
    desk = centre()
    desk.passes(30)
    assert why.agent(desk.floor, "bob", desk.now_ns) == ("bob is free, idle for 30 s", "nobody waits")
    first = desk.calls("sales")
    desk.signs_in("max")
    desk.asks("max", "pause")
    second, third = desk.calls("sales"), desk.calls("sales", prefer="max")
    assert why.agent(desk.floor, "bob", desk.now_ns) == (
        "bob is free, idle for 30 s",
        f"kept for another agent: {third}",
        f"ask for more of the skill german: {second}",
    )
    assert why.agent(desk.floor, "eve", desk.now_ns)[-1] == f"in queues they do not serve: {second}"
    desk.declines(first)
    assert why.agent(desk.floor, "ann", desk.now_ns) == (
        "ann missed or refused an offer and is left alone for 5 s more",
    )
    desk.asks("bob", "pause")
    assert why.agent(desk.floor, "bob", desk.now_ns) == ("bob is paused, for 0 s: no calls are offered",)
    assert why.agent(desk.floor, "nobody", desk.now_ns) == ()


# ---------------------------------------------------------------- decisions made again


def past(desk: Desk) -> list[why.Past]:
    found: list[why.Past] = []
    seq = 1
    for at_ns, item, events in desk.journal:
        found.append((seq, at_ns, item, events))
        seq += len(events)
    return found


def test_every_decision_of_a_day_is_made_again_alike() -> None:
    for seed in range(25):
        chance = random.Random(f"why {seed}")
        desk = Desk(some_definition(chance))
        desk.signs_in(*desk.definition.agents)
        for _ in range(60):
            something_happens(desk, chance)
        entries = past(desk)
        offers = [
            (first + n, event)
            for first, _, _, events in entries
            for n, event in enumerate(events)
            if isinstance(event, m.OfferMade)
        ]
        for seq, made in offers[-5:]:
            again = why.replay_decision(Floor(), entries, seq)
            assert again.same
            told = again.made  # the offers of ring all are one decision
            assert (told.call, told.attempt) == (made.call, made.why.decision or made.attempt)
            assert tuple(again.ranked[: len(told.why.candidates)]) == told.why.candidates
            assert len(again.ranked) == told.why.free
            assert len(again.ranked) + len(again.others) == len(desk.definition.agents)


def test_a_decision_by_other_rules_is_told_as_such() -> None:
    desk = centre()
    desk.calls("sales")
    entries = past(desk)
    first, at_ns, item, events = entries[-1]
    made = events[-1]
    assert isinstance(made, m.OfferMade)
    other = msgspec.structs.replace(made, why=msgspec.structs.replace(made.why, rule="by the stars"))
    changed: list[why.Past] = [*entries[:-1], (first, at_ns, item, [*events[:-1], other])]
    seq = first + len(events) - 1
    assert why.replay_decision(Floor(), entries, seq).same
    again = why.replay_decision(Floor(), changed, seq)
    assert not again.same
    assert "this version would decide otherwise" in why.decision(again)[-1]


def test_a_decision_made_again_lists_everybody() -> None:
    desk = centre()
    desk.signs_in("max")
    desk.passes(10)
    desk.calls("sales")
    entries = past(desk)
    seq = entries[-1][0] + len(entries[-1][3]) - 1
    lines = why.decision(why.replay_decision(Floor(), entries, seq))
    assert lines[1:] == (
        "  1. ann: fit 4, idle 10 s <- was offered the call",
        "  2. max: fit 3, idle 10 s",
        "  bob: not enough of the skill german",
        "  eve: serves other queues",
        "deciding again from the journal gives the same",
    )


def test_what_is_no_decision_is_refused() -> None:
    desk = centre()
    with pytest.raises(why.NoDecision, match="EpochBegan is no offer"):
        why.replay_decision(Floor(), past(desk), 1)
    with pytest.raises(why.NoDecision, match="not in the journal"):
        why.replay_decision(Floor(), past(desk), 999)
