"""Small measurements beside a load: whether SIP is answered, and how much memory Cordboard takes."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

EVERY_S = 0.05
LOST_S = 2.0
"""SIP over UDP would ask again after 0.5 s; an answer later than this is none."""


@dataclass
class Options(asyncio.DatagramProtocol):
    """OPTIONS (RFC 3261, 11) to Asterisk, one every ``EVERY_S``, from a trunk's address."""

    target: tuple[str, int]
    sent_at: dict[str, float] = field(default_factory=dict)
    took_ms: list[float] = field(default_factory=list)
    transport: asyncio.DatagramTransport | None = None

    @property
    def lost(self) -> int:
        """Those without an answer in time."""
        return sum(time.monotonic() - at > LOST_S for at in self.sent_at.values())

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for line in data.split(b"\r\n"):
            if line.lower().startswith(b"call-id:"):
                at = self.sent_at.pop(line[8:].strip().decode(), None)
                if at is not None:
                    self.took_ms.append((time.monotonic() - at) * 1e3)

    def ask(self, number: int) -> None:
        assert self.transport is not None
        host, port = self.transport.get_extra_info("sockname")
        call = f"probe-{number}@{host}"
        lines = (
            f"OPTIONS sip:100@{self.target[0]}:{self.target[1]} SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bKprobe{number};rport",
            f"From: <sip:probe@{host}>;tag=p{number}",
            f"To: <sip:100@{self.target[0]}>",
            f"Call-ID: {call}",
            "CSeq: 1 OPTIONS",
            f"Contact: <sip:probe@{host}:{port}>",
            "Max-Forwards: 70",
            "Content-Length: 0",
        )
        self.sent_at[call] = time.monotonic()
        self.transport.sendto("\r\n".join((*lines, "", "")).encode(), self.target)


@asynccontextmanager
async def asking(target: tuple[str, int], host: str = "127.0.0.2") -> AsyncIterator[Options]:
    """Ask while the block runs."""
    loop = asyncio.get_running_loop()
    transport, options = await loop.create_datagram_endpoint(lambda: Options(target), local_addr=(host, 0))

    async def ask() -> None:
        for number in itertools.count():
            options.ask(number)
            await asyncio.sleep(EVERY_S)

    task = asyncio.create_task(ask())
    try:
        yield options
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        transport.close()


def resident_mb(pids: list[int]) -> float:
    """Memory of these processes together; 0 for those that are gone."""
    total_kb = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total_kb += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return total_kb / 1024
