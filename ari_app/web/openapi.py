"""The HTTP API's description (OpenAPI 3.1), made from the types it answers with.

msgspec describes its types in JSON Schema 2020-12, which is what OpenAPI 3.1 speaks.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from ari_app.core.messages import Action
from ari_app.version import VERSION
from ari_app.web import public
from ari_app.web.messages import PROBLEM_TYPE, Health, Problem, Readiness
from ari_app.web.stream import Event, Notice

JSON = dict[str, Any]
TYPES = (
    public.Queues,
    public.Calls,
    public.Call,
    public.Agents,
    public.Agent,
    public.Wish,
    public.AgentDone,
    public.CallDone,
    Problem,
    Health,
    Readiness,
    Event,
    Notice,
)
_PROBLEMS = {
    400: "Not understood; `detail` says what would be right",
    401: "No token, or one that is unknown, revoked or over",
    403: "The token's role may not do this",
    404: "There is no such thing; `nearest` has names that may be meant",
    409: "Makes no sense now; `detail` says why",
    413: "The body is larger than 4 KiB",
    429: "Too many requests or streams; `Retry-After` says when to come back",
    503: "Cordboard can't answer this now",
    504: "Not carried out in time; it may still be",
}
_USUAL = (401, 429, 503)
_DESCRIPTION = (
    "Read and act on a running call centre. Send a token (made by `cordboard tokens add`) as "
    "`Authorization: Bearer TOKEN`. Errors are RFC 9457 problems. Instants are ISO 8601 UTC."
)


def document() -> JSON:
    """The whole description."""
    _, components = msgspec.json.schema_components(TYPES, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {"title": "Cordboard", "version": VERSION, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths() -> JSON:
    call = _in_path("call", {"type": "string", "minLength": 1})
    agent = _in_path("agent", {"type": "string", "minLength": 1})
    action = _in_path("action", {"type": "string", "enum": list(get_args(Action))})
    return {
        "/healthz": {"get": _open("Whether the process answers", {200: Health})},
        "/readyz": {"get": _open("Whether calls are served", {200: Readiness, 503: Readiness})},
        "/openapi.json": {"get": _open("This description", {200: None})},
        "/queues": {"get": _read("Queues, with the day's figures", public.Queues)},
        "/calls": {"get": _read("Live calls (an agent's token: its own)", public.Calls)},
        "/calls/{call}": {"parameters": [call], "get": _read("One live call", public.Call, 404)},
        "/calls/{call}/hang_up": {
            "parameters": [call],
            "post": _act("Hang up a live call (supervisor, admin)", public.CallDone, 403, 404, 504),
        },
        "/agents": {"get": _read("Agents (an agent's token: its own)", public.Agents)},
        "/agents/{agent}": {"parameters": [agent], "get": _read("One agent", public.Agent, 403, 404)},
        "/agents/{agent}/{action}": {
            "parameters": [agent, action],
            "post": _act(
                "Ask something of an agent", public.AgentDone, 400, 403, 404, 409, 413, 504, body=public.Wish
            ),
        },
        "/events": {"get": _events()},
        "/metrics": {"get": _metrics()},
    }


def _open(summary: str, answers: dict[int, type | None]) -> JSON:
    responses = {
        str(status): {"description": summary, "content": {"application/json": {"schema": _schema(kind)}}}
        for status, kind in answers.items()
    }
    return {"summary": summary, "security": [], "responses": responses}


def _read(summary: str, kind: type, *problems: int) -> JSON:
    return {"summary": summary, "responses": _answers(kind, problems)}


def _act(summary: str, kind: type, *problems: int, body: type | None = None) -> JSON:
    operation = _read(summary, kind, *problems)
    if body is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": _schema(body)}}}
    return operation


def _events() -> JSON:
    text = (
        "Server-sent events: each committed event, its journal number as `id`, its kind as `event`, an "
        "`Event` as `data`. `gap`, `reset` and `dropped` carry a `Notice`. Goes on until either side closes."
    )
    seq = {"type": "integer", "minimum": 0, "maximum": 2**53}
    return {
        "summary": "Events as they happen, from where the client was",
        "description": text,
        "parameters": [
            {"name": "after", "in": "query", "schema": seq, "description": "from behind this event"},
            {"name": "Last-Event-ID", "in": "header", "schema": seq, "description": "the same; wins"},
        ],
        "responses": {
            "200": {"description": text, "content": {"text/event-stream": {"schema": {"type": "string"}}}},
            **_problems(400, *_USUAL),
        },
    }


def _metrics() -> JSON:
    summary = "Figures for Prometheus (not for an agent's token)"
    content = {"text/plain": {"schema": {"type": "string"}}}
    responses = {"200": {"description": summary, "content": content}, **_problems(403, *_USUAL)}
    return {"summary": summary, "responses": responses}


def _answers(kind: type, problems: tuple[int, ...]) -> JSON:
    content = {"application/json": {"schema": _schema(kind)}}
    return {"200": {"description": "Done", "content": content}, **_problems(*problems, *_USUAL)}


def _problems(*statuses: int) -> JSON:
    content = {PROBLEM_TYPE: {"schema": _schema(Problem)}}
    return {str(s): {"description": _PROBLEMS[s], "content": content} for s in sorted(statuses)}


def _schema(kind: type | None) -> JSON:
    return {"$ref": f"#/components/schemas/{kind.__name__}"} if kind else {"type": "object"}


def _in_path(name: str, schema: JSON) -> JSON:
    return {"name": name, "in": "path", "required": True, "schema": schema}
