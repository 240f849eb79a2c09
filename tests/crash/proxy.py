"""A TCP proxy between Cordboard and Asterisk (or PostgreSQL): its connections can be cut, frozen or slow."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class Proxy:
    """``async with Proxy(port) as wire:`` forwards to 127.0.0.1:port. ``cut`` ends every connection."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.opened = 0
        self.refuses = False
        self.delay_s = 0.0
        """How long each piece takes, in either direction."""
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def ari_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/ari"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.thaw()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Break the TCP connections (RST), as a firewall or a restarting network does."""
        for writer in list(self._writers):
            writer.transport.abort()

    def freeze(self) -> None:
        """Keep the connections open and pass nothing on: what a dead peer looks like."""
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.transport.abort()
            return
        self.opened += 1
        try:
            there, away = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()  # Asterisk is away: so is this
            return
        self._writers |= {writer, away}
        try:
            await asyncio.gather(self._pass(reader, away), self._pass(there, writer))
        finally:
            self._writers -= {writer, away}

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):  # cut: the other direction ends, too
            while data := await source.read(65_536):
                await asyncio.sleep(self.delay_s)
                await self._flows.wait()
                target.write(data)
                await target.drain()
        target.transport.abort()
