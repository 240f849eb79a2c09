"""One input in, events and effects out.

``step`` decides and changes nothing. ``advance`` is what the engine (and a replay) runs: step,
evolve, and then match until nothing more can be offered. An exception in ``step`` leaves the
floor as it was, so that the engine can set the one call apart.
"""

from __future__ import annotations

from typing import assert_never

from ari_app.core import (
    adoption,
    codes,
    desks,
    ivr,
    messages as m,
    offers,
    onward,
    own,
    policy,
    prefer,
    release,
    ringing,
    routing,
    staff,
    voicemail,
    wait,
    wrapup,
)
from ari_app.core.agent import Agent
from ari_app.core.call import Call
from ari_app.core.definition import Definition
from ari_app.core.floor import AGENT_DEADLINES, Floor


def advance(floor: Floor, item: m.AnyInput, now_ns: int) -> m.Step:
    """Decide on ``item`` at ``now_ns``, apply it, and make every offer that is possible now."""
    decided = step(floor, item, now_ns)
    settle(floor, decided, now_ns)
    return decided


def settle(floor: Floor, decided: m.Step, now_ns: int) -> None:
    """Apply what ``step`` decided, and add to it every offer that has become possible."""
    follow(floor, decided, now_ns)
    while (found := routing.match(floor, now_ns)) is not None:
        _apply(floor, decided, found, now_ns)


def follow(floor: Floor, decided: m.Step, now_ns: int) -> None:
    """Apply what ``step`` decided, and add to it what the queues' rules make of it; no offers yet."""
    for event in decided.events:
        floor.evolve(now_ns, event)

    def apply(found: m.Step) -> None:
        _apply(floor, decided, found, now_ns)

    if any(isinstance(event, m.AgentAltered | m.DefinitionLoaded) for event in decided.events):
        apply(m.Step(prefer.forsaken(floor), []))
    policy.enforce(floor, tuple(decided.events), apply, now_ns)


def _apply(floor: Floor, decided: m.Step, found: m.Step, now_ns: int) -> None:
    for event in found.events:
        floor.evolve(now_ns, event)
    decided.events.extend(found.events)
    decided.effects.extend(found.effects)


def step(floor: Floor, item: m.AnyInput, now_ns: int) -> m.Step:
    """The decision on one input. Pure: the same floor, input and instant give the same answer."""
    match item:
        case m.EngineStarted() | m.DefinitionGiven() | m.LinkFailed() | m.Recovered():
            return _engine(floor, item, now_ns)
        case m.CallArrived():
            return _arrived(floor, item, now_ns)
        case m.CodeDialled():
            return codes.dialled(floor, item, now_ns)
        case m.LegRinging():
            return ringing.ringing(floor, item.channel)
        case m.LegAnswered():
            return _leg_answered(floor, item.channel, now_ns)
        case m.LegHeld():
            return offers.leg_held(floor, item, now_ns)
        case m.HungUp():
            return _hung_up(floor, item.channel, now_ns)
        case m.ChannelLeft():
            return _left(floor, item, now_ns)
        case m.ChannelGone():
            return _gone(floor, item, now_ns)
        case m.DigitPressed():
            return _digit(floor, item, now_ns)
        case m.PromptEnded():
            return _prompt_ended(floor, item, now_ns)
        case m.AgentNamed():
            return codes.named(floor, item, now_ns)
        case m.PinChecked():
            return codes.pin_checked(floor, item, now_ns)
        case m.PhoneSeen() | m.OtherCallSeen():
            return _phone(floor, item)
        case m.OtherCallAnswered():
            return own.answered(floor, item)
        case m.DeadlinePassed():
            return _deadline(floor, item, now_ns)
        case m.AgentAsked():
            return _asked(floor, item, now_ns)
        case m.HoursGiven():
            return policy.hours_given(floor, item)
        case m.CrisisAsked():
            return policy.switch(floor, item)
        case m.AgentSkillsChanged():
            return staff.change(floor, item)
        case m.CallAsked():
            asked = floor.state.calls.get(item.call)
            return offers.hung_up_by_us(floor, asked, now_ns) if asked else m.Step([], [])
        case m.OriginateDone():
            forwarded = floor.forwarded_by(item.channel)
            if forwarded is not None:
                return onward.originate_done(floor, forwarded, item, now_ns)
            return ringing.originate_done(floor, item, now_ns)
        case m.BridgeDone():
            return offers.bridge_done(floor, item, now_ns)
        case m.RecordingBegun():
            return offers.recording_begun(floor, item, now_ns)
        case m.RecordingDropped():
            return offers.recording_dropped(floor, item)
        case m.RecordingAssembled():
            return offers.recording_assembled(floor, item)
        case m.StepFailed():
            return _quarantine(floor, item, now_ns)
        case _:
            assert_never(item)


