"""The call centre's definition as the core sees it: numbers, flows, queues, agents.

Plain data, already validated by ``ari_app.config`` (files, lines and keys are its business).
It travels inside the ``DefinitionLoaded`` event, so it holds no secret: PINs and SIP
passwords stay in the shell.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

SECOND_NS = 1_000_000_000

Strategy = Literal[
    "longest_idle",
    "least_recent",
    "fewest_calls",
    "least_occupied",
    "round_robin",
    "random",
    "weighted_random",
    "linear",
    "ring_all",
]
"""How agents who fit a call equally well are put in order."""


OverflowReason = Literal["full", "timeout", "no_agents", "closed", "holiday", "crisis"]
"""Why a queue sends a caller on."""

WrapUpMode = Literal["none", "fixed", "extendable", "until_done", "requested"]


class PlayNode(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="play"):
    """Plays ``sounds`` in order, then goes to ``next``.

    A digit pressed meanwhile is taken as the answer of the menu that ``next`` names, if it
    names one: who knows the menu need not listen to the greeting.
    """

    sounds: tuple[str, ...]
    next: str


class MenuNode(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="menu"):
    """Plays ``sounds``, waits ``timeout_s`` after their end for one digit, at most ``attempts`` times."""

    sounds: tuple[str, ...]
    choices: dict[str, str]
    on_failure: str
    timeout_s: float = 5.0
    attempts: int = 3
    invalid_sounds: tuple[str, ...] = ("pbx-invalid",)
    timeout_sounds: tuple[str, ...] = ()


class QueueNode(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="queue"):
    """Puts the caller into ``queue``; the wait begins (after ``sounds``, if any).

    ``skills`` (skill -> least level) are asked for beside the queue's own; ``priority`` adds to it.
    """

    queue: str
    sounds: tuple[str, ...] = ()
    priority: int = 0
    skills: dict[str, int] = {}


class HangupNode(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="hangup"):
    """Plays ``sounds``, then hangs up."""

    sounds: tuple[str, ...] = ()


Node = PlayNode | MenuNode | QueueNode | HangupNode


class Flow(Struct, frozen=True, forbid_unknown_fields=True):
    """``priority`` is added to that of every call that arrives by this flow."""

    start: str
    nodes: dict[str, Node]
    priority: int = 0


class Relax(Struct, frozen=True, forbid_unknown_fields=True):
    """What is given up ``after_s`` seconds in the queue, on top of the steps before.

    ``requires`` lowers levels; ``drop`` gives a skill up altogether; ``groups`` adds the agents of
    these groups. Nothing is ever taken back, so the longer a caller waits, the more agents qualify.
    """

    after_s: float
    requires: dict[str, int] = {}
    drop: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class Target(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a queue sends a caller on: exactly one of ``queue`` (the place is kept), ``flow`` (at
    ``node``, or its start), ``number`` (over ``trunk``), ``voicemail`` (a message of at most
    ``longest_s``), ``fallback`` (the static one) and ``hangup``. ``sounds`` are said first."""

    queue: str = ""
    flow: str = ""
    node: str = ""
    fallback: bool = False
    hangup: bool = False
    sounds: tuple[str, ...] = ()
    number: str = ""
    trunk: str = ""
    ring_s: float = 30.0
    """How long the number rings."""
    voicemail: bool = False
    longest_s: float = 120.0
    otherwise: Target | None = None
    """If nobody takes the call at the number; the static fallback if nothing is said."""


class Overflow(Struct, frozen=True, forbid_unknown_fields=True):
    """Where to, by reason. Nothing named: the static fallback; ``holiday``: as ``closed``; ``crisis``:
    the centre's crisis flow."""

    full: Target | None = None
    timeout: Target | None = None
    no_agents: Target | None = None
    closed: Target | None = None
    holiday: Target | None = None
    crisis: Target | None = None


