"""Every kind of media the site has, its pages and its streams: played to the end, sought in, described."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted

from audiosvc.ffmpeg.command import EXACT_SECONDS
from audiosvc.wire.messages import Metadata
from tests.integration.conftest import Start
from tests.integration.harness import Daemon, sleep
from tests.integration.hearing import Hearing, together
from tests.site import clock, media, pages, streams
from tests.site.media import KINDS, SECONDS, Kind
from tests.site.server import REACHES, Site

NEAR = 0.06
"""Seconds that a length or a position may be off."""

VBR_SECONDS = 0.004 * media.HOUR
"""The same for MP3 of a varying bit rate further on than `EXACT_SECONDS`, which is sought in by its table."""

START, PART = 5.2, 4.5
SEEK = 9.3
UNMEASURED = (
    *("mp3.mp3", "mp3-vbr.mp3", "aac.aac", "wav-piped.wav", "au-piped.au", "ogg.ogg", "opus.opus", "opus-chained.opus"),
    "ts.ts",
)
"""Media that do not say how long they are where their server does not either."""

BROKE_OFF = "source_ended_early"

SEEK_SECONDS = 1.0
"""Within which a seek is heard on a busy machine; on an idle one it is a third of that."""


async def heard(daemon: Daemon, site: Site, kind: Kind) -> tuple[str, list[str]]:
    """A line that tells how it went, and what was wrong."""
    wrong: list[str] = []

    def check(right: bool, what: str) -> None:
        if not right:
            wrong.append(f"{kind.name}: {what}")

    url = site.url(kind.path)
    whole = await Hearing(daemon, kind.name).play(url)
    await whole.end()
    check(whole.types == ["ready", "finished"], f"events {whole.types}, {whole.outcome}")
    if "ready" not in whole.types:
        return f"{kind.name:15} {whole.outcome}", wrong
    ready, off = whole.ready, whole.off(0, mono=kind.mono)
    check(abs(whole.seconds - SECONDS) <= NEAR, f"{whole.seconds} s long")
    check(abs(off) <= NEAR, f"off by {off:.3f} s")
    if kind.timed:
        check(
            ready.duration is not None and abs(ready.duration - SECONDS) <= kind.slack, f"said to be {ready.duration} s"
        )
    if kind.titled:
        check(
            (ready.title, ready.uploader) == (kind.title, "A Clock"),
            f"said to be {ready.title!r} by {ready.uploader!r}",
        )
    described = await daemon.get(f"/metadata?url={quote(url)}")
    known = (described["title"], described["duration"], described["is_playlist"])
    check(known == (ready.title, ready.duration, False), f"described as {known}")

    sought = await Hearing(daemon, kind.name).play(url)
    await sought.draw(20)
    took = await sought.seek(SEEK)
    await sought.end()
    check(sought.types == ["ready", "seeked", "finished"], f"events {sought.types}, {sought.outcome}")
    landed = sought.off(SEEK, mono=kind.mono)
    check(abs(landed) <= NEAR, f"sought {landed:.3f} s off")
    check(abs(sought.seconds - (SECONDS - SEEK)) <= 2 * NEAR, f"{sought.seconds} s left behind {SEEK} s")

    part = await Hearing(daemon, kind.name).play(url, start_at=START, duration=PART)
    await part.end()
    check(part.types == ["ready", "finished"], f"events {part.types}, {part.outcome}")
    begun = part.off(START, mono=kind.mono)
    check(abs(begun) <= NEAR, f"from {START} s {begun:.3f} s off")
    check(part.seconds == PART, f"{part.seconds} s of {PART}")
    for hearing in (whole, sought, part):
        hearing.client.close()
    line = (
        f"{kind.name:15} {whole.seconds:6.2f} s, said {ready.duration}, off {off * 1000:6.1f} ms, first packet"
        f" {whole.waited * 1000:4.0f} ms; to {SEEK} s: off {landed * 1000:6.1f} ms in {took * 1000:4.0f} ms;"
        f" {PART} s from {START}: {part.seconds} s, off {begun * 1000:6.1f} ms"
    )
    return line, wrong


@pytest_twisted.ensureDeferred
async def test_every_kind_has_its_length_its_title_and_its_places(start: Start, site: Site) -> None:
    daemon = await start(*REACHES, **site.trust)
    for kind in KINDS:
        media.find(kind.path.removeprefix("media/"))
    found = await together([heard(daemon, site, kind) for kind in KINDS], most=4)
    print("\n" + "\n".join(line for line, _ in found))
    direct = [hit for hit in site.hits if hit.headers.get("user-agent", "").startswith("Mozilla")]
    faults = [fault for _, wrong in found for fault in wrong]
    assert not faults, "\n".join(faults)
    assert direct == [], "media were taken for pages"


@pytest_twisted.ensureDeferred
async def test_what_says_nowhere_how_long_it_is_ends_where_it_does(start: Start, site: Site) -> None:
    daemon = await start(*REACHES, **site.trust)
    wrong: list[str] = []

    async def hear(name: str, base: str, what: str, seconds: float, at: float = 0.0, **body: float) -> None:
        """`what` belongs to the end of its session's name; `seek` is where to after the first packets."""
        seek = body.pop("seek", None)
        url = site.url(f"unmeasured/{name}", base, k=f"{base}-{what}")
        hearing = await Hearing(daemon, f"{name}-{base}-{what}").play(url, **body)
        if seek is not None:
            await hearing.draw(20)
            await hearing.seek(seek)
        await hearing.end()
        told = f"{name} {base} {what}: {hearing.outcome}, {hearing.seconds:.2f} s of {seconds}, {hearing.types}"
        off = hearing.off(at) if hearing.seconds else 0.0
        print(f"{told}, off {off * 1000:.1f} ms")
        expected = ["ready", "finished"] if seek is None else ["ready", "seeked", "finished"]
        near = abs(hearing.seconds - seconds) <= 2 * NEAR and abs(off) <= NEAR
        asked = len(site.asked(f"unmeasured/{name}?k={base}-{what}"))
        # A look, and each child; the look is remembered.
        children = 1 if seek is None else 2
        stated = hearing.ready.duration is not None
        if (hearing.types, near, stated, asked) != (expected, True, name not in UNMEASURED, 1 + children):
            wrong.append(f"{told}, asked for {asked} times")
        hearing.client.close()

    async def start_beyond(name: str) -> None:
        hearing = await Hearing(daemon, f"{name}-start").play(site.url(f"unmeasured/{name}"), start_at=SECONDS + 5)
        await hearing.end()
        if (hearing.types, hearing.outcome) != (["error"], "position_out_of_range"):
            wrong.append(f"{name} from behind its end: {hearing.types}, {hearing.outcome}")

    cases = []
    for name in (*UNMEASURED, "webm.webm"):
        media.content(name)
        cases += [
            hear(name, "http", "whole", SECONDS),
            hear(name, "http", "sought", SECONDS - SEEK, SEEK, seek=SEEK),
            hear(name, "http", "part", PART, START, start_at=START, duration=PART),
            hear(name, "http", "rest", SECONDS - START, START, start_at=START, duration=SECONDS),
        ]
    for name in UNMEASURED:
        cases += [
            hear(name, "http", "beyond", 0, seek=SECONDS + 5),
            hear(name, "http", "far", 0, seek=20_000),
            start_beyond(name),
        ]
    cases += [hear("mp3.mp3", "https", "sought", SECONDS - SEEK, SEEK, seek=SEEK)]
    print()
    await together(cases, most=4)
    assert not wrong, "\n".join(wrong)


