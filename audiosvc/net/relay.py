"""One connection of a child at the door: one request, judged, and carried both ways at the pace of the slower side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h11
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosvc.errors import (
    AudioServiceError,
    BadRequest,
    BlockedAddress,
    ExtractionFailed,
    SourceEndedEarly,
    SourceUnreachable,
    Unauthorized,
    UnsupportedUrl,
)
from audiosvc.net.dialer import HANDSHAKE_SECONDS, SILENT, Once, bound, insecure
from audiosvc.net.heads import AnswerHead, Target, credentials, onward, parse_target
from audiosvc.net.permit import Permit

if TYPE_CHECKING:
    from audiosvc.net.door import Door

HEAD_MOST = 32 * 1024
"""Bytes of a request's head."""

EARLY_MOST = 64 * 1024
"""Bytes of a body, or for a tunnel, that are taken before there is anywhere to send them."""

HEAD_SECONDS = 10
"""For a request's head to arrive."""

IDLE_SECONDS = 30
"""Without a byte either way, while the child would take one. A child that does not read, as one whose listener is
paused, may take its time; it is its holder who ends it."""


class Relay(Protocol):
    """From the head of a request to the end of its answer."""

    transport: Connection
    log = Logger()

    def __init__(self, door: Door) -> None:
        self._door = door
        self._permit: Permit | None = None
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MOST)
        self._target: Target | None = None
        self._asked: h11.Request | None = None
        self._onward: h11.Connection | None = None
        """Writes the request to its origin while its body is coming; None for a tunnel and once it is all there."""
        self._early = b""
        self._dialling: Deferred[Any] | None = None
        self._origin: Origin | None = None
        self._deadline: IDelayedCall | None = None
        self._patience = IDLE_SECONDS
        self._over = False
        """Nothing that still arrives is looked at."""

    def connectionMade(self) -> None:
        bound(self.transport)
        self._door.arrived(self)
        self._deadline = self._door.reactor.callLater(HEAD_SECONDS, self.drop)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._over = True
        self._stop_deadline()
        if self._dialling is not None:
            self._dialling.cancel()
        if self._origin is not None:
            self._origin.transport.abortConnection()
        if self._permit is not None:
            self._permit.connections.discard(self)
        self._door.left(self)

    def drop(self) -> None:
        """Close it now, both ways."""
        self._over = True
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        if self._origin is not None:
            self._door.bytes += len(data)
            self._restart_deadline()
            self._send_on(data)
        elif self._asked is None:
            self._read_head(data)
        else:
            self._early += data
            if len(self._early) > EARLY_MOST:
                self.transport.pauseProducing()

    # --- the request ------------------------------------------------------------------------------------------

    def _read_head(self, data: bytes) -> None:
        try:
            self._parser.receive_data(data)
            event = self._parser.next_event()
        except h11.RemoteProtocolError:
            self._refuse(400, BadRequest())
            return
        if isinstance(event, h11.Request):
            self._judge(event)

    def _judge(self, request: h11.Request) -> None:
        self._asked = request
        self._stop_deadline()
        self._door.shown(self)
        shown = credentials(request.headers)
        permit = None if shown is None else self._door.find(*shown)
        if permit is None:
            # A proxy's client may ask without at first, to be told what is wanted.
            self._refuse(407, None if shown is None else Unauthorized("the permit is not valid"))
            return
        self._permit = permit
        self._door.requests += 1
        try:
            permit.take(self)
            self._target = target = parse_target(request.method, request.target)
        except (ExtractionFailed, UnsupportedUrl) as error:
            self._deny(error)
            return
        except BadRequest as error:
            self._refuse(400, error)
            return
        if permit.gives_up(target.authority):
            self._not_connected(Failure(insecure(target.host, SILENT)))
            return
        origin = Origin(self, None if target.path is None else AnswerHead())
        self._dialling = self._door.dialer.dial(target.host, target.port, Once(origin))
        self._dialling.addCallbacks(lambda _: self._connected(origin), self._not_connected)

    def _not_connected(self, failure: Failure) -> None:
        self._dialling = None
        if failure.check(CancelledError, ConnectingCancelledError):
            return
        error = failure.value
        if isinstance(error, BlockedAddress):
            self._deny(error)
            return
        if not isinstance(error, AudioServiceError):
            self.log.failure("cannot connect", failure)
            error = SourceUnreachable()
        assert self._permit is not None
        self._permit.fail(self, error)
        self._refuse(502, error)

    def _deny(self, error: AudioServiceError) -> None:
        assert self._permit is not None
        self._permit.deny(error)
        self._refuse(403, error)

    def _refuse(self, status: int, error: AudioServiceError | None) -> None:
        """Answer in the origin's place, and close."""
        self._over = True
        if error is not None:
            self._door.refused[error.code] += 1
        text = "a permit is needed" if error is None else error.message
        body = text.encode("utf-8", "replace") + b"\n"
        asks = b'Proxy-Authenticate: Basic realm="audiosvc"\r\n' if status == 407 else b""
        phrase = {400: b"Bad Request", 403: b"Forbidden", 407: b"Proxy Authentication Required", 502: b"Bad Gateway"}
        head = b"HTTP/1.1 %d %s\r\n%sContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
        self.transport.write(head % (status, phrase[status], asks, len(body)) + b"Connection: close\r\n\r\n" + body)
        self._stop_deadline()
        self.transport.loseConnection()

    # --- both ways --------------------------------------------------------------------------------------------

    def _connected(self, origin: Origin) -> None:
        self._dialling = None
        if self._over:
            origin.transport.abortConnection()
            return
        assert self._target is not None and self._asked is not None and self._permit is not None
        self._origin = origin
        if self._target.path is None:
            self._patience = HANDSHAKE_SECONDS
        self._deadline = self._door.reactor.callLater(self._patience, self._idle)
        # Each side is read only as fast as the other takes it.
        self.transport.registerProducer(origin, True)
        origin.transport.registerProducer(self.transport, True)
        self.transport.resumeProducing()
        early, self._early = self._early, b""
        if self._target.path is None:
            early = self._parser.trailing_data[0] + early
            self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            self._onward = h11.Connection(h11.CLIENT)
            headers = onward(self._asked.headers.raw_items(), self._target.authority)
            request = h11.Request(method=self._asked.method, target=self._target.path, headers=headers)
            origin.transport.write(self._onward.send(request) or b"")
        self._send_on(early)

    def _send_on(self, data: bytes) -> None:
        assert self._origin is not None and self._target is not None
        if self._target.path is None:
            self._origin.transport.write(data)
            return
        try:
            if data:
                self._parser.receive_data(data)
            while self._onward is not None:
                event = self._parser.next_event()
                if not isinstance(event, (h11.Data, h11.EndOfMessage)):
                    return
                if isinstance(event, h11.EndOfMessage):
                    event = h11.EndOfMessage()
                self._origin.transport.write(self._onward.send(event) or b"")
                if isinstance(event, h11.EndOfMessage):
                    self._onward = None
                    data = self._parser.trailing_data[0]
        except h11.ProtocolError:
            self.drop()
            return
        if data:
            # A second request would come to an origin that nobody has judged it for.
            self._door.refused["pipelined"] += 1
            self.drop()

    def answered(self, data: bytes) -> None:
        """Bytes for the child."""
        if self._over:
            return
        assert self._permit is not None
        self._door.bytes += len(data)
        try:
            self._permit.answered(len(data))
        except ExtractionFailed as error:
            self._door.refused["too_large"] += 1
            self._permit.deny(error)
            self.drop()
            return
        self._patience = IDLE_SECONDS
        self._restart_deadline()
        self.transport.write(data)

    def origin_lost(self, *, short: bool) -> None:
        """The origin has closed: the child gets what is still on its way, and then the same.

        `short`: there was to be more. FFmpeg does not miss a last chunk.
        """
        self._origin = None
        if not self._over:
            self._over = True
            assert self._permit is not None and self._asked is not None
            if short and self._asked.method == b"GET":
                self._permit.fail(self, SourceEndedEarly("the source's server broke off its answer"))
            self._stop_deadline()
            # With a producer that is paused it would never close.
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def _idle(self) -> None:
        self._deadline = None
        if self._origin is not None and self._origin.paused:
            self._deadline = self._door.reactor.callLater(self._patience, self._idle)
            return
        if self._patience == HANDSHAKE_SECONDS:
            assert self._permit is not None and self._target is not None
            self._permit.gave_up(self._target.authority)
            self._permit.fail(self, insecure(self._target.host, SILENT))
        self.drop()

    def _restart_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.reset(self._patience)

    def _stop_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None


@implementer(IPushProducer)
class Origin(Protocol):
    """The connection to where a request leads; it is read as the child takes what comes."""

    transport: Connection

    def __init__(self, relay: Relay, head: AnswerHead | None) -> None:
        self.paused = False
        self._relay = relay
        self._head = head

    def connectionMade(self) -> None:
        bound(self.transport)

    def dataReceived(self, data: bytes) -> None:
        self._relay.answered(data if self._head is None else self._head.feed(data))

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        if self._head is not None:
            self._relay.answered(self._head.rest())
        self._relay.origin_lost(short=self._head is not None and self._head.short)

    def pauseProducing(self) -> None:
        self.paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.paused = False
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self.transport.abortConnection()
