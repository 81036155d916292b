"""Tracks in memory, bounded in bytes with those that are just being recorded; the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict

from audiosvc.cache.track import Track

TRACK_SHARE = 4
"""A track may take one in so many of all bytes."""

RECORDING_SHARE = 2
"""All recordings together may: what nobody plays to its end must not clear the shelf."""


class Shelf:
    """Of `size` bytes. A track that is given up stays in memory as long as somebody plays it."""

    def __init__(self, size: int) -> None:
        self.kept = 0
        """Bytes of the tracks."""
        self.recording = 0
        """Bytes of the recordings."""
        self._size = size
        self._tracks: OrderedDict[str, Track] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tracks)

    def find(self, name: str) -> Track | None:
        """The track, which is the most recently used from here on."""
        track = self._tracks.get(name)
        if track is not None:
            self._tracks.move_to_end(name)
        return track

    def put(self, track: Track) -> bool:
        """Keep `track` instead of one of its name; whether it is not too large for that."""
        self.remove(track.name)
        if track.size > self._size // TRACK_SHARE:
            return False
        self._tracks[track.name] = track
        self.kept += track.size
        self._give_up()
        return True

    def remove(self, name: str) -> None:
        track = self._tracks.pop(name, None)
        if track is not None:
            self.kept -= track.size

    def grow(self, size: int, more: int) -> bool:
        """Whether a recording of `size` bytes may have `more`; then it has."""
        if size + more > self._size // TRACK_SHARE or self.recording + more > self._size // RECORDING_SHARE:
            return False
        self.recording += more
        self._give_up()
        return True

    def release(self, size: int) -> None:
        """A recording of `size` bytes is over."""
        self.recording -= size

    def _give_up(self) -> None:
        while self._tracks and self.kept + self.recording > self._size:
            self.remove(next(iter(self._tracks)))
