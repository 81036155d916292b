"""A server that is a fake: what it has, how fast it gives it, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred

from audiosvc.errors import AudioServiceError
from tests.fakes import FakeReactor


@dataclass
class Said:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


class FakeStream:
    """Implements `bytesource.IStream`: so many bytes arrive with each advance of the reactor's time."""

    def __init__(self, streams: FakeStreams, data: bytes, begins: int | None, size: int | None, status: int) -> None:
        self.head: Any = Said(status)
        self.begins = begins
        self.size = size
        self.whole = False
        self.closed = False
        self.data = data
        self.at = 0
        self.there = 0
        self._streams = streams
        self._callback: Callable[[], None] | None = None

    def read(self, most: int) -> bytes | None:
        if self.at < self.there:
            some = self.data[self.at : min(self.there, self.at + most)]
            self.at += len(some)
            return some
        if self.there == len(self.data) and not self._streams.silent:
            return None
        self._streams.reactor.callLater(0.001, self._arrive)
        return b""

    def _arrive(self) -> None:
        if self._streams.silent or self.closed:
            return
        self.there = min(len(self.data), self.there + self._streams.piece)
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    def when_readable(self, callback: Callable[[], None]) -> None:
        self._callback = callback

    def close(self) -> None:
        self.closed, self._callback = True, None


class FakeStreams:
    """Implements `bytesource.IStreams`."""

    def __init__(self, reactor: FakeReactor, content: bytes) -> None:
        self.reactor = reactor
        self.content = content
        self.piece = 5000
        self.ranges = True
        self.sized = True
        self.breaks: list[int] = []
        """After how many bytes answers break off, the next one first."""
        self.errors: list[AudioServiceError | int] = []
        """With what requests are answered instead, the next one first."""
        self.silent = False
        """Whether nothing comes any more."""
        self.encoded = False
        self.asked: list[int] = []
        self.headers: list[Mapping[str, str]] = []
        self.made: list[FakeStream] = []

    @property
    def open(self) -> int:
        return sum(not stream.closed for stream in self.made)

    def stream(self, url: str, headers: Mapping[str, str], redirects: int) -> Deferred[FakeStream]:
        offset = int(headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.asked.append(offset)
        self.headers.append(headers)
        answer: Deferred[FakeStream] = Deferred(lambda _: call.cancel() if call.active() else None)
        call = self.reactor.callLater(0.001, self._answer, answer, offset)
        return answer

    def _answer(self, answer: Deferred[FakeStream], offset: int) -> None:
        if self.silent:
            return
        error = self.errors.pop(0) if self.errors else 0
        if isinstance(error, AudioServiceError):
            answer.errback(error)
            return
        begins = offset if self.ranges else 0
        data, size = self.content[begins:], len(self.content) if self.sized else None
        stream = FakeStream(self, data, begins, size, error or (206 if self.ranges else 200))
        if self.breaks:
            stream.data = data[: self.breaks.pop(0)]
        stream.whole = len(stream.data) == len(data)
        if self.encoded:
            stream.head.headers = {"content-encoding": "gzip"}
        self.made.append(stream)
        answer.callback(stream)
