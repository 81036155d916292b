"""URL → what to play."""

from __future__ import annotations

import tempfile
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from audiosvc import errors
from audiosvc.errors import AudioServiceError
from audiosvc.ffmpeg.process import Spawner
from audiosvc.session.track import URL_MOST
from audiosvc.sources.model import File, Http, Source, Tone
from audiosvc.sources.resolver import PROBES_MOST, WAITING_MOST, Resolver
from tests.fakes import FakeReactor
from tests.ffmpeg import said

UNSUPPORTED = (
    *("", "-version", "--exec=touch x", "-i", "-/etc/passwd"),
    *("ftp://h/x", "ftps://h/x", "sftp://h/x", "rtsp://h/x", "rtmp://h/x", "rtp://h/x", "srt://h/x", "udp://h/x"),
    *("tcp://127.0.0.1:22", "tls://h:443", "httpproxy://h:80", "unix:/run/x.sock", "gopher://h/x", "mmsh://h/x"),
    *("ws://h/x", "javascript:alert(1)", "data:audio/wav;base64,UklGRg==", "blob:http://h/x", "about:blank"),
    *("concat:a.mp3|b.mp3", "concat:/etc/passwd", "pipe:0", "pipe:", "fd:3", "async:x", "cache:http://h/x", "md5:x"),
    *("subfile,,start,0,end,9,,:/etc/passwd", "crypto:http://h/x", "crypto+http://h/x", "file,http://h/x"),
    *("lavfi:sine", "ytsearch1:words", "hls+http://h/x", "ipfs://h", "https+unix://h", "C:\\music\\a.mp3", "c:/a.mp3"),
    *("http:x", "http:/x", "https:/x", "http:", "http://", "http:///x", "https:x@h", " http://h/x", "\thttp://h/x"),
    *("http://user:pw@h/x", "http://h/a b", "http://h/a\\b", "http://h:99999/", "http://[::1", "http://h\\@i/x"),
    *("http://h/\r\nHost: i", "http://h/\0", "song\0.ogg", "so\nng.ogg", "so\rng.ogg", "so\x1bng", "so\u2028ng"),
    *("\ud800", "file:song.ogg", "file://host/x", "file:///a%00", "file:///a?x", "demo:tone?hz=0", "demo:tone?x=1"),
    *("x" * (URL_MOST + 1), "http://h/" + "x" * URL_MOST, "host:8000/x", "Artist: Song.mp3"),
)


class ResolverTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve()
        (self.root / "album").mkdir()
        (self.root / "album/song.ogg").write_bytes(b"x")
        self.reactor = FakeReactor()
        self.resolver = self.made(self.root)

    def made(self, root: Path | None) -> Resolver:
        reactor = self.reactor.as_reactor
        return Resolver(root, "ffmpeg", Spawner(reactor, {}), reactor)

    def urls(self, listing: Deferred[list[Source]]) -> list[str]:
        return [source.url for source in self.successResultOf(listing)]


class KindTests(ResolverTests):
    def test_hostile_and_foreign_urls_are_refused_at_once_and_nothing_is_started(self) -> None:
        for url in UNSUPPORTED:
            with self.subTest(url[:80]):
                self.assertRaises(errors.UnsupportedUrl, self.resolver.check, url)
                for asked in (self.resolver.resolve, self.resolver.describe, self.resolver.playlist):
                    self.failureResultOf(asked(url), errors.UnsupportedUrl)
        self.assertEqual(self.reactor.children, [])

    def test_what_shows_from_the_url_alone_is_told_at_once(self) -> None:
        refused: dict[str, type[AudioServiceError]] = {
            "demo:": errors.UnknownDemo,
            "demo:none": errors.UnknownDemo,
            "../x.ogg": errors.FilesRefused,
            "/etc/passwd": errors.FilesRefused,
            "file:///etc/passwd": errors.FilesRefused,
        }
        for url, error in refused.items():
            self.assertRaises(error, self.resolver.check, url)
            self.failureResultOf(self.resolver.resolve(url), error)

    def test_whether_a_file_is_there_is_not_a_matter_of_its_url(self) -> None:
        self.resolver.check("none.ogg")
        self.failureResultOf(self.resolver.resolve("none.ogg"), errors.SourceNotFound)

    def test_each_kind_of_url_leads_to_its_media(self) -> None:
        song = File(self.root / "album/song.ogg")
        for url, media in {
            "demo:tone?hz=1000&seconds=2": Tone(1000, 2),
            "DEMO:tone": Tone(440, 30),
            "album/song.ogg": song,
            str(self.root / "album/song.ogg"): song,
            f"file://{self.root}/album/song.ogg": song,
            "https://h/a/song.mp3?x": Http("https://h/a/song.mp3?x"),
            "HTTP://h/song.mp3": Http("http://h/song.mp3"),
        }.items():
            self.resolver.check(url)
            source = self.successResultOf(self.resolver.resolve(url))
            self.assertEqual((source.url, source.media), (url, media))

    def test_without_a_media_root_files_are_refused(self) -> None:
        self.assertRaises(errors.FilesRefused, self.made(None).check, "album/song.ogg")


