"""Encrypted phones and trunks with real clients: baresip over TLS and SRTP, a browser over WebRTC."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from ari_app import certificates
from ari_app.deploy.asterisk import AsteriskServer
from ari_app.deploy.ports import free_port
from ari_app.deploy.render import Rendered, RenderOptions, render_folder
from ari_app.deploy.up import EXAMPLE

from . import centre as centres
from .centre import HOST, Centre, Plan
from .conftest import Running
from .harness import Account, PhoneRoom, rings
from .harness.browser import Browser, WebPhone
from .harness.programs import asterisk_program
from .harness.softphone import Line, Softphone

AUDIBLE = 0.8
"""Share of the power that is the other party's tone, in the best half second."""

PHONES = """
[sip.tls]
certificate = "{folder}/pbx.crt"
key = "{folder}/pbx.key"
port = {tls_port}
wss_port = {wss_port}
[agents.tess]
name = "Tess"
phone = "tess"
queues = ["sales"]
[phones.tess]
transport = "tls"
[agents.dora]
name = "Dora"
phone = "dora"
queues = ["sales"]
[phones.dora]
transport = "tls"
media_encryption = "dtls"
[agents.wes]
name = "Wes"
phone = "wes"
queues = ["sales"]
[phones.wes]
transport = "wss"
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For 127.0.0.1; its key is beside it."""
    return certificates.make_self_signed(tmp_path_factory.mktemp("certificate"), HOST)[0]


@pytest.fixture(scope="module")
def running(certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    more = PHONES.format(folder=certificate.parent, tls_port=free_port(), wss_port=free_port())
    plan = Plan(agents=(), more=more)
    stack = centres.start(tmp_path_factory.mktemp("encrypted"), plan)
    try:
        yield Running(stack, plan)
    finally:
        centres.discard(stack)


def tls_port(centre: Centre) -> int:
    assert centre.stack.loaded is not None
    assert centre.stack.loaded.site.sip.tls is not None
    return centre.stack.loaded.site.sip.tls.port


def wss_port(centre: Centre) -> int:
    assert centre.stack.loaded is not None
    assert centre.stack.loaded.site.sip.tls is not None
    return centre.stack.loaded.site.sip.tls.wss_port


def line(centre: Centre, name: str, mediaenc: str, certificate: Path) -> Line:
    password = centre.account(name).password
    assert password is not None
    return Line(name, password, f"{HOST}:{tls_port(centre)}", "tls", mediaenc, certificate)


@pytest.mark.parametrize(
    ("name", "mediaenc", "secure"),
    [("tess", "srtp-mand", "SRTP is Enabled"), ("dora", "dtls_srtp", "DTLS-SRTP complete (audio/RTP)")],
)
async def test_an_agent_on_an_encrypted_phone_and_a_caller_hear_each_other(
    centre: Centre, certificate: Path, tmp_path: Path, name: str, mediaenc: str, secure: str
) -> None:
    tone = centre.room.new_tone()
    ann = await centre.caller("ann")
    assert ann.tone is not None
    async with Softphone(tmp_path / "phone", line(centre, name, mediaenc, certificate), tone) as softphone:
        await softphone.says("200 OK")
        assert centre.stack.asterisk is not None
        assert "transport=TLS" in centre.stack.asterisk.rx(f"pjsip show aor {name}")
        await centre.act(name, "sign_in")
        call = await ann.dial("200")
        await call.answered()
        await call.ear.hears(tone)
        await softphone.says(secure)
        await asyncio.sleep(1.5)
        await call.hang_up()
        await softphone.says("terminated")
        await centre.act(name, "sign_out")
        await centre.settled()
    assert softphone.heard(ann.tone) > AUDIBLE, softphone.output


async def test_an_agent_in_a_browser_and_a_caller_hear_each_other(centre: Centre, tmp_path: Path) -> None:
    tone = centre.room.new_tone()
    ann = await centre.caller("ann")
    password = centre.account("wes").password
    assert ann.tone is not None
    assert password is not None
    # Asterisk's words on a page that is closed.
    centre.expected_in_log += ["Error reading from web socket", "SSL_shutdown"]
    async with Browser(tmp_path / "browser") as browser:
        wes = WebPhone(browser, "wes", password, HOST, wss_port(centre))
        await wes.register()
        await centre.act("wes", "sign_in")
        call = await ann.dial("200")
        await call.answered()
        invite = await wes.answer(tone)
        assert "UDP/TLS/RTP/SAVPF" in invite.body
        await call.ear.hears(tone)
        await wes.hears(ann.tone)
        seen = await browser.run("state()")
        assert seen["connection"] == "connected"
        assert seen["transport"][0] == "connected"
        assert seen["transport"][1], "no SRTP"
        await call.hang_up()
        await wes.gone()
        await centre.act("wes", "sign_out")
        await centre.settled()


async def test_a_phone_without_srtp_is_refused_where_it_is_asked_for(centre: Centre) -> None:
    centre.expected_in_log.append("Couldn't negotiate stream")
    for name in ("tess", "dora", "wes"):
        plain = await centre.room.phone(name, centre.account(name))
        end = await (await plain.dial("200")).gone()
        assert end.code == 488


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken_and_nothing_older(
    centre: Centre, certificate: Path, version: ssl.TLSVersion
) -> None:
    context = ssl.create_default_context(cafile=str(certificate))
    # The client is willing to do anything: what is refused, Asterisk refuses.
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    centre.expected_in_log.append("(?i)ssl")
    for port in (tls_port(centre), wss_port(centre)):
        if version == ssl.TLSVersion.TLSv1_1:
            with pytest.raises(ssl.SSLError):
                await asyncio.open_connection(HOST, port, ssl=context)
        else:
            _, writer = await asyncio.open_connection(HOST, port, ssl=context)
            # Asterisk doesn't answer the closing alert: it is not waited for.
            writer.transport.abort()
            await asyncio.sleep(0)


async def test_the_browsers_door_does_not_lead_to_ari(centre: Centre, certificate: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificate))
    from_elsewhere = aiohttp.TCPConnector(local_addr=("127.0.0.5", 0), ssl=context)
    # Asterisk's words on a browser that only looks, and on one that leaves without a word.
    centre.expected_in_log += ["did not request WebSocket", "SSL_shutdown"]
    door = f"https://{HOST}:{wss_port(centre)}"
    async with aiohttp.ClientSession(door, connector=from_elsewhere) as session:
        for path in ("/ari/channels", "/ari/api-docs/resources.json", "/ari/events?app=x"):
            async with session.get(path) as answer:
                assert answer.status == 403, path
        async with session.get("/ws") as answer:
            assert answer.status == 426
        for path in ("/", "/httpstatus", "/static/", "/media", "/rawman", "/manager"):
            async with session.get(path) as answer:
                assert answer.status == 404, path


