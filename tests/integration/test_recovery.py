"""Sources and children that fail in the middle of a track: what was heard, what was missed, what was told.

All cases of a test run at once on one daemon. Each prints a line: how it ended, seconds heard, the longest silence, how
far the sound was off its place at worst, and the events.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest_twisted

from audiosvc.audio import FRAME_SAMPLES, SAMPLE_RATE
from tests.integration.conftest import Start
from tests.integration.harness import Daemon, sleep, tone, until
from tests.integration.hearing import Hearing, together
from tests.site import media
from tests.site.server import REACHES, Site

NEAR = 0.06
FRAME = FRAME_SAMPLES / SAMPLE_RATE

HEARD = 9
"""Seconds played of a track that lasts longer, where its end does not matter."""

IN_ORDER = ("mp3.mp3", "ogg.ogg", "opus-chained.opus", "webm.webm", "m4a-fast.m4a", "flac.flac", "wav.wav")
"""Media that can be read from their beginning on, and so without parts of them to be asked for."""

BYTES_A_SECOND = 24_000
"""Of `long.mp3`."""


def children_of(daemon: Daemon, mark: str) -> list[int]:
    """The FFmpegs that have `mark` in their command line."""
    found = []
    for pid in daemon.live_children():
        with contextlib.suppress(OSError):
            if mark.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


async def signalled(daemon: Daemon, mark: str, number: signal.Signals) -> None:
    """Send it to the one child that plays what has `mark` in its URL."""
    (pid,) = await until(lambda: children_of(daemon, mark), f"a child that plays {mark}")
    os.kill(pid, number)


Look = Callable[[], "list[str]"]
"""Prints a line, and returns what is not as it must be; for when nobody is timed any more."""


def faults(name: str, hearing: Hearing, *expected: tuple[bool, str], starts_at: float = 0) -> Look:
    """`expected` holds what must be true, each with what to say if it is not. The sound is in its place in any case."""

    def look() -> list[str]:
        off = hearing.off(starts_at) if hearing.packets else 0.0
        line = f"{name:22} {hearing.outcome:20} {hearing.seconds:6.2f} s, gap {hearing.gap:5.2f} s"
        print(f"{line}, off {off * 1000:5.1f} ms = {round(off * SAMPLE_RATE):4} samples, {', '.join(hearing.types)}")
        wrong = [f"{name}: {what}" for right, what in expected if not right]
        if not abs(off) <= NEAR:
            wrong.append(f"{name}: off by {off:.3f} s")
        ends = [kind for kind in hearing.types if kind in ("finished", "stopped", "error")]
        if len(ends) != 1:
            wrong.append(f"{name}: ended {ends}")
        return wrong

    return look


def whole(hearing: Hearing, seconds: float = HEARD) -> tuple[bool, str]:
    right = hearing.outcome == "finished" and abs(hearing.seconds - seconds) <= FRAME + 1e-9
    return right, f"{hearing.outcome} after {hearing.seconds} s of {seconds}"


async def listened_to_by(daemon: Daemon, clients: int) -> None:
    end = time.monotonic() + 5
    while (served := await daemon.connections()) != clients:
        assert time.monotonic() < end, f"{served} connections are left"
        await sleep(0.02)


async def run(daemon: Daemon, cases: list[Awaitable[Look]]) -> None:
    """All of them at once, beside a session that must not notice; then everything is as it was before."""
    other = await Hearing(daemon, "other", paced=True).play(tone(440, 600))
    await other.draw(1)
    threads, fds = daemon.threads(), daemon.fds()
    looks = await together(cases)
    gap = other.gap + FRAME
    print()
    wrong = [fault for look in looks for fault in look()]
    print(f"another session's longest gap meanwhile: {gap * 1000:.0f} ms")
    for client in daemon.clients:
        if client is not other.client:
            client.close()
    await listened_to_by(daemon, 1)
    await until(lambda: len(children_of(daemon, "ffmpeg")) == 1 and not daemon.zombies(), "the children are gone", 5)
    began = time.monotonic()
    health = await daemon.get("/health")
    print(
        f"/health in {(time.monotonic() - began) * 1000:.0f} ms: {health['sessions']},"
        f" threads {threads} -> {daemon.threads()}"
    )
    assert not wrong, "\n".join(wrong)
    assert other.types == ["ready"]
    # The gap is this process's as well, which serves the site; what the daemon had to give was there in time.
    assert (await daemon.get("/session/other/status"))["underruns"] == 0
    assert health["sessions"]["streaming"] == 1
    # What stays are workers that read pages, with three pipes each.
    await until(lambda: daemon.fds() <= fds + 2 + 3 * daemon.workers(), "what was opened is closed", 5)


# --- the child -------------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_child_that_dies_or_hangs_is_replaced_where_it_was(start: Start, site: Site) -> None:
    daemon = await start(*REACHES, "--media-root", str(media.folder()))
    for suffix in ("flac", "mp3", "webm", "opus", "m4a"):
        media.content(f"long.{suffix}")
    media.content("long-chained.opus")
    lossless = media.content(f"signal-{media.LONG}.wav")[44:][: HEARD * SAMPLE_RATE * 4]

    async def killed(suffix: str, number: int) -> Look:
        """Twice each; in all 20 kills. Lossless media must not be one sample off."""
        name = f"killed {suffix} {number}"
        url = site.url(f"media/long.{suffix}", k=f"{suffix}{number}x")
        hearing = await Hearing(daemon, f"killed-{suffix}-{number}", paced=True).play(url, duration=HEARD)
        for at in (3, 6):
            await hearing.draw(at * 50 - len(hearing.packets))
            await signalled(daemon, f"k={suffix}{number}x", signal.SIGKILL)
        await hearing.end()
        exact = suffix != "flac" or hearing.pcm == lossless
        return faults(
            name,
            hearing,
            whole(hearing),
            (hearing.types == ["ready", "recovered", "recovered", "finished"], f"events {hearing.types}"),
            (hearing.gap <= 1.0, f"silent for {hearing.gap:.2f} s"),
            (exact, "not the same samples"),
        )

    async def killed_file() -> Look:
        hearing = await Hearing(daemon, "killed-file", paced=True).play("long.flac", duration=HEARD)
        await hearing.draw(200)
        await signalled(daemon, "file:", signal.SIGKILL)
        await hearing.end()
        right = hearing.pcm == lossless
        return faults("killed, a file", hearing, whole(hearing), (right, "not the same samples"))

    async def killed_in_a_chain() -> Look:
        """Across the end of the first of its streams."""
        at = media.LONG / 2 - 4
        url = site.url("media/long-chained.opus", k="chain")
        hearing = await Hearing(daemon, "killed-chain", paced=True).play(url, start_at=at, duration=HEARD)
        for seconds in (3, 6):
            await hearing.draw(seconds * 50 - len(hearing.packets))
            await signalled(daemon, "k=chain", signal.SIGKILL)
        await hearing.end()
        right = hearing.types == ["ready", "recovered", "recovered", "finished"]
        return faults("killed, chained", hearing, whole(hearing), (right, f"events {hearing.types}"), starts_at=at)

    async def killed_always() -> Look:
        """As soon as it is there: no progress, and so an end."""
        hearing = await Hearing(daemon, "killed-always").play(site.url("media/long.mp3", k="always"))
        await hearing.draw(100)
        killed: set[int] = set()

        async def kill() -> None:
            while not hearing.over:
                for pid in children_of(daemon, "k=always"):
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
                await sleep(0.002)

        await together([kill(), hearing.draw()])
        return faults(
            "killed always",
            hearing,
            (hearing.outcome == "decoder_failed", hearing.outcome),
            (3 <= len(killed) <= 6, f"{len(killed)} children were killed"),
        )

    async def hung() -> Look:
        url = site.url("media/long.mp3", k="hung")
        hearing = await Hearing(daemon, "hung", paced=True).play(url, duration=HEARD)
        await hearing.draw(150)
        await signalled(daemon, "k=hung", signal.SIGSTOP)
        await hearing.end()
        return faults(
            "hung",
            hearing,
            whole(hearing),
            (hearing.types == ["ready", "recovered", "finished"], f"events {hearing.types}"),
            (hearing.gap <= 12, f"silent for {hearing.gap:.2f} s"),
        )

    kills = [killed(suffix, number) for suffix in ("flac", "mp3", "webm", "opus", "m4a") for number in (1, 2)]
    await run(daemon, [*kills, killed_file(), killed_in_a_chain(), killed_always(), hung()])


# --- the source ------------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_source_that_fails_is_taken_up_again_or_given_up_with_its_reason(start: Start, site: Site) -> None:
    daemon = await start(*REACHES, **site.trust)
    for name in ("long.mp3", "long.webm", "m4a.m4a", *IN_ORDER):
        media.content(name)
    second = BYTES_A_SECOND

    async def dropped(base: str, suffix: str) -> Look:
        rate = len(media.content(f"long.{suffix}")) / media.LONG
        url = site.url(f"droponce/long.{suffix}", base, bytes=int(5 * rate))
        hearing = await Hearing(daemon, f"dropped-{base}-{suffix}", paced=True).play(url, duration=HEARD)
        await hearing.end()
        return faults(f"drops once, {base} {suffix}", hearing, whole(hearing), (hearing.gap <= 1, f"gap {hearing.gap}"))

    async def drops_always() -> Look:
        """But honours Range, so that each time there is some more."""
        url = site.url("drop/long.mp3", bytes=2 * second)
        hearing = await Hearing(daemon, "drops-always", paced=True).play(url, duration=HEARD)
        end = await hearing.end()
        early = hearing.outcome == "source_ended_early" and end.played < HEARD
        return faults("drops always", hearing, (whole(hearing)[0] or early, f"{hearing.outcome} after {end.played} s"))

    async def ends_early() -> Look:
        hearing = await Hearing(daemon, "ends-early").play(site.url("cut/long.mp3", bytes=5 * second))
        end = await hearing.end()
        return faults(
            "ends early",
            hearing,
            (hearing.outcome == "source_ended_early", hearing.outcome),
            (4 < end.played < 5.1 and hearing.seconds == end.played, f"{end.played} s played"),
            (abs((getattr(end, "duration", None) or 0) - media.LONG) < 0.1, "its duration is not told"),
        )

    async def stalled(seconds: int) -> Look:
        url = site.url("stall/long.mp3", bytes=5 * second, seconds=seconds)
        hearing = await Hearing(daemon, f"stalled-{seconds}", paced=True).play(url, duration=HEARD)
        end = await hearing.end(patience=90)
        took = time.monotonic() - hearing.times[-1] if hearing.packets else 99.0
        if seconds:
            return faults(f"stalls for {seconds} s", hearing, whole(hearing))
        return faults(
            "stalls for ever",
            hearing,
            (hearing.outcome == "source_timeout", hearing.outcome),
            (took <= 42, f"{took:.0f} s after its last sound"),
            (3 < end.played < 6, f"{end.played} s played"),
        )

    async def header_drip() -> Look:
        hearing = await Hearing(daemon, "header-drip").play(site.url("hdrdrip/long.mp3"))
        await hearing.end()
        took = time.monotonic() - hearing.began
        return faults(
            f"header drip, {took:.1f} s",
            hearing,
            (hearing.types == ["error"] and hearing.outcome == "source_timeout", hearing.outcome),
            (took <= 17, f"{took} s"),
        )

    async def slow() -> Look:
        """A third of what real time takes."""
        hearing = await Hearing(daemon, "slow", paced=True).play(site.url("slow/long.mp3", rate=second // 3))
        await until(lambda: "ready" in hearing.types or hearing.over, "the first packet of a slow source", 20)
        await sleep(15)
        snapshot = await daemon.get("/session/slow/status") if not hearing.over else {"underruns": 0}
        await daemon.post("/session/slow/stop")
        await hearing.end(5)
        return faults(
            f"slow, {snapshot['underruns']} underruns",
            hearing,
            (hearing.outcome == "stopped", hearing.outcome),
            (snapshot["underruns"] > 0, "no underruns"),
            (2 < hearing.seconds < 12, "seconds"),
        )

    async def expired_page() -> Look:
        url = site.url("page/expiring", bytes=5 * second)
        hearing = await Hearing(daemon, "expired-page", paced=True).play(url, duration=HEARD)
        await hearing.end()
        return faults(
            "expired, page",
            hearing,
            whole(hearing),
            (hearing.types == ["ready", "recovered", "finished"], f"events {hearing.types}"),
            (hearing.gap <= 5, f"silent for {hearing.gap:.2f} s"),
            (2 <= len(site.asked("page/expiring")) <= 3, f"asked {len(site.asked('page/expiring'))} times"),
        )

    async def expired(code: int, outcome: str) -> Look:
        url = site.url("once403/long.mp3", bytes=5 * second, code=code)
        hearing = await Hearing(daemon, f"expired-{code}").play(url)
        end = await hearing.end()
        return faults(
            f"expired, {code}",
            hearing,
            (hearing.outcome == outcome, hearing.outcome),
            (str(code) in getattr(end, "message", ""), getattr(end, "message", "")),
            (4 < end.played < 5.1, f"{end.played} s played"),
        )

    async def ranges_refused(name: str) -> Look:
        hearing = await Hearing(daemon, f"norange-{name}").play(site.url(f"norange/{name}"))
        await hearing.end()
        if name == "m4a.m4a":
            right = hearing.outcome == "not_seekable" or whole(hearing, media.SECONDS)[0]
            return faults("no ranges, moov last", hearing, (right, hearing.outcome))
        return faults(f"no ranges, {name}", hearing, whole(hearing, media.SECONDS))

    async def sought_without_ranges(name: str) -> Look:
        hearing = await Hearing(daemon, f"norange-seek-{name}").play(site.url(f"norange/{name}"), start_at=7)
        await hearing.end()
        right = hearing.outcome == "finished" and abs(hearing.seconds - (media.SECONDS - 7)) <= NEAR
        said = f"{hearing.outcome} after {hearing.seconds} s"
        return faults(f"{name} from 7 s", hearing, (right, said), starts_at=7)

    async def length_lies(off: int) -> Look:
        """A kilobyte is 60 ms."""
        hearing = await Hearing(daemon, f"length{off}").play(site.url("length/mp3.mp3", off=off))
        await hearing.end()
        right = hearing.outcome == "finished" and abs(hearing.seconds - media.SECONDS) <= 0.1
        return faults(f"length {off:+}", hearing, (right, f"{hearing.outcome} after {hearing.seconds} s"))

    await run(
        daemon,
        [
            *(dropped(base, suffix) for base in ("http", "https") for suffix in ("mp3", "webm")),
            drops_always(),
            ends_early(),
            stalled(30),
            stalled(0),
            header_drip(),
            slow(),
            expired_page(),
            expired(403, "source_refused"),
            expired(404, "source_not_found"),
            expired(410, "source_not_found"),
            ranges_refused("mp3.mp3"),
            ranges_refused("m4a.m4a"),
            *(sought_without_ranges(name) for name in IN_ORDER),
            length_lies(1000),
            length_lies(-1000),
        ],
    )
