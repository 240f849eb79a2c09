"""One Asterisk for all crash tests, one desk of phones for each."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from ari_app.deploy.stack import Stack
from tests.crash import rig
from tests.crash.proxy import Proxy
from tests.crash.rig import Desk


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    # Short, because a unix socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="cb-") as folder:
        started = rig.start_stack(Path(folder))
        yield started
        started.stop()


@pytest_asyncio.fixture
async def desk(stack: Stack) -> AsyncIterator[Desk]:
    with tempfile.TemporaryDirectory(prefix="cb-") as folder:
        async with rig.desk(stack, Path(folder)) as made:
            yield made


@pytest_asyncio.fixture
async def wire(stack: Stack) -> AsyncIterator[Proxy]:
    """Between Cordboard and Asterisk's ARI. Ask for it before ``desk``, so that it outlives the calls."""
    async with Proxy(stack.options.http_port) as made:
        yield made
