"""Collects PINs typed on phones. Their digits never leave this module except to be compared.

A PIN ends with ``#`` or after ``LAST_DIGIT_S`` without another key; the comparison (about 50 ms of a
processor, on purpose) runs off the event loop. Nothing here is logged or journalled; the core is told
the verdict alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ari_app.clock import Clock
from ari_app.core import messages as m
from ari_app.pins import PinBook

LAST_DIGIT_S = 4.0
LONGEST_PIN = 32
END_KEY = "#"


class _Entry:
    __slots__ = ("agent", "complete", "digits", "done", "playback")

    def __init__(self, agent: str, playback: str) -> None:
        self.agent = agent
        self.playback = playback
        self.digits = ""
        self.complete = asyncio.Event()
        self.done = False


class PinDesk:
    """One collector for each phone that is asked. ``is_private`` tells whether a channel is an agent's
    feature-code call whose digits are nobody else's business, even when no PIN is being asked."""

    def __init__(
        self,
        book: PinBook,
        clock: Clock,
        submit: Callable[[m.AnyInput], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        is_private: Callable[[str], bool],
        stop: Callable[[m.StopPlay], None],
    ) -> None:
        self._book = book
        self._clock = clock
        self._submit = submit
        self._spawn = spawn
        self._is_private = is_private
        self._stop = stop
        self._extensions: Mapping[str, str] = {}
        """Extension -> agent, for who signs in at a desk."""
        self._entries: dict[str, _Entry] = {}

    def use(self, book: PinBook, extensions: Mapping[str, str]) -> None:
        """Check PINs by another book from now on; ``extensions``: agent -> theirs."""
        self._book = book
        self._extensions = {extension: agent for agent, extension in extensions.items()}

    def ask(self, effect: m.AskPin) -> None:
        """Begin to collect on a channel; asked again, what was typed before is forgotten."""
        entry = _Entry(effect.agent, effect.playback)
        old = self._entries.get(effect.channel)
        if old is not None:
            old.done = True
            old.complete.set()
        self._entries[effect.channel] = entry
        self._spawn(self._collect(effect, entry))

    def take(self, channel: str, digit: str) -> bool:
        """A key was pressed. True if it is (or may be) part of a PIN and must go nowhere else."""
        entry = self._entries.get(channel)
        if entry is None:
            return self._is_private(channel)
        if entry.playback:
            self._stop(m.StopPlay(entry.playback))
            entry.playback = ""
        if digit == END_KEY or len(entry.digits) >= LONGEST_PIN:
            entry.done = True
        else:
            entry.digits += digit
        entry.complete.set()
        return True

    async def _collect(self, effect: m.AskPin, entry: _Entry) -> None:
        left_s = max(0.0, (effect.until_ns - self._clock.now_ns()) / 1e9)
        while not entry.done:
            entry.complete.clear()
            try:
                async with asyncio.timeout(LAST_DIGIT_S if entry.digits else left_s):
                    await entry.complete.wait()
            except TimeoutError:
                break  # no further key: what is there counts
        if self._entries.get(effect.channel) is not entry:
            return  # asked anew meanwhile
        del self._entries[effect.channel]
        if not entry.agent:
            found = self._extensions.get(entry.digits, "")
            self._submit(m.AgentNamed(effect.channel, found, entered=bool(entry.digits)))
            return
        if not entry.digits:
            self._submit(m.PinChecked(effect.channel, ok=False, entered=False))
            return
        right = await asyncio.to_thread(self._book.check, entry.agent, entry.digits)
        self._submit(m.PinChecked(effect.channel, ok=right))
