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
from copy import deepcopy
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
KEPT_WORDS = "8 to 64 characters out of A-Z a-z 0-9 _ . + -"
SERVICES = ("ari", "ami")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
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
        _check(content, path)
        before = deepcopy(content)
        for phone in site.phones:
            _row(content, "phones", phone).setdefault("secret", _new_secret())
        for agent in agents:
            if agent not in site.pins:
                _row(content, "agents", agent).setdefault("pin", pins.generate_pin())
        for user in SERVICES:
            content.setdefault(user, {}).setdefault("password", _new_secret())
        if content != before or not path.exists():
            _write(path, HEADER + _render(content, path))
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


def _row(content: dict[str, Any], table: str, name: str) -> dict[str, Any]:
    row: dict[str, Any] = content.setdefault(table, {}).setdefault(name, {})
    return row


def _rows(content: dict[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """``[ari]``, ``[phones.bob]``, ... each with its keys; raises ``SecretsError`` on any other shape."""
    rows: dict[str, Any] = {}
    for table, entries in content.items():
        if table in SERVICES:
            rows[table] = entries
        elif isinstance(entries, dict):
            rows |= {f"{table}.{name}": entry for name, entry in entries.items()}
        else:
            rows[table] = entries
    for name, row in rows.items():
        if not isinstance(row, dict) or not all(_NAME.fullmatch(key) for key in (name, *row)):
            raise SecretsError(
                f"{path}: {name} must be a table of plain names: write [{name}] and the keys below it"
            )
    return rows


def _check(content: dict[str, Any], path: Path) -> None:
    for name, row in _rows(content, path).items():
        for key, value in row.items():
            pattern, right = (_PIN, "4 to 12 digits") if key == "pin" else (_KEPT, KEPT_WORDS)
            if not isinstance(value, str) or not pattern.fullmatch(value):
                raise SecretsError(f"{path}: {name}.{key} will not do: write {right}, in quotes")


def _render(content: dict[str, Any], path: Path) -> str:
    lines: list[str] = []
    for name, row in sorted(_rows(content, path).items()):
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
