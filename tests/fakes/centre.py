"""The engine's shape without its I/O: core, an in-memory journal and the fake Asterisk.

``Centre`` steps, journals, then acts, as the engine does, and can die at any point of that:
before and after each append, and after each request of each effect. A restart folds the journal
and follows the order of design section 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from ari_app.core import adoption, messages as m, offers, topology
from ari_app.core.definition import SECOND_NS, Definition
from ari_app.core.floor import Floor
from ari_app.core.step import advance
from tests.fakes import checks
from tests.fakes.pbx import FakeAsterisk

ANSWER_GRACE_S = 3
"""How long recovery waits for legs that are picked up and on their way into Stasis."""


class Died(Exception):
    """The process is gone; only the journal and Asterisk are left."""


@dataclass
class Entry:
    at_ns: int
    input: m.AnyInput
    events: list[m.AnyEvent]


@dataclass
class Centre:
    """``die_at``: the crash points (numbered from 1 over the whole run) at which the process dies."""

    pbx: FakeAsterisk
    definition: Definition
    die_at: set[int] = field(default_factory=set)
    gap_s: float = 2.0
    """How long it stays dead before it is started again."""
    floor: Floor | None = None
    journal: list[Entry] = field(default_factory=list)
    points: int = 0
    epochs: int = 0
    apart: list[Entry] = field(default_factory=list)
    """What journals held that were set apart."""

    # ------------------------------------------------------------ life and death

    @property
    def alive(self) -> bool:
        return self.floor is not None

    @property
    def listening(self) -> bool:
        """Alive, with a link to Asterisk."""
        return self.alive and self.pbx.connected

    @property
    def live(self) -> Floor:
        if self.floor is None:
            raise Died("nobody is there")
        return self.floor

    def events(self) -> Iterator[m.AnyEvent]:
        """Every event of the journal."""
        for entry in self.journal:
            yield from entry.events

    def crash_point(self) -> None:
        self.points += 1
        if self.points in self.die_at:
            raise Died(f"at point {self.points}")

    def die(self) -> None:
        """``kill -9``."""
        self.floor = None
        self.pbx.disconnect()

    def fold(self) -> Floor:
        """A floor from the journal alone."""
        floor = Floor()
        for entry in self.journal:
            for event in entry.events:
                floor.evolve(entry.at_ns, event)
        return floor

    def start(self) -> None:
        """Start, or start again; a death on the way leads to the next start."""
        while True:
            try:
                self._start()
            except Died:
                self._dead_for_a_while()
            else:
                return

    def _dead_for_a_while(self) -> None:
        self.die()
        self.pbx.pass_to(self.pbx.now_ns + round(self.gap_s * SECOND_NS))

    def _start(self) -> None:
        self.epochs += 1
        epoch = f"e{self.epochs}"
        self.floor = self.fold()
        self._turn([m.EngineStarted(epoch, "node", "boot", 0, "0")])
        self._turn([self._given()])
        self._close_the_gap()

    def _given(self) -> m.DefinitionGiven:
        self.pbx.numbers = frozenset(self.definition.numbers)
        return m.DefinitionGiven(self.definition, str(hash(str(self.definition))))

    def define(self, definition: Definition) -> None:
        """A new definition, for the running process or the next one."""
        self.definition = definition
        if self.listening:
            self.feed(self._given())

    def _close_the_gap(self) -> None:
        self.pbx.connect()
        for _ in range(ANSWER_GRACE_S):
            if not topology.answering(self.live, self.pbx.snapshot()):
                break
            self.pbx.pass_to(self.pbx.now_ns + SECOND_NS)
        self._turn([self._complete(i) for i in topology.differences(self.live, self.pbx.snapshot())])
        self._turn(self.pbx.take_all())
        self._turn(list(self.live.due(self.pbx.now_ns)))
        seen = self.pbx.snapshot()
        self._turn(topology.holds(self.live, seen))
        self._act([*topology.repair(self.live, seen), *topology.resend(self.live)])
        self._turn([m.Recovered(len(seen.channels), len(self.live.state.calls))])
        self._drain()

    def _complete(self, item: m.AnyInput) -> m.AnyInput:
        if not isinstance(item, m.CallArrived) or item.talk is None:
            return item
        tracks = offers.track_files(adoption.recording_of(item.talk.bridge))
        return replace(item, talk=replace(item.talk, recorded=bool(self.pbx.files & set(tracks))))

    def set_apart(self) -> None:
        """Dead, and the journal is corrupt: the next start has a new one. PostgreSQL has the old events."""
        self.die()
        self.apart += self.journal
        self.pbx.hung_up_by_us.clear()
        self.journal = []

    def lose_link(self) -> None:
        """Both sockets break; the process lives, hears nothing and cannot command."""
        if self.alive and self.pbx.connected:
            self._mortal([m.LinkFailed("test")])
            self.pbx.disconnect(process_lives=True)

    def regain_link(self) -> None:
        """The link is back: the gap is closed as after a restart, without the fold."""
        if self.alive and not self.pbx.connected:
            try:
                self._close_the_gap()
            except Died:
                self._dead_for_a_while()
                self.start()

    # ------------------------------------------------------------ the loop

    def _turn(self, items: Sequence[m.AnyInput]) -> None:
        """Step all, commit all, then act on all, as the engine does."""
        floor, now_ns = self.live, self.pbx.now_ns
        entries: list[Entry] = []
        effects: list[m.AnyEffect] = []
        for given in items:
            item = given
            try:
                step = advance(floor, item, now_ns)
            except (ArithmeticError, LookupError) as error:  # a bad definition; IllegalMove would be ours
                item = failed(floor, item, error)
                step = advance(floor, item, now_ns)
            checks.after_step(floor, step, now_ns)
            if step.events:
                entries.append(Entry(now_ns, item, list(step.events)))
            effects.extend(step.effects)
        self.crash_point()
        if entries:
            self.journal.extend(entries)
            self.crash_point()
        self._act(effects)

    def _act(self, effects: list[m.AnyEffect]) -> None:
        for effect in effects:
            for _ in self.pbx.run(effect):
                self.crash_point()

    def _drain(self) -> None:
        while self.pbx.pending:
            self._turn([self.pbx.take()])

    def feed(self, item: m.AnyInput) -> None:
        """One input, by whatever way it came. Lost if nobody is there; nothing is heard without a link."""
        if self.listening:
            self._mortal([item])

    def deliver(self, stream: str) -> None:
        """The next observation of one stream."""
        self.feed(self.pbx.take(stream))

    def deliver_all(self) -> None:
        """Everything that is on its way, in one turn."""
        if self.listening:
            self._mortal(self.pbx.take_all())

    def overdue(self) -> None:
        """What the floor has due now, in one turn. Deadlines wait while the link is down."""
        if self.listening:
            self._mortal(list(self.live.due(self.pbx.now_ns)))

    def settle(self) -> None:
        """Deliver everything, until nothing more comes."""
        while self.alive and self.pbx.pending:
            self._mortal([self.pbx.take()])

    def _mortal(self, items: Sequence[m.AnyInput]) -> None:
        try:
            self._turn(items)
        except Died:
            self._dead_for_a_while()
            self.start()

    def passes(self, seconds: float) -> None:
        """Time passes; everything falls due and is delivered in its order."""
        until_ns = self.pbx.now_ns + round(seconds * SECOND_NS)
        self.settle()
        while self.pbx.now_ns < until_ns:
            own_ns = self.live.next_due_ns() if self.listening else None
            stops = [t for t in (own_ns, self.pbx.next_timer_ns()) if t is not None and t <= until_ns]
            self.pbx.pass_to(min(stops, default=until_ns))
            self.settle()
            self.overdue()
            self.settle()
            checks.at_rest(self)


def failed(floor: Floor, item: m.AnyInput, error: Exception) -> m.StepFailed:
    """What the engine makes of an input that ``step`` raised on."""
    channel = getattr(item, "channel", "")
    call = floor.call_of(channel)
    if call is None and isinstance(item, m.PromptEnded):
        call = floor.state.calls.get(item.playback.rsplit(".play.", 1)[0])
    found = (call.id, call.channel) if call else ("", channel)
    return m.StepFailed(type(item).__name__, found[1], found[0], type(error).__name__)
