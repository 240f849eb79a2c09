"""The phones' mouths and ears: one process that sends and records the RTP of every phone.

It is a process of its own, because pacing at 20 ms must not depend on what a test's own loop is doing.
It uses the standard library alone and is started by path, so that it is up in a few dozen milliseconds.

Commands come as JSON lines on standard input and are answered, in order, by JSON lines on standard
output. What a stream receives goes to a capture file, record by record (see :data:`RECORD`), written at
least every 40 ms; nothing is analysed here.
"""

from __future__ import annotations

import gc
import heapq
import json
import os
import random
import select
import socket
import struct
import sys
import time
from array import array
from collections import deque
from contextlib import suppress
from typing import Any, Final

FRAME_NS: Final = 20_000_000
FRAME_SAMPLES: Final = 160
FLUSH_NS: Final = 40_000_000

RECORD: Final = struct.Struct("<cQH")
"""Head of a capture record: kind, CLOCK_MONOTONIC nanoseconds, length of the data that follows."""
RECEIVED: Final = b"R"
"""A packet as it came from the network; the time is the kernel's."""
DIGIT_BEGUN: Final = b"D"
"""The first packet of a telephone-event was sent; the data is the digit."""
DIGIT_ENDED: Final = b"E"
"""The first packet with the end bit was sent; the data is the digit."""
STARTED: Final = b"S"
"""The first RTP packet of the stream was sent."""

DIGITS: Final = "0123456789*#ABCD"
"""RFC 4733, table 3: the event code is the index."""

# Linux <asm-generic/socket.h>; Python's socket module has no name for it.
SO_TIMESTAMPNS: Final = 35
_TIMESPEC: Final = struct.Struct("qq")
_RTP: Final = struct.Struct("!BBHII")
_EVENT: Final = struct.Struct("!BBH")


