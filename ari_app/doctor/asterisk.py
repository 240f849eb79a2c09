"""Checks of Asterisk: its version, what it has loaded, who reaches it, and who is connected to it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from ari_app.ami.plain import AmiRefused, AmiUnanswered, logged_in
from ari_app.ari.errors import AriError, WrongCredentials
from ari_app.deploy import asterisk as versions
from ari_app.deploy.child import OPEN_FILES
from ari_app.deploy.console import DeployError
from ari_app.deploy.ports import Listener, Protocol, listening
from ari_app.deploy.render import RenderError, texts
from ari_app.doctor.findings import Finding, failure, not_checked, ok, warning
from ari_app.doctor.place import Place
from ari_app.secrets_file import SecretsError

NEEDED = (
    *("app_mixmonitor", "app_stasis", "bridge_holding", "bridge_simple", "bridge_softmix"),
    *("chan_bridge_media", "chan_pjsip", "func_timeout", "pbx_config", "res_ari", "res_ari_applications"),
    *("res_ari_asterisk", "res_ari_bridges", "res_ari_channels", "res_ari_endpoints", "res_ari_events"),
    *("res_ari_playbacks", "res_ari_recordings", "res_http_websocket", "res_musiconhold", "res_pjsip"),
    *("res_pjsip_session", "res_rtp_asterisk", "res_stasis", "res_stasis_answer", "res_stasis_playback"),
    "res_stasis_recording",
    "res_timing_timerfd",
)
"""Without one of these a call fails somewhere."""
AT_START = ("asterisk.conf", "http.conf", "logger.conf", "rtp.conf")
LOOPBACK = "127.0.0.1"


def ari(place: Place) -> Finding:
    """ARI answers, with our password."""
    info = place.info
    if isinstance(info, WrongCredentials):
        return failure(
            f"ARI at {place.settings.ari_url} refuses Cordboard's password",
            f"write the one of {place.settings.secrets_path} into ari.conf, section [cordboard]; asterisk -rx"
            " 'ari reload'",
        )
    if isinstance(info, AriError):
        return failure(
            f"ARI: {info}",
            "start Asterisk, see that http.conf has enabled = yes and bindport as in"
            f" {place.settings.state_dir / 'runtime.json'}, and ari.conf enabled = yes",
        )
    return ok(f"answers at {place.settings.ari_url}")


def version(place: Place) -> Finding:
    """Cordboard is tested with this version of Asterisk, and it has no known hole in ARI."""
    info = place.info
    if isinstance(info, AriError):
        return not_checked("ARI does not answer")
    try:
        found = versions.parse_version(str(info["system"]["version"]))
    except DeployError as unreadable:
        return warning(str(unreadable), "run Asterisk 22.10.1")
    return judge_version(found)


def judge_version(found: versions.Version) -> Finding:
    """The verdict on one version."""
    refused, doubt = versions.refusal(found), versions.reservation(found)
    if refused:
        return failure(refused, "install Asterisk 22.10.1 or a later 22.10")
    if doubt:
        return warning(doubt, "run 22.10, or try everything you rely on first")
    return ok(f"Asterisk {'.'.join(map(str, found))}, which Cordboard's tests run on")


def modules(place: Place) -> Finding:
    """Every module that a call needs runs."""
    if place.modules is None:
        return not_checked("ARI does not answer, or res_ari_asterisk is not loaded")
    missing = [name for name in NEEDED if f"{name}.so" not in place.modules]
    if missing:
        return failure(
            f"not loaded: {', '.join(missing)}",
            f"add load = {missing[0]}.so (and so on) to {place.config_dir / 'modules.conf'} and restart"
            " Asterisk",
        )
    return ok(f"{len(place.modules)} loaded, all {len(NEEDED)} needed among them")


def rendered(place: Place) -> Finding:
    """Asterisk's files are what the definition would render now."""
    options = place.render_options
    if options is None:
        return not_checked("Asterisk's configuration is not written by Cordboard here")
    if place.loaded is None:
        return not_checked("the definition is wrong")
    if isinstance(place.secrets, SecretsError):
        return failure(
            str(place.secrets), "cordboard reload, or start Cordboard again: what is missing is made"
        )
    try:
        wanted = texts(place.loaded, place.secrets, place.settings.state_dir / "asterisk", options)
    except RenderError as wrong:
        return failure(f"cannot be rendered: {wrong}", "put that right, then: cordboard reload")
    etc = place.settings.state_dir / "asterisk/etc"
    differing = [name for name, text in wanted.items() if _read(etc / name) != text]
    if differing:
        return failure(
            f"differs from the definition: {', '.join(sorted(differing))} in {etc}",
            "cordboard reload (or start ./scripts/up again), which writes them anew; they are not to be"
            " edited by hand",
        )
    return ok(f"{len(wanted)} files in {etc} are what the definition says")


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None  # missing, or not ours to read: it differs in any case


