"""The encoders' own threads: many pipelines' jobs in, the most urgent first.

libopus runs outside the GIL, so a thread a core keeps the cores busy. The pool is apart from the reactor's because
DNS look-ups live there and may hold a thread for ten seconds.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import PriorityQueue
from typing import Protocol

from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosvc.audio import FRAME_SECONDS
from audiosvc.vitals import EncoderVitals

Work = Callable[[], list[bytes]]
Done = Callable[["list[bytes] | Failure"], None]

URGENT_SECONDS = 4 * FRAME_SECONDS
"""A queue this near to running dry is not left waiting for the beat."""

LOAD_SECONDS = 5.0
"""How far back the reported load looks, at least."""

STEADY_SECONDS = 10 * FRAME_SECONDS
"""Whose queue holds less than this says nothing of the threads: new, drawn as fast as it goes, or of a slow source."""


class IEncoders(Protocol):
    """Where a pipeline takes its jobs."""

    def submit(self, dry_at: float, work: Work, done: Done) -> None:
        """Run `work` in a thread; jobs whose `dry_at` (monotonic seconds) is nearest go first.

        `done` is called in the reactor's thread with the packets, or with the failure.
        """


class EncoderPool:
    """A fixed number of threads over one priority queue. `start` and `stop` bracket its life."""

    log = Logger()

    def __init__(self, reactor: IReactorFromThreads, threads: int) -> None:
        self._reactor = reactor
        self._jobs: PriorityQueue[tuple[float, int, float, Work | None, Done | None]] = PriorityQueue()
        self._order = itertools.count()
        self._results: deque[tuple[Done, list[bytes] | Failure]] = deque()
        self._waking = False
        self._beating = False
        self._threads = [threading.Thread(target=self._run, name=f"encoder-{i}", daemon=True) for i in range(threads)]
        self._busy = [0.0] * threads
        self._cpu = [0.0] * threads
        self._steady = [0] * threads
        self._tight = [0] * threads
        self._told = (0, 0)
        self.frames = 0
        """Encoded since start."""
        self._marks: deque[tuple[float, float]] = deque([(time.monotonic(), 0.0)])

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads after the job each is at; jobs still waiting are not run."""
        for _ in self._threads:
            self._jobs.put((-math.inf, next(self._order), 0.0, None, None))
        for thread in self._threads:
            thread.join()

    def beat(self, going: bool) -> None:
        """Hand out the results there are; while the beat is `going`, those that are not urgent wait for the next."""
        self._beating = going
        self._deliver()

    def submit(self, dry_at: float, work: Work, done: Done) -> None:
        self._jobs.put((dry_at, next(self._order), time.monotonic(), work, done))

    @property
    def cpu_seconds(self) -> float:
        """Of all threads since start, to the last job that is done."""
        return sum(self._cpu)

    def take_tightness(self) -> float:
        """The share of jobs since the last call that were done with less than half of their time left, 0 of none.

        A job's time is that from its being submitted until its pipeline runs dry.
        """
        (before, tight_before), self._told = self._told, (sum(self._steady), sum(self._tight))
        steady, tight = self._told
        return (tight - tight_before) / (steady - before) if steady > before else 0.0

    def vitals(self) -> EncoderVitals:
        now, busy = time.monotonic(), sum(self._busy)
        self._marks.append((now, busy))
        while len(self._marks) > 2 and now - self._marks[1][0] >= LOAD_SECONDS:
            self._marks.popleft()
        since, before = self._marks[0]
        span = (now - since) * len(self._threads)
        return EncoderVitals(
            threads=len(self._threads),
            load=min(1.0, (busy - before) / span) if span > 0 else 0.0,
            waiting=self._jobs.qsize(),
            frames=self.frames,
        )

    def _run(self) -> None:
        me = int(threading.current_thread().name.rpartition("-")[2])
        while True:
            dry_at, _, submitted, work, done = self._jobs.get()
            if work is None or done is None:
                return
            began = time.monotonic()
            try:
                result: list[bytes] | Failure = work()
            except Exception:
                result = Failure()
            now = time.monotonic()
            self._busy[me] += now - began
            self._cpu[me] = time.thread_time()
            if dry_at - submitted >= STEADY_SECONDS:
                self._steady[me] += 1
                self._tight[me] += dry_at - now < now - submitted
            self._results.append((done, result))
            # A wake-up costs the reactor as much as encoding a frame. One brings home whatever has been finished by
            # the time it runs; the result is in its place before the beat is looked at, so that none is left behind.
            urgent = not self._beating or dry_at - time.monotonic() < URGENT_SECONDS
            if urgent and not self._waking:
                self._waking = True
                self._reactor.callFromThread(self._deliver)

    def _deliver(self) -> None:
        self._waking = False
        while self._results:
            done, result = self._results.popleft()
            if not isinstance(result, Failure):
                self.frames += len(result)
            try:
                done(result)
            except Exception:
                # It is one pipeline's; the others' results must not wait for the next wake-up.
                self.log.failure("a pipeline could not take its packets")
