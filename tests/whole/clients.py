"""Clients on sockets that fill: what they write comes in pieces, what they do not read is lost with them."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone

from audiosvc.delivery import protocol
from audiosvc.delivery.protocol import Connection
from audiosvc.wire.codec import Decoder, encode_line
from audiosvc.wire.messages import Attached, Detached, Held, Line, Packet, Ready, SessionEvent
from tests.delivery.audience import Audience, Wishing

KERNEL_BYTES = 8 * 1024
"""What the kernel takes of what a client does not read."""

WRITE_MOST = 500_000
"""Bytes that one beat or one grant may write: of three sessions, what their queues hold and what is sent again."""


class Socket:
    """The daemon's end, as Twisted's transports behave."""

    def __init__(self, client: Client) -> None:
        self.bufferSize = protocol.UNSENT_BYTES
        self.unsent = b""
        self.gone = False
        self._client = client
        self._producer: IPushProducer | None = None
        self._closing = False

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        assert streaming and self._producer is None
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None
        self._close_when_empty()

    def write(self, data: bytes) -> None:
        if self.gone or self._closing:
            return
        self._client.sent(data)
        self.unsent += data
        over = len(self.unsent) - KERNEL_BYTES - self.bufferSize
        assert over <= WRITE_MOST, "a socket that nobody reads is written to without end"
        if over > 0 and self._producer is not None:
            self._producer.pauseProducing()

    def getHandle(self) -> None:
        return None

    # What FileDescriptor holds of what was written.

    @property
    def dataBuffer(self) -> bytes:
        return self.unsent[KERNEL_BYTES:]

    offset = 0
    _tempDataLen = 0

    def read(self, most: int) -> bytes:
        """The client reads."""
        data, self.unsent = self.unsent[:most], self.unsent[most:]
        if len(self.unsent) <= KERNEL_BYTES and self._producer is not None and self._client.connection.paused:
            self._producer.resumeProducing()
        self._close_when_empty()
        return data

    def loseConnection(self) -> None:
        self._closing = True
        self._close_when_empty()

    def abortConnection(self) -> None:
        self.lose()

    def _close_when_empty(self) -> None:
        if self._closing and self._producer is None and not self.unsent:
            self.lose()

    def lose(self) -> None:
        if not self.gone:
            self.gone = True
            self._client.connection.connectionLost(connectionDone)


class Client(Wishing):
    """What it was sent is judged when it is sent; what it `holds` is what it has read of that."""

    def __init__(self, audience: Audience, connection: Connection, order: int) -> None:
        super().__init__(order)
        self.connection = connection
        self.reading = True
        self.holds: dict[str, Held] = {}
        self.socket = Socket(self)
        self._audience = audience
        self._sent = Decoder()
        self._read = Decoder()

    def connect(self) -> None:
        self.connection.makeConnection(cast(Any, self.socket))  # type: ignore[no-untyped-call]

    def say(self, *lines: Line | bytes, cut: int = 0) -> None:
        """Write lines in two pieces."""
        data = b"".join(line if isinstance(line, bytes) else encode_line(line) for line in lines)
        cut %= len(data)
        for piece in (data[:cut], data[cut:]):
            if piece and not self.socket.gone:
                self.connection.dataReceived(piece)

    def sent(self, data: bytes) -> None:
        for message in self._sent.feed(data):
            if isinstance(message, Packet) or (isinstance(message, SessionEvent) and not isinstance(message, Detached)):
                self._audience.heard(self, message)

    def read(self, most: int) -> None:
        for message in self._read.feed(self.socket.read(most)):
            match message:
                case Packet(session_id=session_id):
                    held = self.holds[session_id]
                    self.holds[session_id] = Held(held.packets + 1, held.track_id)
                case Ready(session_id=session_id, track_id=track_id):
                    self.holds[session_id] = Held(0, track_id)
                case Attached(session_id=session_id, track_id=track_id, packets=packets):
                    self.holds[session_id] = Held(packets, track_id)
                case _:
                    pass

    def read_all(self) -> None:
        while self.socket.unsent:
            self.read(len(self.socket.unsent))
