"""Agents' phones as written: one or several; a phone of ours, an endpoint of the PBX, a number by a trunk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

from ari_app.config_checks import ENDPOINT, NUMBER, reference
from ari_app.core.definition import Phone
from ari_app.problems import Report
from ari_app.toml_lines import KeyPath

if TYPE_CHECKING:
    from ari_app.config import AgentEntry, Draft

DIALLED = re.compile(r"\+?[0-9]{0,20}\*?")
SHORTEST_S, LONGEST_S = 1.0, 600.0
SHORTEST_CONFIRM_S, LONGEST_CONFIRM_S = 3.0, 60.0


class PhoneEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """One of an agent's phones: ``phone``, ``endpoint``, or ``number`` and ``trunk``.

    ``ring_s``: how long it rings; 0 = as long as the queue says.
    """

    phone: str = ""
    endpoint: str = ""
    number: str = ""
    trunk: str = ""
    auto_answer: bool = False
    ring_s: float = 0.0


def written(agent: AgentEntry) -> tuple[PhoneEntry, ...]:
    """The agent's phones, whichever way they are written."""
    if agent.phones:
        return tuple(PhoneEntry(phone=each) if isinstance(each, str) else each for each in agent.phones)
    return (PhoneEntry(phone=agent.phone, endpoint=agent.endpoint, auto_answer=agent.auto_answer),)


def phones(name: str, agent: AgentEntry) -> tuple[Phone, ...]:
    """The same for the core, which knows a mobile by a key and never by its number."""
    return tuple(
        Phone(
            endpoint=mobile_key(name, place) if each.number else each.phone or each.endpoint,
            mobile=bool(each.number),
            auto_answer=each.auto_answer,
            ring_s=each.ring_s,
        )
        for place, each in enumerate(written(agent), 1)
    )


def mobiles(name: str, agent: AgentEntry) -> dict[str, str]:
    """Key of a mobile -> what Asterisk dials, as "number@trunk"."""
    return {
        mobile_key(name, place): f"{each.number}@{each.trunk}"
        for place, each in enumerate(written(agent), 1)
        if each.number
    }


def mobile_key(name: str, place: int) -> str:
    # No endpoint's name holds a slash.
    return f"{name}/mobile{place}"


def check(draft: Draft, report: Report) -> None:
    """Reports phones that are not there, that two agents have, and numbers that may not be dialled."""
    holders: dict[str, str] = {}
    for name, agent in draft.agents.items():
        path = ("agents", name)
        ways = [key for key in ("phone", "endpoint", "phones") if getattr(agent, key)]
        if not ways and draft.centre.desks and agent.extension:
            continue  # signs in at desks alone
        if len(ways) != 1:
            wrong = f"has both {' and '.join(ways)}" if ways else "has neither phone nor endpoint"
            right = "write phone (of [phones.*]), endpoint (of your own PBX) or phones (several of them)"
            report.error(path, wrong, right)
            continue
        _check_agent(agent, path, report)
        for place, each in _places(agent, path):
            _check_phone(draft, each, place, report)
            device = each.phone or each.endpoint or each.number
            if device and device in holders:
                key = "phone" if each.phone else "endpoint" if each.endpoint else "number"
                # Never a mobile's number itself: it is somebody's, and errors of a reload are logged.
                which = "this number" if each.number else repr(device)
                report.error(
                    (*place, key), f"{which} is the phone of {holders[device]} too", "name each phone once"
                )
            holders.setdefault(device, name)


def _places(agent: AgentEntry, path: KeyPath) -> Iterator[tuple[KeyPath, PhoneEntry]]:
    for number, each in enumerate(written(agent)):
        yield (*path, "phones", number) if agent.phones else path, each


