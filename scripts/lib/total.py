"""The last line of ``./scripts/test``: the tests of several runs of pytest, counted together.

Each argument is a file that ``pytest --junitxml`` wrote.
"""

from __future__ import annotations

import sys
from collections import Counter
from xml.etree import ElementTree


def total(paths: list[str]) -> str:
    """One line in pytest's own words, such as ``1500 passed, 1 skipped in 900.00s``."""
    counts: Counter[str] = Counter()
    seconds = 0.0
    for path in paths:
        for suite in ElementTree.parse(path).getroot().iter("testsuite"):  # noqa: S314  pytest's own file
            for name in ("tests", "failures", "errors", "skipped"):
                counts[name] += int(suite.get(name, "0"))
            seconds += float(suite.get("time", "0"))
    passed = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    parts = [(counts["failures"], "failed"), (passed, "passed"), (counts["skipped"], "skipped")]
    parts.append((counts["errors"], "errors"))
    return f"{', '.join(f'{n} {what}' for n, what in parts if n)} in {seconds:.2f}s"


if __name__ == "__main__":
    print(f"==== {total(sys.argv[1:])} ====")
