"""The HTTP API in front of a real floor, on a real port, and clients that know no more than HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ari_app.core import messages as m
from ari_app.web import http as web_http
from ari_app.web.api import run
from ari_app.web.http import Address
from ari_app.web.messages import EventRow, Vitals
from ari_app.web.tokens import TokenBook
from ari_app.web.view import View, build_view
from tests.web.floor import Room


class OpenRoom(Room):
    """A room with a journal of its events; ``pruned``: how many of them are no longer here."""

    def __init__(self) -> None:
        self.rows: list[EventRow] = []
        self.pruned = 0
        self.tell: Callable[[int, m.AnyEvent], None] | None = None
        self.attached: dict[str, dict[str, str]] = {}
        super().__init__()

    def given(self, item: m.AnyInput) -> list[m.AnyEvent]:
        events = super().given(item)
        for event in events:
            call, agent, queue = (getattr(event, name, "") for name in ("call", "agent", "queue"))
            body = msgspec.Raw(msgspec.json.encode(event))
            kind = type(event).__name__
            self.rows.append(EventRow(len(self.rows) + 1, self.now_ns, kind, call, agent, queue, body))
            if self.tell is not None:
                self.tell(self.now_ns, event)
        return events

    def view(self) -> View:
        people, attached = self.people.get, lambda call: self.attached.get(call, {})
        return build_view(self.floor, self.recent, self.now_ns, people, attached)

    def given_hang_up(self, channel: str) -> None:
        self.given(m.HungUp(channel))

    def has_call(self, call: str) -> bool:
        return call in self.floor.state.calls

    def newest(self) -> int:
        return len(self.rows)

    async def history(self, after: int, limit: int) -> list[EventRow]:
        start = max(after, self.pruned)
        await asyncio.sleep(0)  # as if a thread had read it
        return self.rows[start : start + limit]

    def vitals(self) -> Vitals:
        return Vitals(self.ready(), True, 0.0004, None)

    def measure(
        self,
        on_event: Callable[[int, m.AnyEvent], None],
        on_commit: Callable[[float | None], None],
    ) -> None:
        self.tell = on_event
        on_commit(0.0003)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Outside:
    """Somebody with tokens. ``tokens`` maps a role to its secret; agent's is bob's."""

    port: int
    book: TokenBook
    tokens: dict[str, str] = field(default_factory=dict)

    async def asks(
        self, role: str, target: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> Answer:
        """``role`` "" = without a token."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if role:
            given["Authorization"] = f"Bearer {self.tokens.get(role, role)}"
        return await asyncio.to_thread(self._ask, method, target, body, given)

    def _ask(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, response.read())

    @contextlib.asynccontextmanager
    async def listens(self, role: str, target: str = "/events", **headers: str) -> AsyncIterator[Ear]:
        """An open stream of events."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        lines = [f"GET {target} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.tokens[role]}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            yield Ear(int(head.split()[1]), head, reader)
        finally:
            writer.close()


@dataclass
class Ear:
    status: int
    head: bytes
    reader: asyncio.StreamReader
    _text: bytes = b""

    async def hears(self, limit_s: float = 10) -> dict[str, Any]:
        """The next event with data: its ``id``, ``event`` and decoded ``data``."""
        async with asyncio.timeout(limit_s):
            while True:
                block = await self._block()
                fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
                if "data" in fields:
                    return {**fields, "data": json.loads(fields["data"])}

    async def _block(self) -> str:
        while b"\n\n" not in self._text:
            size = int(await self.reader.readline(), 16)  # one chunk (RFC 9112, 7.1)
            if not size:
                raise EOFError
            self._text += (await self.reader.readexactly(size + 2))[:-2]
        block, _, self._text = self._text.partition(b"\n\n")
        return block.decode()


@contextlib.asynccontextmanager
async def open_to(room: OpenRoom, state_dir: Path) -> AsyncIterator[Outside]:
    """The real server in this test's loop, with a token of each role."""
    book = TokenBook(state_dir)
    tokens = {role: book.add(role, role) for role in ("reader", "supervisor", "admin")}
    tokens["agent"] = book.add("agent", "agent", agent="bob")
    sock = web_http.listening(Address("127.0.0.1", 0))
    port = sock.getsockname()[1]
    task = asyncio.create_task(run(room, sock, state_dir))
    outside = Outside(port, book, tokens)
    try:
        async with asyncio.timeout(20):
            while not await _answers(outside):
                if task.done():
                    await task
                await asyncio.sleep(0.02)
        yield outside
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _answers(outside: Outside) -> bool:
    # The socket listens before anybody serves it: then the answer comes late, not never.
    return (await outside.asks("", "/healthz")).status == 200


def busy(room: OpenRoom) -> None:
    """As ``busy_room``: alice talks, bob's phone rings, one waits, one is in the menu, carol is paused."""
    for agent in ("alice", "bob", "carol"):
        room.asked(agent, "sign_in")
        room.passes(30)
    room.asked("carol", "pause", "lunch")
    first = room.caller(name="Ann Archer")
    room.attached[first] = {"customer": "4711"}
    room.answered(first)
    room.passes(5)
    room.rings(room.caller(number="+4930456", name="Ben"))
    room.passes(2)
    room.caller("2", number="", name="")
    room.caller("")
    room.passes(7)


def strings(value: object) -> Iterator[str]:
    """Every text in a decoded answer."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
