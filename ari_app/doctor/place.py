"""The deployment that is looked at: what is known of it, read once, and never written to."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from ari_app import config, settings
from ari_app.ari.errors import AriError
from ari_app.ari.plain import PlainAri
from ari_app.config import Loaded
from ari_app.deploy.configure import options_of
from ari_app.deploy.render import RenderOptions
from ari_app.problems import DefinitionErrors
from ari_app.secrets_file import Secrets, SecretsError
from ari_app.settings import Runtime, Settings
from ari_app.web.client import ControlClient

SYSTEM_CONFIG = Path("/etc/asterisk")
DEFAULT_RTP = (5_000, 31_000)
"""What Asterisk takes when rtp.conf names no range (rtp.conf.sample)."""


@dataclass
class Place:
    """Everything that the checks ask about. Reading is lazy and happens once."""

    settings: Settings
    runtime: Runtime
    proc: Path = Path("/proc")

    @cached_property
    def definition(self) -> Loaded | DefinitionErrors:
        try:
            return config.load(self.settings.definition_dir)
        except DefinitionErrors as wrong:
            return wrong

    @property
    def loaded(self) -> Loaded | None:
        return self.definition if isinstance(self.definition, Loaded) else None

    @cached_property
    def secrets(self) -> Secrets | SecretsError:
        """The secrets as they are; what is missing is made up in a copy, never in the file."""
        loaded = self.loaded
        if loaded is None:
            return SecretsError("the definition is wrong, so it is not known which secrets are needed")
        path = self.settings.secrets_path
        with tempfile.TemporaryDirectory(prefix="cordboard-doctor-") as folder:
            copy = Path(folder) / path.name
            try:
                if not path.exists():
                    return SecretsError(f"{path} is missing")
                shutil.copy2(path, copy)
                found = Secrets.load_or_create(copy, loaded.site, tuple(loaded.definition.agents))
                if copy.read_bytes() != path.read_bytes():
                    return SecretsError(f"{path} lacks passwords of phones or agents in the definition")
            except SecretsError as wrong:
                return SecretsError(str(wrong).replace(str(copy), str(path)))
            except OSError as failed:
                return SecretsError(f"{path} can't be read: {failed.strerror}")
        return found

    @property
    def ari_password(self) -> str:
        """Also when the secrets are incomplete; "" if there is none."""
        return self._password("ari")

    @property
    def ami_password(self) -> str:
        return self._password("ami")

    def _password(self, service: str) -> str:
        try:
            text = self.settings.secrets_path.read_text()
        except OSError:
            return ""  # the check of the secrets says why
        found = re.search(rf'^\[{service}\]\npassword = "([^"\n]+)"$', text, flags=re.MULTILINE)
        return found[1] if found else ""

    # ------------------------------------------------------------ Asterisk

    @cached_property
    def ari(self) -> PlainAri:
        return PlainAri(self.settings.ari_url, "cordboard", self.ari_password)

    @cached_property
    def info(self) -> dict[str, Any] | AriError:
        """``GET /asterisk/info``."""
        found: dict[str, Any] | AriError = self._asked("asterisk/info")
        return found

    @cached_property
    def modules(self) -> set[str] | None:
        """Names of the modules that run, with .so; None when ARI does not tell."""
        found = self._asked("asterisk/modules")
        if isinstance(found, AriError):
            return None
        return {module["name"] for module in found if module["status"] == "Running"}

    @cached_property
    def endpoints(self) -> dict[str, str] | None:
        """PJSIP endpoint -> state (online, offline, unknown)."""
        found = self._asked("endpoints/PJSIP")
        if isinstance(found, AriError):
            return None
        return {endpoint["resource"]: endpoint["state"] for endpoint in found}

    def _asked(self, path: str) -> Any:
        try:
            return self.ari.get(path, object)
        except AriError as error:
            return error
        except msgspec.DecodeError as error:
            return AriError(f"{path}: what answers is no ARI ({error})")

    @property
    def config_dir(self) -> Path:
        """Where Asterisk's configuration is."""
        return Path(self.runtime.asterisk_config).parent if self.runtime.asterisk_config else SYSTEM_CONFIG

    def setting(self, file: str, name: str) -> str | None:
        """A key of a configuration file, whatever its section; None if it is not there to be read."""
        try:
            text = (self.config_dir / file).read_text(errors="replace")
        except OSError:
            return None
        found = re.findall(rf"^\s*{re.escape(name)}\s*=>?\s*([^;\n]*?)\s*(?:;.*)?$", text, re.MULTILINE)
        return found[-1] if found else None

    @property
    def render_options(self) -> RenderOptions | None:
        return options_of(self.settings.state_dir, self.runtime)

    @property
    def rtp_range(self) -> tuple[int, int]:
        first, last = self.setting("rtp.conf", "rtpstart"), self.setting("rtp.conf", "rtpend")
        return int(first or DEFAULT_RTP[0]), int(last or DEFAULT_RTP[1])

    @property
    def sip_port(self) -> int:
        if self.runtime.render is not None and self.runtime.render.sip_port:
            return self.runtime.render.sip_port
        return self.loaded.site.sip.port if self.loaded else 5060

    @cached_property
    def asterisk_pid(self) -> int | None:
        """By its pid file, else by its name."""
        run_dir = self.setting("asterisk.conf", "astrundir") or "/var/run/asterisk"
        try:
            return int((Path(run_dir) / "asterisk.pid").read_text())
        except (OSError, ValueError):
            pass  # not there, or not ours to read: its name remains
        for process in self.proc.glob("[0-9]*"):
            try:
                if (process / "comm").read_text().strip() == "asterisk":
                    return int(process.name)
            except OSError:
                continue  # gone meanwhile
        return None

    # ------------------------------------------------------------ Cordboard

    @cached_property
    def control(self) -> ControlClient:
        return ControlClient(self.settings.control_path, 30.0)


def place(state_dir: Path, definition: Path | None = None) -> Place:
    """Raises SettingsError when it is not even known which definition runs."""
    found = settings.resolve(state_dir, definition=definition)
    return Place(found, settings.read_runtime(state_dir.absolute()))
