"""Interpreter of declarative flows: where a caller goes next, and what they hear there.

Every function returns the events and effects of one decision and changes nothing. A prompt is
always followed by music in the same breath (see ``Play``), so a caller never meets dead air,
not even while a menu waits for a key or if this program dies behind the prompt.
"""

from __future__ import annotations

from ari_app.core import messages as m, onward, prefer, voicemail, wait
from ari_app.core.call import OVERFLOW_NODE, Call
from ari_app.core.definition import HangupNode, MenuNode, PlayNode, Queue, QueueNode, Target, seconds_ns
from ari_app.core.floor import Floor

NO_SERVICE = ("ss-noservice",)
ENTRY_MUSIC = "default"


def playback_id(floor: Floor, owner: str, visit: int) -> str:
    """Playback ids carry the process's epoch: a repeated id would answer 201 and play twice."""
    return f"{owner}.play.{visit}.{floor.state.epoch}"


def enter(
    floor: Floor, call: Call, node: str, now_ns: int, *, attempt: int = 1, lead: m.Step | None = None
) -> m.Step:
    """Go to ``node`` of the call's flow. ``lead`` is what was decided just before, in the same step."""
    step = lead or m.Step([], [])
    if call.playback:
        step.effects.append(m.StopPlay(call.playback))
    for _ in range(len(_nodes(floor, call)) + 1):
        definition = _nodes(floor, call).get(node)
        match definition:
            case PlayNode(sounds=()):
                node = definition.next  # nothing to hear here
            case PlayNode(sounds=sounds) | HangupNode(sounds=sounds) if sounds:
                return _prompt(floor, call, node, 1, sounds, step)
            case MenuNode():
                return _prompt(floor, call, node, attempt, _menu_sounds(definition, attempt, step), step)
            case QueueNode(sounds=sounds):
                if sounds:
                    return _prompt(floor, call, node, 1, sounds, step)
                return queue(floor, call, definition, now_ns, step)
            case HangupNode():
                return hang_up(call, now_ns, step)
            case _:
                break
    return _astray(call, step)


def reject(floor: Floor, call: Call) -> m.Step:
    """The dialled number leads nowhere: say so, then hang up (``prompt_ended`` does)."""
    return _prompt(floor, call, "", 1, NO_SERVICE, m.Step([], []))


def prompt_ended(floor: Floor, call: Call, now_ns: int) -> m.Step:
    """The node's prompt is over (or could not be played, which must not hold the caller up)."""
    if call.then is not None:
        return _follow(floor, call, call.then, now_ns)
    definition = _nodes(floor, call).get(call.node)
    match definition:
        case PlayNode():
            return _arrive(floor, call, definition.next, now_ns)
        case MenuNode():
            return m.Step([m.InputAwaited(call.id, now_ns + seconds_ns(definition.timeout_s))], [])
        case QueueNode():
            return queue(floor, call, definition, now_ns, m.Step([], []))
        case None if call.flow:
            return _astray(call, m.Step([], []))
        case _:
            return hang_up(call, now_ns, m.Step([], []))


def digit(floor: Floor, call: Call, key: str, now_ns: int) -> m.Step:
    """A key was pressed in the flow. Who knows the menu may press during the greeting before it."""
    here = _nodes(floor, call).get(call.node)
    early = isinstance(here, PlayNode)
    menu = _nodes(floor, call).get(here.next) if isinstance(here, PlayNode) else here
    node = here.next if isinstance(here, PlayNode) else call.node
    if not isinstance(menu, MenuNode):
        return m.Step([], [])
    choice = menu.choices.get(key)
    if choice is not None:
        chosen = m.MenuChosen(call.id, node, choice)
        return enter(floor, call, choice, now_ns, lead=m.Step([chosen], []))
    if early:
        return m.Step([], [])
    return _missed(floor, call, menu, "invalid", now_ns)


def timed_out(floor: Floor, call: Call, now_ns: int) -> m.Step:
    """Nobody pressed a key in time."""
    menu = _nodes(floor, call).get(call.node)
    if not isinstance(menu, MenuNode):
        return _astray(call, m.Step([], []))
    return _missed(floor, call, menu, "timeout", now_ns)


def queue(
    floor: Floor, call: Call, node: QueueNode, now_ns: int, step: m.Step, *, onward: bool = False
) -> m.Step:
    """The wait begins. The first entry keeps the caller's place through everything later.

    A queue and skills that the caller's list names count beside the flow's; ``onward``: a queue's own rules
    lead here, which no list overrides.
    """
    name = node.queue
    if not onward and call.known.queue in floor.definition.queues:
        name = call.known.queue
    definition = floor.definition.queues.get(name) or Queue(name=name)
    entered_ns = call.entered_ns or now_ns
    base = definition.priority + node.priority + call.caller_priority
    skills = dict(node.skills)
    for skill, level in call.known.skills.items():
        skills[skill] = max(level, skills.get(skill, 0))
    who, note = prefer.preferred(floor, call, name, definition, skills, now_ns)
    begun = wait.progress(
        definition,
        entered_ns=entered_ns,
        queued_ns=now_ns,
        base=base,
        prefer=who,
        now_ns=now_ns,
        required=call.known.required,
    )
    queued = m.CallQueued(call.id, name, entered_ns, base, skills, begun.prefer, begun.next_ns, note)
    step.events.append(queued)
    step.effects.append(m.StartMusic(call.channel, music_of(floor, name)))
    return step


