"""Properties of the core under anything that people, Asterisk, the clock and deaths may do, in any order.

The machine acts on the fake Asterisk; observations are delivered late, in any order that Asterisk
allows, and in turns of any size. ``tests.fakes.checks`` states what must hold: after each step, at
rest, and over the whole run (nobody lost, replay, snapshots).
"""

from __future__ import annotations

import msgspec
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ari_app.core import messages as m
from ari_app.core.definition import SECOND_NS, Definition, Target
from ari_app.core.errors import IllegalMove
from ari_app.core.floor import Floor
from tests.fakes import checks
from tests.fakes.pbx import Phone, PhoneMood
from tests.fakes.people import DEFINITION, OUTSIDE, RULED, RUNG, SKILLED, SMALLER, Caller, Pbx

NUMBERS = st.sampled_from(["100", "200", "300", "400", "500", "600", "999"])
AGENTS = st.sampled_from(["bob", "eve", "max"])
PHONES = st.sampled_from(["bob", "eve", "max", OUTSIDE])
MOODS: st.SearchStrategy[PhoneMood] = st.sampled_from(["rings", "answers", "busy", "declines", "unreachable"])
RUNG_PHONES = st.sampled_from(["bob", "bob-mobile", "eve", "eve-home", "eve-mobile", "max"])
ACTIONS: st.SearchStrategy[m.Action] = st.sampled_from(["sign_in", "sign_out", "pause", "resume", "unlock"])
CODES: st.SearchStrategy[m.Action] = st.sampled_from(
    ["sign_in", "sign_out", "pause", "resume", "done", "wrap_up"]
)
QUEUES = st.sampled_from([None, (), ("sales",), ("support", "sales"), ("support",)])
SKILLS = st.sampled_from([None, {}, {"german": 3}])
SECONDS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 60.0, 130.0])
MOST_CALLERS = 5

ONCE_EACH = (m.DigitPressed, m.PinChecked, m.EngineStarted, m.DefinitionGiven, m.Recovered, m.LinkFailed)
"""Not observations of a state: a key pressed twice is two keys."""


