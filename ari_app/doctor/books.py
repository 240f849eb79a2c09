"""Checks of what is written down: definition, secrets, PostgreSQL, journal, and how far behind it is."""

from __future__ import annotations

import sqlite3
import stat
import time

import psycopg

from ari_app.doctor.findings import Finding, failure, not_checked, ok, warning
from ari_app.doctor.place import Place
from ari_app.problems import DefinitionErrors
from ari_app.secrets_file import SecretsError
from ari_app.store.journal import Journal, JournalError, JournalUnavailable
from ari_app.store.migrate import MigrationError, migrations

LAG_ROWS = 5_000
LARGE_WAL_BYTES = 256 * 1024**2
CONNECT_LIMIT_S = 5
CLOCKS_APART_S = 2.0


def definition(place: Place) -> Finding:
    """The definition on disk is good."""
    found = place.definition
    if isinstance(found, DefinitionErrors):
        more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        return failure(
            f"{found.problems[0]}{more}",
            f"cordboard check {place.settings.definition_dir} shows all; what runs is not affected",
        )
    if found.warnings:
        return warning(str(found.warnings[0]), f"cordboard check {place.settings.definition_dir} shows all")
    core = found.definition
    return ok(f"{len(core.numbers)} numbers, {len(core.queues)} queues, {len(core.agents)} agents")


def secrets(place: Place) -> Finding:
    """The secrets are there, whole, and nobody else's to read."""
    if place.loaded is None:
        return not_checked("the definition is wrong")
    found = place.secrets
    if isinstance(found, SecretsError):
        return failure(str(found), "cordboard reload makes what is missing; chmod 600 keeps it private")
    mode = stat.S_IMODE(place.settings.secrets_path.stat().st_mode)
    return ok(f"{len(found.phones)} phones, {len(found.pins)} generated PINs, mode {mode:o}")


def postgres(place: Place) -> Finding:
    """PostgreSQL answers, and its clock agrees with ours."""
    if not place.settings.database_url:
        return warning(
            "no database is known: events stay in the journal, there are no reports",
            "set DATABASE_URL, or start ./scripts/up, which brings a PostgreSQL",
        )
    try:
        began = time.time()
        with psycopg.connect(place.settings.database_url, connect_timeout=CONNECT_LIMIT_S) as connection:
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        took_s = time.time() - began
    except psycopg.Error as error:
        return failure(
            f"PostgreSQL: {str(error).strip().splitlines()[0]}",
            "start it, or put DATABASE_URL right; calls go on, their events wait in the journal",
        )
    apart_s = abs(float(row[0]) - began) if row else 0.0
    if apart_s > CLOCKS_APART_S + took_s:
        return warning(f"PostgreSQL's clock is {apart_s:.0f} s off ours", "synchronise both machines' clocks")
    return ok(f"answers in {took_s * 1e3:.0f} ms")


def schema(place: Place) -> Finding:
    """The database has exactly this version's migrations."""
    if not place.settings.database_url:
        return not_checked("no database is known")
    try:
        known = [(one.number, one.checksum) for one in migrations()]
        with psycopg.connect(place.settings.database_url, connect_timeout=CONNECT_LIMIT_S) as connection:
            applied = connection.execute(
                "SELECT number, checksum FROM schema_migrations ORDER BY 1"
            ).fetchall()
    except psycopg.errors.UndefinedTable:
        applied = []
    except psycopg.Error:
        return not_checked("PostgreSQL does not answer")
    except MigrationError as broken:
        return failure(str(broken), "install Cordboard again")
    if [tuple(row) for row in applied] == known:
        return ok(f"all {len(known)} migrations are applied")
    if len(applied) > len(known):
        return failure("the database is of a newer Cordboard than this one", "run that version")
    if [tuple(row) for row in applied] == known[: len(applied)]:
        return failure(
            f"{len(known) - len(applied)} migrations are not applied",
            "DATABASE_URL=... python -m ari_app.store.migrate (./scripts/up does it at its start)",
        )
    return failure(
        "an applied migration differs from this version's file", "put the files of sql/ back as they were"
    )


def journal(place: Place) -> Finding:
    """The journal is whole, and is synced to the disk."""
    path = place.settings.journal_path
    if not path.exists():
        return not_checked("there is no journal yet: Cordboard has not run here")
    try:
        with Journal(path, readonly=True) as opened:
            events = opened.last_seq
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0) as db:
            verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        db.close()
    except JournalUnavailable as error:
        return failure(str(error), "run this as the user who runs Cordboard")
    except (JournalError, sqlite3.DatabaseError) as error:
        return failure(f"{error}", _restore(path.name))
    if verdict != "ok":
        return failure(f"{path} is damaged: {verdict}", _restore(path.name))
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size > LARGE_WAL_BYTES:
        return warning(
            f"{wal} has grown to {wal.stat().st_size >> 20} MiB: it is not tidied",
            "is Cordboard running, and the disk quick enough? It tidies up every few seconds",
        )
    return ok(f"whole; newest event {events}")


def _restore(name: str) -> str:
    return f"Cordboard sets {name} apart at its next start and begins a new one; keep it, calls are in it"


def lag(place: Place) -> Finding:
    """What happened is in PostgreSQL soon after."""
    path = place.settings.journal_path
    if not path.exists() or not place.settings.database_url:
        return not_checked("there is no journal, or no database to ship it to")
    try:
        with Journal(path, readonly=True) as opened:
            behind = opened.last_seq - opened.shipped().seq
    except JournalError as error:
        return not_checked(f"the journal cannot be read ({error})")
    if behind > LAG_ROWS:
        return warning(
            f"{behind} events are not in PostgreSQL yet: reports lag behind",
            "is PostgreSQL up? The shipper's lines in Cordboard's log say what stops it; nothing is lost",
        )
    return ok(f"{behind} events behind")
