"""The test phones are tested themselves, on a plain Asterisk: what they hear, press and time is true."""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns

import pytest

from ari_app.deploy.asterisk import AsteriskProgram, AsteriskServer
from ari_app.deploy.ports import free_port

from . import harness
from .harness import Account, PhoneRoom, answers, busy, dead, declines, g711, rings
from .harness.ear import Frame, Sound, judge
from .harness.programs import asterisk_program
from .harness.sip import SipError, address, name_address
from .harness.sipp import FOREVER_MS, AgentScript, CallerScript, Sipp, SippCall, SippRecord

PASSWORD = "a-password-for-tests"

MODULES = """
app_dial app_echo app_playtones app_playback app_read app_senddtmf app_verbose app_confbridge
bridge_builtin_features bridge_native_rtp bridge_simple bridge_softmix chan_pjsip codec_alaw codec_ulaw
codec_gsm codec_resample format_gsm format_pcm format_sln format_wav func_callerid func_channel func_logic
func_strings pbx_config res_crypto res_musiconhold res_pjproject res_pjsip res_pjsip_authenticator_digest
res_pjsip_caller_id res_pjsip_dtmf_info res_pjsip_endpoint_identifier_ip res_pjsip_endpoint_identifier_user
res_pjsip_pubsub res_pjsip_registrar res_pjsip_sdp_rtp res_pjsip_session res_rtp_asterisk
res_sorcery_astdb res_sorcery_config res_sorcery_memory res_timing_timerfd app_stack res_clioriginate
"""

DIALPLAN = """
[phones]
exten => echo,1,Answer()
 same => n,Echo()
exten => music,1,Answer()
 same => n,MusicOnHold(default)
exten => quiet,1,Answer()
 same => n,Wait(20)
exten => tone,1,Answer()
 same => n,Playtones(1000)
 same => n,Wait(20)
exten => keys,1,Answer()
 same => n,Read(KEYS,,12,,1,5)
 same => n,Wait(0.3)
 same => n,SendDTMF(${KEYS},100,120)
 same => n,Wait(20)
exten => conference,1,Answer()
 same => n,ConfBridge(all)
exten => bob,1,Dial(PJSIP/bob,10)
 same => n,Hangup(${HANGUPCAUSE})
exten => desk,1,Answer()
 same => n,Goto(desks,s,1)
[desks]
exten => s,1,StartMusicOnHold()
 same => n,WaitExten(5)
exten => _[0-3],1,StopMusicOnHold()
 same => n,Dial(PJSIP/desk${EXTEN},10,m)
 same => n,Hangup(${HANGUPCAUSE})
"""


def endpoint(name: str) -> str:
    return (
        f"[{name}]\ntype = endpoint\ncontext = phones\ndisallow = all\nallow = ulaw,alaw\naors = {name}\n"
        f"auth = {name}\ndirect_media = no\ndtmf_mode = rfc4733\n"
        f"[{name}]\ntype = auth\nauth_type = userpass\nusername = {name}\npassword = {PASSWORD}\n"
        f"[{name}]\ntype = aor\nmax_contacts = 1\nremove_existing = yes\n"
    )


def desk(name: str, port: int) -> str:
    """An agent's phone that does not register, and a trunk that is told by its address."""
    return (
        f"[{name}]\ntype = endpoint\ncontext = phones\ndisallow = all\nallow = ulaw\naors = {name}\n"
        f"direct_media = no\n[{name}]\ntype = aor\ncontact = sip:{name}@127.0.0.1:{port}\n"
    )


TRUNK = """
[trunk]
type = endpoint
context = phones
disallow = all
allow = ulaw
direct_media = no
[trunk]
type = identify
endpoint = trunk
match = 127.0.0.2
"""


