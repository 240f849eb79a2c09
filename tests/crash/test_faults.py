"""Faults around Cordboard: a second process, a dead Asterisk, a cut wire, a frozen process."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

from ari_app.core import messages as m
from tests.asterisk.harness import Call, rings
from tests.crash.calls import DEAD_AIR_MS, MUSIC_JUMP_S, PACKET_GAP_MS, figure, ringing, talking, waiting
from tests.crash.proxy import Proxy
from tests.crash.rig import Cordboard, Desk, music_jump_s, tone_of, until

# ---------------------------------------------------------------- two processes


async def test_a_second_process_over_the_same_state_says_so_and_ends(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    _, call = await waiting(desk, board)
    second = Cordboard(desk.stack, board.folder, log=desk.folder / "second.log")
    second.child.start()
    assert await second.exit_code() == 3
    assert "journal" in second.log
    assert "Traceback" not in second.log
    assert board.child.running
    assert call.up


async def test_a_second_cordboard_takes_over_and_the_first_stops_for_good(desk: Desk) -> None:
    first = desk.cordboard("first")
    await first.start()
    _, call = await waiting(desk, first)
    second = desk.cordboard("second")
    await second.start()
    assert await first.exit_code() == 3
    assert "another process connected to Asterisk" in first.log
    last = first.recorded()[-1]
    # The caller is the second one's now: found without a history, never hung up.
    opened = await second.decides(m.CallOpened)
    assert (opened.adopted, opened.number) == (True, "200")
    assert call.up
    assert call.ear.longest_gap_ms() < DEAD_AIR_MS
    assert not isinstance(last.event, m.CallEnded)
    alice = await desk.phone("alice")
    await second.sign_in("alice")
    await call.ear.hears(tone_of(alice))


# ---------------------------------------------------------------- Asterisk dies


async def test_asterisk_killed_is_noticed_and_nobody_is_left_on_the_books(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    ann, _, alice, _ = await talking(desk, board)
    await waiting(desk, board, "ben")
    asterisk = desk.stack.asterisk
    assert asterisk is not None
    asterisk.kill()
    killed_ns = time.monotonic_ns()
    await board.decides(m.MatchingHeld, within_s=2)
    figure("Asterisk's death noticed after", (time.monotonic_ns() - killed_ns) / 1e6, "ms")
    assert time.monotonic_ns() - killed_ns < 1_500_000_000
    matched = board.count(m.MatchingBegan)
    asterisk.start()
    await board.matches(matched)
    await until(lambda: board.count(m.CallEnded) == 2, "both calls ended")
    ended = {e.outcome: e.by for e in board.events(m.CallEnded)}
    assert ended == {"answered": "system", "system": "system"}, "nobody hung up: the system lost them"
    assert not board.floor().state.calls
    assert board.agent() == "wrap_up"
    await board.decides(m.AgentFreed, within_s=6)
    finished = await board.decides(m.RecordingFinished)
    assert Path(finished.file).name in [p.name for p in desk.recordings()]
    # The phones register again and the next call is served.
    await alice.register()
    ann_again = await desk.phone("cyd")
    call = await ann_again.dial("200")
    await call.answered()
    await call.ear.hears_other()
    await board.decides(m.OfferMade, 2)
    assert ann is not None


# ---------------------------------------------------------------- the wire


async def test_cut_wire_with_calls_in_every_state(wire: Proxy, desk: Desk) -> None:
    board = desk.cordboard(ari_url=wire.ari_url)
    await board.start()
    ann, talk, alice, _ = await talking(desk, board)
    bob = await desk.phone("bob")
    bob.policy = rings
    await board.sign_in("bob")
    ben, rung = await waiting(desk, board, "ben")
    leg = await bob.called()
    await board.decides(m.OfferRinging, 2)
    _, music = await waiting(desk, board, "cyd")
    dan = await desk.phone("dan")
    menu = await dan.dial("300")
    await menu.answered()
    await board.decides(m.InputAwaited)
    since_ns = time.monotonic_ns()
    matched = board.count(m.MatchingBegan)
    wire.refuses = True
    wire.cut()
    await board.decides(m.MatchingHeld)
    await leg.answer()
    await asyncio.sleep(0.5)
    wire.refuses = False
    back_ns = time.monotonic_ns()
    await board.matches(matched, 6)
    figure("wire back to matching", (time.monotonic_ns() - back_ns) / 1e6, "ms")
    await rung.ear.hears(tone_of(bob))
    await leg.ear.hears(tone_of(ben))
    await board.decides(m.MenuMissed, within_s=8)
    now_ns = time.monotonic_ns()
    gap_ms = talk.ear.longest_gap_ms(tone_of(alice), since_ns, now_ns)
    figure("longest gap in the talk, wire cut", gap_ms, "ms")
    assert gap_ms < PACKET_GAP_MS
    assert music_jump_s(music.ear, since_ns, now_ns) < MUSIC_JUMP_S
    for call in (talk, rung, music, menu):
        assert call.up
        assert call.ear.longest_gap_ms() < DEAD_AIR_MS
    assert {c.state for c in board.floor().state.calls.values()} == {"talking", "waiting", "ivr"}
    assert board.count(m.OfferMade) == 2
    assert board.child.running
    assert ann.call is talk


async def test_who_hangs_up_while_the_wire_is_cut_is_found_gone(wire: Proxy, desk: Desk) -> None:
    board = desk.cordboard(ari_url=wire.ari_url)
    await board.start()
    _, talk, _, leg = await talking(desk, board)
    _, music = await waiting(desk, board, "ben")
    wire.refuses = True
    wire.cut()
    await board.decides(m.MatchingHeld)
    await talk.hang_up()
    await music.hang_up()
    matched = board.count(m.MatchingBegan)
    wire.refuses = False
    await board.matches(matched, 6)
    await leg.gone(2)
    await until(lambda: board.count(m.CallEnded) == 2, "both calls ended")
    assert {e.outcome for e in board.events(m.CallEnded)} == {"answered", "abandoned"}
    assert board.agent() == "wrap_up"


async def test_frozen_wire_loses_nothing(wire: Proxy, desk: Desk) -> None:
    board = desk.cordboard(ari_url=wire.ari_url)
    await board.start()
    dan = await desk.phone("dan")
    menu = await dan.dial("300")
    await menu.answered()
    await board.decides(m.InputAwaited)
    wire.freeze()
    await menu.press("1")
    await until(lambda: '"phase": "silent"' in board.log, "it notices", 3)
    wire.thaw()
    await board.decides(m.CallQueued)
    assert board.count(m.MatchingHeld) == 0


# ---------------------------------------------------------------- a frozen process


async def test_process_frozen_for_five_seconds(desk: Desk) -> None:
    board = desk.cordboard()
    await board.start()
    alice, (ben, rung), leg = await ringing(desk, board)
    _, music = await waiting(desk, board, "cyd")
    since_ns = time.monotonic_ns()
    board.signal(signal.SIGSTOP)
    await asyncio.sleep(1)
    await leg.answer()
    late = await _arrives(desk)
    await asyncio.sleep(4)
    board.signal(signal.SIGCONT)
    woken_ns = time.monotonic_ns()
    heard_ns = await rung.ear.hears(tone_of(alice), 3)
    figure("frozen 5 s: awake to the agent's voice", (heard_ns - woken_ns) / 1e6, "ms")
    assert (heard_ns - woken_ns) / 1e9 < 1.5
    await leg.ear.hears(tone_of(ben))
    await until(lambda: len(board.floor().state.calls) == 3, "the late caller is on the books")
    assert music_jump_s(music.ear, since_ns, time.monotonic_ns()) < MUSIC_JUMP_S
    for call in (rung, music, late):
        assert call.up
        assert call.ear.longest_gap_ms() < DEAD_AIR_MS
    assert board.count(m.OfferLapsed) == 0, "the answer came in time; only its news was late"


async def _arrives(desk: Desk) -> Call:
    dan = await desk.phone("dan")
    call = await dan.dial("200")
    await call.answered()
    return call
