"""What supervisors change at run time: an agent's skills and queues, on top of the files.

A change survives restarts (it is an event) and reloads (it is kept beside the files' definition, and
forgotten when the files say the same). Queues that a new definition lacks are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from ari_app.core import messages as m
from ari_app.core.definition import Agent, Definition

if TYPE_CHECKING:
    from ari_app.core.floor import Floor

HIGHEST_LEVEL = 5


class Override(Struct, frozen=True):
    """None = as in the files."""

    skills: dict[str, int] | None
    queues: tuple[str, ...] | None
    by: str


class Departure(Struct, frozen=True):
    """Where an agent departs from the files: ``what`` ("skills" or "queues"), in the files and now.

    ``what`` "crisis": the emergency switch is on for ``queue`` ("" = everything); no agent then.
    """

    agent: str
    what: str
    files: tuple[str, ...]
    now: tuple[str, ...]
    by: str
    queue: str = ""


def change(floor: Floor, item: m.AgentSkillsChanged) -> m.Step:
    """A supervisor's change. What makes no sense (see ``problem``) or changes nothing is no event."""
    if problem(floor, item):
        return m.Step([], [])
    written = floor.state.definition.agents[item.agent]
    skills = None if item.skills == written.skills else item.skills
    queues = None if item.queues == written.queues else item.queues
    before = floor.state.overrides.get(item.agent)
    if (skills, queues) == ((before.skills, before.queues) if before else (None, None)):
        return m.Step([], [])
    return m.Step([m.AgentAltered(item.agent, skills, queues, item.by)], [])


def problem(floor: Floor, item: m.AgentSkillsChanged) -> str:
    """Why the change cannot be made, for people; "" if it can."""
    known = floor.state.definition
    if item.agent not in known.agents:
        return f"the definition has no agent {item.agent}"
    for queue in item.queues or ():
        if queue not in known.queues:
            return f"the definition has no queue {queue}; there are: {', '.join(sorted(known.queues))}"
    if item.queues is not None and len(set(item.queues)) < len(item.queues):
        return "a queue is named twice"
    for skill, level in (item.skills or {}).items():
        if not 0 <= level <= HIGHEST_LEVEL:
            return f"{skill} {level}: levels are 0 to {HIGHEST_LEVEL}"
    return ""


def departures(floor: Floor) -> list[Departure]:
    """Where the running call centre departs from its files: queue by queue, then agent by agent."""
    found = [
        Departure("", "crisis", ("off",), ("on",), crisis.by, queue)
        for queue, crisis in sorted(floor.state.crisis.items())
    ]
    for name, override in sorted(floor.state.overrides.items()):
        written, now = floor.state.definition.agents[name], floor.definition.agents[name]
        if written.skills != now.skills:
            levels = [tuple(f"{s} {n}" for s, n in sorted(a.skills.items())) for a in (written, now)]
            found.append(Departure(name, "skills", levels[0], levels[1], override.by))
        if written.queues != now.queues:
            found.append(Departure(name, "queues", written.queues, now.queues, override.by))
    return found


# ---------------------------------------------------------------- for the floor


def note(overrides: dict[str, Override], event: m.AgentAltered, definition: Definition) -> None:
    """Keep the change, or forget an earlier one if it is taken back."""
    if (event.skills is None and event.queues is None) or event.agent not in definition.agents:
        overrides.pop(event.agent, None)
    else:
        overrides[event.agent] = Override(event.skills, event.queues, event.by)


def still_needed(overrides: dict[str, Override], definition: Definition) -> dict[str, Override]:
    """Those that still depart from a new definition."""
    return {
        name: override
        for name, override in overrides.items()
        if name in definition.agents and effective(definition, overrides, name) != definition.agents[name]
    }


def merged(definition: Definition, overrides: dict[str, Override]) -> Definition:
    """The definition with all changes."""
    changed = {
        name: effective(definition, overrides, name) for name in overrides if name in definition.agents
    }
    return replace(definition, agents={**definition.agents, **changed}) if changed else definition


def effective(definition: Definition, overrides: dict[str, Override], name: str) -> Agent:
    """One agent as they are now."""
    agent, override = definition.agents[name], overrides.get(name)
    if override is None:
        return agent
    queues = agent.queues if override.queues is None else override.queues
    return replace(
        agent,
        skills=agent.skills if override.skills is None else override.skills,
        queues=tuple(queue for queue in queues if queue in definition.queues),
    )
