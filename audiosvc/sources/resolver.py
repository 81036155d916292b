"""URL → what to play: tells the kinds of URL apart and asks the one it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, DeferredSemaphore, execute, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosvc.errors import (
    AudioServiceError,
    ExtractionUnavailable,
    InvalidQuery,
    SourceRefused,
    TooManyLookups,
    UnsupportedUrl,
)
from audiosvc.ffmpeg.probe import probe
from audiosvc.ffmpeg.process import Spawner
from audiosvc.interfaces import IDoor
from audiosvc.session.track import URL_MOST
from audiosvc.sources import http
from audiosvc.sources.demo import Demos
from audiosvc.sources.files import Listed, MediaRoot
from audiosvc.sources.look import Page, Seen
from audiosvc.sources.model import Http, Source
from audiosvc.sources.text import is_plain

PROBES_MOST = 4
"""Sources looked at by FFmpeg at once."""

WAITING_MOST = 32
"""Sources that may wait for that."""

DEMO = "demo:"

Policy = Callable[[str, int], object]
"""Raises `BlockedAddress` for a host and a port that are not reached, as far as shows from them alone."""

_PORTS = {"http": 80, "https": 443}


class ILook(Protocol):
    """A first look at an http(s) URL: whether it is media itself."""

    def __call__(self, url: str, *, fresh: bool = False) -> Deferred[Seen]:
        """Fails with an `AudioServiceError`. `fresh`: not out of any memory."""

    def recall(self, url: str) -> Seen | None:
        """What was seen of `url` not long ago."""


class IExtractors(Protocol):
    """What is known of pages. All of it fails with an `AudioServiceError`; cancelled, it gives its place to others."""

    def knows(self, url: str) -> bool:
        """Whether `url` is known to be a page."""

    def recall(self, url: str) -> Source | None:
        """What was found in the page `url`, if that was not long ago."""

    def resolve(self, url: str, *, fresh: bool = False) -> Deferred[Source]: ...

    def playlist(self, url: str) -> Deferred[list[Source]]: ...

    def search(self, query: str, limit: int) -> Deferred[list[Source]]: ...


class Resolver:
    """All sources there are.

    `media_root` is the folder whose files are played, None for no files; with `list_files` they are told. Without
    `look` every http URL is taken for media; without `extractors` pages are not read and the web is not searched.
    """

    log = Logger()

    def __init__(
        self,
        media_root: Path | None,
        ffmpeg: str,
        spawner: Spawner,
        reactor: IReactorTime,
        *,
        list_files: bool = False,
        door: IDoor | None = None,
        look: ILook | None = None,
        extractors: IExtractors | None = None,
        policy: Policy | None = None,
    ) -> None:
        self._demos = Demos()
        self._files = MediaRoot(media_root, listed=list_files)
        self._ffmpeg = ffmpeg
        self._spawner = spawner
        self._reactor = reactor
        self._door = door
        self._look = look
        self._extractors = extractors
        self._policy = policy
        self._probes = DeferredSemaphore(PROBES_MOST)

    def check(self, url: str) -> None:
        kind = _kind(url)
        if kind == "demo":
            self._demos.find(url)
        elif kind == "file":
            self._files.locate(url)
        else:
            self._parse(url)

    def known(self, url: str) -> Source | None:
        """Of a file that is what it begins with, of the web what was seen or found not long ago."""
        try:
            kind = _kind(url)
            if kind != "http":
                return self._demos.find(url) if kind == "demo" else self._files.find(url)
            asked = self._parse(url)
        except AudioServiceError:
            return None
        seen = self._look.recall(asked.url) if self._look is not None else asked
        if isinstance(seen, Source):
            return seen
        return self._extractors.recall(asked.url) if self._extractors is not None else None

    def resolve(self, url: str, *, fresh: bool = False) -> Deferred[Source]:
        """Of a page its track, of a page that lists tracks the first."""
        try:
            kind = _kind(url)
            if kind == "demo":
                return succeed(self._demos.find(url))
            if kind == "file":
                return succeed(self._files.find(url))
            return self._resolve(self._parse(url), fresh)
        except AudioServiceError:
            return fail()

    def describe(self, url: str) -> Deferred[Source]:
        return self.resolve(url).addCallback(self._describe)

    def search(self, query: str, limit: int) -> Deferred[list[Source]]:
        """`demo:` finds all that is built in, `demo:WORDS` that in whose name or title all of them are.

        Words alone find that, and then what the web has of them.
        """
        named = query.lower().startswith(DEMO)
        words = (query[len(DEMO) :] if named else query).casefold().split()
        if not words and not named:
            return fail(InvalidQuery("there is nothing to search for"))
        own = [source for source in self._demos.all() if _fits(source, words)][:limit]
        if named or len(own) == limit or (own and self._extractors is None):
            return succeed(own)
        if self._extractors is None:
            return fail(ExtractionUnavailable("the web is not searched here; demo: finds what is built in"))
        found = self._extractors.search(query, limit).addCallback(lambda others: [*own, *others][:limit])
        return found.addErrback(self._not_searched, own) if own else found

    def playlist(self, url: str) -> Deferred[list[Source]]:
        """`demo:` lists what is built in, a folder below the media root its files, a page its tracks.

        One track is a list of one.
        """
        if url.lower() == DEMO:
            return succeed(self._demos.all())
        try:
            kind = _kind(url)
            if kind == "demo":
                return succeed([self._demos.find(url)])
            return execute(self._files.list, url) if kind == "file" else self._list(self._parse(url))
        except AudioServiceError:
            return fail()

    def files(self, path: str) -> list[Listed]:
        return self._files.browse(path)

    # --- http ----------------------------------------------------------------------------------------------------

    def _parse(self, url: str) -> Source:
        """`url`, http or https, strictly parsed; `BlockedAddress` where it shows in it that it is not reached."""
        source = http.parse(url)
        if self._policy is not None:
            parts = urlsplit(cast(Http, source.media).url)
            self._policy(parts.hostname or "", parts.port or _PORTS[parts.scheme])
        return source

    def _resolve(self, asked: Source, fresh: bool) -> Deferred[Source]:
        def seen(what: Seen) -> Source | Deferred[Source]:
            return self._pages().resolve(what.url, fresh=fresh) if isinstance(what, Page) else what

        return self._see(asked, fresh).addCallback(seen)

    def _list(self, asked: Source) -> Deferred[list[Source]]:
        def seen(what: Seen) -> list[Source] | Deferred[list[Source]]:
            return self._pages().playlist(what.url) if isinstance(what, Page) else [what]

        return self._see(asked).addCallback(seen)

    def _see(self, asked: Source, fresh: bool = False) -> Deferred[Seen]:
        if self._look is None:
            return succeed(asked)
        if self._extractors is None:
            return self._look(asked.url, fresh=fresh)
        if self._extractors.knows(asked.url):
            return succeed(Page(asked.url))

        def refused(failure: Failure) -> Seen:
            # Some sites show their pages to browsers alone, which yt-dlp knows how to look like.
            failure.trap(SourceRefused)
            return Page(asked.url)

        return self._look(asked.url, fresh=fresh).addErrback(refused)

    def _pages(self) -> IExtractors:
        if self._extractors is None:
            raise ExtractionUnavailable("pages of web sites are not read here; direct media URLs play")
        return self._extractors

    def _not_searched(self, failure: Failure, own: list[Source]) -> list[Source]:
        """What is built in, where the web gives nothing."""
        failure.trap(AudioServiceError)
        self.log.warn("the web was not searched: {reason}", reason=failure.getErrorMessage())
        return own

    # --- a closer look -------------------------------------------------------------------------------------------

    def _describe(self, source: Source) -> Source | Deferred[Source]:
        """What is built in is known, and what many a page says is enough; all else is asked of its media."""
        if source.duration is not None or source.playlist is not None or (source.extracted and source.live):
            return source
        if len(self._probes.waiting) >= WAITING_MOST:
            raise TooManyLookups()
        return self._probes.run(self._probe, source).addCallback(_as_page_says, source)

    def _probe(self, source: Source) -> Deferred[Source]:
        permit = self._door.permit("describe") if self._door is not None and isinstance(source.media, Http) else None
        return probe(self._reactor, self._spawner, self._ffmpeg, source, permit)


def _as_page_says(probed: Source, page: Source) -> Source:
    """What a page calls its media goes before what they call themselves."""
    if not page.extracted:
        return probed
    return replace(probed, title=page.title or probed.title, uploader=page.uploader or probed.uploader)


def _kind(url: str) -> str:
    """`demo`, `file` or `http`; raises `UnsupportedUrl`.

    A plain path has no colon before its first slash: what has one is taken for a URL, so that FFmpeg's many `concat:`
    and `subfile,,…:` never come near it.
    """
    if not url or len(url) > URL_MOST:
        raise UnsupportedUrl(f"a URL is 1 to {URL_MOST} characters long")
    if not is_plain(url) or url.startswith("-"):
        raise UnsupportedUrl("a URL holds no control characters and does not begin with a dash")
    scheme, colon, _ = url.partition("/")[0].partition(":")
    if not colon:
        return "file"
    kind = {"demo": "demo", "file": "file", "http": "http", "https": "http"}.get(scheme.lower())
    if kind is None:
        raise UnsupportedUrl(f"this kind of URL cannot be played; {DEMO}, file:, http:// and https:// can")
    return kind


def _fits(source: Source, words: list[str]) -> bool:
    known = " ".join((source.url, source.title or "", source.uploader or "")).casefold()
    return all(word in known for word in words)
