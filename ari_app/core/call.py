"""The call: its states and the table of legal moves.

``MOVES`` is the whole truth about a call's life; what is not listed is refused and changes
nothing. ``scripts/diagrams`` draws the documentation's picture from this same table.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ari_app.core import messages as m
from ari_app.core.definition import Target
from ari_app.core.errors import IllegalMove

CallState = Literal["ivr", "waiting", "offered", "talking", "forwarding", "forwarded", "ended"]

MOVES: dict[tuple[CallState, type[m.Event]], CallState] = {
    ("ivr", m.NodeEntered): "ivr",
    ("ivr", m.InputAwaited): "ivr",
    ("ivr", m.MenuChosen): "ivr",
    ("ivr", m.MenuMissed): "ivr",
    ("ivr", m.TimeoutRenewed): "ivr",
    ("ivr", m.CallQueued): "waiting",
    ("ivr", m.CallEnded): "ended",
    ("waiting", m.TimeoutRenewed): "waiting",
    ("waiting", m.WaitAdvanced): "waiting",
    ("waiting", m.CallOverflowed): "ivr",
    ("waiting", m.OfferMade): "offered",
    ("waiting", m.CallEnded): "ended",
    ("offered", m.TimeoutRenewed): "offered",
    ("offered", m.WaitAdvanced): "offered",
    ("offered", m.OfferDialled): "offered",
    ("offered", m.OfferRinging): "offered",
    ("offered", m.OfferLapsed): "waiting",
    ("offered", m.CallConnected): "talking",
    ("talking", m.CallBridged): "talking",
    ("talking", m.CallHeld): "talking",
    ("talking", m.CallUnheld): "talking",
    ("talking", m.ConnectFailed): "waiting",
    ("talking", m.CallEnded): "ended",
    ("ivr", m.ForwardMade): "forwarding",
    ("forwarding", m.TimeoutRenewed): "forwarding",
    ("forwarding", m.ForwardLapsed): "ivr",
    ("forwarding", m.ForwardConnected): "forwarded",
    ("forwarding", m.CallEnded): "ended",
    ("forwarded", m.ForwardBridged): "forwarded",
    ("forwarded", m.ForwardLapsed): "ivr",
    ("forwarded", m.CallEnded): "ended",
}
"""(state, event) -> state. A call being offered ends by ``OfferLapsed`` first, then ``CallEnded``."""


PROMPTS_KEPT = 3
OVERFLOW_NODE = "(overflow)"
"""Where a caller is who hears the sounds of an overflow; no flow's node can have this name."""


class Offer(Struct):
    """The one live offer of a call."""

    agent: str
    attempt: int
    leg: str
    until_ns: int
    dialled: bool = False
    ringing: bool = False


class Call(Struct):
    """One caller's contact from arrival to hang-up. Instants in ns UTC, 0 = never."""

    id: str
    channel: str
    number: str
    flow: str
    opened_ns: int
    order: int
    """Order of arrival at this call centre; breaks ties between equal instants."""
    renew_at_ns: int
    state: CallState = "ivr"
    node: str = ""
    visit: int = 0
    attempt: int = 0
    playback: str = ""
    prompts: tuple[str, ...] = ()
    """The latest prompts, the running one included: a death may have swallowed the word that stops one."""
    input_until_ns: int = 0
    queue: str = ""
    entered_ns: int = 0
    """First entry into any queue: keeps the place for ever."""
    queued_ns: int = 0
    """Entry into the present queue: relaxation counts from here."""
    priority: int = 0
    base_priority: int = 0
    caller_priority: int = 0
    skills: dict[str, int] = {}
    step: int = 0
    prefer: str = ""
    owner: str = ""
    """The preferred agent the caller came with."""
    known: m.Known = m.NOBODY
    preferred: str = ""
    """For whom the call was kept at first; ``prefer_note`` says why, or why for nobody."""
    prefer_note: m.PreferNote = ""
    next_move_ns: int = 0
    then: Target | None = None
    """Where an overflow leads, until the caller is there."""
    overflow: str = ""
    """Why the latest overflow sent the call on."""
    crisis: bool = False
    """Moved by the emergency switch: not moved again."""
    attempts: int = 0
    offer: Offer | None = None
    agent: str = ""
    leg: str = ""
    bridge: str = ""
    connected_ns: int = 0
    bridged: bool = False
    recording: str = ""
    onward: int = 0
    """How often the call was sent to a number outside; ``leg`` and ``bridge`` are that one's then."""
    forward_until_ns: int = 0
    held_ns: int = 0
    """Since when the agent's phone has the caller on hold; 0 = it has not."""

    def line_key(self) -> tuple[int, int, int]:
        """Sort key in a waiting line: higher priority, then the earlier entry, then arrival."""
        return (-self.priority, self.entered_ns, self.order)

    def stale_prompts(self) -> list[str]:
        """Prompts that should be over."""
        return [p for p in self.prompts if p != self.playback]

    def waited_ns(self, now_ns: int) -> int:
        """Time in the queue so far (or until an agent answered); 0 before it entered one."""
        if not self.entered_ns:
            return 0
        return (self.connected_ns or now_ns) - self.entered_ns


