"""One opening of a source: an FFmpeg child, from before its start until it is reaped and its pipe is empty."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from audiosvc.audio import CHANNELS, FRAME_BYTES, FRAME_SECONDS, SAMPLE_BYTES, SAMPLE_RATE
from audiosvc.codec.passing import Passed, Passing
from audiosvc.errors import AudioServiceError, DecoderFailed, SourceEndedEarly, SourceTimeout
from audiosvc.ffmpeg.command import Shown, copy_argv, decode_argv
from audiosvc.ffmpeg.pipes import PIPE_BYTES
from audiosvc.ffmpeg.process import Child, Pending
from audiosvc.ffmpeg.report import Report
from audiosvc.flow.openings import IOpener
from audiosvc.flow.watch import Watch
from audiosvc.flow.workshop import Workshop
from audiosvc.interfaces import IPermit
from audiosvc.sources.model import File, Http, Source, Tone

EXIT_SECONDS = 2.0
"""How long FFmpeg may take to exit after the last of its sound."""

STALL_SECONDS = 10.0
"""How long a child that gave sound may give none while it is waited for; FFmpeg itself waits as long for a server."""

REOPEN_SECONDS = 8.0
"""How long a source that was open before may take to give sound again. Three of these and a stall are below 40 s."""

COUNTED_A_SECOND = 20.0
"""Seconds of sound that have to be gone through in one, where a position is counted to; a core decodes 200 and more."""

COUNTING_MOST = 60.0
"""Seconds that it may take at most. An hour at 128 kbit/s comes in less from a server that sends 8 Mbit/s; in what is
sent as it is played, for ever, a position far on never comes, wherever it is."""

COPY_BYTES = 16 * 1024
"""Bytes of copied Opus read at once, a second of it at 128 kbit/s."""

WHOLE = CHANNELS * SAMPLE_BYTES
"""Bytes of one sample of both channels. A child that is killed leaves its last one in pieces."""


class Opening:
    """`source` from `position` on, for `duration` seconds or to its end: its PCM, or its Opus packets if `copied`.

    `label` says in logs for whom, `recovers` that this follows an opening that failed. `killed` is why the child did
    not end by itself, None if it did or has not ended. One that gives nothing for too long while it is waited for is
    killed; but a source opened for the first time, not `again`, may take its time.
    """

    log = Logger()
    odd = False
    """FFmpeg is who makes sense of whatever is odd."""

    def __init__(
        self,
        workshop: Workshop,
        opener: IOpener,
        source: Source,
        position: float,
        duration: float | None,
        *,
        copied: bool,
        label: str,
        again: bool,
        recovers: bool,
    ) -> None:
        self.report = Report()
        self.recovers = recovers
        self.began = False
        """Whether its reader was given any of its sound; the reader's to set."""
        self.left = b""
        self.over = False
        self.killed: AudioServiceError | None = None
        self._workshop = workshop
        self._opener = opener
        self._source = source
        self._position = position
        self._duration = duration
        self._label = label
        self._counted = isinstance(source.media, (File, Http)) and source.media.counted
        self._permit: IPermit | None = None
        self._pending: Pending | None = None
        self._child: Child | None = None
        self._dropped = False
        self._giving = False
        self._early = 0
        """Bytes still to be left out: sound from before `position`."""
        self._room = None if duration is None else _bytes(max(duration, FRAME_SECONDS))
        """Bytes still to be given; what follows them is left out."""
        self._piece = b""
        self._passing = Passing(round(position * SAMPLE_RATE), self._counted) if copied else None
        self._passed: deque[Passed] = deque()
        self._hung_up = False
        self._complete = False
        """Whether it was killed only for not exiting after the last of its sound."""
        self._exit: IDelayedCall | None = None
        self._stall = Watch(workshop.reactor, REOPEN_SECONDS + self.counting, self._stalled) if again else None

    # --- its life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a child, unless it was dropped."""
        if self._dropped:
            return
        workshop = self._workshop
        try:
            argv = self._argv()
        except AudioServiceError as error:
            self._failed(error)
            return
        self.log.debug("{session}: FFmpeg is started: {command}", session=self._label, command=Shown(argv))
        if workshop.door is not None and isinstance(self._source.media, Http):
            self._permit = workshop.door.permit(self._label)
        self._pending = workshop.spawner.spawn(argv, self.report, self._started, self._failed, self._permit)

    def _argv(self) -> list[str]:
        ffmpeg, source = self._workshop.ffmpeg, self._source
        if self._passing is None or isinstance(source.media, Tone):
            return decode_argv(ffmpeg, source, self._position, self._duration)
        return copy_argv(ffmpeg, source.media, self._position, self._duration)

    def drop(self) -> None:
        """Kill the child and forget what it gave."""
        if not self._dropped:
            self._dropped = True
            self.left = self._piece = b""
            self._passed.clear()
            self.report.on_title = None
            self._stop_timers()
            if self._pending is not None:
                self._pending.cancel()
            if self._child is not None and not self.over:
                self._child.pcm.close()
                self._child.kill()

    @property
    def gone(self) -> Deferred[None] | None:
        """Fires when the child is reaped; None where there never was one."""
        return self._child.gone if self._child is not None else None

    @property
    def counting(self) -> float:
        """Seconds that it may take to go through the sound before `position`."""
        return min(self._position / COUNTED_A_SECOND, COUNTING_MOST) if self._counted else 0.0

    @property
    def denial(self) -> AudioServiceError | None:
        """What the door refused the child."""
        return self._permit.denial if self._permit is not None else None

    @property
    def trouble(self) -> AudioServiceError | None:
        """What the door knows better than the child: why its last request led nowhere."""
        return self._permit.trouble if self._permit is not None else None

    # --- its sound ----------------------------------------------------------------------------------------------

    @property
    def rest(self) -> int:
        """Once it is over: bytes of sound that are left, where a packet counts as the PCM in it."""
        return len(self.left) + len(self._passed) * FRAME_BYTES if self.over else 0

    @property
    def held(self) -> int:
        """Bytes of memory that they take."""
        return len(self.left) + sum(len(each.packet) for each in self._passed)

    @property
    def child(self) -> Child | None:
        return None if self.over or self._dropped else self._child

    @property
    def received(self) -> int | None:
        return self._permit.received if self._permit is not None else None

    @property
    def unpassable(self) -> bool:
        """Whether what comes next, after packets still to be taken, cannot be passed and has to be decoded."""
        if self._passing is None:
            return False
        refused = self.over and not self.began and self.report.codec not in (None, "opus")
        return not self._passed and (refused or self._passing.unpassable is not None)

    def read(self, most: int) -> bytes:
        """Whole samples, up to `most` bytes of those that are there now."""
        if self.over:
            pcm, self.left = self.left[:most], self.left[most:]
            return pcm
        got = self._receive(most)
        if got and (self._piece or len(got) % WHOLE):
            got = self._piece + got
            whole = len(got) - len(got) % WHOLE
            got, self._piece = got[:whole], got[whole:]
        got = self._fitting(got)
        if got and not self.began:
            self._flow()
        if self._room == 0 and self._child is not None and not self._hung_up:
            self._hung_up = True
            self._stop_timers()
            self._put_down(self._child)
        return got

    def take(self, most: int) -> list[Passed]:
        """Up to `most` packets of those that are there now."""
        assert self._passing is not None
        if not self._passed and not self.over:
            self._passed += self._passing.feed(self._receive(COPY_BYTES))
            if self._passed and not self.began:
                self._flow()
        return [self._passed.popleft() for _ in range(min(most, len(self._passed)))]

    def settle(self, whole: bool) -> None:
        """It is over: what is left is all of it to the end if `whole`, else what comes next begins in its midst."""
        if self._passing is not None:
            self._passed += self._passing.end() if whole else []
        elif not whole:
            self.left = self.left[: len(self.left) - len(self.left) % WHOLE]

    def _receive(self, most: int) -> bytes:
        if self._child is None or self._hung_up:
            return b""
        got = self._child.pcm.read(most)
        if got is None:
            self._hang_up(self._child)
            return b""
        if got and not self._giving:
            self._child.hear()
            self._give()
        return got

    def _flow(self) -> None:
        """The first of the sound is there."""
        self._stop_timers()
        self._stall = Watch(self._workshop.reactor, STALL_SECONDS, self._stalled)

    def _give(self) -> None:
        """Its first sound is there, and so what it says of its input has been said."""
        self._giving = True
        self.log.debug(
            "{session}: FFmpeg gives sound, of {container} with {codec}",
            session=self._label,
            container=self.report.container,
            codec=self.report.codec,
        )
        if self._position > 0 and self._passing is None:
            self._early = _bytes(self._position if self._counted else self.report.early)
        if self._permit is not None:
            self._permit.flowing()

    def _fitting(self, pcm: bytes) -> bytes:
        """What of the next sound lies between where it was to begin and where to end."""
        if self._early:
            early = min(self._early, len(pcm))
            self._early -= early
            pcm = pcm[early:]
        if self._room is not None:
            pcm = pcm[: self._room]
            self._room -= len(pcm)
        return pcm

    def wait(self) -> None:
        """Tell the opener once there may be something to read."""
        if self._child is not None and not self._hung_up:
            if self._stall is not None and not (self._early and self._stall.running):
                self._stall.touch()
            self._child.pcm.when_readable(self._readable)

    def _readable(self) -> None:
        if self._stall is not None and not self._early:
            self._stall.ease()
        self._opener.opening_readable(self)

    # --- how it ends --------------------------------------------------------------------------------------------

    def _started(self, child: Child) -> None:
        self._child = child
        self.log.debug("{session}: FFmpeg runs as process {pid}", session=self._label, pid=child.pid)
        child.gone.addCallback(lambda _: self._reaped(child))
        self._opener.opening_started(self)

    def _failed(self, error: AudioServiceError) -> None:
        self._opener.opening_failed(self, error)

    def _hang_up(self, child: Child) -> None:
        """No more sound will come. What the child has to say of that is all said when it is reaped."""
        self._hung_up = True
        self._stop_timers()
        self._exit = self._workshop.reactor.callLater(EXIT_SECONDS, self._put_down, child)

    def _put_down(self, child: Child) -> None:
        self._complete = True
        child.kill()

    def _stalled(self) -> None:
        assert self._child is not None
        self.log.warn("{session}: FFmpeg gives nothing and is killed", session=self._label)
        self._child.hear()
        if not isinstance(self._source.media, Http):
            self.killed = DecoderFailed("FFmpeg gave nothing")
        elif self.report.broken and not isinstance(self.report.error(), SourceTimeout):
            # It was about to resume a transfer again and again.
            self.killed = SourceEndedEarly()
        else:
            self.killed = SourceTimeout()
        self._child.kill()

    def _reaped(self, child: Child) -> None:
        if self._dropped:
            return
        self._stop_timers()
        left = [self._piece]
        while got := child.pcm.read(PIPE_BYTES):
            left.append(got)
        child.pcm.close()
        sound = b"".join(left)
        if sound and not self._giving:
            self._give()
        if self._passing is not None:
            self._passed += self._passing.feed(sound)
        else:
            self.left = self._fitting(sound)
        self._piece, self.over = b"", True
        if self.killed is None and child.signal is not None and not self._complete:
            self.killed = DecoderFailed("FFmpeg was killed")
        self.log.debug(
            "{session}: FFmpeg is gone, by signal {signal}; the last that it said of trouble: {trouble}",
            session=self._label,
            signal=child.signal,
            trouble=self.report.last_trouble,
        )
        self._opener.opening_over(self)

    def _stop_timers(self) -> None:
        if self._stall is not None:
            self._stall.stop()
        if self._exit is not None and self._exit.active():
            self._exit.cancel()


def _bytes(seconds: float) -> int:
    """How much sound lasts so long, in whole samples."""
    return round(seconds * SAMPLE_RATE) * WHOLE
