"""Opus that the daemon reads itself: the very packets that FFmpeg would copy, and no child for them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from twisted.internet.defer import Deferred, succeed

from audiosvc.audio import FRAME_SAMPLES
from audiosvc.codec.ogg_passing import PAGE_MOST
from audiosvc.codec.passing import Passed
from audiosvc.errors import BlockedAddress, SourceUnreachable
from audiosvc.flow import direct
from audiosvc.flow.bytesource import FilePlace
from audiosvc.flow.pipeline import STEADY_FRAMES, Pipeline
from audiosvc.flow.supply import UNREAD_SECONDS
from audiosvc.sources.model import File, Http, Source
from tests.codec.material import SECONDS, copied, folder
from tests.fakes import open_fds
from tests.flow import test_passing_on as copying
from tests.flow.streams import FakeStreams
from tests.flow.test_passing_on import CHORD, OWN, FFmpegTestCase, chord

NAMES = ("20.opus", "20.webm", "60.opus", "10.opus", "mono.opus")


def packets(found: list[Passed]) -> list[bytes]:
    return [each.packet for each in found]


class DirectTestCase(FFmpegTestCase):
    odd = False

    def assert_no_child(self) -> None:
        self.assertEqual((self.spawner.spawns, len(self.reactor.children)), (0, 0))

    def assert_ended_well(self, pipeline: Pipeline) -> None:
        self.assertEqual((pipeline.drained, pipeline.failure), (True, None))
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(open_fds() - self.fds, set())


class FileTests(DirectTestCase):
    def setUp(self) -> None:
        super().setUp()
        for name in NAMES:
            self.assertTrue((folder() / name).is_file())
        self.fds = open_fds()

    def test_every_packet_is_the_source_s_own(self) -> None:
        for name in NAMES:
            pipeline = self.play(chord(name))
            self.assertEqual(self.pull(pipeline), packets(copied(name)[0]), name)
            self.assert_ended_well(pipeline)
        self.assert_no_child()

    def test_what_was_read_of_it_is_known(self) -> None:
        pipeline = self.play(chord("20.opus"))
        self.pull(pipeline)
        works = pipeline.works
        assert works.received is not None
        self.assertGreaterEqual(works.received, (folder() / "20.opus").stat().st_size)
        self.assertEqual((works.mode, works.child, works.share), ("passthrough", None, 0))

    def test_from_any_position(self) -> None:
        for name in NAMES:
            for at in (0.004, 1.993, 2.006, 7.777, SECONDS - 0.3):
                pipeline = self.play(chord(name), at=at)
                self.assertEqual(self.pull(pipeline), packets(copied(name, at)[0]), f"{name} from {at} s")
                self.assert_ended_well(pipeline)
        self.assert_no_child()

    def test_a_part_is_as_long_as_was_asked_for(self) -> None:
        for name in ("20.opus", "20.webm"):
            for at, duration, count in ((0.0, 2.0, 100), (5.02, 1.98, 99), (4.0, 0.001, 1)):
                pipeline = self.play(chord(name), at, duration=duration)
                self.assertEqual(len(self.pull(pipeline)), count, f"{name} from {at} s")
                self.assert_ended_well(pipeline)
        self.assert_no_child()

    def test_what_is_known_of_it_is_what_ffmpeg_says(self) -> None:
        for name, container in (("20.opus", "ogg"), ("20.webm", "matroska")):
            pipeline = self.play(chord(name), at=5.0)
            self.pull(pipeline, 1)
            report = pipeline.report
            self.assertEqual((report.container, report.codec, report.duration), (container, "opus", 16.01))
            self.assertEqual((report.opened, report.failed, report.title, report.artist), (True, False, None, None))
            self.assertFalse(report.live)

    def test_from_behind_its_end_there_is_nothing(self) -> None:
        for name in ("20.opus", "20.webm"):
            for at in (16.02, 16.5, 99.0):
                pipeline = self.play(chord(name), at=at)
                self.assertEqual(self.pull(pipeline), [], f"{name} from {at} s")
                self.assert_ended_well(pipeline)
        self.assert_no_child()

    def test_what_cannot_be_passed_is_encoded(self) -> None:
        for name in ("speech60.opus", self.made_loud()):
            before = len(self.copies)
            pipeline = self.play(chord(name))
            packets = self.pull(pipeline)
            self.assertEqual(self.copies[before:], [False], "one child, and none that copies")
            self.assertFalse(pipeline.passing)
            self.assertIsNone(pipeline.failure)
            self.assertLessEqual(abs(len(packets) - SECONDS * 50), 2, name)

    def made_loud(self) -> str:
        """With a gain that players are to apply."""
        from audiosvc.codec.ogg import page_checksum

        data = bytearray((folder() / "20.opus").read_bytes())
        at = data.index(b"OpusHead")
        data[at + 16 : at + 18] = (256).to_bytes(2, "little")
        end = data.index(b"OggS", 4)
        data[22:26] = page_checksum(bytes(data[:end]))
        (folder() / "loud.opus").write_bytes(data)
        return "loud.opus"

    def test_odd_ones_are_left_to_ffmpeg_from_where_they_are_odd(self) -> None:
        pipeline = self.play(chord("chain.opus"))
        first = packets(copied("first.opus")[0])
        taken = self.pull(pipeline)
        self.assertEqual(taken[: len(first)], first)
        self.assertEqual(taken, packets(copied("chain.opus")[0]))
        self.assertEqual(self.copies, [True])
        self.assertIsNone(pipeline.failure)
        self.assertEqual(self.reader.said, [], "that is no recovery")
        self.assertEqual(self.workshop.tally.recoveries, 0)

    def test_so_are_other_containers(self) -> None:
        (folder() / "other.opus").write_bytes((folder() / "chord.wav").read_bytes())
        for name in ("other.opus", "empty.opus"):
            (folder() / "empty.opus").touch()
            before = len(self.reactor.children)
            pipeline = self.play(chord(name))
            self.pull(pipeline, 1)
            self.assertGreater(len(self.reactor.children), before)
            pipeline.close()
            self.serve()

    def test_once_odd_it_stays_with_ffmpeg(self) -> None:
        pipeline, self.most = self.play(chord("chain.opus")), 1500
        self.pull(pipeline, 500)
        for _ in range(round(UNREAD_SECONDS) + 3):
            self.reactor.advance(1)
            self.serve()
        self.pull(pipeline, 100)
        self.assertEqual(self.copies, [True, True])

    def test_a_file_that_is_not_there_any_more_is_told(self) -> None:
        for path, code in ((folder() / "nothing.opus", "source_not_found"), (folder(), "files_refused")):
            pipeline = self.play(replace(CHORD, media=File(path)))
            self.assertEqual(self.pull(pipeline), [])
            self.assertEqual(pipeline.failure and pipeline.failure.code, code)
        self.assert_no_child()
        self.reactor.advance(0)
        self.assertEqual(open_fds() - self.fds, set())

    def test_one_that_nobody_reads_from_is_closed_and_opened_again(self) -> None:
        pipeline = self.play()
        self.pull(pipeline, 50)
        self.assertNotEqual(open_fds() - self.fds, set())
        for _ in range(round(UNREAD_SECONDS) + 3):
            self.reactor.advance(1)
        self.assertEqual(open_fds() - self.fds, set())
        self.pull(pipeline)
        self.assertEqual(self.taken, OWN)
        self.assert_ended_well(pipeline)
        self.assert_no_child()

    def test_it_can_be_closed_at_any_time(self) -> None:
        for turns in range(12):
            pipeline = self.play(at=0.0 if turns % 2 else 5.0)
            for _ in range(turns):
                self.reactor.advance(0.001)
                pipeline.take(3)
            self.assertTrue(pipeline.close().called)
            self.reactor.advance(0)
            self.assertEqual(self.reactor.getDelayedCalls(), [])
            self.assertEqual(open_fds() - self.fds, set())
        self.assertEqual(self.pull(self.play()), OWN)

    def test_a_long_way_to_the_position_lets_others_have_their_turn(self) -> None:
        self.patch(direct, "READ_BYTES", 1000)
        turns: list[int] = []
        pull = direct.DirectOpening._pull
        self.patch(direct.DirectOpening, "_pull", lambda opening, source: (turns.append(1), pull(opening, source)))
        pipeline = self.play(chord("20.webm"), at=4.9)
        self.reactor.advance(0)
        self.assertGreater(len(turns), 4.9 * 17_000 / (1000 * direct.READS_MOST) - 1)
        self.assertEqual(self.pull(pipeline, 20), packets(copied("20.webm", 4.9)[0])[:20])
        self.assert_no_child()


class DiskTests(DirectTestCase):
    """The file is not in the kernel's memory."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(FilePlace, "read_now", lambda place, size, offset: None)

    def test_it_is_read_by_the_encoders(self) -> None:
        for at, first in ((0.0, 0), (7.78, 389)):
            pipeline = self.play(at=at)
            self.assertEqual(self.pull(pipeline), OWN[first:])
            self.assert_ended_well(pipeline)
        self.assert_no_child()

    def test_a_descriptor_is_closed_when_no_thread_reads_from_it(self) -> None:
        pipeline = self.play()
        self.assertEqual(len(self.encoders.jobs), 1)
        gone = pipeline.close()
        self.assertTrue(gone.called)
        self.assertNotEqual(open_fds() - self.fds, set())
        self.turn()
        self.assertEqual(open_fds() - self.fds, set())

    def test_a_disk_that_fails_breaks_it_off(self) -> None:
        pipeline = self.play()
        self.pull(pipeline, 60)

        def fails(*_: object) -> bytes:
            raise OSError(5, "Input/output error")

        self.patch(os, "pread", fails)
        self.pull(pipeline)
        self.assertEqual(pipeline.failure and pipeline.failure.code, "source_ended_early")
        self.assertGreater(len(self.taken), 60)
        self.assertEqual(self.taken, OWN[: len(self.taken)])

    def test_one_that_hangs_is_given_up(self) -> None:
        pipeline = self.play()
        self.pull(pipeline, 60)
        self.encoders._at_once = False
        for _ in range(120):
            self.reactor.advance(0.5)
            self.taken += pipeline.take(50)
            if pipeline.ended:
                break
        self.assertEqual(pipeline.failure and pipeline.failure.code, "source_timeout")
        self.encoders._at_once = True
        while self.encoders.jobs:
            self.encoders.run()
        self.assertEqual(open_fds() - self.fds, set())


