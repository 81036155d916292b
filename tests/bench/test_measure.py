from __future__ import annotations

import math

from twisted.trial.unittest import SynchronousTestCase

from bench.measure import (
    CAPACITY_MOST,
    CAPACITY_START,
    Stat,
    available_of,
    delivery,
    fallen_behind,
    held,
    median,
    next_try,
    percentile,
    pss_of,
    stat_of,
    table,
)
from bench.order import CAPACITY_RUNS

MS = 1_000_000
BEGIN, END = 0, 4_000 * MS


def beat(count: int = 200, first: int = 0) -> list[int]:
    """Times of a session that is never late: a packet each 20 ms."""
    return [first + number * 20 * MS for number in range(count)]


class PercentileTests(SynchronousTestCase):
    def test_it_is_one_of_the_values(self) -> None:
        values = [30.0, 10.0, 20.0, 40.0]
        self.assertEqual(
            [percentile(values, share) for share in (0, 0.25, 0.26, 0.5, 0.99, 1)], [10, 10, 20, 20, 40, 40]
        )

    def test_the_largest_of_a_thousand_is_beyond_p999(self) -> None:
        values = [1.0] * 999 + [9.0]
        self.assertEqual((percentile(values, 0.999), percentile(values, 1)), (1, 9))

    def test_there_is_none_of_nothing(self) -> None:
        self.assertTrue(math.isnan(median([])))


class DeliveryTests(SynchronousTestCase):
    def test_an_even_beat_has_gaps_of_a_frame_and_no_fault(self) -> None:
        came = delivery([beat(), beat(first=7 * MS)], BEGIN, END)
        self.assertEqual((came.packets, came.gap_p50, came.gap_max), (400, 20, 20))
        self.assertEqual((came.late, came.lost, came.extra), (0, 0, 0))

    def test_what_came_before_and_after_the_window_is_not_looked_at(self) -> None:
        came = delivery([[-900 * MS, *beat(), END + 500 * MS]], BEGIN, END)
        self.assertEqual((came.packets, came.late, came.lost), (200, 0, 0))

    def test_packets_held_up_and_made_good_are_late_and_not_lost(self) -> None:
        times = beat()
        times[100:105] = [times[104]] * 5
        came = delivery([times], BEGIN, END)
        self.assertEqual((came.late, came.gap_max, came.lost, came.extra), (1, 100, 0, 0))

    def test_a_gap_of_exactly_sixty_milliseconds_is_not_late(self) -> None:
        times = beat()
        times[100:102] = [times[102]] * 2
        self.assertEqual(delivery([times], BEGIN, END).late, 0)

    def test_packets_that_never_come_are_lost(self) -> None:
        times = beat()
        del times[100:103]
        came = delivery([times], BEGIN, END)
        self.assertEqual((came.late, came.lost, came.extra), (1, 3, 0))

    def test_packets_that_come_twice_are_extra(self) -> None:
        times = beat()
        times[100:100] = [times[100]] * 2
        self.assertEqual(delivery([times], BEGIN, END).extra, 2)

    def test_one_session_s_loss_is_not_made_good_by_another_s_surplus(self) -> None:
        short, long = beat(), beat()
        del short[100]
        long.insert(100, long[100])
        came = delivery([short, long], BEGIN, END)
        self.assertEqual((came.lost, came.extra), (1, 1))

    def test_a_session_that_falls_silent_is_late_and_loses_what_is_left(self) -> None:
        came = delivery([beat(150)], BEGIN, END)
        self.assertEqual((came.late, came.lost, came.gap_max), (1, 51, 1020))

    def test_a_session_that_is_never_heard_loses_everything(self) -> None:
        came = delivery([[]], BEGIN, END)
        self.assertEqual((came.packets, came.late, came.lost), (0, 1, 200))

    def test_the_distribution_ends_where_there_are_too_few_gaps_to_tell(self) -> None:
        times = beat()
        times[100:105] = [times[104]] * 5
        tail = dict(delivery([times], BEGIN, END).tail)
        self.assertEqual((min(tail), tail[1.0], tail[0.5]), (0.01, 0, 20))

    def test_the_longest_gaps_are_its_end(self) -> None:
        times = [beat() for _ in range(10)]
        del times[0][100:103]
        self.assertEqual(delivery(times, BEGIN, END).tail[-1], (0.001, 80))

    def test_jitter_is_no_loss(self) -> None:
        times = [at + number * 7919 % 15 * MS for number, at in enumerate(beat())]
        self.assertEqual(fallen_behind(times, BEGIN, END), 0)


class ProcTests(SynchronousTestCase):
    def test_a_process_may_be_called_anything(self) -> None:
        numbers = " ".join(str(number) for number in range(10, 60))
        self.assertEqual(stat_of(f"4242 (a ) S 7 (b) S 17 {numbers}\n"), Stat(pid=4242, parent=17, reaped=21 + 22))

    def test_the_proportional_set_size_is_told_from_its_parts(self) -> None:
        text = "55a0-7ffc ---p 0 00:00 0 [rollup]\nRss:  900 kB\nPss:   123 kB\nPss_Anon:  99 kB\nSwapPss: 0 kB\n"
        self.assertEqual(pss_of(text), 123 * 1024)

    def test_the_memory_that_is_left_is_told(self) -> None:
        text = "MemTotal: 100 kB\nMemAvailable:    77 kB\n"
        self.assertEqual((available_of(text), available_of("")), (77 * 1024, 0))

    def test_a_process_that_is_gone_holds_nothing(self) -> None:
        self.assertEqual(pss_of(""), 0)


class CapacityTests(SynchronousTestCase):
    def search(self, most: int, runs: int = 100) -> dict[int, bool]:
        """What is tried on a machine that holds `most` sessions."""
        tried: dict[int, bool] = {}
        while (sessions := next_try(tried, runs)) is not None:
            self.assertNotIn(sessions, tried)
            tried[sessions] = sessions <= most
        return tried

    def test_it_is_found_to_within_five_percent_and_never_overstated(self) -> None:
        for most in range(1, CAPACITY_MOST):
            found = held(self.search(most))
            self.assertLessEqual(found, most)
            self.assertLessEqual(most - found, max(1, most // 20), most)

    def test_it_is_found_in_few_tries(self) -> None:
        self.assertLessEqual(max(len(self.search(most)) for most in range(1, CAPACITY_MOST)), CAPACITY_RUNS)

    def test_the_number_of_tries_is_bounded(self) -> None:
        self.assertEqual(list(self.search(100, runs=3)), [CAPACITY_START, 2 * CAPACITY_START, 4 * CAPACITY_START])

    def test_a_machine_that_holds_all_is_not_asked_for_more(self) -> None:
        tried = self.search(10**6)
        self.assertEqual((max(tried), held(tried)), (CAPACITY_MOST, CAPACITY_MOST))

    def test_what_memory_allows_is_not_exceeded(self) -> None:
        self.assertEqual(next_try({40: True, 80: True}, 12, 100), 100)
        self.assertIsNone(next_try({40: True, 80: True, 100: True}, 12, 100))
        self.assertIsNone(next_try({40: True}, 12, 30))

    def test_a_success_above_a_failure_is_taken_for_luck(self) -> None:
        self.assertEqual(held({40: True, 60: False, 80: True}), 40)

    def test_a_machine_that_holds_none_holds_none(self) -> None:
        self.assertEqual(held(self.search(0)), 0)


class TableTests(SynchronousTestCase):
    def test_columns_are_as_wide_as_their_widest_cell(self) -> None:
        self.assertEqual(table([("n", "ratio"), ("40", "1.2")]), " n  ratio\n40    1.2")
