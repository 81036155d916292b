"""Packets passed on as they are, by what FFmpeg itself gives: none is lost or doubled, and no seam is heard."""

from __future__ import annotations

import math
import subprocess
from array import array
from dataclasses import replace

from twisted.internet.defer import succeed

from audiosvc.audio import FRAME_BYTES, FRAMES_PER_SECOND
from audiosvc.codec.opus import Decoder
from audiosvc.flow.pipeline import HIGH_WATER, PRE_ROLL, STEADY_FRAMES, Pipeline
from audiosvc.flow.workshop import Workshop
from audiosvc.sources.model import File, Source
from tests.codec.material import FFMPEG, SECONDS, audio, copied, folder
from tests.fakes import FakeChild
from tests.flow.test_pipeline import PipelineTestCase

CHORD = Source("file:///20.opus", File(folder() / "20.opus"), duration=SECONDS, opus=True)
OWN = [packet.data for packet in audio("20.opus")]


def chord(name: str) -> Source:
    return replace(CHORD, media=File(folder() / name), duration=None)


def heard(packets: list[bytes]) -> list[array[int]]:
    decoder = Decoder()
    return [array("h", decoder.decode(packet)) for packet in packets]


def apart(sound: array[int], other: array[int]) -> float:
    """How far below `other` the difference lies, in dB."""
    difference = sum((a - b) ** 2 for a, b in zip(sound, other, strict=True))
    return 10 * math.log10((sum(b * b for b in other) + 1) / (difference + 1))


def edge(frames: list[array[int]]) -> int:
    """How sharply the left channel bends at most."""
    left = [value for frame in frames for value in frame[::2]]
    return max(abs(a - 2 * b + c) for a, b, c in zip(left, left[1:], left[2:], strict=False))


class FFmpegTestCase(PipelineTestCase):
    """Every child is a fake one that writes what FFmpeg writes when it is called so."""

    odd = True
    """Whether sources are such as take FFmpeg to copy them."""

    def setUp(self) -> None:
        super().setUp()
        self.workshop = Workshop(self.reactor.as_reactor, self.spawner, self.encoders, FFMPEG, complexity=5)
        self.written: dict[FakeChild, bytes] = {}
        self.taken: list[bytes] = []
        self.most = 10**6
        """Bytes that a child writes at a time."""

    def play(
        self,
        source: Source = CHORD,
        at: float = 0.0,
        volume: float = 1.0,
        asked: bool = False,
        duration: float | None = None,
    ) -> Pipeline:
        pipeline = self.make(source, at, duration, bitrate=96_000, volume=volume, asked=asked)
        pipeline._supply._odd = self.odd
        pipeline.start(succeed(None))
        return pipeline

    def serve(self) -> None:
        for child in self.reactor.children:
            if not child.alive:
                continue
            if child not in self.written:
                done = subprocess.run(child.argv, capture_output=True, timeout=60)
                child.say(done.stderr.decode())
                self.written[child] = done.stdout
            if child.signals:
                child.exit(signal=9)
            elif left := self.written[child]:
                self.written[child] = left[child.write(left[: self.most]) :]
            else:
                child.exit()

    def pull(self, pipeline: Pipeline, count: int = 10**6) -> list[bytes]:
        """Take so many packets, or all of them."""
        taken: list[bytes] = []
        for _ in range(3000):
            if len(taken) == count or pipeline.drained:
                break
            self.serve()
            self.turn()
            self.reactor.advance(0.02)
            taken += pipeline.take(min(3, count - len(taken)))
        self.taken += taken
        return taken

    @property
    def copies(self) -> list[bool]:
        """For each child whether it copies."""
        return ["copy" in child.argv for child in self.reactor.children]


