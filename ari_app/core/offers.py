"""From the offer to the hang-up: connecting, lapsing, ending, wrapping up, letting go.

Nothing here changes the floor; each function returns what is decided. An agent is let go in two
movements: the leg of their phone is told to go, and only when it is confirmed gone (and the
wrap-up is over) is the agent free. An agent is never offered a call while a leg of theirs may
still ring.
"""

from __future__ import annotations

from ari_app.core import ivr, messages as m, onward
from ari_app.core.agent import RESTS, Agent
from ari_app.core.call import Call, Offer
from ari_app.core.definition import Queue, seconds_ns
from ari_app.core.floor import Floor, Recording

RELEASE_AGAIN_S = 5
"""A leg that was told to hang up and is not confirmed gone by then is told again."""

# ITU-T Q.850 cause values as Asterisk reports them for a leg that never talked.
_CAUSE_REASONS: dict[int, m.LapseReason] = {
    17: "busy",  # user busy: SIP 486, 600
    21: "declined",  # call rejected: SIP 603, 403
    18: "no_answer",  # no user responding: SIP 408
    19: "no_answer",  # no answer from user: SIP 480, our own ring limit
    3: "unreachable",  # no route
    20: "unreachable",  # subscriber absent: no contact registered
    27: "unreachable",  # destination out of order: SIP 502
    38: "unreachable",  # network out of order
}
_MISSES: frozenset[m.LapseReason] = frozenset({"no_answer", "unreachable", "failed"})


def lapse_reason(cause: int) -> m.LapseReason:
    """Why a leg that was never answered is gone, from its Q.850 cause."""
    return _CAUSE_REASONS.get(cause, "failed")


def queue_of(floor: Floor, name: str) -> Queue:
    """The queue's definition; a queue that a reload removed keeps serving by the defaults."""
    return floor.definition.queues.get(name) or Queue(name=name)


def absolute_ns(floor: Floor, now_ns: int) -> int:
    """When to renew a caller's absolute time-out that is set now: at half of it."""
    return now_ns + seconds_ns(floor.definition.centre.absolute_timeout_s) // 2


# ---------------------------------------------------------------- the agent picks up


def answered(floor: Floor, leg: str, now_ns: int) -> m.Step:
    """A leg entered Stasis. Too late or unknown: it is told to go, the caller never notices."""
    agent = floor.agent_of(leg)
    call = floor.state.calls.get(agent.call) if agent else None
    if agent is None or call is None or call.offer is None or call.offer.leg != leg:
        if call is not None and call.leg == leg:
            return m.Step([], [])  # seen before
        return m.Step([], [m.Hangup(leg)])
    return connect(floor, call, call.offer, now_ns)


def connect(floor: Floor, call: Call, offer: Offer, now_ns: int) -> m.Step:
    """Caller and agent talk: one bridge, one recording with a track for each."""
    bridge = f"{call.id}.talk.{offer.attempt}"
    recording = f"{call.id}.rec.{offer.attempt}" if queue_of(floor, call.queue).record else ""
    waited_ns = now_ns - call.entered_ns
    connected = m.CallConnected(
        call.id, call.queue, offer.agent, offer.attempt, offer.leg, bridge, waited_ns, recording
    )
    effects: list[m.AnyEffect] = [
        # Channel music does not stop on entering a bridge: caller and music would interleave.
        m.StopMusic(call.channel),
        m.Connect(call.id, bridge, (call.channel, offer.leg)),
        m.SetAbsolute(call.channel, 0),
    ]
    if recording:
        of_caller, of_agent = track_files(recording)
        effects.append(m.Record(call.id, call.channel, of_caller))
        effects.append(m.Record(call.id, offer.leg, of_agent))
    return m.Step([connected], effects)


def track_files(recording: str) -> tuple[str, str]:
    """Names of the raw files of a recording: what the caller says, what the agent says."""
    return f"{recording}.caller.raw", f"{recording}.agent.raw"


def bridge_done(floor: Floor, done: m.BridgeDone, now_ns: int) -> m.Step:
    """Asterisk's word on the bridge. A refusal sends the caller back to their place."""
    call = floor.state.calls.get(done.call)
    if call is not None and call.state == "forwarded":
        return onward.bridge_done(floor, call, done, now_ns)
    if call is None or call.state != "talking" or call.bridged:
        return m.Step([], [])
    if done.bridge not in ("", call.bridge):
        return m.Step([], [])
    if done.ok:
        return m.Step([m.CallBridged(call.id, call.agent)], [])
    step = _never_bridged(floor, call, done.error, now_ns, leg_gone=False)
    step.effects.append(m.Alarm(call.id, f"bridge refused: {done.error}"))
    return step


