"""One session's packets and events in one order: what waits, and what an owner that comes or goes is told."""

from __future__ import annotations

from collections.abc import Callable

from audiosvc.delivery import stream
from audiosvc.delivery.stream import RING_ENTRIES, WAITING_MOST
from audiosvc.wire.messages import Attached, Detached, Error, Metadata, Paused, Resumed, Seeked, Stopped
from tests.delivery.helpers import StreamTestCase
from tests.fakes import FakeConnection


class OrderTests(StreamTestCase):
    def test_packets_and_events_come_in_the_order_they_were_made(self) -> None:
        owner = self.attach()
        feed = self.open(packets=3)
        self.ready()
        self.assertEqual(self.pull(2), 2)
        self.say(Paused, position=0.04)
        self.say(Resumed, position=0.04)
        self.assertEqual(self.pull(9), 1)
        self.assertEqual(feed.queue, [])
        self.assertEqual(self.heard(owner), ["ready", "t1:1", "t1:2", "paused", "resumed", "t1:3"])

    def test_what_has_no_owner_waits_in_its_place(self) -> None:
        self.open(packets=2)
        self.ready()
        self.say(Paused, position=0.0)
        owner = self.attach()
        self.assertEqual(self.heard(owner), ["ready", "paused"])

    def test_what_the_owner_cannot_take_waits(self) -> None:
        owner = self.attach()
        self.open(packets=2)
        self.ready()
        self.pull(1)
        owner.paused = True
        self.say(Paused, position=0.02)
        self.assertEqual(self.heard(owner), ["ready", "t1:1"])
        self.assertTrue(self.stream.waits)
        owner.paused = False
        self.pull(0)
        self.assertEqual(self.heard(owner), ["ready", "t1:1", "paused"])
        self.assertFalse(self.stream.waits)

    def test_the_terminal_event_comes_right_behind_the_last_packet_without_credit_left(self) -> None:
        owner = self.attach()
        feed = self.open(packets=2)
        self.ready()
        feed.when_empty = self.end
        self.assertEqual(self.pull(2), 2)
        self.assertEqual(self.heard(owner), ["ready", "t1:1", "t1:2", "finished"])

    def test_packets_found_while_pouring_come_behind_those_poured(self) -> None:
        feed = self.open(packets=2)
        owner = self.attach()
        pour, self.again = feed.pour, 1

        def pour_and_find_more(most: int, into: Callable[[bytes], None]) -> int:
            poured = pour(most, into)
            if self.again:
                self.again = 0
                self.assertTrue(self.stream.pulling)
                feed.fill(2, first=3)
            return poured

        feed.pour = pour_and_find_more  # type: ignore[method-assign]
        self.assertEqual(self.pull(3), 3)
        self.assertFalse(self.stream.pulling)
        self.assertEqual(owner.packets(), [b"t1:1", b"t1:2", b"t1:3"])

    def test_an_error_of_the_feed_does_not_leave_the_stream_pulling(self) -> None:
        feed = self.open()
        self.attach()
        feed.pour = lambda most, into: 1 // 0  # type: ignore[method-assign]
        self.assertRaises(ZeroDivisionError, self.stream.pull, 1)
        self.assertFalse(self.stream.pulling)

    def test_what_is_sent_is_counted(self) -> None:
        self.open(packets=2)
        self.attach(most=2)
        self.assertEqual((self.tally.packets, self.tally.bytes, self.tally.resent), (2, 8, 0))

    def test_a_listener_is_due_what_flows_and_what_waits(self) -> None:
        self.assertFalse(self.stream.due)
        feed = self.open()
        self.assertTrue(self.stream.due)
        feed.flowing = False
        self.assertFalse(self.stream.due)
        self.ready()
        self.assertTrue(self.stream.due)

    def test_a_seek_forgets_what_was_owed(self) -> None:
        self.open()
        self.stream.owed, self.stream.fresh = 7, False
        self.say(Seeked, position=9.0, previous=0.0)
        self.assertEqual((self.stream.owed, self.stream.fresh), (0, True))


class WaitingTests(StreamTestCase):
    def test_past_the_bound_the_oldest_events_go_and_are_counted(self) -> None:
        self.open()
        for i in range(WAITING_MOST + 3):
            self.say(Metadata, title=str(i))
        owner = self.attach()
        titles = [m.title for m in owner.received if isinstance(m, Metadata)]
        self.assertEqual(titles, [str(i) for i in range(3, WAITING_MOST + 3)])
        self.assertEqual(self.tally.events_dropped, 3)

    def test_packets_that_wait_are_never_dropped_for_events(self) -> None:
        self.open(packets=50)
        self.ready()
        first = self.attach(most=50)
        self.lost(first)
        second = self.attach(held=0, paused=True)
        for i in range(WAITING_MOST + 1):
            self.say(Metadata, title=str(i))
        second.paused = False
        self.pull(50)
        self.assertEqual(second.packets(), first.packets())
        self.assertEqual(self.tally.events_dropped, 2)

    def test_events_that_still_wait_when_all_is_forgotten_are_counted(self) -> None:
        self.open(packets=5)
        self.ready()
        self.lost(self.attach(most=5))
        self.attach(held=2, paused=True)
        self.say(Paused, position=0.1)
        self.end()
        self.stream.drop()
        self.assertEqual(self.tally.events_dropped, 2)
        self.assertFalse(self.stream.waits)


