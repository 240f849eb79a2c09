"""The crash test: the process dies at every point of every scenario, and no caller is lost.

The points are before and after each append to the journal and after each request to Asterisk, those
of the restart itself included. A transcript's own expectations may fail after a death (a prompt is
cut short, a phone rings twice); what ``checks`` demands may not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from ari_app.core import messages as m
from ari_app.core.definition import Definition
from tests.fakes.people import RUNG, Pbx
from tests.scenarios import test_agents, test_calls, test_queues, test_ringing, test_wrapup

Scenario = Callable[[Pbx], None]
SCENARIOS: list[Scenario] = [
    f
    for module in (test_calls, test_agents)
    for name, f in inspect.getmembers(module, inspect.isfunction)
    if name.startswith("test_")
]


def play(scenario: Scenario, pbx: Pbx) -> bool:
    """Run to the end, then the aftermath. True if the transcript's own expectations held."""
    try:
        scenario(pbx)
    except (AssertionError, LookupError):  # the death changed the story: the phone it speaks of is not there
        held = False
    else:
        held = True
    pbx.everyone_is_served()
    return held


@pytest.mark.parametrize("gap_s", [0.0, 4.0])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda f: f.__name__.removeprefix("test_"))
def test_no_caller_is_lost_whenever_we_die(scenario: Scenario, gap_s: float) -> None:
    whole = Pbx()
    scenario(whole)
    points = whole.centre.points
    deaths = 0
    for point in range(4, points + 1):  # the first three belong to the first start, which nobody waits for
        pbx = Pbx(die_at=[point], gap_s=gap_s)
        play(scenario, pbx)
        deaths += pbx.centre.epochs > 1
    assert deaths >= points - 3


RULES: list[tuple[Scenario, Definition]] = [
    (test_queues.test_the_longest_wait_leads_on_and_keeps_the_place, test_queues.centre(max_wait_s=30)),
    (test_queues.test_a_full_queue_says_so_and_hangs_up, test_queues.centre(max_waiting=1)),
    (test_queues.test_crisis_for_everything_and_back, test_queues.centre()),
    (test_wrapup.test_done_by_feature_code_and_a_key, test_wrapup.centre(dispositions=test_wrapup.ENDINGS)),
    (test_wrapup.test_queues_changed_at_run_time_survive, test_wrapup.centre()),
]


@pytest.mark.parametrize(("scenario", "definition"), RULES, ids=[f.__name__ for f, _ in RULES])
def test_no_caller_is_lost_under_rules(scenario: Scenario, definition: Definition) -> None:
    whole = Pbx(definition)
    scenario(whole)
    for point in range(4, whole.centre.points + 1):
        play(scenario, Pbx(definition, die_at=[point]))


RUNG_SCENARIOS: list[Scenario] = [
    f
    for name, f in inspect.getmembers(test_ringing, inspect.isfunction)
    if name.startswith("test_") and "auto_answer" not in name
]


@pytest.mark.parametrize("scenario", RUNG_SCENARIOS, ids=lambda f: f.__name__.removeprefix("test_"))
def test_no_caller_is_lost_while_several_phones_ring(scenario: Scenario) -> None:
    whole = Pbx(RUNG)
    scenario(whole)
    for point in range(4, whole.centre.points + 1):
        play(scenario, Pbx(RUNG, die_at=[point], gap_s=point % 2 * 4.0))


def test_the_recording_is_whole_whenever_we_die() -> None:
    scenario = test_calls.test_a_call_is_answered_recorded_and_wrapped_up
    whole = Pbx()
    scenario(whole)
    for point in range(4, whole.centre.points + 1):
        pbx = Pbx(die_at=[point])
        play(scenario, pbx)
        talks = [e.recording for e in pbx.centre.events() if isinstance(e, m.CallConnected)]
        finished = [e.recording for e in pbx.centre.events() if isinstance(e, m.RecordingFinished)]
        assert talks == finished, point


def test_dying_again_while_recovering() -> None:
    scenario = test_calls.test_a_call_is_answered_recorded_and_wrapped_up
    whole = Pbx()
    scenario(whole)
    for point in range(4, whole.centre.points, 3):
        for again in range(1, 16):
            play(scenario, Pbx(die_at=[point, point + again]))


def test_most_deaths_do_not_even_change_the_story() -> None:
    """Without a gap, a death is hardly noticed: the transcript's own expectations hold."""
    scenario = test_calls.test_a_call_is_answered_recorded_and_wrapped_up
    whole = Pbx()
    scenario(whole)
    held = [play(scenario, Pbx(die_at=[p], gap_s=0.0)) for p in range(4, whole.centre.points + 1)]
    assert sum(held) / len(held) > 0.5
