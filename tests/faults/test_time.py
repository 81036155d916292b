"""Rows 9, 23, 24 and 25: long pauses, a clock that is set, a machine that sleeps, a reactor that is held up."""

from __future__ import annotations

import re
import signal
import socket
import time
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import pytest_twisted

from audiosvc.audio import FRAMES_PER_SECOND
from audiosvc.flow.pacer import CATCH_UP
from audiosvc.wire.codec import LINE_MOST
from audiosvc.wire.messages import Subscribe
from tests.faults.cases import HEARD, case, warm, whole
from tests.faults.clocks import Clocks
from tests.faults.harness import Round, WatchedDaemon, meanwhile
from tests.integration.conftest import Start
from tests.integration.harness import sleep, tone, until
from tests.integration.hearing import Hearing
from tests.site import media
from tests.site.server import REACHES, Site

BYTES_A_SECOND = 24_000
"""Of `long.mp3`."""


async def pacer(daemon: WatchedDaemon) -> Any:
    return (await daemon.get("/health"))["pacer"]


@pytest_twisted.ensureDeferred
async def test_row_9_a_long_pause_costs_nothing_and_ends_where_it_began(
    start: Start, site: Site, tmp_path: Path
) -> None:
    clocks = Clocks(tmp_path)
    daemon = await start(*REACHES, "--idle-timeout=3600", **clocks.environ)
    assert isinstance(daemon, WatchedDaemon)
    media.content("long.mp3")
    uptime = (await daemon.get("/health"))["uptime"]

    async def page() -> None:
        hearing = await Hearing(daemon, "warm").play(site.url("page/audio"), duration=1)
        await hearing.end()

    # All are under the same clock.
    async with Round(daemon, bystanders=0, everyone=True, warm=page) as round:
        hearing = Hearing(daemon, "paused", paced=True)
        await hearing.play(site.url("page/expiring", bytes=5 * BYTES_A_SECOND), duration=HEARD)
        await hearing.draw(100)
        await daemon.post("/session/paused/pause")
        held = daemon.rss()
        assert len(daemon.live_children()) == 1
        clocks.pass_(daemon, 61)
        await until(lambda: not daemon.children(), "the child of a paused session is let go")
        clocks.pass_(daemon, 30 * 60)
        while (await daemon.get("/health"))["uptime"] - uptime < 31 * 60:
            await sleep(0.1)
        assert (await daemon.get("/session/paused/status"))["status"] == "paused"
        freed, asked = daemon.rss(), len(site.asked("page/expiring"))
        before, began = len(hearing.packets), time.monotonic()
        await daemon.post("/session/paused/resume")
        await hearing.draw(1)
        took = time.monotonic() - began
        assert len(hearing.packets) > before
        await hearing.end()
        _, wrong = case("paused for 31 minutes", hearing, whole(hearing)).look()
        assert not wrong
        assert len(site.asked("page/expiring")) > asked, "the page is read anew: its link had expired"
        round.report(
            9,
            "pause of 31 min (clock set forward), the link expired meanwhile",
            f"child gone after 61 s, RSS {(freed - held) / 1e6:+.1f} MB, first packet {took:.2f} s after resume",
            "child gone at 60 s; 3 s",
        )

        other = await daemon.connect(Subscribe("idle"))
        await daemon.play("idle", tone(440, 60))
        await other.holds("idle", 10)
        await daemon.post("/session/idle/pause")
        await other.hears("idle", "paused")
        clocks.pass_(daemon, 3601)
        end: Any = await other.hears("idle", "stopped")
        assert end.reason == "idle_timeout"


async def logged(daemon: WatchedDaemon) -> datetime:
    """The time that the daemon gives to what it logs now."""
    held = len(daemon.log)
    junk = await daemon.connect()
    junk.send_raw(b"x" * (LINE_MOST + 1))
    await until(lambda: junk.lost, "a client that sends junk is refused")
    pattern = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d).*refused a client", re.MULTILINE)
    found = await until(lambda: pattern.search(daemon.log[held:]), "which is logged")
    return datetime.fromisoformat(found[1])


