"""What programs outside see of one running Cordboard: the desk of the HTTP API and of AGI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from ari_app.agi.requests import AgentStatus, QueueStatus
from ari_app.attributes import Attributes
from ari_app.callers import wrong_attribute
from ari_app.core import messages as m
from ari_app.core.notes import Form
from ari_app.core.staff import Departure
from ari_app.engine import Engine
from ari_app.store.journal import Journal, JournalError
from ari_app.timed_journal import TimedJournal
from ari_app.web.control import Counter, Wish
from ari_app.web.messages import EventRow, Readiness, Vitals
from ari_app.web.view import AgentView, View

log = structlog.get_logger(__name__)

RoundTrips = Callable[[], tuple[float | None, float | None]]
"""Seconds of the last ping on the event and on the command socket."""


class Front:
    """``local``: the desk of the local socket, which this one adds to. See the protocols for the methods."""

    def __init__(
        self,
        local: Counter,
        engine: Engine,
        journal: TimedJournal,
        journal_path: Path,
        attributes: Attributes,
        round_trips: RoundTrips,
    ) -> None:
        self._local = local
        self._engine = engine
        self._journal = journal
        self._journal_path = journal_path
        self._attributes = attributes
        self._round_trips = round_trips
        self._told: Callable[[int, m.AnyEvent], None] | None = None

    def on_event(self, at_ns: int, event: m.AnyEvent) -> None:
        """Each committed event, from the engine."""
        self._attributes.on_event(event)
        if self._told is not None:
            self._told(at_ns, event)

    # ------------------------------------------------------------ web.http.OpenDesk

    def view(self) -> View:
        return self._local.view()

    def agent(self, name: str) -> AgentView | None:
        return self._local.agent(name)

    async def ask(self, item: Wish) -> None:
        await self._local.ask(item)

    def refusal(self, item: m.AgentAsked | m.AgentSkillsChanged | m.CrisisAsked) -> str:
        return self._local.refusal(item)

    def note(self, call: str, text: str) -> str:
        return self._local.note(call, text)

    def note_form(self, agent: str) -> Form:
        return self._local.note_form(agent)

    def departures(self) -> list[Departure]:
        return self._local.departures()

    def why_call(self, call: str) -> tuple[str, ...]:
        return self._local.why_call(call)

    def why_agent(self, name: str) -> tuple[str, ...]:
        return self._local.why_agent(name)

    def ready(self) -> Readiness:
        return self._local.ready()

    def has_call(self, call: str) -> bool:
        return call in self._engine.floor.state.calls

    def newest(self) -> int:
        return self._journal.last_seq

    async def history(self, after: int, limit: int) -> list[EventRow]:
        """Empty also if the journal cannot be read at present."""
        try:
            return await asyncio.to_thread(_rows, self._journal_path, after, limit)
        except JournalError as error:
            log.warning("events not read for a stream", error=str(error))
            return []

    def vitals(self) -> Vitals:
        events_s, commands_s = self._round_trips()
        return Vitals(self._local.ready(), not self._engine.suspended, events_s, commands_s)

    def measure(
        self,
        on_event: Callable[[int, m.AnyEvent], None],
        on_commit: Callable[[float | None], None],
    ) -> None:
        self._told, self._journal.on_commit = on_event, on_commit

    # ------------------------------------------------------------ agi.requests.Desk

    def queue_status(self, queue: str) -> QueueStatus | None:
        floor, now_ns = self._engine.floor, self._engine.clock.now_ns()
        if queue not in floor.definition.queues:
            return None
        agents = [floor.state.agents[a] for a in floor.members.get(queue, ()) if a in floor.state.agents]
        served = floor.state.matching and not self._engine.suspended
        return QueueStatus(
            waiting=floor.in_line.get(queue, 0),
            ready=sum(agent.available(now_ns) for agent in agents) if served else 0,
            open=served and any(agent.state != "signed_out" for agent in agents),
        )

    def agent_status(self, agent: str) -> AgentStatus | None:
        floor = self._engine.floor
        found = floor.state.agents.get(agent)
        if found is None:
            return None
        served = floor.state.matching and not self._engine.suspended
        return AgentStatus(found.state, served and found.available(self._engine.clock.now_ns()))

    def wrong_attribute(self, key: str, value: str) -> str:
        return wrong_attribute(key, value, self._engine.floor.definition)

    def attach(self, channel: str, attributes: dict[str, str]) -> bool:
        call = self._engine.floor.by_channel.get(channel, "")
        return self._attributes.attach(channel, attributes, call, self._engine.clock.now_ns())


def _rows(path: Path, after: int, limit: int) -> list[EventRow]:
    with Journal(path, readonly=True) as journal:
        return [
            EventRow(r.seq, r.at_ns, r.kind, r.call, r.agent, r.queue, msgspec.Raw(r.body.encode()))
            for r in journal.rows(after, limit)
        ]
