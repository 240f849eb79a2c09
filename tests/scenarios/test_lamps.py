"""Lamps: what a key on a phone shows, worked out from the floor."""

from __future__ import annotations

from typing import get_args

from ari_app.core import lamps
from ari_app.core.definition import SECOND_NS
from ari_app.core.facts import AgentStateName
from tests.fakes.people import Pbx


def lit(pbx: Pbx) -> str:
    return lamps.agents(pbx.centre.live)[lamps.agent_device("bob")]


def waiting(pbx: Pbx) -> tuple[str, int]:
    states, turn_ns = lamps.queues(pbx.centre.live, pbx.asterisk.now_ns)
    return states[lamps.queue_device("sales")], turn_ns


def test_every_state_has_a_lamp() -> None:
    assert set(lamps.OF_STATE) == set(get_args(AgentStateName))


def test_an_agents_lamp_through_a_call(pbx: Pbx) -> None:
    bob = pbx.agent("bob")
    assert lit(pbx) == "UNAVAILABLE"
    bob.signs_in()
    assert lit(pbx) == "NOT_INUSE"
    ann = pbx.caller("ann").dials("400")
    assert lit(pbx) == "RINGING"
    bob.answers()
    assert lit(pbx) == "INUSE"
    pbx.dies().restarts()
    assert lit(pbx) == "INUSE"
    ann.hangs_up()
    assert lit(pbx) == "BUSY"
    pbx.passes(seconds=30)
    bob.asks("pause", "lunch")
    assert lit(pbx) == "ONHOLD"


def test_a_queues_lamp_turns_when_a_wait_gets_long(pbx: Pbx) -> None:
    assert waiting(pbx) == ("NOT_INUSE", 0)
    ann = pbx.caller("ann").dials("400")
    assert ann.call is not None
    long_s = pbx.definition.queues["sales"].service_level_s
    turn_ns = ann.call.queued_ns + round(long_s * SECOND_NS)
    assert waiting(pbx) == ("INUSE", turn_ns)
    pbx.passes(seconds=long_s)
    assert waiting(pbx) == ("RINGING", 0)
    ann.hangs_up()
    assert waiting(pbx) == ("NOT_INUSE", 0)
