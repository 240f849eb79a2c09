"""What phones may dial: errors with their place, warnings, and what is let out."""

from __future__ import annotations

from pathlib import Path

import pytest

from ari_app import config
from ari_app.config import DefinitionErrors
from ari_app.deploy import render
from ari_app.deploy.existing import render_existing
from ari_app.secrets_file import Secrets

BASE = """\
[numbers]
"100" = "main"
[flows.main]
start = "sales"
nodes.sales = { kind = "queue", queue = "sales" }
[queues.sales]
[agents.bob]
phone = "bob"
queues = ["sales"]
extension = "22"
[phones.bob]
[trunks.out]
server = "sip.example.net"
numbers = ["100"]
[dialling]
"""
RULE = '[dialling.rules.far]\ntrunk = "out"\n'


def problems(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(DefinitionErrors) as raised:
        config.load(tmp_path)
    return [f"{problem.key}: {problem.wrong}" for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("more", "key", "words"),
    [
        ('country = "XX"', "dialling.country", "countries"),
        ("ring_s = -7", "dialling.ring_s", "is -7"),
        ('emergency = ["1"]', "dialling.emergency[0]", "emergency number"),
        ('emergency = ["100"]', "numbers.100", "emergency number"),
        ('emergency_trunks = ["no"]', "dialling.emergency_trunks[0]", "'no'"),
        ('emergency_caller_id = "x"', "dialling.emergency_caller_id", "no number"),
        ('emergency = ["22"]', "agents.bob.extension", "an emergency number too"),
        (RULE, "dialling.rules.far.numbers", "is missing"),
        (RULE + "numbers = []", "dialling.rules.far.numbers", "empty"),
        (RULE + 'numbers = ["0&1"]', "dialling.rules.far.numbers[0]", "no pattern"),
        (RULE + 'numbers = ["0."]\nagents = ["max"]', "dialling.rules.far.agents[0]", "'max'"),
        (RULE + 'numbers = ["0."]\ngroups = ["x"]', "dialling.rules.far.groups[0]", "no agent is in"),
        (RULE + 'numbers = ["0."]\nprefix = "a"', "dialling.rules.far.prefix", "no number"),
        (RULE + 'numbers = ["0."]\nstrip = 99', "dialling.rules.far.strip", "99"),
        (RULE + 'numbers = ["0."]\ncaller_id = "a"', "dialling.rules.far.caller_id", "no number"),
        (
            RULE + 'numbers = ["0."]\n[dialling.rules.near]\ntrunk = "out"\nnumbers = ["0."]',
            "dialling.rules.near.numbers[0]",
            "rule far too",
        ),
        ("[dialling.rules]\nfar = 1", "dialling.rules.far", "a table"),
        ('[dialling.rules."x y"]', "dialling.rules.x y", "no name"),
        ('[phones.eve]\nextension = "22"', "phones.eve.extension", "extension of bob too"),
        ('[centre]\ndesks = ["bob"]', "centre.desks[0]", "own phone"),
        ('[centre]\ndesks = ["x;y"]', "centre.desks[0]", "no phone"),
        ('[centre]\ndesks = ["x", "x"]', "centre.desks[1]", "twice"),
        ('[phones.eve]\nrole = "caller"\n[centre]\ndesks = ["eve"]', "centre.desks[0]", "role"),
        ('[phones.eve]\nextension = "2a"', "phones.eve.extension", "no extension"),
    ],
)
def test_an_error_says_where_and_what(tmp_path: Path, more: str, key: str, words: str) -> None:
    (found,) = problems(tmp_path, BASE + more + "\n")
    assert found.startswith(f"{key}: "), found
    assert words in found


def test_a_direct_number_needs_an_extension_and_a_trunk(tmp_path: Path) -> None:
    text = BASE.replace('extension = "22"', 'direct = "+4930"')
    (found,) = problems(tmp_path, text)
    assert found == "agents.bob.direct: needs an extension, too"


def test_a_direct_number_at_which_nothing_rings_is_warned_about(tmp_path: Path) -> None:
    text = BASE.replace('phone = "bob"', 'direct = "+4930"').replace('["100"]', '["100", "+4930"]')
    (tmp_path / "a.toml").write_text(text.replace("[dialling]", '[centre]\ndesks = ["bob"]'))
    (warning,) = config.load(tmp_path).warnings
    assert (warning.key, "nothing rings there" in warning.wrong) == ("agents.bob.direct", True)


def test_a_desk_without_a_pin_is_warned_about(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(BASE + '[codes]\nask_pin = []\n[centre]\ndesks = ["201"]\n')
    (warning,) = config.load(tmp_path).warnings
    assert (warning.key, "as anybody" in warning.wrong) == ("centre.desks", True)


def test_phones_that_cannot_call_for_help_are_warned_about(tmp_path: Path) -> None:
    without = BASE.replace('[trunks.out]\nserver = "sip.example.net"\nnumbers = ["100"]\n', "")
    (tmp_path / "a.toml").write_text(without)
    (warning,) = config.load(tmp_path).warnings
    assert "nobody can call for help" in warning.wrong
    (tmp_path / "a.toml").write_text(without + "emergency = []\n")
    assert config.load(tmp_path).warnings == ()
    (tmp_path / "a.toml").write_text(BASE + "emergency = []\n")
    (warning,) = config.load(tmp_path).warnings
    assert (warning.key, "there is a trunk" in warning.wrong) == ("dialling.emergency", True)


def rendered(tmp_path: Path, more: str) -> str:
    (tmp_path / "a.toml").write_text(BASE + more)
    loaded = config.load(tmp_path)
    secrets = Secrets.load_or_create(tmp_path / "secrets", loaded.site, ("bob",))
    options = render.RenderOptions(tmp_path / "secrets", tmp_path, modules_dir=tmp_path)
    return render.texts(loaded, secrets, tmp_path, options)["extensions.conf"]


def test_nothing_is_let_out_by_default_but_help(tmp_path: Path) -> None:
    text = rendered(tmp_path, "")
    assert "cordboard-outside" not in text
    assert "include => cordboard-extensions" not in text
    assert text.count("include => cordboard-emergency") == 2
    assert "exten => 112,1" in text
    assert "exten => 911,1" in text


def test_by_country(tmp_path: Path) -> None:
    text = rendered(tmp_path, 'country = "GB"\n')
    assert "exten => 999,1" in text
    assert "exten => 911,1" not in text


def test_lamps_are_only_there_if_asked_for(tmp_path: Path) -> None:
    assert "hint" not in rendered(tmp_path, "")
    text = rendered(tmp_path, "[sip]\nlamps = true\n")
    for name, device in (("bob", "agent-bob"), ("22", "agent-bob"), ("queue-sales", "queue-sales")):
        assert f"exten => {name},hint,Stasis:cordboard-{device}\n" in text


def test_an_existing_pbx_gets_the_hints_and_nothing_that_dials(tmp_path: Path) -> None:
    text = BASE.replace('phone = "bob"', 'endpoint = "201"').replace("[phones.bob]\n", "")
    (tmp_path / "a.toml").write_text(f"{text}inside = true\n[sip]\nlamps = true\n")
    loaded = config.load(tmp_path)
    secrets = Secrets.load_or_create(tmp_path / "secrets", loaded.site, ("bob",))
    render_existing(loaded, secrets, tmp_path / "out", "asterisk")
    dialplan = (tmp_path / "out/extensions_cordboard.conf").read_text()
    assert "exten => 22,hint,Stasis:cordboard-agent-bob\n" in dialplan
    assert "cordboard-emergency" not in dialplan
    assert "Dial(" not in dialplan
    assert "load = res_ari_device_states.so" in (tmp_path / "out/modules_cordboard.conf").read_text()
