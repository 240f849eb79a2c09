"""A caller who hears a prompt holds up nobody, and no time-out cuts the prompt short."""

from __future__ import annotations

import asyncio
import time

import pytest

from .campaign import Campaign
from .world import World

pytestmark = pytest.mark.asyncio(loop_scope="session")

BUSY_MACHINE_S = 1.5


async def test_after_a_restart_a_prompt_delays_no_other_call(chaos: World, campaign: Campaign) -> None:
    load = await campaign.load()
    ann, ben = await chaos.centre.caller("ann"), await chaos.centre.caller("ben")
    greeted = await ann.dial("300")
    await greeted.answered()
    await greeted.ear.hears_other()
    chaos.centre.cordboard.kill()
    await chaos.start()
    await chaos.ready()
    began = time.monotonic()
    call = await ben.dial("250")

    async def rings() -> bool:
        return bool(load.legs())

    await chaos.centre.until(rings, "an agent's phone rings", 15)
    assert time.monotonic() - began < BUSY_MACHINE_S
    assert greeted.up
    for each in (call, greeted):
        await each.hang_up()


async def test_a_prompt_longer_than_the_absolute_timeout_is_heard_to_its_end(chaos: World) -> None:
    ann = await chaos.centre.caller("ann")
    call = await ann.dial("300")
    await call.answered()
    await asyncio.sleep(13)  # centre.absolute_timeout_s is 12
    assert await chaos.centre.call_is(call, "ivr")
    assert call.ear.other_ms() > 10_000
    await call.hang_up()
