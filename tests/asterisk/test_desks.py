"""Agents' phones on the real thing: holds, calls of their own, lamps and hot desks."""

from __future__ import annotations

import asyncio
import json

from ari_app.deploy.ports import free_port

from .centre import Centre, Plan, Row
from .harness import Account, Call, Phone, answers, rejects

PROVIDER = ("127.0.0.3", free_port("udp"))
"""A provider through whom agents dial out; the centre's callers come by another one."""
PLAN = Plan(
    agents=("alice", "bob"),
    desks=("desk1", "desk2"),
    of_agent={"alice": 'extension = "21"', "bob": 'extension = "22"\ndirect = "+4930722"'},
    lamps=True,
    service_level_s=1.0,
    more=f"""
[dialling]
inside = true
country = "DE"
emergency_trunks = ["out"]
ring_s = 5
[dialling.rules.national]
numbers = ["0[1-9]X."]
trunk = "out"
agents = ["alice"]
strip = 1
prefix = "+49"
caller_id = "+4930700"
[trunks.out]
server = "{PROVIDER[0]}"
port = {PROVIDER[1]}
match = ["{PROVIDER[0]}/32"]
numbers = ["+4930722"]
""",
)

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


# ---------------------------------------------------------------- calls of their own


async def provider(centre: Centre) -> Phone:
    """The provider's side of the trunk "out"."""
    phone = Phone(
        "provider",
        Account("provider", *centre.sip),
        centre.room.new_tone(),
        centre.room.media,
        centre.room.tones,
    )
    phone.policy = answers(0.1)
    await phone.open(*PROVIDER)
    centre.room.phones.append(phone)
    return phone


async def own_calls(centre: Centre, count: int) -> list[Row]:
    """The agents' own calls of this test, as soon as so many are over."""

    async def found() -> list[Row] | None:
        rows = await centre.ledger(
            "SELECT agent, direction, kind, other_number, answered_at IS NOT NULL AS answered,"
            " talk_s::float8 AS talk_s, unseen FROM own_call_list WHERE ended_at IS NOT NULL"
            " AND began_ns >= %s ORDER BY began_ns, direction DESC",
            centre.since_ns,
        )
        return rows if len(rows) >= count else None

    return await centre.until(found, f"{count} own calls are in the books")


def told(row: Row) -> tuple[str, str, str, str, bool]:
    return row["agent"], row["direction"], row["kind"], row["other_number"], row["answered"]


async def test_a_call_inside_is_seen_and_counted_on_both_sides(centre: Centre) -> None:
    alice, bob = await centre.agent("alice"), await centre.agent("bob", answers(0.1))
    call = await alice.dial("22")
    await hears(call, bob)
    await centre.agent_is("alice", "other_call")
    await centre.agent_is("bob", "other_call")
    assert (await bob.called()).caller_number == "alice"
    await call.hang_up()
    rows = await own_calls(centre, 2)
    assert [told(row) for row in rows] == [
        ("alice", "out", "inside", "22", True),
        ("bob", "in", "", "alice", True),
    ]
    assert all(0 < row["talk_s"] < 5 for row in rows)
    await centre.agent_is("bob", "ready")


async def test_an_own_call_outlives_cordboard_and_is_counted_whole(centre: Centre) -> None:
    centre.expected_in_log = RESTART
    alice, outside = await centre.agent("alice"), await provider(centre)
    call = await alice.dial("0301234")
    await hears(call, outside)
    leg = await outside.called()
    assert (leg.invite.start.split(" ")[1].partition("@")[0], leg.caller_number) == (
        "sip:+49301234",
        "+4930700",
    )
    await centre.agent_is("alice", "other_call")
    centre.kill_cordboard()
    await hears(call, outside)
    await centre.start_cordboard()
    await centre.agent_is("alice", "other_call")
    await call.hang_up()
    (row,) = await own_calls(centre, 1)
    assert told(row) == ("alice", "out", "outside", "0301234", True)
    assert not row["unseen"]
    assert row["talk_s"] > 0.3
    report = await centre.command("report", "agents", "--format", "json")
    (line,) = [line for line in json.loads(report) if line["agent"] == "alice"]
    assert line["own_out"] >= 1
    assert line["own_talk_s"] > 0.3


async def test_an_own_call_that_began_or_ended_while_nobody_watched(centre: Centre) -> None:
    centre.expected_in_log = RESTART
    alice, outside = await centre.agent("alice"), await provider(centre)
    bob = await centre.agent("bob")
    ending = await bob.dial("112")
    await hears(ending, outside)
    outside.lines = 2
    centre.kill_cordboard()
    await ending.hang_up()
    call = await alice.dial("0301234")
    await hears(call, outside)
    await centre.start_cordboard()
    await centre.agent_is("alice", "other_call")
    await centre.agent_is("bob", "ready")
    await call.hang_up()
    rows = await own_calls(centre, 2)
    assert [(*told(row), row["unseen"]) for row in rows] == [
        ("bob", "out", "emergency", "112", True, True),
        ("alice", "out", "outside", "0301234", True, False),
    ]


