"""Cordboard added to an Asterisk with a life of its own: dialplan, phones, queue, ARI and AMI users.

It runs first without Cordboard. Then the rendered files are included and reloaded, as docs/existing-pbx.md
says; from then on both must work, and nothing that was there may have changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from ari_app.cli.render import render
from ari_app.config import load
from ari_app.deploy.asterisk import AsteriskServer
from ari_app.deploy.child import Child
from ari_app.deploy.existing import HOSTS, needed_modules, render_existing
from ari_app.deploy.ports import free_port
from ari_app.deploy.render import RenderError
from ari_app.secrets_file import Secrets
from ari_app.settings import control_path
from ari_app.web.client import ControlClient
from ari_app.web.errors import NoAnswer, NotRunning

from .harness import Account, Call, Phone, PhoneRoom
from .harness.programs import asterisk_program

HOST = "127.0.0.1"
PROVIDER_HOST = "127.0.0.4"
PASSWORD = "theirs-and-not-ours"
PHONES = ("201", "202", "203", "204")

ASTERISK_CONF = """
[directories]
astetcdir = {etc}
astmoddir = {modules}
astdatadir = {data}
astvarlibdir = {top}/var
astkeydir = {top}/var
astagidir = {top}/agi
astdbdir = {top}/db
astspooldir = {top}/spool
astrundir = {top}/run
astlogdir = {top}/log
astsbindir = /usr/sbin
[options]
documentation_language = en_US
"""
FOREIGN = {
    # Everything is loaded, as in most PBXs; what is off has no hardware or clashes over fixed ports.
    "modules.conf": """
[modules]
autoload = yes
noload = chan_iax2.so
noload = chan_unistim.so
noload = pbx_dundi.so
noload = res_hep.so
noload = res_snmp.so
noload = res_xmpp.so
noload = chan_motif.so
noload = chan_console.so
noload = app_jack.so
noload = pbx_lua.so
""",
    "logger.conf": "[general]\n[logfiles]\nmessages.log => notice,warning,error\n",
    "http.conf": "[general]\nenabled = yes\nbindaddr = 127.0.0.1\nbindport = {http}\n",
    "ari.conf": """
[general]
enabled = yes
[crm]
type = user
password = {password}
""",
    "manager.conf": """
[general]
enabled = yes
bindaddr = 127.0.0.1
port = {ami}
[panel]
secret = {password}
read = call
write = originate
""",
    "musiconhold.conf": "[default]\nmode = files\ndirectory = moh\n",
    "queues.conf": """
[general]
persistentmembers = no
[desk]
strategy = ringall
timeout = 20
member => PJSIP/203
""",
    "rtp.conf": "[general]\nrtpstart = {rtp}\nrtpend = {rtp_end}\n",
    "voicemail.conf": "[general]\n[default]\n202 => 1234,Their own\n",
    "indications.conf": "[general]\ncountry = us\n[us]\nring = 440+480/2000,0/4000\n",
    "extensions.conf": """
[general]
autofallthrough = yes
[globals]
THEIRS = kept
[internal]
exten => _20X,1,Dial(PJSIP/${{EXTEN}},20)
 same => n,Hangup()
exten => 500,1,Answer()
 same => n,Queue(desk)
 same => n,Hangup()
exten => 700,1,Answer()
 same => n,Stasis(crm-application)
 same => n,Hangup()
[from-trunk]
exten => 900,1,Goto(internal,500,1)
""",
    "pjsip.conf": """
