"""Lamps: what a key on a phone (BLF) shows of an agent or a queue, as Asterisk's states of a device.

Worked out from the floor at any instant, never kept: whoever starts again sees the same.

=============  ===============================================================================
device state   an agent who
=============  ===============================================================================
NOT_INUSE      is ready
RINGING        is being offered a call
INUSE          talks, is on hold, or is on a call of their own
BUSY           is not yet done with a call: wrap-up, hanging up
ONHOLD         is paused
UNAVAILABLE    is away: signed out, not responding, unreachable
=============  ===============================================================================

A queue is NOT_INUSE while nobody waits, INUSE while somebody does, and RINGING (the key blinks) once
somebody has waited longer than its service level promises.
"""

from __future__ import annotations

from typing import Literal

from ari_app.core.definition import seconds_ns
from ari_app.core.facts import AgentStateName
from ari_app.core.floor import IN_LINE, Floor

Lamp = Literal["NOT_INUSE", "RINGING", "INUSE", "BUSY", "ONHOLD", "UNAVAILABLE"]

OF_STATE: dict[AgentStateName, Lamp] = {
    "signed_out": "UNAVAILABLE",
    "ready": "NOT_INUSE",
    "reserved": "RINGING",
    "ringing": "RINGING",
    "talking": "INUSE",
    "holding": "INUSE",
    "wrap_up": "BUSY",
    "paused": "ONHOLD",
    "not_responding": "UNAVAILABLE",
    "releasing": "BUSY",
    "unreachable": "UNAVAILABLE",
    "other_call": "INUSE",
}


def agent_device(agent: str) -> str:
    """The name of an agent's device in Asterisk."""
    return f"Stasis:cordboard-agent-{agent}"


def queue_device(queue: str) -> str:
    """The name of a queue's device in Asterisk."""
    return f"Stasis:cordboard-queue-{queue}"


def agents(floor: Floor) -> dict[str, Lamp]:
    """Each agent's device and its state."""
    return {agent_device(agent.id): OF_STATE[agent.state] for agent in floor.state.agents.values()}


def queues(floor: Floor, now_ns: int) -> tuple[dict[str, Lamp], int]:
    """Each queue's device and its state; and when the next wait gets long, 0 = none does."""
    oldest: dict[str, int] = {}
    for call in floor.state.calls.values():
        if call.state in IN_LINE:
            oldest[call.queue] = min(call.queued_ns, oldest.get(call.queue, call.queued_ns))
    lit: dict[str, Lamp] = {}
    turns: list[int] = []
    for name, queue in floor.definition.queues.items():
        since_ns = oldest.get(name)
        long_ns = (since_ns or 0) + seconds_ns(queue.service_level_s)
        if since_ns is None:
            lit[queue_device(name)] = "NOT_INUSE"
        elif now_ns >= long_ns:
            lit[queue_device(name)] = "RINGING"
        else:
            lit[queue_device(name)] = "INUSE"
            turns.append(long_ns)
    return lit, min(turns, default=0)
