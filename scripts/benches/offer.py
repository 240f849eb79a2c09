"""From the agent who is free to the next INVITE, saturated: Cordboard beside app_queue.

Ten agents' phones on one Asterisk, more callers than agents at all times, random hold times (seeded). An
agent's phone hangs up; measured is the time until that phone receives its next INVITE. Cordboard and
app_queue take turns with the same phones and callers, in one run. app_queue is at its best: autofill=yes,
ringinuse=no, retry=1, wrapuptime=0. No recording, no wrap-up, RTP both ways.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from ari_app.deploy.stack import Stack
from scripts.benches._common import arguments, machine, percentile, report, write_raw
from tests.asterisk import centre as centres
from tests.asterisk.centre import Centre, Plan
from tests.asterisk.harness import Call, Phone, PhoneRoom

AGENTS = 10
CALLERS = 24
ROUNDS = 3
ROUND_S = 25.0
HOLD_S = (0.4, 1.6)
ANSWER_S = 0.05
WARM_UP_S = 2.0
SEED = 20_261_122
CORDBOARD_NUMBER = "250"
QUEUE_NUMBER = "600"
QUEUE = """
[general]
autofill = yes
[bench]
strategy = leastrecent
autofill = yes
ringinuse = no
retry = 1
timeout = 15
wrapuptime = 0
musicclass = default
"""


@dataclass
class Samples:
    """Of one system: ms from an agent's hang-up to the phone's next INVITE; INVITEs while on a call."""

    waits_ms: list[float] = field(default_factory=list)
    to_busy: int = 0

    def figures(self) -> dict[str, float]:
        ordered = sorted(self.waits_ms)
        return {
            "p50_ms": percentile(ordered, 0.50),
            "p99_ms": percentile(ordered, 0.99),
            "offers": len(ordered),
            "offers_to_busy": self.to_busy,
        }


class Desk:
    """An agent's phone that answers, talks for a random while and hangs up, for as long as it is ``open``."""

    def __init__(self, phone: Phone, chance: random.Random) -> None:
        self.phone = phone
        self._chance = chance
        self._samples: Samples | None = None
        self._free_since_ns = 0
        self._counts_from_ns = 0
        phone.policy = self._take

    def measure(self, samples: Samples | None) -> None:
        """Count into ``samples`` from a moment later on; None = not at all."""
        self._samples, self._free_since_ns = samples, 0
        self._counts_from_ns = time.monotonic_ns() + round(WARM_UP_S * 1e9)

    async def _take(self, call: Call) -> None:
        samples, free_ns = self._samples, self._free_since_ns
        if samples is not None and free_ns > self._counts_from_ns:
            samples.waits_ms.append((call.invited_ns - free_ns) / 1e6)
        self._free_since_ns = 0
        await call.ring()
        await asyncio.sleep(ANSWER_S)
        await call.answer()
        await asyncio.sleep(self._chance.uniform(*HOLD_S))
        await call.hang_up()
        self._free_since_ns = time.monotonic_ns()


async def keep_calling(phone: Phone, number: str, over: asyncio.Event) -> None:
    """A caller who dials again as soon as a call is over."""
    while not over.is_set():
        call = await phone.dial(number)
        ended = asyncio.ensure_future(call.gone(within_s=ROUND_S * 4))
        stopped = asyncio.ensure_future(over.wait())
        await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not ended.done():
            await call.hang_up()
        await asyncio.wait((ended,))


async def saturate(desks: list[Desk], callers: list[Phone], number: str, samples: Samples) -> None:
    """One round of one system."""
    over = asyncio.Event()
    before = sum(call.while_busy for desk in desks for call in desk.phone.calls)
    for desk in desks:
        desk.measure(samples)
    async with asyncio.TaskGroup() as tasks:
        for caller in callers:
            tasks.create_task(keep_calling(caller, number, over))
        await asyncio.sleep(WARM_UP_S + ROUND_S)
        for desk in desks:
            desk.measure(None)
        over.set()
    await asyncio.sleep(max(HOLD_S) + ANSWER_S + 0.5)
    samples.to_busy += sum(call.while_busy for desk in desks for call in desk.phone.calls) - before


async def set_up_queue(centre: Centre, names: list[str]) -> None:
    """app_queue on the same Asterisk, with the same phones as members."""
    server, etc = centre.stack.asterisk, centre.stack.rendered
    if server is None or etc is None:
        raise RuntimeError("the stack is not up")
    members = "".join(f"member => PJSIP/{name}\n" for name in names)
    (etc.etc / "queues.conf").write_text(QUEUE + members)
    for command in (
        "module load app_queue.so",
        f"dialplan add extension {QUEUE_NUMBER},1,Answer, into cordboard-trunk-provider",
        f"dialplan add extension {QUEUE_NUMBER},2,Queue,bench into cordboard-trunk-provider",
    ):
        await asyncio.to_thread(server.rx, command)


async def run(centre: Centre) -> tuple[Samples, Samples]:
    """All rounds, in turns."""
    chance = random.Random(SEED)
    names = list(centre.plan.agents)
    desks = [Desk(await centre.agent(name), random.Random(chance.random())) for name in names]
    callers = [await centre.caller(f"caller{number}") for number in range(CALLERS)]
    await set_up_queue(centre, names)
    ours, theirs = Samples(), Samples()
    for number in range(ROUNDS):
        for name in names if number else ():  # for the first round their phones' arrival signed them in
            await centre.act(name, "sign_in")
        await saturate(desks, callers, CORDBOARD_NUMBER, ours)
        for name in names:
            await centre.act(name, "sign_out")
        await saturate(desks, callers, QUEUE_NUMBER, theirs)
    return ours, theirs


async def bench(stack: Stack, plan: Plan) -> tuple[Samples, Samples]:
    async with PhoneRoom() as room:
        centre = Centre(stack, plan, room)
        await centre.ready()
        return await run(centre)


def main() -> int:
    """Exit status 0; the figures are judged by who reads them."""
    options = arguments(__doc__ or "").parse_args()
    plan = Plan(agents=tuple(f"agent{number}" for number in range(AGENTS)), ring_timeout_s=10.0)
    with tempfile.TemporaryDirectory(prefix="offer-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        stack = centres.start(Path(folder), plan)
        try:
            ours, theirs = asyncio.run(bench(stack, plan))
        finally:
            centres.discard(stack)
    write_raw(
        options.raw,
        "offer.csv",
        ("system", "ms"),
        [("cordboard", ms) for ms in ours.waits_ms] + [("app_queue", ms) for ms in theirs.waits_ms],
    )
    cordboard, app_queue = ours.figures(), theirs.figures()
    figures = {
        "machine": machine(),
        "cordboard": cordboard,
        "app_queue": app_queue,
        "ratio_p99": app_queue["p99_ms"] / cordboard["p99_ms"],
    }
    report(figures, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
