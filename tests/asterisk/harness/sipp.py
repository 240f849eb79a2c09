"""SIPp for scripted calls and load: scenarios driven by one line a call, and a record of every call.

The RTP of a scripted call is either a :class:`~.voice.Voice` of the harness, which is heard and judged like
a phone's and presses keys by its own script, or SIPp's own, for load: then SIPp sends the keys itself
(``play_dtmf``, RFC 4733), which needs the right to open raw sockets.
"""

import asyncio
import csv
import os
import shutil
import signal
import socket
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from .programs import sipp_command
from .voice import Voice

SCENARIOS: Final = Path(__file__).parents[1] / "scenarios"

FOREVER_MS: Final = 3_600_000
"""A talk time that leaves hanging up to the other side."""


class SippError(Exception):
    """SIPp did not start, did not end or saw what its scenario does not allow; the text quotes it."""


@dataclass(frozen=True, slots=True)
class CallerScript:
    """What one caller does. Keys are pressed ``press_after_ms`` after the answer.

    With a voice, the keys are the voice's script. SIPp's own keys (``play_dtmf``) come 0.8 s late.
    """

    number: str
    caller: str
    keys: str = ""
    press_after_ms: int = 500
    stay_ms: int = FOREVER_MS
    voice: Voice | None = None

    def fields(self) -> list[str]:
        return [
            self.number,
            self.caller,
            self.keys,
            str(self.press_after_ms),
            str(self.stay_ms),
            str(self.voice.port if self.voice else 0),
        ]


@dataclass(frozen=True, slots=True)
class AgentScript:
    """What an agent's phone does with one call: ring, then 200, 486, 603 or 0 (never); talk; hang up."""

    ring_ms: int = 200
    code: int = 200
    talk_ms: int = FOREVER_MS
    voice: Voice | None = None

    def fields(self) -> list[str]:
        port = self.voice.port if self.voice else 0
        return [str(value) for value in (self.ring_ms, self.code, self.talk_ms, port)]


@dataclass(slots=True)
class SippCall:
    """One call as SIPp saw it: each event's time (UNIX seconds, wall clock), and the party.

    Events of a caller: dialled, answered, pressed, and at the end hung_up (by this side), released (by the
    other) or refused. Of an agent: offered, answered, and hung_up, released, refused or cancelled.
    """

    call_id: str
    party: str = ""
    """A caller's number; the user of an agent's phone."""
    events: dict[str, float] = field(default_factory=dict)

    def seconds(self, earlier: str, later: str) -> float:
        return self.events[later] - self.events[earlier]


@dataclass(frozen=True, slots=True)
class SippRecord:
    """What a SIPp process did, by its own statistics file, and every call by its log."""

    created: int
    successful: int
    failed: int
    retransmissions: int
    calls: list[SippCall]

    def count(self, event: str) -> int:
        return sum(event in call.events for call in self.calls)

    def overlapping(self) -> list[tuple[SippCall, SippCall]]:
        """Pairs of calls that one agent's phone had at the same time: nobody should be offered two."""
        pairs = []
        for one in self.calls:
            for other in self.calls:
                if one.call_id < other.call_id and one.party == other.party:
                    start = max(min(one.events.values()), min(other.events.values()))
                    if start < min(max(one.events.values()), max(other.events.values())):
                        pairs.append((one, other))
        return pairs


