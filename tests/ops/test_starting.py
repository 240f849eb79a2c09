"""``run`` is read twice in this program, quickly and by the command line's library: to the same effect."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ari_app import commands, starting
from ari_app.starting import RunOptions, plain

PLAIN = (
    "run",
    "run --definition ./callcentre",
    "run --definition=./callcentre --state-dir /var/lib/cordboard --json-logs",
    "run --secrets s.toml --recordings ~/rec --ari-url http://127.0.0.1:8088/ari --ami-port 5038 --debug",
    "run --http 127.0.0.1:8090 --agi 127.0.0.1:4573 --no-json-logs --no-debug",
    "run --ari-url=http://h/a=b",
)
NOT_PLAIN = (
    "",
    "agents",
    "--help",
    "run --help",
    "run -h",
    "run --definition",
    "run --definition --debug",
    "run --definition=",
    "run --ami-port x",
    "run --ami-port -1",
    "run --debug --no-debug",
    "run --http 127.0.0.1:1 --http 127.0.0.1:2",
    "run ./callcentre",
    "run --state_dir x",
    "run --no-definition x",
    "run --json-logs=true",
    "run --empty-http",
    "run --",
)


def by_the_library(words: list[str], monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    taken: list[RunOptions] = []
    monkeypatch.setattr(commands, "start", taken.append)
    commands.app(words, result_action="return_value")
    return taken[0]


@pytest.mark.parametrize("line", PLAIN)
@pytest.mark.parametrize("state_dir", [None, "/somewhere"])
def test_what_is_plain_means_the_same(
    line: str, state_dir: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CORDBOARD_STATE_DIR", raising=False)
    if state_dir is not None:
        monkeypatch.setenv("CORDBOARD_STATE_DIR", state_dir)
    found = plain(line.split())
    assert found is not None
    assert found == by_the_library(line.split(), monkeypatch)


@pytest.mark.parametrize("line", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_the_library(line: str) -> None:
    assert plain(line.split()) is None


def test_a_start_needs_no_library_that_serves_only_people() -> None:
    """Each of them costs a restart what callers then wait longer."""
    code = (
        "import sys, atexit; atexit.register(lambda: print(*sys.modules))\n"
        "from ari_app import __main__ as program\n"
        "sys.argv[1:] = ['run', '--state-dir', '/nonexistent']; program.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    loaded = set(done.stdout.split())
    assert "ari_app.service" in loaded, done.stderr
    unneeded = {"cyclopts", "rich", "litestar", "uvicorn", "prometheus_client", "aiohttp", "psycopg", "attrs"}
    assert loaded & {*unneeded, "typing_extensions", "asyncpg", "stamina"} == set()


ON_THE_LOOP = [
    path
    for path in sorted(Path(commands.__file__).parent.rglob("*.py"))
    if not {"cli", "deploy", "doctor"} & set(path.parts)
]


@pytest.mark.parametrize("module", ON_THE_LOOP, ids=lambda path: path.stem)
def test_nothing_is_imported_on_the_loop(module: Path) -> None:
    """It would hold all calls up, for half a second and more after each restart: in a thread it does not."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.AsyncFunctionDef):
            assert list(imports(node)) == [], f"{module.name}, {node.name}"


def imports(node: ast.AST) -> Iterator[int]:
    """The lines of imports that run where ``node`` does: a function inside it may run in a thread."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.Import | ast.ImportFrom):
            yield inner.lineno
        elif not isinstance(inner, ast.FunctionDef):
            yield from imports(inner)


def test_without_takes_nothing_away_from_who_has_it() -> None:
    with starting._without("json", "no_such_library"):
        import json

        with pytest.raises(ImportError):
            import no_such_library  # type: ignore[import-not-found]  # noqa: F401
    assert json is sys.modules["json"]
    assert "no_such_library" not in sys.modules
    assert Path(starting.STATE_DIR).name == ".runtime"
