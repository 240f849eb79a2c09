"""The floor: every call, agent and queue of one call centre, and what is due.

``evolve`` applies one event; it alone changes the floor, in place, and recovery uses nothing
else. The indexes (who waits where, who is free, which channel belongs to whom, deadlines) are
derived from the records and are rebuilt by ``restore``.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Literal, assert_never

import msgspec
from msgspec import Struct

from ari_app.core import agent as agents
from ari_app.core import call as calls
from ari_app.core import messages as m
from ari_app.core.agent import Agent
from ari_app.core.call import Call
from ari_app.core.definition import Definition
from ari_app.core.errors import IllegalMove
from ari_app.core.stats import Stats

DeadlineKind = Literal["renew", "menu", "ring", "wrap", "rest", "release", "session"]
CALL_DEADLINES: tuple[DeadlineKind, ...] = ("renew", "menu", "ring")
AGENT_DEADLINES: tuple[DeadlineKind, ...] = ("wrap", "rest", "release")


class Session(Struct):
    """An agent's phone on a feature code."""

    channel: str
    agent: str
    action: m.Action
    stage: Literal["pin", "confirm"] = "pin"
    visit: int = 0
    playback: str = ""
    until_ns: int = 0


class Track(Struct):
    """One participant's side of a recording; ``began_ns`` aligns the two.

    Until ``confirmed`` the instant is the connection's, off by the answer's way back.
    """

    track: Literal["caller", "agent"]
    channel: str
    file: str
    began_ns: int
    confirmed: bool = False


class Recording(Struct):
    """A recording that is running, or ended and not yet assembled."""

    id: str
    call: str
    tracks: list[Track]
    ended: bool = False


class State(Struct):
    """All that a snapshot stores; everything else of the floor is derived from it."""

    epoch: str = ""
    node: str = ""
    boot_id: str = ""
    offset_ns: int = 0
    digest: str = ""
    matching: bool = False
    at_ns: int = 0
    opened: int = 0
    definition: Definition = Definition()
    calls: dict[str, Call] = {}
    agents: dict[str, Agent] = {}
    sessions: dict[str, Session] = {}
    recordings: dict[str, Recording] = {}
    closing: dict[str, str] = {}
    """Channel -> call, for ended calls whose channel is not yet confirmed gone."""
    stats: Stats = msgspec.field(default_factory=Stats)
    """The day's live figures; here, so that they go on after a restart."""
    sent_on: set[str] = set()
    """Those of ``closing`` that go to the static fallback; they must not be hung up."""


