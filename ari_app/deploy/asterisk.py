"""Finds an Asterisk that Cordboard can drive, and runs one over a rendered configuration folder."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ari_app.deploy.child import OPEN_FILES, Child, last_lines, until
from ari_app.deploy.console import DeployError, Progress
from ari_app.deploy.debian import ASTERISK, PrivateApt, Unpacked

PROGRAM_VARIABLE = "CORDBOARD_ASTERISK"
OVERRIDE_VARIABLE = "CORDBOARD_ANY_ASTERISK"
OLDEST_SAFE = (22, 10, 1)
UNTESTED_SERIES = (20, 23)
NEEDED_MODULES = ("res_ari.so", "res_ari_channels.so", "chan_pjsip.so", "app_stasis.so")
BOOT_LIMIT_SECONDS = 60.0
# A unix socket's path ends at 107 bytes (sun_path of unix(7)); Asterisk cuts a longer one without a word.
SOCKET_PATH_BYTES = 107

Version = tuple[int, int, int]


@dataclass(frozen=True)
class AsteriskProgram:
    """An Asterisk on this machine: how to run it and where its own files are."""

    command: tuple[str, ...]
    version: Version
    module_dir: Path
    data_dir: Path
    private: bool

    @property
    def root(self) -> Path | None:
        """The private copy's root folder; None for an installed Asterisk."""
        return self.data_dir.parents[2] if self.private else None

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))


