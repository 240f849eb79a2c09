"""The PostgreSQL launcher on the real binaries: start, stop, crash, orphan, and who may read what."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ari_app.deploy import postgres
from ari_app.deploy.child import Account
from ari_app.deploy.console import DeployError
from ari_app.deploy.postgres import PostgresServer, reachable


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One cluster for the module, running; a test that stops it starts it again."""
    server = PostgresServer(tmp_path_factory.mktemp("pg") / "postgres", durable=False)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def ask(dsn: str, question: str) -> object:
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
        row = connection.execute(question.encode()).fetchone()
        return row[0] if row else None


def write(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
        connection.execute(statement.encode())


def test_a_second_start_reuses_the_cluster_its_port_and_its_data(cluster: PostgresServer) -> None:
    write(cluster.dsn, "CREATE TABLE kept (word text); INSERT INTO kept VALUES ('here')")
    dsn = cluster.dsn
    cluster.stop()
    assert not cluster.running

    again = time.monotonic()
    cluster.start()
    assert time.monotonic() - again < 5
    assert cluster.dsn == dsn
    assert ask(cluster.dsn, "SELECT word FROM kept") == "here"


def test_everybody_needs_the_password(cluster: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://cordboard:guess@127.0.0.1:{cluster.port}/cordboard", connect_timeout=5)
    assert stat.S_IMODE((cluster.home / "password").stat().st_mode) == 0o600
    assert (
        ask(cluster.dsn, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'") == 0
    )


def test_it_is_on_loopback_only_and_never_root(cluster: PostgresServer) -> None:
    assert ask(cluster.dsn, "SELECT current_setting('listen_addresses')") == "127.0.0.1"
    assert Path(f"/proc/{cluster.pid}").stat().st_uid != 0


def test_it_comes_back_after_kill_9_with_what_was_committed(cluster: PostgresServer) -> None:
    write(cluster.dsn, "CREATE TABLE survived (n int); INSERT INTO survived VALUES (7)")
    cluster.kill()
    assert (cluster.data / "postmaster.pid").exists()
    cluster.start()
    assert ask(cluster.dsn, "SELECT n FROM survived") == 7


def test_a_pid_file_whose_pid_is_another_process_is_cleared(cluster: PostgresServer) -> None:
    cluster.stop()
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            pid_file = cluster.data / "postmaster.pid"
            pid_file.write_text(f"{other.pid}\n{cluster.data}\n")
            cluster.start()
            assert ask(cluster.dsn, "SELECT 1") == 1
            assert other.poll() is None
        finally:
            other.kill()


ORPHANING = """
import os, sys
from pathlib import Path
from ari_app.deploy.postgres import PostgresServer
server = PostgresServer(Path(sys.argv[1]), durable=False, die_with_parent=sys.argv[2] == "dies")
server.start()
print(server.pid, flush=True)
os._exit(9)
"""


def serves(pid: int) -> bool:
    """Whether the process lives: one that nobody has reaped yet has no command line any more."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except FileNotFoundError:
        return False


def started_by_a_process_that_dies(cluster: PostgresServer, how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", ORPHANING, str(cluster.folder), how],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    return int(done.stdout)


def test_a_server_left_over_by_a_dead_starter_is_replaced(cluster: PostgresServer) -> None:
    cluster.stop()
    left_over = started_by_a_process_that_dies(cluster, "stays")
    cluster.start()
    assert cluster.pid != left_over
    assert not serves(left_over)
    assert ask(cluster.dsn, "SELECT 1") == 1


def test_it_dies_with_its_starter_when_asked_to(cluster: PostgresServer) -> None:
    cluster.stop()
    pid = started_by_a_process_that_dies(cluster, "dies")
    end = time.monotonic() + 10
    while serves(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not serves(pid)
    cluster.start()


def test_a_cluster_of_another_major_version_is_refused_untouched(cluster: PostgresServer) -> None:
    cluster.stop()
    version = cluster.data / "PG_VERSION"
    of_now = version.read_text()
    version.write_text("15\n")
    try:
        with pytest.raises(DeployError, match=r"made by PostgreSQL 15, but this is 18.*move .* away"):
            cluster.start()
    finally:
        version.write_text(of_now)
    cluster.start()


def test_further_databases_are_made_once(cluster: PostgresServer) -> None:
    dsn = cluster.create_database("odd name")
    assert ask(dsn, "SELECT current_database()") == "odd name"
    assert cluster.create_database("odd name") == dsn


def test_a_folder_below_a_closed_one_is_not_reachable(tmp_path: Path) -> None:
    stranger = Account("stranger", os.geteuid() + 1, os.getegid() + 1)
    closed, below = tmp_path / "closed", tmp_path / "closed" / "below"
    below.mkdir(parents=True)
    closed.chmod(0o700)
    assert not reachable(below, stranger)
    assert reachable(Path("/usr/lib"), stranger)
    assert reachable(below, Account("me", os.geteuid(), os.getegid()))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_started_by_root_below_a_closed_folder_the_data_go_to_the_system_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    server = PostgresServer(tmp_path / "postgres", durable=False)
    try:
        server.start()
        assert server.home.parent == postgres.SYSTEM_FOLDER
        assert ask(server.dsn, "SELECT 1") == 1
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    finally:
        server.remove()
    assert not server.home.exists()
