"""Callers and agents that nobody has to play: two SIPp processes with sound, seeded and bounded.

SIPp takes one line of a file for each call. The callers' lines are drawn beforehand for the whole run, each
with the moment of its arrival, so that a seed gives the same callers again. The agents' lines say what the
next phone that rings does. Files with passwords are of mode 600; no password is ever an argument.
"""

from __future__ import annotations

import math
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ari_app.deploy.child import Child, last_lines
from ari_app.deploy.console import DeployError, Progress
from ari_app.deploy.debian import TEST_PHONES, PrivateApt
from ari_app.deploy.ports import free_port

SCENARIOS = Path(__file__).parents[2] / "scripts" / "sipp"
PROGRAM_VARIABLE = "CORDBOARD_SIPP"
# -rxsf (calls both ways in one process) and a socket of its own for each call's sound.
OLDEST_SIPP = (3, 8)
ARRIVALS_A_SECOND = 100
"""So fast SIPp takes up its lines; each then waits for its own moment."""
MEAN_GAP_S = 5.5
AT_MOST = 20
"""Callers at any time, counted as if each stayed as long as they ever would."""
SOUND_PORTS = {"callers": (21_000, 21_499), "agents": (21_500, 21_999)}
BEHAVIOURS = 500
AGAIN_AFTER_S = 1.0
CALLER_NAMES = (
    *("Ana Prieto", "Ben Adler", "Clara Voss", "Deniz Kaya", "Eva Lund", "Felix Brandt", "Gita Rao"),
    *("Hugo Silva", "Ines Romero", "Jonas Weber", "Kira Sato", "Luca Bianchi", "Mara Jansen", "Nils Berg"),
    *("Olga Petrova", "Paul Martin", "Rosa Klein", "Samir Nasser", "Tara Quinn", "Viktor Nagy"),
)


@dataclass(frozen=True)
class Caller:
    """One call to come. `key` is pressed `think_s` after the answer; `stay_s` later they give up."""

    at_s: float
    number: str
    key: str
    caller: str
    name: str
    think_s: float
    stay_s: float

    @property
    def gone_s(self) -> float:
        return self.at_s + self.think_s + self.stay_s


def plan_callers(seed: int, until_s: float) -> list[Caller]:
    """The callers of a whole run: Poisson arrivals, most of them patient, never more than `AT_MOST` at once.

    The first few come quickly, so that there is something to see.
    """
    chance = random.Random(seed)
    planned: list[Caller] = []
    at_s = 0.2
    while at_s < until_s:
        coming = _caller(chance, at_s)
        if sum(caller.gone_s > at_s for caller in planned[-AT_MOST * 4 :]) < AT_MOST:
            planned.append(coming)
        at_s += chance.expovariate(1 / (1.2 if len(planned) < 4 else MEAN_GAP_S))
    return planned


def _caller(chance: random.Random, at_s: float) -> Caller:
    # 9 is no choice of the menu: that caller hears so, and ends at the operator's queue.
    number, key = chance.choices(
        [("100", "1"), ("100", "2"), ("100", "3"), ("100", "9"), ("101", ""), ("102", ""), ("103", "")],
        weights=[18, 22, 14, 2, 14, 18, 12],
    )[0]
    think_s = chance.uniform(2.0, 5.0)
    impatient = chance.random() < 0.16
    stay_s = chance.uniform(3.0, 13.0) if impatient else chance.uniform(70.0, 110.0)
    # Numbers that the North American plan keeps for fiction: 555-0100 to 555-0199.
    caller = f"+1212555{chance.randint(100, 199):04}"
    return Caller(at_s, number, key, caller, chance.choice(CALLER_NAMES), think_s, stay_s)


@dataclass(frozen=True)
class Behaviour:
    """What the next phone that rings does: `code` 200, 486 (busy), 603 (declines) or 0 (nobody comes)."""

    ring_s: float
    code: int
    talk_s: float


def plan_behaviours(seed: int) -> list[Behaviour]:
    """What agents do, in the order in which phones ring; SIPp begins again after the last."""
    chance = random.Random(seed + 1)
    return [_behaviour(chance) for _ in range(BEHAVIOURS)]