def apply(call: Call, event: m.Event, at_ns: int) -> None:
    """Move ``call`` by ``event``, which happened at ``at_ns``.

    Raises:
        IllegalMove: the table has no such move; ``call`` is unchanged.
    """
    target = MOVES.get((call.state, type(event)))
    if target is None:
        raise IllegalMove(f"call {call.id} in state {call.state!r} cannot take {type(event).__name__}")
    match event:
        case m.NodeEntered():
            call.node, call.visit, call.attempt = event.node, event.visit, event.attempt
            call.playback, call.input_until_ns = event.playback, 0
            call.prompts = (*call.prompts[1 - PROMPTS_KEPT :], event.playback)
            call.then = call.then if event.node == OVERFLOW_NODE else None
        case m.InputAwaited():
            call.playback, call.input_until_ns = "", event.until_ns
        case m.MenuChosen() | m.MenuMissed():
            call.playback, call.input_until_ns = "", 0
        case m.CallQueued():
            _queued(call, event, at_ns)
        case m.WaitAdvanced():
            call.step, call.priority = event.step, event.priority
            call.prefer, call.next_move_ns = event.prefer, event.next_move_ns
        case m.CallOverflowed():
            _overflowed(call, event)
        case m.ForwardMade() | m.ForwardLapsed() | m.ForwardConnected() | m.ForwardBridged():
            _forwarded(call, event)
        case m.TimeoutRenewed():
            call.renew_at_ns = event.renew_at_ns
        case m.OfferMade():
            call.attempts = event.attempt
            call.offer = Offer(event.agent, event.attempt, event.leg, event.until_ns)
        case m.OfferDialled() | m.OfferRinging():
            _offer_progressed(call, event)
        case m.OfferLapsed():
            call.offer = None
        case m.CallConnected():
            call.offer = None
            call.agent, call.leg, call.bridge = event.agent, event.leg, event.bridge
            call.connected_ns = call.entered_ns + event.waited_ns
            call.recording = event.recording
        case m.CallBridged():
            call.bridged = True
        case m.CallHeld():
            call.held_ns = at_ns
        case m.CallUnheld():
            call.held_ns = 0
        case m.ConnectFailed():
            call.agent = call.leg = call.bridge = call.recording = ""
            call.connected_ns, call.bridged, call.renew_at_ns = 0, False, event.renew_at_ns
            call.held_ns = 0
        case _:
            pass  # CallEnded: the state says it all
    call.state = target


def _queued(call: Call, event: m.CallQueued, at_ns: int) -> None:
    call.queue, call.entered_ns, call.queued_ns = event.queue, event.entered_ns, at_ns
    call.priority = call.base_priority = event.priority
    call.skills, call.prefer, call.step = event.skills, event.prefer, 0
    call.preferred = event.prefer or call.preferred
    call.prefer_note = event.prefer_note
    call.next_move_ns, call.then = event.next_move_ns, None
    call.playback, call.input_until_ns = "", 0


def _forwarded(
    call: Call, event: m.ForwardMade | m.ForwardLapsed | m.ForwardConnected | m.ForwardBridged
) -> None:
    match event:
        case m.ForwardMade():
            call.onward, call.leg, call.forward_until_ns = event.attempt, event.leg, event.until_ns
            call.then, call.playback, call.node, call.bridged = event.target, "", "", False
        case m.ForwardLapsed():
            call.leg, call.bridge, call.bridged, call.forward_until_ns = "", "", False, 0
            call.then, call.renew_at_ns = event.then, event.renew_at_ns
        case m.ForwardConnected():
            call.bridge, call.forward_until_ns = event.bridge, 0
        case m.ForwardBridged():
            call.bridged = True


def _overflowed(call: Call, event: m.CallOverflowed) -> None:
    call.then, call.overflow = event.target, event.reason
    call.flow, call.node = event.target.flow or call.flow, ""
    call.crisis = call.crisis or event.reason == "crisis"
    call.next_move_ns = 0


def _offer_progressed(call: Call, event: m.OfferDialled | m.OfferRinging) -> None:
    if call.offer is None or call.offer.attempt != event.attempt:
        raise IllegalMove(
            f"call {call.id}: {type(event).__name__} of attempt {event.attempt} is not its offer"
        )
    call.offer.dialled = True
    call.offer.ringing = call.offer.ringing or isinstance(event, m.OfferRinging)
