"""The daemon's own GETs, from servers on loopback of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.internet.task import Clock

from audiosvc.errors import BlockedAddress, SourceRefused, SourceTimeout, SourceUnreachable, UnsupportedUrl
from audiosvc.net.agent import Answer, Fetcher
from audiosvc.net.dialer import HANDSHAKE_SECONDS
from audiosvc.net.heads import ANSWER_HEAD_MOST
from tests.net.certificates import Authority
from tests.net.support import INSIDE, DoorCase, Listener, reactor, soon

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n"


class FetchTests(DoorCase):
    def setUp(self) -> None:
        super().setUp()
        self.outside = Listener()
        self.outside_port = self.serve(self.outside)
        self.url = f"http://radio.example:{self.outside_port}"
        self.clock = Clock()
        self.fetcher = Fetcher(self.clock, self.dialer)

    def answers(self, *parts: bytes, close: bool = True) -> None:
        """Every request is answered so."""

        def answer(head: bytes, transport: Any) -> None:
            for part in parts:
                transport.write(part)
            if close:
                transport.loseConnection()

        self.outside.answer = answer

    def routes(self, route: Callable[[str, str], bytes]) -> None:
        """A request for a path at a host is answered with a redirect to what `route` says, or else with "here"."""

        def answer(head: bytes, transport: Any) -> None:
            path, host = (line.split(b" ")[1].decode() for line in head.split(b"\r\n")[:2])
            location = route(path, host)
            found = b"HTTP/1.1 302 Found\r\nLocation: " + location if location else b"HTTP/1.1 200 OK"
            transport.write(found + b"\r\nContent-Length: 4\r\n\r\nhere")

        self.outside.answer = answer

    def fetch(self, path: str = "/", most: int = 1000, redirects: int = 3, **headers: str) -> Deferred[Answer]:
        url = path if "://" in path else self.url + path
        return self.fetcher.fetch(
            url, {name.replace("_", "-"): text for name, text in headers.items()}, most, 8, redirects
        )

    @inlineCallbacks
    def test_an_answer_comes_with_status_headers_and_the_beginning_of_its_body(self) -> Any:
        self.answers(HEAD + b"X: a\r\nx: \xe9\r\nY: \xc3\xa9\r\n\r\n" + b"music" * 100_000)
        answer = yield self.fetch("/a?b=%20", Range="bytes=0-")
        self.assertEqual((answer.status, answer.url), (200, f"{self.url}/a?b=%20"))
        self.assertEqual(answer.headers, {"content-type": "audio/mpeg", "x": "a, \xe9", "y": "\xe9"})
        self.assertEqual(answer.body, b"music" * 200)
        head = self.outside.heads[0]
        self.assertTrue(
            head.startswith(f"GET /a?b=%20 HTTP/1.1\r\nHost: radio.example:{self.outside_port}\r\n".encode())
        )
        for line in (b"Range: bytes=0-", b"Accept-Encoding: identity", b"Connection: close"):
            self.assertIn(b"\r\n" + line + b"\r\n", head)
        yield soon(lambda: not self.outside.open)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @inlineCallbacks
    def test_a_body_ends_where_its_frame_does(self) -> Any:
        for parts in (
            (HEAD + b"Content-Length: 5\r\n\r\nmusic",),
            (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"3\r\nmus\r\n", b"2\r\nic\r\n0\r\n\r\n"),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nA: b\r\n\r\n" + HEAD, b"Content-Length: 5\r\n\r\nmusic"),
        ):
            self.answers(*parts, close=False)
            answer = yield self.fetch()
            self.assertEqual((answer.status, answer.body), (200, b"music"))
        self.answers(HEAD + b"Content-Length: 50\r\n\r\nmusic")
        self.assertEqual((yield self.fetch()).body, b"music")
        self.answers(b"HTTP/1.1 404 Gone\r\n\r\n")
        answer = yield self.fetch()
        self.assertEqual((answer.status, answer.headers, answer.body), (404, {}, b""))

    @inlineCallbacks
    def test_a_radio_server_of_old_answers_too(self) -> Any:
        self.answers(
            b"IC", b"Y 200 OK\r\nicy-name:Jazz\r\ncontent-type:audio/mpeg\r\nnonsense\r\n\r\n\xff\xfb", close=False
        )
        answer = yield self.fetch(most=2, Icy_MetaData="1")
        self.assertEqual((answer.status, answer.headers["icy-name"], answer.body), (200, "Jazz", b"\xff\xfb"))

    @inlineCallbacks
    def test_what_is_no_http_is_refused_at_once(self) -> Any:
        for said in (
            b"\xff\xfb\x90\x00 music without a head",
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 OK\r\n\r\n",
            HEAD + b"X: " + b"x" * 2 * ANSWER_HEAD_MOST,
            HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        ):
            self.answers(said, close=False)
            yield self.assertFailure(self.fetch(), SourceRefused)
        self.answers()
        yield self.assertFailure(self.fetch(), SourceUnreachable)
        self.answers(b"HTTP/1.1 200 OK\r\n")
        yield self.assertFailure(self.fetch(), SourceUnreachable)
        yield soon(lambda: not self.outside.open)

    @inlineCallbacks
    def test_silence_ends_with_the_time_there_is(self) -> Any:
        for said in (b"", b"HTT", HEAD, b"I"):
            self.answers(said, close=False)
            before = self.outside.hits
            fetched = self.fetch()
            yield soon(lambda before=before: self.outside.hits > before and self.outside.open)
            self.clock.advance(7.9)
            self.assertNoResult(fetched)
            self.clock.advance(0.2)
            self.failureResultOf(fetched, SourceTimeout)
            yield soon(lambda: not self.outside.open)
        self.patch(self.names, "resolve", lambda name: Deferred())
        fetched = self.fetch()
        self.clock.advance(8)
        self.failureResultOf(fetched, SourceTimeout)

    @inlineCallbacks
    def test_of_a_slow_body_there_is_what_came(self) -> Any:
        self.answers(HEAD + b"\r\nmus", close=False)
        fetched = self.fetch()
        yield soon(lambda: self.outside.heads)
        yield self.pause()
        self.clock.advance(8)
        self.assertEqual(self.successResultOf(fetched).body, b"mus")

    @inlineCallbacks
    def test_redirects_are_followed_one_by_one(self) -> Any:
        port = self.outside_port
        ways = {"/": b"/a", "/a": b"b b?c#d", "/b%20b?c": f"//127.0.0.1:{port}/c/\xe9".encode(), "/c/%C3%A9": b""}
        self.routes(lambda path, host: ways[path])
        answer = yield self.fetch(Cookie="secret", user_agent="me")
        self.assertEqual((answer.url, answer.body), (f"http://127.0.0.1:{port}/c/%C3%A9", b"here"))
        self.assertEqual([b"secret" in head for head in self.outside.heads], [True, True, True, False])
        self.assertEqual(
            [head.lower().count(b"user-agent:") == 1 and b"user-agent: me" in head for head in self.outside.heads],
            [True] * 4,
        )
        yield self.assertFailure(self.fetch(redirects=2), SourceRefused)

    @inlineCallbacks
    def test_a_semicolon_is_a_letter_like_any_other(self) -> Any:
        for start, location, end in (
            ("/", b"/;", "/;"),
            ("/", f"{self.url}/;".encode(), "/;"),
            ("/a", b"b;", "/b;"),
            ("/a", b"/b;?c", "/b;?c"),
            ("/a;", b"?c", "/a;?c"),
            ("/a;b?c", b"?d", "/a;b?d"),
            ("/a;b?c", b"d", "/d"),
            ("/a;b/c;d?e", b"f;g=h;", "/a;b/f;g=h;"),
            ("/a", b"b?c;d;", "/b?c;d;"),
        ):
            self.outside.heads.clear()
            self.routes(lambda path, host, start=start, location=location: location if path == start else b"")
            answer = yield self.fetch(start)
            self.assertEqual((answer.url, answer.body), (self.url + end, b"here"))
            self.assertTrue(self.outside.heads[1].startswith(f"GET {end} HTTP/1.1\r\n".encode()))

    @inlineCallbacks
    def test_a_redirect_without_a_place_is_an_answer(self) -> Any:
        self.answers(b"HTTP/1.1 302 Found\r\n\r\n")
        self.assertEqual((yield self.fetch()).status, 302)

    @inlineCallbacks
    def test_redirects_are_vetted_like_the_url_itself(self) -> Any:
        for location, error in {
            f"http://{INSIDE}:{self.inside_port}/": BlockedAddress,
            f"//127.2:{self.inside_port}": BlockedAddress,
            f"http://inner.example:{self.inside_port}/": BlockedAddress,
            f"https://mixed.example:{self.inside_port}/": BlockedAddress,
            "http://127.0.0.1:22/": BlockedAddress,
            "file:///etc/passwd": UnsupportedUrl,
            "ftp://radio.example/": UnsupportedUrl,
            "http://a@radio.example/": UnsupportedUrl,
            "http://\\/": UnsupportedUrl,
            "//[x": UnsupportedUrl,
            "http://[::1/;": UnsupportedUrl,
        }.items():
            self.routes(lambda path, host, location=location: location.encode())
            yield self.assertFailure(self.fetch(), error)
        self.assertEqual(self.inside.hits, 0)

    @inlineCallbacks
    def test_what_cannot_be_sent_or_reached_is_told(self) -> Any:
        for headers in ({"Cookie": "a\r\nX: 1"}, {"A b": "c"}, {"Referer": "\u2603"}, {"Host": "other"}):
            yield self.assertFailure(self.fetcher.fetch(self.url, headers, 10, 8, 0), UnsupportedUrl)
        yield self.assertFailure(self.fetch("http://nobody.example/"), SourceUnreachable)
        yield self.assertFailure(self.fetch("gopher://radio.example/"), UnsupportedUrl)
        yield soon(lambda: not self.outside.open)
        self.assertEqual(self.outside.heads, [])

    @inlineCallbacks
    def test_a_fetch_can_be_cancelled(self) -> Any:
        self.answers(close=False)
        fetched = self.fetch()
        yield soon(lambda: self.outside.heads)
        fetched.cancel()
        self.failureResultOf(fetched, CancelledError)
        yield soon(lambda: not self.outside.open)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @inlineCallbacks
    def test_servers_prove_who_they_are(self) -> Any:
        folder = Path(self.mktemp())
        folder.mkdir()
        authority, other = Authority(folder), Authority(folder)
        self.fetcher = Fetcher(self.clock, self.dialer, authority.certificate)
        self.answers(HEAD + b"\r\nmusic")
        for context, host, words in (
            (authority.vouch(["radio.example", "127.0.0.1"]), "radio.example", ""),
            (authority.vouch(["radio.example", "127.0.0.1"]), "127.0.0.1", ""),
            (authority.vouch(["other.example"]), "radio.example", "another name"),
            (authority.vouch(["other.example"]), "127.0.0.1", "another name"),
            (authority.vouch(["radio.example"], days_ago=3), "radio.example", "certificate"),
            (other.vouch(["radio.example"]), "radio.example", "certificate"),
        ):
            listening = reactor.listenSSL(0, self.outside, context, interface="127.0.0.1")  # type: ignore[attr-defined]
            fetched = self.fetch(f"https://{host}:{listening.getHost().port}/")
            if words:
                error = yield self.assertFailure(fetched, SourceUnreachable)
                self.assertIn("no secure connection", error.message)
                self.assertIn(words, error.message)
            else:
                self.assertEqual((yield fetched).body, b"music")
            yield soon(lambda: not self.outside.open)
            yield listening.stopListening()

    @inlineCallbacks
    def test_a_server_that_does_not_answer_the_handshake_is_given_up_soon(self) -> Any:
        fetched = self.fetch(f"https://radio.example:{self.outside_port}/")
        yield soon(lambda: any(connection.head for connection in self.outside.open))
        self.clock.advance(HANDSHAKE_SECONDS)
        error = yield self.assertFailure(fetched, SourceUnreachable)
        self.assertIn("does not answer the handshake", error.message)
        yield soon(lambda: not self.outside.open)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @inlineCallbacks
    def test_a_proxy_in_the_environment_is_not_used(self) -> Any:
        self.answers(HEAD + b"\r\nmusic")
        with self.hostile_environment():
            self.assertEqual((yield self.fetch()).body, b"music")
