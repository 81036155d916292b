"""Leaving and coming back to FFmpeg's copy where a source, a listener or the network behaves oddly: over fakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from twisted.internet.defer import succeed

from audiosvc.audio import FRAME_SAMPLES
from audiosvc.codec.ogg import PRE_SKIP
from audiosvc.errors import BlockedAddress
from audiosvc.flow.pipeline import HIGH_WATER, PRE_ROLL, Pipeline
from audiosvc.flow.workshop import Workshop
from audiosvc.sources.model import File, Http, Source
from tests.codec.test_passing import SILK_60, Copy, numbered
from tests.fakes import FakeChild, frames
from tests.flow.support import FakeDoor
from tests.flow.test_pipeline import PipelineTestCase

SONG = Source("file:///song", File(Path("/song")), duration=60.0, opus=True)
WEB = Source("http://h/song", Http("http://h/song"), duration=60.0, opus=True)

OPUS = """[info] Input #0, {}, from 'x':
[info]   Duration: {}, bitrate: 96 kb/s
[info]   Stream #0:0: Audio: {}, 48000 Hz
"""


def ogg(first: int, count: int, asked: float = 0.0) -> bytes:
    """Packets from number `first` on, copied for one who asked for what is at `asked` seconds."""
    copy = Copy().begin()
    return copy.at(first * FRAME_SAMPLES - round(asked * 48_000)).add(numbered(count, first=first)).written


class CopiedTestCase(PipelineTestCase):
    def copied(self, source: Source = SONG, at: float = 0.0) -> tuple[Pipeline, FakeChild]:
        pipeline = self.make(source, at, bitrate=96_000)
        pipeline._supply._odd = True
        pipeline.start(succeed(None))
        self.assertTrue(pipeline.passing)
        return pipeline, self.reactor.children[-1]

    def take(self, pipeline: Pipeline, child: FakeChild, data: bytes, ends: bool = False) -> list[bytes]:
        """All there is to be taken while `child` writes `data`, and perhaps ends."""
        taken: list[bytes] = []
        for _ in range(100):
            if data:
                data = data[child.write(data) :]
            elif ends:
                child.exit()
            self.turn()
            taken += pipeline.take(3)
        return taken

    def after(self, pipeline: Pipeline) -> FakeChild:
        """The child that follows once the last one is reaped."""
        self.reactor.end()
        self.turn()
        self.reactor.advance(0.02)
        return self.reactor.children[-1]

    def sought(self, child: FakeChild) -> float:
        """Where in the source it begins, by its command line."""
        return sum(float(child.argv[i + 1]) for i, option in enumerate(child.argv) if option == "-ss")


class LeavingTests(CopiedTestCase):
    def test_what_cannot_be_passed_in_mid_track_is_decoded_from_there(self) -> None:
        pipeline, child = self.copied()
        copy = Copy().begin().add(numbered(40)).add(numbered(5, SILK_60))
        child.write(copy.written)
        taken: list[bytes] = []
        for _ in range(5):
            taken += pipeline.take(8)
            self.turn()
        self.assertFalse(pipeline.passing)
        follower = self.after(pipeline)
        self.assertAlmostEqual(self.sought(follower), (40 - PRE_ROLL) * 0.02)
        taken += self.take(pipeline, follower, frames(30))
        self.assertEqual(taken[:40], numbered(40))
        self.assertEqual(len(taken), 40 + 30 - PRE_ROLL - 1)
        pipeline.set_volume(0.5)
        pipeline.set_volume(1.0)
        self.assertFalse(pipeline._may_pass)

    def test_a_source_that_is_not_what_it_was_taken_for_is_decoded(self) -> None:
        pipeline, child = self.copied()
        child.say(OPUS.format("mov", "00:01:00.00", "aac"))
        child.say("[opus @ 0x1] [error] Unsupported codec id in stream 0\n")
        child.exit()
        follower = self.after(pipeline)
        self.assertEqual((self.sought(follower), "copy" in follower.argv), (0, False))
        follower.write(frames(3))
        self.turn()
        self.assertEqual(len(pipeline.take(9)), 2)

    def test_one_that_cannot_be_opened_is_not_opened_twice(self) -> None:
        pipeline, child = self.copied()
        child.say("[in#0 @ 0x1] [error] Error opening input: No such file or directory\n")
        child.exit()
        self.assertTrue(pipeline.ended)
        self.assertEqual(pipeline.failure and pipeline.failure.code, "source_not_found")
        self.assertEqual(len(self.reactor.children), 1)

    def test_a_mode_left_at_once_leaves_one_child(self) -> None:
        pipeline, child = self.copied(at=5.0)
        pipeline.set_volume(0.5)
        self.assertEqual(child.signals, ["KILL"])
        follower = self.after(pipeline)
        self.assertAlmostEqual(self.sought(follower), 5.0 - PRE_ROLL * 0.02)
        self.assertEqual(self.spawner.children, 1)

    def test_what_was_read_before_it_is_still_given(self) -> None:
        pipeline, child = self.copied()
        child.write(ogg(0, 100))
        ready = pipeline.ready
        self.assertEqual(ready, HIGH_WATER - 1)
        pipeline.set_volume(0.5)
        self.assertEqual(pipeline.take(99), numbered(ready))
        self.assertAlmostEqual(self.sought(self.after(pipeline)), (HIGH_WATER - PRE_ROLL) * 0.02)

    def test_a_listener_who_has_gone_is_not_waited_on_with_a_child(self) -> None:
        pipeline, child = self.copied()
        child.write(ogg(0, 2000))
        self.reactor.advance(61)
        self.reactor.end()
        pipeline.set_volume(0.5)
        self.reactor.advance(61)
        self.assertEqual(self.spawner.children, 0)
        pipeline.take(1)
        follower = self.after(pipeline)
        self.assertAlmostEqual(self.sought(follower), (HIGH_WATER - PRE_ROLL) * 0.02)

    def test_behind_the_child_s_end_there_is_still_something_to_change(self) -> None:
        """It has copied the last of the source long before the last of that is heard."""
        pipeline, child = self.copied(replace(SONG, duration=2.0))
        child.say(OPUS.format("ogg", "00:00:02.00", "opus"))
        child.write(ogg(0, 100))
        child.exit()
        self.assertFalse(pipeline.ended)
        pipeline.set_volume(0.5)
        follower = self.after(pipeline)
        self.assertAlmostEqual(self.sought(follower), (HIGH_WATER - PRE_ROLL) * 0.02)
        taken = self.take(pipeline, follower, frames(PRE_ROLL + 75)[:-100], ends=True)
        self.assertEqual((len(taken), pipeline.drained, pipeline.failure), (100, True, None))

    def test_an_end_within_the_frames_before_gives_no_packet(self) -> None:
        pipeline, child = self.copied(replace(SONG, duration=0.5))
        child.write(ogg(0, 25))
        pipeline.set_volume(0.5)
        taken = self.take(pipeline, self.after(pipeline), frames(PRE_ROLL)[:-10], ends=True)
        self.assertEqual((len(taken), pipeline.drained, pipeline.failure), (25, True, None))


class OddTests(CopiedTestCase):
    def test_what_the_door_refuses_ends_it(self) -> None:
        door = FakeDoor()
        self.workshop = Workshop(self.reactor.as_reactor, self.spawner, self.encoders, "ffmpeg", 5, door)
        pipeline, child = self.copied(WEB)
        door.permits[0].denial = BlockedAddress()
        child.say("[error] whatever\n")
        child.exit()
        self.assertIsInstance(pipeline.failure, BlockedAddress)

    def test_a_child_lost_with_much_left_is_followed_when_that_is_nearly_read(self) -> None:
        """So that one who loses every child cannot fill the memory."""
        pipeline, _ = self.copied()
        children = self.reactor.children
        begun = 0
        while begun < len(children) < 20:
            begun = len(children)
            first = round(self.sought(children[-1]) * 50)
            large = [packet + bytes(1000) for packet in numbered(200, first=first)]
            data = Copy().begin().add(large).written
            while taken := children[-1].write(data):
                data = data[taken:]
            children[-1].exit(signal=9)
            self.reactor.advance(0.02)
        self.assertLess(len(children), 5)
        self.assertLess(sum(opening.held for opening in pipeline._supply._openings), 600_000)
        count = 0
        for _ in range(200):
            count += len(pipeline.take(3))
            self.reactor.advance(0.02)
        self.assertEqual(len(children), begun + 1)
        self.assertGreater(count, 380)

    def test_positions_that_a_hostile_source_states_break_nothing(self) -> None:
        for granule in (2**62, -(2**62)):
            pipeline, child = self.copied()
            child.write(ogg(0, 30))
            copy = Copy().begin()
            copy.written = b""
            copy._sequence = 8
            child.write(copy.at(granule).add(numbered(30, first=30)).written)
            for _ in range(10):
                pipeline.take(9)
                self.turn()
            pipeline.set_volume(0.5)
            self.after(pipeline)
            pipeline.close()
            self.reactor.end()

    def test_from_behind_the_end_nothing_is_passed(self) -> None:
        """FFmpeg gives the last second there, as if it were what was asked for."""
        pipeline, child = self.copied(replace(SONG, duration=None), at=70.0)
        child.say(OPUS.format("ogg", "00:01:00.00", "opus"))
        child.write(ogg(0, 50))
        self.assertEqual((pipeline.ended, pipeline.failure, pipeline.ready), (True, None, 0))

    def test_that_it_is_live_shows_late_and_changes_nothing(self) -> None:
        pipeline, child = self.copied(replace(WEB, duration=None))
        child.say(OPUS.format("ogg", "N/A", "opus") + "[info]     icy-name        : Radio\n")
        child.write(ogg(0, 30))
        self.assertIsNone(pipeline._edge)
        self.reactor.advance(30)
        self.assertEqual(pipeline.take(5), numbered(5))
        self.assertEqual(pipeline.dropped, 0)

    def test_recovery_is_told_where_it_is(self) -> None:
        told: list[int] = []
        taken: list[bytes] = []
        pipeline, child = self.copied()
        self.reader.pipeline_recovered = lambda _: told.append(len(taken))  # type: ignore[attr-defined]
        child.write(ogg(0, 50))
        child.exit(signal=9)
        self.reactor.advance(0.02)
        follower = self.reactor.children[-1]
        self.assertAlmostEqual(self.sought(follower), 1.0 - 0.25)
        follower.write(ogg(30, 60, 0.75))
        for _ in range(30):
            taken += pipeline.take(3)
            self.turn()
        self.assertEqual(taken, numbered(len(taken)))
        self.assertGreater(len(taken), 80)
        self.assertEqual(told, [50])

    def test_a_packet_begins_before_what_is_asked_for_by_the_decoders_delay(self) -> None:
        pipeline, child = self.copied(at=2.0)
        child.write(ogg(80, 50, 1.75))
        self.assertEqual(pipeline.take(1), numbered(1, first=100))
        self.assertAlmostEqual(pipeline._supply.position * 48_000 - PRE_SKIP, 125 * FRAME_SAMPLES - PRE_SKIP, 3)
