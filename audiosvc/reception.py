"""What `audiosvc.play` hears of the sessions it started: measured, metered and recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from audiosvc.codec.ogg import MalformedPacket
from audiosvc.codec.opus import Decoder, opuslib
from audiosvc.codec.pcm import level
from audiosvc.recorder import Recorder, free_path
from audiosvc.view import Track
from audiosvc.wire.messages import Event, Ready, SessionEvent, UnknownEvent


class PlayFailed(Exception):
    """Told to the user as it stands; the exit status is 1."""


def recording_path(folder: Path, title: str) -> Path:
    """A file of that name that does not exist yet."""
    name = "".join(letter if letter.isalnum() or letter in " -_.,()'" else "_" for letter in title)
    return free_path(folder, name.encode()[:100].decode(errors="ignore").strip(" .") or "recording", " ")


class Reception:
    """What is heard, by session: told to the tracks, metered and recorded in a folder, which is made.

    Raises `PlayFailed` if that cannot be, and fails `all_ended` with it when a recording cannot go on.
    """

    def __init__(self, urls: Sequence[str], recordings: Path | None, now: Callable[[], float]) -> None:
        if recordings is not None:
            try:
                recordings.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _cannot_record(error) from error
        self.tracks = {f"play:{number}": Track(f"play:{number}", url) for number, url in enumerate(urls, 1)}
        self.recorded: dict[str, Path] = {}
        self._recordings = recordings
        self._now = now
        self._recorders: dict[str, Recorder] = {}
        self._decoders = {session_id: Decoder() for session_id in self.tracks}
        self._waiting: Deferred[None] | None = None
        self._left: Failure | None = None

    def on_event(self, event: Event | UnknownEvent) -> None:
        if not isinstance(event, SessionEvent):
            return
        track = self.tracks[event.session_id]
        track.event(event)
        if isinstance(event, Ready) and self._recordings is not None:
            path = recording_path(self._recordings, track.title)
            try:
                self._recorders[event.session_id] = Recorder(path, track.title)
            except OSError as error:
                self.leave(Failure(_cannot_record(error)))
            else:
                self.recorded[event.session_id] = path
        elif track.ended:
            self._close(event.session_id)
            self._check()

    def on_packet(self, session_id: str, payload: bytes) -> None:
        try:
            heard = level(self._decoders[session_id].decode(payload))
        except opuslib.OpusError:
            heard = -math.inf
        self.tracks[session_id].packet(self._now(), len(payload), heard)
        if recorder := self._recorders.get(session_id):
            try:
                recorder.packet(payload)
            except (OSError, MalformedPacket) as error:
                self.leave(Failure(_cannot_record(error)))
                self._close(session_id)

    def refused(self, session_id: str, message: str) -> None:
        """Its track will never begin."""
        self.tracks[session_id].fail(message)
        self._check()

    def all_ended(self) -> Deferred[None]:
        """Fires when no track plays any more; fails with what `leave` was called with. One at a time."""
        waiting: Deferred[None] = Deferred()
        if self._left is not None:
            waiting.errback(self._left)
        else:
            self._waiting = waiting
            self._check()
        return waiting

    def leave(self, reason: Failure) -> None:
        """Nothing more will be heard."""
        if self._left is None:
            self._left = reason
            if self._waiting is not None and not self._waiting.called:
                self._waiting.errback(reason)

    def close(self) -> None:
        for session_id in list(self._recorders):
            self._close(session_id)

    def _close(self, session_id: str) -> None:
        if recorder := self._recorders.pop(session_id, None):
            try:
                recorder.close()
            except OSError as error:
                self.leave(Failure(_cannot_record(error)))

    def _check(self) -> None:
        ended = all(track.ended for track in self.tracks.values())
        if ended and self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)


def _cannot_record(error: Exception) -> PlayFailed:
    return PlayFailed(f"cannot record: {error}")
