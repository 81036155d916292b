"""Opus that the daemon reads itself, from files and over HTTP: packet for packet what the source has, and no child."""

from __future__ import annotations

import time
from functools import cache

import pytest_twisted

from audiosvc.codec.ogg import OggDemuxer
from audiosvc.codec.webm import WebmDemuxer
from tests.integration.conftest import Start
from tests.integration.harness import Daemon, sleep, until
from tests.integration.hearing import Hearing, together
from tests.site import media
from tests.site.server import REACHES, Site

NAMES = ("long.opus", "long.webm", "opus-60.opus", "opus-mono.opus", "opus.opus", "webm.webm")

SOCKETS = 6 * 1024 * 1024
"""What the buffers of the sockets between hold on loopback."""

GROWN_MOST = 4_000_000
"""Bytes of memory that a daemon may take for its first session, of which its own code is most."""


@cache
def packets(name: str) -> list[bytes]:
    """What the source has, in packets of 20 ms."""
    if name.endswith("webm"):
        return [each.data for each in WebmDemuxer().feed(media.content(name))]
    return [each.data for each in OggDemuxer().feed(media.content(name))][2:]


async def children_ever(daemon: Daemon) -> tuple[int, int]:
    health = await daemon.get("/health")
    return health["children"], health["spawns"]


@pytest_twisted.ensureDeferred
async def test_every_packet_is_the_source_s_own_and_no_child_reads_it(start: Start, site: Site) -> None:
    daemon = await start(*REACHES, "--media-root", str(media.folder()), "--cache-size", "0", **site.trust)
    for name in NAMES:
        packets(name)
    # The API's connections stay, one for each request that is made at a time.
    await together([daemon.get("/health") for _ in range(3)])
    fds = daemon.fds()

    async def heard(name: str, url: str) -> None:
        where = f"{name}-{url[:5]}"
        hearing = await Hearing(daemon, where).play(url, format="opus")
        await hearing.end()
        assert hearing.types == ["ready", "finished"], (where, hearing.outcome)
        length = media.LONG if name.startswith("long") else media.SECONDS
        assert abs(len(hearing.packets) * 0.02 - length) <= 0.04, where
        if "60" not in name:
            assert hearing.packets == packets(name), where
        ready = hearing.ready
        assert (ready.title or "").startswith("Clock in "), where
        assert (ready.uploader, round(ready.duration)) == ("A Clock", length), where
        hearing.client.close()

        part = await Hearing(daemon, where).play(url, format="opus", start_at=5.2, duration=4.5)
        await part.end()
        assert (part.types, len(part.packets)) == (["ready", "finished"], 225), where
        whole = hearing.packets
        assert whole.index(part.packets[0]) == 260 and part.packets == whole[260:485], where
        took = await sought(where, url, whole)
        print(f"{where}: first packet {hearing.waited * 1000:.0f} ms, seek {took * 1000:.0f} ms")
        part.client.close()

    async def sought(where: str, url: str, whole: list[bytes]) -> float:
        hearing = await Hearing(daemon, where).play(url, format="opus")
        await hearing.draw(20)
        took = await hearing.seek(9.3)
        await hearing.draw(100)
        after = hearing.packets[hearing._from :]
        assert after == whole[465 : 465 + len(after)], where
        await daemon.post(f"/session/{where}/stop")
        hearing.client.close()
        return took

    await together([heard(name, name) for name in NAMES], most=3)
    await together([heard(name, site.url(f"media/{name}")) for name in NAMES], most=3)
    await together([heard(name, site.url(f"media/{name}", "https")) for name in NAMES[:2]], most=3)
    assert await children_ever(daemon) == (0, 0)
    await until(lambda: daemon.fds() <= fds, "what was opened is closed", 5)


