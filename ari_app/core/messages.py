# ruff: noqa: PLC0414  (the spelling of a re-export that type checkers know)
"""What comes in (inputs), what is decided (events), what is to be done (effects).

Three families, never mixed. An *input* is an observation. An *event* is a fact that was
decided; it is journalled for ever, so its meaning never changes: a new meaning is a new class
or a higher ``VERSIONS`` entry. An *effect* is a wish addressed to the shell, derived again
after a crash, so its names (channels, bridges, playbacks) are derived from call and attempt.

Instants are integer nanoseconds UTC. No number, name, note or digit string of a person appears in
an event; ``party`` is a key of a row that can be erased.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ari_app.core.definition import Definition, OverflowReason, Target, WrapUpMode
from ari_app.core.effects import (
    Alarm as Alarm,
    AnyEffect as AnyEffect,
    AskPin as AskPin,
    Assemble as Assemble,
    Connect as Connect,
    DropBridge as DropBridge,
    Effect as Effect,
    Hangup as Hangup,
    Originate as Originate,
    Play as Play,
    Record as Record,
    SetAbsolute as SetAbsolute,
    StartMusic as StartMusic,
    StopMusic as StopMusic,
    StopPlay as StopPlay,
    StopRecord as StopRecord,
    ToFallback as ToFallback,
)
from ari_app.core.facts import (
    NOBODY as NOBODY,
    Action as Action,
    AgentStateName as AgentStateName,
    Boundary as Boundary,
    Candidate as Candidate,
    EndedBy as EndedBy,
    Known as Known,
    LapseReason as LapseReason,
    OpenState as OpenState,
    Outcome as Outcome,
    OwnDirection as OwnDirection,
    OwnKind as OwnKind,
    PreferNote as PreferNote,
    Rung as Rung,
    Why as Why,
)
from ari_app.core.inputs import (
    LOST as LOST,
    UNSEEN as UNSEEN,
    AgentAsked as AgentAsked,
    AgentNamed as AgentNamed,
    AgentSkillsChanged as AgentSkillsChanged,
    AnyInput as AnyInput,
    BridgeDone as BridgeDone,
    CallArrived as CallArrived,
    CallAsked as CallAsked,
    ChannelGone as ChannelGone,
    ChannelLeft as ChannelLeft,
    CodeDialled as CodeDialled,
    CrisisAsked as CrisisAsked,
    DeadlinePassed as DeadlinePassed,
    DefinitionGiven as DefinitionGiven,
    DigitPressed as DigitPressed,
    EngineStarted as EngineStarted,
    HoursGiven as HoursGiven,
    HungUp as HungUp,
    Input as Input,
    LegAnswered as LegAnswered,
    LegHeld as LegHeld,
    LegRinging as LegRinging,
    LinkFailed as LinkFailed,
    OriginateDone as OriginateDone,
    OtherCallAnswered as OtherCallAnswered,
    OtherCallSeen as OtherCallSeen,
    OwnCall as OwnCall,
    PhoneSeen as PhoneSeen,
    PinChecked as PinChecked,
    PromptEnded as PromptEnded,
    RecordingAssembled as RecordingAssembled,
    RecordingBegun as RecordingBegun,
    RecordingDropped as RecordingDropped,
    Recovered as Recovered,
    StepFailed as StepFailed,
    TalkSeen as TalkSeen,
)


class Event(Struct, frozen=True, tag=True):
    """Base of all facts. The instant is the journal row's, not the event's."""


class EpochBegan(Event, frozen=True):
    epoch: str
    node: str
    boot_id: str
    offset_ns: int
    version: str
    fresh: bool = False
    """Nothing that happened before is known: the first start of all, or the journal was set apart."""


class DefinitionLoaded(Event, frozen=True):
    definition: Definition
    digest: str


class MatchingBegan(Event, frozen=True):
    channels: int
    calls: int


class MatchingHeld(Event, frozen=True):
    """No offers are made until the next ``MatchingBegan``; calls in progress go on."""

    reason: str


class CallOpened(Event, frozen=True):
    call: str
    channel: str
    number: str
    flow: str
    renew_at_ns: int
    adopted: bool = False
    priority: int = 0
    """What the caller, the number and the flow add to the queue's own."""
    prefer: str = ""
    known: Known = NOBODY


class NodeEntered(Event, frozen=True):
    """The caller is at ``node`` of the flow for the ``visit``-th prompt; ``playback`` "" = silence."""

    call: str
    node: str
    visit: int
    attempt: int
    playback: str


class InputAwaited(Event, frozen=True):
    """The prompt is over; a digit is expected until ``until_ns``."""

    call: str
    until_ns: int


