"""Sources out to get in, to fill the memory, or to keep the daemon busy for ever.

127.0.0.1 is the world here, and 127.0.0.2 the network behind the daemon, where something listens and counts.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted
from twisted.internet.task import LoopingCall

from tests.integration.conftest import Start
from tests.integration.harness import Daemon, sleep, tone
from tests.integration.hearing import Hearing, together
from tests.net.test_addresses import OWN, REFUSED, SPELLINGS
from tests.site import attacks, hostile, media
from tests.site.opened import Opened
from tests.site.server import INTERNAL, REACHES, Site

CHILD_MOST = 300_000_000
GROWTH_MOST = 10_000_000
"""Bytes of memory that a child may have at most, and that the daemon may gain, whatever it is given to play."""

REQUESTS_MOST = 64
"""Requests to an origin before the first of the sound."""

FORMS = (
    *(
        f"[{text}]" if ":" in text and not text.startswith("[") else text
        for text in (*SPELLINGS, *REFUSED)
        if str(OWN) not in text
    ),
    *("127\u30020.0.2", "[::127.0.0.2]", "[64:ff9b::7f00:2]", "[2002:7f00:2::]", "[2001:0:7f00:2::]"),
)
"""Hosts that are not the world's, in every way to write one; a packet is sent to none of them."""

ODD = (
    "good.example@127.0.0.2",
    "127.0.0.2%2f@good.example",
    "127.0.0.2\\@good.example",
    "127.0.0.2 ",
    "[fe80::1%25lo]",
    "good.example:80@127.0.0.2",
)
"""Such as are no host at all, and are refused for that."""


BLOCKED = (422, "blocked_address")

LATER = ("later-segment.m3u8", "segment-redirect.m3u8")
"""Ways in that begin as a playlist should."""


def proxies(internal: str) -> dict[str, str]:
    """What a daemon's own environment might hold, to lead its children astray."""
    names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY")
    return {"no_proxy": "*", "NO_PROXY": "*", **dict.fromkeys(names, internal)}


def ways_in(site: Site) -> dict[str, str]:
    internal = site.url("media/mp3.mp3", "internal")
    names = attacks.ways_in(INTERNAL)
    redirects = {f"redirect-{code}": site.url("redirect", to=internal, code=code) for code in (301, 302, 303, 307, 308)}
    return {
        **{name: site.url(f"hostile/{name}") for name in names},
        **redirects,
        "redirect-5": site.url("redirect", to=internal, times=5),
        "redirect-page": site.url("redirect", to=site.url("page/audio", "internal")),
        "redirect-playlist": site.url("redirect", to=site.url("media/hls/index.m3u8", "internal")),
        "redirect-to-way-in": site.url("redirect", to=site.url("hostile/key.m3u8")),
    }


@pytest.mark.parametrize(("isolation", "astray"), [("off", False), ("off", True), ("auto", False), ("auto", True)])
@pytest_twisted.ensureDeferred
async def test_nothing_leads_inside(start: Start, site: Site, isolation: str, astray: bool) -> None:
    environ = proxies(site.url("", "internal")) if astray else {}
    daemon = await start(*REACHES, "--isolation", isolation, **environ)
    reference = await daemon.alone(tone(440, 3), format="pcm")
    other = await Hearing(daemon, "other", paced=True).play(tone(440, 3))

    async def tried(name: str, url: str) -> tuple[str, str, str]:
        hearing = await Hearing(daemon, name).play(url)
        end = await hearing.end()
        return name, hearing.outcome, getattr(end, "message", "")

    found = await together([tried(name, url) for name, url in ways_in(site).items()], most=6)
    good = await Hearing(daemon, "good").play(site.url("media/mp3.mp3"))
    await good.end()
    await other.end()
    print(f"\nisolation {isolation}, proxies in its environment: {astray}")
    print("\n".join(f"  {name:20} {code}: {message}" for name, code, message in found))
    print(f"  requests inside: {len(site.internal_hits)}, connections inside: {site.internal_connections}")
    assert (site.internal_connections, site.internal_hits) == (0, [])
    assert {name: code for name, code, _ in found if code != "blocked_address"} == {}
    assert [name for name, _, message in found if INTERNAL not in message] == []
    assert (good.outcome, good.seconds) == ("finished", pytest.approx(media.SECONDS, abs=0.06))
    assert (other.outcome, other.packets) == ("finished", reference)
    assert (await daemon.get("/health"))["status"] != "stopping"


