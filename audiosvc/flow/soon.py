"""Work that can wait until what is due has been sent: it is done in the reactor's next turn, after the writes."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger


class Soon:
    """Does what it is called with, in order, once each."""

    log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._waiting: list[Callable[[], None]] = []

    def __call__(self, work: Callable[[], None]) -> None:
        if not self._waiting:
            self._reactor.callLater(0, self._run)
        self._waiting.append(work)

    def _run(self) -> None:
        waiting, self._waiting = self._waiting, []
        for work in waiting:
            self._do(work)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            # It is one pipeline's; the others' must not wait for ever.
            self.log.failure("what was put off failed")
