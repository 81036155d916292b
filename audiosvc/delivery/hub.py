"""Who hears which session: connections on one side, streams on the other, and the beat that moves packets across.

A session is heard by one connection at a time: the one that subscribed to it last, else the newest that hears all.
What a connection has given no credit for is paced in real time; for the rest credit and packets set the pace.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from audiosvc.delivery.stream import IConnection, Stream, Tally
from audiosvc.flow.pacer import CATCH_UP, Pacer
from audiosvc.interfaces import IFeed
from audiosvc.session.stats import DeliveryStats
from audiosvc.vitals import DeliveryVitals
from audiosvc.wire.messages import CREDIT_MOST, Credit, Greeting, Line, Refused, SessionEvent, Subscribe

LINGER_MOST = 256
"""Streams kept after their track's end for clients that come back for the tail of it."""

LINGER_BYTES = 32 * 1024 * 1024
"""Of their packets together: 128 full rings of Opus (`RING_BYTES`), or 14 of PCM, ten seconds each."""

NAMES_MOST = 4096
"""Sessions that one connection may name, in subscriptions and in credit each."""


class Hub:
    """Implements `interfaces.IPacketSink`; `consumer_timeout` is in seconds.

    `beat` is called with True at every tick before packets are asked for, with False when the ticks cease.
    """

    log = Logger()

    def __init__(self, reactor: IReactorTime, consumer_timeout: float, beat: Callable[[bool], None]) -> None:
        self.pacer = Pacer(reactor, self._tick)
        self.tally = Tally()
        self._reactor = reactor
        self._consumer_timeout = consumer_timeout
        self._beat = beat
        self._streams: dict[str, Stream] = {}
        self._connections: list[IConnection] = []
        self._unheard: dict[str, IDelayedCall] = {}
        self._lingering: OrderedDict[str, IDelayedCall] = OrderedDict()
        self._turn = 0
        self._skipped = 0

    # --- from sessions (IPacketSink) ----------------------------------------------------------------------------

    def open(self, feed: IFeed) -> None:
        session_id = feed.session_id
        if lingering := self._lingering.pop(session_id, None):
            lingering.cancel()
        stream = self._streams.get(session_id)
        if stream is None:
            stream = self._streams[session_id] = Stream(session_id, self.tally)
        stream.open(feed)
        self._settle([stream])

    def announce(self, event: SessionEvent) -> None:
        stream = self._streams[event.session_id]
        stream.announce(event)
        if stream.owner is not None and not stream.pulling:
            stream.owner.flush()

    def flow(self, feed: IFeed) -> None:
        stream = self._streams[feed.session_id]
        if not stream.pulling:
            self._serve(stream)

    def close(self, feed: IFeed) -> None:
        session_id = feed.session_id
        self._streams[session_id].close()
        self._hear(session_id)
        self._lingering[session_id] = self._reactor.callLater(self._consumer_timeout, self._expire, session_id)
        self._make_room()

    def held(self, session_id: str) -> bool:
        owner = self._streams[session_id].owner
        return owner is None or owner.paused or owner.credit.get(session_id) == 0

    def unsent(self, session_id: str) -> int:
        return self._streams[session_id].unsent

    def stats(self, session_id: str) -> DeliveryStats:
        stream = self._streams[session_id]
        owner = stream.owner
        credit = owner.credit.get(session_id) if owner is not None else None
        return DeliveryStats(
            late_packets=stream.late,
            deficit_packets=stream.missed + stream.owed if credit is None else None,
            largest_gap_ms=round(stream.largest_gap * 1000, 3),
            credit_packets=credit,
            held=self.held(session_id),
            waiting_packets=stream.waiting,
            unsent_bytes=owner.unsent_bytes if owner is not None else None,
        )

    # --- from connections ---------------------------------------------------------------------------------------

    def take(self, connection: IConnection, line: Line) -> Refused | None:
        """Do what `line` asks, or say why not."""
        if isinstance(line, Greeting):
            if connection in self._connections:
                return Refused("late_hello", "hello is taken as the first line of a connection only")
            connection.held.update(line.resume)
            return None
        session_id, wishes, credit = line.session_id, connection.wishes, connection.credit
        if isinstance(line, Credit):
            if session_id not in credit and len(credit) >= NAMES_MOST:
                return Refused("too_many_names", f"a connection may give credit to {NAMES_MOST} sessions")
            credit[session_id] = min(CREDIT_MOST, credit.get(session_id, 0) + line.packets)
            stream = self._streams.get(session_id)
            if stream is not None and stream.owner is connection:
                self._serve(stream)
            return None
        if len(wishes) >= NAMES_MOST and session_id not in wishes:
            return Refused("too_many_names", f"a connection may name {NAMES_MOST} sessions")
        heard_all = wishes.hears_all
        if isinstance(line, Subscribe):
            self._turn += 1
            wishes.subscribe(session_id, self._turn)
        else:
            wishes.unsubscribe(session_id)
            credit.pop(session_id, None)
        if connection in self._connections:
            touched = self._streams.get(session_id)
            self._settle(list(self._streams.values()) if heard_all else [touched] if touched else [])
        return None

    def join(self, connection: IConnection) -> None:
        """`connection` has said who it is, or has had its time to: serve it."""
        self._connections.append(connection)
        self._settle(list(self._streams.values()))

    def leave(self, connection: IConnection) -> None:
        """`connection` is lost: what another wants to hear goes on there, the rest waits."""
        if connection in self._connections:
            self._connections.remove(connection)
            mine = [stream for stream in self._streams.values() if stream.owner is connection]
            for stream in mine:
                stream.owner = None
            self._settle(mine)

    def resume(self, connection: IConnection) -> None:
        """The connection's socket takes bytes again."""
        for stream in list(self._streams.values()):
            if stream.owner is connection:
                stream.rest()
                self._serve(stream)

    def last_words(self, connection: IConnection) -> None:
        """Put all that waits for the connection, be its socket full or not: it is about to be closed for good."""
        for stream in self._streams.values():
            if stream.owner is connection and stream.waits:
                stream.pull(stream.waiting)

    # --- for tap -----------------------------------------------------------------------------------------------------

    def let_go(self) -> None:
        """Serve nobody any more: what is announced from here on, no client is told."""
        self._connections.clear()
        for stream in self._streams.values():
            stream.owner = None

    def stop(self) -> None:
        """Cancel every timer."""
        self.pacer.stop()
        self._beat(False)
        for call in (*self._unheard.values(), *self._lingering.values()):
            call.cancel()
        self._unheard.clear()
        self._lingering.clear()

    def vitals(self) -> DeliveryVitals:
        tally = self.tally
        gaps = (stream.largest_gap for stream in self._streams.values() if stream.feed is not None)
        return DeliveryVitals(
            connections=len(self._connections),
            packets=tally.packets,
            bytes=tally.bytes,
            underruns=tally.underruns,
            late=tally.late,
            missed=tally.missed,
            largest_gap_ms=round(max(gaps, default=0.0) * 1000, 3),
            events_dropped=tally.events_dropped,
            lines_refused=tally.lines_refused,
            resent=tally.resent,
        )

    def waiting(self) -> list[int]:
        """Packets and events of each stream that wait for a client."""
        return [stream.waiting for stream in self._streams.values()]

    def unsent_bytes(self) -> list[int]:
        """Of each connection, what its socket has not taken."""
        return [connection.unsent_bytes for connection in self._connections]

    # --- who hears what --------------------------------------------------------------------------------------------

    def _settle(self, streams: Iterable[Stream]) -> None:
        """Give each stream to the connection with the largest claim."""
        for stream in streams:
            session_id = stream.session_id
            claims = [(claim, c) for c in self._connections if (claim := c.wishes.claim(session_id)) is not None]
            best = max(claims, key=lambda pair: pair[0])[1] if claims else None
            if best is not stream.owner:
                self._hand_over(stream, best)
            if best is None and stream.feed is not None and session_id not in self._unheard:
                self.log.debug("{session}: no client takes its packets", session=session_id)
                timeout = self._reactor.callLater(self._consumer_timeout, self._abandon, stream)
                self._unheard[session_id] = timeout

    def _hand_over(self, stream: Stream, new: IConnection | None) -> None:
        if stream.owner is not None:
            loser = stream.owner
            stream.detach()
            loser.flush()
        if new is not None:
            self.log.debug("{session}: a client takes its packets", session=stream.session_id)
            self._hear(stream.session_id)
            stream.attach(new, new.held.pop(stream.session_id, None))
            self._serve(stream)

    def _hear(self, session_id: str) -> None:
        if unheard := self._unheard.pop(session_id, None):
            unheard.cancel()

    def _abandon(self, stream: Stream) -> None:
        del self._unheard[stream.session_id]
        if stream.feed is not None:
            stream.feed.abandoned()

    def _expire(self, session_id: str) -> None:
        """The time for clients to come back is over; one that is there, only slow, still gets what waits."""
        stream = self._streams[session_id]
        if stream.owner is not None and stream.waits:
            self._lingering[session_id] = self._reactor.callLater(self._consumer_timeout, self._expire, session_id)
        else:
            self._forget(session_id)

    def _make_room(self) -> None:
        """Forget the oldest of too many that linger, or of too large ones, if nobody still waits for them."""
        if len(self._lingering) > LINGER_MOST:
            self._forget(next(iter(self._lingering)))
        size = sum(self._streams[session_id].ring_bytes for session_id in self._lingering)
        for session_id in list(self._lingering):
            if size <= LINGER_BYTES:
                return
            stream = self._streams[session_id]
            if not stream.waits:
                size -= stream.ring_bytes
                self._forget(session_id)

    def _forget(self, session_id: str) -> None:
        call = self._lingering.pop(session_id)
        if call.active():
            call.cancel()
        self._streams.pop(session_id).drop()

    # --- packets --------------------------------------------------------------------------------------------------

    def _serve(self, stream: Stream) -> None:
        """Send what may go now: events that wait, what credit allows, the first packet of a paced track."""
        owner = stream.owner
        if owner is None or owner.paused:
            return
        credit = owner.credit.get(stream.session_id)
        if credit is None:
            if stream.pull(1 if stream.fresh else 0):
                stream.fresh = False
                stream.sent(self._reactor.seconds())
            self.pacer.start()
        else:
            sent = stream.pull(credit)
            owner.credit[stream.session_id] = credit - sent
            self._wait(stream, sent, wanting=sent < credit)
        owner.flush()

    def _wait(self, stream: Stream, sent: int, *, wanting: bool) -> None:
        """So many packets were `sent` for credit; `wanting` if there was credit for more."""
        if not wanting or stream.feed is None or not stream.feed.flowing:
            if sent and stream.waits_since != math.inf:
                stream.sent(self._reactor.seconds())
            stream.rest()
        elif sent or stream.waits_since == math.inf:
            stream.sent(self._reactor.seconds())

    def _bound(self, stream: Stream, owed: int, skipped: int) -> int:
        """How many of the packets `owed` are made good. The others are missed, with those of the ticks `skipped`."""
        if (missed := owed + skipped - CATCH_UP) <= 0:
            return owed
        stream.missed += missed
        self.tally.missed += missed
        return CATCH_UP

    def _tick(self, due: int) -> None:
        """Send what `due` ticks owe every paced stream, a write a connection; rest when nobody is owed anything."""
        self._beat(True)
        now = self._reactor.seconds()
        skipped = self.pacer.skipped - self._skipped
        self._skipped += skipped
        pacing = False
        for stream in list(self._streams.values()):
            owner = stream.owner
            if owner is None or stream.session_id in owner.credit:
                continue
            if owner.paused or not stream.due:
                stream.rest()
                continue
            pacing = True
            owed = stream.owed + due
            if owed > 1:
                owed = self._bound(stream, owed, skipped)
            if sent := stream.pull(owed):
                gap = now - stream.waits_since
                if gap > stream.largest_gap:
                    stream.largest_gap = gap
                stream.waits_since = now
                if owed > 1:
                    # All but the newest were due at earlier ticks.
                    late = min(sent, owed - 1)
                    stream.late += late
                    self.tally.late += late
                owed -= sent
            if owed and (feed := stream.feed) is not None and feed.flowing:
                stream.owed = owed
                stream.waits_since = min(stream.waits_since, now)
                feed.underran()
                self.tally.underruns += 1
            else:
                stream.owed = 0
        for connection in self._connections:
            connection.flush()
        if not pacing:
            self.pacer.stop()
            self._beat(False)