def _engine(
    floor: Floor, item: m.EngineStarted | m.DefinitionGiven | m.LinkFailed | m.Recovered, now_ns: int
) -> m.Step:
    match item:
        case m.EngineStarted():
            began = m.EpochBegan(
                item.epoch, item.node, item.boot_id, item.offset_ns, item.version, fresh=not floor.state.epoch
            )
            return m.Step([began], [])
        case m.DefinitionGiven():
            return _defined(floor, item, now_ns)
        case m.LinkFailed():
            held = [m.MatchingHeld(item.reason)] if floor.state.matching else []
            return m.Step([*held], [])
        case m.Recovered():
            return m.Step([m.MatchingBegan(item.channels, item.calls)], [])


def _defined(floor: Floor, item: m.DefinitionGiven, now_ns: int) -> m.Step:
    """A new definition. Who waits in a queue that is no more would wait for ever: the fallback takes them."""
    if item.digest == floor.state.digest:
        return m.Step([], [])
    step = m.Step([m.DefinitionLoaded(item.definition, item.digest)], [])
    for call in floor.state.calls.values():
        if call.state in ("waiting", "offered") and call.queue not in item.definition.queues:
            gone = offers.caller_gone(floor, call, now_ns, outcome="fallback")
            step.events.extend(gone.events)
            step.effects.extend([*gone.effects, m.ToFallback(call.channel)])
    step.events.extend(_waits_anew(floor, item.definition, now_ns))
    return step


def _waits_anew(floor: Floor, definition: Definition, now_ns: int) -> list[m.WaitAdvanced]:
    """The waits that stand elsewhere under a new definition: its steps count from the entry, too."""
    moved = []
    for call in floor.state.calls.values():
        queue = definition.queues.get(call.queue)
        if queue is None or call.state not in ("waiting", "offered"):
            continue
        now = wait.advance(call, queue, now_ns)
        if (now.step, now.priority, now.prefer, now.next_move_ns) != (
            *(call.step, call.priority, call.prefer, call.next_move_ns),
        ):
            moved.append(now)
    return moved


def _digit(floor: Floor, item: m.DigitPressed, now_ns: int) -> m.Step:
    session = floor.state.sessions.get(item.channel)
    if session is not None:
        return codes.digit(floor, session, item.digit, now_ns)
    if item.channel in floor.by_leg:
        return offers.pressed(floor, item.channel, item.digit, now_ns)
    call = floor.call_of(item.channel)
    if call is not None and call.state == "message" and item.digit == voicemail.END_KEY:
        return voicemail.done(call, "caller", now_ns)
    if call is None or call.state != "ivr":
        return m.Step([], [])
    return ivr.digit(floor, call, item.digit, now_ns)


def _asked(floor: Floor, item: m.AgentAsked, now_ns: int) -> m.Step:
    agent = floor.state.agents.get(item.agent)
    if agent is None:
        return m.Step([], [])
    if item.action in ("done", "wrap_up"):
        return wrapup.asked(floor, agent, item.action, item.disposition, item.by, now_ns)
    if item.action == "sign_in" and not desks.has_phone(floor, agent.id):
        return m.Step([], [])
    heard = desks.heard_elsewhere(floor, agent) if item.action == "sign_in" else []
    return m.Step([*heard, *codes.act(agent, item.action, item.reason, item.by)], [])


def _arrived(floor: Floor, item: m.CallArrived, now_ns: int) -> m.Step:
    if item.channel in floor.by_channel or item.channel in floor.state.closing:
        return m.Step([], [])
    key = f"{floor.state.epoch}-{floor.state.opened + 1}"
    talk = item.talk if item.talk is not None and adoption.fits(floor, item.talk) else None
    if talk is not None:
        key = adoption.talk_of(talk.bridge)[0]
    flow = floor.definition.numbers.get(item.number, "")
    if flow and "" in floor.state.crisis:
        flow = floor.definition.crisis.flow or flow
    renew_at_ns = offers.absolute_ns(floor, now_ns)
    priority = item.priority + floor.definition.priorities.get(item.number, 0)
    if flow:
        priority += floor.definition.flows[flow].priority
    opened = m.CallOpened(
        key, item.channel, item.number, flow, renew_at_ns, item.adopted, priority, item.prefer, item.known
    )
    if talk is not None:
        return m.Step([opened, *adoption.take_up(floor, talk, now_ns)], [])
    # A call that is not on the floor yet, for the flow's first node to speak about.
    call = Call(key, item.channel, item.number, flow, now_ns, 0, renew_at_ns)
    call.caller_priority, call.prefer, call.owner = priority, item.prefer, item.prefer
    call.known = item.known
    if not flow:
        entered = ivr.reject(floor, call)
    else:
        entered = ivr.enter(floor, call, floor.definition.flows[flow].start, now_ns)
    return m.Step([opened, *entered.events], entered.effects)


