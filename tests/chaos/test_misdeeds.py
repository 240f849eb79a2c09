"""Single misdeeds of phones, each with what must come of it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.asterisk.harness import Call, MediaError, answers, declines, rings

from .campaign import Campaign
from .load import redirects
from .world import AGENTS, World

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_302_of_an_agents_phone_leads_nowhere(chaos: World, campaign: Campaign) -> None:
    load = await campaign.load()
    for agent in AGENTS[2:]:
        await chaos.centre.act(agent, "sign_out")

    async def forwarded(call: Call) -> None:
        await redirects(call, load)

    first, second = load.agents[:2]
    first.policy = second.policy = forwarded
    ann = await chaos.centre.caller("ann")
    call = await ann.dial("250")
    await call.answered()
    await first.called()
    await second.called()
    chaos.centre.expected_in_log += ["no-forwarding"]
    assert [c.caller_number for c in (await chaos.centre.view()).calls] == [call.phone.account.user]
    first.policy = second.policy = answers()
    assert first.tone is not None
    assert second.tone is not None
    await chaos.centre.call_is(call, "talking")
    await call.hang_up()
    reasons = [row["result"] for row in await _decisions(chaos, await chaos.centre.id_of(call))]
    assert set(reasons[:2]) <= {"unreachable", "failed", "declined", "busy"}
    assert reasons[-1] == "answered"


async def _decisions(world: World, call: str) -> list[dict[str, object]]:
    await world.shipped(10)
    return await world.centre.ledger("SELECT result FROM decisions WHERE call = %s ORDER BY at_ns", call)


async def test_a_talk_that_never_was_leaves_no_recording(chaos: World, campaign: Campaign) -> None:
    load = await campaign.load()

    async def answers_and_goes(call: Call) -> None:
        await call.ring()
        await asyncio.sleep(0.2)
        # In one breath: a few milliseconds between the two make a talk of a few milliseconds.
        answering = asyncio.create_task(call.answer())
        await asyncio.sleep(0)
        await call.hang_up()
        with contextlib.suppress(MediaError):  # it was over before its sound had begun
            await answering

    for phone in load.agents:
        phone.policy = answers_and_goes
    ann = await chaos.centre.caller("ann")
    call = await ann.dial("200")
    await call.answered()
    for phone in load.agents[:3]:
        await phone.called()
    for phone in load.agents:
        phone.policy = declines(0.1)
    await asyncio.sleep(1.5)
    assert call.up
    for phone in load.agents:
        phone.policy = rings
    await call.hang_up()
    await asyncio.sleep(1.5)
    left = [path.name for path in chaos.centre.recordings.glob("*.raw")]
    assert left == []
