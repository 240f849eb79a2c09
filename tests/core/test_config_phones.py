"""Agents' phones as written: several of them, mobiles through a trunk, what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ari_app.config import load
from ari_app.config_phones import PhoneEntry, allowed
from ari_app.core.definition import Phone
from ari_app.problems import DefinitionErrors

WHOLE = """\
[numbers]
"100" = "main"
[flows.main]
start = "in"
[flows.main.nodes.in]
kind = "queue"
queue = "sales"
[queues.sales]
strategy = "ring_all"
ring_at_most = 3
[phones.desk]
[phones.soft]
[phones.other]
role = "caller"
[trunks.provider]
server = "sip.example.net"
numbers = ["100"]
mobiles = ["+4915*"]
[agents.bob]
queues = ["sales"]
ring = "in_order"
confirm_s = 9
phones = [
  "desk",
  { phone = "soft", auto_answer = true },
  { number = "+4915112345", trunk = "provider", ring_s = 20 },
]
"""


def written(folder: Path, text: str) -> Path:
    (folder / "centre.toml").write_text(text)
    return folder


def test_several_phones(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, WHOLE))
    bob = loaded.definition.agents["bob"]
    assert bob.all_phones() == (
        Phone("desk"),
        Phone("soft", auto_answer=True),
        Phone("bob/mobile3", mobile=True, ring_s=20),
    )
    assert (bob.endpoint, bob.ring, bob.confirm_s) == ("desk", "in_order", 9)
    assert loaded.definition.queues["sales"].ring_at_most == 3
    assert [problem.key for problem in loaded.warnings] == []


def test_the_number_stays_in_the_shell(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, WHOLE))
    assert loaded.site.dialled("bob/mobile3") == "+4915112345@provider"
    assert loaded.site.dialled("desk") == "desk"
    assert "4915112345" not in repr(loaded.definition)
    assert "4915112345" not in repr(loaded.site)


def test_one_phone_that_picks_up_by_itself(tmp_path: Path) -> None:
    text = WHOLE[: WHOLE.index("ring = ")] + 'phone = "desk"\nauto_answer = true\n'
    assert load(written(tmp_path, text)).definition.agents["bob"].all_phones() == (
        Phone("desk", auto_answer=True),
    )


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ('  "desk"', '  "deks"', "agents.bob.phones[0]", ('did you mean "desk"',)),
        ('  "desk"', '  "other"', "agents.bob.phones[0].phone", ("role",)),
        ('  "desk"', '  "soft"', "agents.bob.phones[1].phone", ("bob too",)),
        ('phone = "soft", ', "", "agents.bob.phones[1]", ("is no phone",)),
        ('phone = "soft", ', 'endpoint = "soft", ', "agents.bob.phones[1].endpoint", ('phone = "soft"',)),
        ("auto_answer", "autoanswer", "agents.bob.phones[1]", ("autoanswer",)),
        ("ring_s = 20", "ring_s = 0.1", "agents.bob.phones[2].ring_s", ("1 to 600",)),
        ("ring_s = 20", "auto_answer = true", "agents.bob.phones[2].auto_answer", ("mobile",)),
        (', trunk = "provider"', "", "agents.bob.phones[2].trunk", ("is missing",)),
        ('trunk = "provider"', 'trunk = "porvider"', "agents.bob.phones[2].trunk", ('"provider"',)),
        ('"+4915112345"', '"0151 12345"', "agents.bob.phones[2].number", ("digits",)),
        ('mobiles = ["+4915*"]\n', "", "agents.bob.phones[2].number", ("may not", "mobiles =")),
        ('["+4915*"]', '["+4916*"]', "agents.bob.phones[2].number", ("may not",)),
        ('["+4915*"]', '["+4915*", "x"]', "trunks.provider.mobiles[1]", ("no number",)),
        ("confirm_s = 9", "confirm_s = 900", "agents.bob.confirm_s", ("3 to 60",)),
        ("confirm_s = 9", "auto_answer = true", "agents.bob.auto_answer", ("several phones",)),
        ("confirm_s = 9", 'phone = "desk"', "agents.bob", ("phone and phones",)),
        ('"in_order"', '"in_turn"', "agents.bob.ring", ("in_order",)),
        ("ring_at_most = 3", "ring_at_most = -1", "queues.sales.ring_at_most", ("0 to 1000",)),
    ],
)
def test_an_error_says_where_what_and_how(
    tmp_path: Path, old: str, new: str, key: str, words: tuple[str, ...]
) -> None:
    assert old in WHOLE
    with pytest.raises(DefinitionErrors) as raised:
        load(written(tmp_path, WHOLE.replace(old, new, 1)))
    told = [str(problem) for problem in raised.value.problems if problem.key.startswith(key)]
    assert told, str(raised.value)
    for word in words:
        assert word in told[0]


def test_a_phone_is_one_agents(tmp_path: Path) -> None:
    text = WHOLE + '[agents.eve]\nqueues = ["sales"]\nphone = "desk"\n'
    with pytest.raises(DefinitionErrors, match=r"agents\.eve\.phone.*bob too"):
        load(written(tmp_path, text))


def test_a_mobile_is_one_agents_and_no_error_tells_its_number(tmp_path: Path) -> None:
    twice = '[agents.eve]\nqueues = ["sales"]\nphones = [{ number = "+4915112345", trunk = "provider" }]\n'
    for text in (WHOLE + twice, WHOLE.replace('mobiles = ["+4915*"]\n', "")):
        with pytest.raises(DefinitionErrors) as raised:
            load(written(tmp_path, text))
        assert "4915112345" not in str(raised.value)


def test_what_may_be_dialled() -> None:
    assert allowed(("+49*",), "+4930")
    assert allowed(("112",), "112")
    assert not allowed(("+49",), "+4930")
    assert not allowed((), "+4930")
    assert PhoneEntry().ring_s == 0
