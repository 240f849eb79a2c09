"""The call centre that the tests of the whole path run on: one stack a module, one ``Centre`` a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from ari_app.deploy.stack import Stack

from . import centre as centres
from .centre import Centre, Plan
from .harness import PhoneRoom


@dataclass(frozen=True)
class Running:
    stack: Stack
    plan: Plan


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A stack for the module, by its ``PLAN`` if it has one."""
    plan: Plan = getattr(request.module, "PLAN", Plan())
    stack = centres.start(tmp_path_factory.mktemp("centre"), plan)
    try:
        yield Running(stack, plan)
    finally:
        centres.discard(stack)


@pytest.fixture
async def centre(running: Running) -> AsyncIterator[Centre]:
    """A quiet centre; what the test leaves behind in it fails the test."""
    room = PhoneRoom()
    await room.media.start()
    try:
        made = Centre(running.stack, running.plan, room)
        await made.ready()
    except BaseException:
        await room.close()
        raise
    yield made
    await made.close()
