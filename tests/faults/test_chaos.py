"""The closing run: random faults in random order beside sessions that none of them is meant for.

`tox -e faults -- --minutes 60 --seed 7` runs as long as said, and in the order that was printed before.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from audiosvc.wire.messages import Attached, Greeting, Held, Line, Packet, Ready, Subscribe
from tests.faults.calls import pipeline
from tests.faults.cases import warm
from tests.faults.harness import Round, WatchedDaemon
from tests.integration.conftest import Start
from tests.integration.harness import Client, reactor, sleep, tone
from tests.site import media
from tests.site.server import REACHES, Site

BYSTANDERS, TARGETS = 8, 12

SHORT_SECONDS = 15

LATE_SECONDS = 0.06
"""Between two packets as they are read, by a process that serves the sources too and may be what was held up."""

WAIT_MOST = 0.4
"""Seconds between two faults."""


class Chaos:
    """Does to `targets` what may befall them. Everything that is random comes from `dice`, in one order."""

    def __init__(self, round: Round, site: Site, dice: random.Random) -> None:
        self.daemon: WatchedDaemon = round.daemon
        self.targets = [f"target:{n}" for n in range(TARGETS)]
        self.done: Counter[str] = Counter()
        self._site = site
        self._dice = dice
        self._untouched = set(self.daemon.children())
        self._consumer = Client()
        self._number = 0

    async def begin(self) -> None:
        self._control = await pipeline(self.daemon)
        await self.daemon.connect(*map(Subscribe, self.targets), client=self._consumer)
        for target in self.targets:
            await self._play(target)

    async def one(self) -> None:
        """Any fault."""
        faults: dict[Callable[[], Awaitable[object]], int] = {
            self._kill: 6,
            self._hang: 1,
            self._kill_worker: 1,
            self._restart_play: 6,
            self._storm: 5,
            self._consumer_lost: 2,
            self._junk_client: 2,
            self._junk_request: 2,
            self._seek: 3,
        }
        (fault,) = self._dice.choices([*faults], [*faults.values()])
        self.done[getattr(fault, "__name__", "").lstrip("_")] += 1
        await fault()

    # --- children ---------------------------------------------------------------------------------------------------

    def _signal(self, pids: list[int], number: signal.Signals) -> None:
        if mine := sorted(set(pids) - self._untouched):
            with suppress(ProcessLookupError):
                os.kill(self._dice.choice(mine), number)

    async def _kill(self) -> None:
        self._signal(self.daemon.live_children(), signal.SIGKILL)

    async def _hang(self) -> None:
        self._signal(self.daemon.live_children(), signal.SIGSTOP)

    async def _kill_worker(self) -> None:
        """The process that reads a page, while it does."""
        await self._play(self._dice.choice(self.targets), self._site.url("page/audio", n=self._unused()))
        await sleep(self._dice.random() * 0.5)
        self._signal(self.daemon.worker_pids(), signal.SIGKILL)

    # --- calls ------------------------------------------------------------------------------------------------------

    def _unused(self) -> int:
        self._number += 1
        return self._number

    def _source(self) -> str:
        site, dice, n = self._site, self._dice, self._unused()
        kinds = {
            tone(dice.randrange(100, 200), 60): 3,
            "demo:nightdrive": 1,
            site.url(f"media/long.{dice.choice(['mp3', 'm4a', 'webm', 'opus', 'flac'])}", n=n): 3,
            site.url(
                "droponce/long.mp3", dice.choice(["http", "https"]), bytes=dice.randrange(20_000, 200_000), n=n
            ): 2,
            site.url("drop/long.mp3", bytes=50_000, n=n): 1,
            site.url("stall/long.mp3", bytes=100_000, seconds=dice.choice([0, 5]), n=n): 1,
            site.url("once403/long.mp3", bytes=100_000, n=n): 1,
            site.url("media/missing.mp3", n=n): 1,
            site.url("radio", n=n): 1,
            site.url("page/audio", n=n): 1,
        }
        return dice.choices([*kinds], [*kinds.values()])[0]

    async def _play(self, target: str, url: str = "") -> None:
        body: dict[str, Any] = {"url": url or self._source()}
        if self._dice.random() < 0.3:
            body["format"] = self._dice.choice(["pcm", "ogg"])
        await self._calls((f"/session/{target}/play", body))

    async def _calls(self, *requests: tuple[str, Any]) -> None:
        for status, answer in await self._control.post(*requests):
            assert status in (200, 404, 409, 422), (status, answer)

    async def _restart_play(self) -> None:
        await self._play(self._dice.choice(self.targets))

    async def _seek(self) -> None:
        position = self._dice.randrange(100)
        await self._calls((f"/session/{self._dice.choice(self.targets)}/seek", {"position": position}))

    async def _storm(self) -> None:
        """A burst on one id, and something plays there afterwards."""
        dice, target = self._dice, self._dice.choice(self.targets)
        bodies: dict[str, Callable[[], Any]] = {
            "play": lambda: {"url": self._source()},
            "seek": lambda: {"position": dice.randrange(100)},
            "volume": lambda: {"volume": dice.choice([0.2, 1, 1.5])},
            "stop": lambda: None,
            "pause": lambda: None,
            "resume": lambda: None,
        }
        ops = dice.choices([*bodies], k=dice.choice([2, 10, 30]))
        await self._calls(*((f"/session/{target}/{op}", bodies[op]()) for op in [*ops, "play"]))

    # --- clients ----------------------------------------------------------------------------------------------------

    async def _consumer_lost(self) -> None:
        """Without a word; another comes in its place, and knows what the first held or does not."""
        lost = self._consumer
        lost.close()
        await sleep(self._dice.choice([0, 0.2, 2]))
        lines: list[Line] = [*map(Subscribe, self.targets)]
        if self._dice.random() < 0.7:
            lines.insert(0, Greeting("chaos/1", held_by(lost)))
        self._consumer = await self.daemon.connect(*lines)

    async def _junk_client(self) -> None:
        junk = await connectProtocol(UNIXClientEndpoint(reactor, str(self.daemon.socket)), Protocol())
        junk.transport.write(self._junk())
        await sleep(self._dice.random() * 0.2)
        junk.transport.abortConnection()

    async def _junk_request(self) -> None:
        junk = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.daemon.port), Protocol())
        head = self._dice.choice(
            [b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ", b"POST /session/x/play HTTP/1.1\r\n"]
        )
        junk.transport.write(head + self._junk())
        await sleep(self._dice.random() * 0.2)
        junk.transport.abortConnection()

    def _junk(self) -> bytes:
        dice = self._dice
        valid = json.dumps(
            {"type": dice.choice(["credit", "subscribe", "hello", "x"]), "session_id": dice.choice("aé\0")}
        )
        junk = dice.randbytes(dice.choice([1, 100, 100_000]))
        return dice.choice([junk, valid.encode() + b"\n" + junk, b"{" * 1000 + b"\n", b"\n" * 1000])


def held_by(client: Client) -> dict[str, Held]:
    """What a client that was lost has of each session's last track."""
    held: dict[str, Held] = {}
    for message in client.received:
        if isinstance(message, (Ready, Attached)):
            packets = message.packets if isinstance(message, Attached) else 0
            held[message.session_id] = Held(packets, message.track_id)
        elif isinstance(message, Packet) and message.session_id in held:
            packets, track_id = held[message.session_id].packets, held[message.session_id].track_id
            held[message.session_id] = Held(packets + 1, track_id)
    return held