@pytest_twisted.ensureDeferred
async def test_row_23_the_wall_clock_moves_nothing(start: Start, tmp_path: Path) -> None:
    clocks = Clocks(tmp_path)
    daemon = await start("--idle-timeout=600", **clocks.environ)
    assert isinstance(daemon, WatchedDaemon)
    async with Round(daemon) as round:
        client = await daemon.connect(Subscribe("paused"), Subscribe("hit"))
        await daemon.play("paused", tone(440, 60))
        await daemon.post("/session/paused/pause")
        await daemon.play("hit", tone(500, 8))
        before, told = await pacer(daemon), await logged(daemon)
        for hours in (1, -2, 1):
            clocks.step(daemon, hours * 3600)
            held, last, told = len(client.packets("hit")), told, await logged(daemon)
            moved = (told - last).total_seconds()
            assert abs(moved - hours * 3600) < 300, f"the daemon's wall clock moved by {moved} s"
            await client.holds("hit", held + 50)
        await client.hears("hit", "finished")
        after = await pacer(daemon)
        skipped = after["skipped_ticks"] - before["skipped_ticks"]
        assert (await daemon.get("/session/paused/status"))["status"] == "paused"
        await round.as_alone(client, "hit", tone(500, 8))
        # An hour is 180,000 of them; a busy machine may cost some.
        assert skipped < 500
        assert after["ticks"] - before["ticks"] > 100
        seen = f"largest tick gap {after['largest_gap_ms']:.0f} ms, {skipped} ticks skipped, no timer moved"
        round.report(23, "wall clock +1 h, -2 h, +1 h", f"packets identical, {seen}", "40 ms")


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.slow)])
@pytest_twisted.ensureDeferred
async def test_row_24_what_was_missed_in_a_machines_sleep_is_not_sent_in_a_heap(
    start: Start, site: Site, seconds: int
) -> None:
    daemon = await start(*REACHES, "--consumer-timeout=1")
    assert isinstance(daemon, WatchedDaemon)
    media.content("long.mp3")
    async with Round(daemon, everyone=True, warm=lambda: warm(daemon, site, 4)) as round:
        fetched = await Hearing(daemon, "fetched", paced=True).play(site.url("media/long.mp3"), duration=HEARD)
        await fetched.draw(100)
        before, client = await pacer(daemon), round.bystanders.client
        daemon.signal(signal.SIGSTOP)
        stopped = time.monotonic()
        await sleep(seconds)
        held = {name: len(client.packets(name)) for name in round.bystanders.urls}
        woken = time.monotonic()
        daemon.signal(signal.SIGCONT)
        most = 0.0
        while (since := time.monotonic() - woken) < 3:
            await sleep(0.01)
            # Looked at before the time is: what comes in between only makes the bound larger.
            news = max(len(client.packets(name)) - number for name, number in held.items())
            ahead = news - (time.monotonic() - woken) * FRAMES_PER_SECOND
            most = max(most, ahead)
            assert ahead <= CATCH_UP + 3, f"{news} packets {since:.3f} s after waking"
        after = await pacer(daemon)
        skipped = after["skipped_ticks"] - before["skipped_ticks"]
        assert skipped >= (woken - stopped) * FRAMES_PER_SECOND - CATCH_UP - 5
        await fetched.end()
        _, wrong = case(f"asleep for {seconds} s", fetched, whole(fetched)).look()
        assert not wrong
        round.report(
            24,
            f"SIGSTOP of the daemon for {seconds} s",
            f"at most {most:.0f} packets ahead of time, {skipped} ticks skipped and counted, packets identical, "
            f"over HTTP: {', '.join(fetched.types)}",
            f"{CATCH_UP} packets, {seconds * FRAMES_PER_SECOND - CATCH_UP} ticks",
        )


@pytest_twisted.ensureDeferred
async def test_row_25_a_reactor_that_is_held_up_is_told_and_not_said_to_be_alive(start: Start, tmp_path: Path) -> None:
    clocks = Clocks(tmp_path)
    # An abstract address could be taken by another run; this one is short enough for a socket.
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{folder}/notify")
        manager.setblocking(False)
        environ = {"NOTIFY_SOCKET": f"{folder}/notify", "WATCHDOG_USEC": "1000000"}
        daemon = await start(**clocks.environ, **environ)
        assert isinstance(daemon, WatchedDaemon)
        fed: list[float] = []

        async def manage() -> None:
            with suppress(BlockingIOError):
                while True:
                    if b"WATCHDOG=1" in manager.recv(4096):
                        fed.append(time.monotonic())

        async with Round(daemon, everyone=True) as round, meanwhile(manage, 0.01):
            await until(lambda: len(fed) > 2, "the watchdog is fed")
            before = await pacer(daemon)
            clocks.hold(daemon, 1)
            while (now := await pacer(daemon))["largest_gap_ms"] < 1000:
                await sleep(0.05)
            gap, skipped = now["largest_gap_ms"], now["skipped_ticks"] - before["skipped_ticks"]
            assert skipped >= FRAMES_PER_SECOND - CATCH_UP - 5

            began = time.monotonic()
            clocks.hold(daemon, 3)
            while (await pacer(daemon))["largest_gap_ms"] < 3000:
                await sleep(0.05)
            times = [began, *(at for at in fed if at > began), time.monotonic()]
            starved = max(b - a for a, b in pairwise(times))
            assert starved > 2, "systemd would have waited for a second"
            await until(lambda: fed[-1] > times[-1], "the watchdog is fed again")
            told = f"largest_gap_ms {gap:.0f}, {skipped} ticks skipped, packets identical"
            round.report(
                25,
                "the reactor held up for 1 s; for 3 s with a watchdog of 1 s",
                f"{told}; watchdog not fed for {starved:.1f} s",
                "reported; systemd restarts it",
            )
