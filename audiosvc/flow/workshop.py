"""What all pipelines share: where children and encoders come from, and what is counted over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from audiosvc.ffmpeg.process import Spawner
from audiosvc.flow.encoders import IEncoders
from audiosvc.interfaces import IDoor, IReactor
from audiosvc.vitals import SourceVitals


@dataclass
class Tally:
    """What all sources together have done since start."""

    recoveries: int = 0
    dropped: int = 0

    def vitals(self) -> SourceVitals:
        return SourceVitals(recoveries=self.recoveries, dropped=self.dropped)


@dataclass(frozen=True)
class Workshop:
    """`door` is the way to the network; without one, FFmpeg finds its own."""

    reactor: IReactor
    spawner: Spawner
    encoders: IEncoders
    ffmpeg: str
    complexity: int
    door: IDoor | None = None
    tally: Tally = field(default_factory=Tally)