def parse_version(text: str) -> Version:
    """`1:22.10.1+dfsg-1` and `Asterisk 22.10.1~dfsg-1` are both (22, 10, 1)."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if not found:
        raise DeployError(f"no Asterisk version in {text.strip()!r}")
    return int(found[1]), int(found[2]), int(found[3] or 0)


def refusal(version: Version) -> str | None:
    """Why this version must not be driven over ARI, or None."""
    shown = ".".join(map(str, version))
    if version[0] == 22 and version < OLDEST_SAFE:
        return f"Asterisk {shown} has holes in ARI (GHSA-vrfp-mg3q-3959, GHSA-wcvv-g26m-wx5c): use 22.10.1"
    if version[0] != 22 and version[0] not in UNTESTED_SERIES:
        return f"Asterisk {shown} is not one that Cordboard knows: use 22.10.1"
    return None


def reservation(version: Version) -> str | None:
    """What to warn of before this version is driven, or None for one that is tested."""
    shown = ".".join(map(str, version))
    if version[:2] == (22, 10):
        return None
    if version[:2] >= (22, 11) and version[0] == 22:
        return f"Asterisk {shown} is untested; 22.11 is reported to break whispering (asterisk#2134)"
    return f"Asterisk {shown} is untested with Cordboard: 22.10 is what its tests run on"


def find_asterisk(
    apt: PrivateApt, progress: Progress, environment: Mapping[str, str] = os.environ
) -> AsteriskProgram:
    """The named one, a tested one that is installed, a private copy, an untested one: the first there is."""
    named = environment.get(PROGRAM_VARIABLE)
    if named:
        program = _installed(Path(named))
        return _accepted(program, progress, environment)
    installed = _search_path(environment, progress)
    if installed and refusal(installed.version) is None and reservation(installed.version) is None:
        progress.show(f"Asterisk {installed.version_text} is installed: using {installed.command[0]}")
        return installed
    try:
        return _private(apt, progress, environment)
    except DeployError as unavailable:
        if installed is None:
            raise
        progress.warn(f"no private copy of Asterisk: {unavailable}")
        return _accepted(installed, progress, environment)


def _accepted(
    program: AsteriskProgram, progress: Progress, environment: Mapping[str, str]
) -> AsteriskProgram:
    problem = refusal(program.version)
    if problem and not environment.get(OVERRIDE_VARIABLE):
        raise DeployError(f"{problem} (to run it all the same: {OVERRIDE_VARIABLE}=1)")
    doubt = problem or reservation(program.version)
    if doubt:
        progress.warn(doubt)
    progress.show(f"Using Asterisk {program.version_text} at {program.command[-1]}")
    return program


def _private(apt: PrivateApt, progress: Progress, environment: Mapping[str, str]) -> AsteriskProgram:
    unpacked = apt.unpacked(ASTERISK)
    if unpacked is None:
        problem = refusal(parse_version(apt.candidate(ASTERISK, "asterisk")))
        if problem and not environment.get(OVERRIDE_VARIABLE):
            raise DeployError(
                f"the mirror is too old: {problem} (to run it all the same: {OVERRIDE_VARIABLE}=1)"
            )
        unpacked = apt.obtain(ASTERISK)
    return _accepted(private_program(unpacked), progress, environment)


def private_program(unpacked: Unpacked) -> AsteriskProgram:
    """The Asterisk in an unpacked package set."""
    modules = sorted((unpacked.root / "usr/lib").glob("*/asterisk/modules"))
    if not modules:
        raise DeployError(f"{unpacked.root} holds no Asterisk modules: delete the folder and start again")
    return AsteriskProgram(
        command=unpacked.program("usr/sbin/asterisk"),
        version=parse_version(unpacked.versions["asterisk"]),
        module_dir=modules[0],
        data_dir=unpacked.root / "usr/share/asterisk",
        private=True,
    )


def _search_path(environment: Mapping[str, str], progress: Progress) -> AsteriskProgram | None:
    folders = [environment.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"]
    found = shutil.which("asterisk", path=os.pathsep.join(folders))
    if found is None:
        return None
    try:
        return _installed(Path(found))
    except DeployError as unusable:
        progress.warn(f"the installed Asterisk is passed over: {unusable}")
        return None


def _installed(program: Path) -> AsteriskProgram:
    try:
        said = subprocess.run(
            [str(program), "-V"], capture_output=True, text=True, check=True, timeout=10
        ).stdout
    except (OSError, subprocess.SubprocessError) as failed:
        raise DeployError(f"{program} -V does not answer: {failed}") from failed
    return AsteriskProgram(
        command=(str(program),),
        version=parse_version(said),
        module_dir=_first_with(NEEDED_MODULES, _module_dirs(), f"the modules of {program}"),
        data_dir=_first_with(
            ("rest-api",), map(Path, ("/usr/share/asterisk", "/var/lib/asterisk")), "its data"
        ),
        private=False,
    )


def _module_dirs() -> Iterator[Path]:
    for top in map(Path, ("/usr/lib", "/usr/lib64", "/usr/local/lib")):
        yield from top.glob("*-linux-gnu*/asterisk/modules")
        yield top / "asterisk/modules"


def _first_with(names: tuple[str, ...], folders: Iterator[Path], what: str) -> Path:
    for folder in folders:
        if all((folder / name).exists() for name in names):
            return folder
    raise DeployError(f"{what} not found, or without {', '.join(names)}")


class AsteriskServer:
    """One Asterisk process over a configuration folder whose asterisk.conf names every directory.

    It runs as the user who starts it (root only if that is root). It forgets nothing between `stop` and
    `start` but what Asterisk itself keeps in memory.
    """

    def __init__(
        self,
        program: AsteriskProgram,
        config_dir: Path,
        *,
        log: Path | None = None,
        die_with_parent: bool = False,
    ) -> None:
        self.program = program
        self.config_file = config_dir / "asterisk.conf"
        directories = _directories(self.config_file)
        self.run_dir = Path(directories["astrundir"])
        self._log_dir = Path(directories["astlogdir"])
        self._control = self.run_dir / "asterisk.ctl"
        if len(os.fsencode(self._control)) > SOCKET_PATH_BYTES:
            raise DeployError(
                f"{self.config_file}: astrundir: {self._control} exceeds the {SOCKET_PATH_BYTES} bytes "
                "that a unix socket's path may have: choose a shorter --state-dir"
            )
        self._child = Child(
            "Asterisk",
            [*program.command, "-f", "-n", "-C", str(self.config_file)],
            log=log or self._log_dir / "console.log",
            die_with_parent=die_with_parent,
            open_files=OPEN_FILES,
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.running

    @property
    def child(self) -> Child:
        return self._child

    def start(self, limit_seconds: float = BOOT_LIMIT_SECONDS) -> None:
        """Starts it and waits until every module is loaded."""
        for folder in (self.run_dir, self._log_dir):
            folder.mkdir(parents=True, exist_ok=True)
        # What a killed Asterisk leaves behind would look like one that listens already.
        self._control.unlink(missing_ok=True)
        self._child.start()
        try:
            until(self._booted, self._child, limit_seconds, "finish loading its modules")
        except DeployError as failed:
            self._child.kill()
            raise DeployError(f"{failed}{self._own_log()}") from failed

    def rx(self, command: str, limit_seconds: float = 10.0) -> str:
        """What the remote console prints for a command, such as `core show version`."""
        try:
            done = self._console(command, limit_seconds)
        except subprocess.TimeoutExpired as slow:
            raise DeployError(f"Asterisk's console did not answer {command!r} in {limit_seconds} s") from slow
        if done.returncode:
            raise DeployError(
                f"Asterisk's console refused {command!r}: {(done.stderr or done.stdout).strip()}"
            )
        return done.stdout

    def stop(self) -> None:
        """`core stop now`, then SIGTERM, then SIGKILL. Does nothing when it is gone."""
        if not self.running:
            return
        try:
            self._console("core stop now", 3.0)
        except subprocess.TimeoutExpired:
            self._child.stop(3.0)  # a console that hangs: the signals remain
            return
        if not self._child.wait(5.0):
            self._child.stop(3.0)

    def kill(self) -> None:
        """Ends it as a crash would."""
        self._child.kill()

    def send(self, number: signal.Signals) -> None:
        self._child.send(number)

    def check_alive(self) -> None:
        """Raises `DeployError` with the log's end when it has died."""
        self._child.check_alive()

    def _booted(self) -> bool:
        if not self._control.exists():
            return False
        try:
            # An Asterisk that gives up while loading also ends the console's command, with success.
            return "fully booted" in self._console("core waitfullybooted", 5.0).stdout
        except subprocess.TimeoutExpired:
            return False  # still loading: asked again until the limit of `start`

    def _console(self, command: str, limit_seconds: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.program.command, "-C", str(self.config_file), "-rx", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=limit_seconds,
        )

    def _own_log(self) -> str:
        logs = sorted(self._log_dir.glob("messages*"))
        return f"\nand of {logs[0]}:\n{last_lines(logs[0])}" if logs else ""


