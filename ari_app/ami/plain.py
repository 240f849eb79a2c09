"""AMI, blocking, one question after another: for commands that only look."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

LIMIT_S = 5.0
LONGEST_LINE = 8192
Message = dict[str, str]


class AmiUnanswered(Exception):
    """Nobody speaks AMI there, or not in time."""


class AmiRefused(Exception):
    """AMI said no; the text is Asterisk's own."""


@contextlib.contextmanager
def logged_in(
    host: str, port: int, username: str, password: str, limit_s: float = LIMIT_S
) -> Iterator[PlainAmi]:
    """A session that asks for no events. Raises AmiUnanswered, AmiRefused (a wrong password)."""
    try:
        with socket.create_connection((host, port), timeout=limit_s) as connection:
            ami = PlainAmi(connection)
            ami.ask("Login", Username=username, Secret=password, Events="off")
            yield ami
            ami.ask("Logoff")
    except OSError as error:
        raise AmiUnanswered(f"no AMI at {host}:{port} ({error})") from error


class PlainAmi:
    """Made by :func:`logged_in`."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rwb")
        greeting = self._file.readline(LONGEST_LINE)
        if not greeting.startswith(b"Asterisk Call Manager/"):
            raise AmiUnanswered("something answers at AMI's port that is no Asterisk")

    def ask(self, action: str, **headers: str) -> Message:
        """The response to one action. Values are ours: no line ends in them."""
        lines = [f"Action: {action}", *(f"{name}: {value}" for name, value in headers.items())]
        self._file.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._file.flush()
        while (message := self._read()).get("Response") is None:
            pass  # FullyBooted comes between the log-in and its answer
        if message["Response"] == "Error":
            raise AmiRefused(message.get("Message", "refused"))
        return message

    def listing(self, action: str) -> list[Message]:
        """The events of an action that answers with a list."""
        self.ask(action)
        found: list[Message] = []
        while (message := self._read()).get("EventList") != "Complete":
            found.append(message)
        return found

    def _read(self) -> Message:
        message: Message = {}
        while True:
            line = self._file.readline(LONGEST_LINE)
            if not line:
                raise AmiUnanswered("AMI closed the connection")
            text = line.decode(errors="replace").rstrip("\r\n")
            if not text:
                return message
            name, _, value = text.partition(":")
            message[name] = value.strip()
