"""Live figures: a fold over events, by queue, since the start of the day (UTC).

They feed the live view only. Reports come from PostgreSQL, where every number opens into the
calls behind it; both follow the same definitions (service level = answered within T /
(answered + abandoned - short abandons)).
"""

from __future__ import annotations

from msgspec import Struct

from ari_app.core import messages as m
from ari_app.core.definition import SECOND_NS, Queue, seconds_ns

DAY_NS = 86_400 * SECOND_NS


class QueueFigures(Struct):
    """Counts and sums of one queue today. ``wait_ns``: of answered calls."""

    offered: int = 0
    answered: int = 0
    within: int = 0
    abandoned: int = 0
    short: int = 0
    overflowed: int = 0
    timed_out: int = 0
    lost: int = 0
    wait_ns: int = 0
    talk_ns: int = 0

    def service_level(self) -> float | None:
        """0..1, or None before anything counts."""
        base = self.answered + self.abandoned - self.short
        return self.within / base if base else None

    def asa_ns(self) -> int | None:
        """Mean wait of answered calls."""
        return self.wait_ns // self.answered if self.answered else None


class Stats(Struct):
    """The day's figures; ``day`` counts days since 1970 UTC."""

    day: int = 0
    queues: dict[str, QueueFigures] = {}
    since: dict[str, int] = {}
    """Call -> when it entered its present queue, for those that were sent on from another."""
    picked_up: dict[str, int] = {}
    """Call -> the wait that was counted as answered, until it is known that the two talk."""

    def fold(self, at_ns: int, event: m.AnyEvent, queues: dict[str, Queue]) -> None:
        """Count one event. A call that spans midnight counts where its fact falls."""
        day = at_ns // DAY_NS
        if day != self.day:
            self.day, self.queues, self.picked_up = day, {}, {}
        match event:
            case m.CallQueued():
                self._of(event.queue).offered += 1
                if event.call in self.since:
                    self.since[event.call] = at_ns
            case m.CallOverflowed():
                figures = self._of(event.queue)
                figures.timed_out += event.reason == "timeout"
                figures.overflowed += event.reason != "timeout"
                self.since[event.call] = at_ns
            case m.CallConnected():
                self._answered(event, at_ns, _queue(queues, event.queue))
            case m.CallBridged():
                self.picked_up.pop(event.call, None)
            case m.ConnectFailed():
                self._not_answered(event, _queue(queues, event.queue))
            case m.CallQuarantined():
                self.picked_up.pop(event.call, None)
                self.since.pop(event.call, None)
            case m.CallEnded():
                self._ended(event, at_ns, _queue(queues, event.queue))
            case _:
                pass  # not a figure of the live view

    def _answered(self, event: m.CallConnected, at_ns: int, queue: Queue) -> None:
        figures = self._of(event.queue)
        waited_ns = self._waited_ns(event.call, event.waited_ns, at_ns)
        figures.answered += 1
        figures.wait_ns += waited_ns
        figures.within += waited_ns <= seconds_ns(queue.service_level_s)
        self.picked_up[event.call] = waited_ns

    def _not_answered(self, event: m.ConnectFailed, queue: Queue) -> None:
        """No talk came of it, and the caller waits on: what was counted is taken back."""
        waited_ns = self.picked_up.pop(event.call, None)
        if waited_ns is not None:
            figures = self._of(event.queue)
            figures.answered -= 1
            figures.wait_ns -= waited_ns
            figures.within -= waited_ns <= seconds_ns(queue.service_level_s)

    def _waited_ns(self, call: str, since_first_ns: int, at_ns: int) -> int:
        """The wait in the present queue; it is the whole one for who has been in no other."""
        return at_ns - self.since[call] if call in self.since else since_first_ns

    def _ended(self, event: m.CallEnded, at_ns: int, queue: Queue) -> None:
        waited_ns = self._waited_ns(event.call, event.waited_ns, at_ns)
        self.since.pop(event.call, None)
        self.picked_up.pop(event.call, None)
        if not event.queue or event.outcome in ("overflowed", "timed_out", "forwarded", "voicemail"):
            return  # those were counted when the queue sent them on
        figures = self._of(event.queue)
        if event.outcome == "answered":
            figures.talk_ns += event.talk_ns
        elif event.outcome == "abandoned":
            figures.abandoned += 1
            figures.short += waited_ns < seconds_ns(queue.short_abandon_s)
        else:
            figures.lost += 1

    def _of(self, queue: str) -> QueueFigures:
        return self.queues.setdefault(queue, QueueFigures())


def _queue(queues: dict[str, Queue], name: str) -> Queue:
    return queues.get(name) or Queue(name=name)