[global]
type = global
endpoint_identifier_order = ip,username
[udp]
type = transport
protocol = udp
bind = 127.0.0.1:{sip}
[provider]
type = endpoint
context = from-trunk
disallow = all
allow = ulaw
[provider]
type = identify
endpoint = provider
match = 127.0.0.4
""",
}
ENDPOINT = """
[{name}]
type = endpoint
context = internal
disallow = all
allow = ulaw,alaw
aors = {name}
auth = {name}
[{name}]
type = aor
max_contacts = 2
[{name}]
type = auth
auth_type = userpass
username = {name}
password = {password}
"""
DEFINITION = """
[numbers]
"100" = "main"
"+493012345" = "main"
[codes]
sign_in = "*21"
sign_out = "*22"
pause = "*23"
resume = "*24"
[flows.main]
start = "sales"
[flows.main.nodes.sales]
kind = "queue"
queue = "sales"
[queues.sales]
name = "Sales"
ring_timeout_s = 5
wrap_up_s = 0
[agents.bob]
name = "Bob"
endpoint = "201"
queues = ["sales"]
"""


@dataclass
class Pbx:
    """The foreign Asterisk, and Cordboard beside it."""

    server: AsteriskServer
    folder: Path
    etc: Path
    sip_port: int
    http_port: int
    ami_port: int
    state: Path
    before: dict[str, str]
    """What it said of itself before anything was added."""
    files: dict[str, str]
    """Each of its files (of which none is ours) as a hash, once our lines were added."""
    said: str
    """What ``cordboard render`` printed."""

    def account(self, name: str) -> Account:
        return Account(name, HOST, self.sip_port, PASSWORD)

    @property
    def control(self) -> ControlClient:
        return ControlClient(control_path(self.state))

    def theirs(self) -> dict[str, str]:
        """What the PBX says of what is its own."""
        asked = (
            "dialplan show _20X@internal",
            "dialplan show 500@internal",
            "dialplan show 900@from-trunk",
            "dialplan show globals",
            "pjsip show endpoint 202",
            "pjsip show endpoint provider",
            "pjsip show aor 201",
            "ari show user crm",
            "manager show user panel",
            "moh show classes",
        )
        found = {command: self.server.rx(command) for command in asked}
        # Lines have moved within a file, and that is all.
        found = {command: re.sub(r"\[[a-z]+\.conf:\d+\]", "", said) for command, said in found.items()}
        # Where Asterisk shows all there is, ours are the only ones that may have come in.
        found["moh show classes"] = found["moh show classes"].partition("Class: cordboard-entry")[0]
        return found

    def hashes(self) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self.etc.iterdir()}


def write_foreign(top: Path, ports: dict[str, int]) -> Path:
    program = asterisk_program()
    etc = top / "etc"
    for name in ("etc", "var", "agi", "db", "spool", "run", "log"):
        (top / name).mkdir(parents=True)
    conf = ASTERISK_CONF.format(etc=etc, modules=program.module_dir, data=program.data_dir, top=top)
    (etc / "asterisk.conf").write_text(conf)
    for name, text in FOREIGN.items():
        (etc / name).write_text(text.format(password=PASSWORD, **ports))
    with (etc / "pjsip.conf").open("a") as opened:
        for phone in PHONES:
            opened.write(ENDPOINT.format(name=phone, password=PASSWORD))
    return etc


def add_cordboard(etc: Path, rendered: Path) -> None:
    """By hand, as the page says: copy, one #include each, two lines in the context of theirs."""
    for ours in rendered.iterdir():
        shutil.copy(ours, etc / ours.name)
    for ours_name, their_name in HOSTS["asterisk"].items():
        if (rendered / ours_name).exists() and ours_name != "modules_cordboard.conf":
            with (etc / their_name).open("a") as opened:
                opened.write(f"#include {ours_name}\n")
    dialplan = (etc / "extensions.conf").read_text()
    doors = "include => cordboard-numbers\n"
    dialplan = dialplan.replace("[internal]\n", f"[internal]\n{doors}include => cordboard-codes\n")
    dialplan = dialplan.replace("[from-trunk]\n", f"[from-trunk]\n{doors}")
    (etc / "extensions.conf").write_text(dialplan)


