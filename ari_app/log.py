"""Logs: one line per thing worth reading, with the call's id; ids only, never people.

In a terminal the lines are for eyes; elsewhere (a service) they are JSON.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from typing import Any, TextIO, cast

import msgspec
import structlog

from ari_app.core import messages as m
from ari_app.core.definition import Target

_QUIET: tuple[type[m.Event], ...] = (
    m.InputAwaited,
    m.NodeEntered,
    m.TimeoutRenewed,
    m.OfferDialled,
    m.ReleaseAwaited,
    m.CallerReleased,
    m.LegReleased,
    m.SessionMoved,
)
"""Worth journalling, not worth a line by default."""
_LOUD: tuple[type[m.Event], ...] = (m.CallQuarantined, m.RecordingFailed, m.ConnectFailed, m.MatchingHeld)
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LEFT_OUT = frozenset({"type", "why", "definition"})

log = structlog.get_logger("cordboard")


class Sturdy:
    """A log that cannot be written (its disk is full, its reader gone) is a lost line, not a lost call."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def configure(*, json: bool | None = None, debug: bool = False) -> None:
    """Set up logging to stderr. ``json`` None: JSON unless stderr is a terminal."""
    as_json = not sys.stderr.isatty() if json is None else json
    level = logging.DEBUG if debug else logging.INFO
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        shared += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        shared += [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, Sturdy(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=logging.WARNING, stream=Sturdy(sys.stderr), format="%(levelname)s %(name)s %(message)s"
    )


def log_event(event: m.AnyEvent) -> None:
    """The line of one committed event: what happened, to whom (ids), and why if that is a word."""
    words = _WORDS.sub(" ", type(event).__name__).lower()
    facts = {
        name: _without_number(value) if isinstance(value, Target) else value
        for name, value in msgspec.structs.asdict(event).items()
        if name not in _LEFT_OUT and (isinstance(value, bool) or value not in ("", 0))
    }
    if isinstance(event, _LOUD):
        log.warning(words, **facts)
    elif isinstance(event, _QUIET):
        log.debug(words, **facts)
    else:
        log.info(words, **facts)


def _without_number(target: Target) -> dict[str, object]:
    """Where a queue sends callers on, what is not said left out; of a number outside only the trunk."""
    shown = msgspec.to_builtins(msgspec.structs.replace(target, number="", otherwise=None))
    return {key: value for key, value in shown.items() if value and key not in ("ring_s", "longest_s")}
