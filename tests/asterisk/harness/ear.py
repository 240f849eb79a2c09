"""What a phone heard: packets from the capture file, judged frame by frame, after the fact.

Each phone speaks a tone of its own, a multiple of 50 Hz. In a frame of 20 ms such a tone is a whole number
of periods, so it keeps its phase from frame to frame, whatever is mixed with it. Music and speech don't:
that is how a tone is told from a note of the same pitch.
"""

import asyncio
import math
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import pairwise
from operator import mul
from pathlib import Path
from time import monotonic_ns
from typing import Final

from . import g711, media

SILENCE_RMS: Final = 60.0
"""Below this root mean square (of 32,768) a frame is silence: comfort noise and codec steps stay under it."""

SHORTEST_SAMPLES: Final = 80
"""In less than 10 ms no tone can be told from another. Asterisk sends such packets, too: the end of a key
(RFC 4733, four bytes) whose beginning came before the bridge goes out under the sound's payload type."""

FRAME_NS: Final = 20_000_000
_RTP: Final = struct.Struct("!BBHII")


@dataclass(frozen=True, slots=True)
class Frame:
    """One received audio packet: when it came (CLOCK_MONOTONIC ns), its RTP head and its payload."""

    at_ns: int
    sequence: int
    timestamp: int
    ssrc: int
    payload_type: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Sound:
    """What one frame holds: its level, known tones, and whether there is anything besides them."""

    at_ns: int
    tones: frozenset[int]
    other: bool

    @property
    def silent(self) -> bool:
        return not self.tones and not self.other

    def __str__(self) -> str:
        parts = [f"{tone} Hz" for tone in sorted(self.tones)] + ["other sound"] * self.other
        return " + ".join(parts) or "silence"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A run of frames that sound alike, ``count`` packets from the first's to the last's arrival."""

    what: str
    since_ns: int
    until_ns: int
    count: int


@dataclass(frozen=True, slots=True)
class KeyPress:
    """A telephone-event (RFC 4733) received or sent."""

    digit: str
    at_ns: int


@cache
def _waves(frequency_hz: int, samples: int) -> tuple[list[float], list[float]]:
    step = 2 * math.pi * frequency_hz / g711.RATE_HZ
    return [math.cos(step * n) for n in range(samples)], [math.sin(step * n) for n in range(samples)]


@lru_cache(maxsize=65536)
def spectrum(
    payload: bytes, payload_type: int, tones: tuple[int, ...]
) -> tuple[float, tuple[tuple[int, complex], ...]]:
    """RMS of a payload, and the complex amplitude of each tone in it that is loud enough to be a phone's.

    Cached by payload, because a phone's tone is the same bytes in every frame.
    """
    samples = g711.decode(payload, payload_type)
    count = len(samples)
    rms = math.sqrt(sum(map(mul, samples, samples)) / count) if count else 0.0
    least = g711.TONE_AMPLITUDE / 2
    if rms < least / 2 or count < SHORTEST_SAMPLES:
        return rms, ()
    found = []
    for tone in tones:
        cosine, sine = _waves(tone, count)
        value = complex(sum(map(mul, samples, cosine)), -sum(map(mul, samples, sine))) * 2 / count
        if abs(value) >= least:
            found.append((tone, value))
    return rms, tuple(found)


def judge(frames: list[Frame], tones: tuple[int, ...]) -> list[Sound]:
    """Sounds of consecutive frames.

    A tone is there when it has a phone's level and either is (nearly) alone in the frame or has the same
    phase in the frame before or after.
    """
    spectra = [spectrum(frame.payload, frame.payload_type, tones) for frame in frames]
    maps = [dict(found) for _, found in spectra]
    sounds = []
    for index, (frame, (rms, found)) in enumerate(zip(frames, spectra, strict=True)):
        near = [maps[at] for at in (index - 1, index + 1) if 0 <= at < len(maps)]
        heard = {}
        for tone, value in found:
            alone = abs(value) ** 2 / 2 >= 0.9 * rms**2 and abs(value) <= 1.3 * g711.TONE_AMPLITUDE
            steady = any(abs(value - other.get(tone, 0)) < 0.25 * abs(value) for other in near)
            if alone or steady:
                heard[tone] = abs(value)
        rest = rms**2 - sum(level**2 / 2 for level in heard.values())
        # A fifth of the power besides the tones is more than codec noise or a cut frame's edge.
        other = rest > max(SILENCE_RMS**2, 0.2 * rms**2 if heard else 0)
        sounds.append(Sound(frame.at_ns, frozenset(heard), other))
    return sounds


def _arrival(sound: Sound) -> int:
    return sound.at_ns


@dataclass
class Ear:
    """What one phone heard in one call. Times are CLOCK_MONOTONIC nanoseconds, gaps are milliseconds.

    ``tones`` are the known tones: those of all phones in the room (the room's own list, which may grow).
    ``since_ns`` and ``until_ns`` bound the packets looked at (None: from the first, to the last).
    """

    name: str
    capture: Path
    tones: Sequence[int]
    event_type: int = 101
    frames: list[Frame] = field(default_factory=list, repr=False)
    pressed: list[KeyPress] = field(default_factory=list)
    """Keys this phone pressed: the time is that of the event's first packet with the end bit."""
    digits: list[KeyPress] = field(default_factory=list)
    """Keys heard from the other side, by the arrival of the event's first packet."""
    speaking_since_ns: int | None = None
    _offset: int = 0
    _events: set[tuple[int, int]] = field(default_factory=set, repr=False)
    _judged: list[Sound] = field(default_factory=list, repr=False)
    _judged_by: tuple[int, ...] = ()

    def listen(self) -> None:
        """Read what has come since the last time (the capture lags by at most 40 ms)."""
        if not self.capture.exists():
            return
        with self.capture.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        at = 0
        head = media.RECORD
        while at + head.size <= len(data):
            kind, at_ns, length = head.unpack_from(data, at)
            if at + head.size + length > len(data):
                break
            self._take(kind, at_ns, data[at + head.size : at + head.size + length])
            at += head.size + length
        self._offset += at

    def _take(self, kind: bytes, at_ns: int, data: bytes) -> None:
        if kind == media.STARTED:
            self.speaking_since_ns = at_ns
        elif kind == media.DIGIT_ENDED:
            self.pressed.append(KeyPress(data.decode(), at_ns))
        elif kind == media.RECEIVED and len(data) > _RTP.size and data[0] >> 6 == 2:
            first, second, sequence, timestamp, ssrc = _RTP.unpack_from(data)
            payload_type, start = second & 0x7F, _RTP.size + 4 * (first & 0x0F)
            payload = data[start:]
            if payload_type in (g711.PCMU, g711.PCMA):
                self.frames.append(Frame(at_ns, sequence, timestamp, ssrc, payload_type, payload))
            elif payload_type == self.event_type and (ssrc, timestamp) not in self._events:
                self._events.add((ssrc, timestamp))
                self.digits.append(KeyPress(media.DIGITS[payload[0]], at_ns))

    def sounds(self, since_ns: int | None = None, until_ns: int | None = None) -> list[Sound]:
        """The sound of each frame that arrived in the interval."""
        self.listen()
        self._judge()
        low = 0 if since_ns is None else bisect_left(self._judged, since_ns, key=_arrival)
        high = None if until_ns is None else bisect_right(self._judged, until_ns, key=_arrival)
        return self._judged[low:high]

    def _judge(self) -> None:
        """Judge the new frames, and again the one before them, which had no next frame until now."""
        if self._judged_by != tuple(self.tones):
            self._judged, self._judged_by = [], tuple(self.tones)
        if len(self._judged) == len(self.frames):
            return
        known = max(0, len(self._judged) - 1)
        context = max(0, known - 1)
        self._judged[known:] = judge(self.frames[context:], self._judged_by)[known - context :]

    def first(self, tone: int, since_ns: int | None = None) -> int | None:
        """When the tone was first heard, or None."""
        return next((sound.at_ns for sound in self.sounds(since_ns) if tone in sound.tones), None)

    def last(self, tone: int, until_ns: int | None = None) -> int | None:
        """When the tone was last heard, or None."""
        heard = [sound.at_ns for sound in self.sounds(None, until_ns) if tone in sound.tones]
        return heard[-1] if heard else None

    def heard(self, tone: int, since_ns: int | None = None, until_ns: int | None = None) -> bool:
        return any(tone in sound.tones for sound in self.sounds(since_ns, until_ns))

    def longest_gap_ms(
        self, tone: int | None = None, since_ns: int | None = None, until_ns: int | None = None
    ) -> float:
        """Longest time without the tone (None: without any sound), the interval's ends counting as sound.

        Unbroken audio has a gap of about one packet, 20 ms: give bounds inside which sound was due. Without
        bounds, it is the gap between the first and the last such sound; infinite if there was none.
        """
        moments = [
            sound.at_ns
            for sound in self.sounds(since_ns, until_ns)
            if (tone in sound.tones if tone is not None else not sound.silent)
        ]
        if since_ns is None and until_ns is None and not moments:
            return math.inf
        if since_ns is not None:
            moments.insert(0, since_ns)
        if until_ns is not None:
            moments.append(until_ns)
        return max((later - earlier for earlier, later in pairwise(moments)), default=0) / 1e6

    def strangers(
        self, allowed: Collection[int], since_ns: int | None = None, until_ns: int | None = None
    ) -> set[int]:
        """Known tones that were heard, even for one packet, and are not allowed."""
        heard: set[int] = set()
        for sound in self.sounds(since_ns, until_ns):
            heard |= sound.tones
        return heard - set(allowed)

    def other_ms(self, since_ns: int | None = None, until_ns: int | None = None) -> float:
        """How long there was music or speech, with or without a tone."""
        return 20.0 * sum(sound.other for sound in self.sounds(since_ns, until_ns))

    def silent_ms(self, since_ns: int, until_ns: int) -> float:
        """How long nothing was heard: silent frames and missing ones."""
        loud = sum(not sound.silent for sound in self.sounds(since_ns, until_ns))
        return max(0.0, (until_ns - since_ns) / 1e6 - 20.0 * loud)

    def lost(self) -> int:
        """Packets missing in the sequence numbers (RFC 3550, A.3), summed over the sources heard."""
        self.listen()
        missing = 0
        for source in {frame.ssrc for frame in self.frames}:
            numbers = [frame.sequence for frame in self.frames if frame.ssrc == source]
            for earlier, later in pairwise(numbers):
                step = (later - earlier) & 0xFFFF
                missing += step - 1 if 1 < step < 0x8000 else 0
        return missing

    async def hears(self, tone: int, within_s: float = 5.0, since_ns: int | None = None) -> int:
        """Wait for the tone; when it was first heard.

        Raises:
            AssertionError: it was not heard in time; the message says what was.
        """
        return await self._hears(f"{tone} Hz", within_s, since_ns, lambda sound: tone in sound.tones)

    async def hears_other(self, within_s: float = 5.0, since_ns: int | None = None) -> int:
        """Wait for music or speech (0.1 s of it); when it began."""
        return await self._hears("music or speech", within_s, since_ns, lambda sound: sound.other, 5)

    async def _hears(
        self,
        what: str,
        within_s: float,
        since_ns: int | None,
        wanted: Callable[[Sound], bool],
        least: int = 1,
    ) -> int:
        limit_ns = monotonic_ns() + round(within_s * 1e9)
        while True:
            found = [sound.at_ns for sound in self.sounds(since_ns) if wanted(sound)]
            if len(found) >= least:
                return found[0]
            if monotonic_ns() > limit_ns:
                raise AssertionError(f"{self.name} did not hear {what} in {within_s} s: {self.story()}")
            await asyncio.sleep(0.03)

    def timeline(self, since_ns: int | None = None, until_ns: int | None = None) -> Iterator[Stretch]:
        """Runs of like frames; a pause of more than 60 ms without packets is a stretch ``no packets``."""
        run: list[Sound] = []
        for sound in self.sounds(since_ns, until_ns):
            pause = bool(run) and sound.at_ns - run[-1].at_ns > 3 * FRAME_NS
            if run and (str(sound) != str(run[0]) or pause):
                yield Stretch(str(run[0]), run[0].at_ns, run[-1].at_ns, len(run))
                if pause:
                    yield Stretch("no packets", run[-1].at_ns, sound.at_ns, 0)
                run = []
            run.append(sound)
        if run:
            yield Stretch(str(run[0]), run[0].at_ns, run[-1].at_ns, len(run))

    def story(self, since_ns: int | None = None, until_ns: int | None = None) -> str:
        """The timeline in one line, for a failed test's message: ``0.00 s other sound 1.20 s, ...``."""
        stretches = list(self.timeline(since_ns, until_ns))
        if not stretches:
            return "heard no packets"
        start = stretches[0].since_ns
        return ", ".join(
            f"at {(stretch.since_ns - start) / 1e9:.2f} s {stretch.what}"
            f" for {(stretch.until_ns - stretch.since_ns + FRAME_NS) / 1e9:.2f} s"
            for stretch in stretches
        )
