"""Why a supervisor's or an agent's wish makes no sense now, for people. ``step`` ignores such wishes."""

from __future__ import annotations

from ari_app.core import desks, messages as m, policy, staff, wrapup
from ari_app.core.floor import Floor


def refusal(floor: Floor, item: m.AgentAsked | m.AgentSkillsChanged | m.CrisisAsked) -> str:
    """ "" if the wish can be granted. Of agents' wishes only those about the wrap-up are looked at."""
    match item:
        case m.AgentSkillsChanged():
            return staff.problem(floor, item)
        case m.CrisisAsked():
            return policy.problem(floor, item)
        case m.AgentAsked(action="done" | "wrap_up"):
            agent = floor.state.agents.get(item.agent)
            if agent is None:
                return f"the definition has no agent {item.agent}"
            action: wrapup.Wish = "done" if item.action == "done" else "wrap_up"
            return wrapup.problem(floor, agent, action, item.disposition)
        case m.AgentAsked(action="sign_in") if not desks.has_phone(floor, item.agent):
            return f"{item.agent} has no phone of their own: they sign in at a desk, by the feature code"
        case _:
            return ""
