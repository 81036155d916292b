"""The door on loopback, asked by hand: what it passes on, and what it refuses."""

from __future__ import annotations

import base64
import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import inlineCallbacks

from audiosvc.errors import BlockedAddress, ExtractionFailed, SourceEndedEarly, SourceUnreachable, UnsupportedUrl
from audiosvc.net import permit as permit_module
from audiosvc.net.door import Door
from audiosvc.net.permit import REQUESTS_FIRST
from tests.net.support import HEAD, INSIDE, Asking, echo, reactor, soon


def keep(head: bytes, transport: Any) -> None:
    """Keeps the connection whatever it was told."""
    transport.write(HEAD + b"music")


class PassingTests(Asking):
    @inlineCallbacks
    def test_a_request_is_passed_on_with_the_host_of_its_url_and_the_answer_told_to_close(self) -> Any:
        answer = yield self.ask(self.get(self.url("/a?b"), "Range: bytes=5-", "Proxy-Connection: keep-alive"))
        expected = f"GET /a?b HTTP/1.1\r\nHost: radio.example:{self.outside_port}\r\nRange: bytes=5-\r\n"
        self.assertEqual(self.outside.heads, [f"{expected}Connection: close\r\n\r\n".encode()])
        self.assertEqual(answer, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nmusic")
        told = self.door.vitals()
        self.assertEqual((told.permits, told.requests, told.refused), (1, 1, {}))
        self.assertEqual(told.bytes, len(answer))
        self.assertIsNone(self.permit.denial)

    @inlineCallbacks
    def test_a_second_request_on_a_connection_goes_nowhere(self) -> Any:
        self.outside.answer = keep
        second = self.get(f"http://{INSIDE}:{self.inside_port}/")
        caller = yield self.call(self.get(self.url()))
        yield soon(lambda: caller.got.endswith(b"music"))
        caller.transport.write(second)
        yield caller.gone
        answer = yield self.ask(self.get(self.url()) + second)
        self.assertEqual(answer, b"")
        self.assertEqual([head.count(b"HTTP/1.1") for head in self.outside.heads], [1] * len(self.outside.heads))
        self.assertEqual(self.inside.hits, 0)
        self.assertEqual(self.door.vitals().refused, {"pipelined": 2})
        yield soon(lambda: not self.outside.open and not self.door.vitals().connections)

    @inlineCallbacks
    def test_a_body_goes_along_whatever_its_frame(self) -> Any:
        self.outside.answer = None
        for frame, body, end in (
            ("Content-Length: 7", b"the end", b"\r\n\r\nthe end"),
            ("Transfer-Encoding: chunked", b"7\r\nthe end\r\n0\r\nTrailer: x\r\n\r\n", b"the end\r\n0\r\n\r\n"),
        ):
            caller = yield self.call(self.get(self.url(), frame, "Expect: 100-continue", method="POST") + body[:3])
            caller.transport.write(body[3:])
            yield soon(lambda end=end: self.outside.open and self.outside.open[0].head.endswith(end))
            self.assertNotIn(b"Expect", self.outside.open[0].head)
            self.outside.open[0].transport.loseConnection()
            yield caller.gone

    @inlineCallbacks
    def test_a_body_that_breaks_its_frame_ends_the_connection(self) -> Any:
        caller = yield self.call(self.get(self.url(), "Transfer-Encoding: chunked", method="POST") + b"xyz\r\n")
        yield caller.gone
        yield soon(lambda: not self.door.vitals().connections)

    @inlineCallbacks
    def test_a_tunnel_carries_both_ways_what_it_is_given(self) -> Any:
        self.outside.answer = echo
        caller = yield self.call(self.tunnel() + b"hello\r\n\r\n")
        yield soon(lambda: caller.got.endswith(b">"))
        caller.transport.write(b"GET http://127.0.0.2/ HTTP/1.1\r\n\r\n")
        yield soon(lambda: caller.got.count(b">") == 2)
        self.assertEqual(
            caller.got,
            b"HTTP/1.1 200 Connection established\r\n\r\n<hello\r\n\r\n><GET http://127.0.0.2/ HTTP/1.1\r\n\r\n>",
        )
        caller.transport.loseConnection()
        yield soon(lambda: not self.outside.open)
        self.assertEqual(self.permit.connections, set())

    @inlineCallbacks
    def test_what_is_no_http_comes_as_it_is(self) -> Any:
        for said in (b"ICY 200 OK\r\nicy-name: x\r\n\r\n\xff", b"SSH-2.0\r\n", b"HTTP/1.1 200 O", b""):

            def answer(head: bytes, transport: Any, said: bytes = said) -> None:
                transport.write(said)
                transport.loseConnection()

            self.outside.answer = answer
            self.assertEqual((yield self.ask(self.get(self.url()))), said)

    @inlineCallbacks
    def test_a_door_that_opens_on_a_socket_made_elsewhere_serves_there(self) -> Any:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            other = Door(reactor, self.dialer)
            other.listen(listening, ["enter", "--"])
            self.addCleanup(other.stop)
            permit = other.permit("x")
            self.port = listening.getsockname()[1]
        self.assertEqual(permit.prefix, ("enter", "--"))
        self.assertTrue(permit.environment["http_proxy"].endswith(f"@127.0.0.1:{self.port}"))
        self.token = base64.b64encode(permit.environment["http_proxy"][len("http://") :].partition("@")[0].encode())
        self.assertTrue((yield self.ask(self.get(self.url()))).endswith(b"music"))


class RefusingTests(Asking):
    @inlineCallbacks
    def test_a_caller_without_a_permit_is_asked_for_one(self) -> Any:
        answer = yield self.refused(f"GET {self.url()} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), 407, None)
        self.assertIn(b'\r\nProxy-Authenticate: Basic realm="audiosvc"\r\n', answer)
        self.assertEqual(self.door.vitals().refused, {})
        shown = base64.b64decode(self.token)
        for wrong in (shown.partition(b":")[0] + b":x", b"p99:x", shown + b"x", b"p", b"\xff:x"):
            yield self.refused(self.get(self.url(), token=base64.b64encode(wrong)), 407, None)
        self.assertEqual(self.door.vitals().refused, {"unauthorized": 3})
        self.assertEqual(self.door.vitals().requests, 0)

    @inlineCallbacks
    def test_hosts_that_may_not_be_reached_are_not(self) -> Any:
        for host in (INSIDE, "127.2", "0x7f.2", "[::ffff:127.0.0.2]", "inner.example", "mixed.example", "many.example"):
            self.permit.denial = None
            answer = yield self.refused(self.get(f"http://{host}:{self.inside_port}/"), 403, BlockedAddress)
            self.assertIn(host.encode(), answer)
            self.assertIn(host, str(self.permit.denial))
            yield self.refused(self.get(f"{host}:{self.inside_port}", method="CONNECT"), 403, BlockedAddress)
        self.assertEqual(self.door.vitals().refused, {"blocked_address": 14})

    @inlineCallbacks
    def test_a_name_is_judged_anew_each_time_and_dialled_by_that_very_answer(self) -> Any:
        self.names.turns["radio.example"] = [("127.0.0.1",), (INSIDE,)]
        self.assertTrue((yield self.ask(self.get(self.url()))).endswith(b"music"))
        self.assertEqual(self.names.asked, ["radio.example"])
        yield self.refused(self.get(self.url()), 403, BlockedAddress)

    @inlineCallbacks
    def test_ports_and_schemes_that_are_no_medias_are_denied(self) -> Any:
        yield self.refused(self.get("http://127.0.0.1:25/"), 403, BlockedAddress)
        self.permit.denial = None
        for url in (
            "https://radio.example/",
            "ftp://radio.example/",
            "file:///etc/passwd",
            "httpproxy://radio.example/",
        ):
            yield self.refused(self.get(url), 403, UnsupportedUrl)

    @inlineCallbacks
    def test_what_is_malformed_is_told_so(self) -> Any:
        for url in ("/", "http://a@radio.example/", "http://radio.example\\@127.0.0.2/", "http://radio.example#@b/"):
            yield self.refused(self.get(url), 400, None)
        for junk in (b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET / HTTP/1.1\r\nA b: c\r\n\r\n", b"GET " + b"a" * 70_000):
            yield self.refused(junk, 400, None)

    @inlineCallbacks
    def test_of_many_denials_the_first_stands_and_is_logged_alone(self) -> Any:
        said: list[str] = []
        self.patch(permit_module.Permit, "log", SimpleNamespace(warn=lambda text, **_: said.append(text)))
        for path in ("inner.example", "mixed.example"):
            yield self.ask(self.get(f"http://{path}/"))
        self.assertIn("inner.example", str(self.permit.denial))
        self.assertEqual(len(said), 1)

    @inlineCallbacks
    def test_requests_are_as_many_as_the_permit_allows(self) -> Any:
        for _ in range(REQUESTS_FIRST):
            self.assertTrue((yield self.ask(self.get(self.url()))).endswith(b"music"))
        yield self.refused(self.get(self.url()), 403, UnsupportedUrl)
        self.assertEqual(self.outside.hits, REQUESTS_FIRST)

    @inlineCallbacks
    def test_answers_beyond_what_the_permit_allows_are_cut_off(self) -> Any:
        def endless(head: bytes, transport: Any) -> None:
            transport.write(HEAD + bytes(3 * 2**20))

        self.outside.answer = endless
        for ask in (lambda: self.get(self.url()), lambda: self.tunnel() + b"hello\r\n\r\n"):
            self.hold(self.door.permit("test", 2**20))
            answer = yield self.ask(ask())
            self.assertLess(len(answer), 2**20 + 100)
            self.assertIsInstance(self.permit.denial, ExtractionFailed)
            yield soon(lambda: not self.outside.open)
            yield self.refused(self.get(self.url()), 403, ExtractionFailed)
        self.assertEqual(self.door.vitals().refused, {"too_large": 2, "extraction_failed": 2})

    @inlineCallbacks
    def test_what_leads_nowhere_is_told_apart_from_what_is_refused(self) -> Any:
        yield self.refused(self.get("http://nobody.example/"), 502, None)
        self.assertIsInstance(self.permit.trouble, SourceUnreachable)
        yield self.ask(self.get(self.url()))
        self.assertIsNone(self.permit.trouble)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        yield self.refused(self.get(f"127.0.0.1:{port}", method="CONNECT"), 502, None)
        self.assertIn("does not answer", str(self.permit.trouble))

    @inlineCallbacks
    def test_so_is_an_answer_that_breaks_off(self) -> Any:
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for answer, short in (
            (HEAD + b"musi", True),
            (HEAD + b"music", False),
            (chunked + b"5\r\nmusic\r\n", True),
            (chunked + b"5\r\nmusic\r\n0\r\n\r\n", False),
            (b"HTTP/1.1 200 OK\r\n\r\nmusi", False),
            (b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nmusi", False),
            (b"HTTP/1.1 200 OK\r\nContent-Le", False),
        ):

            def breaks_off(head: bytes, transport: Any, answer: bytes = answer) -> None:
                transport.write(answer)
                transport.loseConnection()

            self.outside.answer = breaks_off
            yield self.ask(self.get(self.url()))
            self.assertIsInstance(self.permit.trouble, SourceEndedEarly if short else type(None), answer)
            yield self.ask(self.get(self.url(), method="HEAD"))
            self.assertIsNone(self.permit.trouble)

    @inlineCallbacks
    def test_one_that_the_caller_has_enough_of_does_not(self) -> Any:
        self.outside.answer = lambda head, transport: transport.write(HEAD + b"musi")
        caller = yield self.call(self.get(self.url()))
        yield soon(lambda: caller.got.endswith(b"musi"))
        caller.transport.loseConnection()
        yield soon(lambda: not self.outside.open)
        self.assertIsNone(self.permit.trouble)

    @inlineCallbacks
    def test_a_mistake_of_ours_is_logged_and_told(self) -> Any:
        self.patch(self.names, "resolve", lambda name: 1 / 0)
        yield self.refused(self.get(self.url()), 502, None)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
