"""A FastAGI server for dialplans that exist: they ask before they decide.

Each connection is one short question with limits on everything: its time, its lines, how many at
once. Who closes early, sends nothing, or sends nonsense is forgotten; nobody else notices. (The
FastAGI server of panoramisk 1.4 spins for ever on an early close.)
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading

import structlog

from ari_app.agi import requests
from ari_app.agi.requests import LINE_LIMIT_BYTES, LINES_LIMIT, BadRequest, Desk

SESSION_LIMIT_S = 2.0
"""From connection to the last answer. Asterisk itself waits 2 s for the connection (res_agi.c)."""
SESSIONS = 200
ENGINE_LIMIT_S = 1.0
AGAIN_S = 5.0
_HANGUP = b"HANGUP\n"

log = structlog.get_logger(__name__)


async def serve(desk: Desk, host: str, port: int) -> None:
    """Answer on ``host``:``port`` until cancelled. A port that is taken is tried again.

    The server has a thread and an event loop of its own: Asterisk waits for an answer for ever, so a
    dialplan must get one (that there is none) even while the engine's loop stands still.
    """
    engine = asyncio.get_running_loop()
    started: asyncio.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = engine.create_future()

    async def apart() -> None:
        stop = asyncio.Event()
        engine.call_soon_threadsafe(started.set_result, (asyncio.get_running_loop(), stop))
        await _listen(_Sessions(desk, engine), host, port, stop)

    thread = threading.Thread(target=asyncio.run, args=(apart(),), name="agi", daemon=True)
    thread.start()
    own, stop = await started
    try:
        await asyncio.Event().wait()
    finally:
        own.call_soon_threadsafe(stop.set)
        await asyncio.to_thread(thread.join, SESSION_LIMIT_S)


async def _listen(sessions: _Sessions, host: str, port: int, stop: asyncio.Event) -> None:
    told = False
    while not stop.is_set():
        try:
            server = await asyncio.start_server(sessions.take, host, port, limit=LINE_LIMIT_BYTES)
        except OSError as error:
            if not told:
                reason = errno.errorcode.get(error.errno or 0, str(error))
                log.error("agi cannot listen; trying again", host=host, port=port, error=reason)
            told = True
            with contextlib.suppress(TimeoutError):  # nobody stopped us: try again
                async with asyncio.timeout(AGAIN_S):
                    await stop.wait()
            continue
        log.info("agi listens", host=host, port=port)
        await stop.wait()
        server.close()


class _Sessions:
    """Counts who is there: more than ``SESSIONS`` at once are turned away."""

    def __init__(self, desk: Desk, engine: asyncio.AbstractEventLoop) -> None:
        self._desk = desk
        self._engine = engine
        self._open = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, whatever comes of it."""
        self._open += 1
        try:
            if self._open <= SESSIONS:
                async with asyncio.timeout(SESSION_LIMIT_S):
                    await self._session(reader, writer)
        except (TimeoutError, OSError, EOFError, BadRequest) as error:
            # The other side was slow, closed early, or is no Asterisk: its own affair.
            log.debug("agi session ended early", reason=type(error).__name__)
        except Exception:
            log.exception("agi session failed")
        finally:
            self._open -= 1
            await _close(writer)

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        env = requests.environment(await _environment(reader))
        for name, value in (await self._answer(env)).items():
            writer.write(requests.set_variable(name, value))
            await writer.drain()
            if not (await _reply(reader)).startswith(b"200"):
                return  # the channel is gone: there is nobody to tell

    async def _answer(self, env: dict[str, str]) -> requests.Variables:
        """The engine's loop alone may look at the floor."""

        async def there() -> requests.Variables:
            return requests.answer(self._desk, env)

        asked = asyncio.run_coroutine_threadsafe(there(), self._engine)
        try:
            async with asyncio.timeout(ENGINE_LIMIT_S):
                return await asyncio.wrap_future(asked)
        except TimeoutError:
            return {"CORDBOARD_STATUS": requests.ERROR, "CORDBOARD_ERROR": "Cordboard is busy"}


async def _environment(reader: asyncio.StreamReader) -> list[bytes]:
    lines: list[bytes] = []
    for _ in range(LINES_LIMIT):
        line = await _line(reader)
        if line == b"\n":
            return lines
        lines.append(line)
    raise BadRequest("no end to the AGI environment")


async def _reply(reader: asyncio.StreamReader) -> bytes:
    line = await _line(reader)
    # "HANGUP" comes unasked when the caller hangs up; the answer follows all the same.
    return await _line(reader) if line == _HANGUP else line


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as error:
        raise BadRequest(f"a line of over {LINE_LIMIT_BYTES} bytes") from error
    return line.rstrip(b"\r\n") + b"\n"


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    # The other side may be gone, or never read: then there is nothing to wait for.
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(SESSION_LIMIT_S):
            await writer.wait_closed()
    writer.transport.abort()
