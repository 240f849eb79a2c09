"""Keeps Asterisk's device states of agents and queues as the floor has them, for the lamps on phones.

Nobody's call depends on it: it is told after each commit, gathers what changed for a moment, and sends
what differs from what Asterisk has.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import structlog

from ari_app.ari import models as ari
from ari_app.ari.client import AriLink, Response
from ari_app.ari.errors import AriError
from ari_app.core import lamps, messages as m
from ari_app.engine import Engine

log = structlog.get_logger(__name__)

GATHER_S = 0.05
"""Changes that come within so long of each other are sent as one."""
PREFIXES = (lamps.agent_device(""), lamps.queue_device(""))
_OF_QUEUES = m.CallQueued | m.CallOverflowed | m.CallConnected | m.ConnectFailed | m.CallEnded
_OF_ALL = m.DefinitionLoaded | m.MatchingBegan | m.CallQuarantined


class Lamps:
    """``on``: whether the definition wants lamps at all."""

    def __init__(self, engine: Engine, link: AriLink, *, on: bool) -> None:
        self._engine = engine
        self._link = link
        self._on = on
        self._shown: dict[str, str] | None = None
        """What Asterisk has; None: not known."""
        self._woken = asyncio.Event()

    def use(self, *, on: bool) -> None:
        """A new definition."""
        self._on, self._shown = on, None
        self._woken.set()

    def on_event(self, event: m.AnyEvent) -> None:
        """Each committed event."""
        if not self._on:
            return
        if isinstance(event, m.MatchingBegan):
            self._shown = None  # it may be another Asterisk
        if isinstance(event, _OF_QUEUES | _OF_ALL) or m.agent_of(event):
            self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        turn_ns = 0
        while True:
            left_s = max((turn_ns - self._engine.clock.now_ns()) / 1e9, 0.0) if turn_ns else None
            with contextlib.suppress(TimeoutError):  # the next wait has got long
                async with asyncio.timeout(left_s):
                    await self._woken.wait()
            await asyncio.sleep(GATHER_S)
            self._woken.clear()
            if not self._on or not self._link.up:
                turn_ns = 0  # the next recovery wakes it
                continue
            try:
                turn_ns = await self._show()
            except AriError as error:
                self._shown, turn_ns = None, 0
                log.warning("lamps not set", error=str(error))

    async def _show(self) -> int:
        """Send what differs; when to look again (ns UTC), 0 = at the next event."""
        if self._shown is None:
            self._shown = await self._read()
        floor = self._engine.floor
        wanted: dict[str, str] = dict(lamps.agents(floor))
        of_queues, turn_ns = lamps.queues(floor, self._engine.clock.now_ns())
        wanted.update(of_queues)
        shown = self._shown
        changed = {device: state for device, state in wanted.items() if shown.get(device) != state}
        gone = [device for device in shown if device not in wanted]
        self._shown = wanted
        answers = [
            self._link.send("PUT", f"deviceStates/{device}", params={"deviceState": state})
            for device, state in changed.items()
        ]
        answers += [self._link.send("DELETE", f"deviceStates/{device}") for device in gone]
        _raise_first(await asyncio.gather(*answers))
        return turn_ns

    async def _read(self) -> dict[str, str]:
        found = (await self._link.request("GET", "deviceStates")).decode(list[ari.DeviceState])
        return {device.name: device.state for device in found if device.name.startswith(PREFIXES)}


def _raise_first(answers: Iterable[Response]) -> None:
    for answer in answers:
        error = answer.error()
        if error is not None:
            raise error
