"""Our FastAGI server in a thread of its own, in front of a desk that knows one queue and one agent."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ari_app.agi import server as agi
from tests.agi.test_server import Desk


class Serving:
    def __init__(self, port: int) -> None:
        self.desk = Desk()
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._task: asyncio.Task[None] | None = None

    def _run(self) -> None:
        self._task = self._loop.create_task(agi.serve(self.desk, "127.0.0.1", self._port))
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            self._loop.run_until_complete(asyncio.sleep(0.05))
        finally:
            self._loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        end = time.monotonic() + 5
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port)).close()
            except ConnectionRefusedError:
                assert time.monotonic() < end
                time.sleep(0.02)
            else:
                return self

    def stall(self) -> Callable[[], None]:
        """The loop stands still, the port listens on; the answer lets it go on."""
        going_on = threading.Event()
        self._loop.call_soon_threadsafe(going_on.wait, 30)
        return going_on.set

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(5)