def _behaviour(chance: random.Random) -> Behaviour:
    code = chance.choices([200, 486, 603, 0], weights=[88, 4, 3, 5])[0]
    ring_s = {486: 0.2, 0: 0.0}.get(code, chance.uniform(1.0, 6.0))
    return Behaviour(ring_s, code, chance.triangular(10.0, 40.0, 14.0))


# ---------------------------------------------------------------- sound


def murmur(pitch_hz: float, seed: int, seconds: int = 12) -> bytes:
    """Something like a voice, as raw G.711 u-law of 8 kHz: syllables of a harmonic tone, with pauses."""
    chance = random.Random(seed)
    samples: list[float] = []
    while len(samples) < seconds * 8000:
        length = int(chance.uniform(0.09, 0.28) * 8000)
        pitch = pitch_hz * chance.uniform(0.85, 1.25)
        loud = 0.0 if chance.random() < 0.15 else chance.uniform(3000, 7000)
        samples += [loud * math.sin(math.pi * at / length) * _vowel(pitch, at) for at in range(length)]
    return bytes(_ulaw(int(sample)) for sample in samples[: seconds * 8000])


def _vowel(pitch_hz: float, at: int) -> float:
    turn = 2 * math.pi * pitch_hz * at / 8000
    return math.sin(turn) + 0.5 * math.sin(3 * turn) + 0.25 * math.sin(5 * turn)


def _ulaw(sample: int) -> int:
    """ITU-T G.711, table 2a: sign, segment and step of a 14-bit value, inverted."""
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), 32_635) + 132
    segment = magnitude.bit_length() - 8
    return ~(sign | segment << 4 | magnitude >> segment + 3 & 0x0F) & 0xFF


# ---------------------------------------------------------------- SIPp


def find_sipp(apt: PrivateApt, progress: Progress, environment: Mapping[str, str] = os.environ) -> list[str]:
    """The words that start SIPp: the named one, the private copy, an installed one of a good version."""
    if named := environment.get(PROGRAM_VARIABLE):
        return [named]
    unpacked = apt.unpacked(TEST_PHONES)
    if unpacked is None:
        installed = shutil.which("sipp", path=environment.get("PATH", os.defpath))
        if installed and sipp_version(installed) >= OLDEST_SIPP:
            progress.show(f"Using SIPp at {installed}")
            return [installed]
        unpacked = apt.obtain(TEST_PHONES)
    return list(unpacked.program("usr/bin/sipp"))


