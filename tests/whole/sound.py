"""Sound of which every frame tells which child wrote it and which of its frames it is; an encoder that keeps that.

A sample's two values are the child's number and the frame's, both odd, so that one that was made twice as loud shows.
"""

from __future__ import annotations

import itertools
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from audiosvc.audio import FRAME_BYTES, FRAME_SAMPLES, SAMPLE_RATE
from tests.fakes import FakeChild

FRAMES_MOST = 120
"""Frames that one child may write."""

TOC = b"\xfc"
"""An Opus packet that holds one frame of 20 ms in stereo begins with this."""

_MARK = struct.Struct("<IIhhhh")
_SAMPLE = struct.Struct("<hh")


@dataclass
class Sound:
    """What one child has to write from `at` seconds on, and how far it has come."""

    child: FakeChild
    number: int
    url: str
    at: float
    asked: float | None
    """Seconds that were asked for, which FFmpeg does not exceed."""
    written: int = 0
    hung_up: bool = False

    @property
    def playing(self) -> bool:
        return self.child.alive and not self.hung_up

    def begins(self, position: float) -> int:
        """Where in the sound from `position` on its first byte belongs."""
        return round((self.at - position) * SAMPLE_RATE) * 4

    def write(self, size: int) -> None:
        """Write `size` bytes more, as far as there are so many and the pipe takes them."""
        if self.playing:
            first = self.written // FRAME_BYTES
            most = FRAMES_MOST * FRAME_BYTES if self.asked is None else round(self.asked * SAMPLE_RATE) * 4
            frames = range(first, min(FRAMES_MOST, first + size // FRAME_BYTES + 2))
            pcm = b"".join(array("h", [2 * self.number + 1, 2 * n + 1]).tobytes() * FRAME_SAMPLES for n in frames)
            start = self.written - first * FRAME_BYTES
            try:
                self.written += self.child.write(pcm[start : start + max(0, min(size, most - self.written))])
            except BrokenPipeError:
                assert self.child.signals, "nobody reads a child that was not killed"


class Mark(NamedTuple):
    """What a packet tells of itself: its encoder and which of its packets it is (0 for PCM), its ends' values."""

    encoder: int
    number: int
    first: tuple[int, int]
    last: tuple[int, int]

    def place(self) -> tuple[int, int]:
        """The child's number, and the frame's."""
        number, frame = ((value if value % 2 else value // 2) // 2 for value in self.last)
        return number, frame


class Encoder:
    """Stands in for libopus's: a packet holds nothing but what it is of."""

    _numbers = itertools.count(1)

    def __init__(self, bitrate: int, complexity: int) -> None:
        self._number = next(self._numbers)
        self._count = 0

    def set_complexity(self, complexity: int) -> None:
        pass

    def encode(self, pcm: bytes) -> list[bytes]:
        assert len(pcm) % FRAME_BYTES == 0
        return [self._packet(pcm[at : at + FRAME_BYTES]) for at in range(0, len(pcm), FRAME_BYTES)]

    def _packet(self, frame: bytes) -> bytes:
        self._count += 1
        return TOC + _MARK.pack(self._number, self._count, *_ends(frame))


def _ends(frame: bytes) -> Sequence[int]:
    return *_SAMPLE.unpack_from(frame), *_SAMPLE.unpack_from(frame, FRAME_BYTES - 4)


def mark_of(packet: bytes) -> Mark:
    """Of an Opus packet or a frame of PCM."""
    if len(packet) == FRAME_BYTES:
        a, b, c, d = _ends(packet)
        return Mark(0, 0, (a, b), (c, d))
    assert packet.startswith(TOC)
    encoder, count, a, b, c, d = _MARK.unpack(packet[1:])
    return Mark(encoder, count, (a, b), (c, d))
