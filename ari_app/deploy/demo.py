"""`./scripts/up --demo`: a call centre at work, with simulated callers and agents, for who has no phone yet.

It shares nothing with a real one on this machine: a state folder of its own, which begins empty each time,
a definition of its own, and other ports where the usual ones are taken.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from rich.console import Group
from rich.live import Live
from rich.text import Text

from ari_app.cli import output, reports
from ari_app.cli.live import LiveFloor
from ari_app.config import load
from ari_app.core.definition import SECOND_NS
from ari_app.core.text import counted
from ari_app.deploy.configure import LOOPBACK, plain_errors
from ari_app.deploy.console import DeployError, Progress
from ari_app.deploy.debian import PrivateApt
from ari_app.deploy.ports import Protocol, WantedPort, check_free, free_port
from ari_app.deploy.render import Rendered
from ari_app.deploy.signals import ignore
from ari_app.deploy.simulated import Simulation, find_sipp
from ari_app.deploy.stack import CLONE, Stack, StackOptions
from ari_app.settings import SettingsError, control_path
from ari_app.store.reports import ReportError

LONGEST_MINUTES = 120
MARKER = "THIS-IS-A-DEMO"
CALLERS = "callers"
REGISTER_LIMIT_S = 10.0
TICK_S = 0.3
SUMMARY_EVERY_S = 30.0
NOT_RESPONDING_S = 15
PAUSE_S = 25
MEAN_BETWEEN_PAUSES_S = 50.0
PAUSES = ("coffee", "training", "paperwork")
NOTES = 3


class Demo:
    """One demo: `run` returns when its time is over or raises what ends it; either way, `stop` it."""

    def __init__(self, options: StackOptions, *, seed: int, minutes: int, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._notes = Notes()
        self.stack = Stack(options, self._notes)
        self._seed = seed
        self._until_s = min(max(minutes, 1), LONGEST_MINUTES) * 60.0
        self._chance = random.Random(seed + 2)
        self._floor = LiveFloor(control_path(self.stack.state_dir))
        self._simulation: Simulation | None = None
        self._pause_at = 0.0
        self._since = datetime.now(UTC)
        self._epoch = ""
        self._calls: set[str] = set()

    def run(self) -> None:
        """Starts everything, then shows it. Raises `DeployError`; returns when the time is over."""
        forget(self.stack.state_dir)
        sipp = find_sipp(PrivateApt(self.stack.options.runtime_dir, self._notes), self._notes)
        self.stack.start()
        self._begin(sipp)
        self._notes.show("The demo is up")
        self._out.write(self._welcome())
        self._out.flush()
        self._show()

    def stop(self) -> None:
        """People first, then the summary while the database still runs, then the rest. Leaves no process."""
        ignore()
        try:
            if self._simulation is not None:
                self._simulation.stop()
                self._summarise()
        finally:
            self.stack.stop()
            if self._simulation is not None:
                self._notes.show("Stopped")

    # ------------------------------------------------------------ set-up

    def _begin(self, sipp: list[str]) -> None:
        if self.stack.rendered is None:
            raise DeployError("the demo has not been started")
        people = self._simulation = self._people(sipp, self.stack.rendered)
        people.prepare()
        with self._notes.step("Registering the agents' phones and signing the agents in"):
            people.start_agents()
            self._wait_for_agents(people)
        self._since = datetime.now(UTC)
        self._pause_at = time.monotonic() + self._gap()
        people.start_callers()

    def _people(self, sipp: list[str], rendered: Rendered) -> Simulation:
        bind = self.stack.options.sip_bind or (self.stack.loaded and self.stack.loaded.site.sip.bind)
        address = LOOPBACK if bind in (None, "0.0.0.0", "::") else bind  # noqa: S104  every address: the nearest
        agents = {phone.name: phone.secret for phone in rendered.phones if phone.role == "agent"}
        line = next(((phone.name, phone.secret) for phone in rendered.phones if phone.name == CALLERS), None)
        if line is None:
            raise DeployError(f"{self.stack.options.definition}: lacks [phones.{CALLERS}], the callers' line")
        return Simulation(
            self.stack.state_dir / "phones",
            sipp,
            (str(address), rendered.sip_port),
            agents,
            line,
            seed=self._seed,
            until_s=self._until_s,
        )

    def _wait_for_agents(self, people: Simulation) -> None:
        end = time.monotonic() + REGISTER_LIMIT_S
        while time.monotonic() < end:
            self._floor.read()
            self._look_after_agents()
            view = self._floor.view
            if (
                view
                and all(a.state == "ready" for a in view.agents)
                and self._registered() >= len(view.agents)
            ):
                return
            time.sleep(0.1)
        raise DeployError(
            f"the agents' phones did not register within {REGISTER_LIMIT_S:.0f} s; "
            f"{self.stack.state_dir}/asterisk/log/messages.log says why, or SIPp:\n{people.complaints()}"
        )

    def _registered(self) -> int:
        return self.stack.asterisk.rx("pjsip show contacts").count(" Avail ") if self.stack.asterisk else 0

    def _welcome(self) -> str:
        lines = [
            "Simulated callers and agents talk over real SIP and RTP. All else is as with people.",
            f"  Live view, once more   {self._command('watch')}",
            f"  Why a call went where  {self._command('call ID')}",
            f"  Recordings             {self.stack.state_dir}/recordings",
            f"  Try                    {self._dare()}",
            "  Stop                   Ctrl-C",
        ]
        return "\n" + "\n".join(lines) + "\n\n"

    def _command(self, words: str) -> str:
        return f"{CLONE}/.venv/bin/cordboard {words} --state-dir {self.stack.state_dir}"

    def _dare(self) -> str:
        pid = self.stack.cordboard.pid if self.stack.cordboard else 0
        return f"kill -9 {pid}   (Cordboard's process) and watch the calls go on"

    # ------------------------------------------------------------ while it runs

    def _show(self) -> None:
        screen: Screen | Lines = Screen(self._out) if self._out.isatty() else Lines(self._out)
        end = time.monotonic() + self._until_s
        with screen, self._notes.to(screen.note):
            while time.monotonic() < end:
                self.stack.watch(TICK_S)
                for said in self._simulation.keep() if self._simulation else ():
                    self._notes.show(said)
                for happening in self._floor.read():
                    screen.happened(happening.at_ns, happening.call or happening.agent, happening.text)
                self._tell_of_takeover()
                self._look_after_agents()
                screen.show(self._floor, self._dare(), self._meanwhile())
        self._notes.show(f"The demo ends by itself after {counted(round(self._until_s / 60), 'minute')}")

    def _meanwhile(self) -> str:
        """While Cordboard is away: what Asterisk has of the calls. "" otherwise."""
        server = self.stack.asterisk
        if not self._floor.trouble or server is None or not server.running:
            return ""
        found = re.search(r"(\d+) active channel", server.rx("core show channels count"))
        count = counted(int(found[1]), "channel") if found else "no channel"
        return f"Cordboard is away; Asterisk has {count} live: talk, music and recording go on"

    def _tell_of_takeover(self) -> None:
        """A process that died and one that took over: which calls are still there?"""
        view = self._floor.view
        if view is None or self._floor.trouble:
            return
        calls = {call.call for call in view.calls}
        if self._epoch and view.epoch != self._epoch:
            kept = len(self._calls & calls)
            ended = f" ({counted(len(self._calls) - kept, 'call')} ended)" if kept < len(self._calls) else ""
            self._notes.show(
                f"Cordboard is back: {kept} of {counted(len(self._calls), 'call')} went on{ended}"
            )
        self._epoch, self._calls = view.epoch, calls

    def _look_after_agents(self) -> None:
        """Sign in, bring back who missed calls or paused long enough, and now and then pause somebody."""
        view = self._floor.view
        if view is None or self._floor.trouble:
            return
        for agent in view.agents:
            seconds = (view.at_ns - agent.since_ns) / SECOND_NS
            if agent.state == "signed_out":
                self._floor.act(agent.agent, "sign_in")
            elif (agent.state == "not_responding" and seconds > NOT_RESPONDING_S) or (
                agent.state == "paused" and seconds > PAUSE_S
            ):
                self._floor.act(agent.agent, "resume")
        ready = [agent.agent for agent in view.agents if agent.state == "ready"]
        if self._pause_at and time.monotonic() >= self._pause_at and len(ready) > 1:
            self._floor.act(self._chance.choice(ready), "pause", self._chance.choice(PAUSES))
            self._pause_at = time.monotonic() + self._gap()

    def _gap(self) -> float:
        return 15.0 + self._chance.expovariate(1 / MEAN_BETWEEN_PAUSES_S)

    # ------------------------------------------------------------ the end

    def _summarise(self) -> None:
        try:
            text = reports.queues(self.stack.state_dir, self._since.isoformat(), "", "table")
        except (ReportError, SettingsError) as failed:
            self._notes.warn(f"no summary: {failed}")  # the rest is stopped all the same
            return
        self._out.write(f"\nThis demo's calls (cordboard report queues):\n\n{text}\n")
        self._out.flush()


# ---------------------------------------------------------------- before it


def demo_options(wanted: StackOptions) -> StackOptions:
    """`wanted` with a database of the demo's own, and a free port for each that is taken.

    Raises `DeployError` if the wanted address is not this machine's.
    """
    os.environ.pop("DATABASE_URL", None)  # a real database is none of the demo's business
    with plain_errors():
        sip = load(wanted.definition).site.sip
    return replace(
        wanted,
        database_url=None,
        durable=False,
        sip_port=_free("SIP", ("udp", "tcp"), wanted.sip_bind or sip.bind, wanted.sip_port or sip.port),
        http_port=_free("ARI", ("tcp",), LOOPBACK, wanted.http_port),
        ami_port=_free("AMI", ("tcp",), LOOPBACK, wanted.ami_port),
    )


def _free(purpose: str, protocols: tuple[Protocol, ...], address: str, port: int) -> int:
    for _ in range(20):
        try:
            check_free(WantedPort(purpose, protocol, address, port, "") for protocol in protocols)
        except DeployError:
            port = free_port("tcp", address)  # the usual one is taken: the demo gives way
        else:
            return port
    raise DeployError(f"no free port for {purpose} at {address}")


def forget(state_dir: Path) -> None:
    """Makes the demo's state folder, or empties it of an earlier demo. Leaves one that is in use alone.

    Raises `DeployError` if the folder holds something else than a demo: nothing of that is touched.
    """
    marker, lock_file = state_dir / MARKER, state_dir / "up.lock"
    with plain_errors():
        state_dir.mkdir(parents=True, exist_ok=True)
        if any(state_dir.iterdir()) and not marker.exists():
            raise DeployError(
                f"{state_dir} is not empty and holds no demo: a demo empties its folder when it starts, so "
                "give it a --state-dir of its own"
            )
        marker.write_text("This folder belongs to ./scripts/up --demo, which empties it at every start.\n")
        with lock_file.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another demo runs: the stack's own check says so
            for path in state_dir.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path not in (marker, lock_file):
                    path.unlink()


# ---------------------------------------------------------------- what one sees


class Notes(Progress):
    """Progress that goes to the live view while there is one, so that no line tears the picture."""

    def __init__(self) -> None:
        super().__init__()
        self._sink: Callable[[str], None] | None = None

    def show(self, text: str, *, passing: bool = False) -> None:
        if self._sink is None:
            super().show(text, passing=passing)
        elif not passing:
            # Of a part that died, the first line says how; the log's end that follows has no room here.
            self._sink(text.splitlines()[0].partition("; the end of ")[0])

    @contextmanager
    def to(self, sink: Callable[[str], None]) -> Iterator[None]:
        """While this lasts, what is shown goes to `sink`."""
        self._sink = sink
        try:
            yield
        finally:
            self._sink = None


class Screen:
    """The live view on the whole terminal, below a few lines about the demo."""

    def __init__(self, out: TextIO) -> None:
        self._console = output.console(out)
        self._live = Live(console=self._console, screen=True, auto_refresh=False, vertical_overflow="crop")
        self._notes: deque[str] = deque(maxlen=NOTES)

    def __enter__(self) -> Screen:
        self._live.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._live.__exit__(None, None, None)

    def note(self, text: str) -> None:
        self._notes.append(f"{datetime.now(UTC):%H:%M:%S} {text}")

    def happened(self, at_ns: int, about: str, text: str) -> None:
        """Nothing: the picture shows it."""

    def show(self, floor: LiveFloor, dare: str, meanwhile: str) -> None:
        head = [
            Text("Demo: simulated callers and agents, real SIP and RTP. Ctrl-C ends it.", "bold green"),
            Text(f"Try in another terminal: {dare}", "green", no_wrap=True, overflow="ellipsis"),
            *(Text(note, "bold yellow", no_wrap=True, overflow="ellipsis") for note in self._notes),
            Text(meanwhile, "bold red"),
        ]
        picture = floor.picture(self._console.width, max(self._console.height - len(head), 10))
        self._live.update(Group(*head, picture), refresh=True)


class Lines:
    """Without a terminal: a line for each thing that happens, and the figures now and then."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._figures_at = time.monotonic() + SUMMARY_EVERY_S
        self._away = False

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *raised: object) -> None:
        self._out.flush()

    def note(self, text: str) -> None:
        self._line(f"{datetime.now(UTC):%H:%M:%S}", "demo", text)

    def happened(self, at_ns: int, about: str, text: str) -> None:
        self._line(f"{datetime.fromtimestamp(at_ns // SECOND_NS, UTC):%H:%M:%S}", about, text)

    def show(self, floor: LiveFloor, dare: str, meanwhile: str) -> None:
        if meanwhile and not self._away:
            self.note(meanwhile)
        self._away = bool(meanwhile)
        if floor.view is None or time.monotonic() < self._figures_at:
            return
        self._figures_at = time.monotonic() + SUMMARY_EVERY_S
        for queue in floor.view.queues:
            today = queue.today
            level = "–" if today.service_level is None else f"{today.service_level:.0%}"
            self.note(
                f"{queue.queue}: {queue.waiting} waiting, {queue.talking} talking; so far {today.offered} "
                f"offered, {today.answered} answered, {today.abandoned} abandoned, service level {level}"
            )

    def _line(self, clock: str, about: str, text: str) -> None:
        self._out.write(f"{clock} {about:<12} {text}\n")
        self._out.flush()
