"""Words that inputs and events share: outcomes, states, reasons, and why an agent got a call."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Action = Literal["sign_in", "sign_out", "pause", "resume", "unlock", "done", "wrap_up"]
"""``done``: the wrap-up is over; ``wrap_up``: I need one after this call, or more of the one I am in."""
LapseReason = Literal[
    "no_answer",
    "busy",
    "declined",
    "unreachable",
    "failed",
    "caller_gone",
    "not_dialled",
    "lost",
    "answered_elsewhere",
    "not_confirmed",
]
"""``not_dialled``: we may have died before dialling; ``lost``: the leg went while nobody watched;
``answered_elsewhere``: another agent who was rung for the same call took it; ``not_confirmed``: a mobile
was picked up (by its voicemail, for all we know), but nobody pressed 1."""
Outcome = Literal[
    "answered",
    "abandoned",
    "left_in_flow",
    "system",
    "fallback",
    "rejected",
    "overflowed",
    "timed_out",
    "forwarded",
    "voicemail",
]
"""``forwarded``: they talked at a number outside, where a queue's rules had sent the caller.
``overflowed`` and ``timed_out``: the queue's own rules led out of the centre (fallback, hang-up)."""
OwnDirection = Literal["in", "out"]
OwnKind = Literal["", "inside", "outside", "emergency"]
"""What an agent's phone dialled by itself; "" for a call that came to it."""
OpenState = Literal["open", "closed", "holiday"]
EndedBy = Literal["caller", "agent", "system", "outside"]
"""``outside``: whoever talked with the caller at a number that is none of the centre's."""
AgentStateName = Literal[
    "signed_out",
    "ready",
    "reserved",
    "ringing",
    "talking",
    "holding",
    "wrap_up",
    "paused",
    "not_responding",
    "releasing",
    "unreachable",
    "other_call",
]
"""``holding``: on a call, which the agent's phone has put on hold.
``unreachable`` and ``other_call``: would be ready, but the phone is not registered, or is on a call
that Cordboard did not make."""


PreferNote = Literal[
    "", "owner", "last", "unknown_agent", "signed_out", "not_qualified", "no_time", "memory_away"
]
"""Why a call is (or was at first) kept for one agent, or is for nobody: ``owner`` and ``last`` are for, the
others against it. ``no_time``: the queue's ``prefer_s`` is 0; ``memory_away``: PostgreSQL has not told yet
who spoke with whom."""


class Known(Struct, frozen=True):
    """What is known of a caller on arrival: by the lists, the dialplan and the memory of earlier calls.

    Never who they are: ``listed`` is the list's name. ``required``: the preferred agent and nobody else.
    ``queue``: instead of the one the flow leads to. ``last_spoke_ns``: when ``last_agent`` last spoke with
    them; ``memory``: why that could not be told.
    """

    listed: str = ""
    required: bool = False
    queue: str = ""
    skills: dict[str, int] = {}
    last_agent: str = ""
    last_spoke_ns: int = 0
    memory: Literal["", "away"] = ""


NOBODY = Known()


class Rung(Struct, frozen=True, gc=False):
    """One phone that is rung for an offer, until ``until_ns`` at most. ``confirm``: whoever picks it up
    must press 1 before the call is theirs."""

    leg: str
    phone: str
    until_ns: int
    confirm: bool = False


class Candidate(Struct, frozen=True, gc=False):
    """One agent who could have had the call; ``rank`` orders them, smallest first."""

    agent: str
    idle_ns: int
    rank: int
    fit: int = 0
    """Sum of the agent's levels in the skills asked for."""


class Why(Struct, frozen=True, gc=False):
    """Why this agent got this call: the rule, the field it was chosen from, the others by reason."""

    rule: str
    waited_ns: int
    position: int
    waiting: int
    candidates: tuple[Candidate, ...]
    not_eligible: dict[str, int]
    """How many of the queue's agents could not be offered the call, by their state, or "lacks skills"."""
    step: int = 0
    """Steps of relaxation that had passed."""
    skills: dict[str, int] = {}
    """Skill -> least level that was still asked for."""
    only: str = ""
    """The preferred agent for whom the call was being kept."""
    free: int = 0
    """How many agents could have had the call; ``candidates`` lists the best of them."""
    preferred: str = ""
    """For whom the call was kept when it entered the queue; ``prefer_note``: why, or why for nobody."""
    prefer_note: PreferNote = ""
    listed: str = ""
    """The list of callers that gave the call its priority or its agent."""
    rung: tuple[str, ...] = ()
    """All whom this decision rings at once (ring all); () = the first candidate alone."""
    decision: int = 0
    """The attempt whose decision rings this agent, too, and has the reasons; 0 = they are here."""


class Boundary(Struct, frozen=True):
    """From ``at_ns`` on, until the next boundary, the hours are in ``state``."""

    at_ns: int
    state: OpenState
