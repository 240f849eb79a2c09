"""A real Asterisk, real phones, and a Cordboard to be killed.

One Asterisk serves all tests of a session; each test has a Cordboard with a state folder (and so a
journal) of its own. Waiting music is a ruler: a tone that rises steadily, so that what a caller hears at
an instant tells how far the music has come, and whether it jumped.
"""

from __future__ import annotations

import array
import asyncio
import io
import math
import os
import shutil
import signal
import sqlite3
import sys
import time
import tomllib
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest

from ari_app.core import messages as m
from ari_app.core.floor import Floor
from ari_app.deploy import stack as stacks
from ari_app.deploy.child import Child
from ari_app.deploy.console import Progress
from ari_app.deploy.ports import free_port
from ari_app.deploy.stack import Stack, StackOptions
from ari_app.recovery import fold
from ari_app.store.journal import Journal, JournalUnavailable, Recorded
from ari_app.web.client import ControlClient
from ari_app.web.errors import NotRunning
from tests.asterisk.harness import Account, Ear, Phone, PhoneRoom
from tests.asterisk.harness.g711 import decode
from tests.asterisk.harness.programs import RUNTIME, asterisk_program

DEFINITION = Path(__file__).with_name("centre.toml")
RULER_START_HZ, RULER_HZ_PER_S, RULER_S = 300.0, 15.0, 40.0
RATE_HZ = 8_000

E = TypeVar("E", bound=m.Event)


