"""Skills, relaxation, ageing and strategies as callers and agents at phones meet them."""

from __future__ import annotations

import msgspec
import pytest

from ari_app.core import messages as m
from ari_app.core.definition import Queue, Relax
from tests.fakes.people import SKILLED, Pbx


@pytest.fixture
def pbx() -> Pbx:
    return Pbx(SKILLED)


def test_a_caller_who_waits_is_relaxed_until_somebody_fits(pbx: Pbx) -> None:
    pbx.agent("eve").signs_in()
    ann = pbx.caller("ann").dials("100").presses("1")
    pbx.passes(seconds=4)
    assert ann.state == "waiting"
    pbx.passes(seconds=2)
    assert (ann.state, pbx.offers()) == ("offered", ["eve"])


def test_steps_go_on_while_a_phone_rings(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = pbx.caller("ann").dials("100").presses("1")
    pbx.agent("max").signs_in()
    assert bob.rings
    pbx.passes(seconds=14)
    bob.declines()
    pbx.passes(seconds=2)
    assert pbx.offers() == ["bob", "max"], "the step that adds max came one second later"
    assert ann.call is not None
    assert ann.call.step == 3


def test_steps_that_came_while_nobody_was_there_are_taken_after_a_restart(pbx: Pbx) -> None:
    pbx.agent("max").signs_in()
    ann = pbx.caller("ann").dials("100").presses("1")
    pbx.dies()
    pbx.asterisk.pass_to(pbx.asterisk.now_ns + 16_000_000_000)
    pbx.restarts()
    pbx.settle()
    assert (ann.state, pbx.offers()) == ("offered", ["max"])


def test_priority_grows_with_waiting_and_is_kept_over_a_restart(pbx: Pbx) -> None:
    early = pbx.caller("early").dials("100").presses("1")
    pbx.passes(seconds=61)
    vip = pbx.caller("vip").dials("400")  # priority 5, and the early one has 6 by now
    pbx.dies().restarts()
    assert (early.position, vip.position) == (1, 2)
    pbx.agent("bob").signs_in()
    assert (early.state, vip.state) == ("offered", "waiting")


def test_round_robin_remembers_over_a_restart(pbx: Pbx) -> None:
    steps = (Relax(1, drop=("german",)),)
    queue = Queue("Sales", requires={"german": 1}, relax=steps, strategy="round_robin", wrap_up_s=0)
    people = {name: msgspec.structs.replace(a, skills={"german": 3}) for name, a in SKILLED.agents.items()}
    pbx.centre.define(
        msgspec.structs.replace(SKILLED, queues={**SKILLED.queues, "sales": queue}, agents=people)
    )
    for name in ("bob", "eve"):
        pbx.agent(name).phone("answers").signs_in()
    for number in range(4):
        pbx.caller(f"caller{number}").dials("100").presses("1").hangs_up()
        pbx.passes(seconds=1)
        pbx.dies().restarts()
    assert pbx.offers() == ["bob", "eve", "bob", "eve"]


def test_every_offer_says_why(pbx: Pbx) -> None:
    pbx.agent("bob").signs_in()
    pbx.agent("max").signs_in()
    pbx.caller("ann").dials("100").presses("1")
    made = next(event for event in pbx.centre.events() if isinstance(event, m.OfferMade))
    assert made.why.rule == "best fit, then round robin"
    assert [(c.agent, c.fit) for c in made.why.candidates] == [("bob", 3)]
    assert made.why.not_eligible == {"lacks skills": 1}
    assert made.why.skills == {"german": 2}
