"""Hot desks, as transcripts: who signs in where, who is rung where, and what a death in between changes."""

from __future__ import annotations

import msgspec
import pytest

from ari_app.core import messages as m
from ari_app.core.definition import Definition
from ari_app.core.refusal import refusal
from tests.fakes.pbx import Phone
from tests.fakes.people import DEFINITION, Pbx


def centre(**codes: object) -> Definition:
    """People's definition with two desks, and with bob who has no phone of his own."""
    bob = msgspec.structs.replace(DEFINITION.agents["bob"], endpoint="", phones=())
    return msgspec.structs.replace(
        DEFINITION,
        centre=msgspec.structs.replace(DEFINITION.centre, desks=("desk1", "desk2")),
        codes=msgspec.structs.replace(DEFINITION.codes, **codes),
        agents={**DEFINITION.agents, "bob": bob},
    )


@pytest.fixture
def pbx(request: pytest.FixtureRequest) -> Pbx:
    return Pbx(centre(**getattr(request, "param", {})))


def dials(pbx: Pbx, desk: str, action: m.Action = "sign_in") -> str:
    channel = pbx.new_channel(desk)
    sitter = pbx.centre.live.state.seats.get(desk, "")
    pbx.asterisk.call_in(channel, "*11", action, sitter, desk)
    pbx.settle()
    return channel


def signs_in(pbx: Pbx, desk: str, agent: str, *, ok: bool = True) -> str:
    channel = dials(pbx, desk)
    pbx.asterisk.type_extension(channel, agent)
    pbx.settle()
    pbx.asterisk.type_pin(channel, ok=ok)
    pbx.settle()
    return channel


def state(pbx: Pbx, agent: str) -> tuple[str, str]:
    floor = pbx.centre.live
    return floor.state.agents[agent].state, floor.desk_of(agent)


def rung(pbx: Pbx) -> list[str]:
    """The phones that ring or talk."""
    return sorted(c.agent for c in pbx.asterisk.channels.values() if c.role == "agent")


def test_sign_in_at_a_desk_and_be_rung_there(pbx: Pbx) -> None:
    channel = dials(pbx, "desk1")
    assert pbx.asterisk.hears(channel) == "prompt agent-user"
    pbx.asterisk.type_extension(channel, "bob")
    pbx.settle()
    assert pbx.asterisk.hears(channel).endswith("agent-pass")
    pbx.dies().restarts()
    pbx.asterisk.type_pin(channel, ok=True)
    pbx.settle()
    assert state(pbx, "bob") == ("ready", "desk1")
    pbx.dies().restarts()
    ann = pbx.caller("ann").dials("400")
    assert (rung(pbx), ann.state) == (["desk1"], "offered")
    for leg in pbx.asterisk.legs_of("desk1"):
        pbx.asterisk.pick_up(leg)
    pbx.settle()
    assert ann.talks_with == "desk1"
    ann.hangs_up()
    pbx.passes(seconds=60)
    dials(pbx, "desk1", "sign_out")
    for asked in list(pbx.asterisk.pins_asked):
        pbx.asterisk.type_pin(asked, ok=True)
    pbx.settle()
    assert state(pbx, "bob") == ("signed_out", "")


def test_signing_in_elsewhere_moves_the_offers(pbx: Pbx) -> None:
    pbx.centre.feed(m.PhoneSeen("bob", False))  # what was known of another phone counts no more
    signs_in(pbx, "desk1", "bob")
    signs_in(pbx, "desk2", "bob")
    assert state(pbx, "bob") == ("ready", "desk2")
    pbx.caller("ann").dials("400")
    assert rung(pbx) == ["desk2"]


def test_a_desk_that_is_taken_is_refused_with_a_word(pbx: Pbx) -> None:
    signs_in(pbx, "desk1", "bob")
    channel = signs_in(pbx, "desk1", "eve")
    pbx.passes(seconds=0.1)
    assert pbx.asterisk.hears(channel).endswith("extension is-in-use vm-goodbye")
    assert (state(pbx, "bob"), state(pbx, "eve")) == (("ready", "desk1"), ("signed_out", ""))


@pytest.mark.parametrize("pbx", [{"desk_taken": "sign_out"}], indirect=True)
def test_or_whoever_sits_there_is_signed_out_unless_on_a_call(pbx: Pbx) -> None:
    signs_in(pbx, "desk1", "bob")
    signs_in(pbx, "desk1", "eve")
    assert (state(pbx, "bob"), state(pbx, "eve")) == (("signed_out", ""), ("ready", "desk1"))
    ann = pbx.caller("ann").dials("400")
    signs_in(pbx, "desk1", "bob")
    assert (state(pbx, "bob"), state(pbx, "eve")[1]) == (("signed_out", ""), "desk1")
    ann.hangs_up()


def test_a_wrong_extension_and_a_wrong_pin(pbx: Pbx) -> None:
    channel = dials(pbx, "desk1")
    pbx.asterisk.type_extension(channel, "")
    pbx.settle()
    assert pbx.asterisk.pins_asked == {channel: ""}
    pbx.asterisk.type_extension(channel, "bob")
    pbx.settle()
    for _ in range(2):
        pbx.asterisk.type_pin(channel, ok=False)
        pbx.settle()
    assert pbx.asterisk.pins_asked == {channel: "bob"}
    pbx.asterisk.type_pin(channel, ok=True)
    pbx.settle()
    assert state(pbx, "bob") == ("ready", "desk1")


def test_who_has_no_phone_cannot_be_signed_in_from_afar(pbx: Pbx) -> None:
    asked = m.AgentAsked("bob", "sign_in", "", "test")
    assert "at a desk" in refusal(pbx.centre.live, asked)
    pbx.centre.feed(asked)
    assert state(pbx, "bob") == ("signed_out", "")


def test_a_desk_that_went_dead_keeps_nobody_out_of_reach_elsewhere(pbx: Pbx) -> None:
    signs_in(pbx, "desk1", "eve")
    pbx.passes(seconds=8)
    pbx.centre.feed(m.PhoneSeen("eve", False, "desk1"))
    assert state(pbx, "eve") == ("unreachable", "desk1")
    pbx.centre.feed(m.AgentAsked("eve", "sign_out"))
    pbx.centre.feed(m.AgentAsked("eve", "sign_in"))
    assert state(pbx, "eve") == ("ready", "")


def test_a_code_at_an_empty_desk_is_nobodys(pbx: Pbx) -> None:
    channel = dials(pbx, "desk1", "pause")
    assert channel not in pbx.asterisk.channels


def test_no_caller_is_lost_whenever_we_die() -> None:
    """Deaths at every point of a sign-in at a desk, an offer there and a talk."""

    def play(pbx: Pbx) -> None:
        pbx.asterisk.phones["desk1"] = Phone("answers", 1)
        signs_in(pbx, "desk1", "bob")
        ann = pbx.caller("ann").dials("400")
        pbx.passes(seconds=8)
        ann.hangs_up()
        pbx.passes(seconds=30)

    whole = Pbx(centre())
    play(whole)
    for point in range(4, whole.centre.points + 1):
        pbx = Pbx(centre(), die_at=[point])
        play(pbx)
        pbx.definition = DEFINITION  # everybody has a phone again
        pbx.everyone_is_served()
