"""Music on hold without dead air: copies whose silent beginnings and ends are cut off.

Debian's music (asterisk-moh-opsound-wav) ends in up to 7.8 s of silence; callers who hear nothing hang up.
"""

from __future__ import annotations

import array
import math
import os
import sys
import wave
from pathlib import Path

FRAME_MS = 20
# Below this RMS (of 32,767) nothing is heard on a telephone: G.711's own noise is about as loud.
SILENCE_RMS = 60.0


def prepare_music(source: Path, target: Path) -> list[Path]:
    """Fills ``target`` with what ``source`` holds: WAV files trimmed, others as links; returns what is new.

    A file that is there already and newer than its source is left alone. Raises ``OSError``.
    """
    target.mkdir(parents=True, exist_ok=True)
    files = sorted(path for path in source.iterdir() if path.is_file()) if source.is_dir() else []
    for old in target.iterdir():
        if old.name not in {path.name for path in files}:
            old.unlink()
    return [target / path.name for path in files if _prepare(path, target / path.name)]


def _prepare(path: Path, copy: Path) -> bool:
    if copy.is_symlink() and copy.readlink() == path:
        return False
    if copy.exists() and not copy.is_symlink() and copy.stat().st_mtime_ns >= path.stat().st_mtime_ns:
        return False
    copy.unlink(missing_ok=True)
    if not (path.suffix == ".wav" and _trim(path, copy)):
        copy.symlink_to(path)
    return True


def _trim(path: Path, copy: Path) -> bool:
    """Writes the audible part of a 16-bit mono file; False if it is none, or silent throughout."""
    try:
        with wave.open(str(path), "rb") as whole:
            if (whole.getnchannels(), whole.getsampwidth()) != (1, 2):
                return False
            rate = whole.getframerate()
            samples = array.array("h", whole.readframes(whole.getnframes()))
    except wave.Error:
        return False  # a WAV of another coding (GSM, float): Asterisk may know it
    if sys.byteorder == "big":
        samples.byteswap()
    step = rate * FRAME_MS // 1000
    starts = range(0, len(samples) - step, step)
    first = next((at for at in starts if _loud(samples, at, step)), None)
    last = next((at for at in reversed(starts) if _loud(samples, at, step)), None)
    if first is None or last is None:
        return False
    audible = samples[first : last + step]
    if sys.byteorder == "big":
        audible.byteswap()
    coming = copy.with_name(f".{copy.name}.{os.getpid()}")
    with wave.open(str(coming), "wb") as trimmed:
        trimmed.setnchannels(1)
        trimmed.setsampwidth(2)
        trimmed.setframerate(rate)
        trimmed.writeframes(audible.tobytes())
    coming.rename(copy)
    return True


def _loud(samples: array.array[int], at: int, step: int) -> bool:
    return math.sqrt(sum(sample * sample for sample in samples[at : at + step]) / step) >= SILENCE_RMS
