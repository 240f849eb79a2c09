"""Opening hours: from local times in a zone to instants in UTC, for the core, which knows no zones.

The boundaries of the weeks to come are worked out at the start, at each reload and every few hours.
A local time that the clock skips in spring is the instant at which it goes on; one that comes twice
in autumn is taken the first time (PEP 495, fold=0).
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

from ari_app.core.inputs import HoursGiven
from ari_app.core.messages import Boundary, OpenState
from ari_app.site import Hours

AHEAD_DAYS = 45
"""How far boundaries are worked out: should Cordboard run on without looking, they hold for so long."""
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SPAN = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")
YEARLY = re.compile(r"(\d\d)-(\d\d)")
DAY_MINUTES = 24 * 60


class HoursError(ValueError):
    """A span or a day that is none; the text says what would be right."""


def span_of(text: str) -> tuple[int, int]:
    """ "09:00-17:30" as minutes of the day. Raises HoursError."""
    found = SPAN.fullmatch(text)
    if found is None:
        raise HoursError('write "09:00-17:00"')
    begin, end = (int(found[n]) * 60 + int(found[n + 1]) for n in (1, 3))
    if int(found[2]) > 59 or int(found[4]) > 59 or end > DAY_MINUTES:
        raise HoursError("times go from 00:00 to 24:00")
    if end <= begin:
        raise HoursError(
            "it ends before it begins: write a span over midnight as two, to 24:00 and from 00:00"
        )
    return begin, end


def day_matches(text: str, day: date) -> bool:
    """Whether ``text`` ("2026-12-24", or "12-25" for every year) names this day. Raises HoursError."""
    yearly = YEARLY.fullmatch(text)
    try:
        if yearly is not None:
            date(2024, int(yearly[1]), int(yearly[2]))  # a leap year has every day
            return (day.month, day.day) == (int(yearly[1]), int(yearly[2]))
        return date.fromisoformat(text) == day
    except ValueError:
        raise HoursError('write a day as "2026-12-24", or "12-25" for every year') from None


def given(hours: Mapping[str, Hours], centre_zone: str, now_ns: int) -> HoursGiven:
    """The boundaries of all hours, from the present day on."""
    return HoursGiven(
        {name: boundaries(each, each.time_zone or centre_zone, now_ns) for name, each in hours.items()}
    )


def boundaries(hours: Hours, zone_name: str, now_ns: int) -> tuple[Boundary, ...]:
    """Every change of state from the local midnight before ``now_ns`` on; the first one is at midnight."""
    zone = zoneinfo.ZoneInfo(zone_name)
    today = datetime.fromtimestamp(now_ns // 1_000_000_000, zone).date()
    found: list[Boundary] = []
    for offset in range(AHEAD_DAYS):
        day = today + timedelta(days=offset)
        for minute, state in _day(hours, day):
            at = datetime.combine(day + timedelta(days=minute // DAY_MINUTES), time(), zone)
            local = at.replace(hour=minute % DAY_MINUTES // 60, minute=minute % 60)
            _add(found, Boundary(round(local.astimezone(UTC).timestamp()) * 1_000_000_000, state))
    return tuple(found)


def _add(found: list[Boundary], boundary: Boundary) -> None:
    if found and found[-1].at_ns >= boundary.at_ns:
        found.pop()  # it lasted no time: a span that begins where another ends, or an hour the clock skips
    if not found or found[-1].state != boundary.state:
        found.append(boundary)


def _day(hours: Hours, day: date) -> list[tuple[int, OpenState]]:
    """Changes of one day, in minutes from its midnight."""
    special = next((spans for text, spans in hours.special.items() if day_matches(text, day)), None)
    holiday = special is None and any(day_matches(text, day) for text in hours.holidays)
    if holiday:
        return [(0, "holiday")]
    spans = special if special is not None else getattr(hours, WEEKDAYS[day.weekday()])
    found: list[tuple[int, OpenState]] = [(0, "closed")]
    for begin, end in sorted(span_of(text) for text in spans):
        found += [(begin, "open"), (end, "closed")]
    return found
