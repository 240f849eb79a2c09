"""Everything committed arrives in PostgreSQL, once, in order, whoever dies."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from ari_app.core import messages as m
from ari_app.deploy.postgres import PostgresServer
from ari_app.store import projection
from ari_app.store.journal import Entry, Journal
from ari_app.store.projection import TABLES, rebuild
from ari_app.store.shipper import Shipper, Waiting, jsonb_text
from tests.store.histories import History, append_all

ROOT = Path(__file__).parents[2]
LIMIT_S = 30.0


def start_shipper(
    journal: Path, dsn: str, *more: str, log: Any = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ari_app.store.shipper", "--journal", str(journal), *more],
        env={**os.environ, "DATABASE_URL": dsn},
        cwd=ROOT,
        stderr=log,
        text=True,
    )


@contextmanager
def shipping(
    journal: Path, dsn: str, *more: str, log: Any = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    process = start_shipper(journal, dsn, *more, log=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def rows(dsn: str, query: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def wait_until(check: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not check():
        assert time.monotonic() < end, f"not within {LIMIT_S} s: {what}"
        time.sleep(0.05)


def shipped(dsn: str, journal: Journal) -> bool:
    found = rows(dsn, "SELECT m.seq, l.ordinal = m.ordinal FROM marks m JOIN ledger_marks l USING (node)")
    return bool(found) and found[0] == (journal.last_seq, True)


def assert_all_there(dsn: str, journal: Journal) -> None:
    """Every committed event once, in order, and the ledger the same as made from scratch."""
    there = rows(dsn, "SELECT seq, epoch, at_ns, kind, body::text, ordinal FROM events ORDER BY ordinal")
    here = list(journal.rows(0, 1_000_000))
    assert [(r[0], r[1], r[2], r[3]) for r in there] == [(r.seq, r.epoch, r.at_ns, r.kind) for r in here]
    assert [json.loads(r[4]) for r in there] == [json.loads(r.body) for r in here]
    assert [r[5] for r in there] == list(range(1, len(there) + 1))
    people = rows(dsn, "SELECT call_id, number, name, change FROM people ORDER BY change")
    assert people == [(p.call, p.number, p.name, p.change) for p in journal.people_after(0, 1_000_000)]
    assert_ledger_equals_rebuilt(dsn, journal.node)


def ledger(dsn: str) -> dict[str, list[Any]]:
    return {t.name: rows(dsn, f"SELECT t::text FROM {t.name} t ORDER BY 1") for t in TABLES.values()}


def assert_ledger_equals_rebuilt(dsn: str, node: str) -> None:
    async def again() -> None:
        connection = await asyncpg.connect(dsn)
        await rebuild(connection, node)
        await connection.close()

    incremental = ledger(dsn)
    asyncio.run(again())
    assert incremental == ledger(dsn)


def test_what_is_committed_is_shipped_and_folded(journal: Journal, dsn: str) -> None:
    history = History().begins().signs_in("ann", "bob").answered("c1", "ann", 10, 60, 8).abandoned("c2", 3)
    append_all(journal, history)
    with shipping(journal.path, dsn):
        wait_until(lambda: shipped(dsn, journal), "the first part")
        append_all(journal, History(history.now_ns).random_calls(50, 1))
        wait_until(lambda: shipped(dsn, journal), "the second part")
        wait_until(lambda: journal.shipped().seq == journal.last_seq, "the journal is told")
    assert_all_there(dsn, journal)
    assert rows(dsn, "SELECT outcome, waited_s, talk_s FROM call_list WHERE call = 'c1'") == [
        ("answered", 10, 60)
    ]
    assert journal.shipped().people == 52


def test_kill_9_of_the_shipper_at_any_moment_ships_all_once(journal: Journal, dsn: str) -> None:
    dice = random.Random(7)
    append_all(journal, History().begins().random_calls(600, 2))
    deaths = 0
    for turn in range(15):
        process = start_shipper(journal.path, dsn)
        # It needs about 0.4 s to start; from then on it is in the middle of something.
        time.sleep(0.35 + dice.random() * 0.5)
        append_all(journal, History(epoch=f"e{turn}").random_calls(40, turn, prefix=f"t{turn}-"), batch=3)
        process.send_signal(signal.SIGKILL)
        deaths += process.wait() == -signal.SIGKILL
    assert deaths == 15
    with shipping(journal.path, dsn):
        wait_until(lambda: shipped(dsn, journal), "what was left")
    assert_all_there(dsn, journal)


def test_sigterm_ships_what_is_left(journal: Journal, dsn: str) -> None:
    with shipping(journal.path, dsn) as process:
        wait_until(lambda: bool(rows(dsn, "SELECT FROM marks")), "it runs")
        append_all(journal, History().begins().random_calls(300, 3), batch=500)
        process.terminate()
        assert process.wait(15) == 0
    assert shipped(dsn, journal)
    assert rows(dsn, "SELECT state_ordinal = ordinal FROM ledger_marks") == [(True,)]
    assert_all_there(dsn, journal)


def test_two_shippers_at_once_are_safe(journal: Journal, dsn: str) -> None:
    with shipping(journal.path, dsn) as one, shipping(journal.path, dsn) as two:
        for turn in range(20):
            append_all(journal, History().random_calls(20, turn, prefix=f"t{turn}-"), batch=2)
        wait_until(lambda: shipped(dsn, journal), "all")
        assert (one.poll(), two.poll()) == (None, None)
    assert_all_there(dsn, journal)


def test_postgres_may_be_away(journal: Journal, dsn: str, postgres: PostgresServer, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as written, shipping(journal.path, dsn, log=written) as process:
        append_all(journal, History().begins().random_calls(20, 1))
        wait_until(lambda: shipped(dsn, journal), "before")
        for turn, end in enumerate((postgres.stop, postgres.kill)):
            end()
            append_all(journal, History().random_calls(100, turn, prefix=f"t{turn}-"))
            time.sleep(2.5)
            assert process.poll() is None
            postgres.start()
            wait_until(lambda: shipped(dsn, journal), "after")
    assert_all_there(dsn, journal)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    changes = [(line["event"], line["what"]) for line in lines if line["event"].startswith("shipping")]
    # Two tasks, each: works, then (stalled, perhaps another cause, works) twice.
    assert len(changes) <= 2 * (1 + 2 * 4), "one line a change of state, not one a try"
    assert changes.count(("shipping.works", "events")) == 3


async def test_a_connection_that_breaks_within_a_query_is_made_anew(journal: Journal, dsn: str) -> None:
    shipper, tries = Shipper(journal.path, dsn), itertools.count()

    async def work(_: asyncpg.Connection, __: Waiting) -> None:
        if not next(tries):
            # What asyncpg 0.32 says when PostgreSQL dies while it commits.
            raise asyncpg.InternalClientError("cannot switch to state 15")
        shipper.stop.set()

    async with asyncio.timeout(LIMIT_S):
        await shipper._for_ever("events", work, shipper.stop)
    assert next(tries) == 2


def test_a_shipper_goes_with_its_parent(journal: Journal, dsn: str) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, subprocess, sys, time\n"
            "shipper = [sys.executable, '-m', 'ari_app.store.shipper', '--journal', sys.argv[1]]\n"
            "child = subprocess.Popen([*shipper, '--parent', str(os.getpid())])\n"
            "print(child.pid, flush=True)\n"
            "time.sleep(60)\n",
            str(journal.path),
        ],
        env={**os.environ, "DATABASE_URL": dsn},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    append_all(journal, History().begins())
    wait_until(lambda: shipped(dsn, journal), "it runs")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not _runs(child), "it ends")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_journal_that_lost_its_end_goes_on(journal: Journal, dsn: str) -> None:
    """A power cut can take commits that were not synced yet, but that PostgreSQL already has."""
    append_all(journal, History().begins().signs_in("ann").random_calls(10, 1))
    kept = journal.last_seq
    append_all(journal, History().random_calls(10, 2, prefix="lost"))
    with shipping(journal.path, dsn):
        wait_until(lambda: shipped(dsn, journal), "before")
    journal._db.execute("DELETE FROM events WHERE seq > ?", (kept,))
    journal._db.execute("DELETE FROM inputs WHERE seq > ?", (kept,))
    journal._db.execute("DELETE FROM people WHERE call LIKE 'lost%'")
    journal._db.execute("UPDATE sqlite_sequence SET seq = 10 WHERE name = 'people'")
    journal.last_seq = kept
    append_all(journal, History(epoch="e2").random_calls(30, 3, prefix="later"))
    with shipping(journal.path, dsn):
        wait_until(lambda: shipped(dsn, journal), "after")
    assert rows(dsn, "SELECT count(*) FROM events WHERE epoch = 'e2'") == [(journal.last_seq - kept,)]
    assert rows(dsn, "SELECT count(*) FROM calls WHERE call LIKE 'lost%'") == [(10,)]
    assert rows(dsn, "SELECT count(*) FROM people WHERE call_id LIKE 'later%'") == [(30,)]
    assert_ledger_equals_rebuilt(dsn, journal.node)


def test_a_pruned_journal_ships_on(journal: Journal, dsn: str) -> None:
    append_all(journal, History().begins().random_calls(30, 1))
    with shipping(journal.path, dsn):
        wait_until(lambda: journal.shipped().seq == journal.last_seq, "first")
    journal.save_snapshot(journal.last_seq, b"floor")
    assert journal.prune() > 0
    append_all(journal, History(epoch="e2").random_calls(30, 2, prefix="b"))
    with shipping(journal.path, dsn):
        wait_until(lambda: shipped(dsn, journal), "second")
    assert rows(dsn, "SELECT count(*), max(seq) FROM events") == [(journal.last_seq, journal.last_seq)]
    assert_ledger_equals_rebuilt(dsn, journal.node)


def test_text_that_postgres_refuses_is_made_storable(journal: Journal, dsn: str) -> None:
    hostile = "\0\x1b[2J\r\n'; DROP TABLE events; --\\u0000" + "x" * 4000
    history = History().begins()
    history.says(m.CallQuarantined(f"c\0{'y' * 100}", "ch", hostile, hostile))
    append_all(journal, history)
    journal.put_person("c1", hostile, b"\xff=cmd|' /C calc'!A0".decode(errors="surrogateescape"))
    with shipping(journal.path, dsn):
        wait_until(lambda: shipped(dsn, journal), "all")
    expected = hostile.replace("\0", "\ufffd")
    query = "SELECT body->>'error', call_id FROM events WHERE kind = 'CallQuarantined'"
    assert rows(dsn, query) == [(expected, "c\ufffd" + "y" * 100)]
    query = "SELECT number, name FROM people WHERE call_id = 'c1'"
    assert rows(dsn, query) == [(expected[:4096], "\ufffd=cmd|' /C calc'!A0")]


def test_an_escaped_backslash_is_not_a_nul() -> None:
    assert json.loads(jsonb_text('{"x":"\\\\u0000"}')) == {"x": "\\u0000"}
    assert json.loads(jsonb_text('{"x":"a\\u0000b"}')) == {"x": "a\ufffdb"}


def test_an_erased_caller_is_erased_there_too(journal: Journal, dsn: str) -> None:
    append_all(journal, History().begins().abandoned("c1", 9))
    with shipping(journal.path, dsn):
        wait_until(lambda: rows(dsn, "SELECT name FROM people") == [("Caller of c1",)], "known")
        journal.put_note("c1", "wants a refund")
        wait_until(lambda: rows(dsn, "SELECT note FROM people") == [("wants a refund",)], "noted")
        journal.erase_person("c1")
        wait_until(lambda: rows(dsn, "SELECT number, name, note FROM people") == [("", "", "")], "erased")


def test_a_ledger_of_another_version_is_rebuilt(journal: Journal, dsn: str) -> None:
    append_all(journal, History().begins().random_calls(30, 1))
    with shipping(journal.path, dsn):
        wait_until(lambda: shipped(dsn, journal), "first")
    right = ledger(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE ledger_marks SET state = '{}'")
        connection.execute("UPDATE calls SET talk_ns = 0")
    with shipping(journal.path, dsn):
        wait_until(lambda: ledger(dsn) == right, "made again")


async def test_the_state_is_not_needed_at_every_step(
    journal: Journal, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows move with their mark; the state follows later and is made again from the events."""
    monkeypatch.setattr(projection, "CHUNK", 5)
    append_all(journal, History().begins().random_calls(20, 4))
    with shipping(journal.path, dsn) as process:
        await asyncio.to_thread(wait_until, lambda: shipped(dsn, journal), "events")
        process.kill()
    right = ledger(dsn)
    connection = await asyncpg.connect(dsn)
    for name in [table.name for table in TABLES.values()] + ["ledger_marks"]:
        await connection.execute(f"DELETE FROM {name}")
    worker = projection.Projection(journal.node)
    while await worker.step(connection):
        worker = projection.Projection(journal.node)  # It died, and a new one goes on.
    await connection.close()
    assert ledger(dsn) == right


