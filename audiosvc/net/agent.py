"""The daemon's own GETs: dialled through the same vetter as its children's, bounded in bytes, time and redirects."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import h11
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import (
    IProtocolFactory,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from audiosvc.errors import (
    SourceRefused,
    SourceTimeout,
    SourceUnreachable,
    UnsupportedUrl,
)
from audiosvc.net.dialer import IDialer, Once
from audiosvc.net.heads import ANSWER_HEAD_MOST, find_head, is_information, readable
from audiosvc.sources import http
from audiosvc.sources.model import Http

REDIRECTS = frozenset({301, 302, 303, 307, 308})

DEFAULTS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "audiosvc"}

_BEGINNINGS = (b"HTTP/1.", b"ICY ")

_FOR_ALL = frozenset({"accept", "accept-language", "icy-metadata", "range", "user-agent"})
"""Headers that go along when a redirect leads to another host. Cookies and the like were meant for the first."""


@dataclass(frozen=True)
class Answer:
    """What a server said, and what it said it with. `url` is where the redirects ended."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name; one that came several times is joined by commas."""
    url: str
    body: bytes
    """Its beginning, without chunks; not decompressed, should it be compressed although nobody asked for that."""


class Fetcher:
    """GETs http and https by `dialer`. `trust` is who may vouch for servers, None for whom the system trusts."""

    def __init__(self, reactor: IReactorTime, dialer: IDialer, trust: Certificate | None = None) -> None:
        self._reactor = reactor
        self._dialer = dialer
        self._trust = trust

    @inlineCallbacks
    def fetch(
        self, url: str, headers: Mapping[str, str], most_bytes: int, seconds: float, redirects: int
    ) -> Generator[Deferred[Answer], Answer, Answer]:
        """GET `url`, follow up to `redirects` redirects, and drop the connection after `most_bytes` of the body.

        `seconds` are for all of it; of a slower body there is what had come by then. An answer of any status is an
        answer, "ICY 200 OK" too. Fails with `UnsupportedUrl`, `BlockedAddress`, `SourceUnreachable` (which includes
        certificates that do not fit), `SourceTimeout`, and with `SourceRefused` for what is no HTTP. May be cancelled.
        """
        ends = self._reactor.seconds() + seconds
        url, headers = _canonical(url), _with_defaults(headers)
        for _ in range(redirects + 1):
            get = _Get(url, headers, most_bytes)
            overdue = self._reactor.callLater(max(0.0, ends - self._reactor.seconds()), get.overdue)
            try:
                answer = yield get.run(self._dialer, self._trust)
            finally:
                if overdue.active():
                    overdue.cancel()
            location = answer.headers.get("location")
            if answer.status not in REDIRECTS or location is None:
                return answer
            before, url = url, _canonical(urljoin(url, location.replace(" ", "%20")))
            if urlsplit(before).netloc != urlsplit(url).netloc:
                headers = _with_defaults({name: headers[name] for name in headers if name.lower() in _FOR_ALL})
        raise SourceRefused(f"the source redirects more than {redirects} times")


class _Get(Protocol):
    """One request and the beginning of its answer."""

    transport: ITCPTransport

    def __init__(self, url: str, headers: Mapping[str, str], most_bytes: int) -> None:
        """Raises `UnsupportedUrl` for headers that cannot be sent."""
        self._url = url
        self._most = most_bytes
        self._parts = urlsplit(url)
        self._host = self._parts.hostname or ""
        self._dialling: Deferred[Any] | None = None
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=2 * ANSWER_HEAD_MOST)
        self._head: bytes | None = b""
        """What there is of the answer's head, None once that is read."""
        self._response: h11.Response | None = None
        self._body = b""
        self._done: Deferred[Answer] = Deferred(lambda _: self._stop())
        self._over = False
        self._request = self._make_request(headers)

    def _make_request(self, headers: Mapping[str, str]) -> bytes:
        target = self._parts.path + (f"?{self._parts.query}" if self._parts.query else "")
        lines = [("Host", self._parts.netloc), *headers.items(), ("Connection", "close")]
        try:
            request = self._parser.send(h11.Request(method="GET", target=target, headers=lines))
        except (h11.LocalProtocolError, UnicodeEncodeError):
            raise UnsupportedUrl("the source's headers cannot be sent") from None
        self._parser.send(h11.EndOfMessage())
        return request or b""

    def run(self, dialer: IDialer, trust: Certificate | None) -> Deferred[Answer]:
        secure = self._parts.scheme == "https"
        factory: IProtocolFactory = Once(self)
        if secure:
            factory = TLSMemoryBIOFactory(optionsForClientTLS(self._host, trust), True, factory)
        self._dialling = dialling = dialer.dial(self._host, self._parts.port or (443 if secure else 80), factory)
        dialling.addCallbacks(self._dialled, self._fail)
        return self._done

    def overdue(self) -> None:
        """The time is over: what there is of a body has to do."""
        if self._response is None:
            self._fail(Failure(SourceTimeout(f"{self._host} did not answer in time")))
        else:
            self._finish()

    def _dialled(self, _: object) -> None:
        self._dialling = None

    def connectionMade(self) -> None:
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        try:
            while self._head is not None:
                looked_at, self._head = len(self._head), self._head + data
                if not self._head.startswith(_BEGINNINGS) and not any(b.startswith(self._head) for b in _BEGINNINGS):
                    raise ValueError("no HTTP")
                end = find_head(self._head, looked_at)
                if end is None:
                    if len(self._head) > ANSWER_HEAD_MOST:
                        raise ValueError("no end")
                    return
                head, data = self._head[:end], self._head[end:]
                self._head = b"" if is_information(head) else None
                if self._head is None:
                    self._parser.receive_data(readable(head))
            self._read(data)
        except (ValueError, h11.RemoteProtocolError):
            self._fail(Failure(SourceRefused(f"{self._host} does not answer as a web server does")))

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        if self._over:
            return
        if self._response is not None:
            # Whatever the length it announced: this was its beginning.
            self._finish()
        elif reason.check(VerificationError, SSL.Error):
            self._fail(Failure(SourceUnreachable(f"no secure connection to {self._host}: {_words(reason.value)}")))
        else:
            self._fail(Failure(SourceUnreachable(f"{self._host} closed the connection without an answer")))

    def _read(self, data: bytes) -> None:
        if data:
            self._parser.receive_data(data)
        while not self._over:
            event = self._parser.next_event()
            if isinstance(event, h11.Response):
                self._response = event
                if event.status_code in REDIRECTS:
                    self._finish()
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) >= self._most:
                    self._finish()
            elif isinstance(event, h11.EndOfMessage):
                self._finish()
            else:
                return

    def _finish(self) -> None:
        assert self._response is not None
        headers: dict[str, str] = {}
        for name, value in self._response.headers:
            key, text = name.decode("ascii"), _text(value)
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        self._stop()
        self._done.callback(Answer(self._response.status_code, headers, self._url, self._body[: self._most]))

    def _fail(self, failure: Failure) -> None:
        if not self._over:
            self._stop()
            self._done.errback(failure)

    def _stop(self) -> None:
        self._over = True
        if self._dialling is not None:
            self._dialling.cancel()
        if self.transport is not None:
            self.transport.abortConnection()


def _with_defaults(headers: Mapping[str, str]) -> dict[str, str]:
    given = {name.lower() for name in headers}
    return {name: value for name, value in DEFAULTS.items() if name.lower() not in given} | dict(headers)


def _canonical(url: str) -> str:
    """`url` as the API takes them; raises `UnsupportedUrl`."""
    media = http.parse(url).media
    assert isinstance(media, Http)
    return media.url


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
