"""Erlang's formulas, as oracles of the simulation."""

from __future__ import annotations

from dataclasses import dataclass


def c(agents: int, load: float) -> float:
    """Probability of waiting in M/M/n, by Erlang B's recursion. ``load`` in erlangs, below ``agents``."""
    blocked = 1.0
    for n in range(1, agents + 1):
        blocked = load * blocked / (n + load * blocked)
    return agents * blocked / (agents - load * (1 - blocked))


@dataclass(frozen=True)
class ErlangA:
    """``mean_wait_s``: over all callers, those who give up included."""

    waits: float
    abandons: float
    mean_wait_s: float


def a(agents: int, load: float, handle_s: float, patience_s: float, most: int = 2000) -> ErlangA:
    """M/M/n+M (Palm; Garnett, Mandelbaum and Reiman, 2002), from the balance of births and deaths."""
    arrivals, service, give_up = load / handle_s, 1 / handle_s, 1 / patience_s
    weights = [1.0]
    for n in range(1, most):
        weights.append(weights[-1] * arrivals / (min(n, agents) * service + max(0, n - agents) * give_up))
    total = sum(weights)
    in_line = sum((n - agents) * weight for n, weight in enumerate(weights) if n > agents) / total
    waits = sum(weights[agents:]) / total  # arrivals see time averages (PASTA)
    return ErlangA(waits, give_up * in_line / arrivals, in_line / arrivals)
