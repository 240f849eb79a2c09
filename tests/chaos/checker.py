"""What became of every call, asked of three who do not know of each other: the phones' own record, Asterisk,
and the ledger in PostgreSQL. They must tell one story. What was heard is judged as well.

The checker believes the phones. It allows for what nobody can know (a hang-up while Cordboard was dead is
noticed when it is back), and for nothing else. :mod:`.test_checker` breaks the product to see it notice.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from tests.asterisk.centre import LogFile
from tests.asterisk.harness import Call

from .load import Load, Patron, sends_nothing
from .world import HINDSIGHT_S, MUSIC_HZ, World

SAME_S = 0.4
"""Phones and books may differ by so much about one instant, on a machine with more work than processors."""
SILENCE_MS = 2_000.0
GAP_MS = 300.0
"""Longer without the other's voice is a gap in the talk: a quiet machine shows 20 to 40 ms."""
SETTLE_S = 5.0
"""After which nothing may be left in Asterisk of calls that are over."""
SPARE_THREADS, SPARE_FILES = 12, 12
"""Asterisk's pools keep some threads and sockets for a while."""

Row = dict[str, Any]


@dataclass
class Findings:
    """What is wrong, in words; and figures. ``lost``: callers cut off by us, or served by nobody."""

    problems: list[str] = field(default_factory=list)
    calls: int = 0
    lost: int = 0
    ended_by_fault: int = 0
    duplicated: int = 0
    gaps_ms: list[float] = field(default_factory=list)
    silences_ms: list[float] = field(default_factory=list)
    left_alone_ms: list[float] = field(default_factory=list)
    """How long callers sat in silence after their agent had hung up, because Cordboard was away."""
    offers_ms: list[float] = field(default_factory=list)
    """From a decision to the INVITE at the agent's phone."""
    outcomes: Counter[str] = field(default_factory=Counter)

    def say(self, problem: str) -> None:
        self.problems.append(problem)

    def lose(self, problem: str) -> None:
        self.lost += 1
        self.say(f"LOST: {problem}")

    def double(self, problem: str) -> None:
        self.duplicated += 1
        self.say(f"TWICE: {problem}")


@dataclass(frozen=True)
class Level:
    """What Asterisk holds when nobody calls."""

    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Level:
        threads = sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
        return cls(sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()), threads)


