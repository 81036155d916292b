"""Another program that plays the same, beside the daemon: what it is told, and what it has to leave. See README.rst."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from twisted.internet.task import deferLater

from bench.daemon import BenchFailed, Run, Setup
from bench.machine import cores_apart, cpu_seconds, pss, tree_cpu_seconds, tree_of
from bench.measure import delivery
from bench.receiver import heard
from bench.scenarios import Workload

TAIL_SECONDS = 1.0
"""How much longer it plays than it is measured."""

END_MOST = 20.0
"""Seconds it may take after that to write down what it noted."""


def environment(setup: Setup, workload: Workload, sessions: int, result: Path) -> dict[str, str]:
    """All that a peer is told. A session's source is a path or a URL."""
    sources = []
    for number in range(sessions):
        address = workload.part(number).address(number)
        sources.append(address if "://" in address else str(setup.media_root / address))
    return {
        "BENCH_SCENARIO": workload.name,
        "BENCH_SESSIONS": str(sessions),
        "BENCH_SECONDS": f"{setup.excerpt.at + setup.excerpt.seconds + TAIL_SECONDS:g}",
        "BENCH_SOURCES": "\n".join(sources),
        "BENCH_BITRATE": str(setup.bitrate),
        "BENCH_COMPLEXITY": str(setup.complexity),
        "BENCH_FFMPEG": setup.ffmpeg,
        "BENCH_RESULT": str(result),
    }


async def run_peer(reactor: Any, command: str, setup: Setup, workload: Workload, sessions: int) -> Run:
    """One run of it, measured during the same excerpt as the daemon is. Raises `BenchFailed`."""
    excerpt = setup.excerpt
    with TemporaryDirectory(prefix="audiosvc-bench-") as name:
        result = Path(name) / "packets"
        told = environment(setup, workload, sessions, result)
        process = subprocess.Popen(shlex.split(command), env={**os.environ, **told}, stdout=subprocess.DEVNULL)
        try:
            if (cores := cores_apart()) is not None:
                os.sched_setaffinity(process.pid, cores[0])
            await deferLater(reactor, excerpt.at)
            began, before = time.monotonic_ns(), _cpu(process.pid)
            await deferLater(reactor, excerpt.seconds)
            ended, after = time.monotonic_ns(), _cpu(process.pid)
            own, memory = pss(process.pid), sum(map(pss, tree_of(process.pid)))
            given_up = time.monotonic() + TAIL_SECONDS + END_MOST
            while process.poll() is None and time.monotonic() < given_up:
                await deferLater(reactor, 0.1)
            noted = heard(result.read_bytes())
        except (OSError, ValueError, msgspec.DecodeError) as error:
            raise BenchFailed(f"{command}: {error}") from error
        finally:
            _end(process)
    seconds = (ended - began) / 1e9 * sessions
    cpu, cpu_all = ((now - then) / seconds for now, then in zip(after, before, strict=True))
    times = list(noted.packets.values())
    return Run(
        program=Path(shlex.split(command)[0]).name,
        scenario=workload.name,
        sessions=sessions,
        cpu_own=cpu,
        cpu_children=cpu_all - cpu,
        cpu_receiver=0.0,
        pss_own=own / sessions,
        pss_children=(memory - own) / sessions,
        delivery=delivery([*times, *([()] * (sessions - len(times)))], began, ended),
        trouble=max(0, sessions - len(times)),
        underruns=0,
    )


def _cpu(pid: int) -> tuple[float, float]:
    """Seconds so far of the process itself, and with all its descendants."""
    return cpu_seconds(pid), tree_cpu_seconds(pid)


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that it started."""
    if process.poll() is None:
        for member in tree_of(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
    process.wait()
