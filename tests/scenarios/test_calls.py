"""Callers' calls, as transcripts. Each also runs with deaths at every point (test_crashes.py)."""

from __future__ import annotations

from ari_app.core import messages as m
from tests.fakes.people import Caller, Pbx


def in_the_queue(pbx: Pbx, name: str) -> Caller:
    return pbx.caller(name).dials("100").presses("1")


def talking(pbx: Pbx, name: str, agent: str) -> Caller:
    caller = in_the_queue(pbx, name)
    pbx.agent(agent).signs_in().answers()
    return caller


# ---------------------------------------------------------------- the flow


def test_a_caller_hears_greeting_menu_and_music(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("100")
    assert ann.hears == "prompt welcome"
    pbx.passes(seconds=2)
    assert ann.hears == "prompt press-1"
    pbx.passes(seconds=2)
    assert (ann.state, ann.hears) == ("ivr", "music default")
    ann.presses("1")
    assert (ann.state, ann.position, ann.hears) == ("waiting", 1, "music default")


def test_a_key_during_the_greeting_answers_the_menu(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("100").presses("2")
    assert ann.hears == "prompt one-moment"
    pbx.passes(seconds=2)
    assert (ann.state, ann.hears) == ("waiting", "music quiet")


def test_a_wrong_key_during_the_greeting_is_ignored(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("100").presses("7")
    assert ann.hears == "prompt welcome"


def test_who_presses_nothing_is_asked_again_and_then_reaches_the_operator(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("100")
    pbx.passes(seconds=2 + 2 + 5)
    assert ann.hears == "prompt press-1"
    pbx.passes(seconds=2 * (2 + 5))
    assert ann.state == "waiting"


def test_who_presses_a_wrong_key_is_told_so_and_then_reaches_the_operator(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("100")
    pbx.passes(seconds=3)
    ann.presses("8")
    assert ann.hears == "prompt pbx-invalid press-1"
    ann.presses("8").presses("8")
    assert ann.state == "waiting"


def test_an_unknown_number_is_told_so_and_hung_up(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("999")
    assert ann.hears == "prompt ss-noservice"
    ann.presses("1")
    pbx.passes(seconds=3)
    assert (ann.state, pbx.outcomes()) == ("gone", ["rejected"])


def test_a_missing_sound_does_not_hold_the_caller_up(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("300")
    pbx.passes(seconds=1)
    assert (ann.state, pbx.outcomes()) == ("gone", ["left_in_flow"])


def test_a_flow_can_say_goodbye(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("100").presses("9")
    assert ann.hears == "prompt goodbye"
    pbx.passes(seconds=2)
    assert (ann.state, pbx.outcomes()) == ("gone", ["left_in_flow"])


def test_a_queue_without_a_prompt_begins_at_once(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("200")
    assert (ann.state, ann.hears) == ("waiting", "music quiet")
    ann.presses("1")
    assert ann.state == "waiting"


def test_an_important_caller_goes_first(pbx: Pbx) -> None:
    ann, cid = in_the_queue(pbx, "ann"), pbx.caller("cid").dials("400")
    assert (cid.position, ann.position) == (1, 2)


# ---------------------------------------------------------------- answered


def test_a_call_is_answered_recorded_and_wrapped_up(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = in_the_queue(pbx, "ann")
    assert (ann.state, bob.state, ann.hears) == ("offered", "ringing", "music default")
    pbx.passes(seconds=3)
    bob.answers()
    assert (ann.state, ann.talks_with, bob.state) == ("talking", "bob", "talking")
    assert len(pbx.asterisk.files) == 2
    pbx.passes(seconds=300)
    bob.hangs_up()
    assert (ann.state, bob.state, pbx.outcomes()) == ("gone", "wrap_up", ["answered"])
    pbx.passes(seconds=11)
    assert bob.state == "ready"
    assert [e.file for e in pbx.centre.events() if isinstance(e, m.RecordingFinished)] == ["e1-1.rec.1.wav"]


def test_the_caller_hangs_up_first(pbx: Pbx) -> None:
    ann = talking(pbx, "ann", "bob")
    ann.hangs_up()
    bob = pbx.agent("bob")
    assert (bob.state, bob.rings, pbx.outcomes()) == ("wrap_up", False, ["answered"])


def test_without_wrap_up_the_agent_is_ready_when_the_leg_is_gone(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("200")
    max_ = pbx.agent("max").signs_in().answers()
    assert ann.talks_with == "max"
    assert not pbx.asterisk.files
    ann.hangs_up()
    assert max_.state == "ready"


def test_the_longest_idle_agent_is_offered_first(pbx: Pbx) -> None:
    pbx.agent("eve").signs_in()
    pbx.passes(seconds=1)
    pbx.agent("bob").signs_in()
    in_the_queue(pbx, "ann")
    assert pbx.offers() == ["eve"]


def test_two_callers_are_served_in_order(pbx: Pbx) -> None:
    ann = in_the_queue(pbx, "ann")
    pbx.passes(seconds=1)
    cid = in_the_queue(pbx, "cid")
    assert (ann.position, cid.position) == (1, 2)
    bob = pbx.agent("bob").signs_in().answers()
    assert (ann.talks_with, cid.position) == ("bob", 1)
    ann.hangs_up()
    pbx.passes(seconds=10)
    bob.answers()
    assert cid.talks_with == "bob"


def test_an_agent_of_two_queues_takes_who_came_first(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("200")
    pbx.passes(seconds=1)
    cid = in_the_queue(pbx, "cid")
    pbx.agent("eve").signs_in().answers()
    assert (ann.talks_with, cid.position) == ("eve", 1)


# ---------------------------------------------------------------- the offer lapses


def test_no_answer_goes_to_the_next_agent_and_the_caller_keeps_their_place(pbx: Pbx) -> None:
    pbx.agent("bob").signs_in()
    ann = in_the_queue(pbx, "ann")
    pbx.passes(seconds=1)
    eve = pbx.agent("eve").signs_in()
    cid = in_the_queue(pbx, "cid")
    pbx.passes(seconds=3)
    eve.hangs_up()  # declined, so that both lines move
    pbx.passes(seconds=11)
    assert pbx.lapses() == ["failed", "no_answer"]
    assert (ann.position, cid.position) == (1, 2)


def test_no_answer_goes_to_the_next_agent(pbx: Pbx) -> None:
    pbx.agent("bob").signs_in()
    ann = in_the_queue(pbx, "ann")
    pbx.passes(seconds=1)
    eve = pbx.agent("eve").signs_in()
    pbx.passes(seconds=15)
    assert (pbx.offers(), pbx.lapses()) == (["bob", "eve"], ["no_answer"])
    eve.answers()
    assert ann.talks_with == "eve"


def test_a_busy_phone_is_left_alone_for_a_while(pbx: Pbx) -> None:
    bob = pbx.agent("bob").phone("busy").signs_in()
    ann = in_the_queue(pbx, "ann")
    assert (pbx.lapses(), bob.state, ann.state) == (["busy"], "ready", "waiting")
    bob.phone("rings")
    pbx.passes(seconds=4)
    assert ann.state == "waiting"
    pbx.passes(seconds=2)
    assert (ann.state, bob.record.misses) == ("offered", 0)


def test_a_call_may_be_declined(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = in_the_queue(pbx, "ann")
    bob.declines()
    assert (pbx.lapses(), bob.record.misses, ann.state) == (["declined"], 0, "waiting")


def test_an_unreachable_phone_counts_as_missed(pbx: Pbx) -> None:
    bob = pbx.agent("bob").phone("unreachable").signs_in()
    in_the_queue(pbx, "ann")
    assert (pbx.lapses(), bob.record.misses) == (["unreachable"], 1)


def test_after_two_misses_the_agent_is_not_responding(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = in_the_queue(pbx, "ann")
    pbx.passes(seconds=15 + 5 + 15)
    assert (bob.state, ann.state, pbx.offers()) == ("not_responding", "waiting", ["bob", "bob"])
    bob.asks("resume")
    assert (bob.state, ann.state) == ("ringing", "offered")


def test_an_answer_in_between_forgives_the_miss(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = in_the_queue(pbx, "ann")
    pbx.passes(seconds=15 + 5)
    bob.answers()
    ann.hangs_up()
    assert bob.record.misses == 0


def test_the_rest_after_a_miss_ends_with_an_arrival_in_the_same_instant(pbx: Pbx) -> None:
    bob = pbx.agent("bob").phone("busy").signs_in()
    ann = in_the_queue(pbx, "ann")
    ann.hangs_up()
    bob.phone("rings")
    pbx.asterisk.pass_to(pbx.asterisk.now_ns + 5_000_000_000)  # due, and nobody has looked yet
    in_the_queue(pbx, "cid")
    pbx.passes(seconds=1)
    assert bob.state == "ringing"


# ---------------------------------------------------------------- the caller is gone


def test_gone_in_the_greeting(pbx: Pbx) -> None:
    pbx.caller("ann").dials("100").hangs_up()
    assert pbx.outcomes() == ["left_in_flow"]


def test_gone_while_the_unknown_number_is_explained(pbx: Pbx) -> None:
    pbx.caller("ann").dials("999").hangs_up()
    assert pbx.outcomes() == ["rejected"]


def test_gone_in_the_queue(pbx: Pbx) -> None:
    ann = in_the_queue(pbx, "ann")
    pbx.passes(seconds=7)
    ann.hangs_up()
    ended = [e for e in pbx.centre.events() if isinstance(e, m.CallEnded)]
    assert [(e.outcome, e.queue, e.waited_ns) for e in ended] == [("abandoned", "sales", 7_000_000_000)]


def test_gone_while_the_phone_rings(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = in_the_queue(pbx, "ann").hangs_up()
    assert (ann.state, bob.state, bob.rings) == ("gone", "ready", False)
    assert (bob.record.misses, pbx.outcomes(), pbx.lapses()) == (0, ["abandoned"], ["caller_gone"])


def test_gone_in_the_instant_of_the_answer_heard_before_it(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = in_the_queue(pbx, "ann").hangs_up(unheard=True)
    bob.answers()
    assert (ann.state, bob.rings, bob.state) == ("gone", False, "ready")
    assert pbx.outcomes() == ["abandoned"]


def test_gone_in_the_instant_of_the_answer_heard_after_it(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = in_the_queue(pbx, "ann")
    bob.answers(unheard=True)
    ann.hangs_up()
    assert (ann.state, bob.rings, bob.state) == ("gone", False, "wrap_up")
    assert pbx.outcomes() == ["answered"]


def test_an_answer_after_the_lapse_is_hung_up(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = in_the_queue(pbx, "ann")
    bob.answers(unheard=True)
    pbx.asterisk.pass_to(pbx.asterisk.now_ns + 15_000_000_000)
    pbx.centre.overdue()
    pbx.settle()
    assert (ann.state, bob.rings, pbx.lapses()) == ("waiting", False, ["no_answer"])


def test_an_agent_who_answers_and_hangs_up_before_the_bridge_costs_no_caller(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = in_the_queue(pbx, "ann")
    bob.answers(unheard=True).hangs_up()
    assert (ann.state, ann.hears, ann.position) == ("waiting", "music default", 1)
    pbx.passes(seconds=6)
    bob.answers()
    assert ann.talks_with == "bob"


# ---------------------------------------------------------------- what Asterisk may refuse


def test_a_refused_bridge_sends_the_caller_back_to_their_place(pbx: Pbx) -> None:
    pbx.asterisk.refuse_bridges = 1
    ann = talking(pbx, "ann", "bob")
    cid = in_the_queue(pbx, "cid")
    assert (ann.state, ann.position, cid.position) == ("waiting", 1, 2)
    pbx.passes(seconds=6)
    pbx.agent("bob").answers()
    assert ann.talks_with == "bob"


def test_a_call_goes_on_without_its_recording(pbx: Pbx) -> None:
    pbx.asterisk.refuse_recordings = True
    ann = talking(pbx, "ann", "bob")
    assert ann.talks_with == "bob"
    assert any("recording" in alarm for alarm in pbx.asterisk.alarms)
    ann.hangs_up()
    assert not pbx.centre.live.state.recordings


def test_the_absolute_time_out_is_renewed_while_we_live(pbx: Pbx) -> None:
    ann = in_the_queue(pbx, "ann")
    pbx.passes(seconds=600)
    assert (ann.state, ann.hears) == ("waiting", "music default")


def test_without_us_callers_reach_the_fallback(pbx: Pbx) -> None:
    ann = in_the_queue(pbx, "ann")
    pbx.dies().passes(seconds=130)
    assert ann.hears == "fallback"
    pbx.restarts()
    assert (ann.state, pbx.outcomes()) == ("gone", ["fallback"])
    pbx.passes(seconds=5)
    assert ann.hears == "fallback"


def test_the_time_out_in_the_instant_of_the_answer_costs_no_caller(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = in_the_queue(pbx, "ann")
    pbx.asterisk.channels[ann.channel].absolute_ns = pbx.asterisk.now_ns + 1
    bob.answers(unheard=True)
    pbx.asterisk.pass_to(pbx.asterisk.now_ns + 2)
    pbx.settle()
    assert (ann.state, ann.hears) == ("gone", "fallback")


def test_a_step_that_raises_sets_one_call_apart(pbx: Pbx) -> None:
    ann = in_the_queue(pbx, "ann")
    cid = pbx.caller("cid").dials("500")
    pbx.passes(seconds=3)
    assert (cid.state, cid.hears, ann.state) == ("gone", "fallback", "waiting")
    assert any("failed" in alarm for alarm in pbx.asterisk.alarms)


def test_an_arrival_that_raises_goes_to_the_fallback(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("600")
    assert (ann.state, ann.hears) == ("gone", "fallback")


# ---------------------------------------------------------------- restarts


def test_a_talk_goes_on_over_a_restart(pbx: Pbx) -> None:
    ann = talking(pbx, "ann", "bob")
    pbx.dies().passes(seconds=20)
    assert ann.talks_with == "bob"
    pbx.restarts()
    assert (ann.state, ann.talks_with) == ("talking", "bob")
    ann.hangs_up()
    assert pbx.agent("bob").state == "wrap_up"


def test_a_wait_keeps_its_place_over_a_restart(pbx: Pbx) -> None:
    ann = in_the_queue(pbx, "ann")
    pbx.passes(seconds=1)
    cid = in_the_queue(pbx, "cid")
    pbx.dies().passes(seconds=20)
    assert ann.hears == "music default"
    dan = pbx.caller("dan").dials("400")  # waits in the dialplan
    pbx.restarts()
    pbx.passes(seconds=1)
    assert (dan.position, ann.position, cid.position) == (1, 2, 3)


def test_who_hung_up_while_we_were_away_is_off_the_floor(pbx: Pbx) -> None:
    ann = in_the_queue(pbx, "ann")
    pbx.dies()
    ann.hangs_up()
    pbx.passes(seconds=5).restarts()
    assert (ann.state, pbx.outcomes()) == ("gone", ["abandoned"])


def test_an_agent_who_hung_up_while_we_were_away_is_wrapped_up(pbx: Pbx) -> None:
    ann = talking(pbx, "ann", "bob")
    pbx.dies()
    bob = pbx.agent("bob").hangs_up()
    pbx.passes(seconds=5).restarts()
    assert (ann.state, bob.state) == ("gone", "wrap_up")


def test_an_answer_while_we_were_away_connects(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = in_the_queue(pbx, "ann")
    pbx.dies()
    bob.answers()
    pbx.passes(seconds=2).restarts()
    assert (ann.state, ann.talks_with) == ("talking", "bob")


def test_an_answer_that_nobody_heard_before_the_death_connects(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = in_the_queue(pbx, "ann")
    bob.answers(unheard=True)
    pbx.dies().restarts()
    assert ann.talks_with == "bob"


def test_a_talk_that_began_and_ended_around_the_death_was_a_talk(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = in_the_queue(pbx, "ann")
    leg = bob.answers(unheard=True).record.leg
    pbx.centre.deliver(leg)
    assert ann.talks_with == "bob"
    pbx.dies()
    bob.hangs_up()
    pbx.restarts()
    assert (ann.state, pbx.outcomes(), bob.state) == ("gone", ["answered"], "wrap_up")


def test_a_ring_that_ended_while_we_were_away_is_no_miss(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = in_the_queue(pbx, "ann")
    pbx.dies().passes(seconds=25)
    assert not bob.rings
    pbx.restarts()
    assert (pbx.lapses(), bob.record.misses, ann.state) == (["lost"], 0, "offered")


def test_a_prompt_that_ended_while_we_were_away(pbx: Pbx) -> None:
    ann = pbx.caller("ann").dials("100")
    pbx.dies().passes(seconds=4).restarts()
    assert ann.hears == "prompt press-1"


def test_who_came_while_we_were_away_is_greeted(pbx: Pbx) -> None:
    pbx.dies()
    ann = pbx.caller("ann").dials("100")
    pbx.passes(seconds=3).restarts()
    pbx.passes(seconds=1)
    assert (ann.state, ann.hears) == ("ivr", "prompt welcome")


def test_a_wrap_up_that_ended_while_we_were_away(pbx: Pbx) -> None:
    talking(pbx, "ann", "bob").hangs_up()
    pbx.dies().passes(seconds=20).restarts()
    assert pbx.agent("bob").state == "ready"
