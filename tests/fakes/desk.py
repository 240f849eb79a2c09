"""The core alone, without Asterisk: people who call, answer and hang up as fast as a test can tell.

``Desk`` gives inputs to ``step`` and applies what is decided, as ``advance`` does, but shows each
decision of ``routing.match`` to an oracle before it is applied.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ari_app.core import messages as m, routing
from ari_app.core.call import Call
from ari_app.core.definition import SECOND_NS, Agent, Definition, Flow, Node, Queue, QueueNode, seconds_ns
from ari_app.core.floor import Floor
from ari_app.core.step import follow, step

START_NS = 1_800_000_000 * SECOND_NS

Oracle = Callable[[Floor, m.OfferMade | None, int], None]
"""Sees the floor and the offer that is about to be made on it, or None if none will be. Of those that ring
all makes, it sees the first."""


def definition(queues: dict[str, Queue], agents: dict[str, Agent], **nodes: QueueNode) -> Definition:
    """Each queue (and each of ``nodes``) has a number of its own name that leads straight to it."""
    straight: dict[str, Node] = {**{name: QueueNode(name) for name in queues}, **nodes}
    return Definition(
        numbers={name: name for name in straight},
        flows={name: Flow("in", {"in": node}) for name, node in straight.items()},
        queues=queues,
        agents=agents,
    )


def agent(*queues: str, groups: tuple[str, ...] = (), weight: int = 1, **skills: int) -> Agent:
    """An agent of these queues and skills."""
    return Agent("", "phone", queues, skills, groups, weight)


@dataclass
class Desk:
    """``journal`` holds (instant, input, events) of every input that led to events."""

    definition: Definition
    oracle: Oracle | None = None
    floor: Floor = field(default_factory=Floor)
    now_ns: int = START_NS
    keep_journal: bool = True
    journal: list[tuple[int, m.AnyInput, list[m.AnyEvent]]] = field(default_factory=list)
    offers: list[m.OfferMade] = field(default_factory=list)
    arrived: int = 0

    def __post_init__(self) -> None:
        self.give(m.EngineStarted("e", "node", "boot", 0, "0"))
        self.give(m.DefinitionGiven(self.definition, "digest"))
        self.give(m.Recovered(0, 0))

    def give(self, item: m.AnyInput) -> list[m.AnyEvent]:
        """One input and all that follows from it."""
        floor, now_ns = self.floor, self.now_ns
        made_of_it = step(floor, item, now_ns)
        follow(floor, made_of_it, now_ns)
        decided = made_of_it.events
        while True:
            found = routing.match(floor, now_ns)
            offers = [event for event in found.events if isinstance(event, m.OfferMade)] if found else []
            if self.oracle:
                self.oracle(floor, offers[0] if offers else None, now_ns)
            if not offers:
                break
            for made in offers:
                floor.evolve(now_ns, made)
                decided.append(made)
                self.offers.append(made)
        if decided and self.keep_journal:
            self.journal.append((now_ns, item, decided))
        return decided

    # ------------------------------------------------------------ people

    def signs_in(self, *agents: str) -> None:
        for name in agents:
            self.give(m.AgentAsked(name, "sign_in"))

    def asks(self, name: str, action: m.Action) -> None:
        self.give(m.AgentAsked(name, action))

    def calls(self, number: str, *, priority: int = 0, prefer: str = "", known: m.Known = m.NOBODY) -> str:
        """A caller; the call's id."""
        self.arrived += 1
        channel = f"caller-{self.arrived}"
        self.give(m.CallArrived(channel, number, False, priority, prefer, known))
        call = self.floor.call_of(channel)
        assert call is not None
        return call.id

    def call(self, key: str) -> Call:
        return self.floor.state.calls[key]

    def answers(self, key: str) -> None:
        """The agent who is offered the call picks up; all others who are rung for it are let go at once."""
        offer = self.call(key).offer
        assert offer is not None
        self.give(m.LegAnswered(offer.leg))
        for event in self.give(m.BridgeDone(key, True)):
            if isinstance(event, m.ReleaseAwaited):
                self.give(m.ChannelGone(event.leg, 26))

    def declines(self, key: str, cause: int = 21) -> None:
        """The agent's phone refuses (Q.850 cause)."""
        offer = self.call(key).offer
        assert offer is not None
        self.give(m.ChannelGone(offer.leg, cause))

    def hangs_up(self, key: str) -> None:
        """The caller hangs up; every channel is confirmed gone at once."""
        call = self.call(key)
        legs = [offer.leg for offer in call.offers.values()] or [call.leg]
        self.give(m.ChannelGone(call.channel, 16))
        for leg in filter(None, legs):
            self.give(m.ChannelGone(leg, 16))

    # ------------------------------------------------------------ time

    def passes(self, seconds: float) -> None:
        """Time passes; everything falls due at its instant."""
        self.until(self.now_ns + seconds_ns(seconds))

    def until(self, at_ns: int) -> None:
        while (due_ns := self.floor.next_due_ns()) is not None and due_ns <= at_ns:
            self.now_ns = max(self.now_ns, due_ns)
            for item in self.floor.due(self.now_ns):
                self.give(item)
        self.now_ns = at_ns

    def waiting(self) -> Iterator[Call]:
        return (call for call in self.floor.state.calls.values() if call.state == "waiting")


class Timers:
    """What people will do, by instant; equal instants in the order in which they were planned."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, at_ns: int, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at_ns, self._count, act))

    def __bool__(self) -> bool:
        return bool(self._heap)

    def pop(self) -> tuple[int, Callable[[], None]]:
        at_ns, _, act = heapq.heappop(self._heap)
        return at_ns, act
