"""Work that came in at once, done in order and a little at a time, so that the beat is not kept waiting for all of it.

A reactor hands out everything that has arrived before it looks at its timers again. Two hundred requests in one such
turn are a fifth of a second in which nobody who plays is sent a packet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

TURN_SECONDS = 0.005
"""Work of one turn of the reactor, by the clock; a play takes up to 1 ms. A quarter of the time between two ticks."""


class Turnstile:
    """`enter` runs what it is given: at once where there is time left in this turn, else in a later one."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._waiting: deque[Callable[[], None]] = deque()
        self._left = TURN_SECONDS
        self._running = False
        self._next: IDelayedCall | None = None

    def enter(self, work: Callable[[], None]) -> bool:
        """Run `work` behind all that came before it; whether that has been done by now. It must not raise."""
        done = False

        def run() -> None:
            nonlocal done
            done = True
            work()

        self._waiting.append(run)
        if not self._running:
            self._run()
        return done

    def _run(self) -> None:
        self._running = True
        while self._waiting and self._left > 0:
            began = self._reactor.seconds()
            self._waiting.popleft()()
            self._left -= self._reactor.seconds() - began
        self._running = False
        if self._left < TURN_SECONDS and self._next is None:
            self._next = self._reactor.callLater(0, self._next_turn)

    def _next_turn(self) -> None:
        self._next = None
        self._left = TURN_SECONDS
        self._run()
