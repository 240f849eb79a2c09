"""From a gap to a floor that agrees with Asterisk: after a restart, and after a lost link.

While a gap is being closed the engine holds what comes in. One snapshot of Asterisk gives the
inputs for what happened unseen, ordinary steps deal with them, then what waited is stepped; a
second snapshot, taken behind the commands those steps sent, gives the repairs.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from msgspec.structs import replace

from ari_app.ari import snapshot as ari_snapshot
from ari_app.ari.client import AriLink
from ari_app.ari.translate import Translator
from ari_app.core import adoption, messages as m, offers, ringing, topology
from ari_app.core.floor import Floor
from ari_app.engine import Engine
from ari_app.store.journal import Journal

log = structlog.get_logger(__name__)

STASIS_GRACE_S = 3.0
"""A leg that was picked up while we were away enters Stasis at the dialplan's next try (each second)."""
LOOK_AGAIN_S = 0.1


def fold(journal: Journal) -> Floor:
    """The floor as the journal leaves it: the newest snapshot, then every event behind it.

    ``evolve`` alone is used, so that the rules of a new version cannot rewrite history.
    """
    found = journal.latest_snapshot()
    seq, floor = (found[0], Floor.restore(found[1])) if found else (0, Floor())
    for recorded in journal.replay(seq):
        floor.evolve(recorded.at_ns, recorded.event)
    return floor


def new_epoch() -> str:
    """A name no earlier process start had: seconds since 1970 and the process id, in base 36."""
    return f"{_base36(int(time.time()))}{_base36(os.getpid() % 46_656).rjust(3, '0')}"


class Recovery:
    """Closes gaps. ``close`` is called when the link is up; ``lost`` when it is not."""

    def __init__(
        self,
        engine: Engine,
        link: AriLink,
        translator: Translator,
        recognise: Callable[[m.CallArrived], m.CallArrived],
        recordings_dir: Path,
    ) -> None:
        self._recordings_dir = recordings_dir
        self._recognise = recognise
        self._engine = engine
        self._link = link
        self._translator = translator

    def lost(self, reason: str) -> None:
        """Commands cannot be sent and nothing is heard: offer nothing, and let no deadline pass judgement
        on what may have happened unseen, until the gap is closed."""
        self._translator.link_lost()
        self._engine.take([m.LinkFailed(reason)])
        self._engine.hold()

    async def close(self) -> None:
        """Bring the floor and Asterisk together; matching begins at the end.

        Raises LinkError if the link breaks meanwhile: the next ``close`` starts anew.
        """
        began = time.monotonic()
        engine = self._engine
        engine.hold()  # stays, if the link breaks before the release
        seen = await self._look()
        while self._must_wait(seen) and time.monotonic() - began < STASIS_GRACE_S:
            await asyncio.sleep(LOOK_AGAIN_S)
            seen = await self._look()
        unseen = topology.differences(engine.floor, seen)
        engine.take([self._complete(i) if isinstance(i, m.CallArrived) else i for i in unseen])
        engine.release()
        # What the steps above commanded is served before this second look is.
        seen = await self._look()
        engine.take(topology.holds(engine.floor, seen))  # of talks that were unknown until now
        for effect in (*topology.repair(engine.floor, seen), *topology.resend(engine.floor)):
            engine.run_effect(effect)
        calls = len(engine.floor.state.calls)
        await engine.ask(m.Recovered(len(seen.channels), calls))
        took_ms = round((time.monotonic() - began) * 1e3)
        log.info("asterisk and floor agree", channels=len(seen.channels), calls=calls, took_ms=took_ms)

    def _complete(self, item: m.CallArrived) -> m.CallArrived:
        """The arrival with what is known of the caller, and whether their talk is recorded."""
        found = self._recognise(item)
        if found.talk is None:
            return found
        tracks = offers.track_files(adoption.recording_of(found.talk.bridge))
        recorded = any((self._recordings_dir / track).exists() for track in tracks)
        return replace(found, talk=replace(found.talk, recorded=recorded))

    async def _look(self) -> topology.Snapshot:
        floor = self._engine.floor
        expected = topology.playbacks(floor)
        talking = [c.leg for c in floor.state.calls.values() if c.state == "talking"]
        return await ari_snapshot.take(
            self._link, self._translator.entries, expected, self._translator.on_person, talking
        )

    def _must_wait(self, seen: topology.Snapshot) -> bool:
        """A leg was picked up, is on its way into Stasis, and its ring time is about to be over."""
        floor, soon_ns = self._engine.floor, self._engine.clock.now_ns() + round(STASIS_GRACE_S * 1e9)
        for leg in topology.answering(floor, seen):
            found = ringing.find(floor, leg)
            if found is not None and found[2].until_ns <= soon_ns:
                return True
            outside = floor.forwarded_by(leg)
            if outside is not None and outside.forward_until_ns <= soon_ns:
                return True
        return False


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
    return digits or "0"
