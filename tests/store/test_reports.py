"""Figures that were computed by hand, and names that would do harm if they were believed."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ari_app.core import messages as m
from ari_app.core.definition import Definition, Queue, Target
from ari_app.store.journal import Entry, Journal
from ari_app.store.report_text import agents_text, calls_text, queues_text, story_text, voicemails_text
from ari_app.store.reports import (
    RangeError,
    ReportError,
    agents,
    calls,
    from_ns,
    parse_range,
    parts,
    queues,
    to_ns,
    voicemails,
)
from ari_app.store.safe_text import csv_text
from ari_app.store.story import call_story
from tests.store.conftest import ship_all
from tests.store.histories import SECOND, START_NS, History, append_all

SINCE, UNTIL = from_ns(START_NS), from_ns(START_NS) + timedelta(days=1)
NOW = datetime(2026, 3, 29, 12, 0, tzinfo=UTC)


@pytest.fixture
def books(journal: Journal, dsn: str) -> tuple[str, Journal]:
    """Seven calls that entered the queue (T = 20 s, short = 5 s) and one that did not."""
    day = History().begins().signs_in("ann", "bob")
    day.answered("c1", "ann", 10, 60, 8).answered("c2", "bob", 30, 120, 10)
    day.abandoned("c3", 3).abandoned("c4", 25).answered("c5", "ann", 20, 30, 2)
    day.dials("c6").passes(2).says(m.CallEnded("c6", "left_in_flow", "caller", "", "", 0, 0, 16))
    day.dials("c7").passes(4).queues("c7")
    day.dials("c8").passes(4).queues("c8").passes(2)
    day.says(m.CallQuarantined("c8", "ch-c8", "DigitPressed", "boom"))
    append_all(journal, day)
    ship_all(journal, dsn)
    return dsn, journal


def test_the_figures_of_a_queue(books: tuple[str, Journal]) -> None:
    line, total = queues(books[0], SINCE, UNTIL)
    assert (total.since, total.queue, total.name, total.offered) == (None, "", "total", line.offered)
    assert (line.queue, line.name) == ("sales", "Sales")
    assert (line.offered, line.answered, line.abandoned, line.short) == (7, 3, 2, 1)
    assert (line.lost, line.waiting) == (1, 1)
    assert line.offered == line.answered + line.abandoned + line.lost + line.waiting
    assert line.service_level == pytest.approx(2 / (3 + 2 - 1))
    assert line.service_level_s == 20
    assert line.of_answered == pytest.approx(2 / 3)
    assert line.of_queued == pytest.approx(4 / 7)
    assert line.asa_s == pytest.approx((10 + 30 + 20) / 3)
    assert line.median_s == pytest.approx(20)
    assert line.p95_s == pytest.approx(20 + 0.9 * 10)
    assert line.longest_s == pytest.approx(30)
    assert line.abandon_rate == pytest.approx((2 - 1) / (7 - 1))
    assert line.aht_s == pytest.approx((60 + 120 + 30 + 8 + 10 + 2) / 3)
    assert (line.talk_s, line.wrap_up_s) == (210, 20)


def test_a_new_threshold_recomputes_the_figures(books: tuple[str, Journal]) -> None:
    dsn, journal = books
    changed = m.DefinitionLoaded(
        Definition(queues={"sales": Queue("Sales", service_level_s=9, short_abandon_s=26)}), "d2"
    )
    journal.append("e1", [Entry(START_NS + 9999 * SECOND, m.ChannelLeft("x"), [changed])], journal.last_seq)
    ship_all(journal, dsn)
    (line, _) = queues(dsn, SINCE, UNTIL)
    assert (line.service_level, line.short, line.abandon_rate) == (0, 2, 0)


def test_a_call_belongs_to_the_range_it_began_in(books: tuple[str, Journal]) -> None:
    dsn = books[0]
    lines = calls(dsn, SINCE, UNTIL)
    assert [line.call for line in lines] == [f"c{n}" for n in range(1, 9)]
    third = lines[2].opened_at
    assert [line.call for line in calls(dsn, SINCE, third)] == ["c1", "c2"]
    assert next(line.call for line in calls(dsn, third, UNTIL)) == "c3"
    (line, _) = queues(dsn, third, UNTIL)
    assert line.offered == 5


def test_the_row_of_a_call(books: tuple[str, Journal]) -> None:
    lines = {line.call: line for line in calls(books[0], SINCE, UNTIL)}
    first = lines["c1"]
    assert (first.outcome, first.ended_by, first.agent, first.queue) == ("answered", "caller", "ann", "sales")
    assert (first.waited_s, first.talk_s, first.wrap_up_s, first.offers) == (10, 60, 8, 1)
    assert first.opened_at == SINCE
    assert first.entered_at == SINCE + timedelta(seconds=4)
    assert first.answered_at == SINCE + timedelta(seconds=14)
    assert first.ended_at == SINCE + timedelta(seconds=74)
    assert (lines["c3"].short, lines["c4"].short) == (True, False)
    assert (lines["c6"].outcome, lines["c6"].waited_s, lines["c6"].queue) == ("left_in_flow", None, "")
    assert (lines["c7"].outcome, lines["c7"].waited_s) == (None, None)
    assert (lines["c8"].outcome, lines["c8"].quarantined, lines["c8"].waited_s) == ("fallback", True, 2)


def test_the_story_of_a_call(books: tuple[str, Journal]) -> None:
    dsn, journal = books
    text = story_text(call_story(dsn, "c1"))
    for words in (
        "Call c1",
        'caller    +49302 "Caller of c1"',
        "agent     ann, talk 1:00",
        "outcome   answered, ended by caller",
        "CallQueued",
        "AgentFreed",
        "attempt 1: offered to ann, answered after 1.0 s",
        "why: longest_idle among 1 (ann idle 1.0 s); not eligible: 2 signed_out",
        "caller: waiting",
        "agent ann: talking with caller",
        "finished, 1:00  c1.rec.1.wav",
    ):
        assert words in text
    story = json.loads(story_text(call_story(dsn, "c1"), "json"))
    assert [segment["state"] for segment in story["segments"] if segment["party"] == "caller"] == [
        "ivr",
        "waiting",
        "ringing",
        "talking",
    ]
    # The same from the journal alone, with PostgreSQL away.
    away = call_story("postgresql://u@127.0.0.1:1/x", "c1", journal)
    both = call_story(dsn, "c1", journal)
    assert away.events == both.events
    assert (away.segments, away.decisions, away.row) == (both.segments, both.decisions, both.row)
    assert "only what the local journal still has" in away.notes[0]
    assert both.notes == []


def test_the_story_is_never_behind_the_journal(books: tuple[str, Journal]) -> None:
    dsn, journal = books
    late = History(START_NS + 5000 * SECOND, "e2").abandons("c7", 9)
    append_all(journal, late)
    assert call_story(dsn, "c7").row.outcome is None  # type: ignore[union-attr]
    assert call_story(dsn, "c7", journal).row.outcome == "abandoned"  # type: ignore[union-attr]


def test_an_unknown_call_is_one_line(dsn: str, journal: Journal) -> None:
    with pytest.raises(ReportError, match="'nonsense' is not known; `cordboard report calls` lists calls"):
        call_story(dsn, "nonsense", journal)
    with pytest.raises(ReportError, match="is not known"):
        call_story(dsn, "\0", journal)


def test_what_is_wrong_with_the_database_is_one_line(empty_database: str) -> None:
    with pytest.raises(ReportError, match="no Cordboard tables"):
        calls(empty_database, SINCE, UNTIL)
    with pytest.raises(ReportError, match=r"PostgreSQL \(DATABASE_URL\): .*127\.0\.0\.1") as raised:
        calls("postgresql://u:secret@127.0.0.1:1/x", SINCE, UNTIL)
    assert "secret" not in str(raised.value)


def test_nothing_to_report(dsn: str) -> None:
    assert calls_text(calls(dsn, SINCE, UNTIL)) == "No calls in this range.\n"
    assert queues_text(queues(dsn, SINCE, UNTIL)) == "No call entered a queue in this range.\n"
    assert json.loads(calls_text([], "json")) == []
    assert calls_text([], "csv").startswith("call,opened_at,caller_number,")


def test_tables_for_people(books: tuple[str, Journal]) -> None:
    table = calls_text(calls(books[0], SINCE, UNTIL), zone=ZoneInfo("Europe/Berlin"))
    assert "2026-09-21 16:13:20" in table
    assert "abandoned (short)" in table
    table = queues_text(queues(books[0], SINCE, UNTIL))
    assert "50.0 % in 20 s" in table
    assert "16.7 %" in table


@pytest.mark.parametrize("width", [20, 80, 120, 125, 130, 135, 140, 300])
def test_ids_and_figures_stay_whole_in_a_narrow_terminal(books: tuple[str, Journal], width: int) -> None:
    dsn, journal = books
    journal.put_person("c1", "+49 30 " + "1" * 30, "Ann " * 20)
    ship_all(journal, dsn)
    lines = calls_text(calls(dsn, SINCE, UNTIL), width=width).splitlines()
    assert (lines[0].split()[0], lines[0].split()[-1], len(lines[0].split())) == ("opened", "wrap-up", 11)
    assert lines[2].startswith("2026-09-21 14:13:20  c1")
    assert lines[2].split()[-5:] == ["10.0", "s", "1:00", "8.0", "s"]
    head = queues_text(queues(dsn, SINCE, UNTIL), width=width).splitlines()[0].split()
    assert (head[0], head[-1]) == ("queue", "AHT")


# ---------------------------------------------------------------- hostile callers

HOSTILE = [
    "[bold red]x[/bold red][/nonsense]",
    "\x1b[2J\x1b]0;owned\x07\x9b31m",
    "a\r\nb\nc\td",
    "=cmd|' /C calc'!A0",
    "+49 30 1234",
    "-2+3",
    "@SUM(1+1)",
    "\t=1+1",
    "\r=1+1",
    " =1+1",
    "'=1+1",
    'quote " comma , semicolon ;',
    "\u202egnp.exe\u2066",
    "Zoë 漢字 😀",
    "x" * 4096,
    "\u2028line\u2029",
    "",
]


@pytest.fixture
def hostile(journal: Journal, dsn: str) -> tuple[str, Journal]:
    day = History().begins()
    for number in range(len(HOSTILE)):
        day.abandoned(f"h{number:02d}", 9)
    append_all(journal, day)
    for number, name in enumerate(HOSTILE):
        journal.put_person(f"h{number:02d}", name[:64], name)
    ship_all(journal, dsn)
    return dsn, journal


def acts(text: str) -> list[str]:
    """Characters that do something to a terminal."""
    return [
        c for c in text if (c < " " and c != "\n") or "\x7f" <= c < "\xa0" or c in "\u202e\u2066\u2028\u2029"
    ]


def test_hostile_callers_in_a_table(hostile: tuple[str, Journal]) -> None:
    table = calls_text(calls(hostile[0], SINCE, UNTIL), width=200)
    assert acts(table) == []
    lines = table.splitlines()
    assert len([line for line in lines if " h" in line]) == len(HOSTILE)
    assert max(map(len, lines)) <= 200
    assert "[bold red]x[/bold red]" in table
    assert "\\x1b[2J" in table


def test_hostile_callers_in_csv(hostile: tuple[str, Journal]) -> None:
    text = calls_text(calls(hostile[0], SINCE, UNTIL), "csv")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == len(HOSTILE)
    for row, name in zip(rows, HOSTILE, strict=True):
        for cell in (row["caller_name"], row["caller_number"]):
            assert not cell.lstrip(" \n").startswith(("=", "+", "-", "@", "\t", "\r"))
        if not acts(name.replace("\t", "").replace("\r", "").replace("\u2028", "").replace("\u202e", "")):
            assert csv_text(row["caller_name"]) == name
    assert not [c for c in acts(text) if c not in "\t\r\u202e\u2066\u2028\u2029"]
    assert rows[4]["caller_number"] == "'+49 30 1234"


def test_hostile_callers_in_json(hostile: tuple[str, Journal]) -> None:
    text = calls_text(calls(hostile[0], SINCE, UNTIL), "json")
    assert acts(text) == []
    assert [row["caller_name"] for row in json.loads(text)] == HOSTILE
    assert "Zoë 漢字 😀" in text


def test_hostile_callers_in_a_story(hostile: tuple[str, Journal]) -> None:
    dsn, journal = hostile
    for number, name in enumerate(HOSTILE):
        story = call_story(dsn, f"h{number:02d}", journal)
        assert acts(story_text(story)) == []
        assert acts(story_text(story, "json")) == []
        assert story.caller is not None
        assert story.caller.name == name
        assert max(map(len, story_text(story).splitlines())) < 600


# ---------------------------------------------------------------- ranges of time


@pytest.mark.parametrize(
    ("text", "zone", "since", "until"),
    [
        ("today", "UTC", "2026-03-29T00:00", "2026-03-29T12:00"),
        ("today", "Europe/Berlin", "2026-03-28T23:00", "2026-03-29T12:00"),
        # The day summer time begins has 23 hours.
        ("2026-03-29", "Europe/Berlin", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("yesterday", "UTC", "2026-03-28T00:00", "2026-03-29T00:00"),
        ("2h", "UTC", "2026-03-29T10:00", "2026-03-29T12:00"),
        ("7d", "UTC", "2026-03-22T12:00", "2026-03-29T12:00"),
        (" 30m ", "UTC", "2026-03-29T11:30", "2026-03-29T12:00"),
        ("2026-03-28T08:00", "UTC", "2026-03-28T08:00", "2026-03-29T12:00"),
        ("2026-03-28T08:00+02:00..2026-03-28T09:00", "UTC", "2026-03-28T06:00", "2026-03-28T09:00"),
        ("2026-03-01..2026-03-02", "UTC", "2026-03-01T00:00", "2026-03-03T00:00"),
        ("2026-03-01..", "UTC", "2026-03-01T00:00", "2026-03-29T12:00"),
        ("..2026-03-01", "UTC", "1970-01-01T00:00", "2026-03-02T00:00"),
    ],
)
def test_ranges_as_people_say_them(text: str, zone: str, since: str, until: str) -> None:
    expected = tuple(datetime.fromisoformat(at).replace(tzinfo=UTC) for at in (since, until))
    assert parse_range(text, NOW, ZoneInfo(zone)) == expected


@pytest.mark.parametrize(
    "text", ["", "soon", "7y", "2026-13-01", "1..2..3", "99999-01-01", "-2h", "0001-01-01x"]
)
def test_what_is_no_range_says_what_would_be(text: str) -> None:
    with pytest.raises(RangeError, match="say today, yesterday, 2h, 7d"):
        parse_range(text, NOW)


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(RangeError, match="before it begins"):
        parse_range("2026-03-29..2026-03-01", NOW)


def test_instants_keep_their_microseconds() -> None:
    at = datetime(2026, 9, 21, 14, 13, 20, 123456, tzinfo=UTC)
    assert from_ns(to_ns(at)) == at
    assert to_ns(at) == 1_790_000_000_123_456_000


# ---------------------------------------------------------------- by parts of the range, by agent


def test_the_parts_of_a_range_add_up(books: tuple[str, Journal]) -> None:
    *lines, total = queues(books[0], SINCE, UNTIL, by="15m")
    assert all(line.since is not None and line.since.minute % 15 == 0 for line in lines[1:])
    assert sum(line.offered for line in lines) == total.offered == 7
    assert sum(line.answered for line in lines) == total.answered
    table = queues_text([*lines, total]).splitlines()
    assert table[0].split()[0] == "from"
    assert table[-1].split()[:2] == ["total", "7"]


def test_days_are_cut_at_midnight_of_the_zone_even_when_clocks_change() -> None:
    zone = ZoneInfo("Europe/Berlin")
    since = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
    cut = parts(since, since + timedelta(days=2), "day", zone)
    assert [start.astimezone(zone).strftime("%d %H:%M") for start, _ in cut] == [
        "28 13:00",
        "29 00:00",
        "30 00:00",
    ]
    assert cut[1][1] - cut[1][0] == timedelta(hours=23)  # the night of the change to summer time
    assert [end for _, end in cut[:-1]] == [start for start, _ in cut[1:]]


def test_hours_of_a_zone_with_half_an_hour() -> None:
    cut = parts(NOW, NOW + timedelta(hours=2), "hour", ZoneInfo("Asia/Kolkata"))
    assert [start.minute for start, _ in cut] == [0, 30, 30]


def test_too_many_parts_are_refused() -> None:
    with pytest.raises(RangeError, match="by day"):
        parts(NOW, NOW + timedelta(days=365), "15m")


def test_the_figures_of_an_agent(books: tuple[str, Journal]) -> None:
    found = {line.agent: line for line in agents(books[0], SINCE, UNTIL)}
    ann, bob = found["ann"], found["bob"]
    assert (ann.handled, ann.offers, ann.missed, ann.name) == (2, 2, 0, "Ann")
    assert (ann.talk_s, ann.wrap_up_s) == (90, 10)
    assert ann.aht_s == pytest.approx((90 + 10) / 2)
    assert ann.occupancy == pytest.approx((90 + 10 + ann.ringing_s) / (90 + 10 + ann.ringing_s + ann.ready_s))
    assert ann.utilisation == 1.0
    assert (bob.handled, bob.talk_s) == (1, 120)
    present_s = ann.ready_s + ann.ringing_s + ann.talk_s + ann.wrap_up_s + ann.paused_s
    assert ann.signed_in_s == pytest.approx(present_s, abs=2)  # and moments of "releasing"


def test_an_agents_time_is_clipped_to_the_range(books: tuple[str, Journal]) -> None:
    one_minute = agents(books[0], SINCE + timedelta(minutes=1), SINCE + timedelta(minutes=2))
    assert all(line.signed_in_s == pytest.approx(60) for line in one_minute)


def test_the_table_of_agents(books: tuple[str, Journal]) -> None:
    text = agents_text(agents(books[0], SINCE, UNTIL))
    assert "occupancy" in text.splitlines()[0]
    assert text.splitlines()[2].split()[:3] == ["ann", "Ann", "2"]
    assert json.loads(agents_text(agents(books[0], SINCE, UNTIL), "json"))[0]["agent"] == "ann"


def test_messages_are_listed_with_their_files(journal: Journal, dsn: str) -> None:
    day = History().begins()
    for call, ok in (("v1", True), ("v2", False)):
        recording = f"{call}.message.1"
        day.dials(call).passes(4).queues(call).passes(30)
        day.says(m.CallOverflowed(call, "sales", "timeout", Target(voicemail=True), 30 * SECOND))
        day.says(m.MessageBegan(call, "sales", recording, f"{recording}.caller.raw", 0))
        day.says(m.RecordingStarted(call, recording, "caller", f"ch-{call}", f"{recording}.caller.raw"))
        day.passes(12).says(m.CallEnded(call, "voicemail", "caller", "sales", "", 30 * SECOND, 0, 16))
        if ok:
            day.says(m.RecordingFinished(call, recording, f"{recording}.wav", 12 * SECOND))
    append_all(journal, day)
    journal.put_person("v1", "+4930111", "Ann")
    ship_all(journal, dsn)
    first, second = voicemails(dsn, SINCE, UNTIL)
    assert (first.call, first.queue, first.caller_number, first.seconds, first.file) == (
        *("v1", "sales", "+4930111", 12.0, "v1.message.1.wav"),
    )
    assert (second.state, second.file) == ("recording", "")
    text = voicemails_text([first, second])
    assert "v1.message.1.wav" in text
    assert "No messages" in voicemails_text([])
    (line, _) = queues(dsn, SINCE, UNTIL)
    assert (line.offered, line.timed_out, line.lost) == (2, 2, 0)
