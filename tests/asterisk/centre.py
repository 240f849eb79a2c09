"""A whole call centre for a test: PostgreSQL, Asterisk and Cordboard as real processes, and phones around it.

One stack serves a test module (:func:`start`), one :class:`Centre` a test. Callers come over a trunk that
is told by its address, so there may be any number of them; agents' phones register. What a test leaves
behind in Asterisk, in the books or in a log fails that test (:meth:`Centre.close`).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, LiteralString, TypeVar

import psycopg
import pytest
from psycopg.rows import dict_row

from ari_app.deploy import stack as stacks
from ari_app.deploy.child import Child
from ari_app.deploy.console import Progress
from ari_app.deploy.ports import free_port
from ari_app.deploy.stack import Stack, StackOptions
from ari_app.settings import control_path
from ari_app.web.client import ControlClient
from ari_app.web.errors import NoAnswer, NotRunning, Refused
from ari_app.web.view import AgentView, View

from .harness import Account, Call, Phone, PhoneRoom, Policy
from .harness.programs import RUNTIME, asterisk_program
from .harness.sipp import AgentScript, CallerScript, Sipp

PROVIDER_HOST: Final = "127.0.0.2"
"""Callers' phones are here; Asterisk takes what comes from here for the trunk's."""
HOST: Final = "127.0.0.1"
LIMIT_S: Final = 10.0
POLL_S: Final = 0.03

KNOWN_WARNINGS: Final = ("Playback failed for sound:", r"chan_pjsip\.c: Session already DISCONNECTED")
"""Asterisk's words for a caller who hangs up during a prompt, and for an answer that meets a CANCEL."""

Row = dict[str, Any]
T = TypeVar("T")
_serials = itertools.count(random.randrange(1_000, 9_000) * 100)


@dataclass(frozen=True)
class Plan:
    """What the centre's definition says. Durations in seconds, short enough for a test to see their end.

    Numbers: 100 greets and offers a menu (1 sales, 2 support; two attempts, then it hangs up); 200 goes
    straight to sales, 250 straight to support; 300 greets at length before the same menu; 400 leads to a
    queue that nobody serves. Sales records and has a wrap-up, support neither.
    """

    agents: tuple[str, ...] = ("alice", "bob", "carol")
    callers: tuple[str, ...] = ("dave",)
    """Callers' phones that register instead of coming over the trunk."""
    ring_timeout_s: float = 2.0
    wrap_up_s: float = 1.0
    retry_pause_s: float = 0.5
    max_misses: int = 2
    menu_timeout_s: float = 1.5
    record: bool = True
    pin_lock_s: float = 900.0
    pin_timeout_s: float = 5.0
    fallback_s: int = 20
    absolute_timeout_s: int = 120
    nobody: str = ""
    """Further keys of the queue that nobody serves, as TOML."""
    support: str = ""
    """Further keys of the queue support, as TOML."""
    devices: Mapping[str, str] = field(default_factory=dict)
    """Agent -> the keys that say which phones they have, as TOML; else one of the agent's name."""
    more: str = ""
    """Further tables, as TOML."""
    service_level_s: float = 20.0
    desks: tuple[str, ...] = ()
    lamps: bool = False
    of_agent: Mapping[str, str] = field(default_factory=dict)
    """Agent -> further keys of theirs, as TOML."""

    def toml(self) -> str:
        parts = [
            _CENTRE.format(
                plan=self,
                record=str(self.record).lower(),
                lamps=str(self.lamps).lower(),
                desks=json.dumps(self.desks),
                host=PROVIDER_HOST,
            )
        ]
        for agent in self.agents:
            queues = 'queues = ["sales", "support"]'
            device = self.devices.get(agent, f'phone = "{agent}"')
            parts.append(f'[agents.{agent}]\nname = "{agent.title()}"\n{device}\n{queues}')
            parts.append(self.of_agent.get(agent, ""))
            parts.append(f'[phones.{agent}]\nrole = "agent"')
        parts += [f'[phones.{desk}]\nrole = "agent"' for desk in self.desks]
        parts += [f'[phones.{caller}]\nrole = "caller"' for caller in self.callers]
        return "\n".join([*parts, self.more])


