"""Which channels, bridges and recordings should exist; what to do where Asterisk differs.

After a gap (restart, lost socket) three things follow from one snapshot of Asterisk:

* ``differences``: inputs for what happened unseen; ordinary ``step`` deals with them;
* ``repair``: effects for what should exist and does not, or does and should not;
* ``resend``: effects for what a snapshot cannot show (music, time-outs, recordings).

The property that proves recovery: after any step and its effects, ``repair`` is empty.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ari_app.core import codes, ivr, messages as m, offers, own
from ari_app.core.call import Offer
from ari_app.core.floor import CONVERSING, Floor

Role = Literal["caller", "agent", "other"]

LEG_MARK = ".offer."
ONWARD_MARK = ".onward."
BRIDGE_MARK = ".talk."


class ChannelSeen(Struct, frozen=True):
    """A channel as Asterisk shows it. ``number``: one of the definition's, "" if another was dialled."""

    id: str
    role: Role
    up: bool
    in_stasis: bool
    number: str = ""
    code: m.Action | None = None
    agent: str = ""
    """The agent at whose phone a caller's channel sits, or whose phone one of our legs rings, if any."""
    desk: str = ""
    """That phone, if it is a desk."""
    left: bool = False
    """A caller whose agent hung up while nobody watched: the dialplan plays them music meanwhile."""


class PhoneAt(Struct, frozen=True):
    """An agent's phones: whether one can be reached, and the channels they have (ours among them)."""

    reachable: bool
    channels: tuple[str, ...] = ()
    own: dict[str, m.OwnCall] = {}
    """Those of them that are the agent's own calls."""
    offline: tuple[str, ...] | None = None
    """Those of them that cannot be reached; None: which ones is not known."""


class Snapshot(Struct, frozen=True):
    """What Asterisk has: channels, our bridges with their channels, which of our playbacks still run."""

    channels: dict[str, ChannelSeen]
    bridges: dict[str, frozenset[str]]
    playbacks: frozenset[str]
    phones: dict[str, PhoneAt] = {}
    """Agent -> their phone, for the agents whose endpoint Asterisk knows."""
    held: frozenset[str] = frozenset()
    """Those of the agents' legs that talk, and whose phone has them on hold."""
    started_ns: int = 0
    """When this Asterisk started (ns UTC), 0 = not told. It never had the channels of earlier calls."""


def differences(floor: Floor, snapshot: Snapshot) -> list[m.AnyInput]:
    """What must have happened while nobody watched, as inputs. What is gone comes first."""
    there = snapshot.channels
    known = [*floor.by_channel, *floor.state.closing, *floor.by_leg, *floor.onward, *floor.state.sessions]
    others = [c for c in dict.fromkeys((*floor.others, *floor.state.own)) if c not in known]
    found: list[m.AnyInput] = []
    for call in floor.state.calls.values():
        caller = there.get(call.channel)
        if call.state not in CONVERSING or caller is None:
            continue
        # They were put together before we looked away, whatever became of it since.
        if not call.bridged and (caller.left or caller.id in snapshot.bridges.get(call.bridge, ())):
            found.append(m.BridgeDone(call.id, ok=True, bridge=call.bridge))
        if not caller.in_stasis and not caller.left:
            # Before it is seen that the agent is gone, which would end the call: the fallback serves them.
            found.append(m.ChannelLeft(caller.id))
    found.extend(holds(floor, snapshot))
    found.extend(m.ChannelGone(c, _how_gone(floor, c, snapshot)) for c in (*known, *others) if c not in there)
    found.extend(_phones(floor, snapshot))
    out = [there[c] for c in _entered(floor) if c in there and not there[c].in_stasis]
    # First the agent's leg, which ends the talk.
    found.extend(m.ChannelLeft(seen.id, seen.left) for seen in sorted(out, key=lambda seen: seen.left))
    for call in floor.state.calls.values():
        if call.playback and call.channel in there and call.playback not in snapshot.playbacks:
            found.append(m.PromptEnded(call.playback, ok=True))
        outside = there.get(call.leg) if call.state == "forwarding" else None
        if outside is not None and outside.up and outside.in_stasis:
            found.append(m.LegAnswered(outside.id))
        for offer in call.offers.values():
            found.extend(_legs(offer, snapshot))
    for session in floor.state.sessions.values():
        ended = session.channel in there and session.playback not in snapshot.playbacks
        if ended and session.stage == "confirm":  # the end of a PIN prompt means nothing
            found.append(m.PromptEnded(session.playback, ok=True))
    known_now = set(known)
    for seen in there.values():
        if seen.id in known_now or not seen.in_stasis:
            continue
        if seen.role == "caller" and seen.code is not None:
            found.append(m.CodeDialled(seen.id, seen.agent, seen.code, seen.desk))
        elif seen.role == "caller":
            talk = _talk(snapshot, seen.id)
            found.append(m.CallArrived(seen.id, seen.number, adopted=True, talk=talk))
    return found


