"""PINs of agents: hashing, checking, and which ones are too easy to guess.

The hash is scrypt (RFC 7914) written as ``scrypt$n$r$p$salt$hash`` (base64 without padding). One check
costs about 50 ms of a processor and 16 MiB: whoever calls it does so off the event loop.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

COST_N, BLOCK_R, PARALLEL_P = 2**14, 8, 1
SALT_BYTES, HASH_BYTES = 16, 32
SHORTEST, LONGEST = 4, 12
GENERATED_DIGITS = 6
# A definition can't make a check cost more than this (128 * n * r bytes), by mistake or otherwise.
MOST_MEMORY_BYTES = 64 * 1024 * 1024
# A hash that no PIN has: an unknown agent's check takes as long as a known one's.
_NOBODY = "scrypt$16384$8$1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

_HASHED = re.compile(r"scrypt\$(\d{1,7})\$(\d{1,2})\$(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")


class PinError(ValueError):
    """A PIN that will not do, or text that is no hashed PIN; says what would."""


@dataclass(frozen=True)
class _Hashed:
    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes


def check_strength(pin: str) -> None:
    """Raises ``PinError`` unless ``pin`` is 4 to 12 digits that are neither one digit nor a run of digits."""
    if not re.fullmatch(r"[0-9]+", pin):
        raise PinError("a PIN is digits only, since it is dialled on a phone")
    if not SHORTEST <= len(pin) <= LONGEST:
        raise PinError(f"a PIN has {SHORTEST} to {LONGEST} digits, this one has {len(pin)}")
    steps = {(int(after) - int(before)) % 10 for before, after in pairwise(pin)}
    if steps in ({0}, {1}, {9}):
        raise PinError(
            "a PIN of one repeated digit (0000) or of digits in a row (1234, 9876) is guessed at once"
        )


def generate_pin() -> str:
    """A random PIN of six digits that passes ``check_strength``."""
    while True:
        pin = "".join(secrets.choice("0123456789") for _ in range(GENERATED_DIGITS))
        try:
            check_strength(pin)
        except PinError:
            continue  # one in ten thousand or so is a weak one: draw again
        return pin


def hash_pin(pin: str) -> str:
    """``scrypt$n$r$p$salt$hash`` of ``pin``; raises ``PinError`` if it is weak."""
    check_strength(pin)
    salt = secrets.token_bytes(SALT_BYTES)
    digest = _scrypt(pin, _Hashed(COST_N, BLOCK_R, PARALLEL_P, salt, b""))
    return f"scrypt${COST_N}${BLOCK_R}${PARALLEL_P}${_encode(salt)}${_encode(digest)}"


def verify_pin(pin: str, hashed: str) -> bool:
    """Whether ``pin`` is the one that was hashed, compared in constant time.

    Raises ``PinError`` if ``hashed`` is not what ``hash_pin`` writes.
    """
    stored = parse_hash(hashed)
    return hmac.compare_digest(_scrypt(pin, stored), stored.digest)


def parse_hash(hashed: str) -> _Hashed:
    """The parts of a hashed PIN; raises ``PinError`` if it is malformed or too cheap or dear to check."""
    found = _HASHED.fullmatch(hashed)
    if not found:
        raise PinError("not a hashed PIN: it reads scrypt$n$r$p$salt$hash, as `cordboard pin` prints it")
    n, r, p = (int(part) for part in found.groups()[:3])
    try:
        salt, digest = (_decode(part) for part in found.groups()[3:])
    except binascii.Error as error:
        raise PinError(
            "a hashed PIN's salt or hash is cut short: copy the line of `cordboard pin` whole"
        ) from error
    if n < 2**12 or n & (n - 1) or r < 1 or not 1 <= p <= 4 or 128 * n * r > MOST_MEMORY_BYTES:
        raise PinError("this hashed PIN's cost is out of bounds: make a new one with `cordboard pin`")
    if len(salt) < 8 or len(digest) != HASH_BYTES:
        raise PinError("a hashed PIN's salt or hash is cut short: copy the line of `cordboard pin` whole")
    return _Hashed(n, r, p, salt, digest)


class PinBook:
    """Every agent's PIN, hashed in the definition or generated into the secrets file."""

    def __init__(self, hashed: Mapping[str, str], generated: Mapping[str, str]) -> None:
        self._hashed = dict(hashed)
        self._generated = {agent: pin for agent, pin in generated.items() if agent not in self._hashed}

    def check(self, agent: str, pin: str) -> bool:
        """Whether ``pin`` is this agent's; about 50 ms of a processor whatever the answer."""
        right = verify_pin(pin, self._hashed.get(agent, _NOBODY))
        if agent in self._generated:
            return hmac.compare_digest(pin.encode(), self._generated[agent].encode())
        return right and agent in self._hashed

    def __repr__(self) -> str:
        return f"PinBook({len(self._hashed)} hashed, {len(self._generated)} generated)"


def _scrypt(pin: str, stored: _Hashed) -> bytes:
    return hashlib.scrypt(
        pin.encode(),
        salt=stored.salt,
        n=stored.n,
        r=stored.r,
        p=stored.p,
        maxmem=2 * MOST_MEMORY_BYTES,
        dklen=HASH_BYTES,
    )


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
