"""The form of a note about a call: what a queue asks its agents to write down, and the text that comes of it.

Notes are personal data: they pass through here and into the caller's row, never into an event.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from ari_app.core.definition import Queue
from ari_app.core.floor import Floor
from ari_app.core.wrapup import queue_of


class Form(Struct, frozen=True):
    """``fields``: key -> label, in their order; ``required``: keys that must be filled in."""

    fields: dict[str, str] = {}
    required: tuple[str, ...] = ()


def form(floor: Floor, agent: str) -> Form:
    """The form for the call that the agent has, or wraps up; without fields if there is none."""
    found = floor.state.agents.get(agent)
    queue = floor.definition.queues.get(queue_of(floor, found)) if found else None
    if found is None or queue is None:
        return Form()
    asked = of_queue(queue)
    # While the talk goes on, what is missing may still come.
    return asked if found.state == "wrap_up" else Form(asked.fields)


def of_queue(queue: Queue) -> Form:
    """What the definition says."""
    return Form(queue.note_fields, queue.note_required)


def problem(form: Form, given: Mapping[str, str]) -> str:
    """Why these fields will not do, for people; "" if they will."""
    there = ", ".join(form.fields) or "none"
    for key in given:
        if key not in form.fields:
            return f"the note has no field {key}; there are: {there}"
    missing = [key for key in form.required if not given.get(key, "").strip()]
    return f"the note needs: {', '.join(missing)}" if missing else ""


def text(form: Form, given: Mapping[str, str], free: str) -> str:
    """One line a field, in the form's order, then what was written freely."""
    lines = [
        f"{label}: {given[key].strip()}" for key, label in form.fields.items() if given.get(key, "").strip()
    ]
    return "\n".join([*lines, *([free] if free else [])])
