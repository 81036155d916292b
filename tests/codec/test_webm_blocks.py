"""The packets come out of a WebM's blocks however they were put in, and however the bytes are split or damaged."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.codec.webm import HELD_MOST, WebmDemuxer, WebmPacket
from tests.codec import matroska as mk
from tests.codec.matroska import block, cluster, element, movie, simple

LACINGS = (mk.XIPH, mk.FIXED, mk.EBML_LACING)
HEADER_MOST = 12
"""Bytes of an element's id and size."""


def in_pieces(data: bytes, cuts: list[int], demuxer: WebmDemuxer | None = None) -> list[WebmPacket]:
    demuxer = demuxer or WebmDemuxer()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [found for begin, end in pairwise(edges) for found in demuxer.feed(data[begin:end])]


def group(packets: list[bytes], ticks: int = 0, *more: bytes, lacing: int = 0) -> bytes:
    return element(mk.BLOCK_GROUP, element(mk.BLOCK, block(packets, ticks, lacing)), *more)


def discard(nanoseconds: int) -> bytes:
    return element(mk.DISCARD_PADDING, nanoseconds.to_bytes(4, "big", signed=True))


class BlockTests(SynchronousTestCase):
    def found(self, *parts: bytes, odd: str | None = None) -> list[WebmPacket]:
        """The packets of a file with these clusters; its bytes taken one by one give the same."""
        data = movie(*parts)
        whole, single = WebmDemuxer(), WebmDemuxer()
        packets = whole.feed(data)
        self.assertEqual(in_pieces(data, list(range(len(data))), single), packets)
        self.assertEqual((whole.odd, single.odd), (odd, odd))
        return packets

    def test_times_count_from_the_cluster_and_may_lie_before_it(self) -> None:
        blocks = [simple(b"a" * size, ticks) for size, ticks in ((1, -5), (200, 0), (5, 20), (20_000, 40), (3, 32_767))]
        found = self.found(cluster(100, *blocks), cluster(0, simple(b"bbbb", -32_768)))
        self.assertEqual([each.time for each in found], [48 * n for n in (95, 100, 120, 140, 32_867, -32_768)])
        self.assertEqual([len(each.data) for each in found], [1, 200, 5, 20_000, 3, 4])

    def test_times_are_rounded_to_the_nearest_sample(self) -> None:
        tracks = mk.info(scale=1_000_000) + element(mk.TRACKS, mk.track())
        head = mk.header() + mk.endless(mk.SEGMENT, mk.info(scale=10_417), tracks)
        found = WebmDemuxer().feed(head + cluster(1, simple(b"packet", 0), simple(b"packet", 1)))
        # 10,417 ns are half a sample and 16 ns.
        self.assertEqual([each.time for each in found], [1, 1])

    def test_packets_of_each_lacing_are_parted(self) -> None:
        various = [b"a" * 3, b"", b"b" * 700, b"c" * 255, b"d" * 254, b"e" * 20_000, b"f" * 9, b"g"]
        for lacing in LACINGS:
            packets = [b"%03d" % n for n in range(256)] if lacing == mk.FIXED else various
            for count in (1, 2, 3, len(packets)):
                laced = element(mk.SIMPLE_BLOCK, block(packets[:count], 7, lacing))
                found = self.found(cluster(0, laced))
                self.assertEqual([each.data for each in found], packets[:count])
                self.assertEqual([each.time for each in found], [7 * 48] + [None] * (count - 1))

    def test_lacing_that_does_not_add_up_is_odd(self) -> None:
        for lacing, laced in (
            (mk.XIPH, b""),
            (mk.XIPH, b"\x01"),
            (mk.XIPH, b"\x01\xff\xff"),
            (mk.XIPH, b"\x01\x05abcd"),
            (mk.FIXED, b"\x01abc"),
            (mk.EBML_LACING, b"\x01\x85abcd"),
            (mk.EBML_LACING, b"\x02\x81\x80abcd"),
        ):
            bad = element(mk.SIMPLE_BLOCK, block([laced], lacing=0)[:3], bytes((lacing,)), laced)
            found = self.found(cluster(0, simple(b"good"), bad), odd="a block's packets cannot be parted")
            self.assertEqual([each.data for each in found], [b"good"])
        for laced in (b"\x01", b"\x01\x00", b"\x01\x01abc", b"\x02\x81"):
            bad = element(mk.SIMPLE_BLOCK, b"\x81\x00\x00\x06", laced)
            self.found(cluster(0, bad), odd="a number is not valid")

    def test_a_block_without_a_time_or_a_track_is_odd(self) -> None:
        for before in (b"", cluster(0)):
            self.found(before, element(mk.CLUSTER, simple(b"packet")), odd="a block has no time")
        self.found(cluster(0, element(mk.SIMPLE_BLOCK, b"\x81\x00\x00")), odd="a block has no time")
        self.found(cluster(0, element(mk.SIMPLE_BLOCK)), odd="a number is not valid")
        self.found(cluster(0, element(mk.SIMPLE_BLOCK, b"\x40")), odd="a number is not valid")

    def test_groups_give_what_is_to_be_discarded_at_the_end_or_the_beginning(self) -> None:
        duration = element(mk.BLOCK_DURATION, b"\x14")
        found = self.found(
            cluster(
                0,
                group([b"a"], 1),
                group([b"b", b"c"], 2, duration, discard(10_500_000), lacing=mk.EBML_LACING),
                element(mk.BLOCK_GROUP, discard(-6_500_000), element(mk.BLOCK, block([b"d", b"e"], 3, mk.XIPH))),
                element(mk.BLOCK_GROUP, discard(1)),
                group([b"f"], 4),
            )
        )
        times = [48, 96, None, 144, None, 192]
        self.assertEqual(
            found, list(map(WebmPacket, [b"a", b"b", b"c", b"d", b"e", b"f"], times, [0, 0, 504, -312, 0, 0]))
        )
        two = element(mk.BLOCK_GROUP, *[element(mk.BLOCK, block([b"a"]))] * 2)
        self.assertEqual(self.found(cluster(0, two), odd="there are two blocks in one group"), [])

    def test_a_block_may_be_as_large_as_what_is_held(self) -> None:
        data = movie(cluster(0, simple(bytes(HELD_MOST - 4))))
        for size in (1000, len(data)):
            found = in_pieces(data, list(range(0, len(data), size)))
            self.assertEqual([len(each.data) for each in found], [HELD_MOST - 4])

    def test_other_tracks_are_skipped_whatever_their_size_and_not_held(self) -> None:
        for number in (2, 127, 5000):
            video = block([bytes(2 * HELD_MOST)], track=number)
            parts = [simple(b"other", track=number), element(mk.SIMPLE_BLOCK, video), simple(b"a")]
            parts += [element(mk.BLOCK_GROUP, element(mk.BLOCK, video)), simple(b"b")]
            data = movie(cluster(0, *parts))
            demuxer, found = WebmDemuxer(), []
            for at in range(0, len(data), 1000):
                found += demuxer.feed(data[at : at + 1000])
                self.assertLessEqual(len(demuxer._held), 1000)
            self.assertEqual([each.data for each in found], [b"a", b"b"])
            self.assertEqual(WebmDemuxer().feed(data), found)

    def test_a_track_whose_number_takes_several_bytes_is_found(self) -> None:
        for number in (126, 127, 300, 1 << 40):
            tracks = element(mk.TRACKS, mk.track(number))
            data = movie(cluster(0, simple(b"packet", 1, number), simple(b"other", 2)), tracks=tracks)
            self.assertEqual(WebmDemuxer().feed(data), [WebmPacket(b"packet", 48, 0)])

    def test_sizes_may_be_wider_than_they_need_to_be(self) -> None:
        wide = [element(mk.SIMPLE_BLOCK, block([b"packet"], n), width=n) for n in range(1, 9)]
        found = self.found(cluster(0, *wide))
        self.assertEqual([each.time for each in found], [48 * n for n in range(1, 9)])
        for width in (1, 2, 8):
            none = mk.endless(mk.SIMPLE_BLOCK, block([bytes(20_000)]), width=width)
            self.found(cluster(0, none), odd="the size of an element is not stated")


