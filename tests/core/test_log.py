"""What one committed event leaves in the log."""

from __future__ import annotations

import io
import sys

import pytest
import structlog
from structlog.testing import CapturingLogger

from ari_app import log
from ari_app.core import messages as m
from ari_app.core.definition import Target

MOBILE = "+491701234567"


@pytest.mark.parametrize(
    "event",
    [
        m.CallOverflowed("c", "sales", "timeout", Target(number=MOBILE, trunk="provider"), 1),
        m.ForwardMade("c", "sales", 1, "l", 1, Target(number=MOBILE, trunk="provider")),
        m.ForwardLapsed(
            *("c", "l", "busy"),
            Target(number="+4930", trunk="provider", otherwise=Target(number=MOBILE, trunk="second")),
            1,
        ),
    ],
)
def test_no_number_outside_is_logged(event: m.AnyEvent, monkeypatch: pytest.MonkeyPatch) -> None:
    written = CapturingLogger()
    as_json = structlog.wrap_logger(written, processors=[structlog.processors.JSONRenderer()])
    monkeypatch.setattr(log, "log", as_json)
    log.log_event(event)
    line = written.calls[0].args[0]
    assert '"trunk": "provider"' in line
    assert "+49" not in line


def test_a_line_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes share the file, and one may be killed at any moment: a line is there or it is not."""
    written: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    before = structlog.get_config()
    monkeypatch.setattr(sys, "stderr", Stream())
    log.configure(json=True)
    try:
        structlog.get_logger("line").info("a line", number=1)
    finally:
        structlog.configure(**before)
    assert len(written) == 1
    assert written[0].endswith("}\n")
