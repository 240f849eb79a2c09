"""Every command helps with an example, ends with the status it promises and never shows a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from ari_app.commands import app

DOCS = Path(__file__).parents[2] / "docs" / "commands.md"


def commands(found: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in found:
        if name.startswith("-"):
            continue
        inner = found[name]
        below = list(commands(inner, (*path, name)))
        yield from below or [(*path, name)]


ALL = sorted(commands(app))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ari_app", *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_there_are_commands() -> None:
    assert {("run",), ("report", "calls"), ("agents", "sign-in"), ("doctor",)} <= set(ALL)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_the_help_has_an_example(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    app([*words, "--help"], result_action="return_value")
    shown = " ".join(capsys.readouterr().out.split())
    assert "Example: cordboard " in shown


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_the_page_names_the_command(words: tuple[str, ...]) -> None:
    if words != ("run",):
        assert words[-1] in DOCS.read_text()


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("agents", "--state-dir", "/nonexistent"), 1, "is it running?"),
        (("report", "queues", "--state-dir", "/nonexistent"), 1, "./scripts/up"),
        (("report", "calls", "--since", "someday"), 1, "someday"),
        (("check", "/nonexistent"), 2, "/nonexistent"),
        (("run", "--state-dir", "/nonexistent"), 1, "--definition"),
        (("fly",), 2, "fly"),
        (("agents", "pause"), 2, "agent"),
        (("completion", "bash"), 0, "cordboard"),
        (("--version",), 0, "0.1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_the_status_and_the_word(words: tuple[str, ...], status: int, says: str) -> None:
    done = run(*words)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == status, said
    assert says.lower() in said.lower()
    assert "Traceback" not in said
