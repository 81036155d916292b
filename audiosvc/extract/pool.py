"""A few workers, started when there is something to ask and kept: calls bounded in time, workers replaced at need."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from audiosvc.errors import (
    AudioServiceError,
    ExtractionFailed,
    ExtractionTimeout,
    ExtractionUnavailable,
    ShuttingDown,
    SourceRefused,
    SourceUnreachable,
    TooManyLookups,
)
from audiosvc.extract import results
from audiosvc.extract.calls import Call, Garbage, Listing, Operation, Track, Trouble, decode, decode_ready
from audiosvc.extract.process import Worker
from audiosvc.interfaces import IDoor, IPermit, IReactor
from audiosvc.sources.text import clean

CALL_SECONDS = 20.0
"""For one answer."""

START_SECONDS = 15.0
"""For a worker to be ready. It takes half a second where the machine is idle."""

WAIT_SECONDS = 20.0
"""For a call to get a worker."""

WAITING_MOST = 16
"""Calls that may wait."""

CALLS_MOST = 200
"""Of one worker; then another takes its place, whatever it may have leaked."""

READ_MOST = 32 * 1024 * 1024
"""Bytes that one call may be answered with by sites, all answers together, packed as they come. Pages with their
scripts and data are a few megabytes, feeds of thousands of episodes some more."""

IDLE_SECONDS = 600.0
"""After which a worker that nobody needs gives its memory back, some 80 MB."""

BACKOFF_LEAST, BACKOFF_MOST = 1.0, 60.0
"""Seconds until a start is tried again after one that failed; doubled each time."""


class Answer(NamedTuple):
    """`size` is in bytes, as it came."""

    found: Track | Listing
    size: int


@dataclass(eq=False)
class _Job:
    op: Operation
    target: str
    limit: int
    cookies: str | None
    answer: Deferred[Answer]
    timer: IDelayedCall | None = None
    permit: IPermit | None = None


@dataclass(eq=False)
class _Place:
    """What the pool knows of a worker. `job` is what it works on; `timer` ends its start, or its idleness."""

    worker: Worker
    permit: IPermit
    timer: IDelayedCall
    ready: bool = False
    job: _Job | None = None
    call: Call | None = None
    calls: int = field(default=0)


class Pool:
    """At most `count` workers, each the program `argv` with `environment` and what its permit adds to both.

    Every call goes out under a permit of its own, so that what it was refused is known to be its own, and its token is
    worth nothing once it is answered.
    """

    log = Logger()

    def __init__(
        self, reactor: IReactor, door: IDoor, environment: Mapping[str, str], count: int, argv: Sequence[str]
    ) -> None:
        self._reactor = reactor
        self._door = door
        self._environment = dict(environment)
        self._count = count
        self._argv = tuple(argv)
        self._places: dict[Worker, _Place] = {}
        self._waiting: deque[_Job] = deque()
        self._numbers = 0
        self._failures = 0
        self._again_at = 0.0
        self._stopped = False
        self.calls = 0
        self.restarts = 0

    @property
    def available(self) -> bool:
        """Whether the last start went well, or none was tried yet."""
        return not self._failures

    @property
    def workers(self) -> int:
        return len(self._places)

    @property
    def busy(self) -> int:
        return sum(place.job is not None for place in self._places.values())

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def ask(self, op: Operation, target: str, limit: int = 1, cookies: str | None = None) -> Deferred[Answer]:
        """The answer of some worker; fails with an `AudioServiceError`. Cancelled, it frees its place."""
        refusal = self._refusal()
        if refusal is not None:
            return fail(refusal)
        job = _Job(op, target, limit, cookies, Deferred(lambda _: self._cancelled(job)))
        job.timer = self._reactor.callLater(WAIT_SECONDS, self._waited, job)
        self._waiting.append(job)
        self._give_out()
        return job.answer

    def stop(self) -> Deferred[None]:
        """Kill every worker; fires when the last one is reaped. What was asked fails."""
        self._stopped = True
        self._fail_waiting(ShuttingDown)
        gone: list[Deferred[None]] = []
        for place in list(self._places.values()):
            if place.job is not None:
                self._settle(place, ShuttingDown())
            gone.append(place.worker.gone)
            self._end(place)
        done: Deferred[None] = DeferredList(gone).addCallback(lambda _: None)
        return done

    # --- jobs ------------------------------------------------------------------------------------------------------

    def _refusal(self) -> AudioServiceError | None:
        if self._stopped:
            return ShuttingDown()
        if len(self._waiting) >= WAITING_MOST:
            return TooManyLookups()
        if self._backing_off() and not self._alive():
            return ExtractionUnavailable()
        return None

    def _backing_off(self) -> bool:
        return bool(self._failures) and self._reactor.seconds() < self._again_at

    def _give_out(self) -> None:
        """Every waiting job its worker, as far as there are any; and start those that are lacking."""
        while self._waiting and not self._stopped:
            idle = next((p for p in self._alive() if p.ready and p.job is None), None)
            if idle is not None:
                self._give(idle)
                continue
            starting = sum(not place.ready for place in self._alive())
            if starting >= len(self._waiting) or len(self._places) >= self._count:
                return
            if self._backing_off():
                if not self._alive():
                    self._fail_waiting(ExtractionUnavailable)
                return
            self._start()

    def _give(self, place: _Place) -> None:
        job = self._waiting.popleft()
        assert job.timer is not None
        try:
            permit = self._door.permit(f"extract {job.op}", READ_MOST)
        except AudioServiceError as error:
            job.timer.cancel()
            job.answer.errback(error)
            return
        if tuple(permit.prefix) != place.worker.prefix:
            # It lives where the way out is no more.
            permit.close()
            self._waiting.appendleft(job)
            self._end(place)
            return
        self._cancel(place.timer)
        job.timer.reset(CALL_SECONDS)
        job.permit = permit
        self._numbers += 1
        proxy = permit.environment["http_proxy"]
        place.job, place.call = job, Call(self._numbers, job.op, job.target, job.limit, proxy, job.cookies)
        place.calls += 1
        self.calls += 1
        place.worker.ask(place.call)

    def _waited(self, job: _Job) -> None:
        """The time of `job` is up, in the queue or with its worker."""
        if job in self._waiting:
            self._waiting.remove(job)
            job.answer.errback(TooManyLookups())
            return
        place = self._place_of(job)
        # First, for who is told may ask again at once.
        self._end(place, "it gave no answer in time")
        self._settle(place, ExtractionTimeout())

    def _cancelled(self, job: _Job) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
            self._cancel(job.timer)
            return
        place = self._place_of(job)
        self._forget(place)
        self._end(place)

    def _place_of(self, job: _Job) -> _Place:
        return next(place for place in self._places.values() if place.job is job)

    def _settle(self, place: _Place, outcome: Answer | AudioServiceError) -> None:
        """Tell `place`'s job. What the door says explains a failure better than what came of it."""
        job = self._forget(place)
        if isinstance(outcome, Answer):
            job.answer.callback(outcome)
        else:
            assert job.permit is not None
            trouble = job.permit.trouble if isinstance(outcome, SourceUnreachable | SourceRefused) else None
            job.answer.errback(job.permit.denial or trouble or outcome)

    def _forget(self, place: _Place) -> _Job:
        job = place.job
        assert job is not None and job.permit is not None
        place.job = place.call = None
        self._cancel(job.timer)
        job.permit.close()
        return job

    def _fail_waiting(self, error: Callable[[], AudioServiceError]) -> None:
        waiting, self._waiting = self._waiting, deque()
        for job in waiting:
            self._cancel(job.timer)
            job.answer.errback(error())

    # --- workers ---------------------------------------------------------------------------------------------------

    def _alive(self) -> list[_Place]:
        return [place for place in self._places.values() if not place.worker.killed]

    def _start(self) -> None:
        try:
            permit = self._door.permit("extractor")
        except AudioServiceError as error:
            self._not_started(error.message)
            return
        prefix = tuple(permit.prefix)
        argv = [*prefix, *self._argv]
        worker = Worker(self._reactor, self, prefix)
        try:
            environment = {**self._environment, **permit.environment}
            self._reactor.spawnProcess(worker, argv[0], argv, environment, childFDs={0: "w", 1: "r", 2: "r"})
        except OSError as error:
            permit.close()
            self._not_started(error.strerror or str(error))
            return
        late = self._reactor.callLater(START_SECONDS, worker.kill, "it was not ready in time")
        self._places[worker] = _Place(worker, permit, late)

    def _not_started(self, why: str) -> None:
        self.restarts += 1
        delay = min(BACKOFF_LEAST * 2**self._failures, BACKOFF_MOST)
        self._failures = min(self._failures + 1, 10)
        self._again_at = self._reactor.seconds() + delay
        self.log.error("the extractor does not start, the next try is in {delay:g} s: {why}", delay=delay, why=why)

    def _end(self, place: _Place, why: str | None = None) -> None:
        self._cancel(place.timer)
        place.worker.kill(why)

    def worker_said(self, worker: Worker, line: bytes) -> None:
        """Of `process.IWorkerOwner`."""
        place = self._places[worker]
        if not place.ready:
            version = decode_ready(line)
            place.ready, self._failures = True, 0
            self.log.info("an extractor is ready, yt-dlp {version}", version=clean(version))
        else:
            self._answered(place, line)
        # Who was told may have asked again, and been given this very worker.
        if not worker.killed and place.job is None:
            self._cancel(place.timer)
            place.timer = self._reactor.callLater(IDLE_SECONDS, worker.kill)
            self._give_out()

    def _answered(self, place: _Place, line: bytes) -> None:
        """Raises `Garbage`; the job is told when the worker is gone."""
        if place.call is None:
            raise Garbage("it spoke without being asked")
        said, last = decode(line, place.call)
        if last or place.calls >= CALLS_MOST:
            self._end(place)
        self._settle(place, results.error(said) if isinstance(said, Trouble) else Answer(said, len(line)))

    def worker_gone(self, worker: Worker) -> None:
        """Of `process.IWorkerOwner`."""
        place = self._places.pop(worker)
        self._cancel(place.timer)
        place.permit.close()
        crashed = not worker.killed
        if place.job is not None:
            self._settle(place, ExtractionFailed("the extractor failed at this page"))
            worker.why = worker.why or "it crashed"
        if not place.ready and not self._stopped and (crashed or worker.why):
            self._not_started(worker.why or worker.last_words or "it exited")
        elif worker.why:
            self.restarts += 1
            self.log.warn("an extractor was lost: {why} ({last_words})", why=worker.why, last_words=worker.last_words)
        self._give_out()

    @staticmethod
    def _cancel(timer: IDelayedCall | None) -> None:
        if timer is not None and timer.active():
            timer.cancel()
