"""Every event in plain words, and why an agent got a call.

For the live view and for ``cordboard call ID``. The words hold ids, never people: an event has no
number or name of a caller. What came from outside (errors, reasons) is made printable here.
"""

from __future__ import annotations

from typing import assert_never

from ari_app.core import messages as m
from ari_app.core.definition import OverflowReason, Target
from ari_app.core.text import counted, duration, printable

NAMED_CANDIDATES = 3
"""How many free agents a sentence names with their idle times."""
MOST_CANDIDATES = 6

STATES: dict[str, str] = {
    "signed_out": "signed out",
    "ready": "ready",
    "reserved": "reserved",
    "ringing": "ringing",
    "talking": "talking",
    "holding": "on a call, which is on hold",
    "wrap_up": "in wrap-up",
    "paused": "paused",
    "not_responding": "not responding",
    "releasing": "hanging up",
    "unreachable": "unreachable (no phone registered)",
    "other_call": "on a call of their own",
    "resting": "resting",
    "lacks skills": "without the skills asked for",
    "ivr": "in the menu",
    "waiting": "waiting",
    "open": "open",
    "closed": "closed",
    "holiday": "closed for a holiday",
    "offered": "being offered",
    "ended": "ended",
    "message": "leaving a message",
    "forwarding": "ringing at a number outside",
    "forwarded": "talking at a number outside",
}

ACTIONS: dict[m.Action, str] = {
    "sign_in": "sign in",
    "sign_out": "sign out",
    "pause": "pause",
    "resume": "resume",
    "unlock": "unlock",
    "done": "end the wrap-up",
    "wrap_up": "ask for wrap-up",
}

LAPSES: dict[m.LapseReason, str] = {
    "no_answer": "did not answer",
    "busy": "was busy",
    "declined": "declined",
    "unreachable": "has no phone that can be reached",
    "failed": "could not be rung",
    "caller_gone": "is let go: the caller hung up",
    "not_dialled": "may never have been rung (a restart came in between)",
    "answered_elsewhere": "is let go: another agent answered",
    "not_confirmed": "did not press 1 (a voicemail may have picked up)",
    "lost": "was rung, but the leg went while nobody watched (a restart came in between)",
}

OUTCOMES: dict[m.Outcome, str] = {
    "answered": "answered",
    "abandoned": "abandoned in the queue",
    "left_in_flow": "left in the flow, outside any queue",
    "system": "lost by the system",
    "fallback": "taken to the static fallback",
    "rejected": "the number leads nowhere",
    "overflowed": "sent on by the queue's rules",
    "timed_out": "sent on after the longest wait",
    "forwarded": "talked at a number outside",
    "voicemail": "left a message",
}

GONE_ON: dict[OverflowReason, str] = {
    "full": "it is full",
    "timeout": "the longest wait is over",
    "no_agents": "no agent is there",
    "closed": "it is closed",
    "holiday": "it is closed for a holiday",
    "crisis": "the emergency switch is on",
}

PREFERENCES: dict[m.PreferNote, str] = {
    "owner": "who owns the account",
    "last": "who spoke with the caller last",
    "unknown_agent": "the preferred agent is not in the definition",
    "signed_out": "the preferred agent is signed out",
    "not_qualified": "the preferred agent does not serve this queue, or lacks a skill",
    "no_time": "the queue's prefer_s is 0",
    "memory_away": "PostgreSQL has not told yet who spoke with whom",
}

_ENDED_BY: dict[m.EndedBy, str] = {
    "caller": "the caller hung up",
    "agent": "the agent hung up",
    "system": "ended by Cordboard",
    "outside": "the other side hung up",
}

# What a reader of the live view need not see: steps between the facts that matter.
_QUIET = (
    m.NodeEntered
    | m.InputAwaited
    | m.TimeoutRenewed
    | m.OfferDialled
    | m.CallBridged
    | m.ForwardBridged
    | m.CallHeld
    | m.CallUnheld
    | m.ConfirmAsked
    | m.CallerReleased
    | m.WrapUpEnded
    | m.LegReleased
    | m.ReleaseAwaited
    | m.AgentRested
    | m.PinAccepted
    | m.SessionOpened
    | m.SessionNamed
    | m.SessionMoved
    | m.SessionClosed
    | m.RecordingStarted
    | m.HoursSet
)


