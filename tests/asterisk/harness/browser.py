"""A headless Chromium as a WebRTC phone: its websocket, its ICE, its DTLS-SRTP and its ears.

The page is a pipe for SIP messages and a mouth and an ear; who says what in SIP is decided here, over the
DevTools protocol, so that the page needs no SIP library.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
from pathlib import Path
from typing import Any, Final

import aiohttp

from . import sip
from .programs import browser_command
from .sip import Message

PAGE: Final = """
const inbox = [];
let socket, connection, ear, context;

function open_socket(url) {
  return new Promise((opened, failed) => {
    socket = new WebSocket(url, ["sip"]);
    socket.onopen = () => opened(socket.protocol);
    socket.onerror = () => failed(new Error("the websocket failed"));
    socket.onmessage = (event) => inbox.push(event.data);
  });
}

async function take(limit_ms) {
  for (let waited = 0; waited < limit_ms && !inbox.length; waited += 20)
    await new Promise((resolve) => setTimeout(resolve, 20));
  return inbox.length ? inbox.shift() : "";
}

async function answer(offer, tone) {
  context = new AudioContext();
  const mouth = context.createMediaStreamDestination();
  const oscillator = context.createOscillator();
  oscillator.frequency.value = tone;
  oscillator.connect(mouth);
  oscillator.start();
  connection = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  connection.addTrack(mouth.stream.getAudioTracks()[0], mouth.stream);
  connection.ontrack = (event) => {
    const stream = new MediaStream([event.track]);
    const speaker = new Audio();
    speaker.srcObject = stream;
    speaker.muted = true;
    speaker.play();
    ear = context.createAnalyser();
    ear.fftSize = 8192;
    context.createMediaStreamSource(stream).connect(ear);
  };
  await connection.setRemoteDescription({ type: "offer", sdp: offer });
  await connection.setLocalDescription(await connection.createAnswer());
  while (connection.iceGatheringState !== "complete")
    await new Promise((resolve) => setTimeout(resolve, 20));
  return connection.localDescription.sdp;
}

function heard() {
  if (!ear) return [0, -200];
  const levels = new Float32Array(ear.frequencyBinCount);
  ear.getFloatFrequencyData(levels);
  const loudest = levels.indexOf(Math.max(...levels));
  return [loudest * context.sampleRate / ear.fftSize, levels[loudest]];
}

