"""Debian packages for one clone, without root: apt with a state folder of its own, unpacked by dpkg.

Nothing of the host's package system is changed: apt gets an empty dpkg status, lists, cache and sources of
ours. Signatures are checked with Debian's own keyring. Debian stable has no Asterisk, so the suite is sid.

Standard library only: the bootstrap runs `python3 -m ari_app.deploy.debian pip` before the virtual
environment exists.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ari_app.deploy.console import DeployError, Progress, Step

MIRROR_VARIABLE = "CORDBOARD_DEBIAN_MIRROR"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITE = "sid"
FRESH_LISTS_SECONDS = 3600.0
TOOLS = ("apt-get", "apt-cache", "dpkg", "dpkg-deb")


@dataclass(frozen=True)
class PackageSet:
    """Packages that are unpacked together, with all they depend on, into one root of their own."""

    name: str
    packages: tuple[str, ...]
    pins: Mapping[str, str]
    purpose: str


ASTERISK = PackageSet(
    "asterisk",
    ("asterisk", "asterisk-core-sounds-en", "asterisk-core-sounds-en-gsm", "asterisk-moh-opsound-wav"),
    {"asterisk asterisk-modules asterisk-config": "1:22.10.*"},
    "Asterisk",
)
TEST_PHONES = PackageSet("phones", ("sip-tester", "baresip-core"), {}, "the test phones (SIPp, baresip)")
PIP = PackageSet("pip", ("python3-pip-whl",), {}, "pip")
SETS = {wanted.name: wanted for wanted in (ASTERISK, TEST_PHONES, PIP)}


@dataclass(frozen=True)
class Unpacked:
    """A package set on disk: its root and the version of each package asked for by name."""

    root: Path
    versions: Mapping[str, str]

    def loader(self) -> tuple[str, ...]:
        """The words before a program's path that run it with this root's own C library."""
        found = sorted((self.root / "usr").glob("lib*/ld-linux*.so.*")) or sorted(
            (self.root / "usr/lib").glob("*/ld-linux*.so.*")
        )
        if not found:
            raise DeployError(f"{self.root} has no program loader: delete the folder and start again")
        folders = [folder for top in ("usr/lib", "lib") for folder in (self.root / top).glob("*-linux-gnu*")]
        return str(found[0]), "--library-path", ":".join(str(folder) for folder in folders)

    def program(self, path: str) -> tuple[str, ...]:
        """How to run `path` (such as `usr/bin/sipp`) of this root."""
        return *self.loader(), str(self.root / path)


def parse_targets(text: str) -> list[dict[str, str]]:
    """The stanzas that `apt-get indextargets` prints, keys in lower case."""
    stanzas = []
    for block in text.split("\n\n"):
        fields = (line.split(": ", 1) for line in block.splitlines() if ": " in line)
        stanza = {key.lower(): value.strip() for key, value in fields}
        if stanza:
            stanzas.append(stanza)
    return stanzas


def choose_mirror(targets: Sequence[Mapping[str, str]]) -> str | None:
    """The host's own Debian mirror: an archive that says it is Debian and is not the security one.

    Before the host's first `apt-get update` no Release file is there and apt knows no origin; then the
    keyring named for the source, or a path that ends in `debian`, tells.
    """
    for target in targets:
        uri = target.get("repo-uri", "")
        words = " ".join(target.get(key, "") for key in ("label", "suite", "release", "codename")) + uri
        if not uri or uri.startswith("cdrom:") or "security" in words.lower():
            continue
        origin = target.get("origin")
        if origin == "Debian":
            return uri.rstrip("/")
        signed_by = target.get("signed-by", "")
        if origin is None and ("debian-archive" in signed_by or uri.rstrip("/").endswith("/debian")):
            return uri.rstrip("/")
    return None


def host_mirror(environment: Mapping[str, str] = os.environ) -> str:
    """The mirror to use: the environment's, else the host's from its apt configuration."""
    named = environment.get(MIRROR_VARIABLE, "").strip()
    if named:
        return named.rstrip("/")
    for extra in ((), ("--no-release-info",)):
        listed = subprocess.run(
            ["apt-get", "indextargets", *extra, "Created-By: Packages"],
            capture_output=True,
            text=True,
            check=False,
        )
        mirror = choose_mirror(parse_targets(listed.stdout))
        if mirror:
            return mirror
    raise DeployError(
        "apt's configuration on this machine names no Debian mirror: "
        f"set {MIRROR_VARIABLE} to one, such as {MIRROR_VARIABLE}=http://MIRROR/debian"
    )


class PrivateApt:
    """apt and dpkg over `folder`/debian; several processes may share it, a lock keeps them in turn."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.folder = folder.absolute() / "debian"
        self._apt = self.folder / "apt"
        self._progress = progress

    def unpacked(self, wanted: PackageSet) -> Unpacked | None:
        """The set if it is already here, whole."""
        home = self.folder / wanted.name
        try:
            stamp = json.loads((home / "stamp.json").read_text())
        except FileNotFoundError:
            return None
        if stamp["packages"] != list(wanted.packages):
            return None
        return Unpacked(home / "root", stamp["versions"])

    def obtain(self, wanted: PackageSet) -> Unpacked:
        """Downloads and unpacks the set unless it is here. Interrupted, it leaves nothing half done."""
        present = self.unpacked(wanted)
        if present:
            return present
        self._check_tools()
        with self._locked():
            present = self.unpacked(wanted)
            if present:
                return present
            self._write_configuration(wanted)
            self._update()
            if not self._download(wanted):
                # sid moves: the lists name files that a newer upload has replaced.
                self._update(force=True)
                if not self._download(wanted):
                    raise DeployError(self._failure("downloading packages failed"))
            return self._unpack(wanted)

    def candidate(self, wanted: PackageSet, package: str) -> str:
        """The version of `package` that `obtain` would fetch now."""
        self._check_tools()
        with self._locked():
            self._write_configuration(wanted)
            self._update()
            shown = self._run("apt-cache", "policy", package).stdout
        found = re.search(r"Candidate: (\S+)", shown)
        if not found or found[1] == "(none)":
            raise DeployError(f"the mirror {self._mirror()} has no package {package} in {SUITE}")
        return found[1]

    def _check_tools(self) -> None:
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        if missing:
            raise DeployError(
                f"{', '.join(missing)} not found: a private copy of Asterisk needs Debian's apt and dpkg; "
                "on another system install Asterisk 22.10 yourself (and SIPp for the tests)"
            )
        if not KEYRING.is_file():
            raise DeployError(f"{KEYRING} is missing: install the package debian-archive-keyring")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with self._progress.step("Waiting for another process that downloads packages here"):
                    fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _mirror(self) -> str:
        return host_mirror()

    def _write_configuration(self, wanted: PackageSet) -> None:
        for sub in ("lists/partial", "cache/archives/partial"):
            (self._apt / sub).mkdir(parents=True, exist_ok=True)
        (self._apt / "status").write_text("")
        (self._apt / "sources.list").write_text(f"deb [signed-by={KEYRING}] {self._mirror()} {SUITE} main\n")
        pins = "".join(
            f"Package: {names}\nPin: version {version}\nPin-Priority: 1001\n\n"
            for names, version in wanted.pins.items()
        )
        (self._apt / "preferences").write_text(pins)
        (self._apt / "apt.conf").write_text(self._configuration())

    def _configuration(self) -> str:
        architecture = subprocess.run(
            ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
        ).stdout.strip()
        settings = {
            "Dir::State": self._apt,
            "Dir::State::Lists": self._apt / "lists",
            "Dir::State::status": self._apt / "status",
            "Dir::Cache": self._apt / "cache",
            "Dir::Cache::archives": self._apt / "cache/archives",
            "Dir::Etc::SourceList": self._apt / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": self._apt / "preferences",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "APT::Architecture": architecture,
            "APT::Default-Release": "",
            "APT::Install-Recommends": "false",
            # The folders belong to whoever runs this: apt's own user couldn't write there.
            "APT::Sandbox::User": "",
            # sid's Release file can be older than it says it may be; its signature is checked all the same.
            "Acquire::Check-Valid-Until": "false",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Acquire::http::Timeout": "30",
            "Acquire::https::Timeout": "30",
            # Our own lock is held; apt's would be the same folder's.
            "Debug::NoLocking": "true",
            # Without it apt-get update succeeds with nothing but a warning when the mirror can't be reached.
            "APT::Update::Error-Mode": "any",
        }
        # The host's hooks (clearing its cache, refreshing its desktop) are not meant for our folders.
        cleared = "".join(
            f"#clear {name};\n"
            for name in (
                "APT::Update::Pre-Invoke",
                "APT::Update::Post-Invoke",
                "APT::Update::Post-Invoke-Success",
                "APT::Architectures",
                "DPkg::Pre-Install-Pkgs",
                "DPkg::Post-Invoke",
            )
        )
        return cleared + "".join(f'{name} "{value}";\n' for name, value in settings.items())

    def _run(self, tool: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [tool, "-c", str(self._apt / "apt.conf"), *words],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"LC_ALL": "C"},
        )

    def _watched(self, step: Step, folder: Path, total_bytes: int | None, *words: str) -> bool:
        """Runs apt-get, telling the step how much has arrived in `folder`; its words go to a log file."""
        with (self._apt / "apt.log").open("w") as log:
            running = subprocess.Popen(
                ["apt-get", "-c", str(self._apt / "apt.conf"), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"LC_ALL": "C"},
            )
            try:
                while True:
                    try:
                        return running.wait(0.3) == 0
                    except subprocess.TimeoutExpired:
                        so_far = _size_of(folder) / 1e6
                        of_all = f" of {total_bytes / 1e6:.0f}" if total_bytes else ""
                        step.update(f"{so_far:.0f}{of_all} MB")
            finally:
                if running.poll() is None:
                    running.terminate()
                    running.wait()

    def _update(self, *, force: bool = False) -> None:
        stamp = self._apt / "updated"
        source = (self._apt / "sources.list").read_text()
        fresh = stamp.exists() and time.time() - stamp.stat().st_mtime < FRESH_LISTS_SECONDS
        if fresh and not force and stamp.read_text() == source:
            return
        with self._progress.step(f"Fetching Debian's package lists ({SUITE})") as step:
            if not self._watched(step, self._apt / "lists", None, "update"):
                raise DeployError(self._failure("fetching Debian's package lists failed"))
        stamp.write_text(source)

    def _download(self, wanted: PackageSet) -> bool:
        archives = self._apt / "cache/archives"
        for left_over in archives.glob("*.deb"):
            left_over.unlink()
        listed = self._run("apt-get", "--print-uris", "-y", "install", *wanted.packages)
        if listed.returncode:
            (self._apt / "apt.log").write_text(listed.stdout + listed.stderr)
            raise DeployError(self._failure(f"apt can't find {', '.join(wanted.packages)}"))
        total = sum(int(size) for size in re.findall(r"^'\S+ \S+ (\d+)", listed.stdout, re.MULTILINE))
        with self._progress.step(f"Downloading {wanted.purpose} and what it needs") as step:
            return self._watched(step, archives, total, "-y", "-d", "install", *wanted.packages)

    def _unpack(self, wanted: PackageSet) -> Unpacked:
        home, coming = self.folder / wanted.name, self.folder / f"{wanted.name}.coming"
        shutil.rmtree(coming, ignore_errors=True)
        (coming / "root").mkdir(parents=True)
        packages = sorted((self._apt / "cache/archives").glob("*.deb"))
        with (
            self._progress.step(f"Unpacking {wanted.purpose}") as step,
            ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool,
        ):
            extracted = pool.map(lambda package: _extract(package, coming / "root"), packages)
            for done, _ in enumerate(extracted, start=1):
                step.update(f"{done} of {len(packages)} packages")
        _finish_alternatives(coming / "root")
        versions = {name: _version_among(packages, name) for name in wanted.packages}
        stamp = {"packages": list(wanted.packages), "versions": versions}
        (coming / "stamp.json").write_text(json.dumps(stamp, indent=1) + "\n")
        shutil.rmtree(home, ignore_errors=True)
        coming.rename(home)
        for package in packages:
            package.unlink()
        return Unpacked(home / "root", versions)

    def _failure(self, what: str) -> str:
        log = (self._apt / "apt.log").read_text(errors="replace")
        said = [line for line in log.splitlines() if line.startswith(("E:", "W:", "Err:"))]
        return (
            f"{what}: {said[0] if said else 'apt gave no reason'} (all of it: {self._apt / 'apt.log'}). "
            f"Check the network, or name a mirror that has {SUITE}: {MIRROR_VARIABLE}=http://MIRROR/debian"
        )


