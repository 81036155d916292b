"""What is played: the built-in pieces or files of the user's, each long enough for a run, in a folder of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audiosvc.ffmpeg.command import child_environment, probe_argv
from audiosvc.ffmpeg.report import Report
from audiosvc.sources.demo import Demos
from audiosvc.sources.model import File, Source

OWN = "own"
STATION = "radio.mp3"
STATION_RATE = 16_000
"""Bytes a second."""

_OPUS = ["-c:a", "libopus", "-b:a", "128k"]
PASSED = {"opus": _OPUS, "webm": _OPUS}
"""Containers of Opus, which is passed through: Ogg and WebM."""

ENCODERS = {
    "mp3": ["-c:a", "libmp3lame", "-b:a", "192k"],
    "m4a": ["-c:a", "aac", "-b:a", "160k"],
    **PASSED,
    # Of frames that do without one another, so that it can be entered anywhere and put end to end with itself.
    STATION: [
        *("-c:a", "libmp3lame", "-b:a", str(8 * STATION_RATE), "-reservoir", "0"),
        *("-write_xing", "0", "-id3v2_version", "0", "-ar", "48000"),
    ],
}
"""Containers a piece can be rendered to, besides its own."""


@dataclass(frozen=True)
class Piece:
    """`path` lies in the folder that the daemon plays from; `container` is one of `ENCODERS`, or "own"."""

    name: str
    path: Path
    codec: str
    container: str

    @property
    def source(self) -> Source:
        return Source(self.path.name, File(self.path), opus=self.codec == "opus")

    @property
    def station(self) -> bool:
        return self.container == STATION


def prepare(folder: Path, ffmpeg: str, files: Sequence[Path], containers: Sequence[str], seconds: float) -> list[Piece]:
    """Every file (the built-in pieces, if there are none) in every container, at least `seconds` long.

    One that is shorter is put end to end with itself, without decoding. ValueError says what cannot be used.
    """
    pieces = []
    for number, path in enumerate(files or _built_in()):
        report = _describe(ffmpeg, path)
        if report.codec is None or not report.duration:
            raise ValueError(f"{path} cannot be used: {report.error()}")
        again = int(seconds / report.duration) if report.duration < seconds else 0
        for container in containers:
            suffix = path.suffix if container == OWN else f".{container}"
            made = folder / f"{number}{suffix}"
            if again or container != OWN:
                encoder = ENCODERS.get(container, ["-c:a", "copy"])
                looped = ["-stream_loop", str(again), "-i", f"file:{path}", "-map", "0:a:0", *encoder]
                # What is beyond `seconds` nobody hears; a file of the user's may have hours of it.
                argv = [ffmpeg, "-nostdin", "-v", "error", *looped, "-t", str(seconds), f"file:{made}"]
                subprocess.run(argv, check=True, env=child_environment(os.environ))
            else:
                shutil.copyfile(path, made)
            codec = _describe(ffmpeg, made).codec
            pieces.append(Piece(f"{path.stem}{suffix}", made, codec or "unknown", container))
    return pieces


def _built_in() -> list[Path]:
    return [source.media.path for source in Demos().all() if isinstance(source.media, File)]


def _describe(ffmpeg: str, path: Path) -> Report:
    report = Report()
    argv = probe_argv(ffmpeg, Source(str(path), File(path.resolve())))
    report.feed(subprocess.run(argv, stderr=subprocess.PIPE, env=child_environment(os.environ)).stderr)
    return report
