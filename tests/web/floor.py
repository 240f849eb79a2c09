"""A real floor, driven input by input as the engine does, and a desk in front of it."""

from __future__ import annotations

import asyncio

from ari_app.core import messages as m, notes, why
from ari_app.core.definition import (
    SECOND_NS,
    Agent,
    Centre,
    Definition,
    Flow,
    MenuNode,
    Queue,
    QueueNode,
    seconds_ns,
)
from ari_app.core.floor import Floor
from ari_app.core.refusal import refusal
from ari_app.core.staff import Departure, departures
from ari_app.core.step import advance
from ari_app.store.journal import Person
from ari_app.web.control import Wish
from ari_app.web.messages import Readiness, Reloaded, Tested
from ari_app.web.view import AgentView, Recent, View, build_agent, build_view

START_NS = 1_780_000_000 * SECOND_NS

FLOW = Flow(
    start="menu",
    nodes={
        "menu": MenuNode(sounds=("hello",), choices={"1": "sales", "2": "help"}, on_failure="sales"),
        "sales": QueueNode(queue="sales"),
        "help": QueueNode(queue="help"),
    },
)
DEFINITION = Definition(
    centre=Centre(name="Example Ltd"),
    numbers={"100": "main"},
    flows={"main": FLOW},
    queues={"sales": Queue(name="Sales"), "help": Queue(name="Help desk", record=False)},
    agents={
        "alice": Agent(name="Alice Adams", endpoint="alice", queues=("sales", "help")),
        "bob": Agent(name="Bob Brown", endpoint="bob", queues=("sales",)),
        "carol": Agent(name="Carol Clark", endpoint="carol", queues=("help",)),
    },
)


class Room:
    """The floor at an instant that only ``passes`` moves. Calls are named as they arrive."""

    def __init__(self) -> None:
        self.floor, self.recent = Floor(), Recent()
        self.now_ns = START_NS
        self.people: dict[str, Person] = {}
        self.notes: dict[str, str] = {}
        self.given(m.EngineStarted("e1", "node", "boot", 0, "0.1"))
        self.given(m.DefinitionGiven(DEFINITION, "digest"))
        self.given(m.Recovered(0, 0))

    def given(self, item: m.AnyInput) -> list[m.AnyEvent]:
        events = advance(self.floor, item, self.now_ns).events
        self.recent.add(self.now_ns, events)
        return events

    def passes(self, seconds: float) -> None:
        self.now_ns += seconds_ns(seconds)
        for deadline in self.floor.due(self.now_ns):
            self.given(deadline)

    def asked(self, agent: str, action: m.Action, reason: str = "") -> None:
        self.given(m.AgentAsked(agent, action, reason, "test"))

    def caller(self, key: str = "1", *, number: str = "+4930123", name: str = "Ann") -> str:
        """A caller dials 100 and presses ``key``; the call's id."""
        channel = f"chan-{self.floor.state.opened + 1}"
        opened = self.given(m.CallArrived(channel, "100"))[0]
        assert isinstance(opened, m.CallOpened)
        self.people[opened.call] = Person(call=opened.call, number=number, name=name)
        if key:
            self.given(m.DigitPressed(channel, key))
        return opened.call

    def rings(self, call: str) -> str:
        """The offered agent's phone rings; their leg."""
        offer = self.floor.state.calls[call].offer
        assert offer is not None
        self.given(m.OriginateDone(offer.leg, ok=True))
        self.given(m.LegRinging(offer.leg))
        return offer.leg

    def answered(self, call: str) -> None:
        self.given(m.LegAnswered(self.rings(call)))
        self.given(m.BridgeDone(call, ok=True))

    # ------------------------------------------------------------ the desk

    def view(self) -> View:
        return build_view(self.floor, self.recent, self.now_ns, self.people.get)

    def agent(self, name: str) -> AgentView | None:
        return build_agent(self.floor, name, self.now_ns)

    def why_call(self, call: str) -> tuple[str, ...]:
        return why.caller(self.floor, call, self.now_ns)

    def why_agent(self, name: str) -> tuple[str, ...]:
        return why.agent(self.floor, name, self.now_ns)

    def refusal(self, item: m.AgentAsked | m.AgentSkillsChanged | m.CrisisAsked) -> str:
        return refusal(self.floor, item)

    def note_form(self, agent: str) -> notes.Form:
        return notes.form(self.floor, agent)

    def note(self, call: str, text: str) -> str:
        self.notes[call] = text
        return ""

    def departures(self) -> list[Departure]:
        return departures(self.floor)

    async def ask(self, item: Wish) -> None:
        await asyncio.sleep(0)  # as if a commit lay between
        self.given(item)

    def ready(self) -> Readiness:
        return Readiness(recovered=self.floor.state.matching, ari=True, ami=True, journal_seq=7)

    async def reload(self, *, dry_run: bool) -> Reloaded:
        return Reloaded(("queue sales: wrap_up_s 1 -> 2",), applied=not dry_run)

    async def test_call(self) -> Tested:
        return Tested(ok=True, took_ms=1, steps=("enters Stasis",))


def busy_room() -> Room:
    """Alice talks, bob's phone rings, one caller waits, one is in the menu, carol is paused."""
    room = Room()
    for agent in ("alice", "bob", "carol"):
        room.asked(agent, "sign_in")
        room.passes(30)
    room.asked("carol", "pause", "lunch")
    first = room.caller(name="Ann Archer")
    room.answered(first)
    room.passes(5)
    room.rings(room.caller(number="+4930456", name="Ben"))
    room.passes(2)
    room.caller("2", number="", name="")
    room.caller("")
    room.passes(7)
    return room
