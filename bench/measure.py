"""From readings to figures: percentiles, gaps between packets, what /proc says, the search for the capacity. No I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from audiosvc.audio import FRAME_MS, FRAMES_PER_SECOND

LATE_MS = 60.0
"""A packet is late when this much has passed since the one before it: two frames more than it should."""

CAPACITY_START = 40
CAPACITY_MOST = 2000
"""Most sessions that are tried, where there is memory for them."""

TAIL = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5)
"""Shares of all gaps by which their distribution is told: how long the longest of that share are at least."""

_MS = 1_000_000
_FRAME = FRAME_MS * _MS
_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)
_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)
_RSS = re.compile(r"^Rss:\s+(\d+) kB$", re.MULTILINE)


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest of `values` that at least `share` (0 to 1) of them do not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def median(values: Iterable[float]) -> float:
    return percentile(values, 0.5)


@dataclass(frozen=True)
class Delivery:
    """How the packets of all sessions came within one window. Gaps are between two packets of a session, in ms."""

    packets: int
    gap_p50: float
    gap_p99: float
    gap_p999: float
    gap_max: float
    late: int
    """Gaps above `LATE_MS`."""
    lost: int
    """Packets by which sessions fell behind their beat and stayed behind, or never had."""
    extra: int
    """Packets by which sessions got ahead of it."""
    tail: list[tuple[float, float]]
    """The distribution: shares of the gaps, as far as there are enough to tell, and what those exceed or reach."""


def delivery(times: Iterable[Sequence[int]], begin: int, end: int) -> Delivery:
    """`times` are those of each session's packets, oldest first; they and the window are monotonic nanoseconds.

    Silence up to the window's end counts as a gap. A session that should be heard and is not is an empty sequence.
    """
    packets, gaps, lost, extra = 0, [], 0, 0
    for arrivals in times:
        inside = [at for at in arrivals if begin <= at < end]
        packets += len(inside)
        gaps += [(after - before) / _MS for before, after in pairwise(inside)]
        if (silence := end - (inside[-1] if inside else begin)) > LATE_MS * _MS:
            gaps.append(silence / _MS)
        missing = fallen_behind(inside, begin, end)
        lost, extra = lost + max(0, missing), extra + max(0, -missing)
    gaps.sort()
    return Delivery(
        packets=packets,
        gap_p50=percentile(gaps, 0.5),
        gap_p99=percentile(gaps, 0.99),
        gap_p999=percentile(gaps, 0.999),
        gap_max=percentile(gaps, 1),
        late=sum(gap > LATE_MS for gap in gaps),
        lost=lost,
        extra=extra,
        tail=[(share, gaps[-int(share * len(gaps))]) for share in TAIL if share * len(gaps) >= 1],
    )


def fallen_behind(inside: Sequence[int], begin: int, end: int) -> int:
    """Packets missing from a session's window, by time and count; negative for too many.

    A packet that is lost moves all those behind it one frame off their beat, one that is late and made good moves
    nothing. So the most punctual packet of the first second is compared with the most punctual one of the last.
    """
    silence = max(0, end - (inside[-1] if inside else begin))
    silent = silence // _FRAME if silence > LATE_MS * _MS else 0
    if not inside:
        return silent
    lag = [at - number * _FRAME for number, at in enumerate(inside)]
    return silent + round((min(lag[-FRAMES_PER_SECOND:]) - min(lag[:FRAMES_PER_SECOND])) / _FRAME)


# --- /proc --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stat:
    """What matters here of /proc/PID/stat; `reaped` is the CPU time of the children it has waited for, in ticks."""

    pid: int
    parent: int
    reaped: int
    zombie: bool = False


def stat_of(text: str) -> Stat:
    """The name in it is in brackets and may hold anything, brackets too."""
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return Stat(
        pid=int(head.partition(" ")[0]),
        parent=int(fields[1]),
        reaped=int(fields[13]) + int(fields[14]),
        zombie=fields[0] == "Z",
    )


def pss_of(text: str) -> int:
    """Bytes, from /proc/PID/smaps_rollup."""
    match = _PSS.search(text)
    return int(match[1]) * 1024 if match else 0


def rss_of(text: str) -> int:
    """Bytes, from the same."""
    match = _RSS.search(text)
    return int(match[1]) * 1024 if match else 0


def available_of(text: str) -> int:
    """Bytes, from /proc/meminfo."""
    match = _AVAILABLE.search(text)
    return int(match[1]) * 1024 if match else 0


# --- capacity -----------------------------------------------------------------------------------------------


def held(tried: Mapping[int, bool]) -> int:
    """The largest number of sessions that went well with none below it that did not; 0 for none."""
    failed = min((sessions for sessions, well in tried.items() if not well), default=math.inf)
    return max((sessions for sessions, well in tried.items() if well and sessions < failed), default=0)


def next_try(tried: Mapping[int, bool], runs: int, most: int = CAPACITY_MOST) -> int | None:
    """How many sessions to try next, given which numbers went well; None when it is known to within 5 %.

    Doubling until one fails, then halving what lies between, at most `runs` tries in all, of at most `most` sessions.
    """
    if len(tried) >= runs:
        return None
    failed = [sessions for sessions, well in tried.items() if not well]
    low = held(tried)
    if not failed:
        attempt = min(most, 2 * low if low else CAPACITY_START)
        return None if attempt <= low else attempt
    high = min(failed)
    return None if high - low <= max(1, low // 20) else (low + high) // 2


# --- a table ------------------------------------------------------------------------------------------------


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of as many cells each, aligned to the right; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
