"""The real thing on trial: PostgreSQL, Asterisk, Cordboard behind a wire that can be spoilt, and phones.

Everything of :class:`tests.asterisk.centre.Centre` is there (ledger, live view, Asterisk's own answers); a
:class:`World` adds what faults need: lives and deaths of each part, and the times at which something was
broken, so that the checker knows when a part could not have known better.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import io
import math
import os
import random
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from ari_app.deploy import stack as stacks
from ari_app.deploy.child import Child
from ari_app.deploy.console import Progress
from ari_app.deploy.ports import free_port
from ari_app.deploy.postgres import PostgresServer
from ari_app.deploy.stack import Stack, StackOptions
from ari_app.store.journal import Journal
from ari_app.web.errors import NoAnswer, NotRunning
from tests.asterisk.centre import HOST, Centre, Plan
from tests.asterisk.harness import PhoneRoom
from tests.asterisk.harness.programs import RUNTIME, asterisk_program
from tests.crash.proxy import Proxy

from .probe import Options, resident_mb
from .wire import Wire

MUSIC_HZ = 450
"""Waiting music is one tone, a multiple of 50 Hz that no phone speaks: cheap to judge, and easy to tell."""
AGENTS = tuple(f"agent{n}" for n in range(6))
DYING_NS = 100_000_000
WATCH_S, STALL_NS = 0.02, 60_000_000
HINDSIGHT_S = 1.5
"""After a fault is over, so much may pass until the books agree with the phones again."""


@dataclass(frozen=True)
class Outage:
    """Something was broken from ``began_ns`` to ``over_ns`` (CLOCK_MONOTONIC): ``deaf`` = Cordboard could
    not hear or decide; ``silent`` = Asterisk could not send sound; ``fatal`` = Asterisk's calls were lost."""

    fault: str
    began_ns: int
    over_ns: int
    deaf: bool = True
    silent: bool = False
    fatal: bool = False

    def covers(self, at_ns: int, after_s: float = HINDSIGHT_S) -> bool:
        return self.began_ns - 300_000_000 <= at_ns <= self.over_ns + round(after_s * 1e9)


class Site(Plan):
    """The definition of this trial."""

    def toml(self) -> str:
        parts = [Path(__file__).with_name("centre.toml").read_text()]
        for agent in AGENTS:
            parts.append(
                f'[agents.{agent}]\nname = "{agent}"\nphone = "{agent}"\nqueues = ["sales", "support"]'
            )
            parts.append(f'[phones.{agent}]\nrole = "agent"')
        return "\n".join(parts)


