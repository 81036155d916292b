"""Watches how much of the machine is left, has the encoders work less thoroughly, and says when no more plays fit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from audiosvc.errors import Overloaded
from audiosvc.flow.encoders import EncoderPool
from audiosvc.flow.pacer import Pacer
from audiosvc.flow.pressure import STEPS, Pressure, Reading
from audiosvc.flow.workshop import Workshop
from audiosvc.vitals import OverloadVitals

MODES = ("lower", "refuse", "off")
"""Lower the complexity and then refuse plays; refuse them at once; only watch."""

READING_SECONDS = 0.25
"""Between two readings. What the encoders have ready lasts twice as long."""

_CGROUP = Path("/sys/fs/cgroup")


class Overload:
    """The workshop's complexity is its to set, while it runs. `cores` are those that there are, or a part of one."""

    log = Logger()

    def __init__(self, workshop: Workshop, encoders: EncoderPool, pacer: Pacer, mode: str, cores: float) -> None:
        self._workshop = workshop
        self._encoders = encoders
        self._pacer = pacer
        self._mode = mode
        self._cores = cores
        full = workshop.complexity
        lower = tuple(step for step in STEPS if step < full) if mode == "lower" else ()
        self._full = full
        self._pressure = Pressure(cores, (full, *lower))
        self._pending: Callable[[], int] = int
        self._refused = 0
        self._call: IDelayedCall | None = None
        self._before = (0.0, 0.0, 0.0, 0.0, 0)

    def start(self, pending: Callable[[], int]) -> None:
        """`pending` says how many sessions that are not light were let in, and have only just begun if at all."""
        self._pending = pending
        self._before = self._clocks()
        self._call = self._workshop.reactor.callLater(READING_SECONDS, self._read)

    def stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def admit(self, *, light: bool) -> None:
        """One more session; `light` is one that is passed on as it is. Raises `Overloaded`."""
        if self.refuses(light=light):
            self._refused += 1
            raise Overloaded()
        if not light:
            self._pressure.let_in()
            self._set()

    def refuses(self, *, light: bool) -> bool:
        """Whether `admit` would."""
        return self._mode != "off" and self._pressure.refuses(light=light)

    def vitals(self) -> OverloadVitals:
        return OverloadVitals(
            mode=self._mode,
            cores=self._cores,
            load=round(self._pressure.load, 3),
            complexity=self._workshop.complexity,
            reduced=not self._workshop.full,
            refusing=self.refuses(light=False),
            refused=self._refused,
        )

    def _read(self) -> None:
        self._call = self._workshop.reactor.callLater(READING_SECONDS, self._read)
        before, now = self._before, self._clocks()
        self._before = now
        seconds, own, busy, encoding, frames = (after - then for after, then in zip(now, before, strict=True))
        settled, new = self._workshop.spawner.take_work()
        self._workshop.spawner.look_at_memory()
        reading = Reading(
            seconds=seconds,
            cores_used=(own + settled) / seconds,
            cores_taken=max(0.0, busy - own - settled - new) / seconds,
            encode_cores=encoding / seconds,
            frames=int(frames),
            tight=self._encoders.take_tightness(),
            late=self._pacer.take_lateness(),
        )
        self._pressure.read(reading, self._pending())
        self._set()

    def _clocks(self) -> tuple[float, float, float, float, int]:
        encoders, now = self._encoders, self._workshop.reactor.seconds()
        return now, time.process_time(), busy_seconds(), encoders.cpu_seconds, encoders.frames

    def _set(self) -> None:
        complexity = self._pressure.complexity
        if complexity != self._workshop.complexity:
            self.log.info(
                "encoding at complexity {complexity}: {load:.0%} of {cores:g} cores are needed",
                complexity=complexity,
                load=self._pressure.load,
                cores=self._cores,
            )
            self._workshop.set_complexity(complexity, full=complexity == self._full)


def busy_seconds(stat: Path = Path("/proc/stat")) -> float:
    """CPU seconds that everybody has used of the cores that this process may run on; 0 where that is not told."""
    ours = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    ticks = 0
    with suppress(OSError, ValueError):
        for line in stat.read_text().splitlines():
            name, *fields = line.split()
            if name in ours:
                # But for being idle, and waiting for a disk.
                ticks += sum(int(field) for place, field in enumerate(fields[:8]) if place not in (3, 4))
    return ticks / os.sysconf("SC_CLK_TCK")


def usable_cores(mount: Path = _CGROUP, groups: Path = Path("/proc/self/cgroup")) -> float:
    """Cores that this process may use: those it may run on, or what a quota of its cgroup or one above leaves."""
    cores = float(len(os.sched_getaffinity(0)))
    for folder in _own_groups(mount, groups):
        with suppress(OSError, ValueError, ZeroDivisionError):
            # "max" where there is none, which is no number.
            quota, period = (folder / "cpu.max").read_text().split()
            cores = min(cores, int(quota) / int(period))
        with suppress(OSError, ValueError, ZeroDivisionError):
            first = int((folder / "cpu.cfs_quota_us").read_text())
            if first > 0:
                cores = min(cores, first / int((folder / "cpu.cfs_period_us").read_text()))
    return cores


def _own_groups(mount: Path, groups: Path) -> Iterator[Path]:
    """Folders of the cgroups that may set a quota: in a container the paths told are often those outside of it."""
    yield from (mount, mount / "cpu")
    with suppress(OSError, ValueError):
        for line in groups.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "cpu" in controllers.split(","):
                own = PurePosixPath(path.lstrip("/"))
                yield from (mount / controllers / folder for folder in (own, *own.parents))
