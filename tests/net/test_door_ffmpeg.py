"""FFmpeg itself behind the door: what it plays through it, and what it does not reach whatever it is told."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.internet.utils import getProcessOutputAndValue
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import File as StaticFile
from twisted.web.util import Redirect

from audiosvc.errors import BlockedAddress
from audiosvc.ffmpeg.command import child_environment, decode_argv
from audiosvc.sources.model import Http, Source
from tests.ffmpeg.media import FFMPEG, folder, hertz, seconds
from tests.net.certificates import Authority
from tests.net.support import INSIDE, DoorCase, Listener, reactor, soon

FILES = ("steps.mp3", "steps.ogg", "steps.m4a", "fast.m4a", "steps.flac", "steps.wav")
PLAYLISTS = ("ts.m3u8", "fmp4.m3u8", "dash.mpd")


@cache
def playlists() -> Path:
    """The tests' media with playlists of every kind beside them."""
    where = folder()

    def ffmpeg(*arguments: str) -> None:
        subprocess.run([FFMPEG, "-nostdin", "-v", "error", "-i", "steps.m4a", *arguments], check=True, cwd=where)

    for kind in ("mpegts", "fmp4"):
        name = {"mpegts": "ts", "fmp4": "fmp4"}[kind]
        segments = ("-hls_segment_type", kind, "-hls_fmp4_init_filename", f"{name}.init.mp4")
        ffmpeg("-c", "copy", "-f", "hls", "-hls_time", "1", "-hls_list_size", "0", *segments, f"{name}.m3u8")
    ffmpeg("-c", "copy", "-f", "dash", "-seg_duration", "1", "dash.mpd")
    return where


