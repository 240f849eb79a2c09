"""Callers and agents, so that a test reads as the transcript of a call.

ann = pbx.caller("ann").dials("100").presses("1")
bob = pbx.agent("bob").signs_in()
pbx.passes(seconds=16)
assert ann.position == 1
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import msgspec

from ari_app.core import messages as m
from ari_app.core.agent import Agent
from ari_app.core.call import Call
from ari_app.core.definition import (
    SECOND_NS,
    Agent as AgentDefinition,
    Codes,
    Crisis,
    Definition,
    Flow,
    HangupNode,
    MenuNode,
    Overflow,
    Phone as RingsAt,
    PlayNode,
    Queue,
    QueueNode,
    Relax,
    Target,
)
from ari_app.core.floor import CONVERSING
from tests.fakes import checks
from tests.fakes.centre import Centre
from tests.fakes.pbx import Broken, FakeAsterisk, Phone, PhoneMood

START_NS = 1_800_000_000 * SECOND_NS

DEFINITION = Definition(
    numbers={
        "100": "main",
        "200": "direct",
        "300": "closed",
        "400": "vip",
        "500": "broken",
        "600": "nowhere",
    },
    flows={
        "main": Flow(
            "greeting",
            {
                "greeting": PlayNode(("welcome",), "menu"),
                "menu": MenuNode(("press-1",), {"1": "sales", "2": "support", "9": "bye"}, "operator"),
                "sales": QueueNode("sales"),
                "support": QueueNode("support", ("one-moment",)),
                "operator": QueueNode("sales"),
                "bye": HangupNode(("goodbye",)),
            },
        ),
        "direct": Flow("quiet", {"quiet": PlayNode((), "in"), "in": QueueNode("support")}),
        "closed": Flow("missing", {"missing": PlayNode(("missing",), "end"), "end": HangupNode()}),
        "vip": Flow("in", {"in": QueueNode("sales", priority=5)}),
        "broken": Flow("menu", {"menu": MenuNode(("x",), {"1": "menu"}, "menu", timeout_s=float("inf"))}),
    },
    queues={
        "sales": Queue("Sales"),
        "support": Queue("Support", ring_timeout_s=10, wrap_up_s=0, record=False, music="quiet"),
    },
    agents={
        "bob": AgentDefinition("Bob", "bob", ("sales",)),
        "eve": AgentDefinition("Eve", "eve", ("sales", "support")),
        "max": AgentDefinition("Max", "max", ("support",)),
    },
    codes=Codes(ask_pin=("sign_in", "sign_out", "pause")),
)

SMALLER = msgspec.structs.replace(
    DEFINITION,
    numbers={"100": "main"},
    flows={"main": Flow("greeting", {"greeting": PlayNode(("welcome",), "in"), "in": QueueNode("sales")})},
    queues={"sales": Queue("Sales", ring_timeout_s=5, wrap_up_s=0, max_misses=0)},
    agents={"bob": AgentDefinition("Bob", "bob", ("sales",))},
)
"""What is left after cuts: one flow without its menu, one queue, one agent."""


RULED = msgspec.structs.replace(
    DEFINITION,
    flows={
        **DEFINITION.flows,
        "crisis": Flow("storm", {"storm": PlayNode(("storm",), "in"), "in": QueueNode("support")}),
    },
    queues={
        "sales": Queue(
            "Sales",
            max_waiting=2,
            max_wait_s=50,
            leave_when="none_signed_in",
            hours="office",
            at_closing="overflow",
            overflow=Overflow(
                full=Target(hangup=True, sounds=("busy",)),
                timeout=Target(
                    number="+4930",
                    trunk="provider",
                    ring_s=10,
                    otherwise=Target(queue="support"),
                ),
                no_agents=Target(queue="support", sounds=("moved",)),
                closed=Target(flow="main", node="bye"),
            ),
            wrap_up="extendable",
            wrap_up_max_s=40,
            dispositions={"sold": "Sold", "none": "Nothing said"},
            disposition_required=True,
            disposition_default="none",
        ),
        "support": Queue(
            "Support",
            join_when="working",
            max_wait_s=100,
            wrap_up="until_done",
            wrap_up_max_s=60,
            overflow=Overflow(
                timeout=Target(fallback=True, sounds=("later",)),
                no_agents=Target(voicemail=True, longest_s=20),
            ),
        ),
    },
    crisis=Crisis("crisis"),
)
"""The same centre with rules that send callers on, and other kinds of wrap-up."""

SKILLED = msgspec.structs.replace(
    DEFINITION,
    queues={
        "sales": Queue(
            "Sales",
            requires={"german": 2},
            relax=(Relax(5, {"german": 0}), Relax(10, drop=("german",)), Relax(15, groups=("spare",))),
            ageing_every_s=10,
            prefer_s=10,
            strategy="round_robin",
        ),
        "support": Queue("Support", wrap_up_s=0, priority=1, strategy="least_occupied", music="quiet"),
    },
    agents={
        "bob": AgentDefinition("Bob", "bob", ("sales",), {"german": 3}),
        "eve": AgentDefinition("Eve", "eve", ("sales", "support"), {"german": 0}),
        "max": AgentDefinition("Max", "max", ("support",), groups=("spare",)),
    },
)
"""The same with skills, relaxation, ageing and other strategies."""


OUTSIDE = "+4930@provider"
"""The phone behind the number that ``RULED`` sends callers on to."""

RUNG = msgspec.structs.replace(
    DEFINITION,
    queues={
        "sales": Queue(
            "Sales", strategy="ring_all", max_wait_s=60, overflow=Overflow(timeout=Target(fallback=True))
        ),
        "support": Queue("Support", strategy="ring_all", ring_at_most=2, wrap_up_s=0, record=False),
    },
    agents={
        "bob": AgentDefinition(
            "Bob", "bob", ("sales",), phones=(RingsAt("bob"), RingsAt("bob-mobile", mobile=True, ring_s=20))
        ),
        "eve": AgentDefinition(
            "Eve",
            "eve",
            ("sales", "support"),
            phones=(RingsAt("eve", ring_s=6), RingsAt("eve-home"), RingsAt("eve-mobile", mobile=True)),
            ring="in_order",
        ),
        "max": AgentDefinition("Max", "max", ("sales", "support")),
    },
)
"""The same, but all are rung, some of them at several phones."""


class Pbx:
    """The fake Asterisk, the call centre on it, and the people around."""

    def __init__(
        self, definition: Definition = DEFINITION, *, die_at: Iterable[int] = (), gap_s: float = 2.0
    ) -> None:
        self.definition = definition
        self.asterisk = FakeAsterisk(START_NS)
        self.centre = Centre(self.asterisk, definition, set(die_at), gap_s)
        self.centre.start()
        self._calls = 0

    def caller(self, name: str) -> Caller:
        return Caller(self, name)

    def agent(self, name: str) -> AgentAtPhone:
        return AgentAtPhone(self, name)

    def phone(self, endpoint: str) -> AgentAtPhone:
        """One of an agent's several phones."""
        return AgentAtPhone(self, endpoint)

    def passes(self, seconds: float) -> Self:
        self.centre.passes(seconds)
        return self

    def settle(self) -> Self:
        self.centre.settle()
        return self

    def dies(self) -> Self:
        self.centre.die()
        return self

    def restarts(self) -> Self:
        self.centre.start()
        return self

    def new_channel(self, name: str) -> str:
        self._calls += 1
        return f"{name}-{self._calls}"

    def outcomes(self) -> list[str]:
        """How the calls ended, in order."""
        return [e.outcome for e in self.centre.events() if isinstance(e, m.CallEnded)]

    def offers(self) -> list[str]:
        """Who was offered calls, in order."""
        return [e.agent for e in self.centre.events() if isinstance(e, m.OfferMade)]

    def lapses(self) -> list[str]:
        return [e.reason for e in self.centre.events() if isinstance(e, m.OfferLapsed)]

    def everyone_is_served(self) -> None:
        """The aftermath: all sign in and answer; whoever still waits reaches an agent. Then the books."""
        centre = self.centre
        if not centre.alive:
            centre.start()
        centre.regain_link()
        self.asterisk.refuse_bridges = 0
        self.asterisk.deaf.clear()
        centre.define(self.definition)
        centre.feed(m.CrisisAsked("", False))
        centre.feed(m.HoursGiven({}))
        for name in centre.definition.agents:
            centre.feed(m.AgentSkillsChanged(name))
            centre.feed(m.PhoneSeen(name, True))
        self.passes(seconds=40)  # greetings, menus and wrong keys come to an end
        for agent in centre.definition.agents.values():
            for each in agent.all_phones():
                self.asterisk.phones[each.endpoint] = Phone("accepts" if each.mobile else "answers", 1)
        for _ in range(12):
            for name in centre.definition.agents:
                centre.feed(m.AgentAsked(name, "sign_in"))
                centre.feed(m.AgentAsked(name, "resume"))
            self.passes(seconds=30)
            for call in list(centre.live.state.calls.values()):
                if call.state in CONVERSING and call.channel in self.asterisk.channels:
                    self.asterisk.hang_up(call.channel)
            self.settle()
        checks.at_rest(centre)
        checks.whole_run(centre)
        left = centre.live.state
        if left.calls or left.closing or left.recordings or self.asterisk.bridges:
            raise Broken(f"left over: {left.calls} {left.closing} {left.recordings}")


