"""A SIP phone for tests: registers, dials, rings, answers, presses keys, hangs up, and remembers when.

All times are CLOCK_MONOTONIC nanoseconds, comparable with the ear's.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any, Final

from . import sip
from .ear import Ear
from .sip import Message, Sdp, SipError
from .voice import MediaError, MediaProcess, Voice

ALLOW: Final = ("allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, NOTIFY")


@dataclass(frozen=True, slots=True)
class Account:
    """What a phone is configured with. Without a password it answers no challenge."""

    user: str
    host: str
    port: int
    password: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    """How a call ended: by ``us`` or ``them``, with the final code (200 for a BYE) and Q.850 cause."""

    by: str
    code: int
    cause: int | None
    at_ns: int
    reasons: tuple[str, ...] = ()
    """The Reason headers (RFC 3326) of their CANCEL or BYE."""


class Call:
    """One call of one phone, either way. Made by :meth:`Phone.dial` or by an incoming INVITE."""

    def __init__(self, phone: "Phone", voice: Voice, outgoing: bool, call_id: str) -> None:
        self.phone, self.voice, self.outgoing, self.call_id = phone, voice, outgoing, call_id
        self.number = ""
        """Dialled (outgoing) or the request URI's user (incoming)."""
        self.invite: Message
        self.invited_ns = monotonic_ns()
        self.ringing_ns: int | None = None
        self.answered_ns: int | None = None
        """When the 200 was received (outgoing) or sent (incoming)."""
        self.acknowledged_ns: int | None = None
        self.while_busy = False
        """The phone had another call when this one came in."""
        self.end: End | None = None
        self._tag = secrets.token_hex(6)
        self._remote = ""  # the To (outgoing) or From (incoming) of the other side, with its tag
        self._local = ""
        self._target = ""
        self._routes: list[str] = []
        self._cseq = 1
        self._ack: Message | None = None
        self._sdp: Sdp | None = None
        self._invite_branch = ""
        self._cancelled = False
        self._rang, self._was_answered, self._gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._heard_of, self._settled = asyncio.Event(), asyncio.Event()

    @property
    def ear(self) -> Ear:
        return self.voice.ear

    @property
    def caller_name(self) -> str:
        """Display name of the other side's From, as shown on the phone."""
        return sip.address(self._remote)[0]

    @property
    def caller_number(self) -> str:
        """User part of the other side's From, percent-decoded."""
        return sip.address(self._remote)[1]

    def header(self, name: str) -> str:
        """A header of the INVITE; empty if absent."""
        return self.invite.header(name)

    @property
    def up(self) -> bool:
        return self.answered_ns is not None and self.end is None

    @property
    def heard_of(self) -> bool:
        """Whether the INVITE had any response; until then it is repeated."""
        return self._heard_of.is_set()

    async def rings(self, within_s: float = 5.0) -> int:
        """Wait for the ringing; when it began."""
        await self._wait(self._rang, "ring", within_s)
        assert self.ringing_ns is not None
        return self.ringing_ns

    async def answered(self, within_s: float = 5.0) -> int:
        """Wait for the answer; when it came.

        Raises:
            AssertionError: no answer in time, or the call ended without one; the text says with what.
        """
        await self._wait(self._was_answered, "was not answered", within_s)
        if self.answered_ns is None:
            raise AssertionError(f"{self} ended without an answer: {self.end}")
        return self.answered_ns

    async def gone(self, within_s: float = 5.0) -> End:
        """Wait until the call is over, whoever ended it."""
        await self._wait(self._gone, "did not end", within_s)
        assert self.end is not None
        return self.end

    async def _wait(self, event: asyncio.Event, what: str, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                await event.wait()
        except TimeoutError:
            raise AssertionError(f"{self} {what} in {within_s} s; it hears {self.ear.story()}") from None

    def __str__(self) -> str:
        return f"{self.phone.name}'s call {'to' if self.outgoing else 'for'} {self.number}"

    async def press(self, digits: str, tone_ms: int = 100, gap_ms: int = 80) -> int:
        """Press keys; when the end of the last one was sent."""
        return await self.voice.press(digits, tone_ms, gap_ms)

    async def ring(self) -> None:
        """Send 180 (incoming)."""
        self._respond(180)
        self.ringing_ns = monotonic_ns()
        self._rang.set()

    async def answer(self) -> None:
        """Send 200 with our audio (incoming), and speak. Nothing happens if the caller has gone."""
        if self.end is not None or self.answered_ns is not None:
            return
        offer = Sdp.parse(self.invite.body) if self.invite.body else None
        self._sdp = self.phone.describe(self.voice, offer)
        data = self._respond(200, body=str(self._sdp))
        self.answered_ns = monotonic_ns()
        self._was_answered.set()
        self.phone.spawn(self._repeat_ok(data))
        if offer is not None:
            await self._listen_to(offer)

    async def _repeat_ok(self, response: Message) -> None:
        """RFC 3261, 13.3.1.4: the 200 again until the ACK comes."""
        interval_s = sip.T1_S
        while interval_s < 16:
            try:
                async with asyncio.timeout(interval_s):
                    await self._settled.wait()
                return
            except TimeoutError:
                self.phone.endpoint.answer(self.invite, response)
            interval_s *= 2

    async def reject(self, code: int = 486) -> None:
        """Refuse (incoming): 486 busy, 603 decline, 480 ..."""
        if self.end is None and self.answered_ns is None:
            self._respond(code)
            await self.finish("us", code)

    async def hang_up(self) -> None:
        """BYE, or CANCEL before the answer, or 480 for a call that rings here. Fine if it is over.

        A CANCEL that crosses the answer becomes a BYE, as in a real phone.
        """
        if self.end is not None:
            return
        if self.answered_ns is not None:
            await self._bye()
        elif self.outgoing:
            await self._cancel()
        else:
            await self.reject(480)

    async def _bye(self) -> None:
        request = self._in_dialog("BYE")
        ended_ns = monotonic_ns()
        self.phone.spawn(self._say_bye(request), to_the_end=True)
        await self.finish("us", 200, at_ns=ended_ns)

    async def _say_bye(self, request: Message) -> None:
        await self.phone.endpoint.request(request, self._next_hop())

    async def _cancel(self) -> None:
        self._cancelled = True
        # RFC 3261, 9.1: no CANCEL before a provisional response.
        await self._wait(self._heard_of, "had no response at all", 5)
        if self.end is not None or self.answered_ns is not None:
            return
        headers = [("via", self.invite.header("via")), ("max-forwards", "70")]
        headers += [(name, self.invite.header(name)) for name in ("from", "to", "call-id")]
        number = self.invite.header("cseq").split()[0]
        uri = self.invite.start.split(" ")[1]
        cancel = Message(f"CANCEL {uri} SIP/2.0", [*headers, ("cseq", f"{number} CANCEL")])
        await self.phone.endpoint.request(cancel, self.phone.server)

    async def hold(self) -> None:
        """Put the other side on hold (re-INVITE, sendonly)."""
        await self._reinvite("sendonly")

    async def resume(self) -> None:
        await self._reinvite("sendrecv")

    async def _reinvite(self, direction: str) -> None:
        assert self._sdp is not None, f"{self} is not up"
        sdp = Sdp(self._sdp.host, self._sdp.port, self._sdp.payload_type, self._sdp.event_type, direction)
        request = self._in_dialog("INVITE", body=str(sdp))
        response = await self.phone.endpoint.request(request, self._next_hop())
        if response.status != 200:
            raise SipError(f"{self}: re-INVITE was answered {response.start}")
        self._acknowledge(response)

    # What the phone's endpoint and dial() report.

    async def dialled(self, request: Message, response: Message) -> None:
        """The final response to our INVITE."""
        self._heard_of.set()
        assert response.status is not None
        if response.status != 200:
            await self.finish("us" if self._cancelled else "them", response.status, cause(response))
            return
        self._remote = response.header("to")
        self._target = sip.address(response.header("contact"))[2]
        self._routes = response.all("record-route")[::-1]
        self.answered_ns = response.at_ns
        self._acknowledge(response)
        self._was_answered.set()
        if self._cancelled:
            await self._bye()
        else:
            await self._listen_to(Sdp.parse(response.body))

    def progress(self, response: Message) -> None:
        """A provisional response to our INVITE; early media is listened to by the open port anyway."""
        self._heard_of.set()
        if response.status in (180, 183) and self.ringing_ns is None:
            self.ringing_ns = response.at_ns
            self._rang.set()

    def again_ok(self) -> None:
        """The 200 came again: our ACK was lost."""
        if self._ack is not None:
            self.phone.endpoint.send_bytes(self._ack.encode(), self._next_hop())

    async def requested(self, request: Message) -> None:
        """A request inside this call."""
        endpoint = self.phone.endpoint
        match request.method:
            case "ACK":
                self.acknowledged_ns = self.acknowledged_ns or request.at_ns
                self._settled.set()
                if request.body:
                    await self._listen_to(Sdp.parse(request.body))
            case "CANCEL":
                endpoint.answer(request, request.response(200, self._tag))
                if self.answered_ns is None and self.end is None:
                    self._respond(487)
                    await self.finish("them", 487, cause(request), request.at_ns, request.all("reason"))
            case "BYE":
                endpoint.answer(request, request.response(200, self._tag))
                await self.finish("them", 200, cause(request), request.at_ns, request.all("reason"))
            case "INVITE" | "UPDATE":
                await self._described_again(request)
            case _:
                endpoint.answer(request, request.response(200, self._tag))

    async def _described_again(self, request: Message) -> None:
        assert self._sdp is not None
        more = [("contact", self.phone.contact), ALLOW]
        body = ""
        if request.body or request.method == "INVITE":
            more.append(("content-type", "application/sdp"))
            body = str(self._sdp)
        self.phone.endpoint.answer(request, request.response(200, self._tag, *more, body=body))
        if request.body:
            await self._listen_to(Sdp.parse(request.body))

    async def finish(
        self,
        by: str,
        code: int,
        q850: int | None = None,
        at_ns: int | None = None,
        reasons: Sequence[str] = (),
    ) -> None:
        """The call is over; its audio is closed and the ear complete."""
        if self.end is None:
            self.end = End(by, code, q850, at_ns or monotonic_ns(), tuple(reasons))
            await self.voice.close()
            for event in (self._rang, self._was_answered, self._heard_of, self._settled, self._gone):
                event.set()

    # Dialog.

    def opened(self, invite: Message, sdp: Sdp | None = None) -> None:
        """Take the dialog's ends from the INVITE: ours (outgoing) or theirs."""
        self.invite = invite
        if self.outgoing:
            self._local, self._remote = invite.header("from"), invite.header("to")
            self._sdp, self._cseq = sdp, int(invite.header("cseq").split()[0])
            return
        self._local, self._remote = invite.header("to") + f";tag={self._tag}", invite.header("from")
        self._target = sip.address(invite.header("contact"))[2]
        self._routes = invite.all("record-route")
        self.number = sip.address(invite.start.split(" ")[1])[1]
        self.invited_ns = invite.at_ns

    async def _listen_to(self, sdp: Sdp) -> None:
        if sdp.direction in ("sendrecv", "recvonly") and self.end is None:
            try:
                await self.voice.start(sdp.host, sdp.port, sdp.payload_type, sdp.event_type)
            except MediaError:
                if self.end is None:  # else the call was over before its audio had begun
                    raise

    def _respond(self, status: int, body: str = "") -> Message:
        more = [("contact", self.phone.contact), ALLOW]
        if body:
            more.append(("content-type", "application/sdp"))
        response = self.invite.response(status, self._tag, *more, body=body)
        self.phone.endpoint.answer(self.invite, response)
        return response

    def _in_dialog(self, method: str, body: str = "") -> Message:
        self._cseq += 1
        return self._request(method, self._cseq, body)

    def _request(self, method: str, number: int, body: str = "") -> Message:
        headers = [
            self.phone.endpoint.via(),
            ("max-forwards", "70"),
            ("from", self._local),
            ("to", self._remote),
            ("call-id", self.call_id),
            ("cseq", f"{number} {method}"),
            ("contact", self.phone.contact),
            *(("route", route) for route in self._routes),
        ]
        if body:
            headers.append(("content-type", "application/sdp"))
        return Message(f"{method} {self._target} SIP/2.0", headers, body)

    def _acknowledge(self, response: Message) -> None:
        number = int(response.header("cseq").split()[0])
        self._ack = self._request("ACK", number)
        self.acknowledged_ns = monotonic_ns()
        self.phone.endpoint.send_bytes(self._ack.encode(), self._next_hop())

    def _next_hop(self) -> tuple[str, int]:
        return self.phone.server


def cause(message: Message) -> int | None:
    """The Q.850 cause of a Reason header (RFC 3326), or of Asterisk's X-Asterisk-HangupCauseCode."""
    reason = message.header("reason")
    if reason.startswith("Q.850"):
        return int(sip.parameter(reason, "cause") or 0)
    code = message.header("x-asterisk-hangupcausecode")
    return int(code) if code else None


Policy = Callable[[Call], Awaitable[None]]
"""What a phone does with an incoming call."""


def answers(after_s: float = 0.2) -> Policy:
    """Rings at once and answers after so many seconds, if the call is still there."""

    async def policy(call: Call) -> None:
        await call.ring()
        await asyncio.sleep(after_s)
        await call.answer()

    return policy


def rejects(code: int, after_s: float = 0.0) -> Policy:
    """Refuses with this code, having rung first if it takes its time."""

    async def policy(call: Call) -> None:
        if after_s:
            await call.ring()
            await asyncio.sleep(after_s)
        await call.reject(code)

    return policy


def busy() -> Policy:
    return rejects(486)


def declines(after_s: float = 0.3) -> Policy:
    return rejects(603, after_s)


async def rings(call: Call) -> None:
    """Rings and is never answered."""
    await call.ring()


async def dead(call: Call) -> None:
    """Says nothing at all, as a phone without power."""


class Phone:
    """A phone on a port of its own. ``policy`` decides what it does with an incoming call; set it any time.

    A second call while one is up or ringing is refused with 486 like a one-line phone would, unless
    ``lines`` allows it; it is listed in :attr:`calls` all the same, marked ``while_busy``.
    """

    def __init__(
        self, name: str, account: Account, tone: int | None, media: MediaProcess, tones: list[int]
    ) -> None:
        self.name, self.account, self.tone = name, account, tone
        self.policy: Policy = answers()
        self.lines = 1
        self.answers_options = True
        self.calls: list[Call] = []
        """Every call, oldest first."""
        self.first_sequence: int | None = None
        """First RTP sequence number of coming calls; None: random."""
        self.endpoint = sip.Endpoint(self._requested)
        self.endpoint.on_late_ok = self._again_ok
        self.server = (account.host, account.port)
        self._media, self._tones = media, tones
        self._by_id: dict[str, Call] = {}
        self._opening: dict[str, asyncio.Event] = {}  # calls that came in and have no audio port yet
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_the_end: list[asyncio.Task[None]] = []
        self._errors: list[BaseException] = []
        self._arrived, self._taken = asyncio.Condition(), 0
        self._heard = asyncio.Condition()
        self.told: dict[str, list[str]] = {}
        """Watched extension -> the states of its dialog, oldest first."""
        self._registered = False
        self._register_id, self._register_cseq = secrets.token_hex(8), 0

    @property
    def contact(self) -> str:
        return f"<sip:{self.account.user}@{self.endpoint.host}:{self.endpoint.port}>"

    @property
    def uri(self) -> str:
        """Where it can be called without registration: for a static contact."""
        return f"sip:{self.account.user}@{self.endpoint.host}:{self.endpoint.port}"

    async def open(self, host: str = "127.0.0.1", port: int = 0) -> None:
        await self.endpoint.open(host, port)

    async def close(self) -> None:
        """Hang up, unregister, and raise what went wrong in the background.

        Raises:
            BaseExceptionGroup: errors of policies and transactions.
        """
        try:
            for call in self.calls:
                await call.hang_up()
            if self._registered:
                await self.register(expires_s=0)
            if self._to_the_end:
                await asyncio.wait(self._to_the_end, timeout=2)
        except (SipError, AssertionError, TimeoutError) as error:
            self._errors.append(error)  # nobody answers: the port is closed all the same
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.endpoint.close()
        if self._errors:
            raise BaseExceptionGroup(f"{self.name}'s phone failed", self._errors)

    def spawn(self, work: Coroutine[Any, Any, None], *, to_the_end: bool = False) -> None:
        """Run in the background; an error is raised by :meth:`close`, which waits ``to_the_end`` of a BYE."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        if to_the_end:
            self._to_the_end.append(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)

    # Registration and dialling.

    async def register(self, expires_s: int = 300) -> None:
        """
        Raises:
            SipError: refused, or no answer.
        """
        account = self.account
        uri = f"sip:{account.host}:{account.port}"
        sender = f"<sip:{account.user}@{account.host}>"
        headers = [
            ("max-forwards", "70"),
            ("from", f"{sender};tag={secrets.token_hex(6)}"),
            ("to", sender),
            ("call-id", self._register_id),
            ("contact", self.contact),
            ("expires", str(expires_s)),
        ]
        response = await self._authenticated("REGISTER", uri, headers, "", self._register_request)
        if response.status != 200:
            raise SipError(f"{self.name} could not register: {response.start}")
        self._registered = expires_s > 0

    async def _register_request(self, request: Message) -> Message:
        return await self.endpoint.request(request, self.server)

    async def _authenticated(
        self,
        method: str,
        uri: str,
        headers: list[tuple[str, str]],
        body: str,
        send: Callable[[Message], Awaitable[Message]],
    ) -> Message:
        """Send a request; once more with credentials if it is challenged."""
        extra: list[tuple[str, str]] = []
        for _ in range(2):
            self._register_cseq += 1
            number = ("cseq", f"{self._register_cseq} {method}")
            request = Message(
                f"{method} {uri} SIP/2.0", [self.endpoint.via(), *headers, number, *extra], body
            )
            response = await send(request)
            if response.status not in (401, 407) or extra or self.account.password is None:
                break
            asked, answer = (
                ("www-authenticate", "authorization")
                if response.status == 401
                else ("proxy-authenticate", "proxy-authorization")
            )
            credentials = (self.account.user, self.account.password)
            extra = [(answer, sip.authorization(response.header(asked), method, uri, *credentials))]
        return response

    async def subscribe(self, extension: str, expires_s: int = 300) -> int:
        """Watch an extension (RFC 4235, as a BLF key does); what the server says of it is in ``told``.

        Returns the response's status. 0 seconds: no longer.
        """
        host = f"{self.account.host}:{self.account.port}"
        sender = f"<sip:{self.account.user}@{self.account.host}>"
        headers = [
            ("max-forwards", "70"),
            ("from", f"{sender};tag={secrets.token_hex(6)}"),
            ("to", f"<sip:{extension}@{host}>"),
            ("call-id", f"{extension}-{secrets.token_hex(6)}"),
            ("contact", self.contact),
            ("event", "dialog"),
            ("accept", "application/dialog-info+xml"),
            ("expires", str(expires_s)),
        ]
        uri = f"sip:{extension}@{host}"
        response = await self._authenticated("SUBSCRIBE", uri, headers, "", self._register_request)
        assert response.status is not None
        return response.status

    async def dial(
        self,
        number: str,
        *,
        caller_number: str | None = None,
        caller_name: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Call:
        """Send an INVITE; the call, not yet answered.

        ``caller_number`` and ``caller_name`` go into From as they are; the account's user without the first.
        """
        host = f"{self.account.host}:{self.account.port}"
        uri = sip.address(sip.name_address("", number, host))[2]
        call_id = secrets.token_hex(12)
        voice = await self._media.open(self.name, self.tone, self._tones, sequence=self.first_sequence)
        call = Call(self, voice, True, call_id)
        call.number = number
        self._by_id[call_id] = call
        self.calls.append(call)
        sender = sip.name_address(caller_name, caller_number or self.account.user, self.account.host)
        sdp = self.describe(voice, None)
        fields = [
            ("max-forwards", "70"),
            ("from", f"{sender};tag={call._tag}"),
            ("to", f"<{uri}>"),
            ("call-id", call_id),
            ("contact", self.contact),
            ("content-type", "application/sdp"),
            ALLOW,
            *(headers or {}).items(),
        ]
        sent = asyncio.Event()
        self.spawn(self._invite(call, uri, fields, sdp, sent))
        await sent.wait()
        return call

    async def _invite(
        self, call: Call, uri: str, fields: list[tuple[str, str]], sdp: Sdp, sent: asyncio.Event
    ) -> None:
        async def send(request: Message) -> Message:
            call.opened(request, sdp)
            call.invited_ns = monotonic_ns()
            sent.set()
            return await self.endpoint.request(request, self.server, on_provisional=call.progress)

        try:
            response = await self._authenticated("INVITE", uri, fields, str(sdp), send)
        except SipError:
            await call.finish("them", 408)
            raise
        await call.dialled(call.invite, response)

    def describe(self, voice: Voice, offer: Sdp | None) -> Sdp:
        """Our audio: both codecs, the offer's first one preferred."""
        payload_type, event_type = (offer.payload_type, offer.event_type) if offer else (0, 101)
        return Sdp(self._media.host, voice.port, payload_type, event_type)

    async def _note(self, notify: Message) -> None:
        extension = re.search(r'<dialog id="([^"]+)"', notify.body)
        state = re.search(r"<state>(\w+)</state>", notify.body)
        assert extension is not None, notify.body
        self.told.setdefault(extension[1], []).append(state[1] if state else "")
        async with self._heard:
            self._heard.notify_all()

    async def is_told(self, extension: str, state: str, within_s: float = 5.0) -> None:
        """Wait until the latest that is known of a watched extension is ``state``."""
        try:
            async with asyncio.timeout(within_s), self._heard:
                await self._heard.wait_for(lambda: self.told.get(extension, [""])[-1] == state)
        except TimeoutError:
            raise AssertionError(f"{self.name}: {extension} is not {state}: {self.told}") from None

    # Requests from Asterisk.

    def _again_ok(self, response: Message) -> None:
        if (call := self._by_id.get(response.header("call-id"))) is not None:
            call.again_ok()

    def _requested(self, request: Message) -> None:
        call_id = request.header("call-id")
        if (call := self._by_id.get(call_id)) is not None:
            self.spawn(call.requested(request))
        elif (opening := self._opening.get(call_id)) is not None:
            self.spawn(self._requested_early(opening, request))
        elif request.method == "INVITE":
            self._opening[call_id] = asyncio.Event()
            self.endpoint.answer(request, request.response(100, ""))
            self.spawn(self._called(request))
        elif request.method == "OPTIONS" and not self.answers_options:
            pass  # as a phone that is there and deaf to it
        elif request.method in ("OPTIONS", "NOTIFY"):
            if request.method == "NOTIFY" and "dialog-info" in request.body:
                self.spawn(self._note(request))
            self.endpoint.answer(request, request.response(200, secrets.token_hex(6), ALLOW))
        elif request.method != "ACK":
            self.endpoint.answer(request, request.response(481, secrets.token_hex(6)))

    async def _requested_early(self, opening: asyncio.Event, request: Message) -> None:
        """A CANCEL on the heels of its INVITE, whose audio port is still being opened."""
        await opening.wait()
        await self._by_id[request.header("call-id")].requested(request)

    async def _called(self, invite: Message) -> None:
        call_id = invite.header("call-id")
        voice = await self._media.open(self.name, self.tone, self._tones, sequence=self.first_sequence)
        call = Call(self, voice, False, call_id)
        call.opened(invite)
        engaged = sum(other.end is None for other in self.calls)
        call.while_busy = engaged > 0
        self._by_id[call_id] = call
        self.calls.append(call)
        self._opening.pop(call_id).set()
        async with self._arrived:
            self._arrived.notify_all()
        if engaged >= self.lines:
            await call.reject(486)
        else:
            await self.policy(call)

    async def called(self, within_s: float = 5.0) -> Call:
        """The oldest incoming call that this has not returned yet, waited for if need be.

        Raises:
            AssertionError: no call came in time.
        """
        try:
            async with asyncio.timeout(within_s), self._arrived:
                await self._arrived.wait_for(lambda: len(self.incoming) > self._taken)
        except TimeoutError:
            raise AssertionError(f"{self.name}'s phone was not called in {within_s} s") from None
        self._taken += 1
        return self.incoming[self._taken - 1]

    @property
    def incoming(self) -> list[Call]:
        return [call for call in self.calls if not call.outgoing]

    @property
    def call(self) -> Call:
        """The latest call."""
        return self.calls[-1]
