"""One daemon of its own for each measurement, with the receiver on its socket: started, asked to play, read, ended."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import deferLater
from twisted.web.client import ResponseFailed

from audiosvc.options import Options
from audiosvc.remote import Control, Daemon, Refused
from bench.filler import play_through
from bench.floor import Excerpt
from bench.machine import children_cpu_seconds, children_of, cores_apart, cpu_seconds, pss
from bench.measure import Delivery, delivery
from bench.receiver import Receiver
from bench.scenarios import Workload
from bench.site import REACHED

BEGIN_MOST = 60.0
"""Seconds that all sessions together may take to begin."""

LOOK_SECONDS = 0.2
"""How often it is looked whether they have."""

ENDS = ("Finished", "Stopped", "Error")

CACHE_BYTES = 1 << 30
"""More than all pieces take."""

NO_CACHE = 0


class BenchFailed(Exception):
    """Told to the user as it stands."""


@dataclass(frozen=True)
class Setup:
    """What is the same in every run. Sessions are measured during `excerpt` of the pieces they play."""

    ffmpeg: str
    media_root: Path
    excerpt: Excerpt
    bitrate: int
    complexity: int


@dataclass(frozen=True)
class Run:
    """One run of `sessions` sessions. CPU in seconds per second of sound, memory (PSS) in bytes, each per session."""

    program: str
    scenario: str
    sessions: int
    cpu_own: float
    """Of the daemon, or of the peer's first process."""
    cpu_children: float
    cpu_receiver: float
    """Not the daemon's, but taken from the same cores."""
    pss_own: float
    """Less what the daemon took before the first play."""
    pss_children: float
    delivery: Delivery
    trouble: int
    """Sessions that were told of an error, or ended in any other way."""
    underruns: int
    """Packets that were due and not there, as the daemon counts them."""

    @property
    def cpu(self) -> float:
        return self.cpu_own + self.cpu_children

    @property
    def pss(self) -> float:
        return self.pss_own + self.pss_children

    @property
    def well(self) -> bool:
        """Whether every packet of every session came, and in time."""
        return not (self.delivery.late or self.delivery.lost or self.trouble)


class Client(Control):
    """What more the bench asks of the API."""

    async def seek(self, session_id: str, position: float) -> None:
        await self._ask("POST", f"/session/{session_id}/seek", cast(Any, {"position": position}))

    async def vitals(self) -> dict[str, Any]:
        return await self._ask("GET", "/health")


class Running:
    """A daemon that answers, and its receiver."""

    def __init__(self, pid: int, socket: Path, control: Client, receiver: Receiver) -> None:
        self.pid = pid
        self.socket = socket
        self.control = control
        self.receiver = receiver


@asynccontextmanager
async def running(
    reactor: Any, setup: Setup, most: int, *, cache: int = NO_CACHE, overload: str = "off"
) -> AsyncIterator[Running]:
    """For at most `most` sessions; `cache` is in bytes, where the daemon has one. Raises `BenchFailed`.

    A complexity that is lowered under way would be another thing measured, hence `overload`.
    """
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
        newer = {"cache-size": cache, "overload": overload}
        options |= {option: value for option, value in newer.items() if knows(option)}
        daemon.start_in(folder, *REACHED, *(f"--{name}={value}" for name, value in options.items()))
        receiver = None
        try:
            assert daemon.transport is not None
            pid: int = daemon.transport.pid
            cores = cores_apart()
            if cores is not None:
                os.sched_setaffinity(pid, cores[0])
            control = cast(Client, Client.at(reactor, daemon.api))
            await daemon.until_healthy(control)
            receiver = Receiver(daemon.socket, folder / "noted.json")
            if cores is not None:
                os.sched_setaffinity(receiver.pid, cores[1])
            yield Running(pid, daemon.socket, control, receiver)
        except (ConnectError, ConnectionClosed, ResponseFailed, Refused, EOFError) as error:
            raise BenchFailed(daemon.report(f"the daemon failed: {error or type(error).__name__}")) from error
        finally:
            await daemon.stop()
            if receiver is not None:
                receiver.end()


async def run(reactor: Any, setup: Setup, workload: Workload, sessions: int) -> Run:
    """Play `sessions` at once, the workload's parts in turn, measure them once all have begun. Raises `BenchFailed`."""
    names = [f"bench:{number}" for number in range(sessions)]
    excerpt = setup.excerpt
    async with running(reactor, setup, sessions, cache=CACHE_BYTES if workload.replayed else NO_CACHE) as it:
        if workload.replayed:
            for part in workload.parts:
                await play_through(reactor, it.socket, it.control, "bench:before", part.address(0))
        empty = pss(it.pid)
        posted = time.monotonic()
        for number, name in enumerate(names):
            await it.control.play(name, workload.part(number).address(number))
        while (vitals := await it.control.vitals())["sessions"]["extracting"]:
            if time.monotonic() > posted + BEGIN_MOST:
                break
            await deferLater(reactor, LOOK_SECONDS)
        await deferLater(reactor, max(0.0, posted + excerpt.at - time.monotonic()))
        began, before = time.monotonic_ns(), _cpu(it)
        await deferLater(reactor, excerpt.seconds)
        ended, after = time.monotonic_ns(), _cpu(it)
        # Reading these holds the process up for some ms: only now.
        memory, memory_children = pss(it.pid) - empty, sum(map(pss, children_of(it.pid)))
        underruns = (await it.control.vitals())["delivery"]["underruns"] - vitals["delivery"]["underruns"]
    noted, heard = it.receiver.noted, frozenset(names)
    own, children, receiver = (
        (now - then) * 1e9 / (ended - began) / sessions for now, then in zip(after, before, strict=True)
    )
    return Run(
        program="audiosvc",
        scenario=workload.name,
        sessions=sessions,
        cpu_own=own,
        cpu_children=children,
        cpu_receiver=receiver,
        pss_own=memory / sessions,
        pss_children=memory_children / sessions,
        delivery=delivery([noted.packets.get(name, ()) for name in names], began, ended),
        trouble=sum(event.at < ended and event.kind in ENDS for event in noted.events if event.session_id in heard),
        underruns=underruns,
    )


def knows(option: str) -> bool:
    """Whether the daemon has it; the bench is for older ones too, to compare with."""
    return any(known[0] == option for known in Options.optParameters)


def _cpu(it: Running) -> tuple[float, float, float]:
    """Seconds so far of the daemon, its children and the receiver."""
    return cpu_seconds(it.pid), children_cpu_seconds(it.pid), cpu_seconds(it.receiver.pid)
