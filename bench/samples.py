"""What a running daemon takes, read from outside, and what it says of itself."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from bench import machine


@dataclass(frozen=True)
class Sample:
    """`at` is monotonic seconds. Memory in bytes, of the daemon itself."""

    at: float
    rss: int
    pss: int
    fds: int
    threads: int
    children: int
    """Of any kind, zombies not counted."""
    zombies: list[int]
    """Process ids: one that is seen twice is not on its way out."""
    delayed_calls: int
    memory_blocks: int
    """Blocks that Python has allocated: whatever lives on its heap is one or more."""
    sessions: int
    connections: int
    """Through the door, of children."""


def sample(pid: int, vitals: dict[str, Any]) -> Sample:
    """`vitals` are those of /health, just now. OSError where the process is gone."""
    children = machine.children(pid)
    rss, pss = machine.memory(pid)
    return Sample(
        at=time.monotonic(),
        rss=rss,
        pss=pss,
        fds=machine.descriptors(pid),
        threads=machine.threads(pid),
        children=sum(not child.zombie for child in children),
        zombies=[child.pid for child in children if child.zombie],
        delayed_calls=vitals["process"]["delayed_calls"],
        memory_blocks=vitals["process"]["memory_blocks"],
        sessions=sum(vitals["sessions"].values()),
        connections=vitals["door"]["connections"],
    )
