"""The ARI client against a real Asterisk: every fact it relies on is asked again here."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ari_app.ari import errors
from ari_app.ari.client import AriLink, AriSettings, LinkState
from ari_app.ari.models import (
    AnyEvent,
    Application,
    AsteriskInfo,
    AsteriskPing,
    Channel,
    StasisStart,
    UnknownEvent,
    decode_event,
    instant_ns,
)
from tests.asterisk.ari_rig import SECRET, PrivateAsterisk, description_dir

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def asterisk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateAsterisk]:
    server = PrivateAsterisk(tmp_path_factory.mktemp("asterisk"))
    server.start()
    yield server
    server.kill()


def settings_for(server: PrivateAsterisk, **changes: Any) -> AriSettings:
    settings = AriSettings(
        base_url=server.base_url,
        username="tester",
        password=SECRET,
        reconnect_delay_s=0.1,
        reconnect_delay_max_s=0.3,
    )
    return msgspec.structs.replace(settings, **changes)


class Phone:
    """A running link with what it saw."""

    def __init__(self, settings: AriSettings) -> None:
        self.events: list[AnyEvent | UnknownEvent] = []
        self.states: list[LinkState] = []
        self.changed = asyncio.Event()
        self.link = AriLink(settings, self._event, self._state)
        self.task: asyncio.Task[None] | None = None

    def _event(self, event: AnyEvent | UnknownEvent) -> None:
        self.events.append(event)
        self.changed.set()

    def _state(self, state: LinkState) -> None:
        self.states.append(state)
        self.changed.set()

    async def until(self, condition: Callable[[], object], limit_s: float = 10.0) -> None:
        async with asyncio.timeout(limit_s):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    async def in_stasis(self, channel: str) -> None:
        """Bring up a Local channel whose far half, `{channel}-far`, is in Stasis."""
        await self.link.request(
            "POST",
            f"channels/{channel}",
            params={
                "endpoint": "Local/s@entry",
                "context": "entry",
                "extension": "wait",
                "priority": 1,
                "otherChannelId": f"{channel}-far",
            },
        )
        await self.until(
            lambda: any(
                isinstance(event, StasisStart) and event.channel.id == f"{channel}-far"
                for event in self.events
            )
        )


@asynccontextmanager
async def connected(settings: AriSettings) -> AsyncIterator[Phone]:
    phone = Phone(settings)
    phone.task = asyncio.create_task(phone.link.run())
    try:
        async with asyncio.timeout(15):
            while not phone.link.up:
                if phone.task.done():
                    await phone.task
                await asyncio.sleep(0.01)
        yield phone
    finally:
        phone.task.cancel()
        with suppress(asyncio.CancelledError, errors.Replaced):
            await phone.task


async def refused(link: AriLink, method: str, path: str, **params: str) -> errors.AriError:
    with pytest.raises(errors.AriError) as caught:
        await link.request(method, path, params=params)
    return caught.value


async def test_ping_and_info(asterisk: PrivateAsterisk) -> None:
    async with connected(settings_for(asterisk)) as phone:
        ping = (await phone.link.request("GET", "asterisk/ping")).decode(AsteriskPing)
        assert ping.ping == "pong"
        info = (await phone.link.request("GET", "asterisk/info")).decode(AsteriskInfo)
        assert info.status is not None
        assert 0 <= time.time_ns() - instant_ns(info.status.startup_time) < 3600 * 10**9
        await asyncio.sleep(0.7)
        assert phone.link.event_round_trip_s is not None
        assert phone.link.event_round_trip_s < 0.2
        assert [state.phase for state in phone.states] == ["connecting", "up"]


async def test_a_channel_enters_stasis(asterisk: PrivateAsterisk) -> None:
    async with connected(settings_for(asterisk)) as phone:
        await phone.in_stasis("enters")
        channel = (await phone.link.request("GET", "channels/enters-far")).decode(Channel)
        assert channel.dialplan.app_name == "Stasis"
        listed = (await phone.link.request("GET", "channels")).decode(list[Channel])
        assert {"enters", "enters-far"} <= {each.id for each in listed}
        await phone.link.request("DELETE", "channels/enters")
        await phone.until(lambda: "StasisEnd" in phone.names())
        assert phone.link.unknown_events == 0


async def test_commands_run_in_the_order_of_the_calls(asterisk: PrivateAsterisk) -> None:
    async with connected(settings_for(asterisk)) as phone:
        await phone.in_stasis("order")
        answered: list[int] = []
        futures = [
            phone.link.send(
                "POST", "channels/order-far/variable", params={"variable": "LAST", "value": number}
            )
            for number in range(500)
        ]
        for future in futures:
            future.add_done_callback(lambda done: answered.append(futures.index(done)))
        last = phone.link.send("GET", "channels/order-far/variable", params={"variable": "LAST"})
        assert all(response.status == 204 for response in await asyncio.gather(*futures))
        assert (await last).body == '{"value":"499"}'
        assert answered == list(range(500))
        await phone.link.request("DELETE", "channels/order")


async def test_statuses_are_read_per_operation(asterisk: PrivateAsterisk) -> None:
    async with connected(settings_for(asterisk)) as phone:
        link = phone.link
        await phone.in_stasis("st")
        await link.request("POST", "bridges/br", params={"type": "mixing,dtmf_events"})
        local = {"endpoint": "Local/s@entry", "extension": "wait", "context": "entry"}
        expected: list[tuple[str, str, dict[str, str], type[errors.AriError], int]] = [
            ("GET", "channels/nope", {}, errors.ChannelNotFound, 404),
            ("DELETE", "channels/nope", {}, errors.ChannelNotFound, 404),
            ("POST", "channels/nope/answer", {}, errors.ChannelNotFound, 404),
            ("POST", "channels/nope/play/p", {"media": "sound:beep"}, errors.ChannelNotFound, 404),
            ("POST", "channels/st/answer", {}, errors.NotInStasis, 409),
            ("POST", "channels/st/moh", {}, errors.NotInStasis, 409),
            ("POST", "channels/st/play/p", {"media": "sound:beep"}, errors.NotInStasis, 409),
            ("POST", "channels/st/variable", {"variable": "X", "value": "1"}, errors.NotInStasis, 409),
            ("GET", "channels/st-far/variable", {"variable": "NONE"}, errors.VariableNotFound, 404),
            ("GET", "channels/nope/variable", {"variable": "NONE"}, errors.ChannelNotFound, 404),
            ("POST", "channels/st", local, errors.DuplicateId, 409),
            ("POST", "channels/other", {"extension": "wait"}, errors.OriginateRefused, 400),
            ("POST", "bridges/br", {"type": "mixing"}, errors.DuplicateId, 409),
            ("POST", "bridges/nope/addChannel", {"channel": "st-far"}, errors.BridgeNotFound, 404),
            ("POST", "bridges/br/addChannel", {"channel": "nope"}, errors.ChannelNotFound, 400),
            ("POST", "bridges/br/addChannel", {"channel": "st"}, errors.ChannelNotInStasis, 422),
            ("POST", "bridges/br/removeChannel", {"channel": "st-far"}, errors.ChannelNotInBridge, 422),
            ("POST", "bridges/br/removeChannel", {"channel": "st"}, errors.ChannelNotInStasis, 422),
            ("POST", "bridges/br/record", {"name": "r", "format": "xyz"}, errors.FormatUnknown, 422),
            ("POST", "bridges/nope/play/p", {"media": "sound:beep"}, errors.BridgeNotFound, 404),
            ("DELETE", "bridges/br/moh", {}, errors.MusicNotPlaying, 409),
            ("DELETE", "bridges/nope", {}, errors.BridgeNotFound, 404),
            ("DELETE", "playbacks/nope", {}, errors.PlaybackNotFound, 404),
            ("GET", "recordings/stored/nope", {}, errors.RecordingNotFound, 404),
            ("POST", "recordings/live/nope/stop", {}, errors.RecordingNotFound, 404),
            ("GET", "endpoints/PJSIP/nope", {}, errors.EndpointNotFound, 404),
            ("GET", "applications/nope", {}, errors.ApplicationNotFound, 404),
            (
                "POST",
                "channels/nope/snoop/s",
                {"spy": "both", "app": "cordboard"},
                errors.ChannelNotFound,
                404,
            ),
        ]
        for method, path, params, kind, status in expected:
            error = await refused(link, method, path, **params)
            assert type(error) is kind, (method, path, error)
            assert isinstance(error, errors.StatusError)
            assert error.status == status, (method, path, error)
        await link.request("POST", "channels/st-far/snoop/sn", params={"spy": "both", "app": "cordboard"})
        again = await refused(link, "POST", "channels/st-far/snoop/sn", spy="both", app="cordboard")
        assert type(again) is errors.SnoopRefused
        record = {"name": "rec", "format": "wav"}
        await link.request("POST", "bridges/br/record", params=record)
        assert type(await refused(link, "POST", "bridges/br/record", **record)) is errors.DuplicateId
        # A playback's id may be used again: no error at all.
        for _ in range(2):
            response = await link.request("POST", "channels/st-far/play/pb", params={"media": "sound:beep"})
            assert response.status == 201
        await link.request("DELETE", "bridges/br")
        await link.request("DELETE", "channels/st")


async def test_an_unreachable_phone_is_refused_but_a_duplicate_before_it_hides_that(
    asterisk: PrivateAsterisk,
) -> None:
    """Asterisk decides 409 from an errno it does not clear: read a duplicate id back to believe it."""
    async with connected(settings_for(asterisk)) as phone:
        dial = {"endpoint": "PJSIP/alice", "extension": "wait", "context": "entry"}
        assert type(await refused(phone.link, "POST", "channels/fresh", **dial)) is errors.OriginateRefused
        await phone.in_stasis("twice")
        local = {**dial, "endpoint": "Local/s@entry"}
        assert type(await refused(phone.link, "POST", "channels/twice", **local)) is errors.DuplicateId
        assert type(await refused(phone.link, "POST", "channels/fresh", **dial)) is errors.DuplicateId
        assert type(await refused(phone.link, "GET", "channels/fresh")) is errors.ChannelNotFound
        await phone.link.request("DELETE", "channels/twice")


async def test_a_slow_command_times_out_and_the_link_lives(asterisk: PrivateAsterisk) -> None:
    """addChannel waits for the channel's playback, and all behind it on its socket wait too."""
    async with connected(settings_for(asterisk, silent_after_s=0.3, ping_timeout_s=1.0)) as phone:
        await phone.in_stasis("slow")
        await phone.link.request("POST", "bridges/slowly", params={"type": "mixing,dtmf_events"})
        await phone.link.request(
            "POST", "channels/slow-far/play/long", params={"media": "sound:demo-instruct"}
        )
        await phone.until(lambda: "PlaybackStarted" in phone.names())
        with pytest.raises(errors.RequestTimedOut) as caught:
            await phone.link.request(
                "POST", "bridges/slowly/addChannel", params={"channel": "slow-far"}, timeout_s=0.5
            )
        assert caught.value.outcome_unknown
        await asyncio.sleep(2.5)
        assert phone.link.up
        assert [state.phase for state in phone.states] == ["connecting", "up"]
        await phone.link.fetch("channels/slow")  # HTTP has a thread of its own
        assert (phone.link.event_round_trip_s or 9) < 0.2


