"""``cordboard crisis``, ``cordboard agents set`` and ``cordboard diff``: what supervisors do at run time."""

from __future__ import annotations

from pathlib import Path

from ari_app.core.staff import Departure
from ari_app.core.text import printable
from ari_app.web.client import ControlClient
from ari_app.web.errors import Refused


def crisis(socket: Path, *, on: bool, queue: str) -> str:
    """Throw the emergency switch; a sentence about it.

    Raises:
        Refused: it is so already, there is no such queue, or no crisis flow is prepared.
        ControlError: Cordboard does not answer.
    """
    return ControlClient(socket).crisis(on=on, queue=queue).said


def set_agent(socket: Path, agent: str, skills: str | None, queues: str | None) -> str:
    """Give an agent other skills and queues; None = as in the files. Raises as ``crisis``."""
    levels = None if skills is None else _levels(skills)
    names = None if queues is None else tuple(q for q in queues.split(",") if q)
    return ControlClient(socket).staff(agent, levels, names).said


def _levels(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        skill, equals, level = part.partition("=")
        if not (skill and equals and level.isdecimal()):
            raise Refused(
                400, "skills not understood", f'{printable(part, 40)!r}: write "german=3,billing=5"'
            )
        found[skill] = int(level)
    return found


def _whose(departure: Departure) -> str:
    if departure.what != "crisis":
        return f"agent {departure.agent}: {departure.what}"
    where = f"queue {departure.queue}" if departure.queue else "everything"
    return f"{where}: emergency switch"


def departures(socket: Path) -> str:
    """Where the running call centre departs from its files, a line for each."""
    found = ControlClient(socket).departures()
    if not found:
        return "no supervisor has changed anything: agents are as in the files\n"
    return "".join(
        f"{_whose(d)} {', '.join(d.files) or 'none'} -> {', '.join(d.now) or 'none'}"
        f" (by {printable(d.by, 40) or 'unknown'})\n"
        for d in found
    )
