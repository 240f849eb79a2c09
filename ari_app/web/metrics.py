"""Figures for Prometheus: counted from committed events, measured in the loop, and read when asked.

Labels are names of the definition (queues) and fixed words; never a call, an agent or a caller.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ari_app.core import messages as m
from ari_app.core.definition import SECOND_NS
from ari_app.web.messages import Vitals
from ari_app.web.view import View

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
WAIT_BUCKETS_S = (1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200)
TALK_BUCKETS_S = (10, 30, 60, 120, 180, 300, 600, 1200, 2400)
OFFER_BUCKETS_S = (0.001, 0.002, 0.003, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
"""Around the aim: 3 ms at the median, 15 ms at the 99th percentile."""
LAG_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1)
COMMIT_BUCKETS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25)
LOOP_EVERY_S = 0.25
STATES: tuple[str, ...] = (
    "signed_out",
    "ready",
    "resting",
    "reserved",
    "ringing",
    "talking",
    "holding",
    "wrap_up",
    "paused",
    "not_responding",
    "releasing",
)
CALL_STATES = ("ivr", "waiting", "offered", "talking", "forwarding", "forwarded", "message")


class Metrics:
    """One registry of our own: two call centres in one process (tests) do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        own = self.registry
        self.ended = Counter("cordboard_calls", "Calls ended, by outcome", ["queue", "outcome"], registry=own)
        self.queued = Counter("cordboard_queued_calls", "Calls that entered a queue", ["queue"], registry=own)
        self.lapsed = Counter(
            "cordboard_offers_lapsed", "Offers without talk", ["queue", "reason"], registry=own
        )
        self.wait = Histogram(
            "cordboard_wait_seconds",
            "Wait in the queue until the call was answered or ended",
            ["queue", "outcome"],
            buckets=WAIT_BUCKETS_S,
            registry=own,
        )
        self.talk = Histogram(
            "cordboard_talk_seconds",
            "Talk of answered calls",
            ["queue"],
            buckets=TALK_BUCKETS_S,
            registry=own,
        )
        self.offer = Histogram(
            "cordboard_time_to_offer_seconds",
            "Agent free and caller waiting, until Asterisk took the call to the agent's phone",
            buckets=OFFER_BUCKETS_S,
            registry=own,
        )
        self.lag = Histogram(
            "cordboard_loop_lag_seconds", "How late the event loop is", buckets=LAG_BUCKETS_S, registry=own
        )
        self.commit = Histogram(
            "cordboard_journal_commit_seconds",
            "One commit of a turn",
            buckets=COMMIT_BUCKETS_S,
            registry=own,
        )
        self.failures = Counter("cordboard_journal_failures", "Commits that failed", registry=own)
        self.alarms = Counter("cordboard_quarantined_calls", "Calls set apart", registry=own)
        Gauge("cordboard_start_time_seconds", "When this process started", registry=own).set(time.time())
        self._free_ns: dict[str, int] = {}
        self._waits_ns: dict[str, int] = {}

    # ------------------------------------------------------------ events

    def fold(self, at_ns: int, event: m.AnyEvent) -> None:
        """Count one committed event. A few microseconds, and nothing at all for most."""
        match event:
            case m.CallQueued():
                self.queued.labels(event.queue).inc()
                self._waits_ns[event.call] = at_ns
            case m.OfferMade():
                free_ns = max(self._free_ns.get(event.agent, at_ns), self._waits_ns.get(event.call, at_ns))
                self._waits_ns[event.call] = free_ns
            case m.OfferDialled():
                since_ns = self._waits_ns.get(event.call)
                if since_ns is not None:
                    self.offer.observe((at_ns - since_ns) / SECOND_NS)
            case m.OfferLapsed():
                self.lapsed.labels(event.queue, event.reason).inc()
                if event.reason != "answered_elsewhere":  # else the call waits no more
                    self._waits_ns[event.call] = at_ns
            case m.ConnectFailed():
                self._waits_ns[event.call] = at_ns
            case m.CallConnected():
                self._waits_ns.pop(event.call, None)
                self.wait.labels(event.queue, "answered").observe(event.waited_ns / SECOND_NS)
            case m.CallEnded():
                self._ended(event)
            case m.AgentFreed() | m.AgentSignedIn() | m.AgentResumed() | m.AgentRested():
                self._free_ns[event.agent] = at_ns
            case m.CallQuarantined():
                self.alarms.inc()
                self._waits_ns.pop(event.call, None)
            case _:
                pass  # no figure

    def _ended(self, event: m.CallEnded) -> None:
        self._waits_ns.pop(event.call, None)
        self.ended.labels(event.queue, event.outcome).inc()
        if event.outcome == "answered":
            self.talk.labels(event.queue).observe(event.talk_ns / SECOND_NS)
        elif event.queue:
            self.wait.labels(event.queue, event.outcome).observe(event.waited_ns / SECOND_NS)

    def committed(self, took_s: float | None) -> None:
        """One commit of the journal; None if it failed."""
        if took_s is None:
            self.failures.inc()
        else:
            self.commit.observe(took_s)

    # ------------------------------------------------------------ the loop

    async def watch_loop(self) -> None:
        """Measure how late the loop is, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + LOOP_EVERY_S
            await asyncio.sleep(LOOP_EVERY_S)
            self.lag.observe(max(0.0, loop.time() - due_s))

    # ------------------------------------------------------------ what Prometheus gets

    def text(self, view: View, vitals: Vitals) -> bytes:
        """The exposition (text format 0.0.4). Safe in a thread: the view does not change."""
        return generate_latest(self.registry) + generate_latest(_now(view, vitals))


def _now(view: View, vitals: Vitals) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Now(lambda: (*_floor(view), *_vitals(vitals))))
    return registry


class _Now(Collector):
    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()


def _floor(view: View) -> Iterable[Metric]:
    states = Counts(agent.state if not agent.rests_until_ns else "resting" for agent in view.agents)
    agents = GaugeMetricFamily("cordboard_agents", "Agents by state", labels=["state"])
    for state in STATES:  # all of them: a state nobody is in is 0, not absent
        agents.add_metric([state], states[state])
    yield agents
    live: Counts[str] = Counts(call.state for call in view.calls)
    calls = GaugeMetricFamily("cordboard_live_calls", "Live calls by state", labels=["state"])
    for name in CALL_STATES:
        calls.add_metric([name], live[name])
    yield calls
    waiting = GaugeMetricFamily("cordboard_waiting_calls", "Calls without an agent yet", labels=["queue"])
    longest = GaugeMetricFamily("cordboard_longest_wait_seconds", "The longest wait now", labels=["queue"])
    for queue in view.queues:
        waiting.add_metric([queue.queue], queue.waiting)
        waited_ns = view.at_ns - queue.oldest_ns if queue.oldest_ns else 0
        longest.add_metric([queue.queue], waited_ns / SECOND_NS)
    yield waiting
    yield longest


def _vitals(vitals: Vitals) -> Iterable[Metric]:
    ready = vitals.ready
    for name, text, value in (
        ("cordboard_ready", "Calls are served: ARI is up, the floor recovered", ready.ready()),
        ("cordboard_ari_up", "The ARI link is up", ready.ari),
        ("cordboard_ami_up", "The AMI link is up; without it nothing is recorded", ready.ami),
        ("cordboard_journal_writable", "0: no new calls are taken", vitals.journal_writable),
        ("cordboard_journal_last_seq", "Number of the last committed event", ready.journal_seq),
        ("cordboard_event_streams", "Clients of /events", vitals.streams),
    ):
        yield GaugeMetricFamily(name, text, value=float(value))
    if ready.shipper_lag is not None:
        text = "Committed events that PostgreSQL does not have yet"
        yield GaugeMetricFamily("cordboard_shipper_lag_events", text, value=float(ready.shipper_lag))
    trips = GaugeMetricFamily("cordboard_ari_round_trip_seconds", "The last ping", labels=["socket"])
    for socket, trip_s in (("events", vitals.event_round_trip_s), ("commands", vitals.command_round_trip_s)):
        if trip_s is not None:
            trips.add_metric([socket], trip_s)
    yield trips
