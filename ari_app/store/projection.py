"""The ledger in PostgreSQL: the fold of ``core.ledger`` written as rows, with a mark of its own.

Rows are complete and written by key, so folding an event twice changes nothing. That is why the
fold's state, whose size follows the live calls, is saved only now and then: after a restart the
events since the saved state are folded again in silence. The rows themselves and the mark move
in one transaction.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

import asyncpg
import msgspec
import structlog
from msgspec import Struct

from ari_app.core.ledger import fold
from ari_app.core.ledger_rows import (
    AgentIntervalRow,
    AgentRow,
    CallRow,
    DecisionRow,
    LedgerState,
    OwnCallRow,
    QueueRow,
    RecordingRow,
    RowChange,
    SegmentRow,
    VisitRow,
)
from ari_app.store.journal import event_from_json
from ari_app.store.safe_text import storable, storable_tree

log = structlog.get_logger("ledger")

FOLD_VERSION = 6
"""Raise it when ``fold`` gives other rows for the same events: the ledger is then rebuilt."""
CHUNK = 1000
SAVE_STATE_EVERY_S = 5.0
SAVE_STATE_EVERY_EVENTS = 5000


class ProjectionError(Exception):
    """An event cannot be folded; the text names it."""


class Table(Struct, frozen=True):
    """How one kind of row is stored: its columns (the struct's fields), their types, its key."""

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    key: tuple[str, ...]

    def upsert(self) -> str:
        """One statement for any number of rows: arrays, unnested, inserted or replacing by key."""
        arrays = ", ".join(f"${n}::{type_}[]" for n, type_ in enumerate(self.types, start=2))
        changed = [f"{column} = excluded.{column}" for column in self.columns if column not in self.key]
        columns, key = ", ".join(self.columns), ", ".join(self.key)
        return (
            f"INSERT INTO {self.name} (node, {columns}) SELECT $1, * FROM unnest({arrays})"  # noqa: S608
            f" ON CONFLICT (node, {key}) DO UPDATE SET {', '.join(changed)}"
        )

    def key_of(self, row: RowChange) -> tuple[object, ...]:
        return tuple(getattr(row, column) for column in self.key)


_TYPES: dict[str, str] = {"seq": "bigint", "why": "jsonb", "adopted": "boolean", "quarantined": "boolean"}
_TYPES["unseen"] = "boolean"
_TYPES |= dict.fromkeys(("attempt", "offers", "misses", "cause"), "integer")


def _table(name: str, row: type[Any], *key: str) -> Table:
    columns = tuple(field.name for field in msgspec.structs.fields(row))
    types = tuple(_TYPES.get(c, "bigint" if c.endswith("_ns") else "text") for c in columns)
    return Table(name, columns, types, key)


TABLES: dict[type[Any], Table] = {
    QueueRow: _table("queues", QueueRow, "queue"),
    AgentRow: _table("agents", AgentRow, "agent"),
    CallRow: _table("calls", CallRow, "call"),
    VisitRow: _table("visits", VisitRow, "call", "seq"),
    SegmentRow: _table("segments", SegmentRow, "call", "party", "agent", "seq"),
    AgentIntervalRow: _table("agent_intervals", AgentIntervalRow, "agent", "seq"),
    DecisionRow: _table("decisions", DecisionRow, "call", "attempt"),
    OwnCallRow: _table("own_calls", OwnCallRow, "call"),
    RecordingRow: _table("recordings", RecordingRow, "recording"),
}
_UPSERTS: dict[type[Any], str] = {row: table.upsert() for row, table in TABLES.items()}


class Saved(Struct, frozen=True):
    """The fold's state as it is kept."""

    version: int
    state: LedgerState


def folded(state: LedgerState, rows: Iterable[asyncpg.Record]) -> list[RowChange]:
    """Fold event rows (ordinal, at_ns, kind, body) into ``state``; the rows they change."""
    changes: list[RowChange] = []
    for row in rows:
        try:
            event = event_from_json(row["body"])
        except msgspec.DecodeError as error:
            raise ProjectionError(f"event {row['ordinal']} ({row['kind']}): {error}") from error
        changes += fold(state, row["ordinal"], row["at_ns"], event)
    return changes


async def write_rows(connection: asyncpg.Connection, node: str, changes: Iterable[RowChange]) -> None:
    """Write the last row of each key; what ends comes before what begins, as the indexes demand."""
    latest: dict[type[Any], dict[tuple[object, ...], RowChange]] = {}
    for change in changes:
        latest.setdefault(type(change), {})[TABLES[type(change)].key_of(change)] = change
    for kind, rows in latest.items():
        ordered = sorted(rows.values(), key=lambda row: getattr(row, "to_ns", 0) is None)
        values = [_values(row) for row in ordered]
        await connection.execute(
            _UPSERTS[kind], node, *(list(column) for column in zip(*values, strict=True))
        )


def _values(row: RowChange) -> list[object]:
    values = [getattr(row, name) for name in row.__struct_fields__]
    return [
        storable(value, len(value))
        if isinstance(value, str)
        else json.dumps(storable_tree(msgspec.to_builtins(value)))
        if isinstance(value, Struct)
        else value
        for value in values
    ]


class Projection:
    """Brings one node's ledger up to its events, a chunk at a time. Safe beside another one."""

    def __init__(self, node: str) -> None:
        self.node = node
        self._state: LedgerState | None = None
        self._ordinal = 0
        self._saved_ordinal = 0
        self._saved_at = 0.0

    async def step(self, connection: asyncpg.Connection) -> int:
        """Fold and write the next events; how many there were. On any error the state is read anew."""
        try:
            if self._state is None:
                self._state = await self._load(connection)
            return await self._step(connection, self._state)
        except BaseException:
            self._state = None
            raise

    async def _step(self, connection: asyncpg.Connection, state: LedgerState) -> int:
        rows = await _events(connection, self.node, self._ordinal, CHUNK)
        if not rows:
            return 0
        changes = folded(state, rows)
        ordinal = rows[-1]["ordinal"]
        async with connection.transaction():
            moved = await connection.execute(
                "UPDATE ledger_marks SET ordinal = $3 WHERE node = $1 AND ordinal = $2",
                self.node,
                self._ordinal,
                ordinal,
            )
            if moved != "UPDATE 1":
                self._state = None  # Another one was here: it did this work. Start from its mark.
                return len(rows)
            await write_rows(connection, self.node, changes)
            if self._save_is_due(ordinal):
                await self._save(connection, state, ordinal)
        self._ordinal = ordinal
        return len(rows)

    async def save(self, connection: asyncpg.Connection) -> None:
        """Save the state now, so that the next start has nothing to fold again."""
        if self._state is not None and self._saved_ordinal < self._ordinal:
            async with connection.transaction():
                await self._save(connection, self._state, self._ordinal)

    def _save_is_due(self, ordinal: int) -> bool:
        return (
            ordinal - self._saved_ordinal >= SAVE_STATE_EVERY_EVENTS
            or time.monotonic() - self._saved_at >= SAVE_STATE_EVERY_S
        )

    async def _save(self, connection: asyncpg.Connection, state: LedgerState, ordinal: int) -> None:
        await connection.execute(
            "UPDATE ledger_marks SET state_ordinal = $2, state = $3 WHERE node = $1 AND ordinal = $2",
            self.node,
            ordinal,
            msgspec.json.encode(Saved(FOLD_VERSION, state)),
        )
        self._saved_ordinal, self._saved_at = ordinal, time.monotonic()

    async def _load(self, connection: asyncpg.Connection) -> LedgerState:
        await connection.execute(
            "INSERT INTO ledger_marks VALUES ($1, 0, 0, $2) ON CONFLICT DO NOTHING",
            self.node,
            msgspec.json.encode(Saved(FOLD_VERSION, LedgerState())),
        )
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            mark = await connection.fetchrow(
                "SELECT ordinal, state_ordinal, state FROM ledger_marks WHERE node = $1", self.node
            )
            state = _decoded(mark["state"])
            if state is not None:
                await self._catch_up(connection, state, mark["state_ordinal"], mark["ordinal"])
        if state is None:
            log.warning("ledger.rebuilding", node=self.node, why="it was written by another version")
            await rebuild(connection, self.node)
            return await self._load(connection)
        self._ordinal, self._saved_ordinal = mark["ordinal"], mark["state_ordinal"]
        self._saved_at = time.monotonic()
        return state

    async def _catch_up(
        self, connection: asyncpg.Connection, state: LedgerState, after: int, upto: int
    ) -> None:
        while after < upto:
            rows = await _events(connection, self.node, after, min(CHUNK, upto - after))
            if not rows:
                return
            folded(state, rows)
            after = rows[-1]["ordinal"]


async def rebuild(connection: asyncpg.Connection, node: str) -> int:
    """Make one node's ledger again from its events, in one transaction; the number of events.

    Readers see the old ledger until it is done; a projection that runs meanwhile waits.
    """
    state, ordinal, count = LedgerState(), 0, 0
    async with connection.transaction():
        await connection.execute("SELECT FROM ledger_marks WHERE node = $1 FOR UPDATE", node)
        for table in TABLES.values():
            await connection.execute(f"DELETE FROM {table.name} WHERE node = $1", node)  # noqa: S608
        while rows := await _events(connection, node, ordinal, CHUNK):
            await write_rows(connection, node, folded(state, rows))
            ordinal = rows[-1]["ordinal"]
            count += len(rows)
        await connection.execute(
            "INSERT INTO ledger_marks VALUES ($1, $2, $2, $3) ON CONFLICT (node)"
            " DO UPDATE SET ordinal = $2, state_ordinal = $2, state = $3",
            node,
            ordinal,
            msgspec.json.encode(Saved(FOLD_VERSION, state)),
        )
    return count


def _decoded(state: bytes) -> LedgerState | None:
    try:
        saved = msgspec.json.decode(state, type=Saved)
    except msgspec.DecodeError:
        return None  # The shape changed with the version: the caller rebuilds.
    return saved.state if saved.version == FOLD_VERSION else None


async def _events(connection: asyncpg.Connection, node: str, after: int, limit: int) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await connection.fetch(
        "SELECT ordinal, at_ns, kind, body::text AS body FROM events"
        " WHERE node = $1 AND ordinal > $2 ORDER BY ordinal LIMIT $3",
        node,
        after,
        limit,
    )
    return rows
