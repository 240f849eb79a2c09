"""Renders the Asterisk configuration: the templates of ``asterisk_conf``, filled in from a definition.

A template holds ``@{name}`` where something is filled in. A name that is unknown, or a value that no
template asks for, is an error; so is a value that could end a line, start a comment or open a section.
"""

from __future__ import annotations

import os
import re
import string
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ari_app import certificates
from ari_app.config import Loaded, load
from ari_app.core import lamps
from ari_app.core.definition import Agent, Target
from ari_app.deploy import own_calls
from ari_app.deploy.block import Block as Block  # noqa: PLC0414
from ari_app.deploy.music import prepare_music
from ari_app.secrets_file import Secrets
from ari_app.site import Encryption, Phone, Tls, Transport, Trunk

# A socket's path has 108 bytes with its final zero (unix(7)); Asterisk cuts a longer one off silently.
LONGEST_SOCKET_PATH = 107
PRIVATE_FILES = ("ari.conf", "manager.conf", "pjsip.conf", "voicemail.conf")
ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104
PLAIN_FILES = tuple(
    f"{name}.conf"
    for name in (
        "acl",
        "ccss",
        "cdr",
        "cel",
        "features",
        "indications",
        "logger",
        "pjproject",
        "stasis",
        "udptl",
        "websocket_client",
    )
)


LAMP_MODULES = (
    *(
        "res_stasis_device_state",
        "res_ari_device_states",
        "res_pjsip_outbound_publish",
        "res_pjsip_exten_state",
    ),
    *("res_pjsip_dialog_info_body_generator", "res_pjsip_pidf_body_generator"),
)


class RenderError(Exception):
    """The configuration can't be rendered; the text says what is in the way and what to do."""


@dataclass(frozen=True)
class RenderOptions:
    """Where Asterisk's files go and which ports it takes. ``None``: as the definition or system has it.

    ``root``: a private copy of Asterisk (its ``usr`` is below), or ``None`` for the installed one, whose
    modules and data are then looked for in Debian's places unless ``modules_dir`` and ``data_dir`` name them.
    """

    secrets_path: Path
    recordings_dir: Path
    root: Path | None = None
    modules_dir: Path | None = None
    data_dir: Path | None = None
    bind: str | None = None
    sip_port: int | None = None
    http_port: int = 8088
    ami_port: int = 5038
    rtp_start: int = 10_000
    rtp_end: int = 10_999
    sounds_dir: Path | None = None
    moh_dir: Path | None = None
    qualify_s: int = 30
    """How often registered phones are asked whether they are there (OPTIONS); 0: never."""
    templates: Path | None = None


@dataclass(frozen=True)
class PhoneLogin:
    """What to type into a phone to register it."""

    name: str
    role: str
    secret: str = field(repr=False)
    transport: Transport = "udp"
    encryption: Encryption = "no"
    agent: str = ""
    pin: str = field(default="", repr=False)
    """The generated PIN of the phone's agent; "" if the definition holds a hashed one."""


@dataclass(frozen=True)
class Rendered:
    """The result. ``changed``: the files whose content is new; none, and Asterisk needs no reload."""

    etc: Path
    conf: Path
    run_dir: Path
    log_dir: Path
    recordings_dir: Path
    sip_port: int
    http_port: int
    ami_port: int
    ari_password: str = field(repr=False)
    ami_password: str = field(repr=False)
    phones: tuple[PhoneLogin, ...]
    changed: tuple[Path, ...]
    warnings: tuple[str, ...]


class ConfTemplate(string.Template):
    """``@{name}`` and nothing else: Asterisk's own ``${...}``, ``$[...]`` and ``@`` stay as they are."""

    pattern = r"""
        @(?:
          (?P<escaped>(?!)) |
          (?P<named>(?!)) |
          \{(?P<braced>[a-z][a-z0-9_]*)\} |
          (?P<invalid>(?!))
        )
    """  # type: ignore[assignment]


def render_folder(definition_dir: Path, out: Path, options: RenderOptions) -> Rendered:
    """Loads the definition, makes or reads the secrets, and renders. Raises what these three raise."""
    loaded = load(definition_dir)
    agents = tuple(loaded.definition.agents)
    secrets = Secrets.load_or_create(options.secrets_path, loaded.site, agents)
    return render(loaded, secrets, out, options)


