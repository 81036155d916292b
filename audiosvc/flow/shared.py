"""Live sources that several sessions hear at once: fetched, decoded and encoded once, whoever listens.

A broadcast is one pipeline and a ring of its packets. Whoever is foremost among its listeners pulls the pipeline; what
he leaves behind is there for the others, each at a place of his own, so that a packet's bytes exist once. Nobody's
lateness, pause or departure is felt by another: it moves a number.

Sessions share where media, bitrate and volume are the same. One who changes his volume hears on until a broadcast with
that volume has a packet for him, and goes on there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from audiosvc.audio import FRAME_SAMPLES, FRAMES_PER_SECOND, SAMPLE_RATE
from audiosvc.errors import AudioServiceError
from audiosvc.ffmpeg.report import Report
from audiosvc.flow.pipeline import HIGH_WATER, LAG_SECONDS, IPipelineReader, IPlayback, Pipeline, Works
from audiosvc.flow.workshop import Workshop
from audiosvc.sources.model import Http, Source

JOIN_PACKETS = 5
"""How far behind the newest packet a new listener begins, so that his first packets are there at once."""

AHEAD_SECONDS = 30.0
"""How far the foremost listener may be ahead of those in real time: stations and HLS give so much at the beginning."""

LAG_PACKETS = int(LAG_SECONDS * FRAMES_PER_SECOND)

RING_MOST = LAG_PACKETS + int(AHEAD_SECONDS * FRAMES_PER_SECOND)
"""Packets that a ring holds at most. It holds them only while a listener who is not too late has yet to take them."""

TRIM_PACKETS = 50
"""Packets after which a ring is looked at for what nobody needs any more; that is a look at every listener."""

SETTLE_SECONDS = 0.25
"""How long a volume must have been left alone before a child is started for it: somebody may be moving a slider."""


class Key(NamedTuple):
    """What has to be the same for two sessions to hear the same packets."""

    url: str
    headers: frozenset[tuple[str, str]]
    demuxer: str | None
    bitrate: int | None
    volume: float


class Broadcasts:
    """Every broadcast that can be joined."""

    def __init__(self) -> None:
        self._on_air: dict[Key, Broadcast] = {}

    def listen(
        self,
        workshop: Workshop,
        reader: IPipelineReader,
        source: Source,
        *,
        duration: float | None,
        bitrate: int | None,
        volume: float,
        label: str,
        refresh: Callable[[], Deferred[Source]],
    ) -> Listener | None:
        """A place for `reader` among those who hear `source`; arguments are as of `Pipeline`.

        None where that cannot be shared: what is not live, or not fetched.
        """
        if not source.live or not isinstance(source.media, Http):
            return None
        return Listener(
            self, workshop, reader, source, duration, bitrate=bitrate, volume=volume, label=label, refresh=refresh
        )

    def find(self, key: Key) -> Broadcast | None:
        return self._on_air.get(key)

    def add(self, broadcast: Broadcast) -> None:
        self._on_air[broadcast.key] = broadcast

    def remove(self, broadcast: Broadcast) -> None:
        """It cannot be joined any more."""
        if self._on_air.get(broadcast.key) is broadcast:
            del self._on_air[broadcast.key]

    def move(self, broadcast: Broadcast, key: Key) -> None:
        """It is known by `key` from now on, unless another one is."""
        if self._on_air.get(broadcast.key) is broadcast and key not in self._on_air:
            del self._on_air[broadcast.key]
            broadcast.key = key
            self._on_air[key] = broadcast


class _Mark(NamedTuple):
    """What those are told who come to packet `number`: a title, or, if None, that the sound goes on after a failure."""

    number: int
    title: str | None


class Broadcast:
    """One pipeline for all who hear `source` with the settings of `key`. Implements `IPipelineReader`.

    Packets have running numbers, those thrown away included. `first` is that of the oldest in the ring, `end` that of
    the next to come.
    """

    log = Logger()

    def __init__(self, broadcasts: Broadcasts, workshop: Workshop, source: Source, key: Key, label: str) -> None:
        self.key = key
        self.source = source
        self.first = 0
        self.end = 0
        self.ring: list[bytes] = []
        self.marks: list[_Mark] = []
        self.marked = 0
        """Marks there ever were."""
        self.waiting: dict[Place, None] = {}
        """Those who took all there was and want more, in order."""
        self.pipeline = Pipeline(
            workshop,
            self,
            source,
            at=0.0,
            duration=None,
            bitrate=key.bitrate,
            asked=True,
            volume=key.volume,
            label=f"{label} and others",
            refresh=self._refresh,
        )
        self._broadcasts = broadcasts
        self._tally = workshop.tally
        self._places: dict[Place, None] = {}
        self._lost = 0
        """Packets that the pipeline has thrown away, as far as they are accounted for."""
        self._title: str | None = None
        """The last of those that are trimmed."""
        self._trim_at = TRIM_PACKETS

    # --- its listeners ------------------------------------------------------------------------------------------

    def enter(self, place: Place, after: Deferred[None]) -> None:
        """Take `place` in; with the first, the source is opened once `after` has fired."""
        self._places[place] = None
        self.waiting[place] = None
        if len(self._places) > 1:
            # Where all others are paused, the pipeline may rest or be late.
            self.pull(0)
            self.set_down(place, min(self.end - JOIN_PACKETS, self.on_time))
        else:
            self._broadcasts.add(self)
            self._tally.broadcasts += 1
            self.pipeline.start(after)

    def leave(self, place: Place) -> Deferred[None] | None:
        """`place` is given up; of the last one, fires when the child is reaped."""
        del self._places[place]
        self.waiting.pop(place, None)
        if self._places:
            return None
        self._broadcasts.remove(self)
        self._tally.broadcasts -= 1
        return self.pipeline.close()

    @property
    def listeners(self) -> int:
        return len(self._places)

    @property
    def alone(self) -> bool:
        """Whether there is one listener only."""
        return len(self._places) == 1

    @property
    def on_time(self) -> int:
        """The number of the packet that is due now for one who has listened from the beginning."""
        return self.end + self.pipeline.behind

    def set_volume(self, volume: float) -> None:
        """Change it for all there are."""
        self._broadcasts.move(self, self.key._replace(volume=volume))
        self.pipeline.set_volume(volume)

    # --- its packets --------------------------------------------------------------------------------------------

    def pull(self, most: int) -> int:
        """Take up to `most` packets more from the pipeline, for somebody is the first to want them.

        How many the pipeline threw away before, as it does where nobody came for too long.
        """
        lost = self._lost
        packets = self.pipeline.take(most)
        self._close_gap()
        self.ring += packets
        self.end += len(packets)
        if len(self.ring) > self._trim_at:
            self._trim()
        return self._lost - lost

    def set_down(self, place: Place, number: int) -> None:
        """Let `place` go on at packet `number` or the nearest there is, and know what is playing there."""
        place.number = number = max(self.first, min(number, self.end))
        there = next((i for i, mark in enumerate(self.marks) if mark.number > number), len(self.marks))
        place.mark = self.marked - len(self.marks) + there
        titles = (mark.title for mark in reversed(self.marks[:there]) if mark.title is not None)
        place.title = next(titles, self._title)

    def _close_gap(self) -> None:
        """Where the pipeline threw packets away the foremost listener was too late, and all are for what is here."""
        if gap := self.pipeline.dropped - self._lost:
            self._lost += gap
            self.ring.clear()
            self.end += gap
            self.first = self.end

    def _trim(self) -> None:
        """Let go of what no listener needs, and of what is too much."""
        on_time = self.on_time
        needed = min(self.end - JOIN_PACKETS, on_time, *(place.needed(on_time) for place in self._places))
        if (gone := max(needed, self.end - RING_MOST) - self.first) > 0:
            del self.ring[:gone]
            self.first += gone
            past = [mark for mark in self.marks if mark.number < self.first]
            self.marks = self.marks[len(past) :]
            self._title = next((mark.title for mark in reversed(past) if mark.title is not None), self._title)
        self._trim_at = min(len(self.ring) + TRIM_PACKETS, RING_MOST + TRIM_PACKETS)

    # --- from the pipeline (IPipelineReader) --------------------------------------------------------------------

    def pipeline_flows(self, pipeline: IPlayback) -> None:
        waiting, self.waiting = self.waiting, {}
        for place in waiting:
            # One may have left on account of what another was told.
            if place in self._places:
                place.listener.place_flows(place)

    def pipeline_recovered(self, pipeline: IPlayback) -> None:
        self._mark(None)

    def pipeline_titled(self, pipeline: IPlayback, title: str) -> None:
        self._mark(title)

    def pipeline_ended(self, pipeline: IPlayback) -> None:
        self._broadcasts.remove(self)
        for place in list(self._places):
            place.listener.place_ended(place)

    def _mark(self, title: str | None) -> None:
        self._close_gap()
        self.marks.append(_Mark(self.end, title))
        self.marked += 1

    def _refresh(self) -> Deferred[Source]:
        """Look the source up anew, in the name of who has listened longest."""
        return next(iter(self._places)).listener.refresh().addCallback(self._refreshed)

    def _refreshed(self, source: Source) -> Source:
        self.source = source
        if isinstance(source.media, Http):
            self._broadcasts.move(self, key_of(source.media, self.key.bitrate, self.key.volume))
        return source


class Place:
    """Where one listener is in one broadcast: `number` is that of the packet he takes next."""

    def __init__(self, broadcast: Broadcast, listener: Listener) -> None:
        self.broadcast = broadcast
        self.listener = listener
        self.number = broadcast.end
        self.mark = broadcast.marked
        """How many marks lie behind."""
        self.title: str | None = None
        """What is playing, still to be told."""
        self.dropped = 0

    @property
    def ready(self) -> int:
        """Packets that can be taken now."""
        return self.broadcast.end - max(self.number, self.broadcast.first) + self.broadcast.pipeline.ready

    @property
    def drained(self) -> bool:
        return self.number >= self.broadcast.end and self.broadcast.pipeline.drained

    def take(self, most: int) -> list[bytes]:
        """As of `Pipeline`."""
        broadcast = self.broadcast
        if self.number < broadcast.end - HIGH_WATER and (on_time := broadcast.on_time) - self.number > LAG_PACKETS:
            self._skip(on_time)
        if (short := self.number + most - broadcast.end) > 0 and (lost := broadcast.pull(short)):
            # The pipeline has counted them.
            self.number += lost
            self.dropped += lost
        if self.number < broadcast.first:
            self._skip(broadcast.first)
        there = broadcast.end - self.number
        if there < most and not broadcast.pipeline.ended:
            broadcast.waiting[self] = None
        if not there:
            return []
        if self.title is not None or self.mark < broadcast.marked:
            most = self._pass_marks(most)
        at = self.number - broadcast.first
        packets = broadcast.ring[at : at + most]
        self.number += len(packets)
        return packets

    def needed(self, on_time: int) -> int:
        """The number of the first packet that may still be taken."""
        return self.number if on_time - self.number <= LAG_PACKETS else on_time

    def _skip(self, number: int) -> None:
        """It is too late for what comes before packet `number`."""
        before = self.number
        self.broadcast.set_down(self, number)
        self.dropped += self.number - before
        self.listener.workshop.tally.dropped += self.number - before

    def _pass_marks(self, most: int) -> int:
        """Tell what belongs here; how many of `most` packets lie before the next of it."""
        marks, listener = self.broadcast.marks, self.listener
        if self.title is not None:
            title, self.title = self.title, None
            listener.reader.pipeline_titled(listener, title)
        behind = self.broadcast.marked - len(marks)
        while self.mark < self.broadcast.marked:
            mark = marks[self.mark - behind]
            if mark.number > self.number:
                return min(most, mark.number - self.number)
            self.mark += 1
            if mark.title is None:
                listener.reader.pipeline_recovered(listener)
            else:
                listener.reader.pipeline_titled(listener, mark.title)
        return most


class Listener:
    """One session's share in broadcasts of a live source. Implements `IPlayback`.

    It is in one broadcast, and in a second for as long as it waits there for its first packet.
    """

    log = Logger()
    cached = False
    """What is live is not kept."""

    def __init__(
        self,
        broadcasts: Broadcasts,
        workshop: Workshop,
        reader: IPipelineReader,
        source: Source,
        duration: float | None,
        *,
        bitrate: int | None,
        volume: float,
        label: str,
        refresh: Callable[[], Deferred[Source]],
    ) -> None:
        assert isinstance(source.media, Http)
        self.workshop = workshop
        self.reader = reader
        self.refresh = refresh
        self._broadcasts = broadcasts
        self._label = label
        self._left = None if duration is None else max(1, -(-round(duration * SAMPLE_RATE) // FRAME_SAMPLES))
        """Packets still to be given, if not all."""
        self._place = self._in(key_of(source.media, bitrate, volume), source)
        self._next: Place | None = None
        self._dropped = 0
        """In broadcasts that were left."""
        self._gone: list[Deferred[None]] = []
        self._soon: IDelayedCall | None = None
        self._settle: IDelayedCall | None = None
        self._closed = False

    def _in(self, key: Key, source: Source) -> Place:
        """A place in the broadcast of `key`, which is a new one if there is none."""
        broadcast = self._broadcasts.find(key)
        return Place(broadcast or Broadcast(self._broadcasts, self.workshop, source, key, self._label), self)

    # --- its life (IPlayback) -----------------------------------------------------------------------------------

    def start(self, after: Deferred[None]) -> None:
        self._gone.append(after)
        self.workshop.tally.listeners += 1
        self._enter(self._place, after)

    def close(self) -> Deferred[None]:
        if not self._closed:
            self._closed = True
            self.workshop.tally.listeners -= 1
            for call in (self._soon, self._settle):
                if call is not None and call.active():
                    call.cancel()
            self._drop_next()
            self._leave(self._place)
        if all(gone.called for gone in self._gone):
            return succeed(None)
        return DeferredList(self._gone).addCallback(lambda _: None)

    def set_volume(self, volume: float) -> None:
        key = self._place.broadcast.key._replace(volume=volume)
        if self._settle is not None and self._settle.active():
            self._settle.cancel()
        if self._next is None or self._next.broadcast.key != key:
            self._drop_next()
            self._change(key, settled=False)

    # --- what it gives (IPlayback) ------------------------------------------------------------------------------

    @property
    def failure(self) -> AudioServiceError | None:
        return None if self._left == 0 else self._place.broadcast.pipeline.failure

    @property
    def dropped(self) -> int:
        return self._dropped + self._place.dropped

    @property
    def passing(self) -> bool:
        return self._place.broadcast.pipeline.passing

    @property
    def report(self) -> Report:
        return self._place.broadcast.pipeline.report

    @property
    def works(self) -> Works:
        broadcast = self._place.broadcast
        return replace(broadcast.pipeline.works, mode="shared", listeners=broadcast.listeners)

    @property
    def ready(self) -> int:
        return self._place.ready if self._left is None else min(self._place.ready, self._left)

    @property
    def drained(self) -> bool:
        return self._left == 0 or (self._next is None and self._place.drained)

    def take(self, most: int) -> list[bytes]:
        if self._left is not None:
            most = min(most, self._left)
        if most <= 0:
            return []
        packets = self._take_next(most) if self._next is not None else None
        packets = packets or self._place.take(most)
        if self._left is not None:
            self._left -= len(packets)
        return packets

    # --- from its broadcasts ------------------------------------------------------------------------------------

    def place_flows(self, place: Place) -> None:
        """There is something to be taken there."""
        self.reader.pipeline_flows(self)

    def place_ended(self, place: Place) -> None:
        """Nothing will come there but what is ready."""
        if place is self._next and not place.ready:
            self.log.warn(
                "{session}: the volume stays as it is: {error}",
                session=self._label,
                error=place.broadcast.pipeline.failure or "the source ended",
            )
            self._drop_next()
            if not self._place.drained:
                return
        self._tell()

    def _tell(self) -> None:
        if self.ready or (self._next is not None and self._next.ready):
            self.reader.pipeline_flows(self)
        elif self.drained:
            self.reader.pipeline_ended(self)

    # --- from one to another ------------------------------------------------------------------------------------

    def _change(self, key: Key, settled: bool) -> None:
        """Come to hear what `key` names in the way that costs least: a child is started only once that is `settled`."""
        current, shared = self._place.broadcast, self._broadcasts.find(key) is not None
        if key == current.key or current.pipeline.ended:
            return
        if current.alone and not shared:
            current.set_volume(key.volume)
        elif shared or settled:
            self._next = self._in(key, current.source)
            self._enter(self._next, succeed(None))
        else:
            self._settle = self.workshop.reactor.callLater(SETTLE_SECONDS, self._change, key, settled=True)

    def _enter(self, place: Place, after: Deferred[None]) -> None:
        place.broadcast.enter(place, after)
        if place.ready and (self._soon is None or not self._soon.active()):
            # Not now: who asked for this is still at it.
            self._soon = self.workshop.reactor.callLater(0, self._tell)

    def _take_next(self, most: int) -> list[bytes]:
        """What there is of the other broadcast; with the first of it, this one is left."""
        assert self._next is not None
        packets = self._next.take(most)
        if packets:
            self._leave(self._place)
            self._dropped += self._place.dropped
            self._place, self._next = self._next, None
        return packets

    def _drop_next(self) -> None:
        if self._next is not None:
            self._leave(self._next)
            self._next = None

    def _leave(self, place: Place) -> None:
        self._gone = [gone for gone in self._gone if not gone.called]
        if (gone := place.broadcast.leave(place)) is not None:
            self._gone.append(gone)


def key_of(media: Http, bitrate: int | None, volume: float) -> Key:
    return Key(media.url, frozenset(media.headers.items()), media.demuxer, bitrate, volume)
