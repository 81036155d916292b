"""What the tests of delivery share: a stream and a hub with fake feeds and connections about them."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_SECONDS
from audiosvc.delivery.hub import Hub
from audiosvc.delivery.stream import Stream, Tally
from audiosvc.wire.messages import Attached, Credit, Finished, Held, Line, Packet, Ready, Refused, SessionEvent
from tests.fakes import FakeConnection, FakeFeed

TIMEOUT = 60.0


class StreamTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.tally = Tally()
        self.stream = Stream("a", self.tally)

    def open(self, track_id: str = "t1", packets: int = 0) -> FakeFeed:
        self.feed = FakeFeed("a", track_id)
        self.feed.fill(packets)
        self.stream.open(self.feed)
        return self.feed

    def say(self, event: type[SessionEvent], **fields: object) -> None:
        self.stream.announce(event("a", self.feed.track_id, **fields))

    def ready(self) -> None:
        self.say(Ready, url="u", format="opus", position=self.feed.position)

    def end(self, event: type[SessionEvent] = Finished, **fields: object) -> None:
        self.say(event, played=1.0, **fields)
        self.stream.close()

    def attach(self, held: int | Held | None = None, paused: bool = False, most: int = 0) -> FakeConnection:
        """A new owner, served at once with as many packets as are due."""
        connection = FakeConnection()
        connection.paused = paused
        self.stream.attach(connection, held)
        if not paused:
            self.pull(most)
        return connection

    def pull(self, most: int) -> int:
        """As `Stream.pull`, and write it."""
        pulled = self.stream.pull(most)
        assert isinstance(self.stream.owner, FakeConnection)
        self.stream.owner.flush()
        return pulled

    def heard(self, connection: FakeConnection) -> list[str]:
        """What was received, in short: packets as `t1:4`, events by their names."""
        connection.flush()
        return [m.payload.decode() if isinstance(m, Packet) else type(m).__name__.lower() for m in connection.received]

    def attached(self, connection: FakeConnection) -> Attached:
        connection.flush()
        first = connection.received[0]
        assert isinstance(first, Attached), first
        return first

    def lost(self, connection: FakeConnection) -> None:
        assert self.stream.owner is connection
        self.stream.owner = None


class HubTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.hub = Hub(self.clock, TIMEOUT, lambda going: self.on_beat(going))
        self.beats: list[bool] = []
        self.on_beat: Callable[[bool], None] = self.beats.append
        self.order = 0

    def connect(self, *lines: Line) -> FakeConnection:
        self.order += 1
        connection = FakeConnection(self.order)
        for line in lines:
            self.assertIsNone(self.hub.take(connection, line))
        self.hub.join(connection)
        return connection

    def open(self, session_id: str = "a", packets: int = 0, track_id: str = "t1") -> FakeFeed:
        """A track that has begun to give packets."""
        feed = FakeFeed(session_id, track_id)
        self.hub.open(feed)
        self.hub.announce(Ready(session_id, track_id, "u", "opus", 0.0))
        self.fill(feed, packets, 1)
        return feed

    def fill(self, feed: FakeFeed, packets: int, first: int) -> None:
        feed.fill(packets, first)
        self.hub.flow(feed)

    def finish(self, feed: FakeFeed) -> None:
        self.hub.announce(Finished(feed.session_id, feed.track_id, 1.0))
        self.hub.close(feed)

    def credit(self, connection: FakeConnection, packets: int, session_id: str = "a") -> None:
        self.assertIsNone(self.hub.take(connection, Credit(session_id, packets)))

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.advance(FRAME_SECONDS)

    def refusal(self, connection: FakeConnection, line: Line) -> str:
        refused = self.hub.take(connection, line)
        assert isinstance(refused, Refused)
        return refused.code
