"""What a wallboard shows, and the stream of it: whole pictures, never what led to them.

One look at the floor serves all screens, and only while there are any. A screen is sent the parts
that have changed since it was last sent them; one that is slow skips pictures and holds up nobody,
so memory holds one picture however many screens there are.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from itertools import islice
from typing import Protocol

import msgspec
from msgspec import Struct

from ari_app.core import words
from ari_app.version import VERSION
from ari_app.web.public import Instant, instant
from ari_app.web.view import WAITING, AgentView, QueueView, View

PACE_S = 0.25
"""How often it is asked whether anything happened."""
BEAT_S = 2.0
"""A picture's time at least so often: a screen that hears nothing knows that it is blind."""
SCREENS = 32
SCREENS_A_TOKEN = 16
SHOWN_WAITING = 100
SHOWN_AGENTS = 60
"""Agents in one state that are named; who is signed out is only counted."""
SHOWN_HAPPENINGS = 30
NOT_SHOWN = frozenset({"CallOpened", "MenuChosen", "MenuMissed", "OfferRinging"})
"""Steps on a caller's way, of which a busy floor has so many that decisions would be lost among them."""
ORDER = (
    "reserved",
    "ringing",
    "talking",
    "holding",
    "releasing",
    "wrap_up",
    "ready",
    "resting",
    "not_responding",
    "unreachable",
    "other_call",
    "paused",
)
"""States from left to right; what is not named here comes behind, signed out last."""


class Source(Protocol):
    """Where pictures come from. ``Pictures`` is one."""

    def view(self) -> View: ...


class Head(Struct, frozen=True):
    """``matching`` false: nobody is offered a call at present. ``crisis``: the emergency switch is on for
    everything. ``people``: callers are named."""

    at: Instant
    centre: str
    node: str
    matching: bool
    crisis: bool
    people: bool
    version: str = VERSION


class BoardQueue(Struct, frozen=True):
    """``oldest``: since when the longest waiting caller waits; ``note``: why the queue takes no calls.
    Figures are those since midnight UTC."""

    id: str
    name: str
    note: str
    waiting: int
    oldest: Instant | None
    ready: int
    talking: int
    service_level_s: float
    service_level: float | None
    offered: int
    abandoned: int


class BoardAgent(Struct, frozen=True):
    id: str
    name: str
    since: Instant | None
    note: str


class BoardState(Struct, frozen=True):
    """All agents in one state; ``agents`` names the first few, the longest in it first."""

    state: str
    label: str
    count: int
    agents: tuple[BoardAgent, ...]


class BoardCall(Struct, frozen=True):
    """``caller``: number and name, "" for who may not see them. ``rings``: the agent being rung."""

    call: str
    queue: str
    position: int
    since: Instant | None
    caller: str
    rings: str


class BoardWaiting(Struct, frozen=True):
    count: int
    calls: tuple[BoardCall, ...]


class BoardHappening(Struct, frozen=True):
    """``kind``: the event's, such as ``OfferMade``, whose text says why this agent got the call."""

    at: Instant
    kind: str
    call: str
    text: str


# ---------------------------------------------------------------- shapes


def parts(view: View, *, people: bool) -> dict[str, object]:
    """The picture as the page takes it, part by part; ``head`` is the only one that time alone changes."""
    crisis = {each.queue for each in view.crisis}
    return {
        "queues": tuple(_queue(queue, crisis=queue.queue in crisis) for queue in view.queues),
        "agents": _states(view),
        "waiting": _waiting(view, people=people),
        "happenings": tuple(
            BoardHappening(instant(h.at_ns), h.kind, h.call, h.text)
            for h in islice((h for h in view.happenings if h.kind not in NOT_SHOWN), SHOWN_HAPPENINGS)
        ),
        "head": Head(instant(view.at_ns), view.centre, view.node, view.matching, "" in crisis, people),
    }


def _queue(queue: QueueView, *, crisis: bool) -> BoardQueue:
    today = queue.today
    hours = words.state(queue.hours) if queue.hours not in ("", "open") else ""
    return BoardQueue(
        id=queue.queue,
        name=queue.name,
        note="emergency switch on" if crisis else hours,
        waiting=queue.waiting,
        oldest=instant(queue.oldest_ns) if queue.oldest_ns else None,
        ready=queue.agents.get("ready", 0),
        talking=queue.talking,
        service_level_s=queue.service_level_s,
        service_level=today.service_level,
        offered=today.offered,
        abandoned=today.abandoned,
    )


def _states(view: View) -> tuple[BoardState, ...]:
    groups: dict[str, list[AgentView]] = {}
    for agent in view.agents:
        groups.setdefault("resting" if agent.rests_until_ns else agent.state, []).append(agent)
    return tuple(_state(state, groups[state]) for state in sorted(groups, key=_place))


