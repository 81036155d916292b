"""One session id as it goes over the wire: packets and events in one order, whoever hears them.

What has been sent stays in a ring for a client that comes back; what cannot be sent now waits. Both hold entries, and
going back to what a client really holds is moving entries from the ring's end to the front of those that wait.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

from audiosvc.audio import FRAME_SECONDS
from audiosvc.delivery.wishes import Wishes
from audiosvc.interfaces import IFeed
from audiosvc.wire.codec import encode_event, id_field, packet_head
from audiosvc.wire.messages import TERMINAL, Attached, Detached, Event, Held, Ready, Seeked, SessionEvent

RING_ENTRIES = 500
"""What can be sent again: the last 10 s of packets."""

WAITING_MOST = 1000
"""Events that may wait for a client, a stream."""


class Entry(NamedTuple):
    """A packet (number ≥ 1 within its track) or an event (number 0).

    `position` is the track's at its end, for a terminal event.
    """

    track_id: str
    number: int
    what: bytes | SessionEvent
    position: float = 0.0


@dataclass
class Tally:
    """What all streams and connections have done since start."""

    packets: int = 0
    bytes: int = 0
    resent: int = 0
    underruns: int = 0
    events_dropped: int = 0
    lines_refused: int = 0


class IConnection(Protocol):
    """A client's connection, as those see it who feed it."""

    @property
    def wishes(self) -> Wishes: ...

    @property
    def credit(self) -> dict[str, int]:
        """Packets that may still be sent, of each session it ever gave credit for."""

    @property
    def held(self) -> dict[str, int | Held]:
        """What it held of each session when it came, until it is given the session."""

    @property
    def paused(self) -> bool:
        """Whether its socket is full."""

    def put(self, chunk: bytes) -> None:
        """Add to what the next `flush` writes."""

    def flush(self) -> None:
        """Write what was put, in one piece."""


class Stream:
    """The stream of `session_id`. `owner` is the connection that hears it now, `owed` the paced packets it is due."""

    def __init__(self, session_id: str, tally: Tally) -> None:
        self.session_id = session_id
        self.owner: IConnection | None = None
        self.feed: IFeed | None = None
        self.owed = 0
        self.fresh = False
        self._tally = tally
        self._field = id_field(session_id)
        self._track_id = ""
        self._number = 0
        self._ring: deque[Entry] = deque(maxlen=RING_ENTRIES)
        self._waiting: deque[Entry] = deque()

    # --- from the session -----------------------------------------------------------------------------------------

    def open(self, feed: IFeed) -> None:
        """A track begins."""
        self.feed = feed
        self.owed = 0
        self.fresh = True
        self._track_id = feed.track_id
        self._number = 0

    def close(self) -> None:
        """The track's terminal event is in its place."""
        self.feed = None

    def announce(self, event: SessionEvent) -> None:
        """Send `event`, or let it wait behind what already waits."""
        if isinstance(event, Seeked):
            self.owed = 0
            self.fresh = True
        over = self.feed is not None and isinstance(event, TERMINAL)
        entry = Entry(event.track_id, 0, event, self.feed.position if over and self.feed else 0.0)
        if self.owner is None or self.owner.paused or self._waiting:
            self._waiting.append(entry)
            if len(self._waiting) > WAITING_MOST:
                self._waiting.popleft()
                self._tally.events_dropped += 1
        else:
            self._send(entry)

    # --- to the owner ----------------------------------------------------------------------------------------------

    def pull(self, most: int) -> int:
        """Send what waits and then what the feed has, at most `most` packets; events are free. Returns the packets."""
        sent = 0
        while self._waiting:
            if self._waiting[0].number:
                if sent == most:
                    return sent
                sent += 1
            self._send(self._waiting.popleft())
        if self.feed is not None and sent < most:
            sent += self.feed.pour(most - sent, self._packet)
        return sent

    @property
    def due(self) -> bool:
        """Whether a paced listener is due a packet every 20 ms."""
        return bool(self._waiting) or (self.feed is not None and self.feed.flowing)

    def detach(self) -> None:
        """Tell the owner that it hears the stream no more."""
        if self.owner is not None and self.feed is not None:
            self.owner.put(encode_event(Detached(self.session_id, self.feed.track_id)))
        self.owner = None

    def attach(self, connection: IConnection, held: int | Held | None) -> None:
        """Make `connection` the owner, going back to what it holds."""
        self.owner = connection
        self.owed = 0
        if held is not None:
            self._tally.resent += self._rewind(held)
        if attached := self._place():
            connection.put(encode_event(attached))

    def drop(self) -> None:
        """Forget everything; events that still wait were for nobody."""
        self._tally.events_dropped += sum(1 for entry in self._waiting if not entry.number)
        self._waiting.clear()
        self._ring.clear()

    def _rewind(self, held: Held | int) -> int:
        """Let everything behind the packet that is held wait once more; 0 where the ring does not reach back so far."""
        track_id, packets = (self._track_id, held) if isinstance(held, int) else (held.track_id, held.packets)
        keep = 0
        for i, entry in enumerate(self._ring):
            if entry.track_id == track_id:
                if packets == 0 and isinstance(entry.what, Ready):
                    keep = i
                    break
                if packets and entry.number == packets:
                    keep = i + 1
                    break
        else:
            return 0
        again = 0
        while len(self._ring) > keep:
            entry = self._ring.pop()
            again += entry.number > 0
            self._waiting.appendleft(entry)
        return again

    def _place(self) -> Attached | None:
        """Where the stream stands, for a listener that comes in the middle of a track; None between tracks."""
        feed = self.feed
        track_id = self._ring[-1].track_id if self._ring else self._waiting[0].track_id if self._waiting else ""
        between = not track_id or (self._ring and isinstance(self._ring[-1].what, TERMINAL))
        if between or (not self._ring and isinstance(self._waiting[0].what, Ready)):
            return None
        position = feed.position if feed is not None else 0.0
        packets = self._number if track_id == self._track_id else 0
        for entry in reversed(self._waiting):
            if entry.number:
                position -= FRAME_SECONDS
                if entry.track_id == track_id:
                    packets = entry.number - 1
            elif isinstance(entry.what, Seeked):
                position = entry.what.previous
            elif isinstance(entry.what, TERMINAL):
                position = entry.position
        status = feed.status if feed is not None and not self._waiting else "streaming"
        return Attached(self.session_id, track_id, status, round(position, 3), packets)

    def _packet(self, payload: bytes) -> None:
        self._number += 1
        self._send(Entry(self._track_id, self._number, payload))

    def _send(self, entry: Entry) -> None:
        assert self.owner is not None
        self._ring.append(entry)
        what = entry.what
        if isinstance(what, bytes):
            self.owner.put(packet_head(self._field, len(what)))
            self.owner.put(what)
            self._tally.packets += 1
            self._tally.bytes += len(what)
        else:
            self.owner.put(encode_event(cast(Event, what)))
