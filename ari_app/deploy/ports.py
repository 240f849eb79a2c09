"""Which ports are taken, and by whom: an error that names the holder saves a search with ss and lsof."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ari_app.deploy.console import DeployError

Protocol = Literal["tcp", "udp"]
# include/net/tcp_states.h: a TCP socket that listens, and the state every unconnected UDP socket shows.
LISTENING = {"tcp": "0A", "udp": "07"}


@dataclass(frozen=True)
class WantedPort:
    """A port that a part of the stack is to listen on, and the option that moves it elsewhere."""

    purpose: str
    protocol: Protocol
    address: str
    port: int
    option: str


@dataclass(frozen=True)
class Listener:
    """A TCP socket that listens, or a UDP socket that is bound."""

    protocol: Protocol
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int
    inode: str


def check_free(wanted: Iterable[WantedPort], proc: Path = Path("/proc")) -> None:
    """Raises `DeployError` naming every wanted port that is taken, who holds it and how to move."""
    taken = [port for port in wanted if not _can_bind(port)]
    if not taken:
        return
    bound = list(listening(proc))
    lines = []
    for port in taken:
        holders = [held for held in bound if _clashes(held, port)]
        lines.append(
            f"port {port.port}/{port.protocol} ({port.purpose}) is taken by {named(holders, proc)}: "
            f"stop that, or choose another with {port.option}"
        )
    raise DeployError("\n".join(lines))


def free_port(protocol: Protocol = "tcp", address: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    with socket.socket(_family(address), _kind(protocol)) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _can_bind(wanted: WantedPort) -> bool:
    with socket.socket(_family(wanted.address), _kind(wanted.protocol)) as probe:
        if wanted.protocol == "tcp":
            # Connections that linger in TIME_WAIT after our own last run are no hindrance to a server.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((wanted.address, wanted.port))
            if wanted.protocol == "tcp":
                # Two sockets with SO_REUSEADDR may be bound to one port; only one may listen.
                probe.listen(1)
        except PermissionError as refused:
            raise DeployError(
                f"port {wanted.port}/{wanted.protocol} ({wanted.purpose}) is for root alone: "
                f"choose one above 1023 with {wanted.option}"
            ) from refused
        except OSError as failed:
            if failed.errno == errno.EADDRNOTAVAIL:
                raise DeployError(
                    f"{wanted.address} is no address of this machine ({wanted.purpose})"
                ) from failed
            return False
    return True


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _kind(protocol: Protocol) -> socket.SocketKind:
    return socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM


def listening(proc: Path = Path("/proc")) -> Iterable[Listener]:
    """Everything that listens in this network namespace."""
    protocols: tuple[Protocol, ...] = ("tcp", "udp")
    for protocol in protocols:
        for name in (protocol, f"{protocol}6"):
            try:
                lines = (proc / "net" / name).read_text().splitlines()[1:]
            except FileNotFoundError:
                continue  # a kernel without IPv6
            for line in lines:
                words = line.split()
                if words[3] == LISTENING[protocol]:
                    address, port = words[1].split(":")
                    yield Listener(protocol, _address(address), int(port, 16), words[9])


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The kernel prints addresses as 32-bit words in the machine's byte order, little-endian here."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    found = ipaddress.ip_address(b"".join(words))
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        return found.ipv4_mapped
    return found


def _clashes(held: Listener, wanted: WantedPort) -> bool:
    if (held.protocol, held.port) != (wanted.protocol, wanted.port):
        return False
    address = ipaddress.ip_address(wanted.address)
    return held.address == address or held.address.is_unspecified or address.is_unspecified


def named(holders: Iterable[Listener], proc: Path = Path("/proc")) -> str:
    """The processes that hold these sockets, in words."""
    inodes = {held.inode for held in holders}
    names = [
        f"pid {process.name} ({_command(process)})"
        for process in proc.glob("[0-9]*")
        if inodes & _sockets_of(process)
    ]
    return " and ".join(names) or "a process of another user (as root this would name it)"


def _command(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return "just gone"
    return "".join(letter if letter.isprintable() else "?" for letter in words)[:80]


def _sockets_of(process: Path) -> set[str]:
    found = set()
    try:
        for entry in (process / "fd").iterdir():
            target = str(entry.readlink())
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except (PermissionError, FileNotFoundError, ProcessLookupError):
        return found  # another user's, or gone meanwhile
    return found
