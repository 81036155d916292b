"""The HTTP server in front of the endpoints: it refuses by the headers, bounds what is read, and keeps the time.

Twisted reads a whole body, into a file if it is large and into form fields if it looks like a form, before any
resource sees the request; so what must not be read is turned away here, between the headers and the body.
"""

# Twisted's channel and request have hardly any annotations.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.server import Request, Site

from audiosvc.api.guard import BODY_MOST, Guard
from audiosvc.api.peers import Failures, Peer, peer_of
from audiosvc.api.routes import Routes
from audiosvc.api.turnstile import Turnstile
from audiosvc.errors import AudioServiceError, BadRequest, BodyTooLarge, TooManyFailures, Unauthorized

REQUEST_SECONDS = 10
"""For a request to arrive whole, and for the last answer of a connection to be taken."""

IDLE_SECONDS = 60
"""Between two requests on one connection."""

CONNECTIONS_MOST = 256

CONNECTIONS_MOST_A_PEER = 32
"""Of these, for one address beyond this machine: on loopback all callers have the same one."""

QUIET_SECONDS = 60
"""Between two words in the log of connections that were closed for being too many."""

HEADERS = {"Server": "audiosvc", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Of every answer."""


class ApiRequest(Request):
    """A request whose body is a few bytes in memory, and is never parsed as a form."""

    refusal: AudioServiceError | None = None
    """Decided by its headers or its size; answered in place of what it asks for."""

    content: BytesIO
    channel: ApiChannel

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        if self.refusal is not None:
            return
        if self.content.tell() + len(data) > BODY_MOST:
            self.refusal = BodyTooLarge()
            self.channel.cut_short(self)
        else:
            self.content.write(data)

    def process(self) -> None:
        if self.refusal is None and not self.path.startswith(b"/"):
            self.refusal = BadRequest("the request's target must be a path")
        if self.refusal is None:
            super().process()
        else:
            self._answer(Failure(self.refusal))

    def processingFailed(self, reason: Failure) -> Failure:
        self._answer(reason)
        return reason

    def write(self, data: bytes) -> None:
        for name, value in HEADERS.items():
            self.setHeader(name, value)
        super().write(data)

    def _answer(self, failure: Failure) -> None:
        told = self.channel.site.routes.problem(failure, self.path)
        told.head(self)
        self.write(told.body)
        self.finish()


class ApiChannel(http.HTTPChannel):
    """One connection.

    A deadline runs while a request arrives, which single bytes do not push back, and again while the connection
    closes; Twisted's own timeout runs between requests.
    """

    site: ApiSite
    transport: ITCPTransport
    peer: Peer
    _log = Logger()
    _deadline: IDelayedCall | None = None
    _answering = False
    _held = False
    """Whether what was read waits for its turn."""
    _dataBuffer: list[bytes]
    _over = False
    """Nothing that still arrives is looked at."""

    def connectionMade(self) -> None:
        self.site.traffic.connections += 1
        self.peer = peer_of(getattr(self.transport.getPeer(), "host", None))
        self.site.open_by[self.peer] += 1
        super().connectionMade()
        self._start_deadline()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.site.traffic.connections -= 1
        self.site.open_by[self.peer] -= 1
        if not self.site.open_by[self.peer]:
            del self.site.open_by[self.peer]
        self._over = True
        self._stop_deadline()
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        if not self._answering:
            self._start_deadline()
        if not self.site.turnstile.enter(lambda: self._take(data)):
            # Until then nothing more is read, of which there would be no bound.
            self._held = True
            self._networkProducer.pauseProducing()

    def _take(self, data: bytes) -> None:
        if self._held:
            self._held = False
            if not self._waitingForTransport:
                self._networkProducer.resumeProducing()
        if self._over:
            return
        try:
            super().dataReceived(data)
        except Exception:
            self._log.failure("A connection is closed for an error in reading from it")
            self.transport.abortConnection()

    def lineLengthExceeded(self, line: bytes) -> None:
        self._respondToBadRequestAndDisconnect()

    def headerReceived(self, line: bytes) -> bool:
        try:
            return bool(super().headerReceived(line))
        except ValueError:  # A Content-Length of more digits than Python turns into a number.
            self._respondToBadRequestAndDisconnect()
            return False

    def allHeadersReceived(self) -> None:
        request = self.requests[-1]
        request.refusal = self.site.guard.refusal(request.requestHeaders, self.length)
        if isinstance(request.refusal, Unauthorized) and self.site.failures.too_many(self.peer, self.site.seconds()):
            request.refusal = TooManyFailures()
            request.requestHeaders.setRawHeaders(b"Connection", [b"close"])
        if request.refusal is not None and self.length != 0:
            # The parser goes on to answer a request without a body, with neither "100 Continue" nor another request.
            request.requestHeaders.removeHeader(b"Expect")
            request.requestHeaders.setRawHeaders(b"Connection", [b"close"])
            self.length = 0
        super().allHeadersReceived()

    def cut_short(self, request: ApiRequest) -> None:
        """Answer `request` now, read nothing more and close."""
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        self.persistent = False
        self.allContentReceived()
        self._over = True

    def allContentReceived(self) -> None:
        if self._over:
            return
        self._answering = True
        self._stop_deadline()
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        self._answering = False
        # Requests sent without waiting for answers take their turns too. The parser would answer all there are at once.
        behind, self._dataBuffer = b"".join(self._dataBuffer), []
        super().requestDone(request)
        if behind and self.persistent:
            self.dataReceived(behind)

    def loseConnection(self) -> None:
        self._start_deadline()
        super().loseConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """What Twisted's parser calls for bytes that are no request; its own answer has no body and no JSON."""
        if self._over:
            return
        self._over = True
        self.clearLineBuffer()
        self.site.traffic.answers[400] += 1
        told = self.site.routes.problem(Failure(BadRequest("the request is malformed, or its head too long")), b"")
        headers = HEADERS | told.headers | {"Connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(f"HTTP/1.1 {told.status} {told.phrase}\r\n{head}\r\n".encode() + told.body)
        self.loseConnection()

    def make_way(self) -> None:
        """Close for a newer connection's sake."""
        self._stop_deadline()
        self.transport.abortConnection()

    def _start_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.callLater(REQUEST_SECONDS, self._too_slow)
            self.site.unhurried[self] = None

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            del self.site.unhurried[self]

    def _too_slow(self) -> None:
        self._deadline = None
        del self.site.unhurried[self]
        self.site.traffic.connections_timed_out += 1
        self._log.info("Closing a connection from {peer}: it took too long", peer=self.transport.getPeer())
        self.transport.abortConnection()


class ApiSite(Site):
    """The API as a factory of connections, of which it keeps at most `CONNECTIONS_MOST`, and fewer of one peer.

    A caller with a whole request to send gets in even where as many others drip theirs: past the limit the one whose
    deadline has run longest makes way, and only where none has one running is the new one closed.
    """

    protocol = ApiChannel  # type: ignore[assignment]  # A proxy for switching to HTTP/2 is what it expects.
    requestFactory = ApiRequest
    noisy = False
    _log = Logger()
    _quiet_until = 0.0

    def __init__(self, reactor: IReactorTime, routes: Routes, guard: Guard) -> None:
        super().__init__(routes.resource(), reactor=reactor, timeout=IDLE_SECONDS)
        self.routes = routes
        self.guard = guard
        self.traffic = routes.traffic
        self.turnstile = Turnstile(reactor)
        self.seconds = reactor.seconds
        self.failures = Failures()
        self.open_by: Counter[Peer] = Counter()
        """Connections of each peer that has any."""
        self.unhurried: dict[ApiChannel, None] = {}
        """Connections with a deadline running, in the order of their deadlines."""

    def buildProtocol(self, addr: IAddress | None) -> Any:
        peer = peer_of(getattr(addr, "host", None))
        if not peer.local and self.open_by[peer] >= CONNECTIONS_MOST_A_PEER:
            rivals = [channel for channel in self.unhurried if channel.peer == peer]
        elif self.traffic.connections >= CONNECTIONS_MOST:
            rivals = list(self.unhurried)
        else:
            return super().buildProtocol(addr)
        self.traffic.connections_refused += 1
        if self.seconds() >= self._quiet_until:
            self._quiet_until = self.seconds() + QUIET_SECONDS
            self._log.warn(
                "Closing connections to the API: {all} are open, {its} of them {peer}'s",
                all=self.traffic.connections,
                its=self.open_by[peer],
                peer=peer.name or "this machine",
            )
        slowest = next(iter(rivals), None)
        if slowest is None:
            return None
        slowest.make_way()
        return super().buildProtocol(addr)

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]

    def log(self, request: http.Request) -> None:
        """Counted rather than written: a line of the access log holds text and secrets of the caller's."""
        self.traffic.answers[request.code] += 1


def make_site(reactor: IReactorTime, routes: Routes, allowed_hosts: Sequence[str], token: bytes | None) -> Site:
    """The API for an endpoint to listen with. `allowed_hosts` and `token` are the `Guard`'s, ValueError included."""
    return ApiSite(reactor, routes, Guard(allowed_hosts, token))
