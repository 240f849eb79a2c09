"""What a command to Asterisk costs: REST over the websocket, alone and pipelined, on the real Asterisk.

The command is `GET asterisk/ping`, which Asterisk answers without looking at anything. `once_us` is the time
from `request` to its answer, nothing else being under way; `pipelined_s` is how many are answered a second
when up to 256 are.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from ari_app.ari.client import AriLink
from scripts.benches._common import arguments, machine, percentile, report, write_raw
from tests.asterisk.ari_rig import PrivateAsterisk
from tests.asterisk.test_ari_client import connected, settings_for

ALONE, PIPELINED, UNDER_WAY = 5_000, 50_000, 256


async def alone(link: AriLink) -> list[float]:
    """Microseconds of each, ascending."""
    took = []
    for _ in range(ALONE):
        began = time.perf_counter_ns()
        await link.request("GET", "asterisk/ping")
        took.append((time.perf_counter_ns() - began) / 1e3)
    return sorted(took)


async def pipelined(link: AriLink) -> float:
    """Answers a second."""
    began, left = time.perf_counter(), PIPELINED
    while left > 0:
        batch = min(left, UNDER_WAY)
        await asyncio.gather(*(link.send("GET", "asterisk/ping") for _ in range(batch)))
        left -= batch
    return PIPELINED / (time.perf_counter() - began)


async def measure(folder: Path) -> tuple[list[float], float]:
    asterisk = PrivateAsterisk(folder)
    await asyncio.to_thread(asterisk.start)
    try:
        async with connected(settings_for(asterisk)) as phone:
            return await alone(phone.link), await pipelined(phone.link)
    finally:
        await asyncio.to_thread(asterisk.kill)


def main() -> None:
    given = arguments(__doc__ or "").parse_args()
    with tempfile.TemporaryDirectory() as folder:
        took, rate = asyncio.run(measure(Path(folder)))
    figures = {
        "once_p50_us": percentile(took, 0.5),
        "once_p99_us": percentile(took, 0.99),
        "pipelined_s": rate,
        "commands": ALONE + PIPELINED,
        "machine": machine(),
    }
    write_raw(given.raw, "ari.csv", ("once_us",), [(each,) for each in took])
    report(figures, as_json=given.json)


if __name__ == "__main__":
    main()
