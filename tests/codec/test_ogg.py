"""However the bytes are split or damaged, the demuxer gives the packets that are whole, and never raises."""

from __future__ import annotations

import struct
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.codec import ogg
from audiosvc.codec.ogg import MalformedPacket, OggDemuxer, OggMuxer, OggPacket, packet_samples

STEREO_20_MS = b"\xfc"
"""A TOC byte: CELT, full band, 20 ms, stereo, one frame."""


def slow_checksum(page: bytes) -> bytes:
    """Ogg's CRC as RFC 3533 words it: polynomial 0x04c11db7, high bit first, from 0, bit by bit."""
    crc = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x104C11DB7 if crc & 0x80000000 else 0)
    return struct.pack("<I", crc)


def packet(number: int, size: int = 40) -> bytes:
    return STEREO_20_MS + bytes((number + i) % 256 for i in range(size - 1))


def page(
    lacing: bytes, body: bytes, sequence: int = 0, flags: int = 0, serial: int = 7, granule: int = 0, version: int = 0
) -> bytes:
    """A page made by hand, for what the muxer never makes."""
    raw = struct.pack("<4sBBqIIIB", b"OggS", version, flags, granule, serial, sequence, 0, len(lacing)) + lacing + body
    return raw[:22] + ogg.page_checksum(raw) + raw[26:]


def in_pieces(data: bytes, cuts: list[int], demuxer: OggDemuxer | None = None) -> list[OggPacket]:
    demuxer = demuxer or OggDemuxer()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [found for start, end in pairwise(edges) for found in demuxer.feed(data[start:end])]


def stream(packets: list[bytes], serial: int = 7) -> list[bytes]:
    muxer = OggMuxer(serial)
    return [*muxer.headers(), *(muxer.page(data, data is packets[-1]) for data in packets)]


class ChecksumTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(st.binary(min_size=27, max_size=400))
    def test_agrees_with_the_bitwise_definition(self, data: bytes) -> None:
        self.assertEqual(ogg.page_checksum(data), slow_checksum(data))


class PacketSamplesTests(SynchronousTestCase):
    def test_follows_the_table_of_rfc_6716(self) -> None:
        silk, hybrid, celt = [480, 960, 1920, 2880], [480, 960], [120, 240, 480, 960]
        found = [packet_samples(bytes([config << 3])) for config in range(32)]
        self.assertEqual(found, silk * 3 + hybrid * 2 + celt * 4)

    def test_counts_the_frames_of_each_code(self) -> None:
        found = [packet_samples(bytes([0xF8 | code, 0xC0 | 5])) for code in range(4)]
        self.assertEqual(found, [960, 1920, 1920, 4800])

    def test_refuses_what_has_no_duration_or_too_long_a_one(self) -> None:
        for data in (b"", b"\xfb", b"\xfb\x00", b"\xfb\x07"):
            with self.assertRaises(MalformedPacket):
                packet_samples(data)
        self.assertEqual(packet_samples(b"\xfb\x06"), 5760)


