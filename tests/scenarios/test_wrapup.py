"""After the call, as transcripts: kinds of wrap-up, dispositions, and what supervisors change at run time."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from ari_app.core import messages as m, notes, staff
from ari_app.core.definition import Definition
from tests.fakes.people import DEFINITION, SMALLER, AgentAtPhone, Caller, Pbx

ENDINGS = {"sold": "Sold", "later": "Call again", "none": "Nothing said"}


def centre(**rules: object) -> Definition:
    """People's definition, with a queue "sales" that has these rules."""
    sales = msgspec.structs.replace(DEFINITION.queues["sales"], **rules)
    return msgspec.structs.replace(DEFINITION, queues={**DEFINITION.queues, "sales": sales})


@pytest.fixture
def pbx(request: pytest.FixtureRequest) -> Iterator[Pbx]:
    pbx = Pbx(centre(**getattr(request, "param", {})))
    yield pbx
    pbx.everyone_is_served()


def talk(pbx: Pbx) -> tuple[Caller, AgentAtPhone]:
    bob = pbx.agent("bob").signs_in()
    ann = pbx.caller("ann").dials("400")
    bob.answers()
    assert ann.talks_with == "bob"
    return ann, bob


def asks(agent: AgentAtPhone, action: m.Action, disposition: str = "") -> AgentAtPhone:
    agent.pbx.centre.feed(m.AgentAsked(agent.name, action, "", "test", disposition))
    agent.pbx.settle()
    return agent


def said(pbx: Pbx) -> list[tuple[str, str]]:
    return [(e.disposition, e.by) for e in pbx.centre.events() if isinstance(e, m.DispositionGiven)]


rules = pytest.mark.parametrize


@rules("pbx", [{"wrap_up": "none"}], indirect=True)
def test_no_wrap_up(pbx: Pbx) -> None:
    ann, bob = talk(pbx)
    ann.hangs_up()
    assert bob.state == "ready"


def test_a_fixed_one_ends_when_the_agent_is_done(pbx: Pbx) -> None:
    ann, bob = talk(pbx)
    ann.hangs_up()
    pbx.passes(seconds=3)
    assert asks(bob, "wrap_up").state == "wrap_up"
    pbx.passes(seconds=3)
    assert asks(bob, "done").state == "ready"


@rules("pbx", [{"wrap_up": "extendable", "wrap_up_extend_s": 20.0, "wrap_up_max_s": 40.0}], indirect=True)
def test_more_time_up_to_a_bound(pbx: Pbx) -> None:
    ann, bob = talk(pbx)
    ann.hangs_up()
    asks(bob, "wrap_up")
    pbx.passes(seconds=29)
    assert bob.state == "wrap_up"
    asks(asks(bob, "wrap_up"), "wrap_up")
    pbx.dies().restarts()
    pbx.passes(seconds=10)
    assert bob.state == "wrap_up"
    pbx.passes(seconds=2)
    assert bob.state == "ready"


@rules("pbx", [{"wrap_up": "until_done", "wrap_up_max_s": 300.0}], indirect=True)
def test_until_done_holds_over_all_queues(pbx: Pbx) -> None:
    eve = pbx.agent("eve").signs_in()
    ann = pbx.caller("ann").dials("400")
    eve.answers()
    ann.hangs_up()
    ben = pbx.caller("ben").dials("200")
    pbx.passes(seconds=200)
    assert (eve.state, ben.state) == ("wrap_up", "waiting")
    asks(eve, "done")
    assert (eve.rings, ben.state) == (True, "offered")


@rules("pbx", [{"wrap_up": "until_done", "wrap_up_max_s": 60.0}], indirect=True)
def test_until_done_is_not_for_ever(pbx: Pbx) -> None:
    ann, bob = talk(pbx)
    ann.hangs_up()
    pbx.passes(seconds=61)
    assert bob.state == "ready"


@rules("pbx", [{"wrap_up": "requested"}], indirect=True)
def test_only_on_request(pbx: Pbx) -> None:
    ann, bob = talk(pbx)
    ann.hangs_up()
    assert bob.state == "ready"
    ben = pbx.caller("ben").dials("400")
    bob.answers()
    asks(bob, "wrap_up")
    ben.hangs_up()
    assert bob.state == "wrap_up"
    pbx.passes(seconds=11)
    assert (bob.state, bob.record.wants_wrap_up) == ("ready", False)


