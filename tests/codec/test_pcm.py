"""Gain without clicks, padding and level meters."""

from __future__ import annotations

import math
import random
import warnings
from array import array
from importlib import reload
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_BYTES, FRAME_SAMPLES
from audiosvc.codec import pcm
from audiosvc.codec.pcm import Gain, level, pad, peak

FACTORS = st.floats(0, 2)


def flat(value: int, frames: int = 1) -> bytes:
    return array("h", [value]).tobytes() * (2 * FRAME_SAMPLES * frames)


def values(data: bytes) -> list[int]:
    return array("h", data).tolist()


def noise(frames: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(FRAME_BYTES * frames)


class GainTests(SynchronousTestCase):
    def test_unity_gives_back_the_very_same_object(self) -> None:
        data = noise(3)
        self.assertIs(Gain().apply(data), data)

    def test_a_steady_gain_scales_and_saturates(self) -> None:
        for factor, value, wanted in ((0.5, 1000, 500), (2, 20_000, 32_767), (2, -20_000, -32_768), (0, 9, 0)):
            self.assertEqual(Gain(factor).apply(flat(value, 2)), flat(wanted, 2))

    def test_a_change_takes_one_frame_in_a_straight_line(self) -> None:
        gain = Gain()
        gain.set(0.5)
        left = values(gain.apply(flat(19_200)))[::2]
        wanted = [19_200 - 10 * (n + 1) for n in range(FRAME_SAMPLES)]
        self.assertLessEqual(max(abs(a - b) for a, b in zip(left, wanted, strict=True)), 1)

    def test_both_channels_change_alike(self) -> None:
        gain = Gain(0)
        gain.set(2)
        found = values(gain.apply(flat(12_000)))
        self.assertEqual(found[::2], found[1::2])

    def test_only_the_first_frame_pays_for_the_change(self) -> None:
        gain = Gain()
        gain.set(0.25)
        data = noise(3)
        found = gain.apply(data)
        self.assertEqual(len(found), len(data))
        self.assertEqual(found[FRAME_BYTES:], Gain(0.25).apply(data[FRAME_BYTES:]))
        self.assertEqual(gain.apply(data), Gain(0.25).apply(data))

    def test_back_at_unity_the_same_object_comes_back(self) -> None:
        gain = Gain(0.5)
        gain.set(1)
        data = noise(1)
        self.assertNotEqual(gain.apply(data), data)
        self.assertIs(gain.apply(data), data)

    def test_a_change_saturates_and_does_not_wrap(self) -> None:
        gain = Gain(1.5)
        gain.set(2)
        self.assertEqual(gain.apply(flat(30_000)), flat(32_767))
        gain.set(1.5)
        self.assertEqual(gain.apply(flat(-30_000)), flat(-32_768))

    @settings(deadline=None, max_examples=40)
    @given(st.lists(FACTORS, min_size=1, max_size=5), st.integers(-32_768, 32_767))
    def test_no_step_is_larger_than_the_slope_of_the_ramp(self, factors: list[float], value: int) -> None:
        gain = Gain()
        before, last = 1.0, value
        for factor in factors:
            gain.set(factor)
            found = [last, *values(gain.apply(flat(value)))[::2]]
            slope = abs(value * (factor - before)) / FRAME_SAMPLES
            steps = [abs(b - a) for a, b in pairwise(found)]
            self.assertLessEqual(max(steps), math.ceil(slope) + 1)
            before, last = factor, found[-1]

    @settings(deadline=None, max_examples=40)
    @given(FACTORS, st.integers(0, 2**32))
    def test_the_ramp_ends_on_the_value_of_the_steady_gain(self, factor: float, seed: int) -> None:
        gain = Gain()
        gain.set(factor)
        data = noise(1, seed)
        self.assertEqual(gain.apply(data)[-4:], Gain(factor).apply(data)[-4:])

    def test_no_frames_leave_a_change_pending(self) -> None:
        gain = Gain()
        gain.set(0)
        self.assertEqual(gain.apply(b""), b"")
        self.assertEqual(values(gain.apply(flat(9600)))[0], 9590)

    def test_refuses_partial_frames_and_factors_out_of_range(self) -> None:
        with self.assertRaises(ValueError):
            Gain().apply(bytes(FRAME_BYTES - 4))
        for factor in (-0.01, 2.01, math.nan, math.inf):
            with self.assertRaises(ValueError):
                Gain(factor)


class PadTests(SynchronousTestCase):
    def test_fills_the_last_frame_with_silence(self) -> None:
        self.assertEqual(pad(b"\x01" * (FRAME_BYTES + 5)), b"\x01" * (FRAME_BYTES + 5) + bytes(FRAME_BYTES - 5))

    def test_leaves_whole_frames_alone(self) -> None:
        for data in (b"", noise(2)):
            self.assertIs(pad(data), data)


class LevelTests(SynchronousTestCase):
    def test_a_full_scale_square_wave_is_at_zero(self) -> None:
        square = array("h", [32_767, 32_767, -32_768, -32_768] * 480).tobytes()
        self.assertAlmostEqual(level(square), 0, places=3)
        self.assertEqual(peak(square), 0)

    def test_a_sine_lies_three_decibels_below_its_peak(self) -> None:
        sine = array("h", [round(16_384 * math.sin(n * math.tau / 96)) for n in range(960)]).tobytes()
        self.assertAlmostEqual(peak(sine), -6.02, places=2)
        self.assertAlmostEqual(level(sine), -9.03, places=2)

    def test_silence_is_infinitely_low(self) -> None:
        for data in (b"", bytes(FRAME_BYTES)):
            self.assertEqual((level(data), peak(data)), (-math.inf, -math.inf))


class ImportTests(SynchronousTestCase):
    def test_warns_of_nothing(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reload(pcm)
