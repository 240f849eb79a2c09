"""The journal: local SQLite in WAL mode, the commit point of every batch of decisions.

Only the engine writes it. A committed batch survives the death of the process because it is in
the kernel's page cache; that it also reaches the disk is the work of ``checkpoint``, which is
safe to call from a thread and belongs there (https://sqlite.org/wal.html: with
synchronous=NORMAL a commit does not sync, a checkpoint syncs the log, then the database).

How far PostgreSQL has the rows is written by the shipper into a small file beside the journal,
not into it: SQLite has one writer at a time, and the engine must never wait for another.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
from msgspec import Struct

from ari_app.core.messages import AnyEvent, AnyInput, version_of
from ari_app.store.safe_text import storable, storable_tree

APPLICATION_ID = 0x43424A4C  # "CBJL"
SCHEMA_VERSION = 2
_UPGRADES = {1: "ALTER TABLE people ADD COLUMN note TEXT NOT NULL DEFAULT ''"}
"""Older version -> the statement that leads to the next one."""
BUSY_TIMEOUT_S = 2.0
CHUNK = 1000
PRUNE_CHUNK = 200
SNAPSHOTS_KEPT = 2

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE inputs (
  seq INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE events (
  seq INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, epoch TEXT NOT NULL, input_seq INTEGER NOT NULL,
  kind TEXT NOT NULL, version INTEGER NOT NULL,
  call TEXT NOT NULL, agent TEXT NOT NULL, queue TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE people (
  change INTEGER PRIMARY KEY AUTOINCREMENT, call TEXT NOT NULL UNIQUE,
  number TEXT NOT NULL, name TEXT NOT NULL, seq INTEGER NOT NULL, note TEXT NOT NULL DEFAULT '');
CREATE TABLE snapshots (seq INTEGER PRIMARY KEY, state BLOB NOT NULL);
"""


class JournalError(Exception):
    """Base of what can go wrong with the journal; the text names the file."""


class JournalConflict(JournalError):
    """Another writer appended meanwhile, or the caller's number is wrong. Nothing was written."""


class JournalUnavailable(JournalError):
    """The file cannot be read or written now: disk full, read-only, missing. Nothing was written."""


class JournalCorrupt(JournalError):
    """The file is not a journal of this version, or is damaged; see ``Journal.set_apart``."""


class JournalLocked(JournalError):
    """Another process holds the lock."""


class Entry(Struct, frozen=True):
    """One input at its instant (nanoseconds UTC) and the events it caused."""

    at_ns: int
    input: AnyInput
    events: Sequence[AnyEvent]


class Recorded(Struct, frozen=True):
    """One event as it was committed. ``input_seq`` is the number of its input's first event."""

    seq: int
    at_ns: int
    epoch: str
    input_seq: int
    event: AnyEvent


class Past(Struct, frozen=True):
    """One input with its events; ``seq`` is the number of the first of them."""

    seq: int
    epoch: str
    entry: Entry


class Row(Struct, frozen=True):
    """One event row as it is stored, undecoded: what the shipper copies."""

    seq: int
    at_ns: int
    epoch: str
    input_seq: int
    kind: str
    version: int
    call: str
    agent: str
    queue: str
    body: str


class Person(Struct, frozen=True):
    """Who called, in a row of its own so that it can be erased. ``change`` numbers the changes.

    ``note``: what the agent noted of the call, personal data as well.
    """

    call: str
    number: str
    name: str
    change: int = 0
    note: str = ""


class Shipped(Struct, frozen=True):
    """How far PostgreSQL has this journal: the last event and the last change of a person.

    ``node`` is the journal's serial: the shipper of one that was set apart may still write."""

    node: str = ""
    seq: int = 0
    people: int = 0


_encode = msgspec.json.Encoder().encode
_event_decoder = msgspec.json.Decoder(AnyEvent)
_input_decoder = msgspec.json.Decoder(AnyInput)


def event_from_json(body: str | bytes) -> AnyEvent:
    """The event of a stored body. Raises ``msgspec.ValidationError`` for one no version knows."""
    event: AnyEvent = _event_decoder.decode(body)
    return event


def _body(message: Struct) -> str:
    try:
        return _encode(message).decode()
    except UnicodeEncodeError:
        # A string with bytes that were no UTF-8: they become U+FFFD rather than stop the call.
        return _encode(storable_tree(msgspec.to_builtins(message))).decode()