class Stream:
    """One phone's RTP in one call: a socket, what it says, and the capture of what it hears."""

    def __init__(self, number: int, host: str, capture: str) -> None:
        self.number = number
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.sock.bind((host, 0))
        self.sock.setblocking(False)
        self.port: int = self.sock.getsockname()[1]
        self.file = os.open(capture, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.log = bytearray()
        self.remote: tuple[str, int] | None = None
        self.running = False
        self.closed = False
        self.payload_type = 0
        self.event_type = 101
        self.frame: bytes | None = None
        self.ssrc = random.getrandbits(32)
        self.sequence = random.getrandbits(16)
        self.timestamp = random.getrandbits(32)
        self.due_ns = 0
        self.marker = True
        self.keys: deque[str] = deque()
        self.script: list[tuple[int, str]] = []
        self.tone_frames = self.gap_frames = 0
        self.event: tuple[str, int, int] | None = None  # digit, frames sent, RTP timestamp of its start
        self.quiet_frames = 0
        self.lateness_ns: array[int] = array("q")

    def record(self, kind: bytes, at_ns: int, data: bytes) -> None:
        self.log += RECORD.pack(kind, at_ns, len(data))
        self.log += data

    def flush(self) -> None:
        if self.log:
            os.write(self.file, self.log)
            self.log.clear()

    def drain(self) -> bool:
        """Take what has arrived; true when the first packet showed where the other side is."""
        offset_ns = time.monotonic_ns() - time.time_ns()
        learned = False
        while True:
            try:
                data, extra, _, source = self.sock.recvmsg(2048, 64)
            except BlockingIOError:
                return learned  # drained
            except ConnectionRefusedError:
                continue  # an ICMP answer to one of our packets: the other side has closed its port
            at_ns = time.monotonic_ns()
            for level, kind, value in extra:
                if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                    seconds, nanoseconds = _TIMESPEC.unpack(value)
                    at_ns = seconds * 1_000_000_000 + nanoseconds + offset_ns
            self.record(RECEIVED, at_ns, data)
            # RTCP for a neighbour's port plus one may land here: only audio shows where to speak to.
            if self.remote is None and len(data) > _RTP.size and data[1] & 0x7F in (0, 8):
                self.remote = source
                learned = True

    def tick(self, now_ns: int) -> None:
        """Send the packet that is due: audio, or a telephone-event while a key is down."""
        if not self.lateness_ns:
            self.record(STARTED, now_ns, b"")
        self.lateness_ns.append(now_ns - self.due_ns)
        self._play_script(now_ns)
        if self.event is None and self.keys and not self.quiet_frames:
            self.event = (self.keys.popleft(), 0, self.timestamp)
        if self.event is not None:
            self._send_event(now_ns)
        elif self.frame is not None:
            self._send(self.payload_type, self.timestamp, self.marker, self.frame)
            self.marker = False
        else:
            self.marker = True
        if self.event is None and self.quiet_frames:
            self.quiet_frames -= 1
        self.timestamp = (self.timestamp + FRAME_SAMPLES) & 0xFFFFFFFF
        self.due_ns += FRAME_NS
        if now_ns - self.due_ns > 1_000_000_000:
            self.due_ns = now_ns  # the whole process was stopped: a phone does not send it all afterwards

    def _play_script(self, now_ns: int) -> None:
        while self.script and self.script[0][0] <= now_ns:
            self.keys.extend(self.script.pop(0)[1])

    def _send_event(self, now_ns: int) -> None:
        """RFC 4733, 2.5: updates each 20 ms with one timestamp, the end sent three times."""
        assert self.event is not None
        digit, sent, begun = self.event
        sent += 1
        ended = sent >= self.tone_frames
        if sent == 1:
            self.record(DIGIT_BEGUN, now_ns, digit.encode())
        if ended:
            self.record(DIGIT_ENDED, now_ns, digit.encode())
        data = _EVENT.pack(DIGITS.index(digit), 0x80 * ended | 10, sent * FRAME_SAMPLES)
        for _ in range(3 if ended else 1):
            self._send(self.event_type, begun, sent == 1, data)
        self.event = None if ended else (digit, sent, begun)
        if ended:
            self.quiet_frames = self.gap_frames
            self.flush()

    def _send(self, payload_type: int, timestamp: int, marker: bool, payload: bytes) -> None:
        assert self.remote is not None
        head = _RTP.pack(0x80, payload_type | 0x80 * marker, self.sequence, timestamp, self.ssrc)
        self.sequence = (self.sequence + 1) & 0xFFFF
        # A lost packet, as on any network: the far port is closed or the buffer is full.
        with suppress(ConnectionRefusedError, BlockingIOError):
            self.sock.sendto(head + payload, self.remote)


class MediaServer:
    """The loop: commands, packets in, packets out at absolute deadlines."""

    def __init__(self) -> None:
        self.opened = 0
        self.streams: dict[int, Stream] = {}
        self.by_socket: dict[int, Stream] = {}
        self.due: list[tuple[int, int]] = []
        self.poll = select.epoll()
        self.poll.register(0, select.EPOLLIN)
        self.commands = b""
        self.flush_ns = 0

    def run(self) -> None:
        """Serve until standard input ends: a test that dies takes its phones with it."""
        while True:
            now_ns = time.monotonic_ns()
            wake_ns = min(self.due[0][0] if self.due else now_ns + FLUSH_NS, self.flush_ns)
            for number, _ in self.poll.poll(max(0.0, (wake_ns - now_ns) / 1e9)):
                if number == 0:
                    if not self._read_commands():
                        return
                elif (stream := self.by_socket.get(number)) and stream.drain():
                    self._begin(stream)
            self._tick()

    def _tick(self) -> None:
        now_ns = time.monotonic_ns()
        while self.due and self.due[0][0] <= now_ns:
            _, number = heapq.heappop(self.due)
            stream = self.streams.get(number)
            if stream is None or not stream.running:
                continue
            now_ns = time.monotonic_ns()
            stream.tick(now_ns)
            heapq.heappush(self.due, (stream.due_ns, number))
        if now_ns >= self.flush_ns:
            self.flush_ns = now_ns + FLUSH_NS
            for stream in self.streams.values():
                stream.flush()

    def _begin(self, stream: Stream) -> None:
        if stream.running:
            return
        stream.running = True
        stream.due_ns = time.monotonic_ns()
        stream.script = [(at_ns + stream.due_ns, digits) for at_ns, digits in stream.script]
        heapq.heappush(self.due, (stream.due_ns, stream.number))

    def _read_commands(self) -> bool:
        data = os.read(0, 65536)
        if not data:
            return False
        *lines, self.commands = (self.commands + data).split(b"\n")
        for line in lines:
            answer = self._command(json.loads(line))
            sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        return True

    def _command(self, command: dict[str, Any]) -> dict[str, Any]:
        what = command["do"]
        if what == "open":
            self.opened += 1
            stream = Stream(self.opened, command["host"], command["capture"])
            self.streams[stream.number] = self.by_socket[stream.sock.fileno()] = stream
            self.poll.register(stream.sock.fileno(), select.EPOLLIN)
            self._speak(stream, command)
            return {"stream": stream.number, "port": stream.port}
        stream = self.streams[command["stream"]]
        if what == "speak":
            self._speak(stream, command)
        elif what == "start":
            stream.remote = (command["host"], command["port"])
            self._begin(stream)
        elif what == "press":
            stream.tone_frames, stream.gap_frames = command["tone_frames"], command["gap_frames"]
            stream.keys.extend(command["digits"])
        elif what == "pacing":
            stream.flush()
            return {"lateness_ns": list(stream.lateness_ns)}
        elif what == "flush":
            stream.drain()
            stream.flush()
        elif what == "close":
            self._close(stream)
            return {"lateness_ns": list(stream.lateness_ns)}
        else:
            raise ValueError(f"no such command: {what}")
        return {}

    def _speak(self, stream: Stream, command: dict[str, Any]) -> None:
        """Set what is given: codec, payload types, the frame repeated, the first sequence number."""
        stream.payload_type = command.get("payload_type", stream.payload_type)
        stream.event_type = command.get("event_type", stream.event_type)
        if "frame" in command:
            frame = command["frame"]
            stream.frame = None if frame is None else bytes.fromhex(frame)
        if "sequence" in command:
            stream.sequence = command["sequence"]
        if "script" in command:
            stream.script = [(round(at_s * 1e9), digits) for at_s, digits in command["script"]]
            stream.tone_frames, stream.gap_frames = 5, 4

    def _close(self, stream: Stream) -> None:
        stream.drain()
        stream.flush()
        stream.running = False
        del self.streams[stream.number], self.by_socket[stream.sock.fileno()]
        self.poll.unregister(stream.sock.fileno())
        stream.sock.close()
        os.close(stream.file)


def main() -> None:
    gc.disable()  # nothing here makes cycles, and a collection would be heard as jitter
    with suppress(PermissionError):  # a courtesy to pacing that only root may ask for
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    MediaServer().run()


if __name__ == "__main__":
    main()
