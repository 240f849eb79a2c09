"""The call centre that these tests look after: one stack a module, one ``Centre`` a test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.asterisk.centre import Centre
from tests.asterisk.conftest import Running, running
from tests.asterisk.harness import PhoneRoom

__all__ = ["Running", "running"]


class ChangingCentre(Centre):
    """One whose definition changes: agents may come and go, so only calls and segments must add up."""

    async def _assert_books(self) -> None:
        assert await self.ledger("SELECT * FROM calls WHERE ended_ns IS NULL") == []
        assert await self.ledger("SELECT * FROM segments WHERE to_ns IS NULL") == []


@pytest.fixture
async def centre(running: Running) -> AsyncIterator[Centre]:
    """A quiet centre; what the test leaves behind in it fails the test."""
    room = PhoneRoom()
    await room.media.start()
    try:
        made = ChangingCentre(running.stack, running.plan, room)
        await made.ready()
    except BaseException:
        await room.close()
        raise
    yield made
    await made.close()
