"""Web servers as sources: one that does as it should, and every other kind."""

from __future__ import annotations

import re
import subprocess
import time
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_twisted
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from audiosvc.ffmpeg.binary import find_ffmpeg
from audiosvc.flow.supply import FIRST_PACKET_SECONDS
from audiosvc.wire.messages import CREDIT_MOST, Credit
from tests.integration.conftest import Start
from tests.integration.harness import PIECES, Client, Daemon, reactor, sleep, tone, until
from tests.site.server import REACHES

with warnings.catch_warnings():
    # It makes resources at import that it itself calls deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from twisted.web.static import File

SECONDS = 20


class Status(Resource):
    """Answers every request with `code`, a text and, if given, another place to look."""

    isLeaf = True

    def __init__(self, code: int, location: str = "", body: bytes = b"<html>Nothing to hear.</html>" * 50) -> None:
        super().__init__()
        self._code, self._location, self._body = code, location, body

    def render_GET(self, request: Any) -> bytes:
        request.setResponseCode(self._code)
        if self._location:
            request.setHeader("Location", self._location)
        request.setHeader("Content-Type", "text/html")
        return self._body


class Silence(Resource):
    """Says nothing, before or after its headers."""

    isLeaf = True

    def __init__(self, *, headers: bool) -> None:
        super().__init__()
        self._headers = headers

    def render_GET(self, request: Any) -> int:
        if self._headers:
            request.setHeader("Content-Type", "audio/mpeg")
            request.setHeader("Content-Length", "1000000")
            request.write(b"ID3\x04\x00\x00\x00\x00\x00\x00")
        request.notifyFinish().addErrback(lambda _: None)
        return NOT_DONE_YET


