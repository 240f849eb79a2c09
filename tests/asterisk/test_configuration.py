"""The rendered configuration on a real Asterisk: it loads without a word, refuses what it should, and keeps
callers company while Cordboard is away. No Cordboard runs here, at most a bare websocket in its place."""

import asyncio
import math
import re
import struct
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns
from typing import Any

import aiohttp
import msgspec
import pytest

from ari_app.deploy import render as render_module
from ari_app.deploy.asterisk import AsteriskServer
from ari_app.deploy.existing import needed_modules
from ari_app.deploy.ports import free_port
from ari_app.deploy.render import Rendered, RenderOptions, render_folder

from .harness import Account, PhoneRoom, answers
from .harness.programs import asterisk_program
from .harness.sip import SipError

PROVIDER_HOST = "127.0.0.3"
AWAY_S = 3

CENTRE = """
[centre]
absolute_timeout_s = 10
[numbers]
"100" = "main"
"+493012345" = "main"
[flows.main]
start = "end"
[flows.main.nodes.end]
kind = "hangup"
[agents.alice]
name = "Alice"
phone = "alice"
[phones.alice]
[phones.ann]
role = "caller"
[trunks.provider]
server = "127.0.0.3"
match = ["127.0.0.3/32"]
numbers = ["+493012345"]
"""


@dataclass
class Exchange:
    server: AsteriskServer
    rendered: Rendered
    render_again: Callable[[], Rendered]

    def account(self, name: str, password: str | None = None) -> Account:
        secrets = {phone.name: phone.secret for phone in self.rendered.phones}
        return Account(name, "127.0.0.1", self.rendered.sip_port, password or secrets.get(name))

    def log(self) -> str:
        return (self.rendered.log_dir / "messages.log").read_text()

    def ari(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            f"http://127.0.0.1:{self.rendered.http_port}",
            headers={"Authorization": aiohttp.encode_basic_auth("cordboard", self.rendered.ari_password)},
        )

    @asynccontextmanager
    async def application(self) -> AsyncIterator[list[dict[str, Any]]]:
        """Something that answers to the name of Cordboard; what Asterisk tells it."""
        events: list[dict[str, Any]] = []
        async with self.ari() as session, session.ws_connect("/ari/events?app=cordboard") as socket:
            reader = asyncio.create_task(_read(socket, events))
            yield events
            reader.cancel()

    async def channels(self) -> list[dict[str, Any]]:
        async with self.ari() as session, session.get("/ari/channels") as answer:
            return list(await answer.json())


