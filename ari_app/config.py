"""The call centre's definition: a folder of TOML files, merged, validated, every error with its place.

``load`` gives what the core runs on (``core.definition``) and what only the shell needs (``site``), or
raises ``DefinitionErrors`` with every problem found, not only the first.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct

from ari_app import (
    config_callers,
    config_checks,
    config_dialling,
    config_phones,
    config_queues,
    config_routing,
)
from ari_app.config_phones import PhoneEntry
from ari_app.core.definition import (
    Agent,
    Centre,
    Codes,
    Crisis,
    Definition,
    Flow,
    HangupNode,
    MenuNode,
    Node,
    OverflowReason,
    PlayNode,
    Queue,
    QueueNode,
    Relax,
    Target,
)
from ari_app.dialling import Dialling, Rule
from ari_app.problems import DefinitionErrors, Problem, Report
from ari_app.site import Fallback, Hours, Phone, Sip, Site, Trunk
from ari_app.toml_lines import KeyPath, key_lines

__all__ = ["DefinitionErrors", "Loaded", "Problem", "load"]

T = TypeVar("T", bound=Struct)

RESERVED_NAMES = ("cordboard", "anonymous")
NODE_KINDS: dict[str, type[PlayNode | MenuNode | QueueNode | HangupNode]] = {
    "play": PlayNode,
    "menu": MenuNode,
    "queue": QueueNode,
    "hangup": HangupNode,
}
NOT_YET = {
    "outbound": (
        "there is no such table",
        "what agents may dial is in [dialling]; nobody is called by itself",
    ),
}


class AgentEntry(Struct, frozen=True):
    """An agent as written: a phone that Cordboard renders, an endpoint of an existing PBX, or several."""

    name: str
    queues: tuple[str, ...] = ()
    phone: str = ""
    endpoint: str = ""
    pin: str = ""
    skills: dict[str, int] = {}
    groups: tuple[str, ...] = ()
    weight: int = 1
    extension: str = ""
    """Digits by which colleagues reach them."""
    direct: str = ""
    """A number that a trunk may reach them by."""
    phones: tuple[str | PhoneEntry, ...] = ()
    ring: Literal["at_once", "in_order"] = "at_once"
    confirm_s: float = 12.0
    auto_answer: bool = False


class FlowEntry(Struct, frozen=True):
    """A flow's own keys; its nodes are read one by one, by their kind."""

    start: str
    nodes: dict[str, Any]
    priority: int = 0


class NumberEntry(Struct, frozen=True):
    """A number that says more than its flow."""

    flow: str
    priority: int = 0


@dataclass(frozen=True)
class Loaded:
    """A valid definition. ``digest``: hex SHA-256 of the core's part, the same for the same meaning."""

    definition: Definition
    site: Site
    digest: str
    warnings: tuple[Problem, ...]
    folder: Path


@dataclass
class Draft:
    """The definition while it is being read: what could be read of it, with each agent as written."""

    centre: Centre = field(default_factory=Centre)
    codes: Codes = field(default_factory=Codes)
    crisis: Crisis = field(default_factory=Crisis)
    sip: Sip = field(default_factory=Sip)
    fallback: Fallback = field(default_factory=Fallback)
    numbers: dict[str, str] = field(default_factory=dict)
    priorities: dict[str, int] = field(default_factory=dict)
    callers: dict[str, config_callers.CallersEntry] = field(default_factory=dict)
    flows: dict[str, Flow] = field(default_factory=dict)
    queues: dict[str, Queue] = field(default_factory=dict)
    agents: dict[str, AgentEntry] = field(default_factory=dict)
    phones: dict[str, Phone] = field(default_factory=dict)
    trunks: dict[str, Trunk] = field(default_factory=dict)
    hours: dict[str, Hours] = field(default_factory=dict)
    dialling: Dialling = field(default_factory=Dialling)
    broken: set[tuple[str, str]] = field(default_factory=set)
    """(table, name) of what is there but unreadable: references to it are not errors of their own."""


