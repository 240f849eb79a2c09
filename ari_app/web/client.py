"""The control API's client for commands: blocking, on the standard library alone."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec

from ari_app.core.messages import Action
from ari_app.core.staff import Departure
from ari_app.web.errors import NoAnswer, NotRunning, Refused
from ari_app.web.messages import (
    Ask,
    Because,
    Done,
    Problem,
    Readiness,
    Reloaded,
    Said,
    Staffing,
    Switch,
    Tested,
)
from ari_app.web.view import AgentView, View

ANSWER_LIMIT_S = 8.0
ANSWER_LIMIT_BYTES = 64 * 1024 * 1024

T = TypeVar("T")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class ControlClient:
    """Talks to the running Cordboard at the unix socket ``path``; one connection a request.

    Every method raises:
        NotRunning: nobody answers there.
        NoAnswer: no answer in time, or none that is Cordboard's.
        Refused: Cordboard said no, and why.
    """

    def __init__(self, path: Path, timeout_s: float = ANSWER_LIMIT_S) -> None:
        self.path = path
        self.timeout_s = timeout_s

    def view(self) -> View:
        return self._decode(self._answer("GET", "/view")[1], View)

    def news(self, stamp: int) -> View | None:
        """The view a second from now, or None if nothing has happened since ``stamp``."""
        status, body = self._answer("GET", f"/view?since={stamp}")
        return None if status == 204 else self._decode(body, View)

    def agent(self, name: str) -> AgentView:
        """One agent at this instant."""
        return self._decode(self._answer("GET", f"/agents/{quote(name, safe='')}")[1], AgentView)

    def ready(self) -> Readiness:
        """Also when Cordboard is not ready."""
        return self._decode(self._answer("GET", "/readyz", also_good=503)[1], Readiness)

    def act(
        self,
        agent: str,
        action: Action | str,
        reason: str = "",
        by: str = "terminal",
        disposition: str = "",
        note: str = "",
        fields: Mapping[str, str] | None = None,
    ) -> Done:
        path = f"/agents/{quote(agent, safe='')}/{quote(action, safe='')}"
        body = msgspec.json.encode(Ask(reason, by, disposition, note, dict(fields or {})))
        return self._decode(self._answer("POST", path, body)[1], Done)

    def crisis(self, *, on: bool, queue: str = "", by: str = "terminal") -> Said:
        return self._decode(
            self._answer("POST", "/crisis", msgspec.json.encode(Switch(on, queue, by)))[1], Said
        )

    def staff(
        self,
        agent: str,
        skills: dict[str, int] | None,
        queues: tuple[str, ...] | None,
        by: str = "terminal",
    ) -> Said:
        body = msgspec.json.encode(Staffing(skills, queues, by))
        return self._decode(self._answer("POST", f"/staff/{quote(agent, safe='')}", body)[1], Said)

    def departures(self) -> list[Departure]:
        return self._decode(self._answer("GET", "/departures")[1], list[Departure])

    def reload(self, *, dry_run: bool = False) -> Reloaded:
        """Have the definition folder read again; with ``dry_run`` only told what would change."""
        target = "/reload?dry_run=1" if dry_run else "/reload"
        return self._decode(self._answer("POST", target)[1], Reloaded)

    def test_call(self) -> Tested:
        return self._decode(self._answer("POST", "/test-call")[1], Tested)

    def why_call(self, call: str) -> Because:
        return self._decode(self._answer("GET", f"/why/call/{quote(call, safe='')}")[1], Because)

    def why_agent(self, agent: str) -> Because:
        return self._decode(self._answer("GET", f"/why/agent/{quote(agent, safe='')}")[1], Because)

    def _answer(
        self, method: str, target: str, body: bytes | None = None, *, also_good: int = 200
    ) -> tuple[int, bytes]:
        connection = _UnixConnection(self.path, self.timeout_s)
        try:
            connection.request(method, target, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            content = response.read(ANSWER_LIMIT_BYTES)
        except TimeoutError as error:
            raise NoAnswer(
                f"Cordboard did not answer at {self.path} within {self.timeout_s:g} s: it is busy or stuck;"
                " its log says more"
            ) from error
        except OSError as error:
            raise NotRunning(self._not_running(error)) from error
        except http.client.HTTPException as error:
            raise NoAnswer(f"what answers at {self.path} does not speak Cordboard's language") from error
        finally:
            connection.close()
        if response.status not in (200, 204, also_good):
            raise self._refused(response.status, content)
        return response.status, content

    def _not_running(self, error: OSError) -> str:
        if isinstance(error, PermissionError):
            return f"{self.path} belongs to another user: run this command as the user who runs Cordboard"
        if isinstance(error, FileNotFoundError | ConnectionError):
            return f"Cordboard does not answer at {self.path}: is it running? (./scripts/up)"
        return f"{self.path} can't be reached: {error.strerror or error}"

    def _refused(self, status: int, content: bytes) -> Refused:
        problem = self._decode(content, Problem)
        return Refused(status, problem.title, problem.detail, problem.nearest)

    def _decode(self, content: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise NoAnswer(
                f"what answers at {self.path} is no Cordboard of this version ({error});"
                " restart it after an update"
            ) from error
