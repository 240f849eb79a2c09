"""Calls from end to end on the real thing: what each party hears, what is recorded, what the books say."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import statistics
from time import monotonic_ns

import pytest

from . import recording as recordings
from .centre import Centre
from .harness import Call, Phone, rings
from .harness.sipp import AgentScript, CallerScript

QUIET_MS = 2_000
"""No caller ever hears a longer silence."""
ANSWER_TO_TONE_MS = 60
ALIGNED_S = 0.040


def tone(phone: Phone) -> int:
    assert phone.tone is not None
    return phone.tone


async def talking(call: Call, leg: Call) -> int:
    """Wait until both hear each other; since when (monotonic ns)."""
    heard = await asyncio.gather(call.ear.hears(tone(leg.phone)), leg.ear.hears(tone(call.phone)))
    return max(heard)


def assert_only_each_other(call: Call, leg: Call, since_ns: int, until_ns: int) -> None:
    for one, other in ((call, leg), (leg, call)):
        assert one.ear.longest_gap_ms(tone(other.phone), since_ns, until_ns) < 60, one.ear.story(since_ns)
        assert one.ear.strangers({tone(other.phone)}, since_ns, until_ns) == set()
        assert one.ear.other_ms(since_ns, until_ns) == 0, one.ear.story(since_ns)


# ---------------------------------------------------------------- the answered call


async def test_an_answered_call_is_heard_recorded_and_on_the_books(centre: Centre) -> None:
    alice, ann = await centre.agent("alice", rings), await centre.caller("ann")
    call = await ann.dial("100", caller_name="Ann")
    answered_ns = await call.answered()
    await call.ear.hears_other()
    await call.press("1")
    leg = await alice.called()
    assert (leg.caller_name, leg.caller_number) == ("Sales: Ann", ann.account.user)
    music_ns = monotonic_ns()
    await leg.rings()
    await asyncio.sleep(1.5)
    assert call.ear.other_ms(music_ns) > 700, "music while the phone rings"
    await leg.answer()
    assert leg.answered_ns is not None
    both_ns = await talking(call, leg)
    heard_ns = call.ear.first(tone(alice), leg.answered_ns)
    assert heard_ns is not None
    print(f"agent's 200 to their voice at the caller: {(heard_ns - leg.answered_ns) / 1e6:.0f} ms")
    assert (heard_ns - leg.answered_ns) / 1e6 <= ANSWER_TO_TONE_MS
    await asyncio.sleep(1.5)
    stopped = await fall_silent(call, leg)
    assert_only_each_other(call, leg, both_ns + 60_000_000, min(stopped.values()) - 40_000_000)
    await call.hang_up()
    end = await leg.gone()
    assert call.end is not None
    assert end.by == "them"
    assert call.ear.longest_gap_ms(None, answered_ns, min(stopped.values())) < QUIET_MS, call.ear.story()

    row = await centre.row(call)
    assert (row["outcome"], row["ended_by"], row["queue"], row["agent"]) == (
        "answered",
        "caller",
        "sales",
        "alice",
    )
    assert (row["offers"], row["misses"], row["number"], row["choice"]) == (1, 0, "100", "sales")
    talked_s = (call.end.at_ns - leg.answered_ns) / 1e9
    assert row["talk_ns"] / 1e9 == pytest.approx(talked_s, abs=0.1)
    assert row["waited_ns"] / 1e9 == pytest.approx((leg.answered_ns - leg.invited_ns) / 1e9, abs=0.1)
    await centre.settled()
    await check_books(centre, row["call"], talked_s)
    await check_recording(centre, row["call"], call, leg, stopped, talked_s)
    await check_commands(centre, row["call"], ann.account.user)


async def fall_silent(call: Call, leg: Call) -> dict[str, int]:
    """Both stop speaking at about one instant; when each one's tone was last heard by the other."""
    await call.voice.say(None)
    await leg.voice.say(None)
    await asyncio.sleep(0.4)
    last = {"caller": leg.ear.last(tone(call.phone)), "agent": call.ear.last(tone(leg.phone))}
    return {who: at for who, at in last.items() if at is not None}


