"""Listeners to one live source who come late, or run ahead of the others, and what of it is kept for them."""

from __future__ import annotations

from audiosvc.audio import FRAMES_PER_SECOND
from audiosvc.flow.pipeline import HIGH_WATER, LAG_SECONDS, READ_FRAMES
from audiosvc.flow.shared import AHEAD_SECONDS, JOIN_PACKETS, RING_MOST, TRIM_PACKETS
from audiosvc.flow.supply import UNREAD_SECONDS
from tests.flow.broadcasts import BroadcastTestCase, Ear


class LatenessTests(BroadcastTestCase):
    def test_one_who_is_less_than_10_s_late_misses_nothing(self) -> None:
        first, slow = self.join(), self.join()
        self.air(2, first, slow)
        self.air(LAG_SECONDS - 0.5, first)
        self.assertGreaterEqual(slow.listener.ready, 450)
        self.air(20, first, slow)
        self.assertEqual((slow.listener.dropped, len(self.reactor.children)), (0, 1))
        slow.assert_unbroken()

    def test_one_who_is_later_loses_the_oldest_and_it_is_counted_for_him_alone(self) -> None:
        first, slow = self.join(), self.join()
        self.air(2, first, slow)
        heard = len(slow.said)
        self.air(LAG_SECONDS + 5, first)
        self.air(3, first, slow)
        self.assertTrue(740 <= slow.listener.dropped <= 751, slow.listener.dropped)
        self.assertEqual(slow.numbers[heard], (heard + slow.listener.dropped) % 256)
        self.assertLessEqual((first.numbers[-1] - slow.numbers[-1]) % 256, 1)
        first.assert_unbroken()
        self.assertEqual((first.listener.dropped, len(self.reactor.children)), (0, 1))
        self.assertEqual(self.workshop.tally.vitals().dropped, slow.listener.dropped)

    def test_the_ring_holds_what_somebody_may_still_take_and_no_more(self) -> None:
        first = self.join()
        broadcast = first.listener._place.broadcast
        self.air(10, first)
        self.assertLessEqual(len(broadcast.ring), JOIN_PACKETS + TRIM_PACKETS + 1)
        slow = self.join()
        self.air(1, first, slow)
        longest = 0
        for _ in range(120):
            self.air(0.5, first)
            longest = max(longest, len(broadcast.ring))
        self.assertTrue(LAG_SECONDS * FRAMES_PER_SECOND <= longest <= 500 + 2 * TRIM_PACKETS, longest)
        self.assertLessEqual(len(broadcast.ring), JOIN_PACKETS + TRIM_PACKETS + 1)

    def test_where_all_are_paused_nobody_pulls_and_the_child_is_let_go(self) -> None:
        ears = [self.join(), self.join()]
        self.air(4, *ears)
        heard = len(ears[0].said)
        self.air(UNREAD_SECONDS + 5)
        self.reap()
        self.assertEqual(self.spawner.children, 0)
        ears[1].take()
        self.reap()
        self.assertEqual(self.spawner.children, 1)
        self.air(5, *ears)
        behind = [(self.made - 1 - ear.numbers[-1]) % 256 for ear in ears]
        self.assertEqual([late < 5 for late in behind], [True, True], behind)
        self.assertEqual(ears[0].numbers[heard:], ears[1].numbers[heard:])
        self.assertEqual(ears[0].listener.dropped, ears[1].listener.dropped)
        # The queue, and what was read ahead.
        self.assertLess(ears[0].listener.dropped, HIGH_WATER + READ_FRAMES + 1)
        self.assertEqual(len(self.reactor.children), 2)

    def test_one_who_is_a_little_behind_another_loses_as_much_when_both_are_late(self) -> None:
        first, second = self.join(), self.join()
        self.air(4, first, second)
        self.air(1, first)
        self.air(30)
        second.take(70)
        first.take(70)
        self.reap()
        self.air(5, first, second)
        self.assertEqual(second.listener.dropped, first.listener.dropped + 50)
        self.assertEqual(second.numbers[-100:], first.numbers[-100:])

    def test_who_comes_where_all_are_paused_wakes_it(self) -> None:
        first = self.join()
        self.air(4, first)
        self.air(UNREAD_SECONDS + 5)
        self.reap()
        second = self.join()
        self.assertEqual((self.spawner.children, second.flows), (1, 0))
        self.air(4, second)
        second.assert_unbroken()
        self.assertEqual((second.listener.dropped, second.flows > 0), (0, True))
        self.assertGreater(len(second.said), 180)
        heard = len(first.numbers)
        first.take(999)
        self.assertEqual(first.numbers[heard:], second.numbers)


class AheadTests(BroadcastTestCase):
    """A station that gives a burst at the beginning, and a listener who takes all there is."""

    BURST = 6 * FRAMES_PER_SECOND

    def setUp(self) -> None:
        super().setUp()
        self.fast, self.paced = self.join(), self.join()
        self.reactor.advance(0.5)
        for _ in range(self.BURST // 10):
            self.make(10)
            self.fast.take(999)
        self.assertGreater(len(self.fast.said), self.BURST - 3)

    def run_on(self, seconds: float, *ears: Ear) -> None:
        for _ in range(round(seconds * FRAMES_PER_SECOND)):
            self.air(0.02, *ears)
            self.fast.take(999)

    def test_it_is_not_ahead_of_its_source_and_those_in_real_time_are_not_late(self) -> None:
        self.run_on(60, self.paced)
        self.paced.assert_unbroken()
        self.fast.assert_unbroken()
        self.assertLess((self.made - 1 - self.fast.numbers[-1]) % 256, 5)
        self.assertTrue(290 <= len(self.fast.packets) - len(self.paced.packets) <= 300)
        self.assertEqual((self.paced.listener.dropped, len(self.reactor.children)), (0, 1))

    def test_who_comes_later_has_as_much_in_hand_as_one_in_real_time(self) -> None:
        self.run_on(20, self.paced)
        third = self.join()
        self.run_on(2, self.paced, third)
        self.assertLess(abs(third.numbers[-1] - self.paced.numbers[-1]), 10)
        self.assertGreater(third.listener.ready, 280)

    def test_that_the_foremost_leaves_is_not_noticed(self) -> None:
        self.run_on(20, self.paced)
        self.leave(self.fast)
        self.air(60, self.paced)
        self.paced.assert_unbroken()
        self.assertGreater(len(self.paced.packets), 79 * FRAMES_PER_SECOND)
        self.assertEqual((self.paced.listener.dropped, len(self.reactor.children)), (0, 1))

    def test_one_in_real_time_who_pauses_is_late_by_that_and_not_by_the_burst(self) -> None:
        self.run_on(5, self.paced)
        self.run_on(LAG_SECONDS - 1)
        self.run_on(5, self.paced)
        self.assertEqual(self.paced.listener.dropped, 0)
        self.paced.assert_unbroken()

    def test_a_burst_beyond_all_measure_is_not_kept(self) -> None:
        for _ in range(int(AHEAD_SECONDS * 2 * FRAMES_PER_SECOND / 10)):
            self.make(10)
            self.fast.take(999)
        broadcast = self.fast.listener._place.broadcast
        self.assertLessEqual(len(broadcast.ring), RING_MOST + TRIM_PACKETS + 25)
        self.paced.take()
        self.assertGreater(self.paced.listener.dropped, 1000)
        self.fast.assert_unbroken()
