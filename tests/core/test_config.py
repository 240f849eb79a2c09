"""The definition's files: what they say, where each error is, and that no error hides another."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from ari_app.config import AgentEntry, DefinitionErrors, Loaded, Problem, load
from ari_app.config_callers import CallersEntry
from ari_app.config_routing import Skills
from ari_app.core.definition import (
    Centre,
    Codes,
    Crisis,
    Flow,
    HangupNode,
    MenuNode,
    PlayNode,
    Queue,
    QueueNode,
    Relax,
    Target,
)
from ari_app.pins import hash_pin
from ari_app.site import Fallback, Hours, Phone, Sip, Trunk
from ari_app.toml_lines import KeyPath, key_lines

EXAMPLE = Path(__file__).parents[2] / "ari_app/deploy/example"

GOOD = """\
[numbers]
"100" = "main"
[flows.main]
start = "menu"
[flows.main.nodes.menu]
kind = "menu"
sounds = ["hello"]
choices = { 1 = "sales" }
on_failure = "end"
[flows.main.nodes.sales]
kind = "queue"
queue = "sales"
[flows.main.nodes.end]
kind = "hangup"
[queues.sales]
name = "Sales"
[agents.bob]
name = "Bob"
phone = "bob"
queues = ["sales"]
[phones.bob]
[dialling]
emergency = []
"""


def written(folder: Path, *files: str) -> Path:
    for number, text in enumerate(files):
        (folder / f"{number}.toml").write_text(text)
    return folder


def problems(folder: Path, *files: str) -> list[Problem]:
    with pytest.raises(DefinitionErrors) as raised:
        load(written(folder, *files))
    return raised.value.problems


def only_problem(folder: Path, *files: str) -> Problem:
    found = problems(folder, *files)
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


# ---------------------------------------------------------------- lines


def leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from leaves(each, (*path, index))
    else:
        yield path, value


# Every number is the line it stands on; everything else is there to mislead the scanner.
TRICKY = '''\
plain = 1
"quoted key" = 2 # a comment = 99
'literal.key' = 3
a.dotted."key.x" = 4
[table] # [not.a.table]
x = 6
text = "a \\" # [no] = \\\\"
y = 8
[ table . "sub table" ]
z = 10
many = [ 11, # ] not the end
  12, [12,
  13],
  { in = 14, line = { deep = 14 } },
]
long = """
[fake]
x = 99 \\""" still
"""
after = 20
path = \'\'\'
[fake2] \\\'\'\'
after2 = 23
[[list]]
v = 25
[[list]]
v = 27
[list.inner]
v = 29
[[list.nested]]
v = 31
[[list.nested]]
v = 33
date = 1979-05-27T07:32:00Z
inline = { q = "}", r = 35, "s#" = 35 }
quotes = """a""""
w = 37
'''


def test_every_key_is_found_on_its_line() -> None:
    lines = key_lines(TRICKY)
    numbers = [(path, value) for path, value in leaves(tomllib.loads(TRICKY)) if isinstance(value, int)]
    assert len(numbers) == 23
    assert {path: lines[path] for path, _ in numbers} == dict(numbers)
    # Values that are no numbers have a line, too, and nothing was made up from inside of strings.
    assert {path for path, _ in leaves(tomllib.loads(TRICKY))} <= set(lines)
    assert not any("fake" in str(path) for path in lines)


# ---------------------------------------------------------------- what is right


def test_the_example_is_complete_and_without_a_warning() -> None:
    loaded = load(EXAMPLE)
    assert loaded.warnings == ()
    assert loaded.definition.numbers == {"100": "main"}
    menu = loaded.definition.flows["main"].nodes["menu"]
    assert isinstance(menu, MenuNode)
    chosen = [loaded.definition.flows["main"].nodes[menu.choices[digit]] for digit in "12"]
    assert [node.queue for node in chosen if isinstance(node, QueueNode)] == ["sales", "support"]
    assert {agent: each.endpoint for agent, each in loaded.definition.agents.items()} == {
        "alice": "alice",
        "bob": "bob",
    }
    assert {name: phone.role for name, phone in loaded.site.phones.items()} == {
        "alice": "agent",
        "bob": "agent",
        "caller": "caller",
    }


def test_tables_may_be_spread_over_files_and_mean_the_same(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    cut = GOOD.index("[queues.sales]")
    whole = load(written(one, GOOD))
    split = load(written(two, "# people\n" + GOOD[cut:], GOOD[:cut]))
    assert split.definition == whole.definition
    assert split.digest == whole.digest


def test_the_digest_changes_with_the_meaning_alone(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        return load(written(tmp_path, text)).digest

    first = digest(GOOD)
    assert digest(GOOD + "\n# a comment\n[sip]\nport = 5070\n") == first
    assert digest(GOOD.replace('"Sales"', '"Verkauf"')) != first


def test_an_endpoint_of_an_existing_pbx_needs_no_phone(tmp_path: Path) -> None:
    text = GOOD.replace('phone = "bob"', 'endpoint = "201"').replace("[phones.bob]\n", "")
    loaded = load(written(tmp_path, text))
    assert loaded.definition.agents["bob"].endpoint == "201"
    assert loaded.site.phones == {}


def test_the_core_never_sees_a_pin(tmp_path: Path) -> None:
    hashed = hash_pin("4711")
    loaded = load(written(tmp_path, GOOD.replace('phone = "bob"', f'phone = "bob"\npin = "{hashed}"')))
    assert loaded.site.pins == {"bob": hashed}
    assert hashed not in repr(loaded.definition)
    assert hashed not in repr(loaded.site)


KINDS: tuple[type[Struct], ...] = (
    Centre,
    Flow,
    PlayNode,
    MenuNode,
    QueueNode,
    HangupNode,
    Queue,
    Relax,
    Target,
    Crisis,
    Hours,
    Skills,
    CallersEntry,
    AgentEntry,
    Codes,
    Phone,
    Trunk,
    Sip,
    Fallback,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_key_is_in_the_manual(kind: type[Struct]) -> None:
    manual = (EXAMPLE.parents[2] / "docs/definition.md").read_text()
    keys = set(kind.__struct_fields__) - {"nodes"}
    assert {key for key in keys if f"`{key}`" not in manual} == set()


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [
        ('"100" = "main"', '"100" = "mian"', 2, "numbers.100", ("'mian'", 'did you mean "main"')),
        ('"100" = "main"', '"1x0" = "main"', 2, "numbers.1x0", ("no number",)),
        ('"100" = "main"', '"100" = 7', 2, "numbers.100", ("must name a flow",)),
        ('start = "menu"', 'start = "meun"', 4, "flows.main.start", ('did you mean "menu"',)),
        ('start = "menu"', "", 3, "flows.main.start", ("is missing",)),
        ('kind = "menu"', 'kind = "mneu"', 6, "flows.main.nodes.menu.kind", ('did you mean "menu"',)),
        ('kind = "menu"', "", 5, "flows.main.nodes.menu.kind", ("is missing",)),
        ('["hello"]', '["../secret"]', 7, "flows.main.nodes.menu.sounds[0]", ("no name of a sound",)),
        ('["hello"]', '"hello"', 7, "flows.main.nodes.menu.sounds", ("a list",)),
        ('{ 1 = "sales" }', '{ 1 = "sale" }', 8, "flows.main.nodes.menu.choices.1", ('"sales"',)),
        ('{ 1 = "sales" }', '{ 12 = "sales" }', 8, "flows.main.nodes.menu.choices.12", ("no key",)),
        ('queue = "sales"', 'queue = "slaes"', 12, "flows.main.nodes.sales.queue", ('"sales"',)),
        ('name = "Sales"', 'nmae = "Sales"', 16, "queues.sales.nmae", ('did you mean "name"',)),
        ('name = "Sales"', "ring_timeout_s = -3", 16, "queues.sales.ring_timeout_s", ("-3", "1 to 600")),
        ('name = "Sales"', "wrap_up_s = nan", 16, "queues.sales.wrap_up_s", ("nan",)),
        ('name = "Sales"', 'name = "a;b"', 16, "queues.sales.name", ("character",)),
        ('name = "Sales"', 'record = "yes"', 16, "queues.sales.record", ("true or false",)),
        ('phone = "bob"', 'phone = "bop"', 19, "agents.bob.phone", ('did you mean "bob"',)),
        ('phone = "bob"', "", 17, "agents.bob", ("neither phone nor endpoint",)),
        ('phone = "bob"', 'endpoint = "bob"', 19, "agents.bob.endpoint", ('phone = "bob"',)),
        ('phone = "bob"', 'phone = "bob"\npin = "4711"', 20, "agents.bob.pin", ("cordboard pin",)),
        ('["sales"]', '[\n  "sales",\n  "nowhere"]', 22, "agents.bob.queues[1]", ("'nowhere'",)),
        ('["sales"]', '["sales", "sales"]', 20, "agents.bob.queues[1]", ("twice",)),
        ("[phones.bob]", '[phones.bob]\nrole = "caller"', 19, "agents.bob.phone", ("role",)),
        ("[phones.bob]", '[phones.bob]\ncodecs = ["mp3"]', 22, "phones.bob.codecs[0]", ("ulaw",)),
        ("[phones.bob]", "[phones.bob]\n[phones.Bad]", 22, "phones.Bad", ("lower-case",)),
        ("[phones.bob]", "[phones.bob]\n[phones.cordboard]", 22, "phones.cordboard", ("keeps",)),
        ("[numbers]", "[nubmers]\nx=1\n[numbers]", 1, "nubmers", ('did you mean "numbers"',)),
        ("[numbers]", "[outbound]\nallow=true\n[numbers]", 1, "outbound", ("[dialling]",)),
        ("[numbers]", '[centre]\ntime_zone = "Europe/Berln"\n[numbers]', 2, "centre.time_zone", ("zone",)),
        ("[numbers]", '[codes]\nsign_in = "*12"\n[numbers]', 1, "codes.sign_out", ("sign_in",)),
        ("[numbers]", '[codes]\npause = "13"\n[numbers]', 2, "codes.pause", ("no feature code",)),
        ("[numbers]", '[codes]\nask_pin = ["pasue"]\n[numbers]', 2, "codes.ask_pin[0]", ('"pause"',)),
        ("[numbers]", "[sip]\nport = 70000\n[numbers]", 2, "sip.port", ("65535",)),
        ("[numbers]", '[sip]\nbind = "x"\n[numbers]', 2, "sip.bind", ("no address",)),
        ("[numbers]", '[sip]\nexternal_address = "1.2.3.4"\n[numbers]', 1, "sip.local_nets", ("missing",)),
        ("[numbers]", '[fallback]\nkind = "dial"\n[numbers]', 1, "fallback.target", ("missing",)),
        ("[numbers]", '[fallback]\nkind = "dail"\n[numbers]', 2, "fallback.kind", ('"dial"',)),
        ("[numbers]", '[fallback]\ntarget = "bob"\n[numbers]', 2, "fallback.target", ("no target",)),
        (
            "[numbers]",
            '[fallback]\nkind = "dial"\ntarget = "+1@none"\n[numbers]',
            3,
            "fallback.target",
            ("'none'",),
        ),
        (
            "[phones.bob]",
            '[phones.bob]\n[trunks.bob]\nserver = "a.example"\nnumbers = ["100"]',
            21,
            "phones.bob",
            ("trunk",),
        ),
        (
            "[phones.bob]",
            '[phones.bob]\n[trunks.p]\nserver = "a.example"\nnumbers = ["200"]',
            24,
            "trunks.p.numbers[0]",
            ("[numbers]",),
        ),
        (
            "[phones.bob]",
            '[phones.bob]\n[trunks.p]\nserver = "a.example"\nnumbers = ["100"]\nregister = true',
            25,
            "trunks.p.register",
            ("password",),
        ),
    ],
)
def test_an_error_says_where_what_and_how(
    tmp_path: Path, old: str, new: str, line: int, key: str, words: tuple[str, ...]
) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    if old == 'name = "Sales"' and "name =" not in new:
        # A queue without a name has a second error only if the name was taken away.
        text = text.replace(new, f"{new}\n", 1)
    found = only_problem(tmp_path, text)
    assert (found.file, found.line, found.key) == (tmp_path / "0.toml", line, key), str(found)
    for word in words:
        assert word in str(found)


ROUTED = """\
[numbers]
"100" = "main"
[flows.main]
start = "sales"
[flows.main.nodes.sales]
kind = "queue"
queue = "sales"
skills = { english = 2 }
[queues.sales]
requires = { german = "good" }
[[queues.sales.relax]]
after_s = 20
requires = { german = 1 }
[[queues.sales.relax]]
after_s = 40
drop = ["english"]
groups = ["b-team"]
[skills]
levels = { basic = 1, good = 4 }
[agents.bob]
name = "Bob"
phone = "bob"
queues = ["sales"]
skills = { german = "good", english = 2 }
groups = ["b-team"]
[phones.bob]
[dialling]
emergency = []
"""


def test_named_levels_stand_for_numbers(tmp_path: Path) -> None:
    found = load(written(tmp_path, ROUTED))
    assert found.warnings == ()
    queue, bob = found.definition.queues["sales"], found.definition.agents["bob"]
    assert queue.requires == {"german": 4}
    assert queue.relax == (
        Relax(20, {"german": 1}),
        Relax(40, {}, ("english",), ("b-team",)),
    )
    assert (bob.skills, bob.groups) == ({"german": 4, "english": 2}, ("b-team",))


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [
        ('{ german = "good" }', '{ german = "goood" }', 10, "queues.sales.requires.german", ('"good"',)),
        ('{ german = "good" }', "{ german = 6 }", 10, "queues.sales.requires.german", ("1 to 5",)),
        (
            '{ german = "good" }',
            "{ germn = 1, german = 2 }",
            10,
            "queues.sales.requires.germn",
            ('"german"',),
        ),
        (
            "{ english = 2 }",
            "{ english = 2, frnch = 1 }",
            8,
            "flows.main.nodes.sales.skills.frnch",
            ("no agent",),
        ),
        ("{ german = 1 }", "{ german = 4 }", 13, "queues.sales.relax[0].requires.german", ("only lowers",)),
        ("{ german = 1 }", "{ french = 1 }", 13, "queues.sales.relax[0].requires.french", ("not asked for",)),
        ("{ german = 1 }", '{ german = "bsic" }', 13, "queues.sales.relax[0].requires.german", ('"basic"',)),
        ('["english"]', '["englsh"]', 16, "queues.sales.relax[1].drop[0]", ('did you mean "english"',)),
        ("after_s = 40", "after_s = 20", 15, "queues.sales.relax[1].after_s", ("order",)),
        ("after_s = 20", "after_s = 0", 12, "queues.sales.relax[0].after_s", ("is 0",)),
        ("after_s = 20", "", 11, "queues.sales.relax[0].after_s", ("is missing",)),
        (
            'groups = ["b-team"]\n[skills]',
            'groups = ["bteam"]\n[skills]',
            17,
            "queues.sales.relax[1].groups[0]",
            ('"b-team"',),
        ),
        ("requires = { german = 1 }", "", 11, "queues.sales.relax[0]", ("gives nothing up",)),
        (
            "requires = { german = 1 }",
            "require = { german = 1 }",
            13,
            "queues.sales.relax[0].require",
            ('"requires"',),
        ),
        ("good = 4", "good = 9", 19, "skills.levels.good", ("0 to 5",)),
        ("good = 4 }", "good = 4 }\nlevls = 1", 20, "skills.levls", ('"levels"',)),
        ("english = 2 }\ngroups", "english = 7 }\ngroups", 24, "agents.bob.skills.english", ("0 to 5",)),
        ("[phones.bob]", "weight = 0\n[phones.bob]", 26, "agents.bob.weight", ("1 to 1000",)),
        (
            "[[queues.sales.relax]]\nafter_s = 20",
            'strategy = "longest-idle"\n[[queues.sales.relax]]\nafter_s = 20',
            11,
            "queues.sales.strategy",
            ('"longest_idle"',),
        ),
        (
            "[[queues.sales.relax]]\nafter_s = 20",
            "ageing_by = 0\n[[queues.sales.relax]]\nafter_s = 20",
            11,
            "queues.sales.ageing_by",
            ("1 to 1000",),
        ),
        (
            "[[queues.sales.relax]]\nafter_s = 20",
            "ageing_every_s = 0.5\n[[queues.sales.relax]]\nafter_s = 20",
            11,
            "queues.sales.ageing_every_s",
            ("1 second",),
        ),
    ],
)
def test_an_error_in_routing_says_where_what_and_how(
    tmp_path: Path, old: str, new: str, line: int, key: str, words: tuple[str, ...]
) -> None:
    assert ROUTED.count(old) == 1, old
    found = problems(tmp_path, ROUTED.replace(old, new))[0]
    assert (found.line, found.key) == (line, key), str(found)
    for word in words:
        assert word in str(found)


def test_a_level_nobody_has_and_callers_who_may_starve_are_warned_of(tmp_path: Path) -> None:
    text = ROUTED.replace('requires = { german = "good" }', "requires = { german = 5 }")
    found = load(written(tmp_path, text))
    assert [p.key for p in found.warnings] == ["queues.sales.requires.german"]
    vip = ROUTED.replace("[queues.sales]\n", "[queues.vip]\npriority = 5\n[queues.sales]\n").replace(
        'queues = ["sales"]', 'queues = ["sales", "vip"]'
    )
    found = load(written(tmp_path, vip))
    assert {(p.key, "for ever" in p.wrong) for p in found.warnings} == {
        ("queues.vip", False),  # no flow leads there
        ("queues.sales", True),
    }
    aged = vip.replace("[queues.sales]\n", "[queues.sales]\nageing_every_s = 30\n")
    assert {p.key for p in load(written(tmp_path, aged)).warnings} == {"queues.vip"}


def test_all_errors_are_told_at_once_in_order(tmp_path: Path) -> None:
    text = GOOD.replace('"main"', '"mian"', 1).replace('queue = "sales"', 'queue = "x"')
    found = problems(tmp_path, text + '[sip]\nport = "x"\nbind = "y"\n')
    assert [problem.line for problem in found] == sorted(problem.line for problem in found)
    assert {problem.key for problem in found} == {
        "numbers.100",
        "flows.main.nodes.sales.queue",
        "sip.port",
        "sip.bind",
    }


def test_a_name_defined_twice_names_both_places(tmp_path: Path) -> None:
    found = only_problem(tmp_path, GOOD, '\n[numbers]\n"100" = "main"\n')
    assert (found.file.name, found.line) == ("1.toml", 3)
    assert "0.toml:2" in str(found)


def test_two_agents_can_not_share_a_phone(tmp_path: Path) -> None:
    found = only_problem(tmp_path, GOOD + '[agents.al]\nname = "Al"\nphone = "bob"\nqueues = ["sales"]\n')
    assert found.key == "agents.al.phone"
    assert "bob" in found.wrong


@pytest.mark.parametrize(
    ("text", "line"), [("[x\n", 1), ("a = 1\nb = \n", 2), ("a = 1\na = 2\n", 2), ('x = """\n\n', 3)]
)
def test_what_is_not_toml_is_told_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    found = only_problem(tmp_path, GOOD, text)
    assert (found.file.name, found.line) == ("1.toml", line)


def test_bytes_that_are_not_text_are_told_with_their_line(tmp_path: Path) -> None:
    written(tmp_path, GOOD)
    (tmp_path / "1.toml").write_bytes(b'[centre]\nname = "M\xfcller"\n')
    with pytest.raises(DefinitionErrors) as raised:
        load(tmp_path)
    assert (raised.value.problems[0].line, "UTF-8" in str(raised.value)) == (2, True)


def test_an_empty_or_absent_folder_is_told(tmp_path: Path) -> None:
    assert "no *.toml" in str(only_problem(tmp_path))
    with pytest.raises(DefinitionErrors, match="no such folder"):
        load(tmp_path / "nowhere")


def test_a_pin_in_the_clear_is_refused_and_not_repeated(tmp_path: Path) -> None:
    found = only_problem(tmp_path, GOOD.replace('phone = "bob"', 'phone = "bob"\npin = "471147"'))
    assert "471147" not in str(found)


LOOP = """
[flows.main.nodes.a]
kind = "play"
sounds = ["hello"]
next = "b"
[flows.main.nodes.b]
kind = "play"
sounds = ["hello"]
next = "a"
"""


def test_plays_that_lead_round_and_round_are_an_error(tmp_path: Path) -> None:
    text = GOOD.replace('on_failure = "end"', 'on_failure = "a"') + LOOP
    found = problems(tmp_path, text)
    assert {problem.key for problem in found} == {"flows.main.nodes.a", "flows.main.nodes.b"}


def warnings(loaded: Loaded) -> set[str]:
    return {problem.key for problem in loaded.warnings}


def test_what_works_but_is_hardly_meant_is_warned_of(tmp_path: Path) -> None:
    silent = GOOD.replace('on_failure = "end"', 'on_failure = "menu"')
    assert warnings(load(written(tmp_path, silent))) == {"flows.main.nodes.menu", "flows.main.nodes.end"}
    idle = GOOD + '[queues.empty]\nname = "Empty"\nmusic = "jazz"\n[phones.spare]\n'
    assert warnings(load(written(tmp_path, idle))) == {
        "queues.empty",
        "queues.empty.music",
        "phones.spare",
    }
