"""The FastAGI server on a real socket, with clients that behave and clients that do not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings, strategies as st

from ari_app.agi import server as agi
from ari_app.agi.requests import AgentStatus, BadRequest, QueueStatus, answer, environment, set_variable
from ari_app.deploy.ports import free_port


@dataclass
class Desk:
    attached: dict[str, dict[str, str]] = field(default_factory=dict)
    full: bool = False

    def queue_status(self, queue: str) -> QueueStatus | None:
        return QueueStatus(3, 1, True) if queue == "billing" else None

    def agent_status(self, agent: str) -> AgentStatus | None:
        return AgentStatus("wrap_up", False) if agent == "bob" else None

    def wrong_attribute(self, key: str, value: str) -> str:
        return "cb_priority is a whole number" if (key, value) == ("cb_priority", "high") else ""

    def attach(self, channel: str, attributes: dict[str, str]) -> bool:
        if not self.full:
            self.attached[channel] = attributes
        return not self.full


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def port(desk: Desk) -> AsyncIterator[int]:
    port = free_port()
    task = asyncio.create_task(agi.serve(desk, "127.0.0.1", port))
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write_eof()
                await reader.read()  # until the server has closed, and no longer counts this one
                writer.close()
                break
            await asyncio.sleep(0.01)
    yield port
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def request(url: str, channel: str = "1700000000.7") -> bytes:
    lines = ["agi_network: yes", f"agi_request: {url}", "agi_channel: PJSIP/x-1", f"agi_uniqueid: {channel}"]
    return "\n".join([*lines, "agi_callerid: +4930123", "", ""]).encode()


async def asks(port: int, url: str, reply: bytes = b"200 result=1\n") -> dict[str, str]:
    """As Asterisk does: send the environment, take commands, answer each."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(url))
    found = {}
    async with asyncio.timeout(5):
        while line := (await reader.readline()).decode():
            _, _, name, value = line.rstrip("\n").split(" ", 3)
            found[name] = value.strip('"')
            writer.write(reply)
    writer.close()
    return found


async def test_the_three_questions(desk: Desk, port: int) -> None:
    assert await asks(port, "agi://127.0.0.1/queue-status?queue=billing") == {
        "CORDBOARD_WAITING": "3",
        "CORDBOARD_READY": "1",
        "CORDBOARD_OPEN": "1",
        "CORDBOARD_STATUS": "OK",
    }
    assert await asks(port, "agi://127.0.0.1/agent-state?agent=bob") == {
        "CORDBOARD_AGENT_STATE": "wrap_up",
        "CORDBOARD_AGENT_READY": "0",
        "CORDBOARD_STATUS": "OK",
    }
    assert await asks(port, "agi://127.0.0.1/attach?customer=4711&name=J%C3%BCrgen+A") == {
        "CORDBOARD_STATUS": "OK"
    }
    assert desk.attached == {"1700000000.7": {"customer": "4711", "name": "Jürgen A"}}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("agi://h/queue-status?queue=nobody", "no such queue"),
        ("agi://h/queue-status", "write ?queue=NAME, and nothing else"),
        ("agi://h/queue-status?queue=billing&x=1", "write ?queue=NAME, and nothing else"),
        ("agi://h/agent-state?agent=eve", "no such agent"),
        ("agi://h/", "no such request; there are queue-status, agent-state and attach"),
        ("agi://h/attach", "nothing to attach: write ?key=value"),
        ("agi://h/attach?Key=1", "a key is 1 to 32 of a-z 0-9 _, and begins with a letter"),
        ("agi://h/attach?cb_priority=high", "cb_priority is a whole number"),
        ("agi://h/attach?k=" + "x" * 201, "a value has at most 200 characters"),
        ("agi://h/attach?" + "&".join(f"k{n}=1" for n in range(11)), "a request that is no URL, or has over"),
        ("agi://[h/attach?k=1", "a request that is no URL, or has over"),
    ],
)
async def test_what_is_wrong_is_said_to_the_dialplan(desk: Desk, port: int, url: str, said: str) -> None:
    found = await asks(port, url)
    assert found["CORDBOARD_STATUS"] == "ERROR"
    assert found["CORDBOARD_ERROR"].startswith(said)
    assert not desk.attached


async def test_what_cannot_be_kept_is_said(desk: Desk, port: int) -> None:
    desk.full = True
    assert (await asks(port, "agi://h/attach?k=1"))["CORDBOARD_ERROR"] == "not kept"


async def test_a_hangup_in_between_is_no_answer(port: int) -> None:
    found = await asks(port, "agi://h/queue-status?queue=billing", b"HANGUP\n200 result=1\n")
    assert found["CORDBOARD_STATUS"] == "OK"


