"""Targets, credentials and headers of requests, and the heads of answers, at any split."""

from __future__ import annotations

import base64
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import BadRequest, UnsupportedUrl
from audiosvc.net.heads import (
    ANSWER_HEAD_MOST,
    AnswerHead,
    credentials,
    find_head,
    is_information,
    onward,
    parse_target,
    readable,
)

ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: x\r\nConnection: keep-alive\r\nKeep-Alive: a,\r\n b\r\nX: 1\r\n\r\nbody\r\n\r\nmore"
)
PASSED_ON = b"HTTP/1.1 200 OK\r\nServer: x\r\nX: 1\r\nConnection: close\r\n\r\nbody\r\n\r\nmore"


class TargetTests(SynchronousTestCase):
    def test_a_whole_url_gives_host_port_and_path(self) -> None:
        for url, expected in {
            b"http://a.example/x?y=1": ("a.example", 80, b"a.example", b"/x?y=1"),
            b"HTTP://a.example:8000": ("a.example", 8000, b"a.example:8000", b"/"),
            b"http://a.example:?q": ("a.example", 80, b"a.example:", b"/?q"),
            b"http://[::1]:81/": ("[::1]", 81, b"[::1]:81", b"/"),
            b"http://127.2/a//b@c:d": ("127.2", 80, b"127.2", b"/a//b@c:d"),
        }.items():
            self.assertEqual(tuple(parse_target(b"GET", url)), expected)

    def test_a_tunnel_has_no_path(self) -> None:
        self.assertEqual(tuple(parse_target(b"CONNECT", b"a.example:443")), ("a.example", 443, b"a.example:443", None))
        self.assertEqual(parse_target(b"CONNECT", b"[::1]:443").host, "[::1]")

    def test_other_schemes_are_told_from_what_is_malformed(self) -> None:
        for url in (b"https://a/", b"ftp://a/", b"file:///etc/passwd", b"rtmp://a/b", b"data:,x", b"tcp://127.0.0.1:1"):
            self.assertRaises(UnsupportedUrl, parse_target, b"GET", url)
        for url in (
            b"/path", b"*", b"", b"a.example:443", b"http:/x", b"http:x", b"http://", b"http:///x", b"http://a@b/",
            b"http://good@127.0.0.2/", b"http://good\\@127.0.0.2/", b"http://a#@b/", b"http://a/#b", b"http://a:b/",
            b"http://a:123456/", b"http://[::1%1]/", b"http://::1/", b"http://[x]/", b"http://a%2eb/", b"//a/",
            b"http://a\xff/",
        ):  # fmt: skip
            self.assertRaises((BadRequest, UnsupportedUrl), parse_target, b"GET", url)
        for url in (
            b"a.example", b"http://a:443", b"a:b", b"u@a:443", b"a:443/", b":443", b"::1:443", b"a:123456", b"\xe9:1",
        ):  # fmt: skip
            self.assertRaises(BadRequest, parse_target, b"CONNECT", url)


