"""The floor: every call, agent and queue of one call centre, and what is due.

``evolve`` applies one event; it alone changes the floor, in place, and recovery uses nothing
else. The indexes (who waits where, who is free, which channel belongs to whom, deadlines) are
derived from the records and are rebuilt by ``restore``.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Literal, assert_never

import msgspec
from msgspec import Struct

from ari_app.core import agent as agents, call as calls, messages as m, staff, strategies
from ari_app.core.agent import Agent
from ari_app.core.call import Call, CallState, Leg
from ari_app.core.definition import Agent as Written, Definition, Phone, Queue, Strategy
from ari_app.core.errors import IllegalMove
from ari_app.core.matcher import Matcher, Need, Rank
from ari_app.core.stats import Stats

CallDeadline = Literal["renew", "menu", "ring", "wait", "forward", "message"]
DeadlineKind = CallDeadline | Literal["wrap", "rest", "release", "session", "hours"]
CALL_DEADLINES: tuple[DeadlineKind, ...] = ("renew", "menu", "ring", "wait", "forward", "message")
OfWait = (
    m.NodeEntered
    | m.InputAwaited
    | m.MenuChosen
    | m.MenuMissed
    | m.CallQueued
    | m.WaitAdvanced
    | m.CallOverflowed
    | m.ForwardMade
    | m.ForwardLapsed
    | m.ForwardConnected
    | m.ForwardBridged
    | m.MessageBegan
    | m.TimeoutRenewed
    | m.JoinsEnded
)
OfBoth = (
    m.OfferMade
    | m.OfferDialled
    | m.OfferRinging
    | m.PhoneTried
    | m.PhoneLapsed
    | m.ConfirmAsked
    | m.OfferLapsed
    | m.CallConnected
    | m.TalkFound
    | m.ConnectFailed
    | m.CallBridged
    | m.CallHeld
    | m.CallUnheld
)
OfAgent = (
    m.WrapUpStarted
    | m.WrapUpRequested
    | m.WrapUpExtended
    | m.DispositionGiven
    | m.WrapUpEnded
    | m.LegReleased
    | m.ReleaseAwaited
    | m.AgentFreed
    | m.AgentSignedIn
    | m.AgentSignedOut
    | m.AgentPaused
    | m.AgentResumed
    | m.AgentRested
    | m.PhoneChanged
    | m.PinRefused
    | m.PinAccepted
    | m.AgentUnlocked
)
OfRest = (
    m.EpochBegan
    | m.DefinitionLoaded
    | m.MatchingBegan
    | m.MatchingHeld
    | m.CallOpened
    | m.CallEnded
    | m.CallerReleased
    | m.CallQuarantined
    | m.OwnCallBegan
    | m.OwnCallAnswered
    | m.OwnCallEnded
    | m.AgentSeated
    | m.AgentAltered
    | m.HoursSet
    | m.HoursTurned
    | m.CrisisSwitched
    | m.SessionOpened
    | m.SessionNamed
    | m.SessionMoved
    | m.SessionClosed
    | m.RecordingStarted
    | m.RecordingFailed
    | m.RecordingFinished
)
IN_LINE: frozenset[CallState] = frozenset({"waiting", "offered"})
CONVERSING: frozenset[CallState] = frozenset({"talking", "forwarded"})
"""In a bridge with somebody; no absolute time-out then."""
AGENT_DEADLINES: tuple[DeadlineKind, ...] = ("wrap", "rest", "release")


class Own(Struct):
    """A call that an agent's phone made or got by itself, until its channel is gone."""

    call: str
    agent: str
    answered: bool = False


class Session(Struct):
    """An agent's phone on a feature code."""

    channel: str
    agent: str
    action: m.Action
    desk: str = ""
    named_at: int = 0
    """The number of prompts before it was known who dials."""
    stage: Literal["agent", "pin", "confirm", "choose"] = "pin"
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
    dropped: bool = False
    """No talk came of it: it is stopped, and its files go."""


