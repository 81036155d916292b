"""Plays several pieces at once and shows it: `python -m audiosvc.play [--seconds N] [FILE_OR_URL ...]`.

The whole system in one command: a daemon of its own as a child, one session per piece started over HTTP, the
sound received over the Unix socket, measured, shown line by line and recorded.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from twisted.internet.defer import Deferred, DeferredList, TimeoutError, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol, quoteStringArgument
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed

from audiosvc.codec.ogg import MalformedPacket
from audiosvc.codec.opus import Decoder, opuslib
from audiosvc.codec.pcm import level
from audiosvc.listen import Listener, Recorder
from audiosvc.playground import PAGE_PORT, NoPage, Playground, build, find_node
from audiosvc.remote import Control, Daemon, Refused
from audiosvc.view import Track, line, printable, result, sentence
from audiosvc.wire.codec import WireError
from audiosvc.wire.messages import Event, Ready, SessionEvent, UnknownEvent

START_MOST = 15.0
"""Seconds the daemon may take until it answers."""

START_INTERVAL = 0.05

GOODBYE_MOST = 2.0
"""Seconds a stopped session's last packets and its event may take."""

LIVE_INTERVAL, PLAIN_INTERVAL = 0.2, 2.0
"""Seconds between two pictures on a terminal, and between two lines elsewhere."""

BUILT_IN = 2
"""Built-in pieces played where nothing is asked for."""

