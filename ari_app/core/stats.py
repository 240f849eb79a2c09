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

    def fold(self, at_ns: int, event: m.AnyEvent, queues: dict[str, Queue]) -> None:
        """Count one event. A call that spans midnight counts where its fact falls."""
        day = at_ns // DAY_NS
        if day != self.day:
            self.day, self.queues = day, {}
        match event:
            case m.CallQueued():
                self._of(event.queue).offered += 1
            case m.CallConnected():
                figures = self._of(event.queue)
                figures.answered += 1
                figures.wait_ns += event.waited_ns
                figures.within += event.waited_ns <= seconds_ns(_queue(queues, event.queue).service_level_s)
            case m.CallEnded() if event.queue:
                self._ended(event, _queue(queues, event.queue))
            case _:
                pass  # not a figure of the live view

    def _ended(self, event: m.CallEnded, queue: Queue) -> None:
        figures = self._of(event.queue)
        if event.outcome == "answered":
            figures.talk_ns += event.talk_ns
        elif event.outcome == "abandoned":
            figures.abandoned += 1
            figures.short += event.waited_ns < seconds_ns(queue.short_abandon_s)
        else:
            figures.lost += 1

    def _of(self, queue: str) -> QueueFigures:
        return self.queues.setdefault(queue, QueueFigures())


def _queue(queues: dict[str, Queue], name: str) -> Queue:
    return queues.get(name) or Queue(name=name)