@pytest_twisted.ensureDeferred
async def test_an_address_inside_is_refused_at_once_however_it_is_written(start: Start, site: Site) -> None:
    daemon = await start()
    port = site.url("", "internal").split(":")[2].strip("/")
    wrong = []
    asked = 0
    for host in (*FORMS, *ODD):
        expected = (422, "unsupported_url" if host in ODD else "blocked_address")
        # What stands behind a # is no host, whatever it looks like.
        for url in (f"http://{host}:{port}/media/mp3.mp3", f"https://{host}:{port}#@good.example/"):
            asked += 3
            for way, (status, answer) in {
                "play": await daemon.post("/session/literal/play", {"url": url}),
                "metadata": await daemon.request("GET", f"/metadata?url={quote(url)}"),
                "playlist": await daemon.request("GET", f"/playlist?url={quote(url)}"),
            }.items():
                if (status, answer.get("code")) != expected:
                    wrong.append(f"{way} of {url}: {status} {answer}")
    for name in ("localhost", "LOCALHOST."):
        hearing = await Hearing(daemon, f"{name}-").play(f"http://{name}:{port}/media/mp3.mp3")
        await hearing.end()
        if hearing.outcome != "blocked_address":
            wrong.append(f"{name}: {hearing.outcome}")
    health = await daemon.get("/health")
    print(f"\n{len(FORMS) + len(ODD)} hosts, {asked} requests; {site.internal_connections} connections inside")
    assert site.internal_connections == 0
    assert site.hits == []
    assert not wrong, "\n".join(wrong)
    assert (health["spawns"], health["extractors"]["calls"], health["door"]["requests"]) == (0, 0, 0)


@pytest_twisted.ensureDeferred
async def test_a_look_leads_inside_as_little(start: Start, site: Site) -> None:
    daemon = await start(*REACHES)
    wrong = []
    for name, url in ways_in(site).items():
        for way in ("metadata", "playlist"):
            status, answer = await daemon.request("GET", f"/{way}?url={quote(url)}")
            # A playlist is not followed to its second segment by looking at it.
            if name not in LATER and way == "metadata" and (status, answer.get("code")) != BLOCKED:
                wrong.append(f"{way} of {name}: {status} {answer}")
    assert site.internal_connections == 0
    assert not wrong, "\n".join(wrong)


@pytest_twisted.ensureDeferred
async def test_no_local_file_is_opened_for_a_server(start: Start, site: Site) -> None:
    daemon = await start(*REACHES, "--media-root", str(site.canary.parent))
    canary = f"file://{site.canary}"
    urls = {name: site.url(f"hostile/{name}") for name in attacks.disguises(site.canary)}
    urls |= {f"redirect-{code}": site.url("redirect", to=canary, code=code) for code in (302, 307)}
    opened = Opened(site.canary)

    async def tried(name: str, url: str) -> tuple[str, Hearing, Any]:
        for way in ("metadata", "playlist"):
            await daemon.request("GET", f"/{way}?url={quote(url)}")
        hearing = await Hearing(daemon, name).play(url)
        return name, hearing, await hearing.end()

    told = await together([tried(*each) for each in urls.items()], most=4)
    times = opened.count()
    print(f"\nthe file was opened {times} times")
    for name, hearing, end in told:
        print(f"{name:26} {hearing.outcome}: {getattr(end, 'message', '')}")
    assert {name: hearing.types for name, hearing, _ in told if hearing.types != ["error"]} == {}
    assert [name for name, _, end in told if str(site.canary.parent) in end.message] == []
    assert times == 0
    itself = await Hearing(daemon, "canary").play(site.canary.name)
    await itself.end()
    assert itself.outcome == "finished", "the file itself can be played, by those who may name it"
    assert opened.count() > 0, "and then it is seen to be opened"
    opened.close()


