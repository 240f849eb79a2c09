"""Callers and agents with habits: a table of who does what, and Poisson arrivals of them.

A new state of a call needs a line in ``HABITS`` (a caller who is in it), a new misdeed of a phone a line in
``HABITS`` or ``MANNERS``. All chance comes from the seed; counts and times are bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from tests.asterisk.harness import Call, MediaError, Phone, SipError
from tests.asterisk.harness.sip import Sdp

from .world import AGENTS, World

LONGEST_CALL_S = 16.0
"""Then a caller hangs up, whatever their habit: a run ends."""
CLOSING_S = 4.0
"""After the last fault, callers have so long to finish."""
CALLERS = 24
REGISTERED_S = 3_600


@dataclass(frozen=True)
class Habit:
    """How callers behave: the number they dial, seconds they stay at most (from, to), what they do there."""

    name: str
    number: str
    stay_s: tuple[float, float]
    act: Callable[[Call, random.Random], Awaitable[None]] | None = None
    weight: int = 2
    rude: bool = False
    """Its audio is no measure: it sends none, keys instead, or puts the other side on hold."""


async def chooses(call: Call, dice: random.Random) -> None:
    await asyncio.sleep(dice.uniform(0.1, 2.5))
    await call.press(dice.choice("12"))


async def presses_too_much(call: Call, dice: random.Random) -> None:
    """Early, twice, wrong ones and late ones."""
    for _ in range(dice.randrange(2, 6)):
        await call.press(dice.choice(("1", "22", "7#", "*", "0123456789")), 60, 40)
        await asyncio.sleep(dice.uniform(0, 1.0))


async def sends_nothing(call: Call, _: random.Random) -> None:
    await call.voice.mute()


async def storms(call: Call, dice: random.Random) -> None:
    """Hold and resume, as fast as the answers come."""
    await asyncio.sleep(dice.uniform(0.2, 2))
    for _ in range(10):
        await call.hold()
        await call.resume()


async def vanishes(call: Call, dice: random.Random) -> None:
    """Power off: it sends nothing any more, and does not answer."""
    await asyncio.sleep(dice.uniform(0.2, 4))
    await lose_power(call)


async def lose_power(call: Call) -> None:
    """The phone is as good as gone: no sound, no BYE, no answer."""
    endpoint = call.phone.endpoint
    endpoint.datagram_received = lambda *_: None  # type: ignore[method-assign]
    endpoint.send_bytes = lambda *_: None  # type: ignore[method-assign]
    await call.finish("us", 0)


def regain_power(phone: Phone) -> None:
    """The phone is there again; its calls are gone."""
    for method in ("datagram_received", "send_bytes"):
        phone.endpoint.__dict__.pop(method, None)


HABITS = (
    Habit("leaves in the prompt", "300", (0.1, 3)),
    Habit("leaves in the menu", "100", (0.1, 3)),
    Habit("waits and gives up", "200", (0.3, 5)),
    Habit("listens, waits, talks", "300", (8, 16)),
    Habit("chooses and talks", "100", (6, 15), chooses, 5),
    Habit("talks", "200", (4, 15), weight=5),
    Habit("talks unrecorded", "250", (4, 15), weight=3),
)
MISDEEDS = (
    Habit("presses too much", "100", (4, 12), presses_too_much, rude=True),
    Habit("sends no RTP", "200", (3, 6), sends_nothing, rude=True),
    Habit("storms with re-INVITEs", "200", (4, 12), storms, rude=True),
    Habit("vanishes", "250", (15, 15), vanishes, rude=True),
)


@dataclass
class Patron:
    """One call of one caller, and what became of it as their phone saw it."""

    number: str
    habit: Habit
    call: Call
    abandoned_ns: int = 0
    """When the one who makes the faults took the call's Asterisk away."""

    @property
    def vanished(self) -> bool:
        return self.habit.act is vanishes

    @property
    def live(self) -> bool:
        return self.call.up and not self.abandoned_ns


# ---------------------------------------------------------------- agents


async def serves(call: Call, load: Load) -> None:
    """Rings a while, answers, talks, and hangs up or leaves that to the caller."""
    dice = load.dice
    await call.ring()
    await asyncio.sleep(dice.uniform(0.05, 1.2))
    await call.answer()
    # At the latest when the caller cannot be there any more: their phone may have vanished.
    await load.stay(call, dice.uniform(0.8, 6) if dice.random() < 0.6 else LONGEST_CALL_S)
    await call.hang_up()


async def is_busy(call: Call, _: Load) -> None:
    await call.reject(486)