class DirectSeamTests(copying.SeamTests):
    """What changes and changes back, where the daemon itself reads what is passed."""

    odd = False

    def test_volume_that_is_played_with_costs_no_child_each_time(self) -> None:
        pipeline = self.play()
        self.pull(pipeline, 50)
        for volume in (0.5, 1.0, 0.7, 1.0, 1.0):
            pipeline.set_volume(volume)
            self.pull(pipeline, 20)
        self.assertEqual(self.copies, [False])
        self.pull(pipeline, STEADY_FRAMES + 20)
        self.assertTrue(pipeline.passing)
        self.assertEqual(self.copies, [False])


class WebTestCase(DirectTestCase):
    def serve_from(self, name: str) -> tuple[FakeStreams, Source]:
        streams = FakeStreams(self.reactor, (folder() / name).read_bytes())
        self.workshop = replace(self.workshop, streams=streams)
        media = Http(f"http://h/{name}", headers={"Referer": "http://page/", "X-Other": "1"})
        return streams, replace(CHORD, url="http://h/", media=media, duration=None)

    def refresh(self) -> Deferred[Source]:
        self.refreshed = self.found
        return succeed(self.found)


class WebTests(WebTestCase):
    def test_every_packet_is_the_source_s_own(self) -> None:
        for name in NAMES:
            streams, source = self.serve_from(name)
            pipeline = self.play(source)
            self.assertEqual(self.pull(pipeline), packets(copied(name)[0]), name)
            self.assert_ended_well(pipeline)
            self.assertEqual(pipeline.report.duration, 16.01)
            tail = [len(streams.content) - PAGE_MOST] if name.endswith("opus") else []
            self.assertEqual(streams.asked, [0, *tail])
            self.assertEqual(streams.open, 0)
            self.assertEqual(set(streams.headers[0]), {"Referer", "Range"})
        self.assert_no_child()

    def test_from_any_position_with_few_requests(self) -> None:
        for name in NAMES:
            for at in (0.5, 2.5, 7.777, SECONDS - 0.3):
                streams, source = self.serve_from(name)
                pipeline = self.play(source, at=at)
                self.assertEqual(self.pull(pipeline), packets(copied(name, at)[0]), f"{name} from {at} s")
                self.assert_ended_well(pipeline)
                self.assertLessEqual(len(streams.asked), 5)
                self.assertEqual(streams.open, 0)
        self.assert_no_child()

    def test_a_server_that_gives_no_parts_is_enough_for_the_beginning(self) -> None:
        for sized in (True, False):
            streams, source = self.serve_from("20.opus")
            streams.ranges, streams.sized = False, sized
            pipeline = self.play(source)
            self.assertEqual(self.pull(pipeline), OWN)
            self.assertIsNone(pipeline.report.duration)
            self.assert_ended_well(pipeline)
        self.assert_no_child()

    def test_what_takes_more_than_that_is_left_to_ffmpeg(self) -> None:
        for name, odd in (("20.opus", "ranges"), ("20.webm", "ranges"), ("20.opus", "sized"), ("20.opus", "encoded")):
            before = len(self.reactor.children)
            streams, source = self.serve_from(name)
            setattr(streams, odd, odd == "encoded")
            pipeline = self.play(source, at=7.0)
            for _ in range(100):
                self.reactor.advance(0.001)
            self.assertIn("copy", self.reactor.children[-1].argv)
            self.assertEqual(len(self.reactor.children), before + 1)
            self.assertEqual(streams.open, 0)
            self.assertFalse(pipeline.ended)
            pipeline.close()
            self.reactor.end()

    def test_so_are_stations_playlists_and_what_has_to_be_counted_to(self) -> None:
        streams, source = self.serve_from("20.opus")
        for odd in ({"station": True}, {"demuxer": "hls"}, {"counted": True}):
            media = replace(source.media, **odd)  # type: ignore[type-var]
            self.assertIsNone(direct.find_place(self.workshop, replace(source, media=media)))
        self.assertIsNone(direct.find_place(self.workshop, replace(source, opus=False)))
        self.assertIsNone(direct.find_place(self.workshop, replace(source, live=True)))
        self.assertIsNone(direct.find_place(replace(self.workshop, streams=None), source))
        self.assertEqual(streams.asked, [])

    def test_headers_that_cannot_be_sent_are_told(self) -> None:
        _, source = self.serve_from("20.opus")
        pipeline = self.play(replace(source, media=Http("http://h/", headers={"Referer": "a\r\nb"})))
        self.assertEqual(self.pull(pipeline), [])
        self.assertEqual(pipeline.failure and pipeline.failure.code, "unsupported_url")

    def test_memory_is_bounded_by_what_is_read_at_once(self) -> None:
        streams, source = self.serve_from("20.opus")
        streams.piece = 10**6
        pipeline = self.play(source)
        for _ in range(100):
            self.reactor.advance(0.02)
            pipeline.take(1)
            held = sum(opening.held for opening in pipeline._supply._openings)
            self.assertLess(held, direct.READ_BYTES + PAGE_MOST)

    def test_it_can_be_closed_at_any_time(self) -> None:
        for name in ("20.opus", "20.webm"):
            for turns in range(25):
                streams, source = self.serve_from(name)
                pipeline = self.play(source, at=5.0 if turns % 2 else 0.0)
                for _ in range(turns):
                    self.reactor.advance(0.001)
                    pipeline.take(3)
                self.assertTrue(pipeline.close().called)
                self.reactor.advance(0.002)
                self.assertEqual(self.reactor.getDelayedCalls(), [])
                self.assertEqual(streams.open, 0)


