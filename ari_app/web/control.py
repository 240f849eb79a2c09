"""The local control API: a unix socket that only the owner of the process may use.

``serve`` imports the web framework in a thread, so that calls never wait for it, and runs inside
the engine's event loop: every answer is short, and the picture is built at most a few times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ari_app.core.inputs import AgentAsked, AgentSkillsChanged, CallAsked, CrisisAsked
from ari_app.core.notes import Form
from ari_app.core.staff import Departure
from ari_app.web.errors import SocketUnusable
from ari_app.web.messages import Readiness, Reloaded, Tested
from ari_app.web.view import AgentView, View

PATH_LIMIT = 107
"""Bytes that fit into ``sockaddr_un.sun_path`` on Linux (unix(7)), without the final NUL."""
PROBE_LIMIT_S = 1.0


Wish = AgentAsked | CallAsked | AgentSkillsChanged | CrisisAsked


class Counter(Protocol):
    """What the local and the HTTP API both need of the running call centre."""

    def view(self) -> View:
        """The picture of this instant."""
        ...

    def agent(self, name: str) -> AgentView | None:
        """One agent at this instant; cheap, unlike the picture."""
        ...

    def why_call(self, call: str) -> tuple[str, ...]:
        """Why this live call still waits, a line a fact; empty if there is none."""
        ...

    def why_agent(self, name: str) -> tuple[str, ...]:
        """Why this agent has no call, or has one; empty if there is no such agent."""
        ...

    async def ask(self, item: Wish) -> None:
        """Give a wish to the engine; returns when it was stepped and committed."""
        ...

    def refusal(self, item: AgentAsked | AgentSkillsChanged | CrisisAsked) -> str:
        """Why the wish makes no sense now; "" if it does."""
        ...

    def note(self, call: str, text: str) -> str:
        """Keep an agent's note of a call, beside the caller's row; "" or why not."""
        ...

    def note_form(self, agent: str) -> Form:
        """What the queue of the agent's call asks to be noted of it."""
        ...

    def departures(self) -> list[Departure]:
        """Where supervisors have departed from the files."""
        ...

    def ready(self) -> Readiness: ...


class Desk(Counter, Protocol):
    """What the local API needs beyond that."""

    async def reload(self, *, dry_run: bool) -> Reloaded:
        """Take the definition folder over as it is now. Raises Refused."""
        ...

    async def test_call(self) -> Tested:
        """Call through Asterisk and our loop, seen by no statistics."""
        ...


async def serve(desk: Desk, path: Path) -> None:
    """Answer on the unix socket ``path`` (mode 600) until cancelled; then the socket is removed.

    Raises:
        SocketUnusable: the path is too long, taken by another process, or no socket at all.
    """
    with listening(path) as sock:
        routes = await asyncio.to_thread(importlib.import_module, "ari_app.web.routes")
        await routes.run(desk, sock)


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A listening socket at ``path``; a stale one is replaced, one that answers is not."""
    if len(os.fsencode(path)) > PATH_LIMIT:
        raise SocketUnusable(
            f"{path}: a socket's path may have {PATH_LIMIT} bytes at most, this one has"
            f" {len(os.fsencode(path))}; choose a shorter state directory"
        )
    _clear(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        # Linux gives the file the unbound socket's mode: there is no instant in which others may connect.
        os.fchmod(sock.fileno(), 0o600)
        try:
            sock.bind(os.fspath(path))
        except OSError as error:
            raise SocketUnusable(f"{path}: can't listen there: {error.strerror}") from error
        own = path.stat()
        try:
            sock.listen(64)
            sock.setblocking(False)
            yield sock
        finally:
            _remove(path, own)


def _clear(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketUnusable(f"{path}: is there and is no socket; move it away, Cordboard listens there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_LIMIT_S)
        try:
            probe.connect(os.fspath(path))
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:
                raise SocketUnusable(f"{path}: can't be replaced: {error.strerror or error}") from error
        else:
            raise SocketUnusable(f"{path}: another Cordboard answers there; stop it first")
    path.unlink(missing_ok=True)


def _remove(path: Path, own: os.stat_result) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return  # somebody removed it: the goal is met
    if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino):
        path.unlink(missing_ok=True)
