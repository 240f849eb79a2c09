"""Time inside Cordboard: UTC nanoseconds that never go back, whatever the wall clock does.

Anchored to the time since boot (``CLOCK_BOOTTIME``, which counts suspension too). The anchor is
journalled with the kernel's boot id, so a restarted process goes on with the same time, and every
deadline stays exact.
"""

from __future__ import annotations

import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """The kernel's id of this boot; "" where it is not told."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""  # then every start anchors anew, to the wall clock


class Clock:
    """Instants in ns UTC. ``offset_ns`` + time since boot = now."""

    def __init__(self, offset_ns: int, floor_ns: int = 0) -> None:
        self.offset_ns = offset_ns
        self._last_ns = floor_ns

    @classmethod
    def resume(cls, journalled_boot: str, journalled_offset_ns: int, last_ns: int) -> Clock:
        """Go on with the journalled anchor in the same boot; else anchor to the wall clock.

        A wall clock behind the last journalled instant is not believed: time goes on from there.
        """
        if journalled_boot and journalled_boot == boot_id():
            return cls(journalled_offset_ns, last_ns)
        since_boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return cls(max(time.time_ns(), last_ns) - since_boot_ns, last_ns)

    def now_ns(self) -> int:
        """The present instant; never less than an earlier answer."""
        self._last_ns = max(self._last_ns, time.clock_gettime_ns(time.CLOCK_BOOTTIME) + self.offset_ns)
        return self._last_ns
