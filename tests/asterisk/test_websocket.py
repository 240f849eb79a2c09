"""Our websocket against the RFC's frames, and against a server that somebody else has written."""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import WSMsgType, web
from hypothesis import given, settings, strategies as st

from ari_app.ari import websocket as ws
from ari_app.ari.websocket import CLOSE, PING, TEXT, Closed, Frames, Refused, WebSocket, connect

LIMIT = 1 << 22


def served(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """A frame as a server sends it (RFC 6455, 5.2)."""
    first = (0x80 if final else 0) | opcode
    if len(payload) < 126:
        return bytes((first, len(payload))) + payload
    if len(payload) < 65_536:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


@given(
    payloads=st.lists(st.sampled_from([b"", b"a", b"b" * 125, b"c" * 126, b"d" * 65_535, b"e" * 70_000])),
    cuts=st.lists(st.integers(1, 80_000), max_size=20),
    pieces=st.integers(1, 3),
)
@settings(max_examples=100, deadline=None)
def test_messages_come_whole_however_the_network_cuts_them(
    payloads: list[bytes], cuts: list[int], pieces: int
) -> None:
    stream = b""
    for payload in payloads:
        size = -(-len(payload) // pieces) or 1
        parts = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
        for number, part in enumerate(parts):
            stream += served(TEXT if number == 0 else 0, part, final=number == len(parts) - 1)
            stream += served(PING, b"between")
    frames, found = Frames(LIMIT), []
    for cut in (*cuts, len(stream)):
        chunk, stream = stream[:cut], stream[cut:]
        found += frames.feed(chunk)
    assert [payload for opcode, payload in found if opcode == TEXT] == payloads
    assert {payload for opcode, payload in found if opcode == PING} <= {b"between"}
    assert frames.code == 0


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (b"\x81\x81abcde", ws.PROTOCOL_ERROR),  # masked
        (b"\xc1\x00", ws.PROTOCOL_ERROR),  # compressed, which nobody has agreed upon
        (b"\x83\x00", ws.PROTOCOL_ERROR),  # an opcode that is none
        (b"\x8b\x00", ws.PROTOCOL_ERROR),
        (b"\x80\x00", ws.PROTOCOL_ERROR),  # nothing to continue
        (b"\x01\x01a\x81\x01b", ws.PROTOCOL_ERROR),  # a message inside another
        (b"\x09\x00", ws.PROTOCOL_ERROR),  # half a ping
        (b"\x89\x7e\x00\x7e" + bytes(126), ws.PROTOCOL_ERROR),  # a long one
        (served(TEXT, bytes(LIMIT + 1)), ws.TOO_BIG),
        (served(TEXT, bytes(LIMIT), final=False) + served(0, b"a"), ws.TOO_BIG),
        (served(CLOSE, struct.pack("!H", 1011) + b"why"), 1011),
        (served(CLOSE, b""), ws.ABNORMAL),
    ],
)
def test_what_is_no_message_ends_it(stream: bytes, code: int) -> None:
    frames = Frames(LIMIT)
    frames.feed(stream)
    assert frames.code == code
    assert frames.feed(served(TEXT, b"more")) == []


@given(payload=st.binary(max_size=300) | st.sampled_from([bytes(126), bytes(65_535), bytes(65_536)]))
def test_a_frame_is_masked_and_comes_back(payload: bytes) -> None:
    sent = ws.frame(TEXT, payload)
    head = {126: 4, 127: 10}.get(sent[1] & 0x7F, 2)
    assert sent[1] & 0x80
    key, masked = sent[head : head + 4], sent[head + 4 :]
    assert bytes(byte ^ key[at % 4] for at, byte in enumerate(masked)) == payload


class Server:
    """aiohttp's websocket, which echoes; ``does`` replaces that."""

    def __init__(self) -> None:
        self.port = 0
        self.heard: list[str] = []
        self.authorization = ""
        self.code: int | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.authorization = request.headers.get("Authorization", "")
        socket = web.WebSocketResponse(max_msg_size=LIMIT)
        await socket.prepare(request)
        await socket.ping(b"are you there")
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.data == "go":
                await socket.close(code=1012)
            elif message.type is WSMsgType.TEXT and message.data == "binary":
                await socket.send_bytes(b"abc")
            elif message.type is WSMsgType.TEXT:
                self.heard.append(message.data)
                await socket.send_str(message.data)
        self.code = socket.close_code
        return socket


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_get("/ari/events", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


async def opened(server: Server, path: str = "/ari/events?app=a") -> WebSocket:
    return await connect(
        f"http://127.0.0.1:{server.port}{path}", {"Authorization": "Basic x"}, limit_bytes=LIMIT
    )


async def test_it_speaks_with_a_server_of_others() -> None:
    async with serving() as server, asyncio.timeout(20):
        socket = await opened(server)
        assert server.authorization == "Basic x"
        dice = random.Random(1)
        said = ["x" * size for size in (0, 1, 125, 126, 65_535, 65_536, 2_000_000)]
        said += ["é" * dice.randrange(400) for _ in range(500)]
        await socket.send(*(text.encode() for text in said))
        assert [(await socket.receive()).decode() for _ in said] == said == server.heard
        await socket.close()
        with pytest.raises(Closed) as closed:
            await socket.receive()
        assert closed.value.code == 1000
        with pytest.raises(Closed):
            await socket.send(b"more")
        assert server.code == 1000


async def test_unread_messages_stop_the_sender_and_none_is_lost() -> None:
    async with serving() as server, asyncio.timeout(20):
        socket = await opened(server)
        said = [bytes([65 + n % 26]) * 100_000 for n in range(200)]
        sending = asyncio.create_task(socket.send(*said))
        await asyncio.sleep(0.3)
        assert socket._unread_bytes < 4 * ws.UNREAD_LIMIT_BYTES
        assert [await socket.receive() for _ in said] == said
        await sending
        await socket.close()


@pytest.mark.parametrize(("word", "code"), [(b"go", 1012), (b"binary", ws.UNSUPPORTED)])
async def test_its_end_is_told_after_what_came_before(word: bytes, code: int) -> None:
    async with serving() as server, asyncio.timeout(10):
        socket = await opened(server)
        await socket.send(b"first", word)
        assert await socket.receive() == b"first"
        with pytest.raises(Closed) as closed:
            await socket.receive()
        assert closed.value.code == code
        await socket.close()


@asynccontextmanager
async def saying(said: bytes, *, hangs_up: bool) -> AsyncIterator[str]:
    """A server that answers a request with this; its URL."""
    done = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        if not hangs_up:
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):  # the other side may have hung up first
            await writer.wait_closed()
        done.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, asyncio.timeout(10):
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ari/events"
        await done.wait()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", 401),
        (b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: bm9ib2R5\r\n\r\n", 101),
        (b"220 mail.example.net ESMTP\r\n\r\n", 0),
    ],
)
async def test_another_answer_is_a_refusal(said: bytes, status: int) -> None:
    async with saying(said, hangs_up=False) as url:
        with pytest.raises(Refused) as refused:
            await connect(url, {}, limit_bytes=LIMIT)
        assert refused.value.status == status


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 101", b"x" * 70_000])
async def test_a_connection_that_breaks_at_once_is_an_error(said: bytes) -> None:
    async with saying(said, hangs_up=True) as url:
        with pytest.raises(ConnectionError):
            await connect(url, {}, limit_bytes=LIMIT)
