"""`./scripts/up --demo` as a newcomer starts it: real processes, calls with sound, nothing left behind."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import tomllib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ari_app.deploy.asterisk import AsteriskServer
from ari_app.deploy.simulated import (
    AT_MOST,
    MEAN_GAP_S,
    _ulaw,
    murmur,
    plan_behaviours,
    plan_callers,
    sipp_version,
)
from tests.asterisk import recording
from tests.asterisk.harness.programs import asterisk_program, sipp_command

CLONE = Path(__file__).parents[2]
HOUR_S = 3600.0


# ---------------------------------------------------------------- who comes, and what they do


def test_a_seed_gives_the_same_callers_and_another_one_others() -> None:
    assert plan_callers(1, HOUR_S) == plan_callers(1, HOUR_S)
    assert plan_callers(1, HOUR_S) != plan_callers(2, HOUR_S)
    assert plan_behaviours(1) == plan_behaviours(1)


@pytest.mark.parametrize("seed", range(5))
def test_never_more_callers_at_once_than_the_bound(seed: int) -> None:
    planned = plan_callers(seed, 2 * HOUR_S)
    assert all(sum(a.at_s <= b.at_s < a.gone_s for a in planned) <= AT_MOST for b in planned)
    assert planned[-1].at_s < 2 * HOUR_S


def test_arrivals_are_poisson_with_the_pace_that_was_meant() -> None:
    moments = [caller.at_s for caller in plan_callers(7, 20 * HOUR_S)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    # The bound on callers at once turns a few away, so the pace is a little slower than drawn.
    assert MEAN_GAP_S * 0.95 < mean < MEAN_GAP_S * 1.25
    assert 0.8 < spread / mean < 1.1, "exponential gaps: as much spread as mean"


def test_agents_answer_mostly_and_within_six_seconds() -> None:
    behaviours = plan_behaviours(3)
    answering = [b for b in behaviours if b.code == 200]
    assert 0.8 < len(answering) / len(behaviours) < 0.95
    assert all(1 <= b.ring_s <= 6 and 10 <= b.talk_s <= 40 for b in answering)
    assert {b.code for b in behaviours} == {200, 486, 603, 0}


def test_ulaw_is_g711() -> None:
    # ITU-T G.711 by the decoder's table: silence, the loudest values, and one step in between.
    assert [_ulaw(value) for value in (0, 32_635, -32_635, 8_031, -8_031)] == [0xFF, 0x80, 0x00, 0xA0, 0x20]
    assert len(set(murmur(200.0, seed=1, seconds=1))) > 50


# ---------------------------------------------------------------- the real thing


class Running:
    """One `up --demo` and what it writes."""

    def __init__(self, state_dir: Path, *words: str) -> None:
        self.state_dir = state_dir
        self.log = state_dir.with_name(f"{state_dir.name}.log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ari_app.deploy.up", "--demo", "--state-dir", str(state_dir), *words],
                cwd=CLONE,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/not-to-be-used"},
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, what: Callable[[str], bool], limit_s: float) -> None:
        end = time.monotonic() + limit_s
        while not what(self.text):
            assert self.process.poll() is None, self.text
            assert time.monotonic() < end, self.text
            time.sleep(0.1)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """End it; the seconds that took."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(20)
        return time.monotonic() - began


def processes_of(state_dir: Path) -> dict[int, str]:
    """Whoever works over the state folder: it is among their arguments, or they work in it."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            working = str((process / "cwd").readlink())
            if int(process.name) != os.getpid() and (
                str(state_dir) in command or working.startswith(f"{state_dir}/")
            ):
                found[int(process.name)] = command
    return found


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts demos over one state folder, and ends whatever of them a failed test left."""
    asterisk_program(), sipp_command()  # skips, with the remedy
    started: list[Running] = []

    def start(*words: str) -> Running:
        started.append(Running(tmp_path / "demo", *words))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.stop()
    left = processes_of(tmp_path / "demo")
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def answered(text: str) -> int:
    return len(re.findall(r"answered after the caller waited", text))


def loudness(side: array[int]) -> float:
    return float((sum(sample * sample for sample in side) / len(side)) ** 0.5)


@pytest.mark.timeout(180)
def test_calls_are_answered_and_recorded_and_it_stops_clean_twice(demo: Callable[..., Running]) -> None:
    running = demo()
    running.wait_for(lambda text: "The demo is up" in text, 40)
    running.wait_for(lambda text: answered(text) >= 2, 30)
    check_media(running.state_dir)
    check_secrecy(running.state_dir)
    running.wait_for(lambda text: text.count("recording finished") >= 2, 60)

    assert running.stop() < 5
    assert running.process.returncode == 0, running.text
    assert not processes_of(running.state_dir)
    assert re.search(r"call ended: answered, .* talked \d+ s with \w+", running.text)
    assert re.search(r"chose \"\w+\" in \"menu\"", running.text), "a key pressed by SIP INFO"
    summary = running.text.partition("(cordboard report queues)")[2]
    assert re.search(r"^(Sales|Support|Billing) +[1-9]", summary, re.M), running.text
    check_recordings(running.state_dir, running.text)
    secrets = (running.state_dir / "secrets.toml").read_text()

    again = demo()
    again.wait_for(lambda text: answered(text) >= 1, 60)
    assert (again.state_dir / "secrets.toml").read_text() != secrets, "it began anew"
    assert again.stop(signal.SIGINT) < 5
    assert again.process.returncode == 0, again.text


LEG = re.compile(r"^ +(?:\S+ +)?(\w+)-\w+ +[\d:]+ +ulaw +(\d+) +\d+ +\d+ +\S+ +(\d+) ", re.M)
"""A line of ``pjsip show channelstats``: the phone, packets received from it, packets sent to it."""


