"""Each check of the doctor, on a deployment that is well and on one in which that very thing is broken."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from ari_app import settings
from ari_app.deploy.ports import free_port
from ari_app.deploy.stack import Stack
from ari_app.doctor import asterisk, books, machine
from ari_app.doctor.checks import CHECKS, examine
from ari_app.doctor.findings import Finding
from ari_app.doctor.place import Place, place
from ari_app.settings import control_path
from ari_app.web.client import ControlClient
from tests.asterisk import centre as centres
from tests.asterisk.centre import Plan

pytestmark = pytest.mark.timeout(180)
SILENT_TRUNK = """
[trunks.silent]
server = "127.0.0.9"
username = "me"
secret_file = "password"
register = true
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = centres.start(tmp_path_factory.mktemp("d"), Plan(agents=("alice",), callers=()))
    try:
        yield made
    finally:
        centres.discard(made)


@pytest.fixture
def here(stack: Stack) -> Callable[[], Place]:
    """The deployment, looked at anew each time."""
    client = ControlClient(control_path(stack.state_dir))
    end = time.monotonic() + 10
    while not client.ready().ready() and time.monotonic() < end:
        time.sleep(0.05)
    return lambda: place(stack.state_dir)


def finding(where: Place, check: str) -> Finding:
    (found,) = examine(where, only=(check,)).findings
    return found


def assert_wrong(where: Place, check: str, said: str, level: str = "failure") -> None:
    found = finding(where, check)
    assert found.level == level, found
    assert said in found.said, found
    assert found.remedy


