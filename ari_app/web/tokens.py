"""Tokens of the HTTP API: who may do what, kept hashed in one file that its owner alone can read.

A token is 256 bits from the kernel's generator, so there is nothing to guess and a plain SHA-256
is the right hash: slow hashes (scrypt, Argon2) buy time against guessing of what people choose,
which nobody can do here, and would cost that time at every request.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import msgspec
from msgspec import Struct

from ari_app.core.messages import Action
from ari_app.core.text import printable
from ari_app.web.errors import ControlError

FILE_NAME = "tokens.json"
PREFIX = "cb_"
"""Lets scanners for leaked secrets recognise one."""
SECRET_BYTES = 32
SECRET = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}\Z")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}\Z")
LOOK_AGAIN_S = 1.0
"""How soon a token that was added or revoked counts in the running process."""

Role = Literal["agent", "supervisor", "admin", "reader"]
ROLES: tuple[Role, ...] = get_args(Role)
AGENT_ACTIONS: tuple[Action, ...] = ("sign_in", "sign_out", "pause", "resume", "done", "wrap_up")


class TokensUnusable(ControlError):
    """The file of tokens, or what was asked of it, will not do; the text names the remedy."""


class Token(Struct, frozen=True):
    """One token. ``agent``: whose it is (role agent alone). Instants in seconds since 1970; 0 = never."""

    name: str
    role: Role
    hashed: str
    made_s: int
    agent: str = ""
    expires_s: int = 0

    def may_act_on(self, agent: str, action: Action) -> bool:
        """Agents do to themselves what their phone can do; an unlock gives a PIN new tries: admins only."""
        match self.role:
            case "admin":
                return True
            case "supervisor":
                return action != "unlock"
            case "agent":
                return agent == self.agent and action in AGENT_ACTIONS
            case "reader":
                return False

    def may_hang_up(self) -> bool:
        return self.role in ("supervisor", "admin")

    def sees_people(self) -> bool:
        """Callers' numbers, names and attributes."""
        return self.role in ("supervisor", "admin")

    def sees_all(self) -> bool:
        """All agents and calls, not only their own."""
        return self.role != "agent"

    def over(self, now_s: float) -> bool:
        return 0 < self.expires_s <= now_s


class _File(Struct):
    tokens: list[Token] = []


class TokenBook:
    """The tokens in ``state_dir``; re-read when the file has changed."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FILE_NAME
        self._known: dict[str, Token] = {}
        self._read_as: tuple[int, int, int] | None = None
        self._looked_s = float("-inf")

    # ------------------------------------------------------------ the running process

    def find(self, secret: str, now_s: float | None = None) -> Token | None:
        """The token of a secret that is known, not revoked and not over.

        Raises:
            TokensUnusable: the file cannot be read.
        """
        if not SECRET.match(secret):
            return None
        self._look()
        # Looked up by hash: what the time of a comparison could tell is nothing one can steer.
        token = self._known.get(_hash(secret))
        return None if token is None or token.over(now_s or time.time()) else token

    def named(self, name: str, now_s: float | None = None) -> Token | None:
        """The token of this name, if it is not revoked and not over. Raises ``TokensUnusable``."""
        self._look()
        token = next((each for each in self._known.values() if each.name == name), None)
        return None if token is None or token.over(now_s or time.time()) else token

    def valid(self, token: Token, now_s: float | None = None) -> bool:
        """Whether a token that was good is still: for answers that go on for hours."""
        self._look()
        return self._known.get(token.hashed) == token and not token.over(now_s or time.time())

    def _look(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_AGAIN_S:
            return
        self._looked_s = now_s
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._known, self._read_as = {}, None
            return
        read_as = (found.st_ino, found.st_mtime_ns, found.st_size)
        if read_as != self._read_as:
            self._known, self._read_as = {}, None  # a file that can't be read lets nobody in
            self._known = {token.hashed: token for token in self.tokens()}
            self._read_as = read_as

    # ------------------------------------------------------------ the command line

    def tokens(self) -> list[Token]:
        """All tokens in the file, in the order in which they were made.

        Raises:
            TokensUnusable: others may read it, or it is not what it should be.
        """
        try:
            with self.path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                if mode & 0o077:
                    raise TokensUnusable(
                        f"{self.path}: its mode is {mode:o}, so others may change who has access; "
                        f"run: chmod 600 {self.path}"
                    )
                return msgspec.json.decode(file.read(), type=_File).tokens
        except FileNotFoundError:
            return []
        except OSError as error:
            raise TokensUnusable(f"{self.path}: can't be read: {error.strerror}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TokensUnusable(
                f"{self.path}: {error}; move it away and make new tokens (cordboard tokens add)"
            ) from error

    def add(self, name: str, role: str, *, agent: str = "", expires_s: int = 0) -> str:
        """Make a token; its secret, which is not kept and can't be shown again.

        Raises:
            TokensUnusable: the name is taken or no name, no such role, or an agent is missing or too many.
        """
        found = _checked(name, role, agent)
        secret = PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).rstrip(b"=").decode()
        with self._changing() as tokens:
            if any(token.name == name for token in tokens):
                raise TokensUnusable(f"there is a token {name!r} already: revoke it first, or choose a name")
            tokens.append(Token(name, found, _hash(secret), int(time.time()), agent, expires_s))
        return secret

    def revoke(self, name: str) -> None:
        """Take a token back; within ``LOOK_AGAIN_S`` the running process refuses it.

        Raises:
            TokensUnusable: there is none of that name.
        """
        with self._changing() as tokens:
            kept = [token for token in tokens if token.name != name]
            if len(kept) == len(tokens):
                names = ", ".join(token.name for token in tokens) or "there are none"
                raise TokensUnusable(f"no token is called {printable(name, 40)!r}; known: {names}")
            tokens[:] = kept

    @contextmanager
    def _changing(self) -> Iterator[list[Token]]:
        """The tokens, written back as a whole if the block ends well; one change at a time."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path.with_name(FILE_NAME + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise TokensUnusable(f"{self.path}: can't be written: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            tokens = self.tokens()
            yield tokens
            self._write(tokens)
        finally:
            os.close(lock)

    def _write(self, tokens: list[Token]) -> None:
        coming = self.path.with_name(f".{FILE_NAME}.coming")
        try:
            coming.unlink(missing_ok=True)
            # The mode is given on creation: there is no instant at which others could open it.
            with os.fdopen(os.open(coming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(_File(tokens)), indent=1) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            coming.rename(self.path)
        except OSError as error:
            raise TokensUnusable(f"{self.path}: can't be written: {error.strerror}") from error


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _checked(name: str, role: str, agent: str) -> Role:
    if not NAME.match(name):
        raise TokensUnusable(
            f"{printable(name, 40)!r} is no name for a token: 1 to 40 of a-z 0-9 . _ -, such as wallboard"
        )
    found = next((known for known in ROLES if known == role), None)
    if found is None:
        raise TokensUnusable(f"{printable(role, 40)!r} is no role: one of {', '.join(ROLES)}")
    if found == "agent" and not agent:
        raise TokensUnusable("a token of role agent belongs to one agent: add --agent NAME")
    if found != "agent" and agent:
        raise TokensUnusable(f"--agent goes with --role agent only; role {found} is for all agents")
    return found
