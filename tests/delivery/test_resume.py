"""What a client that comes back gets again, out of the ring, by what it says it holds."""

from __future__ import annotations

from audiosvc.delivery import stream
from audiosvc.delivery.stream import EVENT_BYTES, RING_BYTES, RING_ENTRIES
from audiosvc.wire.messages import Attached, Held, Paused, Resumed, Stopped
from tests.delivery.helpers import StreamTestCase


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

    def test_small_packets_are_kept_for_longer_for_a_socket_holds_more_of_them(self) -> None:
        last = 4 * RING_ENTRIES
        self.open(packets=last)
        self.ready()
        lost = self.attach(most=last)
        self.lost(lost)
        self.assertEqual(self.attach(held=0, most=last).received, lost.received)

    def test_events_that_are_never_followed_by_sound_are_not_kept_for_ever(self) -> None:
        owner = self.attach()
        last = RING_BYTES // EVENT_BYTES + 10
        for number in range(last):
            self.open(f"t{number}")
            self.say(Stopped, reason="stop", played=0.0)
        self.lost(owner)
        again = self.attach(held=Held(0, f"t{last - RING_ENTRIES}"))
        self.assertEqual(len(self.heard(again)), RING_ENTRIES)
        self.lost(again)
        self.assertEqual(self.heard(self.attach(held=Held(0, "t9"))), [])

    def test_goes_back_as_far_as_the_ring_and_no_further(self) -> None:
        self.patch(stream, "RING_BYTES", 0)
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