class PassingOnTests(FFmpegTestCase):
    def test_what_may_be_passed_is(self) -> None:
        pipeline = self.play()
        self.assertTrue(pipeline.passing)
        self.assertEqual(self.pull(pipeline), OWN)
        self.assertIsNone(pipeline.failure)
        self.assertEqual(self.copies, [True])

    def test_what_is_to_be_changed_is_not(self) -> None:
        for source, volume, asked in (
            (CHORD, 0.5, False),
            (CHORD, 1.0, True),
            (replace(CHORD, opus=False), 1.0, False),
            (replace(CHORD, live=True), 1.0, False),
        ):
            pipeline = self.play(source, volume=volume, asked=asked)
            self.assertFalse(pipeline.passing)
            self.assertFalse(self.copies[-1])
            self.assertNotIn(self.pull(pipeline, 50)[49], OWN)
            pipeline.close()
            self.serve()

    def test_pcm_is_not(self) -> None:
        pipeline = self.make(CHORD)
        self.assertFalse(pipeline.passing)

    def test_no_more_is_taken_ahead_than_of_encoded_ones(self) -> None:
        pipeline = self.play()
        self.pull(pipeline, 100)
        self.assertLessEqual(pipeline.ready, HIGH_WATER)

    def test_from_a_position_the_packets_are_the_same(self) -> None:
        for at, first in ((0.02, 1), (4.98, 249), (5.0, 250), (12.34, 617)):
            pipeline = self.play(at=at)
            self.assertEqual(self.pull(pipeline, 40), OWN[first : first + 40])
            pipeline.close()
            self.serve()

    def test_a_part_is_as_long_as_was_asked_for(self) -> None:
        for name in ("20.opus", "20.webm", "60.opus", "10.opus"):
            for at, duration, count in ((0.0, 2.0, 100), (5.02, 1.98, 99), (3.333, 1.11, 56), (4.0, 0.001, 1)):
                pipeline = self.play(chord(name), at, duration=duration)
                self.assertIn(len(self.pull(pipeline)), (count, count - (count == 56)), f"{name} from {at} s")
                self.assertIsNone(pipeline.failure)
                pipeline.close()
                self.serve()

    def test_other_containers_frames_and_a_chain(self) -> None:
        for name in ("20.webm", "60.opus", "10.opus", "mono.opus", "chain.opus"):
            pipeline = self.play(chord(name))
            self.assertEqual(self.pull(pipeline), [each.packet for each in copied(name)[0]], name)
            self.assertIsNone(pipeline.failure)
            pipeline.close()
            self.serve()
        self.assertEqual(set(self.copies), {True})

    def test_a_child_that_is_killed_is_followed_by_one_that_goes_on(self) -> None:
        pipeline, self.most = self.play(), 1500
        for packets in (30, 111, 7):
            self.pull(pipeline, packets)
            child = self.reactor.children[-1]
            child.write(self.written[child][:20_007])
            child.exit(signal=9)
        self.pull(pipeline)
        self.assertEqual(self.taken, OWN)
        self.assertEqual(self.copies, [True] * 4)

    def test_one_that_nobody_reads_from_goes_and_comes_back(self) -> None:
        pipeline, self.most = self.play(), 1500
        self.pull(pipeline, 50)
        for _ in range(70):
            self.reactor.advance(1)
        self.assertEqual(self.reactor.children[0].signals, ["KILL"])
        self.pull(pipeline)
        self.assertEqual(self.taken, OWN)

    def test_what_cannot_be_passed_is_encoded(self) -> None:
        subprocess.run(
            [FFMPEG, "-v", "error", "-y", "-i", "chord.wav", "-c:a", "aac", "chord.m4a"],
            check=True, timeout=60, cwd=folder(),
        )  # fmt: skip
        for name in ("speech60.opus", "chord.m4a"):
            before = len(self.copies)
            pipeline = self.play(chord(name))
            packets = self.pull(pipeline)
            self.assertEqual(self.copies[before:], [True, False])
            self.assertFalse(pipeline.passing)
            self.assertIsNone(pipeline.failure)
            self.assertLessEqual(abs(len(packets) - SECONDS * FRAMES_PER_SECOND), 2, name)
            pipeline.close()
            self.serve()


