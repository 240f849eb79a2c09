"""A dialplan of somebody's own on a real Asterisk asks our server, with Cordboard there and away."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ari_app.deploy.ports import free_port
from tests.agi.serving import Serving
from tests.asterisk.ari_rig import PrivateAsterisk

DOCS = Path(__file__).parents[2] / "docs" / "agi.md"
MODULES = ("res_speech", "res_agi", "res_clioriginate", "app_stack", "func_global", "func_uri")


def documented() -> str:
    """The dialplan of docs/agi.md, as an admin copies it."""
    return "\n".join(re.findall(r"^```ini\n(.*?)^```", DOCS.read_text(), re.M | re.S))


DIALPLAN = """
[general]
static=yes
[asking]
exten => queue,1,Gosub(cordboard-ask,s,1(billing))
 same => n,Set(GLOBAL(SEEN)=${CORDBOARD_WAITING},${CORDBOARD_READY},${CORDBOARD_OPEN},${AGISTATUS})
 same => n,Hangup()
exten => agent,1,AGI(agi://@AGI@/agent-state?agent=bob)
 same => n,Set(GLOBAL(SEEN)=${CORDBOARD_AGENT_STATE},${CORDBOARD_AGENT_READY},${AGISTATUS})
 same => n,Hangup()
exten => attach,1,Set(CUSTOMER=47 11&x=y)
 same => n,AGI(agi://@AGI@/attach?customer=${URIENCODE(${CUSTOMER})})
 same => n,Set(GLOBAL(SEEN)=${CORDBOARD_STATUS},${AGISTATUS},${UNIQUEID})
 same => n,Hangup()
exten => wrong,1,AGI(agi://@AGI@/queue-status?queue=nobody)
 same => n,Set(GLOBAL(SEEN)=${CORDBOARD_STATUS},${CORDBOARD_ERROR},${AGISTATUS})
 same => n,Hangup()
exten => wait,1,Wait(20)
"""


class Pbx:
    def __init__(self, asterisk: PrivateAsterisk) -> None:
        self.asterisk = asterisk

    def rx(self, command: str) -> str:
        assert self.asterisk.server is not None
        return self.asterisk.server.rx(command)

    def dials(self, extension: str, limit_s: float = 10) -> str:
        """What the dialplan has seen in the end."""
        self.rx("dialplan set global SEEN nothing")
        self.rx(f"channel originate Local/{extension}@asking extension wait@asking")
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            found = re.search(r"SEEN=(.*)", self.rx("dialplan show globals"))
            if found and found[1].strip() != "nothing":
                return found[1].strip()
            time.sleep(0.05)
        raise AssertionError(f"the dialplan never came to its end: {extension}")


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def pbx(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Pbx]:
    asterisk = PrivateAsterisk(tmp_path_factory.mktemp("agi"))
    asterisk.write()
    etc = asterisk.folder / "etc"
    text = (DIALPLAN + documented()).replace("@AGI@", f"127.0.0.1:{port}")
    text = text.replace("agi://127.0.0.1/", f"agi://127.0.0.1:{port}/")
    asterisk.start()
    try:
        (etc / "extensions.conf").write_text(text)
        pbx = Pbx(asterisk)
        for module in MODULES:
            pbx.rx(f"module load {module}.so")
        pbx.rx("dialplan reload")
        assert "res_agi.so" in pbx.rx("module show like res_agi")
        yield pbx
    finally:
        asterisk.kill()


@pytest.fixture
def cordboard(port: int) -> Iterator[Serving]:
    with Serving(port) as serving:
        yield serving


def test_the_documented_example_sees_the_queue(pbx: Pbx, cordboard: Serving) -> None:
    assert pbx.dials("queue") == "3,1,1,SUCCESS"


def test_an_agents_state(pbx: Pbx, cordboard: Serving) -> None:
    assert pbx.dials("agent") == "wrap_up,0,SUCCESS"


def test_attributes_are_kept_for_the_channel_and_survive_their_own_text(pbx: Pbx, cordboard: Serving) -> None:
    status, agi_status, channel = pbx.dials("attach").split(",")
    assert (status, agi_status) == ("OK", "SUCCESS")
    assert cordboard.desk.attached == {channel: {"customer": "47 11&x=y"}}


def test_what_is_wrong_is_told_in_variables(pbx: Pbx, cordboard: Serving) -> None:
    assert pbx.dials("wrong") == "ERROR,no such queue,SUCCESS"


def test_with_cordboard_away_the_example_has_its_defaults_at_once(pbx: Pbx) -> None:
    began = time.monotonic()
    assert pbx.dials("queue") == "0,0,0,FAILURE"
    assert time.monotonic() - began < 2


def test_with_cordboard_stuck_the_example_has_its_defaults_in_time(pbx: Pbx, cordboard: Serving) -> None:
    began = time.monotonic()
    release = cordboard.stall()
    timer = threading.Timer(4, release)
    timer.start()
    try:
        assert pbx.dials("queue") == "0,0,0,SUCCESS"
        assert time.monotonic() - began < 3
    finally:
        timer.cancel()
        release()
