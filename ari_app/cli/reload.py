"""``cordboard reload``: the definition on disk, taken over by the running Cordboard."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from ari_app.core.text import printable
from ari_app.web.client import ControlClient
from ari_app.web.errors import Refused
from ari_app.web.messages import Reloaded

REFUSED = 2
LIMIT_S = 60.0
"""For a large definition, and a commit that waits for the journal."""


def reload(socket: Path, *, dry_run: bool = False, as_json: bool = False) -> int:
    """Reload (or only tell what would change) and say what came of it; the exit status.

    0: done, or nothing to do. 2: refused, nothing has changed; stderr says where it is wrong.

    Raises:
        ControlError: Cordboard does not answer.
    """
    try:
        done = ControlClient(socket, LIMIT_S).reload(dry_run=dry_run)
    except Refused as refused:
        if refused.status not in (409, 422):
            raise
        said = "".join(f"{printable(line, 1000)}\n" for line in str(refused).splitlines())
        sys.stderr.write(f"{said}cordboard: {refused.title}: nothing was changed\n")
        return REFUSED
    sys.stdout.write(_json(done) if as_json else text(done, dry_run=dry_run))
    return 0


def text(done: Reloaded, *, dry_run: bool) -> str:
    """What changed, line by line, and what is left to do."""
    lines = [f"warning: {line}" for line in done.warnings]
    lines += [printable(line, 1000) for line in done.changes]
    if not done.changes:
        lines.append("nothing to do: what is on disk is what runs")
    elif dry_run:
        lines.append("these would change; nothing was changed (cordboard reload applies them)")
    else:
        lines.append("applied; calls in progress were left alone")
    lines += [f"to do: {line}" for line in done.to_do]
    return "\n".join(lines) + "\n"


def _json(done: Reloaded) -> str:
    return msgspec.json.format(msgspec.json.encode(done), indent=2).decode() + "\n"