class Opening(Struct, frozen=True):
    """Opening hours at present; ``next_ns``: the next boundary, 0 = none is known."""

    state: m.OpenState
    next_ns: int


class Crisis(Struct, frozen=True):
    """The emergency switch is on."""

    since_ns: int
    by: str


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
    last_offered: dict[str, str] = {}
    """Queue -> the agent who was offered its latest call: the memory of round robin."""
    hours: dict[str, tuple[m.Boundary, ...]] = {}
    opening: dict[str, Opening] = {}
    seats: dict[str, str] = {}
    """Desk -> the agent who is signed in there."""
    own: dict[str, Own] = {}
    """Channel -> the agent's own call."""
    crisis: dict[str, Crisis] = {}
    """Queue -> since when it is in crisis; "" = everything."""
    overrides: dict[str, staff.Override] = {}
    """What supervisors changed at run time; ``definition`` stays as the files have it."""


class Floor:
    """The aggregate. Only the engine's single writer calls ``evolve``."""

    def __init__(self, state: State | None = None) -> None:
        self.state = state or State()
        self.by_channel: dict[str, str] = {}
        """Caller's channel -> call."""
        self.by_leg: dict[str, str] = {}
        """Agent's leg -> agent, until the leg is confirmed gone."""
        self.onward: dict[str, str] = {}
        """Leg to a number outside -> call."""
        self.others: dict[str, str] = {}
        """Channel that is none of ours -> the agent at whose phone it is."""
        self.definition = Definition()
        """What holds now: the files', with what supervisors changed at run time."""
        self.in_line: dict[str, int] = {}
        """Queue -> callers who have no agent yet, those being offered included."""
        self.members: dict[str, list[str]] = {}
        """Queue -> its own agents, in the definition's order."""
        self.order: dict[str, int] = {}
        """Agent -> place in the definition."""
        self.matcher = Matcher(self._rank)
        """Who waits for what without an offer, and who is free for it."""
        self._due: list[tuple[int, DeadlineKind, str]] = []
        self._reindex()

    # ------------------------------------------------------------ reading

    def call_of(self, channel: str) -> Call | None:
        """The live call of this caller's channel."""
        key = self.by_channel.get(channel)
        return self.state.calls.get(key) if key else None

    def forwarded_by(self, leg: str) -> Call | None:
        """The call that this leg to a number outside rings or talks for."""
        key = self.onward.get(leg)
        return self.state.calls.get(key) if key else None

    def agent_of(self, leg: str) -> Agent | None:
        """The agent whose phone this leg rings or holds."""
        key = self.by_leg.get(leg)
        return self.state.agents.get(key) if key else None

    def queue(self, name: str) -> Queue:
        """The queue's definition; a queue that a reload removed keeps serving by the defaults."""
        return self.definition.queues.get(name) or Queue(name=name)

    def wants_agents(self, call: Call) -> bool:
        """Whether the call waits for an agent, or for more of them to be rung (ring all)."""
        if call.state != "offered":
            return call.state == "waiting"
        queue = self.queue(call.queue)
        if queue.strategy != "ring_all" or not call.joins:
            return False
        return not queue.ring_at_most or len(call.offers) < queue.ring_at_most

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

    def opening_at(self, hours: str, at_ns: int) -> Opening:
        """Opening hours at an instant. What lies before the first boundary is open."""
        boundaries = self.state.hours.get(hours, ())
        passed = [b.state for b in boundaries if b.at_ns <= at_ns]
        ahead = [b.at_ns for b in boundaries if b.at_ns > at_ns]
        return Opening(passed[-1] if passed else "open", min(ahead, default=0))

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
        if kind in CALL_DEADLINES:
            call = state.calls.get(key)
            if call is None:
                return 0
            if kind == "renew":
                return call.renew_at_ns if call.state not in CONVERSING else 0
            if kind == "message":
                return call.message_until_ns
            if kind == "forward":
                return call.forward_until_ns
            if kind == "menu":
                return call.input_until_ns
            if kind == "wait":
                return call.next_move_ns if call.state in ("waiting", "offered") else 0
            return _first_due_ns(call)
        if kind == "hours":
            opening = state.opening.get(key)
            return opening.next_ns if opening else 0
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
        if isinstance(event, OfAgent):
            self._evolve_agent(event, at_ns)
        elif isinstance(event, OfBoth):
            self._evolve_both(event, at_ns)
        elif isinstance(event, OfWait):
            self._evolve_call(event, at_ns)
        else:
            self._evolve_rest(event, at_ns)
        # Last: an event that was refused counts for nothing.
        self.state.stats.fold(at_ns, event, self.state.definition.queues)

    def _evolve_rest(self, event: OfRest, at_ns: int) -> None:
        match event:
            case m.EpochBegan() | m.DefinitionLoaded() | m.MatchingBegan() | m.MatchingHeld():
                self._evolve_engine(event)
            case m.CallOpened():
                self._open(event, at_ns)
            case m.CallEnded():
                self._end(event, at_ns)
            case m.CallerReleased():
                self.state.closing.pop(event.channel, None)
                self.state.sent_on.discard(event.channel)
            case m.CallQuarantined():
                self._quarantine(event, at_ns)
            case m.AgentAltered():
                self._alter(event)
            case m.AgentSeated():
                self._seat(self.state.agents[event.agent].id, event.desk)
            case m.HoursSet() | m.HoursTurned() | m.CrisisSwitched():
                self._evolve_rules(event, at_ns)
            case m.SessionOpened() | m.SessionNamed() | m.SessionMoved() | m.SessionClosed():
                self._evolve_session(event)
            case m.OwnCallBegan() | m.OwnCallAnswered() | m.OwnCallEnded():
                self._evolve_own(event)
            case m.RecordingStarted() | m.RecordingFailed() | m.RecordingFinished():
                self._evolve_recording(event, at_ns)
            case _:
                assert_never(event)

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
                known = event.definition.queues
                state.crisis = {q: c for q, c in state.crisis.items() if not q or q in known}
                self._membership()
            case m.MatchingBegan():
                state.matching = True
            case m.MatchingHeld():
                state.matching = False

    def _staff(self) -> None:
        """Agents after a new definition; who is at work stays on the books."""
        known = self.state.definition.agents
        for key in known:
            self.state.agents.setdefault(key, Agent(key))
        for key in [k for k, a in self.state.agents.items() if k not in known and a.state == "signed_out"]:
            self._others(self.state.agents[key], ())
            del self.state.agents[key]
        self.state.overrides = staff.still_needed(self.state.overrides, self.state.definition)

    def _alter(self, event: m.AgentAltered) -> None:
        """One agent's skills and queues; nobody else is looked at."""
        if event.agent not in self.state.agents:
            raise KeyError(event.agent)
        staff.note(self.state.overrides, event, self.state.definition)
        before = self.definition.agents.get(event.agent)
        if before is None:  # at work, but no longer in the files: what they serve is of no matter
            return
        after = self._effective(event.agent)
        agents_now = {**self.definition.agents, event.agent: after}
        self.definition = msgspec.structs.replace(self.definition, agents=agents_now)
        for queue in {*before.queues, *after.queues}:
            members = [a for a in self.members[queue] if a != event.agent]
            if queue in after.queues:
                members = sorted([*members, event.agent], key=lambda a: self.order[a])
            self.members[queue] = members
        self.matcher.alter(self.definition, event.agent)

    def desk_of(self, agent: str) -> str:
        """The desk where the agent is signed in; "" = none."""
        return next((desk for desk, sitter in self.state.seats.items() if sitter == agent), "")

    def _seat(self, agent: str, desk: str) -> None:
        self.state.seats = {d: sitter for d, sitter in self.state.seats.items() if sitter != agent}
        if desk:
            self.state.seats[desk] = agent
        self._redefine(agent)

    def _effective(self, name: str) -> Written:
        """One agent as they are now: with what supervisors changed, at the desk where they sit."""
        written = staff.effective(self.state.definition, self.state.overrides, name)
        desk = self.desk_of(name)
        if not desk:
            return written
        at_desk = (Phone(desk),)
        return msgspec.structs.replace(written, endpoint=desk, phones=at_desk, ring="at_once")

    def _redefine(self, name: str) -> None:
        if name in self.state.definition.agents:
            agents_now = {**self.definition.agents, name: self._effective(name)}
            self.definition = msgspec.structs.replace(self.definition, agents=agents_now)

    def _evolve_rules(self, event: m.HoursSet | m.HoursTurned | m.CrisisSwitched, at_ns: int) -> None:
        state = self.state
        match event:
            case m.HoursSet():
                state.hours = event.boundaries
                state.opening = {hours: self.opening_at(hours, at_ns) for hours in event.boundaries}
                for hours in state.opening:
                    self._at("hours", hours)
            case m.HoursTurned():
                state.opening[event.hours] = Opening(event.state, event.next_ns)
                self._at("hours", event.hours)
            case m.CrisisSwitched() if event.on:
                state.crisis[event.queue] = Crisis(at_ns, event.by)
            case m.CrisisSwitched():
                state.crisis.pop(event.queue, None)

    def _membership(self) -> None:
        self.definition = staff.merged(self.state.definition, self.state.overrides)
        desks = self.definition.centre.desks
        self.state.seats = {desk: agent for desk, agent in self.state.seats.items() if desk in desks}
        for sitter in self.state.seats.values():
            self._redefine(sitter)
        known = self.definition.agents
        self.members = {queue: [] for queue in self.state.definition.queues}
        for key, agent in known.items():
            for queue in agent.queues:
                self.members[queue].append(key)
        self.order = {key: number for number, key in enumerate(known)}
        self.matcher.define(self.definition)
        for call in self.state.calls.values():
            if call.state == "offered":
                self._line(call)  # what the queue says of ringing several may be new
        for present in self.state.agents.values():
            self._sync(present)  # who comes back with this definition may have been at work all the time

    def _rank(self, strategy: Strategy, agent: str) -> Rank:
        return strategies.static_rank(strategy, self.state.agents[agent], self.order[agent])

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
            caller_priority=event.priority,
            prefer=event.prefer,
            owner=event.prefer,
            known=event.known,
        )
        self.by_channel[event.channel] = event.call
        self._at("renew", event.call)

    def _evolve_call(
        self,
        event: OfWait,
        at_ns: int,
    ) -> None:
        call = self.state.calls[event.call]
        self._move(call, event, at_ns)
        if isinstance(event, m.ForwardMade):
            self.onward[event.leg] = call.id
            self._at("forward", call.id)
        elif isinstance(event, m.MessageBegan):
            track = Track("caller", call.channel, event.file, at_ns)
            self.state.recordings[event.recording] = Recording(event.recording, call.id, [track])
            self._at("message", call.id)
        elif isinstance(event, m.ForwardLapsed):
            self.onward.pop(event.leg, None)
            self._at("renew", call.id)
        elif isinstance(event, m.CallOverflowed | m.JoinsEnded):
            self.matcher.leave(call.id)
        elif isinstance(event, m.CallQueued | m.WaitAdvanced):
            self._line(call)
            self._at("wait", call.id)
        elif isinstance(event, m.InputAwaited):
            self._at("menu", call.id)
        elif isinstance(event, m.TimeoutRenewed):
            self._at("renew", call.id)

    def _evolve_both(
        self,
        event: OfBoth,
        at_ns: int,
    ) -> None:
        call, agent = self.state.calls[event.call], self.state.agents[event.agent]
        if (agent.state, type(event)) not in agents.MOVES:
            raise IllegalMove(f"agent {agent.id} ({agent.state}) cannot take {type(event).__name__}")
        if agent.call != ("" if isinstance(event, m.OfferMade | m.TalkFound) else call.id):
            raise IllegalMove(f"agent {agent.id} has {agent.call!r}, not {type(event).__name__} of {call.id}")
        self._move(call, event, at_ns)  # raises before anything changed
        agents.apply(agent, event, at_ns)
        self._sync(agent)
        match event:
            case m.OfferMade():
                self._line(call)
                self.state.last_offered[event.queue] = agent.id
                self.by_leg[event.leg] = agent.id
                for rung in event.phones:
                    self.by_leg[rung.leg] = agent.id
                self._at("ring", call.id)
            case m.PhoneTried():
                self.by_leg[event.phone.leg] = agent.id
                self._at("ring", call.id)
            case m.PhoneLapsed() | m.ConfirmAsked():
                self._at("ring", call.id)
            case m.OfferLapsed() | m.ConnectFailed():
                self._line(call)
                self._at("renew", call.id)
                self._at("ring", call.id)
                if isinstance(event, m.ConnectFailed):
                    self._at("wait", call.id)  # it did not stand while the two seemed to talk
                    self._recording_over(call.id, dropped=True)
            case m.CallConnected():
                self.matcher.leave(call.id)  # others may ring on, but no more join
                if call.offers:
                    self._at("ring", call.id)
                if event.recording:
                    self._record(call, event, at_ns)
            case m.TalkFound():
                self.by_leg[event.leg] = agent.id
                if event.recording:
                    self._record(call, event, at_ns)
            case _:
                pass

    def _end(self, event: m.CallEnded, at_ns: int) -> None:
        call = self.state.calls[event.call]
        if call.state == "talking":
            agent = self.state.agents[call.agent]
            agents.apply(agent, event, at_ns)
            self._sync(agent)
        self._move(call, event, at_ns)
        self.matcher.leave(call.id)
        self._forget(call, to_fallback=event.to_fallback or event.outcome == "fallback")

    def _move(self, call: Call, event: m.Event, at_ns: int) -> None:
        """Move the call, and keep count of who is in line."""
        before = call.queue if call.state in IN_LINE else ""
        calls.apply(call, event, at_ns)
        self._count(before, call.queue if call.state in IN_LINE else "")

    def _count(self, before: str, after: str) -> None:
        if before != after:
            for queue, by in ((before, -1), (after, 1)):
                if queue:
                    self.in_line[queue] = self.in_line.get(queue, 0) + by

    def _forget(self, call: Call, *, to_fallback: bool) -> None:
        if to_fallback:
            self.state.sent_on.add(call.channel)
        del self.state.calls[call.id]
        self.onward.pop(call.leg, None)
        self.by_channel.pop(call.channel, None)
        self.state.closing[call.channel] = call.id
        self._recording_over(call.id)

    def _recording_over(self, call: str, *, dropped: bool = False) -> None:
        for recording in [r for r in self.state.recordings.values() if r.call == call and not r.ended]:
            recording.ended, recording.dropped = True, dropped

    def _record(self, call: Call, event: m.CallConnected | m.TalkFound, at_ns: int) -> None:
        rec = event.recording
        runs = isinstance(event, m.TalkFound)  # both since the answer, whenever that was
        tracks = [
            Track("caller", call.channel, f"{rec}.caller.raw", at_ns, runs),
            Track("agent", event.leg, f"{rec}.agent.raw", at_ns, runs),
        ]
        self.state.recordings[rec] = Recording(rec, call.id, tracks)

    def _quarantine(self, event: m.CallQuarantined, at_ns: int) -> None:
        """Whatever state the call is in, it leaves the floor and its agent is let go."""
        call = self.state.calls.get(event.call)
        if call is None:
            return
        self.matcher.leave(call.id)
        self._count(call.queue if call.state in IN_LINE else "", "")
        for name in (*call.offers, call.agent):
            agent = self.state.agents.get(name)
            if agent is not None and agent.call == call.id:
                agent.state, agent.since_ns, agent.call = "releasing", at_ns, ""
                self._sync(agent)
        self._forget(call, to_fallback=True)

    def _evolve_agent(
        self,
        event: OfAgent,
        at_ns: int,
    ) -> None:
        agent = self.state.agents[event.agent]
        if isinstance(event, m.PhoneChanged):
            self._others(agent, event.other_calls)
        agents.apply(agent, event, at_ns)
        match event:
            case m.WrapUpStarted() | m.WrapUpExtended():
                self._at("wrap", agent.id)
            case m.ReleaseAwaited():
                self._at("release", agent.id)
            case m.LegReleased():
                self.by_leg.pop(event.leg, None)
            case m.AgentFreed() if event.not_before_ns:
                self._at("rest", agent.id)
            case _:
                pass
        leaves = isinstance(event, m.AgentSignedOut | m.AgentFreed) and agent.state == "signed_out"
        if leaves and self.desk_of(agent.id):
            self._seat(agent.id, "")
        self._sync(agent)

    def _evolve_session(
        self, event: m.SessionOpened | m.SessionNamed | m.SessionMoved | m.SessionClosed
    ) -> None:
        match event:
            case m.SessionOpened():
                opened = Session(event.channel, event.agent, event.action, event.desk)
                self.state.sessions[event.channel] = opened
            case m.SessionNamed():
                session = self.state.sessions[event.channel]
                session.agent, session.named_at = event.agent, session.visit
            case m.SessionMoved():
                session = self.state.sessions[event.channel]
                session.stage, session.visit = event.stage, event.visit
                session.playback, session.until_ns = event.playback, event.until_ns
                self._at("session", event.channel)
            case m.SessionClosed():
                self.state.sessions.pop(event.channel, None)

    def _evolve_own(self, event: m.OwnCallBegan | m.OwnCallAnswered | m.OwnCallEnded) -> None:
        match event:
            case m.OwnCallBegan():
                self.state.own[event.channel] = Own(event.call, event.agent)
            case m.OwnCallAnswered():
                for own in self.state.own.values():
                    own.answered = own.answered or own.call == event.call
            case m.OwnCallEnded():
                self.state.own.pop(event.channel, None)

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

    def _line(self, call: Call) -> None:
        """In line as long as the call wants agents."""
        if not self.wants_agents(call):
            self.matcher.leave(call.id)
            return
        need = Need(call.queue, call.step, tuple(sorted(call.skills.items())), call.prefer)
        self.matcher.wait(call.id, need, (*call.line_key(), call.id))

    def _others(self, agent: Agent, channels: tuple[str, ...]) -> None:
        for channel in agent.other_calls:
            self.others.pop(channel, None)
        for channel in channels:
            self.others[channel] = agent.id

    def _sync(self, agent: Agent) -> None:
        """The matcher offers to agents who are ready and not resting, and to nobody else."""
        self.matcher.stands(agent.id, agent.standing())

    def _reindex(self) -> None:
        state = self.state
        for call in state.calls.values():
            _upgrade(call)
        self._membership()
        for call in state.calls.values():
            self.by_channel[call.channel] = call.id
            self._count("", call.queue if call.state in IN_LINE else "")
            if call.state in ("forwarding", "forwarded"):
                self.onward[call.leg] = call.id
            self._line(call)
            for kind in CALL_DEADLINES:
                self._at(kind, call.id)
        for agent in state.agents.values():
            for leg in agent.legs():
                self.by_leg[leg] = agent.id
            self._others(agent, agent.other_calls)
            self._sync(agent)
            for kind in AGENT_DEADLINES:
                self._at(kind, agent.id)
        for channel in state.sessions:
            self._at("session", channel)
        for hours in state.opening:
            self._at("hours", hours)

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


def _first_due_ns(call: Call) -> int:
    first = 0
    for offer in call.offers.values():
        due_ns = offer.due_ns()
        if due_ns and (not first or due_ns < first):
            first = due_ns
    return first


def _upgrade(call: Call) -> None:
    """A snapshot of before there could be several offers has one."""
    offer, call.was_offered = call.was_offered, None
    if offer is not None:
        offer.legs = {offer.leg: Leg("", offer.until_ns, dialled=offer.dialled, ringing=offer.ringing)}
        call.offers = {offer.agent: offer}
