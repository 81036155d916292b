"""What a pipeline gives, in what order, how much of it is made ahead, and how it stops."""

from __future__ import annotations

from array import array

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_BYTES, FRAME_SAMPLES
from audiosvc.codec.opus import Decoder, Encoder
from audiosvc.codec.pcm import level
from audiosvc.ffmpeg.process import SPAWNS_PER_TICK, Spawner
from audiosvc.flow.encoders import URGENT_SECONDS
from audiosvc.flow.pipeline import HIGH_WATER, JOB_FRAMES, Pipeline
from audiosvc.flow.workshop import Workshop
from audiosvc.sources.model import Source
from tests.fakes import TONE, FakeChild, FakeEncoders, FakeReactor, frames, open_fds


class Reader:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.flows = 0
        self.ends = 0
        self.said: list[str] = []

    def pipeline_flows(self, pipeline: Pipeline) -> None:
        assert pipeline.ready, "told of packets that are not there"
        self.flows += 1

    def pipeline_recovered(self, pipeline: Pipeline) -> None:
        self.said.append("recovered")

    def pipeline_titled(self, pipeline: Pipeline, title: str) -> None:
        self.said.append(title)

    def pipeline_ended(self, pipeline: Pipeline) -> None:
        assert pipeline.ended
        self.ends += 1


class PipelineTestCase(SynchronousTestCase):
    """One pipeline over fakes; in the end nothing of it may be left."""

    encode_at_once = True

    def setUp(self) -> None:
        self.fds = open_fds()
        self.reactor = FakeReactor()
        self.encoders = FakeEncoders(self.reactor, self.encode_at_once)
        self.spawner = Spawner(self.reactor.as_reactor, {})
        self.workshop = Workshop(self.reactor.as_reactor, self.spawner, self.encoders, "ffmpeg", complexity=5)
        self.reader = Reader()
        self.made: list[Pipeline] = []
        self.addCleanup(self.clean_up)

    def clean_up(self) -> None:
        for pipeline in self.made:
            pipeline.close()
        self.reactor.end()

    def make(
        self,
        source: Source = TONE,
        at: float = 0.0,
        duration: float | None = None,
        bitrate: int | None = None,
        volume: float = 1.0,
        asked: bool = False,
    ) -> Pipeline:
        pipeline = Pipeline(
            self.workshop,
            self.reader,
            source,
            at=at,
            duration=duration,
            bitrate=bitrate,
            asked=asked,
            volume=volume,
            label="test",
            refresh=self.refresh,
        )
        self.made.append(pipeline)
        return pipeline

    def refresh(self) -> Deferred[Source]:
        raise AssertionError("nothing here expires")

    def begin(
        self, source: Source = TONE, at: float = 0.0, duration: float | None = None, bitrate: int | None = None
    ) -> tuple[Pipeline, FakeChild]:
        pipeline = self.make(source, at, duration, bitrate)
        pipeline.start(succeed(None))
        return pipeline, self.reactor.children[-1]

    def turn(self) -> None:
        """Let jobs be done and what they lead to happen."""
        self.reactor.settle()

    def assert_nothing_left(self) -> None:
        self.reactor.end()
        self.turn()
        self.reactor.advance(0.02)
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.spawner.children, 0)
        self.assertEqual(open_fds() - self.fds, set())


