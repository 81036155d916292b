"""Rows 31 to 33: names, certificates, and the programs that read pages."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.web.resource import Resource
from twisted.web.server import Site as WebFactory

from tests.faults.harness import Round
from tests.integration.conftest import Start
from tests.integration.harness import reactor, until
from tests.integration.hearing import Hearing, together
from tests.integration.test_threats import customized
from tests.site import media
from tests.site.server import PUBLIC, REACHES, Site

FIXTURES = Path(__file__).parents[1] / "fixtures"

NAMES = """
import json, socket, time
table = json.loads({table!r})
real = socket.getaddrinfo
def getaddrinfo(host, port, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    what = table.get(name.partition("-")[0])
    if what is None:
        return real(host, port, *args, **kwargs)
    if isinstance(what, str):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (what, port or 0))]
    if what > 0:
        time.sleep(what)
        what = socket.EAI_AGAIN
    raise socket.gaierror(what, "as it is told to")
socket.getaddrinfo = getaddrinfo
"""
"""Name servers: by the first word of a name an address, an error (negative) or seconds until nothing is answered."""

NONAME, AGAIN, FAIL = -2, -3, -4
"""glibc's EAI_NONAME (NXDOMAIN), EAI_AGAIN (no server answers), EAI_FAIL (SERVFAIL)."""

STAND_IN = """
import sys
from audiosvc.extract import extractors, pool
extractors.worker_argv = lambda: {argv!r}
pool.CALL_SECONDS = {seconds!r}
pool.START_SECONDS = {seconds!r}
"""


@pytest_twisted.ensureDeferred
async def test_row_31_names_that_are_not_answered_hold_up_nobody(start: Start, site: Site, tmp_path: Path) -> None:
    hangs = 8
    table = json.dumps({"good": PUBLIC, "none": NONAME, "again": AGAIN, "fails": FAIL, "hangs": hangs})
    daemon = await start(*REACHES, **customized(tmp_path / "custom", NAMES.format(table=table)))
    port = site.url("").split(":")[2].strip("/")

    async def tried(name: str) -> tuple[str, Hearing, float]:
        hearing = await Hearing(daemon, name).play(f"http://{name}.example:{port}/media/mp3.mp3")
        await hearing.end()
        return name, hearing, time.monotonic() - hearing.began

    async def warm() -> None:
        await tried("good-warm")

    async with Round(daemon, warm=warm) as round:
        names = ("none", "again", "fails", *(f"hangs-{n}" for n in range(20)), "good-amid", "good-too")
        found = await together([tried(name) for name in names])
        for name, hearing, _ in found:
            expected = "finished" if name.startswith("good") else "source_unreachable"
            assert hearing.outcome == expected, (name, hearing.events)
        # As many more at once find threads for their look-ups all the same.
        _, good, _ = await tried("good-after")
        assert (good.outcome, good.seconds) == ("finished", pytest.approx(media.SECONDS, abs=0.06))
        failed = {name: took for name, _, took in found if not name.startswith("good")}
        at_once = max(took for name, took in failed.items() if not name.startswith("hangs"))
        round.report(
            31,
            f"NXDOMAIN, EAI_AGAIN, SERVFAIL, and 20 names at once that take {hangs} s",
            f"{len(failed)} x source_unreachable, after {at_once:.2f} s, and {max(failed.values()):.2f} s where "
            "nothing is answered; other names play meanwhile",
            "failed within 6 s, encoders unaffected",
        )


@pytest_twisted.ensureDeferred
async def test_row_32_a_server_that_cannot_prove_who_it_is_is_not_heard(start: Start, site: Site) -> None:
    daemon = await start(*REACHES, **site.trust)

    async def tried(name: str, url: str) -> tuple[str, Hearing, Any, float]:
        hearing = await Hearing(daemon, name).play(url)
        end = await hearing.end()
        return name, hearing, end, time.monotonic() - hearing.began

    async def warm() -> None:
        await tried("warm", site.url("media/mp3.mp3", "https"))

    bases = ("self-signed", "wrong-host", "expired", "mute")
    async with Round(daemon, warm=warm) as round:
        direct = [tried(base, site.url("media/mp3.mp3", base)) for base in bases]
        listed = [
            tried(f"hls-{base}", site.url("hostile/segment-at.m3u8", base=site.url("", base).rstrip("/")))
            for base in bases
        ]
        good = tried("good", site.url("media/mp3.mp3", "https"))
        good_hls = tried("hls-good", site.url("hostile/segment-at.m3u8", base=site.url("", "https").rstrip("/")))
        found = await together([*direct, *listed, good, good_hls])
        print()
        for name, hearing, end, took in found:
            print(f"{name:16} {hearing.outcome} after {took:.1f} s: {getattr(end, 'message', '')}")
        *bad, (_, right, _, _), (_, segments, _, _) = found
        assert (right.outcome, segments.outcome) == ("finished", "finished")
        assert {name: hearing.types for name, hearing, _, _ in bad if hearing.types != ["error"]} == {}
        codes = {name: hearing.outcome for name, hearing, _, _ in bad}
        assert set(codes.values()) == {"source_unreachable"}, codes
        times = {name: took for name, _, _, took in bad}
        late = {name: f"{took:.1f} s" for name, took in times.items() if took > 6}
        round.report(
            32,
            "self-signed, wrong host, expired, no handshake; the same for an HLS segment",
            f"{len(bad)} x an error and nothing heard, slowest {max(times.values()):.1f} s; past 6 s: {late or 'none'}",
            "failed within 6 s",
        )


