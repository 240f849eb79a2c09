"""Asterisk Manager Interface, for what ARI lacks: a MixMonitor on a channel, muting it, device states.

Stands on panoramisk 1.4 for AMI's syntax and for matching answers to actions, and on no more of it: its
Manager queues actions while disconnected and replays them on reconnect, takes a refused login for success,
and reconnects on timers that nobody owns. Here every connection has a protocol object of its own that is
thrown away with it, so nothing outlives it: an action sent while disconnected fails at once, one under way
when the connection breaks fails with its outcome unknown, and neither is ever sent again.
"""

from __future__ import annotations

import asyncio
import codecs
import logging
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from panoramisk.actions import Action
from panoramisk.ami_protocol import AMIProtocol
from panoramisk.message import Message

log = structlog.get_logger(__name__)

CONNECT_LIMIT_S = 5.0
ACTION_LIMIT_S = 5.0
PING_INTERVAL_S = 2.0
RECONNECT_DELAY_S = 1.0
RECONNECT_DELAY_MAX_S = 5.0

Value = str | int | Sequence[str]
Fields = dict[str, str]

# panoramisk logs whole actions (secrets, numbers) when something fails; we report by type instead. Made
# outside logging's hierarchy, so that nobody's configuration turns it on.
_SILENT = logging.Logger("panoramisk")
_SILENT.disabled = True


class AmiProblem(Exception):
    """Base of everything this package raises. `outcome_unknown`: the action may have run; read it back."""

    outcome_unknown: bool = False


class AmiDown(AmiProblem):
    """Not connected: nothing was sent, nothing is queued."""


class AmiUnreachable(AmiDown):
    """Nothing accepts the connection."""


class AmiLost(AmiProblem):
    """The connection ended while the action was under way."""

    outcome_unknown = True


class AmiTimedOut(AmiProblem):
    """No answer within the action's limit."""

    outcome_unknown = True


class AmiLoginRefused(AmiProblem):
    """Asterisk refused the user or the secret."""


class AmiInjection(AmiProblem, ValueError):
    """A name or value would have broken out of its line; nothing was sent."""


class AmiError(AmiProblem):
    """Asterisk answered `Response: Error`; the text is its own."""


class AmiChannelNotFound(AmiError):
    """The channel is gone: normal when somebody hangs up first."""


def _checked(name: str, value: Value) -> str | list[str]:
    """The value as panoramisk wants it. AMI ends a line at CR LF, a string at NUL, and knows no escapes."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name):
        raise AmiInjection(f"AMI header name {name!r}: letters, digits and '-' only")
    texts = [str(value)] if isinstance(value, str | int) else list(value)
    for text in texts:
        if any(character in text for character in "\r\n\0"):
            raise AmiInjection(f"AMI header {name}: CR, LF and NUL can't be sent")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise AmiInjection(f"AMI header {name}: not encodable as UTF-8") from None
    return texts[0] if isinstance(value, str | int) else texts


def _fields(message: Mapping[str, Any]) -> Fields:
    """One message's headers; one that came several times is joined by line feeds.

    panoramisk drops an empty header at a message's end (`Value: ` of an unset variable): read with `.get`.
    """
    return {
        name: "\n".join(value) if isinstance(value, list) else str(value) for name, value in message.items()
    }


class _Protocol(AMIProtocol):  # type: ignore[misc]  # panoramisk has no types
    """One connection: panoramisk's parser and matcher, without its queue and with whole UTF-8 characters."""

    closed: bool

    def __init__(self, on_event: Callable[[Fields], None]) -> None:
        self._on_event = on_event
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.encoding = "utf-8"
        self.log = _SILENT
        self.factory = self  # for dispatch(); its other uses are overridden here

    def data_received(self, data: bytes) -> None:
        # panoramisk decodes each read by itself and drops the halves of a character that was split.
        super().data_received(self._decoder.decode(data).encode())

    def dispatch(self, event: Message) -> None:
        self._on_event(_fields(event))

    def forget(self, action: Action) -> None:
        self.responses.pop(action.id, None)

    def connection_lost(self, exc: object) -> None:
        """Also called by panoramisk for AMI's Shutdown event."""
        self.close()

    def close(self) -> None:
        """Close and fail what is under way. panoramisk's own would queue it for a replay."""
        if self.closed:
            return
        self.closed = True
        self.transport.close()
        for action in self.responses.values():
            if not action.future.done():
                action.future.set_exception(
                    AmiLost(f"AMI {action['action']}: the connection ended before the answer came")
                )
        self.responses.clear()
        self.queue.clear()
        if not self.ended.done():
            self.ended.set_result(None)


