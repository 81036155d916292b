"""Render every piece, master it, encode it to Ogg Vorbis and write the list of pieces beside it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import imageio_ffmpeg
import numpy as np

from . import nightdrive, prelude
from .effects import Sound, limit

FOLDER = Path(__file__).parents[2] / "audiosvc" / "sources" / "pieces"
LOUDNESS = -16.0
CEILING = 10 ** (-2.2 / 20)
"""True peak before encoding; Vorbis adds up to about 1 dB."""


class Piece(NamedTuple):
    name: str
    title: str
    artist: str
    quality: float


PIECES = {
    Piece("prelude", "Prelude in C major, BWV 846", "J. S. Bach, arr. audiosvc", 2.2): prelude,
    Piece("nightdrive", "Night Drive", "audiosvc", 2.1): nightdrive,
}


def ffmpeg(arguments: list[str], sound: Sound, rate: int) -> str:
    """Run FFmpeg on the sound, rounded to 16 bits, and return what it says."""
    pcm = np.round(sound * 32767).astype("<i2").tobytes()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-y"]
    command += ["-f", "s16le", "-ar", str(rate), "-ac", "2", "-i", "-", *arguments]
    return subprocess.run(command, input=pcm, capture_output=True, check=True).stderr.decode()


def loudness(sound: Sound, rate: int) -> float:
    """Integrated loudness, LUFS (EBU R 128)."""
    said = ffmpeg(["-af", "ebur128", "-f", "null", "-"], sound, rate)
    return float(re.findall(r"I:\s+(-?[\d.]+) LUFS", said)[-1])


def master(sound: Sound, rate: int) -> Sound:
    """The sound at the wanted loudness, its true peak below the ceiling."""
    gain = 0.25 / float(np.abs(sound).max())
    for _ in range(3):
        gain *= 10 ** ((LOUDNESS - loudness(limit(sound * gain, CEILING, rate), rate)) / 20)
    return limit(sound * gain, CEILING, rate)


def encode(sound: Sound, rate: int, piece: Piece, path: Path) -> None:
    """Ogg Vorbis with tags; nothing in it depends on when or where it was made."""
    tags = {"TITLE": piece.title, "ARTIST": piece.artist, "ALBUM": "audiosvc demo pieces", "LICENSE": "CC0-1.0"}
    metadata = [word for name, value in tags.items() for word in ("-metadata:s:a:0", f"{name}={value}")]
    exact = ["-fflags", "+bitexact", "-flags:a", "+bitexact", "-serial_offset", "846"]
    ffmpeg(["-c:a", "libvorbis", "-q:a", str(piece.quality), *metadata, *exact, str(path)], sound, rate)


def main(names: list[str]) -> None:
    """Render the pieces named, or all of them."""
    unknown = set(names) - {piece.name for piece in PIECES}
    if unknown:
        sys.exit(f"no such piece: {', '.join(sorted(unknown))}")
    FOLDER.mkdir(exist_ok=True)
    listed = FOLDER / "pieces.json"
    entries = {entry["name"]: entry for entry in json.loads(listed.read_text())} if listed.exists() else {}
    for piece, score in PIECES.items():
        if names and piece.name not in names:
            continue
        path = FOLDER / f"{piece.name}.ogg"
        sound = master(score.render(), score.RATE)
        encode(sound, score.RATE, piece, path)
        seconds = round(len(sound) / score.RATE, 6)
        entries[piece.name] = dict(piece._asdict(), seconds=seconds, file=path.name)
        del entries[piece.name]["quality"]
        print(f"{path.name}: {seconds:.1f} s, {path.stat().st_size / 1e6:.2f} MB")
    ordered = [entries[piece.name] for piece in PIECES if piece.name in entries]
    listed.write_text(json.dumps(ordered, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
