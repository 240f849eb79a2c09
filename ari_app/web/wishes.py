"""What may be asked of an agent now, and in which words it is granted or refused.

The engine ignores a wish that changes nothing; a person wants to hear why.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import get_args

from ari_app.core import words
from ari_app.core.messages import Action
from ari_app.web.view import AgentView

ACTIONS: tuple[Action, ...] = get_args(Action)
NEAREST = 3


def action_named(text: str) -> Action | None:
    """``sign-in`` and ``sign_in`` are the same; None if there is no such action."""
    return next((action for action in ACTIONS if action == text.replace("-", "_")), None)


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Names that ``name`` may have meant, the likeliest first."""
    return difflib.get_close_matches(name, sorted(known), n=NEAREST, cutoff=0.4)


def refusal(agent: AgentView, action: Action, reason: str) -> str:
    """Why the wish makes no sense now; "" if it does. The same rules as ``core.codes.act``."""
    goal = agent.goal()
    match action:
        case "sign_in" if goal not in ("signed_out", "paused", "not_responding"):
            return f"{agent.agent} is signed in already and is {_now(agent)}"
        case "sign_out" if goal == "signed_out":
            return f"{agent.agent} is signed out already{_later(agent)}"
        case "pause" if goal == "signed_out":
            return f"{agent.agent} is signed out{_later(agent)}: sign in first (action sign_in)"
        case "pause" if goal == "paused" and reason == agent.goal_reason():
            return f"{agent.agent} is paused already{_later(agent)}, for the same reason"
        case "resume" if goal == "signed_out":
            return f"{agent.agent} is signed out{_later(agent)}: sign in first (action sign_in)"
        case "resume" if goal not in ("paused", "not_responding"):
            return f"{agent.agent} is neither paused nor not responding: {_now(agent)}"
        case "unlock" if not agent.pin_failures and not agent.locked_until_ns:
            return f"{agent.agent}'s PIN is not locked, and no wrong one was typed"
        case _:
            return ""


def granted(agent: AgentView, action: Action) -> str:
    """What the wish led to, from the agent as they are afterwards."""
    if action == "unlock":
        return f"{agent.agent}'s PIN is unlocked"
    if action in ("done", "wrap_up"):
        return (
            f"{agent.agent}: {'noted' if action == 'done' else 'wrap-up granted'}; {words.state(agent.state)}"
        )
    if agent.held and agent.after != "ready":
        return (
            f"{agent.agent} is {words.state(agent.state)} and will be {_goal(agent)} after the present call"
        )
    if action in ("sign_in", "resume"):
        done = "signed in" if action == "sign_in" else "taking calls again"
        # A caller who waits is offered in the same step: then the agent is no longer just "ready".
        return f"{agent.agent} is {done}: {words.state(agent.state)}"
    return f"{agent.agent} is {_goal(agent)}"


def _now(agent: AgentView) -> str:
    if agent.state == "ready":
        return "already ready" if not agent.rests_until_ns else "ready (left alone for a moment)"
    return words.state(agent.state)


def _goal(agent: AgentView) -> str:
    goal, reason = words.state(agent.goal()), agent.goal_reason()
    return f"{goal} ({reason})" if reason else goal


def _later(agent: AgentView) -> str:
    return " (once the present call is over)" if agent.held else ""
