"""EBML, in which Matroska and WebM are written (RFC 8794): elements, and the numbers and texts in them. Without I/O."""

from __future__ import annotations

import struct
from collections.abc import Iterator

CHILDREN_MOST = 4096
"""Elements in one that is held; the largest tags have a few hundred."""

TEXT_MOST = 4096
"""Bytes of a title or an artist; one that is longer is left out."""

UNSTATED = -1
UNSTATED_SIZES = tuple((1 << 7 * width) - 1 for width in range(9))
"""Sizes that stand for none, by their width in bytes (RFC 8794, 6.2)."""

NUMBER_MOST = 8
"""Bytes of a number of variable length."""


class Odd(Exception):
    """What is not understood, or cannot be handed on."""


def header_of(data: bytes, at: int) -> tuple[int, int, int] | None:
    """An element's id, where its body begins, and how long that is; None if `data` ends within it."""
    size = len(data)
    if at >= size:
        return None
    identity = data[at]
    width = 9 - identity.bit_length()
    if width > 4:
        raise Odd("an element has no valid id")
    middle = at + width
    if middle >= size:
        return None
    if width > 1:
        identity = int.from_bytes(data[at:middle], "big")
    length = data[middle]
    width = 9 - length.bit_length()
    body = middle + width
    if width > NUMBER_MOST:
        raise Odd("an element has no valid size")
    if body > size:
        return None
    if width > 1:
        length = int.from_bytes(data[middle:body], "big")
    length ^= 1 << 7 * width
    return identity, body, UNSTATED if length == UNSTATED_SIZES[width] else length


def children_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The ids and bodies of the elements that `data` consists of."""
    at = count = 0
    while at < len(data):
        count += 1
        if count > CHILDREN_MOST:
            raise Odd("an element has too many parts")
        header = header_of(data, at)
        if header is None or header[2] == UNSTATED or header[1] + header[2] > len(data):
            raise Odd("an element is larger than the one it is in")
        identity, body, length = header
        at = body + length
        yield identity, data[body:at]


def number_at(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    width = 9 - data[at].bit_length() if at < end else 9
    upto = at + width
    if width > NUMBER_MOST or upto > end:
        raise Odd("a number is not valid")
    return int.from_bytes(data[at:upto], "big") ^ (1 << 7 * width), upto


def uint(data: bytes | None, default: int = 0) -> int:
    """The number in an element; the default if there is none, or nothing in it."""
    if not data:
        return default
    if len(data) > 8:
        raise Odd("a number is not valid")
    return int.from_bytes(data, "big")


def sint(data: bytes) -> int:
    if len(data) > 8:
        raise Odd("a number is not valid")
    return int.from_bytes(data, "big", signed=True)


def float_of(data: bytes | None, default: float) -> float:
    if not data:
        return default
    if len(data) not in (4, 8):
        raise Odd("a number is not valid")
    (value,) = struct.unpack(">f" if len(data) == 4 else ">d", data)
    return float(value)


def text_of(data: bytes) -> str:
    if len(data) > TEXT_MOST:
        return ""
    return data.partition(b"\0")[0].decode("utf-8", "replace")
