"""One client's connection to the Unix socket: lines in, packets and events out, and the socket's own backpressure."""

from __future__ import annotations

import socket
from collections.abc import Callable

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IAddress, IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.unix import Server
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosvc import __version__
from audiosvc.delivery.hub import Hub
from audiosvc.delivery.strangers import stranger
from audiosvc.delivery.wishes import Wishes
from audiosvc.wire.codec import BadLine, LineDecoder, encode_event
from audiosvc.wire.messages import FEATURES, PROTOCOL, Held, Hello, Refused

GRACE_SECONDS = 0.05
"""How long a new connection may take to say who it is, before it is served as one that hears all."""

REFUSED_MOST = 100
"""Refused lines after which a connection is closed."""

CONNECTIONS_MOST = 64

UNSENT_BYTES = 64 * 1024
"""What a connection may hold that its socket does not take, before it is paused: Twisted's own measure."""

UNSENT_BYTES_A_STREAM = 1024
"""The same where it hears very many: two beats of each at 128 kbit/s, or every beat of 200 sessions would pause it."""

FLUSH_SECONDS = 2.0
"""How long a client may take, at shutdown, to read what was written to it."""


@implementer(IPushProducer)
class Connection(Protocol):
    """Implements `delivery.stream.IConnection`; the transport's producer is the whole of its sessions."""

    log = Logger()
    transport: Server

    def __init__(self, home: DeliveryFactory, order: int) -> None:
        self._home = home
        self.wishes = Wishes(order)
        self.credit: dict[str, int] = {}
        self.held: dict[str, int | Held] = {}
        self.paused = False
        self.lost: Deferred[None] = Deferred()
        self._streams = 0
        self._lines = LineDecoder()
        self._refused = 0
        self._out: list[bytes] = []
        self._joining: IDelayedCall | None = None

    def connectionMade(self) -> None:
        home = self._home
        if home.refuses(self.transport):
            self.transport.abortConnection()
            return
        self.put(encode_event(Hello(PROTOCOL, FEATURES, f"audiosvc/{__version__}")))
        if len(home.connections) >= CONNECTIONS_MOST:
            self._refuse("too_many_connections", f"at most {CONNECTIONS_MOST} clients are served")
            self.transport.loseConnection()
            return
        home.connections.add(self)
        self.transport.registerProducer(self, True)
        self.flush()
        self._joining = home.reactor.callLater(GRACE_SECONDS, self._join)

    def dataReceived(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            refused = Refused(line.code, line.message) if isinstance(line, BadLine) else self._home.hub.take(self, line)
            if refused is not None:
                self._refuse(refused.code, refused.message)
                if (isinstance(line, BadLine) and line.fatal) or self._refused >= REFUSED_MOST:
                    self.close()
                    return
            elif self._joining is not None and self._joining.active():
                # Served in the next turn, so that all the lines that came in one piece count as its first.
                self._joining.reset(0)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stay_out()
        self._home.connections.discard(self)
        self._home.hub.leave(self)
        self.lost.callback(None)

    def close(self) -> None:
        """Let go of the client once what was written is read; a paused producer would hold the close up for ever."""
        self.flush()
        self._stay_out()
        self._home.hub.leave(self)
        self.paused = True
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    @property
    def unsent_bytes(self) -> int:
        transport = self.transport
        # Where Twisted keeps what is written, before its socket takes it; there is no public name for the last of them.
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen

    # --- to the hub and its streams ---------------------------------------------------------------------------------

    def hears(self, more: int) -> None:
        self._streams += more
        self.transport.bufferSize = max(UNSENT_BYTES, self._streams * UNSENT_BYTES_A_STREAM)

    def put(self, chunk: bytes) -> None:
        self._out.append(chunk)

    def flush(self) -> None:
        if self._out:
            self.transport.write(b"".join(self._out))
            self._out.clear()

    # --- IPushProducer ----------------------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False
        self._home.hub.resume(self)

    def stopProducing(self) -> None:
        self.paused = True

    def _join(self) -> None:
        self._home.hub.join(self)

    def _stay_out(self) -> None:
        if self._joining is not None and self._joining.active():
            self._joining.cancel()

    def _refuse(self, code: str, message: str) -> None:
        self._refused += 1
        self._home.hub.tally.lines_refused += 1
        if self._refused == 1:
            # The first tells the operator; the rest are counted.
            self.log.warn("refused a client: {code} {reason}", code=code, reason=message)
        self.put(encode_event(Refused(code, message)))
        self.flush()


class DeliveryFactory(Factory):
    """Makes connections for the hub, and lets go of them all at the end."""

    noisy = False
    log = Logger()

    def __init__(
        self, reactor: IReactorTime, hub: Hub, stranger: Callable[[socket.socket], int | None] = stranger
    ) -> None:
        self.reactor = reactor
        self.hub = hub
        self.connections: set[Connection] = set()
        self._order = 0
        self._stranger = stranger
        self._strangers: set[int] = set()

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        self._order += 1
        return Connection(self, self._order)

    def refuses(self, transport: Server) -> bool:
        """Whether its client is somebody who is not served."""
        uid = self._stranger(transport.getHandle())
        if uid is None:
            return False
        if uid not in self._strangers:
            self._strangers.add(uid)
            self.log.warn("refused a client of another user, {uid}; those that follow are not told", uid=uid)
        return True

    def close(self) -> Deferred[None]:
        """Close every connection; fires when all are gone, those that do not read after `FLUSH_SECONDS`."""
        connections = list(self.connections)
        for connection in connections:
            self.hub.last_words(connection)
            connection.close()
        gone = DeferredList([connection.lost for connection in connections])
        late = self.reactor.callLater(FLUSH_SECONDS, self._abort)
        return gone.addCallback(lambda _: late.cancel() if late.active() else None)

    def _abort(self) -> None:
        for connection in list(self.connections):
            connection.transport.abortConnection()