def worth_showing(event: m.AnyEvent) -> bool:
    """Whether the event belongs into "what just happened" (a call's whole story shows all)."""
    if isinstance(event, m.OfferMade):
        return not event.why.decision  # told with the offer that has the reasons
    if isinstance(event, m.OfferLapsed):
        return event.reason != "answered_elsewhere"  # the answer is told
    return not isinstance(event, _QUIET)


def subject(event: m.AnyEvent) -> tuple[str, str]:
    """(call, agent) the event is about; "" where it is about none."""
    return getattr(event, "call", ""), getattr(event, "agent", "")


def state(name: str) -> str:
    """A state's name as people say it."""
    return STATES.get(name, name)


def explain(why: m.Why) -> str:
    """Why this agent got this call: the rule, the others, and who could not be asked."""
    chosen = min(why.candidates, key=lambda c: c.rank, default=None)
    who = chosen.agent if chosen else "nobody"
    if why.rung:
        were = "was" if len(why.rung) == 1 else "were"
        return f"{', '.join(why.rung)} {were} rung: {grounds(why)}"
    return f"{who} got the call: {grounds(why)}"


def grounds(why: m.Why) -> str:
    """The reasons alone, without the agent: what ``explain`` puts after "got the call:"."""
    if why.decision:
        return f"rung together with offer {why.decision}, which has the reasons"
    ranked = sorted(why.candidates, key=lambda c: c.rank)
    parts = [_choice(why, ranked)]
    preference = kept(why.only, why.preferred, why.prefer_note)
    if preference:
        parts.append(preference)
    if why.listed:
        parts.append(f"the caller is on the list {why.listed}")
    if why.skills:
        asked = ", ".join(f"{skill} {level}" for skill, level in sorted(why.skills.items()))
        relaxed = f" after {counted(why.step, 'step')} of relaxation" if why.step else ""
        parts.append(f"asked for{relaxed}: {asked}")
    if why.not_eligible:
        others = ", ".join(f"{n} {state(name)}" for name, n in sorted(why.not_eligible.items()))
        parts.append(f"not eligible: {others}")
    place = f"number {why.position}" if why.position > 1 else "first"
    place = f"{place} of {why.waiting}" if why.waiting > 1 else "alone in line"
    parts.append(f"the caller had waited {duration(why.waited_ns)} and was {place}")
    return "; ".join(parts)


def kept(only: str, preferred: str, note: m.PreferNote) -> str:
    """For whom a call is or was kept, and why; "" if that is no question."""
    because = f", {PREFERENCES[note]}" if note in ("owner", "last") else ""
    if only:
        return f"the call was being kept for {only}{because}"
    if preferred:
        return f"no longer kept for {preferred}{because}"
    return f"kept for nobody: {PREFERENCES[note]}" if note else ""


def _choice(why: m.Why, ranked: list[m.Candidate]) -> str:
    if not ranked:
        return why.rule
    free = max(why.free, len(ranked))
    if why.rung:
        return _all_rung(why, ranked, free)
    if free == 1:
        return f"the only free agent (idle {duration(ranked[0].idle_ns)})"
    named = ", ".join(_candidate(why, c) for c in ranked[:NAMED_CANDIDATES])
    rest = ", …" if free > NAMED_CANDIDATES else ""
    # Decisions of before the number was kept list six at most.
    more = " or more" if not why.free and free >= MOST_CANDIDATES else ""
    return f"{why.rule} of {free}{more} free agents ({named}{rest})"


def _all_rung(why: m.Why, ranked: list[m.Candidate], free: int) -> str:
    number = len(why.rung)
    named = ", ".join(_candidate(why, c) for c in ranked[:number])
    if number == free:
        who = "the only free agent" if free == 1 else f"all {free} free agents"
        return f"{why.rule}: {who} ({named})"
    left = ", ".join(_candidate(why, c) for c in ranked[number : number + NAMED_CANDIDATES])
    return f"{why.rule}: {number} of {free} free agents, the most that are rung at once ({named}; not {left})"


