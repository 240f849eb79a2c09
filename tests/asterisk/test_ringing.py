"""Several phones that ring at once, on the real thing: ring all, its races, desk and mobile, auto-answer."""

from __future__ import annotations

import asyncio
from time import monotonic_ns

from ari_app.deploy.ports import free_port

from .centre import Centre, Plan
from .harness import Account, Call, Phone, answers, declines, rings
from .races import Races

MOBILE_HOST = "127.0.0.3"
MOBILE_PORT = free_port("udp")
MOBILE = "+4915112345678"
CONFIRM_S = 4.0
PLAN = Plan(
    agents=("alice", "bob", "carol", "dora", "erik", "fritz"),
    ring_timeout_s=8,
    support='strategy = "ring_all"',
    devices={
        "dora": f'phones = ["dora", {{ number = "{MOBILE}", trunk = "mobiles", ring_s = 9 }}]\n'
        f"confirm_s = {CONFIRM_S}",
        "erik": 'phone = "erik"\nauto_answer = true',
        "fritz": 'phones = [{ phone = "fritz", ring_s = 1 }, "fritz-home"]\nring = "in_order"',
    },
    more=f"""
[phones.fritz-home]
[trunks.mobiles]
server = "{MOBILE_HOST}"
port = {MOBILE_PORT}
mobiles = ["+4915*"]
""",
)

RESTART = ['"event": "definition"', "[wW]eb [sS]ocket|WebSocket read error"]
"""What a Cordboard that is killed and started again leaves in the logs."""
ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'
RESULTS = "SELECT agent, result FROM decisions WHERE call = %s ORDER BY attempt"


async def results(centre: Centre, call: Call) -> dict[str, str]:
    key = await centre.id_of(call)
    await centre.shipped()
    return {row["agent"]: row["result"] for row in await centre.ledger(RESULTS, key)}


async def dials(centre: Centre, name: str = "ann") -> Call:
    call = await (await centre.caller(name)).dial("250")
    await call.answered()
    return call


async def mobile(centre: Centre) -> Phone:
    """Dora's mobile, behind the provider; it rings until a test says otherwise."""
    phone = await centre.room.phone(
        "mobile", Account(MOBILE, *centre.sip), host=MOBILE_HOST, port=MOBILE_PORT
    )
    phone.policy = rings
    await centre.rx("pjsip qualify mobiles")

    async def is_known() -> bool:
        return bool((await centre.ari("endpoints/PJSIP/mobiles"))["state"] == "online")

    await centre.until(is_known, "the provider of the mobile is known")
    return phone


async def hears(call: Call, agent: Phone) -> None:
    assert agent.tone is not None
    await call.ear.hears(agent.tone)


def silence_ms(call: Call, since_ns: int) -> float:
    return call.ear.longest_gap_ms(None, since_ns, monotonic_ns() - 50_000_000)


# ---------------------------------------------------------------- ring all


async def test_all_ring_one_answers_and_the_others_show_no_missed_call(centre: Centre) -> None:
    alice, bob = await centre.agent("alice", rings), await centre.agent("bob", rings)
    carol = await centre.agent("carol", declines(0.1))
    call = await dials(centre)
    legs = [await phone.called() for phone in (alice, bob, carol)]
    await legs[2].gone()
    for leg in legs[:2]:
        await leg.rings()
    began_ns = monotonic_ns()
    await legs[1].answer()
    await hears(call, bob)
    lost = await legs[0].gone()
    assert (lost.by, lost.code) == ("them", 487)
    assert ELSEWHERE in lost.reasons
    assert silence_ms(call, began_ns) < 2_000
    assert (await centre.agent_is("alice", "ready")).misses == 0
    await call.hang_up()
    assert (await centre.row(call))["agent"] == "bob"
    assert await results(centre, call) == {
        "alice": "answered_elsewhere",
        "bob": "answered",
        "carol": "declined",
    }


async def test_who_becomes_ready_joins_and_why_names_all(centre: Centre) -> None:
    alice, bob = await centre.agent("alice", rings), await centre.agent("bob", rings)
    carol = await centre.agent("carol", rings, signed_in=False)
    call = await dials(centre)
    for phone in (alice, bob):
        await (await phone.called()).rings()
    await centre.act("carol", "sign_in")
    joined = await carol.called()
    await joined.rings()
    key = await centre.call_is(call, "offered")
    told = await centre.command("why", key)
    assert "offer 1, to alice, bob: ring all: all 2 free agents" in told
    assert "offer 3, to carol: ring all: the only free agent" in told
    await joined.answer()
    await hears(call, carol)
    await call.hang_up()
    assert "carol answered" in await centre.command("why", key)
    full = await centre.command("why", key, "--full")
    assert full.count("deciding again from the journal gives the same") == 2


async def test_the_caller_goes_while_all_ring(centre: Centre) -> None:
    phones = [await centre.agent(name, rings) for name in ("alice", "bob", "carol")]
    call = await dials(centre)
    legs = [await phone.called() for phone in phones]
    await call.hang_up()
    for leg in legs:
        assert (await leg.gone()).code == 487
    assert set((await results(centre, call)).values()) == {"caller_gone"}
    for name in ("alice", "bob", "carol"):
        assert (await centre.agent_is(name, "ready")).misses == 0


