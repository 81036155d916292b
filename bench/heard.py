"""What a listener of many sessions has heard, packet by packet: what is missing, twice, foreign or late. No I/O.

Nothing is kept of a track but numbers, so that a day of it takes no more memory than a minute.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from audiosvc.audio import FRAME_SECONDS, FRAMES_PER_SECOND
from audiosvc.codec.ogg import is_page
from audiosvc.wire.messages import (
    TERMINAL,
    Attached,
    Error,
    Event,
    Finished,
    Held,
    Paused,
    Ready,
    Recovered,
    Resumed,
    Seeked,
    SessionEvent,
    Stopped,
    UnknownEvent,
)
from bench.measure import LATE_MS

_PAGE = struct.Struct("<qII")
_PAGE_AT = 6
"""Granule, serial and sequence number in an Ogg page."""

STRETCH_LEAST = 2 * FRAMES_PER_SECOND
"""Packets from which on it is told whether a stretch lost its beat: a second at each end is compared."""


class Beat:
    """The punctuality of packets that should come every 20 ms. Times are seconds."""

    def __init__(self) -> None:
        self.packets = 0
        self.late = 0
        self._last = 0.0
        self._silent = 0
        self._least_lag = 0.0
        self._lags: deque[float] = deque(maxlen=FRAMES_PER_SECOND)

    def packet(self, now: float) -> None:
        if self.packets and now - self._last > LATE_MS / 1000:
            self.late += 1
        lag = now - self.packets * FRAME_SECONDS
        if self.packets < FRAMES_PER_SECOND:
            self._least_lag = min(self._least_lag, lag) if self.packets else lag
        self._lags.append(lag)
        self._last = now
        self.packets += 1

    def end(self, now: float) -> None:
        """Silence up to now counts, where it is too long."""
        if self.packets and (silence := now - self._last) > LATE_MS / 1000:
            self.late += 1
            self._silent = int(silence / FRAME_SECONDS)

    def deficit(self) -> int:
        """Frames by which it has fallen behind for good: by the most punctual packets of the first and last second."""
        behind = (min(self._lags) - self._least_lag) / FRAME_SECONDS if self.packets >= STRETCH_LEAST else 0.0
        return max(0, round(behind)) + self._silent


@dataclass
class Track:
    """One play. `beat` is None once somebody has interfered, and from then on it may be late."""

    track_id: str
    session_id: str
    format: str = ""
    live: bool = False
    whole: bool = False
    """Whether it began at the beginning and has not been sought in since."""
    accepted: bool = False
    ended: bool = False
    packets: int = 0
    """Those held, headers and all."""
    sound: int = 0
    """Of these, those that are sound."""
    pages: int = 0
    """The number of the page that comes next."""
    beat: Beat | None = field(default_factory=Beat)
    touched: bool = False


@dataclass
class Tally:
    """All that was heard. `lost`, `doubled` and the rest that should be none are counted whoever interfered."""

    tracks: int = 0
    packets: int = 0
    lost: int = 0
    """Packets that a page's number, an `attached` or a track's end says there were, and nobody heard."""
    doubled: int = 0
    stray: int = 0
    """Packets of a track that is not the one being played."""
    unknown: int = 0
    """Terminal events too many: of tracks that were over, or that nobody had asked for."""
    recovered: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    late: int = 0
    """Of tracks that nobody had interfered with, like the three below."""
    deficit: int = 0
    calm_packets: int = 0
    calm_tracks: int = 0

    @property
    def calm_hours(self) -> float:
        return self.calm_packets * FRAME_SECONDS / 3600


class Heard:
    """One listener. `on_end` is told of every terminal event, `on_sound` of each track's first packet."""

    def __init__(
        self,
        on_end: Callable[[Track, SessionEvent], None] = lambda track, event: None,
        on_sound: Callable[[Track], None] = lambda track: None,
    ) -> None:
        self.tally = Tally()
        self._on_end = on_end
        self._on_sound = on_sound
        self._tracks: dict[str, Track] = {}
        """Accepted and not over, or heard of before the answer that accepts them came."""
        self._playing: dict[str, Track] = {}
        """By session, between `ready` and the end."""

    # --- from who plays ---------------------------------------------------------------------------------------------

    def accepted(self, session_id: str, track_id: str) -> Track:
        track = self._track(session_id, track_id)
        track.accepted = True
        self.tally.tracks += 1
        if track.ended:
            del self._tracks[track_id]
        return track

    def touch(self, track: Track, now: float) -> None:
        """Somebody is about to interfere: from now on it may be late."""
        track.touched = True
        self._rest(track, now)
        track.beat = None

    def interrupted(self, now: float) -> None:
        """The connection is about to go: the beat of every track begins anew with the next."""
        for track in self._playing.values():
            self._rest(track, now)

    def held(self) -> dict[str, Held]:
        """What to say on coming back."""
        return {session_id: Held(track.packets, track.track_id) for session_id, track in self._playing.items()}

    def unended(self) -> list[Track]:
        """Tracks that were accepted and have not come to an end."""
        return [track for track in self._tracks.values() if track.accepted]

    def unasked(self) -> list[Track]:
        """Tracks that were heard of and never accepted."""
        return [track for track in self._tracks.values() if not track.accepted]

    # --- from the connection ----------------------------------------------------------------------------------------

    def packet(self, session_id: str, payload: bytes, now: float) -> None:
        track, tally = self._playing.get(session_id), self.tally
        tally.packets += 1
        if track is None:
            tally.stray += 1
            return
        track.packets += 1
        if track.format == "ogg" and not self._page(track, payload):
            return
        track.sound += 1
        if track.sound == 1:
            self._on_sound(track)
        if track.beat is not None:
            track.beat.packet(now)

    def _page(self, track: Track, page: bytes) -> bool:
        """Whether it is a page of sound in its place. A page that comes too soon is lost pages before it."""
        if not is_page(page):
            self.tally.stray += 1
            return False
        granule, serial, sequence = _PAGE.unpack_from(page, _PAGE_AT)
        if serial != int(track.track_id[:8], 16):
            self.tally.stray += 1
            return False
        if sequence < track.pages:
            self.tally.doubled += 1
            return False
        self.tally.lost += sequence - track.pages
        track.pages = sequence + 1
        return bool(granule > 0)

    def event(self, event: Event | UnknownEvent, now: float) -> None:
        if not isinstance(event, SessionEvent):
            return
        session_id = event.session_id
        if isinstance(event, TERMINAL):
            self._end(event, now)
            return
        track = self._track(session_id, event.track_id)
        match event:
            case Ready():
                track.format, track.live, track.whole = event.format, bool(event.live), not event.position
                self._playing[session_id] = track
            case Attached():
                self.tally.lost += max(0, event.packets - track.packets)
                self.tally.doubled += max(0, track.packets - event.packets)
                track.packets = event.packets
            case Seeked():
                track.whole = False
                self._rest(track, now)
            case Paused() | Resumed():
                self._rest(track, now)
            case Recovered():
                self.tally.recovered += 1
            case _:
                pass

    def _end(self, event: Finished | Stopped | Error, now: float) -> None:
        known = self._tracks.get(event.track_id)
        if known is not None and known.ended:
            self.tally.unknown += 1
            return
        track = known or self._track(event.session_id, event.track_id)
        track.ended = True
        if track.accepted:
            del self._tracks[event.track_id]
        if self._playing.get(event.session_id) is track:
            del self._playing[event.session_id]
        self._count(event)
        self._rest(track, now)
        if not track.touched:
            self.tally.calm_tracks += 1
        # `played` is the sound that was sent, by the daemon's own count.
        missing = round(event.played / FRAME_SECONDS) - track.sound
        self.tally.lost += max(0, missing)
        self.tally.doubled += max(0, -missing)
        self._on_end(track, event)

    def _count(self, event: Finished | Stopped | Error) -> None:
        match event:
            case Finished():
                self.tally.ends["finished"] += 1
            case Stopped():
                self.tally.ends[f"stopped: {event.reason}"] += 1
            case Error():
                self.tally.ends[f"error: {event.code}"] += 1

    def _track(self, session_id: str, track_id: str) -> Track:
        track = self._tracks.get(track_id)
        if track is None:
            track = self._tracks[track_id] = Track(track_id, session_id)
        return track

    def _rest(self, track: Track, now: float) -> None:
        """The beat so far counts, and the next begins anew: what comes between them is meant."""
        if track.beat is not None:
            track.beat.end(now)
            self.tally.late += track.beat.late
            self.tally.deficit += track.beat.deficit()
            self.tally.calm_packets += track.beat.packets
            track.beat = Beat()