_CENTRE = """
[centre]
absolute_timeout_s = {plan.absolute_timeout_s}
desks = {desks}
[numbers]
"100" = "main"
"200" = "straight"
"250" = "straight-support"
"300" = "talkative"
"400" = "deserted"
[codes]
pin_timeout_s = {plan.pin_timeout_s}
pin_lock_s = {plan.pin_lock_s}
[fallback]
after_s = {plan.fallback_s}
[sip]
tcp = false
lamps = {lamps}
[flows.main]
start = "greeting"
[flows.main.nodes.greeting]
kind = "play"
sounds = ["beep"]
next = "menu"
[flows.main.nodes.menu]
kind = "menu"
sounds = ["beep"]
timeout_s = {plan.menu_timeout_s}
attempts = 2
invalid_sounds = ["beeperr"]
choices = {{ 1 = "sales", 2 = "support" }}
on_failure = "farewell"
[flows.main.nodes.sales]
kind = "queue"
queue = "sales"
sounds = ["beep"]
[flows.main.nodes.support]
kind = "queue"
queue = "support"
[flows.main.nodes.farewell]
kind = "hangup"
sounds = ["beeperr"]
[flows.straight]
start = "sales"
[flows.straight.nodes.sales]
kind = "queue"
queue = "sales"
[flows.straight-support]
start = "support"
[flows.straight-support.nodes.support]
kind = "queue"
queue = "support"
[flows.deserted]
start = "nobody"
[flows.deserted.nodes.nobody]
kind = "queue"
queue = "nobody"
[flows.talkative]
start = "greeting"
[flows.talkative.nodes.greeting]
kind = "play"
sounds = ["basic-pbx-ivr-main"]
next = "menu"
[flows.talkative.nodes.menu]
kind = "menu"
sounds = ["beep"]
timeout_s = {plan.menu_timeout_s}
choices = {{ 1 = "sales", 2 = "support" }}
on_failure = "support"
[flows.talkative.nodes.sales]
kind = "queue"
queue = "sales"
[flows.talkative.nodes.support]
kind = "queue"
queue = "support"
[queues.sales]
name = "Sales"
ring_timeout_s = {plan.ring_timeout_s}
wrap_up_s = {plan.wrap_up_s}
retry_pause_s = {plan.retry_pause_s}
max_misses = {plan.max_misses}
record = {record}
[queues.support]
name = "Support"
service_level_s = {plan.service_level_s}
ring_timeout_s = {plan.ring_timeout_s}
wrap_up_s = 0
retry_pause_s = {plan.retry_pause_s}
max_misses = {plan.max_misses}
record = false
{plan.support}
[queues.nobody]
name = "Nobody"
record = false
{plan.nobody}
[trunks.provider]
server = "{host}"
match = ["{host}/32"]
numbers = ["100", "200", "250", "300", "400"]
"""


def start(folder: Path, plan: Plan) -> Stack:
    """Start a stack over a fresh state folder, with ports of its own. Call it from the main thread."""
    definition = folder / "definition"
    definition.mkdir(parents=True)
    (definition / "centre.toml").write_text(plan.toml())
    first_rtp = random.randrange(10_000, 31_000, 500)
    options = StackOptions(
        definition=definition,
        state_dir=folder / "s",
        runtime_dir=RUNTIME,
        sip_bind=HOST,
        sip_port=free_port("udp"),
        http_port=free_port(),
        ami_port=free_port(),
        rtp_ports=(first_rtp, first_rtp + 499),
        durable=False,
    )
    stack = Stack(options, Progress(io.StringIO()))
    program = asterisk_program()  # skips the test, with the remedy, if there is none
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks, "find_asterisk", lambda *_: program)
        stack.start()
    return stack


def discard(stack: Stack) -> None:
    """Stop the stack; its logs, journal and recordings stay for who looks into a failure."""
    stack.stop()
    shutil.rmtree(stack.state_dir / "postgres", ignore_errors=True)


class LogFile:
    """A log from here on. ``surprises``: what should not be in it, unless it matches what is expected."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = path.stat().st_size if path.exists() else 0

    def text(self) -> str:
        with self.path.open("rb") as opened:
            opened.seek(self._start)
            return opened.read().decode(errors="replace")

    def lines(self) -> list[str]:
        return self.text().splitlines()


def _is_surprise(line: str) -> bool:
    """Of Cordboard's log: a warning or worse, or a line that is no log line (a traceback)."""
    try:
        return json.loads(line).get("level") not in ("info", "debug")
    except ValueError:
        return bool(line.strip())


