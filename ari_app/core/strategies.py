"""How the agents who could take a call are put in order: who fits best, then the queue's strategy.

A *static* rank does not change while an agent is free, so it can be kept in a heap; the other
strategies look at all free agents of the bucket when a call is there to be given away. Chance is
derived from the call and the attempt, so a replay decides alike.
"""

from __future__ import annotations

import math
from hashlib import blake2b

from ari_app.core.agent import Agent
from ari_app.core.definition import Agent as AgentDefinition, Strategy
from ari_app.core.matcher import Rank

WORDS: dict[Strategy, str] = {
    "longest_idle": "longest idle",
    "least_recent": "least recent call",
    "fewest_calls": "fewest calls",
    "least_occupied": "least occupied",
    "round_robin": "round robin",
    "random": "random",
    "weighted_random": "weighted random",
    "linear": "in the order of the definition",
    "ring_all": "ring all",
}


def static_rank(strategy: Strategy, agent: Agent, order: int) -> Rank:
    """The rank of a free agent among those who fit equally well, smallest best. ``order``: the
    agent's place in the definition."""
    match strategy:
        case "longest_idle" | "ring_all":
            return (agent.idle_since_ns, order)
        case "least_recent":
            return (agent.last_call_ns, order)
        case "fewest_calls":
            return (agent.handled, agent.idle_since_ns, order)
        case _:
            return (order,)


def dynamic_rank(
    strategy: Strategy,
    agent: Agent,
    definition: AgentDefinition,
    *,
    turn: int,
    draw: str,
    now_ns: int,
) -> Rank:
    """The rank among the best fitting. ``turn``: places behind the agent served last; ``draw``: what
    chance is derived from."""
    match strategy:
        case "least_occupied":
            return (agent.occupancy(now_ns), agent.idle_since_ns, turn)
        case "round_robin":
            return (turn,)
        case "weighted_random":
            # Efraimidis and Spirakis, 2006: the smallest -ln(u)/w wins with probability w / sum of w.
            return (-math.log(chance(draw, agent.id)) / max(definition.weight, 1), turn)
        case _:
            return (chance(draw, agent.id), turn)


def chance(draw: str, agent: str) -> float:
    """A number in (0, 1], uniform over draws, the same for the same draw and agent."""
    digest = blake2b(f"{draw}/{agent}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 1) / 2**64
