"""WebM by hand, for what no muxer at hand writes."""

from __future__ import annotations

import struct
from itertools import pairwise

EBML, SEGMENT, VOID, CRC_32 = 0x1A45DFA3, 0x18538067, 0xEC, 0xBF
SEEK_HEAD, SEEK, SEEK_ID, SEEK_POSITION = 0x114D9B74, 0x4DBB, 0x53AB, 0x53AC
INFO, TIMESTAMP_SCALE, DURATION, TITLE = 0x1549A966, 0x2AD7B1, 0x4489, 0x7BA9
TRACKS, TRACK_ENTRY, TRACK_NUMBER, TRACK_TYPE, CODEC_ID = 0x1654AE6B, 0xAE, 0xD7, 0x83, 0x86
CODEC_PRIVATE, CODEC_DELAY, SEEK_PRE_ROLL = 0x63A2, 0x56AA, 0x56BB
TRACK_TIMESTAMP_SCALE, CONTENT_ENCODINGS = 0x23314F, 0x6D80
CUES, CUE_POINT, CUE_TIME, CUE_TRACK_POSITIONS, CUE_TRACK, CUE_CLUSTER_POSITION = (
    0x1C53BB6B,
    0xBB,
    0xB3,
    0xB7,
    0xF7,
    0xF1,
)
CLUSTER, TIMESTAMP, POSITION, SIMPLE_BLOCK = 0x1F43B675, 0xE7, 0xA7, 0xA3
BLOCK_GROUP, BLOCK, BLOCK_DURATION, DISCARD_PADDING = 0xA0, 0xA1, 0x9B, 0x75A2
TAGS, TAG, TARGETS, TAG_CHAPTER_UID, SIMPLE_TAG, TAG_NAME, TAG_STRING = (
    0x1254C367,
    0x7373,
    0x63C0,
    0x63C4,
    0x67C8,
    0x45A3,
    0x4487,
)
CHAPTERS, ATTACHMENTS = 0x1043A770, 0x1941A469

NO_LACING, XIPH, FIXED, EBML_LACING = 0x00, 0x02, 0x04, 0x06
OPUS_HEAD = struct.pack("<8sBBHIhB", b"OpusHead", 1, 2, 312, 48_000, 0, 0)


def number(value: int, width: int | None = None) -> bytes:
    """A number of variable length, as short as it can be unless the width is given."""
    if width is None:
        width = next(width for width in range(1, 9) if value < (1 << 7 * width) - 1)
    return (value | 1 << 7 * width).to_bytes(width, "big")


def element(identity: int, *parts: bytes, width: int | None = None) -> bytes:
    body = b"".join(parts)
    return start(identity) + number(len(body), width) + body


def endless(identity: int, *parts: bytes, width: int = 8) -> bytes:
    """An element whose size is not stated."""
    return start(identity) + ((1 << 7 * width + 1) - 1).to_bytes(width, "big") + b"".join(parts)


def start(identity: int) -> bytes:
    return identity.to_bytes((identity.bit_length() + 7) // 8, "big")


def uint(identity: int, value: int) -> bytes:
    return element(identity, value.to_bytes((value.bit_length() + 7) // 8, "big"))


def header(kind: bytes = b"webm", *more: bytes) -> bytes:
    return element(EBML, element(0x4282, kind), *more)


def info(*parts: bytes, scale: int = 1_000_000) -> bytes:
    return element(INFO, uint(TIMESTAMP_SCALE, scale), *parts)


def track(
    number: int = 1, *more: bytes, kind: int = 2, codec: bytes = b"A_OPUS", private: bytes = OPUS_HEAD, delay: int = 312
) -> bytes:
    """A track's entry; `delay` in samples."""
    return element(
        TRACK_ENTRY,
        uint(TRACK_NUMBER, number),
        uint(TRACK_TYPE, kind),
        element(CODEC_ID, codec),
        element(CODEC_PRIVATE, private),
        uint(CODEC_DELAY, delay * 62_500 // 3),
        *more,
    )


def tag(name: str, text: str, *more: bytes) -> bytes:
    return element(
        TAG, *more, element(SIMPLE_TAG, element(TAG_NAME, name.encode()), element(TAG_STRING, text.encode()))
    )


def block(packets: list[bytes], ticks: int = 0, lacing: int = NO_LACING, track: int = 1) -> bytes:
    """What is in a block or a simple one."""
    return number(track) + struct.pack(">hB", ticks, lacing) + laced(packets, lacing)


def laced(packets: list[bytes], lacing: int) -> bytes:
    sizes = list(map(len, packets))
    stated = b""
    if lacing == XIPH:
        stated = b"".join(b"\xff" * (size // 255) + bytes((size % 255,)) for size in sizes[:-1])
    elif lacing == EBML_LACING and len(sizes) > 1:
        stated = number(sizes[0])
        for before, size in pairwise(sizes[:-1]):
            width = next(width for width in range(1, 9) if abs(size - before) < 1 << 7 * width - 1)
            stated += number(size - before + (1 << 7 * width - 1) - 1, width)
    count = bytes((len(packets) - 1,)) if lacing else b""
    return count + stated + b"".join(packets)


def simple(packet: bytes, ticks: int = 0, track: int = 1) -> bytes:
    return element(SIMPLE_BLOCK, block([packet], ticks, track=track))


def cluster(ticks: int, *parts: bytes) -> bytes:
    return element(CLUSTER, uint(TIMESTAMP, ticks), *parts)


def cue(ticks: int, position: int, track: int = 1) -> bytes:
    """Always as long, for one track."""
    place = element(CUE_CLUSTER_POSITION, position.to_bytes(8, "big"))
    where = element(CUE_TRACK_POSITIONS, uint(CUE_TRACK, track), place)
    return element(CUE_POINT, element(CUE_TIME, ticks.to_bytes(8, "big")), where)


def seek_head(identity: int, position: int) -> bytes:
    """Of one entry, always 26 bytes."""
    where = element(SEEK_POSITION, position.to_bytes(8, "big"))
    return element(SEEK_HEAD, element(SEEK, element(SEEK_ID, start(identity)), where))


def movie(*parts: bytes, tracks: bytes | None = None) -> bytes:
    """A whole file: what stands first as mostly, then `parts`."""
    return header() + element(SEGMENT, info(), element(TRACKS, track()) if tracks is None else tracks, *parts)
