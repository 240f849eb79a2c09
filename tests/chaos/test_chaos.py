"""The short form of ``./scripts/bench chaos``: most faults once, with callers and agents who misbehave."""

from __future__ import annotations

import pytest

from .campaign import Campaign
from .faults import FAULTS

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
)


@pytest.mark.timeout(240)
async def test_nobody_is_lost_whatever_fails(campaign: Campaign) -> None:
    by_name = {fault.name: fault for fault in FAULTS}
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
@pytest.mark.parametrize("name", ["core_broken", "asterisk_killed"])
async def test_one_call_alone_or_asterisk_itself_fails(campaign: Campaign, name: str) -> None:
    fault = next(fault for fault in FAULTS if fault.name == name)
    result = await campaign.round(fault, 1)
    print(f"figure: {result.figures()}", *result.problems, sep="\n")
    assert result.problems == []
