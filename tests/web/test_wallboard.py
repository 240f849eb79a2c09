"""The wallboard: its way in over plain HTTP, and its page in a real browser over a floor that moves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import time
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ari_app.core import messages as m
from ari_app.core.definition import SECOND_NS, Agent, Crisis, Flow, MenuNode, Queue, QueueNode
from ari_app.web import board, http as web_http, wallboard
from ari_app.web.api import run
from ari_app.web.http import Address
from ari_app.web.tokens import TokenBook
from tests.web.floor import DEFINITION
from tests.web.outside import Answer, OpenRoom, Outside, busy, open_to, strings
from tests.web.page import Page, opened

PERSONAL = ("+4930123", "Ann Archer", "4711", "+4930456", "Ben")
HOSTILE = '<img src=x onerror="window.pwned=1">'
SCREENSHOTS = os.environ.get("CORDBOARD_SCREENSHOTS")
"""A folder for pictures of the page, for people to look at."""


# ---------------------------------------------------------------- without a browser


@pytest.fixture
def room() -> OpenRoom:
    room = OpenRoom()
    busy(room)
    return room


@pytest.fixture
async def outside(room: OpenRoom, tmp_path: Path) -> AsyncIterator[Outside]:
    async with open_to(room, tmp_path) as outside:
        yield outside


async def signs_in(outside: Outside, token: str, *, keep: bool = False, **headers: str) -> Answer:
    body = json.dumps({"token": token, "keep": keep}).encode()
    given = {"Content_Type": "application/json", **headers}
    return await outside.asks("", "/wallboard/login", "POST", body, **given)


async def cookie_of(outside: Outside, role: str) -> str:
    answer = await signs_in(outside, outside.tokens[role])
    assert answer.status == 200, answer.body
    return answer.headers["set-cookie"].partition(";")[0]


async def knows(outside: Outside, cookie: str) -> bool:
    answer = await outside.asks("", "/wallboard/who", Cookie=cookie)
    assert answer.status == 200
    return bool(answer.json()["name"])


async def test_the_page_comes_from_the_package_and_loads_nothing_from_elsewhere(outside: Outside) -> None:
    folder = files("ari_app.web") / "static"
    assert {each.name for each in folder.iterdir()} == set(wallboard.KINDS)
    for name, kind in wallboard.KINDS.items():
        target = "/wallboard" if name == "wallboard.html" else f"/wallboard/{name}"
        answer = await outside.asks("", target)
        assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, kind)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        text = answer.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(
            r"https?://|\bstyle=|<script>|\bon[a-z]+=|innerHTML|outerHTML|insertAdjacent", text
        )
        again = await outside.asks("", target, If_None_Match=answer.headers["etag"])
        assert (again.status, again.body) == (304, b"")


async def test_the_cookie_is_for_this_page_alone_and_is_not_the_token(outside: Outside) -> None:
    answer = await signs_in(outside, outside.tokens["supervisor"])
    assert answer.json() == {"name": "supervisor", "role": "supervisor"}
    attributes = [each.strip().lower() for each in answer.headers["set-cookie"].split(";")[1:]]
    assert {"httponly", "samesite=strict", "path=/wallboard"} <= set(attributes)
    assert not any(each.startswith(("max-age", "expires", "secure")) for each in attributes)
    cookie = answer.headers["set-cookie"].partition(";")[0]
    secret = cookie.partition("=")[2]
    assert outside.tokens["supervisor"] not in cookie
    assert await knows(outside, cookie)
    for target, method in (("/calls", "GET"), ("/agents/bob/pause", "POST"), ("/metrics", "GET")):
        assert (await outside.asks("", target, method, Cookie=cookie)).status == 401
        assert (await outside.asks(secret, target, method)).status == 401, "nor is it a bearer token"


async def test_a_kept_cookie_and_one_over_tls(outside: Outside) -> None:
    answer = await signs_in(outside, outside.tokens["reader"], keep=True, X_Forwarded_Proto="https")
    attributes = answer.headers["set-cookie"].lower()
    assert f"max-age={wallboard.KEPT_S}" in attributes
    assert "; secure" in attributes


async def test_who_may_not_look_is_told_why(outside: Outside) -> None:
    agent = await signs_in(outside, outside.tokens["agent"])
    assert (agent.status, "set-cookie" in agent.headers) == (403, False)
    assert "needs role reader" in agent.json()["detail"]
    assert (await signs_in(outside, "cb_" + "x" * 43)).status == 401
    assert (await outside.asks("", "/wallboard/live")).status == 401
    for body in (b"", b"[]", b'{"token": 1}', b"\xff", b'{"token": "x", "more": 1}'):
        answer = await outside.asks("", "/wallboard/login", "POST", body, Content_Type="application/json")
        assert answer.status == 400
    form = await outside.asks("", "/wallboard/login", "POST", b'{"token": "x"}', Content_Type="text/plain")
    assert form.status == 415


async def test_forged_cookies_are_refused(outside: Outside) -> None:
    cookie = await cookie_of(outside, "reader")
    other = await cookie_of(outside, "admin")
    proof = cookie.rpartition(".")[2]
    for forged in (
        cookie[:-1] + ("A" if cookie[-1] != "A" else "B"),
        f"{wallboard.COOKIE}=admin.{proof}",
        f"{wallboard.COOKIE}=reader.{other.rpartition('.')[2]}",
        f"{wallboard.COOKIE}=reader.",
        f"{wallboard.COOKIE}=reader",
        f"{wallboard.COOKIE}=.{proof}",
        f"{wallboard.COOKIE}=",
    ):
        assert not await knows(outside, forged), forged
        assert (await outside.asks("", "/wallboard/live", Cookie=forged)).status == 401, forged
    outside.book.revoke("reader")
    await asyncio.sleep(1.1)
    assert not await knows(outside, cookie)
    outside.book.add("reader", "reader")
    await asyncio.sleep(1.1)
    assert not await knows(outside, cookie), "a namesake is another"


async def test_pictures_name_callers_only_to_who_may_see_them(outside: Outside, room: OpenRoom) -> None:
    for role, sees in (("reader", False), ("supervisor", True)):
        cookie = await cookie_of(outside, role)
        async with outside.listens(role, "/wallboard/live", Cookie=cookie) as ear:
            said: dict[str, Any] = {}
            while len(said) < 5:
                heard = await ear.hears()
                said[heard["event"]] = heard["data"]
        text = " ".join(strings(said))
        assert any(person in text for person in PERSONAL) is sees
        sales = said["queues"][0]
        assert (sales["id"], sales["waiting"], sales["talking"], sales["ready"]) == ("sales", 1, 1, 0)
        assert [group["state"] for group in said["agents"]] == ["ringing", "talking", "paused"]
        assert [(c["queue"], c["position"]) for c in said["waiting"]["calls"]] == [("sales", 1), ("help", 1)]
        offers = [h["text"] for h in said["happenings"] if h["kind"] == "OfferMade"]
        assert any("offered to bob" in text and "the caller had waited" in text for text in offers)


async def test_only_what_changed_is_sent_and_a_revoked_token_ends_it(
    outside: Outside, room: OpenRoom
) -> None:
    cookie = await cookie_of(outside, "reader")
    async with outside.listens("reader", "/wallboard/live", Cookie=cookie) as ear:
        for _ in range(5):
            await ear.hears()
        room.asked("alice", "pause", "tea")
        assert [(await ear.hears())["event"] for _ in range(2)] == ["agents", "happenings"]
        outside.book.revoke("reader")
        assert (await ear.hears())["event"] == "out"
        with pytest.raises(EOFError):
            await ear.hears()


async def test_so_many_screens_and_no_more(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "SCREENS_A_TOKEN", 1)
    cookie = await cookie_of(outside, "reader")
    async with outside.listens("reader", "/wallboard/live", Cookie=cookie) as ear:
        await ear.hears()
        answer = await outside.asks("", "/wallboard/live", Cookie=cookie)
        assert (answer.status, answer.headers["retry-after"]) == (429, "10")


def test_a_large_floor_is_shown_in_bounded_size() -> None:
    room = OpenRoom()
    names = [f"agent{n:04}" for n in range(1_000)]
    agents = {name: Agent(name=name, endpoint=name, queues=("sales",)) for name in names}
    room.given(m.DefinitionGiven(msgspec.structs.replace(DEFINITION, agents=agents), "large"))
    for name in names:
        room.asked(name, "sign_in")
        room.asked(name, "pause", "lunch")
    for _ in range(300):
        room.caller()
    parts = board.parts(room.view(), people=True)
    waiting, states = parts["waiting"], parts["agents"]
    assert isinstance(waiting, board.BoardWaiting)
    assert isinstance(states, tuple)
    assert (waiting.count, len(waiting.calls)) == (300, board.SHOWN_WAITING)
    assert [(s.state, s.count, len(s.agents)) for s in states] == [("paused", 1_000, board.SHOWN_AGENTS)]
    assert len(msgspec.json.encode(parts)) < 64_000


# ---------------------------------------------------------------- in a browser


class LiveRoom(OpenRoom):
    """A room in which time passes as it does outside."""

    async def lives(self) -> None:
        while True:
            before_ns = time.monotonic_ns()
            await asyncio.sleep(0.05)
            self.passes((time.monotonic_ns() - before_ns) / SECOND_NS)


class House:
    """A server that can be stopped and come back at the same port."""

    def __init__(self, room: OpenRoom, state_dir: Path) -> None:
        self.room, self.state_dir = room, state_dir
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/wallboard"
        self._task: asyncio.Task[None] | None = None

    def starts(self) -> None:
        sock = web_http.listening(Address("127.0.0.1", self.port))
        self._task = asyncio.create_task(run(self.room, sock, self.state_dir))

    async def stops(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None


@pytest.fixture
def live_room() -> LiveRoom:
    room = LiveRoom()
    busy(room)
    return room


@pytest.fixture
async def house(live_room: LiveRoom, tmp_path: Path) -> AsyncIterator[House]:
    house = House(live_room, tmp_path)
    house.starts()
    living = asyncio.create_task(live_room.lives())
    yield house
    living.cancel()
    await house.stops()


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with opened(tmp_path / "browser") as page:
        yield page


async def enters(page: Page, house: House, role: str = "reader") -> None:
    token = TokenBook(house.state_dir).add(role, role)
    await page.goes_to(house.url)
    await page.becomes("document.activeElement?.id === 'token'", 20)
    await page.types(token)
    await page.becomes("document.querySelector('#queues tbody tr')")


def row(queue: str) -> str:
    rows = "[...document.querySelectorAll('#queues tbody tr')]"
    return f"{rows}.find(r => r.cells[0].firstChild.textContent === '{queue}')"


async def test_what_the_engine_decides_is_on_the_board_within_a_second(
    page: Page, house: House, live_room: LiveRoom
) -> None:
    await enters(page, house)
    await page.becomes(f"{row('Sales')}.cells[1].textContent === '1'")
    assert await page.run(f"{row('Help desk')}.cells[3].textContent") == "0"
    took_s = []
    for number in range(5):
        call = live_room.caller("2")
        took_s.append(await page.becomes(f"document.querySelector('#waiting').innerText.includes('{call}')"))
        waits = f"{row('Help desk')}.cells[1].textContent === '{2 + number}'"
        took_s.append(await page.becomes(waits))
    live_room.asked("carol", "resume")
    decided = "document.querySelector('#happenings li.decision .text').textContent"
    took_s.append(await page.becomes(f"{decided}.startsWith('offered to carol')"))
    assert "the only free agent" in await page.run(decided)
    assert max(took_s) < 1.0, took_s
    assert not page.complaints


async def test_durations_count_and_a_wait_that_is_too_long_says_so_in_words(
    page: Page, house: House, live_room: LiveRoom
) -> None:
    await enters(page, house)
    longest = f"{row('Help desk')}.cells[2]"
    before = await page.run(f"{longest}.firstChild.textContent")
    await page.becomes(f"{longest}.firstChild.textContent !== '{before}'", 2.5)
    assert re.fullmatch(r"0:[0-5][0-9]", before)
    assert await page.run(f"{longest}.innerText.includes('over')") is False
    live_room.passes(25)
    await page.becomes(f"{longest}.innerText.includes('▲ over 20 s')", 3)


async def test_the_service_level_is_a_figure_a_colour_and_words(
    page: Page, house: House, live_room: LiveRoom
) -> None:
    await enters(page, house)
    level = f"{row('Sales')}.cells[5]"
    assert await page.run(f"{level}.innerText") == "100 %\n✓ on target"
    assert await page.run(f"{level}.firstChild.className") == "good"
    assert await page.run(f"{row('Help desk')}.cells[5].innerText") == "–\nno calls yet"
    lost = live_room.caller("1")
    live_room.passes(21)
    live_room.given(m.HungUp(live_room.floor.state.calls[lost].channel))
    await page.becomes(f"{level}.innerText === '50 %\\n▼▼ below'", 3)
    assert await page.run(f"{level}.lastChild.className") == "bad"
    await page.goes_to(f"{house.url}?target=55")
    await page.becomes(f"{row('Sales')}?.cells[5].innerText === '50 %\\n▼ just below'")
    assert await page.run(f"{level}.lastChild.className") == "warn"


async def test_the_emergency_switch_is_seen(page: Page, house: House, live_room: LiveRoom) -> None:
    live_room.given(m.DefinitionGiven(msgspec.structs.replace(DEFINITION, crisis=Crisis("main")), "crisis"))
    await enters(page, house)
    live_room.given(m.CrisisAsked("sales", True, "test"))
    await page.becomes(f"{row('Sales')}.cells[0].innerText === 'Sales\\n■ emergency switch on'", 2)
    assert await page.run(f"{row('Help desk')}.cells[0].innerText") == "Help desk"
    assert await page.run("document.querySelector('#crisis').hidden") is True
    live_room.given(m.CrisisAsked("", True, "test"))
    await page.becomes("!document.querySelector('#crisis').hidden", 2)
    live_room.given(m.CrisisAsked("", False, "test"))
    await page.becomes("document.querySelector('#crisis').hidden", 2)


async def test_a_lost_server_is_seen_and_its_return_too(
    page: Page, house: House, live_room: LiveRoom
) -> None:
    await page.looks(1920, 1080)
    await enters(page, house)
    await page.becomes("document.querySelector('#link').textContent === 'live'")
    await house.stops()
    await page.becomes("!document.querySelector('#stale').hidden", 8)
    text = await page.run("document.querySelector('#stale').textContent")
    assert re.search(r"No news since \d\d:\d\d:\d\d \(for \d+:\d\d\)", text), text
    assert "old" in text
    assert not [each for each in await page.run(_CONTRASTS) if each[2] < 4.5]
    frozen = f"{row('Sales')}.cells[2].firstChild.textContent"
    before = await page.run(frozen)
    await _pictured(page, "stale", 1920)
    await asyncio.sleep(2)
    assert await page.run(frozen) == before, "what is not known does not go on counting"
    call = live_room.caller("2")
    house.starts()
    await page.becomes("document.querySelector('#stale').hidden", 12)
    await page.becomes(f"document.querySelector('#waiting').innerText.includes('{call}')", 2)
    assert not [each for each in page.complaints if "ERR_" not in each]


async def test_a_hanging_connection_is_seen(
    page: Page, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enters(page, house)
    await page.becomes("document.querySelector('#link').textContent === 'live'")
    monkeypatch.setattr(board, "PACE_S", 3600.0)  # nothing breaks, nothing comes
    await page.becomes("!document.querySelector('#stale').hidden", 12)


async def test_a_revoked_token_ends_the_board(page: Page, house: House) -> None:
    await enters(page, house)
    TokenBook(house.state_dir).revoke("reader")
    await page.becomes("!document.querySelector('#login').hidden", 6)
    assert await page.run("document.querySelector('#board').hidden") is True
    assert "revoked" in await page.run("document.querySelector('#login-wrong').textContent")


async def test_hostile_names_are_only_text(page: Page, house: House, live_room: LiveRoom) -> None:
    queues = {**DEFINITION.queues, "sales": Queue(name=HOSTILE)}
    agents = {
        **DEFINITION.agents,
        "bob": Agent(name=f"{HOSTILE}\u202ebob", endpoint="bob", queues=("sales",)),
    }
    coming = msgspec.structs.replace(DEFINITION, queues=queues, agents=agents)
    live_room.given(m.DefinitionGiven(coming, "hostile"))
    live_room.caller(number=HOSTILE, name=HOSTILE)
    live_room.asked("carol", "resume")
    live_room.asked("carol", "pause", HOSTILE)
    await enters(page, house, "supervisor")
    shown = await page.run("document.body.innerText")
    assert shown.count(HOSTILE) >= 3, shown
    assert await page.run("document.querySelectorAll('img').length") == 0
    assert await page.run("window.pwned === undefined")
    assert not page.complaints


async def test_the_token_is_nowhere_a_script_can_read_it(page: Page, house: House) -> None:
    await enters(page, house)
    places = "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}, location.href])"
    assert "cb_" not in await page.run(places)
    assert await page.run("document.cookie") == ""
    assert await page.run("document.querySelector('#token').value") == ""


async def test_the_policy_holds_in_the_page(page: Page, house: House) -> None:
    """That no complaint is heard means something only if a violation would be heard."""
    await enters(page, house)
    assert not page.complaints
    with pytest.raises(AssertionError, match="TrustedHTML"):
        await page.run("document.querySelector('#centre').innerHTML = '<b>x</b>'")
    await page.run(
        "document.head.append(Object.assign(document.createElement('style'), {textContent: '*{}'}))"
    )
    await asyncio.sleep(0.3)
    assert any("Content Security Policy" in each for each in page.complaints)


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (390, 844)])
async def test_it_fits_the_screen_in_both_themes(
    page: Page, house: House, live_room: LiveRoom, width: int, height: int, theme: str
) -> None:
    crowded(live_room)
    await page.looks(width, height, theme)
    await enters(page, house, "supervisor" if width > 1000 else "reader")
    await page.becomes("document.querySelectorAll('#queues tbody tr').length === 6")
    await asyncio.sleep(0.3)
    across = "[document.documentElement, ...document.querySelectorAll('.fit')]"
    wide = await page.run(
        f"{across}.filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.outerHTML.slice(0, 90))"
    )
    assert not wide, "nothing to scroll sideways"
    if width > 1000:
        assert await page.run("document.documentElement.scrollHeight") <= height
        smallest = await page.run(_SMALLEST)
        assert smallest >= 15, smallest
    poor = [each for each in await page.run(_CONTRASTS) if each[2] < 4.5]
    assert not poor, poor  # WCAG 2.2, 1.4.3
    await _pictured(page, theme, width)
    assert not page.complaints


async def _pictured(page: Page, name: str, width: int) -> None:
    if SCREENSHOTS:
        picture = await page.picture()
        await asyncio.to_thread((Path(SCREENSHOTS) / f"{name}-{width}.png").write_bytes, picture)


KEYS = {"1": "sales", "2": "help", "3": "bill", "4": "fr", "5": "orders", "6": "vip"}
TITLES = ("Sales", "Help desk", "Billing and contracts", "Français", "Orders", "VIP")


def crowded(room: OpenRoom) -> None:
    """Six queues, forty agents in many states, callers waiting where nobody is free, a day's figures."""
    nodes = {"menu": MenuNode(sounds=("hello",), choices=KEYS, on_failure="sales")}
    flow = Flow(start="menu", nodes={**nodes, **{queue: QueueNode(queue=queue) for queue in KEYS.values()}})
    first = ("Alice", "Bob", "Carol", "Dmitri", "Elena", "Faisal", "Grace", "Hiroshi", "Ines", "Jakub")
    people = [f"{f} {s}" for s in ("Adams", "Brown", "Clark", "Dubois") for f in first]
    names = [(each.split()[0] + each.split()[1][0]).lower() for each in people]
    agents = {
        name: Agent(name=people[n], endpoint=name, queues=(tuple(KEYS.values())[n % 8 % 6],))
        for n, name in enumerate(names)
    }
    definition = msgspec.structs.replace(
        DEFINITION,
        flows={"main": flow},
        queues={queue: Queue(name=title) for queue, title in zip(KEYS.values(), TITLES, strict=True)},
        agents={**{name: DEFINITION.agents[name] for name in ("alice", "bob", "carol")}, **agents},
    )
    room.given(m.DefinitionGiven(definition, "crowd"))
    for n, name in enumerate(names[:33]):
        room.asked(name, "sign_in")
        room.passes(3)
        if n % 5 == 4:
            room.asked(name, "pause", ("lunch", "training")[n % 2])
        tidied(room)
    for n in range(44):
        call = room.caller("11122231425613226111"[n % 20], number=f"+49301234{n:02}", name=f"Caller {n}")
        offer = room.floor.state.calls[call].offer
        if offer is not None and n % 7 != 3:
            room.answered(call)
        room.passes(3 + n % 9)
        tidied(room)
        if offer is not None and n % 4 == 0:
            room.given(m.HungUp(room.floor.state.calls[call].channel))
            tidied(room)


