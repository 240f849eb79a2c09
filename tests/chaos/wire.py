"""The connection between Cordboard and Asterisk, spoilt on purpose.

A TCP proxy that knows websocket frames, so that it can delay, double, reorder and falsify what Asterisk
says, besides cutting and freezing the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import struct
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

TEXT = 1
LONGEST_HEAD_BYTES = 16_384
HELD_S = 0.03
"""A frame that is to change places with the next one waits no longer for it."""


class Wire:
    """``async with Wire(port, dice) as wire:`` forwards to 127.0.0.1:port until told otherwise.

    ``delay_s`` bounds a random delay in both directions. ``doubles``, ``swaps`` and ``falsifies`` are the
    share of Asterisk's messages (0..1) that come twice, change places with the next one, or (answers only)
    say 500. ``bytes_s`` limits what Cordboard takes from Asterisk; 0 = no limit.
    """

    def __init__(self, target_port: int, dice: random.Random) -> None:
        self.target_port, self.port, self.opened = target_port, 0, 0
        self.falsified = 0
        self._dice = dice
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.behave()

    def behave(self) -> None:
        """Pass everything on as it comes."""
        self.refuses = False
        self.delay_s = self.doubles = self.swaps = self.falsifies = 0.0
        self.bytes_s = 0
        self._flows.set()

    @property
    def ari_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/ari"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self.behave()
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Break the TCP connections (RST), as a firewall or a restarting network does."""
        for writer in list(self._writers):
            writer.transport.abort()

    def freeze(self) -> None:
        """Keep the connections open and pass nothing on: what a dead peer looks like (half open)."""
        self._flows.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.refuses:
            writer.transport.abort()
            return
        self.opened += 1
        try:
            there, away = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()  # Asterisk is away: so is this
            return
        self._writers |= {writer, away}
        try:
            await asyncio.gather(self._pass(_chunks(reader), away), self._pass(self._said(there), writer))
        finally:
            self._writers -= {writer, away}

    async def _pass(self, source: AsyncIterator[bytes], target: asyncio.StreamWriter) -> None:
        try:
            async for data in source:
                if self.delay_s:
                    await asyncio.sleep(self._dice.uniform(0, self.delay_s))
                await self._flows.wait()
                target.write(data)
                await target.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # cut: the other direction ends, too
        target.transport.abort()

    async def _said(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        """Asterisk's side: an HTTP answer, then websocket frames if it became one (RFC 6455, 5.2)."""
        head = await reader.readuntil(b"\r\n\r\n")
        yield head
        if not head.startswith(b"HTTP/1.1 101"):
            async for data in _chunks(reader):
                yield data
            return
        while True:
            frame = await _frame(reader)
            if self.bytes_s:
                await asyncio.sleep(len(frame) / self.bytes_s)
            for piece in await self._spoilt(frame, reader):
                yield piece

    async def _spoilt(self, frame: bytes, reader: asyncio.StreamReader) -> list[bytes]:
        if frame[0] & 0x0F != TEXT:
            return [frame]
        if self.falsifies and self._dice.random() < self.falsifies:
            frame = self._falsified(frame)
        if self.doubles and self._dice.random() < self.doubles:
            return [frame, frame]
        if self.swaps and self._dice.random() < self.swaps and not reader.at_eof():
            # An answer and an event come in no causal order from Asterisk either; two events do.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HELD_S):
                    await _readable(reader)
                after = await _frame(reader)
                return [after, frame] if _is_answer(after) != _is_answer(frame) else [frame, after]
        return [frame]

    def _falsified(self, frame: bytes) -> bytes:
        message = json.loads(_payload(frame))
        if message.get("type") != "RESTResponse" or message.get("status_code", 0) >= 400:
            return frame
        self.falsified += 1
        message["status_code"], message["reason_phrase"] = 500, "Nobody expects this"
        message["message_body"] = '{"message":"Nobody expects this"}'
        return _framed(json.dumps(message).encode())


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while data := await reader.read(65_536):
        yield data


async def _readable(reader: asyncio.StreamReader) -> None:
    """Return when something is there, without taking it: cancelling a read would lose half a frame."""
    buffered: bytearray = reader._buffer  # type: ignore[attr-defined]
    while not buffered and not reader.at_eof():  # noqa: ASYNC110 - a stream has no event for it
        await asyncio.sleep(0.002)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(2)
    length = head[1] & 0x7F  # a server's frames are not masked
    more = b""
    if length == 126:
        more = await reader.readexactly(2)
        length = struct.unpack("!H", more)[0]
    elif length == 127:
        more = await reader.readexactly(8)
        length = struct.unpack("!Q", more)[0]
    return head + more + await reader.readexactly(length)


def _payload(frame: bytes) -> bytes:
    return frame[{126: 4, 127: 10}.get(frame[1] & 0x7F, 2) :]


def _is_answer(frame: bytes) -> bool:
    return b'"RESTResponse"' in frame


def _framed(payload: bytes) -> bytes:
    if len(payload) < 126:
        return bytes([0x80 | TEXT, len(payload)]) + payload
    if len(payload) < 65_536:
        return bytes([0x80 | TEXT, 126]) + struct.pack("!H", len(payload)) + payload
    return bytes([0x80 | TEXT, 127]) + struct.pack("!Q", len(payload)) + payload
