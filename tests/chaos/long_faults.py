"""The faults that take long, or a whole crowd of callers: for ``./scripts/bench chaos`` alone.

Their times are those of the promise (60 s without Cordboard, 120 s without PostgreSQL), not a share of them.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from .faults import (
    FAULTS,
    Fault,
    _serves,
    _shipped,
    disk_full,
    frozen,
    killed,
    postgres_killed,
    wire_cut,
)
from .load import Load
from .probe import asking
from .world import World, descendants, send

AWAY_S, POSTGRES_AWAY_S = 60.0, 120.0
SLOW_S = 0.25
"""How long each piece takes on its way to or from a slow PostgreSQL."""
CUTS = 10
LONGEST_STEP = 120
"""Points at which it may die: before and after each append, effect, command and answer."""


# ---------------------------------------------------------------- Cordboard away for a minute


async def frozen_60s(world: World, _: Load, __: random.Random) -> float:
    """SIGSTOP for a minute: its connections stay, so new callers enter an application that says nothing."""
    with world.broken("frozen_60s"):
        async with asking(world.centre.sip) as options:
            world.centre.cordboard.send(signal.SIGSTOP)
            await asyncio.sleep(AWAY_S)
            world.options(options)
            world.centre.cordboard.send(signal.SIGCONT)
            return await _serves(world)


async def away_60s(world: World, _: Load, __: random.Random) -> float:
    """kill -9, and nothing comes back for a minute."""
    with world.broken("away_60s"):
        async with asking(world.centre.sip) as options:
            world.centre.cordboard.kill()
            await asyncio.sleep(AWAY_S)
            world.options(options)
            return await world.start(world.tamper)


# ---------------------------------------------------------------- PostgreSQL away for two minutes


async def _without_postgres(world: World) -> None:
    end = time.monotonic() + POSTGRES_AWAY_S
    while time.monotonic() < end:
        await asyncio.sleep(1)
        world.note_memory()


async def postgres_killed_120s(world: World, _: Load, __: random.Random) -> float:
    """kill -9 of PostgreSQL and all its children."""
    postgres = world.postgres()
    with world.broken("postgres_killed_120s", deaf=False):
        send([postgres.pid, *descendants(postgres.pid)], signal.SIGKILL)
        await _without_postgres(world)
        await asyncio.to_thread(postgres.start)
        return await _shipped(world)


async def postgres_frozen_120s(world: World, _: Load, __: random.Random) -> float:
    """SIGSTOP of PostgreSQL and all its children."""
    postgres = world.postgres()
    with world.broken("postgres_frozen_120s", deaf=False):
        send([postgres.pid, *descendants(postgres.pid)], signal.SIGSTOP)
        await _without_postgres(world)
        send([postgres.pid, *descendants(postgres.pid)], signal.SIGCONT)
        return await _shipped(world)


async def postgres_slow_120s(world: World, _: Load, __: random.Random) -> float:
    """Everything takes its time on the way to PostgreSQL and back."""
    with world.broken("postgres_slow_120s", deaf=False):
        world.road.delay_s = SLOW_S
        await _without_postgres(world)
        world.road.delay_s = 0.0
        return await _shipped(world)


async def postgres_full_120s(world: World, _: Load, __: random.Random) -> float:
    """The file system that PostgreSQL's data are on has no room left; who cleans it up starts it again."""
    postgres = world.postgres()
    with world.broken("postgres_full_120s", deaf=False):
        async with _small_disk(world) as disk:
            filler = disk / "filler"
            with filler.open("wb") as file:
                while _written(file.fileno(), bytes(1 << 16)):
                    pass
            await _without_postgres(world)
            world.figures["postgres_died"] = not postgres.running
            filler.unlink()
            if not postgres.running:
                await asyncio.to_thread(postgres.start)
            return await _shipped(world)


def _written(file: int, data: bytes) -> bool:
    try:
        return os.write(file, data) == len(data)
    except OSError:
        return False  # no space left on device: that is what it is for


@asynccontextmanager
async def _small_disk(world: World) -> AsyncIterator[Path]:
    """PostgreSQL on a file system of its own, not much larger than its data, and back afterwards."""
    postgres = world.postgres()
    data, aside = postgres.data, postgres.data.with_name("data.aside")

    async def moves(source: Path, target: Path) -> None:
        await asyncio.to_thread(postgres.stop)
        await _run("cp", "-a", f"{source}/.", str(target))
        await asyncio.to_thread(postgres.start)

    owner = data.stat()
    await asyncio.to_thread(postgres.stop)
    data.rename(aside)
    data.mkdir(mode=0o700)
    size_kb = (
        int((await _run("du", "-sk", str(aside))).split()[0]) + 49_152
    )  # room for three files of its log
    await _run("mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(data))
    try:
        os.chown(data, owner.st_uid, owner.st_gid)
        data.chmod(0o700)
        await moves(aside, data)
        yield data
    finally:
        await asyncio.to_thread(postgres.stop)
        shutil.rmtree(aside)
        aside.mkdir(mode=0o700)
        os.chown(aside, owner.st_uid, owner.st_gid)
        await _run("cp", "-a", f"{data}/.", str(aside))
        await _run("umount", str(data))
        data.rmdir()
        aside.rename(data)
        await asyncio.to_thread(postgres.start)


# ---------------------------------------------------------------- the journal's file system


async def journal_readonly(world: World, _: Load, dice: random.Random) -> float:
    """The journal's file system fails and is remounted read-only under open files, as ext4 does by itself.

    What it takes to repair that (unmount, check, mount) needs the process to let go of it: it is killed.
    """
    folder = world.stack.state_dir.parent / "jfs"
    with world.broken("journal_readonly"):
        await world.stop()
        await _mount_journal(world, folder)
        try:
            await world.start(world.tamper)
            await world.ready()
            await asyncio.sleep(dice.uniform(1, 3))
            await _run("mount", "-o", "remount,abort", str(folder))
            await asyncio.sleep(6)
            world.centre.cordboard.kill()
            await asyncio.sleep(2)  # its shipper notices that, and lets go of the journal, too
            await _run("umount", str(folder))
            await _run("e2fsck", "-p", f"{folder}.img", accept=(0, 1))
            await _run("mount", "-o", "loop", f"{folder}.img", str(folder))
            took_s = await world.start(world.tamper)
            await world.ready()
            await world.stop()
            for path in folder.glob("journal.db*"):
                world.journal.with_name(path.name).unlink(missing_ok=True)
                shutil.copy2(path, world.journal.with_name(path.name))
        finally:
            await _run("umount", "--lazy", str(folder), accept=(0, 32))  # 32: it is not mounted
        await world.start(world.tamper)
        await world.ready()
        return took_s


async def _mount_journal(world: World, folder: Path) -> None:
    """The journal moves to an ext4 of its own; what was its file points there."""
    image = f"{folder}.img"
    await _run("mkdir", "-p", str(folder))
    await _run("truncate", "-s", "256M", image)
    await _run("mkfs.ext4", "-q", "-F", image)
    await _run("mount", "-o", "loop", image, str(folder))
    for path in world.journal.parent.glob("journal.db*"):
        if path.suffix != ".lock":
            shutil.move(path, folder / path.name)
    world.journal.symlink_to(folder / world.journal.name)


async def _run(*words: str, accept: tuple[int, ...] = (0,)) -> str:
    done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=False)
    assert done.returncode in accept, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


