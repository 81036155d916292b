"""What delivery says of one session's packets: which were late, which missed, and how long none came."""

from __future__ import annotations

from audiosvc.audio import FRAME_SECONDS
from audiosvc.flow.pacer import CATCH_UP
from audiosvc.session.stats import DeliveryStats
from audiosvc.wire.messages import Credit, Paused, Seeked, Subscribe
from tests.delivery.helpers import HubTestCase
from tests.fakes import FakeFeed

MS = 1000 * FRAME_SECONDS


class StatsTestCase(HubTestCase):
    def stats(self, session_id: str = "a") -> DeliveryStats:
        return self.hub.stats(session_id)

    def stall(self, seconds: float) -> None:
        """The reactor is busy for so long, and then does what has come due."""
        self.clock.rightNow += seconds
        self.clock.advance(0)

    @property
    def gap(self) -> float:
        return self.stats().largest_gap_ms


class PacedTests(StatsTestCase):
    def test_on_time_nothing_is_late_and_the_gap_is_a_frame(self) -> None:
        self.connect()
        self.open(packets=100)
        self.tick(20)
        stats = self.stats()
        self.assertEqual((stats.late_packets, stats.deficit_packets, stats.credit_packets), (0, 0, None))
        self.assertAlmostEqual(stats.largest_gap_ms, MS)
        self.assertEqual((stats.held, stats.waiting_packets, stats.unsent_bytes), (False, 0, 0))

    def test_all_that_a_stall_kept_back_but_the_newest_are_late(self) -> None:
        one = self.connect()
        self.open(packets=100)
        self.tick(2)
        self.stall(5 * FRAME_SECONDS)
        self.assertEqual(len(one.packets()), 8)
        stats = self.stats()
        self.assertEqual((stats.late_packets, stats.deficit_packets), (4, 0))
        self.assertAlmostEqual(stats.largest_gap_ms, 5 * MS)
        self.assertEqual(self.hub.vitals().late, 4)
        self.assertAlmostEqual(self.hub.vitals().largest_gap_ms, 5 * MS)

    def test_what_was_owed_and_then_came_is_late(self) -> None:
        self.connect()
        feed = self.open(packets=2)
        self.tick(4)
        self.assertEqual(self.stats().deficit_packets, 3)
        feed.fill(10, 3)
        self.tick()
        stats = self.stats()
        self.assertEqual((stats.late_packets, stats.deficit_packets, feed.underruns), (3, 0, 3))
        self.assertAlmostEqual(stats.largest_gap_ms, 4 * MS)

    def test_what_is_given_up_remains_a_deficit(self) -> None:
        self.connect()
        feed = self.open(packets=1)
        self.tick(CATCH_UP + 10)
        self.assertEqual(self.stats().deficit_packets, CATCH_UP + 10)
        feed.fill(100, 2)
        self.tick()
        stats = self.stats()
        self.assertEqual((stats.late_packets, stats.deficit_packets), (CATCH_UP - 1, 11))
        self.assertEqual(self.hub.vitals().missed, 11)

    def test_and_so_does_what_the_pacer_skipped(self) -> None:
        one = self.connect()
        self.open(packets=200)
        self.tick(2)
        self.stall((CATCH_UP + 30) * FRAME_SECONDS)
        self.tick(3)
        stats = self.stats()
        self.assertEqual((stats.deficit_packets, self.hub.pacer.vitals().skipped_ticks), (30, 30))
        self.assertEqual(len(one.packets()) + 30, 1 + 2 + CATCH_UP + 30 + 3)

    def test_a_pause_is_no_gap(self) -> None:
        self.connect()
        feed = self.open(packets=100)
        self.tick(2)
        feed.flowing = False
        self.hub.announce(Paused("a", "t1", feed.position))
        self.clock.advance(3)
        feed.flowing = True
        self.hub.flow(feed)
        self.tick(5)
        self.assertAlmostEqual(self.gap, MS)
        self.assertEqual(self.stats().deficit_packets, 0)

    def test_nor_is_a_seek_or_a_client_that_does_not_read(self) -> None:
        one = self.connect()
        feed = self.open(packets=100)
        self.tick(2)
        self.hub.announce(Seeked("a", "t1", 9.0, feed.position))
        self.stall(FRAME_SECONDS / 2)
        self.tick(2)
        one.paused = True
        self.tick(10)
        self.assertTrue(self.stats().held)
        one.paused = False
        self.hub.resume(one)
        self.tick(2)
        self.assertAlmostEqual(self.gap, MS)
        self.assertEqual(self.stats().late_packets, 0)

    def test_nor_is_the_time_without_a_client(self) -> None:
        one = self.connect()
        self.open(packets=100)
        self.tick(2)
        self.hub.leave(one)
        self.tick(10)
        self.assertEqual((self.stats().unsent_bytes, self.stats().held), (None, True))
        self.connect()
        self.tick(2)
        self.assertAlmostEqual(self.gap, MS)

    def test_who_ran_dry_before_he_had_a_packet_waits_from_then_on(self) -> None:
        self.connect()
        feed = self.open()
        self.tick(3)
        feed.fill(5, 1)
        self.tick()
        self.assertAlmostEqual(self.gap, 3 * MS)

    def test_the_next_track_begins_anew(self) -> None:
        self.connect()
        feed = self.open(packets=100)
        self.tick(2)
        self.stall((CATCH_UP + 5) * FRAME_SECONDS)
        self.finish(feed)
        self.assertEqual(self.hub.vitals().largest_gap_ms, 0)
        self.open(packets=9, track_id="t2")
        stats = self.stats()
        self.assertEqual((stats.late_packets, stats.deficit_packets, stats.largest_gap_ms), (0, 0, 0))
        self.assertEqual(self.hub.vitals().late, CATCH_UP - 1)


