"""``cordboard report`` and ``cordboard call``: figures and stories from PostgreSQL and the journal."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from ari_app import config, problems, settings
from ari_app.store import report_text, reports, story
from ari_app.store.journal import Journal, JournalError

Format = Literal["table", "csv", "json"]
NARROWEST = 80


def calls(state_dir: Path, since: str, until: str, form: Format) -> str:
    """Every call that came in within the range, as text. Raises ReportError, SettingsError."""
    start, end = _range(state_dir, since, until)
    rows = reports.calls(_database(state_dir), start, end)
    return report_text.calls_text(rows, form, _zone(state_dir), _width())


def voicemails(state_dir: Path, since: str, until: str, form: Format) -> str:
    """The messages that callers left within the range, as text. Raises ReportError, SettingsError."""
    start, end = _range(state_dir, since, until)
    rows = reports.voicemails(_database(state_dir), start, end)
    return report_text.voicemails_text(rows, form, _zone(state_dir), _width())


def queues(state_dir: Path, since: str, until: str, form: Format, by: reports.Period | None = None) -> str:
    """The queues' figures over the range, as text. Raises ReportError, SettingsError."""
    start, end = _range(state_dir, since, until)
    zone = _zone(state_dir)
    rows = reports.queues(_database(state_dir), start, end, by, zone)
    return report_text.queues_text(rows, form, _width(), zone)


def agents(state_dir: Path, since: str, until: str, form: Format) -> str:
    """The agents' time and work over the range, as text. Raises ReportError, SettingsError."""
    start, end = _range(state_dir, since, until)
    return report_text.agents_text(reports.agents(_database(state_dir), start, end), form, _width())


def call(state_dir: Path, call_id: str, form: Literal["table", "json"]) -> str:
    """One call's whole story, from the books and from what the journal has that they lack."""
    with _journal(state_dir) as journal:
        found = story.call_story(_database(state_dir), call_id, journal)
    return report_text.story_text(found, form, _zone(state_dir))


def _range(state_dir: Path, since: str, until: str) -> tuple[datetime, datetime]:
    text = f"{since}..{until}" if until else since
    return reports.parse_range(text, datetime.now(UTC), _zone(state_dir))


def _zone(state_dir: Path) -> tzinfo:
    """The call centre's own time zone; UTC while its definition cannot be read."""
    runtime = settings.read_runtime(state_dir.absolute())
    try:
        return ZoneInfo(config.load(Path(runtime.definition)).definition.centre.time_zone)
    except (problems.DefinitionErrors, OSError):
        return UTC  # a report must not depend on a definition that somebody is editing


def _database(state_dir: Path) -> str:
    found = os.environ.get("DATABASE_URL", "") or settings.read_runtime(state_dir.absolute()).database_url
    if not found:
        raise settings.SettingsError(
            "no database is known: set DATABASE_URL, or start ./scripts/up, which writes"
            f" {state_dir / settings.RUNTIME_FILE}"
        )
    return found


@contextmanager
def _journal(state_dir: Path) -> Iterator[Journal | None]:
    path = state_dir / settings.JOURNAL_FILE
    try:
        journal = Journal(path, readonly=True)
    except JournalError:
        yield None  # on another machine than Cordboard's there is none: PostgreSQL tells the story
        return
    with journal:
        yield journal


def _width() -> int:
    return max(NARROWEST, shutil.get_terminal_size((150, 24)).columns)
