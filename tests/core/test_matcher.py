"""The matcher's indexes: who is eligible, lines, heaps that forget the stale, new definitions."""

from __future__ import annotations

import random

import msgspec

from ari_app.core.definition import Queue, QueueNode, Relax, Strategy
from ari_app.core.matcher import FREE, Matcher, Need, Rank, fits, groups, levels, needs
from tests.core.test_routing import some_definition
from tests.fakes.desk import agent, definition


def alphabetic(_: Strategy, name: str) -> Rank:
    return (ord(name[-1]),)


def matcher(queue: Queue, names: str, **skills: int) -> Matcher:
    """Agents of one letter each, all with the same skills."""
    found = Matcher(alphabetic)
    found.define(
        definition({"q": queue}, {name: agent("q", groups=(), weight=1, **skills) for name in names})
    )
    return found


def key(call: str, entered: int = 0, priority: int = 0) -> tuple[int, int, int, str]:
    return (-priority, entered, 0, call)


def test_eligibility_by_sets_is_eligibility_one_by_one() -> None:
    for seed in range(150):
        given = some_definition(random.Random(seed))
        found = Matcher(alphabetic)
        found.define(given)
        for only in ("", "a0"):
            for need in list(needs(given)):
                found.wait("c", msgspec.structs.replace(need, only=only), key("c"))
        for bucket in found.buckets():
            queue = given.queues[bucket.need.queue]
            wanted, added = levels(queue, bucket.need), groups(queue, bucket.need)
            lacks = {n: fits(a, n, bucket.need, wanted, added) for n, a in given.agents.items()}
            assert set(bucket.eligible) == {name for name, lack in lacks.items() if not lack}
            own = [name for name, a in given.agents.items() if bucket.need.queue in a.queues]
            assert bucket.unfit == sum(1 for name in own if lacks[name])


def test_the_needs_of_a_definition_are_known_before_the_first_call() -> None:
    queue = Queue("q", requires={"x": 2}, relax=(Relax(5, {"x": 1}), Relax(9, drop=("x",))))
    given = definition({"q": queue, "r": Queue("r")}, {}, german=QueueNode("q", skills={"y": 1, "g": 3}))
    asked = {need.skills for need in needs(given)}
    assert asked == {(), (("g", 3), ("y", 1))}
    assert len(list(needs(given))) == 7
    unled = msgspec.structs.replace(given, flows={"german": given.flows["german"]})
    assert [need for need in needs(unled) if not need.skills] == [Need("r")]


def test_the_higher_of_queue_and_flow_counts_and_steps_lower_either() -> None:
    queue = Queue("q", requires={"x": 2}, relax=(Relax(5, {"y": 1, "z": 1}), Relax(9, drop=("x",))))
    need = Need("q", 0, (("x", 4), ("y", 3)))
    assert levels(queue, need) == {"x": 4, "y": 3}
    assert levels(queue, msgspec.structs.replace(need, step=1)) == {"x": 4, "y": 1}
    assert levels(queue, msgspec.structs.replace(need, step=2)) == {"y": 1}


def test_ranked_gives_the_best_again_and_again_and_forgets_who_left() -> None:
    found = matcher(Queue("q"), "abcd")
    for name in "dcba":
        found.stands(name, FREE)
    (bucket,) = found.buckets()
    assert found.ranked(bucket, 3) == found.ranked(bucket, 3) == ["a", "b", "c"]
    found.stands("a", "paused")
    found.stands("c", "talking")
    assert found.ranked(bucket, 9) == ["b", "d"]
    found.stands("a", FREE)
    found.stands("a", "paused")
    found.stands("a", FREE)
    assert found.ranked(bucket, 9) == ["a", "b", "d"]
    assert dict(bucket.standings) == {"paused": 0, "talking": 1}


def test_heaps_stay_small_however_often_agents_come_and_go() -> None:
    found = matcher(Queue("q"), "abcdefgh")
    for name in "abcdefgh":
        found.stands(name, FREE)
    (bucket,) = found.buckets()
    for looked in (False, True):
        for _ in range(2000):
            found.stands("h", "talking")
            found.stands("h", FREE)
            if looked:
                assert found.ranked(bucket, 1) == ["a"]
            assert len(bucket.heap) + len(bucket.fresh) < 200
    assert found.ranked(bucket, 9) == list("abcdefgh")


def test_the_first_over_all_buckets_is_due_first() -> None:
    found = matcher(Queue("q", relax=(Relax(5, drop=("x",)),)), "a")
    found.wait("late", Need("q", 1), key("late", 20))
    found.wait("early", Need("q"), key("early", 10))
    assert found.first() is None
    found.stands("a", FREE)
    first = found.first()
    assert first is not None
    assert first.line[0][3] == "early"
    found.wait("urgent", Need("q", 0, (("s", 1),)), key("urgent", 30, 5))
    assert found.first() is first, "nobody can take the urgent one"
    found.leave("early")
    assert [b.line[0][3] for b in found.active] == ["late"]
    found.stands("a", "reserved")
    assert found.active == set()


def test_a_need_for_one_agent_goes_with_its_last_caller() -> None:
    found = matcher(Queue("q"), "ab")
    found.stands("b", FREE)
    before = len(list(found.buckets()))
    found.wait("c1", Need("q", only="a"), key("c1"))
    found.wait("c2", Need("q", only="a"), key("c2"))
    assert found.first() is None
    found.leave("c1")
    found.stands("a", FREE)
    assert found.first() is not None
    found.leave("c2")
    assert len(list(found.buckets())) == before
    found.stands("a", "paused")  # and the agent does not remember the need either
    found.stands("a", FREE)


def test_who_waits_stays_when_a_new_definition_comes() -> None:
    found = matcher(Queue("q", requires={"x": 3}), "a", x=1)
    found.wait("c", Need("q"), key("c", 7))
    found.stands("a", FREE)
    assert found.first() is None
    found.define(definition({"q": Queue("q", requires={"x": 1})}, {"a": agent("q", x=1)}))
    found.stands("a", FREE)
    first = found.first()
    assert first is not None
    assert (first.line, found.waiting("q"), found.place_of("c")) == ([key("c", 7)], 1, key("c", 7))
    assert found.need_of("c") == Need("q")
