"""Agents' wishes: sign in and out, pause and resume, from a command or by feature code and PIN.

The digits of a PIN never come here. The shell collects and checks them; the core sees a verdict.
"""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from ari_app.core import desks, ivr, messages as m, wrapup
from ari_app.core.agent import ON_CALL, Agent
from ari_app.core.definition import seconds_ns
from ari_app.core.floor import Floor, Session

ASK_WHO = ("agent-user",)
WRONG_WHO = ("agent-incorrect", "agent-user")
TAKEN = ("extension", "is-in-use", "vm-goodbye")
ASK_PIN = ("agent-pass",)
WRONG_PIN = ("agent-incorrect", "agent-pass")
GOODBYE = ("vm-goodbye",)
LOCKED = ("vm-invalidpassword", "vm-goodbye")
CONFIRM_LIMIT_S = 20.0
CONFIRMATIONS: dict[m.Action, tuple[str, ...]] = {
    "sign_in": ("agent-loginok",),
    "sign_out": ("agent-loggedoff",),
    "pause": ("de-activated",),
    "resume": ("activated",),
    "unlock": ("activated",),
    "done": ("auth-thankyou",),
    "wrap_up": ("activated",),
}
REFUSED = ("sorry",)
CHOOSE = ("beep",)
Stage = Literal["agent", "pin", "confirm", "choose"]
PAUSE_BY_CODE = "feature code"


def act(agent: Agent, action: m.Action, reason: str, by: str) -> list[m.AnyEvent]:
    """The events of a wish; none if the agent is there already. While held, it takes effect later."""
    held = agent.held()
    goal = agent.after if held else agent.state
    match action:
        case "sign_in":
            if goal == "signed_out":
                return [m.AgentSignedIn(agent.id, by)]
            if goal in ("paused", "not_responding"):
                return [m.AgentResumed(agent.id, by)]  # "I am here": whoever signs in takes calls
        case "sign_out":
            if goal != "signed_out":
                return [m.AgentSignedOut(agent.id, by, held)]
        case "pause":
            if goal not in ("signed_out",) and (goal != "paused" or reason != _reason(agent)):
                return [m.AgentPaused(agent.id, by, reason, held)]
        case "resume":
            if goal in ("paused", "not_responding"):
                return [m.AgentResumed(agent.id, by)]
        case "done" | "wrap_up":
            pass  # see ``wrapup``
        case "unlock":
            if agent.pin_failures or agent.locked_until_ns:
                return [m.AgentUnlocked(agent.id, by)]
    return []


def _reason(agent: Agent) -> str:
    return agent.after_reason if agent.held() else agent.reason


# ---------------------------------------------------------------- feature codes


def dialled(floor: Floor, code: m.CodeDialled, now_ns: int) -> m.Step:
    """A phone dialled a feature code."""
    agent = floor.state.agents.get(code.agent)
    if code.channel in floor.state.sessions:
        return m.Step([], [])
    if code.desk and code.action == "sign_in":
        return _ask_who(floor, code, now_ns)
    if agent is None:
        return m.Step([], [m.Hangup(code.channel)])
    opened = m.SessionOpened(code.channel, agent.id, code.action)
    session = Session(code.channel, agent.id, code.action)
    if agent.locked_until_ns > now_ns:
        return _tell(floor, session, LOCKED, m.Step([opened], []), now_ns)
    if code.action in floor.definition.codes.ask_pin:
        return _ask(floor, session, ASK_PIN, m.Step([opened], []), now_ns)
    return _confirm(floor, session, agent, m.Step([opened], []), now_ns)


def _ask_who(floor: Floor, code: m.CodeDialled, now_ns: int) -> m.Step:
    """At a desk anybody may sign in: first they type their extension."""
    session = Session(code.channel, "", code.action, code.desk)
    opened = m.SessionOpened(code.channel, "", code.action, code.desk)
    return _ask(floor, session, ASK_WHO, m.Step([opened], []), now_ns, "agent")


