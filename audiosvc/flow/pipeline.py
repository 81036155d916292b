"""From a source to packets: a supply's PCM, cut into frames, encoded, in a bounded queue that somebody takes from.

A pipeline knows nothing of sessions, listeners or time: it is pulled. Taking makes room, room starts the next job
of the encoder, the job takes PCM out of the child's pipe, and where nobody takes, FFmpeg waits on that pipe.

Where the source is Opus and is to be heard as it is, the supply gives its packets instead, and there is no job. So it
does where a track is kept, and what is played from its beginning to its end is recorded to be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosvc.audio import FRAME_BYTES, FRAME_SECONDS, FRAMES_PER_SECOND, seconds_of
from audiosvc.cache.cache import Recording
from audiosvc.cache.track import Facts
from audiosvc.codec.opus import Encoder
from audiosvc.codec.pcm import Gain, pad
from audiosvc.errors import AudioServiceError, DecoderFailed
from audiosvc.ffmpeg.process import Child
from audiosvc.ffmpeg.report import Report
from audiosvc.flow.encoders import URGENT_SECONDS
from audiosvc.flow.supply import Supply
from audiosvc.flow.verdict import SHORT_SECONDS
from audiosvc.flow.workshop import Workshop
from audiosvc.sources.model import Source
from audiosvc.timings import Mode

JOB_FRAMES = 10
"""Frames a job of the encoder takes at most: a hop to a thread and back costs 10 µs, a twelfth of encoding one."""

READ_FRAMES = 50
"""Frames read from the supply at once: it wakes once a second for a long stretch of work, and not for every job."""

HIGH_WATER = 25
"""Packets the queue holds at most: half a second, which is also how late a change of volume is heard."""

PRE_ROLL = 8
"""Frames encoded and thrown away where encoded packets follow upon passed ones: 80 ms in which FFmpeg's decoder settles
(RFC 7845, 4.6), and as much for the encoder."""

STEADY_FRAMES = 5 * FRAMES_PER_SECOND
"""How long the volume must have been left alone at 1 before packets are passed again; each time costs a new child."""

LAG_SECONDS = 10.0
"""How late the listener of a live source may be."""


@dataclass(frozen=True)
class Works:
    """What goes on to make a session's packets. `opened_at` and `sound_at` are the reactor's seconds."""

    mode: Mode
    opened_at: float | None
    sound_at: float | None
    child: Child | None
    received: int | None
    """Bytes of the source that were read; None where that is not known."""
    share: float
    """Of all frames that were encoded since this began, 0 to 1."""
    listeners: int = 1


class IPlayback(Protocol):
    """What gives a session its packets: a pipeline of its own, or a place in one that is shared."""

    @property
    def failure(self) -> AudioServiceError | None:
        """None until the end, and still None after an end that was the source's own."""

    @property
    def dropped(self) -> int:
        """Packets thrown away because the listener of a live source came too late for them."""

    @property
    def passing(self) -> bool:
        """Whether the source's own packets are passed."""

    @property
    def cached(self) -> bool:
        """Whether the packets are those of a track that is kept."""

    @property
    def report(self) -> Report:
        """What FFmpeg says of the source."""

    @property
    def works(self) -> Works:
        """What goes on to make the packets."""

    @property
    def ready(self) -> int:
        """Packets that can be taken now."""

    @property
    def drained(self) -> bool:
        """Whether the end is reached and nothing left to be taken."""

    def start(self, after: Deferred[None]) -> None:
        """Begin; no child is started before `after` has fired."""

    def close(self) -> Deferred[None]:
        """Let go of everything; no callback comes any more. Fires when the children this takes with it are reaped."""

    def set_volume(self, volume: float) -> None: ...

    def take(self, most: int) -> list[bytes]:
        """Up to `most` packets, oldest first. What concerns the first of them is told before."""


class IPipelineReader(Protocol):
    """Who reads a pipeline."""

    def pipeline_flows(self, pipeline: IPlayback) -> None:
        """There are packets to be taken that were not there before."""

    def pipeline_recovered(self, pipeline: IPlayback) -> None:
        """The source had failed; with the next packet to be taken the sound goes on out of a new opening of it."""

    def pipeline_titled(self, pipeline: IPlayback, title: str) -> None:
        """From the next packet to be taken on, the sound is called `title`."""

    def pipeline_ended(self, pipeline: IPlayback) -> None:
        """No packet will come behind those now in the queue; `failure` says why."""


