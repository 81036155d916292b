"""yt-dlp itself in a worker, against a web that is one site on loopback: nothing else can be reached, nor is tried."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.server import Request

from audiosvc import errors
from audiosvc.extract import worker
from audiosvc.extract.extractors import Extractors
from audiosvc.ffmpeg.command import child_environment
from audiosvc.interfaces import IReactor
from audiosvc.sources.model import Http, Source
from tests.extract.support import NOT_DONE_YET, WebDoor

SITE = "http://page.example"
MEDIA = "http://media.example"

RESIDENT_MOST = 300_000_000
"""Bytes of memory that a worker may have, whatever it reads."""

Steps = Generator[Deferred[Any], Any, None]
Page = Callable[[Request], "bytes | int"]


def html(head: str = "", body: str = "") -> Page:
    return lambda request: f"<!DOCTYPE html><html><head>{head}</head><body>{body}</body></html>".encode()


def typed(content_type: str, text: str) -> Page:
    def page(request: Request) -> bytes:
        request.setHeader("Content-Type", content_type)
        return text.encode()

    return page


def redirect(to: str) -> Page:
    def page(request: Request) -> bytes:
        request.redirect(to.encode())
        return b""

    return page


def bomb(request: Request) -> int:
    """A page of 1 GB in 1 MB of gzip."""
    request.setHeader("Content-Encoding", "gzip")
    request.write(gzip.compress(b"<html>"))
    block = gzip.compress(bytes(2**26))
    for _ in range(16):
        request.write(block)
    request.finish()
    return NOT_DONE_YET


def browsers(request: Request) -> bytes:
    """What was sent: cookies and credentials, and as whom."""
    sent = {name: request.getHeader(name) or "" for name in ("cookie", "authorization", "user-agent")}
    request.addCookie("session", "fresh", path="/")
    title = "|".join(sent.values())
    return f'<html><head><title>{title}</title></head><body><audio src="/a.mp3"></audio></body></html>'.encode()


AUDIO = f'<audio src="{MEDIA}/a.mp3"></audio>'
LD = (
    '<script type="application/ld+json">{"@context": "https://schema.org", "@type": "AudioObject", "name": "Of data",'
    f'"contentUrl": "{MEDIA}/ld.mp3", "duration": "PT3M5S", "thumbnailUrl": "{MEDIA}/ld.jpg"}}</script>'
)
FEED = "".join(
    f'<item><title>E{i}</title><enclosure url="{MEDIA}/{i}.mp3" type="audio/mpeg"/></item>' for i in range(600)
)

PAGES: dict[str, Page] = {
    f"{SITE}/audio": html("<title>A song</title>", AUDIO),
    f"{SITE}/relative": html("<title>A song</title>", '<audio><source src="/b.opus" type="audio/ogg"></audio>'),
    f"{SITE}/og": html(
        f'<meta property="og:title" content="Of Graph"><meta property="og:audio" content="{MEDIA}/og.mp3">'
    ),
    f"{SITE}/ld": html(LD),
    f"{SITE}/hls": html("<title>Streamed</title>", f'<video src="{MEDIA}/x.m3u8"></video>'),
    f"{MEDIA}/x.m3u8": typed(
        "application/vnd.apple.mpegurl",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS=\"mp4a.40.2\"\nlow.m3u8\n"
        "#EXT-X-STREAM-INF:BANDWIDTH=128000,CODECS=\"mp4a.40.2\"\nhigh.m3u8\n",
    ),
    f"{SITE}/redirect": redirect(f"{SITE}/audio"),
    f"{SITE}/out": redirect("file:///etc/passwd"),
    f"{SITE}/two": html("<title>Two</title>", AUDIO + AUDIO.replace("a.mp3", "b.mp3")),
    f"{SITE}/feed": typed("text/xml", f'<rss version="2.0"><channel><title>Feed</title>{FEED}</channel></rss>'),
    f"{MEDIA}/ld.mp3": typed("audio/mpeg", ""),
    f"{MEDIA}/0.mp3": typed("audio/mpeg", ""),
    f"{SITE}/rtmp": html("<title>R</title>", '<audio src="rtmp://h.example/live"></audio>'),
    f"{SITE}/file": html("<title>F</title>", '<audio src="file:///etc/passwd"></audio>'),
    f"{SITE}/nothing": html("<title>Nothing</title>", "no media"),
    f"{SITE}/hostile": html("<title>\u202egnos\u0007 A\n song</title>", AUDIO),
    f"{SITE}/bomb": bomb,
    f"{SITE}/crumbs": html("<title>Crumbs</title>", AUDIO * 2**18),
    f"{SITE}/browsers": browsers,
    f"{SITE}/silent": lambda request: NOT_DONE_YET,
}  # fmt: skip


def peak_of(pid: int) -> int:
    """Bytes of memory that a process has had at most; zero once it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    _, known, said = status.partition("VmHWM:")
    return int(said.split()[0]) * 1024 if known else 0


class RealWorkerTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.door = WebDoor(reactor, PAGES)
        self.made = self.extractors()

    def extractors(self, **options: Any) -> Extractors:
        made = Extractors(cast(IReactor, reactor), self.door, child_environment(os.environ), 1, **options)
        self.addCleanup(made.stop)
        return made

    def tearDown(self) -> Any:
        return self.door.close()

    @property
    def pid(self) -> int:
        (place,) = self.made._pool._places
        assert place.transport is not None and place.transport.pid is not None
        return place.transport.pid

    def media(self, source: Source) -> str:
        assert isinstance(source.media, Http)
        self.assertTrue(source.extracted)
        return source.media.url

    @inlineCallbacks
    def test_pages_of_every_making_are_read_and_by_a_warm_worker_soon(self) -> Steps:
        began = time.monotonic()
        yield self.made.resolve(f"{SITE}/audio")
        cold, times = time.monotonic() - began, []
        for path, media, title, duration in (
            ("audio?again", None, None, None),
            ("relative", f"{SITE}/b.opus", "A song", None),
            ("og", f"{MEDIA}/og.mp3", "Of Graph", None),
            ("ld", f"{MEDIA}/ld.mp3", "Of data", 185.0),
            ("hls", f"{MEDIA}/high.m3u8", "Streamed", None),
            ("redirect", f"{MEDIA}/a.mp3", "A song", None),
            ("two", f"{MEDIA}/a.mp3", "Two (1)", None),
            ("feed", f"{MEDIA}/0.mp3", "E0", None),
            ("hostile", f"{MEDIA}/a.mp3", "gnos A song", None),
        ):
            began = time.monotonic()
            if media is None:
                yield self.assertFailure(self.made.resolve(f"{SITE}/{path}"), errors.SourceNotFound)
                continue
            source = yield self.made.resolve(f"{SITE}/{path}")
            times.append(time.monotonic() - began)
            self.assertEqual((self.media(source), source.title, source.duration), (media, title, duration))
            self.assertEqual(source.url, f"{SITE}/{path}")
            self.assertEqual(source.playlist, {"two": "Two", "feed": "Feed"}.get(path))
        status = Path(f"/proc/{self.pid}/status").read_text()
        rss, peak = (int(status.partition(name)[2].split()[0]) / 1024 for name in ("VmRSS:", "VmHWM:"))
        self.assertEqual(self.made.vitals().restarts, 0)
        self.assertLess(sorted(times)[len(times) // 2], 0.8)
        print(
            f"\nfirst page, worker started {cold:.2f} s; warm, median of {len(times)} "
            f"{sorted(times)[len(times) // 2] * 1000:.0f} ms, most {max(times) * 1000:.0f} ms; "
            f"worker {rss:.0f} MiB, at most {peak:.0f} MiB"
        )

    @inlineCallbacks
    def test_lists_are_flat_and_capped(self) -> Steps:
        feed = yield self.made.playlist(f"{SITE}/feed")
        self.assertEqual([source.title for source in feed], [f"E{i}" for i in range(500)])
        self.assertEqual(feed[499].url, f"{MEDIA}/499.mp3")
        two = yield self.made.playlist(f"{SITE}/two")
        self.assertEqual([source.url for source in two], [f"{MEDIA}/a.mp3", f"{MEDIA}/b.mp3"])
        (one,) = yield self.made.playlist(f"{SITE}/audio")
        self.assertEqual((one.url, one.title), (f"{SITE}/audio", "A song"))

    @inlineCallbacks
    def test_what_cannot_be_played_is_refused(self) -> Steps:
        for path, error in (
            *(("rtmp", errors.ExtractionFailed), ("file", errors.ExtractionFailed)),
            *(("nothing", errors.ExtractionFailed), ("none", errors.SourceNotFound)),
        ):
            yield self.assertFailure(self.made.resolve(f"{SITE}/{path}"), error)
        failed = yield self.assertFailure(self.made.resolve(f"{SITE}/out"), errors.AudioServiceError)
        self.assertNotIn("root:", failed.message)
        for url in ("--batch-file=/etc/passwd", "file:///etc/passwd", "ytsearch1:x"):
            yield self.assertFailure(self.made.resolve(url), errors.UnsupportedUrl)
        self.assertEqual(self.made.vitals().restarts, 0)

    @inlineCallbacks
    def test_all_goes_through_the_door_under_the_call_s_own_permit(self) -> Steps:
        yield self.made.resolve(f"{SITE}/redirect")
        self.assertEqual({label for _, label in self.door.asked}, {"extract resolve"})
        for asked in (
            self.made.search("a song", 5),
            self.made.resolve("https://www.youtube.com/watch?v=BaW_jenozKc"),
            self.made.resolve("https://secure.example/page"),
        ):
            failed = yield self.assertFailure(asked, errors.AudioServiceError)
            self.assertNotIn("@127.0.0.1", failed.message)
        self.assertLessEqual({"www.youtube.com:443", "secure.example:443"}, set(self.door.urls))
        self.door.permits[0].close()
        self.assertEqual([permit.label for permit in self.door.permits if not permit.closed], [])

    @inlineCallbacks
    def test_without_the_door_nothing_goes_out(self) -> Steps:
        origin = WebDoor(reactor, {})
        self.addCleanup(origin.close)
        heard: list[object] = []
        origin.factory.buildProtocol = heard.append  # type: ignore[method-assign, assignment]
        yield self.made.resolve(f"{SITE}/audio")
        yield self.door.close()
        for url in (f"http://127.0.0.1:{origin.port}/", f"https://127.0.0.1:{origin.port}/"):
            yield self.assertFailure(self.made.resolve(url), errors.SourceUnreachable)
        self.assertEqual(heard, [])

    @inlineCallbacks
    def test_a_bomb_ends_within_the_memory_allowed_and_others_are_served(self) -> Steps:
        """However it takes the memory: in one piece, or in so many that none is left to say so."""
        for path, what in (("bomb", "1 GB of gzip"), ("crumbs", f"{2**18} media in a page")):
            source = yield self.made.resolve(f"{SITE}/audio", fresh=True)
            self.assertEqual(source.title, "A song")
            peak, pid, over = 0, self.pid, []
            self.made.resolve(f"{SITE}/{path}").addBoth(over.append)
            while not over:
                peak = max(peak, peak_of(pid))
                yield deferLater(reactor, 0.01)
            self.assertIsInstance(over[0].value, errors.ExtractionFailed)
            self.assertIn("too much memory", over[0].value.message)
            self.assertLess(peak, RESIDENT_MOST)
            print(f"\n{what}: {over[0].value.message}, {peak / 1e6:.0f} MB")
        yield self.made.resolve(f"{SITE}/audio", fresh=True)
        self.assertEqual(self.made.vitals().restarts, 0)

    @inlineCallbacks
    def test_cookies_are_sent_where_they_belong_and_the_file_is_left_alone(self) -> Steps:
        cookies = ".page.example\tTRUE\t/\tFALSE\t0\towner\tsecret\n.media.example\tTRUE\t/\tFALSE\t0\towner\tsecret\n"
        made = self.extractors(cookies=f"# Netscape HTTP Cookie File\n{cookies}")
        source = yield made.resolve(f"{SITE}/browsers")
        self.assertIn("owner=secret||", source.title)
        assert isinstance(source.media, Http)
        self.assertEqual(source.media.headers["cookie"], "session=fresh")
        other = yield made.resolve(f"{SITE}/audio")
        self.assertNotIn("cookie", other.media.headers)

    @inlineCallbacks
    def test_a_worker_is_confined(self) -> Steps:
        yield self.made.resolve(f"{SITE}/audio")
        proc = Path(f"/proc/{self.pid}")
        limits = {line[:26].strip(): line[26:].split()[:2] for line in (proc / "limits").read_text().splitlines()}
        self.assertEqual(limits["Max data size"], [str(worker.MEMORY_MOST), str(worker.RUNTIME_MEMORY_MOST)])
        for name, most in (("Max core file size", 0), ("Max open files", 128)):
            self.assertEqual(limits[name], [str(most)] * 2)
        self.assertEqual(os.getsid(self.pid), self.pid)
        self.assertIn("NoNewPrivs:\t1", (proc / "status").read_text())
        self.assertEqual((proc / "cwd").readlink(), Path("/"))
        self.assertEqual((proc / "oom_score_adj").read_text().strip(), "500")
        ours = {entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}
        theirs = {entry.readlink() for entry in (proc / "fd").iterdir() if entry.is_symlink()}
        self.assertEqual({str(link) for link in theirs & ours if "socket:" in str(link)}, set())
