"""The single writer: inbox, step, commit, effects, deadlines.

Inputs are stepped and applied one by one; the events of a whole turn are committed in one
transaction; only then do the effects run. A commit that fails runs no effect: the turn's events are
kept and committed again later, calls in progress go on talking in Asterisk, and new callers are
sent to the static fallback meanwhile, with an alarm.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from ari_app.clock import Clock
from ari_app.core import messages as m
from ari_app.core.floor import Floor
from ari_app.core.step import settle, step
from ari_app.store.journal import Entry, JournalUnavailable

log = structlog.get_logger(__name__)

TURN_LIMIT = 500
"""Inputs a turn takes at most, so that one commit stays short."""
COMMIT_AGAIN_S = 0.2
STALL_S = 0.02
HEAR_S = 0.05
"""Woken more than ``STALL_S`` later than meant (a process was stopped, a machine slept or is overloaded), the
readers get this long to hand over what has come meanwhile: it happened before the deadline was looked at."""
SNAPSHOT_EVERY = 5_000
"""Events between two snapshots of the floor; bounds the replay at a restart."""


class JournalLike(Protocol):
    """What the engine needs of a journal; a replicated log can be one too."""

    last_seq: int

    def append(self, epoch: str, entries: Sequence[Entry], expected_seq: int) -> int: ...

    def save_snapshot(self, seq: int, state: bytes) -> None: ...


class EngineBroken(Exception):
    """The floor in memory no longer follows from the journal. Stop: a restart folds it anew."""


class Engine:
    """Owns the floor. Everything else submits inputs and runs effects.

    ``run_effect`` is called once for each effect, in order, after its events are committed.
    ``on_event`` is called for each committed event (log lines, people's rows, live views).
    """

    def __init__(
        self,
        floor: Floor,
        journal: JournalLike,
        clock: Clock,
        run_effect: Callable[[m.AnyEffect], None],
        on_event: Callable[[int, m.AnyEvent], None],
    ) -> None:
        self.floor = floor
        self.clock = clock
        self.suspended = ""
        """Why the journal cannot be written at present; "" = it can."""
        self._journal = journal
        self.run_effect = run_effect
        self._on_event = on_event
        self._inbox: deque[tuple[m.AnyInput, asyncio.Future[None] | None]] = deque()
        self._awake = asyncio.Event()
        self._held = False
        self._uncommitted: tuple[list[Entry], list[m.AnyEffect], list[asyncio.Future[None]]] = ([], [], [])
        self._snapshot_seq = journal.last_seq

    # ------------------------------------------------------------ for the shell

    def submit(self, item: m.AnyInput) -> None:
        """Queue one observation. Never blocks, never fails."""
        self._inbox.append((item, None))
        self._awake.set()

    async def ask(self, item: m.AnyInput) -> None:
        """Queue one observation and wait until its events are committed."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inbox.append((item, done))
        self._awake.set()
        await done

    def hold(self) -> None:
        """Let inputs wait (the snapshot comes first); deadlines wait too."""
        self._held = True

    def release(self) -> None:
        """Step what waited, then the deadlines that are over, and go on."""
        self._held = False
        self._awake.set()

    def take(self, items: Sequence[m.AnyInput]) -> None:
        """Step, commit and act on ``items`` at once, past the inbox and the deadlines. For recovery only."""
        self._turn([(item, None) for item in items], deadlines=False)

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            EngineBroken: an event did not fit the floor; nothing of that turn was committed.
            JournalConflict: another process writes the journal.
        """
        while True:
            await self._wait()
            if self._uncommitted[0]:
                self._commit_again()
            elif not self._held:
                batch = [self._inbox.popleft() for _ in range(min(len(self._inbox), TURN_LIMIT))]
                self._turn(batch)

    # ------------------------------------------------------------ one turn

    async def _wait(self) -> None:
        if self._inbox and not self._held and not self._uncommitted[0]:
            await asyncio.sleep(0)  # let readers and writers have their share between two turns
            return
        self._awake.clear()
        patience_s = self._patience_s()
        began_ns = self.clock.now_ns()
        try:
            async with asyncio.timeout(patience_s):
                await self._awake.wait()
        except TimeoutError:
            # A deadline is due, or the journal is to be tried again.
            if (self.clock.now_ns() - began_ns) / 1e9 > (patience_s or 0.0) + STALL_S:
                await asyncio.sleep(HEAR_S)

    def _patience_s(self) -> float | None:
        if self._uncommitted[0]:
            return COMMIT_AGAIN_S
        if self._held:
            return None
        due_ns = self.floor.next_due_ns()
        return None if due_ns is None else max(0.0, (due_ns - self.clock.now_ns()) / 1e9)

    def _turn(
        self, batch: Sequence[tuple[m.AnyInput, asyncio.Future[None] | None]], *, deadlines: bool = True
    ) -> None:
        entries: list[Entry] = []
        effects: list[m.AnyEffect] = []
        waiting: list[asyncio.Future[None]] = []
        for item, done in batch:
            self._decide(item, entries, effects)
            if done is not None:
                waiting.append(done)
        if deadlines:
            for passed in self.floor.due(self.clock.now_ns()):
                self._decide(passed, entries, effects)
        self._commit(entries, effects, waiting)

    def _decide(self, item: m.AnyInput, entries: list[Entry], effects: list[m.AnyEffect]) -> None:
        now_ns = self.clock.now_ns()
        try:
            decided = step(self.floor, item, now_ns)
        except Exception as error:
            # One poisonous input must not stop the others; the floor is as it was.
            log.exception("step failed", input=type(item).__name__)
            item = self._failure(item, error)
            decided = step(self.floor, item, now_ns)
        try:
            settle(self.floor, decided, now_ns)
        except Exception as error:
            raise EngineBroken(f"{type(item).__name__}: {error}") from error
        if decided.events:
            entries.append(Entry(now_ns, item, decided.events))
        effects.extend(decided.effects)

    def _failure(self, item: m.AnyInput, error: Exception) -> m.StepFailed:
        channel: str = getattr(item, "channel", "")
        key: str = getattr(item, "call", "") or getattr(item, "key", "")
        playback: str = getattr(item, "playback", "")
        call = self.floor.call_of(channel)
        agent = self.floor.agent_of(channel)
        if call is not None:
            key = call.id
        elif agent is not None:
            key = agent.call
        elif playback:
            key = playback.rsplit(".play.", 1)[0]
        return m.StepFailed(type(item).__name__, channel, key, f"{type(error).__name__}: {error}")

    # ------------------------------------------------------------ commit, then act

    def _commit(
        self, entries: list[Entry], effects: list[m.AnyEffect], waiting: list[asyncio.Future[None]]
    ) -> None:
        if self._uncommitted[0]:  # recovery does not wait for its turn: what came before is committed before
            earlier = self._uncommitted
            self._uncommitted = (earlier[0] + entries, earlier[1] + effects, earlier[2] + waiting)
            self._commit_again()
            return
        if entries:
            try:
                self._journal.append(self.floor.state.epoch, entries, self._journal.last_seq)
            except JournalUnavailable as error:
                self._uncommitted = (entries, effects, waiting)
                self._suspend(str(error))
                return
        self._act(entries, effects, waiting)

    def _commit_again(self) -> None:
        entries, effects, waiting = self._uncommitted
        try:
            self._journal.append(self.floor.state.epoch, entries, self._journal.last_seq)
        except JournalUnavailable:
            self._turn_callers_away()
            return
        self._uncommitted = ([], [], [])
        log.warning("journal is writable again", was=self.suspended)
        self.suspended = ""
        self._act(entries, effects, waiting)

    def _suspend(self, reason: str) -> None:
        self.suspended = reason
        log.critical("journal cannot be written: no new calls, no decisions", reason=reason)
        self._turn_callers_away()

    def _turn_callers_away(self) -> None:
        """Nothing can be decided for who arrives now: the dialplan's fallback takes them."""
        kept: deque[tuple[m.AnyInput, asyncio.Future[None] | None]] = deque()
        for item, done in self._inbox:
            if isinstance(item, m.CallArrived):
                self.run_effect(m.ToFallback(item.channel))
            else:
                kept.append((item, done))
        self._inbox = kept

    def _act(
        self, entries: list[Entry], effects: list[m.AnyEffect], waiting: list[asyncio.Future[None]]
    ) -> None:
        for entry in entries:
            for event in entry.events:
                self._on_event(entry.at_ns, event)
        for effect in effects:
            self.run_effect(effect)
        for done in waiting:
            if not done.done():
                done.set_result(None)
        self._snapshot_if_due()

    def _snapshot_if_due(self) -> None:
        seq = self._journal.last_seq
        if seq - self._snapshot_seq < SNAPSHOT_EVERY:
            return
        self._snapshot_seq = seq
        self.save_snapshot()

    def save_snapshot(self) -> None:
        """Keep the floor as it is; a failure only makes the next restart slower."""
        if self._uncommitted[0]:
            return  # the floor is ahead of the journal: a restart would believe what is written nowhere
        try:
            self._journal.save_snapshot(self._journal.last_seq, self.floor.dump())
        except JournalUnavailable as error:
            log.warning("snapshot not kept", error=str(error))
