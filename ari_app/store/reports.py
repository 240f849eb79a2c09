"""Reports from PostgreSQL: calls and queues in a range of time, as plain rows.

Figures follow the field's definitions; thresholds (service level, short abandon) are those of the
newest definition, applied when the report is read. A call belongs to the range in which it was
opened (``calls``) or entered its queue (``queues``). Ranges are half open: since <= instant < until.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Literal

import psycopg
from msgspec import Struct
from psycopg.rows import dict_row

CONNECT_LIMIT_S = 5
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_LONGEST = timedelta(days=36500)
MOST_PARTS = 5_000
Period = Literal["15m", "hour", "day"]


class ReportError(Exception):
    """A report cannot be given; the text is for the person who asked."""


class RangeError(ReportError):
    """The range of time cannot be understood."""


class VoicemailLine(Struct, frozen=True):
    """One message. ``file`` is relative to the recordings' folder, "" until it is ``finished``."""

    call: str
    left_at: datetime
    queue: str
    caller_number: str | None
    caller_name: str | None
    seconds: float
    state: str
    file: str
    error: str


class CallLine(Struct, frozen=True):
    """One call. Instants are UTC; durations in seconds; None: did not happen, or not yet.

    ``short``: abandoned before the queue's ``short_abandon_s``.
    """

    call: str
    opened_at: datetime
    caller_number: str | None
    caller_name: str | None
    number: str
    flow: str
    choice: str
    queue: str
    agent: str
    outcome: str | None
    ended_by: str | None
    short: bool
    waited_s: float | None
    talk_s: float
    hold_s: float
    wrap_up_s: float
    offers: int
    misses: int
    entered_at: datetime | None
    answered_at: datetime | None
    ended_at: datetime | None
    cause: int
    adopted: bool
    quarantined: bool


class QueueLine(Struct, frozen=True):
    """One queue in a range. Shares are 0 to 1, None where nothing can be divided by.

    offered = answered + abandoned + overflowed + timed_out + lost + waiting; a call that is sent on from
    one queue to another is offered to both. ``short`` is a part of ``abandoned``.
    service_level: answered within the threshold / (answered + abandoned - short);
    of_answered: ... / answered; of_queued: left the queue within the threshold / offered.
    asa_s, median_s, p95_s: wait of answered calls (mean, and interpolated percentiles).
    abandon_rate: (abandoned - short) / (offered - short). aht_s: (talk + hold + wrap-up) / answered, over
    calls whose talk is over.
    ``since``: start of the part of the range that the line is about; None on the line of totals,
    whose ``queue`` is "".
    """

    since: datetime | None
    queue: str
    name: str
    offered: int
    answered: int
    abandoned: int
    short: int
    overflowed: int
    timed_out: int
    lost: int
    waiting: int
    service_level: float | None
    service_level_s: float | None
    of_answered: float | None
    of_queued: float | None
    asa_s: float | None
    median_s: float | None
    p95_s: float | None
    longest_s: float | None
    abandon_rate: float | None
    aht_s: float | None
    talk_s: float
    hold_s: float
    wrap_up_s: float


class AgentLine(Struct, frozen=True):
    """One agent in a range. Durations in seconds, clipped to the range; shares 0 to 1 or None.

    handled: conversations that began in the range. offers: times the phone was to ring; missed: of these,
    no answer or not reachable. occupancy: (talk + hold + wrap-up + ringing) / (that + ready).
    own_out, own_in, own_talk_s: calls that the agent's phone dialled or got by itself and that began in the
    range, answered or not, and how long they talked.
    utilisation: signed-in time that is not paused / signed-in time. aht_s: (talk + hold + wrap-up) / handled.
    """

    agent: str
    name: str
    handled: int
    offers: int
    missed: int
    signed_in_s: float
    ready_s: float
    ringing_s: float
    talk_s: float
    hold_s: float
    wrap_up_s: float
    paused_s: float
    not_responding_s: float
    own_out: int
    own_in: int
    own_talk_s: float
    occupancy: float | None
    utilisation: float | None
    aht_s: float | None


_CALLS = """
SELECT call, opened_at, caller_number, caller_name, number, flow, choice, queue, agent, outcome, ended_by,
       short, waited_s::float8, talk_s::float8, hold_s::float8, wrap_up_s::float8, offers, misses,
       entered_at, answered_at, ended_at, cause, adopted, quarantined
FROM call_list WHERE opened_ns >= %(since)s AND opened_ns < %(until)s ORDER BY opened_ns, call"""

