"""A watched daemon a test, and the fault table at the end of a run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_twisted

from tests.faults.harness import LINES, LINGER_SECONDS, WatchedDaemon
from tests.integration.conftest import Start
from tests.integration.conftest import site as site

LINGER = f"--consumer-timeout={LINGER_SECONDS}"
"""What a client could come back for is held so long after a track's end: up to 2.3 MB and a timer for each session."""


@pytest_twisted.async_yield_fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start(*options, **environ)` gives a running daemon, stopped and looked over for tracebacks in the end."""
    daemons: list[WatchedDaemon] = []

    async def start_one(*options: str, **environ: str) -> WatchedDaemon:
        folder = tmp_path / str(len(daemons))
        folder.mkdir()
        daemons.append(WatchedDaemon(folder))
        return await daemons[-1].start(LINGER, *options, **environ)  # type: ignore[return-value]

    yield start_one
    for daemon in daemons:
        await daemon.stop()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if LINES:
        terminalreporter.section("fault table")
        for line in sorted(LINES):
            terminalreporter.write_line(str(line))
