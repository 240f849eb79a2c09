"""Reports as text: a table for people, CSV for spreadsheets, JSON for programs.

Each is safe in its own way against whatever a caller's name holds; see ``safe_text``.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal

import msgspec
from msgspec import Struct
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ari_app.core.ledger_rows import DecisionRow
from ari_app.core.messages import Why
from ari_app.store.reports import AgentLine, CallLine, QueueLine, VoicemailLine, from_ns
from ari_app.store.safe_text import csv_cell, visible
from ari_app.store.story import Story

Format = Literal["table", "csv", "json"]
CELL = 28
"""Characters of a caller's text that a table shows."""
ID = 64
ELASTIC_LEAST = 12
LINE = 400
SECOND_NS = 1_000_000_000


# ---------------------------------------------------------------- any rows


def as_csv(rows: Sequence[Struct], columns: type[Struct]) -> str:
    """RFC 4180: a header, CRLF, cells quoted where needed. Durations in seconds, instants ISO 8601.

    Text that a spreadsheet would take for a formula, phone numbers like +49... among it, has an
    apostrophe in front; text that begins with an apostrophe has one more, so that dropping one
    leading apostrophe gives the text back (``safe_text.csv_text``).
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    names = [field.name for field in msgspec.structs.fields(columns)]
    writer.writerow(names)
    for row in rows:
        writer.writerow([_csv_value(getattr(row, name)) for name in names])
    return out.getvalue()


def _csv_value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return _iso(value)
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return csv_cell(value) if isinstance(value, str) else str(value)


def as_json(value: Any) -> str:
    """JSON in UTF-8 with two blanks of indent; characters that act on a terminal are escaped."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    if text.isascii() and "\x7f" not in text:
        return text + "\n"
    # Outside ASCII there is nothing but the inside of strings, where \\u escapes mean the same.
    return "".join(_json_escape(char) for char in text) + "\n"


def _json_escape(char: str) -> str:
    if char == "\n" or (char < "\x7f" and char >= " "):
        return char
    if unicodedata.category(char) not in ("Cc", "Cf", "Zl", "Zp", "Co", "Cn"):
        return char
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2))


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _printed(renderable: Any, width: int) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, markup=False, highlight=False, emoji=False)
    console.print(renderable)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    elastic: Sequence[str],
    right: Sequence[str],
    width: int,
) -> str:
    """Only ``elastic`` columns give way in a narrow terminal; ids and figures stay whole.

    If that is not enough the table is wider than ``width``: rich would leave columns out.
    """
    # Text, not str: rich would take square brackets for markup.
    columns = [
        [Text(visible(row[n], CELL if title in elastic else ID)) for row in rows]
        for n, title in enumerate(titles)
    ]
    widths = [max(cell.cell_len for cell in (Text(t), *c)) for t, c in zip(titles, columns, strict=True)]
    soft = [n for n, title in enumerate(titles) if title in elastic]
    while sum(widths) + 2 * len(widths) > width and any(widths[n] > ELASTIC_LEAST for n in soft):
        widths[max(soft, key=lambda n: widths[n])] -= 1
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for title, column_width in zip(titles, widths, strict=True):
        justify: Literal["left", "right"] = "right" if title in right else "left"
        table.add_column(Text(title), justify=justify, width=column_width, no_wrap=True, overflow="ellipsis")
    for cells in zip(*columns, strict=True):
        table.add_row(*cells)
    return _printed(table, max(width, sum(widths) + 2 * len(widths)))


# ---------------------------------------------------------------- calls, queues


def calls_text(
    rows: Sequence[CallLine], format_: Format = "table", zone: tzinfo = UTC, width: int = 150
) -> str:
    """The report of calls. Instants of the table are in ``zone``; CSV and JSON are UTC."""
    if format_ == "csv":
        return as_csv(rows, CallLine)
    if format_ == "json":
        return as_json(rows)
    if not rows:
        return "No calls in this range.\n"
    titles = (
        "opened",
        "call",
        "number",
        "name",
        "queue",
        "agent",
        "outcome",
        "by",
        "waited",
        "talk",
        "wrap-up",
    )
    lines = [
        (
            f"{row.opened_at.astimezone(zone):%Y-%m-%d %H:%M:%S}",
            row.call,
            row.caller_number or "",
            row.caller_name or "",
            row.queue,
            row.agent,
            _outcome(row),
            row.ended_by or "",
            _duration(row.waited_s),
            _duration(row.talk_s) if row.answered_at else "",
            _duration(row.wrap_up_s) if row.answered_at else "",
        )
        for row in rows
    ]
    elastic = ("number", "name", "queue", "agent")
    return _table(titles, lines, elastic, ("waited", "talk", "wrap-up"), width)


