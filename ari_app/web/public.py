"""What the HTTP API says: the view in the shapes that programs outside read. OpenAPI comes from these types.

Instants are ISO 8601 UTC, durations seconds; null means "none" or "not (yet)". Callers' numbers,
names and attributes are in ``Call.caller`` alone, which is null for who may not see them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta, Struct

from ari_app.core.call import CallState
from ari_app.core.definition import SECOND_NS
from ari_app.core.messages import AgentStateName
from ari_app.web.view import AgentView, CallView, Figures, QueueView, View

Instant = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class Caller(Struct, frozen=True):
    """Personal data. ``attributes``: what the dialplan attached (AGI ``attach``)."""

    number: str
    name: str
    attributes: dict[str, str]


class Call(Struct, frozen=True):
    """``number``: the dialled one. ``position``: 1 = next; null outside a queue. ``offers``: made so far."""

    id: str
    state: CallState
    number: str
    flow: str
    queue: str | None
    position: int | None
    opened_at: Instant
    queued_at: Instant | None
    connected_at: Instant | None
    waited_s: float | None
    agent: str | None
    ringing: bool
    offers: int
    caller: Caller | None
    rung: tuple[str, ...] = ()
    """Agents who are being offered it. ``agent`` is null while there are several."""


class Agent(Struct, frozen=True):
    """``next_state``: where the agent goes once the present call is over; null if no call holds them."""

    id: str
    name: str
    state: AgentStateName
    since: Instant | None
    reason: str
    call: str | None
    queues: tuple[str, ...]
    next_state: AgentStateName | None
    next_reason: str
    rests_until: Instant | None
    wrap_up_until: Instant | None
    misses: int
    handled: int
    pin_locked_until: Instant | None
    desk: str | None = None
    """The desk where the agent is signed in; null: at their own phone, or signed out."""


class QueueDay(Struct, frozen=True):
    """One queue since midnight UTC. ``service_level``: 0 to 1; ``asa_s``: mean wait of answered calls."""

    offered: int
    answered: int
    answered_in_time: int
    abandoned: int
    abandoned_short: int
    overflowed: int
    timed_out: int
    lost: int
    service_level: float | None
    asa_s: float | None
    talk_s: float


class Queue(Struct, frozen=True):
    """``waiting``: without an agent yet, the offered ones too. ``agents``: how many in which state."""

    id: str
    name: str
    waiting: int
    talking: int
    longest_wait_s: float | None
    agents: dict[str, int]
    service_level_s: float
    today: QueueDay


class Calls(Struct, frozen=True):
    """Live calls: who waits first, in their order; then who talks; then who is in a menu."""

    at: Instant
    calls: tuple[Call, ...]


class Agents(Struct, frozen=True):
    at: Instant
    agents: tuple[Agent, ...]


class Queues(Struct, frozen=True):
    """``matching`` false: nobody is offered a call at present (Asterisk can't be reached)."""

    at: Instant
    matching: bool
    queues: tuple[Queue, ...]


class Wish(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of an action on an agent; may be left out."""

    reason: Annotated[str, Meta(max_length=60)] = ""
    disposition: Annotated[str, Meta(max_length=60)] = ""
    """With ``done``: what came of the call, one of the queue's codes."""
    note: Annotated[str, Meta(max_length=1000)] = ""
    """With ``done``: kept with the caller's row, and erased with it."""
    fields: dict[str, Annotated[str, Meta(max_length=1000)]] = {}
    """With ``done``: the queue's form of a note, filled in."""


class AgentDone(Struct, frozen=True):
    """The agent as they are after the wish, and a sentence about it."""

    said: str
    agent: Agent


class CallDone(Struct, frozen=True):
    said: str
    call: str


# ---------------------------------------------------------------- from the view


def instant(at_ns: int) -> str:
    """ISO 8601 UTC with milliseconds, for an instant that is set."""
    moment = datetime.fromtimestamp(at_ns // SECOND_NS, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ns % SECOND_NS // 1_000_000:03}Z"


def calls(view: View, *, people: bool, agent: str = "") -> Calls:
    """``agent``: only the call of this agent."""
    shown = (c for c in view.calls if not agent or concerns(c, agent))
    return Calls(instant(view.at_ns), tuple(call(c, view.at_ns, people=people, agent=agent) for c in shown))


def agents(view: View, *, agent: str = "") -> Agents:
    """``agent``: only this one."""
    shown = (a for a in view.agents if not agent or a.agent == agent)
    return Agents(instant(view.at_ns), tuple(one_agent(a) for a in shown))


def queues(view: View) -> Queues:
    return Queues(instant(view.at_ns), view.matching, tuple(_queue(q, view.at_ns) for q in view.queues))


def concerns(c: CallView, agent: str) -> bool:
    """Whether the agent has the call, or is being offered it, alone or among others."""
    return agent in (c.agent, *c.rung)


def call(c: CallView, now_ns: int, *, people: bool, agent: str = "") -> Call:
    """``agent``: for this one alone; who else is rung is not said."""
    rung = (agent,) if agent in c.rung else c.rung
    waited_ns = (c.connected_ns or now_ns) - c.entered_ns if c.entered_ns else None
    return Call(
        id=c.call,
        state=c.state,
        number=c.number,
        flow=c.flow,
        queue=c.queue or None,
        position=c.position or None,
        opened_at=instant(c.opened_ns),
        queued_at=_optional(c.entered_ns),
        connected_at=_optional(c.connected_ns),
        waited_s=None if waited_ns is None else _seconds(waited_ns),
        agent=(rung[0] if len(rung) == 1 else None) if rung else c.agent or None,
        ringing=c.ringing,
        offers=c.offers,
        caller=Caller(c.caller_number, c.caller_name, c.attributes) if people else None,
        rung=rung,
    )


def one_agent(a: AgentView) -> Agent:
    return Agent(
        id=a.agent,
        name=a.name,
        state=a.state,
        since=_optional(a.since_ns),
        reason=a.reason,
        call=a.call or None,
        queues=a.queues,
        next_state=a.after if a.held else None,
        next_reason=a.after_reason,
        rests_until=_optional(a.rests_until_ns),
        wrap_up_until=_optional(a.wrap_until_ns),
        misses=a.misses,
        handled=a.handled,
        pin_locked_until=_optional(a.locked_until_ns),
        desk=a.desk or None,
    )


def _queue(q: QueueView, now_ns: int) -> Queue:
    return Queue(
        id=q.queue,
        name=q.name,
        waiting=q.waiting,
        talking=q.talking,
        longest_wait_s=_seconds(now_ns - q.oldest_ns) if q.oldest_ns else None,
        agents=q.agents,
        service_level_s=q.service_level_s,
        today=_day(q.today),
    )


def _day(f: Figures) -> QueueDay:
    return QueueDay(
        offered=f.offered,
        answered=f.answered,
        answered_in_time=f.within,
        abandoned=f.abandoned,
        abandoned_short=f.short,
        overflowed=f.overflowed,
        timed_out=f.timed_out,
        lost=f.lost,
        service_level=f.service_level,
        asa_s=None if f.asa_ns is None else _seconds(f.asa_ns),
        talk_s=_seconds(f.talk_ns),
    )


def _optional(at_ns: int) -> str | None:
    return instant(at_ns) if at_ns else None


def _seconds(ns: int) -> float:
    return round(ns / SECOND_NS, 3)
