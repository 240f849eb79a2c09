"""What a check found, how it is shown, and the exit status that monitoring reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct
from rich.text import Text

from ari_app.cli import output
from ari_app.core.text import printable

Level = Literal["ok", "warning", "failure", "not_checked"]
WORDS: dict[Level, str] = {"ok": "ok", "warning": "WARN", "failure": "FAIL", "not_checked": "--"}
STYLES: dict[Level, str] = {"ok": "green", "warning": "yellow", "failure": "bold red", "not_checked": "dim"}
GOOD, WARNINGS, FAILURES = 0, 1, 2


class Finding(Struct, frozen=True):
    """One line. ``remedy`` says what to do; it is there for every warning and failure."""

    check: str
    level: Level
    said: str
    remedy: str = ""


class Diagnosis(Struct, frozen=True):
    """``status``: 0 all well, 1 warnings, 2 failures; what was not checked counts for nothing."""

    status: int
    findings: tuple[Finding, ...]


def ok(said: str) -> Finding:
    return Finding("", "ok", said)


def warning(said: str, remedy: str) -> Finding:
    return Finding("", "warning", said, remedy)


def failure(said: str, remedy: str) -> Finding:
    return Finding("", "failure", said, remedy)


def not_checked(why: str) -> Finding:
    return Finding("", "not_checked", f"not checked: {why}")


def diagnose(findings: Sequence[Finding]) -> Diagnosis:
    levels = {finding.level for finding in findings}
    status = FAILURES if "failure" in levels else WARNINGS if "warning" in levels else GOOD
    return Diagnosis(status, tuple(findings))


def as_json(found: Diagnosis) -> str:
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"


def as_text(found: Diagnosis) -> Text:
    """A line for each finding, its remedy below it, and a summary."""
    text = Text()
    width = max((len(finding.check) for finding in found.findings), default=0)
    for finding in found.findings:
        text.append(f"{WORDS[finding.level]:<5}", style=STYLES[finding.level])
        text.append(f"{finding.check:<{width}}  {printable(finding.said, 1000)}\n")
        if finding.remedy:
            text.append(f"{'':<{width + 7}}-> {printable(finding.remedy, 1000)}\n", style="bold")
    counts = {level: sum(f.level == level for f in found.findings) for level in WORDS}
    text.append(
        f"{counts['ok']} ok, {counts['warning']} to look at, {counts['failure']} wrong,"
        f" {counts['not_checked']} not checked\n"
    )
    return text


def show(found: Diagnosis) -> None:
    """To stdout, with colours on a terminal."""
    # Lines may be longer than the terminal: the terminal wraps them, so that they can be copied whole.
    output.console().print(as_text(found), soft_wrap=True, end="")
