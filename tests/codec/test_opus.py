"""The encoder against libopus itself: packets decode to what went in, and depend on nothing but the frames."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import math
import subprocess
import sys
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_BYTES, FRAME_SAMPLES, FRAMES_PER_SECOND, OPUS_PACKET_MOST, SAMPLE_RATE
from audiosvc.codec import opus
from audiosvc.codec.ogg import PRE_SKIP, packet_samples
from audiosvc.codec.opus import FRAMES_AT_ONCE, Decoder, Encoder, libopus_version, opuslib
from audiosvc.codec.pcm import level


def tone(hz: float, frames: int) -> bytes:
    """A sine at half of full scale, the same in both channels."""
    step = 2 * math.pi * hz / SAMPLE_RATE
    values = (round(16_384 * math.sin(step * n)) for n in range(frames * FRAME_SAMPLES))
    return array("h", [value for value in values for _ in range(2)]).tobytes()


def heard(packets: list[bytes]) -> bytes:
    """The sound in the packets, less the first second, in which the codec finds its feet."""
    decoder = Decoder()
    return b"".join([decoder.decode(packet) for packet in packets][FRAMES_PER_SECOND:])


def strength(pcm: bytes, hz: float) -> float:
    """How much of the left channel is a sine of `hz`, by one bin of a Fourier transform; 1 for nothing else."""
    left = array("h", pcm)[::2]
    step = 2 * math.pi * hz / SAMPLE_RATE
    real = sum(value * math.cos(step * n) for n, value in enumerate(left))
    imaginary = sum(value * math.sin(step * n) for n, value in enumerate(left))
    energy = sum(value * value for value in left)
    return (real * real + imaginary * imaginary) * 2 / len(left) / energy


SOUND = tone(440, 75)
TOGETHER = Encoder(96_000, 5).encode(SOUND)


class ComplexityTests(SynchronousTestCase):
    def test_changed_between_calls_it_is_as_of_an_encoder_that_always_was_so(self) -> None:
        pcm = tone(440, 10)
        encoder, alike = Encoder(64_000, 10), Encoder(64_000, 10)
        self.assertEqual(encoder.encode(pcm), alike.encode(pcm))
        encoder.set_complexity(0)
        encoder.set_complexity(10)
        self.assertEqual(encoder.encode(pcm), alike.encode(pcm))
        encoder.set_complexity(0)
        self.assertNotEqual(encoder.encode(pcm), alike.encode(pcm))

    def test_the_sound_goes_on_through_every_change(self) -> None:
        pcm = tone(440, FRAMES_PER_SECOND)
        encoder, packets = Encoder(128_000, 10), []
        for complexity in (10, 5, 2, 0, 2, 5, 10):
            encoder.set_complexity(complexity)
            packets += encoder.encode(pcm)
        sound = heard(packets)
        levels = [level(sound[at : at + FRAME_BYTES]) for at in range(0, len(sound), FRAME_BYTES)]
        self.assertLess(max(levels) - min(levels), 0.5)


class EncoderTests(SynchronousTestCase):
    def test_a_tone_stays_that_tone(self) -> None:
        sound = heard(TOGETHER)
        self.assertEqual(len(sound), 25 * FRAME_BYTES)
        self.assertApproximates(level(sound), level(SOUND), 0.5)
        self.assertGreater(strength(sound, 440), 0.99)
        self.assertLess(strength(sound, 1000), 0.01)

    def test_each_packet_is_one_frame_of_20_ms_in_stereo(self) -> None:
        self.assertEqual(len(TOGETHER), 75)
        self.assertEqual({packet_samples(packet) for packet in TOGETHER}, {FRAME_SAMPLES})
        self.assertEqual({packet[0] & 4 for packet in TOGETHER}, {4})
        self.assertLess(max(map(len, TOGETHER)), OPUS_PACKET_MOST)

    def test_silence_and_noise_are_packets_too(self) -> None:
        for sound in (bytes(FRAME_BYTES), bytes(range(256)) * (FRAME_BYTES // 256), b"\xff\x7f" * (FRAME_BYTES // 2)):
            for bitrate in (6_000, 510_000):
                packets = Encoder(bitrate, 10).encode(sound * 3)
                self.assertEqual([packet_samples(packet) for packet in packets], [FRAME_SAMPLES] * 3)

    @settings(deadline=None, max_examples=25)
    @given(st.lists(st.integers(0, 2 * FRAMES_AT_ONCE + 1), max_size=12))
    def test_the_packets_do_not_depend_on_how_the_frames_come(self, counts: list[int]) -> None:
        encoder = Encoder(96_000, 5)
        packets, at = [], 0
        for count in [*counts, 75]:
            piece = SOUND[at : at + count * FRAME_BYTES]
            packets += encoder.encode(piece)
            at += len(piece)
        self.assertEqual(packets, TOGETHER)

    def test_no_frames_are_no_packets(self) -> None:
        self.assertEqual(Encoder(96_000, 5).encode(b""), [])

    def test_a_partial_frame_is_refused_and_changes_nothing(self) -> None:
        encoder = Encoder(96_000, 5)
        for size in (1, 4, FRAME_BYTES - 1, FRAME_BYTES + 4):
            self.assertRaises(ValueError, encoder.encode, SOUND[:size])
        self.assertEqual(encoder.encode(SOUND), TOGETHER)

    def test_the_bitrate_is_what_it_takes_on_average(self) -> None:
        music = array("h", [0]) * (2 * FRAME_SAMPLES * 100)
        for i, hz in enumerate((220, 277, 330, 660, 1760, 5000)):
            for n, value in enumerate(array("h", tone(hz, 100))):
                music[n] += value // (6 + i)
        for bitrate in (32_000, 96_000, 256_000):
            packets = Encoder(bitrate, 10).encode(music.tobytes())
            took = sum(map(len, packets)) * 8 * FRAMES_PER_SECOND / len(packets)
            self.assertTrue(0.6 * bitrate < took < 1.3 * bitrate, f"{took:.0f} instead of {bitrate}")

    def test_complexity_is_heeded(self) -> None:
        self.assertNotEqual(Encoder(96_000, 0).encode(SOUND), Encoder(96_000, 10).encode(SOUND))

    def test_what_libopus_refuses_is_an_error(self) -> None:
        self.assertRaises(opuslib.OpusError, Encoder, -5, 5)
        self.assertRaises(opuslib.OpusError, Encoder, 96_000, 11)
        encoder = Encoder(96_000, 5)
        self.patch(encoder, "_encode", lambda *_: -3)
        self.assertRaises(opuslib.OpusError, encoder.encode, bytes(FRAME_BYTES))

    def test_memory_that_libopus_does_not_have_is_an_error_and_nothing_is_freed(self) -> None:
        freed: list[object] = []
        self.patch(opuslib.api.encoder, "create_state", Mock(side_effect=opuslib.OpusError(-7)))
        self.patch(opuslib.api.encoder, "destroy", freed.append)
        self.assertRaises(opuslib.OpusError, Encoder, 96_000, 5)
        gc.collect()
        self.assertEqual((freed, self.flushWarnings()), ([], []))

    def test_encoders_in_threads_do_not_disturb_each_other(self) -> None:
        def encode(hz: int) -> list[bytes]:
            encoder, sound = Encoder(96_000, 5), tone(hz, 60)
            return [encoder.encode(sound[i : i + FRAME_BYTES])[0] for i in range(0, len(sound), FRAME_BYTES)]

        tones = [200 + 150 * i for i in range(6)]
        alone = [encode(hz) for hz in tones]
        with ThreadPoolExecutor(6) as threads:
            self.assertEqual(list(threads.map(encode, tones)), alone)

    def test_the_delay_is_the_one_ogg_states(self) -> None:
        encoder = Encoder(96_000, 5)
        delay = opuslib.api.encoder.encoder_ctl(encoder._state, opuslib.api.ctl.get(4027, ctypes.c_int32))
        self.assertEqual(delay, PRE_SKIP)


class DecoderTests(SynchronousTestCase):
    def test_what_is_no_packet_is_an_error(self) -> None:
        self.assertRaises(opuslib.OpusError, Decoder().decode, b"\xff\xff\xff")


class LibraryTests(SynchronousTestCase):
    def import_opus(self, before: str) -> str:
        after = "from audiosvc.codec.opus import libopus_version\nprint(libopus_version())"
        code = f"import ctypes.util, importlib.util\n{before}\n{after}"
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False
        )
        return run.stdout + run.stderr

    def test_it_says_what_it_is(self) -> None:
        self.assertRegex(libopus_version(), "^libopus ")

    def test_without_one_on_the_system_the_wheels_is_taken(self) -> None:
        bundled = opus._bundled_libopus()
        assert bundled is not None
        self.assertTrue(hasattr(ctypes.CDLL(bundled), "opus_encode"))
        self.assertRegex(self.import_opus("ctypes.util.find_library = lambda name: None"), "^libopus ")

    def test_a_wheel_without_the_library_is_as_none(self) -> None:
        self.patch(importlib.util, "find_spec", lambda name: SimpleNamespace(submodule_search_locations=["/nowhere"]))
        self.assertIsNone(opus._bundled_libopus())

    def test_the_systems_goes_first(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        theirs = folder / "libopus.so.0"
        bundled = opus._bundled_libopus()
        assert bundled is not None
        theirs.write_bytes(Path(bundled).read_bytes())
        told = self.import_opus(
            f"ctypes.util.find_library = lambda name: {str(theirs)!r}\n"
            "import audiosvc.codec.opus as opus\nprint(opus.opuslib.api.libopus._name)"
        )
        self.assertIn(str(theirs), told)

    def test_one_of_the_systems_that_cannot_be_loaded_is_as_none(self) -> None:
        told = self.import_opus("ctypes.util.find_library = lambda name: '/nowhere/libopus.so.0'")
        self.assertRegex(told, "^libopus ")

    def test_with_neither_the_error_says_so(self) -> None:
        told = self.import_opus(
            "ctypes.util.find_library = lambda name: None\n"
            "find = importlib.util.find_spec\n"
            "importlib.util.find_spec = lambda name: None if name == 'opuslib_next' else find(name)"
        )
        self.assertIn("libopus was found neither on this system nor in a wheel", told)

    def test_looking_for_libraries_is_as_it_was_afterwards(self) -> None:
        self.assertEqual(ctypes.util.find_library.__module__, "ctypes.util")
