"""URL → what to play."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from audiosvc import errors
from audiosvc.errors import AudioServiceError
from audiosvc.ffmpeg.process import Spawner
from audiosvc.session.track import URL_MOST
from audiosvc.sources.look import Page, Seen
from audiosvc.sources.model import File, Http, Source, Tone
from audiosvc.sources.resolver import PROBES_MOST, WAITING_MOST, Resolver
from tests.extract.support import FakeDoor
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


MEDIA = "http://h/song.mp3"
PAGE = "http://h/page"
EXTRACTED = Source(PAGE, Http("http://media/a.mp3"), "A page", extracted=True)


class FakeLook:
    """Takes what ends in `.mp3` for media. With `error`, it fails with that."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []
        self.error: AudioServiceError | None = None

    def __call__(self, url: str, *, fresh: bool = False) -> Deferred[Seen]:
        self.asked.append((url, fresh))
        if self.error is not None:
            return fail(self.error)
        return succeed(self.seen(url))

    def seen(self, url: str) -> Seen:
        return Source(url, Http(url), "seen") if url.endswith(".mp3") else Page(url)

    def recall(self, url: str) -> Seen | None:
        return next((self.seen(url) for asked, _ in self.asked if asked == url), None)


class FakeExtractors:
    """Finds the same everywhere. With `error`, it fails with that."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.known: set[str] = set()
        self.error: AudioServiceError | None = None
        self.source = EXTRACTED
        self.listed = [Source(f"http://h/{i}", Http(f"http://h/{i}")) for i in (1, 2)]

    def recall(self, url: str) -> Source | None:
        return self.source if url in self.known else None

    def knows(self, url: str) -> bool:
        return url in self.known

    def resolve(self, url: str, *, fresh: bool = False) -> Deferred[Source]:
        self.asked.append(("resolve", url, fresh))
        return succeed(self.source) if self.error is None else fail(self.error)

    def playlist(self, url: str) -> Deferred[list[Source]]:
        self.asked.append(("playlist", url))
        return succeed(self.listed)

    def search(self, query: str, limit: int) -> Deferred[list[Source]]:
        self.asked.append(("search", query, limit))
        return succeed(self.listed) if self.error is None else fail(self.error)


class ResolverTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve()
        (self.root / "album").mkdir()
        (self.root / "album/song.ogg").write_bytes(b"x")
        self.reactor = FakeReactor()
        self.look, self.extractors = FakeLook(), FakeExtractors()
        self.resolver = self.made(self.root)

    def made(self, root: Path | None, **options: Any) -> Resolver:
        reactor = self.reactor.as_reactor
        return Resolver(root, "ffmpeg", Spawner(reactor, {}), reactor, **options)

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

    def test_without_extractors_the_web_is_not_searched(self) -> None:
        self.failureResultOf(self.resolver.search("some polka", 10), errors.ExtractionUnavailable)

    def test_the_web_comes_behind_what_is_built_in(self) -> None:
        resolver = self.made(self.root, extractors=self.extractors)
        for query, limit, urls in (
            ("bach prelude", 10, ["demo:prelude", "http://h/1", "http://h/2"]),
            ("bach prelude", 2, ["demo:prelude", "http://h/1"]),
            ("some polka", 10, ["http://h/1", "http://h/2"]),
        ):
            self.assertEqual(self.urls(resolver.search(query, limit)), urls)
        self.extractors.asked.clear()
        self.assertEqual(self.urls(resolver.search("bach prelude", 1)), ["demo:prelude"])
        self.assertEqual(self.urls(resolver.search("demo:polka", 1)), [])
        self.assertEqual(self.extractors.asked, [])

    def test_a_web_that_is_not_there_does_not_hide_what_is_built_in(self) -> None:
        self.extractors.error = errors.SourceUnreachable()
        resolver = self.made(self.root, extractors=self.extractors)
        self.assertEqual(self.urls(resolver.search("bach prelude", 10)), ["demo:prelude"])
        self.failureResultOf(resolver.search("some polka", 10), errors.SourceUnreachable)

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

    def test_a_page_lists_what_extractors_find_and_media_is_a_list_of_one(self) -> None:
        resolver = self.made(self.root, look=self.look, extractors=self.extractors)
        self.assertEqual(self.urls(resolver.playlist(PAGE)), ["http://h/1", "http://h/2"])
        self.assertEqual(self.urls(resolver.playlist(MEDIA)), [MEDIA])


class KnownTests(ResolverTests):
    def test_what_is_here_is_known(self) -> None:
        for url in ("demo:tone?hz=440", "album/song.ogg"):
            self.assertEqual(self.resolver.known(url), self.successResultOf(self.resolver.resolve(url)))

    def test_what_is_not_there_is_not_nor_what_is_refused(self) -> None:
        for url in ("demo:none", "album/none.ogg", "../x", "rtsp://h/x", "http://u:p@h/x"):
            self.assertIsNone(self.resolver.known(url))

    def test_of_the_web_what_was_seen_and_what_was_found_is_known(self) -> None:
        resolver = self.made(self.root, look=self.look, extractors=self.extractors)
        self.assertEqual((resolver.known(MEDIA), resolver.known(PAGE)), (None, None))
        resolver.resolve(MEDIA)
        self.extractors.known.add(PAGE)
        self.assertEqual(resolver.known(MEDIA), Source(MEDIA, Http(MEDIA), "seen"))
        self.assertEqual(resolver.known(PAGE), EXTRACTED)
        self.assertEqual((self.look.asked, self.extractors.asked), ([(MEDIA, False)], []))

    def test_where_nothing_is_looked_at_all_is_media(self) -> None:
        self.assertEqual(self.resolver.known(MEDIA), self.successResultOf(self.resolver.resolve(MEDIA)))

    def test_a_page_that_cannot_be_read_is_not_known(self) -> None:
        resolver = self.made(self.root, look=self.look)
        self.failureResultOf(resolver.resolve(PAGE), errors.ExtractionUnavailable)
        self.assertIsNone(resolver.known(PAGE))


class WebTests(ResolverTests):
    def setUp(self) -> None:
        super().setUp()
        self.resolver = self.made(self.root, look=self.look, extractors=self.extractors)

    def resolve(self, url: str, fresh: bool = False) -> Source:
        return self.successResultOf(self.resolver.resolve(url, fresh=fresh))

    def test_media_is_never_given_to_extractors(self) -> None:
        self.assertEqual(self.resolve(MEDIA).title, "seen")
        self.assertEqual(self.resolve(MEDIA, fresh=True).title, "seen")
        self.assertEqual(self.look.asked, [(MEDIA, False), (MEDIA, True)])
        self.assertEqual(self.extractors.asked, [])

    def test_a_page_is(self) -> None:
        self.assertEqual(self.resolve(PAGE).title, "A page")
        self.assertEqual(self.extractors.asked, [("resolve", PAGE, False)])

    def test_what_is_known_for_a_page_is_not_looked_at_again(self) -> None:
        self.extractors.known.add(PAGE)
        self.resolve(PAGE, fresh=True)
        self.assertEqual((self.look.asked, self.extractors.asked), ([], [("resolve", PAGE, True)]))

    def test_a_site_that_refuses_us_is_tried_by_extractors(self) -> None:
        self.look.error = errors.SourceRefused()
        self.assertEqual(self.resolve(PAGE).title, "A page")

    def test_other_failures_of_the_look_stand(self) -> None:
        for error in (errors.BlockedAddress(), errors.SourceNotFound(), errors.SourceUnreachable(), errors.NotAudio()):
            self.look.error = error
            for ask in (self.resolver.resolve, self.resolver.describe, self.resolver.playlist):
                self.failureResultOf(ask(PAGE), type(error))
        self.assertEqual(self.extractors.asked, [])

    def test_without_extractors_pages_are_not_read(self) -> None:
        resolver = self.made(self.root, look=self.look)
        for ask in (resolver.resolve, resolver.describe, resolver.playlist):
            self.failureResultOf(ask(PAGE), errors.ExtractionUnavailable)
        self.assertEqual(self.successResultOf(resolver.resolve(MEDIA)).title, "seen")
        self.look.error = errors.SourceRefused()
        self.failureResultOf(resolver.resolve(PAGE), errors.SourceRefused)

    def test_addresses_that_show_in_the_url_are_judged_before_anything_is_asked(self) -> None:
        judged: list[tuple[str, int]] = []

        def policy(host: str, port: int) -> None:
            judged.append((host, port))
            raise errors.BlockedAddress()

        resolver = self.made(self.root, look=self.look, extractors=self.extractors, policy=policy)
        for url in ("http://127.0.0.1/", "https://[::1]/a", "http://H:8080/a"):
            self.assertRaises(errors.BlockedAddress, resolver.check, url)
            for ask in (resolver.resolve, resolver.describe, resolver.playlist):
                self.failureResultOf(ask(url), errors.BlockedAddress)
        self.assertEqual(set(judged), {("127.0.0.1", 80), ("::1", 443), ("h", 8080)})
        self.assertEqual((self.look.asked, self.extractors.asked), ([], []))

    def test_what_a_page_tells_is_enough(self) -> None:
        for source in (
            replace(EXTRACTED, duration=5.0),
            replace(EXTRACTED, live=True),
            replace(EXTRACTED, playlist="A list"),
        ):
            self.extractors.source = source
            self.assertEqual(self.successResultOf(self.resolver.describe(PAGE)), source)
        self.assertEqual(self.reactor.children, [])

    def test_what_it_does_not_tell_is_asked_of_its_media_through_the_door(self) -> None:
        door = FakeDoor()
        resolver = self.made(self.root, look=self.look, extractors=self.extractors, door=door)
        described = resolver.describe(PAGE)
        self.assertEqual(door.open, ["describe"])
        self.reactor.children[0].say(said.OGG)
        self.reactor.children[0].exit(status=1)
        source = self.successResultOf(described)
        self.assertEqual((source.title, source.duration), ("A page", 300.25))
        self.assertEqual(door.open, [])

    def test_what_the_door_refused_is_told(self) -> None:
        door = FakeDoor()
        resolver = self.made(self.root, look=self.look, door=door)
        described = resolver.describe(MEDIA)
        door.permits[0].denial = errors.BlockedAddress("10.0.0.1 is not reached")
        self.reactor.children[0].exit(status=1)
        self.failureResultOf(described, errors.BlockedAddress)

    def test_files_go_through_no_door(self) -> None:
        door = FakeDoor()
        described = self.made(self.root, door=door).describe("album/song.ogg")
        self.reactor.children[0].say(said.OGG)
        self.reactor.children[0].exit(status=1)
        self.successResultOf(described)
        self.assertEqual(door.permits, [])


class FilesTests(ResolverTests):
    def test_files_are_told_only_where_that_was_allowed(self) -> None:
        self.assertRaises(errors.FilesRefused, self.resolver.files, "")
        told = self.made(self.root, list_files=True).files("album")
        self.assertEqual([entry.url for entry in told], ["album/song.ogg"])
