"""A signal that tells its own time, and what time was heard.

Left: a sweep from 500 Hz up by 500 Hz a second, begun anew every 4 s. Right: a tone that rises by 50 Hz with each of
these. The left says where in its 4 s a sound is, to some milliseconds even after a lossy codec; the right, in which.
"""

from __future__ import annotations

import math
import wave
from array import array
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from audiosvc.audio import CHANNELS, SAMPLE_BYTES, SAMPLE_RATE

PERIOD = 4
LOW, RISE = 500, 500
STEP_LOW, STEP = 400, 50
LONGEST = 320
"""Seconds after which the right channel would leave the range that every codec keeps."""

WINDOW = 0.04
"""Seconds listened to for one reading."""

AMPLITUDE = 6000


def write(path: Path, seconds: int, *, mono: bool = False, rate: int = SAMPLE_RATE) -> None:
    """The signal as a WAV file; a mono one has the left channel only, and may be as long as one likes."""
    assert mono or seconds <= LONGEST
    sweep = array("h", (_sweep(i / rate) for i in range(PERIOD * rate)))
    periods, rest = divmod(seconds, PERIOD)
    left = sweep * periods + sweep[: rest * rate]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if mono else 2)
        file.setsampwidth(SAMPLE_BYTES)
        file.setframerate(rate)
        if mono:
            file.writeframes(left.tobytes())
            return
        both = array("h", bytes(2 * SAMPLE_BYTES * len(left)))
        both[0::2] = left
        both[1::2] = _steps(seconds, rate)
        file.writeframes(both.tobytes())


def _sweep(t: float) -> int:
    return round(AMPLITUDE * math.sin(2 * math.pi * (LOW * t + RISE / 2 * t * t)))


def _steps(seconds: int, rate: int) -> array[int]:
    made = array("h")
    for start in range(0, seconds, PERIOD):
        hz = STEP_LOW + STEP * (start // PERIOD)
        # Every one of the tones fits a whole number of times into 20 ms.
        table = array("h", (round(AMPLITUDE * math.sin(2 * math.pi * hz * i / rate)) for i in range(rate // 50)))
        made += table * (50 * min(PERIOD, seconds - start))
    return made


def heard(pcm: bytes, at: float, *, mono: bool = False) -> float | None:
    """The time that `pcm` (48 kHz stereo) tells at `at` seconds; modulo 4 s if mono.

    None where it tells none: in silence, and where the sweep begins anew.
    """
    first = round(at * SAMPLE_RATE)
    last = first + round(WINDOW * SAMPLE_RATE)
    window = array("h", pcm[first * CHANNELS * SAMPLE_BYTES : last * CHANNELS * SAMPLE_BYTES])
    if len(window) < CHANNELS * (last - first):
        return None
    hz = _hertz(window[0::CHANNELS])
    if hz is None:
        return None
    phase = (hz - LOW) / RISE - WINDOW / 2
    if mono:
        return phase
    step = _hertz(window[1::CHANNELS])
    return None if step is None else PERIOD * round((step - STEP_LOW) / STEP) + phase


def readings(pcm: bytes, *, mono: bool = False, every: float = 0.05) -> Iterator[tuple[float, float]]:
    """(at, the time told there) all along `pcm`."""
    at, end = 0.0, len(pcm) / (CHANNELS * SAMPLE_BYTES * SAMPLE_RATE)
    while at + WINDOW <= end:
        if (time := heard(pcm, at, mono=mono)) is not None:
            yield at, time
        at += every


def offsets(pcm: bytes, position: float, *, mono: bool = False) -> list[float]:
    """Seconds by which `pcm`, said to start at `position` of the signal, is ahead of it; all along."""
    found = []
    for at, time in readings(pcm, mono=mono):
        off = time - position - at
        found.append(math.remainder(off, PERIOD) if mono else off)
    return found


def _hertz(samples: array[int]) -> float | None:
    """Of a tone, by when it crosses zero upwards; None if it is none."""
    if max(samples) < AMPLITUDE / 4:
        return None
    crossings = [i + a / (a - b) for i, (a, b) in enumerate(pairwise(samples)) if a < 0 <= b]
    spans = [b - a for a, b in pairwise(crossings)]
    if len(spans) < 3 or max(spans) > 1.25 * min(spans):
        return None
    return SAMPLE_RATE * len(spans) / (crossings[-1] - crossings[0])
