"""The wallboard's page: its files, its way in, and its stream (``board``).

Who signs in with a token gets a cookie that is good for this page alone. It is not the token but
derived from what is kept of it, it goes only to paths below ``/wallboard``, all of which read, and
no script can read it: a screen that is stolen, or a hole in the page, gives no way to act on calls
or agents. It ends when the token does, and it outlives restarts, because nothing is kept of it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from importlib.resources import files

import msgspec
from litestar import Response, get, post
from litestar.datastructures import Cookie
from litestar.response import Stream
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ari_app.core.text import printable
from ari_app.web.answers import AnyRequest, as_json
from ari_app.web.board import Board
from ari_app.web.errors import Refused
from ari_app.web.gate import Gate, forbidden
from ari_app.web.tokens import Token, TokenBook

PATH = "/wallboard"
COOKIE = "cordboard_wallboard"
KEPT_S = 400 * 86_400
"""The longest that browsers keep a cookie (RFC 6265bis, 5.5); the token may end sooner."""
KINDS = {
    "wallboard.html": "text/html",
    "wallboard.css": "text/css",
    "wallboard.js": "text/javascript",
    "draw.js": "text/javascript",
    "live.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_PURPOSE = b"cordboard wallboard cookie 1"


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /wallboard/login``. ``keep``: beyond the browser's end, for a screen on a wall."""

    token: str
    keep: bool = False


class Who(Struct, frozen=True):
    """Whose cookie it is; "" = nobody's."""

    name: str
    role: str


def routes(gate: Gate, board: Board) -> list[ControllerRouterHandler]:
    """The page's routes. Reading its files needs no token: there is nothing in them."""
    return [*_pages(), *_entries(gate), _stream(gate, board)]


# ---------------------------------------------------------------- files


def _pages() -> list[ControllerRouterHandler]:
    folder = files("ari_app.web") / "static"
    content = {name: (folder / name).read_bytes() for name in KINDS}

    def handler(path: str, name: str) -> ControllerRouterHandler:
        tag = f'"{hashlib.sha256(content[name]).hexdigest()[:16]}"'

        @get(path, sync_to_thread=False)
        def page(request: AnyRequest) -> Response[bytes]:
            headers = {**HEADERS, "ETag": tag}
            if request.headers.get("if-none-match") == tag:
                return Response(b"", status_code=304, headers=headers)
            return Response(content[name], media_type=KINDS[name], headers=headers)

        return page

    return [handler(PATH, "wallboard.html"), *(handler(f"{PATH}/{name}", name) for name in KINDS)]


# ---------------------------------------------------------------- the way in


def _entries(gate: Gate) -> list[ControllerRouterHandler]:
    @post(f"{PATH}/login", status_code=200)
    async def login(request: AnyRequest) -> Response[bytes]:
        entry = _entry_of(request, await request.body())
        token = gate.let_in(lambda book: book.find(entry.token), "the token is unknown, revoked or over")
        _may_look(token)
        answer = as_json(Who(token.name, token.role))
        answer.cookies.append(_cookie(request, cookie_value(token), KEPT_S if entry.keep else None))
        return answer

    @post(f"{PATH}/logout", status_code=200)
    async def logout(request: AnyRequest) -> Response[bytes]:
        answer = as_json({})
        answer.cookies.append(_cookie(request, "", 0))
        return answer

    @get(f"{PATH}/who")
    async def who(request: AnyRequest) -> Response[bytes]:
        """Not knowing who asks is an answer here, no error: that is what the page wants to know."""
        try:
            token = _enter(gate, request)
        except Refused as refusal:
            if refusal.status in (401, 403):
                return as_json(Who("", ""))
            raise
        return as_json(Who(token.name, token.role))

    return [login, logout, who]


def _entry_of(request: AnyRequest, body: bytes) -> Entry:
    """Raises ``Refused``. JSON alone: no page elsewhere can send that without asking us first (CORS)."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "body not understood", "send Content-Type: application/json")
    try:
        return msgspec.json.decode(body, type=Entry)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        detail = f'{printable(str(error))}; right: {{"token": "cb_..."}}'
        raise Refused(400, "body not understood", detail) from None


def _enter(gate: Gate, request: AnyRequest) -> Token:
    """Whose cookie it is. Raises ``Refused``."""
    name, _, proof = request.cookies.get(COOKIE, "").rpartition(".")

    def proven(book: TokenBook) -> Token | None:
        token = book.named(name)
        good = token is not None and hmac.compare_digest(_proof(token).encode(), proof.encode())
        return token if good else None

    token = gate.let_in(proven, "sign in at /wallboard with a token")
    _may_look(token)
    return token


def _may_look(token: Token) -> None:
    if not token.sees_all():
        raise forbidden("a token of role agent sees itself alone; a wallboard needs role reader")


def cookie_value(token: Token) -> str:
    return f"{token.name}.{_proof(token)}"


def _proof(token: Token) -> str:
    digest = hmac.digest(token.hashed.encode(), _PURPOSE, "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _cookie(request: AnyRequest, value: str, max_age_s: int | None) -> Cookie:
    secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto", "") == "https"
    return Cookie(
        key=COOKIE, value=value, path=PATH, httponly=True, samesite="strict", secure=secure, max_age=max_age_s
    )


# ---------------------------------------------------------------- pictures


def _stream(gate: Gate, board: Board) -> ControllerRouterHandler:
    @get(f"{PATH}/live")
    async def live(request: AnyRequest) -> Stream:
        token = _enter(gate, request)
        if board.full(token.hashed):
            raise Refused(429, "too many screens", "close one first", headers={"Retry-After": "10"})
        follow = board.follow(token.hashed, lambda: gate.still(token), people=token.sees_people())
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return Stream(follow, media_type="text/event-stream", headers=headers)

    return live