async def declines(call: Call, load: Load) -> None:
    await call.ring()
    await asyncio.sleep(load.dice.uniform(0, 1))
    await call.reject(603)


async def is_out(call: Call, _: Load) -> None:
    await call.ring()


async def redirects(call: Call, load: Load) -> None:
    """302 to a number of this very centre (RFC 3261, 21.3.3): followed, it would be a caller nobody knows."""
    host, port = load.world.centre.sip
    call.phone.endpoint.answer(
        call.invite, call.invite.response(302, call._tag, ("contact", f"<sip:200@{host}:{port}>"))
    )
    await call.finish("us", 302)


async def sends_early_media(call: Call, load: Load) -> None:
    """183 with a description, sound before the answer."""
    offer = Sdp.parse(call.invite.body)
    call._sdp = call.phone.describe(call.voice, offer)
    call._respond(183, body=str(call._sdp))
    await call.voice.start(offer.host, offer.port, offer.payload_type, offer.event_type)
    await asyncio.sleep(load.dice.uniform(0.1, 0.8))
    await call.answer()
    await asyncio.sleep(load.dice.uniform(0.5, 4))
    await call.hang_up()


async def answers_and_leaves(call: Call, load: Load) -> None:
    """BYE in (almost) the same instant as the answer."""
    await call.ring()
    await asyncio.sleep(load.dice.uniform(0, 0.5))
    await call.answer()
    await asyncio.sleep(load.dice.choice((0, 0.002, 0.01, 0.05)))
    await call.hang_up()


async def races(call: Call, load: Load) -> None:
    """The caller hangs up in the instant in which the agent answers: a little before, with it, or after."""
    await call.ring()
    await asyncio.sleep(load.dice.uniform(0, 0.1))
    caller = next((p.call for p in load.patrons if p.number == call.caller_number), None)
    if caller is None:
        return
    lead_s = load.dice.uniform(-0.01, 0.01)
    await asyncio.gather(_after(max(0.0, lead_s), call.answer()), _after(max(0.0, -lead_s), caller.hang_up()))
    await asyncio.sleep(1)
    await call.hang_up()


async def _after(seconds: float, what: Coroutine[Any, Any, None]) -> None:
    await asyncio.sleep(seconds)
    await what


async def is_dead(_: Call, __: Load) -> None:
    """Says nothing at all, as a phone that vanished."""


Manner = Callable[[Call, "Load"], Awaitable[None]]
MANNERS: tuple[tuple[Manner, int], ...] = ((serves, 16), (is_busy, 1), (declines, 1), (is_out, 1))
BAD_MANNERS: tuple[tuple[Manner, int], ...] = (
    (redirects, 2),
    (sends_early_media, 3),
    (answers_and_leaves, 3),
    (races, 2),
    (is_dead, 1),
)


