"""A track that was played to its end: its Opus packets, and what is known of it; and both as one checked file."""

from __future__ import annotations

import hashlib
import math
import struct
import time
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import BinaryIO

import msgspec

from audiosvc.audio import FRAME_SAMPLES, OPUS_PACKET_MOST, SAMPLE_RATE
from audiosvc.codec.ogg import PRE_SKIP
from audiosvc.errors import UnsupportedUrl
from audiosvc.sources import http
from audiosvc.sources.model import Http, Source

PACKET_COST = 56
"""Bytes of memory a packet takes besides its own: 33 of its object, 8 each of its place, its position, its padding."""

MAGIC = b"asvctrk1"
DIGEST_BYTES = 32
RUN = 500
"""Packets worked on at a time. What is done to all of a long track at once keeps other threads out for 20 ms."""

HEADER_MOST = 64 * 1024
"""Bytes of what is known of a track, two URLs and their headers among it."""

_HEAD = struct.Struct("<8sII")
"""Magic, bytes of the JSON behind it, number of packets. Then come their sizes, their positions if it has any, the
packets, and a checksum of all that."""


class MalformedTrack(ValueError):
    """The bytes are no track, or not all of one."""


@dataclass(frozen=True)
class Facts:
    """What the media says of itself; None is not known. `duration` is in seconds."""

    title: str | None = None
    artist: str | None = None
    duration: float | None = None