def tidied(room: OpenRoom) -> None:
    """Phones that were told to hang up have done so."""
    for agent in list(room.floor.state.agents.values()):
        if agent.state == "releasing":
            room.given(m.ChannelGone(agent.leg))


_SMALLEST = """Math.min(...[...document.querySelectorAll('main *')]
  .filter((e) => e.checkVisibility() && [...e.childNodes].some((c) => c.nodeType === 3 && c.data.trim()))
  .map((e) => parseFloat(getComputedStyle(e).fontSize)))"""

# Contrast as WCAG 2.2 defines it, of every text against the ground it stands on.
_CONTRASTS = """(() => {
  const channels = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = (c) => {
    const [r, g, b] = channels(c).map((v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if ((channels(c)[3] ?? 1) > 0) return c;
    }
    return "rgb(255, 255, 255)";
  };
  const found = new Map();
  for (const e of document.querySelectorAll("body *")) {
    if (!e.checkVisibility() || ![...e.childNodes].some((c) => c.nodeType === 3 && c.data.trim())) continue;
    if (e.getAnimations().length || e.closest("li.new")) continue;
    const [a, b] = [getComputedStyle(e).color, ground(e)];
    const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
    found.set(a + b, [a, b, (x + 0.05) / (y + 0.05)]);
  }
  return [...found.values()];
})()"""
