"""Plays several pieces at once and shows it: `python -m audiosvc.play [--seconds N] [FILE_OR_URL ...]`.

The whole system in one command: a daemon of its own as a child, one session per piece started over HTTP, the
sound received over the Unix socket, measured, shown line by line and recorded.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from audiosvc.performance import Performance
from audiosvc.playground import PAGE_PORT, NoPage, Playground, build, find_node
from audiosvc.reception import PlayFailed
from audiosvc.screen import Screen

NODE = Path("node")
"""Where the gateway is, seen from the folder of a checkout; the page is served from there only."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


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


def _performance(reactor: Any, options: Options, screen: Screen) -> Callable[[], Coroutine[Any, Any, bool]]:
    performance = Performance(reactor, screen, options.urls, options.media_root, options.recordings)
    return lambda: performance.run(options.seconds)


def _page(reactor: Any, options: Options, screen: Screen) -> Callable[[], Coroutine[Any, Any, bool]]:
    """The playground, ready to run; finds Node and builds the gateway before anything is started."""

    def tell(text: str) -> None:
        screen.write(f"{text}\n")

    playground = Playground(reactor, find_node(), build(NODE, tell), options.port, tell)

    async def run() -> bool:
        await playground.run(options.seconds)
        return True

    return run


def main() -> int:
    """The exit status: 0 if anything was heard or the user ended it, 1 if not, 2 for a wrong command line."""
    options = parse(sys.argv[1:])
    from twisted.internet import reactor as installed

    reactor: Any = installed
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    screen = Screen(sys.stdout, sys.stdout.isatty() and not options.plain)
    try:
        run = (_page if options.page else _performance)(reactor, options, screen)
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
