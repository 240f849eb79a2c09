"""What a stereo recording holds: caller left, agent right, judged by the parties' tones."""

from __future__ import annotations

import cmath
import wave
from array import array
from dataclasses import dataclass
from pathlib import Path

RATE_HZ = 8_000
FRAME = 160
LOUD = 1_000.0
"""Amplitude (of 32,768) above which a phone's tone counts as heard."""


@dataclass(frozen=True)
class Recording:
    left: array[int]
    right: array[int]

    @property
    def seconds(self) -> float:
        return len(self.left) / RATE_HZ

    def stretch_s(self, side: str, tone: int) -> tuple[float, float]:
        """When the tone is first and last heard on a side ("left", "right"), within 2.5 ms."""
        hop = FRAME // 8
        heard = [at for at in range(0, len(self.left) - FRAME, hop) if self._level(side, tone, at) > LOUD]
        if not heard:
            raise AssertionError(f"no {tone} Hz on the {side} of {self.seconds:.2f} s")
        return heard[0] / RATE_HZ, (heard[-1] + FRAME) / RATE_HZ

    def hears(self, side: str, tone: int) -> bool:
        """Whether the tone is on that side, if only for a frame."""
        return any(self._level(side, tone, at) > LOUD for at in range(0, len(self.left) - FRAME, FRAME))

    def _level(self, side: str, tone: int, at: int) -> float:
        samples = (self.left if side == "left" else self.right)[at : at + FRAME]
        turn = -2j * cmath.pi * tone / RATE_HZ
        return abs(sum(value * cmath.exp(turn * n) for n, value in enumerate(samples))) * 2 / FRAME


def read(path: Path) -> Recording:
    """A 16-bit stereo file at 8 kHz, else AssertionError."""
    with wave.open(str(path), "rb") as opened:
        shape = (opened.getnchannels(), opened.getsampwidth(), opened.getframerate())
        assert shape == (2, 2, RATE_HZ), shape
        both = array("h", opened.readframes(opened.getnframes()))
    return Recording(both[0::2], both[1::2])
