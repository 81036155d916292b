"""Work that can wait until what is due has been sent: it is done in the reactor's next turns, after the writes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

TURN_SECONDS = 0.004
"""How long it is done at once, a fifth of a beat: a thousand sessions that began together want it all together."""


class Soon:
    """Does what it is called with, in order, once each."""

    log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._waiting: deque[Callable[[], None]] = deque()

    def __call__(self, work: Callable[[], None]) -> None:
        if not self._waiting:
            self._reactor.callLater(0, self._run)
        self._waiting.append(work)

    def _run(self) -> None:
        """What waits by now, as far as the time goes; what is asked for meanwhile comes in a later turn."""
        ends = self._reactor.seconds() + TURN_SECONDS
        for _ in range(len(self._waiting)):
            self._do(self._waiting[0])
            # Not before: while anything waits, there is a call on its way.
            self._waiting.popleft()
            if self._reactor.seconds() > ends:
                break
        if self._waiting:
            self._reactor.callLater(0, self._run)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            # It is one pipeline's; the others' must not wait for ever.
            self.log.failure("what was put off failed")
