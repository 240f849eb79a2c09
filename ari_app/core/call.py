"""The call: its states and the table of legal moves.

``MOVES`` is the whole truth about a call's life; what is not listed is refused and changes
nothing. ``scripts/diagrams`` draws the documentation's picture from this same table.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from ari_app.core import messages as m
from ari_app.core.definition import Target
from ari_app.core.errors import IllegalMove

CallState = Literal["ivr", "waiting", "offered", "talking", "forwarding", "forwarded", "message", "ended"]

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
    ("offered", m.OfferMade): "offered",
    ("offered", m.OfferDialled): "offered",
    ("offered", m.OfferRinging): "offered",
    ("offered", m.PhoneTried): "offered",
    ("offered", m.PhoneLapsed): "offered",
    ("offered", m.ConfirmAsked): "offered",
    ("offered", m.JoinsEnded): "offered",
    ("offered", m.OfferLapsed): "waiting",
    ("offered", m.CallConnected): "talking",
    ("ivr", m.TalkFound): "talking",
    ("talking", m.OfferDialled): "talking",
    ("talking", m.OfferRinging): "talking",
    ("talking", m.PhoneLapsed): "talking",
    ("talking", m.OfferLapsed): "talking",
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
    ("ivr", m.MessageBegan): "message",
    ("message", m.TimeoutRenewed): "message",
    ("message", m.CallEnded): "ended",
}
"""(state, event) -> state. A call being offered ends by ``OfferLapsed`` first, then ``CallEnded``.

While other offers are left, ``OfferLapsed`` and ``ConnectFailed`` lead to "offered" and not to "waiting";
those who are rung beside the winner ring on until the winner is bridged.
"""


PROMPTS_KEPT = 3
OVERFLOW_NODE = "(overflow)"
"""Where a caller is who hears the sounds of an overflow; no flow's node can have this name."""


class Leg(Struct):
    """One phone of an offered agent: rung, or ``over`` for the reason that stands there."""

    phone: str
    until_ns: int
    confirm: bool = False
    dialled: bool = False
    ringing: bool = False
    playback: str = ""
    """The prompt that asks whoever picked it up to press 1; "" = not picked up."""
    prompts: int = 0
    over: m.LapseReason | None = None


class Offer(Struct):
    """A live offer of a call to one agent. ``leg``: the first one; ``legs``: all, by their channel."""

    agent: str
    attempt: int
    leg: str
    until_ns: int
    dialled: bool = False
    ringing: bool = False
    legs: dict[str, Leg] = {}

    def live(self) -> dict[str, Leg]:
        """The phones that may still be picked up."""
        return {key: leg for key, leg in self.legs.items() if leg.over is None}

    def due_ns(self) -> int:
        """When the next phone has rung for long enough; 0 = none rings."""
        first = 0
        for leg in self.legs.values():
            if leg.over is None and (not first or leg.until_ns < first):
                first = leg.until_ns
        return first


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
    offers: dict[str, Offer] = {}
    """The live ones, by agent: one, but for ring all."""
    was_offered: Offer | None = field(name="offer", default=None)
    """The one offer of a snapshot made before there could be several."""
    joins: bool = True
    """Whether more agents may be rung while some are."""
    agent: str = ""
    leg: str = ""
    talk: int = 0
    """The attempt that was picked up."""
    leg_playback: str = ""
    """The prompt that may still run at the agent's phone; it must be silenced before the bridge."""
    bridge: str = ""
    connected_ns: int = 0
    bridged: bool = False
    recording: str = ""
    onward: int = 0
    """How often the call was sent to a number outside; ``leg`` and ``bridge`` are that one's then."""
    forward_until_ns: int = 0
    message_until_ns: int = 0
    held_ns: int = 0
    """Since when the agent's phone has the caller on hold; 0 = it has not."""

    @property
    def offer(self) -> Offer | None:
        """The first live offer."""
        return next(iter(self.offers.values()), None)

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
        case m.MessageBegan():
            call.recording, call.message_until_ns = event.recording, event.until_ns
            call.then, call.playback = None, ""
        case m.TimeoutRenewed():
            call.renew_at_ns = event.renew_at_ns
        case m.OfferMade():
            _offer_made(call, event)
        case (
            m.OfferDialled()
            | m.OfferRinging()
            | m.PhoneTried()
            | m.PhoneLapsed()
            | m.ConfirmAsked()
            | m.OfferLapsed()
        ):
            _offer(call, event)
        case m.JoinsEnded():
            call.joins = False
        case m.CallConnected() | m.CallBridged() | m.CallHeld() | m.CallUnheld() | m.ConnectFailed():
            _talk(call, event, at_ns)
        case m.TalkFound():
            call.queue, call.agent, call.leg, call.bridge = event.queue, event.agent, event.leg, event.bridge
            call.attempts = call.talk = event.attempt
            call.connected_ns, call.bridged, call.recording = at_ns, True, event.recording
        case _:
            pass  # CallEnded: the state says it all
    call.state = "offered" if target == "waiting" and call.offers else target
    if call.state == "waiting":
        call.joins = True