TRUNK = """
[numbers]
"100" = "main"
[flows.main]
start = "end"
[flows.main.nodes.end]
kind = "hangup"
[sip]
tcp = false
tls = {{ certificate = "pbx.crt", key = "pbx.key", port = {port}, ca = "{authority}" }}
[trunks.provider]
server = "{host}"
port = {server_port}
transport = "tls"
match = ["127.0.0.9"]
username = "493012345"
secret_file = "provider.secret"
register = true
numbers = ["100"]
"""


class Provider:
    """A TLS server that listens and says nothing; what it was told."""

    def __init__(self, certificate: Path) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        self.told = ""
        self.greeted = asyncio.Event()
        self.refused = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.told += data.decode()
            self.greeted.set()
        writer.close()


def trunk_only(folder: Path, server: tuple[str, int], authority: Path) -> AsteriskServer:
    definition = folder / "definition"
    definition.mkdir(parents=True)
    certificates.make_self_signed(definition, HOST)
    secret = definition / "provider.secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    text = TRUNK.format(port=free_port(), host=server[0], server_port=server[1], authority=authority)
    (definition / "centre.toml").write_text(text)
    program = asterisk_program()
    options = RenderOptions(
        secrets_path=folder / "secrets.toml",
        recordings_dir=folder / "recordings",
        modules_dir=program.module_dir,
        data_dir=program.data_dir,
        bind=HOST,
        sip_port=free_port("udp"),
        http_port=free_port(),
        ami_port=free_port(),
    )
    asterisk = AsteriskServer(program, render_folder(definition, folder / "pbx", options).etc)
    asterisk.start()
    return asterisk


