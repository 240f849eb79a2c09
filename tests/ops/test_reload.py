"""A new definition under live calls: what changes, what does not, and what is refused whole."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ari_app.settings import control_path
from ari_app.web.client import ControlClient
from tests.asterisk.centre import Centre, Plan
from tests.asterisk.conftest import Running
from tests.asterisk.harness import Call, rings

PLAN = Plan(agents=("alice", "bob"))
ZOE = """
[agents.zoe]
name = "Zoe"
phone = "zoe"
queues = ["sales"]
[phones.zoe]
"""


class Text:
    """The definition's one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> str:
        return self.path.read_text()

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def change(self, old: str, new: str) -> None:
        assert old in self.read()
        self.write(self.read().replace(old, new))

    def add(self, more: str) -> None:
        self.write(self.read() + more)

    def remove(self, *tables: str) -> None:
        """Take out the tables whose header begins with one of these."""
        parts = self.read().split("\n[")
        self.write("\n[".join(part for part in parts if not part.startswith(tables)))

    def line_of(self, text: str) -> int:
        return 1 + self.read().splitlines().index(text)


@pytest.fixture(autouse=True)
def definition(running: Running) -> Iterator[Text]:
    """After the test (and after its phones are gone) it is what it was, and Cordboard has it."""
    text = Text(running.stack.options.definition / "centre.toml")
    before = text.read()
    yield text
    text.write(before)
    ControlClient(control_path(running.stack.state_dir)).reload()