def render(loaded: Loaded, secrets: Secrets, out: Path, options: RenderOptions) -> Rendered:
    """Writes ``out/etc`` (and the folders Asterisk wants below ``out``); only files that differ are written.

    Raises ``RenderError``, or ``OSError`` if ``out`` can't be written.
    """
    return _Renderer(loaded, secrets, out.absolute(), options).run()


def texts(loaded: Loaded, secrets: Secrets, out: Path, options: RenderOptions) -> dict[str, str]:
    """What ``render`` would write into ``out/etc``, by file name; nothing is written. Raises as it does."""
    return _Renderer(loaded, secrets, out.absolute(), options).files()


@dataclass(frozen=True)
class Dialplan:
    """What leads calls to Cordboard and agents to their codes, and what then happens, as dialplan text."""

    numbers: str
    codes: str
    lamps: str
    contexts: str


def dialplan(loaded: Loaded, secrets: Secrets) -> Dialplan:
    """The dialplan alone, for a PBX that exists. Raises ``RenderError``."""
    nowhere = RenderOptions(secrets_path=secrets.path, recordings_dir=Path())
    return _Renderer(loaded, secrets, Path(), nowhere).dialplan()


def fill(text: str, values: Mapping[str, object], where: str) -> str:
    """``text`` with each ``@{name}`` replaced; every name must have a value, every value a place."""
    template = ConfTemplate(text)
    names = set(template.get_identifiers())
    if names != set(values):
        missing, unused = sorted(names - set(values)), sorted(set(values) - names)
        raise RenderError(
            f"{where}: no value for {missing}, no place for {unused}: the template was changed?"
        )
    return template.substitute({name: checked(value, f"{where}: {name}") for name, value in values.items()})


def checked(value: object, where: str) -> str:
    """``value`` as text, refused if Asterisk would read it as more than one value."""
    text = str(value)
    if isinstance(value, Block):
        return text
    # ; begins a comment, [ a section; ${ and $[ are evaluated in a dialplan; , separates arguments there.
    if re.search(r"[\x00-\x1f\x7f;\[\]{}$\"\\<>]", text) or text != text.strip():
        raise RenderError(f"{where}: this value can't stand in Asterisk's configuration: {text!r}")
    return text


def templates_dir() -> Path:
    """``asterisk_conf`` of the source tree, else of the installed package's data files."""
    for folder in (
        Path(__file__).parents[2] / "asterisk_conf",
        Path(sysconfig.get_path("data")) / "share/cordboard/asterisk_conf",
    ):
        if (folder / "extensions.conf").is_file():
            return folder
    raise RenderError("the templates (asterisk_conf) were not installed: install cordboard again")


