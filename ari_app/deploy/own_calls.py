"""The dialplan of agents' own calls: emergency numbers, extensions, and what the rules let out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ari_app.core.definition import Agent, Definition
from ari_app.deploy.block import Block
from ari_app.dialling import Rule
from ari_app.site import Site

Part = Callable[..., str]
"""Fills in one of ``asterisk_conf/parts``."""


def contexts(definition: Definition, site: Site, part: Part) -> str:
    """All contexts behind the doors of agents' and callers' phones."""
    text = part("own-emergency.conf", numbers=block(_emergency(site, part)))
    text += part("own-extensions.conf", extensions=block(_extensions(definition, site, part)))
    if site.dialling.rules:
        text += part("own-outside.conf", rules=block(_outside(site, part)))
    for name, rule in site.dialling.rules.items():
        if not rule.everyone:
            allowed = "".join(part("own-allowed.conf", agent=agent) for agent in _allowed(definition, rule))
            text += part("own-may.conf", rule=name, agents=block([allowed]))
    return text


def doors(site: Site) -> tuple[str, ...]:
    """What an agent's phone may reach besides emergency numbers."""
    inside = ("cordboard-extensions",) if site.dialling.inside else ()
    return inside + (("cordboard-outside",) if site.dialling.rules else ())


def dials(site: Site) -> bool:
    """Whether Asterisk dials anything for phones."""
    return bool(site.trunks or site.extensions or any(phone.extension for phone in site.phones.values()))


def direct(site: Site, number: str, part: Part) -> str:
    """A number of a trunk that leads to an agent's extension; "" if it does not."""
    agent = site.direct.get(number)
    return part("own-direct.conf", number=number, extension=site.extensions[agent]) if agent else ""


def block(parts: Iterator[str] | list[str]) -> Block:
    """Rendered text as it is."""
    return Block("".join(parts))


def _emergency(site: Site, part: Part) -> Iterator[str]:
    trunks = site.dialling.emergency_trunks or tuple(site.trunks)
    if not trunks:
        return
    caller_id = _caller_id(site.dialling.emergency_caller_id, part)
    for number in site.dialling.emergency_numbers:
        ways = "".join(part("own-emergency-way.conf", **_way(site, trunk)) for trunk in trunks)
        yield part("own-emergency-number.conf", number=number, caller_id=caller_id, ways=block([ways]))


def _extensions(definition: Definition, site: Site, part: Part) -> Iterator[str]:
    ring_s = site.dialling.ring_s
    for agent, extension in site.extensions.items():
        phones = [p for p in definition.agents[agent].all_phones() if p.endpoint and not p.mobile]
        if not phones:
            continue  # is at desks alone
        device = "&".join(f"PJSIP/{phone.endpoint}" for phone in phones)
        yield part("own-extension.conf", extension=extension, device=device, ring_s=ring_s)
    for name, phone in site.phones.items():
        if phone.extension:
            yield part("own-extension.conf", extension=phone.extension, device=f"PJSIP/{name}", ring_s=ring_s)


def _outside(site: Site, part: Part) -> Iterator[str]:
    for name, rule in site.dialling.rules.items():
        for pattern in rule.numbers:
            plain = pattern.removeprefix("+").isdigit()
            yield part(
                "own-outside-number.conf",
                pattern=block([pattern if plain else f"_{pattern}"]),
                check=block([] if rule.everyone else [part("own-check.conf", rule=name)]),
                caller_id=_caller_id(rule.caller_id, part),
                prefix=rule.prefix,
                strip=rule.strip,
                **_way(site, rule.trunk),
                ring_s=site.dialling.ring_s,
            )


def _way(site: Site, name: str) -> dict[str, object]:
    trunk = site.trunks[name]
    return {"trunk": name, "server": trunk.server, "port": trunk.server_port, "transport": trunk.transport}


def _allowed(definition: Definition, rule: Rule) -> Iterator[str]:
    for name, agent in definition.agents.items():
        if name in rule.agents or _in_group(agent, rule):
            yield name


def _in_group(agent: Agent, rule: Rule) -> bool:
    return not set(agent.groups).isdisjoint(rule.groups)


def _caller_id(number: str, part: Part) -> Block:
    return block([part("own-caller-id.conf", number=number)] if number else [])
