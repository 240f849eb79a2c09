"""A small private Asterisk for the ARI and AMI tests: loopback only, ports of its own, killed by pid.

The root with Asterisk's files is `CORDBOARD_TEST_ASTERISK_ROOT` (packages unpacked, run through its own
loader); without it, an installed Asterisk is used. Tests are skipped, with the reason, when there is neither.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SECRET = "ari-test-password"

MODULES = (
    "app_dial",
    "app_echo",
    "app_mixmonitor",
    "app_playback",
    "app_stasis",
    "app_verbose",
    "bridge_builtin_features",
    "bridge_holding",
    "bridge_simple",
    "bridge_softmix",
    "chan_bridge_media",
    "chan_pjsip",
    "codec_alaw",
    "codec_gsm",
    "codec_resample",
    "codec_ulaw",
    "format_gsm",
    "format_pcm",
    "format_sln",
    "format_wav",
    "func_callerid",
    "func_channel",
    "func_logic",
    "func_pjsip_endpoint",
    "func_timeout",
    "pbx_config",
    "res_ari",
    "res_ari_applications",
    "res_ari_asterisk",
    "res_ari_bridges",
    "res_ari_channels",
    "res_ari_endpoints",
    "res_ari_events",
    "res_ari_model",
    "res_ari_playbacks",
    "res_ari_recordings",
    "res_http_websocket",
    "res_musiconhold",
    "res_pjproject",
    "res_pjsip",
    "res_pjsip_endpoint_identifier_user",
    "res_pjsip_pubsub",
    "res_pjsip_sdp_rtp",
    "res_pjsip_session",
    "res_rtp_asterisk",
    "res_sorcery_astdb",
    "res_sorcery_config",
    "res_sorcery_memory",
    "res_stasis",
    "res_stasis_answer",
    "res_stasis_playback",
    "res_stasis_recording",
    "res_stasis_snoop",
    "res_timing_timerfd",
    "res_websocket_client",
)

EXTENSIONS = """
[general]
static=yes
[entry]
exten => s,1,Answer()
 same => n,Stasis(cordboard,in)
 same => n,Wait(30)
exten => echo,1,Answer()
 same => n,Echo()
exten => demo,1,Answer()
 same => n,Playback(demo-instruct)
 same => n,Wait(30)
exten => wait,1,Answer()
 same => n,Wait(60)
"""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def asterisk_root() -> Path:
    """The folder that holds usr/sbin/asterisk; `/` for an installed one."""
    named = os.environ.get("CORDBOARD_TEST_ASTERISK_ROOT")
    if named:
        return Path(named)
    if shutil.which("asterisk") is None:
        pytest.skip("no Asterisk: install it, or set CORDBOARD_TEST_ASTERISK_ROOT to an unpacked copy")
    return Path("/")


def description_dir() -> Path:
    """The ARI description shipped by the Asterisk in use."""
    return asterisk_root() / "usr/share/asterisk/rest-api"


@dataclass
class PrivateAsterisk:
    folder: Path
    root: Path = field(default_factory=asterisk_root)
    http_port: int = field(default_factory=free_port)
    ami_port: int = field(default_factory=free_port)
    sip_port: int = field(default_factory=lambda: free_port(socket.SOCK_DGRAM))
    process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/ari"

    def write(self) -> None:
        etc = self.folder / "etc"
        for name in ("etc", "lib", "db", "spool/recording", "run", "log", "agi"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        library = "x86_64-linux-gnu" if (self.root / "usr/lib/x86_64-linux-gnu").exists() else "*-linux-gnu"
        modules = next((self.root / "usr/lib").glob(f"{library}/asterisk/modules"))
        files = {
            "asterisk.conf": (
                f"[directories]\nastetcdir => {etc}\nastmoddir => {modules}\n"
                f"astvarlibdir => {self.folder}/lib\nastdbdir => {self.folder}/db\n"
                f"astkeydir => {self.folder}/lib\nastdatadir => {self.root}/usr/share/asterisk\n"
                f"astagidir => {self.folder}/agi\nastspooldir => {self.folder}/spool\n"
                f"astrundir => {self.folder}/run\nastlogdir => {self.folder}/log\n"
                "[options]\nverbose = 0\ndefaultlanguage = en_US_f_Allison\n"
            ),
            "modules.conf": "[modules]\nautoload = no\n" + "".join(f"load = {m}.so\n" for m in MODULES),
            "logger.conf": "[general]\n[logfiles]\nmessages => notice,warning,error\n",
            "http.conf": f"[general]\nenabled = yes\nbindaddr = 127.0.0.1\nbindport = {self.http_port}\n",
            "ari.conf": (
                "[general]\nenabled = yes\nwebsocket_write_timeout = 1000\n"
                f"[tester]\ntype = user\npassword = {SECRET}\n"
            ),
            "manager.conf": (
                f"[general]\nenabled = yes\nbindaddr = 127.0.0.1\nport = {self.ami_port}\n"
                f"[tester]\nsecret = {SECRET}\nread = all\nwrite = all\n"
            ),
            "extensions.conf": EXTENSIONS,
            "musiconhold.conf": f"[default]\nmode = files\ndirectory = {self.root}/usr/share/asterisk/moh\n",
            "rtp.conf": "[general]\n",
            "pjsip.conf": (
                f"[udp]\ntype = transport\nprotocol = udp\nbind = 127.0.0.1:{self.sip_port}\n"
                "[alice]\ntype = endpoint\ncontext = entry\ndisallow = all\nallow = ulaw\naors = alice\n"
                "[alice]\ntype = aor\nmax_contacts = 1\n"
            ),
        }
        for name, text in files.items():
            (etc / name).write_text(text)

    def command(self) -> list[str]:
        program = str(self.root / "usr/sbin/asterisk")
        options = ["-f", "-C", str(self.folder / "etc/asterisk.conf")]
        if self.root == Path("/"):
            return [program, *options]
        loader = next(
            path for name in ("usr/lib64", "lib64") for path in (self.root / name).glob("ld-linux-*.so.*")
        )
        libraries = ":".join(str(path) for path in (self.root / "usr/lib").glob("*-linux-gnu"))
        return [str(loader), "--library-path", libraries, program, *options]

    def start(self) -> None:
        """Start, and wait until HTTP and AMI accept connections."""
        self.write()
        with (self.folder / "log" / "console").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not all(map(accepts, (self.http_port, self.ami_port))):
            if self.process.poll() is not None or time.monotonic() > deadline:
                log_text = (self.folder / "log" / "console").read_text(errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"Asterisk did not start: {log_text}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a crash does (SIGKILL)."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


def accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
