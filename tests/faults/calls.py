"""Calls sent faster than they are answered, and what is seen of the daemon's children meanwhile."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from tests.faults.harness import WatchedDaemon
from tests.integration.harness import PATIENCE, reactor, sleep


class Pipeline(Protocol):
    """Sends requests without waiting for answers, so that the daemon takes them in this order and as fast as it can."""

    def __init__(self, daemon: WatchedDaemon) -> None:
        self._daemon = daemon
        self._rest = b""
        self._paths: list[str] = []
        self._answers: list[tuple[int, Any]] = []
        self._waiting: Deferred[list[tuple[int, Any]]] = Deferred()

    async def post(self, *requests: tuple[str, Any]) -> list[tuple[int, Any]]:
        """(path, body) each; returns status and decoded JSON of each."""
        self._answers, self._paths, self._waiting = [], [path for path, _ in requests], Deferred()
        sent = b""
        for path, body in requests:
            said = b"" if body is None else json.dumps(body).encode()
            sent += f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(said)}\r\n".encode()
            sent += (b"Content-Type: application/json\r\n" if said else b"") + b"\r\n" + said
        self.transport.write(sent)  # type: ignore[union-attr]
        return await self._waiting.addTimeout(PATIENCE, reactor)

    def dataReceived(self, data: bytes) -> None:
        self._rest += data
        while b"\r\n\r\n" in self._rest:
            head, _, rest = self._rest.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            (length,) = (int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:"))
            if len(rest) < length:
                return
            status, answer = int(lines[0].split()[1]), json.loads(rest[:length])
            self._daemon.book(self._paths[len(self._answers)], status, answer)
            self._answers.append((status, answer))
            self._rest = rest[length:]
        if len(self._answers) == len(self._paths):
            self._waiting.callback(self._answers)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._waiting.called:
            self._waiting.errback(reason)


async def pipeline(daemon: WatchedDaemon) -> Pipeline:
    control = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", daemon.port), Pipeline(daemon))
    await control.post(("/session/nobody/stop", None))
    return control


class Looks:
    """What was seen of the daemon's children, every few milliseconds until `over`, but for `others`."""

    def __init__(self, daemon: WatchedDaemon, others: int) -> None:
        self.count = self.most_live = 0
        self.over = False
        self._daemon = daemon
        self._others = others

    async def look(self) -> None:
        while not self.over:
            self.count += 1
            self.most_live = max(self.most_live, len(self._daemon.live_children()) - self._others)
            await sleep(0.003)