def _directories(config_file: Path) -> Mapping[str, str]:
    """The `[directories]` of an asterisk.conf, whose assignments may be written `=` or `=>`."""
    parser = configparser.ConfigParser(
        delimiters=("=>", "="), comment_prefixes=(";",), inline_comment_prefixes=(";",), interpolation=None
    )
    try:
        text = config_file.read_text()
        parser.read_string(text)
    except FileNotFoundError as missing:
        raise DeployError(f"{config_file} is missing: render the configuration first") from missing
    except configparser.Error as wrong:
        raise DeployError(f"{config_file}: {wrong}") from wrong
    if re.search(r"^\[directories\]\(!\)", text, flags=re.MULTILINE):
        # As in Asterisk's own sample: a template that nothing uses, so the system's directories would hold.
        raise DeployError(f"{config_file}: [directories](!) is only a template: remove the (!)")
    found = dict(parser["directories"]) if parser.has_section("directories") else {}
    for name in (
        "astrundir",
        "astlogdir",
        "astmoddir",
        "astdatadir",
        "astspooldir",
        "astvarlibdir",
        "astdbdir",
    ):
        if name not in found:
            raise DeployError(f"{config_file}: [directories] lacks {name}, so it would use the system's")
    return found


def main(folder: str) -> int:
    """`python -m ari_app.deploy.asterisk FOLDER`: makes sure there is an Asterisk to run, or says why not."""
    progress = Progress()
    try:
        find_asterisk(PrivateApt(Path(folder), progress), progress)
    except DeployError as failed:
        sys.stderr.write(f"error: {failed}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
