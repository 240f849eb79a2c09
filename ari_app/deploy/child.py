"""A server process that we start, watch and stop: PostgreSQL, Asterisk and Cordboard itself."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ari_app.deploy.console import DeployError

# About 2,000 channels of Asterisk; the usual soft limit of 1,024 holds a tenth of that.
OPEN_FILES = 20_000
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Account:
    """The user a server runs as, when it is not the one who started us."""

    name: str
    uid: int
    gid: int


class Child:
    """One process in a session of its own, so that Ctrl-C in the terminal reaches only the one who stops it.

    `die_with_parent` has the kernel send `stop_signal` when the starting thread's process is gone, however
    that ended. The signal belongs to the *thread* that called `start`: call it from one that stays.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        environment: Mapping[str, str] | None = None,
        account: Account | None = None,
        cwd: Path | None = None,
        die_with_parent: bool = False,
        open_files: int | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [*_wrappers(stop_signal if die_with_parent else None, open_files), *command]
        self._stop_signal = stop_signal
        self._environment = environment
        self._account = account
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise DeployError(f"{self.name} has not been started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs (or before it started); minus the signal's number when a signal ended it."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        as_user: dict[str, object] = {}
        if self._account is not None:
            as_user = {"user": self._account.uid, "group": self._account.gid, "extra_groups": []}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._cwd,
                start_new_session=True,
                **as_user,  # type: ignore[call-overload]
            )

    def wait(self, limit_seconds: float) -> bool:
        """Whether it has ended within the limit."""
        if self._process is None:
            return True
        try:
            self._process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kills it at once, as a crash would, and waits until it is gone."""
        self.send(signal.SIGKILL)
        self.wait(10)

    def stop(self, limit_seconds: float) -> None:
        """Asks it to end, and kills it after the limit. Does nothing when it is gone."""
        self.send(self._stop_signal)
        if not self.wait(limit_seconds):
            self.kill()

    def last_lines(self, count: int = 8) -> str:
        return last_lines(self.log, count)

    def check_alive(self) -> None:
        """Raises `DeployError` with the log's last lines when the process has ended."""
        if self.exit_code is not None:
            raise DeployError(f"{self.how_it_ended()}; the end of {self.log}:\n{self.last_lines()}")

    def how_it_ended(self) -> str:
        code = self.exit_code
        if code is None:
            return f"{self.name} runs"
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"{self.name} ended ({how})"


def last_lines(log: Path, count: int = 8) -> str:
    """The end of a log file, indented, for an error message; empty when there is no file."""
    try:
        with log.open("rb") as opened:
            opened.seek(max(0, opened.seek(0, os.SEEK_END) - 16_384))
            text = opened.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]|[^\x20-\x7e\n\xa0-\uffff]", "", text)
    return "\n".join(f"  {line}" for line in plain.splitlines()[-count:])


def until(ready: Callable[[], bool], child: Child, limit_seconds: float, what: str) -> None:
    """Calls `ready()` until it is true; raises when the child dies first or the limit passes."""
    end = time.monotonic() + limit_seconds
    while not ready():
        child.check_alive()
        if time.monotonic() >= end:
            raise DeployError(
                f"{child.name} did not {what} within {limit_seconds:.0f} s; the end of {child.log}:\n"
                f"{child.last_lines()}"
            )
        time.sleep(POLL_SECONDS)


def _wrappers(parent_death: signal.Signals | None, open_files: int | None) -> list[str]:
    words: list[str] = []
    if parent_death is not None:
        words += [_util_linux("setpriv"), "--pdeathsig", parent_death.name.removeprefix("SIG")]
    if open_files is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        allowed = open_files if hard == resource.RLIM_INFINITY else min(hard, open_files)
        if soft != resource.RLIM_INFINITY and soft < allowed:
            words += [_util_linux("prlimit"), f"--nofile={allowed}:"]
    return words


def _util_linux(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        raise DeployError(f"{tool} not found: install the package util-linux")
    return found
