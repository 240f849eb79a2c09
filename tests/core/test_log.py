"""What one committed event leaves in the log."""

from __future__ import annotations

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
