"""ARI over plain HTTP, blocking, for commands and for what must not hold up the calls' own sockets."""

from __future__ import annotations

import base64
import http.client
from typing import TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from ari_app.ari.errors import LinkDown, StatusError, WrongCredentials, read_status

ANSWER_LIMIT_S = 5.0
ANSWER_LIMIT_BYTES = 16 * 1024 * 1024

T = TypeVar("T")


class PlainAri:
    """One connection a request. Every method raises:

    LinkDown: nobody answers there. WrongCredentials: 401. StatusError: any other refusal.
    """

    def __init__(self, base_url: str, username: str, password: str, limit_s: float = ANSWER_LIMIT_S) -> None:
        self.base_url = base_url.rstrip("/")
        self._limit_s = limit_s
        token = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}

    def __repr__(self) -> str:
        return f"PlainAri({self.base_url})"

    def get(self, path: str, kind: type[T], **params: str) -> T:
        """The body of ``GET path``, decoded as ``kind``."""
        return msgspec.json.decode(self.request("GET", path, **params), type=kind)

    def request(self, method: str, path: str, **params: str) -> bytes:
        """The body of the answer."""
        found = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(found.hostname or "", found.port, timeout=self._limit_s)
        target = f"{found.path}/{quote(path)}" + (f"?{urlencode(params)}" if params else "")
        try:
            connection.request(method, target, headers=self._headers)
            answer = connection.getresponse()
            body = answer.read(ANSWER_LIMIT_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise LinkDown(f"{self.base_url} does not answer ({error})") from error
        finally:
            connection.close()
        if answer.status == 401:
            raise WrongCredentials(f"{self.base_url} refuses Cordboard's password")
        refused = read_status(method, path, answer.status, body.decode(errors="replace"))
        if refused is not None:
            raise refused
        return body


def reload_module(ari: PlainAri, module: str) -> bool:
    """Have Asterisk read a module's configuration again; False if it has no such module. Loads nothing."""
    try:
        ari.request("PUT", f"asterisk/modules/{module}.so")
    except StatusError as error:
        if error.status == 404:
            return False
        raise
    return True


def load_module(ari: PlainAri, module: str) -> None:
    """Load a module; one that is loaded already stays as it is (409)."""
    try:
        ari.request("POST", f"asterisk/modules/{module}.so")
    except StatusError as error:
        if error.status != 409:
            raise
