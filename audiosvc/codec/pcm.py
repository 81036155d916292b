"""Frames of PCM (s16le, 48 kHz, stereo; 3,840 bytes): gain, padding, level.

Samples are read in the machine's own byte order, which has to be little-endian.
"""

from __future__ import annotations

import math
import warnings
from array import array
from operator import mul

from audiosvc.audio import CHANNELS, FRAME_BYTES, FRAME_SAMPLES, SAMPLE_BYTES
from audiosvc.session.track import VOLUME_MOST

with warnings.catch_warnings():
    # Python 3.11 and 3.12 announce that 3.13 has no audioop; there the package audioop-lts brings it.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

_FULL_SCALE = 32_768
_LEAST, _MOST = -32_768, 32_767

_RAMP = [(sample + 1) / FRAME_SAMPLES for sample in range(FRAME_SAMPLES) for _ in range(CHANNELS)]
"""How much of a change has been made at each value of the frame it takes."""


class Gain:
    """A factor on every sample, 0 to 2, saturating; a change of it takes one frame, in a straight line.

    `set` may be called from another thread than `apply`: each writes its own attribute only.
    """

    def __init__(self, factor: float = 1.0) -> None:
        self.set(factor)
        self._current = self._target

    def set(self, factor: float) -> None:
        """The factor to reach within the next frame; ValueError outside 0 to 2."""
        if not 0 <= factor <= VOLUME_MOST:
            raise ValueError(f"a gain is 0 to {VOLUME_MOST:g}, not {factor!r}")
        self._target = factor

    def apply(self, pcm: bytes) -> bytes:
        """Whole frames, made louder or softer; at unity the very same object. ValueError for a partial frame."""
        if len(pcm) % FRAME_BYTES:
            raise ValueError(f"{len(pcm)} bytes are not whole frames of {FRAME_BYTES}")
        before, after = self._current, self._target
        if before == after or not pcm:
            return _steady(pcm, after)
        self._current = after
        return _ramp(pcm[:FRAME_BYTES], before, after) + _steady(pcm[FRAME_BYTES:], after)


def _steady(pcm: bytes, factor: float) -> bytes:
    return pcm if factor == 1 else audioop.mul(pcm, SAMPLE_BYTES, factor)


def _ramp(frame: bytes, before: float, after: float) -> bytes:
    values = map(mul, array("h", frame), [before * (1 - share) + after * share for share in _RAMP])
    # Rounded down as audioop does it, so that nothing shifts where the ramp meets the steady gain.
    if audioop.max(frame, SAMPLE_BYTES) * max(before, after) <= _MOST:
        return array("h", map(math.floor, values)).tobytes()
    return array("h", [min(max(math.floor(value), _LEAST), _MOST) for value in values]).tobytes()


def pad(pcm: bytes) -> bytes:
    """`pcm` with silence after it up to a whole frame."""
    missing = -len(pcm) % FRAME_BYTES
    return pcm + bytes(missing) if missing else pcm


def level(pcm: bytes) -> float:
    """RMS in dB of full scale: a full-scale square wave is 0, silence is -inf."""
    return _decibels(audioop.rms(pcm, SAMPLE_BYTES))


def peak(pcm: bytes) -> float:
    """The largest sample in dB of full scale, never above 0; silence is -inf."""
    return _decibels(audioop.max(pcm, SAMPLE_BYTES))


def _decibels(amplitude: int) -> float:
    return 20 * math.log10(amplitude / _FULL_SCALE) if amplitude else -math.inf
