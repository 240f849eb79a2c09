"""Who spoke with whom, from a real PostgreSQL: the window, pages, erasure, and PostgreSQL away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from ari_app.callers import Callers, MemoryAway
from ari_app.config import load
from ari_app.core import messages as m
from ari_app.store import memory
from ari_app.store.journal import Journal
from tests.core.test_callers import GOOD, ROWS, Shell
from tests.store.conftest import ship_all
from tests.store.histories import SECOND, START_NS, History, append_all

WEEK_NS = 604_800 * SECOND


@pytest.fixture
def books(journal: Journal, dsn: str) -> str:
    """Ann calls twice and speaks with two agents, Ben once, Cem gives up; Dan withholds his number."""
    day = History().begins().signs_in("ann", "bob")
    day.answered("c1", "ann", 10, 60, 8).answered("c2", "bob", 30, 120, 10)
    day.answered("c3", "ann", 20, 30, 2).abandoned("c4", 25).answered("c5", "bob", 5, 5, 2)
    append_all(journal, day)
    for call, number in {"c1": "0301111", "c2": "+49302222", "c3": "+49302222", "c4": "+49303333"}.items():
        journal.put_person(call, number, "x")
    journal.put_person("c5", "anonymous", "")
    ship_all(journal, dsn)
    return dsn


def callers(folder: Path) -> Callers:
    (folder / "centre.toml").write_text(GOOD)
    (folder / "debtors.csv").write_text(ROWS)
    shell = Shell("+49302222")
    return Callers(load(folder), shell, shell)  # type: ignore[arg-type]


def filled(found: Callers, dsn: str, now_ns: int) -> None:
    """The memory as the running program fills it."""

    def page(since_ns: int, before_ns: int) -> list[tuple[str, str, int, int]]:
        try:
            return memory.spoke(dsn, since_ns, before_ns)
        except memory.MemoryUnavailable as error:
            raise MemoryAway(str(error)) from error

    asyncio.run(found.refresh(page, now_ns))


@pytest.mark.parametrize("size", [2000, 1])
def test_the_last_agent_of_each_caller_in_pages(
    books: str, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "PAGE", size)
    found = callers(tmp_path)
    filled(found, books, START_NS + 3600 * SECOND)
    assert [found.last.of(number)[0] for number in ("+49301111", "+49302222", "+49303333", "")] == [
        *("ann", "ann", "", ""),
    ]
    arrived = found.recognise(m.CallArrived("c", "100"))
    assert (arrived.known.last_agent, arrived.known.memory) == ("ann", "")
    assert START_NS < arrived.known.last_spoke_ns < START_NS + 3600 * SECOND


def test_who_called_before_the_window_is_not_read(books: str, tmp_path: Path) -> None:
    found = callers(tmp_path)
    filled(found, books, START_NS + WEEK_NS + 3600 * SECOND)
    assert len(found.last) == 0


def test_whoever_is_erased_is_not_remembered(books: str, journal: Journal, tmp_path: Path) -> None:
    journal.erase_person("c2")
    journal.erase_person("c3")
    ship_all(journal, books)
    found = callers(tmp_path)
    filled(found, books, START_NS + 3600 * SECOND)
    assert [found.last.of(number)[0] for number in ("+49301111", "+49302222")] == ["ann", ""]


def test_postgresql_away_is_no_preference_and_is_said(tmp_path: Path) -> None:
    found = callers(tmp_path)
    with pytest.raises(MemoryAway):
        filled(found, "postgresql://127.0.0.1:1/none", START_NS)
    assert found.recognise(m.CallArrived("c", "100")).known.memory == "away"


def test_a_page_uses_the_index(books: str) -> None:
    with psycopg.connect(books) as connection:
        connection.execute("SET enable_seqscan = off")
        rows = connection.execute("EXPLAIN " + memory._PAGE, (0, START_NS, 10)).fetchall()
    assert "calls_by_opening" in str(rows)
