"""Who is calling: numbers and names, kept apart from events so that they can be erased.

Asterisk tells them with the channel, before the call has an id; they wait here until it has one.
They come raw from the caller (markup, control bytes, line breaks), so what is shown on a phone is
reduced to what a SIP display name may safely hold.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import structlog

from ari_app.core import messages as m
from ari_app.store.journal import Journal, JournalUnavailable, Person

log = structlog.get_logger(__name__)

REMEMBERED = 2_000
NAME_SHOWN = 40
NUMBER_SHOWN = 32
ANONYMOUS = "anonymous"
_NUMBER_CHARACTERS = frozenset("0123456789+*#._-ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_NAME_REFUSED = frozenset('"<>\\;,%')


class People:
    """``is_known`` tells whether a channel belongs to a call already: then it is not news."""

    def __init__(self, journal: Journal, is_known: Callable[[str], bool]) -> None:
        self._journal = journal
        self._is_known = is_known
        self._arriving: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._own: dict[str, str] = {}
        """Channel -> an agent's own call, whose other side may be told late."""
        self._cache: OrderedDict[str, Person | None] = OrderedDict()

    def arriving(self, channel: str, number: str, name: str) -> None:
        """A channel came in with this caller id."""
        own = self._own.get(channel)
        if own is not None:
            known = self.of(own)
            if number and known is not None and not known.number:
                self._keep(own, number, name)
        elif not self._is_known(channel) and (number or channel not in self._arriving):
            self._arriving[channel] = (number, name)
            while len(self._arriving) > REMEMBERED:
                self._arriving.popitem(last=False)

    def number_arriving(self, channel: str) -> str:
        """The number of a channel that is no call yet; "" if none was presented."""
        return self._arriving.get(channel, ("", ""))[0]

    def on_event(self, event: m.AnyEvent) -> None:
        """Give the other side's row to the call that was just opened, or that an agent's phone has begun."""
        if isinstance(event, m.SessionOpened):
            self._arriving.pop(event.channel, None)
        elif isinstance(event, m.CallOpened | m.OwnCallBegan):
            number, name = self._arriving.pop(event.channel, ("", ""))
            self._keep(event.call, number, name)
            if isinstance(event, m.OwnCallBegan):
                self._own[event.channel] = event.call
        elif isinstance(event, m.OwnCallEnded):
            self._own.pop(event.channel, None)

    def _keep(self, call: str, number: str, name: str) -> None:
        self._remember(call, Person(call, number, name))
        try:
            self._journal.put_person(call, number, name)
        except JournalUnavailable as error:
            log.warning("caller's row not kept", call=call, error=str(error))

    def of(self, call: str) -> Person | None:
        """Who called, or None if that is not known here (any more)."""
        if call in self._cache:
            return self._cache[call]
        try:
            person = self._journal.person(call)
        except JournalUnavailable as error:
            log.warning("caller's row not read", call=call, error=str(error))
            return None
        self._remember(call, person)
        return person

    def note(self, call: str, text: str) -> bool:
        """Keep an agent's note of a call; False if the caller's row is gone.

        Raises:
            JournalUnavailable: it cannot be written now.
        """
        kept = self._journal.put_note(call, text)
        self._cache.pop(call, None)
        return kept

    def display(self, call: str, queue_name: str) -> str:
        """The caller id an agent's phone shows: queue and caller, as ``"Sales: Ann" <+4930...>``."""
        person = self.of(call)
        number, name = (person.number, person.name) if person else ("", "")
        shown_number = "".join(c for c in number if c in _NUMBER_CHARACTERS)[:NUMBER_SHOWN]
        shown_name = _printable(name) or shown_number or "unknown"
        return f'"{_printable(queue_name)}: {shown_name}" <{shown_number or ANONYMOUS}>'

    def _remember(self, call: str, person: Person | None) -> None:
        self._cache[call] = person
        while len(self._cache) > REMEMBERED:
            self._cache.popitem(last=False)


def _printable(text: str) -> str:
    kept = "".join(c if c.isprintable() and c not in _NAME_REFUSED else " " for c in text[: 4 * NAME_SHOWN])
    return " ".join(kept.split())[:NAME_SHOWN]
