"""What the ledger keeps: the rows that PostgreSQL holds, and what is open at the moment."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ari_app.core.messages import (
    AgentStateName,
    EndedBy,
    LapseReason,
    Outcome,
    OwnDirection,
    OwnKind,
    Why,
)

Party = Literal["caller", "agent"]
SegmentState = Literal["ivr", "waiting", "reserved", "ringing", "talking", "holding", "wrap_up"]
OfferResult = Literal["offered", "answered", "connect_failed", "superseded"] | LapseReason
"""``superseded``: a later event took the agent without this offer's end having been heard of."""
Fate = Literal["waiting", "answered", "abandoned", "overflowed", "timed_out", "lost"]
RecordingState = Literal["recording", "finished", "failed"]

HELD_STATES: frozenset[AgentStateName] = frozenset(
    {"reserved", "ringing", "talking", "holding", "wrap_up", "releasing"}
)

HOMES: frozenset[AgentStateName] = frozenset({"ready", "unreachable", "other_call"})
CALL_STATES: frozenset[AgentStateName] = frozenset({"reserved", "ringing", "talking", "holding"})
OFFER_STATES: frozenset[SegmentState] = frozenset({"reserved", "ringing"})


OUTSIDE = "outside"
"""The peer of a caller who was sent on to a number."""


class QueueRow(Struct, frozen=True):
    """A queue and the thresholds its figures are computed with; the newest definition counts."""

    queue: str
    name: str
    service_level_ns: int
    short_abandon_ns: int


class AgentRow(Struct, frozen=True):
    agent: str
    name: str


class CallRow(Struct, frozen=True):
    """One call. Instants are nanoseconds UTC; None: that never happened (yet)."""

    call: str
    channel: str
    number: str
    flow: str
    adopted: bool
    opened_ns: int
    choice: str = ""
    queue: str = ""
    entered_ns: int | None = None
    waited_ns: int | None = None
    answered_ns: int | None = None
    agent: str = ""
    offers: int = 0
    misses: int = 0
    ended_ns: int | None = None
    outcome: Outcome | None = None
    ended_by: EndedBy | None = None
    cause: int = 0
    talk_ns: int = 0
    hold_ns: int = 0
    wrap_up_ns: int = 0
    quarantined: bool = False
    disposition: str = ""


class VisitRow(Struct, frozen=True):
    """A call's stay in one queue, whose end is counted there. ``seq``: the event that began it.

    ``waited_ns`` is the wait in this queue; a call that is sent on is offered to the next one, too.
    """

    call: str
    seq: int
    queue: str
    from_ns: int
    fate: Fate = "waiting"
    reason: str = ""
    to_ns: int | None = None
    waited_ns: int | None = None


class SegmentRow(Struct, frozen=True):
    """``party`` of ``call`` was in ``state`` with ``peer``. ``seq``: the event that began it."""

    call: str
    party: Party
    agent: str
    seq: int
    state: SegmentState
    queue: str
    peer: str
    from_ns: int
    to_ns: int | None = None


class AgentIntervalRow(Struct, frozen=True):
    agent: str
    seq: int
    state: AgentStateName
    reason: str
    call: str
    from_ns: int
    to_ns: int | None = None


class DecisionRow(Struct, frozen=True):
    """Who was offered this call, why, and what came of it."""

    call: str
    attempt: int
    agent: str
    queue: str
    at_ns: int
    why: Why
    result: OfferResult = "offered"
    result_ns: int | None = None


class RecordingRow(Struct, frozen=True):
    """``caller_track`` and ``agent_track`` are the raw files, ``file`` the finished one."""

    recording: str
    call: str
    state: RecordingState
    started_ns: int | None = None
    finished_ns: int | None = None
    caller_track: str = ""
    agent_track: str = ""
    file: str = ""
    duration_ns: int = 0
    error: str = ""


class OwnCallRow(Struct, frozen=True):
    """A call that an agent's phone made or got by itself; ``unseen``: its end is when that was found out."""

    call: str
    agent: str
    direction: OwnDirection
    kind: OwnKind
    began_ns: int
    answered_ns: int | None = None
    ended_ns: int | None = None
    cause: int = 0
    unseen: bool = False


RowChange = (
    QueueRow
    | AgentRow
    | CallRow
    | VisitRow
    | SegmentRow
    | AgentIntervalRow
    | DecisionRow
    | RecordingRow
    | OwnCallRow
)


class OpenCall(Struct):
    """A call that events may still change."""

    row: CallRow
    caller: SegmentRow | None = None
    visit: VisitRow | None = None
    """The latest one."""
    agents: dict[str, SegmentRow] = {}
    offers: dict[int, DecisionRow] = {}
    """Attempt -> its decision: those that are pending, and the one that was picked up."""
    holds: list[str] = []
    """Agents who talked to this caller and are not free again: their wrap-up is still to come."""
    wrap_up_from_ns: dict[str, int] = {}
    held_from_ns: int = 0
    """Since when the caller is on hold; 0 = is not."""
    released: bool = False


class Continued(Struct):
    """A call that a later journal knows by another id. ``offers``: those made before, which count on."""

    call: str
    offers: int


class OpenAgent(Struct):
    interval: AgentIntervalRow
    call: str = ""


class LedgerState(Struct):
    """What the fold must remember. Serialisable; its size follows live calls and agents."""

    calls: dict[str, OpenCall] = {}
    agents: dict[str, OpenAgent] = {}
    recordings: dict[str, RecordingRow] = {}
    own: dict[str, OwnCallRow] = {}
    homes: dict[str, AgentStateName] = {}
    """Where an agent is whom nothing holds and who wants calls; "ready" if not named."""
    lost_calls: list[str] = []
    """Open calls that the new journal does not know, until it is seen what Asterisk still has of them."""
    lost_agents: list[str] = []
    """Agents of whom the new journal has told nothing yet."""
    lost_own: list[str] = []
    """Agents' own calls of the old journal; the new one counts those that go on anew."""
    continued: dict[str, Continued] = {}
    """A call's id in the new journal -> the call of this ledger."""
