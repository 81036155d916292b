"""The shell round one track's life: carries out what `lifecycle.step` decides, and is the feed that delivery pulls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosvc.audio import FRAME_SAMPLES, FRAME_SECONDS, FRAMES_PER_SECOND, seconds_of
from audiosvc.codec.ogg import OggMuxer
from audiosvc.errors import AudioServiceError, DecoderFailed, NotSeekable, PositionOutOfRange
from audiosvc.ffmpeg.report import Report
from audiosvc.flow.pipeline import PRE_ROLL, IPlayback, Pipeline, Works
from audiosvc.flow.shared import Broadcasts
from audiosvc.flow.watch import Watch
from audiosvc.flow.workshop import Workshop
from audiosvc.ids import new_track_id
from audiosvc.interfaces import IPacketSink, ISourceResolver
from audiosvc.session import lifecycle
from audiosvc.session.memory import REACH_MOST, Memory, short
from audiosvc.session.stats import ChildStats, DroppedStats, FirstPacketStats, QueueStats, Stats
from audiosvc.session.story import Story
from audiosvc.session.track import SECONDS_MOST, URL_MOST, Play, Snapshot
from audiosvc.sources.model import Source
from audiosvc.timings import Timings
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


@dataclass
class _Way:
    """When a play came how far on its way to the first packet, in the reactor's seconds."""

    accepted: float
    resolved: float | None = None
    ready: float | None = None
    sent: float | None = None
    opened: float | None = None
    sound: float | None = None

    def arrive(self, now: float, works: Works) -> None:
        """The first packet is out, thanks to `works`."""
        self.sent, self.opened, self.sound = now, works.opened_at, works.sound_at

    def stats(self, works: Works | None) -> FirstPacketStats:
        """`works` is what goes on now."""
        opened, sound = self.opened, self.sound
        if self.sent is None and works is not None:
            opened, sound = works.opened_at, works.sound_at
        stages = (self.resolved, opened, sound, self.ready, self.sent)
        return FirstPacketStats(*(self._ms(at) for at in stages))

    def _ms(self, at: float | None) -> float | None:
        """What was done before, for others who listen, took this play no time."""
        return None if at is None or at < self.accepted else round((at - self.accepted) * 1000, 3)


@dataclass(frozen=True)
class House:
    """What every session shares. `bitrate` is for plays that name none; `idle_timeout` is in seconds."""

    workshop: Workshop
    resolver: ISourceResolver
    sink: IPacketSink
    bitrate: int
    idle_timeout: float
    broadcasts: Broadcasts = field(default_factory=Broadcasts)
    timings: Timings = field(default_factory=Timings)


class ISessionOwner(Protocol):
    """Who keeps the sessions."""

    def session_over(self, session: Session, gone: Deferred[None], end: SessionEvent) -> None:
        """The terminal event `end` has been announced; `gone` fires when the session's last child is reaped."""


