"""Where lines of the log go: where twistd would have put them."""

from __future__ import annotations

import os
import syslog
from collections.abc import Mapping
from typing import Any, Protocol

from twisted.python.logfile import LogFile

STDOUT = 1

_PRIORITIES = {
    "debug": syslog.LOG_DEBUG,
    "info": syslog.LOG_INFO,
    "warn": syslog.LOG_WARNING,
    "error": syslog.LOG_ERR,
    "critical": syslog.LOG_CRIT,
}


class ISink(Protocol):
    def write(self, line: str, level: str) -> None:
        """Write all of `line`, which has no line end, or raise."""


class Stream:
    """A file descriptor. A line that was written in part is ended before the next one."""

    def __init__(self, fd: int = STDOUT) -> None:
        self._fd = fd
        self._torn = False

    def write(self, line: str, level: str) -> None:
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        if self._torn:
            data = b"\n" + data
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        finally:
            self._torn = written < len(data) if written else self._torn


class File(LogFile):
    """A file as twistd's `--logfile`: past a megabyte another one is begun."""

    def write(self, line: str, level: str) -> None:  # type: ignore[override]
        if self._file.closed:
            # The one before could not be followed by another.
            self._openFile()
        if self.shouldRotate():  # type: ignore[no-untyped-call]
            self.rotate()  # type: ignore[no-untyped-call]
        self._stream.write(line, level)
        self.size = self._file.seek(0, os.SEEK_END)

    def _openFile(self) -> None:
        super()._openFile()  # type: ignore[no-untyped-call]
        self._stream = Stream(self._file.fileno())


class Syslog:
    """The system's log; one of its messages has one line."""

    def __init__(self, prefix: str) -> None:
        syslog.openlog(prefix)

    def write(self, line: str, level: str) -> None:
        for part in line.split("\n"):
            syslog.syslog(_PRIORITIES[level], part)


def sink_for(twistd: Mapping[str, Any]) -> ISink:
    """Where `twistd`'s own options say; without any, on standard output. Raises `SystemExit` where there is none."""
    if twistd.get("syslog"):
        return Syslog(twistd["prefix"])
    foreground, path = twistd.get("nodaemon", True), twistd.get("logfile")
    if path == "-" and not foreground:
        raise SystemExit("audiosvc: what runs in the background has no standard output to log to")
    if path == "-" or (foreground and not path):
        return Stream()
    file: File = File.fromFullPath(path or "twistd.log")  # type: ignore[no-untyped-call]
    return file
