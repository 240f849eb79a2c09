"""Agents at their phones, as transcripts. Each also runs with deaths at every point (test_crashes.py)."""

from __future__ import annotations

from tests.fakes.people import Pbx


def test_sign_in_by_code_and_pin(pbx: Pbx) -> None:
    bob = pbx.agent("bob").dials_code("sign_in")
    assert bob.pbx.asterisk.hears(bob.session) == "prompt agent-pass"
    bob.types(ok=True)
    assert bob.state == "ready"
    assert bob.pbx.asterisk.hears(bob.session) == "prompt agent-loginok"
    pbx.passes(seconds=3)
    assert bob.session not in pbx.asterisk.channels


def test_a_wrong_pin_may_be_corrected(pbx: Pbx) -> None:
    bob = pbx.agent("bob").dials_code("sign_in").types(ok=False)
    assert (bob.state, bob.record.pin_failures) == ("signed_out", 1)
    bob.types(ok=True)
    assert (bob.state, bob.record.pin_failures) == ("ready", 0)


def test_three_wrong_pins_end_the_call(pbx: Pbx) -> None:
    bob = pbx.agent("bob").dials_code("sign_in")
    for _ in range(3):
        bob.types(ok=False)
    assert pbx.asterisk.hears(bob.session) == "prompt vm-goodbye"
    pbx.passes(seconds=3)
    assert (bob.state, bob.session in pbx.asterisk.channels) == ("signed_out", False)


def test_five_wrong_pins_lock_and_an_unlock_opens(pbx: Pbx) -> None:
    bob = pbx.agent("bob")
    for attempt in range(5):
        if attempt in (0, 3):
            bob.dials_code("sign_in")
        bob.types(ok=False)
    assert any("locked" in alarm for alarm in pbx.asterisk.alarms)
    pbx.passes(seconds=5)
    bob.dials_code("sign_in")
    assert pbx.asterisk.hears(bob.session) == "prompt vm-invalidpassword vm-goodbye"
    pbx.passes(seconds=5)
    bob.asks("unlock").dials_code("sign_in").types(ok=True)
    assert bob.state == "ready"


def test_a_lock_ends_by_itself(pbx: Pbx) -> None:
    bob = pbx.agent("bob")
    for attempt in range(5):
        if attempt in (0, 3):
            bob.dials_code("sign_in")
        bob.types(ok=False)
    pbx.passes(seconds=901)
    bob.dials_code("sign_in").types(ok=True)
    assert bob.state == "ready"


def test_nothing_typed(pbx: Pbx) -> None:
    bob = pbx.agent("bob").dials_code("sign_in").types(ok=False, entered=False)
    assert bob.record.pin_failures == 0
    pbx.passes(seconds=3)
    assert bob.session not in pbx.asterisk.channels


def test_a_pin_that_never_comes(pbx: Pbx) -> None:
    bob = pbx.agent("bob").dials_code("sign_in")
    pbx.passes(seconds=10)
    assert pbx.asterisk.hears(bob.session) == "prompt vm-goodbye"


def test_hanging_up_on_the_pin(pbx: Pbx) -> None:
    bob = pbx.agent("bob").dials_code("sign_in")
    pbx.asterisk.hang_up(bob.session)
    pbx.settle()
    assert not pbx.centre.live.state.sessions


def test_a_code_without_a_pin(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in().asks("pause", "lunch").dials_code("resume")
    assert bob.state == "ready"


def test_a_strangers_phone_is_hung_up(pbx: Pbx) -> None:
    zoe = pbx.agent("zoe").dials_code("sign_in")
    assert zoe.session not in pbx.asterisk.channels


def test_a_pin_being_typed_survives_a_restart(pbx: Pbx) -> None:
    bob = pbx.agent("bob").dials_code("sign_in")
    pbx.dies().passes(seconds=1).restarts()
    bob.types(ok=True)
    assert bob.state == "ready"


def test_pause_and_resume(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in().asks("pause", "lunch")
    ann = pbx.caller("ann").dials("100").presses("1")
    assert (bob.state, bob.record.reason, ann.state) == ("paused", "lunch", "waiting")
    bob.asks("pause", "meeting")
    assert (bob.state, bob.record.reason) == ("paused", "meeting")
    bob.asks("resume")
    assert (bob.state, ann.state) == ("ringing", "offered")


def test_what_is_asked_during_a_call_takes_effect_after_it(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = pbx.caller("ann").dials("100").presses("1")
    bob.answers().asks("pause", "lunch")
    assert (ann.talks_with, bob.state) == ("bob", "talking")
    ann.hangs_up()
    assert bob.state == "wrap_up"
    pbx.passes(seconds=10)
    assert (bob.state, bob.record.reason) == ("paused", "lunch")


def test_the_last_wish_counts(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = pbx.caller("ann").dials("100").presses("1")
    bob.answers().asks("sign_out").asks("sign_in").asks("pause").asks("resume").asks("sign_out")
    ann.hangs_up()
    pbx.passes(seconds=10)
    assert bob.state == "signed_out"


def test_sign_out_while_it_rings(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = pbx.caller("ann").dials("100").presses("1")
    bob.asks("sign_out")
    assert bob.state == "ringing"
    pbx.passes(seconds=16)
    assert (bob.state, ann.state) == ("signed_out", "waiting")


def test_paused_or_signed_out_agents_can_be_moved_on(pbx: Pbx) -> None:
    bob = pbx.agent("bob").asks("pause").asks("resume").asks("sign_out")
    assert bob.state == "signed_out"
    bob.signs_in().asks("pause").asks("sign_out")
    assert bob.state == "signed_out"


def test_not_responding_can_pause_or_sign_out(pbx: Pbx) -> None:
    for wish, state in (("pause", "paused"), ("sign_out", "signed_out")):
        bob = pbx.agent("bob").signs_in().asks("resume")
        ann = pbx.caller("ann").dials("100").presses("1")
        pbx.passes(seconds=36)
        assert bob.state == "not_responding"
        bob.asks("pause" if wish == "pause" else "sign_out")
        assert bob.state == state
        ann.hangs_up()


def test_a_phone_that_holds_is_seen_and_the_caller_hears_music(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = pbx.caller("ann").dials("400")
    bob.answers()
    bob.holds()
    assert (bob.state, ann.hears) == ("holding", "music hold")
    pbx.dies().restarts()
    assert (bob.state, ann.hears) == ("holding", "music hold")
    bob.holds(on=False)
    assert (bob.state, ann.hears, ann.talks_with) == ("talking", "talk", "bob")
    bob.holds()
    ann.hangs_up()
    assert bob.state == "wrap_up"


def test_a_hold_that_nobody_saw_begin_or_end(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = pbx.caller("ann").dials("400")
    bob.answers()
    pbx.dies()
    bob.holds()
    pbx.restarts()
    assert (bob.state, ann.hears) == ("holding", "music hold")
    pbx.dies()
    bob.holds(on=False)
    pbx.restarts()
    assert (bob.state, ann.talks_with) == ("talking", "bob")