@pytest_twisted.ensureDeferred
async def test_a_server_that_boasts_of_parts_is_not_believed(start: Start, site: Site) -> None:
    daemon = await start(*REACHES)
    wrong: list[str] = []

    async def hear(name: str, fault: str) -> None:
        for at in (0.0, SEEK):
            hearing = await Hearing(daemon, f"{name}-{fault}-{at:.0f}").play(site.url(f"{fault}/{name}"))
            if at:
                await hearing.draw(20)
                await hearing.seek(at)
            await hearing.end()
            off = hearing.off(at) if hearing.seconds else 0.0
            told = f"{name} {fault} from {at}: {hearing.outcome}, {hearing.seconds:.2f} s, off {off * 1000:.1f} ms"
            print(told)
            near = abs(hearing.seconds - (SECONDS - at)) <= 2 * NEAR and abs(off) <= NEAR
            if hearing.outcome != "finished" or "recovered" in hearing.types or not near:
                wrong.append(told)
            hearing.client.close()

    print()
    cases = []
    for name in ("mp3.mp3", "opus.opus", "ogg.ogg", "wav-piped.wav"):
        media.content(name)
        cases += [hear(name, "boast"), hear(name, "unmeasured-boast")]
    await together(cases, most=4)
    assert not wrong, "\n".join(wrong)


