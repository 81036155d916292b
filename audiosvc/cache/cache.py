"""What was played to its end, to be played again: in memory, and on disk where there is a folder for it."""

from __future__ import annotations

import hashlib
import os
import time
from array import array
from collections.abc import Callable, Generator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks, succeed

from audiosvc.cache.disk import Disk
from audiosvc.cache.shelf import Shelf
from audiosvc.cache.track import Facts, Track, size_of
from audiosvc.codec.passing import Passed
from audiosvc.sources.model import File, Http, Source, Tone
from audiosvc.vitals import CacheVitals

WEB_SECONDS = 3600.0
"""How long what came from a URL is taken for what is there, though nobody looks."""

_WEB = ("http://", "https://")


class Cache:
    """`size` bytes of memory, and what `disk` holds.

    A track's name is made of what is heard: the media (of a file the path, with what changes when the file does; of the
    web the URL that was asked for), and the bit rate unless it is the media's own. `rules` says who may fetch what: a
    track from the web is not found where they were others. Tones are not kept: making them is as good.
    """

    def __init__(self, size: int, disk: Disk | None, rules: str, wall: Callable[[], float] = time.time) -> None:
        self._shelf = Shelf(size)
        self._disk = disk
        self._rules = rules
        self._wall = wall
        self._recorded: set[str] = set()
        """Names of what is being recorded."""
        self._hits = 0
        self._misses = 0
        self._kept = 0
        self._dropped = 0

    def start(self) -> None:
        if self._disk is not None:
            self._disk.start()

    def stop(self) -> None:
        if self._disk is not None:
            self._disk.stop()

    # --- to be played again -------------------------------------------------------------------------------------

    @inlineCallbacks
    def source(self, url: str, bitrate: int, asked: bool) -> Generator[Deferred[Any], Any, Source | None]:
        """What `url` was found to be when its track was kept, which is brought into memory; None if there is none.

        Of the web alone. Whether the URL may still be played is for the caller to know. May be cancelled.
        """
        for name in self._names(url, bitrate, asked):
            yield self._load(name)
        return self.known(url, bitrate, asked)

    def known(self, url: str, bitrate: int, asked: bool) -> Source | None:
        """As `source`, of tracks that are in memory already."""
        for name in self._names(url, bitrate, asked):
            track = self._find(name)
            if track is not None and track.source is not None and self.name(track.source, bitrate, asked) == name:
                return track.source
        return None

    def _names(self, url: str, bitrate: int, asked: bool) -> list[str]:
        """The names that a track from `url` may have, before it is known whether it is Opus."""
        rates = () if not url.lower().startswith(_WEB) else (bitrate,) if asked else (None, bitrate)
        return [self._of_web(url, rate) for rate in rates]

    @inlineCallbacks
    def fetch(self, source: Source, bitrate: int, asked: bool) -> Generator[Deferred[Any], Any, Source]:
        """Bring the track of `source`, which is about to be played, into memory; gives `source`. May be cancelled."""
        name = self.name(source, bitrate, asked)
        if name is not None:
            yield self._load(name)
            if self._find(name) is not None:
                self._hits += 1
            else:
                self._misses += 1
        return source

    def find(self, source: Source, bitrate: int | None, asked: bool) -> Track | None:
        """The track of `source`, if it is in memory."""
        name = self.name(source, bitrate, asked)
        return None if name is None else self._find(name)

    def _find(self, name: str) -> Track | None:
        track = self._shelf.find(name)
        if track is not None and self._is_stale(track):
            self._shelf.remove(name)
            return None
        return track

    def name(self, source: Source, bitrate: int | None, asked: bool) -> str | None:
        """The name of the track that `source` makes; None where none is kept of it."""
        media = source.media
        if bitrate is None or source.live or isinstance(media, Tone):
            return None
        rate = None if source.may_pass(bitrate, asked) else bitrate
        return self._of_file(media, rate) if isinstance(media, File) else self._of_web(source.url, rate)

    def _of_file(self, media: File, rate: int | None) -> str | None:
        try:
            status = os.stat(media.path)  # noqa: PTH116
        except OSError:
            return None
        marks = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return _name("file", os.fsencode(media.path), marks, rate)

    def _of_web(self, url: str, rate: int | None) -> str:
        return _name("web", url.encode("utf-8", "surrogatepass"), self._rules, rate)

    def _load(self, name: str) -> Deferred[None]:
        if self._disk is None or name not in self._disk or self._find(name) is not None:
            return succeed(None)
        return self._disk.read(name).addCallback(self._loaded)

    def _loaded(self, track: Track | None) -> None:
        # Others may have been faster; there is to be one of each.
        if track is not None and self._shelf.find(track.name) is None:
            if self._is_stale(track):
                assert self._disk is not None
                self._disk.remove(track.name)
            else:
                self._shelf.put(track)

    def _is_stale(self, track: Track) -> bool:
        # A clock that was set back says nothing of how old it is.
        return track.source is not None and not 0 <= self._wall() - track.since < WEB_SECONDS

    # --- what is played -----------------------------------------------------------------------------------------

    def record(self, source: Source, bitrate: int | None, asked: bool) -> Recording | None:
        """The recording of a track that begins; None where one is under way, or none is kept of it."""
        name = self.name(source, bitrate, asked)
        if name is None or name in self._recorded:
            return None
        self._recorded.add(name)
        is_same = partial(self._is_same, name, source, bitrate, asked)
        return Recording(self, self._shelf, name, self._wall(), source, is_same)

    def _is_same(self, name: str, source: Source, bitrate: int | None, asked: bool) -> bool:
        return self.name(source, bitrate, asked) == name

    def recorded(self, name: str, track: Track | None) -> None:
        """The recording of `name` is over, and gave `track`, or was given up."""
        self._recorded.discard(name)
        if track is None or not self._shelf.put(track):
            self._dropped += 1
            return
        self._kept += 1
        if self._disk is not None:
            self._disk.write(track)

    def vitals(self) -> CacheVitals:
        disk = self._disk
        return CacheVitals(
            tracks=len(self._shelf),
            bytes=self._shelf.kept,
            recording=self._shelf.recording,
            hits=self._hits,
            misses=self._misses,
            kept=self._kept,
            dropped=self._dropped,
            disk=disk is not None and disk.opened,
            disk_tracks=len(disk) if disk is not None else 0,
            disk_bytes=disk.bytes if disk is not None else 0,
            disk_errors=disk.errors if disk is not None else 0,
        )


