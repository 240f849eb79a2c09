"""What a definition must fulfil beyond its types: references that lead somewhere, sane values, no traps."""

from __future__ import annotations

import difflib
import ipaddress
import re
import zoneinfo
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from msgspec import Struct

from ari_app import certificates, pins
from ari_app.core.definition import Flow, HangupNode, MenuNode, Node, PlayNode, QueueNode, Target
from ari_app.problems import Report
from ari_app.site import Phone, Tls
from ari_app.toml_lines import KeyPath

if TYPE_CHECKING:
    from ari_app.config import Draft

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
NUMBER = re.compile(r"\+?[0-9]{1,20}")
CODE = re.compile(r"[*#][0-9*#]{1,7}")
SOUND = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*")
ENDPOINT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}")
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
USERNAME = re.compile(r"[A-Za-z0-9_.+-]{1,64}(@[A-Za-z0-9.-]{1,100})?")
PRINTABLE = re.compile(r'[^\x00-\x1f\x7f"\\;<>\[\]{}$]{0,80}')
PATH = re.compile(r"[\w/ .+@=-]{1,400}")
ANY_ADDRESS = (ipaddress.IPv4Address(0), ipaddress.IPv6Address(0))
DIGITS = "0123456789*#"
CODECS = ("ulaw", "alaw", "g722", "opus", "gsm")
MUSIC_CLASSES = ("default",)
ACTIONS = ("sign_in", "sign_out", "pause", "resume", "done", "wrap_up")
LONGEST_S = 86_400.0

# Smallest and largest value by key; a duration not named here may be 0 and is at most a day.
RANGES: dict[str, tuple[float, float]] = {
    "ring_timeout_s": (1, 600),
    "timeout_s": (0.5, 120),
    "pin_timeout_s": (2, 120),
    "absolute_timeout_s": (10, 3600),
    "after_s": (1, 600),
    "ring_s": (1, 600),
    "service_level_s": (1, 3600),
    "attempts": (1, 10),
    "pin_attempts": (1, 10),
    "pin_lock_after": (1, 100),
    "max_misses": (1, 100),
    "port": (1, 65_535),
    "wss_port": (1, 65_535),
    "priority": (-1000, 1000),
    "ageing_by": (1, 1000),
    "last_agent_within_s": (0, 366 * LONGEST_S),
    "max_waiting": (0, 100_000),
    "ring_at_most": (0, 1000),
    "wrap_up_extend_s": (1, 3600),
    "wrap_up_max_s": (1, LONGEST_S),
}


def check(draft: Draft, report: Report, folder: Path) -> None:
    """Reports every broken reference, value out of bounds and trap of ``draft``."""
    _check_ranges(draft, report)
    _check_centre(draft, report)
    _check_codes(draft, report)
    _check_numbers(draft, report)
    for name, flow in draft.flows.items():
        _check_flow(draft, name, flow, report)
    _check_queues(draft, report)
    _check_agents(draft, report)
    _check_phones(draft, report)
    _check_trunks(draft, report, folder)
    _check_sip(draft, report)
    _check_tls(draft, report, folder)
    _check_fallback(draft, report)


# ---------------------------------------------------------------- values


def _tables(draft: Draft) -> Iterator[tuple[KeyPath, Struct]]:
    yield ("centre",), draft.centre
    yield ("codes",), draft.codes
    yield ("sip",), draft.sip
    if draft.sip.tls is not None:
        yield ("sip", "tls"), draft.sip.tls
    yield ("fallback",), draft.fallback
    yield ("dialling",), draft.dialling
    for name, queue in draft.queues.items():
        yield ("queues", name), queue
    for name, trunk in draft.trunks.items():
        yield ("trunks", name), trunk
    for flow_name, flow in draft.flows.items():
        yield ("flows", flow_name), flow
        for name, node in flow.nodes.items():
            yield ("flows", flow_name, "nodes", name), node


def _check_ranges(draft: Draft, report: Report) -> None:
    for path, struct in _tables(draft):
        for key in struct.__struct_fields__:
            value = getattr(struct, key)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            low, high = RANGES.get(key, (0, LONGEST_S))
            if not low <= value <= high:  # also refuses nan
                unit = " seconds" if key.endswith("_s") else ""
                report.error((*path, key), f"is {value:g}", f"use {low:g} to {high:g}{unit}")


