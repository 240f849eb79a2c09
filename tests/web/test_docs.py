"""docs/api.md and docs/agi.md say what is so: their commands run, their tables are complete."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ari_app.web import openapi
from ari_app.web.metrics import Metrics
from ari_app.web.tokens import ROLES
from tests.web.outside import OpenRoom, busy, open_to

DOCS = Path(__file__).parents[2] / "docs"
API = (DOCS / "api.md").read_text()
EXAMPLE = Path(__file__).parents[2] / "ari_app" / "deploy" / "example"


def commands(start: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", API, re.M | re.S)
    return [line for block in blocks for line in block.splitlines() if line.startswith(start)]


def test_the_token_commands_run(tmp_path: Path) -> None:
    definition = tmp_path / "definition"
    definition.mkdir()
    for file in EXAMPLE.glob("*.toml"):
        (definition / file.name).write_text(file.read_text())
    (tmp_path / "runtime.json").write_text(json.dumps({"definition": str(definition)}))
    found = commands("cordboard tokens")
    assert len(found) == 4
    for line in found:
        words = shlex.split(line)[1:]
        done = subprocess.run(
            [sys.executable, "-m", "ari_app", *words],
            capture_output=True,
            text=True,
            env=os.environ | {"CORDBOARD_STATE_DIR": str(tmp_path)},
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, (line, done.stderr)


async def test_the_curl_commands_mean_requests_that_work(tmp_path: Path) -> None:
    room = OpenRoom()
    busy(room)
    found = [line for line in commands("curl") if "/events" not in line]
    assert found
    async with open_to(room, tmp_path) as outside:
        for line in found:
            words = shlex.split(line)
            target = words[-1].removeprefix("http://127.0.0.1:8090")
            method = "POST" if "POST" in words else "GET"
            body = words[words.index("-d") + 1].encode() if "-d" in words else None
            assert (await outside.asks("admin", target, method, body)).status == 200, line


def test_the_tables_are_complete() -> None:
    for role in ROLES:
        assert f"| `{role}` |" in API
    for path in openapi.document()["paths"]:
        shown = re.sub(r"\{(call|agent|action)\}", lambda m: {"call": "ID"}.get(m[1], m[1].upper()), path)
        assert shown.replace("/AGENT", "/NAME").removesuffix("/openapi.json") in API, path
    for family in Metrics().registry.collect():
        if family.name != "cordboard_start_time_seconds":
            assert family.name in API, family.name


@pytest.mark.parametrize("page", ["api.md", "agi.md", "wallboard.md"])
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (DOCS / page).read_text()):
        assert (DOCS / target).exists(), target
