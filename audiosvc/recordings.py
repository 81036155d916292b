"""What `audiosvc.listen` hears: which tracks are written down, what is said of them, and when it has heard enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from audiosvc.codec.ogg import MalformedPacket
from audiosvc.recorder import Recorder
from audiosvc.wire.codec import WireError
from audiosvc.wire.messages import TERMINAL, Attached, Detached, Error, Event, Ready, SessionEvent, UnknownEvent


def sentence(event: Event | UnknownEvent) -> str:
    """An event as one line; what a source brought along is quoted, so that it cannot steer a terminal."""
    if isinstance(event, UnknownEvent):
        words, fields = [repr(event.type)], dict(event.fields)
    else:
        words, fields = [str(event.__struct_config__.tag)], msgspec.structs.asdict(event)
    if isinstance(event, SessionEvent):
        words.insert(0, fields.pop("session_id"))
    return " ".join([*words, *(f"{name}={value!r}" for name, value in fields.items() if value is not None)])


class Track:
    """A track that is being heard; its file is made with its first packet."""

    def __init__(self, open_file: Callable[[], Path | BinaryIO], title: str | None) -> None:
        self._open_file = open_file
        self._title = title
        self._recorder: Recorder | None = None

    def packet(self, payload: bytes) -> None:
        if self._recorder is None:
            self._recorder = Recorder(self._open_file(), self._title)
        self._recorder.packet(payload)

    def close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()


class Recordings:
    """What the tool hears, written down, until it has heard enough.

    `named` are the sessions to hear, none for all. `place` gives the file for a session's track. Without `follow` each
    named session is heard for one track, or all of them until nothing plays any more. `over` then fires with the exit
    status.
    """

    def __init__(
        self,
        named: Sequence[str],
        follow: bool,
        place: Callable[[str, str], Path | BinaryIO],
        tell: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self.over: Deferred[int] = Deferred()
        self._all = not named
        self._awaited = set(named)
        self._follow = follow
        self._place = place
        self._tell = tell
        self._warn = warn
        self._tracks: dict[str, Track] = {}
        self._status = 0

    def packet(self, session_id: str, payload: bytes) -> None:
        track = self._tracks.get(session_id)
        if track is None:
            return
        try:
            track.packet(payload)
        except MalformedPacket as error:
            self._fail(f"{session_id} cannot be recorded: {error}")
            self._end(session_id)
        except BrokenPipeError:
            self.finish()
        except OSError as error:
            self._fail(f"cannot write: {error}")
            self.finish()

    def event(self, event: Event | UnknownEvent) -> None:
        if self.over.called:
            return
        self._tell(sentence(event))
        if isinstance(event, (Ready, Attached)):
            self._begin(event)
        elif isinstance(event, (*TERMINAL, Detached)):
            if isinstance(event, Error):
                self._status = 1
            self._end(event.session_id)

    def lost(self, reason: Failure) -> None:
        if not self.over.called:
            broken = reason.check(WireError)
            self._fail(f"the daemon's stream is broken: {reason.value}" if broken else "the daemon went away")
            self.finish()

    def finish(self) -> None:
        """End every file properly, and be done."""
        if not self.over.called:
            for session_id in list(self._tracks):
                self._close(session_id)
            self.over.callback(self._status)

    def _begin(self, event: Ready | Attached) -> None:
        session_id, track_id = event.session_id, event.track_id
        self._close(session_id)
        if self._all or self._follow or session_id in self._awaited:
            title = event.title if isinstance(event, Ready) else None
            self._tracks[session_id] = Track(lambda: self._place(session_id, track_id), title)

    def _end(self, session_id: str) -> None:
        self._close(session_id)
        self._awaited.discard(session_id)
        if not (self._follow or self._awaited or self._tracks):
            self.finish()

    def _close(self, session_id: str) -> None:
        try:
            if track := self._tracks.pop(session_id, None):
                track.close()
        except BrokenPipeError:
            pass
        except OSError as error:
            self._fail(f"cannot write: {error}")

    def _fail(self, message: str) -> None:
        self._warn(message)
        self._status = 1