def configuration(
    folder: Path, program: AsteriskProgram, sip_port: int, rtp_port: int, desk_port: int
) -> dict[str, str]:
    names = ["ann", "bob", "eve", *(f"crowd{number}" for number in range(40))]
    return {
        "asterisk.conf": (
            f"[directories]\nastetcdir => {folder}/etc\nastmoddir => {program.module_dir}\n"
            f"astdatadir => {program.data_dir}\n"
            + "".join(
                f"{name} => {folder}/{name}\n"
                for name in ("astvarlibdir", "astdbdir", "astkeydir", "astagidir", "astspooldir")
            )
            + f"astrundir => {folder}/run\nastlogdir => {folder}/log\n"
        ),
        "modules.conf": "[modules]\nautoload = no\n"
        + "".join(f"load = {name}.so\n" for name in MODULES.split()),
        "logger.conf": "[general]\n[logfiles]\nmessages => notice,warning,error\n",
        "extensions.conf": DIALPLAN,
        "musiconhold.conf": f"[default]\nmode = files\ndirectory = {program.data_dir}/moh\n",
        "confbridge.conf": "[default_user]\ntype = user\nquiet = yes\n[default_bridge]\ntype = bridge\n",
        "rtp.conf": f"[general]\nrtpstart = {rtp_port}\nrtpend = {rtp_port + 400}\n",
        "pjsip.conf": f"[udp]\ntype = transport\nprotocol = udp\nbind = 127.0.0.1:{sip_port}\n"
        + "".join(endpoint(name) for name in names)
        + "".join(desk(f"desk{number}", desk_port) for number in range(4))
        + TRUNK,
    }


@dataclass
class Exchange:
    """A plain Asterisk: no application, only a dialplan."""

    server: AsteriskServer
    sip_port: int
    desk_port: int

    def account(self, name: str, password: str | None = PASSWORD) -> Account:
        return Account(name, "127.0.0.1", self.sip_port, password)

    async def falls_quiet(self, within_s: float = 3.0) -> None:
        """Wait until no channel is left: Asterisk clears up a moment after the last BYE."""
        for _ in range(round(within_s / 0.1)):
            shown = self.server.rx("core show channels count")
            if shown.startswith("0 active channels"):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{shown.splitlines()[0]} after {within_s} s")


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    program, folder = asterisk_program(), tmp_path_factory.mktemp("pbx")
    sip_port, desk_port = free_port("udp"), free_port("udp")
    for name in ("etc", "run", "log", "astvarlibdir", "astdbdir", "astkeydir", "astagidir", "astspooldir"):
        (folder / name).mkdir()
    rtp_port = 20000 + sip_port % 200 * 100
    for name, text in configuration(folder, program, sip_port, rtp_port, desk_port).items():
        (folder / "etc" / name).write_text(text)
    server = AsteriskServer(program, folder / "etc")
    server.start()
    yield Exchange(server, sip_port, desk_port)
    server.stop()


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[PhoneRoom]:
    async with PhoneRoom(tmp_path / "captures") as room:
        yield room


def sounds_of(*signals: tuple[float, float], frames: int = 5, codec: int = g711.PCMU) -> list[Sound]:
    """Sounds of a mix of (frequency, amplitude), through G.711 and back."""
    samples = [
        round(sum(level * math.sin(2 * math.pi * hertz * n / 8000 + 0.3) for hertz, level in signals))
        for n in range(160 * frames)
    ]
    payloads = [g711.encode(samples[n : n + 160], codec) for n in range(0, len(samples), 160)]
    return judge(
        [Frame(n, n, 0, 0, codec, payload) for n, payload in enumerate(payloads)], (1000, 1500, 2000)
    )


@pytest.mark.parametrize("codec", [g711.PCMU, g711.PCMA])
def test_the_ear_tells_tones_apart(codec: int) -> None:
    def heard(*signals: tuple[float, float]) -> set[str]:
        return {str(sound) for sound in sounds_of(*signals, codec=codec)}

    assert heard((1000, 8000)) == {"1000 Hz"}
    assert heard((1000, 8000), (2000, 8000)) == {"1000 Hz + 2000 Hz"}
    assert heard((1000, 8000), (440, 6000)) == {"1000 Hz + other sound"}
    assert heard((440, 8000)) == {"other sound"}
    assert heard((1010, 8000)) == {"other sound"}  # a note close to a tone, but not a phone's
    assert heard((1000, 1500)) == {"other sound"}
    assert heard((1000, 20)) == {"silence"}


def test_one_packet_of_a_stranger_is_enough() -> None:
    def frame(at: int, tone: int) -> Frame:
        return Frame(at, at, 0, 0, g711.PCMU, g711.tone_frame(tone, g711.PCMU))

    frames = [frame(n, 2000 if n == 50 else 1000) for n in range(100)]
    strange = [sound for sound in judge(frames, (1000, 2000)) if 2000 in sound.tones]
    assert [sound.at_ns for sound in strange] == [50]


def test_the_end_of_a_key_under_the_sounds_payload_type_is_no_strangers_voice() -> None:
    ends = [Frame(n, n, 0, 0, g711.PCMU, bytes.fromhex("028a0140")) for n in range(3)]
    tone = Frame(3, 3, 160, 0, g711.PCMU, g711.tone_frame(1000, g711.PCMU))
    assert [set(sound.tones) for sound in judge([*ends, tone], (1000, 1500, 2000))] == [set()] * 3 + [{1000}]


