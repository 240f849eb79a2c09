"""``cordboard doctor``: what is wrong with this deployment, and how to mend it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from ari_app.doctor import findings
from ari_app.doctor.checks import CHECKS, examine
from ari_app.doctor.place import place
from ari_app.settings import SettingsError


def doctor(
    state_dir: Path,
    *,
    definition: Path | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    as_json: bool = False,
) -> int:
    """Check and say; 0: all well, 1: warnings, 2: something is wrong.

    Raises:
        SettingsError: it is not known what to look at, or there is no such check.
    """
    for name in (*only, *skip):
        if name not in CHECKS:
            near = difflib.get_close_matches(name, CHECKS, n=3) or sorted(CHECKS)
            raise SettingsError(f"there is no check {name!r}; there is {', '.join(near)}")
    found = examine(place(state_dir, definition), only, skip)
    if as_json:
        sys.stdout.write(findings.as_json(found))
    else:
        findings.show(found)
    return found.status
