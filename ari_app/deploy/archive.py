"""Tar archives, gzip or zstd by their name: written privately and whole, read without trust."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Self, cast

from ari_app.deploy.console import DeployError

BLOCK_BYTES = 1 << 20
GZIP, ZSTD = (".tar.gz", ".tgz"), (".tar.zst", ".tzst")
RIGHT = "name it ....tar.gz, or ....tar.zst where the program zstd is installed"


class ArchiveError(DeployError):
    """The archive cannot be read or written; the text names it and says what would be right."""


def _zstd(path: Path) -> str:
    """The program for this archive, or "" if it needs none."""
    if path.name.endswith(GZIP):
        return ""
    if not path.name.endswith(ZSTD):
        raise ArchiveError(f"{path}: of no known kind: {RIGHT}")
    found = shutil.which("zstd")
    if found is None:
        raise ArchiveError(f"{path}: zstd is not installed: {RIGHT}")
    return found


class ArchiveWriter:
    """A context: the archive has its name only if the block ends well. Mode 600 from the first byte."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._coming = path.with_name(f".{path.name}.coming")
        self._zstd_program = _zstd(path)

    def __enter__(self) -> Self:
        if self._path.exists():
            raise ArchiveError(f"{self._path} is there already: nothing is overwritten")
        self._coming.unlink(missing_ok=True)
        handle = os.open(self._coming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(handle, "wb")
        self._packer: subprocess.Popen[bytes] | None = None
        if self._zstd_program:
            words = [self._zstd_program, "-q", "-c", "-"]
            self._packer = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=self._file)
            self._tar = tarfile.open(fileobj=self._packer.stdin, mode="w|", format=tarfile.PAX_FORMAT)
        else:
            self._tar = tarfile.open(fileobj=self._file, mode="w|gz", format=tarfile.PAX_FORMAT)
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        try:
            self._tar.close()  # after a failure, too: an unclosed stream complains when it is collected
            if self._packer is not None and self._packer.stdin is not None:
                self._packer.stdin.close()
                if self._packer.wait() and failed is None:
                    raise ArchiveError(f"{self._path}: zstd failed: is the disk full?")
            if failed is None:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._coming.rename(self._path)
        finally:
            self._file.close()
            self._coming.unlink(missing_ok=True)

    def add(self, path: Path, name: str) -> bool:
        """A file as it is now, even if it grows meanwhile; False if it has gone."""
        try:
            with path.open("rb") as file:
                info = self._tar.gettarinfo(name=str(path), arcname=name, fileobj=file)
                info.type = tarfile.REGTYPE  # a second name of one file (a hard link) is a file, too
                self._tar.addfile(_anonymous(info), file)
        except FileNotFoundError:
            return False  # a raw track that was assembled meanwhile, for example
        return True

    def add_tree(self, folder: Path, name: str) -> int:
        """Every regular file below ``folder``; how many."""
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        return sum(self.add(path, f"{name}/{path.relative_to(folder)}") for path in files)

    def add_bytes(self, content: bytes, name: str) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o600
        self._tar.addfile(info, io.BytesIO(content))


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """On another machine the users are others."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


class ArchiveReader:
    """A context over an archive that is unpacked once into a private folder in ``near``.

    Members are regular files with relative names; anything else makes the archive invalid.
    """

    def __init__(self, path: Path, near: Path) -> None:
        self._path = path
        self._near = near
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            with self._stack:
                scratch = self._stack.enter_context(
                    tempfile.TemporaryDirectory(prefix=".cordboard-restore-", dir=self._near)
                )
                self._root = Path(scratch)
                self._unpack()
                self._stack = self._stack.pop_all()
        except FileNotFoundError as missing:
            raise ArchiveError(f"{self._path}: there is no such file") from missing
        except (tarfile.TarError, EOFError, OSError) as broken:
            raise ArchiveError(f"{self._path}: cannot be read as an archive: {broken}") from broken
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _unpack(self) -> None:
        program = _zstd(self._path)
        with self._path.open("rb") as file:
            if not program:
                self._take(file, "r|gz")
                return
            words = [program, "-q", "-dc"]
            with subprocess.Popen(words, stdin=file, stdout=subprocess.PIPE) as unpacker:
                self._take(cast(IO[bytes], unpacker.stdout), "r|")

    def _take(self, file: IO[bytes], mode: str) -> None:
        with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
            for member in tar:
                place = PurePosixPath(member.name)
                if not member.isreg() or place.is_absolute() or ".." in place.parts:
                    raise ArchiveError(f"{self._path}: {member.name!r} in it is not what Cordboard writes")
                target = self._root / place
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                content = tar.extractfile(member)
                handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(handle, "wb") as out:
                    if content is not None:
                        shutil.copyfileobj(content, out, BLOCK_BYTES)
                os.utime(target, (member.mtime, member.mtime))
                target.chmod(member.mode & 0o700)  # nobody else's, whatever it was

    def read(self, name: str) -> bytes | None:
        """A small member, or None."""
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def blocks(self, name: str) -> Iterator[bytes]:
        """A large member, block by block."""
        with (self._root / name).open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block

    def extract(self, name: str, target: Path) -> bool:
        """Put one member at ``target``; False if the archive has none of that name."""
        source = self._root / name
        if not source.exists():
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)
        return True

    def extract_tree(self, name: str, folder: Path) -> None:
        """Put every member below ``name`` into ``folder``, which is made."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        source = self._root / name
        for path in sorted(source.rglob("*")) if source.exists() else []:
            if path.is_file():
                self.extract(str(path.relative_to(self._root)), folder / path.relative_to(source))
