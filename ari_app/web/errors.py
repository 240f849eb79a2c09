"""What the control API's two sides can meet; the texts are for users."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


class ControlError(Exception):
    """Base: something between a command and the running Cordboard went wrong."""


class SocketUnusable(ControlError):
    """The control socket can't be opened there; the text names the path and what would be right."""


class NotRunning(ControlError):
    """Nobody answers at the socket."""


class NoAnswer(ControlError):
    """Somebody is there, but did not answer in time, or not in our language."""


class Refused(ControlError):
    """Cordboard understood and said no. ``status``: as in HTTP; ``nearest``: names that may be meant."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        nearest: tuple[str, ...] = (),
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(detail or title)
        self.status = status
        self.title = title
        self.detail = detail
        self.nearest = nearest
        self.headers = headers