def sipp_version(program: str) -> tuple[int, int]:
    """(3, 8) for `SIPp v3.8.0-TLS-SCTP-PCAP`; (0, 0) for what does not say."""
    try:
        said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False, timeout=5).stdout
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise DeployError(f"{program} -v does not answer: {failed}") from failed
    found = re.search(r"SIPp v(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@dataclass
class Part:
    """One SIPp process, how to start it anew, and when it may be."""

    name: str
    command: Callable[[], list[str]]
    child: Child | None = None
    again_at: float = 0.0


class Simulation:
    """Everybody who is not there: the agents' phones and the callers, until `stop`.

    The files are in `folder`, which is emptied. `accounts` maps each agent's phone to its password; `line`
    is the account (name, password) that all callers use.
    """

    def __init__(
        self,
        folder: Path,
        sipp: Sequence[str],
        pbx: tuple[str, int],
        accounts: Mapping[str, str],
        line: tuple[str, str],
        *,
        seed: int,
        until_s: float,
    ) -> None:
        self.folder = folder.absolute()
        self._sipp = list(sipp)
        self._pbx = pbx
        self._accounts = dict(accounts)
        self._line = line
        self._callers = plan_callers(seed, until_s)
        self._behaviours = plan_behaviours(seed)
        self._begun = 0.0
        self._parts = [Part("the agents' phones", self._agents), Part("the callers' phones", self._calls)]

    def prepare(self) -> None:
        """Writes sounds and scenarios, and whatever holds a password for its owner's eyes only."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)
        for scenario in ("register", "agent", "caller"):
            shutil.copy(SCENARIOS / f"{scenario}.xml", self.folder)
        (self.folder / "agent.ulaw").write_bytes(murmur(130.0, seed=1))
        (self.folder / "caller.ulaw").write_bytes(murmur(210.0, seed=2))
        self._write(
            "phones.csv", "USER", ((name, _login(name, self._accounts[name])) for name in self._accounts)
        )
        self._write("behaviour.csv", "SEQUENTIAL", (_behaviour_fields(b) for b in self._behaviours))

    def start_agents(self) -> None:
        """The agents' phones register."""
        self._start(self._parts[0])

    def start_callers(self) -> None:
        """From now on callers come."""
        self._begun = time.monotonic()
        self._start(self._parts[1])

    def keep(self) -> Iterator[str]:
        """Starts again what died; yields a sentence about each. Call it often."""
        for part in self._parts:
            if part.child is None or part.child.running or time.monotonic() < part.again_at:
                continue
            yield f"{part.child.how_it_ended()}; started again"
            part.again_at = time.monotonic() + AGAIN_AFTER_S
            self._start(part)

    def stop(self) -> None:
        """Ends both at once, and removes the files."""
        for part in self._parts:
            if part.child is not None:
                part.child.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def complaints(self) -> str:
        """The ends of SIPp's own logs, for an error message: `stop` removes them."""
        names = ("agents.errors", "callers.errors", "sipp.log")
        return "\n".join(filter(None, (last_lines(self.folder / name, 6) for name in names)))

    def _start(self, part: Part) -> None:
        part.child = Child(
            f"SIPp ({part.name})",
            part.command(),
            log=self.folder / "sipp.log",
            cwd=self.folder,
            environment={**os.environ, "TERM": "dumb"},
            die_with_parent=True,
        )
        part.child.start()

    def _agents(self) -> list[str]:
        options = ["-sf", "register.xml", "-rxsf", "agent.xml", "-users", str(len(self._accounts))]
        options += ["-inf", "phones.csv", "-inf", "behaviour.csv"]
        return self._command("agents", options)

    def _calls(self) -> list[str]:
        # After a restart, those whose moment has passed have called already.
        passed = time.monotonic() - self._begun
        coming = [caller for caller in self._callers if caller.at_s >= passed]
        login = _login(*self._line)
        rows = (_caller_fields(caller, at, passed, login) for at, caller in enumerate(coming))
        self._write("callers.csv", "SEQUENTIAL", rows)
        options = ["-sf", "caller.xml", "-inf", "callers.csv", "-m", str(max(1, len(coming)))]
        options += ["-r", str(ARRIVALS_A_SECOND), "-l", str(len(coming) + 1)]
        return self._command("callers", options)

    def _command(self, who: str, options: list[str]) -> list[str]:
        address, port = self._pbx
        first, last = SOUND_PORTS[who]
        # A new port each time: Asterisk holds on to its verdict that a contact of before does not answer.
        ours = free_port("udp", address)
        common = [
            "-i",
            address,
            "-mi",
            address,
            "-ci",
            address,
            "-p",
            str(ours),
            "-cp",
            str(free_port("udp", address)),
        ]
        common += ["-min_rtp_port", str(first), "-max_rtp_port", str(last)]
        # -aa answers OPTIONS; -f: the picture that SIPp would draw each second goes to a log file here.
        common += ["-nostdin", "-aa", "-f", "86400", "-trace_err", "-error_file", f"{who}.errors"]
        return [*self._sipp, *options, *common, f"{address}:{port}"]

    def _write(self, name: str, mode: str, rows: Iterator[Sequence[str]]) -> None:
        path = self.folder / name
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("\n".join([mode, *(";".join(row) for row in rows)]) + "\n")


def _login(name: str, password: str) -> str:
    return f"[authentication username={name} password={password}]"


def _behaviour_fields(behaviour: Behaviour) -> list[str]:
    return [_ms(behaviour.ring_s), str(behaviour.code), _ms(behaviour.talk_s)]


def _caller_fields(caller: Caller, at: int, passed_s: float, login: str) -> list[str]:
    wait_s = max(0.0, caller.at_s - passed_s - at / ARRIVALS_A_SECOND)
    dialled = [_ms(wait_s), caller.number, caller.caller, caller.name, caller.key]
    return [*dialled, _ms(caller.think_s), _ms(caller.stay_s), login]


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))
