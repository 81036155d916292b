"""The Unix socket's place in the file system: taken from a dead daemon, never from a live one or through a link."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from pathlib import Path

PATH_BYTES_MOST = 107
"""What Linux's sockaddr_un holds, less its final NUL."""


class SocketPlaceError(Exception):
    """Why the path cannot be had; the message is for the operator."""


class SocketPlace:
    """The right to bind `path`: a lock beside it, held until `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def claim(self) -> None:
        """Make the folder (0700) where there is none, lock, and clear a stale socket away, or `SocketPlaceError`."""
        if len(os.fsencode(self.path)) > PATH_BYTES_MOST:
            raise SocketPlaceError(f"{self.path}: a socket's path holds at most {PATH_BYTES_MOST} bytes")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_folder()
            self._take_lock()
            self._clear()
        except OSError as error:
            self.release()
            raise SocketPlaceError(f"{self.path}: {error.strerror or error}") from error
        except SocketPlaceError:
            self.release()
            raise

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _check_folder(self) -> None:
        """Others must not be able to put something in our place; a sticky folder such as /tmp keeps them from it."""
        folder = self.path.parent.stat()
        if folder.st_mode & 0o022 and not folder.st_mode & stat.S_ISVTX:
            raise SocketPlaceError(f"{self.path.parent}: others may write to this folder")
        if folder.st_uid not in (os.geteuid(), 0):
            raise SocketPlaceError(f"{self.path.parent}: this folder is somebody else's")

    def _take_lock(self) -> None:
        # The lock file stays: removing it would let two daemons hold locks on two files of one name.
        lock = f"{self.path}.lock"
        try:
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise SocketPlaceError(f"{lock}: is a symbolic link") from None
            raise
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SocketPlaceError(f"{self.path}: another audiosvc serves this socket") from None

    def _clear(self) -> None:
        try:
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            return
        if stat.S_ISLNK(mode):
            raise SocketPlaceError(f"{self.path}: is a symbolic link")
        if not stat.S_ISSOCK(mode):
            raise SocketPlaceError(f"{self.path}: is there and is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(self.path))
            except ConnectionRefusedError:
                self.path.unlink()
                return
            except BlockingIOError:
                pass
        raise SocketPlaceError(f"{self.path}: another program serves this socket")
