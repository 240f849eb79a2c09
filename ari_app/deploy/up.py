"""`./scripts/up`: a whole call centre on this machine, until Ctrl-C."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from ari_app.config import Loaded
from ari_app.deploy import signals
from ari_app.deploy.configure import LOOPBACK
from ari_app.deploy.console import DeployError, Progress
from ari_app.deploy.ports import free_port
from ari_app.deploy.render import Rendered
from ari_app.deploy.stack import CLONE, REPLACED_EXIT_CODE, Replaced, Stack, StackOptions

if TYPE_CHECKING:
    from ari_app.deploy.demo import Demo

EXAMPLE = Path(__file__).with_name("example")
OWN_DEFINITION = CLONE / "callcentre"
DEMO_DEFINITION = Path(__file__).with_name("demo")
DEMO_STATE_DIR = CLONE / ".runtime" / "demo"
STOPPED_EXIT_CODE = 0
FAILED_EXIT_CODE = 1
API_PORT, AGI_PORT = 8090, 4573
"""4573 is what Asterisk takes for agi:// without a port."""

app = App(
    name="./scripts/up",
    help="Starts PostgreSQL (or uses DATABASE_URL), Asterisk and Cordboard; Ctrl-C stops them.",
    help_format="plaintext",
    version_flags=[],
)


@Parameter(name="*")  # its fields are the options
@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asks for.

    Parameters
    ----------
    demo
        Instead of a call centre of your own, one with simulated callers and agents, and the live view of it.
    definition
        Folder of the call centre's TOML files; without it ./callcentre, made from the example.
    state_dir
        Folder for data, secrets, logs and recordings; without it .runtime, or .runtime/demo for the demo.
    bind
        Address that phones reach; without it what the definition says.
    sip_port
        Port for SIP; without it what the definition says.
    http_port
        Loopback port of Asterisk's HTTP server, for ARI.
    ami_port
        Loopback port of Asterisk's AMI.
    api_port
        Loopback port of Cordboard's HTTP API; without it 8090, or a free one if that is taken; 0 = off.
    agi_port
        Loopback port for dialplans that ask; without it 4573, or a free one if that is taken; 0 = off.
    rtp_range
        UDP ports for sound, first-last.
    seed
        Of the demo: another number, other callers.
    minutes
        Of the demo: when it ends by itself, 1 to 120.
    """

    demo: Annotated[bool, Parameter(negative="")] = False
    definition: Path | None = None
    state_dir: Path | None = None
    bind: str | None = None
    sip_port: int | None = None
    http_port: int = 8088
    ami_port: int = 5038
    api_port: int | None = None
    agi_port: int | None = None
    rtp_range: str = "10000-10999"
    seed: int = 345
    minutes: int = 120

    def options(self, progress: Progress) -> StackOptions:
        """The same for the stack.

        Raises:
            DeployError: options that exclude each other, or ports that are none.
        """
        if self.demo and self.definition:
            raise DeployError("--demo has a definition of its own: leave --definition out, or --demo")
        return StackOptions(
            definition=DEMO_DEFINITION if self.demo else self.definition or _own_definition(progress),
            state_dir=self.state_dir or (DEMO_STATE_DIR if self.demo else CLONE / ".runtime"),
            sip_bind=self.bind,
            sip_port=self.sip_port,
            http_port=self.http_port,
            ami_port=self.ami_port,
            api_port=_or_free(self.api_port, API_PORT),
            agi_port=_or_free(self.agi_port, AGI_PORT),
            rtp_ports=parse_range(self.rtp_range),
            database_url=os.environ.get("DATABASE_URL") or None,
        )


@app.default
def up(asked: Asked = Asked()) -> int:
    """Starts a call centre on this machine."""
    progress = Progress()
    running: _Centre | Demo | None = None
    try:
        signals.listen()
        options = asked.options(progress)
        running = _demo(options, asked.seed, asked.minutes) if asked.demo else _Centre(options, progress)
        running.run()
    except signals.StopAsked:
        progress.show("Stopping")
        return STOPPED_EXIT_CODE
    except DeployError as failed:
        sys.stderr.write(f"error: {failed}\n")
        return REPLACED_EXIT_CODE if isinstance(failed, Replaced) else FAILED_EXIT_CODE
    finally:
        signals.ignore()
        if running is not None:
            running.stop()
    return STOPPED_EXIT_CODE


class _Centre:
    """The call centre of somebody's own."""

    def __init__(self, options: StackOptions, progress: Progress) -> None:
        self._progress = progress
        self._stack = Stack(options, progress)

    def run(self) -> None:
        self._stack.start()
        _tell(self._stack, self._progress)
        self._stack.watch()

    def stop(self) -> None:
        anything = self._stack.postgres is not None or self._stack.asterisk is not None
        self._stack.stop()
        if anything:
            self._progress.show("Stopped; the data are kept")


def _demo(options: StackOptions, seed: int, minutes: int) -> Demo:
    # Who starts a call centre of their own need not wait for what only the demo imports.
    from ari_app.deploy.demo import Demo, demo_options

    return Demo(demo_options(options), seed=seed, minutes=minutes)


def _or_free(asked: int | None, usual: int) -> int:
    """What was asked for, else the usual port, else a free one: no other program need be stopped for it."""
    if asked is not None:
        return asked
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, usual))
            probe.listen(1)
        except OSError:
            return free_port()
    return usual


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


def _tell(stack: Stack, progress: Progress) -> None:
    if stack.loaded is None or stack.rendered is None:
        raise DeployError("the call centre has not been started")
    progress.show("The call centre is up")
    command = f"{CLONE}/.venv/bin/cordboard"
    # An option of each command, so behind its words.
    where = "" if stack.state_dir == CLONE / ".runtime" else f" --state-dir {stack.state_dir}"
    lines = [*_phones(stack.loaded, stack.rendered, stack.options.sip_bind), *_numbers(stack.loaded)]
    lines += [
        ("Passwords, PINs", f"{command} phones{where}"),
        ("Live view", f"{command} watch{where}"),
        *_doors(stack.options, command, where),
        ("Logs", f"{stack.state_dir}/cordboard.log, {stack.rendered.log_dir}"),
        ("Stop", "Ctrl-C"),
    ]
    sys.stdout.write("\n" + "".join(f"  {name:<17} {text}\n" for name, text in lines) + "\n")
    sys.stdout.flush()


def _doors(options: StackOptions, command: str, where: str) -> list[tuple[str, str]]:
    lines = []
    if options.api_port:
        how = f"token: {command} tokens add NAME --role reader{where}"
        lines.append(
            ("Wallboard", f"http://{LOOPBACK}:{options.api_port}/wallboard (with a token of the API's)")
        )
        lines.append(("HTTP API", f"http://{LOOPBACK}:{options.api_port}/openapi.json ({how})"))
    if options.agi_port:
        lines.append(("AGI", f"agi://{LOOPBACK}:{options.agi_port}/queue-status?queue=NAME"))
    return lines


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
