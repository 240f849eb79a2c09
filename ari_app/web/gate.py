"""Who is asking: the bearer token of a request (RFC 6750), its rate, its rights."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable

import structlog

from ari_app.web.answers import AnyRequest
from ari_app.web.errors import Refused
from ari_app.web.limits import RateLimit
from ari_app.web.tokens import Token, TokenBook, TokensUnusable

RATE, BURST = 20.0, 60
"""Requests a second of one token, and how many at once."""
STRANGERS_RATE, STRANGERS_BURST = 50.0, 200
"""All requests without a good token together."""
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="cordboard"'}
_BEARER = re.compile(r"bearer +(\S+)\Z", re.IGNORECASE)

log = structlog.get_logger(__name__)


class Gate:
    """Lets requests in, or raises what is answered instead."""

    def __init__(self, book: TokenBook, rate: float = RATE, burst: int = BURST) -> None:
        self.book = book
        self._known = RateLimit(rate, burst)
        self._strangers = RateLimit(STRANGERS_RATE, STRANGERS_BURST)

    def enter(self, request: AnyRequest) -> Token:
        """The token of a request that may go on.

        Raises:
            Refused: 401 no good token, 429 too many requests, 503 the tokens can't be read.
        """
        found = _BEARER.match(request.headers.get("authorization", ""))
        detail = "the token is unknown, revoked or over" if found else "send Authorization: Bearer TOKEN"
        return self.let_in(lambda book: book.find(found[1]) if found else None, detail)

    def let_in(self, find: Callable[[TokenBook], Token | None], detail: str) -> Token:
        """What ``find`` finds, if there is rate left for it; ``detail``: what is wrong if it finds none.

        Raises:
            Refused: as ``enter``.
        """
        now_s = asyncio.get_running_loop().time()
        try:
            token = find(self.book)
        except TokensUnusable as error:
            log.error("tokens cannot be read: nobody is let in", error=str(error))
            raise Refused(503, "tokens can't be read", "Cordboard's log says why") from error
        if token is None:
            self._spend(self._strangers, "", now_s)
            raise Refused(401, "who is asking?", detail, headers=CHALLENGE)
        self._spend(self._known, token.hashed, now_s)
        return token

    def still(self, token: Token) -> bool:
        """Whether a token that was let in would be still."""
        try:
            return self.book.valid(token)
        except TokensUnusable:
            return False  # nobody is let in; the next request logs why

    @staticmethod
    def _spend(limit: RateLimit, key: str, now_s: float) -> None:
        wait_s = limit.wait_s(key, now_s)
        if wait_s:
            headers = {"Retry-After": str(math.ceil(wait_s))}
            detail = f"at most {limit.rate:g} requests a second, {limit.burst} at once"
            raise Refused(429, "too many requests", detail, headers=headers)


def forbidden(detail: str) -> Refused:
    return Refused(403, "not allowed", detail)
