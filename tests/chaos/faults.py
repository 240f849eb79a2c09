"""Faults: a table. Each is injected at a random moment of a running load; a new one is a function and a line.

A function breaks something, mends it, and returns how long (seconds) the centre then needed to be itself
again. What is expected of the calls meanwhile is said by :meth:`World.broken`, and judged by the checker.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .load import Habit, Load
from .world import World, descendants, send

Inject = Callable[[World, Load, random.Random], Awaitable[float]]


@dataclass(frozen=True)
class Fault:
    """``short``, ``long``: how often in the short and the long run. ``tamper``: what runs instead of
    Cordboard. ``pause_s``: between two of them. ``misdeeds``: callers and agents misbehave meanwhile;
    ``racing``: they hang up and answer in one instant. ``crowd``: so many more callers wait meanwhile.
    ``impossible``: says why it cannot be injected here; "" if it can.
    """

    name: str
    inject: Inject
    short: int
    long: int
    tamper: str = ""
    pause_s: tuple[float, float] = (0.8, 2.5)
    misdeeds: bool = False
    racing: bool = False
    crowd: int = 0
    impossible: Callable[[], str] = str


async def killed(world: World, _: Load, dice: random.Random) -> float:
    """kill -9 of Cordboard, started again at once or a little later."""
    with world.broken("killed"):
        world.centre.cordboard.kill()
        await asyncio.sleep(dice.choice((0, 0, dice.uniform(0, 2))))
        return await world.start(world.tamper)


async def wire_cut(world: World, _: Load, dice: random.Random) -> float:
    """All connections broken; refused for a while in half of the cases."""
    with world.broken("wire_cut"):
        before = world.matched()
        world.wire.refuses = dice.random() < 0.5
        world.wire.cut()
        await asyncio.sleep(dice.uniform(0, 1.5) if world.wire.refuses else 0)
        world.wire.refuses = False
        began = time.monotonic()
        await world.matches(before)
        return time.monotonic() - began


async def half_open(world: World, _: Load, dice: random.Random) -> float:
    """Nothing passes and nothing breaks; then it flows again, or the firewall forgets the connection."""
    with world.broken("half_open"):
        before, opened = world.matched(), world.wire.opened
        world.wire.freeze()
        await asyncio.sleep(dice.uniform(0.3, 6))
        if dice.random() < 0.5:
            world.wire.cut()
        world.wire.behave()
        began = time.monotonic()
        await asyncio.sleep(0.3)
        if world.wire.opened != opened or not await _connected(world):
            await world.matches(before)
        await world.ready()
        return time.monotonic() - began


async def _connected(world: World) -> bool:
    ready = await asyncio.to_thread(world.centre.control.ready)
    return ready.ready()


async def slow_reader(world: World, _: Load, dice: random.Random) -> float:
    """Cordboard takes what Asterisk says at a crawl."""
    with world.broken("slow_reader"):
        world.wire.bytes_s = dice.randrange(1_500, 6_000)
        await asyncio.sleep(3)
        world.wire.behave()
        return await _serves(world)


async def delayed(world: World, _: Load, dice: random.Random) -> float:
    """Every message takes up to so long, in both directions."""
    with world.broken("delayed"):
        world.wire.delay_s = dice.choice((0.02, 0.1, 0.3))
        await asyncio.sleep(3)
        world.wire.behave()
        return await _serves(world)


async def doubled(world: World, _: Load, dice: random.Random) -> float:
    """Messages come twice, and answers and events change places."""
    with world.broken("doubled", deaf=False):
        world.wire.doubles, world.wire.swaps = dice.uniform(0.2, 0.6), dice.uniform(0.1, 0.4)
        await asyncio.sleep(4)
        world.wire.behave()
        return await _serves(world)


async def falsified(world: World, _: Load, dice: random.Random) -> float:
    """Some commands are answered 500 although Asterisk has carried them out."""
    with world.broken("falsified"):
        world.wire.falsifies = dice.uniform(0.02, 0.1)
        await asyncio.sleep(4)
        world.wire.behave()
        return await _serves(world)


async def _serves(world: World) -> float:
    began = time.monotonic()
    await world.ready()
    return time.monotonic() - began


async def frozen(world: World, _: Load, dice: random.Random) -> float:
    """SIGSTOP of Cordboard for up to five seconds."""
    with world.broken("frozen"):
        world.centre.cordboard.send(signal.SIGSTOP)
        await asyncio.sleep(dice.uniform(0.2, 5))
        world.centre.cordboard.send(signal.SIGCONT)
        return await _serves(world)


async def away(world: World, load: Load, _: random.Random) -> float:
    """Cordboard is dead until nobody waits for it any more: whoever does not talk goes to the fallback."""
    with world.broken("away"):
        world.centre.cordboard.kill()
        await asyncio.sleep(14)  # longer than the absolute time-out
        return await world.start(world.tamper)


async def suspended(world: World, _: Load, dice: random.Random) -> float:
    """The machine sleeps: everything but the phones is stopped."""
    with world.broken("suspended", silent=True):
        family = world.family()
        send(family, signal.SIGSTOP)
        await asyncio.sleep(dice.uniform(2, 5))
        send(family, signal.SIGCONT)
        return await _serves(world)


async def postgres_killed(world: World, _: Load, dice: random.Random) -> float:
    """kill -9 of PostgreSQL and all its children; started again after a while."""
    postgres = world.stack.postgres
    assert postgres is not None
    with world.broken("postgres_killed", deaf=False):
        send([postgres.pid, *descendants(postgres.pid)], signal.SIGKILL)
        await asyncio.sleep(dice.uniform(1, 6))
        world.note_memory()
        await asyncio.to_thread(postgres.start)
        return await _shipped(world)


async def postgres_frozen(world: World, _: Load, dice: random.Random) -> float:
    """SIGSTOP of PostgreSQL and all its children."""
    postgres = world.stack.postgres
    assert postgres is not None
    with world.broken("postgres_frozen", deaf=False):
        family = [postgres.pid, *descendants(postgres.pid)]
        send(family, signal.SIGSTOP)
        await asyncio.sleep(dice.uniform(3, 10))
        world.note_memory()
        send([postgres.pid, *descendants(postgres.pid)], signal.SIGCONT)
        return await _shipped(world)


async def shipper_killed(world: World, _: Load, __: random.Random) -> float:
    """kill -9 of the process that copies events to PostgreSQL."""
    with world.broken("shipper_killed", deaf=False):
        send(descendants(world.centre.cordboard.pid), signal.SIGKILL)
        return await _shipped(world)


async def _shipped(world: World) -> float:
    began = time.monotonic()
    await world.shipped(within_s=30)
    return time.monotonic() - began


async def asterisk_killed(world: World, load: Load, _: random.Random) -> float:
    """kill -9 of Asterisk; its calls are lost, the phones register again at the new one."""
    asterisk = world.stack.asterisk
    assert asterisk is not None
    with world.broken("asterisk_killed", silent=True, fatal=True):
        before = world.matched()
        at_ns = time.monotonic_ns()
        asterisk.kill()
        for patron in load.patrons:
            # Who had no response yet repeats the INVITE, and the new Asterisk takes it.
            if patron.call.end is None and patron.call.heard_of:
                patron.abandoned_ns = at_ns
                await patron.call.finish("them", 0)
        for phone in (*load.agents, load.night):
            for call in phone.calls:
                await call.finish("them", 0)
        await asyncio.to_thread(asterisk.start)
        began = time.monotonic()
        await world.matches(before)
        took_s = time.monotonic() - began
        await load.register()
        return took_s


async def disk_full(world: World, _: Load, dice: random.Random) -> float:
    """No file of Cordboard's takes another byte: its journal, its log, its recordings."""
    with world.broken("disk_full"):
        world.limit_files(0)
        await asyncio.sleep(dice.uniform(1, 6))
        world.limit_files(-1)
        return await _serves(world)