def cordboard(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ari_app", *words], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def pbx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pbx]:
    folder = tmp_path_factory.mktemp("foreign")
    sip_port = free_port("udp")
    rtp = 32_000 + sip_port % 100 * 100
    ports = {"sip": sip_port, "http": free_port(), "ami": free_port(), "rtp": rtp, "rtp_end": rtp + 98}
    etc = write_foreign(folder / "a", ports)
    server = AsteriskServer(asterisk_program(), etc)
    server.start()
    made = Pbx(server, folder, etc, sip_port, ports["http"], ports["ami"], folder / "s", {}, {}, "")
    try:
        made.before = made.theirs()
        (folder / "definition").mkdir()
        (folder / "definition/centre.toml").write_text(DEFINITION)
        made.said = cordboard(
            *("render", str(folder / "definition"), str(folder / "rendered"), "--existing", "asterisk"),
            *("--state-dir", str(made.state), "--recordings", str(folder / "recordings")),
            *("--ari-url", f"http://{HOST}:{made.http_port}/ari", "--ami-port", str(made.ami_port)),
        )
        (folder / "recordings").mkdir()
        add_cordboard(etc, folder / "rendered")
        server.rx("core reload")
        made.files = made.hashes()
        yield made
    finally:
        server.stop()


@asynccontextmanager
async def running_cordboard(pbx: Pbx) -> AsyncIterator[Child]:
    child = Child(
        "Cordboard",
        [sys.executable, "-m", "ari_app", "run", "--state-dir", str(pbx.state)],
        log=pbx.folder / "cordboard.log",
        environment={key: value for key, value in os.environ.items() if key != "DATABASE_URL"},
    )
    child.start()
    try:
        await is_ready(pbx)
        yield child
    finally:
        await asyncio.to_thread(child.stop, 10.0)


async def is_ready(pbx: Pbx) -> None:
    async def ready() -> bool:
        try:
            answer = await asyncio.to_thread(pbx.control.ready)
        except (NotRunning, NoAnswer):
            return False
        return answer.ready() and answer.ami

    await until(ready, "Cordboard is ready", 15)


async def until(condition: Callable[[], Awaitable[bool]], what: str, within_s: float = 8.0) -> None:
    end = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < end, f"not in {within_s} s: {what}"
        await asyncio.sleep(0.05)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[PhoneRoom]:
    async with PhoneRoom(tmp_path / "captures") as room:
        yield room


async def phone(pbx: Pbx, room: PhoneRoom, name: str) -> Phone:
    return await room.phone(name, pbx.account(name), register=True)


async def hear_each_other(one: Call, other: Call) -> None:
    assert one.phone.tone is not None
    assert other.phone.tone is not None
    await asyncio.gather(one.ear.hears(other.phone.tone), other.ear.hears(one.phone.tone))


async def their_call(caller: Phone, called: Phone) -> tuple[Call, Call]:
    """One of their phones rings another by their dialplan."""
    call = await caller.dial(called.name)
    rung = await called.called()
    await call.answered()
    await hear_each_other(call, rung)
    return call, rung


# ---------------------------------------------------------------- on a PBX that runs


async def test_what_was_there_is_as_it_was(pbx: Pbx) -> None:
    after = pbx.theirs()
    assert after == pbx.before
    assert "cordboard" in pbx.server.rx("ari show users")
    assert "cordboard" in pbx.server.rx("manager show users")


async def test_an_agents_endpoint_differs_in_what_the_page_says_and_in_nothing_else(pbx: Pbx) -> None:
    agent, other = (options(pbx.server.rx(f"pjsip show endpoint {name}")) for name in ("201", "202"))
    differing = {name: agent[name] for name in agent if agent[name] != other[name].replace("202", "201")}
    assert differing == {"allow_transfer": "false", "direct_media": "false", "send_connected_line": "no"}


def options(shown: str) -> dict[str, str]:
    """``allow : (ulaw)`` and so on, of a PJSIP object."""
    rows = shown.partition("ParameterName")[2].splitlines()
    return {row.split(":", 1)[0].strip(): row.split(":", 1)[1].strip() for row in rows if " : " in row}


async def test_their_calls_their_queue_and_ours_go_on_side_by_side(pbx: Pbx, room: PhoneRoom) -> None:
    bob, carl, dora, eve = [await phone(pbx, room, name) for name in PHONES]
    async with running_cordboard(pbx):
        # Theirs: a direct call, and their queue.
        direct, direct_rung = await their_call(carl, eve)
        outside = await room.phone("outside", Account("+4917012345", HOST, pbx.sip_port), host=PROVIDER_HOST)
        queued = await outside.dial("900")
        served = await dora.called()
        await hear_each_other(queued, served)
        # Ours: the agent signs in on their phone, by a code and a PIN.
        await sign_in(pbx, bob)
        second = await room.phone("second", Account("+4917067890", HOST, pbx.sip_port), host=PROVIDER_HOST)
        ours = await second.dial("+493012345")
        await ours.answered()
        answered = await bob.called()
        assert answered.caller_number.endswith("4917067890")
        await hear_each_other(ours, answered)
        # Theirs are undisturbed.
        await asyncio.gather(hear_each_other(direct, direct_rung), hear_each_other(queued, served))
        assert re.search(r"PJSIP/203 .*\(in call\)", pbx.server.rx("queue show desk"))
        await asyncio.sleep(1.5)
        for call in (ours, queued, direct):
            assert call.up
            await call.hang_up()
        await until(lambda: recorded(pbx), "the recording is whole")
        # Their phone of our agent is still theirs, too.
        call, _ = await their_call(carl, bob)
        await call.hang_up()
    assert pbx.hashes() == pbx.files, "Cordboard wrote into the PBX's configuration"


async def test_their_calls_and_bridges_outlive_cordboards_death_and_return(pbx: Pbx, room: PhoneRoom) -> None:
    carl, eve = await phone(pbx, room, "202"), await phone(pbx, room, "204")
    credentials = aiohttp.encode_basic_auth("crm", PASSWORD)
    async with (
        aiohttp.ClientSession(
            f"http://{HOST}:{pbx.http_port}", headers={"Authorization": credentials}
        ) as crm,
        crm.ws_connect("/ari/events?app=crm-application"),
    ):
        async with crm.post("/ari/bridges/crm-bridge", params={"type": "mixing"}) as made:
            assert made.status == 200
        in_stasis = await eve.dial("700")
        await in_stasis.answered()
        call, rung = await their_call(carl, await phone(pbx, room, "203"))
        async with running_cordboard(pbx) as child:
            child.kill()
            child.start()
            await is_ready(pbx)
            await asyncio.sleep(1)
            assert in_stasis.up
            await hear_each_other(call, rung)
            async with crm.get("/ari/bridges/crm-bridge") as kept:
                assert kept.status == 200
        await hear_each_other(call, rung)
        async with crm.delete("/ari/bridges/crm-bridge") as gone:
            assert gone.status == 204
        await call.hang_up()
        await in_stasis.hang_up()


async def test_without_cordboard_callers_hear_music_and_the_rest_works(pbx: Pbx, room: PhoneRoom) -> None:
    carl, eve = await phone(pbx, room, "202"), await phone(pbx, room, "204")
    waiting = await carl.dial("100")
    await waiting.answered()
    await waiting.ear.hears_other()
    await waiting.hang_up()
    call, _ = await their_call(carl, eve)
    await call.hang_up()


async def test_cordboard_may_not_do_more_than_it_must(pbx: Pbx) -> None:
    shown = pbx.server.rx("manager show user cordboard")
    assert "write perm: system,call" in " ".join(shown.split())
    for name in ("ari_cordboard.conf", "manager_cordboard.conf"):
        assert (pbx.folder / "rendered" / name).stat().st_mode & 0o777 == 0o600


def test_the_modules_named_are_all_there_and_enough(pbx: Pbx) -> None:
    loaded = pbx.server.rx("module show")
    assert [name for name in needed_modules() if name not in loaded] == []


async def sign_in(pbx: Pbx, agent: Phone) -> None:
    pin = load_secrets(pbx).pins["bob"]
    code = await agent.dial("*21")
    await code.answered()
    await code.ear.hears_other()
    await code.press(f"{pin}#")

    async def ready() -> bool:
        seen = (await asyncio.to_thread(pbx.control.view)).agent("bob")
        return seen is not None and seen.state == "ready"

    await code.gone(within_s=8)
    await until(ready, "bob is ready")


def load_secrets(pbx: Pbx) -> Secrets:
    loaded = load(pbx.folder / "definition")
    return Secrets.load_or_create(pbx.state / "secrets.toml", loaded.site, ("bob",))


async def recorded(pbx: Pbx) -> bool:
    found = list((pbx.folder / "recordings").glob("*"))
    return bool(found) and all(path.suffix == ".wav" for path in found)


# ---------------------------------------------------------------- what is rendered


def test_the_page_names_each_file_and_its_place() -> None:
    page = (Path(__file__).parents[2] / "docs/existing-pbx.md").read_text()
    for name in HOSTS["freepbx"]:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        assert [cell.strip(" `") for cell in row.split("|")[2:4]] == [
            HOSTS[kind][name] for kind in ("asterisk", "freepbx")
        ]


def test_freepbx_is_warned_of_codes_that_are_its_own(tmp_path: Path) -> None:
    for folder, code in (("theirs", "*11"), ("free", "*181")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "centre.toml").write_text(DEFINITION.replace("*21", code))
        said = render(tmp_path / folder, tmp_path / "out", "freepbx", tmp_path / folder / "state")
        assert ("User Logon" in said) == (code == "*11")
        assert "ari_additional_custom.conf" in said
        assert "modules_cordboard.conf" not in said


def test_the_steps_are_told(pbx: Pbx) -> None:
    for ours in (pbx.folder / "rendered").iterdir():
        assert ours.name in pbx.said
    assert "include => cordboard-codes" in pbx.said
    runtime = pbx.state / "runtime.json"
    assert runtime.stat().st_mode & 0o777 == 0o600
    assert json.loads(runtime.read_text())["ami_port"] == pbx.ami_port


def rendered(folder: Path, text: str, kind: str) -> Path:
    (folder / "definition").mkdir()
    (folder / "definition/centre.toml").write_text(text)
    loaded = load(folder / "definition")
    secrets = Secrets.load_or_create(folder / "secrets.toml", loaded.site, tuple(loaded.definition.agents))
    render_existing(loaded, secrets, folder / "out", "freepbx" if kind == "freepbx" else "asterisk")
    return folder / "out"


def test_freepbx_gets_files_that_it_never_writes_itself(tmp_path: Path) -> None:
    out = rendered(tmp_path, DEFINITION, "freepbx")
    assert {path.name for path in out.iterdir()} == set(HOSTS["freepbx"])
    assert all("_custom" in name for name in HOSTS["freepbx"].values())


@pytest.mark.parametrize(
    ("old", "new", "kind", "words"),
    [
        ('endpoint = "201"', 'phone = "bob"\n[phones.bob]', "asterisk", "agents.bob"),
        ("[numbers]", '[fallback]\nkind = "voicemail"\n[numbers]', "freepbx", "fallback.kind"),
        (
            "[numbers]",
            '[fallback]\nkind = "dial"\ntarget = "x"\n[phones.x]\n[numbers]',
            "asterisk",
            "message",
        ),
    ],
)
def test_what_an_existing_pbx_cannot_have_is_refused(
    tmp_path: Path, old: str, new: str, kind: str, words: str
) -> None:
    text = DEFINITION.replace(old, new)
    if "[phones.bob]" in text:
        text = text.replace('[phones.bob]\nqueues = ["sales"]', 'queues = ["sales"]\n[phones.bob]')
    with pytest.raises(RenderError, match=words):
        rendered(tmp_path, text, kind)


def test_a_mailbox_of_its_own_comes_with_the_fallback_that_asks_for_it(tmp_path: Path) -> None:
    out = rendered(tmp_path, f'[fallback]\nkind = "voicemail"\n{DEFINITION}', "asterisk")
    assert "fallback => " in (out / "voicemail_cordboard.conf").read_text()
    assert "VoiceMail(fallback@cordboard" in (out / "extensions_cordboard.conf").read_text()
    assert "app_voicemail.so" in (out / "modules_cordboard.conf").read_text()