def _never_bridged(floor: Floor, call: Call, error: str, now_ns: int, *, leg_gone: bool) -> m.Step:
    """The agent picked up but no talk came of it: the caller waits again, in their old place."""
    renew_at_ns = absolute_ns(floor, now_ns)
    failed = m.ConnectFailed(call.id, call.queue, call.agent, call.attempts, error, renew_at_ns)
    step = m.Step([failed], [])
    step.effects.append(m.DropBridge(call.bridge))
    step.effects.append(m.SetAbsolute(call.channel, floor.definition.centre.absolute_timeout_s))
    step.effects.append(m.StartMusic(call.channel, ivr.music_of(floor, call.queue)))
    if call.recording:
        step.events.append(m.RecordingFailed(call.id, call.recording, "never bridged", True))
        # The wait is nobody's to record.
        step.effects.append(m.StopRecord(call.channel, track_files(call.recording)))
    if leg_gone:
        agent = floor.state.agents[call.agent]
        step.events.append(m.LegReleased(agent.id, call.leg))
        step.events.append(_freed(floor, agent, call.queue, now_ns, rests=True))
    else:
        step.events.append(m.ReleaseAwaited(call.agent, call.leg, now_ns + seconds_ns(RELEASE_AGAIN_S)))
        step.effects.append(m.Hangup(call.leg))
    return step


# ---------------------------------------------------------------- the offer lapses


def lapse(floor: Floor, call: Call, reason: m.LapseReason, now_ns: int, *, leg_gone: bool) -> m.Step:
    """The offer is over without a conversation; the caller keeps their place."""
    offer = call.offer
    if offer is None:
        return m.Step([], [])
    agent = floor.state.agents[offer.agent]
    miss = reason in _MISSES
    events: list[m.AnyEvent] = [m.OfferLapsed(call.id, call.queue, agent.id, offer.attempt, reason, miss)]
    if not leg_gone:
        events.append(m.ReleaseAwaited(agent.id, offer.leg, now_ns + seconds_ns(RELEASE_AGAIN_S)))
        return m.Step(events, [m.Hangup(offer.leg, "no_answer")])
    events.append(m.LegReleased(agent.id, offer.leg))
    misses, rests = agent.misses + miss, reason in RESTS
    events.append(_freed(floor, agent, call.queue, now_ns, misses=misses, rests=rests))
    return m.Step(events, [])


def originate_done(floor: Floor, done: m.OriginateDone, now_ns: int) -> m.Step:
    """Asterisk's word on ringing the agent: it rings, or the phone cannot be reached."""
    agent = floor.agent_of(done.channel)
    call = floor.state.calls.get(agent.call) if agent else None
    if agent is None or call is None or call.offer is None or call.offer.leg != done.channel:
        if agent is not None and agent.state == "releasing" and not done.ok:
            return leg_gone(floor, agent, 0, now_ns)  # lapsed meanwhile, and there is no leg to wait for
        return m.Step([], [])
    if not done.ok:
        reason: m.LapseReason = "unreachable" if done.error == "unreachable" else "failed"
        return lapse(floor, call, reason, now_ns, leg_gone=True)
    if call.offer.dialled:
        return m.Step([], [])
    return m.Step([m.OfferDialled(call.id, agent.id, call.offer.attempt)], [])


def ringing(floor: Floor, leg: str) -> m.Step:
    """The agent's phone rings."""
    agent = floor.agent_of(leg)
    call = floor.state.calls.get(agent.call) if agent else None
    if agent is None or call is None or call.offer is None or call.offer.leg != leg or call.offer.ringing:
        return m.Step([], [])
    return m.Step([m.OfferRinging(call.id, agent.id, call.offer.attempt)], [])


# ---------------------------------------------------------------- somebody is gone


def caller_gone(
    floor: Floor, call: Call, now_ns: int, *, outcome: m.Outcome | None = None, cause: int = 0
) -> m.Step:
    """The caller hung up, or left for the fallback (``outcome``), in whatever state the call was."""
    step = m.Step([], [])
    by: m.EndedBy = "caller" if outcome is None else "system"
    if call.state == "ivr":
        reached: m.Outcome = "left_in_flow" if call.flow else "rejected"
        step.events.append(m.CallEnded(call.id, outcome or reached, by, "", "", 0, 0, cause))
        return step
    if call.state in ("forwarding", "forwarded"):
        return onward.over(call, by, now_ns, cause=cause)
    if call.state == "talking":
        return talk_over(floor, call, by, now_ns, cause=cause)
    if call.offer is not None:
        step = lapse(floor, call, "caller_gone", now_ns, leg_gone=False)
    waited_ns = now_ns - call.entered_ns
    step.events.append(m.CallEnded(call.id, outcome or "abandoned", by, call.queue, "", waited_ns, 0, cause))
    return step


