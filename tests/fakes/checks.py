"""What must hold always: after every step, at rest, and over a whole run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ari_app.core import ledger, topology
from ari_app.core import messages as m
from ari_app.core.floor import Floor
from ari_app.core.step import advance
from tests.fakes.pbx import Broken

if TYPE_CHECKING:
    from tests.fakes.centre import Centre


def _must(holds: bool, text: str) -> None:
    if not holds:
        raise Broken(text)


def same(a: Floor, b: Floor) -> bool:
    """Equal in everything: records, indexes and what is due next."""
    lines = [{q: x for q, x in f.lines.items() if x} for f in (a, b)]
    return (
        a.state == b.state
        and a.by_channel == b.by_channel
        and a.by_leg == b.by_leg
        and lines[0] == lines[1]
        and a.members == b.members
        and a.next_due_ns() == b.next_due_ns()
    )


# ---------------------------------------------------------------- after every step


def after_step(floor: Floor, step: m.Step, now_ns: int) -> None:
    """One agent, one call; nobody idle while somebody waits; who waited longest goes first."""
    _one_to_one(floor)
    _indexes(floor)
    _in_order(floor, step)
    if floor.state.matching:
        _work_conserved(floor, now_ns)


def _one_to_one(floor: Floor) -> None:
    busy: Counter[str] = Counter()
    for call in floor.state.calls.values():
        _must((call.state == "offered") == (call.offer is not None), f"{call.id}: offer and state disagree")
        name = call.offer.agent if call.offer else call.agent
        leg = call.offer.leg if call.offer else call.leg
        if not name:
            continue
        busy[name] += 1
        agent = floor.state.agents[name]
        states = ("reserved", "ringing") if call.offer else ("talking",)
        _must(agent.state in states, f"{call.id} ({call.state}) has {name}, who is {agent.state}")
        _must((agent.call, agent.leg) == (call.id, leg), f"{name} does not know of {call.id}")
    _must(all(n == 1 for n in busy.values()), f"on two calls: {busy}")
    for agent in floor.state.agents.values():
        if agent.state in ("reserved", "ringing", "talking"):
            _must(busy[agent.id] == 1, f"{agent.id} is {agent.state} for no call")
        if not agent.held():
            _must(not agent.leg and not agent.call, f"{agent.id} is {agent.state} with {agent.leg}")


def _indexes(floor: Floor) -> None:
    state = floor.state
    _must(floor.by_channel == {c.channel: c.id for c in state.calls.values()}, "by_channel")
    _must(floor.by_leg == {a.leg: a.id for a in state.agents.values() if a.leg}, "by_leg")
    lined = {entry[3] for line in floor.lines.values() for entry in line}
    _must(lined == {c.id for c in state.calls.values() if c.state == "waiting"}, "lines")
    _must(all(line == sorted(line) for line in floor.lines.values()), "lines are not in order")


def _in_order(floor: Floor, step: m.Step) -> None:
    for event in step.events:
        call = floor.state.calls.get(event.call) if isinstance(event, m.OfferMade) else None
        line = floor.lines.get(call.queue) if call else None
        if call and line:
            _must(call.line_key() < line[0][:3], f"{call.id} was offered before {line[0][3]}")


def _work_conserved(floor: Floor, now_ns: int) -> None:
    for queue, line in floor.lines.items():
        for name in floor.members.get(queue, ()) if line else ():
            agent = floor.state.agents[name]
            idle = agent.available(now_ns) and not agent.not_before_ns
            _must(not idle, f"{name} is idle while {line[0][3]} waits in {queue}")


# ---------------------------------------------------------------- at rest


def at_rest(centre: Centre) -> None:
    """Everything is delivered: Asterisk looks as the floor says, and nobody sits in silence."""
    if not centre.listening or centre.pbx.pending:
        return
    floor, pbx = centre.live, centre.pbx
    left = [*topology.differences(floor, pbx.snapshot()), *topology.repair(floor, pbx.snapshot())]
    _must(not left, f"still to repair: {left}")
    for channel in pbx.channels.values():
        if channel.role != "caller" or channel.where != "stasis":
            continue
        call = floor.call_of(channel.id)
        _must(call is not None or channel.id in floor.state.sessions, f"{channel.id} is lost in Stasis")
        if call is not None:
            heard = pbx.hears(channel.id)
            _must(bool(heard), f"{channel.id} ({call.state}) sits in silence")
            _must((heard == "talk") == (call.state == "talking"), f"{channel.id} ({call.state}): {heard}")
            _must(bool(channel.absolute_ns) == (call.state != "talking"), f"{channel.id}: absolute time-out")
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
    state, rows = ledger.LedgerState(), {}
    told = ((entry.at_ns, event) for entry in centre.journal for event in entry.events)
    for seq, (at_ns, event) in enumerate(told, 1):
        for row in ledger.fold(state, seq, at_ns, event):
            if isinstance(row, ledger.CallRow):
                rows[row.call] = row
    for end in (e for e in centre.events() if isinstance(e, m.CallEnded)):
        row = rows[end.call]
        _must((row.outcome, row.agent) == (end.outcome, end.agent), f"the books say {row} of {end}")


def nobody_hung_up_on(centre: Centre) -> None:
    """We hang up a caller only after the talk, at the flow's own end, after a code, or when asked to."""
    channels = {e.call: e.channel for e in centre.events() if isinstance(e, m.CallOpened)}
    bridged = {e.call for e in centre.events() if isinstance(e, m.CallBridged)}
    asked = {e.input.call for e in centre.journal if isinstance(e.input, m.CallAsked)}
    fair = {channels[call] for call in asked if call in channels}
    for event in centre.events():
        if not isinstance(event, m.CallEnded):
            continue
        talked = event.outcome == "answered" and event.by == "agent" and event.call in bridged
        own_end = event.outcome in ("left_in_flow", "rejected") and event.by == "system"
        if talked or own_end:
            fair.add(channels[event.call])
    unfair = [c for c in centre.pbx.hung_up_by_us if c not in fair]
    _must(not unfair, f"hung up on {unfair}")
