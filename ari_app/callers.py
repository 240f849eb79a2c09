"""What is known of a caller on arrival: the lists, what the dialplan attached, who spoke with them last.

All of it is in memory, so that nobody waits for it; and it goes into the arrival's input, so that the
journal replays the decision without it. Numbers never leave the shell.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable

import msgspec
import structlog

from ari_app.attributes import Attributes
from ari_app.config import Loaded
from ari_app.core import messages as m
from ari_app.core.definition import SECOND_NS, Centre, Definition
from ari_app.people import People
from ari_app.site import Listed

log = structlog.get_logger(__name__)

MOST_REMEMBERED = 200_000
"""Callers whose last agent is kept in memory (about 30 MB); the longest ago go first."""
READ_AGAIN_S = 3600.0
"""PostgreSQL is read anew so often: whoever was erased there is forgotten here."""
TRY_AGAIN_S = 10.0
PAUSE_S = 0.02
"""Between two pages of a long memory: calls come first."""
HIGHEST = 1000
_ATTACHED = ("cb_priority", "cb_agent", "cb_required", "cb_queue", "cb_language")


def e164(number: str, centre: Centre) -> str:
    """A number as it was presented, as +COUNTRY...; as it is if it cannot be told, "" if it is none.

    A national number counts as such only if the centre's ``country_code`` is given.
    """
    kept = re.sub(r"[ ()/.-]", "", number)
    if not re.fullmatch(r"\+?[0-9]{2,20}", kept):
        return ""
    if kept.startswith("+"):
        return kept
    if centre.international_prefix and kept.startswith(centre.international_prefix):
        return "+" + kept.removeprefix(centre.international_prefix)
    if centre.country_code and centre.national_prefix and kept.startswith(centre.national_prefix):
        return f"+{centre.country_code}{kept.removeprefix(centre.national_prefix)}"
    if centre.country_code and kept.startswith(centre.country_code) and len(kept) > 10:
        return "+" + kept  # some trunks leave the + out
    return kept


class Directory:
    """The lists of one definition: exact numbers first, then the longest prefix."""

    def __init__(self, callers: dict[str, Listed]) -> None:
        self._exact = {number: listed for number, listed in callers.items() if not number.endswith("*")}
        self._prefixes = {number[:-1]: listed for number, listed in callers.items() if number.endswith("*")}
        self._lengths = sorted({len(prefix) for prefix in self._prefixes}, reverse=True)

    def find(self, number: str) -> Listed | None:
        """The entry of an E.164 number."""
        found = self._exact.get(number)
        if found is not None:
            return found
        for length in self._lengths:
            if len(number) >= length and number[:length] in self._prefixes:
                return self._prefixes[number[:length]]
        return None


class LastAgents:
    """Number -> (agent, when they last spoke), newest last; ``known`` once PostgreSQL has told."""

    def __init__(self) -> None:
        self.known = False
        self._last: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._last)

    def of(self, number: str) -> tuple[str, int]:
        return self._last.get(number, ("", 0))

    def note(self, number: str, agent: str, spoke_ns: int) -> None:
        """They spoke; what is known to be later stays."""
        if number and agent and spoke_ns >= self._last.get(number, ("", 0))[1]:
            self._last[number] = (agent, spoke_ns)
            self._last.move_to_end(number)
            if len(self._last) > MOST_REMEMBERED:
                self._last.popitem(last=False)

    def replace(self, read: dict[str, tuple[str, int]], began_ns: int) -> None:
        """What PostgreSQL has (newest first), and what was noted since the reading began."""
        recent = {n: known for n, known in self._last.items() if known[1] >= began_ns}
        self._last = OrderedDict(reversed(read.items()))
        for number, (agent, spoke_ns) in recent.items():
            self.note(number, agent, spoke_ns)
        self.known = True


Page = Callable[[int, int], list[tuple[str, str, int, int]]]
"""(since, before): the newest answered calls that opened in between, as ``store.memory`` reads them."""


class Callers:
    """``recognise`` is asked for every arrival; ``keep`` holds the memory of last agents up to date."""

    def __init__(self, loaded: Loaded, people: People, attributes: Attributes) -> None:
        self._people, self._attributes = people, attributes
        self.last = LastAgents()
        self.use(loaded)

    def use(self, loaded: Loaded) -> None:
        """From now on by this definition."""
        self._definition: Definition = loaded.definition
        self._directory = Directory(loaded.site.callers)

    @property
    def window_ns(self) -> int:
        """How long back any queue asks for the last agent; 0 = none does."""
        longest_s = max((q.last_agent_within_s for q in self._definition.queues.values()), default=0.0)
        return round(longest_s * SECOND_NS)

    def recognise(self, item: m.CallArrived) -> m.CallArrived:
        """The arrival with what is known of the caller."""
        number = e164(self._people.number_arriving(item.channel), self._definition.centre)
        listed = (self._directory.find(number) if number else None) or Listed()
        agent, spoke_ns = self.last.of(number) if self.window_ns and number else ("", 0)
        known = m.Known(
            listed=listed.list,
            required=listed.required,
            queue=listed.queue,
            skills=listed.skills,
            last_agent=agent,
            last_spoke_ns=spoke_ns,
            memory="away" if self.window_ns and number and not agent and not self.last.known else "",
        )
        found = msgspec.structs.replace(item, priority=listed.priority, prefer=listed.agent, known=known)
        return self._with_attached(found)

    def _with_attached(self, item: m.CallArrived) -> m.CallArrived:
        """What the dialplan said of this one call counts instead of the list."""
        attached = self._attributes.on(item.channel)
        if not any(key in attached for key in _ATTACHED):
            return item
        known, priority = item.known, item.priority
        said = attached.get("cb_priority", "")
        if said and not wrong_attribute("cb_priority", said, self._definition):
            priority = max(-HIGHEST, min(HIGHEST, int(said)))
        if "cb_queue" in attached:
            known = msgspec.structs.replace(known, queue=attached["cb_queue"])
        if "cb_language" in attached:
            skills = {**known.skills, attached["cb_language"]: known.skills.get(attached["cb_language"], 1)}
            known = msgspec.structs.replace(known, skills=skills)
        prefer = attached.get("cb_agent", item.prefer)
        if "cb_required" in attached:
            known = msgspec.structs.replace(known, required=attached["cb_required"] == "1" and bool(prefer))
        return msgspec.structs.replace(item, priority=priority, prefer=prefer, known=known)

    def on_event(self, at_ns: int, event: m.AnyEvent) -> None:
        """A talk is over: that agent is the caller's last one."""
        if isinstance(event, m.CallEnded) and event.agent and event.outcome == "answered" and self.window_ns:
            person = self._people.of(event.call)
            if person is not None:
                self.last.note(e164(person.number, self._definition.centre), event.agent, at_ns)

    async def keep(self, page: Page, now_ns: Callable[[], int]) -> None:
        """Read who spoke with whom from PostgreSQL, in pages and off the loop, for ever; never raises."""
        while True:
            done = True
            if self.window_ns:
                try:
                    await self.refresh(page, now_ns())
                except MemoryAway as error:
                    done = False
                    log.warning("who spoke with whom is not known", error=str(error))
            await asyncio.sleep(READ_AGAIN_S if done and self.last.known else TRY_AGAIN_S)

    async def refresh(self, page: Page, now_ns: int) -> None:
        """Read it once. Raises MemoryAway; what was known stays known then."""
        self.last.replace(await self._read(page, now_ns), now_ns)

    async def _read(self, page: Page, now_ns: int) -> dict[str, tuple[str, int]]:
        found: dict[str, tuple[str, int]] = {}
        since_ns, before_ns = now_ns - self.window_ns, now_ns + SECOND_NS
        while True:
            rows = await asyncio.to_thread(page, since_ns, before_ns)
            for number, agent, spoke_ns, _ in rows:
                key = e164(number, self._definition.centre)
                if key and key not in found:
                    found[key] = (agent, spoke_ns)
            if not rows or len(found) >= MOST_REMEMBERED:
                return found
            before_ns = rows[-1][3]
            await asyncio.sleep(PAUSE_S)


class MemoryAway(Exception):
    """PostgreSQL does not tell at present; the text is its own."""


def wrong_attribute(key: str, value: str, definition: Definition) -> str:
    """Why a routing attribute (``cb_...``) cannot be meant; "" if it can, or is none."""
    if not key.startswith("cb_"):
        return ""
    match key:
        case "cb_priority":
            fine = re.fullmatch(r"[+-]?[0-9]{1,4}", value) is not None
            return "" if fine else f"cb_priority is a whole number from -{HIGHEST} to {HIGHEST}"
        case "cb_agent":
            return "" if value in definition.agents else "cb_agent names no agent of the definition"
        case "cb_queue":
            return "" if value in definition.queues else "cb_queue names no queue of the definition"
        case "cb_required":
            return "" if value in ("0", "1") else "cb_required is 0 or 1"
        case "cb_language":
            known = any(value in agent.skills for agent in definition.agents.values())
            return "" if known else "cb_language names a skill that no agent has"
        case _:
            return f"there is no {key}; there are {', '.join(_ATTACHED)}"
