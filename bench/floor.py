"""The floor: what the bare decoder and encoder cost, or the bare copying of packets, with nothing round them."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass

from audiosvc.audio import FRAME_SECONDS
from audiosvc.codec.opus import Encoder
from audiosvc.codec.pcm import pad
from audiosvc.ffmpeg.command import child_environment, copy_argv, decode_argv
from audiosvc.sources.model import File
from bench.pieces import Piece

COPIED_SECONDS = 2000.0


@dataclass(frozen=True)
class Excerpt:
    """The part of a piece that the sessions play while they are measured, in seconds."""

    at: float
    seconds: float


@dataclass(frozen=True)
class Cost:
    """CPU seconds (user and system) per second of sound; where packets are copied, `decode` is that."""

    decode: float
    encode: float

    @property
    def total(self) -> float:
        return self.decode + self.encode


def floor(ffmpeg: str, piece: Piece, excerpt: Excerpt, bitrate: int, complexity: int) -> Cost:
    """One reading: the daemon's own FFmpeg command into /dev/null, then the daemon's own encoder on what it gives.

    FFmpeg's start is taken off, as the sessions are measured long after theirs: what one frame costs, start and all.
    """
    decode = _of_its_own(decode_argv(ffmpeg, piece.source, excerpt.at, excerpt.seconds)) - _of_its_own(
        decode_argv(ffmpeg, piece.source, excerpt.at, FRAME_SECONDS)
    )
    argv = decode_argv(ffmpeg, piece.source, excerpt.at, excerpt.seconds)
    pcm = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()).stdout
    encoder = Encoder(bitrate, complexity)
    began = time.process_time()
    encoder.encode(pad(pcm))
    return Cost(decode / excerpt.seconds, (time.process_time() - began) / excerpt.seconds)


def copy_floor(ffmpeg: str, piece: Piece) -> Cost:
    """One reading of what it costs to take Opus packets out of one container and put them into another.

    It is so little that the piece is copied again and again, `COPIED_SECONDS` in all.
    """
    took = []
    for seconds in (COPIED_SECONDS, FRAME_SECONDS):
        argv = copy_argv(ffmpeg, File(piece.path), 0.0, seconds)
        argv[argv.index("-i") : argv.index("-i")] = ["-stream_loop", "-1"]
        took.append(_of_its_own(argv))
    return Cost((took[0] - took[1]) / COPIED_SECONDS, 0.0)


def first_byte(ffmpeg: str, piece: Piece) -> float:
    """Seconds from the start of a bare FFmpeg to the first byte of its PCM."""
    began = time.monotonic()
    argv = decode_argv(ffmpeg, piece.source)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()) as child:
        assert child.stdout is not None
        child.stdout.read(1)
        took = time.monotonic() - began
        child.kill()
    return took


def _of_its_own(argv: list[str]) -> float:
    """CPU seconds of a command whose output nobody reads."""
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment())
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise ValueError(f"FFmpeg could not read {argv[argv.index('-i') + 1]}")
    return usage.ru_utime + usage.ru_stime


def _environment() -> dict[str, str]:
    return child_environment(os.environ)