class Caller:
    """Somebody with a phone. ``channel`` is "" until they dial."""

    def __init__(self, pbx: Pbx, name: str) -> None:
        self.pbx, self.name, self.channel = pbx, name, ""

    def dials(self, number: str) -> Self:
        self.channel = self.pbx.new_channel(self.name)
        self.pbx.asterisk.call_in(self.channel, number)
        self.pbx.settle()
        return self

    def presses(self, digit: str) -> Self:
        if self.channel in self.pbx.asterisk.channels:
            self.pbx.asterisk.press(self.channel, digit)
            self.pbx.settle()
        return self

    def hangs_up(self, *, unheard: bool = False) -> Self:
        """``unheard``: the observations stay on their way, for a test that decides on the order."""
        if self.channel in self.pbx.asterisk.channels:
            self.pbx.asterisk.hang_up(self.channel)
            if not unheard:
                self.pbx.settle()
        return self

    @property
    def call(self) -> Call | None:
        return self.pbx.centre.live.call_of(self.channel)

    @property
    def state(self) -> str:
        """The call's state, or "gone"."""
        return self.call.state if self.call else "gone"

    @property
    def position(self) -> int:
        return self.pbx.centre.live.position(self.call) if self.call else 0

    @property
    def hears(self) -> str:
        return self.pbx.asterisk.hears(self.channel)

    @property
    def talks_with(self) -> str:
        """The agent with whom this caller is really in one bridge."""
        for members in self.pbx.asterisk.bridges.values():
            for other in members if self.channel in members else ():
                if other != self.channel:
                    return self.pbx.asterisk.channels[other].agent
        return ""