def voicemails_text(
    rows: Sequence[VoicemailLine], format_: Format = "table", zone: tzinfo = UTC, width: int = 150
) -> str:
    """The messages. Instants of the table are in ``zone``; CSV and JSON are UTC."""
    if format_ == "csv":
        return as_csv(rows, VoicemailLine)
    if format_ == "json":
        return as_json(rows)
    if not rows:
        return "No messages in this range.\n"
    lines = [
        (
            f"{row.left_at.astimezone(zone):%Y-%m-%d %H:%M:%S}",
            row.call,
            row.caller_number or "",
            row.caller_name or "",
            row.queue,
            _duration(row.seconds) if row.file else row.state,
            row.file or row.error,
        )
        for row in rows
    ]
    titles = ("left", "call", "number", "name", "queue", "length", "file")
    return _table(titles, lines, ("number", "name", "queue"), ("length",), width)


def _outcome(row: CallLine) -> str:
    words = row.outcome or ("talking" if row.answered_at else "waiting" if row.entered_at else "in the menu")
    return words + (" (short)" if row.short else "") + (" (set apart)" if row.quarantined else "")


def queues_text(
    rows: Sequence[QueueLine], format_: Format = "table", width: int = 150, zone: tzinfo = UTC
) -> str:
    """The report of queues. Shares are per cent in the table, 0 to 1 in CSV and JSON."""
    if format_ != "table":
        rows = [row for row in rows if row.since is not None]  # a program makes its own totals
        return as_csv(rows, QueueLine) if format_ == "csv" else as_json(rows)
    if not rows:
        return "No call entered a queue in this range.\n"
    by_part = len({row.since for row in rows if row.since is not None}) > 1
    if len(rows) == 2:
        rows = rows[:1]  # the total of one line says nothing new
    titles = [
        "queue",
        "offered",
        "answered",
        "abandoned",
        "short",
        "overflowed",
        "timed out",
        "lost",
        "waiting",
    ]
    titles += ["service level", "abandon %", "ASA", "median", "p95", "longest", "AHT"]
    lines = [
        (
            *([f"{row.since.astimezone(zone):%Y-%m-%d %H:%M}" if row.since else ""] if by_part else []),
            row.name,
            *(str(n) for n in (row.offered, row.answered, row.abandoned, row.short)),
            *(str(n) for n in (row.overflowed, row.timed_out, row.lost, row.waiting)),
            _share(row.service_level) + (f" in {row.service_level_s:g} s" if row.service_level_s else ""),
            _share(row.abandon_rate),
            *(_duration(s) for s in (row.asa_s, row.median_s, row.p95_s, row.longest_s, row.aht_s)),
        )
        for row in rows
    ]
    return _table([*(["from"] if by_part else []), *titles], lines, ("queue",), titles[1:], width)


def agents_text(rows: Sequence[AgentLine], format_: Format = "table", width: int = 150) -> str:
    """The report of agents. Shares are per cent in the table, 0 to 1 in CSV and JSON."""
    if format_ == "csv":
        return as_csv(rows, AgentLine)
    if format_ == "json":
        return as_json(rows)
    if not rows:
        return "No agent was signed in in this range.\n"
    titles = ["agent", "name", "handled", "offers", "missed", "signed in", "ready", "ringing", "talk", "hold"]
    titles += [
        "wrap-up",
        "paused",
        "not responding",
        "own out",
        "own in",
        "own talk",
        "occupancy",
        "utilisation",
        "AHT",
    ]
    lines = [
        (
            row.agent,
            row.name,
            *(str(n) for n in (row.handled, row.offers, row.missed)),
            *(_duration(s) for s in (row.signed_in_s, row.ready_s, row.ringing_s, row.talk_s, row.hold_s)),
            *(_duration(s) for s in (row.wrap_up_s, row.paused_s, row.not_responding_s)),
            *(str(row.own_out), str(row.own_in), _duration(row.own_talk_s)),
            _share(row.occupancy),
            _share(row.utilisation),
            _duration(row.aht_s),
        )
        for row in rows
    ]
    return _table(titles, lines, ("name",), titles[2:], width)


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.1f} %"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


# ---------------------------------------------------------------- one call's story


def story_text(story: Story, format_: Literal["table", "json"] = "table", zone: tzinfo = UTC) -> str:
    """The whole story of one call: for people, or as JSON."""
    if format_ == "json":
        return as_json(story)
    parts = [_head(story, zone)]
    parts += [f"note: {visible(note, LINE)}\n" for note in story.notes]
    parts.append(_section("Events", story.events, lambda told: _event_line(told, zone)))
    parts.append(_section("Decisions", story.decisions, lambda row: _decision_line(row, zone)))
    parts.append(_section("Segments", story.segments, lambda row: _segment_line(row, zone)))
    parts.append(_section("Recordings", story.recordings, lambda row: _recording_line(row, zone)))
    return "\n".join(parts)