class World:
    """One running trial. Made by :func:`world`."""

    def __init__(self, centre: Centre, wire: Wire, road: Proxy, seed: int) -> None:
        self.centre, self.wire, self.road, self.seed = centre, wire, road, seed
        self.stack = centre.stack
        self.dice = random.Random(seed)
        self.outages: list[Outage] = []
        self.tamper = ""
        self.rss_mb = 0.0
        self.turn = 0
        self.crowd: list[str] = []
        """Numbers of those who only wait: the load does not know them."""
        self.figures: dict[str, object] = {}
        """What a fault has to tell besides the usual."""
        self.stalls: list[tuple[int, int]] = []
        """When this process, and with it the phones and the wire, stood still (CLOCK_MONOTONIC, from, to)."""

    # ------------------------------------------------------------ Cordboard

    @property
    def journal(self) -> Path:
        return self.stack.state_dir / "journal.db"

    @property
    def argument(self) -> Path:
        """The file that a tampered Cordboard is given."""
        return self.stack.state_dir / "clock"

    def database_url(self) -> str:
        """PostgreSQL, by a road that can be made slow."""
        there, ours = f":{self.postgres().port}/", f":{self.road.port}/"
        assert there in self.stack.database_url
        return self.stack.database_url.replace(there, ours)

    def postgres(self) -> PostgresServer:
        assert self.stack.postgres is not None
        return self.stack.postgres

    def matched(self) -> int:
        """When Cordboard last brought itself and Asterisk together, by its journal; 0 = never."""
        try:
            with closing(sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True, timeout=0.5)) as db:
                row = db.execute(
                    "SELECT at_ns FROM events WHERE kind = 'MatchingBegan' ORDER BY seq DESC LIMIT 1"
                ).fetchone()
                return int(row[0]) if row else 0
        except sqlite3.DatabaseError:
            return 0  # not there yet, or being made

    async def start(self, tamper: str = "") -> float:
        """Start Cordboard (again); how long until it offered calls, in seconds."""
        self.tamper = tamper
        words = ["-m", "tests.chaos.tampered", tamper] if tamper else ["-m", "ari_app"]
        words += ["run", "--json-logs", "--definition", str(self.stack.options.definition)]
        words += ["--state-dir", str(self.stack.state_dir), "--ari-url", self.wire.ari_url]
        environment = os.environ | {"DATABASE_URL": self.database_url()}
        log = self.stack.state_dir / "cordboard.log"
        self.stack.cordboard = Child(
            "Cordboard",
            [sys.executable, *words],
            log=log,
            environment=environment,
            cwd=stacks.CLONE,
            die_with_parent=True,
        )
        before, began = self.matched(), time.monotonic()
        self.stack.cordboard.start()
        await self.matches(before)
        return time.monotonic() - began

    async def matches(self, before: int, within_s: float = 15.0) -> None:
        """Wait until it has compared itself with Asterisk since ``before`` (of :meth:`matched`)."""

        async def done() -> bool:
            self.centre.cordboard.check_alive()
            now = self.matched()
            return now != before and now > 0

        async def what() -> str:
            return f"last at {self.matched()}, before {before}: {self.centre.cordboard.last_lines(40)}"

        await self.centre.until(done, "Cordboard matches", within_s, what)

    async def ready(self) -> None:
        """Wait until calls are offered and the control socket answers."""

        async def serves() -> bool:
            try:
                return (await asyncio.to_thread(self.centre.control.ready)).ready()
            except (NotRunning, NoAnswer):
                self.centre.cordboard.check_alive()
                return False

        await self.centre.until(serves, "Cordboard serves calls", 20)

    def node(self) -> str:
        """The journal's own name: the one that follows a corrupt one bears it, too."""
        with Journal(self.journal, readonly=True) as journal:
            return journal.node

    async def shipped(self, within_s: float) -> None:
        """Wait until PostgreSQL has every row of this journal, and the ledger every event."""
        node = self.node()

        async def caught_up() -> bool:
            try:
                seq = (await asyncio.to_thread(self.centre.control.ready)).journal_seq
                rows = await self.centre.ledger(
                    "SELECT m.seq, m.ordinal = l.ordinal AS folded"
                    " FROM marks m JOIN ledger_marks l USING (node) WHERE node = %s",
                    node,
                )
            except (psycopg.OperationalError, NotRunning, NoAnswer):
                return False  # one of the two is being started again
            return [(row["seq"], row["folded"]) for row in rows] == [(seq, True)]

        await self.centre.until(caught_up, "all rows are in PostgreSQL", within_s)

    async def stop(self) -> None:
        cordboard = self.stack.cordboard
        if cordboard is not None:
            await asyncio.to_thread(cordboard.stop, 10)

    async def staff(self) -> None:
        """All agents are signed in."""
        view = await self.centre.view()
        for agent in view.agents:
            if agent.agent in AGENTS and agent.state == "signed_out":
                await self.centre.act(agent.agent, "sign_in")

    # ------------------------------------------------------------ what is broken, and since when

    @contextmanager
    def broken(
        self, fault: str, *, deaf: bool = True, silent: bool = False, fatal: bool = False
    ) -> Iterator[None]:
        """What happens inside may not be known to Cordboard until a little later."""
        at, began_ns = len(self.outages), time.monotonic_ns()
        self.outages.append(Outage(fault, began_ns, 1 << 62, deaf, silent, fatal))
        try:
            yield
        finally:
            self.outages[at] = Outage(fault, began_ns, time.monotonic_ns(), deaf, silent, fatal)

    def dead_at(self, at_ns: int) -> bool:
        """Whether Cordboard's process did not exist then, and nobody could doubt it."""
        return any(
            outage.fault in ("killed", "away", "journal_spoilt")
            and outage.began_ns + DYING_NS < at_ns < outage.over_ns
            for outage in self.outages
        )

    async def watch_stalls(self) -> None:
        """Note them, for ever. On a busy machine the wire delays Cordboard's news by as much."""
        while True:
            before_ns = time.monotonic_ns()
            await asyncio.sleep(WATCH_S)
            now_ns = time.monotonic_ns()
            if now_ns - before_ns > STALL_NS:
                self.stalls.append((before_ns, now_ns))

    def stalled_s(self, from_ns: int, to_ns: int) -> float:
        """How long this process stood still between two instants."""
        return sum(max(0, min(to_ns, over) - max(from_ns, began)) for began, over in self.stalls) / 1e9

    def deaf_at(self, at_ns: int) -> bool:
        return any(outage.deaf and outage.covers(at_ns) for outage in self.outages)

    # ------------------------------------------------------------ the operating system's view

    def asterisk_pid(self) -> int:
        assert self.stack.asterisk is not None
        return self.stack.asterisk.pid

    def memory_mb(self) -> float:
        """What Cordboard and its shipper take at this instant."""
        pid = self.centre.cordboard.pid
        return resident_mb([pid, *descendants(pid)])

    def note_memory(self) -> None:
        """Remember how much memory Cordboard takes with its shipper, if that is more than before."""
        self.rss_mb = max(self.rss_mb, self.memory_mb())

    def options(self, probe: Options) -> None:
        """How SIP was answered meanwhile."""
        took_ms = sorted(probe.took_ms)
        self.figures |= {
            "options": len(took_ms),
            "options_lost": probe.lost,
            "options_p99_ms": round(took_ms[int(0.99 * len(took_ms))], 1) if took_ms else None,
        }

    def limit_files(self, limit_bytes: int) -> None:
        """No file of Cordboard's may be written beyond this (RLIMIT_FSIZE): with 0, as on a full disk."""
        limit = limit_bytes if limit_bytes >= 0 else resource.RLIM_INFINITY
        resource.prlimit(self.centre.cordboard.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def family(self) -> list[int]:
        """The process ids of Cordboard, its shipper, Asterisk and all of PostgreSQL."""
        postgres = self.stack.postgres
        roots = [self.centre.cordboard.pid, self.asterisk_pid()]
        roots += [postgres.pid] if postgres is not None else []
        return [pid for root in roots for pid in (root, *descendants(root))]


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


def send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.kill(pid, number)


def _write_music(path: Path) -> None:
    samples = array.array(
        "h", (round(8_000 * math.sin(2 * math.pi * MUSIC_HZ * n / 8_000 + 0.1)) for n in range(240_000))
    )
    if sys.byteorder == "big":
        samples.byteswap()
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8_000)
        out.writeframes(samples.tobytes())


