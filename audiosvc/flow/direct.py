"""One opening of a source by the daemon itself: of Opus in Ogg or WebM that is passed on as it is, with no child."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosvc.audio import FRAME_BYTES, SAMPLE_RATE
from audiosvc.codec.ogg_passing import MORE_STREAMS, PAGE_MOST, OggHead, OggPassing, OggSearch, length, pages
from audiosvc.codec.passing import Passed
from audiosvc.codec.webm import Cues, WebmDemuxer, WebmHead
from audiosvc.codec.webm_passing import WebmPassing
from audiosvc.errors import AudioServiceError, BlockedAddress, SourceEndedEarly, SourceTimeout
from audiosvc.ffmpeg.report import Report
from audiosvc.flow.bytesource import FilePlace, HttpPlace, IBytes, IPlace, Odd, Refused
from audiosvc.flow.opening import REOPEN_SECONDS, STALL_SECONDS
from audiosvc.flow.openings import IOpener
from audiosvc.flow.watch import Watch
from audiosvc.flow.workshop import Workshop
from audiosvc.sources.model import File, Http, Source

READ_BYTES = 32 * 1024
"""Bytes read at once, two seconds of sound at 128 kbit/s."""

BEGIN_SECONDS = 2.0
"""A position so near to the beginning is read up to."""

PROBES_MOST = 10
"""Places of an Ogg that are looked at to find a position."""

READS_MOST = 8
"""Reads without a packet after which others have their turn: of a WebM there may be a lot to be left out."""

CUES_BYTES_MOST = 4 * 1024 * 1024
"""Bytes of a WebM's Cues, of which one second takes some 20."""

_OGG, _EBML = b"OggS", b"\x1aE\xdf\xa3"


class Landmarks:
    """What is known of where things lie in a source, by those who have had it open: for those who come after."""

    def __init__(self) -> None:
        self.head: OggHead | WebmHead | None = None
        self.size: int | None = None
        self.samples: int | None = None
        """Of the sound, with those to be skipped: an Ogg's."""
        self.cues: Cues | None = None
        """A WebM's."""
        self.chained = False
        """Whether another stream follows upon the first: then positions have to be counted to."""


def find_place(workshop: Workshop, source: Source) -> IPlace | None:
    """Where the daemon itself can read `source` from; None for what is left to FFmpeg."""
    media = source.media
    if not source.opus or source.live or not isinstance(media, (File, Http)) or media.counted:
        return None
    if isinstance(media, File):
        return FilePlace(workshop.reactor, workshop.encoders, media.path)
    if workshop.streams is None or media.demuxer is not None or media.station:
        return None
    return HttpPlace(workshop.streams, media)


