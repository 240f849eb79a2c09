"""Certificates of the encrypted transports: whether they can be used, and a self-signed one to try with."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import ssl
import subprocess
from pathlib import Path

CERTIFICATE, KEY = "pbx.crt", "pbx.key"
DAYS = 397
"""No longer: browsers refuse more, and a certificate for a test should not become a fixture."""
LIMIT_S = 30.0
SYSTEM_AUTHORITIES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")


class CertificateError(Exception):
    """No certificate was made; the text says why and what to do."""


def pair_problem(certificate: Path, key: Path) -> tuple[str, str, str] | None:
    """What keeps Asterisk from serving with these: which of the two, what is wrong and what is right."""
    for name, path in (("certificate", certificate), ("key", key)):
        if not path.is_file():
            return name, f"there is no file {path}", "put it there (PEM), or make one: cordboard certificate"
        if not os.access(path, os.R_OK):
            return name, f"{path} can't be read", "make it readable for the user who runs Asterisk"
    if key.stat().st_mode & 0o077:
        return "key", f"others on this machine can read {key}", f"run: chmod 600 {key}"
    if "-----BEGIN CERTIFICATE-----" not in certificate.read_text(errors="replace"):
        return (
            "certificate",
            f"{certificate} holds no certificate",
            "give it in PEM: -----BEGIN CERTIFICATE-----",
        )
    try:
        # An empty password, lest OpenSSL ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return "key", f"{key} is not the key of {certificate}", "name the two that were made together"
        return "key", f"{key} can't be used ({error.reason or error})", "give it in PEM, without a password"
    return None


def authorities(named: Path | None) -> Path | None:
    """The file of authorities that servers are checked against: the one named, else the system's."""
    candidates = (named,) if named is not None else SYSTEM_AUTHORITIES
    return next((path for path in candidates if path.is_file()), None)


def make_self_signed(folder: Path, host: str) -> tuple[Path, Path]:
    """Writes ``pbx.crt`` and ``pbx.key`` (mode 600) for ``host``, a name or an address, into ``folder``.

    Raises ``CertificateError`` if they are there already, the host is none, or there is no ``openssl``.
    """
    certificate, key = folder / CERTIFICATE, folder / KEY
    for path in (certificate, key):
        if path.exists():
            raise CertificateError(f"{path} is there already: move it away for a new one")
    if not folder.is_dir():
        raise CertificateError(f"{folder}: no such folder: name the one that holds the definition")
    kind = _kind_of(host)
    program = shutil.which("openssl")
    if program is None:
        raise CertificateError(
            "openssl is not found: install the package openssl, or bring a certificate of your own as "
            f"{certificate} and {key}"
        )
    # Created first with its mode: there is no instant at which others could read the key.
    os.close(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-days", str(DAYS), "-subj", f"/CN={host}", "-addext", f"subjectAltName={kind}:{host}"]
    words += ["-keyout", str(key), "-out", str(certificate)]
    done = subprocess.run(
        [program, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        key.unlink(missing_ok=True)
        certificate.unlink(missing_ok=True)
        raise CertificateError(f"openssl failed: {done.stderr.strip().splitlines()[-1:]}")
    return certificate, key


def _kind_of(host: str) -> str:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise CertificateError(
                f"{host!r} is no host: name the one that phones are given, such as pbx.example.net"
            ) from None
        return "DNS"
    return "IP"
