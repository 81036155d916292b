"""What all pipelines share: where children and encoders come from, and what is counted over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from audiosvc.cache.cache import Cache
from audiosvc.ffmpeg.process import Spawner
from audiosvc.flow.bytesource import IStreams
from audiosvc.flow.encoders import IEncoders
from audiosvc.flow.soon import Soon
from audiosvc.interfaces import IDoor, IReactor
from audiosvc.vitals import SourceVitals


@dataclass
class Tally:
    """What all sources together have done since start."""

    recoveries: int = 0
    dropped: int = 0
    broadcasts: int = 0
    listeners: int = 0
    encoded: int = 0
    """Frames, with those of PCM."""

    def vitals(self) -> SourceVitals:
        return SourceVitals(
            recoveries=self.recoveries, dropped=self.dropped, broadcasts=self.broadcasts, listeners=self.listeners
        )


@dataclass
class Workshop:
    """`door` is the way to the network; without one, FFmpeg finds its own. Without `cache` nothing is kept.

    `complexity` is what every encoder is to work with now. `full` is false while that is less than was configured, and
    `changes` counts how often it was changed.
    `streams` is how the daemon itself fetches what is passed on as it is; without it that is left to FFmpeg.
    """

    reactor: IReactor
    spawner: Spawner
    encoders: IEncoders
    ffmpeg: str
    complexity: int
    door: IDoor | None = None
    tally: Tally = field(default_factory=Tally)
    cache: Cache | None = None
    streams: IStreams | None = None
    full: bool = True
    changes: int = 0
    soon: Soon = field(init=False)

    def __post_init__(self) -> None:
        self.soon = Soon(self.reactor)

    def set_complexity(self, complexity: int, *, full: bool) -> None:
        """From the next job of every pipeline on."""
        if complexity != self.complexity:
            self.complexity, self.full = complexity, full
            self.changes += 1
