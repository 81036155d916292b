"""The order of things: each scenario's runs with a floor before and after each, capacities, latencies, pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench import machine
from bench.burst import Size, burst
from bench.daemon import Run, Setup, run
from bench.floor import Cost, copy_floor, floor
from bench.latency import latencies
from bench.measure import held, median, next_try, table
from bench.peer import run_peer
from bench.pieces import Piece
from bench.report import HEAD, LEGEND, OURS, burst_lines, latency_rows, pictures, row
from bench.scenarios import Workload
from bench.site import Served

FLOOR_READINGS = 3
"""Readings of each piece's floor before a scenario's first run, and again after every run."""

CHECK_SESSIONS = 10
"""Runs of fewer are not checked: the daemon's beat costs the same for one session as for all, and few share it."""

CAPACITY_RUNS = 12
MEMORY_SHARE = 0.7
"""How much of the memory that is left a run may take."""

Readings = dict[tuple[Piece, bool], list[Cost]]
"""By piece, and whether it is copied."""


@dataclass(frozen=True)
class Options:
    scenarios: list[str]
    sessions: list[int]
    seconds: float
    warmup: float
    plays: int
    files: list[Path]
    containers: list[str]
    bitrate: int
    complexity: int
    ffmpeg: str
    capacity: bool
    bursts: list[Size]
    peer: str | None
    json: Path | None
    pictures: Path | None
    check: float | None


