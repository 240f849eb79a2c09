"""Two raw tracks become one stereo file: aligned, whole, once, whatever the files' moods."""

from __future__ import annotations

import threading
import time
import wave
from array import array
from pathlib import Path

import pytest

from ari_app.store import recordings
from ari_app.store.recordings import RATE_HZ, RecordingLost, assemble

BEGAN_NS = 1_790_000_000_000_000_000
CALLER, AGENT = 1_000, -2_000


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "SETTLE_S", 0.15)


def raw(path: Path, sample: int, seconds: float) -> None:
    """As MixMonitor's option D writes: this participant's sample, then the other side's (never used)."""
    path.write_bytes(array("h", [sample, 77] * round(seconds * RATE_HZ)).tobytes())


def channels(path: Path) -> tuple[array[int], array[int]]:
    with wave.open(str(path), "rb") as found:
        assert (found.getnchannels(), found.getsampwidth(), found.getframerate()) == (2, 2, RATE_HZ)
        both = array("h", found.readframes(found.getnframes()))
    return both[0::2], both[1::2]


def test_the_caller_is_left_and_the_agent_right_from_their_own_instants(tmp_path: Path) -> None:
    raw(tmp_path / "c.raw", CALLER, 1.0)
    raw(tmp_path / "a.raw", AGENT, 1.0)
    done = assemble(tmp_path, "r", [("c.raw", BEGAN_NS), ("a.raw", BEGAN_NS + 250_000_000)])
    left, right = channels(tmp_path / done.file)
    assert set(left[:RATE_HZ]) == {CALLER}
    assert set(right[: RATE_HZ // 4]) == {0}
    assert set(right[RATE_HZ // 4 :]) == {AGENT}
    assert len(left) == len(right) == RATE_HZ * 5 // 4
    assert done.duration_ns == 1_250_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["r.wav"]


def test_longer_than_a_chunk_is_whole(tmp_path: Path) -> None:
    raw(tmp_path / "c.raw", CALLER, 9.5)
    raw(tmp_path / "a.raw", AGENT, 12.25)
    done = assemble(tmp_path, "r", [("c.raw", BEGAN_NS + 1_000_000_000), ("a.raw", BEGAN_NS)])
    left, right = channels(tmp_path / done.file)
    assert left.count(CALLER) == round(9.5 * RATE_HZ)
    assert left[RATE_HZ] == CALLER
    assert right.count(AGENT) == round(12.25 * RATE_HZ)


def test_a_track_that_never_began_is_silence(tmp_path: Path) -> None:
    raw(tmp_path / "a.raw", AGENT, 0.5)
    done = assemble(tmp_path, "r", [("c.raw", BEGAN_NS), ("a.raw", BEGAN_NS)])
    left, right = channels(tmp_path / done.file)
    assert set(left) == {0}
    assert set(right) == {AGENT}


def test_a_file_that_comes_after_the_hang_up_is_waited_for(tmp_path: Path) -> None:
    late = threading.Timer(0.1, raw, (tmp_path / "c.raw", CALLER, 0.5))
    late.start()
    done = assemble(tmp_path, "r", [("c.raw", BEGAN_NS), ("a.raw", BEGAN_NS)])
    late.join()
    assert set(channels(tmp_path / done.file)[0]) == {CALLER}


def test_a_file_that_still_grows_is_waited_for(tmp_path: Path) -> None:
    raw(tmp_path / "c.raw", CALLER, 0.5)

    def write_on() -> None:
        for _ in range(6):
            time.sleep(0.08)
            with (tmp_path / "c.raw").open("ab") as opened:
                opened.write(array("h", [CALLER, 77] * 800).tobytes())

    writer = threading.Thread(target=write_on)
    writer.start()
    done = assemble(tmp_path, "r", [("c.raw", BEGAN_NS)])
    writer.join()
    with wave.open(str(tmp_path / done.file), "rb") as found:
        assert found.getnframes() == RATE_HZ // 2 + 6 * 800


def test_asked_again_after_a_death_it_gives_the_same(tmp_path: Path) -> None:
    raw(tmp_path / "c.raw", CALLER, 0.5)
    tracks = [("c.raw", BEGAN_NS), ("a.raw", BEGAN_NS)]
    first = assemble(tmp_path, "r", tracks)
    assert assemble(tmp_path, "r", tracks) == first


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecordingLost, match=r"c\.raw, a\.raw"):
        assemble(tmp_path, "r", [("c.raw", BEGAN_NS), ("a.raw", BEGAN_NS)])
