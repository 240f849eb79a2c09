"""One world for the folder: its stack takes seconds to start. What a test leaves in it fails the test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from .campaign import Campaign
from .world import World, world

SEED = int(os.environ.get("CHAOS_SEED", "20261122"))
"""Another seed gives other callers and other moments of the faults."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def campaign(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Campaign]:
    """Logs and journal stay in pytest's folder, for who looks into a failure."""
    async with world(SEED, tmp_path_factory.mktemp("chaos")) as made:
        yield Campaign(made)


@pytest_asyncio.fixture(loop_scope="session")
async def chaos(campaign: Campaign) -> AsyncIterator[World]:
    """The world, quiet before and after."""
    made = campaign.world
    yield made
    for phone in made.centre.room.phones:
        for call in phone.calls:
            await call.hang_up()
    await made.centre.settled(15)
    assert await made.centre.channels() == []
    assert await made.centre.bridges() == []
