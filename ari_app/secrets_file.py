"""Passwords and PINs that nobody has to invent: made once, kept in one file that its owner alone can read.

The file holds them as they are, since phones must be told them (``cordboard phones``). PINs that an admin
chose are not in it: those stand hashed in the definition.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ari_app import pins
from ari_app.site import Site

HEADER = """\
# Written by Cordboard: what is missing is added, what is here is never changed.
# For a new password or PIN, delete its line and start Cordboard again. Nobody else may read it (chmod 600).
"""
# 24 characters of 62 are 142 bits: digest authentication can be tried offline by whoever hears one exchange.
SECRET_CHARACTERS = 24
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_KEPT = re.compile(r"[A-Za-z0-9_.+-]{8,64}")
_PIN = re.compile(r"[0-9]{4,12}")


class SecretsError(Exception):
    """The secrets file can't be used; the text names the file and the remedy."""


@dataclass(frozen=True)
class Secrets:
    """``phones`` and ``pins`` map a phone's or agent's name to its SIP password or generated PIN."""

    path: Path
    phones: dict[str, str]
    pins: dict[str, str]
    ari_password: str
    ami_password: str

    def __repr__(self) -> str:
        return f"Secrets({self.path})"

    @staticmethod
    def load_or_create(path: Path, site: Site, agents: tuple[str, ...]) -> Secrets:
        """Reads ``path`` and adds what ``site``'s phones and ``agents`` without a PIN of their own lack.

        Raises ``SecretsError`` if the file is readable by others, is not TOML, or holds a value that
        Asterisk's configuration can't take.
        """
        content = _read(path)
        before = _render(content)
        for phone in site.phones:
            _table(content, "phones", phone, path).setdefault("secret", _new_secret())
        for agent in agents:
            if agent not in site.pins:
                _table(content, "agents", agent, path).setdefault("pin", pins.generate_pin())
        for user in ("ari", "ami"):
            _table(content, user, None, path).setdefault("password", _new_secret())
        _check(content, path)
        if _render(content) != before or not path.exists():
            _write(path, HEADER + _render(content))
        return Secrets(
            path=path,
            phones={phone: content["phones"][phone]["secret"] for phone in site.phones},
            pins={agent: content["agents"][agent]["pin"] for agent in agents if agent not in site.pins},
            ari_password=content["ari"]["password"],
            ami_password=content["ami"]["password"],
        )


def _new_secret() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(SECRET_CHARACTERS))


def _read(path: Path) -> dict[str, Any]:
    try:
        handle = path.open("rb")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SecretsError(f"{path}: can't be read: {error.strerror}; it belongs to another user?") from error
    with handle:
        mode = stat.S_IMODE(os.fstat(handle.fileno()).st_mode)
        if mode & 0o077:
            raise SecretsError(
                f"{path}: its mode is {mode:o}, so others on this machine can read every password; "
                f"run: chmod 600 {path} (and delete it instead if they may have, to get new ones)"
            )
        try:
            return tomllib.load(handle)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SecretsError(
                f"{path}: is not TOML: {error}; put it right, or delete it to get a new one"
            ) from error


def _table(content: dict[str, Any], table: str, name: str | None, path: Path) -> dict[str, Any]:
    found = content.setdefault(table, {})
    if name is not None and isinstance(found, dict):
        found = found.setdefault(name, {})
    if not isinstance(found, dict):
        raise SecretsError(
            f"{path}: {table} must be a table; put it right, or delete the file to get a new one"
        )
    return found


def _check(content: dict[str, Any], path: Path) -> None:
    for table, entries in content.items():
        rows = {table: entries} if table in ("ari", "ami") else entries
        for name, row in rows.items():
            for key, value in row.items() if isinstance(row, dict) else ():
                pattern, right = (
                    (_PIN, "4 to 12 digits")
                    if key == "pin"
                    else (_KEPT, "8 to 64 characters out of A-Z a-z 0-9 _ . + -")
                )
                if not isinstance(value, str) or not pattern.fullmatch(value):
                    place = name if name == table else f"{table}.{name}"
                    raise SecretsError(f"{path}: {place}.{key} will not do: write {right}, in quotes")


def _render(content: dict[str, Any]) -> str:
    lines: list[str] = []
    for table in sorted(content):
        entries = content[table]
        rows = (
            {table: entries}
            if table in ("ari", "ami")
            else {f"{table}.{name}": entries[name] for name in entries}
        )
        for name, row in rows.items():
            lines.append(f"\n[{name}]")
            lines += [f'{key} = "{value}"' for key, value in row.items()]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coming = path.with_name(f".{path.name}.{os.getpid()}")
    # The mode is given on creation: there is no instant at which others could open it.
    handle = os.open(coming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        coming.rename(path)
    except BaseException:
        coming.unlink(missing_ok=True)
        raise
