from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ari_app.web.client import ControlClient
from ari_app.web.control import Desk, serve
from ari_app.web.errors import NotRunning
from tests.web.floor import Room, busy_room


@pytest.fixture
def room() -> Room:
    return busy_room()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@contextlib.asynccontextmanager
async def serving(desk: Desk, path: Path) -> AsyncIterator[ControlClient]:
    """The real server in this test's loop; leaves when it answers nobody any more."""
    client = ControlClient(path)
    task = asyncio.create_task(serve(desk, path))
    try:
        async with asyncio.timeout(10):
            while not await asyncio.to_thread(_answers, client):
                if task.done():
                    await task
                await asyncio.sleep(0.02)
        yield client
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _answers(client: ControlClient) -> bool:
    try:
        client.ready()
    except NotRunning:
        return False
    return True
