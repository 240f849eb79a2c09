"""The wrap-up after a call: whether there is one, how long, and what came of the call.

==============  ============================================================================
mode            the wrap-up
==============  ============================================================================
``none``        does not take place
``fixed``       lasts ``wrap_up_s``; the agent may end it sooner
``extendable``  the same, and each request adds ``wrap_up_extend_s``, up to ``wrap_up_max_s``
``until_done``  lasts until the agent says "done", at most ``wrap_up_max_s``
``requested``   takes place if the agent asked for it during the call; then as ``extendable``
==============  ============================================================================

The deadline is the agent's: no queue offers them a call before it is over.
"""

from __future__ import annotations

from typing import Literal

from ari_app.core import messages as m, offers
from ari_app.core.agent import ON_CALL, Agent
from ari_app.core.definition import Queue, seconds_ns
from ari_app.core.floor import Floor

Wish = Literal["done", "wrap_up"]


def asked(
    floor: Floor,
    agent: Agent,
    action: Wish,
    disposition: str,
    by: str,
    now_ns: int,
) -> m.Step:
    """The agent says "done", with what came of the call, or asks for (more) wrap-up. What makes no sense
    now (see ``problem``) changes nothing."""
    if problem(floor, agent, action, disposition):
        return m.Step([], [])
    if action == "wrap_up":
        return m.Step([_more(floor, agent, by)], [])
    step = m.Step([], [])
    if disposition and disposition != agent.disposition:
        queue = queue_of(floor, agent)
        step.events.append(m.DispositionGiven(agent.id, agent.call, queue, disposition, by))
    if agent.state == "wrap_up":
        over = offers.wrap_up_over(floor, agent, by, now_ns)
        step.events.extend(over.events)
        step.effects.extend(over.effects)
    return step


def problem(floor: Floor, agent: Agent, action: Wish, disposition: str) -> str:
    """Why the wish makes no sense now, for people; "" if it does."""
    if agent.state not in ON_CALL and agent.state != "wrap_up":
        return f"{agent.id} is neither on a call nor in wrap-up"
    queue = offers.queue_of(floor, queue_of(floor, agent))
    if action == "wrap_up":
        return _no_more(agent, queue)
    if disposition and disposition not in queue.dispositions:
        there = ", ".join(sorted(queue.dispositions)) or "none"
        return f"the queue has no disposition {disposition}; there are: {there}"
    if not disposition and agent.state in ON_CALL:
        return f"{agent.id} is still talking: name a disposition, or hang up first"
    if not (disposition or agent.disposition) and queue.disposition_required:
        return f"a disposition is needed: {', '.join(sorted(queue.dispositions))}"
    return ""


def _no_more(agent: Agent, queue: Queue) -> str:
    if agent.state in ON_CALL:
        if queue.wrap_up != "requested":
            return "this queue's wrap-up comes by itself" if queue.wrap_up != "none" else "there is none here"
        return f"{agent.id} has asked for a wrap-up already" if agent.wants_wrap_up else ""
    if agent.wrap_limit_ns <= agent.wrap_until_ns:
        return f"{agent.id}'s wrap-up cannot be made longer"
    return ""


def _more(floor: Floor, agent: Agent, by: str) -> m.AnyEvent:
    if agent.state in ON_CALL:
        return m.WrapUpRequested(agent.id, agent.call, by)
    extend_ns = seconds_ns(offers.queue_of(floor, agent.wrap_queue).wrap_up_extend_s)
    until_ns = min(agent.wrap_until_ns + max(extend_ns, 1), agent.wrap_limit_ns)
    return m.WrapUpExtended(agent.id, agent.call, until_ns, by)


def queue_of(floor: Floor, agent: Agent) -> str:
    """The queue whose call the agent has, or wraps up; "" = none."""
    if agent.wrap_queue:
        return agent.wrap_queue
    call = floor.state.calls.get(agent.call)
    return call.queue if call else ""


def timed_out(floor: Floor, agent: Agent, now_ns: int) -> m.Step:
    """The wrap-up's time is up: what the agent did not say is noted by the queue's default."""
    step = m.Step(offers.default_disposition(floor, agent, agent.call, agent.wrap_queue), [])
    over = offers.wrap_up_over(floor, agent, "", now_ns)
    step.events.extend(over.events)
    step.effects.extend(over.effects)
    return step