def loaded(place: Place) -> Finding:
    """Asterisk has read its files since they were written."""
    info = place.info
    if isinstance(info, AriError):
        return not_checked("ARI does not answer")
    read_at = {name: _seconds(info["status"][name]) for name in ("startup_time", "last_reload_time")}
    late = []
    for path in sorted(place.config_dir.glob("*.conf")):
        if path.name == "modules.conf":
            continue  # what it names is looked for below: modules are also loaded later
        when = read_at["startup_time" if path.name in AT_START else "last_reload_time"]
        # Asterisk tells its times in whole and thousandths of seconds; a start takes longer than one.
        if path.stat().st_mtime > when + 1.0:
            late.append(path.name)
    if late:
        return warning(
            f"changed since Asterisk read them: {', '.join(late)}",
            "restart Asterisk when no calls are up"
            if set(late) & set(AT_START)
            else "asterisk -rx 'core reload'",
        )
    unloaded = sorted(_named_modules(place) - (place.modules or set()))
    if unloaded and place.modules is not None:
        return warning(
            f"modules.conf names what is not loaded: {', '.join(unloaded)}",
            f"asterisk -rx 'module load {unloaded[0]}' says why",
        )
    return ok("Asterisk has read what is on disk")


def _named_modules(place: Place) -> set[str]:
    text = _read(place.config_dir / "modules.conf") or ""
    found = re.findall(r"^\s*(?:load|require)\s*=>?\s*([a-z0-9_]+)(?:\.so)?\s*(?:;.*)?$", text, re.MULTILINE)
    return {f"{name}.so" for name in found}


def _seconds(text: str) -> float:
    # "2026-11-22T00:33:38.878+0000", as ARI writes times.
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()


def ari_private(place: Place) -> Finding:
    """Nobody but this machine reaches ARI: whoever does, and has the password, owns every call."""
    port = urlsplit(place.settings.ari_url).port or 8088
    return _private(place, "ARI", port, "http.conf: bindaddr = 127.0.0.1")


def ami(place: Place) -> Finding:
    """AMI answers, with our password, and may record."""
    where = f"{place.settings.ami_host}:{place.settings.ami_port}"
    if not place.ami_password:
        return failure(
            f"no AMI password in {place.settings.secrets_path}", "start Cordboard once: it makes one"
        )
    try:
        with logged_in(
            place.settings.ami_host, place.settings.ami_port, "cordboard", place.ami_password
        ) as session:
            session.ask("Ping")
    except AmiRefused as refused:
        return failure(
            f"AMI at {where} refuses Cordboard: {refused}",
            f"write the password of {place.settings.secrets_path} into manager.conf, section [cordboard];"
            " asterisk -rx 'manager reload'",
        )
    except AmiUnanswered as away:
        return failure(
            f"{away}: calls are served but not recorded",
            "manager.conf: enabled = yes, bindaddr = 127.0.0.1, and the port of runtime.json",
        )
    return ok(f"answers at {where}")


