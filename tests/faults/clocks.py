"""A daemon whose clocks are moved and whose reactor is held up by signals, without anything of that in the product."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.integration.harness import Daemon
from tests.integration.test_threats import customized

_CODE = """
import signal, time
moved = {{"time": 0.0, "monotonic": 0.0}}
def moving(name, real):
    return lambda: real() + moved[name]
for name in moved:
    setattr(time, name, moving(name, getattr(time, name)))
def obey(number, frame):
    what, seconds = open({file!r}).read().split()
    if what == "hold":
        time.sleep(float(seconds))
    else:
        moved[what] += float(seconds)
signal.signal(signal.SIGUSR1, obey)
"""
"""Run before the daemon takes its clocks. A handler runs in the thread of the reactor, and the signal wakes that."""


class Clocks:
    """`environ` is for the daemon that obeys."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clocks-do"
        self._file.touch()
        self.environ = customized(folder / "clocks", _CODE.format(file=str(self._file)))

    def step(self, daemon: Daemon, seconds: float) -> None:
        """Set its wall clock."""
        self._tell(daemon, "time", seconds)

    def pass_(self, daemon: Daemon, seconds: float) -> None:
        """Let time go by, all at once: its monotonic clock."""
        self._tell(daemon, "monotonic", seconds)

    def hold(self, daemon: Daemon, seconds: float) -> None:
        """Hold its reactor up, while its threads go on."""
        self._tell(daemon, "hold", seconds)

    def _tell(self, daemon: Daemon, what: str, seconds: float) -> None:
        self._file.write_text(f"{what} {seconds}")
        daemon.signal(signal.SIGUSR1)
