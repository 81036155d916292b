"""Tracks: where one begins to play, and their files, whole, damaged and made up."""

from __future__ import annotations

import hashlib
import sys
from array import array
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_SAMPLES, OPUS_PACKET_MOST
from audiosvc.cache.track import (
    DIGEST_BYTES,
    PACKET_COST,
    RUN,
    Facts,
    MalformedTrack,
    Track,
    file_size,
    size_of,
)
from audiosvc.codec.ogg import PRE_SKIP
from audiosvc.sources.model import Http, Source
from tests.cache.support import NAME, WEB, from_bytes, packets, to_bytes, track

texts = st.none() | st.text(st.characters(codec="utf-8"), max_size=20)
seconds = st.none() | st.floats(0, 1e6)
sources = st.builds(
    Source,
    url=st.text(st.characters(codec="utf-8"), max_size=20),
    media=st.builds(
        Http,
        url=st.sampled_from(["http://h/a", "https://h:8000/b?c=d"]),
        headers=st.dictionaries(st.sampled_from(["referer", "cookie"]), st.text("abc")),
        demuxer=st.sampled_from([None, "hls", "dash"]),
        vbr=st.booleans(),
        counted=st.booleans(),
    ),
    title=texts,
    duration=seconds,
    thumbnail=texts,
    uploader=texts,
    opus=st.booleans(),
    extracted=st.booleans(),
    playlist=texts,
)


@st.composite
def tracks(draw: st.DrawFn) -> Track:
    sizes = draw(st.lists(st.integers(1, 40) | st.just(OPUS_PACKET_MOST), min_size=1, max_size=20))
    positions = None
    if draw(st.booleans()):
        steps = draw(st.lists(st.integers(1, 2000), min_size=len(sizes), max_size=len(sizes)))
        positions = array("q", [sum(steps[: i + 1]) - 2000 for i in range(len(steps))])
    made = tuple(draw(st.binary(min_size=size, max_size=size)) if size < 41 else bytes(size) for size in sizes)
    facts = Facts(draw(texts), draw(texts), draw(seconds))
    return Track(NAME, draw(st.floats(0, 1e10)), made, positions, size_of(made), facts, draw(st.none() | sources))


def signed(body: bytes) -> bytes:
    return body + hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()


class FileTests(SynchronousTestCase):
    def assert_malformed(self, data: bytes, name: str = NAME) -> None:
        self.assertRaises(MalformedTrack, from_bytes, data, name)

    @given(tracks())
    @settings(deadline=None)
    def test_what_is_written_is_read(self, made: Track) -> None:
        self.assertEqual(from_bytes(to_bytes(made), NAME), made)
        self.assertEqual(len(to_bytes(made)), file_size(made))

    @given(tracks(), st.data())
    @settings(deadline=None)
    def test_whatever_is_changed_cut_off_or_put_behind_is_noticed(self, made: Track, data: st.DataObject) -> None:
        whole = to_bytes(made)
        at = data.draw(st.integers(0, len(whole) - 1))
        bit = data.draw(st.integers(0, 7))
        self.assert_malformed(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        self.assert_malformed(whole[:at])
        self.assert_malformed(whole + bytes(at + 1))

    @given(tracks(), st.data())
    @settings(deadline=None)
    def test_what_has_a_checksum_that_fits_may_still_be_nonsense(self, made: Track, data: st.DataObject) -> None:
        """Nothing but a track or a `MalformedTrack` comes of it."""
        body = bytearray(to_bytes(made)[:-DIGEST_BYTES])
        for at in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=4)):
            body[at] = data.draw(st.integers(0, 255))
        del body[data.draw(st.integers(0, len(body))) :]
        try:
            read = from_bytes(signed(bytes(body)), NAME)
        except MalformedTrack:
            return
        self.assertTrue(read.packets)

    def test_a_long_one_is_read_and_written_in_runs(self) -> None:
        for count in (RUN - 1, RUN, RUN + 1, 3 * RUN + 7):
            for made in (track(count=count), track(count=count, passed=True)):
                self.assertEqual(from_bytes(to_bytes(made), NAME), made)

    def test_it_is_the_track_of_its_name(self) -> None:
        self.assert_malformed(to_bytes(track()), "1f" * 32)

    def test_what_cannot_be_is_refused(self) -> None:
        good = track(passed=True, source=WEB)
        from_bytes(to_bytes(good), NAME)
        assert good.positions is not None
        positions = good.positions.tolist()
        for wrong in (
            replace(good, packets=(), positions=None),
            replace(good, packets=(b"", *good.packets[1:])),
            replace(good, packets=(bytes(OPUS_PACKET_MOST + 1), *good.packets[1:])),
            replace(good, positions=array("q", [positions[0], *positions[:-1]])),
            replace(good, positions=array("q", positions[:-1])),
            replace(good, since=-1.0),
            replace(good, facts=Facts(duration=-1.0)),
            replace(good, source=replace(WEB, duration=-1.0)),
            replace(good, source=replace(WEB, media=Http("file:///etc/passwd"))),
            replace(good, source=replace(WEB, media=Http("http://H/../a b"))),
            replace(good, source=replace(WEB, media=Http("http://h/song#x"))),
        ):
            self.assert_malformed(to_bytes(wrong))
        header = to_bytes(good).replace(b'"since":1000.0', b'"since":1e9999')
        self.assert_malformed(signed(header[:-DIGEST_BYTES]))


class PlaceTests(SynchronousTestCase):
    def test_the_nearest_packet_comes_first(self) -> None:
        for made in (track(count=100), track(count=100, passed=True)):
            for at, number in ((0, 0), (0.009, 0), (0.011, 1), (0.02, 1), (1.0, 50), (1.234, 62), (1.98, 99)):
                self.assertEqual(made.index(at), number, at)
                self.assertEqual(made.position(number), number * FRAME_SAMPLES - PRE_SKIP)

    def test_the_last_packet_is_heard_from_its_midst_on_and_then_there_is_none(self) -> None:
        for made in (track(count=100), track(count=100, passed=True)):
            self.assertEqual([made.index(at) for at in (1.995, 1.9999, 2.0, 1e6)], [99, 99, 100, 100])

    @given(st.floats(0, 3))
    def test_both_kinds_of_track_begin_alike(self, at: float) -> None:
        ours, passed = track(count=100), track(count=100, passed=True)
        self.assertEqual(ours.index(at), passed.index(at))
        if at < 1.98:
            self.assertLessEqual(abs(ours.position(ours.index(at)) + PRE_SKIP - at * 48_000), FRAME_SAMPLES / 2 + 1)

    def test_gaps_of_a_source_stay_where_they_are(self) -> None:
        made = Track(NAME, 0.0, packets(3), array("q", [-312, 648, 96_648 - 960]), 0, Facts())
        self.assertEqual([made.index(at) for at in (0.02, 0.5, 1.9, 1.98)], [1, 2, 2, 2])


class MemoryTests(SynchronousTestCase):
    def test_what_a_packet_costs_is_what_it_takes(self) -> None:
        made = track(count=1000, passed=True)
        assert made.positions is not None
        objects = sum(-(-sys.getsizeof(packet) // 16) * 16 for packet in made.packets)
        taken = objects + sys.getsizeof(made.packets) + sys.getsizeof(made.positions)
        self.assertApproximates(made.size, taken, 0.03 * taken)
        self.assertEqual(made.size, 1000 * (100 + PACKET_COST))