def load(folder: Path) -> Loaded:
    """Reads every ``*.toml`` of ``folder``. Raises ``DefinitionErrors`` with all that is wrong."""
    report = Report()
    merged = _merge(folder, report)
    draft = _read(merged, report)
    config_checks.check(draft, report, folder)
    config_routing.check(draft, report)
    config_queues.check(draft, report)
    config_phones.check(draft, report)
    config_phones.check_trunks(draft, report)
    callers = config_callers.read(draft, report, folder)
    config_dialling.check(draft, report)
    if report.errors:
        raise DefinitionErrors(report.sorted_errors())
    definition = _definition(draft)
    site = Site(
        phones=draft.phones,
        trunks=draft.trunks,
        sip=draft.sip,
        fallback=draft.fallback,
        hours=draft.hours,
        callers=callers,
        pins={agent: entry.pin for agent, entry in draft.agents.items() if entry.pin},
        dialling=draft.dialling,
        extensions={agent: entry.extension for agent, entry in draft.agents.items() if entry.extension},
        direct={entry.direct: agent for agent, entry in draft.agents.items() if entry.direct},
        mobiles={
            key: number
            for agent, entry in draft.agents.items()
            for key, number in config_phones.mobiles(agent, entry).items()
        },
    )
    canonical = msgspec.json.encode(definition, order="deterministic")
    digest = hashlib.sha256(canonical).hexdigest()
    return Loaded(definition, site, digest, tuple(report.warnings), folder)


def _definition(draft: Draft) -> Definition:
    return Definition(
        centre=draft.centre,
        codes=draft.codes,
        crisis=draft.crisis,
        numbers=draft.numbers,
        priorities=draft.priorities,
        flows=draft.flows,
        queues=draft.queues,
        agents={name: _agent(name, entry) for name, entry in draft.agents.items()},
    )


def _agent(name: str, entry: AgentEntry) -> Agent:
    phones = config_phones.phones(name, entry)
    return Agent(
        name=entry.name,
        endpoint=phones[0].endpoint,
        queues=entry.queues,
        skills=entry.skills,
        groups=entry.groups,
        weight=entry.weight,
        phones=phones if entry.phones or entry.auto_answer else (),
        ring=entry.ring,
        confirm_s=entry.confirm_s,
    )


# ---------------------------------------------------------------- files


def _merge(folder: Path, report: Report) -> dict[str, Any]:
    files = sorted(folder.glob("*.toml")) if folder.is_dir() else []
    if not files:
        wrong = "no such folder" if not folder.is_dir() else "no *.toml file in this folder"
        report.error_at(folder, 0, "", wrong, "name the folder that holds the definition's TOML files")
        return {}
    merged: dict[str, Any] = {}
    for path in files:
        document = _parse(path, report)
        for table, content in document.items():
            _merge_table(merged, table, content, report)
    return merged


def _parse(path: Path, report: Report) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode()
        document = tomllib.loads(text)
    except OSError as error:
        report.error_at(path, 0, "", f"can't be read: {error.strerror}", "make it readable, or rename it")
        return {}
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        report.error_at(path, line, "", "holds bytes that are not UTF-8", "save the file as UTF-8")
        return {}
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        at = re.search(r"\(at line (\d+), column (\d+)\)", said)
        line = int(at[1]) if at else text.count("\n") + 1
        what = said.replace(at[0], f"(column {at[2]})") if at else said
        report.error_at(
            path, line, "", f"is not TOML: {what}", "each line is [table], key = value or a # comment"
        )
        return {}
    for key, line in key_lines(text).items():
        # A name that two files define keeps both places: the second is named in the error.
        report.places.setdefault(key, []).append((path, line))
    return document


def _merge_table(merged: dict[str, Any], table: str, content: Any, report: Report) -> None:
    if not isinstance(content, dict):
        file, line = report.places[table,][-1]  # the file that was read last is the one being merged
        report.error_at(file, line, table, "must be a table", f"write [{table}] and the keys below it")
        return
    target = merged.setdefault(table, {})
    for name, value in content.items():
        if name in target:
            first, second = report.places[table, name][:2]
            report.error_at(
                second[0],
                second[1],
                f"{table}.{name}",
                f"is defined already, in {first[0].name}:{first[1]}",
                "keep one of the two, or give this one another name",
            )
        else:
            target[name] = value


# ---------------------------------------------------------------- tables


def _read(merged: dict[str, Any], report: Report) -> Draft:
    draft = Draft()
    known = (
        *("agents", "callers", "centre", "codes", "crisis", "dialling", "fallback", "flows", "hours"),
        *("numbers", "phones", "queues", "sip", "skills", "trunks"),
    )
    config_routing.resolve_levels(merged, config_routing.levels_of(merged, report), report)
    for table, content in merged.items():
        if table in NOT_YET:
            report.error((table,), *NOT_YET[table])
        elif table not in known:
            report.error((table,), "there is no such table", config_checks.meant(table, known))
        else:
            _read_table(draft, table, content, report)
    return draft


