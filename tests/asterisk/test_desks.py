"""Agents' phones on the real thing: holds, calls of their own, lamps and hot desks."""

from __future__ import annotations

import asyncio

from .centre import Centre, Plan
from .harness import Call, Phone, answers

PLAN = Plan(agents=("alice", "bob"))

RESTART = ['"event": "definition"', "[wW]eb [sS]ocket|WebSocket read error"]
"""What a Cordboard that is killed and started again leaves in the logs."""


async def hears(call: Call, agent: Phone) -> None:
    assert agent.tone is not None
    await call.ear.hears(agent.tone)


async def test_a_phone_that_holds_is_seen_also_after_a_restart(centre: Centre) -> None:
    centre.expected_in_log = RESTART
    bob, ann = await centre.agent("bob", answers(0.0)), await centre.caller("ann")
    call = await ann.dial("250")
    await call.answered()
    leg = await bob.called()
    await hears(call, bob)
    await leg.hold()
    await centre.agent_is("bob", "holding")
    await call.ear.hears_other()
    centre.kill_cordboard()
    await centre.start_cordboard()
    await centre.agent_is("bob", "holding")
    await call.ear.hears_other()
    centre.kill_cordboard()
    await leg.resume()
    await centre.start_cordboard()
    await centre.agent_is("bob", "talking")
    await hears(call, bob)
    await leg.hold()
    await centre.agent_is("bob", "holding")
    await asyncio.sleep(0.2)
    await call.hang_up()
    row = await centre.row(call)
    assert row["hold_ns"] > 400_000_000
    spans = await centre.ledger(
        "SELECT state, sum(to_ns - from_ns)::bigint AS ns FROM segments WHERE call = %s AND party = 'agent'"
        " AND state IN ('talking', 'holding') GROUP BY state",
        row["call"],
    )
    assert {s["state"]: s["ns"] for s in spans} == {"talking": row["talk_ns"], "holding": row["hold_ns"]}
