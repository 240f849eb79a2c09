"""Ten agents and fifty callers who do as they please: nobody is lost, and the books agree with SIPp."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest

from .centre import Centre, Plan, Row
from .harness import Voice
from .harness.sipp import FOREVER_MS, AgentScript, CallerScript, SippCall, SippRecord

AGENTS = tuple(f"agent{n}" for n in range(10))
CALLERS = 50
CALLS_A_SECOND = 10.0
SEED = 20_261_122
SAME_S = 0.15
"""SIPp's clock and the books may differ by so much about one instant, on a busy machine."""
BYE_TO_LOG_S = 0.005
"""SIPp logs a BYE when it has answered it, perhaps after an INVITE that came behind it."""

PLAN = Plan(agents=AGENTS, ring_timeout_s=1.5, wrap_up_s=0.5, retry_pause_s=0.3, max_misses=100)

ROWS = (
    "SELECT c.*, p.number AS caller FROM calls c JOIN people p ON p.node = c.node AND p.call_id = c.call"
    " WHERE c.opened_ns >= %s"
)
TALKS = "SELECT * FROM segments WHERE party = 'agent' AND state = 'talking' AND from_ns >= %s"
OFFERS = "SELECT agent, result, result_ns - at_ns AS ns FROM decisions WHERE at_ns >= %s"


async def callers(centre: Centre, dice: random.Random) -> list[CallerScript]:
    """Through the menu, past it, or without a word; patient or not."""
    scripts = []
    for n in range(CALLERS):
        number = dice.choices(("100", "200", "250"), (3, 1, 1))[0]
        key = dice.choice(("1", "2", "2", "")) if number == "100" else ""
        keys = [(dice.uniform(0.3, 1.2), key)] if key else []
        voice = await centre.room.voice(f"caller{n}", keys)
        stay_ms = FOREVER_MS if dice.random() < 0.3 else dice.randrange(300, 9_000)
        scripts.append(CallerScript(number, centre.number(), press_after_ms=0, stay_ms=stay_ms, voice=voice))
    return scripts


async def agents(centre: Centre, dice: random.Random) -> list[AgentScript]:
    """They mostly answer, sometimes after a while; some leave hanging up to the caller, but not for ever."""
    scripts = []
    for n in range(40):
        voice = await centre.room.media.open(f"agent{n}", None, centre.room.tones)
        code = dice.choices((200, 486, 603, 0), (14, 2, 2, 2))[0]
        ring_ms, talk_ms = dice.randrange(50, 1_200), dice.randrange(1_000, 6_000)
        scripts.append(AgentScript(ring_ms, code, talk_ms, voice))
    return scripts


@pytest.mark.timeout(180)
async def test_ten_agents_and_fifty_callers_at_random(centre: Centre) -> None:
    dice = random.Random(SEED)
    phoning, serving = await callers(centre, dice), await agents(centre, dice)
    async with centre.sipp_agents(*AGENTS, scripts=serving) as phones:
        made = await centre.sipp_callers(phoning, CALLS_A_SECOND).done(within_s=90)
        await centre.settled(within_s=20)
    taken = phones.record()
    rows = await centre.ledger(ROWS, centre.since_ns)
    offers = await centre.ledger(OFFERS, centre.since_ns)
    talks = await centre.ledger(TALKS, centre.since_ns)
    outcomes = Counter(row["outcome"] for row in rows)
    results = Counter(offer["result"] for offer in offers)
    print(f"{len(rows)} calls {dict(outcomes)}, {len(offers)} offers {dict(results)}")
    assert (made.created, made.failed, taken.failed) == (CALLERS, 0, 0), phones.errors()
    assert set(outcomes) == {"answered", "abandoned", "left_in_flow"}, "of each kind, and nobody is lost"
    assert [pair for pair in taken.overlapping() if overlap_s(*pair) > BYE_TO_LOG_S] == []
    assert_every_caller_is_on_the_books(made, rows)
    assert_every_talk_was_one(taken, talks)
    assert_every_offer_rang(taken, offers)
    assert Counter(row["agent"] for row in rows if row["outcome"] == "answered") == Counter(
        talk["agent"] for talk in talks
    )
    for script in serving:
        assert script.voice is not None
        assert_one_at_a_time(script.voice)


def overlap_s(one: SippCall, other: SippCall) -> float:
    """How long one phone had both."""
    start = max(min(one.events.values()), min(other.events.values()))
    return min(max(one.events.values()), max(other.events.values())) - start


def assert_every_caller_is_on_the_books(made: SippRecord, rows: list[Row]) -> None:
    by_number = {row["caller"]: row for row in rows}
    assert len(by_number) == len(rows) == made.created
    for call in made.calls:
        row = by_number[call.party]
        ends = {"caller": "hung_up", "agent": "released", "system": "released"}
        assert ends[row["ended_by"]] in call.events, (call, row)
        over_s = max(call.events.get("hung_up", 0), call.events.get("released", 0))
        assert row["ended_ns"] / 1e9 == pytest.approx(over_s, abs=SAME_S)
        assert row["opened_ns"] / 1e9 == pytest.approx(call.events["dialled"], abs=SAME_S)


def assert_every_talk_was_one(taken: SippRecord, talks: list[Row]) -> None:
    """Each talk in the books is one that a phone had, from and to the same instants."""
    left: dict[str, list[SippCall]] = {}
    for call in taken.calls:
        if "answered" in call.events:
            left.setdefault(call.party, []).append(call)
    for talk in talks:
        had = min(left[talk["agent"]], key=lambda call: abs(call.events["answered"] - talk["from_ns"] / 1e9))
        left[talk["agent"]].remove(had)
        assert talk["from_ns"] / 1e9 == pytest.approx(had.events["answered"], abs=SAME_S)
        over_s = min(had.events.get("hung_up", 1e12), had.events.get("released", 1e12))
        assert talk["to_ns"] / 1e9 == pytest.approx(over_s, abs=SAME_S)
    for unmatched in (call for calls in left.values() for call in calls):
        # The caller hung up in the instant of the answer: the phone answered, the books say abandoned.
        assert unmatched.seconds("answered", "released") < SAME_S, unmatched


def assert_every_offer_rang(taken: SippRecord, offers: list[Row]) -> None:
    """Each phone rang as often as the books say, but for an offer whose caller left within the instant."""
    rang, made = Counter(call.party for call in taken.calls), Counter(o["agent"] for o in offers)
    instant = Counter(o["agent"] for o in offers if o["result"] == "caller_gone" and o["ns"] < 50_000_000)
    for agent, count in made.items():
        assert count - instant[agent] <= rang[agent] <= count, agent
    results = Counter(offer["result"] for offer in offers)
    assert taken.count("refused") == results["busy"] + results["declined"]
    assert results["answered"] <= taken.count("answered")
    assert set(results) <= {"answered", "busy", "declined", "no_answer", "caller_gone"}


def assert_one_at_a_time(voice: Voice) -> None:
    """No agent ever hears two callers at once, or music. (One frame may be cut, and hold anything.)"""
    for sound, after in pairwise(voice.ear.sounds()):
        assert len(sound.tones & after.tones) <= 1, (sound, after)
        assert not (sound.other and after.other), voice.ear.story()
