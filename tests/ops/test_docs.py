"""Each command that the pages name is run as it stands there, on a centre that is up."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ari_app.doctor.checks import CHECKS
from tests.asterisk.conftest import Running

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("operate.md", "troubleshoot.md")
NEEDS_A_CALL = ("call ID", "agents resume NAME", "agents unlock NAME")
pytestmark = pytest.mark.timeout(180)


def commands(page: str) -> list[str]:
    """`cordboard ...` in code spans and blocks, in order, each once."""
    text = (DOCS / page).read_text()
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL))
    spans = re.findall(r"`(cordboard [^`\n]+)`", re.sub(r"```sh\n.*?```", "", text, flags=re.DOTALL))
    lines = re.findall(r"^cordboard .*$", blocks, flags=re.MULTILINE)
    return list(dict.fromkeys([*lines, *spans]))


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_the_page_work(page: str, running: Running, tmp_path: Path) -> None:
    found = commands(page)
    assert len(found) >= 5
    environment = os.environ | {"CORDBOARD_STATE_DIR": str(running.stack.state_dir)}
    environment.pop("DATABASE_URL", None)
    for line in found:
        said = line.replace("/etc/cordboard", str(running.stack.options.definition))
        said = said.replace("/srv/new", str(tmp_path / "new"))
        words = shlex.split(said)[1:]
        if any(line.endswith(example) for example in NEEDS_A_CALL):
            words = [*words[:-1], "alice" if "agents" in words else "nobody-1"]
        done = subprocess.run(
            [sys.executable, "-m", "ari_app", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=tmp_path,
            env=environment,
        )
        refused = any(line.endswith(example) for example in NEEDS_A_CALL)
        assert done.returncode in ((0, 1, 4) if refused or "doctor" in words else (0,)), (line, done.stderr)
        assert "Traceback" not in done.stderr, (line, done.stderr)


def test_every_check_is_in_the_table() -> None:
    text = (DOCS / "operate.md").read_text()
    assert [name for name in CHECKS if f"`{name}`" not in text] == []


def test_the_files_that_the_page_names_are_there() -> None:
    text = (DOCS / "operate.md").read_text()
    for name in re.findall(
        r"scripts/systemd/[\w.-]+\w", text.replace("cordboard*.service", "cordboard.service")
    ):
        assert (DOCS.parent / name).exists(), name