async def journal_spoilt(world: World, _: Load, dice: random.Random) -> float:
    """kill -9, and bytes of the journal are overwritten: it is set apart, live calls are adopted."""
    with world.broken("journal_spoilt"):
        world.centre.cordboard.kill()
        for path in (world.journal, world.journal.with_name("journal.db-wal")):
            if path.exists() and (size := path.stat().st_size) > 8_192:
                with path.open("r+b") as file:
                    file.seek(4_096 if path == world.journal else 32)
                    file.write(dice.randbytes(min(size - 4_096, 65_536)))
        took_s = await world.start(world.tamper)
        await world.ready()
        await world.staff()
        return took_s


async def core_broken(world: World, load: Load, dice: random.Random) -> float:
    """An exception in the core while it deals with one call."""
    with world.broken("core_broken", deaf=False):
        for patron in load.patrons:
            if patron.live and patron.habit.number == "100" and patron.call.answered_ns:
                await patron.call.press("9")
                break
        await asyncio.sleep(dice.uniform(0, 1))
        return await _serves(world)


async def poisoned(world: World, _: Load, __: random.Random) -> float:
    """A definition that cannot be right is to be taken over, under live calls."""
    path = world.stack.options.definition / "centre.toml"
    good = path.read_text()
    with world.broken("poisoned", deaf=False):
        path.write_text(good.replace('queue = "sales"', 'queue = "nowhere"') + "\n[[]]\n")
        world.centre.cordboard.send(signal.SIGHUP)
        await asyncio.sleep(1)
        path.write_text(good)
        return await _serves(world)


