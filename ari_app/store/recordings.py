"""From two raw tracks to one stereo file: caller left, agent right.

MixMonitor's option D writes 16-bit signed little-endian samples at 8 kHz, two interleaved: what
came from the channel, what went to it. Only the first is used. The tracks are set off against each
other by the instants at which they began (within about 20 ms, one packet).
"""

from __future__ import annotations

import os
import sys
import time
import wave
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

RATE_HZ = 8_000
CHUNK_FRAMES = 32_768
SETTLE_S = 1.1
"""Asterisk writes a running monitor out each second: a file that has not grown for longer is closed."""
SETTLE_LIMIT_S = 10.0
NS = 1_000_000_000


class RecordingLost(Exception):
    """There is nothing to assemble; the text names the files."""


class Assembled(Struct, frozen=True):
    """``file`` is relative to the recordings folder."""

    file: str
    duration_ns: int


def assemble(folder: Path, name: str, tracks: Sequence[tuple[str, int]]) -> Assembled:
    """Write ``name``.wav from the raw tracks (file, instant it began), then remove them.

    Blocking; belongs in a thread. Doing it again after a crash gives the same file: the raw tracks
    go only after the finished file stands under its name.

    Raises:
        RecordingLost: no track has a file, and none was assembled before.
        OSError: the folder cannot be read or written.
    """
    target = folder / f"{name}.wav"
    present = [(folder / file, began_ns) for file, began_ns in tracks]
    if target.exists() and not any(path.exists() for path, _ in present):
        return Assembled(target.name, _duration_ns(target))
    # A monitor makes its file when it first has something to write, which may be after the hang-up.
    _wait_until_written([path for path, _ in present])
    if not any(path.exists() for path, _ in present):
        raise RecordingLost(f"no raw track in {folder}: {', '.join(file for file, _ in tracks)}")
    first_ns = min(began_ns for path, began_ns in present if path.exists())
    draft = target.with_suffix(".part")
    with wave.open(str(draft), "wb") as out:
        out.setnchannels(len(present))
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        _interleave(out, [_Track(path, (began_ns - first_ns) * RATE_HZ // NS) for path, began_ns in present])
    draft.chmod(0o640)
    os.replace(draft, target)
    for path, _ in present:
        path.unlink(missing_ok=True)
    return Assembled(target.name, _duration_ns(target))


class _Track:
    """One participant's samples, preceded by silence so that both tracks start at one instant."""

    def __init__(self, path: Path, lead_frames: int) -> None:
        self._file: BinaryIO | None = path.open("rb") if path.exists() else None
        self._silence = max(0, lead_frames)

    def frames(self, count: int) -> array[int]:
        """The next ``count`` samples or fewer; empty at the end."""
        silent = min(count, self._silence)
        self._silence -= silent
        samples = array("h", bytes(2 * silent))
        if self._file is None or silent == count:
            return samples if self._file is not None else array("h")
        raw = self._file.read(4 * (count - silent))
        both = array("h", raw[: len(raw) // 4 * 4])
        if sys.byteorder == "big":
            both.byteswap()
        samples.extend(both[0::2])
        return samples

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _interleave(out: wave.Wave_write, tracks: list[_Track]) -> None:
    try:
        while True:
            parts = [track.frames(CHUNK_FRAMES) for track in tracks]
            longest = max(len(part) for part in parts)
            if not longest:
                return
            mixed = array("h", bytes(2 * longest * len(parts)))
            for number, part in enumerate(parts):
                part.extend(array("h", bytes(2 * (longest - len(part)))))
                mixed[number :: len(parts)] = part
            if sys.byteorder == "big":
                mixed.byteswap()
            out.writeframesraw(mixed.tobytes())
    finally:
        for track in tracks:
            track.close()


def _wait_until_written(paths: list[Path]) -> None:
    """Asterisk flushes a monitor's last frames a moment after the channel is gone."""
    until = time.monotonic() + SETTLE_LIMIT_S
    before = None
    while time.monotonic() < until:
        sizes = [path.stat().st_size if path.exists() else -1 for path in paths]
        if sizes == before:
            return
        before = sizes
        time.sleep(SETTLE_S)


def _duration_ns(path: Path) -> int:
    with wave.open(str(path), "rb") as written:
        return written.getnframes() * NS // written.getframerate()
