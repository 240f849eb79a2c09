"""A fake Asterisk that behaves: channels, bridges, playbacks, music, time-outs, phones, in virtual time.

It executes ``core.messages`` effects with Asterisk's semantics and queues the observations a shell
would translate. Nothing is stubbed: what the application hears is a consequence of what channels and
phones did. Checked against Asterisk 22.10.1:

* channels in Stasis outlive the application; events in the gap are lost; new channels retry each second;
* a leg that is picked up while the application is away waits in the dialplan's loop;
* a caller whose agent hangs up without the application is led on by the leg's ``h`` extension: music, then
  the static fallback;
* ``TIMEOUT(absolute)`` takes a caller to the static fallback without the application;
* music does not resume after a prompt, and does not stop on entering a bridge;
* an originate or a bridge under an id that exists answers 409; a playback under one plays twice;
* events and answers to commands interleave in no causal order; only one channel's own events keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, assert_never

from ari_app.core import messages as m
from ari_app.core.definition import SECOND_NS
from ari_app.core.topology import ChannelSeen, Role, Snapshot

Where = Literal["ringing", "loop", "stasis", "left", "fallback"]
PhoneMood = Literal["rings", "answers", "busy", "declines", "unreachable", "accepts", "voicemail"]
"""``accepts``: is picked up and presses 1; ``voicemail``: is picked up and presses nothing, ever."""

SOUND_S = 2
"""Every sound file lasts as long."""
MISSING_SOUND = "missing"
ENTRY_MUSIC = "entry"
HOLD_MUSIC = "hold"
LOOP_TRIES = 30
ABSOLUTE_S = 120
Q850_NORMAL, Q850_BUSY, Q850_NO_ANSWER, Q850_REJECTED = 16, 17, 19, 21


class Broken(Exception):
    """Something happened that must never happen. Not an AssertionError: no test may swallow it."""


@dataclass
class Playback:
    id: str
    sounds: tuple[str, ...]
    until_ns: int = 0

    @property
    def failed(self) -> bool:
        return MISSING_SOUND in self.sounds


@dataclass
class Channel:
    """``agent``: at whose phone it sits. Instants in ns, 0 = never."""

    id: str
    role: Role
    where: Where
    number: str = ""
    code: m.Action | None = None
    agent: str = ""
    desk: str = ""
    up: bool = False
    music: str = ""
    playbacks: list[Playback] = field(default_factory=list)
    absolute_ns: int = 0
    answer_ns: int = 0
    press_ns: int = 0
    give_up_ns: int = 0
    retry_ns: int = 0
    tries: int = 0
    recording: set[str] = field(default_factory=set)
    holds: bool = False
    """The phone behind it has put its call on hold."""
    caller: str = ""
    """The caller for whom a leg was dialled."""


@dataclass
class Phone:
    """``after_s``: how long it rings before an "answers" phone is picked up."""

    mood: PhoneMood = "rings"
    after_s: float = 0.0


class FakeAsterisk:
    """``numbers``: the definition's numbers, from which the shell tells a known one."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns
        self.connected = False
        self.numbers: frozenset[str] = frozenset()
        self.channels: dict[str, Channel] = {}
        self.bridges: dict[str, set[str]] = {}
        self.phones: dict[str, Phone] = {}
        self.pending: list[tuple[str, m.AnyInput]] = []
        """(stream, observation): within one stream in order, between streams in any."""
        self.ids_used: set[str] = set()
        self.hung_up_by_us: list[str] = []
        self.files: set[str] = set()
        self.alarms: list[str] = []
        self.pins_asked: dict[str, str] = {}
        """Channel -> agent: the shell's collectors; they die with the process."""
        self.told: list[str] = []
        """Every channel that was told to go, as often as it was."""
        self.auto_answer: list[str] = []
        """Endpoints that were asked to pick up by themselves, as often as they were."""
        self.elsewhere: list[str] = []
        """Channels that were told that the call is answered elsewhere."""
        self.deaf: set[str] = set()
        """Channels that do not go although they are told to."""
        self.refuse_bridges = 0
        self.refuse_recordings = False

    # ------------------------------------------------------------ the application's sockets

    def connect(self) -> None:
        self.connected = True

    def disconnect(self, *, process_lives: bool = False) -> None:
        """The sockets are closed: what was on its way is lost, and a dead process's memory with it."""
        self.connected = False
        self.pending.clear()
        if not process_lives:
            self.pins_asked.clear()

    def streams(self) -> list[str]:
        """The streams that have something to deliver, oldest first."""
        return list(dict.fromkeys(stream for stream, _ in self.pending))

    def take(self, stream: str | None = None) -> m.AnyInput:
        """The next observation (of ``stream``). LookupError: there is none."""
        found = [i for i, (s, _) in enumerate(self.pending) if stream in (None, s)]
        return self.pending.pop(found[0])[1]

    def take_all(self) -> list[m.AnyInput]:
        """All observations, in the order in which they happened."""
        items = [item for _, item in self.pending]
        self.pending.clear()
        return items

    def _seen(self, stream: str, item: m.AnyInput) -> None:
        if self.connected:
            self.pending.append((stream, item))

    def _answer(self, stream: str, item: m.AnyInput) -> None:
        self._seen(f"answer {stream}", item)

    def snapshot(self) -> Snapshot:
        """What REST shows at this instant."""
        channels = {
            c.id: ChannelSeen(
                *(c.id, c.role, c.up, c.where == "stasis", self._known(c), c.code, c.agent, c.desk),
                left=c.where == "left",
            )
            for c in self.channels.values()
            if c.role != "caller" or c.where != "ringing"
        }
        playing = frozenset(p.id for c in self.channels.values() for p in c.playbacks)
        bridges = {b: frozenset(cs) for b, cs in self.bridges.items()}
        held = frozenset(c.id for c in self.channels.values() if c.holds)
        return Snapshot(channels, bridges, playing, held=held)

    def _known(self, channel: Channel) -> str:
        return channel.number if channel.number in self.numbers else ""

    # ------------------------------------------------------------ what people do

    def call_in(
        self, channel: str, number: str, code: m.Action | None = None, agent: str = "", desk: str = ""
    ) -> None:
        """A phone dials in: the entry extension answers, starts music, sets the time-out, enters Stasis."""
        self.channels[channel] = Channel(
            channel,
            "caller",
            "loop",
            number,
            code,
            agent,
            up=True,
            music=ENTRY_MUSIC,
            absolute_ns=self.now_ns + ABSOLUTE_S * SECOND_NS,
        )
        self.channels[channel].desk = desk
        self._try_stasis(self.channels[channel])

    def press(self, channel: str, digit: str) -> None:
        if self.channels[channel].where == "stasis":
            self._seen(channel, m.DigitPressed(channel, digit))

    def type_pin(self, channel: str, *, ok: bool, entered: bool = True) -> None:
        """The shell's collector compares a PIN that was typed (nothing, if no collector runs)."""
        if self.pins_asked.pop(channel, None) is not None:
            self._answer(channel, m.PinChecked(channel, ok, entered))

    def type_extension(self, channel: str, agent: str) -> None:
        """The shell's collector looks an extension up ("" = nobody has it)."""
        if self.pins_asked.get(channel) == "":
            del self.pins_asked[channel]
            self._answer(channel, m.AgentNamed(channel, agent))

    def hang_up(self, channel: str) -> None:
        """The phone behind the channel says BYE."""
        self._destroy(self.channels[channel], Q850_NORMAL)

    def pick_up(self, leg: str) -> None:
        """A ringing phone is answered: the leg's extension enters Stasis."""
        channel = self.channels[leg]
        channel.up, channel.where, channel.answer_ns, channel.give_up_ns = True, "loop", 0, 0
        self._try_stasis(channel)
        if self.phones.get(channel.agent, Phone()).mood == "accepts":
            channel.press_ns = self.now_ns + SECOND_NS

    def hold(self, leg: str, *, on: bool) -> None:
        """The agent's phone holds the call, or takes it back: Asterisk itself plays the other side music."""
        self.channels[leg].holds = on
        for members in self.bridges.values():
            for other in members - {leg} if leg in members else ():
                self.channels[other].music = HOLD_MUSIC if on else ""
        self._seen(leg, m.LegHeld(leg, on))

    def decline(self, leg: str) -> None:
        self._destroy(self.channels[leg], Q850_REJECTED)

    def legs_of(self, agent: str) -> list[str]:
        """The channels that ring or hold the agent's phone for a call."""
        return [c.id for c in self.channels.values() if c.role == "agent" and c.agent == agent]

    def hears(self, channel: str) -> str:
        """What the phone behind the channel hears now: "prompt X", "music X", "talk", "fallback" or ""."""
        found = self.channels.get(channel)
        if found is None:
            return ""
        if found.where == "fallback":
            return "fallback"
        if found.playbacks:
            return f"prompt {' '.join(found.playbacks[0].sounds)}"
        if found.music:
            return f"music {found.music}"
        return "talk" if any(channel in b and len(b) > 1 for b in self.bridges.values()) else ""

    # ------------------------------------------------------------ time

    def next_timer_ns(self) -> int | None:
        """When something happens here by itself."""
        timers = [t for c in self.channels.values() for t in self._timers(c) if t]
        return min(timers, default=None)

    def _timers(self, c: Channel) -> tuple[int, ...]:
        absolute = c.absolute_ns if c.where in ("stasis", "loop") else 0
        playing = c.playbacks[0].until_ns if c.playbacks else 0
        retry_ns = c.retry_ns if c.where in ("loop", "left") else 0
        return (absolute, playing, c.answer_ns, c.press_ns, c.give_up_ns, retry_ns)

    def pass_to(self, until_ns: int) -> None:
        """Time passes; what falls due by ``until_ns`` happens in its order."""
        while (due_ns := self.next_timer_ns()) is not None and due_ns <= until_ns:
            self.now_ns = max(self.now_ns, due_ns)
            for channel in list(self.channels.values()):
                if channel.id in self.channels:
                    self._on_timer(channel)
        self.now_ns = max(self.now_ns, until_ns)

    def _on_timer(self, c: Channel) -> None:
        now_ns = self.now_ns
        if c.playbacks and c.playbacks[0].until_ns <= now_ns:
            self._playback_over(c)
        if c.press_ns and c.press_ns <= now_ns:
            # Who has heard nothing yet presses when they are asked.
            c.press_ns = now_ns + SECOND_NS if c.where == "stasis" and not self._talks(c) else 0
            if c.playbacks:
                self.press(c.id, "1")
        if c.absolute_ns and c.absolute_ns <= now_ns and c.where in ("stasis", "loop"):
            self._leave_for_fallback(c)
        elif c.where == "loop" and c.retry_ns <= now_ns:
            self._try_stasis(c)
        elif c.where == "left" and c.retry_ns <= now_ns:
            self._leave_for_fallback(c)
        elif c.answer_ns and c.answer_ns <= now_ns:
            self.pick_up(c.id)
        elif c.give_up_ns and c.give_up_ns <= now_ns:
            self._destroy(c, Q850_NO_ANSWER)

    def _talks(self, c: Channel) -> bool:
        return any(c.id in members for members in self.bridges.values())

    def _try_stasis(self, c: Channel) -> None:
        if self.connected:
            c.where, c.retry_ns = "stasis", 0
            self._seen(c.id, self._started(c))
        elif c.tries >= LOOP_TRIES:
            if c.role == "agent":
                self._destroy(c, Q850_NORMAL)
            else:
                self._leave_for_fallback(c)
        else:
            c.music = c.music or ENTRY_MUSIC
            c.tries, c.retry_ns = c.tries + 1, self.now_ns + SECOND_NS

    def _started(self, c: Channel) -> m.AnyInput:
        if c.role == "agent":
            return m.LegAnswered(c.id)
        if c.code is not None:
            return m.CodeDialled(c.id, c.agent, c.code, c.desk)
        return m.CallArrived(c.id, self._known(c))

    def _leave_for_fallback(self, c: Channel) -> None:
        was_ours = c.where == "stasis"
        c.where, c.music, c.absolute_ns = "fallback", "", 0
        c.playbacks.clear()
        self._leave_bridges(c)
        if was_ours:
            self._seen(c.id, m.ChannelLeft(c.id))

    def _leave_bridges(self, c: Channel) -> None:
        for members in self.bridges.values():
            for other in members - {c.id} if c.holds and c.id in members else ():
                self.channels[other].music = ""  # Asterisk ends a hold when who holds leaves
            members.discard(c.id)

    def _lead_on(self, leg: Channel) -> None:
        """The leg's ``h`` extension: without the application, its caller would sit in silence."""
        caller = self.channels.get(leg.caller)
        together = any({leg.id, leg.caller} <= members for members in self.bridges.values())
        if caller is not None and together and not self.connected:
            self._leave_bridges(leg)
            self._leave_bridges(caller)
            caller.where, caller.music = "left", ENTRY_MUSIC
            caller.retry_ns = self.now_ns + LOOP_TRIES * SECOND_NS

    def _destroy(self, c: Channel, cause: int) -> None:
        self._lead_on(c)
        del self.channels[c.id]
        self._leave_bridges(c)
        if c.where == "stasis":
            self._seen(c.id, m.HungUp(c.id))
            self._seen(c.id, m.ChannelLeft(c.id))
        if c.where == "stasis" or c.role == "agent":  # subscribed by Stasis, or by the endpoint
            self._seen(c.id, m.ChannelGone(c.id, cause))

    def _playback_over(self, c: Channel) -> None:
        done = c.playbacks.pop(0)
        if c.playbacks:
            c.playbacks[0].until_ns = self._length_ns(c.playbacks[0])
        self._seen(c.id, m.PromptEnded(done.id, not done.failed))

    def _length_ns(self, playback: Playback) -> int:
        return self.now_ns + (1 if playback.failed else len(playback.sounds) * SOUND_S * SECOND_NS)

    # ------------------------------------------------------------ effects

    def run(self, effect: m.AnyEffect) -> Iterator[None]:
        """Execute one effect; yields after each request, where the process may die.

        Without a link nothing is done, and nobody says so: the gap is closed later.
        """
        if not self.connected:
            return
        match effect:
            case m.Play():
                yield from self._play(effect)
            case m.StopPlay():
                for c in self.channels.values():
                    if c.playbacks and c.playbacks[0].id == effect.playback:
                        self._playback_over(c)
            case m.StartMusic() | m.StopMusic():
                if (found := self._in_stasis(effect.channel)) is not None:
                    found.music = effect.music if isinstance(effect, m.StartMusic) else ""
            case m.Originate():
                self._originate(effect)
            case m.Hangup():
                if effect.reason == "answered_elsewhere":
                    self.elsewhere.append(effect.channel)
                self._hangup(effect.channel)
            case m.Connect():
                yield from self._connect(effect)
            case m.DropBridge():
                self.bridges.pop(effect.bridge, None)
            case m.Record():
                self._record(effect)
            case m.StopRecord():
                self._stop_record(effect)
            case m.Assemble():
                ok = all(file in self.files for file, _ in effect.tracks)
                done = m.RecordingAssembled(effect.call, ok, f"{effect.recording}.wav" if ok else "")
                self._answer(effect.recording, done)
            case m.SetAbsolute():
                if (found := self.channels.get(effect.channel)) is not None:
                    found.absolute_ns = self.now_ns + effect.seconds * SECOND_NS if effect.seconds else 0
            case m.ToFallback():
                if (found := self._in_stasis(effect.channel)) is not None:
                    self._leave_for_fallback(found)
            case m.AskPin():
                self.pins_asked[effect.channel] = effect.agent
            case m.Alarm():
                self.alarms.append(effect.text)
            case _:
                assert_never(effect)
        yield

    def _in_stasis(self, channel: str) -> Channel | None:
        """None: 404 (gone) or 409 (not in Stasis); both mean that there is nothing to do."""
        found = self.channels.get(channel)
        return found if found is not None and found.where == "stasis" else None

    def _new_id(self, name: str) -> None:
        if name in self.ids_used:
            raise Broken(f"{name} was used before: Asterisk would do it twice")
        self.ids_used.add(name)

    def _play(self, effect: m.Play) -> Iterator[None]:
        self._new_id(effect.playback)
        found = self._in_stasis(effect.channel)
        if found is None:
            self._answer(effect.channel, m.PromptEnded(effect.playback, False))
            return
        found.music = ""
        playback = Playback(effect.playback, effect.sounds)
        found.playbacks.append(playback)
        if found.playbacks[0] is playback:
            playback.until_ns = self._length_ns(playback)
        yield
        if effect.music:
            found.music = effect.music

    def _originate(self, effect: m.Originate) -> None:
        if effect.leg in self.channels:
            self._answer(effect.leg, m.OriginateDone(effect.leg, True))  # 409: it rings already
            return
        self._new_id(effect.leg)
        agent = effect.endpoint
        if "@" not in agent and self.legs_of(agent):  # a number outside takes any number of calls
            raise Broken(f"{agent} is offered {effect.leg} while {self.legs_of(agent)} still exists")
        if not effect.caller:
            raise Broken(
                f"{effect.leg} does not know whom to lead on if its phone hangs up while we are dead"
            )
        if effect.auto_answer:
            self.auto_answer.append(agent)
        phone = self.phones.setdefault(agent, Phone())
        if phone.mood == "unreachable":
            self._answer(effect.leg, m.OriginateDone(effect.leg, False, "unreachable"))
            return
        leg = Channel(effect.leg, "agent", "ringing", agent=agent, caller=effect.caller)
        leg.give_up_ns = self.now_ns + effect.timeout_s * SECOND_NS
        self.channels[leg.id] = leg
        self._answer(leg.id, m.OriginateDone(leg.id, True))
        if phone.mood == "busy":
            self._destroy(leg, Q850_BUSY)
        elif phone.mood == "declines":
            self._seen(leg.id, m.LegRinging(leg.id))
            self._destroy(leg, Q850_REJECTED)
        else:
            self._seen(leg.id, m.LegRinging(leg.id))
            if phone.mood in ("answers", "accepts", "voicemail"):
                leg.answer_ns = self.now_ns + round(phone.after_s * SECOND_NS) + 1

    def _hangup(self, channel: str) -> None:
        self.told.append(channel)
        found = self.channels.get(channel)
        if channel in self.deaf:
            return
        if found is None:
            self._answer(channel, m.ChannelGone(channel))  # the shell's reading of 404
            return
        if found.role == "caller" and found.code is None:
            self.hung_up_by_us.append(channel)
        self._destroy(found, Q850_NORMAL if found.up else Q850_NO_ANSWER)

    def _connect(self, effect: m.Connect) -> Iterator[None]:
        if self.refuse_bridges:
            self.refuse_bridges -= 1
            self._answer(effect.bridge, m.BridgeDone(effect.call, False, "refused"))
            return
        self.bridges.setdefault(effect.bridge, set())  # 409: it is there
        yield
        for channel in effect.channels:
            found = self._in_stasis(channel)
            if found is None:
                self._answer(effect.bridge, m.BridgeDone(effect.call, False, "not in Stasis"))
                return
            if found.playbacks:
                raise Broken(f"{channel} joins {effect.bridge} with a prompt running: addChannel would wait")
            self._leave_bridges(found)
            self.bridges[effect.bridge].add(channel)
        self._answer(effect.bridge, m.BridgeDone(effect.call, True))

    def _stop_record(self, effect: m.StopRecord) -> None:
        if (found := self.channels.get(effect.channel)) is not None:
            found.recording.difference_update(effect.files)
        self.files.difference_update(effect.files)
        self._answer(effect.recording, m.RecordingDropped(effect.call, effect.recording))

    def _record(self, effect: m.Record) -> None:
        found = self.channels.get(effect.channel)
        if self.refuse_recordings or found is None:
            error = "no such channel" if found is None else "refused"
            self._answer(effect.file, m.RecordingBegun(effect.call, effect.channel, False, error))
            return
        if effect.file in found.recording and not effect.verify:
            raise Broken(f"{effect.file} would be overwritten")
        found.recording.add(effect.file)
        self.files.add(effect.file)
        self._answer(effect.file, m.RecordingBegun(effect.call, effect.channel, True))
