"""How soon the first sound comes from far inside of an hour, in every container; a server on loopback."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.server import Site
from twisted.web.static import File as StaticFile

from audiosvc.ffmpeg.command import child_environment, decode_argv
from audiosvc.ffmpeg.report import Report
from audiosvc.sources.model import Http, Source
from tests.ffmpeg.media import FFMPEG, seconds

HOUR = 3600

MINUTE = "aevalsrc=exprs=0.2*sin(2*PI*(400+t)*t):s=44100:d=60"
"""A tone that rises all the time, so that the bit rate varies where it may."""

POSITIONS = (600.5, 1800.5, 3400.5)

LIMIT_SECONDS = 2.0
"""Far above what it takes: 0.02 to 0.08 s, and 0.2 to 0.6 s where all that lies before has to be read (ADTS)."""

KINDS = {
    "mp3": ("-c:a", "libmp3lame", "-b:a", "64k"),
    "vbr.mp3": ("-c:a", "libmp3lame", "-q:a", "6"),
    "ogg": ("-c:a", "libvorbis"),
    "opus": ("-c:a", "libopus", "-b:a", "48k"),
    "webm": ("-c:a", "libopus", "-b:a", "48k"),
    "m4a": ("-c:a", "aac", "-b:a", "64k"),
    "fast.m4a": ("-c:a", "aac", "-b:a", "64k", "-movflags", "+faststart"),
    "fragmented.m4a": ("-c:a", "aac", "-b:a", "64k", "-movflags", "+empty_moov", "-frag_duration", "4000000"),
    "aac": ("-c:a", "aac", "-b:a", "64k"),
    "flac": ("-c:a", "flac", "-ar", "22050", "-compression_level", "0"),
    "wav": ("-c:a", "pcm_s16le", "-ar", "22050"),
    "ts": ("-c:a", "aac", "-b:a", "64k"),
}


def make_hour(folder: Path, kind: str) -> Path:
    """An hour in a container: a minute of sound sixty times over. FLAC, whose head tells its length, is made as one."""
    options = KINDS[kind]
    container = options[options.index("-movflags") :] if "-movflags" in options else ()
    minute, hour = folder / f"minute.{kind.rpartition('.')[2]}", folder / f"hour.{kind}"
    copied = options if kind == "flac" else ("-c", "copy", *container)
    for arguments in (
        ("-f", "lavfi", "-i", MINUTE, *options[: len(options) - len(container)], minute),
        ("-stream_loop", "-1", "-i", minute, "-t", str(HOUR), *copied, hour),
    ):
        subprocess.run([FFMPEG, "-nostdin", "-v", "error", "-y", *arguments], check=True, timeout=60)
    return hour


class SeekTests(TestCase):
    timeout = 120

    @inlineCallbacks
    def test_it_comes_at_once(self) -> Any:
        from twisted.internet import reactor

        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        port = reactor.listenTCP(0, Site(StaticFile(made.name)), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        for kind in KINDS:
            hour = yield deferToThread(make_hour, Path(made.name), kind)
            media = Http(f"http://127.0.0.1:{port.getHost().port}/{hour.name}", vbr=kind == "vbr.mp3")
            waits = []
            for position in POSITIONS:
                waited, given, report = yield deferToThread(self.first_sound, media, position)
                assert report.duration is not None
                if not report.guessed:
                    self.assertApproximates(report.duration, HOUR, 2, kind)
                self.assertApproximates(given, 1, 0.05, (kind, position))
                waits.append(waited)
            hour.unlink()
            print(f"{kind:15}", *(f"{waited * 1000:4.0f} ms" for waited in waits))
            self.assertLess(max(waits), LIMIT_SECONDS, kind)

    def first_sound(self, media: Http, position: float) -> tuple[float, float, Report]:
        """Seconds to the first of a second of sound, how much came, and what was said."""
        argv = decode_argv(FFMPEG, Source("x", media), position, 1.0)
        before = time.monotonic()
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=child_environment(os.environ)
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            first = child.stdout.read(3840)
            waited = time.monotonic() - before
            rest, report = child.stdout.read(), Report()
            report.feed(child.stderr.read())
        return waited, seconds(first + rest), report
