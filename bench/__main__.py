"""`tox -e bench`, or `python -m bench`: what a session costs, how evenly and how soon its packets come, how many go.

Prints figures and judges none of them, unless `--check` is given.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react

from audiosvc.codec.opus import COMPLEXITY_MOST
from audiosvc.ffmpeg.binary import find_ffmpeg
from audiosvc.listen import stop_at_signal
from audiosvc.session.track import BITRATE_LEAST, BITRATE_MOST
from bench import scenarios
from bench.burst import Size
from bench.daemon import BenchFailed, Setup
from bench.floor import Excerpt
from bench.order import CHECK_SESSIONS, Bench, Options, note
from bench.pieces import ENCODERS, OWN, PASSED, STATION, prepare
from bench.site import Served

CHECK_RATIO = 2.0
"""What `--check` accepts if it is given no number: enough to be exceeded by a fault and not by a noisy neighbour."""

PLAYS = 20

MARGIN = 10.0
"""Seconds a piece is longer than what is measured of it: decoders work ahead, and sessions begin one after another."""

LENGTH_LEAST = 40.0
"""Seconds of a piece, so that there is where to seek to."""


def parse(arguments: Sequence[str]) -> Options:
    """Exits with status 2 and a message for what cannot be meant."""
    parser = argparse.ArgumentParser("python -m bench", description="Measures the daemon beside the bare codecs.")
    every = ",".join(scenarios.NAMES)
    parser.add_argument("--scenarios", type=_scenarios, default=[*scenarios.NAMES], metavar="S,S,...", help=every)
    parser.add_argument("--sessions", type=_counts, default=[10, 40], metavar="N,N,...", help="default: 10,40")
    parser.add_argument("--seconds", type=float, default=15.0, metavar="S", help="each run is measured for; default 15")
    parser.add_argument("--warmup", type=float, default=4.0, metavar="S", help="before that; default 4")
    parser.add_argument(
        "--plays", type=int, default=PLAYS, metavar="N", help="of each kind, for the latencies; 0: none"
    )
    parser.add_argument("--file", dest="files", type=Path, action="append", default=[], metavar="F", help="play this")
    names = ", ".join((OWN, *_TRANSCODED))
    parser.add_argument(
        "--containers", type=_containers, default=[OWN, "mp3", "m4a"], metavar="C,C,...", help=f"of {names}"
    )
    parser.add_argument("--bitrate", type=int, default=128_000, metavar="B", help="default: %(default)s")
    parser.add_argument("--complexity", type=int, default=COMPLEXITY_MOST, metavar="C", help="default: %(default)s")
    parser.add_argument("--ffmpeg", type=find_ffmpeg, default=None, metavar="PATH", help="default: the wheel's")
    parser.add_argument("--capacity", action="store_true", help="search for the most sessions without a late packet")
    parser.add_argument(
        "--bursts", type=_bursts, default=[], metavar="P+A,...", help="A plays asked for at once beside P that play"
    )
    parser.add_argument("--peer", default=None, metavar="CMD", help="in turn with another program; see README.rst")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the figures there, a line each")
    parser.add_argument("--pictures", type=Path, default=None, metavar="DIR", help="draw them there, as SVG")
    parser.add_argument(
        "--check",
        type=float,
        nargs="?",
        const=CHECK_RATIO,
        default=None,
        metavar="RATIO",
        help=f"fail where {CHECK_SESSIONS} transcodes or more cost more than this times the floor ({CHECK_RATIO})",
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


_TRANSCODED = [name for name in ENCODERS if name not in PASSED and name != STATION]


def _counts(text: str) -> list[int]:
    counts = [int(number) for number in text.split(",")] if text else []
    if any(count < 1 for count in counts):
        raise ValueError
    return counts


def _bursts(text: str) -> list[Size]:
    return [Size.of(size) for size in text.split(",")]


def _containers(text: str) -> list[str]:
    return _of(text, {OWN, *_TRANSCODED})


def _scenarios(text: str) -> list[str]:
    return _of(text, set(scenarios.NAMES)) if text else []


def _of(text: str, known: set[str]) -> list[str]:
    names = text.split(",")
    if not set(names) <= known:
        raise ValueError
    return names


async def perform(reactor: Any, options: Options) -> None:
    """`SystemExit` where it is no success."""
    with TemporaryDirectory(prefix="audiosvc-bench-") as name:
        folder = Path(name)
        media = folder / "media"
        media.mkdir()
        site = None
        try:
            containers = scenarios.containers(options.scenarios, options.containers, plays=options.plays > 0)
            needed = max(LENGTH_LEAST, options.warmup + options.seconds + MARGIN)
            pieces = prepare(media, options.ffmpeg, options.files, containers, needed)
            site = Served(media, folder / "asked.jsonl")
            excerpt = Excerpt(options.warmup, options.seconds)
            setup = Setup(options.ffmpeg, media, excerpt, options.bitrate, options.complexity)
            workloads = scenarios.workloads(options.scenarios, pieces, site.url)
            job = Deferred.fromCoroutine(Bench(reactor, options, setup, pieces, workloads, site).measure())
            reactor.callWhenRunning(stop_at_signal, reactor, job.cancel)
            if not await job:
                raise SystemExit(1)
        except CancelledError:
            raise SystemExit(os.EX_TEMPFAIL) from None
        except (BenchFailed, CalledProcessError, EOFError, ValueError) as error:
            note(str(error))
            raise SystemExit(1) from None
        finally:
            if site is not None:
                site.end()


def main() -> None:
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    # A thousand sessions have some thousands of pipes and connections; what is started inherits this.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    react(perform, [parse(sys.argv[1:])])


if __name__ == "__main__":
    main()
