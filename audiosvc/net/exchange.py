"""One request of the daemon's own and its answer, as it comes: over TLS or not, framed as servers frame it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocolFactory,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosvc.errors import SourceRefused, SourceUnreachable, UnsupportedUrl
from audiosvc.net.dialer import HANDSHAKE_SECONDS, SILENT, IDialer, Once, insecure
from audiosvc.net.heads import ANSWER_HEAD_MOST, find_head, is_information, readable

REDIRECTS = frozenset({301, 302, 303, 307, 308})

_BEGINNINGS = (b"HTTP/1.", b"ICY ")

Vouched = Callable[[str], IOpenSSLClientConnectionCreator]
"""What makes sure that a server is the host it is taken for."""


@dataclass(frozen=True)
class Head:
    """What a server said first; `url` is what was asked for."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name; one that came several times is joined by commas."""
    url: str

    @property
    def location(self) -> str | None:
        """Where it redirects to, if it does."""
        return self.headers.get("location") if self.status in REDIRECTS else None


@implementer(IHandshakeListener)
class Exchange(Protocol):
    """What becomes of the answer is for its heirs to say, who are told of it by `answered`, `came` and `ended`."""

    transport: ITCPTransport

    def __init__(self, reactor: IReactorTime, url: str, headers: Mapping[str, str]) -> None:
        """Raises `UnsupportedUrl` for headers that cannot be sent."""
        self.head: Head | None = None
        """None before it has come."""
        self._reactor = reactor
        self._url = url
        self._parts = urlsplit(url)
        self._host = self._parts.hostname or ""
        self._dialling: Deferred[Any] | None = None
        self._handshake: IDelayedCall | None = None
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=2 * ANSWER_HEAD_MOST)
        self._begun: bytes | None = b""
        """What there is of the answer's head, None once that is read."""
        self._over = False
        self._lost = False
        """Whether the connection is closed."""
        self._request = self._make_request(headers)

    def answered(self, head: Head) -> None:
        """The answer's head is there."""
        raise NotImplementedError

    def came(self, data: bytes) -> None:
        """So much more of its body is."""
        raise NotImplementedError

    def ended(self, whole: bool) -> None:
        """There will be no more of it: it was `whole`, by what the server said of its length, or it broke off."""
        raise NotImplementedError

    def failed(self, failure: Failure) -> None:
        """There will be no answer, or what comes of its body makes no sense."""
        raise NotImplementedError

    def dial(self, dialer: IDialer, vouched: Vouched) -> None:
        secure = self._parts.scheme == "https"
        factory: IProtocolFactory = Once(self)
        if secure:
            factory = TLSMemoryBIOFactory(vouched(self._host), True, factory)
        self._dialling = dialling = dialer.dial(self._host, self._parts.port or (443 if secure else 80), factory)
        dialling.addCallbacks(self._dialled, self._fail)

    def stop(self) -> None:
        """Close the connection, or do not make it; nobody is told of anything any more. More calls do nothing."""
        if self._over:
            return
        self._over = True
        self.handshakeCompleted()
        if self._dialling is not None:
            self._dialling.cancel()
        if self.transport is not None and not self._lost:
            self.transport.abortConnection()

    def connectionMade(self) -> None:
        if self._parts.scheme == "https":
            self._handshake = self._reactor.callLater(HANDSHAKE_SECONDS, self._mute)
        self.transport.write(self._request)

    def handshakeCompleted(self) -> None:
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            handshake.cancel()

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        try:
            while self._begun is not None:
                looked_at, self._begun = len(self._begun), self._begun + data
                if not self._begun.startswith(_BEGINNINGS) and not any(b.startswith(self._begun) for b in _BEGINNINGS):
                    raise ValueError("no HTTP")
                end = find_head(self._begun, looked_at)
                if end is None:
                    if len(self._begun) > ANSWER_HEAD_MOST:
                        raise ValueError("no end")
                    return
                head, data = self._begun[:end], self._begun[end:]
                self._begun = b"" if is_information(head) else None
                if self._begun is None:
                    self._parser.receive_data(readable(head))
            self._read(data)
        except (ValueError, h11.RemoteProtocolError):
            self._fail(Failure(SourceRefused(f"{self._host} does not answer as a web server does")))

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._lost = True
        if self._over:
            return
        if self.head is not None:
            self._end(self._is_unbounded())
        elif reason.check(VerificationError, SSL.Error):
            self._fail(Failure(insecure(self._host, _words(reason.value))))
        else:
            self._fail(Failure(SourceUnreachable(f"{self._host} closed the connection without an answer")))

    def _make_request(self, headers: Mapping[str, str]) -> bytes:
        target = self._parts.path + (f"?{self._parts.query}" if self._parts.query else "")
        lines = [("Host", self._parts.netloc), *headers.items(), ("Connection", "close")]
        try:
            request = self._parser.send(h11.Request(method="GET", target=target, headers=lines))
        except (h11.LocalProtocolError, UnicodeEncodeError):
            raise UnsupportedUrl("the source's headers cannot be sent") from None
        self._parser.send(h11.EndOfMessage())
        return request or b""

    def _dialled(self, _: object) -> None:
        self._dialling = None

    def _mute(self) -> None:
        self._handshake = None
        self._fail(Failure(insecure(self._host, SILENT)))

    def _read(self, data: bytes) -> None:
        if data:
            self._parser.receive_data(data)
        while not self._over:
            event = self._parser.next_event()
            if isinstance(event, h11.Response):
                self.head = self._understood(event)
                self.answered(self.head)
            elif isinstance(event, h11.Data):
                self.came(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._end(True)
            else:
                return

    def _understood(self, response: h11.Response) -> Head:
        headers: dict[str, str] = {}
        for name, value in response.headers:
            key, text = name.decode("ascii"), _text(value)
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        return Head(response.status_code, headers, self._url)

    def _is_unbounded(self) -> bool:
        """Whether the answer's body goes on up to the connection's end, which is so its own."""
        assert self.head is not None
        return not {"content-length", "transfer-encoding"} & self.head.headers.keys()

    def _end(self, whole: bool) -> None:
        self.stop()
        self.ended(whole)

    def _fail(self, failure: Failure) -> None:
        if not self._over:
            self.stop()
            self.failed(failure)


def _text(value: bytes) -> str:
    """A header's value: UTF-8 where it is that, else the Latin-1 of old."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _words(error: BaseException | None) -> str:
    """Why TLS failed, in OpenSSL's own words where it has any."""
    if isinstance(error, VerificationError):
        return "its certificate is for another name"
    entries = error.args[0] if isinstance(error, SSL.Error) and error.args else ()
    reasons = [entry[-1] for entry in entries if isinstance(entry, tuple)]
    return ", ".join(filter(None, reasons)) or "the handshake failed"
