"""G.711 at 8 kHz (ITU-T G.711, RFC 3551 payload types 0 and 8): decoding tables and tone frames.

Python 3.13 has no audioop any more, and the tests need only decoding and a few constant frames.
"""

import math
from functools import cache
from typing import Final

RATE_HZ: Final = 8000
FRAME_SAMPLES: Final = 160
"""20 ms. A tone at a multiple of 50 Hz fills it with whole periods: every frame is the same bytes."""

PCMU: Final = 0
PCMA: Final = 8

TONE_AMPLITUDE: Final = 8000.0
"""Peak amplitude of a phone's tone, of 32,768: loud against music, yet three may be mixed unclipped."""


def _mu_law(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def _a_law(code: int) -> int:
    code ^= 0x55
    segment = (code & 0x70) >> 4
    magnitude = ((code & 0x0F) << 4) + 8
    if segment:
        magnitude = magnitude + 0x100 << (segment - 1)
    return magnitude if code & 0x80 else -magnitude


_DECODE: Final = {
    PCMU: tuple(_mu_law(code) for code in range(256)),
    PCMA: tuple(_a_law(code) for code in range(256)),
}


def decode(payload: bytes, payload_type: int) -> list[int]:
    """Linear samples (16 bit) of a G.711 payload.

    Raises:
        KeyError: the payload type is neither 0 (PCMU) nor 8 (PCMA).
    """
    table = _DECODE[payload_type]
    return [table[code] for code in payload]


@cache
def _encode_table(payload_type: int) -> bytes:
    """Nearest code for each linear value in steps of 4 from -32,768: fine for tones."""
    codes = sorted(range(256), key=lambda code: _DECODE[payload_type][code])
    values = [_DECODE[payload_type][code] for code in codes]
    table = bytearray()
    at = 0
    for linear in range(-32768, 32768, 4):
        while at + 1 < 256 and abs(values[at + 1] - linear) <= abs(values[at] - linear):
            at += 1
        table.append(codes[at])
    return bytes(table)


def encode(samples: list[int], payload_type: int) -> bytes:
    """G.711 payload of linear 16 bit samples, clipped where they are out of range."""
    table = _encode_table(payload_type)
    return bytes(table[(max(-32768, min(32767, sample)) + 32768) >> 2] for sample in samples)


def tone_frame(frequency_hz: int | None, payload_type: int) -> bytes:
    """One 20 ms payload that, repeated, is a continuous tone; silence for ``None``.

    Raises:
        ValueError: the frequency is not a multiple of 50 Hz below 4 kHz.
    """
    if frequency_hz is None:
        return encode([0] * FRAME_SAMPLES, payload_type)
    if frequency_hz % 50 or not 0 < frequency_hz < RATE_HZ // 2:
        raise ValueError(f"a tone of {frequency_hz} Hz: give a multiple of 50 Hz below 4,000 Hz")
    step = 2 * math.pi * frequency_hz / RATE_HZ
    # An odd phase keeps samples off the exact zeros, where mu-law has two codes that transcoding merges.
    samples = [round(TONE_AMPLITUDE * math.sin(step * n + 0.1)) for n in range(FRAME_SAMPLES)]
    return encode(samples, payload_type)