class AgentAtPhone:
    """An agent and the phone on their desk."""

    def __init__(self, pbx: Pbx, name: str) -> None:
        self.pbx, self.name, self.session = pbx, name, ""
        self.pbx.asterisk.phones.setdefault(name, Phone())

    def phone(self, mood: PhoneMood, after_s: float = 0.0) -> Self:
        self.pbx.asterisk.phones[self.name] = Phone(mood, after_s)
        return self

    def asks(self, action: m.Action, reason: str = "") -> Self:
        self.pbx.centre.feed(m.AgentAsked(self.name, action, reason, "test"))
        self.pbx.settle()
        return self

    def signs_in(self) -> Self:
        return self.asks("sign_in")

    def dials_code(self, action: m.Action) -> Self:
        self.session = self.pbx.new_channel(self.name)
        self.pbx.asterisk.call_in(self.session, "*11", action, self.name)
        self.pbx.settle()
        return self

    def types(self, *, ok: bool, entered: bool = True) -> Self:
        self.pbx.asterisk.type_pin(self.session, ok=ok, entered=entered)
        self.pbx.settle()
        return self

    def answers(self, *, unheard: bool = False) -> Self:
        for leg in self.pbx.asterisk.legs_of(self.name):
            if not self.pbx.asterisk.channels[leg].up:
                self.pbx.asterisk.pick_up(leg)
        if not unheard:
            self.pbx.settle()
        return self

    def holds(self, *, on: bool = True) -> Self:
        for leg in self.pbx.asterisk.legs_of(self.name):
            if self.pbx.asterisk.channels[leg].up:
                self.pbx.asterisk.hold(leg, on=on)
        self.pbx.settle()
        return self

    def presses(self, digit: str) -> Self:
        for leg in self.pbx.asterisk.legs_of(self.name):
            self.pbx.asterisk.press(leg, digit)
        self.pbx.settle()
        return self

    def declines(self) -> Self:
        for leg in self.pbx.asterisk.legs_of(self.name):
            self.pbx.asterisk.decline(leg)
        self.pbx.settle()
        return self

    def hangs_up(self) -> Self:
        for leg in self.pbx.asterisk.legs_of(self.name):
            self.pbx.asterisk.hang_up(leg)
        self.pbx.settle()
        return self

    @property
    def record(self) -> Agent:
        return self.pbx.centre.live.state.agents[self.name]

    @property
    def state(self) -> str:
        return self.record.state

    @property
    def rings(self) -> bool:
        return bool(self.pbx.asterisk.legs_of(self.name))

    @property
    def hears(self) -> str:
        """What the phone hears; "" if it is on the hook, or hears nothing."""
        return "".join(self.pbx.asterisk.hears(leg) for leg in self.pbx.asterisk.legs_of(self.name))