def ami_private(place: Place) -> Finding:
    """Nobody but this machine reaches AMI."""
    return _private(place, "AMI", place.settings.ami_port, "manager.conf: bindaddr = 127.0.0.1")


def _private(place: Place, what: str, port: int, setting: str) -> Finding:
    found = _bound(place, "tcp", port)
    if not found:
        return not_checked(f"nothing listens on port {port} of this machine")
    outside = sorted({str(one.address) for one in found if not one.address.is_loopback})
    if outside:
        return failure(
            f"{what} listens on {', '.join(outside)} port {port}: others on the network reach it",
            f"{setting}; restart Asterisk (over a network, use a tunnel)",
        )
    return ok(f"listens on loopback alone, port {port}")


def _bound(place: Place, protocol: Protocol, port: int) -> list[Listener]:
    return [one for one in listening(place.proc) if (one.protocol, one.port) == (protocol, port)]


def live_dangerously(place: Place) -> Finding:
    """Neither ARI nor AMI may reach functions that run commands or read files."""
    # STAT is one of the functions that are refused from outside unless live_dangerously is on; it only looks.
    try:
        value = place.ari.get("asterisk/variable", dict[str, str], variable="STAT(e,/)")["value"]
    except AriError:
        value = ""  # refused, or ARI is away: then the file says
    if value == "1":
        return _dangerous(place, "is on: STAT() was carried out for ARI")
    said = place.setting("asterisk.conf", "live_dangerously")
    if said is None:
        if not (place.config_dir / "asterisk.conf").is_file():
            return not_checked(f"{place.config_dir / 'asterisk.conf'} is not there to be read")
        return ok("off (Asterisk's default)")
    if said.lower() in ("yes", "true", "y", "t", "1", "on"):
        return _dangerous(place, f"is {said} in {place.config_dir / 'asterisk.conf'}")
    return ok("off")


def _dangerous(place: Place, said: str) -> Finding:
    return failure(
        f"{said}: whoever has ARI's or AMI's password can run commands on this machine",
        f"live_dangerously = no in {place.config_dir / 'asterisk.conf'}; restart Asterisk",
    )


def transports(place: Place) -> Finding:
    """SIP is listened for where the definition says."""
    if place.loaded is None:
        return not_checked("the definition is wrong")
    wanted: list[Protocol] = ["udp", "tcp"] if place.loaded.site.sip.tcp else ["udp"]
    missing = [one for one in wanted if not _bound(place, one, place.sip_port)]
    if missing:
        return failure(
            f"nothing listens for SIP on port {place.sip_port}/{' and '.join(missing)}",
            "asterisk -rx 'pjsip show transports' and Asterisk's log say why; a transport that was changed"
            " needs a restart of Asterisk",
        )
    return ok(f"SIP on port {place.sip_port} ({', '.join(wanted)})")


def nat(place: Place) -> Finding:
    """Whoever calls from beyond a NAT is told an address that they can reach."""
    if place.loaded is None:
        return not_checked("the definition is wrong")
    sip, trunks = place.loaded.site.sip, place.loaded.site.trunks
    if sip.external_address:
        return ok(f"others are told {sip.external_address}; {', '.join(sip.local_nets)} are inside")
    outside = sorted(name for name, trunk in trunks.items() if _is_public(trunk.server))
    bound = [one.address for one in _bound(place, "udp", place.sip_port)]
    if outside and bound and all(address.is_private or address.is_unspecified for address in bound):
        return warning(
            f"trunks outside ({', '.join(outside)}), but sip.external_address is not set: behind a NAT"
            " the other side is not heard",
            'external_address = "ADDRESS OF THE ROUTER" in [sip]; not needed with a public address',
        )
    return ok("no NAT is configured, and no trunk outside needs one")


