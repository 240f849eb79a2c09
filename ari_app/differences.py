"""What a new definition changes, in plain words: one line for each number, flow, queue, agent, phone, trunk.

Pure. Values of secrets never appear: a PIN is only said to have changed, and so is an agent's mobile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from ari_app.config import Loaded
from ari_app.core.definition import Flow
from ari_app.site import Listed, Site

Table = Mapping[str, Any]

PRIVATE = ("mobiles",)
"""Keys that may hold somebody's own number: these lines are logged, too."""


def differences(running: Loaded, new: Loaded) -> list[str]:
    """Lines such as ``queue billing: wrap_up_s 10 -> 20``; none when both mean the same."""
    old_core, core, old_site, site = running.definition, new.definition, running.site, new.site
    return [
        *_fields("centre", old_core.centre, core.centre),
        *_fields("codes", old_core.codes, core.codes),
        *_fields("crisis", old_core.crisis, core.crisis),
        *_table("hours", old_site.hours, site.hours),
        *_numbers(old_core.numbers, core.numbers),
        *_priorities(old_core.priorities, core.priorities),
        *_flows(old_core.flows, core.flows),
        *_table("queue", old_core.queues, core.queues),
        *_table("agent", old_core.agents, core.agents),
        *_table("phone", old_site.phones, site.phones),
        *_table("trunk", old_site.trunks, site.trunks),
        *_callers(old_site.callers, site.callers),
        *_fields("sip", old_site.sip, site.sip),
        *_dialling(old_site, site),
        *_mobiles(old_site.mobiles, site.mobiles),
        *_fields("fallback", old_site.fallback, site.fallback),
        *_pins(old_site.pins, site.pins, core.agents),
    ]


def _numbers(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for number in sorted({*old, *new}):
        if number not in old:
            yield f"number {number}: added, leads to flow {new[number]}"
        elif number not in new:
            yield f"number {number}: removed"
        elif old[number] != new[number]:
            yield f"number {number}: flow {old[number]} -> {new[number]}"


def _priorities(old: Mapping[str, int], new: Mapping[str, int]) -> Iterator[str]:
    for number in sorted({*old, *new}):
        if old.get(number, 0) != new.get(number, 0):
            yield f"number {number}: priority {old.get(number, 0)} -> {new.get(number, 0)}"


def _callers(old: Mapping[str, Listed], new: Mapping[str, Listed]) -> Iterator[str]:
    """How many of each list's numbers are others: whose they are is nobody's business here."""
    for name in sorted({listed.list for listed in (*old.values(), *new.values())}):
        before = {number: listed for number, listed in old.items() if listed.list == name}
        after = {number: listed for number, listed in new.items() if listed.list == name}
        changed = sum(before[number] != after[number] for number in before.keys() & after.keys())
        counts = {
            "added": len(after.keys() - before.keys()),
            "removed": len(before.keys() - after.keys()),
            "changed": changed,
        }
        said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        if said:
            yield f"callers {name}: {said}, {len(after)} numbers now"


def _dialling(old: Site, new: Site) -> Iterator[str]:
    yield from _fields("dialling", replace(old.dialling, rules={}), replace(new.dialling, rules={}))
    yield from _table("dialling rule", old.dialling.rules, new.dialling.rules)
    for agent in sorted({*old.extensions, *new.extensions}):
        before, now = old.extensions.get(agent, "none"), new.extensions.get(agent, "none")
        if before != now:
            yield f"agent {agent}: extension {before} -> {now}"
    for number in sorted({*old.direct, *new.direct}):
        before, now = old.direct.get(number, "nobody"), new.direct.get(number, "nobody")
        if before != now:
            yield f"number {number}: directly to {before} -> {now}"


def _mobiles(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    """Other numbers of agents' mobiles, which the core knows by their keys alone; never the numbers."""
    for key in sorted(old.keys() & new.keys()):
        if old[key] != new[key]:
            agent, _, phone = key.partition("/")
            yield f"agent {agent}: {phone} has another number or trunk"


def _flows(old: Mapping[str, Flow], new: Mapping[str, Flow]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        if name not in old:
            yield f"flow {name}: added, {len(new[name].nodes)} nodes"
        elif name not in new:
            yield f"flow {name}: removed"
        else:
            if old[name].start != new[name].start:
                yield f"flow {name}: start {old[name].start} -> {new[name].start}"
            if old[name].priority != new[name].priority:
                yield f"flow {name}: priority {old[name].priority} -> {new[name].priority}"
            yield from _table(f"flow {name}, node", old[name].nodes, new[name].nodes)


def _table(what: str, old: Table, new: Table) -> Iterator[str]:
    for name in sorted({*old, *new}):
        if name not in old:
            yield f"{what} {name}: added"
        elif name not in new:
            yield f"{what} {name}: removed"
        else:
            yield from _fields(f"{what} {name}", old[name], new[name])


def _fields(what: str, old: Any, new: Any) -> Iterator[str]:
    if type(old) is not type(new):
        yield f"{what}: is of another kind now ({type(new).__name__})"
        return
    changed = [
        f"{field} others"
        if field in PRIVATE
        else f"{field} {_shown(getattr(old, field))} -> {_shown(getattr(new, field))}"
        for field in old.__struct_fields__
        if getattr(old, field) != getattr(new, field)
    ]
    if changed:
        yield f"{what}: {', '.join(changed)}"


def _pins(old: Mapping[str, str], new: Mapping[str, str], agents: Table) -> Iterator[str]:
    for name in sorted({*old, *new} & {*agents}):
        if old.get(name) != new.get(name):
            yield f"agent {name}: another PIN" if name in new else f"agent {name}: a generated PIN"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return " ".join(f"{key}={to}" for key, to in value.items()) or "none"
    return msgspec.json.encode(value).decode() if isinstance(value, str | bool) else f"{value}"
