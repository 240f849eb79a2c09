"""What an Asterisk or FreePBX that runs already needs for Cordboard: files to include, and where.

Nothing of the PBX is read or written: the files go to a folder of the caller's choice, and the admin adds a
line for each to the PBX's own configuration.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ari_app.config import Loaded
from ari_app.deploy.render import LAMP_MODULES, Block, RenderError, dialplan, fill, templates_dir
from ari_app.secrets_file import Secrets
from ari_app.settings import RUNTIME_FILE

Kind = Literal["asterisk", "freepbx"]
SECRET_FILES = ("ari_cordboard.conf", "manager_cordboard.conf", "voicemail_cordboard.conf")
HOSTS = {
    "asterisk": {
        "extensions_cordboard.conf": "extensions.conf",
        "ari_cordboard.conf": "ari.conf",
        "manager_cordboard.conf": "manager.conf",
        "pjsip_cordboard.conf": "pjsip.conf",
        "musiconhold_cordboard.conf": "musiconhold.conf",
        "voicemail_cordboard.conf": "voicemail.conf",
        "modules_cordboard.conf": "modules.conf",
    },
    # FreePBX writes the files without _custom anew at each "Apply Config", and never those with it.
    "freepbx": {
        "extensions_cordboard.conf": "extensions_custom.conf",
        "ari_cordboard.conf": "ari_additional_custom.conf",
        "manager_cordboard.conf": "manager_custom.conf",
        "pjsip_cordboard.conf": "pjsip.endpoint_custom_post.conf",
        "musiconhold_cordboard.conf": "musiconhold_custom.conf",
    },
}
"""Which file of the PBX includes which of ours."""
_INNER = re.compile(r"^\s*load\s*=>?\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Place:
    """Where Cordboard, beside the PBX, finds it. ``recordings``: an absolute path, as Asterisk sees it."""

    state_dir: Path
    recordings: Path
    ari_url: str = "http://127.0.0.1:8088/ari"
    ami_port: int = 5038
    database_url: str = ""


@dataclass(frozen=True)
class Added:
    """A rendered file and the PBX's own file that must include it."""

    path: Path
    included_by: str


def render_existing(loaded: Loaded, secrets: Secrets, out: Path, kind: Kind) -> list[Added]:
    """Writes the files to include into ``out``, those with passwords readable by their owner alone.

    Raises ``RenderError`` for a definition that needs what only Cordboard's own Asterisk has, ``OSError`` if
    ``out`` can't be written.
    """
    _check(loaded, kind)
    out.mkdir(parents=True, exist_ok=True)
    added = []
    for name, text in _files(loaded, secrets).items():
        if name not in HOSTS[kind]:
            continue
        _write(out / name, text, 0o600 if name in SECRET_FILES else 0o644)
        added.append(Added(out / name, HOSTS[kind][name]))
    return added


def write_runtime(definition: Path, place: Place) -> Path | None:
    """``runtime.json``, by which Cordboard's commands find the PBX; ``None`` if there is one already."""
    path = place.state_dir / RUNTIME_FILE
    facts = {
        "definition": str(definition.absolute()),
        "secrets": str((place.state_dir / "secrets.toml").absolute()),
        "ari_url": place.ari_url,
        "ami_port": place.ami_port,
        "recordings_dir": str(place.recordings),
        "database_url": place.database_url,
    }
    place.state_dir.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return None
    with os.fdopen(handle, "w") as file:
        json.dump(facts, file, indent=1)
    return path


def _check(loaded: Loaded, kind: Kind) -> None:
    each = [(name, p) for name, agent in loaded.definition.agents.items() for p in agent.all_phones()]
    mobiles = [name for name, phone in each if phone.mobile]
    if mobiles:
        raise RenderError(
            f"agents.{mobiles[0]}: a number needs a trunk that Cordboard renders, and your PBX has its own: "
            "name an endpoint of your PBX"
        )
    phones = [name for name, phone in each if phone.endpoint in loaded.site.phones]
    if phones:
        raise RenderError(
            f"agents.{phones[0]}: names a phone of [phones], which only Cordboard's own Asterisk gets: "
            'write endpoint = "201", an endpoint of your PBX'
        )
    if loaded.site.fallback.kind == "dial":
        raise RenderError(
            'fallback.kind: "dial" needs a phone or trunk that Cordboard renders, and your PBX has its own: '
            'use "message"' + (' or "voicemail"' if kind == "asterisk" else "")
        )
    if loaded.site.fallback.kind == "voicemail" and kind == "freepbx":
        raise RenderError('fallback.kind: FreePBX writes voicemail.conf itself: use "message"')


def _files(loaded: Loaded, secrets: Secrets) -> Mapping[str, str]:
    calls = dialplan(loaded, secrets)
    values: dict[str, dict[str, object]] = {
        "extensions_cordboard.conf": {
            "numbers": Block(calls.numbers),
            "codes": Block(calls.codes),
            "contexts": Block(calls.contexts),
            "lamps": Block(calls.lamps),
        },
        "ari_cordboard.conf": {"password": secrets.ari_password},
        "manager_cordboard.conf": {"password": secrets.ami_password},
        "pjsip_cordboard.conf": {"endpoints": Block("".join(map(_endpoint, sorted(_endpoints(loaded)))))},
        "musiconhold_cordboard.conf": {},
    }
    if loaded.site.fallback.kind == "voicemail":
        # No one dials into the mailbox; the password only has to be one that nobody knows.
        values["voicemail_cordboard.conf"] = {"mailbox_password": secrets.ami_password}
    files = {name: fill(_template(name), given, name) for name, given in values.items()}
    return files | {"modules_cordboard.conf": _modules(loaded)}


def _template(name: str) -> str:
    return (templates_dir() / "existing-pbx" / name).read_text()


def _endpoints(loaded: Loaded) -> set[str]:
    phones = [phone for agent in loaded.definition.agents.values() for phone in agent.all_phones()]
    return {phone.endpoint for phone in phones if phone.endpoint}.union(loaded.definition.centre.desks)


def _endpoint(name: str) -> str:
    return fill(_template("endpoint.conf"), {"endpoint": name}, "existing-pbx/endpoint.conf")


def _modules(loaded: Loaded) -> str:
    text = _template("modules_cordboard.conf")
    wanted: tuple[str, ...] = ("app_voicemail",) if loaded.site.fallback.kind == "voicemail" else ()
    wanted += LAMP_MODULES[:2] if loaded.site.sip.lamps else ()
    return text + "".join(f"load = {module}.so\n" for module in wanted)


def needed_modules() -> tuple[str, ...]:
    """The modules that Cordboard needs in a PBX of yours, by their files' names."""
    return tuple(_INNER.findall(_template("modules_cordboard.conf")))


def _write(path: Path, text: str, mode: int) -> None:
    coming = path.with_name(f".{path.name}.new")
    coming.unlink(missing_ok=True)
    with os.fdopen(os.open(coming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    coming.rename(path)