class MuxerTests(SynchronousTestCase):
    def test_headers_are_the_opus_head_and_the_tags(self) -> None:
        muxer = OggMuxer(9, title="Größe", artist="Ada", pre_skip=500)
        head, tags = (found for header in [muxer.headers()] for found in OggDemuxer().feed(b"".join(header)))
        self.assertEqual(head.data, b"OpusHead\x01\x02" + struct.pack("<HIhB", 500, 48_000, 0, 0))
        self.assertEqual((head.serial, head.bos, head.eos, head.granule), (9, True, False, 0))
        texts = [text.encode() for text in ("TITLE=Größe", "ARTIST=Ada")]
        wanted = b"OpusTags" + struct.pack("<I", 8) + b"audiosvc" + struct.pack("<I", 2)
        self.assertEqual(tags.data, wanted + b"".join(struct.pack("<I", len(text)) + text for text in texts))
        self.assertEqual((tags.bos, tags.granule), (False, 0))

    def test_a_title_that_is_not_unicode_is_written_all_the_same(self) -> None:
        tags = OggDemuxer().feed(b"".join(OggMuxer(1, title="a\udc80b").headers()))[1]
        self.assertIn(b"TITLE=a?b", tags.data)

    def test_tags_longer_than_a_page_take_several(self) -> None:
        for size in (65_025 - 28, 65_025, 200_000):
            pages = OggMuxer(1, title="x" * size).headers()
            demuxer = OggDemuxer()
            tags = demuxer.feed(b"".join(pages))[1]
            self.assertTrue(tags.data.endswith(b"TITLE=" + b"x" * size))
            self.assertEqual(demuxer.dropped_packets, 0)
        self.assertEqual([pages[n][6:14] for n in (1, 2, 3)], [b"\xff" * 8] * 3)

    def test_the_granule_grows_by_what_each_packet_lasts(self) -> None:
        muxer = OggMuxer(1)
        head = b"".join(muxer.headers())
        pages = [muxer.page(b"\xfc1"), muxer.page(b"\xe4" + b"2"), muxer.page(b"\xfd12", last=True)]
        found = OggDemuxer().feed(head + b"".join(pages))[2:]
        self.assertEqual([each.granule for each in found], [960, 960 + 120, 960 + 120 + 1920])
        self.assertEqual([each.eos for each in found], [False, False, True])

    def test_refuses_a_packet_that_is_none_or_fits_no_page(self) -> None:
        muxer = OggMuxer(1)
        for data in (b"", STEREO_20_MS * 65_025):
            with self.assertRaises(MalformedPacket):
                muxer.page(data)
        muxer.page(STEREO_20_MS * 65_024)

    def test_a_stream_cut_short_ends_in_an_empty_page_at_the_same_granule(self) -> None:
        muxer = OggMuxer(1)
        muxer.headers()
        last = muxer.page(packet(1))
        end = muxer.end()
        self.assertEqual(end, page(b"", b"", sequence=3, flags=4, serial=1, granule=960))
        self.assertEqual(ogg.end_after(last), end)
        self.assertEqual(ogg.end_after(end), b"")

    def test_tells_a_page_and_the_first_of_a_stream(self) -> None:
        head, tags = OggMuxer(1).headers()
        self.assertEqual([ogg.is_page(data) for data in (head, tags, head[:26], b"x" * 50)], [True, True, False, False])
        self.assertEqual([ogg.begins_stream(data) for data in (head, tags)], [True, False])


class RoundTripTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(
        st.lists(st.binary(max_size=600).map(lambda tail: STEREO_20_MS + tail), min_size=1, max_size=8),
        st.lists(st.integers(min_value=0, max_value=20_000), max_size=20),
    )
    def test_what_the_muxer_wrote_is_read_at_any_split(self, packets: list[bytes], cuts: list[int]) -> None:
        demuxer = OggDemuxer()
        found = in_pieces(b"".join(stream(packets)), cuts, demuxer)
        self.assertEqual([each.data for each in found[2:]], packets)
        self.assertEqual([each.granule for each in found[2:]], [960 * (n + 1) for n in range(len(packets))])
        self.assertEqual((demuxer.skipped_bytes, demuxer.dropped_packets), (0, 0))

    def test_chained_streams_are_told_apart(self) -> None:
        data = b"".join(
            [*stream([packet(1)], serial=1), *stream([packet(2)], serial=2), *stream([packet(3)], serial=2)]
        )
        found = in_pieces(data, list(range(len(data))))
        self.assertEqual([each.serial for each in found], [1] * 3 + [2] * 6)
        self.assertEqual([each.bos for each in found], [True, False, False] * 3)
        self.assertEqual([each.eos for each in found], [False, False, True] * 3)


