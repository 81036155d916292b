"""One session paused, resumed and sought in."""

from __future__ import annotations

from audiosvc.errors import PositionOutOfRange
from audiosvc.wire.messages import Error, Finished, Paused, Ready, Resumed, Seeked
from tests.fakes import TONE
from tests.session.support import SessionTestCase


class PausingTests(SessionTestCase):
    def test_paused_nothing_flows_and_resumed_it_goes_on(self) -> None:
        track_id = self.play()
        self.write(6)
        self.pull(2)
        self.registry.pause("a")
        self.registry.pause("a")
        self.pull(2)
        self.assertFalse(self.listener.feeds["a"].flowing)
        self.assertEqual(self.types(), ["ready", "0", "1", "paused"])
        self.assertEqual(self.last(), Paused("a", track_id, 0.04))
        self.registry.resume("a")
        self.registry.resume("a")
        self.assertEqual(self.types(), ["ready", "0", "1", "paused", "resumed", "2", "3"])
        self.assertIn(Resumed("a", track_id, 0.04), self.listener.log["a"])

    def test_paused_before_it_is_ready(self) -> None:
        self.play()
        self.registry.pause("a")
        self.assertEqual(self.types(), [])
        self.pull(5)
        self.write(6)
        self.assertEqual(self.types(), ["ready", "paused"])
        self.registry.resume("a")
        self.assertEqual(self.types(), ["ready", "paused", "resumed", "0", "1", "2", "3", "4"])

    def test_paused_and_resumed_before_it_is_ready_is_as_if_nothing_was(self) -> None:
        self.play()
        self.registry.pause("a")
        self.registry.resume("a")
        self.pull(1)
        self.write(3)
        self.assertEqual(self.types(), ["ready", "0"])

    def test_the_end_waits_for_who_is_paused(self) -> None:
        self.play()
        self.write(3)
        self.registry.pause("a")
        self.exit()
        self.assertEqual(self.types(), ["ready", "paused"])
        self.pull(9)
        self.registry.resume("a")
        self.assertEqual(self.types()[-4:], ["0", "1", "2", "finished"])
        self.assert_nothing_left()


class SeekingTests(SessionTestCase):
    def test_in_mid_track(self) -> None:
        track_id = self.play()
        self.write(10)
        self.pull(4)
        first = self.child
        self.registry.seek("a", 7.5)
        self.assertEqual(self.last(), Seeked("a", track_id, 7.5, 0.08))
        self.assertEqual(first.signals, ["KILL"])
        self.assertEqual(len(self.reactor.children), 1, "not before the old child is reaped")
        self.pull(5)
        self.reap()
        self.assertIn("-ss 7.500000", " ".join(self.child.argv))
        self.write(4, first=100)
        self.assertEqual(self.types()[-4:], ["seeked", "100", "101", "102"])
        self.assertEqual(self.registry.snapshot("a").position, 7.56)
        self.exit()
        self.assertEqual(self.last(), Finished("a", track_id, 0.16))
        self.assertEqual(self.types().count("ready"), 1)
        self.assert_nothing_left()

    def test_paused_stays_paused(self) -> None:
        self.play()
        self.write(10)
        self.pull(1)
        self.registry.pause("a")
        self.registry.seek("a", 2.0)
        self.reap()
        self.pull(2)
        self.write(5, first=50)
        self.assertEqual(self.registry.snapshot("a").status, "paused")
        self.assertEqual(self.types(), ["ready", "0", "paused", "seeked"])
        self.registry.resume("a")
        self.assertEqual(self.types()[-3:], ["resumed", "50", "51"])

    def test_before_it_is_ready_nobody_is_told(self) -> None:
        self.play()
        self.registry.seek("a", 4.0)
        self.reap()
        self.write(3)
        ready = self.last()
        assert isinstance(ready, Ready)
        self.assertEqual((self.types(), ready.position), (["ready"], 4.0))

    def test_again_and_again_only_the_last_is_opened(self) -> None:
        self.play()
        self.write(3)
        for at in (1.0, 2.0, 3.0):
            self.registry.seek("a", at)
        self.assertEqual(self.living, 0)
        self.reap()
        self.assertEqual(len(self.reactor.children), 2)
        self.assertIn("-ss 3.000000", " ".join(self.child.argv))
        self.assertEqual(self.types(), ["ready", "seeked", "seeked", "seeked"])

    def test_past_the_known_end_is_refused_and_changes_nothing(self) -> None:
        self.play(url=TONE.url)
        self.write(3)
        self.assertRaises(PositionOutOfRange, self.registry.seek, "a", 30.1)
        self.pull(1)
        self.assertEqual(self.types(), ["ready", "0"])
        self.assertEqual(self.living, 1)

    def test_past_an_unknown_end_finishes(self) -> None:
        track_id = self.play()
        self.write(3)
        self.pull(1)
        self.registry.seek("a", 500.0)
        self.reap()
        self.exit()
        self.assertEqual(self.last(), Finished("a", track_id, 0.02))

    def test_a_start_past_the_end_is_an_error(self) -> None:
        self.play(start_at=500.0)
        self.exit()
        end = self.last()
        assert isinstance(end, Error)
        self.assertEqual((self.types(), end.code), (["error"], "position_out_of_range"))
        self.assert_nothing_left()

    def test_after_the_child_has_ended(self) -> None:
        self.play()
        self.write(3)
        self.exit()
        self.registry.seek("a", 1.0)
        self.pull(9)
        self.write(2, first=9)
        self.exit()
        self.assertEqual(self.types(), ["ready", "seeked", "9", "10", "finished"])
