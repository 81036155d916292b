"""What goes to whom and when: as credit allows, or on the beat."""

from __future__ import annotations

from collections.abc import Callable

from audiosvc.audio import FRAME_SECONDS
from audiosvc.flow.pacer import CATCH_UP
from audiosvc.wire.messages import (
    CREDIT_MOST,
    Credit,
    Greeting,
    Paused,
    Resumed,
    Seeked,
    Stopped,
    Subscribe,
    Unsubscribe,
)
from tests.delivery.helpers import HubTestCase


class CreditTests(HubTestCase):
    def test_no_credit_line_means_real_time(self) -> None:
        one = self.connect()
        self.open(packets=9)
        self.tick(2)
        self.assertEqual(len(one.packets()), 3)
        self.assertFalse(self.hub.held("a"))

    def test_the_first_credit_line_replaces_real_time(self) -> None:
        one = self.connect()
        self.open(packets=9)
        self.credit(one, 0)
        self.tick(5)
        self.assertEqual(len(one.packets()), 1)
        self.assertTrue(self.hub.held("a"))
        self.credit(one, 4)
        self.assertEqual(len(one.packets()), 5)
        self.assertTrue(self.hub.held("a"))

    def test_only_of_that_session_on_that_connection(self) -> None:
        one = self.connect(Credit("a", 0))
        self.open("a", 5)
        self.open("b", 5)
        self.tick(2)
        self.assertEqual((one.packets("a"), len(one.packets("b"))), ([], 3))
        two = self.connect()
        self.tick()
        self.assertEqual((len(two.packets("a")), len(two.packets("b"))), (2, 1))

    def test_packets_go_as_they_come_while_there_is_credit(self) -> None:
        one = self.connect(Credit("a", 3))
        feed = self.open(packets=2)
        self.assertEqual(len(one.packets()), 2)
        self.assertFalse(self.hub.held("a"))
        self.fill(feed, 2, 3)
        self.assertEqual(one.packets(), [b"t1:1", b"t1:2", b"t1:3"])
        self.assertEqual(one.credit, {"a": 0})

    def test_grants_add_up_to_the_bound(self) -> None:
        one = self.connect(Credit("a", 400), Credit("a", 400))
        self.open(packets=CREDIT_MOST + 50)
        self.assertEqual(len(one.packets()), CREDIT_MOST)

    def test_credit_outlives_tracks(self) -> None:
        one = self.connect(Credit("a", 3))
        self.finish(self.open(packets=2))
        self.open(packets=2, track_id="t2")
        self.assertEqual(one.packets(), [b"t1:1", b"t1:2", b"t2:1"])

    def test_credit_ends_with_the_wish_for_the_session(self) -> None:
        one = self.connect(Subscribe("a"), Credit("a", 1))
        self.hub.take(one, Unsubscribe("a"))
        self.hub.take(one, Subscribe("a"))
        self.open(packets=3)
        self.clock.advance(FRAME_SECONDS)
        self.assertEqual(len(one.packets()), 2)

    def test_events_need_none_but_wait_for_the_packets_before_them(self) -> None:
        one = self.connect(Credit("a", 5))
        feed = self.open(packets=5)
        self.hub.leave(one)
        self.hub.announce(Paused("a", "t1", feed.position))
        two = self.connect(Greeting("x", {"a": 3}), Credit("a", 0))
        self.hub.announce(Resumed("a", "t1", feed.position))
        self.assertEqual((two.events(), two.packets()), (["attached"], []))
        self.credit(two, 2)
        self.assertEqual((two.events(), len(two.packets())), (["attached", "paused", "resumed"], 2))
        self.hub.announce(Paused("a", "t1", feed.position))
        self.assertEqual(two.events()[3:], ["paused"])

    def test_the_end_comes_with_the_last_packet(self) -> None:
        one = self.connect(Credit("a", 2))
        feed = self.open()
        feed.when_empty = lambda: self.finish(feed)
        self.fill(feed, 2, 1)
        self.assertEqual(one.events(), ["ready", "finished"])
        self.assertEqual(len(one.packets()), 2)

    def test_what_the_feed_finds_while_it_is_poured_keeps_its_place_and_its_price(self) -> None:
        one = self.connect(Credit("a", 4))
        feed = self.open()
        pour = feed.pour

        def pour_and_flow(most: int, into: Callable[[bytes], None]) -> int:
            if feed.queue and feed.queue[-1] == b"t1:3":
                feed.fill(3, first=4)
                taken, feed.queue = feed.queue[:3], feed.queue[3:]
                self.hub.flow(feed)
                for payload in taken:
                    into(payload)
                return 3
            return pour(most, into)

        feed.pour = pour_and_flow  # type: ignore[method-assign]
        self.fill(feed, 3, 1)
        self.assertEqual(one.packets(), [b"t1:1", b"t1:2", b"t1:3", b"t1:4"])
        self.assertEqual(one.credit, {"a": 0})

    def test_credit_without_a_session_or_the_session_is_kept(self) -> None:
        one, two = self.connect(), self.connect()
        self.open(packets=3)
        self.credit(one, 2)
        self.assertEqual((one.packets(), len(two.packets())), ([], 1))
        self.hub.leave(two)
        self.assertEqual(one.packets(), [b"t1:2", b"t1:3"])


