"""Callers who only wait, many of them: SIPp's, so that two hundred cost next to nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.asterisk.harness.sipp import CallerScript, Sipp

from .world import World

CALLS_A_SECOND = 60.0
WITHIN_S = 30.0


@dataclass
class Crowd:
    """``come`` and ``leave`` around a round. They wait at 400, where nobody serves."""

    world: World
    numbers: list[str]
    sipp: Sipp | None = None

    @classmethod
    async def come(cls, world: World, size: int) -> Crowd:
        """So many callers wait; AssertionError if they do not all get in."""
        crowd = cls(world, [world.centre.number() for _ in range(size)])
        if not size:
            return crowd
        world.crowd = crowd.numbers
        scripts = [CallerScript("400", number) for number in crowd.numbers]
        crowd.sipp = Sipp.callers(scripts, world.centre.sip, calls_a_second=CALLS_A_SECOND, host="127.0.0.2")
        await crowd.sipp.start()

        async def all_wait() -> bool:
            return not await crowd._missing()

        await world.centre.until(all_wait, f"{size} callers wait", WITHIN_S)
        return crowd

    async def _missing(self) -> set[str]:
        view = await self.world.centre.view()
        return set(self.numbers) - {call.caller_number for call in view.calls if call.state == "waiting"}

    async def leave(self) -> list[str]:
        """They hang up. What is wrong: who was let go before, or does not wait any more."""
        if self.sipp is None:
            return []
        found = [f"LOST: {number} of the crowd waits no more" for number in await self._missing()]
        record = self.sipp.record()
        if (answered := record.count("answered")) != len(self.numbers):
            found.append(f"{answered} of the crowd were answered, not {len(self.numbers)}")
        if released := record.count("released"):
            found.append(f"LOST: {released} of the crowd were cut off")
        self.world.figures["crowd"] = len(self.numbers)
        await self.sipp.stop()
        await self.world.centre.rx("channel request hangup all")

        async def gone() -> bool:
            return not await self.world.centre.channels()

        await self.world.centre.until(gone, "the crowd has gone", WITHIN_S)
        await asyncio.sleep(1)  # Cordboard books them, and lets go of their music
        return found
