"""WebM that FFmpeg makes is read as FFmpeg itself reads it, and damaged WebM does no harm."""

from __future__ import annotations

import subprocess
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.codec.ogg import OggDemuxer, packet_samples
from audiosvc.codec.webm import HELD_MOST, PRE_ROLL, Cues, WebmDemuxer, WebmHead, WebmPacket
from tests.codec import matroska as mk
from tests.codec.material import FFMPEG, SECONDS, folder

NAMES = ("file", "dash", "front", "live", "pipe", "matroska", "video")


@cache
def made(name: str) -> bytes:
    """`20.opus` and more in WebM of several kinds: as a `file`; as for `dash`, with Cues before clusters of 4 s; with
    Cues before short clusters (`front`); `live`; through a `pipe`; in `matroska`; beside a `video`; `tiny`."""
    tags = ("-metadata", "title=Größe", "-metadata", "artist=Ada")
    copy = ("-i", "20.opus", "-c", "copy", *tags)
    arguments = {
        "file": (*copy, "-f", "webm"),
        "dash": (*copy, "-f", "webm", "-dash", "1", "-cues_to_front", "1", "-cluster_time_limit", "4000"),
        "front": (*copy, "-f", "webm", "-cues_to_front", "1", "-cluster_time_limit", "200"),
        "live": (*copy, "-f", "webm", "-live", "1", "-cluster_time_limit", "1000"),
        "pipe": (*copy, "-f", "webm"),
        "matroska": (*copy, "-f", "matroska", "-cluster_size_limit", "3000"),
        "video": (
            *("-f", "lavfi", "-i", f"testsrc=size=320x240:rate=10:duration={SECONDS}", "-i", "20.opus", *tags),
            *("-c:v", "libvpx", "-b:v", "200k", "-deadline", "realtime", "-c:a", "copy", "-f", "webm"),
        ),
        "tiny": (*copy, "-t", "0.5", "-f", "webm", "-cues_to_front", "1", "-cluster_time_limit", "100"),
    }[name]
    argv = [FFMPEG, "-nostdin", "-v", "error", "-y", *arguments, "pipe:1" if name == "pipe" else f"made-{name}"]
    done = subprocess.run(argv, check=True, timeout=60, cwd=folder(), capture_output=True)
    return done.stdout or (folder() / f"made-{name}").read_bytes()


def as_ogg(data: bytes) -> list[bytes]:
    """The packets that FFmpeg finds."""
    argv = [FFMPEG, "-nostdin", "-v", "error", "-i", "pipe:0", "-map", "0:a:0", "-c", "copy", "-f", "ogg", "pipe:1"]
    copy = subprocess.run(argv, input=data, capture_output=True, timeout=60, check=True).stdout
    return [packet.data for packet in OggDemuxer().feed(copy)][2:]


def read(data: bytes) -> tuple[WebmDemuxer, WebmHead, list[WebmPacket]]:
    demuxer = WebmDemuxer()
    packets = demuxer.feed(data)
    assert demuxer.head is not None
    return demuxer, demuxer.head, packets


