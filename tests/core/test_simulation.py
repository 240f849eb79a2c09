"""50,000 calls in virtual time: nobody idle while somebody waits, and waits as Erlang says."""

from __future__ import annotations

from statistics import fmean, stdev

import pytest

from tests.fakes import erlang
from tests.fakes.simulation import Books, busy_centre, single_queue

BATCHES = 25
"""Waits of neighbouring calls are alike; means of batches are nearly independent."""


def agrees(samples: list[float], expected: float) -> None:
    """Within four standard errors, told from the means of batches; and not vaguely so."""
    size = len(samples) // BATCHES
    means = [fmean(samples[n * size : (n + 1) * size]) for n in range(BATCHES)]
    error = stdev(means) / BATCHES**0.5
    assert abs(fmean(samples) - expected) < 4 * error, f"{fmean(samples)} +- {error}, not {expected}"
    assert error < 0.15 * expected, "too few calls to say anything"


def waits_s(books: Books) -> list[float]:
    """In the order of arrival, without the first tenth: the queue begins empty."""
    return [books.waited_ns[key] / 1e9 for key in books.arrived_ns][len(books.arrived_ns) // 10 :]


@pytest.mark.parametrize(("agents", "load"), [(5, 4.0), (3, 2.0)])
def test_waits_are_those_of_erlang_c(agents: int, load: float) -> None:
    books = single_queue(agents, seed=3, between_s=60 / load, handle_s=60, patience_s=0).run(12_000)
    waits = waits_s(books)
    assert not books.abandoned
    agrees([float(wait > 0) for wait in waits], erlang.c(agents, load))
    agrees(waits, erlang.c(agents, load) * 60 / (agents - load))


@pytest.mark.parametrize(("agents", "load", "patience_s"), [(5, 6.0, 60.0), (12, 11.0, 120.0)])
def test_waits_and_abandonment_are_those_of_erlang_a(agents: int, load: float, patience_s: float) -> None:
    books = single_queue(agents, seed=4, between_s=60 / load, handle_s=60, patience_s=patience_s).run(8000)
    expected = erlang.a(agents, load, 60, patience_s)
    waits, keys = waits_s(books), list(books.arrived_ns)[len(books.arrived_ns) // 10 :]
    agrees([float(wait > 0) for wait in waits], expected.waits)
    agrees([float(key in books.abandoned) for key in keys], expected.abandons)
    agrees(waits, expected.mean_wait_s)


def test_nobody_is_idle_while_somebody_they_could_take_waits() -> None:
    world = busy_centre(1)
    books = world.run(20_000)
    assert books.idle_while_waiting_ns == 0
    assert len(books.waited_ns) == 20_000
    assert not world.desk.floor.state.calls
    # The simulation met what it is for: lines, abandonment, offers that lapsed.
    assert 0.02 < len(books.abandoned) / 20_000 < 0.5
    assert books.offers > 20_000 - len(books.abandoned)
    assert fmean(waits_s(books)) > 5


def test_the_watch_over_idle_agents_can_fail() -> None:
    world = busy_centre(2)
    world.desk.floor.state.matching = False
    world.run(50)
    assert world.books.idle_while_waiting_ns > 0


def test_the_same_seed_is_the_same_day() -> None:
    first, second = (busy_centre(5, watched=False).run(400) for _ in range(2))
    assert first == second
