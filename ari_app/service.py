"""One running Cordboard: everything wired together, every task owned by one TaskGroup."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import structlog

from ari_app import clock as clocks, config, hours, recovery, sdnotify
from ari_app.agi import server as agi
from ari_app.ami.adapter import AmiAdapter
from ari_app.ami.effects import Recorder, Timeouts
from ari_app.ari.client import AriLink, AriSettings, LinkState
from ari_app.ari.effects import AriEffects
from ari_app.ari.errors import AriError
from ari_app.ari.translate import ALLOWED_EVENTS, Translator
from ari_app.attributes import Attributes
from ari_app.callers import Callers, MemoryAway
from ari_app.core import codes, messages as m, notes, why
from ari_app.core.floor import Floor
from ari_app.core.refusal import refusal
from ari_app.core.staff import Departure, departures
from ari_app.engine import Engine
from ari_app.front import Front
from ari_app.lamps import Lamps
from ari_app.log import log_event
from ari_app.people import People
from ari_app.pin_entry import PinDesk
from ari_app.pins import PinBook
from ari_app.reloading import Reloader, endpoints, entries
from ari_app.secrets_file import Secrets
from ari_app.settings import Settings
from ari_app.store.journal import Journal, JournalCorrupt, JournalError, ProcessLock
from ari_app.store.recordings import Assembled, RecordingLost, assemble
from ari_app.test_call import Line
from ari_app.timed_journal import TimedJournal
from ari_app.version import VERSION
from ari_app.web import control, http
from ari_app.web.messages import Readiness, Reloaded, Tested
from ari_app.web.view import AgentView, Recent, View, build_agent, build_view

log = structlog.get_logger(__name__)

HOUSEKEEPING_S = 5.0
CLOSE_AGAIN_S = 0.5
HOURS_AGAIN_S = 6 * 3600.0
CALLS_FIRST_S = 1.0
SHIPPER_AGAIN_S = 1.0
STOP_LIMIT_S = 5.0
ASSEMBLE_AGAIN_S = 1.0
ASSEMBLE_AGAIN_MAX_S = 60.0
ARI_USER = AMI_USER = "cordboard"
NODE_SUFFIX, NODE_NAME = ".node", re.compile(r"[0-9a-f]{32}")


class Service:
    """Wiring and life of one process. ``run`` ends by cancellation or with the error that ended it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        loaded = config.load(settings.definition_dir)
        for warning in loaded.warnings:
            log.warning("definition", problem=str(warning))
        self._loaded = loaded
        secrets = Secrets.load_or_create(settings.secrets_path, loaded.site, tuple(loaded.definition.agents))
        self._lock = ProcessLock(settings.journal_path)
        self._journal, floor = _open_journal(settings.journal_path)
        self._clock = clocks.Clock.resume(floor.state.boot_id, floor.state.offset_ns, floor.state.at_ns)
        self._recent = Recent()
        timed = TimedJournal(self._journal)
        self.engine = Engine(floor, timed, self._clock, self._run_effect, self._on_event)
        self._wire_people(loaded, secrets)
        self._wire_asterisk(loaded, secrets)
        self._wire_users_of_asterisk(loaded)
        self._front = Front(
            self, self.engine, timed, settings.journal_path, self._attributes, self._round_trips
        )
        self._assembling: set[str] = set()
        self._link_is_up = asyncio.Event()
        self._calls_served = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    def _wire_people(self, loaded: config.Loaded, secrets: Secrets) -> None:
        """Who calls, who works here, and what is known of them."""
        floor = self.engine.floor
        self._attributes = Attributes(self.settings.state_dir, self._clock.now_ns())
        self._people = People(self._journal, self._is_known)
        self._pins = PinDesk(
            PinBook(loaded.site.pins, secrets.pins),
            self._clock,
            self.engine.submit,
            self._spawn,
            lambda channel: codes.is_private(floor, channel),
            self._run_effect,
        )
        self._pins.use(PinBook(loaded.site.pins, secrets.pins), loaded.site.extensions)
        self._translator = Translator(entries(loaded, floor), self._people.arriving, self._pins.take)

    def _wire_asterisk(self, loaded: config.Loaded, secrets: Secrets) -> None:
        """Both ways to Asterisk."""
        settings = self.settings
        self._link = AriLink(
            AriSettings(
                base_url=settings.ari_url,
                username=ARI_USER,
                password=secrets.ari_password,
                allowed_events=ALLOWED_EVENTS,
            ),
            self._on_ari_event,
            self._on_link_state,
        )
        self._link.subscriptions.update(endpoints(loaded))
        self._ami = AmiAdapter(
            settings.ami_host,
            settings.ami_port,
            AMI_USER,
            secrets.ami_password,
        )

    def _wire_users_of_asterisk(self, loaded: config.Loaded) -> None:
        """Everybody who asks something of Asterisk."""
        settings = self.settings
        self._callers = Callers(loaded, self._people, self._attributes)
        self._lamps = Lamps(self.engine, self._link, on=loaded.site.sip.lamps)
        self._reloader = Reloader(
            settings,
            loaded,
            self.engine,
            self._link,
            self._translator,
            self._pins,
            self._callers,
            self._lamps,
        )
        self._test_line = Line(self._link, self._link.settings.event_app)
        self._effects = AriEffects(
            self._link, self.engine.submit, self._people.display, self._spawn, self._dialled
        )
        self._recorder = Recorder(self._ami, settings.recordings_dir, self.engine.submit)
        self._timeouts = Timeouts(self._ami, self._effects.run)
        self._recovery = recovery.Recovery(
            self.engine,
            self._link,
            self._translator,
            self._callers.recognise,
            settings.recordings_dir,
        )

    # ------------------------------------------------------------ life

    async def run(self) -> None:
        """Serve calls until cancelled.

        Raises (in an ExceptionGroup): Replaced, WrongCredentials and other set-up errors of ARI;
        AmiLoginRefused; EngineBroken; JournalConflict; SocketUnusable.
        """
        engine, clock = self.engine, self._clock
        engine.hold()
        started = m.EngineStarted(
            recovery.new_epoch(), self._journal.node, clocks.boot_id(), clock.offset_ns, VERSION
        )
        given = m.DefinitionGiven(self._loaded.definition, self._loaded.digest)
        engine.take([started, given, self._hours()])
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(engine.run())
                tasks.create_task(self._link.run())
                tasks.create_task(self._ami.run())
                tasks.create_task(self._close_gaps())
                tasks.create_task(self._keep_house())
                tasks.create_task(self._lamps.run())
                tasks.create_task(self._keep_hours())
                tasks.create_task(self._serve_people(tasks))
                if address := self.settings.agi:
                    tasks.create_task(agi.serve(self._front, address.host, address.port))
                tasks.create_task(sdnotify.beat(self._status))
                gc.freeze()  # what exists now lives as long as the process: no need to look at it again
                gc.enable()
        finally:
            self._tasks = None
            engine.save_snapshot()
            self._journal.close()
            self._attributes.close()
            self._lock.release()

    async def _serve_people(self, tasks: asyncio.TaskGroup) -> None:
        """Start what calls do without. It imports for half a second, which a restart owes to the callers."""
        with contextlib.suppress(TimeoutError):  # Asterisk is away: people want to see that
            async with asyncio.timeout(CALLS_FIRST_S):
                await self._calls_served.wait()
        tasks.create_task(control.serve(self, self.settings.control_path))
        if address := self.settings.http:
            tasks.create_task(http.serve(self._front, address, self.settings.state_dir))
        if self.settings.database_url:
            tasks.create_task(self._ship())
            tasks.create_task(self._remember(self.settings.database_url))
        else:
            log.warning("no DATABASE_URL: events stay in the journal, there will be no reports")

    async def _close_gaps(self) -> None:
        """Whenever the link comes up: bring floor and Asterisk together."""
        while True:
            await self._link_is_up.wait()
            self._link_is_up.clear()
            try:
                await self._recovery.close()
                self._calls_served.set()
            except AriError as error:
                log.warning("snapshot of asterisk failed", error=str(error))
                await asyncio.sleep(CLOSE_AGAIN_S)
                if self._link.up:
                    self._link_is_up.set()

    async def _keep_house(self) -> None:
        """Sync and prune the journal, off the loop."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            state = self.engine.floor.state
            # Who wraps a call up may still note something of it.
            live = frozenset(state.calls) | {agent.call for agent in state.agents.values() if agent.call}
            live |= {own.call for own in state.own.values()}
            self._attributes.prune(self._clock.now_ns())
            try:
                await asyncio.to_thread(self._journal.checkpoint)
                await asyncio.to_thread(self._journal.prune, live)
            except JournalError as error:
                log.warning("journal not tidied", error=str(error))

    def _hours(self) -> m.HoursGiven:
        loaded = self._reloader.loaded
        zone = loaded.definition.centre.time_zone
        return hours.given(loaded.site.hours, zone, self._clock.now_ns())

    async def _keep_hours(self) -> None:
        """Work opening hours out again, long before what is known of them ends."""
        while True:
            await asyncio.sleep(HOURS_AGAIN_S)
            self.engine.submit(self._hours())

    async def _remember(self, dsn: str) -> None:
        """Keep in mind who spoke with whom."""

        def page(since_ns: int, before_ns: int) -> list[tuple[str, str, int, int]]:
            # In this thread: on the loop, the driver's import held up all calls (2.6 s on a busy machine).
            from ari_app.store import memory

            try:
                return memory.spoke(dsn, since_ns, before_ns)
            except memory.MemoryUnavailable as error:
                raise MemoryAway(str(error)) from error

        await self._callers.keep(page, self._clock.now_ns)

    async def _ship(self) -> None:
        """Keep the shipper, a process of its own, alive."""
        command = (
            sys.executable,
            "-m",
            "ari_app.store.shipper",
            "--journal",
            str(self.settings.journal_path),
            "--parent",
            str(os.getpid()),
        )
        environment = {**os.environ, "DATABASE_URL": self.settings.database_url}
        while True:
            process = await asyncio.create_subprocess_exec(*command, env=environment)
            try:
                code = await process.wait()
            finally:
                if process.returncode is None:
                    await _stop(process)
            log.error("shipper ended; it is started again", code=code)
            await asyncio.sleep(SHIPPER_AGAIN_S)

    # ------------------------------------------------------------ what Asterisk says

    def _on_ari_event(self, event: object) -> None:
        if self._test_line.takes(event):
            return
        item = self._translator.translate(event)
        if isinstance(item, m.CallArrived):
            item = self._callers.recognise(item)
        if item is not None:
            self.engine.submit(item)

    def _on_link_state(self, state: LinkState) -> None:
        if state.phase == "up":
            self._link_is_up.set()
        elif state.phase == "down":
            self._link_is_up.clear()
            self._recovery.lost(str(state.error or "disconnected"))

    def _is_known(self, channel: str) -> bool:
        floor = self.engine.floor
        own = floor.state.own
        return channel in floor.by_channel or channel in floor.state.closing or channel in own

    def _dialled(self, endpoint: str) -> str:
        return self._reloader.loaded.site.dialled(endpoint)

    # ------------------------------------------------------------ what the core wishes

    def _run_effect(self, effect: m.AnyEffect) -> None:
        match effect:
            case m.Record():
                self._spawn(self._recorder.record(effect))
            case m.StopRecord():
                self._spawn(self._recorder.stop(effect))
            case m.Assemble():
                self._spawn(self._assemble(effect))
            case m.SetAbsolute():
                self._spawn(self._timeouts.set(effect))
            case m.AskPin():
                self._pins.ask(effect)
            case m.Alarm():
                log.error("alarm", call=effect.call, text=effect.text)
            case _:
                self._effects.run(effect)

    async def _assemble(self, effect: m.Assemble) -> None:
        if effect.recording in self._assembling:
            return  # the repair after a lost link asks again: two at once would take each other's files
        self._assembling.add(effect.recording)
        folder = self.settings.recordings_dir
        try:
            done = await self._assembled(folder, effect)
        except Exception as error:  # whatever a damaged file provokes is this recording's end, not ours
            if not isinstance(error, RecordingLost):
                log.exception("recording not assembled", recording=effect.recording)
            self.engine.submit(m.RecordingAssembled(effect.call, ok=False, error=str(error)))
        else:
            self.engine.submit(
                m.RecordingAssembled(effect.call, ok=True, file=done.file, duration_ns=done.duration_ns)
            )
        finally:
            self._assembling.discard(effect.recording)

    async def _assembled(self, folder: Path, effect: m.Assemble) -> Assembled:
        """The joined recording. On a full disk the raw tracks wait: they are all there is of that talk."""
        pause_s = ASSEMBLE_AGAIN_S
        while True:
            try:
                return await asyncio.to_thread(assemble, folder, effect.recording, effect.tracks)
            except OSError as error:
                log.error("alarm", call=effect.call, text=f"recording waits to be assembled: {error}")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, ASSEMBLE_AGAIN_MAX_S)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._tasks is None:  # shutting down, or not up yet: recovery will ask for it again
            work.close()
            return
        self._tasks.create_task(_alone(work))

    def _on_event(self, at_ns: int, event: m.AnyEvent) -> None:
        self._people.on_event(event)
        self._lamps.on_event(event)
        self._callers.on_event(at_ns, event)
        self._recent.add(at_ns, (event,))
        self._front.on_event(at_ns, event)
        log_event(event)

    # ------------------------------------------------------------ the desk (control API)

    def view(self) -> View:
        """The picture of this instant."""
        engine = self.engine
        now_ns, attributes = self._clock.now_ns(), self._attributes.of
        return build_view(engine.floor, self._recent, now_ns, self._people.of, attributes)

    def agent(self, name: str) -> AgentView | None:
        """One agent at this instant."""
        return build_agent(self.engine.floor, name, self._clock.now_ns())

    def why_call(self, call: str) -> tuple[str, ...]:
        """Why this live call still waits."""
        return why.caller(self.engine.floor, call, self._clock.now_ns())

    def why_agent(self, name: str) -> tuple[str, ...]:
        """Why this agent has no call, or has one."""
        return why.agent(self.engine.floor, name, self._clock.now_ns())

    async def ask(self, item: control.Wish) -> None:
        """A wish from the terminal or the API; returns when it is committed."""
        await self.engine.ask(item)

    def refusal(self, item: m.AgentAsked | m.AgentSkillsChanged | m.CrisisAsked) -> str:
        """Why the wish makes no sense now."""
        return refusal(self.engine.floor, item)

    def note(self, call: str, text: str) -> str:
        """Keep an agent's note of a call; "" or why it could not be kept."""
        try:
            return "" if self._people.note(call, text) else "the caller's row is erased, and notes with it"
        except JournalError as error:
            return str(error)

    def note_form(self, agent: str) -> notes.Form:
        """What the queue of the agent's call asks to be noted of it."""
        return notes.form(self.engine.floor, agent)

    def departures(self) -> list[Departure]:
        """Where supervisors have departed from the files."""
        return departures(self.engine.floor)

    async def reload(self, *, dry_run: bool) -> Reloaded:
        """The definition folder, taken over as it is now."""
        return await self._reloader.reload(dry_run=dry_run)

    def hang_up_signal(self) -> None:
        """SIGHUP: read the definition again."""
        self._spawn(self._reloader.reload_on_signal())

    async def test_call(self) -> Tested:
        """A call through Asterisk and this loop that no figure knows of."""
        return await self._test_line.call()

    def _status(self) -> str:
        state = self.engine.floor.state
        asterisk = "connected to Asterisk" if self._link.up else "Asterisk cannot be reached"
        return f"{len(state.calls)} calls; {asterisk}"

    def _round_trips(self) -> tuple[float | None, float | None]:
        return self._link.event_round_trip_s, self._link.command_round_trip_s

    def ready(self) -> Readiness:
        """Whether calls are served."""
        return Readiness(
            recovered=self.engine.floor.state.matching,
            ari=self._link.up,
            ami=self._ami.connected,
            journal_seq=self._journal.last_seq,
            shipper_lag=self._journal.last_seq - self._journal.shipped().seq,
        )


