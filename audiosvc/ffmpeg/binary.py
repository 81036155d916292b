"""Which FFmpeg is run: the one named, else the one in imageio-ffmpeg's wheel, else the one on PATH."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from importlib.resources import files
from pathlib import Path

PLAYLISTS = ("hls", "dash")
"""Demuxers that are given options of their own."""

ANSWER_SECONDS = 5
"""How long a program may take to say its version; Debian's FFmpeg takes 0.1 s to be loaded, longer from a cold disk."""


def find_ffmpeg(path: str | None = None) -> str:
    """The executable's absolute path; `ValueError` says what is wrong with `path`, or that there is none."""
    if path is not None:
        named = Path(path).absolute()
        if not named.is_file():
            raise ValueError(f"{path} is not a file")
        if not os.access(named, os.X_OK):
            raise ValueError(f"{path} may not be executed")
        if not _is_ffmpeg(named):
            raise ValueError(f"{path} is not FFmpeg: it does not answer -version as FFmpeg does")
        _ask(str(named))
        return str(named)
    found = _in_the_wheel() or shutil.which("ffmpeg")
    if found is None:
        raise ValueError("no FFmpeg found: install imageio-ffmpeg or FFmpeg, or name one")
    found = str(Path(found).absolute())
    _ask(found)
    return found


@cache
def demuxer_options(ffmpeg: str, demuxer: str) -> frozenset[str]:
    """The options of one of `ffmpeg`'s demuxers, which differ much between versions; asked of it once."""
    said = _answer(ffmpeg, "-hide_banner", "-h", f"demuxer={demuxer}").decode("ascii", "replace")
    return frozenset(re.findall(r"^ +-(\w+) ", said, re.MULTILINE))


def _ask(ffmpeg: str) -> None:
    """Whatever takes time to be told, when it is found."""
    for demuxer in PLAYLISTS:
        demuxer_options(ffmpeg, demuxer)


def _is_ffmpeg(program: Path) -> bool:
    return _answer(str(program), "-version").startswith(b"ffmpeg version ")


def _answer(*argv: str) -> bytes:
    """What it says to that; nothing if it cannot be run or does not come to an end."""
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER_SECONDS).stdout
    except (OSError, subprocess.TimeoutExpired):
        return b""


def _in_the_wheel() -> str | None:
    """The binary that the wheel carries.

    Looked up by its place: `imageio_ffmpeg.get_ffmpeg_exe` obeys an environment variable first, falls back to whatever
    else is installed, and runs each candidate to try it.
    """
    try:
        folder = files("imageio_ffmpeg.binaries")
    except ModuleNotFoundError:
        return None
    for entry in folder.iterdir():
        if entry.name.startswith("ffmpeg-") and os.access(str(entry), os.X_OK):
            return str(entry)
    return None