class AttachedTests(StreamTestCase):
    def test_a_track_that_begins_is_told_by_ready_alone(self) -> None:
        self.open(packets=1)
        early = self.attach()
        self.assertEqual(self.heard(early), [])
        self.ready()
        self.pull(1)
        self.assertEqual(self.heard(early), ["ready", "t1:1"])

    def test_a_track_whose_ready_waits_is_told_by_it(self) -> None:
        self.open(packets=1)
        self.ready()
        self.assertEqual(self.heard(self.attach(most=1)), ["ready", "t1:1"])

    def test_a_track_that_failed_before_its_ready_is_told_by_its_end(self) -> None:
        self.open()
        self.end(Error, code="not_audio", message="no")
        self.assertEqual(self.heard(self.attach()), ["error"])

    def test_between_tracks_nothing_is_told(self) -> None:
        owner = self.attach()
        self.open(packets=1)
        self.ready()
        self.pull(1)
        self.end()
        self.lost(owner)
        self.assertEqual(self.heard(self.attach()), [])
        self.open("t2")
        self.assertEqual(self.heard(self.attach()), [])

    def test_in_the_middle_of_a_track_it_says_where(self) -> None:
        self.open(packets=3)
        self.ready()
        self.lost(self.attach(most=2))
        self.feed.flowing, self.feed.status = False, "paused"
        new = self.attach(most=9)
        self.assertEqual(new.received, [Attached("a", "t1", "paused", 0.04, 2)])

    def test_status_and_position_are_those_before_what_waits(self) -> None:
        self.open(packets=3)
        self.ready()
        owner = self.attach(most=2)
        self.lost(owner)
        self.feed.status = "paused"
        self.say(Paused, position=0.04)
        self.feed.position = 60.0
        self.say(Seeked, position=60.0, previous=0.04)
        new = self.attach()
        self.assertEqual(new.received[0], Attached("a", "t1", "streaming", 0.04, 2))
        self.feed.status = "streaming"
        self.lost(new)
        self.say(Resumed, position=60.0)
        self.assertEqual(self.attached(self.attach()), Attached("a", "t1", "paused", 60.0, 2))

    def test_before_a_seek_that_waits_the_old_position_holds(self) -> None:
        self.open(packets=2)
        self.ready()
        self.lost(self.attach(most=2))
        self.feed.position = 60.0
        self.say(Seeked, position=60.0, previous=0.04)
        self.assertEqual(self.attached(self.attach()).position, 0.04)

    def test_of_a_track_that_was_replaced_meanwhile_it_says_where_that_stood(self) -> None:
        self.open(packets=3)
        self.ready()
        self.lost(self.attach(most=3))
        self.end(Stopped, reason="replaced")
        self.open("t2", packets=1)
        self.feed.position = 30.0
        self.ready()
        new = self.attach(most=1)
        self.assertEqual(self.attached(new), Attached("a", "t1", "streaming", 0.06, 3))
        self.assertEqual(self.heard(new), ["attached", "stopped", "ready", "t2:1"])

    def test_pages_that_hold_no_sound_do_not_put_it_before_the_beginning(self) -> None:
        self.open(packets=3)
        self.ready()
        self.lost(self.attach(most=3))
        self.feed.position = 0.02
        self.assertEqual(self.attached(self.attach(held=1)).position, 0.0)

    def test_the_packet_after_a_lost_ready_is_the_middle_of_a_track(self) -> None:
        self.patch(stream, "RING_BYTES", 0)
        self.open(packets=RING_ENTRIES)
        self.ready()
        self.lost(self.attach(most=RING_ENTRIES))
        again = self.attach(held=0, most=1)
        self.assertEqual(self.heard(again), ["attached", "t1:1"])
        self.assertEqual(self.attached(again).packets, 0)

    def test_a_full_socket_is_told_when_it_takes_bytes_again(self) -> None:
        self.open(packets=3)
        self.ready()
        self.lost(self.attach(most=2))
        full = self.attach(paused=True)
        self.assertEqual(self.heard(full), [])
        full.paused = False
        self.pull(9)
        self.assertEqual(self.heard(full), ["attached", "t1:3"])


class DetachedTests(StreamTestCase):
    def detach(self, owner: FakeConnection) -> list[Detached]:
        self.stream.detach()
        owner.flush()
        self.assertIsNone(self.stream.owner)
        return [m for m in owner.received if isinstance(m, Detached)]

    def test_the_loser_is_told(self) -> None:
        self.open()
        self.assertEqual(self.detach(self.attach()), [Detached("a", "t1")])

    def test_not_where_nothing_plays(self) -> None:
        owner = self.attach()
        self.assertEqual(self.detach(owner), [])
        self.open(packets=1)
        self.ready()
        owner = self.attach(most=1)
        self.end()
        self.assertEqual(self.detach(owner), [])

    def test_not_where_it_was_never_told_that_it_has_the_session(self) -> None:
        self.open()
        self.ready()
        self.assertEqual(self.detach(self.attach(paused=True)), [])

    def test_it_names_the_track_that_was_heard(self) -> None:
        self.open(packets=2)
        self.ready()
        owner = self.attach(most=1)
        owner.paused = True
        self.end(Stopped, reason="replaced")
        self.open("t2")
        self.assertEqual(self.detach(owner), [Detached("a", "t1")])

    def test_a_track_that_is_over_and_not_yet_heard_to_its_end_is_lost_too(self) -> None:
        self.open(packets=2)
        self.ready()
        owner = self.attach(most=1)
        owner.paused = True
        self.end(Stopped, reason="stop")
        self.assertEqual(self.detach(owner), [Detached("a", "t1")])

    def test_without_an_owner_nobody_is_told(self) -> None:
        self.open()
        self.stream.detach()
        self.assertIsNone(self.stream.owner)
