"""``cordboard why`` through the control socket and from a journal on disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ari_app import settings
from ari_app.cli import why as cli
from ari_app.store.journal import Entry, Journal
from ari_app.store.reports import ReportError
from ari_app.web.errors import NotRunning, Refused
from tests.core.test_why import centre
from tests.fakes.desk import Desk
from tests.web.conftest import serving
from tests.web.floor import Room


def journalled(desk: Desk, folder: Path) -> None:
    """The desk's journal on disk, as the engine would have written it."""
    with Journal(folder / settings.JOURNAL_FILE) as journal:
        for at_ns, item, events in desk.journal:
            journal.append("e", [Entry(at_ns, item, events)], journal.newest())


@pytest.fixture
def day(tmp_path: Path) -> tuple[Desk, str]:
    """A call that ann refused and max took."""
    desk = centre()
    desk.signs_in("max")
    call = desk.calls("sales")
    desk.declines(call)
    desk.answers(call)
    desk.hangs_up(call)
    journalled(desk, tmp_path)
    return desk, call


def test_decisions_are_told_from_the_journal(day: tuple[Desk, str], tmp_path: Path) -> None:
    lines = cli.why(tmp_path, day[1], "").splitlines()
    assert [line.partition("  ")[2].partition(":")[0] for line in lines] == [
        "offer 1, to ann",
        "offer 2, to max",
    ]
    assert "best fit, then longest idle of 2 free agents" in lines[0]
    assert "the only free agent" in lines[1]


def test_full_decides_again_and_lists_everybody(day: tuple[Desk, str], tmp_path: Path) -> None:
    text = cli.why(tmp_path, day[1], "", full=True)
    assert text.count("deciding again from the journal gives the same") == 2
    assert "  1. ann: fit 4, idle 0 s <- was offered the call" in text
    assert "  bob: not enough of the skill german" in text


def test_full_begins_at_the_snapshot_where_the_journal_was_pruned(
    day: tuple[Desk, str], tmp_path: Path
) -> None:
    desk, _ = day
    with Journal(tmp_path / settings.JOURNAL_FILE) as journal:
        journal.save_snapshot(journal.newest(), desk.floor.dump())
        journal.set_shipped(journal.newest(), 0)
        desk.journal.clear()
        late = desk.calls("sales")
        for at_ns, item, events in desk.journal:
            journal.append("e", [Entry(at_ns, item, events)], journal.newest())
        journal.prune()
        assert journal.oldest() > 1
    assert "deciding again from the journal gives the same" in cli.why(tmp_path, late, "", full=True)


def test_what_cannot_be_told_says_what_can(day: tuple[Desk, str], tmp_path: Path) -> None:
    with pytest.raises(cli.WhyError, match="name a call"):
        cli.why(tmp_path, "", "")
    with pytest.raises(cli.WhyError, match="name a call"):
        cli.why(tmp_path, day[1], "ann")
    with pytest.raises(NotRunning):
        cli.why(tmp_path, "", "ann")
    with pytest.raises(ReportError):
        cli.why(tmp_path, "no-such-call", "")


async def test_the_running_cordboard_tells_why(room: Room, path: Path) -> None:
    waiting = next(call.id for call in room.floor.state.calls.values() if call.state == "waiting")
    async with serving(room, path) as client:
        told = await asyncio.to_thread(client.why_call, waiting)
        assert told.lines == room.why_call(waiting)
        assert (await asyncio.to_thread(client.why_agent, "carol")).lines == (
            "carol is paused (lunch), for 14 s: no calls are offered",
        )
        text = await asyncio.to_thread(cli.why, path.parent, waiting, "")
        assert text == "\n".join(told.lines) + "\n"
        with pytest.raises(Refused, match="no live call"):
            await asyncio.to_thread(client.why_call, "e9-9")
        with pytest.raises(Refused, match="nearest: carol"):
            await asyncio.to_thread(client.why_agent, "carl")