def holds(floor: Floor, snapshot: Snapshot) -> list[m.AnyInput]:
    """Which agents put their caller on hold, or took them back, unseen."""
    return [
        m.LegHeld(c.leg, c.leg in snapshot.held)
        for c in floor.state.calls.values()
        if c.state == "talking" and c.leg in snapshot.channels and bool(c.held_ns) != (c.leg in snapshot.held)
    ]


def _talk(snapshot: Snapshot, caller: str) -> m.TalkSeen | None:
    """With whom a caller talks of whom nothing is known."""
    for bridge, channels in snapshot.bridges.items():
        others = [snapshot.channels[c] for c in channels - {caller} if c in snapshot.channels]
        if BRIDGE_MARK in bridge and caller in channels and len(channels) == 2 and others:
            leg = others[0]
            return m.TalkSeen(bridge, leg.id, leg.agent if leg.role == "agent" else "")
    return None


def _legs(offer: Offer, snapshot: Snapshot) -> list[m.AnyInput]:
    """What became of the phones that are rung."""
    found: list[m.AnyInput] = []
    for key, phone in offer.live().items():
        leg = snapshot.channels.get(key)
        if leg is None:
            continue
        if phone.prompts:
            if phone.playback not in snapshot.playbacks:
                found.append(m.PromptEnded(phone.playback, ok=True))
        elif leg.up and leg.in_stasis:
            found.append(m.LegAnswered(key))
        elif not phone.dialled:
            found.append(m.OriginateDone(key, ok=True))
    return found


def playbacks(floor: Floor) -> list[str]:
    """The prompts that should be running, as far as is known."""
    state = floor.state
    legs = [leg for c in state.calls.values() for offer in c.offers.values() for leg in offer.live().values()]
    known = [c.playback for c in state.calls.values()] + [s.playback for s in state.sessions.values()]
    return [playback for playback in (*known, *(leg.playback for leg in legs)) if playback]


def _phones(floor: Floor, snapshot: Snapshot) -> list[m.AnyInput]:
    """What changed at agents' phones, beside our own legs."""
    found: list[m.AnyInput] = []
    for name, phone in snapshot.phones.items():
        agent = floor.state.agents.get(name)
        if agent is None:
            continue
        if phone.offline is not None:
            gone = set(phone.offline)
            found.extend(m.PhoneSeen(name, False, one) for one in phone.offline if one not in agent.offline)
            found.extend(m.PhoneSeen(name, True, one) for one in agent.offline if one not in gone)
        elif agent.reachable != phone.reachable:
            found.append(m.PhoneSeen(name, phone.reachable))
        found.extend(
            m.OtherCallSeen(name, channel, phone.own.get(channel))
            for channel in phone.channels
            if LEG_MARK not in channel and channel not in agent.other_calls
        )
        found.extend(
            m.OtherCallAnswered(channel)
            for channel, call in phone.own.items()
            if call.answered and channel in agent.other_calls and not own.is_answered(floor, channel)
        )
    return found


def _how_gone(floor: Floor, channel: str, snapshot: Snapshot) -> int:
    """Whether a caller may have hung up unseen, or was lost with the Asterisk that had the call."""
    call = floor.call_of(channel)
    return m.LOST if call is not None and call.opened_ns < snapshot.started_ns else m.UNSEEN