def _leg_answered(floor: Floor, leg: str, now_ns: int) -> m.Step:
    forwarded = floor.forwarded_by(leg)
    if forwarded is not None:
        return onward.answered(floor, forwarded, leg)
    return offers.answered(floor, leg, now_ns)


def _hung_up(floor: Floor, channel: str, now_ns: int) -> m.Step:
    call = floor.call_of(channel)
    if call is not None:
        return offers.caller_gone(floor, call, now_ns)
    forwarded = floor.forwarded_by(channel)
    if forwarded is not None:
        return onward.leg_hung_up(floor, forwarded, now_ns)
    agent = floor.agent_of(channel)
    if agent is not None:
        return offers.leg_hung_up(floor, agent, channel, now_ns)
    return m.Step([], [])


def _left(floor: Floor, item: m.ChannelLeft, now_ns: int) -> m.Step:
    """StasisEnd. Without a hang-up before it, the dialplan took the caller (absolute time-out)."""
    channel = item.channel
    call = floor.call_of(channel)
    if item.forsaken and channel in floor.state.closing:
        # Their talk is over. They are outside Stasis, so nobody will tell that they are gone.
        step = _gone(floor, m.ChannelGone(channel), now_ns)
        step.effects.insert(0, m.Hangup(channel))
        return step
    if call is not None:
        step = offers.caller_gone(floor, call, now_ns, outcome="fallback")
        step.events.append(m.CallerReleased(call.id, channel))
        step.effects.extend(_assemblies(floor, channel, call.id))  # of a channel outside, no more is heard
        return step
    if channel in floor.state.closing or channel in floor.state.sessions:
        return _gone(floor, m.ChannelGone(channel), now_ns)
    return _hung_up(floor, channel, now_ns)


def _gone(floor: Floor, item: m.ChannelGone, now_ns: int) -> m.Step:
    channel = item.channel
    step = m.Step([], [])
    call = floor.call_of(channel)
    agent = floor.agent_of(channel)
    if call is not None:
        lost: m.Outcome | None = "system" if item.cause == m.LOST else None
        step = offers.caller_gone(floor, call, now_ns, outcome=lost, cause=max(item.cause, 0))
        step.events.append(m.CallerReleased(call.id, channel))
    elif channel in floor.state.closing:
        step.events.append(m.CallerReleased(floor.state.closing[channel], channel))
    elif agent is not None:
        step = offers.leg_gone(floor, agent, channel, item.cause, now_ns)
    elif (forwarded := floor.forwarded_by(channel)) is not None:
        step = onward.leg_gone(floor, forwarded, now_ns, cause=item.cause)
    elif channel in floor.state.sessions:
        step.events.append(m.SessionClosed(channel, "hung up"))
    if channel in floor.others:  # an agent's own call, a feature code's among them
        other = floor.state.agents[floor.others[channel]]
        left = tuple(c for c in other.other_calls if c != channel)
        step.events.append(m.PhoneChanged(other.id, other.reachable, left, other.offline))
    step.events.extend(own.ended(floor, item))
    if step.events:  # it was not known to be gone: told twice, it must not be assembled twice
        step.effects.extend(_assemblies(floor, channel, call.id if call else ""))
    return step


def _assemblies(floor: Floor, gone: str, ends: str) -> list[m.AnyEffect]:
    """The ended recordings that only ``gone`` still wrote to: both channels have let go of their files.

    ``ends``: the call that ends in this very step, "" = none.
    """
    return [
        offers.assemble(recording)
        for recording in floor.state.recordings.values()
        if (recording.ended or recording.call == ends)
        and not recording.dropped
        and any(track.channel == gone for track in recording.tracks)
        and not offers.being_written(floor, recording, but=gone)
    ]


