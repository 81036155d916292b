"""How long things took, counted by length: what is asked of many sessions without remembering any of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from audiosvc.vitals import HistogramVitals, TimingVitals

Mode = Literal["transcode", "passthrough", "cached", "shared"]
"""What goes on to make a session's packets: FFmpeg and an encoder, the source's own Opus, a kept track, a live source
that is fetched for whoever listens."""

MODES: tuple[Mode, ...] = ("transcode", "passthrough", "cached", "shared")

BEGINNING_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""Kept tracks come in two milliseconds, files in forty, pages in seconds; a source is given up after fifteen."""

LATENESS_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.25, 0.5)
"""A frame is 0.02; past the last one nothing is made good."""


class Histogram:
    """Counts lengths of time by `bounds`, each in seconds and belonging to what it bounds, rising."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._seconds += seconds

    def vitals(self) -> HistogramVitals:
        buckets: dict[str, int] = {}
        below = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            below += count
            buckets[bound] = below
        return HistogramVitals(count=below, seconds=round(self._seconds, 6), buckets=buckets)


def _by_mode() -> dict[Mode, Histogram]:
    return {mode: Histogram(BEGINNING_SECONDS) for mode in MODES}


@dataclass
class Timings:
    """From what was asked of a session to the first packet that came of it, by mode.

    What could not go out at once for want of a client, or of credit, or because the session was paused, is not in it.
    """

    plays: dict[Mode, Histogram] = field(default_factory=_by_mode)
    seeks: dict[Mode, Histogram] = field(default_factory=_by_mode)

    def vitals(self) -> TimingVitals:
        plays: dict[str, HistogramVitals] = {mode: each.vitals() for mode, each in self.plays.items()}
        seeks: dict[str, HistogramVitals] = {mode: each.vitals() for mode, each in self.seeks.items()}
        return TimingVitals(plays, seeks)
