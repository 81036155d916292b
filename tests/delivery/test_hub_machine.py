"""Clients come, go, lose what was in their sockets and come back, while sessions play: nothing is lost or doubled.

Each session's `Log` is what the listeners of that session, taken together, really received. Every event of a feed
carries the number of packets before it, so that each message tells its own place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_SECONDS
from audiosvc.delivery import stream
from audiosvc.delivery.hub import Hub
from audiosvc.wire.messages import (
    CREDIT_MOST,
    TERMINAL,
    Attached,
    Credit,
    Detached,
    Finished,
    Greeting,
    Held,
    Metadata,
    Packet,
    Paused,
    Ready,
    Resumed,
    Seeked,
    SessionEvent,
    Stopped,
    Subscribe,
    Unsubscribe,
)
from tests.fakes import FakeConnection

RING = 40
"""The ring's size here, so that it is outrun now and then."""

SESSIONS = ("a", "b", "c")
sessions = st.sampled_from(SESSIONS)
some = st.integers(0, 1000)


class Feed:
    """A track of `total` packets that come as they are made; calls back while it pours, as a pipeline's end does."""

    def __init__(self, hub: Hub, session_id: str, track_id: str, total: int) -> None:
        self.hub, self.session_id, self.track_id, self.total = hub, session_id, track_id, total
        self.made = self.poured = 0
        self.announced = self.paused = self.over = False
        self.position = 0.0
        self.places: dict[int, set[float]] = {0: {0.0}}
        """Where the track may stand behind so many packets."""

    @property
    def flowing(self) -> bool:
        return self.announced and not self.paused

    @property
    def status(self) -> str:
        return "paused" if self.paused else "streaming"

    def make(self, count: int) -> None:
        self.made = min(self.total, self.made + count)
        if not self.announced:
            self.announced = True
            self.say(Ready, url="u", format="opus", position=0.0)
        self.hub.flow(self)

    def say(self, event: type[SessionEvent], **fields: object) -> None:
        self.hub.announce(event(self.session_id, self.track_id, **fields))

    def seek(self, position: float) -> None:
        self.say(Seeked, position=position, previous=self.position)
        self.position = position
        self.places[self.poured].add(position)

    def pour(self, most: int, into: Callable[[bytes], None]) -> int:
        if not self.flowing:
            return 0
        count = min(most, self.made - self.poured)
        if count and self.made < self.total:
            self.made += 1
            self.hub.flow(self)
        for _ in range(count):
            self.poured += 1
            self.position = round(self.position + FRAME_SECONDS, 3)
            self.places[self.poured] = {self.position}
            into(f"{self.track_id}:{self.poured}".encode())
        if self.poured == self.total:
            self.end(Finished, played=self.poured * FRAME_SECONDS)
        return count

    def end(self, event: type[SessionEvent], **fields: object) -> None:
        self.over = True
        self.say(event, **fields)
        self.hub.close(self)

    def underran(self) -> None:
        pass

    def abandoned(self) -> None:
        raise AssertionError("nobody waits that long here")


@dataclass
class Log:
    """What was received of one session. `track` and `packets` are what a client would say that it holds."""

    messages: list[Packet | SessionEvent] = field(default_factory=list)
    behind: list[Packet | SessionEvent] = field(default_factory=list)
    """All that was sent, received or not: what the hub may have in its ring."""
    expected: set[tuple[str, int]] | None = None
    """What the next `attached` may say."""

    @property
    def held(self) -> tuple[str, int]:
        return held_of(self.messages)


def track_of(message: Packet | SessionEvent) -> str:
    return message.payload.decode().partition(":")[0] if isinstance(message, Packet) else message.track_id


def held_of(messages: list[Packet | SessionEvent]) -> tuple[str, int]:
    track = track_of(messages[-1]) if messages else ""
    return track, sum(1 for m in messages if isinstance(m, Packet) and track_of(m) == track)


class DeliveryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.hub = Hub(self.clock, consumer_timeout=1e9)
        self.feeds: dict[str, Feed] = {}
        self.all_feeds: dict[str, Feed] = {}
        self.logs = {session_id: Log() for session_id in SESSIONS}
        self.clients: list[FakeConnection] = []
        self.read: dict[FakeConnection, int] = {}
        self.named: dict[FakeConnection, dict[str, int] | None] = {}
        self.declined: dict[FakeConnection, set[str]] = {}
        self.order = self.turn = 0
        self.gave_up = False

    # --- sessions ---------------------------------------------------------------------------------------------------

    @rule(session_id=sessions, total=st.integers(1, 60), made=st.integers(0, 5))
    def play(self, session_id: str, total: int, made: int) -> None:
        if feed := self.feeds.pop(session_id, None):
            feed.end(Stopped, reason="replaced", played=0.0)
        track_id = f"t{len(self.all_feeds)}"
        feed = self.feeds[session_id] = self.all_feeds[track_id] = Feed(self.hub, session_id, track_id, total)
        self.hub.open(feed)
        if made:
            feed.make(made)

    @rule(session_id=sessions, count=st.integers(1, 60))
    def make(self, session_id: str, count: int) -> None:
        if feed := self.feeds.get(session_id):
            feed.make(count)

    @rule(session_id=sessions, what=st.sampled_from(["pause", "resume", "seek", "metadata"]))
    def steer(self, session_id: str, what: str) -> None:
        feed = self.feeds.get(session_id)
        if feed is None or not feed.announced:
            return
        if what == "seek":
            feed.seek(100.0 * len(feed.places))
        elif what == "metadata":
            feed.say(Metadata, title=str(feed.poured))
        elif what == "pause" and not feed.paused:
            feed.paused = True
            feed.say(Paused, position=feed.position)
        elif what == "resume" and feed.paused:
            feed.paused = False
            feed.say(Resumed, position=feed.position)
            self.hub.flow(feed)

    @rule(session_id=sessions)
    def stop(self, session_id: str) -> None:
        if feed := self.feeds.pop(session_id, None):
            feed.end(Stopped, reason="stop", played=0.0)

    @rule(ticks=st.integers(1, 8))
    def pass_time(self, ticks: int) -> None:
        self.clock.advance(ticks * FRAME_SECONDS)

    # --- clients ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.clients) < 4)
    @rule(names=st.sets(sessions), credit=st.dictionaries(sessions, st.integers(0, 60)), honest=st.booleans())
    def connect(self, names: set[str], credit: dict[str, int], honest: bool) -> FakeConnection:
        """With `honest`, it says what was really received; else it starts wherever the daemon goes on."""
        self.order += 1
        client = FakeConnection(self.order)
        if honest:
            held = {s: Held(packets, track) for s, log in self.logs.items() for track, packets in [log.held] if track}
            self.hub.take(client, Greeting("test/1", resume=held))
        for session_id, packets in credit.items():
            self.hub.take(client, Credit(session_id, packets))
        self.named[client], self.declined[client] = None, set()
        for session_id in sorted(names):
            self.subscribe_one(client, session_id)
        self.read[client] = 0
        self.clients.append(client)
        self.hub.join(client)
        return client

    def subscribe_one(self, client: FakeConnection, session_id: str) -> None:
        self.turn += 1
        named = self.named[client] or {}
        self.named[client] = {**named, session_id: self.turn}
        self.hub.take(client, Subscribe(session_id))

    @precondition(lambda self: self.clients)
    @rule(which=some, session_id=sessions)
    def subscribe(self, which: int, session_id: str) -> None:
        self.subscribe_one(self.clients[which % len(self.clients)], session_id)

    @precondition(lambda self: self.clients)
    @rule(which=some, session_id=sessions)
    def unsubscribe(self, which: int, session_id: str) -> None:
        client = self.clients[which % len(self.clients)]
        named = self.named[client]
        if named is None:
            self.declined[client].add(session_id)
        else:
            named.pop(session_id, None)
        self.hub.take(client, Unsubscribe(session_id))

    @precondition(lambda self: self.clients)
    @rule(which=some, session_id=sessions, packets=st.integers(0, 60))
    def credit(self, which: int, session_id: str, packets: int) -> None:
        self.hub.take(self.clients[which % len(self.clients)], Credit(session_id, packets))

    @precondition(lambda self: self.clients)
    @rule(which=some)
    def fill_or_drain(self, which: int) -> None:
        client = self.clients[which % len(self.clients)]
        client.paused = not client.paused
        if not client.paused:
            self.hub.resume(client)
