"""One session's packets and events in one order: what waits, what is sent again, and what a new owner is told."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.delivery.stream import RING_ENTRIES, WAITING_MOST, Stream, Tally
from audiosvc.wire.messages import (
    Attached,
    Detached,
    Error,
    Finished,
    Held,
    Metadata,
    Packet,
    Paused,
    Ready,
    Resumed,
    Seeked,
    SessionEvent,
    Stopped,
)
from tests.fakes import FakeConnection, FakeFeed


class StreamTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.tally = Tally()
        self.stream = Stream("a", self.tally)

    def open(self, track_id: str = "t1", packets: int = 0) -> FakeFeed:
        self.feed = FakeFeed("a", track_id)
        self.feed.fill(packets)
        self.stream.open(self.feed)
        return self.feed

    def say(self, event: type[SessionEvent], **fields: object) -> None:
        self.stream.announce(event("a", self.feed.track_id, **fields))

    def ready(self) -> None:
        self.say(Ready, url="u", format="opus", position=self.feed.position)

    def end(self, event: type[SessionEvent] = Finished, **fields: object) -> None:
        self.say(event, played=1.0, **fields)
        self.stream.close()

    def attach(self, held: int | Held | None = None, paused: bool = False, most: int = 0) -> FakeConnection:
        """A new owner, served at once with as many packets as are due."""
        connection = FakeConnection()
        connection.paused = paused
        self.stream.attach(connection, held)
        if not paused:
            self.pull(most)
        return connection

    def pull(self, most: int) -> int:
        pulled = self.stream.pull(most)
        self.flush()
        return pulled

    def flush(self) -> None:
        if isinstance(self.stream.owner, FakeConnection):
            self.stream.owner.flush()

    def heard(self, connection: FakeConnection) -> list[str]:
        """What was received, in short: packets as `t1:4`, events by their names."""
        connection.flush()
        return [m.payload.decode() if isinstance(m, Packet) else type(m).__name__.lower() for m in connection.received]

    def attached(self, connection: FakeConnection) -> Attached:
        connection.flush()
        first = connection.received[0]
        assert isinstance(first, Attached), first
        return first

    def lost(self, connection: FakeConnection) -> None:
        self.stream.owner = None


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


class ResumeTests(StreamTestCase):
    def sent(self, packets: int = 6) -> None:
        """t1: ready, three packets, a pause there, and the rest; the socket is then lost."""
        self.open(packets=packets)
        self.ready()
        owner = self.attach(most=3)
        self.say(Paused, position=0.06)
        self.say(Resumed, position=0.06)
        self.pull(packets - 3)
        self.lost(owner)

    def test_goes_on_behind_the_packet_that_is_held(self) -> None:
        self.sent()
        again = self.attach(held=4, most=9)
        self.assertEqual(self.heard(again), ["attached", "t1:5", "t1:6"])
        self.assertEqual(self.attached(again), Attached("a", "t1", "streaming", 0.08, 4))
        self.assertEqual(self.tally.resent, 2)

    def test_events_are_sent_again_in_their_places(self) -> None:
        self.sent()
        again = self.attach(held=3, most=9)
        self.assertEqual(self.heard(again), ["attached", "paused", "resumed", "t1:4", "t1:5", "t1:6"])
        self.assertEqual(self.attached(again), Attached("a", "t1", "streaming", 0.06, 3))

    def test_who_holds_nothing_hears_it_from_ready_on(self) -> None:
        self.sent()
        again = self.attach(held=0, most=9)
        self.assertEqual(
            self.heard(again), ["ready", "t1:1", "t1:2", "t1:3", "paused", "resumed", "t1:4", "t1:5", "t1:6"]
        )

    def test_who_holds_all_gets_what_is_new(self) -> None:
        self.sent()
        self.feed.fill(1, first=7)
        again = self.attach(held=6, most=9)
        self.assertEqual(self.heard(again), ["attached", "t1:7"])
        self.assertEqual(self.tally.resent, 0)

    def test_a_number_that_was_never_sent_goes_on_with_the_next(self) -> None:
        self.sent()
        again = self.attach(held=7, most=9)
        self.assertEqual(self.attached(again).packets, 6)
        self.assertEqual(self.heard(again), ["attached"])

    def test_a_track_that_was_never_heard_of_goes_on_with_the_next(self) -> None:
        self.sent()
        again = self.attach(held=Held(2, "t0"), most=9)
        self.assertEqual(self.heard(again), ["attached"])

    def test_what_was_given_in_part_can_be_asked_for_again(self) -> None:
        self.sent()
        part = self.attach(held=1, most=2)
        self.assertEqual(self.heard(part), ["attached", "t1:2", "t1:3", "paused", "resumed"])
        self.lost(part)
        again = self.attach(held=2, most=9)
        self.assertEqual(self.heard(again), ["attached", "t1:3", "paused", "resumed", "t1:4", "t1:5", "t1:6"])
        self.assertEqual(self.attached(again).packets, 2)

    def test_who_comes_without_resume_gets_what_an_earlier_one_left(self) -> None:
        self.sent()
        self.lost(self.attach(held=1, most=1))
        again = self.attach(most=1)
        self.assertEqual(self.attached(again), Attached("a", "t1", "streaming", 0.04, 2))
        self.assertEqual(self.heard(again), ["attached", "t1:3", "paused", "resumed"])

    def test_the_tail_of_a_track_that_is_over_can_be_had(self) -> None:
        self.sent()
        self.stream.owner = None
        self.end()
        again = self.attach(held=Held(5, "t1"), most=9)
        self.assertEqual(self.heard(again), ["attached", "t1:6", "finished"])
        self.assertEqual(self.attached(again), Attached("a", "t1", "streaming", 0.1, 5))

    def test_the_tail_of_a_track_that_was_replaced_can_be_had(self) -> None:
        self.sent()
        owner = self.attach()
        self.end(Stopped, reason="replaced")
        self.open("t2", packets=2)
        self.ready()
        self.pull(2)
        self.lost(owner)
        again = self.attach(held=Held(5, "t1"), most=9)
        self.assertEqual(self.heard(again), ["attached", "t1:6", "stopped", "ready", "t2:1", "t2:2"])
        self.assertEqual(self.attached(again), Attached("a", "t1", "streaming", 0.1, 5))

    def test_a_bare_count_is_of_the_current_track(self) -> None:
        self.sent()
        owner = self.attach()
        self.end(Stopped, reason="replaced")
        self.open("t2", packets=3)
        self.ready()
        self.pull(3)
        self.lost(owner)
        again = self.attach(held=2, most=9)
        self.assertEqual(self.attached(again), Attached("a", "t2", "streaming", 0.04, 2))
        self.assertEqual(self.heard(again), ["attached", "t2:3"])

    def test_a_whole_grant_of_credit_that_was_lost_comes_again(self) -> None:
        self.open(packets=500)
        self.ready()
        lost = self.attach(most=500)
        self.lost(lost)
        again = self.attach(held=0, most=500)
        self.assertEqual(again.received, lost.received)

    def test_goes_back_as_far_as_the_ring_and_no_further(self) -> None:
        last = RING_ENTRIES + 10
        self.open(packets=last)
        self.ready()
        self.lost(self.attach(most=last))
        too_far = self.attach(held=9)
        self.assertEqual(self.attached(too_far).packets, last)
        self.lost(too_far)
        again = self.attach(held=10, most=last)
        self.assertEqual(self.attached(again), Attached("a", "t1", "streaming", 0.2, 10))
        self.assertEqual(len(again.packets()), RING_ENTRIES)
        self.assertEqual(again.packets()[0], b"t1:11")


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
        self.say(Seeked, position=60.0, previous=0.04)
        self.feed.position = 60.0
        new = self.attach()
        self.assertEqual(new.received[0], Attached("a", "t1", "streaming", 0.04, 2))
        self.feed.status = "streaming"
        self.lost(new)
        self.say(Resumed, position=60.0)
        self.assertEqual(self.attached(self.attach()), Attached("a", "t1", "paused", 60.0, 2))

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
