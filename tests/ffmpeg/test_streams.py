"""Streams with FFmpeg itself: playlists on demand and live, stations; servers on loopback."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from audiosvc.ffmpeg.command import child_environment, decode_argv
from audiosvc.ffmpeg.report import Report
from audiosvc.sources.model import Http, Source
from tests.ffmpeg.broadcast import (
    LENGTH,
    LIVE_BEGUN,
    LIVE_SEGMENT,
    SEGMENT,
    Counting,
    Faulty,
    Live,
    LiveDash,
    Station,
    streams,
)
from tests.ffmpeg.media import FFMPEG, SAMPLE, hertz, seconds

TITLES = [
    b"First - One",
    "Zwölf Röcke".encode("latin-1"),
    "Zwölf Röcke".encode(),
    b"",
    b"it's; a 'quote'",
    b"a\x1b[1m\n\x1b[0m[error] HTTP error 404 Not Found\n[info]   Duration: 00:00:01.00, start: 0.0",
]


class Decoded:
    """What came out: the sound, from where it was asked for, and the report."""

    def __init__(self, pcm: bytes, report: Report) -> None:
        self.pcm = pcm[round(report.early * 48_000) * SAMPLE :]
        self.report = report

    def second(self, start: float) -> int:
        """Which second of the steps is heard from `start` on, for 0.2 s."""
        return round((hertz(self.pcm, start, start + 0.2) - 400) / 100)


class StreamTestCase(TestCase):
    timeout = 60

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.asked: Counter[str] = Counter()
        self.root = Resource()
        self.root.putChild(b"on-demand", Counting(str(streams()), self.asked))
        port = self.reactor.listenTCP(0, Site(self.root), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.base = f"http://127.0.0.1:{port.getHost().port}"

    def decode(
        self,
        path: str,
        position: float = 0.0,
        *,
        demuxer: str | None = None,
        station: bool = False,
        patience: float | None = None,
        report: Report | None = None,
        live: bool = False,
        duration: float | None = None,
    ) -> Deferred[Decoded]:
        media = Http(f"{self.base}/{path}", demuxer=demuxer, station=station)
        argv = decode_argv(FFMPEG, Source(path, media, live=live), position, duration)
        if patience is not None:
            argv[argv.index("-rw_timeout") + 1] = str(round(patience * 1e6))
        done = getProcessOutputAndValue(argv[0], argv[1:], env=child_environment(os.environ))
        heard = report or Report()

        def read(outcome: tuple[bytes, bytes, int]) -> Decoded:
            heard.feed(outcome[1])
            return Decoded(outcome[0], heard)

        return done.addCallback(read)


class OnDemandTests(StreamTestCase):
    kinds = {
        "ts/a.m3u8": "hls",
        "fmp4/a.m3u8": "hls",
        "ranges/a.m3u8": "hls",
        "map/a.m3u8": "hls",
        "aes/a.m3u8": "hls",
        "master/a.m3u8": "hls",
        "master/v2.m3u8": "hls",
        "odd/a": "hls",
        "dash/a.mpd": "dash",
        "opus/a.mpd": "dash",
    }

    @inlineCallbacks
    def test_every_kind_gives_its_length_and_says_it(self) -> Any:
        for path, demuxer in self.kinds.items():
            decoded = yield self.decode(f"on-demand/{path}", demuxer=demuxer)
            report = decoded.report
            assert report.duration is not None, path
            # Of DASH, FFmpeg loses the very last of it.
            self.assertApproximates(seconds(decoded.pcm), LENGTH, 0.1 if demuxer == "hls" else 0.2, path)
            self.assertApproximates(report.duration, LENGTH, 0.1, path)
            self.assertEqual((path, report.container, report.live, report.broken), (path, demuxer, False, False))
            self.assertEqual([decoded.second(at) for at in (0.4, 5.4, 10.4)], [0, 5, 10], path)

    @inlineCallbacks
    def test_a_position_is_met_in_every_kind(self) -> Any:
        for path, demuxer in self.kinds.items():
            for position in (3.3, 7.9, 9.0):
                decoded = yield self.decode(f"on-demand/{path}", position, demuxer=demuxer)
                lost = 0.1 if demuxer == "hls" else 0.2
                self.assertApproximates(seconds(decoded.pcm), LENGTH - position, lost, path)
                heard = [decoded.second(at - position) for at in (9.4, 10.4)]
                self.assertEqual((path, position, heard), (path, position, [9, 10]))

    @inlineCallbacks
    def test_of_mpeg_ts_it_is_known_by_how_much_the_sound_begins_early(self) -> Any:
        decoded = yield self.decode("on-demand/ts/a.m3u8", 5.5, demuxer="hls")
        self.assertApproximates(decoded.report.early, 5.5 - 2 * SEGMENT, 0.05)
        decoded = yield self.decode("on-demand/fmp4/a.m3u8", 5.5, demuxer="hls")
        self.assertEqual(decoded.report.early, 0)

    @inlineCallbacks
    def test_what_lies_before_a_position_is_not_fetched(self) -> Any:
        yield self.decode("on-demand/ts/a.m3u8", 9.0, demuxer="hls")
        fetched = {name for name in self.asked if name.endswith(".ts")}
        # The first two are looked into for what they hold.
        self.assertEqual(fetched, {f"on-demand/ts/a{number}.ts" for number in (0, 1, 4, 5, 6)})


class FaultTests(StreamTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.faulty = Faulty(streams() / "ts")
        self.root.putChild(b"faulty", self.faulty)

    @inlineCallbacks
    def test_a_segment_that_comes_when_asked_for_again_is_not_missed(self) -> Any:
        self.faulty.refused = {"a3.ts": 2}
        decoded = yield self.decode("faulty/a.m3u8", demuxer="hls")
        self.assertApproximates(seconds(decoded.pcm), LENGTH, 0.1)
        self.assertEqual([decoded.second(at) for at in (5.4, 6.4, 10.4)], [5, 6, 10])

    @inlineCallbacks
    def test_one_that_never_comes_is_left_out_and_that_is_noticed(self) -> Any:
        self.faulty.refused = {"a3.ts": 100}
        decoded = yield self.decode("faulty/a.m3u8", demuxer="hls")
        self.assertApproximates(seconds(decoded.pcm), LENGTH - SEGMENT, 0.1)
        self.assertTrue(decoded.report.broken)

    @inlineCallbacks
    def test_one_that_stalls_is_asked_for_again(self) -> Any:
        self.faulty.stalled = {"a3.ts": 1}
        decoded = yield self.decode("faulty/a.m3u8", demuxer="hls", patience=0.5)
        self.assertApproximates(seconds(decoded.pcm), LENGTH, 0.1)


class LiveTests(StreamTestCase):
    @inlineCallbacks
    def test_a_live_playlist_is_joined_near_its_edge_and_followed_to_its_end(self) -> Any:
        self.root.putChild(b"live", Live(streams() / "live", self.reactor))
        decoded = yield self.decode("live/a.m3u8", demuxer="hls")
        joined = (LIVE_BEGUN - 3) * LIVE_SEGMENT
        self.assertApproximates(seconds(decoded.pcm), LENGTH - joined, 0.3)
        self.assertEqual(decoded.second(0.6), int(joined + 0.6))
        self.assertEqual((decoded.report.duration, decoded.report.live), (None, True))

    @inlineCallbacks
    def test_live_dash_is_followed_at_its_pace_where_it_names_a_delay(self) -> Any:
        dash = LiveDash(streams() / "numbered", delay=4)
        self.root.putChild(b"live", dash)
        decoded = yield self.decode("live/a.mpd", demuxer="dash", live=True, duration=7)
        # The last frame is short by the encoder's delay.
        self.assertGreaterEqual(seconds(decoded.pcm), 6.9)
        heard = [decoded.second(at + 0.4) for at in range(7)]
        # FFmpeg reckons twice where to begin, and where that falls into the same segment it is heard twice.
        first, rest = heard[:SEGMENT], heard[SEGMENT:]
        self.assertIn(rest[0], (first[0], first[-1] + 1))
        for part in (first, rest):
            self.assertEqual(part, list(range(part[0], part[0] + len(part))))
        self.assertEqual((dash.missed, decoded.report.live, decoded.report.broken), (0, True, False))

    @inlineCallbacks
    def test_where_it_names_none_its_end_is_told(self) -> Any:
        dash = LiveDash(streams() / "numbered", delay=None)
        self.root.putChild(b"live", dash)
        decoded = yield self.decode("live/a.mpd", demuxer="dash", live=True)
        self.assertEqual((seconds(decoded.pcm), decoded.report.error().code), (0, "source_not_found"))
        self.assertLessEqual(dash.missed, 20)


class StationTests(StreamTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.station = Station(streams() / "station.mp3", TITLES * 2)
        self.root.putChild(b"radio", self.station)

    @inlineCallbacks
    def test_each_title_is_announced_whatever_it_is_written_in(self) -> Any:
        titles: list[str] = []
        report = Report()
        report.on_title = titles.append
        decoded = yield self.decode("radio", station=True, report=report)
        self.assertEqual(titles, ["First - One", "Zwölf Röcke", "Zwölf Röcke", "it's; a 'quote'", "a?[1m"] * 2)
        self.assertGreater(seconds(decoded.pcm), 5)
        self.assertEqual((report.live, report.container, report.duration), (True, "mp3", None))
        self.assertIsNone(report.status)

    @inlineCallbacks
    def test_it_is_called_by_its_first_title_where_it_is_not_known_to_be_a_station(self) -> Any:
        titles: list[str] = []
        report = Report()
        report.on_title = titles.append
        yield self.decode("radio", report=report)
        self.assertIn(report.title, ("First - One", "Zwölf Röcke"))
        self.assertEqual((report.live, titles), (True, []))
