"""The control API's routes for whoever looks after the machine: reload the definition, make a test call."""

from __future__ import annotations

from litestar import Response, post
from litestar.types import ControllerRouterHandler

from ari_app.web.answers import AnyRequest, as_json
from ari_app.web.control import Desk


def upkeep(desk: Desk) -> list[ControllerRouterHandler]:
    """``POST /reload`` (``?dry_run=1`` only tells) and ``POST /test-call``."""

    @post("/reload", status_code=200)
    async def reload(request: AnyRequest) -> Response[bytes]:
        return as_json(await desk.reload(dry_run=request.query_params.get("dry_run") == "1"))

    @post("/test-call", status_code=200)
    async def test_call() -> Response[bytes]:
        return as_json(await desk.test_call())

    return [reload, test_call]