def named(floor: Floor, item: m.AgentNamed, now_ns: int) -> m.Step:
    """Whoever signs in at a desk has said who they are; the PIN comes next."""
    session = floor.state.sessions.get(item.channel)
    if session is None or session.stage != "agent":
        return m.Step([], [])
    agent = floor.state.agents.get(item.agent)
    if agent is None:
        if not item.entered or session.visit >= floor.definition.codes.pin_attempts:
            return _tell(floor, session, GOODBYE, m.Step([], []), now_ns)
        return _ask(floor, session, WRONG_WHO, m.Step([], []), now_ns, "agent")
    step = m.Step([m.SessionNamed(item.channel, agent.id)], [])
    session = replace(session, agent=agent.id)
    if agent.locked_until_ns > now_ns:
        return _tell(floor, session, LOCKED, step, now_ns)
    if session.action in floor.definition.codes.ask_pin:
        return _ask(floor, session, ASK_PIN, step, now_ns)
    return _confirm(floor, session, agent, step, now_ns)


def pin_checked(floor: Floor, verdict: m.PinChecked, now_ns: int) -> m.Step:
    """The shell compared the PIN. After too many failures the agent's PIN is locked for a while."""
    session = floor.state.sessions.get(verdict.channel)
    if session is None or session.stage != "pin":
        return m.Step([], [])
    agent = floor.state.agents.get(session.agent)
    if agent is None:  # a new definition has no such agent any more
        return _tell(floor, session, GOODBYE, m.Step([], []), now_ns)
    if verdict.ok and agent.locked_until_ns <= now_ns:
        lead = [m.PinAccepted(agent.id)] if agent.pin_failures else []
        return _confirm(floor, session, agent, m.Step([*lead], []), now_ns)
    codes = floor.definition.codes
    if not verdict.entered:
        return _tell(floor, session, GOODBYE, m.Step([], []), now_ns)
    failures = agent.pin_failures + 1
    locked_ns = now_ns + seconds_ns(codes.pin_lock_s) if failures >= codes.pin_lock_after else 0
    step = m.Step([m.PinRefused(agent.id, failures, locked_ns)], [])
    if locked_ns:
        step.effects.append(m.Alarm("", f"PIN of agent {agent.id} locked after {failures} failures"))
        return _tell(floor, session, LOCKED, step, now_ns)
    if session.visit - session.named_at >= codes.pin_attempts:
        return _tell(floor, session, GOODBYE, step, now_ns)
    return _ask(floor, session, WRONG_PIN, step, now_ns)


def prompt_ended(session: Session) -> m.Step:
    """The last word was said: hang up. (A PIN prompt's end means nothing; the collector waits.)"""
    if session.stage != "confirm":
        return m.Step([], [])
    return close(session, "done")


def overdue(floor: Floor, session: Session, now_ns: int) -> m.Step:
    """Nobody typed a PIN, or the prompt's end never came."""
    if session.stage != "confirm":
        return _tell(floor, session, GOODBYE, m.Step([], []), now_ns)
    return close(session, "overdue")


def close(session: Session, reason: str) -> m.Step:
    """End the session; the phone is hung up."""
    return m.Step([m.SessionClosed(session.channel, reason)], [m.Hangup(session.channel)])


def resume_sessions(floor: Floor) -> list[m.AnyEffect]:
    """After a restart: what the shell has to take up again for phones that were typing a PIN."""
    return [
        m.AskPin(s.channel, s.agent if s.stage == "pin" else "", s.until_ns, s.playback)
        for s in floor.state.sessions.values()
        if s.stage in ("agent", "pin")
    ]


def _confirm(floor: Floor, session: Session, agent: Agent, step: m.Step, now_ns: int) -> m.Step:
    if session.action in ("done", "wrap_up"):
        return _wrap_up(floor, session, agent, step, now_ns)
    if session.action == "sign_in":
        moved = desks.sit_down(floor, session, agent)
        if moved is None:
            return _tell(floor, session, TAKEN, step, now_ns)
        step.events.extend(moved)
    reason = PAUSE_BY_CODE if session.action == "pause" else ""
    step.events.extend(act(agent, session.action, reason, "feature code"))
    return _tell(floor, session, CONFIRMATIONS[session.action], step, now_ns)


