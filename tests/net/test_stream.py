"""Bodies read as fast as somebody wants them, from servers on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.internet.task import Clock

from audiosvc.errors import BlockedAddress, SourceRefused, SourceUnreachable, UnsupportedUrl
from audiosvc.net.agent import HOSTS_MOST, Fetcher
from audiosvc.net.stream import HELD_MOST, Stream
from tests.net.certificates import Authority
from tests.net.support import INSIDE, DoorCase, Listener, reactor, soon

PIECE_MOST = 64 * 1024
"""Bytes that Twisted takes off a socket at once."""

OK = b"HTTP/1.1 200 OK\r\n"
PART = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 10-14/100\r\n"


class StreamTests(DoorCase):
    def setUp(self) -> None:
        super().setUp()
        self.outside = Listener()
        self.outside_port = self.serve(self.outside)
        self.fetcher = Fetcher(Clock(), self.dialer)
        self.streams: list[Stream] = []
        self.addCleanup(self.close_all)

    @inlineCallbacks
    def close_all(self) -> Any:
        for stream in self.streams:
            stream.close()
        yield soon(lambda: not self.outside.open)

    def answers(self, *parts: bytes, close: bool = True) -> None:
        def answer(head: bytes, transport: Any) -> None:
            for part in parts:
                transport.write(part)
            if close:
                transport.loseConnection()

        self.outside.answer = answer

    def ask(self, path: str = "/", redirects: int = 3, **headers: str) -> Deferred[Stream]:
        url = path if "://" in path else f"http://radio.example:{self.outside_port}{path}"

        def hold(stream: Stream) -> Stream:
            self.streams.append(stream)
            return stream

        return self.fetcher.stream(url, headers, redirects).addCallback(hold)

    @inlineCallbacks
    def read_on(self, stream: Stream, most: int = 10**6) -> Any:
        """The next bytes; None at the end."""
        while (data := stream.read(most)) == b"":
            there: Deferred[None] = Deferred()
            stream.when_readable(lambda there=there: there.callback(None))  # type: ignore[misc]
            yield there
        return data

    @inlineCallbacks
    def read_all(self, stream: Stream, most: int = 10**6) -> Any:
        body = b""
        while (data := (yield self.read_on(stream, most))) is not None:
            self.assertLessEqual(len(data), most)
            body += data
        return body

    @inlineCallbacks
    def test_a_body_is_read_in_the_pieces_that_are_asked_for(self) -> Any:
        body = bytes(range(256)) * 300
        self.answers(OK + b"Content-Length: %d\r\nX: y\r\n\r\n" % len(body), body, close=False)
        stream = yield self.ask(Range="bytes=0-")
        assert stream.head is not None
        self.assertEqual((stream.head.status, stream.head.headers["x"]), (200, "y"))
        self.assertEqual((stream.begins, stream.size, stream.whole), (0, len(body), False))
        self.assertEqual((yield self.read_all(stream, 1000)), body)
        self.assertTrue(stream.whole)
        self.assertIn(b"\r\nRange: bytes=0-\r\n", self.outside.heads[0])
        yield soon(lambda: not self.outside.open)

    @inlineCallbacks
    def test_it_says_what_part_of_what_it_is(self) -> Any:
        for head, begins, size in (
            (PART, 10, 100),
            (PART.replace(b"/100", b"/*"), 10, None),
            (PART.replace(b"bytes ", b"pieces "), None, None),
            (b"HTTP/1.1 206 Partial\r\n", None, None),
            (OK, 0, None),
        ):
            self.answers(head + b"\r\nmusic")
            stream = yield self.ask()
            self.assertEqual((stream.begins, stream.size), (begins, size))

    @inlineCallbacks
    def test_how_it_ended_is_told_behind_the_last_of_it(self) -> Any:
        chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n"
        for parts, whole in (
            ((OK + b"Content-Length: 5\r\n\r\nmusic",), True),
            ((OK + b"Content-Length: 6\r\n\r\nmusic",), False),
            ((OK + b"\r\nmusic",), True),
            ((chunked, b"3\r\nmus\r\n", b"2\r\nic\r\n0\r\n\r\n"), True),
            ((chunked, b"3\r\nmus\r\n", b"2\r\nic\r\n"), False),
            ((chunked, b"5\r\nmusic\r\n", b"nonsense\r\n"), False),
        ):
            self.answers(*parts)
            stream = yield self.ask()
            self.assertEqual((yield self.read_all(stream)), b"music", parts)
            self.assertEqual(stream.whole, whole, parts)

    @inlineCallbacks
    def test_what_is_not_read_stays_where_it_is(self) -> Any:
        sent = [0]

        def answer(head: bytes, transport: Any) -> None:
            transport.write(OK + b"Content-Length: 100000000\r\n\r\n")

            class Producer:
                def resumeProducing(self) -> None:
                    sent[0] += PIECE_MOST
                    transport.write(bytes(PIECE_MOST))

                def stopProducing(self) -> None: ...

            transport.registerProducer(Producer(), False)

        self.outside.answer = answer
        stream = yield self.ask()
        before = -1
        while before != sent[0]:
            before = sent[0]
            yield self.pause(0.2)
        self.assertLessEqual(stream._held, HELD_MOST + PIECE_MOST)
        self.assertLess(sent[0], 8_000_000)
        read = 0
        while read < 2 * before:
            read += len((yield self.read_on(stream)))
            self.assertLessEqual(stream._held, HELD_MOST + PIECE_MOST)
        stream.close()
        yield soon(lambda: not self.outside.open)

    @inlineCallbacks
    def test_redirects_are_followed_and_vetted(self) -> Any:
        ways = {b"/": b"/a", b"/a": f"//127.0.0.1:{self.outside_port}/b".encode(), b"/c": b"http://127.0.0.2/"}

        def answer(head: bytes, transport: Any) -> None:
            location = ways.get(head.split(b" ")[1])
            found = b"HTTP/1.1 302 Found\r\nLocation: " + location if location else b"HTTP/1.1 200 OK"
            transport.write(found + b"\r\nContent-Length: 4\r\n\r\nhere")

        self.outside.answer = answer
        stream = yield self.ask(Cookie="secret")
        assert stream.head is not None
        self.assertEqual(stream.head.url, f"http://127.0.0.1:{self.outside_port}/b")
        self.assertEqual((yield self.read_all(stream)), b"here")
        self.assertEqual([b"secret" in head for head in self.outside.heads], [True, True, False])
        yield self.assertFailure(self.ask(redirects=1), SourceRefused)
        yield self.assertFailure(self.ask("/c"), BlockedAddress)
        yield self.assertFailure(self.ask(f"http://{INSIDE}:{self.inside_port}/"), BlockedAddress)
        yield self.assertFailure(self.ask("ftp://radio.example/"), UnsupportedUrl)
        self.assertEqual(self.inside.hits, 0)
        stream.close()
        yield soon(lambda: not self.outside.open)

    @inlineCallbacks
    def test_what_is_no_answer_is_told(self) -> Any:
        self.answers(b"\xff\xfb\x90\x00 music without a head")
        yield self.assertFailure(self.ask(), SourceRefused)
        self.answers()
        yield self.assertFailure(self.ask(), SourceUnreachable)
        yield self.assertFailure(self.ask("http://nobody.example/"), SourceUnreachable)

    @inlineCallbacks
    def test_it_can_be_given_up_at_any_time(self) -> Any:
        self.answers(close=False)
        asked = self.ask()
        yield soon(lambda: self.outside.heads)
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        yield soon(lambda: not self.outside.open)
        self.answers(OK + b"\r\nmus", close=False)
        stream = yield self.ask()
        called: list[int] = []
        self.assertEqual((yield self.read_on(stream)), b"mus")
        self.assertEqual(stream.read(1), b"")
        stream.when_readable(lambda: called.append(1))
        stream.close()
        yield soon(lambda: not self.outside.open)
        self.assertEqual(called, [])

    @inlineCallbacks
    def test_over_tls_it_is_the_same_and_certificates_are_read_once_a_host(self) -> Any:
        folder = Path(self.mktemp())
        folder.mkdir()
        authority = Authority(folder)
        body = bytes(range(256)) * 3000
        self.answers(OK + b"Content-Length: %d\r\n\r\n" % len(body), body)
        context = authority.vouch(["radio.example"])
        listening = reactor.listenSSL(0, self.outside, context, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.fetcher = Fetcher(Clock(), self.dialer, authority.certificate)
        url = f"https://radio.example:{listening.getHost().port}/"
        for _ in range(3):
            stream = yield self.ask(url)
            yield self.pause(0.1)
            self.assertLessEqual(stream._held, HELD_MOST + PIECE_MOST)
            self.assertEqual((yield self.read_all(stream)), body)
            self.assertTrue(stream.whole)
        info = self.fetcher._vouched.cache_info()  # type: ignore[attr-defined]
        self.assertEqual((info.misses, info.hits, info.maxsize), (1, 2, HOSTS_MOST))
        yield soon(lambda: not self.outside.open)
        yield listening.stopListening()
