"""Agents' own calls: what their phones dial, and who calls them directly. Asterisk alone carries them.

They are seen, so that nobody is offered a caller meanwhile, and counted. A call that began and ended
while nobody watched is not known of.
"""

from __future__ import annotations

from ari_app.core import messages as m
from ari_app.core.floor import Floor


def seen(floor: Floor, item: m.OtherCallSeen) -> list[m.AnyEvent]:
    """A call of the phone's own, the first time it is heard of; it may be answered already."""
    found = item.own
    if found is None or item.channel in floor.state.own:
        return []
    call = name_of(item.channel)
    events: list[m.AnyEvent] = [
        m.OwnCallBegan(call, item.agent, item.channel, found.direction, found.kind, found.began_ns)
    ]
    if found.answered:
        events.append(m.OwnCallAnswered(call, item.agent))
    return events


def answered(floor: Floor, item: m.OtherCallAnswered) -> m.Step:
    """The other side picked up, or the agent did."""
    found = floor.state.own.get(item.channel)
    if found is None or found.answered:
        return m.Step([], [])
    return m.Step([m.OwnCallAnswered(found.call, found.agent)], [])


def ended(floor: Floor, item: m.ChannelGone) -> list[m.AnyEvent]:
    """The channel is gone."""
    found = floor.state.own.get(item.channel)
    if found is None:
        return []
    unseen = item.cause in (m.UNSEEN, m.LOST)
    return [m.OwnCallEnded(found.call, found.agent, item.channel, max(item.cause, 0), unseen)]


def is_answered(floor: Floor, channel: str) -> bool:
    """Whether it is known that the two talk; also for what is no call of the phone's own."""
    found = floor.state.own.get(channel)
    return found is None or found.answered


def name_of(channel: str) -> str:
    """The key of an own call: Asterisk never gives a channel's id twice."""
    return f"own-{channel}"
