"""Bodies of answers: whole or by Range, at a pace, and with what may go wrong in the middle of one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

from tests.site.hits import SiteRequest

CHUNK = 32 * 1024
TICK_SECONDS = 0.1
"""How often a body with a rate gives some of itself."""

Read = Callable[[int, int], bytes]
"""(from, how many at most) → bytes; fewer only at the end."""


def of(data: bytes) -> Read:
    return lambda start, most: data[start : start + most]


def of_file(path: Path) -> Read:
    def read(start: int, most: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(most)

    return read


def endless(data: bytes) -> Read:
    """`data` again and again."""

    def read(start: int, most: int) -> bytes:
        start %= len(data)
        return data[start : start + most]

    return read


@implementer(IPullProducer)
class Body:
    """Gives a request the bytes from `start` to `end` (None: for ever), then finishes it.

    After `after` bytes `then` is called with the body instead: it may let it `go_on` some time, or break the request
    off. `rate` is in bytes a second, 0 for all the client takes.
    """

    def __init__(
        self,
        request: SiteRequest,
        read: Read,
        start: int,
        end: int | None,
        *,
        rate: float = 0,
        after: int | None = None,
        then: Callable[[Body], None] | None = None,
    ) -> None:
        self.request = request
        self._read = read
        self._next = start
        self._end = end
        self._rate = rate
        self._left = after
        self._then = then
        self._over = False
        self._waits = False
        request.notifyFinish().addBoth(self._finished)

    def begin(self) -> None:
        if self._rate:
            self._tick()
        else:
            self.request.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self._give(CHUNK)

    def stopProducing(self) -> None:
        self._over = True

    def go_on(self) -> None:
        """Past what happened."""
        if not self._over:
            self._left, self._waits = None, False
            self.begin()

    def _give(self, most: int) -> None:
        if self._over:
            return
        if self._left is not None:
            most = min(most, self._left)
            if most == 0:
                self._waits = True
                self._pause()
                assert self._then is not None
                self._then(self)
                return
            self._left -= most
        if self._end is not None:
            most = min(most, self._end - self._next)
        if data := self._read(self._next, most):
            self._next += len(data)
            self.request.write(data)
        else:
            self._over = True
            self._pause()
            self.request.finish()

    def _tick(self) -> None:
        if not self._over and not self._waits:
            self._give(max(1, round(self._rate * TICK_SECONDS)))
            self.request.reactor.callLater(TICK_SECONDS, self._tick)

    def _pause(self) -> None:
        if not self._rate:
            self.request.unregisterProducer()

    def _finished(self, _: object) -> None:
        self._over = True


def extent(request: SiteRequest, size: int) -> tuple[int, int]:
    """What of a body of `size` is asked for; sets status and headers. (size, size) if nothing of it is there."""
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.getHeader("range") or "")
    request.setHeader("Accept-Ranges", "bytes")
    if asked is None:
        request.setHeader("Content-Length", str(size))
        return 0, size
    start, end = int(asked[1]), min(int(asked[2] or size - 1), size - 1) + 1
    if start >= size:
        request.setResponseCode(416)
        request.setHeader("Content-Range", f"bytes */{size}")
        request.setHeader("Content-Length", "0")
        return size, size
    request.setResponseCode(206)
    request.setHeader("Content-Range", f"bytes {start}-{end - 1}/{size}")
    request.setHeader("Content-Length", str(end - start))
    return start, end