def _open_journal(path: Path) -> tuple[Journal, Floor]:
    """The journal and the floor it leaves. One that cannot be used is set apart, never deleted."""
    # A new one bears the name of the one before, so that the ledger closes what that one left open. One whose
    # log alone is damaged is empty, and not corrupt, to SQLite.
    node = _kept_node(path)
    try:
        journal = Journal(path, node=node)
        try:
            floor = recovery.fold(journal)
            _keep_node(path, journal.node)
            return journal, floor
        except (JournalCorrupt, msgspec.MsgspecError, KeyError, ValueError):
            journal.close()
            raise
    except (JournalCorrupt, msgspec.MsgspecError, KeyError, ValueError) as error:
        apart = Journal.set_apart(path)
        log.critical("journal cannot be used and was set apart", file=str(apart), error=str(error))
        journal = Journal(path, node=node)
        _keep_node(path, journal.node)
        return journal, Floor()


def _kept_node(path: Path) -> str:
    """The name of the journal that was last opened here; "" = not known."""
    try:
        name = path.with_name(path.name + NODE_SUFFIX).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""  # the ledger's rows of it stay as they are: nothing worse
    return name if NODE_NAME.fullmatch(name) else ""


def _keep_node(path: Path, node: str) -> None:
    """Keep the journal's name beside it: a corrupt one cannot be asked for it."""
    if _kept_node(path) == node:
        return
    try:
        path.with_name(path.name + NODE_SUFFIX).write_text(node + "\n", encoding="ascii")
    except OSError as error:
        log.warning("the journal's name could not be kept", error=str(error))


async def _alone(work: Coroutine[Any, Any, None]) -> None:
    """One effect's work. A mistake in it is an alarm; the other calls must not notice."""
    try:
        await work
    except Exception:
        log.exception("alarm", text="an effect failed")


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):  # ended by itself meanwhile: the goal is met
        process.terminate()
    try:
        async with asyncio.timeout(STOP_LIMIT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
