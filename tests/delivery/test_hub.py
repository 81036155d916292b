"""Who hears which session, what credit and the beat send, and how long things wait for somebody."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_SECONDS
from audiosvc.delivery.hub import LINGER_MOST, NAMES_MOST, Hub
from audiosvc.flow.pacer import CATCH_UP
from audiosvc.wire.messages import (
    CREDIT_MOST,
    Credit,
    Finished,
    Greeting,
    Held,
    Line,
    Paused,
    Ready,
    Refused,
    Resumed,
    Seeked,
    Stopped,
    Subscribe,
    Unsubscribe,
)
from tests.fakes import FakeConnection, FakeFeed

TIMEOUT = 60.0


class HubTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.hub = Hub(self.clock, TIMEOUT)
        self.order = 0

    def connect(self, *lines: Line) -> FakeConnection:
        self.order += 1
        connection = FakeConnection(self.order)
        for line in lines:
            self.assertIsNone(self.hub.take(connection, line))
        self.hub.join(connection)
        return connection

    def open(self, session_id: str = "a", packets: int = 0, track_id: str = "t1") -> FakeFeed:
        """A track that has begun to give packets."""
        feed = FakeFeed(session_id, track_id)
        self.hub.open(feed)
        self.hub.announce(Ready(session_id, track_id, "u", "opus", 0.0))
        self.fill(feed, packets, 1)
        return feed

    def fill(self, feed: FakeFeed, packets: int, first: int) -> None:
        feed.fill(packets, first)
        self.hub.flow(feed)

    def finish(self, feed: FakeFeed) -> None:
        self.hub.announce(Finished(feed.session_id, feed.track_id, 1.0))
        self.hub.close(feed)

    def credit(self, connection: FakeConnection, packets: int, session_id: str = "a") -> None:
        self.assertIsNone(self.hub.take(connection, Credit(session_id, packets)))

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.advance(FRAME_SECONDS)

    def refusal(self, connection: FakeConnection, line: Line) -> str:
        refused = self.hub.take(connection, line)
        assert isinstance(refused, Refused)
        return refused.code


class OwnershipTests(HubTestCase):
    def test_each_hears_what_it_names(self) -> None:
        one, two = self.connect(Subscribe("a")), self.connect(Subscribe("b"))
        self.open("a", 1)
        self.open("b", 1)
        self.open("c", 1)
        self.assertEqual((one.events(), two.events()), (["ready"], ["ready"]))
        self.assertEqual((len(one.packets("a")), len(two.packets("b"))), (1, 1))
        self.assertTrue(self.hub.held("c"))

    def test_the_last_subscriber_takes_a_session_over(self) -> None:
        one = self.connect(Subscribe("a"))
        self.open(packets=3)
        two = self.connect(Subscribe("a"))
        self.tick(2)
        self.assertEqual(one.events(), ["ready", "detached"])
        self.assertEqual(two.events(), ["attached"])
        self.assertEqual(one.packets() + two.packets(), [b"t1:1", b"t1:2", b"t1:3"])

    def test_naming_what_one_has_changes_nothing(self) -> None:
        one = self.connect(Subscribe("a"))
        self.open(packets=1)
        self.hub.take(one, Subscribe("a"))
        self.assertEqual(one.events(), ["ready"])

    def test_the_newest_that_hears_all_takes_everything_not_named(self) -> None:
        one = self.connect()
        self.open("a")
        self.open("b")
        two = self.connect(Subscribe("a"))
        three = self.connect()
        self.assertEqual((two.events("a"), three.events("a")), (["attached"], []))
        self.assertEqual((one.events("b"), three.events("b")), (["ready", "detached"], ["attached"]))

    def test_who_begins_to_name_lets_go_of_the_rest(self) -> None:
        one, two = self.connect(), self.connect()
        self.open("a")
        self.open("b")
        self.hub.take(two, Subscribe("a"))
        self.assertEqual(two.events(), ["ready", "ready", "detached"])
        self.assertEqual(one.events(), ["attached"])
        self.assertEqual(one.events("b"), ["attached"])

    def test_what_is_named_no_more_goes_to_the_next_in_line(self) -> None:
        one, two = self.connect(), self.connect(Subscribe("a"))
        self.open()
        self.hub.take(two, Unsubscribe("a"))
        self.assertEqual((one.events(), two.events()), (["attached"], ["ready", "detached"]))
        self.hub.take(one, Unsubscribe("a"))
        self.assertEqual(one.events(), ["attached", "detached"])
        self.assertTrue(self.hub.held("a"))

    def test_a_lost_connections_sessions_go_to_the_next_in_line(self) -> None:
        one, two = self.connect(), self.connect()
        self.open(packets=4)
        self.hub.leave(two)
        self.tick(3)
        self.assertEqual(two.packets() + one.packets(), [b"t1:1", b"t1:2", b"t1:3", b"t1:4"])
        self.assertEqual(two.events(), ["ready"])

    def test_one_that_was_never_served_can_leave(self) -> None:
        self.connect()
        self.hub.leave(FakeConnection(9))
        self.assertEqual(self.hub.vitals().connections, 1)

    def test_what_is_said_before_being_served_takes_nothing_yet(self) -> None:
        one, two = self.connect(Subscribe("a")), FakeConnection(7)
        self.hub.take(two, Subscribe("a"))
        self.open()
        self.assertEqual((one.events(), two.events()), (["ready"], []))
        self.hub.join(two)
        self.assertEqual(two.events(), ["attached"])

    def test_a_hello_is_late_once_served(self) -> None:
        one = self.connect(Greeting("x"))
        self.assertEqual(self.refusal(one, Greeting("x")), "late_hello")

    def test_names_are_bounded_and_can_be_given_back(self) -> None:
        one = self.connect(*(Subscribe(f"s{i}") for i in range(NAMES_MOST)))
        self.assertEqual(self.refusal(one, Subscribe("a")), "too_many_names")
        self.assertIsNone(self.hub.take(one, Subscribe("s5")))
        self.assertIsNone(self.hub.take(one, Unsubscribe("s5")))
        self.assertIsNone(self.hub.take(one, Subscribe("a")))

    def test_names_in_credit_are_bounded_too(self) -> None:
        one = self.connect(*(Credit(f"s{i}", 1) for i in range(NAMES_MOST)))
        self.assertEqual(self.refusal(one, Credit("a", 1)), "too_many_names")
        self.credit(one, 1, "s5")

    def test_a_connection_that_comes_back_gets_its_tail(self) -> None:
        one = self.connect(Credit("a", 5))
        feed = self.open(packets=5)
        self.hub.leave(one)
        self.finish(feed)
        two = self.connect(Greeting("x", {"a": Held(3, "t1")}), Credit("a", 5))
        self.assertEqual(two.packets(), [b"t1:4", b"t1:5"])
        self.assertEqual(two.events(), ["attached", "finished"])
        self.assertEqual(self.hub.vitals().resent, 2)

    def test_what_a_socket_that_never_drains_is_told_does_not_grow(self) -> None:
        full, other = self.connect(Subscribe("a")), self.connect(Subscribe("b"))
        self.open()
        full.paused = True
        for _ in range(100):
            self.hub.take(other, Subscribe("a"))
            self.hub.take(full, Subscribe("a"))
        self.assertEqual(full.events(), ["ready", "detached"])
        full.paused = False
        self.hub.resume(full)
        self.assertEqual(full.events(), ["ready", "detached", "attached"])


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

    def test_events_need_none_but_wait_for_the_packets_before_them(self) -> None:
        one = self.connect(Credit("a", 5))
        feed = self.open(packets=5)
        self.hub.leave(one)
        self.hub.announce(Paused("a", "t1", feed.position))
        two = self.connect(Greeting("x", {"a": 3}), Credit("a", 0))
        self.assertEqual(two.received[1:], [])
        self.credit(two, 2)
        self.assertEqual(two.events(), ["attached", "paused"])
        self.hub.announce(Resumed("a", "t1", feed.position))
        self.assertEqual(two.events(), ["attached", "paused", "resumed"])

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


class TimeoutTests(HubTestCase):
    def test_a_session_that_nobody_takes_is_given_up(self) -> None:
        feed = self.open()
        self.clock.advance(TIMEOUT - 1)
        self.assertFalse(feed.was_abandoned)
        self.clock.advance(1)
        self.assertTrue(feed.was_abandoned)

    def test_the_time_runs_from_when_the_last_listener_left(self) -> None:
        feed, one = self.open(), self.connect()
        self.clock.advance(TIMEOUT * 3)
        self.hub.leave(one)
        self.clock.advance(TIMEOUT - 1)
        self.assertFalse(feed.was_abandoned)
        self.clock.advance(1)
        self.assertTrue(feed.was_abandoned)

    def test_somebody_who_comes_in_time_keeps_it(self) -> None:
        feed = self.open()
        self.clock.advance(TIMEOUT - 1)
        self.connect(Subscribe("b"))
        one = self.connect()
        self.clock.advance(TIMEOUT * 2)
        self.assertFalse(feed.was_abandoned)
        self.hub.leave(one)
        self.clock.advance(TIMEOUT)
        self.assertTrue(feed.was_abandoned)

    def test_a_track_that_replaces_another_has_its_own_time(self) -> None:
        old = self.open()
        self.clock.advance(TIMEOUT - 1)
        self.finish(old)
        new = self.open(track_id="t2")
        self.clock.advance(TIMEOUT - 1)
        self.assertFalse(old.was_abandoned or new.was_abandoned)
        self.clock.advance(1)
        self.assertEqual((old.was_abandoned, new.was_abandoned), (False, True))

    def test_a_track_that_is_over_is_kept_for_the_same_time(self) -> None:
        feed = self.open(packets=1)
        self.finish(feed)
        self.clock.advance(TIMEOUT - 1)
        self.assertEqual(self.connect().events(), ["ready", "finished"])
        self.clock.advance(1)
        again = self.connect(Greeting("x", {"a": Held(0, "t1")}))
        self.assertEqual((again.received, self.hub.vitals().events_dropped), ([], 0))

    def test_what_nobody_came_for_is_counted(self) -> None:
        self.finish(self.open())
        self.clock.advance(TIMEOUT)
        self.assertEqual(self.hub.vitals().events_dropped, 2)
        self.assertEqual(self.connect().received, [])

    def test_a_listener_that_is_only_slow_still_gets_the_end(self) -> None:
        one = self.connect()
        feed = self.open()
        one.paused = True
        self.finish(feed)
        self.clock.advance(TIMEOUT * 1.5)
        one.paused = False
        self.hub.resume(one)
        self.assertEqual(one.events(), ["ready", "finished"])
        self.clock.advance(TIMEOUT)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_so_many_are_kept_and_no_more(self) -> None:
        for i in range(LINGER_MOST + 2):
            self.finish(self.open(f"s{i}"))
        self.assertEqual(self.hub.vitals().events_dropped, 4)
        one = self.connect()
        self.assertEqual((one.events("s1"), one.events("s2")), ([], ["ready", "finished"]))
        self.hub.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_leaves_nothing_to_come(self) -> None:
        self.finish(self.open("a"))
        self.open("b")
        self.connect(Subscribe("c"))
        self.open("c", 5)
        self.assertEqual(len(self.clock.getDelayedCalls()), 3)
        self.hub.stop()
        self.hub.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


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
