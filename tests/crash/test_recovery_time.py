"""How long after its start a killed Cordboard offers calls again. ``-s`` shows the figures."""

from __future__ import annotations

import json
import time

import pytest

from ari_app.core import messages as m
from tests.asterisk.harness.sipp import CallerScript, Sipp
from tests.crash.rig import Desk, until

STARTS = 3
CPU_LIMIT_S = 1.0
"""Of the processor, to matching: the clock says nothing where other tests run beside this one. The target on
a quiet machine is 0.5 s by the clock with 200 live calls: docs/reliability.md."""


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
    took_s, cpu_s, own_ms = [], [], []
    for _ in range(STARTS):
        board.kill()
        started_ns = time.time_ns()
        await board.start()
        cpu_s.append(board.cpu_s())
        began = [r for r in board.recorded() if isinstance(r.event, m.MatchingBegan)][-1]
        took_s.append((began.at_ns - started_ns) / 1e9)
        agree = [line for line in board.log.splitlines() if '"asterisk and floor agree"' in line]
        own_ms.append(json.loads(agree[-1])["took_ms"])
        assert (began.event.calls if isinstance(began.event, m.MatchingBegan) else -1) == calls
    print(f"\n{calls} calls: start to matching {sorted(round(s * 1e3) for s in took_s)} ms,", end=" ")
    print(f"of that comparing with Asterisk {sorted(own_ms)} ms; processor {sorted(cpu_s)} s")
    assert {c.id: c.entered_ns for c in board.floor().state.calls.values()} == entered, "nobody is lost"
    assert min(cpu_s) < CPU_LIMIT_S
    if sipp is not None:
        await sipp.stop()