async def test_nothing_is_sent_while_down() -> None:
    link = AriLink(
        AriSettings(base_url="http://127.0.0.1:9/ari", username="u", password="p"), print, lambda _: None
    )
    with pytest.raises(errors.LinkDown):
        await link.request("GET", "asterisk/ping")
    with pytest.raises(errors.LinkDown):
        await link.fetch("recordings/stored/x/file")


async def test_too_large_a_request_is_not_sent(asterisk: PrivateAsterisk) -> None:
    async with connected(settings_for(asterisk)) as phone:
        with pytest.raises(errors.RequestTooLarge):
            await phone.link.request("POST", "channels/x", body={"variables": {"A": "x" * 65_535}})
        await phone.link.request("GET", "asterisk/ping")


async def test_the_filter_and_the_subscriptions_are_set(asterisk: PrivateAsterisk) -> None:
    async with connected(settings_for(asterisk, allowed_events=("StasisStart",))) as phone:
        refused_sources = await phone.link.subscribe(["endpoint:PJSIP/alice", "endpoint:PJSIP/nobody"])
        assert [type(error) for error in refused_sources.values()] == [errors.EventSourceNotFound]
        assert list(phone.link.refused_sources) == ["endpoint:PJSIP/nobody"]
        application = await application_of(phone)
        assert application.endpoint_ids == ("PJSIP/alice",)
        allowed = {each["type"] for each in application.events_allowed}
        assert allowed == {"StasisStart", "RESTResponse", "ApplicationReplaced"}
        await phone.in_stasis("filtered")
        await phone.link.request("DELETE", "channels/filtered")
        await asyncio.sleep(0.3)
        assert set(phone.names()) == {"StasisStart"}
        await phone.link.unsubscribe(["endpoint:PJSIP/alice"])
        assert (await application_of(phone)).endpoint_ids == ()


