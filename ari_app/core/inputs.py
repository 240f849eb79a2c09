"""What comes in: observations. ``core.messages`` tells where they stand."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ari_app.core.definition import Definition
from ari_app.core.facts import NOBODY, Action, Boundary, Known, OwnDirection, OwnKind


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


class TalkSeen(Struct, frozen=True):
    """A caller's channel in one of our bridges with ``leg``. ``agent``: whose phone that is, "" = nobody's
    that is known. ``recorded``: files of its recording are there."""

    bridge: str
    leg: str
    agent: str = ""
    recorded: bool = False


class CallArrived(Input, frozen=True):
    """A caller's channel entered Stasis (or was found there after a restart: ``adopted``).

    ``number`` is one of the definition's own numbers, or "" if the dialled one is not known.
    """

    channel: str
    number: str
    adopted: bool = False
    priority: int = 0
    """Added to the queue's: the caller is on a list, or the dialplan said so."""
    prefer: str = ""
    """The agent who owns the account, by the list or the dialplan."""
    known: Known = NOBODY
    talk: TalkSeen | None = None
    """With whom a caller talks who was found after the journal was lost."""


class CodeDialled(Input, frozen=True):
    """An agent's authenticated phone dialled a feature code. ``agent`` "" = not an agent's phone."""

    channel: str
    agent: str
    action: Action
    desk: str = ""
    """The phone, if it is a desk: who signs in there says who they are."""


class AgentNamed(Input, frozen=True):
    """Who signs in at a desk has typed their extension; ``agent`` "" = nobody has it."""

    channel: str
    agent: str
    entered: bool = True


class HoursGiven(Input, frozen=True):
    """Opening hours, worked out in UTC by the shell (the core knows no time zones): for each of the
    definition's hours the boundaries of the weeks to come. Before the first one they are open."""

    boundaries: dict[str, tuple[Boundary, ...]]


class CrisisAsked(Input, frozen=True):
    """Put ``queue`` ("" = everything) into its crisis flow, or back. ``by`` says from where."""

    queue: str
    on: bool
    by: str = ""


class AgentSkillsChanged(Input, frozen=True):
    """A supervisor gives an agent other skills or queues than the files do; None = as in the files."""

    agent: str
    skills: dict[str, int] | None = None
    queues: tuple[str, ...] | None = None
    by: str = ""


class LegRinging(Input, frozen=True):
    channel: str


class LegAnswered(Input, frozen=True):
    """An agent's leg entered Stasis, i.e. the phone was picked up."""

    channel: str


class LegHeld(Input, frozen=True):
    """The phone behind an agent's leg has put the call on hold (re-INVITE), or taken it back."""

    channel: str
    on: bool


class HungUp(Input, frozen=True):
    """ChannelHangupRequest: the phone behind the channel, a caller's or an agent's, said BYE."""

    channel: str


class ChannelLeft(Input, frozen=True):
    """StasisEnd: the channel is no longer ours (it hangs up, or went on in the dialplan).

    ``forsaken``: the dialplan took the caller out of a talk, because the agent hung up and nobody watched.
    """

    channel: str
    forsaken: bool = False


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


class PhoneSeen(Input, frozen=True):
    """What Asterisk says of an agent's ``phone`` ("" = all of them): registered and not known to be deaf, or
    not."""

    agent: str
    reachable: bool
    phone: str = ""


class OwnCall(Struct, frozen=True):
    """A call that an agent's phone made or got by itself. ``began_ns``: 0 = at this instant."""

    direction: OwnDirection
    kind: OwnKind = ""
    answered: bool = False
    began_ns: int = 0


class OtherCallSeen(Input, frozen=True):
    """A channel at an agent's phone that is none of ours: a direct call, in or out. Its end is a
    ``ChannelGone``."""

    agent: str
    channel: str
    own: OwnCall | None = None
    """What is counted of it; None: a feature code, or a call to the centre's own numbers."""


class OtherCallAnswered(Input, frozen=True):
    """Both sides of a call that is none of ours talk."""

    channel: str


class AgentAsked(Input, frozen=True):
    """A command from the terminal or the API; ``by`` says from where."""

    agent: str
    action: Action
    reason: str = ""
    by: str = ""
    disposition: str = ""
    """With ``done``: what came of the call, one of the queue's dispositions."""


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


class RecordingDropped(Input, frozen=True):
    """A recording of which no talk came is stopped, and its files are gone."""

    call: str
    recording: str


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
    | AgentNamed
    | HoursGiven
    | CrisisAsked
    | AgentSkillsChanged
    | LegRinging
    | LegAnswered
    | LegHeld
    | HungUp
    | ChannelLeft
    | ChannelGone
    | DigitPressed
    | PromptEnded
    | PinChecked
    | PhoneSeen
    | OtherCallSeen
    | OtherCallAnswered
    | DeadlinePassed
    | AgentAsked
    | CallAsked
    | OriginateDone
    | BridgeDone
    | RecordingBegun
    | RecordingAssembled
    | RecordingDropped
    | StepFailed
    | LinkFailed
    | Recovered
)
