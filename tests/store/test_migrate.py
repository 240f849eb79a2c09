"""Migrations: applied once, never changed, equal to the schema people read, equal to the code's words."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest

from ari_app.core import ledger_rows, messages
from ari_app.store.migrate import SQL_FOLDER, MigrationError, main, migrate, migrations, schema


def test_migrations_are_applied_once(empty_database: str) -> None:
    names = [migration.name for migration in migrations()]
    assert migrate(empty_database) == names
    assert migrate(empty_database) == []


def test_migrations_equal_the_schema(dsn: str) -> None:
    assert schema(dsn) == (SQL_FOLDER / "schema.sql").read_text(), (
        "sql/schema.sql is out of date: python -m ari_app.store.migrate --dump > sql/schema.sql"
    )


def test_the_schema_for_reading_is_the_schema(empty_database: str) -> None:
    text = (SQL_FOLDER / "schema.sql").read_text()
    with psycopg.connect(empty_database) as connection:
        connection.execute(text.encode())
    assert schema(empty_database) == text


def test_two_at_once_wait_for_one_another(empty_database: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(migrate, [empty_database] * 4))
    assert sorted(len(names) for names in applied) == [0, 0, 0, len(migrations())]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "sql"
    shutil.copytree(SQL_FOLDER, copy)
    return copy


def test_a_changed_old_migration_is_refused(empty_database: str, folder: Path) -> None:
    migrate(empty_database, folder)
    first = folder / "0001_events.sql"
    first.write_text(first.read_text() + "-- one more word\n")
    with pytest.raises(MigrationError, match=r"sql/0001_events\.sql differs .* write a new migration"):
        migrate(empty_database, folder)


def test_a_newer_database_is_refused(empty_database: str, folder: Path) -> None:
    number = len(migrations()) + 1
    (folder / f"{number:04d}_later.sql").write_text("CREATE TABLE later (x int);")
    migrate(empty_database, folder)
    with pytest.raises(MigrationError, match=r"later\.sql, which this version .* does not know"):
        migrate(empty_database)


def test_a_failing_migration_leaves_nothing(empty_database: str, folder: Path) -> None:
    number = len(migrations()) + 1
    bad = folder / f"{number:04d}_bad.sql"
    bad.write_text("CREATE TABLE half (x int); SELECT nonsense;")
    with pytest.raises(MigrationError, match=rf"sql/{bad.name}: .*nonsense"):
        migrate(empty_database, folder)
    assert "half" not in schema(empty_database)
    bad.unlink()
    assert migrate(empty_database, folder) == []


def test_a_gap_in_the_numbers_is_refused(folder: Path) -> None:
    (folder / "0002_ledger.sql").unlink()
    with pytest.raises(MigrationError, match="without gaps"):
        migrations(folder)


def test_an_unreachable_database_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/x")
    assert main([]) == 1
    said = capsys.readouterr().err
    assert "127.0.0.1" in said
    assert "secret" not in said


def _words(check: str, text: str) -> set[str]:
    found = re.findall(rf"CONSTRAINT {check} CHECK\s+(.*?)\)[);]", text, re.S)
    return set(re.findall(r"'([a-z_]+)'", found[-1]))  # the latest migration's word counts


@pytest.mark.parametrize(
    ("check", "type_"),
    [
        ("calls_outcome", messages.Outcome),
        ("calls_ended_by", messages.EndedBy),
        ("segments_party", ledger_rows.Party),
        ("segments_state", ledger_rows.SegmentState),
        ("agent_intervals_state", messages.AgentStateName),
        ("decisions_result", ledger_rows.OfferResult),
        ("recordings_state", ledger_rows.RecordingState),
        ("visits_fate", ledger_rows.Fate),
    ],
)
def test_the_database_knows_the_words_of_the_code(check: str, type_: Any) -> None:
    values: set[str] = set()
    for argument in get_args(type_):
        values |= set(get_args(argument)) or {argument}
    text = "".join(migration.text for migration in migrations())
    assert _words(check, text) == values
