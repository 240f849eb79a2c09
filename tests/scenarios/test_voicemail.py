"""Callers whom a queue lets leave a message: by key, hanging up, too long; and a death at each instant."""

from __future__ import annotations

import msgspec

from ari_app.core import messages as m, why
from ari_app.core.definition import Definition, Overflow, Target
from tests.fakes.people import DEFINITION, Pbx

GREETING_S = 4


def centre() -> Definition:
    rules = Overflow(timeout=Target(voicemail=True, longest_s=60))
    sales = msgspec.structs.replace(DEFINITION.queues["sales"], max_wait_s=30.0, overflow=rules)
    return msgspec.structs.replace(DEFINITION, queues={**DEFINITION.queues, "sales": sales})


def speaking(die_at: set[int] | None = None) -> Pbx:
    """A caller waited for too long; greeting and tone are over."""
    pbx = Pbx(centre(), die_at=die_at or set())
    pbx.caller("ann").dials("400")
    return pbx.passes(seconds=31 + GREETING_S)


def finished(pbx: Pbx) -> list[str]:
    return [e.file for e in pbx.centre.events() if isinstance(e, m.RecordingFinished)]


def test_after_greeting_and_tone_the_message_is_recorded_without_music_in_it() -> None:
    pbx = Pbx(centre())
    ann = pbx.caller("ann").dials("400")
    pbx.passes(seconds=31)
    assert ann.hears == "prompt vm-intro beep"
    pbx.passes(seconds=GREETING_S)
    assert (ann.state, ann.hears) == ("message", "")
    (call,) = pbx.centre.live.state.calls.values()
    (said,) = why.caller(pbx.centre.live, call.id, pbx.asterisk.now_ns)
    assert said.startswith(f"{call.id} leaves a message, for up to 59 s more")
    ann.hangs_up()
    pbx.settle()
    assert (pbx.outcomes(), finished(pbx)) == (["voicemail"], [f"{call.id}.message.{call.visit}.wav"])
    assert pbx.centre.live.state.recordings == {}


def test_the_hash_key_ends_it_and_other_keys_do_not() -> None:
    pbx = speaking()
    (call,) = pbx.centre.live.state.calls.values()
    pbx.asterisk.press(call.channel, "1")
    pbx.settle()
    assert call.state == "message"
    pbx.asterisk.press(call.channel, "#")
    pbx.settle()
    assert (pbx.outcomes(), len(finished(pbx)), pbx.asterisk.channels) == (["voicemail"], 1, {})


def test_a_message_is_finished_even_if_no_hang_up_was_heard_before_the_end() -> None:
    for end in (m.ChannelLeft, m.ChannelGone):
        pbx = speaking()
        (call,) = pbx.centre.live.state.calls.values()
        pbx.centre.feed(end(call.channel))
        pbx.settle()
        assert (len(finished(pbx)), pbx.centre.live.state.recordings) == (1, {}), end


def test_nobody_speaks_for_longer_than_the_target_allows() -> None:
    pbx = speaking().passes(seconds=58)
    assert pbx.outcomes() == []
    pbx.passes(seconds=2)
    assert (pbx.outcomes(), len(finished(pbx))) == (["voicemail"], 1)


def test_nobody_speaks_to_no_one() -> None:
    pbx = Pbx(centre())
    pbx.asterisk.refuse_recordings = True
    ann = pbx.caller("ann").dials("400")
    pbx.passes(seconds=31 + GREETING_S)
    assert (ann.hears, pbx.outcomes(), pbx.asterisk.alarms) == (
        "fallback",
        ["timed_out"],
        ["message not recorded: refused"],
    )


def test_a_death_at_any_point_keeps_the_message() -> None:
    pbx = speaking().passes(seconds=70)
    for point in range(1, pbx.centre.points + 1):
        pbx = speaking(die_at={point}).passes(seconds=90)
        assert pbx.outcomes() == ["voicemail"], point
        assert len(finished(pbx)) == 1, point


def test_a_message_that_ended_while_nobody_watched_is_finished() -> None:
    pbx = speaking()
    (call,) = pbx.centre.live.state.calls.values()
    pbx.dies()
    pbx.asterisk.hang_up(call.channel)
    pbx.restarts().settle()
    assert (pbx.outcomes(), len(finished(pbx))) == (["voicemail"], 1)