class Queue(Struct, frozen=True, forbid_unknown_fields=True):
    """One waiting line and how its calls are treated. Durations in seconds."""

    name: str
    ring_timeout_s: float = 15.0
    wrap_up_s: float = 10.0
    retry_pause_s: float = 5.0
    """How long an agent who missed, refused or was busy is left alone before the next offer."""
    max_misses: int = 2
    """After so many unanswered offers in a row the agent is "not responding" (RONA)."""
    music: str = "default"
    record: bool = True
    service_level_s: float = 20.0
    short_abandon_s: float = 5.0
    strategy: Strategy = "longest_idle"
    ring_at_most: int = 0
    """For ``ring_all``: how many agents are rung for one caller at once; 0 = all who are free."""
    requires: dict[str, int] = {}
    """Skill -> least level (1 to 5). Who lacks a skill never qualifies, not even for level 0."""
    relax: tuple[Relax, ...] = ()
    priority: int = 0
    ageing_every_s: float = 0.0
    """A waiting call's priority grows by ``ageing_by`` each time so long has passed; 0 = never."""
    ageing_by: int = 1
    prefer_s: float = 0.0
    """How long a call is kept for its preferred agent before anybody may take it; 0 = not at all."""
    last_agent_within_s: float = 0.0
    """An agent who spoke with the caller so recently is their preferred one; 0 = nobody is for that."""
    max_waiting: int = 0
    """Callers in line at most; 0 = any number."""
    max_wait_s: float = 0.0
    """How long a caller waits in this queue at most; 0 = for ever. A phone that rings may ring on."""
    join_when: Literal["always", "signed_in", "working"] = "always"
    leave_when: Literal["never", "none_signed_in", "none_working"] = "never"
    """``working``: signed in, and neither paused, not responding nor unreachable."""
    hours: str = ""
    at_closing: Literal["serve", "overflow"] = "serve"
    """What becomes of those who wait when the queue closes."""
    overflow: Overflow = Overflow()
    wrap_up: WrapUpMode = "fixed"
    wrap_up_extend_s: float = 30.0
    wrap_up_max_s: float = 600.0
    """The longest wrap-up, extensions included; for ``until_done`` its only limit."""
    dispositions: dict[str, str] = {}
    """Code -> label: what may have come of a call, said by the agent."""
    disposition_required: bool = False
    disposition_default: str = ""
    """What is noted if the agent says nothing in time."""
    note_fields: dict[str, str] = {}
    """Key -> label of what a note of a call asks for: reason, solution, next steps."""
    note_required: tuple[str, ...] = ()
    """Keys without which the wrap-up is not ended by a command (by its time or the phone, it is)."""


class Phone(Struct, frozen=True, forbid_unknown_fields=True):
    """One of an agent's phones. ``endpoint``: the PJSIP endpoint's name; of a ``mobile`` (a number through
    a trunk, whose owner must press 1) the key by which the shell knows the number.

    ``ring_s``: how long it rings; 0 = as long as the queue says.
    """

    endpoint: str
    mobile: bool = False
    auto_answer: bool = False
    ring_s: float = 0.0


class Agent(Struct, frozen=True, forbid_unknown_fields=True):
    """``endpoint`` is the PJSIP endpoint's name, rendered by Cordboard or the PBX's own.

    ``skills``: skill -> proficiency, 1 to 5 (0: has it, but only for calls relaxed to level 0).
    ``groups`` can be added to queues by their steps of relaxation. ``weight``: for weighted random.
    """

    name: str
    endpoint: str
    queues: tuple[str, ...]
    skills: dict[str, int] = {}
    groups: tuple[str, ...] = ()
    weight: int = 1
    phones: tuple[Phone, ...] = ()
    """All phones, if there is more to say than ``endpoint``."""
    ring: Literal["at_once", "in_order"] = "at_once"
    """How several phones are rung."""
    confirm_s: float = 12.0
    """How long whoever picks a mobile up has to press 1."""

    def all_phones(self) -> tuple[Phone, ...]:
        """At least one, in the order in which they are rung."""
        return self.phones or (Phone(self.endpoint),)


class Codes(Struct, frozen=True, forbid_unknown_fields=True):
    """Feature codes an agent dials, and for which of them the PIN is asked."""

    sign_in: str = "*11"
    sign_out: str = "*12"
    pause: str = "*13"
    resume: str = "*14"
    done: str = "*15"
    wrap_up: str = "*16"
    ask_pin: tuple[str, ...] = ("sign_in", "sign_out", "pause", "resume")
    pin_attempts: int = 3
    pin_lock_after: int = 5
    pin_lock_s: float = 900.0
    pin_timeout_s: float = 10.0
    desk_taken: Literal["refuse", "sign_out"] = "refuse"
    """Who signs in at a desk where somebody is signed in: is told so, or the other one is signed out.
    Nobody is signed out who is on a call or not yet done with one."""


class Centre(Struct, frozen=True, forbid_unknown_fields=True):
    name: str = "Cordboard"
    time_zone: str = "UTC"
    country_code: str = ""
    """How callers' numbers are written nationally: "49", with ``national_prefix`` before the area code."""
    national_prefix: str = "0"
    international_prefix: str = "00"
    desks: tuple[str, ...] = ()
    """Phones (of ours, or endpoints of the PBX) at which any agent may sign in."""
    absolute_timeout_s: int = 120
    """A caller whom no program has looked after for so long is taken to the static fallback by
    Asterisk itself (``TIMEOUT(absolute)``); renewed at half of it while Cordboard lives."""


class Crisis(Struct, frozen=True, forbid_unknown_fields=True):
    """The prepared ``flow`` callers come into while the emergency switch is on."""

    flow: str = ""
    move_waiting: bool = True
    """Whether those who wait already are moved, too."""


class Definition(Struct, frozen=True, forbid_unknown_fields=True):
    """``numbers`` maps a dialled number to a flow's name; ``priorities`` to what it adds to its calls'."""

    centre: Centre = Centre()
    crisis: Crisis = Crisis()
    codes: Codes = Codes()
    numbers: dict[str, str] = {}
    priorities: dict[str, int] = {}
    flows: dict[str, Flow] = {}
    queues: dict[str, Queue] = {}
    agents: dict[str, Agent] = {}


def seconds_ns(seconds: float) -> int:
    """Seconds as integer nanoseconds."""
    return round(seconds * SECOND_NS)
