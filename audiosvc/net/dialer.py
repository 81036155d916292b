"""Connections to the outside: made to an address that was vetted, never to a name."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Generator
from itertools import chain, zip_longest
from typing import Any, Protocol

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Connection

from audiosvc.errors import SourceUnreachable
from audiosvc.interfaces import IReactor
from audiosvc.net.addresses import Address
from audiosvc.net.vetter import Vetter

CONNECT_SECONDS = 3
"""For one address to answer."""

HANDSHAKE_SECONDS = 5
"""For a server that was connected to, to say its part of TLS: two round trips; a play fails within 6 s."""

SILENT = "it does not answer the handshake"
"""Why nothing came of it, of such a server."""

ADDRESSES_TRIED = 3

SOCKET_BYTES = 128 * 1024
"""Of each kernel buffer on the way, which else grow to megabytes for a source that is faster than its listener."""


class Once(Factory):
    """Makes one connection, and `protocol` is what speaks on it."""

    noisy = False

    def __init__(self, protocol: IProtocol) -> None:
        self._made = protocol

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self._made


class IDialer(Protocol):
    """The way to the outside as the door and the agent know it."""

    def dial(self, host: str, port: int, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect a protocol of `factory` to `host`; fails with an `AudioServiceError`. May be cancelled."""


class Dialer:
    """Vets, then dials what was vetted, one address after the other."""

    def __init__(self, vetter: Vetter, reactor: IReactor) -> None:
        self._vetter = vetter
        self._reactor = reactor

    @inlineCallbacks
    def dial(self, host: str, port: int, factory: IProtocolFactory) -> Generator[Deferred[Any], Any, IProtocol]:
        """Fails with `SourceUnreachable` where none answers, and as `Vetter.vet` does."""
        addresses: list[Address] = yield self._vetter.vet(host, port)
        for address in _alternate(addresses)[:ADDRESSES_TRIED]:
            kind = TCP4ClientEndpoint if address.version == 4 else TCP6ClientEndpoint
            try:
                connected: IProtocol = yield kind(self._reactor, str(address), port, timeout=CONNECT_SECONDS).connect(
                    factory
                )
            except ConnectError:
                continue
            return connected
        raise SourceUnreachable(f"{host} does not answer on port {port}")


def insecure(host: str, why: str) -> SourceUnreachable:
    """The error of a TLS handshake that came to nothing."""
    return SourceUnreachable(f"no secure connection to {host}: {why}")


def _alternate(addresses: list[Address]) -> list[Address]:
    """As preferred, but IPv4 and IPv6 in turn, so that one of them broken does not use up the tries (RFC 8305)."""
    first = [address for address in addresses if address.version == addresses[0].version]
    others = [address for address in addresses if address.version != addresses[0].version]
    pairs = chain.from_iterable(zip_longest(first, others))
    return [address for address in pairs if address is not None]


def bound(transport: Connection) -> None:
    """Keep small what the kernel holds of a connection, and send what is written at once."""
    transport.setTcpNoDelay(True)
    sock: socket.socket = transport.getHandle()
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