@pytest.mark.parametrize("name", ["Ann", 'say "hi" \\', "<img onerror>", "Løwe\x1b[31m", "=1+1;tag=x"])
@pytest.mark.parametrize("user", ["100", "+44 20", "a@b>;c", "line\r\nend"])
def test_hostile_callers_survive_their_own_address(name: str, user: str) -> None:
    assert address(name_address(name, user, "host"))[:2] == (name, user)


async def test_two_phones_talk_and_each_hears_exactly_the_other(exchange: Exchange, room: PhoneRoom) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    bob = await room.phone("bob", exchange.account("bob"), register=True)
    bob.policy = answers(after_s=0.3)
    assert ann.tone is not None
    assert bob.tone is not None

    call = await ann.dial("bob", caller_name="Ann Löwe")
    await call.answered()
    bobs = bob.call
    heard_ns = await call.ear.hears(bob.tone)
    await bobs.ear.hears(ann.tone)
    await asyncio.sleep(2)
    await bobs.hang_up()
    end = await call.gone()

    assert bobs.answered_ns is not None
    assert (heard_ns - bobs.answered_ns) / 1e6 < 60
    assert end.by == "them"
    assert bobs.caller_name == "Ann Löwe"
    assert bobs.caller_number == "ann"
    for ear, tone in ((call.ear, bob.tone), (bobs.ear, ann.tone)):
        since_ns, until_ns = ear.first(tone), ear.last(tone)
        assert ear.longest_gap_ms(tone, since_ns, until_ns) < 60, ear.story()
        assert ear.strangers({tone}) == set(), ear.story()
        assert ear.other_ms() <= 20, ear.story()
        assert ear.lost() == 0


async def test_keys_pressed_arrive_and_keys_sent_are_heard(exchange: Exchange, room: PhoneRoom) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    call = await ann.dial("keys")
    await call.answered()
    pressed_ns = await call.press("123456789*0#")
    await asyncio.sleep(3.5)
    await call.hang_up()
    assert "".join(key.digit for key in call.ear.pressed) == "123456789*0#"
    assert pressed_ns == call.ear.pressed[-1].at_ns
    assert "".join(key.digit for key in call.ear.digits) == "123456789*0"  # Read() ends at the hash


async def test_music_is_other_sound_and_no_phones_tone(exchange: Exchange, room: PhoneRoom) -> None:
    room.tones += harness.TONES
    ann = await room.phone("ann", exchange.account("ann"), silent=True)
    call = await ann.dial("music")
    answered_ns = await call.answered()
    music_ns = await call.ear.hears_other()
    await asyncio.sleep(4)
    until_ns = monotonic_ns()
    await call.hang_up()
    assert (music_ns - answered_ns) / 1e6 < 2000  # Debian's music fades in
    assert call.ear.strangers(set()) == set(), call.ear.story()
    assert call.ear.other_ms(music_ns, until_ns) > 3500
    assert call.ear.longest_gap_ms(None, music_ns, until_ns) < 500, call.ear.story()


async def test_silence_is_noticed(exchange: Exchange, room: PhoneRoom) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    call = await ann.dial("quiet")
    since_ns = await call.answered()
    await asyncio.sleep(1)
    until_ns = monotonic_ns()
    await call.voice.flush()
    assert call.ear.silent_ms(since_ns, until_ns) > 990
    assert call.ear.longest_gap_ms(None, since_ns, until_ns) > 990


async def test_an_interruption_is_measured(exchange: Exchange, room: PhoneRoom) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    call = await ann.dial("echo")
    assert ann.tone is not None
    since_ns = await call.ear.hears(ann.tone)
    await asyncio.sleep(0.5)
    await call.voice.mute()
    await asyncio.sleep(0.4)
    await call.voice.say(ann.tone)
    await asyncio.sleep(0.5)
    await call.hang_up()
    gap_ms = call.ear.longest_gap_ms(ann.tone, since_ns, call.ear.last(ann.tone))
    assert 380 < gap_ms < 500, call.ear.story()


