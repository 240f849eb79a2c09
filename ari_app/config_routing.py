"""Skills, groups and the order of callers: reading named levels, and what a definition must fulfil."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ari_app.config_checks import LONGEST_S, NAME, meant
from ari_app.core.definition import Queue, QueueNode, Relax
from ari_app.problems import Report, dotted
from ari_app.toml_lines import KeyPath

if TYPE_CHECKING:
    from ari_app.config import AgentEntry, Draft

LOWEST, HIGHEST = 0, 5
MOST_STEPS = 20


class Skills(Struct, frozen=True):
    """``levels``: names for levels, such as basic = 1 and native = 5."""

    levels: dict[str, int] = {}


# ---------------------------------------------------------------- named levels


def levels_of(merged: dict[str, Any], report: Report) -> dict[str, int]:
    """The names of ``[skills] levels``; what is wrong with the table is reported when it is read."""
    table = merged.get("skills")
    found = table.get("levels", {}) if isinstance(table, dict) else {}
    if not isinstance(found, dict):
        return {}
    names: dict[str, int] = {}
    for name, level in found.items():
        if isinstance(level, bool) or not isinstance(level, int):
            continue
        if not LOWEST <= level <= HIGHEST:
            report.error(("skills", "levels", name), f"is {level}", f"use {LOWEST} to {HIGHEST}")
        names[name] = min(max(level, LOWEST), HIGHEST)
    return names


def resolve_levels(merged: dict[str, Any], names: dict[str, int], report: Report) -> None:
    """Put numbers in the place of named levels, wherever skills have levels."""
    for path, skills in _written_skills(merged):
        for skill, level in list(skills.items()):
            if not isinstance(level, str):
                continue
            if level in names:
                skills[skill] = names[level]
                continue
            # A level that brings no second error with it.
            skills[skill] = LOWEST if "relax" in path else 1
            right = meant(level, names) if names else "use a number, or name levels in [skills]"
            report.error((*path, skill), f"{level!r} is no level", right)


def _written_skills(merged: dict[str, Any]) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Every table of skill -> level of the raw definition, which may be of any shape."""
    places: list[tuple[KeyPath, Any]] = []
    for name, agent in _tables(merged.get("agents")):
        places.append((("agents", name, "skills"), agent.get("skills")))
    for name, queue in _tables(merged.get("queues")):
        places.append((("queues", name, "requires"), queue.get("requires")))
        relax = queue.get("relax")
        for index, step in enumerate(relax if isinstance(relax, list) else []):
            if isinstance(step, dict):
                places.append((("queues", name, "relax", index, "requires"), step.get("requires")))
    for name, flow in _tables(merged.get("flows")):
        for node, content in _tables(flow.get("nodes")):
            places.append((("flows", name, "nodes", node, "skills"), content.get("skills")))
    for name, listed in _tables(merged.get("callers")):
        places.append((("callers", name, "skills"), listed.get("skills")))
    for path, skills in places:
        if isinstance(skills, dict):
            yield path, skills


