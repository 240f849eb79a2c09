"""A campaign: for each fault a load, the fault at random moments, then the three-sided check."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ari_app.store.journal import Journal

from .checker import Checker, Findings
from .faults import Fault
from .load import Load
from .world import World

WARM_UP_S = 2.5


@dataclass
class Result:
    """What one fault did."""

    fault: str
    injected: int
    recovery_ms: list[float]
    findings: Findings
    rss_mb: float = 0.0
    problems: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, object]:
        """The keys of the chaos bench."""
        found = self.findings
        return {
            "injected": self.injected,
            "calls": found.calls,
            "lost": found.lost,
            "duplicated": found.duplicated,
            "recovery_p99_ms": round(percentile(self.recovery_ms, 0.99), 1),
            "recovery_p50_ms": round(percentile(self.recovery_ms, 0.5), 1),
            "ended_by_fault": found.ended_by_fault,
            "talks": len(found.gaps_ms),
            "worst_gap_ms": round(max(found.gaps_ms, default=0.0)),
            "longest_silence_ms": round(max(found.silences_ms, default=0.0)),
            "outcomes": dict(found.outcomes),
            "problems": len(self.problems),
        }


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least ``share`` of them do not exceed; 0 of none."""
    ordered = sorted(samples)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else 0.0


class Campaign:
    """Faults in one world, one kind after another."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.staffed: Load | None = None

    async def round(self, fault: Fault, count: int, deadline: float | None = None) -> Result:
        """One fault, ``count`` times (fewer if the time is over), under load."""
        world = self.world
        tamper = f"{fault.tamper}={world.stack.state_dir / 'clock'}" if fault.tamper else ""
        if world.tamper != tamper:
            await world.stop()
            await world.start(tamper)
            await world.ready()
        load = await self._load(fault)
        await world.staff()
        checker, recoveries, problems = Checker(world, load), [], list[str]()
        node = self._node()
        load.begin()
        await asyncio.sleep(WARM_UP_S)
        injected = 0
        while injected < count and (deadline is None or time.monotonic() < deadline):
            await asyncio.sleep(world.dice.uniform(*fault.pause_s))
            recoveries.append(await fault.inject(world, load, world.dice) * 1e3)
            injected += 1
            problems += await self._agree(checker, f"{fault.name} {injected}")
        await load.end()
        if self._node() != node:
            checker.apart_nodes.add(node)
        found = await checker.judge()
        return Result(fault.name, injected, recoveries, found, world.rss_mb, [*problems, *found.problems])

    async def _agree(self, checker: Checker, what: str) -> list[str]:
        try:
            await self.world.ready()
            await checker.agree()
        except AssertionError as error:
            return [f"after {what}: {error}"]
        return []

    async def _load(self, fault: Fault) -> Load:
        """The same phones for all rounds, with an empty record."""
        load = Load(self.world, misdeeds=fault.misdeeds)
        if self.staffed is None:
            await load.staff()
        else:
            load.take_over(self.staffed)
        self.staffed = load
        return load

    def _node(self) -> str:
        """The journal's own name: another one after it was set apart."""
        with Journal(self.world.journal, readonly=True) as journal:
            return journal.node
