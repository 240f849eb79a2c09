"""``cordboard why``: why a caller still waits, why an agent has no call, and why it was decided so."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ari_app import settings
from ari_app.core import why as whys, words
from ari_app.core.definition import SECOND_NS
from ari_app.core.floor import Floor
from ari_app.core.messages import CallConnected, OfferLapsed, OfferMade
from ari_app.store import story
from ari_app.store.journal import Journal, JournalError
from ari_app.store.reports import ReportError
from ari_app.web.client import ControlClient
from ari_app.web.errors import NotRunning, Refused


@dataclass
class _Offer:
    """One offer; ``came_of_it``: what the agent did, in words, "" while the phone rings."""

    seq: int
    at_ns: int
    made: OfferMade
    came_of_it: str = ""


class WhyError(Exception):
    """What was asked for cannot be told; the text says what can."""


def why(state_dir: Path, call: str, agent: str, *, full: bool = False) -> str:
    """The answer as text.

    Raises:
        WhyError: neither or both were named, or the journal no longer reaches back.
        ControlError: an agent was asked for, and Cordboard does not answer or has no such agent.
        ReportError: no such call, live or in the books.
    """
    if bool(call) == bool(agent):
        raise WhyError("name a call (cordboard why CALL) or an agent (cordboard why --agent NAME)")
    client = ControlClient(settings.control_path(state_dir))
    if agent:
        return "\n".join(client.why_agent(agent).lines) + "\n"
    now = _live(client, call)
    before = _before(state_dir, call, full=full, live=bool(now))
    return "\n\n".join("\n".join(part) for part in (now, before) if part) + "\n"


def _live(client: ControlClient, call: str) -> list[str]:
    try:
        return list(client.why_call(call).lines)
    except NotRunning:
        return []  # the journal tells what was decided
    except Refused as refusal:
        if refusal.status != 404:
            raise
        return []  # the call is over: likewise


def _before(state_dir: Path, call: str, *, full: bool, live: bool) -> list[str]:
    """Every offer of the call, with what decided it."""
    path = state_dir / settings.JOURNAL_FILE
    journal: Journal | None = None
    with contextlib.suppress(JournalError):  # on another machine than Cordboard's there is none
        journal = Journal(path, readonly=True)
    try:
        told = _offers(state_dir, call, journal, live=live)
        if not told:
            return [] if live else [f"{call} has been offered to nobody"]
        # Those that ring all made together are one decision, whose reasons are with the first.
        decisions = [each for each in told if not each.made.why.decision]
        if not full:
            return [_line(each, told) for each in decisions]
        if journal is None:
            raise WhyError(f"{path}: --full decides again from the journal, and there is none here")
        return [line for each in decisions for line in _again(journal, each.seq)]
    finally:
        if journal is not None:
            journal.close()


def _offers(state_dir: Path, call: str, journal: Journal | None, *, live: bool) -> list[_Offer]:
    found: dict[int, _Offer] = {}
    for recorded in journal.of_call(call) if journal else ():
        _take(found, call, recorded.seq, recorded.at_ns, recorded.event)
    if not (found or live):
        for told in story.call_story(_database(state_dir), call, journal).events:
            _take(found, call, told.seq, told.at_ns, told.event)
    return [found[attempt] for attempt in sorted(found)]


def _take(found: dict[int, _Offer], call: str, seq: int, at_ns: int, event: object) -> None:
    match event:
        case OfferMade() if event.call == call:
            found[event.attempt] = _Offer(seq, at_ns, event)
        case OfferLapsed() if event.call == call and event.attempt in found:
            found[event.attempt].came_of_it = words.LAPSES[event.reason]
        case CallConnected() if event.call == call and event.attempt in found:
            found[event.attempt].came_of_it = "answered"
        case _:
            pass  # says nothing about an offer


def _database(state_dir: Path) -> str:
    if found := os.environ.get("DATABASE_URL", ""):
        return found
    try:
        return settings.read_runtime(state_dir.absolute()).database_url
    except settings.SettingsError as error:
        raise ReportError(f"the journal does not know the call, and {error}") from error


def _line(offer: _Offer, told: list[_Offer]) -> str:
    at = datetime.fromtimestamp(offer.at_ns // SECOND_NS, UTC)
    made = offer.made
    together = [offer, *(each for each in told if each.made.why.decision == made.attempt)]
    then = "".join(f"; {each.made.agent} {each.came_of_it}" for each in together if each.came_of_it)
    to = ", ".join(each.made.agent for each in together)
    return f"{at:%Y-%m-%d %H:%M:%S}Z  offer {made.attempt}, to {to}: {words.grounds(made.why)}{then}"


def _again(journal: Journal, seq: int) -> tuple[str, ...]:
    """Decide again from as far back as the journal reaches."""
    start, floor = 0, Floor()
    if journal.oldest() > 1:
        snapshot = journal.latest_snapshot()
        if snapshot is None or snapshot[0] >= seq:
            raise WhyError(
                f"the journal no longer reaches back to event {seq}; without --full, what was stored is told"
            )
        start, floor = snapshot[0], Floor.restore(snapshot[1])
    try:
        return whys.decision(whys.replay_decision(floor, _past(journal, start), seq))
    except whys.NoDecision as error:
        raise WhyError(f"event {seq}: {error}") from error


def _past(journal: Journal, after_seq: int) -> Iterator[whys.Past]:
    for past in journal.inputs(after_seq):
        yield past.seq, past.entry.at_ns, past.entry.input, past.entry.events