async def test_simultaneous_answers_have_one_winner(centre: Centre) -> None:
    """200 times: the phones say 200 OK at the same moment. One is bridged, the others are let go."""
    phones = [await centre.agent(name, rings) for name in ("alice", "bob", "carol")]
    races = Races(centre, await centre.caller("ann"), phones)
    for _ in range(200):
        await races.one()
    await races.check()


async def test_a_kill_while_all_ring_and_one_in_the_instant_of_the_answer(centre: Centre) -> None:
    centre.expected_in_log = RESTART
    phones = [await centre.agent(name, rings) for name in ("alice", "bob", "carol")]
    call = await dials(centre)
    began_ns = monotonic_ns()
    legs = [await phone.called() for phone in phones]
    for leg in legs:
        await leg.rings()
    centre.kill_cordboard()
    await centre.start_cordboard()
    assert all(leg.end is None for leg in legs)  # they ring on
    answering = asyncio.gather(*(leg.answer() for leg in legs))
    await asyncio.sleep(0.002)
    centre.kill_cordboard()
    await answering
    await centre.start_cordboard()
    await centre.until(lambda: _one_is_up(legs), "one leg is left", within_s=6)
    (winner,) = [phone for phone, leg in zip(phones, legs, strict=True) if leg.end is None]
    await hears(call, winner)
    assert silence_ms(call, began_ns) < 2_000
    await call.hang_up()
    row = await centre.row(call)
    told = await results(centre, call)
    assert (row["outcome"], row["agent"]) == ("answered", winner.name)
    assert sorted(told.values()) == ["answered", "answered_elsewhere", "answered_elsewhere"]


async def _one_is_up(legs: list[Call]) -> bool:
    return sum(leg.end is None for leg in legs) == 1


# ---------------------------------------------------------------- several phones


async def test_a_mobile_is_asked_to_press_1_while_the_caller_hears_music(centre: Centre) -> None:
    dora, pocket = await centre.agent("dora", rings), await mobile(centre)
    call = await dials(centre)
    began_ns = monotonic_ns()
    desk, leg = await dora.called(), await pocket.called()
    assert leg.number == MOBILE
    await desk.rings()
    await leg.answer()
    await leg.ear.hears_other()  # the prompt
    assert desk.end is None
    await leg.press("1")
    await hears(call, pocket)
    lost = await desk.gone()
    assert ELSEWHERE in lost.reasons
    assert silence_ms(call, began_ns) < 2_000
    await call.hang_up()
    await leg.gone()
    assert await results(centre, call) == {"dora": "answered"}
    story = [kind for kind, _ in await centre.story(call)]
    assert "ConfirmAsked" in story
    assert MOBILE not in str(await centre.story(call))


async def test_a_voicemail_never_takes_a_call(centre: Centre) -> None:
    dora, pocket = await centre.agent("dora", declines(0.1)), await mobile(centre)
    pocket.policy = answers(0.1)
    call = await dials(centre)
    began_ns = monotonic_ns()
    leg = await pocket.called()
    await leg.answered()
    await (await dora.called()).gone()
    assert (await leg.gone(CONFIRM_S + 3)).by == "them"
    assert leg.answered_ns is not None
    assert monotonic_ns() - leg.answered_ns >= CONFIRM_S * 0.9e9
    await centre.call_is(call, "waiting")
    assert silence_ms(call, began_ns) < 2_000
    assert pocket.tone is not None
    assert not call.ear.heard(pocket.tone)
    await centre.act("dora", "sign_out")
    await call.hang_up()
    assert (await centre.row(call))["outcome"] == "abandoned"
    assert await results(centre, call) == {"dora": "declined"}


async def test_phones_in_order(centre: Centre) -> None:
    fritz = await centre.agent("fritz", rings)
    home = await centre.room.phone("fritz-home", centre.account("fritz-home"), register=True)
    home.policy = rings

    async def is_known() -> bool:
        return bool((await centre.ari("endpoints/PJSIP/fritz-home"))["state"] == "online")

    await centre.until(is_known, "the phone at home is known")
    call = await dials(centre)
    first = await fritz.called()
    assert (await first.gone()).code == 487
    second = await home.called()
    await second.answer()
    await hears(call, home)
    await call.hang_up()
    assert await results(centre, call) == {"fritz": "answered"}


async def test_an_agent_is_there_as_long_as_one_phone_is(centre: Centre) -> None:
    fritz = await centre.agent("fritz", rings)
    home = await centre.room.phone("fritz-home", centre.account("fritz-home"), register=True)
    await home.register(expires_s=0)
    await centre.agent_is("fritz", "ready")
    await fritz.register(expires_s=0)
    await centre.agent_is("fritz", "unreachable")
    await home.register()
    await centre.agent_is("fritz", "ready")


async def test_auto_answer_is_asked_in_both_forms_of_that_phone_alone(centre: Centre) -> None:
    alice, erik = await centre.agent("alice", rings), await centre.agent("erik", rings)
    call = await dials(centre)
    told, other = await erik.called(), await alice.called()
    assert told.header("call-info") == "<sip:cordboard>;answer-after=0"
    assert told.header("alert-info") == "<http://localhost>;info=alert-autoanswer;delay=0"
    assert (other.header("call-info"), other.header("alert-info")) == ("", "")
    await told.answer()
    await hears(call, erik)
    await call.hang_up()
    await told.gone()


async def test_the_number_is_in_no_log(centre: Centre) -> None:
    assert MOBILE not in centre.cordboard.log.read_text()
