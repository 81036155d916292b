"""The client that is measured with, in a process of its own: notes when each packet was there, and does nothing else.

`python -m bench.receiver SOCKET RESULT`: says "listening" on standard output once it is connected, ends when the
daemon closes the connection, and leaves what it noted as JSON in RESULT.
"""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from audiosvc.wire.codec import Decoder, encode_line
from audiosvc.wire.messages import Greeting, Packet, SessionEvent

READ_MOST = 1024 * 1024
END_MOST = 20.0
"""Seconds the receiver may take, once the daemon is gone, to write down what it noted."""


class Happened(msgspec.Struct, array_like=True):
    """An event: when, to which session, of what class, and how many packets of the session came before it."""

    at: int
    session_id: str
    kind: str
    packets: int


class Noted(msgspec.Struct):
    """Times are `time.monotonic_ns()`, the same clock in every process, taken when `recv` returned."""

    packets: dict[str, list[int]]
    """By session id, oldest first."""
    events: list[Happened]
    """Oldest first."""


def heard(text: bytes) -> Noted:
    """What a receiver has written: JSON as of `Noted`, or a line `SESSION NANOSECONDS` a packet. Raises ValueError."""
    if text.lstrip().startswith(b"{"):
        return msgspec.json.decode(text, type=Noted)
    packets: dict[str, list[int]] = {}
    for line in text.decode().splitlines():
        session, _, at = line.rpartition(" ")
        packets.setdefault(session, []).append(int(at))
    return Noted(packets, [])


def note(connection: socket.socket) -> Noted:
    """Until the other end closes."""
    packets: dict[str, list[int]] = {}
    events: list[Happened] = []
    decoder = Decoder()
    while data := _receive(connection):
        now = time.monotonic_ns()
        for message in decoder.feed(data):
            if type(message) is Packet:
                times = packets.get(message.session_id)
                if times is None:
                    times = packets[message.session_id] = []
                times.append(now)
            elif isinstance(message, SessionEvent):
                before = len(packets.get(message.session_id, ()))
                events.append(Happened(now, message.session_id, type(message).__name__, before))
    return Noted(packets, events)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(READ_MOST)
    except ConnectionResetError:
        return b""


class Receiver:
    """The receiver as a child of the one who measures."""

    def __init__(self, audio_socket: Path, result: Path) -> None:
        """Returns when it is connected; `EOFError` if it did not get there."""
        self.noted = Noted({}, [])
        """What it heard, after `end`."""
        self._result = result
        argv = [sys.executable, "-m", "bench.receiver", str(audio_socket), str(result)]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        self.pid = self._process.pid
        assert self._process.stdout is not None
        with self._process.stdout as said:
            if not said.readline():
                self._process.wait()
                raise EOFError("the receiver did not connect")

    def end(self) -> None:
        """To be called when the daemon is gone."""
        try:
            self._process.wait(END_MOST)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        else:
            self.noted = heard(self._result.read_bytes())


def main(audio_socket: str, result: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(audio_socket)
        connection.sendall(encode_line(Greeting("bench")))
        print("listening", flush=True)
        # Nothing here makes cycles, and a collection would be seen as a gap that is not the daemon's.
        gc.disable()
        noted = note(connection)
    Path(result).write_bytes(msgspec.json.encode(noted))


if __name__ == "__main__":
    main(*sys.argv[1:])
