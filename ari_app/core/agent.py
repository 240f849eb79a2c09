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

HELD: frozenset[m.AgentStateName] = frozenset({"reserved", "ringing", "talking", "wrap_up", "releasing"})

RESTS: frozenset[m.LapseReason] = frozenset({"no_answer", "busy", "declined", "unreachable", "failed"})
"""After these the agent is left alone for a while; the others are not the agent's doing."""

_FREED: m.AgentStateName = "ready"  # AgentFreed names its own target; the table only allows it

MOVES: dict[tuple[m.AgentStateName, type[m.Event]], m.AgentStateName] = {
    ("signed_out", m.AgentSignedIn): "ready",
    ("ready", m.AgentSignedOut): "signed_out",
    ("ready", m.AgentPaused): "paused",
    ("ready", m.AgentRested): "ready",
    ("ready", m.OfferMade): "reserved",
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
    ("talking", m.ConnectFailed): "releasing",
    ("talking", m.CallEnded): "releasing",
    ("releasing", m.WrapUpStarted): "wrap_up",
    ("releasing", m.LegReleased): "releasing",
    ("releasing", m.ReleaseAwaited): "releasing",
    ("releasing", m.AgentFreed): _FREED,
    ("wrap_up", m.LegReleased): "wrap_up",
    ("wrap_up", m.ReleaseAwaited): "wrap_up",
    ("wrap_up", m.WrapUpEnded): "releasing",
}
MOVES.update(
    {
        (state, kind): state
        for state in HELD
        for kind in (m.AgentSignedIn, m.AgentPaused, m.AgentSignedOut, m.AgentResumed)
    }
)
"""While held, a wish moves ``after`` and not the state."""


class Agent(Struct):
    """One agent. Instants in ns UTC, 0 = never."""

    id: str
    state: m.AgentStateName = "signed_out"
    since_ns: int = 0
    reason: str = ""
    call: str = ""
    leg: str = ""
    """The channel of the agent's phone for the present call, until it is confirmed gone."""
    after: After = "ready"
    after_reason: str = ""
    idle_since_ns: int = 0
    """Start of the idle time that "longest idle" compares; a missed offer does not restart it."""
    not_before_ns: int = 0
    """No offer before this instant (the rest after a refused or missed one)."""
    wrap_until_ns: int = 0
    release_at_ns: int = 0
    misses: int = 0
    rests: bool = False
    """Whether the lapsed offer earns the queue's pause before the next one."""
    pin_failures: int = 0
    locked_until_ns: int = 0
    handled: int = 0

    def available(self, now_ns: int) -> bool:
        """May be offered a call at this instant."""
        return self.state == "ready" and self.not_before_ns <= now_ns

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
    target = MOVES.get((agent.state, type(event)))
    if target is None:
        raise IllegalMove(f"agent {agent.id} in state {agent.state!r} cannot take {type(event).__name__}")
    if isinstance(event, m.AgentFreed):
        target = event.state
    before = agent.state
    match event:
        case m.AgentSignedIn() | m.AgentResumed() | m.AgentPaused() | m.AgentSignedOut():
            _wish(agent, event, at_ns)
        case m.OfferMade():
            agent.call, agent.leg = event.call, event.leg
            agent.not_before_ns = 0  # the rest is over, even if its deadline has not been looked at
        case m.OfferLapsed():
            agent.misses += event.miss
            agent.call, agent.rests = "", event.reason in RESTS
        case m.CallConnected():
            agent.misses, agent.rests = 0, False
        case m.CallEnded():
            agent.handled += 1
        case m.ConnectFailed():
            agent.call, agent.rests = "", True
        case m.WrapUpStarted():
            agent.wrap_until_ns = event.until_ns
        case m.WrapUpEnded():
            agent.wrap_until_ns = 0
        case m.LegReleased():
            agent.leg, agent.release_at_ns = "", 0
        case m.ReleaseAwaited():
            agent.release_at_ns = event.again_at_ns
        case m.AgentFreed():
            _freed(agent, event, at_ns)
        case m.AgentRested():
            agent.not_before_ns = 0
        case _:
            pass  # OfferDialled, OfferRinging, CallBridged: the state says it all
    agent.state = target
    if target != before:
        agent.since_ns = at_ns


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


def _freed(agent: Agent, event: m.AgentFreed, at_ns: int) -> None:
    agent.reason = event.reason
    agent.not_before_ns = event.not_before_ns
    agent.after, agent.after_reason = "ready", ""
    if agent.call:  # a conversation took place: the idle time starts anew
        agent.idle_since_ns = at_ns
    agent.call, agent.leg, agent.wrap_until_ns, agent.release_at_ns = "", "", 0, 0


def _pin(agent: Agent, event: m.PinRefused | m.PinAccepted | m.AgentUnlocked) -> None:
    if isinstance(event, m.PinRefused):
        agent.pin_failures, agent.locked_until_ns = event.failures, event.locked_until_ns
    else:
        agent.pin_failures, agent.locked_until_ns = 0, 0
