"""Who spoke with which caller last, from the ledger in PostgreSQL."""

from __future__ import annotations

import psycopg

CONNECT_LIMIT_S = 3
STATEMENT_LIMIT_MS = 2000
"""A page that takes longer is given up: the caller's way never depends on it."""
PAGE = 2000

# By opening, newest first: an index has that order, and the mark of a page is its last row's.
_PAGE = """
SELECT p.number, c.agent, COALESCE(c.ended_ns, c.answered_ns), c.opened_ns
FROM calls c JOIN people p ON p.node = c.node AND p.call_id = c.call
WHERE c.opened_ns >= %s AND c.opened_ns < %s
  AND c.answered_ns IS NOT NULL AND c.agent <> '' AND p.number <> ''
ORDER BY c.opened_ns DESC LIMIT %s"""


class MemoryUnavailable(Exception):
    """PostgreSQL cannot be asked now; the text is its own first line."""


def spoke(dsn: str, since_ns: int, before_ns: int) -> list[tuple[str, str, int, int]]:
    """The newest ``PAGE`` answered calls that opened in [``since_ns``, ``before_ns``), newest first.

    Each as (number as presented, agent, when they spoke, when it opened), instants in ns UTC. Blocking;
    belongs in a thread. Raises MemoryUnavailable.
    """
    options = f"-c statement_timeout={STATEMENT_LIMIT_MS} -c default_transaction_read_only=on"
    try:
        with psycopg.connect(dsn, connect_timeout=CONNECT_LIMIT_S, options=options) as connection:
            return connection.execute(_PAGE, (since_ns, before_ns, PAGE)).fetchall()
    except psycopg.Error as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MemoryUnavailable(first) from error
