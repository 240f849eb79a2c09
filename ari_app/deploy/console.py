"""What a person sees while the local runtime is set up: progress lines, and errors without tracebacks.

Standard library only: the bootstrap uses it before the virtual environment exists.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

# A log file or CI wants a sign of life now and then, not a line each time a byte arrives.
PLAIN_UPDATE_SECONDS = 10.0
TTY_UPDATE_SECONDS = 0.2


class DeployError(Exception):
    """Something the user can put right; the text is one or two lines that say how."""


class Step:
    """One slow thing under way; `update` tells how far it is, at a bearable rate."""

    def __init__(self, progress: Progress, text: str) -> None:
        self._progress = progress
        self._text = text
        self._said = text
        self._shown = time.monotonic()

    def update(self, detail: str) -> None:
        every = TTY_UPDATE_SECONDS if self._progress.tty else PLAIN_UPDATE_SECONDS
        self._said = f"{self._text}: {detail}"
        if time.monotonic() - self._shown >= every:
            self._shown = time.monotonic()
            self._progress.show(self._said, passing=True)

    def finish(self) -> None:
        if self._progress.tty:
            self._progress.show(self._said)


class Progress:
    """Progress lines with the seconds since the start; a terminal sees the running line rewritten."""

    def __init__(self, out: TextIO | None = None, started: float | None = None) -> None:
        self._out = out if out is not None else sys.stderr
        self._started = time.monotonic() if started is None else started
        self.tty = self._out.isatty()

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._started

    def show(self, text: str, *, passing: bool = False) -> None:
        line = f"[{self.elapsed_seconds:5.1f} s] {text}"
        if self.tty:
            self._out.write(f"\r\x1b[K{line}" + ("" if passing else "\n"))
        else:
            self._out.write(line + "\n")
        self._out.flush()

    def warn(self, text: str) -> None:
        self.show(f"warning: {text}")

    @contextmanager
    def step(self, text: str) -> Iterator[Step]:
        """Shows `text` at once and, on a terminal, keeps its line for the updates."""
        self.show(text, passing=True)
        step = Step(self, text)
        try:
            yield step
        finally:
            step.finish()
