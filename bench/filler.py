"""Plays a track to its end as fast as the daemon can: what has been played before is there to be replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol

from audiosvc.listener import Listener
from audiosvc.remote import Control
from audiosvc.wire.codec import encode_line
from audiosvc.wire.messages import CREDIT_MOST, TERMINAL, Credit, Event, UnknownEvent

REFILL = CREDIT_MOST // 2
"""Packets after which as much credit is given anew."""

THROUGH_MOST = 120.0
"""Seconds that one track may take."""


class Greedy(Listener):
    """Hears one session, and gives it credit as fast as its packets come. `over` fires with its terminal event."""

    def __init__(self, session_id: str) -> None:
        super().__init__(self._packet, self._event, self._lost)
        self.over: Deferred[Event] = Deferred()
        self._session_id = session_id
        self._packets = 0

    def connectionMade(self) -> None:
        self.subscribe(self._session_id)
        self._give(CREDIT_MOST)

    def _packet(self, session_id: str, payload: bytes) -> None:
        self._packets += 1
        if self._packets % REFILL == 0:
            self._give(REFILL)

    def _event(self, event: Event | UnknownEvent) -> None:
        if isinstance(event, TERMINAL) and not self.over.called:
            self.over.callback(event)

    def _lost(self, reason: Any) -> None:
        if not self.over.called:
            self.over.errback(reason)

    def _give(self, packets: int) -> None:
        assert self.transport is not None
        self.transport.write(encode_line(Credit(self._session_id, packets)))


async def play_through(reactor: Any, socket: Path, control: Control, session_id: str, url: str) -> None:
    """Raises `Refused`, and `TimeoutError` where it does not come to its end."""
    greedy = await connectProtocol(UNIXClientEndpoint(reactor, str(socket)), Greedy(session_id))
    await control.play(session_id, url)
    greedy.over.addTimeout(THROUGH_MOST, reactor)
    try:
        await greedy.over
    finally:
        greedy.close()
