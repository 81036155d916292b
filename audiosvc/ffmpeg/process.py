"""One FFmpeg child, from spawn to reaping, and the gate through which all of them start."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosvc.audio import FRAME_SECONDS
from audiosvc.errors import AudioServiceError, NoFds, SpawnFailed
from audiosvc.ffmpeg.pipes import PIPE_BYTES, PullPipe, make_pipe
from audiosvc.ffmpeg.report import Report
from audiosvc.hardening import limit, prefer_for_oom
from audiosvc.interfaces import IPermit, IReactor
from audiosvc.vitals import ChildrenVitals

SPAWNS_PER_TICK = 4
SPAWN_SECONDS = 0.005
"""Starts in the time of one frame, and the time they may take together.

A spawn blocks the reactor for 0.3 ms, and on a busy machine for ten, which everybody who plays would hear.
"""

STARTING_MOST = 4
"""Children that may be starting at once: two for each core of a small machine."""

STARTING_SECONDS = 0.1
"""How long one counts as starting that says nothing: who waits for a server takes no processor from others."""

SETTLING_SECONDS = 1.0
"""How long a child works ahead after its start: the pipe, what is read of it and what is encoded hold 3 s of sound."""

LOOKED_AT = 2
"""Children whose memory is looked at in one go, four times a second: three system calls each, some 20 us."""

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

NICE = 10
"""Added to the children's niceness. They work a second and more ahead, the encoders half a second. At 5 a burst of 200
plays held up the beat of those who played by 50 to 60 ms, at 10 by 40 to 44."""

OOM_AGAIN_SECONDS = 0.1
"""When to tell the kernel again that this child goes first; entering the namespaces takes 1 ms."""


class Child(ProcessProtocol):
    """A running FFmpeg. Its PCM is in `pcm`, what it says goes to `report`, `gone` fires once it is reaped.

    `signal` is then the signal that ended it, None where it exited by itself.
    """

    def __init__(self, pcm: PullPipe, messages: PullPipe, report: Report) -> None:
        self.pcm = pcm
        self.report = report
        self.gone: Deferred[None] = Deferred()
        self.signal: int | None = None
        self.when_settled: Callable[[], None] | None = None
        """Called when it says something for the first time: most of the work of its start is done."""
        self.began = 0.0
        self.rss_bytes = 0
        """Resident memory at the last look."""
        self._worked = 0.0
        self._told = 0.0
        self._messages = messages

    @property
    def pid(self) -> int | None:
        """None once it is reaped."""
        return self.transport.pid if self.transport is not None else None

    def connectionMade(self) -> None:
        self.hear()

    def hear(self) -> None:
        """Take in what FFmpeg has said by now; it describes its input before it writes the first sample."""
        while said := self._messages.read():
            settled, self.when_settled = self.when_settled, None
            if settled is not None:
                settled()
            self.report.feed(said)
        if said is None:
            # It is about to end, or has just done so.
            self.look_at_work()
            self._messages.close()
        else:
            self._messages.when_readable(self.hear)

    def take_work(self) -> float:
        """CPU seconds that it took since the last call."""
        worked = self.look_at_work()
        taken, self._told = worked - self._told, worked
        return taken

    @property
    def cpu_seconds(self) -> float:
        """That it had taken at the last look."""
        return self._worked

    def look_at_work(self) -> float:
        """CPU seconds that it took; once it is reaped, those until the last look."""
        assert self.transport is not None
        if self.transport.pid is not None:
            # A process's clock, as clock_getcpuclockid(3) makes its number.
            with contextlib.suppress(OSError):
                self._worked = time.clock_gettime(~self.transport.pid << 3 | 2)
        return self._worked

    def look_at_memory(self) -> int:
        """Its resident memory in bytes; 0 once it has ended."""
        assert self.transport is not None
        self.rss_bytes = 0
        if self.transport.pid is not None:
            with contextlib.suppress(OSError):
                statm = os.open(f"/proc/{self.transport.pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    self.rss_bytes = int(os.read(statm, 256).split()[1]) * PAGE_BYTES
                finally:
                    os.close(statm)
        return self.rss_bytes

    def kill(self) -> None:
        """KILL: an FFmpeg that waits on a full pipe does not hear TERM for seconds. Reaped within some 6 ms."""
        assert self.transport is not None
        self.look_at_work()
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    def processEnded(self, reason: Failure) -> None:
        self.signal = getattr(reason.value, "signal", None)
        self.hear()
        self._messages.close()
        self.gone.callback(None)


class Pending:
    """A start that waits at the gate; `cancel` before it came to it leaves no trace."""

    def __init__(
        self,
        argv: list[str],
        report: Report,
        started: Callable[[Child], None],
        failed: Callable[[AudioServiceError], None],
        permit: IPermit | None,
    ) -> None:
        self.argv = argv
        self.report = report
        self.started = started
        self.failed = failed
        self.permit = permit
        self.waits = True

    def cancel(self) -> None:
        if self.waits:
            self.waits = False
            self.close_permit()

    def close_permit(self) -> None:
        if self.permit is not None:
            self.permit.close()


class Spawner:
    """Starts children in order of asking, a few a tick, and knows every one that is not yet reaped.

    `environment` is all they get of one, but for what a permit adds; `hardening` goes before each one's command line.
    At most `starting_most` are starting at once: loading and probing keep a core busy for 12 ms and more, and more of
    them than there are cores would only push aside those who play, and each other.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactor,
        environment: Mapping[str, str],
        hardening: Sequence[str] = (),
        starting_most: int = STARTING_MOST,
    ) -> None:
        self._reactor = reactor
        self._starting_most = starting_most
        self._starting: dict[Child, IDelayedCall] = {}
        self._environment = dict(environment)
        self._hardening = tuple(hardening)
        self._waiting: deque[Pending] = deque()
        self._left = SPAWNS_PER_TICK
        self._left_seconds = SPAWN_SECONDS
        self._refill: IDelayedCall | None = None
        self._children: set[Child] = set()
        self._to_look_at: deque[Child] = deque()
        self._ended_seconds = 0.0
        self.spawns = 0
        self.failures = 0
        """Children that could not be started."""

    @property
    def children(self) -> int:
        """Children that are not yet reaped."""
        return len(self._children)

    def take_work(self) -> tuple[float, float]:
        """CPU seconds of the children since the last call: of those that are at it for a while, and of the others."""
        settled = new = 0.0
        before = self._reactor.seconds() - SETTLING_SECONDS
        for child in self._children:
            if child.began < before:
                settled += child.take_work()
            else:
                new += child.take_work()
        return settled, new

    def look_at_memory(self) -> None:
        """At that of a few children, each time at the next ones: reading it of two hundred would hold up the beat."""
        if not self._to_look_at:
            self._to_look_at.extend(self._children)
        for _ in range(min(LOOKED_AT, len(self._to_look_at))):
            self._to_look_at.popleft().look_at_memory()

    def vitals(self) -> ChildrenVitals:
        memory = [child.rss_bytes for child in self._children]
        cpu = self._ended_seconds + sum(child.cpu_seconds for child in self._children)
        return ChildrenVitals(round(cpu, 6), sum(memory), max(memory, default=0))

    def spawn(
        self,
        argv: list[str],
        report: Report,
        started: Callable[[Child], None],
        failed: Callable[[AudioServiceError], None],
        permit: IPermit | None = None,
    ) -> Pending:
        """Start `argv` when its turn comes: `started(child)` or `failed(error)`, perhaps before this returns.

        `permit` is the child's way to the network. It is closed once the child is reaped, or when none comes to be.
        """
        pending = Pending(argv, report, started, failed, permit)
        self._waiting.append(pending)
        self._run()
        return pending

    def stop(self) -> Deferred[list[tuple[bool, None]]]:
        """Kill every child; fires when the last one is reaped. May be cancelled."""
        for pending in self._waiting:
            pending.cancel()
        self._waiting.clear()
        if self._refill is not None:
            self._refill.cancel()
            self._refill = None
        for child in self._children:
            child.kill()
        return DeferredList([child.gone for child in self._children], consumeErrors=True)

    def _run(self) -> None:
        while self._waiting and self._left and self._left_seconds > 0 and len(self._starting) < self._starting_most:
            pending = self._waiting.popleft()
            if pending.waits:
                self._left -= 1
                began = self._reactor.seconds()
                self._start(pending)
                self._left_seconds -= self._reactor.seconds() - began
        if self._left < SPAWNS_PER_TICK and self._refill is None:
            self._refill = self._reactor.callLater(FRAME_SECONDS, self._next_tick)

    def _next_tick(self) -> None:
        self._refill = None
        self._left, self._left_seconds = SPAWNS_PER_TICK, SPAWN_SECONDS
        self._run()

    def _settled(self, child: Child) -> None:
        """`child` has started, or taken its time for it: the next one's turn."""
        child.when_settled = None
        holds = self._starting.pop(child, None)
        if holds is not None:
            if holds.active():
                holds.cancel()
            if self._waiting:
                self._run()

    def _start(self, pending: Pending) -> None:
        pending.waits = False
        try:
            child = self._spawn(pending)
        except OSError as error:
            self.failures += 1
            self.log.error("cannot start FFmpeg: {error}", error=str(error))
            pending.close_permit()
            why = NoFds if error.errno in (errno.EMFILE, errno.ENFILE) else SpawnFailed
            pending.failed(why(f"FFmpeg could not be started: {error.strerror or error}"))
        else:
            pending.started(child)

    def _spawn(self, pending: Pending) -> Child:
        permit = pending.permit
        way_out = permit.environment if permit is not None else {}
        entry = permit.prefix if permit is not None else ()
        argv = [*entry, *self._hardening, *pending.argv]
        with ExitStack() as ours, ExitStack() as theirs:
            null = os.open(os.devnull, os.O_RDONLY)
            theirs.callback(os.close, null)
            pcm, pcm_writing = make_pipe(PIPE_BYTES)
            ours.callback(os.close, pcm)
            theirs.callback(os.close, pcm_writing)
            messages, messages_writing = make_pipe()
            ours.callback(os.close, messages)
            theirs.callback(os.close, messages_writing)
            child = Child(PullPipe(self._reactor, pcm), PullPipe(self._reactor, messages), pending.report)
            with _in_root():
                self._reactor.spawnProcess(
                    child,
                    argv[0],
                    argv,
                    {**self._environment, **way_out},
                    childFDs={0: null, 1: pcm_writing, 2: messages_writing},
                )
            ours.pop_all()
        self.spawns += 1
        self._children.add(child)
        child.began = self._reactor.seconds()
        self._starting[child] = self._reactor.callLater(STARTING_SECONDS, self._settled, child)
        child.when_settled = partial(self._settled, child)
        child.gone.addCallback(lambda _: self._reaped(child, pending))
        try:
            self._tame(child)
        except OSError:
            child.pcm.close()
            child.kill()
            raise
        return child

    def _reaped(self, child: Child, pending: Pending) -> None:
        self._children.discard(child)
        self._ended_seconds += child.cpu_seconds
        pending.close_permit()
        self._settled(child)

    def _tame(self, child: Child) -> None:
        """Bound `child`, and schedule it as a batch job.

        It works ahead, and need not push aside what paces and encodes to do so.
        """
        if child.transport is None or child.transport.pid is None:
            return
        pid = child.transport.pid
        limit(pid)
        with contextlib.suppress(OSError):
            os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0) + NICE)
        if not prefer_for_oom(pid):
            again = self._reactor.callLater(OOM_AGAIN_SECONDS, prefer_for_oom, pid)
            child.gone.addCallback(lambda _: again.cancel() if again.active() else None)


@contextlib.contextmanager
def _in_root() -> Iterator[None]:
    """Be in `/` while a child is spawned, which then is there too.

    Twisted's own argument for it makes it fork, which stops the reactor for 2.4 ms of a daemon of 100 MB, and not 0.1.
    """
    here = os.open(".", os.O_PATH)
    try:
        os.chdir("/")
        try:
            yield
        finally:
            os.fchdir(here)
    finally:
        os.close(here)
