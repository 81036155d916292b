"""`tox -e bench`, or `python -m bench`: what a session costs here, how evenly its packets come, and how many go.

Prints figures and judges none of them, unless `--check` is given.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from io import TextIOWrapper
from pathlib import Path
from statistics import mean
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react

from audiosvc.codec.opus import COMPLEXITY_MOST
from audiosvc.ffmpeg.binary import find_ffmpeg
from audiosvc.listen import stop_at_signal
from audiosvc.session.track import BITRATE_LEAST, BITRATE_MOST
from bench import machine
from bench.daemon import BenchFailed, Run, Setup, latency, run
from bench.floor import Cost, Excerpt, floor
from bench.measure import LATE_MS, held, median, next_try, percentile, table
from bench.pieces import ENCODERS, OWN, Piece, prepare

FLOOR_READINGS = 3
"""Readings of each piece's floor before the first run, and again after every run."""

CHECK_RATIO = 2.0
"""What `--check` accepts if it is given no number: enough to be exceeded by a fault and not by a noisy neighbour."""

CHECK_SESSIONS = 10
"""Runs of fewer are not checked: the daemon's beat costs the same for one session as for all, and few share it."""

LATENCY_PLAYS = 20
CAPACITY_RUNS = 12
MARGIN = 5.0
"""Seconds a piece is longer than what is measured of it: decoders work ahead, and sessions begin one after another."""


@dataclass(frozen=True)
class Options:
    sessions: list[int]
    seconds: float
    warmup: float
    files: list[Path]
    containers: list[str]
    bitrate: int
    complexity: int
    ffmpeg: str
    capacity: bool
    json: Path | None
    check: float | None


def parse(arguments: Sequence[str]) -> Options:
    """Exits with status 2 and a message for what cannot be meant."""
    parser = argparse.ArgumentParser("python -m bench", description="Measures the daemon beside the bare codecs.")
    parser.add_argument("--sessions", type=_counts, default=[1, 10, 40], metavar="N,N,...", help="default: 1,10,40")
    parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="each run is measured for; default 30")
    parser.add_argument("--warmup", type=float, default=5.0, metavar="S", help="before that; default 5")
    parser.add_argument("--file", dest="files", type=Path, action="append", default=[], metavar="F", help="play this")
    names = ", ".join((OWN, *ENCODERS))
    parser.add_argument("--containers", type=_containers, default=[OWN], metavar="C,C,...", help=f"of {names}")
    parser.add_argument("--bitrate", type=int, default=128_000, metavar="B", help="default: %(default)s")
    parser.add_argument("--complexity", type=int, default=COMPLEXITY_MOST, metavar="C", help="default: %(default)s")
    parser.add_argument("--ffmpeg", type=find_ffmpeg, default=None, metavar="PATH", help="default: the wheel's")
    parser.add_argument("--capacity", action="store_true", help="search for the most sessions without a late packet")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the figures there, a line each")
    parser.add_argument(
        "--check",
        type=float,
        nargs="?",
        const=CHECK_RATIO,
        default=None,
        metavar="RATIO",
        help=f"fail where {CHECK_SESSIONS} sessions or more cost more than this times the floor ({CHECK_RATIO})",
    )
    given = parser.parse_args(arguments)
    given.ffmpeg = given.ffmpeg or find_ffmpeg()
    if not BITRATE_LEAST <= given.bitrate <= BITRATE_MOST:
        parser.error(f"--bitrate is {BITRATE_LEAST} to {BITRATE_MOST}")
    if not 0 <= given.complexity <= COMPLEXITY_MOST:
        parser.error(f"--complexity is 0 to {COMPLEXITY_MOST}")
    if given.seconds < 2 or given.warmup < 1:
        parser.error("a run is measured for 2 seconds at least, 1 after its start")
    for path in given.files:
        if not path.is_file():
            parser.error(f"{path}: no such file")
    return Options(**vars(given))


def _counts(text: str) -> list[int]:
    counts = [int(number) for number in text.split(",")] if text else []
    if any(count < 1 for count in counts):
        raise ValueError
    return counts


