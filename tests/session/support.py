"""A registry over fakes: children, encoders and a listener that the tests move by hand."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.ffmpeg.process import Spawner
from audiosvc.flow.workshop import Workshop
from audiosvc.interfaces import IFeed
from audiosvc.session.registry import Registry
from audiosvc.session.session import House
from audiosvc.session.stats import DeliveryStats
from audiosvc.session.track import Play
from audiosvc.sources.model import File, Source
from audiosvc.wire.messages import SessionEvent
from tests.fakes import TONE, FakeChild, FakeEncoders, FakeReactor, FakeResolver, frames, open_fds

SONG = Source("song", File(Path("/song")), title="Song", uploader="Somebody", thumbnail="http://h/t.png")
"""Of unknown duration."""

IDLE_TIMEOUT = 1800.0


class Listener:
    """Takes packets as far as it has `credit`, as delivery does, and writes everything down. An `IPacketSink`."""

    def __init__(self) -> None:
        self.log: defaultdict[str, list[SessionEvent | bytes]] = defaultdict(list)
        self.feeds: dict[str, IFeed] = {}
        self.credit: defaultdict[str, int] = defaultdict(int)
        self.is_held = False
        self.is_unsent = 0
        self._pouring = False

    def open(self, feed: IFeed) -> None:
        assert feed.session_id not in self.feeds, "two tracks of one session at once"
        self.feeds[feed.session_id] = feed

    def announce(self, event: SessionEvent) -> None:
        self.log[event.session_id].append(event)

    def flow(self, feed: IFeed) -> None:
        assert self.feeds[feed.session_id] is feed
        self._pull(feed)

    def close(self, feed: IFeed) -> None:
        assert self.feeds.pop(feed.session_id) is feed

    def held(self, session_id: str) -> bool:
        return self.is_held

    def unsent(self, session_id: str) -> int:
        return self.is_unsent

    def stats(self, session_id: str) -> DeliveryStats:
        return DeliveryStats(1, None, 2.5, self.credit[session_id], self.is_held, 3, 4)

    def pull(self, session_id: str, most: int) -> None:
        """Give credit, and take what is there."""
        self.credit[session_id] += most
        if session_id in self.feeds:
            self._pull(self.feeds[session_id])

    def _pull(self, feed: IFeed) -> None:
        assert not self._pouring, "told of packets while taking some"
        session_id = feed.session_id
        self._pouring = True
        self.credit[session_id] -= feed.pour(self.credit[session_id], self.log[session_id].append)
        self._pouring = False
        assert self.credit[session_id] >= 0, "got more than it had credit for"


class SessionTestCase(SynchronousTestCase):
    hold_resolver = False
    encode_at_once = True

    def setUp(self) -> None:
        self.fds = open_fds()
        self.reactor = FakeReactor()
        self.encoders = FakeEncoders(self.reactor, self.encode_at_once)
        self.spawner = Spawner(self.reactor.as_reactor, {})
        self.resolver = FakeResolver(TONE, SONG, hold=self.hold_resolver)
        self.listener = Listener()
        workshop = Workshop(self.reactor.as_reactor, self.spawner, self.encoders, "ffmpeg", complexity=0)
        self.house = House(workshop, self.resolver, self.listener, bitrate=64_000, idle_timeout=IDLE_TIMEOUT)
        self.registry = Registry(self.house, max_sessions=3)
        self.addCleanup(self.clean_up)

    def clean_up(self) -> None:
        self.registry.shut_down()
        self.reap()

    def play(self, session_id: str = "a", url: str = SONG.url, format: str = "pcm", **options: Any) -> str:
        return self.registry.play(session_id, Play(url, format, **options))  # type: ignore[arg-type]

    @property
    def child(self) -> FakeChild:
        return self.reactor.children[-1]

    def turn(self) -> None:
        """Let jobs be done and what they lead to happen."""
        self.reactor.settle()

    def write(self, count: int, first: int = 0) -> None:
        """Numbered frames, out of the latest child."""
        self.child.write(frames(count, first))
        self.turn()

    def exit(self, signal: int | None = None) -> None:
        self.child.exit(signal)
        self.turn()

    def reap(self) -> None:
        """Whatever was killed is gone."""
        self.reactor.end()
        self.turn()

    def pull(self, most: int, session_id: str = "a") -> None:
        self.listener.pull(session_id, most)
        self.turn()

    def types(self, session_id: str = "a") -> list[str]:
        """The log with packets of PCM as the numbers they are filled with."""
        return [
            str(said[0]) if isinstance(said, bytes) else type(said).__name__.lower()
            for said in self.listener.log[session_id]
        ]

    def last(self, session_id: str = "a") -> SessionEvent:
        said = self.listener.log[session_id][-1]
        assert isinstance(said, SessionEvent)
        return said

    def packets(self, session_id: str = "a") -> list[bytes]:
        return [said for said in self.listener.log[session_id] if isinstance(said, bytes)]

    @property
    def living(self) -> int:
        """Children that run and were not killed."""
        return sum(child.alive and not child.signals for child in self.reactor.children)

    def assert_nothing_left(self) -> None:
        self.reap()
        self.reactor.advance(0.02)
        self.assertEqual(self.registry.snapshots(), [])
        self.assertEqual(self.registry._leaving, {})
        self.assertEqual(self.spawner.children, 0)
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(open_fds() - self.fds, set())