def _tables(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, each in value.items() if isinstance(value, dict) else ():
        if isinstance(each, dict):
            yield name, each


# ---------------------------------------------------------------- checks


def check(draft: Draft, report: Report) -> None:
    """Reports skills nobody has, steps that give nothing up, and callers who may wait for ever."""
    for name, agent in draft.agents.items():
        _check_agent(name, agent, report)
    known = _Known(draft)
    for name, queue in draft.queues.items():
        path: KeyPath = ("queues", name)
        _check_levels(queue.requires, (*path, "requires"), known, report, lowest=1)
        _check_times(queue, path, report)
        _check_relax(draft, name, queue, known, report)
    for node, path in _queue_nodes(draft):
        _check_levels(node.skills, (*path, "skills"), known, report, lowest=1)
    _check_starvation(draft, report)


class _Known:
    """What the agents have. ``sure`` is false if an agent could not be read: it may have the rest."""

    def __init__(self, draft: Draft) -> None:
        self.sure = not any(table == "agents" for table, _ in draft.broken)
        self.best: dict[str, int] = {}
        self.groups: set[str] = set()
        for agent in draft.agents.values():
            self.groups.update(agent.groups)
            for skill, level in agent.skills.items():
                self.best[skill] = max(level, self.best.get(skill, 0))


def _check_agent(name: str, agent: AgentEntry, report: Report) -> None:
    path: KeyPath = ("agents", name)
    if not 1 <= agent.weight <= 1000:
        report.error((*path, "weight"), f"is {agent.weight}", "use 1 to 1000")
    for skill, level in agent.skills.items():
        _check_name(skill, (*path, "skills", skill), "skill", report)
        if not LOWEST <= level <= HIGHEST:
            report.error((*path, "skills", skill), f"is {level}", f"use {LOWEST} to {HIGHEST}")
    for index, group in enumerate(agent.groups):
        _check_name(group, (*path, "groups", index), "group", report)
        if group in agent.groups[:index]:
            report.error((*path, "groups", index), f"names {group!r} twice", "name each group once")


def _check_name(name: str, path: KeyPath, what: str, report: Report) -> None:
    if not NAME.fullmatch(name):
        report.error(path, f"{name!r} is no name for a {what}", "use lower-case letters, digits, - and _")


def _check_levels(
    skills: dict[str, int], path: KeyPath, known: _Known, report: Report, *, lowest: int
) -> None:
    for skill, level in skills.items():
        where = (*path, skill)
        if not lowest <= level <= HIGHEST:
            report.error(where, f"is {level}", f"use {lowest} to {HIGHEST}")
        elif not known.sure:
            continue
        elif skill not in known.best:
            report.error(where, "no agent has this skill", meant(skill, known.best))
        elif level > known.best[skill]:
            report.warn(
                where,
                f"no agent has it at level {level}: nobody qualifies until a step lowers it",
                f"ask for {known.best[skill]} at most, or raise an agent's level",
            )


def _check_times(queue: Queue, path: KeyPath, report: Report) -> None:
    if 0 < queue.ageing_every_s < 1:
        report.error(
            (*path, "ageing_every_s"), f"is {queue.ageing_every_s:g}", "use 0 (never) or 1 second up"
        )


def _check_relax(draft: Draft, name: str, queue: Queue, known: _Known, report: Report) -> None:
    path: KeyPath = ("queues", name, "relax")
    if len(queue.relax) > MOST_STEPS:
        report.error(path, f"has {len(queue.relax)} steps", f"use {MOST_STEPS} at most")
    wanted = dict(queue.requires)
    for node, _ in _queue_nodes(draft):
        if node.queue == name:
            for skill, level in node.skills.items():
                wanted[skill] = max(level, wanted.get(skill, 0))
    sure = not any(table == "flows" for table, _ in draft.broken)
    before_s = 0.0
    for index, step in enumerate(queue.relax):
        _check_step(step, (*path, index), wanted, known, report, sure=sure)
        if not 0 < step.after_s <= LONGEST_S:
            report.error((*path, index, "after_s"), f"is {step.after_s:g}", f"use 1 to {LONGEST_S:g} seconds")
        elif step.after_s <= before_s:
            report.error(
                (*path, index, "after_s"),
                f"is {step.after_s:g}, and the step before comes at {before_s:g}",
                "write the steps in the order in which they come, each later than the one before",
            )
        before_s = max(before_s, step.after_s)


def _check_step(
    step: Relax, path: KeyPath, wanted: dict[str, int], known: _Known, report: Report, *, sure: bool
) -> None:
    """One step; ``wanted`` is what is asked for before it, and is brought to what is asked for after."""
    misread = any(problem.key.startswith(f"{dotted(path)}.") for problem in report.errors)
    if not (step.requires or step.drop or step.groups or misread):
        report.error(path, "gives nothing up", "add requires, drop or groups, or remove the step")
    for skill, level in step.requires.items():
        where = (*path, "requires", skill)
        if skill not in wanted:
            _not_asked(skill, where, wanted, report, sure=sure)
        elif not LOWEST <= level <= HIGHEST:
            report.error(where, f"is {level}", f"use {LOWEST} to {HIGHEST}")
        elif level >= wanted[skill]:
            report.error(
                where,
                f"is {level}, and {wanted[skill]} was asked for before: a step only lowers",
                f"use less than {wanted[skill]}, or drop the skill",
            )
        else:
            wanted[skill] = level
    for index, skill in enumerate(step.drop):
        if skill not in wanted:
            _not_asked(skill, (*path, "drop", index), wanted, report, sure=sure)
        wanted.pop(skill, None)
    for index, group in enumerate(step.groups):
        if known.sure and group not in known.groups:
            report.error(
                (*path, "groups", index), f"no agent is in a group {group!r}", meant(group, known.groups)
            )


def _not_asked(skill: str, path: KeyPath, wanted: Iterable[str], report: Report, *, sure: bool) -> None:
    if sure:
        report.error(
            path,
            f"the skill {skill!r} is not asked for here: neither by the queue nor by a flow that leads to it,"
            " or an earlier step has dropped it",
            meant(skill, wanted),
        )


def _queue_nodes(draft: Draft) -> Iterator[tuple[QueueNode, KeyPath]]:
    for flow_name, flow in draft.flows.items():
        for name, node in flow.nodes.items():
            if isinstance(node, QueueNode):
                yield node, ("flows", flow_name, "nodes", name)


def _check_starvation(draft: Draft, report: Report) -> None:
    """Warns of callers whom others with a higher priority can pass for ever (see ``core.wait``)."""
    added = {node.queue: [0] for node, _ in _queue_nodes(draft)}
    callers = [0, *(listed.priority for listed in draft.callers.values())]
    for node, path in _queue_nodes(draft):
        flow = path[1]
        numbers = [draft.priorities.get(n, 0) for n, to in draft.numbers.items() if to == flow] or [0]
        arriving = node.priority + draft.flows[str(flow)].priority
        for extra in (*numbers, *callers):
            added[node.queue].append(arriving + extra)
        added[node.queue].append(arriving + max(numbers) + max(callers))
        added[node.queue].append(arriving + min(numbers) + min(callers))
    reach = {
        name: (queue.priority + min(added.get(name, [0])), queue.priority + max(added.get(name, [0])))
        for name, queue in draft.queues.items()
    }
    for name, queue in draft.queues.items():
        if queue.ageing_every_s:
            continue
        for other in sorted(_sharing(draft, name)):
            if other in reach and reach[other][1] > reach[name][0]:
                who = "this queue" if other == name else f"the queue {other}"
                report.warn(
                    ("queues", name),
                    f"callers with a higher priority in {who} can pass the others here for ever",
                    "add ageing_every_s = 60: then priority grows with waiting",
                )
                break


def _sharing(draft: Draft, queue: str) -> set[str]:
    """Queues (this one among them) that have an agent in common with ``queue``."""
    found = {queue}
    for agent in draft.agents.values():
        if queue in agent.queues:
            found.update(agent.queues)
    return found
