"""A first look at an http(s) URL: media to be handed to FFmpeg, or a page to be handed to the extractor.

A look costs the server one more connection and the listener its round trips, and is taken of every URL, whatever its
suffix: pages are named like media (`/wiki/File:Song.ogg`, `song.mp3?dl=0`), and only the bytes tell what may be passed
through as it is, which stations announce titles, and which variant of a playlist is sound alone.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from audiosvc.errors import AudioServiceError, NotAudio, SourceNotFound, SourceRefused
from audiosvc.sources import http, kinds
from audiosvc.sources.kinds import Kind, Leads
from audiosvc.sources.model import Http, Source
from audiosvc.sources.text import clean

LOOK_SECONDS = 8.0
"""How long a server may take to show what it has."""

REDIRECTS_MOST = 8
"""As many as FFmpeg follows."""

LISTS_MOST = 3
"""Playlists that may lead to one another: a station's list, a master playlist, a media playlist."""

REMEMBERED_SECONDS = 60.0
"""How long what was seen is taken for true: whoever asks what a URL is plays it soon after."""

REMEMBERED_MOST = 256

_SIZE = re.compile(r"(?:bytes \d+-\d+/)?(\d{1,18})")

FIRST_BYTES = 12 * 1024
"""Bytes that are looked at: they come with the server's first ten packets (RFC 6928), more would take longer."""

LIST_BYTES = kinds.FIRST_BYTES
"""Bytes of a playlist that is longer."""


class Answer(Protocol):
    """What came of a GET: header names in lower case, `url` where the redirects ended, `body` its beginning."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def url(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class Fetch(Protocol):
    """A vetted GET of at most `most_bytes`; a body that is slower than `seconds` is as long as it is by then."""

    def __call__(
        self, url: str, headers: Mapping[str, str], most_bytes: int, seconds: float, redirects: int
    ) -> Awaitable[Answer]: ...


@dataclass(frozen=True)
class Page:
    """Something to be read for what it plays; `url` is the one that was asked for."""

    url: str


Seen = Source | Page


class Look:
    """Looks at URLs through `fetch`, each at most once a minute, and once for all who ask at the same time."""

    def __init__(self, reactor: IReactorTime, fetch: Fetch) -> None:
        self._reactor = reactor
        self._fetch = fetch
        self._remembered: OrderedDict[str, tuple[float, Seen]] = OrderedDict()
        self._waiting: dict[str, list[Deferred[Seen]]] = {}

    def __call__(self, url: str, *, fresh: bool = False) -> Deferred[Seen]:
        """What `url`, http or https, leads to; `fresh`: looked at now.

        Fails with `UnsupportedUrl`, `BlockedAddress`, `SourceNotFound`, `SourceRefused`, `SourceUnreachable`,
        `SourceTimeout`, and `NotAudio` for a playlist of nothing that is played.
        """
        answer: Deferred[Seen] = Deferred()
        known = None if fresh else self.recall(url)
        if known is not None:
            answer.callback(known)
        elif url in self._waiting:
            self._waiting[url].append(answer)
        else:
            self._waiting[url] = [answer]
            looked = Deferred.fromCoroutine(self._look(url))
            looked.addCallbacks(self._remember, callbackArgs=(url,))
            looked.addBoth(self._tell, url)
        return answer

    def recall(self, url: str) -> Seen | None:
        """What was seen of `url` within the last minute."""
        until, seen = self._remembered.get(url, (0.0, None))
        return seen if self._reactor.seconds() < until else None

    def _remember(self, seen: Seen, url: str) -> Seen:
        self._remembered[url] = (self._reactor.seconds() + REMEMBERED_SECONDS, seen)
        self._remembered.move_to_end(url)
        while len(self._remembered) > REMEMBERED_MOST:
            self._remembered.popitem(last=False)
        return seen

    def _tell(self, seen: Seen | Failure, url: str) -> None:
        for answer in self._waiting.pop(url):
            answer.callback(seen)

    async def _look(self, url: str) -> Seen:
        asked = http.parse(url)
        place = _place(asked)
        for _ in range(LISTS_MOST + 1):
            answer = await self._get(place, FIRST_BYTES)
            kind = _kind(answer, FIRST_BYTES)
            if kind.leads is Leads.TO_PLAYLIST and len(answer.body) >= FIRST_BYTES:
                answer = await self._get(place, LIST_BYTES)
                kind = _kind(answer, LIST_BYTES)
            if kind.entry is not None:
                place = _place(http.parse(http.join(answer.url, kind.entry)))
            elif kind.leads is Leads.TO_PLAYLIST and kind.container is None:
                raise NotAudio("the playlist names nothing that is played")
            elif kind.leads is not Leads.TO_PAGE:
                return _source(asked, place, kind, answer.headers, await self._is_counted(kind, answer))
            elif place == _place(asked):
                return Page(url)
            else:
                raise NotAudio("the playlist leads to a page")
        raise NotAudio("the playlist leads to further playlists")

    async def _is_counted(self, kind: Kind, answer: Answer) -> bool:
        """Whether a position in the media has to be counted to. Of an Ogg the end is looked at as well, and of what is
        said to be had in parts and was not given so."""
        if kind.live or kind.leads is Leads.TO_PLAYLIST:
            return False
        headers = answer.headers
        whole = answer.status == 200
        if whole and (headers.get("accept-ranges", "none") == "none" or "content-length" not in headers):
            return True
        if not whole and kind.container != "ogg":
            return False
        last = answer.body
        size = _SIZE.fullmatch(headers["content-length"] if whole else headers.get("content-range", ""))
        if size is not None and int(size[1]) > len(last):
            last = await self._end(answer.url, int(size[1]))
            if whole and not last:
                # It was given whole, in the first place, for want of parts, whatever was said of those.
                return True
        return kind.container == "ogg" and kinds.is_chained(answer.body, last)

    async def _end(self, url: str, size: int) -> bytes:
        """The last bytes of what has `size`; none where they are not given, as FFmpeg will not get them either."""
        headers = {"Accept": "*/*", "Range": f"bytes={max(0, size - kinds.LAST_BYTES)}-{size - 1}"}
        try:
            answer = await self._fetch(url, headers, kinds.LAST_BYTES, LOOK_SECONDS, REDIRECTS_MOST)
        except AudioServiceError:
            return b""
        return answer.body if answer.status == 206 else b""

    async def _get(self, url: str, most: int) -> Answer:
        headers = {"Accept": "*/*", "Range": f"bytes=0-{most - 1}"}
        answer = await self._fetch(url, headers, most, LOOK_SECONDS, REDIRECTS_MOST)
        if answer.status in (404, 410):
            raise SourceNotFound(f"the source's server answered {answer.status}: not there")
        if answer.status not in (200, 206):
            raise SourceRefused(f"the source's server answered {answer.status}")
        return answer


def _place(source: Source) -> str:
    assert isinstance(source.media, Http)
    return source.media.url


def _kind(answer: Answer, asked: int) -> Kind:
    return kinds.tell(answer.body, answer.headers, answer.url, whole=len(answer.body) < asked)


def _source(asked: Source, place: str, kind: Kind, headers: Mapping[str, str], counted: bool) -> Source:
    """`asked` with what was seen. FFmpeg follows redirects itself: where they end may be good for one listener only."""
    playlist = kind.container if kind.leads is Leads.TO_PLAYLIST else None
    media = Http(place, demuxer=playlist, station=kind.station, vbr=kind.vbr, counted=counted)
    title = clean(headers.get("icy-name", "")) or asked.title
    return replace(asked, media=media, title=title, live=kind.live, opus=kind.opus)