def hung_up_by_us(floor: Floor, call: Call, now_ns: int) -> m.Step:
    """Somebody in charge ends the call, in whatever state it is. A talk that took place stays answered."""
    step = caller_gone(floor, call, now_ns, outcome="system")
    step.effects.append(m.Hangup(call.channel))
    return step


def talk_over(
    floor: Floor, call: Call, by: m.EndedBy, now_ns: int, *, cause: int = 0, leg_gone: bool = False
) -> m.Step:
    """The conversation is over: the bridge goes, the other party is let go, the wrap-up begins.

    Whoever stays behind would sit in silence, so the caller is hung up when the agent goes.
    """
    waited_ns = call.waited_ns(now_ns)
    ended = m.CallEnded(
        call.id, "answered", by, call.queue, call.agent, waited_ns, now_ns - call.connected_ns, cause
    )
    step = m.Step([ended], [])
    if by == "agent":  # a caller who left for the fallback is served there
        step.effects.append(m.Hangup(call.channel))
    if not leg_gone:
        step.effects.append(m.Hangup(call.leg))
        again_ns = now_ns + seconds_ns(RELEASE_AGAIN_S)
        step.events.append(m.ReleaseAwaited(call.agent, call.leg, again_ns))
    step.effects.append(m.DropBridge(call.bridge))
    agent = floor.state.agents[call.agent]
    if leg_gone:
        step.events.append(m.LegReleased(call.agent, call.leg))
    wrap_up = _wrap_up(queue_of(floor, call.queue), agent, call, now_ns)
    if wrap_up is not None:
        step.events.append(wrap_up)
        return step
    step.events.extend(default_disposition(floor, agent, call.id, call.queue))
    if leg_gone:
        step.events.append(_freed(floor, agent, call.queue, now_ns))
    return step


def _wrap_up(queue: Queue, agent: Agent, call: Call, now_ns: int) -> m.WrapUpStarted | None:
    """The wrap-up that follows a talk in this queue (see ``wrapup``), if any."""
    mode = queue.wrap_up
    if mode == "none" or (mode == "requested" and not agent.wants_wrap_up):
        return None
    length_ns = seconds_ns(queue.wrap_up_max_s if mode == "until_done" else queue.wrap_up_s)
    if length_ns <= 0:
        return None
    extendable = mode in ("extendable", "requested")
    limit_ns = now_ns + max(length_ns, seconds_ns(queue.wrap_up_max_s)) if extendable else 0
    return m.WrapUpStarted(agent.id, call.id, now_ns + length_ns, call.queue, mode, limit_ns)


def default_disposition(floor: Floor, agent: Agent, call: str, queue: str) -> list[m.AnyEvent]:
    """What is noted of a call about which the agent has said nothing."""
    default = queue_of(floor, queue).disposition_default
    if agent.disposition or not default:
        return []
    return [m.DispositionGiven(agent.id, call, queue, default, "time-out")]


def leg_held(floor: Floor, item: m.LegHeld, now_ns: int) -> m.Step:
    """The agent's phone put the caller on hold, or took them back. Told twice, it changes nothing."""
    agent = floor.agent_of(item.channel)
    call = floor.state.calls.get(agent.call) if agent else None
    if agent is None or call is None or call.state != "talking" or call.leg != item.channel:
        return m.Step([], [])
    if item.on == bool(call.held_ns):
        return m.Step([], [])
    if item.on:
        return m.Step([m.CallHeld(call.id, agent.id)], [])
    return m.Step([m.CallUnheld(call.id, agent.id, now_ns - call.held_ns)], [])


def leg_hung_up(floor: Floor, agent: Agent, now_ns: int) -> m.Step:
    """The agent's phone said BYE, or its leg left Stasis: no talk any more, but not yet confirmed gone."""
    call = floor.state.calls.get(agent.call)
    if call is None or call.state != "talking" or call.leg != agent.leg:
        return m.Step([], [])
    if not call.bridged:
        return _never_bridged(floor, call, "agent hung up", now_ns, leg_gone=False)
    return talk_over(floor, call, "agent", now_ns)


