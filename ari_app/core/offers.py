"""From the offer to the hang-up: connecting, lapsing, ending, wrapping up, letting go.

Nothing here changes the floor; each function returns what is decided. An agent is let go in two
movements: the leg of their phone is told to go, and only when it is confirmed gone (and the
wrap-up is over) is the agent free. An agent is never offered a call while a leg of theirs may
still ring.
"""

from __future__ import annotations

from ari_app.core import ivr, messages as m, onward, release, ringing, voicemail
from ari_app.core.agent import Agent
from ari_app.core.call import Call, Offer
from ari_app.core.definition import Queue, seconds_ns
from ari_app.core.floor import Floor, Recording


def queue_of(floor: Floor, name: str) -> Queue:
    """The queue's definition; a queue that a reload removed keeps serving by the defaults."""
    return floor.queue(name)


def absolute_ns(floor: Floor, now_ns: int) -> int:
    """When to renew a caller's absolute time-out that is set now: at half of it."""
    return now_ns + seconds_ns(floor.definition.centre.absolute_timeout_s) // 2


# ---------------------------------------------------------------- the agent picks up


def answered(floor: Floor, leg: str, now_ns: int) -> m.Step:
    """A leg entered Stasis. Too late or unknown: it is told to go, the caller never notices."""
    agent = floor.agent_of(leg)
    call = floor.state.calls.get(agent.call) if agent else None
    if call is not None and call.leg == leg:
        return m.Step([], [])  # seen before
    found = ringing.find(floor, leg)
    if found is None:
        return m.Step([], [m.Hangup(leg)])
    call, offer, phone = found
    if call.state == "talking":  # another agent was first, and is not bridged yet
        return ringing.lapse(floor, call, offer, "answered_elsewhere", now_ns)
    if phone.confirm:
        return ringing.ask(floor, call, offer, leg, now_ns) if not phone.prompts else m.Step([], [])
    return connect(floor, call, offer, leg, now_ns)


def pressed(floor: Floor, leg: str, digit: str, now_ns: int) -> m.Step:
    """A key at an agent's phone: 1 takes the call that it was asked about, 2 does not."""
    found = ringing.find(floor, leg)
    if found is None or found[0].state == "talking" or not found[2].prompts:
        return m.Step([], [])
    call, offer, phone = found
    if digit == ringing.ACCEPT:
        step = connect(floor, call, offer, leg, now_ns)
        # Asterisk would keep them apart until the prompt is over.
        step.effects.insert(0, m.StopPlay(phone.playback))
        return step
    if digit == ringing.REFUSE:
        return ringing.phone_over(floor, call, offer, leg, "declined", now_ns)
    return m.Step([], [])


def connect(floor: Floor, call: Call, offer: Offer, leg: str, now_ns: int) -> m.Step:
    """Caller and agent talk: one bridge, one recording with a track for each."""
    bridge = f"{call.id}.talk.{offer.attempt}"
    recording = recording_id(call.id, offer.attempt) if queue_of(floor, call.queue).record else ""
    waited_ns = now_ns - call.entered_ns
    connected = m.CallConnected(
        call.id, call.queue, offer.agent, offer.attempt, leg, bridge, waited_ns, recording
    )
    effects: list[m.AnyEffect] = [
        # Channel music does not stop on entering a bridge: caller and music would interleave.
        m.StopMusic(call.channel),
        m.Connect(call.id, bridge, (call.channel, leg)),
        m.SetAbsolute(call.channel, 0),
    ]
    if recording:
        of_caller, of_agent = track_files(recording)
        effects.append(m.Record(call.id, call.channel, of_caller))
        effects.append(m.Record(call.id, leg, of_agent))
    step = m.Step([connected], effects)
    for other in offer.live():
        if other != leg:  # the agent's own other phones
            release.tell(step, offer.agent, other, now_ns, "answered_elsewhere")
    return step


def recording_id(call: str, attempt: int) -> str:
    """The name of the recording of the talk that came of this attempt."""
    return f"{call}.rec.{attempt}"


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
        step = m.Step([m.CallBridged(call.id, call.agent)], [])
        _others_lapse(floor, call, step, "answered_elsewhere", now_ns)
        return step
    step = _never_bridged(floor, call, done.error, now_ns, leg_gone=False)
    step.effects.append(m.Alarm(call.id, f"bridge refused: {done.error}"))
    return step


def _others_lapse(floor: Floor, call: Call, step: m.Step, reason: m.LapseReason, now_ns: int) -> None:
    """Whoever else is rung for this call is let go."""
    for offer in call.offers.values():
        lapsed = ringing.lapse(floor, call, offer, reason, now_ns)
        step.events.extend(lapsed.events)
        step.effects.extend(lapsed.effects)


