"""What a session says of how it is doing."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import SessionNotFound
from audiosvc.session.memory import Memory
from audiosvc.session.stats import ChildStats, FirstPacketStats, Stats
from audiosvc.session.track import Play
from audiosvc.sources.model import Http, Source
from audiosvc.timings import Histogram
from tests.fakes import frames
from tests.flow.support import RADIO, FakeDoor
from tests.flow.test_passing_fakes import ogg
from tests.session.support import SONG, SessionTestCase

OPUS = Source("opus", Http("http://h/song.opus"), duration=60.0, opus=True)


class StatsTestCase(SessionTestCase):
    def stats(self, session_id: str = "a") -> Stats:
        return self.registry.stats(session_id)

    def counted(self, histograms: dict[str, Histogram]) -> dict[str, tuple[int, float]]:
        told = {mode: histogram.vitals() for mode, histogram in histograms.items()}
        return {mode: (of.count, of.seconds) for mode, of in told.items() if of.count}

    @property
    def plays(self) -> dict[str, tuple[int, float]]:
        return self.counted(dict(self.house.timings.plays))

    @property
    def seeks(self) -> dict[str, tuple[int, float]]:
        return self.counted(dict(self.house.timings.seeks))

    def wait(self, seconds: float) -> None:
        self.reactor.advance(seconds)


class FirstPacketTests(StatsTestCase):
    hold_resolver = True

    def test_it_is_told_stage_by_stage(self) -> None:
        self.wait(5)
        self.play()
        self.listener.credit["a"] = 100
        self.assertEqual(self.stats().first_packet, FirstPacketStats(None, None, None, None, None))
        self.assertIsNone(self.stats().mode)
        self.wait(0.5)
        self.resolver.answer(SONG)
        self.assertEqual(self.stats().first_packet, FirstPacketStats(500, 500, None, None, None))
        self.wait(0.25)
        self.write(2)
        self.assertEqual(self.stats().first_packet, FirstPacketStats(500, 500, 750, 750, 750))
        self.assertEqual(self.plays, {"transcode": (1, 0.75)})
        self.wait(1)
        self.write(2)
        self.assertEqual(self.stats().first_packet.sent_ms, 750)

    def test_the_encoders_share_in_it_shows(self) -> None:
        self.encoders._at_once = False
        self.play()
        self.listener.credit["a"] = 100
        self.resolver.answer(SONG)
        self.child.write(frames(2))
        self.turn()
        self.wait(0.125)
        self.encoders.run()
        self.turn()
        first = self.stats().first_packet
        self.assertEqual((first.sound_ms, first.ready_ms, first.sent_ms), (0, 125, 125))

    def test_a_packet_that_waits_for_its_client_is_not_counted(self) -> None:
        self.play()
        self.resolver.answer(SONG)
        self.wait(0.25)
        self.write(2)
        self.wait(3)
        self.assertEqual(self.stats().first_packet, FirstPacketStats(0, 0, 250, 250, None))
        self.pull(1)
        self.assertEqual(self.stats().first_packet.sent_ms, 3250)
        self.assertEqual(self.plays, {})

    def test_nor_one_that_is_paused(self) -> None:
        self.play()
        self.listener.credit["a"] = 100
        self.registry.pause("a")
        self.resolver.answer(SONG)
        self.write(2)
        self.wait(3)
        self.registry.resume("a")
        self.assertEqual(self.stats().first_packet.sent_ms, 3000)
        self.assertEqual(self.plays, {})


class RestartTests(StatsTestCase):
    def test_one_that_goes_on_after_a_restart_had_to_wait_for_its_turn(self) -> None:
        self.listener.credit["a"] = 100
        memory = Memory("a", "a" * 32, Play(SONG.url, "pcm"), 5.0, False, 250, 250, 250, 1)
        self.registry.take_up([memory])
        self.turn()
        self.wait(0.5)
        self.write(20)
        stats = self.stats()
        self.assertEqual((stats.first_packet.sent_ms, stats.mode), (500, "transcode"))
        self.assertEqual(self.plays, {})
        self.registry.seek("a", 30)
        self.reap()
        self.write(3)
        self.assertEqual(self.seeks, {"transcode": (1, 0.0)})


class SeekTests(StatsTestCase):
    def test_each_is_counted_and_the_last_timed(self) -> None:
        self.play()
        self.listener.credit["a"] = 100
        self.write(3)
        self.registry.seek("a", 10)
        self.wait(0.1)
        self.registry.seek("a", 20)
        self.reap()
        self.wait(0.25)
        self.assertEqual((self.stats().seeks, self.stats().seek_ms), (2, None))
        self.write(3)
        stats = self.stats()
        self.assertEqual((stats.seeks, stats.seek_ms, stats.packets_sent), (2, 250, 4))
        self.assertEqual(stats.first_packet.sent_ms, 0)
        self.assertEqual((self.plays, self.seeks), ({"transcode": (1, 0.0)}, {"transcode": (1, 0.25)}))

    def test_before_the_first_packet_it_is_that_which_is_waited_for(self) -> None:
        self.play()
        self.listener.credit["a"] = 100
        self.wait(0.5)
        self.registry.seek("a", 10)
        self.reap()
        self.wait(0.5)
        self.write(3)
        stats = self.stats()
        self.assertEqual((stats.seeks, stats.seek_ms, stats.first_packet.sent_ms), (1, None, 1000))
        self.assertEqual((self.plays, self.seeks), ({"transcode": (1, 1.0)}, {}))

    def test_one_while_paused_is_not_in_the_metric(self) -> None:
        self.play()
        self.listener.credit["a"] = 100
        self.write(3)
        self.registry.pause("a")
        self.registry.seek("a", 10)
        self.reap()
        self.write(3)
        self.wait(9)
        self.registry.resume("a")
        self.assertEqual((self.stats().seek_ms, self.seeks), (9000, {}))


class WorkTests(StatsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.resolver.sources |= {source.url: source for source in (RADIO, OPUS)}

    def test_what_delivery_knows_is_in_it(self) -> None:
        self.play()
        self.pull(7)
        self.listener.is_held = True
        stats = self.stats()
        self.assertEqual((stats.late_packets, stats.deficit_packets, stats.largest_gap_ms), (1, None, 2.5))
        self.assertEqual((stats.credit_packets, stats.held), (7, True))
        self.write(20)
        stats = self.stats()
        self.assertEqual((stats.queue.ready_packets, stats.queue.waiting_packets, stats.queue.unsent_bytes), (12, 3, 4))
        self.assertEqual(self.registry.ready(), [12])

    def test_who_is_not_there_has_none(self) -> None:
        self.assertRaises(SessionNotFound, self.registry.stats, "a")

    def test_the_child_is_looked_at(self) -> None:
        self.play()
        # Instead of the child, this very process.
        self.child.pid = os.getpid()
        child = self.stats().child
        assert child is not None
        self.assertGreater(child.rss_bytes, 1_000_000)
        self.assertGreater(child.cpu_seconds, 0)
        self.child.pid = 2**22 + 1
        self.write(3)
        self.exit()
        self.assertIsNone(self.stats().child)

    def test_frames_encoded_are_shared_out(self) -> None:
        self.play("a")
        self.listener.credit["a"] = 100
        self.assertEqual(self.stats().encoder_share, 0)
        self.write(30)
        self.assertEqual((self.stats().encoder_share, self.stats().mode), (1, "transcode"))
        self.play("b")
        self.listener.credit["b"] = 100
        self.write(10)
        self.assertEqual((self.stats("a").encoder_share, self.stats("b").encoder_share), (0.75, 1))

    def test_of_a_fetched_source_the_bytes_are_known_over_all_its_openings(self) -> None:
        door = FakeDoor()
        self.house.workshop.door = door  # type: ignore[assignment]
        self.resolver.sources["web"] = Source("web", Http("http://h/song"), duration=60.0)
        self.play(url="web")
        self.listener.credit["a"] = 100
        door.permits[-1].received = 5_000
        self.write(30)
        self.assertEqual(self.stats().source_bytes, 5_000)
        self.registry.seek("a", 30)
        self.reap()
        door.permits[-1].received = 300
        self.assertEqual((self.stats().source_bytes, len(door.permits)), (5_300, 2))

    def test_of_a_file_that_ffmpeg_reads_they_are_not(self) -> None:
        self.play()
        self.assertIsNone(self.stats().source_bytes)
        self.registry.seek("a", 3)
        self.assertIsNone(self.stats().source_bytes)

    def test_opus_that_is_copied_is_passed_through(self) -> None:
        self.play(url=OPUS.url, format="opus")
        self.listener.credit["a"] = 100
        self.child.write(ogg(0, 20))
        self.turn()
        stats = self.stats()
        self.assertEqual((stats.mode, stats.encoder_share, stats.listeners), ("passthrough", 0, 1))
        self.assertEqual(self.plays, {"passthrough": (1, 0.0)})

    def test_who_shares_a_source_opened_nothing(self) -> None:
        self.play("a", RADIO.url)
        self.listener.credit["a"] = self.listener.credit["b"] = 100
        self.write(20)
        self.wait(1)
        self.play("b", RADIO.url)
        self.turn()
        stats = self.stats("b")
        self.assertEqual((stats.mode, stats.listeners), ("shared", 2))
        self.assertEqual(stats.first_packet, FirstPacketStats(0, None, None, 0, 0))
        self.assertEqual(stats.child, ChildStats(0.0, 0))
        self.assertEqual(self.plays, {"shared": (2, 0.0)})


class DocsTests(SynchronousTestCase):
    def test_the_example_is_one(self) -> None:
        text = (Path(__file__).parents[2] / "docs" / "http-api.rst").read_text("utf-8")
        example = text.split("/session/user:42/stats\n")[1].split("\n\n")[0]
        shown = msgspec.json.decode(example)
        self.assertEqual(msgspec.to_builtins(msgspec.convert(shown, Stats)), shown)