def _containers(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= {OWN, *ENCODERS}:
        raise ValueError
    return names


class Bench:
    """Everything in one go: floor, runs with a floor after each, latency, capacity."""

    def __init__(self, reactor: Any, options: Options, setup: Setup) -> None:
        self._reactor = reactor
        self._options = options
        self._setup = setup
        self._floors: list[dict[Piece, list[Cost]]] = []
        self._records: list[dict[str, Any]] = []

    async def measure(self) -> bool:
        """False where `--check` was given and a run costs too much. Raises `BenchFailed`."""
        self._introduce()
        runs = await self._runs()
        await self._latency()
        if self._options.capacity:
            await self._capacity()
        return self._check(runs)

    def _introduce(self) -> None:
        options, described = self._options, machine.description(self._options.ffmpeg)
        if options.json is not None:
            options.json.write_bytes(b"")
        self._record("machine", described)
        print(", ".join(f"{name} {value}" for name, value in described.items()))
        played = ", ".join(f"{piece.name} ({piece.codec})" for piece in self._setup.pieces)
        print(
            f"playing in turn {played}; Opus {options.bitrate // 1000} kbit/s, complexity {options.complexity};"
            f" {options.seconds:g} s from {options.warmup:g} s on\n"
        )

    async def _runs(self) -> list[tuple[Run, float]]:
        """Each run with its ratio to the floor as it was just before and just after it."""
        if not self._options.sessions:
            return []
        self._read_floor()
        runs = []
        for sessions in self._options.sessions:
            measured = await run(self._reactor, self._setup, sessions)
            self._read_floor()
            bare = self._floor(sessions, self._floors[-2:])
            runs.append((measured, measured.cpu / bare.total))
            self._record("run", {**asdict(measured), "floor": asdict(bare), "ratio": runs[-1][1]})
            note(f"{sessions} sessions: {measured.cpu:.2%} of a core each, {runs[-1][1]:.2f} x the floor")
        bare = self._floor(len(self._setup.pieces), self._floors)
        self._record("floor", asdict(bare))
        readings = FLOOR_READINGS * len(self._floors)
        print(
            f"the floor, per stream: bare FFmpeg {bare.decode:.2%} of a core (into /dev/null, its start not counted)"
            f" + bare libopus {bare.encode:.2%} = {bare.total:.2%}; median of {readings} readings a piece\n"
        )
        print(table([HEAD, *(_row(measured, ratio) for measured, ratio in runs)]))
        print(LEGEND)
        return runs

    def _read_floor(self) -> None:
        setup = self._setup
        read: dict[Piece, list[Cost]] = {piece: [] for piece in setup.pieces}
        for _ in range(FLOOR_READINGS):
            for piece, costs in read.items():
                costs.append(floor(setup.ffmpeg, piece, setup.excerpt, setup.bitrate, setup.complexity))
        self._floors.append(read)

    def _floor(self, sessions: int, readings: Sequence[dict[Piece, list[Cost]]]) -> Cost:
        """The median of each piece, averaged over the pieces that so many sessions play."""
        pieces = self._setup.pieces
        costs = []
        for piece in (pieces[number % len(pieces)] for number in range(sessions)):
            read = [cost for reading in readings for cost in reading[piece]]
            costs.append(Cost(median(cost.decode for cost in read), median(cost.encode for cost in read)))
        return Cost(mean(cost.decode for cost in costs), mean(cost.encode for cost in costs))

    async def _latency(self) -> None:
        taken = await latency(self._reactor, self._setup, LATENCY_PLAYS)
        self._record("latency", asdict(taken))
        print(f"POST to first packet, {LATENCY_PLAYS} plays, one at a time: {_spread(taken.first_packet)}")
        print(f"a bare FFmpeg to its first byte, in turn with those:     {_spread(taken.first_byte)}\n")

    async def _capacity(self) -> None:
        tried: dict[int, bool] = {}
        while (sessions := next_try(tried, CAPACITY_RUNS)) is not None:
            measured = await run(self._reactor, self._setup, sessions)
            tried[sessions] = measured.well
            self._record("try", {**asdict(measured), "well": measured.well})
            came = measured.delivery
            print(
                f"{sessions:4} sessions: {came.late} late, {came.lost} lost, {measured.trouble} in trouble, gap p99"
                f" {came.gap_p99:.1f} max {came.gap_max:.0f} ms; {measured.cpu * sessions:.0%} of a core in all"
            )
        self._record("capacity", {"sessions": held(tried), "seconds": self._options.seconds})
        print(f"the most without a late packet within {self._options.seconds:g} s: {held(tried)} sessions\n")

    def _check(self, runs: Iterable[tuple[Run, float]]) -> bool:
        bound = self._options.check
        if bound is None:
            return True
        checked = [(measured.sessions, ratio) for measured, ratio in runs if measured.sessions >= CHECK_SESSIONS]
        over = [f"{sessions} sessions: {ratio:.2f}" for sessions, ratio in checked if ratio > bound]
        print(f"checked {len(checked)} runs; above {bound:g} x the floor: {', '.join(over) or 'none'}")
        return not over

    def _record(self, kind: str, fields: dict[str, Any]) -> None:
        if self._options.json is not None:
            with self._options.json.open("ab") as file:
                file.write(msgspec.json.encode({"kind": kind, **fields}) + b"\n")


HEAD = (
    *("sessions", "CPU", "daemon", "FFmpeg", "ratio", "packets", "gap p50", "p99", "p99.9", "max", "late", "lost"),
    *("extra", "trouble", "MB", "daemon MB", "receiver"),
)

LEGEND = f"""
CPU in % of a core and memory (PSS), per session; gaps between two packets of a session in ms; late: more than
{LATE_MS:g} ms after the one before. The receiver is a process of its own and in none of the sums.
"""


def _row(measured: Run, ratio: float) -> tuple[str, ...]:
    came = measured.delivery
    gaps = (came.gap_p50, came.gap_p99, came.gap_p999, came.gap_max)
    return (
        str(measured.sessions),
        *(f"{share:.2%}" for share in (measured.cpu, measured.cpu_daemon, measured.cpu_children)),
        f"{ratio:.2f}",
        str(came.packets),
        *(f"{gap:.1f}" for gap in gaps),
        *(str(count) for count in (came.late, came.lost, came.extra, measured.trouble)),
        *(f"{size / 1e6:.1f}" for size in (measured.pss, measured.pss_daemon)),
        f"{measured.cpu_receiver:.2%}",
    )


def _spread(values: Sequence[float]) -> str:
    shares = {"median": 0.5, "p95": 0.95, "max": 1.0}
    return ", ".join(f"{name} {percentile(values, share):.0f} ms" for name, share in shares.items())


def note(text: str) -> None:
    """How far it has come, apart from the results."""
    print(text, file=sys.stderr, flush=True)


async def perform(reactor: Any, options: Options) -> None:
    """`SystemExit` where it is no success."""
    with TemporaryDirectory(prefix="audiosvc-bench-") as name:
        folder = Path(name)
        needed = options.warmup + options.seconds + MARGIN
        try:
            pieces = prepare(folder, options.ffmpeg, options.files, options.containers, needed)
            excerpt = Excerpt(options.warmup, options.seconds)
            setup = Setup(options.ffmpeg, folder, pieces, excerpt, options.bitrate, options.complexity)
            job = Deferred.fromCoroutine(Bench(reactor, options, setup).measure())
            reactor.callWhenRunning(stop_at_signal, reactor, job.cancel)
            if not await job:
                raise SystemExit(1)
        except CancelledError:
            raise SystemExit(os.EX_TEMPFAIL) from None
        except (BenchFailed, CalledProcessError, ValueError) as error:
            note(str(error))
            raise SystemExit(1) from None


def main() -> None:
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    react(perform, [parse(sys.argv[1:])])


if __name__ == "__main__":
    main()
