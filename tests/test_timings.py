"""Lengths of time, counted by length."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.timings import BEGINNING_SECONDS, LATENESS_SECONDS, MODES, Histogram, Timings
from audiosvc.vitals import HistogramVitals


class HistogramTests(SynchronousTestCase):
    def test_each_bucket_holds_what_took_no_longer(self) -> None:
        histogram = Histogram((0.1, 1.0))
        for seconds in (0.0, 0.1, 0.11, 1.0, 7.5):
            histogram.add(seconds)
        self.assertEqual(histogram.vitals(), HistogramVitals(5, 8.71, {"0.1": 2, "1.0": 4, "+Inf": 5}))

    def test_one_that_counted_nothing_has_its_buckets(self) -> None:
        self.assertEqual(Histogram((0.5,)).vitals(), HistogramVitals(0, 0.0, {"0.5": 0, "+Inf": 0}))

    def test_the_bounds_rise(self) -> None:
        for bounds in (BEGINNING_SECONDS, LATENESS_SECONDS):
            self.assertEqual(sorted(set(bounds)), list(bounds))

    @settings(deadline=None)
    @given(st.lists(st.floats(0, 100), max_size=50))
    def test_buckets_agree_with_counting(self, lengths: list[float]) -> None:
        histogram = Histogram(LATENESS_SECONDS)
        for seconds in lengths:
            histogram.add(seconds)
        vitals = histogram.vitals()
        self.assertEqual(vitals.count, len(lengths))
        for bound in LATENESS_SECONDS:
            self.assertEqual(vitals.buckets[str(bound)], sum(seconds <= bound for seconds in lengths))


class TimingsTests(SynchronousTestCase):
    def test_plays_and_seeks_are_told_apart_by_mode(self) -> None:
        timings = Timings()
        timings.plays["cached"].add(0.0015)
        timings.seeks["transcode"].add(0.05)
        vitals = timings.vitals()
        self.assertEqual((set(vitals.plays), set(vitals.seeks)), (set(MODES), set(MODES)))
        plays = {mode: of.count for mode, of in vitals.plays.items() if of.count}
        seeks = {mode: of.seconds for mode, of in vitals.seeks.items() if of.count}
        self.assertEqual((plays, seeks), ({"cached": 1}, {"transcode": 0.05}))
