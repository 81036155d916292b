"""One of the extractor's child programs, from its spawn until it is reaped."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from audiosvc.extract.calls import LINE_MOST, Call, Garbage, encode
from audiosvc.sources.text import clean

STDERR_MOST = 1024 * 1024
"""Bytes that one may say on standard error in its life."""

STDERR_KEPT = 2048

PIPES_SECONDS = 1.0
"""How long the pipes of a dead one are read."""


class IWorkerOwner(Protocol):
    """Who gives it work."""

    def worker_said(self, worker: Worker, line: bytes) -> None:
        """A line of standard output. A `Garbage` raised here ends the worker."""

    def worker_gone(self, worker: Worker) -> None:
        """It is reaped, whether killed or not."""


class Worker(ProcessProtocol):
    """A child that reads calls and writes answers. `prefix` is what its command line began with: where it lives.

    `why` says, for the log, what was wrong with it, None while nothing is.
    """

    def __init__(self, reactor: IReactorTime, owner: IWorkerOwner, prefix: tuple[str, ...]) -> None:
        self.prefix = prefix
        self.gone: Deferred[None] = Deferred()
        self.killed = False
        self.why: str | None = None
        self._reactor = reactor
        self._owner = owner
        self._closing: IDelayedCall | None = None
        self._line = bytearray()
        self._heard = 0
        self._stderr = b""
        self._reaped = False
        self._pid: int | None = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._pid = self.transport.pid

    @property
    def last_words(self) -> str:
        """The last line on standard error, which may quote what somebody else wrote."""
        lines = self._stderr.decode("utf-8", "replace").strip().splitlines()
        return clean(lines[-1]) if lines else ""

    def ask(self, call: Call) -> None:
        assert self.transport is not None
        self.transport.write(encode(call))

    def kill(self, why: str | None = None) -> None:
        """KILL, it and all that it started."""
        self.why = self.why or why
        self._line.clear()
        if self.killed or self._reaped:
            return
        self.killed = True
        self._signal_all()

    def outReceived(self, data: bytes) -> None:
        while data and not self.killed:
            head, newline, data = data.partition(b"\n")
            self._line += head
            if len(self._line) > LINE_MOST:
                self.kill("its answer is too long")
            elif newline:
                line = bytes(self._line)
                self._line.clear()
                try:
                    self._owner.worker_said(self, line)
                except Garbage as error:
                    self.kill(str(error))

    def errReceived(self, data: bytes) -> None:
        self._heard += len(data)
        self._stderr = (self._stderr + data)[-STDERR_KEPT:]
        if self._heard > STDERR_MOST:
            self.kill("it says too much on standard error")

    def processExited(self, reason: Failure) -> None:
        """Reaped. What it said last may still be in its pipes, which live on in what it started and hid from us."""
        self._reaped = True
        self._signal_all()
        self._closing = self._reactor.callLater(0 if self.killed else PIPES_SECONDS, self._close)

    def processEnded(self, reason: Failure) -> None:
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        self._owner.worker_gone(self)
        self.gone.callback(None)

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def _signal_all(self) -> None:
        """To its process group once it leads one, which is the first thing it does; before that there is only it."""
        pid = self._pid
        if pid is None:
            return
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            if not self._reaped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