def test_an_entry_keeps_its_instant_to_the_nanosecond(journal: Journal, dsn: str) -> None:
    at_ns = 1_790_000_000_123_456_789
    journal.append("e1", [Entry(at_ns, m.ChannelLeft("x"), [m.AgentSignedIn("ann", "t")])], 0)
    with shipping(journal.path, dsn):
        wait_until(lambda: shipped(dsn, journal), "all")
    query = "SELECT at_ns, (at AT TIME ZONE 'UTC')::text FROM events"
    assert rows(dsn, query) == [(at_ns, "2026-09-21 14:13:20.123456")]


def test_the_ledger_goes_on_where_a_journal_was_set_apart(tmp_path: Path, dsn: str) -> None:
    path = tmp_path / "journal.db"
    first = Journal(path)
    history = History().begins().signs_in("ann", "bob").answered("c0", "ann", 5, 9, 3)
    history.dials("talks").passes(4).queues("talks").offers("talks", "ann").rings("talks", "ann")
    history.passes(2).connects("talks", "ann", 2).dials("waits").dials("gone").passes(4).queues("waits")
    append_all(first, history.queues("gone").passes(10))
    with shipping(path, dsn):
        wait_until(lambda: shipped(dsn, first), "all is there")
    before = len(list(first.rows(0, 10_000)))
    Journal.set_apart(path)
    second = Journal(path, node=first.node)
    first.set_shipped(9_999, 9)  # its shipper lives a little longer
    assert (second.node, second.shipped().seq) == (first.node, 0)
    again = History(history.now_ns, "e-again").says(
        m.EpochBegan("e-again", first.node, "boot", 0, "0.1", fresh=True),
        m.CallOpened("talks", "ch-talks", "100", "main", 0, adopted=True),
        m.TalkFound("talks", "", "ann", 1, "talks.offer.1", "talks.talk.1", "talks.rec.1"),
        m.CallOpened("e-again-2", "ch-waits", "100", "main", 0, adopted=True),
        m.MatchingBegan(2, 2),
    )
    again.passes(6).talk_ends("talks", "ann", 0, 6).wrap_up_ends("talks", "ann").queues("e-again-2")
    again.passes(3).says(m.CallEnded("e-again-2", "abandoned", "caller", "sales", "", 3, 0, 16))
    append_all(second, again)
    with shipping(path, dsn):
        wait_until(lambda: shipped(dsn, second), "the second one is there, too")
    assert rows(dsn, "SELECT count(*) FROM events")[0][0] == before + len(list(second.rows(0, 10_000)))
    told = rows(dsn, "SELECT call, outcome, ended_by, agent FROM calls ORDER BY call")
    assert told == [
        ("c0", "answered", "caller", "ann"),
        ("gone", "system", "system", ""),
        ("talks", "answered", "caller", "ann"),
        ("waits", "abandoned", "caller", ""),
    ]
    assert rows(dsn, "SELECT count(*) FROM visits WHERE call = 'waits'") == [(1,)]
    talks = "SELECT count(*) FROM segments WHERE call = 'talks' AND agent = 'ann' AND state = 'talking'"
    assert rows(dsn, talks) == [(1,)], "the talk has no seam"
    assert rows(dsn, "SELECT count(*) FROM segments WHERE to_ns IS NULL") == [(0,)]
    assert_ledger_equals_rebuilt(dsn, second.node)
    first.close()
    second.close()