async def eventually(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Waits until it holds; raises TimeoutError if it doesn't in time."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  what is waited for is Asterisk's, which sets no Event of ours
            await asyncio.sleep(0.02)


def begun(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == "StasisStart"]


async def _read(socket: aiohttp.ClientWebSocketResponse, events: list[dict[str, Any]]) -> None:
    async for message in socket:
        events.append(msgspec.json.decode(message.data))


def write_music(folder: Path) -> None:
    """A chord without a pause, so that silence is Asterisk's and not the composer's."""
    folder.mkdir()
    with wave.open(str(folder / "chord.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        tones = (262, 330, 392)
        samples = [
            round(sum(3000 * math.sin(2 * math.pi * tone * n / 8000) for tone in tones))
            for n in range(80_000)
        ]
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))


def start(folder: Path, fallback: str) -> Exchange:
    program = asterisk_program()
    (folder / "definition").mkdir(parents=True, exist_ok=True)
    (folder / "definition/centre.toml").write_text(
        f'{CENTRE}\n[fallback]\nafter_s = {AWAY_S}\nsounds = ["sorry"]\n{fallback}'
    )
    write_music(folder / "moh")
    sip_port = free_port("udp")
    options = RenderOptions(
        secrets_path=folder / "secrets.toml",
        recordings_dir=folder / "recordings",
        modules_dir=program.module_dir,
        data_dir=program.data_dir,
        moh_dir=folder / "moh",
        bind="127.0.0.1",
        sip_port=sip_port,
        http_port=free_port(),
        ami_port=free_port(),
        rtp_start=20_000 + sip_port % 200 * 100,
        rtp_end=20_098 + sip_port % 200 * 100,
        qualify_s=0,
    )

    def render_again() -> Rendered:
        return render_folder(folder / "definition", folder / "pbx", options)

    rendered = render_again()
    server = AsteriskServer(program, rendered.etc)
    server.start()
    return Exchange(server, rendered, render_again)


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    running = start(tmp_path_factory.mktemp("message"), "")
    yield running
    running.server.stop()


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[PhoneRoom]:
    async with PhoneRoom(tmp_path / "captures") as room:
        yield room


def provider_room(folder: Path) -> AbstractAsyncContextManager[PhoneRoom]:
    """Phones with the provider's address."""
    return PhoneRoom(folder / "provider", PROVIDER_HOST)


async def test_asterisk_starts_without_a_warning(exchange: Exchange) -> None:
    assert not re.findall(r"^.*(?:WARNING|ERROR).*$", exchange.log(), re.MULTILINE)
    console = (exchange.rendered.log_dir / "console.log").read_text()
    assert "declined to load" not in console
    assert "not found" not in exchange.server.rx("pjsip show endpoint alice")
    settings = exchange.server.rx("core show settings")
    assert re.search(r"Shell on remote consoles:\s+Disabled", settings)
    assert re.search(r"Web Manager \(AMI/HTTP\):\s+Disabled", settings)
    assert re.search(r"Call data records:\s+Disabled", settings)


def test_rendering_again_changes_nothing(exchange: Exchange) -> None:
    again = exchange.render_again()
    assert again.changed == ()
    assert again.phones == exchange.rendered.phones
    for name in ("pjsip.conf", "ari.conf", "manager.conf"):
        assert (again.etc / name).stat().st_mode & 0o777 == 0o600


def directives(text: str) -> list[str]:
    """The lines that Asterisk reads."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith(";")]


def test_the_example_needs_the_modules_that_an_existing_pbx_is_told_of(tmp_path: Path) -> None:
    program = asterisk_program()
    options = RenderOptions(
        secrets_path=tmp_path / "secrets.toml",
        recordings_dir=tmp_path / "recordings",
        modules_dir=program.module_dir,
        data_dir=program.data_dir,
    )
    example = Path(render_module.__file__).parent / "example"
    rendered = render_folder(example, tmp_path / "pbx", options)
    assert rendered.warnings == ()
    loaded = directives((rendered.etc / "modules.conf").read_text())
    assert {f"load = {name}" for name in needed_modules()} <= set(loaded)


@pytest.mark.parametrize(
    "value", ["a\nb", "a;b", "a[b", "a]b", "${X}", "$[1]", "a\\b", " a", "a ", "<a>", 'a"b', "a\x00", "a\x7f"]
)
def test_no_value_can_break_out_of_its_place(value: str) -> None:
    with pytest.raises(render_module.RenderError):
        render_module.fill("name = @{name}", {"name": value}, "test")


def test_a_template_and_its_values_must_fit() -> None:
    assert render_module.fill("${EXTEN} @ @{a}@@{a} $[1]", {"a": "x"}, "test") == "${EXTEN} @ x@x $[1]"
    for text, values in (("@{a}", {}), ("none", {"a": "1"})):
        with pytest.raises(render_module.RenderError, match="'a'"):
            render_module.fill(text, values, "test")


def test_ari_and_ami_listen_on_loopback_alone(exchange: Exchange) -> None:
    ports = {f"{port:04X}" for port in (exchange.rendered.http_port, exchange.rendered.ami_port)}
    listening = set()
    for table in ("tcp", "tcp6"):
        rows = Path(f"/proc/{exchange.server.pid}/net/{table}").read_text().splitlines()[1:]
        for local, state in ((row.split()[1], row.split()[3]) for row in rows):
            if state == "0A" and local.rpartition(":")[2] in ports:
                listening.add(local)
    assert listening == {f"0100007F:{port}" for port in ports}


async def test_a_wrong_password_and_a_wrong_name_are_refused_alike(
    exchange: Exchange, room: PhoneRoom
) -> None:
    refusals = []
    for name in ("alice", "nobody"):
        phone = await room.phone(name, exchange.account(name, "wrong"))
        with pytest.raises(SipError) as refused:
            await phone.register()
        refusals.append(str(refused.value).replace(name, "NAME"))
    assert refusals[0] == refusals[1]
    right = await room.phone("alice", exchange.account("alice"))
    await right.register()


@pytest.mark.parametrize("dialled", ["00493012345", "+4930999", "alice", "s", "*11", "provider"])
async def test_callers_reach_the_numbers_and_nothing_else(
    exchange: Exchange, room: PhoneRoom, dialled: str
) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    end = await (await ann.dial(dialled)).gone()
    assert end.code == 404


@pytest.mark.parametrize("dialled", ["00493012345", "+4930999", "ann", "s", "*99", "T", "h"])
async def test_agents_reach_numbers_and_codes_and_nothing_else(
    exchange: Exchange, room: PhoneRoom, dialled: str
) -> None:
    alice = await room.phone("alice", exchange.account("alice"))
    end = await (await alice.dial(dialled)).gone()
    assert end.code == 404


async def test_a_trunk_reaches_its_own_numbers_and_nothing_else(exchange: Exchange, tmp_path: Path) -> None:
    async with provider_room(tmp_path) as outside:
        provider = await outside.phone("provider", exchange.account("provider"))
        for dialled in ("100", "*11", "+4930999", "alice"):
            # Its caller ids may look like a phone's name: it stays the trunk.
            call = await provider.dial(dialled, caller_number="alice")
            assert (await call.gone()).code == 404
        call = await provider.dial("+493012345", caller_number="alice")
        await call.answered()
        shown = [
            (each["dialplan"]["context"], each["dialplan"]["exten"]) for each in await exchange.channels()
        ]
        await call.hang_up()
    assert shown == [("cordboard-entry", "+493012345")]


async def test_a_stranger_is_asked_for_a_password(exchange: Exchange, room: PhoneRoom) -> None:
    stranger = await room.phone("stranger", exchange.account("stranger"))
    end = await (await stranger.dial("100")).gone()
    assert end.code == 401


async def test_a_phone_may_show_any_number_and_is_known_by_its_log_in(
    exchange: Exchange, room: PhoneRoom
) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    call = await ann.dial("100", caller_number="+4917012345", caller_name="Ann")
    await call.answered()
    names = [each["name"] for each in await exchange.channels()]
    await call.hang_up()
    assert names[0].startswith("PJSIP/ann-")


async def test_while_cordboard_is_away_a_caller_hears_music_then_an_apology(
    exchange: Exchange, room: PhoneRoom
) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    call = await ann.dial("100")
    answered_ns = await call.answered()
    music_ns = await call.ear.hears_other()
    end = await call.gone(within_s=AWAY_S + 6)
    assert (music_ns - answered_ns) / 1e6 < 200
    assert AWAY_S <= (end.at_ns - answered_ns) / 1e9 < AWAY_S + 4
    # No gap in any of the seconds it tried again.
    assert call.ear.longest_gap_ms(None, music_ns, answered_ns + (AWAY_S - 1) * 10**9) < 60, call.ear.story()
    assert call.ear.other_ms(answered_ns + AWAY_S * 10**9) > 300, call.ear.story()


async def test_cordboard_back_in_time_gets_the_caller(exchange: Exchange, room: PhoneRoom) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    call = await ann.dial("100")
    await call.answered()
    await asyncio.sleep(1.2)
    async with exchange.application() as events:
        await eventually(lambda: bool(begun(events)), 2)
        assert begun(events)[0]["args"] == ["caller"]
        assert begun(events)[0]["channel"]["dialplan"]["exten"] == "100"
        since_ns = monotonic_ns()
        await asyncio.sleep(1)
        until_ns = monotonic_ns()
        await call.voice.flush()
        # The music from before Stasis plays on.
        assert call.ear.longest_gap_ms(None, since_ns, until_ns) < 60, call.ear.story()
        await call.hang_up()


async def test_a_caller_in_stasis_whom_nobody_looks_after_goes_to_the_fallback(
    exchange: Exchange, room: PhoneRoom
) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    async with exchange.application() as events:
        call = await ann.dial("100")
        answered_ns = await call.answered()
        await eventually(lambda: bool(begun(events)))
    music_ns = await call.ear.hears_other()
    end = await call.gone(within_s=16)
    assert 10 <= (end.at_ns - answered_ns) / 1e9 < 14
    assert call.ear.longest_gap_ms(None, music_ns, answered_ns + 9_500_000_000) < 60, call.ear.story()
    assert call.ear.other_ms(answered_ns + 10 * 10**9) > 300, call.ear.story()


async def originate(exchange: Exchange, **query: str) -> int:
    async with exchange.ari() as session, session.post("/ari/channels", params=query) as answer:
        return answer.status


async def test_an_agent_who_answers_while_cordboard_is_away_hears_music(
    exchange: Exchange, room: PhoneRoom
) -> None:
    alice = await room.phone("alice", exchange.account("alice"), register=True)
    alice.policy = answers(after_s=0.1)
    query = {"endpoint": "PJSIP/alice", "context": "cordboard-agent", "extension": "s", "priority": "1"}
    assert await originate(exchange, **query) == 200
    call = await alice.called()
    answered_ns = await call.answered()
    music_ns = await call.ear.hears_other()
    end = await call.gone(within_s=AWAY_S + 4)
    assert (music_ns - answered_ns) / 1e6 < 300
    assert AWAY_S - 0.5 <= (end.at_ns - answered_ns) / 1e9 < AWAY_S + 2


@pytest.mark.parametrize("hostile", ["1${SHELL(x)}", "1a)b", '1"x', "1,2&3", "+1'$[1]"])
async def test_a_hostile_extension_goes_no_further(exchange: Exchange, room: PhoneRoom, hostile: str) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    async with exchange.application() as events:
        call = await ann.dial("100")
        await call.answered()
        await eventually(lambda: bool(begun(events)))
        channel = begun(events)[0]["channel"]["id"]
        onward = {"context": "cordboard-entry", "extension": hostile, "priority": "1"}
        async with (
            exchange.ari() as session,
            session.post(f"/ari/channels/{channel}/continue", params=onward) as answer,
        ):
            assert answer.status == 204
        await call.gone(within_s=2)
        assert len(begun(events)) == 1
    assert "SHELL" not in exchange.log()


async def test_a_transfer_by_the_phone_is_refused_and_the_call_goes_on(
    exchange: Exchange, room: PhoneRoom
) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    async with exchange.application():
        call = await ann.dial("100")
        await call.answered()
        request = call._in_dialog("REFER")
        request.headers.append(("refer-to", "<sip:+4930999@127.0.0.1>"))
        refused = await ann.endpoint.request(request, ann.server)
        await asyncio.sleep(0.3)
        assert refused.status == 603
        assert call.up
        await call.hang_up()


async def ami(exchange: Exchange, *actions: dict[str, str]) -> list[str]:
    """Logs in and sends each action; their answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", exchange.rendered.ami_port)
    await reader.readline()
    login = {"Action": "Login", "Username": "cordboard", "Secret": exchange.rendered.ami_password}
    answers = []
    for number, action in enumerate((login, *actions)):
        fields = action | {"ActionID": str(number)}
        writer.write("".join(f"{key}: {value}\r\n" for key, value in fields.items()).encode() + b"\r\n")
        while True:
            block = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3)).decode()
            if f"ActionID: {number}" in block:
                break
        answers.append(block)
    writer.close()
    return answers[1:]


