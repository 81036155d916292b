"""URL → what to play: tells the kinds of URL apart and asks the one it belongs to."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred, DeferredSemaphore, execute, fail, succeed
from twisted.internet.interfaces import IReactorTime

from audiosvc.errors import ExtractionUnavailable, InvalidQuery, TooManyLookups, UnsupportedUrl
from audiosvc.ffmpeg.probe import probe
from audiosvc.ffmpeg.process import Spawner
from audiosvc.session.track import URL_MOST
from audiosvc.sources import http
from audiosvc.sources.demo import Demos
from audiosvc.sources.files import MediaRoot
from audiosvc.sources.model import Source
from audiosvc.sources.text import is_plain

PROBES_MOST = 4
"""Sources looked at by FFmpeg at once."""

WAITING_MOST = 32
"""Sources that may wait for that."""

DEMO = "demo:"


class Resolver:
    """All sources there are. `media_root` is the folder whose files are played, None for no files."""

    def __init__(self, media_root: Path | None, ffmpeg: str, spawner: Spawner, reactor: IReactorTime) -> None:
        self._demos = Demos()
        self._files = MediaRoot(media_root)
        self._ffmpeg = ffmpeg
        self._spawner = spawner
        self._reactor = reactor
        self._probes = DeferredSemaphore(PROBES_MOST)

    def check(self, url: str) -> None:
        kind = _kind(url)
        if kind == "demo":
            self._demos.find(url)
        elif kind == "file":
            self._files.locate(url)
        else:
            http.parse(url)

    def resolve(self, url: str, *, fresh: bool = False) -> Deferred[Source]:
        return execute(self._resolve, url)

    def describe(self, url: str) -> Deferred[Source]:
        resolved = self.resolve(url)
        return resolved.addCallback(self._look)

    def search(self, query: str, limit: int) -> Deferred[list[Source]]:
        """Built-in sources: `demo:` all, `demo:WORDS` or words alone those in whose name or title all of them are."""
        return execute(self._search, query, limit)

    def playlist(self, url: str) -> Deferred[list[Source]]:
        """`demo:` lists what is built in, a folder below the media root its files; a track is a list of one."""
        return execute(self._playlist, url)

    def _resolve(self, url: str) -> Source:
        kind = _kind(url)
        if kind == "demo":
            return self._demos.find(url)
        return self._files.find(url) if kind == "file" else http.parse(url)

    def _look(self, source: Source) -> Deferred[Source]:
        """What is built in is known; all else is asked of its media."""
        if source.duration is not None:
            return succeed(source)
        if len(self._probes.waiting) >= WAITING_MOST:
            return fail(TooManyLookups())
        return self._probes.run(probe, self._reactor, self._spawner, self._ffmpeg, source)

    def _search(self, query: str, limit: int) -> list[Source]:
        named = query.lower().startswith(DEMO)
        words = (query[len(DEMO) :] if named else query).casefold().split()
        if not words and not named:
            raise InvalidQuery("there is nothing to search for")
        found = [source for source in self._demos.all() if _fits(source, words)]
        if not found and not named:
            raise ExtractionUnavailable()
        return found[:limit]

    def _playlist(self, url: str) -> list[Source]:
        if url.lower() == DEMO:
            return self._demos.all()
        kind = _kind(url)
        if kind == "demo":
            return [self._demos.find(url)]
        if kind == "file":
            return self._files.list(url)
        http.parse(url)
        raise ExtractionUnavailable()


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
