"""Rules of queues as written: overflow, opening hours, the emergency switch, wrap-up and dispositions."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable, Iterator
from datetime import date
from typing import TYPE_CHECKING, Any, get_args

from ari_app.config_checks import NAME, NUMBER, PRINTABLE, check_sounds, meant, reference
from ari_app.core.definition import (
    Flow,
    MenuNode,
    Overflow,
    OverflowReason,
    PlayNode,
    Queue,
    QueueNode,
    Target,
)
from ari_app.hours import WEEKDAYS, HoursError, day_matches, span_of
from ari_app.problems import Report
from ari_app.toml_lines import KeyPath

if TYPE_CHECKING:
    from ari_app.config import Draft

REASONS: tuple[OverflowReason, ...] = get_args(OverflowReason)
KINDS = ("queue", "flow", "number", "voicemail", "fallback", "hangup")


def check(draft: Draft, report: Report) -> None:
    """Reports targets that lead nowhere or in a circle, hours that are none, and wrap-ups at odds."""
    for name, queue in draft.queues.items():
        path: KeyPath = ("queues", name)
        if queue.hours:
            reference(draft, "hours", queue.hours, (*path, "hours"), report)
        for reason, target in targets(queue):
            _check_target(draft, target, (*path, "overflow", reason), report)
        _check_reasons(draft, queue, path, report)
        _check_wrap_up(queue, path, report)
        _check_notes(queue, path, report)
    _check_hours(draft, report)
    if draft.crisis.flow:
        reference(draft, "flows", draft.crisis.flow, ("crisis", "flow"), report)
    if not draft.broken:
        _check_circles(draft, report)


def targets(queue: Queue) -> Iterator[tuple[OverflowReason, Target]]:
    """The targets that are written, by reason."""
    for reason in REASONS:
        target: Target | None = getattr(queue.overflow, reason)
        if target is not None:
            yield reason, target


# ---------------------------------------------------------------- overflow


def _check_target(draft: Draft, target: Target, path: KeyPath, report: Report) -> None:
    named = [kind for kind in KINDS if getattr(target, kind)]
    if len(named) != 1:
        wrong = f"names {' and '.join(named)}" if named else "leads nowhere"
        right = (
            'write one of queue = "...", flow = "...", number = "...", voicemail = true, '
            "fallback = true, hangup = true"
        )
        report.error(path, wrong, right)
    _check_number(draft, target, path, report)
    check_sounds(target.sounds, (*path, "sounds"), report)
    if target.queue:
        reference(draft, "queues", target.queue, (*path, "queue"), report)
    if target.flow and reference(draft, "flows", target.flow, (*path, "flow"), report):
        flow = draft.flows.get(target.flow)
        if target.node and flow is not None and target.node not in flow.nodes:
            report.error(
                (*path, "node"),
                f"the flow {target.flow} has no node {target.node!r}",
                meant(target.node, flow.nodes),
            )
    if target.node and not target.flow:
        report.error((*path, "node"), "is a node of no flow", "name the flow, too")


def _check_number(draft: Draft, target: Target, path: KeyPath, report: Report) -> None:
    """Only what the trunk's ``forwards_to`` names is dialled: toll fraud begins with what nobody forbade."""
    if not 5 <= target.longest_s <= 3600:
        report.error((*path, "longest_s"), f"is {target.longest_s:g}", "use 5 to 3600 seconds")
    if not target.number:
        for key in ("trunk", "otherwise"):
            if getattr(target, key):
                report.error((*path, key), "belongs to a number", 'add number = "+49301234567"')
        return
    if not NUMBER.fullmatch(target.number):
        report.error((*path, "number"), "is no number", 'use digits, with + in front: "+49301234567"')
    elif target.number in draft.numbers:
        right = "name the queue or flow instead: calls would come in again and again"
        report.error((*path, "number"), "is a number of this centre", right)
    elif not target.trunk:
        report.error((*path, "trunk"), "is missing", "name the trunk over which the number is dialled")
    elif reference(draft, "trunks", target.trunk, (*path, "trunk"), report):
        trunk = draft.trunks.get(target.trunk)
        if trunk is not None and not allowed(target.number, trunk.forwards_to):
            right = f'add forwards_to = ["{target.number}"] to [trunks.{target.trunk}]'
            report.error((*path, "number"), f"may not be dialled over {target.trunk}", right)
    if not 1 <= target.ring_s <= 600:
        report.error((*path, "ring_s"), f"is {target.ring_s:g}", "use 1 to 600 seconds")
    if target.otherwise is not None:
        _check_target(draft, target.otherwise, (*path, "otherwise"), report)


