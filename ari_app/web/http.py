"""The HTTP API for programs of others, on TCP: off unless an address is given.

The framework, the metrics and the description are imported in a thread, and only if they are
wanted. A port that is taken is tried again: calls matter more than their figures.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog
from msgspec import Struct

from ari_app.core import messages as m
from ari_app.web.control import Counter
from ari_app.web.errors import ControlError
from ari_app.web.messages import EventRow, Vitals

AGAIN_S = 5.0
UNREAD_LIMIT_MS = 60_000
"""A client that takes nothing for so long is cut off by the kernel (TCP_USER_TIMEOUT, tcp(7))."""
BACKLOG = 64
_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})\Z")

log = structlog.get_logger(__name__)


class AddressWrong(ControlError):
    """``HOST:PORT`` it is not."""


class Address(Struct, frozen=True):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class OpenDesk(Counter, Protocol):
    """What the HTTP API needs of the running call centre besides."""

    def has_call(self, call: str) -> bool:
        """Whether this call is live."""
        ...

    def newest(self) -> int:
        """The number of the last committed event."""
        ...

    async def history(self, after: int, limit: int) -> list[EventRow]:
        """At most ``limit`` events after ``after``, read off the loop."""
        ...

    def vitals(self) -> Vitals: ...

    def measure(
        self,
        on_event: Callable[[int, m.AnyEvent], None],
        on_commit: Callable[[float | None], None],
    ) -> None:
        """From now on tell of each committed event, and how long each commit took (None: it failed)."""
        ...


def parse_address(text: str, option: str) -> Address:
    """``127.0.0.1:8090`` or ``[::1]:8090``. Raises ``AddressWrong``, naming ``option``."""
    found = _ADDRESS.match(text)
    port = int(found["port"]) if found else -1
    if found is None or port > 65_535:
        raise AddressWrong(f"{option} {text}: write HOST:PORT, such as 127.0.0.1:8090 or [::1]:8090")
    return Address(found["host"].strip("[]"), port)


async def serve(desk: OpenDesk, address: Address, state_dir: Path) -> None:
    """Answer on ``address`` until cancelled; tokens are those of ``state_dir``."""
    api = await asyncio.to_thread(importlib.import_module, "ari_app.web.api")
    told = False
    while True:
        try:
            sock = listening(address)
        except OSError as error:
            if not told:
                reason = error.strerror or str(error)
                log.error("http api cannot listen; trying again", address=str(address), error=reason)
            told = True
            await asyncio.sleep(AGAIN_S)
            continue
        with sock:
            log.info("http api listens", address=str(address))
            await api.run(desk, sock, state_dir)


def listening(address: Address) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. Raises ``OSError``."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Linux hands it on to the accepted sockets.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_LIMIT_MS)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