@dataclass
class Centre:
    """One test's view of a running stack."""

    stack: Stack
    plan: Plan
    room: PhoneRoom
    expected_in_log: list[str] = field(default_factory=list)
    """Regular expressions for warnings that the test provokes, in Cordboard's log or Asterisk's."""
    since_ns: int = field(default_factory=time.time_ns)

    def __post_init__(self) -> None:
        self.control = ControlClient(control_path(self.stack.state_dir))
        self.cordboard_log = LogFile(self.cordboard.log)
        self.asterisk_log = LogFile(self.stack.state_dir / "asterisk" / "log" / "messages.log")
        self.recordings = self.stack.state_dir / "recordings"
        self._secrets = tomllib.loads((self.stack.state_dir / "secrets.toml").read_text())
        self.restarted = False

    # ------------------------------------------------------------ phones

    @property
    def sip(self) -> tuple[str, int]:
        assert self.stack.options.sip_port is not None
        return HOST, self.stack.options.sip_port

    def pin(self, agent: str) -> str:
        pin: str = self._secrets["agents"][agent]["pin"]
        return pin

    def account(self, name: str) -> Account:
        """Of a phone that registers (an agent's, or one of ``plan.callers``)."""
        return Account(name, *self.sip, self._secrets["phones"][name]["secret"])

    async def caller(self, name: str = "ann") -> Phone:
        """A phone outside, behind the trunk, with a number that no other caller of this run has."""
        account = Account(self.number(), *self.sip)
        return await self.room.phone(name, account, host=PROVIDER_HOST)

    def number(self) -> str:
        """A caller's number that no other caller of this run has."""
        return f"+4930{next(_serials)}"

    async def registered_caller(self, name: str = "dave") -> Phone:
        return await self.room.phone(name, self.account(name), register=True)

    async def agent(
        self, name: str, policy: Policy | None = None, *, signed_in: bool = True, registered: bool = True
    ) -> Phone:
        """The agent's phone; the agent is signed in by the control socket."""
        phone = await self.room.phone(name, self.account(name), register=registered)
        if registered:
            await self.phone_known(name)
        if policy is not None:
            phone.policy = policy
        if signed_in:
            await self.act(name, "sign_in")
        return phone

    async def phone_known(self, name: str) -> None:
        """Wait until the phone has answered Asterisk's OPTIONS, and Cordboard knows."""

        async def is_known() -> bool:
            if (await self.ari(f"endpoints/PJSIP/{name}"))["state"] != "online":
                return False
            return (await self.agent_view(name)).reachable

        await self.until(is_known, f"{name}'s phone is known")

    @asynccontextmanager
    async def sipp_agents(self, *names: str, scripts: Sequence[AgentScript]) -> AsyncIterator[Sipp]:
        """Agents whose phones are one SIPp's: registered, signed in, and signed out at the end."""
        sipp = Sipp.agents(scripts, self.sip)
        for name in names:
            await self._register_at(name, sipp.port)
        async with sipp:
            for name in names:
                await self.act(name, "sign_in")
            yield sipp
            for name in names:
                await self._unless_refused(name, "sign_out")
            await self.settled()
        for name in names:
            await self._register_at(name, sipp.port, expires_s=0)

    async def _register_at(self, name: str, port: int, expires_s: int = 300) -> None:
        """Register from a port where another phone will be: Asterisk believes the port, not the Contact."""
        phone = Phone(name, self.account(name), None, self.room.media, self.room.tones)
        await phone.open(HOST, port)
        try:
            await phone.register(expires_s)
            if expires_s:
                await self.phone_known(name)
        finally:
            phone.endpoint.close()
        await asyncio.sleep(0)  # the transport closes its socket at the loop's next turn

    def sipp_callers(self, scripts: Sequence[CallerScript], calls_a_second: float = 10.0) -> Sipp:
        """Callers over the trunk, by SIPp."""
        return Sipp.callers(scripts, self.sip, calls_a_second=calls_a_second, host=PROVIDER_HOST)

    async def dial_code(self, phone: Phone, code: str, pin: str = "") -> Call:
        """Dial a feature code and, once the prompt is heard, type a PIN and #. The call, still up."""
        call = await phone.dial(code)
        await call.answered()
        await call.ear.hears_other()
        if pin:
            await call.press(f"{pin}#")
        return call

    # ------------------------------------------------------------ Cordboard

    @property
    def cordboard(self) -> Child:
        assert self.stack.cordboard is not None
        return self.stack.cordboard

    def kill_cordboard(self) -> None:
        """kill -9; nothing starts it again until :meth:`start_cordboard`."""
        self.restarted = True
        self.cordboard.kill()

    async def start_cordboard(self, within_s: float = LIMIT_S) -> float:
        """Start it again and wait until calls are offered; how long that took, in seconds."""
        self.restarted = True
        began = time.monotonic()
        self.cordboard.start()
        await self.ready(within_s)
        return time.monotonic() - began

    async def ready(self, within_s: float = LIMIT_S) -> None:
        """Wait until Cordboard serves calls and records."""

        async def is_ready() -> bool:
            try:
                answer = await asyncio.to_thread(self.control.ready)
            except (NotRunning, NoAnswer):
                self.cordboard.check_alive()  # not up yet
                return False
            return answer.ready() and answer.ami

        await self.until(is_ready, "Cordboard is ready", within_s)

    async def command(self, *words: str, ok: bool = True) -> str:
        """What ``python -m ari_app WORDS`` prints about this centre."""
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "ari_app", *words, "--state-dir", str(self.stack.state_dir)],
            capture_output=True,
            check=False,
            timeout=30,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "250"},
        )
        if ok:
            assert done.returncode == 0, (words, done.returncode, done.stderr.decode(errors="replace"))
        return done.stdout.decode()

    async def view(self) -> View:
        """The live view, not older than this question: what Cordboard keeps at hand may be."""
        asked_ns = time.time_ns()

        async def look() -> View | None:
            seen = await asyncio.to_thread(self.control.view)
            return seen if seen.at_ns >= asked_ns else None

        return await self.until(look, "a fresh view")

    async def act(self, agent: str, action: str, reason: str = "") -> None:
        """A wish by the control socket; carried out when this returns."""
        await asyncio.to_thread(self.control.act, agent, action, reason)

    async def agent_view(self, name: str) -> AgentView:
        return await asyncio.to_thread(self.control.agent, name)

    async def agent_is(self, name: str, *states: str, within_s: float = LIMIT_S) -> AgentView:
        """Wait until the agent is in one of the states."""

        async def is_there() -> AgentView | None:
            seen = await self.agent_view(name)
            return seen if seen.state in states else None

        return await self.until(is_there, f"{name} is {' or '.join(states)}", within_s, self._agents)

    async def _agents(self) -> str:
        return ", ".join(f"{a.agent} {a.state}" for a in (await self.view()).agents)

    async def call_is(self, call: Call, *states: str, within_s: float = LIMIT_S) -> str:
        """Wait until a caller's call is in one of the states; its id."""
        number = call.phone.account.user
        seen: list[str] = []

        async def is_there() -> str | None:
            seen[:] = []
            for found in (await self.view()).calls:
                if found.caller_number == number:
                    seen.append(found.state)
                    if found.state in states:
                        return found.call
            return None

        async def what() -> str:
            return f"it is {seen or 'not there'}"

        return await self.until(is_there, f"{call} is {' or '.join(states)}", within_s, what)

    async def until(
        self,
        condition: Callable[[], Awaitable[T | None]],
        what: str,
        within_s: float = LIMIT_S,
        explain: Callable[[], Awaitable[str]] | None = None,
    ) -> T:
        """Await ``condition()`` until it is true; what it gave. AssertionError after the limit."""
        end = time.monotonic() + within_s
        while True:
            found = await condition()
            if found:
                return found
            if time.monotonic() > end:
                detail = f": {await explain()}" if explain is not None else ""
                raise AssertionError(f"not within {within_s} s: {what}{detail}")
            await asyncio.sleep(POLL_S)

    # ------------------------------------------------------------ Asterisk

    def _ari(self, path: str, method: str = "GET") -> Any:
        """Over HTTP (404 gives None). Another application name is not needed to look."""
        url = f"http://{HOST}:{self.stack.options.http_port}/ari/{path}"
        secret = base64.b64encode(f"cordboard:{self._secrets['ari']['password']}".encode()).decode()
        request = urllib.request.Request(url, method=method, headers={"Authorization": f"Basic {secret}"})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    async def ari(self, path: str, method: str = "GET") -> Any:
        return await asyncio.to_thread(self._ari, path, method)

    async def rx(self, command: str) -> str:
        assert self.stack.asterisk is not None
        return await asyncio.to_thread(self.stack.asterisk.rx, command)

    async def channels(self) -> list[Row]:
        found: list[Row] = await self.ari("channels")
        return found

    async def bridges(self) -> list[Row]:
        found: list[Row] = await self.ari("bridges")
        return found

    # ------------------------------------------------------------ the books

    def _ledger(self, query: LiteralString, parameters: Sequence[object]) -> list[Row]:
        with psycopg.connect(self.stack.database_url, row_factory=dict_row, connect_timeout=5) as connection:
            return connection.execute(query, parameters).fetchall()

    async def ledger(self, query: LiteralString, *parameters: object) -> list[Row]:
        """Rows of PostgreSQL, as they are at this instant."""
        return await asyncio.to_thread(self._ledger, query, parameters)

    async def ids(self, number: str) -> list[str]:
        """The ids of the calls from this number, oldest first."""
        rows = await self.ledger(
            "SELECT e.call_id FROM events e JOIN people p ON p.node = e.node AND p.call_id = e.call_id"
            " WHERE e.kind = 'CallOpened' AND p.number = %s AND e.at_ns >= %s ORDER BY e.ordinal",
            number,
            self.since_ns - 1_000_000_000,
        )
        return [row["call_id"] for row in rows]

    async def id_of(self, call: Call) -> str:
        """The id of a caller's call, as soon as it is in PostgreSQL."""
        return await self.nth_id(
            call.phone.account.user, [c for c in call.phone.calls if c.outgoing].index(call)
        )

    async def nth_id(self, number: str, place: int = 0) -> str:
        """The id of this number's first call (second, ...), as soon as it is in PostgreSQL."""

        async def find() -> str | None:
            found = await self.ids(number)
            return found[place] if len(found) > place else None

        return await self.until(find, "the call is in the books")

    async def row(self, call: Call | str) -> Row:
        """The ledger's row of a call, once it has ended there."""
        key = call if isinstance(call, str) else await self.id_of(call)

        async def ended() -> list[Row]:
            return await self.ledger("SELECT * FROM calls WHERE call = %s AND ended_ns IS NOT NULL", key)

        (row,) = await self.until(ended, f"call {key} has ended in the ledger")
        return dict(row)

    async def story(self, call: Call | str) -> list[tuple[str, Row]]:
        """Every event of a call, (kind, body), in order, once PostgreSQL has all that was committed."""
        key = call if isinstance(call, str) else await self.id_of(call)
        await self.shipped()
        rows = await self.ledger("SELECT kind, body FROM events WHERE call_id = %s ORDER BY ordinal", key)
        return [(row["kind"], row["body"]) for row in rows]

    async def shipped(self, within_s: float = LIMIT_S) -> None:
        """Wait until PostgreSQL has every row of the journal, and the ledger every event."""

        async def caught_up() -> bool:
            seq = (await asyncio.to_thread(self.control.ready)).journal_seq
            try:
                rows = await self.ledger(
                    "SELECT m.seq, m.ordinal = l.ordinal AS folded"
                    " FROM marks m JOIN ledger_marks l USING (node)"
                )
            except psycopg.OperationalError:
                return False  # PostgreSQL is being started again
            return [(row["seq"], row["folded"]) for row in rows] == [(seq, True)]

        await self.until(caught_up, "all rows are in PostgreSQL", within_s)

    # ------------------------------------------------------------ afterwards

    async def settled(self, within_s: float = LIMIT_S) -> None:
        """Wait until no call is left anywhere, no agent is held, and the books are complete."""

        async def quiet() -> bool:
            view = await self.view()
            if view.calls or any(agent.held for agent in view.agents):
                return False
            if await self.channels() or await self.bridges():
                return False
            return not any(self._unfinished())

        await self.until(quiet, "everything is quiet", within_s, self._what_is_left)
        await self.shipped(within_s)

    def _unfinished(self) -> Iterable[Path]:
        return (path for path in self.recordings.glob("*") if path.suffix != ".wav")

    async def _what_is_left(self) -> str:
        view = await self.view()
        parts = [f"call {call.call} {call.state}" for call in view.calls]
        parts += [f"agent {agent.agent} {agent.state}" for agent in view.agents if agent.held]
        parts += [f"channel {c['id']} {c['name']} {c['state']}" for c in await self.channels()]
        parts += [f"bridge {bridge['id']} {bridge['channels']}" for bridge in await self.bridges()]
        parts += [path.name for path in self._unfinished()]
        return "; ".join(parts) or "nothing is left"

    async def assert_clean(self) -> None:
        """Nothing is left in Asterisk, the books add up, and no log holds a surprise."""
        assert await self.channels() == []
        assert await self.bridges() == []
        await self._assert_no_playbacks()
        await self._assert_recordings()
        await self._assert_books()
        assert self.surprises() == []

    def surprises(self) -> list[str]:
        found = [line for line in self.cordboard_log.lines() if _is_surprise(line)]
        found += [line for line in self.asterisk_log.lines() if re.search(r"\] (WARNING|ERROR)\[", line)]
        known = [*KNOWN_WARNINGS, *self.expected_in_log]
        return [line for line in found if not any(re.search(pattern, line) for pattern in known)]

    async def _assert_no_playbacks(self) -> None:
        """Playbacks cannot be listed: each one that was ever started is asked for."""
        rows = await self.ledger(
            "SELECT body->>'playback' AS playback FROM events WHERE body ? 'playback' AND at_ns >= %s",
            self.since_ns,
        )
        left = [row["playback"] for row in rows if await self.ari(f"playbacks/{row['playback']}")]
        assert left == []

    async def _assert_recordings(self) -> None:
        assert list(self._unfinished()) == []
        rows = await self.ledger("SELECT * FROM recordings WHERE started_ns >= %s", self.since_ns)
        for row in rows:
            assert row["state"] == "finished", row
            assert (self.recordings / row["file"]).stat().st_size > 44, row

    async def _assert_books(self) -> None:
        ends = await self.ledger(
            "SELECT o.call_id, count(e.call_id) AS ends FROM events o LEFT JOIN events e ON e.node = o.node"
            " AND e.call_id = o.call_id AND e.kind IN ('CallEnded', 'CallQuarantined')"
            " WHERE o.kind = 'CallOpened' GROUP BY o.call_id HAVING count(e.call_id) <> 1"
        )
        assert ends == [], "a call has exactly one end"
        assert await self.ledger("SELECT * FROM calls WHERE ended_ns IS NULL") == []
        assert await self.ledger("SELECT * FROM segments WHERE to_ns IS NULL") == []
        assert await self.ledger("SELECT * FROM decisions WHERE result IN ('offered', 'superseded')") == []
        gaps = await self.ledger(
            "SELECT * FROM (SELECT agent, state, to_ns, lead(from_ns) OVER w AS next_ns FROM agent_intervals"
            " WINDOW w AS (PARTITION BY node, agent ORDER BY seq)) i WHERE to_ns IS DISTINCT FROM next_ns"
        )
        assert gaps == [], "an agent's intervals leave no gap"
        twice = await self.ledger(
            "SELECT a.call, b.call AS other, a.agent FROM segments a JOIN segments b USING (node, agent)"
            " WHERE a.agent <> '' AND a.state <> 'wrap_up' AND b.state <> 'wrap_up' AND a.call < b.call"
            " AND a.from_ns < b.to_ns AND b.from_ns < a.to_ns"
        )
        assert twice == [], "nobody is offered to two"

    async def close(self) -> None:
        """Hang up, sign out, wait for quiet and check what is left. For the fixture."""
        try:
            await self.room.close()
        finally:
            await self.reset()
        await self.assert_clean()

    async def reset(self) -> None:
        """Nobody is signed in and nothing goes on any more."""
        for agent in self.plan.agents:
            await self._unless_refused(agent, "sign_out")
            await self._unless_refused(agent, "unlock")
        await self.settled()

    async def _unless_refused(self, agent: str, action: str) -> None:
        with contextlib.suppress(Refused):  # done meanwhile
            await self.act(agent, action)
