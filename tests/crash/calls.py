"""Calls brought into a state, and Cordboard's death: what the crash tests have in common."""

from __future__ import annotations

import asyncio
import signal
import time

from ari_app.core import messages as m
from tests.asterisk.harness import Call, Phone, rings
from tests.crash.rig import Cordboard, Desk, position_s, tone_of, until

DEAD_AIR_MS = 2_000
"""Nobody may hear silence for longer (design, section 5)."""
PACKET_GAP_MS = 150
"""More between two packets of a talk would be noticed; a quiet machine shows 20 to 40, a busy one 70."""
MUSIC_JUMP_S = 0.1


def figure(what: str, value: float, unit: str) -> None:
    """One measured figure for docs/reliability.md; ``pytest -s`` shows it."""
    print(f"\nfigure: {what}: {value:.3g} {unit}")


async def waiting(desk: Desk, board: Cordboard, name: str = "ann") -> tuple[Phone, Call]:
    """A caller who hears the queue's music."""
    phone = await desk.phone(name)
    queued = board.count(m.CallQueued)
    call = await phone.dial("200")
    await call.answered()
    await board.decides(m.CallQueued, queued + 1)
    await until(lambda: position_s(call.ear) is not None, "music")
    return phone, call


async def talking(desk: Desk, board: Cordboard) -> tuple[Phone, Call, Phone, Call]:
    """A caller who talks with alice, recorded."""
    alice, (ann, call), leg = await ringing(desk, board)
    await leg.answer()
    await call.ear.hears(tone_of(alice))
    await leg.ear.hears(tone_of(ann))
    await board.decides(m.RecordingStarted, 2)
    return ann, call, alice, leg


async def ringing(desk: Desk, board: Cordboard) -> tuple[Phone, tuple[Phone, Call], Call]:
    """A caller for whom alice's phone rings."""
    alice = await desk.phone("alice")
    alice.policy = rings
    await board.sign_in("alice")
    caller = await waiting(desk, board)
    leg = await alice.called()
    await board.decides(m.OfferRinging)
    return alice, caller, leg


async def away(board: Cordboard, seconds: float, ending: signal.Signals = signal.SIGKILL) -> int:
    """Cordboard dies and is started again after so long; when it died (monotonic ns)."""
    died_ns = await dies(board, ending)
    await asyncio.sleep(seconds)
    await board.start()
    return died_ns


async def dies(board: Cordboard, ending: signal.Signals = signal.SIGKILL) -> int:
    died_ns = time.monotonic_ns()
    board.signal(ending)
    code = await board.exit_code()
    assert code == (0 if ending == signal.SIGTERM else -ending)
    return died_ns
