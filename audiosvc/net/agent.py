"""The daemon's own GETs: dialled through the same vetter as its children's, bounded in bytes, time and redirects.

What comes is either fetched, up to so many bytes, or streamed, as fast as somebody reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.python.failure import Failure

from audiosvc.errors import SourceRefused, SourceTimeout
from audiosvc.net.dialer import IDialer
from audiosvc.net.exchange import Exchange, Head, Vouched
from audiosvc.net.stream import Stream
from audiosvc.sources import http
from audiosvc.sources.model import Http

DEFAULTS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "audiosvc"}

HOSTS_MOST = 32
"""Hosts for which it is kept ready who may vouch for them: 0.9 MB each, and 5 ms to read it."""

_FOR_ALL = frozenset({"accept", "accept-language", "icy-metadata", "range", "user-agent"})
"""Headers that go along when a redirect leads to another host. Cookies and the like were meant for the first."""


@dataclass(frozen=True)
class Answer(Head):
    """What a server said, and what it said it with. `url` is where the redirects ended."""

    body: bytes
    """Its beginning, without chunks; not decompressed, should it be compressed although nobody asked for that."""


class Fetcher:
    """GETs http and https by `dialer`. `trust` is who may vouch for servers, None for whom the system trusts."""

    def __init__(self, reactor: IReactorTime, dialer: IDialer, trust: Certificate | None = None) -> None:
        self._reactor = reactor
        self._dialer = dialer
        self._trust = trust
        self._vouched: Vouched = lru_cache(HOSTS_MOST)(self._vouch)

    def fetch(
        self, url: str, headers: Mapping[str, str], most_bytes: int, seconds: float, redirects: int
    ) -> Deferred[Answer]:
        """GET `url`, follow up to `redirects` redirects, and drop the connection after `most_bytes` of the body.

        `seconds` are for all of it; of a slower body there is what had come by then. An answer of any status is an
        answer, "ICY 200 OK" too. Fails with `UnsupportedUrl`, `BlockedAddress`, `SourceUnreachable` (which includes
        certificates that do not fit), `SourceTimeout`, and with `SourceRefused` for what is no HTTP. May be cancelled.
        """
        ends = self._reactor.seconds() + seconds

        @inlineCallbacks
        def get(url: str, headers: Mapping[str, str]) -> Generator[Deferred[Answer], Answer, tuple[Head, Answer]]:
            exchange = _Get(self._reactor, url, headers, most_bytes)
            overdue = self._reactor.callLater(max(0.0, ends - self._reactor.seconds()), exchange.overdue)
            try:
                answer = yield exchange.run(self._dialer, self._vouched)
            finally:
                if overdue.active():
                    overdue.cancel()
            return answer, answer

        return self._follow(url, headers, redirects, get)

    def stream(self, url: str, headers: Mapping[str, str], redirects: int) -> Deferred[Stream]:
        """GET `url`, follow up to `redirects` redirects, and give the body as it is read; fires when its head is there.

        Whoever waits says how long. Fails as `fetch` does, and may be cancelled.
        """

        @inlineCallbacks
        def get(url: str, headers: Mapping[str, str]) -> Generator[Deferred[Head], Head, tuple[Head, Stream]]:
            stream = Stream(self._reactor, url, headers)
            head = yield stream.run(self._dialer, self._vouched)
            return head, stream

        return self._follow(url, headers, redirects, get)

    @inlineCallbacks
    def _follow(
        self, url: str, headers: Mapping[str, str], redirects: int, get: Callable[..., Deferred[tuple[Head, Any]]]
    ) -> Generator[Deferred[tuple[Head, Any]], tuple[Head, Any], Any]:
        url, headers = _canonical(url), _with_defaults(headers)
        for _ in range(redirects + 1):
            head, found = yield get(url, headers)
            location = head.location
            if location is None:
                return found
            before, url = url, _canonical(http.join(url, location.replace(" ", "%20")))
            if urlsplit(before).netloc != urlsplit(url).netloc:
                headers = _with_defaults({name: headers[name] for name in headers if name.lower() in _FOR_ALL})
        raise SourceRefused(f"the source redirects more than {redirects} times")

    def _vouch(self, host: str) -> IOpenSSLClientConnectionCreator:
        return optionsForClientTLS(host, self._trust)


class _Get(Exchange):
    """The beginning of an answer."""

    def __init__(self, reactor: IReactorTime, url: str, headers: Mapping[str, str], most_bytes: int) -> None:
        super().__init__(reactor, url, headers)
        self._most = most_bytes
        self._body = b""
        self._done: Deferred[Answer] = Deferred(lambda _: self.stop())

    def run(self, dialer: IDialer, vouched: Vouched) -> Deferred[Answer]:
        self.dial(dialer, vouched)
        return self._done

    def overdue(self) -> None:
        """The time is over: what there is of a body has to do."""
        if self.head is None:
            self._fail(Failure(SourceTimeout(f"{self._host} did not answer in time")))
        else:
            self._end(False)

    def answered(self, head: Head) -> None:
        if head.location is not None:
            self._end(False)

    def came(self, data: bytes) -> None:
        self._body += data
        if len(self._body) >= self._most:
            self._end(False)

    def ended(self, whole: bool) -> None:
        """Whatever the length it announced: this was its beginning."""
        assert self.head is not None
        head = self.head
        self._done.callback(Answer(head.status, head.headers, head.url, self._body[: self._most]))

    def failed(self, failure: Failure) -> None:
        self._done.errback(failure)


def _with_defaults(headers: Mapping[str, str]) -> dict[str, str]:
    given = {name.lower() for name in headers}
    return {name: value for name, value in DEFAULTS.items() if name.lower() not in given} | dict(headers)


def _canonical(url: str) -> str:
    """`url` as the API takes them; raises `UnsupportedUrl`."""
    media = http.parse(url).media
    assert isinstance(media, Http)
    return media.url
