"""Single misdeeds of phones, each with what must come of it."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from tests.asterisk.harness import Call, MediaError, Phone, answers, declines, rings

from .campaign import Campaign
from .load import Load, lose_power, redirects, regain_power, sends_early_media, storms
from .world import AGENTS, MUSIC_HZ, World

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


RTP_TIMEOUT_S = 7
"""``sip.rtp_timeout_s`` of this centre. Asterisk counts whole seconds."""


async def _talk(world: World, load: Load, name: str) -> tuple[Call, Call]:
    """A caller and the agent who took the call."""
    before = load.legs()
    call = await (await world.centre.caller(name)).dial("250")
    await world.centre.call_is(call, "talking")
    leg = next(leg for leg in load.legs() if leg not in before)
    assert leg.phone.tone is not None
    await call.ear.hears(leg.phone.tone)
    return call, leg


async def _only(world: World, load: Load, count: int) -> list[Phone]:
    """So many agents are at work, and answer at once; their phones."""
    for agent in AGENTS[count:]:
        await world.centre.act(agent, "sign_out")
    for phone in load.agents:
        phone.policy = answers()
    return load.agents[:count]


async def test_phones_that_vanish_end_their_calls_in_time(chaos: World, campaign: Campaign) -> None:
    load = await campaign.load()
    await _only(chaos, load, 3)
    (caller, left_agent), (left_caller, leg), (holder, held) = [
        await _talk(chaos, load, name) for name in ("ann", "ben", "cyd")
    ]
    for phone in load.agents:
        phone.policy = rings  # whoever is free again must not answer first
    waiting = await (await chaos.centre.caller("dot")).dial("250")
    await chaos.centre.call_is(waiting, "waiting")
    ids = {call: await chaos.centre.id_of(call) for call in (caller, left_caller, waiting)}
    held_ns = time.monotonic_ns()
    await holder.hold()
    await holder.voice.mute()
    for call in (caller, leg, waiting):
        await lose_power(call)
    try:
        # Nobody is left in silence with a phone that is not there.
        await asyncio.gather(left_agent.gone(RTP_TIMEOUT_S + 4), left_caller.gone(RTP_TIMEOUT_S + 4))
    finally:
        regain_power(leg.phone)
    assert held.up, "on hold, phones send nothing for longer"
    assert time.monotonic_ns() - held_ns > (RTP_TIMEOUT_S - 1) * 1e9
    await holder.hang_up()

    async def empty() -> bool:
        return not await chaos.centre.channels()

    await chaos.centre.until(empty, "all of their channels are gone", 4)
    await chaos.shipped(10)
    rows = await chaos.centre.ledger(
        "SELECT call, outcome, ended_by FROM calls WHERE call = ANY(%s)", list(ids.values())
    )
    told = {row["call"]: (row["outcome"], row["ended_by"]) for row in rows}
    assert told == {
        ids[caller]: ("answered", "caller"),
        ids[left_caller]: ("answered", "agent"),
        ids[waiting]: ("abandoned", "caller"),
    }


async def test_a_storm_of_reinvites_leaves_the_talk_as_it_was(chaos: World, campaign: Campaign) -> None:
    load = await campaign.load()
    await _only(chaos, load, 1)
    call, leg = await _talk(chaos, load, "ann")
    await storms(call, load.dice)
    since_ns = time.monotonic_ns()
    assert call.phone.tone is not None
    assert leg.phone.tone is not None
    await leg.ear.hears(call.phone.tone, 2, since_ns)
    await call.ear.hears(leg.phone.tone, 2, since_ns)
    assert await chaos.centre.call_is(call, "talking")
    await call.hang_up()
    await leg.gone()


async def test_early_media_of_an_agents_phone_is_no_answer(chaos: World, campaign: Campaign) -> None:
    load = await campaign.load()
    (phone,) = await _only(chaos, load, 1)

    async def early(call: Call) -> None:
        await sends_early_media(call, load)

    phone.policy = early
    call = await (await chaos.centre.caller("ann")).dial("250")

    async def rung() -> bool:
        return bool(load.legs())

    await chaos.centre.until(rung, "the agent's phone is called", 5)
    (leg,) = load.legs()
    answered_ns = await leg.answered()
    assert phone.tone is not None
    heard_ns = await call.ear.hears(phone.tone)
    assert heard_ns > answered_ns, "what the phone sent before its answer is not for the caller"
    await chaos.centre.call_is(call, "talking")
    await call.hang_up()
    await leg.gone()


async def test_who_sends_no_sound_is_served_like_anybody(chaos: World, campaign: Campaign) -> None:
    load = await campaign.load()
    await _only(chaos, load, 1)
    call = await (await chaos.centre.caller("ann")).dial("250")
    await call.answered()
    await call.voice.mute()
    await chaos.centre.call_is(call, "talking")
    (leg,) = [leg for leg in load.legs() if leg.answered_ns]
    assert leg.phone.tone is not None
    await call.ear.hears(leg.phone.tone)
    await leg.hang_up()
    assert (await call.gone()).by == "them"


async def test_keys_that_come_twice_or_late_choose_nothing_more(chaos: World, campaign: Campaign) -> None:
    load = await campaign.load()
    await _only(chaos, load, 0)
    call = await (await chaos.centre.caller("ann")).dial("100")
    await call.answered()
    await call.ear.hears_other()
    await call.press("112")  # the key, again, and another one when the choice is made
    await chaos.centre.call_is(call, "waiting")
    await call.press("2")
    await call.ear.hears(MUSIC_HZ)
    view = await chaos.centre.view()
    assert [(c.queue, c.state) for c in view.calls] == [("sales", "waiting")]
    await call.hang_up()