@pytest_twisted.ensureDeferred
async def test_nor_does_it_end_where_it_breaks_off(start: Start, site: Site) -> None:
    daemon = await start(*REACHES, **site.trust)
    wrong: list[str] = []

    async def hear(name: str, base: str, fault: str, expected: list[str], seconds: float) -> None:
        half = len(media.content(name)) // 2
        url = site.url(f"{fault}/{name}", base, k=base, bytes=half)
        hearing = await Hearing(daemon, f"{name}-{base}-{fault}").play(url)
        await hearing.end()
        off = hearing.off(0)
        told = f"{name} {base} {fault}: {hearing.outcome}, {hearing.seconds:.2f} s, {hearing.types}"
        print(f"{told}, off {off * 1000:.1f} ms, {len(site.asked(f'{fault}/{name}?k={base}&'))} requests")
        if (hearing.types, hearing.outcome) != (expected, "finished" if "finished" in expected else BROKE_OFF):
            wrong.append(told)
        elif abs(hearing.seconds - seconds) > (NEAR if seconds == SECONDS else 1) or abs(off) > NEAR:
            wrong.append(f"{told}: not all of it")
        hearing.client.close()

    recovered = ["ready", "recovered", "finished"]
    cases = [hear("mp3.mp3", "https", "unmeasured-torn", recovered, SECONDS)]
    for name in ("mp3.mp3", "opus.opus", "wav-piped.wav"):
        cases.append(hear(name, "http", "unmeasured-torn", recovered, SECONDS))
        cases.append(hear(name, "http", "unmeasured-drop", ["ready", "error"], SECONDS / 2))
    print()
    await together(cases, most=4)
    assert not wrong, "\n".join(wrong)


@pytest_twisted.ensureDeferred
async def test_an_hour_is_sought_in_at_once_wherever(start: Start, site: Site) -> None:
    daemon = await start(*REACHES)
    wrong, waits = [], []
    for name in media.HOURS:
        size = len(media.content(name))
        hearing = await Hearing(daemon, name).play(site.url(f"media/{name}"))
        await hearing.draw(5)
        told, asked = [], len(site.hits)
        for position in (1800.25, 61.5, 3590.5):
            took = await hearing.seek(position)
            await hearing.draw(49)
            exact = position <= EXACT_SECONDS or name != "hour-vbr.mp3"
            off = hearing.off(position, mono=True)
            waits.append(took)
            told.append(f"{off * 1000:6.1f} ms off in {took * 1000:4.0f} ms" if exact else f"in {took * 1000:4.0f} ms")
            if not ((abs(off) <= NEAR or not exact) and took <= SEEK_SECONDS):
                wrong.append(f"{name} to {position}: {told[-1]}")
        end = await hearing.end()
        sent = sum(hit.sent for hit in site.hits[asked:])
        print(f"{name:13} {'; '.join(told)}; {hearing.seconds:.2f} s left; {sent / size:.0%} of the file fetched")
        if abs(hearing.seconds - 9.5) > (2 * NEAR if exact else VBR_SECONDS) or type(end).__name__ != "Finished":
            wrong.append(f"{name}: {hearing.outcome} after {hearing.seconds} s of 9.5")
    print(f"seeks in an hour, median: {statistics.median(waits) * 1000:.0f} ms, longest {max(waits) * 1000:.0f} ms")
    assert not wrong, "\n".join(wrong)


