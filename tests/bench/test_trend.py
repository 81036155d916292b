from __future__ import annotations

import math
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bench.trend import BLOCKS, BLOCKS_LEAST, blocks, fit, growth, student


def walk(dice: Random, readings: int, drift: float, noise: float = 1.0) -> list[tuple[float, float]]:
    """Readings that are alike for some time, as those of a process are, and drift by so much in all."""
    level, points = 0.0, []
    for number in range(readings):
        level = 0.7 * level + dice.gauss(0, noise)
        points.append((2.0 * number, 80 + level + drift * number / readings))
    return points


class GrowthTests(SynchronousTestCase):
    def test_a_leak_is_found_in_noise(self) -> None:
        for seed in range(50):
            found = growth("RSS", walk(Random(seed), 600, drift=12.0), warm=300.0, limit=5.0)
            assert found is not None
            self.assertFalse(found.held, (seed, found))
            self.assertApproximates(found.last - found.first, 9.0, 3.0)

    def test_what_stays_as_it_is_is_not_taken_for_a_leak(self) -> None:
        found = [growth("fds", walk(Random(seed), 600, drift=0.0), warm=300.0, limit=1.0) for seed in range(50)]
        self.assertTrue(all(one is not None and one.held for one in found))

    def test_even_where_the_limit_is_none_noise_seldom_seems_to_grow(self) -> None:
        grown = 0
        for seed in range(400):
            found = growth("fds", walk(Random(seed), 600, drift=0.0), warm=0.0, limit=0.0)
            grown += found is not None and not found.held
        self.assertLess(grown, 30)

    def test_what_grows_less_than_is_allowed_is_held(self) -> None:
        found = growth("RSS", [(float(x), 50 + 0.04 * x) for x in range(100)], warm=0.0, limit=5.0)
        assert found is not None
        self.assertTrue(found.held)
        self.assertApproximates(found.last - found.first, 0.04 * 99, 1e-6)

    def test_what_comes_before_the_warm_up_is_over_does_not_count(self) -> None:
        points = [(float(x), min(x, 50.0)) for x in range(200)]
        found = growth("RSS", points, warm=60.0, limit=0.0)
        assert found is not None
        self.assertTrue(found.held)
        self.assertEqual((found.begin, found.first, found.last), (60.0, 50.0, 50.0))

    def test_less_than_there_is_evidence_in_is_no_verdict(self) -> None:
        points = [(float(x), 1e6 * x) for x in range(BLOCKS_LEAST)]
        self.assertIsNone(growth("RSS", points, warm=1.0, limit=0.0))
        self.assertIsNotNone(growth("RSS", points, warm=0.0, limit=0.0))

    def test_one_spike_is_no_slope(self) -> None:
        points = [(float(x), 500.0 if x == 99 else 11.0) for x in range(100)]
        found = growth("fds", points, warm=0.0, limit=0.0)
        assert found is not None
        self.assertEqual(found.last, found.first)


class FitTests(SynchronousTestCase):
    @given(st.floats(-5, 5), st.floats(-100, 100), st.integers(3, 50))
    @settings(deadline=None)
    def test_a_line_is_found_again(self, slope: float, intercept: float, number: int) -> None:
        trend = fit([(float(x), slope * x + intercept) for x in range(number)])
        self.assertApproximates(trend.slope, slope, 1e-6)
        self.assertApproximates(trend.at(0), intercept, 1e-6)
        self.assertApproximates(trend.error, 0, 1e-5)

    def test_the_error_is_that_of_the_textbook(self) -> None:
        # Residuals of -1, 2, -1 round 2x: their squares are 6, of one degree of freedom, and x spreads by 2.
        trend = fit([(0.0, 0.0), (1.0, 3.0), (2.0, 0.0)])
        self.assertApproximates(trend.slope, 0.0, 1e-9)
        self.assertApproximates(trend.error, math.sqrt(6 / 1 / 2), 1e-9)

    def test_students_quantiles_are_those_of_the_tables(self) -> None:
        for freedom, quantile in ((6, 2.447), (8, 2.306), (10, 2.228), (18, 2.101), (60, 2.000)):
            self.assertApproximates(student(0.975, freedom), quantile, 0.011)


class BlockTests(SynchronousTestCase):
    @given(st.integers(1, 300))
    @settings(deadline=None)
    def test_every_reading_is_in_one_of_them(self, number: int) -> None:
        made = blocks([(float(x), 7.0) for x in range(number)])
        self.assertEqual(len(made), min(number, BLOCKS))
        self.assertEqual({y for _, y in made}, {7.0})
        self.assertApproximates(made[0][0], (number // len(made) - 1) / 2, 0.51)
        self.assertEqual(made, sorted(made))
