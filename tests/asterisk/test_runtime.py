"""The local runtime: who holds a port, which mirror, which Asterisk, and that it starts and answers."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from ari_app.deploy import asterisk, debian
from ari_app.deploy.asterisk import AsteriskProgram, AsteriskServer, find_asterisk, parse_version
from ari_app.deploy.console import DeployError, Progress
from ari_app.deploy.debian import PrivateApt, choose_mirror, host_mirror, parse_targets
from ari_app.deploy.ports import WantedPort, check_free, free_port
from ari_app.deploy.stack import Stack, StackOptions
from ari_app.deploy.up import EXAMPLE, parse_range

RUNTIME = Path(__file__).parents[2] / ".runtime"


def quiet() -> Progress:
    return Progress(io.StringIO())


# Ports


def test_a_taken_port_is_named_with_its_holder_and_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        wanted = WantedPort("Asterisk's HTTP", "tcp", "127.0.0.1", port, "--http-port")
        with pytest.raises(DeployError) as refused:
            check_free([wanted])
    said = str(refused.value)
    assert f"port {port}/tcp (Asterisk's HTTP)" in said
    assert f"pid {os.getpid()} (" in said
    assert "--http-port" in said
    check_free([wanted])


@pytest.mark.parametrize(("held_address", "address"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "0.0.0.0")])
def test_a_wildcard_and_one_address_clash_for_udp(held_address: str, address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind((held_address, 0))
        wanted = WantedPort("SIP", "udp", address, held.getsockname()[1], "--sip-port")
        with pytest.raises(DeployError, match=f"taken by pid {os.getpid()} "):
            check_free([wanted])


def test_tcp_and_udp_do_not_clash() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        check_free([WantedPort("SIP", "udp", "127.0.0.1", held.getsockname()[1], "--sip-port")])


def test_an_address_of_another_machine_is_said_to_be_one() -> None:
    with pytest.raises(DeployError, match=r"192\.0\.2\.1 is no address of this machine"):
        check_free([WantedPort("SIP", "udp", "192.0.2.1", free_port("udp"), "--bind")])


# Mirrors

SECURITY = {
    "repo-uri": "http://mirror.example/debian-security/",
    "origin": "Debian",
    "label": "Debian-Security",
    "suite": "oldstable-security",
}
OTHER = {"repo-uri": "https://vendor.example/apt/", "origin": "Vendor", "label": "Vendor"}
ARCHIVE = {"repo-uri": "http://mirror.example/debian/", "origin": "Debian", "label": "Debian"}


def test_the_mirror_is_debian_s_own_archive_and_not_the_security_one() -> None:
    assert choose_mirror([SECURITY, OTHER, ARCHIVE]) == "http://mirror.example/debian"
    assert choose_mirror([SECURITY, OTHER]) is None


def test_before_the_first_update_the_path_or_the_keyring_tells() -> None:
    by_path = {"repo-uri": "http://mirror.example/debian/", "release": "trixie"}
    by_keyring = {
        "repo-uri": "http://mirror.example/x/",
        "signed-by": "/usr/share/keyrings/debian-archive-keyring.gpg",
    }
    security = {"repo-uri": "http://mirror.example/debian-security/", "release": "trixie-security"}
    disc = {"repo-uri": "cdrom:[Debian]/", "origin": "Debian"}
    assert choose_mirror([security, disc, by_path]) == "http://mirror.example/debian"
    assert choose_mirror([security, by_keyring]) == "http://mirror.example/x"


def test_apt_s_stanzas_are_read() -> None:
    text = "Repo-URI: http://mirror.example/debian/\nOrigin: Debian\n\nRepo-URI: http://b.example/\n"
    assert [stanza["repo-uri"] for stanza in parse_targets(text)] == [
        "http://mirror.example/debian/",
        "http://b.example/",
    ]


def test_the_environment_overrides_the_mirror() -> None:
    assert (
        host_mirror({debian.MIRROR_VARIABLE: "http://ours.example/debian/"}) == "http://ours.example/debian"
    )


# Versions


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1:22.10.1+dfsg+~cs6.17.60671434-1", (22, 10, 1)),
        ("Asterisk 23.4.0~dfsg-1", (23, 4, 0)),
        ("Asterisk 20.9", (20, 9, 0)),
    ],
)
def test_versions_are_read_as_packages_and_asterisk_write_them(
    text: str, version: tuple[int, int, int]
) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("version", "refused", "warned"),
    [
        ((22, 10, 1), False, False),
        ((22, 10, 4), False, False),
        ((22, 10, 0), True, False),
        ((22, 4, 1), True, True),
        ((22, 11, 0), False, True),
        ((20, 19, 0), False, True),
        ((23, 4, 1), False, True),
        ((21, 12, 0), True, True),
        ((18, 26, 4), True, True),
    ],
)
def test_which_versions_are_refused_and_warned_of(
    version: tuple[int, int, int], refused: bool, warned: bool
) -> None:
    assert (asterisk.refusal(version) is not None) == refused
    assert (asterisk.reservation(version) is not None) == warned


def test_a_named_asterisk_below_the_safe_version_is_refused_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = AsteriskProgram(("/opt/asterisk",), (22, 9, 0), tmp_path, tmp_path, private=False)
    monkeypatch.setattr(asterisk, "_installed", lambda path: old)
    apt = PrivateApt(tmp_path, quiet())
    named = {asterisk.PROGRAM_VARIABLE: "/opt/asterisk"}
    with pytest.raises(DeployError, match="GHSA-vrfp-mg3q-3959"):
        find_asterisk(apt, quiet(), named)
    assert find_asterisk(apt, quiet(), named | {asterisk.OVERRIDE_VARIABLE: "1"}) is old


# The real thing


@pytest.fixture(scope="module")
def program() -> AsteriskProgram:
    return find_asterisk(PrivateApt(RUNTIME, Progress()), Progress())


def bare_configuration(folder: Path, program: AsteriskProgram) -> Path:
    """An Asterisk with nothing but its console, every directory of its own."""
    config = folder / "etc"
    config.mkdir(parents=True)
    (config / "asterisk.conf").write_text(
        "[directories] ; complete, so that nothing of the system's is touched\n"
        f"astetcdir => {config}\n"
        f"astmoddir => {program.module_dir}\n"
        f"astdatadir = {program.data_dir}\n"
        + "".join(
            f"{name} => {folder / name}\n"
            for name in (
                "astvarlibdir",
                "astdbdir",
                "astkeydir",
                "astagidir",
                "astspooldir",
                "astrundir",
                "astlogdir",
            )
        )
        + "[options]\n"
    )
    (config / "modules.conf").write_text("[modules]\nautoload = no\n")
    (config / "logger.conf").write_text("[general]\n[logfiles]\nmessages => notice,warning,error\n")
    for name in ("astvarlibdir", "astdbdir", "astspooldir"):
        (folder / name).mkdir()
    return config


@pytest.fixture
def server(tmp_path: Path, program: AsteriskProgram) -> Iterator[AsteriskServer]:
    # A test's own folder can have a path too long for Asterisk's socket: the short one is pytest's base.
    running = AsteriskServer(program, bare_configuration(tmp_path / "a", program), die_with_parent=True)
    try:
        yield running
    finally:
        running.stop()


def test_asterisk_starts_answers_and_stops_in_order(server: AsteriskServer) -> None:
    server.start()
    assert server.rx("core show version").startswith(f"Asterisk {server.program.version_text}")
    assert Path(f"/proc/{server.pid}").exists()
    server.stop()
    assert not server.running
    assert server.child.exit_code == 0


def test_asterisk_has_the_open_files_it_needs(server: AsteriskServer) -> None:
    server.start()
    limits = Path(f"/proc/{server.pid}/limits").read_text()
    soft, hard = next(line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files"))
    assert int(soft) == min(int(hard), 20_000)


def test_asterisk_starts_again_after_kill_9(server: AsteriskServer) -> None:
    server.start()
    server.kill()
    with pytest.raises(DeployError, match="signal SIGKILL"):
        server.check_alive()
    server.start()
    assert server.rx("core show uptime").startswith("System uptime")


def test_an_asterisk_that_dies_at_once_is_reported_with_its_log(
    tmp_path: Path, program: AsteriskProgram
) -> None:
    config = bare_configuration(tmp_path / "a", program)
    (config / "modules.conf").write_text("[modules]\nautoload = no\nrequire = res_nonexistent.so\n")
    with pytest.raises(DeployError, match=r"(?s)Asterisk ended \(.*res_nonexistent"):
        AsteriskServer(program, config).start()


def test_a_configuration_that_leaves_a_directory_to_the_system_is_refused(
    tmp_path: Path, program: AsteriskProgram
) -> None:
    config = bare_configuration(tmp_path / "a", program)
    text = (config / "asterisk.conf").read_text()
    (config / "asterisk.conf").write_text(text.replace("astspooldir", ";astspooldir"))
    with pytest.raises(DeployError, match="lacks astspooldir"):
        AsteriskServer(program, config)


def test_directories_that_are_only_a_template_are_refused(tmp_path: Path, program: AsteriskProgram) -> None:
    config = bare_configuration(tmp_path / "a", program)
    text = (config / "asterisk.conf").read_text()
    (config / "asterisk.conf").write_text(text.replace("[directories]", "[directories](!)"))
    with pytest.raises(DeployError, match=r"remove the \(!\)"):
        AsteriskServer(program, config)


def test_a_run_directory_too_long_for_a_socket_is_refused(tmp_path: Path, program: AsteriskProgram) -> None:
    config = bare_configuration(tmp_path / ("long" * 25), program)
    with pytest.raises(DeployError, match="shorter --state-dir"):
        AsteriskServer(program, config)


def test_a_set_is_fetched_once_even_by_two_at_a_time(program: AsteriskProgram) -> None:
    if not program.private:
        pytest.skip("Asterisk is installed on this machine: no private copy is fetched")
    found: list[Path] = []
    apt = PrivateApt(RUNTIME, quiet())
    threads = [
        threading.Thread(target=lambda: found.append(apt.obtain(debian.ASTERISK).root)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] == found[1]
    assert (found[0] / "usr/share/asterisk/sounds/en/vm-goodbye.gsm").exists()


# All of it together


def stack_options(folder: Path) -> StackOptions:
    return StackOptions(
        definition=EXAMPLE,
        state_dir=folder / "s",
        runtime_dir=RUNTIME,
        sip_bind="127.0.0.1",
        sip_port=free_port("udp"),
        http_port=free_port(),
        ami_port=free_port(),
        durable=False,
    )


@pytest.fixture
def stack(tmp_path: Path, program: AsteriskProgram) -> Iterator[Stack]:
    """PostgreSQL and Asterisk from the example definition, started by the test."""
    made = Stack(stack_options(tmp_path), quiet())
    try:
        yield made
    finally:
        made.stop()
        if made.postgres is not None:
            made.postgres.remove()


def test_the_stack_starts_a_second_time_with_its_data_and_stops_without_a_trace(stack: Stack) -> None:
    stack.start(cordboard=False)
    assert stack.asterisk is not None
    assert stack.postgres is not None
    assert "cordboard" in stack.asterisk.rx("ari show users")
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
        connection.execute("CREATE TABLE kept ()")
    runtime = stack.state_dir / "runtime.json"
    assert runtime.stat().st_mode & 0o777 == 0o600
    assert json.loads(runtime.read_text())["database_url"] == stack.database_url
    pids = [stack.asterisk.pid, stack.postgres.pid]
    stack.stop()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)

    again = time.monotonic()
    stack.start(cordboard=False)
    assert time.monotonic() - again < 10
    with psycopg.connect(stack.database_url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_a_second_stack_over_the_same_folder_is_refused_by_name(stack: Stack) -> None:
    stack.start(cordboard=False)
    second = Stack(stack.options, quiet())
    with pytest.raises(DeployError, match=rf"in use by pid {os.getpid()}"):
        second.start(cordboard=False)
    assert stack.asterisk is not None
    assert stack.asterisk.running


def test_a_taken_port_stops_the_start_before_anything_runs(stack: Stack) -> None:
    said = rf"port {stack.options.http_port}/tcp .* pid {os.getpid()} "
    with (
        socket.create_server(("127.0.0.1", stack.options.http_port)),
        pytest.raises(DeployError, match=said),
    ):
        stack.start(cordboard=False)
    assert stack.postgres is None
    assert stack.asterisk is None


def test_parts_that_die_are_started_again(stack: Stack) -> None:
    stack.start(cordboard=False)
    assert stack.asterisk is not None
    assert stack.postgres is not None
    stack.asterisk.kill()
    stack.postgres.kill()
    stack.watch(limit_seconds=3.0)
    assert stack.asterisk.rx("core show uptime").startswith("System uptime")
    with psycopg.connect(stack.database_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_an_unreachable_database_is_one_clear_line(tmp_path: Path, program: AsteriskProgram) -> None:
    nowhere = f"postgresql://me:secret@127.0.0.1:{free_port()}/books"
    stack = Stack(replace(stack_options(tmp_path), database_url=nowhere), quiet())
    with pytest.raises(DeployError, match=r"PostgreSQL .*cannot be used") as failed:
        stack.start(cordboard=False)
    assert "secret" not in str(failed.value)


def test_an_rtp_range_that_is_none_is_refused() -> None:
    assert parse_range("10000-10999") == (10_000, 10_999)
    for wrong in ("10000", "20000-10000", "80-90", "1-99999", "a-b"):
        with pytest.raises(DeployError, match="such as 10000-10999"):
            parse_range(wrong)