def go_on(floor: Floor, call: Call, now_ns: int, target: Target | None) -> m.Step:
    """A queue has sent the caller on to ``target``: first what there is to say."""
    if target is not None and target.voicemail:
        # No music behind the tone: it would speak into the message. A death there is a moment of silence.
        return _prompt(floor, call, OVERFLOW_NODE, 1, voicemail.sounds(target), m.Step([], []), music="")
    if target is not None and target.sounds:
        return _prompt(floor, call, OVERFLOW_NODE, 1, target.sounds, m.Step([], []))
    return _follow(floor, call, target, now_ns)


def sent_on(call: Call) -> m.Outcome:
    """The outcome of a call that ends after its queue's rules led out of the centre."""
    return "timed_out" if call.overflow == "timeout" else "overflowed"


def _follow(floor: Floor, call: Call, target: Target | None, now_ns: int) -> m.Step:
    """Where the overflow leads. What a new definition no longer has is replaced by the static fallback."""
    if target is not None and target.voicemail:
        return voicemail.begin(call, target, now_ns)
    if target is not None and target.number:
        return onward.dial(floor, call, target, now_ns)
    if target is not None and target.queue in floor.definition.queues:
        return _next_queue(floor, call, target.queue, now_ns)
    flow = floor.definition.flows.get(target.flow) if target is not None else None
    if target is not None and flow is not None:
        return _arrive(floor, call, target.node or flow.start, now_ns)
    outcome = sent_on(call)
    waited_ns = call.waited_ns(now_ns)
    hangs_up = target is not None and target.hangup
    ended = m.CallEnded(call.id, outcome, "system", call.queue, "", waited_ns, 0, to_fallback=not hangs_up)
    return m.Step([ended], [m.Hangup(call.channel) if hangs_up else m.ToFallback(call.channel)])


def _next_queue(floor: Floor, call: Call, name: str, now_ns: int) -> m.Step:
    """The place, the flow's skills and what the flow and the caller add to the priority are kept."""
    before = floor.definition.queues.get(call.queue) or Queue(name=call.queue)
    extra = call.base_priority - before.priority - call.caller_priority
    node = QueueNode(name, priority=extra, skills=call.skills)
    return queue(floor, call, node, now_ns, m.Step([], []), onward=True)


def _astray(call: Call, step: m.Step) -> m.Step:
    """A new definition has no such node any more; the static fallback looks after the caller."""
    step.events.append(m.CallEnded(call.id, "fallback", "system", "", "", 0, 0))
    step.effects.append(m.ToFallback(call.channel))
    return step


def hang_up(call: Call, now_ns: int, step: m.Step) -> m.Step:
    """The flow is at its end."""
    outcome: m.Outcome = "left_in_flow" if call.flow else "rejected"
    step.events.append(m.CallEnded(call.id, outcome, "system", "", "", 0, 0))
    step.effects.append(m.Hangup(call.channel))
    return step


def music_of(floor: Floor, queue_name: str) -> str:
    """The music class callers of this queue hear."""
    definition = floor.definition.queues.get(queue_name)
    return definition.music if definition else ENTRY_MUSIC


def _nodes(floor: Floor, call: Call) -> dict[str, PlayNode | MenuNode | QueueNode | HangupNode]:
    flow = floor.definition.flows.get(call.flow)
    return flow.nodes if flow else {}


def _arrive(floor: Floor, call: Call, node: str, now_ns: int) -> m.Step:
    step = enter(floor, call, node, now_ns)
    # The prompt that just ended needs no stop.
    step.effects = [e for e in step.effects if e != m.StopPlay(call.playback)]
    return step


def _missed(floor: Floor, call: Call, menu: MenuNode, reason: str, now_ns: int) -> m.Step:
    missed = m.MenuMissed(call.id, call.node, call.attempt, "invalid" if reason == "invalid" else "timeout")
    lead = m.Step([missed], [])
    if call.attempt >= menu.attempts:
        return enter(floor, call, menu.on_failure, now_ns, lead=lead)
    return enter(floor, call, call.node, now_ns, attempt=call.attempt + 1, lead=lead)


def _menu_sounds(menu: MenuNode, attempt: int, step: m.Step) -> tuple[str, ...]:
    if attempt == 1:
        return menu.sounds
    invalid = any(isinstance(e, m.MenuMissed) and e.reason == "invalid" for e in step.events)
    return (menu.invalid_sounds if invalid else menu.timeout_sounds) + menu.sounds


def _prompt(
    floor: Floor,
    call: Call,
    node: str,
    attempt: int,
    sounds: tuple[str, ...],
    step: m.Step,
    *,
    music: str = ENTRY_MUSIC,
) -> m.Step:
    visit = call.visit + 1
    playback = playback_id(floor, call.id, visit)
    step.events.append(m.NodeEntered(call.id, node, visit, attempt, playback))
    step.effects.append(m.Play(call.channel, playback, sounds, music))
    return step
