"""A watch that is touched a lot and looked at seldom."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.flow.watch import Watch


class WatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.late: list[float] = []
        self.watch = Watch(self.clock, 10.0, lambda: self.late.append(self.clock.seconds()))

    def test_it_runs_out_once(self) -> None:
        self.watch.touch()
        self.clock.pump([1.0] * 30)
        self.assertEqual(self.late, [10.0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_does_not_run_before_it_is_touched(self) -> None:
        self.clock.advance(100)
        self.assertEqual((self.late, self.clock.getDelayedCalls()), ([], []))

    def test_each_touch_gives_it_its_time_again_with_one_timer_for_all(self) -> None:
        for _ in range(50):
            self.watch.touch()
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            self.clock.advance(9.5)
        self.assertEqual(self.late, [])
        self.clock.pump([0.5] * 4)
        self.assertEqual(self.late, [50 * 9.5 + 0.5])

    def test_eased_it_does_not_run_out_and_touched_it_runs_again(self) -> None:
        self.watch.touch()
        self.clock.advance(5)
        self.watch.ease()
        self.clock.pump([1.0] * 20)
        self.assertEqual(self.late, [])
        self.watch.touch()
        self.clock.pump([1.0] * 11)
        self.assertEqual(self.late, [35.0])

    def test_touched_after_easing_the_whole_time_counts_from_there(self) -> None:
        self.watch.touch()
        self.clock.advance(5)
        self.watch.ease()
        self.clock.advance(1)
        self.watch.touch()
        self.clock.pump([1.0] * 20)
        self.assertEqual(self.late, [16.0])

    def test_stopped_it_leaves_no_timer(self) -> None:
        self.watch.stop()
        self.watch.touch()
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.watch.touch()
        self.clock.advance(10)
        self.assertEqual(self.late, [10.0])

    def test_it_may_be_touched_when_it_runs_out(self) -> None:
        watch = Watch(self.clock, 3.0, lambda: (self.late.append(self.clock.seconds()), watch.touch()))  # type: ignore[func-returns-value]
        watch.touch()
        self.clock.pump([1.0] * 10)
        self.assertEqual(self.late, [3.0, 6.0, 9.0])
