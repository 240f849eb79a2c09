"""The little of SIP (RFC 3261) that a test's phone needs: messages, digest, SDP, transactions over UDP."""

import asyncio
import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Final, Self
from urllib.parse import quote, unquote

from . import g711

T1_S: Final = 0.5
T2_S: Final = 4.0

_COMPACT: Final = {
    "v": "via",
    "f": "from",
    "t": "to",
    "i": "call-id",
    "m": "contact",
    "l": "content-length",
    "c": "content-type",
    "k": "supported",
    "s": "subject",
    "o": "event",
    "r": "refer-to",
    "b": "referred-by",
}

REASONS: Final = {
    100: "Trying",
    180: "Ringing",
    183: "Session Progress",
    200: "OK",
    404: "Not Found",
    405: "Method Not Allowed",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    500: "Server Internal Error",
    503: "Service Unavailable",
    600: "Busy Everywhere",
    603: "Decline",
}


class SipError(Exception):
    """A phone could not do what the test asked for: the text says what was answered instead."""


@dataclass(slots=True)
class Message:
    """A request or a response. Header names are lower case; bytes not UTF-8 are kept as surrogates."""

    start: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: str = ""
    at_ns: int = 0
    """When it came, CLOCK_MONOTONIC nanoseconds."""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """
        Raises:
            ValueError: not a SIP message (a keep-alive of CR LF among others).
        """
        head, _, body = data.partition(b"\r\n\r\n")
        start, *lines = head.decode("utf-8", "surrogateescape").split("\r\n")
        if "SIP/2.0" not in start:
            raise ValueError("not a SIP message")
        headers: list[tuple[str, str]] = []
        for line in lines:
            if line[:1] in (" ", "\t") and headers:  # folded: RFC 3261, 7.3.1
                headers[-1] = (headers[-1][0], headers[-1][1] + " " + line.strip())
                continue
            name, _, value = line.partition(":")
            name = name.strip().lower()
            headers.append((_COMPACT.get(name, name), value.strip()))
        return cls(start, headers, body.decode("utf-8", "surrogateescape"), monotonic_ns())

    def encode(self) -> bytes:
        body = self.body.encode("utf-8", "surrogateescape")
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers)]
        lines.append(f"content-length: {len(body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + body

    @property
    def status(self) -> int | None:
        """A response's code; None for a request."""
        return int(self.start.split(" ", 2)[1]) if self.start.startswith("SIP/2.0 ") else None

    @property
    def method(self) -> str:
        """The method, of a response that of its request."""
        return self.start.split(" ", 1)[0] if self.status is None else self.header("cseq").split()[-1]

    def header(self, name: str) -> str:
        """First value of a header; empty if there is none."""
        return next((value for key, value in self.headers if key == name.lower()), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    @property
    def branch(self) -> str:
        return parameter(self.header("via"), "branch")

    def response(self, status: int, tag: str, *more: tuple[str, str], body: str = "") -> "Message":
        """The response to this request with the headers that RFC 3261, 8.2.6 copies."""
        headers = [(name, value) for name, value in self.headers if name in ("via", "record-route")]
        to = self.header("to")
        if status > 100 and not parameter(to, "tag"):
            to += f";tag={tag}"
        headers += [("from", self.header("from")), ("to", to)]
        headers += [(name, self.header(name)) for name in ("call-id", "cseq")]
        return Message(f"SIP/2.0 {status} {REASONS.get(status, 'Answer')}", [*headers, *more], body)


def parameter(value: str, name: str) -> str:
    """A ``;name=value`` parameter outside the angle brackets; empty if absent."""
    found = re.search(rf";\s*{name}=([^;,\s]+)", value.rpartition(">")[2] or value)
    return found[1] if found else ""


def address(value: str) -> tuple[str, str, str]:
    """Display name, user (percent-decoded) and whole URI of a From, To, Contact or P-Asserted-Identity."""
    display, bracket, rest = value.rpartition("<")
    uri = rest.partition(">")[0] if bracket else value.partition(";")[0]
    display = display.strip()
    if display.startswith('"') and display.endswith('"'):
        display = re.sub(r"\\(.)", r"\1", display[1:-1], flags=re.DOTALL)
    user = uri.partition(":")[2].partition("@")[0] if "@" in uri else ""
    return display, unquote(user, errors="surrogateescape"), uri.strip()


def name_address(display: str, user: str, host: str) -> str:
    """``"display" <sip:user@host>`` with both escaped, so that hostile text stays where it belongs."""
    quoted = display.replace("\\", "\\\\").replace('"', '\\"')
    safe_user = quote(user, safe="+*#-_.!~'()&=$,;?/", errors="surrogateescape")
    return (f'"{quoted}" ' if display else "") + f"<sip:{safe_user}@{host}>"


def authorization(challenge: str, method: str, uri: str, user: str, password: str) -> str:
    """Digest answer to a challenge (RFC 3261, 22.4; RFC 8760): MD5 or SHA-256, qop auth or none.

    Raises:
        SipError: the algorithm is neither.
    """
    fields = {
        name.lower(): quoted or bare
        for name, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', challenge)
    }
    algorithm = fields.get("algorithm", "MD5")
    try:
        digest = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm.upper()]
    except KeyError as error:
        raise SipError(f"digest algorithm {algorithm}: the phone knows MD5 and SHA-256") from error

    def hashed(*parts: str) -> str:
        return digest(":".join(parts).encode()).hexdigest()

    secret, action = hashed(user, fields["realm"], password), hashed(method, uri)
    answer = {"username": user, "realm": fields["realm"], "nonce": fields["nonce"], "uri": uri}
    extra = f", algorithm={algorithm}"
    if "auth" in fields.get("qop", "").split(","):
        cnonce = secrets.token_hex(8)
        answer["cnonce"] = cnonce
        answer["response"] = hashed(secret, fields["nonce"], "00000001", cnonce, "auth", action)
        extra += ", qop=auth, nc=00000001"
    else:
        answer["response"] = hashed(secret, fields["nonce"], action)
    if "opaque" in fields:
        answer["opaque"] = fields["opaque"]
    return "Digest " + ", ".join(f'{name}="{value}"' for name, value in answer.items()) + extra


@dataclass(frozen=True, slots=True)
class Sdp:
    """The audio part of a session description: where to send, the codec and the event payload type."""

    host: str
    port: int
    payload_type: int
    event_type: int
    direction: str = "sendrecv"

    @classmethod
    def parse(cls, body: str) -> Self:
        """
        Raises:
            SipError: no audio in PCMU or PCMA.
        """
        media = re.search(r"^m=audio (\d+) \S+ ([\d ]+)", body, re.MULTILINE)
        hosts = re.findall(r"^c=IN IP[46] (\S+)", body, re.MULTILINE)
        if media is None or not hosts:
            raise SipError("a session description without audio")
        types = [int(number) for number in media[2].split()]
        codec = next((number for number in types if number in (g711.PCMU, g711.PCMA)), None)
        if codec is None:
            raise SipError("a session description with neither PCMU nor PCMA")
        event = re.search(r"^a=rtpmap:(\d+) telephone-event/8000", body, re.MULTILINE)
        direction = re.search(r"^a=(sendrecv|sendonly|recvonly|inactive)", body, re.MULTILINE)
        return cls(
            hosts[-1],
            int(media[1]),
            codec,
            int(event[1]) if event else 101,
            direction[1] if direction else "sendrecv",
        )

    def __str__(self) -> str:
        codecs = [self.payload_type] + [
            codec for codec in (g711.PCMU, g711.PCMA) if codec != self.payload_type
        ]
        names = {g711.PCMU: "PCMU", g711.PCMA: "PCMA"}
        lines = [
            "v=0",
            f"o=phone 1 {monotonic_ns() // 1000} IN IP4 {self.host}",
            "s=-",
            f"c=IN IP4 {self.host}",
            "t=0 0",
            f"m=audio {self.port} RTP/AVP {' '.join(map(str, codecs))} {self.event_type}",
            *(f"a=rtpmap:{codec} {names[codec]}/8000" for codec in codecs),
            f"a=rtpmap:{self.event_type} telephone-event/8000",
            f"a=fmtp:{self.event_type} 0-16",
            "a=ptime:20",
            f"a={self.direction}",
        ]
        return "".join(line + "\r\n" for line in lines)


@dataclass(slots=True)
class _Transaction:
    """A request of ours: retransmitted until something is heard, done with its final response."""

    request: Message
    final: asyncio.Future[Message]
    on_provisional: Callable[[Message], None] | None
    heard: bool = False


class Endpoint(asyncio.DatagramProtocol):
    """One UDP socket with client transactions; requests from the other side go to ``on_request``.

    A request that was answered before is answered again with the same bytes (RFC 3261, 17.2).
    """

    def __init__(self, on_request: Callable[[Message], None]) -> None:
        self._on_request = on_request
        self._transactions: dict[tuple[str, str], _Transaction] = {}
        self._answers: dict[tuple[str, str], bytes | None] = {}  # None: received, not yet answered
        self._refused: dict[str, tuple[bytes, tuple[str, int]]] = {}  # ACKs of failed INVITEs by branch
        self._transport: asyncio.DatagramTransport | None = None
        self.on_late_ok: Callable[[Message], None] | None = None
        """Called with a 200 to an INVITE whose transaction is over: a retransmission, to be ACKed again."""
        self.host, self.port = "", 0

    async def open(self, host: str, port: int = 0) -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self, local_addr=(host, port)
        )
        self._transport = transport
        self.host, self.port = transport.get_extra_info("sockname")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            message = Message.parse(data)
        except ValueError:
            return  # a keep-alive
        if message.status is not None:
            self._take_response(message)
            return
        key = message.branch, message.method
        if key in self._answers:
            answer = self._answers[key]
            if answer is not None:
                self.send_bytes(answer, addr)
            return
        if message.method != "ACK":
            self._answers[key] = None
        self._on_request(message)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error: the far end is (still) down; retransmission deals with it."""

    def _take_response(self, message: Message) -> None:
        transaction = self._transactions.get((message.branch, message.method))
        if transaction is None:
            if message.method == "INVITE" and message.status == 200 and self.on_late_ok:
                self.on_late_ok(message)
            elif message.branch in self._refused:
                self.send_bytes(*self._refused[message.branch])
            return
        transaction.heard = True
        assert message.status is not None
        if message.status < 200:
            if transaction.on_provisional is not None:
                transaction.on_provisional(message)
        elif not transaction.final.done():
            transaction.final.set_result(message)

    def send_bytes(self, data: bytes, to: tuple[str, int]) -> None:
        assert self._transport is not None
        self._transport.sendto(data, to)

    def answer(self, request: Message, response: Message) -> None:
        """Send a response where the request's topmost Via says (RFC 3261, 18.2.2; RFC 3581)."""
        data = response.encode()
        self._answers[request.branch, request.method] = data
        via = request.header("via")
        sent_by = via.split()[1].partition(";")[0]
        host, _, port = sent_by.partition(":")
        self.send_bytes(
            data, (parameter(via, "received") or host, int(parameter(via, "rport") or port or 5060))
        )

    def via(self) -> tuple[str, str]:
        branch = "z9hG4bK" + secrets.token_hex(8)
        return "via", f"SIP/2.0/UDP {self.host}:{self.port};branch={branch};rport"

    async def request(
        self,
        request: Message,
        to: tuple[str, int],
        limit_s: float = 10.0,
        on_provisional: Callable[[Message], None] | None = None,
    ) -> Message:
        """Send a request until it is answered; its final response. A non-2xx to an INVITE is ACKed here.

        Raises:
            SipError: nothing was heard (for an INVITE: no provisional or final response) in ``limit_s``.
        """
        key = request.branch, request.method
        transaction = _Transaction(request, asyncio.get_running_loop().create_future(), on_provisional)
        self._transactions[key] = transaction
        try:
            response = await self._exchange(transaction, to, limit_s)
        finally:
            del self._transactions[key]
        assert response.status is not None
        if request.method == "INVITE" and response.status >= 300:
            self._acknowledge_failure(request, response, to)
        return response

    async def _exchange(self, transaction: _Transaction, to: tuple[str, int], limit_s: float) -> Message:
        data, interval_s, waited_s = transaction.request.encode(), T1_S, 0.0
        invite = transaction.request.method == "INVITE"
        while waited_s < limit_s:
            if not (invite and transaction.heard):
                self.send_bytes(data, to)
            done, _ = await asyncio.wait([transaction.final], timeout=interval_s)
            if done:
                return transaction.final.result()
            if invite and transaction.heard:
                return await transaction.final  # it rings: for as long as the test likes
            waited_s += interval_s
            interval_s = min(2 * interval_s, T2_S)
        raise SipError(f"no answer to {transaction.request.method} in {limit_s} s from {to[0]}:{to[1]}")

    def _acknowledge_failure(self, request: Message, response: Message, to: tuple[str, int]) -> None:
        """RFC 3261, 17.1.1.3: the ACK has the INVITE's branch and the response's To."""
        uri = request.start.split(" ")[1]
        number = request.header("cseq").split()[0]
        headers = [(name, request.header(name)) for name in ("via", "from", "call-id", "max-forwards")] + [
            ("to", response.header("to")),
            ("cseq", f"{number} ACK"),
        ]
        self._refused[request.branch] = Message(f"ACK {uri} SIP/2.0", headers).encode(), to
        self.send_bytes(*self._refused[request.branch])