async def test_a_stranger_in_the_conversation_is_found(exchange: Exchange, room: PhoneRoom) -> None:
    ann, bob, eve = [await room.phone(name, exchange.account(name)) for name in ("ann", "bob", "eve")]
    calls = [await phone.dial("conference") for phone in (ann, bob)]
    assert ann.tone is not None
    assert bob.tone is not None
    assert eve.tone is not None
    await calls[0].ear.hears(bob.tone)
    assert calls[0].ear.strangers({bob.tone}) == set(), calls[0].ear.story()
    intruder = await eve.dial("conference")
    await calls[0].ear.hears(eve.tone)
    await asyncio.sleep(0.3)
    assert calls[0].ear.strangers({bob.tone}) == {eve.tone}, calls[0].ear.story()
    assert calls[1].ear.heard(ann.tone)
    await intruder.ear.hears(ann.tone)
    assert intruder.ear.heard(bob.tone)


async def test_a_phone_that_is_busy_declines_or_stays_silent(exchange: Exchange, room: PhoneRoom) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    bob = await room.phone("bob", exchange.account("bob"), register=True)
    bob.policy = busy()
    assert (await (await ann.dial("bob")).gone()).code == 486
    bob.policy = declines()
    assert (await (await ann.dial("bob")).gone()).code in (403, 603)
    bob.policy = dead
    call = await ann.dial("bob")
    silent = [await bob.called() for _ in range(3)][-1]
    await call.hang_up()
    assert (await call.gone()).code == 487
    assert (await silent.gone()).code == 487


async def test_a_caller_gives_up_while_it_rings(exchange: Exchange, room: PhoneRoom) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    bob = await room.phone("bob", exchange.account("bob"), register=True)
    bob.policy = rings
    call = await ann.dial("bob")
    await call.rings()
    await call.hang_up()
    assert (await call.gone()).by == "us"
    assert (await bob.call.gone()).code == 487


async def test_hang_up_and_answer_in_the_same_instant(exchange: Exchange, room: PhoneRoom) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    bob = await room.phone("bob", exchange.account("bob"), register=True)
    bob.policy = rings
    for _ in range(10):
        call = await ann.dial("bob")
        called = await bob.called()
        await call.rings()
        await asyncio.gather(called.answer(), call.hang_up())
        await call.gone()
        await called.gone()
    await exchange.falls_quiet()


async def test_a_second_call_is_refused_and_remembered(exchange: Exchange, room: PhoneRoom) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    eve = await room.phone("eve", exchange.account("eve"))
    bob = await room.phone("bob", exchange.account("bob"), register=True)
    call = await ann.dial("bob")
    await call.answered()
    assert (await (await eve.dial("bob")).gone()).code == 486
    assert [each.while_busy for each in bob.incoming] == [False, True]
    assert call.up


async def test_hold_and_resume(exchange: Exchange, room: PhoneRoom) -> None:
    ann = await room.phone("ann", exchange.account("ann"))
    bob = await room.phone("bob", exchange.account("bob"), register=True)
    call = await ann.dial("bob")
    await call.answered()
    assert bob.tone is not None
    await call.ear.hears(bob.tone)
    held_ns = monotonic_ns()
    await bob.call.hold()
    await call.ear.hears_other(since_ns=held_ns)
    resumed_ns = monotonic_ns()
    await bob.call.resume()
    await call.ear.hears(bob.tone, since_ns=resumed_ns)


async def test_a_wrong_password_is_refused(exchange: Exchange, room: PhoneRoom) -> None:
    with pytest.raises(SipError, match="could not register"):
        await room.phone("bob", exchange.account("bob", "wrong"), register=True)
    ann = await room.phone("ann", exchange.account("ann", None))
    assert (await (await ann.dial("echo")).gone()).code == 401