async def test_a_dead_channel_is_not_told_more(port: int) -> None:
    found = await asks(port, "agi://h/queue-status?queue=billing", b"511 Command Not Permitted\n")
    assert len(found) == 1


# ---------------------------------------------------------------- clients that do not behave


def rude(port: int, data: bytes, *, reset: bool) -> None:
    """Send something and go, with a FIN or with a RST."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        with contextlib.suppress(OSError):
            sock.sendall(data)


async def test_early_closes_disturb_nothing(port: int) -> None:
    whole = request("agi://h/queue-status?queue=billing")
    before = len(os.listdir("/proc/self/fd"))
    for cut in range(0, len(whole) + 1, 7):
        for reset in (False, True):
            await asyncio.to_thread(rude, port, whole[:cut], reset=reset)
    began = asyncio.get_running_loop().time()
    assert (await asks(port, "agi://h/agent-state?agent=bob"))["CORDBOARD_STATUS"] == "OK"
    assert asyncio.get_running_loop().time() - began < 0.5, "the loop is free"
    for _ in range(100):
        await asyncio.sleep(0.03)
        if len(os.listdir("/proc/self/fd")) <= before:
            break
    assert len(os.listdir("/proc/self/fd")) <= before, "nothing is left open"


@pytest.mark.parametrize(
    "data",
    [
        b"\0\xff" * 50_000,
        b"agi_request: " + b"x" * 1_000_000 + b"\n\n",
        b"agi_x: y\n" * 100_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\n",
        b"agi_request: agi://h/\xff\xfe?\xff=1\n\n",
    ],
)
async def test_nonsense_is_cut_off_and_forgotten(port: int, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(6):
            assert len(await reader.read()) < 300
    writer.close()
    assert (await asks(port, "agi://h/agent-state?agent=bob"))["CORDBOARD_STATUS"] == "OK"


async def test_a_slow_client_has_two_seconds_and_others_wait_for_nobody(port: int) -> None:
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"agi_network: yes\n")
    began = loop.time()
    assert (await asks(port, "agi://h/agent-state?agent=bob"))["CORDBOARD_STATUS"] == "OK"
    assert loop.time() - began < 0.5
    async with asyncio.timeout(6):
        assert await reader.read() == b""
    assert 1.5 < loop.time() - began < 4
    writer.close()


async def test_more_than_so_many_at_once_are_turned_away(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agi, "SESSIONS", 3)
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
    try:
        async with asyncio.timeout(1):
            assert await held[3][0].read() == b"", "the server takes them in the order of their coming"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await held[2][0].read()
    finally:
        for _, each in held:
            each.close()


async def test_a_port_that_is_taken_is_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agi, "AGAIN_S", 0.05)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        task = asyncio.create_task(agi.serve(desk, "127.0.0.1", port))
        await asyncio.sleep(0.2)
        assert not task.done()
    await asyncio.sleep(0.2)
    assert (await asks(port, "agi://h/agent-state?agent=bob"))["CORDBOARD_STATUS"] == "OK"
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_an_engine_that_stands_still_is_told_as_such_in_time(port: int) -> None:
    def ask() -> bytes:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.settimeout(3)
            sock.sendall(request("agi://h/queue-status?queue=billing"))
            first = sock.recv(200)
            sock.sendall(b"200 result=1\n")
            return first + sock.recv(200)

    asking = asyncio.create_task(asyncio.to_thread(ask))
    await asyncio.sleep(0)
    time.sleep(1.6)  # noqa: ASYNC251  this is the engine's loop, standing still
    assert b'SET VARIABLE CORDBOARD_ERROR "Cordboard is busy"' in await asking


# ---------------------------------------------------------------- whatever comes


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=80).map(lambda b: b.replace(b"\n", b"") + b"\n"), max_size=20))
def test_any_environment_is_understood_or_refused(lines: list[bytes]) -> None:
    try:
        found = environment(lines)
    except BadRequest:
        return
    assert set(answer(Desk(), found)) <= {"CORDBOARD_STATUS", "CORDBOARD_ERROR"}


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        st.text(max_size=200),
        st.builds(
            "agi://h/{}?{}={}".format,
            st.sampled_from(["attach", "queue-status", "agent-state", "x"]),
            st.text(max_size=40),
            st.text(max_size=250),
        ),
    ),
    st.text(max_size=160),
)
def test_any_request_gets_an_answer_that_is_one_line_a_variable(url: str, channel: str) -> None:
    desk = Desk()
    found = answer(desk, {"agi_request": url, "agi_uniqueid": channel})
    assert found["CORDBOARD_STATUS"] in ("OK", "ERROR")
    for name, value in found.items():
        command = set_variable(name, value)
        assert command.count(b"\n") == 1
        assert command.endswith(b'"\n')
    for attributes in desk.attached.values():
        assert all(len(value) <= 200 for value in attributes.values())
