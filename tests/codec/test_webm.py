"""What stands before a WebM's sound, where its clusters lie, and what is left to FFmpeg."""

from __future__ import annotations

import math
import struct

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.codec.ebml import CHILDREN_MOST
from audiosvc.codec.webm import CUES_MOST, HELD_MOST, PRE_ROLL, WebmDemuxer, WebmHead
from tests.codec import matroska as mk
from tests.codec.matroska import cluster, cue, element, movie, simple, uint


def read(data: bytes) -> WebmDemuxer:
    demuxer = WebmDemuxer()
    demuxer.feed(data)
    return demuxer


class WebmCase(SynchronousTestCase):
    def head(self, data: bytes) -> WebmHead:
        demuxer = read(data)
        self.assertIsNone(demuxer.odd)
        assert demuxer.head is not None
        return demuxer.head


class HeadTests(WebmCase):
    def test_holds_what_the_file_says(self) -> None:
        info = mk.info(
            element(mk.TITLE, "Größe".encode()), element(mk.DURATION, struct.pack(">d", 2500.5)), scale=2_000_000
        )
        entry = mk.track(3, uint(mk.SEEK_PRE_ROLL, 100_000_000))
        tags = element(mk.TAGS, mk.tag("artist", "Ada"))
        parts = mk.seek_head(mk.CUES, 9000) + info + element(mk.TRACKS, entry) + tags
        data = mk.header() + element(mk.SEGMENT, parts, cluster(0), element(mk.VOID, bytes(9000)))
        segment = data.index(parts)
        self.assertEqual(
            self.head(data),
            WebmHead(
                opus_head=mk.OPUS_HEAD,
                channels=2,
                codec_delay=312,
                seek_pre_roll=4800,
                duration=round(5.001 * 48_000),
                title="Größe",
                artist="Ada",
                track=3,
                timestamp_scale=2_000_000,
                segment=segment,
                segment_end=len(data),
                clusters=segment + len(parts),
                cues=segment + 9000,
            ),
        )

    def test_is_there_as_soon_as_the_first_cluster_begins(self) -> None:
        data = movie(cluster(0, simple(b"a")))
        at = data.index(mk.start(mk.CLUSTER)) + 5
        self.assertIsNone(read(data[: at - 1]).head)
        self.assertIsNotNone(read(data[:at]).head)

    def test_says_nothing_that_the_file_does_not(self) -> None:
        head = self.head(
            mk.header(b"matroska") + mk.endless(mk.SEGMENT, mk.info(), element(mk.TRACKS, mk.track()), cluster(0))
        )
        self.assertEqual((head.duration, head.title, head.artist), (None, None, None))
        self.assertEqual((head.segment_end, head.cues, head.seek_pre_roll), (None, None, PRE_ROLL))

    def test_a_duration_that_is_none_is_left_out(self) -> None:
        for value, wanted in ((10.0, 480), (0.0, None), (-1.0, None), (math.nan, None), (math.inf, None), (3e38, None)):
            info = mk.info(element(mk.DURATION, struct.pack(">f", value)))
            data = mk.header() + element(mk.SEGMENT, info, element(mk.TRACKS, mk.track()), cluster(0))
            self.assertEqual(self.head(data).duration, wanted)

    def test_the_title_may_be_a_tag_of_the_file_but_of_none_of_its_parts(self) -> None:
        chapter = element(mk.TARGETS, uint(mk.TAG_CHAPTER_UID, 5))
        whole = element(mk.TARGETS, uint(mk.TAG_CHAPTER_UID, 0), uint(0x63C5, 1))
        tags = element(
            mk.TAGS,
            mk.tag("TITLE", "a chapter", chapter),
            mk.tag("ENCODER", "x", element(mk.VOID)),
            mk.tag("TITLE", "a title\0of zeros", whole),
            mk.tag("TITLE", "another"),
        )
        self.assertEqual(self.head(movie(tags, cluster(0))).title, "a title")

    def test_the_title_of_the_info_goes_before_that_of_a_tag(self) -> None:
        info = mk.info(element(mk.TITLE, b"\xff!"))
        tags = element(mk.TAGS, mk.tag("TITLE", "another"))
        data = mk.header() + element(mk.SEGMENT, info, element(mk.TRACKS, mk.track()), tags, cluster(0))
        self.assertEqual(self.head(data).title, "\ufffd!")

    def test_texts_and_tags_that_are_too_long_are_left_out(self) -> None:
        tags = element(
            mk.TAGS,
            mk.tag("ARTIST", "x" * 5000),
            element(mk.TAG, element(mk.SIMPLE_TAG, bytes(HELD_MOST))),
            mk.tag("TITLE", "short"),
        )
        head = self.head(movie(tags, cluster(0)))
        self.assertEqual((head.title, head.artist), ("short", None))

    def test_the_first_track_with_sound_is_taken_and_the_first_of_each_part_counts(self) -> None:
        tracks = element(
            mk.TRACKS,
            mk.track(1, kind=1, codec=b"V_VP9"),
            mk.track(2, element(mk.TRACK_TIMESTAMP_SCALE, struct.pack(">f", 1.0))),
            mk.track(3, codec=b"A_AAC"),
        )
        again = mk.info(scale=5) + element(mk.TRACKS, mk.track(4, codec=b"A_AAC"))
        head = self.head(movie(again, cluster(0), again, cluster(1), tracks=tracks))
        self.assertEqual((head.track, head.timestamp_scale), (2, 1_000_000))

    def test_what_is_of_no_use_is_skipped(self) -> None:
        unknown = element(0x4FFF, b"?")
        junk = [element(each, bytes(300)) for each in (mk.VOID, mk.CRC_32, mk.CHAPTERS, mk.ATTACHMENTS)]
        late = element(mk.TAGS, mk.tag("TITLE", "late"))
        data = movie(*junk, unknown, cluster(0, *junk[:2], unknown, simple(b"a")), late, *junk)
        demuxer = WebmDemuxer()
        self.assertEqual([each.data for each in demuxer.feed(data)], [b"a"])
        self.assertEqual((demuxer.odd, demuxer.whole), (None, True))
        assert demuxer.head is not None
        self.assertIsNone(demuxer.head.title)


