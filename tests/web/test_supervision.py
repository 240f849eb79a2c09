"""Supervisors' wishes over the control API, in front of a real floor: each is granted or refused in words."""

from __future__ import annotations

import asyncio
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from ari_app.cli import supervise, watch
from ari_app.core import messages as m
from ari_app.core.definition import Crisis
from ari_app.web.errors import Refused
from tests.web.conftest import serving
from tests.web.floor import DEFINITION, Room

RULED = msgspec.structs.replace(
    DEFINITION,
    crisis=Crisis("main"),
    queues={
        **DEFINITION.queues,
        "sales": msgspec.structs.replace(
            DEFINITION.queues["sales"],
            wrap_up="until_done",
            dispositions={"sold": "Sold", "none": "Nothing"},
            disposition_required=True,
            disposition_default="none",
        ),
    },
)


@pytest.fixture
def room() -> Room:
    room = Room()
    room.given(m.DefinitionGiven(RULED, "ruled"))
    room.asked("alice", "sign_in")
    return room


async def test_the_switch_is_thrown_and_seen(room: Room, path: Path) -> None:
    async with serving(room, path) as client:
        assert supervise.crisis.__doc__
        said = await asyncio.to_thread(supervise.crisis, path, on=True, queue="sales")
        assert said == "the emergency switch is on for queue sales"
        with pytest.raises(Refused, match="is on for queue sales already"):
            await asyncio.to_thread(supervise.crisis, path, on=True, queue="sales")
        with pytest.raises(Refused, match="no queue sails; there are: help, sales"):
            await asyncio.to_thread(supervise.crisis, path, on=True, queue="sails")
        view = await asyncio.to_thread(client.view)
        assert [(c.queue, c.by) for c in view.crisis] == [("sales", "terminal")]
        shown = StringIO()
        Console(file=shown, width=120).print(watch.frame(view, view.at_ns, watch.Size(120, 40)))
        assert "Emergency switch on: sales" in shown.getvalue()
        assert await asyncio.to_thread(supervise.departures, path) == (
            "queue sales: emergency switch off -> on (by terminal)\n"
        )
        await asyncio.to_thread(supervise.crisis, path, on=False, queue="sales")
    assert room.view().crisis == ()


async def test_an_agent_is_changed_and_the_difference_told(room: Room, path: Path) -> None:
    async with serving(room, path):
        said = await asyncio.to_thread(supervise.set_agent, path, "bob", "german=3", "help,sales")
        assert said == "bob has skills: german 3; queues: help, sales"
        assert await asyncio.to_thread(supervise.departures, path) == (
            "agent bob: skills none -> german 3 (by terminal)\n"
            "agent bob: queues sales -> help, sales (by terminal)\n"
        )
        with pytest.raises(Refused, match="no queue nowhere"):
            await asyncio.to_thread(supervise.set_agent, path, "bob", None, "nowhere")
        with pytest.raises(Refused, match='write "german=3,billing=5"'):
            await asyncio.to_thread(supervise.set_agent, path, "bob", "german", None)
        assert (
            await asyncio.to_thread(supervise.set_agent, path, "bob", None, None) == "bob is as the files say"
        )
        assert "as in the files" in await asyncio.to_thread(supervise.departures, path)


async def test_a_wrap_up_ends_with_what_came_of_the_call(room: Room, path: Path) -> None:
    call = room.caller()
    room.answered(call)
    leg = room.floor.state.calls[call].leg
    room.given(m.ChannelGone(leg))
    async with serving(room, path) as client:
        with pytest.raises(Refused, match="a disposition is needed: none, sold"):
            await asyncio.to_thread(client.act, "alice", "done")
        with pytest.raises(Refused, match="no disposition gold; there are: none, sold"):
            await asyncio.to_thread(client.act, "alice", "done", disposition="gold")
        with pytest.raises(Refused, match="cannot be made longer"):
            await asyncio.to_thread(client.act, "alice", "wrap_up")
        done = await asyncio.to_thread(client.act, "alice", "done", disposition="sold", note="callé")
        assert (done.said, done.agent.state) == ("alice: noted; ready", "ready")
    assert room.notes == {call: "callé"}
