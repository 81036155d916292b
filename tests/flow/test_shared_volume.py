"""A listener to a shared source who changes his volume: what he hears meanwhile, and with whom he shares then."""

from __future__ import annotations

from audiosvc.audio import FRAME_SECONDS
from audiosvc.flow.shared import JOIN_PACKETS, SETTLE_SECONDS
from audiosvc.flow.supply import UNREAD_SECONDS
from tests.fakes import FakeChild
from tests.flow.broadcasts import BroadcastTestCase, Ear

ICY = "[verbose] Metadata update for StreamTitle: {}\n"
REFUSED = "[in#0 @ 0x1] [error] Error opening input: Server returned 403 Forbidden (access denied)\n"


class VolumeTestCase(BroadcastTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.first, self.second = self.join(), self.join()
        self.mute: set[FakeChild] = set()
        """Children whose source has not answered yet."""
        self.air(4, self.first, self.second)

    def write(self, child: FakeChild) -> None:
        if child in self.mute:
            self.sent[child] = self.made * 3840
        else:
            super().write(child)

    def settle(self) -> FakeChild:
        """The child that is started for a volume, whose source takes its time."""
        before = len(self.reactor.children)
        self.reactor.advance(SETTLE_SECONDS)
        self.reap()
        self.assertEqual(len(self.reactor.children), before + 1)
        self.mute.add(self.reactor.children[-1])
        return self.reactor.children[-1]

    def fork(self, ear: Ear, volume: float) -> FakeChild:
        """`ear` hears itself in its own volume."""
        ear.listener.set_volume(volume)
        child = self.settle()
        self.mute.clear()
        self.air(1, *self.ears)
        self.assertEqual(ear.volume, volume)
        return child

    def assert_all_along(self, *ears: Ear) -> None:
        """One packet was there for each at every 20 ms since the station began to give."""
        for ear in ears:
            self.assertGreaterEqual(len(ear.packets), self.made - 15)


class ForkingTests(VolumeTestCase):
    def test_one_who_is_alone_changes_it_where_he_is(self) -> None:
        self.leave(self.second)
        self.first.listener.set_volume(0.5)
        self.air(2, self.first)
        self.assertEqual(len(self.reactor.children), 1)
        self.assertEqual(self.first.numbers[-1], (self.made - 2) % 256)
        self.join(volume=0.5)
        self.assertEqual((self.workshop.tally.broadcasts, len(self.reactor.children)), (1, 1))

    def test_one_of_several_hears_on_until_there_is_a_packet_of_his_own(self) -> None:
        self.second.listener.set_volume(0.5)
        child = self.settle()
        self.air(5, self.first, self.second)
        self.assertEqual(self.second.packets, self.first.packets)
        self.mute.clear()
        self.air(5, self.first, self.second)
        self.assertEqual((self.first.volume, self.second.volume), (1.0, 0.5))
        self.assertLessEqual((self.made - self.second.numbers[-1]) % 256, 12)
        self.assert_all_along(self.first, self.second)
        self.first.assert_unbroken()
        self.assertEqual((self.first.ends, self.second.ends, self.second.said.count("recovered")), (0, 0, 0))
        self.assertEqual((self.workshop.tally.broadcasts, self.workshop.tally.listeners), (2, 2))
        self.leave(self.first)
        self.assertEqual(self.living, [child])
        self.air(2, self.second)
        self.assert_all_along(self.second)

    def test_set_back_to_what_another_hears_it_is_shared_again_at_once(self) -> None:
        child = self.fork(self.second, 0.5)
        self.second.listener.set_volume(1.0)
        self.air(0.02, self.first, self.second)
        self.assertEqual((self.second.volume, self.second.numbers[-1]), (1.0, self.first.numbers[-1 - JOIN_PACKETS]))
        self.assertEqual(child.signals[0], "KILL")
        self.reap()
        self.air(2, self.first, self.second)
        self.assertEqual(self.second.packets[-90:], self.first.packets[-90 - JOIN_PACKETS : -JOIN_PACKETS])
        self.assertEqual((self.workshop.tally.broadcasts, len(self.reactor.children)), (1, 2))
        self.assert_all_along(self.first, self.second)

    def test_who_is_alone_and_comes_to_anothers_volume_brings_nothing_along(self) -> None:
        alone = self.join(volume=0.5)
        self.reap()
        self.air(2, *self.ears)
        alone.listener.set_volume(1.0)
        self.air(1, *self.ears)
        self.assertEqual((alone.volume, len(self.living)), (1.0, 1))
        self.reap()

    def test_two_who_set_the_same_share_it(self) -> None:
        third = self.join()
        for ear in (self.second, third):
            ear.listener.set_volume(0.5)
        self.settle()
        self.mute.clear()
        self.air(2, *self.ears)
        self.assertEqual((self.second.volume, third.volume, len(self.living)), (0.5, 0.5, 2))
        self.assertIs(self.second.packets[-1], third.packets[-1])

    def test_a_slider_starts_one_child(self) -> None:
        for step in range(20):
            self.second.listener.set_volume(0.9 - step / 50)
            self.air(0.1, self.first, self.second)
        self.assertEqual(len(self.reactor.children), 1)
        self.settle()
        self.second.listener.set_volume(0.2)
        self.reap()
        self.assertEqual(len(self.living), 1)
        self.settle()
        self.second.listener.set_volume(0.2)
        self.mute.clear()
        self.air(1, self.first, self.second)
        self.assertEqual((self.second.volume, len(self.living), len(self.reactor.children)), (0.2, 2, 3))
        self.assert_all_along(self.first, self.second)

    def test_one_set_back_in_time_starts_none(self) -> None:
        for volume in (0.5, 1.0):
            self.second.listener.set_volume(volume)
        self.air(1, self.first, self.second)
        self.assertEqual((len(self.reactor.children), self.second.volume), (1, 1.0))

    def test_one_set_back_while_it_is_opened_lets_it_go(self) -> None:
        self.second.listener.set_volume(0.5)
        child = self.settle()
        self.second.listener.set_volume(1.0)
        self.assertEqual(child.signals[0], "KILL")
        self.reap()
        self.air(1, self.first, self.second)
        self.assertEqual(self.second.packets, self.first.packets)

    def test_one_who_is_paused_goes_over_when_he_goes_on(self) -> None:
        self.second.listener.set_volume(0.5)
        self.settle()
        self.mute.clear()
        self.air(2, self.first)
        before = len(self.second.packets)
        self.air(1, self.first, self.second)
        self.assertEqual((self.second.volume, len(self.second.packets)), (0.5, before + 50))

    def test_one_who_was_paused_for_long_hears_the_old_until_the_new_is_there_again(self) -> None:
        self.second.listener.set_volume(0.5)
        self.settle()
        self.mute.clear()
        self.air(UNREAD_SECONDS + 5, self.first)
        self.reap()
        self.assertEqual(len(self.living), 1)
        before = len(self.second.packets)
        self.air(0.5, self.first, self.second)
        self.reap()
        self.air(0.5, self.first, self.second)
        self.assertEqual((self.second.volume, len(self.second.packets)), (0.5, before + 50))

    def test_one_who_waits_is_told_of_the_first_packet_with_his_volume(self) -> None:
        self.second.listener.set_volume(0.5)
        self.settle()
        self.second.take(99)
        self.mute = set(self.reactor.children[:1])
        flows = self.second.flows
        self.air(0.5)
        self.assertGreater(self.second.flows, flows)
        self.assertGreater(self.second.take(), 0)
        self.assertEqual(self.second.volume, 0.5)

    def test_the_title_there_is_told_again(self) -> None:
        self.living[0].say(ICY.format("One"))
        self.air(1, self.first, self.second)
        third = self.join(volume=0.5)
        self.reap()
        self.living[-1].say(ICY.format("Two"))
        self.air(1, *self.ears)
        heard = len(self.second.said)
        self.second.listener.set_volume(0.5)
        self.second.take()
        self.assertEqual(self.second.said[heard], "Two")
        self.assertEqual((third.ends, self.second.said.count("One")), (0, 1))

    def test_what_was_lost_before_still_counts(self) -> None:
        self.air(20, self.first)
        self.second.take()
        dropped = self.second.listener.dropped
        self.assertGreater(dropped, 900)
        self.fork(self.second, 0.5)
        self.assertEqual(self.second.listener.dropped, dropped)


class EndingTests(VolumeTestCase):
    def test_who_leaves_while_he_waits_leaves_both(self) -> None:
        self.second.listener.set_volume(0.5)
        child = self.settle()
        gone = self.second.listener.close()
        self.assertNoResult(gone)
        self.reap()
        self.successResultOf(gone)
        self.assertFalse(child.alive)
        self.assertEqual((len(self.living), self.workshop.tally.broadcasts), (1, 1))

    def test_who_leaves_before_it_is_begun(self) -> None:
        self.second.listener.set_volume(0.5)
        self.leave(self.second)
        self.reactor.advance(SETTLE_SECONDS)
        self.assertEqual(len(self.reactor.children), 1)

    def test_what_is_left_is_waited_for_when_all_is_given_up(self) -> None:
        self.leave(self.first)
        other = self.join(volume=0.5)
        self.reap()
        self.air(1, *self.ears)
        old = self.living[0]
        self.second.listener.set_volume(0.5)
        self.air(FRAME_SECONDS, *self.ears)
        self.assertEqual(old.signals[0], "KILL")
        gone = self.second.listener.close()
        self.assertNoResult(gone)
        self.reap()
        self.successResultOf(gone)
        self.assertEqual((other.volume, len(self.living)), (0.5, 1))

    def test_where_the_new_one_cannot_be_opened_the_old_one_is_heard_on(self) -> None:
        self.second.listener.set_volume(0.5)
        child = self.settle()
        child.say(REFUSED)
        child.exit(status=1)
        self.air(4, self.first, self.second)
        self.assertEqual((self.second.volume, self.second.ends), (1.0, 0))
        self.assertEqual(self.second.packets, self.first.packets)
        self.assert_all_along(self.second)
        self.assertEqual(self.workshop.tally.broadcasts, 1)
        self.fork(self.second, 0.5)

    def end_the_old(self) -> None:
        for _ in range(4):
            if self.reactor.children[0].alive or len(self.living) > 1:
                old = next(child for child in self.living if child not in self.mute)
                old.exit(signal=9)
            self.reactor.advance(2.1)
            self.reap()

    def test_where_the_old_one_ends_the_new_one_is_waited_for(self) -> None:
        self.second.listener.set_volume(0.5)
        self.settle()
        self.end_the_old()
        self.first.take(99), self.second.take(99)
        self.assertEqual(
            (self.first.listener.drained, self.second.listener.drained, self.second.ends), (True, False, 0)
        )
        self.mute.clear()
        flows = self.second.flows
        self.air(1, self.second)
        self.assertEqual((self.second.volume, self.second.ends), (0.5, 0))
        self.assertGreater(self.second.flows, flows)

    def test_where_both_end_it_is_the_end(self) -> None:
        self.second.listener.set_volume(0.5)
        child = self.settle()
        self.end_the_old()
        self.first.take(99), self.second.take(99)
        child.say(REFUSED)
        child.exit(status=1)
        self.assertEqual((self.second.ends, self.second.listener.drained), (1, True))
        assert self.second.listener.failure is not None
        self.assertEqual(self.second.listener.failure.code, "decoder_failed")

    def test_what_has_ended_is_not_opened_again_for_a_volume(self) -> None:
        self.second.listener.set_volume(0.5)
        self.fail_for_good()
        children = len(self.reactor.children)
        self.second.listener.set_volume(0.7)
        self.reactor.advance(SETTLE_SECONDS)
        self.assertEqual(len(self.reactor.children), children)
