"""Streams of tracks that an earlier daemon began, and how clients are let go of before a restart."""

from __future__ import annotations

from audiosvc.wire.messages import Attached, Credit, Greeting, Held, Paused, Recovered, Resumed, Stopped, Subscribe
from tests.delivery.helpers import HubTestCase, StreamTestCase
from tests.fakes import FakeFeed


class TakenUpTests(StreamTestCase):
    def taken_up(self, sent: int = 100, reach: int = 50) -> FakeFeed:
        """t1 stands behind packet number `sent` at 10 s; its client can have the last `reach` of them again."""
        self.feed = FakeFeed("a", "t1")
        self.feed.sent, self.feed.position, self.feed.reach = sent, 10.0, reach
        self.stream.open(self.feed)
        return self.feed

    def test_a_client_is_told_where_it_goes_on_before_there_is_a_packet(self) -> None:
        self.taken_up()
        client = self.attach(held=Held(100, "t1"), most=9)
        self.assertEqual(self.heard(client), ["attached"])
        self.assertEqual(self.attached(client), Attached("a", "t1", "streaming", 10.0, 100))
        self.feed.fill(2, first=101)
        self.pull(9)
        self.assertEqual(self.heard(client), ["attached", "t1:101", "t1:102"])
        # From here on it is a track like any other.
        self.lost(client)
        again = self.attach(held=Held(101, "t1"), most=9)
        self.assertEqual(self.heard(again), ["attached", "t1:102"])
        self.assertEqual(self.attached(again).packets, 101)

    def test_a_client_that_says_nothing_hears_what_was_not_sent(self) -> None:
        self.taken_up()
        self.assertEqual(self.attached(self.attach()), Attached("a", "t1", "streaming", 10.0, 100))

    def test_what_was_sent_and_not_received_is_made_anew(self) -> None:
        for held in (Held(75, "t1"), 75):
            self.setUp()
            self.taken_up()
            client = self.attach(held=held)
            self.assertEqual(self.attached(client), Attached("a", "t1", "streaming", 9.5, 75))
            self.feed.fill(1, first=76)
            self.pull(1)
            self.lost(client)
            self.assertEqual(self.attached(self.attach(held=76)).packets, 76)

    def test_what_is_out_of_reach_or_of_another_track_changes_nothing(self) -> None:
        for held in (Held(49, "t1"), Held(101, "t1"), Held(75, "t0"), 0):
            self.setUp()
            self.taken_up()
            self.assertEqual(self.attached(self.attach(held=held)).packets, 100)

    def test_once_something_was_sent_or_said_it_is_not_made_anew(self) -> None:
        self.taken_up()
        self.say(Paused, position=10.0)
        self.say(Resumed, position=10.0)
        client = self.attach(held=75)
        self.assertEqual(self.attached(client).packets, 100)
        self.assertEqual(self.heard(client), ["attached", "paused", "resumed"])

    def test_one_that_is_stopped_before_its_client_is_back_is_told_of(self) -> None:
        self.taken_up()
        self.end(Stopped, reason="stop")
        client = self.attach(held=Held(100, "t1"))
        self.assertEqual(self.heard(client), ["attached", "stopped"])

    def test_one_of_which_nothing_was_sent_begins_with_its_ready(self) -> None:
        self.taken_up(sent=0, reach=0)
        client = self.attach(held=0)
        self.assertEqual(self.heard(client), [])
        self.ready()
        self.feed.fill(1)
        self.pull(1)
        self.assertEqual(self.heard(client), ["ready", "t1:1"])


class LettingGoTests(HubTestCase):
    def test_nothing_that_comes_after_is_sent_to_anybody(self) -> None:
        paced, other = self.connect(Subscribe("a")), self.connect()
        credited = self.connect(Subscribe("b"), Credit("b", 500))
        a, b, c = self.open("a", 5), self.open("b", 5, "t2"), self.open("c", 5, "t3")
        heard = [len(client.received) for client in (paced, other, credited)]
        self.hub.stop()
        self.hub.let_go()
        for feed in (a, b, c):
            self.fill(feed, 5, 6)
            self.hub.announce(Stopped(feed.session_id, feed.track_id, "shutdown", 1.0))
            self.hub.close(feed)
        for client in (paced, other, credited):
            self.hub.take(client, Credit("b", 100))
            self.hub.take(client, Subscribe("a"))
            self.hub.leave(client)
        self.tick(5)
        self.assertEqual([len(client.received) for client in (paced, other, credited)], heard)
        self.assertTrue(self.hub.held("a"))
        self.hub.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_packets_that_wait_to_be_sent_again_are_counted(self) -> None:
        client = self.connect(Credit("a", 500))
        self.open("a", 5)
        self.assertEqual(self.hub.unsent("a"), 0)
        self.hub.leave(client)
        self.connect(Greeting(resume={"a": 2}), Credit("a", 0))
        self.hub.announce(Recovered("a", "t1", 0.1))
        self.assertEqual(self.hub.unsent("a"), 3)
