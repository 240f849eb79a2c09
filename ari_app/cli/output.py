"""Tables for the terminal, CSV and JSON: one place that makes text from outside harmless in each.

A cell is never markup: rich gets ``Text``, whose content it shows as it is.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Literal, TextIO

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ari_app.core.text import printable
from ari_app.store.safe_text import csv_cell

Format = Literal["table", "csv", "json"]
PIPE_WIDTH = 120
CELL_LIMIT = 200


def console(out: TextIO | None = None, width: int | None = None) -> Console:
    """A console on ``out``; without a terminal as wide as COLUMNS says, else ``PIPE_WIDTH``."""
    stream = out or sys.stdout
    if width is None and not stream.isatty():
        columns = os.environ.get("COLUMNS", "")
        width = int(columns) if columns.isdigit() and int(columns) > 0 else PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def cell(value: object, style: str = "", limit: int = CELL_LIMIT) -> Text:
    """Any value as text that can neither carry markup nor control the terminal."""
    return Text(printable(str(value), limit), style=style, overflow="ellipsis")


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    right: Sequence[str] = (),
    whole: Sequence[str] = (),
    expand: bool = False,
) -> Table:
    """A borderless table; A cell may be a ``Text``.

    ``right`` names the columns of figures, ``whole`` those that are never cut (what other commands take).
    """
    made = Table(
        title=Text(printable(title), style="bold") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        padding=(0, 1),
        expand=expand,
        header_style="dim",
    )
    lines = [[value if isinstance(value, Text) else cell(value) for value in row] for row in rows]
    for number, name in enumerate(columns):
        numeric = name in right
        needed = max((line[number].cell_len for line in lines), default=0) if name in whole else 0
        made.add_column(
            Text(name),
            justify="right" if numeric else "left",
            overflow="ellipsis",
            no_wrap=True,
            min_width=max(len(name), needed) if numeric or needed else None,  # names give way
        )
    for line in lines:
        made.add_row(*line)
    return made


def as_text(content: RenderableType, width: int | None = None) -> str:
    """What a console without colours would print."""
    out = io.StringIO()
    console(out, width).print(content)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """RFC 4180 with a header; no cell is taken for a formula by a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_plain(value) for value in row] for row in rows)
    return out.getvalue()


def _plain(value: object) -> str:
    if value is None:
        return ""
    return csv_cell(value) if isinstance(value, str) else str(value)
