"""One daemon of its own for each measurement, with the receiver on its socket: started, asked to play, read, ended."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import deferLater
from twisted.web.client import ResponseFailed

from audiosvc.remote import Control, Daemon, Refused
from bench.floor import Excerpt, first_byte
from bench.machine import children_cpu_seconds, children_of, cores_apart, cpu_seconds, pss
from bench.measure import Delivery, delivery
from bench.pieces import Piece
from bench.receiver import Receiver

LATENCY_PLAY, LATENCY_PAUSE = 0.5, 0.2
"""Seconds a play lasts whose first packet is waited for, and of silence after it."""


class BenchFailed(Exception):
    """Told to the user as it stands."""


@dataclass(frozen=True)
class Setup:
    """What is the same in every run. Sessions are measured during `excerpt` of the pieces they play."""

    ffmpeg: str
    media_root: Path
    pieces: Sequence[Piece]
    excerpt: Excerpt
    bitrate: int
    complexity: int


@dataclass(frozen=True)
class Run:
    """One run of `sessions` sessions. CPU in seconds per second of sound, memory (PSS) in bytes, each per session."""

    sessions: int
    cpu_daemon: float
    cpu_children: float
    cpu_receiver: float
    """Not the daemon's, but taken from the same cores."""
    pss: float
    """Daemon and children, less what the daemon took before the first play."""
    pss_daemon: float
    """The daemon's part of that."""
    delivery: Delivery
    trouble: int
    """Sessions that were told of an error, or ended in any other way."""

    @property
    def cpu(self) -> float:
        return self.cpu_daemon + self.cpu_children

    @property
    def well(self) -> bool:
        """Whether every packet of every session came, and in time."""
        return not (self.delivery.late or self.delivery.lost or self.trouble)


@dataclass(frozen=True)
class Latency:
    """Milliseconds, one value a play: POST to first packet, and a bare FFmpeg's start to its first byte of PCM."""

    first_packet: list[float]
    first_byte: list[float]


class Running:
    """A daemon that answers, and its receiver."""

    def __init__(self, pid: int, control: Control, receiver: Receiver) -> None:
        self.pid = pid
        self.control = control
        self.receiver = receiver


@asynccontextmanager
async def running(reactor: Any, setup: Setup, most: int) -> AsyncIterator[Running]:
    """For at most `most` sessions. Raises `BenchFailed`."""
    daemon = Daemon(reactor)
    with TemporaryDirectory(prefix="audiosvc-bench-") as name:
        folder = Path(name)
        options: dict[str, object] = {
            "media-root": setup.media_root,
            "max-sessions": most,
            "bitrate": setup.bitrate,
            "opus-complexity": setup.complexity,
            "ffmpeg": setup.ffmpeg,
        }
        daemon.start_in(folder, *(f"--{name}={value}" for name, value in options.items()))
        receiver = None
        try:
            assert daemon.transport is not None
            pid: int = daemon.transport.pid
            cores = cores_apart()
            if cores is not None:
                os.sched_setaffinity(pid, cores[0])
            control = Control.at(reactor, daemon.api)
            await daemon.until_healthy(control)
            receiver = Receiver(daemon.socket, folder / "noted.json")
            if cores is not None:
                os.sched_setaffinity(receiver.pid, cores[1])
            yield Running(pid, control, receiver)
        except (ConnectError, ConnectionClosed, ResponseFailed, Refused, EOFError) as error:
            raise BenchFailed(daemon.report(f"the daemon failed: {error or type(error).__name__}")) from error
        finally:
            await daemon.stop()
            if receiver is not None:
                receiver.end()


async def run(reactor: Any, setup: Setup, sessions: int) -> Run:
    """Play `sessions` at once, the pieces in turn, and measure them once all have begun. Raises `BenchFailed`."""
    names = [f"bench:{number}" for number in range(sessions)]
    excerpt = setup.excerpt
    async with running(reactor, setup, sessions) as it:
        empty = pss(it.pid)
        posted = time.monotonic()
        for number, name in enumerate(names):
            await it.control.play(name, setup.pieces[number % len(setup.pieces)].path.name)
        await deferLater(reactor, max(0.0, posted + excerpt.at - time.monotonic()))
        began, before = time.monotonic_ns(), _cpu(it)
        await deferLater(reactor, excerpt.seconds)
        ended, after = time.monotonic_ns(), _cpu(it)
        # Reading this holds the process up for some ms: only now.
        memory, memory_children = pss(it.pid) - empty, sum(map(pss, children_of(it.pid)))
    noted = it.receiver.noted
    daemon, children, receiver = (
        (now - then) * 1e9 / (ended - began) / sessions for now, then in zip(after, before, strict=True)
    )
    return Run(
        sessions=sessions,
        cpu_daemon=daemon,
        cpu_children=children,
        cpu_receiver=receiver,
        pss=(memory + memory_children) / sessions,
        pss_daemon=memory / sessions,
        delivery=delivery([noted.packets.get(name, ()) for name in names], began, ended),
        trouble=sum(at < ended and kind != "Ready" for at, _, kind in noted.events),
    )


async def latency(reactor: Any, setup: Setup, plays: int) -> Latency:
    """One play after the other of the first piece, each in turn with a bare FFmpeg. Raises `BenchFailed`."""
    piece = setup.pieces[0]
    posted, first_bytes = [], []
    async with running(reactor, setup, 1) as it:
        for number in range(plays):
            posted.append(time.monotonic_ns())
            await it.control.play(f"bench:{number}", piece.path.name)
            await deferLater(reactor, LATENCY_PLAY)
            await it.control.stop(f"bench:{number}")
            await deferLater(reactor, LATENCY_PAUSE)
            first_bytes.append(first_byte(setup.ffmpeg, piece) * 1000)
    packets = it.receiver.noted.packets
    late = LATENCY_PLAY * 1000
    return Latency(
        [
            (heard[0] - at) / 1e6 if (heard := packets.get(f"bench:{number}")) else late
            for number, at in enumerate(posted)
        ],
        first_bytes,
    )


def _cpu(it: Running) -> tuple[float, float, float]:
    """Seconds so far of the daemon, its children and the receiver."""
    return cpu_seconds(it.pid), children_cpu_seconds(it.pid), cpu_seconds(it.receiver.pid)
