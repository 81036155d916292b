"""What pipelines record, and what they play of it: over fakes, with a real encoder."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from twisted.internet.defer import succeed

from audiosvc.audio import FRAME_SAMPLES
from audiosvc.cache.cache import Cache
from audiosvc.flow import pipeline as pipelines
from audiosvc.flow.kept import KeptOpening
from audiosvc.flow.pipeline import HIGH_WATER, PRE_ROLL, Pipeline
from audiosvc.flow.supply import UNREAD_SECONDS
from audiosvc.sources.model import File, Source
from tests.codec.test_passing import numbered
from tests.fakes import FakeChild, frames
from tests.flow.support import BROKEN
from tests.flow.test_passing_fakes import OPUS, CopiedTestCase, ogg

FRAMES = 150
SAID = OPUS.format("wav", "00:00:03.00", "pcm_s16le")
TITLED = (
    "[info] Input #0, wav, from 'x':\n[info]   Metadata:\n[info]     title           : Said\n" + SAID.split("\n", 1)[1]
)


class KeptTestCase(CopiedTestCase):
    def setUp(self) -> None:
        super().setUp()
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        path = Path(temporary.name) / "song"
        path.write_bytes(b"song")
        self.song = Source("song", File(path))
        self.opus = replace(self.song, opus=True)
        self.cache = Cache(1 << 24, None, "", self.reactor.seconds)
        self.workshop = replace(self.workshop, cache=self.cache)

    def begin_song(
        self, source: Source | None = None, at: float = 0.0, **options: object
    ) -> tuple[Pipeline, FakeChild]:
        pipeline = self.make(source or self.song, at, bitrate=96_000, **options)  # type: ignore[arg-type]
        pipeline._supply._odd = True
        pipeline.start(succeed(None))
        child = self.reactor.children[-1]
        child.say(SAID)
        return pipeline, child

    def play(self, source: Source | None = None) -> list[bytes]:
        """A first play from beginning to end: its packets."""
        pipeline, child = self.begin_song(source)
        data = ogg(0, FRAMES) if source is not None and source.opus else frames(FRAMES)
        taken = self.take(pipeline, child, data, ends=True)
        self.assertEqual((len(taken), pipeline.drained, pipeline.failure), (FRAMES, True, None))
        return taken

    def again(self, at: float = 0.0, source: Source | None = None, **options: object) -> Pipeline:
        pipeline = self.make(source or self.song, at, bitrate=96_000, **options)  # type: ignore[arg-type]
        pipeline.start(succeed(None))
        self.assertEqual(pipeline.ready, 0)
        self.reactor.advance(0)
        return pipeline

    def draw(self, pipeline: Pipeline, most: int = 10_000) -> list[bytes]:
        taken: list[bytes] = []
        while len(taken) < most and (more := pipeline.take(min(7, most - len(taken)))):
            taken += more
            self.turn()
        return taken

    def assert_not_kept(self, recordings: int = 1) -> None:
        vitals = self.cache.vitals()
        self.assertEqual((vitals.kept, vitals.tracks, vitals.recording, vitals.dropped), (0, 0, 0, recordings))


class ReplayTests(KeptTestCase):
    def test_it_is_the_very_same_packets_without_a_child_or_a_job(self) -> None:
        for source in (self.song, self.opus):
            first = self.play(source)
            self.reactor.end()
            children = len(self.reactor.children)
            pipeline = self.again(source=source)
            self.assertEqual((pipeline.cached, pipeline.passing, pipeline.ready), (True, True, HIGH_WATER - 1))
            second = self.draw(pipeline)
            self.assertTrue(len(second) == len(first) and all(a is b for a, b in zip(first, second, strict=True)))
            self.assertEqual((pipeline.drained, pipeline.failure), (True, None))
            self.assertEqual((len(self.reactor.children), self.encoders.jobs), (children, []))
        self.assert_nothing_left()

    def test_what_the_media_said_is_said_again(self) -> None:
        pipeline, child = self.begin_song()
        child.say(TITLED)
        self.take(pipeline, child, frames(FRAMES), ends=True)
        report = self.again().report
        self.assertEqual((report.duration, report.guessed, report.live, report.failed), (3.0, False, False, False))
        self.assertEqual((report.title, report.artist), (pipeline.report.title, None))

    def test_it_begins_and_ends_where_it_is_asked_to(self) -> None:
        for source in (self.song, self.opus):
            first = self.play(source)
            self.assertEqual(self.draw(self.again(1.0, source)), first[50:])
            self.assertEqual(self.draw(self.again(1.0, source, duration=0.5)), first[50:75])
            self.assertEqual(self.draw(self.again(0.0, source, duration=0.021)), first[:1])
            self.assertEqual(self.draw(self.again(2.995, source)), first[-1:])

    def test_from_behind_its_end_there_is_nothing(self) -> None:
        self.play()
        for at in (3.0, 3.5, 99.0):
            pipeline = self.again(at)
            self.assertEqual((self.draw(pipeline), pipeline.drained, pipeline.failure), ([], True, None))

    def test_a_bit_rate_that_is_asked_for_may_be_the_one_that_is_kept(self) -> None:
        first = self.play()
        self.assertEqual(self.draw(self.again(asked=True)), first)

    def test_a_volume_leaves_it_and_comes_back_without_a_packet_lost(self) -> None:
        self.patch(pipelines, "STEADY_FRAMES", 40)
        first = self.play()
        self.reactor.end()
        pipeline = self.again()
        taken = self.draw(pipeline, 20)
        ahead = pipeline.ready + 1
        pipeline.set_volume(0.5)
        self.assertFalse(pipeline.cached)
        self.reactor.advance(0.02)
        child = self.reactor.children[-1]
        left = 20 + ahead
        self.assertAlmostEqual(self.sought(child), (left - PRE_ROLL) * 0.02)
        self.assertNotIn("copy", child.argv)
        child.say(SAID)
        pipeline.set_volume(1.0)
        taken += self.take(pipeline, child, frames(60, left - PRE_ROLL))
        self.reactor.end()
        self.reactor.advance(0.02)
        taken += self.draw(pipeline)
        self.assertTrue(pipeline.drained)
        self.assertEqual(len(taken), FRAMES)
        self.assertEqual((taken[:left], taken[-30:]), (first[:left], first[-30:]))

    def test_it_comes_back_to_what_is_kept(self) -> None:
        self.play()
        self.patch(pipelines, "STEADY_FRAMES", 20)
        first = self.draw(self.again())
        self.reactor.end()
        pipeline = self.again(volume=0.5)
        self.reactor.advance(0.02)
        child = self.reactor.children[-1]
        child.say(SAID)
        pipeline.set_volume(1.0)
        taken = self.take(pipeline, child, frames(60))
        self.reactor.end()
        self.reactor.advance(0.02)
        self.assertTrue(pipeline.cached)
        taken += self.draw(pipeline)
        self.assertEqual((len(taken), taken[-50:]), (FRAMES, first[-50:]))

    def test_it_is_let_go_of_before_it_has_begun(self) -> None:
        self.play()
        self.reactor.end()
        pipeline = self.make(self.song, bitrate=96_000)
        pipeline.start(succeed(None))
        pipeline.close()
        self.reactor.advance(0)
        self.assertEqual(pipeline.take(9), [])
        self.assert_nothing_left()

    def test_nobody_reads_for_long_and_it_is_still_there(self) -> None:
        first = self.play()
        self.reactor.end()
        pipeline = self.again()
        self.reactor.advance(10 * UNREAD_SECONDS)
        self.assertEqual(self.draw(pipeline), first)
        self.assertEqual(self.reader.said, [])

    def test_an_opening_that_was_dropped_does_not_start(self) -> None:
        self.play()
        track = self.cache.find(self.song, 96_000, False)
        assert track is not None
        opening = KeptOpening(self.reactor, None, track, 0.0)  # type: ignore[arg-type]
        opening.drop()
        opening.start()
        self.assertIsNone(opening.gone)
        self.assertRaises(NotImplementedError, opening.read, 1)


class KeepingTests(KeptTestCase):
    def test_only_from_the_beginning_and_to_the_end_at_full_volume_as_opus(self) -> None:
        for options in ({"at": 1.0}, {"duration": 3.0}, {"volume": 0.5}):
            self.begin_song(**options)  # type: ignore[arg-type]
        self.make(self.song).start(succeed(None))
        self.assertEqual(self.cache.vitals().recording, 0)
        self.assert_not_kept(0)

    def test_not_what_is_stopped(self) -> None:
        pipeline, child = self.begin_song()
        self.take(pipeline, child, frames(FRAMES))
        self.assertGreater(self.cache.vitals().recording, 0)
        pipeline.close()
        self.assert_not_kept()

    def test_not_what_was_louder_or_softer_in_between(self) -> None:
        for source, data in ((self.song, frames(FRAMES)), (self.opus, ogg(0, FRAMES))):
            pipeline, child = self.begin_song(source)
            self.take(pipeline, child, data[: len(data) // 2])
            pipeline.set_volume(0.5)
            pipeline.set_volume(1.0)
            if pipeline.passing:
                self.take(pipeline, child, data[len(data) // 2 :], ends=True)
            pipeline.close()
        self.assert_not_kept(2)

    def test_a_volume_of_1_set_again_changes_nothing(self) -> None:
        pipeline, child = self.begin_song()
        pipeline.set_volume(1.0)
        self.take(pipeline, child, frames(FRAMES), ends=True)
        self.assertEqual(self.cache.vitals().kept, 1)

    def test_not_what_is_shorter_or_longer_than_it_says(self) -> None:
        for count, kept in ((99, False), (101, True), (199, True), (201, False)):
            pipeline, child = self.begin_song()
            self.take(pipeline, child, frames(count), ends=True)
            self.assertEqual(self.cache.vitals().tracks, int(kept), count)
            self.cache = Cache(1 << 24, None, "", self.reactor.seconds)
            self.workshop = replace(self.workshop, cache=self.cache)

    def test_not_what_does_not_say_how_long_it_is(self) -> None:
        for said in ("N/A", "00:00:03.00"):
            pipeline = self.make(self.song, bitrate=96_000)
            pipeline.start(succeed(None))
            child = self.reactor.children[-1]
            if said != "N/A":
                child.say("[mp3 @ 0x1] [warning] Estimating duration from bitrate, this may be inaccurate\n")
            child.say(OPUS.format("mp3", said, "mp3"))
            self.take(pipeline, child, frames(FRAMES), ends=True)
            self.assertTrue(pipeline.drained)
        self.assert_not_kept(2)

    def test_what_its_page_says_is_enough(self) -> None:
        song = replace(self.song, duration=3.0)
        pipeline = self.make(song, bitrate=96_000)
        pipeline.start(succeed(None))
        child = self.reactor.children[-1]
        child.say(OPUS.format("mp3", "N/A", "mp3"))
        self.take(pipeline, child, frames(FRAMES), ends=True)
        self.assertEqual(self.cache.vitals().kept, 1)
        self.assertIsNone(self.again(source=song).report.duration)

    def test_not_what_broke_off(self) -> None:
        pipeline, child = self.begin_song()
        child.say(BROKEN)
        self.take(pipeline, child, frames(FRAMES), ends=True)
        self.assertTrue(pipeline.drained)
        self.assert_not_kept()

    def test_not_what_was_opened_twice(self) -> None:
        pipeline, child = self.begin_song()
        self.take(pipeline, child, frames(70))
        child.exit(signal=9)
        self.reactor.advance(0.02)
        self.take(pipeline, self.reactor.children[-1], frames(FRAMES - 70, 70), ends=True)
        self.assertEqual((pipeline.drained, self.reader.said), (True, ["recovered"]))
        self.assert_not_kept()

    def test_not_what_rested_in_between(self) -> None:
        pipeline, child = self.begin_song()
        child.write(frames(70))
        self.turn()
        self.reactor.advance(UNREAD_SECONDS)
        self.reactor.end()
        taken = pipeline.take(99)
        self.reactor.advance(0.02)
        self.take(pipeline, self.reactor.children[-1], frames(FRAMES - 50, 50), ends=True)
        self.assertTrue(taken)
        self.assertEqual(self.cache.vitals().kept, 0)

    def test_not_what_failed(self) -> None:
        pipeline, child = self.begin_song()
        child.say("[error] Error during demuxing: Invalid data found\n")
        self.take(pipeline, child, frames(FRAMES // 3), ends=True)
        self.assertEqual(pipeline.failure and pipeline.failure.code, "source_ended_early")
        self.assert_not_kept()

    def test_not_what_was_encoded_with_less_effort_from_somewhere_on(self) -> None:
        pipeline, child = self.begin_song()
        self.take(pipeline, child, frames(70))
        self.workshop.set_complexity(1, full=False)
        self.workshop.set_complexity(5, full=True)
        self.take(pipeline, child, frames(FRAMES - 70, 70), ends=True)
        self.assert_not_kept()

    def test_not_what_was_encoded_with_less_effort_at_all(self) -> None:
        self.workshop.set_complexity(1, full=False)
        pipeline, child = self.begin_song()
        self.take(pipeline, child, frames(FRAMES), ends=True)
        self.assertTrue(pipeline.drained)
        self.assert_not_kept()
        self.play(self.opus)
        self.assertEqual(self.cache.vitals().kept, 1)

    def test_opus_that_cannot_be_passed_to_its_end_is_not_kept(self) -> None:
        pipeline, child = self.begin_song(self.opus)
        child.say(OPUS.format("mov", "00:00:03.00", "aac"))
        child.exit()
        follower = self.after(pipeline)
        follower.say(SAID)
        self.take(pipeline, follower, frames(FRAMES), ends=True)
        self.assertTrue(pipeline.drained)
        self.assertEqual(self.cache.vitals().kept, 0)

    def test_positions_of_opus_are_its_own(self) -> None:
        taken = self.play(self.opus)
        self.assertEqual(taken, numbered(FRAMES))
        track = self.cache.find(self.opus, 96_000, False)
        assert track is not None and track.positions is not None
        self.assertEqual(track.positions.tolist(), list(range(-312, FRAMES * FRAME_SAMPLES - 312, FRAME_SAMPLES)))
