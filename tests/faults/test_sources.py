"""Rows 4 to 8 and 10: sources that fail in the middle of a track, or do not keep what they promise."""

from __future__ import annotations

import time

import pytest_twisted

from tests.faults.cases import HEARD, NEAR, Case, Row, case, play_out, warm, whole
from tests.faults.harness import Round
from tests.integration.conftest import Start
from tests.integration.harness import sleep, until
from tests.integration.hearing import Hearing
from tests.site import media
from tests.site.server import REACHES, Site

IN_ORDER = ("mp3.mp3", "ogg.ogg", "opus-chained.opus", "webm.webm", "m4a-fast.m4a", "flac.flac", "wav.wav")
"""Media that can be read from their beginning on, and so without parts of them to be asked for."""

BYTES_A_SECOND = 24_000
"""Of `long.mp3`."""


@pytest_twisted.ensureDeferred
async def test_rows_4_to_8_and_10_a_source_that_fails_goes_on_or_ends_with_its_reason(start: Start, site: Site) -> None:
    daemon = await start(*REACHES, "--consumer-timeout=1", **site.trust)
    for name in ("long.mp3", "long.webm", "m4a.m4a", *IN_ORDER):
        media.content(name)
    second = BYTES_A_SECOND

    async def dropped(base: str, suffix: str) -> Case:
        rate = len(media.content(f"long.{suffix}")) / media.LONG
        url = site.url(f"droponce/long.{suffix}", base, bytes=int(5 * rate))
        hearing = await Hearing(daemon, f"dropped-{base}-{suffix}", paced=True).play(url, duration=HEARD)
        await hearing.end()
        return case(f"drops once, {base} {suffix}", hearing, whole(hearing))

    async def drops_always() -> Case:
        """But honours Range, so that each time there is some more."""
        url = site.url("drop/long.mp3", bytes=2 * second)
        hearing = await Hearing(daemon, "drops-always", paced=True).play(url, duration=HEARD)
        end = await hearing.end()
        early = hearing.outcome == "source_ended_early" and end.played < HEARD
        return case("drops always", hearing, (whole(hearing)[0] or early, f"{hearing.outcome} after {end.played} s"))

    async def ends_early() -> Case:
        hearing = await Hearing(daemon, "ends-early").play(site.url("cut/long.mp3", bytes=5 * second))
        end = await hearing.end()
        return case(
            "ends early",
            hearing,
            (hearing.outcome == "source_ended_early", hearing.outcome),
            (4 < end.played < 5.1 and hearing.seconds == end.played, f"{end.played} s played"),
            (abs((getattr(end, "duration", None) or 0) - media.LONG) < 0.1, "its duration is not told"),
        )

    async def stalled(seconds: int) -> Case:
        url = site.url("stall/long.mp3", bytes=5 * second, seconds=seconds)
        hearing = await Hearing(daemon, f"stalled-{seconds}", paced=True).play(url, duration=HEARD)
        end = await hearing.end(patience=90)
        took = time.monotonic() - hearing.times[-1] if hearing.packets else 99.0
        if seconds:
            return case(f"stalls for {seconds} s", hearing, whole(hearing))
        return case(
            "stalls for ever",
            hearing,
            (hearing.outcome == "source_timeout", hearing.outcome),
            (took <= 60, f"{took:.0f} s after its last sound"),
            (3 < end.played < 6, f"{end.played} s played"),
        )

    async def header_drip() -> Case:
        hearing = await Hearing(daemon, "header-drip").play(site.url("hdrdrip/long.mp3"))
        await hearing.end()
        took = time.monotonic() - hearing.began
        return case(
            f"header drip, {took:.1f} s",
            hearing,
            (hearing.types == ["error"] and hearing.outcome == "source_timeout", hearing.outcome),
            (took <= 30, f"{took} s"),
        )

    async def slow() -> Case:
        """A third of what real time takes."""
        hearing = await Hearing(daemon, "slow", paced=True).play(site.url("slow/long.mp3", rate=second // 3))
        await until(lambda: "ready" in hearing.types or hearing.over, "the first packet of a slow source", 20)
        await sleep(15)
        snapshot = await daemon.get("/session/slow/status") if not hearing.over else {"underruns": 0}
        await daemon.post("/session/slow/stop")
        await hearing.end(5)
        return case(
            f"slow, {snapshot['underruns']} underruns",
            hearing,
            (hearing.outcome == "stopped", hearing.outcome),
            (snapshot["underruns"] > 0, "no underruns"),
            (2 < hearing.seconds < 12, "seconds"),
        )

    async def expired_page() -> Case:
        url = site.url("page/expiring", bytes=5 * second)
        hearing = await Hearing(daemon, "expired-page", paced=True).play(url, duration=HEARD)
        await hearing.end()
        return case(
            "expired, page",
            hearing,
            whole(hearing),
            (hearing.types == ["ready", "recovered", "finished"], f"events {hearing.types}"),
            (2 <= len(site.asked("page/expiring")) <= 3, f"asked {len(site.asked('page/expiring'))} times"),
        )

    async def expired(code: int, outcome: str) -> Case:
        url = site.url("once403/long.mp3", bytes=5 * second, code=code)
        hearing = await Hearing(daemon, f"expired-{code}").play(url)
        end = await hearing.end()
        return case(
            f"expired, {code}",
            hearing,
            (hearing.outcome == outcome, hearing.outcome),
            (str(code) in getattr(end, "message", ""), getattr(end, "message", "")),
            (4 < end.played < 5.1, f"{end.played} s played"),
        )

    async def ranges_refused(name: str) -> Case:
        hearing = await Hearing(daemon, f"norange-{name}").play(site.url(f"norange/{name}"))
        await hearing.end()
        if name == "m4a.m4a":
            right = hearing.outcome == "not_seekable" or whole(hearing, media.SECONDS)[0]
            return case("no ranges, moov last", hearing, (right, hearing.outcome))
        return case(f"no ranges, {name}", hearing, whole(hearing, media.SECONDS))

    async def sought_without_ranges(name: str) -> Case:
        hearing = await Hearing(daemon, f"norange-seek-{name}").play(site.url(f"norange/{name}"), start_at=7)
        await hearing.end()
        right = hearing.outcome == "finished" and abs(hearing.seconds - (media.SECONDS - 7)) <= NEAR
        said = f"{hearing.outcome} after {hearing.seconds} s"
        return case(f"{name} from 7 s", hearing, (right, said), starts_at=7)

    async def length_lies(off: int) -> Case:
        """A kilobyte is 60 ms."""
        hearing = await Hearing(daemon, f"length{off}").play(site.url("length/mp3.mp3", off=off))
        await hearing.end()
        right = hearing.outcome == "finished" and abs(hearing.seconds - media.SECONDS) <= 0.1
        return case(f"length {off:+}", hearing, (right, f"{hearing.outcome} after {hearing.seconds} s"))

    async def pages() -> None:
        """The process that reads them stays."""
        hearing = await Hearing(daemon, "warm-page").play(site.url("page/audio"), duration=1)
        await hearing.end()
        await warm(daemon, site, 16)

    drops = [dropped(base, suffix) for base in ("http", "https") for suffix in ("mp3", "webm")]
    refused = [expired(403, "source_refused"), expired(404, "source_not_found"), expired(410, "source_not_found")]
    ranges = [ranges_refused("mp3.mp3"), ranges_refused("m4a.m4a"), *map(sought_without_ranges, IN_ORDER)]
    async with Round(daemon, warm=pages) as round:
        rows = [
            Row(4, "breaks off once, http and https, mp3 and webm", "whole, in its place, 1 s", drops),
            Row(
                5,
                "breaks off every time, with more each time; cut short for good",
                "source_ended_early with what was heard, never finished",
                [drops_always(), ends_early()],
            ),
            Row(6, "stalls for 30 s; for ever", "goes on; source_timeout in 40 s", [stalled(30), stalled(0)]),
            Row(
                7,
                "a header a second; a third of real time",
                "source_timeout in 15 s; underruns, nothing made up",
                [header_drip(), slow()],
            ),
            Row(
                8,
                "the URL expires: of a page; a direct one with 403, 404, 410",
                "looked up once, 5 s; source_refused, source_not_found",
                [expired_page(), *refused],
            ),
            Row(
                10,
                "no ranges: whole, sought in, moov last; a length of 1 kB too much or too little",
                "plays, or not_seekable; never finished with nothing",
                [*ranges, length_lies(1000), length_lies(-1000)],
            ),
        ]
        await play_out(round, rows)
