"""The real server on a real socket, in front of a real floor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
from pathlib import Path

import msgspec
import pytest

from ari_app.core import messages as m
from ari_app.web.client import ControlClient
from ari_app.web.control import Wish, serve
from ari_app.web.errors import NoAnswer, NotRunning, Refused, SocketUnusable
from ari_app.web.messages import Readiness
from ari_app.web.view import View
from tests.web.conftest import serving
from tests.web.floor import Room


def exchange(path: Path, request: bytes) -> tuple[int, bytes, bytes]:
    """One raw request; (status, head, body)."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(path))
        with contextlib.suppress(BrokenPipeError):  # a refused body may be answered before it is all sent
            sock.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := sock.recv(65536):
                answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head, body


def post(path: Path, target: str, body: bytes) -> tuple[int, bytes, bytes]:
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return exchange(path, head.encode() + body)


def get(path: Path, target: str) -> tuple[int, bytes, bytes]:
    return exchange(path, f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())


async def test_the_view_shows_the_floor_as_it_is(room: Room, path: Path) -> None:
    async with serving(room, path) as client:
        view = await asyncio.to_thread(client.view)
    assert view == room.view()
    sales, support = view.queues
    assert (sales.queue, sales.waiting, sales.talking) == ("sales", 1, 1)
    assert sales.agents == {"talking": 1, "ringing": 1}
    assert sales.today.service_level == 1.0
    assert (support.waiting, view.at_ns - support.oldest_ns) == (1, 7_000_000_000)
    positions = {call.call: (call.state, call.position, call.agent) for call in view.calls}
    assert positions == {
        "e1-1": ("talking", 0, "alice"),
        "e1-2": ("offered", 1, "bob"),
        "e1-3": ("waiting", 1, ""),
        "e1-4": ("ivr", 0, ""),
    }
    offers = [h.text for h in view.happenings if h.text.startswith("offered to alice")]
    assert "longest idle of 2 free agents (alice 1 m 30 s, bob 1 m 0 s)" in offers[0]


async def test_one_agent_is_told_as_of_this_instant(room: Room, path: Path) -> None:
    async with serving(room, path) as client:
        await asyncio.to_thread(client.view)  # a picture that is kept for a moment
        await asyncio.to_thread(client.act, "bob", "pause", "lunch")
        assert (await asyncio.to_thread(client.agent, "bob")).after == "paused"
        with pytest.raises(Refused, match="no agent is called"):
            await asyncio.to_thread(client.agent, "bobby")


async def test_lists_are_parts_of_the_view(room: Room, path: Path) -> None:
    async with serving(room, path):
        answers = [await asyncio.to_thread(get, path, f"/{part}") for part in ("queues", "calls", "agents")]
    view = msgspec.json.decode(msgspec.json.encode(room.view()))
    assert [msgspec.json.decode(body) for _, _, body in answers] == [
        view["queues"],
        view["calls"],
        view["agents"],
    ]


async def test_a_wish_is_carried_out_before_it_is_answered(room: Room, path: Path) -> None:
    async with serving(room, path) as client:
        done = await asyncio.to_thread(client.act, "carol", "resume")
        later = await asyncio.to_thread(client.act, "alice", "pause", "dentist")
    assert (done.said, done.agent.state) == ("carol is taking calls again: reserved", "reserved")
    assert later.said == "alice is talking and will be paused (dentist) after the present call"
    assert room.floor.state.agents["alice"].after == "paused"
    assert room.floor.state.agents["carol"].call == "e1-3", "the caller who waited was offered at once"


@pytest.mark.parametrize(
    ("agent", "action", "said"),
    [
        ("alice", "sign_in", "alice is signed in already and is talking"),
        ("alice", "resume", "alice is neither paused nor not responding: talking"),
        ("carol", "unlock", "carol's PIN is not locked, and no wrong one was typed"),
        ("dave", "sign-out", "dave is signed out already"),
        ("dave", "pause", "dave is signed out: sign in first (action sign_in)"),
        ("dave", "resume", "dave is signed out: sign in first (action sign_in)"),
        ("erin", "resume", "erin is neither paused nor not responding: already ready"),
    ],
)
async def test_a_wish_that_makes_no_sense_is_refused_in_words(
    room: Room, path: Path, agent: str, action: str, said: str
) -> None:
    agents = dict(room.floor.definition.agents)
    for name in ("dave", "erin"):
        agents[name] = agents["bob"]
    definition = msgspec.structs.replace(room.floor.definition, agents=agents)
    room.given(m.DefinitionGiven(definition, "two more"))
    room.asked("erin", "sign_in")
    before = room.floor.dump()
    async with serving(room, path) as client:
        with pytest.raises(Refused, match=r".") as refused:
            await asyncio.to_thread(client.act, agent, action)
    assert (refused.value.status, refused.value.detail) == (409, said)
    assert room.floor.dump() == before