def _check_text(value: str, path: KeyPath, report: Report) -> None:
    if not PRINTABLE.fullmatch(value):
        report.error(
            path,
            "holds a character that a phone or Asterisk's configuration can't take",
            'use at most 80 characters, without control characters and without " \\ ; < > [ ] { } $',
        )


def check_sounds(sounds: Iterable[str], path: KeyPath, report: Report) -> None:
    """Reports what is no name of a sound file."""
    for index, sound in enumerate(sounds):
        if not SOUND.fullmatch(sound):
            report.error(
                (*path, index),
                f"{sound!r} is no name of a sound",
                'name a file below the sounds folder without its ending, such as "hello" or "digits/1"',
            )


def reference(draft: Draft, table: str, name: str, path: KeyPath, report: Report) -> bool:
    """Whether ``table`` has ``name``; reported if not."""
    names: dict[str, Any] = getattr(draft, table)
    if name in names or (table, name) in draft.broken:
        return True
    singular = "hours" if table == "hours" else table.removesuffix("s")
    written = {*names, *(each for where, each in draft.broken if where == table)}
    report.error(path, f"names the {singular} {name!r}, which is not defined", meant(name, written))
    return False


def meant(written: str, valid: Iterable[str]) -> str:
    """What was probably meant, and what is possible at all."""
    names = sorted(valid)
    near = difflib.get_close_matches(written, names, n=1, cutoff=0.6)
    listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    if near:
        return f'did you mean "{near[0]}"? (there are: {listed})'
    return f"there are: {listed}" if names else "there are none yet"


# ---------------------------------------------------------------- centre, codes, numbers


def _check_centre(draft: Draft, report: Report) -> None:
    _check_text(draft.centre.name, ("centre", "name"), report)
    for key in ("country_code", "national_prefix", "international_prefix"):
        if not re.fullmatch(r"[0-9]{0,4}", value := getattr(draft.centre, key)):
            report.error(("centre", key), f"{value!r} is none", 'write digits only, such as "49" or "0"')
    zone = draft.centre.time_zone
    if zone == "UTC":
        return
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        zones = zoneinfo.available_timezones()
        near = difflib.get_close_matches(zone, zones, n=1)
        right = f'did you mean "{near[0]}"?' if near else 'use a name such as "Europe/Berlin" or "UTC"'
        if not zones:
            right = "this machine has no time zones at all: install the package tzdata"
        report.error(("centre", "time_zone"), f"{zone!r} is no time zone that this machine knows", right)


def _check_codes(draft: Draft, report: Report) -> None:
    seen: dict[str, str] = {}
    for action in ACTIONS:
        code = getattr(draft.codes, action)
        path = ("codes", action)
        if not CODE.fullmatch(code):
            report.error(path, f"{code!r} is no feature code", 'use * or # and up to 7 digits, such as "*11"')
        elif code in seen:
            report.error(
                path, f"{code} is the code of {seen[code]} too", "give each action a code of its own"
            )
        seen.setdefault(code, action)
    for index, action in enumerate(draft.codes.ask_pin):
        if action not in ACTIONS:
            report.error(("codes", "ask_pin", index), f"{action!r} is no action", meant(action, ACTIONS))


def _check_numbers(draft: Draft, report: Report) -> None:
    if not draft.numbers:
        report.warn(
            ("numbers",), "no number is defined: nobody can call", 'add [numbers] with "100" = "main"'
        )
    for number, flow in draft.numbers.items():
        if not NUMBER.fullmatch(number):
            report.error(
                ("numbers", number), "is no number", 'use digits, with + in front if need be: "+4930123"'
            )
        reference(draft, "flows", flow, ("numbers", number), report)
        low, high = RANGES["priority"]
        if not low <= (priority := draft.priorities.get(number, 0)) <= high:
            report.error(("numbers", number, "priority"), f"is {priority}", f"use {low:g} to {high:g}")


# ---------------------------------------------------------------- flows