class AnythingHappens(RuleBasedStateMachine):
    begins_with = DEFINITION

    def __init__(self) -> None:
        super().__init__()
        self.pbx = Pbx(self.begins_with)
        self.callers: list[Caller] = []

    @initialize(at_work=st.booleans())
    def a_day_begins(self, at_work: bool) -> None:
        self.pbx.asterisk.phones[OUTSIDE] = Phone("answers", 1)
        if at_work:
            for agent in ("bob", "eve", "max"):
                self.pbx.asterisk.phones[agent] = Phone("answers", 1)
                self.pbx.centre.feed(m.AgentAsked(agent, "sign_in"))

    # ------------------------------------------------------------ people

    @precondition(lambda self: len(self.there()) < MOST_CALLERS)
    @rule(number=NUMBERS, key=st.sampled_from(["", "1", "2"]))
    def a_caller_dials(self, number: str, key: str) -> None:
        caller = Caller(self.pbx, f"caller{len(self.callers)}")
        self.callers.append(caller)
        caller.channel = self.pbx.new_channel(caller.name)
        self.pbx.asterisk.call_in(caller.channel, number)
        if key:
            self.pbx.asterisk.press(caller.channel, key)

    @rule(which=st.integers(0, 9), key=st.sampled_from(["1", "2", "8", "9"]))
    def a_caller_presses(self, which: int, key: str) -> None:
        if there := self.there():
            self.pbx.asterisk.press(there[which % len(there)], key)

    @rule(which=st.integers(0, 9))
    def a_caller_hangs_up(self, which: int) -> None:
        if there := self.there():
            self.pbx.asterisk.hang_up(there[which % len(there)])

    @precondition(lambda self: self.pbx.centre.listening and self.pbx.centre.live.state.calls)
    @rule(which=st.integers(0, 9))
    def a_call_is_hung_up_by_who_is_in_charge(self, which: int) -> None:
        calls = list(self.pbx.centre.live.state.calls)
        self.pbx.centre.feed(m.CallAsked(calls[which % len(calls)], "hang_up", "test"))

    @rule(agent=AGENTS, action=ACTIONS)
    def an_agent_asks(self, agent: str, action: m.Action) -> None:
        self.pbx.centre.feed(m.AgentAsked(agent, action, "", "test"))

    @rule(agent=AGENTS, action=st.sampled_from(["done", "wrap_up"]), said=st.sampled_from(["", "sold", "x"]))
    def an_agent_wraps_up(self, agent: str, action: m.Action, said: str) -> None:
        self.pbx.centre.feed(m.AgentAsked(agent, action, "", "test", said))

    @rule(agent=AGENTS, queues=QUEUES, skills=SKILLS)
    def a_supervisor_changes_an_agent(
        self, agent: str, queues: tuple[str, ...] | None, skills: dict[str, int] | None
    ) -> None:
        self.pbx.centre.feed(m.AgentSkillsChanged(agent, skills, queues, "test"))

    @rule(queue=st.sampled_from(["", "sales", "support"]), on=st.booleans())
    def the_emergency_switch(self, queue: str, on: bool) -> None:
        self.pbx.centre.feed(m.CrisisAsked(queue, on, "test"))

    @rule(
        after_s=SECONDS, states=st.sampled_from([["open", "closed"], ["open", "holiday", "open"], ["closed"]])
    )
    def opening_hours_are_told(self, after_s: float, states: list[m.OpenState]) -> None:
        now_ns, each_ns = self.pbx.asterisk.now_ns, round(after_s * SECOND_NS)
        boundaries = tuple(m.Boundary(now_ns + n * each_ns, state) for n, state in enumerate(states))
        self.pbx.centre.feed(m.HoursGiven({"office": boundaries}))

    @rule()
    def all_sign_in(self) -> None:
        for agent in ("bob", "eve", "max"):
            self.pbx.centre.feed(m.AgentAsked(agent, "sign_in"))

    @rule(agent=PHONES, mood=MOODS, after_s=st.sampled_from([0.0, 1.0, 20.0]))
    def a_phone_is_set(self, agent: str, mood: PhoneMood, after_s: float) -> None:
        self.pbx.asterisk.phones[agent] = Phone(mood, after_s)

    @rule(agent=AGENTS, reachable=st.booleans())
    def a_phone_comes_or_goes(self, agent: str, reachable: bool) -> None:
        self.pbx.centre.feed(m.PhoneSeen(agent, reachable))

    @rule(agent=PHONES)
    def an_agent_picks_up(self, agent: str) -> None:
        for leg in self.pbx.asterisk.legs_of(agent):
            if not self.pbx.asterisk.channels[leg].up:
                self.pbx.asterisk.pick_up(leg)

    @rule(agent=PHONES)
    def an_agent_hangs_up(self, agent: str) -> None:
        for leg in self.pbx.asterisk.legs_of(agent):
            self.pbx.asterisk.hang_up(leg)

    @rule(agent=AGENTS, on=st.booleans())
    def a_phone_holds(self, agent: str, on: bool) -> None:
        for leg in self.pbx.asterisk.legs_of(agent):
            if self.pbx.asterisk.channels[leg].up:
                self.pbx.asterisk.hold(leg, on=on)

    @rule(agent=AGENTS, code=CODES)
    def an_agent_dials_a_code(self, agent: str, code: m.Action) -> None:
        self.pbx.asterisk.call_in(self.pbx.new_channel(agent), "*1", code, agent)

    @rule(ok=st.booleans(), entered=st.booleans())
    def pins_are_typed(self, ok: bool, entered: bool) -> None:
        for channel in list(self.pbx.asterisk.pins_asked):
            self.pbx.asterisk.type_pin(channel, ok=ok and entered, entered=entered)

    def there(self) -> list[str]:
        """Callers whose phones are off the hook."""
        return [c.channel for c in self.callers if c.channel in self.pbx.asterisk.channels]

    # ------------------------------------------------------------ delivery and time

    @rule(which=st.integers(0, 9))
    def one_observation_arrives(self, which: int) -> None:
        if streams := self.pbx.asterisk.streams():
            self.pbx.centre.deliver(streams[which % len(streams)])

    @rule()
    def all_observations_arrive_in_one_turn(self) -> None:
        self.pbx.centre.deliver_all()

    @rule()
    def everything_settles(self) -> None:
        self.pbx.settle()

    @rule(which=st.integers(0, 9))
    def an_observation_arrives_twice(self, which: int) -> None:
        centre, asterisk = self.pbx.centre, self.pbx.asterisk
        if not (centre.listening and asterisk.pending):
            return
        streams = asterisk.streams()
        item, epochs = asterisk.take(streams[which % len(streams)]), centre.epochs
        centre.feed(item)
        if isinstance(item, ONCE_EACH) or centre.epochs != epochs:
            return
        before = records(centre.live.state)
        centre.feed(item)
        assert records(centre.live.state) == before or centre.epochs != epochs, item

    @rule(seconds=SECONDS)
    def time_passes_unheard(self, seconds: float) -> None:
        self.pbx.asterisk.pass_to(self.pbx.asterisk.now_ns + round(seconds * SECOND_NS))

    @rule()
    def deadlines_are_looked_at(self) -> None:
        self.pbx.centre.overdue()

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.pbx.passes(seconds)

    # ------------------------------------------------------------ trouble

    @rule()
    def a_bridge_will_be_refused(self) -> None:
        self.pbx.asterisk.refuse_bridges = 1

    @rule(refuse=st.booleans())
    def recordings_are_refused(self, refuse: bool) -> None:
        self.pbx.asterisk.refuse_recordings = refuse

    @precondition(lambda self: self.pbx.centre.alive)
    @rule()
    def it_dies(self) -> None:
        self.pbx.dies()

    @precondition(lambda self: not self.pbx.centre.alive)
    @rule()
    def it_is_started_again(self) -> None:
        self.pbx.restarts()

    @precondition(lambda self: self.pbx.centre.alive)
    @rule(ahead=st.integers(1, 12), gap_s=st.sampled_from([0.0, 3.0, 20.0]))
    def it_will_die(self, ahead: int, gap_s: float) -> None:
        self.pbx.centre.gap_s = gap_s
        self.pbx.centre.die_at = {self.pbx.centre.points + ahead}

    @precondition(lambda self: self.pbx.centre.listening)
    @rule()
    def the_link_breaks(self) -> None:
        self.pbx.centre.lose_link()

    @precondition(lambda self: self.pbx.centre.alive)
    @rule()
    def the_link_is_back(self) -> None:
        self.pbx.centre.regain_link()

    @rule(definition=st.sampled_from([DEFINITION, SMALLER, SKILLED]))
    def a_new_definition_is_given(self, definition: Definition) -> None:
        """At once if the engine runs, else with its next start."""
        self.pbx.centre.define(definition)

    # ------------------------------------------------------------ what must hold

    @precondition(lambda self: self.pbx.centre.alive)
    @rule(data=st.data())
    def an_event_that_does_not_fit_changes_nothing(self, data: st.DataObject) -> None:
        floor = self.pbx.centre.live
        at_ns = floor.state.at_ns
        event = data.draw(some_event(sorted(floor.state.calls), sorted(floor.state.agents)))
        copy = Floor.restore(floor.dump())
        try:
            copy.evolve(at_ns, event)
        except (IllegalMove, KeyError):
            assert checks.same(copy, floor), event

    @invariant()
    def asterisk_is_as_the_floor_says(self) -> None:
        checks.at_rest(self.pbx.centre)

    def teardown(self) -> None:
        self.pbx.everyone_is_served()


