"""Whether anybody opens a file, by inotify(7): whatever process it is, and whatever namespaces it is in."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_IN_OPEN = 0x20
_IN_NONBLOCK = os.O_NONBLOCK
_EVENT_BYTES = 16
"""Of an event without a name, as those of a file that is itself watched are."""


class Opened:
    """`count()` is how often the file at `path` was opened since the last look. Use `close` in the end."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(_IN_NONBLOCK)
        if self._descriptor < 0 or libc.inotify_add_watch(self._descriptor, os.fsencode(path), _IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))

    def count(self) -> int:
        """Opens that come in one moment may count as one."""
        try:
            return len(os.read(self._descriptor, 65536)) // _EVENT_BYTES
        except BlockingIOError:
            return 0

    def close(self) -> None:
        os.close(self._descriptor)