async def test_ami_may_record_and_not_much_more(exchange: Exchange, room: PhoneRoom) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    file = exchange.rendered.recordings_dir / "ann.raw"
    async with exchange.application():
        call = await ann.dial("100")
        await call.answered()
        channel = (await exchange.channels())[0]["name"]
        recorded, muted, *refused = await ami(
            exchange,
            {"Action": "MixMonitor", "Channel": channel, "File": str(file), "Options": "Di(CORDBOARD_MIX)"},
            {"Action": "MixMonitorMute", "Channel": channel, "Direction": "both", "State": "1"},
            {"Action": "Command", "Command": "core show version"},
            {"Action": "Originate", "Channel": "PJSIP/alice", "Context": "cordboard-agent", "Exten": "s"},
            {"Action": "UpdateConfig", "SrcFilename": "pjsip.conf", "DstFilename": "pjsip.conf"},
        )
        # A muted recording keeps the time: silence is written, a second's worth at a time.
        await eventually(lambda: file.exists() and file.stat().st_size > 32_000)
        await call.hang_up()
    assert "Response: Success" in recorded
    assert "Response: Success" in muted
    assert all("Permission denied" in answer for answer in refused), refused


@contextmanager
def running(folder: Path, fallback: str) -> Iterator[Exchange]:
    exchange = start(folder, fallback)
    try:
        assert "WARNING" not in exchange.log(), exchange.log()
        yield exchange
    finally:
        exchange.server.stop()