def _candidate(why: m.Why, candidate: m.Candidate) -> str:
    fit = f" fit {candidate.fit}," if why.skills else ""
    return f"{candidate.agent}{fit} {duration(candidate.idle_ns)}"


def describe(event: m.AnyEvent, at_ns: int) -> str:
    """One event, which happened at ``at_ns``, in one line of plain words. Total over all events."""
    match event:
        case m.EpochBegan() | m.DefinitionLoaded() | m.MatchingBegan() | m.MatchingHeld():
            return _engine(event)
        case (
            m.CallOpened()
            | m.NodeEntered()
            | m.InputAwaited()
            | m.MenuChosen()
            | m.MenuMissed()
            | m.CallQueued()
            | m.WaitAdvanced()
            | m.CallOverflowed()
            | m.ForwardMade()
            | m.ForwardLapsed()
            | m.ForwardConnected()
            | m.ForwardBridged()
            | m.MessageBegan()
            | m.TimeoutRenewed()
            | m.CallerReleased()
            | m.CallQuarantined()
        ):
            return _caller(event, at_ns)
        case m.OfferMade() | m.OfferDialled() | m.OfferRinging() | m.OfferLapsed() | m.JoinsEnded():
            return _offer(event, at_ns)
        case m.PhoneTried() | m.PhoneLapsed() | m.ConfirmAsked():
            return _one_phone(event, at_ns)
        case (
            m.CallConnected()
            | m.TalkFound()
            | m.ConnectFailed()
            | m.CallBridged()
            | m.CallHeld()
            | m.CallUnheld()
            | m.CallEnded()
        ):
            return _talk(event)
        case m.WrapUpStarted() | m.WrapUpRequested() | m.WrapUpExtended() | m.DispositionGiven():
            return _wrap_up(event, at_ns)
        case m.HoursSet() | m.HoursTurned() | m.CrisisSwitched() | m.AgentAltered():
            return _rules(event)
        case m.WrapUpEnded() | m.LegReleased() | m.ReleaseAwaited() | m.AgentFreed():
            return _let_go(event, at_ns)
        case m.AgentSignedIn() | m.AgentSignedOut() | m.AgentPaused() | m.AgentResumed() | m.AgentRested():
            return _wish(event)
        case m.AgentSeated():
            where = f"at {event.desk}" if event.desk else "at their own phone"
            return f"{event.agent} sits {where} ({printable(event.by, 80)})"
        case m.PhoneChanged():
            return _phone(event)
        case m.OwnCallBegan() | m.OwnCallAnswered() | m.OwnCallEnded():
            return _own(event)
        case m.PinRefused() | m.PinAccepted() | m.AgentUnlocked():
            return _pin(event, at_ns)
        case m.SessionOpened() | m.SessionNamed() | m.SessionMoved() | m.SessionClosed():
            return _session(event)
        case m.RecordingStarted() | m.RecordingFailed() | m.RecordingFinished():
            return _recording(event)
        case _:
            assert_never(event)


def _engine(event: m.EpochBegan | m.DefinitionLoaded | m.MatchingBegan | m.MatchingHeld) -> str:
    match event:
        case m.EpochBegan():
            version = printable(event.version, 40)
            return f"Cordboard {version} took over on {event.node} (epoch {event.epoch})"
        case m.DefinitionLoaded():
            d = event.definition
            parts = (
                counted(len(d.numbers), "number"),
                counted(len(d.queues), "queue"),
                counted(len(d.agents), "agent"),
            )
            return f"definition loaded: {', '.join(parts)}"
        case m.MatchingBegan():
            found = f"{counted(event.calls, 'live call')}, {counted(event.channels, 'channel')}"
            return f"Asterisk compared ({found}); calls are offered from now on"
        case m.MatchingHeld():
            return f"calls are not offered for now ({printable(event.reason, 80)}); calls in progress go on"


