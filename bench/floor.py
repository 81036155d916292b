"""The floor: what the bare decoder and the bare encoder cost, with nothing round them."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass

from audiosvc.audio import FRAME_SECONDS
from audiosvc.codec.opus import Encoder
from audiosvc.codec.pcm import pad
from audiosvc.ffmpeg.command import child_environment, decode_argv
from bench.pieces import Piece


@dataclass(frozen=True)
class Excerpt:
    """The part of a piece that the sessions play while they are measured, in seconds."""

    at: float
    seconds: float


@dataclass(frozen=True)
class Cost:
    """CPU seconds (user and system) per second of sound."""

    decode: float
    encode: float

    @property
    def total(self) -> float:
        return self.decode + self.encode


def floor(ffmpeg: str, piece: Piece, excerpt: Excerpt, bitrate: int, complexity: int) -> Cost:
    """One reading: the daemon's own FFmpeg command into /dev/null, then the daemon's own encoder on what it gives.

    FFmpeg's start is taken off, as the sessions are measured long after theirs: what one frame costs, start and all.
    """
    decode = _decode_seconds(ffmpeg, piece, excerpt) - _decode_seconds(
        ffmpeg, piece, Excerpt(excerpt.at, FRAME_SECONDS)
    )
    argv = decode_argv(ffmpeg, piece.source, excerpt.at, excerpt.seconds)
    pcm = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()).stdout
    encoder = Encoder(bitrate, complexity)
    began = time.process_time()
    encoder.encode(pad(pcm))
    return Cost(decode / excerpt.seconds, (time.process_time() - began) / excerpt.seconds)


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


def _decode_seconds(ffmpeg: str, piece: Piece, excerpt: Excerpt) -> float:
    argv = decode_argv(ffmpeg, piece.source, excerpt.at, excerpt.seconds)
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment())
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise ValueError(f"FFmpeg could not decode {piece.name}")
    return usage.ru_utime + usage.ru_stime


def _environment() -> dict[str, str]:
    return child_environment(os.environ)
