"""The control API's routes for supervisors: the emergency switch, agents' skills and queues, departures."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import structlog
from litestar import Response, get, post
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ari_app.core.inputs import AgentSkillsChanged, CrisisAsked
from ari_app.core.text import printable
from ari_app.web.answers import AnyRequest, agent_named, as_json, in_time
from ari_app.web.control import Desk
from ari_app.web.errors import Refused
from ari_app.web.messages import Said, Staffing, Switch

BY_LIMIT = 40
T = TypeVar("T", bound=Struct)
log = structlog.get_logger(__name__)


def supervision(desk: Desk) -> list[ControllerRouterHandler]:
    """``POST /crisis``, ``POST /staff/{agent}`` and ``GET /departures``."""

    @post("/crisis", status_code=200)
    async def crisis(request: AnyRequest) -> Response[bytes]:
        switch = _body(await request.body(), Switch)
        item = CrisisAsked(switch.queue, switch.on, switch.by)
        await _carry_out(desk, item)
        what = f"queue {switch.queue}" if switch.queue else "everything"
        log.warning("emergency switch", on=switch.on, queue=switch.queue, by=switch.by)
        return as_json(Said(f"the emergency switch is {'on' if switch.on else 'off'} for {what}"))

    @post("/staff/{name:str}", status_code=200)
    async def staff(request: AnyRequest) -> Response[bytes]:
        wanted = _body(await request.body(), Staffing)
        name = agent_named(desk, request.path_params["name"], (a.agent for a in desk.view().agents)).agent
        await _carry_out(desk, AgentSkillsChanged(name, wanted.skills, wanted.queues, wanted.by))
        log.info("agent altered", agent=name, by=wanted.by)
        found = [d for d in desk.departures() if d.agent == name]
        now = "; ".join(f"{d.what}: {', '.join(d.now) or 'none'}" for d in found)
        return as_json(Said(f"{name} has {now}" if now else f"{name} is as the files say"))

    @get("/departures", sync_to_thread=False)
    def departures() -> Response[bytes]:
        return as_json(desk.departures())

    return [crisis, staff, departures]


async def _carry_out(desk: Desk, item: CrisisAsked | AgentSkillsChanged) -> None:
    refusal = desk.refusal(item)
    if refusal:
        raise Refused(409, "makes no sense now", refusal)
    await in_time(desk, item)


def _body(body: bytes, kind: type[T]) -> T:
    try:
        found = msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, "body not understood", str(error)) from None
    by = getattr(found, "by", "")
    if len(by) > BY_LIMIT or printable(by, BY_LIMIT) != by:
        raise Refused(400, "body not understood", f"by: at most {BY_LIMIT} printable characters")
    return found