def _caller(
    event: m.CallOpened
    | m.NodeEntered
    | m.InputAwaited
    | m.MenuChosen
    | m.MenuMissed
    | m.CallQueued
    | m.WaitAdvanced
    | m.CallOverflowed
    | m.ForwardMade
    | m.ForwardLapsed
    | m.ForwardConnected
    | m.ForwardBridged
    | m.MessageBegan
    | m.TimeoutRenewed
    | m.CallerReleased
    | m.CallQuarantined,
    at_ns: int,
) -> str:
    match event:
        case m.CallOpened():
            came = "was found after a restart" if event.adopted else "came in"
            number = f" on {event.number}" if event.number else ""
            leads = f", flow {event.flow}" if event.flow else ": the dialled number leads nowhere"
            listed = f", on the list {event.known.listed}" if event.known.listed else ""
            return f"call {came}{number}{leads}{listed}"
        case m.NodeEntered():
            place = f'hears "{event.node}"' if event.node else "hears that the number is not in service"
            return place if event.attempt == 1 else f"{place} again (attempt {event.attempt})"
        case m.InputAwaited():
            return f"has {duration(event.until_ns - at_ns)} to press a key"
        case m.MenuChosen():
            return f'chose "{event.choice}" in "{event.node}"'
        case m.MenuMissed():
            wrong = "pressed no key" if event.reason == "timeout" else "pressed a key that is no choice"
            return f'{wrong} in "{event.node}" (attempt {event.attempt})'
        case m.CallQueued():
            priority = f" with priority {event.priority}" if event.priority else ""
            return f"waits in queue {event.queue}{priority}"
        case m.WaitAdvanced():
            return _advanced(event)
        case m.CallOverflowed():
            return _overflowed(event)
        case m.MessageBegan():
            return f"leaves a message, {duration(event.until_ns - at_ns)} at most"
        case m.ForwardMade():
            return f"a number outside is rung over {event.target.trunk}"
        case m.ForwardLapsed():
            return f"the number outside {LAPSES[event.reason]}: on to {_target(event.then)}"
        case m.ForwardConnected():
            return "somebody picked up at the number outside"
        case m.ForwardBridged():
            return "talks with the number outside"
        case m.TimeoutRenewed():
            return f"way to the static fallback put off; again in {duration(event.renew_at_ns - at_ns)}"
        case m.CallerReleased():
            return "the caller's channel is gone"
        case m.CallQuarantined():
            what = f"{event.failed} failed: {printable(event.error)}"
            return f"set apart and sent to the static fallback, because {what}"


def _advanced(event: m.WaitAdvanced) -> str:
    parts = [f"step {event.step} of relaxation"] if event.step else []
    if event.priority:
        parts.append(f"priority {event.priority}")
    kept = f"kept for {event.prefer}" if event.prefer else ""
    return "still waits: " + (
        ", ".join([*parts, *([kept] if kept else [])]) or "anybody may take the call now"
    )


def _overflowed(event: m.CallOverflowed) -> str:
    waited = f" after {duration(event.waited_ns)}" if event.waited_ns else ""
    to = _target(event.target)
    return f"leaves queue {event.queue}{waited}, because {GONE_ON[event.reason]}: on to {to}"


def _target(target: Target) -> str:
    if target.queue:
        return f"queue {target.queue}, the place is kept"
    if target.flow:
        return f"flow {target.flow}" + (f', node "{target.node}"' if target.node else "")
    if target.voicemail:
        return "a message after the tone"
    if target.number:
        return f"a number outside, over {target.trunk}"
    return "the end of the call" if target.hangup else "the static fallback"


def _offer(
    event: m.OfferMade | m.OfferDialled | m.OfferRinging | m.OfferLapsed | m.JoinsEnded, at_ns: int
) -> str:
    match event:
        case m.OfferMade():
            attempt = f"offer {event.attempt}, " if event.attempt > 1 else ""
            limit = f"{attempt}for up to {duration(event.until_ns - at_ns)}"
            to = ", ".join(event.why.rung) or event.agent
            return f"offered to {to} ({limit}), {grounds(event.why)}"
        case m.OfferDialled():
            return f"Asterisk rings {event.agent}'s phone"
        case m.OfferRinging():
            return f"{event.agent}'s phone rings"
        case m.OfferLapsed():
            counts = "; counts as a miss" if event.miss else ""
            no_more = event.reason in ("caller_gone", "answered_elsewhere")
            keeps = "" if no_more else "; the caller keeps their place"
            return f"{event.agent} {LAPSES[event.reason]}{counts}{keeps}"
        case m.JoinsEnded():
            return f"no more agents are rung ({GONE_ON[event.reason]}): sent on if nobody picks up"