async def run(start: Start, site: Site, seed: int, seconds: float) -> None:
    print(f"\nseed {seed}, {seconds:g} s")
    daemon = await start(*REACHES, **site.trust)
    for name in ("long.mp3", "mp3.mp3", "piece.mp3", "long.m4a", "long.webm", "long.opus", "long.flac"):
        media.content(name)

    async def all_kinds() -> None:
        await warm(daemon, site, TARGETS)

    # What each kind of source and each format takes the first time, and threads that look names up, stay.
    # A machine that is busy otherwise sends late, which is counted and printed; it loses nothing.
    async with Round(daemon, bystanders=BYSTANDERS, threads=16, underruns=True, warm=all_kinds) as round:
        round.resumes = True
        before = await daemon.get("/health")
        chaos = Chaos(round, site, dice := random.Random(seed))
        await chaos.begin()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await chaos.one()
            await sleep(dice.random() * WAIT_MOST)
        health = await daemon.get("/health")
        late, tracks = round.bystanders.late(LATE_SECONDS), health["plays"] - before["plays"]
        unsent, dry = late_ticks(health) - late_ticks(before), await underruns(round)
        print(f"faults: {dict(chaos.done)}; ends {health['ends']}; pacer {health['pacer']}")
        print(f"recoveries {health['sources']['recoveries']}, workers lost {health['extractors']['restarts']}")
        number = sum(chaos.done.values())
        round.report(
            36,
            f"{number} random faults in {seconds:g} s, seed {seed}, {TARGETS} sessions hit and {BYSTANDERS} not",
            f"{tracks} plays; of sessions not hit 0 packets lost, 0 doubled; {dry} underruns, {unsent} ticks 40 ms "
            f"late, {late} packets read {LATE_SECONDS * 1000:g} ms or more after the last",
            "0, 0, 0",
        )


@pytest_twisted.ensureDeferred
async def test_a_short_run_of_random_faults_is_not_heard_by_others(
    start: Start, site: Site, request: pytest.FixtureRequest
) -> None:
    await run(start, site, seed_of(request), SHORT_SECONDS)


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_closing_run_of_random_faults_is_not_heard_by_others(
    start: Start, site: Site, request: pytest.FixtureRequest
) -> None:
    await run(start, site, seed_of(request), request.config.getoption("--minutes") * 60)


async def underruns(round: Round) -> int:
    """Of sessions not hit."""
    return sum([(await round.daemon.get(f"/session/{name}/status"))["underruns"] for name in round.bystanders.urls])


def late_ticks(health: Any) -> int:
    """Of the daemon's own, those more than 40 ms behind their time."""
    lateness = health["pacer"]["lateness"]
    return int(lateness["count"] - lateness["buckets"]["0.04"])


def seed_of(request: pytest.FixtureRequest) -> int:
    asked: int | None = request.config.getoption("--seed")
    return random.randrange(10**6) if asked is None else asked
