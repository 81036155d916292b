"""Writes lines in a thread of its own: a full disk, or a pipe that nobody reads, holds up nothing but the log."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue

from audiosvc.log.sinks import ISink

WAITING_MOST = 1_000
"""Lines that wait to be written; what comes then is lost, and counted."""

CLOSE_SECONDS = 1.0
"""How long lines that still wait may take at the end."""


class Writer:
    """Lines to `sink`, in order. Before `start` they are written at once: until then there is nothing to be held up.

    May be called from any thread, and from a signal's handler.
    """

    def __init__(self, sink: ISink) -> None:
        self.written = 0
        self._sink = sink
        self._failed = 0
        self._overflowed = 0
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """Lines that could not be written, or for which there was no room."""
        return self._failed + self._overflowed

    def start(self) -> None:
        """Not before the process has forked, where it is going to: the thread would stay behind."""
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Have written what waits, if that can be done in the time there is."""
        thread = self._thread
        if thread is not None:
            atexit.unregister(self.close)
            self._jobs.put(None)
            thread.join(CLOSE_SECONDS)
            if not thread.is_alive():
                self._thread = None

    def write(self, line: str, level: str) -> None:
        self.do(partial(self._write, line, level))

    def do(self, job: Callable[[], None]) -> None:
        """Have `job`, which does not raise, done in its turn between the lines."""
        if self._thread is None:
            job()
        elif self._jobs.qsize() >= WAITING_MOST:
            self._overflowed += 1
        else:
            self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _write(self, line: str, level: str) -> None:
        try:
            self._sink.write(line, level)
        except Exception:
            # Whatever it was: to log it would come here again.
            self._failed += 1
        else:
            self.written += 1
