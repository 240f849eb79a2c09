"""The agent: states, the table of legal moves, and where an agent goes when nothing holds them.

An agent is *held* from the offer until the leg of their phone is confirmed gone. What is asked
meanwhile (pause, sign out) is kept in ``after`` and honoured then.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ari_app.core import messages as m
from ari_app.core.errors import IllegalMove

After = Literal["ready", "paused", "signed_out", "not_responding"]

HELD: frozenset[m.AgentStateName] = frozenset(
    {"reserved", "ringing", "talking", "holding", "wrap_up", "releasing"}
)

ON_CALL: frozenset[m.AgentStateName] = frozenset({"talking", "holding"})

RESTS: frozenset[m.LapseReason] = frozenset(
    {"no_answer", "busy", "declined", "unreachable", "failed", "not_confirmed"}
)
"""After these the agent is left alone for a while; the others are not the agent's doing."""

HOMES: frozenset[m.AgentStateName] = frozenset({"ready", "unreachable", "other_call"})
"""The states of an agent who wants calls and has none; which of them is a fact of the phone."""

OFFERED: tuple[m.AgentStateName, ...] = ("reserved", "ringing")
_FREED: m.AgentStateName = "ready"  # AgentFreed names its own target; the table only allows it

MOVES: dict[tuple[m.AgentStateName, type[m.Event]], m.AgentStateName] = {
    ("signed_out", m.AgentSignedIn): "ready",
    ("ready", m.AgentSignedOut): "signed_out",
    ("ready", m.AgentPaused): "paused",
    ("ready", m.AgentRested): "ready",
    ("ready", m.OfferMade): "reserved",
    ("signed_out", m.TalkFound): "talking",
    ("ready", m.TalkFound): "talking",
    ("paused", m.AgentResumed): "ready",
    ("paused", m.AgentPaused): "paused",
    ("paused", m.AgentSignedOut): "signed_out",
    ("not_responding", m.AgentResumed): "ready",
    ("not_responding", m.AgentPaused): "paused",
    ("not_responding", m.AgentSignedOut): "signed_out",
    ("reserved", m.OfferDialled): "reserved",
    ("reserved", m.OfferRinging): "ringing",
    ("reserved", m.OfferLapsed): "releasing",
    ("reserved", m.CallConnected): "talking",
    ("ringing", m.OfferDialled): "ringing",
    ("ringing", m.OfferRinging): "ringing",
    ("ringing", m.OfferLapsed): "releasing",
    ("ringing", m.CallConnected): "talking",
    ("talking", m.CallBridged): "talking",
    ("talking", m.CallHeld): "holding",
    ("holding", m.CallUnheld): "talking",
    ("talking", m.WrapUpRequested): "talking",
    ("talking", m.DispositionGiven): "talking",
    ("talking", m.ConnectFailed): "releasing",
    ("talking", m.CallEnded): "releasing",
    ("holding", m.CallBridged): "holding",
    ("holding", m.WrapUpRequested): "holding",
    ("holding", m.DispositionGiven): "holding",
    ("holding", m.ConnectFailed): "releasing",
    ("holding", m.CallEnded): "releasing",
    ("releasing", m.WrapUpStarted): "wrap_up",
    ("releasing", m.DispositionGiven): "releasing",
    ("wrap_up", m.WrapUpExtended): "wrap_up",
    ("wrap_up", m.DispositionGiven): "wrap_up",
    ("releasing", m.LegReleased): "releasing",
    ("releasing", m.ReleaseAwaited): "releasing",
    ("releasing", m.AgentFreed): _FREED,
    ("wrap_up", m.LegReleased): "wrap_up",
    ("wrap_up", m.ReleaseAwaited): "wrap_up",
    ("wrap_up", m.WrapUpEnded): "releasing",
}
for _offered in OFFERED:
    MOVES.update({(_offered, kind): _offered for kind in (m.PhoneTried, m.PhoneLapsed, m.ConfirmAsked)})
for _calling in (*OFFERED, *ON_CALL):
    MOVES.update({(_calling, kind): _calling for kind in (m.LegReleased, m.ReleaseAwaited)})
"""Of several phones, one may be over, and its leg be let go, while the others are not."""
MOVES.update(
    {
        (state, kind): state
        for state in HELD
        for kind in (m.AgentSignedIn, m.AgentPaused, m.AgentSignedOut, m.AgentResumed)
    }
)
"""While held, a wish moves ``after`` and not the state."""
MOVES.update(
    {
        (home, kind): target
        for home in ("unreachable", "other_call")
        for (state, kind), target in list(MOVES.items())
        if state == "ready" and kind is not m.OfferMade
    }
)
"""Who wants calls and cannot be rung may do all that a ready agent may, but be offered a call."""


