"""A campaign: for each fault a load, the fault at random moments, then the three-sided check."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from .checker import Checker, Findings
from .crowd import Crowd
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
    base_mb: float = 0.0
    left_mb: float = 0.0
    more: dict[str, object] = field(default_factory=dict)
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
            "offer_p50_ms": round(percentile(found.offers_ms, 0.5), 1),
            "offer_p99_ms": round(percentile(found.offers_ms, 0.99), 1),
            "rss_mb": round(self.rss_mb),
            "grown_mb": round(max(0.0, self.rss_mb - self.base_mb)),
            "grown_after_mb": round(max(0.0, self.left_mb - self.base_mb)),
            "worst_gap_ms": round(max(found.gaps_ms, default=0.0)),
            "longest_silence_ms": round(max(found.silences_ms, default=0.0)),
            "outcomes": dict(found.outcomes),
            "left_alone_ms": round(max(found.left_alone_ms, default=0.0)),
            "problems": len(self.problems),
            **self.more,
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

    async def round(self, fault: Fault, count: int) -> Result:
        """One fault, ``count`` times."""
        return await self.mixed(fault.name, [fault] * count)

    async def mixed(self, name: str, faults: Sequence[Fault], *, misdeeds: bool = False) -> Result:
        """These faults, one after the other, under one load; all of them for the same Cordboard."""
        world = self.world
        await self._run(faults[0].tamper)
        load = await self.load(misdeeds or faults[0].misdeeds, racing=faults[0].racing)
        checker, node = Checker(world, load), world.node()
        recoveries: list[float] = []
        problems: list[str] = []
        world.figures.clear()
        world.rss_mb = base_mb = world.memory_mb()
        crowd = await Crowd.come(world, faults[0].crowd)
        load.begin()
        await asyncio.sleep(WARM_UP_S)
        for number, fault in enumerate(faults, 1):
            await asyncio.sleep(world.dice.uniform(*fault.pause_s))
            recoveries.append(await fault.inject(world, load, world.dice) * 1e3)
            problems += await self._agree(checker, f"{fault.name} (number {number})")
        await load.end()
        problems += await crowd.leave()
        if world.node() != node:
            problems.append("the journal that followed the corrupt one has another name: its calls never end")
        checker.apart = any(fault.name == "journal_spoilt" for fault in faults)
        world.note_memory()
        found = await checker.judge()
        problems += found.problems
        if not load.racing and found.calls > 15 and not found.outcomes["answered"]:
            problems.append("nobody talked to anybody")
        memory = (world.rss_mb, base_mb, world.memory_mb())
        return Result(name, len(faults), recoveries, found, *memory, dict(world.figures), problems)

    async def _run(self, tamper: str) -> None:
        """The Cordboard that this round is about."""
        world = self.world
        wanted = f"{tamper}={world.argument}" if tamper else ""
        if world.tamper != wanted:
            await world.stop()
            await world.start(wanted)
            await world.ready()

    async def _agree(self, checker: Checker, what: str) -> list[str]:
        try:
            await self.world.ready()
            await checker.agree()
        except AssertionError as error:
            return [f"after {what}: {error}"]
        return []

    async def load(self, misdeeds: bool = False, *, racing: bool = False) -> Load:
        """The same phones for all rounds, with an empty record; all agents signed in."""
        load = Load(self.world, misdeeds=misdeeds, racing=racing)
        if self.staffed is None:
            await load.staff()
        else:
            load.take_over(self.staffed)
        self.staffed = load
        await load.register()
        await self.world.staff()
        return load
