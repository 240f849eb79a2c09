"""The short form of ``./scripts/bench chaos``: most faults once, with callers and agents who misbehave."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .campaign import Campaign
from .long_faults import ALL

pytestmark = pytest.mark.asyncio(loop_scope="session")

IN_BRIEF = (
    "killed",
    "wire_cut",
    "frozen",
    "disk_full",
    "doubled",
    "poisoned",
    "killed",
    "shipper_killed",
    "postgres_killed",
    "half_open",
    "two_at_once",
)


@pytest.mark.timeout(240)
async def test_nobody_is_lost_whatever_fails(campaign: Campaign) -> None:
    by_name = {fault.name: fault for fault in ALL}
    faults = [by_name[name] for name in IN_BRIEF]
    campaign.world.dice.shuffle(faults)
    result = await campaign.mixed("mixed", faults, misdeeds=True)
    print(f"figure: {result.figures()}", *result.problems, sep="\n")
    assert result.problems == []
    found = result.findings
    assert found.calls > 20
    assert (found.lost, found.duplicated) == (0, 0)
    assert len(found.gaps_ms) > 5, "people talked meanwhile"


@pytest.mark.timeout(120)
async def test_one_call_alone_fails_and_it_dies_in_the_middle_of_a_step(campaign: Campaign) -> None:
    by_name = {fault.name: fault for fault in ALL}
    first = replace(by_name["core_broken"], tamper="breaks_the_core+dies")
    result = await campaign.mixed("core_broken, killed_at_step", [first, by_name["killed_at_step"]])
    print(f"figure: {result.figures()}")
    assert result.problems == []


@pytest.mark.timeout(120)
async def test_asterisk_itself_fails(campaign: Campaign) -> None:
    fault = next(fault for fault in ALL if fault.name == "asterisk_killed")
    result = await campaign.round(fault, 1)
    print(f"figure: {result.figures()}")
    assert result.problems == []
