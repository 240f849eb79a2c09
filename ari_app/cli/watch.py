"""``cordboard watch``: the floor, live in a terminal.

The frame is a pure function of the view, the instant and the size; the loop around it only reads
and draws. Between two pictures the waits count on by the reader's own clock.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TextIO

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ari_app.cli import agents, output
from ari_app.core import words
from ari_app.core.definition import SECOND_NS
from ari_app.core.text import counted, duration, printable
from ari_app.web.client import ControlClient
from ari_app.web.errors import ControlError
from ari_app.web.view import CallView, QueueView, View

WIDE = 110
"""From this many columns on, more columns are shown."""
RETRY_S = 1.0
CALLER_CELLS = 26
MIN_ROWS = 3

CALL_STYLES = {"waiting": "yellow", "offered": "yellow", "talking": "cyan", "ivr": "dim"}


class Size(Struct, frozen=True):
    """Columns and lines; ``lines`` 0 = as many as it takes."""

    columns: int
    lines: int = 0


class Rows(Struct, frozen=True):
    """How many lines each part may take."""

    queues: int
    calls: int
    agents: int
    happenings: int


# ---------------------------------------------------------------- the frame


def frame(view: View, now_ns: int, size: Size) -> RenderableType:
    """One picture of the floor at ``now_ns``."""
    wide = size.columns >= WIDE
    rows = share(view, size.lines)
    return Group(
        _headline(view, now_ns),
        *_alarms(view),
        _cut("Queues", _queues(view.queues[: rows.queues], now_ns, wide), len(view.queues), rows.queues),
        _cut("Calls", _calls(view.calls[: rows.calls], now_ns, wide), len(view.calls), rows.calls),
        _cut("Agents", _agents(view, rows.agents, now_ns, wide), len(view.agents), rows.agents),
        _happenings(view, rows.happenings, size.columns),
    )


def share(view: View, lines: int) -> Rows:
    """Divide the lines of the terminal: nobody gets more than they need, all get something."""
    wanted = [len(view.queues), len(view.calls), len(view.agents), len(view.happenings)]
    if not lines:
        return Rows(*wanted)
    # Headline, alarms, and for each part its title, its table's head and one line for what was cut.
    left = max(lines - 2 - len(_alarms(view)) - 4 * 4, 4 * MIN_ROWS)
    given = [min(want, MIN_ROWS) for want in wanted]
    spare = left - sum(given)
    while spare > 0 and given != wanted:
        for part, want in enumerate(wanted):
            if given[part] < want and spare > 0:
                given[part] += 1
                spare -= 1
    return Rows(*given)


def _headline(view: View, now_ns: int) -> Text:
    waiting = sum(queue.waiting for queue in view.queues)
    talking = sum(call.state == "talking" for call in view.calls)
    signed_in = sum(agent.state != "signed_out" for agent in view.agents)
    line = Text(overflow="ellipsis", no_wrap=True)
    line.append(printable(view.centre, 40), style="bold")
    line.append(f"  {_clock(now_ns)} UTC", style="dim")
    line.append(f"   {waiting} waiting", style="bold yellow" if waiting else "")
    line.append(f"   {talking} talking", style="cyan" if talking else "")
    line.append(f"   {signed_in} of {counted(len(view.agents), 'agent')} signed in")
    return line


def _alarms(view: View) -> list[Text]:
    alarms: list[Text] = []
    if not view.matching:
        said = "No calls are offered now: Asterisk is being compared or cannot be reached"
        alarms.append(Text(said, "bold red"))
    if view.crisis:
        what = ", ".join(each.queue or "everything" for each in view.crisis)
        alarms.append(Text(f"Emergency switch on: {printable(what, 100)}", "bold white on red"))
    return alarms


def _cut(title: str, content: Table, total: int, shown: int) -> RenderableType:
    head = Text(f"\n{title}", style="bold underline")
    if not total:
        head.append("  none", style="dim")
        return head
    if total <= shown:
        return Group(head, content)
    return Group(head, content, Text(f"… and {total - shown} more", style="dim"))


def _queues(queues: Sequence[QueueView], now_ns: int, wide: bool) -> Table:
    columns = ["queue", "waiting", "longest", "talking", "ready", "offered", "answered", "left", "SL"]
    if wide:
        columns[5:5] = ["agents"]
        columns += ["mean wait", "sent on", "lost"]
    rows = []
    for queue in queues:
        today = queue.today
        row: list[object] = [
            queue.queue,
            output.cell(queue.waiting, "bold yellow" if queue.waiting else "dim"),
            _elapsed(queue.oldest_ns, now_ns),
            queue.talking,
            output.cell(queue.agents.get("ready", 0), "green" if queue.agents.get("ready") else "red"),
            today.offered,
            today.answered,
            # Short abandons, which no figure holds against the centre, stand apart.
            f"{today.abandoned - today.short}+{today.short}" if today.short else today.abandoned,
            "–" if today.service_level is None else f"{today.service_level:.0%}",
        ]
        if wide:
            row[5:5] = [", ".join(f"{n} {words.state(s)}" for s, n in sorted(queue.agents.items()))]
            row += ["–" if today.asa_ns is None else duration(today.asa_ns)]
            row += [today.overflowed + today.timed_out, today.lost]
        rows.append(row)
    figures = [name for name in columns if name not in ("queue", "agents")]
    return output.table(columns, rows, right=figures, whole=("queue", *figures) if wide else figures)


def _calls(calls: Sequence[CallView], now_ns: int, wide: bool) -> Table:
    columns = ["call", "caller", "state", "queue", "pos", "waited", "agent", "talk"]
    if wide:
        columns[2:2] = ["dialled"]
    rows = []
    for call in calls:
        waited = (call.connected_ns or now_ns) - call.entered_ns if call.entered_ns else None
        row: list[object] = [
            call.call,
            _caller(call),
            output.cell(_call_state(call), CALL_STYLES.get(call.state, "")),
            call.queue,
            call.position or "",
            "" if waited is None else _whole(waited),
            call.agent,
            _elapsed(call.connected_ns, now_ns),
        ]
        if wide:
            row[2:2] = [call.number]
        rows.append(row)
    return output.table(columns, rows, right=("pos", "waited", "talk"), whole=("call",))


def _caller(call: CallView) -> Text:
    if call.caller_name and call.caller_number:
        text = output.cell(f"{call.caller_name} {call.caller_number}")
    else:
        text = output.cell(call.caller_name or call.caller_number or "withheld")
    text.truncate(CALLER_CELLS, overflow="ellipsis")
    return text


def _call_state(call: CallView) -> str:
    if call.state == "ivr" and call.node:
        return f"at {call.node}"
    if call.state == "offered":
        return "rings at" if call.ringing else "offered to"
    return words.state(call.state)


def _agents(view: View, limit: int, now_ns: int, wide: bool) -> Table:
    columns = agents.COLUMNS if wide else ("agent", "state", "for", "detail", "call", "handled")
    keep = [agents.COLUMNS.index(name) for name in columns]
    rows = []
    for agent in view.agents[:limit]:
        whole = agents.row(agent, now_ns)
        rows.append([whole[index] for index in keep])
    return output.table(columns, rows, right=("handled",), whole=("agent", "state"))


def _happenings(view: View, limit: int, columns: int) -> RenderableType:
    head = Text("\nWhat just happened", style="bold")
    if not view.happenings:
        head.append("  nothing yet", style="dim")
        return head
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(no_wrap=True, style="dim", overflow="ellipsis", max_width=max(12, columns // 6))
    # Reasons may take several lines; where the terminal ends, the oldest are what is cut.
    grid.add_column(overflow="fold")
    for happening in view.happenings[:limit]:
        about = happening.call or happening.agent
        grid.add_row(_clock(happening.at_ns), output.cell(about), output.cell(happening.text, limit=600))
    return Group(head, grid)


def _elapsed(since_ns: int, now_ns: int) -> str:
    return _whole(now_ns - since_ns) if since_ns else ""


def _whole(ns: int) -> str:
    """Whole seconds: a live clock that shows tenths only flickers."""
    return duration(max(ns, 0) // SECOND_NS * SECOND_NS)


def _clock(at_ns: int) -> str:
    return f"{datetime.fromtimestamp(at_ns // SECOND_NS, UTC):%H:%M:%S}"


# ---------------------------------------------------------------- the loop


def watch(socket: Path, *, once: bool = False, out: TextIO | None = None) -> None:
    """Show the floor until Ctrl-C; one frame with ``once`` or without a terminal.

    Raises:
        ControlError: with ``once`` or without a terminal, when Cordboard does not answer.
    """
    stream = out or sys.stdout
    client = ControlClient(socket)
    if once or not stream.isatty():
        view = client.view()
        console = output.console(stream)
        console.print(frame(view, view.at_ns, Size(console.width)))
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        _follow(client, stream)
    except KeyboardInterrupt:
        pass  # the way to end it; the alternate screen is left by then
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _follow(client: ControlClient, stream: TextIO) -> None:
    console = output.console(stream)
    last: View | None = None
    read_s, trouble = time.monotonic(), ""
    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            try:
                if last is None or trouble:  # after a gap a stamp may be another process's
                    last, read_s = client.view(), time.monotonic()
                elif news := client.news(last.stamp):  # takes a second, which paces this loop
                    last, read_s = news, time.monotonic()
                trouble = ""
            except ControlError as error:
                trouble = str(error)
            now_ns = (last.at_ns if last else 0) + int((time.monotonic() - read_s) * SECOND_NS)
            live.update(picture(last, trouble, now_ns, Size(console.width, console.height)), refresh=True)
            if trouble:
                time.sleep(RETRY_S)


def picture(view: View | None, trouble: str, now_ns: int, size: Size) -> RenderableType:
    """The frame, or what stands in its way; an old frame is not shown as if it were true."""
    if trouble:
        since = f", last seen {_clock(view.at_ns)} UTC" if view else ""
        return Group(
            Text(f"Cordboard is not running or does not answer{since}", style="bold red"),
            output.cell(trouble, limit=1000),
            Text("Trying again each second; Ctrl-C ends this.", style="dim"),
        )
    if view is None:
        return Text("")
    return frame(view, now_ns, size)
