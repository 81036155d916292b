"""The one way out: a forward proxy on loopback that children must use, and that vets whatever they ask for.

Redirects, segments, keys and whatever else a source leads to come through here, so here they are judged.
"""

from __future__ import annotations

import itertools
import socket
from collections import Counter
from collections.abc import Sequence

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from audiosvc.interfaces import IReactor
from audiosvc.net.dialer import IDialer
from audiosvc.net.permit import Permit
from audiosvc.net.relay import Relay
from audiosvc.vitals import DoorVitals

CONNECTIONS_MOST = 1024
"""Open at once, of all permits together. Each takes two file descriptors once it leads somewhere."""

BACKLOG = 256


class Door(ServerFactory):
    """Implements `interfaces.IDoor`."""

    noisy = False
    log = Logger()

    def __init__(self, reactor: IReactor, dialer: IDialer) -> None:
        self.reactor = reactor
        self.dialer = dialer
        self.requests = 0
        self.bytes = 0
        self.refused: Counter[str] = Counter()
        self._prefix: tuple[str, ...] = ()
        self._place: tuple[str, int] | None = None
        self._port: IListeningPort | None = None
        self._permits: dict[str, Permit] = {}
        self._names = itertools.count(1)
        self._connections = 0
        self._unknown: dict[Relay, None] = {}
        """Connections that have not shown a permit yet, the oldest first."""

    def listen(self, listening: socket.socket | None = None, prefix: Sequence[str] = ()) -> None:
        """Open: on a loopback port of the kernel's choice, or on a socket that listens already, in a jail perhaps.

        `prefix` then goes before the command lines of those that hold a permit: it takes them to where that is.
        That socket stays the caller's to close. OSError or `CannotListenError` where it fails.
        """
        self._prefix = tuple(prefix)
        if listening is None:
            self._port = self.reactor.listenTCP(0, self, backlog=BACKLOG, interface="127.0.0.1")
            address = self._port.getHost()
            assert isinstance(address, IPv4Address)
            self._place = (address.host, address.port)
        else:
            listening.setblocking(False)
            self._port = self.reactor.adoptStreamPort(listening.fileno(), socket.AF_INET, self)
            host, port = listening.getsockname()
            self._place = (host, port)

    def permit(self, label: str, most: int | None = None) -> Permit:
        if self._place is None:
            raise RuntimeError("the door is not open yet")
        name = f"p{next(self._names)}"
        permit = self._permits[name] = Permit(name, label, self._place, self._prefix, self.reactor, self._forget, most)
        return permit

    def find(self, name: str, token: str) -> Permit | None:
        """The permit that a name and a token belong to; none once it is closed."""
        permit = self._permits.get(name)
        return permit if permit is not None and permit.shows(token) else None

    def stop(self) -> Deferred[object]:
        """Close every permit, every connection and the port; fires when that is done."""
        for permit in list(self._permits.values()):
            permit.close()
        for relay in list(self._unknown):
            relay.drop()
        port, self._port = self._port, None
        return maybeDeferred(port.stopListening) if port is not None else succeed(None)

    def vitals(self) -> DoorVitals:
        return DoorVitals(
            permits=len(self._permits),
            connections=self._connections,
            requests=self.requests,
            bytes=self.bytes,
            refused=dict(self.refused),
        )

    def buildProtocol(self, addr: IAddress | None) -> Relay | None:
        """A new connection gets in even where others wait without a permit: the oldest of them makes way."""
        if self._connections >= CONNECTIONS_MOST:
            self.refused["connections"] += 1
            oldest = next(iter(self._unknown), None)
            if oldest is None:
                return None
            self.shown(oldest)
            oldest.drop()
        return Relay(self)

    def arrived(self, relay: Relay) -> None:
        self._connections += 1
        self._unknown[relay] = None

    def shown(self, relay: Relay) -> None:
        """`relay` has shown a permit, or is on its way out without."""
        self._unknown.pop(relay, None)

    def left(self, relay: Relay) -> None:
        self._connections -= 1
        self._unknown.pop(relay, None)

    def _forget(self, permit: Permit) -> None:
        del self._permits[permit.name]