_VOICEMAILS = """
SELECT call, left_at, queue, caller_number, caller_name, seconds::float8, state, file, error
FROM voicemails WHERE started_ns >= %(since)s AND started_ns < %(until)s ORDER BY started_ns, call"""

_QUEUES = """
WITH parts AS (SELECT * FROM unnest(%(starts)s::bigint[], %(ends)s::bigint[]) AS p(from_ns, to_ns)),
figures AS (
  SELECT from_ns, coalesce(queue, '') AS queue, max(name) AS name,
         count(*) AS offered,
         count(*) FILTER (WHERE fate = 'answered') AS answered,
         count(*) FILTER (WHERE fate = 'abandoned') AS abandoned,
         count(*) FILTER (WHERE short) AS short,
         count(*) FILTER (WHERE fate = 'overflowed') AS overflowed,
         count(*) FILTER (WHERE fate = 'timed_out') AS timed_out,
         count(*) FILTER (WHERE fate = 'lost') AS lost,
         count(*) FILTER (WHERE fate = 'waiting') AS waiting,
         count(*) FILTER (WHERE fate = 'answered' AND within) AS in_time,
         count(*) FILTER (WHERE left_queue AND within) AS left_in_time,
         avg(waited_ns) FILTER (WHERE fate = 'answered') AS asa,
         percentile_cont(0.5) WITHIN GROUP (ORDER BY waited_ns) FILTER (WHERE fate = 'answered') AS median,
         percentile_cont(0.95) WITHIN GROUP (ORDER BY waited_ns) FILTER (WHERE fate = 'answered') AS p95,
         max(waited_ns) AS longest,
         count(*) FILTER (WHERE fate = 'answered' AND talk_ns > 0) AS talked,
         sum(talk_ns) AS talk, sum(hold_ns) AS hold, sum(wrap_up_ns) AS wrap_up
  FROM parts JOIN queue_calls ON entered_ns >= from_ns AND entered_ns < to_ns
  GROUP BY GROUPING SETS ((from_ns, queue), ()))
SELECT instant(from_ns) AS since, f.queue,
       CASE WHEN from_ns IS NULL THEN 'total' ELSE f.name END AS name,
       offered, answered, abandoned, short, overflowed, timed_out, lost, waiting,
       in_time::float8 / nullif(answered + abandoned - short, 0) AS service_level,
       (SELECT max(q.service_level_ns) / 1e9 FROM queues q WHERE q.queue = f.queue)::float8
         AS service_level_s,
       in_time::float8 / nullif(answered, 0) AS of_answered,
       left_in_time::float8 / nullif(offered, 0) AS of_queued,
       (asa / 1e9)::float8 AS asa_s, median / 1e9 AS median_s, p95 / 1e9 AS p95_s,
       (longest / 1e9)::float8 AS longest_s,
       (abandoned - short)::float8 / nullif(offered - short, 0) AS abandon_rate,
       ((talk + hold + wrap_up) / 1e9 / nullif(talked, 0))::float8 AS aht_s,
       (talk / 1e9)::float8 AS talk_s, (hold / 1e9)::float8 AS hold_s, (wrap_up / 1e9)::float8 AS wrap_up_s
FROM figures f WHERE offered > 0 ORDER BY from_ns NULLS LAST, f.queue"""


