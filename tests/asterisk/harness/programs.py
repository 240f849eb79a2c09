"""Where the Asterisk and the SIPp for tests are."""

import os
import shutil
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
