"""An opening of a track that is kept: its packets are all there, and nothing has to be opened for them."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from audiosvc.audio import FRAME_BYTES
from audiosvc.cache.track import Track
from audiosvc.codec.passing import Passed
from audiosvc.errors import AudioServiceError
from audiosvc.ffmpeg.report import Report
from audiosvc.flow.openings import IOpener


class KeptOpening:
    """`track` from `position` seconds on. Implements `IOpening`.

    It is over as soon as it has begun: what is left of it is all of it.
    """

    odd = unpassable = recovers = False
    killed: AudioServiceError | None = None
    denial: AudioServiceError | None = None
    trouble: AudioServiceError | None = None
    counting = 0.0
    child = None
    received = 0
    held = 0
    """The packets are the cache's."""

    def __init__(self, reactor: IReactorTime, opener: IOpener, track: Track, position: float) -> None:
        self.report = Report()
        self.report.describe(track.facts.title, track.facts.artist, track.facts.duration)
        self.began = False
        self.over = False
        self.gone: Deferred[None] | None = None
        self._reactor = reactor
        self._opener = opener
        self._track = track
        self._next = track.index(position)
        self._arriving: IDelayedCall | None = None
        self._dropped = False

    def start(self) -> None:
        if not self._dropped:
            self.gone = succeed(None)
            self._opener.opening_started(self)
            # Not at once: whoever opens it is not done with that.
            self._arriving = self._reactor.callLater(0, self._arrive)

    def drop(self) -> None:
        self._dropped = True
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    @property
    def rest(self) -> int:
        """Once it is over: bytes of sound that are left, where a packet counts as the PCM in it."""
        return (len(self._track.packets) - self._next) * FRAME_BYTES if self.over else 0

    def read(self, most: int) -> bytes:
        """It has no PCM; a supply that wants any opens the source itself."""
        raise NotImplementedError

    def take(self, most: int) -> list[Passed]:
        """Up to `most` packets of those that are there now."""
        if not self.over:
            return []
        first, track = self._next, self._track
        self._next = min(first + most, len(track.packets))
        return [Passed(track.packets[i], track.position(i)) for i in range(first, self._next)]

    def settle(self, whole: bool) -> None:
        """There is nothing half done."""

    def wait(self) -> None:
        """It tells its opener anyway."""

    def _arrive(self) -> None:
        self._arriving = None
        self.over = True
        self._opener.opening_over(self)
