"""PostgreSQL's constraints never stand in the way of a history, however odd; steps equal a rebuild."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ari_app.core import messages as m
from ari_app.store import projection
from ari_app.store.projection import TABLES, Projection, ProjectionError, rebuild
from tests.core.test_ledger import HISTORIES, S

_nodes = itertools.count(1)


async def put_events(
    connection: asyncpg.Connection, node: str, history: list[tuple[int, m.AnyEvent]]
) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        (node, "e", n, n, at, second * S, n, type(event).__name__, 1, "", "", "", _json(event))
        for n, (second, event) in enumerate(history, start=1)
    ]
    await connection.copy_records_to_table("events", records=rows)


def _json(event: m.AnyEvent) -> str:
    return msgspec.json.encode(event).decode()


async def ledger(connection: asyncpg.Connection, node: str) -> dict[str, list[Any]]:
    return {
        t.name: await connection.fetch(f"SELECT t::text FROM {t.name} t WHERE node = $1 ORDER BY 1", node)
        for t in TABLES.values()
    }


@given(HISTORIES, st.lists(st.integers(1, 8), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_is_written_and_rebuilt(
    dsn: str, history: list[tuple[int, m.AnyEvent]], chunks: list[int]
) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        node = f"n{next(_nodes)}"
        await put_events(connection, node, history)
        worker, sizes = Projection(node), itertools.cycle(chunks)
        while True:
            projection.CHUNK = next(sizes)
            if not await worker.step(connection):
                break
            if chunks[0] == projection.CHUNK:
                worker = Projection(node)  # Another process goes on, from the saved state and the mark.
        stepwise = await ledger(connection, node)
        projection.CHUNK = 1000
        assert await rebuild(connection, node) == len(history)
        assert await ledger(connection, node) == stepwise
        await connection.close()

    before = projection.CHUNK
    try:
        asyncio.run(run())
    finally:
        projection.CHUNK = before


async def test_an_event_of_a_newer_version_is_named(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await put_events(connection, "n", [(1, m.AgentSignedIn("ann", "x"))])
    await connection.execute("""UPDATE events SET kind = 'Later', body = '{"type": "Later"}'""")
    with pytest.raises(ProjectionError, match=r"event 1 \(Later\)"):
        await Projection("n").step(connection)
    assert await connection.fetchval("SELECT ordinal FROM ledger_marks") == 0
    await connection.close()
