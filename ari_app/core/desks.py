"""Hot desks: an agent signs in at any phone that is a desk, and is rung there until they sign out or move.

The seat is a part of who the agent is at present: ``Floor.definition`` has the desk in place of the
agent's own phones, so whoever rings them asks nobody else.
"""

from __future__ import annotations

from ari_app.core import messages as m
from ari_app.core.agent import Agent
from ari_app.core.floor import Floor, Session


def has_phone(floor: Floor, agent: str) -> bool:
    """Whether there is anything to ring: who has no phone of their own signs in at a desk."""
    found = floor.definition.agents.get(agent)
    return found is None or bool(found.all_phones()[0].endpoint)


def sit_down(floor: Floor, session: Session, agent: Agent) -> list[m.AnyEvent] | None:
    """Move the agent to the desk the session is at (or back to their own phone); None: it is taken."""
    events: list[m.AnyEvent] = []
    sitter = floor.state.agents.get(floor.state.seats.get(session.desk, ""))
    if sitter is not None and sitter.id != agent.id:
        if sitter.held() or floor.definition.codes.desk_taken == "refuse":
            return None
        events.append(m.AgentSignedOut(sitter.id, f"{agent.id} took the desk", deferred=False))
    if floor.desk_of(agent.id) == session.desk:
        return [*events, *heard_elsewhere(floor, agent)]
    events.append(m.AgentSeated(agent.id, session.desk, "feature code"))
    if not agent.reachable or agent.offline:  # they have just dialled from there
        events.append(m.PhoneChanged(agent.id, True, agent.other_calls, ()))
    return events


def heard_elsewhere(floor: Floor, agent: Agent) -> list[m.AnyEvent]:
    """Whoever signs in is not out of reach because the desk is that they have left: of their phones nothing
    bad is known."""
    definition = floor.definition.agents.get(agent.id)
    here = {phone.endpoint for phone in definition.all_phones()} if definition else set()
    if not agent.offline or here.intersection(agent.offline):
        return []
    return [m.PhoneChanged(agent.id, True, agent.other_calls)]