class AmiAdapter:
    """One connection to AMI, kept up by `run`.

    `on_state(connected, why)` is told of each change; `on_event` gets AMI's events as header dictionaries
    when `events` asks for any (`"off"`, or classes as in manager.conf's read=, e.g. `"call"`).
    """

    def __init__(
        self,
        host: str,
        port: int,
        username: str,
        password: str,
        *,
        events: str = "off",
        on_event: Callable[[Fields], None] = lambda fields: None,
        on_state: Callable[[bool, AmiProblem | None], None] = lambda connected, why: None,
        reconnect_delay_s: float = RECONNECT_DELAY_S,
    ) -> None:
        self._host = host
        self._port = port
        self._username = username
        self._password = password
        self._events = events
        self._on_event = on_event
        self._on_state = on_state
        self._reconnect_delay_s = reconnect_delay_s
        self._protocol: _Protocol | None = None
        self._ever_connected = False

    @property
    def connected(self) -> bool:
        """Logged in, and not known to be broken."""
        return self._protocol is not None and not self._protocol.closed

    async def action(self, name: str, *, limit_s: float = ACTION_LIMIT_S, **values: Value) -> Fields:
        """Run one action and return its answer's headers.

        Raises AmiDown and AmiInjection (not sent), AmiError, AmiLost and AmiTimedOut (outcome unknown).
        """
        return (await self._listed(name, limit_s, values))[0]

    async def listing(self, name: str, *, limit_s: float = ACTION_LIMIT_S, **values: Value) -> list[Fields]:
        """Run an action that answers with a list of events; returns those between its first and last."""
        return (await self._listed(name, limit_s, values))[1:-1]

    async def _listed(self, name: str, limit_s: float, values: Mapping[str, Value]) -> list[Fields]:
        if self._protocol is None or self._protocol.closed:
            raise AmiDown(f"AMI {name}: not connected to Asterisk; nothing was sent")
        return await _run(self._protocol, name, limit_s, values)

    async def mix_monitor_start(
        self, channel: str, file: str, options: str = "D", variable: str = "CORDBOARD_MIXMONITOR"
    ) -> str:
        """Record a channel (its name or unique id) into `file`; returns the id that `mix_monitor_stop` needs.

        `options` as in `core show application MixMonitor`; the `i` that asks for the id is added;
        the channel's `variable` then holds it.
        """
        for what, text in (("file", file), ("options", options), ("variable", variable)):
            # The action joins them by commas into the application's arguments, the last a shell command.
            if "," in text:
                raise AmiInjection(f"MixMonitor {what}: a comma would start the next argument")
        answer = await self.action(
            "MixMonitor", Channel=channel, File=file, Options=f"{options}i({variable})"
        )
        if "MixMonitorID" not in answer:
            raise AmiError("AMI MixMonitor: started, but the answer holds no MixMonitorID")
        return answer["MixMonitorID"]

    async def mix_monitor_stop(self, channel: str, monitor: str) -> None:
        """Stop one recording. AmiError when it has stopped, AmiChannelNotFound when the channel is gone."""
        await self.action("StopMixMonitor", Channel=channel, MixMonitorID=monitor)

    async def mix_monitor_mute(self, channel: str, on: bool) -> None:
        """Silence (or not) both directions of the channel's recordings; time goes on. AmiError if none."""
        await self.action("MixMonitorMute", Channel=channel, Direction="both", State=int(on))

    async def run(self) -> None:
        """Connect, log in, keep alive, reconnect. Ends by cancellation, or by raising.

        AmiLoginRefused when the very first login is refused (later, manager.conf may be mid-change).
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                await self._connection()
            except AmiProblem as problem:
                if self._protocol is not None:
                    attempt = 0
                self._protocol = None
                log.warning("ami link", connected=False, attempt=attempt, error=str(problem))
                self._on_state(False, problem)
                if isinstance(problem, AmiLoginRefused) and not self._ever_connected:
                    raise
            finally:
                self._protocol = None
            delay_s = min(self._reconnect_delay_s * 1.5 ** min(attempt, 20), RECONNECT_DELAY_MAX_S)
            await asyncio.sleep(delay_s * random.uniform(0.8, 1.2))

    async def _connection(self) -> None:
        """One connection, from opening to its end, which is always an AmiProblem."""
        protocol = await self._open()
        try:
            await self._log_in(protocol)
            self._protocol = protocol
            self._ever_connected = True
            log.info("ami link", connected=True)
            self._on_state(True, None)
            while True:
                await asyncio.wait({protocol.ended}, timeout=PING_INTERVAL_S)
                if protocol.ended.done():
                    raise AmiLost("AMI: Asterisk closed the connection")
                await _run(protocol, "Ping", ACTION_LIMIT_S, {})
        finally:
            protocol.close()

    async def _open(self) -> _Protocol:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                _, protocol = await loop.create_connection(
                    lambda: _Protocol(self._on_event), self._host, self._port
                )
        except (OSError, TimeoutError) as error:
            raise AmiUnreachable(
                f"no AMI at {self._host}:{self._port} ({error or 'no answer'}); is Asterisk running, with "
                "enabled=yes, bindaddr and port as here in its manager.conf?"
            ) from error
        return protocol

    async def _log_in(self, protocol: _Protocol) -> None:
        login = {"Username": self._username, "Secret": self._password, "Events": self._events}
        try:
            await _run(protocol, "Login", CONNECT_LIMIT_S, login)
        except AmiError as error:
            raise AmiLoginRefused(
                f"AMI at {self._host}:{self._port} refused user {self._username!r} ({error}); user and "
                "secret must be those of a section of Asterisk's manager.conf that permits this address"
            ) from None


async def _run(protocol: _Protocol, name: str, limit_s: float, values: Mapping[str, Value]) -> list[Fields]:
    """Send one action and wait for all of its answer."""
    headers = {"Action": _checked("Action", name)}
    headers |= {header: _checked(header, value) for header, value in values.items()}
    action = Action(headers)
    try:
        async with asyncio.timeout(limit_s):
            answer = await protocol.send(action)
    except TimeoutError:
        raise AmiTimedOut(f"AMI {name}: no answer in {limit_s:g} s") from None
    finally:
        protocol.forget(action)
    messages = [_fields(message) for message in (answer if isinstance(answer, list) else [answer])]
    if messages[0].get("Response") == "Error":
        text = messages[0].get("Message", "no reason given")
        raise (AmiChannelNotFound if text == "No such channel" else AmiError)(f"AMI {name}: {text}")
    return messages