class FailingTests(WebTestCase):
    def test_one_that_breaks_off_goes_on_where_it_did(self) -> None:
        for name in NAMES:
            for after in (100_000, 41_234):
                streams, source = self.serve_from(name)
                tail = [10**6] if name.endswith("opus") else []
                streams.breaks = [after, *tail]
                self.reader.said.clear()
                pipeline = self.play(source)
                self.assertEqual(self.pull(pipeline), packets(copied(name)[0]), f"{name} {after}")
                self.assert_ended_well(pipeline)
                self.assertEqual(self.reader.said, ["recovered"])
                self.assertLessEqual(len(streams.asked), 5)
        self.assertEqual(self.workshop.tally.recoveries, 2 * len(NAMES))
        self.assert_no_child()

    def test_one_that_breaks_off_again_and_again_is_given_up(self) -> None:
        streams, source = self.serve_from("20.webm")
        streams.breaks = [50_000, *[2000] * 20]
        pipeline = self.play(source)
        taken = self.pull(pipeline)
        self.assertEqual(pipeline.failure and pipeline.failure.code, "source_ended_early")
        self.assertEqual(taken, OWN[: len(taken)])
        self.assertLess(len(streams.asked), 10)

    def test_what_a_server_refuses_is_told(self) -> None:
        for error, code in (
            (404, "source_not_found"),
            (410, "source_not_found"),
            (403, "source_refused"),
            (503, "source_refused"),
            (SourceUnreachable(), "source_unreachable"),
            (BlockedAddress(), "blocked_address"),
        ):
            streams, source = self.serve_from("20.opus")
            streams.errors = [error]  # type: ignore[list-item]
            pipeline = self.play(source)
            self.assertEqual(self.pull(pipeline), [])
            self.assertEqual(pipeline.failure and pipeline.failure.code, code)
            self.assertEqual(len(streams.asked), 1)
        self.assert_no_child()

    def test_a_refusal_while_its_length_is_sought_is_one_too(self) -> None:
        streams, source = self.serve_from("20.opus")
        streams.errors = [0, BlockedAddress()]
        pipeline = self.play(source)
        self.pull(pipeline)
        self.assertIsInstance(pipeline.failure, BlockedAddress)

    def test_a_length_that_is_not_to_be_had_is_not_known(self) -> None:
        for error in (404, SourceUnreachable()):
            streams, source = self.serve_from("20.opus")
            streams.errors = [0, error]  # type: ignore[list-item]
            pipeline = self.play(source)
            self.assertEqual(self.pull(pipeline), OWN)
            self.assertEqual((pipeline.report.duration, pipeline.failure), (None, None))

    def test_a_url_that_expires_is_looked_up_anew(self) -> None:
        for name in ("20.opus", "20.webm"):
            streams, source = self.serve_from(name)
            streams.breaks = [100_000, 10**6] if name.endswith("opus") else [100_000]
            source = replace(source, extracted=True)
            self.found = source
            self.refreshed = None
            pipeline = self.play(source)
            self.pull(pipeline, 100)
            streams.errors = [403]
            self.reader.said.clear()
            rest = self.pull(pipeline)
            self.assertEqual(len(rest) + 100, len(OWN))
            self.assertEqual((self.refreshed, pipeline.failure), (source, None))
            self.assertEqual(self.reader.said, ["recovered"])
        self.assert_no_child()

    def test_a_server_that_says_nothing_is_given_up(self) -> None:
        streams, source = self.serve_from("20.opus")
        streams.silent = True
        pipeline = self.play(source)
        self.reactor.advance(9.9)
        self.assertFalse(pipeline.ended)
        self.reactor.advance(0.2)
        self.assertEqual(pipeline.failure and pipeline.failure.code, "source_timeout")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_one_that_falls_silent_is_asked_again_before_that(self) -> None:
        streams, source = self.serve_from("20.opus")
        pipeline = self.play(source)
        self.pull(pipeline, 100)
        streams.silent = True
        waited = 0.0
        while not pipeline.ended and waited < 60:
            self.reactor.advance(0.25)
            waited += 0.25
            self.taken += pipeline.take(50)
        self.assertEqual(pipeline.failure and pipeline.failure.code, "source_timeout")
        self.assertTrue(30 < waited < 42, waited)
        self.assertEqual(self.taken, OWN[: len(self.taken)])
        self.assertEqual(streams.open, 0)
        self.assert_no_child()

    def test_one_that_comes_to_itself_goes_on(self) -> None:
        streams, source = self.serve_from("20.webm")
        pipeline = self.play(source)
        self.pull(pipeline, 100)
        streams.silent = True
        for _ in range(60):
            self.reactor.advance(0.25)
            self.taken += pipeline.take(50)
        streams.silent = False
        for _ in range(20):
            self.reactor.advance(1)
        self.pull(pipeline)
        self.assertEqual(self.taken, OWN)
        self.assertEqual(self.reader.said, ["recovered"])

    def test_one_that_nobody_reads_from_is_let_go_and_asked_again(self) -> None:
        streams, source = self.serve_from("20.opus")
        pipeline = self.play(source)
        self.pull(pipeline, 50)
        self.assertEqual(streams.open, 1)
        for _ in range(round(UNREAD_SECONDS) + 3):
            self.reactor.advance(1)
        self.assertEqual(streams.open, 0)
        self.pull(pipeline)
        self.assertEqual((self.taken, self.reader.said), (OWN, []))

    def test_what_is_another_file_by_now_is_left_to_ffmpeg(self) -> None:
        streams, source = self.serve_from("20.opus")
        streams.breaks = [100_000, 10**6]
        pipeline = self.play(source)
        self.pull(pipeline, 100)
        streams.content = (folder() / "60.opus").read_bytes()
        for _ in range(600):
            self.reactor.advance(0.02)
            pipeline.take(1)
            if self.reactor.children:
                break
        self.assertIn("copy", self.reactor.children[-1].argv)
        self.assertFalse(pipeline.ended)


class LongWayTests(WebTestCase):
    def test_what_cannot_be_read_at_all_is_ffmpeg_s_to_tell(self) -> None:
        loop = Path(self.mktemp()).absolute()
        loop.symlink_to(loop)
        pipeline = self.play(replace(CHORD, media=File(loop)))
        for _ in range(3):
            self.reactor.advance(0.02)
        self.assertEqual(len(self.reactor.children), 1)
        pipeline.close()

    def test_positions_are_counted_on_by_what_was_passed(self) -> None:
        streams, source = self.serve_from("20.webm")
        pipeline = self.play(source, at=3.0)
        self.pull(pipeline, 100)
        ahead = pipeline.ready + 1
        self.assertLess(abs(pipeline._supply.position - (5.0 + ahead * 0.02)), FRAME_SAMPLES / 48_000)
        self.assertEqual(streams.open, 1)