@pytest_twisted.ensureDeferred
async def test_playlists_without_end_come_to_an_end(start: Start, site: Site) -> None:
    daemon = await start(*REACHES)

    async def tried(name: str) -> tuple[str, Hearing, float]:
        hearing = await Hearing(daemon, name).play(site.url(f"hostile/{name}"))
        await hearing.draw(1, patience=40)
        took = time.monotonic() - hearing.began
        await daemon.post(f"/session/{name}/stop")
        await hearing.end(5)
        return name, hearing, took

    loop = site.url("redirect")
    hopeless = ("nested.m3u8", "self.m3u8", "missing.m3u8", "representations.mpd")
    with Memory(daemon) as memory:
        found = await together([tried(name) for name in (*hopeless, "variants.m3u8", "segments.m3u8")])
        redirected = await Hearing(daemon, "redirected").play(loop)
        await redirected.end()
    asked = {
        "nested.m3u8": len(site.asked("hostile/nested.m3u8")),
        "self.m3u8": len(site.asked("hostile/self.m3u8")),
        "variants.m3u8": len(site.asked("hostile/variant")),
        "segments.m3u8": len(site.asked("hostile/segments.m3u8")),
        "missing.m3u8": len(site.asked("hostile/nothing")),
        "representations.mpd": len(site.asked("media/dash/")),
        "redirect": len(site.asked("redirect")),
    }
    print()
    for name, hearing, took in found:
        print(f"{name:20} {hearing.outcome} after {took:.1f} s, {asked[name]} requests")
    print(f"redirect loop        {redirected.outcome}, {asked['redirect']} requests; {memory}")
    assert redirected.types == ["error"]
    assert {name: n for name, n in asked.items() if n > REQUESTS_MOST} == {}
    assert {name: took for name, _, took in found if took > 20} == {}
    assert [name for name, hearing, _ in found if name in hopeless and hearing.types != ["error"]] == []
    memory.check()


@pytest_twisted.ensureDeferred
async def test_bombs_do_not_go_off(start: Start, site: Site) -> None:
    daemon = await start(*REACHES)
    hostile.cover_mp3(), hostile.gzip_bomb()
    for url in (site.url("media/mp3.mp3"), site.url("page/audio")):
        # Whatever is needed once for all is there before memory is measured.
        await (await Hearing(daemon, "warm").play(url)).end()

    async def tried(name: str, *, to_its_end: bool = True) -> str:
        hearing = await Hearing(daemon, name).play(site.url(f"hostile/{name}"))
        await hearing.draw(None if to_its_end else 500, patience=60)
        await daemon.post(f"/session/{name}/stop")
        await hearing.end(5)
        took = time.monotonic() - hearing.began
        line = f"{name:15} {hearing.outcome} after {took:.1f} s, {hearing.seconds} s heard"
        print(line)
        return hearing.outcome

    print()
    with Memory(daemon) as memory:
        cover, _, _, gzip, huge = await together(
            [
                tried("cover.mp3"),
                tried("one-hertz.wav", to_its_end=False),
                tried("channels.wav", to_its_end=False),
                tried("page-gzip"),
                tried("page-huge"),
            ]
        )
        await sleep(1)
    print(memory)
    huge_page = [hit.sent for hit in site.asked("hostile/page-huge")]
    print(f"of the page of {hostile.PAGE_BYTES / 1e6:.0f} MB were sent: {[round(n / 1e6) for n in huge_page]} MB")
    assert cover == "finished"
    assert gzip not in ("finished", "stopped")
    assert huge not in ("finished", "stopped")
    memory.check()
    again = await Hearing(daemon, "again").play(site.url("page/audio"))
    await again.end()
    assert again.outcome == "finished", "pages are read again after the bombs"


class Memory:
    """The most that the daemon has gained and that any process below it has had, looked at every few milliseconds."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._peaks: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._call = LoopingCall(self._look)

    def __enter__(self) -> Memory:
        self._before = self._daemon.rss()
        self._daemon.forget_peak()
        self._call.start(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._call.stop()
        self._grown = self._daemon.peak_rss() - self._before

    def _look(self) -> None:
        parents: dict[int, int] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        for pid in parents:
            above = pid
            while above in parents and above != self._daemon.pid:
                above = parents[above]
            if above == self._daemon.pid != pid:
                self._peaks[pid] = max(self._peaks.get(pid, 0), self._peak(pid))

    def _peak(self, pid: int) -> int:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            self._names[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            return 0
        return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)

    def __str__(self) -> str:
        peak = max(self._peaks, key=lambda pid: self._peaks[pid], default=0)
        most = self._peaks.get(peak, 0) / 1e6
        return f"daemon {self._grown / 1e6:+.1f} MB, its largest child ({self._names.get(peak)}) {most:.0f} MB"

    def check(self) -> None:
        assert max(self._peaks.values(), default=0) <= CHILD_MOST, str(self)
        assert self._grown <= GROWTH_MOST, str(self)
