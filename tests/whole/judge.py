"""What was said of one session id, judged entry by entry against what the wire protocol promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from audiosvc.audio import FRAME_BYTES, seconds_of
from audiosvc.codec.ogg import OggDemuxer
from audiosvc.session.track import Snapshot
from audiosvc.wire.messages import (
    TERMINAL,
    Error,
    Finished,
    Metadata,
    Packet,
    Paused,
    Ready,
    Recovered,
    Resumed,
    Seeked,
    SessionEvent,
    Stopped,
)
from tests.delivery.audience import Fact
from tests.whole.sound import Sound, mark_of


@dataclass
class Track:
    """One play, from being accepted to its terminal event."""

    session_id: str
    url: str
    format: str
    track_id: str = "?"
    """A play may end before it returns its id; its place in the order is known before."""
    ready: bool = False
    paused: bool = False
    position: float = 0.0
    """Of the first packet since `ready` or the last seek."""
    next: int = 0
    """Frames heard since then."""
    frames: int = 0
    packets: int = 0
    bytes: int = 0
    recoveries: int = 0
    sound: Sound | None = None
    """What was heard last from `position` on, of perhaps several children."""
    encoder: tuple[int, int] = (0, 0)
    """Which one made the last packet, as which of its packets."""
    ogg: OggDemuxer = field(default_factory=OggDemuxer)
    headers: int = 0
    eos: bool = False

    @property
    def heard_to(self) -> float:
        return round(self.position + seconds_of(self.next), 3)


class Judge:
    """`tracks` are the plays without a terminal event yet, oldest first; `sounds` all that any child has to write."""

    def __init__(self, sounds: Sequence[Sound]) -> None:
        self.read = 0
        self.ends = 0
        self.tracks: list[Track] = []
        self._sounds = sounds

    def hear(self, truth: Sequence[Fact]) -> None:
        """All of `truth` that is new."""
        for fact in truth[self.read :]:
            self.read += 1
            assert self.tracks, "after the terminal event"
            track = self.tracks[0]
            assert fact.track_id == track.track_id or track.track_id == "?", "of another track"
            if isinstance(fact.what, Packet):
                self._hear_packet(track, fact.what.payload)
            else:
                self._hear_event(track, fact.what)

    def _hear_packet(self, track: Track, payload: bytes) -> None:
        assert track.ready and not track.paused and not track.eos
        track.packets += 1
        track.bytes += len(payload)
        if track.format in ("ogg", "web"):
            (packet,) = track.ogg.feed(payload)
            assert not track.ogg.skipped_bytes and not track.ogg.dropped_packets
            track.eos = packet.eos
            if track.headers < 2:
                assert packet.data.startswith((b"OpusHead", b"OpusTags")[track.headers])
                track.headers += 1
                return
            payload = packet.data
        assert (track.format == "pcm") == (len(payload) == FRAME_BYTES)
        mark = mark_of(payload)
        encoder, count = track.encoder
        assert mark.number == (count + 1 if mark.encoder == encoder and count else bool(mark.encoder)), "encoded amiss"
        track.encoder = mark.encoder, mark.number
        end = (track.next + 1) * FRAME_BYTES
        if all(mark.last):
            number, frame = mark.place()
            sound = self._sounds[number]
            assert (end - 4 - sound.begins(track.position)) // FRAME_BYTES == frame, "lost or doubled"
        else:
            # Silence at its end makes it the last frame of a track that stopped in the middle of one.
            assert mark.first[0], "silence that nobody wrote"
            sound = next(s for s in self._following(track) if -FRAME_BYTES < self._reach(track, s) - end < 0)
        assert sound in self._following(track), "of another child"
        track.sound = sound
        track.next += 1
        track.frames += 1

    def _following(self, track: Track) -> list[Sound]:
        """Children that may be heard next: of this track, and not before the one that was heard last."""
        mine = [sound for sound in self._sounds if sound.url == track.url]
        return mine[mine.index(track.sound) :] if track.sound is not None else mine

    def _reach(self, track: Track, sound: Sound) -> int:
        """Where in the sound from the position on what `sound` has written ends."""
        return sound.begins(track.position) + sound.written

    def _hear_event(self, track: Track, event: SessionEvent) -> None:
        assert not track.eos or isinstance(event, TERMINAL)
        match event:
            case Ready(position=position, url=url, format=format):
                assert not track.ready and (url, format) == (track.url, track.format)
                track.ready, track.position = True, position
            case Paused(position=position):
                assert track.ready and not track.paused and position == track.heard_to
                track.paused = True
            case Resumed(position=position):
                assert track.paused and position == track.heard_to
                track.paused = False
            case Seeked(position=position, previous=previous):
                assert track.ready and previous == track.heard_to
                track.position, track.next, track.sound = position, 0, None
            case Recovered(position=position):
                assert track.ready and not track.paused and position == track.heard_to
                begins = [sound.begins(track.position) // FRAME_BYTES for sound in self._following(track)[1:]]
                assert track.next in begins, "told in another place"
                track.recoveries += 1
            case Metadata():
                raise AssertionError("nobody said a title")
            case Finished() | Stopped() | Error():
                self._hear_end(track, event)

    def _hear_end(self, track: Track, end: Finished | Stopped | Error) -> None:
        assert round(end.played, 6) == round(seconds_of(track.frames), 6)
        if isinstance(end, Finished):
            assert track.ready
            if track.next:
                assert track.eos == (track.format in ("ogg", "web"))
                # The last child begins where the sound ended that there was, or was kept.
                reach = self._reach(track, self._following(track)[-1])
                ends = [-(-bytes_ // FRAME_BYTES) for bytes_ in (reach, reach - reach % 4)]
                assert track.next in ends, "the end came before the last of the sound"
        self.ends += 1
        self.tracks.pop(0)

    def agree(self, snapshot: Snapshot | None) -> None:
        """With what `GET status` would show, all having been heard."""
        if snapshot is None:
            assert not self.tracks
            return
        (track,) = self.tracks
        assert snapshot.track_id == track.track_id and snapshot.format == track.format
        assert (snapshot.packets_sent, snapshot.bytes_sent) == (track.packets, track.bytes)
        assert snapshot.recoveries == track.recoveries
        if track.ready:
            assert snapshot.status == ("paused" if track.paused else "streaming")
            assert snapshot.position == track.heard_to
        else:
            assert snapshot.status in ("extracting", "paused")
