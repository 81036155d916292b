"""The daemon as another program sees it: started as a child process, told what to do over HTTP."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import treq
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, quoteStringArgument
from twisted.internet.error import ConnectError, ProcessExitedAlready
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from audiosvc.view import printable

START_MOST = 15.0
"""Seconds the daemon may take until it answers."""

START_INTERVAL = 0.05

ANSWER_MOST = 10.0
"""Seconds one HTTP answer may take."""

TERM_MOST = 6.0
"""Seconds after SIGTERM until SIGKILL; the daemon needs at most 5."""

RUN_TWISTD = "import os; os.setpgrp(); from twisted.scripts.twistd import run; run()"
"""In a process group of its own: Ctrl-C is for the program that started it, which then ends it in order."""

LOG_LINES, LOG_LINE_MOST = 20, 500


class Refused(Exception):
    """Why the daemon would not, in its own words where it has any."""


class Program(ProcessProtocol):
    """A program as a child: its last lines are kept, each is given to `on_line`, its end can be awaited."""

    def __init__(self, reactor: Any) -> None:
        self.lines: deque[str] = deque(maxlen=LOG_LINES)
        self.ended = False
        self.on_line: Callable[[str], None] | None = None
        self._reactor = reactor
        self._rest = b""
        self._gone: Deferred[None] = Deferred()

    def run(self, argv: Sequence[str]) -> None:
        # Nobody could hand our requests a token that the caller's own daemon asks for.
        environment = {name: value for name, value in os.environ.items() if name != "AUDIOSVC_TOKEN_FILE"}
        self._reactor.spawnProcess(self, argv[0], argv, env=environment)

    def gone(self) -> Deferred[None]:
        """Fires when it is reaped."""
        gone: Deferred[None] = Deferred()
        self._gone.addCallback(lambda _: gone.callback(None))
        return gone

    async def stop(self) -> None:
        """Asks it to end, makes it end after `TERM_MOST` seconds; returns when it is reaped."""
        if self.ended:
            return
        assert self.transport is not None, "not started"
        self.transport.signalProcess("TERM")
        kill = self._reactor.callLater(TERM_MOST, self._kill)
        await self._gone
        if kill.active():
            kill.cancel()

    def report(self, outcome: str) -> str:
        """`outcome` and below it the last lines, without anything a terminal would obey."""
        return "\n    ".join((f"{outcome}; its last lines:", *map(printable, self.lines)))

    def _kill(self) -> None:
        assert self.transport is not None
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")
        # A child of its own may still hold its output open.
        self.transport.loseConnection()

    def outReceived(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-LOG_LINE_MOST:]
        for text in filter(None, lines):
            self.lines.append(text[-LOG_LINE_MOST:].decode(errors="replace"))
            if self.on_line is not None:
                self.on_line(self.lines[-1])

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.outReceived(b"\n")
        self.ended = True
        self._gone.callback(None)


class Daemon(Program):
    """`twistd -n audiosvc` as a child."""

    api: Path
    """Where HTTP is answered, from `start_in` on."""
    socket: Path

    def start_in(self, folder: Path, *options: str) -> None:
        """With both its sockets in `folder`."""
        self.api, self.socket = folder / "api.sock", folder / "audio.sock"
        api = f"unix:{quoteStringArgument(str(self.api))}:mode=600"
        self.start("--api", api, "--socket", str(self.socket), *options)

    def start(self, *options: str) -> None:
        # By module, not by the script `twistd`, which need not be on the path nor belong to this interpreter.
        self.run([sys.executable, "-c", RUN_TWISTD, "-n", "--pidfile=", "audiosvc", *options])

    async def until_healthy(self, control: Control) -> None:
        """Returns when it answers; raises `Refused` if it ends before, or takes more than `START_MOST` seconds."""
        given_up = self._reactor.seconds() + START_MOST
        while not await control.healthy():
            if self.ended:
                raise Refused("it did not start")
            if self._reactor.seconds() > given_up:
                raise Refused(f"it did not answer within {START_MOST:.0f} s")
            await deferLater(self._reactor, START_INTERVAL)


@implementer(IAgentEndpointFactory)
class UnixEndpoints:
    """Every URL leads to the same Unix socket."""

    def __init__(self, reactor: Any, path: str) -> None:
        self._reactor, self._path = reactor, path

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return UNIXClientEndpoint(self._reactor, self._path)


class Control:
    """The daemon's HTTP interface, as far as playing needs it. All raise `Refused`."""

    def __init__(self, http: HTTPClient) -> None:
        self._http = http

    @classmethod
    def at(cls, reactor: Any, path: Path) -> Control:
        """Over the Unix socket at `path`."""
        return cls(HTTPClient(Agent.usingEndpointFactory(reactor, UnixEndpoints(reactor, str(path)))))

    async def healthy(self) -> bool:
        """Whether the daemon listens yet."""
        try:
            await self._ask("GET", "/health")
        except ConnectError:
            return False
        return True

    async def built_in(self) -> list[str]:
        """URLs of the built-in pieces."""
        return [found["url"] for found in (await self._ask("GET", "/search?q=demo:"))["results"]]

    async def play(self, session_id: str, url: str) -> None:
        await self._ask("POST", f"/session/{session_id}/play", {"url": url})

    async def stop(self, session_id: str) -> None:
        await self._ask("POST", f"/session/{session_id}/stop", {})

    async def _ask(self, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        content: dict[str, Any] = {} if body is None else {"json": body}
        response = await self._http.request(method, f"http://localhost{path}", timeout=ANSWER_MOST, **content)
        answer = msgspec.json.decode(await treq.content(response), type=dict[str, Any])
        if response.code != 200:
            raise Refused(f"{answer.get('message')} ({answer.get('code')})")
        return answer
