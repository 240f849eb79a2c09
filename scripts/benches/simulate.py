"""A million calls in virtual time: is anybody ever idle while a caller they could take waits?

Four fifths go through a centre of three queues with skills, relaxation, ageing, preference, missed and
refused offers and breaks; the rest through single queues for which Erlang C and Erlang A are exact.
"""

from __future__ import annotations

import time
from statistics import fmean

from scripts.benches import _common
from tests.fakes import erlang
from tests.fakes.simulation import Books, busy_centre, single_queue

CALLS = 1_000_000
AGENTS, HANDLE_S, PATIENCE_S = 20, 60.0, 120.0
LOAD_C, LOAD_A = 16.0, 21.0
SETTLED = 0.9
"""The first tenth is left out: the queue begins empty."""


def settled(books: Books) -> list[str]:
    keys = list(books.arrived_ns)
    return keys[round(len(keys) * (1 - SETTLED)) :]


def mean_wait_s(books: Books) -> float:
    return fmean(books.waited_ns[key] for key in settled(books)) / 1e9


def share_waiting(books: Books) -> float:
    return fmean(books.waited_ns[key] > 0 for key in settled(books))


def main() -> None:
    parser = _common.arguments(__doc__ or "")
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.perf_counter()
    tenth = given.calls // 10
    between_c, between_a = HANDLE_S / LOAD_C, HANDLE_S / LOAD_A
    patient = single_queue(AGENTS, seed=given.seed, between_s=between_c, handle_s=HANDLE_S, patience_s=0)
    c = patient.run(tenth)
    hasty = single_queue(
        AGENTS, seed=given.seed, between_s=between_a, handle_s=HANDLE_S, patience_s=PATIENCE_S
    )
    a = hasty.run(tenth)
    centre = busy_centre(given.seed).run(given.calls - 2 * tenth)
    took_s = time.perf_counter() - began
    expected = erlang.a(AGENTS, LOAD_A, HANDLE_S, PATIENCE_S)
    waits_c = erlang.c(AGENTS, LOAD_C)
    figures: dict[str, object] = {
        "calls": given.calls,
        "idle_while_waiting_ns": centre.idle_while_waiting_ns,
        "over_once": len(centre.waited_ns) + len(a.waited_ns) + len(c.waited_ns),
        "erlang_c_share_waiting": share_waiting(c) / waits_c,
        "erlang_c_mean_wait": mean_wait_s(c) / (waits_c * HANDLE_S / (AGENTS - LOAD_C)),
        "erlang_a_share_waiting": share_waiting(a) / expected.waits,
        "erlang_a_mean_wait": mean_wait_s(a) / expected.mean_wait_s,
        "erlang_a_abandoned": fmean(k in a.abandoned for k in settled(a)) / expected.abandons,
        "centre_offers": centre.offers,
        "centre_abandoned": len(centre.abandoned) / len(centre.waited_ns),
        "centre_mean_wait_s": mean_wait_s(centre),
        "calls_per_s": given.calls / took_s,
        "seconds": took_s,
        "machine": _common.machine(),
    }
    rows = [
        (world, key, books.arrived_ns[key], waited, int(key in books.abandoned))
        for world, books in (("erlang_c", c), ("erlang_a", a), ("centre", centre))
        for key, waited in books.waited_ns.items()
    ]
    header = ("world", "call", "arrived_ns", "waited_ns", "abandoned")
    _common.write_raw(given.raw, "simulate.csv", header, rows)
    _common.report(figures, as_json=given.json)


if __name__ == "__main__":
    main()
