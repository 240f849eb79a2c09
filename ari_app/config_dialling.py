"""What a definition must fulfil for calls that agents' phones make by themselves, and for extensions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ari_app import dialling
from ari_app.config_checks import ENDPOINT, NAME, NUMBER, meant, reference
from ari_app.config_phones import written
from ari_app.problems import Report
from ari_app.toml_lines import KeyPath

if TYPE_CHECKING:
    from ari_app.config import Draft

EXTENSION = re.compile(r"[0-9]{1,8}")
EMERGENCY_NUMBER = re.compile(r"[0-9]{2,6}")
LONGEST_STRIP = 20


def split(content: dict[str, Any], report: Report) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """``[dialling]`` and its rules, which are read one by one."""
    own = {key: value for key, value in content.items() if key != "rules"}
    rules = content.get("rules", {})
    if not isinstance(rules, dict):
        report.error(("dialling", "rules"), "must be a table", "write [dialling.rules.NAME]")
        return own, {}
    good: dict[str, dict[str, Any]] = {}
    for name, rule in rules.items():
        path = ("dialling", "rules", name)
        if not isinstance(rule, dict):
            report.error(path, "must be a table", f"write [dialling.rules.{name}] and the keys below it")
        elif not NAME.fullmatch(name):
            report.error(path, "is no name for a rule", "use lower-case letters, digits, - and _")
        else:
            good[name] = rule
    return own, good


def check(draft: Draft, report: Report) -> None:
    """Reports what leads nowhere, what is dialled for two things, and what is a trap in an emergency."""
    _check_desks(draft, report)
    _check_emergency(draft, report)
    taken = _check_extensions(draft, report)
    _check_direct(draft, taken, report)
    for name, rule in draft.dialling.rules.items():
        _check_rule(draft, rule, ("dialling", "rules", name), report)
    _check_patterns(draft, report)


def _check_desks(draft: Draft, report: Report) -> None:
    own = {phone.phone or phone.endpoint for agent in draft.agents.values() for phone in written(agent)}
    for index, desk in enumerate(draft.centre.desks):
        path = ("centre", "desks", index)
        phone = draft.phones.get(desk)
        if not ENDPOINT.fullmatch(desk):
            report.error(path, f"{desk!r} is no phone and no endpoint", 'write "desk1", or "201" of your PBX')
        elif desk in own:
            report.error(path, f"{desk!r} is an agent's own phone", "a desk is nobody's: name another phone")
        elif phone is not None and phone.role != "agent":
            report.error(
                path, f"{desk!r} has the role {phone.role}", f'write role = "agent" in [phones.{desk}]'
            )
        elif desk in draft.centre.desks[:index]:
            report.error(path, f"{desk!r} is named twice", "name each desk once")
    if draft.centre.desks and "sign_in" not in draft.codes.ask_pin:
        report.warn(
            ("centre", "desks"),
            "whoever is at a desk can sign in as anybody: no PIN is asked for",
            'add "sign_in" to ask_pin in [codes]',
        )
    if draft.centre.desks and not any(agent.extension for agent in draft.agents.values()):
        report.warn(
            ("centre", "desks"),
            "nobody can sign in there: no agent has an extension to type",
            'write extension = "21" for each agent',
        )


def _check_emergency(draft: Draft, report: Report) -> None:
    found = draft.dialling
    path: KeyPath = ("dialling",)
    if found.country and found.country not in dialling.EMERGENCY and found.emergency is None:
        right = meant(found.country, dialling.EMERGENCY) + "; or write emergency = [...]"
        report.error((*path, "country"), f"{found.country!r} is not among the countries known here", right)
    for index, number in enumerate(found.emergency or ()):
        if not EMERGENCY_NUMBER.fullmatch(number):
            report.error((*path, "emergency", index), f"{number!r} is no emergency number", 'write "112"')
    for index, trunk in enumerate(found.emergency_trunks):
        reference(draft, "trunks", trunk, (*path, "emergency_trunks", index), report)
    _check_caller_id(found.emergency_caller_id, (*path, "emergency_caller_id"), report)
    for number in found.emergency_numbers:
        if number in draft.numbers:
            report.error(
                ("numbers", number),
                "is an emergency number here: nobody must reach anything else by it",
                "use another number, or say in [dialling] which country this is or emergency = [...]",
            )
    if found.emergency_numbers and draft.phones and not draft.trunks:
        report.warn(
            ("dialling", "emergency") if found.emergency else ("phones",),
            f"nobody can call for help from these phones: there is no trunk for {_listed(draft)}",
            "add a trunk; or write [dialling] emergency = [] if help is called from other phones",
        )
    if found.emergency == () and draft.phones and draft.trunks:
        report.warn(
            (*path, "emergency"),
            "nobody can call for help from these phones, though there is a trunk",
            'write country = "DE" (yours) in its place, if help is not called from other phones',
        )


def _listed(draft: Draft) -> str:
    return ", ".join(draft.dialling.emergency_numbers)


def extensions(draft: Draft) -> Iterator[tuple[str, KeyPath]]:
    """Each extension with its place."""
    for name, agent in draft.agents.items():
        if agent.extension:
            yield agent.extension, ("agents", name, "extension")
    for name, phone in draft.phones.items():
        if phone.extension:
            yield phone.extension, ("phones", name, "extension")


def _check_extensions(draft: Draft, report: Report) -> dict[str, str]:
    taken = {number: f"a number that leads to flow {flow}" for number, flow in draft.numbers.items()}
    taken |= dict.fromkeys(draft.dialling.emergency_numbers, "an emergency number")
    for extension, path in extensions(draft):
        if not EXTENSION.fullmatch(extension):
            report.error(path, f"{extension!r} is no extension", 'use up to 8 digits: "21"')
        elif extension in taken:
            report.error(path, f"{extension} is {taken[extension]} too", "give it digits of its own")
        taken.setdefault(extension, f"the extension of {path[1]}")
    return taken


def _check_direct(draft: Draft, taken: dict[str, str], report: Report) -> None:
    for name, agent in draft.agents.items():
        path = ("agents", name, "direct")
        if not agent.direct:
            continue
        if not NUMBER.fullmatch(agent.direct):
            report.error(path, f"{agent.direct!r} is no number", 'write "+493012321"')
        elif agent.direct in taken:
            report.error(path, f"{agent.direct} is {taken[agent.direct]} too", "give it a number of its own")
        taken.setdefault(agent.direct, f"the direct number of {name}")
        if not agent.extension:
            report.error(path, "needs an extension, too", f'add extension = "21" to [agents.{name}]')
        if not any(agent.direct in trunk.numbers for trunk in draft.trunks.values()):
            report.warn(path, "no trunk may reach it", "add it to the numbers of a trunk")
        if not any(each.phone or each.endpoint for each in written(agent)):
            report.warn(
                path,
                "nothing rings there: desks and mobiles are not reached by extension",
                f"give {name} a phone, or let the number lead to a flow",
            )


def _check_rule(draft: Draft, rule: dialling.Rule, path: KeyPath, report: Report) -> None:
    reference(draft, "trunks", rule.trunk, (*path, "trunk"), report)
    for index, agent in enumerate(rule.agents):
        reference(draft, "agents", agent, (*path, "agents", index), report)
    groups = {group for agent in draft.agents.values() for group in agent.groups}
    for index, group in enumerate(rule.groups):
        if group not in groups:
            report.error((*path, "groups", index), f"no agent is in {group!r}", meant(group, groups))
    if not (rule.everyone or rule.agents or rule.groups):
        report.warn(path, "allows nobody anything", "write agents = [...], groups = [...] or everyone = true")
    if not rule.numbers:
        report.error((*path, "numbers"), "is empty", 'write numbers = ["0[1-9]X."]')
    for index, pattern in enumerate(rule.numbers):
        if not dialling.PATTERN.fullmatch(pattern):
            report.error(
                (*path, "numbers", index),
                f"{pattern!r} is no number and no pattern",
                "use digits, + in front, X (0-9), Z (1-9), N (2-9), [1-5], and a final . for the rest",
            )
    if not 0 <= rule.strip <= LONGEST_STRIP:
        report.error((*path, "strip"), f"is {rule.strip}", f"use 0 to {LONGEST_STRIP}")
    if rule.prefix and not NUMBER.fullmatch(rule.prefix):
        report.error((*path, "prefix"), f"{rule.prefix!r} is no number", 'write "+49"')
    _check_caller_id(rule.caller_id, (*path, "caller_id"), report)


def _check_caller_id(number: str, path: KeyPath, report: Report) -> None:
    if number and not NUMBER.fullmatch(number):
        report.error(path, f"{number!r} is no number", 'write "+4930123"')


def _check_patterns(draft: Draft, report: Report) -> None:
    """Asterisk has one place for each pattern: two rules with the same one would be one."""
    seen: dict[str, str] = {}
    for name, rule in draft.dialling.rules.items():
        for index, pattern in enumerate(rule.numbers):
            if pattern in seen:
                path = ("dialling", "rules", name, "numbers", index)
                report.error(
                    path, f"{pattern!r} is in the rule {seen[pattern]} too", "keep it in one of them"
                )
            seen.setdefault(pattern, name)