class Journal:
    """The log of inputs and events, numbered from 1 without gaps.

    ``readonly`` is for other processes (shipper, reports). ``node``: the name of a new journal that goes on
    where one that was set apart ended, in PostgreSQL too; others get a name of their own. Raises
    ``JournalUnavailable`` if the file cannot be opened, ``JournalCorrupt`` if it is not a journal of this
    version.
    """

    def __init__(self, path: Path, *, readonly: bool = False, node: str = "") -> None:
        self.path = path
        self._new_node = node
        self._serial = ""
        self.readonly = readonly
        self._shipped_path = path.with_name(path.name + ".shipped")
        try:
            if not readonly:
                _make_private(path)
            self._db = self._connect()
            if not readonly:
                self._create_if_new()
                self._upgrade()
        except (OSError, sqlite3.OperationalError) as error:
            raise JournalUnavailable(f"{path}: the journal cannot be opened: {error}") from error
        except sqlite3.DatabaseError as error:
            raise JournalCorrupt(f"{path}: not a journal, or damaged: {error}") from error
        try:
            self.node, self.last_seq = self._check()
        except JournalError:
            self._db.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self.readonly else "rw"
        db = sqlite3.connect(
            f"file:{_uri_path(self.path)}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
        )
        try:
            if not self.readonly:
                db.execute("PRAGMA journal_mode=WAL")
                # Erased people are overwritten, not only unlinked.
                db.execute("PRAGMA secure_delete=ON")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA wal_autocheckpoint=0")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _create_if_new(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            if self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone() != (0,):
                return
            for statement in _SCHEMA.split(";\n"):
                self._db.execute(statement)
            serial = uuid.uuid4().hex
            names = [("node", self._new_node or serial), ("serial", serial)]
            self._db.executemany("INSERT INTO meta VALUES (?, ?)", names)
            self._db.execute(f"PRAGMA application_id={APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _upgrade(self) -> None:
        """Bring an older journal up to this version; one of another program is left for ``_check``."""
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            if self._db.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
                return
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            while version in _UPGRADES:
                self._db.execute(_UPGRADES[version])
                version += 1
                self._db.execute(f"PRAGMA user_version={version}")

    def _check(self) -> tuple[str, int]:
        try:
            kind = self._db.execute("PRAGMA application_id").fetchone()[0]
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if kind == 0 and self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
                raise JournalUnavailable(f"{self.path}: the journal is still empty")
            if kind != APPLICATION_ID:
                raise JournalCorrupt(f"{self.path}: a SQLite file, but not a Cordboard journal")
            if self.readonly and version in _UPGRADES:
                raise JournalUnavailable(f"{self.path}: an older journal; start cordboard, which upgrades it")
            if version != SCHEMA_VERSION:
                raise JournalCorrupt(
                    f"{self.path}: journal version {version}, this program reads {SCHEMA_VERSION}"
                )
            names: dict[str, str] = dict(self._db.execute("SELECT key, value FROM meta").fetchall())
            # Two journals may share a node, one after the other. Before that there was no serial.
            self._serial = names.get("serial", names["node"])
            return names["node"], self._newest()
        except sqlite3.OperationalError as error:
            raise JournalUnavailable(f"{self.path}: the journal cannot be read: {error}") from error
        except sqlite3.DatabaseError as error:
            raise JournalCorrupt(f"{self.path}: not a journal, or damaged: {error}") from error

    def close(self) -> None:
        """Give the file back. The last writer to close also checkpoints it (SQLite does)."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def set_apart(path: Path) -> Path:
        """Rename a journal that cannot be used, with its log; nothing is deleted. The new path."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        apart = path.with_name(f"{path.name}.broken-{stamp}")
        number = 1
        while apart.exists():
            number += 1
            apart = path.with_name(f"{path.name}.broken-{stamp}-{number}")
        for suffix in ("-wal", "-shm", ".shipped", ""):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(apart.with_name(apart.name + suffix))
        return apart

    # ------------------------------------------------------------ writing

    def append(self, epoch: str, entries: Sequence[Entry], expected_seq: int) -> int:
        """Commit ``entries`` in one transaction; returns the number of the last event.

        ``expected_seq`` is the number of the last event the caller knows. Inputs without events
        changed nothing and are not kept. Raises ``JournalConflict`` or ``JournalUnavailable``;
        after either nothing was written and the caller may not act on the events.
        """
        inputs, events = _rows(epoch, entries, expected_seq)
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            newest = self._newest()
            if newest != expected_seq:
                db.execute("ROLLBACK")
                raise JournalConflict(
                    f"{self.path}: expected event {expected_seq} to be the last, found {newest}: "
                    "another process writes this journal"
                )
            db.executemany("INSERT INTO inputs VALUES (?, ?, ?, ?)", inputs)
            db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", events)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise JournalUnavailable(f"{self.path}: the journal cannot be written: {error}") from error
        self.last_seq = expected_seq + len(events)
        return self.last_seq

    def _newest(self) -> int:
        # Pruning always leaves the last row, so this is right for a pruned journal too.
        newest = self._db.execute("SELECT seq FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        return newest[0] if newest else 0

    def _roll_back(self) -> None:
        # SQLite rolls back by itself on some errors (a full disk); then there is nothing to undo.
        if self._db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def checkpoint(self) -> None:
        """Sync the log and move it into the database, with a connection of its own.

        Safe to call from a thread while the engine appends; readers and the writer do not wait
        (https://sqlite.org/c3ref/wal_checkpoint_v2.html, PASSIVE). Raises ``JournalUnavailable``.
        """
        try:
            with contextlib.closing(self._connect()) as db:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            raise JournalUnavailable(f"{self.path}: the journal cannot be synced: {error}") from error

    def save_snapshot(self, seq: int, state: bytes) -> None:
        """Keep the floor as it is after event ``seq``; the last two are kept."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?)", (seq, state))
            self._db.execute(
                "DELETE FROM snapshots"
                " WHERE seq NOT IN (SELECT seq FROM snapshots ORDER BY seq DESC LIMIT ?)",
                (SNAPSHOTS_KEPT,),
            )
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise JournalUnavailable(f"{self.path}: the snapshot was not kept: {error}") from error

    def latest_snapshot(self) -> tuple[int, bytes] | None:
        """The newest snapshot as (number of the event it includes, state), or None."""
        row = self._read("SELECT seq, state FROM snapshots ORDER BY seq DESC LIMIT 1")
        return (row[0][0], bytes(row[0][1])) if row else None

    # ------------------------------------------------------------ reading

    def _read(self, sql: str, arguments: tuple[int | str, ...] = ()) -> list[Any]:
        try:
            return self._db.execute(sql, arguments).fetchall()
        except sqlite3.OperationalError as error:
            raise JournalUnavailable(f"{self.path}: the journal cannot be read: {error}") from error
        except sqlite3.DatabaseError as error:
            raise JournalCorrupt(f"{self.path}: damaged: {error}") from error

    def newest(self) -> int:
        """The number of the last committed event, whoever committed it; 0 if there is none."""
        rows = self._read("SELECT seq FROM events ORDER BY seq DESC LIMIT 1")
        return rows[0][0] if rows else 0

    def oldest(self) -> int:
        """The number of the first event that is still here; 0 if there is none."""
        rows = self._read("SELECT seq FROM events ORDER BY seq LIMIT 1")
        return rows[0][0] if rows else 0

    def rows(self, after_seq: int, limit: int = CHUNK) -> list[Row]:
        """At most ``limit`` events after ``after_seq``, undecoded, in order."""
        found = self._read(
            "SELECT seq, at_ns, epoch, input_seq, kind, version, call, agent, queue, body"
            " FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
            (after_seq, limit),
        )
        return [Row(*row) for row in found]

    def last_before_other_epochs(self, epochs: Sequence[str]) -> int:
        """The number before the first event of a run that is not among ``epochs``; else the last one."""
        known = msgspec.json.encode(list(epochs)).decode()
        found = self._read(
            "SELECT min(seq) - 1 FROM events WHERE epoch NOT IN (SELECT value FROM json_each(?))", (known,)
        )
        return self.newest() if found[0][0] is None else found[0][0]

    def replay(self, after_seq: int = 0) -> Iterator[Recorded]:
        """All events after ``after_seq`` in order. Raises ``JournalCorrupt`` at one it cannot read.

        Read in chunks, so that no long read keeps the log from being reused.
        """
        while rows := self.rows(after_seq):
            for row in rows:
                yield Recorded(row.seq, row.at_ns, row.epoch, row.input_seq, self._event(row))
            after_seq = rows[-1].seq

    def inputs(self, after_seq: int = 0) -> Iterator[Past]:
        """Inputs whose first event comes after ``after_seq``, with their events, in order.

        For deciding again what was decided, and comparing.
        """
        while found := self._read(
            "SELECT seq, at_ns, body FROM inputs WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, CHUNK)
        ):
            for seq, at_ns, body in found:
                rows = [Row(*row) for row in self._read(_EVENTS_OF_INPUT, (seq,))]
                entry = Entry(at_ns, self._input(seq, body), [self._event(row) for row in rows])
                yield Past(seq, rows[0].epoch if rows else "", entry)
            after_seq = found[-1][0]

    def of_call(self, call: str) -> list[Recorded]:
        """The events of one call that are still here, with those of no call that the same inputs caused.

        Reads the whole journal: for people, not for loops.
        """
        found = self._read(_EVENTS_OF_CALL, (call,))
        rows = [Row(*row) for row in found]
        return [Recorded(row.seq, row.at_ns, row.epoch, row.input_seq, self._event(row)) for row in rows]

    def _event(self, row: Row) -> AnyEvent:
        try:
            return event_from_json(row.body)
        except msgspec.DecodeError as error:
            raise JournalCorrupt(f"{self.path}: event {row.seq} ({row.kind}): {error}") from error

    def _input(self, seq: int, body: str) -> AnyInput:
        try:
            found: AnyInput = _input_decoder.decode(body)
        except msgspec.DecodeError as error:
            raise JournalCorrupt(f"{self.path}: input {seq}: {error}") from error
        return found

    # ------------------------------------------------------------ people

    def put_person(self, call: str, number: str, name: str) -> None:
        """Keep who called; text that cannot be stored is made so (``safe_text.storable``)."""
        self._change_person(call, storable(number), storable(name))

    def erase_person(self, call: str) -> None:
        """Blank the row; the change is shipped, so that PostgreSQL forgets too."""
        self._change_person(call, "", "")

    def put_note(self, call: str, note: str) -> bool:
        """Keep an agent's note with the caller's row; False if there is none (any more)."""
        person = self.person(call)
        if person is not None:
            self._change_person(call, person.number, person.name, storable(note))
        return person is not None

    def _change_person(self, call: str, number: str, name: str, note: str = "") -> None:
        try:
            # Replacing gives the row a new number of change, by which the shipper finds it.
            self._db.execute(
                "INSERT OR REPLACE INTO people (call, number, name, seq, note) VALUES (?, ?, ?, ?, ?)",
                (call, number, name, self.last_seq, note),
            )
        except sqlite3.Error as error:
            raise JournalUnavailable(f"{self.path}: the caller was not kept: {error}") from error

    def person(self, call: str) -> Person | None:
        """Who called, or None if that was never known here, or is pruned."""
        found = self._read("SELECT call, number, name, change, note FROM people WHERE call = ?", (call,))
        return Person(*found[0]) if found else None

    def people_after(self, change: int, limit: int = CHUNK) -> list[Person]:
        """At most ``limit`` people changed after ``change``, in the order of the changes."""
        found = self._read(
            "SELECT call, number, name, change, note FROM people WHERE change > ? ORDER BY change LIMIT ?",
            (change, limit),
        )
        return [Person(*row) for row in found]

    # ------------------------------------------------------------ shipped, pruned

    def shipped(self) -> Shipped:
        """How far PostgreSQL has this journal, as the shipper last said; zeros if it never did."""
        try:
            found = msgspec.json.decode(self._shipped_path.read_bytes(), type=Shipped)
        except (OSError, msgspec.DecodeError):
            return Shipped(self._serial)  # Only delays pruning; the shipper writes it again.
        return found if found.node == self._serial else Shipped(self._serial)

    def set_shipped(self, seq: int, people: int) -> None:
        """Called by the shipper after PostgreSQL committed; replaces the small file as a whole."""
        draft = self._shipped_path.with_name(self._shipped_path.name + f".{os.getpid()}")
        try:
            draft.write_bytes(_encode(Shipped(self._serial, seq, people)))
            draft.replace(self._shipped_path)
        except OSError as error:
            raise JournalUnavailable(f"{self._shipped_path}: cannot be written: {error}") from error

    def prune(self, live_calls: Collection[str] = ()) -> int:
        """Remove what is both shipped and in a snapshot; the number of events removed.

        The last event always stays. People stay while their call is in ``live_calls``. Works in
        small transactions on a connection of its own: safe to call from a thread.
        """
        shipped = self.shipped()
        removed = 0
        try:
            with contextlib.closing(self._connect()) as db:
                oldest = db.execute("SELECT min(seq) FROM snapshots").fetchone()[0] or 0
                newest = db.execute("SELECT max(seq) FROM events").fetchone()[0] or 0
                upto = min(shipped.seq, oldest, newest - 1)
                # Never split an input from its events.
                upto = db.execute(_WHOLE_INPUTS, (upto,)).fetchone()[0] or 0
                while count := db.execute(_PRUNE_EVENTS, (upto, PRUNE_CHUNK)).rowcount:
                    removed += count
                while db.execute(_PRUNE_INPUTS, (upto, PRUNE_CHUNK)).rowcount:
                    pass
                live = msgspec.json.encode(sorted(live_calls)).decode()
                db.execute(_PRUNE_PEOPLE, (upto, shipped.people, live))
        except sqlite3.Error as error:
            raise JournalUnavailable(f"{self.path}: the journal cannot be pruned: {error}") from error
        return removed


_EVENTS_OF_INPUT = """
SELECT seq, at_ns, epoch, input_seq, kind, version, call, agent, queue, body FROM events
WHERE seq >= ?1 AND seq < coalesce((SELECT min(seq) FROM inputs WHERE seq > ?1), 9223372036854775807)
ORDER BY seq"""
_EVENTS_OF_CALL = """
SELECT seq, at_ns, epoch, input_seq, kind, version, call, agent, queue, body FROM events
WHERE call = ?1 OR (call = '' AND input_seq IN (SELECT input_seq FROM events WHERE call = ?1))
ORDER BY seq"""
_WHOLE_INPUTS = """
SELECT max(e.seq) FROM events e WHERE e.seq <= ?1
AND e.input_seq <> coalesce((SELECT n.input_seq FROM events n WHERE n.seq > e.seq ORDER BY n.seq LIMIT 1), -1)
AND e.seq > ?1 - 10000"""
_PRUNE_EVENTS = "DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE seq <= ? ORDER BY seq LIMIT ?)"
_PRUNE_INPUTS = "DELETE FROM inputs WHERE seq IN (SELECT seq FROM inputs WHERE seq <= ? ORDER BY seq LIMIT ?)"
_PRUNE_PEOPLE = """
DELETE FROM people WHERE seq < ? AND change <= ? AND call NOT IN (SELECT value FROM json_each(?))"""


def _rows(epoch: str, entries: Sequence[Entry], seq: int) -> tuple[list[Any], list[Any]]:
    inputs, events = [], []
    for entry in entries:
        if not entry.events:
            continue
        first = seq + 1
        inputs.append((first, entry.at_ns, type(entry.input).__name__, _body(entry.input)))
        for event in entry.events:
            seq += 1
            events.append(
                (
                    seq,
                    entry.at_ns,
                    epoch,
                    first,
                    type(event).__name__,
                    version_of(event),
                    getattr(event, "call", ""),
                    getattr(event, "agent", ""),
                    getattr(event, "queue", ""),
                    _body(event),
                )
            )
    return inputs, events


def _make_private(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives the log the permissions of the database, so the file must exist before it.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _uri_path(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


class ProcessLock:
    """Excludes a second process from the same journal, for as long as this one lives.

    ``flock`` on a file beside the journal: the kernel gives it back whatever way the process ends.
    Raises ``JournalLocked`` with the holder's process id.
    """

    def __init__(self, journal_path: Path) -> None:
        self.path = journal_path.with_name(journal_path.name + ".lock")
        try:
            _make_private(self.path)
            self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise JournalUnavailable(f"{self.path}: the lock cannot be opened: {error}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise JournalLocked(
                f"{self.path}: held by process {holder}: another Cordboard runs with this journal;"
                " stop it first"
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