async function state() {
  const kinds = {};
  for (const each of (await connection.getStats()).values())
    if (each.type === "transport") kinds.transport = [each.dtlsState, each.srtpCipher];
  return { connection: connection.connectionState, ...kinds };
}
"""
SWITCHES: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    # The test's certificate is nobody's; its addresses are this machine's own.
    "--ignore-certificate-errors",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--autoplay-policy=no-user-gesture-required",
)


class Browser:
    """``async with Browser(folder) as browser``: one page, with a phone's parts in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.AsyncExitStack()
        self._number = 0
        self._devtools: aiohttp.ClientWebSocketResponse

    async def __aenter__(self) -> Browser:
        command = browser_command()
        try:
            address = await self._start(command)
            session = await self._stack.enter_async_context(aiohttp.ClientSession())
            async with session.get(f"http://{address}/json/list") as answer:
                page = next(each for each in await answer.json() if each["type"] == "page")
            self._devtools = await self._stack.enter_async_context(
                session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=1 << 24)
            )
            async with asyncio.timeout(10):
                while not await self.run("typeof open_socket === 'function'"):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)  # the page is being loaded
            # For the permission alone: without it the page is told only the default route's address.
            await self._ask("Browser.grantPermissions", permissions=["audioCapture", "videoCapture"])
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self, command: str) -> str:
        self._folder.mkdir(parents=True)
        # A file, because about:blank may have no microphone.
        page = self._folder / "phone.html"
        page.write_text(f"<!doctype html><title>phone</title><script>{PAGE}</script>")
        # Its words go to a file: its children hold a pipe open for longer than it lives.
        log = self._folder / "browser.log"
        with log.open("wb") as words:
            process = await asyncio.create_subprocess_exec(
                command,
                f"--user-data-dir={self._folder / 'profile'}",
                *SWITCHES,
                page.as_uri(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=words,
                # Debian's command is a script around the browser: both are ended, as a group of their own.
                start_new_session=True,
            )
        self._stack.push_async_callback(_end, process)
        for _ in range(400):
            if found := re.search(r"listening on ws://([^/]+)/", log.read_text(errors="replace")):
                return found[1]
            await asyncio.sleep(0.05)
        raise AssertionError(f"the browser did not start:\n{log.read_text(errors='replace')}")

    async def run(self, script: str) -> Any:
        """What an expression comes to in the page; a promise is waited for."""
        answer = await self._ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(f"in the page: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        await self._devtools.send_json({"id": self._number, "method": method, "params": parameters})
        async with asyncio.timeout(15):
            while (answer := await self._devtools.receive_json()).get("id") != self._number:
                pass  # an event
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result


class WebPhone:
    """A phone in the browser, over wss, one call at a time."""

    def __init__(self, browser: Browser, user: str, password: str, host: str, port: int) -> None:
        self.browser, self.user, self.password = browser, user, password
        self.server, self.url = host, f"wss://{host}:{port}/ws"
        # RFC 7118, 5: a browser has no address that it knows; its Contact and Via name none.
        self._name = f"{secrets.token_hex(6)}.invalid"
        self._tag = secrets.token_hex(6)
        self._call_id = secrets.token_hex(8)
        self._sequence = 0

    async def register(self) -> None:
        protocol = await self.browser.run(f"open_socket({json.dumps(self.url)})")
        assert protocol == "sip", protocol
        extra: list[tuple[str, str]] = []
        for _ in range(2):
            await self._send(self._registration(extra))
            response = await self.next("REGISTER")
            if response.status == 200:
                return
            assert response.status == 401, response.start
            asked, uri = response.header("www-authenticate"), f"sip:{self.server}"
            answer = sip.authorization(asked, "REGISTER", uri, self.user, self.password)
            extra = [("authorization", answer)]
        raise AssertionError(f"{self.user} could not register: {response.start}")

    def _registration(self, extra: list[tuple[str, str]]) -> Message:
        self._sequence += 1
        me = f"<sip:{self.user}@{self.server}>"
        headers = [
            ("via", f"SIP/2.0/WSS {self._name};branch=z9hG4bK{secrets.token_hex(6)}"),
            ("max-forwards", "70"),
            ("from", f"{me};tag={self._tag}"),
            ("to", me),
            ("call-id", self._call_id),
            ("cseq", f"{self._sequence} REGISTER"),
            ("contact", f"<sip:{self.user}@{self._name};transport=ws>"),
            ("expires", "120"),
            *extra,
        ]
        return Message(f"REGISTER sip:{self.server} SIP/2.0", headers)

    async def next(self, method: str, within_s: float = 5.0) -> Message:
        """The next message of a method; OPTIONS meanwhile are answered."""
        async with asyncio.timeout(within_s):
            while True:
                text = await self.browser.run(f"take({round(within_s * 1000)})")
                if not text.strip():
                    continue  # a keep-alive
                message = Message.parse(text.encode())
                if message.method == method:
                    return message
                if message.status is None and message.method != "ACK":
                    await self._send(message.response(200, self._tag))

    async def answer(self, tone: int, within_s: float = 5.0) -> Message:
        """Answers the call that comes in, speaking the tone; its INVITE."""
        invite = await self.next("INVITE", within_s)
        answer = await self.browser.run(f"answer({json.dumps(invite.body)}, {tone})")
        more = [
            ("contact", f"<sip:{self.user}@{self._name};transport=ws>"),
            ("content-type", "application/sdp"),
        ]
        await self._send(invite.response(200, self._tag, *more, body=answer))
        await self.next("ACK")
        return invite

    async def hears(self, tone: int, within_s: float = 5.0) -> None:
        """Wait until the tone is what the page hears loudest."""
        seen: Any = None
        for _ in range(round(within_s / 0.1)):
            seen = await self.browser.run("heard()")
            if seen is not None and seen[1] > -60 and abs(seen[0] - tone) < 20:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"not {tone} Hz but {seen} (Hz, dB); {await self.browser.run('state()')}")

    async def gone(self) -> None:
        """Wait for the other side's BYE."""
        bye = await self.next("BYE")
        await self._send(bye.response(200, self._tag))

    async def _send(self, message: Message) -> None:
        await self.browser.run(f"socket.send({json.dumps(message.encode().decode())})")


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):  # ended by itself: the goal is met
        os.killpg(process.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(5):
            while _group_lives(process.pid):  # noqa: ASYNC110  only the kernel knows of the others
                await asyncio.sleep(0.05)
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