@pytest_twisted.ensureDeferred
async def test_a_source_that_fails_is_taken_up_again_without_a_packet_lost(start: Start, site: Site) -> None:
    daemon = await start(*REACHES, "--cache-size", "0", **site.trust)
    for name in ("long.opus", "long.webm"):
        packets(name)

    def rate(name: str) -> int:
        return len(media.content(name)) // media.LONG

    async def dropped(name: str, base: str) -> None:
        url = site.url(f"droponce/{name}", base, bytes=5 * rate(name), k=base)
        hearing = await Hearing(daemon, f"{name}-{base}", paced=True).play(url, format="opus", duration=8)
        await hearing.end()
        print(f"drops once, {base} {name}: {hearing.types}, gap {hearing.gap * 1000:.0f} ms")
        assert hearing.types == ["ready", "recovered", "finished"], hearing.outcome
        assert hearing.packets == packets(name)[:400]
        assert hearing.gap <= 1

    async def expired(code: int, outcome: str) -> None:
        url = site.url("once403/long.opus", bytes=5 * rate("long.opus"), code=code)
        hearing = await Hearing(daemon, f"expired-{code}").play(url, format="opus")
        end = await hearing.end()
        assert (hearing.outcome, str(code) in end.message) == (outcome, True)
        assert 4 < end.played < 5.1
        assert hearing.packets == packets("long.opus")[: len(hearing.packets)]

    async def stalled() -> None:
        url = site.url("stall/long.webm", bytes=5 * rate("long.webm"), seconds=0)
        hearing = await Hearing(daemon, "stalled", paced=True).play(url, format="opus")
        await hearing.end(patience=90)
        took = time.monotonic() - hearing.times[-1]
        assert hearing.outcome == "source_timeout"
        assert took <= 42

    async def paused() -> None:
        """The connection is let go after a minute."""
        hearing = await Hearing(daemon, "paused", paced=True).play(
            site.url("media/long.opus", k="paused"), format="opus"
        )
        await hearing.draw(100)
        await daemon.post("/session/paused/pause")
        asked = len(site.asked("media/long.opus?k=paused"))
        await sleep(64)
        await daemon.post("/session/paused/resume")
        await hearing.draw(100)
        assert len(site.asked("media/long.opus?k=paused")) > asked
        assert hearing.packets == packets("long.opus")[: len(hearing.packets)]
        assert hearing.types == ["ready", "paused", "resumed"]
        await daemon.post("/session/paused/stop")

    await together(
        [
            *(dropped(name, base) for name in ("long.opus", "long.webm") for base in ("http", "https")),
            expired(403, "source_refused"),
            expired(410, "source_not_found"),
            stalled(),
            paused(),
        ]
    )
    assert await children_ever(daemon) == (0, 0)


@pytest_twisted.ensureDeferred
async def test_what_only_ffmpeg_makes_sense_of_is_left_to_it(start: Start, site: Site) -> None:
    daemon = await start(*REACHES, "--cache-size", "0")
    chained = media.content("opus-chained.opus")
    assert chained
    for name, start_at, spawns in (
        ("media/opus-chained.opus", 0, 1),
        ("norange/webm.webm", 7, 1),
        ("norange/opus.opus", 7, 1),
    ):
        before = (await children_ever(daemon))[1]
        hearing = await Hearing(daemon, "odd").play(site.url(name), format="opus", start_at=start_at)
        await hearing.end()
        assert hearing.types == ["ready", "finished"], (name, hearing.outcome)
        assert abs(len(hearing.packets) * 0.02 - (media.SECONDS - start_at)) <= 0.06, name
        assert (await children_ever(daemon))[1] == before + spawns, name
        hearing.client.close()


@pytest_twisted.ensureDeferred
async def test_a_fast_server_fills_no_memory_and_a_volume_comes_and_goes(start: Start, site: Site) -> None:
    daemon = await start(*REACHES, "--cache-size", "0")
    name = "hour.opus"
    size = len(media.content(name))
    before = daemon.rss()
    hearing = await Hearing(daemon, "fast", paced=True).play(site.url(f"media/{name}"), format="opus")
    await hearing.draw(100)
    (hit,) = [
        hit for hit in site.asked(f"media/{name}") if hit.sent == max(h.sent for h in site.asked(f"media/{name}"))
    ]
    grown = daemon.rss() - before
    print(f"{hit.sent} of {size} bytes sent, memory {grown / 1e6:+.1f} MB")
    assert hit.sent < SOCKETS < size
    assert grown < GROWN_MOST
    assert await children_ever(daemon) == (0, 0)
    await daemon.post("/session/fast/volume", {"volume": 0.5})
    await hearing.draw(60)
    assert (await children_ever(daemon))[0] == 1
    await daemon.post("/session/fast/volume", {"volume": 1.0})
    await hearing.draw(7 * 50)
    assert await children_ever(daemon) == (0, 1)
    whole = packets(name)
    own = [packet == whole[i] for i, packet in enumerate(hearing.packets)]
    changed = own.index(False)
    back = len(own) - own[::-1].index(False)
    assert changed >= 100 and all(own[:changed]) and all(own[back:]) and len(own) - back > 20
