"""The HTTP API and AGI of a Cordboard that runs, on a real Asterisk with PostgreSQL."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ari_app.deploy import stack as stacks
from ari_app.deploy.console import Progress
from ari_app.deploy.ports import free_port
from ari_app.deploy.stack import Stack, StackOptions
from ari_app.web.tokens import TokenBook
from tests.asterisk.harness.programs import asterisk_program
from tests.web.page import opened

EXAMPLE = Path(__file__).parents[2] / "ari_app" / "deploy" / "example"


class Centre:
    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        book = TokenBook(stack.state_dir)
        self.tokens = {role: book.add(role, role) for role in ("reader", "supervisor")}

    def asks(self, target: str, method: str = "GET", role: str = "supervisor") -> tuple[int, bytes]:
        port = self.stack.options.api_port
        assert port
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request(method, target, headers={"Authorization": f"Bearer {self.tokens[role]}"})
            response = connection.getresponse()
            return response.status, response.read()

    def calls(self, role: str = "supervisor") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.asks("/calls", role=role)[1])["calls"]
        return found

    def rx(self, command: str) -> str:
        assert self.stack.asterisk is not None
        return self.stack.asterisk.rx(command)

    def agi(self, url: str, channel: str) -> str:
        """What our server sends to a channel of this Asterisk."""
        port = self.stack.options.agi_port
        assert port
        with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("rwb") as file:
            sock.settimeout(5)
            file.write(f"agi_request: {url}\nagi_uniqueid: {channel}\n\n".encode())
            file.flush()
            said = ""
            while line := file.readline():
                said += line.decode()
                file.write(b"200 result=1\n")
                file.flush()
            return said


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    options = StackOptions(
        definition=EXAMPLE,
        state_dir=tmp_path_factory.mktemp("api") / "s",
        sip_bind="127.0.0.1",
        sip_port=free_port("udp"),
        http_port=free_port(),
        ami_port=free_port(),
        api_port=free_port(),
        agi_port=free_port(),
        durable=False,
    )
    stack = Stack(options, Progress(io.StringIO()))
    program = asterisk_program()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks, "find_asterisk", lambda *_: program)
        stack.start()
    try:
        centre = Centre(stack)
        eventually(lambda: centre.asks("/readyz")[0] == 200)
        centre.rx("module load res_clioriginate.so")
        yield centre
    finally:
        stack.stop()
        if stack.postgres is not None:
            stack.postgres.remove()


def eventually(holds: Callable[[], object], limit_s: float = 15) -> None:
    end = time.monotonic() + limit_s
    while True:
        try:
            if holds():
                return
        except ConnectionError:
            pass  # not up yet
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_call_is_seen_given_attributes_counted_and_hung_up(centre: Centre) -> None:
    centre.rx("channel originate Local/100@cordboard-callers application Wait 30")
    eventually(lambda: len(centre.calls()) == 1)
    channel = re.findall(r"\d+\.\d+$", centre.rx("core show channels concise"), re.M)
    for found in channel:
        assert 'CORDBOARD_STATUS "OK"' in centre.agi("agi://h/attach?customer=4711", found)
    eventually(lambda: centre.calls()[0]["caller"]["attributes"] == {"customer": "4711"})
    (shown,) = centre.calls(role="reader")
    assert shown["caller"] is None
    assert centre.asks(f"/calls/{shown['id']}/hang_up", "POST")[0] == 200
    eventually(lambda: not centre.calls())
    eventually(lambda: "0 active channels" in centre.rx("core show channels"))
    metrics = centre.asks("/metrics", role="reader")[1].decode()
    assert 'cordboard_calls_total{outcome="system",queue=""} 1.0' in metrics
    assert re.search(r'cordboard_ari_round_trip_seconds\{socket="commands"\} 0\.0', metrics)
    assert not re.search(r"cordboard_journal_commit_seconds_count 0", metrics)
    log = (centre.stack.state_dir / "cordboard.log").read_text()
    assert "4711" not in log


def test_the_stream_replays_the_journal(centre: Centre) -> None:
    port = centre.stack.options.api_port
    assert port
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(10)
        token = centre.tokens["reader"]
        sock.sendall(
            f"GET /events?after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        text = b""
        while b"event: MatchingBegan" not in text:
            text += sock.recv(65536)
    ids = [int(found) for found in re.findall(rb"^id: (\d+)$", text, re.M)]
    assert ids == list(range(1, len(ids) + 1))
    assert b"event: DefinitionLoaded" in text
    assert b"Brown" not in text, "a definition's names stay where they are"


def test_a_dialplan_is_answered(centre: Centre) -> None:
    queue = json.loads(centre.asks("/queues")[1])["queues"][0]["id"]
    said = centre.agi(f"agi://h/queue-status?queue={queue}", "1.1")
    assert 'CORDBOARD_WAITING "0"' in said
    assert 'CORDBOARD_OPEN "0"' in said, "nobody is signed in"
    agent = json.loads(centre.asks("/agents")[1])["agents"][0]["id"]
    assert centre.asks(f"/agents/{agent}/sign_in", "POST")[0] == 200
    said = centre.agi(f"agi://h/agent-state?agent={agent}", "1.1")
    assert 'CORDBOARD_AGENT_STATE "unreachable"' in said, "no phone is registered here"
    assert 'CORDBOARD_STATUS "ERROR"' in centre.agi("agi://h/queue-status?queue=no", "1.1")


async def test_the_wallboard_shows_what_happens(centre: Centre, tmp_path: Path) -> None:
    agent = json.loads(centre.asks("/agents")[1])["agents"][-1]
    async with opened(tmp_path / "browser") as page:
        await page.goes_to(f"http://127.0.0.1:{centre.stack.options.api_port}/wallboard")
        await page.becomes("document.activeElement?.id === 'token'", 20)
        await page.types(centre.tokens["reader"])
        await page.becomes("document.querySelector('#queues tbody tr')")
        assert (await asyncio.to_thread(centre.asks, f"/agents/{agent['id']}/sign_in", "POST"))[0] == 200
        agents = "document.querySelector('#agents')"  # who is signed out is not named
        await page.becomes(f"{agents}.innerText.includes({json.dumps(agent['name'])})", 1)
        said = f"{agent['id']} signed in"
        await page.becomes(f"document.querySelector('#happenings').innerText.includes('{said}')", 1)
        assert not page.complaints