class Floor:
    """The aggregate. Only the engine's single writer calls ``evolve``."""

    def __init__(self, state: State | None = None) -> None:
        self.state = state or State()
        self.by_channel: dict[str, str] = {}
        """Caller's channel -> call."""
        self.by_leg: dict[str, str] = {}
        """Agent's leg -> agent, until the leg is confirmed gone."""
        self.lines: dict[str, list[tuple[int, int, int, str]]] = {}
        """Queue -> callers who wait without an offer, in the order in which they are due."""
        self.members: dict[str, list[str]] = {}
        self.touched: set[str] = set()
        """Queues in which somebody became free or began to wait since the last match."""
        self._due: list[tuple[int, DeadlineKind, str]] = []
        self._reindex()

    # ------------------------------------------------------------ reading

    @property
    def definition(self) -> Definition:
        return self.state.definition

    def call_of(self, channel: str) -> Call | None:
        """The live call of this caller's channel."""
        key = self.by_channel.get(channel)
        return self.state.calls.get(key) if key else None

    def agent_of(self, leg: str) -> Agent | None:
        """The agent whose phone this leg rings or holds."""
        key = self.by_leg.get(leg)
        return self.state.agents.get(key) if key else None

    def position(self, call: Call) -> int:
        """1-based place among those of the queue who have no agent yet; 0 = not waiting.

        A caller who is being offered keeps their place: nobody is counted as having passed them.
        """
        if call.state not in ("waiting", "offered"):
            return 0
        mine = call.line_key()
        ahead = sum(
            1
            for other in self.state.calls.values()
            if other.queue == call.queue and other.state in ("waiting", "offered") and other.line_key() < mine
        )
        return ahead + 1

    # ------------------------------------------------------------ deadlines

    def next_due_ns(self) -> int | None:
        """The earliest instant at which something is due."""
        self._drop_stale()
        return self._due[0][0] if self._due else None

    def due(self, now_ns: int) -> Iterator[m.DeadlinePassed]:
        """Everything due at ``now_ns``, earliest first; each is given out once."""
        while True:
            self._drop_stale()
            if not self._due or self._due[0][0] > now_ns:
                return
            due_ns, kind, key = heapq.heappop(self._due)
            yield m.DeadlinePassed(kind, key, due_ns)

    def is_due(self, kind: str, key: str, due_ns: int) -> bool:
        """Whether this deadline still stands: it may have been met or moved meanwhile."""
        return due_ns > 0 and self._deadline(kind, key) == due_ns

    def _deadline(self, kind: str, key: str) -> int:
        state = self.state
        if kind in ("renew", "menu", "ring"):
            call = state.calls.get(key)
            if call is None:
                return 0
            if kind == "renew":
                return call.renew_at_ns if call.state != "talking" else 0
            if kind == "menu":
                return call.input_until_ns
            return call.offer.until_ns if call.offer else 0
        if kind == "session":
            session = state.sessions.get(key)
            return session.until_ns if session else 0
        agent = state.agents.get(key)
        if agent is None:
            return 0
        if kind == "wrap":
            return agent.wrap_until_ns
        if kind == "release":
            return agent.release_at_ns
        return agent.not_before_ns

    def _drop_stale(self) -> None:
        while self._due and not self.is_due(self._due[0][1], self._due[0][2], self._due[0][0]):
            heapq.heappop(self._due)

    def _at(self, kind: DeadlineKind, key: str) -> None:
        due_ns = self._deadline(kind, key)
        if due_ns:
            heapq.heappush(self._due, (due_ns, kind, key))

    # ------------------------------------------------------------ evolve

    def evolve(self, at_ns: int, event: m.AnyEvent) -> None:
        """Apply one fact that happened at ``at_ns``.

        Raises:
            IllegalMove, KeyError: the event does not fit this floor.
        """
        self.state.at_ns = max(self.state.at_ns, at_ns)
        match event:
            case m.EpochBegan() | m.DefinitionLoaded() | m.MatchingBegan() | m.MatchingHeld():
                self._evolve_engine(event)
            case m.CallOpened():
                self._open(event, at_ns)
            case (
                m.NodeEntered()
                | m.InputAwaited()
                | m.MenuChosen()
                | m.MenuMissed()
                | m.CallQueued()
                | m.TimeoutRenewed()
            ):
                self._evolve_call(event)
            case m.OfferMade() | m.OfferDialled() | m.OfferRinging() | m.OfferLapsed():
                self._evolve_both(event, at_ns)
            case m.CallConnected() | m.ConnectFailed() | m.CallBridged():
                self._evolve_both(event, at_ns)
            case m.CallEnded():
                self._end(event, at_ns)
            case m.CallerReleased():
                self.state.closing.pop(event.channel, None)
                self.state.sent_on.discard(event.channel)
            case m.CallQuarantined():
                self._quarantine(event, at_ns)
            case (
                m.WrapUpStarted()
                | m.WrapUpEnded()
                | m.LegReleased()
                | m.ReleaseAwaited()
                | m.AgentFreed()
                | m.AgentSignedIn()
                | m.AgentSignedOut()
                | m.AgentPaused()
                | m.AgentResumed()
                | m.AgentRested()
                | m.PinRefused()
                | m.PinAccepted()
                | m.AgentUnlocked()
            ):
                self._evolve_agent(event, at_ns)
            case m.SessionOpened() | m.SessionMoved() | m.SessionClosed():
                self._evolve_session(event)
            case m.RecordingStarted() | m.RecordingFailed() | m.RecordingFinished():
                self._evolve_recording(event, at_ns)
            case _:
                assert_never(event)
        # Last: an event that was refused counts for nothing.
        self.state.stats.fold(at_ns, event, self.state.definition.queues)

    def _evolve_engine(
        self, event: m.EpochBegan | m.DefinitionLoaded | m.MatchingBegan | m.MatchingHeld
    ) -> None:
        state = self.state
        match event:
            case m.EpochBegan():
                state.epoch, state.node, state.boot_id = event.epoch, event.node, event.boot_id
                state.offset_ns, state.matching = event.offset_ns, False
            case m.DefinitionLoaded():
                state.definition, state.digest = event.definition, event.digest
                self._staff()
                self._membership()
            case m.MatchingBegan():
                state.matching = True
                self.touched.update(self.members)
            case m.MatchingHeld():
                state.matching = False

    def _staff(self) -> None:
        """Agents after a new definition; who is at work stays on the books."""
        known = self.state.definition.agents
        for key in known:
            self.state.agents.setdefault(key, Agent(key))
        for key in [k for k, a in self.state.agents.items() if k not in known and a.state == "signed_out"]:
            del self.state.agents[key]

    def _membership(self) -> None:
        known = self.state.definition.agents
        self.members = {queue: [] for queue in self.state.definition.queues}
        for key, agent in known.items():
            for queue in agent.queues:
                self.members[queue].append(key)
        self.touched.update(self.members)

    def _open(self, event: m.CallOpened, at_ns: int) -> None:
        if event.call in self.state.calls or event.channel in self.by_channel:
            raise IllegalMove(f"call {event.call} or its channel is open already")
        self.state.opened += 1
        self.state.calls[event.call] = Call(
            id=event.call,
            channel=event.channel,
            number=event.number,
            flow=event.flow,
            opened_ns=at_ns,
            order=self.state.opened,
            renew_at_ns=event.renew_at_ns,
        )
        self.by_channel[event.channel] = event.call
        self._at("renew", event.call)

    def _evolve_call(
        self,
        event: m.NodeEntered | m.InputAwaited | m.MenuChosen | m.MenuMissed | m.CallQueued | m.TimeoutRenewed,
    ) -> None:
        call = self.state.calls[event.call]
        calls.apply(call, event)
        if isinstance(event, m.CallQueued):
            self._wait(call)
        elif isinstance(event, m.InputAwaited):
            self._at("menu", call.id)
        elif isinstance(event, m.TimeoutRenewed):
            self._at("renew", call.id)

    def _evolve_both(
        self,
        event: m.OfferMade
        | m.OfferDialled
        | m.OfferRinging
        | m.OfferLapsed
        | m.CallConnected
        | m.ConnectFailed
        | m.CallBridged,
        at_ns: int,
    ) -> None:
        call, agent = self.state.calls[event.call], self.state.agents[event.agent]
        if (agent.state, type(event)) not in agents.MOVES:
            raise IllegalMove(f"agent {agent.id} ({agent.state}) cannot take {type(event).__name__}")
        if agent.call != ("" if isinstance(event, m.OfferMade) else call.id):
            raise IllegalMove(f"agent {agent.id} has {agent.call!r}, not {type(event).__name__} of {call.id}")
        calls.apply(call, event)  # raises before anything changed
        agents.apply(agent, event, at_ns)
        match event:
            case m.OfferMade():
                self._leave_line(call)
                self.by_leg[event.leg] = agent.id
                self._at("ring", call.id)
            case m.OfferLapsed() | m.ConnectFailed():
                self._wait(call)
                self._at("renew", call.id)
                if isinstance(event, m.ConnectFailed):
                    self._recording_over(call.id)
            case m.CallConnected():
                if event.recording:
                    self._record(call, event, at_ns)
            case _:
                pass

    def _end(self, event: m.CallEnded, at_ns: int) -> None:
        call = self.state.calls[event.call]
        if call.state == "talking":
            agents.apply(self.state.agents[call.agent], event, at_ns)
        calls.apply(call, event)
        self._leave_line(call)
        self._forget(call, to_fallback=event.outcome == "fallback")

    def _forget(self, call: Call, *, to_fallback: bool) -> None:
        if to_fallback:
            self.state.sent_on.add(call.channel)
        del self.state.calls[call.id]
        self.by_channel.pop(call.channel, None)
        self.state.closing[call.channel] = call.id
        self._recording_over(call.id)

    def _recording_over(self, call: str) -> None:
        for recording in [r for r in self.state.recordings.values() if r.call == call]:
            recording.ended = True

    def _record(self, call: Call, event: m.CallConnected, at_ns: int) -> None:
        rec = event.recording
        tracks = [
            Track("caller", call.channel, f"{rec}.caller.raw", at_ns),
            Track("agent", event.leg, f"{rec}.agent.raw", at_ns),
        ]
        self.state.recordings[rec] = Recording(rec, call.id, tracks)

    def _quarantine(self, event: m.CallQuarantined, at_ns: int) -> None:
        """Whatever state the call is in, it leaves the floor and its agent is let go."""
        call = self.state.calls.get(event.call)
        if call is None:
            return
        self._leave_line(call)
        name = call.offer.agent if call.offer else call.agent
        agent = self.state.agents.get(name)
        if agent is not None and agent.call == call.id:
            agent.state, agent.since_ns, agent.call = "releasing", at_ns, ""
        self._forget(call, to_fallback=True)

    def _evolve_agent(
        self,
        event: m.WrapUpStarted
        | m.WrapUpEnded
        | m.LegReleased
        | m.ReleaseAwaited
        | m.AgentFreed
        | m.AgentSignedIn
        | m.AgentSignedOut
        | m.AgentPaused
        | m.AgentResumed
        | m.AgentRested
        | m.PinRefused
        | m.PinAccepted
        | m.AgentUnlocked,
        at_ns: int,
    ) -> None:
        agent = self.state.agents[event.agent]
        agents.apply(agent, event, at_ns)
        match event:
            case m.WrapUpStarted():
                self._at("wrap", agent.id)
            case m.ReleaseAwaited():
                self._at("release", agent.id)
            case m.LegReleased():
                self.by_leg.pop(event.leg, None)
            case m.AgentFreed() if event.not_before_ns:
                self._at("rest", agent.id)
            case _:
                pass
        if agent.state == "ready" and not agent.not_before_ns:
            self._touch_queues_of(agent.id)

    def _touch_queues_of(self, agent: str) -> None:
        definition = self.state.definition.agents.get(agent)
        if definition is not None:
            self.touched.update(definition.queues)

    def _evolve_session(self, event: m.SessionOpened | m.SessionMoved | m.SessionClosed) -> None:
        match event:
            case m.SessionOpened():
                self.state.sessions[event.channel] = Session(event.channel, event.agent, event.action)
            case m.SessionMoved():
                session = self.state.sessions[event.channel]
                session.stage, session.visit = event.stage, event.visit
                session.playback, session.until_ns = event.playback, event.until_ns
                self._at("session", event.channel)
            case m.SessionClosed():
                self.state.sessions.pop(event.channel, None)

    def _evolve_recording(
        self, event: m.RecordingStarted | m.RecordingFailed | m.RecordingFinished, at_ns: int
    ) -> None:
        recording = self.state.recordings.get(event.recording)
        if recording is None:
            return
        if isinstance(event, m.RecordingStarted):
            for track in recording.tracks:
                if track.track == event.track:
                    track.began_ns, track.confirmed = at_ns, True
        elif isinstance(event, m.RecordingFinished) or event.final:
            del self.state.recordings[event.recording]

    # ------------------------------------------------------------ indexes

    def _wait(self, call: Call) -> None:
        insort(self.lines.setdefault(call.queue, []), (*call.line_key(), call.id))
        self.touched.add(call.queue)

    def _leave_line(self, call: Call) -> None:
        line = self.lines.get(call.queue, [])
        entry = (*call.line_key(), call.id)
        index = bisect_left(line, entry)
        if index < len(line) and line[index] == entry:
            del line[index]

    def _reindex(self) -> None:
        state = self.state
        self._membership()
        for call in state.calls.values():
            self.by_channel[call.channel] = call.id
            if call.state == "waiting":
                self._wait(call)
            for kind in CALL_DEADLINES:
                self._at(kind, call.id)
        for agent in state.agents.values():
            if agent.leg:
                self.by_leg[agent.leg] = agent.id
            for kind in AGENT_DEADLINES:
                self._at(kind, agent.id)
        for channel in state.sessions:
            self._at("session", channel)

    def dump(self) -> bytes:
        """The state as a snapshot (MessagePack)."""
        return msgspec.msgpack.encode(self.state)

    @classmethod
    def restore(cls, snapshot: bytes) -> Floor:
        """A floor from ``dump``; equal to the one that was dumped.

        Raises:
            msgspec.ValidationError: not a snapshot of this version.
        """
        return cls(msgspec.msgpack.decode(snapshot, type=State))
