"""Sessions on one live source: one connection and one child, and what one of them does is not heard by another."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest_twisted

from tests.integration.conftest import Start
from tests.integration.harness import Daemon, sleep, until
from tests.integration.hearing import Hearing, together
from tests.site import media
from tests.site.server import REACHES, Site

NEWEST = 10
"""Packets that one may have got before another."""


async def joined(daemon: Daemon, name: str, url: str) -> Hearing:
    hearing = await Hearing(daemon, name, paced=True).play(url, format="opus")
    await hearing.draw(25)
    print(f"{name}: {hearing.waited * 1000:.0f} ms to its first packet")
    return hearing


def place(mine: Hearing, other: Hearing, first: int = 0, last: int | None = None) -> int:
    """Where packets `first` to `last` of one lie among the other's, all of them one behind another.

    Without `last` the newest are left out: the other's may still be on their way.
    """
    part = mine.packets[first : -NEWEST if last is None else last]
    at = other.packets.index(part[0])
    while other.packets[at : at + len(part)] != part:
        at = other.packets.index(part[0], at + 1)
    return at


async def sources(daemon: Daemon) -> tuple[int, int]:
    vitals = (await daemon.get("/health"))["sources"]
    return vitals["broadcasts"], vitals["listeners"]


async def status(hearing: Hearing) -> dict[str, object]:
    found: dict[str, object] = await hearing.daemon.get(f"/session/{hearing.session_id}/status")
    return found


async def goes_on(*hearings: Hearing) -> None:
    """For a second of sound, counted by those who must not notice."""
    await together([hearing.draw(50) for hearing in hearings])


async def all_gone(daemon: Daemon) -> None:
    await until(lambda: not daemon.children(), "the children are reaped", 5)
    stop = time.monotonic() + 5
    while (health := await daemon.get("/health"))["door"]["connections"] or health["door"]["permits"]:
        assert time.monotonic() < stop, health["door"]
        await sleep(0.02)
    assert (health["children"], health["sources"]["broadcasts"], health["sources"]["listeners"]) == (0, 0, 0)


@pytest_twisted.ensureDeferred
async def test_three_sessions_on_one_station(start: Start, site: Site) -> None:
    media.content("piece.mp3")
    daemon = await start(*REACHES)
    url = site.url("radio", k="shared")
    one = await joined(daemon, "one", url)
    fds = daemon.fds()
    two, three = await joined(daemon, "two", url), await joined(daemon, "three", url)
    looked, listened = site.asked("radio")
    assert (listened.headers.get("range", "bytes=0-"), looked.range) == ("bytes=0-", "bytes=0-12287")
    assert len(daemon.children_with("k=shared")) == len(daemon.children()) == 1
    assert await sources(daemon) == (1, 3)
    # Two connections of clients.
    assert daemon.fds() == fds + 2
    await goes_on(one, two, three)
    assert place(two, one) < place(three, one)
    assert two.types[:2] == three.types[:2] == ["ready", "metadata"]

    await daemon.post("/session/three/pause")
    await goes_on(one, two)
    await daemon.post("/session/three/resume")
    await goes_on(one, two, three)
    assert place(three, one) > 0

    await daemon.post("/session/three/volume", {"volume": 0.5})
    before = len(three.packets)
    await until(lambda: len(daemon.children_with("k=shared")) == 2, "a child with the other volume")
    await goes_on(one, two, three)
    await goes_on(one, two, three)
    assert await sources(daemon) == (2, 3)
    at, shared = place(three, one, 0, before), before
    while three.packets[shared] == one.packets[at + shared]:
        shared += 1
    assert not set(three.packets[-40:]) & set(one.packets)
    print(f"the volume is heard {(shared - before) * 20} ms later")
    await daemon.post("/session/three/volume", {"volume": 1.0})
    await until(lambda: len(daemon.children_with("k=shared")) == 1, "one child for all again")
    await goes_on(one, two, three)
    assert place(three, one, -40) > 0

    await daemon.post("/session/one/stop")
    await goes_on(two, three)
    assert place(three, two, -40) > 0
    assert place(one, two, -100) > 0
    for hearing in (two, three):
        found = await status(hearing)
        assert (found["underruns"], found["dropped"], found["recoveries"]) == (0, 0, 0)
        assert {"error", "recovered", "stopped"} & set(hearing.types) == set()
    assert await sources(daemon) == (1, 2)
    assert len(site.asked("radio")) == 3, "the look, and a listener for each volume"

    await daemon.post("/session/two/stop")
    await goes_on(three)
    await daemon.post("/session/three/stop")
    await all_gone(daemon)
    await until(lambda: daemon.fds() <= fds + 2, "what was opened is closed", 5)


@pytest_twisted.ensureDeferred
async def test_one_who_takes_all_there_is_and_one_who_takes_nothing(start: Start, site: Site) -> None:
    media.content("piece.mp3")
    daemon = await start(*REACHES)
    url = site.url("radio", k="ahead")
    ahead = await Hearing(daemon, "ahead").play(url, format="opus")
    await ahead.draw(150)
    paced, late = await joined(daemon, "paced", url), await joined(daemon, "late", url)
    await daemon.post("/session/late/pause")
    await together([ahead.draw(600), paced.draw(600)])
    await daemon.post("/session/late/resume")
    await goes_on(late, paced)
    await daemon.post("/session/ahead/stop")
    await goes_on(late, paced)
    # He came back to where one in real time would be, which may be a little ahead of where the other is.
    heard = len(late.packets)
    await goes_on(paced)
    found = await status(late)
    print(f"late lost {found['dropped']} packets")
    assert int(str(found["dropped"])) > 500
    assert (await status(paced))["dropped"] == 0
    assert place(paced, ahead, 0, 100) > 0
    assert place(late, paced, heard - 40, heard) > 0
    assert len(daemon.children_with("k=ahead")) == 1
    for name in ("paced", "late"):
        await daemon.post(f"/session/{name}/stop")
    await all_gone(daemon)


@pytest_twisted.ensureDeferred
async def test_a_child_lost_is_a_recovery_for_all_and_an_end_is_one(start: Start, site: Site) -> None:
    media.content("piece.mp3"), media.content("live/whole.m3u8")
    daemon = await start(*REACHES)

    async def dropped() -> None:
        hearings = [await joined(daemon, f"dropped-{n}", site.url("radio", k="drop", drop=8)) for n in range(3)]
        await until(lambda: all("recovered" in hearing.types for hearing in hearings), "all hear it go on")
        await goes_on(*hearings)
        assert len(daemon.children_with("k=drop")) == 1
        assert place(hearings[2], hearings[0]) > 0
        assert {hearing.types.count("recovered") for hearing in hearings} == {1}

    async def ended() -> None:
        url = site.url("live/index.m3u8", k="hls")
        hearings = [await joined(daemon, f"hls-{n}", url) for n in range(3)]
        await goes_on(*hearings)
        assert len(daemon.children_with("k=hls")) == 1
        while not all(hearing.over for hearing in hearings):
            for pid in daemon.children_with("k=hls"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await sleep(0.002)
        assert {hearing.outcome for hearing in hearings} == {"decoder_failed"}
        assert place(hearings[2], hearings[0]) > 0
        assert hearings[2].packets[-1] == hearings[0].packets[-1]

    await together([dropped(), ended()])
    assert await sources(daemon) == (1, 3)
    for n in range(3):
        await daemon.post(f"/session/dropped-{n}/stop")
    await all_gone(daemon)
