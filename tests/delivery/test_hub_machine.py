"""Clients come, go, lose what was in their sockets and come back, while sessions play: nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_SECONDS
from audiosvc.delivery import stream
from audiosvc.delivery.hub import Hub
from audiosvc.wire.messages import (
    CREDIT_MOST,
    Attached,
    Credit,
    Detached,
    Finished,
    Greeting,
    Metadata,
    Packet,
    Paused,
    Ready,
    Resumed,
    Seeked,
    SessionEvent,
    Status,
    Stopped,
    Subscribe,
    Unsubscribe,
)
from tests.delivery.audience import RING, Audience, Fact, Told, WatchedHub, Wishing
from tests.fakes import FakeConnection

ids = st.sampled_from("abc")
some = st.integers(0, 1000)


class Feed:
    """A track of `total` packets. Like a pipeline it holds the last one back, and finds more while it is poured."""

    def __init__(self, hub: Hub, truth: list[Fact], session_id: str, track_id: str, total: int) -> None:
        self.hub, self.truth, self.session_id, self.track_id, self.total = hub, truth, session_id, track_id, total
        self.made = self.late = self.poured = 0
        self.announced = self.over = False
        self.position = 0.0
        self.status: Status = "extracting"

    @property
    def flowing(self) -> bool:
        return self.status == "streaming"

    @property
    def ready(self) -> int:
        return max(0, self.made - self.poured - (self.made < self.total)) if self.flowing else 0

    def make(self, count: int, late: int) -> None:
        self.made = min(self.total, self.made + count)
        self.late = late
        if not self.announced:
            self.announced, self.status = True, "streaming"
            self.say(Ready, url="u", format="opus", position=0.0)
        self.hub.flow(self)

    def say(self, event: type[SessionEvent], moved_to: float | None = None, **fields: object) -> None:
        said = event(self.session_id, self.track_id, **fields)
        moved_to = self.position if moved_to is None else moved_to
        self.truth.append(Fact(said, self.track_id, self.poured, moved_to, self.status))
        self.hub.announce(said)
        self.position = moved_to

    def pour(self, most: int, into: Callable[[bytes], None]) -> int:
        count = min(most, self.ready)
        if count and self.late:
            self.made, self.late = min(self.total, self.made + self.late), 0
            self.hub.flow(self)
        for _ in range(count):
            payload = f"{self.track_id}:{self.poured + 1}".encode()
            self.position = round(self.position + FRAME_SECONDS, 3)
            packet = Packet(self.session_id, payload)
            self.truth.append(Fact(packet, self.track_id, self.poured, self.position, self.status))
            self.poured += 1
            into(payload)
        if self.poured == self.total:
            self.end(Finished(self.session_id, self.track_id, 1.0))
        return count

    def end(self, event: SessionEvent) -> None:
        self.over = True
        self.truth.append(Fact(event, self.track_id, self.poured, self.position, "stopped"))
        self.hub.announce(event)
        self.hub.close(self)

    @property
    def sent(self) -> int:
        return self.poured

    def rewind(self, packets: int) -> bool:
        return False

    def underran(self) -> None:
        pass

    def abandoned(self) -> None:
        raise AssertionError("nobody waits that long here")


class Client(FakeConnection, Wishing):
    """A connection, what it has said, and how far the test has looked at what it got."""

    def __init__(self, order: int) -> None:
        FakeConnection.__init__(self, order)
        Wishing.__init__(self, order)
        self.seen = 0


class DeliveryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        ring = mock.patch.multiple(stream, RING_ENTRIES=RING, RING_BYTES=0)
        ring.start()
        self.undo = ring.stop
        self.clock = Clock()
        self.audience = Audience()
        self.hub = WatchedHub(self.audience, self.clock, 1e9)
        self.feeds: dict[str, Feed] = {}
        self.tracks = self.order = 0

    @property
    def sessions(self) -> dict[str, Told]:
        return self.audience.sessions

    @property
    def clients(self) -> list[Client]:
        return cast("list[Client]", self.audience.clients)

    def teardown(self) -> None:
        """In the end somebody hears all of it."""
        try:
            while self.clients:
                self.leave(0, 0)
                self.listen()
            self.connect(set(), dict.fromkeys("abc", 0), honest=True)
            for session_id, session in self.sessions.items():
                for _ in range(20):
                    self.steer(session_id, "resume")
                    self.make(session_id, 60, 0)
                    self.give_credit(0, session_id, CREDIT_MOST)
                    self.listen()
                assert self.feed(session_id) is None
                assert session.cursor == len(session.truth)
            self.hub.stop()
            assert not self.clock.getDelayedCalls()
        finally:
            self.undo()

    # --- what sessions do -------------------------------------------------------------------------------------------

    @rule(session_id=ids, total=st.integers(1, 60), made=st.integers(0, 60))
    def play(self, session_id: str, total: int, made: int) -> None:
        self.stop(session_id, "replaced")
        self.tracks += 1
        feed = Feed(self.hub, self.audience.session(session_id).truth, session_id, f"t{self.tracks}", total)
        self.feeds[session_id] = feed
        self.hub.open(feed)
        if made:
            feed.make(made, 0)

    def feed(self, session_id: str) -> Feed | None:
        feed = self.feeds.get(session_id)
        return feed if feed is not None and not feed.over else None

    @rule(session_id=ids, count=st.integers(1, 60), late=st.integers(0, 5))
    def make(self, session_id: str, count: int, late: int) -> None:
        if feed := self.feed(session_id):
            feed.make(count, late)

    @rule(session_id=ids, what=st.sampled_from(["pause", "resume", "seek", "metadata"]))
    def steer(self, session_id: str, what: str) -> None:
        feed = self.feed(session_id)
        if feed is None or not feed.announced:
            return
        if what == "seek":
            to = 100.0 * len(feed.truth)
            feed.say(Seeked, to, position=to, previous=feed.position)
        elif what == "metadata":
            feed.say(Metadata, title="title")
        elif what == "pause" and feed.status == "streaming":
            feed.status = "paused"
            feed.say(Paused, position=feed.position)
        elif what == "resume" and feed.status == "paused":
            feed.status = "streaming"
            feed.say(Resumed, position=feed.position)
            self.hub.flow(feed)

    @rule(session_id=ids)
    def stop(self, session_id: str, reason: str = "stop") -> None:
        if feed := self.feed(session_id):
            feed.end(Stopped(session_id, feed.track_id, reason, 1.0))

    @rule(ticks=st.integers(1, 30))
    def pass_time(self, ticks: int) -> None:
        self.clock.advance(ticks * FRAME_SECONDS)

    # --- what clients do --------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.clients) < 4)
    @rule(names=st.sets(ids), credit=st.dictionaries(ids, st.integers(0, 60)), honest=st.booleans())
    def connect(self, names: set[str], credit: dict[str, int], honest: bool) -> None:
        """With `honest`, it says what was really received; else it goes on wherever the daemon does."""
        self.order += 1
        client = Client(self.order)
        if honest:
            brought = {s: held for s, session in self.sessions.items() if (held := session.held())}
            self.hub.take(client, Greeting("test/1", resume=brought))
        for session_id, packets in credit.items():
            self.hub.take(client, Credit(session_id, packets))
        for session_id in names:
            self.hub.take(client, Subscribe(session_id))
        self.hub.join(client)

    def client(self, which: int) -> Client:
        return self.clients[which % len(self.clients)]

    @precondition(lambda self: self.clients)
    @rule(which=some, session_id=ids)
    def subscribe(self, which: int, session_id: str) -> None:
        self.hub.take(self.client(which), Subscribe(session_id))

    @precondition(lambda self: self.clients)
    @rule(which=some, session_id=ids)
    def unsubscribe(self, which: int, session_id: str) -> None:
        self.hub.take(self.client(which), Unsubscribe(session_id))

    @precondition(lambda self: self.clients)
    @rule(which=some, session_id=ids, packets=st.integers(0, 60))
    def give_credit(self, which: int, session_id: str, packets: int) -> None:
        self.hub.take(self.client(which), Credit(session_id, packets))

    @precondition(lambda self: self.clients)
    @rule(which=some)
    def fill_or_drain(self, which: int) -> None:
        client = self.client(which)
        client.paused = not client.paused
        if not client.paused:
            self.hub.resume(client)

    @precondition(lambda self: self.clients)
    @rule(which=some, lost=st.integers(0, 60))
    def leave(self, which: int, lost: int) -> None:
        """The socket breaks: the last `lost` messages sent were never read, of the sessions that are still its own."""
        client = self.client(which)
        mine = {session_id: session for session_id, session in self.sessions.items() if session.owner is client}
        unread = []
        for message in reversed(client.received):
            if len(unread) == lost or isinstance(message, Detached) or message.session_id not in mine:
                break
            unread.append(message)
        for session_id, session in mine.items():
            gone = sum(1 for m in unread if m.session_id == session_id and not isinstance(m, Attached))
            if gone and session.received is None:
                session.received = session.cursor - gone
        self.hub.leave(client)

    # --- what must be so --------------------------------------------------------------------------------------------

    @invariant()
    def listen(self) -> None:
        """Look at all that was sent in the last step."""
        for client in self.clients:
            while client.seen < len(client.received):
                message = client.received[client.seen]
                client.seen += 1
                if not isinstance(message, Detached):
                    self.audience.heard(client, message)
        for session_id, session in self.sessions.items():
            self.nothing_is_held_up(session_id, session)

    def nothing_is_held_up(self, session_id: str, session: Told) -> None:
        client = cast("Client | None", session.owner)
        if client is None or client.paused:
            return
        waiting, feed = session.waiting, self.feed(session_id)
        assert not waiting or isinstance(waiting[0].what, Packet), "events need no credit"
        if client.allowed.get(session_id):
            assert not waiting and (feed is None or not feed.ready)


class NothingIsLostOrDoubled(SynchronousTestCase):
    def test_whatever_clients_and_sessions_do(self) -> None:
        run_state_machine_as_test(
            DeliveryMachine,
            settings=settings(
                max_examples=150,
                stateful_step_count=40,
                deadline=None,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
