"""``cordboard run``, from its words to a running service, without the command line's own library.

That library takes a fifth of the time from a process's start to its first decision, and a restart has none to
lose. What is not plain here (help, a mistake, another command) is read by :mod:`.commands`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

STATE_DIR = Path(__file__).resolve().parents[1] / ".runtime"
STATE_DIR_VARIABLE = "CORDBOARD_STATE_DIR"
UNNEEDED = ("rich", "typing_extensions")
"""Libraries that others import if they are there, to draw tracebacks or to serve older Pythons."""


@dataclass(frozen=True)
class RunOptions:
    """What ``cordboard run --help`` lists."""

    state_dir: Path = STATE_DIR
    definition: Path | None = None
    secrets: Path | None = None
    recordings: Path | None = None
    ari_url: str | None = None
    ami_port: int | None = None
    http: str | None = None
    agi: str | None = None
    json_logs: bool | None = None
    debug: bool = False


_READ: dict[str, Callable[[str], object]] = {
    "state_dir": Path,
    "definition": Path,
    "secrets": Path,
    "recordings": Path,
    "ari_url": str,
    "ami_port": int,
    "http": str,
    "agi": str,
}
_FLAGS = {
    "--json-logs": ("json_logs", True),
    "--no-json-logs": ("json_logs", False),
    "--debug": ("debug", True),
    "--no-debug": ("debug", False),
}


def plain(words: Sequence[str]) -> RunOptions | None:
    """The options of ``run OPTION...``, each at most once; None for anything else, right or wrong."""
    if not words or words[0] != "run":
        return None
    given: dict[str, Any] = {}
    if (state_dir := os.environ.get(STATE_DIR_VARIABLE)) is not None:
        if not state_dir:
            return None
        given["state_dir"] = Path(state_dir)
    rest, seen = iter(words[1:]), set()
    for word in rest:
        name, joined, value = word.partition("=")
        key, flag = name[2:].replace("-", "_"), _FLAGS.get(word)
        if flag is not None:
            key, given[flag[0]] = flag
        elif name.startswith("--") and key in _READ and "_" not in name:
            value = value if joined else next(rest, "")
            if not value or value.startswith("-") or (key == "ami_port" and not _is_number(value)):
                return None
            given[key] = _READ[key](value)
        else:
            return None
        if key in seen:
            return None
        seen.add(key)
    return RunOptions(**given)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def start(options: RunOptions) -> int:
    """Serve calls until SIGTERM or SIGINT; 0. Raises what :class:`ari_app.service.Service` does."""
    gc.disable()  # until the service is wired (it enables it again): what imports make is there to stay
    with _without(*UNNEEDED):
        from ari_app import log, settings
        from ari_app.service import Service

    log.configure(json=options.json_logs, debug=options.debug)
    found = settings.resolve(
        options.state_dir,
        definition=options.definition,
        secrets=options.secrets,
        recordings=options.recordings,
        ari_url=options.ari_url,
        ami_port=options.ami_port,
        http=options.http,
        agi=options.agi,
    )
    service = Service(found)
    asyncio.run(_serve(service.run, service.hang_up_signal))
    return 0


@contextlib.contextmanager
def _without(*packages: str) -> Iterator[None]:
    """Let imports do without what they would only use if it were there."""
    # An entry of None makes ``import`` fail (Python reference, 5.3.1).
    ours = [name for name in packages if sys.modules.setdefault(name, cast(Any, None)) is None]
    try:
        yield
    finally:
        for name in ours:
            del sys.modules[name]


async def _serve(work: Callable[[], object], reload: Callable[[], None]) -> None:
    """Run until SIGTERM or SIGINT, which end it in order. SIGHUP reloads the definition; in a terminal it
    says that the terminal is gone, which ends it, too."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work())  # type: ignore[call-overload]
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    loop.add_signal_handler(signal.SIGHUP, task.cancel if sys.stdin.isatty() else reload)
    with contextlib.suppress(asyncio.CancelledError):  # asked to stop: this is the ordinary end
        await task
