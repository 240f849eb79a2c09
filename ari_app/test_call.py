"""A test call: the dialplan, Stasis, our loop, a prompt, a digit and the hang-up, with nobody rung.

A Local channel comes in by the callers' entry. Its events are taken before they become inputs, so
the floor, the journal and every figure know nothing of it. What it does not try: the choice of an
agent and the phones themselves, which would disturb people.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

from ari_app.ari import models as ari
from ari_app.ari.client import AriLink
from ari_app.ari.errors import AriError, NotFound
from ari_app.ari.translate import ENTRY_CONTEXT
from ari_app.web.messages import Tested

MARK = "cordboard-test."
EXTENSION = "*#*#"
"""Should Cordboard die during the call, its successor takes it for a wrong number."""
SOUND = "sound:beep"
DIGIT = "5"
STEP_LIMIT_S = 5.0


class Line:
    """Makes one test call at a time over ``link``."""

    def __init__(self, link: AriLink, app: str) -> None:
        self._link = link
        self._app = app
        self._id = ""
        self._seen: asyncio.Queue[object] = asyncio.Queue()
        self._one_at_a_time = asyncio.Lock()

    def takes(self, event: object) -> bool:
        """Whether the event is about a test call, and so nobody else's business."""
        if not self._id:
            return False  # every event comes by here: the ordinary case is one comparison
        about = getattr(event, "channel", None) or getattr(event, "playback", None)
        if about is None or not str(getattr(about, "id", "")).startswith(MARK):
            return False
        self._seen.put_nowait(event)
        return True

    async def call(self) -> Tested:
        """Make the call; what went how fast, or what went wrong. Never raises for what Asterisk answers."""
        async with self._one_at_a_time:
            self._id, self._seen = f"{MARK}{secrets.token_hex(4)}", asyncio.Queue()
            began, steps = time.monotonic(), list[str]()
            try:
                failed = await self._steps(steps)
            except AriError as error:
                failed = str(error)
            finally:
                await self._hang_up()
                self._id = ""
            return Tested(not failed, round((time.monotonic() - began) * 1e3), tuple(steps), failed)

    async def _steps(self, steps: list[str]) -> str:
        caller, far = f"{self._id}.caller", f"{self._id}.far"
        for name, what, act, sees in (
            (
                "enters Stasis",
                f"the call did not come into Stasis by {ENTRY_CONTEXT}: is the dialplan loaded (dialplan show"
                f" {ENTRY_CONTEXT})?",
                lambda: self._dial(caller, far),
                lambda e: isinstance(e, ari.StasisStart) and e.channel.id == caller,
            ),
            (
                "hears a prompt",
                f"{SOUND} was not played to its end: are Asterisk's sounds there (core show sounds)?",
                lambda: self._play(caller),
                lambda e: isinstance(e, ari.PlaybackFinished) and e.playback.state == "done",
            ),
            (
                "presses a key",
                "a key pressed by the caller did not arrive",
                lambda: self._press(far),
                lambda e: isinstance(e, ari.ChannelDtmfReceived) and e.channel.id == caller,
            ),
            (
                "hangs up",
                "the hang-up was not confirmed",
                lambda: self._link.request("DELETE", f"channels/{far}"),
                lambda e: isinstance(e, ari.ChannelDestroyed) and e.channel.id == caller,
            ),
        ):
            began = time.monotonic()
            await act()
            if not await self._sees(sees):
                return f"{what} (waited {STEP_LIMIT_S:g} s)"
            steps.append(f"{name} ({(time.monotonic() - began) * 1e3:.0f} ms)")
        return ""

    async def _dial(self, caller: str, far: str) -> None:
        params = {
            "endpoint": f"Local/{EXTENSION}@{ENTRY_CONTEXT}/n",
            "app": self._app,
            "appArgs": "test",
            "channelId": far,
            "otherChannelId": caller,
        }
        await self._link.request("POST", "channels", params=params)

    async def _play(self, caller: str) -> None:
        await self._link.request("DELETE", f"channels/{caller}/moh")
        params = {"media": SOUND, "playbackId": f"{self._id}.play"}
        await self._link.request("POST", f"channels/{caller}/play", params=params)

    async def _press(self, far: str) -> None:
        await self._link.request("POST", f"channels/{far}/dtmf", params={"dtmf": DIGIT})

    async def _sees(self, wanted: Callable[[object], bool]) -> bool:
        try:
            async with asyncio.timeout(STEP_LIMIT_S):
                while not wanted(await self._seen.get()):
                    pass
        except TimeoutError:
            return False
        return True

    async def _hang_up(self) -> None:
        for side in ("far", "caller"):
            try:
                await self._link.request("DELETE", f"channels/{self._id}.{side}")
            except NotFound:
                pass  # gone already: the goal is met
            except AriError:
                return  # the link is down: recovery finds the channel and lets it go