class Checker:
    """Compares one load of calls with Asterisk and the ledger; what was before it is not looked at."""

    def __init__(self, world: World, load: Load) -> None:
        self.world, self.load = world, load
        self.level = Level.of(world.asterisk_pid())
        self.since_ns = time.time_ns()
        self.tracks = self._tracks()
        self.first_outage = len(world.outages)
        self.apart = False
        """A journal was set apart: what ended while Cordboard was dead has its end from the ledger alone."""
        self.log = LogFile(world.centre.cordboard_log.path)

    # ------------------------------------------------------------ while calls go on

    async def agree(self, within_s: float = SETTLE_S) -> float:
        """Wait until phones, Asterisk and Cordboard name the same callers; seconds it took.

        AssertionError says who is missing where, and for how long. Who has just come or gone at the end of
        that time, when three are asked one after the other, is not missing.
        """
        began = time.monotonic()
        since: dict[str, float] = {}

        async def same() -> bool:
            found, now = await self._disagreements(), time.monotonic()
            for each in since.keys() - set(found):
                del since[each]
            since.update((each, now) for each in found if each not in since)
            stood = any(now - at > HINDSIGHT_S for at in since.values())
            return not found or (now - began >= within_s and not stood)

        async def what() -> str:
            now = time.monotonic()
            return "; ".join(f"{each} for {now - at:.1f} s" for each, at in since.items())

        await self.world.centre.until(same, "all three know the same callers", within_s, what)
        return time.monotonic() - began

    async def _disagreements(self) -> list[str]:
        before = self.load.live
        in_asterisk = {c["caller"]["number"] for c in await self.world.centre.channels()}
        view = await self.world.centre.view()
        after = self.load.live
        in_cordboard = {call.caller_number for call in view.calls}
        stay = before & after
        mine = {p.number for p in self.load.patrons}
        elsewhere = {call.caller_number for call in self.load.night.incoming}  # the fallback has them
        vanished = {p.number for p in self.load.patrons if p.vanished}
        found = [f"{n} is gone from Asterisk" for n in stay - in_asterisk]
        found += [f"{n} is unknown to Cordboard" for n in stay - in_cordboard - elsewhere]
        found += [f"{n} is left in Cordboard" for n in (in_cordboard & mine) - before - after - vanished]
        found += [f"{n} is left in Asterisk" for n in (in_asterisk & mine) - before - after - vanished]
        return found

    # ------------------------------------------------------------ afterwards

    async def judge(self) -> Findings:
        """When everybody has hung up: everything that is wrong."""
        found = Findings(calls=len(self.load.patrons))
        await self._asterisk(found)
        rows = await self._books(found)
        for patron in self.load.patrons:
            self._patron(patron, rows.get(patron.number, []), found)
        await self._talks(rows, found)
        for patron in self.load.patrons:
            await asyncio.sleep(0)  # the phones have their own work between two long judgements
            self._heard(patron, found)
        self._log(found)
        return found

    # ------------------------------------------------------------ Asterisk

    async def _asterisk(self, found: Findings) -> None:
        """Channels, bridges, files, threads and task queues are back where they were, in time."""
        end = time.monotonic() + SETTLE_S
        while left := await self._left():
            if time.monotonic() > end:
                found.problems += [f"Asterisk keeps {each}" for each in left]
                return
            await asyncio.sleep(0.2)

    async def _left(self) -> list[str]:
        centre = self.world.centre
        left = [f"channel {c['name']} {c['state']}" for c in await centre.channels()]
        left += [f"bridge {b['id']} of {len(b['channels'])}" for b in await centre.bridges()]
        left += [f"recording {name}" for name in await self._monitors()]
        now = Level.of(self.world.asterisk_pid())
        if now.files > self.level.files + SPARE_FILES:
            left.append(f"{now.files} open files instead of {self.level.files}")
        if now.threads > self.level.threads + SPARE_THREADS:
            left.append(f"{now.threads} threads instead of {self.level.threads}")
        waiting = sum(_in_queue(line) for line in (await centre.rx("core show taskprocessors")).splitlines())
        if waiting > 5:
            left.append(f"{waiting} tasks in its queues")
        return left

    def _tracks(self) -> set[Path]:
        return {path for path in self.world.centre.recordings.glob("*") if path.suffix != ".wav"}

    async def _monitors(self) -> list[str]:
        """Recordings not yet assembled are files that are still written."""
        if self.apart:
            return []  # of talks that ended meanwhile: the journal that knew what to make of them is gone
        return [path.name for path in self._tracks() if path not in self.tracks]

    # ------------------------------------------------------------ the ledger

    async def _books(self, found: Findings) -> dict[str, list[Row]]:
        """The ledger's rows by caller's number; what is wrong in it by itself."""
        centre = self.world.centre
        try:
            await self.world.shipped(within_s=20)
        except AssertionError as error:
            found.say(f"the books are not complete: {error}")
        rows = await centre.ledger(
            # A caller whom a new journal adopts has another id there.
            "WITH opened AS (SELECT node, call_id, body->>'channel' AS channel FROM events"
            "  WHERE kind = 'CallOpened' AND at_ns >= %s)"
            " SELECT c.*, p.number AS caller,"
            " (SELECT count(*) FROM events e WHERE e.node = c.node AND e.call_id IN"
            "   (SELECT o.call_id FROM opened o WHERE o.node = c.node AND o.channel = c.channel)"
            "  AND e.kind IN ('CallEnded', 'CallQuarantined')) AS ends"
            " FROM calls c LEFT JOIN people p ON p.node = c.node AND p.call_id = c.call"
            " WHERE c.opened_ns >= %s",
            self.since_ns - 1_000_000_000,
            self.since_ns - 1_000_000_000,
        )
        by_number: dict[str, list[Row]] = {}
        for row in rows:
            by_number.setdefault(row["caller"] or "", []).append(row)
        known = {p.number for p in self.load.patrons} | set(self.world.crowd)
        for number, theirs in by_number.items():
            if number not in known:
                found.say(f"the ledger knows a caller who never called: {theirs}")
        await self._books_alone(found)
        return by_number

    async def _books_alone(self, found: Findings) -> None:
        centre, since_ns = self.world.centre, self.since_ns
        for row in await centre.ledger(
            "SELECT * FROM segments WHERE to_ns IS NULL AND from_ns >= %s"
            # A talk whose queue the new journal does not know has a wrap-up that may outlast the load.
            " AND (state <> 'wrap_up' OR NOT %s)",
            since_ns,
            self.apart,
        ):
            found.say(f"a segment without an end: {row}")
        for row in await centre.ledger(
            "SELECT a.call, b.call AS other, a.agent FROM segments a JOIN segments b USING (node, agent)"
            " WHERE a.agent <> '' AND a.state <> 'wrap_up' AND b.state <> 'wrap_up' AND a.call < b.call"
            " AND a.from_ns < b.to_ns AND b.from_ns < a.to_ns AND a.from_ns >= %s",
            since_ns,
        ):
            found.double(f"an agent with two callers: {row}")
        for row in await centre.ledger(
            "SELECT * FROM (SELECT node, agent, state, to_ns, lead(from_ns) OVER w AS next_ns"
            " FROM agent_intervals WINDOW w AS (PARTITION BY node, agent ORDER BY seq)) i"
            " WHERE to_ns IS DISTINCT FROM next_ns"
        ):
            found.say(f"an agent's time with a hole: {row}")
        for row in await self._recordings():
            found.say(f"a recording without an end: {row}")

    async def _recordings(self) -> list[Row]:
        """Recordings without an end in the ledger, when there has been time to assemble them."""
        query = "SELECT * FROM recordings WHERE state = 'recording' AND started_ns >= %s"
        end = time.monotonic() + (SETTLE_S if self.apart else 0)
        while left := await self.world.centre.ledger(query, self.since_ns):
            if time.monotonic() > end:
                break
            await asyncio.sleep(0.2)
        return list(left)

    # ------------------------------------------------------------ one caller

    def _patron(self, patron: Patron, rows: list[Row], found: Findings) -> None:
        call, who = patron.call, f"{patron.number} ({patron.habit.name})"
        if patron.abandoned_ns:
            found.ended_by_fault += 1
        elif call.answered_ns is None:
            # Left before the answer, or nobody answers because Asterisk is dead or stopped.
            if call.end is None or call.end.by == "them":
                if self._silent_at(call.invited_ns):
                    found.ended_by_fault += 1
                else:
                    found.lose(f"{who} had no answer: {call.end}")
        elif call.end is None:
            found.say(f"{who} is still there")
        elif call.end.by == "them" and not self._may_be_released(patron, rows):
            found.lose(f"{who} was cut off, books: {_outcomes(rows)}")
        if len(rows) > 1:
            found.double(f"{who} is in the books {len(rows)} times: {_outcomes(rows)}")
        elif not rows:
            if not self._may_be_unknown(patron):
                found.say(f"{who} is not in the books")
        else:
            found.outcomes[rows[0]["outcome"] or "open"] += 1
            self._row(patron, rows[0], who, found)

    def _may_be_released(self, patron: Patron, rows: list[Row]) -> bool:
        """An agent hung up first, or the fallback did."""
        end = patron.call.end
        assert end is not None
        for leg in (*self.load.legs(), *self.load.night.incoming):
            if leg.caller_number == patron.number and leg.answered_ns and leg.end and leg.end.by == "us":
                before_s = (end.at_ns - leg.end.at_ns) / 1e9
                if -0.1 < before_s < 1.0 or self.world.deaf_at(leg.end.at_ns):
                    return True
        return any(row["quarantined"] for row in rows) and self._at_night(patron.number)

    def _at_night(self, number: str) -> bool:
        return any(call.caller_number == number for call in self.load.night.incoming)

    def _may_be_unknown(self, patron: Patron) -> bool:
        """It came and went while Cordboard was away, or the dialplan gave it to the fallback meanwhile."""
        call = patron.call
        last_ns = patron.abandoned_ns or (call.end.at_ns if call.end else time.monotonic_ns())
        if call.answered_ns is None or last_ns - call.answered_ns < 100_000_000:
            return True
        came_deaf = any(
            outage.deaf and outage.covers(call.invited_ns) and (outage.covers(last_ns) or outage.fatal)
            for outage in self.world.outages[self.first_outage :]
        )
        return came_deaf or (self.world.deaf_at(call.invited_ns) and self._at_night(patron.number))

    def _row(self, patron: Patron, row: Row, who: str, found: Findings) -> None:
        call, wall_ns = patron.call, time.time_ns() - time.monotonic_ns()
        unseen = self.apart and row["ends"] == 0 and row["ended_by"] == "system"
        if (row["ends"] != 1 and not unseen) or row["ended_ns"] is None:
            word = found.double if row["ends"] > 1 else found.say
            word(f"{who} has {row['ends']} ends in the books")
            return
        end = call.end
        if end is None or patron.vanished or patron.abandoned_ns or row["quarantined"]:
            return
        late_s = self._late_s(end.at_ns, row["ended_ns"] - wall_ns)
        deaf = self.world.deaf_at(end.at_ns)
        if row["outcome"] == "fallback":
            if not self._at_night(patron.number) and not deaf:
                found.say(f"{who} went to the fallback by the books, but not by its phone")
            return
        # Early in the books: they had decided to hang up, and the command was held up on the wire.
        excused = deaf and (late_s > 0 or row["ended_by"] != "caller")
        if abs(late_s) > SAME_S and not excused:
            found.say(
                f"{who} ended {late_s:+.2f} s later in the books ({row['call']}, {row['ended_ns']} ns),"
                f" outcome {row['outcome']}"
            )
        by = row["ended_by"]
        left_by_them = by in ("agent", "system") if end.by == "them" else by == "caller"
        if not left_by_them and not deaf and not self._crossed(patron):
            found.say(f"{who} was ended by {by} in the books, by its phone: {end.by}")

    def _late_s(self, at_ns: int, told_ns: int) -> float:
        """How much later the books are than the phone. While this process stood still, so did the wire: that
        does not count."""
        return (told_ns - at_ns) / 1e9 - self.world.stalled_s(at_ns, told_ns)

    def _crossed(self, patron: Patron) -> bool:
        """Caller and agent hung up within the same instant: either may be said."""
        end = patron.call.end
        assert end is not None
        legs = [leg for leg in self.load.legs() if leg.caller_number == patron.number and leg.end]
        return any(leg.end and abs(leg.end.at_ns - end.at_ns) < SAME_S * 1e9 for leg in legs)

    def _silent_at(self, at_ns: int) -> bool:
        return any(outage.silent and outage.covers(at_ns, 6.0) for outage in self.world.outages)

    # ------------------------------------------------------------ agents

    async def _talks(self, rows: dict[str, list[Row]], found: Findings) -> None:
        """Each answer of an agent's phone is a talk in the books, and the other way round."""
        wall_ns = time.time_ns() - time.monotonic_ns()
        talks = await self.world.centre.ledger(
            "SELECT s.*, p.number AS caller FROM segments s"
            " JOIN people p ON p.node = s.node AND p.call_id = s.call"
            " WHERE s.party = 'agent' AND s.state = 'talking' AND s.from_ns >= %s",
            self.since_ns,
        )
        left = list(self.load.legs())
        for talk in talks:
            had = [
                leg
                for leg in left
                if leg.phone.name == talk["agent"] and leg.caller_number == talk["caller"] and leg.answered_ns
            ]
            if not had:
                found.say(f"{talk['agent']} talks to {talk['caller']} in the books, but never did")
                continue
            leg = min(had, key=lambda leg: abs((leg.answered_ns or 0) + wall_ns - talk["from_ns"]))
            left.remove(leg)
            self._talk(leg, talk, wall_ns, found)
        for leg in left:
            if leg.answered_ns is not None and not self._may_be_no_talk(leg):
                found.say(f"{leg.phone.name} talked to {leg.caller_number}, of which the books know nothing")
        self._legs(rows, found)
        await self._offers(found)

    async def _offers(self, found: Findings) -> None:
        """How long from each decision to the phone's INVITE (a figure: a cut wire may take what it takes)."""
        wall_ns = time.time_ns() - time.monotonic_ns()
        for offer in await self.world.centre.ledger(
            "SELECT d.agent, d.at_ns, p.number FROM decisions d"
            " JOIN people p ON p.node = d.node AND p.call_id = d.call WHERE d.at_ns >= %s",
            self.since_ns,
        ):
            took_ms = [
                (leg.invited_ns + wall_ns - offer["at_ns"]) / 1e6
                for leg in self.load.legs()
                if (leg.phone.name, leg.caller_number) == (offer["agent"], offer["number"])
            ]
            if after := [each for each in took_ms if each > 0]:
                found.offers_ms.append(min(after))

    def _talk(self, leg: Call, talk: Row, wall_ns: int, found: Findings) -> None:
        assert leg.answered_ns is not None
        who = f"the talk of {talk['agent']} with {talk['caller']}"
        late_s = self._late_s(leg.answered_ns, talk["from_ns"] - wall_ns)
        if abs(late_s) > SAME_S and not (late_s > 0 and self.world.deaf_at(leg.answered_ns)):
            found.say(f"{who} begins {late_s:+.2f} s later in the books")
        if leg.end is not None and talk["to_ns"] is not None:
            late_s = self._late_s(leg.end.at_ns, talk["to_ns"] - wall_ns)
            # The agent's phone is hung up on after the caller has gone.
            if abs(late_s) > SAME_S and not self.world.deaf_at(leg.end.at_ns):
                found.say(f"{who} ends {late_s:+.2f} s later in the books")

    def _may_be_no_talk(self, leg: Call) -> bool:
        """Answered when the caller was on their way out, or nobody could hear of it."""
        assert leg.answered_ns is not None
        if leg.end is None or self.world.deaf_at(leg.answered_ns) or self.world.deaf_at(leg.end.at_ns):
            return True
        return leg.end.at_ns - leg.answered_ns < SAME_S * 1e9

    def _legs(self, rows: dict[str, list[Row]], found: Findings) -> None:
        """No caller rings two phones at once; no phone rings more often than the books say."""
        by_number: dict[str, list[Call]] = {}
        for leg in self.load.legs():
            by_number.setdefault(leg.caller_number, []).append(leg)
        for number, legs in by_number.items():
            offers = sum(row["offers"] for row in rows.get(number, []))
            if rows.get(number) and len(legs) > offers:
                found.double(f"{number} rang {len(legs)} times, by the books {offers} times")
            for one, other in combinations(legs, 2):
                begin_ns = max(one.invited_ns, other.invited_ns)
                ends = [leg.end.at_ns for leg in (one, other) if leg.end is not None]
                if (
                    len(ends) == 2
                    and min(ends) - begin_ns > SAME_S * 1e9
                    and not self.world.deaf_at(begin_ns)
                ):
                    found.double(f"{number} rang two phones at once")

    # ------------------------------------------------------------ what was heard

    def _heard(self, patron: Patron, found: Findings) -> None:
        call = patron.call
        if call.answered_ns is None or call.end is None:
            return
        end_ns = patron.abandoned_ns or call.end.at_ns
        legs = [leg for leg in self.load.legs() if leg.caller_number == patron.number and leg.answered_ns]
        nights = [leg for leg in self.load.night.incoming if leg.caller_number == patron.number]
        allowed = {MUSIC_HZ} | {leg.phone.tone for leg in (*legs, *nights) if leg.phone.tone}
        if strangers := call.ear.strangers(allowed):
            found.say(f"{patron.number} heard a stranger: {strangers}: {call.ear.story()}")
        for leg in legs:
            if strangers := leg.ear.strangers({MUSIC_HZ, call.phone.tone or 0}):
                found.say(f"{leg.phone.name} heard a stranger: {strangers}: {leg.ear.story()}")
        if not self._sound_failed(call.answered_ns, end_ns):
            if not any(self._sends_nothing(leg) for leg in legs):
                self._silence(patron, end_ns, found)
            if not patron.habit.rude:
                for leg in legs:
                    self._gap(patron, leg, found)

    def _sends_nothing(self, leg: Call) -> bool:
        return leg.voice.tone is None

    def _silence(self, patron: Patron, end_ns: int, found: Findings) -> None:
        call = patron.call
        assert call.answered_ns is not None
        if patron.habit.act is sends_nothing and end_ns - call.answered_ns < 3e9:
            return
        if (alone_ns := self._left_alone_ns(patron)) and alone_ns < end_ns:
            found.left_alone_ms.append((end_ns - alone_ns) / 1e6)
            end_ns = alone_ns
        silent_ms = call.ear.longest_gap_ms(None, call.answered_ns, end_ns)
        found.silences_ms.append(silent_ms)
        if silent_ms > SILENCE_MS and not (patron.vanished or patron.habit.rude):
            found.say(f"{patron.number} heard nothing for {silent_ms:.0f} ms: {call.ear.story()}")

    def _left_alone_ns(self, patron: Patron) -> int:
        """When the agent hung up while Cordboard was away; 0 = never. See docs/reliability.md."""
        for leg in self.load.legs():
            ours = leg.caller_number == patron.number and leg.answered_ns and leg.end and leg.end.by == "us"
            if not ours or leg.end is None:
                continue
            # Asterisk sees that Cordboard is dead, and leads the caller on; that it hangs, it cannot see.
            if self.world.deaf_at(leg.end.at_ns) and not self.world.dead_at(leg.end.at_ns):
                return leg.end.at_ns
        return 0

    def _gap(self, patron: Patron, leg: Call, found: Findings) -> None:
        """Between the first and the last time that they hear each other, they hear each other."""
        call = patron.call
        if leg.end is None or call.end is None or not leg.phone.tone or not call.phone.tone:
            return
        end_ns = min(leg.end.at_ns, call.end.at_ns) - 50_000_000
        begins = (call.ear.first(leg.phone.tone, leg.answered_ns), leg.ear.first(call.phone.tone))
        if begins[0] is None or begins[1] is None:
            lasted_s = (end_ns - (leg.answered_ns or 0)) / 1e9
            deaf = self.world.deaf_at(leg.answered_ns or 0)
            if lasted_s > (4 if deaf else 1) and not (deaf and self.world.deaf_at(end_ns)):
                found.say(
                    f"{leg.phone.name} and {patron.number} did not hear each other in {lasted_s:.1f} s:"
                    f" {call.ear.story()} | {leg.ear.story()}"
                )
            return
        since_ns = max(begins[0], begins[1])
        if since_ns >= end_ns:
            return
        gap_ms = max(
            call.ear.longest_gap_ms(leg.phone.tone, since_ns, end_ns),
            leg.ear.longest_gap_ms(call.phone.tone, since_ns, end_ns),
        )
        found.gaps_ms.append(gap_ms)
        if gap_ms > GAP_MS:
            found.say(f"a gap of {gap_ms:.0f} ms in the talk of {leg.phone.name} and {patron.number}")

    def _sound_failed(self, since_ns: int, until_ns: int) -> bool:
        return any(
            o.silent and o.began_ns < until_ns and o.over_ns > since_ns
            for o in self.world.outages[self.first_outage :]
        )

    # ------------------------------------------------------------ the log

    def _log(self, found: Findings) -> None:
        """A traceback is a mistake of ours, whatever the fault."""
        text = self.log.text()
        if self.world.tamper.startswith("breaks_the_core"):
            return
        for line in text.splitlines():
            if "Traceback" in line:
                found.say(f"a traceback in the log: {line[:1500]}")
                break


def _in_queue(line: str) -> int:
    """The second column of ``core show taskprocessors``: tasks in the queue."""
    fields = line.split()
    return int(fields[2]) if len(fields) >= 5 and fields[1].isdigit() and fields[2].isdigit() else 0


def _outcomes(rows: list[Row]) -> str:
    return ", ".join(f"{row['call']} {row['outcome']} by {row['ended_by']}" for row in rows) or "nothing"