def _talk(
    call: Call,
    event: m.CallConnected | m.CallBridged | m.CallHeld | m.CallUnheld | m.ConnectFailed,
    at_ns: int,
) -> None:
    match event:
        case m.CallConnected():
            leg = _offered(call, event).legs.get(event.leg)
            call.leg_playback = leg.playback if leg else ""
            del call.offers[event.agent]
            call.agent, call.leg, call.bridge = event.agent, event.leg, event.bridge
            call.talk = event.attempt
            call.connected_ns = call.entered_ns + event.waited_ns
            call.recording = event.recording
        case m.CallBridged():
            call.bridged, call.leg_playback = True, ""
        case m.CallHeld():
            call.held_ns = at_ns
        case m.CallUnheld():
            call.held_ns = 0
        case m.ConnectFailed():
            call.agent = call.leg = call.bridge = call.recording = call.leg_playback = ""
            call.connected_ns, call.bridged, call.renew_at_ns = 0, False, event.renew_at_ns
            call.held_ns = 0


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


OfOffer = (
    m.OfferDialled
    | m.OfferRinging
    | m.PhoneTried
    | m.PhoneLapsed
    | m.ConfirmAsked
    | m.OfferLapsed
    | m.CallConnected
)


def _offered(call: Call, event: OfOffer) -> Offer:
    offer = call.offers.get(event.agent)
    if offer is None or offer.attempt != event.attempt:
        raise IllegalMove(
            f"call {call.id}: {type(event).__name__} of attempt {event.attempt} is not an offer of it"
        )
    return offer


def _offer_made(call: Call, event: m.OfferMade) -> None:
    if event.agent in call.offers:
        raise IllegalMove(f"call {call.id} is offered to {event.agent} already")
    if event.phones:
        legs = {rung.leg: Leg(rung.phone, rung.until_ns, rung.confirm) for rung in event.phones}
    else:
        legs = {event.leg: Leg("", event.until_ns)}
    call.attempts = event.attempt
    call.offers[event.agent] = Offer(event.agent, event.attempt, event.leg, event.until_ns, legs=legs)


def _offer(call: Call, event: OfOffer) -> None:
    offer = _offered(call, event)
    match event:
        case m.OfferDialled() | m.OfferRinging():
            leg = _leg(call, offer, event.leg or offer.leg)
            offer.dialled = leg.dialled = True
            leg.ringing = leg.ringing or isinstance(event, m.OfferRinging)
            offer.ringing = offer.ringing or leg.ringing
        case m.PhoneTried():
            rung = event.phone
            offer.legs[rung.leg] = Leg(rung.phone, rung.until_ns, rung.confirm)
            offer.until_ns = max(offer.until_ns, rung.until_ns)
        case m.PhoneLapsed():
            _leg(call, offer, event.leg).over = event.reason
        case m.ConfirmAsked():
            leg = _leg(call, offer, event.leg)
            leg.playback, leg.until_ns, leg.prompts = event.playback, event.until_ns, leg.prompts + 1
            offer.until_ns = max(offer.until_ns, event.until_ns)
        case _:
            del call.offers[event.agent]


def _leg(call: Call, offer: Offer, key: str) -> Leg:
    leg = offer.legs.get(key)
    if leg is None:
        raise IllegalMove(f"call {call.id}: {key} is no leg of its attempt {offer.attempt}")
    return leg
