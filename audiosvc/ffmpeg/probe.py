"""A look at a source: its title, its artist and its duration, as FFmpeg describes it."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from audiosvc.errors import AudioServiceError, SourceTimeout
from audiosvc.ffmpeg.command import probe_argv
from audiosvc.ffmpeg.process import Child, Spawner
from audiosvc.ffmpeg.report import Report
from audiosvc.interfaces import IPermit
from audiosvc.sources.model import Source

PROBE_SECONDS = 15.0
"""How long a source may take to be described."""


def probe(
    reactor: IReactorTime,
    spawner: Spawner,
    ffmpeg: str,
    source: Source,
    permit: IPermit | None = None,
    timeout: float = PROBE_SECONDS,
) -> Deferred[Source]:
    """`source` with what its media say of themselves, its own title where they have none.

    `permit` is the way to those that are fetched. Fails with an `AudioServiceError`, `SourceTimeout` after `timeout`
    seconds.
    """
    return _Probe(reactor, spawner, ffmpeg, source, permit, timeout).answer


class _Probe:
    """One FFmpeg without an output, until it has exited or its time is up."""

    def __init__(
        self,
        reactor: IReactorTime,
        spawner: Spawner,
        ffmpeg: str,
        source: Source,
        permit: IPermit | None,
        timeout: float,
    ) -> None:
        self.answer: Deferred[Source] = Deferred()
        self._source = source
        self._permit = permit
        self._report = Report()
        self._child: Child | None = None
        self._deadline = reactor.callLater(timeout, self._late)
        self._pending = spawner.spawn(probe_argv(ffmpeg, source), self._report, self._started, self._fail, permit)

    def _started(self, child: Child) -> None:
        self._child = child
        child.gone.addCallback(lambda _: self._described(child))

    def _described(self, child: Child) -> None:
        child.pcm.close()
        if self.answer.called:
            return
        self._deadline.cancel()
        report, source = self._report, self._source
        if report.opened and report.codec is not None:
            title, uploader = report.title or source.title, report.artist or source.uploader
            duration = source.duration if report.duration is None else report.duration
            self.answer.callback(replace(source, title=title, uploader=uploader, duration=duration))
        else:
            refused = self._permit and (self._permit.denial or self._permit.trouble)
            self.answer.errback(refused or report.error())

    def _late(self) -> None:
        self._pending.cancel()
        if self._child is not None:
            self._child.kill()
        self.answer.errback(SourceTimeout("the source could not be described in time"))

    def _fail(self, error: AudioServiceError) -> None:
        self._deadline.cancel()
        self.answer.errback(error)