def _phone(floor: Floor, item: m.PhoneSeen | m.OtherCallSeen) -> m.Step:
    """What Asterisk tells of an agent's phone beside our own legs."""
    agent = floor.state.agents.get(item.agent)
    if agent is None:
        return m.Step([], [])
    reachable, others, offline = agent.reachable, agent.other_calls, agent.offline
    if isinstance(item, m.PhoneSeen):
        reachable, offline = _presence(floor, agent, item)
    elif not (item.channel in (*others, *agent.legs()) or item.channel in floor.state.sessions):
        others = (*others, item.channel)
    step = m.Step([], [])
    if (reachable, others, offline) != (agent.reachable, agent.other_calls, agent.offline):
        step.events.append(m.PhoneChanged(agent.id, reachable, others, offline))
    if isinstance(item, m.OtherCallSeen):
        step.events.extend(own.seen(floor, item))
    return step


def _presence(floor: Floor, agent: Agent, item: m.PhoneSeen) -> tuple[bool, tuple[str, ...]]:
    """Whether any phone can be reached, and those that cannot. Of a mobile nobody knows."""
    definition = floor.definition.agents.get(agent.id)
    there = definition.all_phones() if definition else ()
    if not there or not item.phone:
        return item.reachable, ()
    lost = {*agent.offline} if agent.reachable or agent.offline else {p.endpoint for p in there}
    lost = lost - {item.phone} if item.reachable else lost | {item.phone}
    offline = tuple(phone.endpoint for phone in there if phone.endpoint in lost and not phone.mobile)
    return len(offline) < len(there), offline


def _prompt_ended(floor: Floor, item: m.PromptEnded, now_ns: int) -> m.Step:
    owner = item.playback.rsplit(".play.", 1)[0]
    call = floor.state.calls.get(owner)
    if call is not None:
        if call.playback != item.playback or call.state != "ivr":
            return m.Step([], [])
        return ivr.prompt_ended(floor, call, now_ns)
    if owner in floor.by_leg:
        return ringing.prompt_ended(floor, item, now_ns)
    session = floor.state.sessions.get(owner)
    if session is None or session.playback != item.playback:
        return m.Step([], [])
    return codes.prompt_ended(session)


def _deadline(floor: Floor, item: m.DeadlinePassed, now_ns: int) -> m.Step:
    if not floor.is_due(item.kind, item.key, item.due_ns):
        return m.Step([], [])
    if item.kind == "session":
        return codes.overdue(floor, floor.state.sessions[item.key], now_ns)
    if item.kind == "hours":
        return policy.hours_turned(floor, item.key, now_ns)
    if item.kind in AGENT_DEADLINES:
        return _agent_deadline(floor, item, now_ns)
    call = floor.state.calls.get(item.key)
    if call is not None:
        if item.kind == "renew":
            renewed = m.TimeoutRenewed(call.id, offers.absolute_ns(floor, now_ns))
            seconds = floor.definition.centre.absolute_timeout_s
            return m.Step([renewed], [m.SetAbsolute(call.channel, seconds)])
        if item.kind == "wait":
            return m.Step([wait.advance(call, offers.queue_of(floor, call.queue), now_ns)], [])
        if item.kind == "message":
            return voicemail.done(call, "system", now_ns)
        if item.kind == "forward":
            return onward.lapse(floor, call, "no_answer", now_ns)
        if item.kind == "menu":
            return ivr.timed_out(floor, call, now_ns)
        return ringing.overdue(floor, call, now_ns)
    return m.Step([], [])


def _agent_deadline(floor: Floor, item: m.DeadlinePassed, now_ns: int) -> m.Step:
    agent = floor.state.agents[item.key]
    if item.kind == "wrap":
        return wrapup.timed_out(floor, agent, now_ns)
    if item.kind == "release":
        return release.again(agent, now_ns)
    return m.Step([m.AgentRested(agent.id)], [])


def _quarantine(floor: Floor, item: m.StepFailed, now_ns: int) -> m.Step:
    call = floor.state.calls.get(item.call)
    channel = call.channel if call else item.channel
    key = call.id if call else ""  # what the input named may be no call, or one that is over
    events: list[m.AnyEvent] = [m.CallQuarantined(key, channel, item.failed, item.error)]
    effects: list[m.AnyEffect] = [m.Alarm(item.call, f"{item.failed} failed: {item.error}")]
    if call is None:
        if item.failed in ("CallArrived", "CodeDialled"):
            effects.append(m.ToFallback(channel))  # in Stasis, and on nobody's books
        return m.Step(events, effects)
    step = m.Step(events, effects)
    for agent in (*call.offers, call.agent):
        for leg in floor.state.agents[agent].legs() if agent else ():
            release.tell(step, agent, leg, now_ns)
    if call.state in ("forwarding", "forwarded"):
        effects.append(m.Hangup(call.leg))  # a number outside: no agent's, so nobody else lets it go
    if call.bridge:
        effects.append(m.DropBridge(call.bridge))
    effects.append(m.ToFallback(channel))
    return step
