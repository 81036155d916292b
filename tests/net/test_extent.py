"""Whether all of an answer's body has come, at any split."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.net.extent import SIZE_LINE_MOST, Extent

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Server: x\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = b"5\r\nmusic\r\n1A;a=b\r\n" + b"\r\n0\r\n\r\n" * 3 + b"12345\r\n0\r\n\r\n"


def short(head: bytes, *pieces: bytes) -> bool:
    extent = Extent(head)
    for piece in pieces:
        extent.feed(piece)
    return extent.short


class LengthTests(SynchronousTestCase):
    def test_what_states_its_length_is_short_until_it_has_come(self) -> None:
        for status in (b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 206 Partial\r\n"):
            head = status + b"CONTENT-LENGTH : 5 \r\nX: 1\r\n\r\n"
            for pieces, expected in (((), True), ((b"musi",), True), ((b"mus", b"ic"), False), ((b"musical",), False)):
                self.assertEqual(short(head, *pieces), expected, pieces)
        self.assertFalse(short(OK + b"Content-Length: 0\r\n\r\n"))

    def test_what_does_not_or_is_no_sound_never_is(self) -> None:
        length = b"Content-Length: 5\r\n\r\n"
        for head in (
            OK + b"\r\n",
            OK + b"Content-Length: -1\r\n\r\n",
            OK + b"Content-Length: 1e3\r\n\r\n",
            OK + b"X-Content-Length: 5\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\n" + length,
            b"HTTP/1.1 302 Found\r\nTransfer-Encoding: chunked\r\n" + length,
            b"HTTP/1.1 2000\r\n" + length,
            b"ICY 200 OK\r\n" + length,
        ):
            self.assertFalse(short(head, b"mus"), head)


class ChunkTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(st.integers(0, len(BODY)), st.integers(0, len(BODY)), st.integers(1, 9))
    def test_what_comes_in_chunks_is_short_until_the_last_is_told(self, end: int, split: int, step: int) -> None:
        body = BODY[:end]
        whole = end >= len(BODY) - 2
        self.assertEqual(short(CHUNKED, body[:split], body[split:]), not whole)
        self.assertEqual(short(CHUNKED, *(body[at : at + step] for at in range(0, end, step))), not whole)

    def test_chunks_count_for_more_than_a_length(self) -> None:
        for length in (b"0", b"5", b"500"):
            head = OK + b"Content-Length: " + length + b"\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n"
            self.assertTrue(short(head, BODY[:-5]))
            self.assertFalse(short(head, BODY))

    def test_sloppy_chunks_are_understood(self) -> None:
        for body in (
            b"5\nmusic\n0\n",
            b"5\r\nmusic5\r\nmusic\r\n\r\n000\r\n",
            b" 5 ;\r\nmusic\r\n0\r\nX: y\r\n\r\nmore",
        ):
            self.assertFalse(short(CHUNKED, body), body)
            self.assertTrue(short(CHUNKED, body[: body.index(b"0") - 1]), body)

    def test_of_what_are_no_chunks_nothing_is_known(self) -> None:
        for body in (b"ID3\4\r\nmusic", b"5\r\nmusical\r\n", b"x" * (SIZE_LINE_MOST + 1), b"1234567890abcdef0\r\n"):
            for pieces in ((body,), (body, b"0\r\n"), tuple(body[at : at + 1] for at in range(len(body)))):
                self.assertFalse(short(CHUNKED, *pieces), body)
