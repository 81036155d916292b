"""Many sessions side by side: who replaces whom, how many there may be, and what is counted."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from audiosvc.errors import NoFds, Overloaded, SessionNotFound, ShuttingDown, TooManySessions, UnsupportedUrl
from audiosvc.flow.overload import Overload
from audiosvc.session import registry
from audiosvc.session.registry import NEXT_SECONDS, VISIBLE_SECONDS, Registry
from audiosvc.session.track import Play
from audiosvc.session.weight import is_light
from audiosvc.sources.model import Http, Source
from audiosvc.wire.messages import Ready, Stopped
from tests.fakes import frames
from tests.session.support import SONG, SessionTestCase


class SideBySideTests(SessionTestCase):
    def test_each_session_hears_its_own_child_whatever_happens_to_the_others(self) -> None:
        for name in "abc":
            self.play(name)
        first, second, third = self.reactor.children
        for i in range(12):
            for start, child in ((0, first), (50, second), (100, third)):
                if child.alive and not child.signals:
                    child.write(frames(1, first=start + i))
            self.turn()
            for name in "abc":
                self.pull(1, name)
            if i == 5:
                self.registry.stop("a")
            if i == 8:
                self.play("b")
        self.assertEqual(self.types("c"), ["ready", *(str(100 + i) for i in range(11))])
        self.assertEqual(self.types("a"), ["ready", *map(str, range(5)), "stopped"])
        self.assertEqual(self.types("b"), ["ready", *(str(50 + i) for i in range(8)), "stopped"])

    def test_a_play_replaces_the_session_of_its_id_and_no_other(self) -> None:
        first, other = self.play("a"), self.play("b")
        self.write(3)
        second = self.play("a")
        self.assertNotEqual(first, second)
        self.assertEqual(self.listener.log["a"], [Stopped("a", first, "replaced", 0.0)])
        self.assertEqual(
            [snapshot.track_id for snapshot in sorted(self.registry.snapshots(), key=lambda seen: seen.session_id)],
            [second, other],
        )

    def test_replaced_in_mid_track_nothing_of_the_old_follows(self) -> None:
        self.play()
        self.write(12)
        self.pull(4)
        old = self.child
        track_id = self.play()
        self.pull(96)
        self.assertEqual(self.types(), ["ready", "0", "1", "2", "3", "stopped"])
        self.assertRaises(BrokenPipeError, old.write, frames(5))
        self.assertEqual(len(self.reactor.children), 1, "the new child waits for the old one's reaping")
        self.reap()
        self.write(4, first=200)
        self.assertEqual(self.types()[5:], ["stopped", "ready", "200", "201", "202"])
        ready = self.listener.log["a"][6]
        assert isinstance(ready, Ready)
        self.assertEqual(ready.track_id, track_id)

    def test_a_play_after_a_stop_waits_for_the_reaping_too(self) -> None:
        self.play()
        self.registry.stop("a")
        self.play()
        self.registry.stop("a")
        self.play()
        self.assertEqual(len(self.reactor.children), 1)
        self.reap()
        self.assertEqual((len(self.reactor.children), self.living), (2, 1))

    def test_who_is_replaced_while_it_waits_starts_no_child(self) -> None:
        for _ in range(20):
            self.play()
        self.assertEqual(len(self.reactor.children), 1)
        self.reap()
        self.assertEqual((len(self.reactor.children), self.living), (2, 1))
        self.assertEqual(self.types(), ["stopped"] * 19)

    def test_another_id_does_not_wait(self) -> None:
        self.play("a")
        self.registry.stop("a")
        self.play("b")
        self.assertEqual(len(self.reactor.children), 2)


class LimitTests(SessionTestCase):
    def test_so_many_and_no_more_but_each_may_be_replaced(self) -> None:
        for name in "abc":
            self.play(name)
        self.assertRaises(TooManySessions, self.play, "d")
        self.play("c")
        self.registry.stop("a")
        self.play("d")
        self.assertEqual({snapshot.session_id for snapshot in self.registry.snapshots()}, set("bcd"))

    def test_a_url_that_is_refused_leaves_what_plays_alone(self) -> None:
        self.play("a")
        self.write(3)
        self.resolver.refusal = UnsupportedUrl()
        self.assertRaises(UnsupportedUrl, self.play, "a")
        self.assertRaises(UnsupportedUrl, self.play, "b")
        self.assertEqual((len(self.registry.snapshots()), self.registry.plays), (1, 1))
        self.pull(1)
        self.assertEqual(self.types(), ["ready", "0"])

    def test_shut_down_stops_all_and_takes_no_more(self) -> None:
        self.play("a")
        self.play("b")
        self.write(3)
        self.registry.shut_down()
        self.assertEqual(self.types("a"), ["stopped"])
        self.assertEqual(self.types("b"), ["ready", "stopped"])
        end = self.last("a")
        assert isinstance(end, Stopped)
        self.assertEqual(end.reason, "shutdown")
        self.assertRaises(ShuttingDown, self.play, "c")
        self.assert_nothing_left()


class FakeOverload:
    """Lets in whom it is told to, and writes down whom it was asked for."""

    def __init__(self) -> None:
        self.full = False
        self.asked: list[bool] = []

    def refuses(self, *, light: bool) -> bool:
        return self.full and not light

    def admit(self, *, light: bool) -> None:
        self.asked.append(light)
        if self.full and not light:
            raise Overloaded()


class OverloadTests(SessionTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.overload = FakeOverload()
        self.registry = Registry(self.house, 3, cast(Overload, self.overload))
        self.resolver.sources["opus"] = replace(SONG, url="opus", opus=True)

    def pending(self, seconds: float = 0.0) -> int:
        self.reactor.advance(seconds)
        return self.registry.pending()

    def test_a_play_too_many_changes_nothing(self) -> None:
        self.overload.full = True
        self.assertRaises(Overloaded, self.play, "a")
        self.assertEqual((self.registry.snapshots(), self.registry.plays, self.pending()), ([], 0, 0))

    def test_why_a_play_would_be_refused_can_be_asked_without_one(self) -> None:
        self.assertEqual(self.registry.refusals(), [])
        for name in "abc":
            self.play(name)
        self.overload.full = True
        self.patch(registry, "check_descriptors", lambda: (_ for _ in ()).throw(NoFds()))
        self.assertEqual([type(e) for e in self.registry.refusals()], [TooManySessions, NoFds, Overloaded])
        self.registry.shut_down()
        self.assertEqual([type(e) for e in self.registry.refusals()], [ShuttingDown, NoFds, Overloaded])
        self.assertEqual(self.overload.asked, [False] * 3)

    def test_what_plays_is_replaced_even_so(self) -> None:
        self.play("a")
        self.overload.full = True
        self.play("a")
        self.registry.seek("a", 1.0)
        self.registry.pause("a")
        self.registry.resume("a")
        self.assertEqual(self.overload.asked, [False])

    def test_the_next_of_a_queue_comes_even_so(self) -> None:
        for wait in (0.0, NEXT_SECONDS / 2):
            self.play("a")
            self.reactor.children[-1].exit()
            self.turn()
            self.assertEqual(self.registry.snapshots(), [])
            self.overload.full = True
            self.reactor.advance(wait)
        self.play("a")
        self.assertEqual((self.overload.asked, self.pending()), ([False], 1))

    def test_but_neither_one_that_was_stopped_nor_one_that_comes_late(self) -> None:
        self.play("a")
        self.registry.stop("a")
        self.play("b")
        self.reactor.children[-1].exit()
        self.turn()
        self.overload.full = True
        self.assertRaises(Overloaded, self.play, "a")
        self.reactor.advance(NEXT_SECONDS + 0.1)
        self.assertRaises(Overloaded, self.play, "b")

    def test_but_not_what_takes_nothing_by_what_does(self) -> None:
        self.play("a", "opus", "opus")
        self.overload.full = True
        self.play("a", "opus", "ogg")
        self.assertRaises(Overloaded, self.play, "a")
        self.assertEqual(self.overload.asked, [True, False])
        self.assertEqual(self.registry.snapshot("a").url, "opus")

    def test_what_is_passed_on_as_it_is_is_light(self) -> None:
        for weight, options in (
            (True, {}),
            (False, {"volume": 0.5}),
            (False, {"bitrate": 64_000}),
            (False, {"format": "pcm"}),
        ):
            self.play("a", "opus", **{"format": "opus", **options})  # type: ignore[arg-type]
            self.registry.stop("a")
            self.assertEqual(self.overload.asked.pop(), weight, options)

    def test_what_is_not_known_may_take_work(self) -> None:
        self.resolver.hold = True
        self.play("a", "opus", "opus")
        self.assertEqual(self.overload.asked, [False])

    def test_a_broadcast_that_is_on_the_air_is_light(self) -> None:
        radio = Source("radio", Http("http://h/radio"), live=True)
        self.resolver.sources["radio"] = radio
        for format in ("opus", "opus", "pcm"):
            self.play(f"{len(self.overload.asked)}", "radio", format)
        self.assertEqual(self.overload.asked, [False, True, False])

    def test_a_kept_track_is_light(self) -> None:
        self.house.workshop.cache = cast(Any, SimpleNamespace(find=lambda *_: object()))
        self.assertTrue(is_light(self.house, Play(SONG.url)))
        self.assertFalse(is_light(self.house, Play(SONG.url, volume=0.5)))

    def test_newcomers_are_pending_until_they_have_flowed_for_a_while(self) -> None:
        self.play("a")
        self.play("b")
        self.play("c", "opus", "opus")
        self.assertEqual(self.pending(5.0), 2)
        self.reactor.children[0].write(frames(25))
        self.turn()
        self.assertEqual(self.pending(), 2)
        self.assertEqual(self.pending(VISIBLE_SECONDS), 1)
        self.registry.stop("b")
        self.assertEqual(self.pending(), 0)

    def test_one_that_is_paused_before_it_flows_is_pending_no_longer(self) -> None:
        self.play("a")
        self.registry.pause("a")
        self.assertEqual(self.pending(), 1)
        self.assertEqual(self.pending(VISIBLE_SECONDS), 0)


class LookingTests(SessionTestCase):
    def test_what_is_not_there_is_not_found_and_may_be_stopped(self) -> None:
        self.play("a")
        self.registry.stop("a")
        for name in "ab":
            self.registry.stop(name)
            self.assertRaises(SessionNotFound, self.registry.pause, name)
            self.assertRaises(SessionNotFound, self.registry.resume, name)
            self.assertRaises(SessionNotFound, self.registry.seek, name, 1.0)
            self.assertRaises(SessionNotFound, self.registry.set_volume, name, 1.0)
            self.assertRaises(SessionNotFound, self.registry.snapshot, name)

    def test_the_accepted_plays_id_is_the_snapshots(self) -> None:
        track_id = self.registry.play("a", Play(SONG.url))
        self.assertEqual(self.registry.snapshot("a").track_id, track_id)

    def test_sessions_are_counted_by_what_they_do(self) -> None:
        self.play("a")
        self.write(3)
        self.play("b")
        self.play("c")
        self.registry.pause("c")
        self.assertEqual(self.registry.by_status(), {"streaming": 1, "extracting": 1, "paused": 1})

    def test_plays_and_ends_are_counted_since_the_start(self) -> None:
        self.play("a")
        self.play("a")
        self.registry.stop("a")
        self.reap()
        self.play("b")
        self.write(2)
        self.exit()
        self.pull(9, "b")
        self.play("b")
        self.exit()
        self.play("c", url="nowhere")
        self.assertEqual(self.registry.plays, 5)
        self.assertEqual(
            self.registry.ends,
            {"stopped:replaced": 1, "stopped:stop": 1, "finished": 1, "error:not_audio": 1, "error:internal": 1},
        )
        self.assert_nothing_left()
