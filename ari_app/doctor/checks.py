"""All checks by name, in the order in which one fault explains the next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import msgspec

from ari_app.doctor import asterisk, books, calls, machine
from ari_app.doctor.findings import Diagnosis, Finding, diagnose
from ari_app.doctor.place import Place

Check = Callable[[Place], Finding]

CHECKS: Mapping[str, Check] = {
    "definition": books.definition,
    "secrets": books.secrets,
    "ari": asterisk.ari,
    "ari-private": asterisk.ari_private,
    "version": asterisk.version,
    "modules": asterisk.modules,
    "configuration": asterisk.rendered,
    "loaded": asterisk.loaded,
    "live-dangerously": asterisk.live_dangerously,
    "ami": asterisk.ami,
    "ami-private": asterisk.ami_private,
    "transports": asterisk.transports,
    "nat": asterisk.nat,
    "rtp": machine.rtp,
    "firewall": machine.firewall,
    "host-name": machine.host_name,
    "phones": asterisk.phones,
    "trunks": asterisk.trunks,
    "open-files": asterisk.open_files,
    "disk": machine.disk,
    "clock": machine.clock,
    "postgres": books.postgres,
    "migrations": books.schema,
    "journal": books.journal,
    "shipping": books.lag,
    "cordboard": calls.cordboard,
    "in-force": calls.in_force,
    "test-call": calls.test_call,
}


def examine(place: Place, only: Collection[str] = (), skip: Collection[str] = ()) -> Diagnosis:
    """Run the checks (all, or those of ``only``) but for those of ``skip``.

    A check that itself breaks is a failure with its error: a doctor who faints is no good news.
    """
    return diagnose([_run(place, name) for name in CHECKS if name not in skip and (not only or name in only)])


def _run(place: Place, name: str) -> Finding:
    try:
        found = CHECKS[name](place)
    except Exception as error:
        said = f"this check broke: {type(error).__name__}: {error}"
        found = Finding("", "failure", said, "please report it, with this line")
    return msgspec.structs.replace(found, check=name)
