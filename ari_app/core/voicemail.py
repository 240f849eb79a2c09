"""A caller leaves a message: after the tone, until they hang up, press # or have spoken for long enough.

The recording is one like any other (one track, the caller's), so a death of this program costs none of it:
Asterisk writes on, and the restart finds the file and the deadline.
"""

from __future__ import annotations

from ari_app.core import ivr, messages as m
from ari_app.core.call import Call
from ari_app.core.definition import Target, seconds_ns
from ari_app.core.floor import Floor

GREETING = ("vm-intro",)
TONE = "beep"
END_KEY = "#"


def sounds(target: Target) -> tuple[str, ...]:
    """The greeting, then the tone."""
    return (*(target.sounds or GREETING), TONE)


def begin(call: Call, target: Target, now_ns: int) -> m.Step:
    """The tone is over: record."""
    recording = f"{call.id}.message.{call.visit}"
    file = f"{recording}.caller.raw"
    until_ns = now_ns + seconds_ns(target.longest_s)
    began = m.MessageBegan(call.id, call.queue, recording, file, until_ns)
    return m.Step([began], [m.StopMusic(call.channel), m.Record(call.id, call.channel, file)])


def over(call: Call, by: m.EndedBy, now_ns: int, *, cause: int = 0) -> m.Step:
    """The message is complete; its file is finished once the channel is gone."""
    ended = m.CallEnded(call.id, "voicemail", by, call.queue, "", call.waited_ns(now_ns), 0, cause)
    return m.Step([ended], [])


def done(call: Call, by: m.EndedBy, now_ns: int) -> m.Step:
    """The caller pressed #, or has spoken for as long as the target allows."""
    step = over(call, by, now_ns)
    step.effects.append(m.Hangup(call.channel))
    return step


def failed(floor: Floor, call: Call, recording: str, error: str, now_ns: int) -> m.Step:
    """Nothing is being recorded: nobody shall speak to no one. The static fallback takes them."""
    lost = m.RecordingFailed(call.id, recording, error, True)
    waited_ns = call.waited_ns(now_ns)
    ended = m.CallEnded(call.id, ivr.sent_on(call), "system", call.queue, "", waited_ns, 0, to_fallback=True)
    alarm = m.Alarm(call.id, f"message not recorded: {error}")
    return m.Step([lost, ended], [m.ToFallback(call.channel), alarm])
