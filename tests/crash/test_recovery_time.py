"""How long after its start a killed Cordboard offers calls again. ``-s`` shows the figures."""

from __future__ import annotations

import json
import time

import pytest

from ari_app.core import messages as m
from tests.asterisk.harness.sipp import CallerScript, Sipp
from tests.crash.rig import Desk, until

STARTS = 3
LIMIT_S = 0.5
"""From process start to matching, without the time for which the process was ready to run and other processes
had the processors: where other tests run beside this one, the clock is about them."""


@pytest.mark.parametrize("calls", [0, 200])
async def test_time_from_process_start_to_matching(desk: Desk, calls: int) -> None:
    board = desk.cordboard()
    await board.start()
    scripts = [CallerScript("200", f"+4930{1000 + n}") for n in range(calls)]
    sipp = None
    if scripts:
        server = ("127.0.0.1", desk.stack.options.sip_port or 5060)
        sipp = Sipp.callers(scripts, server, calls_a_second=60, host="127.0.0.2")
        await sipp.start()
        await until(lambda: board.count(m.CallQueued) == calls, f"{calls} calls wait", 20)
    entered = {c.id: c.entered_ns for c in board.floor().state.calls.values()}
    took_s, alone_s, cpu_s, own_ms = [], [], [], []
    for _ in range(STARTS):
        board.kill()
        started_ns = time.time_ns()
        await board.start()
        ran_s, waited_s = board.scheduled_s()
        cpu_s.append(ran_s)
        began = [r for r in board.recorded() if isinstance(r.event, m.MatchingBegan)][-1]
        took_s.append((began.at_ns - started_ns) / 1e9)
        alone_s.append(took_s[-1] - waited_s)
        agree = [line for line in board.log.splitlines() if '"asterisk and floor agree"' in line]
        own_ms.append(json.loads(agree[-1])["took_ms"])
        assert (began.event.calls if isinstance(began.event, m.MatchingBegan) else -1) == calls
    print(f"\nfigure: {calls} calls: start to matching {in_ms(took_s)} ms,", end=" ")
    print(f"without waiting for a processor {in_ms(alone_s)}, of that comparing with", end=" ")
    print(f"Asterisk {sorted(own_ms)}; processor {in_ms(cpu_s)}")
    assert {c.id: c.entered_ns for c in board.floor().state.calls.values()} == entered, "nobody is lost"
    assert min(alone_s) < LIMIT_S
    if sipp is not None:
        await sipp.stop()


def in_ms(samples_s: list[float]) -> list[int]:
    return sorted(round(s * 1e3) for s in samples_s)
