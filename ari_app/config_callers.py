"""Lists of callers as written: ``[callers.NAME]`` tables, and CSV files beside the definition.

Whose number it is stays in the shell (``site.Listed``): the core hears of a priority and of a list's name.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from ari_app.config_checks import RANGES, meant, reference
from ari_app.problems import Report, dotted
from ari_app.site import Listed
from ari_app.toml_lines import KeyPath

if TYPE_CHECKING:
    from ari_app.config import Draft

PATTERN = re.compile(r"\+[0-9]{3,15}\*?|\+[0-9]{1,14}\*|[1-9][0-9]{1,5}")
"""E.164, a prefix of it, or a PBX's own short number."""
COLUMNS = ("number", "priority", "agent", "required", "queue", "language")
MOST = 200_000
_FLAGS = {"": None, "yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


class CallersEntry(Struct, frozen=True):
    """A list as written. Its CSV ``file`` may say otherwise for single numbers."""

    numbers: tuple[str, ...] = ()
    file: str = ""
    priority: int = 0
    agent: str = ""
    required: bool = False
    queue: str = ""
    language: str = ""
    skills: dict[str, int] = {}


def read(draft: Draft, report: Report, folder: Path) -> dict[str, Listed]:
    """Every number and prefix ("+4930*") of the lists; what is wrong is reported with its file and line."""
    found: dict[str, Listed] = {}
    where: dict[str, str] = {}
    for name, entry in draft.callers.items():
        path: KeyPath = ("callers", name)
        _check(draft, entry, path, report)
        usual = _listed(name, entry, entry.priority, entry.agent, entry.required, entry.queue, entry.language)
        for index, number in enumerate(entry.numbers):
            _keep(found, where, number, usual, _Key(report, (*path, "numbers", index)))
        if entry.file:
            for row, place in _rows(folder / entry.file, path, report):
                _keep(found, where, *_from_row(draft, name, entry, row, place), place)
        if not entry.numbers and not entry.file:
            report.error(path, "names nobody", 'add numbers = ["+49301234567"] or file = "vip.csv"')
    return found


class _Key:
    """A place in a TOML file."""

    def __init__(self, report: Report, path: KeyPath) -> None:
        self._report, self._path = report, path

    def error(self, column: str, wrong: str, right: str) -> None:
        self._report.error(self._path, wrong, right)

    def __str__(self) -> str:
        return dotted(self._path)


class _Line:
    """A line of a CSV file."""

    def __init__(self, report: Report, file: Path, line: int) -> None:
        self._report, self._file, self._line = report, file, line

    def error(self, column: str, wrong: str, right: str) -> None:
        self._report.error_at(self._file, self._line, column, wrong, right)

    def __str__(self) -> str:
        return f"{self._file.name}:{self._line}"


def _listed(
    name: str, entry: CallersEntry, priority: int, agent: str, required: bool, queue: str, language: str
) -> Listed:
    skills = dict(entry.skills)
    if language:
        skills[language] = max(1, skills.get(language, 1))
    return Listed(name, priority, agent, required and bool(agent), queue, skills)


def _keep(
    found: dict[str, Listed], where: dict[str, str], written: str, listed: Listed, place: _Key | _Line
) -> None:
    number = re.sub(r"[ ()/.-]", "", written)
    if not PATTERN.fullmatch(number):
        # Never the number itself: it is somebody's.
        wrong = "is no number" if written else "is missing"
        place.error("number", wrong, 'write it as E.164: "+49301234567", or a prefix: "+4930*"')
    elif number in found:
        place.error("number", f"stands already at {where[number]}", "keep one of the two")
    elif len(found) >= MOST:
        place.error("number", f"is one more than {MOST} numbers", "use prefixes, or let the dialplan attach")
    else:
        found[number], where[number] = listed, str(place)


def _check(draft: Draft, entry: CallersEntry, path: KeyPath, report: Report) -> None:
    low, high = RANGES["priority"]
    if not low <= entry.priority <= high:
        report.error((*path, "priority"), f"is {entry.priority}", f"use {low:g} to {high:g}")
    if entry.agent:
        reference(draft, "agents", entry.agent, (*path, "agent"), report)
    if entry.queue:
        reference(draft, "queues", entry.queue, (*path, "queue"), report)
    if entry.required and not entry.agent and not entry.file:
        report.error((*path, "required"), "requires nobody", 'add agent = "NAME"')
    known = _skills(draft)
    for key, skill in [("language", entry.language)] * bool(entry.language) + [
        ("skills", skill) for skill in entry.skills
    ]:
        if known is not None and skill not in known:
            report.error((*path, key), f"no agent has the skill {skill!r}", meant(skill, known))
    for skill, level in entry.skills.items():
        if not 1 <= level <= 5:
            report.error((*path, "skills", skill), f"is {level}", "use 1 to 5")


def _skills(draft: Draft) -> set[str] | None:
    """The skills that agents have; None if an agent could not be read."""
    if any(table == "agents" for table, _ in draft.broken):
        return None
    return {skill for agent in draft.agents.values() for skill in agent.skills}


# ---------------------------------------------------------------- CSV


def _rows(file: Path, path: KeyPath, report: Report) -> Iterator[tuple[Mapping[str, str], _Line]]:
    """The rows of a list, each with its place. The first line names the columns; # begins a comment."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        report.error((*path, "file"), f"{file} can't be read: {error.strerror}", "put it beside this file")
        return
    except UnicodeDecodeError:
        report.error((*path, "file"), f"{file} holds bytes that are not UTF-8", "save it as UTF-8")
        return
    numbered = [
        (number, line)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    header = [name.strip().lower() for name in next(csv.reader([numbered[0][1]]))] if numbered else []
    first = _Line(report, file, numbered[0][0] if numbered else 0)
    unknown = [name for name in header if name not in COLUMNS]
    if unknown or "number" not in header:
        wrong = f"there is no column {unknown[0]!r}" if unknown else "the first line names no column number"
        first.error("", wrong, f"write a first line such as: {','.join(COLUMNS)}")
        return
    for number, line in numbered[1:]:
        values = [value.strip() for value in next(csv.reader([line]))]
        place = _Line(report, file, number)
        if len(values) > len(header):
            place.error("", f"has {len(values)} columns, and the first line {len(header)}", "remove the rest")
            continue
        yield dict(zip(header, values, strict=False)), place


def _from_row(
    draft: Draft, name: str, entry: CallersEntry, row: Mapping[str, str], place: _Line
) -> tuple[str, Listed]:
    """One row: what it leaves empty is as the list has it."""
    priority, required = entry.priority, entry.required
    low, high = RANGES["priority"]
    written = row.get("priority", "")
    if written:
        if re.fullmatch(r"[+-]?[0-9]{1,5}", written) and low <= int(written) <= high:
            priority = int(written)
        else:
            place.error("priority", "is no priority", f"write a whole number from {low:g} to {high:g}")
    flag = row.get("required", "").lower()
    if flag not in _FLAGS:
        place.error("required", "is neither yes nor no", "write yes or no, or leave it empty")
    elif flag:
        required = bool(_FLAGS[flag])
    agent, queue = row.get("agent", "") or entry.agent, row.get("queue", "") or entry.queue
    language = row.get("language", "") or entry.language
    known = _skills(draft)
    for column, value, names in (
        ("agent", row.get("agent", ""), _names(draft, "agents")),
        ("queue", row.get("queue", ""), _names(draft, "queues")),
        ("language", row.get("language", ""), known),
    ):
        if value and names is not None and value not in names:
            what = "no agent has the skill" if column == "language" else f"there is no {column}"
            place.error(column, f"{what} {value!r}", meant(value, names))
    return row.get("number", ""), _listed(name, entry, priority, agent, required, queue, language)


def _names(draft: Draft, table: str) -> set[str]:
    return {*getattr(draft, table), *(name for where, name in draft.broken if where == table)}
