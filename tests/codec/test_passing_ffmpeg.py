"""FFmpeg's copies: every packet is the source's, and lies where it says it does, wherever one begins."""

from __future__ import annotations

import random
import subprocess

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_SAMPLES, SAMPLE_RATE
from audiosvc.codec.ogg import PRE_SKIP
from audiosvc.ffmpeg.command import copy_argv
from audiosvc.sources.model import File
from tests.codec.material import FFMPEG, SECONDS, audio, copied, folder
from tests.codec.test_packets import decoded

WEBM_ROUNDING = SAMPLE_RATE // 1000
"""WebM's times are whole milliseconds."""

CLUSTERS = [seconds - ahead / 1000 for seconds in (5, 10) for ahead in (0, 1, 4, 7, 10, 13, 16, 19, 22)]
"""Around FFmpeg's clusters of 5 s, to which its seeking is drawn."""


class WholeTests(SynchronousTestCase):
    def test_packets_of_20_ms_are_the_sources_own(self) -> None:
        for name in ("20.opus", "mono.opus"):
            found, passing = copied(name)
            self.assertEqual([each.packet for each in found], [packet.data for packet in audio(name)])
            self.assertEqual([each.position for each in found[:2]], [-PRE_SKIP, FRAME_SAMPLES - PRE_SKIP])
            self.assertEqual((passing.lost, passing.unpassable), (0, None))

    def test_the_container_makes_no_difference(self) -> None:
        in_ogg, in_webm = copied("20.opus")[0], copied("20.webm")[0]
        self.assertEqual([each.packet for each in in_webm], [each.packet for each in in_ogg])
        for ogg, webm in zip(in_ogg, in_webm, strict=True):
            self.assertLessEqual(abs(ogg.position - webm.position), WEBM_ROUNDING)

    def test_repacked_ones_sound_the_same_to_the_bit(self) -> None:
        for name in ("60.opus", "10.opus", "5.opus", "2.5.opus"):
            found, passing = copied(name)
            self.assertEqual((passing.lost, passing.unpassable), (0, None))
            before, after = decoded([packet.data for packet in audio(name)]), decoded([each.packet for each in found])
            samples = min(len(before), len(after))
            self.assertGreater(samples, SECONDS * SAMPLE_RATE * 4)
            self.assertEqual(before[:samples], after[:samples])

    def test_a_chain_is_passed_to_its_end(self) -> None:
        found, passing = copied("chain.opus")
        first, second = copied("first.opus")[0], copied("60.opus")[0]
        self.assertEqual([each.packet for each in found], [each.packet for each in (*first, *second)])
        self.assertIsNone(passing.unpassable)

    def test_long_frames_of_speech_are_not(self) -> None:
        found, passing = copied("speech60.opus")
        self.assertEqual(found, [])
        self.assertIsNotNone(passing.unpassable)

    def test_nor_is_what_is_not_opus(self) -> None:
        argv = ["-nostdin", "-v", "error", "-y", "-i", "chord.wav", "-t", "1"]
        for name, codec in (("other.ogg", "libvorbis"), ("other.m4a", "aac")):
            subprocess.run([FFMPEG, *argv, "-c:a", codec, name], check=True, timeout=60, cwd=folder())
        found, passing = copied("other.ogg")
        self.assertEqual((found, passing.unpassable and passing.unpassable.reason), ([], "the source is not Opus"))
        done = subprocess.run(copy_argv(FFMPEG, File(folder() / "other.m4a")), capture_output=True, timeout=60)
        self.assertEqual(done.stdout, b"")
        self.assertIn(b"codec", done.stderr)


class SeekTests(SynchronousTestCase):
    def places(self) -> list[float]:
        chosen = random.Random(7)
        return [0.004, 0.02, 0.26, *CLUSTERS, SECONDS - 0.1, *(chosen.uniform(0, SECONDS - 1) for _ in range(8))]

    def check(self, name: str, slack: int) -> None:
        where = {each.packet: each.position for each in copied(name)[0]}
        for at in self.places():
            found, _ = copied(name, at, 0.5)
            wanted = round(at * SAMPLE_RATE) - PRE_SKIP
            self.assertLessEqual(abs(found[0].position - wanted), FRAME_SAMPLES // 2 + slack, f"{name} from {at} s")
            for each in found:
                self.assertLessEqual(abs(each.position - where[each.packet]), slack, f"{name} from {at} s")

    def test_in_ogg_it_begins_with_the_nearest_packet(self) -> None:
        self.check("20.opus", 1)
        self.check("60.opus", 1)

    def test_in_webm_too(self) -> None:
        self.check("20.webm", WEBM_ROUNDING)

    def test_a_duration_is_as_many_packets(self) -> None:
        for name in ("20.opus", "20.webm", "10.opus"):
            for at, duration, count in ((0.0, 2.0, 100), (5.0, 2.0, 100), (5.02, 0.02, 1), (4.0, 0.001, 1)):
                self.assertEqual(len(copied(name, at, duration)[0]), count, f"{name}: {duration} s from {at} s")