def _read_table(draft: Draft, table: str, content: dict[str, Any], report: Report) -> None:
    match table:
        case "centre":
            draft.centre = _struct(Centre, content, (table,), report) or draft.centre
        case "codes":
            draft.codes = _struct(Codes, content, (table,), report) or draft.codes
        case "crisis":
            draft.crisis = _struct(Crisis, content, (table,), report) or draft.crisis
        case "dialling":
            draft.dialling = _dialling(content, report)
        case "hours":
            for name, value in _named(draft, table, content, report):
                _keep(draft, draft.hours, table, name, _struct(Hours, value, (table, name), report))
        case "sip":
            draft.sip = _struct(Sip, content, (table,), report) or draft.sip
        case "skills":
            _struct(config_routing.Skills, content, (table,), report)
        case "fallback":
            draft.fallback = _struct(Fallback, content, (table,), report) or draft.fallback
        case "callers":
            for name, value in _named(draft, table, content, report):
                entry = _struct(config_callers.CallersEntry, value, (table, name), report)
                _keep(draft, draft.callers, table, name, entry)
        case "numbers":
            for number, flow in content.items():
                _read_number(draft, number, flow, report)
        case "flows":
            for name, value in _named(draft, table, content, report):
                flow_read = _flow(value, (table, name), report)
                _keep(draft, draft.flows, table, name, flow_read)
        case "queues":
            for name, value in _named(draft, table, content, report):
                _keep(draft, draft.queues, table, name, _queue(name, value, (table, name), report))
        case "agents":
            for name, value in _named(draft, table, content, report):
                _keep(
                    draft,
                    draft.agents,
                    table,
                    name,
                    _struct(AgentEntry, value, (table, name), report, name=name),
                )
        case "phones":
            for name, value in _named(draft, table, content, report):
                _keep(draft, draft.phones, table, name, _struct(Phone, value, (table, name), report))
        case _:
            for name, value in _named(draft, table, content, report):
                _keep(draft, draft.trunks, table, name, _struct(Trunk, value, (table, name), report))


def _read_number(draft: Draft, number: str, written: Any, report: Report) -> None:
    """``"100" = "main"``, or ``"100" = { flow = "main", priority = 10 }``."""
    path: KeyPath = ("numbers", number)
    if isinstance(written, dict):
        entry = _struct(NumberEntry, written, path, report)
        if entry is not None:
            draft.numbers[number] = entry.flow
            if entry.priority:
                draft.priorities[number] = entry.priority
    elif isinstance(written, str):
        draft.numbers[number] = written
    else:
        report.error(path, "must name a flow", f'write "{number}" = "main"')


def _dialling(content: dict[str, Any], report: Report) -> Dialling:
    own, rules = config_dialling.split(content, report)
    path = ("dialling", "rules")
    read = {name: _struct(Rule, rule, (*path, name), report) for name, rule in rules.items()}
    found = _struct(Dialling, own, ("dialling",), report) or Dialling()
    return msgspec.structs.replace(found, rules={name: rule for name, rule in read.items() if rule})


def _keep(draft: Draft, target: dict[str, T], table: str, name: str, value: T | None) -> None:
    if value is None:
        draft.broken.add((table, name))
    else:
        target[name] = value


def _named(
    draft: Draft, table: str, content: dict[str, Any], report: Report
) -> Iterable[tuple[str, dict[str, Any]]]:
    singular = table.removesuffix("s")
    for name, value in content.items():
        if not isinstance(value, dict):
            report.error((table, name), "must be a table", f"write [{table}.{name}] and the keys below it")
        elif not config_checks.NAME.fullmatch(name):
            report.error(
                (table, name),
                f"is no name for a {singular}",
                "use up to 40 lower-case letters, digits, - and _, beginning with a letter or digit",
            )
        elif name.startswith(RESERVED_NAMES):
            report.error((table, name), "is a name that Cordboard keeps for itself", "choose another name")
        else:
            yield name, value
            continue
        draft.broken.add((table, name))