def check_media(state_dir: Path) -> None:
    """An agent's and a caller's leg have sound both ways, at 50 packets a second."""
    server = AsteriskServer(asterisk_program(), state_dir / "asterisk/etc")
    end = time.monotonic() + 15
    while True:
        shown = server.rx("pjsip show channelstats")
        flowing = {phone for phone, heard, said in LEG.findall(shown) if int(heard) > 50 and int(said) > 50}
        if "callers" in flowing and flowing - {"callers"}:
            return
        assert time.monotonic() < end, shown
        time.sleep(0.5)


def check_secrecy(state_dir: Path) -> None:
    """No password among anybody's arguments, and none in a file that others can read."""
    content = tomllib.loads((state_dir / "secrets.toml").read_text())
    passwords = [phone["secret"] for phone in content["phones"].values()]
    passwords += [content["ari"]["password"], content["ami"]["password"]]
    commands = " ".join(processes_of(state_dir).values())
    assert "sipp" in commands
    assert not [password for password in passwords if password in commands]
    for path in (state_dir / "phones").iterdir():
        assert path.stat().st_mode & 0o077 == 0 or not any(
            p in path.read_text(errors="replace") for p in passwords
        )
    assert (state_dir / "phones").stat().st_mode & 0o077 == 0


def check_recordings(state_dir: Path, text: str) -> None:
    names = re.findall(r"recording finished: (\S+) ", text)
    assert len(names) >= 2
    for name in names:
        heard = recording.read(state_dir / "recordings" / name)
        assert heard.seconds > 1
        assert loudness(heard.left) > 300, f"{name}: the caller is silent"
        assert loudness(heard.right) > 300, f"{name}: the agent is silent"


@pytest.mark.timeout(120)
def test_beside_others_and_through_deaths(demo: Callable[..., Running]) -> None:
    with contextlib.ExitStack() as held:
        taken = []
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            holder = held.enter_context(socket.socket(socket.AF_INET, kind))
            holder.bind(("127.0.0.1", 0))
            if kind == socket.SOCK_STREAM:
                holder.listen()
            taken.append(str(holder.getsockname()[1]))
        running = demo("--sip-port", taken[0], "--http-port", taken[1], "--ami-port", taken[1])
        running.wait_for(lambda text: answered(text) >= 2, 60)

    cordboard = re.search(r"kill -9 (\d+)", running.text)
    assert cordboard
    os.kill(int(cordboard[1]), signal.SIGKILL)
    running.wait_for(lambda text: "Cordboard is back" in text, 30)
    kept = re.search(r"Cordboard is back: (\d+) of (\d+) calls? went on", running.text)
    assert kept
    assert int(kept[1]) >= 2, running.text

    phones = [pid for pid, command in processes_of(running.state_dir).items() if "-rxsf" in command]
    for pid in phones:
        os.kill(pid, signal.SIGKILL)
    running.wait_for(
        lambda text: "SIPp (the agents' phones) ended (signal SIGKILL); started again" in text, 10
    )
    at = len(running.text)
    running.wait_for(lambda text: answered(text[at:]) >= 1, 60)
    assert running.stop() < 5


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "centre"
    folder.mkdir()
    (folder / "journal.db").write_text("somebody's calls")
    running = Running(folder)
    assert running.process.wait(20) == 1
    assert "is not empty and holds no demo" in running.text
    assert "Traceback" not in running.text
    assert [path.name for path in folder.iterdir()] == ["journal.db"]


def test_a_definition_of_ones_own_is_refused(tmp_path: Path) -> None:
    running = Running(tmp_path / "demo", "--definition", str(tmp_path))
    assert running.process.wait(20) == 1
    assert running.text == "error: --demo has a definition of its own: leave --definition out, or --demo\n"
    assert not (tmp_path / "demo").exists()


@pytest.mark.timeout(120)
def test_in_a_terminal_the_view_fills_the_screen_and_leaves_it(tmp_path: Path) -> None:
    asterisk_program(), sipp_command()
    words = [sys.executable, "-m", "ari_app.deploy.up", "--demo", "--state-dir", str(tmp_path / "demo")]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(CLONE)
        os.execve(words[0], words, {**os.environ, "TERM": "xterm-256color"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 45, 120, 0, 0))
    try:
        seen = read_until(terminal, lambda text: "talking" in text and "kill -9" in text, 60)
        os.write(terminal, b"\x03")
        seen += read_until(terminal, lambda text: False, 10)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    entered, left = seen.rindex("\x1b[?1049h"), seen.rindex("\x1b[?1049l")
    assert entered < seen.index("simulated callers and agents, real SIP and RTP") < left
    assert "Queues" in seen[entered:left]
    assert "What just happened" in seen[entered:left]
    assert "\x1b[?25h" in seen[entered:], "the cursor is back"
    assert "(cordboard report queues)" in seen[left:]
    assert not processes_of(tmp_path / "demo")


def read_until(terminal: int, enough: Callable[[str], bool], limit_s: float) -> str:
    """What the terminal shows until it is enough, it ends or the time is over."""
    text, end = b"", time.monotonic() + limit_s
    while time.monotonic() < end and not enough(text.decode(errors="replace")):
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                read = os.read(terminal, 65_536)
            except OSError:  # Linux: EIO once the other side is closed
                break
            text += read
    return text.decode(errors="replace")


def test_versions_of_sipp_are_read(tmp_path: Path) -> None:
    program = tmp_path / "sipp"
    program.write_text("#!/bin/sh\necho ' SIPp v3.6.1-TLS-SCTP-PCAP-RTPSTREAM.'\nexit 99\n")
    program.chmod(0o700)
    assert sipp_version(str(program)) == (3, 6)
