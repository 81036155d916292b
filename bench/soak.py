"""`tox -e soak`, or `python -m bench.soak`: sessions for a long time, or plays by the thousand, and what grows.

Ends with status 1 where something grows, is lost, comes twice or stays behind.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import TextIOWrapper
from pathlib import Path
from random import Random
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory
from typing import Any, cast

import msgspec
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import deferLater, react
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed

from audiosvc.ffmpeg.binary import find_ffmpeg
from audiosvc.listen import stop_at_signal
from audiosvc.remote import Control, Daemon, Refused
from bench import machine
from bench.api import Api, Unanswered
from bench.churn import TROUBLES_MOST, Churn
from bench.consumer import Consumer
from bench.counted import HANDS, Counted
from bench.daemon import BenchFailed
from bench.filler import play_through
from bench.measure import table
from bench.order import note
from bench.pictures import Axis
from bench.pieces import Piece, prepare
from bench.roads import CONTAINERS, keep
from bench.samples import Sample, sample
from bench.site import REACHED, Served
from bench.trend import Growth, Points
from bench.verdict import (
    BY_TIME,
    JUDGED_PLAYS,
    JUDGED_SECONDS,
    Fact,
    beats,
    by_count,
    fact_rows,
    grown,
    growth_rows,
    left_behind,
    lingering_zombies,
    pictures,
    series,
    told,
)

PIECE_SECONDS = 40.0
"""Length of what is played."""

SAMPLE_SECONDS = 2.0

WARM_PLAYS = 500
"""Plays that are not counted; and of fewer than twice as many, half."""

SAMPLES = 40
"""Readings in a run by count."""

STEP_LEAST = 10
"""Plays between two of them at least."""

WARM_MOST = 60.0
"""Minutes of warm-up at most; else it is a quarter of the time."""

CACHE = "16M"
"""Small enough to be filled in seconds."""

SETTLE_MOST = 20.0
"""Seconds until all that was stopped is gone."""

QUIET_SECONDS = 0.5
"""For what has just been closed to be let go of on both sides, before it is counted."""


@dataclass(frozen=True)
class Options:
    minutes: float
    plays: int
    sessions: int
    seed: int
    cache: str
    json: Path | None
    pictures: Path | None


def parse(arguments: Sequence[str]) -> Options:
    """Exits with status 2 and a message for what cannot be meant."""
    parser = argparse.ArgumentParser("python -m bench.soak", description="Looks for what grows, and should not.")
    parser.add_argument("--minutes", type=float, default=20.0, metavar="M", help="of sessions with churn; default 20")
    parser.add_argument("--plays", type=int, default=0, metavar="N", help="instead of that, N plays, each stopped soon")
    parser.add_argument("--sessions", type=int, default=20, metavar="N", help="at once; default 20")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="of the dice; default: any, and printed")
    parser.add_argument("--cache", default=CACHE, metavar="SIZE", help="the daemon's --cache-size; default %(default)s")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write all figures there, a line each")
    parser.add_argument("--pictures", type=Path, default=None, metavar="DIR", help="draw the series there, as SVG")
    given = parser.parse_args(arguments)
    if given.seed is None:
        given.seed = random.randrange(10**6)
    if given.minutes <= 0 or given.sessions < 1 or given.plays < 0:
        parser.error("there must be something to do")
    return Options(**vars(given))


class Soak:
    """One run, against one daemon."""

    def __init__(self, reactor: Any, options: Options, daemon: Daemon, media: Path, site: Served) -> None:
        assert daemon.transport is not None
        self._reactor = reactor
        self._options = options
        self._daemon = daemon
        self._media = media
        self._site = site
        self._pid: int = daemon.transport.pid
        self._api = cast(Api, Api.at(reactor, daemon.api))
        self._samples: list[Sample] = []

    async def judge(self, pieces: Sequence[Piece]) -> bool:
        """Run, print, draw; whether all was held."""
        self._record("machine", machine.description(find_ffmpeg()))
        kept = keep(pieces)
        if self._options.plays:
            return await self._by_count([*pieces, *kept])
        await self._fill_cache(next(piece for piece in pieces if piece.container == "opus"), kept)
        return await self._by_time([*pieces, *kept])

    async def _fill_cache(self, filling: Piece, kept: Sequence[Piece]) -> None:
        """What is played over and over, and before it as much else as there is room for: a full cache grows no more."""
        before = -1
        while (vitals := (await self._api.vitals())["cache"]) and vitals["bytes"] > before:
            before = vitals["bytes"]
            # The cache knows a file that was touched for another.
            os.utime(filling.path)
            await self._play_through(filling)
        for piece in kept:
            await self._play_through(piece)

    async def _play_through(self, piece: Piece) -> None:
        await play_through(self._reactor, self._daemon.socket, self._api, "soak:before", piece.path.name)

    # --- for a time -------------------------------------------------------------------------------------------------

    async def _by_time(self, pieces: Sequence[Piece]) -> bool:
        options = self._options
        seconds = options.minutes * 60
        churn = Churn(self._reactor, self._api, self._pid, options.sessions, Random(options.seed))
        over: Deferred[None] = Deferred()

        def fail(failure: Failure) -> None:
            if not failure.check(CancelledError) and not over.called:
                over.errback(failure)

        consumer = Consumer(self._reactor, self._daemon.socket, churn.heard, fail)
        await consumer.connect()
        before = await self._idle()
        began = time.monotonic()
        call = self._reactor.callLater(seconds, over.callback, None)
        await churn.begin(self._media, pieces, self._site.url)
        jobs = [Deferred.fromCoroutine(job) for job in (churn.meddle(), churn.cut(consumer), self._sample(churn))]
        try:
            for job in jobs:
                job.addErrback(fail)
            await over
        finally:
            if call.active():
                call.cancel()
            for job in jobs:
                job.cancel()
        if consumer.away:
            await consumer.connect()
        await churn.end()
        after = await self._idle()

        warm = began + min(seconds / 4, WARM_MOST * 60)
        lines = series(self._samples, lambda it: it.at)
        growths = grown(lines, warm, BY_TIME)
        judged = bool(growths) and growths[0].end - growths[0].begin >= JUDGED_SECONDS
        heard, tally = churn.heard, churn.heard.tally
        facts = [
            *told(heard),
            Fact("troubles", len(churn.trouble)),
            Fact("zombies seen twice", lingering_zombies(self._samples)),
            *left_behind(before, after),
            *beats(tally, churn.underruns, judged=judged),
        ]
        print(
            f"{options.minutes:g} minutes, {options.sessions} sessions, seed {options.seed}: {tally.tracks} tracks,"
            f" {tally.packets} packets; {_counts(churn.done)}; recoveries {tally.recovered};"
            f" ends: {_counts(tally.ends)}\n"
        )
        rows = growth_rows(growths, "in all", judged=judged)
        self._draw(lines, growths, Axis("s since the machine's start"))
        return self._tell(rows, growths if judged else [], facts, [*churn.trouble, *churn.ran_dry])

    async def _sample(self, churn: Churn) -> None:
        """For ever."""
        while True:
            await deferLater(self._reactor, SAMPLE_SECONDS)
            try:
                await churn.look()
                self._take(sample(self._pid, await self._api.vitals()))
            except Unanswered as error:
                churn.note(str(error))

    # --- by count ---------------------------------------------------------------------------------------------------

    async def _by_count(self, pieces: Sequence[Piece]) -> bool:
        options = self._options
        counted = Counted(self._reactor, self._api, Random(options.seed))
        lost: list[str] = []
        consumer = Consumer(
            self._reactor, self._daemon.socket, counted.heard, lambda why: lost.append(why.getErrorMessage())
        )
        await consumer.connect()
        counted.begin(self._media, pieces, self._site.url)
        taken: list[tuple[int, Sample]] = []
        step, seconds = max(STEP_LEAST, options.plays // SAMPLES), 0.0
        while counted.played < options.plays and not lost:
            began = time.monotonic()
            await counted.play(min(step, options.plays - counted.played))
            seconds += time.monotonic() - began
            taken.append((counted.played, self._take(await self._idle())))

        warm = min(WARM_PLAYS, options.plays // 2)
        plays = {it.at: float(played) for played, it in taken}
        lines = series(self._samples, lambda it: plays[it.at])
        after = [it for played, it in taken if played >= warm]
        growths = grown(lines, warm, by_count(options.plays - warm))
        judged = options.plays - warm >= JUDGED_PLAYS
        heard, tally = counted.heard, counted.heard.tally
        troubles = [*counted.trouble, *lost]
        facts = [
            *told(heard),
            Fact("troubles", len(troubles)),
            Fact("zombies seen twice", lingering_zombies(self._samples)),
            *left_behind(after[0], after[-1]),
        ]
        print(
            f"{counted.played} plays, seed {options.seed}, {HANDS} at a time: {counted.played / seconds:.1f} a second;"
            f" {counted.sounded} began to sound; {_counts(counted.done)}; ends: {_counts(tally.ends)}\n"
        )
        rows = growth_rows(growths, "per 1,000 plays", 1000.0, judged=judged)
        self._draw(lines, growths, Axis("plays"))
        return self._tell(rows, growths if judged else [], facts, troubles)

    # --- both ---------------------------------------------------------------------------------------------------------

    def _take(self, taken: Sample) -> Sample:
        self._samples.append(taken)
        self._record("sample", asdict(taken))
        return taken

    async def _idle(self) -> Sample:
        """What it is like once nothing plays, or after `SETTLE_MOST` seconds."""
        given_up = time.monotonic() + SETTLE_MOST
        while True:
            vitals = await self._api.vitals()
            await deferLater(self._reactor, QUIET_SECONDS)
            taken = sample(self._pid, vitals)
            if not (taken.sessions or taken.children or taken.connections) or taken.at > given_up:
                return taken

    def _draw(self, lines: dict[str, Points], growths: Sequence[Growth], across: Axis) -> None:
        if (folder := self._options.pictures) is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for name, drawn in pictures(lines, growths, across).items():
                (folder / name).write_text(drawn)

    def _tell(
        self, rows: Sequence[tuple[str, ...]], judged: Sequence[Growth], facts: Sequence[Fact], troubles: Sequence[str]
    ) -> bool:
        """Whether all was held."""
        print(table(rows) if len(rows) > 1 else "too short for slopes", end="\n\n")
        print(table(fact_rows(facts)))
        for trouble in troubles[:TROUBLES_MOST]:
            print(f"trouble: {trouble}")
        for growth in judged:
            self._record("growth", {**asdict(growth), "held": growth.held})
        for fact in facts:
            self._record("fact", {**asdict(fact), "held": fact.held})
        return all(growth.held for growth in judged) and all(fact.held for fact in facts)

    def _record(self, kind: str, fields: dict[str, Any]) -> None:
        if self._options.json is not None:
            with self._options.json.open("ab") as file:
                file.write(msgspec.json.encode({"kind": kind, **fields}) + b"\n")


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


async def perform(reactor: Any, options: Options) -> None:
    """`SystemExit` where it is no success."""
    with TemporaryDirectory(prefix="audiosvc-soak-") as name:
        folder = Path(name)
        media = folder / "media"
        media.mkdir()
        site, daemon = None, Daemon(reactor)
        try:
            ffmpeg = find_ffmpeg()
            if options.json is not None:
                options.json.write_bytes(b"")
            pieces = prepare(media, ffmpeg, [], CONTAINERS, PIECE_SECONDS)
            site = Served(media, folder / "asked.jsonl")
            given = {"media-root": media, "max-sessions": max(50, options.sessions), "cache-size": options.cache}
            given |= {"overload": os.environ.get("AUDIOSVC_OVERLOAD", "off"), "ffmpeg": ffmpeg}
            daemon.start_in(folder, *REACHED, *(f"--{option}={value}" for option, value in given.items()))
            await daemon.until_healthy(Control.at(reactor, daemon.api))
            job = Deferred.fromCoroutine(Soak(reactor, options, daemon, media, site).judge(pieces))
            reactor.callWhenRunning(stop_at_signal, reactor, job.cancel)
            if not await job:
                raise SystemExit(1)
        except CancelledError:
            raise SystemExit(os.EX_TEMPFAIL) from None
        except (BenchFailed, CalledProcessError, EOFError, ValueError) as error:
            note(str(error))
            raise SystemExit(1) from None
        except (ConnectError, ConnectionClosed, ResponseFailed, Refused, TimeoutError) as error:
            note(daemon.report(f"the daemon failed: {error or type(error).__name__}"))
            raise SystemExit(1) from None
        finally:
            if daemon.transport is not None:
                await daemon.stop()
            if site is not None:
                site.end()


def main() -> None:
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    # A collection here would be seen as a gap that is not the daemon's, and what lives here is little.
    gc.freeze()
    react(perform, [parse(sys.argv[1:])])


if __name__ == "__main__":
    main()
