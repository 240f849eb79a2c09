"""What Asterisk has at this instant, in the core's terms (``topology.Snapshot``)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from ari_app.ari import models as ari
from ari_app.ari.client import AriLink
from ari_app.ari.errors import Conflict, NotFound, PlaybackNotFound
from ari_app.ari.translate import (
    AGENT_CONTEXT,
    ENTRY_CONTEXT,
    LEFT_CONTEXT,
    OFFLINE,
    Entries,
    endpoint_of,
)
from ari_app.core.messages import CodeDialled, OwnCall
from ari_app.core.topology import LEG_MARK, ChannelSeen, PhoneAt, Role, Snapshot

_STASIS = "Stasis"
_UP = "Up"
HOLD_VARIABLE = "CHANNEL(rtp,hold,audio)"
"""1: the other end has said "sendonly" or "inactive" (chan_pjsip's part of the function CHANNEL)."""


async def take(
    link: AriLink,
    entries: Entries,
    playbacks: Iterable[str],
    on_person: Callable[[str, str, str], None],
    legs: Iterable[str] = (),
) -> Snapshot:
    """Read channels, bridges and when Asterisk started, which of ``playbacks`` (ids the floor has) run,
    and which of ``legs`` (agents' that talk) are on hold.

    Playbacks cannot be listed, only asked for one by one. Raises LinkError, StatusError.
    """
    wanted, talking = list(playbacks), list(legs)
    listing = (
        link.request("GET", "channels"),
        link.request("GET", "bridges"),
        link.request("GET", "endpoints/PJSIP"),
        link.request("GET", "asterisk/info", params={"only": "status"}),
    )
    (channels, bridges, endpoints, about), running, holds = await asyncio.gather(
        asyncio.gather(*listing),
        asyncio.gather(*(_runs(link, playback) for playback in wanted)),
        asyncio.gather(*(_on_hold(link, leg) for leg in talking)),
    )
    seen = {}
    for channel in channels.decode(list[ari.Channel]):
        seen[channel.id] = _seen(channel, entries)
        if seen[channel.id].role == "caller":
            on_person(channel.id, channel.caller.number, channel.caller.name)
    found = {b.id: frozenset(b.channels) for b in bridges.decode(list[ari.Bridge])}
    alive = frozenset(p for p, runs in zip(wanted, running, strict=True) if runs)
    at_phones: dict[str, dict[str, OwnCall]] = {}
    for channel in channels.decode(list[ari.Channel]):
        agent = entries.agent_at(channel)
        own = entries.own_call(channel) if agent else None
        if agent and own:
            at_phones.setdefault(agent, {})[channel.id] = own
            out = own.direction == "out"
            on_person(channel.id, channel.dialplan.exten if out else channel.connected.number, "")
    phones = _phones(endpoints.decode(list[ari.Endpoint]), entries, at_phones)
    status = about.decode(ari.AsteriskInfo).status
    held = frozenset(leg for leg, holding in zip(talking, holds, strict=True) if holding)
    return Snapshot(seen, found, alive, phones, held, ari.instant_ns(status.startup_time) if status else 0)


def _phones(
    endpoints: Iterable[ari.Endpoint], entries: Entries, own: dict[str, dict[str, OwnCall]]
) -> dict[str, PhoneAt]:
    """Agents' phones, all of one agent together."""
    found: dict[str, PhoneAt] = {}
    for endpoint in endpoints:
        agent = entries.agent_of(endpoint.resource)
        if agent is None:
            continue
        there, before = endpoint.state != OFFLINE, found.get(agent, PhoneAt(False))
        offline = before.offline or ()
        found[agent] = PhoneAt(
            before.reachable or there,
            (*before.channels, *endpoint.channel_ids),
            own.get(agent, {}),
            offline if there else (*offline, endpoint.resource),
        )
    return found


async def _runs(link: AriLink, playback: str) -> bool:
    try:
        await link.request("GET", f"playbacks/{playback}")
    except PlaybackNotFound:
        return False  # it has ended: that is the answer
    return True


async def _on_hold(link: AriLink, leg: str) -> bool:
    """Whether the phone behind an agent's leg has put its call on hold: no event tells it twice."""
    try:
        answer = await link.request("GET", f"channels/{leg}/variable", params={"variable": HOLD_VARIABLE})
    except (NotFound, Conflict):
        return False  # it hung up meanwhile
    return answer.decode(ari.Variable).value == "1"


def _seen(channel: ari.Channel, entries: Entries) -> ChannelSeen:
    context = channel.dialplan.context
    role: Role = "other"
    if LEG_MARK in channel.id or context == AGENT_CONTEXT:
        role = "agent"
    elif context in (ENTRY_CONTEXT, LEFT_CONTEXT):
        role = "caller"
    up, in_stasis = channel.state == _UP, channel.dialplan.app_name == _STASIS
    if role != "caller":
        agent = entries.agent_of(endpoint_of(channel.name)) if role == "agent" else None
        return ChannelSeen(channel.id, role, up, in_stasis, agent=agent or "")
    arrival = entries.arrival(channel)
    if isinstance(arrival, CodeDialled):
        return ChannelSeen(channel.id, role, up, in_stasis, "", arrival.action, arrival.agent, arrival.desk)
    return ChannelSeen(channel.id, role, up, in_stasis, arrival.number, left=context == LEFT_CONTEXT)
