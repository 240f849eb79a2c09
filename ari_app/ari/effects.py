"""What the core wishes, as ARI commands; what became of them, as inputs.

Commands go out in the order of the effects, pipelined on one socket that Asterisk serves in
order. Statuses that only say "it is gone already" are normal: the goal is met. An outcome that a
time-out hid is read back before anything is concluded; one that a lost link hid is found by the
snapshot after the reconnect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, assert_never

import structlog

from ari_app.ari.client import AriLink, Response
from ari_app.ari.errors import (
    AriError,
    BadRequest,
    Conflict,
    DuplicateId,
    LinkError,
    NotFound,
    OriginateRefused,
    RequestTimedOut,
    StatusError,
    Unprocessable,
)
from ari_app.core import messages as m

log = structlog.get_logger(__name__)

BRIDGE_TYPE = "mixing,dtmf_events"
"""Plain ``mixing`` turns native for two parties: no DTMF events, and it changes when somebody records."""

HANG_UP_AGAIN_S = 2.0

AGENT_CONTEXT = "cordboard-agent"
NO_FORWARDING = "cordboard-no-forwarding"
"""A context that does not exist. Asterisk follows a phone's 302 into the context that FORWARD_CONTEXT names
(main/dial.c): an agent's phone could send callers, at our cost, anywhere its own context reaches."""
FALLBACK_CONTEXT = "cordboard-fallback"
AUTO_ANSWER = {
    "PJSIP_HEADER(add,Call-Info)": "<sip:cordboard>;answer-after=0",
    "PJSIP_HEADER(add,Alert-Info)": "<http://localhost>;info=alert-autoanswer;delay=0",
}
"""Both common forms, since phones know one or the other: set on the leg before it is dialled."""

AriEffect = (
    m.Play
    | m.StopPlay
    | m.StartMusic
    | m.StopMusic
    | m.Originate
    | m.Hangup
    | m.Connect
    | m.DropBridge
    | m.SetAbsolute
    | m.ToFallback
)

_Answer = asyncio.Future[Response]


