"""What Asterisk says (events of ARI) as what the core understands (inputs).

Personal data stop here: the caller's number and name go into ``people``, keyed by channel, and
digits pressed at a PIN prompt go to the collector, never into an input.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from ari_app.ari import models as ari
from ari_app.core import messages as m
from ari_app.core.definition import Definition
from ari_app.core.topology import LEG_MARK

ENTRY_CONTEXT = "cordboard-entry"
AGENT_CONTEXT = "cordboard-agent"
LEFT_CONTEXT = "cordboard-left"
"""Where the dialplan takes a caller whose agent hung up while nobody watched."""
CALLER_ARGUMENT = "caller"
AGENT_ARGUMENT = "agent"

ALLOWED_EVENTS = (
    "StasisStart",
    "StasisEnd",
    "ChannelDestroyed",
    "ChannelHangupRequest",
    "ChannelStateChange",
    "ChannelDtmfReceived",
    "PlaybackFinished",
    "ChannelCreated",
    "ChannelHold",
    "ChannelUnhold",
    "EndpointStateChange",
    "ContactStatusChange",
)
"""Each event costs Asterisk and us; these are the ones a decision depends on."""

_PJSIP_NAME = re.compile(r"PJSIP/(?P<endpoint>.+)-[0-9a-f]{8}\Z")
_RINGING = "Ringing"
_DIALS = "Ring"
_UP = "Up"
OFFLINE = "offline"
"""An endpoint's state when no contact of it is known to be reached (``unknown``: it has none to ask)."""
_LOST_CONTACTS = ("Unreachable", "Removed")
"""A contact's status when its OPTIONS went unanswered (Asterisk does not dial it then), or it is gone."""


def endpoint_of(channel_name: str) -> str:
    """The PJSIP endpoint of a channel: the part of its name that authentication vouches for."""
    found = _PJSIP_NAME.match(channel_name)
    return found["endpoint"] if found else ""


class Entries:
    """What a definition says about dialled numbers, feature codes and agents' phones.

    ``inside``: extensions; ``emergency``: emergency numbers.
    """

    def __init__(self, definition: Definition, inside: Collection[str], emergency: Collection[str]) -> None:
        self.numbers = definition.numbers
        self.inside = frozenset(inside)
        self.emergency = frozenset(emergency)
        self.agents = {
            phone.endpoint: key
            for key, agent in definition.agents.items()
            for phone in agent.all_phones()
            if not phone.mobile and phone.endpoint
        }
        self.desks = frozenset(definition.centre.desks)
        self.sitter: Callable[[str], str] = lambda desk: ""
        """Who is signed in at a desk at this instant, "" = nobody."""
        codes = definition.codes
        self.codes: Mapping[str, m.Action] = {
            codes.sign_in: "sign_in",
            codes.sign_out: "sign_out",
            codes.pause: "pause",
            codes.resume: "resume",
            codes.done: "done",
            codes.wrap_up: "wrap_up",
        }

    def agent_of(self, endpoint: str) -> str | None:
        """Whose phone an endpoint is; of a desk, who sits there."""
        if endpoint in self.desks:
            return self.sitter(endpoint) or None
        return self.agents.get(endpoint)

    def agent_at(self, channel: ari.Channel) -> str | None:
        """The agent at whose phone a channel is that Cordboard did not make."""
        return None if LEG_MARK in channel.id else self.agent_of(endpoint_of(channel.name))

    def own_call(self, channel: ari.Channel) -> m.OwnCall | None:
        """What is counted of a channel at an agent's phone; None: a code, or a call to the centre."""
        # A phone that dials is in state Ring at first, and later in the application that serves it; one that
        # is called has the state Down at first, and AppDial later.
        dials = channel.state == _DIALS or channel.dialplan.app_name not in ("", "AppDial")
        answered = channel.state == _UP
        began_ns = ari.instant_ns(channel.creationtime)
        if not dials:
            return m.OwnCall("in", "", answered, began_ns)
        dialled = channel.dialplan.exten
        if dialled in self.codes or dialled in self.numbers or channel.dialplan.context == ENTRY_CONTEXT:
            return None
        kind: m.OwnKind = "outside"
        if dialled in self.emergency:
            kind = "emergency"
        elif dialled in self.inside:
            kind = "inside"
        return m.OwnCall("out", kind, answered, began_ns)

    def arrival(self, channel: ari.Channel, *, adopted: bool = False) -> m.CallArrived | m.CodeDialled:
        """The input for a channel that came in by the callers' entry."""
        dialled = channel.dialplan.exten
        action = self.codes.get(dialled)
        if action is not None:
            phone = endpoint_of(channel.name)
            desk = phone if phone in self.desks else ""
            return m.CodeDialled(channel.id, self.agent_of(phone) or "", action, desk)
        return m.CallArrived(channel.id, dialled if dialled in self.numbers else "", adopted)


