"""Several listeners to one live source: what each hears, and what none notices of another."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred, succeed

from audiosvc.flow.shared import JOIN_PACKETS
from audiosvc.sources.model import Http, Source
from tests.flow.broadcasts import BroadcastTestCase, Ear
from tests.flow.support import RADIO, SONG, WEB

PAGE = Source("http://page/", Http("http://h/first"), live=True, extracted=True)
ICY = "[verbose] Metadata update for StreamTitle: {}\n"
REFUSED = "[in#0 @ 0x1] [error] Error opening input: Server returned 403 Forbidden (access denied)\n"


class JoiningTests(BroadcastTestCase):
    def test_what_is_not_live_or_not_fetched_is_not_shared(self) -> None:
        for source in (WEB, replace(SONG, live=True)):
            listener = self.broadcasts.listen(
                self.workshop,
                self,  # type: ignore[arg-type]
                source,
                duration=None,
                bitrate=None,
                volume=1,
                label="somebody",
                refresh=Deferred,
            )
            self.assertIsNone(listener)

    def test_who_comes_while_it_is_being_opened_hears_all_of_it(self) -> None:
        first, second = self.join(), self.join()
        self.assertEqual(len(self.reactor.children), 1)
        self.assertEqual((first.listener.ready, first.take(), second.flows), (0, 0, 0))
        self.air(4, first, second)
        self.assertEqual((first.flows, second.flows) > (0, 0), True)
        self.assertEqual(first.said, second.said)
        self.assertGreater(len(first.said), 180)
        first.assert_unbroken()
        self.assertEqual((self.workshop.tally.vitals().broadcasts, self.workshop.tally.vitals().listeners), (1, 2))

    def test_packets_exist_once(self) -> None:
        first, second = self.join(bitrate=64_000), self.join(bitrate=64_000)
        self.air(2, first, second)
        self.assertGreater(len(first.packets), 90)
        for mine, other in zip(first.packets, second.packets, strict=True):
            self.assertIs(mine, other)

    def test_who_comes_later_is_told_at_once_and_begins_at_the_newest(self) -> None:
        first = self.join()
        self.air(20, first)
        second = self.join()
        self.assertEqual((second.flows, second.listener.ready), (1, JOIN_PACKETS))
        self.assertEqual(second.take(JOIN_PACKETS), JOIN_PACKETS)
        self.assertEqual(second.numbers, first.numbers[-JOIN_PACKETS:])
        self.air(20, first, second)
        second.assert_unbroken()
        first.assert_unbroken()
        self.assertEqual(second.packets, first.packets[-len(second.packets) :])
        self.assertEqual((len(self.reactor.children), second.listener.dropped), (1, 0))

    def test_who_leaves_before_being_told_is_not_told(self) -> None:
        first = self.join()
        self.air(2, first)
        late = Ear(self, RADIO, 1.0, None)
        late.listener.start(succeed(None))
        late.listener.close()
        self.turn()
        self.assertEqual(late.flows, 0)

    def test_other_settings_and_other_headers_are_another_broadcast(self) -> None:
        others = (
            self.join(),
            self.join(bitrate=64_000),
            self.join(volume=0.5),
            self.join(replace(RADIO, media=Http(RADIO.url, {"Referer": "x"}))),
            self.join(replace(RADIO, media=Http(RADIO.url, demuxer="hls"))),
        )
        self.assertEqual(self.workshop.tally.broadcasts, len(others))
        self.reactor.advance(0.1)
        self.assertEqual(len(self.living), len(others))
        self.join(replace(RADIO, url="http://short/", media=Http(RADIO.url)))
        self.assertEqual((self.workshop.tally.broadcasts, self.workshop.tally.listeners), (5, 6))

    def test_a_part_of_it_is_as_long_as_was_asked_for(self) -> None:
        first, part = self.join(), self.join(duration=1.01)
        self.air(1, first, part)
        self.assertFalse(part.listener.drained)
        self.air(1, first, part)
        self.assertEqual((len(part.packets), part.listener.drained, part.listener.failure), (51, True, None))
        self.assertEqual((part.listener.ready, part.listener.take(5)), (0, []))
        self.assertEqual(len(self.living), 1)


class LeavingTests(BroadcastTestCase):
    def test_the_others_go_on_and_the_last_one_ends_it(self) -> None:
        ears = [self.join() for _ in range(3)]
        self.air(4, *ears)
        heard = len(ears[1].said)
        self.leave(ears[0])
        self.air(4, ears[1], ears[2])
        self.leave(ears[2])
        self.air(4, ears[1])
        self.assertGreater(len(ears[1].said), heard + 380)
        ears[1].assert_unbroken()
        self.assertEqual((len(self.living), self.living[0].signals), (1, []))
        gone = ears[1].listener.close()
        self.assertNoResult(gone)
        self.reap()
        self.assertIs(self.successResultOf(gone), None)
        self.assertEqual((self.living, self.broadcasts._on_air), ([], {}))
        self.assertIs(self.successResultOf(ears[1].listener.close()), None)

    def test_who_opened_it_may_leave_before_it_gives_anything(self) -> None:
        first, second = self.join(), self.join()
        self.leave(first)
        self.air(4, second)
        self.assertEqual((len(self.reactor.children), first.said), (1, []))
        second.assert_unbroken()
        self.assertGreater(len(second.said), 180)

    def test_all_may_leave_while_it_waits_to_be_opened(self) -> None:
        reaped: Deferred[None] = Deferred()
        first = Ear(self, RADIO, 1.0, None)
        first.listener.start(reaped)
        second = self.join()
        gone = first.listener.close()
        self.assertNoResult(gone)
        self.leave(second)
        reaped.callback(None)
        self.successResultOf(gone)
        self.assertEqual(self.reactor.children, [])

    def test_what_nobody_hears_any_more_is_opened_anew(self) -> None:
        self.leave(self.join())
        ear = self.join()
        self.air(2, ear)
        self.assertEqual((len(self.reactor.children), len(self.living)), (2, 1))
        self.assertGreater(len(ear.said), 80)


class TellingTests(BroadcastTestCase):
    def test_each_is_told_titles_and_recoveries_at_the_same_packets(self) -> None:
        first, second = self.join(), self.join()
        for i in range(6):
            self.living[-1].say(ICY.format(f"title {i}"))
            self.air(1, first)
            self.air(0.5, first, second)
        self.living[-1].exit(signal=9)
        self.reactor.advance(1)
        self.air(1, first)
        second.take(999)
        first.take(999)
        self.assertEqual(first.said, second.said)
        self.assertEqual([word for word in first.said if word.startswith("t")], [f"title {i}" for i in range(6)])
        self.assertEqual(first.said.count("recovered"), 1)
        self.assertEqual(self.workshop.tally.recoveries, 1)

    def test_who_comes_later_is_told_what_is_playing_before_his_first_packet(self) -> None:
        first = self.join()
        self.air(1, first)
        self.living[-1].say(ICY.format("Old"))
        self.air(1, first)
        self.living[-1].say(ICY.format("New"))
        for _ in range(3):
            self.air(2, first)
            second = self.join()
            second.take(3)
            self.assertEqual(second.said[0], "New")
            self.assertNotIn("Old", second.said)
            self.assertEqual(len(second.numbers), 3)

    def test_who_was_too_late_for_a_title_is_told_the_newest(self) -> None:
        first, slow = self.join(), self.join()
        self.air(1, first, slow)
        for title in ("One", "Two"):
            self.living[-1].say(ICY.format(title))
            self.air(20, first)
        heard = len(slow.said)
        slow.take()
        self.assertEqual(slow.said[heard], "Two")
        self.assertEqual(len(slow.said), heard + 2)

    def test_all_hear_the_end_and_the_same_failure(self) -> None:
        first, second, third = self.join(), self.join(), self.join()
        self.air(4, first, second)
        self.air(0.2, first)
        self.fail_for_good()
        self.assertEqual([ear.ends + ear.flows > 0 for ear in (first, second, third)], [True] * 3)
        self.assertEqual(self.broadcasts._on_air, {})
        for ear in (first, second, third):
            self.assertFalse(ear.listener.drained)
            ear.take(999)
            self.assertTrue(ear.listener.drained)
        self.assertEqual(first.said, second.said)
        self.assertEqual(first.said, third.said)
        assert first.listener.failure is not None
        self.assertEqual({ear.listener.failure for ear in (first, second, third)}, {first.listener.failure})
        self.assertEqual(first.listener.failure.code, "decoder_failed")
        anew = self.join()
        self.assertEqual(len(self.living), 1)
        self.leave(anew)

    def test_those_who_wait_for_more_are_told_of_the_end_that_another_finds(self) -> None:
        first, second = self.join(), self.join()
        self.air(1, first, second)
        first.take(99), second.take(99)
        # The last packet was kept back until it was known to be the last.
        self.fail_for_good()
        flows = second.flows + second.ends
        first.take(99)
        self.assertTrue(first.listener.drained)
        self.assertGreater(second.flows + second.ends, 0)
        self.assertGreaterEqual(second.flows + second.ends, flows)
        second.take(99)
        self.assertTrue(second.listener.drained)
        self.assertEqual(first.said, second.said)

    def test_a_source_that_cannot_be_opened_is_the_same_failure_for_all(self) -> None:
        first, second = self.join(), self.join()
        self.living[-1].say(REFUSED)
        self.living[-1].exit(status=1)
        self.assertEqual((first.ends, second.ends), (1, 1))
        self.assertIs(first.listener.failure, second.listener.failure)
        assert first.listener.failure is not None
        self.assertEqual(first.listener.failure.code, "source_refused")

    def test_an_expired_source_is_looked_up_once_and_shared_from_then_on(self) -> None:
        first, second = self.join(PAGE), self.join(PAGE)
        self.living[-1].say(REFUSED)
        self.living[-1].exit(status=1)
        self.reactor.advance(0.02)
        self.assertEqual((first.asked, second.asked), (1, 0))
        found = replace(PAGE, media=Http("http://h/second"))
        first.anew.callback(found)
        self.reap()
        self.assertIn("http://h/second", self.living[-1].argv)
        third = self.join(found)
        self.assertEqual(self.workshop.tally.broadcasts, 1)
        self.leave(first)
        self.air(4, second, third)
        self.assertEqual(second.said, third.said)
        self.assertGreater(len(second.said), 180)
