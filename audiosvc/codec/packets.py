"""Opus packets taken apart into their frames and put together again, without decoding (RFC 6716, 3)."""

from __future__ import annotations

from typing import NamedTuple

from audiosvc.codec.ogg import MalformedPacket, packet_samples

FRAME_MOST = 1275
"""Bytes of one Opus frame."""

_CODE, _COUNT, _PADDED, _VARIABLE = 0x03, 0x3F, 0x40, 0x80
_LONG = 252
"""A frame's length from here on takes two bytes."""


class Frames(NamedTuple):
    """What a packet holds. An empty frame stands for one that was not sent, and is concealed."""

    toc: int
    """Mode, bandwidth, frame size and channels, as the first byte of a packet with one frame."""
    samples: int
    """How long each frame lasts, at 48 kHz."""
    frames: list[bytes]


def split(packet: bytes) -> Frames:
    """The frames of `packet`; its padding is left out. Raises `MalformedPacket` for what no decoder takes."""
    samples = packet_samples(packet)
    code, toc = packet[0] & _CODE, packet[0] & ~_CODE
    if code == 0:
        frames = [packet[1:]]
    elif code == 1:
        frames = _equal(packet, 1, len(packet), 2)
    elif code == 2:
        size, at = _length(packet, 1)
        frames = _cut(packet, at, len(packet), [size])
    else:
        frames = _many(packet)
    if max(map(len, frames)) > FRAME_MOST:
        raise MalformedPacket(f"an Opus frame has up to {FRAME_MOST} bytes")
    return Frames(toc, samples // len(frames), frames)


def join(toc: int, frames: list[bytes]) -> bytes:
    """One packet of `frames`, at least one, which all have the mode, size and channels that `toc` says."""
    count, sizes = len(frames), list(map(len, frames))
    equal = len(set(sizes)) == 1
    if count == 1:
        head = bytes((toc,))
    elif count == 2:
        head = bytes((toc | 1,)) if equal else bytes((toc | 2,)) + _coded(sizes[0])
    elif equal:
        head = bytes((toc | 3, count))
    else:
        head = bytes((toc | 3, count | _VARIABLE)) + b"".join(map(_coded, sizes[:-1]))
    return head + b"".join(frames)


def _many(packet: bytes) -> list[bytes]:
    """The frames of a packet that says how many they are."""
    said, at, end = packet[1], 2, len(packet)
    count = said & _COUNT
    if said & _PADDED:
        more = 255
        while more == 255:
            if at == len(packet):
                raise MalformedPacket("the Opus packet ends within its padding's length")
            more = packet[at]
            at += 1
            end -= 254 if more == 255 else more
    if not said & _VARIABLE:
        return _equal(packet, at, end, count)
    sizes = []
    for _ in range(count - 1):
        size, at = _length(packet, at)
        sizes.append(size)
    return _cut(packet, at, end, sizes)


def _equal(packet: bytes, at: int, end: int, count: int) -> list[bytes]:
    size, rest = divmod(end - at, count)
    if size < 0 or rest:
        raise MalformedPacket(f"the Opus packet cannot be parted into {count} frames")
    return [packet[start : start + size] for start in range(at, at + size * count, size)] if size else [b""] * count


def _cut(packet: bytes, at: int, end: int, sizes: list[int]) -> list[bytes]:
    """Frames of `sizes`, and the last one up to `end`."""
    frames = []
    for size in sizes:
        frames.append(packet[at : at + size])
        at += size
    if at > end:
        raise MalformedPacket("the Opus packet ends within a frame")
    return [*frames, packet[at:end]]


def _length(packet: bytes, at: int) -> tuple[int, int]:
    """A frame's length as it is coded at `at`, and where it goes on."""
    if at < len(packet) and packet[at] < _LONG:
        return packet[at], at + 1
    if at + 1 < len(packet):
        return packet[at] + 4 * packet[at + 1], at + 2
    raise MalformedPacket("the Opus packet ends within a frame's length")


def _coded(size: int) -> bytes:
    if size < _LONG:
        return bytes((size,))
    first = _LONG + (size & 3)
    return bytes((first, (size - first) // 4))