async def until(true: Callable[[], bool], what: str, within_s: float = 5.0) -> None:
    """Look every 10 ms. AssertionError names what did not come about."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.01)


def write_ruler(path: Path) -> None:
    """Music whose pitch tells the time since its start."""
    samples = array.array("h")
    for n in range(round(RULER_S * RATE_HZ)):
        t = n / RATE_HZ
        phase = 2 * math.pi * (RULER_START_HZ * t + RULER_HZ_PER_S * t * t / 2)
        samples.append(round(8_000 * math.sin(phase)))
    if sys.byteorder == "big":
        samples.byteswap()
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        out.writeframes(samples.tobytes())


def pitch(payload: bytes, payload_type: int) -> float | None:
    """The frequency of a frame that holds one clean tone, from its zero crossings; None for anything else."""
    samples = decode(payload, payload_type)
    if max(map(abs, samples), default=0) < 3_000:
        return None
    crossings = [at + a / (a - b) for at, (a, b) in enumerate(pairwise(samples)) if (a < 0) != (b < 0)]
    if len(crossings) < 6:
        return None
    steps = [b - a for a, b in pairwise(crossings)]
    mean = sum(steps) / len(steps)
    if max(abs(step - mean) for step in steps) > 0.1 * mean:
        return None
    return RATE_HZ / 2 / mean


def music(ear: Ear, since_ns: int, until_ns: int) -> list[tuple[float, float]]:
    """(RTP time in seconds, seconds into the music) of each frame that held nothing but the ruler.

    By the timestamps of the packets, not by their arrival: a machine that is late delays both.
    """
    ear.listen()
    found = []
    for frame in ear.frames:
        if since_ns <= frame.at_ns <= until_ns:
            tone = pitch(frame.payload, frame.payload_type)
            if tone is not None and RULER_START_HZ - 10 < tone < RULER_START_HZ + RULER_HZ_PER_S * RULER_S:
                found.append((frame.timestamp / RATE_HZ, (tone - RULER_START_HZ) / RULER_HZ_PER_S))
    return found


def music_jump_s(ear: Ear, since_ns: int, until_ns: int) -> float:
    """By how much the music ran ahead or fell back in this time; 0 = it simply played on.

    Raises AssertionError if there was hardly any.
    """
    heard = music(ear, since_ns, until_ns)
    enough = len(heard) * 20e6 > 0.8 * (until_ns - since_ns)
    assert enough, f"too little music: {ear.story(since_ns, until_ns)}"
    starts = [position - at_s for at_s, position in heard]
    return max(starts) - min(starts)


def position_s(ear: Ear) -> float | None:
    """How far into the music the latest 0.1 s was; None if that was not music alone."""
    now_ns = time.monotonic_ns()
    heard = music(ear, now_ns - 150_000_000, now_ns)
    return heard[-1][1] if len(heard) >= 4 else None


class Cordboard:
    """One Cordboard process over a state folder."""

    def __init__(
        self,
        stack: Stack,
        folder: Path,
        *,
        ari_url: str = "",
        database_url: str = "",
        log: Path | None = None,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        state = stack.state_dir
        words = ["--state-dir", str(folder), "--definition", str(stack.options.definition)]
        words += ["--secrets", str(state / "secrets.toml"), "--recordings", str(state / "recordings")]
        words += ["--ari-url", ari_url or f"http://127.0.0.1:{stack.options.http_port}/ari"]
        words += ["--ami-port", str(stack.options.ami_port)]
        environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
        if database_url:
            environment["DATABASE_URL"] = database_url
        self.child = Child(
            "Cordboard",
            [sys.executable, "-m", "ari_app", "run", "--json-logs", *words],
            log=log or folder / "cordboard.log",
            environment=environment,
            die_with_parent=True,
        )
        self.control = ControlClient(folder / "control.sock")

    @property
    def log(self) -> str:
        return self.child.log.read_text() if self.child.log.exists() else ""

    # ------------------------------------------------------------ life and death

    async def start(self, *, wait: bool = True) -> None:
        """Start the process; returns when it matches, or at once."""
        matched = self.count(m.MatchingBegan)
        self.child.start()
        if wait:
            await self.matches(matched)

    async def matches(self, since: int, within_s: float = 10.0) -> None:
        """Wait until it has compared itself with Asterisk once more than ``since`` times."""
        await until(
            lambda: self.count(m.MatchingBegan) > since or not self.child.running,
            f"Cordboard matches:\n{self.child.last_lines()}",
            within_s,
        )
        self.child.check_alive()

    def kill(self) -> int:
        """SIGKILL; when it was gone (monotonic ns)."""
        self.child.kill()
        return time.monotonic_ns()

    def signal(self, number: signal.Signals) -> None:
        self.child.send(number)

    def scheduled_s(self) -> tuple[float, float]:
        """For how long the process has run so far, and for how long it wanted to and had no processor.

        Of its main thread, by the kernel's own books (Documentation/scheduler/sched-stats.rst).
        """
        ran_ns, waited_ns, _ = Path(f"/proc/{self.child.pid}/schedstat").read_text().split()
        return int(ran_ns) / 1e9, int(waited_ns) / 1e9

    async def exit_code(self, within_s: float = 10.0) -> int:
        await until(lambda: not self.child.running, f"Cordboard ends:\n{self.child.last_lines()}", within_s)
        code = self.child.exit_code
        assert code is not None
        return code

    # ------------------------------------------------------------ what it decided

    def recorded(self) -> list[Recorded]:
        """All events so far, read from the journal as another process would."""
        try:
            with Journal(self.folder / "journal.db", readonly=True) as journal:
                return list(journal.replay())
        except JournalUnavailable:
            return []  # it is being made

    def events(self, kind: type[E]) -> list[E]:
        return [r.event for r in self.recorded() if isinstance(r.event, kind)]

    def count(self, kind: type[m.Event]) -> int:
        """How many events of a kind there are; asked often, so that it must cost next to nothing."""
        try:
            with closing(sqlite3.connect(f"file:{self.folder / 'journal.db'}?mode=ro", uri=True)) as db:
                found = db.execute("SELECT count(*) FROM events WHERE kind = ?", (kind.__name__,)).fetchone()
        except sqlite3.OperationalError:
            return 0  # it is not there yet, or being made
        return int(found[0])

    async def decides(self, kind: type[E], count: int = 1, within_s: float = 5.0) -> E:
        """Wait for the nth event of its kind."""
        await until(lambda: self.count(kind) >= count, f"{kind.__name__} {count}", within_s)
        return self.events(kind)[count - 1]

    def floor(self) -> Floor:
        """The floor as the journal has it at this instant."""
        with Journal(self.folder / "journal.db", readonly=True) as journal:
            return fold(journal)

    def agent(self, name: str = "alice") -> str:
        return self.floor().state.agents[name].state

    async def sign_in(self, agent: str) -> None:
        """Like ``cordboard agents sign-in``, once the control socket is there: calls are served first."""

        def done() -> bool:
            try:
                self.control.act(agent, "sign_in")
            except NotRunning:
                return False
            return True

        await until(done, "the control socket answers")


class Desk:
    """One test's phones at the shared Asterisk, and its Cordboards."""

    def __init__(self, stack: Stack, room: PhoneRoom, folder: Path) -> None:
        self.stack, self.room, self.folder = stack, room, folder
        self.secrets = tomllib.loads((stack.state_dir / "secrets.toml").read_text())
        self.cordboards: list[Cordboard] = []

    def cordboard(self, name: str = "one", *, ari_url: str = "", database_url: str = "") -> Cordboard:
        made = Cordboard(self.stack, self.folder / name, ari_url=ari_url, database_url=database_url)
        self.cordboards.append(made)
        return made

    async def phone(self, name: str, *, register: bool = True, tone: bool = True) -> Phone:
        secret = self.secrets["phones"][name]["secret"]
        account = Account(name, "127.0.0.1", self.stack.options.sip_port or 5060, secret)
        return await self.room.phone(name, account, register=register, silent=not tone)

    def rx(self, command: str) -> str:
        assert self.stack.asterisk is not None
        return self.stack.asterisk.rx(command)

    def channels(self) -> list[str]:
        """Names of Asterisk's channels."""
        lines = self.rx("core show channels concise").splitlines()
        return [line.split("!")[0] for line in lines if "!" in line]

    async def empty(self, within_s: float = 5.0) -> None:
        """Asterisk has nothing left of anybody (bridges go only while a Cordboard lives)."""
        await until(lambda: not self.channels(), "no channel left", within_s)
        if any(board.child.running for board in self.cordboards):
            await until(lambda: not self.bridges(), "no bridge left", within_s)

    def bridges(self) -> list[str]:
        return [line for line in self.rx("bridge show all").splitlines()[1:] if line.strip()]

    def recordings(self) -> list[Path]:
        return sorted((self.stack.state_dir / "recordings").glob("*.wav"))


