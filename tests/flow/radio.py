"""A server with the habits of bad ones, and a supply of what it serves, read by a clock or as fast as it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from audiosvc.ffmpeg.command import child_environment
from audiosvc.ffmpeg.process import Spawner
from audiosvc.flow.encoders import EncoderPool
from audiosvc.flow.supply import Supply
from audiosvc.flow.workshop import Workshop
from audiosvc.sources.model import Http, Source
from tests.ffmpeg.media import FFMPEG, folder

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

reactor: Any = _reactor

SAMPLE = 4
PIECE = Path(__file__).parents[2] / "audiosvc" / "sources" / "pieces" / "nightdrive.ogg"
SECONDS = 24


@cache
def piece(kind: str) -> Path:
    """`SECONDS` of music, in which no two places sound the same."""
    path = folder() / f"piece.{kind}"
    extra = ["-b:a", "128k"] if kind == "mp3" else []
    subprocess.run(
        [FFMPEG, "-v", "fatal", "-ss", "20", "-t", str(SECONDS), "-i", PIECE, "-map", "0:a:0", *extra, str(path)],
        check=True,
    )
    return path


@cache
def whole(kind: str) -> bytes:
    """All samples of `piece(kind)`, undisturbed."""
    argv = [FFMPEG, "-v", "fatal", "-i", piece(kind), "-f", "s16le", "-ac", "2", "-ar", "48000", "-"]
    return subprocess.run(argv, check=True, capture_output=True).stdout


def shift(heard: bytes, reference: bytes, at: int) -> float:
    """By how many ms `heard` is ahead of `reference` (negative: behind) a little after sample `at`."""
    at, length, most = at + 4_800, 9_600, 4_800
    mine, other = (audioop.tomono(pcm, 2, 0.5, 0.5) for pcm in (heard, reference))
    first = max(0, at - most)
    window = other[2 * first : 2 * (at + length + most)]
    found, _ = audioop.findfit(window, mine[2 * at : 2 * (at + length)])
    return (first + found - at) / 48


class Reader:
    """Reads a supply and writes down where it was told something, in samples."""

    def __init__(
        self, workshop: Workshop, source: Source, refresh: Callable[[], Deferred[Source]] | None = None
    ) -> None:
        self.pcm = bytearray()
        self.recovered: list[int] = []
        self.titles: list[tuple[str, float]] = []
        self.longest_wait = 0.0
        self.over = False
        self.workshop = workshop
        self.supply = Supply(
            workshop,
            self,
            source,
            at=0,
            duration=None,
            copied=False,
            label="test",
            refresh=refresh or (lambda: Deferred()),
        )
        self.supply.start(succeed(None))

    @property
    def samples(self) -> int:
        return len(self.pcm) // SAMPLE

    async def read(self, samples: float = float("inf"), most: int = 40_000) -> None:
        """Read on until there are `samples`, or all."""
        while not self.over and self.samples < samples:
            pcm = self.supply.read(most)
            if pcm is None:
                self.over = True
            elif pcm:
                self.pcm += pcm
            else:
                ready: Deferred[None] = Deferred()
                began = time.monotonic()
                self.supply.when_readable(lambda ready=ready: ready.callback(None))  # type: ignore[misc]
                await ready
                self.longest_wait = max(self.longest_wait, time.monotonic() - began)

    def supply_recovered(self) -> None:
        self.recovered.append(self.samples)

    def supply_titled(self, title: str) -> None:
        self.titles.append((title, self.samples / 48_000))

    def supply_caught_up(self) -> None:
        pass


def make_workshop() -> tuple[Workshop, EncoderPool]:
    """One in which children reach the network without a door; its encoders have to be stopped."""
    environment = {k: v for k, v in child_environment(os.environ).items() if k != "http_proxy"}
    encoders = EncoderPool(reactor, 1)
    encoders.start()
    return Workshop(reactor, Spawner(reactor, environment), encoders, FFMPEG, complexity=0), encoders


def send(workshop: Workshop, number: signal.Signals) -> bool:
    """Send a signal to every child; whether there was one."""
    pids = [child.transport.pid for child in workshop.spawner._children if child.transport is not None]
    for pid in pids:
        os.kill(pid, number)  # type: ignore[arg-type]
    return bool(pids)


async def sleep(seconds: float) -> None:
    await deferLater(reactor, seconds)


class Bad(Resource):
    """A media file by a server that is told how to misbehave.

    `drops` is after how many bytes each answer breaks off, `times` how often. With `token`, only `?TOKEN` is served.
    """

    isLeaf = True

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.data = path.read_bytes()
        self.drops: int | None = None
        self.end: int | None = None
        self.times = 1_000_000
        self.token: bytes | None = None
        self.knows_range = True
        self.requests: list[tuple[int, int]] = []
        """The first byte asked for, and the status answered."""

    def render_GET(self, request: Request) -> bytes | int:
        if self.token is not None and request.uri.rpartition(b"?")[2] != self.token:
            request.setResponseCode(403)
            self.requests.append((-1, 403))
            return b"expired"
        size = len(self.data)
        first, asked = 0, request.getHeader("range")
        if asked and self.knows_range:
            first = int(asked.removeprefix("bytes=").partition("-")[0])
            request.setResponseCode(206)
            request.setHeader("content-range", f"bytes {first}-{size - 1}/{size}")
        self.requests.append((first, request.code))
        request.setHeader("content-length", str(size - first))
        if self.knows_range:
            request.setHeader("accept-ranges", "bytes")
        end = size
        if self.times > 0 and self.drops is not None:
            end = min(size, first + self.drops)
        if self.end is not None:
            end = min(end, self.end)
        request.write(self.data[first:end])
        if end < size:
            self.times -= 1
            # With a paused producer a connection delivers every byte and never closes.
            request.transport.unregisterProducer()
            request.transport.loseConnection()
            return NOT_DONE_YET
        request.finish()
        return NOT_DONE_YET


class Station(Resource):
    """MP3 without end in real time, a burst first, with titles between; it can be cut off."""

    isLeaf = True
    BURST, EVERY = 64_000, 8_000

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.data = path.read_bytes()
        self.title = "One"
        self.listeners: list[Request] = []
        self.came = 0

    def render_GET(self, request: Request) -> int:
        request.setHeader("content-type", "audio/mpeg")
        request.setHeader("icy-name", "Radio Test")
        request.setHeader("icy-metaint", str(self.EVERY))
        self.came += 1
        self.listeners.append(request)
        request.notifyFinish().addErrback(lambda _: self.listeners.remove(request))
        self._send(request, 0, self.BURST)
        return NOT_DONE_YET

    def _send(self, request: Request, at: int, size: int) -> None:
        if request not in self.listeners:
            return
        for start in range(at, at + size, self.EVERY):
            begin = start % (len(self.data) - self.EVERY)
            text = f"StreamTitle='{self.title}';".encode()
            blocks = -(-len(text) // 16)
            request.write(self.data[begin : begin + self.EVERY] + bytes([blocks]) + text.ljust(blocks * 16, b"\0"))
        reactor.callLater(self.EVERY / 16_000, self._send, request, at + size, self.EVERY)

    def cut_off(self) -> None:
        for request in list(self.listeners):
            request.transport.unregisterProducer()
            request.transport.loseConnection()


def web(url: str, **known: Any) -> Source:
    return Source(url, Http(url, station=known.pop("station", False)), **known)