class Page(Resource):
    """The same page wherever one looks."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        request.setHeader("Content-Type", "text/html")
        return b"<!doctype html><html><head><title>x</title></head><body>" + b"<p>text</p>" * 50 + b"</body></html>"


def stand_in(tmp_path: Path, url: str, mark: str) -> Path:
    """An odd worker that finds `url`, starts a child with `mark` in its command line, and is called as ours is."""
    path = tmp_path / "stand-in" / "audiosvc" / "extract" / "worker.py"
    path.parent.mkdir(parents=True)
    text = (FIXTURES / "odd_worker.py").read_text()
    path.write_text(text.replace("http://media.example/a.mp3", url).replace("3600", mark))
    return path


def with_mark(mark: str) -> int:
    """Processes with it in their command line as a word."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            count += mark.encode() in path.read_bytes().split(b"\0")
    return count


@pytest.mark.parametrize("seconds", [4.0, pytest.param(20.0, marks=pytest.mark.slow)])
@pytest_twisted.ensureDeferred
async def test_row_33_a_yt_dlp_that_goes_wrong_costs_its_own_page(
    start: Start, site: Site, tmp_path: Path, seconds: float
) -> None:
    mark = f"36{os.getpid()}{int(seconds)}"
    worker = stand_in(tmp_path, site.url("media/mp3.mp3"), mark)
    argv = ["python3", "-I", str(worker), "child"]
    code = STAND_IN.format(argv=argv, seconds=seconds)
    daemon: Any = await start(*REACHES, **customized(tmp_path / "custom", code))
    pages = reactor.listenTCP(0, WebFactory(Page()), interface=PUBLIC)
    base = f"http://{PUBLIC}:{pages.getHost().port}"

    async def tried(what: str, path: str) -> tuple[str, Hearing, float]:
        hearing = await Hearing(daemon, path.replace("/", "-")).play(f"{base}/{path}")
        await hearing.end(seconds * 3 + 60)
        return what, hearing, time.monotonic() - hearing.began

    async def warm() -> None:
        await tried("fine", "warm/fine")

    async with Round(daemon, warm=warm) as round:
        odd = ("exit", "crash", "flood", "noise", "null", "types", "other", "complaints", "hang")
        found = await together([tried(what, f"x/{what}") for what in odd], most=2)
        codes = {what: hearing.outcome for what, hearing, _ in found}
        assert codes == {what: "extraction_timeout" if what == "hang" else "extraction_failed" for what in odd}
        assert {what: hearing.types for what, hearing, _ in found if hearing.types != ["error"]} == {}
        direct = await Hearing(daemon, "direct").play(site.url("media/mp3.mp3"))
        await direct.end()
        _, fine, _ = await tried("fine", "y/fine")
        assert (direct.outcome, fine.outcome, fine.seconds) == ("finished", "finished", direct.seconds)
        health = await daemon.get("/health")
        # Each of them had a child, which is gone with it.
        await until(lambda: with_mark(mark) == daemon.workers(), "what they started is gone")
        times = {what: took for what, _, took in found}
        round.report(
            33,
            f"yt-dlp: {', '.join(odd)} (deadline {seconds:g} s)",
            f"{sorted(set(codes.values()))}, the hang after {times.pop('hang'):.1f} s, the others after "
            f"{max(times.values()):.1f} s at most; {health['extractors']['restarts']} replaced, their children gone; "
            "direct URLs and other pages play",
            "an error within 21 s, all they started killed",
        )
    await pages.stopListening()


@pytest_twisted.ensureDeferred
async def test_row_33_without_yt_dlp_pages_are_refused_and_direct_urls_play(
    start: Start, site: Site, tmp_path: Path
) -> None:
    code = STAND_IN.format(argv=["/nonexistent/python", "worker.py"], seconds=4.0)
    daemon: Any = await start(*REACHES, **customized(tmp_path / "custom", code))

    async def warm() -> None:
        await (await Hearing(daemon, "warm").play(site.url("media/mp3.mp3"))).end()

    async with Round(daemon, warm=warm) as round:
        told = []
        for n in range(3):
            page = await Hearing(daemon, f"page-{n}").play(site.url("page/audio", n=n))
            await page.end()
            told.append((page.outcome, f"{time.monotonic() - page.began:.2f} s"))
        assert {outcome for outcome, _ in told} == {"extraction_unavailable"}
        direct = await Hearing(daemon, "direct").play(site.url("media/mp3.mp3"))
        await direct.end()
        assert direct.outcome == "finished"
        health = await daemon.get("/health")
        codes = [reason["code"] for reason in health["reasons"]]
        assert (health["status"], "extractors_unavailable" in codes) == ("degraded", True)
        round.report(
            33, "yt-dlp is not there", f"{told}; /health degraded: {codes}; direct URLs play", "as above, degraded"
        )
