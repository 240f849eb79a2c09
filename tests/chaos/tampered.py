"""Cordboard with something wrong in it: ``python -m tests.chaos.tampered NAME[+NAME...][=FILE] run ...``.

Two kinds. SABOTAGE breaks the product, to see that the checker notices. TRIGGERS let a fault come from
inside: an exception in the core, a wall clock that is stepped (``clock=FILE``; the file holds seconds), its
death at an exact point (``dies=FILE``; the file holds how many points from now).
The product's own code is as it is; it is changed in this process alone.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ari_app import __main__ as program, engine, service
from ari_app.ari.client import _Socket
from ari_app.ari.effects import AriEffects
from ari_app.core import messages as m, step as decider
from ari_app.core.floor import Floor
from ari_app.store.journal import Entry, Journal

EVERY = 3
"""A sabotage strikes at each such occasion, so that the centre as a whole goes on working."""


def _instead(change: Callable[[m.AnyEffect], Sequence[m.AnyEffect]]) -> None:
    """Run other effects than those that the core wished."""
    run = AriEffects.run

    def changed(self: AriEffects, effect: Any) -> None:
        for each in change(effect):
            run(self, each)  # type: ignore[arg-type]

    AriEffects.run = changed  # type: ignore[method-assign]


def _rewritten(change: Callable[[m.AnyEvent], Sequence[m.AnyEvent]]) -> None:
    """Journal other events than those that were decided."""
    append = Journal.append

    def changed(self: Journal, epoch: str, entries: Sequence[Entry], expected_seq: int) -> int:
        new = [Entry(e.at_ns, e.input, [n for old in e.events for n in change(old)]) for e in entries]
        return append(self, epoch, [e for e in new if e.events], expected_seq)

    Journal.append = changed  # type: ignore[method-assign]


def drops_a_caller(_: str) -> None:
    turn = itertools.count(1)
    _instead(
        lambda e: [e, m.Hangup(e.channel)] if isinstance(e, m.StartMusic) and not next(turn) % EVERY else [e]
    )


def forgets_a_bridge(_: str) -> None:
    _instead(lambda e: [] if isinstance(e, m.DropBridge) else [e])


def keeps_a_leg(_: str) -> None:
    _instead(lambda e: [] if isinstance(e, m.Hangup) and ".offer." in e.channel else [e])


def loses_a_row(_: str) -> None:
    _rewritten(lambda e: [] if isinstance(e, m.CallEnded) else [e])


def tells_another_story(_: str) -> None:
    def change(event: m.AnyEvent) -> Sequence[m.AnyEvent]:
        if isinstance(event, m.CallEnded) and event.outcome == "answered":
            return [m.CallEnded(**{**_fields(event), "by": "agent" if event.by == "caller" else "caller"})]
        return [event]

    _rewritten(change)


def plays_nothing(_: str) -> None:
    _instead(lambda e: [m.StopMusic(e.channel)] if isinstance(e, m.StartMusic) else [e])


def connects_a_stranger(_: str) -> None:
    known: list[str] = []

    def change(effect: m.AnyEffect) -> Sequence[m.AnyEffect]:
        if not isinstance(effect, m.Connect):
            return [effect]
        strangers = tuple(known[-1:])
        known.append(effect.channels[0])
        return [m.Connect(effect.call, effect.bridge, (*effect.channels, *strangers))]

    _instead(change)


def tears_the_talk(_: str) -> None:
    """Half of what a bridge is for: the caller never gets in."""
    _instead(lambda e: [m.Connect(e.call, e.bridge, e.channels[1:])] if isinstance(e, m.Connect) else [e])


def breaks_the_core(_: str) -> None:
    """A key 9 is more than the core can bear."""
    step = decider.step

    def changed(floor: Floor, item: m.AnyInput, now_ns: int) -> m.Step:
        if isinstance(item, m.DigitPressed) and item.digit == "9":
            raise ZeroDivisionError("the key 9")
        return step(floor, item, now_ns)

    engine.step = changed  # type: ignore[attr-defined]


def clock(file: str) -> None:
    """The wall clock is wrong by as many seconds as the file says."""
    path, real_time, real_ns = Path(file), time.time, time.time_ns

    def off_s() -> int:
        return int(path.read_text() or 0) if path.exists() else 0

    time.time = lambda: real_time() + off_s()
    time.time_ns = lambda: real_ns() + off_s() * 1_000_000_000


class Death:
    """kill -9 of itself at the nth point after the file was written anew."""

    def __init__(self, path: Path) -> None:
        self._path, self._seen, self._left = path, 0, 0

    def at(self, point: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            written_ns = self._path.stat().st_mtime_ns
            if written_ns != self._seen:
                self._seen, self._left = written_ns, int(self._path.read_text() or 0)
        self._left -= 1
        if self._left == 0:
            with self._path.with_name("died_at").open("a") as told:
                told.write(point + "\n")
            os.kill(os.getpid(), signal.SIGKILL)


def dies(file: str) -> None:
    """Points: before and after each append, each effect, each frame to Asterisk and each of its answers."""
    death = Death(Path(file))

    def around(owner: type, name: str, what: Callable[..., str]) -> None:
        whole = getattr(owner, name)

        @functools.wraps(whole)
        def cut(self: Any, *args: Any) -> Any:
            death.at(f"before {what(*args)}")
            result = whole(self, *args)
            death.at(f"after {what(*args)}")
            return result

        setattr(owner, name, cut)

    around(Journal, "append", lambda _epoch, entries, _seq: f"append of {_last_event(entries)}")
    around(service.Service, "_run_effect", lambda effect: f"effect {type(effect).__name__}")
    around(_Socket, "send", lambda method, *_: f"command {method}")
    around(_Socket, "_answer", lambda _: "answer")


def _last_event(entries: Sequence[Entry]) -> str:
    return type(entries[-1].events[-1]).__name__


def _fields(event: Any) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__}


SABOTAGE = {
    f.__name__: f
    for f in (
        drops_a_caller,
        forgets_a_bridge,
        keeps_a_leg,
        loses_a_row,
        tells_another_story,
        plays_nothing,
        connects_a_stranger,
        tears_the_talk,
    )
}
TRIGGERS = {f.__name__: f for f in (breaks_the_core, clock, dies)}


def main() -> None:
    names, _, argument = sys.argv.pop(1).partition("=")
    for name in names.split("+"):
        (SABOTAGE | TRIGGERS)[name](argument)
    program.main()


if __name__ == "__main__":
    main()
