"""What it means that an FFmpeg child is gone: the end of the sound, a break in it, or a failure.

FFmpeg's exit status says nothing: it is 0 for a dropped source, for a stall and for a refusal in mid-track. What counts
is how far the sound came, what FFmpeg said, and whether it ended by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from audiosvc.errors import AudioServiceError, DecoderFailed, NotAudio, NotSeekable, SourceEndedEarly
from audiosvc.ffmpeg.report import Report
from audiosvc.sources.model import Http, Source

SHORT_SECONDS = 1.0
"""How much of a stated duration may be missing at a track's end: containers state it roughly."""

EXPIRED = frozenset({401, 403, 404, 410})
"""What servers answer for a media URL whose time is over. Trying the same one again does not help."""


class Sequel(Enum):
    """What is to follow."""

    END = auto()
    """Nothing: that was all of it."""
    AGAIN = auto()
    """The sound broke off: open the source again where it did."""
    ANEW = auto()
    """The server refuses the media URL: look for another one, or give up."""
    FAIL = auto()


@dataclass(frozen=True)
class Past:
    """A child that is gone. Seconds are the source's."""

    report: Report
    trouble: AudioServiceError | None
    """What the door knows of why its last request led nowhere, or broke off."""
    reached: float
    """Where the sound ends that it gave, and those before it."""
    end: float | None
    """Where the sound should end, as far as is known."""
    length: float | None
    """Where the source ends, as far as is known."""
    gave: bool
    """Whether it gave any sound."""
    heard: bool
    """Whether those before it did."""
    torn: bool
    """Whether the one before it broke off by itself, and so may have left something out."""
    killed: AudioServiceError | None
    """Why it did not end by itself; None if it did."""

    @property
    def error(self) -> AudioServiceError:
        """Why it failed, given that it did."""
        return self.trouble or self.report.error()

    @property
    def expired(self) -> bool:
        """Whether the media URL may be one whose time is over."""
        return self.trouble is None and self.report.status in EXPIRED


def judge(source: Source, live: bool, past: Past) -> tuple[Sequel, AudioServiceError | None]:
    """What follows, and the error if nothing can."""
    end = past.end
    if past.killed is not None:
        return (Sequel.END, None) if end is not None and past.reached >= end else (Sequel.AGAIN, past.killed)
    if not past.gave and not past.heard:
        return _unopened(source, live, past)
    if end is not None and past.reached + SHORT_SECONDS >= end:
        return Sequel.END, None
    if not past.gave:
        return _in_vain(source, live, past)
    if not live and not _is_broken(source, past):
        return Sequel.END, None
    # A file that is cut short is as short the next time.
    return Sequel.AGAIN if isinstance(source.media, Http) else Sequel.FAIL, SourceEndedEarly()


def _is_broken(source: Source, past: Past) -> bool:
    """Whether there was to be more. An answer whose length nobody knows is complete where it ends (RFC 9112, 8)."""
    ceased = past.report.ceased and (past.length is not None or not isinstance(source.media, Http))
    return past.trouble is not None or past.report.broken or ceased


def _is_beyond(source: Source, past: Past) -> bool:
    """Whether it gave nothing, ever, because it was to begin where the source has ended."""
    report, length = past.report, past.length
    behind = length is not None and past.reached >= length
    if not report.failed:
        return behind or not _is_broken(source, past)
    # It is sound, whatever FFmpeg makes of a last scrap of it.
    scraps = report.prepared and not report.broken and isinstance(past.error, (NotAudio, DecoderFailed))
    return scraps and (behind or length is None)


def _unopened(source: Source, live: bool, past: Past) -> tuple[Sequel, AudioServiceError | None]:
    """The source never gave anything."""
    report = past.report
    if report.failed and report.container == "mov" and report.codec is not None and report.broken:
        # It was described from its index at the end, and could then not be read from its beginning.
        return Sequel.FAIL, NotSeekable("the index of the file is at its end, and its server gives no parts of it")
    if past.reached > 0 and not live and _is_beyond(source, past):
        return Sequel.END, None
    if report.failed:
        return Sequel.ANEW if past.expired else Sequel.FAIL, past.error
    return Sequel.FAIL, SourceEndedEarly() if _is_broken(source, past) else NotAudio()


def _in_vain(source: Source, live: bool, past: Past) -> tuple[Sequel, AudioServiceError | None]:
    """The source was opened again in mid-track and gave nothing."""
    report = past.report
    if not report.failed:
        over = past.length is None and not live and not _is_broken(source, past) and not past.torn
        return (Sequel.END, None) if over else (Sequel.AGAIN, SourceEndedEarly())
    error = past.error
    if past.expired and (source.extracted or not live):
        return Sequel.ANEW, error
    # It was audio a moment ago: what can no longer be made out is no other kind of thing, but broken off.
    return Sequel.AGAIN, SourceEndedEarly() if isinstance(error, (NotAudio, DecoderFailed)) else error
