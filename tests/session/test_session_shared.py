"""Sessions that hear the same station: one child, and each its own events."""

from __future__ import annotations

from audiosvc.flow.shared import SETTLE_SECONDS
from audiosvc.wire.messages import Error, Metadata, Stopped
from tests.fakes import frames
from tests.session.support import SessionTestCase
from tests.session.test_session_recovery import ICY, RADIO, REFUSED, RecoveryTestCase


class SharingTestCase(RecoveryTestCase):
    def station(self, *session_ids: str, **options: object) -> None:
        for session_id in session_ids:
            self.play(session_id, RADIO.url, **options)
            self.listener.credit[session_id] = 10_000

    def clean_up(self) -> None:
        super().clean_up()
        SessionTestCase.assert_nothing_left(self)


class SharingTests(SharingTestCase):
    def test_each_has_its_ready_its_packets_and_its_title(self) -> None:
        self.station("a", "b")
        self.write(5)
        self.child.say(ICY.format("One"))
        self.write(5, first=5)
        expected = ["ready", *map(str, range(4)), "4", "metadata", *map(str, range(5, 9))]
        self.assertEqual(self.types("a"), expected)
        self.assertEqual(self.types("b"), expected)
        self.assertEqual((len(self.reactor.children), self.spawner.spawns), (1, 1))
        self.assertEqual([self.registry.snapshot(name).title for name in "ab"], ["One", "One"])

    def test_who_comes_later_has_a_first_packet_at_once(self) -> None:
        self.station("a")
        self.child.write(frames(60))
        self.turn()
        self.child.say(ICY.format("One"))
        self.write(40, first=60)
        self.reactor.advance(2)
        self.station("b")
        self.reactor.advance(0)
        types = self.types("b")
        self.assertEqual((types[0], types[1], types[-1]), ("ready", "metadata", "98"))
        track_id = self.registry.snapshot("b").track_id
        self.assertIn(Metadata("b", track_id, "One"), self.listener.log["b"])
        self.assertEqual(self.packets("b"), self.packets("a")[-len(self.packets("b")) :])
        self.assertEqual(self.registry.snapshot("b").position, len(self.packets("b")) * 0.02)

    def test_one_who_comes_paused_is_paused_at_his_first_packet(self) -> None:
        self.station("a")
        self.write(50)
        self.reactor.advance(1)
        self.play("b", RADIO.url)
        self.registry.pause("b")
        self.reactor.advance(0)
        self.pull(9, "b")
        self.assertEqual(self.types("b"), ["ready", "paused"])
        self.registry.resume("b")
        self.assertEqual(self.types("b")[2], "resumed")
        self.assertEqual(len(self.packets("b")), 5)

    def test_pausing_and_stopping_is_not_noticed_by_others(self) -> None:
        self.station("a", "b", "c")
        self.write(20)
        self.registry.pause("a")
        self.registry.stop("b")
        self.write(20, first=20)
        self.assertEqual(self.types("c"), ["ready", *map(str, range(39))])
        self.registry.resume("a")
        self.write(20, first=40)
        self.assertEqual(
            self.types("a"), ["ready", *map(str, range(19)), "paused", "resumed", *map(str, range(19, 59))]
        )
        self.assertIsInstance(self.last("b"), Stopped)
        self.assertEqual(self.living, 1)
        for name in "ac":
            self.registry.stop(name)
        self.assertEqual(self.living, 0)

    def test_a_volume_of_ones_own(self) -> None:
        self.station("a", "b")
        self.write(20)
        self.registry.set_volume("b", 0.0)
        self.write(20, first=20)
        self.assertEqual(self.types("b"), self.types("a"))
        self.reactor.advance(SETTLE_SECONDS)
        self.write(20, first=100)
        self.assertEqual(self.packets("b")[-1], bytes(3840))
        self.assertEqual(len(self.packets("b")), len(self.packets("a")) + 19)
        self.assertEqual((self.registry.snapshot("b").volume, self.living), (0.0, 2))
        self.assertEqual({"error", "recovered", "stopped"} & {*self.types("a"), *self.types("b")}, set())

    def test_all_have_the_same_error(self) -> None:
        self.station("a", "b")
        self.child.say(REFUSED)
        self.exit()
        for name in "ab":
            end = self.last(name)
            assert isinstance(end, Error)
            self.assertEqual((end.code, self.types(name)), ("source_refused", ["error"]))

    def test_one_that_is_replaced_while_it_is_being_opened(self) -> None:
        self.station("a", "b")
        self.station("a")
        self.write(10)
        self.assertEqual(self.types("b"), ["ready", *map(str, range(9))])
        self.assertEqual(self.types("a"), ["stopped", "ready", *map(str, range(9))])
        self.assertEqual(len(self.reactor.children), 1)

    def test_pages_of_ogg_are_each_ones_own(self) -> None:
        self.station("a", "b", format="ogg")
        self.write(10)
        mine, other = self.packets("a"), self.packets("b")
        self.assertEqual((len(mine), len(self.reactor.children)), (len(other), 1))
        self.assertNotEqual(mine[3], other[3])
        self.assertEqual(mine[3][28:], other[3][28:])