class FFmpegTests(DoorCase):
    timeout = 60

    def setUp(self) -> None:
        super().setUp()
        self.root = Resource()
        self.root.putChild(b"music", StaticFile(str(playlists())))
        self.made = playlists() / f"made-{self.id().rpartition('.')[2]}"
        self.made.mkdir(exist_ok=True)
        self.root.putChild(b"made", StaticFile(str(self.made)))
        self.site = Site(self.root)
        self.base = f"http://radio.example:{self.serve(self.site)}"

    @inlineCallbacks
    def decode(self, url: str, position: float = 0.0) -> Any:
        """As a session does, with no more of the environment than a session's child has: its PCM, and what it said."""
        argv = decode_argv(FFMPEG, Source(url, Http(url)), position)
        environment = child_environment(os.environ) | dict(self.permit.environment)
        pcm, said, _ = yield getProcessOutputAndValue(argv[0], argv[1:], env=environment)
        return pcm, said.decode(errors="replace")

    @inlineCallbacks
    def blocked(self, url: str) -> Any:
        """Nobody inside is asked for anything, and the permit tells whom the source led to."""
        self.permit = self.door.permit("test")
        yield self.decode(url)
        self.assertEqual(self.inside.hits, 0)
        self.assertIsInstance(self.permit.denial, BlockedAddress, url)
        self.assertRegex(str(self.permit.denial), r"127\.0\.0\.2|inner\.example")

    def make(self, name: str, text: str) -> str:
        (self.made / name).write_text(text)
        return f"{self.base}/made/{name}"

    @inlineCallbacks
    def test_every_kind_plays_and_is_sought_in(self) -> Any:
        for name in FILES + PLAYLISTS:
            self.permit = self.door.permit(name)
            pcm, said = yield self.decode(f"{self.base}/music/{name}")
            self.assertApproximates(seconds(pcm), 4, 0.08, f"{name}: {said}")
            if name in FILES:
                pcm, said = yield self.decode(f"{self.base}/music/{name}", 3.0)
                self.assertApproximates(hertz(pcm, 0.1, 0.9), 700, 5, f"{name}: {said}")
            self.assertEqual((self.permit.denial, self.permit.trouble), (None, None))

    @inlineCallbacks
    def test_secure_servers_are_reached_by_tunnels_and_still_have_to_prove_who_they_are(self) -> Any:
        authority = Authority(self.made)
        for host, plays in (("radio.example", True), ("other.example", False)):
            listening = reactor.listenSSL(0, self.site, authority.vouch([host]), interface="127.0.0.1")  # type: ignore[attr-defined]
            self.addCleanup(listening.stopListening)
            for name in ("steps.m4a", "ts.m3u8"):
                with self.environment(SSL_CERT_FILE=str(authority.path)):
                    pcm, said = yield self.decode(f"https://radio.example:{listening.getHost().port}/music/{name}")
                self.assertApproximates(seconds(pcm), 4 if plays else 0, 0.08, said)
        self.assertIsNone(self.permit.denial)

    @inlineCallbacks
    def test_whatever_leads_inside_leads_nowhere(self) -> Any:
        for inside in (f"http://{INSIDE}:{self.inside_port}", f"http://inner.example:{self.inside_port}"):
            yield self.blocked(f"{inside}/a.mp3")
            yield self.blocked(f"{inside.replace('http:', 'https:')}/a.mp3")
            self.root.putChild(b"away.mp3", Redirect(f"{inside}/a.mp3".encode()))
            yield self.blocked(f"{self.base}/away.mp3")
            hls, head = (playlists() / "ts.m3u8").read_text(), "#EXT-X-TARGETDURATION"
            yield self.blocked(self.make("segment.m3u8", re.sub(r"^ts", f"{inside}/ts", hls, flags=re.MULTILINE)))
            key = f'#EXT-X-KEY:METHOD=AES-128,URI="{inside}/secrets",IV=0x{"0" * 32}\n'
            yield self.blocked(self.make("key.m3u8", hls.replace(head, key + head).replace("\nts", "\n../music/ts")))
            fmp4 = (playlists() / "fmp4.m3u8").read_text().replace("\nfmp4", "\n../music/fmp4")
            yield self.blocked(self.make("map.m3u8", fmp4.replace('URI="', f'URI="{inside}/')))
            master = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{inside}/a.m3u8\n"
            yield self.blocked(self.make("master.m3u8", master))
            dash = (playlists() / "dash.mpd").read_text()
            yield self.blocked(
                self.make("base.mpd", dash.replace("<Period ", f"<BaseURL>{inside}/</BaseURL><Period ", 1))
            )

    @inlineCallbacks
    def test_every_spelling_of_an_address_inside_is_refused(self) -> Any:
        for host in ("127.2", "2130706434", "0x7f000002", "0177.0.0.2", "[::ffff:127.0.0.2]", "127.0.0.2."):
            self.permit = self.door.permit("test")
            yield self.decode(f"http://{host}:{self.inside_port}/a.mp3")
            self.assertIsInstance(self.permit.denial, BlockedAddress, host)
        self.assertEqual(self.inside.hits, 0)

    @inlineCallbacks
    def test_the_daemons_own_environment_leads_nobody_past_the_door(self) -> Any:
        with self.hostile_environment():
            pcm, _ = yield self.decode(f"{self.base}/music/steps.ogg")
            self.assertApproximates(seconds(pcm), 4, 0.03)
            self.assertGreater(self.door.vitals().requests, 0)
            yield self.blocked(f"http://{INSIDE}:{self.inside_port}/a.mp3")

    @inlineCallbacks
    def test_with_the_door_closed_nothing_is_reached(self) -> Any:
        outside = Listener()
        port = self.serve(outside)
        yield self.door.stop()
        for scheme in ("http", "https"):
            pcm, said = yield self.decode(f"{scheme}://127.0.0.1:{port}/a.mp3")
            self.assertIn("Connection refused", said)
        self.assertEqual((pcm, outside.hits), (b"", 0))

    @inlineCallbacks
    def test_a_closed_permit_reaches_nothing(self) -> Any:
        self.permit.close()
        outside = Listener()
        pcm, said = yield self.decode(f"http://127.0.0.1:{self.serve(outside)}/a.mp3")
        self.assertIn("407", said)
        self.assertEqual((pcm, outside.hits), (b"", 0))

    @inlineCallbacks
    def test_a_playlist_of_thousands_asks_no_more_than_it_may(self) -> Any:
        variants = "".join(f"#EXT-X-STREAM-INF:BANDWIDTH={i + 1}\n/v{i}.m3u8\n" for i in range(3000))
        yield self.decode(self.make("many.m3u8", f"#EXTM3U\n{variants}"))
        self.assertLessEqual(self.door.vitals().requests - self.door.vitals().refused["unsupported_url"], 64)
        self.assertIn("more than 64 requests", str(self.permit.denial))

    @inlineCallbacks
    def test_a_child_that_is_not_listened_to_fetches_little_more_than_it_can_hold(self) -> Any:
        music = (playlists() / "steps.mp3").read_bytes()

        class Endless:
            def __init__(self, transport: Any) -> None:
                self.transport = transport

            def resumeProducing(self) -> None:
                self.transport.write(music)

            def stopProducing(self) -> None:
                pass

        def endless(head: bytes, transport: Any) -> None:
            transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n")
            transport.registerProducer(Endless(transport), False)

        url = f"http://radio.example:{self.serve(Listener(endless))}/"
        argv = decode_argv(FFMPEG, Source(url, Http(url)))
        environment = child_environment(os.environ) | dict(self.permit.environment)
        quiet = subprocess.DEVNULL
        child = subprocess.Popen(argv, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, env=environment)
        self.addCleanup(child.communicate)
        self.addCleanup(child.kill)
        yield soon(lambda: self.door.bytes > 100_000)
        before = -1
        while self.door.bytes > before:
            before = self.door.bytes
            yield self.pause(0.5)
        self.assertLess(before, 2 * 1024 * 1024)
