"""The beat: a tick every 20 ms on a deadline that marches on, whatever the reactor was busy with.

A `LoopingCall` drops the ticks it misses, and with them packets. Here the deadline moves by exactly 20 ms a tick, so
a late tick is told how many are due; past `CATCH_UP` it does not try to make good what nobody can hear any more.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from audiosvc.audio import FRAME_SECONDS
from audiosvc.timings import LATENESS_SECONDS, Histogram
from audiosvc.vitals import PacerVitals

CATCH_UP = 25
"""Most ticks made good at once: half a second, what a listener's buffer usually holds."""


class Pacer:
    """Calls `tick(due)` on the beat, due ≥ 1, from `start` to `stop`; both may be called from within."""

    def __init__(self, reactor: IReactorTime, tick: Callable[[int], None]) -> None:
        self._reactor = reactor
        self._tick = tick
        self._call: IDelayedCall | None = None
        self._deadline = 0.0
        self._last = 0.0
        self.skipped = 0
        """Ticks given up since start; more only before a tick that is told of `CATCH_UP`."""
        self._lateness = Histogram(LATENESS_SECONDS)
        self._ticks = 0
        self._largest_gap = 0.0
        self._late = 0
        self._told = (0, 0)

    def start(self) -> None:
        """Begin the beat one frame from now, if it rests."""
        if self._call is None:
            self._last = self._reactor.seconds()
            self._deadline = self._last + FRAME_SECONDS
            self._call = self._reactor.callLater(FRAME_SECONDS, self._beat)

    def stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def take_lateness(self) -> float:
        """The share of ticks since the last call that came a frame late or more, 0 of none."""
        (before, late_before), self._told = self._told, (self._ticks, self._late)
        return (self._late - late_before) / (self._ticks - before) if self._ticks > before else 0.0

    def vitals(self) -> PacerVitals:
        return PacerVitals(
            ticks=self._ticks,
            largest_gap_ms=round(self._largest_gap * 1000, 3),
            skipped_ticks=self.skipped,
            lateness=self._lateness.vitals(),
        )

    def _beat(self) -> None:
        now = self._reactor.seconds()
        self._largest_gap = max(self._largest_gap, now - self._last)
        self._last = now
        late = max(0.0, now - self._deadline)
        self._lateness.add(late)
        due = 1 + int(late / FRAME_SECONDS)
        self._deadline += due * FRAME_SECONDS
        self._ticks += due
        self._late += due - 1
        if due > CATCH_UP:
            self.skipped += due - CATCH_UP
            due = CATCH_UP
        # Before the tick: no error in it must end the beat.
        self._call = self._reactor.callLater(max(0.0, self._deadline - now), self._beat)
        self._tick(due)
