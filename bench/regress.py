"""`tox -e regress`, or `python -m bench.regress`: what a packet costs, in numbers that do not depend on the machine.

Instructions and bytes copied by valgrind, of the daemon's own code over a clock moved by hand (`bench.driver`); system
calls by strace, of a daemon that plays. Fails where one is above its bound in bounds.json, and where a tool is missing.
`--write` takes the bounds anew.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from twisted.internet.task import deferLater, react

from audiosvc.codec.opus import COMPLEXITY_MOST
from audiosvc.ffmpeg.binary import find_ffmpeg
from audiosvc.ffmpeg.command import child_environment, copy_argv, decode_argv
from audiosvc.sources.model import File
from bench.counts import copied, exceeded, instructions_by_object, system_calls
from bench.daemon import Setup, running
from bench.driver import BITRATE, SESSIONS, WORKS
from bench.floor import Excerpt
from bench.measure import table
from bench.pieces import OWN, PASSED, Piece, prepare

BOUNDS = Path(__file__).with_name("bounds.json")

SLACK = {"instructions": 0.03, "copied": 0.05, "calls": 0.1}
"""Shares of a bound by which it may be exceeded. The first two come out the same to a thousandth; how many system calls
a packet takes depends a little on what else the machine does, even without those by which threads wait."""

OTHER_PYTHON = 0.35
"""The same for instructions and copies where the bounds were taken with another version of Python."""

TICKS = 250
"""Beats of the driver that are counted: whole rounds of all that goes on in rounds of ten frames and of fifty."""

PACKETS = TICKS * SESSIONS

MARKS = ("getpgid", "__getpgid")
"""What the driver calls before and after, as the C library names it."""

NOT_OURS = "libopus"
"""The encoder's instructions are most of all, and no business of ours."""

BEGIN_SECONDS, ATTACH_SECONDS, TRACED_SECONDS = 3.0, 0.3, 6.0
"""Until all sessions play, until strace looks on, and while it does."""

MARGIN = 20.0
TOOLS = ("valgrind", "strace")


class Bounds(msgspec.Struct):
    """`python` is the version they were taken with; `a_packet` is by what is counted and the work."""

    python: str
    a_packet: dict[str, float]


async def perform(reactor: Any, write: bool) -> None:
    """`SystemExit` where it is no success."""
    with TemporaryDirectory(prefix="audiosvc-regress-") as name:
        folder, ffmpeg = Path(name), find_ffmpeg()
        pieces = prepare(folder, ffmpeg, [], [OWN, *PASSED], BEGIN_SECONDS + TRACED_SECONDS + MARGIN)
        counted = under_valgrind(folder, ffmpeg, pieces)
        setup = Setup(ffmpeg, folder, Excerpt(BEGIN_SECONDS, TRACED_SECONDS), BITRATE, COMPLEXITY_MOST)
        for work, chosen in (
            ("transcode", [piece for piece in pieces if piece.container == OWN]),
            ("pass", [piece for piece in pieces if piece.container != OWN]),
        ):
            counted[f"calls {work}"] = await under_strace(reactor, folder, setup, chosen)
    if write:
        known = Bounds(_python(), {name: round(number, 3) for name, number in sorted(counted.items())})
        BOUNDS.write_bytes(msgspec.json.format(msgspec.json.encode(known)) + b"\n")
    bounds = msgspec.json.decode(BOUNDS.read_bytes(), type=Bounds)
    slack = dict(SLACK)
    if bounds.python != _python():
        slack |= {"instructions": OTHER_PYTHON, "copied": OTHER_PYTHON}
        print(
            f"this is Python {_python()}, the bounds were taken with {bounds.python}: {OTHER_PYTHON:.0%} are let pass"
        )
    rows = [
        (name, f"{number:,.2f}", f"{bounds.a_packet.get(name, 0):,.2f}") for name, number in sorted(counted.items())
    ]
    print(table([("a packet", "counted", "bound"), *rows]))
    if over := exceeded(bounds.a_packet, counted, slack):
        raise SystemExit("\n".join(("above the bounds:", *over)))


def under_valgrind(folder: Path, ffmpeg: str, pieces: Sequence[Piece]) -> dict[str, float]:
    """Instructions and bytes copied a packet, of each of the driver's works."""
    sounds = _sounds(folder, ffmpeg, pieces)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        instructions = pool.submit(_instructions, folder, sounds)
        runs = {
            work: [pool.submit(_copied, work, sound, ticks) for ticks in (0, TICKS)] for work, sound in sounds.items()
        }
        counted = {f"instructions {work}": number / PACKETS for work, number in instructions.result().items()}
        for work, (start, whole) in runs.items():
            counted[f"copied {work}"] = (whole.result() - start.result()) / PACKETS
    return counted


