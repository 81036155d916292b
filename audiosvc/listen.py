"""Hears sessions and writes them down as Ogg Opus: `python -m audiosvc.listen [SESSION ...] -o FILE`.

`python -m audiosvc.listen guild-a -o - | ffplay -` makes one heard. Where the reader of standard output stands
still, this tool does too, the socket fills, and the daemon holds the session.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure

from audiosvc import __version__
from audiosvc.audio import FRAME_BYTES
from audiosvc.codec.ogg import MalformedPacket, OggDemuxer, OggMuxer, begins_stream, end_after, is_page
from audiosvc.errors import InvalidSessionId
from audiosvc.ids import session_id
from audiosvc.paths import SOCKET_PATH_MOST, default_socket
from audiosvc.wire.codec import Decoder, WireError, encode_line
from audiosvc.wire.messages import (
    TERMINAL,
    Attached,
    Credit,
    Detached,
    Error,
    Event,
    Greeting,
    Packet,
    Ready,
    SessionEvent,
    Subscribe,
    UnknownEvent,
)

NAME_MOST = 64
"""Characters a track id gives to a file's name."""


class Listener(Protocol):
    """One connection to the daemon, as its client. What it hears goes to the callbacks, in the stream's order.

    `on_lost` is called once, when the connection is gone; the failure is a `WireError` if the stream was broken.
    """

    def __init__(
        self,
        on_packet: Callable[[str, bytes], None],
        on_event: Callable[[Event | UnknownEvent], None],
        on_lost: Callable[[Failure], None],
    ) -> None:
        self._on_packet = on_packet
        self._on_event = on_event
        self._on_lost = on_lost
        self._decoder = Decoder()
        self._broken: WireError | None = None

    def hello(self, client: str) -> None:
        """Say who this is, `name/version`."""
        self._send(Greeting(client))

    def subscribe(self, session_id: str) -> None:
        """Hear this session; from the first one on, only what is named."""
        self._send(Subscribe(session_id))

    def credit(self, session_id: str, packets: int) -> None:
        """Take up to `packets` more packets of the session; from then on it is no longer paced in real time."""
        self._send(Credit(session_id, packets))

    def close(self) -> None:
        """Leave, after what was said is sent."""
        if self.transport is not None:
            self.transport.loseConnection()

    def _send(self, line: Greeting | Subscribe | Credit) -> None:
        assert self.transport is not None, "not connected"
        self.transport.write(encode_line(line))

    def dataReceived(self, data: bytes) -> None:
        try:
            received = self._decoder.feed(data)
        except WireError as error:
            received, self._broken = error.decoded, self._broken or error
        for message in received:
            if isinstance(message, Packet):
                self._on_packet(message.session_id, message.payload)
            else:
                self._on_event(message)
        if self._broken is not None:
            self.close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._on_lost(Failure(self._broken) if self._broken is not None else reason)


class Recorder:
    """One track into one Ogg Opus stream: Opus packets are put into pages, Ogg pages written as they are.

    A path is opened here, replaced if it is there, and closed by `close`; an open file only gets this stream.
    """

    def __init__(self, target: Path | BinaryIO, title: str | None = None) -> None:
        self._muxer = OggMuxer(secrets.randbits(32), title=title)
        self._demuxer = OggDemuxer()
        self._begun = False
        self._page = b""
        """The last page that was written as it came."""
        self._owned = isinstance(target, Path)
        self._file: BinaryIO = target.open("wb") if isinstance(target, Path) else target

    def packet(self, payload: bytes) -> None:
        """Write a packet and flush it. Raises `OSError`, and `MalformedPacket` for what is neither Opus nor Ogg."""
        if not is_page(payload):
            if len(payload) == FRAME_BYTES:
                raise MalformedPacket("the payload is PCM, not Opus")
            self._add(payload)
        elif self._page or (begins_stream(payload) and not self._begun):
            self._page = payload
            self._write(payload)
        else:
            # Heard from its middle on, a stream lacks its headers: the packets go into one of our own.
            for found in self._demuxer.feed(payload):
                if not found.data.startswith((b"OpusHead", b"OpusTags")):
                    self._add(found.data)

    def close(self) -> None:
        """End the stream properly. Raises `OSError`."""
        try:
            if self._page:
                self._write(end_after(self._page))
            elif self._begun:
                self._write(self._muxer.end())
        finally:
            if self._owned:
                self._file.close()

    def _add(self, packet: bytes) -> None:
        headers = [] if self._begun else self._muxer.headers()
        self._write(b"".join([*headers, self._muxer.page(packet)]))
        self._begun = True

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()