class LiveTests(SynchronousTestCase):
    def live(self, *parts: bytes) -> bytes:
        return mk.header() + mk.endless(mk.SEGMENT, mk.info(), element(mk.TRACKS, mk.track()), *parts)

    def test_segment_and_clusters_may_have_no_stated_size(self) -> None:
        clusters = [
            mk.endless(
                mk.CLUSTER, mk.uint(mk.TIMESTAMP, 100 * n), mk.uint(mk.POSITION, 1), simple(b"%d" % n), width=1 + n
            )
            for n in range(3)
        ]
        tags = element(mk.TAGS, mk.tag("TITLE", "late"))
        data = self.live(*clusters, tags, cluster(300, group([b"3"])), clusters[0])
        demuxer = WebmDemuxer()
        found = in_pieces(data, list(range(len(data))), demuxer)
        self.assertEqual([(each.data, each.time) for each in found], [(b"%d" % n, 4800 * n) for n in (0, 1, 2, 3, 0)])
        self.assertEqual((demuxer.odd, demuxer.whole), (None, True))

    def test_a_cluster_of_no_stated_size_ends_with_a_segment_of_one(self) -> None:
        demuxer = WebmDemuxer()
        found = demuxer.feed(movie(mk.endless(mk.CLUSTER, mk.uint(mk.TIMESTAMP, 0), simple(b"packet"))))
        self.assertEqual([each.data for each in found], [b"packet"])
        self.assertEqual((demuxer.odd, demuxer.whole), (None, True))

    def test_it_is_whole_between_two_elements_and_nowhere_else(self) -> None:
        block = simple(b"packet" * 4)
        size, time = len(block), mk.uint(mk.TIMESTAMP, 5)
        for data, ends in (
            (self.live(element(mk.CLUSTER, time, block * 3)), (0,)),
            (self.live(mk.endless(mk.CLUSTER, time, block * 3)), (0, size, 2 * size, 3 * size)),
            (self.live(cluster(5), element(mk.VOID, bytes(50))), (0, 52)),
            (movie(element(mk.CLUSTER, time, block * 3)), (0,)),
        ):
            found = []
            for left in range(3 * size):
                demuxer = WebmDemuxer()
                demuxer.feed(data[: len(data) - left])
                found += [left] if demuxer.whole else []
            self.assertEqual(found, [end for end in ends if end < 3 * size])
        self.assertFalse(WebmDemuxer().whole)

    def test_what_is_unknown_in_a_cluster_of_no_stated_size_is_odd(self) -> None:
        demuxer = WebmDemuxer()
        found = demuxer.feed(self.live(mk.endless(mk.CLUSTER, mk.uint(mk.TIMESTAMP, 0), simple(b"a"), element(0x4FFF))))
        self.assertEqual(len(found), 1)
        self.assertEqual(demuxer.odd, "an element is unknown where what it is in has no stated size")
        self.assertFalse(demuxer.whole)