def _one_phone(event: m.PhoneTried | m.PhoneLapsed | m.ConfirmAsked, at_ns: int) -> str:
    match event:
        case m.PhoneTried():
            limit = duration(event.phone.until_ns - at_ns)
            return f"{event.agent}'s next phone {event.phone.phone} is rung, for up to {limit}"
        case m.PhoneLapsed():
            return f"{event.agent} {LAPSES[event.reason]} on one phone; the others go on"
        case m.ConfirmAsked():
            return f"{event.agent}'s mobile is picked up and asked to press 1"


def _own(event: m.OwnCallBegan | m.OwnCallAnswered | m.OwnCallEnded) -> str:
    match event:
        case m.OwnCallBegan() if event.direction == "in":
            return f"{event.agent} is called directly"
        case m.OwnCallBegan():
            return f"{event.agent}'s phone dials{f' ({event.kind})' if event.kind else ''}"
        case m.OwnCallAnswered():
            return f"{event.agent}'s own call is answered"
        case m.OwnCallEnded():
            when = " while nobody watched" if event.unseen else ""
            return f"{event.agent}'s own call is over{when}"


def _talk(
    event: m.CallConnected
    | m.TalkFound
    | m.ConnectFailed
    | m.CallBridged
    | m.CallHeld
    | m.CallUnheld
    | m.CallEnded,
) -> str:
    match event:
        case m.TalkFound():
            kept = "recorded" if event.recording else "not recorded"
            return f"found in talk with {event.agent}, after the journal was lost ({kept}); they go on"
        case m.CallConnected():
            kept = "recorded" if event.recording else "not recorded"
            return f"{event.agent} answered after the caller waited {duration(event.waited_ns)} ({kept})"
        case m.ConnectFailed():
            error = printable(event.error)
            return f"Asterisk could not connect {event.agent}: {error}; the caller keeps their place"
        case m.CallBridged():
            return f"caller and {event.agent} hear each other"
        case m.CallHeld():
            return f"{event.agent}'s phone put the caller on hold"
        case m.CallUnheld():
            return f"{event.agent} took the caller back after {duration(event.hold_ns)} on hold"
        case m.CallEnded():
            return _ended(event)


def _ended(event: m.CallEnded) -> str:
    parts = [f"call ended: {OUTCOMES[event.outcome]}", _ENDED_BY[event.by]]
    if event.queue:
        parts.append(f"waited {duration(event.waited_ns)}")
    if event.outcome == "answered":
        parts.append(f"talked {duration(event.talk_ns)} with {event.agent}")
    if event.cause:
        parts.append(f"cause {event.cause}")  # ITU-T Q.850
    return ", ".join(parts)


def _wrap_up(
    event: m.WrapUpStarted | m.WrapUpRequested | m.WrapUpExtended | m.DispositionGiven, at_ns: int
) -> str:
    match event:
        case m.WrapUpStarted():
            most = "at most " if event.mode == "until_done" else ""
            return f"{event.agent} has {most}{duration(event.until_ns - at_ns)} of wrap-up"
        case m.WrapUpRequested():
            return f"{event.agent} asks for a wrap-up after this call{_by(event.by)}"
        case m.WrapUpExtended():
            return f"{event.agent} has {duration(event.until_ns - at_ns)} more of wrap-up{_by(event.by)}"
        case m.DispositionGiven():
            return f"{event.agent} says what came of the call: {event.disposition}{_by(event.by)}"


def _rules(event: m.HoursSet | m.HoursTurned | m.CrisisSwitched | m.AgentAltered) -> str:
    match event:
        case m.HoursSet():
            return f"opening hours known for {', '.join(sorted(event.boundaries)) or 'no queue'}"
        case m.HoursTurned():
            return f"hours {event.hours}: {state(event.state)} from now on"
        case m.CrisisSwitched():
            what = f"queue {event.queue}" if event.queue else "everything"
            return f"emergency switch {'on' if event.on else 'off'} for {what}{_by(event.by)}"
        case m.AgentAltered():
            parts: list[str] = []
            if event.skills is not None:
                levels = ", ".join(f"{skill} {level}" for skill, level in sorted(event.skills.items()))
                parts.append(f"skills {levels or 'none'}")
            if event.queues is not None:
                parts.append(f"queues {', '.join(event.queues) or 'none'}")
            return f"{event.agent} now has {'; '.join(parts) or 'what the files say'}{_by(event.by)}"