class Recording:
    """A track that is being played from its beginning, packet by packet. It ends with `keep` or with `drop`.

    One that takes more than its share of the memory is given up. What is called after the end does nothing.
    """

    def __init__(
        self, cache: Cache, shelf: Shelf, name: str, since: float, source: Source, is_same: Callable[[], bool]
    ) -> None:
        self._cache = cache
        self._shelf = shelf
        self._name = name
        self._since = since
        self._source = source
        self._is_same = is_same
        self._packets: list[bytes] = []
        self._positions = array("q")
        self._size = 0
        self._over = False

    def add(self, packets: Sequence[bytes]) -> None:
        """The encoder's next packets."""
        more = size_of(packets)
        if self._over:
            return
        if not self._shelf.grow(self._size, more):
            self.drop()
            return
        self._size += more
        self._packets += packets

    def add_passed(self, passed: Sequence[Passed]) -> None:
        """The source's own next packets."""
        positions = [each.position for each in passed]
        last = self._positions[-1:].tolist()
        if any(a >= b for a, b in pairwise([*last, *positions])):
            self.drop()
        elif not self._over:
            self._positions.extend(positions)
            self.add([each.packet for each in passed])

    def keep(self, facts: Facts) -> None:
        """That was the whole of it."""
        if self._over:
            return
        if not self._packets or not self._is_same():
            self.drop()
            return
        track = Track(
            self._name,
            self._since,
            tuple(self._packets),
            self._positions or None,
            self._size,
            facts,
            self._source if isinstance(self._source.media, Http) else None,
        )
        self._end(track)

    def drop(self) -> None:
        if not self._over:
            self._end(None)

    def _end(self, track: Track | None) -> None:
        self._over = True
        self._shelf.release(self._size)
        self._packets, self._positions, self._size = [], array("q"), 0
        self._cache.recorded(self._name, track)


def _name(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
