"""A small private Asterisk for the ARI and AMI tests: loopback only, ports of its own, one plain user."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path

from ari_app.deploy.asterisk import AsteriskProgram, AsteriskServer
from ari_app.deploy.ports import free_port
from tests.asterisk.harness.programs import asterisk_program

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


def description_dir() -> Path:
    """The ARI description shipped by the Asterisk in use."""
    return asterisk_program().data_dir / "rest-api"


@dataclass
class PrivateAsterisk:
    folder: Path
    program: AsteriskProgram = field(default_factory=asterisk_program)
    http_port: int = field(default_factory=lambda: free_port("tcp"))
    ami_port: int = field(default_factory=lambda: free_port("tcp"))
    sip_port: int = field(default_factory=lambda: free_port("udp"))
    server: AsteriskServer | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/ari"

    def write(self) -> None:
        etc = self.folder / "etc"
        for name in ("etc", "lib", "db", "spool/recording", "run", "log", "agi"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        files = {
            "asterisk.conf": (
                f"[directories]\nastetcdir => {etc}\nastmoddir => {self.program.module_dir}\n"
                f"astvarlibdir => {self.folder}/lib\nastdbdir => {self.folder}/db\n"
                f"astkeydir => {self.folder}/lib\nastdatadir => {self.program.data_dir}\n"
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
            "musiconhold.conf": f"[default]\nmode = files\ndirectory = {self.program.data_dir}/moh\n",
            "rtp.conf": "[general]\n",
            "pjsip.conf": (
                f"[udp]\ntype = transport\nprotocol = udp\nbind = 127.0.0.1:{self.sip_port}\n"
                "[alice]\ntype = endpoint\ncontext = entry\ndisallow = all\nallow = ulaw\naors = alice\n"
                "[alice]\ntype = aor\nmax_contacts = 1\n"
            ),
        }
        for name, text in files.items():
            (etc / name).write_text(text)

    def start(self) -> None:
        """Start, and wait until it is fully booted."""
        self.write()
        self.server = AsteriskServer(self.program, self.folder / "etc", die_with_parent=True)
        self.server.start()

    def kill(self) -> None:
        """End it as a crash does (SIGKILL)."""
        if self.server is not None and self.server.running:
            self.server.kill()

    def freeze(self) -> None:
        assert self.server is not None
        self.server.send(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.server is not None
        self.server.send(signal.SIGCONT)
