"""What is to be done: wishes addressed to the shell. ``core.messages`` tells where they stand."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Effect(Struct, frozen=True, tag=True):
    """Base of all wishes to the shell. ``lane`` keys order: one lane's effects go out in order."""


class Play(Effect, frozen=True):
    """Play ``sounds`` (names of sound files) to one channel, as one playback, then ``music``.

    Music never resumes by itself after a prompt on a bare channel, so it is asked for right
    behind the prompt: whoever dies meanwhile, the caller hears no dead air.
    """

    channel: str
    playback: str
    sounds: tuple[str, ...]
    music: str


class StopPlay(Effect, frozen=True):
    playback: str


class StartMusic(Effect, frozen=True):
    channel: str
    music: str


class StopMusic(Effect, frozen=True):
    channel: str


class Originate(Effect, frozen=True):
    """Ring the agent's ``endpoint``; the leg enters through the dialplan's agent extension.

    ``endpoint`` of a mobile is the key of its number, which the shell knows. ``auto_answer``: ask the
    phone to pick up by itself. The display shows the queue's name and the caller (looked up by ``call`` in
    the shell).
    ``timeout_s`` is a second line of defence: the deadline in the floor comes first. ``caller``: the
    caller's channel, for the dialplan to lead on if the agent hangs up while nobody else can.
    """

    leg: str
    endpoint: str
    call: str
    queue_name: str
    timeout_s: int
    caller: str
    shown: str = ""
    """The caller id to show instead, to a number outside (``endpoint``: number@trunk)."""
    auto_answer: bool = False


class Hangup(Effect, frozen=True):
    channel: str
    reason: Literal["normal", "busy", "congestion", "no_answer", "answered_elsewhere"] = "normal"


class Connect(Effect, frozen=True):
    """Create ``bridge`` and put ``channels`` (caller first) into it. Its outcome is ``BridgeDone``."""

    call: str
    bridge: str
    channels: tuple[str, ...]


class DropBridge(Effect, frozen=True):
    bridge: str


class Record(Effect, frozen=True):
    """Record one participant's own channel into ``file``. Its outcome is ``RecordingBegun``."""

    call: str
    channel: str
    file: str
    verify: bool = False
    """After a restart: look first whether it runs already; a second one would overwrite the file."""


class StopRecord(Effect, frozen=True):
    """Stop a recording on a channel that goes on living: no talk came of it. ``files`` go.

    Its outcome is ``RecordingDropped``; until that came it is sent again after a restart.
    """

    call: str
    recording: str
    channel: str
    files: tuple[str, ...] = ()


class Assemble(Effect, frozen=True):
    """Join the raw tracks (caller's, agent's; with the instant each began) to one stereo file."""

    call: str
    recording: str
    tracks: tuple[tuple[str, int], ...]


class SetAbsolute(Effect, frozen=True):
    """Renew (or with 0 clear) the channel's absolute time-out."""

    channel: str
    seconds: int


class ToFallback(Effect, frozen=True):
    """Send a caller on to the static fallback of the dialplan."""

    channel: str


class AskPin(Effect, frozen=True):
    """Collect a PIN on ``channel`` in the shell until ``until_ns``; the outcome is ``PinChecked``.

    Without an ``agent`` it is their extension that is asked for; the outcome is ``AgentNamed``.

    The first key silences ``playback``, the prompt that asks for it.
    """

    channel: str
    agent: str
    until_ns: int
    playback: str


class Alarm(Effect, frozen=True):
    """Somebody should look at this. ``text`` holds ids only."""

    call: str
    text: str


AnyEffect = (
    Play
    | StopPlay
    | StartMusic
    | StopMusic
    | Originate
    | Hangup
    | Connect
    | DropBridge
    | Record
    | StopRecord
    | Assemble
    | SetAbsolute
    | ToFallback
    | AskPin
    | Alarm
)
