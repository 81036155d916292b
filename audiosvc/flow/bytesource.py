"""Where the daemon itself reads a source's bytes from: a file, or a server's answers. Any offset can be begun at."""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable, Mapping
from errno import EAGAIN, EINVAL, ENOSYS, EOPNOTSUPP
from typing import Protocol

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from audiosvc.errors import AudioServiceError, FilesRefused, SourceEndedEarly, SourceNotFound, SourceRefused
from audiosvc.ffmpeg.command import headers_sent
from audiosvc.flow.encoders import IEncoders
from audiosvc.sources.look import REDIRECTS_MOST
from audiosvc.sources.model import Http

DISK_SECONDS = 0.25
"""How soon a read that has to wait for the disk should be done: there are packets for half a second."""


class Odd(Exception):
    """The bytes are not to be had in the way that is known here. FFmpeg may know another one."""


class Refused(Exception):
    """A server answered with an error; `status` is its own."""

    def __init__(self, error: AudioServiceError, status: int) -> None:
        super().__init__(error)
        self.error = error
        self.status = status


class IBytes(Protocol):
    """Bytes from an offset on, as they are wanted."""

    size: int | None
    """Bytes of all there is, from the very beginning; None if that is not known."""
    ranged: bool
    """Whether any other offset can be begun at."""

    def read(self, most: int) -> bytes | None:
        """Up to `most` of those that are there now; b"" if there are none, None at the end.

        Raises `SourceEndedEarly` if that is not the end of all there is.
        """

    def when_readable(self, callback: Callable[[], None]) -> None:
        """After a `read` that found nothing: call `callback` once when another finds something, or the end."""

    def close(self) -> None:
        """Let go of them; nobody is called any more."""


class IPlace(Protocol):
    """Where bytes are."""

    def open(self, offset: int) -> Deferred[IBytes]:
        """Fails with `Odd`, `Refused` or an `AudioServiceError`. May be cancelled."""

    def close(self) -> None:
        """Let go of all; nobody is called any more."""


# --- a file ----------------------------------------------------------------------------------------------------------


class FilePlace:
    """A regular file, opened once.

    What the kernel has in its memory is read at once; a read that would wait for a disk is done by the encoders, so
    that the reactor never does.
    """

    def __init__(self, reactor: IReactorTime, encoders: IEncoders, path: os.PathLike[str]) -> None:
        self._reactor = reactor
        self._encoders = encoders
        self._path = path
        self._fd = -1
        self._reads = 0
        self._closed = False

    def open(self, offset: int) -> Deferred[IBytes]:
        return execute(self._open, offset)

    def close(self) -> None:
        self._closed = True
        self._close_if_idle()

    def _open(self, offset: int) -> FileBytes:
        if self._fd < 0:
            try:
                # Not to wait, should it have become a pipe by now.
                self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                raise SourceNotFound from None
            except PermissionError:
                raise SourceRefused("the file may not be read") from None
            except OSError as error:
                raise Odd(error.strerror) from None
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            raise FilesRefused("only regular files are played")
        return FileBytes(self, offset, found.st_size)

    def read_now(self, size: int, offset: int) -> bytes | None:
        """What there is without waiting; None if one has to wait. Raises OSError."""
        into = bytearray(size)
        try:
            return bytes(into[: os.preadv(self._fd, [into], offset, os.RWF_NOWAIT)])
        except OSError as error:
            # Not every file system can tell.
            if error.errno in (EAGAIN, EOPNOTSUPP, ENOSYS, EINVAL):
                return None
            raise

    def read_later(self, size: int, offset: int, done: Callable[[bytes | Failure], None]) -> None:
        """Wait for it, on a thread of the encoders'."""
        came: list[bytes] = []

        def work() -> list[bytes]:
            came.append(os.pread(self._fd, size, offset))
            return []

        def over(result: list[bytes] | Failure) -> None:
            self._reads -= 1
            self._close_if_idle()
            if not self._closed:
                done(result if isinstance(result, Failure) else came[0])

        self._reads += 1
        self._encoders.submit(self._reactor.seconds() + DISK_SECONDS, work, over)

    def _close_if_idle(self) -> None:
        """A descriptor is not closed under a thread that reads from it."""
        if self._closed and self._reads == 0 and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class FileBytes:
    """A file's bytes. Implements `IBytes`."""

    ranged = True

    def __init__(self, place: FilePlace, offset: int, size: int) -> None:
        self.size: int | None = size
        self._place = place
        self._at = offset
        self._came: bytes | Failure | None = None
        self._waiting = False
        self._callback: Callable[[], None] | None = None

    def read(self, most: int) -> bytes | None:
        if self._waiting:
            return b""
        came, self._came = self._came, None
        try:
            if came is None:
                came = self._place.read_now(most, self._at)
            elif isinstance(came, Failure):
                came.raiseException()
        except OSError:
            raise SourceEndedEarly from None
        if came is None:
            self._waiting = True
            self._place.read_later(most, self._at, self._done)
            return b""
        self._at += len(came)
        return came or None

    def when_readable(self, callback: Callable[[], None]) -> None:
        self._callback = callback

    def close(self) -> None:
        self._callback = None

    def _done(self, came: bytes | Failure) -> None:
        self._waiting, self._came = False, came
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