def allowed(number: str, patterns: Iterable[str]) -> bool:
    """Whether a number is one of ``patterns``, or begins as one that ends in * does."""
    return any(number.startswith(p[:-1]) if p.endswith("*") else number == p for p in patterns)


def _check_reasons(draft: Draft, queue: Queue, path: KeyPath, report: Report) -> None:
    """A target for something that never happens is a mistake of another key."""
    happens = {
        "full": (queue.max_waiting > 0, "add max_waiting = 20"),
        "timeout": (queue.max_wait_s > 0, "add max_wait_s = 300"),
        "no_agents": (
            queue.join_when != "always" or queue.leave_when != "never",
            'add join_when = "signed_in" or leave_when = "none_signed_in"',
        ),
        "closed": (bool(queue.hours), 'add hours = "..."'),
        "holiday": (bool(queue.hours), 'add hours = "..."'),
        "crisis": (True, ""),
    }
    for reason, _ in targets(queue):
        can, right = happens[reason]
        if not can:
            report.error((*path, "overflow", reason), "never happens here", right)
    if queue.at_closing == "overflow" and not queue.hours:
        report.error((*path, "at_closing"), "the queue never closes", 'add hours = "..."')


def _check_circles(draft: Draft, report: Report) -> None:
    """Nobody may be sent round for ever without having pressed a key."""
    onward: dict[str, dict[str, OverflowReason]] = {name: {} for name in draft.queues}
    for name, queue in draft.queues.items():
        for reason, target in targets(queue):
            for to in _queues_behind(draft, target):
                onward[name].setdefault(to, reason)
    for start in onward:
        circle = _circle(onward, start)
        if circle and start == min(circle):
            reason = onward[start][circle[1]]
            report.error(
                ("queues", start, "overflow", reason),
                f"callers would go round for ever ({' -> '.join(circle)})",
                "let one of them end in fallback = true, hangup = true or a flow without these queues",
            )


def _queues_behind(draft: Draft, target: Target) -> set[str]:
    """Queues a caller reaches from here who presses nothing."""
    if target.queue:
        return {target.queue}
    if target.otherwise is not None:
        return _queues_behind(draft, target.otherwise)
    flow = draft.flows.get(target.flow)
    return _silently(flow, target.node or flow.start) if flow is not None else set()


def _silently(flow: Flow, start: str) -> set[str]:
    found: set[str] = set()
    seen: set[str] = set()
    name = start
    while name not in seen and name in flow.nodes:
        seen.add(name)
        node = flow.nodes[name]
        match node:
            case QueueNode():
                found.add(node.queue)
            case PlayNode():
                name = node.next
            case MenuNode():
                name = node.on_failure
            case _:
                pass  # a hang-up is the end
    return found


def _circle(onward: dict[str, dict[str, OverflowReason]], start: str) -> list[str]:
    """A way from ``start`` back to it, or nothing."""
    came: dict[str, str] = {}
    ahead = [start]
    while ahead:
        here = ahead.pop(0)
        for to in onward.get(here, ()):
            if to == start:
                way = [here]
                while way[0] != start:
                    way.insert(0, came[way[0]])
                return [*way, start]
            if to not in came:
                came[to] = here
                ahead.append(to)
    return []


# ---------------------------------------------------------------- hours


