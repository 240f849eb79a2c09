"""``cordboard certificate``: a self-signed certificate, to try encrypted phones with."""

from __future__ import annotations

from pathlib import Path

from ari_app.certificates import CERTIFICATE, DAYS, KEY, make_self_signed


def certificate(folder: Path, host: str) -> str:
    """Makes the pair in the definition's folder; what to write and do next, as text.

    Raises:
        CertificateError: it is there already, ``host`` is none, or there is no ``openssl``.
    """
    made, key = make_self_signed(folder, host)
    return (
        f"{made} and {key} are made, for {host}, for {DAYS} days.\n"
        f'Write into [sip]: tls = {{ certificate = "{CERTIFICATE}", key = "{KEY}" }}\n'
        f"Phones must be told to trust {CERTIFICATE} (never give anyone {KEY}). For daily use "
        "take a certificate from an authority that phones and browsers know.\n"
    )