class Pipeline:
    """One attempt to play `source` from `at` seconds on, for `duration` seconds or to its end.

    `bitrate` None gives frames of PCM, a number (bits per second) Opus packets. `label` says in logs for whom;
    `refresh` looks the source up anew where its media URL has expired. `failure` is None until the end, and still None
    after an end that was the source's own. `bitrate` is kept to if it is `asked` for; the packets of a source that is
    Opus may else be passed.
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
        asked: bool,
        volume: float,
        label: str,
        refresh: Callable[[], Deferred[Source]],
    ) -> None:
        self.failure: AudioServiceError | None = None
        self.ended = False
        self.dropped = 0
        """Packets thrown away because the listener of a live source came too late for them."""
        self._workshop = workshop
        self._reader = reader
        cache = workshop.cache
        self._kept = cache.find(source, bitrate, asked) if cache is not None else None
        self._may_pass = self._kept is not None or source.may_pass(bitrate, asked)
        self.passing = self._may_pass and volume == 1
        """Whether packets are passed that are there already: the source's own, or those that are kept."""
        self._source = source
        self._supply = Supply(
            workshop,
            self,
            source,
            at=at,
            duration=duration,
            copied=self.passing,
            label=label,
            refresh=refresh,
            kept=self._kept,
        )
        self._recording: Recording | None = None
        if cache is not None and self._kept is None and at == 0 and duration is None and volume == 1:
            self._recording = cache.record(source, bitrate, asked)
        self._changes = workshop.changes if workshop.full else -1
        """Of the encoders' complexity before there was a recording, which is to have all of it throughout."""
        self._bitrate = bitrate
        self._volume = volume
        self._steady = 0
        """Frames encoded since the volume was set."""
        self._gain = Gain(volume)
        self._encoder = None if self.passing else self._make_encoder()
        self._pre_roll = 0
        """Frames still to be encoded and thrown away."""
        self._queue: deque[bytes] = deque()
        self._pcm = b""
        self._cut = 0
        """Where in `_pcm` the next job starts."""
        self._dry = False
        """Whether the supply has come to its end."""
        self._encoded_here = 0
        self._encoded_before = workshop.tally.encoded
        self._entered = 0
        """Frames that went to the encoder; like `_passed` with those thrown away."""
        self._passed = 0
        """Packets taken out of the queue."""
        self._marks: deque[tuple[int, Callable[[], None]]] = deque()
        """What to tell the reader before it takes a packet, by the number of packets before that, oldest first."""
        self._edge: float | None = None
        """When the first packet would have been taken by a listener who is at the live edge; None if there is none."""
        self._encoding = False
        self._filling = False
        """Whether `_fill` is about to be called."""
        self._at_end = False
        self._closed = False

    # --- its life -----------------------------------------------------------------------------------------------

    def start(self, after: Deferred[None]) -> None:
        """Start FFmpeg once `after` has fired: when the child that this one replaces is reaped."""
        self._supply.when_readable(self._fill)
        self._supply.start(after)

    def close(self) -> Deferred[None]:
        """Drop everything and kill the child. Fires when it is reaped; no callback comes any more."""
        if not self._closed:
            self._closed = True
            self._give_up_recording()
            self._queue.clear()
            self._marks.clear()
            self._pcm = b""
            # libopus's memory, of which Python's garbage collector knows nothing: let it go now.
            self._encoder = None
        return self._supply.close()

    def set_volume(self, volume: float) -> None:
        self._volume, self._steady = volume, 0
        self._gain.set(volume)
        if volume != 1:
            self._give_up_recording()
        if self.passing and volume != 1 and not self._at_end and not self._closed:
            self._leave()

    # --- what it gives ------------------------------------------------------------------------------------------

    @property
    def cached(self) -> bool:
        return self.passing and self._kept is not None

    @property
    def report(self) -> Report:
        """What FFmpeg says of the source."""
        return self._supply.report

    @property
    def works(self) -> Works:
        supply, all_of_them = self._supply, self._workshop.tally.encoded - self._encoded_before
        mode: Mode = "cached" if self.cached else "passthrough" if self.passing else "transcode"
        share = self._encoded_here / all_of_them if all_of_them else 0.0
        return Works(mode, supply.opened_at, supply.sound_at, supply.child, supply.received, share)

    @property
    def ready(self) -> int:
        """Packets that can be taken now. The last one stays until it is known whether it is the track's last."""
        return len(self._queue) if self.ended else max(0, len(self._queue) - 1)

    @property
    def drained(self) -> bool:
        return self.ended and not self._queue

    @property
    def behind(self) -> int:
        """Packets by which who takes from a live source is late, below 0 if ahead; 0 where that is not known."""
        if self._edge is None or self.ended:
            return 0
        return int((self._workshop.reactor.seconds() - self._edge) * FRAMES_PER_SECOND) - self._passed

    def take(self, most: int) -> list[bytes]:
        """Up to `most` packets, oldest first.

        What concerns the first of them is told before. What they make room for is not made in the time of this beat:
        whoever is due a packet in it would have to wait for pipes to be read.
        """
        if self._supply.resting:
            self._supply.wake()
        late = self._edge is not None and self._catch_up()
        if self._marks:
            most = self._pass_marks(most)
        queue = self._queue
        taken = [queue.popleft() for _ in range(min(most, self.ready))]
        if taken or late:
            self._passed += len(taken)
            self._fill_soon()
        return taken

    def _pass_marks(self, most: int) -> int:
        """Tell what belongs here; how many of `most` packets lie before the next of it."""
        marks = self._marks
        while marks and marks[0][0] <= self._passed:
            marks.popleft()[1]()
        return min(most, marks[0][0] - self._passed) if marks else most

    def _catch_up(self) -> bool:
        """Whether the listener was late: then the oldest of what there is is thrown away, and the rest left behind."""
        behind = self.behind
        if behind <= LAG_SECONDS * FRAMES_PER_SECOND:
            return False
        gone = min(behind, len(self._queue))
        for _ in range(gone):
            self._queue.popleft()
        self._passed += gone
        while gone < behind and (frames := min(behind - gone, self._gather(1))):
            self._cut += frames * FRAME_BYTES
            self._entered += frames
            self._passed += frames
            gone += frames
        self.dropped += gone
        self._workshop.tally.dropped += gone
        if behind - gone > LAG_SECONDS * FRAMES_PER_SECOND:
            self._edge = None
            self._supply.rejoin()
        return True

    # --- PCM in, packets out ------------------------------------------------------------------------------------

    def _fill_soon(self) -> None:
        if not self._filling and len(self._queue) <= HIGH_WATER - JOB_FRAMES:
            self._filling = True
            self._workshop.soon(self._fill)

    def _fill(self) -> None:
        """Begin the next job, if there is room for a whole one and PCM to be had."""
        self._filling = False
        if self._encoding or self._at_end or self._closed or len(self._queue) > HIGH_WATER - JOB_FRAMES:
            return
        if self._steady >= STEADY_FRAMES and self._may_pass and self._volume == 1 and not self._supply.over:
            self._enter()
        if self.passing:
            self._pass()
            return
        if job := min(self._pre_roll or JOB_FRAMES, self._gather(JOB_FRAMES)) * FRAME_BYTES:
            self._cut += job
            self._encode(self._pcm[self._cut - job : self._cut])
        elif not self._dry:
            self._supply.when_readable(self._fill)
        else:
            self._at_end = True
            if self._cut < len(self._pcm) and not self._pre_roll:
                self._encode(pad(self._pcm[self._cut :]))
            else:
                self._end(self._supply.failure)

    def _gather(self, wanted: int) -> int:
        """How many whole frames of PCM there are, after a look for more where they are fewer than `wanted`."""
        if self._whole_frames() < wanted:
            while self._read() and not self._whole_frames():
                pass
        return self._whole_frames()

    def _read(self) -> bool:
        """Read on; whether anything was there."""
        pcm = None if self._dry else self._supply.read(READ_FRAMES * FRAME_BYTES)
        if pcm:
            self._pcm = self._pcm[self._cut :] + pcm
            self._cut = 0
        self._dry = pcm is None
        return bool(pcm)

    def _whole_frames(self) -> int:
        return (len(self._pcm) - self._cut) // FRAME_BYTES

    def _encode(self, frames: bytes) -> None:
        self._encoding = True
        count = len(frames) // FRAME_BYTES
        if self._pre_roll and self._encoder is not None:
            self._pre_roll -= count
            work = partial(_settle, self._encoder, frames)
        else:
            self._entered += count
            self._steady += count
            work = partial(_packets, self._gain, self._encoder, frames, self._workshop.complexity)
        # Nobody misses the first packets of what begins as he would those of what plays and is nearly dry.
        left = len(self._queue) * FRAME_SECONDS if self._entered > count else URGENT_SECONDS
        self._workshop.encoders.submit(self._workshop.reactor.seconds() + left, work, self._encoded)

    def _encoded(self, packets: list[bytes] | Failure) -> None:
        self._encoding = False
        if self._closed:
            return
        if isinstance(packets, Failure):
            self.log.failure("the encoder failed", packets)
            self._end(DecoderFailed("the encoder failed"))
            return
        if self._edge is not None and not self.ready:
            self._at_edge(self._passed)
        self._encoded_here += len(packets)
        self._workshop.tally.encoded += len(packets)
        self._queue.extend(packets)
        if self._recording is not None:
            self._recording.add(packets)
        if self._at_end:
            self._end(self._supply.failure)
            return
        self._fill_soon()
        if self.ready:
            self._reader.pipeline_flows(self)

    def _end(self, failure: AudioServiceError | None) -> None:
        self.ended = self._at_end = True
        self.failure = failure
        if self._recording is not None and failure is None:
            self._keep(self._recording)
        self._give_up_recording()
        self._supply.close()
        self._reader.pipeline_ended(self)

    # --- packets in, the same packets out -----------------------------------------------------------------------

    def _pass(self) -> None:
        """Fill the queue with the source's own packets."""
        before = len(self._queue)
        while len(self._queue) < HIGH_WATER and (passed := self._supply.take(HIGH_WATER - len(self._queue))):
            self._queue.extend([each.packet for each in passed])
            self._entered += len(passed)
            if self._recording is not None:
                self._recording.add_passed(passed)
        if len(self._queue) < HIGH_WATER:
            if self._supply.unpassable:
                self._may_pass = False
                self._leave()
            elif passed is None:
                self._end(self._supply.failure)
                return
            else:
                self._supply.when_readable(self._fill)
        if len(self._queue) > before and self.ready:
            self._reader.pipeline_flows(self)

    def _leave(self) -> None:
        """From behind the last packet that was passed on, decode and encode.

        The encoder begins some frames earlier, with the sound as loud as it was, so that its first packet that counts
        fits what the listener's decoder holds of the one before.
        """
        self._give_up_recording()
        self._pre_roll = min(PRE_ROLL, max(0, int(self._supply.position / FRAME_SECONDS)))
        self._encoder = self._make_encoder()
        self._gain = Gain()
        self._gain.set(self._volume)
        self.passing = False
        self._steady = 0
        self._supply.turn(copied=False, back=seconds_of(self._pre_roll))
        self._fill()

    def _enter(self) -> None:
        """From behind the last frame that was encoded, pass the source's own packets."""
        back = (len(self._pcm) - self._cut) / (FRAME_BYTES * FRAMES_PER_SECOND)
        self._pcm, self._cut = b"", 0
        self._encoder = None
        self.passing, self._steady = True, 0
        self._supply.turn(copied=True, back=back)

    def _make_encoder(self) -> Encoder | None:
        return Encoder(self._bitrate, self._workshop.complexity) if self._bitrate is not None else None

    # --- what is kept -------------------------------------------------------------------------------------------

    def _keep(self, recording: Recording) -> None:
        """The source has come to its end by itself: keep it, if that is all of it beyond doubt."""
        supply, report = self._supply, self._supply.report
        stated = None if report.guessed else report.duration
        length = self._source.duration if stated is None else stated
        unbroken = supply.opened == 1 and not report.broken and not supply.live
        alike = self.passing or self._changes == self._workshop.changes
        if unbroken and alike and length is not None and abs(supply.position - length) <= SHORT_SECONDS:
            recording.keep(Facts(report.title, report.artist, stated))

    def _give_up_recording(self) -> None:
        if self._recording is not None:
            self._recording.drop()
            self._recording = None

    # --- from the supply (ISupplied) ----------------------------------------------------------------------------

    def supply_recovered(self) -> None:
        self._mark(partial(self._reader.pipeline_recovered, self))

    def supply_titled(self, title: str) -> None:
        self._mark(partial(self._reader.pipeline_titled, self, title))

    def supply_caught_up(self) -> None:
        if self.passing:
            # That it is live shows only now. It is not caught up with, which takes PCM.
            return
        self._at_edge(self._next)

    def _at_edge(self, number: int) -> None:
        """The packet with so many before it cannot have been had earlier than now.

        The latest of all decides: who has a burst of packets made for him at once is ahead, and late only after that.
        """
        edge = self._workshop.reactor.seconds() - seconds_of(number)
        self._edge = edge if self._edge is None else max(self._edge, edge)

    def _mark(self, tell: Callable[[], None]) -> None:
        self._marks.append((self._next, tell))

    @property
    def _next(self) -> int:
        """The number of packets before the one that the next byte to be read goes into."""
        return self._entered + max(0, self._whole_frames() - self._pre_roll)


def _settle(encoder: Encoder, pcm: bytes) -> list[bytes]:
    """In an encoder's thread: the encoder gets to know the sound."""
    encoder.encode(pcm)
    return []


def _packets(gain: Gain, encoder: Encoder | None, pcm: bytes, complexity: int) -> list[bytes]:
    """In an encoder's thread: whole frames of PCM in, as many packets out."""
    pcm = gain.apply(pcm)
    if encoder is None:
        return [pcm[start : start + FRAME_BYTES] for start in range(0, len(pcm), FRAME_BYTES)]
    encoder.set_complexity(complexity)
    return encoder.encode(pcm)
