"""One page in a headless Chromium, driven over the DevTools protocol; it keeps what the page complains of."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.asterisk.harness.programs import browser_command

SWITCHES: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)
COMPLAINTS: Final = ("Runtime.exceptionThrown", "Log.entryAdded", "Audits.issueAdded")


class Page:
    """``run`` evaluates in it, ``complaints`` are errors of its console, its security policy, its network."""

    def __init__(self, devtools: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self._devtools = devtools
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0

    async def listen(self) -> None:
        async for message in self._devtools:
            said = json.loads(message.data)
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            elif said["method"] in COMPLAINTS or (
                said["method"] == "Runtime.consoleAPICalled"
                and said["params"]["type"] in ("error", "warning")
            ):
                self.complaints.append(json.dumps(said["params"]))

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self._devtools.send_json({"id": self._number, "method": method, "params": parameters})
        async with asyncio.timeout(15):
            said = await answer
        assert "error" not in said, f"{method}: {said['error']}"
        result: dict[str, Any] = said["result"]
        return result

    async def run(self, script: str) -> Any:
        answer = await self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, f"in the page: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    async def goes_to(self, url: str) -> None:
        await self.ask("Page.navigate", url=url)

    async def becomes(self, script: str, limit_s: float = 10.0) -> float:
        """Wait until the expression is true; how long that took, in seconds."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while not await self.run(f"Boolean({script})"):
            if loop.time() - began_s > limit_s:
                shown = await self.run("document.body.innerText")
                raise AssertionError(f"not within {limit_s} s: {script}\n{shown}\n{self.complaints}")
            await asyncio.sleep(0.02)
        return loop.time() - began_s

    async def types(self, text: str) -> None:
        """Into what has the focus, then Enter."""
        await self.ask("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
            await self.ask("Input.dispatchKeyEvent", type=kind, **enter)

    async def looks(
        self, width: int, height: int, theme: str = "dark", motion: str = "no-preference"
    ) -> None:
        await self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 1000,
        )
        features = [
            {"name": "prefers-color-scheme", "value": theme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        await self.ask("Emulation.setEmulatedMedia", features=features)

    async def picture(self) -> bytes:
        """A PNG of what is seen."""
        taken = await self.ask("Page.captureScreenshot", format="png")
        return base64.b64decode(taken["data"])


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Page]:
    """A fresh browser with one empty page; skips when there is no browser."""
    command = browser_command()
    log = folder / "browser.log"
    folder.mkdir(parents=True)  # noqa: ASYNC240
    with log.open("wb") as words:
        process = await asyncio.create_subprocess_exec(
            command,
            f"--user-data-dir={folder / 'profile'}",
            *SWITCHES,
            "about:blank",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=words,
            start_new_session=True,
        )
    try:
        address = await _address(log)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{address}/json/list") as answer:
                found = next(each for each in await answer.json() if each["type"] == "page")
            async with session.ws_connect(found["webSocketDebuggerUrl"], max_msg_size=1 << 25) as devtools:
                page = Page(devtools)
                listening = asyncio.create_task(page.listen())
                for domain in ("Page", "Runtime", "Log", "Audits"):
                    await page.ask(f"{domain}.enable")
                yield page
        await listening
    finally:
        await _end(process)


async def _address(log: Path) -> str:
    words = ""
    for _ in range(600):
        words = await asyncio.to_thread(log.read_text, errors="replace")
        if found := re.search(r"listening on ws://([^/]+)/", words):
            return found[1]
        await asyncio.sleep(0.05)
    raise AssertionError(f"the browser did not start:\n{words}")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Debian's command is a script that goes on waiting: only its whole group has the browser in it."""
    with contextlib.suppress(ProcessLookupError):  # it ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    for _ in range(100):
        if not _runs(process.pid):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the browser is still there: process group {process.pid}")


def _runs(group: int) -> bool:
    """Whether anybody of the group lives; what nobody has reaped yet does not (proc_pid_stat(5))."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, found = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue  # gone in between
        if int(found) == group and state not in "ZX":
            return True
    return False
