"""The engine while its journal cannot be written."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ari_app.clock import Clock
from ari_app.core import messages as m
from ari_app.core.floor import Floor
from ari_app.engine import Engine
from ari_app.store.journal import Entry, JournalUnavailable


class Disk:
    """A journal whose disk may be full."""

    def __init__(self) -> None:
        self.full = False
        self.last_seq = 0
        self.kept: list[m.AnyEvent] = []
        self.snapshots = 0

    def append(self, epoch: str, entries: Sequence[Entry], expected_seq: int) -> int:
        if self.full:
            raise JournalUnavailable("disk full")
        self.kept += [event for entry in entries for event in entry.events]
        self.last_seq = len(self.kept)
        return self.last_seq

    def save_snapshot(self, seq: int, state: bytes) -> None:
        self.snapshots += 1


@pytest.mark.parametrize("writable_again", [False, True])
def test_what_recovery_takes_while_the_journal_is_away_comes_behind_what_was_before(
    writable_again: bool,
) -> None:
    disk, effects = Disk(), list[m.AnyEffect]()
    engine = Engine(Floor(), disk, Clock.resume("", 0, 0), effects.append, lambda at_ns, event: None)
    engine.take([m.EngineStarted("e", "n", "b", 0, "0"), m.Recovered(0, 0)])
    disk.full = True
    engine.take([m.CallArrived("caller", "100")])
    assert (len(disk.kept), effects) == (2, [])
    disk.full = not writable_again
    engine.take([m.LinkFailed("gone")])
    engine.save_snapshot()
    assert disk.snapshots == writable_again, "a snapshot must not be ahead of the journal"
    disk.full = False
    if engine.suspended:
        engine._commit_again()
    replayed = Floor()
    for event in disk.kept:
        replayed.evolve(engine.floor.state.at_ns, event)
    assert [type(event) for event in disk.kept[2:]] == [m.CallOpened, m.NodeEntered, m.MatchingHeld]
    assert (set(replayed.state.calls), replayed.state.matching) == (set(engine.floor.state.calls), False)
    assert any(isinstance(effect, m.Play) for effect in effects)
