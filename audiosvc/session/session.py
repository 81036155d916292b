"""The shell round one track's life: carries out what `lifecycle.step` decides, and is the feed that delivery pulls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosvc.audio import seconds_of
from audiosvc.codec.ogg import OggMuxer
from audiosvc.errors import AudioServiceError, DecoderFailed, NotSeekable, PositionOutOfRange
from audiosvc.ffmpeg.report import Report
from audiosvc.flow.pipeline import IPlayback, Pipeline
from audiosvc.flow.shared import Broadcasts
from audiosvc.flow.watch import Watch
from audiosvc.flow.workshop import Workshop
from audiosvc.ids import new_track_id
from audiosvc.interfaces import IPacketSink, ISourceResolver
from audiosvc.session import lifecycle
from audiosvc.session.track import Play, Snapshot
from audiosvc.sources.model import Source
from audiosvc.wire.messages import (
    Error,
    Finished,
    Metadata,
    Paused,
    Ready,
    Recovered,
    Resumed,
    Seeked,
    SessionEvent,
    Status,
    Stopped,
    StopReason,
)


@dataclass(frozen=True)
class House:
    """What every session shares. `bitrate` is for plays that name none; `idle_timeout` is in seconds."""

    workshop: Workshop
    resolver: ISourceResolver
    sink: IPacketSink
    bitrate: int
    idle_timeout: float
    broadcasts: Broadcasts = field(default_factory=Broadcasts)


class ISessionOwner(Protocol):
    """Who keeps the sessions."""

    def session_over(self, session: Session, gone: Deferred[None], end: SessionEvent) -> None:
        """The terminal event `end` has been announced; `gone` fires when the session's last child is reaped."""


