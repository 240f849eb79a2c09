"""The wait of a call: when it advances, and how far it has advanced at an instant.

Three things move with time, all in steps: relaxation (more agents qualify), ageing (its priority
grows) and the end of the preference for one agent. They go on while an agent's phone rings.

No starvation. Let a call wait in a queue that ages by ``b`` every ``e`` seconds, let ``d`` >= 0 be how
far its base priority lies below the highest of those that its agents serve, and let none of their
queues age faster (``b'/e' <= b/e``). Then a call that enters ``e * (d / b + 1)`` seconds or more after
it never goes before it. Proof: with the one waiting ``w`` seconds and the other ``v``, the one has at
least ``base + b * (w / e - 1)``, because a step is at most ``b``, and the other has at most
``base + d + (b / e) * v``. The other is ahead only if it has more, or as much and an earlier entry; it
entered later, so it must have more: ``(b / e) * (w - v) < d + b``, that is ``w - v < e * (d / b + 1)``.
If all age alike (same ``e`` and ``b``), ``e * ceil(d / b)`` is enough: with ``w - v`` at least that, the
one has ``ceil(d / b)`` steps more. So only calls that were there before, and those of a bounded time
after, are served first: once as many agents who qualify have become free, it has been offered. (A call
kept for one agent counts from the end of that; without ageing a flood of higher priority can starve
those below, of which ``config`` warns.)
"""

from __future__ import annotations

from msgspec import Struct

from ari_app.core import messages as m
from ari_app.core.call import Call
from ari_app.core.definition import Queue, seconds_ns


class Progress(Struct, frozen=True):
    """Where a wait stands. ``next_ns``: the next instant that changes it, 0 = none."""

    step: int
    priority: int
    prefer: str
    next_ns: int


def progress(
    queue: Queue,
    *,
    entered_ns: int,
    queued_ns: int,
    base: int,
    prefer: str,
    now_ns: int,
    required: bool = False,
) -> Progress:
    """Pure arithmetic on the queue's definition. ``base``: priority before ageing; ``required``: the
    preference has no end."""
    coming: list[int] = []
    step = 0
    for relaxed in queue.relax:
        at_ns = queued_ns + seconds_ns(relaxed.after_s)
        if at_ns <= now_ns:
            step += 1
        else:
            coming.append(at_ns)
    priority = base
    every_ns = seconds_ns(queue.ageing_every_s)
    if every_ns > 0 and queue.ageing_by > 0:
        aged = max(0, now_ns - entered_ns) // every_ns
        priority += aged * queue.ageing_by
        coming.append(entered_ns + (aged + 1) * every_ns)
    limit_ns = queued_ns + seconds_ns(queue.max_wait_s)
    if queue.max_wait_s and limit_ns > now_ns:
        coming.append(limit_ns)
    prefer_until_ns = queued_ns + seconds_ns(queue.prefer_s)
    if prefer and required:
        pass  # nothing to come: it is that agent's, or goes by the queue's rules
    elif prefer and prefer_until_ns > now_ns:
        coming.append(prefer_until_ns)
    else:
        prefer = ""
    return Progress(step, priority, prefer, min(coming, default=0))


def advance(call: Call, queue: Queue, now_ns: int) -> m.WaitAdvanced:
    """The wait as it stands now, for a call whose next move is due."""
    now = progress(
        queue,
        entered_ns=call.entered_ns,
        queued_ns=call.queued_ns,
        base=call.base_priority,
        prefer=call.prefer,
        now_ns=now_ns,
        required=call.known.required,
    )
    return m.WaitAdvanced(call.id, now.step, now.priority, now.prefer, now.next_ns)
