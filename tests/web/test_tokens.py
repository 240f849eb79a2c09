"""Tokens: made once, kept hashed, taken back."""

from __future__ import annotations

import json
import os
import re
import stat
import threading
from pathlib import Path

import pytest

from ari_app.cli import tokens as cli
from ari_app.web.limits import RateLimit
from ari_app.web.tokens import TokenBook, TokensUnusable

EXAMPLE = Path(__file__).parents[2] / "ari_app" / "deploy" / "example"


def test_a_token_is_shown_once_and_kept_hashed(tmp_path: Path) -> None:
    secret = TokenBook(tmp_path).add("crm", "supervisor")
    assert re.fullmatch(r"cb_[A-Za-z0-9_-]{43}", secret)
    path = tmp_path / "tokens.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret not in path.read_text()
    assert secret[3:] not in path.read_text()
    found = TokenBook(tmp_path).find(secret)
    assert found is not None
    assert (found.name, found.role) == ("crm", "supervisor")
    assert TokenBook(tmp_path).find(secret[:-1] + ("a" if secret[-1] != "a" else "b")) is None


def test_a_running_book_sees_what_another_process_changed(tmp_path: Path) -> None:
    running = TokenBook(tmp_path)
    secret = TokenBook(tmp_path).add("a", "reader")
    assert running.find(secret) is not None
    TokenBook(tmp_path).revoke("a")
    assert running.find(secret) is not None, "looked at once a second at most"
    running._looked_s = float("-inf")
    assert running.find(secret) is None
    (tmp_path / "tokens.json").unlink()
    running._looked_s = float("-inf")
    assert running.find(secret) is None


def test_a_token_ends_by_itself(tmp_path: Path) -> None:
    secret = TokenBook(tmp_path).add("a", "reader", expires_s=1_000)
    book = TokenBook(tmp_path)
    found = book.find(secret, now_s=999)
    assert found is not None
    assert not book.valid(found, now_s=1_000)
    assert book.find(secret, now_s=1_000) is None


@pytest.mark.parametrize(
    ("name", "role", "agent", "said"),
    [
        ("", "reader", "", "is no name for a token"),
        ("A B", "reader", "", "is no name for a token"),
        ("a\x1b[2J", "reader", "", "is no name for a token"),
        ("a", "root", "", "is no role: one of agent, supervisor, admin, reader"),
        ("a", "agent", "", "add --agent NAME"),
        ("a", "admin", "bob", "--agent goes with --role agent only"),
        ("taken", "reader", "", "there is a token 'taken' already"),
    ],
)
def test_a_bad_wish_is_explained_and_changes_nothing(
    tmp_path: Path, name: str, role: str, agent: str, said: str
) -> None:
    TokenBook(tmp_path).add("taken", "reader")
    before = (tmp_path / "tokens.json").read_bytes()
    with pytest.raises(TokensUnusable, match=re.escape(said)):
        TokenBook(tmp_path).add(name, role, agent=agent)
    assert (tmp_path / "tokens.json").read_bytes() == before


def test_a_file_that_others_may_read_or_that_is_broken_is_refused(tmp_path: Path) -> None:
    secret = TokenBook(tmp_path).add("a", "reader")
    path = tmp_path / "tokens.json"
    path.chmod(0o640)
    with pytest.raises(TokensUnusable, match="chmod 600"):
        TokenBook(tmp_path).find(secret)
    path.chmod(0o600)
    for broken in (b"{", b"[]", b'{"tokens": [{"name": 1}]}', b"\xff"):
        path.write_bytes(broken)
        with pytest.raises(TokensUnusable, match=r"tokens\.json"):
            TokenBook(tmp_path).find(secret)


def test_changes_at_once_are_all_kept(tmp_path: Path) -> None:
    threads = [threading.Thread(target=TokenBook(tmp_path).add, args=(f"t{n}", "reader")) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(t.name for t in TokenBook(tmp_path).tokens()) == sorted(f"t{n}" for n in range(12))


def test_the_commands(tmp_path: Path) -> None:
    (tmp_path / "runtime.json").write_text(json.dumps({"definition": str(EXAMPLE)}))
    os.chmod(tmp_path / "runtime.json", 0o600)
    secret = cli.add(tmp_path, "wallboard", "reader", expires="30d")
    assert secret not in cli.listed(tmp_path) + cli.listed(tmp_path, "json") + cli.listed(tmp_path, "csv")
    (shown,) = json.loads(cli.listed(tmp_path, "json"))
    assert (shown["name"], shown["role"]) == ("wallboard", "reader")
    assert cli.revoke(tmp_path, "wallboard").startswith("wallboard is revoked")
    with pytest.raises(TokensUnusable, match="no token is called 'wallboard'; known: there are none"):
        cli.revoke(tmp_path, "wallboard")
    with pytest.raises(TokensUnusable, match="12h or 30d"):
        cli.add(tmp_path, "x", "reader", expires="soon")
    with pytest.raises(TokensUnusable, match="nobody: no agent of"):
        cli.add(tmp_path, "x", "agent", agent="nobody")


def test_a_rate_is_kept_on_average_and_refills() -> None:
    limit = RateLimit(2.0, 3)
    assert [limit.wait_s("a", 10.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert limit.wait_s("b", 10.0) == 0
    assert [limit.wait_s("a", 10.5), limit.wait_s("a", 10.5)] == [0, 0.5]
    assert [limit.wait_s("a", 99.0) for _ in range(4)] == [0, 0, 0, 0.5]
