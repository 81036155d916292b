"""Clients come, go, lose what was in their sockets and come back, while sessions play: nothing is lost or doubled.

The feeds write down what happens in its order; that is a session's `truth`. Whatever listeners are sent must be the
next entry of it, at a `cursor` that goes back only for a client that says what it really holds, and only to there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
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
    Status,
    Stopped,
    Subscribe,
    Unsubscribe,
)
from tests.fakes import FakeConnection

RING = 40
"""The ring's size here, so that it is outrun now and then."""

sessions = st.sampled_from("abc")
some = st.integers(0, 1000)


@dataclass
class Fact:
    """A packet or event of a track, behind `before` of its packets; `position` and `status` are those behind it."""

    what: Packet | SessionEvent
    track_id: str
    before: int
    position: float
    status: Status

    @property
    def packets(self) -> int:
        return self.before + isinstance(self.what, Packet)


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

    def underran(self) -> None:
        pass

    def abandoned(self) -> None:
        raise AssertionError("nobody waits that long here")


@dataclass
class Session:
    """What the test knows of a session that has been played."""

    truth: list[Fact] = field(default_factory=list)
    feed: Feed | None = None
    owner: Client | None = None
    told: bool = False
    cursor: int = 0
    ring_start: int = 0
    received: int | None = None
    """How much of the truth was really received, where what was sent has been lost since."""

    def held(self) -> Held | None:
        end = self.cursor if self.received is None else self.received
        return Held(self.truth[end - 1].packets, self.truth[end - 1].track_id) if end else None

    def place_of(self, held: Held) -> int | None:
        """Where the first entry lies that is behind the packets held, if all that follow them can be sent again."""
        for i in range(self.ring_start, self.cursor):
            fact = self.truth[i]
            if fact.track_id == held.track_id and fact.before >= held.packets:
                return i if fact.before == held.packets else None
        return None


class Client(FakeConnection):
    """A connection, what it has said, and how far the test has looked at what it got."""

    def __init__(self, order: int) -> None:
        super().__init__(order)
        self.order = order
        self.named: dict[str, int] | None = None
        self.declined: set[str] = set()
        self.allowed: dict[str, int] = {}
        self.brought: dict[str, Held] = {}
        self.seen = 0

    def claim(self, session_id: str) -> tuple[int, int]:
        if self.named is not None:
            return (2, self.named[session_id]) if session_id in self.named else (0, 0)
        return (0, 0) if session_id in self.declined else (1, self.order)


class DeliveryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        ring = mock.patch.multiple(stream, RING_ENTRIES=RING, RING_BYTES=0)
        ring.start()
        self.undo = ring.stop
        self.clock = Clock()
        self.hub = Hub(self.clock, 1e9, lambda going: None)
        self.sessions: dict[str, Session] = {}
        self.clients: list[Client] = []
        self.tracks = self.order = self.turn = 0

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
                assert session.feed is None or session.feed.over
                assert session.cursor == len(session.truth)
            self.hub.stop()
            assert not self.clock.getDelayedCalls()
        finally:
            self.undo()

    # --- what sessions do -------------------------------------------------------------------------------------------

    @rule(session_id=sessions, total=st.integers(1, 60), made=st.integers(0, 60))
    def play(self, session_id: str, total: int, made: int) -> None:
        self.stop(session_id, "replaced")
        session = self.sessions.setdefault(session_id, Session())
        self.tracks += 1
        session.feed = Feed(self.hub, session.truth, session_id, f"t{self.tracks}", total)
        self.settle()
        self.hub.open(session.feed)
        if made:
            session.feed.make(made, 0)

    def feed(self, session_id: str) -> Feed | None:
        session = self.sessions.get(session_id)
        return session.feed if session is not None and session.feed is not None and not session.feed.over else None

    @rule(session_id=sessions, count=st.integers(1, 60), late=st.integers(0, 5))
    def make(self, session_id: str, count: int, late: int) -> None:
        if feed := self.feed(session_id):
            feed.make(count, late)

    @rule(session_id=sessions, what=st.sampled_from(["pause", "resume", "seek", "metadata"]))
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

    @rule(session_id=sessions)
    def stop(self, session_id: str, reason: str = "stop") -> None:
        if feed := self.feed(session_id):
            feed.end(Stopped(session_id, feed.track_id, reason, 1.0))

    @rule(ticks=st.integers(1, 30))
    def pass_time(self, ticks: int) -> None:
        self.clock.advance(ticks * FRAME_SECONDS)

    # --- what clients do --------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.clients) < 4)
    @rule(names=st.sets(sessions), credit=st.dictionaries(sessions, st.integers(0, 60)), honest=st.booleans())
    def connect(self, names: set[str], credit: dict[str, int], honest: bool) -> None:
        """With `honest`, it says what was really received; else it goes on wherever the daemon does."""
        self.order += 1
        client = Client(self.order)
        if honest:
            client.brought = {s: held for s, session in self.sessions.items() if (held := session.held())}
            self.hub.take(client, Greeting("test/1", resume=dict(client.brought)))
        self.clients.append(client)
        for session_id, packets in credit.items():
            self.give_credit(-1, session_id, packets)
        for session_id in names:
            self.subscribe(-1, session_id, joined=False)
        self.settle()
        self.hub.join(client)

    def client(self, which: int) -> Client:
        return self.clients[which % len(self.clients)]

    @precondition(lambda self: self.clients)
    @rule(which=some, session_id=sessions)
    def subscribe(self, which: int, session_id: str, joined: bool = True) -> None:
        client = self.client(which)
        self.turn += 1
        client.named = {**(client.named or {}), session_id: self.turn}
        if joined:
            self.settle()
        self.hub.take(client, Subscribe(session_id))

    @precondition(lambda self: self.clients)
    @rule(which=some, session_id=sessions)
    def unsubscribe(self, which: int, session_id: str) -> None:
        client = self.client(which)
        if client.named is None:
            client.declined.add(session_id)
        else:
            client.named.pop(session_id, None)
        self.settle()
        client.allowed.pop(session_id, None)
        self.hub.take(client, Unsubscribe(session_id))

    @precondition(lambda self: self.clients)
    @rule(which=some, session_id=sessions, packets=st.integers(0, 60))
    def give_credit(self, which: int, session_id: str, packets: int) -> None:
        client = self.client(which)
        client.allowed[session_id] = min(CREDIT_MOST, client.allowed.get(session_id, 0) + packets)
        self.hub.take(client, Credit(session_id, packets))

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
        self.clients.remove(client)
        self.settle()
        self.hub.leave(client)

    # --- what must be so --------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Who hears what from now on: to be called just before the hub is told of what changes it."""
        for session_id, session in self.sessions.items():
            claims = [client for client in self.clients if client.claim(session_id) > (0, 0)]
            best = max(claims, key=lambda client: client.claim(session_id), default=None)
            if best is not None and best is not session.owner:
                self.hand_over(session, best.brought.pop(session_id, None))
            session.owner = best

    def hand_over(self, session: Session, brought: Held | None) -> None:
        session.told = False
        place = session.place_of(brought) if brought is not None else None
        if place is not None:
            if brought == session.held():
                received = session.cursor if session.received is None else session.received
                assert place <= received
                assert not any(isinstance(fact.what, Packet) for fact in session.truth[place:received])
            session.cursor = place
        session.received = None

    @invariant()
    def listen(self) -> None:
        """Look at all that was sent in the last step."""
        for client in self.clients:
            while client.seen < len(client.received):
                message = client.received[client.seen]
                client.seen += 1
                if not isinstance(message, Detached):
                    self.heard(client, message)
        for session_id, session in self.sessions.items():
            self.nothing_is_held_up(session_id, session)

    def heard(self, client: Client, message: Packet | SessionEvent) -> None:
        session = self.sessions[message.session_id]
        assert session.owner is client, "only the owner hears a session"
        behind = session.truth[session.cursor - 1] if session.cursor else None
        if isinstance(message, Attached):
            assert not session.told and behind is not None
            assert (message.track_id, message.packets) == (behind.track_id, behind.packets)
            assert message.position == round(behind.position, 3)
            over = any(f.track_id == behind.track_id and isinstance(f.what, TERMINAL) for f in session.truth)
            assert over or message.status == behind.status
            session.told = True
            return
        middle = behind is not None and not isinstance(behind.what, TERMINAL)
        assert session.told or not middle or session.cursor == session.ring_start
        assert message == session.truth[session.cursor].what
        session.told = True
        session.cursor += 1
        session.ring_start = max(session.ring_start, session.cursor - RING)
        if isinstance(message, Packet) and message.session_id in client.allowed:
            client.allowed[message.session_id] -= 1
            assert client.allowed[message.session_id] >= 0

    def nothing_is_held_up(self, session_id: str, session: Session) -> None:
        client = session.owner
        if client is None or client.paused:
            return
        waiting = session.truth[session.cursor :]
        assert not waiting or isinstance(waiting[0].what, Packet), "events need no credit"
        if client.allowed.get(session_id):
            assert not waiting and (session.feed is None or session.feed.over or not session.feed.ready)


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
