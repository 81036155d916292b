"""Hears sessions and writes them down as Ogg Opus: `python -m audiosvc.listen [SESSION ...] -o FILE`.

`python -m audiosvc.listen guild-a -o - | ffplay -` makes one heard. Where the reader of standard output stands
still, this tool does too, the socket fills, and the daemon holds the session.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.task import react

from audiosvc import __version__
from audiosvc.errors import InvalidSessionId
from audiosvc.ids import session_id
from audiosvc.listener import Listener
from audiosvc.paths import SOCKET_PATH_MOST, default_socket
from audiosvc.recorder import free_path
from audiosvc.recordings import Recordings

NAME_MOST = 64
"""Characters a track id gives to a file's name."""


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


def track_path(folder: Path, session_id: str, track_id: str) -> Path:
    """A file that does not exist yet, in `folder`, which is made: `SESSION-TRACK.ogg`, or with a number behind."""
    folder.mkdir(parents=True, exist_ok=True)
    return free_path(folder, re.sub(r"[^A-Za-z0-9_-]", "_", f"{session_id}-{track_id[:NAME_MOST]}"), "-")


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
