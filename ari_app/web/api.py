"""The HTTP API's routes. Imported late, in a thread: see ``http``."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import structlog
from litestar import Litestar, Response, get, post
from litestar.exceptions import HTTPException
from litestar.response import Stream
from litestar.types import ControllerRouterHandler

from ari_app.core.messages import CallAsked
from ari_app.core.text import printable
from ari_app.web import answers, openapi, public, server, wallboard
from ari_app.web.answers import AnyRequest, Pictures, as_json
from ari_app.web.board import Board
from ari_app.web.errors import Refused
from ari_app.web.gate import Gate, forbidden
from ari_app.web.http import OpenDesk
from ari_app.web.messages import Health
from ari_app.web.metrics import CONTENT_TYPE, Metrics
from ari_app.web.stream import Feed
from ari_app.web.tokens import Token, TokenBook
from ari_app.web.view import View

BODY_LIMIT_BYTES = 4096
REASON_LIMIT = 60
NOTE_LIMIT = 1000
CONNECTIONS = 128
SEQ_LIMIT = 2**53
"""Beyond what a journal will number, and what every client's numbers hold."""

log = structlog.get_logger(__name__)
Handlers = list[ControllerRouterHandler]


class Api:
    """One API over one desk: its gate, its pictures, its streams, its figures."""

    def __init__(self, desk: OpenDesk, state_dir: Path) -> None:
        self.desk = desk
        self.gate = Gate(TokenBook(state_dir))
        self.pictures = Pictures(desk)
        self.feed = Feed(desk)
        self.board = Board(self.pictures, desk.newest)
        self.metrics = Metrics()
        self._said: dict[tuple[str, bool, str], tuple[View, bytes]] = {}

    def app(self) -> Litestar:
        """Litestar's own description is off: ``openapi`` makes it, from the same types."""
        return Litestar(
            route_handlers=[
                *self._open(),
                *self._readings(),
                *self._acting(),
                *self._streams(),
                *wallboard.routes(self.gate, self.board),
            ],
            exception_handlers={
                Refused: answers.refused,
                HTTPException: answers.http_error,
                Exception: answers.failed,
            },
            request_max_body_size=BODY_LIMIT_BYTES,
            openapi_config=None,
            logging_config=None,
        )

    def close(self) -> None:
        """Let the streams end, each with its last word."""
        self.feed.close()
        self.board.close()

    # ------------------------------------------------------------ without a token

    def _open(self) -> Handlers:
        described = msgspec.json.encode(openapi.document())

        @get("/healthz", sync_to_thread=False)
        def healthz() -> Response[bytes]:
            return as_json(Health(alive=True))

        @get("/readyz", sync_to_thread=False)
        def readyz() -> Response[bytes]:
            ready = self.desk.ready()
            return as_json(ready, 200 if ready.ready() else 503)

        @get("/openapi.json", sync_to_thread=False)
        def description() -> Response[bytes]:
            return Response(described, media_type="application/json")

        return [healthz, readyz, description]

    # ------------------------------------------------------------ reading

    def _readings(self) -> Handlers:
        @get("/queues")
        async def queues(request: AnyRequest) -> Response[bytes]:
            self.gate.enter(request)
            return await self._listed("queues", public.queues)

        @get("/calls")
        async def calls(request: AnyRequest) -> Response[bytes]:
            token = self.gate.enter(request)
            people, own = token.sees_people(), token.agent
            return await self._listed("calls", partial(public.calls, people=people, agent=own), people, own)

        @get("/calls/{call:str}")
        async def call(request: AnyRequest) -> Response[bytes]:
            token = self.gate.enter(request)
            return as_json(self._call(token, request.path_params["call"]))

        @get("/agents")
        async def agents(request: AnyRequest) -> Response[bytes]:
            own = self.gate.enter(request).agent
            return await self._listed("agents", partial(public.agents, agent=own), False, own)

        @get("/agents/{agent:str}")
        async def agent(request: AnyRequest) -> Response[bytes]:
            token, name = self.gate.enter(request), request.path_params["agent"]
            _own(token, name)
            return as_json(public.one_agent(answers.agent_named(self.desk, name, self._agents(token))))

        return [queues, calls, call, agents, agent]

    async def _listed(
        self, what: str, shape: Callable[[View], object], people: bool = False, own: str = ""
    ) -> Response[bytes]:
        """One picture is shaped once for all who may see the same of it, and not on the loop."""
        view, key = self.pictures.view(), (what, people, own)
        known = self._said.get(key)
        if known is None or known[0] is not view:
            body = await asyncio.to_thread(lambda: msgspec.json.encode(shape(view)))
            # What was said of older pictures is of no use any more: memory holds one picture's worth.
            self._said = {k: v for k, v in self._said.items() if v[0] is view}
            self._said[key] = known = (view, body)
        return Response(known[1], media_type="application/json")

    def _call(self, token: Token, key: str) -> public.Call:
        view = self.pictures.view()
        found = next((c for c in view.calls if c.call == key), None)
        if found is None or (token.agent and not public.concerns(found, token.agent)):
            raise _no_call(key)
        return public.call(found, view.at_ns, people=token.sees_people(), agent=token.agent)

    def _agents(self, token: Token) -> list[str]:
        return [a.agent for a in self.pictures.view().agents] if token.sees_all() else [token.agent]

    # ------------------------------------------------------------ acting

    def _acting(self) -> Handlers:
        @post("/agents/{agent:str}/{action:str}", status_code=200)
        async def act(request: AnyRequest) -> Response[bytes]:
            token, name = self.gate.enter(request), request.path_params["agent"]
            action = answers.action_of(request.path_params["action"])
            _own(token, name)
            if not token.may_act_on(name, action):
                raise forbidden(f"a token of role {token.role} may not {action.replace('_', ' ')}")
            wish = _wish_of(await request.body())
            agent = answers.agent_named(self.desk, name, self._agents(token))
            by = f"api:{token.name}"
            said, after = await answers.act_on_agent(
                self.desk, agent, action, wish.reason, by, wish.disposition, wish.note, wish.fields
            )
            return as_json(public.AgentDone(said, public.one_agent(after)))

        @post("/calls/{call:str}/hang_up", status_code=200)
        async def hang_up(request: AnyRequest) -> Response[bytes]:
            token, key = self.gate.enter(request), request.path_params["call"]
            if not token.may_hang_up():
                raise forbidden(f"a token of role {token.role} may not hang up calls")
            if not self.desk.has_call(key):
                raise _no_call(key)
            await answers.in_time(self.desk, CallAsked(key, "hang_up", f"api:{token.name}"))
            log.info("call hung up on request", call=key, by=token.name)
            return as_json(public.CallDone("the call is hung up", key))

        return [act, hang_up]

    # ------------------------------------------------------------ figures, events

    def _streams(self) -> Handlers:
        @get("/metrics")
        async def metrics(request: AnyRequest) -> Response[bytes]:
            if not self.gate.enter(request).sees_all():
                raise forbidden("a token of role agent may not read metrics")
            view = self.pictures.view()
            vitals = msgspec.structs.replace(self.desk.vitals(), streams=self.feed.count())
            text = await asyncio.to_thread(self.metrics.text, view, vitals)
            return Response(text, media_type=CONTENT_TYPE)

        @get("/events")
        async def events(request: AnyRequest) -> Stream:
            token = self.gate.enter(request)
            after = _after(request)
            if self.feed.full(token.hashed):
                raise Refused(429, "too many streams", "close one first", headers={"Retry-After": "10"})
            follow = self.feed.follow(token.hashed, after, lambda: self.gate.still(token), token.agent)
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            return Stream(follow, media_type="text/event-stream", headers=headers)

        return [metrics, events]