# --- a server --------------------------------------------------------------------------------------------------------


class IAnswerHead(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


class IStream(Protocol):
    """The answer to a GET, its body read as it is wanted: `net.stream.Stream`."""

    whole: bool

    @property
    def head(self) -> IAnswerHead | None: ...
    @property
    def begins(self) -> int | None: ...
    @property
    def size(self) -> int | None: ...
    def read(self, most: int) -> bytes | None: ...
    def when_readable(self, callback: Callable[[], None]) -> None: ...
    def close(self) -> None: ...


class IStreams(Protocol):
    """Who GETs, by way of the vetter: `net.agent.Fetcher`."""

    def stream(self, url: str, headers: Mapping[str, str], redirects: int) -> Awaitable[IStream]: ...


class HttpPlace:
    """What is at a URL. Each opening is a request of its own, and follows redirects anew: where they lead to may be
    good for once."""

    def __init__(self, streams: IStreams, media: Http) -> None:
        self._streams = streams
        self._media = media
        self._opened: list[HttpBytes] = []

    def open(self, offset: int) -> Deferred[IBytes]:
        return Deferred.fromCoroutine(self._open(offset))

    def close(self) -> None:
        for each in self._opened:
            each.close()

    async def _open(self, offset: int) -> IBytes:
        headers = {**headers_sent(self._media.headers), "Range": f"bytes={offset}-"}
        stream = await self._streams.stream(self._media.url, headers, REDIRECTS_MOST)
        assert stream.head is not None
        status = stream.head.status
        if status in (200, 206) and stream.begins == offset and "content-encoding" not in stream.head.headers:
            self._opened.append(HttpBytes(stream, status == 206))
            return self._opened[-1]
        stream.close()
        if status in (404, 410):
            raise Refused(SourceNotFound(f"the source's server answered {status}: not there"), status)
        if status not in (200, 206, 416):
            raise Refused(SourceRefused(f"the source's server answered {status}"), status)
        raise Odd("the server does not give the part that is asked for")


class HttpBytes:
    """The body of an answer. Implements `IBytes`."""

    def __init__(self, stream: IStream, ranged: bool) -> None:
        self.size = stream.size
        self.ranged = ranged
        self._stream = stream

    def read(self, most: int) -> bytes | None:
        came = self._stream.read(most)
        if came is None and not self._stream.whole:
            raise SourceEndedEarly
        return came

    def when_readable(self, callback: Callable[[], None]) -> None:
        self._stream.when_readable(callback)

    def close(self) -> None:
        self._stream.close()