class Sipp:
    """One SIPp process. ``async with Sipp.agents(...) as phones:`` or ``await Sipp.callers(...).done()``."""

    def __init__(
        self,
        scenario: Path,
        rows: Sequence[Sequence[str]],
        *,
        remote: tuple[str, int],
        own_media: bool,
        calls_a_second: float = 10.0,
        credentials: tuple[str, str] | None = None,
        port: int | None = None,
        outgoing: bool,
        host: str,
        media_host: str = "127.0.0.1",
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sipp-"))
        """Scenario, statistics and logs: gone with this object."""
        weakref.finalize(self, shutil.rmtree, self.folder, True)
        self.port = port or _free_port(host)
        self.host = host
        self._process: asyncio.subprocess.Process | None = None
        self._total = len(rows)
        text = scenario.read_text()
        media_field = "[field5]" if outgoing else "[field3]"
        text = text.replace("MEDIA_PORT", "[media_port]" if own_media else media_field)
        # SIPp's play_dtmf sends payload type 96, whatever the session description says.
        text = text.replace("EVENT_TYPE", "96" if own_media else "101")
        text = text.replace("<!-- PLAY_KEYS -->", '<exec play_dtmf="[field2]"/>' if own_media else "")
        (self.folder / "scenario.xml").write_text(text)
        lines = ["SEQUENTIAL", *(";".join(row) for row in rows)]
        (self.folder / "calls.csv").write_text("\n".join(lines) + "\n")
        options = [
            "-sf",
            "scenario.xml",
            "-inf",
            "calls.csv",
            "-i",
            host,
            "-mi",
            media_host,
            "-p",
            str(self.port),
        ]
        options += ["-min_rtp_port", str(_free_port(host) & ~1), "-nostdin", "-aa", "-timer_resol", "1"]
        options += ["-trace_stat", "-stf", "stat.csv", "-fd", "1", "-trace_logs", "-log_file", "calls.log"]
        options += ["-trace_err", "-error_file", "errors.log", "-cid_str", "%u-%r@%s"]
        if outgoing:
            options += ["-m", str(self._total), "-r", str(max(1, round(calls_a_second * 10))), "-rp", "10s"]
            options += ["-l", str(self._total)]
        if credentials is not None:
            options += ["-au", credentials[0], "-ap", credentials[1]]
        self._command = [*sipp_command(), *options, f"{remote[0]}:{remote[1]}"]

    @classmethod
    def callers(
        cls,
        scripts: Sequence[CallerScript],
        remote: tuple[str, int],
        *,
        calls_a_second: float = 10.0,
        credentials: tuple[str, str] | None = None,
        host: str = "127.0.0.1",
        port: int | None = None,
    ) -> Self:
        """A process that makes one call for each script, in order. With voices in all scripts, or none.

        ``host`` is where the calls come from: a trunk is told by its address.
        """
        return cls(
            SCENARIOS / "caller.xml",
            [script.fields() for script in scripts],
            remote=remote,
            own_media=scripts[0].voice is None,
            calls_a_second=calls_a_second,
            credentials=credentials,
            host=host,
            port=port,
            outgoing=True,
        )

    @classmethod
    def agents(
        cls,
        scripts: Sequence[AgentScript],
        remote: tuple[str, int],
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
    ) -> Self:
        """Phones of any number of agents (contact ``sip:AGENT@host:port``), taking the scripts in turn.

        They register nowhere: give Asterisk static contacts. The scripts start over when they are used up.
        """
        return cls(
            SCENARIOS / "agent.xml",
            [script.fields() for script in scripts],
            remote=remote,
            own_media=scripts[0].voice is None,
            host=host,
            port=port,
            outgoing=False,
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """
        Raises:
            SippError: it ended at once; the text is what it said.
        """
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "TERM": "dumb"},
        )
        await asyncio.sleep(0.2)
        if self._process.returncode not in (None, 0):
            raise SippError(await self._complaint())

    async def done(self, within_s: float = 60.0) -> SippRecord:
        """Wait until all calls have ended (starting first if need be); their record.

        Raises:
            SippError: it takes longer, or SIPp could not run. Failed calls are in the record.
        """
        if self._process is None:
            await self.start()
        assert self._process is not None
        try:
            async with asyncio.timeout(within_s):
                code = await self._process.wait()
        except TimeoutError:
            await self.stop()
            raise SippError(f"SIPp's calls did not end in {within_s} s: {self.errors()[:500]}") from None
        if code not in (0, 1):  # 1: at least one call failed
            raise SippError(await self._complaint())
        return self.record()

    async def stop(self) -> SippRecord:
        """End it: at once, when calls linger. Its record."""
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGUSR1)  # no more calls; ends with the last one
            try:
                async with asyncio.timeout(2):
                    await process.wait()
            except TimeoutError:
                process.terminate()
                await process.wait()
        return self.record()

    def errors(self) -> str:
        """What SIPp met that its scenario does not allow."""
        path = self.folder / "errors.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def record(self) -> SippRecord:
        """The record so far (statistics lag by up to a second while it runs)."""
        last: dict[str, str] = {}
        path = self.folder / "stat.csv"
        if path.exists():
            with path.open(newline="") as file:
                last = ([{}, *csv.DictReader(file, delimiter=";")])[-1]
        return SippRecord(
            created=int(last.get("TotalCallCreated", 0)),
            successful=int(last.get("SuccessfulCall(C)", 0)),
            failed=int(last.get("FailedCall(C)", 0)),
            retransmissions=int(last.get("Retransmissions(C)", 0)),
            calls=self._calls(),
        )

    def _calls(self) -> list[SippCall]:
        path = self.folder / "calls.log"
        calls: dict[str, SippCall] = {}
        if path.exists():
            for line in path.read_text(errors="replace").splitlines():
                call_id, event, at, party = line.split(";", 3)
                call = calls.setdefault(call_id, SippCall(call_id))
                call.events.setdefault(event, _wall_clock(at))
                call.party = call.party or party
        return list(calls.values())

    async def _complaint(self) -> str:
        assert self._process is not None
        assert self._process.stderr is not None
        said = (await self._process.stderr.read()).decode(errors="replace").strip()
        return f"SIPp ended with {self._process.returncode}: {said[-800:]} {self.errors()[-800:]}"


def _wall_clock(text: str) -> float:
    """SIPp's ``[timestamp]``: date, time and UNIX seconds, divided by tabs."""
    last = text.rsplit("\t", maxsplit=1)[-1]
    try:
        return float(last)
    except ValueError:
        return datetime.fromisoformat(text.strip()).timestamp()


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
