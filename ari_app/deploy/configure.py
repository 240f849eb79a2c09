"""Secrets, Asterisk's configuration and `runtime.json` in a state folder: what `up` and the containers share.

As a program it does that and the migrations once, for a container that runs before Asterisk's.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
from cyclopts import App

from ari_app.config import DefinitionErrors, Loaded, load
from ari_app.deploy.console import DeployError, Progress
from ari_app.deploy.render import Rendered, RenderError, RenderOptions, render
from ari_app.secrets_file import Secrets, SecretsError
from ari_app.store.migrate import MigrationError, migrate

LOOPBACK = "127.0.0.1"

app = App(name="python -m ari_app.deploy.configure", help_format="plaintext", version_flags=[])


def render_options(state_dir: Path) -> RenderOptions:
    """What every rendering into a state folder has in common: where secrets and recordings are."""
    return RenderOptions(secrets_path=state_dir / "secrets.toml", recordings_dir=state_dir / "recordings")


def configure(loaded: Loaded, state_dir: Path, database_url: str, options: RenderOptions) -> Rendered:
    """Makes missing secrets, renders into `state_dir`/asterisk, writes `state_dir`/runtime.json."""
    secrets = Secrets.load_or_create(options.secrets_path, loaded.site, tuple(loaded.definition.agents))
    rendered = render(loaded, secrets, state_dir / "asterisk", options)
    _write_runtime(state_dir, loaded.folder, database_url, options, rendered)
    return rendered


def _write_runtime(
    state_dir: Path, definition: Path, database_url: str, options: RenderOptions, rendered: Rendered
) -> None:
    """How Cordboard and its commands reach what runs here. It holds the database's password: mode 600."""
    facts = {
        "definition": str(definition.absolute()),
        "database_url": database_url,
        "secrets": str(options.secrets_path),
        "ari_url": f"http://{LOOPBACK}:{rendered.http_port}/ari",
        "ami_port": rendered.ami_port,
        "sip_port": rendered.sip_port,
        "recordings_dir": str(rendered.recordings_dir),
        "asterisk_config": str(rendered.conf),
    }
    coming = state_dir / "runtime.json.coming"
    coming.unlink(missing_ok=True)
    with os.fdopen(os.open(coming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        json.dump(facts, opened, indent=1)
    coming.rename(state_dir / "runtime.json")


@contextmanager
def plain_errors() -> Iterator[None]:
    """What a user can put right, whoever found it, as the one error that is shown without a traceback."""
    try:
        yield
    except (DefinitionErrors, RenderError, SecretsError, MigrationError) as found:
        raise DeployError(str(found)) from found
    except psycopg.OperationalError as failed:
        raise DeployError(f"PostgreSQL cannot be used: {str(failed).strip()}") from failed
    except PermissionError as refused:
        raise DeployError(
            f"{refused.filename}: permission denied: the clone and the state folder must belong to the user "
            "who runs this (were they used as root before?)"
        ) from refused


@app.default
def main(*, definition: Path, state_dir: Path, sip_port: int | None = None) -> int:
    """Applies the migrations to DATABASE_URL and writes secrets and Asterisk's configuration."""
    progress = Progress()
    database_url = os.environ.get("DATABASE_URL", "")
    try:
        with plain_errors():
            if not database_url:
                raise DeployError("DATABASE_URL is not set: postgresql://USER:PASSWORD@HOST/DATABASE")
            loaded = load(definition)
            migrate(database_url)
            options = replace(render_options(state_dir), sip_port=sip_port)
            rendered = configure(loaded, state_dir, database_url, options)
    except DeployError as failed:
        sys.stderr.write(f"error: {failed}\n")
        return 1
    for warning in (*map(str, loaded.warnings), *rendered.warnings):
        progress.warn(warning)
    progress.show(f"Configuration written to {rendered.etc}")
    return 0


if __name__ == "__main__":
    sys.exit(app())
