"""The live view: an immutable picture of the floor for people and programs outside the engine.

Built on demand from the floor, the day's figures and the last events; nothing of it is kept. All
instants are ns UTC, so that a reader counts waits on by itself between two pictures. Text that
came from outside is already printable here: control characters are escaped, long names cut.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Protocol

from msgspec import Struct

from ari_app.core import messages as m, words
from ari_app.core.agent import After, Agent
from ari_app.core.call import Call, CallState
from ari_app.core.definition import Agent as AgentDefinition, Queue
from ari_app.core.floor import Floor
from ari_app.core.stats import QueueFigures
from ari_app.core.text import printable

SHOWN_HAPPENINGS = 50
NAME_LIMIT = 80
NUMBER_LIMIT = 40
WAITING: tuple[CallState, ...] = ("waiting", "offered")


class Person(Protocol):
    """Who is calling, as it came from outside; the row can be erased."""

    @property
    def number(self) -> str: ...
    @property
    def name(self) -> str: ...


People = Callable[[str], Person | None]
"""A call's caller, if it is known and not erased."""
Attributes = Callable[[str], dict[str, str]]
"""What the dialplan attached to a call; personal data as well."""


def no_attributes(_: str) -> dict[str, str]:
    return {}


class Figures(Struct, frozen=True):
    """One queue since midnight UTC; ``service_level`` 0..1, ``asa_ns`` the mean wait of answered calls."""

    offered: int
    answered: int
    within: int
    abandoned: int
    short: int
    overflowed: int
    timed_out: int
    lost: int
    service_level: float | None
    asa_ns: int | None
    talk_ns: int


class QueueView(Struct, frozen=True):
    """``oldest_ns``: since when the longest waiting caller waits, 0 = nobody waits.

    ``waiting`` counts all who have no agent yet, those being offered included. ``agents``: how many
    of the queue's agents are in which state.
    """

    queue: str
    name: str
    waiting: int
    talking: int
    oldest_ns: int
    agents: dict[str, int]
    service_level_s: float
    today: Figures
    hours: str = ""
    """"open", "closed" or "holiday"; "" = it has no opening hours."""


class CallView(Struct, frozen=True):
    """``position`` 1 = next, 0 = not in a queue. Wait: ``entered_ns`` until ``connected_ns`` or now.

    ``agent``: who talks, or is rung ("bob and 2 more", where several are).
    """

    call: str
    state: CallState
    number: str
    flow: str
    node: str
    queue: str
    position: int
    opened_ns: int
    entered_ns: int
    connected_ns: int
    agent: str
    ringing: bool
    offers: int
    caller_number: str
    caller_name: str
    attributes: dict[str, str] = {}
    rung: tuple[str, ...] = ()
    """Every agent who is being offered the call; empty once somebody has it."""


class AgentView(Struct, frozen=True):
    """``after``: where the agent goes once the present call is over (only while a call holds them)."""

    agent: str
    name: str
    state: m.AgentStateName
    since_ns: int
    reason: str
    call: str
    queues: tuple[str, ...]
    held: bool
    after: After
    after_reason: str
    rests_until_ns: int
    wrap_until_ns: int
    misses: int
    handled: int
    pin_failures: int
    locked_until_ns: int
    reachable: bool = True
    """Whether a call could ring at the agent's phone, in whatever state the agent is."""
    desk: str = ""
    """The desk where the agent is signed in, if it is not their own phone."""

    def goal(self) -> str:
        """The state that counts for a wish: the present one, or the one to come after the call."""
        return self.after if self.held else self.state

    def goal_reason(self) -> str:
        return self.after_reason if self.held else self.reason


class Happening(Struct, frozen=True):
    """One thing that just happened, in plain words; ``call``, ``agent`` "" if it is about none.

    ``kind``: the event's, such as ``OfferMade``."""

    at_ns: int
    call: str
    agent: str
    text: str
    kind: str = ""


class CrisisView(Struct, frozen=True):
    """The emergency switch is on for ``queue`` ("" = everything)."""

    queue: str
    since_ns: int
    by: str


class View(Struct, frozen=True):
    """``stamp`` changes when anything happened; ``matching`` false: nobody is offered a call now."""

    stamp: int
    at_ns: int
    centre: str
    node: str
    epoch: str
    matching: bool
    queues: tuple[QueueView, ...]
    calls: tuple[CallView, ...]
    agents: tuple[AgentView, ...]
    happenings: tuple[Happening, ...]
    """Newest first."""
    crisis: tuple[CrisisView, ...] = ()

    def agent(self, name: str) -> AgentView | None:
        return next((a for a in self.agents if a.agent == name), None)


class Recent:
    """The last events worth showing, and how many there were in all. Fed by the engine."""

    def __init__(self, keep: int = SHOWN_HAPPENINGS) -> None:
        self.count = 0
        self._kept: deque[tuple[int, m.AnyEvent]] = deque(maxlen=keep)

    def add(self, at_ns: int, events: Iterable[m.AnyEvent]) -> None:
        """Cheap: the words are made only when somebody looks."""
        for event in events:
            self.count += 1
            if words.worth_showing(event):
                self._kept.append((at_ns, event))

    def happenings(self) -> tuple[Happening, ...]:
        """Newest first."""
        return tuple(
            Happening(at_ns, *words.subject(event), words.describe(event, at_ns), type(event).__name__)
            for at_ns, event in reversed(self._kept)
        )


