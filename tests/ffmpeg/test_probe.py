"""A look at a source, by a child that is a fake."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import NotAudio, SourceNotFound, SourceTimeout, SpawnFailed
from audiosvc.ffmpeg.probe import PROBE_SECONDS, probe
from audiosvc.ffmpeg.process import SPAWNS_PER_TICK, Spawner
from audiosvc.sources.model import File, Source
from tests.fakes import FakeReactor
from tests.ffmpeg import said

SONG = Source("/music/a.ogg", File(Path("/music/a.ogg")), title="a")


class ProbeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.spawner = Spawner(self.reactor.as_reactor, {})

    def probe(self) -> Deferred[Source]:
        return probe(self.reactor.as_reactor, self.spawner, "ffmpeg", SONG)

    def assertAtRest(self) -> None:
        """No child, no timer of the probe's, no pipe still watched."""
        self.reactor.advance(PROBE_SECONDS * 2)
        self.assertEqual(
            (self.spawner.children, self.reactor.getDelayedCalls(), list(self.reactor.getReaders())), (0, [], [])
        )

    def test_the_sources_own_words_are_taken_over(self) -> None:
        answer = self.probe()
        self.reactor.children[0].say(said.OGG)
        self.assertNoResult(answer)
        self.reactor.children[0].exit(status=1)
        found = self.successResultOf(answer)
        self.assertEqual((found.url, found.media), (SONG.url, SONG.media))
        self.assertEqual((found.title, found.uploader, found.duration), ("Tïtle: with; = colon", "An Artist", 300.25))
        self.assertAtRest()

    def test_what_they_leave_out_stays_as_it_was(self) -> None:
        answer = self.probe()
        self.reactor.children[0].say(said.TRANSPORT_STREAM)
        self.reactor.children[0].exit(status=1)
        found = self.successResultOf(answer)
        self.assertEqual((found.title, found.uploader, found.duration), ("a", None, 20.02))

    def test_a_source_without_sound_is_not_audio(self) -> None:
        answer = self.probe()
        self.reactor.children[0].say(said.VIDEO_ONLY_PROBED)
        self.reactor.children[0].exit(status=1)
        self.failureResultOf(answer, NotAudio)

    def test_a_source_that_cannot_be_opened_fails_with_the_reason(self) -> None:
        answer = self.probe()
        self.reactor.children[0].say(said.FAILURES["404"][0])
        self.reactor.children[0].exit(status=8)
        self.failureResultOf(answer, SourceNotFound)
        self.assertAtRest()

    def test_one_that_takes_too_long_is_killed(self) -> None:
        answer = self.probe()
        self.reactor.advance(PROBE_SECONDS - 0.1)
        self.assertNoResult(answer)
        self.reactor.advance(0.1)
        self.failureResultOf(answer, SourceTimeout)
        self.assertEqual(self.reactor.children[0].signals, ["KILL"])
        self.reactor.end()
        self.assertAtRest()

    def test_one_that_never_came_to_its_turn_is_not_started_later(self) -> None:
        for _ in range(SPAWNS_PER_TICK):
            self.probe().addErrback(lambda _: None)
        late = probe(self.reactor.as_reactor, self.spawner, "ffmpeg", SONG, timeout=0.001)
        self.reactor.advance(0.001)
        self.failureResultOf(late, SourceTimeout)
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.children), SPAWNS_PER_TICK)

    def test_an_ffmpeg_that_cannot_be_started_is_told(self) -> None:
        self.reactor.spawn_error = OSError(11, "Resource temporarily unavailable")
        self.failureResultOf(self.probe(), SpawnFailed)
        self.assertAtRest()