class Session:
    """One accepted play, from the moment it is accepted until its terminal event. Implements `interfaces.IFeed`."""

    log = Logger()

    def __init__(self, house: House, owner: ISessionOwner, session_id: str, play: Play, after: Deferred[None]) -> None:
        """`after` fires when the last child of this id's previous track is reaped; none is started before."""
        self.session_id = session_id
        self.track_id = new_track_id()
        self._house = house
        self._owner = owner
        self._play = play
        self._volume = play.volume
        self._bitrate = play.bitrate or house.bitrate
        self._state: lifecycle.State = lifecycle.Resolving(0, play.start_at)
        self._events: deque[lifecycle.Event] = deque()
        self._stepping = False
        self._source: Source | None = None
        self._resolving: Deferred[None] | None = None
        self._pipeline: IPlayback | None = None
        self._gone = after
        self._flowing = False
        self._opened_at = play.start_at
        self._frames_since = 0
        self._frames = 0
        self._bytes = 0
        self._packets = 0
        self._underruns = 0
        self._recoveries = 0
        self._muxer: OggMuxer | None = None
        self._headers: deque[bytes] = deque()
        self._idle = Watch(house.workshop.reactor, house.idle_timeout, self._idled)

    # --- from the API, through the registry ----------------------------------------------------------------------

    def start(self) -> None:
        """Look the URL up and go on from there; returns at once."""
        self._idle.touch()
        self._house.sink.open(self)
        self._resolving = self._look_up().addCallbacks(self._resolved, self._unresolved)

    def pause(self) -> None:
        self._give(lifecycle.Pause())

    def resume(self) -> None:
        self._give(lifecycle.Resume())

    def stop(self, reason: StopReason) -> None:
        self._give(lifecycle.Stop(reason))

    def seek(self, position: float) -> None:
        """To `position` seconds of the source; `PositionOutOfRange` where that is known to be past its end.

        `NotSeekable` for a live one.
        """
        if self._source is not None and self._source.live:
            raise NotSeekable("a live source cannot be sought in")
        duration = self._source.duration if self._source else None
        guessed = self._pipeline is not None and self._pipeline.report.guessed
        if duration is not None and position > duration and not guessed:
            raise PositionOutOfRange(f"the track is {duration:.2f} s long")
        self._give(lifecycle.Seek(position))

    def set_volume(self, volume: float) -> None:
        self._idle.touch()
        self._volume = volume
        if self._pipeline is not None:
            self._pipeline.set_volume(volume)

    def snapshot(self) -> Snapshot:
        source = self._source
        return Snapshot(
            session_id=self.session_id,
            track_id=self.track_id,
            status=self.status,
            url=self._play.url,
            format=self._play.format,
            position=self.position,
            duration=source.duration if source else None,
            title=source.title if source else None,
            uploader=source.uploader if source else None,
            live=source.live if source else False,
            thumbnail=source.thumbnail if source else None,
            volume=self._volume,
            bitrate=self._bitrate,
            bytes_sent=self._bytes,
            packets_sent=self._packets,
            buffered=seconds_of(self._pipeline.ready) if self._pipeline else 0.0,
            underruns=self._underruns,
            recoveries=self._recoveries,
            dropped=self._pipeline.dropped if self._pipeline else 0,
            passthrough=self._pipeline is not None and self._pipeline.passing and not self._pipeline.cached,
            cached=self._pipeline is not None and self._pipeline.cached,
            held=self._house.sink.held(self.session_id),
        )

    # --- to delivery (IFeed) ----------------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        return lifecycle.status_of(self._state)

    @property
    def flowing(self) -> bool:
        return self._flowing and isinstance(self._state, lifecycle.Playing)

    @property
    def position(self) -> float:
        if isinstance(self._state, lifecycle.Resolving):
            return self._state.at
        return round(self._opened_at + seconds_of(self._frames_since), 3)

    def pour(self, most: int, into: Callable[[bytes], None]) -> int:
        pipeline = self._pipeline
        if pipeline is None or not isinstance(self._state, lifecycle.Playing) or most <= 0:
            return 0
        headers = self._headers
        poured = self._hand([headers.popleft() for _ in range(min(most, len(headers)))], into) if headers else 0
        # What is told before a packet bounds how many are taken at once.
        while poured < most and (packets := pipeline.take(most - poured)):
            self._frames += len(packets)
            self._frames_since += len(packets)
            if self._muxer is not None:
                last = len(packets) if pipeline.drained else 0
                packets = [self._muxer.page(packet, last=i == last) for i, packet in enumerate(packets, 1)]
            poured += self._hand(packets, into)
        if poured:
            self._idle.touch()
        if pipeline.drained:
            self._give(lifecycle.Drained(self._epoch, pipeline.failure))
        return poured

    def underran(self) -> None:
        self._underruns += 1

    def abandoned(self) -> None:
        self._give(lifecycle.Stop("consumer_timeout"))

    def _hand(self, payloads: list[bytes], into: Callable[[bytes], None]) -> int:
        for payload in payloads:
            self._bytes += len(payload)
            into(payload)
        self._packets += len(payloads)
        return len(payloads)

    # --- from the pipeline (IPipelineReader) and the resolver ---------------------------------------------------------

    def pipeline_flows(self, pipeline: IPlayback) -> None:
        if pipeline is not self._pipeline:
            return
        if not self._flowing:
            self._flowing = True
            self._learn(pipeline.report)
            self._give(lifecycle.Flowing(self._epoch))
        self._house.sink.flow(self)

    def pipeline_recovered(self, pipeline: IPlayback) -> None:
        self._recoveries += 1
        self._announce(Recovered(self.session_id, self.track_id, self.position))

    def pipeline_titled(self, pipeline: IPlayback, title: str) -> None:
        assert self._source is not None
        if title != self._source.title:
            self._source = replace(self._source, title=title)
            self._announce(Metadata(self.session_id, self.track_id, title))

    def pipeline_ended(self, pipeline: IPlayback) -> None:
        if pipeline.ready:
            self.pipeline_flows(pipeline)
        elif pipeline is self._pipeline:
            self._give(lifecycle.Drained(self._epoch, pipeline.failure))

    def _look_up(self) -> Deferred[Source]:
        """What the URL is, as it was found to be where its track is kept; and that track, ready to be played."""
        play, resolver, cache = self._play, self._house.resolver, self._house.workshop.cache
        if cache is None or play.format == "pcm":
            return resolver.resolve(play.url)
        asked = play.bitrate is not None
        looking = cache.source(play.url, self._bitrate, asked)
        sources = looking.addCallback(lambda known: known or resolver.resolve(play.url))
        return sources.addCallback(cache.fetch, self._bitrate, asked)

    def _resolved(self, source: Source) -> None:
        self._resolving = None
        self._source = source
        self._give(lifecycle.Resolved(self._epoch, source))

    def _unresolved(self, failure: Failure) -> None:
        self._resolving = None
        if failure.check(CancelledError):
            return
        if not failure.check(AudioServiceError):
            self.log.failure("the resolver failed", failure)
        error = failure.value if isinstance(failure.value, AudioServiceError) else DecoderFailed("the look-up failed")
        self._give(lifecycle.Drained(self._epoch, error))

    def _refresh(self) -> Deferred[Source]:
        """Look the URL up once more, its media URL having expired; what is opened from now on is what was found."""
        return self._house.resolver.resolve(self._play.url, fresh=True).addCallback(self._refreshed)

    def _refreshed(self, source: Source) -> Source:
        assert self._source is not None
        self._source = replace(self._source, media=source.media)
        self._give(lifecycle.Resolved(self._epoch, source))
        return source

    def _learn(self, report: Report) -> None:
        """What the media says of itself goes before what its URL let one guess, and after what its page says."""
        source = self._source
        assert source is not None
        said, told = (report.title, report.artist), (source.title, source.uploader)
        first, second = (told, said) if source.extracted else (said, told)
        self._source = replace(
            source,
            title=first[0] or second[0],
            uploader=first[1] or second[1],
            duration=source.duration if report.duration is None else report.duration,
            live=source.live or report.live,
        )

    # --- the machine -----------------------------------------------------------------------------------------------

    @property
    def _epoch(self) -> int:
        return self._state.epoch if not isinstance(self._state, lifecycle.Over) else -1

    def _give(self, event: lifecycle.Event) -> None:
        """Feed `event` to the table; one that comes up while another's effects run waits for its turn."""
        self._events.append(event)
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._events:
                self._state, effects = lifecycle.step(self._state, self._events.popleft())
                for effect in effects:
                    self._do(effect)
        finally:
            self._stepping = False

    def _do(self, effect: lifecycle.Effect) -> None:
        match effect:
            case lifecycle.Open(_, source, at):
                self._open(source, at)
            case lifecycle.AnnounceReady():
                self._announce_ready()
            case lifecycle.AnnouncePaused():
                self._announce(Paused(self.session_id, self.track_id, self.position))
            case lifecycle.AnnounceResumed():
                self._announce(Resumed(self.session_id, self.track_id, self.position))
                self._house.sink.flow(self)
            case lifecycle.AnnounceSeeked(at):
                self._announce(Seeked(self.session_id, self.track_id, at, self.position))
            case lifecycle.End(how):
                self._end(how)

    def _open(self, source: Source, at: float) -> None:
        if self._pipeline is not None:
            self._gone = self._pipeline.close()
        play = self._play
        begin = at if source.live else play.start_at
        self._flowing = False
        self._opened_at, self._frames_since = at, 0
        workshop, broadcasts = self._house.workshop, self._house.broadcasts
        duration = None if play.duration is None else max(0.0, begin + play.duration - at)
        bitrate = None if play.format == "pcm" else self._bitrate
        self._pipeline = broadcasts.listen(
            workshop,
            self,
            source,
            duration=duration,
            bitrate=bitrate,
            volume=self._volume,
            label=self.session_id,
            refresh=self._refresh,
        ) or Pipeline(
            workshop,
            self,
            source,
            at=at,
            duration=duration,
            bitrate=bitrate,
            asked=play.bitrate is not None,
            volume=self._volume,
            label=self.session_id,
            refresh=self._refresh,
        )
        self._pipeline.start(self._gone)

    def _announce(self, event: SessionEvent) -> None:
        self._idle.touch()
        self._house.sink.announce(event)

    def _announce_ready(self) -> None:
        source = self._source
        assert source is not None
        if self._play.format in ("ogg", "web"):
            serial = int(self.track_id[:8], 16)
            self._muxer = OggMuxer(serial, title=source.title, artist=source.uploader)
            self._headers.extend(self._muxer.headers())
        self._announce(
            Ready(
                self.session_id,
                self.track_id,
                url=self._play.url,
                format=self._play.format,
                position=self.position,
                title=source.title,
                duration=source.duration,
                thumbnail=source.thumbnail,
                uploader=source.uploader,
                live=source.live or None,
            )
        )

    def _end(self, how: StopReason | AudioServiceError | None) -> None:
        self._idle.stop()
        if self._resolving is not None:
            self._resolving.cancel()
        if self._pipeline is not None:
            self._gone = self._pipeline.close()
        names, played = (self.session_id, self.track_id), seconds_of(self._frames)
        end: SessionEvent
        match how:
            case None:
                end = Finished(*names, played)
            case AudioServiceError():
                duration = self._source.duration if self._source else None
                self.log.warn(
                    "{session}: {code}: {message}", session=self.session_id, code=how.code, message=how.message
                )
                end = Error(*names, how.code, how.message, played, duration)
            case _:
                end = Stopped(*names, how, played)
        self._house.sink.announce(end)
        self._house.sink.close(self)
        self._owner.session_over(self, self._gone, end)

    def _idled(self) -> None:
        self._give(lifecycle.Stop("idle_timeout"))
