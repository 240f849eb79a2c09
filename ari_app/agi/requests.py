"""What a dialplan asks over FastAGI, and the variables it gets back. No I/O here.

The request is the block of ``agi_name: value`` lines that Asterisk sends first
(https://docs.asterisk.org/Configuration/Interfaces/Asterisk-Gateway-Interface-AGI/).
"""

from __future__ import annotations

import re
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

LINE_LIMIT_BYTES = 2_048
LINES_LIMIT = 128
"""Asterisk sends some 25, and one for each argument."""
ATTRIBUTES_LIMIT = 10
VALUE_LIMIT = 200
KEY = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_CHANNEL = re.compile(r"[A-Za-z0-9._@:/;-]{1,149}\Z")

Variables = dict[str, str]
OK, ERROR = "OK", "ERROR"


class BadRequest(Exception):
    """Not what Asterisk sends, or not what we understand; the text is for the admin."""


class QueueStatus(Struct, frozen=True):
    """``ready``: agents who could take a call now. ``open``: calls are served and somebody is signed in."""

    waiting: int
    ready: int
    open: bool


class AgentStatus(Struct, frozen=True):
    """``state`` as in docs/calls.md. ``ready``: would be offered a call now."""

    state: str
    ready: bool


class Desk(Protocol):
    """What the AGI server needs of the running call centre. All of it is quick."""

    def queue_status(self, queue: str) -> QueueStatus | None:
        """None: there is no such queue."""
        ...

    def agent_status(self, agent: str) -> AgentStatus | None:
        """None: there is no such agent."""
        ...

    def wrong_attribute(self, key: str, value: str) -> str:
        """Why an attribute that routing looks at cannot be meant; "" if it can."""
        ...

    def attach(self, channel: str, attributes: dict[str, str]) -> bool:
        """Keep attributes for the call that this channel is or will be. False: not kept (disk, too many)."""
        ...


def environment(lines: list[bytes]) -> dict[str, str]:
    """The ``agi_*`` lines as a dictionary.

    Raises:
        BadRequest: a line without a colon, or a name that is none of AGI's.
    """
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if not colon or not name.startswith("agi_"):
            raise BadRequest("a line that is no AGI environment")
        found[name] = value.strip()
    return found


def answer(desk: Desk, env: dict[str, str]) -> Variables:
    """The channel variables to set; ``CORDBOARD_STATUS`` is OK, or ERROR with ``CORDBOARD_ERROR``."""
    try:
        return {**_answer(desk, env), "CORDBOARD_STATUS": OK}
    except BadRequest as error:
        return {"CORDBOARD_STATUS": ERROR, "CORDBOARD_ERROR": str(error)}


def _answer(desk: Desk, env: dict[str, str]) -> Variables:
    try:
        url = urlsplit(env.get("agi_request", ""))
        script = unquote(url.path).strip("/")
        pairs = parse_qsl(url.query, keep_blank_values=True, max_num_fields=ATTRIBUTES_LIMIT)
    except ValueError as error:
        raise BadRequest(f"a request that is no URL, or has over {ATTRIBUTES_LIMIT} fields") from error
    fields = dict(pairs)
    match script:
        case "queue-status":
            return _queue_status(desk, _only(fields, "queue"))
        case "agent-state":
            return _agent_state(desk, _only(fields, "agent"))
        case "attach":
            return _attach(desk, env.get("agi_uniqueid", ""), fields)
        case _:
            raise BadRequest("no such request; there are queue-status, agent-state and attach")


def _only(fields: dict[str, str], key: str) -> str:
    if set(fields) != {key} or not fields[key]:
        raise BadRequest(f"write ?{key}=NAME, and nothing else")
    return fields[key]


def _queue_status(desk: Desk, queue: str) -> Variables:
    status = desk.queue_status(queue)
    if status is None:
        raise BadRequest("no such queue")
    return {
        "CORDBOARD_WAITING": str(status.waiting),
        "CORDBOARD_READY": str(status.ready),
        "CORDBOARD_OPEN": str(int(status.open)),
    }


def _agent_state(desk: Desk, agent: str) -> Variables:
    status = desk.agent_status(agent)
    if status is None:
        raise BadRequest("no such agent")
    return {"CORDBOARD_AGENT_STATE": status.state, "CORDBOARD_AGENT_READY": str(int(status.ready))}


def _attach(desk: Desk, channel: str, attributes: dict[str, str]) -> Variables:
    if not _CHANNEL.match(channel):
        raise BadRequest("no agi_uniqueid: the request came from no channel")
    if not attributes:
        raise BadRequest("nothing to attach: write ?key=value")
    for key, value in attributes.items():
        if not KEY.match(key):
            raise BadRequest("a key is 1 to 32 of a-z 0-9 _, and begins with a letter")
        if len(value) > VALUE_LIMIT:
            raise BadRequest(f"a value has at most {VALUE_LIMIT} characters")
        if wrong := desk.wrong_attribute(key, value):
            raise BadRequest(wrong)
    if not desk.attach(channel, attributes):
        raise BadRequest("not kept")
    return {}


def set_variable(name: str, value: str) -> bytes:
    """The AGI command. Our values are words, numbers and our own sentences: nothing to break out with."""
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'SET VARIABLE {name} "{quoted}"\n'.encode()