async def test_an_unknown_agent_is_named_with_the_nearest(room: Room, path: Path) -> None:
    async with serving(room, path) as client:
        with pytest.raises(Refused) as refused:
            await asyncio.to_thread(client.act, "alcie", "pause")
        with pytest.raises(Refused) as action:
            await asyncio.to_thread(client.act, "alice", "paus")
        status, head, body = await asyncio.to_thread(post, path, "/agents/x%1b%5B2J/pause", b"")
    assert (refused.value.status, refused.value.nearest) == (404, ("alice",))
    assert (action.value.status, action.value.nearest) == (404, ("pause",))
    assert status == 404
    assert b"application/problem+json" in head
    assert b"\x1b" not in body
    assert "x\\x1b[2J" in msgspec.json.decode(body)["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"reason": 1}', 400),
        (b'{"reazon": "x"}', 400),
        (b'{"reason": "\\u001b[2J"}', 400),
        (b'{"reason": "' + b"x" * 61 + b'"}', 400),
        (b'{"reason": "\xff"}', 400),
        (b"x" * 5000, 413),
    ],
)
async def test_a_bad_body_is_refused_and_changes_nothing(
    room: Room, path: Path, body: bytes, status: int
) -> None:
    before = room.floor.dump()
    async with serving(room, path):
        answer = await asyncio.to_thread(post, path, "/agents/alice/pause", body)
    assert answer[0] == status, answer
    assert msgspec.json.decode(answer[2])["status"] == status
    assert room.floor.dump() == before


async def test_unknown_routes_and_bad_queries_are_problems_too(room: Room, path: Path) -> None:
    async with serving(room, path):
        missing = await asyncio.to_thread(get, path, "/nowhere")
        query = await asyncio.to_thread(get, path, "/view?since=never")
        method = await asyncio.to_thread(post, path, "/view", b"")
        alive = await asyncio.to_thread(get, path, "/healthz")
    assert [answer[0] for answer in (missing, query, method, alive)] == [404, 400, 405, 200]
    assert all(b"application/problem+json" in answer[1] for answer in (missing, query, method))
    assert msgspec.json.decode(alive[2]) == {"alive": True}


async def test_not_ready_is_503_and_still_told(room: Room, path: Path) -> None:
    room.ready = lambda: Readiness(recovered=True, ari=False, ami=True, journal_seq=3)  # type: ignore[method-assign]
    async with serving(room, path) as client:
        status, _, _ = await asyncio.to_thread(get, path, "/readyz")
        told = await asyncio.to_thread(client.ready)
    assert status == 503
    assert (told.ready(), told.recovered, told.ari, told.journal_seq) == (False, True, False, 3)


async def test_news_come_within_a_second_and_only_if_there_are_any(room: Room, path: Path) -> None:
    async with serving(room, path) as client:
        stamp = room.view().stamp
        assert await asyncio.to_thread(client.news, stamp) is None
        asking = asyncio.create_task(asyncio.to_thread(client.news, stamp))
        await asyncio.sleep(0.2)
        room.asked("carol", "resume")
        news = await asking
    assert isinstance(news, View)
    assert news.stamp > stamp


async def test_only_the_owner_may_use_the_socket(room: Room, path: Path) -> None:
    async with serving(room, path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert path.name not in os.listdir(path.parent), "removed at the end"


async def test_a_stale_socket_is_replaced_and_a_live_one_is_not(room: Room, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serving(room, path) as client:
        with pytest.raises(SocketUnusable, match="another Cordboard answers there"):
            await serve(room, path)
        assert (await asyncio.to_thread(client.view)).node == "node", "the first one goes on"


async def test_a_file_in_the_way_is_left_alone(room: Room, path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(SocketUnusable, match="is no socket"):
        await serve(room, path)
    assert stat.S_ISFIFO(os.stat(path).st_mode)


async def test_a_path_too_long_for_a_socket_is_explained(room: Room, tmp_path: Path) -> None:
    with pytest.raises(SocketUnusable, match="107 bytes at most"):
        await serve(room, tmp_path / ("x" * 120))


async def test_readers_who_leave_early_disturb_nobody(room: Room, path: Path) -> None:
    async with serving(room, path) as client:
        for request in (b"", b"GET /view", b"GET /view?since=0 HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00\xff\n\n"):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
                sock.sendall(request)
        assert (await asyncio.to_thread(client.view)).stamp == room.view().stamp


async def test_the_end_does_not_wait_for_slow_readers(room: Room, path: Path) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as idle:
        async with serving(room, path):
            idle.connect(str(path))
            idle.sendall(b"GET /vi")
            await asyncio.sleep(0.1)
            ending_s = loop.time()
        assert loop.time() - ending_s < 3


async def test_signals_stay_with_the_owner_of_the_loop(room: Room, path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with serving(room, path):
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_a_failing_desk_is_a_problem_and_not_the_end(room: Room, path: Path) -> None:
    async def broken(item: Wish) -> None:
        raise RuntimeError("secret detail")

    room.ask = broken  # type: ignore[method-assign]
    async with serving(room, path) as client:
        with pytest.raises(Refused) as refused:
            await asyncio.to_thread(client.act, "carol", "resume")
        assert (await asyncio.to_thread(client.view)).node == "node"
    assert refused.value.status == 500
    assert "secret" not in str(refused.value)


def test_nobody_there_is_said_with_the_remedy(path: Path) -> None:
    with pytest.raises(NotRunning, match=r"is it running\? \(\./scripts/up\)"):
        ControlClient(path).view()


def test_somebody_else_there_is_said(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        mute.listen()
        with pytest.raises(NoAnswer, match=r"within 0\.2 s"):
            ControlClient(path, timeout_s=0.2).view()
