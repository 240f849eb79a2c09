"""`./scripts/up`: a whole call centre on this machine, until Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

from cyclopts import App, Parameter

from ari_app.config import Loaded
from ari_app.deploy.console import DeployError, Progress
from ari_app.deploy.render import Rendered
from ari_app.deploy.stack import CLONE, REPLACED_EXIT_CODE, Replaced, Stack, StackOptions

EXAMPLE = Path(__file__).with_name("example")
OWN_DEFINITION = CLONE / "callcentre"
STOPPED_EXIT_CODE = 0
FAILED_EXIT_CODE = 1

app = App(
    name="./scripts/up",
    help="Starts PostgreSQL (or uses DATABASE_URL), Asterisk and Cordboard; Ctrl-C stops them.",
    help_format="plaintext",
    version_flags=[],
)


class StopAsked(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal, wherever the start or the watch is at that moment."""


@app.default
def up(
    *,
    definition: Annotated[Path | None, Parameter(name="--definition")] = None,
    state_dir: Annotated[Path, Parameter(name="--state-dir")] = CLONE / ".runtime",
    bind: Annotated[str | None, Parameter(name="--bind")] = None,
    sip_port: Annotated[int | None, Parameter(name="--sip-port")] = None,
    http_port: Annotated[int, Parameter(name="--http-port")] = 8088,
    ami_port: Annotated[int, Parameter(name="--ami-port")] = 5038,
    rtp_range: Annotated[str, Parameter(name="--rtp-range")] = "10000-10999",
) -> int:
    """Starts a call centre on this machine.

    Parameters
    ----------
    definition
        Folder of the call centre's TOML files; without it ./callcentre, made from the example.
    state_dir
        Folder for the data, the secrets, the logs and the recordings.
    bind
        Address that phones reach; without it what the definition says.
    sip_port
        Port for SIP; without it what the definition says.
    http_port
        Loopback port of Asterisk's HTTP server, for ARI.
    ami_port
        Loopback port of Asterisk's AMI.
    rtp_range
        UDP ports for sound, first-last.
    """
    progress = Progress()
    stack: Stack | None = None
    try:
        _listen_for_signals()
        options = StackOptions(
            definition=definition or _own_definition(progress),
            state_dir=state_dir,
            sip_bind=bind,
            sip_port=sip_port,
            http_port=http_port,
            ami_port=ami_port,
            rtp_ports=parse_range(rtp_range),
            database_url=os.environ.get("DATABASE_URL") or None,
        )
        stack = Stack(options, progress)
        stack.start()
        _tell(stack, progress)
        stack.watch()
    except StopAsked:
        progress.show("Stopping")
        return STOPPED_EXIT_CODE
    except DeployError as failed:
        sys.stderr.write(f"error: {failed}\n")
        return REPLACED_EXIT_CODE if isinstance(failed, Replaced) else FAILED_EXIT_CODE
    finally:
        _ignore_signals()
        if stack is not None:
            anything = stack.postgres is not None or stack.asterisk is not None
            stack.stop()
            if anything:
                progress.show("Stopped; the data are kept")
    return STOPPED_EXIT_CODE


def parse_range(text: str) -> tuple[int, int]:
    """`10000-10999` as (10000, 10999)."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 1024 <= int(first) < int(last) <= 65535):
        raise DeployError(f"--rtp-range {text}: two ports between 1024 and 65535, such as 10000-10999")
    return int(first), int(last)


def _own_definition(progress: Progress) -> Path:
    if not OWN_DEFINITION.exists():
        coming = OWN_DEFINITION.with_name(".callcentre.coming")
        shutil.rmtree(coming, ignore_errors=True)
        shutil.copytree(EXAMPLE, coming)
        coming.rename(OWN_DEFINITION)
        progress.show(
            f"Made {OWN_DEFINITION} from the example: the call centre's definition, yours to change"
        )
    return OWN_DEFINITION


def _listen_for_signals() -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        # Once is enough: while the parts stop, another Ctrl-C must not leave one of them behind.
        _ignore_signals()
        raise StopAsked

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _tell(stack: Stack, progress: Progress) -> None:
    if stack.loaded is None or stack.rendered is None:
        raise DeployError("the call centre has not been started")
    progress.show("The call centre is up")
    command = f"{CLONE}/.venv/bin/cordboard"
    if stack.state_dir != CLONE / ".runtime":
        command += f" --state-dir {stack.state_dir}"
    lines = [*_phones(stack.loaded, stack.rendered, stack.options.sip_bind), *_numbers(stack.loaded)]
    lines += [
        ("Passwords, PINs", f"{command} phones"),
        ("Live view", f"{command} watch"),
        ("Logs", f"{stack.state_dir}/cordboard.log, {stack.rendered.log_dir}"),
        ("Stop", "Ctrl-C"),
    ]
    sys.stdout.write("\n" + "".join(f"  {name:<17} {text}\n" for name, text in lines) + "\n")
    sys.stdout.flush()


def _phones(loaded: Loaded, rendered: Rendered, bind: str | None) -> list[tuple[str, str]]:
    address = bind or loaded.site.sip.bind
    if address in ("0.0.0.0", "::"):  # noqa: S104  every address: name the one that others see
        address = _own_address()
    lines = [("Register phones", f"server {address}, port {rendered.sip_port}, UDP")]
    for phone in rendered.phones:
        who = f"agent {phone.agent}" if phone.agent else phone.role
        lines.append(("", f"user {phone.name} ({who})"))
    return lines


def _numbers(loaded: Loaded) -> list[tuple[str, str]]:
    codes = loaded.definition.codes
    lines = [("Dial", f"{number} for the flow {flow}") for number, flow in loaded.definition.numbers.items()]
    sign = f"{codes.sign_in} to sign in, {codes.sign_out} to sign out"
    return [*lines, ("Agents dial", f"{sign}, {codes.pause} to pause, {codes.resume} to resume")]


def _own_address() -> str:
    """The address this machine would use to reach others; nothing is sent. Loopback without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: an address for documentation
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


if __name__ == "__main__":
    sys.exit(app())
