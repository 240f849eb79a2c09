"""What systemd is told: that the service is ready, what it does, that its loop still turns (sd_notify(3))."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

BEATS_A_LIMIT = 3
"""How often the watchdog is fed within its limit: two beats may be late."""


def notify(*lines: str) -> bool:
    """Send assignments such as ``READY=1``; False when no supervisor listens (``NOTIFY_SOCKET`` unset).

    Raises OSError if the supervisor's socket cannot be reached.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    # A leading @ stands for the NUL byte of Linux's abstract socket names.
    path = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.connect(path)
        sender.sendall("\n".join(lines).encode())
    return True


def watchdog_s() -> float:
    """Seconds after which a silent process is killed; 0 when no watchdog is set for this one."""
    meant_for = os.environ.get("WATCHDOG_PID", "")
    if meant_for and meant_for != str(os.getpid()):
        return 0.0
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdecimal() else 0.0


async def beat(status: Callable[[], str]) -> None:
    """Say READY, then feed the watchdog until cancelled.

    It runs in the loop that steps the calls: when that loop hangs, nothing is said any more, and the
    supervisor ends the process and starts it again.
    """
    if not notify("READY=1", f"STATUS={status()}"):
        return
    limit_s = watchdog_s()
    pause_s = limit_s / BEATS_A_LIMIT if limit_s else 10.0
    while True:
        await asyncio.sleep(pause_s)
        notify("WATCHDOG=1", f"STATUS={status()}")
