"""The sound of one source from a position on: an unbroken stream of bytes, across as many FFmpeg children as it takes.

A child that is lost in mid-track is followed at once by another, opened at the very sample the sound has reached, while
what the first had made is still being played. One that nobody reads from is let go, and another opened when somebody
does again. The position is counted in samples given, whatever the children do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosvc.audio import FRAME_BYTES, FRAME_SAMPLES, FRAME_SECONDS, SAMPLE_RATE
from audiosvc.cache.track import Track
from audiosvc.codec.ogg import PRE_SKIP
from audiosvc.codec.passing import Passed
from audiosvc.errors import AudioServiceError, ExtractionFailed, SourceTimeout, SpawnFailed
from audiosvc.ffmpeg.pipes import PIPE_BYTES
from audiosvc.ffmpeg.process import Child
from audiosvc.ffmpeg.report import Report
from audiosvc.flow.direct import DirectOpening, Landmarks, find_place
from audiosvc.flow.kept import KeptOpening
from audiosvc.flow.opening import WHOLE, Opening
from audiosvc.flow.openings import IOpening
from audiosvc.flow.verdict import Past, Sequel, judge
from audiosvc.flow.watch import Watch
from audiosvc.flow.workshop import Workshop
from audiosvc.sources.model import File, Http, Source

FIRST_PACKET_SECONDS = 15.0
"""How long a source may take to give its first sound, whatever it is opened with."""

UNREAD_SECONDS = 60.0
"""How long a child and its connection are kept while nobody reads."""

DELAYS = (0.0, 0.5, 2.0)
"""Seconds before the source is opened again: the break came after progress, is the first without it, the second. The
third is the end."""

PROGRESS_BYTES = SAMPLE_RATE * WHOLE
"""A second of sound. A source that gives less at each opening is not worth a process each time."""

STALE_SECONDS = 60.0
"""How much a live playlist has to give for it to count. One that nobody writes to any more gives its last segments
again at each opening: three of them, of some 10 s."""

EDGE_SECONDS = 1.0
"""A live source that lets one wait this long has given all there is."""


_Sound = TypeVar("_Sound", bytes, list[Passed])


class ISupplied(Protocol):
    """Who reads a supply. Each of these concerns the next byte that is read."""

    def supply_recovered(self) -> None:
        """It comes from a source opened anew after a failure."""

    def supply_titled(self, title: str) -> None:
        """From about there on the sound is called `title`."""

    def supply_caught_up(self) -> None:
        """It is the newest that a live source has: there is none ahead of it."""


class Supply:
    """`source` from `at` seconds on, for `duration` seconds or to its end.

    As s16le at 48 kHz in stereo, to be `read`; or, if `copied`, as the Opus packets it is made of, to be taken. `turn`
    makes the one of the other.
    `label` says in logs for whom; `refresh` looks the source up anew where its media URL has expired. `failure` is None
    until the end, and still None after an end that was the source's own. `report` is of the child that gave the sound
    read last. What is `kept` of the source goes before the source itself.
    """

    log = Logger()

    def __init__(
        self,
        workshop: Workshop,
        reader: ISupplied,
        source: Source,
        *,
        at: float,
        duration: float | None,
        copied: bool,
        label: str,
        refresh: Callable[[], Deferred[Source]],
        kept: Track | None = None,
    ) -> None:
        self.opened_at: float | None = None
        """When the source was opened for the first time."""
        self.sound_at: float | None = None
        """When the first sound came out of it."""
        self.opened = 0
        """How often the source was opened for what was given."""
        self.report = Report()
        self.failure: AudioServiceError | None = None
        self.live = source.live
        self.resting = False
        """Whether it holds no child because nobody read; `wake` gets it one."""
        self._workshop = workshop
        self._reader = reader
        self._source = source
        self._origin = at
        """Where in the source the sound would have begun if it had all been given in one piece."""
        self._until = None if duration is None else at + duration
        self._copied = copied
        self._kept = kept
        self._label = label
        self._refresh = refresh
        self._length = source.duration
        self._landmarks = Landmarks()
        self._odd = False
        """Whether it takes FFmpeg to copy the source."""
        self._newest: IOpening | None = None
        self._received: int | None = 0
        """Bytes read by all openings before that."""
        self._openings: deque[IOpening] = deque()
        """The newest last; those before it are over, and what they left is read first."""
        self._given = 0
        """Bytes of sound that were read; a packet counts as the PCM in it."""
        self._over = False
        self._callback: Callable[[], None] | None = None
        self._waiting_since = 0.0
        self._opened_at = 0
        """Bytes of sound that there were when the newest opening was made."""
        self._failures = 0
        self._failed_at = 0
        self._refreshed_at: int | None = None
        self._torn = False
        self._recovering = False
        self._wanting = False
        """Whether a next opening is put off until less is left to be read."""
        self._deadline: IDelayedCall | None = None
        self._delay: IDelayedCall | None = None
        self._refreshing: Deferred[None] | None = None
        self._unread = Watch(workshop.reactor, UNREAD_SECONDS, self._rest)
        self._gone: Deferred[None] = succeed(None)

    # --- its life -----------------------------------------------------------------------------------------------

    def start(self, after: Deferred[None]) -> None:
        """Open the source once `after` has fired."""
        self._gone = after
        self._unread.touch()
        self._open()

    def close(self) -> Deferred[None]:
        """Drop everything. Fires when the last child is reaped; nobody is called any more."""
        self._over = True
        self._callback = None
        self.resting = False
        self._let_go()
        return self._gone

    def wake(self) -> None:
        """Somebody is about to read again."""
        if self.resting:
            self.resting = False
            self._unread.touch()
            self.log.debug("{session}: somebody reads again", session=self._label)
            self._open()

    def rejoin(self) -> None:
        """Leave a live source and open it again, at its edge."""
        if self._openings and self._openings[-1].began:
            self._forget()
            self._unread.touch()
            self._open()

    def turn(self, copied: bool, back: float) -> None:
        """Go on in the other way from where the sound was read to, less `back` seconds."""
        way = "passed on" if copied else "decoded"
        self.log.debug("{session}: from here on it is {way}", session=self._label, way=way)
        self._copied = copied
        self._origin -= back
        self._over, self.failure = False, None
        self._forget()
        if not self.resting:
            self._unread.touch()
            self._open()

    # --- its sound ----------------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether no more is to come but what is left of openings that are over."""
        return self._over

    @property
    def position(self) -> float:
        """Seconds of the source at which goes on what was read."""
        return self._origin + _seconds(self._given)

    @property
    def child(self) -> Child | None:
        """The FFmpeg that is at it; None where there is none."""
        return self._newest.child if self._newest is not None else None

    @property
    def received(self) -> int | None:
        """Bytes of the source that were read; None where that is not known."""
        return _both(self._received, self._newest.received if self._newest is not None else 0)

    @property
    def unpassable(self) -> bool:
        """Whether what comes next cannot be passed: one has to `turn`."""
        return bool(self._openings) and self._openings[0].unpassable

    def read(self, most: int) -> bytes | None:
        """Up to `most` bytes, whole samples but for the very last; b"" if there are none now, None at the end."""
        while self._openings:
            opening = self._openings[0]
            if pcm := opening.read(most):
                if not opening.began and not self._begin(opening):
                    return None
                self._given += len(pcm)
                if not self._over:
                    self._unread.touch()
                return pcm
            if not self._is_past(opening):
                return b""
        return self._nothing_left(b"")

    def take(self, most: int) -> list[Passed] | None:
        """Up to `most` packets; none if there are none now or what comes next is `unpassable`, None at the end."""
        if self._until is not None and self._openings:
            # The last of the source's own packets may hold more than was asked for.
            room = round((self._until - self.position) / FRAME_SECONDS)
            if self._given and room <= 0:
                self._let_go()
                self._end(None)
                return None
            most = min(most, max(1, room))
        while self._openings:
            opening = self._openings[0]
            if passed := opening.take(most):
                if not opening.began and not self._begin(opening):
                    return None
                self._given += len(passed) * FRAME_BYTES
                heard = passed[-1].position + FRAME_SAMPLES + PRE_SKIP
                self._origin = heard / SAMPLE_RATE - _seconds(self._given)
                if not self._over:
                    self._unread.touch()
                return passed
            if opening.unpassable or not self._is_past(opening):
                return []
        return self._nothing_left([])

    def _is_past(self, opening: IOpening) -> bool:
        """Whether the oldest opening, which has nothing to read, is done with."""
        if opening.over:
            self._openings.popleft()
            if self._wanting:
                self._open()
            return True
        if opening.denial is None:
            return False
        self._end(opening.denial)
        return True

    def _nothing_left(self, now: _Sound) -> _Sound | None:
        self.wake()
        return None if self._over else now

    def when_readable(self, callback: Callable[[], None]) -> None:
        """After a `read` that found nothing: call `callback` once when another may, or finds the end."""
        self._callback = callback
        self._waiting_since = self._workshop.reactor.seconds()
        if self._openings:
            self._openings[-1].wait()

    def _begin(self, opening: IOpening) -> bool:
        """The first sound of `opening` is read now. False if it lies behind the end."""
        opening.began = True
        if self.sound_at is None:
            self.sound_at = self._workshop.reactor.seconds()
        self.report = report = opening.report
        self._learn(report)
        length = None if self.live or report.guessed else report.duration
        if length is not None and self.position >= length:
            # From behind an Ogg's end FFmpeg gives its last second.
            self._forget()
            self._end(None)
            return False
        self._cancel_deadline()
        if opening.recovers and self._given:
            self._workshop.tally.recoveries += 1
            self._reader.supply_recovered()
        if self.live:
            self._reader.supply_caught_up()
        return True

    def _tell(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    # --- its children (IOpener) ---------------------------------------------------------------------------------

    def _open(self) -> None:
        """Open the source where the sound that there is ends, once the last child is reaped."""
        self._wanting = False
        self._opened_at = self._reached
        position = self._origin + _seconds(self._reached)
        left = None if self._until is None else max(0.0, self._until - position)
        self._received = self.received
        opening = self._newest = self._make(position, left)
        self.opened = self.opened + 1 if self._reached else 1
        opening.report.on_title = self._reader.supply_titled
        self._openings.append(opening)
        self._gone.addCallback(lambda _: opening.start())

    def _make(self, position: float, left: float | None) -> IOpening:
        """Whoever can open the source from `position` on, for `left` seconds, with the least effort."""
        if self._copied and self._kept is not None:
            return KeptOpening(self._workshop.reactor, self, self._kept, position)
        again, recovers = self._reached > 0, self._recovering
        place = find_place(self._workshop, self._source) if self._copied and not self._odd else None
        if place is not None:
            return DirectOpening(
                self._workshop,
                self,
                place,
                position,
                self._landmarks,
                label=self._label,
                again=again,
                recovers=recovers,
            )
        return Opening(
            self._workshop,
            self,
            self._source,
            0.0 if self.live else position,
            left,
            copied=self._copied,
            label=self._label,
            again=again,
            recovers=recovers,
        )

    @property
    def _reached(self) -> int:
        """Bytes of sound that there are from the origin on, given or left."""
        return self._given + sum(opening.rest for opening in self._openings)

    def opening_started(self, opening: IOpening) -> None:
        assert opening.gone is not None
        if self.opened_at is None:
            self.opened_at = self._workshop.reactor.seconds()
        self._gone = opening.gone
        if not self._reached and self._deadline is None:
            wait = FIRST_PACKET_SECONDS + opening.counting
            self._deadline = self._workshop.reactor.callLater(wait, self._end, SourceTimeout())
        if self._callback is not None:
            opening.wait()

    def opening_readable(self, opening: IOpening) -> None:
        if self.live and self._workshop.reactor.seconds() - self._waiting_since >= EDGE_SECONDS:
            self._reader.supply_caught_up()
        self._tell()

    def opening_failed(self, opening: IOpening, error: AudioServiceError) -> None:
        self._openings.remove(opening)
        if self._reached and isinstance(error, SpawnFailed):
            self._again(error)
        else:
            self._end(error)

    def opening_over(self, opening: IOpening) -> None:
        self._learn(opening.report)
        if opening.unpassable:
            self._cancel_deadline()
            self._tell()
            return
        if opening.odd:
            self._odd = True
            if self._landmarks.chained and isinstance(self._source.media, (File, Http)):
                self._source = replace(self._source, media=replace(self._source.media, counted=True))
            opening.settle(whole=False)
            if not opening.rest:
                self._openings.remove(opening)
            self._open()
            return
        sequel, error = self._judge(opening)
        opening.settle(whole=sequel is Sequel.END)
        if not opening.rest:
            self._openings.remove(opening)
        if sequel is Sequel.AGAIN and error is not None:
            self._torn = opening.killed is None
            self._again(error)
        elif sequel is Sequel.ANEW and error is not None:
            self._anew(error)
        else:
            self._end(error)
        if opening.rest:
            self._tell()

    def _learn(self, report: Report) -> None:
        self.live = self.live or report.live
        if self._length is None and not report.guessed:
            self._length = report.duration

    def _judge(self, opening: IOpening) -> tuple[Sequel, AudioServiceError | None]:
        if opening.denial is not None:
            return Sequel.FAIL, opening.denial
        length = None if self.live else self._length
        ends = [end for end in (length, self._until) if end is not None]
        past = Past(
            report=opening.report,
            trouble=opening.trouble,
            reached=self._origin + _seconds(self._reached),
            end=min(ends, default=None),
            length=length,
            gave=self._reached > self._opened_at,
            heard=self._opened_at > 0,
            torn=self._torn,
            killed=opening.killed,
        )
        return judge(self._source, self.live, past)

    # --- what follows -------------------------------------------------------------------------------------------

    def _again(self, error: AudioServiceError) -> None:
        """Open the source again, unless that was in vain too often."""
        reached = self._reached
        stale = self.live and self.report.container == "hls"
        progress = STALE_SECONDS * SAMPLE_RATE * WHOLE if stale else PROGRESS_BYTES
        self._failures = 0 if reached - self._failed_at >= progress else self._failures + 1
        self._failed_at = reached
        position = round(self._origin + _seconds(reached), 3)
        self.log.info("{session}: {code} at {position} s", session=self._label, code=error.code, position=position)
        if self._failures == len(DELAYS):
            self._end(error)
            return
        self._recovering = True
        if delay := DELAYS[self._failures]:
            self._delay = self._workshop.reactor.callLater(delay, self._reopen)
        else:
            self._reopen()

    def _reopen(self) -> None:
        # A source that breaks off again and again while nobody reads must not fill the memory.
        if sum(opening.held for opening in self._openings) > PIPE_BYTES:
            self._wanting = True
        else:
            self._open()

    def _anew(self, error: AudioServiceError) -> None:
        """Look the source up anew, once for each time that it expires; `error` is why it has to be."""
        reached = self._reached
        before, self._refreshed_at = self._refreshed_at, reached
        if not self._source.extracted or (before is not None and reached - before < PROGRESS_BYTES):
            self._end(error)
            return
        self.log.debug("{session}: {code}, the URL is looked up anew", session=self._label, code=error.code)
        self._cancel_deadline()
        self._refreshing = self._refresh().addCallbacks(self._refreshed, self._unrefreshed)

    def _refreshed(self, source: Source) -> None:
        self._source = source
        self._landmarks = Landmarks()
        self._open()

    def _unrefreshed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if not failure.check(AudioServiceError):
            self.log.failure("{session}: the resolver failed", failure, session=self._label)
        self._end(failure.value if isinstance(failure.value, AudioServiceError) else ExtractionFailed())

    def _rest(self) -> None:
        """Nobody has read for a while; who waits to is not to blame."""
        if self._callback is not None:
            self._unread.touch()
        else:
            self.log.debug("{session}: nobody reads, the source is let go", session=self._label)
            self._forget()
            self.resting = True

    def _end(self, failure: AudioServiceError | None) -> None:
        """What is left of openings that are over is still read."""
        if not self._over:
            self._over = True
            self.failure = failure
            self._stop()
            if self._openings and not self._openings[-1].over:
                self._openings.pop().drop()
            self._tell()

    def _forget(self) -> None:
        """Be as if the sound had been given so far without a hitch, and no further."""
        self._let_go()
        self._recovering = self._torn = False
        self._failures, self._failed_at, self._refreshed_at = 0, self._given, None

    def _let_go(self) -> None:
        """No child, no timer, nothing that was read ahead."""
        self._stop()
        for opening in self._openings:
            opening.drop()
        self._openings.clear()

    def _stop(self) -> None:
        self._wanting = False
        self._unread.stop()
        self._cancel_deadline()
        if self._delay is not None and self._delay.active():
            self._delay.cancel()
        if self._refreshing is not None:
            self._refreshing.cancel()
            self._refreshing = None

    def _cancel_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None


def _seconds(pcm: int) -> float:
    """How long `pcm` bytes of sound last."""
    return pcm / (WHOLE * SAMPLE_RATE)


def _both(some: int | None, more: int | None) -> int | None:
    """Their sum, where both are known."""
    return None if some is None or more is None else some + more
