"""A session as a line of text: what its events and packets tell, measured here and drawn for a terminal."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections import deque
from itertools import accumulate

from audiosvc.audio import FRAME_SECONDS, seconds_of
from audiosvc.wire.messages import Error, Event, Finished, Metadata, Paused, Ready, Resumed, Seeked, Stopped

WINDOW = 2.0
"""Seconds that a rate is taken over."""

ARRIVALS_MOST = 1000
"""Packets remembered for the rate: ten times what real time brings within the window."""

QUIETEST = -48.0
"""dBFS where the level meter begins; it ends at 0."""

DECAY = 1.0
"""dB the shown level falls a packet at most: 50 a second, slow enough to be seen."""

TITLE_LEAST, TITLE_MOST = 8, 40
BAR_LEAST, BAR_MOST = 8, 30
METER = 6


class Arrivals:
    """Packets as they come in: rates over the last `WINDOW` seconds, and the largest gap since the start.

    All times are seconds of one monotonic clock.
    """

    def __init__(self) -> None:
        self.packets = 0
        self.largest_gap = 0.0
        self._begun: float | None = None
        self._last: float | None = None
        self._recent: deque[tuple[float, int]] = deque(maxlen=ARRIVALS_MOST)

    def packet(self, now: float, size: int) -> None:
        if self._begun is None:
            self._begun = now
        if self._last is not None:
            self.largest_gap = max(self.largest_gap, now - self._last)
        self._last = now
        self.packets += 1
        self._recent.append((now, size))

    def rest(self) -> None:
        """The silence that follows is meant: a pause or a jump, no gap."""
        self._last = None

    def rates(self, now: float) -> tuple[float, float]:
        """Packets a second and kbit/s."""
        while self._recent and self._recent[0][0] <= now - WINDOW:
            self._recent.popleft()
        if self._begun is None:
            return 0.0, 0.0
        span = min(WINDOW, now - self._begun + FRAME_SECONDS)
        return len(self._recent) / span, sum(size for _, size in self._recent) * 8 / 1000 / span


class Track:
    """What a listener knows of one session's track. `state` is one word; `failure` says in words what went wrong."""

    def __init__(self, session_id: str, url: str) -> None:
        self.session_id = session_id
        self.url = url
        self.title = url
        self.state = "waiting"
        self.failure: str | None = None
        self.duration: float | None = None
        self.level: float | None = None
        self.arrivals = Arrivals()
        self._origin = 0.0
        self._packets_at_origin = 0

    @property
    def ended(self) -> bool:
        return self.state in ("finished", "stopped", "error")

    @property
    def position(self) -> float:
        """Seconds into the source, counted in the packets received."""
        return self._origin + seconds_of(self.arrivals.packets - self._packets_at_origin)

    def packet(self, now: float, size: int, level: float) -> None:
        """A packet of `size` bytes came, whose sound is at `level` dBFS."""
        self.arrivals.packet(now, size)
        self.level = level if self.level is None else max(level, self.level - DECAY)

    def fail(self, message: str) -> None:
        self.state, self.failure, self.level = "error", message, None

    def event(self, event: Event) -> None:
        match event:
            case Ready():
                self.state, self.duration = "playing", event.duration
                self.title = event.title or self.url
                self._move_to(event.position)
            case Metadata():
                self.title = event.title
            case Paused():
                self.state, self.level = "paused", None
                self.arrivals.rest()
            case Resumed():
                self.state = "playing"
            case Seeked():
                self._move_to(event.position)
            case Finished():
                self.state, self.level = "finished", None
            case Stopped():
                self.state, self.level = "stopped", None
                self.failure = None if event.reason == "stop" else f"stopped: {event.reason.replace('_', ' ')}"
            case Error():
                self.fail(f"{event.message} ({event.code})")
            case _:
                pass

    def _move_to(self, position: float) -> None:
        self._origin, self._packets_at_origin = position, self.arrivals.packets
        self.arrivals.rest()


