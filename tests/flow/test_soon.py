"""What can wait is done in the reactor's next turn."""

from __future__ import annotations

from functools import partial

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.flow.soon import TURN_SECONDS, Soon


class SoonTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.soon = Soon(self.clock)
        self.done: list[int] = []

    def ask(self, *numbers: int) -> None:
        for number in numbers:
            self.soon(partial(self.done.append, number))

    def turn(self) -> None:
        """One turn of a reactor, which does not do in it what is asked for in it; a `Clock` would."""
        calls, self.clock.calls = self.clock.calls, []
        for call in calls:
            self.assertEqual(call.getTime(), self.clock.seconds())
            call.func(*call.args, **call.kw)

    def test_not_at_once_but_in_the_next_turn_in_order_and_once_each(self) -> None:
        self.ask(3, 1, 2)
        self.assertEqual(self.done, [])
        self.turn()
        self.assertEqual(self.done, [3, 1, 2])
        self.turn()
        self.assertEqual((self.done, self.clock.getDelayedCalls()), ([3, 1, 2], []))

    def test_however_much_is_asked_for_it_is_one_call_of_the_reactors(self) -> None:
        self.ask(*range(50))
        self.assertEqual([call.getTime() for call in self.clock.getDelayedCalls()], [0.0])

    def test_one_that_fails_does_not_keep_the_others_from_theirs(self) -> None:
        self.ask(1)
        self.soon(lambda: self.done.append(1 // 0))
        self.ask(2)
        self.turn()
        self.assertEqual(self.done, [1, 2])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.ask(3)
        self.turn()
        self.assertEqual(self.done, [1, 2, 3])

    def test_what_is_asked_for_meanwhile_comes_in_the_turn_after(self) -> None:
        self.soon(lambda: self.ask(2))
        self.ask(1)
        self.turn()
        self.assertEqual(self.done, [1])
        self.turn()
        self.assertEqual(self.done, [1, 2])

    def test_what_takes_long_is_parted_so_that_a_beat_can_come_between(self) -> None:
        for number in range(4):
            self.soon(partial(self.take, number, TURN_SECONDS * 0.6))
        self.turn()
        self.assertEqual(self.done, [0, 1])
        self.ask(4)
        self.turn()
        self.assertEqual(self.done, [0, 1, 2, 3])
        self.turn()
        self.assertEqual((self.done, self.clock.getDelayedCalls()), ([0, 1, 2, 3, 4], []))

    def take(self, number: int, seconds: float) -> None:
        self.done.append(number)
        self.clock.rightNow += seconds