EVERYTHING = """
[sip]
external_address = "198.51.100.7"
local_nets = ["127.0.0.0/8", "10.0.0.0/8"]
[phones.wide]
role = "caller"
codecs = ["opus", "g722", "alaw", "gsm"]
caller_id = "Ann Löwe & Co, 2nd floor"
[trunks.registered]
server = "127.0.0.4"
port = 5099
transport = "tcp"
username = "493012345"
secret_file = "registered.secret"
register = true
match = ["127.0.0.4"]
numbers = ["100"]
"""


def test_a_definition_with_everything_loads_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "all/definition").mkdir(parents=True)
    secret = tmp_path / "all/definition/registered.secret"
    secret.write_text("s3cret,with=odd#characters\n")
    secret.chmod(0o600)
    with running(
        tmp_path / "all", f'kind = "dial"\ntarget = "+4930999@registered"\n{EVERYTHING}'
    ) as exchange:
        assert "ERROR" not in exchange.log(), exchange.log()
        endpoint = exchange.server.rx("pjsip show endpoint registered")
        assert re.search(r"context\s+: cordboard-trunk-registered", endpoint)
        assert "127.0.0.4/32" in endpoint
        assert "registered/sip:127.0.0.4:5099;transport=tcp" in exchange.server.rx("pjsip show registrations")
        assert "s3cret,with=odd#characters" in exchange.server.rx("pjsip show auth registered")
        assert "(opus|g722|alaw|gsm)" in exchange.server.rx("pjsip show endpoint wide")
        assert 'Ann Löwe & Co, 2nd floor" <wide>' in exchange.server.rx("pjsip show endpoint wide")
        assert "198.51.100.7" in exchange.server.rx("pjsip show transport cordboard-udp")