def _is_public(server: str) -> bool:
    try:
        return ipaddress.ip_address(server).is_global
    except ValueError:
        return "." in server and not server.endswith((".local", ".lan", ".internal", ".home.arpa"))


def phones(place: Place) -> Finding:
    """Asterisk knows every agent's phone, and they are registered."""
    if place.loaded is None or place.endpoints is None:
        return not_checked("the definition is wrong, or ARI does not answer")
    agents = place.loaded.definition.agents.items()
    wanted = {p.endpoint: name for name, agent in agents for p in agent.all_phones() if not p.mobile}
    unknown = sorted(set(wanted) - set(place.endpoints))
    if unknown:
        return failure(
            f"Asterisk has no endpoint {', '.join(unknown)}: {_names(wanted, unknown)} are never rung",
            "cordboard reload; on a PBX of your own: name an endpoint that it has (pjsip show endpoints)",
        )
    away = sorted(name for name in wanted if place.endpoints[name] == "offline")
    if away:
        return warning(
            f"{len(away)} of {len(wanted)} agents' phones are not registered: {', '.join(away[:20])}",
            "cordboard phones shows what to type into them; an agent who is away is no fault",
        )
    return ok(f"all {len(wanted)} agents' phones are there")


def _names(wanted: dict[str, str], endpoints: list[str]) -> str:
    return ", ".join(wanted[endpoint] for endpoint in endpoints)


def trunks(place: Place) -> Finding:
    """Every trunk answers, and those that register are registered."""
    if place.loaded is None or place.endpoints is None:
        return not_checked("the definition is wrong, or ARI does not answer")
    wanted = place.loaded.site.trunks
    if not wanted:
        return ok("none in the definition")
    unknown = sorted(set(wanted) - set(place.endpoints))
    if unknown:
        return failure(f"Asterisk has no trunk {', '.join(unknown)}", "cordboard reload")
    registering = {name for name, trunk in wanted.items() if trunk.register}
    refused = sorted(_unregistered(place, registering))
    if refused:
        return failure(
            f"not registered: {', '.join(refused)}",
            "check server, username and password; the provider's answer is in Asterisk's log",
        )
    silent = sorted(name for name in wanted if place.endpoints[name] == "offline")
    if silent:
        return warning(
            f"no answer to OPTIONS from {', '.join(silent)}",
            "is the server's name right and the way there open? Some providers never answer OPTIONS",
        )
    return ok(f"{len(wanted)} up, {len(registering)} registered")


def _unregistered(place: Place, names: set[str]) -> Iterator[str]:
    if not names:
        return
    try:
        with logged_in(
            place.settings.ami_host, place.settings.ami_port, "cordboard", place.ami_password
        ) as session:
            rows = session.listing("PJSIPShowRegistrationsOutbound")
    except (AmiRefused, AmiUnanswered):
        rows = []  # the check of AMI says what is wrong; a registration that is not seen is not there
    up = {row.get("ObjectName") for row in rows if row.get("Status") == "Registered"}
    yield from names - up


def open_files(place: Place) -> Finding:
    """Asterisk may open as many files as a busy hour needs: 4 to 6 a call."""
    pid = place.asterisk_pid
    if pid is None:
        return not_checked("Asterisk's process is not visible from here")
    try:
        text = (place.proc / str(pid) / "limits").read_text()
    except OSError:
        return not_checked(f"the limits of process {pid} are not ours to read: run this as its user or root")
    found = re.search(r"^Max open files\s+(\d+|unlimited)", text, flags=re.MULTILINE)
    limit = OPEN_FILES if found is None or found[1] == "unlimited" else int(found[1])
    if limit < OPEN_FILES:
        return warning(
            f"Asterisk may open {limit} files, enough for about {limit // 10} channels",
            f"LimitNOFILE={OPEN_FILES} in its systemd unit, or ulimit -n {OPEN_FILES} before it starts",
        )
    return ok(f"{limit} files may be open")