def _place(state: str) -> tuple[int, str]:
    if state in ORDER:
        return ORDER.index(state), ""
    return len(ORDER) + (state == "signed_out"), state


def _state(state: str, agents: list[AgentView]) -> BoardState:
    named = [] if state == "signed_out" else sorted(agents, key=lambda a: (a.since_ns, a.agent))
    shown = tuple(_agent(agent) for agent in named[:SHOWN_AGENTS])
    return BoardState(state, words.state(state), len(agents), shown)


def _agent(agent: AgentView) -> BoardAgent:
    note = agent.reason
    if agent.held and agent.after != "ready":
        note = f"then {words.state(agent.after)}"
    since = instant(agent.since_ns) if agent.since_ns else None
    return BoardAgent(agent.agent, agent.name, since, note)


def _waiting(view: View, *, people: bool) -> BoardWaiting:
    """Who waits longest comes first, whatever the queue: that is whom a supervisor looks for."""
    calls = sorted((c for c in view.calls if c.state in WAITING), key=lambda c: (c.entered_ns, c.call))
    return BoardWaiting(
        len(calls),
        tuple(
            BoardCall(
                call=c.call,
                queue=c.queue,
                position=c.position,
                since=instant(c.entered_ns) if c.entered_ns else None,
                caller=" ".join(filter(None, (c.caller_number, c.caller_name))) if people else "",
                rings=c.agent,
            )
            for c in calls[:SHOWN_WAITING]
        ),
    )


# ---------------------------------------------------------------- the stream


class Board:
    """Pictures for screens. ``newest`` is the number of the last event; ``close`` ends all streams."""

    def __init__(self, pictures: Source, newest: Callable[[], int]) -> None:
        self._pictures, self._newest = pictures, newest
        self._screens: Counter[str] = Counter()
        self._audiences: Counter[bool] = Counter()
        self._shown: dict[bool, dict[str, bytes]] = {}
        self._news = asyncio.Event()
        self._closed = False

    def count(self) -> int:
        return self._screens.total()

    def full(self, key: str) -> bool:
        """Whether this token, or everybody together, has as many screens as there may be."""
        return self._screens[key] >= SCREENS_A_TOKEN or self.count() >= SCREENS

    def close(self) -> None:
        self._closed = True
        self._wake()

    async def follow(self, key: str, may: Callable[[], bool], *, people: bool) -> AsyncIterator[bytes]:
        """SSE text: each part that changed as an event of its name; ``out``: the token is no good any more.

        ``may`` is asked before each picture. The stream just ends when Cordboard stops.
        """
        self._screens[key] += 1
        self._audiences[people] += 1
        try:
            async for text in self._followed(may, people):
                yield text
        finally:
            self._audiences[people] -= 1
            self._screens[key] -= 1
            self._screens += Counter()  # drops what is zero

    async def _followed(self, may: Callable[[], bool], people: bool) -> AsyncIterator[bytes]:
        sent: dict[str, bytes] = {}
        yield b": cordboard wallboard\nretry: 1000\n\n"
        while not self._closed:
            if not may():
                yield b"event: out\ndata: {}\n\n"
                return
            news, shown = self._news, self._shown.get(people, {})
            text = b"".join(_block(name, body) for name, body in shown.items() if sent.get(name) is not body)
            if text:
                sent = dict(shown)
                yield text
            else:
                await news.wait()

    # ------------------------------------------------------------ the one who looks for all

    async def run(self) -> None:
        """Keep the pictures while there are screens, until cancelled."""
        now_s = asyncio.get_running_loop().time
        seen, owed, beat_s = -1, None, 0.0
        while True:
            await asyncio.sleep(PACE_S)
            if not self.count():
                self._shown, seen = {}, -1
                continue
            newest = self._newest()
            fresh = any(n and people not in self._shown for people, n in self._audiences.items())
            if newest == seen and owed is None and not fresh and now_s() < beat_s:
                continue
            view = self._pictures.view()
            # The picture may be a little older than the event that made us look: one more is owed then.
            owed = view if newest != seen else owed if view is owed else None
            seen, beat_s = newest, now_s() + BEAT_S
            await self._show(view)

    async def _show(self, view: View) -> None:
        for people in [each for each, n in self._audiences.items() if n]:
            coming = await asyncio.to_thread(_encoded, view, people)
            before = self._shown.get(people, {})
            # What is equal stays the same object: that is how a stream knows what it has sent.
            self._shown[people] = {k: before[k] if before.get(k) == v else v for k, v in coming.items()}
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _encoded(view: View, people: bool) -> dict[str, bytes]:
    return {name: msgspec.json.encode(part) for name, part in parts(view, people=people).items()}


def _block(name: str, body: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), body)