class Session:
    """One accepted play, from the moment it is accepted until its terminal event. Implements `interfaces.IFeed`."""

    log = Logger()

    def __init__(
        self,
        house: House,
        owner: ISessionOwner,
        session_id: str,
        play: Play,
        after: Deferred[None],
        memory: Memory | None = None,
    ) -> None:
        """`after` fires when the last child of this id's previous track is reaped; none is started before.

        `memory` is of the play in the daemon before this one: it goes on with that track when it is woken.
        """
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
        self._lead = 0
        """Frames still to be thrown away, which were sent before a restart."""
        self._frames = 0
        self._bytes = 0
        self._packets = 0
        self._underruns = 0
        self._recoveries = 0
        self._seeks = 0
        self._received: int | None = 0
        """Bytes of the source that earlier pipelines have read."""
        self._way = _Way(house.workshop.reactor.seconds())
        self._asked_at: float | None = self._way.accepted
        """When that was asked, play or seek, of which the first packet is still to come; None if none is."""
        self._stood = memory is not None
        """Whether that packet was there before it could go out, or waited for its turn after a restart."""
        self._seek_seconds: float | None = None
        self._story = Story(session_id)
        self._muxer: OggMuxer | None = None
        self._headers: deque[bytes] = deque()
        self._memory = memory
        self._behind = 0
        """Frames before `_opened_at` that its client may ask to have again: they are one piece with what follows."""
        if memory is not None:
            self._remember(memory)
        self._idle = Watch(house.workshop.reactor, house.idle_timeout, self._idled)

    # --- from the API, through the registry ----------------------------------------------------------------------

    def start(self) -> None:
        """Look the URL up and go on from there; returns at once."""
        self._idle.touch()
        self._story.accepted(self.track_id, self._play)
        self._house.sink.open(self)
        if self._memory is None:
            self._begin()

    def wake(self) -> None:
        """It is its turn to be opened, after a restart."""
        self._give(lifecycle.Wake())

    @property
    def waking(self) -> bool:
        """Whether it is on its way to its first packet."""
        return isinstance(self._state, (lifecycle.Resolving, lifecycle.Opening))

    def memory(self) -> Memory:
        """What a daemon after this one needs to go on from the first packet that was not sent to the client."""
        about, play = self._about, self._play
        live = about is not None and about.live
        reach = min(REACH_MOST, self._behind + self._frames_since)
        again = min(reach, self._house.sink.unsent(self.session_id))
        frames = self._frames - again
        left = play.duration
        if live and left is not None:
            left = max(FRAME_SECONDS, left - seconds_of(max(0, self._frames_since - again)))
        guessed = self._pipeline is not None and self._pipeline.report.guessed
        thumbnail = about.thumbnail if about is not None else None
        return Memory(
            self.session_id,
            self.track_id,
            msgspec.structs.replace(play, volume=self._volume, duration=left),
            position=min(SECONDS_MOST, max(0.0, self._at - seconds_of(again))),
            paused=self.status == "paused",
            # Of what has not begun to sound nobody has heard.
            packets=self._packets - again if frames else 0,
            frames=frames,
            reach=reach - again,
            bytes=self._bytes,
            live=live,
            title=short(about.title) if about is not None else None,
            uploader=short(about.uploader) if about is not None else None,
            thumbnail=thumbnail if thumbnail is not None and len(thumbnail) <= URL_MOST else None,
            duration=about.duration if about is not None and not guessed else None,
        )

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
        about = self._about
        if about is not None and about.live:
            raise NotSeekable("a live source cannot be sought in")
        duration = about.duration if about else None
        guessed = self._pipeline is not None and self._pipeline.report.guessed
        if duration is not None and position > duration and not guessed:
            raise PositionOutOfRange(f"the track is {duration:.2f} s long")
        self._seeks += 1
        if self._way.sent is not None:
            self._asked_at, self._stood, self._seek_seconds = self._house.workshop.reactor.seconds(), False, None
        self._give(lifecycle.Seek(position))

    def set_volume(self, volume: float) -> None:
        self._idle.touch()
        self._volume = volume
        if self._pipeline is not None:
            self._pipeline.set_volume(volume)

    def snapshot(self) -> Snapshot:
        source = self._about
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

    def stats(self) -> Stats:
        """Takes a look at the child, which is some 30 us."""
        pipeline, delivery = self._pipeline, self._house.sink.stats(self.session_id)
        works = pipeline.works if pipeline is not None else None
        child = works.child if works is not None else None
        return Stats(
            session_id=self.session_id,
            track_id=self.track_id,
            status=self.status,
            mode=works.mode if works is not None else None,
            first_packet=self._way.stats(works),
            seeks=self._seeks,
            seek_ms=None if self._seek_seconds is None else round(self._seek_seconds * 1000, 3),
            bytes_sent=self._bytes,
            packets_sent=self._packets,
            late_packets=delivery.late_packets,
            deficit_packets=delivery.deficit_packets,
            largest_gap_ms=delivery.largest_gap_ms,
            underruns=self._underruns,
            recoveries=self._recoveries,
            dropped_packets=DroppedStats(late_listener=pipeline.dropped if pipeline is not None else 0),
            queue=QueueStats(self.ready, delivery.waiting_packets, delivery.unsent_bytes),
            credit_packets=delivery.credit_packets,
            held=delivery.held,
            child=ChildStats(round(child.look_at_work(), 6), child.look_at_memory()) if child is not None else None,
            encoder_share=round(works.share, 4) if works is not None else 0.0,
            source_bytes=self._both(works.received if works is not None else 0),
            listeners=works.listeners if works is not None else 1,
        )

    @property
    def ready(self) -> int:
        """Packets that are made, and not yet asked for."""
        return self._pipeline.ready if self._pipeline is not None else 0

    # --- to delivery (IFeed) ----------------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        return lifecycle.status_of(self._state)

    @property
    def flowing(self) -> bool:
        return self._flowing and isinstance(self._state, lifecycle.Playing)

    @property
    def position(self) -> float:
        return round(self._at, 3)

    @property
    def sent(self) -> int:
        return self._packets

    def pour(self, most: int, into: Callable[[bytes], None]) -> int:
        pipeline = self._pipeline
        if pipeline is None or not isinstance(self._state, lifecycle.Playing) or most <= 0:
            return 0
        headers = self._headers
        poured = self._hand([headers.popleft() for _ in range(min(most, len(headers)))], into) if headers else 0
        # What is told before a packet bounds how many are taken at once.
        while poured < most and (packets := pipeline.take(most - poured)):
            if self._lead:
                again = packets[: self._lead]
                self._lead -= len(again)
                if not (packets := packets[len(again) :]):
                    continue
            self._frames += len(packets)
            self._frames_since += len(packets)
            if self._muxer is not None:
                last = len(packets) if pipeline.drained else 0
                packets = [self._muxer.page(packet, last=i == last) for i, packet in enumerate(packets, 1)]
            poured += self._hand(packets, into)
        if poured:
            self._idle.touch()
            if self._asked_at is not None:
                self._arrived(pipeline, self._asked_at)
        if pipeline.drained:
            self._give(lifecycle.Drained(self._epoch, pipeline.failure))
        return poured

    def _arrived(self, pipeline: IPlayback, asked_at: float) -> None:
        """The first packet has gone out of what was asked at `asked_at`."""
        now, timings = self._house.workshop.reactor.seconds(), self._house.timings
        self._asked_at = None
        self._story.sent(now - asked_at)
        if self._way.sent is None:
            self._way.arrive(now, pipeline.works)
            histograms = timings.plays
        else:
            self._seek_seconds = now - asked_at
            histograms = timings.seeks
        if not self._stood:
            histograms[pipeline.works.mode].add(now - asked_at)

    def rewind(self, packets: int) -> bool:
        back = self._packets - packets
        if self._frames_since or not 0 < back <= self._behind:
            return False
        at = max(0.0, self._at - seconds_of(back))
        self._packets -= back
        self._frames -= back
        self._behind -= back
        self._continue_pages()
        self._give(lifecycle.Rewind(at))
        return True

    def underran(self) -> None:
        self._underruns += 1
        self._story.underran(self._packets, self.position)

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
        if self._flowing:
            self._house.sink.flow(self)
            return
        self._flowing = True
        if self._way.ready is None:
            self._way.ready = self._house.workshop.reactor.seconds()
        self._story.sounds(pipeline.works.mode, self._learn(pipeline.report))
        self._give(lifecycle.Flowing(self._epoch))
        self._house.sink.flow(self)
        if self._asked_at is not None:
            self._stood = True

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

    def _begin(self) -> None:
        self._resolving = self._look_up().addCallbacks(self._resolved, self._unresolved)

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
        self._way.resolved = self._house.workshop.reactor.seconds()
        if self._memory is not None and self._memory.live:
            # That may only show once it is open, which is too late for where to open it.
            source = replace(source, live=True)
        self._source = source
        self._story.resolved(source)
        self._give(lifecycle.Resolved(self._epoch, source))

    def _unresolved(self, failure: Failure) -> None:
        self._resolving = None
        if failure.check(CancelledError):
            return
        if not failure.check(AudioServiceError):
            self.log.failure("{session}: the resolver failed", failure, session=self.session_id)
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

    def _learn(self, report: Report) -> Source:
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
        return self._source

    # --- across a restart ------------------------------------------------------------------------------------------

    def _remember(self, memory: Memory) -> None:
        self.track_id = memory.track_id
        self._state = lifecycle.Resting(0, memory.position, memory.paused, memory.told)
        self._packets, self._frames, self._behind = memory.packets, memory.frames, memory.reach
        if memory.told:
            self._bytes = memory.bytes
            self._continue_pages()

    def _continue_pages(self) -> None:
        """Its Ogg stream goes on behind the pages that were sent."""
        if self._play.format in ("ogg", "web"):
            self._muxer = OggMuxer(self._serial, pages=self._packets, samples=self._frames * FRAME_SAMPLES)

    @property
    def _about(self) -> Source | Memory | None:
        """What is known of what plays, if only from before a restart."""
        return self._source or self._memory

    @property
    def _at(self) -> float:
        """Seconds into the source of the next packet, in full."""
        if isinstance(self._state, (lifecycle.Resting, lifecycle.Resolving)):
            return self._state.at
        return self._opened_at + seconds_of(self._frames_since)

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
            case lifecycle.LookUp():
                self._begin()
            case lifecycle.Open(_, source, at):
                self._open(source, at)
            case lifecycle.AnnounceReady():
                self._announce_ready()
            case lifecycle.AnnouncePaused():
                self._announce(Paused(self.session_id, self.track_id, self.position))
            case lifecycle.AnnounceResumed():
                self._announce(Resumed(self.session_id, self.track_id, self.position))
                self._house.sink.flow(self)
            case lifecycle.AnnounceSeeked(at, previous):
                self._behind = 0
                previous = self.position if previous is None else round(previous, 3)
                self._announce(Seeked(self.session_id, self.track_id, at, previous))
            case lifecycle.End(how):
                self._end(how)

    def _open(self, source: Source, at: float) -> None:
        if self._pipeline is not None:
            self._received = self._both(self._pipeline.works.received)
            self._gone = self._pipeline.close()
        self._story.opened(at)
        play = self._play
        self._flowing = False
        self._opened_at, self._frames_since = at, 0
        # A new encoder is to have heard what the one before it heard last, or some of that is lost between them.
        self._lead = 0 if source.live else min(PRE_ROLL, self._behind, int(at * FRAMES_PER_SECOND))
        at = 0.0 if source.live else max(0.0, at - seconds_of(self._lead))
        begin = at if source.live else play.start_at
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

    def _both(self, received: int | None) -> int | None:
        """Bytes that earlier pipelines and this one have read, where both are known."""
        return None if self._received is None or received is None else self._received + received

    def _announce(self, event: SessionEvent) -> None:
        self._idle.touch()
        self._story.announced(event, self.position)
        self._house.sink.announce(event)

    def _announce_ready(self) -> None:
        source = self._source
        assert source is not None
        if self._play.format in ("ogg", "web"):
            self._muxer = OggMuxer(self._serial, title=source.title, artist=source.uploader)
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

    @property
    def _serial(self) -> int:
        """Of its Ogg stream."""
        return int(self.track_id[:8], 16)

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
                self.log.warn("{session}: {code}: {reason}", session=self.session_id, code=how.code, reason=how.message)
                end = Error(*names, how.code, how.message, played, duration)
            case _:
                end = Stopped(*names, how, played)
        self._story.ended(how.code if isinstance(how, AudioServiceError) else how or "finished", self.snapshot())
        self._house.sink.announce(end)
        self._house.sink.close(self)
        self._owner.session_over(self, self._gone, end)

    def _idled(self) -> None:
        self._give(lifecycle.Stop("idle_timeout"))
