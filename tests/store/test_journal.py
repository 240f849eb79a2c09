"""The commit point: what was appended comes back, exactly, whatever happened to the writer."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ari_app.core.definition import Agent, Definition, Queue
from ari_app.core.messages import (
    AgentAsked,
    AgentSignedIn,
    CallArrived,
    CallEnded,
    CallOpened,
    CallQuarantined,
    CallQueued,
    DefinitionGiven,
    DefinitionLoaded,
    DigitPressed,
    StepFailed,
)
from ari_app.store.journal import (
    Entry,
    Journal,
    JournalConflict,
    JournalCorrupt,
    JournalLocked,
    JournalUnavailable,
    ProcessLock,
)


def arrival(number: int) -> Entry:
    call = f"c{number}"
    return Entry(
        number * 1000,
        CallArrived(call, "100"),
        [CallOpened(call, call, "100", "main", 5), CallQueued(call, "sales", number * 1000, 0)],
    )


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "state" / "journal.db") as opened:
        yield opened


def test_what_was_appended_comes_back(journal: Journal) -> None:
    definition = Definition(queues={"sales": Queue("Sales")}, agents={"bob": Agent("Bob", "bob", ("sales",))})
    given_ = Entry(5, DefinitionGiven(definition, "d1"), [DefinitionLoaded(definition, "d1")])
    silent = Entry(6, DigitPressed("c9", "1"), [])
    assert journal.append("e1", [given_, silent, arrival(1)], 0) == 3
    assert journal.append("e2", [arrival(2)], 3) == 5

    events = list(journal.replay())
    assert [(r.seq, r.at_ns, r.epoch, r.input_seq) for r in events] == [
        (1, 5, "e1", 1),
        (2, 1000, "e1", 2),
        (3, 1000, "e1", 2),
        (4, 2000, "e2", 4),
        (5, 2000, "e2", 4),
    ]
    assert [r.event for r in events] == [*given_.events, *arrival(1).events, *arrival(2).events]
    assert [r.seq for r in journal.replay(3)] == [4, 5]
    assert [(p.seq, p.epoch, p.entry) for p in journal.inputs()] == [
        (1, "e1", given_),
        (2, "e1", arrival(1)),
        (4, "e2", arrival(2)),
    ]
    assert [p.seq for p in journal.inputs(1)] == [2, 4]
    assert [r.seq for r in journal.of_call("c2")] == [4, 5]


def test_a_reopened_journal_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    with Journal(path) as first:
        first.append("e1", [arrival(1)], 0)
        node = first.node
    with Journal(path) as second:
        assert (second.last_seq, second.node) == (2, node)
        second.append("e2", [arrival(2)], 2)
        assert len(list(second.replay())) == 4
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_second_writer_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.db") as ours, Journal(tmp_path / "j.db") as theirs:
        theirs.append("e2", [arrival(1)], 0)
        with pytest.raises(JournalConflict, match=r"j\.db: expected event 0 to be the last, found 2"):
            ours.append("e1", [arrival(5)], 0)
        assert [r.epoch for r in ours.replay()] == ["e2", "e2"]


def test_a_batch_is_all_or_nothing_when_the_disk_is_full(journal: Journal) -> None:
    journal.append("e1", [arrival(1)], 0)
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(JournalUnavailable, match="full"):
        journal.append("e1", [arrival(n) for n in range(2, 500)], 2)
    assert (journal.last_seq, journal.newest()) == (2, 2)
    journal._db.execute("PRAGMA max_page_count=1000000")
    assert journal.append("e1", [arrival(2)], 2) == 4


def test_a_reader_sees_commits_and_cannot_write(journal: Journal) -> None:
    with Journal(journal.path, readonly=True) as reader:
        journal.append("e1", [arrival(1)], 0)
        assert [row.seq for row in reader.rows(0)] == [1, 2]
        with pytest.raises(JournalUnavailable):
            reader.append("e1", [arrival(2)], 2)


def test_a_missing_journal_is_not_made_by_a_reader(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match=r"nowhere\.db"):
        Journal(tmp_path / "nowhere.db", readonly=True)
    assert list(tmp_path.iterdir()) == []


def _foreign(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE x (y)")
    db.commit()
    db.close()


def _newer(path: Path) -> None:
    Journal(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=99")
    db.close()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.write_bytes(b"no database" * 1000), "not a database"),
        (_foreign, "not a Cordboard journal"),
        (_newer, "version 99, this program reads 2"),
    ],
    ids=["garbage", "another program's", "newer"],
)
def test_a_file_that_is_no_journal_is_named_and_set_apart(tmp_path: Path, make, says: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "j.db"
    make(path)
    content = path.read_bytes()
    with pytest.raises(JournalCorrupt, match=says) as raised:
        Journal(path)
    assert str(path) in str(raised.value)
    apart = Journal.set_apart(path)
    assert len(apart.read_bytes()) == len(content)
    assert not path.exists()
    with Journal(path) as fresh:
        assert fresh.last_seq == 0


def test_a_row_that_cannot_be_read_is_named(journal: Journal) -> None:
    journal.append("e1", [arrival(1)], 0)
    journal._db.execute("""UPDATE events SET body = '{"type":"Nonsense"}' WHERE seq = 2""")
    with pytest.raises(JournalCorrupt, match=r"event 2 \(CallQueued\)"):
        list(journal.replay())


def test_text_that_is_no_utf8_does_not_stop_the_call(journal: Journal) -> None:
    hostile = b"\xff\xfe".decode(errors="surrogateescape") + "\0x"
    entry = Entry(1, StepFailed("x", "c", "c", hostile), [CallQuarantined("c", "c", "x", hostile)])
    journal.append("e1", [entry], 0)
    event = next(journal.replay()).event
    assert isinstance(event, CallQuarantined)
    assert event.error == "\ufffd\ufffd\ufffdx"


@given(st.text(st.characters(codec=None), max_size=50), st.text(st.characters(codec=None), max_size=50))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_can_be_kept(journal: Journal, number: str, name: str) -> None:
    journal.put_person("c1", number, name)
    person = journal.person("c1")
    assert person is not None
    for kept, sent in ((person.number, number), (person.name, name)):
        kept.encode()
        assert "\0" not in kept
        assert len(kept) == len(sent)


def test_people_change_in_order_and_are_erased(journal: Journal) -> None:
    journal.put_person("c1", "+49301", "Ann")
    journal.put_person("c2", "+49302", "Bea" * 4096)
    journal.erase_person("c1")
    assert [(p.call, p.number) for p in journal.people_after(0)] == [("c2", "+49302"), ("c1", "")]
    second = journal.person("c2")
    assert second is not None
    assert len(second.name) == 4096
    assert [p.call for p in journal.people_after(second.change)] == ["c1"]
    assert journal.person("c3") is None


def test_a_note_is_kept_with_the_caller_and_erased_with_them(journal: Journal) -> None:
    assert not journal.put_note("c1", "nobody")
    journal.put_person("c1", "+49301", "Ann")
    assert journal.put_note("c1", "wants a call\0 back")
    person = journal.person("c1")
    assert person is not None
    assert (person.number, person.note.replace("\ufffd", "?")) == ("+49301", "wants a call? back")
    assert [p.note for p in journal.people_after(person.change - 1)] == [person.note]
    journal.erase_person("c1")
    erased = journal.person("c1")
    assert erased is not None
    assert (erased.number, erased.note) == ("", "")


def test_a_journal_of_before_notes_is_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    before = Journal(path)
    before.put_person("c1", "+49301", "Ann")
    before._db.execute("ALTER TABLE people DROP COLUMN note")
    before._db.execute("PRAGMA user_version=1")
    before.close()
    with pytest.raises(JournalUnavailable, match="an older journal"):
        Journal(path, readonly=True)
    after = Journal(path)
    assert after.put_note("c1", "back soon")
    person = after.person("c1")
    assert person is not None
    assert (person.name, person.note) == ("Ann", "back soon")
    after.close()


def test_the_newest_snapshot_wins(journal: Journal) -> None:
    assert journal.latest_snapshot() is None
    for seq in (2, 9, 5):
        journal.save_snapshot(seq, b"state %d" % seq)
    assert journal.latest_snapshot() == (9, b"state 9")


def test_only_rows_both_shipped_and_in_a_snapshot_are_pruned(journal: Journal) -> None:
    for number in range(1, 6):
        journal.put_person(f"c{number}", "1", "x")
        journal.append("e1", [arrival(number)], (number - 1) * 2)
    assert journal.prune() == 0
    journal.save_snapshot(7, b"s")
    assert journal.prune() == 0
    journal.set_shipped(9, 5)
    # Event 7 is the first of two of one input: they stay together.
    assert journal.prune(live_calls=["c1"]) == 6
    assert [r.seq for r in journal.replay()] == [7, 8, 9, 10]
    assert [p.seq for p in journal.inputs()] == [7, 9]
    assert [p.call for p in journal.people_after(0)] == ["c1", "c4", "c5"]
    journal.save_snapshot(10, b"s")
    journal.save_snapshot(11, b"s")
    journal.set_shipped(10, 5)
    journal.prune()
    assert journal.append("e1", [arrival(6)], 10) == 12


def test_the_mark_of_another_journal_is_not_believed(journal: Journal) -> None:
    shipped = journal.path.with_name("journal.db.shipped")
    shipped.write_text('{"node":"other","seq":99,"people":9}')
    assert journal.shipped().seq == 0
    shipped.write_text("")
    assert journal.shipped().seq == 0


def test_checkpoints_run_beside_the_writer(journal: Journal) -> None:
    stop = threading.Event()
    failures: list[Exception] = []

    def checkpoint() -> None:
        while not stop.is_set():
            try:
                journal.checkpoint()
            except JournalUnavailable as error:
                failures.append(error)

    thread = threading.Thread(target=checkpoint)
    thread.start()
    for number in range(300):
        journal.append("e1", [arrival(number)], number * 2)
    stop.set()
    thread.join()
    journal.checkpoint()
    assert failures == []
    assert len(list(journal.replay())) == 600
    # The database itself, without its log, has everything.
    database = journal.path.with_name("copy.db")
    database.write_bytes(journal.path.read_bytes())
    with Journal(database) as copy:
        assert copy.last_seq == 600


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "j.db"
    with ProcessLock(path), pytest.raises(JournalLocked, match=f"held by process {os.getpid()}"):
        ProcessLock(path)
    ProcessLock(path).release()


_WRITER = """
import sys
from pathlib import Path
from ari_app.core.messages import AgentAsked, AgentSignedIn
from ari_app.store.journal import Entry, Journal
with Journal(Path(sys.argv[1])) as journal:
    while True:
        event = AgentSignedIn(f"a{journal.last_seq}", "test")
        seq = journal.append("e", [Entry(1, AgentAsked("a", "sign_in"), [event] * 3)], journal.last_seq)
        sys.stdout.write(f"{seq}\\n")
        sys.stdout.flush()
