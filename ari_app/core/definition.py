"""The call centre's definition as the core sees it: numbers, flows, queues, agents.

Plain data, already validated by ``ari_app.config`` (files, lines and keys are its business).
It travels inside the ``DefinitionLoaded`` event, so it holds no secret: PINs and SIP
passwords stay in the shell.
"""

from __future__ import annotations

from msgspec import Struct

SECOND_NS = 1_000_000_000


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
    """Puts the caller into ``queue``; the wait begins (after ``sounds``, if any)."""

    queue: str
    sounds: tuple[str, ...] = ()
    priority: int = 0


class HangupNode(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="hangup"):
    """Plays ``sounds``, then hangs up."""

    sounds: tuple[str, ...] = ()


Node = PlayNode | MenuNode | QueueNode | HangupNode


class Flow(Struct, frozen=True, forbid_unknown_fields=True):
    start: str
    nodes: dict[str, Node]


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


class Agent(Struct, frozen=True, forbid_unknown_fields=True):
    """``endpoint`` is the PJSIP endpoint's name, rendered by Cordboard or the PBX's own."""

    name: str
    endpoint: str
    queues: tuple[str, ...]


class Codes(Struct, frozen=True, forbid_unknown_fields=True):
    """Feature codes an agent dials, and for which of them the PIN is asked."""

    sign_in: str = "*11"
    sign_out: str = "*12"
    pause: str = "*13"
    resume: str = "*14"
    ask_pin: tuple[str, ...] = ("sign_in", "sign_out", "pause", "resume")
    pin_attempts: int = 3
    pin_lock_after: int = 5
    pin_lock_s: float = 900.0
    pin_timeout_s: float = 10.0


class Centre(Struct, frozen=True, forbid_unknown_fields=True):
    name: str = "Cordboard"
    time_zone: str = "UTC"
    absolute_timeout_s: int = 120
    """A caller whom no program has looked after for so long is taken to the static fallback by
    Asterisk itself (``TIMEOUT(absolute)``); renewed at half of it while Cordboard lives."""


class Definition(Struct, frozen=True, forbid_unknown_fields=True):
    """``numbers`` maps a dialled number to a flow's name."""

    centre: Centre = Centre()
    codes: Codes = Codes()
    numbers: dict[str, str] = {}
    flows: dict[str, Flow] = {}
    queues: dict[str, Queue] = {}
    agents: dict[str, Agent] = {}


def seconds_ns(seconds: float) -> int:
    """Seconds as integer nanoseconds."""
    return round(seconds * SECOND_NS)