class AriEffects:
    """``submit`` takes the outcomes; ``display`` gives the caller id an agent's phone shows for a call
    and queue; ``spawn`` owns the short tasks that read an unclear outcome back; ``dialled`` knows a
    mobile's number by its key."""

    def __init__(
        self,
        link: AriLink,
        submit: Callable[[m.AnyInput], None],
        display: Callable[[str, str], str],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        dialled: Callable[[str], str] = str,
    ) -> None:
        self._link = link
        self._submit = submit
        self._display = display
        self._spawn = spawn
        self._dialled_for = dialled

    def run(self, effect: AriEffect) -> None:
        """Send the effect's commands now. Never raises for what Asterisk or the link may answer."""
        link = self._link
        match effect:
            case m.Play():
                self._play(effect)
            case m.StopPlay():
                self._send(effect, "DELETE", f"playbacks/{effect.playback}")
            case m.StartMusic():
                params = {"mohClass": effect.music}
                self._send(effect, "POST", f"channels/{effect.channel}/moh", params)
            case m.StopMusic():
                self._send(effect, "DELETE", f"channels/{effect.channel}/moh")
            case m.Originate():
                self._originate(effect)
            case m.Hangup():
                answer = link.send("DELETE", f"channels/{effect.channel}", params={"reason": effect.reason})
                answer.add_done_callback(lambda done: self._hung_up(effect, done))
            case m.Connect():
                self._connect(effect)
            case m.DropBridge():
                self._send(effect, "DELETE", f"bridges/{effect.bridge}")
            case m.SetAbsolute():
                params = {"variable": "TIMEOUT(absolute)", "value": str(effect.seconds)}
                self._send(effect, "POST", f"channels/{effect.channel}/variable", params)
            case m.ToFallback():
                params = {"context": FALLBACK_CONTEXT, "extension": "s", "priority": "1"}
                self._send(effect, "POST", f"channels/{effect.channel}/continue", params)
            case _:
                assert_never(effect)

    # ------------------------------------------------------------ one effect each

    def _send(self, effect: AriEffect, method: str, path: str, params: dict[str, str] | None = None) -> None:
        answer = self._link.send(method, path, params=params)
        answer.add_done_callback(lambda done: self._unless_gone(effect, done))

    def _play(self, effect: m.Play) -> None:
        media = ",".join(f"sound:{name}" for name in effect.sounds)
        path = f"channels/{effect.channel}/play/{effect.playback}"
        answer = self._link.send("POST", path, params={"media": media})
        answer.add_done_callback(lambda done: self._played(effect, done))
        if effect.music:
            # Behind the playback in the channel's own queue of commands: it starts when that ends.
            self.run(m.StartMusic(effect.channel, effect.music))

    def _originate(self, effect: m.Originate) -> None:
        # To the dialplan and not to the application: a leg answered while no application is
        # connected would be lost; the dialplan's loop keeps it.
        params = {
            "endpoint": f"PJSIP/{self._dialled_for(effect.endpoint)}",
            "context": AGENT_CONTEXT,
            "extension": "s",
            "priority": "1",
            "callerId": effect.shown or self._display(effect.call, effect.queue_name),
            "timeout": str(effect.timeout_s),
        }
        variables = {"FORWARD_CONTEXT": NO_FORWARDING, "CORDBOARD_CALLER": effect.caller}
        if effect.auto_answer:
            variables |= AUTO_ANSWER
        body = {"variables": variables}
        answer = self._link.send("POST", f"channels/{effect.leg}", params=params, body=body)
        answer.add_done_callback(lambda done: self._dialled(effect, done))

    def _connect(self, effect: m.Connect) -> None:
        self._send(effect, "POST", f"bridges/{effect.bridge}", {"type": BRIDGE_TYPE})
        path = f"bridges/{effect.bridge}/addChannel"
        answer = self._link.send("POST", path, params={"channel": ",".join(effect.channels)})
        answer.add_done_callback(lambda done: self._connected(effect, done))

    # ------------------------------------------------------------ outcomes

    def _unless_gone(self, effect: AriEffect, done: _Answer) -> None:
        error = _error(done)
        if isinstance(error, NotFound | Conflict | Unprocessable | LinkError) or error is None:
            return  # done, or nothing to do it to; a lost link is repaired from a snapshot
        log.warning("asterisk refused", effect=type(effect).__name__, error=str(error))

    def _played(self, effect: m.Play, done: _Answer) -> None:
        error = _error(done)
        if error is None or isinstance(error, NotFound | Conflict | LinkError):
            return
        log.warning("prompt refused", playback=effect.playback, error=str(error))
        self._submit(m.PromptEnded(effect.playback, ok=False))

    def _hung_up(self, effect: m.Hangup, done: _Answer) -> None:
        error = _error(done)
        if isinstance(error, NotFound):
            self._submit(m.ChannelGone(effect.channel))
        elif isinstance(error, StatusError | RequestTimedOut):
            # Nobody may be left behind in silence; after a lost link the snapshot sees to that.
            log.warning("hang-up refused", channel=effect.channel, error=str(error))
            self._spawn(self._hang_up_again(effect))

    async def _hang_up_again(self, effect: m.Hangup) -> None:
        await asyncio.sleep(HANG_UP_AGAIN_S)
        self.run(effect)

    def _dialled(self, effect: m.Originate, done: _Answer) -> None:
        error = _error(done)
        match error:
            case None:
                self._submit(m.OriginateDone(effect.leg, ok=True))
                if effect.shown:
                    self._watch(effect.leg)
            case OriginateRefused() | NotFound():
                self._submit(m.OriginateDone(effect.leg, ok=False, error="unreachable"))
            case RequestTimedOut() | DuplicateId():
                # After one true duplicate, Asterisk answers 409 to later failures of other kinds too.
                self._spawn(self._read_leg(effect))
            case LinkError():
                pass  # the snapshot after the reconnect tells whether the leg exists
            case _:
                log.warning("originate refused", leg=effect.leg, error=str(error))
                self._submit(m.OriginateDone(effect.leg, ok=False, error="failed"))

    def _watch(self, leg: str) -> None:
        """Hear of a leg over a trunk before it is in Stasis: busy, gone. Nobody subscribes to trunks."""
        path = f"applications/{self._link.settings.event_app}/subscription"
        answer = self._link.send("POST", path, params={"eventSource": f"channel:{leg}"})
        answer.add_done_callback(lambda done: self._watched(leg, done))

    def _watched(self, leg: str, done: _Answer) -> None:
        error = _error(done)
        if isinstance(error, NotFound | Unprocessable):
            self._submit(m.ChannelGone(leg))  # it was quicker
        elif error is not None and not isinstance(error, LinkError):
            log.warning("leg is not watched: its ring time decides", leg=leg, error=str(error))

    async def _read_leg(self, effect: m.Originate) -> None:
        # Served in order: if the originate made a channel, this finds it.
        there = await self._exists(effect.leg)
        if there is not None:
            self._submit(m.OriginateDone(effect.leg, ok=there, error="" if there else "failed"))

    def _connected(self, effect: m.Connect, done: _Answer) -> None:
        error = _error(done)
        if error is None:
            self._submit(m.BridgeDone(effect.call, ok=True, bridge=effect.bridge))
        elif isinstance(error, NotFound | Conflict | Unprocessable | BadRequest | RequestTimedOut):
            self._spawn(self._who_is_missing(effect, str(error)))
        elif isinstance(error, StatusError):
            self._submit(m.BridgeDone(effect.call, ok=False, error=str(error), bridge=effect.bridge))

    async def _who_is_missing(self, effect: m.Connect, error: str) -> None:
        """The answer raced somebody's hang-up, or the bridge was truly refused."""
        there = [await self._exists(channel) for channel in effect.channels]
        if None in there:
            return  # the link is gone: the snapshot will tell
        for channel, exists in zip(effect.channels, there, strict=True):
            if not exists:
                self._submit(m.ChannelGone(channel))
        if all(there):
            self._submit(m.BridgeDone(effect.call, ok=False, error=error, bridge=effect.bridge))

    async def _exists(self, channel: str) -> bool | None:
        try:
            await self._link.request("GET", f"channels/{channel}")
        except NotFound:
            return False
        except AriError:
            return None  # unknown: the link is in trouble and will be resynchronised
        return True


def _error(done: _Answer) -> AriError | None:
    if done.cancelled():
        return LinkError("cancelled")
    failure = done.exception()
    if failure is None:
        return done.result().error()
    if isinstance(failure, AriError):
        return failure
    raise failure