def _never_bridged(floor: Floor, call: Call, error: str, now_ns: int, *, leg_gone: bool) -> m.Step:
    """The agent picked up but no talk came of it: the caller waits again, in their old place."""
    renew_at_ns = absolute_ns(floor, now_ns)
    failed = m.ConnectFailed(call.id, call.queue, call.agent, call.talk, error, renew_at_ns)
    step = m.Step([failed], [])
    step.effects.append(m.DropBridge(call.bridge))
    step.effects.append(m.SetAbsolute(call.channel, floor.definition.centre.absolute_timeout_s))
    step.effects.append(m.StartMusic(call.channel, ivr.music_of(floor, call.queue)))
    if call.recording:
        # The wait is nobody's to record.
        files = track_files(call.recording)
        step.effects.append(m.StopRecord(call.id, call.recording, call.channel, files))
    if leg_gone:
        agent = floor.state.agents[call.agent]
        step.events.append(m.LegReleased(agent.id, call.leg))
        if agent.legs() == (call.leg,):
            step.events.append(release.freed(floor, agent, call.queue, now_ns, rests=True))
    else:
        release.tell(step, call.agent, call.leg, now_ns)
    return step


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
    if call.state == "message":
        return voicemail.over(call, by, now_ns, cause=cause)
    if call.state in ("forwarding", "forwarded"):
        return onward.over(call, by, now_ns, cause=cause)
    _others_lapse(floor, call, step, "caller_gone", now_ns)
    if call.state == "talking":
        over = talk_over(floor, call, by, now_ns, cause=cause)
        return m.Step([*step.events, *over.events], [*step.effects, *over.effects])
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
        release.tell(step, call.agent, call.leg, now_ns)
    step.effects.append(m.DropBridge(call.bridge))
    agent = floor.state.agents[call.agent]
    if leg_gone:
        step.events.append(m.LegReleased(call.agent, call.leg))
    wrap_up = _wrap_up(queue_of(floor, call.queue), agent, call, now_ns)
    if wrap_up is not None:
        step.events.append(wrap_up)
        return step
    step.events.extend(default_disposition(floor, agent, call.id, call.queue))
    if leg_gone and agent.legs() == (call.leg,):
        step.events.append(release.freed(floor, agent, call.queue, now_ns))
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


def leg_hung_up(floor: Floor, agent: Agent, leg: str, now_ns: int) -> m.Step:
    """The agent's phone said BYE, or its leg left Stasis: no talk any more, but not yet confirmed gone."""
    found = ringing.find(floor, leg)
    if found is not None and found[2].prompts:  # picked up, but nobody has pressed 1
        return ringing.phone_over(floor, *found[:2], leg, "not_confirmed", now_ns)
    call = floor.state.calls.get(agent.call)
    if call is None or call.state != "talking" or call.leg != leg:
        return m.Step([], [])
    if not call.bridged:
        return _never_bridged(floor, call, "agent hung up", now_ns, leg_gone=False)
    return talk_over(floor, call, "agent", now_ns)


def leg_gone(floor: Floor, agent: Agent, leg: str, cause: int, now_ns: int) -> m.Step:
    """A leg of the agent's phones is confirmed gone."""
    found = ringing.find(floor, leg)
    if found is not None:
        reason = ringing.end_of(found[2], cause)
        return ringing.phone_over(floor, *found[:2], leg, reason, now_ns, gone=True)
    call = floor.state.calls.get(agent.call)
    if call is not None and call.state == "talking" and call.leg == leg:
        if not call.bridged:
            return _never_bridged(floor, call, "agent hung up", now_ns, leg_gone=True)
        return talk_over(floor, call, "agent", now_ns, cause=cause, leg_gone=True)
    return ringing.leg_released(floor, agent, leg, now_ns)


def wrap_up_over(floor: Floor, agent: Agent, by: str, now_ns: int) -> m.Step:
    """The wrap-up's time is up, or the agent is done; the agent is free if the leg is gone."""
    step = m.Step([m.WrapUpEnded(agent.id, agent.call, by)], [])
    for leg in agent.legs():
        release.tell(step, agent.id, leg, now_ns)
    if not agent.leg:
        step.events.append(release.freed(floor, agent, "", now_ns))
    return step


# ---------------------------------------------------------------- recordings


def recording_begun(floor: Floor, begun: m.RecordingBegun, now_ns: int) -> m.Step:
    """AMI's word on one track."""
    for recording in floor.state.recordings.values():
        for track in recording.tracks:
            if (
                recording.dropped
                or recording.call != begun.call
                or track.channel != begun.channel
                or track.confirmed
            ):
                continue
            if begun.ok:
                event = m.RecordingStarted(begun.call, recording.id, track.track, track.channel, track.file)
                return m.Step([event], [])
            call = floor.state.calls.get(begun.call)
            if call is not None and call.state == "message":
                return voicemail.failed(floor, call, recording.id, begun.error, now_ns)
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


def drop(recording: Recording) -> m.StopRecord:
    """Stop a recording of which no talk came; the caller, who waits on, is its first track."""
    files = tuple(track.file for track in recording.tracks)
    return m.StopRecord(recording.call, recording.id, recording.tracks[0].channel, files)


def recording_dropped(floor: Floor, done: m.RecordingDropped) -> m.Step:
    """The shell stopped it and removed its files."""
    recording = floor.state.recordings.get(done.recording)
    if recording is None or not recording.dropped:
        return m.Step([], [])
    return m.Step([m.RecordingFailed(recording.call, recording.id, "never bridged", True)], [])


def recording_assembled(floor: Floor, done: m.RecordingAssembled) -> m.Step:
    """The shell joined the tracks of the call's ended recording, or could not."""
    for recording in floor.state.recordings.values():
        if recording.call == done.call and recording.ended and not recording.dropped:
            if done.ok:
                event = m.RecordingFinished(done.call, recording.id, done.file, done.duration_ns)
                return m.Step([event], [])
            failed = m.RecordingFailed(done.call, recording.id, done.error, True)
            return m.Step([failed], [m.Alarm(done.call, f"recording lost: {done.error}")])
    return m.Step([], [])
