"""The JSON bodies of the control API that are not the view itself."""

from __future__ import annotations

from msgspec import Raw, Struct

from ari_app.web.view import AgentView

PROBLEM_TYPE = "application/problem+json"  # RFC 9457


class Problem(Struct, frozen=True, omit_defaults=True):
    """An error as RFC 9457 shapes it (``type`` is about:blank). ``nearest``: names that may be meant."""

    title: str
    status: int
    detail: str = ""
    nearest: tuple[str, ...] = ()


class Ask(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /agents/{id}/{action}``. ``by`` says from where, never who."""

    reason: str = ""
    by: str = "api"
    disposition: str = ""
    """With the action ``done``."""
    note: str = ""
    """With the action ``done``: personal data, kept with the caller's row."""
    fields: dict[str, str] = {}
    """With the action ``done``: the queue's form of a note, filled in. Personal data as well."""


class Switch(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /crisis``; ``queue`` "" = everything."""

    on: bool
    queue: str = ""
    by: str = "api"


class Staffing(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /staff/{agent}``; null = as in the files."""

    skills: dict[str, int] | None = None
    queues: tuple[str, ...] | None = None
    by: str = "api"


class Said(Struct, frozen=True):
    """What came of it, in a sentence."""

    said: str


class Done(Struct, frozen=True):
    """The agent as they are after the wish, and a sentence about it."""

    said: str
    agent: AgentView


class Because(Struct, frozen=True):
    """Why a caller still waits, or an agent has no call: plain words, a line a fact."""

    lines: tuple[str, ...]


class EventRow(Struct, frozen=True):
    """One committed event; ``body`` is its JSON as journalled: keys, never people."""

    seq: int
    at_ns: int
    kind: str
    call: str
    agent: str
    queue: str
    body: Raw


class Reloaded(Struct, frozen=True):
    """What a reload changed, or would change, in plain words; ``to_do``: what is left for the admin."""

    changes: tuple[str, ...]
    applied: bool
    warnings: tuple[str, ...] = ()
    to_do: tuple[str, ...] = ()


class Tested(Struct, frozen=True):
    """A test call: what went well, in order, and what went wrong ("" = nothing)."""

    ok: bool
    took_ms: int
    steps: tuple[str, ...]
    failed: str = ""


class Health(Struct, frozen=True):
    alive: bool


class Readiness(Struct, frozen=True):
    """Whether calls are served. ``shipper_lag``: rows not yet in PostgreSQL; None = not known."""

    recovered: bool
    ari: bool
    ami: bool
    journal_seq: int
    shipper_lag: int | None = None

    def ready(self) -> bool:
        """AMI only records: without it calls are still served."""
        return self.recovered and self.ari


class Vitals(Struct, frozen=True):
    """How the process does at this instant; None = not known."""

    ready: Readiness
    journal_writable: bool
    event_round_trip_s: float | None
    command_round_trip_s: float | None
    streams: int = 0
