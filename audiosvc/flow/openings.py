"""What it means to open a source: by an FFmpeg child, or by the daemon itself where there is nothing to decode."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from audiosvc.codec.passing import Passed
from audiosvc.errors import AudioServiceError
from audiosvc.ffmpeg.process import Child
from audiosvc.ffmpeg.report import Report


class IOpener(Protocol):
    """Who opens a source. It is not called any more once it has dropped the opening."""

    def opening_started(self, opening: IOpening) -> None:
        """It is under way; its `gone` is not None from now on."""

    def opening_failed(self, opening: IOpening, error: AudioServiceError) -> None:
        """It did not come to be."""

    def opening_readable(self, opening: IOpening) -> None:
        """What was waited for may be there."""

    def opening_over(self, opening: IOpening) -> None:
        """All there will ever be of it is there."""


class IOpening(Protocol):
    """One source from a position on, once: its PCM to be `read`, or its Opus packets to be taken."""

    began: bool
    """Whether its reader was given any of its sound; the reader's to set."""

    @property
    def report(self) -> Report:
        """What is known of the source by having it open."""

    @property
    def recovers(self) -> bool:
        """Whether it follows an opening that failed."""

    @property
    def over(self) -> bool:
        """Whether nothing more will come than what is there."""

    @property
    def odd(self) -> bool:
        """Once it is over: whether what comes next takes FFmpeg to be made sense of."""

    @property
    def killed(self) -> AudioServiceError | None:
        """Why it did not end by itself; None if it did or has not ended."""

    @property
    def denial(self) -> AudioServiceError | None:
        """What the guard of the network refused it."""

    @property
    def trouble(self) -> AudioServiceError | None:
        """Why its last request led nowhere, as far as is known apart from `report`."""

    @property
    def gone(self) -> Deferred[None] | None:
        """Fires when it holds nothing any more; None before it is under way."""

    @property
    def counting(self) -> float:
        """Seconds that it may take to go through the sound before its position."""

    @property
    def rest(self) -> int:
        """Once it is over: bytes of sound that are left, where a packet counts as the PCM in it."""

    @property
    def held(self) -> int:
        """Bytes of memory that they take."""

    @property
    def child(self) -> Child | None:
        """The FFmpeg that is at it; None where there is none, or none any more."""

    @property
    def received(self) -> int | None:
        """Bytes of the source that were read; None where that is not known."""

    @property
    def unpassable(self) -> bool:
        """Whether what comes next, after packets still to be taken, cannot be passed and has to be decoded."""

    def start(self) -> None:
        """Begin, unless it was dropped."""

    def drop(self) -> None:
        """Let go of everything; its opener is not called any more."""

    def read(self, most: int) -> bytes:
        """Whole samples, up to `most` bytes of those that are there now."""

    def take(self, most: int) -> list[Passed]:
        """Up to `most` packets of those that are there now."""

    def settle(self, whole: bool) -> None:
        """It is over: what is left is all of it to the end if `whole`, else what comes next begins in its midst."""

    def wait(self) -> None:
        """Tell the opener once there may be something to read."""
