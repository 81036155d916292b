"""Opus of many kinds, made by FFmpeg: 16 s of a chord that glides, so that no two packets are alike."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from audiosvc.codec.ogg import OggDemuxer, OggPacket
from audiosvc.codec.passing import Passed, Passing
from audiosvc.ffmpeg.binary import find_ffmpeg
from audiosvc.ffmpeg.command import copy_argv
from audiosvc.sources.model import File

FFMPEG = find_ffmpeg()
SECONDS = 16

_CHORD = "+".join(f"0.1*sin({hz}*t+{12 + hz / 40}*t*t)" for hz in (1400, 2100, 5300))
_NOISE = "0.01*random(0)"


@cache
def folder() -> Path:
    """`chord.wav`, and it in Opus: `20.opus`, `20.webm`, `60.opus`, `10.opus`, `5.opus`, `2.5.opus`, `mono.opus`,
    `speech60.opus`, and `chain.opus`, which is 8 s of `20.opus` and then another of 16 s."""
    made = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, made)

    def ffmpeg(*arguments: str) -> None:
        subprocess.run([FFMPEG, "-nostdin", "-v", "error", *arguments], check=True, timeout=60, cwd=made)

    def opus(name: str, *options: str) -> None:
        ffmpeg("-i", "chord.wav", "-c:a", "libopus", "-b:a", "96k", *options, name)

    ffmpeg("-f", "lavfi", "-i", f"aevalsrc=exprs={_CHORD}+{_NOISE}|{_CHORD}:s=48000:d={SECONDS}", "chord.wav")
    for milliseconds in ("20", "60", "10", "5", "2.5"):
        opus(f"{milliseconds}.opus", "-frame_duration", milliseconds)
    opus("mono.opus", "-ac", "1")
    opus("speech60.opus", "-ac", "1", "-b:a", "8k", "-frame_duration", "60", "-application", "voip")
    ffmpeg("-i", "20.opus", "-c", "copy", "20.webm")
    ffmpeg("-i", "20.opus", "-c", "copy", "-t", "8", "first.opus")
    (made / "chain.opus").write_bytes((made / "first.opus").read_bytes() + (made / "60.opus").read_bytes())
    return made


def copied(name: str, at: float = 0.0, duration: float | None = None) -> tuple[list[Passed], Passing]:
    """What is passed of `name` from `at` on."""
    argv = copy_argv(FFMPEG, File(folder() / name), at, duration)
    done = subprocess.run(argv, capture_output=True, timeout=60, check=True)
    passing = Passing(round(at * 48_000))
    return [*passing.feed(done.stdout), *passing.end()], passing


def audio(name: str) -> list[OggPacket]:
    """The packets of an Ogg file but for the headers."""
    headers = (b"OpusHead", b"OpusTags")
    found = OggDemuxer().feed((folder() / name).read_bytes())
    return [packet for packet in found if not packet.data.startswith(headers)]