def leg_gone(floor: Floor, agent: Agent, cause: int, now_ns: int) -> m.Step:
    """The agent's leg is confirmed gone."""
    call = floor.state.calls.get(agent.call)
    if call is not None and call.offer is not None and call.offer.leg == agent.leg:
        reason = lapse_reason(cause)
        if cause == m.UNSEEN:
            reason = "lost" if call.offer.dialled else "not_dialled"
        return lapse(floor, call, reason, now_ns, leg_gone=True)
    if call is not None and call.state == "talking" and call.leg == agent.leg:
        if not call.bridged:
            return _never_bridged(floor, call, "agent hung up", now_ns, leg_gone=True)
        return talk_over(floor, call, "agent", now_ns, cause=cause, leg_gone=True)
    events: list[m.AnyEvent] = [m.LegReleased(agent.id, agent.leg)]
    if agent.state == "releasing":
        events.append(_freed(floor, agent, "", now_ns, misses=agent.misses, rests=agent.rests))
    return m.Step(events, [])


def wrap_up_over(floor: Floor, agent: Agent, by: str, now_ns: int) -> m.Step:
    """The wrap-up's time is up, or the agent is done; the agent is free if the leg is gone."""
    events: list[m.AnyEvent] = [m.WrapUpEnded(agent.id, agent.call, by)]
    if agent.leg:
        again_ns = now_ns + seconds_ns(RELEASE_AGAIN_S)
        events.append(m.ReleaseAwaited(agent.id, agent.leg, again_ns))
        return m.Step(events, [m.Hangup(agent.leg)])
    events.append(_freed(floor, agent, "", now_ns))
    return m.Step(events, [])


def release_again(agent: Agent, now_ns: int) -> m.Step:
    """The leg should have been gone by now: tell it again. Its 404 confirms that it is gone."""
    if not agent.leg or agent.state not in ("releasing", "wrap_up"):
        return m.Step([], [])
    again_ns = now_ns + seconds_ns(RELEASE_AGAIN_S)
    return m.Step([m.ReleaseAwaited(agent.id, agent.leg, again_ns)], [m.Hangup(agent.leg)])


def _freed(
    floor: Floor, agent: Agent, queue: str, now_ns: int, *, misses: int = 0, rests: bool = False
) -> m.AgentFreed:
    """Where the agent goes: what was asked meanwhile, "not responding" after too many misses, or ready."""
    if agent.after == "signed_out":
        return m.AgentFreed(agent.id, "signed_out", "")
    if agent.after == "paused":
        return m.AgentFreed(agent.id, "paused", agent.after_reason)
    limits = [queue_of(floor, q) for q in _queues(floor, agent, queue)]
    limit = min((q.max_misses for q in limits), default=2)
    if rests and misses >= limit > 0:
        return m.AgentFreed(agent.id, "not_responding", f"{misses} offers missed")
    rest_ns = max((seconds_ns(q.retry_pause_s) for q in limits), default=0) if rests else 0
    return m.AgentFreed(agent.id, "ready", "", now_ns + rest_ns if rest_ns else 0)


def _queues(floor: Floor, agent: Agent, queue: str) -> tuple[str, ...]:
    if queue:
        return (queue,)
    definition = floor.definition.agents.get(agent.id)
    return definition.queues if definition else ()


# ---------------------------------------------------------------- recordings


def recording_begun(floor: Floor, begun: m.RecordingBegun) -> m.Step:
    """AMI's word on one track."""
    for recording in floor.state.recordings.values():
        for track in recording.tracks:
            if recording.call != begun.call or track.channel != begun.channel or track.confirmed:
                continue
            if begun.ok:
                event = m.RecordingStarted(begun.call, recording.id, track.track, track.channel, track.file)
                return m.Step([event], [])
            failed = m.RecordingFailed(begun.call, recording.id, f"{track.track}: {begun.error}", False)
            return m.Step([failed], [m.Alarm(begun.call, f"recording: {begun.error}")])
    return m.Step([], [])


def being_written(floor: Floor, recording: Recording, *, but: str = "") -> bool:
    """Whether one of its channels (other than ``but``) is not yet confirmed gone."""
    return any(
        track.channel != but and (track.channel in floor.state.closing or track.channel in floor.by_leg)
        for track in recording.tracks
    )


def assemble(recording: Recording) -> m.Assemble:
    """Join the tracks of an ended recording; a track that never began is silence."""
    tracks = tuple((t.file, t.began_ns) for t in recording.tracks)
    return m.Assemble(recording.call, recording.id, tracks)


def recording_assembled(floor: Floor, done: m.RecordingAssembled) -> m.Step:
    """The shell joined the tracks of the call's ended recording, or could not."""
    for recording in floor.state.recordings.values():
        if recording.call == done.call and recording.ended:
            if done.ok:
                event = m.RecordingFinished(done.call, recording.id, done.file, done.duration_ns)
                return m.Step([event], [])
            failed = m.RecordingFailed(done.call, recording.id, done.error, True)
            return m.Step([failed], [m.Alarm(done.call, f"recording lost: {done.error}")])
    return m.Step([], [])
