"""The control API's routes and the server that carries them. Imported late: see ``control``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Generator
from typing import Any

import msgspec
import structlog
import uvicorn
from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler

from ari_app.core.messages import Action, AgentAsked
from ari_app.core.text import printable
from ari_app.web import wishes
from ari_app.web.control import Desk
from ari_app.web.errors import Refused
from ari_app.web.messages import PROBLEM_TYPE, Ask, Done, Health, Problem
from ari_app.web.view import View

BODY_LIMIT_BYTES = 4096
REASON_LIMIT = 60
BY_LIMIT = 40
ASK_LIMIT_S = 5.0
FRESH_S = 0.2
"""A picture so young is given to several readers; building one is the only work of size here."""
PACE_S = 1.0
"""``GET /view?since=`` answers once in so long."""
SHUTDOWN_LIMIT_S = 1
CONNECTIONS = 64

log = structlog.get_logger(__name__)
AnyRequest = Request[Any, Any, Any]


class Pictures:
    """The desk's view, built at most every ``FRESH_S``."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._view: View | None = None
        self._built_s = 0.0

    def view(self, *, fresh: bool = False) -> View:
        now_s = asyncio.get_running_loop().time()
        if self._view is None or fresh or now_s - self._built_s > FRESH_S:
            self._view, self._built_s = self.desk.view(), now_s
        return self._view


def app(desk: Desk) -> Litestar:
    """The whole API over ``desk``."""
    pictures = Pictures(desk)
    return Litestar(
        route_handlers=[*_readings(desk, pictures), _acting(desk, pictures)],
        exception_handlers={Refused: _refused, HTTPException: _http, Exception: _failed},
        request_max_body_size=BODY_LIMIT_BYTES,
        openapi_config=None,  # its page would load scripts from elsewhere
        logging_config=None,
    )


def _readings(desk: Desk, pictures: Pictures) -> list[ControllerRouterHandler]:
    @get("/healthz", sync_to_thread=False)
    def healthz() -> Response[bytes]:
        return _json(Health(alive=True))

    @get("/readyz", sync_to_thread=False)
    def readyz() -> Response[bytes]:
        ready = desk.ready()
        return _json(ready, 200 if ready.ready() else 503)

    @get("/view")
    async def view(request: AnyRequest) -> Response[bytes]:
        """With ``since`` (a stamp): a second later, 204 if nothing happened since."""
        since = request.query_params.get("since")
        if since is None:
            return _json(pictures.view())
        if not since.isdecimal():
            raise Refused(400, "request not understood", "since is a view's stamp, a whole number")
        await asyncio.sleep(PACE_S)
        now = pictures.view()
        return _json(now) if now.stamp != int(since) else Response(b"", status_code=204)

    @get("/agents", sync_to_thread=False)
    def agents() -> Response[bytes]:
        return _json(pictures.view().agents)

    @get("/calls", sync_to_thread=False)
    def calls() -> Response[bytes]:
        return _json(pictures.view().calls)

    @get("/queues", sync_to_thread=False)
    def queues() -> Response[bytes]:
        return _json(pictures.view().queues)

    return [healthz, readyz, view, agents, calls, queues]


def _acting(desk: Desk, pictures: Pictures) -> ControllerRouterHandler:
    @post("/agents/{name:str}/{action:str}", status_code=200)
    async def act(request: AnyRequest) -> Response[bytes]:
        name, action = request.path_params["name"], request.path_params["action"]
        wish = wishes.action_named(action)
        if wish is None:
            near = tuple(wishes.nearest(action, wishes.ACTIONS)) or wishes.ACTIONS
            raise Refused(404, "no such action", f"{_quoted(action)} is not one of {_listed()}", near)
        ask = _ask_of(await request.body())
        return _json(await _act(desk, pictures, name, wish, ask))

    return act


