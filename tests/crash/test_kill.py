"""kill -9 (and SIGTERM) of Cordboard in every state of a call: what each party hears, what is decided after.

Nothing here sleeps for a fixed time but "Cordboard is away for so long", which is the fault itself, and
the stretch of talk or music before and after it that is listened to.
"""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from ari_app.core import messages as m
from tests.crash.calls import (
    DEAD_AIR_MS,
    MUSIC_JUMP_S,
    PACKET_GAP_MS,
    away,
    dies,
    figure,
    ringing,
    talking,
    waiting,
)
from tests.crash.rig import Desk, music_jump_s, position_s, tone_gap_s, tone_of, tracks, until

# ---------------------------------------------------------------- in the flow


async def test_greeting_goes_on_and_is_not_repeated(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    ann = await desk.phone("ann")
    call = await ann.dial("100")
    await call.answered()
    began_ns = await call.ear.hears_other()
    await asyncio.sleep(1)
    await away(board, 0.3)
    # The greeting takes 5.7 s, the menu's prompt 1.4 s; a repeated greeting would take much longer.
    awaited = await board.decides(m.InputAwaited, within_s=12)
    assert time.monotonic_ns() - began_ns < 9e9
    entered = board.events(m.NodeEntered)
    assert [(e.node, e.attempt) for e in entered] == [("greeting", 1), ("menu", 1)]
    await call.press("1")
    await board.decides(m.CallQueued)
    assert call.ear.longest_gap_ms() < DEAD_AIR_MS
    assert awaited.call == entered[0].call


async def test_greeting_that_ends_meanwhile_leads_on_and_nobody_hears_silence(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    ann = await desk.phone("ann")
    call = await ann.dial("100")
    await call.answered()
    heard_ns = await call.ear.hears_other()
    await asyncio.sleep(max(0.0, 4.5 - (time.monotonic_ns() - heard_ns) / 1e9))
    await away(board, 3.0)
    await board.decides(m.InputAwaited)
    assert [e.node for e in board.events(m.NodeEntered)] == ["greeting", "menu"]
    assert call.ear.longest_gap_ms() < DEAD_AIR_MS


@pytest.mark.parametrize("pause_s", [0.3, 1.5])
async def test_menu_keeps_its_deadline_to_the_nanosecond(desk: Desk, pause_s: float) -> None:
    board = desk.cordboard()
    await board.start()
    ann = await desk.phone("ann")
    call = await ann.dial("300")
    await call.answered()
    await call.ear.hears_other()
    awaited = await board.decides(m.InputAwaited)
    await away(board, pause_s)
    assert next(iter(board.floor().state.calls.values())).input_until_ns == awaited.until_ns
    await board.decides(m.MenuMissed, within_s=8)
    missed = next(r for r in board.recorded() if isinstance(r.event, m.MenuMissed))
    figure("menu deadline met late by", (missed.at_ns - awaited.until_ns) / 1e6, "ms")
    assert 0 <= missed.at_ns - awaited.until_ns < 100_000_000
    assert call.ear.longest_gap_ms() < DEAD_AIR_MS


async def test_caller_who_comes_meanwhile_hears_music_then_the_greeting(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    await dies(board)
    ann = await desk.phone("ann")
    call = await ann.dial("100")
    await call.answered()
    await until(lambda: position_s(call.ear) is not None, "music while Cordboard is away")
    await asyncio.sleep(1)
    await board.start()
    await board.decides(m.NodeEntered, within_s=3)
    await until(lambda: position_s(call.ear) is None, "the greeting instead of music", 3)
    figure("caller who came meanwhile: longest silence", call.ear.longest_gap_ms(), "ms")
    assert call.ear.longest_gap_ms() < DEAD_AIR_MS
    assert not board.events(m.CallOpened)[0].adopted  # the dialplan brought it in by itself


# ---------------------------------------------------------------- waiting


@pytest.mark.parametrize("pause_s", [0.3, 3.0])
async def test_music_plays_on_and_the_place_in_line_is_kept(desk: Desk, pause_s: float) -> None:
    board = desk.cordboard()
    await board.start()
    _, first = await waiting(desk, board, "ann")
    _, second = await waiting(desk, board, "ben")
    since_ns = time.monotonic_ns()
    before = {c.id: c.entered_ns for c in board.floor().state.calls.values()}
    await away(board, pause_s)
    await asyncio.sleep(0.5)
    for call in (first, second):
        jump_s = music_jump_s(call.ear, since_ns, time.monotonic_ns())
        figure(f"music's jump, Cordboard away {pause_s} s", jump_s * 1e3, "ms")
        assert jump_s < MUSIC_JUMP_S
        assert call.ear.longest_gap_ms(None, since_ns) < PACKET_GAP_MS
    floor = board.floor()
    assert {c.id: c.entered_ns for c in floor.state.calls.values()} == before
    assert [floor.position(c) for c in floor.state.calls.values()] == [1, 2]
    alice = await desk.phone("alice")
    await board.sign_in("alice")
    await first.ear.hears(tone_of(alice))
    assert not second.ear.heard(tone_of(alice))


async def test_caller_who_hangs_up_meanwhile_is_an_abandoned_call(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    _, call = await waiting(desk, board)
    await dies(board)
    await call.hang_up()
    await until(lambda: not desk.channels(), "the channel is gone")
    await board.start()
    ended = await board.decides(m.CallEnded)
    assert (ended.outcome, ended.by) == ("abandoned", "caller")
    assert not board.floor().state.calls


async def test_without_cordboard_waiting_and_new_callers_reach_the_fallback(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    night = await desk.phone("night")
    night.lines = 2
    _, call = await waiting(desk, board, "ann")
    died_ns = await dies(board)
    ben = await desk.phone("ben")
    late = await ben.dial("200")
    await late.answered()
    # A new caller after fallback.after_s = 4 s, one in Stasis after absolute_timeout_s = 10 s at the latest.
    late_ns = await late.ear.hears(tone_of(night), 8)
    assert 3e9 < late_ns - died_ns < 7e9
    call_ns = await call.ear.hears(tone_of(night), 12)
    assert call_ns - died_ns < 11e9
    figure("waiting caller at the fallback after", (call_ns - died_ns) / 1e9, "s")
    figure("new caller at the fallback after", (late_ns - died_ns) / 1e9, "s")
    assert call.ear.longest_gap_ms() < DEAD_AIR_MS
    assert late.ear.longest_gap_ms() < DEAD_AIR_MS
    # Back again: it lets them talk, and its books say where the caller went.
    await board.start()
    ended = await board.decides(m.CallEnded)
    assert ended.outcome == "fallback"
    since_ns = time.monotonic_ns()
    await asyncio.sleep(0.5)
    for each in (call, late):
        assert each.up
        assert each.ear.longest_gap_ms(tone_of(night), since_ns) < PACKET_GAP_MS


# ---------------------------------------------------------------- ringing


async def test_phone_rings_on_and_the_answer_connects_them(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    alice, (ann, call), leg = await ringing(desk, board)
    offer = board.events(m.OfferMade)[0]
    since_ns = time.monotonic_ns()
    await away(board, 0.3)
    floor = board.floor()
    live = next(iter(floor.state.calls.values())).offer
    assert live is not None
    assert (live.leg, live.until_ns) == (offer.leg, offer.until_ns)
    assert leg.end is None
    assert music_jump_s(call.ear, since_ns, time.monotonic_ns()) < MUSIC_JUMP_S
    answered_ns = time.monotonic_ns()
    await leg.answer()
    heard_ns = await call.ear.hears(tone_of(alice), 2, answered_ns)
    assert (heard_ns - answered_ns) / 1e6 < 500
    await leg.ear.hears(tone_of(ann))
    assert board.count(m.OfferMade) == 1


@pytest.mark.parametrize("pause_s", [0.3, 2.0])
async def test_agent_who_answers_meanwhile_is_connected_after_the_restart(desk: Desk, pause_s: float) -> None:
    board = desk.cordboard()
    await board.start()
    alice, (ann, call), leg = await ringing(desk, board)
    await dies(board)
    await leg.answer()
    await asyncio.sleep(pause_s)
    await board.start()
    # The dialplan tries again each second.
    back_ns = time.monotonic_ns()
    heard_ns = await call.ear.hears(tone_of(alice), 3)
    figure("answered meanwhile: restart to the agent's voice", (heard_ns - back_ns) / 1e6, "ms")
    assert (heard_ns - back_ns) / 1e6 < 1_500
    await leg.ear.hears(tone_of(ann))
    connected = await board.decides(m.CallConnected)
    assert connected.attempt == 1
    assert board.count(m.OfferLapsed) == 0
    for each in (call, leg):
        assert each.ear.longest_gap_ms() < DEAD_AIR_MS


async def test_killed_between_the_answer_and_the_bridge(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    alice, (ann, call), leg = await ringing(desk, board)
    board.signal(signal.SIGSTOP)  # it will not see the answer
    await leg.answer()
    await until(
        lambda: "Up" in desk.rx("core show channels concise").split("cordboard-agent")[1], "the leg is up"
    )
    await asyncio.sleep(0.3)  # the leg enters Stasis: its only StasisStart goes to the process that will die
    board.signal(signal.SIGKILL)
    await board.exit_code()
    await board.start()
    back_ns = time.monotonic_ns()
    assert (await call.ear.hears(tone_of(alice), 3) - back_ns) / 1e6 < 1_500
    await leg.ear.hears(tone_of(ann))
    assert board.count(m.OfferMade) == 1
    await board.decides(m.RecordingStarted, 2)


async def test_agent_who_declines_meanwhile_makes_room_for_the_next(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    _, (_, call), leg = await ringing(desk, board)
    await dies(board)
    await leg.reject(603)
    await until(lambda: len(desk.channels()) == 1, "the leg is gone")
    bob = await desk.phone("bob")
    await board.start()
    await board.sign_in("bob")
    await call.ear.hears(tone_of(bob))
    lapsed = board.events(m.OfferLapsed)[0]
    assert (lapsed.reason, lapsed.miss) == ("lost", False)
    connected = await board.decides(m.CallConnected)
    assert connected.agent == "bob"
    queued = next(r for r in board.recorded() if isinstance(r.event, m.CallQueued))
    talk = next(r for r in board.recorded() if isinstance(r.event, m.CallConnected))
    assert connected.waited_ns == talk.at_ns - queued.at_ns, "the wait counts from the first entry"


async def test_ring_deadline_that_passes_meanwhile_is_met_at_once(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    _, (_, call), leg = await ringing(desk, board)
    offer = board.events(m.OfferMade)[0]
    await asyncio.sleep(3)
    await dies(board)
    left_s = (offer.until_ns - board.floor().state.at_ns) / 1e9 - 3
    await asyncio.sleep(max(0.0, left_s))
    await board.start()
    await leg.gone(2)
    lapsed = await board.decides(m.OfferLapsed)
    assert (lapsed.reason, lapsed.miss) == ("no_answer", True)
    assert call.up
    assert call.ear.longest_gap_ms() < DEAD_AIR_MS


async def test_caller_who_hangs_up_while_it_rings_stops_the_ringing_after_the_restart(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    _, (_, call), leg = await ringing(desk, board)
    await dies(board)
    await call.hang_up()
    await board.start()
    await leg.gone(2)
    assert (await board.decides(m.CallEnded)).outcome == "abandoned"
    await board.decides(m.AgentFreed)
    assert board.agent() == "ready"
    assert not any(lapse.miss for lapse in board.events(m.OfferLapsed))


# ---------------------------------------------------------------- talking


@pytest.mark.parametrize(
    ("pause_s", "ending"), [(0.3, signal.SIGKILL), (3.0, signal.SIGKILL), (0.3, signal.SIGTERM)]
)
async def test_talk_goes_on_unbroken_and_the_recording_is_whole(
    desk: Desk, pause_s: float, ending: signal.Signals
) -> None:
    board = desk.cordboard()
    await board.start()
    ann, call, alice, leg = await talking(desk, board)
    since_ns = time.monotonic_ns()
    await away(board, pause_s, ending)
    await asyncio.sleep(0.5)
    until_ns = time.monotonic_ns()
    gap_ms = max(
        call.ear.longest_gap_ms(tone_of(alice), since_ns, until_ns),
        leg.ear.longest_gap_ms(tone_of(ann), since_ns, until_ns),
    )
    figure(f"longest gap in the talk, {ending.name}, away {pause_s} s", gap_ms, "ms")
    assert gap_ms < PACKET_GAP_MS
    assert call.ear.other_ms(since_ns, until_ns) == 0, "no music in the talk"
    assert leg.ear.other_ms(since_ns, until_ns) == 0
    await call.hang_up()
    await leg.gone()
    finished = await board.decides(m.RecordingFinished)
    ended = await board.decides(m.CallEnded)
    assert [path.name for path in desk.recordings()] == [finished.file]
    for samples, phone in zip(tracks(desk.recordings()[0]), (ann, alice), strict=True):
        heard_s, gap_s = tone_gap_s(samples, tone_of(phone))
        assert heard_s > ended.talk_ns / 1e9 - 0.3
        assert gap_s < 0.1
    assert board.count(m.RecordingStarted) == 2
    assert board.agent() == "wrap_up"


@pytest.mark.parametrize("who", ["caller", "agent"])
async def test_hang_up_meanwhile_ends_the_talk_after_the_restart(desk: Desk, who: str) -> None:
    board = desk.cordboard()
    await board.start()
    _, call, _, leg = await talking(desk, board)
    gone, other = (call, leg) if who == "caller" else (leg, call)
    await dies(board)
    await gone.hang_up()
    if who == "agent":  # nobody is left in silence
        await call.ear.hears_other(DEAD_AIR_MS / 1e3, time.monotonic_ns())
    await until(lambda: len(desk.channels()) == 1, "one side is gone")
    await board.start()
    await other.gone(2)
    assert call.ear.longest_gap_ms() < DEAD_AIR_MS
    ended = await board.decides(m.CallEnded)
    assert (ended.outcome, ended.by) == ("answered", who)
    await board.decides(m.RecordingFinished)
    assert board.agent() == "wrap_up"


async def test_killed_after_an_answer_that_led_to_no_talk_leaves_no_recording(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    _, (_, call), leg = await ringing(desk, board)
    board.signal(signal.SIGSTOP)  # it learns of both at once
    await leg.answer()
    await asyncio.sleep(0.3)
    await leg.hang_up()
    await until(lambda: len(desk.channels()) == 1, "the leg is gone")
    board.signal(signal.SIGCONT)
    await board.decides(m.ConnectFailed)
    await away(board, 0)  # before the files are removed, a second after the monitor is stopped
    failed = await board.decides(m.RecordingFailed)
    assert (failed.error, failed.final) == ("never bridged", True)
    left = [path.name for path in (desk.stack.state_dir / "recordings").glob("*.raw")]
    assert left == []
    assert call.up
    assert "MixMonitor" not in desk.rx("core show channels verbose")


async def test_caller_whose_agent_hung_up_meanwhile_gets_to_the_fallback_and_stays_there(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    _, call, _, leg = await talking(desk, board)
    night = await desk.phone("night")
    await dies(board)
    await leg.hang_up()
    since_ns = time.monotonic_ns()
    await call.ear.hears(tone_of(night), 7)  # fallback.after_s is 4
    figure("agent gone without Cordboard: longest silence", call.ear.longest_gap_ms(None, since_ns), "ms")
    assert call.ear.longest_gap_ms(None, since_ns) < DEAD_AIR_MS
    await board.start()
    ended = await board.decides(m.CallEnded)
    assert (ended.outcome, ended.by) == ("answered", "system")
    assert board.agent() == "wrap_up"
    await asyncio.sleep(0.3)
    assert call.up, "the fallback serves them"


@pytest.mark.parametrize("pause_s", [0.3, 5.0])
async def test_wrap_up_ends_when_it_should_have(desk: Desk, pause_s: float) -> None:
    board = desk.cordboard()
    await board.start()
    _, call, _, leg = await talking(desk, board)
    await call.hang_up()
    await leg.gone()
    wrap_up = await board.decides(m.WrapUpStarted)
    await board.decides(m.LegReleased)
    await away(board, pause_s)
    await board.decides(m.WrapUpEnded, within_s=6)
    ended = next(r for r in board.recorded() if isinstance(r.event, m.WrapUpEnded))
    back = [r for r in board.recorded() if isinstance(r.event, m.MatchingBegan)][-1]
    # 4 s of wrap-up: over while Cordboard is away for 5 s, and then at once.
    due_ns = max(wrap_up.until_ns, back.at_ns)
    assert wrap_up.until_ns <= ended.at_ns < due_ns + 100_000_000
    assert board.agent() == "ready"


# ---------------------------------------------------------------- feature codes


async def test_pin_being_typed_is_asked_for_again_or_ended(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    alice = await desk.phone("alice")
    call = await alice.dial("*11")
    await call.answered()
    await call.ear.hears_other()
    await call.press("1")  # lost with the process
    await away(board, 0.3)
    assert call.up
    await call.press(desk.secrets["agents"]["alice"]["pin"] + "#")
    await board.decides(m.AgentSignedIn)
    assert board.agent() == "other_call", "no call is offered while the phone is still at the code"
    assert board.count(m.PinRefused) == 0
    await call.gone(10)
    await until(lambda: board.agent() == "ready", "the agent is offered calls at once", 0.5)
    assert not board.floor().state.sessions


# ---------------------------------------------------------------- the journal is lost, too


async def test_talk_goes_on_when_the_journal_is_corrupt(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    ann, call, alice, leg = await talking(desk, board)
    first = board.events(m.CallConnected)[0]
    board.kill()
    journal = board.folder / "journal.db"
    journal.write_bytes(b"no journal" * 1_000)
    journal.with_name("journal.db-wal").unlink(missing_ok=True)
    began_ns = time.monotonic_ns()
    board.child.start()
    await until(lambda: bool(list(board.folder.glob("journal.db.broken-*"))), "it is set apart, not deleted")
    await board.matches(0)
    found = await board.decides(m.TalkFound)
    assert (found.call, found.agent, found.leg) == (first.call, "alice", first.leg)
    assert found.recording == first.recording
    assert board.agent() == "talking"
    await asyncio.sleep(0.3)
    now_ns = time.monotonic_ns()
    gap_ms = max(
        call.ear.longest_gap_ms(tone_of(alice), began_ns, now_ns),
        leg.ear.longest_gap_ms(tone_of(ann), began_ns, now_ns),
    )
    figure("longest gap in a talk whose journal was lost", gap_ms, "ms")
    assert gap_ms < PACKET_GAP_MS
    await leg.hang_up()
    ended = await board.decides(m.CallEnded)
    assert (ended.call, ended.outcome, ended.by) == (first.call, "answered", "agent")
    finished = await board.decides(m.RecordingFinished)
    path = next(path for path in desk.recordings() if path.name == finished.file)
    for samples, tone in zip(tracks(path), (tone_of(ann), tone_of(alice)), strict=True):
        heard_s, gap_s = tone_gap_s(samples, tone)
        assert heard_s > finished.duration_ns / 1e9 - 0.2, "both sides, from the answer on"
        assert gap_s < 0.1
    await board.decides(m.AgentFreed, within_s=8)
    assert board.count(m.CallEnded) == 1