def start_stack(folder: Path) -> Stack:
    """PostgreSQL and Asterisk, without Cordboard."""
    definition = folder / "definition"
    definition.mkdir()
    shutil.copy(DEFINITION, definition / "centre.toml")
    first_rtp = 22_000 + os.getpid() % 40 * 1000
    stack = Stack(
        StackOptions(
            definition=definition,
            state_dir=folder / "s",
            runtime_dir=RUNTIME,
            sip_bind="127.0.0.1",
            sip_port=free_port("udp"),
            http_port=free_port(),
            ami_port=free_port(),
            rtp_ports=(first_rtp, first_rtp + 999),
            durable=False,
        ),
        Progress(io.StringIO()),
    )
    program = asterisk_program()  # skips the test, with the remedy, if there is none
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks, "find_asterisk", lambda *_: program)
        stack.start(cordboard=False)
    assert stack.asterisk is not None
    assert stack.rendered is not None
    tunes = stack.rendered.etc.parent / "music"
    for tune in list(tunes.iterdir()):
        tune.unlink()
    write_ruler(tunes / "ruler.wav")
    stack.asterisk.rx("moh reload")
    return stack


@asynccontextmanager
async def desk(stack: Stack, folder: Path) -> AsyncIterator[Desk]:
    """A test's phones; afterwards nothing of it is left."""
    for old in (stack.state_dir / "recordings").glob("*"):
        old.unlink()
    made: Desk | None = None
    try:
        async with PhoneRoom() as room:
            made = Desk(stack, room, folder)
            yield made
            made.rx("channel request hangup all")
            for cordboard in made.cordboards:
                cordboard.signal(signal.SIGCONT)
            await made.empty()
    finally:
        if made is not None:
            for cordboard in made.cordboards:
                # pytest shows it if the test failed.
                sys.stderr.write(f"{cordboard.child.how_it_ended()}\n{cordboard.child.last_lines(40)}\n")
                cordboard.signal(signal.SIGCONT)
                cordboard.child.stop(5)


def tracks(path: Path) -> Iterator[array.array[int]]:
    """The samples of each channel of a finished recording."""
    with wave.open(str(path), "rb") as file:
        count = file.getnchannels()
        samples = array.array("h", file.readframes(file.getnframes()))
    for channel in range(count):
        yield samples[channel::count]


def tone_of(phone: Phone) -> int:
    """The tone that a phone speaks."""
    assert phone.tone is not None
    return phone.tone


def tone_gap_s(samples: array.array[int], tone_hz: int) -> tuple[float, float]:
    """(seconds during which the tone is heard, longest break inside that time)."""
    step = RATE_HZ // 50
    heard = []
    for at in range(0, len(samples) - step + 1, step):
        part = samples[at : at + step]
        w = 2 * math.pi * tone_hz / RATE_HZ
        re = sum(s * math.cos(w * n) for n, s in enumerate(part))
        im = sum(s * math.sin(w * n) for n, s in enumerate(part))
        if math.hypot(re, im) * 2 / step > 1_000:
            heard.append(at / RATE_HZ)
    if not heard:
        return 0.0, 0.0
    gaps = [b - a for a, b in pairwise(heard)]
    return heard[-1] - heard[0] + 0.02, max(gaps, default=0.0)