class MenuChosen(Event, frozen=True):
    """``choice`` is the name of the node the caller chose."""

    call: str
    node: str
    choice: str


class MenuMissed(Event, frozen=True):
    call: str
    node: str
    attempt: int
    reason: Literal["timeout", "invalid"]


class CallQueued(Event, frozen=True):
    """The wait begins; ``entered_ns`` is the instant that keeps the caller's place for ever."""

    call: str
    queue: str
    entered_ns: int
    priority: int
    skills: dict[str, int] = {}
    """Asked for by the flow, beside the queue's own."""
    prefer: str = ""
    """The agent for whom the call is kept at first."""
    next_move_ns: int = 0
    """When the wait advances (relaxation, ageing, end of the preference); 0 = never."""
    prefer_note: PreferNote = ""
    """Why the call is kept for ``prefer``, or why for nobody."""


class WaitAdvanced(Event, frozen=True):
    """Time moved the waiting call on: more agents qualify, or it goes before others."""

    call: str
    step: int
    priority: int
    prefer: str
    next_move_ns: int


class CallOverflowed(Event, frozen=True):
    """The queue's rules sent the call on. ``waited_ns``: in this queue; the first entry keeps counting
    for the place in the next one."""

    call: str
    queue: str
    reason: OverflowReason
    target: Target
    waited_ns: int


class ForwardMade(Event, frozen=True):
    """``target``'s number is rung over its trunk until ``until_ns``; ``queue`` sent the caller there."""

    call: str
    queue: str
    attempt: int
    leg: str
    until_ns: int
    target: Target


class ForwardLapsed(Event, frozen=True):
    """Nobody took the call at the number; ``then`` is where it goes now."""

    call: str
    leg: str
    reason: LapseReason
    then: Target
    renew_at_ns: int


class ForwardConnected(Event, frozen=True):
    """Somebody picked up at the number; both are put into ``bridge``."""

    call: str
    leg: str
    bridge: str


class ForwardBridged(Event, frozen=True):
    """Asterisk confirmed that both are in the bridge."""

    call: str


class MessageBegan(Event, frozen=True):
    """The caller speaks a message into ``file`` until ``until_ns`` at most; ``queue`` sent them there."""

    call: str
    queue: str
    recording: str
    file: str
    until_ns: int


class TimeoutRenewed(Event, frozen=True):
    """The caller's absolute time-out was pushed on; next at ``renew_at_ns``."""

    call: str
    renew_at_ns: int


class OfferMade(Event, frozen=True):
    """Caller and agent are reserved for each other, in one event. ``leg`` will ring until ``until_ns``.

    Ring all makes one such event for each agent, in one commit. ``phones``: all that are rung now, that
    of ``leg`` first; () = it alone.
    """

    call: str
    queue: str
    agent: str
    attempt: int
    leg: str
    until_ns: int
    why: Why
    phones: tuple[Rung, ...] = ()


class OfferDialled(Event, frozen=True):
    """Asterisk took the originate. ``leg`` "" = the offer's first."""

    call: str
    agent: str
    attempt: int
    leg: str = ""


class OfferRinging(Event, frozen=True):
    """``leg`` "" = the offer's first."""

    call: str
    agent: str
    attempt: int
    leg: str = ""


class PhoneTried(Event, frozen=True):
    """The next phone of the offered agent is rung."""

    call: str
    agent: str
    attempt: int
    phone: Rung


class PhoneLapsed(Event, frozen=True):
    """One phone of the offered agent is over; the offer goes on with the others."""

    call: str
    agent: str
    attempt: int
    leg: str
    reason: LapseReason


class ConfirmAsked(Event, frozen=True):
    """A phone was picked up whose owner must press 1; ``playback`` asks for it, until ``until_ns``."""

    call: str
    agent: str
    attempt: int
    leg: str
    playback: str
    until_ns: int


class JoinsEnded(Event, frozen=True):
    """No more agents are rung for this call, whose queue would send it on: it is, if nobody picks up."""

    call: str
    reason: OverflowReason


class OfferLapsed(Event, frozen=True):
    """The offer is over without a conversation. ``miss``: counts towards "not responding"."""

    call: str
    queue: str
    agent: str
    attempt: int
    reason: LapseReason
    miss: bool


class CallConnected(Event, frozen=True):
    """The agent picked up; both are put into ``bridge``. ``recording``: its id, "" = not recorded."""

    call: str
    queue: str
    agent: str
    attempt: int
    leg: str
    bridge: str
    waited_ns: int
    recording: str


