"""A talk that Asterisk has and the floor does not know: its journal was lost and set apart.

The two go on talking. The bridge's name tells the call's id and the attempt, so the call keeps its id. An
agent whom the definition knows by the phone is signed in by it and has the talk; with anybody else (a
mobile, a desk, a number outside) the call counts as one that was sent on: it ends for both when one goes.
"""

from __future__ import annotations

from ari_app.core import messages as m, offers
from ari_app.core.definition import Target
from ari_app.core.floor import Floor

TALK_MARK, ONWARD = ".talk.", "onward."


def talk_of(bridge: str) -> tuple[str, int, bool]:
    """Call, attempt, and whether it was sent on, of one of our bridges; ("", 0, False) for any other."""
    call, mark, rest = bridge.rpartition(TALK_MARK)
    number = rest.removeprefix(ONWARD)
    if not mark or not (number.isascii() and number.isdigit()):
        return "", 0, False
    return call, int(number), rest != number


def recording_of(bridge: str) -> str:
    """The id of the recording that a talk in this bridge has, if it has one."""
    call, attempt, _ = talk_of(bridge)
    return offers.recording_id(call, attempt)


def fits(floor: Floor, talk: m.TalkSeen) -> bool:
    """Whether the floor can take this talk up: neither its call nor its leg are known."""
    call = talk_of(talk.bridge)[0]
    known = call in floor.state.calls or talk.leg in floor.by_leg or talk.leg in floor.onward
    return bool(call) and not known


def take_up(floor: Floor, talk: m.TalkSeen, now_ns: int) -> list[m.AnyEvent]:
    """What follows the call's opening. Nothing needs to be done: they hear each other."""
    call, attempt, sent_on = talk_of(talk.bridge)
    agent = floor.state.agents.get(talk.agent)
    if agent is None or sent_on or agent.state not in ("signed_out", "ready", "unreachable", "other_call"):
        return [
            m.ForwardMade(call, "", attempt, talk.leg, now_ns, Target(fallback=True)),
            m.ForwardConnected(call, talk.leg, talk.bridge),
            m.ForwardBridged(call),
        ]
    written = floor.definition.agents.get(agent.id)
    queues = written.queues if written else ()
    queue = next(iter(queues)) if len(queues) == 1 else ""  # the only one it can have come from
    recording = recording_of(talk.bridge) if talk.recorded else ""
    return [m.TalkFound(call, queue, agent.id, attempt, talk.leg, talk.bridge, recording)]
