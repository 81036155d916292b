"""Ogg as it lies in a file: what is passed of it from wherever one begins, and what is left to FFmpeg."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_SAMPLES, SAMPLE_RATE
from audiosvc.codec.ogg import PRE_SKIP, OggMuxer, page_checksum
from audiosvc.codec.ogg_passing import (
    NEAR_BYTES,
    PAGE_MOST,
    OggHead,
    OggPassing,
    OggSearch,
    length,
    pages,
    read_tags,
)
from audiosvc.codec.passing import Passed
from tests.codec.material import copied, folder
from tests.codec.test_passing import CELT_10, SILK_60, TAGS, Copy, head, numbered

ODD_COUNT = "the Ogg holds more than a stream of Opus"


def passed(data: bytes, at: int = 0, known: OggHead | None = None) -> tuple[list[Passed], OggPassing]:
    passing = OggPassing(at, known)
    return [*passing.feed(data), *passing.end()], passing


def packets(found: list[Passed]) -> list[bytes]:
    return [each.packet for each in found]


def known(data: bytes) -> OggHead:
    found = passed(data)[1].head
    assert found is not None
    return found


class PlaceTests(SynchronousTestCase):
    def test_it_is_what_ffmpeg_copies_each_packet_at_its_place(self) -> None:
        for name in ("20.opus", "60.opus", "10.opus", "5.opus", "2.5.opus", "mono.opus", "first.opus"):
            found, passing = passed((folder() / name).read_bytes())
            self.assertEqual(found, copied(name)[0], name)
            self.assertEqual((passing.odd, passing.unpassable), (None, None))

    def test_so_it_is_from_any_position(self) -> None:
        data = (folder() / "20.opus").read_bytes()
        for at in (0.004, 0.02, 0.3, 7.777, 15.99):
            found, _ = passed(data, round(at * SAMPLE_RATE))
            self.assertEqual(found[:20], copied("20.opus", at, 0.4)[0][:20])

    def test_what_was_cut_out_of_a_stream_goes_on_counting(self) -> None:
        for zero in (448, 10 * SAMPLE_RATE):
            copy = Copy().begin().at(zero).add(numbered(12), last=True, trimmed=100)
            found, passing = passed(copy.written)
            self.assertEqual([each.position for each in found], [i * FRAME_SAMPLES - PRE_SKIP for i in range(12)])
            assert passing.head is not None
            self.assertEqual(passing.head.zero, zero)
            self.assertEqual(length(copy.written, passing.head), 12 * FRAME_SAMPLES - 100)

    def test_one_page_that_is_the_last_one_too(self) -> None:
        for trimmed, left in ((0, 5), (700, 5), (1000, 4)):
            found, passing = passed(Copy().begin().add(numbered(5), last=True, trimmed=trimmed).written)
            self.assertEqual((packets(found), found[0].position), (numbered(5)[:left], -PRE_SKIP))
            self.assertIsNone(passing.odd)

    def test_what_lies_behind_the_stated_end_is_left_out(self) -> None:
        for trimmed, left in ((0, 10), (959, 10), (960, 9), (3 * 960, 7)):
            found, _ = passed(Copy().begin().add(numbered(10), last=True, trimmed=trimmed).written)
            self.assertEqual(packets(found), numbered(10)[:left])

    def test_a_last_packet_that_is_short_is_filled(self) -> None:
        found, _ = passed(Copy().begin().add(numbered(5, CELT_10), last=True).written)
        self.assertEqual(len(found), 3)

    def test_a_hole_moves_the_position(self) -> None:
        copy = Copy().begin().add(numbered(5))
        copy.granule += 3 * SAMPLE_RATE
        found, passing = passed(copy.add(numbered(5, first=5), last=True).written)
        self.assertEqual((packets(found), passing.odd), (numbered(10), None))
        self.assertEqual(found[5].position - found[4].position, 3 * SAMPLE_RATE + FRAME_SAMPLES)

    def test_what_cannot_be_passed_is_told(self) -> None:
        found, passing = passed(Copy().begin().add(numbered(7)).add(numbered(2, SILK_60)).written)
        self.assertEqual(packets(found), numbered(7))
        assert passing.unpassable is not None
        self.assertEqual(passing.unpassable.position, 7 * FRAME_SAMPLES - PRE_SKIP)
        found, passing = passed(Copy().begin(head(gain=1)).add(numbered(7)).written)
        assert passing.unpassable is not None
        self.assertIn("louder or softer", passing.unpassable.reason)
        self.assertIsNotNone(passing.head)
        self.assertEqual((found, passing.odd), ([], None))


class HeadTests(SynchronousTestCase):
    def test_it_has_what_the_tags_say(self) -> None:
        data = b"".join(OggMuxer(9, title="A title", artist="Somebody").headers())
        passing = OggPassing(0)
        passing.feed(data)
        self.assertIsNone(passing.head)
        passing.feed(Copy(9).add(numbered(3)).written)
        assert passing.head is not None
        self.assertEqual((passing.head.title, passing.head.artist, passing.head.serial), ("A title", "Somebody", 9))

    def test_tags_are_read_as_ffmpeg_reads_them(self) -> None:
        def tags(*texts: bytes, count: int | None = None) -> bytes:
            counted = b"".join(len(text).to_bytes(4, "little") + text for text in (b"vendor", *texts))
            at = 4 + len(b"vendor")
            return b"OpusTags" + counted[:at] + (count or len(texts)).to_bytes(4, "little") + counted[at:]

        self.assertEqual(
            read_tags(tags(b"title=One\nTwo", b"ARTIST=A", b"Artist=B", b"TITLE=", b"DATE=1", b"nothing")),
            {"TITLE": "One", "ARTIST": "A;B"},
        )
        self.assertEqual(read_tags(tags(b"TITLE=\xff", count=2**32 - 1)), {"TITLE": "\ufffd"})
        self.assertEqual(read_tags(tags(b"TITLE=cut")[:-1]), {"TITLE": "cu"})
        for some in (b"OpusTags", b"OpusTags" + bytes(8), b"OpusTags\xff\xff\xff\xff"):
            self.assertEqual(read_tags(some), {})


class OddTests(SynchronousTestCase):
    def odd(self, data: bytes, at: int = 0, head: OggHead | None = None) -> str:
        found, passing = passed(data, at, head)
        assert passing.odd is not None
        self.assertEqual(passing.feed(Copy().begin().add(numbered(9)).written), [])
        self.given = packets(found)
        return passing.odd

    def test_what_does_not_begin_with_opus(self) -> None:
        for data in (Copy().begin(b"\x01vorbis" + bytes(30)).written, Copy().add(numbered(3)).written):
            self.assertEqual(self.odd(data), "the Ogg does not begin with a stream of Opus")

    def test_more_than_one_stream(self) -> None:
        beside = Copy().begin()
        beside.written = beside.written[: len(Copy(8).begin().written) // 2] + Copy(8).begin().written
        film = Copy(7)
        film.page([head()], 2, 0)
        film.written += Copy(8).begin().written
        self.assertEqual(self.odd(film.written), ODD_COUNT)
        chained = Copy().begin().add(numbered(7), last=True).written + Copy(8).begin().add(numbered(7)).written
        self.assertEqual(self.odd(chained), ODD_COUNT)
        self.assertEqual(self.given, numbered(7))
        self.assertEqual(self.odd(Copy().begin().add(numbered(7), last=True).add(numbered(1)).written), ODD_COUNT)
        self.assertEqual(self.odd(Copy().begin(tags=b"whatever").written), ODD_COUNT)

    def test_what_is_damaged(self) -> None:
        good = Copy().begin().add(numbered(5))
        flipped = good.written[:-3] + b"x" + good.written[-2:]
        for data in (
            good.written + b"garbage that is no page" + bytes(20),
            flipped + good.add(numbered(5)).written[-90:],
        ):
            self.assertEqual(self.odd(data), "the Ogg is damaged")
        self.assertEqual(self.odd(Copy().begin().add(numbered(5)).written + self.bad_packet()), "the Opus is damaged")
        self.assertEqual(self.given, numbered(5))

    def bad_packet(self) -> bytes:
        copy = Copy()
        copy._sequence = 3
        copy.page([b"\xff\x00"], 0, 6 * FRAME_SAMPLES)
        return copy.written

    def test_positions_that_make_no_sense(self) -> None:
        self.assertIn("before its beginning", self.odd(Copy().begin().at(-1).add(numbered(5)).written))
        self.assertIn("does not say when", self.odd(Copy().begin().at(-5 * FRAME_SAMPLES).add(numbered(5)).written))
        self.assertIn("back in time", self.odd(Copy().begin().add(numbered(9)).at(0).add(numbered(2)).written))
        self.assertIn("does not say when", self.odd(Copy().begin().add(numbered(300), stated=False).written))

    def test_a_place_that_does_not_hold_what_is_sought(self) -> None:
        copy = Copy().begin().add(numbered(100))
        self.assertIn("lacks what was sought", self.odd(copy.written[-200:], SAMPLE_RATE, known(copy.written)))


class SearchTests(SynchronousTestCase):
    def find(self, data: bytes, at: int, read: int = PAGE_MOST) -> tuple[bytes, int]:
        """What is read from where the search ends, and how often one looked."""
        found = known(data)
        samples = length(data[-PAGE_MOST:], found)
        assert samples is not None
        search = OggSearch(found, at, len(data), samples)
        for looks in range(1, 12):
            offset = search.guess()
            some = data[offset : offset + read]
            begin = search.saw(offset, some)
            if begin is not None:
                self.assertTrue(data.startswith(b"OggS", begin))
                return data[begin:], looks
        raise AssertionError(f"{at} is not found")

    def check(self, data: bytes, positions: list[int], read: int = PAGE_MOST) -> int:
        found, most = known(data), 0
        for at in positions:
            rest, looks = self.find(data, at, read)
            got, passing = passed(rest, at, found)
            self.assertEqual((got, passing.odd), (passed(data, at)[0], None), f"from {at}")
            most = max(most, looks)
        return most

    def test_from_any_position_the_packets_are_the_same(self) -> None:
        chosen = random.Random(3)
        for name in ("20.opus", "60.opus", "2.5.opus"):
            data = (folder() / name).read_bytes()
            places = [0, 1, 480, 960, *(chosen.randrange(15 * SAMPLE_RATE) for _ in range(30))]
            self.assertLessEqual(self.check(data, places), 3)

    def test_bit_rates_that_vary_and_streams_that_go_on_counting(self) -> None:
        loud = [bytes((0xFC,)) + n.to_bytes(2, "big") + bytes(1200) for n in range(1000)]
        for order in (loud + numbered(9000), numbered(9000) + loud, numbered(4500) + loud + numbered(4500)):
            data = Copy(together=50).begin().at(5 * SAMPLE_RATE).add(order, last=True).written
            places = [n * SAMPLE_RATE for n in (3, 17, 19, 21, 92, 99, 101, 150, 178, 182, 199)]
            self.assertLessEqual(self.check(data, places), 8)

    def test_pages_as_they_come_over_a_slow_way(self) -> None:
        data = (folder() / "20.opus").read_bytes()
        self.assertLessEqual(self.check(data, [n * SAMPLE_RATE for n in (2, 5, 9, 13)], read=20_000), 4)

    def test_a_picture_in_the_tags_is_not_read_again(self) -> None:
        tags = list(self.in_pages(TAGS + bytes(200_000)))
        copy = Copy(together=50)
        copy.page([head()], 2, 0)
        copy._sequence = 1 + len(tags)
        copy.written += b"".join(tags)
        data = copy.add(numbered(5000), last=True).written
        passing = OggPassing(0)
        for at in range(0, len(data), 4096):
            passing.feed(data[at : at + 4096])
        assert passing.head is not None
        self.assertEqual(passing.odd, None)
        self.assertGreater(passing.head.sound, 190_000)
        samples = length(data, passing.head)
        assert samples is not None
        for at in (SAMPLE_RATE // 4, 3 * SAMPLE_RATE, 60 * SAMPLE_RATE):
            search = OggSearch(passing.head, at, len(data), samples)
            offset = search.guess()
            self.assertGreaterEqual(offset, passing.head.sound)
            begin = search.saw(offset, data[offset:])
            assert begin is not None
            self.assertEqual(passed(data[begin:], at, passing.head)[0], passed(data, at)[0])

    def in_pages(self, body: bytes) -> Iterator[bytes]:
        """A packet on as many pages as it takes."""
        most = 255 * 255
        for number, at in enumerate(range(0, len(body), most), 1):
            part, last = body[at : at + most], at + most >= len(body)
            lacing = b"\xff" * (len(part) // 255) + (bytes((len(part) % 255,)) if last else b"")
            fields = (b"OggS", 0, 0 if at == 0 else 1, 0 if last else -1, 7, number, 0, len(lacing))
            raw = struct.pack("<4sBBqIIIB", *fields) + lacing + part
            yield raw[:22] + page_checksum(raw) + raw[26:]

    def test_where_nothing_is_found_there_is_no_answer(self) -> None:
        search = OggSearch(OggHead(7, 312, None, None, None, 100, 0), 10**6, 10 * NEAR_BYTES, 10**7)
        for _ in range(9):
            offset = search.guess()
            self.assertTrue(100 <= offset <= 10 * NEAR_BYTES)
            self.assertIsNone(search.saw(offset, bytes(1000)))

    def test_a_length_that_is_not_said(self) -> None:
        copy = Copy().begin().add(numbered(5))
        found = known(copy.written)
        self.assertEqual(length(copy.written[-20:], found), None)
        more = copy.add(numbered(5)).written
        page = len(more) - more.rindex(b"OggS")
        for cut in range(1, page + 1):
            self.assertEqual(length(more[:-cut], found), 5 * FRAME_SAMPLES, cut)
        self.assertEqual(length(more, found), 10 * FRAME_SAMPLES)
        copy.page([], 4, copy.granule - 7)
        self.assertEqual(length(copy.written, found), 10 * FRAME_SAMPLES - 7)
        self.assertEqual(length(Copy(8).begin().add(numbered(5)).written, found), None)
        self.assertEqual(list(pages(copy.written[-10:] + b"OggS\0", 0, 7)), [])


class AnythingTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=40)
    @given(st.integers(1, 9), st.lists(st.integers(0, 10**6), max_size=12), st.integers(0, 3 * SAMPLE_RATE))
    def test_how_the_bytes_are_split_changes_nothing(self, together: int, cuts: list[int], at: int) -> None:
        data = Copy(together=together).begin().add(numbered(200), last=True, trimmed=100).written
        whole, _ = passed(data, at)
        passing, found = OggPassing(at), []
        edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        for start, end in pairwise(edges):
            found += passing.feed(data[start:end])
        self.assertEqual((found + passing.end(), passing.odd), (whole, None))

    @settings(deadline=None, max_examples=100)
    @given(st.data())
    def test_no_bytes_make_it_fail(self, draw: st.DataObject) -> None:
        data = bytearray(Copy(together=3).begin().add(numbered(30), last=True).written)
        for _ in range(draw.draw(st.integers(1, 4))):
            at = draw.draw(st.integers(0, len(data) - 1))
            data[at : at + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=4))
        passed(bytes(data))
        passed(bytes(data[90:]), SAMPLE_RATE // 4, OggHead(7, 312, None, None, None, 90, 0))
