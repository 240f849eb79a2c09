from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest

from ari_app import pins
from ari_app.certificates import make_self_signed
from ari_app.cli import phones
from ari_app.settings import SettingsError

DEFINITION = """
[numbers]
"100" = "main"
[flows.main]
start = "wait"
[flows.main.nodes.wait]
kind = "queue"
queue = "sales"
[queues.sales]
name = "Sales"
[agents.bob]
name = "Bob"
phone = "bob"
queues = ["sales"]
[agents.eve]
name = "Eve"
endpoint = "eve-desk"
queues = ["sales"]
[phones.bob]
[phones.ann]
role = "caller"
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "definition"
    folder.mkdir()
    (folder / "centre.toml").write_text(DEFINITION)
    (tmp_path / "runtime.json").write_text(f'{{"definition": "{folder}", "sip_port": 5070}}')
    return tmp_path


def test_phones_show_what_to_register_and_dial(state: Path) -> None:
    text = phones.phones(state)
    assert text == phones.phones(state), "secrets are made once"
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert rows["bob"][2:4] == ["agent", "bob"]
    assert len(rows["bob"][1]) == 24
    pins.check_strength(rows["bob"][4])
    assert rows["ann"][2] == "caller"
    assert "endpoint eve-desk of the existing PBX, PIN " in text
    assert rows["*11"] == ["*11", "agent", "signs", "in"]
    assert "port 5070" in text
    assert stat.S_IMODE((state / "secrets.toml").stat().st_mode) == 0o600


def test_phones_that_are_encrypted_say_how(state: Path) -> None:
    assert "TLS" not in phones.phones(state)
    make_self_signed(state / "definition", "pbx.example.net")
    encrypted = DEFINITION.replace("[phones.bob]", '[phones.bob]\ntransport = "tls"').replace(
        'role = "caller"', 'role = "caller"\ntransport = "wss"'
    )
    tls = '[sip]\ntls = { certificate = "pbx.crt", key = "pbx.key", port = 5071, wss_port = 8099 }\n'
    (state / "definition/centre.toml").write_text(encrypted + tls)
    text = phones.phones(state)
    assert "bob: TLS, port 5071, SRTP mandatory" in text
    assert "ann: a browser, wss://HOST:8099/ws" in text


def test_secrets_can_be_left_out(state: Path) -> None:
    shown = phones.phones(state)
    hidden = phones.phones(state, show_secrets=False)
    password = next(line.split()[1] for line in shown.splitlines() if line.startswith("bob"))
    eve = next(line.split()[-1] for line in shown.splitlines() if line.startswith("eve"))
    assert password not in hidden
    assert eve not in hidden


def test_no_definition_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--definition"):
        phones.phones(tmp_path)


def test_a_pin_is_hashed_for_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("704219\n"))
    line = phones.ask_pin()
    assert line.startswith('pin = "scrypt$')
    assert pins.verify_pin("704219", line.split('"')[1])


def test_a_weak_pin_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("1234\n"))
    with pytest.raises(pins.PinError, match="in a row"):
        phones.ask_pin()
