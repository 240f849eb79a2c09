"""`[sip] tls`, encrypted phones and trunks: what is wrong is told with its place; and the certificates."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from ari_app import certificates
from ari_app.certificates import CertificateError, make_self_signed
from ari_app.config import DefinitionErrors, Problem, load
from ari_app.site import Phone, Tls

DEFINITION = """\
[numbers]
"100" = "main"
[flows.main]
start = "end"
[flows.main.nodes.end]
kind = "hangup"
[sip]
tls = { certificate = "pbx.crt", key = "pbx.key" }
[phones.desk]
role = "caller"
transport = "tls"
[phones.browser]
role = "caller"
transport = "wss"
"""
TLS = 'tls = { certificate = "pbx.crt", key = "pbx.key" }'
TRUNK = '[trunks.p]\nserver = "sip.example.net"\nnumbers = ["100"]\n'


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    make_self_signed(folder, "pbx.example.net")
    return folder


@pytest.fixture
def folder(tmp_path: Path, pair: Path) -> Path:
    for name in ("pbx.crt", "pbx.key"):
        shutil.copy(pair / name, tmp_path / name)
    return tmp_path


def problem(folder: Path, text: str) -> Problem:
    (folder / "centre.toml").write_text(text)
    with pytest.raises(DefinitionErrors) as raised:
        load(folder)
    assert len(raised.value.problems) == 1, str(raised.value)
    return raised.value.problems[0]


def warnings(folder: Path, text: str) -> list[str]:
    elsewhere = "" if "[trunks." in text else "[dialling]\nemergency = []\n"
    (folder / "centre.toml").write_text(f"{text}\n{elsewhere}")
    return [warning.key for warning in load(folder).warnings]


def test_phones_are_encrypted_as_their_transport_needs(folder: Path) -> None:
    assert warnings(folder, DEFINITION) == []
    site = load(folder).site
    assert {name: phone.encryption for name, phone in site.phones.items()} == {
        "desk": "sdes",
        "browser": "dtls",
    }
    assert site.transports == ("udp", "tcp", "tls", "wss")
    assert Phone().encryption == "no"
    assert set(Tls.__struct_fields__) <= set(
        (Path(__file__).parents[2] / "docs/definition.md")
        .read_text()
        .replace("`", " ")
        .replace(",", " ")
        .split()
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [
        (TLS, "", 11, "phones.desk.transport", "needs a certificate"),
        ("pbx.crt", "none.crt", 8, "sip.tls.certificate", "no file"),
        ("pbx.key", "pbx.crt", 8, "sip.tls.key", "chmod 600"),
        ("pbx.crt", "centre.toml", 8, "sip.tls.certificate", "holds no certificate"),
        ("pbx.crt", "pbx;.crt", 8, "sip.tls.certificate", "can't stand"),
        ('"pbx.key" }', '"pbx.key", wss_prot = 1 }', 8, "sip.tls.wss_prot", 'did you mean "wss_port"'),
        (', key = "pbx.key"', "", 8, "sip.tls.key", "is missing"),
        (TLS, "tls = true", 8, "sip.tls", "wrong type"),
        ('"pbx.key" }', '"pbx.key", port = 70000 }', 8, "sip.tls.port", "65535"),
        ('"pbx.key" }', '"pbx.key", port = 5060 }', 8, "sip.tls.port", "without TLS"),
        ('"pbx.key" }', '"pbx.key", wss_port = 5061 }', 8, "sip.tls.wss_port", "over TLS too"),
        ('"tls"', '"ssl"', 11, "phones.desk.transport", "there are: tcp, tls, udp, wss"),
        ('"wss"', '"wss"\nmedia_encryption = "sdes"', 15, "phones.browser.media_encryption", "DTLS-SRTP"),
        ('"wss"', '"wss"\ncodecs = ["gsm"]', 15, "phones.browser.codecs", "browsers"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    folder: Path, old: str, new: str, line: int, key: str, words: str
) -> None:
    text = DEFINITION.replace(old, new)
    if new == "":
        text = text.replace('transport = "wss"', "")
    found = problem(folder, text)
    assert (found.line, found.key) == (line, key), found
    assert words in str(found)


def test_a_trunk_with_tls_needs_a_certificate_and_authorities(folder: Path) -> None:
    trunk = f'{TRUNK}transport = "tls"\n'
    bare = DEFINITION.replace(TLS, "").replace('"tls"', '"udp"').replace('"wss"', '"udp"')
    assert problem(folder, bare + trunk).key == "trunks.p.transport"
    found = problem(folder, DEFINITION.replace('"pbx.key" }', '"pbx.key", ca = "none.pem" }') + trunk)
    assert found.key == "sip.tls.ca"
    (folder / "centre.toml").write_text(
        DEFINITION.replace('"pbx.key" }', '"pbx.key", ca = "pbx.crt" }') + trunk
    )
    loaded = load(folder).site.trunks["p"]
    assert (loaded.server_port, loaded.encryption) == (5061, "sdes")


def test_keys_that_travel_in_the_clear_are_warned_of(folder: Path) -> None:
    plain = DEFINITION.replace('"tls"', '"udp"\nmedia_encryption = "sdes"')
    assert warnings(folder, plain) == ["phones.desk.media_encryption"]
    assert warnings(folder, f'{DEFINITION}{TRUNK}media_encryption = "sdes"\n') == [
        "trunks.p.media_encryption"
    ]


def test_browsers_behind_a_nat_need_the_inner_address(folder: Path) -> None:
    nat = TLS + '\nexternal_address = "198.51.100.7"\nlocal_nets = ["10.0.0.0/8"]'
    assert warnings(folder, DEFINITION.replace(TLS, nat)) == ["sip.bind"]
    assert warnings(folder, DEFINITION.replace(TLS, nat + '\nbind = "10.0.0.5"')) == []


def test_a_key_of_another_certificate_and_one_with_a_password_are_refused(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    make_self_signed(other, "192.0.2.7")
    (other / "pbx.key").rename(folder / "other.key")
    assert "not the key of" in str(problem(folder, DEFINITION.replace("pbx.key", "other.key")))
    locked = folder / "locked.key"
    subprocess.run(
        ["openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", folder / "pbx.key", "-out", locked],
        check=True,
        capture_output=True,
    )
    locked.chmod(0o600)
    assert "without a password" in str(problem(folder, DEFINITION.replace("pbx.key", "locked.key")))


def test_a_self_signed_pair_is_for_its_host_and_for_its_owner(pair: Path) -> None:
    assert (pair / "pbx.key").stat().st_mode & 0o777 == 0o600
    context = ssl.create_default_context(cafile=pair / "pbx.crt")
    assert context.get_ca_certs()[0]["subjectAltName"] == (("DNS", "pbx.example.net"),)
    assert certificates.pair_problem(pair / "pbx.crt", pair / "pbx.key") is None


def test_a_pair_is_not_overwritten_and_its_host_must_be_one(pair: Path, tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="already"):
        make_self_signed(pair, "pbx.example.net")
    with pytest.raises(CertificateError, match="no host"):
        make_self_signed(tmp_path, "pbx/CN=evil")
    with pytest.raises(CertificateError, match="no such folder"):
        make_self_signed(tmp_path / "nowhere", "pbx.example.net")
    assert list(tmp_path.iterdir()) == []


def test_without_openssl_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CertificateError, match="install the package openssl"):
        make_self_signed(tmp_path, "pbx.example.net")
    assert list(tmp_path.iterdir()) == []
