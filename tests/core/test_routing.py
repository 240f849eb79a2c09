"""Who gets whom, and the reasons that are kept; the day's live figures."""

from __future__ import annotations

from ari_app.core import messages as m
from ari_app.core import offers
from ari_app.core.definition import SECOND_NS, Queue
from ari_app.core.stats import DAY_NS, Stats
from tests.fakes.people import Pbx

QUEUES = {"sales": Queue("Sales")}


def last_offer(pbx: Pbx) -> m.OfferMade:
    return [e for e in pbx.centre.events() if isinstance(e, m.OfferMade)][-1]


def test_an_offer_says_why() -> None:
    pbx = Pbx()
    pbx.agent("eve").signs_in()
    pbx.passes(seconds=3)
    pbx.agent("bob").signs_in()
    pbx.caller("ann").dials("100").presses("1")
    why = last_offer(pbx).why
    assert (why.rule, why.position, why.waiting, why.waited_ns) == ("longest idle", 1, 1, 0)
    assert [(c.agent, c.idle_ns, c.rank) for c in why.candidates] == [
        ("eve", 3 * SECOND_NS, 1),
        ("bob", 0, 2),
    ]


def test_an_offer_says_who_could_not_have_it() -> None:
    pbx = Pbx()
    pbx.agent("bob").phone("busy").signs_in()
    pbx.caller("ann").dials("100").presses("1")
    pbx.agent("eve").signs_in()
    assert last_offer(pbx).why.not_eligible == {"resting": 1}
    pbx.agent("max").signs_in()
    pbx.caller("cid").dials("200")
    assert last_offer(pbx).why.not_eligible == {"ringing": 1}


def test_nobody_is_offered_before_recovery_is_over() -> None:
    pbx = Pbx()
    pbx.centre.feed(m.LinkFailed("test"))
    pbx.agent("bob").signs_in()
    ann = pbx.caller("ann").dials("100").presses("1")
    assert ann.state == "waiting"
    pbx.centre.feed(m.Recovered(1, 1))
    assert ann.state == "offered"


def test_causes_are_told_apart() -> None:
    reasons = [offers.lapse_reason(cause) for cause in (17, 21, 19, 20, 16, 0)]
    assert reasons == ["busy", "declined", "no_answer", "unreachable", "failed", "failed"]


def ended(outcome: m.Outcome, waited_s: int, talk_s: int = 0) -> m.CallEnded:
    return m.CallEnded("c", outcome, "caller", "sales", "bob", waited_s * SECOND_NS, talk_s * SECOND_NS)


def test_the_day_in_figures() -> None:
    stats = Stats()
    figures_of: list[m.AnyEvent] = [m.CallQueued("c", "sales", 1, 0)] * 5
    for waited_s in (10, 20, 30):
        waited_ns = waited_s * SECOND_NS
        figures_of.append(m.CallConnected("c", "sales", "bob", 1, "leg", "bridge", waited_ns, ""))
    figures_of += [
        ended("answered", 10, 60),
        ended("abandoned", 30),
        ended("abandoned", 4),
        ended("fallback", 99),
    ]
    figures_of.append(m.CallEnded("c", "left_in_flow", "caller", "", "", 0, 0))
    for event in figures_of:
        stats.fold(DAY_NS + 5, event, QUEUES)
    sales = stats.queues["sales"]
    assert (sales.offered, sales.answered, sales.within) == (5, 3, 2)
    assert (sales.abandoned, sales.short, sales.lost) == (2, 1, 1)
    assert sales.talk_ns == 60 * SECOND_NS
    assert sales.asa_ns() == 20 * SECOND_NS
    assert sales.service_level() == 2 / (3 + 2 - 1)


def test_a_new_day_begins_at_nothing() -> None:
    stats = Stats()
    stats.fold(DAY_NS, m.CallQueued("c", "gone", 1, 0), QUEUES)
    assert (stats.queues["gone"].service_level(), stats.queues["gone"].asa_ns()) == (None, None)
    stats.fold(2 * DAY_NS, ended("abandoned", 30), QUEUES)
    assert (stats.day, list(stats.queues)) == (2, ["sales"])
