"""How one process reaches its Asterisk, its journal and its database.

``./scripts/up`` writes these facts into ``runtime.json`` of the state folder; on an existing PBX an
admin writes that file, or gives the facts on the command line.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from ari_app.web.http import Address, parse_address

RUNTIME_FILE = "runtime.json"
JOURNAL_FILE = "journal.db"


class SettingsError(Exception):
    """The process cannot be set up; the text names the file or option and the remedy."""


class RenderFacts(Struct, frozen=True):
    """With what Asterisk's configuration was rendered, so that a reload renders it in the same way.

    Empty and 0: as the definition or the system has it.
    """

    root: str = ""
    modules_dir: str = ""
    data_dir: str = ""
    bind: str = ""
    sip_port: int = 0
    http_port: int = 8088
    ami_port: int = 5038
    rtp_start: int = 10_000
    rtp_end: int = 10_999


class Runtime(Struct, frozen=True):
    """``runtime.json``. The database's URL may hold a password: the file is mode 600.

    ``asterisk_config`` and ``render`` are there when Cordboard writes Asterisk's configuration, and
    ``asterisk_command`` when it also starts Asterisk. ``http``, ``agi``: HOST:PORT of the HTTP API and
    of the FastAGI server; "" = off.
    """

    definition: str = ""
    secrets: str = ""
    ari_url: str = "http://127.0.0.1:8088/ari"
    ami_host: str = "127.0.0.1"
    ami_port: int = 5038
    recordings_dir: str = ""
    database_url: str = ""
    asterisk_config: str = ""
    asterisk_command: tuple[str, ...] = ()
    render: RenderFacts | None = None
    http: str = ""
    agi: str = ""


class Settings(Struct, frozen=True):
    """All paths absolute."""

    state_dir: Path
    definition_dir: Path
    secrets_path: Path
    recordings_dir: Path
    ari_url: str
    ami_host: str
    ami_port: int
    database_url: str
    http: Address | None = None
    agi: Address | None = None

    @property
    def journal_path(self) -> Path:
        return self.state_dir / JOURNAL_FILE

    @property
    def control_path(self) -> Path:
        """The local control socket of the running process."""
        return control_path(self.state_dir)

    def __repr__(self) -> str:
        return f"Settings({self.state_dir})"


def control_path(state_dir: Path) -> Path:
    """Where the process over ``state_dir`` listens for local commands."""
    return state_dir / "control.sock"


def read_runtime(state_dir: Path) -> Runtime:
    """The facts that ``up`` (or an admin) wrote; defaults if there is no such file.

    Raises:
        SettingsError: the file cannot be read, or is not what it should be.
    """
    path = state_dir / RUNTIME_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Runtime)
    except FileNotFoundError:
        return Runtime()
    except OSError as error:
        raise SettingsError(
            f"{path}: can't be read ({error.strerror}): run as the user who started Cordboard"
        ) from error
    except msgspec.MsgspecError as error:
        raise SettingsError(f"{path}: {error}; ./scripts/up writes it anew") from error


def resolve(
    state_dir: Path,
    *,
    definition: Path | None = None,
    secrets: Path | None = None,
    recordings: Path | None = None,
    ari_url: str | None = None,
    ami_port: int | None = None,
    http: str | None = None,
    agi: str | None = None,
) -> Settings:
    """What was given, else what ``runtime.json`` says, else the defaults.

    Raises:
        SettingsError: no definition is known.
        AddressWrong: ``http`` or ``agi`` is not HOST:PORT.
    """
    state_dir = state_dir.absolute()
    runtime = read_runtime(state_dir)
    folder = definition or (Path(runtime.definition) if runtime.definition else None)
    if folder is None:
        raise SettingsError(f"no definition: give --definition DIR, or write {state_dir / RUNTIME_FILE}")
    return Settings(
        state_dir=state_dir,
        definition_dir=folder.absolute(),
        secrets_path=(secrets or Path(runtime.secrets or state_dir / "secrets.toml")).absolute(),
        recordings_dir=(recordings or Path(runtime.recordings_dir or state_dir / "recordings")).absolute(),
        ari_url=ari_url or runtime.ari_url,
        ami_host=runtime.ami_host,
        ami_port=ami_port or runtime.ami_port,
        database_url=os.environ.get("DATABASE_URL", "") or runtime.database_url,
        http=_address(runtime.http if http is None else http, "--http"),
        agi=_address(runtime.agi if agi is None else agi, "--agi"),
    )


def _address(text: str, option: str) -> Address | None:
    return parse_address(text, option) if text else None