async def application_of(phone: Phone) -> Application:
    return (await phone.link.request("GET", "applications/cordboard")).decode(Application)


async def test_a_killed_asterisk_is_found_again_with_everything_restored(tmp_path: Path) -> None:
    server = PrivateAsterisk(tmp_path)
    server.start()
    try:
        async with connected(settings_for(server, allowed_events=("StasisStart",))) as phone:
            await phone.link.subscribe(["endpoint:PJSIP/alice"])
            server.freeze()
            await asyncio.sleep(0.1)
            under_way = [phone.link.send("GET", "asterisk/ping", timeout_s=30) for _ in range(20)]
            await asyncio.sleep(0.05)
            server.kill()
            results = await asyncio.gather(*under_way, return_exceptions=True)
            assert {type(result) for result in results} == {errors.LinkLost}
            await phone.until(lambda: phone.link.state.phase == "down")
            with pytest.raises(errors.LinkDown):
                await phone.link.request("GET", "asterisk/ping")
            await phone.until(lambda: isinstance(phone.link.state.error, errors.AsteriskUnreachable))
            server.start()
            await phone.until(lambda: phone.link.up)
            application = await application_of(phone)
            assert application.endpoint_ids == ("PJSIP/alice",)
            assert {"type": "StasisStart"} in application.events_allowed
            await phone.in_stasis("after")
    finally:
        server.kill()


