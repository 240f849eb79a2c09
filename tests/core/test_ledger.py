"""The books: a day's history gives the rows one would write by hand; any history gives sound books."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
from hypothesis import example, given, settings, strategies as st

from ari_app.core import messages as m
from ari_app.core.definition import Agent, Definition, Queue, Target
from ari_app.core.ledger import fold
from ari_app.core.ledger_rows import (
    AgentIntervalRow,
    CallRow,
    DecisionRow,
    LedgerState,
    QueueRow,
    RecordingRow,
    RowChange,
    SegmentRow,
    VisitRow,
)

S = 1_000_000_000
CENTRE = Definition(
    queues={"sales": Queue("Sales", service_level_s=15, short_abandon_s=3)},
    agents={name: Agent(name.title(), name, ("sales",)) for name in ("ann", "bob")},
)
WHY = m.Why("longest_idle", 0, 1, 1, (m.Candidate("ann", 0, 0),), {})


class Books:
    """Folds events at seconds, and keeps the last row of every key as PostgreSQL would."""

    def __init__(self) -> None:
        self.state = LedgerState()
        self.seq = 0
        self.rows: dict[tuple[Any, ...], RowChange] = {}

    def at(self, second: float, *events: m.AnyEvent) -> None:
        for event in events:
            self.seq += 1
            for row in fold(self.state, self.seq, round(second * S), event):
                self.rows[key_of(row)] = row

    def segments(self, party: str, agent: str = "") -> list[tuple[str, float, float | None]]:
        found = [
            r
            for r in self.rows.values()
            if isinstance(r, SegmentRow) and (r.party, r.agent) == (party, agent)
        ]
        return [(r.state, r.from_ns / S, None if r.to_ns is None else r.to_ns / S) for r in found]

    def intervals(self, agent: str) -> list[tuple[str, str, float, float | None]]:
        found = [r for r in self.rows.values() if isinstance(r, AgentIntervalRow) and r.agent == agent]
        return [(r.state, r.reason, r.from_ns / S, None if r.to_ns is None else r.to_ns / S) for r in found]

    def call(self, call: str) -> CallRow:
        row = self.rows[CallRow, call]
        assert isinstance(row, CallRow)
        return row

    def decisions(self) -> list[tuple[str, int, str, str]]:
        found = [r for r in self.rows.values() if isinstance(r, DecisionRow)]
        return [(r.call, r.attempt, r.agent, r.result) for r in found]


def key_of(row: RowChange) -> tuple[Any, ...]:
    match row:
        case SegmentRow():
            return (SegmentRow, row.call, row.party, row.agent, row.seq)
        case AgentIntervalRow():
            return (AgentIntervalRow, row.agent, row.seq)
        case DecisionRow():
            return (DecisionRow, row.call, row.attempt)
        case CallRow():
            return (CallRow, row.call)
        case RecordingRow():
            return (RecordingRow, row.recording)
        case VisitRow():
            return (VisitRow, row.call, row.seq)
        case QueueRow():
            return (QueueRow, row.queue)
        case _:
            return (type(row), row.agent)


def offer(call: str, agent: str, attempt: int) -> m.OfferMade:
    return m.OfferMade(call, "sales", agent, attempt, f"{call}.offer.{attempt}", 0, WHY)


def opened(books: Books, call: str, second: float) -> None:
    books.at(second, m.CallOpened(call, f"ch-{call}", "100", "main", 0))
    books.at(
        second + 4,
        m.MenuChosen(call, "hello", "sales"),
        m.CallQueued(call, "sales", round((second + 4) * S), 0),
    )


def begun() -> Books:
    books = Books()
    books.at(0, m.EpochBegan("e", "n", "b", 0, "1"), m.DefinitionLoaded(CENTRE, "d"), m.MatchingBegan(0, 0))
    books.at(10, m.AgentSignedIn("ann", "x"), m.AgentSignedIn("bob", "x"))
    return books


def test_a_call_that_ann_misses_and_bob_takes() -> None:
    books = begun()
    opened(books, "c1", 20)
    books.at(24, offer("c1", "ann", 1), m.OfferDialled("c1", "ann", 1))
    books.at(25, m.OfferRinging("c1", "ann", 1))
    books.at(40, m.OfferLapsed("c1", "sales", "ann", 1, "no_answer", True))
    books.at(40, offer("c1", "bob", 2))
    books.at(41, m.LegReleased("ann", "c1.offer.1"), m.AgentFreed("ann", "ready", "missed", 46 * S))
    books.at(42, m.OfferRinging("c1", "bob", 2))
    books.at(45, m.CallConnected("c1", "sales", "bob", 2, "c1.offer.2", "c1.talk.2", 21 * S, "c1.rec.2"))
    books.at(45.1, m.CallBridged("c1", "bob"))
    books.at(45.2, m.RecordingStarted("c1", "c1.rec.2", "caller", "ch-c1", "a.raw"))
    books.at(45.3, m.RecordingStarted("c1", "c1.rec.2", "agent", "c1.offer.2", "b.raw"))
    books.at(46, m.AgentPaused("bob", "x", "lunch", True))
    books.at(
        105,
        m.CallEnded("c1", "answered", "caller", "sales", "bob", 21 * S, 60 * S, 16),
        m.ReleaseAwaited("bob", "c1.offer.2", 106 * S),
        m.WrapUpStarted("bob", "c1", 115 * S),
        m.CallerReleased("c1", "ch-c1"),
    )
    books.at(105.5, m.LegReleased("bob", "c1.offer.2"))
    books.at(106, m.RecordingFinished("c1", "c1.rec.2", "c1.wav", 60 * S))
    books.at(115, m.WrapUpEnded("bob", "c1"), m.AgentFreed("bob", "paused", "lunch"))

    row = books.call("c1")
    assert (row.flow, row.choice, row.queue, row.agent) == ("main", "sales", "sales", "bob")
    assert (row.opened_ns, row.entered_ns, row.answered_ns, row.ended_ns) == (20 * S, 24 * S, 45 * S, 105 * S)
    assert (row.waited_ns, row.talk_ns, row.wrap_up_ns, row.hold_ns) == (21 * S, 60 * S, 10 * S, 0)
    assert (row.outcome, row.ended_by, row.cause, row.offers, row.misses) == ("answered", "caller", 16, 2, 1)
    assert books.segments("caller") == [
        ("ivr", 20, 24),
        ("waiting", 24, 25),
        ("ringing", 25, 40),
        ("waiting", 40, 42),
        ("ringing", 42, 45),
        ("talking", 45, 105),
    ]
    assert books.segments("agent", "ann") == [("reserved", 24, 25), ("ringing", 25, 40)]
    assert books.segments("agent", "bob") == [
        ("reserved", 40, 42),
        ("ringing", 42, 45),
        ("talking", 45, 105),
        ("wrap_up", 105, 115),
    ]
    assert books.intervals("ann") == [
        ("signed_out", "", 0, 10),
        ("ready", "", 10, 24),
        ("reserved", "", 24, 25),
        ("ringing", "", 25, 40),
        ("releasing", "no_answer", 40, 41),
        ("ready", "missed", 41, None),
    ]
    assert books.intervals("bob") == [
        ("signed_out", "", 0, 10),
        ("ready", "", 10, 40),
        ("reserved", "", 40, 42),
        ("ringing", "", 42, 45),
        ("talking", "", 45, 105),
        ("wrap_up", "", 105, 115),
        ("paused", "lunch", 115, None),
    ]
    assert books.decisions() == [("c1", 1, "ann", "no_answer"), ("c1", 2, "bob", "answered")]
    recording = books.rows[RecordingRow, "c1.rec.2"]
    assert recording == RecordingRow(
        "c1.rec.2", "c1", "finished", round(45.2 * S), 106 * S, "a.raw", "b.raw", "c1.wav", 60 * S
    )
    assert (books.state.calls, books.state.recordings) == ({}, {}), "what is over is forgotten"


def test_a_caller_who_hangs_up_while_it_rings() -> None:
    books = begun()
    opened(books, "c1", 20)
    books.at(24, offer("c1", "ann", 1), m.OfferRinging("c1", "ann", 1))
    books.at(30, m.OfferLapsed("c1", "sales", "ann", 1, "caller_gone", False))
    books.at(30, m.CallEnded("c1", "abandoned", "caller", "sales", "", 6 * S, 0, 16))
    books.at(30.5, m.CallerReleased("c1", "ch-c1"))
    books.at(31, m.LegReleased("ann", "x"), m.AgentFreed("ann", "ready", ""))
    row = books.call("c1")
    assert (row.outcome, row.waited_ns, row.answered_ns, row.misses) == ("abandoned", 6 * S, None, 0)
    assert books.segments("caller") == [("ivr", 20, 24), ("ringing", 24, 30), ("waiting", 30, 30)]
    assert books.segments("agent", "ann") == [("ringing", 24, 30)]
    assert books.decisions() == [("c1", 1, "ann", "caller_gone")]
    assert books.state.calls == {}


def test_a_bridge_that_asterisk_refused_is_no_answer() -> None:
    books = begun()
    opened(books, "c1", 20)
    books.at(24, offer("c1", "ann", 1))
    books.at(26, m.CallConnected("c1", "sales", "ann", 1, "c1.offer.1", "b", 2 * S, ""))
    books.at(27, m.ConnectFailed("c1", "sales", "ann", 1, "no such bridge", 0))
    row = books.call("c1")
    assert (row.answered_ns, row.agent, row.waited_ns, row.outcome) == (None, "", None, None)
    assert books.decisions() == [("c1", 1, "ann", "connect_failed")]
    assert books.segments("caller")[-1] == ("waiting", 27, None)
    assert books.intervals("ann")[-1][0] == "releasing"


def test_a_call_set_apart_is_over() -> None:
    books = begun()
    opened(books, "c1", 20)
    books.at(24, offer("c1", "ann", 1))
    books.at(26, m.CallQuarantined("c1", "ch-c1", "DigitPressed", "boom"))
    row = books.call("c1")
    assert (row.outcome, row.ended_by, row.quarantined, row.waited_ns) == ("fallback", "system", True, 2 * S)
    assert books.intervals("ann")[-1][:1] == ("releasing",)
    assert books.segments("agent", "ann") == [("reserved", 24, 26)]
    assert books.state.calls == {}


def test_a_pause_asked_on_a_call_waits_for_its_end() -> None:
    books = begun()
    opened(books, "c1", 20)
    books.at(24, offer("c1", "ann", 1))
    books.at(25, m.AgentSignedOut("ann", "x", True))
    books.at(26, m.AgentResumed("ann", "x"))
    assert books.intervals("ann")[-1] == ("reserved", "", 24, None)
    books.at(27, m.AgentPaused("bob", "x", "tea", False))
    assert books.intervals("bob")[-1] == ("paused", "tea", 27, None)
    books.at(28, m.AgentSignedOut("bob", "x", False))
    assert books.intervals("bob")[-1] == ("signed_out", "", 28, None)


def test_an_agent_taken_out_of_the_definition_has_no_present_state() -> None:
    books = begun()
    books.at(20, m.AgentSignedOut("bob", "x", False))
    books.at(30, m.DefinitionLoaded(Definition(), "d2"))
    assert books.intervals("bob")[-1] == ("signed_out", "", 20, 30)
    assert books.intervals("ann")[-1] == ("ready", "", 10, None), "who is at work stays until they sign out"


def test_holds_are_no_talk_and_have_segments_of_their_own() -> None:
    books = begun()
    opened(books, "c1", 20)
    books.at(24, offer("c1", "bob", 1))
    books.at(25, m.CallConnected("c1", "sales", "bob", 1, "c1.offer.1", "c1.talk.1", 1 * S, ""))
    books.at(30, m.CallHeld("c1", "bob"))
    books.at(37, m.CallUnheld("c1", "bob", 7 * S))
    books.at(40, m.CallHeld("c1", "bob"))
    books.at(43, m.CallEnded("c1", "answered", "caller", "sales", "bob", 1 * S, 18 * S, 16))
    row = books.call("c1")
    assert (row.talk_ns, row.hold_ns) == (8 * S, 10 * S)
    assert books.segments("agent", "bob") == [
        ("reserved", 24, 25),
        ("talking", 25, 30),
        ("holding", 30, 37),
        ("talking", 37, 40),
        ("holding", 40, 43),
    ]


def test_thresholds_are_rows() -> None:
    assert begun().rows[QueueRow, "sales"] == QueueRow("sales", "Sales", 15 * S, 3 * S)


# ---------------------------------------------------------------- any history at all

CALLS = st.sampled_from(["c1", "c2", "c3"])
AGENTS = st.sampled_from(["ann", "bob"])
ATTEMPTS = st.integers(1, 3)
NS = st.integers(0, 100 * S)
OF_CALL = st.one_of(
    st.builds(
        m.CallOpened, CALLS, st.sampled_from(["ch", "c2"]), st.just("100"), st.just("main"), NS, st.booleans()
    ),
    st.builds(m.CallQueued, CALLS, st.just("sales"), NS, st.just(0)),
    st.builds(
        m.CallOverflowed,
        CALLS,
        st.just("sales"),
        st.sampled_from(["timeout", "crisis"]),
        st.just(Target(queue="help")),
        NS,
    ),
    st.builds(m.DispositionGiven, AGENTS, CALLS, st.just("sales"), st.just("sold"), st.just("x")),
    st.builds(offer, CALLS, AGENTS, ATTEMPTS),
    st.builds(m.OfferRinging, CALLS, AGENTS, ATTEMPTS),
    st.builds(
        m.OfferLapsed,
        CALLS,
        st.just("sales"),
        AGENTS,
        ATTEMPTS,
        st.sampled_from(["busy", "lost"]),
        st.booleans(),
    ),
    st.builds(
        m.CallConnected,
        CALLS,
        st.just("sales"),
        AGENTS,
        ATTEMPTS,
        st.just("l"),
        st.just("b"),
        NS,
        st.just(""),
    ),
    st.builds(m.ConnectFailed, CALLS, st.just("sales"), AGENTS, ATTEMPTS, st.just("no"), NS),
    st.builds(
        m.CallEnded,
        CALLS,
        st.sampled_from(["answered", "abandoned"]),
        st.sampled_from(["caller", "agent"]),
        st.just("sales"),
        AGENTS,
        NS,
        NS,
    ),
    st.builds(m.CallerReleased, CALLS, st.just("ch")),
    st.builds(m.CallQuarantined, CALLS, st.just("ch"), st.just("x"), st.just("y")),
)
OF_AGENT = st.one_of(
    st.builds(m.WrapUpStarted, AGENTS, CALLS, NS),
    st.builds(m.WrapUpEnded, AGENTS, CALLS),
    st.builds(m.AgentFreed, AGENTS, st.sampled_from(["ready", "paused"]), st.just("")),
    st.builds(m.AgentSignedIn, AGENTS, st.just("x")),
    st.builds(m.AgentSignedOut, AGENTS, st.just("x"), st.booleans()),
    st.builds(m.AgentPaused, AGENTS, st.just("x"), st.just("tea"), st.booleans()),
    st.builds(
        m.RecordingStarted,
        CALLS,
        st.just("r"),
        st.sampled_from(["caller", "agent"]),
        st.just(""),
        st.just(""),
    ),
    st.builds(m.RecordingFailed, CALLS, st.just("r"), st.just("e"), st.booleans()),
    st.builds(m.RecordingFinished, CALLS, st.just("r"), st.just("f"), NS),
    st.just(m.DefinitionLoaded(CENTRE, "d")),
    st.just(m.DefinitionLoaded(Definition(), "e")),
    st.just(m.EpochBegan("e2", "n", "b", 0, "1", fresh=True)),
    st.just(m.MatchingBegan(0, 0)),
    st.builds(m.TalkFound, CALLS, st.just(""), AGENTS, ATTEMPTS, st.just("l"), st.just("b"), st.just("r")),
)
HISTORIES = st.lists(st.tuples(st.integers(0, 60), st.one_of(OF_CALL, OF_AGENT)), max_size=60)


def visits(books: Books) -> list[tuple[str, str, str, float, float | None]]:
    found = [r for r in books.rows.values() if isinstance(r, VisitRow)]
    waited = [None if r.waited_ns is None else r.waited_ns / S for r in found]
    return [(r.queue, r.fate, r.reason, r.from_ns / S, w) for r, w in zip(found, waited, strict=True)]


def test_each_stay_in_a_queue_has_its_own_end() -> None:
    books = Books()
    books.at(0, m.DefinitionLoaded(CENTRE, "d"), m.AgentSignedIn("ann", ""))
    books.at(1, m.CallOpened("c", "ch", "100", "main", 9), m.CallQueued("c", "sales", 1 * S, 0))
    books.at(31, m.CallOverflowed("c", "sales", "timeout", Target(queue="help"), 30 * S))
    books.at(31, m.CallQueued("c", "help", 1 * S, 0))
    books.at(40, m.OfferMade("c", "help", "ann", 1, "leg", 60 * S, WHY))
    books.at(41, m.CallConnected("c", "help", "ann", 1, "leg", "br", 40 * S, ""))
    assert visits(books) == [("sales", "timed_out", "timeout", 1, 30), ("help", "answered", "", 31, 10)]
    books.at(41, m.ConnectFailed("c", "help", "ann", 1, "refused", 60 * S))
    assert visits(books)[1] == ("help", "waiting", "", 31, None)
    books.at(50, m.CallOverflowed("c", "help", "no_agents", Target(hangup=True), 19 * S))
    books.at(52, m.CallEnded("c", "overflowed", "system", "help", "", 51 * S, 0))
    assert visits(books)[1] == ("help", "overflowed", "no_agents", 31, 19)
    row = books.call("c")
    assert (row.outcome, row.queue, row.entered_ns, row.waited_ns) == ("overflowed", "help", 1 * S, 49 * S)


def test_what_the_agent_said_of_it() -> None:
    books = Books()
    books.at(0, m.CallOpened("c", "ch", "100", "main", 9), m.CallQueued("c", "sales", 0, 0))
    books.at(5, m.CallConnected("c", "sales", "ann", 1, "leg", "br", 5 * S, ""))
    books.at(9, m.CallEnded("c", "answered", "caller", "sales", "ann", 5 * S, 4 * S))
    books.at(9, m.WrapUpStarted("ann", "c", 19 * S), m.CallerReleased("c", "ch"))
    books.at(12, m.DispositionGiven("ann", "c", "sales", "sold", "ann"))
    books.at(12, m.WrapUpEnded("ann", "c", "ann"), m.AgentFreed("ann", "ready", ""))
    assert (books.call("c").disposition, books.call("c").wrap_up_ns) == ("sold", 3 * S)


@given(HISTORIES, st.integers(0, 60))
@example(
    [
        (0, m.CallOpened("c1", "ch", "100", "main", 0)),
        (0, m.OfferMade("c1", "sales", "ann", 1, "leg", 0, WHY)),
        (0, m.OfferRinging("c1", "bob", 1)),  # of whom no offer is pending
    ],
    0,
)
@settings(max_examples=300, deadline=None)
def test_any_history_gives_sound_books(history: list[tuple[int, m.AnyEvent]], saved_after: int) -> None:
    books = Books()
    for number, (second, event) in enumerate(history):
        books.at(second, event)
        if number == saved_after:  # The process ended and a new one goes on from the saved state.
            books.state = msgspec.json.decode(msgspec.json.encode(books.state), type=LedgerState)
        assert_sound(books)


def assert_sound(books: Books) -> None:
    """What PostgreSQL's constraints demand, and that the present holds one state of everything."""
    open_: dict[tuple[Any, ...], int] = defaultdict(int)
    for row in books.rows.values():
        match row:
            case CallRow():
                assert (row.ended_ns is None) == (row.outcome is None) == (row.ended_by is None)
                assert (row.entered_ns is None) == (row.queue == "")
            case VisitRow():
                assert (row.fate == "waiting") == (row.to_ns is None) == (row.waited_ns is None)
                open_["stay", row.call] += row.to_ns is None
            case SegmentRow() | AgentIntervalRow() if row.to_ns is not None:
                assert row.to_ns >= row.from_ns
            case SegmentRow():
                open_["party", row.call, row.party, row.agent] += 1
                if row.party == "agent":
                    open_["agent's call", row.agent] += 1
                if row.state in ("reserved", "ringing") and row.party == "agent":
                    open_["call's offer", row.call] += 1
            case AgentIntervalRow():
                open_["interval", row.agent] += 1
            case DecisionRow():
                assert (row.result == "offered") == (row.result_ns is None)
    assert [key for key, count in open_.items() if count > 1] == []


def test_a_message_has_its_instant_even_if_a_death_swallowed_that_it_was_begun() -> None:
    state, name = LedgerState(), "c.message.3"
    fold(state, 1, 10, m.CallOpened("c", "ch", "100", "main", 0))
    fold(state, 2, 20, m.MessageBegan("c", "sales", name, f"{name}.caller.raw", 99))
    fold(state, 3, 30, m.CallEnded("c", "voicemail", "caller", "sales", "", 0, 0))
    (row,) = fold(state, 4, 40, m.RecordingFinished("c", name, f"{name}.wav", 9))
    assert row == RecordingRow(
        *(name, "c", "finished", 20, 40, f"{name}.caller.raw"), file=f"{name}.wav", duration_ns=9
    )
