"""Whether a series grows: a line through it, how sure its slope is, and whether that is above a limit. No I/O.

Neighbouring readings of a process are alike, and a plain fit would take each for news and be far too sure of itself. So
the line goes through the medians of a few blocks of readings, which are long enough to know little of each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, fmean
from statistics import median as middle

Points = Sequence[tuple[float, float]]

BLOCKS = 20
BLOCKS_LEAST = 8
"""Fewer are no evidence, whatever they show."""

CONFIDENCE = 0.975
"""Of a bound on one side: of forty series that do not grow one seems to, a little."""


@dataclass(frozen=True)
class Trend:
    """A least-squares line. `slope` is per unit of x, and so is `error`, its standard error."""

    slope: float
    intercept: float
    error: float
    freedom: int
    """Blocks, less the two that a line takes."""

    def at(self, x: float) -> float:
        return self.intercept + self.slope * x

    @property
    def margin(self) -> float:
        """How far the true slope may be from `slope`, on either side, by `CONFIDENCE` each."""
        return student(CONFIDENCE, self.freedom) * self.error


@dataclass(frozen=True)
class Growth:
    """What a series did between `begin` and `end`, its first and last x that count."""

    name: str
    first: float
    """The line's height at `begin`."""
    last: float
    margin: float
    """Of the growth, last - first: it may be so much less or more."""
    limit: float
    """The growth that is allowed."""
    trend: Trend
    begin: float
    end: float

    @property
    def held(self) -> bool:
        """False only where even the least that the growth may be is above the limit."""
        return self.last - self.first - self.margin <= self.limit


def growth(name: str, points: Points, warm: float, limit: float) -> Growth | None:
    """Of `points` from x = `warm` on; None where they are too few to tell anything."""
    counted = [point for point in points if point[0] >= warm]
    if len(counted) < BLOCKS_LEAST:
        return None
    trend = fit(blocks(counted))
    begin, end = counted[0][0], counted[-1][0]
    return Growth(name, trend.at(begin), trend.at(end), trend.margin * (end - begin), limit, trend, begin, end)


def blocks(points: Points, most: int = BLOCKS) -> list[tuple[float, float]]:
    """At most `most` points for all of `points`: mean x and median y of runs of equal length, to one reading."""
    number = min(most, len(points))
    bounds = [len(points) * index // number for index in range(number + 1)]
    runs = [points[begin:end] for begin, end in pairwise(bounds)]
    return [(fmean(x for x, _ in run), middle(y for _, y in run)) for run in runs]


def fit(points: Points) -> Trend:
    """Least squares through at least three points, not all of one x."""
    mean_x, mean_y = fmean(x for x, _ in points), fmean(y for _, y in points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    intercept = mean_y - slope * mean_x
    freedom = len(points) - 2
    left = sum((y - intercept - slope * x) ** 2 for x, y in points)
    return Trend(slope, intercept, math.sqrt(left / freedom / spread), freedom)


def student(share: float, freedom: int) -> float:
    """The quantile of Student's t, by Abramowitz and Stegun, 26.7.5; to a hundredth for 6 degrees and more."""
    z = NormalDist().inv_cdf(share)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