async def check_books(centre: Centre, key: str, talked_s: float) -> None:
    segments = await centre.ledger("SELECT * FROM segments WHERE call = %s ORDER BY party, seq", key)
    assert [(s["party"], s["state"]) for s in segments] == [
        ("agent", "reserved"),
        ("agent", "ringing"),
        ("agent", "talking"),
        ("agent", "wrap_up"),
        ("caller", "ivr"),
        ("caller", "waiting"),
        ("caller", "ringing"),
        ("caller", "talking"),
    ]
    (talk,) = (s for s in segments if (s["party"], s["state"]) == ("agent", "talking"))
    assert (talk["to_ns"] - talk["from_ns"]) / 1e9 == pytest.approx(talked_s, abs=0.1)
    intervals = await centre.ledger(
        "SELECT state FROM agent_intervals WHERE agent = 'alice' AND from_ns >= %s ORDER BY seq",
        centre.since_ns,
    )
    states = " ".join(row["state"] for row in intervals)
    assert states == "ready reserved ringing talking wrap_up ready"
    (decision,) = await centre.ledger("SELECT * FROM decisions WHERE call = %s", key)
    assert (decision["agent"], decision["result"]) == ("alice", "answered")
    assert [c["agent"] for c in decision["why"]["candidates"]] == ["alice"]
    assert decision["why"]["not_eligible"] == {"signed_out": len(centre.plan.agents) - 1}


async def check_recording(
    centre: Centre, key: str, call: Call, leg: Call, stopped: dict[str, int], talked_s: float
) -> None:
    (row,) = await centre.ledger("SELECT * FROM recordings WHERE call = %s", key)
    found = recordings.read(centre.recordings / row["file"])
    caller, agent = tone(call.phone), tone(leg.phone)
    assert not found.hears("left", agent)
    assert not found.hears("right", caller)
    assert found.seconds == pytest.approx(talked_s, abs=0.15)
    assert row["duration_ns"] / 1e9 == pytest.approx(found.seconds, abs=0.001)
    _, left_s = found.stretch_s("left", caller)
    _, right_s = found.stretch_s("right", agent)
    really_s = (stopped["caller"] - stopped["agent"]) / 1e9
    off_ms = abs(left_s - right_s - really_s) * 1e3
    print(f"recording of {found.seconds:.2f} s, its sides {off_ms:.0f} ms apart")
    assert left_s - right_s == pytest.approx(really_s, abs=ALIGNED_S)


async def check_commands(centre: Centre, key: str, number: str) -> None:
    story = await centre.command("call", key)
    for word in ("alice", "sales", "answered", f"{key}.rec.1.wav", "longest idle"):
        assert word in story, story
    assert json.loads(await centre.command("call", key, "--format", "json"))
    table = await centre.command("report", "calls", "--since", "1h")
    assert key in table
    rows = list(csv.DictReader(io.StringIO(await centre.command("report", "calls", "--format", "csv"))))
    (row,) = [r for r in rows if key in r.values()]
    assert "answered" in row.values()
    calls = json.loads(await centre.command("report", "calls", "--format", "json"))
    assert any(key in map(str, c.values()) and number in map(str, c.values()) for c in calls)
    for form in ("table", "csv", "json"):
        assert "ales" in await centre.command("report", "queues", "--format", form)


async def test_sipp_calls_and_sipp_answers(centre: Centre) -> None:
    number = centre.number()
    voices = [await centre.room.voice("ann", [(0.8, "1")]), await centre.room.voice("alice")]
    async with centre.sipp_agents("alice", scripts=[AgentScript(ring_ms=300, voice=voices[1])]) as phones:
        script = CallerScript("100", number, press_after_ms=2_000, stay_ms=1_000, voice=voices[0])
        callers = await centre.sipp_callers([script]).done()
        key = await centre.nth_id(number)
        row = await centre.row(key)
        await centre.settled()
    assert (callers.successful, callers.failed) == (1, 0)
    (caller,), (agent,) = callers.calls, phones.record().calls
    assert (row["outcome"], row["ended_by"], row["agent"]) == ("answered", "caller", "alice")
    talked_s = caller.events["hung_up"] - agent.events["answered"]
    assert row["talk_ns"] / 1e9 == pytest.approx(talked_s, abs=0.1)
    assert "released" in agent.events