def _size_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # apt renames a file once it is whole
    return total


def _extract(package: Path, root: Path) -> None:
    done = subprocess.run(
        ["dpkg-deb", "-x", str(package), str(root)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DeployError(f"unpacking {package.name} failed: {done.stderr.strip()} (is the disk full?)")


def _version_among(packages: Sequence[Path], name: str) -> str:
    for package in packages:
        # apt writes NAME_VERSION_ARCHITECTURE.deb, with the epoch's colon as %3a.
        package_name, version, _ = package.name.split("_", 2)
        if package_name == name:
            return version.replace("%3a", ":")
    raise DeployError(f"apt did not fetch {name}: delete {packages[0].parent if packages else ''} and retry")


def _finish_alternatives(root: Path) -> None:
    """The one thing that Asterisk's sound packages do on installing: `sounds/en` points to the voice."""
    sounds = root / "usr/share/asterisk/sounds"
    voice = sounds / "en_US_f_Allison"
    if voice.is_dir() and not (sounds / "en").exists():
        (sounds / "en").symlink_to(voice.name)


def main(names: Sequence[str]) -> int:
    """`python3 -m ari_app.deploy.debian FOLDER SET...`: obtains sets below FOLDER, prints their roots."""
    apt = PrivateApt(Path(names[0]), Progress())
    try:
        for name in names[1:]:
            sys.stdout.write(f"{apt.obtain(SETS[name]).root}\n")
    except DeployError as failed:
        sys.stderr.write(f"error: {failed}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
