"""One session's stories: what it plays, in each format, and what can be seen of it."""

from __future__ import annotations

from dataclasses import replace

from audiosvc.audio import FRAME_BYTES
from audiosvc.codec.ogg import OggDemuxer
from audiosvc.wire.messages import Finished, Ready
from tests.fakes import TONE, frames
from tests.session.support import SONG, SessionTestCase


class PlayingTests(SessionTestCase):
    def test_a_track_from_its_play_to_its_end(self) -> None:
        track_id = self.play()
        self.pull(1)
        self.assertEqual(self.types(), [])
        self.write(3)
        self.assertEqual(self.types(), ["ready", "0"])
        self.pull(9)
        self.assertEqual(self.types(), ["ready", "0", "1"])
        self.exit()
        self.assertEqual(self.types(), ["ready", "0", "1", "2", "finished"])
        self.assertEqual(self.last(), Finished("a", track_id, 0.06))
        self.assertEqual(
            self.listener.log["a"][0],
            Ready("a", track_id, SONG.url, "pcm", 0.0, SONG.title, None, SONG.thumbnail, SONG.uploader),
        )
        self.assert_nothing_left()

    def test_ready_comes_with_the_first_packet_though_nobody_takes_it(self) -> None:
        self.play()
        self.write(1)
        self.assertEqual(self.types(), [])
        self.write(1)
        self.assertEqual(self.types(), ["ready"])

    def test_a_track_of_one_frame(self) -> None:
        self.play()
        self.write(1)
        self.pull(9)
        self.exit()
        self.assertEqual(self.types(), ["ready", "0", "finished"])

    def test_all_at_once_is_in_order_and_the_end_behind_it(self) -> None:
        self.play()
        self.child.write(frames(20))
        self.child.exit()
        self.turn()
        self.pull(500)
        self.assertEqual(self.types(), ["ready", *map(str, range(20)), "finished"])
        self.assertEqual(self.listener.credit["a"], 480)
        self.assert_nothing_left()

    def test_exactly_what_there_is_credit_for(self) -> None:
        self.play()
        self.child.write(frames(20))
        self.child.exit()
        self.turn()
        for taken in range(1, 20):
            self.pull(1)
            self.assertEqual(self.types(), ["ready", *map(str, range(taken))])
        self.pull(1)
        self.assertEqual(self.types()[-2:], ["19", "finished"])

    def test_nothing_is_poured_unasked_or_before_it_is_ready(self) -> None:
        self.play()
        feed = self.listener.feeds["a"]
        poured: list[bytes] = []
        self.assertEqual((feed.pour(5, poured.append), feed.flowing), (0, False))
        self.write(3)
        self.assertTrue(feed.flowing)
        self.assertEqual([feed.pour(most, poured.append) for most in (-1, 0, 1)], [0, 0, 1])
        self.assertEqual(feed.position, 0.02)

    def test_what_the_media_says_goes_before_what_the_url_let_guess(self) -> None:
        self.play(url=TONE.url)
        self.child.say(
            "[info] Input #0, ogg, from 'x':\n[info]   Duration: 00:00:29.50, start: 0.0\n"
            "[info]   Stream #0:0: Audio: opus\n[info]     title           : Real\n[info]     artist     : Band\n"
        )
        self.write(3)
        ready = self.listener.log["a"][0]
        assert isinstance(ready, Ready)
        self.assertEqual((ready.title, ready.uploader, ready.duration), ("Real", "Band", 29.5))
        snapshot = self.registry.snapshot("a")
        self.assertEqual((snapshot.title, snapshot.uploader, snapshot.duration), ("Real", "Band", 29.5))

    def test_start_and_duration_are_asked_of_ffmpeg(self) -> None:
        self.play(start_at=5.0, duration=2.0)
        argv = " ".join(self.child.argv)
        self.assertIn("-ss 5.000000", argv)
        self.assertIn("-t 2.000000", argv)
        self.write(2)
        self.pull(1)
        ready = self.listener.log["a"][0]
        assert isinstance(ready, Ready)
        self.assertEqual(ready.position, 5.0)
        self.assertEqual(self.registry.snapshot("a").position, 5.02)

    def test_a_seek_keeps_the_end_that_was_asked_for(self) -> None:
        self.play(start_at=5.0, duration=20.0)
        for at, left in ((10.0, "15"), (0.0, "25"), (60.0, "0.02")):
            self.registry.seek("a", at)
            self.reap()
            self.assertIn(f"-t {float(left):.6f}", " ".join(self.child.argv))