def may_mount() -> str:
    """ "" or why no file system can be mounted here."""
    if os.geteuid() != 0:
        return "needs root, to mount a file system"
    with tempfile.TemporaryDirectory(prefix="cb-") as folder:
        words = ["mount", "-t", "tmpfs", "tmpfs", folder]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            subprocess.run(["umount", folder], check=True)
        return done.stderr.strip()


# ---------------------------------------------------------------- again and again


async def wire_torn(world: World, _: Load, dice: random.Random) -> float:
    """Ten cuts in a row, which strike connections in every stage of being made."""
    with world.broken("wire_torn"):
        for _cut in range(CUTS):
            world.wire.cut()
            await asyncio.sleep(dice.uniform(0, 1.2))
        before = world.matched()
        world.wire.cut()
        began = time.monotonic()
        await world.matches(before)
        await world.ready()
        return time.monotonic() - began


async def two_at_once(world: World, _: Load, dice: random.Random) -> float:
    """A second Cordboard over the same state folder: it says so and ends, the first notices nothing."""
    words = ["-m", "ari_app", "run", "--json-logs", "--definition", str(world.stack.options.definition)]
    words += ["--state-dir", str(world.stack.state_dir), "--ari-url", world.wire.ari_url]
    with world.broken("two_at_once", deaf=False):
        second = await asyncio.create_subprocess_exec(
            sys.executable, *words, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(20):
            said = (await second.communicate())[1]
        assert second.returncode == 3, said.decode()
        assert b"journal" in said
        world.centre.cordboard.check_alive()
        return await _serves(world)


async def killed_at_step(world: World, _: Load, dice: random.Random) -> float:
    """It dies by itself, at the nth point from now (see ``tampered.dies``)."""
    with world.broken("killed_at_step"):
        world.argument.write_text(str(dice.randrange(1, LONGEST_STEP)))

        async def dead() -> bool:
            return not world.centre.cordboard.running

        await world.centre.until(dead, "Cordboard has died of its work", 20)
        world.argument.write_text("0")
        return await world.start(world.tamper)


async def stepped_in_recovery(world: World, _: Load, dice: random.Random) -> float:
    """The wall clock jumps an hour while a restart folds the journal, connects and compares."""
    with world.broken("stepped_in_recovery"):
        world.centre.cordboard.kill()

        async def step() -> None:
            await asyncio.sleep(dice.uniform(0, 0.7))
            world.argument.write_text(str(dice.choice((3_600, -3_600, 0))))

        return (await asyncio.gather(world.start(world.tamper), step()))[0]


# ---------------------------------------------------------------- with 200 live calls

_ONE_OF: tuple[Callable[[World, Load, random.Random], Awaitable[float]], ...] = (
    killed,
    wire_cut,
    frozen,
    postgres_killed,
    disk_full,
)


async def crowded(world: World, load: Load, dice: random.Random) -> float:
    """One of five faults while 200 callers wait, besides those who come and go."""
    world.turn += 1
    return await _ONE_OF[world.turn % len(_ONE_OF)](world, load, dice)


LONG = (
    Fault("frozen_60s", frozen_60s, 0, 1),
    Fault("away_60s", away_60s, 0, 1),
    Fault("postgres_killed_120s", postgres_killed_120s, 0, 1),
    Fault("postgres_frozen_120s", postgres_frozen_120s, 0, 1),
    Fault("postgres_slow_120s", postgres_slow_120s, 0, 1),
    Fault("postgres_full_120s", postgres_full_120s, 0, 1, impossible=may_mount),
    Fault("journal_readonly", journal_readonly, 0, 3, impossible=may_mount),
    Fault("wire_torn", wire_torn, 0, 100),
    Fault("two_at_once", two_at_once, 0, 20),
    Fault("killed_at_step", killed_at_step, 0, 200, tamper="dies"),
    Fault("stepped_in_recovery", stepped_in_recovery, 0, 20, tamper="clock"),
    Fault("crowded", crowded, 0, 20, pause_s=(2, 4), crowd=200),
)
ALL = (*FAULTS, *LONG)
