"""The commands of ``cordboard``, with options and help. A plain ``run`` is read by :mod:`.starting`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from ari_app.starting import STATE_DIR, STATE_DIR_VARIABLE, RunOptions, start
from ari_app.version import VERSION

app = App(
    name="cordboard",
    help="A call centre for Asterisk: survives its own death, explains every decision, traces every number.",
    version=VERSION,
    version_flags=["--version"],
)

StateDir = Annotated[Path, Parameter(name="--state-dir", env_var=STATE_DIR_VARIABLE)]
Format = Literal["table", "csv", "json"]


@app.command
def run(
    *,
    definition: Path | None = None,
    state_dir: StateDir = STATE_DIR,
    secrets: Path | None = None,
    recordings: Path | None = None,
    ari_url: str | None = None,
    ami_port: int | None = None,
    http: str | None = None,
    agi: str | None = None,
    json_logs: bool | None = None,
    debug: bool = False,
) -> int:
    """Run the call centre against an Asterisk that is configured for it.

    Example: cordboard run --definition ./callcentre --state-dir /var/lib/cordboard

    Parameters
    ----------
    definition: folder of the definition's TOML files
    state_dir: where the journal, the secrets and the control socket live
    secrets: the secrets file; STATE_DIR/secrets.toml if not given
    recordings: where Asterisk writes recordings (an absolute path that both can write to)
    ari_url: where ARI answers, e.g. http://127.0.0.1:8088/ari
    ami_port: where AMI answers on loopback
    http: HOST:PORT for the HTTP API, e.g. 127.0.0.1:8090; off if not given (docs/api.md)
    agi: HOST:PORT for dialplans that ask over FastAGI, e.g. 127.0.0.1:4573; off if not given (docs/agi.md)
    json_logs: logs as JSON; if not given, JSON unless stderr is a terminal
    debug: log more
    """
    return start(
        RunOptions(
            definition=definition,
            state_dir=state_dir,
            secrets=secrets,
            recordings=recordings,
            ari_url=ari_url,
            ami_port=ami_port,
            http=http,
            agi=agi,
            json_logs=json_logs,
            debug=debug,
        )
    )


@app.command
def call(call_id: str, *, format: Literal["table", "json"] = "table", state_dir: StateDir = STATE_DIR) -> int:
    """One call's whole story: events, decisions with reasons, segments, recording.

    Example: cordboard call t5rn2c01k-17
    """
    from ari_app.cli import reports as cli

    sys.stdout.write(cli.call(state_dir, call_id, format))
    return 0


@app.command
def why(call_id: str = "", *, agent: str = "", full: bool = False, state_dir: StateDir = STATE_DIR) -> int:
    """Why a caller still waits or was offered to whom; with --agent, why that agent has no call.

    Example: cordboard why t5rn2c01k-17

    Parameters
    ----------
    agent: an agent's name, instead of a call
    full: decide again from the journal, and list everybody who was considered
    """
    from ari_app.cli import why as cli

    sys.stdout.write(cli.why(state_dir, call_id, agent, full=full))
    return 0


report = App(name="report", help="Figures from PostgreSQL, by the definitions of docs/metrics.md.")
app.command(report)


@report.command(name="calls")
def report_calls(
    *, since: str = "today", until: str = "", format: Format = "table", state_dir: StateDir = STATE_DIR
) -> int:
    """Every call of a time range. Example: cordboard report calls --since 2h --format csv

    Parameters
    ----------
    since: today, yesterday, 2h, 7d, a date or an ISO 8601 instant
    until: the end of the range (a date: its end); now if not given
    format: table, csv or json
    """
    from ari_app.cli import reports as cli

    sys.stdout.write(cli.calls(state_dir, since, until, format))
    return 0


@report.command(name="voicemails")
def report_voicemails(
    *, since: str = "7d", until: str = "", format: Format = "table", state_dir: StateDir = STATE_DIR
) -> int:
    """Messages that callers have left, with their files. Example: cordboard report voicemails --since 2d

    Parameters
    ----------
    since: today, yesterday, 2h, 7d, a date or an ISO 8601 instant
    until: the end of the range (a date: its end); now if not given
    format: table, csv or json
    """
    from ari_app.cli import reports as cli

    sys.stdout.write(cli.voicemails(state_dir, since, until, format))
    return 0


@report.command(name="queues")
def report_queues(
    *,
    since: str = "today",
    until: str = "",
    by: Literal["15m", "hour", "day"] | None = None,
    format: Format = "table",
    state_dir: StateDir = STATE_DIR,
) -> int:
    """Queues: offered, answered, abandoned, service level, ASA, AHT.

    Example: cordboard report queues --since yesterday --by hour

    Parameters
    ----------
    since: today, yesterday, 2h, 7d, a date or an ISO 8601 instant
    until: the end of the range (a date: its end); now if not given
    by: a line for each quarter of an hour, hour or day
    format: table, csv or json
    """
    from ari_app.cli import reports as cli

    sys.stdout.write(cli.queues(state_dir, since, until, format, by))
    return 0


@report.command(name="agents")
def report_agents(
    *, since: str = "today", until: str = "", format: Format = "table", state_dir: StateDir = STATE_DIR
) -> int:
    """Agents: calls handled and missed, time by state, occupancy, utilisation, AHT.

    Example: cordboard report agents --since 7d

    Parameters
    ----------
    since: today, yesterday, 2h, 7d, a date or an ISO 8601 instant
    until: the end of the range (a date: its end); now if not given
    format: table, csv or json
    """
    from ari_app.cli import reports as cli

    sys.stdout.write(cli.agents(state_dir, since, until, format))
    return 0


agents = App(name="agents", help="Who is there; sign agents in and out, pause, resume, unlock their PIN.")
app.command(agents)


@agents.default
@agents.command(name="list")
def agents_list(*, format: Format = "table", state_dir: StateDir = STATE_DIR) -> int:
    """All agents with their states. Example: cordboard agents"""
    from ari_app.cli import agents as cli
    from ari_app.settings import control_path

    sys.stdout.write(cli.agents_list(control_path(state_dir), format))
    return 0


def _agent_command(action: str, doc: str) -> None:
    def act(agent: str, *, reason: str = "", state_dir: StateDir = STATE_DIR) -> int:
        from ari_app.cli import agents as cli
        from ari_app.settings import control_path

        print(cli.agents_act(control_path(state_dir), agent, action, reason))
        return 0

    act.__doc__ = doc
    agents.command(act, name=action.replace("_", "-"))


_agent_command("sign_in", "Sign an agent in. Example: cordboard agents sign-in bob")
_agent_command(
    "sign_out",
    "Sign an agent out, after the present call if there is one. Example: cordboard agents sign-out bob",
)
_agent_command("pause", "Pause an agent. Example: cordboard agents pause bob --reason lunch")
_agent_command("resume", "Make a paused or not responding agent ready. Example: cordboard agents resume bob")
_agent_command(
    "wrap_up",
    "Ask for a wrap-up after the present call, or for more. Example: cordboard agents wrap-up bob",
)
_agent_command(
    "unlock", "Unlock an agent's PIN after too many wrong ones. Example: cordboard agents unlock bob"
)


tokens = App(name="tokens", help="Who may use the HTTP API: add, list and revoke tokens.")
app.command(tokens)


@tokens.command(name="add")
def tokens_add(
    name: str, *, role: str, agent: str = "", expires: str = "", state_dir: StateDir = STATE_DIR
) -> int:
    """Make a token and print it, once. Example: cordboard tokens add wallboard --role reader

    Parameters
    ----------
    name: what it is for; lists and the journal show it
    role: agent, supervisor, admin or reader (docs/api.md)
    agent: whose token it is; for role agent
    expires: when it ends by itself, e.g. 12h or 30d; never if not given
    """
    from ari_app.cli import tokens as cli

    print(cli.add(state_dir, name, role, agent=agent, expires=expires))
    return 0


@tokens.default
@tokens.command(name="list")
def tokens_list(*, format: Format = "table", state_dir: StateDir = STATE_DIR) -> int:
    """All tokens, without what they are. Example: cordboard tokens"""
    from ari_app.cli import tokens as cli

    sys.stdout.write(cli.listed(state_dir, format))
    return 0


@tokens.command(name="revoke")
def tokens_revoke(name: str, *, state_dir: StateDir = STATE_DIR) -> int:
    """Take a token back; it is refused within a second. Example: cordboard tokens revoke wallboard"""
    from ari_app.cli import tokens as cli

    print(cli.revoke(state_dir, name))
    return 0


@agents.command(name="done")
def agents_done(
    agent: str,
    *,
    disposition: str = "",
    note: str = "",
    field: dict[str, str] | None = None,
    state_dir: StateDir = STATE_DIR,
) -> int:
    """End an agent's wrap-up. Example: cordboard agents done alice --disposition sold

    Parameters
    ----------
    disposition: what came of the call, one of the queue's codes
    note: a note about the call, kept with the caller's number and erased with it
    field: the queue's form of a note, a field each: --field.reason "..." --field.solution "..."
    """
    from ari_app.cli import agents as cli
    from ari_app.settings import control_path

    said = cli.agents_act(control_path(state_dir), agent, "done", "", disposition, note, field)
    print(said)
    return 0


@agents.command(name="set")
def agents_set(
    agent: str, *, skills: str | None = None, queues: str | None = None, state_dir: StateDir = STATE_DIR
) -> int:
    """Change an agent's skills or queues at run time; what is not named is as in the files.

    Example: cordboard agents set alice --skills german=3,billing=5 --queues sales,support

    Parameters
    ----------
    skills: every skill with its level
    queues: every queue the agent serves
    """
    from ari_app.cli import supervise as cli
    from ari_app.settings import control_path

    print(cli.set_agent(control_path(state_dir), agent, skills, queues))
    return 0


@agents.command(name="reset")
def agents_reset(agent: str, *, state_dir: StateDir = STATE_DIR) -> int:
    """Take an agent's skills and queues from the files again. Example: cordboard agents reset alice"""
    return agents_set(agent, state_dir=state_dir)


