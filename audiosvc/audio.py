"""The shape of the sound: 48 kHz stereo in frames of 20 ms, and every size that follows from it.

48 kHz and 20 ms are what Discord, WebRTC and WebCodecs all take without conversion; each number below is
derived from them and typed nowhere else.
"""

from __future__ import annotations

SAMPLE_RATE = 48_000
CHANNELS = 2
SAMPLE_BYTES = 2
"""Bytes of one signed 16-bit little-endian sample of one channel."""

FRAME_MS = 20
FRAME_SECONDS = FRAME_MS / 1000
FRAMES_PER_SECOND = 1000 // FRAME_MS
FRAME_SAMPLES = SAMPLE_RATE // FRAMES_PER_SECOND
"""Samples of one channel in a frame: 960."""

FRAME_BYTES = FRAME_SAMPLES * CHANNELS * SAMPLE_BYTES
"""Bytes of one frame of PCM: 3,840."""

OPUS_PACKET_MOST = 1500
"""Bytes set aside for one Opus packet: RFC 6716 allows 1,275 for a single frame."""


def seconds_of(frames: int) -> float:
    """Seconds that `frames` last."""
    return frames / FRAMES_PER_SECOND
