"""What rings: the phones of the agents who are offered a call, from the ringing to its end.

An offer is one agent's. Its phones ring at once or one after the other, and it lapses with the last of
them. Ring all makes several offers of one call; each has an end of its own, and whoever is rung beside
the winner rings on until the winner is bridged.

A mobile is picked up by its owner or by a voicemail, and a number is no proof of which. So whoever picks
it up is asked to press 1, while the caller hears music; without the key the phone is over.
"""

from __future__ import annotations

from ari_app.core import messages as m, release
from ari_app.core.agent import RESTS, Agent
from ari_app.core.call import Call, Leg, Offer
from ari_app.core.definition import Agent as AgentDefinition, Phone, Queue, seconds_ns
from ari_app.core.floor import Floor

RING_GRACE_S = 5
"""Asterisk's own ring limit lies this far behind the floor's, which decides."""
ACCEPT, REFUSE = "1", "2"
PROMPT = ("followme/options",)
"""Of Asterisk's core sounds: press 1 to accept this call, or press 2 to reject it."""
MOST_PROMPTS = 10
"""A prompt that ends as soon as it began must not keep us busy."""

# ITU-T Q.850 cause values as Asterisk reports them for a leg that never talked.
_CAUSE_REASONS: dict[int, m.LapseReason] = {
    17: "busy",  # user busy: SIP 486, 600
    21: "declined",  # call rejected: SIP 603, 403
    18: "no_answer",  # no user responding: SIP 408
    19: "no_answer",  # no answer from user: SIP 480, our own ring limit
    3: "unreachable",  # no route
    20: "unreachable",  # subscriber absent: no contact registered
    27: "unreachable",  # destination out of order: SIP 502
    38: "unreachable",  # network out of order
}
_MISSES: frozenset[m.LapseReason] = frozenset({"no_answer", "unreachable", "failed", "not_confirmed"})
_TELLING: tuple[m.LapseReason, ...] = (
    *("declined", "not_confirmed", "no_answer", "busy", "lost", "not_dialled", "unreachable", "failed"),
)
"""The ends of an offer's phones; the first that is among them is the offer's."""

Found = tuple[Call, Offer, Leg]


def lapse_reason(cause: int) -> m.LapseReason:
    """Why a leg that was never answered is gone, from its Q.850 cause."""
    return _CAUSE_REASONS.get(cause, "failed")


def end_of(leg: Leg, cause: int) -> m.LapseReason:
    """Why a phone that was rung is gone."""
    if leg.prompts:
        return "not_confirmed"
    if cause == m.UNSEEN:
        return "lost" if leg.dialled else "not_dialled"
    return lapse_reason(cause)


def find(floor: Floor, leg: str) -> Found | None:
    """The live offer that rings this leg."""
    agent = floor.agent_of(leg)
    call = floor.state.calls.get(agent.call) if agent else None
    offer = call.offers.get(agent.id) if call and agent else None
    phone = offer.legs.get(leg) if offer else None
    if call is None or offer is None or phone is None or phone.over is not None:
        return None
    return call, offer, phone


# ---------------------------------------------------------------- ringing


def phones(floor: Floor, agent: Agent) -> tuple[Phone, ...]:
    """The phones to ring, in order: those that can be reached, or all if none is known to be."""
    definition = floor.definition.agents.get(agent.id)
    if definition is None:
        return ()
    there = definition.all_phones()
    return tuple(phone for phone in there if phone.endpoint not in agent.offline) or there


