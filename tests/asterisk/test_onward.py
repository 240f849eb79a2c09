"""Callers whom a queue sends on to a number outside, on the real thing; and callers known by their number."""

from __future__ import annotations

import asyncio
import wave
from array import array
from time import monotonic_ns

from ari_app.deploy.ports import free_port

from .centre import Centre, Plan
from .harness import Account, Phone, Policy, answers, rejects, rings
from .recording import Recording
from .test_desks import RESTART

OUTSIDE_HOST = "127.0.0.3"
OUTSIDE_PORT = free_port("udp")
NUMBER = "+49309999"
PLAN = Plan(
    agents=("alice", "bob"),
    nobody=f"""
max_wait_s = 0.5
[queues.nobody.overflow.timeout]
number = "{NUMBER}"
trunk = "outside"
ring_s = 5
otherwise = {{ queue = "support" }}
[queues.nobody.overflow.crisis]
voicemail = true
longest_s = 30
sounds = ["beep"]
""",
    more=f"""
[trunks.outside]
server = "{OUTSIDE_HOST}"
port = {OUTSIDE_PORT}
forwards_to = ["+49309*"]
[callers.berlin]
numbers = ["+4930*"]
priority = 7
agent = "bob"
required = true
""",
)


async def outside(centre: Centre, policy: Policy) -> Phone:
    """The phone behind the number outside."""
    room = centre.room
    phone = Phone("outside", Account(NUMBER, *centre.sip), room.new_tone(), room.media, room.tones)
    phone.policy = policy
    await phone.open(OUTSIDE_HOST, OUTSIDE_PORT)
    room.phones.append(phone)
    # Asterisk dials no trunk that leaves its OPTIONS unanswered, and asks each half minute by itself.
    await centre.rx("pjsip qualify outside")

    async def answers_options() -> bool:
        return bool((await centre.ari("endpoints/PJSIP/outside"))["state"] == "online")

    await centre.until(answers_options, "the trunk is reachable")
    return phone


async def test_the_caller_hears_music_then_talks_outside(centre: Centre) -> None:
    far, ann = await outside(centre, answers(0.5)), await centre.caller("ann")
    call = await ann.dial("400")
    began_ns = await call.answered()
    leg = await far.called()
    assert (leg.number, leg.caller_number) == (NUMBER, "400"), "our own number is shown, not the caller's"
    await centre.call_is(call, "forwarded")
    assert far.tone is not None
    assert ann.tone is not None
    await call.ear.hears(far.tone)
    await leg.ear.hears(ann.tone)
    assert call.ear.longest_gap_ms(None, began_ns, monotonic_ns() - 50_000_000) < 1_000
    await leg.hang_up()
    await call.gone()
    row = await centre.row(call)
    assert (row["outcome"], row["ended_by"], row["agent"]) == ("forwarded", "outside", "")


async def test_a_number_that_is_busy_leads_to_the_next_target_and_the_list_to_its_agent(
    centre: Centre,
) -> None:
    await outside(centre, rejects(486, 0.1))
    alice, bob = await centre.agent("alice", answers(0.1)), await centre.agent("bob", answers(0.1))
    ann = await centre.caller("ann")
    call = await ann.dial("400")
    await call.answered()
    await centre.call_is(call, "talking")
    assert bob.tone is not None
    await call.ear.hears(bob.tone)
    assert not alice.incoming, "alice was idle for longer, but the caller's list requires bob"
    key = await centre.id_of(call)
    await centre.shipped()
    told = await centre.ledger("SELECT kind, body FROM events WHERE call_id = %s ORDER BY seq", key)
    lapsed = next(row["body"] for row in told if row["kind"] == "ForwardLapsed")
    queued = [row["body"] for row in told if row["kind"] == "CallQueued"]
    made = next(row["body"] for row in told if row["kind"] == "OfferMade")
    assert lapsed["reason"] == "busy"
    assert [(q["queue"], q["priority"]) for q in queued] == [("nobody", 7), ("support", 7)]
    assert queued[0]["entered_ns"] == queued[1]["entered_ns"]
    assert (made["why"]["only"], made["why"]["prefer_note"], made["why"]["listed"]) == (
        "bob",
        "owner",
        "berlin",
    )
    await call.hang_up()


async def test_who_answers_outside_while_cordboard_is_dead_talks_after_its_restart(centre: Centre) -> None:
    centre.expected_in_log = [*RESTART, "not active"]
    far, ann = await outside(centre, rings), await centre.caller("ann")
    call = await ann.dial("400")
    began_ns = await call.answered()
    leg = await far.called()
    await centre.call_is(call, "forwarding")
    centre.kill_cordboard()
    await leg.answer()
    await centre.start_cordboard()
    await centre.call_is(call, "forwarded")
    assert far.tone is not None
    await call.ear.hears(far.tone)
    assert call.ear.longest_gap_ms(None, began_ns, monotonic_ns() - 50_000_000) < 2_000
    await call.hang_up()
    await leg.gone()
    assert (await centre.row(call))["outcome"] == "forwarded"


async def test_a_message_is_there_as_a_file_that_plays_although_cordboard_died(centre: Centre) -> None:
    centre.expected_in_log = [*RESTART, "not active", '"event": "emergency switch"']
    await asyncio.to_thread(centre.control.crisis, on=True, queue="nobody")
    ann = await centre.caller("ann")
    call = await ann.dial("400")
    await call.answered()
    await centre.call_is(call, "message")
    began_ns = monotonic_ns()
    key = await centre.id_of(call)
    centre.kill_cordboard()
    await centre.start_cordboard()
    await centre.call_is(call, "message")
    said_s = (monotonic_ns() - began_ns) / 1e9
    await call.press("#")
    await call.gone()
    await asyncio.to_thread(centre.control.crisis, on=False, queue="nobody")
    row = await centre.row(call)
    assert (row["outcome"], row["ended_by"], row["queue"]) == ("voicemail", "caller", "nobody")

    async def finished() -> list[dict[str, object]]:
        return await centre.ledger("SELECT * FROM voicemails WHERE call = %s AND state = 'finished'", key)

    (message,) = await centre.until(finished, "the message is finished")
    assert message["caller_number"] == ann.account.user
    assert ann.tone is not None
    with wave.open(str(centre.recordings / str(message["file"]))) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, 8000)
        samples = array("h", file.readframes(file.getnframes()))
    begins_s, ends_s = Recording(samples, samples).stretch_s("left", ann.tone)
    assert ends_s - begins_s > said_s - 0.2, "the message is what the caller said, the death included"
