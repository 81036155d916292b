"""How far the body of an HTTP answer goes, by what its head and its chunks say, and whether all of it has come."""

from __future__ import annotations

import re

SIZE_LINE_MOST = 4096
"""Bytes of a line that tells a chunk's size, with whatever else is in it."""

_SOUND = re.compile(rb"HTTP/1\.[0-9][ \t]+20[06](?![0-9])")
_CHUNKED = re.compile(rb"^transfer-encoding[ \t]*:(?:[^\n]*,)?[ \t]*chunked[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_LENGTH = re.compile(rb"^content-length[ \t]*:[ \t]*([0-9]{1,18})[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_SIZE = re.compile(rb"([0-9a-f]{1,15})[ \t]*(?:;.*)?", re.IGNORECASE | re.DOTALL)


class Extent:
    """Follows one answer to a GET, which `feed` is given as it comes; what is in it nobody looks at.

    It is known where the answer is 200 or 206 and states its length, or comes in chunks, the last of which says so.
    Servers that leave out line ends, or what follows the last chunk's size, are understood.
    """

    def __init__(self, head: bytes) -> None:
        sound = _SOUND.match(head) is not None
        length = _LENGTH.search(head)
        self._chunked = sound and _CHUNKED.search(head) is not None
        self._known = self._chunked or (sound and length is not None)
        self._left = int(length[1]) if length is not None and not self._chunked else 0
        """Bytes of the body that are still to come, or of a chunk before the next one's line."""
        self._line = b""
        self._last = False

    @property
    def short(self) -> bool:
        """Whether there is more of it to come, as far as is known."""
        return self._known and (not self._last if self._chunked else self._left > 0)

    def feed(self, data: bytes) -> None:
        """More of the body, in whatever pieces."""
        if not self._chunked:
            self._left -= len(data)
            return
        at = 0
        while at < len(data) and self._known and not self._last:
            if self._left:
                passed = min(self._left, len(data) - at)
                self._left -= passed
                at += passed
                continue
            end = data.find(b"\n", at) + 1
            self._line += data[at : end or len(data)]
            at = end or len(data)
            if len(self._line) > SIZE_LINE_MOST:
                self._known = False
            elif end:
                self._begin_chunk()

    def _begin_chunk(self) -> None:
        line, self._line = self._line.strip(), b""
        size = _SIZE.fullmatch(line)
        if size is not None:
            self._left = int(size[1], 16)
            self._last = self._left == 0
        elif line:
            # These are no chunks, whatever the head says.
            self._known = False