def _sounds(folder: Path, ffmpeg: str, pieces: Sequence[Piece]) -> dict[str, Path]:
    """What the driver is given for each of its works: a file, or what FFmpeg would make of one."""
    sounds = {}
    for work, (given, _) in WORKS.items():
        piece = next(piece for piece in pieces if piece.container == (OWN if given == "pcm" else "opus"))
        if given == "file":
            sounds[work] = piece.path
            continue
        argv = decode_argv(ffmpeg, piece.source) if given == "pcm" else copy_argv(ffmpeg, File(piece.path))
        sounds[work] = folder / f"{work}.sound"
        with sounds[work].open("wb") as written:
            environment = child_environment(os.environ)
            subprocess.run(argv, check=True, stdout=written, stderr=subprocess.DEVNULL, env=environment)
    return sounds


def _instructions(folder: Path, sounds: Mapping[str, Path]) -> dict[str, int]:
    """Of everything but libopus. Callgrind begins another file at each of the driver's marks."""
    options = ["--tool=callgrind", f"--callgrind-out-file={folder}/callgrind", "--compress-strings=no"]
    _valgrind([*options, *(f"--dump-before={mark}" for mark in MARKS)], TICKS, sounds)
    written = sorted(folder.glob("callgrind.*"), key=lambda path: int(path.suffix[1:]))
    if len(written) != 2 * len(sounds):
        raise SystemExit(f"callgrind saw {len(written)} marks of the driver's {2 * len(sounds)}")
    counted = {}
    for work, path in zip(sounds, written[1::2], strict=True):
        with path.open() as lines:
            spent = instructions_by_object(lines)
        counted[work] = sum(number for name, number in spent.items() if NOT_OURS not in name)
    return counted


def _copied(work: str, sound: Path, ticks: int) -> int:
    return copied(_valgrind(["--tool=dhat", "--mode=copy", "--dhat-out-file=/dev/null"], ticks, {work: sound}))


def _valgrind(options: Sequence[str], ticks: int, sounds: Mapping[str, Path]) -> str:
    """What it says of the driver."""
    driver = [sys.executable, "-m", "bench.driver", str(ticks), *(f"{work}={sound}" for work, sound in sounds.items())]
    # Else sets and dicts of strings are laid out otherwise at each run.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    run = subprocess.run(["valgrind", *options, *driver], env=environment, capture_output=True, text=True)
    if run.returncode or run.stdout.split() != [str(ticks * SESSIONS)] * len(sounds):
        raise SystemExit(f"the driver failed under valgrind: {', '.join(sounds)}\n{run.stdout}{run.stderr}")
    return run.stderr


async def under_strace(reactor: Any, folder: Path, setup: Setup, pieces: Sequence[Piece]) -> float:
    """System calls a packet of a daemon with `SESSIONS` sessions, its children's not counted."""
    written = folder / "strace"
    async with running(reactor, setup, SESSIONS) as it:
        for number in range(SESSIONS):
            await it.control.play(f"regress:{number}", pieces[number % len(pieces)].path.name)
        await deferLater(reactor, BEGIN_SECONDS)
        strace = subprocess.Popen(["strace", "-c", "-f", "-q", "-p", str(it.pid), "-o", str(written)])
        try:
            await deferLater(reactor, ATTACH_SECONDS)
            if strace.poll() is not None:
                raise SystemExit("strace could not look at the daemon")
            before = (await it.control.vitals())["delivery"]["packets"]
            await deferLater(reactor, TRACED_SECONDS)
            packets: int = (await it.control.vitals())["delivery"]["packets"] - before
        finally:
            strace.send_signal(signal.SIGINT)
            strace.wait()
    seen = sum(system_calls(written.read_text()).values())
    # It looked on a little longer than packets were counted.
    return seen / packets * TRACED_SECONDS / (TRACED_SECONDS + ATTACH_SECONDS)


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.regress", description=__doc__)
    parser.add_argument("--write", action="store_true", help="take what is counted now for the bounds")
    given = parser.parse_args()
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise SystemExit(f"not found: {', '.join(missing)}. On Debian: apt-get install {' '.join(TOOLS)}")
    react(perform, [given.write])


if __name__ == "__main__":
    main()
