"""How the ledger moves: calls, visits, segments, offers, agents, recordings, one event at a time."""

from __future__ import annotations

from msgspec.structs import replace

from ari_app.core.definition import Definition, seconds_ns
from ari_app.core.ledger_rows import (
    CALL_STATES,
    HELD_STATES,
    HOMES,
    OFFER_STATES,
    AgentIntervalRow,
    AgentRow,
    CallRow,
    Continued,
    DecisionRow,
    Fate,
    LedgerState,
    OfferResult,
    OpenAgent,
    OpenCall,
    QueueRow,
    RowChange,
    SegmentRow,
    SegmentState,
    VisitRow,
)
from ari_app.core.messages import (
    AgentFreed,
    AgentStateName,
    CallConnected,
    CallEnded,
    CallHeld,
    CallOpened,
    CallUnheld,
    ConnectFailed,
    OfferLapsed,
    OfferMade,
    OfferRinging,
    PhoneChanged,
    TalkFound,
    WrapUpEnded,
    WrapUpStarted,
)


class Book:
    """The state, one event's instant, and the rows that changed at it."""

    def __init__(self, state: LedgerState, seq: int, at_ns: int) -> None:
        self.state = state
        self.seq = seq
        self.at_ns = at_ns
        self.changes: list[RowChange] = []

    def closed(self, row: SegmentRow | AgentIntervalRow) -> SegmentRow | AgentIntervalRow:
        # A reboot may find the clock set back; then the row lasts no time rather than a negative one.
        return replace(row, to_ns=max(self.at_ns, row.from_ns))

    # ------------------------------------------------------------ the definition

    def define(self, definition: Definition) -> None:
        for key, queue in definition.queues.items():
            service_level_ns = seconds_ns(queue.service_level_s)
            short_abandon_ns = seconds_ns(queue.short_abandon_s)
            self.changes.append(QueueRow(key, queue.name, service_level_ns, short_abandon_ns))
        for key, agent in definition.agents.items():
            self.changes.append(AgentRow(key, agent.name))
            if key not in self.state.agents:
                self.move_agent(key, "signed_out", "", "")
        for key, agent_now in list(self.state.agents.items()):
            # Who is at work stays until they sign out.
            if key not in definition.agents and agent_now.interval.state == "signed_out":
                del self.state.agents[key]
                self.changes.append(self.closed(agent_now.interval))

    # ------------------------------------------------------------ the call

    def change(self, call: OpenCall, row: CallRow) -> None:
        call.row = row
        self.changes.append(row)

    def open_call(self, event: CallOpened) -> None:
        if event.adopted and self.go_on(event):
            return
        before = self.state.calls.get(event.call)
        if before is not None:
            self.leave_queue(before, "lost", "superseded")
            self.close_segments(before)
            for agent in list(before.agents):
                self.close_leg(before, agent)
        row = CallRow(event.call, event.channel, event.number, event.flow, event.adopted, self.at_ns)
        call = self.state.calls[event.call] = OpenCall(row)
        self.changes.append(row)
        self.move_caller(call, "ivr", "", "")

    def go_on(self, event: CallOpened) -> bool:
        """The caller whom a new journal finds in Asterisk is one of the lost: one contact, one row."""
        for lost in self.state.lost_calls:
            call = self.state.calls[lost]
            if call.row.channel == event.channel:
                break
        else:
            return False
        self.state.lost_calls.remove(lost)
        if event.call != lost and event.call not in self.state.continued:
            self.state.continued[event.call] = Continued(lost, call.row.offers)
        self.end_offers(call, "superseded")
        self.change(call, replace(call.row, adopted=True, hold_ns=self.held_ns(call)))
        call.held_from_ns = 0
        self.move_caller(call, "ivr", "", "")
        return True

    def end_call(self, event: CallEnded) -> None:
        self.let_agent_leave(event.agent, event.call)
        call = self.state.calls.get(event.call)
        if call is None:
            return
        sent_on = event.outcome in ("overflowed", "timed_out", "forwarded", "voicemail", "left_in_flow")
        waited_ns = call.row.waited_ns if sent_on else event.waited_ns
        outcome, talk_ns = event.outcome, event.talk_ns
        if call.row.adopted:  # what was before counts, too
            waited_ns = self.waited_ns(call, waited_ns)
            if call.row.answered_ns is not None:
                outcome, talk_ns = "answered", self.at_ns - call.row.answered_ns
        self.leave_queue(call, "abandoned" if event.outcome == "abandoned" else "lost", event.outcome)
        row = replace(
            call.row,
            ended_ns=self.at_ns,
            outcome=outcome,
            ended_by=event.by,
            cause=event.cause,
            talk_ns=max(talk_ns - self.held_ns(call), 0),
            hold_ns=self.held_ns(call),
            waited_ns=waited_ns if call.row.entered_ns is not None else None,
        )
        self.close_call(call, row)

    def waited_ns(self, call: OpenCall, told_ns: int | None) -> int | None:
        """How long a caller waited; one who was found by a new journal had waited before it began."""
        if call.row.waited_ns is not None:
            return call.row.waited_ns
        if not call.row.adopted or call.row.entered_ns is None:
            return told_ns
        return max(self.at_ns - call.row.entered_ns, 0)

    def lose_all(self) -> None:
        """A new journal knows of no call and no agent. Who is still there will be told of."""
        state = self.state
        for call in list(state.calls.values()):
            if call.row.ended_ns is None:
                state.lost_calls = [*[c for c in state.lost_calls if c != call.row.call], call.row.call]
            else:
                call.released = True
                self.forget_if_over(call)
        state.lost_agents, state.lost_own = list(state.agents), list(state.own)

    def close_lost(self) -> None:
        """Asterisk has been looked at: what the new journal has not told of by now is no more."""
        state = self.state
        anything = bool(state.lost_agents or state.lost_calls or state.lost_own)
        for key in list(state.lost_agents):
            if key in state.agents:
                self.move_agent(key, "signed_out", "", "")
        for key in [key for key in state.lost_calls if key in state.calls]:
            self.end_lost(state.calls[key])
        if anything:
            self.drop_lost()
        state.lost_agents, state.lost_calls = [], []

    def end_lost(self, call: OpenCall) -> None:
        """Its end went with the journal that saw it: it was over by now, and nobody knows who ended it."""
        talked = call.row.answered_ns is not None
        waited_ns = call.row.waited_ns
        if waited_ns is None and call.row.entered_ns is not None:
            waited_ns = max(self.at_ns - call.row.entered_ns, 0)
        self.leave_queue(call, "lost", "system")
        talk_ns = self.at_ns - (call.row.answered_ns or self.at_ns)
        row = replace(
            call.row,
            ended_ns=self.at_ns,
            outcome="answered" if talked else "system",
            ended_by="system",
            talk_ns=max(talk_ns - self.held_ns(call), 0),
            hold_ns=self.held_ns(call),
            waited_ns=waited_ns,
        )
        call.released, call.holds = True, []
        self.close_call(call, row)

    def drop_lost(self) -> None:
        """Recordings and own calls that only the lost journal could have ended."""
        state = self.state
        for recording in [r for r in state.recordings.values() if r.call not in state.calls]:
            state.recordings.pop(recording.recording)
            if recording.state == "recording":
                error = "the journal that knew of it was set apart; its tracks are kept"
                self.changes.append(replace(recording, state="failed", finished_ns=self.at_ns, error=error))
        for own in [own for own in state.own.values() if own.call in state.lost_own]:
            state.own.pop(own.call)
            ended_ns = max(self.at_ns, own.answered_ns or own.began_ns)
            self.changes.append(replace(own, ended_ns=ended_ns, unseen=True))
        state.lost_own = []

    def quarantine(self, call: OpenCall) -> None:
        """The other terminal: the call left for the fallback, and nothing more is told of it."""
        self.leave_queue(call, "lost", "fallback")
        row = replace(call.row, quarantined=True)
        if row.ended_ns is None:
            talk_ns = self.at_ns - row.answered_ns if row.answered_ns is not None else 0
            waited_ns = row.waited_ns
            if waited_ns is None and row.entered_ns is not None:
                waited_ns = self.at_ns - row.entered_ns
            row = replace(
                row,
                ended_ns=self.at_ns,
                outcome="fallback",
                ended_by="system",
                talk_ns=max(talk_ns - self.held_ns(call), 0),
                hold_ns=self.held_ns(call),
                waited_ns=waited_ns,
            )
        for agent in list(call.agents):
            self.let_agent_leave(agent, row.call)
        call.released = True
        self.close_call(call, row)

    def close_call(self, call: OpenCall, row: CallRow) -> None:
        self.change(call, row)
        self.end_offers(call, "caller_gone")
        self.close_segments(call)
        self.forget_if_over(call)

    def held_ns(self, call: OpenCall) -> int:
        """All holds of the call until now: a call that ends on hold was held to its end."""
        running_ns = max(self.at_ns - call.held_from_ns, 0) if call.held_from_ns else 0
        return call.row.hold_ns + running_ns

    def hold(self, event: CallHeld | CallUnheld) -> None:
        on = isinstance(event, CallHeld)
        self.move_agent(event.agent, "holding" if on else "talking", "", event.call)
        call = self.state.calls.get(event.call)
        if call is None:
            return
        if not on:
            self.change(call, replace(call.row, hold_ns=self.held_ns(call)))
        call.held_from_ns = self.at_ns if on else 0
        state: SegmentState = "holding" if on else "talking"
        self.move_leg(call, event.agent, state, call.row.queue)
        self.move_caller(call, state, call.row.queue, event.agent)

    def let_agent_leave(self, agent: str, call: str) -> None:
        known = self.state.agents.get(agent)
        if known is not None and known.call == call and known.interval.state in CALL_STATES:
            self.move_agent(agent, "releasing", "", call)

    def forget_if_over(self, call: OpenCall) -> None:
        if call.row.ended_ns is None or not call.released or call.holds:
            return
        self.state.calls.pop(call.row.call, None)
        for alias in [a for a, known in self.state.continued.items() if known.call == call.row.call]:
            del self.state.continued[alias]
        for key, row in list(self.state.recordings.items()):
            if row.call == call.row.call and row.state == "failed":
                del self.state.recordings[key]

    # ------------------------------------------------------------ queues

    def enter_queue(self, call: OpenCall, queue: str, from_ns: int) -> None:
        visit = call.visit
        if call.row.adopted and visit is not None and (visit.queue, visit.fate) == (queue, "waiting"):
            return  # in this queue before the journal was lost, and in it again
        self.leave_queue(call, "lost", "superseded")
        call.visit = VisitRow(call.row.call, self.seq, queue, from_ns)
        self.changes.append(call.visit)

    def leave_queue(self, call: OpenCall, fate: Fate, reason: str) -> None:
        visit = call.visit
        if visit is None or visit.fate != "waiting":
            return
        to_ns = max(self.at_ns, visit.from_ns)
        call.visit = replace(visit, fate=fate, reason=reason, to_ns=to_ns, waited_ns=to_ns - visit.from_ns)
        self.changes.append(call.visit)

    def wait_again(self, call: OpenCall) -> None:
        """What counted as answered was not: the stay goes on."""
        if call.visit is not None and call.visit.fate == "answered":
            call.visit = replace(call.visit, fate="waiting", reason="", to_ns=None, waited_ns=None)
            self.changes.append(call.visit)

    # ------------------------------------------------------------ segments

    def move_caller(self, call: OpenCall, state: SegmentState, queue: str, peer: str) -> None:
        now = call.caller
        if now is not None and (now.state, now.queue, now.peer) == (state, queue, peer):
            return
        seq = self.seq
        if now is not None and now.from_ns == self.at_ns:
            seq = now.seq  # It lasted no time: the new state takes its row.
        elif now is not None:
            self.changes.append(self.closed(now))
        call.caller = SegmentRow(call.row.call, "caller", "", seq, state, queue, peer, self.at_ns)
        self.changes.append(call.caller)

    def move_leg(self, call: OpenCall, agent: str, state: SegmentState, queue: str) -> None:
        now = call.agents.get(agent)
        if now is not None and now.state == state:
            return
        if state in OFFER_STATES:
            offered = {row.agent for row in call.offers.values() if row.result == "offered"}
            for other in [a for a, leg in call.agents.items() if a != agent and leg.state in OFFER_STATES]:
                if other not in offered:
                    self.close_leg(call, other)
        seq = self.seq
        if now is not None and now.from_ns == self.at_ns:
            seq = now.seq
        elif now is not None:
            self.changes.append(self.closed(now))
        row = SegmentRow(call.row.call, "agent", agent, seq, state, queue, "caller", self.at_ns)
        call.agents[agent] = row
        self.changes.append(row)

    def close_leg(self, call: OpenCall, agent: str) -> None:
        now = call.agents.pop(agent, None)
        if now is not None:
            self.changes.append(self.closed(now))

    def close_segments(self, call: OpenCall) -> None:
        if call.caller is not None:
            self.changes.append(self.closed(call.caller))
            call.caller = None
        for agent in [name for name, row in call.agents.items() if row.state != "wrap_up"]:
            self.close_leg(call, agent)

    # ------------------------------------------------------------ offers

    def make_offer(self, event: OfferMade) -> None:
        self.move_agent(event.agent, "reserved", "", event.call)
        call = self.state.calls.get(event.call)
        if call is None:
            return
        together = event.why.rung or event.why.decision
        self.end_offers(call, "superseded", event.agent if together else "")
        row = DecisionRow(event.call, event.attempt, event.agent, event.queue, self.at_ns, event.why)
        call.offers[event.attempt] = row
        self.changes.append(row)
        self.change(call, replace(call.row, offers=call.row.offers + 1))
        self.move_leg(call, event.agent, "reserved", event.queue)

    def end_offers(self, call: OpenCall, result: OfferResult, agent: str = "") -> None:
        """End those that are pending: all, or ``agent``'s."""
        for attempt, row in list(call.offers.items()):
            if row.agent == agent or not agent:
                self.end_offer(call, attempt, result)

    def end_offer(self, call: OpenCall, attempt: int, result: OfferResult) -> None:
        row = call.offers.get(attempt)
        if row is None or row.result != "offered":
            return
        call.offers[attempt] = replace(row, result=result, result_ns=self.at_ns)
        self.changes.append(call.offers[attempt])
        if result != "answered":
            del call.offers[attempt]
            self.close_leg(call, row.agent)

    def ring(self, event: OfferRinging) -> None:
        self.move_agent(event.agent, "ringing", "", event.call)
        call = self.state.calls.get(event.call)
        if call is not None and any(
            row.agent == event.agent and row.result == "offered" for row in call.offers.values()
        ):
            self.move_leg(call, event.agent, "ringing", call.row.queue)
            if call.caller is None or call.caller.state not in ("ringing", "talking"):
                self.move_caller(call, "ringing", call.row.queue, event.agent)

    def lapse(self, event: OfferLapsed) -> None:
        self.move_agent(event.agent, "releasing", event.reason, event.call)
        call = self.state.calls.get(event.call)
        if call is None:
            return
        self.end_offer(call, event.attempt, event.reason)
        self.close_leg(call, event.agent)
        if event.miss:
            self.change(call, replace(call.row, misses=call.row.misses + 1))
        if call.caller is not None and (call.caller.state, call.caller.peer) != ("talking", call.row.agent):
            self.wait_or_ring(call, event.queue)

    def wait_or_ring(self, call: OpenCall, queue: str) -> None:
        """The caller of a call that somebody is no longer rung for: with whom it rings now, if anybody."""
        ringing = [agent for agent, leg in call.agents.items() if leg.state == "ringing"]
        if call.caller is not None and call.caller.state == "ringing" and call.caller.peer in ringing:
            return
        self.move_caller(call, "ringing" if ringing else "waiting", queue, ringing[0] if ringing else "")

    def connect(self, event: CallConnected) -> None:
        self.move_agent(event.agent, "talking", "", event.call)
        call = self.state.calls.get(event.call)
        if call is None:
            return
        self.end_offer(call, event.attempt, "answered")
        entered_ns = call.row.entered_ns
        row = replace(
            call.row,
            answered_ns=self.at_ns,
            agent=event.agent,
            queue=event.queue,
            entered_ns=self.at_ns - event.waited_ns if entered_ns is None else entered_ns,
            waited_ns=self.waited_ns(call, event.waited_ns),
        )
        self.change(call, row)
        if call.visit is None:
            self.enter_queue(call, event.queue, self.at_ns - event.waited_ns)
        self.leave_queue(call, "answered", "")
        if event.agent not in call.holds:
            call.holds.append(event.agent)
        self.move_leg(call, event.agent, "talking", event.queue)
        self.move_caller(call, "talking", event.queue, event.agent)

    def find_talk(self, event: TalkFound) -> None:
        """Two who talk; if this ledger knows since when, their talk goes on without a seam."""
        self.move_agent(event.agent, "talking", "", event.call)
        call = self.state.calls.get(event.call)
        if call is None:
            return
        answered_ns = call.row.answered_ns if call.row.answered_ns is not None else self.at_ns
        self.change(call, replace(call.row, answered_ns=answered_ns, agent=event.agent))
        self.leave_queue(call, "answered", "")
        if event.agent not in call.holds:
            call.holds.append(event.agent)
        self.move_leg(call, event.agent, "talking", call.row.queue)
        self.move_caller(call, "talking", call.row.queue, event.agent)

    def fail_connect(self, event: ConnectFailed) -> None:
        self.move_agent(event.agent, "releasing", "connect_failed", event.call)
        call = self.state.calls.get(event.call)
        if call is None:
            return
        row = call.offers.pop(event.attempt, None)
        if row is not None:
            self.changes.append(replace(row, result="connect_failed", result_ns=self.at_ns))
        call.held_from_ns = 0
        self.change(call, replace(call.row, answered_ns=None, agent="", waited_ns=None, hold_ns=0))
        self.wait_again(call)
        self.close_leg(call, event.agent)
        self.wait_or_ring(call, event.queue)

    # ------------------------------------------------------------ agents

    def is_held(self, agent: str) -> bool:
        known = self.state.agents.get(agent)
        lost = agent in self.state.lost_agents
        return known is not None and known.interval.state in HELD_STATES and not lost

    def change_phone(self, event: PhoneChanged) -> None:
        """Who wants calls is ready, unless the phone cannot be reached or is on another call."""
        home: AgentStateName = "ready"
        if not event.reachable:
            home = "unreachable"
        elif event.other_calls:
            home = "other_call"
        self.state.homes[event.agent] = home
        known = self.state.agents.get(event.agent)
        lost = event.agent in self.state.lost_agents
        if known is not None and known.interval.state in HOMES and not lost:
            self.move_agent(event.agent, "ready", "", "")

    def move_agent(self, agent: str, state: AgentStateName, reason: str, call: str) -> None:
        if agent in self.state.lost_agents:
            self.state.lost_agents.remove(agent)
        if state == "ready":
            state = self.state.homes.get(agent, "ready")
        known = self.state.agents.get(agent)
        seq = self.seq
        if known is not None:
            if known.call not in ("", call):
                self.leave(agent, known.call)
            now = known.interval
            if (now.state, now.reason, now.call) == (state, reason, call):
                return
            if now.from_ns == self.at_ns:
                seq = now.seq
            else:
                self.changes.append(self.closed(now))
        interval = AgentIntervalRow(agent, seq, state, reason, call, self.at_ns)
        self.changes.append(interval)
        if known is None:
            self.state.agents[agent] = OpenAgent(interval, call)
        else:
            known.interval = interval
            known.call = call

    def begin_wrap_up(self, event: WrapUpStarted) -> None:
        self.move_agent(event.agent, "wrap_up", "", event.call)
        call = self.state.calls.get(event.call)
        if call is not None:
            if event.agent not in call.holds:  # the talk before it was never heard of
                call.holds.append(event.agent)
            self.move_leg(call, event.agent, "wrap_up", call.row.queue)
            call.wrap_up_from_ns[event.agent] = self.at_ns

    def end_wrap_up(self, event: WrapUpEnded) -> None:
        self.move_agent(event.agent, "releasing", "", event.call)
        call = self.state.calls.get(event.call)
        if call is not None:
            self.charge_wrap_up(call, event.agent)

    def charge_wrap_up(self, call: OpenCall, agent: str) -> None:
        from_ns = call.wrap_up_from_ns.pop(agent, None)
        if from_ns is not None:
            self.change(
                call, replace(call.row, wrap_up_ns=call.row.wrap_up_ns + max(self.at_ns - from_ns, 0))
            )
            self.close_leg(call, agent)

    def free_agent(self, event: AgentFreed) -> None:
        self.move_agent(event.agent, event.state, event.reason, "")

    def leave(self, agent: str, call_id: str) -> None:
        """Close what an agent still has with a call: an agent is with one call at a time."""
        call = self.state.calls.get(call_id)
        if call is None:
            return
        self.end_offers(call, "superseded", agent)
        self.charge_wrap_up(call, agent)
        self.close_leg(call, agent)
        if agent in call.holds:
            call.holds.remove(agent)
        self.forget_if_over(call)
