"""What a dialplan attached to calls (AGI ``attach``): personal data, in a file of their own.

They wait by channel until the channel becomes a call, are shown with the live call, and are
forgotten a day later, or when they are erased. They are never in events or logs, and never leave
this machine. Kept in SQLite, so that a restart between the dialplan and the call loses nothing.
"""

from __future__ import annotations

import os
import sqlite3
from collections import OrderedDict
from pathlib import Path

import msgspec
import structlog

from ari_app.core import messages as m
from ari_app.core.definition import SECOND_NS
from ari_app.core.text import printable

FILE_NAME = "attributes.db"
KEPT = 5_000
"""Calls and channels remembered in all; the oldest go first."""
KEPT_NS = 86_400 * SECOND_NS
EACH = 10
"""Keys of one call."""

_decode = msgspec.json.Decoder(dict[str, str]).decode
log = structlog.get_logger(__name__)


class Attributes:
    """``by`` channel first, then also by call. A disk that refuses costs durability, not the call."""

    def __init__(self, state_dir: Path, now_ns: int) -> None:
        path = state_dir / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None, timeout=0.1)
        for statement in (
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=OFF",  # survives the process, as the journal does; a lost day is no loss
            "PRAGMA secure_delete=ON",
            "CREATE TABLE IF NOT EXISTS attributes (channel TEXT PRIMARY KEY, call TEXT NOT NULL,"
            " at_ns INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID",
        ):
            self._db.execute(statement)
        self._db.execute("DELETE FROM attributes WHERE at_ns < ?", (now_ns - KEPT_NS,))
        self._of_channel: OrderedDict[str, dict[str, str]] = OrderedDict()
        self._channels: dict[str, str] = {}
        rows = self._db.execute("SELECT channel, call, body FROM attributes ORDER BY at_ns").fetchall()
        for channel, call, body in rows[-KEPT:]:
            self._of_channel[channel] = _decode(body)
            if call:
                self._channels[call] = channel

    def attach(self, channel: str, given: dict[str, str], call: str, now_ns: int) -> bool:
        """Add to what the channel has; False if that would be more than ``EACH`` keys."""
        merged = {**self._of_channel.get(channel, {}), **{k: printable(v) for k, v in given.items()}}
        if len(merged) > EACH:
            return False
        self._of_channel[channel] = merged
        self._of_channel.move_to_end(channel)
        if call:
            self._channels[call] = channel
        while len(self._of_channel) > KEPT:
            self._forget(next(iter(self._of_channel)))
        body = msgspec.json.encode(merged).decode()
        self._write("INSERT OR REPLACE INTO attributes VALUES (?, ?, ?, ?)", (channel, call, now_ns, body))
        return True

    def of(self, call: str) -> dict[str, str]:
        """What is attached to a call."""
        return self._of_channel.get(self._channels.get(call, ""), {})

    def on(self, channel: str) -> dict[str, str]:
        """What is attached to a channel."""
        return self._of_channel.get(channel, {})

    def on_event(self, event: m.AnyEvent) -> None:
        """A channel that has attributes became a call."""
        if isinstance(event, m.CallOpened) and event.channel in self._of_channel:
            self._channels[event.call] = event.channel
            self._write("UPDATE attributes SET call = ? WHERE channel = ?", (event.call, event.channel))

    def prune(self, now_ns: int) -> None:
        """Forget what is older than a day."""
        before_ns = now_ns - KEPT_NS
        rows = self._write("SELECT channel FROM attributes WHERE at_ns < ?", (before_ns,))
        for (channel,) in rows:
            self._forget(channel)

    def erase(self, call: str) -> None:
        """Forget what is attached to a call."""
        self._forget(self._channels.get(call, ""))

    def close(self) -> None:
        self._db.close()

    def _forget(self, channel: str) -> None:
        self._of_channel.pop(channel, None)
        self._channels = {call: c for call, c in self._channels.items() if c != channel}
        self._write("DELETE FROM attributes WHERE channel = ?", (channel,))

    def _write(self, sql: str, arguments: tuple[str | int, ...]) -> list[tuple[str]]:
        try:
            return self._db.execute(sql, arguments).fetchall()
        except sqlite3.Error as error:
            log.warning("attributes not kept on disk", error=str(error))
            return []
