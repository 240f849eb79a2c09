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

from ari_app.core.definition import Definition

# ---------------------------------------------------------------- shared small types

Action = Literal["sign_in", "sign_out", "pause", "resume", "unlock"]
LapseReason = Literal[
    "no_answer", "busy", "declined", "unreachable", "failed", "caller_gone", "not_dialled", "lost"
]
"""``not_dialled``: we may have died before dialling; ``lost``: the leg went while nobody watched."""
Outcome = Literal["answered", "abandoned", "left_in_flow", "system", "fallback", "rejected"]
EndedBy = Literal["caller", "agent", "system"]
AgentStateName = Literal[
    "signed_out",
    "ready",
    "reserved",
    "ringing",
    "talking",
    "wrap_up",
    "paused",
    "not_responding",
    "releasing",
]


class Candidate(Struct, frozen=True):
    """One agent who could have had the call; ``rank`` orders them, smallest first."""

    agent: str
    idle_ns: int
    rank: int


class Why(Struct, frozen=True):
    """Why this agent got this call: the rule, the field it was chosen from, the others by reason."""

    rule: str
    waited_ns: int
    position: int
    waiting: int
    candidates: tuple[Candidate, ...]
    not_eligible: dict[str, int]
    """How many of the queue's agents could not be offered the call, by their state."""


# ---------------------------------------------------------------- inputs


class Input(Struct, frozen=True, tag=True):
    """Base of all observations."""


class EngineStarted(Input, frozen=True):
    """A process took over. ``epoch`` is new at each start; ``offset_ns`` anchors boot time to UTC."""

    epoch: str
    node: str
    boot_id: str
    offset_ns: int
    version: str


class DefinitionGiven(Input, frozen=True):
    definition: Definition
    digest: str


class CallArrived(Input, frozen=True):
    """A caller's channel entered Stasis (or was found there after a restart: ``adopted``).

    ``number`` is one of the definition's own numbers, or "" if the dialled one is not known.
    """

    channel: str
    number: str
    adopted: bool = False


class CodeDialled(Input, frozen=True):
    """An agent's authenticated phone dialled a feature code. ``agent`` "" = not an agent's phone."""

    channel: str
    agent: str
    action: Action


class LegRinging(Input, frozen=True):
    channel: str


class LegAnswered(Input, frozen=True):
    """An agent's leg entered Stasis, i.e. the phone was picked up."""

    channel: str


class HungUp(Input, frozen=True):
    """ChannelHangupRequest: the phone behind the channel, a caller's or an agent's, said BYE."""

    channel: str


class ChannelLeft(Input, frozen=True):
    """StasisEnd: the channel is no longer ours (it hangs up, or went on in the dialplan)."""

    channel: str


class ChannelGone(Input, frozen=True):
    """ChannelDestroyed, or a channel that is no longer there. ``cause``: Q.850, 0 = unknown.

    ``UNSEEN`` as the cause: a snapshot does not show it, and nobody saw it go. ``LOST``: it was in an
    Asterisk that is no more, so nobody hung up.
    """

    channel: str
    cause: int = 0


UNSEEN = -1
LOST = -2


class DigitPressed(Input, frozen=True):
    """One menu key. Keys of a PIN never come here: the shell keeps them."""

    channel: str
    digit: str


class PromptEnded(Input, frozen=True):
    playback: str
    ok: bool


class PinChecked(Input, frozen=True):
    """The shell's verdict on a PIN; ``entered`` is false when the caller typed nothing."""

    channel: str
    ok: bool
    entered: bool = True


class DeadlinePassed(Input, frozen=True):
    """The deadline ``kind`` of ``key``, set for ``due_ns``, is over."""

    kind: str
    key: str
    due_ns: int


class AgentAsked(Input, frozen=True):
    """A command from the terminal or the API; ``by`` says from where."""

    agent: str
    action: Action
    reason: str = ""
    by: str = ""


class CallAsked(Input, frozen=True):
    """A command about one call; ``by`` says from where. The journal keeps it beside its events."""

    call: str
    action: Literal["hang_up"]
    by: str = ""


class OriginateDone(Input, frozen=True):
    """Asterisk's answer to the originate of an agent's leg."""

    channel: str
    ok: bool
    error: str = ""


class BridgeDone(Input, frozen=True):
    """Asterisk's answer to putting caller and agent together in ``bridge``."""

    call: str
    ok: bool
    error: str = ""
    bridge: str = ""
    """An answer that comes late must not speak for the next attempt's bridge."""


class RecordingBegun(Input, frozen=True):
    """AMI's answer to MixMonitor on one channel."""

    call: str
    channel: str
    ok: bool
    error: str = ""


class RecordingAssembled(Input, frozen=True):
    """The call's raw tracks were joined to one file (relative name), or could not be."""

    call: str
    ok: bool
    file: str = ""
    duration_ns: int = 0
    error: str = ""


class StepFailed(Input, frozen=True):
    """``step`` raised on an input about ``channel``/``call``: that call is set apart."""

    failed: str
    channel: str
    call: str
    error: str


class LinkFailed(Input, frozen=True):
    """Asterisk cannot be commanded at present: no offers until the next ``Recovered``."""

    reason: str


class Recovered(Input, frozen=True):
    """The snapshot was compared and stepped: matching may begin."""

    channels: int
    calls: int


AnyInput = (
    EngineStarted
    | DefinitionGiven
    | CallArrived
    | CodeDialled
    | LegRinging
    | LegAnswered
    | HungUp
    | ChannelLeft
    | ChannelGone
    | DigitPressed
    | PromptEnded
    | PinChecked
    | DeadlinePassed
    | AgentAsked
    | CallAsked
    | OriginateDone
    | BridgeDone
    | RecordingBegun
    | RecordingAssembled
    | StepFailed
    | LinkFailed
    | Recovered
)