@pytest.mark.parametrize("who", ["caller", "agent"])
async def test_who_hangs_up_is_known_and_the_other_side_is_let_go_at_once(centre: Centre, who: str) -> None:
    alice, ann = await centre.agent("alice"), await centre.caller("ann")
    call = await ann.dial("200")
    await call.answered()
    leg = await alice.called()
    await talking(call, leg)
    await asyncio.sleep(0.3)
    first, second = (call, leg) if who == "caller" else (leg, call)
    await first.hang_up()
    end = await second.gone()
    assert first.end is not None
    assert end.by == "them"
    assert (end.at_ns - first.end.at_ns) / 1e6 < 100
    row = await centre.row(call)
    assert (row["outcome"], row["ended_by"]) == ("answered", who)
    await centre.settled()
    (recording,) = await centre.ledger("SELECT * FROM recordings WHERE call = %s", row["call"])
    assert recording["state"] == "finished"


async def test_set_up_times(centre: Centre) -> None:
    alice, ann = await centre.agent("alice", rings), await centre.caller("ann")
    set_up, dialled, answered = "INVITE to 200", "digit to agent's INVITE", "agent's 200 to two-way media"
    figures: dict[str, list[float]] = {set_up: [], dialled: [], answered: []}
    for _ in range(5):
        call = await ann.dial("100")
        figures[set_up].append((await call.answered() - call.invited_ns) / 1e6)
        await call.ear.hears_other()
        pressed_ns = await call.press("2")
        leg = await alice.called()
        figures[dialled].append((leg.invited_ns - pressed_ns) / 1e6)
        await leg.answer()
        assert leg.answered_ns is not None
        figures[answered].append((await talking(call, leg) - leg.answered_ns) / 1e6)
        await call.hang_up()
        await leg.gone()
        await centre.agent_is("alice", "ready")
    for name, samples in figures.items():
        print(f"{name}: median {statistics.median(samples):.1f} ms, worst {max(samples):.1f} ms")
    assert statistics.median(figures[set_up]) < 100
    assert statistics.median(figures[dialled]) < 50
    assert statistics.median(figures[answered]) < 80


# ---------------------------------------------------------------- the menu


async def test_an_early_key_in_the_greeting_is_taken(centre: Centre) -> None:
    alice, ann = await centre.agent("alice", rings), await centre.caller("ann")
    call = await ann.dial("300")
    await call.answered()
    await call.ear.hears_other()
    pressed_ns = await call.press("2")
    leg = await alice.called()
    assert (leg.invited_ns - pressed_ns) / 1e9 < 0.5, "the greeting lasts much longer"
    await call.hang_up()
    assert (await leg.gone()).code == 487
    assert [kind for kind, _ in await centre.story(call)].count("MenuChosen") == 1


async def test_a_wrong_key_says_so_and_asks_again(centre: Centre) -> None:
    ann = await centre.caller("ann")
    call = await ann.dial("100")
    await call.answered()
    await in_node(centre, call, "menu")
    await call.press("9")
    await in_node(centre, call, "menu", attempt=2)
    await call.press("1")
    await centre.call_is(call, "waiting")
    await call.hang_up()
    missed = [body for kind, body in await centre.story(call) if kind == "MenuMissed"]
    assert [(m["reason"], m["attempt"]) for m in missed] == [("invalid", 1)]
    assert (await centre.row(call))["outcome"] == "abandoned"