class Translator:
    """Remembers keys and contacts, nothing that has to outlive a gap.

    ``on_person`` gets (channel, number, name) of each caller, and of who an agent's phone calls or is called
    by; ``take_digit`` gets (channel, digit) and says whether a PIN collector took it."""

    def __init__(
        self,
        entries: Entries,
        on_person: Callable[[str, str, str], None],
        take_digit: Callable[[str, str], bool],
    ) -> None:
        self.entries = entries
        self.on_person = on_person
        self._take_digit = take_digit
        self._last_key: dict[str, tuple[str, str]] = {}
        self._contacts: dict[str, set[str]] = {}

    def translate(self, event: object) -> m.AnyInput | None:
        """The input an ARI event amounts to, or None."""
        match event:
            case ari.StasisStart():
                return self._arrived(event)
            case ari.StasisEnd():
                self._last_key.pop(event.channel.id, None)
                return m.ChannelLeft(event.channel.id)
            case ari.ChannelDestroyed():
                if (
                    self.entries.agent_at(event.channel) is not None
                ):  # a phone that never rang is told of late
                    self.on_person(
                        event.channel.id, event.channel.connected.number, event.channel.connected.name
                    )
                return m.ChannelGone(event.channel.id, event.cause)
            case ari.ChannelHangupRequest():
                return m.HungUp(event.channel.id)
            case ari.ChannelStateChange():
                return self._changed(event.channel)
            case ari.ChannelHold() | ari.ChannelUnhold():
                if LEG_MARK in event.channel.id:
                    return m.LegHeld(event.channel.id, isinstance(event, ari.ChannelHold))
            case ari.ChannelDtmfReceived():
                return self._pressed(event)
            case ari.ChannelCreated():
                return self._created(event.channel)
            case ari.EndpointStateChange():
                return self._phone(event.endpoint)
            case ari.ContactStatusChange():
                contacts = self._contacts.setdefault(event.endpoint.resource, set())
                if event.contact_info.contact_status in _LOST_CONTACTS:
                    contacts.discard(event.contact_info.uri)
                else:
                    contacts.add(event.contact_info.uri)
                return self._phone(event.endpoint)
            case ari.PlaybackFinished():
                return m.PromptEnded(event.playback.id, event.playback.state == "done")
            case _:
                pass  # nothing that a decision depends on
        return None

    def link_lost(self) -> None:
        """Contacts may come and go unseen from here on; the snapshot after it has the endpoints' word."""
        self._contacts.clear()

    def _phone(self, endpoint: ari.Endpoint) -> m.PhoneSeen | None:
        # A phone that has just registered was heard of this moment. Asterisk dials it, but calls its endpoint
        # offline until it answers an OPTIONS, and says so again with each of its channels.
        agent = self.entries.agent_of(endpoint.resource)
        if agent is None:
            return None
        there = endpoint.state != OFFLINE or bool(self._contacts.get(endpoint.resource))
        return m.PhoneSeen(agent, there, endpoint.resource)

    def _created(self, channel: ari.Channel) -> m.AnyInput | None:
        agent = self.entries.agent_at(channel)
        if agent is None:
            return None
        own = self.entries.own_call(channel)
        if own is not None:
            self.on_person(channel.id, channel.dialplan.exten if own.direction == "out" else "", "")
        return m.OtherCallSeen(agent, channel.id, own)

    def _changed(self, channel: ari.Channel) -> m.AnyInput | None:
        if LEG_MARK in channel.id:
            return m.LegRinging(channel.id) if channel.state == _RINGING else None
        if self.entries.agent_at(channel) is None:
            return None
        if channel.state == _RINGING:  # who calls is only known now
            self.on_person(channel.id, channel.connected.number, channel.connected.name)
        return m.OtherCallAnswered(channel.id) if channel.state == _UP else None

    def _pressed(self, event: ari.ChannelDtmfReceived) -> m.DigitPressed | None:
        # Who is subscribed to a channel and to its endpoint gets each of its events twice, with one
        # timestamp. Every other input may come twice; a key pressed twice means something else.
        channel, key = event.channel.id, (event.timestamp, event.digit)
        if self._last_key.get(channel) == key:
            return None
        self._last_key[channel] = key
        return None if self._take_digit(channel, event.digit) else m.DigitPressed(channel, event.digit)

    def _arrived(self, event: ari.StasisStart) -> m.AnyInput | None:
        role = event.args[0] if event.args else ""
        channel = event.channel
        if role == AGENT_ARGUMENT:
            return m.LegAnswered(channel.id)
        if role == CALLER_ARGUMENT:
            self.on_person(channel.id, channel.caller.number, channel.caller.name)
            return self.entries.arrival(channel)
        return None