class Bench:
    """Everything in one go."""

    def __init__(
        self,
        reactor: Any,
        options: Options,
        setup: Setup,
        pieces: Sequence[Piece],
        workloads: Sequence[Workload],
        site: Served,
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._setup = setup
        self._pieces = pieces
        self._workloads = workloads
        self._site = site

    async def measure(self) -> bool:
        """False where `--check` was given and a run costs too much. Raises `BenchFailed`."""
        options = self._options
        self._introduce()
        runs = [measured for workload in self._workloads for measured in await self._runs(workload)]
        if runs:
            print(table([HEAD, *(row(*measured) for measured in runs)]))
            print(LEGEND)
        if options.capacity:
            for workload in self._workloads:
                await self._capacity(workload)
        for size in options.bursts:
            await self._bursts(size)
        if options.plays:
            await self._latencies()
        if options.pictures is not None:
            options.pictures.mkdir(parents=True, exist_ok=True)
            for name, drawn in pictures([measured for measured, _ in runs]).items():
                (options.pictures / name).write_text(drawn)
        return self._check(runs)

    def _introduce(self) -> None:
        options, described = self._options, machine.description(self._options.ffmpeg)
        if options.json is not None:
            options.json.write_bytes(b"")
        self._record("machine", described)
        print(", ".join(f"{name} {value}" for name, value in described.items()))
        played = ", ".join(f"{piece.name} ({piece.codec})" for piece in self._pieces)
        print(
            f"playing in turn {played}; Opus {options.bitrate // 1000} kbit/s, complexity {options.complexity};"
            f" {options.seconds:g} s from {options.warmup:g} s on\n"
        )

    async def _runs(self, workload: Workload) -> list[tuple[Run, float]]:
        """Each run with its ratio to the floor as it was just before and just after it, in turn with the peer's."""
        programs: dict[str, Callable[[int], Any]] = {
            OURS: lambda sessions: run(self._reactor, self._setup, workload, sessions)
        }
        if (peer := self._options.peer) is not None:
            programs["peer"] = lambda sessions: run_peer(self._reactor, peer, self._setup, workload, sessions)
        runs = []
        readings = [self._read_floor(workload)]
        for sessions in self._options.sessions:
            for play in programs.values():
                measured = await play(sessions)
                readings.append(self._read_floor(workload))
                bare = _floor(workload, sessions, readings[-2:])
                runs.append((measured, measured.cpu / bare.total))
                self._record("run", {**asdict(measured), "floor": asdict(bare), "ratio": runs[-1][1]})
                note(
                    f"{measured.program}, {workload.name}, {sessions} sessions: {measured.cpu:.3%} of a core each,"
                    f" {runs[-1][1]:.2f} x the floor"
                )
        if runs:
            bare = _floor(workload, len(workload.parts), readings)
            self._record("floor", {"scenario": workload.name, **asdict(bare)})
            print(
                f"{workload.name}: the floor, per session of {len(workload.parts)}: bare FFmpeg {bare.decode:.3%} of a"
                f" core, bare libopus {bare.encode:.3%}, together {bare.total:.3%}"
            )
        return runs

    def _read_floor(self, workload: Workload) -> Readings:
        setup = self._setup
        read: Readings = {played: [] for played in workload.played}
        for _ in range(FLOOR_READINGS):
            for (piece, copied), costs in read.items():
                costs.append(
                    copy_floor(setup.ffmpeg, piece)
                    if copied
                    else floor(setup.ffmpeg, piece, setup.excerpt, setup.bitrate, setup.complexity)
                )
        return read

    async def _capacity(self, workload: Workload) -> None:
        tried: dict[int, bool] = {}
        most = 10**6
        while (sessions := next_try(tried, CAPACITY_RUNS, most)) is not None:
            measured = await run(self._reactor, self._setup, workload, sessions)
            tried[sessions] = measured.well
            most = int(machine.memory_left() * MEMORY_SHARE / max(1.0, measured.pss))
            self._record("try", {**asdict(measured), "well": measured.well})
            came = measured.delivery
            print(
                f"{workload.name}, {sessions:4} sessions: {came.late} late, {came.lost} lost, {measured.trouble} in"
                f" trouble, gap p99 {came.gap_p99:.1f} p99.9 {came.gap_p999:.1f} max {came.gap_max:.0f} ms;"
                f" {measured.cpu * sessions:.0%} of a core in all"
            )
        known = {"scenario": workload.name, "sessions": held(tried), "seconds": self._options.seconds}
        self._record("capacity", known)
        print(f"{workload.name}: {held(tried)} sessions without a late packet within {self._options.seconds:g} s\n")

    async def _bursts(self, size: Size) -> None:
        for workload in self._workloads:
            if workload.replayed:
                continue  # Out of the cache nothing is started.
            came = await burst(self._reactor, self._setup, workload, size)
            self._record("burst", {"scenario": workload.name, **asdict(came)})
            print("\n".join(burst_lines(workload.name, came)) + "\n")

    async def _latencies(self) -> None:
        taken = await latencies(self._reactor, self._setup, self._site, self._pieces, self._options.plays)
        for kind in taken:
            self._record("latency", asdict(kind))
        print(table(latency_rows(taken)) + "\n")

    def _check(self, runs: Iterable[tuple[Run, float]]) -> bool:
        bound = self._options.check
        if bound is None:
            return True
        checked = [
            (measured.sessions, ratio)
            for measured, ratio in runs
            if measured.sessions >= CHECK_SESSIONS and (measured.program, measured.scenario) == (OURS, "transcode")
        ]
        over = [f"{sessions} sessions: {ratio:.2f}" for sessions, ratio in checked if ratio > bound]
        print(f"checked {len(checked)} runs; above {bound:g} x the floor: {', '.join(over) or 'none'}")
        return not over

    def _record(self, kind: str, fields: dict[str, Any]) -> None:
        if self._options.json is not None:
            with self._options.json.open("ab") as file:
                file.write(msgspec.json.encode({"kind": kind, **fields}) + b"\n")


def _floor(workload: Workload, sessions: int, readings: Sequence[Readings]) -> Cost:
    """Of the median of each piece's readings."""

    def bare(piece: Piece, copied: bool) -> Cost:
        read = [cost for reading in readings for cost in reading[piece, copied]]
        return Cost(median(cost.decode for cost in read), median(cost.encode for cost in read))

    return workload.floor(sessions, bare)


def note(text: str) -> None:
    """How far it has come, apart from the results."""
    print(text, file=sys.stderr, flush=True)
