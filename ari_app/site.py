"""The part of the definition that the core never sees: phones, trunks, SIP settings, fallback, PINs."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Phone(Struct, frozen=True, forbid_unknown_fields=True):
    """A phone that Cordboard renders into the Asterisk configuration, secret and all.

    ``agent`` phones may dial feature codes and numbers and are rung; ``caller`` phones dial numbers only.
    """

    role: Literal["agent", "caller"] = "agent"
    codecs: tuple[str, ...] = ("ulaw", "alaw")
    caller_id: str = ""
    """The name its calls show; empty: what the phone itself says."""


class Trunk(Struct, frozen=True, forbid_unknown_fields=True):
    """A SIP provider. ``match``: addresses its calls come from; ``numbers``: those it may reach here."""

    server: str
    port: int = 5060
    transport: Literal["udp", "tcp"] = "udp"
    username: str = ""
    secret_file: str = ""
    """A file (relative to the definition's folder) that holds the password; or ``secret_env``."""
    secret_env: str = ""
    register: bool = False
    match: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    codecs: tuple[str, ...] = ("ulaw", "alaw")


class Sip(Struct, frozen=True, forbid_unknown_fields=True):
    """Where Asterisk listens for phones and trunks, and how it is seen from beyond a NAT."""

    bind: str = "0.0.0.0"  # noqa: S104  phones are elsewhere: loopback would make them useless
    port: int = 5060
    tcp: bool = True
    external_address: str = ""
    local_nets: tuple[str, ...] = ()


class Fallback(Struct, frozen=True, forbid_unknown_fields=True):
    """What Asterisk alone does with a caller when Cordboard has been away for ``after_s`` seconds.

    ``target`` (for ``dial``): a phone's name, or ``number@trunk``. ``sounds``: said before hanging up.
    """

    after_s: int = 20
    kind: Literal["message", "dial", "voicemail"] = "message"
    target: str = ""
    ring_s: int = 30
    sounds: tuple[str, ...] = ("sorry", "vm-nobodyavail", "please-try-call-later", "goodbye")


class Site(Struct, frozen=True, forbid_unknown_fields=True):
    """``pins`` maps an agent to a hashed PIN; an agent without one gets a generated one."""

    phones: dict[str, Phone] = {}
    trunks: dict[str, Trunk] = {}
    sip: Sip = Sip()
    fallback: Fallback = Fallback()
    pins: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Site({len(self.phones)} phones, {len(self.trunks)} trunks)"