def build_view(
    floor: Floor,
    recent: Recent,
    now_ns: int,
    people: People,
    attributes: Attributes = no_attributes,
) -> View:
    """The picture at ``now_ns``. O(calls x log calls + agents): positions come from one sort."""
    state = floor.state
    lines: dict[str, list[Call]] = {}
    talking: Counter[str] = Counter()
    for call in state.calls.values():
        if call.state in WAITING:
            lines.setdefault(call.queue, []).append(call)
        elif call.state == "talking":
            talking[call.queue] += 1
    for line in lines.values():
        line.sort(key=Call.line_key)
    positions = {call.id: place for line in lines.values() for place, call in enumerate(line, 1)}
    queues = [*floor.definition.queues, *(q for q in lines if q not in floor.definition.queues)]
    desks = {agent: desk for desk, agent in state.seats.items()}
    return View(
        stamp=recent.count,
        at_ns=now_ns,
        centre=floor.definition.centre.name,
        node=state.node,
        epoch=state.epoch,
        matching=state.matching,
        queues=tuple(_queue(floor, key, lines.get(key, []), talking[key], now_ns) for key in queues),
        calls=tuple(
            _call(call, positions.get(call.id, 0), people, attributes(call.id))
            for call in _in_order(floor, positions)
        ),
        agents=tuple(
            _agent(a, floor.definition.agents.get(a.id), now_ns, desks.get(a.id, ""))
            for a in state.agents.values()
        ),
        happenings=recent.happenings(),
        crisis=tuple(
            CrisisView(queue, switch.since_ns, printable(switch.by, NAME_LIMIT))
            for queue, switch in sorted(state.crisis.items())
        ),
    )


def build_agent(floor: Floor, name: str, now_ns: int) -> AgentView | None:
    """One agent of the picture, for who needs no more than that."""
    agent = floor.state.agents.get(name)
    if agent is None:
        return None
    return _agent(agent, floor.definition.agents.get(name), now_ns, floor.desk_of(name))


def _in_order(floor: Floor, positions: dict[str, int]) -> list[Call]:
    """Who waits comes first, in the order of the lines; then who talks, then who is in the menu."""
    rank: dict[CallState, int] = {
        "offered": 0,
        "waiting": 0,
        "talking": 1,
        "forwarding": 1,
        "forwarded": 1,
        "message": 1,
        "ivr": 2,
        "ended": 3,
    }
    return sorted(
        floor.state.calls.values(),
        key=lambda c: (rank[c.state], c.queue if c.state in WAITING else "", positions.get(c.id, 0), c.order),
    )


def _queue(floor: Floor, key: str, line: list[Call], talking: int, now_ns: int) -> QueueView:
    definition = floor.definition.queues.get(key) or Queue(name=key)
    members = [floor.state.agents[a] for a in floor.members.get(key, ()) if a in floor.state.agents]
    opening = floor.state.opening.get(definition.hours)
    states: Counter[str] = Counter(_shown_state(agent, now_ns) for agent in members)
    return QueueView(
        queue=key,
        name=printable(definition.name, NAME_LIMIT),
        waiting=len(line),
        talking=talking,
        oldest_ns=min((call.entered_ns for call in line), default=0),
        agents=dict(states),
        service_level_s=definition.service_level_s,
        hours=opening.state if opening else "",
        today=_figures(floor.state.stats.queues.get(key) or QueueFigures()),
    )


def _shown_state(agent: Agent, now_ns: int) -> str:
    return "resting" if agent.state == "ready" and not agent.available(now_ns) else agent.state


def _figures(figures: QueueFigures) -> Figures:
    return Figures(
        offered=figures.offered,
        answered=figures.answered,
        within=figures.within,
        abandoned=figures.abandoned,
        short=figures.short,
        overflowed=figures.overflowed,
        timed_out=figures.timed_out,
        lost=figures.lost,
        service_level=figures.service_level(),
        asa_ns=figures.asa_ns(),
        talk_ns=figures.talk_ns,
    )


def _call(call: Call, position: int, people: People, attributes: dict[str, str]) -> CallView:
    person = people(call.id)
    return CallView(
        call=call.id,
        state=call.state,
        number=call.number,
        flow=call.flow,
        node=call.node,
        queue=call.queue,
        position=position,
        opened_ns=call.opened_ns,
        entered_ns=call.entered_ns,
        connected_ns=call.connected_ns,
        agent=call.agent or _rung(call),
        ringing=any(offer.ringing for offer in call.offers.values()),
        offers=call.attempts,
        caller_number=printable(person.number, NUMBER_LIMIT) if person else "",
        caller_name=printable(person.name, NAME_LIMIT) if person else "",
        attributes=attributes,
        rung=() if call.agent else tuple(call.offers),
    )


def _rung(call: Call) -> str:
    names = list(call.offers)
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else "".join(names)


def _agent(agent: Agent, definition: AgentDefinition | None, now_ns: int, desk: str) -> AgentView:
    return AgentView(
        agent=agent.id,
        name=printable(definition.name, NAME_LIMIT) if definition else agent.id,
        state=agent.state,
        since_ns=agent.since_ns,
        reason=printable(agent.reason, NAME_LIMIT),
        call=agent.call,
        queues=definition.queues if definition else (),
        held=agent.held(),
        after=agent.after,
        after_reason=printable(agent.after_reason, NAME_LIMIT),
        rests_until_ns=agent.not_before_ns if agent.not_before_ns > now_ns else 0,
        wrap_until_ns=agent.wrap_until_ns,
        misses=agent.misses,
        handled=agent.handled,
        pin_failures=agent.pin_failures,
        locked_until_ns=agent.locked_until_ns if agent.locked_until_ns > now_ns else 0,
        reachable=agent.reachable,
        desk=desk,
    )