def links(node: Node) -> dict[KeyPath, str]:
    """Where a node can lead, by the key that says so."""
    match node:
        case PlayNode():
            return {("next",): node.next}
        case MenuNode():
            return {("choices", digit): to for digit, to in node.choices.items()} | {
                ("on_failure",): node.on_failure
            }
        case QueueNode() | HangupNode():
            return {}
        case _:
            assert_never(node)


def _check_flow(draft: Draft, name: str, flow: Flow, report: Report) -> None:
    path: KeyPath = ("flows", name)
    broken = False
    for key, to, place in [(("start",), flow.start, path)] + [
        (key, to, (*path, "nodes", node_name))
        for node_name, node in flow.nodes.items()
        for key, to in links(node).items()
    ]:
        if to not in flow.nodes:
            report.error(
                (*place, *key), f"leads to the node {to!r}, which this flow hasn't", meant(to, flow.nodes)
            )
            broken = True
    for node_name, node in flow.nodes.items():
        _check_node(draft, (*path, "nodes", node_name), node, report)
    if not broken:
        _check_paths(path, flow, report)
    if name not in {*draft.numbers.values(), *_other_ways(draft)}:
        report.warn(path, "no number leads here", f'add "NUMBER" = "{name}" to [numbers], or remove the flow')


def _other_ways(draft: Draft) -> Iterator[str]:
    """Flows that something else than a number leads to."""
    yield draft.crisis.flow
    for queue in draft.queues.values():
        for reason in queue.overflow.__struct_fields__:
            for target in _chain(getattr(queue.overflow, reason)):
                yield target.flow


def _check_node(draft: Draft, path: KeyPath, node: Node, report: Report) -> None:
    check_sounds(node.sounds, (*path, "sounds"), report)
    if isinstance(node, QueueNode):
        reference(draft, "queues", node.queue, (*path, "queue"), report)
    if isinstance(node, PlayNode) and not node.sounds:
        report.error((*path, "sounds"), "is empty", "name at least one sound")
    if isinstance(node, MenuNode):
        check_sounds(node.invalid_sounds, (*path, "invalid_sounds"), report)
        check_sounds(node.timeout_sounds, (*path, "timeout_sounds"), report)
        if not node.choices:
            report.error((*path, "choices"), "is empty", 'write choices = {1 = "sales"}')
        for digit in node.choices:
            if digit not in tuple(DIGITS):
                report.error((*path, "choices", digit), "is no key of a phone", "use one of 0 to 9, * or #")


def _check_paths(path: KeyPath, flow: Flow, report: Report) -> None:
    reached = _reach(flow, flow.start)
    for name in flow.nodes:
        if name not in reached:
            report.warn((*path, "nodes", name), "no caller can get here", "lead a node to it, or remove it")
    for name in reached:
        node = flow.nodes[name]
        if isinstance(node, PlayNode | MenuNode) and not any(
            isinstance(flow.nodes[other], QueueNode | HangupNode) for other in _reach(flow, name)
        ):
            report.error(
                (*path, "nodes", name),
                "leads round and round: no queue and no hangup can be reached from here",
                "end it in a node of kind queue or hangup",
            )
    for loop in _silent_loops(flow, reached):
        report.warn(
            (*path, "nodes", loop[0]),
            f"a caller who presses nothing goes round for ever ({' -> '.join((*loop, loop[0]))})",
            "lead on_failure to a queue or hangup",
        )


def _reach(flow: Flow, start: str) -> set[str]:
    reached, ahead = {start}, [start]
    while ahead:
        for to in links(flow.nodes[ahead.pop()]).values():
            if to not in reached:
                reached.add(to)
                ahead.append(to)
    return reached


def _silent_loops(flow: Flow, reached: set[str]) -> Iterator[tuple[str, ...]]:
    """Cycles that a caller without a finger runs through; one made of plays alone is an error already."""
    onward: dict[str, str] = {}
    for name in sorted(reached):
        node = flow.nodes[name]
        if isinstance(node, PlayNode):
            onward[name] = node.next
        elif isinstance(node, MenuNode):
            onward[name] = node.on_failure
    done: set[str] = set()
    for start in onward:
        walk: list[str] = []
        name = start
        while name in onward and name not in done:
            done.add(name)
            walk.append(name)
            name = onward[name]
        if name in walk:
            loop = tuple(walk[walk.index(name) :])
            if any(isinstance(flow.nodes[each], MenuNode) for each in loop):
                yield loop