async def test_a_frozen_asterisk_is_said_within_a_second_and_then_given_up(tmp_path: Path) -> None:
    server = PrivateAsterisk(tmp_path)
    server.start()
    try:
        async with connected(settings_for(server, ping_timeout_s=2.0)) as phone:
            await asyncio.sleep(0.2)
            frozen_at = time.monotonic()
            server.freeze()
            await phone.until(lambda: phone.link.state.phase == "silent")
            assert time.monotonic() - frozen_at < 1.3
            await asyncio.sleep(0.3)
            server.thaw()
            await phone.until(lambda: phone.link.state.phase == "up")
            server.freeze()
            frozen_at = time.monotonic()
            await phone.until(lambda: phone.link.state.phase == "down")
            assert 1.9 < time.monotonic() - frozen_at < 4
            assert isinstance(phone.link.state.error, errors.LinkLost)
            server.thaw()
            await phone.until(lambda: phone.link.state.phase == "up")
    finally:
        server.kill()


@pytest.mark.parametrize("taken", ["cordboard", "cordboard-commands"])
async def test_a_second_process_under_our_name_ends_the_first(asterisk: PrivateAsterisk, taken: str) -> None:
    async with connected(settings_for(asterisk, allowed_events=("StasisStart",))) as phone:
        other = {"event_app": "other-events", "command_app": "other-commands"}
        other["event_app" if taken == "cordboard" else "command_app"] = taken
        async with connected(settings_for(asterisk, **other)):
            assert phone.task is not None
            with pytest.raises(errors.Replaced, match=taken):
                await asyncio.wait_for(asyncio.shield(phone.task), 5)
            with pytest.raises(errors.LinkDown):
                await phone.link.request("GET", "asterisk/ping")


async def test_a_wrong_password_ends_with_the_remedy(asterisk: PrivateAsterisk) -> None:
    link = AriLink(settings_for(asterisk, password="wrong"), print, lambda _: None)
    with pytest.raises(errors.WrongCredentials, match=r"ari\.conf") as caught:
        await asyncio.wait_for(link.run(), 5)
    assert "wrong" not in str(caught.value).replace("wrong password", "")


async def test_a_mistake_in_the_handler_is_not_swallowed(asterisk: PrivateAsterisk) -> None:
    def broken(event: AnyEvent | UnknownEvent) -> None:
        raise ZeroDivisionError

    async with connected(settings_for(asterisk)) as phone:
        phone.link._on_event = broken
        assert phone.task is not None
        params = {"endpoint": "Local/s@entry", "context": "entry", "extension": "wait"}
        phone.link.send("POST", "channels/broken", params=params).add_done_callback(
            lambda done: done.exception()
        )
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(asyncio.shield(phone.task), 5)
        assert caught.group_contains(ZeroDivisionError)
        phone.task = asyncio.create_task(asyncio.sleep(0))


