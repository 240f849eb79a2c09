"""The part of the definition that the core never sees: phones, trunks, SIP settings, fallback, PINs."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ari_app.dialling import Dialling

Transport = Literal["udp", "tcp", "tls", "wss"]
Encryption = Literal["no", "sdes", "dtls"]
_USUAL: dict[str, Encryption] = {"udp": "no", "tcp": "no", "tls": "sdes", "wss": "dtls"}


class Phone(Struct, frozen=True, forbid_unknown_fields=True):
    """A phone that Cordboard renders into the Asterisk configuration, secret and all.

    ``agent`` phones may dial feature codes and numbers and are rung; ``caller`` phones dial numbers only.
    """

    role: Literal["agent", "caller"] = "agent"
    codecs: tuple[str, ...] = ("ulaw", "alaw")
    caller_id: str = ""
    """The name its calls show; empty: what the phone itself says."""
    transport: Transport = "udp"
    """How it reaches Asterisk; ``wss`` is a browser (WebRTC)."""
    media_encryption: Literal["", "no", "sdes", "dtls"] = ""
    """Empty: as the transport has it, see ``encryption``."""
    extension: str = ""
    """Digits by which agents reach it."""

    @property
    def encryption(self) -> Encryption:
        """``sdes`` with TLS (the keys travel in the signalling: RFC 4568), ``dtls`` with a browser."""
        return self.media_encryption or _USUAL[self.transport]


class Trunk(Struct, frozen=True, forbid_unknown_fields=True):
    """A SIP provider. ``match``: addresses its calls come from; ``numbers``: those it may reach here;
    ``mobiles``: agents' that may be dialled through it ("+49*": all that begin so), none if empty."""

    server: str
    port: int | None = None
    transport: Literal["udp", "tcp", "tls"] = "udp"
    media_encryption: Literal["", "no", "sdes"] = ""
    username: str = ""
    secret_file: str = ""
    """A file (relative to the definition's folder) that holds the password; or ``secret_env``."""
    secret_env: str = ""
    register: bool = False
    match: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    forwards_to: tuple[str, ...] = ()
    """What a queue's overflow may dial over it: numbers, or prefixes ending in *. Nothing unless named."""
    mobiles: tuple[str, ...] = ()
    codecs: tuple[str, ...] = ("ulaw", "alaw")

    @property
    def server_port(self) -> int:
        """The one given, or SIP's own for the transport (RFC 3261, 19.1.2)."""
        return self.port or (5061 if self.transport == "tls" else 5060)

    @property
    def encryption(self) -> Encryption:
        return self.media_encryption or _USUAL[self.transport]


class Tls(Struct, frozen=True, forbid_unknown_fields=True):
    """Certificates (PEM, relative to the definition's folder) and ports of the encrypted transports.

    ``ca``: the authorities that trunks' servers must be vouched for by; empty: the system's.
    """

    certificate: str
    key: str
    port: int = 5061
    wss_port: int = 8089
    ca: str = ""


class Sip(Struct, frozen=True, forbid_unknown_fields=True):
    """Where Asterisk listens for phones and trunks, and how it is seen from beyond a NAT."""

    bind: str = "0.0.0.0"  # noqa: S104  phones are elsewhere: loopback would make them useless
    port: int = 5060
    tcp: bool = True
    external_address: str = ""
    local_nets: tuple[str, ...] = ()
    tls: Tls | None = None
    lamps: bool = False
    """Whether agents' phones may watch agents and queues (BLF)."""
    rtp_timeout_s: int = 90
    """A call whose other end sends no sound for so long is over: its phone has vanished. 0: never."""
    rtp_hold_timeout_s: int = 900
    """The same while that phone holds the call: many send nothing then."""


class Fallback(Struct, frozen=True, forbid_unknown_fields=True):
    """What Asterisk alone does with a caller when Cordboard has been away for ``after_s`` seconds.

    ``target`` (for ``dial``): a phone's name, or ``number@trunk``. ``sounds``: said before hanging up.
    """

    after_s: int = 20
    kind: Literal["message", "dial", "voicemail"] = "message"
    target: str = ""
    ring_s: int = 30
    sounds: tuple[str, ...] = ("sorry", "vm-nobodyavail", "please-try-call-later", "goodbye")


class Hours(Struct, frozen=True, forbid_unknown_fields=True):
    """Opening hours by local time; each day has spans such as "09:00-17:00". ``holidays``: days that are
    closed, "2026-12-24" or "12-25" (every year); ``special``: days with spans of their own."""

    time_zone: str = ""
    mon: tuple[str, ...] = ()
    tue: tuple[str, ...] = ()
    wed: tuple[str, ...] = ()
    thu: tuple[str, ...] = ()
    fri: tuple[str, ...] = ()
    sat: tuple[str, ...] = ()
    sun: tuple[str, ...] = ()
    holidays: tuple[str, ...] = ()
    special: dict[str, tuple[str, ...]] = {}


class Listed(Struct, frozen=True):
    """What a list of callers (``list``, its name) says of a number: see ``core.facts.Known``."""

    list: str = ""
    priority: int = 0
    agent: str = ""
    required: bool = False
    queue: str = ""
    skills: dict[str, int] = {}


class Site(Struct, frozen=True, forbid_unknown_fields=True):
    """``pins`` maps an agent to a hashed PIN; an agent without one gets a generated one. ``mobiles``: key of
    an agent's mobile -> "number@trunk"."""

    phones: dict[str, Phone] = {}
    trunks: dict[str, Trunk] = {}
    sip: Sip = Sip()
    fallback: Fallback = Fallback()
    pins: dict[str, str] = {}
    hours: dict[str, Hours] = {}
    callers: dict[str, Listed] = {}
    """E.164 number, or prefix with * at its end -> what its list says."""
    dialling: Dialling = Dialling()
    extensions: dict[str, str] = {}
    """Agent -> the digits by which they are reached."""
    direct: dict[str, str] = {}
    """Number that a trunk may reach -> the agent."""
    mobiles: dict[str, str] = {}

    def dialled(self, endpoint: str) -> str:
        """What Asterisk dials to ring an agent's phone."""
        return self.mobiles.get(endpoint, endpoint)

    @property
    def transports(self) -> tuple[Transport, ...]:
        """What Asterisk must listen on: what ``sip`` says, and what a phone or trunk needs."""
        used: set[Transport] = {phone.transport for phone in self.phones.values()}
        used |= {trunk.transport for trunk in self.trunks.values()}
        wanted: tuple[tuple[Transport, bool], ...] = (
            ("udp", True),
            ("tcp", self.sip.tcp or "tcp" in used),
            ("tls", self.sip.tls is not None),
            ("wss", "wss" in used),
        )
        return tuple(transport for transport, there in wanted if there)

    def __repr__(self) -> str:
        return f"Site({len(self.phones)} phones, {len(self.trunks)} trunks)"