# ---------------------------------------------------------------- queues, agents, phones


def _chain(target: Target | None) -> Iterator[Target]:
    while target is not None:
        yield target
        target = target.otherwise


def _check_queues(draft: Draft, report: Report) -> None:
    served = {queue for agent in draft.agents.values() for queue in agent.queues}
    filled = {
        node.queue
        for flow in draft.flows.values()
        for node in flow.nodes.values()
        if isinstance(node, QueueNode)
    } | {listed.queue for listed in draft.callers.values()}
    overflowing = {
        target.queue
        for queue in draft.queues.values()
        for first in (getattr(queue.overflow, reason) for reason in queue.overflow.__struct_fields__)
        for target in _chain(first)
    }
    for name, queue in draft.queues.items():
        path = ("queues", name)
        _check_text(queue.name, (*path, "name"), report)
        if not ENDPOINT.fullmatch(queue.music):
            report.error((*path, "music"), f"{queue.music!r} is no music class", 'write music = "default"')
        elif queue.music not in MUSIC_CLASSES:
            report.warn(
                (*path, "music"),
                f"Cordboard renders no music class {queue.music!r}; Asterisk plays its default instead",
                'use "default", or have the class in your own PBX\'s musiconhold.conf',
            )
        if name not in served and not any(table == "agents" for table, _ in draft.broken):
            report.warn(path, "no agent serves this queue", f'add "{name}" to an agent\'s queues')
        if name not in filled | overflowing and not any(table == "flows" for table, _ in draft.broken):
            report.warn(path, "no flow leads callers here", "add a node of kind queue, or remove the queue")


def _check_agents(draft: Draft, report: Report) -> None:
    for name, agent in draft.agents.items():
        path = ("agents", name)
        _check_text(agent.name, (*path, "name"), report)
        if not agent.queues:
            report.warn((*path, "queues"), "is empty: this agent gets no calls", 'write queues = ["sales"]')
        for index, queue in enumerate(agent.queues):
            if queue in agent.queues[:index]:
                report.error((*path, "queues", index), f"names {queue!r} twice", "name each queue once")
            else:
                reference(draft, "queues", queue, (*path, "queues", index), report)
        if agent.pin:
            try:
                pins.parse_hash(agent.pin)
            except pins.PinError as error:
                # Never the text itself: somebody may have written the PIN in the clear.
                report.error((*path, "pin"), str(error), "run `cordboard pin` and paste the line it prints")


def _check_phones(draft: Draft, report: Report) -> None:
    used = {
        each if isinstance(each, str) else each.phone
        for agent in draft.agents.values()
        for each in (*agent.phones, agent.phone)
    } | {*draft.centre.desks}
    for name, phone in draft.phones.items():
        path = ("phones", name)
        _check_text(phone.caller_id, (*path, "caller_id"), report)
        _check_codecs(phone.codecs, path, report)
        _check_phone_transport(draft, phone, path, report)
        if name in draft.trunks:
            report.error(
                path, "is the name of a trunk too", "phones and trunks share names: rename one of them"
            )
        if (
            phone.role == "agent"
            and name not in used
            and not any(table == "agents" for table, _ in draft.broken)
        ):
            report.warn(
                path, "no agent has this phone", f'write phone = "{name}" for an agent, or role = "caller"'
            )


def _check_phone_transport(draft: Draft, phone: Phone, path: KeyPath, report: Report) -> None:
    _needs_tls(draft, phone.transport, path, report)
    if phone.transport == "wss" and phone.encryption != "dtls":
        report.error(
            (*path, "media_encryption"),
            f"a browser can't do {phone.encryption!r}: WebRTC has DTLS-SRTP alone (RFC 8827)",
            'write "dtls", or leave it out',
        )
    if phone.transport in ("udp", "tcp") and phone.encryption == "sdes":
        report.warn(
            (*path, "media_encryption"),
            f"over {phone.transport} the media's keys travel readable for all on the way",
            'write transport = "tls"',
        )
    if phone.transport == "wss" and not {"ulaw", "alaw", "opus", "g722"} & set(phone.codecs):
        report.error((*path, "codecs"), "holds none that browsers speak", 'add "ulaw", "alaw" or "opus"')


