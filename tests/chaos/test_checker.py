"""The checker notices what it is there for: the product is broken on purpose, and each time it says so."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.asterisk.harness import answers

from .campaign import Campaign
from .checker import Checker, Findings
from .load import Habit
from .world import AGENTS, World

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

SERVING = AGENTS[:2]
SAYS = {
    "drops_a_caller": r"LOST: .* was cut off",
    "forgets_a_bridge": r"Asterisk keeps bridge",
    "keeps_a_leg": r"Asterisk keeps channel",
    "loses_a_row": r"has 0 ends in the books",
    "tells_another_story": r"was ended by agent in the books, by its phone: us",
    "plays_nothing": r"heard nothing for \d+ ms",
    "connects_a_stranger": r"heard a stranger",
    "tears_the_talk": r"did not hear each other",
}
TOGETHER = (
    ("forgets_a_bridge", "loses_a_row", "plays_nothing"),
    ("keeps_a_leg", "tells_another_story", "connects_a_stranger"),
    ("drops_a_caller", "tears_the_talk"),
)
"""So that fewer loads are needed: none of them hides the others."""


@pytest_asyncio.fixture(loop_scope="session")
async def mended(campaign: Campaign) -> AsyncIterator[World]:
    """Afterwards Cordboard is whole again, and what the broken one left behind is gone."""
    made = campaign.world
    yield made
    await made.centre.rx("channel request hangup all")
    await made.stop()
    await made.start()
    await made.ready()
    await made.centre.settled(15)


async def judged(campaign: Campaign, tamper: str) -> Findings:
    """Five callers, two agents who answer; what the checker finds."""
    world = campaign.world
    await world.stop()
    await world.start(tamper)
    await world.ready()
    load = await campaign.load()
    for agent in set(AGENTS) - set(SERVING):
        await world.centre.act(agent, "sign_out")
    for phone in load.agents:
        phone.policy = answers(0.3)
    checker = Checker(world, load)
    for stay_s in (3, 3, 6, 6, 3):
        load.come(Habit("talks", "200", (stay_s, stay_s)))
        await asyncio.sleep(0.1)
    await load.end()
    return await checker.judge()


async def test_a_whole_product_has_no_problem(campaign: Campaign, mended: World) -> None:
    found = await judged(campaign, "")
    assert found.problems == []
    assert found.calls == 5
    assert len(found.gaps_ms) == found.outcomes["answered"] == 4
    assert found.outcomes["abandoned"] == 1


@pytest.mark.parametrize("broken", TOGETHER, ids="+".join)
async def test_a_broken_product_is_found_out(
    campaign: Campaign, mended: World, broken: tuple[str, ...]
) -> None:
    found = await judged(campaign, "+".join(broken))
    for each in broken:
        assert any(re.search(SAYS[each], problem) for problem in found.problems), (each, found.problems)
