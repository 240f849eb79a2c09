"""The link to one Asterisk: events on one websocket, commands on another, files over HTTP.

Commands go as ARI's REST over websocket (`RESTRequest`), pipelined in the order of the calls; Asterisk runs
those of one socket one after another. Nothing is ever queued for a later connection and nothing is replayed:
what was under way when the link broke fails with `LinkLost`, its outcome unknown, and is for the caller to
read back.

The readers only decode and hand over: a slow reader makes Asterisk close the socket, or stop its SIP.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import SplitResult, urlencode, urlsplit

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from ari_app.ari.errors import (
    ApplicationRefused,
    AriError,
    AriMissing,
    AsteriskNotBooted,
    AsteriskUnreachable,
    LinkDown,
    LinkError,
    LinkLost,
    Replaced,
    RequestTimedOut,
    RequestTooLarge,
    SetupRefused,
    StatusError,
    WrongCredentials,
    read_status,
)
from ari_app.ari.models import (
    EVENT_TYPES,
    AnyEvent,
    ApplicationReplaced,
    RESTQueryStringParameter,
    RESTResponse,
    UnknownEvent,
    decode_event,
)

if TYPE_CHECKING:
    import aiohttp

log = structlog.get_logger(__name__)

Params = Mapping[str, str | int | float | bool | Sequence[str]]
T = TypeVar("T")

# res_http_websocket's MAXIMUM_FRAME_SIZE: one byte more and Asterisk closes the socket with 1009.
LARGEST_MESSAGE_BYTES = 65_535
# Answers are not bound by that: GET channels with 2,000 of them is about 1.5 MB.
LARGEST_ANSWER_BYTES = 64 * 1024 * 1024
# Messages read from the network before their turn: beyond that, the kernel and Asterisk hold them.
UNREAD_LIMIT = 1_024
CLOSE_LIMIT_S = 0.3
DOWNLOAD_CHUNK_BYTES = 256 * 1024
# An `allowed` filter drops these too unless it names them: commands would hang, and a rival go unnoticed.
ALWAYS_ALLOWED = ("ApplicationReplaced", "RESTResponse")


class AriSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where Asterisk's ARI is and how long to wait for it. Durations in seconds.

    base_url ends with `/ari`, e.g. `http://127.0.0.1:8088/ari`. `allowed_events` empty means all of them.
    ValueError on a setting that can't work.
    """

    base_url: str
    username: str
    password: str
    event_app: str = "cordboard"
    command_app: str = "cordboard-commands"
    allowed_events: tuple[str, ...] = ()
    request_timeout_s: float = 5.0
    connect_timeout_s: float = 5.0
    download_timeout_s: float = 60.0
    ping_interval_s: float = 0.5
    silent_after_s: float = 0.5
    ping_timeout_s: float = 4.0
    # A command may rightly wait as long as a playback lasts (addChannel does); beyond this it is stuck.
    stall_limit_s: float = 60.0
    # Asterisk needs about 50 ms to let go of an application's name; a second is kind.
    reconnect_delay_s: float = 1.0
    reconnect_delay_max_s: float = 5.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.path.endswith("/ari")
        if not usable or not _port_is_right(parts):
            raise ValueError(f"base_url: {self.base_url!r} should look like http://127.0.0.1:8088/ari")
        if parts.username or parts.password:
            raise ValueError("base_url: leave the credentials out; they go in username and password")
        for name in (self.event_app, self.command_app):
            # A comma would register two applications; the rest would need quoting in every path.
            if not name or not all(character.isalnum() or character in "-_." for character in name):
                raise ValueError(f"application name {name!r}: letters, digits, '-', '_' and '.' only")
        if self.event_app == self.command_app:
            raise ValueError(
                f"event_app and command_app are both {self.event_app!r}: one would replace the other"
            )
        unknown = sorted(set(self.allowed_events) - set(EVENT_TYPES))
        if unknown:
            raise ValueError(f"allowed_events: ARI has no {', '.join(unknown)}")

    def __repr__(self) -> str:
        return f"AriSettings({self.base_url}, {self.event_app}, {self.command_app})"


