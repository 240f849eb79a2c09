"""What a dialplan attached: for the call the channel becomes, over a restart, and not for ever."""

from __future__ import annotations

import stat
from pathlib import Path

from ari_app.attributes import EACH, KEPT_NS, Attributes
from ari_app.core import messages as m


def opened(call: str, channel: str) -> m.CallOpened:
    return m.CallOpened(call, channel, "100", "main", 0)


def test_attached_before_the_call_and_added_to_during_it(tmp_path: Path) -> None:
    kept = Attributes(tmp_path, 0)
    assert kept.attach("chan-1", {"customer": "4711"}, "", 10)
    kept.on_event(opened("c1", "chan-1"))
    kept.on_event(opened("c2", "chan-2"))
    assert kept.attach("chan-1", {"mood": "\x1b[2J"}, "c1", 20)
    assert kept.of("c1") == {"customer": "4711", "mood": "\\x1b[2J"}
    assert kept.of("c2") == {}
    assert stat.S_IMODE((tmp_path / "attributes.db").stat().st_mode) == 0o600
    kept.close()


def test_a_restart_at_any_point_loses_nothing(tmp_path: Path) -> None:
    first = Attributes(tmp_path, 0)
    first.attach("chan-1", {"a": "1"}, "", 10)
    first.close()
    second = Attributes(tmp_path, 20)
    second.on_event(opened("c1", "chan-1"))
    second.close()
    third = Attributes(tmp_path, 30)
    assert third.of("c1") == {"a": "1"}
    third.close()


def test_forgotten_after_a_day_or_when_erased(tmp_path: Path) -> None:
    kept = Attributes(tmp_path, 0)
    for number in (1, 2):
        kept.attach(f"chan-{number}", {"secret": f"text-{number}"}, f"c{number}", number)
    kept.erase("c1")
    assert (kept.of("c1"), kept.of("c2")) == ({}, {"secret": "text-2"})
    kept.prune(KEPT_NS + 3)
    assert kept.of("c2") == {}
    kept.close()
    on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"text-1" not in on_disk
    assert b"text-2" not in on_disk


def test_too_many_keys_are_refused_and_change_nothing(tmp_path: Path) -> None:
    kept = Attributes(tmp_path, 0)
    assert kept.attach("chan-1", {f"k{n}": "" for n in range(EACH)}, "c1", 0)
    assert not kept.attach("chan-1", {"more": ""}, "c1", 0)
    assert "more" not in kept.of("c1")
    kept.close()
