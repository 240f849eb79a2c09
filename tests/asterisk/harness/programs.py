"""Where the Asterisk and the SIPp for tests are."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from ari_app.deploy.asterisk import AsteriskProgram, find_asterisk, private_program
from ari_app.deploy.console import Progress
from ari_app.deploy.debian import ASTERISK, TEST_PHONES, PrivateApt, Unpacked

ROOT_VARIABLE: Final = "CORDBOARD_TEST_ASTERISK_ROOT"
"""A folder with unpacked packages (Asterisk, SIPp) to be used instead of the repository's `.runtime/`."""

RUNTIME: Final = Path(__file__).parents[3] / ".runtime"
REMEDY: Final = f"run ./scripts/test, which fetches it, or set {ROOT_VARIABLE} to unpacked packages"


def asterisk_program() -> AsteriskProgram:
    """The Asterisk to test with; the test is skipped, with the remedy, when there is none."""
    if named := os.environ.get(ROOT_VARIABLE):
        return private_program(Unpacked(Path(named), {"asterisk": "22.10.1"}))
    if unpacked := PrivateApt(RUNTIME, Progress()).unpacked(ASTERISK):
        return private_program(unpacked)
    if shutil.which("asterisk"):
        return find_asterisk(PrivateApt(RUNTIME, Progress()), Progress())
    pytest.skip(f"no Asterisk: {REMEDY}")


def sipp_command() -> tuple[str, ...]:
    """The words that start SIPp; the test is skipped, with the remedy, when there is none."""
    if named := os.environ.get(ROOT_VARIABLE):
        return Unpacked(Path(named), {}).program("usr/bin/sipp")
    if unpacked := PrivateApt(RUNTIME, Progress()).unpacked(TEST_PHONES):
        return unpacked.program("usr/bin/sipp")
    if installed := shutil.which("sipp"):
        return (installed,)
    pytest.skip(f"no SIPp: {REMEDY}, or install the package sip-tester")


def baresip_command() -> tuple[str, ...]:
    """The words that start baresip; the test is skipped, with the remedy, when there is none."""
    for unpacked in _phones():
        if (unpacked.root / "usr/bin/baresip").exists():
            return unpacked.program("usr/bin/baresip")
    if installed := shutil.which("baresip"):
        return (installed,)
    pytest.skip(f"no baresip: {REMEDY}, or install the package baresip-core")


def baresip_modules() -> Path:
    """The folder of baresip's modules; after ``baresip_command`` there is one."""
    tops = [unpacked.root for unpacked in _phones()] + [Path("/")]
    found = [folder for top in tops for folder in sorted((top / "usr/lib").glob("**/baresip/modules"))]
    return found[0]


def _phones() -> Iterator[Unpacked]:
    if named := os.environ.get(ROOT_VARIABLE):
        yield Unpacked(Path(named), {})
    if unpacked := PrivateApt(RUNTIME, Progress()).unpacked(TEST_PHONES):
        yield unpacked


def browser_command() -> str:
    """A Chromium; the test is skipped, with the remedy, when there is none."""
    for name in ("chromium-headless-shell", "chromium", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no browser: as root, apt-get install chromium-headless-shell")
