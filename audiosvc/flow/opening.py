"""One opening of a source: an FFmpeg child, from before its start until it is reaped and its pipe is empty."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from audiosvc.audio import CHANNELS, SAMPLE_BYTES, SAMPLE_RATE
from audiosvc.errors import AudioServiceError, DecoderFailed, SourceEndedEarly, SourceTimeout
from audiosvc.ffmpeg.command import decode_argv
from audiosvc.ffmpeg.pipes import PIPE_BYTES
from audiosvc.ffmpeg.process import Child, Pending
from audiosvc.ffmpeg.report import Report
from audiosvc.flow.watch import Watch
from audiosvc.flow.workshop import Workshop
from audiosvc.interfaces import IPermit
from audiosvc.sources.model import Http, Source

EXIT_SECONDS = 2.0
"""How long FFmpeg may take to exit after the last of its sound."""

STALL_SECONDS = 10.0
"""How long a child that gave sound may give none while it is waited for; FFmpeg itself waits as long for a server."""

REOPEN_SECONDS = 8.0
"""How long a source that was open before may take to give sound again. Three of these and a stall are below 40 s."""

WHOLE = CHANNELS * SAMPLE_BYTES
"""Bytes of one sample of both channels. A child that is killed leaves its last one in pieces."""


class IOpener(Protocol):
    """Who opens a source. It is not called any more once it has dropped the opening."""

    def opening_started(self, opening: Opening) -> None:
        """Its child runs."""

    def opening_failed(self, opening: Opening, error: AudioServiceError) -> None:
        """No child came of it."""

    def opening_readable(self, opening: Opening) -> None:
        """What was waited for may be there."""

    def opening_over(self, opening: Opening) -> None:
        """The child is reaped, and all that it had written is in `left`."""


class Opening:
    """`source` from `position` on, for `duration` seconds or to its end.

    `label` says in logs for whom, `recovers` that this follows an opening that failed. `killed` is why the child did
    not end by itself, None if it did or has not ended. One that gives nothing for too long while it is waited for is
    killed; but a source opened for the first time, not `again`, may take its time.
    """

    log = Logger()

    def __init__(
        self,
        workshop: Workshop,
        opener: IOpener,
        source: Source,
        position: float,
        duration: float | None,
        *,
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
        self._permit: IPermit | None = None
        self._pending: Pending | None = None
        self._child: Child | None = None
        self._dropped = False
        self._giving = False
        self._early = 0
        """Bytes still to be left out: sound from before `position`."""
        self._piece = b""
        self._hung_up = False
        self._complete = False
        """Whether it was killed only for not exiting after the last of its sound."""
        self._exit: IDelayedCall | None = None
        self._stall = Watch(workshop.reactor, REOPEN_SECONDS, self._stalled) if again else None

    # --- its life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a child, unless it was dropped."""
        if self._dropped:
            return
        workshop = self._workshop
        try:
            argv = decode_argv(workshop.ffmpeg, self._source, self._position, self._duration)
        except AudioServiceError as error:
            self._failed(error)
            return
        if workshop.door is not None and isinstance(self._source.media, Http):
            self._permit = workshop.door.permit(self._label)
        self._pending = workshop.spawner.spawn(argv, self.report, self._started, self._failed, self._permit)

    def drop(self) -> None:
        """Kill the child and forget what it gave."""
        if not self._dropped:
            self._dropped = True
            self.left = self._piece = b""
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
    def denial(self) -> AudioServiceError | None:
        """What the door refused the child."""
        return self._permit.denial if self._permit is not None else None

    @property
    def trouble(self) -> AudioServiceError | None:
        """What the door knows better than the child: why its last request led nowhere."""
        return self._permit.trouble if self._permit is not None else None

    # --- its sound ----------------------------------------------------------------------------------------------

    def read(self, most: int) -> bytes:
        """Whole samples, up to `most` bytes of those that are there now."""
        if self.over:
            pcm, self.left = self.left[:most], self.left[most:]
            return pcm
        if self._child is None or self._hung_up:
            return b""
        got = self._child.pcm.read(most)
        if got is None:
            self._hang_up(self._child)
            return b""
        if not got:
            return b""
        if not self._giving:
            self._child.hear()
            self._give()
            self._stop_timers()
            self._stall = Watch(self._workshop.reactor, STALL_SECONDS, self._stalled)
        if self._piece or len(got) % WHOLE:
            got = self._piece + got
            whole = len(got) - len(got) % WHOLE
            got, self._piece = got[:whole], got[whole:]
        return self._trim(got) if self._early else got

    def _give(self) -> None:
        """Its first sound is there, and so what it says of its input has been said."""
        self._giving = True
        if self._position > 0:
            self._early = round(self.report.early * SAMPLE_RATE) * WHOLE
        if self._permit is not None:
            self._permit.flowing()

    def _trim(self, pcm: bytes) -> bytes:
        cut = min(self._early, len(pcm))
        self._early -= cut
        return pcm[cut:]

    def wait(self) -> None:
        """Tell the opener once there may be something to read."""
        if self._child is not None and not self._hung_up:
            if self._stall is not None:
                self._stall.touch()
            self._child.pcm.when_readable(self._readable)

    def _readable(self) -> None:
        if self._stall is not None:
            self._stall.ease()
        self._opener.opening_readable(self)

    # --- how it ends --------------------------------------------------------------------------------------------

    def _started(self, child: Child) -> None:
        self._child = child
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
        self.log.warn("{label}: FFmpeg gives nothing and is killed", label=self._label)
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
        self.left, self._piece, self.over = self._trim(sound), b"", True
        if self.killed is None and child.signal is not None and not self._complete:
            self.killed = DecoderFailed("FFmpeg was killed")
        self._opener.opening_over(self)

    def _stop_timers(self) -> None:
        if self._stall is not None:
            self._stall.stop()
        if self._exit is not None and self._exit.active():
            self._exit.cancel()
