"""One session whose source fails and goes on, rests, expires, changes its title, or is live."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred

from audiosvc.errors import NotSeekable
from audiosvc.flow.supply import UNREAD_SECONDS
from audiosvc.sources.model import Http, Source
from audiosvc.wire.messages import Error, Finished, Metadata, Ready, Recovered, Stopped
from tests.fakes import FakeResolver, frames
from tests.session.support import SONG, SessionTestCase

PAGE = Source("http://page/", Http("http://h/first"), title="Page", extracted=True)
RADIO = Source("http://h/radio", Http("http://h/radio"), title="Radio", live=True)
REFUSED = "[in#0 @ 0x1] [error] Error opening input: Server returned 403 Forbidden (access denied)\n"
BROKEN = "[in#0/mp3 @ 0x1] [error] Stream ends prematurely at 1000, should be 2000\n"
ICY = "[verbose] Metadata update for StreamTitle: {}\n"


class FreshResolver(FakeResolver):
    """Says of each look-up whether it had to be fresh."""

    def __init__(self, *sources: Source) -> None:
        super().__init__(*sources)
        self.asked: list[tuple[str, bool]] = []

    def resolve(self, url: str, *, fresh: bool = False) -> Deferred[Source]:
        self.asked.append((url, fresh))
        return super().resolve(url)


class RecoveryTestCase(SessionTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.fresh = FreshResolver(SONG, PAGE, RADIO)
        self.house = replace(self.house, resolver=self.fresh)
        self.registry._house = self.house

    @property
    def argv(self) -> str:
        return " ".join(self.child.argv)

    def lose(self, delay: float = 0.5) -> None:
        self.exit(signal=9)
        self.reactor.advance(delay)


class RecoveringTests(RecoveryTestCase):
    def test_the_listener_hears_every_frame_and_is_told_where_it_went_on(self) -> None:
        track_id = self.play(start_at=3.0)
        self.write(5)
        self.pull(99)
        self.lose()
        self.write(5, first=5)
        self.assertEqual(self.types(), ["ready", "0", "1", "2", "3", "4", "recovered", "5", "6", "7", "8"])
        recovered = next(said for said in self.listener.log["a"] if isinstance(said, Recovered))
        self.assertEqual(recovered, Recovered("a", track_id, 3.1))
        snapshot = self.registry.snapshot("a")
        self.assertEqual((snapshot.recoveries, snapshot.position, snapshot.status), (1, 3.18, "streaming"))
        self.exit()
        self.assertEqual(self.last(), Finished("a", track_id, 0.2))
        self.assert_nothing_left()

    def test_the_same_encoder_and_the_same_ogg_stream_go_on(self) -> None:
        self.play(format="ogg")
        self.write(5)
        self.lose()
        encoder = self.encoders
        self.write(5, first=5)
        self.exit()
        self.pull(99)
        self.assertEqual(len(self.packets()), 12)
        self.assertIs(encoder, self.encoders)
        self.assertEqual(self.packets()[-1][5] & 4, 4)
        self.assertEqual(self.types()[-1], "finished")

    def test_who_is_paused_is_told_behind_what_comes_before_it(self) -> None:
        self.play()
        self.write(5)
        self.pull(2)
        self.registry.pause("a")
        self.lose()
        self.write(5, first=5)
        self.pull(99)
        self.assertEqual(self.types(), ["ready", "0", "1", "paused"])
        self.registry.resume("a")
        self.assertEqual(self.types()[4:], ["resumed", "2", "3", "4", "recovered", "5", "6", "7", "8"])

    def test_a_seek_overtakes_it(self) -> None:
        self.play()
        self.write(5)
        self.lose()
        self.write(5, first=5)
        self.registry.seek("a", 9.0)
        self.reap()
        self.write(5, first=50)
        self.pull(99)
        self.assertEqual(self.types(), ["ready", "seeked", "50", "51", "52", "53"])
        self.assertEqual(self.registry.snapshot("a").recoveries, 0)

    def test_stopped_while_the_next_child_is_due(self) -> None:
        self.play()
        self.write(5)
        self.exit(signal=9)
        self.registry.stop("a")
        self.reactor.advance(5)
        self.assertEqual(len(self.reactor.children), 1)
        self.assertIsInstance(self.last(), Stopped)
        self.assert_nothing_left()

    def test_a_source_that_ends_early_is_an_error_with_what_was_played(self) -> None:
        self.fresh.sources["http://h/x"] = Source("http://h/x", Http("http://h/x"), duration=60.0)
        track_id = self.play(url="http://h/x")
        self.pull(999)
        for delay in (0.5, 2.0, 0.0):
            self.child.say(BROKEN)
            self.write(5)
            self.exit()
            self.reactor.advance(delay)
        end = self.last()
        assert isinstance(end, Error)
        self.assertEqual(
            (end.track_id, end.code, end.played, end.duration), (track_id, "source_ended_early", 0.3, 60.0)
        )
        self.assert_nothing_left()

    def test_a_session_paused_for_more_than_a_minute_holds_no_child(self) -> None:
        self.play()
        self.child.write(frames(60))
        self.turn()
        self.pull(5)
        self.registry.pause("a")
        self.reactor.advance(UNREAD_SECONDS)
        self.reap()
        self.reactor.advance(0.02)
        self.assertEqual((self.spawner.children, self.reactor.getReaders()), (0, []))
        self.reactor.advance(1000)
        self.pull(1)
        self.assertEqual(self.spawner.children, 0)
        self.registry.resume("a")
        self.assertEqual(self.types()[-2:], ["resumed", "5"], "what is ready is there at once")
        self.assertEqual(self.spawner.children, 1)
        self.pull(99)
        self.assertIn("-ss 1.000000", self.argv)
        self.write(5, first=50)
        self.assertEqual(self.types().count("recovered"), 0)
        heard = ["ready", *map(str, range(5)), "paused", "resumed", *map(str, range(5, 54))]
        self.assertEqual(self.types(), heard)

    def test_nobody_listening_for_a_minute_is_the_same(self) -> None:
        self.play()
        self.child.write(frames(60))
        self.turn()
        self.reactor.advance(UNREAD_SECONDS + 1)
        self.reap()
        self.assertEqual(self.spawner.children, 0)
        self.pull(1)
        self.assertEqual(self.spawner.children, 1)


class ExpiryTests(RecoveryTestCase):
    def refuse(self) -> None:
        self.child.say(REFUSED)
        self.exit()

    def test_a_page_is_read_anew_once_for_each_time_its_media_url_expires(self) -> None:
        self.play(url=PAGE.url)
        self.refuse()
        self.assertEqual(self.fresh.asked, [(PAGE.url, False), (PAGE.url, True)])
        self.pull(99)
        self.write(60)
        self.assertEqual(self.types()[0], "ready")
        self.child.say(BROKEN)
        self.exit()
        self.reactor.advance(0.02)
        for fails in (False, True):
            self.assertNotIn("error", self.types())
            self.refuse()
            self.reactor.advance(0.02)
            self.assertEqual((len(self.fresh.asked), "error" in self.types()), (3, fails))

    def test_what_was_found_is_what_is_opened_from_then_on(self) -> None:
        self.play(url=PAGE.url)
        self.fresh.sources[PAGE.url] = replace(PAGE, media=Http("http://h/second"), title="Other")
        self.refuse()
        self.assertIn("-i http://h/second", self.argv)
        self.write(5)
        ready = self.last()
        assert isinstance(ready, Ready)
        self.assertEqual(ready.title, "Page")
        self.registry.seek("a", 4.0)
        self.reap()
        self.assertIn("-i http://h/second", self.argv)
        self.assertEqual(len(self.fresh.asked), 2)


class TitleTests(RecoveryTestCase):
    def test_a_new_title_is_told_in_its_place_and_only_once(self) -> None:
        track_id = self.play(url=RADIO.url)
        self.write(3)
        self.pull(99)
        for title in ("Radio", "One", "One", "Two"):
            self.child.say(ICY.format(title))
        self.write(3, first=3)
        self.child.say(ICY.format("Two"))
        self.write(2, first=6)
        self.assertEqual(self.types(), ["ready", "0", "1", "2", "metadata", "metadata", "3", "4", "5", "6"])
        told = [said for said in self.listener.log["a"] if isinstance(said, Metadata)]
        self.assertEqual(told, [Metadata("a", track_id, "One"), Metadata("a", track_id, "Two")])
        self.assertEqual(self.registry.snapshot("a").title, "Two")


class LiveTests(RecoveryTestCase):
    def test_it_cannot_be_sought_in_and_goes_on(self) -> None:
        self.play(url=RADIO.url)
        self.write(3)
        self.assertRaises(NotSeekable, self.registry.seek, "a", 5.0)
        self.pull(9)
        self.assertEqual(self.types(), ["ready", "0", "1"])

    def test_nor_one_that_is_found_to_be_live(self) -> None:
        self.play()
        self.child.say("[info] Input #0, hls, from 'x':\n[info]   Duration: N/A, bitrate: N/A\n")
        self.write(3)
        self.assertRaises(NotSeekable, self.registry.seek, "a", 5.0)

    def test_a_start_asked_for_is_none(self) -> None:
        self.play(url=RADIO.url, start_at=30.0, duration=10.0)
        self.assertNotIn("-ss", self.argv)
        self.write(3)
        self.assertEqual(self.registry.snapshot("a").position, 0.0)

    def test_what_its_listener_came_too_late_for_is_counted(self) -> None:
        self.play(url=RADIO.url)
        self.child.write(frames(40))
        self.turn()
        self.pull(1)
        self.assertEqual(self.registry.snapshot("a").dropped, 0)
        self.reactor.advance(30)
        self.pull(1)
        self.assertEqual(self.registry.snapshot("a").dropped, 39)
        self.assertEqual(self.registry.snapshot("a").position, 0.02)
