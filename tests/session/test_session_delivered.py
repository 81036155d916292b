"""Sessions and the hub that delivers them, with nothing faked between a child's pipe and a connection."""

from __future__ import annotations

from audiosvc.audio import FRAME_SECONDS
from audiosvc.delivery.hub import Hub
from audiosvc.flow.pipeline import HIGH_WATER
from audiosvc.session.registry import Registry
from audiosvc.session.session import House
from audiosvc.sources.model import Http, Source
from audiosvc.wire.messages import Credit
from tests.codec.test_passing import numbered
from tests.fakes import FakeConnection, FakeResolver, frames
from tests.flow.support import RADIO
from tests.flow.test_passing_fakes import ogg
from tests.session.support import SONG, SessionTestCase

OPUS = Source("opus", Http("http://h/song.opus"), duration=3.0, opus=True)
FRAMES = 150


class DeliveredTestCase(SessionTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hub = Hub(self.reactor, 60, lambda going: None)
        self.addCleanup(self.hub.stop)
        resolver = FakeResolver(SONG, OPUS, RADIO)
        self.registry = Registry(House(self.house.workshop, resolver, self.hub, 64_000, 1800), max_sessions=3)
        self.client = FakeConnection()
        self.hub.join(self.client)

    def give(self, data: bytes) -> None:
        """The child writes all of it, as fast as it is read, and exits."""
        while data:
            written = self.child.write(data)
            data = data[written:]
            self.turn()
            if not written:
                self.assertFalse(self.client.credit, "nothing is read, and there is credit")
                self.beat()
        self.exit()

    def beat(self) -> None:
        self.reactor.advance(FRAME_SECONDS)
        self.turn()

    def assert_all(self, expected: list[bytes], session_id: str = "a") -> None:
        packets = self.client.packets(session_id)
        self.assertEqual(len(packets), len(expected))
        self.assertTrue(packets == expected, "other packets, or in another order")
        self.assertEqual(self.client.events(session_id), ["ready", "finished"])
        self.assertEqual(self.hub.vitals().underruns, 0)


class CreditTests(DeliveredTestCase):
    """Credit sets the pace, and not the beat: no time passes."""

    def test_packets_that_are_passed_come_as_fast_as_they_are_there(self) -> None:
        self.hub.take(self.client, Credit("a", 500))
        self.play(url=OPUS.url, format="opus")
        self.give(ogg(0, FRAMES))
        self.assert_all(numbered(FRAMES))
        self.assertEqual(self.reactor.seconds(), 0)

    def test_and_so_do_those_that_are_made(self) -> None:
        self.hub.take(self.client, Credit("a", 500))
        self.play(url=SONG.url)
        self.give(frames(FRAMES))
        self.assert_all([frames(1, i) for i in range(FRAMES)])
        self.assertEqual(self.reactor.seconds(), 0)

    def test_and_those_of_a_source_that_is_shared(self) -> None:
        self.hub.take(self.client, Credit("a", 500))
        self.hub.take(self.client, Credit("b", 500))
        self.play(url=RADIO.url, duration=3.0)
        self.play("b", url=RADIO.url, duration=3.0)
        # A station does not end; the last packet asked for is known to be good once there is one behind it.
        self.give(frames(FRAMES + 1))
        for session_id in "ab":
            self.assert_all([frames(1, i) for i in range(FRAMES)], session_id)
        self.assertEqual(self.reactor.seconds(), 0)

    def test_a_grant_is_spent_on_what_is_made_ahead_and_on_what_that_makes_room_for(self) -> None:
        self.hub.take(self.client, Credit("a", 0))
        self.play(url=OPUS.url, format="opus")
        self.child.write(ogg(0, FRAMES))
        self.turn()
        self.hub.take(self.client, Credit("a", 60))
        self.assertEqual(len(self.client.packets("a")), HIGH_WATER - 1)
        self.turn()
        self.assertEqual((len(self.client.packets("a")), self.client.credit["a"]), (60, 0))


class PacedTests(DeliveredTestCase):
    def assert_paced(self, expected: list[bytes]) -> None:
        """One packet each beat, the end together with the last of them."""
        while len(packets := self.client.packets("a")) < len(expected):
            self.assertEqual(self.client.events("a"), ["ready"])
            self.beat()
            self.assertEqual(len(self.client.packets("a")), len(packets) + 1)
        self.assert_all(expected)

    def test_every_beat_has_its_packet_to_the_end_of_what_is_passed(self) -> None:
        self.play(url=OPUS.url, format="opus")
        self.give(ogg(0, FRAMES))
        self.assert_paced(numbered(FRAMES))

    def test_and_of_what_is_made(self) -> None:
        self.play(url=SONG.url)
        self.give(frames(FRAMES))
        self.assert_paced([frames(1, i) for i in range(FRAMES)])

    def test_late_beats_are_made_good_out_of_what_is_there(self) -> None:
        for url, format, data in ((OPUS.url, "opus", ogg(0, FRAMES)), (SONG.url, "pcm", frames(FRAMES))):
            heard = len(self.client.packets("a"))
            self.play(url=url, format=format)
            self.give(data)
            for _ in range(FRAMES // 7 + 1):
                self.reactor.advance(7 * FRAME_SECONDS)
                self.turn()
            self.assertEqual(len(self.client.packets("a")) - heard, FRAMES)
            self.assertEqual(self.hub.vitals().underruns, 0)
