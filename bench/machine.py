"""What this machine is, and what the kernel says of the processes on it."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from audiosvc import __version__
from audiosvc.codec.opus import libopus_version
from bench.measure import Stat, available_of, pss_of, rss_of, stat_of

PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_CPU_MODEL = re.compile(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", re.MULTILINE)
_FFMPEG = re.compile(r"ffmpeg version (\S+)")


def description(ffmpeg: str) -> dict[str, str | int | float]:
    said = subprocess.run([ffmpeg, "-hide_banner", "-version"], stdout=subprocess.PIPE, text=True).stdout
    model, version = _CPU_MODEL.search((PROC / "cpuinfo").read_text()), _FFMPEG.search(said)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "ffmpeg": version[1] if version else "unknown",
        "libopus": libopus_version().removeprefix("libopus "),
        "audiosvc": __version__,
    }


def cores_apart() -> tuple[set[int], set[int]] | None:
    """Cores for the daemon and for those who measure it, where there are enough of them."""
    cores = sorted(os.sched_getaffinity(0))
    return (set(cores[:-1]), {cores[-1]}) if len(cores) > 2 else None


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all its threads, to the nanosecond; 0 where it is gone.

    Not from /proc, whose hundredths are a large part of what one session uses. The clock's number is made as
    clock_getcpuclockid(3) makes it.
    """
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def children_of(pid: int) -> list[int]:
    return [child.pid for child in children(pid)]


def children(pid: int) -> list[Stat]:
    """Zombies too."""
    return [stat for stat in _stats() if stat.parent == pid]


def children_cpu_seconds(pid: int) -> float:
    """Those that run now, and those that it has reaped."""
    return sum(map(cpu_seconds, children_of(pid))) + reaped_cpu_seconds(pid)


def tree_of(pid: int) -> list[int]:
    """A process and all its descendants."""
    parents = {stat.pid: stat.parent for stat in _stats()}
    tree = [pid]
    for member in tree:
        tree += [child for child, parent in parents.items() if parent == member]
    return tree


def tree_cpu_seconds(pid: int) -> float:
    """Of a process and its descendants, those too that any of them has reaped."""
    return sum(cpu_seconds(member) + reaped_cpu_seconds(member) for member in tree_of(pid))


def reaped_cpu_seconds(pid: int) -> float:
    """Of the children that a process has waited for, and of theirs; 0 where it is gone."""
    try:
        return stat_of((PROC / str(pid) / "stat").read_text()).reaped / _TICKS
    except OSError:
        return 0.0


def memory_left() -> int:
    """Bytes that can be had without swapping."""
    return available_of((PROC / "meminfo").read_text())


def pss(pid: int) -> int:
    """Bytes: what is its own, and its share of what it shares with others; 0 where it is gone."""
    return memory(pid)[1]


def memory(pid: int) -> tuple[int, int]:
    """RSS and PSS in bytes."""
    try:
        rollup = (PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return 0, 0
    return rss_of(rollup), pss_of(rollup)


def descriptors(pid: int) -> int:
    return len(os.listdir(PROC / str(pid) / "fd"))  # noqa: PTH208 - no paths are wanted


def threads(pid: int) -> int:
    return len(os.listdir(PROC / str(pid) / "task"))  # noqa: PTH208


def command_of(pid: int) -> bytes:
    """Its arguments, each ended by a zero byte; nothing where it is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def _stats() -> Iterator[Stat]:
    for folder in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield stat_of((folder / "stat").read_text())