class GivingTests(PipelineTestCase):
    def test_frames_come_out_in_order(self) -> None:
        pipeline, child = self.begin()
        child.write(frames(30))
        taken: list[bytes] = []
        for _ in range(40):
            self.turn()
            taken += pipeline.take(1)
        self.assertEqual(b"".join(taken), frames(29))

    def test_the_command_line_is_made_from_source_position_and_duration(self) -> None:
        _, child = self.begin(at=2.0, duration=3.0)
        argv = " ".join(child.argv)
        self.assertTrue(argv.startswith("ffmpeg "))
        self.assertIn("n+96000", argv)
        self.assertIn("d=3.0", argv)

    def test_the_last_packet_waits_until_it_is_known_to_be_the_last(self) -> None:
        pipeline, child = self.begin()
        child.write(frames(1))
        self.turn()
        self.assertEqual((pipeline.ready, pipeline.take(9), self.reader.flows), (0, [], 0))
        child.exit()
        self.turn()
        self.assertTrue(pipeline.ended)
        self.assertFalse(pipeline.drained)
        self.assertEqual(pipeline.ready, 1)
        self.assertEqual(pipeline.take(9), [frames(1)])
        self.assertTrue(pipeline.drained)

    def test_what_is_asked_for_bounds_what_is_taken(self) -> None:
        pipeline, child = self.begin()
        child.write(frames(6))
        self.turn()
        self.assertEqual([len(pipeline.take(most)) for most in (-1, 0, 2, 2, 2, 2)], [0, 0, 2, 2, 1, 0])

    def test_a_frame_cut_anywhere_is_put_together_again(self) -> None:
        pipeline, child = self.begin()
        sound = frames(4)
        for start in range(0, len(sound), 1000):
            child.write(sound[start : start + 1000])
            self.turn()
        self.assertEqual(b"".join(pipeline.take(9)), sound[: 3 * FRAME_BYTES])

    def test_the_last_partial_frame_is_filled_with_silence(self) -> None:
        pipeline, child = self.begin()
        child.write(frames(2) + b"\x05" * 100)
        self.turn()
        child.exit()
        self.turn()
        self.assertEqual(b"".join(pipeline.take(9)), frames(2) + b"\x05" * 100 + bytes(FRAME_BYTES - 100))
        self.assertTrue(pipeline.drained)
        self.assertIsNone(pipeline.failure)

    def test_less_than_a_frame_in_all_is_a_track_of_one_packet(self) -> None:
        pipeline, child = self.begin()
        child.write(b"\x05" * 4)
        child.exit()
        self.turn()
        self.assertEqual([len(packet) for packet in pipeline.take(9)], [FRAME_BYTES])
        self.assertIsNone(pipeline.failure)

    def test_opus_packets_decode_to_the_sound_that_went_in(self) -> None:
        pipeline, child = self.begin(bitrate=128_000)
        loud = array("h", [9000, -9000] * FRAME_SAMPLES).tobytes()
        child.write(loud * 5)
        child.exit()
        self.turn()
        packets = pipeline.take(9)
        decoder = Decoder()
        sound = [decoder.decode(packet) for packet in packets]
        self.assertEqual([len(frame) for frame in sound], [FRAME_BYTES] * 5)
        self.assertLess(max(map(len, packets)), 1276)

    @settings(deadline=None, max_examples=40)
    @given(
        st.integers(0, 70),
        st.integers(0, FRAME_BYTES - 1),
        st.lists(st.tuples(st.integers(1, 90_000), st.integers(0, 12)), max_size=20),
    )
    def test_no_way_of_writing_and_taking_changes_the_packets(
        self, count: int, rest: int, steps: list[tuple[int, int]]
    ) -> None:
        pipeline, child = self.begin()
        sound = frames(count) + b"\x09" * rest
        padded = sound + bytes(-len(sound) % FRAME_BYTES)
        taken: list[bytes] = []
        written = 0
        for size, most in steps:
            written += child.write(sound[written : written + size])
            self.turn()
            self.assertLessEqual(pipeline.ready, HIGH_WATER)
            taken += pipeline.take(most)
        for step in range(400):
            if written < len(sound):
                written += child.write(sound[written:])
            else:
                child.exit()
            self.turn()
            taken += pipeline.take(1 + step % 7)
        self.assertEqual(b"".join(taken), padded)
        self.assertTrue(pipeline.drained)
        pipeline.close()
        self.assert_nothing_left()


class AheadTests(PipelineTestCase):
    encode_at_once = False

    def run_jobs(self) -> int:
        done = 0
        while self.encoders.jobs:
            self.encoders.run()
            self.turn()
            done += 1
        return done

    def test_no_more_is_made_than_the_queue_holds(self) -> None:
        pipeline, child = self.begin()
        taken = child.write(frames(60))
        self.run_jobs()
        self.assertEqual(pipeline.ready, HIGH_WATER - 6)
        more = child.write(frames(60)) + child.write(frames(60))
        self.assertLess(taken + more, 180 * FRAME_BYTES)
        self.run_jobs()
        self.assertEqual(child.write(frames(1)), 0)
        self.assertEqual(pipeline.ready, HIGH_WATER - 6)
        self.assertEqual(len(self.reactor.getReaders()), 1, "the messages are read, the sound is not")

    def test_a_job_begins_as_soon_as_a_whole_one_fits(self) -> None:
        pipeline, child = self.begin()
        child.write(frames(60))
        self.run_jobs()
        room = pipeline.ready + 1 - (HIGH_WATER - JOB_FRAMES)
        pipeline.take(room - 1)
        self.turn()
        self.assertEqual(self.encoders.jobs, [])
        pipeline.take(1)
        self.turn()
        self.assertEqual(len(self.encoders.jobs), 1)

    def test_taking_reads_nothing_and_begins_nothing_before_the_reactors_next_turn(self) -> None:
        """Whoever else is due a packet in the same beat would have to wait for it."""
        pipeline, child = self.begin()
        child.write(frames(2 * JOB_FRAMES))
        self.run_jobs()
        child.write(frames(JOB_FRAMES))
        reads: list[int] = []
        read = pipeline._supply.read

        def counted(most: int) -> bytes | None:
            reads.append(most)
            return read(most)

        self.patch(pipeline._supply, "read", counted)
        for _ in range(2):
            pipeline.take(7)
            self.assertEqual((reads, self.encoders.jobs), ([], []))
        self.turn()
        self.assertEqual((len(reads), len(self.encoders.jobs)), (1, 1))

    def test_one_job_is_in_flight_at_a_time(self) -> None:
        pipeline, child = self.begin()
        child.write(frames(60))
        for _ in range(5):
            self.assertEqual(len(self.encoders.jobs), 1)
            child.write(frames(1))
            pipeline.take(1)
            self.turn()
            self.assertEqual(len(self.encoders.jobs), 1)
            self.encoders.run()
            pipeline.take(99)
            self.turn()

    def test_a_job_is_due_when_the_queue_would_be_empty(self) -> None:
        _, child = self.begin()
        self.reactor.advance(5)
        child.write(frames(20))
        self.assertEqual(self.encoders.jobs[0][0], 5.0 + URGENT_SECONDS, "nobody misses what has not begun")
        self.encoders.run()
        self.turn()
        self.assertAlmostEqual(self.encoders.jobs[0][0], 5.0 + JOB_FRAMES * 0.02)

    def test_the_effort_is_what_the_workshop_says_at_each_job(self) -> None:
        pipeline, child = self.begin(bitrate=64_000)
        asked: list[int] = []
        real = Encoder.set_complexity

        def set_complexity(encoder: Encoder, complexity: int) -> None:
            asked.append(complexity)
            real(encoder, complexity)

        self.patch(Encoder, "set_complexity", set_complexity)
        for complexity in (5, 0, 10):
            self.workshop.set_complexity(complexity, full=complexity == 5)
            child.write(frames(10))
            self.run_jobs()
            pipeline.take(99)
        self.assertEqual(asked, [5, 0, 10])
        self.assertEqual((self.workshop.full, self.workshop.changes), (False, 2))

    def test_volume_is_changed_while_it_plays(self) -> None:
        pipeline, child = self.begin()
        loud = array("h", [8000] * (2 * FRAME_SAMPLES)).tobytes()
        child.write(loud * 12)
        self.run_jobs()
        pipeline.set_volume(0.5)
        child.write(loud * 4)
        self.run_jobs()
        levels = [round(level(packet) - level(loud)) for packet in pipeline.take(99)]
        self.assertEqual(levels[:12], [0] * 12)
        self.assertIn(levels[12], (-3, -2))
        self.assertEqual(levels[13:], [-6, -6])

    def test_a_first_volume_holds_from_the_first_sample(self) -> None:
        pipeline = self.make(volume=0.0)
        pipeline.start(succeed(None))
        self.reactor.children[0].write(frames(3, first=5))
        self.run_jobs()
        self.assertEqual(b"".join(pipeline.take(9)), bytes(2 * FRAME_BYTES))