class EncodedTests(SessionTestCase):
    def test_opus_packets_are_bare(self) -> None:
        self.play(format="opus")
        self.pull(9)
        self.write(5)
        self.assertEqual(len(self.packets()), 4)
        self.assertTrue(all(0 < len(packet) < 400 for packet in self.packets()))

    def test_pcm_is_a_frame_a_packet(self) -> None:
        self.play(format="pcm")
        self.child.write(frames(3) + b"12")
        self.pull(9)
        self.exit()
        self.assertEqual([len(packet) for packet in self.packets()], [FRAME_BYTES] * 4)

    def test_ogg_is_one_stream_from_headers_to_end_over_a_seek(self) -> None:
        for name in ("ogg", "web"):
            self.play(name, format=name)
            self.pull(7, name)
            self.write(10)
            self.registry.seek(name, 3.0)
            self.reap()
            self.write(4)
            self.pull(99, name)
            self.exit()
            demuxer = OggDemuxer()
            pages = [demuxer.feed(page) for page in self.packets(name)]
            self.assertEqual([len(page) for page in pages], [1] * (2 + 5 + 4))
            found = [packet for page in pages for packet in page]
            self.assertTrue(found[0].data.startswith(b"OpusHead") and found[0].bos)
            self.assertIn(b"TITLE=Song", found[1].data)
            self.assertEqual([packet.granule for packet in found[2:]], [960 * i for i in range(1, 10)])
            self.assertEqual([packet.eos for packet in found], [False] * 10 + [True])
            self.assertEqual(len({packet.serial for packet in found}), 1)
            self.assertEqual(self.types(name)[-1], "finished")
            end = self.last(name)
            assert isinstance(end, Finished)
            self.assertEqual(end.played, 9 * 0.02, "headers are no sound")
        self.assert_nothing_left()

    def test_the_last_page_ends_the_stream_though_credit_ran_out_before_it(self) -> None:
        self.play(format="ogg")
        self.child.write(frames(3))
        self.child.exit()
        self.turn()
        self.pull(4)
        self.pull(1)
        demuxer = OggDemuxer()
        eos = [packet.eos for page in self.packets() for packet in demuxer.feed(page)]
        self.assertEqual(eos, [False, False, False, False, True])

    def test_headers_may_come_alone(self) -> None:
        self.play(format="ogg")
        self.write(3)
        self.pull(1)
        self.assertEqual(len(self.packets()), 1)
        self.assertEqual(self.registry.snapshot("a").position, 0.0)
        self.registry.seek("a", 1.0)
        self.reap()
        self.write(3)
        self.pull(2)
        self.assertIn(b"OpusTags", self.packets()[1])
        self.assertEqual(self.registry.snapshot("a").position, 1.02)

    def test_the_volume_before_and_while_it_plays(self) -> None:
        self.play(volume=0.0)
        self.write(4, first=1)
        self.registry.set_volume("a", 1.0)
        self.assertEqual(self.registry.snapshot("a").volume, 1.0)
        self.write(4, first=1)
        self.pull(99)
        packets = self.packets()
        self.assertEqual(packets[:4], [bytes(FRAME_BYTES)] * 4)
        self.assertEqual(packets[5:], [frames(1, first=2), frames(1, first=3)])

    def test_a_volume_set_before_there_is_a_pipeline_holds_from_the_first_sample(self) -> None:
        self.resolver.hold = True
        self.play()
        self.registry.set_volume("a", 0.0)
        self.resolver.answer(SONG)
        self.write(3, first=1)
        self.pull(9)
        self.assertEqual(self.packets(), [bytes(FRAME_BYTES)] * 2)

    def test_the_volume_outlives_a_seek(self) -> None:
        self.play()
        self.write(2)
        self.registry.set_volume("a", 0.0)
        self.registry.seek("a", 1.0)
        self.reap()
        self.write(3, first=1)
        self.pull(9)
        self.assertEqual(self.packets(), [bytes(FRAME_BYTES)] * 2)


class SnapshotTests(SessionTestCase):
    def test_at_each_stage(self) -> None:
        self.resolver.hold = True
        track_id = self.play(format="web", start_at=2.0, volume=0.5)
        seen = self.registry.snapshot("a")
        self.assertEqual(
            (seen.session_id, seen.track_id, seen.status, seen.url, seen.format, seen.position, seen.volume),
            ("a", track_id, "extracting", SONG.url, "web", 2.0, 0.5),
        )
        self.assertEqual((seen.title, seen.duration, seen.uploader, seen.thumbnail), (None, None, None, None))
        self.assertEqual((seen.bitrate, seen.bytes_sent, seen.packets_sent), (64_000, 0, 0))
        self.assertEqual((seen.buffered, seen.underruns, seen.held), (0.0, 0, False))

        self.registry.seek("a", 3.0)
        self.assertEqual(self.registry.snapshot("a").position, 3.0)
        self.registry.pause("a")
        self.assertEqual(self.registry.snapshot("a").status, "paused")
        self.registry.resume("a")
        self.resolver.answer(SONG)
        seen = self.registry.snapshot("a")
        self.assertEqual((seen.status, seen.title, seen.uploader), ("extracting", "Song", "Somebody"))
        self.assertEqual(seen.position, 3.0)

        self.write(6)
        seen = self.registry.snapshot("a")
        self.assertEqual((seen.status, seen.buffered), ("streaming", 0.1))
        self.pull(4)
        self.listener.feeds["a"].underran()
        self.listener.is_held = True
        seen = self.registry.snapshot("a")
        self.assertEqual((seen.position, seen.packets_sent, seen.buffered), (3.04, 4, 0.06))
        self.assertEqual(seen.bytes_sent, sum(map(len, self.packets())))
        self.assertEqual((seen.underruns, seen.held), (1, True))

        self.registry.pause("a")
        self.assertEqual(self.registry.snapshot("a").status, "paused")
        self.registry.resume("a")
        self.assertEqual(self.registry.snapshot("a").status, "streaming")

    def test_whether_packets_are_passed_on_as_they_are(self) -> None:
        self.resolver.sources["opus"] = replace(SONG, url="opus", opus=True)
        for format, options, passed in (
            ("opus", {}, True),
            ("web", {}, True),
            ("pcm", {}, False),
            ("opus", {"bitrate": 64_000}, False),
            ("opus", {"volume": 0.9}, False),
        ):
            self.play(url="opus", format=format, **options)
            self.assertEqual(self.registry.snapshot("a").passthrough, passed, (format, options))
        self.play(format="opus")
        self.assertFalse(self.registry.snapshot("a").passthrough)
        self.play(url="opus", format="opus")
        self.registry.set_volume("a", 0.5)
        self.assertFalse(self.registry.snapshot("a").passthrough)

    def test_the_plays_own_bitrate_goes_before_the_houses(self) -> None:
        self.play(format="opus", bitrate=32_000)
        self.assertEqual(self.registry.snapshot("a").bitrate, 32_000)
