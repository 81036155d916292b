"""A client of the daemon that can be cut off and comes back, saying what it holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.python.failure import Failure

from audiosvc.listener import Listener
from audiosvc.wire.codec import encode_line
from audiosvc.wire.messages import Event, Greeting, UnknownEvent
from bench.heard import Heard

NAME = "soak"


class Consumer:
    """Hears all sessions, paced in real time; `on_lost` is told when the daemon, or a broken stream, ends that."""

    def __init__(self, reactor: Any, socket: Path, heard: Heard, on_lost: Callable[[Failure], None]) -> None:
        self._endpoint = UNIXClientEndpoint(reactor, str(socket))
        self._heard = heard
        self._on_lost = on_lost
        self.away = True
        self._listener: Listener | None = None
        self._leaving: Deferred[None] | None = None

    async def connect(self) -> None:
        """For the first time, or again: with what is held by then."""
        listener = await connectProtocol(self._endpoint, Listener(self._packet, self._event, self._lost))
        assert listener.transport is not None
        listener.transport.write(encode_line(Greeting(NAME, self._heard.held())))
        self._listener = listener
        self.away = False

    async def cut(self) -> None:
        """As if killed: what the daemon has written and was not yet read is lost."""
        assert self._listener is not None
        self.away = True
        self._heard.interrupted(time.monotonic())
        self._leaving = Deferred()
        transport: Any = self._listener.transport
        transport.abortConnection()
        await self._leaving
        self._leaving = None

    def _packet(self, session_id: str, payload: bytes) -> None:
        self._heard.packet(session_id, payload, time.monotonic())

    def _event(self, event: Event | UnknownEvent) -> None:
        self._heard.event(event, time.monotonic())

    def _lost(self, reason: Failure) -> None:
        if self._leaving is not None:
            self._leaving.callback(None)
        else:
            self._on_lost(reason)
