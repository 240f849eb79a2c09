"""docs/queues.md: every example is loaded and does what the page says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ari_app import hours
from ari_app.config import Loaded, load
from ari_app.core import messages as m
from ari_app.core.definition import SECOND_NS, Definition
from tests.fakes.pbx import Phone
from tests.fakes.people import START_NS, Pbx

PAGE = Path(__file__).parents[2] / "docs/queues.md"
EXAMPLES: list[str] = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.S)
AROUND = {
    "sales": """
[numbers]
"100" = "sales"
"200" = "support"
[flows.sales]
start = "in"
nodes.in = { kind = "queue", queue = "sales" }
[flows.support]
start = "in"
nodes.in = { kind = "queue", queue = "support" }
[queues.support]
[agents.sam]
endpoint = "sam"
queues = ["sales"]
[agents.sue]
endpoint = "sue"
queues = ["support"]
""",
    "service": """
[numbers]
"200" = "service"
[flows.service]
start = "in"
nodes.in = { kind = "queue", queue = "service" }
[agents.sue]
endpoint = "sue"
queues = ["service"]
""",
    "support": """
[numbers]
"200" = "support"
[flows.support]
start = "in"
nodes.in = { kind = "queue", queue = "support" }
[agents.sue]
endpoint = "sue"
queues = ["support"]
""",
}
"""What stands elsewhere in the definition."""
MARKS = {
    "sales": "[queues.sales]",
    "support": "forwards_to",
    "service": "voicemail = true",
    "notes": "note_fields",
}
"""What tells an example from the others."""


def example(tmp_path: Path, queue: str) -> Loaded:
    (text,) = [e for e in EXAMPLES if MARKS[queue] in e]
    (tmp_path / "example.toml").write_text(text)
    (tmp_path / "around.toml").write_text(AROUND["support" if queue == "notes" else queue])
    return load(tmp_path)


def pbx_of(definition: Definition) -> Pbx:
    return Pbx(definition)


def reasons(pbx: Pbx) -> list[str]:
    return [e.reason for e in pbx.centre.events() if isinstance(e, m.CallOverflowed)]


def test_every_example_of_the_page_is_run() -> None:
    assert len(EXAMPLES) == len(MARKS)
    assert [sum(mark in e for e in EXAMPLES) for mark in MARKS.values()] == [1] * len(MARKS)


def test_sales_lets_nobody_wait_for_more_than_five_minutes(tmp_path: Path) -> None:
    pbx = pbx_of(example(tmp_path, "sales").definition)
    pbx.agent("sam").signs_in()
    pbx.asterisk.phones["sam"] = Phone("busy")
    first = pbx.caller("ann").dials("100")
    pbx.passes(seconds=200)
    later = pbx.caller("ben").dials("200")
    pbx.passes(seconds=120)
    assert first.call is not None
    assert (first.call.queue, reasons(pbx)) == ("support", ["timeout"])
    assert (first.position, later.position) == (1, 2), "the time of the first entry counts"
    pbx.agent("sue").signs_in().answers()
    assert first.talks_with == "sue"


def test_sales_hands_over_when_everybody_has_gone_home(tmp_path: Path) -> None:
    pbx = pbx_of(example(tmp_path, "sales").definition)
    sam = pbx.agent("sam").signs_in()
    pbx.asterisk.phones["sam"] = Phone("busy")
    ann = pbx.caller("ann").dials("100")
    pbx.centre.feed(m.AgentAsked("sam", "sign_out"))
    pbx.settle()
    assert ann.call is not None
    assert (ann.call.queue, reasons(pbx), sam.name) == ("support", ["no_agents"], "sam")


def test_the_31st_caller_is_told_that_the_line_is_full(tmp_path: Path) -> None:
    pbx = pbx_of(example(tmp_path, "sales").definition)
    pbx.agent("sam").signs_in()
    pbx.asterisk.phones["sam"] = Phone("busy")
    for number in range(31):
        last = pbx.caller(f"c{number}").dials("100")
    assert (reasons(pbx), last.hears) == (["full"], "prompt sorry please-try-call-later")


@pytest.mark.parametrize(
    ("day", "state"),
    [
        ("2026-03-30T09:00", "open"),
        ("2026-03-30T18:30", "closed"),
        ("2026-04-03T09:00", "holiday"),
        ("2026-04-05T09:00", "closed"),
    ],
)
def test_sales_opens_and_closes_as_the_page_says(tmp_path: Path, day: str, state: str) -> None:
    found = example(tmp_path, "sales")
    at = datetime.fromisoformat(day + "+02:00").astimezone(UTC)
    at_ns = round(at.timestamp()) * SECOND_NS
    given = hours.given(found.site.hours, "UTC", at_ns - 60 * SECOND_NS)
    passed = [b.state for b in given.boundaries["office"] if b.at_ns <= at_ns]
    assert (passed[-1] if passed else "open") == state
    pbx = pbx_of(found.definition)
    pbx.agent("sam").signs_in()
    shift = START_NS - at_ns
    moved = tuple(m.Boundary(b.at_ns + shift, b.state) for b in given.boundaries["office"])
    pbx.centre.feed(m.HoursGiven({"office": moved}))
    ann = pbx.caller("ann").dials("100")
    assert ann.state == ("offered" if state == "open" else "gone") or ann.hears == "fallback"
    assert reasons(pbx) == ([] if state == "open" else [state])


def test_support_sends_on_to_the_number_outside(tmp_path: Path) -> None:
    for mood, outcome in (("answers", "talk"), ("busy", "fallback")):
        pbx = pbx_of(example(tmp_path, "support").definition)
        pbx.asterisk.phones["+49301234567@provider"] = Phone(mood, 3)  # type: ignore[arg-type]
        ann = pbx.caller("ann").dials("200")
        pbx.passes(seconds=119)
        assert ann.state == "waiting"
        pbx.passes(seconds=10)
        assert ann.hears == outcome


def test_a_message_can_be_left_when_the_service_is_closed(tmp_path: Path) -> None:
    pbx = pbx_of(example(tmp_path, "service").definition)
    pbx.centre.feed(m.HoursGiven({"office": (m.Boundary(START_NS, "closed"),)}))
    ann = pbx.caller("ann").dials("200")
    assert ann.hears == "prompt sorry vm-intro beep"
    pbx.passes(seconds=7)
    assert (ann.state, reasons(pbx)) == ("message", ["closed"])
    pbx.passes(seconds=90)
    assert pbx.outcomes() == ["voicemail"]


def test_a_note_must_say_the_reason(tmp_path: Path) -> None:
    support = example(tmp_path, "notes").definition.queues["support"]
    assert (support.note_required, [*support.note_fields]) == (("reason",), ["reason", "solution", "next"])