@app.command
def crisis(switch: Literal["on", "off"], queue: str = "", *, state_dir: StateDir = STATE_DIR) -> int:
    """Lead callers into the prepared crisis flow, or back. Example: cordboard crisis on sales

    Parameters
    ----------
    switch: on or off
    queue: only this queue; if not given, everything
    """
    from ari_app.cli import supervise as cli
    from ari_app.settings import control_path

    print(cli.crisis(control_path(state_dir), on=switch == "on", queue=queue))
    return 0


@app.command
def diff(*, state_dir: StateDir = STATE_DIR) -> int:
    """Where supervisors have departed from the files at run time. Example: cordboard diff"""
    from ari_app.cli import supervise as cli
    from ari_app.settings import control_path

    sys.stdout.write(cli.departures(control_path(state_dir)))
    return 0


@app.command
def watch(*, once: bool = False, state_dir: StateDir = STATE_DIR) -> int:
    """Live view of queues, calls and agents. Ctrl-C ends it. Example: cordboard watch"""
    from ari_app.cli import watch as cli
    from ari_app.settings import control_path

    cli.watch(control_path(state_dir), once=once)
    return 0


@app.command
def phones(*, state_dir: StateDir = STATE_DIR, show_secrets: bool = True) -> int:
    """What to register: users, passwords, agents' PINs. Example: cordboard phones"""
    from ari_app.cli import phones as cli

    sys.stdout.write(cli.phones(state_dir, show_secrets=show_secrets))
    return 0


