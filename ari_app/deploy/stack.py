"""PostgreSQL, Asterisk and Cordboard over one state folder: started, watched and stopped in order."""

from __future__ import annotations

import fcntl
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from ari_app.config import Loaded, load
from ari_app.deploy.asterisk import AsteriskProgram, AsteriskServer, find_asterisk
from ari_app.deploy.child import Child, until
from ari_app.deploy.configure import LOOPBACK, configure, plain_errors, render_options
from ari_app.deploy.console import DeployError, Progress
from ari_app.deploy.debian import PrivateApt
from ari_app.deploy.ports import WantedPort, check_free
from ari_app.deploy.postgres import PostgresServer
from ari_app.deploy.pulse import Pulse
from ari_app.deploy.render import Rendered
from ari_app.store.migrate import migrate

CLONE = Path(__file__).parents[2]
# What `python -m ari_app run` ends with when another process took its place at Asterisk.
REPLACED_EXIT_CODE = 3
ARI_APPLICATION = "cordboard"
READY_LIMIT_SECONDS = 30.0
STOP_LIMIT_SECONDS = 10.0
# A part that dies again sooner than this is restarted ever later, so that it can't fill the disk with logs.
STEADY_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0


class Replaced(DeployError):
    """Another process has taken Cordboard's place at Asterisk: ours must not come back."""


@dataclass(frozen=True)
class StackOptions:
    """Where everything is and listens. `None` for the SIP address and port: as the definition says.

    `api_port`, `agi_port`: loopback ports of Cordboard's HTTP API and of its FastAGI server; `None` = off.
    """

    definition: Path
    state_dir: Path
    runtime_dir: Path = CLONE / ".runtime"
    sip_bind: str | None = None
    sip_port: int | None = None
    http_port: int = 8088
    ami_port: int = 5038
    rtp_ports: tuple[int, int] = (10_000, 10_999)
    database_url: str | None = None
    durable: bool = True
    api_port: int | None = None
    agi_port: int | None = None