def begin(
    floor: Floor, call: Call, queue: Queue, agent: str, attempt: int, why: m.Why, now_ns: int
) -> tuple[m.OfferMade, list[m.AnyEffect]]:
    """Offer the call to this agent: the first phone, or all of them, are rung."""
    definition = floor.definition.agents[agent]
    if not definition.phones:  # one plain phone, as nearly everybody
        leg, until_ns = f"{call.id}.offer.{attempt}", now_ns + seconds_ns(queue.ring_timeout_s)
        made = m.OfferMade(call.id, call.queue, agent, attempt, leg, until_ns, why)
        ring_s = int(queue.ring_timeout_s) + RING_GRACE_S
        return made, [m.Originate(leg, definition.endpoint, call.id, queue.name, ring_s, call.channel)]
    wanted = phones(floor, floor.state.agents[agent])
    now = wanted if definition.ring == "at_once" else wanted[:1]
    rung = tuple(_rung(floor, call, attempt, number, phone, now_ns) for number, phone in enumerate(now))
    until_ns = max(one.until_ns for one in rung)
    told = rung if len(wanted) > 1 or rung[0].confirm else ()
    made = m.OfferMade(call.id, call.queue, agent, attempt, rung[0].leg, until_ns, why, told)
    return made, [_originate(floor, call, one, phone) for one, phone in zip(rung, now, strict=True)]


def _rung(floor: Floor, call: Call, attempt: int, number: int, phone: Phone, now_ns: int) -> m.Rung:
    leg = f"{call.id}.offer.{attempt}" + (f".{number}" if number else "")
    until_ns = now_ns + seconds_ns(phone.ring_s or floor.queue(call.queue).ring_timeout_s)
    return m.Rung(leg, phone.endpoint, until_ns, phone.mobile)


def _originate(floor: Floor, call: Call, rung: m.Rung, phone: Phone) -> m.Originate:
    queue = floor.queue(call.queue)
    ring_s = int(phone.ring_s or queue.ring_timeout_s) + RING_GRACE_S
    auto, caller = phone.auto_answer, call.channel
    return m.Originate(rung.leg, phone.endpoint, call.id, queue.name, ring_s, caller, auto_answer=auto)


def _next(floor: Floor, call: Call, offer: Offer) -> Phone | None:
    """The phone to ring when another is over, if phones are rung in order."""
    agent = floor.state.agents[offer.agent]
    definition = floor.definition.agents.get(offer.agent)
    if call.state != "offered" or definition is None or definition.ring != "in_order":
        return None
    tried = {leg.phone for leg in offer.legs.values()}
    return next((phone for phone in phones(floor, agent) if phone.endpoint not in tried), None)


def originate_done(floor: Floor, done: m.OriginateDone, now_ns: int) -> m.Step:
    """Asterisk's word on ringing a phone: it rings, or it cannot be reached."""
    found = find(floor, done.channel)
    if found is None:
        agent = floor.agent_of(done.channel)
        if agent is None or done.ok or done.channel not in agent.told:
            return m.Step([], [])
        return leg_released(floor, agent, done.channel, now_ns)  # told to go, and never was there
    call, offer, phone = found
    if not done.ok:
        reason: m.LapseReason = "unreachable" if done.error == "unreachable" else "failed"
        return phone_over(floor, call, offer, done.channel, reason, now_ns, gone=True)
    if phone.dialled:
        return m.Step([], [])
    return m.Step([m.OfferDialled(call.id, offer.agent, offer.attempt, _name(offer, done.channel))], [])


def ringing(floor: Floor, leg: str) -> m.Step:
    """A phone rings."""
    found = find(floor, leg)
    if found is None or found[2].ringing:
        return m.Step([], [])
    call, offer, _ = found
    return m.Step([m.OfferRinging(call.id, offer.agent, offer.attempt, _name(offer, leg))], [])


def _name(offer: Offer, leg: str) -> str:
    return "" if leg == offer.leg else leg


# ---------------------------------------------------------------- press 1


def ask(floor: Floor, call: Call, offer: Offer, leg: str, now_ns: int) -> m.Step:
    """Ask whoever picked this phone up to press 1. The first time, that limits how long they have."""
    phone = offer.legs[leg]
    definition = floor.definition.agents.get(offer.agent) or AgentDefinition("", "", ())
    until_ns = phone.until_ns if phone.prompts else now_ns + seconds_ns(definition.confirm_s)
    playback = f"{leg}.play.{phone.prompts + 1}"
    asked = m.ConfirmAsked(call.id, offer.agent, offer.attempt, leg, playback, until_ns)
    return m.Step([asked], [m.Play(leg, playback, PROMPT, "")])