class Agent(Struct):
    """One agent. Instants in ns UTC, 0 = never."""

    id: str
    state: m.AgentStateName = "signed_out"
    since_ns: int = 0
    reason: str = ""
    call: str = ""
    leg: str = ""
    """The channel of the agent's phone for the present call, until it is confirmed gone."""
    more_legs: tuple[str, ...] = ()
    """Those of the agent's other phones; "" as ``leg`` means that there are none either."""
    told: tuple[str, ...] = ()
    """Those of all these that were told to go."""
    after: After = "ready"
    after_reason: str = ""
    idle_since_ns: int = 0
    """Start of the idle time that "longest idle" compares; a missed offer does not restart it."""
    not_before_ns: int = 0
    """No offer before this instant (the rest after a refused or missed one)."""
    wrap_until_ns: int = 0
    wrap_limit_ns: int = 0
    """How far the wrap-up can be extended; 0 = not at all."""
    wrap_queue: str = ""
    """The queue whose call the wrap-up is about."""
    wants_wrap_up: bool = False
    disposition: str = ""
    """Given for the present call."""
    release_at_ns: int = 0
    misses: int = 0
    rests: bool = False
    """Whether the lapsed offer earns the queue's pause before the next one."""
    reachable: bool = True
    """Until Asterisk says otherwise: a phone of an existing PBX may never be told about."""
    offline: tuple[str, ...] = ()
    """Those of the agent's phones that cannot be reached."""
    other_calls: tuple[str, ...] = ()
    """Channels at the agent's phones that are none of ours."""
    pin_failures: int = 0
    locked_until_ns: int = 0
    handled: int = 0
    """Conversations since the agent signed in."""
    last_call_ns: int = 0
    """When the last conversation ended."""
    busy_ns: int = 0
    ready_ns: int = 0
    """Time held by calls and time ready since the agent signed in, up to ``since_ns``."""

    def legs(self) -> tuple[str, ...]:
        """All channels of the agent's phones that are ours and not confirmed gone."""
        return (self.leg, *self.more_legs) if self.leg else ()

    def at_work(self) -> bool:
        """Signed in, and to stay so after the present call."""
        return (self.after if self.held() else self.state) != "signed_out"

    def working(self) -> bool:
        """Signed in, and neither paused, not responding nor out of reach: takes calls sooner or later."""
        if self.held():
            return self.after == "ready" and self.reachable
        return self.state in ("ready", "other_call")

    def available(self, now_ns: int) -> bool:
        """May be offered a call at this instant."""
        return self.state == "ready" and self.not_before_ns <= now_ns

    def occupancy(self, now_ns: int) -> float:
        """Share of the time since signing in, pauses left out, that calls took; 0..1."""
        present_ns = now_ns - self.since_ns
        busy_ns = self.busy_ns + (present_ns if self.held() else 0)
        ready_ns = self.ready_ns + (present_ns if self.state == "ready" else 0)
        return busy_ns / (busy_ns + ready_ns) if busy_ns + ready_ns > 0 else 0.0

    def home(self) -> m.AgentStateName:
        """Where an agent is whom nothing holds and who wants calls."""
        if not self.reachable:
            return "unreachable"
        return "other_call" if self.other_calls else "ready"

    def standing(self) -> str:
        """ "free" if calls may be offered, else why not: the state, or "resting" after a missed offer."""
        if self.state != "ready":
            return self.state
        return "resting" if self.not_before_ns else "free"

    def held(self) -> bool:
        """On a call, or not yet done with one."""
        return self.state in HELD


def apply(agent: Agent, event: m.Event, at_ns: int) -> None:
    """Move ``agent`` by ``event``, which happened at ``at_ns``.

    Raises:
        IllegalMove: the table has no such move; ``agent`` is unchanged.
    """
    if isinstance(event, m.PinRefused | m.PinAccepted | m.AgentUnlocked):
        _pin(agent, event)
        return
    if isinstance(event, m.PhoneChanged):
        agent.reachable, agent.other_calls = event.reachable, event.other_calls
        agent.offline = event.offline
        if agent.state in HOMES:
            _settle(agent, agent.state, agent.home(), at_ns)
        return
    target = MOVES.get((agent.state, type(event)))
    if target is None:
        raise IllegalMove(f"agent {agent.id} in state {agent.state!r} cannot take {type(event).__name__}")
    if isinstance(event, m.AgentFreed):
        target = event.state
    before = agent.state
    match event:
        case m.AgentSignedIn() | m.AgentResumed() | m.AgentPaused() | m.AgentSignedOut():
            _wish(agent, event, at_ns)
        case m.OfferMade() | m.OfferLapsed() | m.PhoneTried() | m.CallConnected():
            _offer(agent, event)
        case m.TalkFound():
            agent.call, agent.leg, agent.more_legs = event.call, event.leg, ()
            agent.reason, agent.misses, agent.not_before_ns = "", 0, 0
        case m.CallEnded():
            agent.handled += 1
            agent.last_call_ns = at_ns
        case m.ConnectFailed():
            agent.call, agent.rests = "", True
        case m.WrapUpStarted() | m.WrapUpRequested() | m.WrapUpExtended() | m.WrapUpEnded():
            _wrap_up(agent, event)
        case m.DispositionGiven():
            agent.disposition = event.disposition
        case m.LegReleased() | m.ReleaseAwaited():
            _let_go(agent, event)
        case m.AgentFreed():
            _freed(agent, event, at_ns)
        case m.AgentRested():
            agent.not_before_ns = 0
        case _:
            pass  # OfferDialled, OfferRinging, CallBridged, CallHeld, CallUnheld: the state says it all
    _settle(agent, before, agent.home() if target == "ready" else target, at_ns)


