"""Faults under load: nobody is lost, by the phones, Asterisk and the ledger"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.benches._common import arguments, machine, report, write_raw
from tests.chaos.campaign import Campaign, Result
from tests.chaos.faults import Fault
from tests.chaos.long_faults import ALL
from tests.chaos.world import world

SEED = 20_261_122


def wanted(options: argparse.Namespace) -> list[tuple[Fault, int]]:
    """The faults to inject, and how often."""
    names = {fault.name for fault in ALL}
    if unknown := set(options.only) - names:
        raise SystemExit(
            f"no such fault: {', '.join(sorted(unknown))}; there are: {', '.join(sorted(names))}"
        )
    chosen = [fault for fault in ALL if not options.only or fault.name in options.only]
    counts = [(f, f.short if options.short else round(f.long * options.share)) for f in chosen]
    return [(fault, count or (1 if options.only else 0)) for fault, count in counts]


async def run(faults: Sequence[tuple[Fault, int]], seed: int, raw: Path | None) -> list[Result]:
    """All of them in one world; each result is told as it comes."""
    results = []
    async with world(seed, raw) as made:
        campaign = Campaign(made)
        for fault, count in faults:
            if not count:
                continue
            if reason := fault.impossible():
                print(json.dumps({"fault": fault.name, "skipped": reason}), file=sys.stderr, flush=True)
                continue
            began = time.monotonic()
            with contextlib.suppress(KeyboardInterrupt):
                result = await campaign.round(fault, count)
            results.append(result)
            line = {"fault": fault.name, "took_s": round(time.monotonic() - began), **result.figures()}
            print(json.dumps(line), file=sys.stderr, flush=True)
            for problem in result.problems:
                print(f"  {fault.name}: {problem}", file=sys.stderr, flush=True)
            write_raw(
                raw,
                f"recovery-{fault.name}.csv",
                ["recovery_ms"],
                [[sample] for sample in result.recovery_ms],
            )
    return results


def main() -> None:
    """Exit status 1 if anything was wrong."""
    options = parsed()
    results = asyncio.run(run(wanted(options), options.seed, options.raw))
    figures: dict[str, object] = {r.fault: r.figures() for r in results}
    figures |= {"seed": options.seed, "machine": machine(), "problems": sum(len(r.problems) for r in results)}
    report(figures, as_json=options.json)
    raise SystemExit(1 if figures["problems"] else 0)


def parsed() -> argparse.Namespace:
    parser = arguments(str(__doc__))
    parser.add_argument("--seed", type=int, default=SEED, help="the same seed, the same chances")
    parser.add_argument("--only", nargs="*", default=[], metavar="FAULT", help="these faults alone")
    parser.add_argument("--share", type=float, default=1.0, help="of the long run's counts, e.g. 0.1")
    parser.add_argument("--short", action="store_true", help="as often as in the tests")
    return parser.parse_args()


if __name__ == "__main__":
    main()
