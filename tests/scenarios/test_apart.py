"""The journal is corrupt and set apart: who is in Asterisk goes on, and each caller is booked once."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

import pytest

from ari_app.core import ledger, ledger_rows, messages as m
from ari_app.core.definition import SECOND_NS
from ari_app.store.projection import TABLES
from tests.fakes.people import RUNG, Pbx
from tests.scenarios.test_calls import in_the_queue, talking


def apart(pbx: Pbx) -> Pbx:
    """Dies, and starts with a new journal."""
    pbx.centre.set_apart()
    return pbx.restarts()


def folded(pbx: Pbx) -> dict[object, ledger_rows.RowChange]:
    """PostgreSQL's rows: of the journals that were set apart, and of the one that followed."""
    state = ledger_rows.LedgerState()
    found: dict[object, ledger_rows.RowChange] = {}
    entries = [*pbx.centre.apart, *pbx.centre.journal]
    told = [(entry.at_ns, event) for entry in entries for event in entry.events]
    for seq, (at_ns, event) in enumerate(told, 1):
        for row in ledger.fold(state, seq, at_ns, event):
            if type(row) in TABLES:
                found[type(row), TABLES[type(row)].key_of(row)] = row
    return found


def rows(pbx: Pbx) -> dict[str, ledger_rows.CallRow]:
    return {row.call: row for row in folded(pbx).values() if isinstance(row, ledger_rows.CallRow)}


def once(pbx: Pbx) -> list[ledger_rows.CallRow]:
    """The rows, when all is over: one a channel, each with an end."""
    found = list(rows(pbx).values())
    assert len({row.channel for row in found}) == len(found), "a caller is booked twice"
    assert all(row.ended_ns is not None for row in found), "a call never ends"
    return found


def test_a_talk_goes_on_and_ends_once(pbx: Pbx) -> None:
    ann, bob = talking(pbx, "ann", "bob"), pbx.agent("bob")
    pbx.passes(seconds=20)
    apart(pbx)
    assert (ann.state, ann.talks_with, bob.state) == ("talking", "bob", "talking")
    pbx.passes(seconds=30)
    bob.hangs_up()
    assert (ann.state, bob.state) == ("gone", "wrap_up")
    pbx.passes(seconds=30)
    assert bob.state == "ready"
    assert any(isinstance(e, m.RecordingFinished) for e in pbx.centre.events())
    (row,) = once(pbx)
    assert (row.outcome, row.ended_by, row.agent, row.offers) == ("answered", "agent", "bob", 1)
    assert 50 <= row.talk_ns / SECOND_NS < 54
    assert not pbx.asterisk.bridges


def test_a_caller_ends_a_talk_that_was_found(pbx: Pbx) -> None:
    ann, bob = talking(pbx, "ann", "bob"), pbx.agent("bob")
    apart(pbx)
    ann.hangs_up()
    assert (bob.state, bob.rings) == ("wrap_up", False)
    assert [row.ended_by for row in once(pbx)] == ["caller"]


def test_a_caller_on_hold_stays_on_hold(pbx: Pbx) -> None:
    ann, bob = talking(pbx, "ann", "bob"), pbx.agent("bob")
    bob.holds()
    apart(pbx)
    assert (ann.hears, bob.state) == ("music hold", "holding")
    bob.holds(on=False)
    assert ann.hears == "talk"
    ann.hangs_up()
    assert [row.outcome for row in once(pbx)] == ["answered"]


def test_who_waits_keeps_their_row(pbx: Pbx) -> None:
    ann = in_the_queue(pbx, "ann")
    pbx.passes(seconds=20)
    apart(pbx)
    ann.presses("1")
    pbx.passes(seconds=5)
    pbx.agent("bob").signs_in().answers()
    pbx.passes(seconds=10)
    ann.hangs_up()
    (row,) = once(pbx)
    assert (row.outcome, row.adopted) == ("answered", True)
    assert row.waited_ns is not None
    assert row.waited_ns / SECOND_NS >= 25, "the wait before counts"


def test_who_is_offered_waits_anew_and_is_booked_once(pbx: Pbx) -> None:
    ann = in_the_queue(pbx, "ann")
    pbx.agent("bob").signs_in()
    apart(pbx)
    assert pbx.agent("bob").state == "signed_out"
    ann.presses("1")
    pbx.agent("bob").signs_in().answers()
    ann.hangs_up()
    (row,) = once(pbx)
    assert (row.outcome, row.offers) == ("answered", 2)


