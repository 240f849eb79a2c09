"""Secrets, Asterisk's configuration and `runtime.json` in a state folder: what `up` and the containers share.

As a program it does that and the migrations once, for a container that runs before Asterisk's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import psycopg
from cyclopts import App

from ari_app.config import DefinitionErrors, Loaded, load
from ari_app.deploy.console import DeployError, Progress
from ari_app.deploy.render import Rendered, RenderError, RenderOptions, render
from ari_app.secrets_file import Secrets, SecretsError
from ari_app.settings import RUNTIME_FILE, RenderFacts, Runtime
from ari_app.store.migrate import MigrationError, migrate

LOOPBACK = "127.0.0.1"

app = App(name="python -m ari_app.deploy.configure", help_format="plaintext", version_flags=[])


def render_options(state_dir: Path) -> RenderOptions:
    """What every rendering into a state folder has in common: where secrets and recordings are."""
    return RenderOptions(secrets_path=state_dir / "secrets.toml", recordings_dir=state_dir / "recordings")


def configure(
    loaded: Loaded,
    state_dir: Path,
    database_url: str,
    options: RenderOptions,
    asterisk_command: tuple[str, ...] = (),
) -> Rendered:
    """Makes missing secrets, renders into `state_dir`/asterisk, writes `state_dir`/runtime.json."""
    secrets = Secrets.load_or_create(options.secrets_path, loaded.site, tuple(loaded.definition.agents))
    rendered = render(loaded, secrets, state_dir / "asterisk", options)
    facts = Runtime(
        definition=str(loaded.folder.absolute()),
        database_url=database_url,
        secrets=str(options.secrets_path),
        ari_url=f"http://{LOOPBACK}:{rendered.http_port}/ari",
        ami_port=rendered.ami_port,
        recordings_dir=str(rendered.recordings_dir),
        asterisk_config=str(rendered.conf),
        asterisk_command=asterisk_command,
        render=_facts(options),
    )
    _write_runtime(state_dir, facts, rendered.sip_port)
    return rendered


def render_again(loaded: Loaded, secrets: Secrets, state_dir: Path, runtime: Runtime) -> Rendered | None:
    """Renders as `configure` did; None if Cordboard does not write this Asterisk's configuration.

    That is so on an existing PBX, and in a container without Asterisk's own files. Raises `RenderError`
    (before any file of the configuration is written) and OSError.
    """
    options = options_of(state_dir, runtime)
    return None if options is None else render(loaded, secrets, state_dir / "asterisk", options)


def options_of(state_dir: Path, runtime: Runtime) -> RenderOptions | None:
    """The options that `configure` rendered with, or None where nothing can be rendered."""
    facts = runtime.render
    if facts is None:
        return None
    options = RenderOptions(
        secrets_path=Path(runtime.secrets or state_dir / "secrets.toml"),
        recordings_dir=Path(runtime.recordings_dir or state_dir / "recordings"),
        root=Path(facts.root) if facts.root else None,
        modules_dir=Path(facts.modules_dir) if facts.modules_dir else None,
        data_dir=Path(facts.data_dir) if facts.data_dir else None,
        bind=facts.bind or None,
        sip_port=facts.sip_port or None,
        http_port=facts.http_port,
        ami_port=facts.ami_port,
        rtp_start=facts.rtp_start,
        rtp_end=facts.rtp_end,
    )
    source = options.data_dir or (options.root or Path("/")) / "usr/share/asterisk"
    return options if source.is_dir() else None


def _facts(options: RenderOptions) -> RenderFacts:
    return RenderFacts(
        root=str(options.root or ""),
        modules_dir=str(options.modules_dir or ""),
        data_dir=str(options.data_dir or ""),
        bind=options.bind or "",
        sip_port=options.sip_port or 0,
        http_port=options.http_port,
        ami_port=options.ami_port,
        rtp_start=options.rtp_start,
        rtp_end=options.rtp_end,
    )


def _write_runtime(state_dir: Path, facts: Runtime, sip_port: int) -> None:
    """How Cordboard and its commands reach what runs here. It holds the database's password: mode 600."""
    content = msgspec.to_builtins(facts) | {"sip_port": sip_port}
    coming = state_dir / f"{RUNTIME_FILE}.coming"
    coming.unlink(missing_ok=True)
    with os.fdopen(os.open(coming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(msgspec.json.format(msgspec.json.encode(content), indent=1))
    coming.rename(state_dir / RUNTIME_FILE)


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
