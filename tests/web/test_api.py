"""The HTTP API on a real port: who may do what, and what is said to whom."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ari_app.core.messages import CallEnded
from ari_app.web import api, openapi, stream
from ari_app.web.gate import BURST
from ari_app.web.http import AddressWrong, parse_address
from tests.web.outside import OpenRoom, Outside, busy, open_to, strings

ROLES = ("reader", "agent", "supervisor", "admin")
PERSONAL = ("+4930123", "Ann Archer", "4711", "+4930456", "Ben")


@pytest.fixture
def room() -> OpenRoom:
    room = OpenRoom()
    busy(room)
    return room


@pytest.fixture
async def outside(room: OpenRoom, tmp_path: Path) -> AsyncIterator[Outside]:
    async with open_to(room, tmp_path) as outside:
        yield outside


# ---------------------------------------------------------------- reading


async def test_queues_calls_and_agents_as_they_are(outside: Outside) -> None:
    queues = (await outside.asks("reader", "/queues")).json()
    assert queues["matching"] is True
    sales = queues["queues"][0]
    assert (sales["id"], sales["waiting"], sales["talking"], sales["longest_wait_s"]) == ("sales", 1, 1, 9.0)
    assert (sales["today"]["offered"], sales["today"]["service_level"]) == (2, 1.0)
    calls = (await outside.asks("reader", "/calls")).json()["calls"]
    assert {c["id"]: (c["state"], c["position"], c["agent"]) for c in calls} == {
        "e1-1": ("talking", None, "alice"),
        "e1-2": ("offered", 1, "bob"),
        "e1-3": ("waiting", 1, None),
        "e1-4": ("ivr", None, None),
    }
    carol = (await outside.asks("reader", "/agents/carol")).json()
    assert (carol["state"], carol["reason"], carol["next_state"]) == ("paused", "lunch", None)
    assert re.fullmatch(r"2026-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", carol["since"])


async def test_only_supervisors_and_admins_see_who_calls(outside: Outside) -> None:
    for role in ROLES:
        seen = set()
        for target in ("/calls", "/calls/e1-1", "/calls/e1-2", "/agents", "/queues"):
            seen |= set(strings((await outside.asks(role, target)).json()))
        assert bool(seen & set(PERSONAL)) == (role in ("supervisor", "admin")), role
    ann = (await outside.asks("supervisor", "/calls/e1-1")).json()["caller"]
    assert ann == {"number": "+4930123", "name": "Ann Archer", "attributes": {"customer": "4711"}}


async def test_an_agents_token_sees_that_agent_alone(outside: Outside) -> None:
    agents = (await outside.asks("agent", "/agents")).json()["agents"]
    calls = (await outside.asks("agent", "/calls")).json()["calls"]
    assert ([a["id"] for a in agents], [c["id"] for c in calls]) == (["bob"], ["e1-2"])
    for target, status in (
        ("/agents/alice", 403),
        ("/agents/nobody", 403),
        ("/calls/e1-1", 404),
        ("/metrics", 403),
    ):
        assert (await outside.asks("agent", target)).status == status, target


async def test_a_picture_that_changed_is_said_anew(room: OpenRoom, outside: Outside) -> None:
    before = (await outside.asks("reader", "/agents/carol")).json()["state"]
    room.asked("carol", "sign_out")
    await asyncio.sleep(0.3)
    listed = (await outside.asks("reader", "/agents")).json()["agents"]
    assert (before, {a["id"]: a["state"] for a in listed}["carol"]) == ("paused", "signed_out")


# ---------------------------------------------------------------- who is asking


@pytest.mark.parametrize("target", ["/queues", "/calls", "/calls/e1-1", "/agents", "/events", "/metrics"])
async def test_without_a_good_token_there_is_no_answer(outside: Outside, target: str) -> None:
    for given in ("", "cb_" + "x" * 43, "nonsense", "cb_"):
        answer = await outside.asks(given, target)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"
    for scheme in ("Basic", "Token", ""):
        header = f"{scheme} {outside.tokens['admin']}".strip()
        assert (await outside.asks("", target, Authorization=header)).status == 401


async def test_a_revoked_token_is_refused_within_a_second(outside: Outside) -> None:
    assert (await outside.asks("admin", "/queues")).status == 200
    outside.book.revoke("admin")
    await asyncio.sleep(1.1)
    assert (await outside.asks("admin", "/queues")).status == 401
    assert (await outside.asks("reader", "/queues")).status == 200, "the others are good"


async def test_tokens_that_cannot_be_read_let_nobody_in(outside: Outside) -> None:
    os.chmod(outside.book.path, 0o644)
    outside.book.path.touch()
    os.utime(outside.book.path, ns=(1, 1))
    await asyncio.sleep(1.1)
    answers = [(await outside.asks("admin", "/queues")).status for _ in range(2)]
    assert answers == [503, 401]


async def test_too_many_requests_are_told_when_to_come_back(outside: Outside) -> None:
    answers = [await outside.asks("reader", "/agents/bob") for _ in range(2 * BURST)]
    refused = [a for a in answers if a.status == 429]
    assert refused
    assert int(refused[0].headers["retry-after"]) >= 1
    assert (await outside.asks("admin", "/queues")).status == 200, "others have a rate of their own"


# ---------------------------------------------------------------- acting


async def test_roles_may_do_what_they_may_do(room: OpenRoom, outside: Outside) -> None:
    before = room.floor.dump()
    for role, target in (
        ("reader", "/agents/carol/resume"),
        ("agent", "/agents/carol/resume"),
        ("agent", "/agents/bob/unlock"),
        ("supervisor", "/agents/carol/unlock"),
        ("reader", "/calls/e1-1/hang_up"),
        ("agent", "/calls/e1-2/hang_up"),
    ):
        assert (await outside.asks(role, target, "POST")).status == 403, (role, target)
    assert room.floor.dump() == before
    paused = await outside.asks("agent", "/agents/bob/pause", "POST", b'{"reason": "tea"}')
    assert (paused.status, paused.json()["agent"]["next_state"]) == (200, "paused")
    for action in ("done", "wrap_up"):  # as *15 and *16 on the agent's phone: if refused, not for the role
        assert (await outside.asks("agent", f"/agents/bob/{action}", "POST")).status in (200, 409), action
    resumed = await outside.asks("supervisor", "/agents/carol/resume", "POST")
    assert resumed.json()["said"] == "carol is taking calls again: reserved"
    by = [msgspec.json.decode(r.body)["by"] for r in room.rows if r.kind in ("AgentPaused", "AgentResumed")]
    assert by[-2:] == ["api:agent", "api:supervisor"]


async def test_a_call_is_hung_up(room: OpenRoom, outside: Outside) -> None:
    answer = await outside.asks("supervisor", "/calls/e1-1/hang_up", "POST")
    assert (answer.status, answer.json()["call"]) == (200, "e1-1")
    (ended,) = [msgspec.json.decode(r.body, type=CallEnded) for r in room.rows if r.kind == "CallEnded"]
    assert (ended.call, ended.by, ended.outcome) == ("e1-1", "system", "answered")
    again = await outside.asks("supervisor", "/calls/e1-1/hang_up", "POST")
    assert (again.status, again.json()["title"]) == (404, "no such call")


@pytest.mark.parametrize(
    ("target", "body", "status"),
    [
        ("/agents/carol/resume", b"{", 400),
        ("/agents/carol/resume", b'{"by": "me"}', 400),
        ("/agents/carol/resume", b'{"reason": "' + b"x" * 61 + b'"}', 400),
        ("/agents/carol/resume", b"x" * 5000, 413),
        ("/agents/carl/resume", b"", 404),
        ("/agents/carol/resum", b"", 404),
        ("/agents/alice/sign_in", b"", 409),
        ("/nowhere", b"", 404),
        ("/queues", b"", 405),
    ],
)
async def test_errors_are_problems_and_change_nothing(
    room: OpenRoom, outside: Outside, target: str, body: bytes, status: int
) -> None:
    before = room.floor.dump()
    answer = await outside.asks("admin", target, "POST", body)
    assert (answer.status, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert room.floor.dump() == before


# ---------------------------------------------------------------- events


async def test_events_from_the_beginning_and_then_live(room: OpenRoom, outside: Outside) -> None:
    async with outside.listens("reader", "/events?after=0") as ear:
        assert b"text/event-stream" in ear.head
        for row in list(room.rows):
            heard = await ear.hears()
            assert (int(heard["id"]), heard["event"]) == (row.seq, row.kind)
        room.asked("carol", "resume")
        live = await ear.hears()
        assert (live["event"], live["data"]["agent"]) == ("AgentResumed", "carol")
        assert live["data"]["body"]["by"] == "test"


async def test_a_stream_resumes_where_it_was(room: OpenRoom, outside: Outside) -> None:
    last = len(room.rows) - 3
    async with outside.listens("reader", "/events?after=0", Last_Event_ID=str(last)) as ear:
        assert [int((await ear.hears())["id"]) for _ in range(3)] == [last + 1, last + 2, last + 3]


async def test_without_a_number_a_stream_begins_now(room: OpenRoom, outside: Outside) -> None:
    async with outside.listens("reader") as ear:
        await asyncio.sleep(0.3)
        room.asked("carol", "sign_out")
        assert (await ear.hears())["event"] == "AgentSignedOut"


async def test_pruned_events_are_a_gap_and_unknown_ones_a_reset(room: OpenRoom, outside: Outside) -> None:
    room.pruned = 5
    async with outside.listens("reader", "/events?after=2") as ear:
        gap = await ear.hears()
        assert (gap["event"], gap["data"]["after"]) == ("gap", 5)
        assert "events 3 to 5" in gap["data"]["detail"]
        assert int((await ear.hears())["id"]) == 6
    async with outside.listens("reader", "/events?after=999999") as ear:
        reset = await ear.hears()
        assert (reset["event"], int(reset["id"])) == ("reset", len(room.rows))


async def test_an_agents_stream_is_about_that_agent(room: OpenRoom, outside: Outside) -> None:
    mine = [row.seq for row in room.rows if row.agent == "bob"]
    async with outside.listens("agent", "/events?after=0") as ear:
        assert [int((await ear.hears())["id"]) for _ in mine] == mine


async def test_no_event_tells_who_calls(room: OpenRoom, outside: Outside) -> None:
    async with outside.listens("admin", "/events?after=0") as ear:
        for _ in room.rows:
            assert not set(strings((await ear.hears())["data"])) & set(PERSONAL)


async def test_a_token_revoked_meanwhile_ends_its_stream(
    room: OpenRoom, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BEAT_S", 0.3)
    async with outside.listens("admin") as ear:
        outside.book.revoke("admin")
        last = await ear.hears()
        assert (last["event"], "revoked" in last["data"]["detail"]) == ("dropped", True)
        with pytest.raises(EOFError):
            await ear.hears()


async def test_a_client_that_falls_behind_is_told_and_dropped(
    room: OpenRoom, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SLOW_EVENTS", 300)
    async with outside.listens("reader") as ear:
        for _ in range(30_000):  # more than the kernel's and the server's buffers hold
            room.rows.append(msgspec.structs.replace(room.rows[-1], seq=len(room.rows) + 1))
        for _ in range(40):
            await asyncio.sleep(0.05)
            room.rows.append(msgspec.structs.replace(room.rows[-1], seq=len(room.rows) + 1))
        kinds: list[str] = []
        while not kinds or kinds[-1] != "dropped":
            kinds.append((await ear.hears())["event"])
    assert len(kinds) < 30_000


async def test_a_client_that_takes_nothing_is_dropped_when_it_wakes_up(
    room: OpenRoom, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SLOW_S", 0.3)
    for _ in range(60_000):  # some 15 MB: more than the kernel and the server hold for one client
        room.rows.append(msgspec.structs.replace(room.rows[-1], seq=len(room.rows) + 1))
    async with outside.listens("reader", "/events?after=0") as ear:
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        assert (await outside.asks("admin", "/queues")).status == 200
        assert asyncio.get_running_loop().time() - began < 0.5, "nobody else waits for it"
        heard = await ear.hears()
        while heard["event"] != "dropped":
            heard = await ear.hears()
    assert "too slow" in heard["data"]["detail"]
    assert heard["data"]["after"] < len(room.rows)


async def test_streams_are_counted_and_given_back(outside: Outside) -> None:
    ears = [outside.listens("reader") for _ in range(stream.CLIENTS_A_TOKEN + 1)]
    opened = [await ear.__aenter__() for ear in ears]
    assert [e.status for e in opened] == [200] * stream.CLIENTS_A_TOKEN + [429]
    for ear in ears:
        await ear.__aexit__(None, None, None)
    await asyncio.sleep(0.5)
    async with outside.listens("reader") as again:
        assert again.status == 200


# ---------------------------------------------------------------- figures


async def test_metrics_count_what_happens(room: OpenRoom, outside: Outside) -> None:
    room.caller()
    room.given_hang_up("chan-2")
    room.passes(1)
    await asyncio.sleep(0.3)
    text = (await outside.asks("reader", "/metrics")).body.decode()
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["cordboard_calls_total", "abandoned", "sales"] == 1
    assert found["cordboard_queued_calls_total", "sales"] == 1
    assert found["cordboard_agents", "talking"] == 1
    assert found["cordboard_waiting_calls", "help"] == 1
    assert found["cordboard_ready",] == 1
    assert found["cordboard_ari_round_trip_seconds", "events"] == 0.0004
    assert found["cordboard_journal_commit_seconds_count",] == 1
    assert found["cordboard_loop_lag_seconds_count",] >= 1
    assert not any(personal in text for personal in PERSONAL)
    assert "alice" not in text


# ---------------------------------------------------------------- the description


async def test_every_route_is_described_and_no_other(
    room: OpenRoom, outside: Outside, tmp_path: Path
) -> None:
    served = {
        (re.sub(r":str\}", "}", route.path), method.lower())
        for route in api.Api(room, tmp_path).app().routes
        for method in route.methods
        if method != "OPTIONS" and not route.path.startswith("/wallboard")  # a page and what it alone uses
    }
    document = openapi.document()
    described = {
        (path, method)
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert served == described
    assert (await outside.asks("", "/openapi.json")).json() == json.loads(msgspec.json.encode(document))


async def test_schemathesis_finds_nothing(outside: Outside, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis")
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"http://127.0.0.1:{outside.port}/openapi.json",
        "--header",
        f"Authorization: Bearer {outside.tokens['admin']}",
        "--exclude-path",
        "/events",
        "--max-examples",
        "15",
        "--seed",
        "1",
        "--rate-limit",
        "18/s",
        "--no-color",
    ]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, cwd=tmp_path, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout, "every operation but /events was tried"


@pytest.mark.parametrize("text", ["8090", "127.0.0.1", "127.0.0.1:99999", "a b:1", "::1:80", "x:"])
def test_an_address_that_is_none_is_explained(text: str) -> None:
    with pytest.raises(AddressWrong, match=r"write HOST:PORT, such as"):
        parse_address(text, "--http")
