"""The AMI adapter against a real Asterisk, and against a peer that answers by the byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from ari_app.ami.adapter import (
    AmiAdapter,
    AmiChannelNotFound,
    AmiDown,
    AmiError,
    AmiInjection,
    AmiLoginRefused,
    AmiLost,
    AmiProblem,
    AmiTimedOut,
    AmiUnreachable,
)
from tests.asterisk.ari_rig import SECRET, PrivateAsterisk


@pytest.fixture(scope="module")
def asterisk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateAsterisk]:
    server = PrivateAsterisk(tmp_path_factory.mktemp("asterisk"))
    server.start()
    yield server
    server.kill()


@asynccontextmanager
async def running(adapter: AmiAdapter) -> AsyncIterator[AmiAdapter]:
    task = asyncio.create_task(adapter.run())
    try:
        async with asyncio.timeout(10):
            while not adapter.connected:
                if task.done():
                    await task
                await asyncio.sleep(0.01)
        yield adapter
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def adapter_for(server: PrivateAsterisk, password: str = SECRET) -> AmiAdapter:
    return AmiAdapter("127.0.0.1", server.ami_port, "tester", password, reconnect_delay_s=0.1)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def echoing(server: PrivateAsterisk, channel: str) -> AsyncIterator[None]:
    """A Local channel whose near half, of this unique id, hears the echo application play into it."""
    headers = {"Authorization": aiohttp.encode_basic_auth("tester", SECRET)}
    async with aiohttp.ClientSession(headers=headers) as http:
        url = f"{server.base_url}/channels/{channel}"
        params = {"endpoint": "Local/demo@entry", "context": "entry", "extension": "wait", "priority": "1"}
        async with asyncio.timeout(10):
            state = ""
            while state != "Up":
                # 503 until Asterisk is booted; 409 once the channel is there.
                await http.post(url, params=params)
                state = (await (await http.get(url)).json()).get("state", "")
                await asyncio.sleep(0.02)
        try:
            yield
        finally:
            await http.delete(url)


async def test_an_action_answers(asterisk: PrivateAsterisk) -> None:
    async with running(adapter_for(asterisk)) as ami:
        assert (await ami.action("Ping"))["Ping"] == "Pong"
        await ami.action("SetVar", Variable="GREETING", Value="grüße")
        assert (await ami.action("GetVar", Variable="GREETING"))["Value"] == "grüße"
        assert "Asterisk" in (await ami.action("Command", Command="core show version"))["Output"]
        channels = await ami.listing("CoreShowChannels")
        assert all(channel["Event"] == "CoreShowChannel" for channel in channels)


async def test_an_error_is_raised_with_asterisks_words(asterisk: PrivateAsterisk) -> None:
    async with running(adapter_for(asterisk)) as ami:
        with pytest.raises(AmiError, match="Invalid/unknown command"):
            await ami.action("Nonsense")


async def test_many_actions_at_once_get_their_own_answers(asterisk: PrivateAsterisk) -> None:
    async with running(adapter_for(asterisk)) as ami:
        await asyncio.gather(*(ami.action("SetVar", Variable=f"V{n}", Value=n) for n in range(200)))
        answers = await asyncio.gather(*(ami.action("GetVar", Variable=f"V{n}") for n in range(200)))
        assert [answer["Value"] for answer in answers] == [str(n) for n in range(200)]


async def test_a_wrong_secret_ends_with_the_remedy(asterisk: PrivateAsterisk) -> None:
    ami = adapter_for(asterisk, password="not-it")
    with pytest.raises(AmiLoginRefused, match=r"manager\.conf") as caught:
        await asyncio.wait_for(ami.run(), 5)
    assert "not-it" not in str(caught.value)
    assert not ami.connected


@pytest.mark.parametrize(
    "values",
    [
        {"Value": "x\r\nAction: Command\r\nCommand: core stop now"},
        {"Value": "x\ny"},
        {"Value": "x\ry"},
        {"Value": "x\0y"},
        {"Value": ["fine", "x\r\n"]},
        {"Value": "\ud800"},
        {"Value\r\nAction": "x"},
        {"Va:lue": "x"},
    ],
)
async def test_what_would_break_out_of_its_line_is_refused(
    asterisk: PrivateAsterisk, values: dict[str, str | list[str]]
) -> None:
    async with running(adapter_for(asterisk)) as ami:
        with pytest.raises(AmiInjection):
            await ami.action("SetVar", Variable="X", **values)  # type: ignore[arg-type]  # mypy: limit_s
        with pytest.raises(AmiInjection):
            await ami.action("Ping\r\nX: y")
        await ami.action("Ping")


async def test_mix_monitor_records_mutes_and_stops(asterisk: PrivateAsterisk, tmp_path: Path) -> None:
    file = tmp_path / "leg.raw"
    async with running(adapter_for(asterisk)) as ami, echoing(asterisk, "monitored"):
        with pytest.raises(AmiError, match="mute"):
            await ami.mix_monitor_mute("monitored", True)
        monitor = await ami.mix_monitor_start("monitored", str(file))
        await until(lambda: file.exists() and file.stat().st_size > 0)
        await ami.mix_monitor_mute("monitored", True)
        await ami.mix_monitor_mute("monitored", False)
        await ami.mix_monitor_stop("monitored", monitor)
        with pytest.raises(AmiError):
            await ami.mix_monitor_stop("monitored", monitor)
        with pytest.raises(AmiChannelNotFound):
            await ami.mix_monitor_start("nobody", str(file))


async def test_a_comma_cannot_reach_mix_monitors_shell_command(
    asterisk: PrivateAsterisk, tmp_path: Path
) -> None:
    async with running(adapter_for(asterisk)) as ami:
        for file, options in ((f"{tmp_path}/a.raw,,touch x", "D"), (f"{tmp_path}/a.raw", "D,touch x")):
            with pytest.raises(AmiInjection):
                await ami.mix_monitor_start("any", file, options)


async def test_nothing_sent_while_disconnected_is_ever_sent(tmp_path: Path) -> None:
    server = PrivateAsterisk(tmp_path)
    server.start()
    told: list[tuple[bool, AmiProblem | None]] = []
    ami = AmiAdapter(
        "127.0.0.1",
        server.ami_port,
        "tester",
        SECRET,
        reconnect_delay_s=0.1,
        on_state=lambda connected, why: told.append((connected, why)),
    )
    try:
        async with running(ami):
            server.freeze()
            await asyncio.sleep(0.1)
            under_way = asyncio.create_task(ami.action("SetVar", Variable="UNDERWAY", Value="1"))
            await asyncio.sleep(0.05)
            server.kill()
            with pytest.raises(AmiLost):
                await under_way
            await until(lambda: not ami.connected)
            with pytest.raises(AmiDown):
                await ami.action("SetVar", Variable="WHILEDOWN", Value="1")
            await until(lambda: any(isinstance(why, AmiUnreachable) for _, why in told))
            server.start()
            await until(lambda: ami.connected)
            await asyncio.sleep(0.3)
            for variable in ("UNDERWAY", "WHILEDOWN"):
                assert (await ami.action("GetVar", Variable=variable)).get("Value", "") == ""
    finally:
        server.kill()
    assert [connected for connected, _ in told][:2] == [True, False]


async def test_an_asterisk_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    server = PrivateAsterisk(tmp_path)
    server.start()
    try:
        async with running(adapter_for(server)) as ami:
            server.freeze()
            with pytest.raises(AmiTimedOut):
                await ami.action("Ping", limit_s=0.2)
    finally:
        server.kill()


async def test_a_character_split_over_two_reads_arrives_whole() -> None:
    """panoramisk alone loses it; Asterisk splits where its buffer ends, so the peer here does it always."""

    gone = asyncio.Event()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"Asterisk Call Manager/11.0.0\r\n")
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                action = (await reader.readuntil(b"\r\n\r\n")).decode()
                identity = next(line for line in action.split("\r\n") if line.startswith("ActionID"))
                for byte in f"Response: Success\r\n{identity}\r\nValue: grüße €\r\n\r\n".encode():
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.001)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        async with running(AmiAdapter("127.0.0.1", port, "u", "p")) as ami:
            assert (await ami.action("GetVar", Variable="X"))["Value"] == "grüße €"
        await asyncio.wait_for(gone.wait(), 5)
