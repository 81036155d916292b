"""What has no end: an endless file, radio that names its titles, and HLS of which only the newest can be had."""

from __future__ import annotations

import time
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from tests.site import media
from tests.site.body import Body, endless
from tests.site.hits import SiteRequest

METAINT = 8_000
"""Bytes of sound between two titles."""

RADIO_RATE = 16_000
"""Bytes a second: the piece has 128 kbit/s."""

RADIO_BURST = 4
"""Seconds that a listener gets at once."""

RADIO_TITLE = "Title {}"
STATION = "Loopback Radio"

WINDOW = 5
"""Segments in a live playlist, each of a second."""


class Endless(Resource):
    """`/endless/NAME`: media without length or end, as fast as it is taken, or at `rate` bytes a second."""

    isLeaf = True

    def render_GET(self, request: Any) -> int:
        name = b"/".join(request.postpath).decode()
        request.setHeader("Content-Type", media.content_type(name))
        Body(request, endless(media.content(name)), 0, None, rate=request.option("rate", 0)).begin()
        return NOT_DONE_YET


class Radio(Resource):
    """`/radio`: a station whose title changes with every `seconds` of its sound (2), told to those who ask for it.

    With `drop` it breaks off once a URL after so many seconds of sound.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self._dropped: set[bytes] = set()

    def render_GET(self, request: Any) -> int:
        told = request.getHeader("icy-metadata") == "1"
        request.setHeader("Content-Type", "audio/mpeg")
        request.setHeader("icy-name", STATION)
        if told:
            request.setHeader("icy-metaint", str(METAINT))
        OnAir(request, media.content("piece.mp3"), told, self._dropped).begin()
        return NOT_DONE_YET


class OnAir:
    """One listener of the radio."""

    def __init__(self, request: SiteRequest, music: bytes, told: bool, dropped: set[bytes]) -> None:
        self._request = request
        self._music = music
        self._told = told
        self._seconds = request.option("seconds", 2)
        self._drop = 0.0 if request.uri in dropped else request.option("drop", 0)
        self._dropped = dropped
        self._blocks = 0
        self._title = ""
        self._began = time.monotonic()

    def begin(self) -> None:
        if self._request._disconnected:
            return
        due = (time.monotonic() - self._began + RADIO_BURST) * RADIO_RATE
        while (self._blocks + 1) * METAINT <= due:
            self._block()
        if self._drop and self._blocks * METAINT >= self._drop * RADIO_RATE:
            self._dropped.add(self._request.uri)
            self._request.break_off()
        else:
            self._request.reactor.callLater(0.1, self.begin)

    def _block(self) -> None:
        start = self._blocks * METAINT % (len(self._music) - METAINT)
        self._request.write(self._music[start : start + METAINT])
        self._blocks += 1
        if not self._told:
            return
        title = RADIO_TITLE.format(int(self._blocks * METAINT / RADIO_RATE / self._seconds))
        text = b"" if title == self._title else f"StreamTitle='{title}';StreamUrl='';".encode()
        self._title = title
        length = -(-len(text) // 16)
        self._request.write(bytes([length]) + text.ljust(16 * length, b"\0"))


class Live(Resource):
    """`/live/index.m3u8` and its segments of one second: a window that slides from the first request of its query on.

    `stall=A,B`: from second A on nothing new is published for B seconds; then the window is where it would have been.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self._began: dict[bytes, float] = {}

    def render_GET(self, request: Any) -> bytes:
        name = b"/".join(request.postpath).decode()
        if name != "index.m3u8":
            request.setHeader("Content-Type", "video/mp2t")
            return media.content(f"live/{name}")
        request.setHeader("Content-Type", media.content_type(name))
        now = time.monotonic() - self._began.setdefault(request.uri, time.monotonic())
        at, seconds = (float(word) for word in request.word("stall", "0,0").split(","))
        if at < now < at + seconds:
            now = at
        first = int(now)
        parts = "".join(f"#EXTINF:1.0,\n{n}.ts\n" for n in range(first, min(first + WINDOW, media.LONG)))
        head = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n"
        return (head + parts).encode()
