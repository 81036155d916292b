"""yt-dlp itself in a worker, against a web that is one site on loopback: nothing else can be reached, nor is tried."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import Request

from audiosvc import errors
from audiosvc.extract import worker
from audiosvc.extract.extractors import WORKER, Extractors, worker_argv
from audiosvc.ffmpeg.command import child_environment
from audiosvc.interfaces import IReactor
from audiosvc.sources.model import Http, Source
from tests.extract.support import NOT_DONE_YET, WebDoor

SITE = "http://page.example"
MEDIA = "http://media.example"

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
    f"{SITE}/browsers": browsers,
    f"{SITE}/silent": lambda request: NOT_DONE_YET,
}  # fmt: skip


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
        bombed = self.made.resolve(f"{SITE}/bomb")
        yield deferLater(reactor, 1.0, lambda: None)
        peak, pid, over = 0.0, self.pid, []
        bombed.addBoth(over.append)
        while not over:
            status = Path(f"/proc/{pid}/status").read_text() if Path(f"/proc/{pid}").exists() else ""
            peak = max(peak, int(status.partition("VmHWM:")[2].split()[0]) if "VmHWM:" in status else 0)
            yield deferLater(reactor, 0.05, lambda: None)
        self.assertIsInstance(over[0].value, errors.ExtractionFailed)
        self.assertLess(peak / 1024, worker.MEMORY_MOST / 2**20 + 64)
        source = yield self.made.resolve(f"{SITE}/audio")
        self.assertEqual(source.title, "A song")
        print(f"\n1 GB of gzip: {over[0].value.message}, {peak / 1024:.0f} MiB")

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
        for name, most in (("Max data size", worker.MEMORY_MOST), ("Max core file size", 0), ("Max open files", 128)):
            self.assertEqual(limits[name], [str(most)] * 2)
        self.assertEqual(os.getsid(self.pid), self.pid)
        self.assertIn("NoNewPrivs:\t1", (proc / "status").read_text())
        self.assertEqual((proc / "cwd").readlink(), Path("/"))
        self.assertEqual((proc / "oom_score_adj").read_text().strip(), "500")
        ours = {entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}
        theirs = {entry.readlink() for entry in (proc / "fd").iterdir() if entry.is_symlink()}
        self.assertEqual({str(link) for link in theirs & ours if "socket:" in str(link)}, set())


PLANT = 'from pathlib import Path\nPath("{marker}").write_text("ran")\n'


class AloneTests(SynchronousTestCase):
    """The program by itself, in surroundings made by somebody else."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = Path(folder.name).resolve()
        self.marker = self.home / "marker"

    def plant(self) -> dict[str, str]:
        """Plugins and settings wherever yt-dlp looks for them; returns the environment that leads there."""
        for place in ("", ".config/yt-dlp/plugins/evil", ".yt-dlp/plugins/evil", "yt-dlp-plugins/evil", "libs"):
            for kind in ("extractor", "postprocessor"):
                plugin = self.home / place / "yt_dlp_plugins" / kind / "evil.py"
                plugin.parent.mkdir(parents=True, exist_ok=True)
                plugin.write_text(PLANT.format(marker=self.marker))
        for place in ("yt-dlp.conf", ".config/yt-dlp/config", ".config/yt-dlp.conf", ".yt-dlp/config"):
            (self.home / place).write_text("--user-agent EVIL\n--netrc\n--proxy ''\n--exec 'touch x'\n")
        (self.home / ".netrc").write_text("default login user password secret\n")
        (self.home / "yt_dlp.py").write_text(PLANT.format(marker=self.marker))
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "PYTHONPATH": str(self.home / "libs"),
                "XDG_CONFIG_HOME": str(self.home / ".config"), "no_proxy": "*", "NO_PROXY": "*"}  # fmt: skip

    def test_what_is_planted_would_run_by_default(self) -> None:
        program = "import yt_dlp; yt_dlp.YoutubeDL()"
        subprocess.run([sys.executable, "-c", program], env=self.plant(), cwd="/", check=True, timeout=60)
        self.assertTrue(self.marker.exists())

    def test_nothing_of_it_is_loaded_by_a_worker(self) -> None:
        done = subprocess.run(
            worker_argv(), env=self.plant(), cwd=self.home, input=b"", capture_output=True, check=True, timeout=60
        )
        self.assertIn(b"ready", done.stdout)
        self.assertFalse(self.marker.exists())

    def test_only_answers_are_on_standard_output_and_calls_are_read_by_nobody_else(self) -> None:
        program = (
            "import sys, os; sys.path.insert(0, sys.argv[1]); import worker\n"
            "calls, answers = worker.take_pipes()\n"
            "print('noise'); os.write(1, b'noise\\n'); os.system('echo noise; cat')\n"
            "worker.say(answers, {'id': 1, 'line': calls.readline().decode()})\n"
        )
        done = subprocess.run(
            [sys.executable, "-I", "-c", program, str(WORKER.parent)], input=b"call\n", capture_output=True, check=True,
            timeout=60,
        )  # fmt: skip
        self.assertEqual(done.stdout, b'{"id":1,"line":"call\\n"}\n')
        self.assertEqual(done.stderr.count(b"noise"), 3)

    def test_it_does_not_outlive_who_started_it(self) -> None:
        """Killed, and with the pipes held open by somebody else."""
        program = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(60)"
        parent = subprocess.Popen(
            [sys.executable, "-c", program, *worker_argv()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert parent.stdout is not None and parent.stdin is not None
        with parent.stdout, parent.stdin:
            pid = int(parent.stdout.readline())
            self.assertIn(b"ready", parent.stdout.readline())
            parent.send_signal(signal.SIGKILL)
            parent.wait()
            deadline = time.monotonic() + 5
            while Path(f"/proc/{pid}/exe").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertFalse(Path(f"/proc/{pid}/exe").exists())
