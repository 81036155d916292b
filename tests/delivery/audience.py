"""What clients must be sent, beside a hub that sends it.

What happens in a session is written down in its order; that is the session's `truth`. Whatever a client is sent must be
the next entry of it, at a `cursor` that goes back only for a client that says what it really holds, and only to there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from twisted.internet.interfaces import IReactorTime

from audiosvc.delivery.hub import Hub
from audiosvc.delivery.stream import IConnection
from audiosvc.interfaces import IFeed
from audiosvc.wire.messages import (
    CREDIT_MOST,
    TERMINAL,
    Attached,
    Credit,
    Greeting,
    Held,
    Line,
    Packet,
    Refused,
    SessionEvent,
    Status,
    Subscribe,
    Unsubscribe,
)

RING = 40
"""The ring's size here, so that it is outrun now and then."""

HEADERS_SECONDS = 0.041
"""By how much a position is off that was counted back over an Ogg's two pages of headers, which last no time."""


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


@dataclass
class Told:
    """What is known of a session that has been played, and how much of it was sent to its owner."""

    truth: list[Fact] = field(default_factory=list)
    owner: Wishing | None = None
    known: bool = False
    """Whether the hub knows of it: from its first track on, until nobody has come back for its last for long."""
    told: bool = False
    cursor: int = 0
    ring_start: int = 0
    received: int | None = None
    """How much of the truth was really received, where what was sent has been lost since."""
    track_id: str = ""

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

    @property
    def waiting(self) -> list[Fact]:
        return self.truth[self.cursor :]


class Wishing:
    """What a client has said."""

    def __init__(self, order: int) -> None:
        self.order = order
        self.named: dict[str, int] | None = None
        self.declined: set[str] = set()
        self.allowed: dict[str, int] = {}
        self.brought: dict[str, int | Held] = {}

    def claim(self, session_id: str) -> tuple[int, int]:
        if self.named is not None:
            return (2, self.named[session_id]) if session_id in self.named else (0, 0)
        return (0, 0) if session_id in self.declined else (1, self.order)


class Audience:
    """All sessions and those who hear them."""

    def __init__(self) -> None:
        self.sessions: dict[str, Told] = {}
        self.clients: list[Wishing] = []
        self.turn = 0

    def session(self, session_id: str) -> Told:
        return self.sessions.setdefault(session_id, Told())

    def settle(self) -> None:
        """Who hears what from now on: to be called just before the hub is told of what changes it."""
        for session_id, session in self.sessions.items():
            if not session.known:
                continue
            claims = [client for client in self.clients if client.claim(session_id) > (0, 0)]
            best = max(claims, key=lambda client: client.claim(session_id), default=None)
            if best is not None and best is not session.owner:
                self._hand_over(session, best.brought.pop(session_id, None))
            session.owner = best

    def _hand_over(self, session: Told, brought: int | Held | None) -> None:
        session.told = False
        if isinstance(brought, int):
            brought = Held(brought, session.track_id)
        place = session.place_of(brought) if brought is not None else None
        if place is not None:
            if brought == session.held():
                received = session.cursor if session.received is None else session.received
                assert place <= received
                assert not any(isinstance(fact.what, Packet) for fact in session.truth[place:received])
            session.cursor = place
        session.received = None

    def heard(self, client: Wishing, message: Packet | SessionEvent) -> None:
        """`client` was sent `message`."""
        session = self.sessions[message.session_id]
        assert session.owner is client, "only the owner hears a session"
        behind = session.truth[session.cursor - 1] if session.cursor else None
        if isinstance(message, Attached):
            assert not session.told and behind is not None
            assert (message.track_id, message.packets) == (behind.track_id, behind.packets)
            assert abs(message.position - behind.position) <= HEADERS_SECONDS
            over = any(f.track_id == behind.track_id and isinstance(f.what, TERMINAL) for f in session.truth)
            assert over or message.status == behind.status
            session.told = True
            return
        middle = behind is not None and not isinstance(behind.what, TERMINAL)
        assert session.told or not middle or session.cursor == session.ring_start
        assert message == session.truth[session.cursor].what, "not what came next"
        session.told = True
        session.cursor += 1
        session.ring_start = max(session.ring_start, session.cursor - RING)
        if isinstance(message, Packet) and message.session_id in client.allowed:
            client.allowed[message.session_id] -= 1
            assert client.allowed[message.session_id] >= 0, "more packets than there was credit for"


class WatchedHub(Hub):
    """Tells `audience` of everything before it does it. `clients` are those whom connections belong to."""

    def __init__(self, audience: Audience, reactor: IReactorTime, consumer_timeout: float) -> None:
        super().__init__(reactor, consumer_timeout, lambda going: None)
        self.audience = audience
        self.clients: dict[IConnection, Wishing] = {}

    def _client(self, connection: IConnection) -> Any:
        return self.clients.get(connection, connection)

    def open(self, feed: IFeed) -> None:
        session = self.audience.session(feed.session_id)
        session.known, session.track_id = True, feed.track_id
        self.audience.settle()
        super().open(feed)

    def take(self, connection: IConnection, line: Line) -> Refused | None:
        client, audience = self._client(connection), self.audience
        if isinstance(line, Greeting):
            if client not in audience.clients:
                client.brought.update(line.resume)
        elif isinstance(line, Credit):
            client.allowed[line.session_id] = min(CREDIT_MOST, client.allowed.get(line.session_id, 0) + line.packets)
        elif isinstance(line, Subscribe):
            audience.turn += 1
            client.declined.clear()
            client.named = {**(client.named or {}), line.session_id: audience.turn}
            audience.settle()
        elif isinstance(line, Unsubscribe):
            if client.named is None:
                client.declined.add(line.session_id)
            else:
                client.named.pop(line.session_id, None)
            audience.settle()
            client.allowed.pop(line.session_id, None)
        return super().take(connection, line)

    def join(self, connection: IConnection) -> None:
        self.audience.clients.append(self._client(connection))
        self.audience.settle()
        super().join(connection)

    def leave(self, connection: IConnection) -> None:
        client = self._client(connection)
        if client in self.audience.clients:
            self.audience.clients.remove(client)
            self.audience.settle()
        super().leave(connection)

    def _forget(self, session_id: str) -> None:
        session = self.audience.sessions[session_id]
        assert session.owner is None or not session.waiting, "forgotten before it was sent"
        session.known = session.told = False
        session.owner = session.received = None
        session.cursor = session.ring_start = len(session.truth)
        super()._forget(session_id)