async def test_forty_phones_keep_their_pace(exchange: Exchange, room: PhoneRoom) -> None:
    phones = [await room.phone(f"crowd{n}", exchange.account(f"crowd{n}")) for n in range(40)]
    calls = await asyncio.gather(*(phone.dial("echo") for phone in phones))
    await asyncio.gather(*(call.answered() for call in calls))
    await asyncio.sleep(4)
    since_ns = monotonic_ns() - 3_000_000_000
    for call, phone in zip(calls, phones, strict=True):
        await call.hang_up()
        assert phone.tone is not None
        assert call.ear.strangers({phone.tone}) == set()
        assert call.ear.longest_gap_ms(phone.tone, since_ns, call.ear.last(phone.tone)) < 120
    late_ms = sorted([late for call in calls for late in await call.voice.pacing_ms()])
    p50_ms, p95_ms = (late_ms[len(late_ms) * share // 100] for share in (50, 95))
    print(f"packets sent late by p50 {p50_ms:.2f}, p95 {p95_ms:.2f}, at most {late_ms[-1]:.2f} ms")
    assert p50_ms < 3
    assert p95_ms < 15


async def test_a_caller_from_a_trunk_shows_any_number(exchange: Exchange, room: PhoneRoom) -> None:
    ann = await room.phone("ann", exchange.account("line", None), host="127.0.0.2")
    bob = await room.phone("bob", exchange.account("bob"), register=True)
    call = await ann.dial("bob", caller_number="+44 20<b>\r\nx", caller_name="<img onerror>")
    called = await bob.called()
    await call.answered()
    assert ann.tone is not None
    await called.ear.hears(ann.tone)
    assert called.caller_number == "+44 20<b>\r\nx"
    assert called.caller_name == "<img onerror>"


async def test_sipp_callers_with_voices_are_heard(exchange: Exchange, room: PhoneRoom) -> None:
    remote = ("127.0.0.1", exchange.sip_port)
    outcomes = [(200, 1500), (200, FOREVER_MS), (486, 0), (603, 0)]
    desks = [await room.voice(f"desk{n}") for n in range(4)]
    anns = [await room.voice(f"ann{n}", script=[(0.5, str(n))]) for n in range(4)]
    agents = [
        AgentScript(300, code, talk_ms, voice) for (code, talk_ms), voice in zip(outcomes, desks, strict=True)
    ]
    callers = [CallerScript("desk", f"55{n}", stay_ms=3000, voice=voice) for n, voice in enumerate(anns)]
    async with Sipp.agents(agents, remote, port=exchange.desk_port) as phones:
        made = await Sipp.callers(callers, remote, calls_a_second=2, host="127.0.0.2").done()
        taken = await phones.stop()
    assert (made.created, made.failed) == (4, 0), phones.errors()
    assert (taken.count("offered"), taken.count("answered"), taken.count("refused")) == (4, 2, 2)
    assert sorted(call.party for call in taken.calls) == [f"desk{n}" for n in range(4)]
    assert taken.overlapping() == []
    by_caller = {call.party: call.events for call in made.calls}
    assert "released" in by_caller["550"]
    assert "hung_up" in by_caller["551"]
    for n in range(2):
        ann_tone, desk_tone = anns[n].tone, desks[n].tone
        assert ann_tone is not None
        assert desk_tone is not None
        assert anns[n].ear.heard(desk_tone), anns[n].ear.story()
        assert desks[n].ear.heard(ann_tone), desks[n].ear.story()
        assert anns[n].ear.strangers({desk_tone}) == set()


async def test_sipp_load_at_random_adds_up(exchange: Exchange) -> None:
    remote, dice = ("127.0.0.1", exchange.sip_port), random.Random(7)
    callers = [
        CallerScript("desk", f"66{n}", keys=str(n % 4), stay_ms=dice.choice([1000, 1500, 3000, 6000]))
        for n in range(40)
    ]
    agents = [
        AgentScript(
            dice.choice([50, 300, 1200]), dice.choice([200, 200, 486, 603, 0]), dice.choice([300, 9000])
        )
        for _ in range(40)
    ]
    async with Sipp.agents(agents, remote, port=exchange.desk_port) as phones:
        made = await Sipp.callers(callers, remote, calls_a_second=10, host="127.0.0.2").done()
        await exchange.falls_quiet()
        taken = await phones.stop()
    assert (made.created, made.successful, made.failed, made.count("pressed")) == (40, 40, 0, 40)
    assert made.count("answered") == made.count("hung_up") + made.count("released")
    assert taken.failed == 0, phones.errors()
    assert taken.count("offered") == taken.successful
    for call in taken.calls:
        ends = {"refused", "cancelled", "hung_up", "released"} & call.events.keys()
        assert len(ends) == 1, call
    for outcome in ("answered", "refused", "cancelled", "hung_up", "released"):
        assert taken.count(outcome) > 0, outcome


def test_an_agent_with_two_calls_at_once_is_noticed() -> None:
    def call(call_id: str, agent: str, since: float, until: float) -> SippCall:
        return SippCall(call_id, agent, {"offered": since, "released": until})

    first, second, third = call("a", "bob", 1, 5), call("b", "bob", 4, 9), call("c", "bob", 9, 10)
    elsewhere = call("d", "eve", 1, 9)
    assert SippRecord(4, 4, 0, 0, [first, second, third, elsewhere]).overlapping() == [(first, second)]