def _let_go(event: m.WrapUpEnded | m.LegReleased | m.ReleaseAwaited | m.AgentFreed, at_ns: int) -> str:
    match event:
        case m.WrapUpEnded():
            return f"{event.agent}'s wrap-up is over{_by(event.by)}"
        case m.LegReleased():
            return f"{event.agent}'s phone is confirmed hung up"
        case m.ReleaseAwaited():
            return f"{event.agent}'s phone is told to hang up; again in {duration(event.again_at_ns - at_ns)}"
        case m.AgentFreed():
            reason = f" ({printable(event.reason, 80)})" if event.reason else ""
            rest = event.not_before_ns - at_ns
            pause = f", and left alone for {duration(rest)}" if event.not_before_ns else ""
            return f"{event.agent} is {state(event.state)}{reason}{pause}"


def _wish(
    event: m.AgentSignedIn | m.AgentSignedOut | m.AgentPaused | m.AgentResumed | m.AgentRested,
) -> str:
    match event:
        case m.AgentSignedIn():
            return f"{event.agent} signed in{_by(event.by)}"
        case m.AgentSignedOut():
            what = "will be signed out after the present call" if event.deferred else "signed out"
            return f"{event.agent} {what}{_by(event.by)}"
        case m.AgentPaused():
            what = "will be paused after the present call" if event.deferred else "is paused"
            reason = f": {printable(event.reason, 80)}" if event.reason else ""
            return f"{event.agent} {what}{reason}{_by(event.by)}"
        case m.AgentResumed():
            return f"{event.agent} takes calls again{_by(event.by)}"
        case m.AgentRested():
            return f"{event.agent} may be offered calls again"


def _phone(event: m.PhoneChanged) -> str:
    if not event.reachable:
        return f"{event.agent}'s phone cannot be reached"
    if event.other_calls:
        return f"{event.agent}'s phone is on another call"
    return f"{event.agent}'s phone can be rung"


def _by(by: str) -> str:
    return f" (by {printable(by, 40)})" if by else ""


def _pin(event: m.PinRefused | m.PinAccepted | m.AgentUnlocked, at_ns: int) -> str:
    match event:
        case m.PinRefused():
            lock = event.locked_until_ns - at_ns
            locked = f"; locked for {duration(lock)}" if event.locked_until_ns else ""
            return f"wrong PIN for {event.agent}, {event.failures} in a row{locked}"
        case m.PinAccepted():
            return f"right PIN for {event.agent}"
        case m.AgentUnlocked():
            return f"{event.agent}'s PIN is unlocked{_by(event.by)}"


def _session(event: m.SessionOpened | m.SessionNamed | m.SessionMoved | m.SessionClosed) -> str:
    match event:
        case m.SessionOpened(agent=""):
            return f"the desk {event.desk} dialled the feature code to {ACTIONS[event.action]}"
        case m.SessionNamed():
            return f"it is {event.agent} who dialled"
        case m.SessionOpened():
            return f"{event.agent}'s phone dialled the feature code to {ACTIONS[event.action]}"
        case m.SessionMoved():
            said = {
                "agent": "asked who it is",
                "pin": "asked for the PIN",
                "choose": "asked what came of the call",
            }
            return f"the phone is {said.get(event.stage, 'told the result')}"
        case m.SessionClosed():
            return f"feature code finished: {printable(event.reason, 80)}"


def _recording(event: m.RecordingStarted | m.RecordingFailed | m.RecordingFinished) -> str:
    match event:
        case m.RecordingStarted():
            return f"recording of the {event.track}'s side began"
        case m.RecordingFailed():
            lost = "recording lost" if event.final else "one side is not recorded"
            return f"{lost}: {printable(event.error)}"
        case m.RecordingFinished():
            return f"recording finished: {printable(event.file)} ({duration(event.duration_ns)})"