async def test_the_fallback_may_dial_a_phone(tmp_path: Path) -> None:
    with running(tmp_path / "dial", 'kind = "dial"\ntarget = "alice"') as exchange:
        async with PhoneRoom(tmp_path / "captures") as room:
            alice = await room.phone("alice", exchange.account("alice"), register=True)
            ann = await room.phone("ann", exchange.account("ann"))
            assert ann.tone is not None
            call = await ann.dial("100")
            await call.answered()
            rung = await alice.called(within_s=AWAY_S + 3)
            await rung.ear.hears(ann.tone)
            await rung.hang_up()
            await call.gone()
            # An agent's feature code is told that it can't be served, and dials nobody.
            code = await alice.dial("*11")
            await code.answered()
            await code.gone(within_s=AWAY_S + 5)
            assert len(alice.incoming) == 1


async def test_the_fallback_may_take_a_message(tmp_path: Path) -> None:
    with running(tmp_path / "voicemail", 'kind = "voicemail"') as exchange:
        async with PhoneRoom(tmp_path / "captures") as room:
            ann = await room.phone("ann", exchange.account("ann"))
            call = await ann.dial("100")
            await call.answered()
            await asyncio.sleep(AWAY_S + 14)
            await call.hang_up()
            await asyncio.sleep(1)
            messages = list(
                (exchange.rendered.etc.parent / "spool").glob("voicemail/cordboard/fallback/INBOX/*.wav")
            )
            assert len(messages) == 1, call.ear.story()