class SeamTests(FFmpegTestCase):
    def check(self, name: str, at: float, packets: int) -> None:
        """Leave by a change of volume that is none to speak of, and come back: the sound is as if nothing had been.

        Encoded anew it is some 27 dB off everywhere. Without frames before, the difference at a seam is as loud as the
        sound, and the click has four times the edge of the sound itself.
        """
        source = chord(name)
        own = [each.packet for each in copied(name)[0]]
        first = round(at * FRAMES_PER_SECOND)
        pipeline = self.play(source, at)
        self.taken.clear()
        self.pull(pipeline, packets)
        pipeline.set_volume(0.9999)
        self.assertFalse(pipeline.passing)
        self.pull(pipeline, 60)
        pipeline.set_volume(1.0)
        self.pull(pipeline, STEADY_FRAMES + 120)
        self.assertTrue(pipeline.passing)

        at_once = self.taken[: packets + HIGH_WATER]
        passed = [packet == own[first + i] for i, packet in enumerate(self.taken)]
        left = passed.index(False)
        back = len(passed) - passed[::-1].index(False)
        self.assertGreaterEqual(left, packets)
        self.assertLessEqual(left, len(at_once))
        self.assertGreater(back - left, STEADY_FRAMES)
        self.assertEqual(passed, [True] * left + [False] * (back - left) + [True] * (len(passed) - back))

        sound, reference = heard(self.taken), heard(own[first : first + len(self.taken)])
        for seam in (left, back):
            for frame in (seam, seam + 1):
                self.assertGreater(apart(sound[frame], reference[frame]), 12, f"{name}, {frame - seam} behind a seam")
            around = slice(seam - 1, seam + 2)
            self.assertLess(edge(sound[around]), 1.5 * edge(reference[around]), f"a click in {name}")
        pipeline.close()
        self.serve()

    def test_no_seam_is_heard_in_ogg(self) -> None:
        for at, packets in ((0.0, 100), (3.0, 33)):
            self.check("20.opus", at, packets)

    def test_nor_in_webm(self) -> None:
        """There half a millisecond may be missing or there twice."""
        self.check("20.webm", 0.0, 217)

    def test_nor_in_mono_or_where_frames_are_long(self) -> None:
        self.check("mono.opus", 1.0, 50)
        self.check("60.opus", 1.0, 50)

    def test_a_change_of_volume_takes_one_frame(self) -> None:
        pipeline = self.play()
        self.pull(pipeline, 100)
        pipeline.set_volume(0.25)
        self.pull(pipeline, 60)
        sound, reference = heard(self.taken), heard(OWN[:160])
        share = [sum(map(abs, a)) / sum(map(abs, b)) for a, b in zip(sound[2:], reference[2:], strict=True)]
        left = next(i for i, packet in enumerate(self.taken) if packet != OWN[i]) - 2
        self.assertTrue(all(0.99 < each < 1.01 for each in share[:left]))
        self.assertTrue(0.4 < share[left] < 0.9, share[left])
        self.assertTrue(all(0.24 < each < 0.26 for each in share[left + 2 :]), share[left:])

    def test_at_the_very_beginning_there_is_less_to_begin_with(self) -> None:
        pipeline = self.play()
        pipeline.set_volume(0.5)
        self.assertEqual(pipeline._pre_roll, 0)
        packets = self.pull(pipeline)
        self.assertLessEqual(abs(len(packets) - SECONDS * FRAMES_PER_SECOND), 1)

    def test_near_the_end_the_track_ends_where_it_did(self) -> None:
        for left in (60, 9, 2, 1):
            pipeline = self.play(at=SECONDS - 3)
            self.taken.clear()
            self.pull(pipeline, 151 - left - HIGH_WATER)
            pipeline.set_volume(0.5)
            self.pull(pipeline)
            self.assertIn(len(self.taken), (150, 151))
            self.assertIsNone(pipeline.failure)
            pipeline.close()
            self.serve()

    def test_volume_that_is_played_with_costs_no_child_each_time(self) -> None:
        pipeline = self.play()
        self.pull(pipeline, 50)
        for volume in (0.5, 1.0, 0.7, 1.0, 1.0):
            pipeline.set_volume(volume)
            self.pull(pipeline, 20)
        self.assertEqual(self.copies, [True, False])
        self.pull(pipeline, STEADY_FRAMES + 20)
        self.assertEqual(self.copies, [True, False, True])

    def test_the_frames_before_are_not_heard(self) -> None:
        pipeline = self.play()
        self.pull(pipeline, 50)
        position = pipeline._supply.position
        pipeline.set_volume(0.5)
        self.assertEqual(pipeline._pre_roll, PRE_ROLL)
        self.assertAlmostEqual(pipeline._supply.position, position - PRE_ROLL * 0.02)
        rest = self.pull(pipeline)
        self.assertLessEqual(abs(50 + len(rest) - len(OWN)), 1)
        self.assertEqual(FRAME_BYTES * (50 + len(rest)), len(b"".join(map(bytes, heard(self.taken)))))