def _head(story: Story, zone: tzinfo) -> str:
    row, caller = story.row, story.caller
    lines = [f"Call {visible(story.call, LINE)}"]
    if caller is not None:
        name = f' "{visible(caller.name, 80)}"' if caller.name else ""
        lines.append(f"  caller    {visible(caller.number, 80) or 'number not known'}{name}")
        if caller.note:
            lines += [f"  note      {visible(line, 400)}" for line in caller.note.splitlines()]
    if row is not None:
        queue = f", queue {row.queue}" if row.queue else ""
        lines.append(f"  dialled   {visible(row.number, 80)} (flow {visible(row.flow, 80) or 'none'}{queue})")
        lines.append(f"  opened    {_clock(row.opened_ns, zone, day=True)}")
        if row.waited_ns is not None:
            lines.append(f"  waited    {_duration(row.waited_ns / 1e9)}")
        if row.answered_ns is not None:
            lines.append(f"  agent     {row.agent}, talk {_duration(row.talk_ns / 1e9)}")
        if row.disposition:
            lines.append(f"  came to   {row.disposition}")
        ended = f"{row.outcome}, ended by {row.ended_by}" if row.outcome else "not over"
        lines.append(f"  outcome   {ended}{' (set apart after a failure)' if row.quarantined else ''}")
    return "\n".join(lines) + "\n"


def _section(title: str, rows: Sequence[Any], line: Callable[[Any], str]) -> str:
    shown = "".join(f"  {line(row)}\n" for row in rows) or "  none\n"
    return f"{title}\n{shown}"


def _clock(at_ns: int, zone: tzinfo, *, day: bool = False) -> str:
    at = from_ns(at_ns).astimezone(zone)
    text = f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"
    return f"{at:%Y-%m-%d} {text} {at:%Z}" if day else text


def _event_line(told: Any, zone: tzinfo) -> str:
    fields = msgspec.to_builtins(told.event)
    kind = fields.pop("type")
    fields.pop("call", None)
    fields.pop("why", None)  # It has a section of its own.
    words = " ".join(
        f"{key.removesuffix('_ns')}={_value(key, value, zone)}"
        for key, value in fields.items()
        if value not in ("", 0)
    )
    return f"{_clock(told.at_ns, zone)}  {kind:<18} {words}".rstrip()


def _value(key: str, value: Any, zone: tzinfo) -> str:
    if key in ("waited_ns", "talk_ns", "duration_ns"):
        return _duration(value / SECOND_NS).replace(" ", "")
    if key.endswith("_ns"):
        return _clock(value, zone)
    return visible(value if isinstance(value, str) else str(value), LINE)


def _decision_line(row: DecisionRow, zone: tzinfo) -> str:
    took = f" after {_duration((row.result_ns - row.at_ns) / 1e9)}" if row.result_ns is not None else ""
    return (
        f"{_clock(row.at_ns, zone)}  attempt {row.attempt}: offered to {visible(row.agent, 80)},"
        f" {row.result}{took}\n                {why_text(row.why, row.agent)}"
    )


def why_text(why: Why, agent: str) -> str:
    """Why this agent, in words."""
    if why.decision:
        return f"why: rung together with offer {why.decision}, which has the reasons"
    field = sorted(why.candidates, key=lambda candidate: candidate.rank)
    listed = ", ".join(f"{visible(c.agent, 80)} idle {_duration(c.idle_ns / 1e9)}" for c in field)
    others = ", ".join(f"{count} {state}" for state, count in sorted(why.not_eligible.items()))
    return (
        f"why: {visible(why.rule, 80)} among {len(field)} ({listed}); not eligible: {others or 'none'};"
        f" the caller had waited {_duration(why.waited_ns / 1e9)}, place {why.position} of {why.waiting}"
    )


def _segment_line(row: Any, zone: tzinfo) -> str:
    who = "caller" if row.party == "caller" else f"agent {visible(row.agent, 80)}"
    until = _clock(row.to_ns, zone) if row.to_ns is not None else "now         "
    length = f"{_duration((row.to_ns - row.from_ns) / 1e9):>8}" if row.to_ns is not None else " " * 8
    peer = f" with {visible(row.peer, 80)}" if row.peer else ""
    return f"{_clock(row.from_ns, zone)} to {until} {length}  {who}: {row.state}{peer}"


def _recording_line(row: Any, zone: tzinfo) -> str:
    begun = _clock(row.started_ns, zone) if row.started_ns is not None else "never begun "
    file = row.file or " + ".join(track for track in (row.caller_track, row.agent_track) if track)
    length = f", {_duration(row.duration_ns / 1e9)}" if row.duration_ns else ""
    error = f": {visible(row.error, LINE)}" if row.error else ""
    return f"{begun}  {row.state}{length}  {visible(file, LINE)}{error}"
