"""From what was sampled and heard in a soak to what is said of it: slopes, counts, their bounds, pictures. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.heard import Heard, Tally
from bench.pictures import Axis, chart
from bench.samples import Sample
from bench.trend import Growth, Points, growth

MB = 1e6

Read = Callable[[Sample], float]

SERIES: Mapping[str, Read] = {
    "RSS, MB": lambda it: it.rss / MB,
    "PSS, MB": lambda it: it.pss / MB,
    "fds": lambda it: it.fds,
    "threads": lambda it: it.threads,
    "children": lambda it: it.children,
    "delayed calls": lambda it: it.delayed_calls,
    "blocks, thousands": lambda it: it.memory_blocks / 1000,
}

JUDGED_SECONDS = 100.0
"""A run that is shorter after its warm-up shows its slopes and is not judged by them."""

JUDGED_PLAYS = 400

BY_TIME = {"RSS, MB": 5.0, "fds": 1.0, "threads": 1.0, "children": 1.0, "delayed calls": 5.0, "blocks, thousands": 20.0}
"""Growth allowed from the end of the warm-up to the end, whatever the time. Less than one descriptor, thread or child
more is none. 20,000 blocks, some 2 MB, are what waits for the garbage collector at one time and not at another."""

BYTES_A_PLAY = 100.0
BLOCKS_A_PLAY = 1.0
"""Growth allowed between plays, by what they leave behind."""

DEFICIT_AN_HOUR = 1.0
"""Frames by which a session may fall behind in an hour, of 180,000."""


@dataclass(frozen=True)
class Fact:
    """A figure, and the most it may be; None where it is not judged."""

    name: str
    figure: float
    bound: float | None = 0.0

    @property
    def held(self) -> bool:
        return self.bound is None or self.figure <= self.bound


def by_count(plays: int) -> dict[str, float]:
    """Growth allowed over so many plays."""
    blocks = BY_TIME["blocks, thousands"] + plays * BLOCKS_A_PLAY / 1000
    return {**BY_TIME, "RSS, MB": plays * BYTES_A_PLAY / MB, "blocks, thousands": blocks}


def grown(points: Mapping[str, Points], warm: float, limits: Mapping[str, float]) -> list[Growth]:
    """Of each series that there is enough of; without a limit (infinite) it is only shown."""
    found = (growth(name, series, warm, limits.get(name, float("inf"))) for name, series in points.items())
    return [one for one in found if one is not None]


def series(samples: Sequence[Sample], across: Callable[[Sample], float]) -> dict[str, Points]:
    return {name: [(across(it), read(it)) for it in samples] for name, read in SERIES.items()}


def lingering_zombies(samples: Iterable[Sample]) -> int:
    """The most that were there in two samples in turn."""
    most, before = 0, set[int]()
    for it in samples:
        most = max(most, len(before.intersection(it.zombies)))
        before = set(it.zombies)
    return most


def left_behind(before: Sample, after: Sample) -> list[Fact]:
    """What was not given back, when all was stopped."""
    return [
        Fact("sessions left", after.sessions),
        Fact("children left", after.children + len(after.zombies)),
        Fact("fds left", after.fds - before.fds),
        Fact("connections of children left", after.connections),
    ]


def told(heard: Heard) -> list[Fact]:
    """What was heard of all tracks, whatever was done to them, once they should be over."""
    tally = heard.tally
    errors = sum(count for end, count in tally.ends.items() if end.startswith("error"))
    return [
        Fact("packets lost", tally.lost),
        Fact("packets doubled", tally.doubled),
        Fact("packets of another track", tally.stray),
        Fact("tracks without a terminal event", len(heard.unended())),
        Fact("terminal events too many", tally.unknown + len(heard.unasked())),
        Fact("tracks that failed", errors),
    ]


def beats(tally: Tally, underruns: int, *, judged: bool) -> list[Fact]:
    """What was heard of tracks that nobody had interfered with: this depends on the machine."""
    hours = tally.calm_hours
    return [
        Fact("deficit, frames per session-hour", tally.deficit / hours if hours else 0.0, _if(judged, DEFICIT_AN_HOUR)),
        Fact("underruns of tracks left alone", underruns, _if(judged, 0.0)),
        Fact("packets late, of tracks left alone", tally.late, None),
        Fact("session-hours of tracks left alone", hours, None),
    ]


def growth_rows(growths: Iterable[Growth], per: str, scale: float = 0.0, *, judged: bool) -> list[tuple[str, ...]]:
    """`scale`: for how much of x growth and limit are told, `per` of what; 0 for the whole of it."""
    rows: list[tuple[str, ...]] = [("", "warm", "end", f"growth {per}", "±", "limit", "")]
    for one in growths:
        factor = scale / (one.end - one.begin) if scale else 1.0
        free = one.limit == float("inf")
        verdict = "" if free else "not judged" if not judged else "held" if one.held else "GROWS"
        limit = "" if free else f"{one.limit * factor:g}"
        change = one.last - one.first
        rows.append(
            (
                one.name,
                *(f"{value:.2f}" for value in (one.first, one.last)),
                *(f"{value * factor:+.4g}" for value in (change,)),
                f"{one.margin * factor:.4g}",
                limit,
                verdict,
            )
        )
    return rows


def fact_rows(facts: Iterable[Fact]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("", "figure", "bound", "")]
    for fact in facts:
        bound = "" if fact.bound is None else f"{fact.bound:g}"
        rows.append((fact.name, f"{fact.figure:g}", bound, "" if not bound else "held" if fact.held else "EXCEEDED"))
    return rows


def pictures(points: Mapping[str, Points], growths: Sequence[Growth], across: Axis) -> dict[str, str]:
    """SVG by the file's name, each line with its trend."""
    trends = {f"{one.name}: trend": [(one.begin, one.first), (one.end, one.last)] for one in growths}
    drawn = {}
    for file, title, names in (
        ("memory.svg", "Memory of the daemon", ("RSS, MB", "PSS, MB")),
        ("handles.svg", "What it holds", ("fds", "threads", "children", "delayed calls")),
        ("blocks.svg", "Blocks that Python has allocated", ("blocks, thousands",)),
    ):
        lines = {name: points[name] for name in names} | {
            trend: line for name in names if (line := trends.get(trend := f"{name}: trend"))
        }
        drawn[file] = chart(title, across, Axis(""), lines, dots=False)
    return {file: svg for file, svg in drawn.items() if svg}


def _if(judged: bool, bound: float) -> float | None:
    return bound if judged else None
