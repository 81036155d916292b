"""The receiving half of a connection to the daemon, for the programs beside it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from audiosvc.wire.codec import Decoder, WireError, encode_line
from audiosvc.wire.messages import Event, Greeting, Packet, Subscribe, UnknownEvent


class Listener(Protocol):
    """One connection to the daemon, as its client. What it hears goes to the callbacks, in the stream's order.

    `on_lost` is called once, when the connection is gone; the failure is a `WireError` if the stream was broken.
    """

    def __init__(
        self,
        on_packet: Callable[[str, bytes], None],
        on_event: Callable[[Event | UnknownEvent], None],
        on_lost: Callable[[Failure], None],
    ) -> None:
        self._on_packet = on_packet
        self._on_event = on_event
        self._on_lost = on_lost
        self._decoder = Decoder()
        self._broken: WireError | None = None

    def hello(self, client: str) -> None:
        """Say who this is, `name/version`."""
        self._send(Greeting(client))

    def subscribe(self, session_id: str) -> None:
        """Hear this session; from the first one on, only what is named."""
        self._send(Subscribe(session_id))

    def close(self) -> None:
        """Leave, after what was said is sent."""
        if self.transport is not None:
            self.transport.loseConnection()

    def _send(self, line: Greeting | Subscribe) -> None:
        assert self.transport is not None, "not connected"
        self.transport.write(encode_line(line))

    def dataReceived(self, data: bytes) -> None:
        try:
            received = self._decoder.feed(data)
        except WireError as error:
            received, self._broken = error.decoded, self._broken or error
        for message in received:
            if isinstance(message, Packet):
                self._on_packet(message.session_id, message.payload)
            else:
                self._on_event(message)
        if self._broken is not None:
            self.close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._on_lost(Failure(self._broken) if self._broken is not None else reason)