async def test_who_presses_nothing_is_asked_twice_and_let_go(centre: Centre) -> None:
    ann = await centre.caller("ann")
    call = await ann.dial("100")
    answered_ns = await call.answered()
    end = await call.gone(within_s=10)
    assert end.by == "them"
    assert call.ear.longest_gap_ms(None, answered_ns, end.at_ns) < QUIET_MS, call.ear.story()
    missed = [body for kind, body in await centre.story(call) if kind == "MenuMissed"]
    assert [(m["reason"], m["attempt"]) for m in missed] == [("timeout", 1), ("timeout", 2)]
    row = await centre.row(call)
    assert (row["outcome"], row["ended_by"], row["queue"]) == ("left_in_flow", "system", "")


async def test_a_number_that_leads_nowhere_is_refused(centre: Centre) -> None:
    dave, ann = await centre.registered_caller("dave"), await centre.caller("ann")
    for phone in (dave, ann):
        call = await phone.dial("999")
        assert (await call.gone()).code == 404


async def test_a_registered_phone_dials_in_too(centre: Centre) -> None:
    dave = await centre.registered_caller("dave")
    call = await dave.dial("400")
    await call.answered()
    await centre.call_is(call, "waiting")
    await call.hang_up()
    assert (await centre.row(call))["outcome"] == "abandoned"


async def in_node(centre: Centre, call: Call, node: str, attempt: int = 1) -> None:
    async def entered() -> bool:
        nodes = [body for kind, body in await centre.story(call) if kind == "NodeEntered"]
        return any((body["node"], body["attempt"]) == (node, attempt) for body in nodes)

    await centre.until(entered, f"{call} hears {node}, attempt {attempt}")


# ---------------------------------------------------------------- the caller gives up


@pytest.mark.parametrize(
    ("number", "keys", "stay_ms", "outcome"),
    [("100", "", 700, "left_in_flow"), ("400", "", 1200, "abandoned"), ("200", "", 1200, "abandoned")],
    ids=["in the menu", "in the queue", "while the phone rings"],
)
async def test_sipp_callers_give_up(
    centre: Centre, number: str, keys: str, stay_ms: int, outcome: str
) -> None:
    caller = centre.number()
    voices = [await centre.room.voice("ann"), await centre.room.voice("alice")]
    never = AgentScript(code=0, voice=voices[1])
    async with centre.sipp_agents("alice", scripts=[never]) as phones:
        script = CallerScript(number, caller, keys, press_after_ms=0, stay_ms=stay_ms, voice=voices[0])
        record = await centre.sipp_callers([script]).done()
        row = await centre.row(await centre.nth_id(caller))
        assert (await centre.agent_is("alice", "ready")).misses == 0
    assert (record.successful, record.failed) == (1, 0)
    assert (row["outcome"], row["ended_by"]) == (outcome, "caller")
    if number == "200":
        (rung,) = phones.record().calls
        assert set(rung.events) == {"offered", "cancelled"}
        gave_up = record.calls[0].events["hung_up"]
        assert 0 <= rung.events["cancelled"] - gave_up < 0.1
        assert row["waited_ns"] / 1e9 == pytest.approx(gave_up - rung.events["offered"], abs=0.1)
    else:
        assert phones.record().calls == []


async def test_a_phone_stops_ringing_when_the_caller_gives_up(centre: Centre) -> None:
    alice, ann = await centre.agent("alice", rings), await centre.caller("ann")
    call = await ann.dial("200")
    await call.answered()
    leg = await alice.called()
    await leg.rings()
    await call.hang_up()
    end = await leg.gone()
    assert call.end is not None
    assert (end.by, end.code) == ("them", 487)
    assert (end.at_ns - call.end.at_ns) / 1e6 < 100
    assert (await centre.row(call))["outcome"] == "abandoned"
    view = await centre.agent_is("alice", "ready")
    assert view.misses == 0, "that is not the agent's fault"
    (decision,) = await centre.ledger(
        "SELECT result FROM decisions WHERE call = %s", await centre.id_of(call)
    )
    assert decision["result"] == "caller_gone"


