"""Caller ids that want to do harm: kept as they came, shown safely, and never logged."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from typing import NamedTuple

import pytest

from .centre import Centre, Row
from .harness import Call, rings

OUR_LETTERS = "0123456789+*#._-ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

BROKEN = "has invalid UTF-8 characters"
"""Asterisk itself warns of such a caller id, and quotes it; no setting stops that one line."""


class Hostile(NamedTuple):
    """A display name and the tail of a number; ``mark`` is a word in both that must not be in any log."""

    name: str
    number: str
    mark: str


CALLERS = {
    "markup": Hostile("<b>zorgon1</b>[red]x[/red]&lt;<script>alert(1)</script>", "<i>zorgon1</i>", "zorgon1"),
    "control bytes": Hostile("zorgon2 \x1b[2J\x1b]0;owned\x07\x08\x7f\x01", "zorgon2\x1b[31m\x07", "zorgon2"),
    "line breaks": Hostile("zorgon3", "zorgon3\r\nX-Evil: 1\r\n\r\n", "zorgon3"),
    "a formula": Hostile("=cmd|' /C zorgon4'!A0", "=1+1+zorgon4", "zorgon4"),
    "a formula behind blanks": Hostile("  @SUM(1+1)*zorgon5", "-2+3+zorgon5", "zorgon5"),
    "four thousand characters": Hostile("zorgon6" + "A" * 4_000, "zorgon6", "zorgon6"),
    "not utf-8": Hostile("zorgon7 \udcff\udcfe\udc80 \udcc3", "zorgon7\udcff", "zorgon7"),
    "other scripts": Hostile(
        "zorgon8 \u202eevil\u2066 \u0410\u043d\u043d\u0430 \U0001f4de", "zorgon8", "zorgon8"
    ),
    "quotes and SIP": Hostile('zorgon9" <sip:admin@evil>;tag="', "zorgon9;phone-context=x", "zorgon9"),
    "variables": Hostile("zorgon0 ${SYSTEM(id)} $[1+1] ,|&", "zorgon0${SHELL(id)}", "zorgon0"),
}


@pytest.mark.parametrize("kind", CALLERS)
async def test_a_hostile_caller_id_is_kept_and_shown_safely_to_agents(centre: Centre, kind: str) -> None:
    hostile = CALLERS[kind]
    alice = await centre.agent("alice", rings)
    call = await dials(centre, hostile, "250")
    leg = await alice.called()
    assert_fit_for_a_phone(leg.caller_name, leg.caller_number)
    assert hostile.mark in leg.caller_name + leg.caller_number
    (live,) = (await centre.view()).calls
    assert_printable(live.caller_name)
    assert_printable(live.caller_number)
    await call.hang_up()
    await leg.gone()
    await centre.settled()
    (person,) = await people(centre)
    assert hostile.mark in person["name"] + person["number"]
    assert hostile.mark not in centre.cordboard_log.text()
    assert not [line for line in centre.asterisk_log.lines() if hostile.mark in line and BROKEN not in line]


async def test_terminal_csv_and_json_are_safe_with_all_of_them(centre: Centre) -> None:
    calls = [await dials(centre, hostile, "400") for hostile in CALLERS.values()]
    watched = await centre.command("watch", "--once")
    assert "zorgon" in watched
    assert_printable(watched.replace("\n", ""))
    for call in calls:
        await call.hang_up()
    await centre.settled()
    persons = await people(centre)
    assert len(persons) == len(CALLERS)
    for person in persons:
        assert_printable((await centre.command("call", person["call_id"])).replace("\n", ""))
    table = await centre.command("report", "calls")
    assert_printable(table.replace("\n", ""))
    assert all(person["call_id"] in table for person in persons)
    as_json = json.loads(await centre.command("report", "calls", "--format", "json"))
    assert {person["name"] for person in persons} <= strings(as_json)
    as_csv = await centre.command("report", "calls", "--format", "csv")
    rows = list(csv.reader(io.StringIO(as_csv, newline="")))
    assert len({len(row) for row in rows}) == 1, "no name breaks out of its cell"
    for cell in (cell for row in rows for cell in row):
        assert not cell.lstrip(" \t\r\n").startswith(("=", "+", "-", "@")), cell
        assert not any(unicodedata.category(c) == "Cc" and c not in "\r\n\t" for c in cell), cell


async def dials(centre: Centre, hostile: Hostile, number: str) -> Call:
    """A caller with this caller id, answered."""
    centre.expected_in_log = [BROKEN]
    ann = await centre.caller("ann")
    call = await ann.dial(number, caller_name=hostile.name, caller_number=hostile.number)
    await call.answered()
    return call


async def people(centre: Centre) -> list[Row]:
    """Who called during this test."""
    return await centre.ledger(
        "SELECT p.* FROM people p JOIN calls c ON c.node = p.node AND c.call = p.call_id"
        " WHERE c.opened_ns >= %s",
        centre.since_ns,
    )


def assert_fit_for_a_phone(name: str, number: str) -> None:
    """What an agent's phone is told: the queue and one printable line, a number of plain letters."""
    assert name.startswith("Support: ")
    assert_printable(name)
    assert not set(name) & set('"<>\\')
    assert len(name) <= 60
    assert number == "anonymous" or set(number) <= set(OUR_LETTERS)


def assert_printable(text: str) -> None:
    """Nothing that moves a cursor, hides or turns text (ECMA-48, bidirectional overrides)."""
    bad = [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert bad == [], (bad, text)


def strings(value: object) -> set[str]:
    """Every string in a JSON document."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, dict):
        return {found for item in value.values() for found in strings(item)}
    if isinstance(value, list):
        return {found for item in value for found in strings(item)}
    return set()


async def test_a_log_holds_no_number_and_no_name(centre: Centre) -> None:
    alice, ann = await centre.agent("alice"), await centre.caller("ann")
    call = await ann.dial("200", caller_name="Zebulon Quimby")
    await call.answered()
    assert alice.tone is not None
    await call.ear.hears(alice.tone)
    await call.hang_up()
    row = await centre.row(call)
    await centre.settled()
    said = centre.cordboard_log.text()
    assert row["call"] in said, "the log tells of the call by its id"
    for log in (centre.cordboard_log, centre.asterisk_log):
        text = log.text()
        assert ann.account.user not in text, log.path.name
        assert ann.account.user.removeprefix("+") not in text, log.path.name
        assert "Zebulon" not in text, log.path.name
    events = await centre.ledger("SELECT body::text AS body FROM events")
    assert not any(ann.account.user in event["body"] or "Zebulon" in event["body"] for event in events)