def _own(token: Token, agent: str) -> None:
    """An agent's token says nothing about others, not even whether they exist."""
    if token.agent and agent != token.agent:
        raise forbidden("an agent's token is for that agent alone")


def _no_call(key: str) -> Refused:
    return Refused(404, "no such call", f"no live call is {answers.quoted(key)}")


def _wish_of(body: bytes) -> public.Wish:
    """Raises ``Refused`` 400."""
    if not body:
        return public.Wish()
    try:
        wish = msgspec.json.decode(body, type=public.Wish)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        detail = f'{printable(str(error))}; right: {{"reason": "lunch"}}'
        raise Refused(400, "body not understood", detail) from None
    fields = {key: printable(text, NOTE_LIMIT) for key, text in wish.fields.items()}
    reason, note = printable(wish.reason, REASON_LIMIT), printable(wish.note, NOTE_LIMIT)
    return public.Wish(reason, printable(wish.disposition, REASON_LIMIT), note, fields)


def _after(request: AnyRequest) -> int | None:
    """``Last-Event-ID`` (what a browser sends by itself) before ``after``; None: from now on."""
    text = request.headers.get("last-event-id") or request.query_params.get("after")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and int(text[:20]) <= SEQ_LIMIT):
        raise Refused(400, "request not understood", "after (or Last-Event-ID) is an event's number, from 0")
    return int(text)


async def run(desk: OpenDesk, sock: socket.socket, state_dir: Path) -> None:
    """Serve on ``sock`` until cancelled, with the figures of this process."""
    api = await asyncio.to_thread(Api, desk, state_dir)
    desk.measure(api.metrics.fold, api.metrics.committed)
    async with asyncio.TaskGroup() as owner:
        own = (api.metrics.watch_loop(), api.feed.run(), api.board.run())
        aside = [owner.create_task(each) for each in own]
        try:
            await server.run(api.app, sock, CONNECTIONS, api.close)
        finally:
            for task in aside:
                task.cancel()