def test_who_is_gone_by_then_ends_in_the_books(pbx: Pbx) -> None:
    ann, ben = talking(pbx, "ann", "bob"), in_the_queue(pbx, "ben")
    pbx.centre.set_apart()
    ann.hangs_up()
    ben.hangs_up()
    pbx.restarts()
    assert [(row.outcome, row.ended_by) for row in once(pbx)] == [
        ("answered", "system"),
        ("system", "system"),
    ]
    assert pbx.agent("bob").state == "signed_out"


def test_the_journal_is_lost_twice(pbx: Pbx) -> None:
    ann, cyd = talking(pbx, "ann", "bob"), in_the_queue(pbx, "cyd")
    apart(pbx)
    apart(pbx)
    assert ann.talks_with == "bob"
    ann.hangs_up()
    cyd.hangs_up()
    assert len(once(pbx)) == 2


def test_a_talk_with_a_phone_that_nobody_knows_ends_for_both() -> None:
    pbx = Pbx(RUNG)
    ann = talking(pbx, "ann", "bob")
    leg = next(c for c in pbx.asterisk.channels.values() if c.role == "agent" and c.where == "stasis")
    leg.agent = "a-mobile@provider"
    apart(pbx)
    assert (ann.state, ann.hears) == ("forwarded", "talk")
    pbx.asterisk.hang_up(leg.id)
    pbx.settle()
    assert ann.state == "gone"
    assert [(row.outcome, row.ended_by) for row in once(pbx)] == [("answered", "outside")]


SCENARIOS: list[Callable[[Pbx], None]] = [
    test_a_talk_goes_on_and_ends_once,
    test_a_caller_ends_a_talk_that_was_found,
    test_a_caller_on_hold_stays_on_hold,
    test_who_waits_keeps_their_row,
    test_who_is_offered_waits_anew_and_is_booked_once,
    test_who_is_gone_by_then_ends_in_the_books,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda f: f.__name__.removeprefix("test_"))
def test_deaths_while_a_new_journal_begins(scenario: Callable[[Pbx], None]) -> None:
    whole = Pbx()
    scenario(whole)
    first = Points()
    scenario(first)
    deaths = 0
    for point in range(first.lost_at + 1, whole.centre.points + 1):
        pbx = Pbx(die_at=[point], gap_s=point % 2 * 4.0)
        with contextlib.suppress(AssertionError, LookupError):  # the story may change, not what follows
            scenario(pbx)
        pbx.everyone_is_served()
        once(pbx)
        deaths += pbx.centre.epochs > whole.centre.epochs
    assert deaths


class Points(Pbx):
    """Remembers at which point the journal was lost."""

    lost_at = 0

    def restarts(self) -> Points:
        self.lost_at = self.lost_at or self.centre.points
        return super().restarts()


@pytest.mark.parametrize("seed", range(20))
def test_the_books_close_whenever_journals_are_lost(seed: int) -> None:
    dice, pbx = random.Random(seed), Pbx()
    callers = [pbx.caller(f"c{n}") for n in range(4)]
    agents = [pbx.agent(name) for name in ("bob", "eve", "max")]
    for _ in range(40):
        caller, agent = dice.choice(callers), dice.choice(agents)
        match dice.randrange(8):
            case 0:
                apart(pbx)
            case 1 if caller.state == "gone" or not caller.channel:
                caller.dials(dice.choice(["100", "200"]))
            case 2:
                caller.presses("1")
            case 3 | 4 if agent.rings:
                agent.answers()
            case 5:
                agent.signs_in()
            case 6:
                (caller if dice.random() < 0.5 else agent).hangs_up()
            case _:
                pbx.passes(seconds=dice.randrange(8))
    pbx.everyone_is_served()
    once(pbx)
    left = [
        row for row in folded(pbx).values() if isinstance(row, ledger_rows.SegmentRow) and row.to_ns is None
    ]
    assert not left
    tapes = [row for row in folded(pbx).values() if isinstance(row, ledger_rows.RecordingRow)]
    assert not [row for row in tapes if row.state == "recording"]
