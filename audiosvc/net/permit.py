"""One child's leave to go through the door: its token, what it may ask for, and what it was refused."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from audiosvc.errors import AudioServiceError, ExtractionFailed, UnsupportedUrl

REQUESTS_FIRST = 64
"""Requests before there is sound, and at once later: a playlist of playlists may multiply one into thousands."""

REQUESTS_PER_SECOND = 10
"""From the first sound on. A player of segments asks for less than one a second."""

CONNECTIONS_MOST = 48
"""Open at once. Of a playlist with 16 variants FFmpeg opens two segments each, 32 together, before it chooses one."""


class IConnection(Protocol):
    """A connection made with a permit."""

    def drop(self) -> None:
        """Close it now, both ways."""


class Permit:
    """Implements `interfaces.IPermit`. `name` and a secret token of its own are how its holder shows it.

    `most`, where it is given, bounds the bytes of all answers together: who reads pages holds them in memory.
    """

    log = Logger()

    def __init__(
        self,
        name: str,
        label: str,
        place: tuple[str, int],
        prefix: Sequence[str],
        reactor: IReactorTime,
        closed: Callable[[Permit], None],
        most: int | None = None,
    ) -> None:
        self.name = name
        self.prefix: Sequence[str] = tuple(prefix)
        self.denial: AudioServiceError | None = None
        self.trouble: AudioServiceError | None = None
        self.connections: set[IConnection] = set()
        self._latest: IConnection | None = None
        self._silent: set[bytes] = set()
        self._token = secrets.token_urlsafe(24)
        self._label = label
        self._reactor = reactor
        self._closed: Callable[[Permit], None] | None = closed
        self._most = most
        self.received = 0
        self._left = float(REQUESTS_FIRST)
        self._filled: float | None = None
        # Without its scheme, or with https, FFmpeg and yt-dlp go past the proxy without a word.
        proxy = f"http://{name}:{self._token}@{place[0]}:{place[1]}"
        self.environment: Mapping[str, str] = MappingProxyType({"http_proxy": proxy})

    def flowing(self) -> None:
        if self._filled is None:
            self._filled = self._reactor.seconds()

    def close(self) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            closed(self)
            for connection in list(self.connections):
                connection.drop()

    def shows(self, token: str) -> bool:
        """Whether `token` is this permit's."""
        return hmac.compare_digest(token.encode(), self._token.encode())

    def take(self, connection: IConnection) -> None:
        """One more request, by `connection`, which is kept until it is removed; raises what the permit forbids."""
        self.answered(0)
        if len(self.connections) >= CONNECTIONS_MOST:
            raise UnsupportedUrl(f"the source takes more than {CONNECTIONS_MOST} connections at once")
        if self._filled is not None:
            now = self._reactor.seconds()
            self._left = min(REQUESTS_FIRST, self._left + (now - self._filled) * REQUESTS_PER_SECOND)
            self._filled = now
        if self._left < 1:
            many = REQUESTS_FIRST if self._filled is None else f"{REQUESTS_PER_SECOND} a second"
            raise UnsupportedUrl(f"the source takes more than {many} requests")
        self._left -= 1
        self.connections.add(connection)
        self._latest, self.trouble = connection, None

    def answered(self, size: int) -> None:
        """So many more bytes of answers; raises `ExtractionFailed` once they are more than the permit allows."""
        self.received += size
        if self._most is not None and self.received > self._most:
            raise ExtractionFailed(f"the page takes more than {self._most >> 20} MiB to read")

    def fail(self, connection: IConnection, error: AudioServiceError) -> None:
        """The request of `connection` led nowhere, or its answer broke off; what was asked later counts for more."""
        if connection is self._latest:
            self.trouble = error

    def gave_up(self, authority: bytes) -> None:
        """The server at `authority`, host and port, did not answer in time."""
        self._silent.add(authority)

    def gives_up(self, authority: bytes) -> bool:
        """Whether that is known of it, before there is sound: each segment of a playlist would wait for it anew."""
        return self._filled is None and authority in self._silent

    def deny(self, error: AudioServiceError) -> None:
        """Remember what was refused; the first of it stands, and is all that is logged."""
        if self.denial is None:
            self.denial = error
            self.log.warn("refused to {holder}: {reason}", holder=self._label, reason=error.message)
