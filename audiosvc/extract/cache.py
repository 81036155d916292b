"""Answers kept until they expire, the least recently used given up first."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

ENTRIES_MOST = 512
BYTES_MOST = 16 * 1024 * 1024
"""Of all answers together, as they came through the pipe."""

LIFE_SECONDS = 600.0
"""For what does not say when it expires."""

LIFE_MOST = 6 * 3600.0
"""What a site says of a page changes, however long its media's URL is good."""

MARGIN_SECONDS = 300.0
"""Before a URL expires it is not given out any more: an opening, and the first reconnections, want it good."""

T = TypeVar("T")

_EXPIRES = re.compile(r"(?:^|[?&/;,~_=-])(?:expires?|expiry|exp|e)(?:[=/]|%3D)(\d{10})(?!\d)", re.IGNORECASE)
"""A time in seconds since 1970, in a query (`expire=`, `Expires=`, `hdnts=exp=…~`) or a path (`/expire/…/`)."""


class Cache(Generic[T]):
    """Bounded in entries and in bytes. Times are seconds of any one clock that only goes forward."""

    def __init__(self, entries: int = ENTRIES_MOST, size: int = BYTES_MOST) -> None:
        self._entries = entries
        self._size = size
        self._kept: OrderedDict[Hashable, tuple[T, int, float]] = OrderedDict()
        self._total = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: Hashable) -> bool:
        """Whether `key` was answered not long ago; the answer may have expired since."""
        return key in self._kept

    def get(self, key: Hashable, now: float) -> T | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        self._kept.move_to_end(key)
        value, _, until = kept
        return value if now < until else None

    def put(self, key: Hashable, value: T, size: int, now: float, life: float) -> None:
        """Keep `value`, which takes some `size` bytes, for `life` seconds from `now` on."""
        old = self._kept.pop(key, None)
        if old is not None:
            self._total -= old[1]
        self._kept[key] = (value, size, now + life)
        self._total += size
        while len(self._kept) > self._entries or self._total > self._size:
            _, (_, dropped, _) = self._kept.popitem(last=False)
            self._total -= dropped


def life(url: str, wall: float) -> float:
    """Seconds that the media at `url` may be given out for; `wall` is the time since 1970."""
    times = [int(match) for match in _EXPIRES.findall(url)]
    if not times:
        return LIFE_SECONDS
    return min(max(0.0, min(times) - wall - MARGIN_SECONDS), LIFE_MOST)
