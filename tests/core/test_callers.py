"""Who calls: lists, what the dialplan attached, the last agent; what becomes of it in a queue, and why."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ari_app.callers import Callers, Directory, LastAgents, e164, wrong_attribute
from ari_app.config import DefinitionErrors, Loaded, load
from ari_app.core import messages as m, why, words
from ari_app.core.definition import SECOND_NS, Centre, Overflow, Queue, QueueNode, Target
from ari_app.core.floor import Floor
from ari_app.core.step import advance
from ari_app.differences import differences
from ari_app.site import Listed
from tests.fakes.desk import START_NS, Desk, agent, definition

GOOD = """\
[centre]
country_code = "49"
[numbers]
"100" = "main"
"900" = { flow = "main", priority = 3 }
[flows.main]
start = "in"
priority = 2
nodes.in = { kind = "queue", queue = "sales" }
[queues.sales]
ageing_every_s = 60
prefer_s = 20
last_agent_within_s = 604800
[queues.care]
ageing_every_s = 60
[callers.vip]
numbers = ["+49 30 1234567", "+4930555*", "+49305550*"]
priority = 10
agent = "ann"
language = "german"
[callers.debtors]
file = "debtors.csv"
priority = -5
queue = "care"
[agents.ann]
endpoint = "ann"
queues = ["sales", "care"]
skills = { german = 3 }
"""
ROWS = """\
# who owes us something
number,priority,agent,required
+4989111,,,
+4989112,-50,ann,yes
"""


def loaded(folder: Path, text: str = GOOD, rows: str = ROWS) -> Loaded:
    (folder / "centre.toml").write_text(text)
    (folder / "debtors.csv").write_text(rows)
    return load(folder)


# ---------------------------------------------------------------- lists


def test_lists_are_read_and_the_core_sees_no_number(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    assert [str(warning) for warning in found.warnings] == []
    directory = Directory(found.site.callers)
    vip, poor = directory.find("+49301234567"), directory.find("+4989111")
    assert vip == Listed("vip", 10, "ann", skills={"german": 1})
    assert poor == Listed("debtors", -5, queue="care")
    assert directory.find("+4989112") == Listed("debtors", -50, "ann", True, "care")
    assert directory.find("+493055501") == vip
    assert (directory.find("+4930123456"), directory.find("")) == (None, None)
    assert "1234567" not in repr(found.definition) + repr(found.site)
    assert found.definition.priorities == {"900": 3}


@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        ("", 0, "the first line names no column"),
        ("number;priority\n", 1, "no column 'number;priority'"),
        ("\n# x\nnumber,nam\n", 3, "no column 'nam'"),
        ("number\n089111\n0x\n", 2, "E.164"),
        ("number\n+4989111\n+49 89 111\n", 3, "stands already at debtors.csv:2"),
        ("number,priority\n+4989111,high\n", 2, "no priority"),
        ("number,priority\n+4989111,5000\n", 2, "-1000 to 1000"),
        ("number,agent\n+4989111,anne\n", 2, 'did you mean "ann"'),
        ("number,queue\n+4989111,cares\n", 2, 'did you mean "care"'),
        ("number,language\n+4989111,french\n", 2, "no agent has the skill"),
        ("number,required\n+4989111,maybe\n", 2, "yes nor no"),
        ("number\n+4989111,1\n", 2, "2 columns"),
    ],
)
def test_errors_of_a_file_name_its_line_and_never_the_number(
    tmp_path: Path, rows: str, line: int, words: str
) -> None:
    with pytest.raises(DefinitionErrors) as wrong:
        loaded(tmp_path, rows=rows)
    said = str(wrong.value)
    place = f"debtors.csv:{line}" if line else "debtors.csv"
    assert place in said
    assert words in said
    assert "89111" not in said


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ('"+4930555*"', '"+4930555x*"', "callers.vip.numbers[1]", "E.164"),
        ('"+4930555*"', '"+49301234567"', "callers.vip.numbers[1]", "callers.vip.numbers[0]"),
        ('agent = "ann"', 'agent = "anne"', "callers.vip.agent", 'did you mean "ann"'),
        ('agent = "ann"', "required = true", "callers.vip.required", "requires nobody"),
        ('language = "german"', 'language = "germ"', "callers.vip.language", 'did you mean "german"'),
        ('language = "german"', "skills = { german = 9 }", "callers.vip.skills.german", "1 to 5"),
        ("priority = 10", "priority = 1001", "callers.vip.priority", "-1000 to 1000"),
        ('queue = "care"', 'queue = "cara"', "callers.debtors.queue", 'did you mean "care"'),
        ('file = "debtors.csv"', 'file = "gone.csv"', "callers.debtors.file", "can't be read"),
        ('file = "debtors.csv"', "", "callers.debtors", "names nobody"),
        ('flow = "main", priority = 3', 'flow = "main", prio = 3', "numbers.900.prio", "priority"),
        ('country_code = "49"', 'country_code = "+49"', "centre.country_code", "digits only"),
    ],
)
def test_errors_of_a_list_name_its_key(tmp_path: Path, old: str, new: str, key: str, words: str) -> None:
    with pytest.raises(DefinitionErrors) as wrong:
        loaded(tmp_path, GOOD.replace(old, new))
    (problem,) = wrong.value.problems
    assert problem.key == key
    assert words in f"{problem.wrong}; {problem.right}"


def test_what_a_reload_changes_is_counted_not_shown(tmp_path: Path) -> None:
    before = loaded(tmp_path)
    rows = ROWS.replace("+4989111,,,", "+4989113,,,").replace("-50", "-40")
    after = loaded(tmp_path, GOOD.replace('flow = "main", priority = 3', 'flow = "main"'), rows)
    assert differences(before, after) == [
        "number 900: priority 3 -> 0",
        "callers debtors: 1 added, 1 removed, 1 changed, 2 numbers now",
    ]


@pytest.mark.parametrize(
    ("presented", "meant"),
    [
        ("+49 (30) 123-45.67", "+49301234567"),
        ("0049301234567", "+49301234567"),
        ("0301234567", "+49301234567"),
        ("49301234567", "+49301234567"),
        ("201", "201"),
        ("anonymous", ""),
        ("", ""),
        ("+49301234567;DROP", ""),
    ],
)
def test_numbers_as_they_are_presented(presented: str, meant: str) -> None:
    assert e164(presented, Centre(country_code="49")) == meant


# ---------------------------------------------------------------- recognised on arrival


class Shell:
    """Stands for people and attributes: whose channel it is, and what the dialplan attached."""

    def __init__(self, number: str = "", **attached: str) -> None:
        self.number, self.attached = number, attached

    def number_arriving(self, channel: str) -> str:
        return self.number

    def on(self, channel: str) -> dict[str, str]:
        return self.attached

    def of(self, call: str) -> Shell:
        return self


def recognised(found: Loaded, shell: Shell, last: LastAgents | None = None) -> m.CallArrived:
    callers = Callers(found, shell, shell)  # type: ignore[arg-type]
    callers.last = last or callers.last
    return callers.recognise(m.CallArrived("c", "100"))


def test_the_dialplan_says_more_than_the_list(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    listed = recognised(found, Shell("0301234567"))
    assert (listed.priority, listed.prefer, listed.known.listed) == (10, "ann", "vip")
    assert listed.known.memory == "away"
    attached = Shell("0301234567", cb_priority="-7", cb_agent="bob", cb_queue="care", cb_required="1")
    said = recognised(found, attached)
    assert (said.priority, said.prefer, said.known.queue, said.known.required) == (-7, "bob", "care", True)
    assert recognised(found, Shell("0301234567", cb_priority="x")).priority == 10
    nobody = recognised(found, Shell("anonymous"))
    assert nobody == m.CallArrived("c", "100")


def test_attributes_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    found = loaded(tmp_path).definition
    wrong = {"cb_priority": "high", "cb_agent": "x", "cb_queue": "x", "cb_required": "yes", "cb_x": "1"}
    right = {"cb_priority": "-10", "cb_agent": "ann", "cb_queue": "care", "cb_required": "0", "name": "x"}
    assert all(wrong_attribute(key, value, found) for key, value in wrong.items())
    assert not any(wrong_attribute(key, value, found) for key, value in right.items())
    assert wrong_attribute("cb_language", "french", found)
    assert not wrong_attribute("cb_language", "german", found)


def test_the_memory_keeps_the_latest_talk_and_learns_live(tmp_path: Path) -> None:
    found, shell = loaded(tmp_path), Shell("0897777777")
    callers = Callers(found, shell, shell)  # type: ignore[arg-type]
    ended = m.CallEnded("k", "answered", "caller", "sales", "ann", 0, 1)
    callers.on_event(50, ended)
    arrived = callers.recognise(m.CallArrived("c", "100"))
    assert (arrived.known.last_agent, arrived.known.last_spoke_ns, arrived.known.memory) == ("ann", 50, "")
    callers.last.replace({"+49897777777": ("bob", 40), "+49891": ("ann", 30)}, began_ns=45)
    assert callers.last.of("+49897777777") == ("ann", 50), "later than what PostgreSQL had"
    callers.last.replace({"+49891": ("ann", 30)}, began_ns=60)
    assert callers.last.of("+49897777777") == ("", 0), "erased there, forgotten here"
    assert callers.recognise(m.CallArrived("c", "100")).known.memory == ""


# ---------------------------------------------------------------- in the queue


def centre(**keys: object) -> Desk:
    rules = {"prefer_s": 20.0, "last_agent_within_s": 3600.0, "wrap_up_s": 0.0, **keys}
    queues = {"sales": Queue("Sales", **rules), "care": Queue("Care", wrap_up_s=0)}  # type: ignore[arg-type]
    people = {"ann": agent("sales", "care", german=3), "bob": agent("sales"), "max": agent("care")}
    found = Desk(definition(queues, people))
    found.signs_in("ann", "bob", "max")
    return found


def spoke(name: str, seconds_ago: float, **more: object) -> m.Known:
    at_ns = START_NS - round(seconds_ago * SECOND_NS)
    return m.Known(last_agent=name, last_spoke_ns=at_ns, **more)  # type: ignore[arg-type]


def test_the_last_agent_within_the_window_is_preferred_and_why_says_so() -> None:
    desk = centre()
    busy = desk.calls("care", known=m.Known(skills={"german": 1}))
    desk.answers(busy)
    kept = desk.calls("sales", known=spoke("ann", 3000))
    assert [o.agent for o in desk.offers] == ["ann"], "bob is free, but they are kept for ann"
    lines = why.caller(desk.floor, kept, desk.now_ns)
    assert "is kept for ann, who spoke with the caller last, for 20 s more" in lines
    desk.hangs_up(busy)
    made = desk.offers[-1]
    assert (made.call, made.agent, made.why.only, made.why.prefer_note) == (kept, "ann", "ann", "last")
    assert "was being kept for ann, who spoke with the caller last" in words.explain(made.why)


def test_after_its_time_the_pool_may_take_it() -> None:
    desk = centre()
    desk.answers(desk.calls("care", known=m.Known(skills={"german": 1})))
    kept = desk.calls("sales", known=spoke("ann", 10))
    desk.passes(21)
    assert (desk.offers[-1].call, desk.offers[-1].agent) == (kept, "bob")
    assert "no longer kept for ann, who spoke" in words.explain(desk.offers[-1].why)


@pytest.mark.parametrize(
    ("known", "note", "said"),
    [
        (spoke("ann", 4000), "", ""),
        (m.Known(memory="away"), "memory_away", "PostgreSQL has not told yet"),
        (spoke("max", 10), "not_qualified", "does not serve this queue"),
    ],
)
def test_without_a_last_agent_the_pool_takes_it_at_once(known: m.Known, note: str, said: str) -> None:
    desk = centre()
    desk.calls("sales", known=known)
    made = desk.offers[-1]
    assert (made.why.only, made.why.prefer_note) == ("", note)
    assert said in words.explain(made.why)


def test_the_owner_comes_before_the_last_agent() -> None:
    desk = centre()
    desk.calls("sales", prefer="bob", known=spoke("ann", 10))
    assert (desk.offers[-1].agent, desk.offers[-1].why.prefer_note) == ("bob", "owner")
    desk = centre()
    desk.asks("bob", "sign_out")
    desk.calls("sales", prefer="bob", known=spoke("ann", 10))
    assert (desk.offers[-1].agent, desk.offers[-1].why.prefer_note) == ("ann", "last")


def test_a_required_agent_is_waited_for_until_the_queues_rules_say_otherwise() -> None:
    desk = centre(prefer_s=0.0)
    desk.asks("ann", "sign_out")
    kept = desk.calls("sales", prefer="ann", known=m.Known(listed="vip", required=True))
    desk.passes(4000)
    assert desk.offers == []
    lines = why.caller(desk.floor, kept, desk.now_ns)
    assert "is kept for ann, who owns the account, as long as it waits here" in lines
    assert lines[0].endswith("on the list vip")
    desk.signs_in("ann")
    assert desk.offers[-1].agent == "ann"
    assert "the caller is on the list vip" in words.explain(desk.offers[-1].why)


def test_a_list_changes_queue_skills_and_priority() -> None:
    desk = centre()
    key = desk.calls("sales", priority=9, known=m.Known(listed="x", queue="care", skills={"german": 2}))
    call = desk.call(key)
    assert (call.queue, call.skills, call.priority, desk.offers[-1].agent) == (
        "care",
        {"german": 2},
        9,
        "ann",
    )


def test_number_and_flow_add_to_the_priority(tmp_path: Path) -> None:
    desk = Desk(loaded(tmp_path).definition)
    low, high = desk.call(desk.calls("100")), desk.call(desk.calls("900", priority=10))
    assert (low.priority, high.priority) == (2, 15)


def test_place_priority_and_preference_survive_overflow_and_a_restart() -> None:
    rules = {"max_wait_s": 30.0, "overflow": Overflow(timeout=Target(queue="care"))}
    queues = {
        "sales": Queue("Sales", prefer_s=20, **rules),  # type: ignore[arg-type]
        "care": Queue("Care", priority=1, prefer_s=20),
    }
    desk = Desk(definition(queues, {"ann": agent("sales", "care"), "bob": agent("care")}))
    desk.signs_in("bob")
    known = m.Known(listed="vip", required=True)
    key = desk.calls("sales", priority=5, prefer="ann", known=known)
    entered_ns = desk.call(key).entered_ns
    desk.passes(10)
    restored = Floor.restore(desk.floor.dump())
    call = restored.state.calls[key]
    assert (call.entered_ns, call.priority, call.prefer, call.known) == (entered_ns, 5, "ann", known)
    assert restored.matcher.need_of(key) == desk.floor.matcher.need_of(key)
    desk.floor = restored
    desk.now_ns += 20 * SECOND_NS
    for due in list(desk.floor.due(desk.now_ns)):
        advance(desk.floor, due, desk.now_ns)
    call = desk.call(key)
    assert (call.queue, call.entered_ns, call.priority, call.prefer) == ("care", entered_ns, 6, "ann")


def test_a_required_agent_whom_the_next_queue_does_not_have_is_not_waited_for_in_vain() -> None:
    rules = {"max_wait_s": 30.0, "overflow": Overflow(timeout=Target(queue="care"))}
    queues = {"sales": Queue("Sales", **rules), "care": Queue("Care")}  # type: ignore[arg-type]
    desk = Desk(definition(queues, {"ann": agent("sales"), "bob": agent("care")}))
    desk.signs_in("bob")
    key = desk.calls("sales", prefer="ann", known=m.Known(required=True))
    desk.now_ns += 30 * SECOND_NS
    for due in list(desk.floor.due(desk.now_ns)):
        advance(desk.floor, due, desk.now_ns)
    call = desk.call(key)
    assert (call.queue, call.state, call.prefer_note) == ("care", "offered", "not_qualified")


def test_a_required_agent_whom_a_reload_takes_away_is_not_waited_for() -> None:
    known = definition({"sales": Queue("Sales")}, {"ann": agent("sales"), "bob": agent("sales")})
    desk = Desk(known)
    desk.signs_in("bob")
    key = desk.calls("sales", prefer="ann", known=m.Known(required=True))
    desk.passes(600)
    assert desk.call(key).state == "waiting"
    less = msgspec.structs.replace(known, agents={"bob": known.agents["bob"]})
    desk.give(m.DefinitionGiven(less, "less"))
    assert (desk.call(key).state, desk.offers[-1].agent) == ("offered", "bob")


def test_a_required_agent_who_loses_the_skill_is_not_waited_for() -> None:
    known = definition({"sales": Queue("Sales")}, {"ann": agent("sales", "care"), "bob": agent("sales")})
    desk = Desk(msgspec.structs.replace(known, queues={**known.queues, "care": Queue("Care")}))
    desk.signs_in("bob")
    key = desk.calls("sales", prefer="ann", known=m.Known(required=True))
    desk.passes(600)
    desk.give(m.AgentSkillsChanged("ann", None, ("care",), "carla"))
    assert (desk.call(key).state, desk.offers[-1].agent) == ("offered", "bob")


def test_the_flow_decides_again_where_a_list_names_no_queue() -> None:
    queues = {"sales": Queue("Sales"), "care": Queue("Care")}
    desk = Desk(definition(queues, {"ann": agent("sales")}, extra=QueueNode("sales")))
    assert desk.call(desk.calls("extra", known=m.Known(queue="gone"))).queue == "sales"
