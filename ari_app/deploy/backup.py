"""Everything that matters in one archive, taken while calls go on; and back, into an empty state folder.

In the archive: the definition, the secrets and API tokens, the journal, PostgreSQL's tables as COPY
writes them, recordings and voicemail. Not in it: what is made anew (Asterisk's rendered files,
``runtime.json``) and what only this machine has (logs, the PostgreSQL cluster itself).

PostgreSQL is read first, in one snapshot of its own, then the journal. So the journal has every
event that PostgreSQL lacks, and after a restore the shipper goes on where the dump ends.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from msgspec import Struct
from psycopg import sql

from ari_app.deploy.archive import ArchiveReader, ArchiveWriter
from ari_app.deploy.console import DeployError
from ari_app.deploy.postgres import PostgresServer
from ari_app.settings import Settings
from ari_app.store.journal import Journal, JournalError, ProcessLock
from ari_app.store.migrate import SQL_FOLDER, migrate, migrations
from ari_app.version import VERSION

FORMAT = 1
MANIFEST = "manifest.json"
TRIES = 5
LOCK_WAIT_MS = 5_000
STATE_FILES = ("secrets.toml", "tokens.json")
VOICEMAIL = Path("asterisk/spool/voicemail")
EMPTY_MEANS = ("journal.db", "secrets.toml", "postgres", "recordings")

_TABLES = """
SELECT c.relname, array_agg(a.attname ORDER BY a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
  AND NOT a.attisdropped AND a.attgenerated = ''
GROUP BY c.relname ORDER BY c.relname"""
_SEQUENCES = """
SELECT c.relname, a.attname, pg_get_serial_sequence(format('%I.%I', 'public', c.relname), a.attname)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT a.attisdropped
  AND pg_get_serial_sequence(format('%I.%I', 'public', c.relname), a.attname) IS NOT NULL"""


class BackupError(DeployError):
    """The backup or the restore is not possible; the text says why and what to do."""


class Contents(Struct, frozen=True):
    """The archive's manifest. ``migrations``: names of the applied ones; ``tables``: rows of each."""

    format: int
    version: str
    made_at: str
    node: str
    journal_seq: int
    shipped_seq: int
    migrations: tuple[str, ...]
    tables: dict[str, int]
    recordings: int


@dataclass(frozen=True)
class Restored:
    contents: Contents
    definition: Path
    database: str
    """Where the tables are: "PostgreSQL of this state folder" or "DATABASE_URL"."""


# ---------------------------------------------------------------- backup


def backup(found: Settings, archive: Path, *, recordings: bool = True) -> Contents:
    """Write ``archive`` (.tar.gz or .tar.zst, mode 600); the file appears when it is whole.

    Raises BackupError, or OSError if a file cannot be read or written.
    """
    if not found.journal_path.exists():
        raise BackupError(f"{found.journal_path} is missing: no Cordboard has run over {found.state_dir}")
    archive = archive.absolute()
    with (
        tempfile.TemporaryDirectory(prefix=".cordboard-backup-", dir=archive.parent) as scratch,
        ArchiveWriter(archive) as out,
    ):
        contents = _books(found, Path(scratch), out)
        out.add_tree(found.definition_dir, "definition")
        for name in STATE_FILES:
            path = found.secrets_path if name == "secrets.toml" else found.state_dir / name
            if path.exists():
                out.add(path, f"state/{name}")
        if (found.state_dir / VOICEMAIL).is_dir():
            out.add_tree(found.state_dir / VOICEMAIL, "voicemail")
        count = out.add_tree(found.recordings_dir, "recordings") if recordings else 0
        contents["recordings"] = count
        # Last, because it says what is there: an archive without it is not whole.
        out.add_bytes(json.dumps(contents, indent=1).encode(), MANIFEST)
    return Contents(**contents)  # type: ignore[arg-type]


def _books(found: Settings, scratch: Path, out: ArchiveWriter) -> dict[str, object]:
    """Tables and journal that fit one another, added to ``out``; the manifest's part about them."""
    facts: dict[str, object] = {
        "format": FORMAT,
        "version": VERSION,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "migrations": [],
        "tables": {},
        "shipped_seq": 0,
    }
    copy = scratch / "journal.db"
    if not found.database_url:
        _copy_journal(found.journal_path, copy)
    else:
        try:
            with psycopg.connect(found.database_url, connect_timeout=10) as connection:
                _dump_with_journal(connection, found.journal_path, copy, scratch, facts, out)
        except psycopg.Error as error:
            raise BackupError(
                f"PostgreSQL cannot be read: {str(error).strip()}; start it first: a backup without the"
                " books would look whole and not be"
            ) from error
    with Journal(copy, readonly=True) as journal:
        facts |= {"node": journal.node, "journal_seq": journal.last_seq}
    out.add(copy, "journal.db")
    return facts


def _dump_with_journal(
    connection: psycopg.Connection,
    journal_path: Path,
    copy: Path,
    scratch: Path,
    facts: dict[str, object],
    out: ArchiveWriter,
) -> None:
    for _ in range(TRIES):
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        node = _node(journal_path)
        mark = connection.execute("SELECT seq FROM marks WHERE node = %s", (node,)).fetchone()
        shipped = int(mark[0]) if mark else 0
        copy.unlink(missing_ok=True)
        _copy_journal(journal_path, copy)
        with Journal(copy, readonly=True) as journal:
            whole = journal.last_seq == 0 or journal.oldest() <= shipped + 1
        if whole:
            break
        # Rows were shipped and pruned between the two looks: look again.
        connection.execute("ROLLBACK")
        time.sleep(0.2)
    else:
        raise BackupError("the journal was pruned faster than it could be read: try again")
    tables: dict[str, int] = {}
    for table, columns in connection.execute(_TABLES).fetchall():
        path = scratch / "table"
        tables[table] = _copy_out(connection, table, columns, path)
        out.add_bytes(json.dumps(columns).encode(), f"postgres/{table}.columns")
        out.add(path, f"postgres/{table}.copy")
    names = connection.execute("SELECT name FROM schema_migrations ORDER BY number").fetchall()
    connection.execute("ROLLBACK")
    facts |= {"migrations": [row[0] for row in names], "tables": tables, "shipped_seq": shipped}


def _copy_out(connection: psycopg.Connection, table: str, columns: list[str], path: Path) -> int:
    statement = sql.SQL("COPY {} ({}) TO STDOUT").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with path.open("wb") as file, connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for block in copy:
                file.write(block)
        return cursor.rowcount


def _node(journal_path: Path) -> str:
    try:
        with Journal(journal_path, readonly=True) as journal:
            return journal.node
    except JournalError as error:
        raise BackupError(str(error)) from error


def _copy_journal(journal_path: Path, copy: Path) -> None:
    """A consistent copy beside a running engine: in WAL mode a reader stops no writer."""
    try:
        source = sqlite3.connect(f"file:{journal_path}?mode=ro", uri=True, timeout=LOCK_WAIT_MS / 1000)
        target = sqlite3.connect(copy)
        try:
            source.backup(target)
        finally:
            target.close()
            source.close()
    except sqlite3.Error as error:
        raise BackupError(f"{journal_path} cannot be copied: {error}") from error
    copy.chmod(0o600)


# ---------------------------------------------------------------- restore


def restore(archive: Path, state_dir: Path, *, definition: Path | None, database_url: str) -> Restored:
    """Unpack into an empty ``state_dir``, and into the empty database of ``database_url``.

    Without a URL a PostgreSQL of its own is made in ``state_dir``, as ``./scripts/up`` uses it. The
    definition goes to ``definition`` (``state_dir``/definition if not given), which must not exist.

    Raises BackupError before anything is written, if it can be known before.
    """
    state_dir = state_dir.absolute()
    folder = (definition or state_dir / "definition").absolute()
    _refuse_if_used(state_dir, folder)
    state_dir.parent.mkdir(parents=True, exist_ok=True)
    with ArchiveReader(archive, state_dir.parent) as content:
        facts = _manifest(content, archive)
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        with ProcessLock(state_dir / "journal.db"):
            content.extract_tree("definition", folder)
            content.extract_tree("recordings", state_dir / "recordings")
            content.extract_tree("voicemail", state_dir / VOICEMAIL)
            for name in STATE_FILES:
                content.extract(f"state/{name}", state_dir / name)
            where = _restore_tables(content, facts, state_dir, database_url)
            # Last: where it is, a restore has come to its end, and no second one is let in.
            content.extract("journal.db", state_dir / "journal.db")
    return Restored(facts, folder, where)


def _refuse_if_used(state_dir: Path, folder: Path) -> None:
    used = [name for name in EMPTY_MEANS if (state_dir / name).exists()]
    if used:
        raise BackupError(
            f"{state_dir} is in use (it has {', '.join(used)}): restore into an empty folder, nothing is"
            " ever overwritten"
        )
    if folder.exists() and any(folder.iterdir()):
        raise BackupError(f"{folder} is not empty: give another --definition")


def _manifest(content: ArchiveReader, archive: Path) -> Contents:
    raw = content.read(MANIFEST)
    if raw is None:
        raise BackupError(f"{archive}: no {MANIFEST} in it: not a backup of Cordboard, or not a whole one")
    facts = Contents(**json.loads(raw))
    if facts.format != FORMAT:
        raise BackupError(
            f"{archive}: of format {facts.format}, this version reads {FORMAT}: use Cordboard {facts.version}"
        )
    known = [migration.name for migration in migrations()]
    applied = list(facts.migrations)
    if applied != known[: len(applied)]:
        raise BackupError(f"{archive}: made by a newer Cordboard ({facts.version}): restore it with that one")
    return facts


def _restore_tables(content: ArchiveReader, facts: Contents, state_dir: Path, database_url: str) -> str:
    if not facts.tables:
        return "none: the backup was made without a database"
    if database_url:
        _load(content, facts, database_url)
        return "the database of DATABASE_URL"
    server = PostgresServer(state_dir / "postgres")
    server.start()
    try:
        _load(content, facts, server.dsn)
    finally:
        server.stop()
    return "a PostgreSQL of this state folder"


def _load(content: ArchiveReader, facts: Contents, dsn: str) -> None:
    """The schema as it was when the backup was made, its rows, then this version's further migrations."""
    try:
        with tempfile.TemporaryDirectory(prefix="cordboard-sql-") as folder:
            for name in facts.migrations:
                shutil.copy(SQL_FOLDER / name, folder)
            migrate(dsn, Path(folder))
        with psycopg.connect(dsn) as connection:
            for table in facts.tables:
                if table == "schema_migrations":
                    continue  # migrate has just written them
                if connection.execute(_any_row(table)).fetchone():
                    raise BackupError(f"the database has rows in {table}: restore into an empty one")
                _copy_in(connection, table, content)
            _set_sequences(connection)
    except psycopg.Error as error:
        raise BackupError(f"PostgreSQL cannot be written: {str(error).strip()}") from error
    migrate(dsn)


def _any_row(table: str) -> sql.Composed:
    return sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier(table))


def _copy_in(connection: psycopg.Connection, table: str, content: ArchiveReader) -> None:
    columns = json.loads(content.read(f"postgres/{table}.columns") or b"[]")
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for block in content.blocks(f"postgres/{table}.copy"):
            copy.write(block)


def _set_sequences(connection: psycopg.Connection) -> None:
    for table, column, sequence in connection.execute(_SEQUENCES).fetchall():
        newest = sql.SQL("SELECT setval({}, max({})) FROM {} HAVING max({}) IS NOT NULL").format(
            sql.Literal(sequence), sql.Identifier(column), sql.Identifier(table), sql.Identifier(column)
        )
        connection.execute(newest)


def tell(contents: Contents) -> Iterator[str]:
    """What an archive holds, in words."""
    yield f"made {contents.made_at} by Cordboard {contents.version}"
    rows = sum(contents.tables.values())
    yield f"{len(contents.tables)} tables with {rows} rows, {contents.recordings} recordings"
    waiting = contents.journal_seq - contents.shipped_seq
    yield f"journal up to event {contents.journal_seq}, {waiting} of them not in the tables yet"


def default_database() -> str:
    """``DATABASE_URL``, or "" for a PostgreSQL of our own."""
    return os.environ.get("DATABASE_URL", "")
