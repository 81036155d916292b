"""Rows 19 to 21: no room on the disk, no descriptors, no processes."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest_twisted
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from audiosvc.wire.messages import Subscribe
from tests.faults.harness import Round
from tests.integration.conftest import Start
from tests.integration.harness import reactor, sleep, tone, until
from tests.integration.hearing import Hearing
from tests.integration.test_api_live import Raw
from tests.integration.test_threats import customized
from tests.site import media
from tests.site.server import REACHES, Site

ROOM = 64 * 1024
"""Bytes that may be written to a file where the disk is said to be full."""

NO_PROCESSES = """
import errno, os, pathlib
told = pathlib.Path({told!r})
def refused(real):
    def call(*args, **kwargs):
        if told.exists():
            raise OSError(getattr(errno, told.read_text()), os.strerror(getattr(errno, told.read_text())))
        return real(*args, **kwargs)
    return call
os.posix_spawnp, os.fork = refused(os.posix_spawnp), refused(os.fork)
"""
"""The kernel refuses processes while a file is there, with the error whose name is in it."""

FULL_LOG = """
import os, pathlib, threading, time
told = pathlib.Path({told!r})
def watch():
    while not told.exists():
        time.sleep(0.05)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, 1)
    os.close(full)
    told.unlink()
threading.Thread(target=watch, daemon=True).start()
"""
"""Standard output, where the log goes, becomes a full disk once a file is there, which is taken away then."""


@pytest_twisted.ensureDeferred
async def test_row_19_a_full_disk_costs_lines_and_kept_tracks_and_no_sound(
    start: Start, site: Site, tmp_path: Path
) -> None:
    temporary, kept = tmp_path / "t", tmp_path / "kept"
    temporary.mkdir()
    daemon: Any = await start(
        *REACHES, "--cache-size=64M", f"--cache-dir={kept}", "--log-level=debug", TMPDIR=str(temporary)
    )
    # No file may grow past this, wherever it is, as on a disk that is full: what is written beyond it fails.
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (ROOM, ROOM))
    url = site.url("media/mp3.mp3")
    async with Round(daemon) as round:
        heard = []
        for n in range(2):
            hearing = await Hearing(daemon, f"kept-{n}").play(url, format="opus")
            await hearing.end()
            heard.append((hearing.outcome, len(hearing.packets)))
        packets = heard[0][1]
        assert heard == [("finished", packets)] * 2
        assert abs(packets * 0.02 - media.SECONDS) < 0.1
        for _ in range(500):
            cache = (await daemon.get("/health"))["cache"]
            if cache["disk_errors"]:
                break
            await sleep(0.02)
        assert cache["disk_errors"] >= 1
        assert (cache["tracks"], cache["disk_tracks"]) == (1, 0)
        assert cache["hits"] >= 1
        assert [path.name for path in kept.rglob("*") if path.is_file() and path.stat().st_size] == []
        assert list(temporary.iterdir()) == []
        reasons = [reason["code"] for reason in (await daemon.get("/health"))["reasons"]]
        assert "cache_disk_errors" in reasons
        round.report(
            19,
            f"files may not grow past {ROOM // 1024} KiB: cache folder, TMPDIR",
            f"{packets} packets, twice; {cache['disk_errors']} track not written and told in /health, played from "
            "memory the second time; no file left",
            "sound unaffected, /health counts",
        )


@pytest_twisted.ensureDeferred
async def test_row_19_a_log_that_cannot_be_written_is_counted_and_nobody_waits(start: Start, tmp_path: Path) -> None:
    full = tmp_path / "full"
    daemon: Any = await start("--log-level=debug", **customized(tmp_path / "custom", FULL_LOG.format(told=str(full))))
    full.touch()
    await until(lambda: not full.exists(), "its log goes to a full disk")
    async with Round(daemon) as round:
        for n in range(30):
            await daemon.play(f"s-{n % 3}", tone(440 + n, 5))
            await daemon.post(f"/session/s-{n % 3}/stop")
        for _ in range(500):
            health = await daemon.get("/health")
            if health["log"]["dropped"]:
                break
            await sleep(0.02)
        assert health["log"]["dropped"] > 0
        assert (health["status"], "log_dropped" in [reason["code"] for reason in health["reasons"]]) == (
            "degraded",
            True,
        )
        round.report(
            19,
            "the log goes to /dev/full, 30 plays and stops",
            f"{health['log']['dropped']} lines dropped and counted, /health degraded: log_dropped",
            "sound unaffected, drops counted in /health",
        )


@pytest_twisted.ensureDeferred
async def test_row_20_without_descriptors_plays_are_refused_and_all_else_goes_on(start: Start, site: Site) -> None:
    daemon: Any = await start(*REACHES)
    _, most = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    async with Round(daemon) as round:
        await daemon.hang_up()
        client = await daemon.connect(Subscribe("s"))
        before = daemon.fds()
        used = max(int(path.name) for path in Path(f"/proc/{daemon.pid}/fd").iterdir()) + 1
        free = used - before
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (used + 4, most))
        refused = []
        urls = (tone(440, 5), "demo:prelude", site.url("media/mp3.mp3"), site.url("page/audio"))
        for n in range(50):
            status, answer = await daemon.post("/session/s/play", {"url": urls[n % len(urls)]})
            refused.append((status, answer["code"]))
        assert set(refused) == {(503, "no_fds")}
        looked = [await daemon.request("GET", f"/metadata?url={url}") for url in urls[2:]]
        assert {answer["code"] for _, answer in looked} <= {"no_fds", "extraction_unavailable"}, looked
        health = await daemon.get("/health")
        assert "no_fds" in [reason["code"] for reason in health["reasons"]]
        assert health["sessions"]["streaming"] == len(round.bystanders.urls)
        # Past the last descriptor a connection is closed at once, and the next one is taken when there is one again.
        await daemon.hang_up()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", daemon.port)
        held = [await connectProtocol(endpoint, Raw()) for _ in range(4 + free + 4)]
        await until(lambda: sum(raw.lost for raw in held) >= 2, "those that find no descriptor are let go")
        closed = sum(raw.lost for raw in held)
        for raw in held:
            raw.transport.abortConnection()
        await until(lambda: daemon.fds() <= before + 2, "nothing is left of them")
        leaked = daemon.fds() - before
        assert (await daemon.get("/health"))["children"] == len(round.bystanders.urls)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (most, most))
        await daemon.play("s", tone(440, 1))
        await client.hears("s", "finished")
        await round.as_alone(client, "s", tone(440, 1))
        round.report(
            20,
            f"RLIMIT_NOFILE = used + 4 ({before} open), 50 plays of 4 kinds, {len(held)} connections",
            f"50 x 503 no_fds, /metadata {[answer['code'] for _, answer in looked]}, {closed} "
            f"connections closed, {leaked:+d} descriptors, plays again once raised",
            "503 no_fds, no leak, accept goes on, works again",
        )


@pytest_twisted.ensureDeferred
async def test_row_21_no_process_to_be_had_fails_that_play_alone(start: Start, site: Site, tmp_path: Path) -> None:
    refuses = tmp_path / "refuses"
    code = NO_PROCESSES.format(told=str(refuses))
    daemon: Any = await start(*REACHES, **customized(tmp_path / "custom", code))
    urls = {"tone": tone(440, 2), "file": "demo:prelude", "web": site.url("media/mp3.mp3")}

    async def warm() -> None:
        await (await Hearing(daemon, "warm").play(urls["web"])).end()

    async with Round(daemon, warm=warm) as round:
        codes = []
        for name in ("EAGAIN", "ENOMEM", "EMFILE"):
            refuses.write_text(name)
            for session_id, url in urls.items():
                # Passed on as it is, a piece takes no process; at another volume it does.
                hearing = await Hearing(daemon, session_id).play(url, volume=0.5)
                end: Any = await hearing.end()
                assert hearing.types == ["error"]
                expected = "no_fds" if name == "EMFILE" else "spawn_failed"
                assert end.code == expected, (name, session_id, end)
                codes.append(end.code)
                assert os.strerror(getattr(errno, name)) in end.message
                assert (await daemon.request("GET", f"/session/{session_id}/status"))[0] == 404
            status, answer = await daemon.request("GET", f"/metadata?url={site.url('page/nothing', n=name)}")
            assert (status, answer["code"]) == (422, "extraction_unavailable")
            refuses.unlink()
            again = await Hearing(daemon, "again").play(tone(440, 1))
            await again.end()
            assert (again.outcome, len(again.packets)) == ("finished", 50)
        health = await daemon.get("/health")
        assert health["spawn_failures"] == len(codes)
        assert "spawn_failures" in [reason["code"] for reason in health["reasons"]]
        round.report(
            21,
            "posix_spawn and fork give EAGAIN, ENOMEM, EMFILE for a tone, a file and a URL; a page",
            f"{len(codes)} plays, each one error event: {sorted(set(codes))}; the page extraction_unavailable; the "
            "next play plays",
            "spawn_failed, no half session, the next plays",
        )
