"""What the tests of the cache share: tracks, a disk whose thread is the test's own, and a clock of the wall."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from audiosvc.audio import FRAME_SAMPLES
from audiosvc.cache.track import Facts, Track, from_file, size_of, to_pieces
from audiosvc.sources.model import Http, Source

NAME = "0f" * 32

WEB = Source("http://h/song", Http("http://h/song.mp3", {"referer": "x"}, vbr=True), "Song", 3.0, uploader="Somebody")


def packets(count: int, size: int = 100, first: int = 0) -> tuple[bytes, ...]:
    """`count` packets of `size` bytes, each filled with its own number."""
    return tuple(bytes([(first + i) % 256]) * size for i in range(count))


def track(name: str = NAME, count: int = 10, *, passed: bool = False, source: Source | None = None) -> Track:
    positions = array("q", range(-312, count * FRAME_SAMPLES - 312, FRAME_SAMPLES)) if passed else None
    made = packets(count)
    return Track(name, 1000.0, made, positions, size_of(made), Facts("Title", None, count / 50), source)


def to_bytes(made: Track) -> bytes:
    """Its file."""
    return b"".join(to_pieces(made))


def from_bytes(data: bytes, name: str) -> Track:
    return from_file(BytesIO(data), name)


class Wall:
    """Seconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"lock"}


def raising(error: Exception) -> Callable[..., int]:
    def fails(*_: object) -> int:
        raise error

    return fails