def some_event(calls: list[str], agents: list[str]) -> st.SearchStrategy[m.AnyEvent]:
    """An event about somebody on the floor (or nobody) that may or may not be possible now."""
    why = m.Why("", 0, 0, 0, (), {})

    def build(call: str, agent: str, attempt: int, kind: int) -> m.AnyEvent:
        events: tuple[m.AnyEvent, ...] = (
            m.CallOpened(call, "some-channel", "", "", 1),
            m.NodeEntered(call, "menu", 9, 1, "some.play.9"),
            m.InputAwaited(call, 1),
            m.MenuChosen(call, "menu", "sales"),
            m.MenuMissed(call, "menu", 1, "invalid"),
            m.CallQueued(call, "sales", 1, 0),
            m.TimeoutRenewed(call, 1),
            m.CallOverflowed(call, "sales", "full", Target(flow="late"), 1),
            m.WrapUpRequested(agent, call, ""),
            m.WrapUpExtended(agent, call, 1, ""),
            m.DispositionGiven(agent, call, "sales", "sold", ""),
            m.AgentAltered(agent, {"german": 1}, ("sales",), ""),
            m.OfferMade(call, "sales", agent, attempt, "some-leg", 1, why),
            m.OfferDialled(call, agent, attempt),
            m.OfferRinging(call, agent, attempt),
            m.OfferLapsed(call, "sales", agent, attempt, "busy", False),
            m.PhoneTried(call, agent, attempt, m.Rung("some-leg", "phone", 1)),
            m.PhoneLapsed(call, agent, attempt, "some-leg", "busy"),
            m.ConfirmAsked(call, agent, attempt, "some-leg", "some.play.1", 1),
            m.JoinsEnded(call, "timeout"),
            m.CallConnected(call, "sales", agent, attempt, "some-leg", "some-bridge", 1, "some-rec"),
            m.ConnectFailed(call, "sales", agent, attempt, "", 1),
            m.CallBridged(call, agent),
            m.CallHeld(call, agent),
            m.CallUnheld(call, agent, 1),
            m.CallEnded(call, "answered", "caller", "sales", agent, 1, 1),
            m.WrapUpStarted(agent, call, 1),
            m.WrapUpEnded(agent, call),
            m.LegReleased(agent, "some-leg"),
            m.ReleaseAwaited(agent, "some-leg", 1),
            m.AgentFreed(agent, "paused", ""),
            m.AgentSignedIn(agent, ""),
            m.AgentSignedOut(agent, "", False),
            m.AgentPaused(agent, "", "", False),
            m.AgentResumed(agent, ""),
            m.AgentRested(agent),
            m.SessionMoved("some-channel", "pin", 1, "", 1),
            m.SessionNamed("some-channel", agent),
            m.AgentSeated(agent, "some-desk", ""),
            m.OwnCallAnswered("own-nobody", agent),
            m.OwnCallEnded("own-nobody", agent, "nobody"),
        )
        return events[kind % len(events)]

    return st.builds(
        build,
        st.sampled_from([*calls, "nobody"]),
        st.sampled_from([*agents, "nobody"]),
        st.integers(1, 3),
        st.integers(0, 40),
    )


