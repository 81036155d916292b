"""Tracks in a folder: written under another name and then renamed, checked as a whole when they are read.

Nothing is synced: what a crash of the machine leaves half written does not pass the check. A folder is one daemon's.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosvc.cache.track import MalformedTrack, Track, file_size, from_file, to_pieces
from audiosvc.interfaces import IReactor

PART = ".part"
"""Ends the name of what is being written."""

WAITING_MOST = 4
"""Tracks that may wait to be written; they are in memory, and perhaps nowhere else any more."""

READ_SECONDS = 2.0
"""How long a play waits for its track; then its source is opened, which may take longer."""

STOP_SECONDS = 1.0
"""How long the end waits for what is being written."""

_OURS = re.compile(r"[0-9a-f]{64}(\.part)?", re.ASCII)

T = TypeVar("T")


class Store:
    """The folder `path`, of `size` bytes at most. All of it blocks, and raises OSError."""

    def __init__(self, path: Path, size: int) -> None:
        self.bytes = 0
        self._path = path
        self._size = size
        self._sizes: OrderedDict[str, int] = OrderedDict()
        """By name, the least recently used first."""
        self._lock: int | None = None

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, name: str) -> bool:
        return name in self._sizes

    def open(self) -> None:
        """Make the folder (0700) where there is none, lock it, and see what it holds; what is half written goes.

        What is not named as tracks are is not touched.
        """
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = self._path.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PermissionError(f"{self._path}: others may write to this folder")
        # The lock file stays, as does the socket's.
        self._lock = os.open(self._path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise BlockingIOError(f"{self._path}: another audiosvc keeps its tracks there") from None
        found: list[tuple[int, str, int]] = []
        for entry in self._path.iterdir():
            if _OURS.fullmatch(entry.name):
                status = entry.lstat()
                if entry.name.endswith(PART):
                    entry.unlink()
                elif stat.S_ISREG(status.st_mode):
                    found.append((status.st_mtime_ns, entry.name, status.st_size))
        for _, name, size in sorted(found):
            self._add(name, size)
        self._give_up(0)

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def read(self, name: str) -> Track | None:
        """None if it is not there, or not any more. One that is damaged is removed: `MalformedTrack`."""
        try:
            descriptor = os.open(self._path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            self._forget(name)
            return None
        try:
            with open(descriptor, "rb") as file:  # noqa: PTH123
                track = from_file(file, name)
        except MalformedTrack:
            self.remove(name)
            raise
        os.utime(self._path / name)
        self._sizes.move_to_end(name)
        return track

    def write(self, track: Track) -> None:
        """Make room for `track`, and keep it."""
        size = file_size(track)
        if size > self._size:
            raise OSError("it is larger than all of the folder may be")
        self._give_up(size)
        part = self._path / (track.name + PART)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(part, flags, 0o600), "wb", buffering=0) as file:  # noqa: PTH123
                for piece in to_pieces(track):
                    left = memoryview(piece)
                    while left:
                        left = left[os.write(file.fileno(), left) :]
            part.replace(self._path / track.name)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise
        self._add(track.name, size)

    def remove(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)
        self._forget(name)

    def _add(self, name: str, size: int) -> None:
        self._forget(name)
        self._sizes[name] = size
        self.bytes += size

    def _forget(self, name: str) -> None:
        self.bytes -= self._sizes.pop(name, 0)

    def _give_up(self, room: int) -> None:
        """Remove the least recently used until there is `room`."""
        while self._sizes and self.bytes + room > self._size:
            self.remove(next(iter(self._sizes)))


class Disk:
    """`store`, worked on by a thread of its own, so that neither the reactor nor an encoder waits for a disk.

    What goes wrong there is counted, logged and no more: there is nothing that cannot be made anew.
    """

    log = Logger()

    def __init__(self, reactor: IReactor, store: Store) -> None:
        self.errors = 0
        self.opened = False
        self._reactor = reactor
        self._store = store
        self._waiting = 0
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="cache", daemon=True)

    def __contains__(self, name: str) -> bool:
        """Whether there is a track `name`, as far as can be told without looking."""
        return name in self._store

    def __len__(self) -> int:
        return len(self._store)

    @property
    def bytes(self) -> int:
        return self._store.bytes

    def start(self) -> None:
        self._thread.start()
        self._do(self._store.open, "opened").addCallback(self._is_open)

    def stop(self) -> None:
        """What is being written gets a moment; what it does not complete is nothing at the next start."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join(STOP_SECONDS)

    def read(self, name: str) -> Deferred[Track | None]:
        """None if there is no such track, not any more, or not in time. Does not fail; may be cancelled."""
        reading = self._do(lambda: self._store.read(name), "read")
        reading.addTimeout(READ_SECONDS, self._reactor)
        return reading.addErrback(self._late)

    def write(self, track: Track) -> None:
        if not self.opened:
            return
        if self._waiting == WAITING_MOST:
            self._failed("too many others wait for that", "written")
            return
        self._waiting += 1
        self._do(lambda: self._store.write(track), "written").addCallback(self._written)

    def remove(self, name: str) -> None:
        self._do(lambda: self._store.remove(name), "removed")

    def _late(self, failure: Failure) -> None:
        failure.trap(TimeoutError)
        self._failed("the disk takes too long", "read")

    def _is_open(self, _: object) -> None:
        self.opened = not self.errors

    def _written(self, _: object) -> None:
        self._waiting -= 1

    def _do(self, work: Callable[[], T], what: str) -> Deferred[T | None]:
        done: Deferred[T | None] = Deferred()

        def job() -> None:
            result: T | Failure
            try:
                result = work()
            except Exception:
                result = Failure()
            # The reactor may have ended in the meantime, and the thread with it.
            with suppress(Exception):
                self._reactor.callFromThread(self._done, done, result, what)

        self._jobs.put(job)
        return done

    def _done(self, done: Deferred[T | None], result: T | Failure, what: str) -> None:
        if isinstance(result, Failure):
            self._failed(result.getErrorMessage(), what)
        if not done.called:
            done.callback(None if isinstance(result, Failure) else result)

    def _failed(self, why: str, what: str) -> None:
        self.errors += 1
        self.log.warn("a track, or the folder of tracks, could not be {what}: {why}", what=what, why=why)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        self._store.close()
