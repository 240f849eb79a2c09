"""A caller is sent on to a number outside: ringing, talking there, or back for the rule's next target.

The caller stays in Stasis with music until somebody answers, so that a death of this program costs nothing:
the leg goes on ringing in Asterisk, enters through the dialplan's loop, and the deadline survives.
"""

from __future__ import annotations

from ari_app.core import ivr, messages as m, offers, ringing
from ari_app.core.call import Call
from ari_app.core.definition import Target, seconds_ns
from ari_app.core.floor import Floor

FALLBACK = Target(fallback=True)
RING_GRACE_S = 5
"""Asterisk's own ring limit lies this far behind the floor's, which decides."""


def dial(floor: Floor, call: Call, target: Target, now_ns: int) -> m.Step:
    """Ring the number over its trunk; the caller hears the queue's music meanwhile."""
    attempt = call.onward + 1
    leg = f"{call.id}.onward.{attempt}"
    made = m.ForwardMade(call.id, call.queue, attempt, leg, now_ns + seconds_ns(target.ring_s), target)
    endpoint = f"{target.number}@{target.trunk}"
    name = offers.queue_of(floor, call.queue).name
    # The centre's own number is shown: a trunk need not take the caller's, and it is nobody's business.
    shown = f'"{name}" <{call.number}>'
    ring_s = int(target.ring_s) + RING_GRACE_S
    ring = m.Originate(leg, endpoint, call.id, name, ring_s, call.channel, shown)
    return m.Step([made], [m.StartMusic(call.channel, ivr.music_of(floor, call.queue)), ring])


def originate_done(floor: Floor, call: Call, done: m.OriginateDone, now_ns: int) -> m.Step:
    """Asterisk's word on the originate; that it took it needs no note."""
    if done.ok or call.state != "forwarding" or call.leg != done.channel:
        return m.Step([], [])
    return lapse(floor, call, "unreachable" if done.error == "unreachable" else "failed", now_ns, gone=True)


def answered(floor: Floor, call: Call, leg: str) -> m.Step:
    """Somebody outside picked up: one bridge, no recording."""
    if call.leg != leg:
        return m.Step([], [m.Hangup(leg)])
    if call.state == "forwarded":
        return m.Step([], [])  # seen before
    bridge = f"{call.id}.talk.onward.{call.onward}"
    return m.Step(
        [m.ForwardConnected(call.id, leg, bridge)],
        [
            m.StopMusic(call.channel),
            m.Connect(call.id, bridge, (call.channel, leg)),
            m.SetAbsolute(call.channel, 0),
        ],
    )


def bridge_done(floor: Floor, call: Call, done: m.BridgeDone, now_ns: int) -> m.Step:
    """Asterisk's word on the bridge. A refusal counts as a number that could not be reached."""
    if call.bridged or done.bridge not in ("", call.bridge):
        return m.Step([], [])
    if done.ok:
        return m.Step([m.ForwardBridged(call.id)], [])
    return lapse(floor, call, "failed", now_ns)


def lapse(floor: Floor, call: Call, reason: m.LapseReason, now_ns: int, *, gone: bool = False) -> m.Step:
    """Nobody there took the call: on to the next target of the rule."""
    then = (call.then.otherwise if call.then else None) or FALLBACK
    renew_at_ns = offers.absolute_ns(floor, now_ns)
    step = m.Step([m.ForwardLapsed(call.id, call.leg, reason, then, renew_at_ns)], [])
    if not gone:
        step.effects.append(m.Hangup(call.leg, "no_answer"))
    if call.bridge:
        step.effects.append(m.DropBridge(call.bridge))
        step.effects.append(m.SetAbsolute(call.channel, floor.definition.centre.absolute_timeout_s))
        step.effects.append(m.StartMusic(call.channel, ivr.music_of(floor, call.queue)))
    onward = ivr.go_on(floor, call, now_ns, then)
    step.events.extend(onward.events)
    step.effects.extend(onward.effects)
    return step


def leg_hung_up(floor: Floor, call: Call, now_ns: int) -> m.Step:
    """The other side said BYE. A leg that only rang is about to be gone, and tells then why."""
    if call.state != "forwarded":
        return m.Step([], [])
    if call.bridged:
        return over(call, "outside", now_ns)
    return lapse(floor, call, "failed", now_ns)


def leg_gone(floor: Floor, call: Call, now_ns: int, *, cause: int = 0) -> m.Step:
    """The leg outside is confirmed gone."""
    if call.state == "forwarded" and call.bridged:
        return over(call, "outside", now_ns, leg_gone=True, cause=max(cause, 0))
    if cause == m.UNSEEN and call.state == "forwarding" and call.then is not None:
        # We may have died before dialling; a number that was busy is rung once more at most a restart.
        again = dial(floor, call, call.then, now_ns)
        renew_at_ns = offers.absolute_ns(floor, now_ns)
        lapsed = m.ForwardLapsed(call.id, call.leg, "not_dialled", call.then, renew_at_ns)
        return m.Step([lapsed, *again.events], again.effects)
    reason = ringing.lapse_reason(cause) if call.state == "forwarding" else "failed"
    return lapse(floor, call, reason, now_ns, gone=True)


def over(call: Call, by: m.EndedBy, now_ns: int, *, leg_gone: bool = False, cause: int = 0) -> m.Step:
    """The call is over while it is outside: ringing there, or in talk."""
    outcome: m.Outcome = "forwarded" if call.bridged else ivr.sent_on(call)
    ended = m.CallEnded(call.id, outcome, by, call.queue, "", call.waited_ns(now_ns), 0, cause)
    step = m.Step([ended], [])
    if by == "outside":
        step.effects.append(m.Hangup(call.channel))
    if not leg_gone:
        step.effects.append(m.Hangup(call.leg))
    if call.bridge:
        step.effects.append(m.DropBridge(call.bridge))
    return step
