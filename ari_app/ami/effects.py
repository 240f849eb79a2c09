"""What goes through AMI because ARI falls short: recordings, and time-outs of channels.

One monitor on each participant's own channel, option ``D`` (two channels interleaved), of which only
the first, what that participant says, is used later: the other goes deaf when a partner's RTP
sequence numbers jump. A monitor survives bridge moves and the death of this program. It is asked for
through AMI because ARI's ``record`` answers success on a dialled channel and then fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from weakref import WeakValueDictionary

import structlog

from ari_app.ami.adapter import AmiAdapter, AmiChannelNotFound, AmiDown, AmiLost, AmiProblem, AmiTimedOut
from ari_app.core import messages as m

log = structlog.get_logger(__name__)

MONITOR_VARIABLE = "CORDBOARD_MIXMONITOR"
"""With the recording's own number behind it: a channel may have had several monitors."""
PATIENCE_S = 30.0
"""How long a recording may wait for AMI to come back before it is called failed."""
AGAIN_S = 0.25
WRITTEN_S = 1.0
"""A monitor that was stopped writes its last frames a moment later; its file may even begin then."""
TIMEOUT_VARIABLE = "TIMEOUT(absolute)"
TIMEOUT_PATIENCE_S = 2.0
"""How long a time-out may wait for AMI; after a start, AMI is there a few milliseconds after ARI."""


def monitor_variable(name: str) -> str:
    """Where a channel keeps its monitor's id, by the recording (``X.rec.3``) or a track's file of it."""
    number = name.partition(".rec.")[2].partition(".")[0]
    return f"{MONITOR_VARIABLE}_{number}"


class Recorder:
    """Starts monitors. ``folder`` is where Asterisk writes the raw tracks (an absolute path)."""

    def __init__(self, ami: AmiAdapter, folder: Path, submit: Callable[[m.AnyInput], None]) -> None:
        self._ami = ami
        self._folder = folder
        self._submit = submit
        # A stop on the heels of its start must not come first: nobody would ever stop that monitor.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def record(self, effect: m.Record) -> None:
        """Begin the track; the outcome is submitted as ``RecordingBegun``."""
        verify = effect.verify
        try:
            async with asyncio.timeout(PATIENCE_S), self._turn(effect.channel):
                while not await self._begin(effect, verify=verify):
                    verify = True  # whether it began is unknown now
                    await asyncio.sleep(AGAIN_S)
        except AmiChannelNotFound:
            # Hung up before it began; the recording's end counts this track as silence.
            self._done(effect, "channel gone")
        except TimeoutError:
            self._done(effect, f"AMI did not answer for {PATIENCE_S:g} s")
        except AmiProblem as error:
            self._done(effect, str(error))

    async def stop(self, effect: m.StopRecord) -> None:
        """Stop the recording's monitor on the channel, if it runs, and remove its files; submitted as
        ``RecordingDropped``. A failure only leaves files that nobody asks for."""
        async with self._turn(effect.channel):
            await self._stop(effect)
        await asyncio.sleep(WRITTEN_S)
        for file in effect.files:
            (self._folder / file).unlink(missing_ok=True)
        self._submit(m.RecordingDropped(effect.call, effect.recording))

    def _turn(self, channel: str) -> asyncio.Lock:
        return self._turns.setdefault(channel, asyncio.Lock())

    async def _stop(self, effect: m.StopRecord) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    if await self._stopped(effect.channel, monitor_variable(effect.recording)):
                        return
                    await asyncio.sleep(AGAIN_S)
        except (TimeoutError, AmiProblem) as error:
            log.debug("recording not stopped", channel=effect.channel, error=str(error))

    async def _stopped(self, channel: str, variable: str) -> bool:
        try:
            answer = await self._ami.action("Getvar", Channel=channel, Variable=variable)
            if monitor := answer.get("Value"):
                await self._ami.mix_monitor_stop(channel, monitor)
                await self._ami.action("Setvar", Channel=channel, Variable=variable, Value="")
        except (AmiDown, AmiLost, AmiTimedOut):
            return False  # a caller who waits must not be recorded: again
        return True

    async def _begin(self, effect: m.Record, *, verify: bool) -> bool:
        try:
            variable = monitor_variable(effect.file)
            if not (verify and await self._runs(effect.channel, variable)):
                file = str(self._folder / effect.file)
                await self._ami.mix_monitor_start(effect.channel, file, variable=variable)
        except (AmiDown, AmiLost, AmiTimedOut) as error:
            log.debug("ami away, the recording waits", channel=effect.channel, error=str(error))
            return False
        self._submit(m.RecordingBegun(effect.call, effect.channel, ok=True))
        return True

    async def _runs(self, channel: str, variable: str) -> bool:
        answer = await self._ami.action("Getvar", Channel=channel, Variable=variable)
        return bool(answer.get("Value"))

    def _done(self, effect: m.Record, error: str) -> None:
        self._submit(m.RecordingBegun(effect.call, effect.channel, ok=False, error=error))


class Timeouts:
    """The absolute time-out of channels.

    By AMI, because ARI's variable request waits until the channel's prompt is over (measured: 11 s), every
    command behind it on that socket waits as well, and the prompt may outlast the time-out itself.
    ``otherwise`` sets it by ARI, for when AMI is away.
    """

    def __init__(self, ami: AmiAdapter, otherwise: Callable[[m.SetAbsolute], None]) -> None:
        self._ami = ami
        self._otherwise = otherwise
        self._wanted: dict[str, m.SetAbsolute] = {}

    async def set(self, effect: m.SetAbsolute) -> None:
        """Set it; of several wishes for one channel the latest counts."""
        underway = effect.channel in self._wanted
        self._wanted[effect.channel] = effect
        if underway:
            return  # who is at it sees that there is a newer wish
        try:
            while await self._done(effect.channel) is not self._wanted[effect.channel]:
                pass  # another wish came meanwhile
        finally:
            del self._wanted[effect.channel]

    async def _done(self, channel: str) -> m.SetAbsolute:
        """Carry out the latest wish and return it."""
        try:
            async with asyncio.timeout(TIMEOUT_PATIENCE_S):
                while True:
                    if (wish := await self._tried(channel)) is not None:
                        return wish
                    await asyncio.sleep(AGAIN_S / 10)
        except AmiChannelNotFound:
            pass  # hung up: nothing to limit
        except (TimeoutError, AmiProblem) as error:
            log.warning("time-out not set by ami", channel=channel, error=str(error))
            self._otherwise(self._wanted[channel])
        return self._wanted[channel]

    async def _tried(self, channel: str) -> m.SetAbsolute | None:
        """The wish that was carried out; None if AMI is not there yet."""
        wish = self._wanted[channel]
        try:
            await self._ami.action("Setvar", Channel=channel, Variable=TIMEOUT_VARIABLE, Value=wish.seconds)
        except AmiDown:
            return None  # nothing was sent
        return wish