def prompt_ended(floor: Floor, done: m.PromptEnded, now_ns: int) -> m.Step:
    """Nobody has pressed a key yet: ask again, as long as there is time."""
    leg = done.playback.rsplit(".play.", 1)[0]
    found = find(floor, leg)
    if found is None or found[0].state == "talking" or found[2].playback != done.playback or not done.ok:
        return m.Step([], [])
    if found[2].prompts >= MOST_PROMPTS:
        return m.Step([], [])
    return ask(floor, found[0], found[1], leg, now_ns)


# ---------------------------------------------------------------- the end


def overdue(floor: Floor, call: Call, now_ns: int) -> m.Step:
    """What has rung for long enough, or was picked up and not confirmed in time."""
    step = m.Step([], [])
    for offer in call.offers.values():
        late = [key for key, leg in offer.live().items() if leg.until_ns <= now_ns]
        if not late:
            continue
        over = phones_over(floor, call, offer, {key: _late(offer.legs[key]) for key in late}, now_ns)
        step.events.extend(over.events)
        step.effects.extend(over.effects)
    return step


def _late(leg: Leg) -> m.LapseReason:
    return "not_confirmed" if leg.prompts else "no_answer"


def phone_over(
    floor: Floor,
    call: Call,
    offer: Offer,
    leg: str,
    reason: m.LapseReason,
    now_ns: int,
    *,
    gone: bool = False,
) -> m.Step:
    """One phone is over; ``gone``: its leg is confirmed gone."""
    return phones_over(floor, call, offer, {leg: reason}, now_ns, gone=leg if gone else "")


def phones_over(
    floor: Floor, call: Call, offer: Offer, over: dict[str, m.LapseReason], now_ns: int, *, gone: str = ""
) -> m.Step:
    """These phones are over. The offer lapses if no other rings and none is left to try."""
    left = [leg for leg in offer.live() if leg not in over]
    following = _next(floor, call, offer)
    if not left and following is None:
        ends = [leg.over for leg in offer.legs.values()] + list(over.values())
        reason = next((each for each in _TELLING if each in ends), next(iter(over.values())))
        return lapse(floor, call, offer, reason, now_ns, gone=gone)
    step = m.Step([], [])
    for leg, reason in over.items():
        step.events.append(m.PhoneLapsed(call.id, offer.agent, offer.attempt, leg, reason))
        if leg == gone:
            step.events.append(m.LegReleased(offer.agent, leg))
        else:
            release.tell(step, offer.agent, leg, now_ns, "no_answer")
    if following is not None and not left:
        rung = _rung(floor, call, offer.attempt, len(offer.legs), following, now_ns)
        step.events.insert(0, m.PhoneTried(call.id, offer.agent, offer.attempt, rung))
        step.effects.append(_originate(floor, call, rung, following))
    return step


def lapse(
    floor: Floor, call: Call, offer: Offer, reason: m.LapseReason, now_ns: int, *, gone: str = ""
) -> m.Step:
    """The offer is over without a conversation; the caller keeps their place. ``gone``: a leg that is
    confirmed gone."""
    agent = floor.state.agents[offer.agent]
    miss = reason in _MISSES
    step = m.Step([m.OfferLapsed(call.id, call.queue, agent.id, offer.attempt, reason, miss)], [])
    if gone:
        step.events.append(m.LegReleased(agent.id, gone))
    how = "answered_elsewhere" if reason == "answered_elsewhere" else "no_answer"
    for leg in offer.live():
        if leg != gone:
            release.tell(step, agent.id, leg, now_ns, how)
    if all(leg == gone for leg in agent.legs()):
        misses, rests = agent.misses + miss, reason in RESTS
        step.events.append(release.freed(floor, agent, call.queue, now_ns, misses=misses, rests=rests))
    return step


def leg_released(floor: Floor, agent: Agent, leg: str, now_ns: int) -> m.Step:
    """A leg that nobody waits for any more is confirmed gone; with the last one the agent is free."""
    events: list[m.AnyEvent] = [m.LegReleased(agent.id, leg)]
    if agent.state == "releasing" and agent.legs() == (leg,):
        events.append(release.freed(floor, agent, "", now_ns, misses=agent.misses, rests=agent.rests))
    return m.Step(events, [])
