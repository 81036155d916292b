"""Threats for which a source is not enough: names that change, URLs that are none, children that were taken over.

127.0.0.1 is the world here, and 127.0.0.2 the network behind the daemon, where something listens and counts.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
import pytest_twisted
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.web.resource import Resource

from audiosvc.ffmpeg.binary import find_ffmpeg
from tests.integration.conftest import Start
from tests.integration.harness import reactor, sleep, tone
from tests.integration.hearing import Hearing, together
from tests.net.namespaces import jails_possible
from tests.site import faults, media
from tests.site.hits import Hit
from tests.site.server import INTERNAL, PUBLIC, REACHES, Counting, Recorded, Site
from tests.sources.test_resolver import UNSUPPORTED

FIXTURES = Path(__file__).parents[1] / "fixtures"

AHEAD_MOST = 2 * 1024 * 1024
"""Bytes that may be fetched beyond those of what was heard."""

NAMES = """
import json, socket, threading
table, asked = json.loads({table!r}), open({asked!r}, "a", buffering=1)
real, lock = socket.getaddrinfo, threading.Lock()
def getaddrinfo(host, port, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    if name not in table:
        return real(host, port, *args, **kwargs)
    with lock:
        turns = table[name]
        answer = turns.pop(0) if len(turns) > 1 else turns[0]
    asked.write(name + "\\n")
    families = {{True: socket.AF_INET6, False: socket.AF_INET}}
    return [(families[":" in text], socket.SOCK_STREAM, 6, "", (text, port or 0)) for text in answer]
socket.getaddrinfo = getaddrinfo
"""
"""Name servers of an attacker's: each look-up of a name gets the next of its answers, and the last for ever."""


def customized(folder: Path, code: str) -> dict[str, str]:
    """The environment of a Python that runs `code` at its start; one that is run with -I, as children are, does not."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return found_first(str(folder))


def found_first(folder: str) -> dict[str, str]:
    """The environment of a Python that looks for modules there before all else."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))}


class Datagrams(DatagramProtocol):
    """Counts them."""

    received = 0

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        self.received += 1


class Twins:
    """The same media at one port of both hosts, so that only the address tells them apart."""

    def __init__(self) -> None:
        self.outside: list[Hit] = []
        self.inside: list[Hit] = []
        root = Resource()
        root.putChild(b"media", faults.branches(faults.Once())["media"])
        self._outer = Counting(Recorded(root, PUBLIC, self.outside))
        self.inner = Counting(Recorded(root, INTERNAL, self.inside))
        while True:
            first = reactor.listenTCP(0, self._outer, interface=PUBLIC)
            self.port = first.getHost().port
            try:
                self._ports = [first, reactor.listenTCP(self.port, self.inner, interface=INTERNAL)]
                return
            except CannotListenError:
                first.stopListening()

    @property
    def connections(self) -> int:
        """With the world."""
        return self._outer.connections

    async def stop(self) -> None:
        for port in self._ports:
            await port.stopListening()


@pytest_twisted.async_yield_fixture
async def twins() -> Any:
    made = Twins()
    yield made
    await made.stop()


@pytest_twisted.ensureDeferred
async def test_a_name_leads_inside_neither_at_once_nor_later(start: Start, twins: Twins, tmp_path: Path) -> None:
    out, into = [PUBLIC], [INTERNAL]
    lasting = {
        "inner.example": into,
        "mixed.example": [PUBLIC, INTERNAL],
        "mixed-otherwise.example": [INTERNAL, PUBLIC],
        "mapped.example": [f"::ffff:{INTERNAL}"],
        "translated.example": ["64:ff9b::7f00:2"],
        "many.example": [f"127.1.{n // 250}.{n % 250}" for n in range(2000)],
    }
    turning = {f"turns-{n}.example": n for n in (1, 2, 3, 4, 5)}
    table = {name: [answer] for name, answer in lasting.items()}
    table |= {name: [out] * good + [into] for name, good in turning.items()} | {"good.example": [out]}
    asked = tmp_path / "asked"
    code = NAMES.format(table=json.dumps(table), asked=str(asked))
    reaches = ("--allow-net", f"{PUBLIC}/32,127.1.0.0/16")
    daemon = await start(*reaches, **customized(tmp_path / "custom", code))

    async def played(name: str, path: str) -> Hearing:
        hearing = await Hearing(daemon, f"{name}-").play(f"http://{name}:{twins.port}/media/{path}")
        await hearing.end()
        return hearing

    good = await played("good.example", "hls/index.m3u8")
    assert good.outcome == "finished"
    print()
    for name in lasting:
        before = twins.connections
        hearing = await played(name, "mp3.mp3")
        print(f"{name:24} {hearing.outcome}: {getattr(hearing.events[-1], 'message', '')}")
        assert hearing.outcome == "blocked_address"
        assert twins.connections == before
    for name, turns in turning.items():
        before = twins.connections
        hearing = await played(name, "hls/index.m3u8")
        lookups = asked.read_text().splitlines().count(name)
        connections = twins.connections - before
        print(f"{name:24} {hearing.outcome} after {connections} connections, {lookups} look-ups, {hearing.seconds} s")
        assert hearing.outcome == "blocked_address"
        assert name in getattr(hearing.events[-1], "message", "")
        assert 0 < connections <= turns < lookups
    print(f"connections inside: {twins.inner.connections}")
    assert (twins.inner.connections, twins.inside) == (0, [])
    assert INTERNAL in daemon.log, "what the names led to is told to the operator"


@pytest_twisted.ensureDeferred
async def test_nothing_but_http_is_fetched_and_nothing_is_taken_for_an_option(start: Start, tmp_path: Path) -> None:
    daemon = await start(*REACHES)
    made = tmp_path / "made"
    options = (f"--exec=touch {made}", f"--batch-file={tmp_path}", f"-o{made}", f"-i{made}", "--version", "-y", "--")
    urls = [url for url in (*UNSUPPORTED, *options, f"-dump_attachment:0={made}", "x" * 64_000) if url.isascii()]
    before = sorted(tmp_path.rglob("*"))
    statuses: dict[int, int] = {}
    for url in urls:
        for way, (status, answer) in {
            "play": await daemon.post("/session/s/play", {"url": url}),
            "metadata": await daemon.request("GET", f"/metadata?url={quote(url, safe='')}"),
            "playlist": await daemon.request("GET", f"/playlist?url={quote(url, safe='')}"),
        }.items():
            statuses[status] = statuses.get(status, 0) + 1
            assert status in (400, 422), (way, url[:80], answer)
    health = await daemon.get("/health")
    calls = health["extractors"]["calls"]
    print(f"\n{len(urls)} URLs in three ways: {statuses}; {health['spawns']} spawns, {calls} calls of an extractor")
    assert (health["spawns"], health["plays"], calls, health["door"]["permits"]) == (0, 0, 0, 0)
    assert daemon.children() == []
    assert sorted(tmp_path.rglob("*")) == before


@pytest_twisted.ensureDeferred
async def test_an_endless_source_is_fetched_as_far_as_it_is_heard(start: Start, site: Site) -> None:
    daemon = await start(*REACHES)
    rate = len(media.content("mp3.mp3")) / media.SECONDS
    hearing = await Hearing(daemon, "endless").play(site.url("endless/mp3.mp3"))
    await hearing.draw(100)
    before, told = daemon.rss(), []
    for _ in range(6):
        await hearing.draw(500)
        await sleep(0.5)
        fetched = (await daemon.get("/health"))["door"]["bytes"]
        told.append(
            f"{hearing.seconds:.0f} s heard, {(fetched - hearing.seconds * rate) / 1e6:+.2f} MB beyond them fetched"
        )
        assert fetched <= hearing.seconds * rate + AHEAD_MOST
    fetched = (await daemon.get("/health"))["door"]["bytes"]
    await sleep(2)
    assert (await daemon.get("/health"))["door"]["bytes"] == fetched, "nobody listens, and nothing is fetched"
    grown = daemon.rss() - before
    await daemon.post("/session/endless/stop")
    await hearing.end(5)
    print("\n" + "\n".join(told) + f"\ndaemon {grown / 1e6:+.1f} MB")
    assert grown < 10_000_000


@pytest.mark.parametrize("isolation", ["off", "auto"])
@pytest_twisted.ensureDeferred
async def test_a_child_that_was_taken_over_gets_nowhere(
    start: Start, site: Site, tmp_path: Path, isolation: str
) -> None:
    """A stand-in for FFmpeg that a file has taken over; what it finds out it may tell the world, by the door."""
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o777)
    program = tmp_path / "ffmpeg"
    far, near = site.url("", "internal").rstrip("/"), site.url("").rstrip("/")
    datagrams = Datagrams()
    udp = reactor.listenUDP(urlsplit(far).port, datagrams, interface=INTERNAL)
    words = [sys.executable, "-I", "-S", FIXTURES / "taken_over.py", find_ffmpeg(), near, far, kept]
    program.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in words) + ' "$@"\n')
    program.chmod(0o755)
    daemon = await start(*REACHES, "--isolation", isolation, "--ffmpeg", str(program))
    jailed = (await daemon.get("/health"))["isolation"]["active"]
    assert jailed == (isolation == "auto" and jails_possible())
    reference = await daemon.alone(tone(440, 5), format="pcm")
    other = await Hearing(daemon, "other", paced=True).play(tone(440, 5))

    inside = await Hearing(daemon, "by-the-door").play(site.url("media/mp3.mp3", query="taken-over-door"))
    crashed = await Hearing(daemon, "crashed").play(site.url("media/mp3.mp3", query="taken-over"))
    await together([inside.end(), crashed.end(), other.end()])
    good = await Hearing(daemon, "good").play(site.url("media/mp3.mp3"))
    await good.end()
    await udp.stopListening()
    reports = [json.loads(unquote(hit.path.partition("?")[2])) for hit in site.asked("told")]
    written = {path.name: path.stat().st_size for path in kept.iterdir()}
    print(f"\nisolation {isolation}: {crashed.outcome}, {inside.outcome}; {len(reports)} reports: {reports[0]}")
    print(
        f"  inside: {site.internal_connections} connections, {datagrams.received} datagrams;"
        f" {sum(written.values())} bytes written"
    )
    assert (inside.outcome, crashed.outcome) == ("blocked_address", "decoder_failed")
    assert (good.outcome, other.outcome, other.packets) == ("finished", "finished", reference)
    assert sum(written.values()) == 0
    for found in reports:
        assert (found["write"], found["allocate"]) == ("OSError", "MemoryError")
        if jailed:
            nowhere = ("ConnectionRefusedError", "ConnectionRefusedError", 0)
            assert (found["near"], found["far"], found["forked"]) == nowhere
            assert found["daemon"] == "PermissionError"
        else:
            assert (found["near"], found["far"]) == ("done", "done"), "as the listeners would see"
            assert datagrams.received > 0
    if jailed:
        assert (site.internal_connections, datagrams.received) == (0, 0)
        assert site.asked("directly") == []
    assert [hit for hit in site.internal_hits if "by-the-door" in hit.path] == []
    assert (await daemon.get("/health"))["status"] != "stopping"
