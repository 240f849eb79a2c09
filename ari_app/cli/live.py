"""The floor as a program follows it that must not stop when Cordboard is away: `up --demo`."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import RenderableType

from ari_app.cli import watch
from ari_app.core.definition import SECOND_NS
from ari_app.core.messages import Action
from ari_app.web.client import ControlClient
from ari_app.web.errors import ControlError
from ari_app.web.view import Happening, View

ANSWER_LIMIT_S = 1.0


class LiveFloor:
    """The last view of the Cordboard at a control socket, and what stands in the way of a newer one."""

    def __init__(self, socket: Path) -> None:
        self.view: View | None = None
        self.trouble = ""
        self._client = ControlClient(socket, ANSWER_LIMIT_S)
        self._read_s = 0.0

    def read(self) -> tuple[Happening, ...]:
        """Look again; what has happened since the last look, oldest first.

        More than the view keeps (50) between two looks are lost; a process that took over begins anew.
        """
        before = self.view
        try:
            self.view, self._read_s, self.trouble = self._client.view(), time.monotonic(), ""
        except ControlError as error:
            self.trouble = str(error)
            return ()
        found = self.view.happenings
        if before is not None and before.epoch == self.view.epoch and before.happenings:
            known = before.happenings[0]
            found = found[: found.index(known)] if known in found else found
        return found[::-1]

    def act(self, agent: str, action: Action, reason: str = "") -> bool:
        """Ask something of an agent; false if Cordboard refuses or is away: ask again later."""
        try:
            self._client.act(agent, action, reason, by="demo")
        except ControlError:
            return False
        return True

    def picture(self, columns: int, lines: int) -> RenderableType:
        """What ``cordboard watch`` would draw now into so many columns and lines."""
        now_ns = (self.view.at_ns if self.view else 0) + int((time.monotonic() - self._read_s) * SECOND_NS)
        return watch.picture(self.view, self.trouble, now_ns, watch.Size(columns, lines))
