"""The test's side of the media process: one :class:`Voice` for each phone in each call."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic_ns
from typing import Any

from . import g711, media
from .ear import Ear


class MediaError(Exception):
    """The media process died or did not answer."""


class MediaProcess:
    """Starts, asks and ends the media process. Captures are files in ``folder``."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.folder, self.host = folder, host
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._opened = 0

    async def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            str(Path(media.__file__)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 26,
        )

    async def stop(self) -> None:
        """End the process by ending its input."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        try:
            async with asyncio.timeout(3):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        self._process = None

    async def ask(self, **command: Any) -> dict[str, Any]:
        """One command and its answer.

        Raises:
            MediaError: the process has died or does not answer in five seconds.
        """
        async with self._lock:
            process = self._process
            if process is None or process.stdin is None or process.stdout is None:
                raise MediaError("the media process is not running")
            process.stdin.write(json.dumps(command).encode() + b"\n")
            async with asyncio.timeout(5):
                line = await process.stdout.readline()
        if not line:
            raise MediaError(f"the media process died at {command['do']}; its traceback is on standard error")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def open(
        self,
        name: str,
        tone: int | None,
        tones: Sequence[int],
        *,
        sequence: int | None = None,
        script: Sequence[tuple[float, str]] = (),
    ) -> "Voice":
        """A socket that listens at once, and speaks ``tone`` (None: silence) once it is started.

        ``sequence`` is the first RTP sequence number (random without it). ``script`` presses keys so many
        seconds after the first packet sent: for calls whose signalling SIPp does. A voice that was never
        started starts by itself, towards the source of the first packet it hears.
        """
        self._opened += 1
        capture = self.folder / f"{self._opened:05d}-{name}.rtp"
        command: dict[str, Any] = {"host": self.host, "capture": str(capture), "script": list(script)}
        if sequence is not None:
            command["sequence"] = sequence
        command["frame"] = g711.tone_frame(tone, g711.PCMU).hex()
        answer = await self.ask(do="open", **command)
        return Voice(self, answer["stream"], answer["port"], tone, Ear(name, capture, tones))


class Voice:
    """Mouth and ear of one phone in one call."""

    def __init__(self, process: MediaProcess, stream: int, port: int, tone: int | None, ear: Ear) -> None:
        self._process, self._stream = process, stream
        self.port, self.tone, self.ear = port, tone, ear
        self._codec = g711.PCMU
        self._muted = self._closed = False
        self._lateness_ns: list[int] = []

    async def start(self, host: str, port: int, payload_type: int, event_type: int) -> None:
        """Speak to this address from now on, with these payload types."""
        self._codec, self.ear.event_type = payload_type, event_type
        types = {"payload_type": payload_type, "event_type": event_type, "frame": self._frame()}
        await self._ask(do="speak", **types)
        await self._ask(do="start", host=host, port=port)

    async def say(self, tone: int | None) -> None:
        """Another tone, or silence."""
        self.tone, self._muted = tone, False
        await self._ask(do="speak", frame=self._frame())

    async def mute(self) -> None:
        """Send nothing at all, as a phone that lost its network."""
        self._muted = True
        await self._ask(do="speak", frame=None)

    def _frame(self) -> str | None:
        return None if self._muted else g711.tone_frame(self.tone, self._codec).hex()

    async def press(self, digits: str, tone_ms: int = 100, gap_ms: int = 80) -> int:
        """Press keys (RFC 4733); when the last one's end was sent (monotonic ns).

        Raises:
            MediaError: the digits were not sent in time, because the call has no media (yet).
        """
        before = len(self.ear.pressed)
        frames = {"tone_frames": max(1, tone_ms // 20), "gap_frames": max(1, gap_ms // 20)}
        await self._ask(do="press", digits=digits, **frames)
        limit_ns = monotonic_ns() + len(digits) * (tone_ms + gap_ms + 40) * 1_000_000 + 2_000_000_000
        while len(self.ear.pressed) < before + len(digits):
            if monotonic_ns() > limit_ns:
                raise MediaError(f"{self.ear.name} could not press its keys: no RTP is being sent")
            await asyncio.sleep(0.01)
            self.ear.listen()
        return self.ear.pressed[-1].at_ns

    async def pacing_ms(self) -> list[float]:
        """How late each packet was sent, in milliseconds after its 20 ms deadline."""
        if not self._closed:
            self._lateness_ns = (await self._ask(do="pacing"))["lateness_ns"]
        return [late_ns / 1e6 for late_ns in self._lateness_ns]

    async def flush(self) -> None:
        """Make the ear complete up to now."""
        if not self._closed:
            await self._ask(do="flush")
        self.ear.listen()

    async def close(self) -> None:
        """Close the socket; the ear keeps what it heard."""
        if not self._closed:
            self._closed = True
            answer = await self._process.ask(do="close", stream=self._stream)
            self._lateness_ns = answer["lateness_ns"]
        self.ear.listen()

    async def _ask(self, **command: Any) -> dict[str, Any]:
        if self._closed:
            raise MediaError(f"{self.ear.name}: the call is over, its audio closed")
        return await self._process.ask(stream=self._stream, **command)