class _Renderer:
    def __init__(self, loaded: Loaded, secrets: Secrets, out: Path, options: RenderOptions) -> None:
        self._definition, self._site = loaded.definition, loaded.site
        self._folder = loaded.folder
        self._secrets = secrets
        self._out = out
        self._etc = out / "etc"
        self._options = options
        self._templates = options.templates or templates_dir()
        self._bind = options.bind or self._site.sip.bind
        self._sip_port = options.sip_port or self._site.sip.port
        self._source = options.data_dir or (options.root or Path("/")) / "usr/share/asterisk"
        self._warnings: list[str] = []

    def run(self) -> Rendered:
        self._check_socket()
        sounds = self._options.sounds_dir or self._source / "sounds"
        self._folders(sounds)
        changed = [path for name, text in self.files().items() for path in self._write(name, text)]
        self._music()
        self._check_sounds()
        return Rendered(
            etc=self._etc,
            conf=self._etc / "asterisk.conf",
            run_dir=self._out / "run",
            log_dir=self._out / "log",
            recordings_dir=self._options.recordings_dir.absolute(),
            sip_port=self._sip_port,
            http_port=self._options.http_port,
            ami_port=self._options.ami_port,
            ari_password=self._secrets.ari_password,
            ami_password=self._secrets.ami_password,
            phones=phone_logins(self._site.phones, self._definition.agents, self._secrets),
            changed=tuple(changed),
            warnings=tuple(self._warnings),
        )

    def dialplan(self) -> Dialplan:
        doors = self._doors()
        contexts = (self._templates / "cordboard-contexts.conf").read_text()
        return Dialplan(
            numbers=str(doors["numbers"]),
            lamps=str(doors["lamps"]),
            codes=str(doors["codes"]),
            contexts=fill(contexts, self._contexts(), "cordboard-contexts.conf"),
        )

    # ------------------------------------------------------------ folders

    def _check_socket(self) -> None:
        socket = self._out / "run/asterisk.ctl"
        excess = len(os.fsencode(socket)) - LONGEST_SOCKET_PATH
        if excess > 0:
            raise RenderError(
                f"{socket}: {excess} bytes too long for a control socket: choose a shorter folder"
            )

    def _folders(self, sounds: Path) -> None:
        for name in ("etc", "run", "log", "spool", "db", "data/sounds", "data/agi-bin"):
            (self._out / name).mkdir(parents=True, exist_ok=True, mode=0o750)
        self._options.recordings_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._source.is_dir():
            raise RenderError(f"{self._source}: not there; is Asterisk installed, or the private copy whole?")
        for entry in self._source.iterdir():
            if entry.name not in ("sounds", "agi-bin"):
                _link(self._out / "data" / entry.name, entry)
        for voice in sorted(sounds.iterdir()) if sounds.is_dir() else []:
            if voice.is_dir():
                _link(self._out / "data/sounds" / voice.name, voice)
        if not (self._out / "data/sounds/en").exists():
            # Debian's packages name the voice (en_US_f_Allison) and leave "en" to a maintainer script.
            voices = sorted(sounds.glob("en_*")) or [sounds]
            _link(self._out / "data/sounds/en", voices[0])

    def _music(self) -> None:
        source = self._options.moh_dir or self._source / "moh"
        prepare_music(source, self._out / "music")
        if not any((self._out / "music").iterdir()):
            self._warnings.append(f"there is no music in {source}: waiting callers will hear nothing")

    def _check_sounds(self) -> None:
        wanted = set(self._site.fallback.sounds)
        for flow in self._definition.flows.values():
            for node in flow.nodes.values():
                wanted.update(node.sounds)
                wanted.update(getattr(node, "invalid_sounds", ()), getattr(node, "timeout_sounds", ()))
        for queue in self._definition.queues.values():
            for reason in queue.overflow.__struct_fields__:
                target: Target | None = getattr(queue.overflow, reason)
                while target is not None:
                    wanted.update(target.sounds)
                    target = target.otherwise
        for sound in sorted(wanted):
            folders = (self._out / "data/sounds/en", self._out / "data/sounds")
            if not any(next(folder.glob(f"{sound}.*"), None) for folder in folders):
                self._warnings.append(
                    f"there is no sound {sound!r} below {folders[0]}: callers will hear nothing"
                )

    def _write(self, name: str, text: str) -> Iterable[Path]:
        path = self._etc / name
        mode = 0o600 if name in PRIVATE_FILES else 0o640
        try:
            if path.read_text() == text and path.stat().st_mode & 0o777 == mode:
                return
        except FileNotFoundError:
            pass  # the first time
        coming = path.with_name(f".{name}.new")
        coming.unlink(missing_ok=True)
        with os.fdopen(os.open(coming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(text)
        coming.chmod(mode)
        coming.rename(path)
        yield path

    # ------------------------------------------------------------ files

    def files(self) -> dict[str, str]:
        values: dict[str, dict[str, object]] = {
            "asterisk.conf": self._asterisk(),
            "modules.conf": {"optional_modules": self._modules()},
            "http.conf": {"http_port": self._options.http_port, "browsers": self._browsers()},
            "ari.conf": {"ari_password": self._secrets.ari_password},
            "manager.conf": {
                "ami_port": self._options.ami_port,
                "ami_password": self._secrets.ami_password,
            },
            "rtp.conf": self._rtp(),
            "musiconhold.conf": {"moh_dir": self._out / "music"},
            "pjsip.conf": self._pjsip(),
            "extensions.conf": self._doors(),
            "cordboard-contexts.conf": self._contexts(),
        }
        if self._site.fallback.kind == "voicemail":
            # No one dials into the mailbox; the password only has to be one that nobody knows.
            values["voicemail.conf"] = {"mailbox_password": self._secrets.ami_password}
        for name in PLAIN_FILES:
            values[name] = {}
        return {
            name: fill((self._templates / name).read_text(), given, name) for name, given in values.items()
        }

    def _part(self, part: str, /, **values: object) -> Block:
        return Block(fill((self._templates / "parts" / part).read_text(), values, f"parts/{part}"))

    def _asterisk(self) -> dict[str, object]:
        root = self._options.root or Path("/")
        usual = (*sorted((root / "usr/lib").glob("*/asterisk/modules")), root / "usr/lib/asterisk/modules")
        modules = self._options.modules_dir or usual[0]
        if not modules.is_dir():
            raise RenderError(f"{modules}: not there; is Asterisk installed, or the private copy whole?")
        return {
            "etc_dir": self._etc,
            "modules_dir": modules,
            "data_dir": self._out / "data",
            "db_dir": self._out / "db",
            "spool_dir": self._out / "spool",
            "run_dir": self._out / "run",
            "log_dir": self._out / "log",
            "sbin_dir": root / "usr/sbin",
        }

    def _modules(self) -> Block:
        used = {codec for phone in self._site.phones.values() for codec in phone.codecs}
        used |= {codec for trunk in self._site.trunks.values() for codec in trunk.codecs}
        reasons: list[tuple[str, tuple[str, ...]]] = []
        if "g722" in used:
            reasons.append(("wide-band phones", ("codec_g722",)))
        if "opus" in used:
            reasons.append(("Opus phones", ("codec_opus_open_source", "res_format_attr_opus")))
        encryptions = {phone.encryption for phone in self._site.phones.values()}
        encryptions |= {trunk.encryption for trunk in self._site.trunks.values()}
        if encryptions - {"no"}:
            reasons.append(("encrypted media: SRTP, its keys by SDES or DTLS", ("res_srtp",)))
        if "wss" in self._site.transports:
            reasons.append(("SIP over websockets: browsers", ("res_pjsip_transport_websocket",)))
        if any(trunk.register for trunk in self._site.trunks.values()):
            reasons.append(("trunks that Cordboard registers with", ("res_pjsip_outbound_registration",)))
        if self._site.fallback.kind == "dial" or own_calls.dials(self._site):
            reasons.append(("agents' own calls, emergency numbers, and a fallback that dials", ("app_dial",)))
        if self._site.dialling.rules:
            reasons.append(("who may dial out", ("func_dialplan",)))
        if self._site.fallback.kind == "voicemail":
            reasons.append(("the fallback takes messages", ("app_voicemail",)))
        if self._site.sip.lamps:
            reasons.append(("lamps on phones: device states, hints and what SUBSCRIBE is told", LAMP_MODULES))
        lines = [f"; {why}\n" + "".join(f"load = {name}.so\n" for name in names) for why, names in reasons]
        return Block("".join(lines))

    # ------------------------------------------------------------ media and websockets

    def _rtp(self) -> dict[str, object]:
        candidates: Block | str = ""
        browsers = "wss" in self._site.transports
        if browsers and self._site.sip.external_address and self._bind not in ANY_ADDRESS:
            candidates = self._part(
                "ice-candidates.conf", bind=self._bind, external_address=self._site.sip.external_address
            )
        return {
            "rtp_start": self._options.rtp_start,
            "rtp_end": self._options.rtp_end,
            "ice": "yes" if browsers else "no",
            "ice_candidates": Block(candidates),
        }

    def _browsers(self) -> Block:
        if "wss" not in self._site.transports:
            return Block("")
        tls = self._tls()
        return self._part(
            "http-tls.conf",
            bind=self._bracketed(),
            port=tls.wss_port,
            certificate=self._file(tls.certificate),
            key=self._file(tls.key),
        )

    def _tls(self) -> Tls:
        if self._site.sip.tls is None:
            raise RenderError("a phone or trunk is encrypted, but [sip] tls names no certificate")
        return self._site.sip.tls

    def _file(self, name: str) -> Path:
        return (self._folder / name).absolute()

    def _bracketed(self) -> Block | str:
        return Block(f"[{checked(self._bind, 'bind')}]") if ":" in self._bind else self._bind

    # ------------------------------------------------------------ pjsip.conf

    def _pjsip(self) -> dict[str, object]:
        address = "" if self._bind in ANY_ADDRESS else self._part("media-address.conf", bind=self._bind)
        return {
            "transports": Block("".join(self._transport(name) for name in self._site.transports)),
            "media_address": Block(address),
            "qualify_s": self._options.qualify_s,
            "rtp_timeout_s": self._site.sip.rtp_timeout_s,
            "rtp_hold_timeout_s": self._site.sip.rtp_hold_timeout_s,
            "phones": Block("".join(self._phone(name, phone) for name, phone in self._site.phones.items())),
            "trunks": Block("".join(self._trunk(name, trunk) for name, trunk in self._site.trunks.items())),
        }

    def _transport(self, protocol: Transport) -> Block:
        sip = self._site.sip
        nat: Block = Block("")
        if sip.external_address:
            nets = "".join(f"local_net = {checked(net, 'local_nets')}\n" for net in sip.local_nets)
            nat = self._part("nat.conf", external_address=sip.external_address, local_nets=Block(nets))
        if protocol == "wss":
            return self._part("transport-wss.conf", bind=self._bracketed(), port=self._tls().wss_port)
        tls = self._tls_transport() if protocol == "tls" else Block("")
        port = self._tls().port if protocol == "tls" else self._sip_port
        return self._part(
            "transport.conf", protocol=protocol, bind=self._bracketed(), port=port, tls=tls, nat=nat
        )

    def _tls_transport(self) -> Block:
        tls = self._tls()
        servers: Block = Block("")
        if any(trunk.transport == "tls" for trunk in self._site.trunks.values()):
            found = certificates.authorities(self._file(tls.ca) if tls.ca else None)
            if found is None:
                raise RenderError("no authorities to check trunks' servers by: install ca-certificates")
            servers = self._part("tls-servers.conf", authorities=found)
        return self._part(
            "tls.conf", certificate=self._file(tls.certificate), key=self._file(tls.key), servers=servers
        )

    def _media(self, encryption: Encryption, transport: Transport) -> Block:
        text = ""
        if encryption != "no":
            text += self._part(f"media-{encryption}.conf")
        if transport == "wss":
            text += self._part("browser.conf")
        return Block(text)

    def _phone(self, name: str, phone: Phone) -> Block:
        caller_id = ""
        if phone.caller_id:
            shown = checked(phone.caller_id, f"phones.{name}.caller_id")
            caller_id = f'callerid = "{shown}" <{checked(name, "phone")}>\n'
        return self._part(
            "phone.conf",
            name=name,
            role=phone.role,
            codecs=",".join(phone.codecs),
            caller_id=Block(caller_id),
            media=self._media(phone.encryption, phone.transport),
            agent=self._agent_of(name),
            lamps=self._part("lamps-phone.conf") if self._lamps_at(phone) else "",
            secret=self._secrets.phones[name],
        )

    def _lamps_at(self, phone: Phone) -> bool:
        return self._site.sip.lamps and phone.role == "agent"

    def _agent_of(self, phone: str) -> Block:
        """Tells the dialplan whose phone it is: what may be dialled depends on it."""
        holders = [
            name
            for name, agent in self._definition.agents.items()
            if phone in {each.endpoint for each in agent.all_phones()}
        ]
        return Block("".join(f"set_var = CORDBOARD_AGENT={name}\n" for name in holders))

    def _trunk(self, name: str, trunk: Trunk) -> Block:
        # Without addresses of their own, calls come from where ours go to.
        match = "".join(
            f"match = {checked(net, f'trunks.{name}.match')}\n" for net in trunk.match or (trunk.server,)
        )
        outbound = ""
        if trunk.username:
            user = checked(trunk.username, f"trunks.{name}.username")
            outbound = f"outbound_auth = {name}\nfrom_user = {user.partition('@')[0]}\n"
        text = self._part(
            "trunk.conf",
            name=name,
            transport=trunk.transport,
            server=trunk.server,
            port=trunk.server_port,
            codecs=",".join(trunk.codecs),
            media=self._media(trunk.encryption, trunk.transport),
            outbound=Block(outbound),
            match=Block(match),
            qualify_s=self._options.qualify_s,
        )
        if trunk.username:
            secret = self._trunk_secret(name, trunk)
            text = Block(
                text + self._part("trunk-auth.conf", name=name, username=trunk.username, secret=secret)
            )
        if trunk.register:
            number = trunk.numbers[0] if trunk.numbers else trunk.username.partition("@")[0]
            text = Block(
                text
                + self._part(
                    "trunk-registration.conf",
                    name=name,
                    transport=trunk.transport,
                    server=trunk.server,
                    port=trunk.server_port,
                    username=trunk.username.partition("@")[0],
                    contact_user=number,
                )
            )
        return text

    def _trunk_secret(self, name: str, trunk: Trunk) -> str:
        if trunk.secret_env:
            secret = os.environ.get(trunk.secret_env, "")
            if not secret:
                raise RenderError(
                    f"trunks.{name}: set the environment variable {trunk.secret_env} to its password"
                )
        else:
            path = self._folder / trunk.secret_file
            try:
                if path.stat().st_mode & 0o077:
                    raise RenderError(f"{path}: others on this machine can read it; run: chmod 600 {path}")
                secret = path.read_text().strip()
            except OSError as error:
                raise RenderError(f"{path}: can't be read: {error.strerror}") from error
        if not secret or re.search(r"[\x00-\x1f\x7f;\[\]{}$\"\\<>]", secret):
            # Never the secret itself in a message.
            raise RenderError(f'trunks.{name}: its password is empty or holds one of ; [ ] {{ }} $ " \\ < >')
        return secret

    # ------------------------------------------------------------ extensions.conf

    def _doors(self) -> dict[str, object]:
        codes = self._definition.codes
        return {
            "numbers": self._numbers(self._definition.numbers),
            "codes": Block(
                "".join(
                    self._part("code.conf", code=code)
                    for code in (
                        *(codes.sign_in, codes.sign_out, codes.pause, codes.resume),
                        *(codes.done, codes.wrap_up),
                    )
                )
            ),
            "trunk_contexts": Block(
                "".join(
                    self._part("trunk-context.conf", name=name, numbers=self._numbers(trunk.numbers))
                    for name, trunk in self._site.trunks.items()
                )
            ),
            "own_doors": Block("".join(f"include => {door}\n" for door in own_calls.doors(self._site))),
            "own_calls": Block(own_calls.contexts(self._definition, self._site, self._part)),
            "lamps": self._lamps(),
        }

    def _lamps(self) -> Block:
        """Hints: what a phone may watch, under each name it may be watched by."""
        if not self._site.sip.lamps:
            return Block("")
        watched = [(agent, lamps.agent_device(agent)) for agent in self._definition.agents]
        watched += [(ext, lamps.agent_device(agent)) for agent, ext in self._site.extensions.items()]
        watched += [(f"queue-{queue}", lamps.queue_device(queue)) for queue in self._definition.queues]
        hints = "".join(self._part("lamp.conf", name=name, device=device) for name, device in watched)
        return self._part("lamps.conf", hints=Block(hints))

    def _contexts(self) -> dict[str, object]:
        return {
            "absolute_timeout_s": self._definition.centre.absolute_timeout_s,
            "fallback_after_s": self._site.fallback.after_s,
            "fallback": self._fallback(),
            # Playback joins sounds by &.
            "fallback_sounds": "&".join(self._site.fallback.sounds),
        }

    def _numbers(self, numbers: Iterable[str]) -> Block:
        return Block(
            "".join(
                own_calls.direct(self._site, number, self._part) or self._part("number.conf", number=number)
                for number in numbers
            )
        )

    def _fallback(self) -> Block:
        fallback = self._site.fallback
        if fallback.kind == "dial":
            number, at, trunk = fallback.target.partition("@")
            device = f"PJSIP/{number}@{trunk}" if at else f"PJSIP/{number}"
            return self._part("fallback-dial.conf", device=device, ring_s=fallback.ring_s)
        if fallback.kind == "voicemail":
            return self._part("fallback-voicemail.conf", sounds="&".join(("vm-nobodyavail", "vm-leavemsg")))
        return Block("")


def phone_logins(
    phones: Mapping[str, Phone], agents: Mapping[str, Agent], secrets: Secrets
) -> tuple[PhoneLogin, ...]:
    """What ``cordboard phones`` shows: each rendered phone, its password, its agent and a generated PIN."""
    holders = {phone.endpoint: name for name, agent in agents.items() for phone in agent.all_phones()}
    return tuple(
        PhoneLogin(
            name=name,
            role=phone.role,
            secret=secrets.phones[name],
            transport=phone.transport,
            encryption=phone.encryption,
            agent=holders.get(name, ""),
            pin=secrets.pins.get(holders.get(name, ""), ""),
        )
        for name, phone in phones.items()
    )


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    if link.is_symlink():
        link.unlink()
    if not link.exists():
        link.symlink_to(target)
