"""A call that somebody in charge hangs up, as transcripts on the fake Asterisk."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ari_app.core import messages as m
from tests.fakes.people import Caller, Pbx


@pytest.fixture
def pbx() -> Iterator[Pbx]:
    pbx = Pbx()
    yield pbx
    pbx.everyone_is_served()


def hang_up(pbx: Pbx, caller: Caller) -> m.CallEnded:
    assert caller.call is not None
    key = caller.call.id
    for _ in range(2):  # the second time there is nothing left to do
        pbx.centre.feed(m.CallAsked(key, "hang_up", "api:test"))
        pbx.settle()
    assert caller.channel not in pbx.asterisk.channels
    assert caller.state == "gone"
    (ended,) = [e for e in pbx.centre.events() if isinstance(e, m.CallEnded) and e.call == key]
    return ended


def test_in_the_menu(pbx: Pbx) -> None:
    ended = hang_up(pbx, pbx.caller("ann").dials("100"))
    assert (ended.outcome, ended.by, ended.queue) == ("system", "system", "")


def test_while_waiting_the_others_move_up(pbx: Pbx) -> None:
    ann, ben = (pbx.caller(name).dials("200") for name in ("ann", "ben"))
    pbx.passes(seconds=4)
    ended = hang_up(pbx, ann)
    assert (ended.outcome, ended.by, ended.queue) == ("system", "system", "support")
    assert ben.position == 1


def test_while_an_agent_is_rung_the_phone_stops_and_that_is_no_miss(pbx: Pbx) -> None:
    bob = pbx.agent("bob").phone("rings").signs_in()
    ann = pbx.caller("ann").dials("100").presses("1")
    assert ann.state == "offered"
    assert hang_up(pbx, ann).outcome == "system"
    assert (pbx.lapses(), bob.record.misses, bob.state) == (["caller_gone"], 0, "ready")


def test_a_talk_stays_answered_and_the_agent_wraps_up(pbx: Pbx) -> None:
    bob = pbx.agent("bob").phone("rings").signs_in()
    ann = pbx.caller("ann").dials("100").presses("1")
    bob.answers()
    assert ann.talks_with == "bob"
    pbx.passes(seconds=30)
    ended = hang_up(pbx, ann)
    assert (ended.outcome, ended.by, ended.agent) == ("answered", "system", "bob")
    assert bob.state == "wrap_up"
    assert not pbx.asterisk.legs_of("bob")


def test_a_death_between_the_decision_and_the_hang_up(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("200")
    assert ann.call is not None
    key = ann.call.id
    pbx.centre.die_at = {pbx.centre.points + 2}  # committed, not yet carried out
    pbx.centre.feed(m.CallAsked(key, "hang_up", "api:test"))
    pbx.settle()
    assert pbx.centre.epochs == 2
    assert ann.channel not in pbx.asterisk.channels
    assert pbx.outcomes() == ["system"]


def test_an_unknown_call_changes_nothing(pbx: Pbx) -> None:
    before = len(pbx.centre.journal)
    pbx.centre.feed(m.CallAsked("e1-99", "hang_up", "api:test"))
    assert len(pbx.centre.journal) == before