class CuesTests(WebmCase):
    def file(self, *points: bytes, behind: bool = False) -> tuple[bytes, list[int]]:
        """A file with three clusters, of the times 0 s, 10 s and 20 s; and where they lie in the segment."""
        clusters = [cluster(10_000 * n, simple(b"%d" % n)) for n in range(3)]
        fixed = mk.info() + element(mk.TRACKS, mk.track())
        size = 5 + len(b"".join(points or [cue(0, 0)] * 3))
        first = 26 + len(fixed) + (0 if behind else size)
        places = [first + sum(map(len, clusters[:n])) for n in range(3)]
        cues = element(mk.CUES, *(points or [cue(10_000 * n, places[n]) for n in range(3)]))
        at = first + sum(map(len, clusters)) if behind else 26 + len(fixed)
        order = [*clusters, cues] if behind else [cues, *clusters]
        return mk.header() + element(mk.SEGMENT, mk.seek_head(mk.CUES, at), fixed, *order), places

    def test_lead_to_the_cluster_that_is_to_be_read_for_a_position(self) -> None:
        data, places = self.file()
        demuxer = read(data)
        head, cues = demuxer.head, demuxer.cues
        assert head is not None and cues is not None
        self.assertEqual(list(cues.times), [0, 480_000, 960_000])
        self.assertEqual([each - head.segment for each in cues.offsets], places)
        self.assertEqual(cues.before(-1), None)
        for position, wanted in ((0, 0), (480_000 + PRE_ROLL - 1, 0), (480_000 + PRE_ROLL, 1), (10**12, 2)):
            offset = head.start(cues, position)
            self.assertEqual(offset, cues.offsets[wanted])
            resumed = WebmDemuxer.resume(head, offset)
            found = resumed.feed(data[offset:])
            self.assertEqual([each.data for each in found], [b"%d" % n for n in range(wanted, 3)])
            self.assertEqual(found[0].time, 480_000 * wanted)
            self.assertEqual((resumed.odd, resumed.whole, resumed.head), (None, True, head))

    def test_may_lie_behind_the_clusters_and_be_fetched_by_themselves(self) -> None:
        data, _ = self.file(behind=True)
        demuxer = WebmDemuxer()
        at = data.rindex(mk.start(mk.CUES))
        demuxer.feed(data[:at])
        assert demuxer.head is not None and demuxer.head.cues is not None
        self.assertIsNone(demuxer.cues)
        fetched = WebmDemuxer.resume(demuxer.head, demuxer.head.cues)
        fetched.feed(data[demuxer.head.cues :])
        demuxer.feed(data[at:])
        assert fetched.cues is not None and demuxer.cues is not None
        self.assertEqual(list(fetched.cues.offsets), list(demuxer.cues.offsets))
        self.assertEqual(len(fetched.cues), 3)

    def test_are_known_of_where_they_lie_even_if_no_seek_head_says_so(self) -> None:
        cues = element(mk.CUES, cue(0, 200))
        data = mk.header() + element(mk.SEGMENT, cues, mk.info(), element(mk.TRACKS, mk.track()), cluster(0))
        demuxer = read(data)
        assert demuxer.head is not None
        self.assertEqual((demuxer.head.cues, demuxer.cues), (demuxer.head.segment, None))

    def test_other_entries_of_the_seek_head_and_places_outside_the_file_are_passed_over(self) -> None:
        for first in (mk.seek_head(mk.TAGS, 5), mk.seek_head(mk.CUES, 10**9), element(mk.SEEK_HEAD, element(mk.VOID))):
            head = self.head(movie(first, element(mk.SEEK_HEAD, element(mk.SEEK, element(mk.VOID))), cluster(0)))
            self.assertIsNone(head.cues)
        head = self.head(movie(mk.seek_head(mk.CUES, 9), mk.seek_head(mk.CUES, 8), cluster(0)))
        self.assertEqual(head.cues, head.segment + 9)

    def test_points_in_disorder_or_that_point_nowhere_do_no_harm(self) -> None:
        points = [cue(3, 150), cue(1, 100), cue(2, 10**9), cue(1 << 63, 120), element(mk.CUE_POINT, element(mk.VOID))]
        cues = read(self.file(*points, element(mk.VOID, bytes(40)))[0]).cues
        assert cues is not None
        self.assertEqual(list(cues.times), [48, 144])

    def test_the_tracks_own_points_count_and_others_only_without_them(self) -> None:
        both = element(mk.CUES, cue(1, 100, 2), cue(2, 110, 2), cue(5, 120), cue(6, 130, 2), cue(7, 140))
        for data, wanted in ((both, [5, 7]), (element(mk.CUES, cue(1, 90, 2), cue(2, 100, 2)), [1, 2])):
            cues = read(movie(data, cluster(0, element(mk.VOID, bytes(200))))).cues
            assert cues is not None
            self.assertEqual([each // 48 for each in cues.times], wanted)

    def test_only_the_first_are_read(self) -> None:
        first, second = (element(mk.CUES, cue(ticks, 100)) for ticks in (1, 2))
        cues = read(movie(first, cluster(0), second)).cues
        assert cues is not None
        self.assertEqual(list(cues.times), [48])

    def test_a_place_where_no_cluster_begins_is_odd(self) -> None:
        data, _ = self.file()
        head = self.head(data)
        for offset in (head.segment, head.clusters + 5):
            resumed = WebmDemuxer.resume(head, offset)
            self.assertEqual(resumed.feed(data[offset:]), [])
            self.assertIsNotNone(resumed.odd)


class OddTests(SynchronousTestCase):
    def odd(self, data: bytes) -> str | None:
        """Why it is odd, which no split of the bytes changes."""
        whole, single = WebmDemuxer(), WebmDemuxer()
        packets = whole.feed(data)
        self.assertEqual([each for n in range(len(data)) for each in single.feed(data[n : n + 1])], packets)
        self.assertEqual((single.odd, single.head, single.whole), (whole.odd, whole.head, whole.whole))
        self.assertEqual(single.feed(movie(cluster(0, simple(b"later")))), [])
        return whole.odd

    def test_what_is_no_webm_that_is_known(self) -> None:
        for data in (
            b"OggS" * 9,
            b"\x1a\x45\xdf\xa3" * 9,
            mk.header(b"mkv"),
            mk.header() * 2,
            element(mk.VOID) + movie(),
        ):
            self.assertIn(
                self.odd(data),
                ("it is neither WebM nor Matroska", "an element has no valid id", "an element is too large"),
            )
        for identity, value in ((0x4285, 5), (0x42F2, 5), (0x42F3, 9)):
            self.assertEqual(
                self.odd(mk.header(b"webm", uint(identity, value))), "it is of a version that is not known"
            )
        self.assertEqual(self.odd(mk.header(b"webm", uint(0x42F3, 1 << 64))), "a number is not valid")
        self.assertIsNone(self.odd(mk.header(b"webm\0", uint(0x4285, 4), uint(0x42F2, 4), uint(0x42F3, 8))))

    def test_tracks_that_cannot_be_passed_on(self) -> None:
        scale = element(mk.TRACK_TIMESTAMP_SCALE, struct.pack(">d", 2.0))
        for entry, reason in (
            (mk.track(codec=b"A_VORBIS"), "the sound is not Opus"),
            (mk.track(private=b""), "there is no OpusHead"),
            (mk.track(private=mk.OPUS_HEAD[:18]), "there is no OpusHead"),
            (mk.track(private=mk.OPUS_HEAD + bytes(300)), "there is no OpusHead"),
            (mk.track(1, element(mk.CONTENT_ENCODINGS)), "the track is compressed or encrypted"),
            (mk.track(0), "the track's number or times make no sense"),
            (mk.track(1, scale), "the track's number or times make no sense"),
            (mk.track(delay=48_001), "the track's number or times make no sense"),
            (mk.track(1, uint(mk.SEEK_PRE_ROLL, 1 << 60)), "the track's number or times make no sense"),
            (mk.track(1, element(mk.TRACK_TIMESTAMP_SCALE, b"x")), "a number is not valid"),
            (mk.track(kind=1), "there is no sound in it"),
        ):
            self.assertEqual(self.odd(movie(cluster(0, simple(b"a")), tracks=element(mk.TRACKS, entry))), reason)

    def test_a_file_without_a_clock(self) -> None:
        tracks = element(mk.TRACKS, mk.track())
        self.assertEqual(self.odd(mk.header() + element(mk.SEGMENT, tracks, cluster(0))), "there is no sound in it")
        for scale in (b"\0", (10**9 + 1).to_bytes(4, "big")):
            data = mk.header() + element(mk.SEGMENT, element(mk.INFO, element(mk.TIMESTAMP_SCALE, scale)), tracks)
            self.assertEqual(self.odd(data), "its clock does not tick, or too seldom")
        self.assertEqual(self.odd(movie(cluster(1 << 62, simple(b"packet")))), "a time is beyond all sense")

    def test_elements_where_they_cannot_be(self) -> None:
        for part in (element(mk.CUES), mk.header(), movie()):
            self.assertEqual(self.odd(movie(cluster(0, part))), "an element is where it cannot be")
            self.assertEqual(self.odd(movie(tracks=element(mk.TRACKS, part))), "an element is where it cannot be")
        self.assertEqual(self.odd(movie(movie())), "an element is where it cannot be")
        unknown = mk.endless(mk.SEGMENT, mk.info(), element(mk.TRACKS, mk.track()), element(0x4FFF, b"?"))
        self.assertEqual(
            self.odd(mk.header() + unknown), "an element is unknown where what it is in has no stated size"
        )

    def test_elements_larger_than_what_they_are_in(self) -> None:
        for part in (
            cluster(0, simple(b"long")[:-1]),
            element(mk.TRACKS, mk.track()[:-1]),
            cluster(0)[:-1],
            element(mk.SEEK_HEAD, b"\x4d"),
            element(mk.SEEK_HEAD, element(mk.VOID, b"ab")[:-1]),
            element(mk.SEEK_HEAD, mk.endless(mk.VOID)),
        ):
            self.assertEqual(self.odd(movie(part)), "an element is larger than the one it is in")

    def test_sizes_and_numbers_that_are_none(self) -> None:
        self.assertEqual(self.odd(movie(mk.endless(mk.TAGS))), "the size of an element is not stated")
        self.assertEqual(self.odd(movie(b"\xec\x00" + bytes(20))), "an element has no valid size")
        self.assertEqual(self.odd(movie(b"\x01" + bytes(20))), "an element has no valid id")
        self.assertEqual(
            self.odd(movie(cluster(0, element(mk.BLOCK_GROUP, element(mk.DISCARD_PADDING, bytes(9)))))),
            "a number is not valid",
        )

    def test_elements_of_too_many_parts(self) -> None:
        for count, reason in ((CHILDREN_MOST, None), (CHILDREN_MOST + 1, "an element has too many parts")):
            self.assertEqual(self.odd(movie(element(mk.SEEK_HEAD, element(mk.VOID) * count))), reason)

    def test_more_of_no_use_than_anything_has(self) -> None:
        void = element(mk.VOID)
        self.assertEqual(self.odd(movie(void * 300)), "there is too much in it that is of no use")
        data = movie(
            cluster(
                0,
                *[
                    void * 200 + simple(b"packet"),
                    void * 200,
                    element(mk.BLOCK_GROUP, element(mk.BLOCK, mk.block([b"packet"]))),
                ]
                * 3,
            )
        )
        self.assertIsNone(self.odd(data))
        for count, reason in ((CUES_MOST, None), (CUES_MOST + 1, "there are too many Cues")):
            self.assertEqual(read(movie(element(mk.CUES, cue(0, 9) * count), cluster(0))).odd, reason)

    def test_elements_too_large_to_be_held(self) -> None:
        for part in (
            element(mk.SEEK_HEAD, bytes(HELD_MOST + 1)),
            cluster(0, simple(bytes(HELD_MOST))),
            cluster(0, element(mk.BLOCK_GROUP, element(mk.BLOCK, mk.block([bytes(HELD_MOST)])))),
        ):
            demuxer = read(movie(part))
            self.assertEqual(demuxer.odd, "an element is too large")
            demuxer = read(movie(part)[:400])
            self.assertEqual(demuxer.odd, "an element is too large")

    def test_another_file_behind_the_segment_but_nothing_else(self) -> None:
        data = movie(cluster(0, simple(b"a")))
        self.assertEqual(self.odd(data + data), "another file follows")
        for behind in (b"", b"\x1a", b"\x00\x01\x02\x03", b"TAG" + bytes(125)):
            self.assertIsNone(self.odd(data + behind))
            self.assertTrue(read(data + behind).whole)
