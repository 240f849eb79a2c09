"""Where each key of a TOML document stands: ``tomllib`` reads values but keeps no line numbers.

``key_lines`` walks a document that ``tomllib`` has accepted already, so it checks nothing; it only has
to know where strings, arrays, inline tables and comments begin and end (TOML 1.0).
"""

from __future__ import annotations

import re
import tomllib

KeyPath = tuple[str | int, ...]
"""Keys from the top down; an ``int`` is an index of an array."""

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]*")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
# A multi-line string may end in up to two quotes of its own before the closing three.
_LONG_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''.*?'''(?:'{0,2})", re.DOTALL)


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line (from 1) at which each key, table and array element of a valid document first appears."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._arrays: dict[KeyPath, int] = {}
        self.lines: dict[KeyPath, int] = {}

    def document(self) -> None:
        table: KeyPath = ()
        self._skip(_SPACE)
        while self._at < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._header("[[", "]]")
            elif self._text.startswith("[", self._at):
                table = self._header("[", "]")
            else:
                self._pair(table)
            self._skip(_SPACE)

    def _header(self, opening: str, closing: str) -> KeyPath:
        self._at += len(opening)
        path: KeyPath = ()
        parts = self._dotted_key()
        for number, part in enumerate(parts):
            path = (*path, part)
            if opening == "[[" and number == len(parts) - 1:
                self._arrays[path] = self._arrays.get(path, -1) + 1
            self._note(path)
            # A header below an array of tables means its latest element.
            if path in self._arrays:
                path = (*path, self._arrays[path])
                self._note(path)
        self._at += len(closing)
        return path

    def _pair(self, table: KeyPath) -> None:
        path = table
        for part in self._dotted_key():
            path = (*path, part)
            self._note(path)
        self._at += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)

    def _dotted_key(self) -> list[str]:
        parts = []
        while True:
            self._skip(_BLANK)
            parts.append(self._simple_key())
            self._skip(_BLANK)
            if not self._text.startswith(".", self._at):
                return parts
            self._at += 1

    def _simple_key(self) -> str:
        quote = self._text[self._at]
        if quote not in "\"'":
            return self._skip(_BARE_KEY)
        written = self._skip(_BASIC if quote == '"' else _LITERAL)
        key: str = tomllib.loads(f"key = {written}")["key"]
        return key

    def _value(self, path: KeyPath) -> None:
        rest = self._text[self._at : self._at + 3]
        for opening, pattern in (
            ('"""', _LONG_BASIC),
            ("'''", _LONG_LITERAL),
            ('"', _BASIC),
            ("'", _LITERAL),
        ):
            if rest.startswith(opening):
                self._skip(pattern)
                return
        if rest.startswith("["):
            self._array(path)
        elif rest.startswith("{"):
            self._inline_table(path)
        else:
            self._skip(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(_SPACE)
            if self._text[self._at] == "]":
                self._at += 1
                return
            self._note((*path, index))
            self._value((*path, index))
            index += 1
            self._skip(_SPACE)
            if self._text[self._at] == ",":
                self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while True:
            self._skip(_SPACE)
            if self._text[self._at] == "}":
                self._at += 1
                return
            self._pair(path)
            self._skip(_SPACE)
            if self._text[self._at] == ",":
                self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        assert found is not None, f"not TOML at character {self._at}"
        self._at = found.end()
        return found.group()

    def _note(self, path: KeyPath) -> None:
        self.lines.setdefault(path, self._text.count("\n", 0, self._at) + 1)
