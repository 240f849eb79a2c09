"""Whether a running Cordboard still answers on its control socket: the watchdog of ``up``.

It asks ``/healthz``, which the loop that steps the calls answers: a process that hangs does not.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

EVERY_SECONDS = 2.0
ANSWER_SECONDS = 1.0
SILENT_SECONDS = 10.0
# A new process folds its journal and imports its web framework before it listens.
FIRST_ANSWER_SECONDS = 60.0
_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Pulse:
    """Asks now and then; ``silent_seconds`` is cheap enough for a loop that turns twice a second."""

    def __init__(
        self,
        path: Path,
        *,
        silent_seconds: float = SILENT_SECONDS,
        first_answer_seconds: float = FIRST_ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._silent_seconds = silent_seconds
        self._first_answer_seconds = first_answer_seconds
        self._clock = clock
        self._pid = 0
        self._answered = False
        self._since = 0.0
        self._asked = float("-inf")

    def silent_seconds(self, pid: int) -> float | None:
        """How long process ``pid`` has been silent if that is too long, else None. A new pid starts anew."""
        now = self._clock()
        if pid != self._pid:
            self._pid, self._answered, self._since = pid, False, now
        elif now - self._asked >= EVERY_SECONDS:
            self._asked = now
            if answers(self._path):
                self._answered, self._since = True, self._clock()
        silent = self._clock() - self._since
        limit = self._silent_seconds if self._answered else self._first_answer_seconds
        return silent if silent > limit else None


def answers(path: Path) -> bool:
    """Whether somebody speaks HTTP at the unix socket within ``ANSWER_SECONDS``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(ANSWER_SECONDS)
        try:
            asking.connect(str(path))
            asking.sendall(_REQUEST)
            return asking.recv(12).startswith(b"HTTP/1.1 200")
        except OSError:
            return False  # not there, refused, or too slow: each is silence
