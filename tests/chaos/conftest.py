"""One world a module: its stack takes a few seconds to start. What a test leaves in it fails the test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from .world import World, world

SEED = 20_261_122


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started() -> AsyncIterator[World]:
    async with world(SEED) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def chaos(started: World) -> AsyncIterator[World]:
    yield started
    for phone in started.centre.room.phones:
        for call in phone.calls:
            await call.hang_up()
    await started.centre.settled(15)
    assert await started.centre.channels() == []
    assert await started.centre.bridges() == []