_AGENTS = """
WITH clipped AS (
  SELECT agent, state,
         (least(coalesce(to_ns, %(until)s), %(until)s) - greatest(from_ns, %(since)s)) / 1e9 AS s
  FROM agent_intervals
  WHERE from_ns < %(until)s AND coalesce(to_ns, %(until)s) > %(since)s),
times AS (
  SELECT agent,
         sum(s) FILTER (WHERE state <> 'signed_out') AS signed_in,
         sum(s) FILTER (WHERE state = 'ready') AS ready,
         sum(s) FILTER (WHERE state IN ('reserved', 'ringing')) AS ringing,
         sum(s) FILTER (WHERE state = 'talking') AS talk,
         sum(s) FILTER (WHERE state = 'holding') AS hold,
         sum(s) FILTER (WHERE state = 'wrap_up') AS wrap_up,
         sum(s) FILTER (WHERE state = 'paused') AS paused,
         sum(s) FILTER (WHERE state = 'not_responding') AS not_responding
  FROM clipped GROUP BY agent),
work AS (
  SELECT agent, count(*) AS offers,
         count(*) FILTER (WHERE result = 'answered') AS handled,
         count(*) FILTER (WHERE result IN ('no_answer', 'unreachable', 'failed', 'not_confirmed')) AS missed
  FROM decisions WHERE at_ns >= %(since)s AND at_ns < %(until)s GROUP BY agent),
own AS (
  SELECT agent, count(*) FILTER (WHERE direction = 'out') AS own_out,
         count(*) FILTER (WHERE direction = 'in') AS own_in,
         sum(greatest(coalesce(ended_ns, %(until)s) - answered_ns, 0)) / 1e9 AS own_talk
  FROM own_calls WHERE began_ns >= %(since)s AND began_ns < %(until)s GROUP BY agent),
named AS (SELECT agent, max(name) AS name FROM agents GROUP BY agent),
rows AS (
  SELECT agent, coalesce(name, agent) AS name,
         coalesce(handled, 0) AS handled, coalesce(offers, 0) AS offers, coalesce(missed, 0) AS missed,
         coalesce(signed_in, 0) AS signed_in, coalesce(ready, 0) AS ready, coalesce(ringing, 0) AS ringing,
         coalesce(talk, 0) AS talk, coalesce(hold, 0) AS hold,
         coalesce(wrap_up, 0) AS wrap_up, coalesce(paused, 0) AS paused,
         coalesce(not_responding, 0) AS not_responding, coalesce(own_out, 0) AS own_out,
         coalesce(own_in, 0) AS own_in, coalesce(own_talk, 0) AS own_talk
  FROM times FULL JOIN work USING (agent) FULL JOIN own USING (agent) LEFT JOIN named USING (agent))
SELECT agent, name, handled, offers, missed, signed_in::float8 AS signed_in_s, ready::float8 AS ready_s,
       ringing::float8 AS ringing_s, talk::float8 AS talk_s, hold::float8 AS hold_s,
       wrap_up::float8 AS wrap_up_s, paused::float8 AS paused_s, not_responding::float8 AS not_responding_s,
       own_out, own_in, own_talk::float8 AS own_talk_s,
       ((talk + hold + wrap_up + ringing)
         / nullif(talk + hold + wrap_up + ringing + ready, 0))::float8 AS occupancy,
       ((signed_in - paused) / nullif(signed_in, 0))::float8 AS utilisation,
       ((talk + hold + wrap_up) / nullif(handled, 0))::float8 AS aht_s
FROM rows WHERE signed_in > 0 OR offers > 0 OR own_out > 0 OR own_in > 0 ORDER BY agent"""


def agents(dsn: str, since: datetime, until: datetime) -> list[AgentLine]:
    """The time and work of every agent who was signed in or rung in the range. Raises ``ReportError``."""
    return [AgentLine(**row) for row in _query(dsn, _AGENTS, since, until)]


def calls(dsn: str, since: datetime, until: datetime) -> list[CallLine]:
    """The calls opened in the range, oldest first. Raises ``ReportError``."""
    return [CallLine(**row) for row in _query(dsn, _CALLS, since, until)]


def voicemails(dsn: str, since: datetime, until: datetime) -> list[VoicemailLine]:
    """The messages left in the range, oldest first. Raises ``ReportError``."""
    return [VoicemailLine(**row) for row in _query(dsn, _VOICEMAILS, since, until)]


def queues(
    dsn: str, since: datetime, until: datetime, by: Period | None = None, zone: tzinfo = UTC
) -> list[QueueLine]:
    """The figures of every queue that a call entered in the range, by part of it if asked; the last
    line is their total (none if there is no call). Raises ``ReportError``."""
    return [QueueLine(**row) for row in _query(dsn, _QUEUES, since, until, parts(since, until, by, zone))]


def parts(
    since: datetime, until: datetime, by: Period | None, zone: tzinfo = UTC
) -> list[tuple[datetime, datetime]]:
    """The range cut at full quarters, hours or days of ``zone``. Raises ``RangeError`` for too many parts."""
    if by is None:
        return [(since, until)]
    found: list[tuple[datetime, datetime]] = []
    start = since
    while start < until:
        if len(found) >= MOST_PARTS:
            raise RangeError(f"the range has more than {MOST_PARTS} parts: ask for less, or by day")
        end = min(_next_cut(start, by, zone), until)
        found.append((start, end))
        start = end
    return found