def _port_is_right(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:  # no number, or too large: that is how urllib says it
        return False


class LinkState(msgspec.Struct, frozen=True):
    """What became of the link.

    `up`: filter and subscriptions set, commands accepted. `silent`: connected, but neither socket has
    answered a ping for `silent_after_s`. `down`: `error` says why; it tries again. `attempt` counts since the
    last `up`.
    """

    phase: Literal["connecting", "up", "silent", "down"]
    attempt: int
    error: AriError | None = None


class Response(msgspec.Struct, frozen=True):
    """Asterisk's answer, whatever its status. `body` is JSON text or empty."""

    method: str
    path: str
    status: int
    body: str

    def error(self) -> StatusError | None:
        return read_status(self.method, self.path, self.status, self.body)

    def decode(self, kind: type[T]) -> T:
        """The body as one of `models` (or `list[Channel]` ...). Raises its StatusError when there is one."""
        error = self.error()
        if error is not None:
            raise error
        return msgspec.json.decode(self.body, type=kind)


class _Request(msgspec.Struct, tag_field="type", tag="RESTRequest", omit_defaults=True):
    transaction_id: str
    request_id: str
    method: str
    uri: str
    query_strings: tuple[RESTQueryStringParameter, ...] = ()
    content_type: str = ""
    message_body: str = ""


class _Waiting(msgspec.Struct):
    future: asyncio.Future[Response]
    method: str
    path: str
    timer: asyncio.TimerHandle | None


_encode = msgspec.json.Encoder().encode


def _text(value: str | int | float | bool | Sequence[str]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    return ",".join(value)


class _Socket:
    """One websocket of the link: a writer in order, a reader, the requests under way, its ping."""

    def __init__(
        self,
        websocket: ClientConnection,
        app: str,
        on_event: Callable[[AnyEvent | UnknownEvent], None],
    ) -> None:
        self.app = app
        self.round_trip_s: float | None = None
        self.heard_at = time.monotonic()
        self.doubted = asyncio.Event()
        self._websocket = websocket
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting: dict[str, _Waiting] = {}
        self._count = 0
        self._lost: LinkError | None = None
        self._ping: asyncio.Future[Response] | None = None
        self._pinged_at = 0.0

    def send(
        self, method: str, path: str, params: Params | None, body: object, timeout_s: float | None
    ) -> asyncio.Future[Response]:
        """Hand a request to the writer. The future ends with a Response, LinkLost or RequestTimedOut."""
        future: asyncio.Future[Response] = self._loop.create_future()
        if self._lost is not None:
            future.set_exception(self._lost)
            return future
        self._count += 1
        key = str(self._count)
        request = _Request(transaction_id=key, request_id=key, method=method, uri=path)
        if params:
            request.query_strings = tuple(
                RESTQueryStringParameter(name=name, value=_text(value)) for name, value in params.items()
            )
        if body is not None:
            request.content_type = "application/json"
            request.message_body = _encode(body).decode()
        frame = _encode(request)
        if len(frame) > LARGEST_MESSAGE_BYTES:
            future.set_exception(
                RequestTooLarge(
                    f"{method} {path}: {len(frame)} bytes; Asterisk takes {LARGEST_MESSAGE_BYTES} at most"
                )
            )
            return future
        timer = (
            None if timeout_s is None else self._loop.call_later(timeout_s, self._time_out, key, timeout_s)
        )
        self._waiting[key] = _Waiting(future, method, path, timer)
        self._outbox.put_nowait(frame)
        return future

    def _time_out(self, key: str, timeout_s: float) -> None:
        waiting = self._waiting.pop(key)
        self.doubted.set()
        if not waiting.future.done():
            waiting.future.set_exception(
                RequestTimedOut(f"{waiting.method} {waiting.path}: no answer in {timeout_s:g} s")
            )

    def _answer(self, answer: RESTResponse) -> None:
        self.heard_at = time.monotonic()
        waiting = self._waiting.pop(answer.request_id, None)
        if waiting is None:
            return  # it had timed out: its caller was told that the outcome is unknown
        if waiting.timer is not None:
            waiting.timer.cancel()
        if not waiting.future.done():
            waiting.future.set_result(
                Response(waiting.method, waiting.path, answer.status_code, answer.message_body or "")
            )

    async def write(self) -> None:
        """Send what `send` hands over, in order. Raises LinkLost when the socket closes."""
        while True:
            frame = await self._outbox.get()
            try:
                await self._websocket.send(frame, text=True)
            except ConnectionClosed as error:
                raise LinkLost(f"{self.app}: the connection broke while sending") from error

    async def read(self) -> None:
        """Decode and hand over, without pause between frames already there. Raises LinkLost or Replaced."""
        while True:
            try:
                message = await self._websocket.recv(decode=False)
            except ConnectionClosed:
                code = self._websocket.close_code
                raise LinkLost(f"{self.app}: Asterisk closed the connection (code {code})") from None
            event = decode_event(message)
            if type(event) is RESTResponse:
                self._answer(event)
            elif type(event) is ApplicationReplaced:
                raise Replaced(
                    f"another process connected to Asterisk as application {self.app!r}; this one stops. "
                    "Run one Cordboard per application name"
                )
            else:
                self._on_event(event)

    async def ping(self, limit_s: float) -> bool:
        """Whether Asterisk answers on this socket within `limit_s` of asking. One ping at a time."""
        ping = self._ping
        if ping is None or ping.done():
            self._pinged_at = time.monotonic()
            ping = self._ping = self.send("GET", "asterisk/ping", None, None, None)
            ping.add_done_callback(self._pinged)
        left_s = self._pinged_at + limit_s - time.monotonic()
        await asyncio.wait({ping}, timeout=max(left_s, 0.0))
        return ping.done() and ping.exception() is None

    def _pinged(self, ping: asyncio.Future[Response]) -> None:
        if ping.exception() is None:
            self.round_trip_s = time.monotonic() - self._pinged_at

    async def close(self) -> None:
        """Fail what is under way, then close. Never raises, never waits long."""
        self._lost = LinkDown(f"{self.app}: the connection has ended; nothing was sent")
        for waiting in self._waiting.values():
            if waiting.timer is not None:
                waiting.timer.cancel()
            if not waiting.future.done():
                waiting.future.set_exception(
                    LinkLost(f"{waiting.method} {waiting.path}: the link broke before the answer came")
                )
        self._waiting.clear()
        await self._websocket.close()


class AriLink:
    """Both sockets to one Asterisk, kept connected by `run`.

    `on_event` gets every decoded event of the event socket, in order, called straight from the reader: it
    must only queue. `on_state` gets each LinkState. Events flow from the moment the event socket is open,
    before `up` is reported: a snapshot taken after `up` misses nothing.
    """

    def __init__(
        self,
        settings: AriSettings,
        on_event: Callable[[AnyEvent | UnknownEvent], None],
        on_state: Callable[[LinkState], None],
    ) -> None:
        self.settings = settings
        self.subscriptions: set[str] = set()
        self.refused_sources: dict[str, StatusError] = {}
        self.unknown_events = 0
        self.state = LinkState("down", 0)
        self._on_event = on_event
        self._on_state = on_state
        self._running = False
        self._http: aiohttp.ClientSession | None = None
        self._events: _Socket | None = None
        self._commands: _Socket | None = None
        self._subscribing = False
        self._ever_up = False

    # What others use

    @property
    def up(self) -> bool:
        return self.state.phase in ("up", "silent")

    @property
    def event_round_trip_s(self) -> float | None:
        """Last ping's round trip on the event socket; None before the first."""
        return self._events.round_trip_s if self._events else None

    @property
    def command_round_trip_s(self) -> float | None:
        """Last ping's round trip on the command socket, behind the commands before it."""
        return self._commands.round_trip_s if self._commands else None

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: object = None,
        timeout_s: float | None = None,
    ) -> asyncio.Future[Response]:
        """Send one command after those sent before it, without waiting.

        The future ends with a Response of any status (see `Response.error`) or a LinkError: LinkDown when not
        connected (not sent), RequestTooLarge (not sent), LinkLost and RequestTimedOut (outcome unknown).
        `path` has neither a leading slash nor `ari/`; ids in it need no quoting when derived from ours.
        """
        if path.startswith(("/", "ari/")) or "?" in path:
            raise ValueError(f"{path!r}: give channels/ID/play, without /ari/ and with parameters in params")
        if self._commands is None or not self.up:
            future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
            future.set_exception(LinkDown(f"{method} {path}: not connected to Asterisk; nothing was sent"))
            return future
        limit_s = self.settings.request_timeout_s if timeout_s is None else timeout_s
        return self._commands.send(method, path, params, body, limit_s)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: object = None,
        timeout_s: float | None = None,
    ) -> Response:
        """As `send`, awaited; a status that is no success raises its StatusError."""
        response = await self.send(method, path, params=params, body=body, timeout_s=timeout_s)
        error = response.error()
        if error is not None:
            raise error
        return response

    async def subscribe(self, sources: Iterable[str]) -> dict[str, StatusError]:
        """Subscribe the event application to sources (`endpoint:PJSIP/alice`), now and after every connect.

        Returns those that Asterisk refused (an endpoint it does not know), which stay in `subscriptions` and
        are tried again at the next connect or call.
        """
        wanted = list(sources)
        self.subscriptions.update(wanted)
        if not self._subscribing or self._commands is None:
            return {}
        try:
            return await self._subscribe(self._commands, wanted)
        except LinkError:
            return {}  # the next connect subscribes to all of `subscriptions`

    async def unsubscribe(self, sources: Iterable[str]) -> None:
        """Forget sources; Asterisk is told when connected."""
        for source in sources:
            self.subscriptions.discard(source)
            self.refused_sources.pop(source, None)
            if self._subscribing and self._commands is not None:
                path = f"applications/{self.settings.event_app}/subscription"
                self._commands.send(
                    "DELETE", path, {"eventSource": source}, None, self.settings.request_timeout_s
                ).add_done_callback(_retrieve)

    async def fetch(self, path: str) -> bytes:
        """A binary over HTTP (websockets answer 406), whole, in memory. StatusError, LinkError."""
        whole = bytearray()

        async def keep(chunk: bytes) -> None:
            whole.extend(chunk)

        await self._get(path, keep)
        return bytes(whole)

    async def download(self, path: str, target: Path) -> int:
        """A binary over HTTP into a file, which appears under its name only when whole. Returns its bytes."""
        part = target.with_name(target.name + ".part")
        file = await asyncio.to_thread(part.open, "wb")
        try:
            await self._get(path, lambda chunk: asyncio.to_thread(file.write, chunk))
            size = file.tell()
            await asyncio.to_thread(file.close)
            await asyncio.to_thread(part.replace, target)
        finally:
            await asyncio.to_thread(file.close)
            await asyncio.to_thread(part.unlink, missing_ok=True)
        return size

    async def _get(self, path: str, take: Callable[[bytes], Awaitable[object]]) -> None:
        if not self._running:
            raise LinkDown(f"GET {path}: the link is not running")
        # Not above, where a start would wait for it; and it would hold the loop up here.
        aiohttp = await asyncio.to_thread(importlib.import_module, "aiohttp")
        if self._http is None:
            self._http = aiohttp.ClientSession(headers=self._headers())
        limit_s = self.settings.download_timeout_s
        try:
            async with asyncio.timeout(limit_s), self._http.get(f"{self.settings.base_url}/{path}") as answer:
                if answer.status >= 300:
                    error = read_status("GET", path, answer.status, await answer.read())
                    raise error or LinkLost(f"GET {path}: {answer.status}")
                async for chunk in answer.content.iter_chunked(DOWNLOAD_CHUNK_BYTES):
                    await take(chunk)
        except TimeoutError as error:
            raise RequestTimedOut(f"GET {path}: not whole in {limit_s:g} s") from error
        except aiohttp.ClientError as error:
            raise LinkLost(f"GET {path}: the connection broke") from error

    # The life of the link

    async def run(self) -> None:
        """Connect, and reconnect for ever. Ends by cancellation, or by raising.

        Replaced at any time; WrongCredentials and ApplicationRefused when there has been no connection yet
        (later, Asterisk may be in the middle of a change of its configuration while calls are live).
        """
        self._running = True
        try:
            await self._keep_connected()
        finally:
            self._running = False
            http, self._http = self._http, None
            if http is not None:
                await http.close()
            self.state = LinkState("down", 0, self.state.error)

    def _headers(self) -> dict[str, str]:
        user = f"{self.settings.username}:{self.settings.password}"
        return {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}

    async def _keep_connected(self) -> None:
        attempt = 0
        while True:
            attempt += 1
            self._tell("connecting", attempt)
            try:
                await self._connection(attempt)
            except LinkError as error:
                attempt = 0 if self.up else attempt
                self._tell("down", attempt, error)
                if isinstance(error, Replaced):
                    raise
                if isinstance(error, WrongCredentials | ApplicationRefused) and not self._ever_up:
                    raise
            await asyncio.sleep(self._delay_s(attempt))

    def _delay_s(self, attempt: int) -> float:
        """Grows with the attempts since the link was last up; spread, so that two don't march in step."""
        delay_s = self.settings.reconnect_delay_s * 1.5 ** min(attempt, 20)
        return min(delay_s, self.settings.reconnect_delay_max_s) * random.uniform(0.8, 1.2)

    def _tell(
        self,
        phase: Literal["connecting", "up", "silent", "down"],
        attempt: int,
        error: AriError | None = None,
    ) -> None:
        self.state = LinkState(phase, attempt, error)
        log.info("ari link", phase=phase, attempt=attempt, error=str(error) if error else None)
        self._on_state(self.state)

    async def _connection(self, attempt: int) -> None:
        """One connection, from opening to its end, which is always an error."""
        opened: list[_Socket] = []
        try:
            events = await self._open(self.settings.event_app, self._receive)
            opened.append(events)
            commands = await self._open(self.settings.command_app, _ignore)
            opened.append(commands)
            self._events, self._commands = events, commands
            async with asyncio.TaskGroup() as tasks:
                for socket in opened:
                    tasks.create_task(socket.read(), name=f"ari read {socket.app}")
                    tasks.create_task(socket.write(), name=f"ari write {socket.app}")
                await self._set_up(events, commands)
                self._ever_up = True
                self._tell("up", attempt)
                patience_s = 3 * self.settings.ping_timeout_s
                tasks.create_task(self._watch(events, commands, patience_s), name="ari ping events")
                tasks.create_task(
                    self._watch(commands, events, self.settings.stall_limit_s), name="ari ping commands"
                )
        except BaseExceptionGroup as group:
            raise _cause(group) from None
        finally:
            self._events = self._commands = None
            self._subscribing = False
            await asyncio.gather(*(socket.close() for socket in opened))

    async def _open(self, app: str, on_event: Callable[[AnyEvent | UnknownEvent], None]) -> _Socket:
        url = f"ws{self.settings.base_url.removeprefix('http')}/events?{urlencode({'app': app})}"
        try:
            async with asyncio.timeout(self.settings.connect_timeout_s):
                websocket = await connect(
                    url,
                    additional_headers=self._headers(),
                    compression=None,
                    proxy=None,
                    open_timeout=None,
                    ping_interval=None,  # `_watch` asks more often, and whether ARI answers
                    close_timeout=CLOSE_LIMIT_S,
                    max_size=LARGEST_ANSWER_BYTES,
                    max_queue=UNREAD_LIMIT,
                )
        except InvalidStatus as error:
            raise self._refusal(error.response.status_code, app) from None
        except (OSError, InvalidHandshake) as error:  # TimeoutError is an OSError, too
            raise AsteriskUnreachable(
                f"no connection to {self.settings.base_url} ({error or 'no answer'}); is Asterisk running, "
                "with enabled=yes, bindaddr and bindport as here in its http.conf?"
            ) from error
        return _Socket(websocket, app, on_event)

    def _refusal(self, status: int, app: str) -> LinkError:
        where = self.settings.base_url
        if status in (401, 403):
            return WrongCredentials(
                f"{where} refused user {self.settings.username!r} ({status}); "
                "the user and its password must be those of a section with type=user in Asterisk's ari.conf"
            )
        if status == 400:
            return ApplicationRefused(f"{where} refused the application name {app!r} (400)")
        if status == 404:
            return AriMissing(
                f"{where} answers but has no ARI (404); load res_ari, res_ari_events and res_http_websocket, "
                "set enabled=yes in ari.conf, and check the prefix in http.conf"
            )
        if status == 503:
            return AsteriskNotBooted(f"{where}: Asterisk is still starting (503)")
        return LinkLost(f"{where} answered {status} to the connection of {app!r}")

    async def _set_up(self, events: _Socket, commands: _Socket) -> None:
        settings = self.settings
        for socket in (events, commands):
            # A socket opened right after the last one under its name closed may answer nothing, for ever.
            if not await socket.ping(settings.ping_timeout_s):
                raise LinkLost(f"{socket.app}: connected, but no answer to a ping")
        allowed = {*settings.allowed_events, *ALWAYS_ALLOWED} if settings.allowed_events else ()
        await self._filter(commands, settings.event_app, allowed)
        await self._filter(commands, settings.command_app, ALWAYS_ALLOWED)
        self._subscribing = True
        await self._subscribe(commands, sorted(self.subscriptions))

    async def _filter(self, commands: _Socket, app: str, allowed: Iterable[str]) -> None:
        """Let only these types through to an application; all of them when there are none."""
        body = {"allowed": [{"type": kind} for kind in sorted(allowed)]}
        path = f"applications/{app}/eventFilter"
        response = await commands.send("PUT", path, None, body, self.settings.request_timeout_s)
        error = response.error()
        if error is not None:
            raise SetupRefused(f"the event filter of {app!r} was refused: {error}")

    async def _subscribe(self, commands: _Socket, sources: Sequence[str]) -> dict[str, StatusError]:
        """One request a source: Asterisk refuses a list whole for one unknown source."""
        path = f"applications/{self.settings.event_app}/subscription"
        limit_s = self.settings.request_timeout_s
        answers = await asyncio.gather(
            *(commands.send("POST", path, {"eventSource": source}, None, limit_s) for source in sources),
            return_exceptions=True,
        )
        refused: dict[str, StatusError] = {}
        for source, answer in zip(sources, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            error = answer.error()
            if error is None:
                self.refused_sources.pop(source, None)
            else:
                refused[source] = self.refused_sources[source] = error
                log.warning(
                    "ari subscription refused", source=source, status=error.status, reason=error.reason
                )
        return refused

    async def _watch(self, socket: _Socket, other: _Socket, patience_s: float) -> None:
        """Ping for ever. One socket may be slow (a command waits in Asterisk); both silent is a dead link.

        Raises LinkLost when neither answers within `ping_timeout_s`, or this one not for `patience_s`.
        """
        settings = self.settings
        while True:
            await _any_of(socket.doubted, settings.ping_interval_s)
            if await socket.ping(settings.silent_after_s):
                if self.state.phase == "silent":
                    self._tell("up", self.state.attempt)
                continue
            if self.state.phase == "up" and not await other.ping(settings.silent_after_s):
                self._tell("silent", self.state.attempt)
            if await socket.ping(settings.ping_timeout_s):
                continue
            if not await other.ping(settings.ping_timeout_s):
                raise LinkLost(f"neither connection answered a ping in {settings.ping_timeout_s:g} s")
            if time.monotonic() - socket.heard_at > patience_s:
                raise LinkLost(f"{socket.app}: no answer for {patience_s:g} s")

    def _receive(self, event: AnyEvent | UnknownEvent) -> None:
        if type(event) is UnknownEvent:
            self.unknown_events += 1
            log.warning("ari event of unknown shape", type=event.type, problem=event.problem)
        self._on_event(event)


def _ignore(event: AnyEvent | UnknownEvent) -> None:
    """The command application subscribes to nothing; what reaches it before its filter is set is not ours."""


def _retrieve(future: asyncio.Future[Response]) -> None:
    if not future.cancelled():
        future.exception()


async def _any_of(event: asyncio.Event, limit_s: float) -> None:
    """Return when the event is set (and clear it) or after the limit."""
    try:
        async with asyncio.timeout(limit_s):
            await event.wait()
    except TimeoutError:
        return  # the ordinary end: nothing was doubted
    event.clear()


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended a connection: Replaced before any LinkError, a mistake of ours (the group) before both."""
    links, others = group.split(LinkError)
    if others is not None or links is None:
        return group
    leaves = list(_leaves(links))
    return next((leaf for leaf in leaves if isinstance(leaf, Replaced)), leaves[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
