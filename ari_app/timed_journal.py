"""The engine's journal with a stop-watch on its commits, for the figures of ``/metrics``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ari_app.store.journal import Entry, Journal


class TimedJournal:
    """``on_commit`` gets the seconds a commit took, or None if it failed; None as long as nobody asks."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.last_seq = journal.last_seq
        self.on_commit: Callable[[float | None], None] | None = None

    def append(self, epoch: str, entries: Sequence[Entry], expected_seq: int) -> int:
        """As ``Journal.append``."""
        if self.on_commit is None:
            self.last_seq = self._journal.append(epoch, entries, expected_seq)
            return self.last_seq
        began_s = time.perf_counter()
        took_s: float | None = None
        try:
            self.last_seq = self._journal.append(epoch, entries, expected_seq)
            took_s = time.perf_counter() - began_s
        finally:
            self.on_commit(took_s)
        return self.last_seq

    def save_snapshot(self, seq: int, state: bytes) -> None:
        """As ``Journal.save_snapshot``."""
        self._journal.save_snapshot(seq, state)
