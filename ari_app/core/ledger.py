"""The ledger: a fold of events into rows that people and reports read.

One row a call, one row a segment (who was in which state, with whom, from when to when), one row
an agent's interval, one row a decision, one row a recording. ``fold`` is pure and total: it never
refuses an event, because the books must also show a history that should not have happened (after
a power cut PostgreSQL can know events that the local journal lost). Rows are complete each time
they are given, so that writing one twice changes nothing: the last one of a key counts.

An agent's interval follows from events alone:

====================================  =====================================================
event                                 state
====================================  =====================================================
DefinitionLoaded (a new agent)        signed_out
AgentSignedIn, AgentResumed           ready, unless a call holds the agent
PhoneChanged                          ready, unreachable or other_call, for who wants calls and has none
AgentSignedOut, AgentPaused           signed_out, paused, unless a call holds the agent
OfferMade                             reserved
OfferRinging                          ringing
OfferLapsed                           releasing
CallConnected, TalkFound              talking
CallHeld, CallUnheld                  holding, talking
CallEnded (the agent's)               releasing
WrapUpStarted                         wrap_up
ConnectFailed, WrapUpEnded            releasing
CallQuarantined (the agent's)         releasing
AgentFreed                            its ``state``
====================================  =====================================================

A state that lasts no time gives its row to the next one.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from ari_app.core.ledger_book import Book
from ari_app.core.ledger_rows import (
    OUTSIDE,
    Fate,
    LedgerState,
    OwnCallRow,
    RecordingRow,
    RowChange,
)
from ari_app.core.messages import (
    AgentAltered,
    AgentFreed,
    AgentPaused,
    AgentRested,
    AgentResumed,
    AgentSeated,
    AgentSignedIn,
    AgentSignedOut,
    AgentUnlocked,
    AnyEvent,
    CallBridged,
    CallConnected,
    CallEnded,
    CallerReleased,
    CallHeld,
    CallOpened,
    CallOverflowed,
    CallQuarantined,
    CallQueued,
    CallUnheld,
    ConfirmAsked,
    ConnectFailed,
    CrisisSwitched,
    DefinitionLoaded,
    DispositionGiven,
    EpochBegan,
    ForwardBridged,
    ForwardConnected,
    ForwardLapsed,
    ForwardMade,
    HoursSet,
    HoursTurned,
    InputAwaited,
    JoinsEnded,
    LegReleased,
    MatchingBegan,
    MatchingHeld,
    MenuChosen,
    MenuMissed,
    MessageBegan,
    NodeEntered,
    OfferDialled,
    OfferLapsed,
    OfferMade,
    OfferRinging,
    OwnCallAnswered,
    OwnCallBegan,
    OwnCallEnded,
    PhoneChanged,
    PhoneLapsed,
    PhoneTried,
    PinAccepted,
    PinRefused,
    RecordingFailed,
    RecordingFinished,
    RecordingStarted,
    ReleaseAwaited,
    SessionClosed,
    SessionMoved,
    SessionNamed,
    SessionOpened,
    TalkFound,
    TimeoutRenewed,
    WaitAdvanced,
    WrapUpEnded,
    WrapUpExtended,
    WrapUpRequested,
    WrapUpStarted,
)


def fold(state: LedgerState, seq: int, at_ns: int, event: AnyEvent) -> list[RowChange]:
    """Apply one event to ``state`` and give the rows it changed, in order.

    ``seq`` numbers the events of one node and never decreases. Exhaustive: the type checker
    finds an event that this ledger has not considered.
    """
    if state.continued:
        event = _as_before(state, event)
    book = Book(state, seq, at_ns)
    match event:
        case EpochBegan():
            if event.fresh:
                book.lose_all()
        case MatchingBegan():
            book.close_lost()
        case DefinitionLoaded():
            book.define(event.definition)
        case (
            CallOpened()
            | MenuChosen()
            | CallQueued()
            | CallOverflowed()
            | ForwardMade()
            | ForwardLapsed()
            | ForwardConnected()
            | CallQuarantined()
            | CallerReleased()
            | DispositionGiven()
        ):
            _fold_caller(book, event)
        case OfferMade() | OfferRinging() | OfferLapsed() | CallConnected() | ConnectFailed():
            _fold_offer(book, event)
        case CallHeld() | CallUnheld():
            book.hold(event)
        case TalkFound():
            book.find_talk(event)
        case CallEnded():
            book.end_call(event)
        case WrapUpStarted():
            book.begin_wrap_up(event)
        case WrapUpEnded():
            book.end_wrap_up(event)
        case (
            AgentFreed()
            | AgentSignedIn()
            | AgentResumed()
            | AgentSignedOut()
            | AgentPaused()
            | PhoneChanged()
        ):
            _fold_agent(book, event)
        case MessageBegan() | RecordingStarted() | RecordingFailed() | RecordingFinished():
            _fold_recording(book, event)
        case OwnCallBegan() | OwnCallAnswered() | OwnCallEnded():
            _fold_own(book, event)
        case _:
            _untold(event)
    return book.changes


def _as_before(state: LedgerState, event: AnyEvent) -> AnyEvent:
    """The event under the id and the numbers that the call has in this ledger."""
    before = state.continued.get(getattr(event, "call", ""))
    match event:
        case _ if before is None or isinstance(event, CallOpened | OwnCallBegan):
            return event
        case OfferMade() | OfferLapsed() | CallConnected() | ConnectFailed():
            return replace(event, call=before.call, attempt=event.attempt + before.offers)
        case _:
            renamed: AnyEvent = replace(event, call=before.call)
            return renamed


def _untold(
    event: MatchingHeld
    | NodeEntered
    | InputAwaited
    | MenuMissed
    | TimeoutRenewed
    | OfferDialled
    | PhoneTried
    | PhoneLapsed
    | ConfirmAsked
    | JoinsEnded
    | CallBridged
    | ForwardBridged
    | LegReleased
    | ReleaseAwaited
    | AgentRested
    | WaitAdvanced
    | WrapUpRequested
    | WrapUpExtended
    | AgentSeated
    | AgentAltered
    | HoursSet
    | HoursTurned
    | CrisisSwitched
    | PinRefused
    | PinAccepted
    | AgentUnlocked
    | SessionOpened
    | SessionNamed
    | SessionMoved
    | SessionClosed,
) -> None:
    """Told in the call's story from the events themselves; no row depends on them."""


