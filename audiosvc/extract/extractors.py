"""Pages of web sites → sources: asks the workers, keeps what they find, and asks once for what is wanted twice."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from audiosvc.errors import AudioServiceError
from audiosvc.extract import results
from audiosvc.extract.cache import LIFE_SECONDS, Cache, life
from audiosvc.extract.calls import Listing, Operation, Track
from audiosvc.extract.pool import Answer, Pool
from audiosvc.interfaces import IDoor, IReactor
from audiosvc.sources.model import Http, Source
from audiosvc.vitals import ExtractorVitals

PLAYLIST_MOST = 500
"""Entries of a list that are told."""

COOKIES_MOST = 1024 * 1024
"""Bytes of a cookies file."""

NOWHERE = "/nonexistent"
"""Home of the workers. Without HOME, the user's own would be found out and looked into."""

WORKER = Path(__file__).with_name("worker.py")

T = TypeVar("T")
Found = Source | list[Source]

_COOKIE = re.compile(r"(?:#HttpOnly_)?[^\t]+(?:\t[^\t]*){3}\t(?:\d+(?:\.\d+)?)?(?:\t[^\t]*){2}", re.ASCII)


def read_cookies(path: Path) -> str:
    """The text of a cookies file in Netscape's format, whoever wrote it; ValueError where it cannot be one."""
    try:
        with path.open("rb") as file:
            raw = file.read(COOKIES_MOST + 1)
        text = raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if len(raw) > COOKIES_MOST:
        raise ValueError(f"{path} is longer than {COOKIES_MOST} bytes")
    for number, line in enumerate(text.splitlines(), 1):
        comment = line.startswith("#") and not line.startswith("#HttpOnly_")
        if line.strip() and not comment and not _COOKIE.fullmatch(line):
            raise ValueError(f"{path}, line {number}: this is no cookie in Netscape's format")
    return text


def worker_argv(python: str = sys.executable) -> list[str]:
    """The command line of a worker: isolated from PYTHON… variables, the user's packages and the current folder."""
    return [python, "-I", str(WORKER)]


class Extractors:
    """What yt-dlp knows of the web.

    `environment` is what children see of the daemon's; `cookies` is a cookies file's text; `argv` runs a worker.
    """

    def __init__(
        self,
        reactor: IReactor,
        door: IDoor,
        environment: Mapping[str, str],
        count: int = 2,
        cookies: str | None = None,
        argv: Sequence[str] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._reactor = reactor
        self._cookies = cookies
        self._wall = wall
        self._pool = Pool(reactor, door, {**environment, "HOME": NOWHERE}, count, argv or worker_argv())
        self._cache: Cache[Found] = Cache()
        self._flights: dict[Hashable, _Flight[Found]] = {}

    def knows(self, url: str) -> bool:
        """Whether `url` was found to be a page not long ago."""
        return ("resolve", url) in self._cache

    def recall(self, url: str) -> Source | None:
        """What was found in the page `url`, if that is kept."""
        return cast("Source | None", self._cache.get(("resolve", url), self._reactor.seconds()))

    def resolve(self, url: str, *, fresh: bool = False) -> Deferred[Source]:
        """The track at the page `url`, of a list the first. `fresh`: extracted again, by whomever."""
        return cast("Deferred[Source]", self._find("resolve", url, 1, fresh))

    def playlist(self, url: str) -> Deferred[list[Source]]:
        return cast("Deferred[list[Source]]", self._find("playlist", url, PLAYLIST_MOST))

    def search(self, query: str, limit: int) -> Deferred[list[Source]]:
        return cast("Deferred[list[Source]]", self._find("search", query, limit))

    def vitals(self) -> ExtractorVitals:
        pool = self._pool
        return ExtractorVitals(
            available=pool.available,
            workers=pool.workers,
            busy=pool.busy,
            waiting=pool.waiting,
            calls=pool.calls,
            restarts=pool.restarts,
            cached=len(self._cache),
        )

    def stop(self) -> Deferred[None]:
        """End every worker; fires when the last one is reaped."""
        return self._pool.stop()

    def _find(self, op: Operation, asked: str, limit: int, fresh: bool = False) -> Deferred[Found]:
        key = (op, asked) if op != "search" else (op, asked, limit)
        kept = None if fresh else self._cache.get(key, self._reactor.seconds())
        if kept is not None:
            return succeed(kept)
        flight = self._flights.get(key)
        if flight is None:
            try:
                target = asked if op == "search" else results.page(asked)
            except AudioServiceError as error:
                return fail(error)
            asking = self._pool.ask(op, target, limit, self._cookies)
            working = cast("Deferred[Found]", asking.addCallback(self._made, key, asked, limit))
            flight = _Flight(working)
            if not flight.landed:
                self._flights[key] = flight
                working.addBoth(lambda _: self._flights.pop(key))
        return flight.join()

    def _made(self, answer: Answer, key: Hashable, asked: str, limit: int) -> Found:
        found: Found
        match answer.found:
            case Track() as track:
                found = results.source(track, asked)
                media = cast(Http, found.media)
                kept_for = life(media.url, self._wall())
            case Listing() as listing:
                found, kept_for = results.sources(listing, limit), LIFE_SECONDS
        self._cache.put(key, found, answer.size, self._reactor.seconds(), kept_for)
        return found


class _Flight(Generic[T]):
    """One look-up that several wait for. When the last of them goes away, so does it."""

    def __init__(self, working: Deferred[T]) -> None:
        self._working = working
        self._waiting: list[Deferred[T]] = []
        self._outcome: T | Failure | None = None
        working.addBoth(self._land)

    @property
    def landed(self) -> bool:
        return self._outcome is not None

    def join(self) -> Deferred[T]:
        one: Deferred[T] = Deferred(self._leave)
        if self._outcome is None:
            self._waiting.append(one)
        else:
            one.callback(self._outcome)
        return one

    def _leave(self, one: Deferred[T]) -> None:
        self._waiting.remove(one)
        if not self._waiting:
            self._working.cancel()

    def _land(self, outcome: T | Failure) -> None:
        self._outcome = outcome
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(outcome)