@rules(
    "pbx",
    [{"dispositions": ENDINGS, "disposition_required": True, "disposition_default": "none"}],
    indirect=True,
)
def test_what_came_of_the_call(pbx: Pbx) -> None:
    ann, bob = talk(pbx)
    ann.hangs_up()
    assert asks(bob, "done").state == "wrap_up"
    assert asks(bob, "done", "unheard-of").state == "wrap_up"
    assert asks(bob, "done", "sold").state == "ready"
    ben = pbx.caller("ben").dials("400")
    bob.answers()
    asks(bob, "done", "later")
    ben.hangs_up()
    assert asks(bob, "done").state == "ready"
    cem = pbx.caller("cem").dials("400")
    bob.answers()
    cem.hangs_up()
    pbx.passes(seconds=11)
    assert said(pbx) == [("sold", "test"), ("later", "test"), ("none", "time-out")]


@rules("pbx", [{"dispositions": ENDINGS, "wrap_up": "until_done"}], indirect=True)
def test_done_by_feature_code_and_a_key(pbx: Pbx) -> None:
    ann, bob = talk(pbx)
    ann.hangs_up()
    bob.dials_code("done")
    assert pbx.asterisk.hears(bob.session) == "prompt beep"
    pbx.passes(seconds=3)
    assert pbx.asterisk.hears(bob.session) == ""
    pbx.asterisk.press(bob.session, "2")
    pbx.settle()
    assert (pbx.asterisk.hears(bob.session), said(pbx)) == (
        "prompt auth-thankyou",
        [("later", "feature code")],
    )
    pbx.passes(seconds=3)
    assert (bob.state, bob.session in pbx.asterisk.channels) == ("ready", False)


@rules("pbx", [{"dispositions": ENDINGS}], indirect=True)
def test_a_key_that_says_nothing(pbx: Pbx) -> None:
    ann, bob = talk(pbx)
    ann.hangs_up()
    bob.dials_code("done")
    pbx.asterisk.press(bob.session, "9")
    pbx.settle()
    assert (pbx.asterisk.hears(bob.session), bob.state) == ("prompt sorry", "wrap_up")
    pbx.passes(seconds=3)
    bob.dials_code("wrap_up")
    assert pbx.asterisk.hears(bob.session) == "prompt sorry"


# ---------------------------------------------------------------- supervisors


def test_queues_changed_at_run_time_survive(pbx: Pbx) -> None:
    bob = pbx.agent("bob").signs_in()
    ann = pbx.caller("ann").dials("200")
    pbx.centre.feed(m.AgentSkillsChanged("bob", None, ("support",), "boss"))
    assert (bob.rings, ann.state) == (True, "offered")
    pbx.dies().restarts()
    floor = pbx.centre.live
    assert floor.members == {"sales": ["eve"], "support": ["bob", "eve", "max"]}
    assert [(d.agent, d.what, d.files, d.now, d.by) for d in staff.departures(floor)] == [
        ("bob", "queues", ("sales",), ("support",), "boss")
    ]
    pbx.centre.define(SMALLER)  # has no queue "support": bob serves nothing for a while
    assert pbx.centre.live.definition.agents["bob"].queues == ()
    pbx.centre.define(pbx.definition)
    served: tuple[str, ...] = pbx.centre.live.definition.agents["bob"].queues
    assert served == ("support",)
    pbx.centre.feed(m.AgentSkillsChanged("bob", None, None, "boss"))
    assert staff.departures(pbx.centre.live) == []


def test_changes_that_make_no_sense_are_none(pbx: Pbx) -> None:
    floor = pbx.centre.live
    for item in (
        m.AgentSkillsChanged("nobody", {}, None),
        m.AgentSkillsChanged("bob", {"german": 6}, None),
        m.AgentSkillsChanged("bob", None, ("nowhere",)),
        m.AgentSkillsChanged("bob", None, ("sales", "sales")),
    ):
        assert staff.problem(floor, item)
        pbx.centre.feed(item)
    pbx.centre.feed(m.AgentSkillsChanged("bob", {}, ("sales",)))  # as in the files
    assert not floor.state.overrides


FORM = {"reason": "Reason for contact", "next": "Next steps"}


@rules("pbx", [{"note_fields": FORM, "note_required": ("reason",)}], indirect=True)
def test_the_form_of_a_note_is_that_of_the_queue_whose_call_it_is(pbx: Pbx) -> None:
    ann, bob = talk(pbx)
    form = notes.form(pbx.centre.live, "bob")
    assert notes.problem(form, {}) == ""  # while they talk, nothing is missing yet
    ann.hangs_up()
    form = notes.form(pbx.centre.live, "bob")
    assert notes.problem(form, {"reason": " "}) == "the note needs: reason"
    assert notes.problem(form, {"reson": "x"}).startswith(
        "the note has no field reson; there are: reason, next"
    )
    filled = {"next": "send one", "reason": "lamp"}
    assert notes.problem(form, filled) == ""
    assert notes.text(form, filled, "urgent") == "Reason for contact: lamp\nNext steps: send one\nurgent"
    asks(bob, "done")
    assert notes.form(pbx.centre.live, "bob") == notes.Form()