def _next_cut(at: datetime, by: Period, zone: tzinfo) -> datetime:
    if by == "day":
        return _midnight(at.astimezone(zone).date() + timedelta(days=1), zone)
    length = timedelta(minutes=15) if by == "15m" else timedelta(hours=1)
    # Zones lie whole quarters of an hour apart from UTC, so quarters need no zone; hours do.
    shift = (at.astimezone(zone).utcoffset() or timedelta()) % length
    return at + length - (at - _EPOCH_START + shift) % length


def _query(
    dsn: str,
    query: str,
    since: datetime,
    until: datetime,
    cut: list[tuple[datetime, datetime]] | None = None,
) -> list[dict[str, Any]]:
    cut = cut or [(since, until)]
    arguments = {
        "since": to_ns(since),
        "until": to_ns(until),
        "starts": [to_ns(start) for start, _ in cut],
        "ends": [to_ns(end) for _, end in cut],
    }
    with connected(dsn) as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), arguments).fetchall()


@contextmanager
def connected(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection that shows instants in UTC; what goes wrong becomes one line for a person."""
    try:
        with psycopg.connect(dsn, connect_timeout=CONNECT_LIMIT_S, options="-c timezone=UTC") as connection:
            yield connection
    except psycopg.errors.UndefinedTable as error:
        raise ReportError(
            "the database has no Cordboard tables: run python -m ari_app.store.migrate"
        ) from error
    except psycopg.Error as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ReportError(f"PostgreSQL (DATABASE_URL): {first}") from error


def to_ns(at: datetime) -> int:
    """Nanoseconds UTC of an instant, exact to the microsecond."""
    return (at - _EPOCH_START) // timedelta(microseconds=1) * 1000


def from_ns(at_ns: int) -> datetime:
    """The instant, rounded down to the microsecond."""
    return _EPOCH_START + timedelta(microseconds=at_ns // 1000)


def parse_range(text: str, now: datetime, zone: tzinfo = UTC) -> tuple[datetime, datetime]:
    """A range of time as people say it, as (since, until) in UTC. Raises ``RangeError``.

    ``today``, ``yesterday``; ``30m``, ``2h``, ``7d``, ``2w``: the last so long; a date: that day;
    an instant: from then on; ``A..B``: from A (a date: its start) to B (a date: its end), either
    may be missing. Dates and instants are ISO 8601; without an offset they are in ``zone``.
    """
    words = text.strip()
    today = now.astimezone(zone).date()
    if words == "today":
        return _midnight(today, zone), now.astimezone(UTC)
    if words == "yesterday":
        return _midnight(today - timedelta(days=1), zone), _midnight(today, zone)
    last = re.fullmatch(r"(\d{1,6})([mhdw])", words)
    if last is not None:
        length = min(int(last[1]) * _UNITS[last[2]], _LONGEST)
        return (now - length).astimezone(UTC), now.astimezone(UTC)
    if ".." not in words:
        since, end = _instant(words, zone, text)
        return _ordered(since, end or now.astimezone(UTC), text)
    first, _, second = words.partition("..")
    since = _instant(first, zone, text)[0] if first else _EPOCH_START
    until = now.astimezone(UTC)
    if second:
        at, end = _instant(second, zone, text)
        until = end or at
    return _ordered(since, until, text)


def _instant(words: str, zone: tzinfo, text: str) -> tuple[datetime, datetime | None]:
    """The instant, and for a whole day its end."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", words):
            day = date.fromisoformat(words)
            return _midnight(day, zone), _midnight(day + timedelta(days=1), zone)
        at = datetime.fromisoformat(words)
        return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC), None
    except (ValueError, OverflowError) as error:
        raise RangeError(
            f"{text[:60]!r} is no range of time: say today, yesterday, 2h, 7d, 2026-01-31,"
            " 2026-01-31T08:00 or FROM..TO"
        ) from error


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _ordered(since: datetime, until: datetime, text: str) -> tuple[datetime, datetime]:
    if since > until:
        raise RangeError(f"{text[:60]!r}: the range ends ({until:%FT%TZ}) before it begins ({since:%FT%TZ})")
    return since, until
