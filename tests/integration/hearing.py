"""One session heard to its end: what came, when, and what it says of itself by the site's clock signal."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable
from itertools import pairwise
from typing import Any, TypeVar

from twisted.internet.defer import DeferredSemaphore, ensureDeferred, gatherResults

from audiosvc.audio import FRAME_SECONDS
from audiosvc.wire.messages import CREDIT_MOST, TERMINAL, Credit, Packet, Ready, Seeked, SessionEvent, Subscribe
from tests.integration.harness import Client, Daemon, sleep, until
from tests.site import clock

T = TypeVar("T")


async def together(tasks: Iterable[Awaitable[T]], most: int = 100) -> list[T]:
    """What all of them give, at most `most` of them at work at once."""
    gate = DeferredSemaphore(most)

    async def one(task: Awaitable[T]) -> T:
        return await task

    return await gatherResults([gate.run(lambda task=task: ensureDeferred(one(task))) for task in tasks], True)  # type: ignore[no-any-return]


class Hearing:
    """A session on a connection of its own, in PCM. `paced`: in real time; else as fast as it comes."""

    def __init__(self, daemon: Daemon, session_id: str, *, paced: bool = False) -> None:
        self.daemon = daemon
        self.session_id = session_id
        self.paced = paced
        self.client = Client()
        self._given = 0
        self._looked = 0
        self._packets: list[bytes] = []
        self._times: list[float] = []
        self._events: list[SessionEvent] = []
        self._from = 0
        """The number of the first packet since the last seek."""

    async def play(self, url: str, **body: Any) -> Hearing:
        lines = (
            (Subscribe(self.session_id),) if self.paced else (Subscribe(self.session_id), Credit(self.session_id, 0))
        )
        await self.daemon.connect(*lines, client=self.client)
        self.began = time.monotonic()
        await self.daemon.play(self.session_id, url, **{"format": "pcm", **body})
        return self

    async def draw(self, packets: int | None = None, patience: float = 60) -> None:
        """Take `packets` more, or what there is to the end."""
        wanted = None if packets is None else len(self.packets) + packets
        stop = time.monotonic() + patience
        while not self.over and (wanted is None or len(self.packets) < wanted):
            assert time.monotonic() < stop, f"{self.session_id}: {len(self.packets)} packets, {self.types}"
            if not self.paced:
                most = CREDIT_MOST if wanted is None else wanted - len(self.packets)
                if (give := min(most, CREDIT_MOST) - (self._given - len(self.packets))) > 0:
                    self.client.send(Credit(self.session_id, give))
                    self._given += give
            await sleep(0.01)

    async def end(self, patience: float = 60) -> Any:
        """The terminal event."""
        await self.draw(None, patience)
        (end,) = [event for event in self.events if isinstance(event, TERMINAL)]
        return end

    async def seek(self, position: float) -> float:
        """Seconds from the request to the first packet of there."""
        began = time.monotonic()
        status, answer = await self.daemon.post(f"/session/{self.session_id}/seek", {"position": position})
        assert status == 200, answer
        seeks = self.types.count("seeked")
        await until(lambda: self.over or self.types.count("seeked") > seeks, f"{self.session_id} to be sought in")
        if not self.over:
            await self.draw(1)
        return time.monotonic() - began

    def _look(self) -> None:
        """Sort what came since the last look."""
        received = self.client.received
        while self._looked < len(received):
            message, at = received[self._looked], self.client.times[self._looked]
            self._looked += 1
            if isinstance(message, Packet):
                self._packets.append(message.payload)
                self._times.append(at)
            elif isinstance(message, SessionEvent):
                self._events.append(message)
                if isinstance(message, Seeked):
                    self._from = len(self._packets)

    @property
    def over(self) -> bool:
        return self.outcome != "playing"

    @property
    def packets(self) -> list[bytes]:
        self._look()
        return self._packets

    @property
    def times(self) -> list[float]:
        """When each of them came."""
        self._look()
        return self._times

    @property
    def events(self) -> list[SessionEvent]:
        self._look()
        return self._events

    @property
    def types(self) -> list[str]:
        return [type(event).__name__.lower() for event in self.events]

    @property
    def ready(self) -> Any:
        return next(event for event in self.events if isinstance(event, Ready))

    @property
    def outcome(self) -> str:
        """`finished`, `stopped` or the error's code; `playing` before."""
        ends = [event for event in self.events if isinstance(event, TERMINAL)]
        return getattr(ends[0], "code", type(ends[0]).__name__.lower()) if ends else "playing"

    @property
    def pcm(self) -> bytes:
        """What was heard since the last seek."""
        return b"".join(self.packets[self._from :])

    @property
    def seconds(self) -> float:
        """Of sound since the last seek."""
        return round((len(self.packets) - self._from) * FRAME_SECONDS, 3)

    @property
    def gap(self) -> float:
        """Seconds for which nothing came in the middle of it, longest."""
        return max([0.0, *(b - a - FRAME_SECONDS for a, b in pairwise(self.times))])

    @property
    def waited(self) -> float:
        """Seconds from the play to its first packet."""
        return self.times[0] - self.began

    def off(self, position: float, *, mono: bool = False) -> float:
        """Seconds by which the sound since the last seek is off at worst, said to begin at `position`; signed.

        Takes a while: not while others are timed.
        """
        found = clock.offsets(self.pcm, position, mono=mono)
        return max(found, key=abs) if found else float("nan")
