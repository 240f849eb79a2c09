"""A FastAGI server for dialplans that exist: they ask before they decide.

Each connection is one short question with limits on everything: its time, its lines, how many at
once. Who closes early, sends nothing, or sends nonsense is forgotten; nobody else notices. (The
FastAGI server of panoramisk 1.4 spins for ever on an early close.)
"""

from __future__ import annotations

import asyncio
import contextlib
import errno

import structlog

from ari_app.agi import requests
from ari_app.agi.requests import LINE_LIMIT_BYTES, LINES_LIMIT, BadRequest, Desk

SESSION_LIMIT_S = 2.0
"""From connection to the last answer. Asterisk itself waits 2 s for the connection (res_agi.c)."""
SESSIONS = 200
AGAIN_S = 5.0
_HANGUP = b"HANGUP\n"

log = structlog.get_logger(__name__)


async def serve(desk: Desk, host: str, port: int) -> None:
    """Answer on ``host``:``port`` until cancelled. A port that is taken is tried again."""
    told = False
    while True:
        try:
            server = await asyncio.start_server(_Sessions(desk).take, host, port, limit=LINE_LIMIT_BYTES)
        except OSError as error:
            if not told:
                reason = errno.errorcode.get(error.errno or 0, str(error))
                log.error("agi cannot listen; trying again", host=host, port=port, error=reason)
            told = True
            await asyncio.sleep(AGAIN_S)
            continue
        async with server:
            log.info("agi listens", host=host, port=port)
            await server.serve_forever()


class _Sessions:
    """Counts who is there: more than ``SESSIONS`` at once are turned away."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._open = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, whatever comes of it."""
        self._open += 1
        try:
            if self._open <= SESSIONS:
                async with asyncio.timeout(SESSION_LIMIT_S):
                    await _session(self._desk, reader, writer)
        except (TimeoutError, OSError, EOFError, BadRequest) as error:
            # The other side was slow, closed early, or is no Asterisk: its own affair.
            log.debug("agi session ended early", reason=type(error).__name__)
        except Exception:
            log.exception("agi session failed")
        finally:
            self._open -= 1
            await _close(writer)


async def _session(desk: Desk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    variables = requests.answer(desk, requests.environment(await _environment(reader)))
    for name, value in variables.items():
        writer.write(requests.set_variable(name, value))
        await writer.drain()
        if not (await _reply(reader)).startswith(b"200"):
            return  # the channel is gone: there is nobody to tell


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
