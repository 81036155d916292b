"""How a pipeline ends, and what it makes of it: by itself, early, late, killed, or not even begun."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from twisted.internet.defer import succeed

from audiosvc.audio import FRAMES_PER_SECOND
from audiosvc.errors import (
    AudioServiceError,
    DecoderFailed,
    NotAudio,
    SourceEndedEarly,
    SourceNotFound,
    SourceTimeout,
    SpawnFailed,
    UnsupportedUrl,
)
from audiosvc.flow.opening import EXIT_SECONDS, STALL_SECONDS
from audiosvc.flow.pipeline import HIGH_WATER, Pipeline
from audiosvc.flow.supply import FIRST_PACKET_SECONDS
from audiosvc.sources.model import File, Http, Source
from tests.fakes import FakeChild, frames
from tests.flow.test_pipeline import PipelineTestCase

SONG = Source("file:///song", File(Path("/song")), title="Song")
BROKEN = "[in#0/mp3 @ 0x1] [error] Stream ends prematurely at 1000, should be 2000\n"


class EndingTestCase(PipelineTestCase):
    def play_out(self, pipeline: Pipeline, child: FakeChild, count: int) -> list[bytes]:
        """`count` frames through the pipeline, all but the last of them taken."""
        taken: list[bytes] = []
        written = 0
        while len(taken) < count - 1:
            written += child.write(frames(count)[written:])
            self.turn()
            taken += pipeline.take(5)
        return taken

    def assert_ended(self, pipeline: Pipeline, failure: type[AudioServiceError] | None) -> None:
        self.assertTrue(pipeline.ended)
        self.assertEqual(type(pipeline.failure), type(None) if failure is None else failure)
        self.assertEqual(self.reader.ends, 1)
        pipeline.close()
        self.assert_nothing_left()


class OwnEndTests(EndingTestCase):
    def test_an_end_after_the_stated_duration_is_no_failure(self) -> None:
        pipeline, child = self.begin(replace(SONG, duration=2.0))
        self.play_out(pipeline, child, 2 * FRAMES_PER_SECOND)
        child.exit()
        self.turn()
        self.assert_ended(pipeline, None)

    def test_a_duration_that_promises_too_much_is_forgiven(self) -> None:
        for broken in (False, True):
            pipeline, child = self.begin(replace(SONG, duration=3.0))
            if broken:
                child.say(BROKEN)
            self.play_out(pipeline, child, int(2.1 * FRAMES_PER_SECOND))
            child.exit()
            self.turn()
            self.assertIsNone(pipeline.failure)
            pipeline.close()
        self.assert_nothing_left()

    def test_an_end_far_from_it_is_forgiven_where_the_source_did_not_break_off(self) -> None:
        pipeline, child = self.begin(replace(SONG, duration=60.0))
        self.play_out(pipeline, child, 50)
        child.exit()
        self.turn()
        self.assert_ended(pipeline, None)

    def test_the_duration_asked_for_is_an_end_too(self) -> None:
        pipeline, child = self.begin(replace(SONG, duration=60.0), at=10.0, duration=1.0)
        child.say(BROKEN)
        self.play_out(pipeline, child, 50)
        child.exit()
        self.turn()
        self.assert_ended(pipeline, None)

    def test_nothing_at_all_past_the_end_is_no_failure(self) -> None:
        pipeline, child = self.begin(replace(SONG, duration=60.0), at=60.0)
        child.exit()
        self.turn()
        self.assert_ended(pipeline, None)

    def test_what_an_ogg_gives_for_a_position_behind_its_end_is_not_played(self) -> None:
        pipeline, child = self.begin(replace(SONG, url="file:///song.ogg"), at=10.0)
        child.say("[info] Input #0, ogg, from 'file:/song.ogg':\n[info]   Duration: 00:00:08.50, start: 0.0\n")
        child.write(frames(5))
        self.turn()
        self.assertEqual(pipeline.ready, 0)
        self.assert_ended(pipeline, None)

    def test_what_comes_from_behind_the_medias_own_end_is_not_played(self) -> None:
        pipeline, child = self.begin(SONG, at=60.0)
        child.say("[info] Input #0, ogg, from 'x':\n[info]   Duration: 00:01:00.00, start: 0.0\n")
        child.write(frames(20))
        self.turn()
        self.assertEqual((pipeline.ready, self.reader.flows, child.signals[0]), (0, 0, "KILL"))
        self.assert_ended(pipeline, None)

    def test_the_end_waits_for_the_reaping_for_only_then_is_all_said(self) -> None:
        pipeline, child = self.begin(SONG)
        self.play_out(pipeline, child, 5)
        child.hang_up()
        self.turn()
        self.assertFalse(pipeline.ended)
        child.exit()
        self.assert_ended(pipeline, None)

    def test_what_is_still_in_the_pipe_of_a_reaped_child_is_played(self) -> None:
        pipeline, child = self.begin(SONG)
        sound = frames(50)
        self.assertEqual(child.write(sound), len(sound))
        child.exit()
        self.turn()
        self.assertFalse(pipeline.ended)
        taken: list[bytes] = []
        while not pipeline.drained:
            taken += pipeline.take(3)
            self.turn()
        self.assertEqual(b"".join(taken), sound)
        self.assertIsNone(pipeline.failure)

    def test_taking_does_not_find_the_end_but_leads_to_it(self) -> None:
        """The taker has not yet handed on what it took; what comes of that is told once it has."""
        pipeline, child = self.begin(SONG)
        child.write(frames(20))
        child.exit()
        self.turn()
        self.assertEqual((pipeline.ended, pipeline.ready, self.reader.flows), (False, 19, 2))
        self.assertEqual(b"".join(pipeline.take(19)), frames(19))
        self.assertEqual((pipeline.ended, pipeline.take(9)), (False, []))
        self.assertEqual((self.reader.flows, self.reader.ends), (2, 0))
        self.turn()
        self.assertEqual((pipeline.ended, self.reader.flows, self.reader.ends), (True, 2, 1))
        self.assertEqual(pipeline.take(9), [frames(1, first=19)])
        self.assertTrue(pipeline.drained)

    def test_a_child_that_does_not_exit_is_killed(self) -> None:
        for count in (4, 0.001):
            pipeline, child = self.begin(replace(SONG, duration=count / FRAMES_PER_SECOND))
            child.write(frames(4)[: int(count * 3840)])
            self.turn()
            child.hang_up()
            self.turn()
            self.reactor.advance(EXIT_SECONDS - 0.1)
            self.assertEqual(child.signals, [])
            self.reactor.advance(0.1)
            self.assertEqual(child.signals, ["KILL"])
            child.exit(signal=9)
            self.turn()
            self.assertTrue(pipeline.ended)
            self.assertIsNone(pipeline.failure)
        self.assert_nothing_left()


class FailingTests(EndingTestCase):
    def test_a_source_that_broke_off_and_is_too_short_ended_early(self) -> None:
        pipeline, child = self.begin(replace(SONG, duration=60.0))
        child.say(BROKEN)
        self.play_out(pipeline, child, 50)
        child.exit()
        self.turn()
        self.assert_ended(pipeline, SourceEndedEarly)

    def test_what_the_child_says_last_of_all_counts(self) -> None:
        pipeline, child = self.begin(replace(SONG, duration=60.0))
        self.play_out(pipeline, child, 50)
        child.hang_up(BROKEN)
        child.exit()
        self.turn()
        self.assert_ended(pipeline, SourceEndedEarly)

    def test_the_stated_duration_may_be_the_medias_own(self) -> None:
        pipeline, child = self.begin(SONG)
        child.say("[info] Input #0, mp3, from 'x':\n[info]   Duration: 00:01:00.00, start: 0.0, bitrate: 1 kb/s\n")
        child.say(BROKEN)
        self.play_out(pipeline, child, 50)
        child.exit()
        self.turn()
        self.assert_ended(pipeline, SourceEndedEarly)

    def test_a_position_counts_as_played(self) -> None:
        pipeline, child = self.begin(replace(SONG, duration=60.0), at=58.9)
        child.say(BROKEN)
        self.play_out(pipeline, child, 10)
        child.exit()
        self.turn()
        self.assert_ended(pipeline, None)

    def test_a_child_killed_in_mid_track_again_and_again_is_a_failure(self) -> None:
        for duration in (None, 60.0):
            pipeline, child = self.begin(replace(SONG, duration=duration))
            self.play_out(pipeline, child, 50)
            for delay in (0.0, 0.5, 2.0, 0.0):
                self.assertFalse(pipeline.ended)
                self.reactor.children[-1].exit(signal=9)
                self.reactor.advance(delay)
                self.turn()
            self.assertIsInstance(pipeline.failure, DecoderFailed)
            self.assertEqual(len(pipeline.take(9)), 1)
            self.assertEqual(self.reader.said, [])

    def test_a_child_killed_after_the_last_of_the_sound_is_none(self) -> None:
        pipeline, child = self.begin(replace(SONG, duration=1.0))
        self.play_out(pipeline, child, 50)
        child.exit(signal=11)
        self.turn()
        self.assert_ended(pipeline, None)

    def test_children_killed_before_the_first_sample_are_a_failure_at_any_position(self) -> None:
        for at in (0.0, 20.0):
            pipeline, _ = self.begin(replace(SONG, duration=60.0), at=at)
            for delay in (0.5, 2.0, 0.0):
                self.assertFalse(pipeline.ended)
                self.reactor.children[-1].exit(signal=9)
                self.reactor.advance(delay)
                self.turn()
            self.assertIsInstance(pipeline.failure, DecoderFailed)

    def test_nothing_at_all_is_no_audio(self) -> None:
        pipeline, child = self.begin(SONG)
        child.exit()
        self.turn()
        self.assert_ended(pipeline, NotAudio)

    def test_nothing_at_all_and_a_reason_given_is_that(self) -> None:
        for at in (0.0, 5.0):
            pipeline, child = self.begin(SONG, at=at)
            child.say("[in#0 @ 0x1] [error] Error opening input: No such file or directory\n")
            child.exit(status=254)
            self.turn()
            self.assertIsInstance(pipeline.failure, SourceNotFound)

    def test_a_source_that_gives_nothing_for_15_s_is_given_up(self) -> None:
        pipeline, child = self.begin(SONG)
        self.reactor.advance(FIRST_PACKET_SECONDS - 0.1)
        self.assertFalse(pipeline.ended)
        self.reactor.advance(0.1)
        self.assertEqual(child.signals[0], "KILL")
        self.assert_ended(pipeline, SourceTimeout)

    def test_a_source_may_take_its_time_between_packets(self) -> None:
        pipeline, child = self.begin(SONG)
        for i in range(20):
            child.write(frames(1, i))
            self.turn()
            self.reactor.advance(STALL_SECONDS - 0.1)
        self.assertFalse(pipeline.ended)
        self.assertEqual(child.signals, [])

    def test_the_encoder_failing_is_a_failure_behind_what_was_made(self) -> None:
        pipeline, child = self.begin(SONG)
        child.write(frames(3))
        self.turn()

        def break_down() -> list[bytes]:
            raise RuntimeError("out of order")

        child.write(frames(3))
        dry_at, _, done = self.encoders.jobs[0]
        self.encoders.jobs[0] = (dry_at, break_down, done)
        self.turn()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(pipeline.take(99), [frames(1), frames(1, 1), frames(1, 2)])
        self.assertTrue(pipeline.drained)
        self.assertEqual(child.signals[0], "KILL")
        self.assert_ended(pipeline, DecoderFailed)

    def test_no_child_to_be_had_is_a_failure(self) -> None:
        self.reactor.spawn_error = OSError(11, "Resource temporarily unavailable")
        pipeline = self.make()
        pipeline.start(succeed(None))
        self.assert_ended(pipeline, SpawnFailed)

    def test_a_source_that_makes_no_command_line_is_a_failure(self) -> None:
        pipeline = self.make(Source("http://h/", Http("http://h/", {"Cookie": "a\r\nHost: b"})))
        pipeline.start(succeed(None))
        self.assertEqual(self.reactor.children, [])
        self.assert_ended(pipeline, UnsupportedUrl)


class LateAnswerTests(EndingTestCase):
    encode_at_once = False

    def run_jobs(self, pipeline: Pipeline) -> None:
        """Every one there is, none of which may be missed at the end."""
        while self.encoders.jobs:
            self.assertFalse(pipeline.ended)
            self.encoders.run()
            self.turn()

    def test_a_job_that_comes_home_after_it_was_closed_brings_nothing(self) -> None:
        pipeline, child = self.begin(SONG)
        child.write(frames(5))
        pipeline.close()
        self.encoders.run()
        self.assertEqual((pipeline.ready, self.reader.flows, self.reader.ends), (0, 0, 0))
        self.assert_nothing_left()

    def test_the_encoder_being_slow_is_not_the_sources_fault(self) -> None:
        pipeline, child = self.begin(SONG)
        child.write(frames(5))
        self.reactor.advance(FIRST_PACKET_SECONDS)
        self.encoders.run()
        self.assertEqual((pipeline.ready, pipeline.ended), (4, False))

    def test_the_last_job_may_come_home_before_or_after_the_reaping(self) -> None:
        for reaped_first in (True, False):
            pipeline, child = self.begin(SONG)
            child.write(frames(2))
            self.encoders.run()
            self.turn()
            child.write(frames(2) + b"1")
            if reaped_first:
                child.exit()
            else:
                child.hang_up()
            self.run_jobs(pipeline)
            child.exit()
            self.run_jobs(pipeline)
            self.assertTrue(pipeline.ended)
            self.assertEqual(len(pipeline.take(HIGH_WATER)), 5)
            self.assertIsNone(pipeline.failure)
        self.assert_nothing_left()
