"""Races for one caller: several phones say 200 OK at the same moment, again and again.

Used by the tests and by ``scripts/bench races``. What the phones saw is held against the books.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic_ns

from .centre import Centre
from .harness import Call, Phone

NUMBER = "250"
SEED = 20_261_122
SPREAD_MS = 8.0
"""Every other race is spread so far, so that answers meet the cancelling of their legs, too."""
LISTEN_EVERY = 20
"""Tones take a tenth of a second to tell: one race in so many is listened to."""


@dataclass
class Races:
    """``caller`` dials a queue that rings ``phones``, whose names are the agents'."""

    centre: Centre
    caller: Phone
    phones: Sequence[Phone]
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))
    winners: list[str] = field(default_factory=list)
    settled_ms: list[float] = field(default_factory=list)
    """From the answers until all but one had been let go."""

    async def one(self) -> None:
        """One race, from the call to its end."""
        call = await self.caller.dial(NUMBER)
        legs = [await phone.called() for phone in self.phones]
        for leg in legs:
            await leg.rings()
        began_ns = monotonic_ns()
        spread_ms = SPREAD_MS * (len(self.winners) % 2)
        order = self.chance.sample(legs, len(legs))
        await asyncio.gather(*(self._answer(leg, spread_ms) for leg in order))
        winner = await self._winner(legs)
        self.settled_ms.append((monotonic_ns() - began_ns) / 1e6)
        if len(self.winners) % LISTEN_EVERY == 0:
            tone = self.phones[winner].tone
            assert tone is not None
            await call.ear.hears(tone)
        assert legs[winner].end is None
        self.winners.append(self.phones[winner].name)
        await call.hang_up()
        assert (await legs[winner].gone()).by == "them"

    async def _answer(self, leg: Call, spread_ms: float) -> None:
        if spread_ms:
            await asyncio.sleep(self.chance.uniform(0, spread_ms) / 1e3)
        await leg.answer()

    async def _winner(self, legs: Sequence[Call]) -> int:
        async with asyncio.timeout(5):
            waiting = {asyncio.create_task(leg.gone(10)): n for n, leg in enumerate(legs)}
            pending = set(waiting)
            while len(pending) > 1:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        (last,) = pending
        last.cancel()
        return waiting[last]

    async def check(self) -> None:
        """The books agree with the phones: one winner a call, who is the one that talked; no misses."""
        await self.centre.settled()
        rows = await self.centre.ledger(
            "SELECT c.call, c.agent, c.outcome, c.misses, count(*) AS offers,"
            " count(*) FILTER (WHERE d.result = 'answered') AS won,"
            " count(*) FILTER (WHERE d.result = 'answered_elsewhere') AS lost"
            " FROM calls c JOIN people p ON p.node = c.node AND p.call_id = c.call"
            " JOIN decisions d ON d.node = c.node AND d.call = c.call WHERE p.number = %s"
            " GROUP BY c.call, c.agent, c.outcome, c.misses, c.opened_ns ORDER BY c.opened_ns",
            self.caller.account.user,
        )
        assert [row["agent"] for row in rows] == self.winners
        others = len(self.phones) - 1
        wrong = [
            row
            for row in rows
            if (row["outcome"], row["misses"], row["won"], row["lost"], row["offers"])
            != ("answered", 0, 1, others, others + 1)
        ]
        assert wrong == []
        assert not any(call.while_busy for phone in self.phones for call in phone.calls)
