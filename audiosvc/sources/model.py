"""What a URL turned out to be: something FFmpeg can open, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Tone:
    """A pure sine, made rather than read: the same samples every time."""

    hz: float
    seconds: float


@dataclass(frozen=True)
class File:
    """A regular file, already vetted: absolute, symlinks resolved. `counted` is as in `Http`."""

    path: Path
    counted: bool = False


@dataclass(frozen=True)
class Http:
    """A media URL, http or https, with the request headers it needs."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    demuxer: str | None = None
    """`hls` or `dash` where it is known to be such a playlist; FFmpeg finds out what everything else is."""
    station: bool = False
    """Whether it is a station that announces its titles (ICY)."""
    vbr: bool = False
    """Whether it is known to be MP3 of a varying bit rate, in which a time is no place."""
    counted: bool = False
    """Whether there is no seeking in it, so that a position is counted to from the beginning: Ogg of several streams
    one behind another, each of which begins its time anew, and whatever comes from a server that gives no parts."""


Media = Tone | File | Http


@dataclass(frozen=True)
class Source:
    """A playable thing. `url` is what the caller asked for; None means not known (yet)."""

    url: str
    media: Media
    title: str | None = None
    duration: float | None = None
    thumbnail: str | None = None
    uploader: str | None = None
    live: bool = False
    """Whether it goes on by itself, listened to or not: there is no seeking in it, and what was missed is gone."""
    opus: bool = False
    """Whether its sound is known to be Opus already, in Ogg or WebM."""
    extracted: bool = False
    """Whether its media URL came out of a page, and may expire: then the page is asked again."""
    playlist: str | None = None
    """The title of the list that `url` names and this is the first of, perhaps empty; None where it names no list."""

    def may_pass(self, bitrate: int | None, asked: bool) -> bool:
        """Whether its packets may be sent as they are: Opus is wanted, of no `bitrate` that was `asked` for."""
        wanted = bitrate is not None and not asked
        return wanted and self.opus and not self.live and not isinstance(self.media, Tone)