class ClosingTests(PipelineTestCase):
    def close(self, pipeline: Pipeline, waits: bool) -> None:
        """Close twice; it fires when the child is reaped, and not a word comes after it."""
        told = (self.reader.flows, self.reader.ends)
        fired: list[None] = []
        pipeline.close().addCallback(fired.append)
        self.assertEqual(fired, [] if waits else [None])
        self.assertEqual(pipeline.take(9), [])
        self.assertEqual(pipeline.ready, 0)
        pipeline.set_volume(1.0)
        self.turn()
        self.reactor.advance(20)
        self.reactor.end()
        pipeline.close().addCallback(fired.append)
        self.assertEqual(fired, [None, None])
        self.assertEqual((self.reader.flows, self.reader.ends), told)
        self.assert_nothing_left()

    def test_before_its_predecessor_is_reaped(self) -> None:
        pipeline, before = self.make(), Deferred[None]()
        pipeline.start(before)
        fired: list[None] = []
        pipeline.close().addCallback(fired.append)
        self.assertEqual(fired, [])
        before.callback(None)
        self.assertEqual(fired, [None])
        self.assertEqual(self.reactor.children, [])
        self.close(pipeline, waits=False)

    def test_while_it_waits_at_the_gate(self) -> None:
        others = [self.begin()[0] for _ in range(SPAWNS_PER_TICK)]
        pipeline = self.make()
        pipeline.start(succeed(None))
        self.assertEqual(len(self.reactor.children), SPAWNS_PER_TICK)
        for other in others:
            other.close()
        self.reactor.end()
        self.close(pipeline, waits=False)
        self.assertEqual(len(self.reactor.children), SPAWNS_PER_TICK)

    def test_before_the_first_byte(self) -> None:
        pipeline, child = self.begin()
        self.close(pipeline, waits=True)
        self.assertEqual(child.signals[0], "KILL")

    def test_while_a_job_is_in_flight(self) -> None:
        pipeline, child = self.begin()
        child.write(frames(30))
        self.assertEqual(len(self.encoders.jobs), 1)
        self.close(pipeline, waits=True)

    def test_while_it_plays(self) -> None:
        pipeline, child = self.begin()
        child.write(frames(30))
        self.turn()
        pipeline.take(3)
        self.close(pipeline, waits=True)

    def test_between_the_end_of_the_sound_and_the_exit(self) -> None:
        pipeline, child = self.begin()
        child.write(frames(3))
        child.hang_up()
        self.turn()
        self.assertFalse(pipeline.ended)
        self.close(pipeline, waits=True)

    def test_after_the_end(self) -> None:
        pipeline, child = self.begin()
        child.write(frames(3))
        child.exit()
        self.turn()
        self.assertTrue(pipeline.ended)
        self.close(pipeline, waits=False)
