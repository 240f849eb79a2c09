"""Uvicorn as a guest in the engine's loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Generator

import structlog
import uvicorn
from litestar import Litestar

SHUTDOWN_LIMIT_S = 1

log = structlog.get_logger(__name__)


def _nothing() -> None:
    """Most answers are short."""


class QuietServer(uvicorn.Server):
    """Uvicorn as a guest in a loop that belongs to somebody else: signals stay with the owner."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class _ToStructlog(logging.Handler):
    """Uvicorn's warnings as lines of our own log; its chatter is dropped."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("control server", said=record.getMessage(), exc_info=record.exc_info)


def server(app: Litestar, connections: int) -> QuietServer:
    """The server, ready to run. Takes some hundredths of a second: not for the event loop."""
    said = logging.getLogger("uvicorn")
    said.handlers, said.propagate = [_ToStructlog(logging.WARNING)], False
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        loop="none",
        server_header=False,
        limit_concurrency=connections,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=SHUTDOWN_LIMIT_S,
    )
    config.load()
    return QuietServer(config)


async def run(
    app: Callable[[], Litestar], sock: socket.socket, connections: int, ending: Callable[[], None] = _nothing
) -> None:
    """Serve what ``app`` builds on ``sock`` until cancelled; open requests then get ``SHUTDOWN_LIMIT_S``.

    ``ending`` is called first then: long answers should come to their end.
    """
    serving = await asyncio.to_thread(lambda: server(app(), connections))
    async with asyncio.TaskGroup() as owner:
        task = owner.create_task(serving.serve(sockets=[sock]))
        try:
            await asyncio.shield(task)
        finally:
            ending()
            serving.should_exit = True
            await asyncio.wait([task], timeout=SHUTDOWN_LIMIT_S + 1)