async def test_what_is_not_allowed_is_refused_and_help_never_is(centre: Centre) -> None:
    """Out: by the rule and its agents alone. 112 and 110: from each phone, signed in or not."""
    outside = await provider(centre)
    alice, bob = await centre.agent("alice", signed_in=False), await centre.agent("bob", signed_in=False)
    dave = await centre.registered_caller()
    for phone, number, code in (
        (bob, "0301234", 403),
        (alice, "00491234", 404),
        (alice, "911", 404),
        (dave, "21", 404),
        (dave, "0301234", 404),
    ):
        assert (await (await phone.dial(number)).gone()).code == code, (phone.name, number)
    assert outside.calls == []
    for phone, number in ((alice, "112"), (bob, "110"), (dave, "112")):
        call = await phone.dial(number)
        await hears(call, outside)
        leg = await outside.called()
        assert leg.invite.start.split(" ")[1].startswith(f"sip:{number}@")
        await call.hang_up()
        await leg.gone()
    rows = await own_calls(centre, 3)
    assert [told(row) for row in rows] == [
        ("bob", "out", "outside", "0301234", False),
        ("alice", "out", "emergency", "112", True),
        ("bob", "out", "emergency", "110", True),
    ]


async def test_an_agent_on_a_queues_call_is_called_directly_from_outside(centre: Centre) -> None:
    bob, ann, outside = (
        await centre.agent("bob", answers(0.0)),
        await centre.caller("ann"),
        await provider(centre),
    )
    call = await ann.dial("250")
    await hears(call, bob)
    bob.policy = rejects(486)
    direct = await outside.dial("+4930722")
    assert (await direct.gone()).code == 486
    await hears(call, bob)
    await call.hang_up()
    await centre.agent_is("bob", "ready")
    bob.policy = answers(0.0)
    direct = await outside.dial("+4930722")
    await hears(direct, bob)
    await direct.hang_up()
    rows = await own_calls(centre, 2)
    assert [told(row) for row in rows] == [
        ("bob", "in", "", "provider", False),
        ("bob", "in", "", "provider", True),
    ]


# ---------------------------------------------------------------- lamps


async def test_a_key_on_a_phone_shows_an_agent_and_a_queue(centre: Centre) -> None:
    """By SUBSCRIBE: 22 is bob, by his name as well; a queue's key blinks after its service level (1 s)."""
    alice, bob = await centre.agent("alice", signed_in=False), await centre.agent("bob", answers(0.3))
    ann = await centre.caller("ann")
    for extension in ("22", "bob", "queue-support"):
        assert await alice.subscribe(extension) == 200
    assert await alice.subscribe("nobody") == 404
    await alice.is_told("22", "terminated")
    call = await ann.dial("250")
    await hears(call, bob)
    await alice.is_told("22", "confirmed")
    await alice.is_told("bob", "confirmed")
    assert alice.told["22"] == ["terminated", "early", "confirmed"]
    await call.hang_up()
    await centre.agent_is("bob", "ready")
    await alice.is_told("22", "terminated")
    await centre.act("bob", "pause", "lunch")
    await alice.is_told("22", "confirmed")
    assert (await centre.ari("deviceStates/Stasis:cordboard-agent-bob"))["state"] == "ONHOLD"
    await centre.act("bob", "sign_out")
    await alice.is_told("22", "terminated")
    waits = await ann.dial("250")
    await waits.answered()
    await alice.is_told("queue-support", "confirmed")
    await alice.is_told("queue-support", "early")
    await waits.hang_up()
    await alice.is_told("queue-support", "terminated")


async def test_lamps_are_right_after_a_restart_of_either_side(centre: Centre) -> None:
    centre.expected_in_log = RESTART
    alice = await centre.agent("alice")
    bob = await centre.agent("bob", signed_in=False)
    assert await bob.subscribe("21") == 200
    await bob.is_told("21", "terminated")
    centre.kill_cordboard()
    states = "deviceStates/Stasis:cordboard-agent-alice"
    await centre.ari(f"{states}?deviceState=INUSE", "PUT")  # what a gap may leave behind
    await bob.is_told("21", "confirmed")
    await centre.start_cordboard()
    await bob.is_told("21", "terminated")
    call = await alice.dial("22")
    await hears(call, bob)
    await bob.is_told("21", "confirmed")
    await call.hang_up()
    await bob.is_told("21", "terminated")


# ---------------------------------------------------------------- hot desks


async def sits_down(centre: Centre, phone: Phone, extension: str, agent: str) -> None:
    """*11, the extension and the PIN, at a desk."""
    call = await centre.dial_code(phone, "*11", "")
    await call.press(f"{extension}#")
    await asyncio.sleep(0.2)
    await call.press(f"{centre.pin(agent)}#")
    await call.gone()


async def test_an_agent_is_rung_at_the_desk_where_they_signed_in(centre: Centre) -> None:
    centre.expected_in_log = RESTART
    desk1 = await centre.room.phone("desk1", centre.account("desk1"), register=True)
    desk2 = await centre.room.phone("desk2", centre.account("desk2"), register=True)
    ann = await centre.caller("ann")
    await sits_down(centre, desk1, "22", "bob")
    assert (await centre.agent_is("bob", "ready")).desk == "desk1"
    await sits_down(centre, desk1, "21", "alice")  # taken: refused
    assert (await centre.agent_view("alice")).state == "signed_out"
    centre.kill_cordboard()
    await centre.start_cordboard()
    assert (await centre.agent_is("bob", "ready")).desk == "desk1"
    call = await ann.dial("250")
    await hears(call, desk1)
    await call.hang_up()
    await centre.agent_is("bob", "ready")
    await sits_down(centre, desk2, "22", "bob")
    assert (await centre.agent_is("bob", "ready")).desk == "desk2"
    call = await ann.dial("250")
    await hears(call, desk2)
    own = await desk1.dial("112")  # nobody sits there, and help passes all the same
    await own.hang_up()
    await call.hang_up()
    assert "at desk2" in await centre.command("agents")
    await centre.act("bob", "sign_out")
    assert (await centre.agent_is("bob", "signed_out")).desk == ""