def run(centre: Centre, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ari_app", "reload", *words, "--state-dir", str(centre.stack.state_dir)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def reload(centre: Centre, *words: str) -> str:
    done = await asyncio.to_thread(run, centre, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def refused(centre: Centre, *words: str) -> str:
    done = await asyncio.to_thread(run, centre, *words)
    assert done.returncode == 2, done.stdout
    assert "nothing was changed" in done.stderr
    return done.stderr


async def talk(centre: Centre, number: str = "200") -> tuple[Call, Call]:
    alice, ann = await centre.agent("alice", rings), await centre.caller("ann")
    call = await ann.dial(number)
    leg = await alice.called()
    await leg.answer()
    await centre.call_is(call, "talking")
    return call, leg


async def still_heard(call: Call, leg: Call) -> None:
    assert leg.phone.tone is not None
    assert call.phone.tone is not None
    await asyncio.gather(call.ear.hears(leg.phone.tone), leg.ear.hears(call.phone.tone))


async def test_a_dry_run_tells_and_changes_nothing(centre: Centre, definition: Text) -> None:
    assert "nothing to do" in await reload(centre)
    definition.add(ZOE)
    said = await reload(centre, "--dry-run")
    assert [line for line in said.splitlines() if not line.startswith("warning")] == [
        "agent zoe: added",
        "phone zoe: added",
        "these would change; nothing was changed (cordboard reload applies them)",
    ]
    assert (await centre.view()).agent("zoe") is None
    assert "zoe" not in (centre.stack.state_dir / "secrets.toml").read_text()


async def test_an_agent_and_a_number_that_are_added_serve_at_once(centre: Centre, definition: Text) -> None:
    definition.add(ZOE)
    definition.change('"400" = "deserted"', '"400" = "deserted"\n"500" = "straight"')
    definition.change('"300", "400"]', '"300", "400", "500"]')
    assert "applied" in await reload(centre)
    centre.__post_init__()  # the secrets have grown
    zoe, ann = await centre.agent("zoe", rings), await centre.caller("ann")
    call = await ann.dial("500")
    leg = await zoe.called()
    await leg.answer()
    await centre.call_is(call, "talking")
    await call.hang_up()
    await centre.agent_is("zoe", "wrap_up", "ready")
    await centre.act("zoe", "sign_out")
    await centre.settled()


async def test_what_only_a_restart_can_change_is_named(centre: Centre, definition: Text) -> None:
    definition.change(
        "tcp = false", 'tcp = false\nexternal_address = "203.0.113.9"\nlocal_nets = ["192.168.0.0/16"]'
    )
    assert "restart it when no calls are up" in await centre.command("reload")


async def test_a_wrong_definition_is_refused_whole(centre: Centre, definition: Text) -> None:
    definition.add(ZOE)
    definition.change('queues = ["sales"]\n[phones.zoe]', 'queues = ["slaes"]\n[phones.zoe]')
    line = definition.line_of('queues = ["slaes"]')
    said = await refused(centre)
    assert f"{definition.path}:{line}: agents.zoe.queues[0]: names the queue 'slaes'" in said
    assert 'did you mean "sales"?' in said
    assert (await centre.view()).agent("zoe") is None
    assert "zoe" not in await centre.rx("pjsip show endpoints")


async def test_what_cannot_be_rendered_is_refused_whole(centre: Centre, definition: Text) -> None:
    definition.add(ZOE)
    definition.add('[trunks.other]\nserver = "192.0.2.1"\nusername = "u"\nsecret_env = "NOT_SET"\n')
    assert "set the environment variable NOT_SET" in await refused(centre)
    assert (await centre.view()).agent("zoe") is None
    assert "zoe" not in await centre.rx("pjsip show endpoints")


async def test_sighup_reloads_and_a_wrong_definition_is_only_logged(centre: Centre, definition: Text) -> None:
    definition.add(ZOE)
    centre.cordboard.send(signal.SIGHUP)

    async def there() -> bool:
        return (await centre.view()).agent("zoe") is not None

    await centre.until(there, "zoe is known")
    centre.expected_in_log.append("definition not reloaded")
    definition.add("nonsense")
    centre.cordboard.send(signal.SIGHUP)

    async def logged() -> bool:
        return "definition not reloaded" in centre.cordboard_log.text()

    await centre.until(logged, "the refusal is in the log")
    assert (await centre.view()).agent("zoe") is not None


async def test_a_talk_survives_that_all_it_came_by_is_removed(centre: Centre, definition: Text) -> None:
    call, leg = await talk(centre)
    definition.add(ZOE.replace("sales", "support"))
    for number in ('"200" = "straight"\n', '"100" = "main"\n', '"300" = "talkative"\n'):
        definition.change(number, "")
    definition.remove("flows.main", "flows.straight]", "flows.straight.", "flows.talkative", "queues.sales")
    definition.remove("agents.alice")
    definition.change('"sales", "support"', '"support"')
    definition.change('"100", "200", "250", "300", "400"', '"250", "400"')
    said = await reload(centre)
    assert "queue sales: removed" in said
    assert "agent alice: removed" in said
    await still_heard(call, leg)
    assert (await centre.agent_view("alice")).after == "signed_out"
    await call.hang_up()
    await leg.gone()
    await centre.agent_is("alice", "signed_out", "wrap_up")
    await centre.settled()
    row = await centre.row(call)
    assert (row["queue"], row["outcome"]) == ("sales", "answered")


async def test_a_queue_with_a_caller_in_it_cannot_be_removed(centre: Centre, definition: Text) -> None:
    ann = await centre.caller("ann")
    call = await ann.dial("400")
    await centre.call_is(call, "waiting")
    definition.change('"400" = "deserted"\n', "")
    definition.change(', "400"]', "]")
    definition.remove("flows.deserted", "queues.nobody")
    assert "queues.nobody: 1 waiting in it" in await refused(centre)
    assert "queues.nobody: 1 waiting in it" in await refused(centre, "--dry-run")
    await centre.call_is(call, "waiting")
    await call.hang_up()
    await centre.settled()
    assert "queue nobody: removed" in await reload(centre)


async def test_a_caller_whose_menu_is_removed_goes_to_the_fallback(centre: Centre, definition: Text) -> None:
    ann = await centre.caller("ann")
    call = await ann.dial("100")
    await call.answered()
    definition.change('"100" = "main"\n', "")
    definition.change('"100", ', "")
    definition.remove("flows.main")
    await reload(centre)
    row = await centre.row(call)
    assert row["outcome"] == "fallback"
    await call.gone(within_s=30)
