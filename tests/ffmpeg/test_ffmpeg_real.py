"""The command lines and the reading of reports with FFmpeg itself: tones and files."""

from __future__ import annotations

import os
import subprocess
from array import array

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.codec.pcm import level
from audiosvc.errors import NotAudio, SourceNotFound
from audiosvc.ffmpeg.command import child_environment, decode_argv, probe_argv
from audiosvc.ffmpeg.report import Report
from audiosvc.sources.model import Media, Source, Tone
from tests.ffmpeg.media import FFMPEG, KINDS, SAMPLE, file, hertz, seconds


def run(argv: list[str]) -> tuple[bytes, Report]:
    done = subprocess.run(argv, capture_output=True, env=child_environment(os.environ), timeout=60, check=False)
    report = Report()
    report.feed(done.stderr)
    return done.stdout, report


def decode(media: Media, position: float = 0.0, duration: float | None = None) -> tuple[bytes, Report]:
    return run(decode_argv(FFMPEG, Source("x", media), position, duration))


class ToneTests(SynchronousTestCase):
    def test_it_has_its_length_its_pitch_and_its_level_on_both_channels(self) -> None:
        pcm, report = decode(Tone(1000, 2.5))
        self.assertEqual(len(pcm), 120_000 * SAMPLE)
        self.assertApproximates(hertz(pcm, 0, 2.5), 1000, 1)
        self.assertApproximates(level(pcm), -15, 0.01)
        samples = array("h", pcm)
        self.assertEqual(samples[::2], samples[1::2])
        self.assertFalse(report.failed)

    def test_entered_in_the_middle_it_has_the_very_same_samples(self) -> None:
        whole, _ = decode(Tone(441.5, 30))
        part, _ = decode(Tone(441.5, 30), 20.02, 3)
        start = 960_960 * SAMPLE
        self.assertEqual(part, whole[start : start + 144_000 * SAMPLE])

    def test_past_its_end_there_is_nothing_and_no_failure(self) -> None:
        pcm, report = decode(Tone(440, 1), 2)
        self.assertEqual((pcm, report.failed), (b"", False))


class FileTests(SynchronousTestCase):
    def test_every_kind_gives_its_length_at_our_rate_and_its_description(self) -> None:
        for kind in KINDS:
            with self.subTest(kind):
                pcm, report = decode(file(f"steps.{kind}"))
                self.assertApproximates(seconds(pcm), 4, 0.03)
                self.assertEqual((report.title, report.artist), ("Steps", "Anna"))
                assert report.duration is not None
                self.assertApproximates(report.duration, 4, 0.06)
                self.assertEqual((report.failed, report.broken), (False, False))

    def test_a_probe_describes_as_a_decoder_does_and_decodes_nothing(self) -> None:
        pcm, report = run(probe_argv(FFMPEG, Source("x", file("steps.ogg"))))
        self.assertEqual((pcm, report.title, report.duration, report.codec), (b"", "Steps", 4.0, "vorbis"))
        self.assertFalse(report.failed)

    def test_a_duration_is_kept_to_the_sample(self) -> None:
        for duration, samples in ((1.0, 48_000), (0.75, 36_000), (0.02, 960), (1.2345, 59_256)):
            self.assertEqual(len(decode(file("steps.ogg"), 0.5, duration)[0]), samples * SAMPLE)

    def test_a_position_is_met(self) -> None:
        for kind in KINDS:
            with self.subTest(kind):
                pcm, _ = decode(file(f"steps.{kind}"), 1.5)
                self.assertApproximates(hertz(pcm, 0.1, 0.45), 500, 5)
                self.assertApproximates(hertz(pcm, 0.55, 1.45), 600, 5)

    def test_a_cover_is_left_alone(self) -> None:
        pcm, report = decode(file("cover.mp3"))
        self.assertApproximates(seconds(pcm), 4, 0.06)
        self.assertFalse(report.failed)

    def test_what_names_other_things_to_open_is_not_followed(self) -> None:
        for name in ("list.m3u8", "list.mp3", "session.sdp"):
            with self.subTest(name):
                pcm, report = decode(file(name))
                self.assertEqual((pcm, report.failed, type(report.error())), (b"", True, NotAudio))

    def test_what_is_no_audio_is_told_as_such(self) -> None:
        for name in ("words.mp3", "silent.mp4"):
            with self.subTest(name):
                pcm, report = decode(file(name))
                self.assertEqual((pcm, report.failed, type(report.error())), (b"", True, NotAudio))

    def test_a_missing_file_is_told_as_such(self) -> None:
        self.assertIsInstance(decode(file("none.ogg"))[1].error(), SourceNotFound)

    def test_a_file_cut_short_is_noticed(self) -> None:
        for name in ("half.mp3", "half.m4a"):
            with self.subTest(name):
                pcm, report = decode(file(name))
                self.assertLess(seconds(pcm), 3)
                self.assertTrue(report.broken)
                assert report.duration is not None
                self.assertApproximates(report.duration, 4, 0.06)
