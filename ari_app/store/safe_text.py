"""Making text from outside storable and showable.

A caller's name is whatever the far end sent: markup, control bytes, terminal escape sequences,
formulas, four thousand characters. It is kept as it came, as far as UTF-8 and PostgreSQL allow
(``storable``), and made harmless at the edge where it is shown, each edge in its own way.
"""

from __future__ import annotations

import unicodedata

MAX_STORED = 4096
"""Characters of a number or a name that are kept; Asterisk's own buffers are far smaller."""

_REPLACEMENT = "\ufffd"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def storable(text: str, limit: int = MAX_STORED) -> str:
    """``text`` as UTF-8 and PostgreSQL can hold it.

    Lone surrogates (undecodable bytes) and NUL, which PostgreSQL's text refuses, become U+FFFD,
    so that it stays visible that something was there. At most ``limit`` characters are kept.
    """
    cut = text[:limit]
    if cut.isascii() and "\0" not in cut:
        return cut
    return "".join(_REPLACEMENT if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in cut)


def storable_tree(value: object) -> object:
    """``storable`` (without cutting) for every string inside plain lists, tuples and dictionaries."""
    if isinstance(value, str):
        return storable(value, len(value))
    if isinstance(value, dict):
        return {storable_tree(key): storable_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable_tree(item) for item in value]
    return value


def visible(text: str, limit: int = 0) -> str:
    """``text`` safe for a terminal: every control, format and line-breaking character is escaped.

    Escape sequences (ECMA-48) and bidirectional overrides can so neither act nor hide anything.
    With ``limit`` > 0 the result has at most that many characters, the last being an ellipsis.
    """
    # Only the part that can be shown is looked at; escaping never makes text shorter.
    source = text[: limit + 1] if limit > 0 else text
    shown = "".join(_escaped(char) for char in source)
    if 0 < limit < len(shown):
        return shown[: limit - 1] + "…"
    return shown


def _escaped(char: str) -> str:
    if " " <= char <= "~":
        return char
    if unicodedata.category(char) not in _HIDDEN_CATEGORIES:
        return char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def csv_cell(text: str) -> str:
    """``text`` as the content of a CSV cell that no spreadsheet takes for a formula.

    A cell that would start a formula (OWASP, "CSV Injection") gets an apostrophe in front, and a
    cell that starts with an apostrophe gets one more; so dropping one leading apostrophe always
    gives the text back. That is also how a number like +49... stays safe and traceable. NUL, which
    breaks many readers, is escaped; quoting of line breaks and quotes is the ``csv`` module's.
    """
    clean = "".join(_escaped(c) if c not in "\t\r\n" and unicodedata.category(c) == "Cc" else c for c in text)
    # Spreadsheets skip leading blanks and line breaks before they look for a formula.
    first = clean.lstrip(" \n\u00a0\u3000")
    if clean.startswith(("'", "\n", "\r", "\t")) or first.startswith(_FORMULA_STARTS):
        return "'" + clean
    return clean


def csv_text(cell: str) -> str:
    """What ``csv_cell`` was given (escaped control characters excepted)."""
    return cell[1:] if cell.startswith("'") else cell