class DirectOpening:
    """What is at `place` from `position` on, to its end: Opus packets. Implements `IOpening`.

    `label` says in logs for whom, `recovers` that this follows an opening that failed, `again` that the source has
    given sound before. `landmarks` are used and added to. One that gives nothing for too long while it is waited for
    is ended.
    """

    log = Logger()
    counting = 0.0
    child = None
    trouble: AudioServiceError | None = None
    """`report` has it all."""

    def __init__(
        self,
        workshop: Workshop,
        opener: IOpener,
        place: IPlace,
        position: float,
        landmarks: Landmarks,
        *,
        label: str,
        again: bool,
        recovers: bool,
    ) -> None:
        self.report = Report()
        self.recovers = recovers
        self.began = False
        """Whether its reader was given any of its sound; the reader's to set."""
        self.over = False
        self.odd = False
        self.killed: AudioServiceError | None = None
        self.denial: AudioServiceError | None = None
        self.gone: Deferred[None] | None = None
        self.received = 0
        self._reactor = workshop.reactor
        self._opener = opener
        self._place = place
        self._at = round(position * SAMPLE_RATE)
        self._landmarks = landmarks
        self._label = label
        self._again = again
        self._bytes: IBytes | None = None
        """What is read on from; None before that is found."""
        self._passing: OggPassing | WebmPassing | None = None
        self._passed: deque[Passed] = deque()
        self._preparing: Deferred[None] | None = None
        self._waiting = False
        self._dry = False
        """Whether all that is there has been read."""
        self._exhausted = False
        """Whether nothing more is to be read."""
        self._dropped = False
        self._flowing = False
        self._soon: IDelayedCall | None = None
        self._watch = Watch(self._reactor, REOPEN_SECONDS if again else STALL_SECONDS, self._stalled)

    # --- its life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        if self._dropped:
            return
        self.gone = Deferred()
        at = round(self._at / SAMPLE_RATE, 3)
        self.log.debug("{session}: the daemon reads it itself, from {at} s on", session=self._label, at=at)
        self._watch.touch()
        self._preparing = Deferred.fromCoroutine(self._prepare())
        self._preparing.addCallbacks(self._prepared, self._failed)
        self._opener.opening_started(self)

    def drop(self) -> None:
        if not self._dropped:
            self._dropped = True
            self._passed.clear()
            self._let_go()

    def _let_go(self) -> None:
        """Of everything but packets."""
        self._exhausted = True
        self._watch.stop()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._preparing is not None:
            self._preparing.cancel()
        if self.gone is not None and not self.gone.called:
            self._place.close()
            self.gone.callback(None)

    # --- its sound ----------------------------------------------------------------------------------------------

    @property
    def rest(self) -> int:
        """Once it is over: bytes of sound that are left, where a packet counts as the PCM in it."""
        return len(self._passed) * FRAME_BYTES if self.over else 0

    @property
    def held(self) -> int:
        """Bytes of memory that they take."""
        return sum(len(each.packet) for each in self._passed)

    @property
    def unpassable(self) -> bool:
        """Whether what comes next, after packets still to be taken, cannot be passed and has to be decoded."""
        return self._passing is not None and not self._passed and self._passing.unpassable is not None

    def read(self, most: int) -> bytes:
        """It has no PCM; a supply that wants any opens the source with FFmpeg."""
        raise NotImplementedError

    def take(self, most: int) -> list[Passed]:
        """Up to `most` packets of those that are there now."""
        passed = self._passed
        if not passed and self._bytes is not None and not self._exhausted:
            self._pull(self._bytes)
        return [passed.popleft() for _ in range(min(most, len(passed)))]

    def settle(self, whole: bool) -> None:
        """It is over: what is left is all of it to the end if `whole`, else what comes next begins in its midst."""
        if whole and self._passing is not None:
            self._passed += self._passing.end()

    def wait(self) -> None:
        """Tell the opener once there may be something to read."""
        self._waiting = True
        if self._soon is not None or self._bytes is None:
            # Something is told in any case, or once it is prepared.
            return
        if self._dry and not self._exhausted:
            self._watch.touch()
            self._bytes.when_readable(self._readable)
        else:
            self._later(self._tell)

    def _pull(self, source: IBytes) -> None:
        """Read on until there are packets, or no more bytes for now, or others should have their turn."""
        self._dry = False
        for _ in range(READS_MOST):
            try:
                data = source.read(READ_BYTES)
            except SourceEndedEarly:
                data, self.report.broken = None, True
            if data:
                self.received += len(data)
                self._feed(data)
            elif data is None:
                self._finish()
            else:
                self._dry = True
            if self._passed or self._exhausted or self._dry:
                return

    def _feed(self, data: bytes) -> None:
        passing = self._passing
        assert passing is not None
        passed = passing.feed(data)
        if passed and not self._flowing:
            self._flow()
        self._passed += passed
        if passing.odd is not None and passing.unpassable is None:
            self.log.info("{session}: {reason}; it is left to FFmpeg", session=self._label, reason=passing.odd)
            self.odd = True
            self._landmarks.chained = self._flowing and passing.odd == MORE_STREAMS
            self._finish()
        elif passing.unpassable is not None:
            self._exhausted = True

    def _flow(self) -> None:
        """The first of the sound is there."""
        self._flowing = True
        self.log.debug(
            "{session}: packets come, out of {container}", session=self._label, container=self.report.container
        )
        self._watch.stop()
        self._watch = Watch(self._reactor, STALL_SECONDS, self._stalled)

    def _finish(self) -> None:
        """Nothing more will come; whoever reads is told of it when he is done with that."""
        self._exhausted = True
        if isinstance(self._passing, WebmPassing) and not self._passing.demuxer.whole:
            self.report.broken = True
        self._later(self._end)

    def _readable(self) -> None:
        self._watch.ease()
        self._tell()

    def _tell(self) -> None:
        if self._waiting:
            self._waiting = False
            self._opener.opening_readable(self)

    def _later(self, call: Callable[[], None]) -> None:
        """In the reactor's next turn."""

        def now() -> None:
            self._soon = None
            call()

        if self._soon is not None:
            self._soon.cancel()
        self._soon = self._reactor.callLater(0, now)

    def _end(self) -> None:
        self.over = True
        self._let_go()
        self._opener.opening_over(self)

    # --- how it begins ------------------------------------------------------------------------------------------

    def _prepared(self, _: None) -> None:
        self._preparing = None
        self._watch.ease()
        if self._waiting:
            self.wait()

    def _failed(self, failure: Failure) -> None:
        self._preparing = None
        if self.over or self._dropped:
            return
        error = failure.value
        if isinstance(error, BlockedAddress):
            self.denial = error
        elif isinstance(error, Refused):
            self.report.note(error.error, error.status)
        elif isinstance(error, SourceEndedEarly):
            self.report.broken = True
        elif isinstance(error, AudioServiceError):
            self.report.note(error)
        else:
            if not isinstance(error, Odd):
                self.log.failure("{session}: a source could not be read", failure, session=self._label)
            self.log.info("{session}: {reason}; it is left to FFmpeg", session=self._label, reason=str(error))
            self.odd = True
        self._exhausted = True
        self._later(self._end)

    def _stalled(self) -> None:
        self.log.warn("{session}: the source gives nothing", session=self._label)
        if self._again or self.began:
            self.killed = SourceTimeout()
        else:
            self.report.note(SourceTimeout())
        self._end()

    async def _prepare(self) -> None:
        """Find the container, what stands in its head, and where in it the sound begins that is wanted."""
        if self._landmarks.head is None or self._at <= BEGIN_SECONDS * SAMPLE_RATE:
            source = await self._open_first()
            if self._at <= BEGIN_SECONDS * SAMPLE_RATE or self._passed or self._exhausted:
                self._bytes = source
                return
            source.close()
        head = self._landmarks.head
        assert head is not None
        self._describe(head)
        if isinstance(head, OggHead):
            await self._seek_ogg(head)
        else:
            await self._seek_webm(head)

    async def _open_first(self) -> IBytes:
        """From the beginning of it all, up to behind the head; or to where it shows that this is for FFmpeg."""
        source = await self._place.open(0)
        first = b""
        while len(first) < len(_OGG) and (more := await self._more(source)) is not None:
            first += more
        if not first.startswith((_OGG, _EBML)):
            raise Odd("it is neither Ogg nor WebM")
        passing = self._passing = OggPassing(self._at) if first.startswith(_OGG) else WebmPassing(self._at)
        self._feed(first)
        while passing.head is None and not self._exhausted:
            if (more := await self._more(source)) is None:
                raise Odd("it ends within its head")
            self._feed(more)
        if passing.head is not None:
            self._landmarks.head, self._landmarks.size = passing.head, source.size
            if isinstance(passing.head, OggHead) and source.ranged:
                try:
                    await self._measure(passing.head)
                except BlockedAddress:
                    raise
                except (AudioServiceError, Odd, Refused):
                    self.log.debug("{session}: it does not show how long it is", session=self._label)
            self._describe(passing.head)
        return source

    async def _measure(self, head: OggHead) -> None:
        """How long an Ogg is shows at its end."""
        marks = self._landmarks
        if marks.size is None or marks.samples is not None:
            return
        source = await self._place.open(max(0, marks.size - PAGE_MOST))
        last = b""
        while len(last) < PAGE_MOST and (more := await self._more(source)) is not None:
            last += more
        source.close()
        marks.samples = length(last, head)

    def _describe(self, head: OggHead | WebmHead) -> None:
        samples = self._landmarks.samples if isinstance(head, OggHead) else head.duration
        duration = None if samples is None else round(samples / SAMPLE_RATE, 2)
        self.report.describe(head.title, head.artist, duration, "ogg" if isinstance(head, OggHead) else "matroska")

    async def _seek_ogg(self, head: OggHead) -> None:
        marks = self._landmarks
        await self._measure(head)
        if marks.size is None or marks.samples is None:
            raise Odd("it does not say how long it is")
        if self._at + head.pre_skip >= marks.samples:
            self._finish()
            return
        search = OggSearch(head, self._at, marks.size, marks.samples)
        for _ in range(PROBES_MOST):
            offset = search.guess()
            source = await self._place.open(offset)
            data = b""
            while len(data) < 2 * PAGE_MOST and not any(pages(data, offset, head.serial)):
                if (more := await self._more(source)) is None:
                    break
                data += more
            begin = search.saw(offset, data)
            if begin is not None:
                self._read_from(source, OggPassing(self._at, head), data[begin - offset :])
                return
            source.close()
        raise Odd("the position is not found in it")

    async def _seek_webm(self, head: WebmHead) -> None:
        cues = self._landmarks.cues
        if cues is None and isinstance(self._passing, WebmPassing):
            cues = self._passing.demuxer.cues
        if cues is None and head.cues is not None:
            cues = await self._fetch_cues(head, head.cues)
        if not cues:
            raise Odd("it does not say where its positions are")
        self._landmarks.cues = cues
        offset = head.start(cues, self._at)
        self._read_from(await self._place.open(offset), WebmPassing(self._at, head, offset), b"")

    async def _fetch_cues(self, head: WebmHead, offset: int) -> Cues | None:
        source = await self._place.open(offset)
        demuxer, size = WebmDemuxer.resume(head, offset), 0
        while demuxer.cues is None and demuxer.odd is None and size < CUES_BYTES_MOST:
            if (more := await self._more(source)) is None:
                break
            demuxer.feed(more)
            size += len(more)
        source.close()
        return demuxer.cues

    def _read_from(self, source: IBytes, passing: OggPassing | WebmPassing, data: bytes) -> None:
        self._bytes, self._passing = source, passing
        self._feed(data)

    async def _more(self, source: IBytes) -> bytes | None:
        """The next bytes, as soon as there are any; None at the end."""
        while (data := source.read(READ_BYTES)) == b"":
            there: Deferred[None] = Deferred()
            source.when_readable(lambda there=there: there.callback(None))  # type: ignore[misc]
            await there
            if not self._again:
                self._watch.touch()
        self.received += len(data or b"")
        return data
