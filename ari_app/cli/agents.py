"""``cordboard agents``: who is there, and what an admin asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.text import Text

from ari_app.cli import output
from ari_app.core import words
from ari_app.core.definition import SECOND_NS
from ari_app.core.messages import Action
from ari_app.core.text import duration
from ari_app.web.client import ControlClient
from ari_app.web.view import AgentView, View

COLUMNS = ("agent", "name", "state", "for", "detail", "call", "queues", "handled")
CSV_COLUMNS = ("agent", "name", "state", "since", "reason", "call", "after", "queues", "handled", "misses")
STYLES: dict[str, str] = {
    "ready": "green",
    "talking": "cyan",
    "holding": "cyan",
    "ringing": "yellow",
    "reserved": "yellow",
    "wrap_up": "blue",
    "paused": "magenta",
    "not_responding": "bold red",
    "signed_out": "dim",
}


def agents_list(socket: Path, form: output.Format = "table", width: int | None = None) -> str:
    """All agents of the running Cordboard, as text.

    Raises:
        ControlError: it does not answer.
    """
    return agents_table(ControlClient(socket).view(), form, width)


def agents_table(view: View, form: output.Format = "table", width: int | None = None) -> str:
    """The view's agents. JSON: the API's own objects; CSV: ``since`` as ISO 8601 UTC."""
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(view.agents), indent=2).decode() + "\n"
    if form == "csv":
        return output.as_csv(CSV_COLUMNS, [_csv_row(agent) for agent in view.agents])
    rows = [row(agent, view.at_ns) for agent in view.agents]
    return output.as_text(output.table(COLUMNS, rows, right=("handled",), whole=("agent", "state")), width)


def agents_act(
    socket: Path,
    agent: str,
    action: Action | str,
    reason: str = "",
    disposition: str = "",
    note: str = "",
    fields: Mapping[str, str] | None = None,
) -> str:
    """Ask something of an agent; the sentence that says what came of it.

    Raises:
        Refused: it makes no sense now, or there is no such agent (with the nearest names).
        ControlError: Cordboard does not answer.
    """
    return ControlClient(socket).act(agent, action, reason, "terminal", disposition, note, fields).said


def row(agent: AgentView, now_ns: int) -> tuple[object, ...]:
    """One agent as a line of a table; cells as ``COLUMNS``."""
    since = duration((now_ns - agent.since_ns) // SECOND_NS * SECOND_NS) if agent.since_ns else ""
    return (
        agent.agent,
        agent.name,
        state_cell(agent),
        since,
        detail(agent, now_ns),
        agent.call,
        ", ".join(agent.queues),
        agent.handled,
    )


def state_cell(agent: AgentView) -> Text:
    """The state, coloured."""
    return output.cell(words.state(agent.state), STYLES.get(agent.state, ""))


def detail(agent: AgentView, now_ns: int) -> str:
    """What the state alone does not say: a reason, a rest, a wish for later, a locked PIN."""
    parts = [agent.reason] if agent.reason else []
    if agent.desk:
        parts.append(f"at {agent.desk}")
    if agent.wrap_until_ns > now_ns:
        parts.append(f"{_whole(agent.wrap_until_ns - now_ns)} left")
    if agent.rests_until_ns > now_ns:
        parts.append(f"left alone for {_whole(agent.rests_until_ns - now_ns)}")
    if agent.held and agent.after != "ready":
        later = f" ({agent.after_reason})" if agent.after_reason else ""
        parts.append(f"then {words.state(agent.after)}{later}")
    if agent.locked_until_ns > now_ns:
        parts.append(f"PIN locked for {_whole(agent.locked_until_ns - now_ns)}")
    return ", ".join(parts)


def _whole(ns: int) -> str:
    return duration(-(-ns // SECOND_NS) * SECOND_NS)


def _csv_row(agent: AgentView) -> tuple[object, ...]:
    since = iso(agent.since_ns) if agent.since_ns else ""
    after = agent.after if agent.held else ""
    queues = " ".join(agent.queues)
    return (
        agent.agent,
        agent.name,
        agent.state,
        since,
        agent.reason,
        agent.call,
        after,
        queues,
        agent.handled,
        agent.misses,
    )


def iso(at_ns: int) -> str:
    """ISO 8601 UTC with milliseconds."""
    moment = datetime.fromtimestamp(at_ns // SECOND_NS, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ns % SECOND_NS // 1_000_000:03}Z"
