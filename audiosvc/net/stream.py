"""The body of an answer, read as fast as somebody wants it; the rest of it stays with the kernel and the server."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from audiosvc.net.dialer import IDialer, bound
from audiosvc.net.exchange import Exchange, Head, Vouched

HELD_MOST = 32 * 1024
"""Bytes from which on no more is taken off the connection; the last piece to be taken may have 64 KiB."""

_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")


class Stream(Exchange):
    """One GET. `run` it, then `read`; `close` it in the end, whatever came of it."""

    transport: Any

    def __init__(self, reactor: IReactorTime, url: str, headers: Mapping[str, str]) -> None:
        super().__init__(reactor, url, headers)
        self.whole = False
        """Once `read` has given None: whether that was the body's own end."""
        self._headed: Deferred[Head] = Deferred(lambda _: self.stop())
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._paused = False
        self._ended = False
        self._callback: Callable[[], None] | None = None

    def run(self, dialer: IDialer, vouched: Vouched) -> Deferred[Head]:
        """Fires with the answer's head; fails as `Fetcher.stream` does."""
        self.dial(dialer, vouched)
        return self._headed

    @property
    def begins(self) -> int | None:
        """The offset of the body's first byte, None if there is no telling."""
        assert self.head is not None
        if self.head.status != 206:
            return 0
        part = _RANGE.fullmatch(self.head.headers.get("content-range", ""))
        return None if part is None else int(part[1])

    @property
    def size(self) -> int | None:
        """Bytes of all there is, whatever part of it was asked for; None if that is not said."""
        assert self.head is not None
        if self.head.status != 206:
            return int(length) if (length := self.head.headers.get("content-length")) else None
        part = _RANGE.fullmatch(self.head.headers.get("content-range", ""))
        return None if part is None or part[2] == "*" else int(part[2])

    def read(self, most: int) -> bytes | None:
        """Up to `most` of the bytes that are there now; b"" if there are none, None at the end."""
        if not self._pieces:
            if self._ended:
                return None
            self._take()
            return b""
        piece = self._pieces.popleft()
        if len(piece) > most:
            self._pieces.appendleft(piece[most:])
            piece = piece[:most]
        self._held -= len(piece)
        return piece

    def when_readable(self, callback: Callable[[], None]) -> None:
        """After a `read` that found nothing: call `callback` once when another finds something, or the end."""
        self._callback = callback

    def close(self) -> None:
        """Close the connection; nothing is read any more."""
        self._callback = None
        self._pieces.clear()
        self.stop()

    def connectionMade(self) -> None:
        # TLS has the connection itself below it.
        bound(getattr(self.transport, "transport", self.transport))
        super().connectionMade()

    def answered(self, head: Head) -> None:
        if head.location is not None:
            self.stop()
        self._headed.callback(head)

    def came(self, data: bytes) -> None:
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= HELD_MOST and not self._paused:
            self._paused = True
            self.transport.pauseProducing()
        self._tell()

    def ended(self, whole: bool) -> None:
        self.whole, self._ended = whole, True
        self._tell()

    def failed(self, failure: Failure) -> None:
        if self.head is None:
            self._headed.errback(failure)
        else:
            self.ended(False)

    def _take(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()

    def _tell(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()
