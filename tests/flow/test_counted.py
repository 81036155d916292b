"""Sound that begins before the position that was asked for: what is left out, where it ends, how long that may take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from audiosvc.errors import SourceEndedEarly, SourceTimeout
from audiosvc.flow.opening import COUNTED_A_SECOND, COUNTING_MOST, REOPEN_SECONDS, STALL_SECONDS
from audiosvc.flow.supply import FIRST_PACKET_SECONDS
from audiosvc.sources.model import File, Http, Source
from tests.ffmpeg import said
from tests.flow.support import BROKEN, SECOND, SupplyTestCase, sound

CHAINED = Source("file:///chained", File(Path("/chained"), counted=True))
BARE = Source("http://h/bare", Http("http://h/bare", counted=True), duration=60.0)
HLS = Source("http://h/a.m3u8", Http("http://h/a.m3u8", demuxer="hls"), duration=60.0)

EARLY = 473_139
"""Microseconds, in what FFmpeg says of the HLS that was sought in."""


class CountedTests(SupplyTestCase):
    def begin_at(self, source: Source, at: float, duration: float | None = None) -> None:
        self.begin(source, at, duration)
        self.assertNotIn("-ss", self.argv)
        self.assertNotIn("-t ", self.argv)
        self.assertIn("-seekable 0", self.argv)

    def heard(self, start: int, end: int) -> None:
        """Those bytes of what the child wrote, and no others."""
        self.assertEqual(len(self.got), end - start)
        self.assertTrue(self.got == sound(end)[start:])

    def test_what_lies_before_the_position_is_left_out(self) -> None:
        self.begin_at(CHAINED, 5.5)
        self.give(5 * SECOND)
        self.assertEqual(self.got, b"")
        self.give(3 * SECOND)
        self.child.exit()
        self.assertTrue(self.ended)
        self.assertIsNone(self.supply.failure)
        self.heard(5 * SECOND + SECOND // 2, 8 * SECOND)

    def test_it_ends_after_its_duration_to_the_sample(self) -> None:
        self.begin_at(CHAINED, 2.0, 3.25)
        self.give(9 * SECOND)
        self.assertEqual(self.child.signals, ["KILL"])
        self.reactor.end()
        self.assertTrue(self.ended)
        self.assertIsNone(self.supply.failure)
        self.heard(2 * SECOND, 5 * SECOND + SECOND // 4)

    def test_from_the_beginning_there_is_nothing_to_be_left_out(self) -> None:
        self.begin_at(CHAINED, 0.0, 0.5)
        self.give()
        self.heard(0, SECOND // 2)

    def test_after_a_break_it_is_counted_to_again(self) -> None:
        self.begin_at(BARE, 5.0)
        self.give(9 * SECOND)
        self.break_off()
        self.made = 0
        self.give(12 * SECOND)
        self.assertEqual(self.said, [("recovered", 4 * SECOND)])
        self.heard(5 * SECOND, 12 * SECOND)

    def test_a_source_that_ends_before_the_position_ended_early(self) -> None:
        self.begin(BARE)
        self.give(9 * SECOND)
        for delay in (0.0, 0.5, 2.0):
            self.break_off(BROKEN, delay)
            self.made = 0
            self.give(8 * SECOND)
        self.child.exit()
        self.assertIsInstance(self.supply.failure, SourceEndedEarly)
        self.assertEqual(len(self.got), 9 * SECOND)

    def waited_for(self, position: float, seconds: float) -> None:
        """So long and no longer, however much comes meanwhile."""
        self.begin_at(CHAINED, position)
        while self.reactor.seconds() < seconds - 1:
            self.give(SECOND // 4)
            self.reactor.advance(0.5)
        self.assertFalse(self.ended)
        self.reactor.advance(1)
        self.assertIsInstance(self.supply.failure, SourceTimeout)

    def test_the_further_the_position_the_longer_it_may_take(self) -> None:
        self.waited_for(900.0, FIRST_PACKET_SECONDS + 900 / COUNTED_A_SECOND)

    def test_but_in_what_never_ends_it_is_not_waited_for_for_ever(self) -> None:
        self.waited_for(86_400.0, FIRST_PACKET_SECONDS + COUNTING_MOST)

    def test_nor_may_it_take_for_ever_after_a_break(self) -> None:
        self.begin_at(BARE, 20.0)
        self.give(30 * SECOND)
        self.break_off()
        self.made = 0
        self.give(4)
        allowed = REOPEN_SECONDS + 30 / COUNTED_A_SECOND
        for _ in range(round(allowed) - 1):
            self.reactor.advance(1)
            self.give(SECOND)
            self.assertEqual(self.child.signals, [])
        self.reactor.advance(2)
        self.assertEqual(self.child.signals, ["KILL"])

    def test_once_it_is_there_it_may_be_slow(self) -> None:
        self.begin_at(BARE, 2.0)
        self.give(3 * SECOND)
        self.break_off()
        self.made = 0
        self.give(3 * SECOND + 4)
        for _ in range(10):
            self.reactor.advance(STALL_SECONDS - 1)
            self.give(4)
        self.assertEqual(self.child.signals, [])
        self.heard(2 * SECOND, 3 * SECOND + 44)


class EarlyTests(SupplyTestCase):
    def test_hls_that_begins_early_ends_where_it_was_asked_to(self) -> None:
        self.begin(replace(HLS, duration=3600.0), 1800.5, 3.0)
        self.assertIn("-ss 1800.500000", self.argv)
        self.assertNotIn("-t ", self.argv)
        self.child.say(said.HLS_SOUGHT)
        self.give(9 * SECOND)
        self.reactor.end()
        early = round(EARLY * 0.048) * 4
        self.assertTrue(self.got == sound(early + 3 * SECOND)[early:])
        self.assertTrue(self.ended)
        self.assertIsNone(self.supply.failure)

    def test_so_does_hls_that_does_not(self) -> None:
        self.begin(HLS, 10.0, 3.0)
        self.give(2 * SECOND + 4)
        self.give(2 * SECOND)
        self.assertTrue(self.got == sound(3 * SECOND))
        self.assertEqual(self.child.signals, ["KILL"])

    def test_what_an_exited_child_left_is_cut_as_well(self) -> None:
        self.begin(HLS, 10.0, 0.5)
        self.hold_still()
        self.give(SECOND)
        self.child.exit()
        self.read_on()
        self.assertTrue(self.ended)
        self.assertTrue(self.got == sound(SECOND // 2))