"""


def test_kill_9_of_the_writer_loses_nothing_committed(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    said = 0
    for _ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        goal = said + 600
        while said < goal:
            said = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = [line for line in writer.stdout.read().split("\n")[:-1] if line]
        writer.wait()
        writer.stdout.close()
        said = int(rest[-1]) if rest else said
        with Journal(path, readonly=True) as journal:
            # At most the batch whose number was not yet said may be there too; never half of one.
            assert journal.last_seq in (said, said + 3)
            assert [r.seq for r in journal.replay()] == list(range(1, journal.last_seq + 1))
            said = journal.last_seq
            last = list(journal.inputs(said - 3))
        assert [len(past.entry.events) for past in last] == [3]


def test_a_batch_of_an_agent_is_found_by_agent(journal: Journal) -> None:
    ended = CallEnded("c1", "answered", "caller", "sales", "bob", 1, 2)
    journal.append("e", [Entry(1, AgentAsked("bob", "sign_in"), [AgentSignedIn("bob", "t"), ended])], 0)
    rows = journal.rows(0)
    assert [(r.kind, r.version, r.call, r.agent, r.queue) for r in rows] == [
        ("AgentSignedIn", 1, "", "bob", ""),
        ("CallEnded", 1, "c1", "bob", "sales"),
    ]