def records(state: object) -> object:
    """The records of a floor, without the instant of the last event."""
    plain = msgspec.to_builtins(state)
    assert isinstance(plain, dict)
    del plain["at_ns"]
    return plain


class AnythingRings(AnythingHappens):
    """In a centre where all are rung, some of them at several phones, one of them a mobile."""

    begins_with = RUNG

    @rule(phone=RUNG_PHONES, mood=MOODS, after_s=st.sampled_from([0.0, 1.0, 20.0]))
    def one_of_several_phones_is_set(self, phone: str, mood: PhoneMood, after_s: float) -> None:
        self.pbx.asterisk.phones[phone] = Phone(mood, after_s)

    @rule(phone=RUNG_PHONES)
    def one_of_several_phones_is_picked_up(self, phone: str) -> None:
        self.an_agent_picks_up(phone)

    @rule(phone=RUNG_PHONES)
    def one_of_several_phones_hangs_up(self, phone: str) -> None:
        self.an_agent_hangs_up(phone)

    @rule(phone=RUNG_PHONES, key=st.sampled_from(["1", "1", "2", "5"]))
    def a_key_is_pressed_at_a_phone(self, phone: str, key: str) -> None:
        for leg in self.pbx.asterisk.legs_of(phone):
            self.pbx.asterisk.press(leg, key)

    @rule(phone=RUNG_PHONES, reachable=st.booleans())
    def one_of_several_phones_comes_or_goes(self, phone: str, reachable: bool) -> None:
        self.pbx.centre.feed(m.PhoneSeen(phone.partition("-")[0], reachable, phone))

    @rule(agent=AGENTS, other=AGENTS)
    def two_pick_up_at_once(self, agent: str, other: str) -> None:
        self.an_agent_picks_up(agent)
        self.an_agent_picks_up(other)


class AnythingUnderRules(AnythingHappens):
    """In a centre whose queues send callers on, and whose agents say what came of a call."""

    begins_with = RULED


SETTINGS = settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
AnythingHappens.TestCase.settings = AnythingUnderRules.TestCase.settings = SETTINGS
AnythingRings.TestCase.settings = SETTINGS
TestAnythingRings = AnythingRings.TestCase
TestAnythingHappens = AnythingHappens.TestCase
TestAnythingUnderRules = AnythingUnderRules.TestCase
