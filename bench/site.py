"""What the daemon fetches from while it is measured, in a process of its own: files, pages about them, a radio station.

`python -m bench.site FOLDER LOG`: listens on loopback, says its port on standard output, serves what lies in FOLDER
until its standard input is closed, and writes down each request as a line of JSON in LOG once it is over.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet import reactor as _reactor
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.internet.task import LoopingCall
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from twisted.web.static import File

reactor: Any = _reactor

HOST = "127.0.0.1"

REACHED = ("--allow-net", f"{HOST}/32")
"""Options of a daemon that may fetch from it."""

BURST_SECONDS = 4.0
"""What a listener of the station gets at once, as stations do it, so that players can begin."""

STATION_SECONDS = 0.2
"""How often the station sends what is due by then."""

DROPS_AFTER = 256 * 1024
"""Bytes: ten seconds of sound at 192 kbit/s."""

PAGE = """<!DOCTYPE html>
<html><head><title>A page about {0}</title></head>
<body><h1>Listen</h1><audio controls src="/media/{0}?{1}"></audio></body></html>
"""


class Asked(msgspec.Struct, frozen=True):
    """One request. Times are `time.monotonic_ns()`, the same clock in every process."""

    path: str
    agent: str
    began: int
    ended: int


class Noting(Request):
    """Writes itself down."""

    log: Any

    def process(self) -> None:
        began = time.monotonic_ns()
        self.notifyFinish().addBoth(self._over, began)
        super().process()  # type: ignore[no-untyped-call]

    def _over(self, _: object, began: int) -> None:
        agent = self.getHeader("user-agent") or ""
        asked = Asked(self.uri.decode("latin-1"), agent, began, time.monotonic_ns())
        self.log.write(msgspec.json.encode(asked) + b"\n")


class Page(Resource):
    """`/page/NAME?ANYTHING`: a page with one piece on it, at an address that nobody has asked for before."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        name, query = (part.decode("latin-1") for part in (request.postpath[0], request.uri.partition(b"?")[2]))
        return PAGE.format(name, query).encode()


class Dropping(File):
    """`/drops/NAME?ANYTHING`: a file of which every answer from its beginning on breaks off after `DROPS_AFTER`."""

    def render_GET(self, request: Any) -> Any:
        if request.getHeader("range") not in (None, "bytes=0-") or not self.isfile():
            return super().render_GET(request)  # type: ignore[no-untyped-call]
        request.setHeader("Accept-Ranges", "bytes")
        request.setHeader("Content-Type", "application/octet-stream")
        request.setHeader("Content-Length", str(self.getsize()))
        with self.open() as file:
            request.write(file.read(DROPS_AFTER))
        request.loseConnection()
        return NOT_DONE_YET


class Station(Resource):
    """`/live/NAME?rate=BYTES`: the file again and again, so many bytes a second, all listeners at the same place."""

    isLeaf = True

    def __init__(self, folder: Path) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._folder = folder
        self._sound: dict[str, bytes] = {}
        self._heard: dict[Any, tuple[bytes, int, int]] = {}
        """Each listener's sound, bytes a second, and the byte it is at."""
        LoopingCall(self._send).start(STATION_SECONDS)

    def render_GET(self, request: Any) -> int:
        name, rate = request.postpath[0].decode(), int(request.args[b"rate"][0])
        sound = self._sound.get(name)
        if sound is None:
            sound = self._sound[name] = (self._folder / name).read_bytes()
        request.setHeader("Content-Type", "audio/mpeg")
        request.setHeader("icy-name", "The bench's station")
        self._heard[request] = sound, rate, int(time.monotonic() * rate)
        request.notifyFinish().addBoth(lambda _: self._heard.pop(request))
        self._give(request)
        return NOT_DONE_YET

    def _send(self) -> None:
        for request in list(self._heard):
            self._give(request)

    def _give(self, request: Any) -> None:
        sound, rate, at = self._heard[request]
        until = int((time.monotonic() + BURST_SECONDS) * rate)
        self._heard[request] = sound, rate, until
        while at < until:
            first = at % len(sound)
            piece = sound[first : first + until - at]
            request.write(piece)
            at += len(piece)


class UntilClosed(Protocol):
    """Standard input: whoever started this has gone."""

    def connectionLost(self, reason: object = None) -> None:
        if reactor.running:
            reactor.stop()


class Served:
    """The site as a child of the one who measures."""

    def __init__(self, folder: Path, log: Path) -> None:
        """Returns when it listens; `EOFError` if it did not get there."""
        self._log = log
        argv = [sys.executable, "-m", "bench.site", str(folder), str(log)]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self._process.pid
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            self._process.wait()
            raise EOFError("the bench's site did not start")
        self._base = f"http://{HOST}:{int(said)}"

    def url(self, path: str) -> str:
        return f"{self._base}/{path}"

    def asked(self) -> list[Asked]:
        """Every request that is over, oldest first."""
        decoder = msgspec.json.Decoder(Asked)
        return sorted((decoder.decode(line) for line in self._log.read_bytes().splitlines()), key=lambda it: it.began)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def main(folder: str, log: str) -> None:
    with Path(log).open("ab", buffering=0) as Noting.log:
        root = Resource()
        root.putChild(b"media", File(folder))
        root.putChild(b"drops", Dropping(folder))
        root.putChild(b"page", Page())  # type: ignore[no-untyped-call]
        root.putChild(b"live", Station(Path(folder)))
        site = Site(root)
        site.requestFactory = Noting
        port = reactor.listenTCP(0, site, interface=HOST, backlog=1024)
        StandardIO(UntilClosed(), reactor=reactor)
        print(port.getHost().port, flush=True)
        reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