class DescribeTests(ResolverTests):
    def test_what_is_built_in_is_known(self) -> None:
        for url in ("demo:tone", "demo:prelude"):
            found = self.successResultOf(self.resolver.describe(url))
            self.assertEqual(found, self.successResultOf(self.resolver.resolve(url)))
        self.assertEqual(self.reactor.children, [])

    def test_all_else_is_looked_at(self) -> None:
        described = self.resolver.describe("album/song.ogg")
        self.reactor.children[0].say(said.OGG)
        self.reactor.children[0].exit(status=1)
        self.assertEqual(self.successResultOf(described).duration, 300.25)

    def test_a_few_are_looked_at_at_once_and_not_many_wait(self) -> None:
        for _ in range(PROBES_MOST + WAITING_MOST):
            self.resolver.describe("http://h/x").addErrback(lambda _: None)
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.children), PROBES_MOST)
        self.failureResultOf(self.resolver.describe("http://h/x"), errors.TooManyLookups)
        self.reactor.children[0].exit(status=1)
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.children), PROBES_MOST + 1)


class SearchTests(ResolverTests):
    def test_demo_lists_all_that_is_built_in(self) -> None:
        self.assertEqual(self.urls(self.resolver.search("demo:", 10)), ["demo:prelude", "demo:nightdrive", "demo:tone"])
        self.assertEqual(self.urls(self.resolver.search("Demo: ", 2)), ["demo:prelude", "demo:nightdrive"])

    def test_words_narrow_it_whatever_their_case_and_order(self) -> None:
        for query in ("demo:prelude", "demo:MAJOR prelude", "bach prelude", "BWV 846"):
            self.assertEqual(self.urls(self.resolver.search(query, 10)), ["demo:prelude"])

    def test_nothing_built_in_is_nothing_found_where_only_that_was_asked(self) -> None:
        self.assertEqual(self.urls(self.resolver.search("demo:polka", 10)), [])

    def test_the_web_is_not_searched(self) -> None:
        self.failureResultOf(self.resolver.search("some polka", 10), errors.ExtractionUnavailable)

    def test_a_search_for_nothing_is_no_search(self) -> None:
        self.failureResultOf(self.resolver.search("  ", 10), errors.InvalidQuery)


class PlaylistTests(ResolverTests):
    def test_demo_lists_all_that_is_built_in(self) -> None:
        self.assertEqual(self.urls(self.resolver.playlist("demo:")), ["demo:prelude", "demo:nightdrive", "demo:tone"])

    def test_a_folder_lists_its_files(self) -> None:
        self.assertEqual(self.urls(self.resolver.playlist("album")), [str(self.root / "album/song.ogg")])

    def test_a_track_is_a_list_of_one(self) -> None:
        for url in ("demo:prelude", "demo:tone?hz=50", "album/song.ogg"):
            self.assertEqual(self.urls(self.resolver.playlist(url)), [url])

    def test_what_a_web_page_lists_is_not_known(self) -> None:
        self.failureResultOf(self.resolver.playlist("https://h/list"), errors.ExtractionUnavailable)