class Half(Protocol):
    """Sends half of `music` to all who begin at its beginning; who wants to go on from the middle is not answered."""

    def __init__(self, music: bytes) -> None:
        self._music = music

    def dataReceived(self, data: bytes) -> None:
        begins = re.search(rb"\r\nRange: bytes=(\d+)-", data, re.IGNORECASE)
        if begins is None or begins[1] == b"0":
            music = self._music
            head = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nAccept-Ranges: bytes\r\nContent-Length: %d\r\n\r\n"
            self.transport.write(head % len(music) + music[: len(music) // 2])  # type: ignore[union-attr]
        self.transport.loseConnection()  # type: ignore[union-attr]


class HalfServer(Factory):
    def __init__(self, music: bytes) -> None:
        self._music = music

    def buildProtocol(self, addr: object) -> Half:
        return Half(self._music)


class Ranges(Resource):
    """The file at `path`, counting how it is asked for."""

    isLeaf = True

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = File(str(path), defaultType="audio/mpeg")
        self.ranges: list[str] = []

    def render_GET(self, request: Any) -> Any:
        self.ranges.append(request.getHeader("Range") or "")
        return self._file.render_GET(request)


class Web(NamedTuple):
    address: str
    half: str
    refusing: str
    music: Ranges
    folder: Path


@pytest_twisted.async_yield_fixture
async def web(tmp_path: Path) -> AsyncIterator[Web]:
    mp3 = tmp_path / "music.mp3"
    argv = ["-v", "error", "-i", str(PIECES / "prelude.ogg"), "-t", str(SECONDS), "-metadata", "title=Over HTTP"]
    subprocess.run([find_ffmpeg(), *argv, "-b:a", "320k", str(mp3)], check=True, timeout=60)
    root, music = Resource(), Ranges(mp3)
    root.putChild(b"music.mp3", music)
    root.putChild(b"song", Status(302, "/music.mp3"))
    for code in (403, 404, 410, 500, 503):
        root.putChild(b"%d.mp3" % code, Status(code))
    root.putChild(b"page.mp3", Status(200))
    root.putChild(b"empty.mp3", Status(200, body=b""))
    root.putChild(b"to-file.mp3", Status(302, f"file://{mp3}"))
    root.putChild(b"to-other.mp3", Status(302, f"concat:{mp3}"))
    root.putChild(b"loop.mp3", Status(302, "/loop.mp3"))
    root.putChild(b"silent.mp3", Silence(headers=False))
    root.putChild(b"mute.mp3", Silence(headers=True))
    root.putChild(b"list.m3u8", Status(200, body=f"#EXTM3U\n#EXTINF:9,\nfile://{mp3}\n#EXT-X-ENDLIST\n".encode()))

    async def listen(factory: Any) -> IListeningPort:
        port: IListeningPort = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        return port

    closed = await listen(Factory())
    ports = [await listen(Site(root)), await listen(HalfServer(mp3.read_bytes()))]
    refusing = closed.getHost().port
    await closed.stopListening()
    address, half = (f"http://127.0.0.1:{port.getHost().port}" for port in ports)
    yield Web(address, f"{half}/half.mp3", f"http://127.0.0.1:{refusing}/none.mp3", music, tmp_path)
    for port in ports:
        await port.stopListening()


async def drawn(daemon: Daemon, client: Client, session_id: str, url: str, **body: Any) -> Any:
    """The one terminal event of a play, its packets drawn with credit."""
    client.send(Credit(session_id, CREDIT_MOST))
    await daemon.play(session_id, url, **body)
    given = 0
    while not client.ends(session_id):
        packets = len(client.packets(session_id))
        client.send(Credit(session_id, packets - given))
        given = packets
        await sleep(0.02)
    (end,) = client.ends(session_id)
    return end


@pytest_twisted.ensureDeferred
async def test_a_good_server_is_played_to_the_end_and_sought_in_by_range(start: Start, web: Web) -> None:
    daemon = await start(*REACHES, "--media-root", str(web.folder))
    client = await daemon.connect()
    reference = await daemon.alone("music.mp3")
    for session_id, path in (("direct", "music.mp3?token=secret"), ("redirected", "song")):
        end = await drawn(daemon, client, session_id, f"{web.address}/{path}")
        ready: Any = client.events(session_id)[0]
        assert (ready.title, ready.duration) == ("Over HTTP", pytest.approx(SECONDS, abs=0.06))
        assert client.packets(session_id) == reference
        assert end.played == len(reference) / 50
    asked = len(web.music.ranges)
    end = await drawn(daemon, client, "late", f"{web.address}/music.mp3", start_at=15)
    begins = [int(text.removeprefix("bytes=").partition("-")[0]) for text in web.music.ranges[asked:] if text]
    size = (web.folder / "music.mp3").stat().st_size
    print(f"\nfrom 15 of {SECONDS} s: asked for bytes from {begins} on, of {size}; {end.played} s heard")
    assert end.played == pytest.approx(SECONDS - 15, abs=0.5)
    assert max(begins) > size / 2
    described = await daemon.get(f"/metadata?url={web.address}/music.mp3")
    assert (described["title"], described["duration"]) == ("Over HTTP", pytest.approx(SECONDS, abs=0.06))
    assert "secret" not in daemon.log


@pytest_twisted.ensureDeferred
async def test_a_bad_server_ends_the_track_in_an_error_that_says_why(start: Start, web: Web) -> None:
    daemon = await start(*REACHES)
    client = await daemon.connect()
    expected = {
        f"{web.address}/404.mp3": "source_not_found",
        f"{web.address}/410.mp3": "source_not_found",
        f"{web.address}/403.mp3": "source_refused",
        f"{web.address}/500.mp3": "source_refused",
        f"{web.address}/503.mp3": "source_refused",
        web.refusing: "source_unreachable",
        "http://no-such-host.invalid/a.mp3": "source_unreachable",
        f"{web.address}/page.mp3": "extraction_failed",
        f"{web.address}/empty.mp3": "not_audio",
        f"{web.address}/to-file.mp3": "unsupported_url",
        f"{web.address}/to-other.mp3": "unsupported_url",
        f"{web.address}/silent.mp3": "source_timeout",
        f"{web.address}/mute.mp3": "source_timeout",
        web.half: "source_ended_early",
    }
    others = [f"{web.address}/loop.mp3", f"{web.address}/list.m3u8"]
    await daemon.play("listener", tone(440, 60))
    began, took = time.monotonic(), dict[str, float]()
    waiting = {f"s{n}": url for n, url in enumerate([*expected, *others])}
    for session_id, url in waiting.items():
        client.send(Credit(session_id, CREDIT_MOST))
        await daemon.play(session_id, url)

    def all_ended() -> bool:
        for session_id, url in waiting.items():
            if url not in took and client.ends(session_id):
                took[url] = time.monotonic() - began
        if len(client.packets("s13")) == CREDIT_MOST:
            client.send(Credit("s13", CREDIT_MOST))
        return len(took) == len(waiting)

    await until(all_ended, "every track ends", patience=FIRST_PACKET_SECONDS + 30)
    print()
    for session_id, url in waiting.items():
        (end,) = client.ends(session_id)
        told: Any = end
        name = url.rpartition("/")[2] if url.startswith(web.address) else url
        print(
            f"{name}: {type(end).__name__} {told.code} ({told.message}) after {took[url]:.1f} s, {told.played} s heard"
        )
        assert type(end).__name__ == "Error", url
        assert told.code == expected.get(url, told.code), url
        assert str(web.folder) not in told.message
        if url == web.half:
            assert client.types(session_id) == ["ready", "error"]
            assert 0 < told.played < told.duration == pytest.approx(SECONDS, abs=0.06)
        else:
            assert client.types(session_id) == ["error"]
            assert told.played == 0
    assert client.types("listener") == ["ready"]
    print(f"the listener's largest gap meanwhile: {client.largest_gap('listener') * 1000:.1f} ms")
    await until(lambda: len(daemon.children()) == 1, "only the listener's child is left")


@pytest_twisted.ensureDeferred
async def test_a_look_at_a_bad_server_is_answered_with_the_errors_status(start: Start, web: Web) -> None:
    daemon = await start(*REACHES)
    for url, status, code in (
        (f"{web.address}/404.mp3", 404, "source_not_found"),
        (f"{web.address}/403.mp3", 502, "source_refused"),
        (f"{web.address}/page.mp3", 502, "extraction_failed"),
        (f"{web.address}/to-file.mp3", 422, "unsupported_url"),
        (web.refusing, 502, "source_unreachable"),
    ):
        answered, answer = await daemon.request("GET", f"/metadata?url={url}")
        assert (answered, answer["code"]) == (status, code), url
