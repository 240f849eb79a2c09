"""Text from outside, made harmless where it is shown; durations in words."""

from __future__ import annotations

import unicodedata

from ari_app.core.definition import SECOND_NS

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str, limit: int = 200) -> str:
    """``text`` with every control, format, unassigned or line-breaking character escaped.

    Escape sequences (ECMA-48), bidirectional overrides and lone surrogates (bytes that were not
    UTF-8) can then neither act, nor hide anything, nor fail to be encoded. At most ``limit``
    characters; the last one is an ellipsis if something was cut.
    """
    shown = "".join(_escaped(char) for char in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _escaped(char: str) -> str:
    if " " <= char <= "~" or unicodedata.category(char) not in _HIDDEN:
        return char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def duration(ns: int) -> str:
    """A length of time for people: ``34 s``, ``4 m 12 s``, ``2 h 05 m``; below 10 s one decimal if any."""
    if ns < 0:
        return f"-{duration(-ns)}"
    if ns < 10 * SECOND_NS:
        tenths = ns * 10 // SECOND_NS
        return f"{tenths // 10} s" if tenths % 10 == 0 else f"{tenths // 10}.{tenths % 10} s"
    seconds = ns // SECOND_NS
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} m {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02} m"


def counted(number: int, noun: str) -> str:
    """``1 call``, ``2 calls``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
