"""``cordboard tokens``: who may use the HTTP API."""

from __future__ import annotations

import re
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from ari_app import config, settings
from ari_app.cli import output
from ari_app.cli.agents import iso
from ari_app.core.definition import SECOND_NS
from ari_app.web import wishes
from ari_app.web.tokens import Role, Token, TokenBook, TokensUnusable

COLUMNS = ("name", "role", "agent", "made", "expires")
_LENGTH = re.compile(r"([1-9][0-9]{0,4})([hd])\Z")
_UNIT_S = {"h": 3600, "d": 86_400}


class Shown(Struct, frozen=True):
    """What may be said about a token: not its hash."""

    name: str
    role: Role
    agent: str
    made: str
    expires: str


def add(state_dir: Path, name: str, role: str, *, agent: str = "", expires: str = "") -> str:
    """Make a token; its secret.

    Raises:
        TokensUnusable: the name, role, agent or length will not do.
    """
    if agent:
        _known(state_dir, agent)
    ends_s = int(time.time()) + _length_s(expires) if expires else 0
    return TokenBook(state_dir.absolute()).add(name, role, agent=agent, expires_s=ends_s)


def revoke(state_dir: Path, name: str) -> str:
    """Take a token back; the sentence that says so. Raises ``TokensUnusable``."""
    TokenBook(state_dir.absolute()).revoke(name)
    return f"{name} is revoked: a running Cordboard refuses it within a second"


def listed(state_dir: Path, form: output.Format = "table", width: int | None = None) -> str:
    """All tokens, without what they are. Raises ``TokensUnusable``."""
    shown = [_shown(token) for token in TokenBook(state_dir.absolute()).tokens()]
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(shown), indent=2).decode() + "\n"
    rows = [(s.name, s.role, s.agent, s.made, s.expires) for s in shown]
    if form == "csv":
        return output.as_csv(COLUMNS, rows)
    return output.as_text(output.table(COLUMNS, rows), width)


def _shown(token: Token) -> Shown:
    over = " (over)" if token.over(time.time()) else ""
    expires = iso(token.expires_s * SECOND_NS) + over if token.expires_s else "never"
    return Shown(token.name, token.role, token.agent, iso(token.made_s * SECOND_NS), expires)


def _length_s(text: str) -> int:
    found = _LENGTH.match(text)
    if found is None:
        raise TokensUnusable(f"--expires {text}: hours or days, such as 12h or 30d")
    return int(found[1]) * _UNIT_S[found[2]]


def _known(state_dir: Path, agent: str) -> None:
    """A token for an agent who does not exist would only be puzzling."""
    found = settings.resolve(state_dir)
    agents = config.load(found.definition_dir).definition.agents
    if agent not in agents:
        near = ", ".join(wishes.nearest(agent, agents)) or ", ".join(sorted(agents)[:5])
        raise TokensUnusable(
            f"{agent}: no agent of the definition in {found.definition_dir}; nearest: {near}"
        )