class CreditTests(StatsTestCase):
    def wait(self, feed: FakeFeed, seconds: float, packets: int = 1) -> None:
        """So long nothing comes, then so many packets."""
        self.clock.advance(seconds)
        self.fill(feed, packets, 1)

    def test_who_gives_credit_is_behind_no_clock(self) -> None:
        self.connect(Credit("a", 50))
        feed = self.open(packets=9)
        self.wait(feed, 1.0)
        stats = self.stats()
        self.assertEqual((stats.late_packets, stats.deficit_packets, stats.credit_packets), (0, None, 40))

    def test_the_gap_is_the_time_for_which_credit_waited_for_a_packet(self) -> None:
        one = self.connect(Credit("a", 12))
        feed = self.open(packets=10)
        self.wait(feed, 0.07)
        self.wait(feed, 0.03)
        self.assertAlmostEqual(self.gap, 70)
        self.assertEqual(self.stats().credit_packets, 0)
        # There is no credit: nobody waits.
        self.wait(feed, 5.0, packets=20)
        self.credit(one, 2)
        self.assertAlmostEqual(self.gap, 70)

    def test_credit_that_finds_nothing_waits_from_then_on(self) -> None:
        one = self.connect(Credit("a", 1))
        feed = self.open(packets=1)
        self.clock.advance(9)
        self.credit(one, 5)
        self.clock.advance(0.04)
        self.credit(one, 5)
        self.wait(feed, 0.05)
        self.assertAlmostEqual(self.gap, 90)

    def test_it_does_not_wait_before_there_is_sound_nor_while_paused(self) -> None:
        one = self.connect(Credit("a", 50))
        feed = self.open()
        feed.flowing = False
        self.clock.advance(2)
        self.credit(one, 1)
        feed.flowing = True
        self.fill(feed, 2, 1)
        self.hub.announce(Paused("a", "t1", feed.position))
        self.wait(feed, 3.0)
        self.assertEqual(self.gap, 0)
        one.paused = True
        self.clock.advance(3.0)
        one.paused = False
        feed.fill(2, 1)
        self.hub.resume(one)
        self.assertEqual(self.gap, 0)


class ManyTests(StatsTestCase):
    def test_what_waits_is_told_of_each(self) -> None:
        one = self.connect(Subscribe("a"))
        one.unsent_bytes = 7
        self.open("a", packets=3)
        one.paused = True
        self.hub.announce(Paused("a", "t1", 0.0))
        self.open("b")
        self.assertEqual(self.hub.waiting(), [1, 1])
        self.assertEqual(self.hub.unsent_bytes(), [7])
        self.assertEqual((self.stats().waiting_packets, self.stats().unsent_bytes), (1, 7))
