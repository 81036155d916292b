"""From a source to packets: FFmpeg's PCM, cut into frames, encoded, in a bounded queue that somebody takes from.

A pipeline knows nothing of sessions, listeners or time: it is pulled. Taking makes room, room starts the next job
of the encoder, the job takes PCM out of the child's pipe, and where nobody takes, FFmpeg waits on that pipe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosvc.audio import FRAME_BYTES, FRAME_SECONDS, seconds_of
from audiosvc.codec.opus import Encoder
from audiosvc.codec.pcm import Gain, pad
from audiosvc.errors import AudioServiceError, DecoderFailed, NotAudio, SourceEndedEarly, SourceTimeout
from audiosvc.ffmpeg.command import decode_argv
from audiosvc.ffmpeg.pipes import PullPipe
from audiosvc.ffmpeg.process import Child, Pending, Spawner
from audiosvc.ffmpeg.report import Report
from audiosvc.flow.encoders import IEncoders
from audiosvc.interfaces import IReactor
from audiosvc.sources.model import Source

JOB_FRAMES = 10
"""Frames a job of the encoder takes at most: a hop to a thread and back costs as much as encoding one."""

READ_FRAMES = 50
"""Frames read from the child at once: it wakes once a second for a long stretch of work, and not for every job."""

HIGH_WATER = 25
"""Packets the queue holds at most: half a second, which is also how late a change of volume is heard."""

FIRST_PACKET_SECONDS = 15.0
"""How long a source may take to give its first packet."""

EXIT_SECONDS = 2.0
"""How long FFmpeg may take to exit after the last of its sound."""

SHORT_SECONDS = 1.0
"""How much of a stated duration may be missing at a track's end: containers state it roughly."""


@dataclass(frozen=True)
class Workshop:
    """What every pipeline shares."""

    reactor: IReactor
    spawner: Spawner
    encoders: IEncoders
    ffmpeg: str
    complexity: int


class IPipelineReader(Protocol):
    """Who reads a pipeline."""

    def pipeline_flows(self, pipeline: Pipeline) -> None:
        """There are packets to be taken that were not there before."""

    def pipeline_ended(self, pipeline: Pipeline) -> None:
        """No packet will come behind those now in the queue; `failure` says why."""


