"""Children let go while nobody reads, media URLs that have expired, and live playlists that are stale."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from audiosvc.errors import (
    ExtractionFailed,
    ExtractionTimeout,
    SourceNotFound,
    SourceRefused,
    SourceTimeout,
    UnsupportedUrl,
)
from audiosvc.flow import supply
from audiosvc.flow.opening import STALL_SECONDS
from audiosvc.flow.supply import FIRST_PACKET_SECONDS, UNREAD_SECONDS
from audiosvc.sources.model import Http
from tests.flow.support import BROKEN, PAGE, RADIO, REFUSED, SECOND, SONG, WEB, SupplyTestCase

FOUND = replace(PAGE, media=Http("http://h/other"))


class UnreadTests(SupplyTestCase):
    def fall_asleep(self) -> None:
        """Nobody reads for a minute; what is not read yet is forgotten."""
        self.hold_still()
        self.give(10_000)
        self.give()
        self.reactor.advance(UNREAD_SECONDS)
        self.reactor.end()
        self.reactor.advance(0.02)
        self.assertEqual(self.spawner.children, 0)
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.made = len(self.got)

    def test_after_a_minute_unread_there_is_no_child_and_no_connection(self) -> None:
        for source in (SONG, WEB):
            self.setUp()
            self.begin(source)
            self.give(3 * SECOND)
            self.fall_asleep()
            self.assertTrue(self.supply.resting)
            self.assertTrue(all(permit.closed for permit in self.door.permits))
            self.clean_up()

    def test_it_goes_on_where_it_was_read_to_and_nobody_is_told(self) -> None:
        self.begin(WEB)
        for _ in range(3):
            self.give(3 * SECOND)
            self.fall_asleep()
            self.reactor.advance(3600)
            self.read_on()
            self.assertIn(f"-ss {len(self.got) / SECOND:.6f}", self.argv)
        self.give()
        self.assertEqual((self.said, self.workshop.tally.recoveries), ([], 0))
        self.assert_whole()

    def test_it_can_be_woken_before_it_is_read(self) -> None:
        self.begin()
        self.give()
        self.fall_asleep()
        self.supply.wake()
        self.assertEqual(self.living, 1)
        self.supply.wake()
        self.assertEqual(len(self.reactor.children), 2)
        self.read_on()
        self.give()
        self.assert_whole()

    def test_the_minute_counts_from_the_last_read(self) -> None:
        self.begin()
        self.give()
        for _ in range(10):
            self.reading = True
            self.read()
            self.hold_still()
            self.give()
            self.reactor.advance(UNREAD_SECONDS - 1)
            self.assertEqual(self.living, 1)

    def test_a_reader_who_waits_is_not_one_who_does_not_read(self) -> None:
        self.begin(WEB)
        self.give()
        for _ in range(3):
            self.reactor.advance(9)
            self.give(960)
        self.reactor.advance(9)
        self.lose()
        self.reactor.advance(7)
        self.give(960)
        for _ in range(10):
            self.reactor.advance(9)
            self.give(960)
        self.assertFalse(self.supply.resting)
        self.assert_whole()

    def test_nor_is_one_who_waits_for_the_last_word_of_a_page(self) -> None:
        self.begin(PAGE)
        self.give()
        self.break_off()
        self.child.say(REFUSED.format(403))
        self.child.exit()
        self.reactor.advance(UNREAD_SECONDS * 2)
        self.assertFalse(self.supply.resting)
        self.refreshing[0].callback(FOUND)
        self.give()
        self.assert_whole()

    def test_what_was_about_to_follow_is_not_followed_up(self) -> None:
        self.begin()
        self.give()
        self.hold_still()
        self.give(10_000)
        self.reactor.advance(UNREAD_SECONDS - 0.2)
        self.child.exit(signal=9)
        self.child.exit(signal=9)
        self.reactor.advance(0.1)
        self.child.exit(signal=9)
        self.reactor.advance(2.0)
        self.assertTrue(self.supply.resting)
        self.assertEqual(self.living, 0)
        self.made = len(self.got)
        self.read_on()
        self.give()
        self.assert_whole()

    def test_a_failure_after_waking_begins_to_be_counted_anew(self) -> None:
        self.begin()
        self.give()
        self.fall_asleep()
        self.read_on()
        self.lose(0.5)
        self.give()
        self.assertEqual(self.said, [("recovered", SECOND)])
        self.assert_whole()

    def test_the_end_is_kept_for_who_comes_late(self) -> None:
        self.begin()
        self.give()
        self.hold_still()
        self.give(10_000)
        self.give(8)
        self.child.exit()
        self.reactor.advance(3600)
        self.assertFalse(self.supply.resting)
        self.read_on()
        self.assertTrue(self.ended)
        self.assertIsNone(self.supply.failure)
        self.assert_whole()

    def test_closing_while_it_rests(self) -> None:
        self.begin()
        self.give()
        self.fall_asleep()
        fired: list[None] = []
        self.supply.close().addCallback(fired.append)
        self.assertEqual(fired, [None])
        self.supply.wake()
        self.assertEqual(self.living, 0)


class ExpiredTests(SupplyTestCase):
    def refuse(self, status: int = 403) -> None:
        self.child.say(REFUSED.format(status))
        self.child.exit()
        self.reactor.advance(0.02)

    def test_a_refused_media_url_is_looked_up_anew_in_mid_track(self) -> None:
        for status in (401, 403, 404, 410):
            self.setUp()
            self.begin(PAGE)
            self.give(5 * SECOND)
            self.break_off()
            self.refuse(status)
            self.assertEqual((len(self.refreshing), self.living), (1, 0))
            self.refreshing[0].callback(FOUND)
            self.assertIn("-ss 5.000000", self.argv)
            self.assertIn("-i http://h/other", self.argv)
            self.give()
            self.assertEqual(self.said, [("recovered", 5 * SECOND)])
            self.assert_whole()
            self.clean_up()

    def test_so_is_one_that_is_refused_from_the_start(self) -> None:
        self.begin(PAGE, at=7.0)
        self.refuse()
        self.reactor.advance(FIRST_PACKET_SECONDS + 5)
        self.assertFalse(self.ended, "a page may take its time too")
        self.refreshing[0].callback(FOUND)
        self.assertIn("-ss 7.000000", self.argv)
        self.give()
        self.assertEqual(self.said, [])
        self.assert_whole()

    def test_what_was_looked_up_has_15_s_too(self) -> None:
        self.begin(PAGE)
        self.refuse()
        self.refreshing[0].callback(FOUND)
        self.reactor.advance(FIRST_PACKET_SECONDS)
        self.assertTrue(self.ended)

    def test_refused_again_it_fails(self) -> None:
        self.begin(PAGE)
        self.give()
        self.break_off()
        self.refuse()
        self.refreshing[0].callback(FOUND)
        self.refuse(404)
        self.assertTrue(self.ended)
        self.assertIsInstance(self.supply.failure, SourceNotFound)
        self.assertEqual(len(self.refreshing), 1)

    def test_each_time_it_expires_it_is_looked_up(self) -> None:
        self.begin(PAGE)
        for i in range(5):
            self.give(5 * SECOND)
            self.break_off()
            self.refuse()
            self.refreshing[i].callback(FOUND)
        self.give()
        self.assert_whole()

    def test_after_a_long_pause_it_is_looked_up_however_little_was_played(self) -> None:
        self.begin(PAGE)
        self.give()
        for i in range(3):
            self.give(960)
            self.hold_still()
            self.give(960)
            self.give(960)
            self.reactor.advance(UNREAD_SECONDS)
            self.reactor.end()
            self.made = len(self.got)
            self.read_on()
            self.reactor.advance(0.02)
            self.refuse()
            self.refreshing[i].callback(FOUND)
        self.give()
        self.assertEqual(self.said, [])
        self.assert_whole()

    def test_a_direct_url_fails_with_its_error(self) -> None:
        for heard in (True, False):
            self.setUp()
            self.begin(WEB)
            if heard:
                self.give()
                self.break_off(BROKEN)
            self.refuse()
            self.assertIsInstance(self.supply.failure, SourceRefused)
            self.assertEqual(self.refreshing, [])
            self.clean_up()

    def test_a_page_that_gives_nothing_any_more_is_the_error(self) -> None:
        self.begin(PAGE)
        self.give()
        self.break_off()
        self.refuse()
        self.refreshing[0].errback(Failure(ExtractionTimeout()))
        self.assertTrue(self.ended)
        self.assertIsInstance(self.supply.failure, ExtractionTimeout)
        self.assert_whole()

    def test_a_resolver_that_fails_itself_is_an_error_too(self) -> None:
        self.begin(PAGE)
        self.refuse()
        self.refreshing[0].errback(Failure(ZeroDivisionError()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIsInstance(self.supply.failure, ExtractionFailed)

    def test_what_was_looked_up_may_make_no_command_line(self) -> None:
        self.begin(PAGE)
        self.give()
        self.break_off()
        self.refuse()
        self.refreshing[0].callback(replace(PAGE, media=Http("http://h/", {"Cookie": "a\r\nHost: b"})))
        self.assertIsInstance(self.supply.failure, UnsupportedUrl)

    def test_closed_while_it_is_looked_up_it_is_looked_up_no_more(self) -> None:
        cancelled: list[object] = []
        self.begin(PAGE)
        self.refuse()
        looking = self.refreshing[0]
        looking.addErrback(lambda failure: cancelled.append(failure.trap(CancelledError)))
        self.supply.close()
        self.assertTrue(looking.called)
        self.assertEqual(self.supply.failure, None)
        self.assertEqual(self.living, 0)

    def test_an_answer_at_once_is_taken_at_once(self) -> None:
        answered: list[Deferred[object]] = []
        self.begin(PAGE)
        self.give()
        self.break_off()

        def refresh() -> Deferred[object]:
            answer: Deferred[object] = Deferred()
            answer.callback(FOUND)
            answered.append(answer)
            return answer

        self.supply._refresh = refresh  # type: ignore[assignment]
        self.refuse()
        self.assertIn("-i http://h/other", self.argv)
        self.give()
        self.assert_whole()


class StaleTests(SupplyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(supply, "STALE_SECONDS", 6.0)

    def stall(self, seconds: int) -> None:
        """The newest child describes a live playlist, gives so much of it and then nothing, and is killed for that."""
        self.child.say("[info] Input #0, hls, from 'x':\n[info]   Duration: N/A, bitrate: N/A\n")
        for _ in range(seconds):
            self.give()
        self.reactor.advance(STALL_SECONDS)
        self.assertEqual(self.child.signals, ["KILL"])
        self.child.exit(signal=9)
        self.reactor.advance(2.02)

    def test_a_live_playlist_that_nobody_writes_to_any_more_is_not_begun_anew_for_ever(self) -> None:
        self.begin(RADIO)
        for _ in range(3):
            self.assertFalse(self.ended)
            self.stall(5)
        self.assertTrue(self.ended)
        self.assertIsInstance(self.supply.failure, SourceTimeout)

    def test_one_that_goes_on_for_longer_is(self) -> None:
        self.begin(RADIO)
        for _ in range(5):
            self.stall(6)
        self.assertFalse(self.ended)
