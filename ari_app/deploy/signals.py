"""Ctrl-C, SIGTERM and a closed terminal: one exception at whatever is under way, and then deaf."""

from __future__ import annotations

import signal
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopAsked(BaseException):
    """Somebody wants this to end, wherever the start or the watch is at that moment."""


def listen() -> None:
    """From now on the first such signal raises `StopAsked` in the main thread."""

    def stop(number: int, frame: FrameType | None) -> None:
        # Once is enough: while the parts stop, another Ctrl-C must not leave one of them behind.
        ignore()
        raise StopAsked

    for number in STOPPING:
        signal.signal(number, stop)


def ignore() -> None:
    """From now on such signals do nothing: what is being stopped is stopped whole."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