@app.command
def pin() -> int:
    """Hash a PIN for the definition: asks for it, prints the line to copy. Example: cordboard pin"""
    from ari_app.cli import phones as cli

    print(cli.ask_pin())
    return 0


@app.command
def check(definition: Path) -> int:
    """Check a definition: every error with file, line and key. Example: cordboard check ./callcentre"""
    from ari_app import config

    loaded = config.load(definition)
    for warning in loaded.warnings:
        print(f"warning: {warning}")
    found = loaded.definition
    print(
        f"{definition}: good. {len(found.numbers)} numbers, {len(found.flows)} flows,"
        f" {len(found.queues)} queues, {len(found.agents)} agents"
    )
    return 0


@app.command
def reload(*, dry_run: bool = False, json: bool = False, state_dir: StateDir = STATE_DIR) -> int:
    """Take over the definition as it is on disk now, under live calls; a wrong one changes nothing.

    Example: cordboard reload --dry-run

    Parameters
    ----------
    dry_run: only check it and say what would change
    json: the answer as one JSON object
    """
    from ari_app.cli import reload as cli
    from ari_app.settings import control_path

    return cli.reload(control_path(state_dir), dry_run=dry_run, as_json=json)


@app.command
def backup(
    archive: Path,
    *,
    recordings: bool = True,
    definition: Path | None = None,
    state_dir: StateDir = STATE_DIR,
) -> int:
    """Everything that matters in one file, while calls go on. Example: cordboard backup monday.tar.gz

    Parameters
    ----------
    archive: a new file, .tar.gz or .tar.zst
    recordings: with --no-recordings they are left out
    definition: the definition's folder; as Cordboard was started if not given
    """
    from ari_app.cli import backup as cli

    sys.stdout.write(cli.backup(archive, state_dir, definition=definition, recordings=recordings))
    return 0


