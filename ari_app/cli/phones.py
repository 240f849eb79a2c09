"""``cordboard phones`` and ``cordboard pin``: what to type into a phone, and PINs for the definition."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

import msgspec
from msgspec import Struct
from rich.console import Group, RenderableType
from rich.text import Text

from ari_app import config, pins, settings
from ari_app.cli import output
from ari_app.config import Loaded
from ari_app.deploy.render import PhoneLogin, phone_logins
from ari_app.secrets_file import Secrets

HIDDEN = "(hidden)"


def phones(state_dir: Path, *, show_secrets: bool = True, width: int | None = None) -> str:
    """What to register and what to dial, as text. Secrets that do not exist yet are made.

    Raises:
        SettingsError, DefinitionErrors, SecretsError: what is missing or wrong, and where.
    """
    found = settings.resolve(state_dir)
    loaded = config.load(found.definition_dir)
    agents = loaded.definition.agents
    secrets = Secrets.load_or_create(found.secrets_path, loaded.site, tuple(agents))
    logins = phone_logins(loaded.site.phones, agents, secrets)
    rows = [_row(login, show_secrets) for login in logins]
    parts: list[RenderableType] = [
        output.table(("user", "password", "for", "agent", "PIN"), rows),
        *_encrypted(loaded, logins),
        *_elsewhere(loaded, secrets, logins, show_secrets),
        Text(""),
        output.table(("dial", "for"), _numbers(loaded)),
        Text(""),
        Text(f"Server: this machine's address, port {_sip_port(state_dir) or loaded.site.sip.port}."),
        Text(f"Passwords and PINs stand in {found.secrets_path} (mode 600)."),
    ]
    return output.as_text(Group(*parts), width)


class _Rendered(Struct):
    """What ``runtime.json`` says besides ``settings.Runtime``: the port that was rendered."""

    sip_port: int = 0


def _sip_port(state_dir: Path) -> int:
    path = state_dir / settings.RUNTIME_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Rendered).sip_port
    except FileNotFoundError:
        return 0  # nothing rendered yet: the definition's port will be


def _row(login: PhoneLogin, show_secrets: bool) -> tuple[str, ...]:
    pin = login.pin or ("as in the definition" if login.agent else "")
    secret = login.secret
    if not show_secrets:
        secret, pin = HIDDEN, HIDDEN if login.pin else pin
    return login.name, secret, login.role, login.agent, pin


def _encrypted(loaded: Loaded, logins: tuple[PhoneLogin, ...]) -> list[Text]:
    """How the phones that don't use plain SIP reach Asterisk."""
    tls = loaded.site.sip.tls
    media = {"no": "no encryption of media", "sdes": "SRTP mandatory", "dtls": "DTLS-SRTP mandatory"}
    lines = []
    for login in logins:
        if login.transport == "tls" and tls is not None:
            lines.append(f"{login.name}: TLS, port {tls.port}, {media[login.encryption]}")
        elif login.transport == "wss" and tls is not None:
            lines.append(f"{login.name}: a browser, wss://HOST:{tls.wss_port}/ws")
        elif login.transport == "tcp" or login.encryption != "no":
            lines.append(f"{login.name}: {login.transport.upper()}, {media[login.encryption]}")
    return [output.cell(line) for line in lines]


def _elsewhere(
    loaded: Loaded, secrets: Secrets, logins: tuple[PhoneLogin, ...], show_secrets: bool
) -> list[Text]:
    """Agents whose phone is an endpoint of an existing PBX: their password is the PBX's business."""
    shown = {login.agent for login in logins}
    lines = []
    for name, agent in loaded.definition.agents.items():
        if name in shown:
            continue
        pin = secrets.pins.get(name, "as in the definition")
        if not show_secrets and name in secrets.pins:
            pin = HIDDEN
        lines.append(output.cell(f"{name}: endpoint {agent.endpoint} of the existing PBX, PIN {pin}"))
    return lines


def _numbers(loaded: Loaded) -> list[tuple[str, str]]:
    codes = loaded.definition.codes
    wishes = (
        (codes.sign_in, "agent signs in"),
        (codes.sign_out, "agent signs out"),
        (codes.pause, "agent pauses"),
        (codes.resume, "agent takes calls again"),
        (codes.done, "agent is done with the wrap-up"),
        (codes.wrap_up, "agent asks for (more) wrap-up"),
    )
    flows = [(number, f"calls: flow {flow}") for number, flow in loaded.definition.numbers.items()]
    return [*flows, *((code, what) for code, what in wishes if code)]


def ask_pin() -> str:
    """Ask for a PIN (unseen, twice; one line if stdin is no terminal); the line for the definition.

    Raises:
        PinError: it is too weak, or the two differ.
    """
    if sys.stdin.isatty():
        typed = getpass.getpass("PIN (4 to 12 digits): ")
        if getpass.getpass("The same again: ") != typed:
            raise pins.PinError("the two PINs differ: run the command again")
    else:
        typed = sys.stdin.readline().strip()
    return f'pin = "{pins.hash_pin(typed)}"'
