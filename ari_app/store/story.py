"""One call's whole story: every event, decision with its reason, segment and recording.

Made from the events alone, by the same fold as the ledger: PostgreSQL's, and those the journal
has and PostgreSQL has not yet. So it can be told while PostgreSQL is away, and is never behind.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from ari_app.core.ledger import fold
from ari_app.core.ledger_rows import CallRow, DecisionRow, LedgerState, RecordingRow, SegmentRow
from ari_app.core.messages import AnyEvent
from ari_app.store.journal import Journal, JournalError, event_from_json
from ari_app.store.reports import ReportError, connected


class Caller(Struct, frozen=True):
    number: str
    name: str
    note: str = ""
    """What the agent noted of the call."""


class Told(Struct, frozen=True):
    """One event of the story; ``seq`` and ``epoch`` find it in the journal and in ``events``."""

    epoch: str
    seq: int
    at_ns: int
    event: AnyEvent


class Story(Struct, frozen=True):
    """``notes`` says what could not be looked up, and why."""

    call: str
    row: CallRow | None
    caller: Caller | None
    events: list[Told]
    decisions: list[DecisionRow]
    segments: list[SegmentRow]
    recordings: list[RecordingRow]
    notes: list[str]


# Events that the same inputs caused are told too (an agent freed by this call), those of other calls not.
_EVENTS = """
WITH own AS (SELECT DISTINCT node, epoch, input_seq FROM events WHERE call_id = %(call)s AND call_id <> '')
SELECT e.epoch, e.seq, e.at_ns, e.kind, e.body::text
FROM own JOIN events e ON e.node = own.node AND e.epoch = own.epoch AND e.input_seq = own.input_seq
     AND e.seq BETWEEN own.input_seq AND own.input_seq + 1000
WHERE e.call_id IN ('', %(call)s) ORDER BY e.ordinal"""
_PERSON = "SELECT number, name, note FROM people WHERE call_id = %s ORDER BY change DESC LIMIT 1"


def call_story(dsn: str, call: str, journal: Journal | None = None) -> Story:
    """The story of ``call``. Either source may be away; raises ``ReportError`` if neither knows it."""
    notes: list[str] = []
    told: dict[tuple[str, int], Told] = {}
    caller: Caller | None = None
    try:
        found, caller = _from_postgres(dsn, call)
        told = {(event.epoch, event.seq): event for event in found}
    except ReportError as error:
        notes.append(f"only what the local journal still has: {error}")
    if journal is not None:
        try:
            for record in journal.of_call(call):
                key = (record.epoch, record.seq)
                told.setdefault(key, Told(*key, record.at_ns, record.event))
            person = journal.person(call)
        except JournalError as error:
            notes.append(f"without the newest events: {error}")
        else:
            # The journal knows of a change, an erasure too, before PostgreSQL does.
            caller = Caller(person.number, person.name, person.note) if person is not None else caller
    if not told:
        reason = f" ({notes[0]})" if notes else ""
        raise ReportError(f"call {call[:80]!r} is not known{reason}; `cordboard report calls` lists calls")
    return _folded(call, caller, list(told.values()), notes)


def _from_postgres(dsn: str, call: str) -> tuple[list[Told], Caller | None]:
    if not dsn:
        raise ReportError("DATABASE_URL is not set")
    with connected(dsn) as connection:
        rows = connection.execute(_EVENTS.encode(), {"call": call.replace("\0", "\ufffd")}).fetchall()
        person = connection.execute(_PERSON, (call.replace("\0", "\ufffd"),)).fetchone()
    told = [Told(epoch, seq, at_ns, _event(seq, kind, body)) for epoch, seq, at_ns, kind, body in rows]
    return told, Caller(*person) if person else None


def _event(seq: int, kind: str, body: str) -> AnyEvent:
    try:
        return event_from_json(body)
    except msgspec.DecodeError as error:
        raise ReportError(f"event {seq} ({kind}) is of a newer version of Cordboard: {error}") from error


def _folded(call: str, caller: Caller | None, told: list[Told], notes: list[str]) -> Story:
    state = LedgerState()
    latest: dict[tuple[object, ...], CallRow | DecisionRow | SegmentRow | RecordingRow] = {}
    for number, item in enumerate(told, start=1):
        for row in fold(state, number, item.at_ns, item.event):
            if isinstance(row, CallRow | DecisionRow | SegmentRow | RecordingRow) and row.call == call:
                latest[_key(row)] = row
    rows = list(latest.values())
    return Story(
        call,
        next((row for row in rows if isinstance(row, CallRow)), None),
        caller,
        told,
        [row for row in rows if isinstance(row, DecisionRow)],
        sorted((row for row in rows if isinstance(row, SegmentRow)), key=lambda row: (row.from_ns, row.seq)),
        [row for row in rows if isinstance(row, RecordingRow)],
        notes,
    )


def _key(row: CallRow | DecisionRow | SegmentRow | RecordingRow) -> tuple[object, ...]:
    match row:
        case CallRow():
            return ("call",)
        case DecisionRow():
            return ("decision", row.attempt)
        case SegmentRow():
            return ("segment", row.party, row.agent, row.seq)
        case RecordingRow():
            return ("recording", row.recording)
