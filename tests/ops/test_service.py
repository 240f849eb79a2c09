"""As a service: systemd's units and watchdog, and the watchdog of ``up``."""

from __future__ import annotations

import io
import itertools
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ari_app import sdnotify
from ari_app.deploy.console import Progress
from ari_app.deploy.ports import free_port
from ari_app.deploy.pulse import Pulse, answers
from ari_app.deploy.stack import REPLACED_EXIT_CODE, Stack
from ari_app.deploy.up import EXAMPLE
from tests.asterisk import centre as centres
from tests.asterisk.centre import Plan

UNITS = Path(__file__).parents[2] / "scripts/systemd"


# ---------------------------------------------------------------- the units


@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.glob("*.[st]*[er]")))
def test_systemd_takes_the_unit(unit: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze")
    for path in UNITS.iterdir():
        # The programs are not installed on this machine; everything else is taken as it is.
        text = path.read_text().replace("/opt/cordboard/.venv/bin/python", "/bin/true")
        (tmp_path / path.name).write_text(text.replace("/usr/sbin/asterisk", "/bin/true"))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_restarts_what_dies_but_not_what_was_replaced() -> None:
    text = (UNITS / "cordboard.service").read_text()
    for line in (
        "Type=notify",
        "Restart=always",
        f"RestartPreventExitStatus={REPLACED_EXIT_CODE}",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "PrivateTmp=yes",
        "CapabilityBoundingSet=",
    ):
        assert f"\n{line}\n" in text
    assert re.search(r"^WatchdogSec=\d+s$", text, re.MULTILINE)


def test_logrotate_takes_the_snippet(tmp_path: Path) -> None:
    program = shutil.which("logrotate", path=f"{os.defpath}:/usr/sbin")
    if program is None:
        pytest.skip("there is no logrotate")
    snippet = tmp_path / "snippet"
    text = (UNITS / "asterisk.logrotate").read_text()
    snippet.write_text(re.sub(r"^\s+su .*\n", "", text, flags=re.MULTILINE))
    words = [program, "--debug", "--state", str(tmp_path / "state"), str(snippet)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr.lower()


# ---------------------------------------------------------------- sd_notify


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(15)
        yield listening


def test_without_a_supervisor_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not sdnotify.notify("READY=1")


def test_an_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"cordboard-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert sdnotify.notify("READY=1", "STATUS=well")
        assert listening.recv(100) == b"READY=1\nSTATUS=well"


def test_a_watchdog_that_is_meant_for_another_process_is_not_fed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert sdnotify.watchdog_s() == 0.0
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert sdnotify.watchdog_s() == 3.0


def test_a_process_says_ready_and_feeds_the_watchdog_until_it_hangs(
    supervisor: socket.socket, tmp_path: Path
) -> None:
    words = ["run", "--definition", str(EXAMPLE), "--state-dir", str(tmp_path / "s")]
    words += ["--ari-url", f"http://127.0.0.1:{free_port()}/ari", "--ami-port", str(free_port())]
    environment = os.environ | {
        "NOTIFY_SOCKET": supervisor.getsockname(),
        "WATCHDOG_USEC": "300000",
        "DATABASE_URL": "",
    }
    environment.pop("WATCHDOG_PID", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "ari_app", *words], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        first = supervisor.recv(1000).decode()
        assert first.startswith("READY=1\nSTATUS=0 calls; Asterisk cannot be reached")
        beats = [time.monotonic() for _ in range(5) if supervisor.recv(1000).startswith(b"WATCHDOG=1")]
        assert max(b - a for a, b in itertools.pairwise(beats)) < 0.3
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        supervisor.setblocking(False)
        while _waits(supervisor):
            supervisor.recv(1000)  # what was under way
        time.sleep(0.6)
        assert not _waits(supervisor)
        supervisor.settimeout(5)
        process.send_signal(signal.SIGCONT)
        assert supervisor.recv(1000).startswith(b"WATCHDOG=1")
    finally:
        process.terminate()
        assert process.wait(10) == 0


def _waits(listening: socket.socket) -> bool:
    return bool(select.select([listening], [], [], 0)[0])


# ---------------------------------------------------------------- the watchdog of up


def test_a_silent_process_is_given_its_time_first(tmp_path: Path) -> None:
    now = [100.0]
    pulse = Pulse(tmp_path / "nobody", silent_seconds=5, first_answer_seconds=20, clock=lambda: now[0])
    assert pulse.silent_seconds(7) is None
    now[0] += 19
    assert pulse.silent_seconds(7) is None, "it may still be folding its journal"
    now[0] += 2
    assert pulse.silent_seconds(7) == 21
    assert pulse.silent_seconds(8) is None, "another process has its own time"


def test_up_kills_and_restarts_a_cordboard_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack: Stack = centres.start(tmp_path, Plan(agents=("alice",), callers=()))
    said = io.StringIO()
    try:
        assert stack.cordboard is not None
        stack.progress = Progress(said)
        control = stack.state_dir / "control.sock"
        monkeypatch.setattr(stack, "_pulse", Pulse(control, silent_seconds=2.0))
        stack.watch(limit_seconds=3.0)
        first = stack.cordboard.pid
        assert said.getvalue() == ""
        stack.cordboard.send(signal.SIGSTOP)
        assert not answers(control)
        stack.watch(limit_seconds=7.0)
        assert "Cordboard has not answered for" in said.getvalue()
        assert stack.cordboard.running
        assert stack.cordboard.pid != first
        end = time.monotonic() + 10
        while not answers(control) and time.monotonic() < end:
            time.sleep(0.1)
        assert answers(control)
    finally:
        centres.discard(stack)
