"""Every event has words, and a decision's words hold what decided it."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from ari_app.core import messages as m, words
from ari_app.core.definition import SECOND_NS, Definition, Target
from ari_app.core.text import duration, printable

KINDS: tuple[type[m.AnyEvent], ...] = typing.get_args(m.AnyEvent)
NASTY = "\x1b[2J\r\n\u202e\udcff"
SAMPLES: dict[Any, Any] = {
    str: NASTY,
    int: 5 * SECOND_NS,
    bool: True,
    Definition: Definition(),
    Target: Target(queue="name"),
    m.Known: m.Known(listed="name"),
    dict[str, int] | None: {"german": 3},
    tuple[str, ...] | None: ("name",),
    dict[str, tuple[m.Boundary, ...]]: {"name": (m.Boundary(5, "open"),)},
    dict[str, int]: {"german": 3},
    tuple[str, ...]: ("channel",),
    m.Rung: m.Rung("leg", "name", 5 * SECOND_NS),
    tuple[m.Rung, ...]: (m.Rung("leg", "name", 5 * SECOND_NS),),
}


def sample(kind: type[m.AnyEvent]) -> m.AnyEvent:
    """An event of this kind with nasty text wherever free text goes."""
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        hint = hints[field.name]
        if hint is m.Why:
            candidate = m.Candidate("bob", 3 * SECOND_NS, 1)
            values[field.name] = m.Why("longest idle", SECOND_NS, 1, 1, (candidate,), {"paused": 1})
        elif typing.get_origin(hint) is typing.Literal:
            values[field.name] = typing.get_args(hint)[0]
        elif hint is str and field.name not in ("error", "reason", "by", "file", "version"):
            values[field.name] = "name"  # ids and names of the definition: checked where they are read
        else:
            values[field.name] = SAMPLES[hint]
    return kind(**values)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_has_printable_words(kind: type[m.AnyEvent]) -> None:
    text = words.describe(sample(kind), 0)
    assert text
    assert text.isprintable(), text


@pytest.mark.parametrize("reason", typing.get_args(m.LapseReason))
def test_every_reason_of_a_lapse_has_words(reason: m.LapseReason) -> None:
    assert words.describe(m.OfferLapsed("c", "q", "bob", 1, reason, False), 0).startswith("bob ")


@pytest.mark.parametrize("outcome", typing.get_args(m.Outcome))
def test_every_outcome_has_words(outcome: m.Outcome) -> None:
    assert words.describe(m.CallEnded("c", outcome, "caller", "", "", 0, 0), 0).startswith("call ended: ")


@pytest.mark.parametrize("name", typing.get_args(m.AgentStateName))
def test_every_state_has_words(name: str) -> None:
    assert name in words.STATES


def test_a_decision_is_explained() -> None:
    why = m.Why(
        rule="longest idle",
        waited_ns=34 * SECOND_NS,
        position=1,
        waiting=5,
        candidates=(
            m.Candidate("bob", 252 * SECOND_NS, 1),
            m.Candidate("alice", 63 * SECOND_NS, 2),
            m.Candidate("dan", 5 * SECOND_NS // 2, 3),
        ),
        not_eligible={"talking": 1, "paused": 2},
    )
    assert words.explain(why) == (
        "bob got the call: longest idle of 3 free agents (bob 4 m 12 s, alice 1 m 3 s, dan 2.5 s);"
        " not eligible: 2 paused, 1 talking; the caller had waited 34 s and was first of 5"
    )


def test_six_candidates_may_be_more() -> None:
    candidates = tuple(m.Candidate(f"a{n}", (9 - n) * SECOND_NS, n) for n in range(1, 7))
    why = m.Why("longest idle", 0, 1, 2, candidates, {})
    assert "of 6 or more free agents (a1 8 s, a2 7 s, a3 6 s, …)" in words.explain(why)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (2.5, "2.5 s"), (9.99, "9.9 s"), (59.9, "59 s"), (60, "1 m 0 s"), (7500, "2 h 05 m")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(round(seconds * SECOND_NS)) == text


@given(st.text(st.characters(codec=None)), st.integers(1, 50))
def test_printable_is_printable_and_short(text: str, limit: int) -> None:
    made = printable(text, limit)
    assert len(made) <= limit
    made.encode()
    assert all(char.isprintable() or char == " " or char.isspace() for char in made)
    assert not set(made) & {"\x1b", "\n", "\r", "\u2028", "\u202e"}


def test_a_relaxed_decision_names_the_skills_and_the_fit() -> None:
    why = m.Why(
        rule="best fit, then longest idle",
        waited_ns=45 * SECOND_NS,
        position=1,
        waiting=1,
        candidates=(m.Candidate("ann", 5 * SECOND_NS, 1, 4), m.Candidate("bob", 90 * SECOND_NS, 2, 2)),
        not_eligible={"lacks skills": 3},
        step=2,
        skills={"german": 1},
        free=2,
    )
    text = words.grounds(why)
    assert "best fit, then longest idle of 2 free agents (ann fit 4, 5 s, bob fit 2, 1 m 30 s)" in text
    assert "asked for after 2 steps of relaxation: german 1" in text
    assert "not eligible: 3 without the skills asked for" in text