@pytest_twisted.ensureDeferred
async def test_a_chained_file_is_heard_from_anywhere(start: Start) -> None:
    daemon = await start("--media-root", str(media.folder()))
    media.content("opus-chained.opus")
    for position, length in ((0.0, SECONDS), (2.0, SECONDS - 2), (7.99, SECONDS - 7.99), (12.5, SECONDS - 12.5)):
        hearing = await Hearing(daemon, "file").play("opus-chained.opus", start_at=position)
        await hearing.end()
        off = hearing.off(position)
        print(f"chained file from {position} s: {hearing.seconds} s, off {off * 1000:.1f} ms, {hearing.outcome}")
        assert (hearing.outcome, hearing.ready.duration) == ("finished", None)
        assert hearing.seconds == pytest.approx(length, abs=NEAR)
        assert abs(off) <= NEAR
    beyond = await Hearing(daemon, "file").play("opus-chained.opus", start_at=SECONDS + 1)
    await beyond.end()
    assert beyond.outcome == "position_out_of_range"


@pytest_twisted.ensureDeferred
async def test_pages_are_played_and_described(start: Start, site: Site) -> None:
    daemon = await start(*REACHES)
    by_schema = ("A clock, by schema.org", SECONDS, "A Clock")
    for page, (title, duration, uploader) in {
        "audio": (pages.TITLE, None, None),
        "video": (pages.TITLE, None, None),
        "og": (pages.TITLE, None, None),
        "json-ld": by_schema,
        "hls": (pages.TITLE, None, None),
    }.items():
        url = site.url(f"page/{page}")
        described = await daemon.get(f"/metadata?url={quote(url)}")
        assert described["title"].startswith(title), page
        assert described["duration"] in (None, pytest.approx(SECONDS, abs=0.1)), page
        assert described["is_playlist"] is False
        hearing = await Hearing(daemon, page).play(url)
        end = await hearing.end()
        assert hearing.types == ["ready", "finished"], end
        assert hearing.ready.url == url
        assert hearing.ready.title == described["title"], page
        assert hearing.ready.duration == pytest.approx(SECONDS, abs=0.1)
        assert hearing.seconds == pytest.approx(SECONDS, abs=NEAR)
        assert abs(hearing.off(0)) <= NEAR
        if duration is not None:
            assert (described["duration"], hearing.ready.uploader) == (duration, uploader)
        if page in ("og", "json-ld"):
            assert described["thumbnail"] == hearing.ready.thumbnail == site.url("cover.jpg")
        print(f"{page:8} {hearing.ready.title!r}, {hearing.waited * 1000:4.0f} ms to the first packet of a known page")


@pytest_twisted.ensureDeferred
async def test_playlists_of_pages_and_feeds_have_entries_that_play(start: Start, site: Site) -> None:
    daemon = await start(*REACHES)
    for page, titles in {
        "several": [f"{pages.TITLE} ({n})" for n in (1, 2, 3)],
        "feed": [f"Episode {name}" for name in pages.EPISODES],
    }.items():
        url = site.url(f"page/{page}")
        listed = await daemon.get(f"/playlist?url={quote(url)}")
        assert (listed["url"], listed["count"]) == (url, len(titles))
        assert [entry["title"] for entry in listed["entries"]] == titles
        described = await daemon.get(f"/metadata?url={quote(url)}")
        assert described["is_playlist"] is True
        for n, entry in enumerate(listed["entries"]):
            if page == "feed":
                assert entry["duration"] == SECONDS
            hearing = await Hearing(daemon, f"{page}-{n}").play(entry["url"])
            end = await hearing.end()
            assert (hearing.outcome, hearing.seconds) == ("finished", pytest.approx(SECONDS, abs=NEAR)), end
    single = await daemon.get(f"/playlist?url={quote(site.url('page/audio'))}")
    assert [entry["url"] for entry in single["entries"]] != []
    for path in ("metadata", "playlist"):
        status, answer = await daemon.request("GET", f"/{path}?url={quote(site.url('page/nothing'))}")
        assert (status, answer["code"]) == (502, "extraction_failed")
    for path in ("metadata", "playlist"):
        status, answer = await daemon.request("GET", f"/{path}?url={quote(site.url('status/404'))}")
        assert (status, answer["code"]) == (404, "source_not_found")
    nothing = await Hearing(daemon, "nothing").play(site.url("page/nothing"))
    assert (await nothing.end()).code == "extraction_failed"
    assert nothing.types == ["error"]