class TheirWebmTests(SynchronousTestCase):
    def test_every_packet_is_the_very_one_ffmpeg_finds(self) -> None:
        for name in NAMES:
            demuxer, head, packets = read(made(name))
            self.assertEqual((demuxer.odd, demuxer.whole), (None, True), name)
            self.assertEqual([packet.data for packet in packets], as_ogg(made(name)), name)
            self.assertEqual((head.title, head.artist, head.channels), ("Größe", "Ada", 2), name)
            self.assertEqual((head.codec_delay, head.seek_pre_roll), (312, PRE_ROLL), name)
            self.assertEqual(head.segment_end, None if name in ("live", "pipe") else len(made(name)))

    def test_times_and_what_is_discarded_say_where_each_packet_lies(self) -> None:
        for name in NAMES:
            _, head, packets = read(made(name))
            at = -head.codec_delay
            for packet in packets:
                assert packet.time is not None
                # Rounded to a millisecond, and the delay as well.
                self.assertLessEqual(abs(packet.time - head.codec_delay - at), 48, name)
                at += packet_samples(packet.data) - packet.discard
            self.assertEqual(at, SECONDS * 48_000, name)
            self.assertEqual([packet.discard > 0 for packet in packets], [False] * (len(packets) - 1) + [True], name)
            if name not in ("live", "pipe"):
                self.assertLessEqual(abs((head.duration or 0) - SECONDS * 48_000), 960, name)

    def test_a_seek_by_the_cues_lands_a_pre_roll_before_and_goes_on_to_the_end(self) -> None:
        for name in ("file", "dash", "front", "matroska", "video"):
            data = made(name)
            demuxer, head, packets = read(data)
            cues = demuxer.cues
            assert cues is not None and head.cues is not None
            self.assertEqual(data[head.cues : head.cues + 4], mk.start(mk.CUES), name)
            for position in range(0, SECONDS * 48_000, 17_777):
                offset = head.start(cues, position)
                resumed = WebmDemuxer.resume(head, offset)
                found = resumed.feed(data[offset:])
                self.assertEqual((resumed.odd, resumed.whole), (None, True), name)
                self.assertEqual(found, packets[-len(found) :], name)
                self.assert_near(found[0], position, head, cues, name)

    def assert_near(self, first: WebmPacket, position: int, head: WebmHead, cues: Cues, name: str) -> None:
        assert first.time is not None
        wanted = position - head.seek_pre_roll
        # The Cues of a file with video are the video's: a packet may lie across the cluster's beginning.
        later = 960 if name == "video" else 0
        self.assertLessEqual(first.time - head.codec_delay, max(0, wanted) + later, name)
        next_one = next((time for time in cues.times if time > wanted), None)
        self.assertTrue(next_one is None or first.time <= next_one, name)

    def test_cues_before_the_clusters_are_there_with_the_head(self) -> None:
        for name in ("dash", "front"):
            _, head, _ = read(made(name))
            demuxer = WebmDemuxer()
            self.assertEqual(demuxer.feed(made(name)[: head.clusters + 12]), [])
            assert demuxer.cues is not None and demuxer.head is not None and head.cues is not None
            self.assertLess(head.cues, head.clusters)
            self.assertGreaterEqual(len(demuxer.cues), {"dash": SECONDS // 4, "front": SECONDS * 4}[name])

    def test_cues_behind_the_clusters_can_be_fetched_by_themselves(self) -> None:
        demuxer, head, _ = read(made("file"))
        assert demuxer.cues is not None and head.cues is not None
        self.assertGreater(head.cues, head.clusters)
        fetched = WebmDemuxer.resume(head, head.cues)
        self.assertEqual(fetched.feed(made("file")[head.cues :]), [])
        assert fetched.cues is not None
        self.assertEqual(fetched.cues.offsets, demuxer.cues.offsets)


class OurWebmTests(SynchronousTestCase):
    def test_ffmpeg_parts_each_lacing_alike(self) -> None:
        _, head, packets = read(made("file"))
        data = [packet.data for packet in packets][:400]
        entry = mk.track(1, mk.uint(mk.SEEK_PRE_ROLL, 80_000_000), private=head.opus_head)
        for lacing in (mk.XIPH, mk.EBML_LACING):
            clusters = []
            for at in range(0, len(data), 40):
                blocks = [
                    mk.element(mk.SIMPLE_BLOCK, mk.block(data[at + n : at + n + 8], n * 20, lacing))
                    for n in range(0, 40, 8)
                ]
                clusters.append(mk.cluster(at * 20, *blocks))
            whole = mk.movie(*clusters, tracks=mk.element(mk.TRACKS, entry))
            self.assertEqual([packet.data for packet in read(whole)[2]], data)
            self.assertEqual(as_ogg(whole), data)


class DamageTests(SynchronousTestCase):
    def check(self, data: bytes, size: int) -> None:
        """Never more is held than is said, and it ends."""
        demuxer = WebmDemuxer()
        for at in range(0, len(data), size):
            demuxer.feed(data[at : at + size])
            self.assertLessEqual(len(demuxer._held), HELD_MOST + 12)
            self.assertLessEqual(len(demuxer._open), 4)
            self.assertLessEqual(sum(len(packet.data) for packet in demuxer._group), HELD_MOST)

    @settings(deadline=None, max_examples=200)
    @given(st.data())
    def test_changed_bytes_never_raise_and_little_is_held(self, data: st.DataObject) -> None:
        raw = bytearray(made(data.draw(st.sampled_from(("tiny", "live")))))
        del raw[20_000:]
        upto = data.draw(st.sampled_from((60, 700, len(raw))))
        for _ in range(data.draw(st.integers(1, 12))):
            at = data.draw(st.integers(0, upto - 1))
            raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
        whole, parted = WebmDemuxer(), WebmDemuxer()
        packets = whole.feed(bytes(raw))
        size = data.draw(st.integers(1, 5000))
        found = [packet for at in range(0, len(raw), size) for packet in parted.feed(bytes(raw[at : at + size]))]
        self.assertEqual(found, packets)
        self.assertEqual((parted.odd, parted.head, parted.whole), (whole.odd, whole.head, whole.whole))
        self.check(bytes(raw), size)

    @settings(deadline=None, max_examples=200)
    @given(st.binary(max_size=400), st.integers(1, 400))
    def test_any_bytes_at_all_in_a_cluster_never_raise(self, data: bytes, size: int) -> None:
        self.check(mk.header() + data, size)
        for make in (mk.element, mk.endless):
            self.check(mk.movie(make(mk.CLUSTER, mk.uint(mk.TIMESTAMP, 0), data)), size)
            self.check(mk.header() + make(mk.SEGMENT, data), size)

    def test_cut_off_anywhere_it_gives_the_packets_up_to_there_and_is_not_whole(self) -> None:
        data = made("tiny")
        packets = WebmDemuxer().feed(data)
        for upto in range(0, len(data), 13):
            demuxer = WebmDemuxer()
            found = demuxer.feed(data[:upto])
            self.assertEqual(found, packets[: len(found)])
            self.assertEqual((demuxer.odd, demuxer.whole), (None, False))
