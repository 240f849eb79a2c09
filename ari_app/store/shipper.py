"""The shipper: a process of its own that copies the journal into PostgreSQL, exactly once in effect.

``DATABASE_URL=... python -m ari_app.store.shipper --journal PATH [--parent PID]``

A batch of event rows, the people changed meanwhile and the node's mark are one transaction; the
mark moves by compare-and-set, so two shippers cannot both succeed with the same rows. PostgreSQL
may be away for as long as it likes: rows wait in the journal, memory holds one batch. The ledger
follows on a connection of its own and never holds the events up.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import asyncpg
import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from ari_app.store.journal import Journal, JournalCorrupt, JournalError, Person, Row
from ari_app.store.projection import Projection, ProjectionError
from ari_app.store.safe_text import storable, storable_tree

log = structlog.get_logger("shipper")

BATCH = 1000
POLL_S = 0.02
CONNECT_LIMIT_S = 5.0
BATCH_LIMIT_S = 60.0
DRAIN_LIMIT_S = 3.0
BACK_OFF_FIRST_S = 0.1
BACK_OFF_MOST_S = 5.0
PARENT_POLL_S = 0.5
TELL_JOURNAL_EVERY_S = 0.5

COLUMNS = (
    "node",
    "epoch",
    "seq",
    "ordinal",
    "at",
    "at_ns",
    "input_seq",
    "kind",
    "version",
    "call_id",
    "agent",
    "queue",
    "body",
)
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
T = TypeVar("T")

# What may pass by itself: PostgreSQL or the network away, not migrated yet, the disk full.
PASSING = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection lost between the parts of a query: "cannot switch to state"
    JournalError,
    ProjectionError,
)


class Mark(Struct, frozen=True):
    """How far the node's journal is copied; ``seq`` is where to go on reading."""

    epoch: str
    seq: int
    ordinal: int
    people: int


class Rival(Exception):
    """The mark was moved by somebody else: another shipper did the work."""


