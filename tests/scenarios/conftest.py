"""Every scenario ends with the aftermath: all who wait are served, and the books are right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.people import Pbx


@pytest.fixture
def pbx() -> Iterator[Pbx]:
    pbx = Pbx()
    yield pbx
    pbx.everyone_is_served()
