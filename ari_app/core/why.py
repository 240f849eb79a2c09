"""Why: in plain words, why a caller still waits, why an agent has no call, and a decision made again.

``caller`` and ``agent`` look at a floor as it is; ``replay_decision`` folds the journal up to one
offer, decides again and gives the whole list that the stored reason (``messages.Why``) is the head of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from msgspec import Struct

from ari_app.core import messages as m, routing, words
from ari_app.core.call import Call
from ari_app.core.definition import Queue, Relax, seconds_ns
from ari_app.core.floor import Floor
from ari_app.core.matcher import Need, fits, groups, levels
from ari_app.core.routing import Standing
from ari_app.core.step import advance
from ari_app.core.text import counted, duration

NAMED = 8
"""How many agents or callers a line names; the rest are counted."""


# ---------------------------------------------------------------- a caller, now


def caller(floor: Floor, key: str, now_ns: int) -> tuple[str, ...]:
    """Why this call is where it is, a line a fact; empty if there is no such live call."""
    call = floor.state.calls.get(key)
    if call is None:
        return ()
    if call.state == "ivr":
        return (f"{key} is in the menu ({call.node or 'its beginning'}): it has not asked for an agent yet",)
    waited = duration(call.waited_ns(now_ns))
    if call.state == "message":
        left = duration(call.message_until_ns - now_ns)
        return (f"{key} leaves a message, for up to {left} more, sent on by {call.queue}",)
    if call.state == "forwarding":
        left = duration(call.forward_until_ns - now_ns)
        return (f"{key} rings at a number outside for up to {left} more, sent on by {call.queue}",)
    if call.state == "forwarded":
        return (f"{key} talks at a number outside, sent on by {call.queue}",)
    if call.state == "talking":
        return (f"{key} talks with {call.agent}, after a wait of {waited}",)
    ringing = _ringing(floor, call, waited, now_ns)
    if call.state != "waiting":
        return ringing
    queue = floor.queue(call.queue)
    lines = [_place(floor, call, waited), *_asks(floor, call, queue, now_ns)]
    if not floor.state.matching:
        lines.append("no calls are offered at present: Asterisk cannot be commanded, or is being compared")
    lines += [*_others(floor, call), *_coming(floor, call, queue, now_ns)]
    return tuple(lines)


def _ringing(floor: Floor, call: Call, waited: str, now_ns: int) -> tuple[str, ...]:
    lines = []
    for offer in call.offers.values():
        left = duration(offer.until_ns - now_ns)
        asked = any(leg.prompts for leg in offer.live().values())
        mobile = "; a mobile was picked up and is asked to press 1" if asked else ""
        lines.append(
            f"{call.id} rings at {offer.agent} for up to {left} more; the caller has waited {waited}{mobile}"
        )
    if floor.wants_agents(call):
        lines.append("whoever becomes free and qualifies is rung, too")
    return tuple(lines)


def _place(floor: Floor, call: Call, waited: str) -> str:
    ahead = floor.position(call) - 1
    before = f"{counted(ahead, 'caller')} of the queue before it" if ahead else "first of the queue"
    priority = f", priority {call.priority}" if call.priority else ""
    if call.known.listed:
        priority += f", on the list {call.known.listed}"
    return f"{call.id} has waited {waited}, in {call.queue}: {before}{priority}"


def _asks(floor: Floor, call: Call, queue: Queue, now_ns: int) -> list[str]:
    need = floor.matcher.need_of(call.id) or Need(call.queue)
    lines = []
    wanted = levels(queue, need)
    if wanted or queue.relax:
        passed = f" ({call.step} of {len(queue.relax)} steps given up)" if queue.relax else ""
        lines.append(f"asks for {_skills(wanted)}{passed}")
    if call.prefer:
        left = call.queued_ns + seconds_ns(queue.prefer_s) - now_ns
        until = "as long as it waits here" if call.known.required else f"for {duration(left)} more"
        because = f", {words.PREFERENCES[call.prefer_note]}," if call.prefer_note else ""
        lines.append(f"is kept for {call.prefer}{because} {until}")
    elif said := words.kept("", call.preferred, call.prefer_note):
        lines.append(said)
    return lines


def _skills(wanted: dict[str, int]) -> str:
    return ", ".join(f"{skill} {level}" for skill, level in sorted(wanted.items())) or "no skill"


def _others(floor: Floor, call: Call) -> list[str]:
    """Who could have taken it, and why not: a line a reason, the nearest to taking it first."""
    by_reason: dict[tuple[str, str], list[str]] = defaultdict(list)
    for standing in routing.standings(floor, call):
        if standing.reason != "other queue":
            by_reason[standing.verdict, standing.reason].append(standing.agent)
    if not by_reason:
        return ["no agent serves the queue"]
    return [f"{_reason(*key)}: {_listed(agents)}" for key, agents in by_reason.items()]


def _reason(verdict: str, reason: str) -> str:
    if verdict == "free":
        return "free, and next to be offered a call"
    if verdict == "not free":
        return f"qualified, but {words.state(reason)}"
    if reason == "other queue":
        return "serves other queues"
    if reason == "other agent":
        return "not the agent it is kept for"
    return f"not enough of the {reason}"


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest


def _coming(floor: Floor, call: Call, queue: Queue, now_ns: int) -> list[str]:
    """The next step that means something to this call: a queue's steps may be about others' skills."""
    wanted = levels(queue, floor.matcher.need_of(call.id) or Need(call.queue))
    for relaxed in queue.relax[call.step :]:
        lower = {skill: n for skill, n in relaxed.requires.items() if n < wanted.get(skill, 0)}
        drop = tuple(skill for skill in relaxed.drop if skill in wanted)
        if lower or drop or relaxed.groups:
            left = duration(call.queued_ns + seconds_ns(relaxed.after_s) - now_ns)
            return [f"in {left}: {given_up(Relax(relaxed.after_s, lower, drop, relaxed.groups))}"]
    return []


def given_up(relaxed: Relax) -> str:
    """One step of relaxation in words."""
    parts = []
    if relaxed.requires:
        parts.append(f"{_skills(relaxed.requires)} will do")
    if relaxed.drop:
        parts.append(f"{', '.join(relaxed.drop)} is no longer asked for")
    if relaxed.groups:
        parts.append(f"the agents of {', '.join(relaxed.groups)} are added")
    return "; ".join(parts)


# ---------------------------------------------------------------- an agent, now


def agent(floor: Floor, name: str, now_ns: int) -> tuple[str, ...]:
    """Why this agent has no call, or has one; empty if there is no such agent."""
    record = floor.state.agents.get(name)
    if record is None:
        return ()
    since = f", for {duration(now_ns - record.since_ns)}" if record.since_ns else ""
    reason = f" ({record.reason})" if record.reason else ""
    standing = record.standing()
    if standing == "resting":
        left = duration(record.not_before_ns - now_ns)
        return (f"{name} missed or refused an offer and is left alone for {left} more",)
    if standing != "free":
        on = f", call {record.call}" if record.call else ""
        return (f"{name} is {words.state(standing)}{reason}{on}{since}: no calls are offered",)
    idle = duration(now_ns - record.idle_since_ns)
    lines = [f"{name} is free, idle for {idle}"]
    if not floor.state.matching:
        lines.append("no calls are offered at present: Asterisk cannot be commanded, or is being compared")
    return (*lines, *_not_theirs(floor, name))


def _not_theirs(floor: Floor, name: str) -> list[str]:
    definition = floor.definition.agents.get(name)
    if definition is None:
        return [f"{name} is not in the definition any more"]
    by_reason: dict[str, list[str]] = defaultdict(list)
    for call in floor.state.calls.values():
        need = floor.matcher.need_of(call.id)
        if need is None:
            continue
        queue = floor.definition.queues.get(need.queue) or Queue(name=need.queue)
        lack = fits(definition, name, need, levels(queue, need), groups(queue, need))
        by_reason[lack].append(call.id)
    if not by_reason:
        return ["nobody waits"]
    texts = {
        "": "could be theirs",
        "other queue": "in queues they do not serve",
        "other agent": "kept for another agent",
    }
    return [
        f"{texts.get(lack, f'ask for more of the {lack}')}: {_listed(calls)}"
        for lack, calls in sorted(by_reason.items())
    ]


# ---------------------------------------------------------------- a decision, made again


Past = tuple[int, int, m.AnyInput, Sequence[m.AnyEvent]]
"""One input of the journal: the number of its first event, its instant, itself, its events."""


class Replayed(Struct, frozen=True):
    """``same``: deciding again gave what was decided. ``ranked``: all who were free and qualified,
    best first; ``others``: everybody else with the reason."""

    made: m.OfferMade
    at_ns: int
    same: bool
    ranked: list[m.Candidate]
    others: list[Standing]


class NoDecision(Exception):
    """The number is not that of an offer among these entries."""


def replay_decision(floor: Floor, entries: Iterable[Past], seq: int) -> Replayed:
    """Fold ``entries`` onto ``floor`` (as it was before the first) up to event ``seq``, an offer, and
    decide again. The floor is at that instant afterwards.

    Raises:
        NoDecision: there is no such event, or it is no ``OfferMade``.
    """
    for first, at_ns, item, events in entries:
        if first <= seq < first + len(events):
            return _again(floor, at_ns, item, events, seq - first)
        for event in events:
            floor.evolve(at_ns, event)
    raise NoDecision(f"event {seq} is not in the journal")


def _again(floor: Floor, at_ns: int, item: m.AnyInput, events: Sequence[m.AnyEvent], index: int) -> Replayed:
    made = events[index]
    if not isinstance(made, m.OfferMade):
        raise NoDecision(f"{type(made).__name__} is no offer")
    decided = advance(Floor.restore(floor.dump()), item, at_ns).events
    same = decided[: index + 1] == list(events[: index + 1])
    # What was decided counts, whatever this version would decide: the list is of the floor as it was.
    for event in events[:index]:
        if isinstance(event, m.OfferMade) and (event.call, event.attempt) == (made.call, made.why.decision):
            made = event  # this offer and that are one decision
            break
        floor.evolve(at_ns, event)
    return Replayed(made, at_ns, same, *_whole_list(floor, made, at_ns))


def _whole_list(floor: Floor, made: m.OfferMade, now_ns: int) -> tuple[list[m.Candidate], list[Standing]]:
    """Everybody, as the floor stood when this offer was made."""
    call = floor.state.calls[made.call]
    others = [s for s in routing.standings(floor, call) if s.verdict != "free"]
    bucket = floor.matcher.bucket_of(call.id)
    if bucket is None:
        return [], others
    queue = floor.definition.queues.get(call.queue) or Queue(name=call.queue)
    names = routing.ranked(floor, call, bucket, queue, now_ns, len(bucket.free))
    agents = floor.state.agents
    return [
        m.Candidate(name, now_ns - agents[name].idle_since_ns, rank, -bucket.eligible[name])
        for rank, name in enumerate(names, 1)
    ], others


def decision(replayed: Replayed) -> tuple[str, ...]:
    """A decision made again, in lines."""
    made = replayed.made
    rung = made.why.rung or (made.agent,)
    lines = [f"{made.call}, offer {made.attempt}, to {', '.join(rung)}: {words.grounds(made.why)}"]
    for one in replayed.ranked:
        chosen = " <- was offered the call" if one.agent in rung else ""
        lines.append(f"  {one.rank}. {one.agent}: fit {one.fit}, idle {duration(one.idle_ns)}{chosen}")
    lines += [f"  {other.agent}: {_reason(other.verdict, other.reason)}" for other in replayed.others]
    if replayed.same:
        lines.append("deciding again from the journal gives the same")
    else:
        lines.append("this version would decide otherwise: the rules were others when the call was offered")
    return tuple(lines)