async def clock_stepped(world: World, _: Load, dice: random.Random) -> float:
    """Cordboard's wall clock goes an hour forth or back (see ``tampered.clock``)."""
    with world.broken("clock_stepped", deaf=False):
        world.argument.write_text(str(dice.choice((3_600, -3_600, 0))))
        if dice.random() < 0.3:
            with world.broken("clock_stepped"):
                world.centre.cordboard.kill()
                return await world.start(world.tamper)
        return await _serves(world)


async def misbehaved(world: World, _: Load, dice: random.Random) -> float:
    """Nothing but time: the callers and agents are the fault."""
    await asyncio.sleep(dice.uniform(1, 3))
    return await _serves(world)


async def raced(_: World, load: Load, __: random.Random) -> float:
    """As many callers as there are agents hang up in the instant of the answer."""
    for _phone in load.agents:
        load.come(RACER)
    begin = time.monotonic()
    await asyncio.sleep(1.2)
    await load.gone(10)
    return time.monotonic() - begin


RACER = Habit("hangs up as the agent answers", "250", (6, 6))

FAULTS = (
    Fault("killed", killed, 4, 100),
    Fault("wire_cut", wire_cut, 2, 60),
    Fault("half_open", half_open, 1, 15),
    Fault("slow_reader", slow_reader, 1, 10),
    Fault("delayed", delayed, 1, 15),
    Fault("doubled", doubled, 1, 15),
    Fault("falsified", falsified, 0, 10),
    Fault("frozen", frozen, 1, 20),
    Fault("away", away, 1, 4),
    Fault("suspended", suspended, 0, 8),
    Fault("shipper_killed", shipper_killed, 1, 10),
    Fault("postgres_killed", postgres_killed, 1, 8),
    Fault("postgres_frozen", postgres_frozen, 0, 8),
    Fault("disk_full", disk_full, 1, 15),
    Fault("poisoned", poisoned, 1, 10),
    Fault("core_broken", core_broken, 1, 20, tamper="breaks_the_core"),
    Fault("clock_stepped", clock_stepped, 2, 30, tamper="clock"),
    Fault("misbehaved", misbehaved, 3, 60, misdeeds=True),
    Fault("raced", raced, 1, 167, pause_s=(0, 0.3), racing=True),
    Fault("journal_spoilt", journal_spoilt, 0, 6),
    Fault("asterisk_killed", asterisk_killed, 1, 8, pause_s=(4, 7)),
)
