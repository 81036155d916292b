"""Short media of many kinds, made by FFmpeg, and what one measures on decoded ones."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from array import array
from functools import cache
from itertools import pairwise
from pathlib import Path

from audiosvc.audio import CHANNELS, SAMPLE_BYTES, SAMPLE_RATE
from audiosvc.ffmpeg.binary import find_ffmpeg
from audiosvc.sources.model import File

FFMPEG = find_ffmpeg()

SAMPLE = CHANNELS * SAMPLE_BYTES

KINDS = ("wav", "ogg", "mp3", "m4a", "flac", "opus")

STEPS = "aevalsrc=exprs=0.2*sin(2*PI*(400+100*floor(t))*t):s=44100:d=4"
"""A tone that rises by 100 Hz every second, so that one hears where one is."""


@cache
def folder() -> Path:
    """Holds `steps.*` in every kind, titled, and much that is no audio. Gone when the tests are."""
    made = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, made)
    _fill(made)
    return made


def file(name: str) -> File:
    return File(folder() / name)


def _fill(folder: Path) -> None:
    def ffmpeg(*arguments: str) -> None:
        subprocess.run([FFMPEG, "-nostdin", "-v", "error", *arguments], check=True, timeout=60, cwd=folder)

    def halve(whole: str, half: str) -> None:
        data = (folder / whole).read_bytes()
        (folder / half).write_bytes(data[: len(data) // 2])

    ffmpeg("-f", "lavfi", "-i", STEPS, "-metadata", "title=Steps", "-metadata", "artist=Anna", "steps.wav")
    for kind in KINDS[1:]:
        ffmpeg("-i", "steps.wav", f"steps.{kind}")
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:s=64x48", "-c:v", "mpeg4", "silent.mp4")
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:r=1:s=64x48", "cover.png")
    ffmpeg("-i", "steps.mp3", "-i", "cover.png", "-map", "0:a", "-map", "1:v", "-c", "copy", "cover.mp3")
    ffmpeg("-i", "steps.m4a", "-c", "copy", "-movflags", "+faststart", "fast.m4a")
    halve("steps.mp3", "half.mp3")
    halve("fast.m4a", "half.m4a")
    (folder / "words.mp3").write_text("hello, world\n" * 100)
    (folder / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:4,\nfile://{folder}/steps.mp3\n#EXT-X-ENDLIST\n")
    (folder / "list.mp3").write_text(f"ffconcat version 1.0\nfile {folder}/steps.mp3\n")
    (folder / "session.sdp").write_text("v=0\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n")


def seconds(pcm: bytes) -> float:
    return len(pcm) / SAMPLE / SAMPLE_RATE


def hertz(pcm: bytes, start: float, end: float) -> float:
    """The frequency of the left channel between two times, by its upward crossings of zero."""
    left = array("h", pcm)[::CHANNELS][round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    return sum(before < 0 <= after for before, after in pairwise(left)) / (end - start)