def _fold_caller(
    book: Book,
    event: CallOpened
    | MenuChosen
    | CallQueued
    | CallOverflowed
    | ForwardMade
    | ForwardLapsed
    | ForwardConnected
    | CallQuarantined
    | CallerReleased
    | DispositionGiven,
) -> None:
    if isinstance(event, CallOpened):
        book.open_call(event)
        return
    call = book.state.calls.get(event.call)
    if call is None:
        return
    match event:
        case MenuChosen():
            book.change(call, replace(call.row, choice=event.choice))
        case CallQueued():
            entered_ns = call.row.entered_ns if call.row.entered_ns is not None else event.entered_ns
            book.change(call, replace(call.row, queue=event.queue, entered_ns=entered_ns))
            book.enter_queue(call, event.queue, book.at_ns)
            book.move_caller(call, "waiting", event.queue, "")
        case CallOverflowed():
            fate: Fate = "timed_out" if event.reason == "timeout" else "overflowed"
            book.leave_queue(call, fate, event.reason)
            if call.row.entered_ns is not None:
                waited_ns = max(book.at_ns - call.row.entered_ns, 0)
                book.change(call, replace(call.row, waited_ns=waited_ns))
            book.move_caller(call, "ivr", "", "")
        case ForwardMade():
            book.move_caller(call, "ringing", event.queue, OUTSIDE)
        case ForwardLapsed():
            book.move_caller(call, "ivr", "", "")
        case ForwardConnected():
            book.move_caller(call, "talking", call.row.queue, OUTSIDE)
        case DispositionGiven():
            book.change(call, replace(call.row, disposition=event.disposition))
        case CallQuarantined():
            book.quarantine(call)
        case CallerReleased():
            call.released = True
            book.forget_if_over(call)
        case _:
            assert_never(event)


