"""A websocket to Asterisk (RFC 6455), no more of it than ARI needs: text messages, no extensions.

It exists because of a restart: the general HTTP library takes as long to import as everything else that a
start needs, and callers wait for that. `Frames` is the protocol, without a network; `WebSocket` joins it to
one, and `connect` opens it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import ssl
from collections import deque
from collections.abc import Mapping
from urllib.parse import urlsplit

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
NORMAL, PROTOCOL_ERROR, UNSUPPORTED, ABNORMAL, TOO_BIG = 1000, 1002, 1003, 1006, 1009
# What the server hashes with the client's key, to show that it speaks websocket (RFC 6455, 1.3).
ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
LONGEST_HEAD_BYTES = 65_536
LONGEST_CONTROL_BYTES = 125
UNREAD_LIMIT_BYTES = 1 << 20
CLOSE_LIMIT_S = 0.3


class Closed(ConnectionError):
    """The connection has ended; `code` is the peer's (RFC 6455, 7.4), 1006 if it gave none."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the websocket is closed (code {code})")
        self.code = code


class Refused(ConnectionError):
    """The server answered something else than a websocket: an HTTP `status`; 0 = it was no HTTP."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}" if status else "the answer is no HTTP")
        self.status = status


class Frames:
    """What a server sends, as messages. `code` is why no more will come; 0 = it goes on."""

    def __init__(self, limit_bytes: int) -> None:
        self.code = 0
        self._limit_bytes = limit_bytes
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._kind = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """(opcode, payload) of each whole message and control frame, in order."""
        buffer, at = self._buffer, 0
        buffer += data
        found: list[tuple[int, bytes]] = []
        while not self.code and len(buffer) - at >= 2:
            length, head = buffer[at + 1], 2
            if length == 126:
                head, length = 4, int.from_bytes(buffer[at + 2 : at + 4], "big")
            elif length == 127:
                head, length = 10, int.from_bytes(buffer[at + 2 : at + 10], "big")
            elif length & 0x80:
                self.code = PROTOCOL_ERROR  # a server's frames are not masked (5.1)
                break
            if len(buffer) - at < head:
                break
            if length > self._limit_bytes:
                self.code = TOO_BIG
                break
            if len(buffer) - at < head + length:
                break
            self._take(buffer[at], bytes(buffer[at + head : at + head + length]), found)
            at += head + length
        del buffer[:at]
        return found

    def _take(self, first: int, payload: bytes, found: list[tuple[int, bytes]]) -> None:
        opcode, final = first & 0x0F, first & 0x80
        if first & 0x70 or opcode > PONG or 2 < opcode < CLOSE:
            self.code = PROTOCOL_ERROR  # a bit or an opcode that nobody has agreed upon (5.2)
        elif opcode >= CLOSE:
            if not final or len(payload) > LONGEST_CONTROL_BYTES:
                self.code = PROTOCOL_ERROR  # control frames are whole and short (5.5)
                return
            found.append((opcode, payload))
            if opcode == CLOSE:
                self.code = int.from_bytes(payload[:2], "big") or ABNORMAL
        elif bool(opcode) == bool(self._kind):
            self.code = PROTOCOL_ERROR  # nothing to continue, or a message inside another (5.4)
        elif final and opcode:
            found.append((opcode, payload))
        else:
            self._continue(opcode, payload, bool(final), found)

    def _continue(self, opcode: int, payload: bytes, final: bool, found: list[tuple[int, bytes]]) -> None:
        self._kind = opcode or self._kind
        self._parts.append(payload)
        if sum(map(len, self._parts)) > self._limit_bytes:
            self.code = TOO_BIG
        elif final:
            found.append((self._kind, b"".join(self._parts)))
            self._parts, self._kind = [], 0


def frame(opcode: int, payload: bytes) -> bytes:
    """One frame as a client sends it: whole, and masked with a new key (RFC 6455, 5.3)."""
    length, key = len(payload), os.urandom(4)
    if length < 126:
        head = bytes((0x80 | opcode, 0x80 | length))
    elif length < 65_536:
        head = bytes((0x80 | opcode, 0x80 | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + length.to_bytes(8, "big")
    # As one long number: bytes one by one would take a hundred times as long.
    mask = int.from_bytes((key * (length // 4 + 1))[:length], "little")
    return head + key + (int.from_bytes(payload, "little") ^ mask).to_bytes(length, "little")


class WebSocket(asyncio.Protocol):
    """One open websocket. Text messages come out of `receive` in order; pings are answered by itself."""

    def __init__(self, limit_bytes: int) -> None:
        loop = asyncio.get_running_loop()
        self._frames = Frames(limit_bytes)
        self._head: bytearray | None = bytearray()
        self._answered: asyncio.Future[bytes] = loop.create_future()
        self._gone: asyncio.Future[None] = loop.create_future()
        self._messages: deque[bytes] = deque()
        self._unread_bytes = 0
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport | None = None
        self._code = 0

    # What others use

    async def receive(self) -> bytes:
        """The next text message. Raises Closed when none is left and none will come."""
        while not self._messages:
            if self._code:
                raise Closed(self._code)
            self._arrived.clear()
            await self._arrived.wait()
        message = self._messages.popleft()
        before_bytes = self._unread_bytes
        self._unread_bytes -= len(message)
        if self._unread_bytes <= UNREAD_LIMIT_BYTES < before_bytes and self._transport is not None:
            self._transport.resume_reading()
        return message

    async def send(self, *messages: bytes) -> None:
        """Text messages, handed to the kernel in order; waits while it takes no more. Raises Closed."""
        await self._writable.wait()
        if self._code or self._transport is None:
            raise Closed(self._code or ABNORMAL)
        self._transport.write(b"".join(frame(TEXT, message) for message in messages))

    async def close(self) -> None:
        """Say good-bye, and hang up at the latest after `CLOSE_LIMIT_S`. Never raises."""
        transport = self._transport
        if transport is None:
            return
        if not self._code:
            self._end(NORMAL)
            self._say_closed(NORMAL)
        # It answers and closes the connection (7.1.1).
        await asyncio.wait((self._gone,), timeout=CLOSE_LIMIT_S)
        transport.abort()

    async def shake_hands(self, request: bytes, accept: bytes) -> None:
        """Raises Refused, or ConnectionError if the connection breaks."""
        assert self._transport is not None
        self._transport.write(request)
        head = await self._answered
        first, *lines = head.split(b"\r\n")
        words = first.split()
        if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            raise Refused(0)
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (x.partition(b":") for x in lines)
        }
        if words[1] != b"101" or headers.get(b"sec-websocket-accept") != accept:
            raise Refused(int(words[1]))

    def drop(self) -> None:
        """Hang up without a word."""
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                if len(self._head) > LONGEST_HEAD_BYTES:
                    self.drop()
                return
            head, data, self._head = bytes(self._head[:end]), bytes(self._head[end + 4 :]), None
            self._answered.set_result(head)
        if self._code:
            return
        for opcode, payload in self._frames.feed(data):
            self._take(opcode, payload)
        if self._frames.code and not self._code:
            self._fail(self._frames.code)
        elif self._unread_bytes > UNREAD_LIMIT_BYTES and self._transport is not None:
            self._transport.pause_reading()

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self._messages.append(payload)
            self._unread_bytes += len(payload)
            self._arrived.set()
        elif opcode == PING and self._transport is not None:
            self._transport.write(frame(PONG, payload))
        elif opcode not in (PONG, CLOSE):
            self._fail(UNSUPPORTED)

    def _fail(self, code: int) -> None:
        """The peer has said good-bye, or broken the protocol: answer, and hang up when that is sent."""
        self._end(code)
        self._say_closed(NORMAL if code == ABNORMAL else code)  # 1006 is never sent (7.4.1)
        if self._transport is not None:
            self._transport.close()

    def _end(self, code: int) -> None:
        self._code = code
        self._arrived.set()
        self._writable.set()

    def _say_closed(self, code: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame(CLOSE, code.to_bytes(2, "big")))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._code:
            self._end(ABNORMAL)
        if not self._answered.done():
            self._answered.set_exception(ConnectionResetError("the connection broke before an answer came"))
            self._answered.exception()  # nobody may be waiting any more
        if not self._gone.done():
            self._gone.set_result(None)


async def connect(url: str, headers: Mapping[str, str], *, limit_bytes: int) -> WebSocket:
    """Open a websocket at an http: or https: URL. `limit_bytes` bounds one message.

    Raises Refused, or OSError (ConnectionError, ssl.SSLError) if there is no connection. The caller limits
    the time.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    context = ssl.create_default_context() if secure else None
    port = parts.port or (443 if secure else 80)
    loop = asyncio.get_running_loop()
    _, socket = await loop.create_connection(
        lambda: WebSocket(limit_bytes), parts.hostname or "", port, ssl=context
    )
    key = base64.b64encode(os.urandom(16))
    # SHA-1 is the protocol's choice (RFC 6455, 1.3); it protects nothing.
    accept = base64.b64encode(hashlib.sha1(key + ACCEPT_GUID, usedforsecurity=False).digest())
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key.decode()}", "Sec-WebSocket-Version: 13"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    try:
        await socket.shake_hands("\r\n".join((*lines, "", "")).encode(), accept)
    except BaseException:
        socket.drop()
        raise
    return socket