@pytest.mark.timeout(180)
async def test_the_caller_gives_up_in_the_instant_of_the_answer(centre: Centre) -> None:
    """Whoever is first, phone, Asterisk and ledger agree on it, and the agent is ready again."""
    alice, ann = await centre.agent("alice", rings), await centre.caller("ann")
    outcomes: dict[str, int] = {}
    for offset_ms in range(-20, 20, 2):
        call = await ann.dial("250")
        await call.answered()
        leg = await alice.called()
        await leg.rings()
        await race(leg, call, offset_ms)
        await asyncio.gather(call.gone(), leg.gone())
        row = await centre.row(call)
        outcomes[row["outcome"]] = outcomes.get(row["outcome"], 0) + 1
        assert row["outcome"] in ("answered", "abandoned")
        assert row["ended_by"] == "caller"
        if row["outcome"] == "answered":
            assert leg.answered_ns is not None, "the books say answered: the phone was"
        kinds = [kind for kind, _ in await centre.story(call)]
        assert kinds.count("CallEnded") == 1
        view = await centre.agent_is("alice", "ready")
        assert view.misses == 0
        assert await centre.channels() == []
        assert await centre.bridges() == []
    print(f"answer against hang-up: {outcomes}")


async def race(leg: Call, call: Call, offset_ms: int) -> None:
    """The agent answers and the caller hangs up, so many ms after it (before it, if negative)."""

    first, second = (leg.answer, call.hang_up) if offset_ms >= 0 else (call.hang_up, leg.answer)
    task = asyncio.create_task(first())
    await asyncio.sleep(abs(offset_ms) / 1e3)
    await second()
    await task


# ---------------------------------------------------------------- more than one


async def test_two_callers_are_served_in_the_order_they_came(centre: Centre) -> None:
    alice = await centre.agent("alice", rings, signed_in=False)
    ann, ben = await centre.caller("ann"), await centre.caller("ben")
    calls = []
    for phone in (ann, ben):
        calls.append(await phone.dial("200"))
        await calls[-1].answered()
        await centre.call_is(calls[-1], "waiting")
    positions = {c.caller_number: c.position for c in (await centre.view()).calls}
    assert positions == {ann.account.user: 1, ben.account.user: 2}
    await centre.act("alice", "sign_in")
    for call in calls:
        leg = await alice.called()
        assert leg.caller_number == call.phone.account.user
        await leg.answer()
        await talking(call, leg)
        await call.hang_up()
        await leg.gone()
    rows = [await centre.row(call) for call in calls]
    assert rows[0]["answered_ns"] < rows[1]["answered_ns"]
    assert {row["outcome"] for row in rows} == {"answered"}


async def test_postgresql_away_for_a_while_is_noticed_by_no_call(centre: Centre) -> None:
    centre.expected_in_log = [r'"logger": "shipper"|PostgreSQL|postgres|ledger|events']
    postgres = centre.stack.postgres
    assert postgres is not None
    alice, ann, ben = await centre.agent("alice"), await centre.caller("ann"), await centre.caller("ben")
    first = await ann.dial("250")
    await first.answered()
    leg = await alice.called()
    both_ns = await talking(first, leg)
    postgres.stop()
    down_ns = monotonic_ns()
    second = await ben.dial("250")
    await second.answered()
    await centre.call_is(second, "waiting")
    await asyncio.sleep(5)
    await first.hang_up()
    await leg.gone()
    assert first.end is not None
    assert_only_each_other(first, leg, both_ns + 60_000_000, first.end.at_ns - 60_000_000)
    again = await alice.called()
    await talking(second, again)
    await second.hang_up()
    await again.gone()
    away_s = (monotonic_ns() - down_ns) / 1e9
    assert away_s > 5
    began_ns = monotonic_ns()
    postgres.start()
    await centre.shipped(within_s=20)
    print(f"PostgreSQL was away for {away_s:.0f} s; all rows in {(monotonic_ns() - began_ns) / 1e9:.1f} s")
    for call, agent_s in ((first, 5.0), (second, 0.0)):
        row = await centre.row(call)
        assert row["outcome"] == "answered"
        assert row["talk_ns"] / 1e9 > agent_s
    seqs = [row["seq"] for row in await centre.ledger("SELECT seq FROM events ORDER BY ordinal")]
    assert seqs == list(range(1, len(seqs) + 1)), "every row of the journal, exactly once"
