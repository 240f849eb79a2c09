"""Checks of the running Cordboard: that it answers, serves calls, runs what is on disk, and passes a call."""

from __future__ import annotations

from ari_app.doctor.findings import Finding, failure, not_checked, ok, warning
from ari_app.doctor.place import Place
from ari_app.web.errors import ControlError, Refused


def cordboard(place: Place) -> Finding:
    """It answers on its control socket, and calls are served."""
    try:
        ready = place.control.ready()
    except ControlError as error:
        return failure(str(error), "systemctl start cordboard, or ./scripts/up; its log says why it ended")
    if not ready.ari:
        return failure(
            "it runs, but has no connection to Asterisk: callers hear music, then the fallback",
            "see the lines about ari above; its log says what it tries",
        )
    if not ready.recovered:
        return failure(
            "it is still comparing itself with Asterisk: no call is offered", "wait, then look at its log"
        )
    if not ready.ami:
        return warning("it has no connection to AMI: calls are not recorded", "see the lines about ami")
    return ok("answers; calls are served")


def in_force(place: Place) -> Finding:
    """What is on disk is what runs."""
    try:
        would = place.control.reload(dry_run=True)
    except Refused as refused:
        return not_checked(f"a reload would be refused: {refused.title}")
    except ControlError:
        return not_checked("Cordboard does not answer")
    if would.changes:
        return warning(
            f"the definition on disk has {len(would.changes)} changes that do not run yet:"
            f" {would.changes[0]}{' ...' if len(would.changes) > 1 else ''}",
            "cordboard reload --dry-run shows them, cordboard reload takes them over",
        )
    return ok("the definition on disk is what runs")


def test_call(place: Place) -> Finding:
    """A call through dialplan, Stasis, our loop, a prompt and a digit: not counted, and nobody is rung."""
    try:
        done = place.control.test_call()
    except ControlError as error:
        return not_checked(str(error))
    if done.ok:
        return ok(f"passed in {done.took_ms} ms: {', '.join(done.steps)}")
    passed = f" after: {', '.join(done.steps)}" if done.steps else ""
    return failure(f"{done.failed}{passed}", "the lines above that are wrong come first; then Asterisk's log")
