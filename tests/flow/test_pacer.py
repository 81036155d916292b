"""The beat marches on whatever the clock does: no tick lost, none doubled, none drifting away."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_SECONDS
from audiosvc.flow.pacer import CATCH_UP, Pacer

EARLY = FRAME_SECONDS / 2
REST = FRAME_SECONDS - EARLY + 1e-9


class LateClock(Clock):
    """Jumps: whatever has come due by then runs once the jump is made, as in a reactor that was busy."""

    def jump(self, seconds: float) -> None:
        self.rightNow += seconds
        self.advance(0)


class PacerTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = LateClock()
        self.ticks: list[int] = []
        self.go_on = True
        self.pacer = Pacer(self.clock, self.tick)

    def tick(self, due: int) -> None:
        self.ticks.append(due)
        if not self.go_on:
            self.pacer.stop()


class BeatTests(PacerTestCase):
    def test_a_tick_comes_every_frame(self) -> None:
        self.pacer.start()
        self.assertEqual(self.ticks, [])
        for expected in range(1, 6):
            self.clock.advance(EARLY)
            self.assertEqual(len(self.ticks), expected - 1)
            self.clock.advance(REST)
            self.assertEqual(len(self.ticks), expected)
        self.assertEqual(set(self.ticks), {1})

    def test_starting_what_beats_changes_nothing(self) -> None:
        self.pacer.start()
        self.clock.advance(EARLY)
        self.pacer.start()
        self.clock.advance(REST)
        self.assertEqual(self.ticks, [1])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_a_late_tick_is_told_what_is_due_and_the_next_is_on_time(self) -> None:
        self.pacer.start()
        self.clock.jump(FRAME_SECONDS * 3.5)
        self.assertEqual(self.ticks, [3])
        self.clock.jump(FRAME_SECONDS * 0.6)
        self.assertEqual(self.ticks, [3, 1])

    def test_what_is_past_the_catch_up_is_given_up_and_counted(self) -> None:
        self.pacer.start()
        self.clock.jump(FRAME_SECONDS * (CATCH_UP + 7.5))
        self.assertEqual(self.ticks, [CATCH_UP])
        self.assertEqual(self.pacer.vitals().skipped_ticks, 7)
        self.clock.jump(FRAME_SECONDS * 0.6)
        self.assertEqual(self.ticks, [CATCH_UP, 1])

    def test_all_of_the_catch_up_is_made_good(self) -> None:
        self.pacer.start()
        self.clock.jump(FRAME_SECONDS * (CATCH_UP + 0.5))
        self.assertEqual((self.ticks, self.pacer.vitals().skipped_ticks), ([CATCH_UP], 0))

    def test_it_rests_when_told_and_begins_anew(self) -> None:
        self.pacer.start()
        self.go_on = False
        self.clock.advance(FRAME_SECONDS)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(100)
        self.pacer.start()
        self.clock.advance(FRAME_SECONDS)
        self.assertEqual(self.ticks, [1, 1])

    def test_stop_leaves_no_call_and_can_be_repeated(self) -> None:
        self.pacer.stop()
        self.pacer.start()
        self.pacer.stop()
        self.pacer.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(1)
        self.assertEqual(self.ticks, [])

    def test_a_start_from_within_a_tick_makes_no_second_beat(self) -> None:
        pacer = Pacer(self.clock, lambda due: (pacer.start(), self.tick(due))[1])
        pacer.start()
        self.clock.pump([FRAME_SECONDS] * 10)
        self.assertEqual(self.ticks, [1] * 10)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_a_stop_from_within_a_tick_holds(self) -> None:
        pacer = Pacer(self.clock, lambda due: (pacer.stop(), self.tick(due))[1])
        pacer.start()
        self.clock.advance(FRAME_SECONDS)
        self.assertEqual((self.ticks, self.clock.getDelayedCalls()), ([1], []))

    def test_an_error_in_a_tick_does_not_end_the_beat(self) -> None:
        def fail(due: int) -> bool:
            raise ZeroDivisionError

        pacer = Pacer(self.clock, fail)
        pacer.start()
        self.assertRaises(ZeroDivisionError, self.clock.advance, FRAME_SECONDS)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)


class MeasureTests(PacerTestCase):
    def test_the_share_of_late_ticks_is_told_once(self) -> None:
        self.assertEqual(self.pacer.take_lateness(), 0.0)
        self.pacer.start()
        for jump in (0.021, 0.02, 0.075, 0.02):
            self.clock.jump(jump)
        self.assertEqual(self.ticks, [1, 1, 3, 1])
        self.assertAlmostEqual(self.pacer.take_lateness(), 2 / 6)
        self.clock.jump(0.02)
        self.assertEqual(self.pacer.take_lateness(), 0.0)

    def test_the_largest_gap_is_between_ticks(self) -> None:
        self.assertEqual(self.pacer.vitals().largest_gap_ms, 0.0)
        self.pacer.start()
        self.clock.jump(0.021)
        self.clock.jump(0.034)
        self.clock.jump(0.02)
        self.assertEqual(self.pacer.vitals().largest_gap_ms, 34.0)
        self.assertEqual(self.pacer.vitals().ticks, 3)

    def test_a_rest_is_no_gap(self) -> None:
        self.pacer.start()
        self.go_on = False
        self.clock.jump(0.02)
        self.clock.jump(50.0)
        self.pacer.start()
        self.clock.jump(0.022)
        self.assertEqual(self.pacer.vitals().largest_gap_ms, 22.0)

    def test_it_does_not_drift_on_a_reactor_that_is_always_late(self) -> None:
        chance = random.Random(20)
        self.pacer.start()
        lateness = []
        while len(self.ticks) < 5000:
            call = self.clock.getDelayedCalls()[0]
            self.clock.jump(call.getTime() - self.clock.seconds() + chance.uniform(0, 0.015))
            lateness.append(self.clock.seconds() - len(self.ticks) * FRAME_SECONDS)
        self.assertEqual(set(self.ticks), {1})
        self.assertTrue(min(lateness) > -1e-6 and max(lateness) < 0.0151, (min(lateness), max(lateness)))

    @settings(deadline=None)
    @given(st.lists(st.floats(0.0001, 0.4), min_size=1, max_size=60), st.floats(0, 1e6))
    def test_as_many_are_due_as_frames_have_passed(self, jumps: list[float], began: float) -> None:
        self.setUp()
        self.clock.rightNow = began
        self.pacer.start()
        for jump in jumps:
            self.clock.jump(jump)
        passed = (self.clock.seconds() - began) / FRAME_SECONDS
        self.assertTrue(passed - 1 - 1e-4 < sum(self.ticks) < passed + 1e-4, (passed, sum(self.ticks)))
        self.assertEqual(sum(self.ticks), self.pacer.vitals().ticks)
