"""The log's one observer: what of all events is written, as what, and where."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from twisted.logger import ILogObserver, LogEvent, formatEvent
from twisted.python.components import Componentized
from zope.interface import implementer

from audiosvc.log.levels import Levels
from audiosvc.log.lines import Entry, clean, clean_lines, json_line, text_line, value
from audiosvc.log.sinks import File, sink_for
from audiosvc.log.writer import Writer
from audiosvc.vitals import LogVitals

FORMATS: Mapping[str, Callable[[Entry], str]] = {"text": text_line, "json": json_line}

_OF_OLD = frozenset(("message", "time", "system", "format", "isError", "failure", "why", "logLevel"))
"""What `twisted.python.log` puts into its events beside what they tell."""


@implementer(ILogObserver)
class Journal:
    """Lines in `format` for events that `levels` let through, once it is installed."""

    def __init__(self, format: str, levels: Levels) -> None:
        self.levels = levels
        self._format = format
        self._line = FORMATS[format]
        self._writer: Writer | None = None

    def install(self, application: Componentized, twistd: Mapping[str, Any]) -> None:
        """Be what `application` logs with, where `twistd`'s options say; an observer that these name stays alone."""
        if twistd.get("logger") is not None:
            return
        sink = sink_for(twistd)
        self._writer = writer = Writer(sink)
        application.setComponent(ILogObserver, self)
        if isinstance(sink, File) and signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:

            def rotate() -> None:
                with suppress(OSError):
                    sink.rotate()  # type: ignore[no-untyped-call]

            # As twistd does.
            signal.signal(signal.SIGUSR1, lambda *_: writer.do(rotate))

    def start(self) -> None:
        """Keep whoever logs from having to wait for that."""
        if self._writer is not None:
            self._writer.start()

    def vitals(self) -> LogVitals:
        writer = self._writer
        return LogVitals(
            format=self._format,
            level=self.levels.level,
            sessions=dict(self.levels.sessions),
            written=0 if writer is None else writer.written,
            dropped=0 if writer is None else writer.dropped,
        )

    def __call__(self, event: LogEvent) -> None:
        level = getattr(event.get("log_level"), "name", "info")
        if self._writer is not None and self.levels.lets(level, event.get("session")):
            told = entry(event, level)
            if told.message or told.traceback:
                self._writer.write(self._line(told), level)


def entry(event: LogEvent, level: str) -> Entry:
    """What `event` tells. The message is made of fields that are clean, and no field is ever a format."""
    dropped = _OF_OLD if "isError" in event else frozenset[str]()
    fields = {
        name: value(name, thing) for name, thing in event.items() if not name.startswith("log_") and name not in dropped
    }
    texts = {name: fields[name] for name, thing in event.items() if name in fields and isinstance(thing, str)}
    failure = event.get("log_failure")
    return Entry(
        time=event.get("log_time", None) or time.time(),
        level=level,
        logger=clean(str(event.get("log_namespace", "-"))),
        message=clean(formatEvent({**event, **texts})),
        fields=fields,
        traceback=None if failure is None else clean_lines(failure.getTraceback()),
    )