class RequestHeadersTests(SynchronousTestCase):
    def test_credentials_are_read_from_basic_authorization_only(self) -> None:
        def given(*values: bytes) -> tuple[str, str] | None:
            return credentials([(b"Host", b"a"), *((b"proxy-Authorization", value) for value in values)])

        good = b"Basic " + base64.b64encode(b"p1:to:ken")
        self.assertEqual(given(good), ("p1", "to:ken"))
        self.assertEqual(given(good.replace(b"Basic", b"bASIC ")), ("p1", "to:ken"))
        for bad in (b"", b"Basic", b"Basic !!", b"Basic cDE=", b"Bearer x", b"Digest x", b"Basic /////w=="):
            self.assertIsNone(given(bad), bad)
        self.assertIsNone(given())
        self.assertIsNone(given(good, good))

    def test_the_host_is_the_urls_and_what_belongs_to_the_hop_stays_behind(self) -> None:
        headers = [
            (b"Host", b"elsewhere"), (b"User-Agent", b"Lavf"), (b"Range", b"bytes=5-"), (b"Icy-MetaData", b"1"),
            (b"Proxy-Authorization", b"Basic x"), (b"Proxy-Connection", b"keep-alive"), (b"TE", b"trailers"),
            (b"Connection", b"X-Odd, keep-alive"), (b"x-odd", b"1"), (b"Upgrade", b"h2c"), (b"Expect", b"100-continue"),
        ]  # fmt: skip
        self.assertEqual(
            onward(headers, b"a.example"),
            [
                (b"Host", b"a.example"),
                (b"User-Agent", b"Lavf"),
                (b"Range", b"bytes=5-"),
                (b"Icy-MetaData", b"1"),
                (b"Connection", b"close"),
            ],
        )

    def test_the_bodys_frame_stays_and_is_one(self) -> None:
        length, chunked = (b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")
        named = (b"Connection", b"content-length, transfer-encoding")
        self.assertIn(length, onward([length, named], b"a"))
        both = onward([length, chunked, named], b"a")
        self.assertIn(chunked, both)
        self.assertNotIn(length, both)


class AnswerHeadTests(SynchronousTestCase):
    def passed(self, *parts: bytes) -> bytes:
        head = AnswerHead()
        return b"".join(head.feed(part) for part in parts) + head.rest()

    @given(st.lists(st.integers(0, len(ANSWER)), max_size=6))
    @settings(deadline=None)
    def test_connection_headers_are_replaced_at_any_split(self, cuts: list[int]) -> None:
        edges = [0, *sorted(cuts), len(ANSWER)]
        parts = [ANSWER[a:b] for a, b in pairwise(edges)]
        self.assertEqual(self.passed(*parts), PASSED_ON)

    def test_byte_by_byte_is_no_different(self) -> None:
        self.assertEqual(self.passed(*(bytes([byte]) for byte in ANSWER)), PASSED_ON)

    def test_it_is_known_whether_all_of_the_body_came(self) -> None:
        answer = b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER.replace(b"X: 1", b"Content-Length: 12")
        for cuts in ((0,), range(len(answer))):
            head = AnswerHead()
            for at in cuts:
                self.assertEqual(head.short, at >= len(answer) - 12, at)
                head.feed(answer[at:] if cuts == (0,) else answer[at : at + 1])
            self.assertFalse(head.short)

    def test_what_is_no_http_comes_as_it_is(self) -> None:
        for data in (
            b"ICY 200 OK\r\nicy-name: x\r\n\r\n\xff\xfb",
            b"",
            b"\xff\xfb\x90",
            b"HTTPX\r\n\r\n",
            b"HT",
            b"\n\n",
        ):
            self.assertEqual(self.passed(data), data)
        self.assertEqual(self.passed(b"I", b"CY 200 OK\r\n\r\n"), b"ICY 200 OK\r\n\r\n")

    def test_heads_before_the_last_one_pass(self) -> None:
        early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        self.assertEqual(self.passed(early + ANSWER), early + PASSED_ON)
        self.assertEqual(self.passed(early, early, ANSWER[:9], ANSWER[9:]), early + early + PASSED_ON)

    def test_bare_line_feeds_end_a_head_too(self) -> None:
        self.assertEqual(self.passed(b"HTTP/1.0 200\nA: b\n\nx"), b"HTTP/1.0 200\nA: b\nConnection: close\r\n\nx")
        self.assertEqual(self.passed(b"HTTP/1.0 200 OK\r\n\r\nx"), b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nx")

    def test_a_head_without_end_is_held_only_so_far(self) -> None:
        head = AnswerHead()
        self.assertEqual(head.feed(b"HTTP/1.1 200 OK\r\n" + b"a" * 60_000), b"")
        self.assertEqual(len(head.feed(b"a" * ANSWER_HEAD_MOST)), 17 + 60_000 + ANSWER_HEAD_MOST)
        self.assertEqual(head.feed(b"\r\n\r\n"), b"\r\n\r\n")
        self.assertEqual(head.rest(), b"")


class ReadableTests(SynchronousTestCase):
    def test_radio_servers_answer_as_others_do(self) -> None:
        self.assertEqual(
            readable(b"ICY 200 OK\r\nicy-name:Radio \xe9\r\ncontent-type : audio/mpeg \r\n\r\n"),
            b"HTTP/1.1 200\r\nicy-name: Radio \xe9\r\ncontent-type: audio/mpeg\r\n\r\n",
        )

    def test_what_is_no_header_is_left_out(self) -> None:
        head = b"HTTP/1.0 404 N\nno header\n: x\na b: c\nd:\ne: \x00\nTransfer-Encoding: identity\n f\n\n"
        self.assertEqual(readable(head), b"HTTP/1.1 404\r\nd: \r\n\r\n")

    def test_of_lengths_the_first_counts_if_it_is_one(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\nTransfer-Encoding: Chunked\r\n\r\n"
        self.assertEqual(readable(head), b"HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\nContent-Length: 5\r\n\r\n")
        self.assertEqual(readable(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), b"HTTP/1.1 200\r\n\r\n")
        self.assertEqual(readable(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n")[12:], b"\r\n\r\n")

    def test_what_is_no_head_is_refused(self) -> None:
        for head in (b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 2000\r\n\r\n", b"ICY\r\n\r\n", b"SSH-2.0\r\n\r\n", b""):
            self.assertRaises(ValueError, readable, head)

    def test_information_is_told_from_an_answer(self) -> None:
        self.assertTrue(is_information(b"HTTP/1.1 100 Continue\r\n\r\n"))
        self.assertTrue(is_information(b"ICY\t100x\r\n\r\n"), "what `readable` takes for it")
        self.assertFalse(is_information(b"HTTP/1.1 1000\r\n\r\n"))
        self.assertFalse(is_information(b"HTTP/1.1 200 OK\r\n\r\n"))

    def test_a_heads_end_is_found_where_it_was_not_looked_for_yet(self) -> None:
        self.assertEqual(find_head(b"a\r\n\r\nb", 0), 5)
        self.assertEqual(find_head(b"a\r\n\r\nb", 4), 5)
        self.assertIsNone(find_head(b"a\r\nb", 0))
