"""A time that may not run out, restarted far more often than it does."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Watch:
    """Calls `late` when `seconds` have gone by since the last `touch`, unless it was eased since.

    Touching is writing down the time: there is one timer, which looks when it runs out how much is left.
    """

    def __init__(self, reactor: IReactorTime, seconds: float, late: Callable[[], None]) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._late = late
        self._since: float | None = None
        self._call: IDelayedCall | None = None

    @property
    def running(self) -> bool:
        return self._since is not None

    def touch(self) -> None:
        """The time begins now."""
        self._since = self._reactor.seconds()
        if self._call is None:
            self._call = self._reactor.callLater(self._seconds, self._look)

    def ease(self) -> None:
        """No time is running until the next `touch`."""
        self._since = None

    def stop(self) -> None:
        """Ease, and leave no timer behind."""
        self._since = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = None
        if self._since is None:
            return
        left = self._since + self._seconds - self._reactor.seconds()
        if left > 0:
            self._call = self._reactor.callLater(left, self._look)
        else:
            self._since = None
            self._late()
