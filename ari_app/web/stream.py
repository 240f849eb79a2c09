"""Events as they are committed, over SSE (https://html.spec.whatwg.org/multipage/server-sent-events.html).

One reader follows the journal for all clients, and only while there are any; the newest lines are
kept once, in a ring. A client is no more than a number: what it has had so far. Whoever is behind
the ring reads the journal itself, in bounded pieces, so memory does not grow with clients that
are slow or come back after a day.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from itertools import islice
from typing import Protocol

import msgspec
from msgspec import Raw, Struct

from ari_app.web.messages import EventRow
from ari_app.web.public import Instant, instant

PACE_S = 0.1
"""How often the journal is looked at."""
PIECE = 200
RING = 2_000
BEAT_S = 10.0
SLOW_S = 10.0
"""A client that takes so long to take one piece is dropped."""
SLOW_EVENTS = 5_000
"""So is one that had everything once and has fallen so far behind."""
CLIENTS = 32
CLIENTS_A_TOKEN = 4

NOT_SHOWN = frozenset({"DefinitionLoaded"})
"""Its body is the whole definition: only that it was loaded is news."""


class Source(Protocol):
    """The journal, as far as a stream needs it."""

    def newest(self) -> int:
        """The number of the last committed event."""
        ...

    async def history(self, after: int, limit: int) -> list[EventRow]:
        """At most ``limit`` events after ``after``; read off the loop. Earlier ones may be pruned."""
        ...


class Event(Struct, frozen=True):
    """The data of one event; its fields are those of ``docs/calls.md``. ``body`` holds keys, never people."""

    seq: int
    at: Instant
    kind: str
    call: str
    agent: str
    queue: str
    body: Raw


class Notice(Struct, frozen=True):
    """The data of ``gap``, ``reset`` and ``dropped``: what is missing or why the stream ends."""

    detail: str
    after: int
    """Go on from here: send it as ``Last-Event-ID``."""


class Line(Struct, frozen=True):
    seq: int
    agent: str
    text: bytes


class Feed:
    """The followers of one journal. ``close`` ends them all, with a word."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._ring: deque[Line] = deque(maxlen=RING)
        self._news = asyncio.Event()
        self._closed = False
        self._clients: dict[str, int] = {}

    def count(self) -> int:
        return sum(self._clients.values())

    def full(self, key: str) -> bool:
        """Whether this token, or everybody together, has as many streams as there may be."""
        return self._clients.get(key, 0) >= CLIENTS_A_TOKEN or self.count() >= CLIENTS

    def close(self) -> None:
        self._closed = True
        self._wake()

    async def follow(
        self, key: str, after: int | None, may: Callable[[], bool], agent: str = ""
    ) -> AsyncIterator[bytes]:
        """SSE text from the event behind ``after`` (None: from now on). ``agent``: only theirs.

        ``may`` is asked again and again: a token can be revoked meanwhile.
        """
        self._clients[key] = self._clients.get(key, 0) + 1
        try:
            async for text in self._paced(after, may, agent):
                yield text
        finally:
            self._clients[key] -= 1
            if not self._clients[key]:
                del self._clients[key]

    async def _paced(self, after: int | None, may: Callable[[], bool], agent: str) -> AsyncIterator[bytes]:
        """``_pieces``, until the client proves too slow, the token is taken back, or we stop."""
        start = self._source.newest() if after is None else after
        caught_up = start >= self._source.newest()
        yield b": cordboard events\nretry: 2000\n\n"
        async for cursor, text in self._pieces(start, agent):
            began_s = time.monotonic()
            yield text
            behind = self._source.newest() - cursor
            caught_up = caught_up or behind <= 0
            if self._closed:
                yield _notice("dropped", "Cordboard stops; connect again", cursor)
                return
            if not may():
                yield _notice("dropped", "the token is revoked or over", cursor)
                return
            if time.monotonic() - began_s > SLOW_S or (caught_up and behind > SLOW_EVENTS):
                yield _notice("dropped", f"too slow: {max(behind, 0)} events behind", cursor)
                return

    async def _pieces(self, cursor: int, agent: str) -> AsyncIterator[tuple[int, bytes]]:
        """(number of the last event looked at, text): events, a notice, or a sign of life."""
        if cursor > self._source.newest():
            cursor = self._source.newest()
            yield cursor, _notice("reset", "this journal has no such event: it is a new one", cursor)
        while True:
            lines = await self._after(cursor)
            if not lines:
                if not await self._news_within(BEAT_S, cursor):
                    yield cursor, f": alive\nid: {cursor}\n\n".encode()
                continue
            if lines[0].seq > cursor + 1:
                detail = f"events {cursor + 1} to {lines[0].seq - 1} are pruned here; PostgreSQL has them"
                yield cursor, _notice("gap", detail, lines[0].seq - 1)
            cursor = lines[-1].seq
            text = b"".join(line.text for line in lines if not agent or line.agent == agent)
            if text:
                yield cursor, text

    async def _after(self, cursor: int) -> list[Line]:
        if self._ring and self._ring[0].seq <= cursor + 1:
            start = max(0, cursor + 1 - self._ring[0].seq)
            return list(islice(self._ring, start, start + PIECE))
        if cursor >= self._source.newest():
            return []
        return [_line(row) for row in await self._source.history(cursor, PIECE)]

    async def _news_within(self, limit_s: float, cursor: int) -> bool:
        """False: there was nothing behind ``cursor``; the sign of life keeps proxies from hanging up."""
        try:
            async with asyncio.timeout(limit_s):
                while not self._closed and self._source.newest() <= cursor:
                    await self._news.wait()
        except TimeoutError:
            return False
        return not self._closed

    # ------------------------------------------------------------ the one who reads for all

    async def run(self) -> None:
        """Keep the ring while there are clients, until cancelled."""
        seen: int | None = None
        while True:
            await asyncio.sleep(PACE_S)
            if not self._clients:
                seen = None
                self._ring.clear()
            elif seen is None:
                seen = self._source.newest()
                self._wake()  # what came just before is for each to read
            else:
                seen = await self._read(seen)

    async def _read(self, seen: int) -> int:
        while self._source.newest() > seen:
            rows = await self._source.history(seen, PIECE)
            if not rows:
                break  # not readable now: the next look tells
            self._ring.extend(_line(row) for row in rows)
            seen = rows[-1].seq
            self._wake()
        return seen

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _line(row: EventRow) -> Line:
    body = Raw(b"{}") if row.kind in NOT_SHOWN else row.body
    data = Event(row.seq, instant(row.at_ns), row.kind, row.call, row.agent, row.queue, body)
    return Line(row.seq, row.agent, _block(row.kind, msgspec.json.encode(data), row.seq))


def _notice(kind: str, detail: str, after: int) -> bytes:
    return _block(kind, msgspec.json.encode(Notice(detail, after)), after)


def _block(kind: str, data: bytes, seq: int) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (seq, kind.encode(), data)
