"""`/FAULT/NAME?…`: the media at `media/NAME` from a server with that fault. Some do it once a URL."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from tests.site import media
from tests.site.body import Body, extent, of_file
from tests.site.hits import SiteRequest

Fault = Callable[[SiteRequest, Callable[..., None]], None]


class Faulty(Resource):
    """One fault. It is called with the request and a function that answers as a good server would, given `Body`'s own
    options. Without `ranges` it gives no parts. What is not `measured` either is of no stated length, and comes in
    chunks."""

    isLeaf = True

    def __init__(self, fault: Fault, *, ranges: bool = True, measured: bool = True) -> None:
        super().__init__()
        self._fault = fault
        self._ranges = ranges
        self._measured = measured

    def render_GET(self, request: Any) -> Any:
        name = b"/".join(request.postpath).decode()
        path = media.find(name)
        if path is None:
            request.setResponseCode(404)
            return b"no such media"
        request.setHeader("Content-Type", media.content_type(name))
        size = path.stat().st_size

        def answer(**options: Any) -> None:
            if self._ranges:
                start, end = extent(request, size)
            else:
                start, end = 0, size
                if self._measured:
                    request.setHeader("Content-Length", str(size))
            if off := options.pop("off", 0):
                request.setHeader("Content-Length", str(end - start + off))
                options.update(after=end - start, then=lambda body: body.request.break_off())
            Body(request, of_file(path), start, end, **options).begin()

        self._fault(request, answer)
        return NOT_DONE_YET


def good(request: SiteRequest, answer: Callable[..., None]) -> None:
    answer()


def drop(request: SiteRequest, answer: Callable[..., None]) -> None:
    """Every answer breaks off after `bytes`."""
    answer(after=int(request.option("bytes", 100_000)), then=lambda body: body.request.break_off())


def cut(request: SiteRequest, answer: Callable[..., None]) -> None:
    """All there is of it is the first `bytes`, though more is promised."""
    asked = re.match(r"bytes=(\d+)-", request.getHeader("range") or "")
    left = int(request.option("bytes", 100_000)) - (int(asked[1]) if asked else 0)
    answer(after=max(0, left), then=lambda body: body.request.break_off())


def boast(request: SiteRequest, answer: Callable[..., None]) -> None:
    """Says that parts of it are to be had."""
    request.setHeader("Accept-Ranges", "bytes")
    answer()


def slow(request: SiteRequest, answer: Callable[..., None]) -> None:
    """`rate` bytes a second."""
    answer(rate=request.option("rate", 2000))


def header_drip(request: SiteRequest, answer: Callable[..., None]) -> None:
    """A header a second, and no end of them."""
    request.raw(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n")

    def drip(n: int) -> None:
        if not request._disconnected:
            request.raw(b"X-Drip-%d: drop\r\n" % n)
            request.reactor.callLater(1, drip, n + 1)

    drip(0)


def length(request: SiteRequest, answer: Callable[..., None]) -> None:
    """A Content-Length that is `off` by so much; the connection is closed after the body."""
    request.setHeader("Connection", "close")
    answer(off=int(request.option("off", 1000)))


class Once:
    """Faults that a URL has once: with the first answer that comes so far."""

    def __init__(self) -> None:
        self._had: set[str] = set()
        self._silent: dict[str, float] = {}

    def had(self, url: str) -> bool:
        """Whether `url`, from its path on, has had its fault."""
        return url in self._had

    def _once(self, request: SiteRequest, answer: Callable[..., None], then: Callable[[Body], None]) -> None:
        url = request.uri.decode()

        def has(body: Body) -> None:
            self._had.add(url)
            then(body)

        answer(after=int(request.option("bytes", 100_000)), then=has)

    def drop(self, request: SiteRequest, answer: Callable[..., None]) -> None:
        """Breaks off after `bytes`."""
        if request.uri.decode() in self._had:
            answer()
        else:
            self._once(request, answer, lambda body: body.request.break_off())

    def tear(self, request: SiteRequest, answer: Callable[..., None]) -> None:
        """As `drop`, but TLS is not closed either: where nothing is `measured` FFmpeg does not miss the last chunk.

        Not to who asks for the beginning only, and would get more of it than it reads.
        """
        beginning = re.fullmatch(r"bytes=\d+-\d+", request.getHeader("range") or "")
        if beginning or request.uri.decode() in self._had:
            answer()
        else:
            self._once(request, answer, lambda body: body.request.tear())

    def stall(self, request: SiteRequest, answer: Callable[..., None]) -> None:
        """After `bytes` nothing more comes for `seconds` (0: for ever), on this connection and on others."""
        url, seconds = request.uri.decode(), request.option("seconds", 0)

        def stalls(body: Body) -> None:
            self._silent[url] = time.monotonic() + seconds if seconds else math.inf
            if seconds:
                body.request.reactor.callLater(seconds, body.go_on)

        def late() -> None:
            if not request._disconnected:
                answer()

        if url not in self._had:
            self._once(request, answer, stalls)
        elif (wait := self._silent[url] - time.monotonic()) <= 0:
            answer()
        elif wait < math.inf:
            request.reactor.callLater(wait, late)

    def expire(self, request: SiteRequest, answer: Callable[..., None]) -> None:
        """Breaks off after `bytes`; from then on there is only 403 (or `code`). Not so `for=ever`."""
        if request.word("for") == "ever":
            answer()
        elif request.uri.decode() in self._had:
            request.setResponseCode(int(request.option("code", 403)))
            request.setHeader("Content-Type", "text/plain")
            request.write(b"this link has expired")
            request.finish()
        else:
            self._once(request, answer, lambda body: body.request.break_off())


def branches(once: Once) -> dict[str, Faulty]:
    """All faults by name, and `media`, which has none. `unmeasured` is what a script sends that makes it meanwhile."""
    faults: dict[str, Fault] = {
        "media": good,
        "drop": drop,
        "cut": cut,
        "droponce": once.drop,
        "stall": once.stall,
        "hdrdrip": header_drip,
        "slow": slow,
        "once403": once.expire,
        "length": length,
    }
    bare = {
        "norange": Faulty(good, ranges=False),
        "boast": Faulty(boast, ranges=False),
        "unmeasured": Faulty(good, ranges=False, measured=False),
        "unmeasured-boast": Faulty(boast, ranges=False, measured=False),
        "unmeasured-drop": Faulty(drop, ranges=False, measured=False),
        "unmeasured-torn": Faulty(once.tear, ranges=False, measured=False),
    }
    return {name: Faulty(fault) for name, fault in faults.items()} | bare