class TalkFound(Event, frozen=True):
    """A new journal finds the two talking in Asterisk; the agent is signed in by it.

    ``queue``: "" = nobody knows which one. ``recording``: its id if its tracks are there, "" = not recorded.
    """

    call: str
    queue: str
    agent: str
    attempt: int
    leg: str
    bridge: str
    recording: str


class ConnectFailed(Event, frozen=True):
    """Asterisk refused the bridge while both were there; the caller waits again in their old place."""

    call: str
    queue: str
    agent: str
    attempt: int
    error: str
    renew_at_ns: int


class CallBridged(Event, frozen=True):
    """Asterisk confirmed that both are in the bridge."""

    call: str
    agent: str


class CallHeld(Event, frozen=True):
    """The agent's phone put the caller on hold; Asterisk plays them music."""

    call: str
    agent: str


class CallUnheld(Event, frozen=True):
    """The agent took the caller back; ``hold_ns``: how long the hold was."""

    call: str
    agent: str
    hold_ns: int


class CallEnded(Event, frozen=True):
    """Terminal; exactly one a call. ``queue``/``agent`` "" if it never got there."""

    call: str
    outcome: Outcome
    by: EndedBy
    queue: str
    agent: str
    waited_ns: int
    talk_ns: int
    cause: int = 0
    to_fallback: bool = False
    """Sent on to the static fallback by the queue's rules (outcome ``fallback`` says so by itself)."""


class CallerReleased(Event, frozen=True):
    """The channel of an ended call is confirmed gone."""

    call: str
    channel: str


class CallQuarantined(Event, frozen=True):
    """``step`` raised on an input of this call; it goes to the static fallback. An alarm."""

    call: str
    channel: str
    failed: str
    error: str


class WrapUpStarted(Event, frozen=True):
    """``limit_ns``: how far it can be extended; 0 = not at all."""

    agent: str
    call: str
    until_ns: int
    queue: str = ""
    mode: WrapUpMode = "fixed"
    limit_ns: int = 0


class WrapUpRequested(Event, frozen=True):
    """The agent asked for a wrap-up while the call went on."""

    agent: str
    call: str
    by: str


class WrapUpExtended(Event, frozen=True):
    agent: str
    call: str
    until_ns: int
    by: str


class DispositionGiven(Event, frozen=True):
    """What came of the call, by one of the queue's codes. ``by`` "time-out": the queue's default."""

    agent: str
    call: str
    queue: str
    disposition: str
    by: str


class WrapUpEnded(Event, frozen=True):
    """``by`` "" = its time was over."""

    agent: str
    call: str
    by: str = ""


class LegReleased(Event, frozen=True):
    """The agent's leg is confirmed gone."""

    agent: str
    leg: str


class ReleaseAwaited(Event, frozen=True):
    """The agent's leg was told to go; if it is not confirmed gone by ``again_at_ns`` it is told again."""

    agent: str
    leg: str
    again_at_ns: int


class AgentFreed(Event, frozen=True):
    """Nothing holds the agent any more; ``state`` is where they go, ``not_before_ns`` when offers resume."""

    agent: str
    state: Literal["ready", "paused", "signed_out", "not_responding"]
    reason: str
    not_before_ns: int = 0


class AgentSignedIn(Event, frozen=True):
    agent: str
    by: str


class AgentSignedOut(Event, frozen=True):
    """``deferred``: takes effect when the present call and its wrap-up are over."""

    agent: str
    by: str
    deferred: bool


class AgentPaused(Event, frozen=True):
    agent: str
    by: str
    reason: str
    deferred: bool


class AgentResumed(Event, frozen=True):
    agent: str
    by: str


class AgentRested(Event, frozen=True):
    """The pause after a refused or missed offer is over; the agent may be offered calls again."""

    agent: str


class PhoneChanged(Event, frozen=True):
    """The agent's phones: whether one can be reached, and the calls they have that are not ours."""

    agent: str
    reachable: bool
    other_calls: tuple[str, ...]
    offline: tuple[str, ...] = ()
    """Those of several phones that cannot be reached."""


class OwnCallBegan(Event, frozen=True):
    """An agent's phone dials, or is called directly: no call of a queue. ``call`` names it for ever.

    ``began_ns``: when, if that was before anybody watched; 0 = at the event's instant.
    """

    call: str
    agent: str
    channel: str
    direction: OwnDirection
    kind: OwnKind
    began_ns: int = 0


class OwnCallAnswered(Event, frozen=True):
    call: str
    agent: str


class OwnCallEnded(Event, frozen=True):
    """``unseen``: it was over before anybody looked again; the event's instant is when that was found out."""

    call: str
    agent: str
    channel: str
    cause: int = 0
    unseen: bool = False