@dataclass
class Load:
    """Phones, and callers coming at random. ``misdeeds``: some of all of them misbehave."""

    world: World
    misdeeds: bool = False
    racing: bool = False
    """Every agent answers in the instant in which the caller hangs up; there are no other callers."""
    calls_a_second: float = 1.2
    patrons: list[Patron] = field(default_factory=list)
    agents: list[Phone] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.world.dice.random())
        self._phones: list[Phone] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []
        self._coming: asyncio.Task[None] | None = None
        self._closes = float("inf")

    async def staff(self) -> Load:
        """Agents' and the fallback's phones register; everybody signs in. This load."""
        centre = self.world.centre
        for name in AGENTS:
            phone = await centre.room.phone(name, centre.account(name), register=True)
            phone.policy = self._policy
            self.agents.append(phone)
        self.night = await centre.room.phone("night", centre.account("night"), register=True)
        self.night.lines = 100
        await self.world.staff()
        return self

    def take_over(self, earlier: Load) -> None:
        """The phones of an earlier load, with an empty record."""
        self.agents, self.night, self._phones = earlier.agents, earlier.night, earlier._phones
        for phone in (*self.agents, self.night, *self._phones):
            phone.calls[:] = [call for call in phone.calls if call.end is None]
            phone.policy = self._policy if phone in self.agents else phone.policy

    async def register(self) -> None:
        """Again: Asterisk has lost its memory, or the time is over."""
        for phone in (*self.agents, self.night):
            await phone.register(REGISTERED_S)

    async def _policy(self, call: Call) -> None:
        table = ((races, 1),) if self.racing else MANNERS + (BAD_MANNERS if self.misdeeds else ())
        manner = self.dice.choices([m for m, _ in table], [w for _, w in table])[0]
        with contextlib.suppress(MediaError):  # the call was over before its sound had begun
            await manner(call, self)

    # ------------------------------------------------------------ callers

    def begin(self) -> None:
        """Callers come, unless this is a load of races: they come by :meth:`come`."""
        if self.racing:
            return
        self._coming = asyncio.create_task(self._arrivals())

    async def end(self) -> None:
        """Nobody comes any more; those who are there hang up when it suits them, and soon.

        Raises what failed in a caller's doings.
        """
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.gather(self._coming, return_exceptions=True)
        self._closes = time.monotonic() + CLOSING_S
        await self.gone(LONGEST_CALL_S + 10)
        await self._forsaken_noticed(LONGEST_CALL_S + 10)
        if self._errors:
            raise BaseExceptionGroup("callers failed", self._errors)

    async def gone(self, within_s: float) -> None:
        """Wait until no caller is there. TimeoutError after the limit."""
        async with asyncio.timeout(within_s):
            while self._tasks:
                await asyncio.wait(set(self._tasks), timeout=1)

    async def stay(self, leg: Call, seconds: float) -> None:
        """So long an agent talks if nobody hangs up; at closing time no longer with a phone that vanished."""
        over = time.monotonic() + seconds
        while leg.end is None and time.monotonic() < over:
            if time.monotonic() > self._closes and leg.caller_number in self._vanished():
                return
            with contextlib.suppress(TimeoutError):  # it goes on
                async with asyncio.timeout(min(0.5, max(0.0, over - time.monotonic()))):
                    await leg._gone.wait()

    async def _forsaken_noticed(self, within_s: float) -> None:
        """Wait until no call of a vanished phone is left: an agent gets each, hears nobody, and hangs up."""

        async def noticed() -> bool:
            there = {channel["caller"]["number"] for channel in await self.world.centre.channels()}
            return not there & self._vanished()

        await self.world.centre.until(noticed, "no call of a vanished phone is left", within_s)

    def _vanished(self) -> set[str]:
        return {p.number for p in self.patrons if p.vanished and p.call.end is not None}

    async def _arrivals(self) -> None:
        while True:
            await asyncio.sleep(min(5.0, self.dice.expovariate(self.calls_a_second)))
            habits = HABITS + (MISDEEDS if self.misdeeds else ())
            habit = self.dice.choices(habits, [h.weight for h in habits])[0]
            self.come(habit)

    def come(self, habit: Habit) -> None:
        """One caller, in the background."""
        task = asyncio.create_task(self._visit(habit))
        self._tasks.add(task)
        task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)

    async def _visit(self, habit: Habit) -> None:
        phone = await self._free_phone()
        if phone is None:
            return  # all lines are taken: the load is bounded
        number, stay_s = self.world.centre.number(), self.dice.uniform(*habit.stay_s)
        call = await phone.dial(habit.number, caller_number=number)
        patron = Patron(number, habit, call)
        self.patrons.append(patron)
        over = time.monotonic() + stay_s
        acting = asyncio.create_task(self._act(patron)) if habit.act is not None else None
        await self._until(over, patron)
        if acting is not None:
            acting.cancel()
            await asyncio.gather(acting, return_exceptions=True)
        if patron.vanished:
            self._phones.remove(phone)
        elif not patron.abandoned_ns:
            with contextlib.suppress(AssertionError, SipError):  # the checker says that it had no answer
                await call.hang_up()

    async def _until(self, over: float, patron: Patron) -> None:
        while patron.call.end is None and time.monotonic() < min(over, self._closes):
            with contextlib.suppress(TimeoutError):  # it is still there
                async with asyncio.timeout(min(0.5, max(0.0, over - time.monotonic()))):
                    await patron.call._gone.wait()

    async def _act(self, patron: Patron) -> None:
        assert patron.habit.act is not None
        try:
            await patron.call.answered(10)
            await patron.habit.act(patron.call, self.dice)
        except (AssertionError, SipError, MediaError):
            if patron.call.end is None and not self.world.outages:
                raise  # not because the call ended under its hands, and nothing was broken

    async def _free_phone(self) -> Phone | None:
        for phone in self._phones:
            if not phone.calls or phone.call.end is not None:
                return phone
        if len(self._phones) >= CALLERS:
            return None
        number = self.world.centre.number()
        phone = await self.world.centre.caller(number)
        self._phones.append(phone)
        return phone

    @property
    def live(self) -> set[str]:
        """The numbers of callers who are in a call at this instant, by their phones."""
        return {p.number for p in self.patrons if p.live}

    def legs(self) -> list[Call]:
        """Every call of an agent's phone."""
        return [call for phone in self.agents for call in phone.incoming]