@app.command
def restore(archive: Path, *, state_dir: Path, definition: Path | None = None) -> int:
    """Unpack a backup into an empty state folder. Example: cordboard restore monday.tar.gz --state-dir ./new

    Parameters
    ----------
    archive: what cordboard backup wrote
    state_dir: an empty or new folder; with DATABASE_URL set, the tables go to that (empty) database
    definition: where the definition goes; STATE_DIR/definition if not given
    """
    from ari_app.cli import backup as cli

    sys.stdout.write(cli.restore(archive, state_dir, definition=definition))
    return 0


@app.command
def doctor(
    *,
    only: tuple[str, ...] = (),
    skip: tuple[str, ...] = (),
    json: bool = False,
    definition: Path | None = None,
    state_dir: StateDir = STATE_DIR,
) -> int:
    """Check this deployment and say how to mend what is wrong. Exit status: 0 well, 1 warnings, 2 failures.

    Example: cordboard doctor --skip test-call

    Parameters
    ----------
    only: names of checks; all if not given
    skip: names of checks to leave out
    json: all findings as one JSON object, for monitoring
    definition: the definition's folder; as Cordboard was started if not given
    """
    from ari_app.cli import doctor as cli

    return cli.doctor(state_dir, definition=definition, only=only, skip=skip, as_json=json)


@app.command
def render(
    definition: Path,
    out: Path,
    *,
    existing: Literal["asterisk", "freepbx"],
    state_dir: StateDir = STATE_DIR,
    recordings: Path | None = None,
    ari_url: str = "http://127.0.0.1:8088/ari",
    ami_port: int = 5038,
) -> int:
    """Write the files to add to an Asterisk or FreePBX of yours, and say where each goes.

    Example: cordboard render ./callcentre ./for-asterisk --existing asterisk --state-dir /var/lib/cordboard

    Parameters
    ----------
    definition: the definition's folder
    out: where the files go; nothing else is written, but missing secrets and runtime.json in STATE_DIR
    existing: what runs there already
    state_dir: where Cordboard will keep its journal, secrets and control socket
    recordings: where Asterisk will write recordings; STATE_DIR/recordings if not given
    ari_url: where ARI answers
    ami_port: where AMI answers on loopback
    """
    from ari_app.cli import render as cli

    sys.stdout.write(cli.render(definition, out, existing, state_dir, recordings, ari_url, ami_port))
    return 0


@app.command
def certificate(folder: Path, *, host: str) -> int:
    """Make a self-signed certificate in the definition's folder, to try encrypted phones with.

    Example: cordboard certificate ./callcentre --host pbx.example.net

    Parameters
    ----------
    folder: the definition's folder
    host: the name or address that phones are given
    """
    from ari_app.cli import certificate as cli

    sys.stdout.write(cli.certificate(folder, host))
    return 0


@app.command
def completion(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Print the shell's completion of this command. Example: cordboard completion bash >> ~/.bashrc"""
    print(app.generate_completion(prog_name="cordboard", shell=shell))
    return 0