@pytest_twisted.ensureDeferred
async def test_streams_go_on_by_themselves(start: Start, site: Site) -> None:
    daemon = await start(*REACHES)
    media.content("piece.mp3"), media.content("live/whole.m3u8"), media.content("long.mp3")
    seconds = 16

    async def radio(name: str, **options: int) -> None:
        hearing = await Hearing(daemon, name, paced=True).play(site.url("radio", k=name, **options))
        await hearing.draw(seconds * 50)
        events: list[Any] = [event for event in hearing.events if isinstance(event, Metadata)]
        titles = [event.title for event in events]
        print(f"{name}: {hearing.ready.title!r}, then {titles}; gap {hearing.gap * 1000:.0f} ms; {set(hearing.types)}")
        assert hearing.ready.duration is None
        assert hearing.outcome == "playing"
        assert len(titles) >= 5
        assert set(titles) <= {streams.RADIO_TITLE.format(n) for n in range(20)}
        if not options:
            assert titles == sorted(set(titles), key=lambda title: int(title.split()[-1]))
        assert (await daemon.get(f"/session/{name}/status"))["title"] == titles[-1]

    async def live(name: str, stall: str) -> None:
        hearing = await Hearing(daemon, name, paced=True).play(site.url("live/index.m3u8", k=name, stall=stall))
        began = time.monotonic()
        await hearing.draw(50)
        while time.monotonic() < began + seconds + 4:
            await sleep(0.1)
        (edge,) = {hit.at for hit in site.asked(f"live/index.m3u8?k={name}")[:1]}
        told = [reading for _, reading in clock.readings(hearing.pcm)]
        now = hearing.times[-1]
        lag = now - edge + streams.WINDOW - told[-1]
        backwards = min(b - a for a, b in pairwise(told))
        print(f"{name}: from {told[0]:.1f} to {told[-1]:.1f}, {lag:.1f} s behind the edge, gap {hearing.gap:.1f} s")
        assert hearing.outcome == "playing"
        assert backwards > 0
        assert lag <= streams.WINDOW + 2
        assert now > time.monotonic() - 2

    async def endless() -> None:
        hearing = await Hearing(daemon, "endless", paced=True).play(site.url("endless/mp3.mp3"))
        await hearing.draw(300)
        before = daemon.rss()
        await hearing.draw((seconds - 6) * 50)
        (hit,) = [hit for hit in site.asked("endless") if hit.sent == max(h.sent for h in site.asked("endless"))]
        played = len(hearing.packets) / 50 * 16_000
        grown = daemon.rss() - before
        print(f"endless: {hit.sent - played:.0f} bytes ahead, memory {grown / 1e6:+.1f} MB, gap {hearing.gap:.3f} s")
        assert hearing.outcome == "playing"
        assert hit.sent <= played + 2 * 1024 * 1024 + SOCKETS
        assert grown < 8_000_000

    await together(
        [radio("radio"), radio("radio-dropped", drop=8), live("live", "0,0"), live("live-stalled", "5,6"), endless()]
    )


SOCKETS = 6 * 1024 * 1024
"""What the buffers of the sockets between hold on loopback."""
