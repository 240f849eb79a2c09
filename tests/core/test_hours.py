"""Opening hours: local times become instants, over changes of the clocks, holidays and special days."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from ari_app import hours
from ari_app.site import Hours

OFFICE = Hours(
    mon=("09:00-12:00", "13:00-17:00"),
    sat=("00:00-24:00",),
    sun=("00:00-06:00",),
    holidays=("12-25", "2026-04-06"),
    special={"2026-12-24": ("09:00-12:00",)},
)


def ns(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def told(at: str, zone: str = "Europe/Berlin", of: Hours = OFFICE) -> list[tuple[str, str]]:
    found = hours.boundaries(of, zone, ns(at))
    return [(f"{datetime.fromtimestamp(b.at_ns / 1e9, UTC):%m-%d %H:%M}", b.state) for b in found]


def test_a_week_in_winter() -> None:
    assert told("2026-01-05T10:00")[:7] == [
        ("01-04 23:00", "closed"),
        ("01-05 08:00", "open"),
        ("01-05 11:00", "closed"),
        ("01-05 12:00", "open"),
        ("01-05 16:00", "closed"),
        ("01-09 23:00", "open"),  # saturday and the first hours of sunday are one span
        ("01-11 05:00", "closed"),
    ]


def test_summer_time_moves_the_instants() -> None:
    assert ("03-28 23:00", "open") not in told("2026-03-28T12:00")
    assert told("2026-03-28T12:00")[:2] == [("03-27 23:00", "open"), ("03-29 04:00", "closed")]
    assert ("10-26 08:00", "open") in told("2026-10-23T12:00")


def test_a_time_that_the_clock_skips_lasts_not() -> None:
    skipped = Hours(sun=("02:10-02:50", "04:00-05:00"))
    assert told("2026-03-28T23:30", of=skipped)[:3] == [
        ("03-28 23:00", "closed"),
        ("03-29 01:10", "open"),
        ("03-29 01:50", "closed"),
    ]


def test_holidays_and_special_days() -> None:
    found = dict(told("2026-04-05T12:00"))
    assert (found["04-05 22:00"], found["04-06 22:00"]) == ("holiday", "closed")
    christmas = told("2026-12-23T12:00")
    assert christmas[1:5] == [
        ("12-24 08:00", "open"),
        ("12-24 11:00", "closed"),
        ("12-24 23:00", "holiday"),
        ("12-25 23:00", "open"),
    ]


@pytest.mark.parametrize(
    "span", ["9:00-17:00", "09:00", "17:00-09:00", "09:00-09:00", "09:00-24:01", "09:60-10:00"]
)
def test_spans_that_are_none(span: str) -> None:
    with pytest.raises(hours.HoursError):
        hours.span_of(span)


@pytest.mark.parametrize("day", ["13-01", "02-30", "2026-02-29", "christmas", "24.12."])
def test_days_that_are_none(day: str) -> None:
    with pytest.raises(hours.HoursError):
        hours.day_matches(day, date(2026, 1, 1))