@pytest.mark.parametrize("case", ["trusted", "unknown authority", "another name"])
async def test_a_trunk_is_told_nothing_unless_its_certificate_holds(
    certificate: Path, tmp_path: Path, case: str
) -> None:
    authority = certificate
    if case == "unknown authority":
        (tmp_path / "other").mkdir()
        authority = certificates.make_self_signed(tmp_path / "other", HOST)[0]
    # The certificate is for 127.0.0.1; the same server has more addresses.
    host = "127.0.0.6" if case == "another name" else HOST
    provider = Provider(certificate)
    server = await asyncio.start_server(provider.serve, host, 0, ssl=provider.context)
    port = server.sockets[0].getsockname()[1]
    asterisk = await asyncio.to_thread(trunk_only, tmp_path / "trunk", (host, port), authority)
    try:
        if case == "trusted":
            async with asyncio.timeout(10):
                await provider.greeted.wait()
            assert "REGISTER sip:" in provider.told or "OPTIONS sip:" in provider.told
        else:
            await asyncio.sleep(4)
            assert provider.told == ""
    finally:
        await asyncio.to_thread(asterisk.stop)
        server.close()


BEHIND_A_NAT = """
[sip]
external_address = "198.51.100.7"
local_nets = ["{address}/32"]
bind = "{address}"
tcp = false
"""


async def test_behind_a_nat_browsers_are_told_the_outer_address_and_the_inner_one(
    certificate: Path, tmp_path: Path
) -> None:
    address = own_address()
    (tmp_path / "definition").mkdir()
    encrypted = PHONES.format(folder=certificate.parent, tls_port=free_port(), wss_port=free_port())
    flows = TRUNK[: TRUNK.index("[sip]")] + "[queues.sales]\n"
    (tmp_path / "definition/centre.toml").write_text(flows + BEHIND_A_NAT.format(address=address) + encrypted)
    program = asterisk_program()
    options = RenderOptions(
        secrets_path=tmp_path / "secrets.toml",
        recordings_dir=tmp_path / "recordings",
        modules_dir=program.module_dir,
        data_dir=program.data_dir,
        sip_port=free_port("udp"),
        http_port=free_port(),
        ami_port=free_port(),
    )
    rendered = render_folder(tmp_path / "definition", tmp_path / "pbx", options)
    asterisk = AsteriskServer(program, rendered.etc)
    await asyncio.to_thread(asterisk.start)
    try:
        log = (rendered.log_dir / "messages.log").read_text()
        assert not re.findall(r"^.*(?:WARNING|ERROR).*$", log, re.MULTILINE)
        assert "198.51.100.7" in asterisk.rx("pjsip show transport cordboard-tls")
        async with PhoneRoom(tmp_path / "captures", address) as room:
            offer = await offer_to("wes", room, rendered)
    finally:
        await asyncio.to_thread(asterisk.stop)
    told = {line.split()[4] for line in offer.splitlines() if line.startswith("a=candidate")}
    assert {"198.51.100.7", address} <= told


def own_address() -> str:
    """An address of this machine's that is not loopback: ICE tells no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.7", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no network but loopback")
        return str(probe.getsockname()[0])


async def offer_to(name: str, room: PhoneRoom, rendered: Rendered) -> str:
    """The SDP with which Asterisk calls a phone."""
    password = next(phone.secret for phone in rendered.phones if phone.name == name)
    phone = await room.phone(name, Account(name, room.host, rendered.sip_port, password), register=True)
    phone.policy = rings
    ari = aiohttp.ClientSession(
        f"http://{HOST}:{rendered.http_port}",
        headers={"Authorization": aiohttp.encode_basic_auth("cordboard", rendered.ari_password)},
    )
    query = {"endpoint": f"PJSIP/{name}", "context": "cordboard-agent", "extension": "s", "priority": "1"}
    async with ari, ari.post("/ari/channels", params=query) as answer:
        assert answer.status == 200
    return (await phone.called()).invite.body


def test_what_is_not_asked_for_is_neither_loaded_nor_listened_on(tmp_path: Path) -> None:
    program = asterisk_program()
    options = RenderOptions(
        secrets_path=tmp_path / "secrets.toml",
        recordings_dir=tmp_path / "recordings",
        modules_dir=program.module_dir,
        data_dir=program.data_dir,
    )
    etc = render_folder(EXAMPLE, tmp_path / "pbx", options).etc
    modules = (etc / "modules.conf").read_text()
    assert "res_srtp" not in modules
    assert "transport_websocket" not in modules
    assert "tlsenable" not in (etc / "http.conf").read_text()
    assert "icesupport = no" in (etc / "rtp.conf").read_text()
    assert "protocol = tls" not in (etc / "pjsip.conf").read_text()
