"""How both servers answer: JSON, and errors as RFC 9457 problems; and the one thing both do to agents."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException

from ari_app.core import notes
from ari_app.core.messages import Action, AgentAsked
from ari_app.core.text import printable
from ari_app.web import wishes
from ari_app.web.control import Counter, Wish
from ari_app.web.errors import Refused
from ari_app.web.messages import PROBLEM_TYPE, Problem
from ari_app.web.view import AgentView, View

ASK_LIMIT_S = 5.0
FRESH_S = 0.2
"""A picture so young is given to several readers; building one is the only work of size here."""
SHARE = 20
"""Of the loop's time at most one part in so many goes into pictures, however large the floor is."""

log = structlog.get_logger(__name__)
AnyRequest = Request[Any, Any, Any]


class Pictures:
    """The desk's view, built at most every ``FRESH_S``, and more rarely if building takes long."""

    def __init__(self, desk: Counter) -> None:
        self.desk = desk
        self._view: View | None = None
        self._good_until_s = 0.0

    def view(self) -> View:
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        if self._view is None or began_s > self._good_until_s:
            self._view = self.desk.view()
            built_s = now_s()
            self._good_until_s = built_s + max(FRESH_S, SHARE * (built_s - began_s))
        return self._view


def action_of(text: str) -> Action:
    """Raises ``Refused`` 404 for what is no action."""
    wish = wishes.action_named(text)
    if wish is None:
        near = tuple(wishes.nearest(text, wishes.ACTIONS)) or wishes.ACTIONS
        raise Refused(404, "no such action", f"{quoted(text)} is not one of {listed()}", near)
    return wish


def agent_named(desk: Counter, name: str, known: Iterable[str]) -> AgentView:
    """Raises ``Refused`` 404, with the nearest of the ``known``."""
    agent = desk.agent(name)
    if agent is None:
        names = sorted(known)
        near = tuple(wishes.nearest(name, names))
        hint = f"; nearest: {', '.join(near)}" if near else f"; there are {len(names)} agents"
        raise Refused(404, "no such agent", f"no agent is called {quoted(name)}{hint}", near)
    return agent


async def act_on_agent(
    desk: Counter,
    agent: AgentView,
    action: Action,
    reason: str,
    by: str,
    disposition: str = "",
    note: str = "",
    fields: Mapping[str, str] | None = None,
) -> tuple[str, AgentView]:
    """Carry the wish out; a sentence about it, and the agent as they are then.

    Raises:
        Refused: 409 it makes no sense now, 504 it was not committed in time.
    """
    item = AgentAsked(agent.agent, action, reason, by, disposition)
    refusal = wishes.refusal(agent, action, reason) or desk.refusal(item)
    if refusal:
        raise Refused(409, "makes no sense now", refusal)
    written = _note(desk, agent, note, fields or {}) if action == "done" else ""
    if written:
        lost = desk.note(agent.call, written)
        if lost:
            raise Refused(409, "the note was not kept", lost)
    await in_time(desk, item)
    log.info("agent asked", agent=agent.agent, action=action, by=by)
    after = desk.agent(agent.agent) or agent
    return wishes.granted(after, action), after


def _note(desk: Counter, agent: AgentView, free: str, fields: Mapping[str, str]) -> str:
    """The note by the queue's form. Raises ``Refused`` 409 if something is missing, or is not asked for."""
    form = desk.note_form(agent.agent)
    wrong = notes.problem(form, fields)
    if wrong:
        raise Refused(409, "the note is not complete", wrong)
    return notes.text(form, fields, free)


async def in_time(desk: Counter, item: Wish) -> None:
    """Returns when it is committed. Raises ``Refused`` 504 after ``ASK_LIMIT_S``."""
    try:
        async with asyncio.timeout(ASK_LIMIT_S):
            await desk.ask(item)
    except TimeoutError:
        detail = f"it was not carried out within {ASK_LIMIT_S:.0f} s and may still be"
        raise Refused(504, "Cordboard is busy", detail) from None


def quoted(text: str) -> str:
    return f'"{printable(text, 40)}"'


def listed() -> str:
    return ", ".join(wishes.ACTIONS)


# ---------------------------------------------------------------- answers


def as_json(content: object, status: int = 200) -> Response[bytes]:
    return Response(msgspec.json.encode(content), media_type=MediaType.JSON, status_code=status)


def problem(
    status: int,
    title: str,
    detail: str,
    nearest: tuple[str, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> Response[bytes]:
    body = msgspec.json.encode(Problem(title, status, detail, nearest))
    return Response(body, media_type=PROBLEM_TYPE, status_code=status, headers=dict(headers or {}))


def refused(_: AnyRequest, error: Refused) -> Response[bytes]:
    return problem(error.status, error.title, error.detail, error.nearest, error.headers)


def http_error(_: AnyRequest, error: HTTPException) -> Response[bytes]:
    detail = printable(error.detail)
    return problem(error.status_code, "request not understood", detail, headers=error.headers)


def failed(request: AnyRequest, error: Exception) -> Response[bytes]:
    log.error("control request failed", route=request.scope["path"], exc_info=error)
    return problem(500, "Cordboard failed on this request", "its log says more")