@dataclass(frozen=True)
class Track:
    """`name` is of the media and the way it is encoded. `source` is the one it came from, kept for the web alone: of a
    file that is found out anew. `since` is when it was looked up, in seconds since 1970.

    `positions` are the source's samples that are the first out of a decoder given each packet, ever larger; None where
    our encoder made the packets, one a frame.
    """

    name: str
    since: float
    packets: Sequence[bytes]
    positions: array[int] | None
    size: int
    """Bytes of memory that it takes: `size_of` its packets."""
    facts: Facts
    source: Source | None = None

    def position(self, number: int) -> int:
        """The first sample of packet `number`, counted from 0."""
        return number * FRAME_SAMPLES - PRE_SKIP if self.positions is None else self.positions[number]

    def index(self, seconds: float) -> int:
        """The number of the packet to begin with so as to hear what is at `seconds`: the nearest, half a frame off at
        most; the number of packets if that is behind the end."""
        least = round(seconds * SAMPLE_RATE) - PRE_SKIP - FRAME_SAMPLES // 2
        last = len(self.packets) - 1
        if self.positions is None:
            first = max(0, (least + PRE_SKIP) // FRAME_SAMPLES + 1)
        else:
            first = bisect_right(self.positions, least)
        if first > last and seconds * SAMPLE_RATE < self.position(last) + PRE_SKIP + FRAME_SAMPLES:
            return last
        return min(first, last + 1)


def size_of(packets: Sequence[bytes]) -> int:
    """Bytes of memory that `packets` take."""
    return sum(map(len, packets)) + len(packets) * PACKET_COST


# --- as a file ------------------------------------------------------------------------------------------------------


class _Web(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    media: str
    headers: dict[str, str]
    demuxer: str | None
    vbr: bool
    counted: bool
    title: str | None
    duration: float | None
    thumbnail: str | None
    uploader: str | None
    opus: bool
    extracted: bool
    playlist: str | None


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    since: float
    passed: bool
    title: str | None
    artist: str | None
    duration: float | None
    web: _Web | None


def to_pieces(track: Track) -> Iterator[bytes]:
    """What a track's file is made of, in order."""
    digest = _digest()
    for piece in _pieces(track):
        digest.update(piece)
        yield piece
    yield digest.digest()


def file_size(track: Track) -> int:
    """Bytes of its file."""
    count = len(track.packets)
    positions = 0 if track.positions is None else 8 * count
    return _HEAD.size + len(_header(track)) + 2 * count + positions + track.size - count * PACKET_COST + DIGEST_BYTES


def _header(track: Track) -> bytes:
    header = _Header(
        name=track.name,
        since=track.since,
        passed=track.positions is not None,
        title=track.facts.title,
        artist=track.facts.artist,
        duration=track.facts.duration,
        web=None if track.source is None else _packed(track.source),
    )
    return msgspec.json.encode(header)


def _pieces(track: Track) -> Iterator[bytes]:
    known, packets = _header(track), track.packets
    runs = range(0, len(packets), RUN)
    yield _HEAD.pack(MAGIC, len(known), len(packets)) + known
    for i in runs:
        yield array("H", map(len, packets[i : i + RUN])).tobytes()
    if track.positions is not None:
        yield track.positions.tobytes()
    for i in runs:
        yield b"".join(packets[i : i + RUN])


def from_file(file: BinaryIO, name: str) -> Track:
    """The track `name` that `file` holds from where it stands to its end.

    Raises `MalformedTrack` for anything else, or less, or more, and OSError.
    """
    digest = _digest()

    def take(count: int) -> bytes:
        piece = file.read(count)
        if len(piece) != count:
            raise MalformedTrack("it breaks off")
        digest.update(piece)
        return piece

    magic, known, count = _HEAD.unpack(take(_HEAD.size))
    if magic != MAGIC or known > HEADER_MOST or not count:
        raise MalformedTrack("not a track")
    header = _read_header(take(known), name)
    # One after another: a count that is damaged is found out where the file ends.
    sizes = [array("H", take(2 * min(RUN, count - i))) for i in range(0, count, RUN)]
    positions = array("q", take(8 * count)) if header.passed else None
    if positions is not None and any(a >= b for a, b in pairwise(positions)):
        raise MalformedTrack("the packets' positions are not in order")
    packets: list[bytes] = []
    for of_run in sizes:
        if not 0 < min(of_run) <= max(of_run) <= OPUS_PACKET_MOST:
            raise MalformedTrack("the packets' sizes are none")
        data = take(sum(of_run))
        packets += [data[a:b] for a, b in pairwise(accumulate(of_run, initial=0))]
        # Let another thread go on that waits for Python's lock.
        time.sleep(0)
    if file.read(DIGEST_BYTES + 1) != digest.digest():
        raise MalformedTrack("the checksum does not fit")
    return Track(
        name=name,
        since=header.since,
        packets=tuple(packets),
        positions=positions,
        size=sum(map(sum, sizes)) + count * PACKET_COST,
        facts=Facts(header.title, header.artist, header.duration),
        source=None if header.web is None else _unpacked(header.web),
    )


def _read_header(known: bytes, name: str) -> _Header:
    try:
        header = msgspec.json.decode(known, type=_Header)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedTrack(str(error)) from None
    durations = (header.duration, header.web.duration if header.web is not None else None)
    numbers = [header.since, *(number for number in durations if number is not None)]
    if header.name != name or not all(map(math.isfinite, numbers)) or min(numbers) < 0:
        raise MalformedTrack("not that track")
    return header


def _digest() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=DIGEST_BYTES)


def _packed(source: Source) -> _Web:
    media = source.media
    assert isinstance(media, Http)
    return _Web(
        url=source.url,
        media=media.url,
        headers=dict(media.headers),
        demuxer=media.demuxer,
        vbr=media.vbr,
        counted=media.counted,
        title=source.title,
        duration=source.duration,
        thumbnail=source.thumbnail,
        uploader=source.uploader,
        opus=source.opus,
        extracted=source.extracted,
        playlist=source.playlist,
    )


def _unpacked(web: _Web) -> Source:
    try:
        parsed = http.parse(web.media).media
    except UnsupportedUrl as error:
        raise MalformedTrack(error.message) from None
    if parsed != Http(web.media):
        raise MalformedTrack("the media's URL is not as it would be asked for")
    return Source(
        web.url,
        Http(web.media, web.headers, demuxer=web.demuxer, vbr=web.vbr, counted=web.counted),
        title=web.title,
        duration=web.duration,
        thumbnail=web.thumbnail,
        uploader=web.uploader,
        opus=web.opus,
        extracted=web.extracted,
        playlist=web.playlist,
    )
