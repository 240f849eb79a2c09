"""Checks of the machine: ports for sound, firewall, names, disk, clock."""

from __future__ import annotations

import ctypes
import json
import queue
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ari_app.deploy.ports import listening, named
from ari_app.doctor.findings import Finding, failure, not_checked, ok, warning
from ari_app.doctor.place import Place

PORTS_PER_AGENT = 6
"""An agent who talks and a caller who waits: three legs, RTP and RTCP each."""
NAME_LIMIT_S = 1.0
LITTLE_BYTES, NO_BYTES = 5 * 1024**3, 500 * 1024**2
TIME_ERROR = 5
"""What adjtimex(2) returns while nothing keeps the clock right."""
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def rtp(place: Place) -> Finding:
    """There are enough ports for sound, and nobody else uses them."""
    first, last = place.rtp_range
    size = last - first + 1
    agents = len(place.loaded.definition.agents) if place.loaded else 0
    needed = agents * PORTS_PER_AGENT
    if size < needed:
        return failure(
            f"ports {first}-{last} are {size}; {agents} agents need {needed}: two a leg, three legs each",
            f"./scripts/up --rtp-range {first}-{max(last, first + needed)}, or rtpend in rtp.conf, and the"
            " same in the firewall",
        )
    taken = [one for one in listening(place.proc) if one.protocol == "udp" and first <= one.port <= last]
    own = f"pid {place.asterisk_pid} "
    others = [one for one in taken if own not in named([one], place.proc)] if place.asterisk_pid else []
    if others:
        return warning(
            f"{len(others)} ports of {first}-{last} are held by {named(others, place.proc)}",
            "move that program or the range: a call that meets such a port takes another one",
        )
    low, high = map(int, EPHEMERAL.read_text().split())
    if first <= high and low <= last:
        return warning(
            f"ports {first}-{last} overlap {low}-{high}, which any program's outgoing traffic uses",
            f"sysctl net.ipv4.ip_local_reserved_ports={first}-{last}, or a range below {low}",
        )
    return ok(f"ports {first}-{last}: room for {size // 4} calls")


def firewall(place: Place) -> Finding:
    """A hint only: whether a firewall of this machine may keep phones and sound out."""
    program = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return not_checked("nft is not installed")
    try:
        done = subprocess.run(
            [program, "-j", "list", "ruleset"], capture_output=True, text=True, check=False, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired) as failed:
        return not_checked(f"nft: {failed}")
    if done.returncode:
        return not_checked("the rules are root's to read: sudo nft list ruleset")
    return judge_rules(json.loads(done.stdout or '{"nftables": []}'), place.sip_port, place.rtp_range)


def judge_rules(ruleset: dict[str, Any], sip_port: int, rtp_range: tuple[int, int]) -> Finding:
    """What nft's rules (its JSON) mean for SIP and sound."""
    entries = ruleset.get("nftables", [])
    chains = [entry["chain"] for entry in entries if "chain" in entry]
    closed = [c for c in chains if c.get("hook") == "input" and c.get("policy") == "drop"]
    if not closed:
        return ok("no nft chain drops what comes in by default")
    rules = [entry["rule"] for entry in entries if "rule" in entry]
    opened = list(_ports(rules))
    missing = [
        what
        for what, first, last in (
            (f"SIP ({sip_port})", sip_port, sip_port),
            (f"sound ({rtp_range[0]}-{rtp_range[1]}/udp)", *rtp_range),
        )
        if not any(low <= first and last <= high for low, high in opened)
    ]
    if missing:
        return warning(
            f"the firewall drops what no rule names, and none names {' or '.join(missing)}",
            f"nft add rule inet filter input udp dport {{ {sip_port}, {rtp_range[0]}-{rtp_range[1]} }} accept"
            " (tables are named differently elsewhere)",
        )
    return ok("the firewall drops by default, and has rules for SIP and sound")


def _ports(node: Any) -> Iterator[tuple[int, int]]:
    """Every port and range of ports that stands opposite a dport anywhere in the rules."""
    if isinstance(node, dict):
        match = node.get("match")
        if match is not None and match.get("left", {}).get("payload", {}).get("field") == "dport":
            right = match["right"]
            for one in right["set"] if isinstance(right, dict) and "set" in right else [right]:
                if isinstance(one, int):
                    yield one, one
                elif isinstance(one, dict) and "range" in one:
                    yield one["range"][0], one["range"][1]
        for value in node.values():
            yield from _ports(value)
    elif isinstance(node, list):
        for value in node:
            yield from _ports(value)


def host_name(_place: Place) -> Finding:
    """The machine knows its own name at once: Asterisk asks, and every call would wait."""
    return resolves(socket.gethostname())


def resolves(name: str) -> Finding:
    """Whether ``name`` resolves within ``NAME_LIMIT_S``."""
    answer: queue.SimpleQueue[str] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            socket.getaddrinfo(name, None)
        except OSError as error:
            answer.put(str(error))
        else:
            answer.put("")

    began = time.monotonic()
    threading.Thread(target=look_up, daemon=True).start()
    remedy = f"add the line 127.0.1.1 {name} to /etc/hosts"
    try:
        error = answer.get(timeout=NAME_LIMIT_S)
    except queue.Empty:
        return failure(
            f"{name} does not resolve within {NAME_LIMIT_S:g} s: every call waits for that", remedy
        )
    took_ms = (time.monotonic() - began) * 1e3
    if error:
        return failure(f"{name} does not resolve ({error}): calls may wait seconds for DNS", remedy)
    return ok(f"{name} resolves in {took_ms:.0f} ms")


def disk(place: Place) -> Finding:
    """There is room for the journal, the recordings and the logs."""
    folders = (place.settings.state_dir, place.settings.recordings_dir)
    return space([folder for folder in folders if folder.exists()])


def space(folders: list[Path], little_bytes: int = LITTLE_BYTES, no_bytes: int = NO_BYTES) -> Finding:
    """The least free space of any of ``folders``."""
    if not folders:
        return not_checked("the state folder is not there yet")
    free, folder = min((shutil.disk_usage(folder).free, folder) for folder in folders)
    said = f"{free / 1024**3:.1f} GiB free at {folder}"
    remedy = "make room: old recordings first (a minute of call is about 1.9 MB)"
    if free < no_bytes:
        return failure(f"{said}: a full disk stops new calls, as nothing can be journalled", remedy)
    if free < little_bytes:
        return warning(said, remedy)
    return ok(said)


def clock(_place: Place) -> Finding:
    """Something keeps the clock right: reports and recordings carry its times."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return not_checked("this system has no adjtimex")
    return judge_clock(state)


def judge_clock(state: int) -> Finding:
    """``state``: as adjtimex(2) returns it."""
    if state < 0:
        return not_checked("the kernel does not tell")
    if state == TIME_ERROR:
        return warning(
            "nothing synchronises this machine's clock",
            "install chrony or systemd-timesyncd (timedatectl set-ntp on)",
        )
    return ok("synchronised")
