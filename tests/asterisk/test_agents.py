"""Agents on the real thing: who doesn't answer, is busy or declines, wrap-up, feature codes and PINs."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from pathlib import Path
from time import monotonic_ns

import pytest

from .centre import Centre, Plan
from .harness import Call, Phone, Policy, answers, dead, declines, rejects, rings
from .harness.sipp import AgentScript, CallerScript

PLAN = Plan(agents=("alice", "bob", "carol", "never-registered"), ring_timeout_s=1.5)

RESULTS = "SELECT attempt, agent, result FROM decisions WHERE call = %s ORDER BY attempt"


async def decisions(centre: Centre, call: Call | str) -> list[tuple[str, str]]:
    key = call if isinstance(call, str) else await centre.id_of(call)
    await centre.shipped()
    return [(row["agent"], row["result"]) for row in await centre.ledger(RESULTS, key)]


async def waits(centre: Centre, phone: Phone, number: str = "250") -> Call:
    """A call that waits (or is being offered) by now."""
    call = await phone.dial(number)
    await call.answered()
    await centre.call_is(call, "waiting", "offered")
    return call


async def hears(call: Call, agent: Phone) -> None:
    assert agent.tone is not None
    await call.ear.hears(agent.tone)


# ---------------------------------------------------------------- the offer that comes to nothing


@pytest.mark.parametrize(
    ("policy", "result", "misses"),
    [
        (rings, "no_answer", 1),
        (dead, "no_answer", 1),
        (rejects(486, 0.6), "busy", 0),
        (declines(0.6), "declined", 0),
    ],
    ids=["no answer", "a dead phone", "busy", "declines"],
)
async def test_the_next_agent_gets_the_call_and_the_caller_keeps_their_place(
    centre: Centre, policy: Policy, result: str, misses: int
) -> None:
    alice, bob = await centre.agent("alice", policy), await centre.agent("bob", signed_in=False)
    ann, ben = await centre.caller("ann"), await centre.caller("ben")
    call = await ann.dial("250")
    began_ns = await call.answered()
    leg = await alice.called()
    await centre.act("alice", "pause", "no further call")
    await leg.gone(within_s=8)
    if result == "no_answer":
        assert leg.end is not None
        rang_s = (leg.end.at_ns - leg.invited_ns) / 1e9
        assert rang_s == pytest.approx(PLAN.ring_timeout_s, abs=0.1)
    assert (await centre.agent_is("alice", "paused")).misses == misses
    later = await waits(centre, ben)
    positions = {c.caller_number: c.position for c in (await centre.view()).calls}
    assert positions == {ann.account.user: 1, ben.account.user: 2}
    await centre.act("bob", "sign_in")
    assert (await bob.called()).caller_number == ann.account.user
    await hears(call, bob)
    assert call.ear.longest_gap_ms(None, began_ns, monotonic_ns() - 50_000_000) < 2_000
    await call.hang_up()
    await hears(later, bob)
    await later.hang_up()
    row = await centre.row(call)
    assert (row["outcome"], row["agent"], row["misses"]) == ("answered", "bob", misses)
    assert await decisions(centre, call) == [("alice", result), ("bob", "answered")]


async def test_sipp_agents_that_do_not_answer_are_busy_or_decline(centre: Centre) -> None:
    """One after the other, each on a call of its own; the last one talks."""
    number = centre.number()
    voices = [await centre.room.voice("agent") for _ in range(4)]
    ann = await centre.room.voice("ann")
    scripts = [
        AgentScript(code=0, voice=voices[0]),
        AgentScript(ring_ms=100, code=486, voice=voices[1]),
        AgentScript(ring_ms=100, code=603, voice=voices[2]),
        AgentScript(ring_ms=100, code=200, talk_ms=500, voice=voices[3]),
    ]
    async with centre.sipp_agents("alice", "bob", "carol", scripts=scripts) as phones:
        record = await centre.sipp_callers([CallerScript("250", number, voice=ann)]).done()
        key = await centre.nth_id(number)
        row = await centre.row(key)
        await centre.settled()
    assert (record.successful, record.failed) == (1, 0)
    assert "released" in record.calls[0].events
    assert [agent for agent, _ in await decisions(centre, key)][:3] == ["alice", "bob", "carol"]
    assert [result for _, result in await decisions(centre, key)] == [
        "no_answer",
        "busy",
        "declined",
        "answered",
    ]
    assert (row["outcome"], row["ended_by"], row["offers"]) == ("answered", "agent", 4)
    ends = [set(call.events) - {"offered"} for call in phones.record().calls]
    assert ends == [{"cancelled"}, {"refused"}, {"refused"}, {"answered", "hung_up"}]


async def test_after_too_many_misses_an_agent_is_not_responding(centre: Centre) -> None:
    alice, ann = await centre.agent("alice", rings), await centre.caller("ann")
    call = await waits(centre, ann)
    for _ in range(PLAN.max_misses):
        assert (await (await alice.called()).gone()).code == 487
    await centre.agent_is("alice", "not_responding")
    await centre.call_is(call, "waiting")
    alice.policy = answers(0.1)
    await centre.act("alice", "resume")
    await hears(call, alice)
    await call.hang_up()
    found = await decisions(centre, call)
    assert found == [("alice", "no_answer")] * PLAN.max_misses + [("alice", "answered")]
    assert (await centre.row(call))["misses"] == PLAN.max_misses


async def test_a_phone_that_cannot_be_reached_costs_the_caller_nothing(centre: Centre) -> None:
    await centre.act("never-registered", "sign_in")
    await centre.agent_is("never-registered", "unreachable")
    bob, ann = await centre.agent("bob", answers(0.1)), await centre.caller("ann")
    call = await ann.dial("250")
    answered_ns = await call.answered()
    await hears(call, bob)
    assert bob.tone is not None
    heard_ns = call.ear.first(bob.tone)
    assert heard_ns is not None
    assert (heard_ns - answered_ns) / 1e6 < 500
    await call.hang_up()
    key = await centre.id_of(call)
    assert await decisions(centre, call) == [("bob", "answered")], "a phone that is not there is not rung"
    assert "1 unreachable (no phone registered)" in await centre.command("why", key)


# ---------------------------------------------------------------- after the call


async def test_the_wrap_up_is_kept_to_and_only_then_the_next_call_comes(centre: Centre) -> None:
    alice = await centre.agent("alice", answers(0.1))
    ann, ben = await centre.caller("ann"), await centre.caller("ben")
    call = await ann.dial("200")
    await call.answered()
    await hears(call, alice)
    later = await waits(centre, ben, "200")
    await alice.incoming[0].hang_up()
    ended_ns = monotonic_ns()
    await alice.called()
    again = await alice.called()
    assert (again.invited_ns - ended_ns) / 1e9 == pytest.approx(PLAN.wrap_up_s, abs=0.1)
    await hears(later, alice)
    await later.hang_up()
    row = await centre.row(call)
    await centre.agent_is("alice", "ready")
    await centre.shipped()
    (wrap,) = await centre.ledger(
        "SELECT to_ns - from_ns AS ns FROM agent_intervals WHERE call = %s AND state = 'wrap_up'", row["call"]
    )
    assert wrap["ns"] / 1e9 == pytest.approx(PLAN.wrap_up_s, abs=0.01)


async def test_an_agent_is_ready_only_when_the_leg_is_gone(centre: Centre) -> None:
    alice, ann = await centre.agent("alice", answers(0.1)), await centre.caller("ann")
    call = await ann.dial("250")
    await call.answered()
    await hears(call, alice)
    await call.hang_up()
    await alice.incoming[0].gone()
    await centre.agent_is("alice", "ready")
    key = await centre.id_of(call)
    await centre.shipped()
    kinds = await centre.ledger(
        "SELECT kind FROM events WHERE agent = 'alice' AND ordinal > (SELECT ordinal FROM events"
        " WHERE call_id = %s AND kind = 'CallEnded') AND kind <> 'ReleaseAwaited' ORDER BY ordinal LIMIT 2",
        key,
    )
    assert [row["kind"] for row in kinds] == ["LegReleased", "AgentFreed"]


# ---------------------------------------------------------------- feature codes


async def test_an_agent_signs_in_pauses_resumes_and_signs_out_by_feature_code(centre: Centre) -> None:
    alice = await centre.agent("alice", signed_in=False)
    for code, state in (("*11", "ready"), ("*13", "paused"), ("*14", "ready"), ("*12", "signed_out")):
        call = await centre.dial_code(alice, code, centre.pin("alice"))
        end = await call.gone(within_s=8)
        assert end.by == "them"
        await centre.agent_is("alice", state, within_s=0.5)
        assert call.ear.other_ms(call.ear.pressed[-1].at_ns) > 300, "a confirmation is heard"


async def test_wrong_pins_lock_and_an_unlock_opens(centre: Centre) -> None:
    alice = await centre.agent("alice", signed_in=False)
    wrong = wrong_pin(centre.pin("alice"))
    centre.expected_in_log = ['"event": "alarm"']  # an alarm says that the PIN is locked
    call = await centre.dial_code(alice, "*11")
    for failures in range(1, 6):
        await call.press(f"{wrong}#")
        await failed(centre, failures)
        if failures == 3:
            await call.gone(within_s=10)
            call = await centre.dial_code(alice, "*11")
    await call.gone(within_s=10)
    view = await centre.agent_view("alice")
    assert view.pin_failures == 5
    assert view.locked_until_ns > 0
    assert view.state == "signed_out"
    call = await centre.dial_code(alice, "*11", centre.pin("alice"))
    await call.gone(within_s=10)
    assert (await centre.agent_view("alice")).state == "signed_out", "locked: the right PIN is no use"
    await centre.act("alice", "unlock")
    call = await centre.dial_code(alice, "*11", centre.pin("alice"))
    await call.gone(within_s=10)
    await centre.agent_is("alice", "ready", within_s=0.5)


async def failed(centre: Centre, failures: int) -> None:
    async def counted() -> bool:
        view = await centre.agent_view("alice")
        return view.pin_failures >= failures

    await centre.until(counted, f"{failures} wrong PINs are counted")


async def test_a_caller_s_phone_has_no_feature_codes(centre: Centre) -> None:
    dave, ann = await centre.registered_caller("dave"), await centre.caller("ann")
    for phone in (dave, ann):
        call = await phone.dial("*11")
        assert (await call.gone()).code == 404


async def test_a_pin_is_nowhere_but_in_the_secrets_file(centre: Centre) -> None:
    alice = await centre.agent("alice", signed_in=False)
    right, wrong = centre.pin("alice"), wrong_pin(centre.pin("alice"))
    call = await centre.dial_code(alice, "*11", wrong)
    await failed(centre, 1)
    await call.press(f"{right}#")
    await call.gone(within_s=10)
    await centre.agent_is("alice", "ready", within_s=0.5)
    await centre.shipped()
    await asyncio.to_thread(_dump, centre)
    state = centre.stack.state_dir
    read = 0
    for path in sorted(state.rglob("*")):
        if path.is_file() and path.name != "secrets.toml" and "pg_wal" not in path.parts:
            content = path.read_bytes()
            read += 1
            for pin in (right, wrong):
                assert not _holds(content, pin, text=path.suffix in (".log", ".txt")), (
                    f"{path.relative_to(state)} holds the PIN"
                )
    assert read > 10
    assert centre.pin("alice") in (state / "secrets.toml").read_text()


def wrong_pin(right: str) -> str:
    """As long as the right one, and as unlikely to be found by chance."""
    return "".join(str((int(digit) + 3) % 10) for digit in right)


def _dump(centre: Centre) -> None:
    """Every row of the database and of the journal as text, beside the logs."""
    tables = centre._ledger("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'", [])
    rows = [
        str(row["line"])
        for table in tables
        for row in centre._ledger(f'SELECT t::text AS line FROM "{table["name"]}" t', [])
    ]
    assert len(rows) > 20
    with sqlite3.connect(f"file:{centre.stack.state_dir / 'journal.db'}?mode=ro", uri=True) as journal:
        rows += journal.iterdump()
    Path(centre.stack.state_dir / "dump.txt").write_text("\n".join(rows))


def _holds(content: bytes, pin: str, *, text: bool) -> bool:
    """The PIN as a number of its own. In text, a hexadecimal id or a fraction of a second is none."""
    before, after = (rb"(?<![0-9A-Za-z.])", rb"(?![0-9A-Za-z])") if text else (rb"(?<![0-9])", rb"(?![0-9])")
    return re.search(before + pin.encode() + after, content) is not None