def _check_hours(draft: Draft, report: Report) -> None:
    for name, hours in draft.hours.items():
        path: KeyPath = ("hours", name)
        if hours.time_zone:
            try:
                zoneinfo.ZoneInfo(hours.time_zone)
            except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
                report.error(
                    (*path, "time_zone"),
                    f"{hours.time_zone!r} is no time zone that this machine knows",
                    'use a name such as "Europe/Berlin", or leave it out for the zone of [centre]',
                )
        written = [((*path, day), getattr(hours, day)) for day in WEEKDAYS]
        written += [((*path, "special", day), spans) for day, spans in hours.special.items()]
        for where, spans in written:
            _check_spans(spans, where, report)
        days = [((*path, "holidays", n), day) for n, day in enumerate(hours.holidays)]
        for where, day in [*days, *(((*path, "special", day), day) for day in hours.special)]:
            try:
                day_matches(day, date.min)
            except HoursError as error:
                report.error(where, f"{day!r} is no day", str(error))
        if not any(spans for _, spans in written):
            report.warn(path, "is never open", 'write mon = ["09:00-17:00"], and so on')
        if not any(queue.hours == name for queue in draft.queues.values()):
            report.warn(path, "no queue has these hours", f'add hours = "{name}" to a queue')


def _check_spans(spans: tuple[str, ...], path: KeyPath, report: Report) -> None:
    before: list[tuple[int, int]] = []
    for index, text in enumerate(spans):
        try:
            begin, end = span_of(text)
        except HoursError as error:
            report.error((*path, index), f"{text!r} is no span of time", str(error))
            continue
        if any(begin < other_end and other_begin < end for other_begin, other_end in before):
            report.error((*path, index), f"{text!r} overlaps another span of the day", "write them apart")
        before.append((begin, end))


# ---------------------------------------------------------------- wrap-up and dispositions


def _check_wrap_up(queue: Queue, path: KeyPath, report: Report) -> None:
    for code in queue.dispositions:
        if not NAME.fullmatch(code):
            report.error(
                (*path, "dispositions", code), "is no name", "use lower-case letters, digits, - and _"
            )
    if queue.wrap_up in ("extendable", "requested") and queue.wrap_up_max_s < queue.wrap_up_s:
        report.error(
            (*path, "wrap_up_max_s"),
            f"is {queue.wrap_up_max_s:g}, less than wrap_up_s ({queue.wrap_up_s:g})",
            f"use {queue.wrap_up_s:g} or more",
        )
    default = queue.disposition_default
    if default and default not in queue.dispositions:
        report.error(
            (*path, "disposition_default"), f"{default!r} is none of them", meant(default, queue.dispositions)
        )
    if queue.disposition_required and not queue.dispositions:
        report.error(
            (*path, "disposition_required"),
            "there are no dispositions",
            'add dispositions = { sold = "Sold" }',
        )
    elif queue.disposition_required and not default:
        report.error(
            (*path, "disposition_default"),
            "is missing: it is noted when the wrap-up's time is over and nobody has said anything",
            'add disposition_default = "none", and none = "Nothing said" to dispositions',
        )


def _check_notes(queue: Queue, path: KeyPath, report: Report) -> None:
    for key, label in queue.note_fields.items():
        if not NAME.fullmatch(key):
            report.error((*path, "note_fields", key), "is no name", "use lower-case letters, digits, - and _")
        if not PRINTABLE.fullmatch(label) or not label.strip():
            report.error((*path, "note_fields", key), "has no label", 'write reason = "Reason for contact"')
    for index, key in enumerate(queue.note_required):
        if key not in queue.note_fields:
            right = meant(key, queue.note_fields)
            report.error((*path, "note_required", index), f"{key!r} is no field of the note", right)


# ---------------------------------------------------------------- reading


def overflow_of(value: Any, path: KeyPath, report: Report) -> dict[OverflowReason, dict[str, Any]]:
    """The tables of ``overflow``, by reason; what is wrong with their shape is reported."""
    found: dict[OverflowReason, dict[str, Any]] = {}
    if not isinstance(value, dict):
        report.error(path, "must be a table", "write overflow.closed = { fallback = true }")
        return found
    for key, written in value.items():
        if key not in REASONS:
            report.error((*path, key), "is no reason to send a caller on", meant(key, REASONS))
        elif not isinstance(written, dict):
            report.error((*path, key), "must be a table", 'write { queue = "..." } or { fallback = true }')
        else:
            found[key] = written
    return found


def assembled(read: dict[OverflowReason, Target]) -> Overflow:
    """The targets that could be read, as the core has them."""
    return Overflow(**read)