class PacingTests(HubTestCase):
    def test_the_first_packet_goes_at_once_and_one_more_each_tick(self) -> None:
        one = self.connect()
        self.open(packets=9)
        for expected in range(1, 6):
            self.assertEqual(len(one.packets()), expected)
            self.tick()

    def test_a_late_tick_sends_all_that_is_due(self) -> None:
        one = self.connect()
        self.open(packets=99)
        self.clock.advance(FRAME_SECONDS * 5)
        self.assertEqual(len(one.packets()), 6)
        self.assertEqual(len(one.writes), 3)

    def test_all_that_is_due_in_a_tick_goes_in_one_write(self) -> None:
        one = self.connect()
        feeds = [self.open(session_id, 9) for session_id in "abc"]
        feeds[1].queue = feeds[1].queue[:1]
        feeds[1].when_empty = lambda: self.finish(feeds[1])
        before = len(one.writes)
        self.tick()
        self.assertEqual(len(one.writes), before + 1)
        self.assertEqual([len(one.packets(session_id)) for session_id in "abc"], [2, 2, 2])
        self.assertEqual(one.events("b"), ["ready", "finished"])

    def test_what_was_not_there_is_owed_and_counted(self) -> None:
        one = self.connect()
        feed = self.open(packets=1)
        self.tick(4)
        self.assertEqual((feed.underruns, self.hub.vitals().underruns), (4, 4))
        self.fill(feed, 20, 2)
        self.assertEqual(len(one.packets()), 1)
        self.tick()
        self.assertEqual(len(one.packets()), 6)
        self.tick()
        self.assertEqual((len(one.packets()), feed.underruns), (7, 4))

    def test_no_more_is_owed_than_can_be_made_good(self) -> None:
        one = self.connect()
        feed = self.open(packets=1)
        self.tick(CATCH_UP * 3)
        feed.fill(CATCH_UP * 3, first=2)
        self.tick()
        self.assertEqual(len(one.packets()), 1 + CATCH_UP)

    def test_nothing_is_owed_of_a_track_that_is_over(self) -> None:
        one = self.connect()
        feed = self.open(packets=1)
        self.tick(9)
        self.finish(feed)
        self.open(packets=20, track_id="t2")
        self.tick()
        self.assertEqual(len(one.packets()), 3)

    def test_nothing_is_owed_to_who_takes_over(self) -> None:
        self.connect()
        feed = self.open(packets=1)
        self.tick(9)
        two = self.connect()
        self.fill(feed, 20, 2)
        self.tick()
        self.assertEqual(len(two.packets()), 1)

    def test_nothing_is_owed_for_a_pause(self) -> None:
        one = self.connect()
        feed = self.open(packets=9)
        feed.flowing = False
        self.tick(10)
        self.assertEqual((len(one.packets()), feed.underruns), (1, 0))
        feed.flowing = True
        self.hub.flow(feed)
        self.tick()
        self.assertEqual(len(one.packets()), 2)

    def test_nothing_is_owed_for_a_tick_that_only_sent_what_waited(self) -> None:
        one = self.connect()
        feed = self.open(packets=4)
        self.tick(3)
        self.hub.leave(one)
        two = self.connect(Greeting("x", {"a": 2}))
        feed.flowing = False
        self.clock.advance(FRAME_SECONDS * 5)
        self.assertEqual(len(two.packets()), 2)
        feed.flowing = True
        self.fill(feed, 9, 5)
        self.tick()
        self.assertEqual((len(two.packets()), feed.underruns), (3, 0))

    def test_nothing_goes_to_a_full_socket_and_no_burst_when_it_drains(self) -> None:
        one = self.connect()
        feed = self.open(packets=1)
        self.tick(6)
        one.paused = True
        feed.fill(99, first=2)
        self.tick(50)
        self.assertEqual((len(one.packets()), feed.underruns), (1, 6))
        one.paused = False
        self.hub.resume(one)
        self.assertEqual(len(one.packets()), 1)
        self.tick()
        self.assertEqual(len(one.packets()), 2)

    def test_one_full_socket_does_not_hold_up_another(self) -> None:
        full, free = self.connect(Subscribe("a")), self.connect(Subscribe("b"))
        self.open("a", 9)
        self.open("b", 9)
        full.paused = True
        self.tick(3)
        self.assertEqual((len(full.packets()), len(free.packets())), (1, 4))

    def test_after_a_seek_the_new_first_packet_goes_at_once(self) -> None:
        one = self.connect()
        feed = self.open(packets=1)
        self.tick(5)
        self.hub.announce(Seeked("a", "t1", 9.0, 0.02))
        self.fill(feed, 9, 2)
        self.assertEqual(len(one.packets()), 2)
        self.tick()
        self.assertEqual(len(one.packets()), 3)

    def test_what_is_sent_again_is_paced_too(self) -> None:
        one = self.connect()
        self.open(packets=9)
        self.tick(8)
        self.hub.leave(one)
        two = self.connect(Greeting("x", {"a": 2}))
        self.tick(3)
        self.assertEqual(two.packets(), [b"t1:3", b"t1:4", b"t1:5"])

    def test_the_beat_rests_while_nobody_is_owed_anything(self) -> None:
        one = self.connect()
        feed = self.open(packets=3)
        self.tick(2)
        feed.flowing = False
        self.tick(3)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        feed.flowing = True
        self.hub.flow(feed)
        self.tick(2)
        self.assertEqual(len(one.packets()), 3)
        self.hub.announce(Stopped("a", "t1", "stop", 1.0))
        self.assertEqual(one.events(), ["ready", "stopped"])

    def test_credit_alone_needs_no_beat(self) -> None:
        self.connect(Credit("a", 2))
        self.open(packets=9)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class BeatTests(HubTestCase):
    def test_every_tick_is_told_and_so_is_the_rest(self) -> None:
        self.connect()
        feed = self.open(packets=2)
        self.clock.advance(FRAME_SECONDS)
        self.assertEqual(self.beats, [True])
        feed.flowing = False
        self.clock.advance(FRAME_SECONDS)
        self.assertEqual(self.beats, [True, True, False])
        self.clock.advance(10 * FRAME_SECONDS)
        self.assertEqual(len(self.beats), 3)

    def test_what_comes_with_the_rest_starts_the_beat_again(self) -> None:
        self.connect()
        feed = self.open(packets=1)
        feed.flowing = False

        def wake(going: bool) -> None:
            self.beats.append(going)
            if not going and not feed.flowing:
                feed.flowing = True
                feed.fill(5)
                self.hub.flow(feed)

        self.on_beat = wake
        for _ in range(4):
            self.clock.advance(FRAME_SECONDS)
        self.assertEqual(self.beats, [True, False, True, True, True])