def _entered(floor: Floor) -> list[str]:
    """Channels that were in Stasis when last seen. Out of it, the dialplan has them (time-out, hang-up)."""
    legs = [c.leg for c in floor.state.calls.values() if c.state in CONVERSING]
    for call in floor.state.calls.values():
        for offer in call.offers.values():
            legs.extend(key for key, leg in offer.live().items() if leg.prompts)
    return [*floor.by_channel, *floor.state.closing, *legs, *floor.state.sessions]


def answering(floor: Floor, snapshot: Snapshot) -> list[str]:
    """Legs of live offers that were picked up and are still on their way into Stasis."""
    offers = [offer for c in floor.state.calls.values() for offer in c.offers.values()]
    legs = [key for offer in offers for key, leg in offer.live().items() if not leg.prompts]
    legs += [c.leg for c in floor.state.calls.values() if c.state == "forwarding"]
    return [leg for leg in legs if (s := snapshot.channels.get(leg)) and s.up and not s.in_stasis]


def repair(floor: Floor, snapshot: Snapshot) -> list[m.AnyEffect]:
    """Effects that make Asterisk's visible state agree with the floor. Never hangs up a live caller."""
    effects: list[m.AnyEffect] = []
    wanted: dict[str, frozenset[str]] = {}
    for call in floor.state.calls.values():
        if call.state in CONVERSING:
            wanted[call.bridge] = frozenset((call.channel, call.leg))
    effects.extend(m.DropBridge(b) for b in snapshot.bridges if BRIDGE_MARK in b and b not in wanted)
    for call in floor.state.calls.values():
        if call.state in CONVERSING and snapshot.bridges.get(call.bridge) != wanted[call.bridge]:
            effects.append(m.StopMusic(call.channel))
            if call.leg_playback:
                effects.append(m.StopPlay(call.leg_playback))
            effects.append(m.Connect(call.id, call.bridge, (call.channel, call.leg)))
    live_legs = {leg for c in floor.state.calls.values() for o in c.offers.values() for leg in o.live()}
    live_legs |= {c.leg for c in floor.state.calls.values() if c.leg}
    for channel in snapshot.channels.values():
        ours = LEG_MARK in channel.id or ONWARD_MARK in channel.id
        stale_leg = (channel.role == "agent" or ours) and channel.id not in live_legs
        if channel.id in floor.state.sent_on and channel.in_stasis:
            effects.append(m.ToFallback(channel.id))
        elif stale_leg or (channel.id in floor.state.closing and channel.in_stasis):
            effects.append(m.Hangup(channel.id))
    return effects


def resend(floor: Floor) -> list[m.AnyEffect]:
    """What a snapshot does not show and a crash may have swallowed. Doing it twice is harmless."""
    effects: list[m.AnyEffect] = []
    seconds = floor.definition.centre.absolute_timeout_s
    for call in floor.state.calls.values():
        talking = call.state in CONVERSING
        effects.append(m.SetAbsolute(call.channel, 0 if talking else seconds))
        effects.extend(m.StopPlay(p) for p in call.stale_prompts())
        if talking and call.held_ns:
            pass  # the music that Asterisk plays while the agent's phone holds: it must go on
        elif talking or call.state == "message":
            effects.append(m.StopMusic(call.channel))
        elif call.state != "ivr":
            effects.append(m.StartMusic(call.channel, ivr.music_of(floor, call.queue)))
        else:  # behind a prompt that still runs, too: we may have died between the two
            effects.append(m.StartMusic(call.channel, ivr.ENTRY_MUSIC))
    for recording in floor.state.recordings.values():
        if recording.dropped:
            effects.append(offers.drop(recording))
            continue
        if recording.ended:
            if not offers.being_written(floor, recording):
                effects.append(offers.assemble(recording))
            continue
        for track in recording.tracks:
            if not track.confirmed:
                effects.append(m.Record(recording.call, track.channel, track.file, verify=True))
    effects.extend(codes.resume_sessions(floor))
    return effects