def _offer(agent: Agent, event: m.OfferMade | m.OfferLapsed | m.PhoneTried | m.CallConnected) -> None:
    match event:
        case m.OfferMade():
            agent.call = event.call
            agent.leg = event.leg
            agent.more_legs = tuple(rung.leg for rung in event.phones[1:]) if event.phones else ()
            agent.not_before_ns = 0  # the rest is over, even if its deadline has not been looked at
        case m.OfferLapsed():
            agent.misses += event.miss
            agent.call, agent.rests = "", event.reason in RESTS
        case m.PhoneTried():
            _legs(agent, (*agent.legs(), event.phone.leg))
        case m.CallConnected():
            if agent.more_legs:
                _legs(agent, (event.leg, *(leg for leg in agent.legs() if leg != event.leg)))
            agent.misses, agent.rests = 0, False


def _let_go(agent: Agent, event: m.LegReleased | m.ReleaseAwaited) -> None:
    agent.told = tuple(leg for leg in agent.told if leg != event.leg)
    if isinstance(event, m.ReleaseAwaited):
        agent.told, agent.release_at_ns = (*agent.told, event.leg), event.again_at_ns
        return
    _legs(agent, tuple(leg for leg in agent.legs() if leg != event.leg))
    agent.release_at_ns = agent.release_at_ns if agent.told else 0


def _legs(agent: Agent, legs: tuple[str, ...]) -> None:
    agent.leg, agent.more_legs = legs[0] if legs else "", legs[1:]


def _settle(agent: Agent, before: m.AgentStateName, target: m.AgentStateName, at_ns: int) -> None:
    """Be in ``target``; the time in the state before is charged."""
    if target == before:
        return
    lasted_ns = at_ns - agent.since_ns
    if before in HELD:
        agent.busy_ns += lasted_ns
    elif before == "ready":
        agent.ready_ns += lasted_ns
    elif before == "signed_out":
        agent.busy_ns = agent.ready_ns = agent.handled = 0
    if target == "ready" and before in HOMES:
        agent.idle_since_ns = at_ns  # idle time does not run while the phone cannot ring
    agent.state, agent.since_ns = target, at_ns


def _wish(
    agent: Agent, event: m.AgentSignedIn | m.AgentResumed | m.AgentPaused | m.AgentSignedOut, at_ns: int
) -> None:
    after: After = "ready"
    reason = ""
    if isinstance(event, m.AgentPaused):
        after, reason = "paused", event.reason
    elif isinstance(event, m.AgentSignedOut):
        after = "signed_out"
    if agent.held():
        agent.after, agent.after_reason = after, reason
        return
    agent.reason, agent.after, agent.after_reason = reason, "ready", ""
    agent.misses, agent.not_before_ns = 0, 0
    if after == "ready":
        agent.idle_since_ns = at_ns


def _wrap_up(
    agent: Agent, event: m.WrapUpStarted | m.WrapUpRequested | m.WrapUpExtended | m.WrapUpEnded
) -> None:
    match event:
        case m.WrapUpStarted():
            agent.wrap_until_ns, agent.wrap_limit_ns = event.until_ns, event.limit_ns
            agent.wrap_queue = event.queue
        case m.WrapUpRequested():
            agent.wants_wrap_up = True
        case m.WrapUpExtended():
            agent.wrap_until_ns = event.until_ns
        case m.WrapUpEnded():
            agent.wrap_until_ns = agent.wrap_limit_ns = 0


def _freed(agent: Agent, event: m.AgentFreed, at_ns: int) -> None:
    agent.reason = event.reason
    agent.not_before_ns = event.not_before_ns
    agent.after, agent.after_reason = "ready", ""
    if agent.call:  # a conversation took place: the idle time starts anew
        agent.idle_since_ns = at_ns
    agent.call, agent.leg, agent.wrap_until_ns, agent.release_at_ns = "", "", 0, 0
    agent.more_legs = agent.told = ()
    agent.wrap_limit_ns, agent.wrap_queue, agent.wants_wrap_up, agent.disposition = 0, "", False, ""


def _pin(agent: Agent, event: m.PinRefused | m.PinAccepted | m.AgentUnlocked) -> None:
    if isinstance(event, m.PinRefused):
        agent.pin_failures, agent.locked_until_ns = event.failures, event.locked_until_ns
    else:
        agent.pin_failures, agent.locked_until_ns = 0, 0
