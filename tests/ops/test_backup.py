"""A backup taken while calls go on, restored onto an empty machine: the same books, and calls go on."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ari_app import settings
from ari_app.deploy import backup as backups, stack as stacks
from ari_app.deploy.archive import ArchiveError, ArchiveReader, ArchiveWriter
from ari_app.deploy.backup import BackupError
from ari_app.deploy.console import Progress
from ari_app.deploy.ports import free_port
from ari_app.deploy.postgres import PostgresServer
from ari_app.deploy.stack import Stack, StackOptions
from tests.asterisk.centre import Centre, Plan
from tests.asterisk.conftest import Running
from tests.asterisk.harness import PhoneRoom, rings
from tests.asterisk.harness.programs import RUNTIME, asterisk_program

pytestmark = pytest.mark.timeout(180)
PLAN = Plan(agents=("alice", "bob"))


def cordboard(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "-m", "ari_app", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )


def done(*words: str) -> str:
    ended = cordboard(*words)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def report(state_dir: Path) -> list[str]:
    said = done("report", "calls", "--since", "1d", "--format", "csv", "--state-dir", str(state_dir))
    return said.splitlines()


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@contextlib.contextmanager
def started(state_dir: Path, definition: Path) -> Iterator[Stack]:
    """A stack over a state folder that is there."""
    stack = Stack(
        StackOptions(
            definition=definition,
            state_dir=state_dir,
            runtime_dir=RUNTIME,
            sip_bind="127.0.0.1",
            sip_port=free_port("udp"),
            http_port=free_port(),
            ami_port=free_port(),
            rtp_ports=(31_200, 31_699),
            durable=False,
        ),
        Progress(io.StringIO()),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks, "find_asterisk", lambda *_: asterisk_program())
        stack.start()
    try:
        yield stack
    finally:
        stack.stop()
        if stack.postgres is not None:
            stack.postgres.remove()


@contextlib.asynccontextmanager
async def phones(stack: Stack) -> AsyncIterator[Centre]:
    room = PhoneRoom()
    await room.media.start()
    made = Centre(stack, PLAN, room)
    try:
        await made.ready()
        yield made
    finally:
        await room.close()


async def answered_call(centre: Centre, agent: str) -> None:
    phone, ann = await centre.agent(agent, rings), await centre.caller("ann")
    call = await ann.dial("200")
    leg = await phone.called()
    await leg.answer()
    await centre.call_is(call, "talking")
    await asyncio.sleep(0.5)
    await call.hang_up()
    await centre.act(agent, "sign_out")
    await centre.settled()


async def test_a_restored_centre_has_the_same_books_and_takes_calls(centre: Centre, tmp_path: Path) -> None:
    await answered_call(centre, "alice")
    old = centre.stack.state_dir
    before = await asyncio.to_thread(report, old)
    assert len(before) == 2, before
    bob, ben = await centre.agent("bob", rings), await centre.caller("ben")
    call = await ben.dial("200")
    leg = await bob.called()
    await leg.answer()
    await centre.call_is(call, "talking")

    archive = tmp_path / "b.tar.gz"
    said = await asyncio.to_thread(done, "backup", str(archive), "--state-dir", str(old))
    assert "it holds passwords" in said
    assert archive.stat().st_mode & 0o777 == 0o600
    await call.hang_up()
    await centre.settled()

    new = tmp_path / "n"
    said = await asyncio.to_thread(done, "restore", str(archive), "--state-dir", str(new))
    assert f"./scripts/up --state-dir {new} --definition {new / 'definition'}" in said
    assert (new / "secrets.toml").read_bytes() == (old / "secrets.toml").read_bytes()
    assert (new / "secrets.toml").stat().st_mode & 0o777 == 0o600
    assert files(new / "definition") == files(centre.stack.options.definition)
    recorded = {name: content for name, content in files(new / "recordings").items() if name.endswith(".wav")}
    assert recorded
    assert recorded.items() <= files(old / "recordings").items()

    with started(new, new / "definition") as stack:
        async with phones(stack) as restored:
            await restored.settled()  # the call of then is over: its caller is gone from this Asterisk
            after = await asyncio.to_thread(report, new)
            assert set(before) <= set(after)
            assert len(after) == 3
            await answered_call(restored, "alice")
            assert len(await asyncio.to_thread(report, new)) == 4
            assert "whole" in await restored.command("doctor", "--only", "journal", "--only", "migrations")


def test_a_backup_is_refused_without_its_books(running: Running, tmp_path: Path) -> None:
    state_dir: Path = running.stack.state_dir
    found = settings.resolve(state_dir)
    nowhere = settings.Settings(
        **{name: getattr(found, name) for name in found.__struct_fields__}
        | {"database_url": f"postgresql://me:hidden@127.0.0.1:{free_port()}/x"}
    )
    with pytest.raises(BackupError, match="PostgreSQL cannot be read") as refused:
        backups.backup(nowhere, tmp_path / "b.tar.gz")
    assert "hidden" not in str(refused.value)
    assert list(tmp_path.iterdir()) == [], "nothing half is left"


def test_nothing_is_overwritten(running: Running, tmp_path: Path) -> None:
    state_dir: Path = running.stack.state_dir
    archive = tmp_path / "b.tar.gz"
    done("backup", str(archive), "--no-recordings", "--state-dir", str(state_dir))
    again = cordboard("backup", str(archive), "--state-dir", str(state_dir))
    assert again.returncode == 1
    assert "is there already" in again.stderr
    into = cordboard("restore", str(archive), "--state-dir", str(state_dir))
    assert into.returncode == 1
    assert "is in use" in into.stderr
    assert "Traceback" not in into.stderr


@pytest.mark.skipif(not shutil.which("zstd"), reason="needs the program zstd")
def test_zstd_and_a_database_of_ones_own(running: Running, tmp_path: Path) -> None:
    stack: Stack = running.stack
    archive, new = tmp_path / "b.tar.zst", tmp_path / "n"
    done("backup", str(archive), "--state-dir", str(stack.state_dir))
    assert isinstance(stack.postgres, PostgresServer)
    url = stack.postgres.create_database("restored")
    first = backups.restore(archive, new, definition=tmp_path / "def", database_url=url)
    assert first.contents.tables["schema_migrations"] == len(first.contents.migrations)
    assert not (new / "postgres").exists()
    if first.contents.tables["events"]:
        with pytest.raises(BackupError, match="has rows in"):
            backups.restore(archive, tmp_path / "m", definition=tmp_path / "d2", database_url=url)


# ---------------------------------------------------------------- archives that are not ours, or not whole


def test_an_archive_that_broke_off_is_refused(running: Running, tmp_path: Path) -> None:
    archive = tmp_path / "b.tar.gz"
    stack: Stack = running.stack
    done("backup", str(archive), "--state-dir", str(stack.state_dir))
    half = tmp_path / "half.tar.gz"
    half.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(ArchiveError, match="cannot be read as an archive"):
        backups.restore(half, tmp_path / "n", definition=None, database_url="")
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "a/../../escaped"])
def test_a_name_that_leaves_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    evil = tmp_path / "evil.tar.gz"
    with tarfile.open(evil, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(ArchiveError, match="not what Cordboard writes"), ArchiveReader(evil, tmp_path):
        pass
    assert not (tmp_path.parent / "escaped").exists()


def test_a_link_is_refused(tmp_path: Path) -> None:
    evil = tmp_path / "evil.tar.gz"
    with tarfile.open(evil, "w:gz") as tar:
        link = tarfile.TarInfo("state/secrets.toml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        tar.addfile(link)
    with pytest.raises(ArchiveError, match="not what Cordboard writes"), ArchiveReader(evil, tmp_path):
        pass


@pytest.mark.parametrize(
    ("change", "said"),
    [({"format": 9}, "of format 9"), ({"migrations": ["0099_future.sql"]}, "made by a newer Cordboard")],
)
def test_a_backup_of_another_version_is_refused(change: dict[str, object], said: str, tmp_path: Path) -> None:
    facts: dict[str, object] = {
        "format": 1,
        "version": "9.9",
        "made_at": "",
        "node": "",
        "journal_seq": 0,
        "shipped_seq": 0,
        "migrations": [],
        "tables": {},
        "recordings": 0,
    }
    archive = tmp_path / "b.tar.gz"
    with ArchiveWriter(archive) as out:
        out.add_bytes(json.dumps(facts | change).encode(), "manifest.json")
    with pytest.raises(BackupError, match=said):
        backups.restore(archive, tmp_path / "n", definition=None, database_url="")


def test_what_is_no_archive_says_what_would_be_right(tmp_path: Path) -> None:
    refused = cordboard("restore", str(tmp_path / "missing.tar.gz"), "--state-dir", str(tmp_path / "n"))
    assert (refused.returncode, "there is no such file" in refused.stderr) == (1, True)
    refused = cordboard("restore", str(tmp_path / "b.zip"), "--state-dir", str(tmp_path / "n"))
    assert "name it ....tar.gz" in refused.stderr
