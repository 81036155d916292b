"""Several pieces played at once on a daemon of their own, from its start to its end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, TimeoutError, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import LoopingCall
from twisted.web.client import ResponseFailed

from audiosvc.listener import Listener
from audiosvc.reception import PlayFailed, Reception
from audiosvc.remote import Control, Daemon, Refused
from audiosvc.screen import Screen
from audiosvc.view import result
from audiosvc.wire.codec import WireError

GOODBYE_MOST = 2.0
"""Seconds a stopped session's last packets and its event may take."""

BUILT_IN = 2
"""Built-in pieces played where nothing is asked for."""


class Performance:
    """One run from start to end. However it ends, sessions are stopped, recordings closed and the daemon reaped."""

    def __init__(
        self,
        reactor: Any,
        screen: Screen,
        urls: Sequence[str],
        media_root: Path | None,
        recordings: Path | None,
    ) -> None:
        self._reactor = reactor
        self._screen = screen
        self._urls = urls
        self._media_root = media_root
        self._recordings = recordings
        self._daemon = Daemon(reactor)

    async def run(self, seconds: float | None) -> bool:
        """For `seconds` at most, or until all have ended. Whether anything was heard. Raises `PlayFailed`."""
        try:
            async with AsyncExitStack() as stack:
                return await self._run(stack, seconds)
        except (ConnectError, ConnectionClosed, ResponseFailed, Refused, WireError) as error:
            raise PlayFailed(self._daemon.report(f"the daemon failed: {error or type(error).__name__}")) from error

    async def _run(self, stack: AsyncExitStack, seconds: float | None) -> bool:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="audiosvc-")))
        self._daemon.start_in(folder, *([] if self._media_root is None else ["--media-root", str(self._media_root)]))
        stack.push_async_callback(self._daemon.stop)
        control = Control.at(self._reactor, self._daemon.api)
        await self._daemon.until_healthy(control)

        urls = self._urls or (await control.built_in())[:BUILT_IN]
        reception = Reception(urls, self._recordings, time.monotonic)
        stack.callback(self._conclude, reception)
        listener = Listener(reception.on_packet, reception.on_event, reception.leave)
        await connectProtocol(UNIXClientEndpoint(self._reactor, str(self._daemon.socket)), listener)
        stack.callback(listener.close)
        drawing = LoopingCall(lambda: self._screen.draw(list(reception.tracks.values()), time.monotonic()))
        stack.push_async_callback(self._stop_all, control, reception)
        stack.callback(_stop, drawing)

        for session_id in reception.tracks:
            listener.subscribe(session_id)
        await gatherResults([Deferred.fromCoroutine(_begin(control, reception, id_)) for id_ in reception.tracks])
        drawn: Deferred[Any] = drawing.start(self._screen.interval)
        drawn.addErrback(reception.leave)
        ended = reception.all_ended()
        if seconds is not None:
            ended.addTimeout(seconds, self._reactor)
        with suppress(TimeoutError):
            await ended
        return any(track.arrivals.packets for track in reception.tracks.values())

    async def _stop_all(self, control: Control, reception: Reception) -> None:
        playing = [session_id for session_id, track in reception.tracks.items() if not track.ended]
        await DeferredList([Deferred.fromCoroutine(control.stop(id_)) for id_ in playing], consumeErrors=True)
        # A connection that is lost, or a session that does not say goodbye, is no reason not to go on ending.
        await reception.all_ended().addTimeout(GOODBYE_MOST, self._reactor).addErrback(lambda _: None)

    def _conclude(self, reception: Reception) -> None:
        reception.close()
        tracks = list(reception.tracks.values())
        self._screen.draw(tracks, time.monotonic())
        for track in tracks:
            recorded = reception.recorded.get(track.session_id)
            self._screen.write(f"{result(track, None if recorded is None else str(recorded))}\n")


def _stop(drawing: LoopingCall) -> None:
    if drawing.running:
        drawing.stop()


async def _begin(control: Control, reception: Reception, session_id: str) -> None:
    try:
        await control.play(session_id, reception.tracks[session_id].url)
    except Refused as error:
        reception.refused(session_id, str(error))
