"""The cache: what is found again and what is not any more, and what of a play is kept."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.cache.cache import WEB_SECONDS, Cache, Recording
from audiosvc.cache.shelf import TRACK_SHARE
from audiosvc.cache.track import PACKET_COST, Facts, Track
from audiosvc.codec.passing import Passed
from audiosvc.sources.model import File, Http, Source, Tone
from tests.cache.support import WEB, Wall, packets, to_bytes
from tests.fakes import TONE

RATE = 96_000
FACTS = Facts("Title", "Artist", 0.2)
UNIT = 100 + PACKET_COST


class FakeDisk:
    """Holds what was written, in a dictionary; with `hold` reading it takes until `answer`."""

    def __init__(self) -> None:
        self.tracks: dict[str, Track] = {}
        self.bytes = 0
        self.errors = 0
        self.opened = False
        self.reads = 0
        self.hold: Deferred[Track | None] | None = None

    def __contains__(self, name: str) -> bool:
        return name in self.tracks

    def __len__(self) -> int:
        return len(self.tracks)

    def start(self) -> None:
        self.opened = True

    def stop(self) -> None:
        self.opened = False

    def read(self, name: str) -> Deferred[Track | None]:
        self.reads += 1
        return self.hold if self.hold is not None else succeed(self.tracks.get(name))

    def write(self, track: Track) -> None:
        self.tracks[track.name] = track
        self.bytes += len(to_bytes(track))

    def remove(self, name: str) -> None:
        del self.tracks[name]


class CacheTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.path = Path(temporary.name) / "song"
        self.path.write_bytes(b"song")
        self.song = Source("song", File(self.path))
        self.wall = Wall()
        self.disk = FakeDisk()
        self.cache = self.make()

    def make(self, rules: str = "rules", *, disk: bool = True, size: int = 400 * UNIT) -> Cache:
        return Cache(size, self.disk if disk else None, rules, self.wall)  # type: ignore[arg-type]

    def keep(self, source: Source, *, asked: bool = False, rate: int = RATE, cache: Cache | None = None) -> None:
        recording = self.begin(source, asked=asked, rate=rate, cache=cache)
        if source.may_pass(rate, asked):
            recording.add_passed([Passed(packet, i * 960 - 312) for i, packet in enumerate(packets(10))])
        else:
            recording.add(packets(10))
        recording.keep(FACTS)

    def begin(self, source: Source, *, asked: bool = False, rate: int = RATE, cache: Cache | None = None) -> Recording:
        recording = (cache or self.cache).record(source, rate, asked)
        assert recording is not None
        return recording

    def found(self, source: Source, *, asked: bool = False, rate: int = RATE, cache: Cache | None = None) -> bool:
        """Whether a play finds it, as a session asks."""
        cache = cache or self.cache
        self.assertIs(self.successResultOf(cache.fetch(source, rate, asked)), source)
        return cache.find(source, rate, asked) is not None


class NameTests(CacheTestCase):
    def test_a_file_is_found_until_it_changes(self) -> None:
        self.keep(self.song)
        self.assertTrue(self.found(self.song))
        before = self.path.stat()
        self.path.write_bytes(b"soup")
        os.utime(self.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.assertFalse(self.found(self.song), "another of that size and time")
        self.keep(self.song)
        self.assertTrue(self.found(self.song))
        self.path.unlink()
        self.assertFalse(self.found(self.song))
        self.assertIsNone(self.cache.record(self.song, RATE, False))

    def test_a_file_that_changes_while_it_is_played_is_not_kept(self) -> None:
        recording = self.begin(self.song)
        recording.add(packets(3))
        self.path.write_bytes(b"another song")
        recording.keep(FACTS)
        self.assertEqual((len(self.disk), self.cache.vitals().kept, self.cache.vitals().dropped), (0, 0, 1))

    def test_each_bit_rate_is_a_track_of_its_own(self) -> None:
        self.keep(self.song)
        self.assertFalse(self.found(self.song, rate=RATE + 1))
        self.assertTrue(self.found(self.song, asked=True))

    def test_opus_as_it_is_is_not_what_a_bit_rate_was_asked_for(self) -> None:
        opus = replace(self.song, opus=True)
        self.keep(opus)
        self.assertTrue(self.found(opus, rate=RATE + 1))
        self.assertFalse(self.found(opus, asked=True))
        self.keep(opus, asked=True)
        found = [self.cache.find(opus, RATE, asked) for asked in (False, True)]
        self.assertEqual([track is not None and track.positions is not None for track in found], [True, False])

    def test_tones_what_is_live_and_pcm_are_not_kept(self) -> None:
        for source in (TONE, replace(WEB, live=True), Source("t", Tone(440, 1), opus=True)):
            self.assertIsNone(self.cache.record(source, RATE, False))
            self.assertFalse(self.found(source))
        self.assertIsNone(self.cache.record(self.song, None, False))
        self.assertIsNone(self.cache.find(self.song, None, False))
        self.assertEqual((self.cache.vitals().hits, self.cache.vitals().misses), (0, 0))

    def test_what_may_be_passed(self) -> None:
        opus = replace(self.song, opus=True)
        self.assertTrue(opus.may_pass(RATE, False))
        for source, rate, asked in (
            (opus, RATE, True),
            (opus, None, False),
            (self.song, RATE, False),
            (replace(opus, live=True), RATE, False),
            (replace(TONE, opus=True), RATE, False),
        ):
            self.assertFalse(source.may_pass(rate, asked))


class WebTests(CacheTestCase):
    def source(self, url: str = WEB.url, *, asked: bool = False, cache: Cache | None = None) -> Source | None:
        return self.successResultOf((cache or self.cache).source(url, RATE, asked))

    def test_a_url_is_what_it_was_for_an_hour(self) -> None:
        self.keep(WEB)
        self.assertEqual((self.source(), self.found(WEB)), (WEB, True))
        self.wall.now += WEB_SECONDS - 1
        self.assertEqual((self.source(), self.found(WEB)), (WEB, True))
        self.wall.now += 1
        self.assertEqual((self.source(), self.found(WEB)), (None, False))
        self.assertEqual(self.cache.vitals().tracks, 0)

    def test_a_clock_that_was_set_back_makes_it_unknown(self) -> None:
        self.keep(WEB)
        self.wall.now -= 1
        self.assertEqual((self.source(), self.found(WEB)), (None, False))

    def test_the_hour_begins_with_the_play(self) -> None:
        recording = self.begin(WEB)
        recording.add(packets(3))
        self.wall.now += WEB_SECONDS
        recording.keep(FACTS)
        self.assertIsNone(self.source())

    def test_files_have_no_hour(self) -> None:
        self.keep(self.song)
        self.wall.now += 1e9
        self.assertTrue(self.found(self.song))
        self.assertIsNone(self.source("song"))

    def test_a_source_is_given_to_whom_its_track_is_for(self) -> None:
        opus = replace(WEB, opus=True)
        self.keep(opus, asked=True)
        self.assertEqual((self.source(asked=True), self.source()), (opus, None))
        self.keep(opus)
        self.assertEqual(self.source(), opus)
        self.assertIsNone(self.source("http://h/another"))

    def test_other_rules_find_nothing_of_the_web(self) -> None:
        self.keep(WEB)
        self.keep(self.song)
        same, other = self.make(), self.make("other rules")
        self.assertEqual((self.source(cache=same), self.source(cache=other)), (WEB, None))
        self.assertEqual((self.found(self.song, cache=other), self.found(WEB, cache=other)), (True, False))


class DiskTests(CacheTestCase):
    def test_what_is_only_on_disk_is_read_once(self) -> None:
        self.keep(self.song)
        self.keep(WEB)
        again = self.make()
        self.assertIsNone(again.find(self.song, RATE, False))
        self.assertTrue(self.found(self.song, cache=again))
        self.assertEqual(self.successResultOf(again.source(WEB.url, RATE, False)), WEB)
        self.assertTrue(self.found(WEB, cache=again))
        self.assertEqual(self.disk.reads, 2)
        vitals = again.vitals()
        self.assertEqual((vitals.hits, vitals.misses, vitals.disk_tracks, vitals.tracks), (2, 0, 2, 2))

    def test_what_is_too_old_is_removed(self) -> None:
        self.keep(WEB)
        self.wall.now += WEB_SECONDS
        again = self.make()
        self.assertIsNone(self.successResultOf(again.source(WEB.url, RATE, False)))
        self.assertEqual(len(self.disk), 0)

    def test_what_cannot_be_read_is_played_anew(self) -> None:
        self.keep(self.song)
        again, self.disk.hold = self.make(), succeed(None)
        self.assertFalse(self.found(self.song, cache=again))
        self.assertEqual(again.vitals().misses, 1)

    def test_two_who_wait_for_a_track_get_the_same_one(self) -> None:
        self.keep(self.song)
        again = self.make()
        waiting = []
        for _ in range(2):
            self.disk.hold = Deferred()
            again.fetch(self.song, RATE, False)
            waiting.append(self.disk.hold)
        (track,) = self.disk.tracks.values()
        waiting[0].callback(track)
        waiting[1].callback(replace(track))
        self.assertIs(again.find(self.song, RATE, False), track)

    def test_who_does_not_want_to_wait_any_more_does_not(self) -> None:
        self.keep(self.song)
        again, self.disk.hold = self.make(), Deferred()
        fetching = again.fetch(self.song, RATE, False)
        fetching.cancel()
        self.failureResultOf(fetching, CancelledError)
        self.assertEqual((again.vitals().hits, again.vitals().misses), (0, 0))

    def test_it_begins_and_ends_with_the_service(self) -> None:
        self.cache.start()
        self.assertTrue(self.cache.vitals().disk)
        self.cache.stop()
        self.assertFalse(self.cache.vitals().disk)
        alone = self.make(disk=False)
        alone.start()
        self.keep(self.song, cache=alone)
        alone.stop()
        vitals = alone.vitals()
        self.assertEqual((vitals.disk, vitals.disk_tracks, vitals.disk_bytes, vitals.disk_errors), (False, 0, 0, 0))
        self.assertTrue(self.found(self.song, cache=alone))


class RecordingTests(CacheTestCase):
    def test_it_is_what_was_played(self) -> None:
        made = packets(30)
        recording = self.begin(self.song)
        for i in range(0, 30, 7):
            recording.add(made[i : i + 7])
        self.assertEqual(self.cache.vitals().recording, 30 * UNIT)
        recording.keep(FACTS)
        track = self.cache.find(self.song, RATE, False)
        assert track is not None
        self.assertTrue(all(a is b for a, b in zip(track.packets, made, strict=True)))
        self.assertEqual((track.facts, track.positions, track.source), (FACTS, None, None))
        vitals = self.cache.vitals()
        self.assertEqual((vitals.recording, vitals.bytes, vitals.kept, vitals.tracks), (0, 30 * UNIT, 1, 1))
        self.assertEqual(list(self.disk.tracks.values()), [track])

    def test_of_the_web_it_holds_what_its_url_was(self) -> None:
        self.keep(WEB)
        found = self.cache.find(WEB, RATE, False)
        self.assertEqual(found and (found.source, found.since), (WEB, 1000.0))

    def test_given_up_it_leaves_nothing(self) -> None:
        recording = self.begin(self.song)
        recording.add(packets(30))
        recording.drop()
        recording.add(packets(30))
        recording.add_passed([Passed(b"x", 0)])
        recording.keep(FACTS)
        recording.drop()
        vitals = self.cache.vitals()
        self.assertEqual((vitals.recording, vitals.bytes, vitals.kept, vitals.dropped), (0, 0, 0, 1))
        self.assertEqual(len(self.disk), 0)

    def test_one_without_a_packet_is_none(self) -> None:
        self.begin(self.song).keep(FACTS)
        self.assertEqual((self.cache.vitals().kept, self.cache.vitals().dropped), (0, 1))

    def test_one_at_a_time_is_made_of_a_track(self) -> None:
        recording = self.begin(self.song)
        self.assertIsNone(self.cache.record(self.song, RATE, False))
        other = self.begin(self.song, rate=RATE + 1)
        recording.drop()
        self.begin(self.song).drop()
        other.drop()

    def test_one_that_outgrows_its_share_is_given_up(self) -> None:
        recording = self.begin(self.song)
        recording.add(packets(400 // TRACK_SHARE))
        self.assertEqual(self.cache.vitals().dropped, 0)
        recording.add(packets(1))
        self.assertEqual((self.cache.vitals().recording, self.cache.vitals().dropped), (0, 1))

    def test_passed_packets_out_of_order_make_no_track(self) -> None:
        opus = replace(self.song, opus=True)
        for wrong in ([0, 960, 960], [0, -1]):
            recording = self.begin(opus)
            recording.add_passed([Passed(b"x", -960)])
            recording.add_passed([Passed(b"x", position) for position in wrong])
            recording.keep(FACTS)
            self.assertFalse(self.found(opus))
        recording = self.begin(opus)
        recording.add_passed([Passed(b"x", 960)])
        recording.add_passed([Passed(b"x", 960)])
        recording.keep(FACTS)
        self.assertFalse(self.found(opus))

    def test_media_of_the_web_keep_what_they_need(self) -> None:
        page = replace(WEB, extracted=True, media=Http("http://h/x", {"cookie": "a=b"}, demuxer="hls"))
        self.keep(page)
        self.assertEqual(self.successResultOf(self.cache.source(page.url, RATE, False)), page)