class Kept:
    """A file that is put back as it was, times and all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Path:
        self._copy = self.path.with_name(f".{self.path.name}.kept")
        shutil.copy2(self.path, self._copy)
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.copy2(self._copy, self.path)
        self._copy.unlink()


def elsewhere(where: Place, **changed: Any) -> Place:
    """The deployment as if its settings said something else."""
    return Place(msgspec.structs.replace(where.settings, **changed), where.runtime)


# ---------------------------------------------------------------- all of it


def test_a_deployment_that_is_well_has_no_failure(here: Callable[[], Place]) -> None:
    found = examine(here())
    assert [one.check for one in found.findings] == list(CHECKS)
    assert [one for one in found.findings if one.level == "failure"] == []
    about = {
        "definition",
        "phones",
        "trunks",
        "clock",
        "rtp",
        "nat",
    }  # warnings that a test's machine and centre deserve
    assert {one.check for one in found.findings if one.level == "warning"} <= about


def test_the_command_prints_remedies_and_ends_with_the_status(stack: Stack) -> None:
    command = [sys.executable, "-m", "ari_app", "doctor", "--state-dir", str(stack.state_dir)]
    well = subprocess.run([*command, "--only", "ari"], capture_output=True, text=True, check=False)
    assert (well.returncode, well.stdout.split()[:2]) == (0, ["ok", "ari"])
    warned = subprocess.run([*command, "--only", "phones"], capture_output=True, text=True, check=False)
    assert warned.returncode == 1
    assert "->" in warned.stdout
    env = os.environ | {"DATABASE_URL": f"postgresql://me:hidden@127.0.0.1:{free_port()}/x"}
    wrong = subprocess.run(
        [*command, "--json", "--only", "postgres"], capture_output=True, text=True, check=False, env=env
    )
    assert wrong.returncode == 2
    found = json.loads(wrong.stdout)
    assert (found["status"], found["findings"][0]["level"]) == (2, "failure")
    assert "hidden" not in wrong.stdout
    unknown = subprocess.run([*command, "--only", "phone"], capture_output=True, text=True, check=False)
    assert unknown.returncode == 1
    assert "phones" in unknown.stderr
    assert "Traceback" not in unknown.stderr


def test_a_check_that_breaks_is_a_failure(here: Callable[[], Place], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Place) -> Finding:
        raise ZeroDivisionError("oh")

    monkeypatch.setitem(CHECKS, "disk", broken)
    assert_wrong(here(), "disk", "this check broke: ZeroDivisionError: oh")


# ---------------------------------------------------------------- definition, secrets, configuration


def test_a_wrong_definition(stack: Stack, here: Callable[[], Place]) -> None:
    with Kept(stack.options.definition / "centre.toml") as path:
        path.write_text(path.read_text().replace('"100" = "main"', '"100" = "nowhere"'))
        assert_wrong(here(), "definition", "numbers.100: names the flow 'nowhere'")


def test_a_definition_that_is_not_in_force(stack: Stack, here: Callable[[], Place]) -> None:
    assert finding(here(), "in-force").level == "ok"
    with Kept(stack.options.definition / "centre.toml") as path:
        path.write_text(path.read_text().replace("wrap_up_s = 1.0", "wrap_up_s = 7.0"))
        assert_wrong(here(), "in-force", "queue sales: wrap_up_s 1.0 -> 7.0", "warning")


def test_secrets_that_others_may_read_or_that_lack_a_phone(stack: Stack, here: Callable[[], Place]) -> None:
    with Kept(stack.state_dir / "secrets.toml") as path:
        path.chmod(0o644)
        assert_wrong(here(), "secrets", "others on this machine can read every password")
        path.chmod(0o600)
        path.write_text(path.read_text().replace("[phones.alice]", "[phones.zoe]"))
        before = path.read_text()
        assert_wrong(here(), "secrets", "lacks passwords")
        assert path.read_text() == before, "the doctor only looks"


def test_a_file_that_was_edited_by_hand(stack: Stack, here: Callable[[], Place]) -> None:
    with Kept(stack.state_dir / "asterisk/etc/pjsip.conf") as path:
        path.write_text(path.read_text() + "; mine\n")
        assert_wrong(here(), "configuration", "differs from the definition: pjsip.conf")
        done = ControlClient(control_path(stack.state_dir), 30).reload()
        assert done.changes == ("asterisk: pjsip.conf written anew",)
        assert finding(here(), "configuration").level == "ok"
        os.utime(path, (time.time() + 60, time.time() + 60))
        assert_wrong(here(), "loaded", "changed since Asterisk read them: pjsip.conf", "warning")


def test_a_module_that_is_not_loaded(stack: Stack, here: Callable[[], Place]) -> None:
    assert stack.asterisk is not None
    stack.asterisk.rx("module unload app_mixmonitor.so")
    try:
        assert_wrong(here(), "modules", "not loaded: app_mixmonitor")
        assert_wrong(here(), "loaded", "modules.conf names what is not loaded: app_mixmonitor.so", "warning")
    finally:
        stack.asterisk.rx("module load app_mixmonitor.so")
    assert finding(here(), "modules").level == "ok"


def test_live_dangerously(stack: Stack, here: Callable[[], Place]) -> None:
    with Kept(stack.state_dir / "asterisk/etc/asterisk.conf") as path:
        path.write_text(path.read_text().replace("live_dangerously = no", "live_dangerously = yes ; why not"))
        assert_wrong(here(), "live-dangerously", "is yes in")


def test_versions() -> None:
    assert asterisk.judge_version((22, 10, 1)).level == "ok"
    assert asterisk.judge_version((22, 11, 0)).level == "warning"
    assert asterisk.judge_version((22, 9, 0)).level == "failure"


# ---------------------------------------------------------------- who is reached, and by whom


def test_ari_that_is_away_or_refuses_us(stack: Stack, here: Callable[[], Place]) -> None:
    assert_wrong(elsewhere(here(), ari_url=f"http://127.0.0.1:{free_port()}/ari"), "ari", "does not answer")
    with Kept(stack.state_dir / "secrets.toml") as path:
        path.write_text(path.read_text().replace('[ari]\npassword = "', '[ari]\npassword = "X'))
        assert_wrong(here(), "ari", "refuses Cordboard's password")


def test_ami_that_is_away_or_refuses_us(stack: Stack, here: Callable[[], Place]) -> None:
    assert_wrong(elsewhere(here(), ami_port=free_port()), "ami", "no AMI at")
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.listen()
        port = other.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            pass  # so that the first connection in the queue is closed already
        slow = elsewhere(here(), ami_port=port)
        assert finding(slow, "ami").level == "failure"
    with Kept(stack.state_dir / "secrets.toml") as path:
        path.write_text(path.read_text().replace('[ami]\npassword = "', '[ami]\npassword = "X'))
        assert_wrong(here(), "ami", "refuses Cordboard")


def test_ari_and_ami_that_the_network_reaches(here: Callable[[], Place]) -> None:
    assert finding(here(), "ari-private").level == finding(here(), "ami-private").level == "ok"
    with socket.create_server(("0.0.0.0", 0)) as open_to_all:
        port = open_to_all.getsockname()[1]
        where = elsewhere(here(), ari_url=f"http://127.0.0.1:{port}/ari", ami_port=port)
        assert_wrong(where, "ari-private", "others on the network reach it")
        assert_wrong(where, "ami-private", "others on the network reach it")


def test_sip_that_nobody_listens_for(here: Callable[[], Place]) -> None:
    where = here()
    assert where.runtime.render is not None
    facts = msgspec.structs.replace(where.runtime.render, sip_port=free_port("udp"))
    moved = Place(where.settings, msgspec.structs.replace(where.runtime, render=facts))
    assert_wrong(moved, "transports", "nothing listens for SIP")


def test_nat_that_is_not_configured(stack: Stack, here: Callable[[], Place]) -> None:
    with Kept(stack.options.definition / "centre.toml") as path:
        before = path.read_text()
        outer = '[sip]\nexternal_address = "198.51.100.7"\nlocal_nets = ["10.0.0.0/8"]'
        path.write_text(before + '[trunks.outside]\nserver = "9.9.9.9"\n')
        assert_wrong(here(), "nat", "trunks outside (outside)", "warning")
        path.write_text(path.read_text().replace("[sip]", outer))
        assert finding(here(), "nat").level == "ok"


def test_an_endpoint_that_asterisk_lacks(stack: Stack, here: Callable[[], Place]) -> None:
    assert_wrong(here(), "phones", "1 of 1 agents' phones are not registered: alice", "warning")
    with Kept(stack.options.definition / "centre.toml") as path:
        path.write_text(path.read_text().replace("alice", "zoe"))
        assert_wrong(here(), "phones", "no endpoint zoe")


def test_trunks_that_are_unknown_silent_or_refused(stack: Stack, here: Callable[[], Place]) -> None:
    definition = stack.options.definition
    password = definition / "password"
    password.touch(mode=0o600)
    password.write_text("something")
    client = ControlClient(control_path(stack.state_dir), 30)
    with Kept(definition / "centre.toml") as path:
        path.write_text(path.read_text() + SILENT_TRUNK)
        assert_wrong(here(), "trunks", "Asterisk has no trunk silent")
        client.reload()
        assert_wrong(here(), "trunks", "not registered: silent")
    client.reload()
    assert finding(here(), "trunks").level in ("ok", "warning")


# ---------------------------------------------------------------- the machine


def test_too_few_ports_and_ports_of_others(stack: Stack, here: Callable[[], Place]) -> None:
    first, last = here().rtp_range
    with Kept(stack.state_dir / "asterisk/etc/rtp.conf") as path:
        path.write_text(path.read_text().replace(f"rtpend = {last}", f"rtpend = {first + 3}"))
        assert_wrong(here(), "rtp", "are 4; 1 agents need 6")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", first + 7))
        assert_wrong(here(), "rtp", f"1 ports of {first}-{last} are held by pid {os.getpid()}", "warning")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft")
def test_a_firewall_that_drops(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text(
        "table inet filter {\n chain input {\n type filter hook input priority 0; policy drop;\n"
        " udp dport { 5060, 10000-10999 } accept\n}\n}\n"
    )
    shown = subprocess.run(
        ["unshare", "-n", "sh", "-c", f"nft -f {rules} && nft -j list ruleset"],
        capture_output=True,
        text=True,
        check=False,
    )
    if shown.returncode:
        pytest.skip(f"no nft in a network namespace: {shown.stderr.strip()}")
    ruleset = json.loads(shown.stdout)
    assert machine.judge_rules(ruleset, 5060, (10_000, 10_999)).level == "ok"
    found = machine.judge_rules(ruleset, 5060, (20_000, 20_999))
    assert (found.level, "20000-20999" in found.said) == ("warning", True)
    assert "SIP" in machine.judge_rules(ruleset, 5061, (10_000, 10_999)).said


def test_no_firewall() -> None:
    assert machine.judge_rules({"nftables": []}, 5060, (1, 2)).level == "ok"


def test_a_name_that_does_not_resolve() -> None:
    assert machine.resolves("localhost").level == "ok"
    assert machine.resolves("no-such-host.invalid").level == "failure"


def test_a_disk_that_fills(tmp_path: Path) -> None:
    assert machine.space([tmp_path], 1, 0).level == "ok"
    assert machine.space([tmp_path], 1 << 60, 0).level == "warning"
    assert machine.space([tmp_path], 1 << 60, 1 << 59).level == "failure"


def test_a_clock_that_nothing_keeps_right() -> None:
    assert machine.judge_clock(0).level == "ok"
    assert machine.judge_clock(machine.TIME_ERROR).level == "warning"
    assert machine.judge_clock(-1).level == "not_checked"


def test_an_asterisk_with_few_open_files(stack: Stack, here: Callable[[], Place]) -> None:
    assert finding(here(), "open-files").level == "ok"
    assert stack.asterisk is not None
    before = resource.prlimit(stack.asterisk.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(stack.asterisk.pid, resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        assert_wrong(here(), "open-files", "Asterisk may open 1024 files", "warning")
    finally:
        resource.prlimit(stack.asterisk.pid, resource.RLIMIT_NOFILE, before)


# ---------------------------------------------------------------- the books


def test_a_database_that_is_away(here: Callable[[], Place]) -> None:
    nowhere = elsewhere(here(), database_url=f"postgresql://me:hidden@127.0.0.1:{free_port()}/x")
    assert_wrong(nowhere, "postgres", "PostgreSQL: ")
    assert "hidden" not in finding(nowhere, "postgres").said
    assert_wrong(elsewhere(here(), database_url=""), "postgres", "no database is known", "warning")


def test_migrations_that_are_missing_or_changed(stack: Stack, here: Callable[[], Place]) -> None:
    assert stack.postgres is not None
    empty = elsewhere(here(), database_url=stack.postgres.create_database("empty"))
    assert_wrong(empty, "migrations", "migrations are not applied")
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute("UPDATE schema_migrations SET checksum = 'x' || checksum WHERE number = 1")
        try:
            assert_wrong(here(), "migrations", "differs")
        finally:
            connection.execute("UPDATE schema_migrations SET checksum = substr(checksum, 2) WHERE number = 1")
        connection.execute("INSERT INTO schema_migrations VALUES (999, 'x', 'x')")
        try:
            assert_wrong(here(), "migrations", "newer Cordboard")
        finally:
            connection.execute("DELETE FROM schema_migrations WHERE number = 999")
    assert finding(here(), "migrations").level == "ok"


def test_a_journal_that_is_damaged(here: Callable[[], Place], tmp_path: Path) -> None:
    where = here()
    with sqlite3.connect(where.settings.journal_path) as db, sqlite3.connect(tmp_path / "journal.db") as copy:
        db.backup(copy)
    moved = elsewhere(where, state_dir=tmp_path)
    assert finding(moved, "journal").level == "ok"
    with (tmp_path / "journal.db").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(8192))
    assert finding(moved, "journal").level == "failure"


def test_rows_that_wait_for_postgresql(here: Callable[[], Place], monkeypatch: pytest.MonkeyPatch) -> None:
    assert finding(here(), "shipping").level == "ok"
    monkeypatch.setattr(books, "LAG_ROWS", -1)
    assert_wrong(here(), "shipping", "are not in PostgreSQL yet", "warning")


# ---------------------------------------------------------------- Cordboard and calls


def test_a_test_call_is_not_on_the_books(stack: Stack, here: Callable[[], Place]) -> None:
    client = ControlClient(control_path(stack.state_dir), 30)
    before = client.ready().journal_seq
    found = finding(here(), "test-call")
    assert found.level == "ok", found
    assert client.ready().journal_seq == before
    assert client.view().calls == ()


def test_a_test_call_that_does_not_pass(stack: Stack, here: Callable[[], Place]) -> None:
    assert stack.asterisk is not None
    stack.asterisk.rx("dialplan remove context cordboard-entry")
    try:
        assert_wrong(here(), "test-call", "did not come into Stasis")
    finally:
        stack.asterisk.rx("dialplan reload")
    assert finding(here(), "test-call").level == "ok"


def test_a_cordboard_that_is_gone_or_without_asterisk(stack: Stack, here: Callable[[], Place]) -> None:
    assert stack.cordboard is not None
    assert stack.asterisk is not None
    stack.asterisk.kill()
    deadline = time.monotonic() + 10
    while finding(here_now(stack), "cordboard").level == "ok" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert_wrong(here_now(stack), "cordboard", "no connection to Asterisk")
    assert finding(here_now(stack), "version").level == "not_checked"
    stack.cordboard.stop(10)
    assert_wrong(here_now(stack), "cordboard", "does not answer")
    assert finding(here_now(stack), "test-call").level == "not_checked"


def here_now(stack: Stack) -> Place:
    return place(stack.state_dir)


def test_what_cannot_be_looked_at_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(settings.SettingsError, match="no definition: give --definition DIR"):
        place(tmp_path)
