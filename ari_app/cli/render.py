"""``cordboard render``: what to add to an Asterisk or FreePBX that runs already."""

from __future__ import annotations

import os
from pathlib import Path

from ari_app import config
from ari_app.deploy.existing import Kind, Place, render_existing, write_runtime
from ari_app.secrets_file import Secrets

# FreePBX's User Logon and User Logoff, as long as nobody has changed them.
TAKEN_CODES = ("*11", "*12")
RELOAD = {"asterisk": "asterisk -rx 'core reload'", "freepbx": "fwconsole reload"}
OWN_CONTEXT = {
    "asterisk": "In the context where agents' phones dial:",
    "freepbx": "In [from-internal-custom], also in extensions_custom.conf:",
}


def render(
    definition: Path,
    out: Path,
    kind: Kind,
    state_dir: Path,
    recordings: Path | None = None,
    ari_url: str = "http://127.0.0.1:8088/ari",
    ami_port: int = 5038,
) -> str:
    """Writes the files; what to do with each, as text. Secrets that do not exist yet are made.

    Raises:
        DefinitionErrors, SecretsError, RenderError: what is wrong, and where.
    """
    loaded = config.load(definition)
    state_dir = state_dir.absolute()
    secrets = Secrets.load_or_create(state_dir / "secrets.toml", loaded.site, tuple(loaded.definition.agents))
    place = Place(
        state_dir=state_dir,
        recordings=(recordings or state_dir / "recordings").absolute(),
        ari_url=ari_url,
        ami_port=ami_port,
        database_url=os.environ.get("DATABASE_URL", ""),
    )
    added = render_existing(loaded, secrets, out, kind)
    runtime = write_runtime(definition, place)
    lines = [f"Copy to /etc/asterisk, and add one line to a file of your PBX for each, at its end ({out}):"]
    lines += [
        f"  {each.path.name:28} {each.included_by + ':':34} #include {each.path.name}"
        for each in added
        if each.path.name != "modules_cordboard.conf"
    ]
    if kind == "asterisk":
        lines.append("modules_cordboard.conf: only if your modules.conf says autoload = no.")
    lines += [OWN_CONTEXT[kind], "  include => cordboard-numbers", "  include => cordboard-codes"]
    lines.append(f"Then: {RELOAD[kind]}; dial {next(iter(loaded.definition.numbers), 'a number')}.")
    codes = loaded.definition.codes
    if kind == "freepbx" and {codes.sign_in, codes.sign_out, codes.pause, codes.resume} & set(TAKEN_CODES):
        lines.append(
            f"Warning: {' and '.join(TAKEN_CODES)} are FreePBX's own (User Logon, User Logoff): "
            "choose others in [codes], such as *181 to *184."
        )
    if runtime is None:
        lines.append(f"{state_dir}/runtime.json is there already and stays as it is.")
    lines.append(f"Asterisk and Cordboard must both be able to write to {place.recordings}.")
    lines.append(f"Cordboard: cordboard run --state-dir {state_dir}     (all of it: docs/existing-pbx.md)")
    return "\n".join(lines) + "\n"