async def test_coming_back_at_once_under_the_same_name_works(asterisk: PrivateAsterisk) -> None:
    """A socket opened in the instant its predecessor closes may answer nothing; the first ping finds out."""
    for _ in range(10):
        async with connected(settings_for(asterisk, ping_timeout_s=1.0)) as phone:
            await phone.link.request("GET", "asterisk/ping")


async def test_an_absent_asterisk_is_reported_and_tried_again() -> None:
    settings = AriSettings(
        base_url="http://127.0.0.1:9/ari", username="u", password="p", reconnect_delay_s=0.05
    )
    phone = Phone(settings)
    task = asyncio.create_task(phone.link.run())
    await phone.until(lambda: sum(state.phase == "down" for state in phone.states) >= 2)
    assert isinstance(phone.states[-1].error, errors.AsteriskUnreachable)
    assert "http.conf" in str(phone.states[-1].error)
    task.cancel()
    await asyncio.wait({task})


async def test_recordings_come_over_http(asterisk: PrivateAsterisk, tmp_path: Path) -> None:
    async with connected(settings_for(asterisk)) as phone:
        await phone.in_stasis("rec")
        await phone.link.request("POST", "bridges/recb", params={"type": "mixing,dtmf_events"})
        await phone.link.request("POST", "bridges/recb/addChannel", params={"channel": "rec-far"})
        await phone.link.request("POST", "bridges/recb/record", params={"name": "kept", "format": "wav"})
        await phone.link.request("POST", "bridges/recb/play", params={"media": "sound:demo-instruct"})
        await asyncio.sleep(0.5)
        await phone.link.request("POST", "recordings/live/kept/stop")
        await phone.until(lambda: "RecordingFinished" in phone.names())
        size = await phone.link.download("recordings/stored/kept/file", tmp_path / "kept.wav")
        assert (tmp_path / "kept.wav").read_bytes()[:4] == b"RIFF"
        assert (tmp_path / "kept.wav").stat().st_size == size > 1000
        assert await phone.link.fetch("recordings/stored/kept/file") == (tmp_path / "kept.wav").read_bytes()
        with pytest.raises(errors.RecordingNotFound):
            await phone.link.download("recordings/stored/nope/file", tmp_path / "nope.wav")
        assert await asyncio.to_thread(os.listdir, tmp_path) == ["kept.wav"]
        await phone.link.request("DELETE", "channels/rec")
        await phone.link.request("DELETE", "bridges/recb")


def test_the_models_are_what_this_asterisk_describes() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/generate_ari_models.py", str(description_dir()), "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_drift_is_noticed(tmp_path: Path) -> None:
    for file in description_dir().glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    changed = tmp_path / "events.json"
    changed.write_text(changed.read_text().replace('"ChannelHold"', '"ChannelHeld"'))
    done = subprocess.run(
        [sys.executable, "scripts/generate_ari_models.py", str(tmp_path), "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "--asterisk-version" in done.stderr


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b'{"type":"FromTheFuture","application":"a","timestamp":"t","x":1}', "FromTheFuture"),
        (b'{"type":"StasisEnd","channel":{"id":7}}', "StasisEnd"),
        (b'{"type":"StasisEnd","channel":"\xff"}', "StasisEnd"),
        (b'{"no":"type"}', ""),
        (b"\xff\xfe not JSON", ""),
        (b"", ""),
    ],
)
def test_what_no_model_fits_is_an_unknown_event(raw: bytes, kind: str) -> None:
    event = decode_event(raw)
    assert isinstance(event, UnknownEvent)
    assert event.type == kind
    assert event.raw == raw
    assert event.problem


def test_asterisks_times_become_utc_nanoseconds() -> None:
    assert instant_ns("1970-01-01T01:00:00.001+0100") == 1_000_000


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "http://127.0.0.1:8088"},
        {"base_url": "http://me:secret@127.0.0.1:8088/ari"},
        {"event_app": "a,b"},
        {"event_app": "same", "command_app": "same"},
        {"allowed_events": ("StasisBegin",)},
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, Any]) -> None:
    good = AriSettings(base_url="http://127.0.0.1:8088/ari", username="u", password="p")
    assert "p" not in repr(good).replace("http", "").replace("app", "")
    with pytest.raises(ValueError, match=next(iter(change)).replace("event_app", "app")):
        AriSettings(**{**msgspec.structs.asdict(good), **change})
