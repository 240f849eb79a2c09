"""Who gets whom on the real thing: strategies, steps of relaxation, phones that cannot be rung, queue rules.

Every queue has a number of its own, and its callers come over the trunk; agents' phones register.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from time import monotonic_ns

import pytest

from ari_app.core.strategies import chance

from .centre import PROVIDER_HOST, Centre, Plan
from .harness import Call, Phone, answers, rings
from .harness.sipp import AgentScript, CallerScript

TEAM = ("alice", "bob", "carol")
STRATEGIES = {
    "longest_idle": "11",
    "least_recent": "12",
    "fewest_calls": "13",
    "least_occupied": "14",
    "round_robin": "15",
    "random": "16",
    "weighted_random": "17",
    "linear": "18",
}
QUEUES = {
    "fit": ("20", 'requires = { german = 1 }\nstrategy = "linear"'),
    "steps": (
        "21",
        "requires = { german = 4 }\nring_timeout_s = 1.5\nmax_misses = 1\n"
        "relax = [{ after_s = 0.8, requires = { german = 2 } },"
        ' { after_s = 1.6, drop = ["german"] }, { after_s = 2.4, groups = ["helpers"] }]',
    ),
    "alone": ("22", ""),
    "full": (
        "31",
        'max_waiting = 1\nmax_wait_s = 0.8\noverflow.timeout = { queue = "linear" }\n'
        'overflow.full = { hangup = true, sounds = ["sorry"] }',
    ),
    "closed": ("32", 'hours = "never"\noverflow.closed = { hangup = true, sounds = ["beeperr"] }'),
    "empty": (
        "33",
        'join_when = "signed_in"\nleave_when = "none_signed_in"\n'
        'overflow.no_agents = { hangup = true, sounds = ["sorry"] }',
    ),
    "after": (
        "41",
        'wrap_up = "requested"\nwrap_up_s = 5\ndispositions = { sold = "Sold", later = "Later" }',
    ),
    "until-done": ("42", 'wrap_up = "until_done"\nwrap_up_max_s = 60\nwrap_up_s = 5'),
}
TEAMS = {"alone": (), "closed": TEAM, "empty": ("carol",), "steps": TEAM}
"""Who serves a queue; "alone" only whom a supervisor sends there, the others everybody of the team."""
SKILLS = {"alice": "german = 5", "bob": "german = 2", "carol": "", "dora": ""}
WEIGHTS = {"bob": 50}


@dataclass(frozen=True)
class Acd(Plan):
    agents: tuple[str, ...] = (*TEAM, "dora")

    def toml(self) -> str:
        queues = {name: (number, f'strategy = "{name}"') for name, number in STRATEGIES.items()} | QUEUES
        parts = [
            "[sip]\ntcp = false",
            "[fallback]\nafter_s = 20",
            "[hours.never]",
            '[crisis]\nflow = "crisis"',
        ]
        parts.append("[numbers]")
        parts += [f'"{number}" = "{name}"' for name, (number, _) in queues.items()]
        for name, (_, rules) in queues.items():
            parts.append(
                f'[flows.{name}]\nstart = "q"\n[flows.{name}.nodes.q]\nkind = "queue"\nqueue = "{name}"'
            )
            usual = {"ring_timeout_s": "8", "wrap_up": '"none"', "retry_pause_s": "0.5", "record": "false"}
            said = [f"{key} = {value}" for key, value in usual.items() if f"{key} =" not in rules]
            parts.append("\n".join([f"[queues.{name}]", rules, *said]))
        parts.append(
            '[flows.crisis]\nstart = "sorry"\n[flows.crisis.nodes.sorry]\nkind = "hangup"\nsounds = ["sorry"]'
        )
        for agent in self.agents:
            serves = [name for name in queues if agent in TEAMS.get(name, TEAM)]
            quoted = ", ".join(f'"{name}"' for name in serves)
            parts.append(f'[phones.{agent}]\n[agents.{agent}]\nphone = "{agent}"\nqueues = [{quoted}]')
            parts.append(f"skills = {{ {SKILLS[agent]} }}\nweight = {WEIGHTS.get(agent, 1)}")
            parts.append('groups = ["helpers"]' if agent == "dora" else "")
        numbers = ", ".join(f'"{number}"' for number, _ in queues.values())
        parts.append(f'[trunks.provider]\nserver = "{PROVIDER_HOST}"\nmatch = ["{PROVIDER_HOST}/32"]')
        parts.append(f"numbers = [{numbers}]")
        return "\n".join(parts)


PLAN = Acd()

RESTART = ['"event": "definition"', "[wW]eb [sS]ocket|WebSocket read error"]
"""What a Cordboard that is killed and started again leaves in the logs."""


class Team:
    """The agents' phones, which all answer at once, and a caller's."""

    def __init__(self, centre: Centre, phones: dict[str, Phone], ann: Phone) -> None:
        self.centre, self.phones, self.ann = centre, phones, ann

    async def sign_in(self, *names: str) -> None:
        """All out, then these in, in this order."""
        for view in (await self.centre.view()).agents:
            if view.state != "signed_out":
                await self.centre.act(view.agent, "sign_out")
        for name in names:
            await self.centre.act(name, "sign_in")

    async def talks(self, number: str, *, talk_s: float = 0.0) -> str:
        """One call from its first second to its last: whose phone rang (no other one did)."""
        before = {name: len(phone.incoming) for name, phone in self.phones.items()}
        call = await self.ann.dial(number)
        await call.answered()
        await self.centre.call_is(call, "talking")
        (name,) = (name for name, phone in self.phones.items() if len(phone.incoming) > before[name])
        await asyncio.sleep(talk_s)
        await call.hang_up()
        await self.phones[name].incoming[-1].gone()
        await self.centre.agent_is(name, "ready")
        return name

    async def talk_in_turn(self, strategy: str, calls: int) -> list[str]:
        return [await self.talks(STRATEGIES[strategy]) for _ in range(calls)]


async def team(centre: Centre) -> Team:
    phones = {name: await centre.agent(name, answers(0), signed_in=False) for name in TEAM}
    return Team(centre, phones, await centre.caller("ann"))


# ---------------------------------------------------------------- strategies


async def test_each_strategy_rings_whom_it_names(centre: Centre) -> None:
    """The orders of signing in, of the definition and of the last calls differ, so that no two agree."""
    here = await team(centre)
    await here.sign_in("carol", "bob", "alice")
    assert await here.talk_in_turn("longest_idle", 3) == ["carol", "bob", "alice"]
    await here.sign_in("alice", "bob", "carol")
    assert await here.talk_in_turn("least_recent", 3) == ["carol", "bob", "alice"]
    await here.sign_in("carol", "bob", "alice")
    assert await here.talk_in_turn("round_robin", 4) == ["alice", "bob", "carol", "alice"]
    assert await here.talk_in_turn("linear", 2) == ["alice", "alice"]

    await here.sign_in("alice")
    await here.talk_in_turn("fewest_calls", 1)
    for name in ("bob", "carol"):
        await centre.act(name, "sign_in")
    assert await here.talk_in_turn("fewest_calls", 3) == ["bob", "carol", "alice"]

    await here.sign_in("alice")
    await here.talks(STRATEGIES["least_occupied"], talk_s=0.5)
    for name in ("bob", "carol"):
        await centre.act(name, "sign_in")
    assert await here.talk_in_turn("least_occupied", 2) == ["bob", "carol"]


async def test_chance_names_whom_the_call_s_own_draw_names(centre: Centre) -> None:
    here = await team(centre)
    await here.sign_in(*TEAM)
    plain = await here.talk_in_turn("random", 3)
    weighted = await here.talk_in_turn("weighted_random", 3)
    ids = await centre.ids(here.ann.account.user)
    for key, got in zip(ids, [*plain, *weighted], strict=True):
        drawn = {name: -math.log(chance(f"{key}.1", name)) / WEIGHTS.get(name, 1) for name in TEAM}
        if key in ids[:3]:
            drawn = {name: chance(f"{key}.1", name) for name in TEAM}
        assert got == min(drawn, key=lambda name: drawn[name])
    told = await centre.command("why", ids[-1])
    assert "weighted random" in told, told


async def test_who_fits_best_goes_first_whatever_the_strategy(centre: Centre) -> None:
    """In the order of the definition alice comes first, and so do her skills; carol has none."""
    here = await team(centre)
    await here.sign_in("carol", "bob")
    assert await here.talks("20") == "bob", "who lacks the skill is not asked, however low the level"
    await centre.act("alice", "sign_in")
    here.phones["alice"].policy = rings
    call = await waits(centre, here.ann, "20")
    leg = await here.phones["alice"].called()
    ben = await centre.caller("ben")
    other = await ben.dial("20")
    await other.answered()
    await centre.call_is(other, "talking")
    assert len(here.phones["bob"].incoming) == 2, "the next best has the next caller"
    assert "alice" in await why(centre, call)
    await other.hang_up()
    await call.hang_up()
    await leg.gone()


async def waits(centre: Centre, phone: Phone, number: str) -> Call:
    """A call that is in its queue by now, or talks already."""
    call = await phone.dial(number)
    await call.answered()
    await centre.call_is(call, "waiting", "offered", "talking")
    return call


async def why(centre: Centre, call: Call) -> str:
    """What ``cordboard why`` says of a call that goes on, without the start of a process."""
    key = await centre.call_is(call, "waiting", "offered", "talking")
    return "\n".join((await asyncio.to_thread(centre.control.why_call, key)).lines)


# ---------------------------------------------------------------- steps of relaxation


async def test_steps_come_for_who_waits_and_while_a_phone_rings(centre: Centre) -> None:
    here = await team(centre)
    alice, bob, carol = (here.phones[name] for name in TEAM)
    alice.policy = rings
    dora = await centre.agent("dora", answers(0), signed_in=False)
    await here.sign_in(*TEAM, "dora")
    ben, cleo = await centre.caller("ben"), await centre.caller("cleo")
    calls = [await waits(centre, phone, "21") for phone in (here.ann, ben, cleo)]
    told = await why(centre, calls[2])
    for words in ("asks for german 4", "not enough of the skill german: bob, carol", "german 2 will do"):
        assert words in told, told
    of_ann, of_ben, of_cleo = (call.answered_ns or 0 for call in calls)
    # Ann's steps go on while alice's phone rings in vain: 0.1 s after it, carol will do.
    for phone, caller, at_ns, after_s in (
        (alice, here.ann, of_ann, 0.0),
        (bob, ben, of_ben, 0.8),
        (carol, here.ann, of_ann, 1.6),
        (dora, cleo, of_cleo, 2.4),
    ):
        leg = await phone.called()
        assert leg.caller_number == caller.account.user
        assert (leg.invited_ns - at_ns) / 1e9 == pytest.approx(after_s, abs=0.15), phone.name
    for call in calls:
        await call.hang_up()
    await centre.settled()
    again = await centre.command("why", await centre.id_of(calls[2]), "--full")
    assert "to dora" in again, again


# ---------------------------------------------------------------- phones that cannot ring


async def test_an_agent_on_a_call_of_their_own_is_not_offered_one(centre: Centre) -> None:
    here = await team(centre)
    await here.sign_in("alice")
    alice = here.phones["alice"]
    own = await alice.dial("22")  # nobody serves it: the agent is a caller like any other
    await own.answered()
    await centre.agent_is("alice", "other_call")
    call = await waits(centre, here.ann, "18")
    assert "qualified, but on a call of their own: alice" in await why(centre, call)
    told = (await asyncio.to_thread(centre.control.why_agent, "alice")).lines
    assert "on a call of their own" in told[0], told
    assert alice.incoming == []
    await own.hang_up()
    assert own.end is not None
    leg = await alice.called()
    assert (leg.invited_ns - own.end.at_ns) / 1e6 < 150, "offered as soon as the phone is free"
    await call.hang_up()
    await leg.gone()


async def test_a_phone_that_goes_and_comes_back(centre: Centre) -> None:
    here = await team(centre)
    alice = here.phones["alice"]
    await here.sign_in("alice")
    await alice.register(0)
    await centre.agent_is("alice", "unreachable")
    call = await waits(centre, here.ann, "18")
    assert "unreachable (no phone registered): alice" in await why(centre, call)
    began_ns = monotonic_ns()
    await alice.register()
    leg = await alice.called()
    assert (leg.invited_ns - began_ns) / 1e6 < 250, "offered as soon as the phone is there"
    await call.hang_up()
    await leg.gone()


async def test_a_phone_is_offered_calls_until_it_leaves_an_options_unanswered(centre: Centre) -> None:
    alice, ann = await centre.agent("alice", answers(0), registered=False), await centre.caller("ann")
    alice.answers_options = False
    call = await waits(centre, ann, "18")
    await alice.register()
    leg = await alice.called()
    await centre.call_is(call, "talking")
    await call.hang_up()
    await leg.gone()
    await centre.agent_is("alice", "ready")
    await centre.agent_is("alice", "unreachable", within_s=5)
    await alice.register(0)


# ---------------------------------------------------------------- the queues' rules, as callers hear them


async def test_full_closed_deserted_and_waited_too_long(centre: Centre) -> None:
    here = await team(centre)
    others = {name: await centre.caller(name) for name in ("full", "closed", "empty")}
    waiting = await waits(centre, here.ann, "31")
    left = [await phone.dial(QUEUES[name][0]) for name, phone in others.items()]
    for call in left:
        end = await call.gone(within_s=8)
        assert end.by == "them"
        assert call.ear.other_ms(call.answered_ns or 0) > 100, f"{call.phone.name}: it is said"
    for call, reason in zip(left, ("full", "closed", "no_agents"), strict=True):
        (gone,) = [body for kind, body in await centre.story(call) if kind == "CallOverflowed"]
        assert (gone["queue"], gone["reason"]) == (call.phone.name, reason)
    await centre.act("bob", "sign_in")
    await centre.call_is(waiting, "talking")
    await waiting.hang_up()
    row = await centre.row(waiting)
    assert (row["queue"], row["agent"]) == ("linear", "bob")
    assert row["waited_ns"] / 1e9 > 0.8, "the wait counts from the first queue"


async def test_when_the_last_agent_signs_out_the_waiting_leave(centre: Centre) -> None:
    carol, ann, ben = (
        await centre.agent("carol", rings),
        await centre.caller("ann"),
        await centre.caller("ben"),
    )
    rung = await waits(centre, ann, "33")
    waiting = await waits(centre, ben, "33")
    await carol.called()
    await centre.act("carol", "sign_out")
    end = await waiting.gone()
    assert end.by == "them"
    assert rung.end is None, "the phone that rings may ring on"
    await rung.hang_up()


async def test_the_emergency_switch_and_back(centre: Centre) -> None:
    ann, ben, cleo = [await centre.caller(name) for name in ("ann", "ben", "cleo")]
    waiting = await waits(centre, ann, "18")
    centre.expected_in_log = ['"event": "emergency switch"']
    await asyncio.to_thread(lambda: centre.control.crisis(on=True))
    assert (await waiting.gone()).by == "them", "who waits is told, too"
    new = await ben.dial("11")
    assert (await new.gone()).by == "them"
    assert new.ear.other_ms(new.answered_ns or 0) > 100
    await asyncio.to_thread(lambda: centre.control.crisis(on=False))
    after = await waits(centre, cleo, "18")
    await after.hang_up()
    assert (await centre.row(after))["outcome"] == "abandoned"


# ---------------------------------------------------------------- after the call, by phone


async def test_a_wrap_up_and_what_came_of_the_call_by_feature_code(centre: Centre) -> None:
    alice, ann = await centre.agent("alice", answers(0)), await centre.caller("ann")
    call = await waits(centre, ann, "41")
    leg = await alice.called()
    await centre.call_is(call, "talking")
    code = await alice.dial("*16")  # a wrap-up is asked for on a second line
    await code.answered()
    await code.gone(within_s=8)
    assert code.ear.other_ms(code.answered_ns or 0) > 300, "a confirmation is heard"
    await call.hang_up()
    await leg.gone()
    await centre.agent_is("alice", "wrap_up")
    code = await centre.dial_code(alice, "*15")
    await code.press("2")
    await code.gone(within_s=8)
    await centre.agent_is("alice", "ready", within_s=0.5)
    assert (await centre.row(call))["disposition"] == "later"


async def test_until_done_is_over_when_the_agent_dials_so(centre: Centre) -> None:
    alice, ann = await centre.agent("alice", answers(0)), await centre.caller("ann")
    call = await waits(centre, ann, "42")
    leg = await alice.called()
    await centre.call_is(call, "talking")
    await leg.hang_up()
    await call.gone()
    await centre.agent_is("alice", "wrap_up")
    code = await alice.dial("*15")
    await code.gone(within_s=8)
    await centre.agent_is("alice", "ready", within_s=0.5)


# ---------------------------------------------------------------- supervisors and files


async def test_what_a_supervisor_changed_outlives_kill_9(centre: Centre) -> None:
    centre.expected_in_log = RESTART
    here = await team(centre)
    await here.sign_in("alice", "bob")
    call = await waits(centre, here.ann, "22")
    assert "no agent serves the queue" in await why(centre, call)
    await asyncio.to_thread(centre.control.staff, "bob", {"german": 1}, ("alone",))
    await centre.call_is(call, "talking")
    centre.kill_cordboard()
    await centre.start_cordboard()
    changed = await centre.command("diff")
    assert "agent bob: skills german 2 -> german 1 (by terminal)" in changed
    assert "-> alone (by terminal)" in changed
    await call.hang_up()
    await centre.agent_is("bob", "ready")
    assert await here.talks("22") == "bob"
    await centre.command("agents", "reset", "bob")
    assert await asyncio.to_thread(centre.control.departures) == []


async def test_a_reload_under_load_loses_nobody(centre: Centre) -> None:
    """Twenty callers wait and talk while skills, queues and strategies change under them, and back."""
    numbers = [centre.number() for _ in range(20)]
    path = centre.stack.options.definition / "centre.toml"
    before = path.read_text()
    after = before.replace('strategy = "linear"', 'strategy = "round_robin"')
    for name, level in (("alice", 5), ("bob", 2)):
        after = after.replace(
            f"german = {level} }}\nweight", f"german = {level - 1}, english = 3 }}\nweight", 1
        )
        assert f"german = {level - 1}, english" in after, name
    async with centre.sipp_agents(*TEAM, scripts=[AgentScript(ring_ms=20, talk_ms=400)] * 30) as phones:
        calls = [CallerScript("18" if n % 2 else "20", number) for n, number in enumerate(numbers)]
        callers = asyncio.create_task(centre.sipp_callers(calls, 40.0).done(within_s=30))

        async def busy() -> bool:
            return len((await centre.view()).calls) >= 12

        await centre.until(busy, "a dozen callers are there")
        try:
            path.write_text(after)
            assert "strategy" in await centre.command("reload")
            assert not callers.done()
            made = await callers
        finally:
            path.write_text(before)
            await asyncio.to_thread(centre.control.reload)
        await centre.settled()
    assert (made.successful, made.failed) == (20, 0)
    rows = await centre.ledger("SELECT outcome FROM calls WHERE opened_ns >= %s", centre.since_ns)
    assert [row["outcome"] for row in rows] == ["answered"] * 20
    assert phones.record().count("answered") == 20