class LacingTests(SynchronousTestCase):
    def test_several_packets_on_a_page_share_its_granule_at_the_last(self) -> None:
        data = page(b"\x02\x00\xff\x01", b"ab" + b"c" * 256, flags=6, granule=2880)
        found = OggDemuxer().feed(data)
        self.assertEqual([each.data for each in found], [b"ab", b"", b"c" * 256])
        self.assertEqual([each.granule for each in found], [None, None, 2880])
        self.assertEqual([each.bos for each in found], [True, False, False])
        self.assertEqual([each.eos for each in found], [False, False, True])

    def test_a_packet_goes_on_over_pages(self) -> None:
        pages = [
            page(b"\x01\xff", b"a" + b"b" * 255, granule=960),
            page(b"\xff", b"c" * 255, sequence=1, flags=1, granule=-1),
            page(b"", b"", sequence=2, flags=1, granule=-1),
            page(b"\x01\x01", b"de", sequence=3, flags=1, granule=2880),
        ]
        demuxer = OggDemuxer()
        found = demuxer.feed(b"".join(pages))
        self.assertEqual([each.data for each in found], [b"a", b"b" * 255 + b"c" * 255 + b"d", b"e"])
        self.assertEqual([each.granule for each in found], [960, None, 2880])
        self.assertEqual(demuxer.dropped_packets, 0)

    def test_a_packet_that_ends_on_no_page_boundary_value_has_no_granule(self) -> None:
        self.assertIsNone(OggDemuxer().feed(page(b"\x01", b"a", granule=-1))[0].granule)

    def test_streams_side_by_side_keep_their_packets_apart(self) -> None:
        pages = [
            page(b"\xff", b"a" * 255, serial=1),
            page(b"\xff", b"b" * 255, serial=2),
            page(b"\x01", b"A", serial=1, sequence=1, flags=1),
            page(b"\x01", b"B", serial=2, sequence=1, flags=1),
        ]
        found = OggDemuxer().feed(b"".join(pages))
        self.assertEqual([(each.serial, each.data[-1:]) for each in found], [(1, b"A"), (2, b"B")])

    def test_page_numbers_wrap_round(self) -> None:
        pages = [page(b"\xff", bytes(255), sequence=0xFFFFFFFF), page(b"\x01", b"x", sequence=0, flags=1)]
        self.assertEqual(len(OggDemuxer().feed(b"".join(pages))[0].data), 256)


