"""The lines between the daemon and the extractor."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.extract.calls import Call, Entry, Garbage, Listing, Track, Trouble, decode, decode_ready, encode
from tests.extract.support import ENTRY, TRACK

CALL = Call(7, "resolve", "http://page.example/", 1, "http://a:b@127.0.0.1:1", None)
LIST = Call(7, "playlist", "http://page.example/", 500, "http://a:b@127.0.0.1:1", "x")


def line(**answer: object) -> bytes:
    return json.dumps({"last": False, **answer}).encode()


class CallTests(SynchronousTestCase):
    def test_a_call_is_one_line(self) -> None:
        raw = encode(LIST)
        self.assertEqual(raw.count(b"\n"), 1)
        self.assertEqual(
            json.loads(raw),
            {"id": 7, "op": "playlist", "target": LIST.target, "limit": 500, "proxy": LIST.proxy, "cookies": "x"},
        )

    def test_an_answer_is_a_track_a_list_or_a_trouble(self) -> None:
        track, last = decode(line(id=7, ok=TRACK), CALL)
        self.assertFalse(last)
        assert isinstance(track, Track)
        self.assertEqual((track.url, track.duration, track.live), ("http://media.example/a.mp3", 12.5, False))
        listing, last = decode(line(id=7, ok={"type": "list", "entries": [ENTRY]}, last=True), LIST)
        self.assertTrue(last)
        self.assertEqual(listing, Listing([Entry("http://page.example/1", "One", None, None, None)]))
        for call in (CALL, LIST):
            refused, _ = decode(line(id=7, error={"kind": "refused", "message": "no"}), call)
            self.assertEqual(refused, Trouble("refused", "no"))

    def test_all_else_is_garbage(self) -> None:
        for raw in (
            *(b"", b"null", b"[]", b"{}", b"x", b"\xff", b"[" * 100_000, b'{"id":7}', b'{"id":7,"ok":null}'),
            *(line(id=8, ok=TRACK), line(id="7", ok=TRACK), line(id=7, ok=TRACK, more=1), line(ok=TRACK)),
            line(id=7, ok=TRACK, last=1),
            line(id=7, ok=TRACK, error={"kind": "refused", "message": "no"}),
            line(id=7, ok={"type": "list", "entries": []}),
            line(id=7, error={"kind": "strange", "message": ""}),
            *(line(id=7, ok={**TRACK, name: 7}) for name in ("url", "headers", "title", "live", "ext", "playlist")),
            line(id=7, ok={**TRACK, "duration": "12"}),
            line(id=7, ok={**TRACK, "headers": {"Referer": 1}}),
            line(id=7, ok=TRACK).replace(b"12.5", b"NaN"),
            line(id=7, ok=TRACK).replace(b"A song", b"\\ud800"),
        ):
            with self.subTest(raw[:60]):
                self.assertRaises(Garbage, decode, raw, CALL)
        self.assertRaises(Garbage, decode, line(id=7, ok=TRACK), LIST)

    def test_a_worker_announces_itself(self) -> None:
        self.assertEqual(decode_ready(b'{"ready":"2026.10.26"}'), "2026.10.26")
        for raw in (b"", b"null", b"ready", b"{}", b'{"ready":1}', b'{"ready":"1","id":1}', b"\xff", b"[" * 100_000):
            self.assertRaises(Garbage, decode_ready, raw)

    @settings(deadline=None)
    @given(st.binary(max_size=200))
    def test_noise_raises_nothing_else(self, raw: bytes) -> None:
        self.assertRaises(Garbage, decode, raw, CALL)