def _needs_tls(draft: Draft, transport: str, path: KeyPath, report: Report) -> None:
    # One that is written but unreadable has an error of its own.
    if transport in ("tls", "wss") and draft.sip.tls is None and ("sip", "tls") not in report.places:
        report.error(
            (*path, "transport"),
            f"{transport} needs a certificate, and [sip] names none",
            'add to [sip]: tls = { certificate = "pbx.crt", key = "pbx.key" }',
        )


def _check_codecs(codecs: tuple[str, ...], path: KeyPath, report: Report) -> None:
    if not codecs:
        report.error((*path, "codecs"), "is empty", 'write codecs = ["ulaw", "alaw"]')
    for index, codec in enumerate(codecs):
        if codec not in CODECS:
            report.error((*path, "codecs", index), f"{codec!r} is not offered", meant(codec, CODECS))


# ---------------------------------------------------------------- trunks, SIP, fallback


def _check_trunks(draft: Draft, report: Report, folder: Path) -> None:
    for name, trunk in draft.trunks.items():
        for index, pattern in enumerate(trunk.forwards_to):
            if not re.fullmatch(r"\+?[0-9]{1,20}\*?", pattern):
                report.error(
                    ("trunks", name, "forwards_to", index),
                    f"{pattern!r} is no number",
                    'write a number, or a prefix with * at its end: "+4930*"',
                )
        path = ("trunks", name)
        _check_codecs(trunk.codecs, path, report)
        if not HOST.fullmatch(trunk.server):
            report.error(
                (*path, "server"), f"{trunk.server!r} is no host", 'write "sip.example.net" or an address'
            )
        if trunk.username and not USERNAME.fullmatch(trunk.username):
            report.error((*path, "username"), "is no SIP user name", "use letters, digits and _ . + -")
        _needs_tls(draft, trunk.transport, path, report)
        if trunk.encryption == "sdes" and trunk.transport != "tls":
            report.warn(
                (*path, "media_encryption"),
                f"over {trunk.transport} the media's keys travel readable for all on the way",
                'write transport = "tls"',
            )
        _check_trunk_secret(trunk.secret_file, trunk.secret_env, path, report, folder)
        has_secret = bool(trunk.secret_file or trunk.secret_env)
        if trunk.register and not (trunk.username and has_secret):
            report.error(
                (*path, "register"), "needs a user name and a password", "add username and secret_file"
            )
        if has_secret and not trunk.username:
            report.error((*path, "username"), "is missing: there is a password", "add username")
        for index, address in enumerate(trunk.match):
            if not _is_network(address) and not HOST.fullmatch(address):
                report.error((*path, "match", index), f"{address!r} is no address", 'write "203.0.113.0/24"')
        for index, number in enumerate(trunk.numbers):
            if number not in draft.numbers and not _is_direct(draft, number):
                report.error(
                    (*path, "numbers", index),
                    f"{number!r} is neither in [numbers] nor an agent's direct number",
                    meant(number, draft.numbers) + "; calls to any other are refused",
                )
        if not trunk.numbers:
            report.warn(path, "no number may be reached through it", 'write numbers = ["+4930123"]')


def _is_direct(draft: Draft, number: str) -> bool:
    return any(agent.direct == number for agent in draft.agents.values())


def _check_trunk_secret(file: str, variable: str, path: KeyPath, report: Report, folder: Path) -> None:
    if file and variable:
        report.error(path, "has both secret_file and secret_env", "keep one of them")
    if file and not (folder / file).is_file():
        report.error(
            (*path, "secret_file"),
            f"there is no file {folder / file}",
            "put the password there, on one line, readable by you alone (chmod 600)",
        )
    if variable and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        report.error(
            (*path, "secret_env"), f"{variable!r} is no name of a variable", 'write "PROVIDER_SECRET"'
        )