def _wrap_up(floor: Floor, session: Session, agent: Agent, step: m.Step, now_ns: int) -> m.Step:
    """ "Done" asks for a disposition by one key, if the queue has some and the agent has not said it."""
    action: wrapup.Wish = "done" if session.action == "done" else "wrap_up"
    if action == "done" and not agent.disposition and _choices(floor, agent):
        until_ns = now_ns + seconds_ns(floor.definition.codes.pin_timeout_s)
        return _moved_with(floor, session, "choose", until_ns, CHOOSE, step)
    return _carry_out(floor, session, agent, action, "", step, now_ns)


def _choices(floor: Floor, agent: Agent) -> list[str]:
    if agent.state not in ON_CALL and agent.state != "wrap_up":
        return []
    queue = floor.definition.queues.get(wrapup.queue_of(floor, agent))
    return list(queue.dispositions) if queue else []


def is_private(floor: Floor, channel: str) -> bool:
    """Whether keys pressed on this channel may belong to a PIN: in a session, but for the choice of a
    disposition."""
    session = floor.state.sessions.get(channel)
    return session is not None and session.stage != "choose"


def digit(floor: Floor, session: Session, key: str, now_ns: int) -> m.Step:
    """A key in a session: 1 is the queue's first disposition, 2 its second, and so on."""
    agent = floor.state.agents.get(session.agent)
    if session.stage != "choose" or agent is None:
        return m.Step([], [])
    choices = _choices(floor, agent)
    place = int(key) if key.isdigit() else 0
    if not 1 <= place <= len(choices):
        return _tell(floor, session, REFUSED, m.Step([], []), now_ns)
    return _carry_out(floor, session, agent, "done", choices[place - 1], m.Step([], []), now_ns)


def _carry_out(
    floor: Floor,
    session: Session,
    agent: Agent,
    action: wrapup.Wish,
    disposition: str,
    step: m.Step,
    now_ns: int,
) -> m.Step:
    done = wrapup.asked(floor, agent, action, disposition, "feature code", now_ns)
    step.events.extend(done.events)
    step.effects.extend(done.effects)
    said = CONFIRMATIONS[session.action] if done.events else REFUSED
    return _tell(floor, session, said, step, now_ns)


def _ask(
    floor: Floor,
    session: Session,
    sounds: tuple[str, ...],
    step: m.Step,
    now_ns: int,
    stage: Literal["agent", "pin"] = "pin",
) -> m.Step:
    if session.playback:
        step.effects.append(m.StopPlay(session.playback))
    until_ns = now_ns + seconds_ns(floor.definition.codes.pin_timeout_s)
    moved = _moved(floor, session, stage, until_ns)
    step.events.append(moved)
    step.effects.append(m.Play(session.channel, moved.playback, sounds, ""))
    step.effects.append(
        m.AskPin(session.channel, session.agent if stage == "pin" else "", until_ns, moved.playback)
    )
    return step


def _tell(floor: Floor, session: Session, sounds: tuple[str, ...], step: m.Step, now_ns: int) -> m.Step:
    return _moved_with(floor, session, "confirm", now_ns + seconds_ns(CONFIRM_LIMIT_S), sounds, step)


def _moved_with(
    floor: Floor, session: Session, stage: Stage, until_ns: int, sounds: tuple[str, ...], step: m.Step
) -> m.Step:
    if session.playback:
        step.effects.append(m.StopPlay(session.playback))
    moved = _moved(floor, session, stage, until_ns)
    step.events.append(moved)
    step.effects.append(m.Play(session.channel, moved.playback, sounds, ""))
    return step


def _moved(floor: Floor, session: Session, stage: Stage, until_ns: int) -> m.SessionMoved:
    visit = session.visit + 1
    playback = ivr.playback_id(floor, session.channel, visit)
    return m.SessionMoved(session.channel, stage, visit, playback, until_ns)
