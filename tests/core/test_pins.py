"""PINs and the secrets file: what is kept, how it is checked, and who may read it."""

import os
import re
import time
from pathlib import Path

import pytest

from ari_app.pins import PinBook, PinError, check_strength, generate_pin, hash_pin, verify_pin
from ari_app.secrets_file import Secrets, SecretsError
from ari_app.site import Phone, Site

SITE = Site(phones={"bob": Phone(), "ann": Phone(role="caller")}, pins={"cy": hash_pin("471147")})
AGENTS = ("bob", "cy")


@pytest.mark.parametrize(
    "weak", ["", "123", "0000", "1234", "4321", "9012", "999999", "12a4", "１２７９", "4" * 13]
)
def test_weak_pins_are_refused_with_a_reason(weak: str) -> None:
    with pytest.raises(PinError, match="PIN"):
        hash_pin(weak)


@pytest.mark.parametrize("good", ["4711", "1233", "1357", "902817365548"])
def test_good_pins_are_kept_hashed_and_known_again(good: str) -> None:
    hashed = hash_pin(good)
    assert re.fullmatch(r"scrypt\$16384\$8\$1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}", hashed)
    assert verify_pin(good, hashed)
    assert not verify_pin(good + "0", hashed)
    assert not verify_pin("", hashed)
    assert hash_pin(good) != hashed  # a salt of its own


@pytest.mark.parametrize(
    "text",
    [
        "4711",
        "scrypt$16384$8$1$abc",
        "scrypt$1$8$1$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43,
        "scrypt$1048576$8$1$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43,
        "scrypt$16384$8$1$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 42,
    ],
)
def test_what_is_no_hashed_pin_is_refused_before_any_work(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(PinError, match="cordboard pin"):
        verify_pin("4711", text)
    assert time.perf_counter() - started < 0.02


def test_generated_pins_are_strong_and_differ() -> None:
    generated = {generate_pin() for _ in range(50)}
    assert len(generated) > 45
    for pin in generated:
        assert len(pin) == 6
        check_strength(pin)


def test_the_book_knows_hashed_and_generated_pins_and_nobody_else() -> None:
    book = PinBook(SITE.pins, {"bob": "815093", "cy": "000111"})
    assert book.check("cy", "471147")
    assert not book.check("cy", "000111")  # the definition's PIN replaces a generated one
    assert book.check("bob", "815093")
    assert not book.check("bob", "815094")
    assert not book.check("eve", "471147")
    assert "815093" not in repr(book)


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "state/secrets.toml"
    first = Secrets.load_or_create(path, SITE, AGENTS)
    assert path.stat().st_mode & 0o777 == 0o600
    assert set(first.phones) == {"bob", "ann"}
    assert set(first.pins) == {"bob"}  # cy's stands hashed in the definition
    values = [*first.phones.values(), first.ari_password, first.ami_password]
    assert len(set(values)) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9]{24}", value) for value in values)

    text = path.read_text()
    assert Secrets.load_or_create(path, SITE, AGENTS) == first
    assert path.read_text() == text
    assert not any(value in repr(first) for value in values)


def test_what_is_missing_is_added_and_what_is_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "secrets.toml"
    first = Secrets.load_or_create(path, SITE, AGENTS)
    more = Site(phones={**SITE.phones, "dan": Phone()}, pins=SITE.pins)
    second = Secrets.load_or_create(path, more, (*AGENTS, "dan"))
    assert {name: second.phones[name] for name in first.phones} == first.phones
    assert second.pins["bob"] == first.pins["bob"]
    assert second.pins["dan"] != first.pins["bob"]
    # Somebody who left for a while finds their password as it was.
    Secrets.load_or_create(path, Site(), ())
    assert Secrets.load_or_create(path, more, (*AGENTS, "dan")) == second


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secrets.toml"
    Secrets.load_or_create(path, SITE, AGENTS)
    path.chmod(mode)
    with pytest.raises(SecretsError, match=f"chmod 600 {re.escape(str(path))}"):
        Secrets.load_or_create(path, SITE, AGENTS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ari\n", "not TOML"),
        ("ari = 3\n", "must be a table"),
        ("[phones]\nbob = 3\n", "must be a table"),
        ('[ari]\npassword = "short"\n', "ari.password"),
        ('[phones.bob]\nsecret = "has;semicolon"\n', "phones.bob.secret"),
        ('[agents.bob]\npin = "12x4"\n', "agents.bob.pin"),
    ],
)
def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "secrets.toml"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(SecretsError, match=said) as raised:
        Secrets.load_or_create(path, SITE, AGENTS)
    assert str(path) in str(raised.value)
    assert path.read_text() == text
    assert "semicolon" not in str(raised.value)


def test_no_half_written_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        Secrets.load_or_create(tmp_path / "secrets.toml", SITE, AGENTS)
    assert list(tmp_path.iterdir()) == []