# --- text ------------------------------------------------------------------------------------------------------


def printable(text: str) -> str:
    """`text` without anything a terminal would obey: titles come from strangers."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def width(text: str) -> int:
    """Columns that printable `text` takes on a terminal."""
    return sum(map(_columns, text))


def _columns(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in ("W", "F") else 1


def fit(text: str, columns: int) -> str:
    """`text`, made printable, in exactly `columns` columns: padded, or cut and marked with `~`."""
    text = printable(text)
    if width(text) > columns:
        widths = list(accumulate(map(_columns, text)))
        text = text[: bisect_right(widths, columns - 1)] + "~"
    return text + " " * (columns - width(text))


def clock(seconds: float | None) -> str:
    """`1:23`, `1:02:03`; `-:--` for None."""
    if seconds is None:
        return "-:--"
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def bar(share: float, columns: int) -> str:
    """`[===---]` of that many columns, filled to `share` (0 to 1)."""
    cells = columns - 2
    filled = round(min(max(share, 0.0), 1.0) * cells)
    return f"[{'=' * filled}{'-' * (cells - filled)}]"


def meter(level: float | None) -> str:
    """A level in dBFS as up to `METER` strokes; none for silence or None."""
    heard = QUIETEST if level is None else min(max(level, QUIETEST), 0.0)
    return fit("|" * round((1 - heard / QUIETEST) * METER), METER)


def line(track: Track, now: float, columns: int) -> str:
    """The track in exactly `columns` columns: state, title, place, bar, packets a second, kbit/s, level, largest gap.

    More columns widen title and bar; with less than 70 the bar, the level and the kbit/s give way.
    """
    packets, kilobits = track.arrivals.rates(now)
    fields = {
        "state": fit(track.state, 8),
        "title": "",
        "clock": f"{clock(track.position)}/{clock(track.duration)}".rjust(11),
        "bar": "",
        "packets": f"{packets:3.0f}/s",
        "kilobits": f"{kilobits:3.0f}kb/s",
        "level": meter(track.level),
        "gap": f"gap {track.arrivals.largest_gap * 1000:4.0f}ms",
    }
    title, progress = TITLE_LEAST, BAR_LEAST
    for optional in ("", "bar", "level", "kilobits"):
        fields.pop(optional, None)
        progress = BAR_LEAST if "bar" in fields else 0
        spare = columns - sum(map(len, fields.values())) - (len(fields) - 1) - progress - title
        if spare >= 0:
            break
    wider = max(0, min(spare, TITLE_MOST - title))
    fields["title"] = fit(track.failure or track.title, title + wider)
    if progress:
        share = track.position / track.duration if track.duration else 0.0
        fields["bar"] = bar(share, min(BAR_MOST, progress + spare - wider))
    return fit(" ".join(fields.values()), columns)


def sentence(track: Track, now: float) -> str:
    """The same for a log: one line, no columns, no cutting."""
    packets, kilobits = track.arrivals.rates(now)
    place = f"{clock(track.position)}/{clock(track.duration)}"
    level = "silent" if track.level is None or track.level < QUIETEST else f"level {track.level:.0f} dB"
    gap = f"largest gap {track.arrivals.largest_gap * 1000:.0f} ms"
    return printable(
        f"{track.session_id} {track.state}: {track.failure or track.title}, {place}, "
        f"{packets:.0f} packets/s, {kilobits:.0f} kbit/s, {level}, {gap}"
    )


def result(track: Track, recording: str | None) -> str:
    """What came of the track, when all is over."""
    heard = f"{seconds_of(track.arrivals.packets):.2f} s, largest gap {track.arrivals.largest_gap * 1000:.0f} ms"
    words = [track.title, track.failure or track.state, heard if track.arrivals.packets else "nothing heard"]
    return printable(": ".join(words)) + (f"\n    {recording}" if recording else "")
