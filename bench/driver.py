"""A fixed amount of the daemon's own work, the same at every run: what `bench.regress` counts, and profilers look at.

`python -m bench.driver TICKS WORK=SOUND...`: registry, sessions, pipelines, hub and a connection as they are, over a
clock moved by hand. FFmpeg's place is taken by SOUND, what it would write; so nothing waits and nothing depends on
time. Says how many packets were delivered in so many beats of each work. Before those beats and after them it asks for
its process group, which nothing else does: a mark for who counts from outside.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from pathlib import Path
from typing import Any, cast

from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from audiosvc.audio import FRAME_SECONDS
from audiosvc.delivery.hub import Hub
from audiosvc.delivery.protocol import DeliveryFactory
from audiosvc.ffmpeg.pipes import PIPE_BYTES
from audiosvc.ffmpeg.process import SPAWNS_PER_TICK, Spawner
from audiosvc.flow.encoders import Done, Work
from audiosvc.flow.workshop import Workshop
from audiosvc.session.registry import Registry
from audiosvc.session.session import House
from audiosvc.session.track import Play
from audiosvc.sources.model import File, Http, Source
from tests.fakes import FakeReactor, FakeResolver

SESSIONS = 20
BITRATE = 128_000

COMPLEXITY = 0
"""What libopus does is not what is counted, so it is to do little."""

WARM_TICKS = 50
"""Before these are over every session plays."""

FEED_TICKS = 25
"""How often the pipes are filled up; they hold twice as much sound."""

URL = "http://bench/sound"
WORKS = {"pcm": ("pcm", "pcm"), "encode": ("pcm", "opus"), "pass": ("copied", "opus"), "direct": ("file", "opus")}
"""By name: what SOUND is, and the format that is asked for.

It is FFmpeg's PCM, the Ogg that FFmpeg copies Opus into, or a file of Opus that needs no FFmpeg.
"""


class Encoders:
    """All threads of the pool in one, which works at every beat, or soon where there is none yet.

    Implements `flow.encoders.IEncoders`.
    """

    def __init__(self, reactor: FakeReactor) -> None:
        self._reactor = reactor
        self._jobs: deque[tuple[Work, Done]] = deque()
        self._beating = False

    def submit(self, dry_at: float, work: Work, done: Done) -> None:
        self._jobs.append((work, done))
        if not self._beating:
            self._reactor.callLater(0, self._run)

    def beat(self, going: bool) -> None:
        self._beating = going
        self._run()

    def _run(self) -> None:
        while self._jobs:
            work, done = self._jobs.popleft()
            try:
                result: list[bytes] | Failure = work()
            except Exception:
                result = Failure()
            done(result)


class Counting(StringTransport):
    """Counts what is written to it and forgets it."""

    bytes_written = 0

    def getHandle(self) -> None:
        """There is no socket."""

    def write(self, data: bytes) -> None:
        self.bytes_written += len(data)


class Driver:
    """`SESSIONS` sessions that play `sound`, each over and over, to one client in real time."""

    def __init__(self, work: str, sound: Path) -> None:
        given, form = WORKS[work]
        # Cut without copying, which would be counted.
        self._sound = cast(Any, memoryview(sound.read_bytes()))
        self._at: dict[Any, int] = {}
        self._reactor = FakeReactor()
        reactor = self._reactor.as_reactor
        self._encoders = Encoders(self._reactor)
        spawner = Spawner(reactor, {})
        self._hub = Hub(reactor, 60, self._encoders.beat)
        workshop = Workshop(reactor, spawner, self._encoders, "ffmpeg", complexity=COMPLEXITY)
        media = File(sound) if given == "file" else Http(URL)
        resolver = cast(Any, FakeResolver(Source(URL, media, opus=given != "pcm")))
        registry = Registry(House(workshop, resolver, self._hub, bitrate=BITRATE, idle_timeout=60), SESSIONS)
        client = DeliveryFactory(reactor, self._hub, lambda _: None).buildProtocol(None)
        cast(Any, client).makeConnection(cast(Any, Counting)())
        self._tick()
        for number in range(SESSIONS):
            registry.play(f"session:{number}", Play(URL, cast(Any, form)))
        for _ in range(SESSIONS // SPAWNS_PER_TICK):
            self._tick()
        self.ticks(WARM_TICKS)
        if self._hub.pacer.vitals().skipped_ticks or not self._hub.tally.packets:
            raise SystemExit("the sessions do not play")

    def ticks(self, count: int) -> int:
        """Let so many beats go by; how many packets were delivered in them."""
        before, late = self._hub.tally.packets, self._hub.tally.underruns
        for number in range(count):
            if number % FEED_TICKS == 0:
                self._feed()
            self._tick()
        if self._hub.tally.underruns > late:
            raise SystemExit("the sessions ran dry")
        return self._hub.tally.packets - before

    def _tick(self) -> None:
        self._reactor.advance(FRAME_SECONDS)

    def _feed(self) -> None:
        """Fill every child's pipe."""
        for child in self._reactor.children:
            at = self._at.get(child, 0)
            self._at[child] = at + child.write(self._sound[at : at + PIPE_BYTES])


def main(ticks: str, *works: str) -> None:
    for given in works:
        work, _, sound = given.partition("=")
        driver = Driver(work, Path(sound))
        os.getpgid(0)
        packets = driver.ticks(int(ticks))
        os.getpgid(0)
        print(packets, flush=True)
    # Without the end: taking it all down is not what is counted.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
