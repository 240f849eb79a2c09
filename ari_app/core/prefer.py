"""For whom a call is kept at first: the owner of the account, or who spoke with the caller last."""

from __future__ import annotations

from ari_app.core import messages as m
from ari_app.core.call import Call
from ari_app.core.definition import Queue, seconds_ns
from ari_app.core.floor import Floor
from ari_app.core.matcher import Need, fits, groups, levels


def preferred(
    floor: Floor, call: Call, name: str, queue: Queue, skills: dict[str, int], now_ns: int
) -> tuple[str, m.PreferNote]:
    """The agent for whom the call that enters queue ``name`` now is kept ("" = nobody), and why.

    The owner of the account comes before the last agent. Nobody is waited for in vain: an agent who is
    signed out or does not qualify is passed over, but not one whom the caller requires: then the queue's
    rules (``max_wait_s``, ``leave_when``) decide. Once kept, always kept: after an overflow the time for the
    same agent does not begin anew; but nobody is kept for who could not take them in the queue they come to.
    """
    if call.prefer and call.queue:
        against = _unfit(floor, call.prefer, Need(name, skills=tuple(sorted(skills.items()))), queue)
        return ("", against) if against else (call.prefer, call.prefer_note)
    if call.preferred:
        return "", call.prefer_note
    note: m.PreferNote = ""
    for agent, by in _candidates(call, queue, now_ns):
        against = _against(floor, call, agent, Need(name, skills=tuple(sorted(skills.items()))), queue)
        if not against:
            return agent, by
        note = note or against
    if not note and queue.last_agent_within_s and call.known.memory:
        note = "memory_away"
    return "", note


def forsaken(floor: Floor) -> list[m.AnyEvent]:
    """The calls kept for an agent who has lost what it takes, or is gone: they are for anybody now."""
    found: list[m.AnyEvent] = []
    for call in floor.state.calls.values():
        if call.prefer and call.state in ("waiting", "offered"):
            need = Need(call.queue, call.step, tuple(sorted(call.skills.items())))
            if _unfit(floor, call.prefer, need, floor.queue(call.queue)):
                found.append(m.WaitAdvanced(call.id, call.step, call.priority, "", call.next_move_ns))
    return found


def _candidates(call: Call, queue: Queue, now_ns: int) -> list[tuple[str, m.PreferNote]]:
    found: list[tuple[str, m.PreferNote]] = []
    if call.owner:
        found.append((call.owner, "owner"))
    known = call.known
    within_ns = seconds_ns(queue.last_agent_within_s)
    if known.last_agent and within_ns and now_ns - known.last_spoke_ns <= within_ns:
        found.append((known.last_agent, "last"))
    return found


def _against(floor: Floor, call: Call, agent: str, need: Need, queue: Queue) -> m.PreferNote:
    unfit = _unfit(floor, agent, need, queue)
    if unfit or call.known.required:
        return unfit
    if floor.state.agents[agent].state == "signed_out":
        return "signed_out"
    return "" if queue.prefer_s else "no_time"


def _unfit(floor: Floor, agent: str, need: Need, queue: Queue) -> m.PreferNote:
    definition = floor.definition.agents.get(agent)
    if definition is None or agent not in floor.state.agents:
        return "unknown_agent"
    return "not_qualified" if fits(definition, agent, need, levels(queue, need), groups(queue, need)) else ""
