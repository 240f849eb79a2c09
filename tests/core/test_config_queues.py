"""Rules of queues as written: what they say, where each error is, and no way round for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from ari_app.config import DefinitionErrors, Loaded, load
from ari_app.core.definition import Target

OTHERWISE = """\
[numbers]
"100" = "main"
[flows.main]
start = "in"
nodes.in = { kind = "queue", queue = "sales" }
[flows.after]
start = "end"
nodes.end = { kind = "hangup" }
[queues.sales]
max_wait_s = 60
overflow.timeout = { number = "+4930", trunk = "out", otherwise = { flow = "after" } }
[agents.bob]
endpoint = "201"
queues = ["sales"]
[trunks.out]
server = "sip.example.net"
numbers = ["100"]
forwards_to = ["+4930"]
"""

GOOD = """\
[numbers]
"100" = "main"
[flows.main]
start = "in"
nodes.in = { kind = "queue", queue = "sales" }
[flows.ask]
start = "menu"
nodes.menu = { kind = "menu", sounds = ["hello"], choices = { 1 = "again" }, on_failure = "end" }
nodes.again = { kind = "queue", queue = "sales" }
nodes.end = { kind = "hangup" }
[crisis]
flow = "ask"
[hours.office]
mon = ["09:00-12:00", "13:00-17:00"]
holidays = ["12-25"]
special = { "2026-12-24" = ["09:00-12:00"] }
[queues.sales]
hours = "office"
max_wait_s = 60
max_waiting = 5
overflow.timeout = { queue = "backup" }
overflow.full = { flow = "ask", node = "end" }
overflow.closed = { fallback = true, sounds = ["sorry"] }
dispositions = { sold = "Sold", none = "Nothing said" }
disposition_required = true
disposition_default = "none"
[queues.backup]
max_wait_s = 30
overflow.timeout = { flow = "ask" }
[agents.bob]
endpoint = "bob"
queues = ["sales", "backup"]
"""


def loaded(folder: Path, text: str) -> Loaded:
    (folder / "centre.toml").write_text(text)
    return load(folder)


def test_the_rules_are_read(tmp_path: Path) -> None:
    found = loaded(tmp_path, GOOD)
    assert found.warnings == ()
    sales = found.definition.queues["sales"]
    assert sales.overflow.timeout == Target(queue="backup")
    assert sales.overflow.closed == Target(fallback=True, sounds=("sorry",))
    assert (found.definition.crisis.flow, found.site.hours["office"].holidays) == ("ask", ("12-25",))


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ('{ queue = "backup" }', '{ queue = "bakcup" }', "overflow.timeout.queue", 'did you mean "backup"'),
        ('{ queue = "backup" }', '{ queue = "backup", hangup = true }', "overflow.timeout", "one of"),
        ('{ queue = "backup" }', "{}", "overflow.timeout", "leads nowhere"),
        ('{ queue = "backup" }', "7", "overflow.timeout", "must be a table"),
        ('{ queue = "backup" }', '{ number = "+49301" }', "overflow.timeout.trunk", "is missing"),
        ('{ queue = "backup" }', '{ number = "x" }', "overflow.timeout.number", "is no number"),
        (
            '{ queue = "backup" }',
            '{ number = "+49301", trunk = "out" }',
            "overflow.timeout.trunk",
            "not defined",
        ),
        ('{ queue = "backup" }', '{ hangup = true, trunk = "x" }', "overflow.timeout.trunk", "belongs to a"),
        (
            '{ queue = "backup" }',
            "{ hangup = true, otherwise = { hangup = true } }",
            "overflow.timeout.otherwise",
            "belongs to a number",
        ),
        ('node = "end"', 'node = "edn"', "overflow.full.node", 'did you mean "end"'),
        ('flow = "ask", node', "hangup = true, node", "overflow.full.node", "name the flow"),
        ("overflow.full", "overflow.fulll", "overflow.fulll", 'did you mean "full"'),
        ("max_waiting = 5", "", "overflow.full", "add max_waiting"),
        ('hours = "office"', 'hours = "offices"', "hours", 'did you mean "office"'),
        ('["sorry"]', '["../x"]', "overflow.closed.sounds[0]", "no name of a sound"),
        ('default = "none"', 'default = "nil"', "disposition_default", "none of them"),
        ('disposition_default = "none"', "", "disposition_default", "is missing"),
        ('sold = "Sold"', '"Sold!" = "Sold"', "dispositions.Sold!", "no name"),
        ('default = "none"', 'default = "none"\nnote_required = ["x"]', "note_required[0]", "no field"),
        ('default = "none"', 'default = "none"\nnote_fields = { x = "" }', "note_fields.x", "no label"),
        ('default = "none"', 'default = "none"\nnote_fields = { X = "x" }', "note_fields.X", "no name"),
        ("max_waiting = 5", 'wrap_up = "forever"', "wrap_up", "until_done"),
        ("max_waiting = 5", 'wrap_up = "extendable"\nwrap_up_max_s = 3', "wrap_up_max_s", "use 10 or more"),
    ],
)
def test_a_mistake_in_a_queue_is_told_where_it_is(
    tmp_path: Path, old: str, new: str, key: str, words: str
) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        loaded(tmp_path, GOOD.replace(old, new, 1))
    found = [p for p in caught.value.problems if p.key == f"queues.sales.{key}"]
    assert found, caught.value
    assert words in str(found[0])
    assert found[0].line > 0


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ('"09:00-12:00", "13', '"9-12", "13', "hours.office.mon[0]", "no span"),
        ('"13:00-17:00"', '"11:00-17:00"', "hours.office.mon[1]", "overlaps"),
        ('"12-25"', '"25.12."', "hours.office.holidays[0]", "2026-12-24"),
        ('"2026-12-24"', '"christmas"', "hours.office.special.christmas", "no day"),
        ("[hours.office]", '[hours.office]\ntime_zone = "Mars/X"', "hours.office.time_zone", "Europe/Berlin"),
        ("[hours.office]", '[hours.office]\ntus = ["09:00-10:00"]', "hours.office.tus", "did you mean"),
        ('flow = "ask"\n[h', 'flow = "aks"\n[h', "crisis.flow", 'did you mean "ask"'),
    ],
)
def test_a_mistake_elsewhere(tmp_path: Path, old: str, new: str, key: str, words: str) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        loaded(tmp_path, GOOD.replace(old, new, 1))
    found = [p for p in caught.value.problems if p.key == key]
    assert found, caught.value
    assert words in str(found[0])


@pytest.mark.parametrize("back", ['{ queue = "sales" }', '{ queue = "backup" }', '{ flow = "main" }'])
def test_nobody_is_sent_round_for_ever(tmp_path: Path, back: str) -> None:
    """By another queue, by itself, or through a flow; a menu that asks first is no circle (see ``GOOD``)."""
    text = GOOD.replace('overflow.timeout = { flow = "ask" }', f"overflow.timeout = {back}")
    with pytest.raises(DefinitionErrors, match="round for ever"):
        loaded(tmp_path, text)


def test_a_menu_that_leads_back_without_a_key_is_a_circle(tmp_path: Path) -> None:
    with pytest.raises(DefinitionErrors, match="round for ever"):
        loaded(tmp_path, GOOD.replace('on_failure = "end"', 'on_failure = "again"'))


TRUNK = """
[trunks.out]
server = "192.0.2.1"
forwards_to = ["+4930*", "+491701"]
"""


@pytest.mark.parametrize(
    ("number", "may"), [("+49301", True), ("+491701", True), ("+4917011", False), ("+1900", False)]
)
def test_only_what_the_trunk_names_may_be_dialled(tmp_path: Path, number: str, may: bool) -> None:
    other = 'otherwise = { number = "+49309", trunk = "out", otherwise = { queue = "backup" } }'
    to = f'{{ number = "{number}", trunk = "out", ring_s = 20, {other} }}'
    text = GOOD.replace('{ queue = "backup" }', to, 1) + TRUNK
    if may:
        target = loaded(tmp_path, text).definition.queues["sales"].overflow.timeout
        assert target is not None
        assert target.otherwise is not None
        assert (target.number, target.ring_s, target.otherwise.number) == (number, 20.0, "+49309")
        return
    with pytest.raises(DefinitionErrors) as wrong:
        loaded(tmp_path, text)
    (problem,) = wrong.value.problems
    assert problem.key == "queues.sales.overflow.timeout.number"
    assert f'forwards_to = ["{number}"]' in problem.right


def test_what_a_trunk_may_dial_is_written_as_numbers(tmp_path: Path) -> None:
    with pytest.raises(DefinitionErrors, match="prefix with"):
        loaded(tmp_path, GOOD + TRUNK.replace("+4930*", "*"))


def test_a_circle_over_a_number_that_nobody_takes_is_found(tmp_path: Path) -> None:
    to = '{ number = "+49301", trunk = "out", otherwise = { queue = "sales" } }'
    with pytest.raises(DefinitionErrors, match="round for ever"):
        loaded(tmp_path, GOOD.replace('{ queue = "backup" }', to, 1) + TRUNK)


def test_a_flow_behind_a_number_outside_is_led_to(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(OTHERWISE)
    assert load(tmp_path).warnings == ()
