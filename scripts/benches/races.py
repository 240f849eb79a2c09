"""Ring all: agents who answer one caller at the same moment, a thousand times. Exactly one may win.

Five agents' phones on one Asterisk say 200 OK in one breath, or (every other race) within a few
milliseconds, so that answers cross the cancelling of their legs. After each race one phone is left; at the
end the books must name the same winners. Measured is the time from the answers until all others are let go.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

from ari_app.deploy.stack import Stack
from scripts.benches._common import arguments, machine, percentile, report, write_raw
from tests.asterisk import centre as centres
from tests.asterisk.centre import Centre, Plan
from tests.asterisk.harness import PhoneRoom, rings
from tests.asterisk.races import Races

AGENTS = 5
RACES = 1_000


async def bench(stack: Stack, plan: Plan, races: int) -> Races:
    """All races, one after the other. Raises AssertionError for one that had not exactly one winner."""
    async with PhoneRoom() as room:
        centre = Centre(stack, plan, room)
        await centre.ready()
        phones = [await centre.agent(name, rings) for name in plan.agents]
        run = Races(centre, await centre.caller("ann"), phones)
        for _ in range(races):
            await run.one()
        await run.check()
        return run


def main() -> int:
    """Exit status 0: every race had one winner, and the books and the phones agree who."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--races", type=int, default=RACES, metavar="N", help=f"how many ({RACES})")
    options = parser.parse_args()
    plan = Plan(
        agents=tuple(f"agent{number}" for number in range(AGENTS)),
        ring_timeout_s=10.0,
        support='strategy = "ring_all"',
    )
    with tempfile.TemporaryDirectory(prefix="races-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        stack = centres.start(Path(folder), plan)
        try:
            run = asyncio.run(bench(stack, plan, options.races))
        finally:
            centres.discard(stack)
    rows = list(zip(run.winners, run.settled_ms, strict=True))
    write_raw(options.raw, "races.csv", ("winner", "settled_ms"), rows)
    ordered = sorted(run.settled_ms)
    figures = {
        "machine": machine(),
        "races": len(run.winners),
        "one_winner": len(run.winners),
        "wins": dict(sorted(Counter(run.winners).items())),
        "settled_p50_ms": percentile(ordered, 0.50),
        "settled_p99_ms": percentile(ordered, 0.99),
    }
    report(figures, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
