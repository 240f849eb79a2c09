"""What is wrong with a definition, and where: one ``Problem`` each, collected in a ``Report``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ari_app.toml_lines import KeyPath


@dataclass(frozen=True)
class Problem:
    """``line`` counts from 1; 0 means the file or folder as a whole. ``right`` says what would be right."""

    file: Path
    line: int
    key: str
    wrong: str
    right: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else f"{self.file}"
        key = f"{self.key}: " if self.key else ""
        return f"{place}: {key}{self.wrong}; {self.right}"


class DefinitionErrors(Exception):
    """The definition can't be used; ``problems`` holds every error, by file and line."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


@dataclass
class Report:
    """Collects errors and warnings; ``places`` tells where each key stands, in the order of the files."""

    places: dict[KeyPath, list[tuple[Path, int]]] = field(default_factory=dict)
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def error(self, path: KeyPath, wrong: str, right: str) -> None:
        self.errors.append(self._problem(path, wrong, right))

    def warn(self, path: KeyPath, wrong: str, right: str) -> None:
        self.warnings.append(self._problem(path, wrong, right))

    def error_at(self, file: Path, line: int, key: str, wrong: str, right: str) -> None:
        self.errors.append(Problem(file, line, key, wrong, right))

    def sorted_errors(self) -> list[Problem]:
        return sorted(self.errors, key=lambda problem: (str(problem.file), problem.line, problem.key))

    def _problem(self, path: KeyPath, wrong: str, right: str) -> Problem:
        # A missing key has no line of its own: the table it is missing from has.
        known = path
        while known and known not in self.places:
            known = known[:-1]
        file, line = self.places[known][0] if known else (Path("definition"), 0)
        return Problem(file, line, dotted(path), wrong, right)


def dotted(path: KeyPath) -> str:
    """``queues.sales.music``, ``agents.bob.queues[1]``: the key as the user would write it."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