class DamageTests(SynchronousTestCase):
    def both(self, *pages: bytes) -> tuple[list[bytes], OggDemuxer]:
        demuxer = OggDemuxer()
        return [each.data for each in demuxer.feed(b"".join(pages))], demuxer

    def test_a_missing_page_costs_only_the_packets_that_touch_it(self) -> None:
        found, demuxer = self.both(
            page(b"\x01\xff", b"a" + b"b" * 255),
            page(b"\x01\x01", b"cd", sequence=2, flags=1),
        )
        self.assertEqual(found, [b"a", b"d"])
        self.assertEqual((demuxer.dropped_packets, demuxer.skipped_bytes), (2, 0))

    def test_a_packet_never_gone_on_with_is_dropped(self) -> None:
        found, demuxer = self.both(page(b"\xff", bytes(255)), page(b"\x01", b"a", sequence=1))
        self.assertEqual((found, demuxer.dropped_packets), ([b"a"], 1))

    def test_the_middle_of_a_packet_alone_gives_nothing(self) -> None:
        found, demuxer = self.both(page(b"\xff", bytes(255), flags=1), page(b"\x01", b"a", sequence=1, flags=1))
        self.assertEqual((found, demuxer.dropped_packets), ([], 1))

    def test_a_packet_cut_off_by_the_end_or_a_new_beginning_is_dropped(self) -> None:
        for flags in (4, 0):
            _, demuxer = self.both(
                page(b"\xff", bytes(255), flags=flags), *([] if flags else [page(b"\x01", b"a", flags=2)])
            )
            self.assertEqual(demuxer.dropped_packets, 1)

    def test_a_packet_too_long_is_dropped_and_its_granule_with_it(self) -> None:
        full = bytes(255 * 255)
        pages = [page(b"\xff" * 255, full, granule=-1)]
        pages.append(page(b"\xff\xff\xff\x01" + b"\x01", bytes(255 * 3 + 1) + b"a", sequence=1, flags=1, granule=5))
        pages.append(page(b"\x01" + b"\xff" * 254, b"b" + full[255:], sequence=2, granule=-1))
        pages.append(page(b"\xff\xff\xff\xff\x01", bytes(255 * 4 + 1), sequence=3, flags=1, granule=9))
        found = OggDemuxer()
        packets = found.feed(b"".join(pages))
        self.assertEqual([(each.data, each.granule) for each in packets], [(b"a", 5), (b"b", None)])
        self.assertEqual(found.dropped_packets, 2)

    def test_tags_may_be_a_mebibyte_and_no_more_is_ever_held(self) -> None:
        for pages, kept in ((16, True), (17, False), (200, False)):
            demuxer = OggDemuxer()
            demuxer.feed(page(b"\x01", b"h", flags=2))
            for number in range(pages):
                demuxer.feed(page(b"\xff" * 255, bytes(65_025), 1 + number, flags=1 if number else 0))
                self.assertLess(sum(len(each.part or b"") for each in demuxer._streams.values()), 1024 * 1024 + 65_026)
            found = demuxer.feed(page(b"\x00", b"", 1 + pages, flags=1))
            self.assertEqual((len(found), demuxer.dropped_packets), (1, 0) if kept else (0, 1))

    def test_streams_beyond_the_eighth_push_out_the_first(self) -> None:
        demuxer = OggDemuxer()
        for serial in range(9):
            demuxer.feed(page(b"\xff", bytes(255), serial=serial, flags=2))
        self.assertEqual(demuxer.dropped_packets, 1)
        self.assertEqual(demuxer.feed(page(b"\x01", b"x", sequence=1, serial=0, flags=1)), [])
        self.assertEqual(len(demuxer.feed(page(b"\x01", b"x", sequence=1, serial=8, flags=1))), 1)

    def test_junk_is_skipped_and_counted_to_the_byte(self) -> None:
        junk = b"OggOggSnot a page" + b"\x00" * 30
        first, second = page(b"\x01", b"a"), page(b"\x01", b"b", sequence=1)
        data = junk + first + junk + page(b"\x01", b"v", version=1) + second
        demuxer = OggDemuxer()
        found = in_pieces(data, list(range(len(data))), demuxer)
        self.assertEqual([each.data for each in found], [b"a", b"b"])
        self.assertEqual(demuxer.skipped_bytes, len(data) - len(first) - len(second))

    def test_a_page_torn_off_does_not_take_the_next_with_it(self) -> None:
        whole = page(b"\x20", bytes(32))
        found, _ = self.both(whole[:40], page(b"\x01", b"a", sequence=1), page(b"\x01", b"b", sequence=2))
        self.assertEqual(found, [b"a", b"b"])

    def test_made_up_pages_that_overlap_are_not_summed_for_ever(self) -> None:
        unit = page(b"\xff" * 255, b"")
        summed = []
        real = ogg.page_checksum
        self.patch(ogg, "page_checksum", lambda data: summed.append(len(data)) or real(data))
        data = unit * 2000
        demuxer = OggDemuxer()
        for start in range(0, len(data), 10_000):
            demuxer.feed(data[start : start + 10_000])
        self.assertLess(sum(summed), 1024 * 1024 + 18 * len(data))
        good = stream([packet(1)])
        # What is claimed by the last made-up page may be skipped along; the stream after it is found.
        found = demuxer.feed(bytes(66_000) + b"".join(good))
        self.assertEqual(found[-1].data, packet(1))

    @settings(deadline=None)
    @given(st.data())
    def test_changed_bytes_cost_no_packet_of_an_untouched_page(self, data: st.DataObject) -> None:
        pages = stream([packet(number, 40 + 20 * number) for number in range(8)])
        damaged = data.draw(st.sets(st.integers(0, len(pages) - 1), max_size=3))
        raw = list(pages)
        for index in damaged:
            changed = bytearray(pages[index])
            at = data.draw(st.integers(0, len(changed) - 1))
            # A false length could swallow what follows; that is what the next test is about.
            if not 26 <= at < 27 + changed[26]:
                changed[at] ^= data.draw(st.integers(1, 255))
            raw[index] = bytes(changed)
        found = in_pieces(b"".join(raw), data.draw(st.lists(st.integers(0, 2000), max_size=8)))
        wanted = [
            each.data for index, each in enumerate(OggDemuxer().feed(b"".join(pages))) if raw[index] == pages[index]
        ]
        self.assertEqual([each.data for each in found], wanted)

    @settings(deadline=None)
    @given(st.data())
    def test_any_bytes_at_all_are_taken_and_little_is_held(self, data: st.DataObject) -> None:
        raw = bytearray(b"".join(stream([packet(number) for number in range(6)]))) * 2
        for _ in range(data.draw(st.integers(0, 12))):
            at = data.draw(st.integers(0, len(raw) - 1))
            raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
        demuxer = OggDemuxer()
        in_pieces(bytes(raw), data.draw(st.lists(st.integers(0, 2000), max_size=8)), demuxer)
        self.assertLessEqual(len(demuxer._buffer), 65_307)
        # Whatever it took the last bytes for, it is done with them after the longest page there is.
        after = demuxer.feed(bytes(65_400) + b"".join(stream([packet(1)], serial=99)))
        self.assertEqual([each.data for each in after if each.serial == 99][2:], [packet(1)])
