"""What must hold always: after every step, at rest, and over a whole run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ari_app.core import ledger, ledger_rows, messages as m, policy, routing, topology
from ari_app.core.floor import CONVERSING, Floor
from ari_app.core.matcher import DYNAMIC
from ari_app.core.step import advance
from tests.fakes.pbx import Broken

if TYPE_CHECKING:
    from tests.fakes.centre import Centre


def _must(holds: bool, text: str) -> None:
    if not holds:
        raise Broken(text)


def same(a: Floor, b: Floor) -> bool:
    """Equal in everything: records, indexes and what is due next."""
    lines = [{bucket.need: bucket.line for bucket in f.matcher.buckets() if bucket.line} for f in (a, b)]
    free = [{name for name in f.definition.agents if f.matcher.is_free(name)} for f in (a, b)]
    in_line = [{queue: count for queue, count in f.in_line.items() if count} for f in (a, b)]
    return (
        a.state == b.state
        and a.definition == b.definition
        and in_line[0] == in_line[1]
        and a.by_channel == b.by_channel
        and a.by_leg == b.by_leg
        and a.onward == b.onward
        and lines[0] == lines[1]
        and free[0] == free[1]
        and a.members == b.members
        and a.next_due_ns() == b.next_due_ns()
    )


# ---------------------------------------------------------------- after every step


def after_step(floor: Floor, step: m.Step, now_ns: int) -> None:
    """One agent, one call; nobody idle while somebody waits; who waited longest goes first."""
    _one_to_one(floor)
    _indexes(floor)
    _in_order(floor, step)
    _rules_hold(floor, now_ns)
    if floor.state.matching:
        _work_conserved(floor)


def _one_to_one(floor: Floor) -> None:
    busy: Counter[str] = Counter()
    for call in floor.state.calls.values():
        unbridged = call.state == "talking" and not call.bridged
        fair = bool(call.offers) if call.state == "offered" else not call.offers or unbridged
        _must(fair, f"{call.id}: offers and state disagree")
        outside = call.state in ("forwarding", "forwarded")
        _must(
            outside == (floor.onward.get(call.leg) == call.id), f"{call.id}: leg outside and state disagree"
        )
        for name, offer in call.offers.items():
            busy[name] += 1
            agent = floor.state.agents[name]
            _must(agent.state in ("reserved", "ringing"), f"{call.id} rings {name}, who is {agent.state}")
            _must(bool(offer.live()) and agent.call == call.id, f"{name} does not know of {call.id}")
            _must(set(offer.live()) <= set(agent.legs()), f"{name} does not know of a leg of {call.id}")
        if call.agent:
            busy[call.agent] += 1
            agent = floor.state.agents[call.agent]
            _must(agent.state in ("talking", "holding"), f"{call.id} has {call.agent}, who is {agent.state}")
            _must((agent.call, agent.leg) == (call.id, call.leg), f"{call.agent} does not know of {call.id}")
    _must(all(n == 1 for n in busy.values()), f"on two calls: {busy}")
    for agent in floor.state.agents.values():
        if agent.state in ("reserved", "ringing", "talking", "holding"):
            _must(busy[agent.id] == 1, f"{agent.id} is {agent.state} for no call")
        if not agent.held():
            _must(not agent.leg and not agent.call, f"{agent.id} is {agent.state} with {agent.leg}")
        legs = agent.legs()
        _must(
            len(set(legs)) == len(legs) and set(agent.told) <= set(legs), f"{agent.id}: {legs} {agent.told}"
        )
        _must(bool(agent.told) == bool(agent.release_at_ns), f"{agent.id}: {agent.told} without a deadline")


def _indexes(floor: Floor) -> None:
    state = floor.state
    _must(floor.by_channel == {c.channel: c.id for c in state.calls.values()}, "by_channel")
    _must(floor.by_leg == {leg: a.id for a in state.agents.values() for leg in a.legs()}, "by_leg")
    buckets = list(floor.matcher.buckets())
    lined = sorted(entry[3] for bucket in buckets for entry in bucket.line)
    _must(lined == sorted(c.id for c in state.calls.values() if floor.wants_agents(c)), "lines")
    _must(all(b.line == sorted(b.line) for b in buckets), "lines are not in order")
    for bucket in buckets:
        free = {name for name in bucket.eligible if floor.matcher.is_free(name)}
        _must(set(bucket.free) == free, f"{bucket.need}: free agents")
        if bucket.strategy not in DYNAMIC:
            ranked = floor.matcher.ranked(bucket, len(free) + 1)
            _must(sorted(ranked) == sorted(free), f"{bucket.need}: heap")
        stand = Counter(a.standing() for name, a in state.agents.items() if name in bucket.eligible)
        del stand["free"]
        _must({s: n for s, n in bucket.standings.items() if n} == stand, f"{bucket.need}: standings")
        _must((bucket in floor.matcher.active) == bucket.active(), f"{bucket.need}: active")


def _rules_hold(floor: Floor, now_ns: int) -> None:
    """Nobody waits where a rule says that they must not."""
    in_line = Counter(c.queue for c in floor.state.calls.values() if c.state in ("waiting", "offered"))
    _must(in_line == Counter(floor.in_line), f"in line: {in_line}, counted {floor.in_line}")
    if not floor.state.matching:
        return
    for call in floor.state.calls.values():
        queue = floor.definition.queues.get(call.queue)
        # A time that is over is heard of by its deadline, not by any step.
        if floor.wants_agents(call) and queue is not None:
            reason = policy.reason_to_go(floor, call, queue, now_ns, fresh=False)
            _must(reason in (None, "timeout"), f"{call.id} still waits in {call.queue}: {reason}")


def _in_order(floor: Floor, step: m.Step) -> None:
    """Nobody who could have had the agent, and was due before, is passed over."""
    for event in step.events:
        call = floor.state.calls.get(event.call) if isinstance(event, m.OfferMade) else None
        if call is None or not isinstance(event, m.OfferMade):
            continue
        for bucket in floor.matcher.buckets():
            if bucket.line and event.agent in bucket.eligible and bucket.line[0][3] != call.id:
                _must(
                    call.line_key() < bucket.line[0][:3], f"{call.id} was offered before {bucket.line[0][3]}"
                )


def _work_conserved(floor: Floor) -> None:
    """Told from the records alone: the indexes might be wrong together."""
    waiting = [c for c in floor.state.calls.values() if floor.wants_agents(c)]
    for call in waiting:
        for standing in routing.standings(floor, call):
            agent = floor.state.agents[standing.agent]
            idle = agent.state == "ready" and not agent.not_before_ns
            qualified = standing.verdict != "not qualified"
            _must(not (idle and qualified), f"{standing.agent} is idle while {call.id} waits")


# ---------------------------------------------------------------- at rest


def at_rest(centre: Centre) -> None:
    """Everything is delivered: Asterisk looks as the floor says, and nobody sits in silence."""
    if not centre.listening or centre.pbx.pending:
        return
    floor, pbx = centre.live, centre.pbx
    left = [*topology.differences(floor, pbx.snapshot()), *topology.repair(floor, pbx.snapshot())]
    _must(not left, f"still to repair: {left}")
    for channel in pbx.channels.values():
        ours = channel.id in floor.by_channel or channel.id in floor.state.closing
        _must(
            not ours or channel.where != "left", f"{channel.id} was led on by the dialplan, and is forgotten"
        )
        if channel.role != "caller" or channel.where != "stasis":
            continue
        call = floor.call_of(channel.id)
        _must(call is not None or channel.id in floor.state.sessions, f"{channel.id} is lost in Stasis")
        if call is not None:
            heard = pbx.hears(channel.id)
            speaks = call.state == "message"  # music would be heard in the message
            _must(bool(heard) != speaks, f"{channel.id} ({call.state}): {heard or 'silence'}")
            talks = heard == ("music hold" if call.held_ns else "talk")
            _must(talks == (call.state in CONVERSING), f"{channel.id} ({call.state}): {heard}")
            _must(
                bool(channel.absolute_ns) == (call.state not in CONVERSING),
                f"{channel.id}: absolute time-out",
            )
    dropped = [r.id for r in floor.state.recordings.values() if r.dropped]
    _must(not dropped, f"never stopped: {dropped}")
    _must(same(Floor.restore(floor.dump()), floor), "a snapshot is not the floor")


# ---------------------------------------------------------------- over a whole run


def whole_run(centre: Centre) -> None:
    """Every call ended once, or lives; the journal tells it all; nobody was hung up on."""
    ends = Counter(
        e.call for e in centre.events() if isinstance(e, m.CallEnded | m.CallQuarantined) and e.call
    )
    opened = {e.call: e.channel for e in centre.events() if isinstance(e, m.CallOpened)}
    _must(all(n == 1 for n in ends.values()), f"ended twice: {ends}")
    channels = Counter(opened.values())
    _must(all(n == 1 for n in channels.values()), f"opened twice: {channels}")
    if centre.alive:
        live = set(centre.live.state.calls)
        _must(live == set(opened) - set(ends), "calls that neither live nor ended")
        _must(same(centre.fold(), centre.live), "the journal does not give the floor")
    replay(centre)
    books(centre)
    nobody_hung_up_on(centre)


def replay(centre: Centre) -> None:
    """The same inputs give the same decisions."""
    floor = Floor()
    for entry in centre.journal:
        again = advance(floor, entry.input, entry.at_ns).events
        _must(again == entry.events, f"replayed {entry.input}: {again} is not {entry.events}")


def books(centre: Centre) -> None:
    """The ledger takes every run and tells of each call what its end says."""
    state, rows = ledger_rows.LedgerState(), {}
    told = ((entry.at_ns, event) for entry in centre.journal for event in entry.events)
    for seq, (at_ns, event) in enumerate(told, 1):
        for row in ledger.fold(state, seq, at_ns, event):
            if isinstance(row, ledger_rows.CallRow):
                rows[row.call] = row
    for end in (e for e in centre.events() if isinstance(e, m.CallEnded)):
        row = rows[end.call]
        _must((row.outcome, row.agent) == (end.outcome, end.agent), f"the books say {row} of {end}")


def nobody_hung_up_on(centre: Centre) -> None:
    """We hang up a caller only after the talk, at a flow's or rule's end, after a code, or if asked to."""
    channels = {e.call: e.channel for e in centre.events() if isinstance(e, m.CallOpened)}
    bridged = {e.call for e in centre.events() if isinstance(e, m.CallBridged | m.TalkFound)}
    asked = {e.input.call for e in centre.journal if isinstance(e.input, m.CallAsked)}
    fair = {channels[call] for call in asked if call in channels}
    for event in centre.events():
        if not isinstance(event, m.CallEnded):
            continue
        talked = event.outcome == "answered" and event.by == "agent" and event.call in bridged
        own_end = event.outcome in ("left_in_flow", "rejected") and event.by == "system"
        by_rule = event.outcome in ("overflowed", "timed_out") and not event.to_fallback
        outside = event.outcome == "forwarded" and event.by == "outside"
        message = event.outcome == "voicemail"
        if talked or own_end or by_rule or outside or message:
            fair.add(channels[event.call])
    unfair = [c for c in centre.pbx.hung_up_by_us if c not in fair]
    _must(not unfair, f"hung up on {unfair}")
