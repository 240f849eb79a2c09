"""What a person sees: the frame at two widths, hostile names, and a real terminal left clean."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from rich.cells import cell_len

from ari_app.cli import agents, output, watch
from ari_app.core import messages as m
from ari_app.web.errors import NotRunning
from ari_app.web.view import CallView, View
from tests.web.conftest import serving
from tests.web.floor import Room

HOSTILE = [
    "[bold red]ROOT[/bold red][link=http://x]",
    "\x1b]0;owned\x07\x1b[2J\x1b[31mred",
    "line\r\none\ntwo\u2028three\x85",
    "\u202eesrever\u200b\u2066",
    "=cmd|' /C calc'!A0",
    "\udcff\udcfe\x00\x9b2J",
    "N" * 4096,
    "漢字" * 200,
]


def shown(view: View, columns: int) -> str:
    return output.as_text(watch.frame(view, view.at_ns, watch.Size(columns)), columns)


@pytest.mark.parametrize("columns", [80, 120])
async def test_once_prints_one_frame_that_fits(
    room: Room, path: Path, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = io.StringIO()
    async with serving(room, path):
        await asyncio.to_thread(watch.watch, path, once=True, out=out)
    text = out.getvalue()
    assert "\x1b" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= columns
    assert "Example Ltd  20:28:24 UTC   2 waiting   1 talking   3 of 3 agents signed in" in text
    assert re.search(r"^sales +1 +9 s +1 +0 .*2 +1 +0 +100%", text, re.M), text
    assert re.search(r"^e1-2 +Ben \+4930456 .*rings at +sales +1 +9 s +bob", text, re.M)
    assert re.search(r"^e1-3 +withheld .*waiting +help +1 +7 s", text, re.M)
    assert re.search(r"^carol .*paused +14 s +lunch", text, re.M)
    flat = " ".join(text.split())
    assert "longest idle of 2 free agents (alice 1 m 30 s, bob 1 m 0 s)" in flat
    assert "the only free agent (idle 1 m 5 s); not eligible: 1 talking" in flat
    assert ("Alice Adams" in text) == (columns == 120)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("columns", [80, 120])
async def test_hostile_names_are_shown_and_harmless(room: Room, path: Path, name: str, columns: int) -> None:
    plain = shown(room.view(), columns).splitlines()
    call = room.floor.state.calls["e1-1"].id
    room.people[call] = msgspec.structs.replace(room.people[call], name=name, number=name)
    async with serving(room, path) as client:
        view = await asyncio.to_thread(client.view)
    lines = shown(view, columns).splitlines()
    assert len(lines) == len(plain)
    assert max(cell_len(line) for line in lines) <= columns
    assert all(char.isprintable() for line in lines for char in line)
    talking = next(line for line in lines if line.startswith("e1-1 "))
    assert "talking" in talking
    start = "".join(char for char in name[:5] if " " <= char <= "~")
    assert start[:1] in talking


def test_markup_in_a_name_or_reason_is_only_text(room: Room) -> None:
    room.people["e1-1"] = msgspec.structs.replace(room.people["e1-1"], name="[red]x[/red]", number="")
    room.asked("alice", "pause", "[bold]break[/bold]")
    text = shown(room.view(), 120)
    assert "[red]x[/red]" in text
    assert "then paused ([bold]break[/bold])" in text
    assert "[bold]break[/bold]" in agents.agents_table(room.view(), width=120)


def test_names_give_way_and_what_commands_take_stays_whole(room: Room) -> None:
    text = agents.agents_table(room.view(), width=72)
    assert max(cell_len(line) for line in text.splitlines()) <= 72
    for agent in room.view().agents:
        assert re.search(rf"^{agent.agent} ", text, re.M)


def test_a_small_terminal_gets_something_of_everything(room: Room) -> None:
    for _ in range(40):
        room.caller()
    view = room.view()
    text = output.as_text(watch.frame(view, view.at_ns, watch.Size(80, 40)), 80)
    for title in ("Queues", "Calls", "Agents", "What just happened"):
        assert f"\n{title}\n" in text
    assert re.search(r"… and \d+ more", text)
    assert len(text[: text.index("What just")].splitlines()) < 40


def test_waits_count_on_between_two_pictures(room: Room) -> None:
    view = room.view()
    text = output.as_text(watch.frame(view, view.at_ns + 60_000_000_000, watch.Size(80)), 80)
    assert re.search(r"^e1-3 +withheld +waiting +help +1 +1 m 7 s", text, re.M)


def test_held_offers_are_said_loudly(room: Room) -> None:
    room.given(m.EngineStarted("e2", "node", "boot", 0, "0.1"))
    assert "No calls are offered now" in shown(room.view(), 80)


def test_an_empty_floor_is_a_frame_too() -> None:
    view = Room().view()
    empty = msgspec.structs.replace(view, queues=(), agents=(), happenings=())
    assert "Calls  none" in shown(empty, 80)
    assert "nothing yet" in shown(empty, 80)


def test_every_field_of_a_call_survives_the_wire(room: Room) -> None:
    calls = room.view().calls
    assert msgspec.json.decode(msgspec.json.encode(calls), type=tuple[CallView, ...]) == calls


def test_nobody_there_ends_once_with_the_remedy(path: Path) -> None:
    with pytest.raises(NotRunning, match=r"\./scripts/up"):
        watch.watch(path, once=True, out=io.StringIO())


def test_agents_as_csv_and_json(room: Room) -> None:
    room.asked("carol", "resume")
    room.asked("carol", "pause", "=1+1")
    lines = agents.agents_table(room.view(), "csv").split("\r\n")
    assert lines[0].startswith("agent,name,state,since")
    assert lines[1].startswith("alice,Alice Adams,talking,2026-05-28T20:28:10.000Z,,e1-1,ready,sales help,0")
    assert msgspec.json.decode(agents.agents_table(room.view(), "json"))[0]["agent"] == "alice"


# ---------------------------------------------------------------- a real terminal


class Terminal:
    """``watch`` in a process of its own, on a pseudo-terminal."""

    def __init__(self, path: Path) -> None:
        self.fd, child = pty.openpty()
        code = "import sys, pathlib; from ari_app.cli.watch import watch; watch(pathlib.Path(sys.argv[1]))"
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            stdin=child,
            stdout=child,
            stderr=child,
            env=environment,
            start_new_session=True,
        )
        os.close(child)
        self.seen = ""

    def until(self, text: str, seconds: float = 15) -> None:
        end = time.monotonic() + seconds
        while text not in self.seen:
            if time.monotonic() > end or not self._read():
                raise AssertionError(f"{text!r} not in {self.seen[-2000:]!r}")

    def _read(self) -> bool:
        if not select.select([self.fd], [], [], 0.5)[0]:
            return self.process.poll() is None
        try:
            self.seen += os.read(self.fd, 65536).decode(errors="replace")
        except OSError:
            return False  # Linux answers EIO once the other side is closed
        return True

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        while self._read():
            pass
        return self.process.wait(10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        os.close(self.fd)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_terminal_is_left_as_it_was(room: Room, path: Path, number: signal.Signals) -> None:
    async with serving(room, path):
        with contextlib.closing(Terminal(path)) as terminal:
            await asyncio.to_thread(terminal.until, "Ann Archer")
            status = await asyncio.to_thread(terminal.end, number)
    assert status == 0
    assert "Traceback" not in terminal.seen
    assert terminal.seen.rindex("\x1b[?1049l") > terminal.seen.rindex("\x1b[?1049h"), "alternate screen left"
    assert terminal.seen.rindex("\x1b[?25h") > terminal.seen.rindex("\x1b[?25l"), "cursor shown"


async def test_watch_says_when_cordboard_is_gone_and_finds_it_again(room: Room, path: Path) -> None:
    with contextlib.closing(Terminal(path)) as terminal:
        await asyncio.to_thread(terminal.until, "does not answer at")
        async with serving(room, path):
            await asyncio.to_thread(terminal.until, "Ann Archer")
        terminal.seen = ""
        await asyncio.to_thread(terminal.until, "last seen")
        assert await asyncio.to_thread(terminal.end, signal.SIGINT) == 0
