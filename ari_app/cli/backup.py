"""``cordboard backup`` and ``cordboard restore``."""

from __future__ import annotations

from pathlib import Path

from ari_app import settings
from ari_app.deploy import backup as backups


def backup(archive: Path, state_dir: Path, *, definition: Path | None = None, recordings: bool = True) -> str:
    """Write the archive; what is in it, in words. Raises BackupError, SettingsError."""
    found = settings.resolve(state_dir, definition=definition)
    contents = backups.backup(found, archive, recordings=recordings)
    size_mb = archive.stat().st_size / 1e6
    lines = [
        f"{archive}: {size_mb:.1f} MB, readable by you alone: it holds passwords",
        *backups.tell(contents),
    ]
    return "\n".join(lines) + "\n"


def restore(archive: Path, state_dir: Path, *, definition: Path | None = None) -> str:
    """Unpack it into an empty state folder; what to do next. Raises BackupError."""
    done = backups.restore(archive, state_dir, definition=definition, database_url=backups.default_database())
    lines = [
        *backups.tell(done.contents),
        f"state: {state_dir}",
        f"definition: {done.definition}",
        f"tables: {done.database}",
        "Is the Cordboard that this was copied from ended? Two of them must not run.",
        f"Start it: ./scripts/up --state-dir {state_dir} --definition {done.definition}",
    ]
    return "\n".join(lines) + "\n"