def _check_sip(draft: Draft, report: Report) -> None:
    sip = draft.sip
    try:
        ipaddress.ip_address(sip.bind)
    except ValueError:
        report.error(("sip", "bind"), f"{sip.bind!r} is no address", 'write "0.0.0.0" or one of this machine')
    if sip.external_address and not HOST.fullmatch(sip.external_address):
        report.error(("sip", "external_address"), "is no address or host", 'write "198.51.100.7"')
    for index, net in enumerate(sip.local_nets):
        if not _is_network(net):
            report.error(("sip", "local_nets", index), f"{net!r} is no network", 'write "192.168.0.0/16"')
    if 0 < sip.rtp_hold_timeout_s < sip.rtp_timeout_s:
        report.error(
            ("sip", "rtp_hold_timeout_s"),
            f"is {sip.rtp_hold_timeout_s}, less than rtp_timeout_s ({sip.rtp_timeout_s})",
            "make it longer (phones send nothing while they hold a call), or 0 for no limit",
        )
    if sip.external_address and not sip.local_nets:
        report.error(
            ("sip", "local_nets"),
            "is missing: with external_address, phones at home would be told the outer address too",
            'add local_nets = ["192.168.0.0/16"]',
        )


def _check_tls(draft: Draft, report: Report, folder: Path) -> None:
    tls = draft.sip.tls
    if tls is None:
        return
    path: KeyPath = ("sip", "tls")
    unsuitable = False
    for name in ("certificate", "key", "ca"):
        value = getattr(tls, name)
        # The path stands in Asterisk's configuration, where ; begins a comment.
        if value and not PATH.fullmatch(str(folder.absolute() / value)):
            report.error(
                (*path, name),
                f"{value!r}: a path with such characters can't stand in Asterisk's configuration",
                "use letters, digits, spaces and / . _ - + @ =",
            )
            unsuitable = True
    if not unsuitable and (found := certificates.pair_problem(folder / tls.certificate, folder / tls.key)):
        key, wrong, right = found
        report.error((*path, key), wrong, right)
    if any(trunk.transport == "tls" for trunk in draft.trunks.values()):
        _check_authorities(folder / tls.ca if tls.ca else None, (*path, "ca"), report)
    _check_tls_ports(draft, tls, report)


def _check_authorities(named: Path | None, path: KeyPath, report: Report) -> None:
    if certificates.authorities(named) is None:
        wrong = f"there is no file {named}" if named else "this machine has no authorities to check trunks by"
        report.error(
            path,
            wrong,
            "install the package ca-certificates, or name a PEM file with the provider's authority",
        )


def _check_tls_ports(draft: Draft, tls: Tls, report: Report) -> None:
    if tls.port == tls.wss_port:
        report.error(
            ("sip", "tls", "wss_port"), f"{tls.wss_port} is the port of SIP over TLS too", "use another: 8089"
        )
    for key in ("port", "wss_port"):
        if getattr(tls, key) == draft.sip.port:
            report.error(
                ("sip", "tls", key),
                f"{draft.sip.port} is the port of SIP without TLS",
                f"use another: {5061 if key == 'port' else 8089}",
            )
    browsers = [name for name, phone in draft.phones.items() if phone.transport == "wss"]
    if browsers and draft.sip.external_address and ipaddress_or_none(draft.sip.bind) in ANY_ADDRESS:
        report.warn(
            ("sip", "bind"),
            "browsers outside get no address that media reach: which of this machine's is meant is unknown",
            "write bind = the address of this machine that external_address leads to",
        )


def ipaddress_or_none(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that ``text`` is, if it is one."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _check_fallback(draft: Draft, report: Report) -> None:
    fallback = draft.fallback
    check_sounds(fallback.sounds, ("fallback", "sounds"), report)
    path = ("fallback", "target")
    if fallback.kind != "dial":
        if fallback.target:
            report.error(
                path, f"a fallback of kind {fallback.kind} has no target", 'remove it, or write kind = "dial"'
            )
        return
    number, at, trunk = fallback.target.partition("@")
    if not fallback.target:
        report.error(
            path, "is missing", 'name a phone ("alice") or a number over a trunk ("+4930123@provider")'
        )
    elif not at:
        reference(draft, "phones", number, path, report)
    else:
        if not NUMBER.fullmatch(number):
            report.error(path, f"{number!r} is no number", "use digits, with + in front if need be")
        reference(draft, "trunks", trunk, path, report)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
