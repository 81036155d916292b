"""Streams for tests: playlists of every kind made by FFmpeg, a live one, a station, and servers with faults."""

from __future__ import annotations

import atexit
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.static import File as StaticFile

from tests.ffmpeg.media import FFMPEG

LENGTH = 12
SEGMENT = 2

STEPS = f"aevalsrc=exprs=0.2*sin(2*PI*(400+100*floor(t))*t):s=44100:d={LENGTH}"
"""A tone that rises by 100 Hz every second, so that one hears where one is."""

VIDEO = f"testsrc=s=64x48:r=5:d={LENGTH}"

LIVE_SEGMENT = 0.5
LIVE_WINDOW = 8
"""Segments that the live playlist shows: 4 s."""
LIVE_BEGUN = 10
"""Segments that were there before the first request: 5 s."""

METADATA_BYTES = 4000
"""Bytes of sound between two announcements of a station."""


@cache
def streams() -> Path:
    """Holds `KIND/a.m3u8` and `KIND/a.mpd` of the same 12 s. Gone when the tests are."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    steps = folder / "steps.m4a"
    _ffmpeg(folder, "-f", "lavfi", "-i", STEPS, "-c:a", "aac", "-b:a", "96k", str(steps))
    _ffmpeg(folder, "-i", str(steps), "-c:a", "libmp3lame", "-b:a", "64k", "-write_xing", "0", "station.mp3")
    hls = ("-f", "hls", "-hls_time", str(SEGMENT), "-hls_playlist_type", "vod")

    def cut(kind: str, *options: str, name: str = "a.m3u8") -> None:
        (folder / kind).mkdir()
        _ffmpeg(folder / kind, "-i", str(steps), *options, name)

    cut("ts", "-c", "copy", *hls)
    cut("fmp4", "-c", "copy", *hls, "-hls_segment_type", "fmp4")
    cut("ranges", "-c", "copy", *hls, "-hls_flags", "single_file")
    cut("map", "-c", "copy", *hls, "-hls_segment_type", "fmp4", "-hls_flags", "single_file")
    (folder / "aes").mkdir()
    (folder / "aes/secret").write_bytes(bytes(range(16)))
    (folder / "aes/about").write_text("secret\nsecret\n")
    _ffmpeg(folder / "aes", "-i", str(steps), "-c", "copy", *hls, "-hls_key_info_file", "about", "a.m3u8")
    dash = ("-f", "dash", "-seg_duration", str(SEGMENT))
    cut("dash", "-c", "copy", *dash, name="a.mpd")
    # Without an edit list, which FFmpeg would apply to every segment.
    cut("numbered", "-c:a", "aac", *dash, "-format_options", "use_editlist=0", name="a.mpd")
    cut("opus", "-c:a", "libopus", *dash, "-dash_segment_type", "webm", name="a.mpd")
    cut("live", "-c", "copy", "-f", "hls", "-hls_time", str(LIVE_SEGMENT), "-hls_list_size", "0")
    variants = ("-map", "0:v", "-map", "1:a") * 2 + ("-map", "1:a", "-c:v", "mpeg4", "-g", "5", "-c:a", "aac")
    named = ("-master_pl_name", "a.m3u8", "-var_stream_map", "v:0,a:0 v:1,a:1 a:2", "v%v.m3u8")
    (folder / "master").mkdir()
    _ffmpeg(folder / "master", "-f", "lavfi", "-i", VIDEO, "-i", str(steps), *variants, *hls, *named)
    _rename(folder)
    return folder


def _rename(folder: Path) -> None:
    """`odd/a`: the segments named as CDNs name them, behind a playlist without a suffix."""
    (folder / "odd").mkdir()
    listed = (folder / "ts/a.m3u8").read_text()
    for number, odd in enumerate(("0", "segment;1", "2.jpg", "3.ts?token=a/b.c", "4.aspx", "5.mp3", "6")):
        shutil.copy(folder / f"ts/a{number}.ts", folder / "odd" / odd.partition("?")[0])
        listed = listed.replace(f"a{number}.ts", odd)
    (folder / "odd/a").write_text(listed)


def _ffmpeg(cwd: Path, *arguments: str) -> None:
    subprocess.run([FFMPEG, "-nostdin", "-v", "error", *arguments], check=True, timeout=60, cwd=cwd)


class Counting(StaticFile):
    """Files, and how often each was asked for."""

    def __init__(self, path: str, asked: Counter[str]) -> None:
        super().__init__(path)
        self.asked = asked

    def createSimilarFile(self, path: str) -> Counting:
        return Counting(path, self.asked)

    def render_GET(self, request: Request) -> bytes | int:
        self.asked["/".join(segment.decode() for segment in (*request.prepath,))] += 1
        return super().render_GET(request)


class Live(Resource):
    """`a.m3u8`, a window that moves on with the time, and its segments, gone soon after they have left it."""

    isLeaf = True

    def __init__(self, folder: Path, reactor: IReactorTime) -> None:
        super().__init__()
        self._folder = folder
        self._reactor = reactor
        self._begun: float | None = None
        self._last = int(LENGTH / LIVE_SEGMENT)

    @property
    def edge(self) -> int:
        """Segments that there are by now."""
        now = self._reactor.seconds()
        if self._begun is None:
            self._begun = now
        return min(self._last, LIVE_BEGUN + int((now - self._begun) / LIVE_SEGMENT))

    def render_GET(self, request: Request) -> bytes:
        name = request.postpath[0].decode()
        edge = self.edge
        if name == "a.m3u8":
            request.setHeader("content-type", "application/vnd.apple.mpegurl")
            shown = range(max(0, edge - LIVE_WINDOW), edge)
            lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{shown[0]}"]
            lines += [f"#EXTINF:{LIVE_SEGMENT},\na{number}.ts" for number in shown]
            lines += ["#EXT-X-ENDLIST"] if edge == self._last else []
            return "\n".join(lines).encode()
        if int(name[1:-3]) < edge - 2 * LIVE_WINDOW:
            request.setResponseCode(404)
            return b""
        return (self._folder / name).read_bytes()


class LiveDash(Resource):
    """`a.mpd`, dynamic, whose segments are told by their numbers, and these once it is their time.

    `delay` is by how many seconds a player should stay behind, None where it does not say.
    """

    isLeaf = True
    missed = 0

    def __init__(self, folder: Path, delay: int | None) -> None:
        super().__init__()
        self._folder = folder
        self._delay = delay
        self._begun = int(time.time()) - LENGTH // 2

    def render_GET(self, request: Request) -> bytes:
        name = request.postpath[0].decode()
        if name == "a.mpd":
            request.setHeader("content-type", "application/dash+xml")
            return self._listed().encode()
        segment = re.fullmatch(r"chunk-stream0-(\d+)\.m4s", name)
        if segment and int(segment[1]) * SEGMENT > time.time() - self._begun:
            self.missed += 1
            request.setResponseCode(404)
            return b""
        return (self._folder / name).read_bytes()

    def _listed(self) -> str:
        begun = datetime.fromtimestamp(self._begun, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        delay = "" if self._delay is None else f'suggestedPresentationDelay="PT{self._delay}S"'
        return (
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic" minimumUpdatePeriod="PT60S"'
            f' availabilityStartTime="{begun}" minBufferTime="PT2S" {delay}><Period id="0" start="PT0S">'
            '<AdaptationSet contentType="audio" mimeType="audio/mp4"><Representation id="0" codecs="mp4a.40.2"'
            ' bandwidth="96000" audioSamplingRate="44100"><SegmentTemplate timescale="1" startNumber="1"'
            f' duration="{SEGMENT}" initialization="init-stream0.m4s" media="chunk-stream0-$Number%05d$.m4s"/>'
            "</Representation></AdaptationSet></Period></MPD>"
        )


class Faulty(Resource):
    """The segments of `ts` behind their playlist; `refused` and `stalled` say which, and how often, do not come."""

    isLeaf = True

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.refused: dict[str, int] = {}
        self.stalled: dict[str, int] = {}
        self._folder = folder

    def render_GET(self, request: Request) -> bytes | int:
        name = request.postpath[0].decode()
        for left in (self.refused, self.stalled):
            if left.get(name, 0) > 0:
                left[name] -= 1
                request.setResponseCode(404 if left is self.refused else 200)
                return b"" if left is self.refused else NOT_DONE_YET
        if name.endswith(".m3u8"):
            request.setHeader("content-type", "application/vnd.apple.mpegurl")
        return (self._folder / name).read_bytes()


class Station(Resource):
    """An ICY station: the sound with `titles` in between, over once all are said."""

    isLeaf = True

    def __init__(self, sound: Path, titles: list[bytes]) -> None:
        super().__init__()
        self._sound = sound.read_bytes()
        self._titles = titles
        self.requests: list[Any] = []

    def render_GET(self, request: Request) -> bytes:
        self.requests.append(request)
        request.setHeader("content-type", "audio/mpeg")
        request.responseHeaders.setRawHeaders("icy-name", [b"Z\xfcri Welle"])
        request.setHeader("connection", "close")
        wanted = request.getHeader("icy-metadata") == "1"
        if wanted:
            request.setHeader("icy-metaint", str(METADATA_BYTES))
        for number, title in enumerate(self._titles):
            request.write(self._sound[number * METADATA_BYTES : (number + 1) * METADATA_BYTES])
            if wanted:
                said = b"StreamTitle='%s';" % title
                request.write(bytes([-(-len(said) // 16)]) + said.ljust(-(-len(said) // 16) * 16, b"\0"))
        return b""