def _fold_offer(
    book: Book, event: OfferMade | OfferRinging | OfferLapsed | CallConnected | ConnectFailed
) -> None:
    match event:
        case OfferMade():
            book.make_offer(event)
        case OfferRinging():
            book.ring(event)
        case OfferLapsed():
            book.lapse(event)
        case CallConnected():
            book.connect(event)
        case ConnectFailed():
            book.fail_connect(event)
        case _:
            assert_never(event)


def _fold_agent(
    book: Book,
    event: AgentFreed | AgentSignedIn | AgentResumed | AgentSignedOut | AgentPaused | PhoneChanged,
) -> None:
    match event:
        case AgentFreed():
            book.free_agent(event)
        case AgentSignedIn() | AgentResumed():
            if not book.is_held(event.agent):
                book.move_agent(event.agent, "ready", "", "")
        case AgentSignedOut():
            if not book.is_held(event.agent):
                book.move_agent(event.agent, "signed_out", "", "")
        case AgentPaused():
            if not book.is_held(event.agent):
                book.move_agent(event.agent, "paused", event.reason, "")
        case PhoneChanged():
            book.change_phone(event)
        case _:
            assert_never(event)


def _fold_own(book: Book, event: OwnCallBegan | OwnCallAnswered | OwnCallEnded) -> None:
    if isinstance(event, OwnCallBegan):
        began_ns = min(event.began_ns or book.at_ns, book.at_ns)
        row = OwnCallRow(event.call, event.agent, event.direction, event.kind, began_ns)
    else:
        known = book.state.own.get(event.call)
        if known is None:
            return  # its beginning was lost with the journal
        row = known
    match event:
        case OwnCallAnswered():
            row = replace(row, answered_ns=max(book.at_ns, row.began_ns))
        case OwnCallEnded():
            ended_ns = max(book.at_ns, row.answered_ns or row.began_ns)
            row = replace(row, ended_ns=ended_ns, cause=event.cause, unseen=event.unseen)
    book.changes.append(row)
    if row.ended_ns is None:
        book.state.own[row.call] = row
    else:
        book.state.own.pop(row.call, None)


def _fold_recording(
    book: Book, event: MessageBegan | RecordingStarted | RecordingFailed | RecordingFinished
) -> None:
    known = book.state.recordings.get(event.recording)
    row = known or RecordingRow(event.recording, event.call, "recording")
    match event:
        case MessageBegan():  # a death may swallow the word that it is being written; it is left all the same
            row = replace(row, started_ns=book.at_ns, caller_track=event.file)
        case RecordingStarted():
            started_ns = row.started_ns if row.started_ns is not None else book.at_ns
            if event.track == "caller":
                row = replace(row, started_ns=started_ns, caller_track=event.file)
            else:
                row = replace(row, started_ns=started_ns, agent_track=event.file)
        case RecordingFailed():
            row = replace(row, state="failed", finished_ns=book.at_ns, error=event.error)
        case RecordingFinished():
            row = replace(
                row,
                state="finished",
                finished_ns=book.at_ns,
                file=event.file,
                duration_ns=event.duration_ns,
                error="",
            )
        case _:
            assert_never(event)
    book.changes.append(row)
    # A failed track may be followed by its twin's file, so it is remembered while the call is.
    final = isinstance(event, RecordingFailed) and event.final
    over = final or row.state == "finished" or (row.state == "failed" and event.call not in book.state.calls)
    if over:
        book.state.recordings.pop(row.recording, None)
    else:
        book.state.recordings[row.recording] = row
