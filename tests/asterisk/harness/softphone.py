"""baresip as a phone for tests: a real client with TLS, SRTP and DTLS-SRTP, made by others than us.

It registers, answers by itself (or dials a number at once), speaks a tone and keeps what it heard as a WAV
file, which is whole once the call is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import struct
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .programs import baresip_command, baresip_modules

RATE_HZ: Final = 8_000
AMPLITUDE: Final = 8_000
# In this order: an account names codecs and ciphers that must be known by then.
MODULES: Final = ("aufile", "g711", "srtp", "dtls_srtp", "stdio", "account")


@dataclass(frozen=True)
class Line:
    """What is typed into the phone: ``server`` is host:port, ``mediaenc`` baresip's word ("" for none)."""

    user: str
    password: str
    server: str
    transport: str
    mediaenc: str
    authority: Path | None = None

    def account(self) -> str:
        options = [f"auth_user={self.user}", f"auth_pass={self.password}", "answermode=auto", "regint=120"]
        options += ["audio_codecs=PCMU"] + ([f"mediaenc={self.mediaenc}"] if self.mediaenc else [])
        return f"<sip:{self.user}@{self.server};transport={self.transport}>;" + ";".join(options)


class Softphone:
    """``async with Softphone(folder, line, tone=1000) as phone: await phone.says("200 OK")``."""

    def __init__(self, folder: Path, line: Line, tone: int, dials: str = "") -> None:
        self.folder, self.line, self.tone, self.dials = folder, line, tone, dials
        self._process: asyncio.subprocess.Process | None = None
        self._output = ""
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Softphone:
        self._configure()
        words = [*baresip_command(), "-f", str(self.folder), "-v"]
        if self.dials:
            uri = f"sip:{self.dials}@{self.line.server};transport={self.line.transport}"
            words += ["-e", f"d {uri}"]
        # Its console is its standard input, which must be one that can be waited for: a pipe.
        self._process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "HOME": str(self.folder)},
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._process is not None
        assert self._reader is not None
        if self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(3):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        await self._reader
        if kind is not None:
            print(self._output)  # pytest shows it with the failure
        if self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # it is gone: that is the point
                await self._process.stdin.wait_closed()

    async def press(self, key: str) -> None:
        """A key of its console: ``b`` hangs up."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(key.encode())
        await self._process.stdin.drain()

    async def says(self, words: str, within_s: float = 8.0) -> None:
        """Wait until its output holds the words."""
        try:
            async with asyncio.timeout(within_s):
                while words not in self._output:  # noqa: ASYNC110  it is another process that speaks
                    await asyncio.sleep(0.03)
        except TimeoutError:
            raise AssertionError(
                f"{self.line.user}'s baresip never said {words!r}:\n{self._output}"
            ) from None

    @property
    def output(self) -> str:
        return self._output

    def heard(self, tone: int) -> float:
        """The tone's share (0 to 1) of the loudest half second that this phone played to its user."""
        with wave.open(str(self.folder / "heard.wav"), "rb") as opened:
            samples = struct.unpack(f"<{opened.getnframes()}h", opened.readframes(opened.getnframes()))
        window = RATE_HZ // 2
        shares = [
            _share(samples[start : start + window], tone)
            for start in range(0, max(1, len(samples) - window), window)
        ]
        return max(shares, default=0.0)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while data := await self._process.stdout.read(4096):
            self._output += data.decode(errors="replace")

    def _configure(self) -> None:
        self.folder.mkdir(parents=True)
        self._write_tone(self.folder / "tone.wav")
        lines = [
            "poll_method epoll",
            "sip_listen 127.0.0.1:0",
            "net_interface 127.0.0.1",
            "audio_source aufile," + str(self.folder / "tone.wav"),
            "audio_player aufile," + str(self.folder / "heard.wav"),
            "audio_alert aufile," + str(self.folder / "alert.wav"),
            f"ausrc_srate {RATE_HZ}",
            f"auplay_srate {RATE_HZ}",
            f"module_path {baresip_modules()}",
            *(f"module {name}.so" for name in MODULES),
            "module_app menu.so",
        ]
        if self.line.authority is not None:
            lines += [f"sip_cafile {self.line.authority}", "sip_verify_server yes"]
        (self.folder / "config").write_text("\n".join(lines) + "\n")
        (self.folder / "accounts").write_text(self.line.account() + "\n")
        (self.folder / "contacts").write_text("")

    def _write_tone(self, path: Path) -> None:
        """A minute of it, in which the tone ends where it began."""
        turn = 2 * math.pi * self.tone / RATE_HZ
        second = struct.pack(f"<{RATE_HZ}h", *(round(AMPLITUDE * math.sin(turn * n)) for n in range(RATE_HZ)))
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE_HZ)
            file.writeframes(second * 60)


def _share(samples: tuple[int, ...], tone: int) -> float:
    """How much of the power is the tone's (Goertzel): 1 for nothing else, 0 for none or for silence."""
    power = sum(value * value for value in samples)
    if power < len(samples) * 100**2:
        return 0.0
    turn = 2 * math.pi * tone / RATE_HZ
    real = sum(value * math.cos(turn * n) for n, value in enumerate(samples))
    imaginary = sum(value * math.sin(turn * n) for n, value in enumerate(samples))
    return float(2 * (real * real + imaginary * imaginary) / (len(samples) * power))
