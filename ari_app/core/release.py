"""Letting an agent go: the legs of their phones are told to go, and once all are confirmed gone (and the
wrap-up is over) the agent is free. No call is offered to who may still have a phone that rings.
"""

from __future__ import annotations

from collections.abc import Iterable

from ari_app.core import messages as m
from ari_app.core.agent import Agent
from ari_app.core.definition import seconds_ns
from ari_app.core.effects import Hangup
from ari_app.core.floor import Floor

RELEASE_AGAIN_S = 5
"""A leg that was told to hang up and is not confirmed gone by then is told again."""


def tell(step: m.Step, agent: str, leg: str, now_ns: int, reason: str = "normal") -> None:
    """Add to ``step``: this leg is told to go. "answered_elsewhere": no missed call on the phone."""
    step.events.append(m.ReleaseAwaited(agent, leg, now_ns + seconds_ns(RELEASE_AGAIN_S)))
    match reason:
        case "no_answer" | "answered_elsewhere":
            step.effects.append(Hangup(leg, reason))
        case _:
            step.effects.append(Hangup(leg))


def again(agent: Agent, now_ns: int) -> m.Step:
    """Legs should have been gone by now: tell them again. A 404 confirms that one is gone."""
    step = m.Step([], [])
    for leg in agent.told or agent.legs():
        tell(step, agent.id, leg, now_ns)
    return step


def freed(
    floor: Floor, agent: Agent, queue: str, now_ns: int, *, misses: int = 0, rests: bool = False
) -> m.AgentFreed:
    """Where the agent goes: what was asked meanwhile, "not responding" after too many misses, or ready."""
    if agent.after == "signed_out":
        return m.AgentFreed(agent.id, "signed_out", "")
    if agent.after == "paused":
        return m.AgentFreed(agent.id, "paused", agent.after_reason)
    limits = [floor.queue(q) for q in _queues(floor, agent, queue)]
    limit = min((q.max_misses for q in limits), default=2)
    if rests and misses >= limit > 0:
        return m.AgentFreed(agent.id, "not_responding", f"{misses} offers missed")
    rest_ns = max((seconds_ns(q.retry_pause_s) for q in limits), default=0) if rests else 0
    return m.AgentFreed(agent.id, "ready", "", now_ns + rest_ns if rest_ns else 0)


def _queues(floor: Floor, agent: Agent, queue: str) -> Iterable[str]:
    if queue:
        return (queue,)
    definition = floor.definition.agents.get(agent.id)
    return definition.queues if definition else ()