packets = st.binary(max_size=300)
blocks = st.one_of(
    st.builds(lambda data, ticks: ([data], simple(data, ticks)), packets, st.integers(-99, 99)),
    st.builds(
        lambda data, lacing: (data, element(mk.SIMPLE_BLOCK, block(data, 0, lacing))),
        st.lists(packets, min_size=1, max_size=6),
        st.sampled_from((mk.XIPH, mk.EBML_LACING)),
    ),
    st.builds(
        lambda data, count: ([data] * count, group([data] * count, 0, discard(5), lacing=mk.FIXED)),
        packets,
        st.integers(1, 5),
    ),
    st.builds(lambda data: ([], simple(data, track=2)), packets),
    st.builds(lambda size: ([], element(mk.VOID, bytes(size))), st.integers(0, 2000)),
)


class AnySplitTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(
        st.lists(st.lists(blocks, max_size=6), min_size=1, max_size=4),
        st.booleans(),
        st.lists(st.integers(0, 20_000), max_size=20),
    )
    def test_gives_the_same_packets(
        self, clusters: list[list[tuple[list[bytes], bytes]]], live: bool, cuts: list[int]
    ) -> None:
        make = mk.endless if live else element
        parts = [make(mk.CLUSTER, mk.uint(mk.TIMESTAMP, 50), *(raw for _, raw in each)) for each in clusters]
        data = mk.header() + make(mk.SEGMENT, mk.info(), element(mk.TRACKS, mk.track()), *parts)
        demuxer = WebmDemuxer()
        found = in_pieces(data, cuts, demuxer)
        self.assertEqual([each.data for each in found], [one for each in clusters for data, _ in each for one in data])
        self.assertEqual((demuxer.odd, demuxer.whole), (None, True))
        self.assertEqual(found, WebmDemuxer().feed(data))

    def test_costs_no_more_than_its_bytes(self) -> None:
        read: list[int] = []
        real = WebmDemuxer._read

        def counted(demuxer: WebmDemuxer, data: bytes, packets: list[WebmPacket]) -> int:
            read.append(len(data))
            return real(demuxer, data, packets)

        self.patch(WebmDemuxer, "_read", counted)
        tags = element(mk.TAGS, element(mk.TAG, element(mk.VOID, bytes(HELD_MOST - 4))))
        large = simple(bytes(HELD_MOST - 100))
        data = movie(tags, element(mk.VOID, bytes(HELD_MOST)), cluster(0, large, *[simple(b"packet")] * 100))
        for size in (1, 1000):
            read.clear()
            demuxer, found = WebmDemuxer(), 0
            for at in range(0, len(data), size):
                found += len(demuxer.feed(data[at : at + size]))
                self.assertLessEqual(len(demuxer._held), HELD_MOST + HEADER_MOST)
            self.assertEqual((found, demuxer.odd), (101, None))
            self.assertLess(sum(read), 2 * len(data))
