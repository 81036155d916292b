"""The reading ends of a child's pipes, read when somebody asks and not otherwise.

Twisted's own process pipes are pushed at us 8 KiB at a time, and once paused they hide that the child has ended
until they are resumed. Here nothing is read ahead: the kernel's pipe is the buffer, and while nobody asks it
fills and FFmpeg waits. That is the whole of the backpressure on this side.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosvc.interfaces import IReactor

PIPE_BYTES = 256 * 1024
"""Asked of the kernel for PCM: 1.4 s of sound. 64 MiB for all pipes of a user is Linux's usual soft limit."""

READ_MOST = 64 * 1024


@implementer(IReadDescriptor)
class PullPipe:
    """The reading end `fd`, which it owns and closes. All calls are the reactor thread's."""

    def __init__(self, reactor: IReactor, fd: int) -> None:
        self._reactor = reactor
        self._fd = fd
        self._readable: Callable[[], None] | None = None
        os.set_blocking(fd, False)

    def read(self, most: int = READ_MOST) -> bytes | None:
        """Up to `most` bytes that are there now, b"" if none are, None at the end."""
        if self._fd < 0:
            return None
        try:
            return os.read(self._fd, most) or None
        except BlockingIOError:
            return b""

    def when_readable(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, when there is something to read or the end has come."""
        if self._readable is None:
            self._reactor.addReader(self)
        self._readable = callback

    def close(self) -> None:
        if self._fd >= 0:
            if self._readable is not None:
                self._readable = None
                self._reactor.removeReader(self)
            # Not at once: the reactor may have an event of it in hand, "hung up" perhaps, and looks by the number whose
            # that is. A connection that came to this number meanwhile would be taken for lost.
            self._reactor.callLater(0, os.close, self._fd)
            self._fd = -1

    def fileno(self) -> int:
        return self._fd

    def doRead(self) -> None:
        self._reactor.removeReader(self)
        callback, self._readable = self._readable, None
        if callback is not None:
            callback()

    def connectionLost(self, reason: Failure) -> None:
        """The writing end is gone: what is left in the pipe, or its end, is there to be read."""
        self.doRead()

    def logPrefix(self) -> str:
        return "ffmpeg"


def make_pipe(size: int | None = None) -> tuple[int, int]:
    """A pipe (reading end, writing end), neither inherited; `size` bytes if the kernel grants them."""
    reading, writing = os.pipe()
    if size is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, size)
    return reading, writing
