"""The local control API's routes, for the owner of the process alone. Imported late: see ``control``."""

from __future__ import annotations

import asyncio
import socket

import msgspec
from litestar import Litestar, Response, get, post
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler

from ari_app.core.text import printable
from ari_app.web import answers, server, wishes
from ari_app.web.answers import AnyRequest, Pictures, as_json
from ari_app.web.control import Desk
from ari_app.web.errors import Refused
from ari_app.web.messages import Ask, Because, Done, Health
from ari_app.web.supervision import supervision
from ari_app.web.upkeep import upkeep

BODY_LIMIT_BYTES = 4096
REASON_LIMIT = 60
BY_LIMIT = 40
NOTE_LIMIT = 1000
PACE_S = 1.0
"""``GET /view?since=`` answers once in so long."""
CONNECTIONS = 64


def app(desk: Desk) -> Litestar:
    """The whole API over ``desk``."""
    pictures = Pictures(desk)
    return Litestar(
        route_handlers=[
            *_readings(desk, pictures),
            *_reasons(desk, pictures),
            _acting(desk, pictures),
            *upkeep(desk),
            *supervision(desk),
        ],
        exception_handlers={
            Refused: answers.refused,
            HTTPException: answers.http_error,
            Exception: answers.failed,
        },
        request_max_body_size=BODY_LIMIT_BYTES,
        openapi_config=None,  # its page would load scripts from elsewhere
        logging_config=None,
    )


def _readings(desk: Desk, pictures: Pictures) -> list[ControllerRouterHandler]:
    @get("/healthz", sync_to_thread=False)
    def healthz() -> Response[bytes]:
        return as_json(Health(alive=True))

    @get("/readyz", sync_to_thread=False)
    def readyz() -> Response[bytes]:
        ready = desk.ready()
        return as_json(ready, 200 if ready.ready() else 503)

    @get("/view")
    async def view(request: AnyRequest) -> Response[bytes]:
        """With ``since`` (a stamp): a second later, 204 if nothing happened since."""
        since = request.query_params.get("since")
        if since is None:
            return as_json(pictures.view())
        if not since.isdecimal():
            raise Refused(400, "request not understood", "since is a view's stamp, a whole number")
        await asyncio.sleep(PACE_S)
        now = pictures.view()
        return as_json(now) if now.stamp != int(since) else Response(b"", status_code=204)

    @get("/agents", sync_to_thread=False)
    def agents() -> Response[bytes]:
        return as_json(pictures.view().agents)

    @get("/agents/{name:str}", sync_to_thread=False)
    def agent(request: AnyRequest) -> Response[bytes]:
        """One agent at this instant; the picture may be a moment old."""
        found = desk.agent(request.path_params["name"])
        if found is None:
            known = (each.agent for each in pictures.view().agents)
            found = answers.agent_named(desk, request.path_params["name"], known)
        return as_json(found)

    @get("/calls", sync_to_thread=False)
    def calls() -> Response[bytes]:
        return as_json(pictures.view().calls)

    @get("/queues", sync_to_thread=False)
    def queues() -> Response[bytes]:
        return as_json(pictures.view().queues)

    return [healthz, readyz, view, agents, agent, calls, queues]


def _reasons(desk: Desk, pictures: Pictures) -> list[ControllerRouterHandler]:
    @get("/why/call/{call:str}", sync_to_thread=False)
    def why_call(request: AnyRequest) -> Response[bytes]:
        call = request.path_params["call"]
        lines = desk.why_call(call)
        if not lines:
            live = [each.call for each in pictures.view().calls]
            near = tuple(wishes.nearest(call, live))
            raise Refused(404, "no such live call", f"no live call is called {answers.quoted(call)}", near)
        return as_json(Because(lines))

    @get("/why/agent/{name:str}", sync_to_thread=False)
    def why_agent(request: AnyRequest) -> Response[bytes]:
        known = (each.agent for each in pictures.view().agents)
        agent = answers.agent_named(desk, request.path_params["name"], known)
        return as_json(Because(desk.why_agent(agent.agent)))

    return [why_call, why_agent]


def _acting(desk: Desk, pictures: Pictures) -> ControllerRouterHandler:
    @post("/agents/{name:str}/{action:str}", status_code=200)
    async def act(request: AnyRequest) -> Response[bytes]:
        name = request.path_params["name"]
        action = answers.action_of(request.path_params["action"])
        ask = _ask_of(await request.body())
        agent = answers.agent_named(desk, name, (a.agent for a in pictures.view().agents))
        said, after = await answers.act_on_agent(
            desk, agent, action, ask.reason, ask.by, ask.disposition, ask.note, ask.fields
        )
        return as_json(Done(said, after))

    return act


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
    texts = (
        *(("reason", ask.reason, REASON_LIMIT), ("by", ask.by, BY_LIMIT), ("note", ask.note, NOTE_LIMIT)),
        *((f"fields.{printable(key, 40)}", text, NOTE_LIMIT) for key, text in ask.fields.items()),
    )
    for key, text, limit in texts:
        if len(text) > limit or printable(text, limit) != text:
            raise Refused(400, "body not understood", f"{key}: at most {limit} printable characters")
    return ask


async def run(desk: Desk, sock: socket.socket) -> None:
    """Serve on ``sock`` until cancelled."""
    await server.run(lambda: app(desk), sock, CONNECTIONS)