NODE = Path("node")
"""Where the gateway is, seen from the folder of a checkout; the page is served from there only."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class PlayFailed(Exception):
    """Told to the user as it stands; the exit status is 1."""


@dataclass(frozen=True)
class Options:
    urls: list[str]
    """URLs and absolute paths; none means the built-in pieces."""
    media_root: Path | None
    """The folder that holds all the files among them."""
    seconds: float | None
    recordings: Path | None
    plain: bool
    page: bool
    """Serve the playground instead of playing here."""
    port: int


def parse(arguments: Sequence[str]) -> Options:
    """Exits with status 2 and a message for what cannot be meant."""
    parser = argparse.ArgumentParser("python -m audiosvc.play", description="Plays several pieces at once.")
    parser.add_argument("pieces", nargs="*", metavar="FILE_OR_URL", help="default: two built-in pieces")
    parser.add_argument(
        "--seconds", type=_seconds, metavar="N", help="end after N seconds; default: when all have ended"
    )
    parser.add_argument("--record", type=Path, default=Path("recordings"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--no-record", action="store_true", help="keep nothing")
    parser.add_argument(
        "--no-page", action="store_true", help="play here, in the terminal, instead of serving the page"
    )
    parser.add_argument("--port", type=int, default=PAGE_PORT, help="of the page; default: %(default)s")
    parser.add_argument("--plain", action="store_true", help="a line now and then, as when the output is no terminal")
    given = parser.parse_args(arguments)
    urls, folders = [], []
    for piece in given.pieces:
        path = Path(piece)
        if path.is_file():
            path = path.resolve()
            folders.append(path.parent)
            urls.append(str(path))
        elif _URL.match(piece):
            urls.append(piece)
        else:
            parser.error(f"{piece}: no such file")
    return Options(
        urls=urls,
        media_root=Path(os.path.commonpath(folders)) if folders else None,
        seconds=given.seconds,
        recordings=None if given.no_record else given.record,
        plain=given.plain,
        page=not (given.no_page or given.pieces) and (NODE / "package.json").is_file(),
        port=given.port,
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError
    return seconds


def recording_path(folder: Path, title: str) -> Path:
    """A file of that name that does not exist yet: a recording never replaces anything."""
    name = "".join(letter if letter.isalnum() or letter in " -_.,()'" else "_" for letter in title)
    name = name.encode()[:100].decode(errors="ignore").strip(" .") or "recording"
    path, number = folder / f"{name}.ogg", 2
    while path.exists():
        path, number = folder / f"{name} {number}.ogg", number + 1
    return path


class Screen:
    """Draws tracks: in place on a terminal, else as lines that follow each other."""

    def __init__(self, out: TextIO, live: bool) -> None:
        self._out, self._live = out, live
        self._drawn = 0
        self.interval = LIVE_INTERVAL if live else PLAIN_INTERVAL

    def draw(self, tracks: Sequence[Track], now: float) -> None:
        if not self._live:
            self.write("".join(f"{sentence(track, now)}\n" for track in tracks))
            return
        # One column stays free: some terminals wrap when the last one is written to.
        columns = shutil.get_terminal_size().columns - 1
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self.write(up + "".join(f"{line(track, now, columns)}\x1b[K\n" for track in tracks))
        self._drawn = len(tracks)

    def write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


class Reception:
    """What is heard, by session: told to the tracks, metered and recorded."""

    def __init__(self, urls: Sequence[str], recordings: Path | None, now: Callable[[], float]) -> None:
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


class Performance:
    """One run from start to end. However it ends, sessions are stopped, recordings closed and the daemon reaped."""

    def __init__(self, reactor: Any, options: Options, screen: Screen) -> None:
        self._reactor = reactor
        self._options = options
        self._screen = screen
        self._daemon = Daemon(reactor)

    async def run(self) -> bool:
        """Whether anything was heard. Raises `PlayFailed`."""
        try:
            async with AsyncExitStack() as stack:
                return await self._run(stack)
        except (ConnectError, ConnectionClosed, ResponseFailed, Refused, WireError) as error:
            last = "".join(f"\n    {printable(text)}" for text in self._daemon.lines)
            raise PlayFailed(f"the daemon failed: {error or type(error).__name__}; its last lines:{last}") from error

    async def _run(self, stack: AsyncExitStack) -> bool:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="audiosvc-")))
        api, socket = str(folder / "api.sock"), str(folder / "audio.sock")
        arguments = ["--api", f"unix:{quoteStringArgument(api)}:mode=600", "--socket", socket]
        if self._options.media_root is not None:
            arguments += ["--media-root", str(self._options.media_root)]
        self._daemon.start(*arguments)
        stack.push_async_callback(self._daemon.stop)
        control = Control.at(self._reactor, api)
        await self._until_healthy(control)

        urls = self._options.urls or (await control.built_in())[:BUILT_IN]
        reception = Reception(urls, self._recordings(), time.monotonic)
        stack.callback(self._conclude, reception)
        listener = Listener(reception.on_packet, reception.on_event, reception.leave)
        await connectProtocol(UNIXClientEndpoint(self._reactor, socket), listener)
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
        if self._options.seconds is not None:
            ended.addTimeout(self._options.seconds, self._reactor)
        with suppress(TimeoutError):
            await ended
        return any(track.arrivals.packets for track in reception.tracks.values())

    def _recordings(self) -> Path | None:
        folder = self._options.recordings
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _cannot_record(error) from error
        return folder

    async def _until_healthy(self, control: Control) -> None:
        given_up = time.monotonic() + START_MOST
        while not await control.healthy():
            if self._daemon.ended:
                raise Refused("it did not start")
            if time.monotonic() > given_up:
                raise Refused(f"it did not answer within {START_MOST:.0f} s")
            await deferLater(self._reactor, START_INTERVAL)

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


def _page(reactor: Any, options: Options, screen: Screen) -> Callable[[], Coroutine[Any, Any, bool]]:
    """The playground, ready to run; finds Node and builds the gateway before anything is started."""

    def tell(text: str) -> None:
        screen.write(f"{text}\n")

    playground = Playground(reactor, find_node(), build(NODE, tell), options.port, tell)

    async def run() -> bool:
        await playground.run(options.seconds)
        return True

    return run


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 if anything was heard or the user ended it, 1 if not, 2 for a wrong command line."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    from twisted.internet import reactor as installed

    reactor: Any = installed
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    screen = Screen(sys.stdout, sys.stdout.isatty() and not options.plain)
    try:
        run = _page(reactor, options, screen) if options.page else Performance(reactor, options, screen).run
    except NoPage as error:
        print(error, file=sys.stderr)
        return 1
    interrupted = False
    status = 1

    async def perform() -> None:
        nonlocal status
        try:
            status = 0 if await run() or interrupted else 1
        except Exception as error:
            if interrupted:
                status = 0
            elif isinstance(error, (PlayFailed, NoPage)):
                print(error, file=sys.stderr)
            else:
                traceback.print_exc()
        finally:
            reactor.stop()

    def start() -> None:
        job = Deferred.fromCoroutine(perform())

        def interrupt() -> None:
            nonlocal interrupted
            if not interrupted:
                interrupted = True
                job.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: reactor.callFromThread(interrupt))

    reactor.callWhenRunning(start)
    reactor.run()
    return status


if __name__ == "__main__":
    sys.exit(main())
