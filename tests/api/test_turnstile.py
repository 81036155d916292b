"""What came in at once is done in order, a little at a time."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.api.turnstile import TURN_SECONDS, Turnstile


class TurnstileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.turnstile = Turnstile(self.clock)
        self.done: list[int] = []

    def work(self, number: int, share: float = 0.4) -> None:
        """Takes `share` of a turn."""
        self.clock.rightNow += TURN_SECONDS * share
        self.done.append(number)

    def test_what_comes_alone_is_done_at_once(self) -> None:
        self.assertTrue(self.turnstile.enter(partial(self.work, 1)))
        self.assertEqual(self.done, [1])

    def test_what_takes_no_time_leaves_nothing_behind(self) -> None:
        for number in range(100):
            self.assertTrue(self.turnstile.enter(partial(self.work, number, 0.0)))
        self.assertEqual((len(self.done), self.clock.getDelayedCalls()), (100, []))

    def test_of_many_as_much_as_fits_in_a_turn_is_done_in_it(self) -> None:
        told = [self.turnstile.enter(partial(self.work, number)) for number in range(7)]
        self.assertEqual(told, [True, True, True, False, False, False, False])
        turns: list[int] = []
        real = self.clock.callLater

        def turn(*args: Any) -> Any:
            turns.append(len(self.done))
            return real(*args)

        self.patch(self.clock, "callLater", turn)
        self.clock.advance(0)
        self.assertEqual(turns, [6, 7])
        self.assertEqual(self.done, list(range(7)))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_comes_while_others_wait_goes_behind_them(self) -> None:
        for number in range(4):
            self.turnstile.enter(partial(self.work, number))
        self.clock.advance(0)
        self.assertTrue(self.turnstile.enter(partial(self.work, 4)))
        self.assertEqual(self.done, [0, 1, 2, 3, 4])

    def test_what_comes_of_work_waits_for_its_turn(self) -> None:
        def twice() -> None:
            self.assertFalse(self.turnstile.enter(partial(self.work, 2)))
            self.work(1)

        self.turnstile.enter(twice)
        self.assertEqual(self.done, [1, 2])