class Stack:
    """One call centre on this machine. `start` returns when all of it answers; `stop` leaves no process.

    Use it from one thread that stays, the main one: the parts die with the thread that started them.
    """

    def __init__(self, options: StackOptions, progress: Progress) -> None:
        self.options = options
        self.progress = progress
        self.state_dir = options.state_dir.absolute()
        self.postgres: PostgresServer | None = None
        self.asterisk: AsteriskServer | None = None
        self.cordboard: Child | None = None
        self.loaded: Loaded | None = None
        self.rendered: Rendered | None = None
        self.database_url = ""
        self._lock: TextIO | None = None
        self._restarts: dict[str, _Restarts] = {}
        self._pulse = Pulse(self.state_dir / "control.sock")

    def start(self, *, cordboard: bool = True) -> None:
        """Starts all parts (Cordboard only if asked to), or none. Raises `DeployError`."""
        try:
            with plain_errors():
                self._start(cordboard=cordboard)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Cordboard first, then Asterisk, then PostgreSQL. Does nothing for what is not there."""
        if self.cordboard is not None:
            self.cordboard.stop(STOP_LIMIT_SECONDS)
        if self.asterisk is not None:
            self.asterisk.stop()
        if self.postgres is not None:
            self.postgres.stop()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def watch(self, limit_seconds: float | None = None) -> None:
        """Restarts what dies, until the limit (for ever without one).

        Raises `Replaced` when Cordboard says that another process has taken its place.
        """
        end = None if limit_seconds is None else time.monotonic() + limit_seconds
        while end is None or time.monotonic() < end:
            _wait_for_any_end([part.pid for part in self._parts() if part.running], 0.5)
            if self.postgres is not None and self.postgres.child is not None:
                self._revive("PostgreSQL", self.postgres.child, self.postgres.start)
            if self.asterisk is not None:
                self._revive("Asterisk", self.asterisk.child, self.asterisk.start)
            if self.cordboard is not None:
                self._end_if_hung(self.cordboard)
                # Not waited for: it may be Asterisk that is away, and that is looked after here too.
                self._revive("Cordboard", self.cordboard, self.cordboard.start)

    def start_cordboard(self, *, wait: bool = True) -> None:
        """Starts Cordboard's process (again), and waits until Asterisk has its ARI application."""
        if self.cordboard is None:
            self.cordboard = self._cordboard_process()
        self.cordboard.start()
        if wait:
            with self.progress.step("Starting Cordboard"):
                until(self.connected, self.cordboard, READY_LIMIT_SECONDS, "connect to Asterisk")

    def connected(self) -> bool:
        """Whether Asterisk has Cordboard's application, which is the case once both sockets are up."""
        return self.asterisk is not None and ARI_APPLICATION in self.asterisk.rx("ari show apps")

    # In order

    def _start(self, *, cordboard: bool) -> None:
        self.loaded = load(self.options.definition)
        self._take_lock()
        check_free(self._wanted_ports(self.loaded))
        program = find_asterisk(PrivateApt(self.options.runtime_dir, self.progress), self.progress)
        self._start_database()
        self.rendered = self._configure(self.loaded, program)
        self._start_asterisk(program, self.rendered)
        if cordboard:
            self.start_cordboard()

    def _take_lock(self) -> None:
        self.state_dir.mkdir(parents=True, exist_ok=True)
        path = self.state_dir / "up.lock"
        lock = path.open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            raise DeployError(
                f"{self.state_dir} is in use by pid {holder}, which runs a call centre over it: "
                "stop that one first, or use another --state-dir (and other ports)"
            ) from held
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def _wanted_ports(self, loaded: Loaded) -> Iterator[WantedPort]:
        sip = loaded.site.sip
        address, port = self.options.sip_bind or sip.bind, self.options.sip_port or sip.port
        yield WantedPort("SIP", "udp", address, port, "--sip-port")
        if "tcp" in loaded.site.transports:
            yield WantedPort("SIP over TCP", "tcp", address, port, "--sip-port")
        if sip.tls is not None:
            yield WantedPort("SIP over TLS", "tcp", address, sip.tls.port, "port in [sip] tls")
        if sip.tls is not None and "wss" in loaded.site.transports:
            yield WantedPort("browsers", "tcp", address, sip.tls.wss_port, "wss_port in [sip] tls")
        yield WantedPort("Asterisk's HTTP, for ARI", "tcp", LOOPBACK, self.options.http_port, "--http-port")
        yield WantedPort("Asterisk's AMI", "tcp", LOOPBACK, self.options.ami_port, "--ami-port")
        if self.options.api_port:
            yield WantedPort("the HTTP API", "tcp", LOOPBACK, self.options.api_port, "--api-port")
        if self.options.agi_port:
            yield WantedPort("AGI", "tcp", LOOPBACK, self.options.agi_port, "--agi-port")

    def _start_database(self) -> None:
        if self.options.database_url:
            self.database_url = self.options.database_url
        else:
            with self.progress.step("Starting PostgreSQL"):
                self.postgres = PostgresServer(
                    self.state_dir / "postgres",
                    progress=self.progress,
                    durable=self.options.durable,
                    die_with_parent=True,
                )
                self.postgres.start()
            self.database_url = self.postgres.dsn
        applied = migrate(self.database_url)
        if applied:
            self.progress.show(f"Migrations applied: {', '.join(applied)}")

    def _configure(self, loaded: Loaded, program: AsteriskProgram) -> Rendered:
        first, last = self.options.rtp_ports
        options = replace(
            render_options(self.state_dir),
            root=program.root,
            modules_dir=program.module_dir,
            data_dir=program.data_dir,
            bind=self.options.sip_bind,
            sip_port=self.options.sip_port,
            http_port=self.options.http_port,
            ami_port=self.options.ami_port,
            rtp_start=first,
            rtp_end=last,
        )
        rendered = configure(loaded, self.state_dir, self.database_url, options, program.command)
        for warning in (*map(str, loaded.warnings), *rendered.warnings):
            self.progress.warn(warning)
        return rendered

    def _start_asterisk(self, program: AsteriskProgram, rendered: Rendered) -> None:
        with self.progress.step(f"Starting Asterisk {program.version_text}"):
            self.asterisk = AsteriskServer(program, rendered.etc, die_with_parent=True)
            self.asterisk.start()

    def _cordboard_process(self) -> Child:
        words = ["--definition", str(self.options.definition.absolute()), "--state-dir", str(self.state_dir)]
        for option, port in (("--http", self.options.api_port), ("--agi", self.options.agi_port)):
            words += [option, f"{LOOPBACK}:{port}"] if port else []
        return Child(
            "Cordboard",
            [sys.executable, "-m", "ari_app", "run", *words],
            log=self.state_dir / "cordboard.log",
            environment=os.environ | {"DATABASE_URL": self.database_url},
            die_with_parent=True,
        )

    # Watching

    def _parts(self) -> Iterator[Child]:
        if self.cordboard is not None:
            yield self.cordboard
        if self.asterisk is not None:
            yield self.asterisk.child
        if self.postgres is not None and self.postgres.child is not None:
            yield self.postgres.child

    def _end_if_hung(self, cordboard: Child) -> None:
        """A process that lives and does nothing is worse than one that died: callers wait for it."""
        if not cordboard.running:
            return
        silent_seconds = self._pulse.silent_seconds(cordboard.pid)
        if silent_seconds is not None:
            self.progress.warn(f"Cordboard has not answered for {silent_seconds:.0f} s: it is killed")
            cordboard.kill()

    def _revive(self, name: str, part: Child, start: Callable[[], None]) -> None:
        restarts = self._restarts.setdefault(name, _Restarts())
        if part.running:
            return
        if name == "Cordboard" and part.exit_code == REPLACED_EXIT_CODE:
            raise Replaced(
                "Cordboard has ended: another process took its place at this Asterisk, so it is not restarted"
            )
        if restarts.due_at is None:
            self.progress.warn(f"{part.how_it_ended()}; the end of {part.log}:\n{part.last_lines(4)}")
            restarts.plan(time.monotonic())
        if restarts.due_at is not None and time.monotonic() >= restarts.due_at:
            restarts.due_at, restarts.last = None, time.monotonic()
            try:
                start()
            except DeployError as failed:
                self.progress.warn(str(failed))
            else:
                self.progress.show(f"{name} was started again")


class _Restarts:
    """When a part that died is started again: at once, and ever later if it dies again soon."""

    def __init__(self) -> None:
        self.last = float("-inf")
        self.due_at: float | None = None
        self._pause_seconds = 0.0

    def plan(self, now: float) -> None:
        if now - self.last >= STEADY_SECONDS + self._pause_seconds:
            self._pause_seconds = 0.0
        else:
            self._pause_seconds = min(
                LONGEST_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, self._pause_seconds * 2)
            )
        self.due_at = now + self._pause_seconds


def _wait_for_any_end(pids: list[int], limit_seconds: float) -> None:
    """Returns when one of our children ends, or after the limit."""
    opened = [os.pidfd_open(pid) for pid in pids]
    try:
        select.select(opened, [], [], limit_seconds)
    finally:
        for descriptor in opened:
            os.close(descriptor)
