"""Histories as the engine would journal them, in short words, for the tests of store and ledger."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ari_app.core import messages as m
from ari_app.core.definition import Agent, Definition, Flow, HangupNode, MenuNode, Queue
from ari_app.core.messages import AnyEvent, Candidate, Why
from ari_app.store.journal import Entry, Journal

SECOND = 1_000_000_000
START_NS = 1_790_000_000 * SECOND
AGENTS = ("ann", "bob", "cid")

CENTRE = Definition(
    numbers={"100": "main"},
    flows={"main": Flow("hello", {"hello": MenuNode(("hi",), {"1": "bye"}, "bye"), "bye": HangupNode()})},
    queues={"sales": Queue("Sales", service_level_s=20, short_abandon_s=5)},
    agents={name: Agent(name.title(), name, ("sales",)) for name in AGENTS},
)


class History:
    """A list of entries and a clock. Every word appends what the engine would decide."""

    def __init__(self, start_ns: int = START_NS, epoch: str = "e1") -> None:
        self.now_ns = start_ns
        self.epoch = epoch
        self.entries: list[Entry] = []

    def passes(self, seconds: float) -> History:
        self.now_ns += round(seconds * SECOND)
        return self

    def says(self, *events: AnyEvent) -> History:
        self.entries.append(Entry(self.now_ns, m.ChannelLeft("x"), list(events)))
        return self

    def begins(self) -> History:
        self.says(m.EpochBegan(self.epoch, "n1", "boot", 0, "0.1"), m.DefinitionLoaded(CENTRE, "d"))
        return self.says(m.MatchingBegan(0, 0))

    def signs_in(self, *agents: str) -> History:
        return self.says(*(m.AgentSignedIn(agent, "test") for agent in agents))

    def dials(self, call: str) -> History:
        self.says(
            m.CallOpened(call, f"ch-{call}", "100", "main", self.now_ns + 60 * SECOND),
            m.NodeEntered(call, "hello", 1, 1, f"{call}.play.1"),
        )
        return self

    def queues(self, call: str) -> History:
        return self.says(m.MenuChosen(call, "hello", "bye"), m.CallQueued(call, "sales", self.now_ns, 0))

    def offers(self, call: str, agent: str, attempt: int = 1) -> History:
        why = Why("longest_idle", SECOND, 1, 1, (Candidate(agent, SECOND, 0),), {"signed_out": 2})
        leg = f"{call}.offer.{attempt}"
        self.says(m.OfferMade(call, "sales", agent, attempt, leg, self.now_ns + 15 * SECOND, why))
        return self.says(m.OfferDialled(call, agent, attempt))

    def rings(self, call: str, agent: str, attempt: int = 1) -> History:
        return self.says(m.OfferRinging(call, agent, attempt))

    def lapses(self, call: str, agent: str, attempt: int = 1, reason: m.LapseReason = "no_answer") -> History:
        self.says(m.OfferLapsed(call, "sales", agent, attempt, reason, reason == "no_answer"))
        return self.says(
            m.LegReleased(agent, f"{call}.offer.{attempt}"), m.AgentFreed(agent, "ready", "missed")
        )

    def connects(self, call: str, agent: str, waited_s: float, attempt: int = 1) -> History:
        leg, recording = f"{call}.offer.{attempt}", f"{call}.rec.{attempt}"
        waited_ns = round(waited_s * SECOND)
        self.says(m.CallConnected(call, "sales", agent, attempt, leg, f"{call}.talk", waited_ns, recording))
        return self.says(
            m.CallBridged(call, agent),
            m.RecordingStarted(call, recording, "caller", f"ch-{call}", f"{recording}.caller.raw"),
            m.RecordingStarted(call, recording, "agent", leg, f"{recording}.agent.raw"),
        )

    def talk_ends(
        self,
        call: str,
        agent: str,
        waited_s: float,
        talked_s: float,
        by: m.EndedBy = "caller",
        attempt: int = 1,
    ) -> History:
        waited_ns, talk_ns = round(waited_s * SECOND), round(talked_s * SECOND)
        leg = f"{call}.offer.{attempt}"
        self.says(
            m.CallEnded(call, "answered", by, "sales", agent, waited_ns, talk_ns, 16),
            m.ReleaseAwaited(agent, leg, self.now_ns + SECOND),
            m.WrapUpStarted(agent, call, self.now_ns + 10 * SECOND),
        )
        self.says(m.CallerReleased(call, f"ch-{call}"))
        recording = f"{call}.rec.{attempt}"
        self.says(m.LegReleased(agent, leg))
        return self.says(m.RecordingFinished(call, recording, f"{recording}.wav", talk_ns))

    def wrap_up_ends(self, call: str, agent: str) -> History:
        return self.says(m.WrapUpEnded(agent, call), m.AgentFreed(agent, "ready", ""))

    def abandons(self, call: str, waited_s: float) -> History:
        waited_ns = round(waited_s * SECOND)
        self.says(m.CallEnded(call, "abandoned", "caller", "sales", "", waited_ns, 0, 16))
        return self.says(m.CallerReleased(call, f"ch-{call}"))

    def answered(self, call: str, agent: str, wait_s: float, talk_s: float, wrap_s: float) -> History:
        """A whole call: menu for 4 s, ``wait_s`` in the queue of which 1 s rings, talk, wrap-up."""
        self.dials(call).passes(4).queues(call).passes(wait_s - 1).offers(call, agent).rings(call, agent)
        self.passes(1).connects(call, agent, wait_s).passes(talk_s)
        return self.talk_ends(call, agent, wait_s, talk_s).passes(wrap_s).wrap_up_ends(call, agent)

    def abandoned(self, call: str, wait_s: float) -> History:
        return self.dials(call).passes(4).queues(call).passes(wait_s).abandons(call, wait_s)

    def random_calls(self, number: int, seed: int, prefix: str = "r") -> History:
        """Whole calls one after another, of all kinds."""
        dice = random.Random(seed)
        for n in range(number):
            call, agent = f"{prefix}{n}", dice.choice(AGENTS)
            match dice.randrange(3):
                case 0:
                    self.answered(call, agent, dice.uniform(2, 40), dice.uniform(1, 300), dice.uniform(1, 10))
                case 1:
                    self.abandoned(call, dice.uniform(0.1, 60))
                case _:
                    self.dials(call).passes(4).queues(call).offers(call, agent).rings(call, agent).passes(15)
                    self.lapses(call, agent).passes(5).abandons(call, 20)
            self.passes(1)
        return self


def append_all(journal: Journal, history: History, batch: int = 7) -> None:
    """Commit the history in batches, with a caller for each call."""
    entries: Sequence[Entry] = history.entries
    for first in range(0, len(entries), batch):
        chunk = entries[first : first + batch]
        for entry in chunk:
            for event in entry.events:
                if isinstance(event, m.CallOpened):
                    journal.put_person(event.call, f"+4930{len(event.call)}", f"Caller of {event.call}")
        journal.append(history.epoch, chunk, journal.last_seq)
