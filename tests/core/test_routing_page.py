"""docs/routing.md: every example is loaded without a warning and does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ari_app.callers import Directory
from ari_app.config import load
from ari_app.core import messages as m
from ari_app.core.definition import SECOND_NS
from tests.fakes.desk import Desk

PAGE = Path(__file__).parents[2] / "docs/routing.md"
SECTION = re.compile(r"^## ([^\n]+)\n(?:(?!\n## ).)*?```toml\n(.*?)```", re.M | re.S)
EXAMPLES: dict[str, str] = dict(SECTION.findall(PAGE.read_text()))


def desk(tmp_path: Path, heading: str, *present: str) -> Desk:
    """A call centre of this example, with these agents at work."""
    (tmp_path / "example.toml").write_text(EXAMPLES[heading])
    found = Desk(load(tmp_path).definition)
    for name in present:
        found.signs_in(name)
        found.passes(1)
    return found


def offered(found: Desk) -> list[tuple[str, str]]:
    return [(offer.call, offer.agent) for offer in found.offers]


@pytest.mark.parametrize("heading", EXAMPLES)
def test_every_example_is_a_definition_without_a_warning(tmp_path: Path, heading: str) -> None:
    (tmp_path / "example.toml").write_text(EXAMPLES[heading])
    said = [str(w) for w in load(tmp_path).warnings if ".clara." not in str(w)]  # serves by her group alone
    assert said == []


def test_every_example_of_the_page_is_run() -> None:
    assert len(EXAMPLES) == PAGE.read_text().count("```toml")
    assert {name for name in EXAMPLES if Path(__file__).read_text().count(f'"{name}"') == 0} == set()


def test_language_queues(tmp_path: Path) -> None:
    found = desk(tmp_path, "Language queues", "ben", "anna")

    def caller(digit: str) -> str:
        key = found.calls("100")
        found.give(m.DigitPressed(found.call(key).channel, digit))
        return key

    german, english, second = caller("1"), caller("2"), caller("2")
    assert offered(found) == [(german, "anna"), (english, "ben")]
    found.answers(german)
    found.hangs_up(german)
    found.passes(11)
    assert offered(found)[-1] == (second, "anna"), "who speaks both takes whoever is next"


def test_tiers(tmp_path: Path) -> None:
    found = desk(tmp_path, "Tiers", "ben", "clara")
    waiting = found.calls("100")
    found.passes(19.9)
    assert offered(found) == []
    found.passes(0.2)
    assert offered(found) == [(waiting, "ben")]
    found.declines(waiting)
    found.asks("ben", "sign_out")
    found.passes(40)
    assert offered(found)[-1] == (waiting, "clara")


def test_vip_callers(tmp_path: Path) -> None:
    found = desk(tmp_path, "VIP callers")
    early = found.calls("100")
    found.passes(300)
    first, vip = found.calls("100"), found.calls("900")
    found.passes(301)
    late = found.calls("900")
    served = []
    found.signs_in("anna")
    for _ in range(4):
        served.append(found.offers[-1].call)
        found.answers(served[-1])
        found.hangs_up(served[-1])
        found.passes(11)
    assert served == [vip, early, late, first]


def test_vip_callers_by_their_number(tmp_path: Path) -> None:
    found = desk(tmp_path, "VIP callers by their number", "anna", "ben")
    site = load(tmp_path).site
    gold, debtors = Directory(site.callers).find("+493055577"), Directory(site.callers).find("+49899999999")
    assert gold is not None
    assert debtors is not None
    found.answers(found.calls("100"))
    found.answers(found.calls("100"))
    first, special = found.calls("100"), found.calls("800")
    vip = found.calls("100", priority=gold.priority, prefer=gold.agent)
    owes = found.calls("800", known=m.Known(listed=debtors.list, queue=debtors.queue))
    line = sorted((found.call(key) for key in (first, special, vip, owes)), key=lambda call: call.line_key())
    assert [call.id for call in line] == [vip, special, owes, first]
    assert (found.call(vip).prefer, found.call(owes).queue) == ("anna", "accounts")


def test_sales_by_region(tmp_path: Path) -> None:
    found = desk(tmp_path, "Sales by region", "anna")
    south = found.calls("200")
    found.passes(29)
    assert offered(found) == []
    found.passes(2)
    assert offered(found) == [(south, "anna")]
    found.answers(south)
    found.signs_in("ben")
    north = found.calls("100")
    found.passes(59)
    assert len(offered(found)) == 1
    found.passes(2)
    assert offered(found)[-1] == (north, "ben")


def test_an_overflow_chain(tmp_path: Path) -> None:
    found = desk(tmp_path, "An overflow chain", "ben")
    berlin = found.calls("100")
    found.passes(10)
    home = found.calls("200")
    assert offered(found) == [(home, "ben")]
    found.passes(5)
    found.answers(home)
    second = found.calls("200")
    found.passes(20)
    found.hangs_up(home)
    found.passes(11)
    assert offered(found)[-1] == (berlin, "ben"), "the caller from Berlin came before the second at home"
    found.signs_in("clara")
    found.passes(95)
    assert offered(found)[-1][1] == "clara" or (second, "clara") in offered(found)


def test_the_best_first(tmp_path: Path) -> None:
    found = desk(tmp_path, "The best first, then whoever is there", "anna", "ben", "clara")
    first = found.calls("100")
    found.answers(first)
    found.hangs_up(first)
    found.passes(11)
    second, third, fourth = found.calls("100"), found.calls("100"), found.calls("100")
    assert offered(found)[1:] == [(second, "ben"), (third, "anna")]
    found.answers(second)
    found.answers(third)
    found.passes(16)
    assert offered(found)[-1] == (fourth, "clara")


def test_back_to_the_agent_they_know(tmp_path: Path) -> None:
    found = desk(tmp_path, "Back to the agent they know", "anna", "ben")
    found.answers(found.calls("100"))
    spoke_ns = found.now_ns - 6 * 86_400 * SECOND_NS
    kept = found.calls("100", known=m.Known(last_agent="anna", last_spoke_ns=spoke_ns))
    found.passes(29)
    assert len(offered(found)) == 1
    found.passes(2)
    assert offered(found)[-1] == (kept, "ben")


def test_a_small_team(tmp_path: Path) -> None:
    heading = "A small team: all are rung, and who travels has a mobile"
    found = desk(tmp_path, heading, "anna", "ben", "clara")
    first, second = found.calls("100"), found.calls("100")
    assert offered(found) == [(first, "anna"), (first, "ben"), (second, "clara")]
    ben = found.call(first).offers["ben"]
    assert [(leg.phone, leg.confirm) for leg in ben.legs.values()] == [("202", False), ("ben/mobile2", True)]
    found.passes(10)
    clara = found.call(second).offers["clara"]
    assert [leg.phone for leg in clara.live().values()] == ["213"]
    found.answers(first)
    assert found.call(first).agent == "anna"
    assert offered(found)[-1] == (second, "ben"), "who becomes free is rung for the next caller"