# --- the tool -------------------------------------------------------------------------------------------------


def track_path(folder: Path, session_id: str, track_id: str) -> Path:
    """A file that does not exist yet, in `folder`, which is made: `SESSION-TRACK.ogg`, or with a number behind."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9_-]", "_", f"{session_id}-{track_id[:NAME_MOST]}")
    path, number = folder / f"{name}.ogg", 2
    while path.exists():
        path, number = folder / f"{name}-{number}.ogg", number + 1
    return path


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


@dataclass(frozen=True)
class Options:
    sessions: list[str]
    output: str
    """A file, a folder if it ends in a slash or is one, or `-`."""
    socket: Path
    follow: bool
    quiet: bool


def parse(arguments: Sequence[str]) -> Options:
    """Exits with status 2 and a message for what cannot be meant."""
    parser = argparse.ArgumentParser("python -m audiosvc.listen", description="Writes what sessions play as Ogg Opus.")
    parser.add_argument("sessions", nargs="*", type=_session, metavar="SESSION", help="default: all of them")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE|DIR/|-",
        help="a folder gets a file per track; - is standard output",
    )
    parser.add_argument(
        "--socket", type=Path, default=default_socket(os.environ, os.getuid()), help="default: %(default)s"
    )
    parser.add_argument("--follow", action="store_true", help="do not end with the track, go on with the next")
    parser.add_argument("--quiet", action="store_true", help="do not print events")
    given = Options(**vars(parser.parse_args(arguments)))
    if len(set(given.sessions)) != 1 and not _is_folder(given.output):
        parser.error("one file holds one session: name exactly one, or write to a folder (-o DIR/)")
    if not (_is_folder(given.output) or Path(given.output).parent.is_dir()):
        parser.error(f"there is no folder {Path(given.output).parent}")
    if len(os.fsencode(given.socket)) > SOCKET_PATH_MOST:
        parser.error(f"a Unix socket's path holds at most {SOCKET_PATH_MOST} bytes: {given.socket}")
    if given.output == "-" and os.isatty(1):
        parser.error("standard output is a terminal: lead it into a file or a player")
    return given


def _session(text: str) -> str:
    try:
        return session_id(text)
    except InvalidSessionId as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error.message}") from None


def _is_folder(output: str) -> bool:
    return output.endswith("/") or Path(output).is_dir()


def place_in(output: str) -> Callable[[str, str], Path | BinaryIO]:
    """Where a session's track goes. Nothing is made or replaced before the first packet is there to be written."""
    if _is_folder(output):
        return lambda session_id, track_id: track_path(Path(output), session_id, track_id)

    @cache
    def file() -> BinaryIO:
        # Standard output as a file of our own: `sys.stdout` would try a failed write again at exit, and complain.
        return open(1, "wb", closefd=False) if output == "-" else Path(output).open("wb")

    return lambda session_id, track_id: file()


def warn(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def stop_at_signal(reactor: Any, stop: Callable[[], None]) -> None:
    """Call `stop` at the first SIGINT or SIGTERM. A second one kills, even where a write hangs on a still reader."""

    def handle(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        reactor.callFromThread(stop)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


async def run(reactor: Any, options: Options) -> None:
    """Listens until it is over; `SystemExit` where that was no success."""
    tell = (lambda message: None) if options.quiet else warn
    recordings = Recordings(options.sessions, options.follow, place_in(options.output), tell, warn)
    listener = Listener(recordings.packet, recordings.event, recordings.lost)
    reactor.callWhenRunning(stop_at_signal, reactor, recordings.finish)
    try:
        await connectProtocol(UNIXClientEndpoint(reactor, str(options.socket)), listener)
    except (ConnectError, OSError) as error:
        warn(f"no daemon at {options.socket}: {error}")
        raise SystemExit(1) from None
    for name in options.sessions:
        listener.subscribe(name)
    listener.hello(f"audiosvc.listen/{__version__}")
    status = await recordings.over
    listener.close()
    if status:
        raise SystemExit(status)


def main() -> None:
    react(run, [parse(sys.argv[1:])])


if __name__ == "__main__":
    main()
