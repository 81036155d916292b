"""One session id as it goes over the wire: packets and events in one order, whoever hears them.

What has been sent stays in a ring for a client that comes back; what cannot be sent now waits. Both hold entries, and
going back to what a client really holds is moving entries from the ring's end to the front of those that wait.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Protocol, cast

import msgspec

from audiosvc.audio import FRAME_SECONDS
from audiosvc.delivery.wishes import Wishes
from audiosvc.interfaces import IFeed
from audiosvc.wire.codec import HEAD_BYTES, encode_event, id_field, packet_head
from audiosvc.wire.messages import (
    TERMINAL,
    Attached,
    Detached,
    Error,
    Event,
    Finished,
    Held,
    Paused,
    Ready,
    Resumed,
    Seeked,
    SessionEvent,
    Status,
    Stopped,
)

RING_ENTRIES = 600
"""What can always be sent again: the last 10 s of packets, all that credit can have on its way, with events."""

RING_BYTES = 256 * 1024
"""More than `RING_ENTRIES` are kept below this: as much as a socket and its transport hold of small packets, unread."""

EVENT_BYTES = 128
"""What an event counts for among those: less than most take on the wire. If it counted nothing, a session that is
played and stopped again and again, and never heard, would keep all of them."""

WAITING_MOST = 1000
"""Events that may wait for a client, a stream."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A packet or an event in its place: behind the first `before` packets of its track.

    `position` is where the track stood at an event. Rings hold these by the ten thousands, and no cycle can go through
    one, so the garbage collector is not shown them.
    """

    track_id: str
    before: int
    what: bytes | SessionEvent
    position: float = 0.0

    @property
    def is_packet(self) -> bool:
        return isinstance(self.what, bytes)

    @property
    def size(self) -> int:
        """Bytes it takes on the wire, or counts for."""
        return HEAD_BYTES + len(self.what) if isinstance(self.what, bytes) else EVENT_BYTES


@dataclass
class Tally:
    """What all streams and connections have done since start."""

    packets: int = 0
    bytes: int = 0
    resent: int = 0
    underruns: int = 0
    late: int = 0
    missed: int = 0
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

    @property
    def unsent_bytes(self) -> int:
        """Bytes written that its socket has not taken."""

    def hears(self, more: int) -> None:
        """It is the owner of so many `more` streams, or fewer."""

    def put(self, chunk: bytes) -> None:
        """Add to what the next `flush` writes."""

    def flush(self) -> None:
        """Write what was put, in one piece."""


class Stream:
    """The stream of `session_id`. `owner` is the connection that hears it now, `owed` the paced packets it is due.

    `late` packets of its track went out a frame or more after they were due, `missed` ones were given up, and
    `largest_gap` is the longest time in seconds without one that was due. One has been due since `waits_since`, the
    time of the last packet or of the credit for the next; that is infinite where none is.
    While `pulling`, what the feed calls back for is part of that pull: it asks for no other and writes nothing.
    """

    def __init__(self, session_id: str, tally: Tally) -> None:
        self.session_id = session_id
        self.owner: IConnection | None = None
        self.feed: IFeed | None = None
        self.owed = 0
        self.late = 0
        self.missed = 0
        self.largest_gap = 0.0
        self.waits_since = math.inf
        self.fresh = False
        self.pulling = False
        self._tally = tally
        self._field = id_field(session_id)
        self._track_id = ""
        self._number = 0
        self._told = False
        self._ring: deque[Entry] = deque()
        self._ring_bytes = 0
        self._waiting: deque[Entry] = deque()

    # --- from the session -----------------------------------------------------------------------------------------

    def open(self, feed: IFeed) -> None:
        """A track begins."""
        self.feed = feed
        self.owed = self.late = self.missed = 0
        self.largest_gap = 0.0
        self.waits_since = math.inf
        self.fresh = True
        self._track_id = feed.track_id
        self._number = feed.sent

    def close(self) -> None:
        """The track's terminal event is in its place."""
        self.feed = None

    def announce(self, event: SessionEvent) -> None:
        """Send `event`, or let it wait behind what already waits."""
        if isinstance(event, Seeked):
            self.owed = 0
            self.fresh = True
        if isinstance(event, (Seeked, Paused)):
            self.waits_since = math.inf
        entry = Entry(event.track_id, self._number, event, self.feed.position if self.feed is not None else 0.0)
        if self.owner is None or self.owner.paused or self._waiting:
            self._waiting.append(entry)
            if len(self._waiting) > WAITING_MOST:
                self._drop_oldest()
        else:
            self._send(entry)

    # --- to the owner ----------------------------------------------------------------------------------------------

    def pull(self, most: int) -> int:
        """Send what waits and then what the feed has, at most `most` packets; events are free. Returns the packets."""
        self._tell()
        sent = 0
        while self._waiting:
            if self._waiting[0].is_packet:
                if sent == most:
                    return sent
                sent += 1
            self._send(self._waiting.popleft())
        self.pulling = True
        try:
            # Taking packets can make room for more, so ask until there are none.
            while self.feed is not None and sent < most and (poured := self.feed.pour(most - sent, self._packet)):
                sent += poured
        finally:
            self.pulling = False
        return sent

    def sent(self, now: float) -> None:
        """A packet was sent, after whatever time without one."""
        self.largest_gap = max(self.largest_gap, now - self.waits_since)
        self.waits_since = now

    def rest(self) -> None:
        """No packet is due."""
        self.owed = 0
        self.waits_since = math.inf

    @property
    def waiting(self) -> int:
        """Packets and events that could not be sent yet."""
        return len(self._waiting)

    @property
    def unsent(self) -> int:
        """Packets among them."""
        return sum(entry.is_packet for entry in self._waiting)

    @property
    def ring_bytes(self) -> int:
        """What is kept to be sent again."""
        return self._ring_bytes

    @property
    def waits(self) -> bool:
        """Whether there is something that could not be sent yet."""
        return bool(self._waiting)

    @property
    def due(self) -> bool:
        """Whether a paced listener is due a packet every 20 ms."""
        return self.waits or (self.feed is not None and self.feed.flowing)

    def detach(self) -> None:
        """Tell the owner, if it knows of the stream, that it hears it no more."""
        owner, self.owner = self.owner, None
        if owner is None:
            return
        if self._told:
            if middle := self._middle():
                owner.put(encode_event(Detached(self.session_id, middle[0])))
            elif self.feed is not None:
                owner.put(encode_event(Detached(self.session_id, self.feed.track_id)))
        owner.hears(-1)

    def attach(self, connection: IConnection, held: int | Held | None) -> None:
        """Make `connection` the owner, going back to what it holds; the next `pull` says where the stream stands."""
        self.owner = connection
        connection.hears(1)
        self.rest()
        self._told = False
        if held is not None:
            self._tally.resent += self._rewind(held)

    def drop(self) -> None:
        """Forget everything; events that still wait were for nobody."""
        if self.owner is not None:
            self.owner.hears(-1)
        self._tally.events_dropped += sum(1 for entry in self._waiting if not entry.is_packet)
        self._waiting.clear()
        self._ring.clear()

    def _drop_oldest(self) -> None:
        """Drop the oldest event of too many; packets are at most the ring's and stay."""
        events = [i for i, entry in enumerate(self._waiting) if not entry.is_packet]
        if len(events) > WAITING_MOST:
            del self._waiting[events[0]]
            self._tally.events_dropped += 1

    def _rewind(self, held: Held | int) -> int:
        """Let everything behind the packet that is held wait once more; 0 where the ring does not reach back so far."""
        track_id, packets = (self._track_id, held) if isinstance(held, int) else (held.track_id, held.packets)
        if not self._ring and not self._waiting:
            # Taken up after a restart of the daemon: what was sent before can only be made anew.
            if self.feed is not None and track_id == self._track_id and self.feed.rewind(packets):
                self._number = packets
            return 0
        behind = (i for i, e in enumerate(self._ring) if e.track_id == track_id and e.before >= packets)
        keep = next(behind, None)
        if keep is None or self._ring[keep].before > packets:
            return 0
        again = 0
        while len(self._ring) > keep:
            entry = self._ring.pop()
            self._ring_bytes -= entry.size
            again += entry.is_packet
            self._waiting.appendleft(entry)
        return again

    def _middle(self) -> tuple[str, int] | None:
        """The track that a listener is in the middle of, and its packets that lie behind; None between tracks."""
        if self._ring:
            last = self._ring[-1]
            return None if isinstance(last.what, TERMINAL) else (last.track_id, last.before + last.is_packet)
        if not self._waiting:
            return (self._track_id, self._number) if self.feed is not None and self._number else None
        first = self._waiting[0]
        if isinstance(first.what, Ready) or (isinstance(first.what, TERMINAL) and not first.before):
            return None
        return first.track_id, first.before

    def _tell(self) -> None:
        """Tell a new owner where the stream stands, unless it will hear the track from its beginning."""
        if not self._told and self.owner is not None:
            self._told = True
            if attached := self._place():
                self.owner.put(encode_event(attached))

    def _place(self) -> Attached | None:
        """Where the stream stands, for a listener that comes in the middle of a track; None between tracks."""
        middle, feed = self._middle(), self.feed
        if middle is None:
            return None
        position = feed.position if feed is not None else 0.0
        status: Status = feed.status if feed is not None else "streaming"
        for entry in reversed(self._waiting):
            position = position - FRAME_SECONDS if entry.is_packet else entry.position
            match entry.what:
                case Seeked(previous=previous):
                    position = previous
                case Paused() | Finished() | Stopped() | Error():
                    status = "streaming"
                case Resumed():
                    status = "paused"
        track_id, packets = middle
        return Attached(self.session_id, track_id, status, max(0.0, round(position, 3)), packets)

    def _packet(self, payload: bytes) -> None:
        self._send(Entry(self._track_id, self._number, payload))
        self._number += 1

    def _send(self, entry: Entry) -> None:
        owner, what = self.owner, entry.what
        assert owner is not None
        self._ring.append(entry)
        if isinstance(what, bytes):
            size = len(what)
            owner.put(packet_head(self._field, size))
            owner.put(what)
            self._ring_bytes += HEAD_BYTES + size
            self._tally.packets += 1
            self._tally.bytes += size
        else:
            owner.put(encode_event(cast(Event, what)))
            self._ring_bytes += EVENT_BYTES
        while len(self._ring) > RING_ENTRIES and self._ring_bytes > RING_BYTES:
            self._ring_bytes -= self._ring.popleft().size
