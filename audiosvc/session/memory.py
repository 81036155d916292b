"""What is kept of sessions across a restart of the daemon, and how it is written down.

A header line of JSON, then as many bytes of JSON as it says: a list of memories. Whatever is read is taken for what a
stranger may have written: sizes, types, ranges and ids are those of a request, and each memory stands or falls alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import msgspec

from audiosvc.ids import SESSION_ID_PATTERN
from audiosvc.session.track import SECONDS_MOST, URL_MOST, Play, Seconds

VERSION = 1
"""Raised when a field comes to mean something else, or is no longer there: what another version wrote is not read."""

AGE_MOST = 300.0
"""Seconds after which nobody expects the song to go on. The wall clock's, the only one that outlives a boot."""

BYTES_MOST = 16 * 1024 * 1024
"""Of a file; 200 bytes and the URL a session, so 40,000 of them with common URLs."""

HEADER_MOST = 512

REACH_MOST = 600
"""Packets that a listener can be behind what was sent to it, as in `delivery.stream`."""

TEXT_MOST = 1_000
"""Characters kept of a title."""

MAGIC = b'{"audiosvc":"sessions",'
"""What every such file begins with."""

_BAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding JSON raises."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Text = Annotated[str, msgspec.Meta(max_length=TEXT_MOST)]


class NoMemory(Exception):
    """Why a file is not read; the message is for the operator."""


class Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One session's track as its listener knows it. Times are seconds."""

    session_id: Annotated[str, msgspec.Meta(pattern=SESSION_ID_PATTERN)]
    track_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$(?!\n)")]
    play: Play
    """As it was asked for, with the volume of now; of a live source `duration` is what was left of it."""
    position: Annotated[float, msgspec.Meta(ge=0, le=SECONDS_MOST)]
    """Of the next packet to be sent."""
    paused: bool
    packets: _Count
    """Sent of the track, an Ogg stream's headers included."""
    frames: _Count
    """Of them those with sound."""
    reach: Annotated[int, msgspec.Meta(ge=0, le=REACH_MOST)]
    """How many of the last are one piece with `position`, with no seek between them."""
    bytes: _Count
    live: bool = False
    title: _Text | None = None
    uploader: _Text | None = None
    thumbnail: Annotated[str, msgspec.Meta(max_length=URL_MOST)] | None = None
    duration: Seconds | None = None

    def __post_init__(self) -> None:
        pages = self.packets - self.frames
        if pages and (self.play.format not in ("ogg", "web") or self.frames == 0 or pages < 0):
            raise ValueError("packets do not add up")
        if self.reach > self.frames:
            raise ValueError("packets do not add up")

    @property
    def told(self) -> bool:
        """Whether its listener has heard of the track."""
        return self.packets > 0


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="audiosvc", tag="sessions"):
    version: int
    written: float
    """When, by the wall clock."""
    bytes: int
    crc32: int


@dataclass(frozen=True)
class Kept:
    """What was found in a file, and how many memories in it are not to be used."""

    memories: list[Memory]
    bad: int


def pack(memories: Iterable[Memory], written: float) -> tuple[bytes, set[str]]:
    """A file of `memories`, written at `written`, and the session ids that found room in it."""
    parts: list[bytes] = []
    kept: set[str] = set()
    size = HEADER_MOST
    for memory in memories:
        part = msgspec.json.encode(memory)
        if size + len(part) + 2 <= BYTES_MOST:
            size += len(part) + 2
            parts.append(part)
            kept.add(memory.session_id)
    body = b"[" + b",\n".join(parts) + b"]\n"
    header = msgspec.json.encode(_Header(VERSION, written, len(body), zlib.crc32(body)))
    return header + b"\n" + body, kept


def unpack(data: bytes, now: float) -> Kept:
    """What `pack` made; raises `NoMemory` if `data` is not that, not whole, of another version, or too old at `now`."""
    head, newline, body = data[: BYTES_MOST + 1].partition(b"\n")
    if not head.startswith(MAGIC) or not newline or len(head) > HEADER_MOST:
        raise NoMemory("it is no file of sessions")
    try:
        header = msgspec.json.decode(head, type=_Header)
    except _BAD as error:
        raise NoMemory("its first line is damaged, or of another version") from error
    if header.version != VERSION:
        raise NoMemory(f"it is of version {header.version}, and this is {VERSION}")
    if header.bytes != len(body) or header.crc32 != zlib.crc32(body):
        raise NoMemory("it is damaged")
    if not abs(now - header.written) <= AGE_MOST:
        raise NoMemory(f"it was written {now - header.written:.0f} s ago, and {AGE_MOST:.0f} s is the most")
    try:
        parts = msgspec.json.decode(body, type=list[msgspec.Raw])
    except _BAD as error:
        raise NoMemory("it is damaged") from error
    memories: list[Memory] = []
    ids: set[str] = set()
    bad = 0
    for part in parts:
        try:
            memory = msgspec.json.decode(part, type=Memory)
        except _BAD:
            bad += 1
            continue
        if memory.session_id in ids:
            bad += 1
            continue
        ids.add(memory.session_id)
        memories.append(memory)
    return Kept(memories, bad)


def short(text: str | None) -> str | None:
    """`text` as far as it is kept, and can be written."""
    return text if text is None else text[:TEXT_MOST].encode("utf-8", "replace").decode()
