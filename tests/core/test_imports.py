"""Who may import whom: the contracts of pyproject.toml hold, and the core stays pure."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / "ari_app" / "core").glob("*.py"))
PURE = {
    *(
        "__future__",
        "bisect",
        "collections",
        "collections.abc",
        "hashlib",
        "heapq",
        "math",
        "typing",
        "unicodedata",
    ),
    *("msgspec", "msgspec.structs"),
}
"""What the core may import: nothing here reads a clock, a file, a socket or chance."""


def test_the_contracts_hold(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    status = lint_imports(cache_dir=None)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


@pytest.mark.parametrize("module", CORE, ids=lambda p: p.stem)
def test_the_core_is_pure(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert name in PURE or name.startswith("ari_app.core"), f"{module.name}: {name}"