class AgentSeated(Event, frozen=True):
    """The agent is rung at ``desk`` from now on ("" = at their own phones), until they are signed out."""

    agent: str
    desk: str
    by: str


class AgentAltered(Event, frozen=True):
    """A supervisor's skills and queues for this agent from now on; None = as in the files."""

    agent: str
    skills: dict[str, int] | None
    queues: tuple[str, ...] | None
    by: str


class HoursSet(Event, frozen=True):
    boundaries: dict[str, tuple[Boundary, ...]]


class HoursTurned(Event, frozen=True):
    """A boundary of ``hours`` is reached; the next one is at ``next_ns``, 0 = none is known."""

    hours: str
    state: OpenState
    next_ns: int


class CrisisSwitched(Event, frozen=True):
    """``queue`` "" = everything."""

    queue: str
    on: bool
    by: str


class PinRefused(Event, frozen=True):
    """``failures`` in a row; at ``locked_until_ns`` > 0 the agent's PIN is locked until then."""

    agent: str
    failures: int
    locked_until_ns: int


class PinAccepted(Event, frozen=True):
    agent: str


class AgentUnlocked(Event, frozen=True):
    agent: str
    by: str


class SessionOpened(Event, frozen=True):
    """An agent's phone called a feature code. ``stage``: "pin" (being asked) or "confirm" (being told)."""

    channel: str
    agent: str
    action: Action
    desk: str = ""


class SessionNamed(Event, frozen=True):
    """Who signs in at a desk said who they are."""

    channel: str
    agent: str


class SessionMoved(Event, frozen=True):
    """``visit`` numbers the prompts of the session; ``until_ns`` limits the stage."""

    channel: str
    stage: Literal["agent", "pin", "confirm", "choose"]
    visit: int
    playback: str
    until_ns: int


class SessionClosed(Event, frozen=True):
    channel: str
    reason: str


class RecordingStarted(Event, frozen=True):
    """One track of a call's recording runs: ``track`` is "caller" or "agent"."""

    call: str
    recording: str
    track: Literal["caller", "agent"]
    channel: str
    file: str


class RecordingFailed(Event, frozen=True):
    """One track could not be begun, or (``final``) nothing could be assembled."""

    call: str
    recording: str
    error: str
    final: bool


class RecordingFinished(Event, frozen=True):
    call: str
    recording: str
    file: str
    duration_ns: int


AnyEvent = (
    EpochBegan
    | DefinitionLoaded
    | MatchingBegan
    | MatchingHeld
    | CallOpened
    | NodeEntered
    | InputAwaited
    | MenuChosen
    | MenuMissed
    | CallQueued
    | WaitAdvanced
    | CallOverflowed
    | ForwardMade
    | ForwardLapsed
    | ForwardConnected
    | ForwardBridged
    | MessageBegan
    | TimeoutRenewed
    | OfferMade
    | OfferDialled
    | OfferRinging
    | PhoneTried
    | PhoneLapsed
    | ConfirmAsked
    | JoinsEnded
    | OfferLapsed
    | CallConnected
    | TalkFound
    | ConnectFailed
    | CallBridged
    | CallHeld
    | CallUnheld
    | CallEnded
    | CallerReleased
    | CallQuarantined
    | WrapUpStarted
    | WrapUpRequested
    | WrapUpExtended
    | DispositionGiven
    | WrapUpEnded
    | LegReleased
    | ReleaseAwaited
    | AgentFreed
    | AgentSignedIn
    | AgentSignedOut
    | AgentPaused
    | AgentResumed
    | AgentRested
    | PhoneChanged
    | OwnCallBegan
    | OwnCallAnswered
    | OwnCallEnded
    | AgentSeated
    | AgentAltered
    | HoursSet
    | HoursTurned
    | CrisisSwitched
    | PinRefused
    | PinAccepted
    | AgentUnlocked
    | SessionOpened
    | SessionNamed
    | SessionMoved
    | SessionClosed
    | RecordingStarted
    | RecordingFailed
    | RecordingFinished
)

VERSIONS: dict[str, int] = {}
"""Event kinds whose version is above 1. A reader of old rows upcasts by this number."""


def agent_of(event: Event) -> str:
    """The agent an event is about; "" for none."""
    found: str = getattr(event, "agent", "")
    return found


def version_of(event: Event) -> int:
    """The version of this event's meaning, 1 unless ``VERSIONS`` says more."""
    return VERSIONS.get(type(event).__name__, 1)


class Step(Struct):
    """What one input led to."""

    events: list[AnyEvent]
    effects: list[AnyEffect]