async def _act(desk: Desk, pictures: Pictures, name: str, action: Action, ask: Ask) -> Done:
    view = pictures.view(fresh=True)
    agent = view.agent(name)
    if agent is None:
        known = [a.agent for a in view.agents]
        near = tuple(wishes.nearest(name, known))
        hint = f"; nearest: {', '.join(near)}" if near else f"; there are {len(known)} agents"
        raise Refused(404, "no such agent", f"no agent is called {_quoted(name)}{hint}", near)
    refusal = wishes.refusal(agent, action, ask.reason)
    if refusal:
        raise Refused(409, "makes no sense now", refusal)
    try:
        async with asyncio.timeout(ASK_LIMIT_S):
            await desk.ask(AgentAsked(agent.agent, action, ask.reason, ask.by))
    except TimeoutError:
        detail = f"it was not carried out within {ASK_LIMIT_S:.0f} s and may still be"
        raise Refused(504, "Cordboard is busy", detail) from None
    log.info("agent asked", agent=agent.agent, action=action, by=ask.by)
    after = pictures.view(fresh=True).agent(name) or agent
    return Done(wishes.granted(after, action), after)


def _ask_of(body: bytes) -> Ask:
    """The body, or the defaults if there is none.

    Raises:
        Refused: 400, not an object of the right shape, or a text that is too long or not printable.
    """
    if not body.strip():
        return Ask()
    try:
        ask = msgspec.json.decode(body, type=Ask)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, "body not understood", f'{error}; right: {{"reason": "lunch"}}') from None
    for key, text, limit in (("reason", ask.reason, REASON_LIMIT), ("by", ask.by, BY_LIMIT)):
        if len(text) > limit or printable(text, limit) != text:
            raise Refused(400, "body not understood", f"{key}: at most {limit} printable characters")
    return ask


def _quoted(text: str) -> str:
    return f'"{printable(text, 40)}"'


def _listed() -> str:
    return ", ".join(wishes.ACTIONS)


# ---------------------------------------------------------------- answers


def _json(content: object, status: int = 200) -> Response[bytes]:
    return Response(msgspec.json.encode(content), media_type=MediaType.JSON, status_code=status)


def _problem(status: int, title: str, detail: str, nearest: tuple[str, ...] = ()) -> Response[bytes]:
    body = msgspec.json.encode(Problem(title, status, detail, nearest))
    return Response(body, media_type=PROBLEM_TYPE, status_code=status)


def _refused(_: AnyRequest, error: Refused) -> Response[bytes]:
    return _problem(error.status, error.title, error.detail, error.nearest)


def _http(_: AnyRequest, error: HTTPException) -> Response[bytes]:
    return _problem(error.status_code, "request not understood", printable(error.detail))


def _failed(request: AnyRequest, error: Exception) -> Response[bytes]:
    log.error("control request failed", route=request.scope["path"], exc_info=error)
    return _problem(500, "Cordboard failed on this request", "its log says more")


# ---------------------------------------------------------------- the server


class QuietServer(uvicorn.Server):
    """Uvicorn as a guest in a loop that belongs to somebody else: signals stay with the owner."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class _ToStructlog(logging.Handler):
    """Uvicorn's warnings as lines of our own log; its chatter is dropped."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("control server", said=record.getMessage(), exc_info=record.exc_info)


def server(desk: Desk) -> QuietServer:
    """The server, ready to run. Takes some hundredths of a second: not for the event loop."""
    said = logging.getLogger("uvicorn")
    said.handlers, said.propagate = [_ToStructlog(logging.WARNING)], False
    config = uvicorn.Config(
        app(desk),
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        loop="none",
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=SHUTDOWN_LIMIT_S,
    )
    config.load()
    return QuietServer(config)


async def run(desk: Desk, sock: socket.socket) -> None:
    """Serve on ``sock`` until cancelled; open requests then get ``SHUTDOWN_LIMIT_S``."""
    serving = await asyncio.to_thread(server, desk)
    async with asyncio.TaskGroup() as owner:
        task = owner.create_task(serving.serve(sockets=[sock]))
        try:
            await asyncio.shield(task)
        finally:
            serving.should_exit = True
            await asyncio.wait([task], timeout=SHUTDOWN_LIMIT_S + 1)
