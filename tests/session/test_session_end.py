"""One session that fails, is stopped, or idles for too long."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from audiosvc.errors import SourceUnreachable
from audiosvc.sources.model import Source
from audiosvc.wire.messages import Error, Ready, Stopped
from tests.fakes import TONE
from tests.session.support import IDLE_TIMEOUT, SONG, SessionTestCase


class FailingTests(SessionTestCase):
    def error(self) -> Error:
        end = self.last()
        assert isinstance(end, Error)
        self.assertEqual(sum(name in ("error", "finished", "stopped") for name in self.types()), 1)
        return end

    def test_a_url_that_leads_nowhere(self) -> None:
        self.resolver.hold = True
        track_id = self.play()
        self.resolver.answer(Failure(SourceUnreachable("no such host")))
        self.assertEqual(self.error(), Error("a", track_id, "source_unreachable", "no such host", 0.0))
        self.assert_nothing_left()

    def test_a_resolver_that_fails_itself(self) -> None:
        self.resolver.hold = True
        self.play()
        self.resolver.answer(Failure(ZeroDivisionError()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.error().code, "decoder_failed")
        self.assert_nothing_left()

    def test_no_child_to_be_had(self) -> None:
        self.reactor.spawn_error = OSError(12, "Cannot allocate memory")
        self.play()
        self.assertEqual(self.types(), ["error"])
        self.assertEqual(self.error().code, "spawn_failed")
        self.assert_nothing_left()

    def test_nothing_within_15_s(self) -> None:
        self.play()
        self.reactor.advance(15)
        self.assertEqual(self.types(), ["error"])
        self.assertEqual(self.error().code, "source_timeout")
        self.assert_nothing_left()

    def test_nothing_but_an_exit(self) -> None:
        self.play()
        self.exit()
        self.assertEqual(self.types(), ["error"])
        self.assertEqual(self.error().code, "not_audio")

    def test_in_mid_track_what_was_made_is_still_heard(self) -> None:
        track_id = self.play(url=TONE.url)
        self.write(5)
        for delay in (0.5, 2.0, 0.0):
            self.exit(signal=9)
            self.reactor.advance(delay)
            self.assertEqual(self.types(), ["ready"])
        self.pull(9)
        self.assertEqual(self.types(), ["ready", "0", "1", "2", "3", "4", "error"])
        self.assertEqual(self.error(), Error("a", track_id, "decoder_failed", "FFmpeg was killed", 0.1, 30.0))


class StoppingTests(SessionTestCase):
    def stop(self, played: float = 0.0, ready: bool = True) -> None:
        """Stop now: one terminal event, not a word after it, nothing left."""
        track_id = self.registry.snapshot("a").track_id
        self.registry.stop("a")
        said = self.types()
        self.assertEqual(self.last(), Stopped("a", track_id, "stop", played))
        mine = [said for said in self.listener.log["a"] if getattr(said, "track_id", "") == track_id]
        self.assertEqual(
            [type(event) for event in mine if isinstance(event, Ready | Stopped)], [Ready] * ready + [Stopped]
        )
        self.registry.stop("a")
        self.pull(99)
        self.reactor.advance(20)
        self.assertEqual(self.types(), said)
        self.assert_nothing_left()

    def test_while_the_url_is_looked_up(self) -> None:
        self.resolver.hold = True
        cancelled: list[Deferred[Source]] = []
        waiting = Deferred[Source](cancelled.append)
        self.patch(self.resolver, "resolve", lambda url: waiting)
        self.play()
        self.stop(ready=False)
        self.assertEqual(cancelled, [waiting])

    def test_while_the_url_is_looked_up_and_the_answer_comes_all_the_same(self) -> None:
        self.resolver.hold = True
        self.play()
        self.stop(ready=False)
        self.resolver.answer(SONG)
        self.assertEqual(self.reactor.children, [])

    def test_while_its_predecessors_child_lives(self) -> None:
        self.play()
        self.play()
        self.stop(ready=False)
        self.assertEqual(len(self.reactor.children), 1)

    def test_at_the_gate(self) -> None:
        for name in "bc":
            for _ in range(2):
                self.play(name)
                self.registry.stop(name)
                self.reap()
        self.play()
        self.assertEqual(len(self.reactor.children), 4)
        self.stop(ready=False)
        self.assertEqual(len(self.reactor.children), 4)

    def test_before_the_first_packet(self) -> None:
        self.play()
        self.stop(ready=False)

    def test_paused_before_the_first_packet(self) -> None:
        self.play()
        self.registry.pause("a")
        self.stop(ready=False)

    def test_while_it_plays(self) -> None:
        self.play()
        self.write(5)
        self.pull(2)
        self.stop(played=0.04)

    def test_paused(self) -> None:
        self.play()
        self.write(5)
        self.registry.pause("a")
        self.stop()

    def test_between_a_seek_and_its_first_packet(self) -> None:
        self.play()
        self.write(5)
        self.pull(3)
        self.registry.seek("a", 5.0)
        self.stop(played=0.06)

    def test_between_the_end_of_the_source_and_the_last_packet(self) -> None:
        self.play()
        self.write(5)
        self.exit()
        self.stop()

    def test_nobody_takes_it(self) -> None:
        self.play()
        self.write(5)
        self.listener.feeds["a"].abandoned()
        end = self.last()
        assert isinstance(end, Stopped)
        self.assertEqual(end.reason, "consumer_timeout")
        self.assert_nothing_left()


class IdlenessTests(SessionTestCase):
    def assert_idle_after(self, seconds: float) -> None:
        self.reactor.advance(seconds - 1)
        self.assertNotIn("stopped", self.types())
        self.reactor.advance(1)
        end = self.last()
        assert isinstance(end, Stopped)
        self.assertEqual(end.reason, "idle_timeout")
        self.assert_nothing_left()

    def test_paused_for_too_long(self) -> None:
        self.play()
        self.write(5)
        self.reactor.advance(1000)
        self.registry.pause("a")
        self.assert_idle_after(IDLE_TIMEOUT)

    def test_nobody_takes_a_packet_for_too_long(self) -> None:
        self.play()
        self.write(5)
        self.reactor.advance(1000)
        self.pull(1)
        self.assert_idle_after(IDLE_TIMEOUT)

    def test_asking_in_vain_is_no_activity(self) -> None:
        self.play()
        self.write(2)
        self.pull(99)
        for _ in range(17):
            self.reactor.advance(100)
            self.pull(1)
        self.assert_idle_after(100)

    def test_packets_that_flow_keep_it_alive(self) -> None:
        self.play()
        for _ in range(40):
            self.write(1)
            self.pull(1)
            self.reactor.advance(100)
        self.assertNotIn("stopped", self.types())

    def test_so_does_what_is_asked_of_it(self) -> None:
        self.play()
        self.write(5)
        self.registry.pause("a")
        for action in (
            lambda: self.registry.set_volume("a", 0.5),
            lambda: self.registry.seek("a", 1.0),
            lambda: self.registry.resume("a"),
            lambda: self.registry.pause("a"),
        ):
            self.reactor.advance(IDLE_TIMEOUT - 1)
            action()
            self.reap()
            if self.living:
                self.write(2)
        self.assert_idle_after(IDLE_TIMEOUT)