def _queue(name: str, value: dict[str, Any], path: KeyPath, report: Report) -> Queue | None:
    rest = {key: each for key, each in value.items() if key not in ("relax", "overflow")}
    queue = _struct(Queue, rest, path, report, name=name)
    written = value.get("relax", [])
    if not isinstance(written, list) or not all(isinstance(each, dict) for each in written):
        report.error(
            (*path, "relax"), "must be a list of tables", f"write [[{'.'.join(map(str, path))}.relax]]"
        )
        return None
    targets: dict[OverflowReason, Target] = {}
    for reason, each in config_queues.overflow_of(
        value.get("overflow", {}), (*path, "overflow"), report
    ).items():
        target = _struct(Target, each, (*path, "overflow", reason), report)
        if target is not None:
            targets[reason] = target
    steps = [_struct(Relax, each, (*path, "relax", n), report) for n, each in enumerate(written)]
    if queue is None or None in steps:
        return None
    return msgspec.structs.replace(queue, relax=tuple(steps), overflow=config_queues.assembled(targets))


def _flow(value: dict[str, Any], path: KeyPath, report: Report) -> Flow | None:
    entry = _struct(FlowEntry, value, path, report)
    if entry is None:
        return None
    nodes: dict[str, Node] = {}
    for name, content in entry.nodes.items():
        node = _node(name, content, (*path, "nodes", name), report)
        if node is not None:
            nodes[name] = node
    # A flow with an unreadable node is not checked further: its links would all seem broken.
    if len(nodes) != len(entry.nodes):
        return None
    return Flow(start=entry.start, nodes=nodes, priority=entry.priority)


def _node(name: str, content: Any, path: KeyPath, report: Report) -> Node | None:
    if not isinstance(content, dict):
        report.error(path, "must be a table", f"write [{'.'.join(map(str, path))}] and the keys below it")
        return None
    if not config_checks.NAME.fullmatch(name):
        report.error(path, "is no name for a node", "use lower-case letters, digits, - and _")
        return None
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in NODE_KINDS:
        wrong = "is missing" if kind is None else f"{kind!r} is no kind of node"
        report.error((*path, "kind"), wrong, config_checks.meant(str(kind), NODE_KINDS))
        return None
    rest = {key: value for key, value in content.items() if key != "kind"}
    return _struct(NODE_KINDS[kind], rest, path, report)


def _struct(
    kind: type[T], content: dict[str, Any], path: KeyPath, report: Report, **defaults: Any
) -> T | None:
    """Reads one table key by key, so that all its errors are found.

    What can't be read keeps its default, so that the rest can be checked; ``None`` if there is no default.
    """
    fields = {item.name: item for item in msgspec.structs.fields(kind)}
    values: dict[str, Any] = dict(defaults)
    for key, value in content.items():
        if key not in fields:
            report.error((*path, key), "there is no such key", config_checks.meant(key, fields))
            continue
        inner = _struct_within(fields[key].type)
        if inner is not None and isinstance(value, dict):
            values[key] = _struct(inner, value, (*path, key), report)
            continue
        try:
            values[key] = msgspec.convert(value, fields[key].type)
        except msgspec.ValidationError as error:
            if get_origin(fields[key].type) is Literal:
                report.error(
                    (*path, key),
                    f"{value!r} is not possible",
                    config_checks.meant(str(value), get_args(fields[key].type)),
                )
            else:
                _type_error(str(error), (*path, key), report)
    for item in fields.values():
        if item.required and item.name not in values and item.name not in content:
            report.error((*path, item.name), "is missing", f"add {item.name} = ...")
    if any(item.required and item.name not in values for item in fields.values()):
        return None
    return kind(**values)


def _struct_within(kind: Any) -> type[Struct] | None:
    """The struct that a key holds, as in ``tls: Tls | None``; ``None`` for plain values."""
    for each in get_args(kind) or (kind,):
        if isinstance(each, type) and issubclass(each, Struct):
            return each
    return None


def _type_error(said: str, path: KeyPath, report: Report) -> None:
    """Puts msgspec's message, which ends in a path such as ``$[2]``, at the element it means."""
    wrong, _, where = said.partition(" - at `$")
    for part in re.findall(r"\[(\d+)\]|\[(?:\.\.\.|'([^']*)')\]|\.(\w+)", where):
        path = (*path, int(part[0]) if part[0] else part[1] or part[2] or "...")
    expected, _, got = wrong.partition(", got ")
    expected = expected.removeprefix("Expected ").replace("`", "")
    words = {
        "str": 'text in quotes ("...")',
        "array": "a list ([...])",
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "object": "a table",
    }
    if got:
        got = got.replace("`", "")
        wanted = words.get(expected.split(" | ")[0], expected)
        report.error(path, f"is of the wrong type ({words.get(got, got)})", f"write {wanted}")
    else:
        report.error(path, wrong.replace("`", ""), "see docs/definition.md for its values")
