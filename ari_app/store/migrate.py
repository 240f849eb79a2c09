"""Migrations: numbered files of SQL, applied once and in order, never changed afterwards.

``python -m ari_app.store.migrate --dump`` prints the schema of ``DATABASE_URL`` as SQL;
``sql/schema.sql`` is that print, and a test keeps both equal.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

import psycopg
from msgspec import Struct
from psycopg import sql

SQL_FOLDER = Path(__file__).resolve().parents[2] / "sql"
LOCK_KEY = 0x436F7264626F6172  # "Cordboar": one migration at a time in one database
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")

_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer     NOT NULL PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""


class MigrationError(Exception):
    """The database and the files of ``sql/`` do not fit; the text says what to do."""


class Migration(Struct, frozen=True):
    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations(folder: Path = SQL_FOLDER) -> list[Migration]:
    """The folder's migrations in order. Raises ``MigrationError`` if numbers are missing or double."""
    found = []
    for path in sorted(folder.glob("[0-9]*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path}: a migration is named like 0004_what_it_does.sql")
        found.append(Migration(int(match[1]), path.name, path.read_text(encoding="utf-8")))
    numbers = [migration.number for migration in found]
    if not found or numbers != list(range(1, len(found) + 1)):
        raise MigrationError(f"{folder}: expected migrations 0001, 0002, ... without gaps; found {numbers}")
    return found


def migrate(dsn: str, folder: Path = SQL_FOLDER) -> list[str]:
    """Bring the database of ``dsn`` up to date; the names of the files applied now.

    Each file is one transaction. Processes that migrate at once wait for one another. Raises
    ``MigrationError`` for a changed or unknown old migration, or one that PostgreSQL refuses,
    and for a database that cannot be reached.
    """
    known = migrations(folder)
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            # Released with the session, whatever way it ends.
            connection.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
            connection.execute(_TABLE)
            done = _check_applied(connection, known)
            return [_apply(connection, migration) for migration in known[done:]]
    except psycopg.OperationalError as error:
        # psycopg's text names host and port, never the password.
        raise MigrationError(f"PostgreSQL (DATABASE_URL) cannot be used: {str(error).strip()}") from error


def _check_applied(connection: psycopg.Connection, known: list[Migration]) -> int:
    applied = connection.execute("SELECT number, name, checksum FROM schema_migrations ORDER BY 1").fetchall()
    if len(applied) > len(known):
        raise MigrationError(
            f"the database has migration {applied[-1][1]}, which this version of Cordboard does not know:"
            " it is newer; use that version"
        )
    for (number, name, checksum), migration in zip(applied, known, strict=False):
        if (number, checksum) != (migration.number, migration.checksum):
            raise MigrationError(
                f"sql/{migration.name} differs from {name} as it was applied to this database:"
                " put the file back and write a new migration instead"
            )
    return len(applied)


def _apply(connection: psycopg.Connection, migration: Migration) -> str:
    try:
        with connection.transaction():
            connection.execute(migration.text.encode())
            connection.execute(
                "INSERT INTO schema_migrations (number, name, checksum) VALUES (%s, %s, %s)",
                (migration.number, migration.name, migration.checksum),
            )
    except psycopg.DatabaseError as error:
        raise MigrationError(f"sql/{migration.name}: {str(error).strip()}") from error
    return migration.name


# ---------------------------------------------------------------- the schema as SQL

_TABLES = """
SELECT c.oid, c.relname FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'schema_migrations'
ORDER BY c.relname"""
_COLUMNS = """
SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
       || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
       || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
_CONSTRAINTS = """
SELECT 'CONSTRAINT ' || conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE conrelid = %s AND contype <> 'n' ORDER BY contype <> 'p', conname"""
_INDEXES = """
SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i
WHERE i.indrelid = %s AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
ORDER BY 1"""
_COMMENTS = """
SELECT a.attname, d.description FROM pg_description d
LEFT JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid AND a.attnum > 0
WHERE d.objoid = %s AND d.classoid = 'pg_class'::regclass ORDER BY d.objsubid"""
_FUNCTIONS = """
SELECT p.proname, pg_get_functiondef(p.oid), d.description FROM pg_proc p
LEFT JOIN pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass
WHERE p.pronamespace = 'public'::regnamespace ORDER BY p.proname"""
_VIEWS = """
SELECT c.oid, c.relname, pg_get_viewdef(c.oid, true) FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'v' ORDER BY c.oid"""

_HEADER = """\
-- What all migrations together give, for reading. Made by: python -m ari_app.store.migrate --dump
-- Do not edit: write a migration, then make this file again. A test keeps them equal.
"""


def schema(dsn: str) -> str:
    """Tables, constraints, indexes, functions, views and comments as SQL, in a fixed order."""
    parts = [_HEADER]
    with psycopg.connect(dsn) as connection:
        for oid, name in connection.execute(_TABLES).fetchall():
            lines = _column(connection, _COLUMNS, oid) + _column(connection, _CONSTRAINTS, oid)
            parts.append(f"CREATE TABLE {name} (\n    " + ",\n    ".join(lines) + "\n);")
            parts += [f"{index};" for index in _column(connection, _INDEXES, oid)]
            parts += _comments(connection, oid, "TABLE", name)
            parts.append("")
        for name, definition, comment in connection.execute(_FUNCTIONS).fetchall():
            parts.append(definition.rstrip() + ";")
            if comment:
                parts.append(f"COMMENT ON FUNCTION {name} IS {_quoted(connection, comment)};")
            parts.append("")
        for oid, name, definition in connection.execute(_VIEWS).fetchall():
            parts.append(f"CREATE VIEW {name} AS\n{definition}")
            parts += _comments(connection, oid, "VIEW", name)
            parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _column(connection: psycopg.Connection, query: str, oid: int) -> list[str]:
    return [row[0] for row in connection.execute(query.encode(), (oid,)).fetchall()]


def _comments(connection: psycopg.Connection, oid: int, kind: str, name: str) -> list[str]:
    found = connection.execute(_COMMENTS, (oid,)).fetchall()
    return [
        f"COMMENT ON {'COLUMN' if column else kind} {name}{f'.{column}' if column else ''} IS "
        f"{_quoted(connection, text)};"
        for column, text in found
    ]


def _quoted(connection: psycopg.Connection, text: str) -> str:
    return sql.Literal(text).as_string(connection)


def main(arguments: list[str]) -> int:
    """Apply what is missing to ``DATABASE_URL``, or print its schema with ``--dump``."""
    dsn = os.environ.get("DATABASE_URL", "")
    if not dsn:
        print(
            "DATABASE_URL is not set: it names the database, like postgresql://user@host/name",
            file=sys.stderr,
        )
        return 2
    try:
        if arguments == ["--dump"]:
            print(schema(dsn), end="")
        else:
            print("\n".join(migrate(dsn)) or "up to date")
    except MigrationError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