# ---------------------------------------------------------------- events


class Event(Struct, frozen=True, tag=True):
    """Base of all facts. The instant is the journal row's, not the event's."""


class EpochBegan(Event, frozen=True):
    epoch: str
    node: str
    boot_id: str
    offset_ns: int
    version: str


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


class TimeoutRenewed(Event, frozen=True):
    """The caller's absolute time-out was pushed on; next at ``renew_at_ns``."""

    call: str
    renew_at_ns: int


class OfferMade(Event, frozen=True):
    """Caller and agent are reserved for each other, in one event. ``leg`` will ring until ``until_ns``."""

    call: str
    queue: str
    agent: str
    attempt: int
    leg: str
    until_ns: int
    why: Why


class OfferDialled(Event, frozen=True):
    """Asterisk took the originate."""

    call: str
    agent: str
    attempt: int


class OfferRinging(Event, frozen=True):
    call: str
    agent: str
    attempt: int


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
    agent: str
    call: str
    until_ns: int


class WrapUpEnded(Event, frozen=True):
    agent: str
    call: str


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


class SessionMoved(Event, frozen=True):
    """``visit`` numbers the prompts of the session; ``until_ns`` limits the stage."""

    channel: str
    stage: Literal["pin", "confirm"]
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
    | TimeoutRenewed
    | OfferMade
    | OfferDialled
    | OfferRinging
    | OfferLapsed
    | CallConnected
    | ConnectFailed
    | CallBridged
    | CallEnded
    | CallerReleased
    | CallQuarantined
    | WrapUpStarted
    | WrapUpEnded
    | LegReleased
    | ReleaseAwaited
    | AgentFreed
    | AgentSignedIn
    | AgentSignedOut
    | AgentPaused
    | AgentResumed
    | AgentRested
    | PinRefused
    | PinAccepted
    | AgentUnlocked
    | SessionOpened
    | SessionMoved
    | SessionClosed
    | RecordingStarted
    | RecordingFailed
    | RecordingFinished
)

VERSIONS: dict[str, int] = {}
"""Event kinds whose version is above 1. A reader of old rows upcasts by this number."""


def version_of(event: Event) -> int:
    """The version of this event's meaning, 1 unless ``VERSIONS`` says more."""
    return VERSIONS.get(type(event).__name__, 1)


# ---------------------------------------------------------------- effects


class Effect(Struct, frozen=True, tag=True):
    """Base of all wishes to the shell. ``lane`` keys order: one lane's effects go out in order."""


class Play(Effect, frozen=True):
    """Play ``sounds`` (names of sound files) to one channel, as one playback, then ``music``.

    Music never resumes by itself after a prompt on a bare channel, so it is asked for right
    behind the prompt: whoever dies meanwhile, the caller hears no dead air.
    """

    channel: str
    playback: str
    sounds: tuple[str, ...]
    music: str


class StopPlay(Effect, frozen=True):
    playback: str


class StartMusic(Effect, frozen=True):
    channel: str
    music: str


class StopMusic(Effect, frozen=True):
    channel: str


class Originate(Effect, frozen=True):
    """Ring the agent's ``endpoint``; the leg enters through the dialplan's agent extension.

    The display shows the queue's name and the caller (looked up by ``call`` in the shell).
    ``timeout_s`` is a second line of defence: the deadline in the floor comes first.
    """

    leg: str
    endpoint: str
    call: str
    queue_name: str
    timeout_s: int


class Hangup(Effect, frozen=True):
    channel: str
    reason: Literal["normal", "busy", "congestion", "no_answer"] = "normal"


class Connect(Effect, frozen=True):
    """Create ``bridge`` and put ``channels`` (caller first) into it. Its outcome is ``BridgeDone``."""

    call: str
    bridge: str
    channels: tuple[str, ...]


class DropBridge(Effect, frozen=True):
    bridge: str


class Record(Effect, frozen=True):
    """Record one participant's own channel into ``file``. Its outcome is ``RecordingBegun``."""

    call: str
    channel: str
    file: str
    verify: bool = False
    """After a restart: look first whether it runs already; a second one would overwrite the file."""


class StopRecord(Effect, frozen=True):
    """Stop the recording of one channel that goes on living: no talk came of it. ``files`` go."""

    channel: str
    files: tuple[str, ...] = ()


class Assemble(Effect, frozen=True):
    """Join the raw tracks (caller's, agent's; with the instant each began) to one stereo file."""

    call: str
    recording: str
    tracks: tuple[tuple[str, int], ...]


class SetAbsolute(Effect, frozen=True):
    """Renew (or with 0 clear) the channel's absolute time-out."""

    channel: str
    seconds: int


class ToFallback(Effect, frozen=True):
    """Send a caller on to the static fallback of the dialplan."""

    channel: str


class AskPin(Effect, frozen=True):
    """Collect a PIN on ``channel`` in the shell until ``until_ns``; the outcome is ``PinChecked``.

    The first key silences ``playback``, the prompt that asks for it.
    """

    channel: str
    agent: str
    until_ns: int
    playback: str


class Alarm(Effect, frozen=True):
    """Somebody should look at this. ``text`` holds ids only."""

    call: str
    text: str


AnyEffect = (
    Play
    | StopPlay
    | StartMusic
    | StopMusic
    | Originate
    | Hangup
    | Connect
    | DropBridge
    | Record
    | StopRecord
    | Assemble
    | SetAbsolute
    | ToFallback
    | AskPin
    | Alarm
)


class Step(Struct):
    """What one input led to."""

    events: list[AnyEvent]
    effects: list[AnyEffect]