class Pipeline:
    """One attempt to play `source` from `at` seconds on, for `duration` seconds or to its end.

    `bitrate` None gives frames of PCM, a number (bits per second) Opus packets. `failure` is None until the end, and
    still None after an end that was the source's own.
    """

    log = Logger()

    def __init__(
        self,
        workshop: Workshop,
        reader: IPipelineReader,
        source: Source,
        *,
        at: float,
        duration: float | None,
        bitrate: int | None,
        volume: float,
    ) -> None:
        self.source = source
        self.report = Report()
        self.failure: AudioServiceError | None = None
        self.ended = False
        self._workshop = workshop
        self._reader = reader
        self._at = at
        self._duration = duration
        self._gain = Gain(volume)
        self._encoder = Encoder(bitrate, workshop.complexity) if bitrate is not None else None
        self._queue: deque[bytes] = deque()
        self._pcm = b""
        self._cut = 0
        """Where in `_pcm` the next job starts."""
        self._dry = False
        """Whether the child's PCM has all been read."""
        self._made = 0
        self._encoding = False
        self._taking = False
        self._at_end = False
        self._closed = False
        self._pending: Pending | None = None
        self._child: Child | None = None
        self._deadline: IDelayedCall | None = None
        self._gone: Deferred[None] = succeed(None)

    # --- its life -----------------------------------------------------------------------------------------------

    def start(self, after: Deferred[None]) -> None:
        """Start FFmpeg once `after` has fired: when the child that this one replaces is reaped."""
        self._gone = after
        after.addCallback(self._spawn)

    def close(self) -> Deferred[None]:
        """Drop everything and kill the child. Fires when it is reaped; no callback comes any more."""
        if not self._closed:
            self._closed = True
            self._cancel_deadline()
            self._queue.clear()
            self._pcm = b""
            # libopus's memory, of which Python's garbage collector knows nothing: let it go now.
            self._encoder = None
            if self._pending is not None:
                self._pending.cancel()
            if self._child is not None:
                self._child.pcm.close()
                self._child.kill()
        return self._gone

    def set_volume(self, volume: float) -> None:
        self._gain.set(volume)

    # --- what it gives ------------------------------------------------------------------------------------------

    @property
    def ready(self) -> int:
        """Packets that can be taken now. The last one stays until it is known whether it is the track's last."""
        return len(self._queue) if self.ended else max(0, len(self._queue) - 1)

    @property
    def drained(self) -> bool:
        return self.ended and not self._queue

    def take(self, most: int) -> list[bytes]:
        """Up to `most` packets, oldest first.

        The end may be found here; the reader, who has yet to hand on what it took, is not called but looks for itself.
        """
        queue = self._queue
        taken = [queue.popleft() for _ in range(min(most, self.ready))]
        if taken:
            self._taking = True
            self._fill()
            self._taking = False
        return taken

    # --- PCM in, packets out ------------------------------------------------------------------------------------

    def _spawn(self, _: None) -> None:
        if not self._closed:
            workshop = self._workshop
            try:
                argv = decode_argv(workshop.ffmpeg, self.source, self._at, self._duration)
            except AudioServiceError as error:
                self._end(error)
            else:
                self._pending = workshop.spawner.spawn(argv, self.report, self._started, self._end)

    def _started(self, child: Child) -> None:
        self._child = child
        self._gone = child.gone
        child.gone.addCallback(lambda _: self._conclude())
        self._set_deadline(FIRST_PACKET_SECONDS, partial(self._end, SourceTimeout()))
        child.pcm.when_readable(self._fill)

    def _fill(self) -> None:
        """Begin the next job, if there is room for a whole one and PCM to be had."""
        if self._encoding or self._at_end or self._closed or len(self._queue) > HIGH_WATER - JOB_FRAMES:
            return
        assert self._child is not None
        if not self._dry and len(self._pcm) - self._cut < JOB_FRAMES * FRAME_BYTES:
            self._read(self._child.pcm)
        left = len(self._pcm) - self._cut
        job = min(left - left % FRAME_BYTES, JOB_FRAMES * FRAME_BYTES)
        if job:
            self._cut += job
            self._encode(self._pcm[self._cut - job : self._cut])
        elif not self._dry:
            self._child.pcm.when_readable(self._fill)
        else:
            self._at_end = True
            self._set_deadline(EXIT_SECONDS, self._child.kill)
            if left:
                self._encode(pad(self._pcm[self._cut :]))
            else:
                self._conclude()

    def _read(self, pipe: PullPipe) -> None:
        pcm = pipe.read(READ_FRAMES * FRAME_BYTES)
        if pcm is None:
            self._dry = True
        else:
            self._pcm = self._pcm[self._cut :] + pcm
            self._cut = 0

    def _encode(self, frames: bytes) -> None:
        self._encoding = True
        dry_at = self._workshop.reactor.seconds() + len(self._queue) * FRAME_SECONDS
        self._workshop.encoders.submit(dry_at, partial(_packets, self._gain, self._encoder, frames), self._encoded)

    def _encoded(self, packets: list[bytes] | Failure) -> None:
        self._encoding = False
        if self._closed or self.ended or self._child is None:
            return
        if isinstance(packets, Failure):
            self.log.failure("the encoder failed", packets)
            self._end(DecoderFailed("the encoder failed"))
            return
        if not self._made:
            self._child.hear()
            duration = self.report.duration
            if duration is not None and self._at >= duration:
                # From behind an Ogg's end FFmpeg gives its last second.
                self._end(None)
                return
            if not self._at_end:
                self._cancel_deadline()
        self._made += len(packets)
        self._queue.extend(packets)
        self._fill()
        self._conclude()
        if not self.ended and self.ready:
            self._reader.pipeline_flows(self)

    # --- how it ends --------------------------------------------------------------------------------------------

    def _conclude(self) -> None:
        """The end, once the last of the sound is encoded and FFmpeg, reaped, has nothing more to say."""
        child = self._child
        if self._at_end and not self._encoding and child is not None and child.gone.called and not self._closed:
            self._end(self._verdict(child))

    def _verdict(self, child: Child) -> AudioServiceError | None:
        """What the end means. FFmpeg's exit status says nothing: it is 0 for a dropped source and a refused one."""
        report, reached = self.report, self._at + seconds_of(self._made)
        if not self._made:
            if report.failed or child.signal is not None:
                return report.error()
            return None if self._at > 0 else NotAudio()
        duration = report.duration if self.source.duration is None else self.source.duration
        wanted = None if self._duration is None else self._at + self._duration
        ends = [seconds for seconds in (duration, wanted) if seconds is not None]
        if ends and reached + SHORT_SECONDS >= min(ends):
            return None
        if child.signal is not None:
            return DecoderFailed("FFmpeg was killed")
        return SourceEndedEarly() if report.broken else None

    def _end(self, failure: AudioServiceError | None) -> None:
        if self._closed or self.ended:
            return
        self.ended = self._at_end = True
        self.failure = failure
        self._cancel_deadline()
        if self._child is not None:
            self._child.pcm.close()
            self._child.kill()
        if not self._taking:
            self._reader.pipeline_ended(self)

    def _set_deadline(self, seconds: float, late: Callable[[], None]) -> None:
        self._cancel_deadline()
        self._deadline = self._workshop.reactor.callLater(seconds, late)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None


def _packets(gain: Gain, encoder: Encoder | None, pcm: bytes) -> list[bytes]:
    """In an encoder's thread: whole frames of PCM in, as many packets out."""
    pcm = gain.apply(pcm)
    if encoder is None:
        return [pcm[start : start + FRAME_BYTES] for start in range(0, len(pcm), FRAME_BYTES)]
    return encoder.encode(pcm)
