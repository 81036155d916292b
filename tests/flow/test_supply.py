"""Sound that goes on over lost children: how soon, from where, how often, and what becomes of it in the end."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from audiosvc.errors import (
    AudioServiceError,
    BlockedAddress,
    DecoderFailed,
    SourceEndedEarly,
    SourceRefused,
    SourceTimeout,
    SourceUnreachable,
    SpawnFailed,
)
from audiosvc.flow.opening import REOPEN_SECONDS, STALL_SECONDS
from audiosvc.flow.supply import FIRST_PACKET_SECONDS
from tests.flow.support import BROKEN, REFUSED, SECOND, SONG, WEB, SupplyTestCase, sound

PIPE = 256 * 1024
TIMED_OUT = "[in#0 @ 0x1] [error] Error opening input: Connection timed out\n"


class LosingTestCase(SupplyTestCase):
    def assert_failed(self, error: type[AudioServiceError]) -> None:
        self.assertTrue(self.ended)
        self.assertIsInstance(self.supply.failure, error)
        self.reactor.end()
        self.reactor.advance(0.02)
        self.assertEqual((self.living, self.reactor.getDelayedCalls()), (0, []))

    def assert_finished(self) -> None:
        self.assertTrue(self.ended)
        self.assertIsNone(self.supply.failure)
        self.assert_whole()


class KilledTests(LosingTestCase):
    def test_the_next_child_goes_on_at_the_very_sample(self) -> None:
        self.begin(WEB)
        self.give(3 * SECOND + 4001)
        self.lose()
        self.assertIn(f"-ss {3 + 1000 / 48_000:.6f}", self.argv)
        self.assertEqual(len(self.got), 3 * SECOND + 4000)
        self.give()
        self.assertEqual(self.said, [("recovered", 3 * SECOND + 4000)])
        self.give(56 * SECOND)
        self.child.exit()
        self.assert_finished()
        self.assertEqual(self.workshop.tally.vitals().recoveries, 1)

    def test_a_position_is_counted_on_from(self) -> None:
        self.begin(SONG, at=10.5, duration=20.0)
        self.give(2 * SECOND)
        self.lose()
        self.assertIn("-ss 12.500000", self.argv)
        self.assertIn("-t 18.000000", self.argv)

    def test_what_was_in_the_pipe_is_played_before_the_next_child_is_heard(self) -> None:
        self.begin()
        self.give()
        self.hold_still()
        self.give(10)
        self.assertGreater(self.give(2 * SECOND), SECOND)
        self.lose()
        self.assertEqual(self.living, 1, "the next child is started while the first is still being played")
        reached = self.made
        self.give()
        self.assertEqual(self.said, [])
        self.read_on()
        self.assertEqual(self.said, [("recovered", reached)])
        self.assert_whole()

    def test_it_is_announced_once_for_each_time_it_is_heard(self) -> None:
        self.begin()
        for _ in range(20):
            self.give(SECOND + 3)
            self.lose()
        self.give(4)
        self.assertEqual(self.said, [("recovered", SECOND * i) for i in range(1, 21)])
        self.assert_whole()
        self.assertEqual(self.workshop.tally.recoveries, 20)

    def test_the_last_bit_of_a_track_is_fetched_too(self) -> None:
        self.begin()
        self.give(60 * SECOND - 400)
        self.lose()
        self.give(400)
        self.child.exit()
        self.assert_finished()

    def test_killed_after_the_last_of_it_is_no_loss(self) -> None:
        self.begin()
        self.give(60 * SECOND)
        self.child.exit(signal=11)
        self.assert_finished()
        self.assertEqual(len(self.reactor.children), 1)

    def test_an_oggs_last_second_is_not_played_again(self) -> None:
        described = "[info] Input #0, ogg, from 'x':\n[info]   Duration: 00:01:00.00, start: 0.0\n"
        self.begin(SONG)
        self.child.say(described)
        self.give(60 * SECOND - 4)
        self.made += 4
        self.got += sound(4, self.made // 4 - 1)
        self.supply._given += 4
        self.supply._length = 60.1
        self.lose()
        self.child.say(described)
        self.child.write(sound(SECOND))
        self.assert_finished()
        self.assertEqual(self.child.signals[0], "KILL")

    def test_children_lost_before_they_gave_anything_are_followed_less_and_less_soon(self) -> None:
        self.begin()
        self.give(2 * SECOND)
        self.lose(0.0)
        self.lose(0.5)
        self.lose(2.0)
        self.child.exit(signal=9)
        self.assert_failed(DecoderFailed)
        self.assertEqual((len(self.got), self.said), (2 * SECOND, []))

    def test_a_second_of_sound_makes_good_what_was_in_vain_before(self) -> None:
        self.begin()
        self.give()
        for _ in range(4):
            self.lose(0.0)
            self.lose(0.5)
            self.lose(2.0)
            self.give()
        self.assertFalse(self.ended)
        self.assert_whole()

    def test_less_than_a_second_at_each_opening_is_in_vain(self) -> None:
        self.begin()
        self.give()
        for delay in (0.0, 0.5, 2.0):
            self.lose(delay)
            self.give(SECOND // 2)
        self.child.exit(signal=9)
        self.assert_failed(DecoderFailed)
        self.assertEqual(len(self.got), SECOND * 5 // 2)

    def test_nothing_is_announced_before_there_was_anything(self) -> None:
        self.begin()
        self.lose(0.5)
        self.give()
        self.assertEqual((self.said, self.workshop.tally.recoveries), ([], 0))

    def test_a_source_that_breaks_off_while_nobody_reads_does_not_fill_the_memory(self) -> None:
        self.begin()
        self.give()
        self.hold_still()
        self.give(10)
        while self.living:
            self.give(2 * SECOND)
            self.child.exit(signal=9)
            self.made -= self.made % 4
        self.assertEqual(len(self.reactor.children), 2)
        self.assertLess(sum(len(opening.left) for opening in self.supply._openings), 2 * PIPE + 1)
        self.assertEqual(self.supply.read(SECOND), sound(SECOND, SECOND // 4))
        self.got += sound(SECOND, SECOND // 4)
        self.assertEqual(self.living, 0)
        self.read_on()
        self.assertEqual(self.living, 1)
        self.give()
        self.assert_whole()

    def test_a_child_that_cannot_be_started_counts_as_one_in_vain(self) -> None:
        self.begin()
        self.give()
        self.reactor.spawn_error = OSError(11, "Resource temporarily unavailable")
        self.child.exit(signal=9)
        self.reactor.advance(0.5)
        self.reactor.spawn_error = None
        self.reactor.advance(2.0)
        self.give()
        self.assert_whole()
        self.assertEqual(len(self.said), 1)
        self.reactor.spawn_error = OSError(12, "Cannot allocate memory")
        self.child.exit(signal=9)
        for delay in (0.5, 2.0):
            self.reactor.advance(delay)
        self.assert_failed(SpawnFailed)

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.tuples(st.integers(1, 400_000), st.booleans(), st.booleans()), min_size=1, max_size=12))
    def test_whatever_is_lost_whenever_no_sample_is_missing_or_doubled(
        self, course: list[tuple[int, bool, bool]]
    ) -> None:
        self.clean_up() if hasattr(self, "supply") else None
        self.got, self.made, self.said, self.ended, self.reading = b"", 0, [], False, True
        self.begin(SONG)
        for size, lost, still in course:
            self.reading = not still
            if not self.ended and self.living:
                self.give(size)
                if lost:
                    self.child.exit(signal=9)
                    self.made -= self.made % 4
            self.read_on()
            self.reactor.advance(2.0)
        self.assertEqual(self.got, sound(self.made)[: len(self.got)])
        self.assertLess(self.made - len(self.got), 4, "what is there was given")


class StalledTests(LosingTestCase):
    def test_a_child_that_gives_nothing_for_10_s_is_killed_and_followed(self) -> None:
        self.begin()
        self.give(2 * SECOND)
        self.reactor.advance(STALL_SECONDS - 0.1)
        self.assertEqual(self.child.signals, [])
        self.reactor.advance(0.1)
        self.assertEqual(self.child.signals, ["KILL"])
        self.reactor.end()
        self.assertIn("-ss 2.000000", self.argv)
        self.give()
        self.assertEqual(self.said, [("recovered", 2 * SECOND)])
        self.assert_whole()

    def test_while_something_comes_it_may_be_slow(self) -> None:
        self.begin()
        for _ in range(100):
            self.give(960)
            self.reactor.advance(STALL_SECONDS - 0.5)
        self.assertEqual(self.child.signals, [])

    def test_one_that_nobody_waits_for_is_left_alone(self) -> None:
        self.begin()
        self.give()
        self.hold_still()
        self.give()
        self.reactor.advance(40)
        self.assertEqual(self.child.signals, [])

    def test_a_server_silent_for_ever_is_given_up_within_40_s(self) -> None:
        self.begin(WEB)
        self.give(5 * SECOND)
        began = self.reactor.seconds()
        while not self.ended:
            self.reactor.advance(0.25)
            self.reactor.end()
        self.assert_failed(SourceTimeout)
        took = self.reactor.seconds() - began
        self.assertEqual(len(self.reactor.children), 4)
        self.assertTrue(30 < took <= 40, took)

    def test_a_server_silent_for_30_s_is_waited_for(self) -> None:
        self.begin(WEB)
        self.give(5 * SECOND)
        while self.reactor.seconds() < 30:
            self.reactor.advance(0.25)
            self.reactor.end()
        self.give()
        self.assertFalse(self.ended)
        self.assert_whole()

    def test_one_that_speaks_of_a_timeout_itself_is_the_same(self) -> None:
        self.begin(WEB)
        self.give(5 * SECOND)
        self.break_off(TIMED_OUT)
        for delay in (0.5, 2.0):
            self.break_off(TIMED_OUT, delay)
        self.child.say(TIMED_OUT)
        self.child.exit()
        self.assert_failed(SourceTimeout)

    def test_one_that_was_still_busy_resuming_a_transfer_ended_early(self) -> None:
        self.begin(WEB)
        self.give()
        while not self.ended:
            if self.living:
                self.child.say(BROKEN)
            self.reactor.advance(1)
            self.reactor.end()
        self.assert_failed(SourceEndedEarly)

    def test_a_child_of_a_file_that_hangs_for_ever_is_no_fault_of_a_server(self) -> None:
        self.begin()
        self.give()
        for _ in range(80):
            self.reactor.advance(0.5)
            self.reactor.end()
        self.assert_failed(DecoderFailed)

    def test_the_first_sound_has_15_s_whatever_becomes_of_the_children(self) -> None:
        self.begin(WEB)
        self.reactor.advance(STALL_SECONDS)
        self.assertEqual(self.child.signals, [])
        self.lose(0.5)
        self.reactor.advance(FIRST_PACKET_SECONDS - STALL_SECONDS - 0.6)
        self.assertFalse(self.ended)
        self.reactor.advance(0.1)
        self.assert_failed(SourceTimeout)

    def test_a_source_opened_again_has_less_time_than_at_first(self) -> None:
        self.begin(WEB)
        self.give()
        self.lose()
        self.reactor.advance(REOPEN_SECONDS)
        self.assertEqual(self.child.signals, ["KILL"])


class BreakingTests(LosingTestCase):
    def test_a_transfer_that_broke_off_goes_on_where_it_did(self) -> None:
        self.begin(WEB)
        self.give(5 * SECOND)
        self.break_off()
        self.assertIn("-ss 5.000000", self.argv)
        self.give(55 * SECOND)
        self.child.exit()
        self.assert_finished()
        self.assertEqual(self.said, [("recovered", 5 * SECOND)])

    def test_one_that_breaks_off_each_time_goes_on_as_long_as_it_gives(self) -> None:
        self.begin(WEB)
        for _ in range(11):
            self.give(5 * SECOND)
            self.break_off()
        self.give(5 * SECOND)
        self.child.exit()
        self.assert_finished()

    def test_one_that_breaks_off_at_the_same_place_ended_early(self) -> None:
        for last in (
            BROKEN,
            "",
            "[in#0 @ 0x1] [error] Error opening input: Invalid data found when processing input\n",
        ):
            self.setUp()
            self.begin(WEB)
            self.give(5 * SECOND)
            self.break_off()
            self.break_off(BROKEN, 0.5)
            self.break_off(BROKEN, 2.0)
            self.child.say(last)
            self.child.exit()
            self.assert_failed(SourceEndedEarly)
            self.assertEqual(len(self.got), 5 * SECOND)
            self.clean_up()

    def test_a_server_that_refuses_for_good_is_not_asked_again(self) -> None:
        self.begin(WEB)
        self.give(5 * SECOND)
        self.break_off()
        self.child.say(REFUSED.format(403))
        self.child.exit()
        self.assert_failed(SourceRefused)
        self.assertEqual(self.refreshing, [])

    def test_hls_begins_with_a_segment_and_what_lies_before_the_position_is_left_out(self) -> None:
        for partly in (False, True):
            self.setUp()
            self.begin(WEB)
            self.give(5 * SECOND)
            self.break_off()
            self.child.say("[hls @ 0x1] [warning] timestamp discontinuity (stream id=0): -2500000, new offset= 1\n")
            self.made -= SECOND * 5 // 2
            self.give(SECOND)
            self.assertEqual(len(self.got), 5 * SECOND)
            self.give(SECOND if partly else 3 * SECOND)
            if partly:
                self.hold_still()
                self.give(PIPE)
                self.child.exit(signal=9)
                self.read_on()
            self.assert_whole()
            self.clean_up()


class DoorTests(LosingTestCase):
    def test_each_child_that_fetches_has_a_permit_of_its_own(self) -> None:
        self.begin(WEB)
        self.assertTrue(self.argv.startswith("nsenter "))
        self.give()
        self.give()
        self.lose()
        first, second = self.door.permits
        self.assertEqual((first.label, first.closed, first.flows), ("someone", True, 1))
        self.assertEqual((second.closed, second.flows), (False, 0))

    def test_a_file_needs_none(self) -> None:
        self.begin(SONG)
        self.assertEqual(self.door.permits, [])

    def test_what_the_door_refused_is_the_error_and_is_not_tried_again(self) -> None:
        for heard in (True, False):
            self.setUp()
            self.begin(WEB)
            if heard:
                self.give()
            self.door.permits[-1].denial = BlockedAddress("10.0.0.1")
            self.child.say(REFUSED.format(403))
            self.child.exit()
            self.assert_failed(BlockedAddress)
            self.assertEqual(len(self.reactor.children), 1)
            self.clean_up()

    def test_a_source_that_goes_on_without_what_was_refused_ends_with_it_too(self) -> None:
        self.begin(WEB)
        self.give()
        self.door.permits[0].denial = BlockedAddress("10.0.0.1")
        self.give()
        self.assert_failed(BlockedAddress)
        self.assertEqual(self.child.signals[0], "KILL")
        self.assert_whole()

    def test_what_the_door_knows_is_told(self) -> None:
        self.begin(WEB)
        self.door.permits[0].trouble = SourceUnreachable("no such host")
        self.child.say(REFUSED.format(502))
        self.child.exit()
        self.assert_failed(SourceUnreachable)
