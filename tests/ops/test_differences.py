"""What a new definition changes, in words."""

from pathlib import Path

from ari_app import pins
from ari_app.config import Loaded, load
from ari_app.differences import differences

BASE = """
[numbers]
"100" = "main"
[flows.main]
start = "end"
[flows.main.nodes.end]
kind = "hangup"
[queues.sales]
name = "Sales"
[agents.alice]
name = "Alice"
phone = "alice"
queues = ["sales"]
[phones.alice]
"""


def loaded(folder: Path, text: str) -> Loaded:
    folder.mkdir(exist_ok=True)
    (folder / "centre.toml").write_text(text)
    return load(folder)


def changes(folder: Path, text: str) -> list[str]:
    return differences(loaded(folder / "old", BASE), loaded(folder / "new", text))


def test_the_same_definition_written_otherwise_changes_nothing(tmp_path: Path) -> None:
    assert changes(tmp_path, "# a comment\n" + BASE.replace("\n[", "\n\n[")) == []


def test_what_is_added_and_removed_is_named(tmp_path: Path) -> None:
    new = BASE.replace('"100" = "main"', '"200" = "main"').replace("alice", "bob")
    assert changes(tmp_path, new) == [
        "number 100: removed",
        "number 200: added, leads to flow main",
        "agent alice: removed",
        "agent bob: added",
        "phone alice: removed",
        "phone bob: added",
    ]


def test_what_is_changed_is_said_key_by_key(tmp_path: Path) -> None:
    new = BASE.replace('name = "Sales"', 'name = "Sales"\nwrap_up_s = 20\nrecord = false').replace(
        'kind = "hangup"', 'kind = "hangup"\nsounds = ["goodbye"]'
    )
    assert changes(tmp_path, new) == [
        "flow main, node end: sounds none -> goodbye",
        "queue sales: wrap_up_s 10.0 -> 20.0, record true -> false",
    ]


def test_a_pin_is_never_shown(tmp_path: Path) -> None:
    hashed = pins.hash_pin("3917")
    said = changes(tmp_path, BASE.replace('phone = "alice"', f'phone = "alice"\npin = "{hashed}"'))
    assert said == ["agent alice: another PIN"]


MOBILE = """
[trunks.provider]
server = "sip.example.net"
mobiles = ["+4915112345"]
[agents.bob]
queues = ["sales"]
phones = [{ number = "+4915112345", trunk = "provider" }]
"""


def test_another_mobile_is_a_change_and_its_number_is_not_told(tmp_path: Path) -> None:
    before = loaded(tmp_path / "old", BASE + MOBILE)
    found = differences(before, loaded(tmp_path / "new", BASE + MOBILE.replace("12345", "67890")))
    assert found == ["trunk provider: mobiles others", "agent bob: mobile1 has another number or trunk"]