def _start_stack(folder: Path) -> Stack:
    definition = folder / "definition"
    definition.mkdir()
    (definition / "centre.toml").write_text(Site().toml())
    first_rtp = random.randrange(10_000, 31_000, 1_000)
    options = StackOptions(
        definition=definition,
        state_dir=folder / "s",
        runtime_dir=RUNTIME,
        sip_bind=HOST,
        sip_port=free_port("udp"),
        http_port=free_port(),
        ami_port=free_port(),
        rtp_ports=(first_rtp, first_rtp + 999),
        durable=False,
    )
    stack = Stack(options, Progress(io.StringIO()))
    program = asterisk_program()  # skips the test, with the remedy, if there is none
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks, "find_asterisk", lambda *_: program)
        stack.start(cordboard=False)
    assert stack.asterisk is not None
    assert stack.rendered is not None
    tunes = stack.rendered.etc.parent / "music"
    for tune in list(tunes.iterdir()):
        tune.unlink()
    _write_music(tunes / "tone.wav")
    stack.asterisk.rx("moh reload")
    return stack


@asynccontextmanager
async def world(seed: int, keep: Path | None = None) -> AsyncIterator[World]:
    """Everything started, agents' phones excepted. ``keep``: where logs and journal go at the end."""
    # Short, because a unix socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="cb-") as folder:
        stack = _start_stack(Path(folder))
        try:
            assert stack.postgres is not None
            async with (
                PhoneRoom() as room,
                Wire(stack.options.http_port, random.Random(seed)) as wire,
                Proxy(stack.postgres.port) as road,
            ):
                room.tones.append(MUSIC_HZ)
                stack.cordboard = Child("Cordboard", ["false"], log=stack.state_dir / "cordboard.log")
                made = World(Centre(stack, Site(), room), wire, road, seed)
                await made.start()
                await made.ready()
                watching = asyncio.create_task(made.watch_stalls())
                yield made
                watching.cancel()
        finally:
            for child in (stack.cordboard, stack.asterisk, stack.postgres):
                if child is not None and child.running:
                    send([child.pid, *descendants(child.pid)], signal.SIGCONT)
            stack.stop()
            if keep is not None:
                _keep(stack.state_dir, keep)


def _keep(state: Path, keep: Path) -> None:
    keep.mkdir(parents=True, exist_ok=True)
    for path in (state / "cordboard.log", state / "asterisk/log/messages.log", *state.glob("journal.db*")):
        if path.exists():
            shutil.copy(path, keep / path.name)