def _check_agent(agent: AgentEntry, path: KeyPath, report: Report) -> None:
    if agent.phones and agent.auto_answer:
        right = 'write it at a phone: phones = [{ phone = "desk", auto_answer = true }]'
        report.error((*path, "auto_answer"), "is not clear: there are several phones", right)
    if agent.ring == "in_order" and len(agent.phones) < 2:
        report.error((*path, "ring"), "there is no order of one phone", "write phones = [...], or remove it")
    if not SHORTEST_CONFIRM_S <= agent.confirm_s <= LONGEST_CONFIRM_S:
        right = f"use {SHORTEST_CONFIRM_S:g} to {LONGEST_CONFIRM_S:g} seconds"
        report.error((*path, "confirm_s"), f"is {agent.confirm_s:g}", right)


def _check_phone(draft: Draft, each: PhoneEntry, path: KeyPath, report: Report) -> None:
    ways = [key for key in ("phone", "endpoint", "number") if getattr(each, key)]
    if len(ways) != 1:
        wrong = f"names {' and '.join(ways)}" if ways else "is no phone"
        report.error(path, wrong, 'write one of phone = "...", endpoint = "...", number = "..." with a trunk')
    if each.ring_s and not SHORTEST_S <= each.ring_s <= LONGEST_S:
        right = f"use {SHORTEST_S:g} to {LONGEST_S:g} seconds"
        report.error((*path, "ring_s"), f"is {each.ring_s:g}", right)
    if each.phone:
        _check_own(draft, each.phone, (*path, "phone"), report)
    if each.endpoint:
        _check_endpoint(draft, each.endpoint, (*path, "endpoint"), report)
    if each.number or each.trunk:
        _check_number(draft, each, path, report)


def _check_own(draft: Draft, name: str, path: KeyPath, report: Report) -> None:
    if reference(draft, "phones", name, path, report):
        phone = draft.phones.get(name)
        if phone is not None and phone.role != "agent":
            report.error(
                path,
                f"the phone {name!r} has the role {phone.role}",
                f'write role = "agent" in [phones.{name}], or name another phone',
            )


def _check_endpoint(draft: Draft, name: str, path: KeyPath, report: Report) -> None:
    if not ENDPOINT.fullmatch(name):
        report.error(
            path,
            f"{name!r} is no name of a PJSIP endpoint",
            'write the name alone, such as "201", without PJSIP/ in front',
        )
    elif name in draft.phones:
        report.error(path, f"{name!r} is a phone that Cordboard renders", f'write phone = "{name}" instead')


def _check_number(draft: Draft, each: PhoneEntry, path: KeyPath, report: Report) -> None:
    """A mobile costs money: it is dialled only where its trunk says so."""
    if not NUMBER.fullmatch(each.number):
        report.error((*path, "number"), "is no telephone number", 'write digits, such as "+4915112345678"')
    if each.auto_answer:
        report.error((*path, "auto_answer"), "a mobile can't be told to", "remove it")
    if not each.trunk:
        report.error(
            (*path, "trunk"), "is missing", f"name one of: {', '.join(sorted(draft.trunks)) or 'none'}"
        )
    elif reference(draft, "trunks", each.trunk, (*path, "trunk"), report):
        trunk = draft.trunks.get(each.trunk)
        if trunk is not None and not allowed(trunk.mobiles, each.number):
            report.error(
                (*path, "number"),
                f"the trunk {each.trunk!r} may not be used to dial it",
                f'name it in [trunks.{each.trunk}]: mobiles = ["NUMBER"], or how it begins: ["+4915*"]',
            )


def allowed(may: tuple[str, ...], number: str) -> bool:
    """Whether ``number`` is among the numbers, or begins as one that ends in ``*``."""
    return any(
        number.startswith(one.removesuffix("*")) if one.endswith("*") else number == one for one in may
    )


def check_trunks(draft: Draft, report: Report) -> None:
    """Reports what is neither a number nor the beginning of numbers."""
    for name, trunk in draft.trunks.items():
        for index, one in enumerate(trunk.mobiles):
            if not DIALLED.fullmatch(one) or not one:
                right = 'write "+4915112345678", or "+49*" for all that begin so'
                report.error(("trunks", name, "mobiles", index), f"{one!r} is no number", right)
