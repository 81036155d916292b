"""A door on loopback, behind which 127.0.0.1 is the outside and 127.0.0.2 a host that nobody may reach."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, cast
from unittest import mock
from urllib.parse import urlsplit

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from audiosvc.interfaces import IReactor
from audiosvc.net.addresses import Address, Policy
from audiosvc.net.dialer import Dialer
from audiosvc.net.door import Door
from audiosvc.net.names import is_own
from audiosvc.net.permit import Permit
from audiosvc.net.vetter import Vetter

reactor = cast(IReactor, _reactor)

OUTSIDE, INSIDE = "127.0.0.1", "127.0.0.2"

NAMES = {
    "radio.example": (OUTSIDE,),
    "inner.example": (INSIDE,),
    "mixed.example": (OUTSIDE, INSIDE),
    "many.example": (OUTSIDE,) * 2000,
}


class FakeNames:
    """Answers look-ups out of a table, each time with the next of the answers there are; counts them."""

    def __init__(self, table: Mapping[str, Sequence[str]] = NAMES) -> None:
        self.asked: list[str] = []
        self.turns: dict[str, list[Sequence[str]]] = {name: [answer] for name, answer in table.items()}

    def resolve(self, name: str) -> Deferred[list[Address]]:
        self.asked.append(name)
        turns = self.turns.get(name, [()])
        return succeed([ip_address(text) for text in (turns.pop(0) if len(turns) > 1 else turns[0])])


class Listener(Factory):
    """A server that hands each connection's first bytes to `answer`, which writes to the transport; counts hits."""

    def __init__(self, answer: Callable[[bytes, Any], None] | None = None) -> None:
        self.hits = 0
        self.heads: list[bytes] = []
        self.open: list[Any] = []
        self.answer = answer

    def buildProtocol(self, addr: object) -> Protocol:
        self.hits += 1
        server = self

        class Connection(Protocol):
            head = b""

            def connectionMade(self) -> None:
                server.open.append(self)

            def dataReceived(self, data: bytes) -> None:
                had = b"\r\n\r\n" in self.head
                self.head += data
                if not had and b"\r\n\r\n" in self.head:
                    server.heads.append(self.head)
                    if server.answer is not None:
                        server.answer(self.head, self.transport)
                elif had and server.answer is not None:
                    server.answer(data, self.transport)

            def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
                server.open.remove(self)

        return Connection()


class Caller(Protocol):
    """Writes what it is given and keeps all that comes back; `gone` fires when the other end closes."""

    def __init__(self) -> None:
        self.got = b""
        self.gone: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.got += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.gone.callback(self.got)


@inlineCallbacks
def soon(true: Callable[[], object]) -> Any:
    """Wait until it is so, and say what `true` said; the test's own timeout is the end of patience."""
    while not (found := true()):
        yield deferLater(reactor, 0.005)
    return found


class DoorCase(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.names = FakeNames()
        self.policy = Policy.parse("", "127.0.0.1/32", is_own)
        self.dialer = Dialer(Vetter(lambda name: self.names.resolve(name), self.policy, reactor), reactor)
        self.door = Door(self.make_reactor(), self.dialer)
        self.door.listen()
        self.addCleanup(self.door.stop)
        self.hold(self.door.permit("test"))
        self.inside = Listener()
        self.inside_port = self.serve(self.inside, INSIDE)

    def hold(self, permit: Permit) -> None:
        """All that is asked from here on is asked with it."""
        way = urlsplit(permit.environment["http_proxy"])
        self.permit, self.port = permit, cast(int, way.port)
        self.token = base64.b64encode(f"{way.username}:{way.password}".encode())

    def pause(self, seconds: float = 0.05) -> Deferred[None]:
        """Let what is under way arrive."""
        return deferLater(reactor, seconds)

    def hostile_environment(self) -> Any:
        """The daemon's own environment, set to lead everything past the door."""
        nowhere = f"http://{INSIDE}:{self.inside_port}"
        lower = {"no_proxy": "*", "http_proxy": nowhere, "https_proxy": nowhere, "all_proxy": nowhere}
        return self.environment(**lower, **{name.upper(): text for name, text in lower.items()})

    def environment(self, **values: str) -> Any:
        return mock.patch.dict(os.environ, values)

    def make_reactor(self) -> IReactor:
        """What the door takes for the reactor."""
        return reactor

    def serve(self, factory: Any, host: str = OUTSIDE, port: int = 0) -> int:
        listening = reactor.listenTCP(port, factory, interface=host)
        self.addCleanup(listening.stopListening)
        if isinstance(factory, Listener):
            self.addCleanup(lambda: [connection.transport.abortConnection() for connection in factory.open])
        return cast(int, listening.getHost().port)  # type: ignore[attr-defined]

    @inlineCallbacks
    def call(self, data: bytes) -> Any:
        """A connection to the door, with `data` written."""
        caller = Caller()
        yield connectProtocol(TCP4ClientEndpoint(reactor, OUTSIDE, self.port), caller)
        caller.transport.write(data)
        self.addCleanup(caller.transport.abortConnection)
        return caller

    @inlineCallbacks
    def ask(self, data: bytes) -> Any:
        """All that the door answers to `data` until it closes."""
        caller = yield self.call(data)
        return (yield caller.gone)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nKeep-Alive: x\r\nConnection: keep-alive\r\n\r\n"


def serve(head: bytes, transport: Any) -> None:
    transport.write(HEAD + b"music")
    transport.loseConnection()


def echo(data: bytes, transport: Any) -> None:
    transport.write(b"<" + data + b">")


class Asking(DoorCase):
    def setUp(self) -> None:
        super().setUp()
        self.outside = Listener(serve)
        self.outside_port = self.serve(self.outside)

    def get(self, url: str, *headers: str, token: bytes | None = None, method: str = "GET") -> bytes:
        shown = f"Proxy-Authorization: Basic {(self.token if token is None else token).decode()}"
        return "\r\n".join((f"{method} {url} HTTP/1.1", "Host: x", shown, *headers, "", "")).encode()

    def url(self, path: str = "/", host: str = "radio.example") -> str:
        return f"http://{host}:{self.outside_port}{path}"

    def tunnel(self) -> bytes:
        return self.get(f"radio.example:{self.outside_port}", method="CONNECT")

    @inlineCallbacks
    def refused(self, data: bytes, status: int, error: type[Exception] | None) -> Any:
        """Every refusal closes and leads nowhere; `error` is what its permit then has to tell."""
        before = self.outside.hits
        answer = yield self.ask(data)
        self.assertIn(b" %d " % status, answer.partition(b"\r\n")[0])
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertIsInstance(self.permit.denial, error or type(None))
        self.assertEqual((self.outside.hits, self.inside.hits), (before, 0))
        return answer
