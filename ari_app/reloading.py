"""A new definition for a running Cordboard: checked whole, compared, then applied under live calls.

Refused as a whole or applied as a whole: the folder is read and checked, secrets are made and
Asterisk's files are rendered before anything that runs is told. A call in progress keeps what it
has: who talks goes on talking, who waits keeps their place. A caller who is at a node that is no
longer there goes to the static fallback when their prompt ends; a queue in which somebody waits
cannot be taken away.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path

import structlog
from msgspec.structs import replace

from ari_app import config, hours, settings
from ari_app.ari.client import AriLink
from ari_app.ari.errors import AriError
from ari_app.ari.translate import Entries, Translator
from ari_app.callers import Callers
from ari_app.config import Loaded
from ari_app.core import messages as m
from ari_app.core.floor import Floor
from ari_app.differences import differences
from ari_app.engine import Engine
from ari_app.lamps import Lamps
from ari_app.pin_entry import PinDesk
from ari_app.pins import PinBook
from ari_app.problems import DefinitionErrors
from ari_app.secrets_file import Secrets, SecretsError
from ari_app.settings import Settings, SettingsError
from ari_app.web.errors import Refused
from ari_app.web.messages import Reloaded

log = structlog.get_logger(__name__)

COMMIT_LIMIT_S = 5.0
RELOADS = {
    "pjsip.conf": ("res_pjsip", "res_pjsip_endpoint_identifier_ip", "res_pjsip_outbound_registration"),
    "extensions.conf": ("pbx_config",),
    "cordboard-contexts.conf": ("pbx_config",),
    "voicemail.conf": ("app_voicemail",),
    "musiconhold.conf": ("res_musiconhold",),
}
"""Which modules read a file again. A file that is not here is read when Asterisk starts."""
TRANSPORTS = "Asterisk opens its SIP listeners when it starts: restart it when no calls are up"
CALM = "Asterisk reads {} when it starts: restart it when no calls are up"


class Reloader:
    """Reloads one at a time. ``loaded`` is what runs."""

    def __init__(
        self,
        found: Settings,
        loaded: Loaded,
        engine: Engine,
        link: AriLink,
        translator: Translator,
        pins: PinDesk,
        callers: Callers,
        lamps: Lamps,
    ) -> None:
        self.loaded = loaded
        self._settings = found
        self._engine = engine
        self._link = link
        self._translator = translator
        self._pins = pins
        self._callers = callers
        self._lamps = lamps
        self._one_at_a_time = asyncio.Lock()

    async def reload(self, *, dry_run: bool = False) -> Reloaded:
        """Read the folder again and apply it; with ``dry_run`` only say what would change.

        Raises Refused (422: the definition or what it needs is wrong; 409: people stand in the way; 504:
        not committed in time). Nothing has changed then, but for 504: it is applied once the journal or
        the link allows.
        """
        async with self._one_at_a_time:
            new = await asyncio.to_thread(_load, self._settings.definition_dir)
            changes = tuple(differences(self.loaded, new))
            warnings = tuple(map(str, new.warnings))
            _refuse_if_waiting(self._engine.floor, new)
            if dry_run:
                return Reloaded(changes, applied=False, warnings=warnings)
            # Also when the definition is the same: the files may be of an older version, or edited by hand.
            secrets, rendered, to_do = await asyncio.to_thread(_prepare, self._settings, self.loaded, new)
            changes += tuple(f"asterisk: {name} written anew" for name in sorted(rendered or ()))
            if not changes:
                return Reloaded((), applied=False, warnings=warnings)
            to_do += await asyncio.to_thread(_tell_asterisk, self._settings, secrets, rendered)
            if new.site.sip != self.loaded.site.sip:
                to_do.append(TRANSPORTS)  # res_pjsip keeps transports over a reload (allow_reload=no)
            await self._apply(new, secrets)
            log.info("definition reloaded", changes=len(changes), digest=new.digest)
            return Reloaded(changes, applied=True, warnings=warnings, to_do=tuple(to_do))

    async def reload_on_signal(self) -> None:
        """SIGHUP: the same, with the log in place of an answer."""
        try:
            done = await self.reload()
        except Refused as refused:
            log.error("definition not reloaded", reason=str(refused))
            return
        for line in (*done.changes, *done.warnings, *done.to_do):
            log.info("reload", said=line)
        if not done.changes:
            log.info("definition unchanged")

    async def _apply(self, new: Loaded, secrets: Secrets) -> None:
        old = self.loaded
        # What comes in from now on is translated by the new definition, and stepped behind it.
        _refuse_if_waiting(self._engine.floor, new)  # nothing is awaited between here and the submit
        given = m.DefinitionGiven(new.definition, new.digest)
        self._engine.submit(given)
        self._callers.use(new)
        self._lamps.use(on=new.site.sip.lamps)
        self._translator.entries = entries(new, self._engine.floor)
        self._pins.use(PinBook(new.site.pins, secrets.pins), new.site.extensions)
        self.loaded = new
        for agent in sorted({*old.definition.agents} - {*new.definition.agents}):
            self._engine.submit(m.AgentAsked(agent, "sign_out", "removed", "reload"))
        zone = new.definition.centre.time_zone
        self._engine.submit(hours.given(new.site.hours, zone, self._engine.clock.now_ns()))
        await self._subscribe(old, new)
        await _in_time(self._engine.ask(given))

    async def _subscribe(self, old: Loaded, new: Loaded) -> None:
        """Hear of the new agents' phones. Those that are gone stay subscribed until their calls are over:
        Asterisk forgets them with the next connection."""
        wanted, before = endpoints(new), endpoints(old)
        self._link.subscriptions -= before - wanted
        for source, error in (await self._link.subscribe(wanted - before)).items():
            log.warning("agent's phone is not known to asterisk", source=source, error=str(error))


def entries(loaded: Loaded, floor: Floor) -> Entries:
    """What phones may dial, for who translates what Asterisk says of them."""
    site = loaded.site
    inside = {*site.extensions.values(), *(phone.extension for phone in site.phones.values())}
    made = Entries(loaded.definition, inside, site.dialling.emergency_numbers)
    made.sitter = lambda desk: floor.state.seats.get(desk, "")
    return made


def endpoints(loaded: Loaded) -> set[str]:
    """Agents' endpoints: what their legs do is heard even outside Stasis (busy, declined, gone).

    Callers' channels are in Stasis from the first moment; their endpoints would only double every event.
    A mobile is heard of by its trunk.
    """
    phones = [phone for agent in loaded.definition.agents.values() for phone in agent.all_phones()]
    names = {loaded.site.dialled(phone.endpoint).rpartition("@")[2] for phone in phones if phone.endpoint}
    return {f"endpoint:PJSIP/{name}" for name in names.union(loaded.definition.centre.desks)}


async def _in_time(commit: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(COMMIT_LIMIT_S):
            await commit
    except TimeoutError:
        detail = (
            "the definition is good and is taken over as soon as Asterisk and the journal can be reached;"
            " cordboard doctor says what is wrong with them"
        )
        raise Refused(504, "not yet taken over", detail) from None


def _load(folder: Path) -> Loaded:
    try:
        return config.load(folder)
    except DefinitionErrors as wrong:
        raise Refused(422, "the definition is wrong", str(wrong)) from None


def _refuse_if_waiting(floor: Floor, new: Loaded) -> None:
    """A queue with people in it stays: nobody would be offered to them any more."""
    waiting = Counter(
        call.queue
        for call in floor.state.calls.values()
        if call.state in ("waiting", "offered") and call.queue not in new.definition.queues
    )
    if waiting:
        lines = [
            f"queues.{queue}: {count} waiting in it; keep it in the definition, without numbers or flows that"
            " lead there, until they are served"
            for queue, count in sorted(waiting.items())
        ]
        raise Refused(409, "callers wait in a queue that the definition lacks", "\n".join(lines))


_Prepared = tuple[Secrets, "dict[str, str] | None", list[str]]


def _prepare(found: Settings, old: Loaded, new: Loaded) -> _Prepared:
    """Secrets for who is new, and Asterisk's files. The files that changed, with what they held before;
    None if they are not ours."""
    # Late, and only here: how a machine is set up is of no concern to calls.
    from ari_app.deploy.configure import render_again
    from ari_app.deploy.render import RenderError

    try:
        runtime = settings.read_runtime(found.state_dir)
        secrets = Secrets.load_or_create(found.secrets_path, new.site, tuple(new.definition.agents))
        before = _read_all(Path(runtime.asterisk_config).parent) if runtime.asterisk_config else {}
        rendered = render_again(new, secrets, found.state_dir, runtime)
    except (RenderError, SecretsError, SettingsError) as wrong:
        raise Refused(422, "Asterisk's configuration cannot be written", str(wrong)) from None
    except OSError as failed:
        said = f"{failed.filename}: {failed.strerror}"
        raise Refused(422, "Asterisk's configuration cannot be written", said) from None
    if rendered is None:
        return secrets, None, _foreign(old, new, written_elsewhere=runtime.render is not None)
    return secrets, {path.name: before.get(path.name, "") for path in rendered.changed}, []


def _read_all(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.conf")}


def _foreign(old: Loaded, new: Loaded, *, written_elsewhere: bool) -> list[str]:
    """What somebody else has to do to an Asterisk whose files are not written here."""
    old_core, core = old.definition, new.definition
    # Opening hours and lists of callers are no matter of Asterisk's.
    sites = [replace(loaded.site, hours={}, callers={}) for loaded in (old, new)]
    touched = sites[0] != sites[1] or old_core.numbers != core.numbers or old_core.codes != core.codes
    if not touched:
        return []
    if written_elsewhere:
        return [
            "Asterisk's configuration is not written here: run the container that writes it again"
            " (docker compose run --rm configure), then: asterisk -rx 'core reload'"
        ]
    added = " ".join(sorted({*core.numbers} - {*old_core.numbers})) or "none"
    removed = " ".join(sorted({*old_core.numbers} - {*core.numbers})) or "none"
    return [
        f"this PBX's dialplan is yours: numbers added: {added}; removed: {removed}. Send them to"
        " cordboard-entry (docs/asterisk.md), then: asterisk -rx 'dialplan reload'"
    ]


def _tell_asterisk(found: Settings, secrets: Secrets, before: dict[str, str] | None) -> list[str]:
    """Have Asterisk read what changed; what it can only read at its start is returned as something to do.

    An Asterisk that is away is no reason to refuse: it reads everything when it comes.
    """
    if not before:
        return []
    # Late: a start that nobody's call has time for does without an HTTP client.
    from ari_app.ari.plain import PlainAri, load_module, reload_module

    runtime = settings.read_runtime(found.state_dir)
    ari = PlainAri(found.ari_url, "cordboard", secrets.ari_password)
    modules = dict.fromkeys(module for name in sorted(before) for module in RELOADS.get(name, ()))
    to_do = [CALM.format(name) for name in sorted(before) if name not in (*RELOADS, "modules.conf")]
    try:
        if "modules.conf" in before:
            text = (Path(runtime.asterisk_config).parent / "modules.conf").read_text()
            for module in sorted(_loads(text) - _loads(before["modules.conf"])):
                load_module(ari, module)
        for module in modules:
            reload_module(ari, module)
    except AriError as error:
        to_do.append(f"Asterisk was not told ({error}): once it answers, run asterisk -rx 'core reload'")
    return to_do


def _loads(text: str) -> set[str]:
    lines = (line.split(";")[0].partition("=") for line in text.splitlines())
    return {value.strip().removesuffix(".so") for key, _, value in lines if key.strip() == "load"}