class Shipper:
    """Copies one journal until ``stop`` is set. Owns its reading thread and its two connections."""

    def __init__(self, journal_path: Path, dsn: str) -> None:
        self.stop = asyncio.Event()
        self._path = journal_path
        self._dsn = dsn
        # SQLite connections stay in the thread that opened them.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._journal: Journal | None = None
        self._shipped = asyncio.Event()
        self._drained = asyncio.Event()
        self._abreast = asyncio.Event()
        self._abreast.set()
        self._told_at = 0.0

    async def run(self) -> None:
        """Ship and project until stopped; then what is left, for a moment, if PostgreSQL is there."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ship_until_stopped(), name="ship")
                tasks.create_task(self._for_ever("ledger", self._project, self._drained), name="project")
        finally:
            if self._journal is not None:
                await self._read(self._journal.close)
            self._thread.shutdown(wait=False)

    # ------------------------------------------------------------ keeping at it

    async def _ship_until_stopped(self) -> None:
        try:
            await self._for_ever("events", self._ship, self.stop)
        finally:
            self._drained.set()
            self._abreast.set()

    async def _for_ever(self, what: str, work: Work, stop: asyncio.Event) -> None:
        """Connect and work; on what may pass, wait longer and longer. One line per change of state."""
        waiting = Waiting(what)
        while not stop.is_set():
            try:
                async with asyncio.timeout(CONNECT_LIMIT_S):
                    connection = await asyncpg.connect(
                        self._dsn,
                        command_timeout=BATCH_LIMIT_S,
                        server_settings={"application_name": f"cordboard {what}"},
                    )
                try:
                    await work(connection, waiting)
                finally:
                    await _close(connection)
            except Rival:
                self._abreast.set()
                await self._pause(random.uniform(0.1, 0.5), stop)
            except JournalCorrupt:
                raise
            except PASSING as error:
                self._abreast.set()
                await self._pause(waiting.failed(error), stop)

    async def _pause(self, seconds: float, stop: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):  # Nobody stopped us meanwhile: go on.
            async with asyncio.timeout(seconds):
                await stop.wait()

    async def _read(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _open_journal(self) -> Journal:
        if self._journal is None:
            self._journal = await self._read(_open, self._path)
        return self._journal

    # ------------------------------------------------------------ events

    async def _ship(self, connection: asyncpg.Connection, waiting: Waiting) -> None:
        journal = await self._open_journal()
        mark = await self._locate(connection, journal)
        drain_until = 0.0
        while True:
            stopping = self.stop.is_set()
            drain_until = drain_until or (time.monotonic() + DRAIN_LIMIT_S if stopping else 0.0)
            rows, people = await self._read(_batch, journal, mark)
            if rows or people:
                async with asyncio.timeout(BATCH_LIMIT_S):
                    mark = await _copy(connection, journal.node, mark, rows, people)
                self._shipped.set()
            waiting.works()
            await self._tell_journal(journal, mark, now=stopping)
            if stopping and (not rows or time.monotonic() >= drain_until):
                return
            if len(rows) < BATCH:
                self._abreast.set()
                await self._pause(POLL_S, self.stop)
            else:
                self._abreast.clear()  # Far behind: events first, the ledger can wait.

    async def _tell_journal(self, journal: Journal, mark: Mark, *, now: bool) -> None:
        if now or time.monotonic() - self._told_at >= TELL_JOURNAL_EVERY_S:
            self._told_at = time.monotonic()
            before = await self._read(journal.shipped)
            if (before.seq, before.people) != (mark.seq, mark.people):
                await self._read(journal.set_shipped, mark.seq, mark.people)

    async def _locate(self, connection: asyncpg.Connection, journal: Journal) -> Mark:
        """Where to go on: PostgreSQL's mark, unless the journal lost its end in a power cut."""
        node = journal.node
        await connection.execute("INSERT INTO marks VALUES ($1, '', 0, 0, 0) ON CONFLICT DO NOTHING", node)
        found = await connection.fetchrow(
            "SELECT epoch, seq, ordinal, people FROM marks WHERE node = $1", node
        )
        mark = Mark(found["epoch"], found["seq"], found["ordinal"], found["people"])
        rows = await self._read(journal.rows, max(mark.seq - 1, 0), 1)
        if rows and rows[0].seq > mark.seq + 1:
            # Pruned here, and PostgreSQL is a new or an older one than they were shipped to.
            log.error("events.missing", node=node, after_seq=mark.seq, before_seq=rows[0].seq)
        if rows and rows[0].seq > mark.seq:
            return mark
        if mark.seq == 0 or (rows and rows[0].epoch == mark.epoch):
            return mark
        # The journal's rows of the mark are gone or others: a new run has written other events under
        # the same numbers. Whatever runs PostgreSQL has not seen are still to be copied.
        seen = await connection.fetch("SELECT DISTINCT epoch FROM events WHERE node = $1", node)
        seq = await self._read(journal.last_before_other_epochs, [row["epoch"] for row in seen])
        log.error("journal.lost_its_end", node=node, mark_seq=mark.seq, resumes_after_seq=seq)
        await connection.execute("UPDATE marks SET people = 0 WHERE node = $1", node)
        return replace(mark, seq=seq, people=0)

    # ------------------------------------------------------------ the ledger

    async def _project(self, connection: asyncpg.Connection, waiting: Waiting) -> None:
        journal = await self._open_journal()
        projection = Projection(journal.node)
        drain_until = 0.0
        while True:
            stopping = self._drained.is_set()
            drain_until = drain_until or (time.monotonic() + DRAIN_LIMIT_S if stopping else 0.0)
            await self._abreast.wait()
            self._shipped.clear()
            count = await projection.step(connection)
            waiting.works()
            if stopping and (count == 0 or time.monotonic() >= drain_until):
                await projection.save(connection)
                return
            if count == 0:
                await self._until_shipped()

    async def _until_shipped(self) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (self._shipped, self._drained)]
        try:
            # Another shipper may be the one that copies: look now and then unasked.
            await asyncio.wait(waits, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


class Waiting:
    """Back-off, and one line in the log when the work stalls or the cause changes, one when it goes on."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._delay_s = BACK_OFF_FIRST_S
        self._state = ""
        self._since = time.monotonic()

    def works(self) -> None:
        """Something was done in PostgreSQL."""
        if self._state != "works":
            log.info("shipping.works", what=self._what, after_s=round(time.monotonic() - self._since, 1))
            self._state, self._since, self._delay_s = "works", time.monotonic(), BACK_OFF_FIRST_S

    def failed(self, error: BaseException) -> float:
        """Seconds to wait before the next try."""
        cause = type(error).__name__
        if cause != self._state:
            # Only the first line: PostgreSQL's detail can quote a row.
            text = (str(error).splitlines() or [""])[0]
            log.warning("shipping.stalled", what=self._what, error=cause, text=text)
            if self._state in ("", "works"):
                self._since = time.monotonic()
            self._state = cause
        delay_s = self._delay_s * random.uniform(0.75, 1.25)
        self._delay_s = min(self._delay_s * 2, BACK_OFF_MOST_S)
        return delay_s


Work = Callable[[asyncpg.Connection, Waiting], Awaitable[None]]


def _open(path: Path) -> Journal:
    return Journal(path, readonly=True)


def _batch(journal: Journal, mark: Mark) -> tuple[list[Row], list[Person]]:
    # People after events: whoever's call is among the rows was kept before it was opened.
    rows = journal.rows(mark.seq, BATCH)
    return rows, journal.people_after(mark.people, BATCH)


async def _copy(
    connection: asyncpg.Connection, node: str, mark: Mark, rows: list[Row], people: list[Person]
) -> Mark:
    last = rows[-1] if rows else None
    after = Mark(
        last.epoch if last else mark.epoch,
        last.seq if last else mark.seq,
        mark.ordinal + len(rows),
        people[-1].change if people else mark.people,
    )
    async with connection.transaction():
        # First of all: a rival waits here for our commit, then finds the mark moved.
        moved = await connection.execute(
            "UPDATE marks SET epoch = $2, seq = $3, ordinal = $4, people = $5"
            " WHERE node = $1 AND ordinal = $6 AND people = $7",
            node,
            after.epoch,
            after.seq,
            after.ordinal,
            after.people,
            mark.ordinal,
            mark.people,
        )
        if moved != "UPDATE 1":
            raise Rival
        if people:
            await _put_people(connection, node, people)
        if rows:
            records = [_record(node, mark.ordinal + n, row) for n, row in enumerate(rows, start=1)]
            await connection.copy_records_to_table("events", records=records, columns=COLUMNS)
    return after


async def _put_people(connection: asyncpg.Connection, node: str, people: list[Person]) -> None:
    await connection.execute(
        "INSERT INTO people (node, call_id, number, name, change, note)"
        " SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])"
        " ON CONFLICT (node, call_id) DO UPDATE"
        " SET number = excluded.number, name = excluded.name, change = excluded.change, note = excluded.note",
        node,
        [storable(person.call) for person in people],
        [storable(person.number) for person in people],
        [storable(person.name) for person in people],
        [person.change for person in people],
        [storable(person.note) for person in people],
    )


def _record(node: str, ordinal: int, row: Row) -> tuple[object, ...]:
    at = _EPOCH_START + timedelta(microseconds=row.at_ns // 1000)
    return (
        node,
        row.epoch,
        row.seq,
        ordinal,
        at,
        row.at_ns,
        row.input_seq,
        row.kind,
        row.version,
        storable(row.call),
        storable(row.agent),
        storable(row.queue),
        jsonb_text(row.body),
    )


def jsonb_text(body: str) -> str:
    """``body`` as PostgreSQL's jsonb takes it: it refuses the escape of NUL."""
    if "\\u0000" not in body:
        return body
    return msgspec.json.encode(storable_tree(msgspec.json.decode(body))).decode()


async def _close(connection: asyncpg.Connection) -> None:
    try:
        async with asyncio.timeout(2.0):
            await connection.close()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()  # It is broken already; there is nothing to say goodbye to.


async def _watch_parent(parent: int, stop: asyncio.Event) -> None:
    """A shipper whose Cordboard died goes too; the next Cordboard starts its own."""
    while not stop.is_set():
        if os.getppid() != parent:
            log.info("shipper.orphaned", parent=parent)
            stop.set()
            return
        with contextlib.suppress(TimeoutError):  # Not stopped: look again.
            async with asyncio.timeout(PARENT_POLL_S):
                await stop.wait()


async def ship(journal_path: Path, dsn: str, parent: int = 0) -> None:
    """Run a shipper until SIGTERM, SIGINT or, with ``parent``, until that process is gone."""
    shipper = Shipper(journal_path, dsn)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, shipper.stop.set)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(shipper.run(), name="shipper")
        if parent:
            tasks.create_task(_watch_parent(parent, shipper.stop), name="watch parent")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m ari_app.store.shipper", description=__doc__)
    parser.add_argument("--journal", type=Path, required=True, help="the journal's file")
    parser.add_argument(
        "--parent", type=int, default=0, help="stop when this process is not our parent any more"
    )
    options = parser.parse_args(arguments)
    dsn = os.environ.get("DATABASE_URL", "")
    if not dsn:
        print(
            "DATABASE_URL is not set: it names the database, like postgresql://user@host/name",
            file=sys.stderr,
        )
        return 2
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    status = 0
    try:
        asyncio.run(ship(options.journal, dsn, options.parent))
    except* JournalCorrupt:
        print(
            f"{options.journal}: not a journal of this version, or damaged: nothing is shipped",
            file=sys.stderr,
        )
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
