"""One daemon a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest_twisted

from tests.integration.harness import Daemon
from tests.site.server import Site

Start = Callable[..., Awaitable[Daemon]]


@pytest_twisted.async_yield_fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start(*options, **environ)` gives a running daemon, stopped and looked over for tracebacks in the end."""
    daemons: list[Daemon] = []

    async def start_one(*options: str, **environ: str) -> Daemon:
        folder = tmp_path / str(len(daemons))
        folder.mkdir()
        daemons.append(Daemon(folder))
        return await daemons[-1].start(*options, **environ)

    yield start_one
    for daemon in daemons:
        await daemon.stop()


@pytest_twisted.async_yield_fixture
async def site() -> AsyncIterator[Site]:
    """The site of real media on loopback. `await start(*REACHES)` gives a daemon that is allowed to play from it."""
    site = Site().start()
    yield site
    await site.stop()
